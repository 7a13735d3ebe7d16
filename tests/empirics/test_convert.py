"""Checkpoints between mamba-ssm's layout and transformers', both ways, with merged adapters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn

from empirics.__main__ import main
from empirics.hosts.loading import as_transformers, load_host
from empirics.methods import InitialState, LoRA, apply
from empirics.models import MambaConfig, MambaLM, load_model, save_model

IDS = torch.randint(0, 32, (2, 9), generator=torch.Generator().manual_seed(0))
FIELDS = {
    "d_model", "n_layer", "vocab_size", "ssm_cfg", "rms_norm", "residual_in_fp32", "tie_embeddings", "pad_vocab_size_multiple",
}  # fmt: skip
"""Of mamba-ssm's MambaConfig."""


def own(layer: str, **options: object) -> MambaLM:
    torch.manual_seed(0)
    sizes = {"headdim": 8} if layer == "Mamba2" else {}
    model = MambaLM(MambaConfig(16, 2, 32, {"layer": layer, "d_state": 8, **sizes}, **options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        out = model(IDS)
    return out if isinstance(out, Tensor) else out.logits


def convert(source: Path, target: str, out: Path, *more: str) -> Path:
    assert main(["convert", str(source), "--to", target, "--out", str(out), *more]) == 0
    return out


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
def test_there_and_back(layer: str, tied: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = own(layer, tie_embeddings=tied)
    save_model(model, tmp_path / "first")
    (tmp_path / "first" / "tokenizer.json").write_text("{}", encoding="utf-8")
    there = convert(tmp_path / "first", "transformers", tmp_path / "there")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(str(there)).eval()
    assert type(theirs).__name__ == ("MambaForCausalLM" if layer == "Mamba1" else "Mamba2ForCausalLM")
    assert torch.allclose(logits(theirs), logits(model), atol=1e-5)
    theirs.save_pretrained(str(tmp_path / "saved"))  # by transformers itself
    for source in (there, tmp_path / "saved"):
        back = convert(source, "mamba_ssm", tmp_path / f"back {source.name}")
        assert torch.equal(logits(load_model(back)), logits(model))
        assert set(json.loads((back / "config.json").read_text())) == FIELDS
        names = set(load_file(back / "model.safetensors"))
        assert names == set(model.state_dict()) - ({"lm_head.weight"} if tied else set())
    assert (tmp_path / "back there" / "tokenizer.json").is_file()
    assert "MambaLMHeadModel" in capsys.readouterr().out


@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
def test_merged_adapters_are_the_adapted_function_bit_for_bit(layer: str, tmp_path: Path) -> None:
    model = own(layer)
    save_model(model, tmp_path / "base")
    host = as_transformers(model)
    handle = apply(host, LoRA(("in_proj", "out_proj"), rank=2))
    handle.set_values({n: torch.randn_like(v) for n, v in handle.values().items()})
    handle.save(tmp_path / "adapter")
    adapted = logits(host)
    assert not torch.allclose(adapted, logits(model), atol=1e-2)
    merged = convert(tmp_path / "base", "transformers", tmp_path / "merged", "--adapter", str(tmp_path / "adapter"))
    plain = transformers.AutoModelForCausalLM.from_pretrained(str(merged)).eval()
    tensors = dict(plain.named_parameters())
    handle.merge()
    assert all(torch.equal(tensors[n], p) for n, p in host.named_parameters())
    assert torch.equal(logits(host), adapted)
    assert torch.allclose(logits(plain), adapted, atol=1e-5)


def test_our_model_in_transformers_class_and_from_a_folder(tmp_path: Path) -> None:
    model = own("Mamba1")
    save_model(model, tmp_path)  # mamba-ssm's layout
    for host in (as_transformers(model), load_host(str(tmp_path))):
        assert type(host).__name__ == "MambaForCausalLM" and not host.training
        assert torch.allclose(logits(host), logits(model), atol=1e-5)


class TestRefused:
    @pytest.fixture
    def base(self, tmp_path: Path) -> Path:
        save_model(own("Mamba1"), tmp_path / "base")
        return tmp_path / "base"

    def said(self, given: list[str], capsys: pytest.CaptureFixture[str]) -> str:
        assert main(["convert", *given]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    def test_states(self, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        apply(load_model(base), InitialState()).save(tmp_path / "adapter")
        given = [str(base), "--to", "mamba_ssm", "--out", str(tmp_path / "out"), "--adapter", str(tmp_path / "adapter")]
        assert "initial_state acts on tokens or states and cannot be merged into weights" in self.said(given, capsys)

    def test_itself_and_other_epsilons(self, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for source in (base, base / "model.safetensors"):
            assert "the model's own folder" in self.said([str(source), "--to", "mamba_ssm", "--out", str(base)], capsys)
        save_model(own("Mamba1", norm_epsilon=1e-6), tmp_path / "other")
        given = [str(tmp_path / "other"), "--to", "mamba_ssm", "--out", str(tmp_path / "out")]
        assert "norm_epsilon is 1e-06; mamba-ssm's models have 1e-05" in self.said(given, capsys)
        assert "does not exist" in self.said(["nothing", "--to", "transformers", "--out", str(tmp_path / "out")], capsys)
