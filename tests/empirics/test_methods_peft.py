"""LoRA and DoRA files against the installed peft, on transformers' Mamba."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("transformers")
import peft
import torch
import transformers
from torch import nn

from empirics.errors import CheckpointError, InvalidInput
from empirics.methods import BitFit, DoRA, LoRA, apply
from empirics.methods.peft_format import CONFIG, VALUES, load_peft, save_peft

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])


def base_model() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.MambaConfig(
        vocab_size=16, hidden_size=12, state_size=4, num_hidden_layers=2, time_step_rank=3, use_mambapy=False
    )
    model = transformers.MambaForCausalLM(config).eval()
    with torch.no_grad():  # its starting values are so small that neither dt nor the state would matter
        for layer in model.backbone.layers:
            layer.mixer.in_proj.weight.mul_(20)
            layer.mixer.x_proj.weight.mul_(20)
    return model


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS).logits


def randomise(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))


@pytest.fixture(params=[LoRA, DoRA], ids=["lora", "dora"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("options", [{}, {"use_rslora": True, "alpha": 5}], ids=["plain", "rslora"])
def test_peft_reads_ours(kind: Any, options: dict[str, Any], tmp_path: Path) -> None:
    model = base_model()
    unadapted = logits(model)
    handle = apply(model, kind(targets=("in_proj", "x_proj"), rank=3, **options))
    randomise(model)
    adapted = logits(model)
    assert (adapted - unadapted).abs().max() > 0.01
    save_peft(handle, tmp_path)
    theirs = peft.PeftModel.from_pretrained(base_model(), str(tmp_path)).eval()
    assert torch.allclose(logits(theirs), adapted, atol=2e-6)


@pytest.mark.parametrize("options", [{}, {"use_rslora": True}], ids=["plain", "rslora"])
def test_we_read_peft(kind: Any, options: dict[str, Any], tmp_path: Path) -> None:
    config = peft.LoraConfig(r=2, lora_alpha=6, target_modules=["in_proj", "x_proj"], use_dora=kind is DoRA, **options)
    theirs = peft.get_peft_model(base_model(), config).eval()
    randomise(theirs)
    theirs.save_pretrained(str(tmp_path))
    model = base_model()
    unadapted = logits(model)
    handle = load_peft(model, tmp_path)
    assert isinstance(handle.config, kind) and handle.config.rank == 2
    assert (logits(model) - unadapted).abs().max() > 0.01
    assert torch.allclose(logits(model), logits(theirs), atol=2e-6)
    assert handle.n_trainable == theirs.get_nb_trainable_parameters()[0]


def test_gradients_are_those_of_peft(kind: Any, tmp_path: Path) -> None:
    model = base_model()
    handle = apply(model, kind(targets=("in_proj", "x_proj"), rank=3))
    randomise(model)
    save_peft(handle, tmp_path)
    theirs = peft.PeftModel.from_pretrained(base_model(), str(tmp_path), is_trainable=True).eval()
    for adapted in (model, theirs):
        adapted(TOKENS).logits.square().sum().backward()
    expected = {n.replace(".default", ""): p.grad for n, p in theirs.named_parameters() if p.grad is not None}
    ours = handle.trainable()
    assert len(expected) == len(ours)
    for name, parameter in ours.items():
        tensor, part = name.removesuffix(".weight").rsplit(".weight.", 1)
        theirs_gradient = expected[f"base_model.model.{tensor}.{part}.weight"]
        assert parameter.grad is not None and theirs_gradient.abs().max() > 1e-3
        assert torch.allclose(parameter.grad, theirs_gradient, rtol=1e-4, atol=1e-4 * float(theirs_gradient.abs().max())), name


def test_round_trip_is_exact(kind: Any, tmp_path: Path) -> None:
    model = base_model()
    handle = apply(model, kind(targets=("in_proj", "out_proj", "dt_proj"), rank=2, dropout=0.1))
    randomise(model)
    save_peft(handle, tmp_path, base_model="tiny")
    other = base_model()
    again = load_peft(other, tmp_path)
    assert torch.equal(logits(other), logits(model))
    assert {n: v.tolist() for n, v in again.values().items()} == {n: v.tolist() for n, v in handle.values().items()}
    assert isinstance(again.config, kind) and (again.config.rank, again.config.dropout) == (2, 0.1)
    assert json.loads((tmp_path / CONFIG).read_text())["base_model_name_or_path"] == "tiny"


def test_peft_skips_dt_proj_and_we_do_not(tmp_path: Path) -> None:
    """The reason for parametrisations: a wrapped module is skipped where the forward pass reads its weight."""
    model = base_model()
    unadapted = logits(model)
    handle = apply(model, LoRA(targets=("dt_proj",), rank=3))
    randomise(model)
    adapted = logits(model)
    assert (adapted - unadapted).abs().max() > 0.1
    save_peft(handle, tmp_path)
    theirs = peft.PeftModel.from_pretrained(base_model(), str(tmp_path)).eval()
    assert torch.allclose(logits(theirs), unadapted, atol=2e-6)


def test_refused_on_save(tmp_path: Path) -> None:
    model = base_model()
    handle = apply(model, LoRA(targets=("A_log",), rank=2))
    with pytest.raises(InvalidInput, match="A_log is not the weight of a module"):
        save_peft(handle, tmp_path)
    handle.remove()
    with pytest.raises(InvalidInput, match="bitfit has no peft adapter format"):
        save_peft(apply(model, BitFit()), tmp_path)


class TestRefusedOnLoad:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        save_peft(apply(base_model(), LoRA(targets=("in_proj",), rank=2)), tmp_path)
        return tmp_path

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"peft_type": "LOHA"}, "peft_type 'LOHA'"),
            ({"bias": "all"}, "bias 'all'"),
            ({"rank_pattern": {"in_proj": 4}}, "rank_pattern"),
            ({"r": 5}, "has shape"),
            ({"r": None}, "rank is None"),
            ({"use_dora": True}, "lora_magnitude_vector is missing"),
        ],
    )
    def test_description(self, folder: Path, change: dict[str, Any], message: str) -> None:
        description = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps({**description, **change}))
        model = base_model()
        with pytest.raises(CheckpointError, match=message):
            load_peft(model, folder)
        (folder / CONFIG).write_text(json.dumps(description))
        load_peft(model, folder)  # the failed attempt left nothing on the model

    def test_files(self, folder: Path) -> None:
        with pytest.raises(CheckpointError, match="another model: unknown target"):
            load_peft(nn.Sequential(nn.Linear(3, 3)), folder)
        content = (folder / VALUES).read_bytes()
        (folder / VALUES).write_bytes(content[:50])
        with pytest.raises(CheckpointError, match="not safetensors"):
            load_peft(base_model(), folder)
        (folder / VALUES).unlink()
        with pytest.raises(CheckpointError, match="cannot read"):
            load_peft(base_model(), folder)
