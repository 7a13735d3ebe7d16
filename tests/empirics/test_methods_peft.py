"""LoRA and DoRA files against the installed peft, on transformers' Mamba."""

from __future__ import annotations

import json
import warnings
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
from empirics.hosts.tiny import host_model
from empirics.methods import BitFit, DoRA, Full, LoRA, apply, load
from empirics.methods.peft_format import CONFIG, VALUES, load_peft, save_peft
from empirics.models import MambaConfig, MambaLM, load_model

torch.set_num_threads(1)
pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning"),
    pytest.mark.filterwarnings("ignore:peft (refuses|loads|skips):UserWarning"),
]
TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])


def base_model() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.MambaConfig(
        vocab_size=16, hidden_size=12, state_size=4, num_hidden_layers=2, time_step_rank=3, use_mambapy=False
    )
    model = transformers.MambaForCausalLM(config).eval().double()  # float32's roundoff depends on the processor
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


# --- what peft's files may say, and what it does with ours ---


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora", "loftq", "corda", "orthogonal", "something new", 3])
def test_adapters_of_a_changed_base_are_refused(start: Any, tmp_path: Path) -> None:
    """Their files hold the adapter only; the base model's weights, from which its start was taken away, are not in them."""
    save_peft(apply(base_model(), LoRA(targets=("in_proj",), rank=2)), tmp_path)
    description = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps({**description, "init_lora_weights": start}))
    with pytest.raises(CheckpointError, match="changes the base model's weights"):
        load_peft(base_model(), tmp_path)
    for harmless in (True, False, "gaussian"):
        (tmp_path / CONFIG).write_text(json.dumps({**description, "init_lora_weights": harmless}))
        load_peft(base_model(), tmp_path)


@pytest.mark.parametrize(
    "option", ["kasa_config", "monteclora_config", "use_bdlora", "arrow_config", "velora_config", "not_yet_invented"]
)
def test_options_that_change_the_meaning_are_refused(option: str, tmp_path: Path) -> None:
    save_peft(apply(base_model(), LoRA(targets=("in_proj",), rank=2)), tmp_path)
    description = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps({**description, option: {"on": 1}}))
    with pytest.raises(CheckpointError, match=f"uses {option}="):
        load_peft(base_model(), tmp_path)
    (tmp_path / CONFIG).write_text(json.dumps({**description, option: None, "lora_alpha": "x"}))
    with pytest.raises(CheckpointError, match="does not fit"):
        load_peft(base_model(), tmp_path)


def test_every_option_that_peft_writes_by_default_is_read(tmp_path: Path) -> None:
    theirs = peft.get_peft_model(base_model(), peft.LoraConfig(target_modules=["in_proj"]))
    theirs.save_pretrained(str(tmp_path))
    assert len(json.loads((tmp_path / CONFIG).read_text())) > 20
    load_peft(base_model(), tmp_path)


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (("in_proj", "out_proj"), "refuses out_proj on Mamba models: "),
        (("dt_proj",), "loads dt_proj without effect"),
        (("in_proj", "x_proj"), "skips x_proj while training with mamba-ssm's fused kernels: .* or adapt in_proj only"),
        (("out_proj", "dt_proj"), "refuses out_proj on Mamba models and loads dt_proj without effect"),
    ],
)
def test_what_peft_cannot_use_is_said_when_it_is_saved(targets: tuple[str, ...], said: str, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=said):
        save_peft(apply(base_model(), LoRA(targets=targets, rank=2)), tmp_path)


def test_what_peft_can_use_is_saved_in_silence(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_peft(apply(base_model(), LoRA(targets=("in_proj",), rank=2)), tmp_path)
        save_peft(apply(host_model("JambaForCausalLM"), LoRA(targets=("x_proj", "embed_tokens", "lm_head"), rank=2)), tmp_path)


def test_an_embedding_goes_there_and_back(tmp_path: Path) -> None:
    """peft keeps its factors transposed, under names of their own, and the base weights beside them."""
    model = host_model("BambaForCausalLM")
    base, handle = logits(model), apply(model, LoRA(targets=("embed_tokens", "q_proj"), rank=2, alpha=6))
    randomise(model)
    save_peft(handle, tmp_path / "ours")
    assert (logits(model) - base).abs().max() > 0.01
    theirs = peft.PeftModel.from_pretrained(host_model("BambaForCausalLM"), str(tmp_path / "ours")).eval()
    assert torch.allclose(logits(theirs), logits(model), atol=2e-5)
    randomise(theirs)
    theirs.save_pretrained(str(tmp_path / "theirs"), save_embedding_layers=True)
    again = host_model("BambaForCausalLM")
    load_peft(again, tmp_path / "theirs")
    assert torch.allclose(logits(again), logits(theirs), atol=2e-5) and not torch.allclose(
        logits(again), logits(model), atol=1e-2
    )
    other = host_model("BambaForCausalLM")
    other.model.embed_tokens.weight.data[0, 0] += 1
    with pytest.raises(CheckpointError, match=r"trained for another model: the file's model.embed_tokens.weight differs"):
        load_peft(other, tmp_path / "theirs")
    with pytest.raises(InvalidInput, match=r"no DoRA of model.embed_tokens as it is here, an embedding: use LoRA"):
        save_peft(apply(host_model("BambaForCausalLM"), DoRA(targets=("embed_tokens",), rank=2)), tmp_path / "dora")
    assert not (tmp_path / "dora").exists()


def test_a_router_is_no_layer_that_peft_wraps(tmp_path: Path) -> None:
    handle = apply(host_model("JambaForCausalLM"), LoRA(targets=("router", "in_proj"), rank=1))
    with pytest.warns(
        UserWarning, match=r"refuses model.layers.1.feed_forward.router, which is no linear layer: .* adapt in_proj only"
    ):
        save_peft(handle, tmp_path)
    with pytest.raises(ValueError, match="JambaTopKRouter"):
        peft.PeftModel.from_pretrained(host_model("JambaForCausalLM"), str(tmp_path))


# --- peft on this library's own model ---


def own_model(layer: str) -> MambaLM:
    torch.manual_seed(0)
    sizes = {"headdim": 8} if layer == "Mamba2" else {}
    model = MambaLM(MambaConfig(16, 2, 32, {"layer": layer, **sizes}, tie_embeddings=False)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


TARGETS = [
    *(("Mamba1", (name,)) for name in ("in_proj", "x_proj", "dt_proj", "out_proj", "lm_head", "embedding")),
    ("Mamba1", ("in_proj", "x_proj", "dt_proj", "out_proj")),
    *(("Mamba2", (name,)) for name in ("in_proj", "out_proj", "lm_head", "embedding")),
]


@pytest.mark.parametrize(("layer", "targets"), TARGETS)
@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_peft_on_our_model_takes_effect(layer: str, targets: tuple[str, ...], dora: bool) -> None:
    """Parallel and step by step, with the gradients, and as peft's own merging has it."""
    if dora and "embedding" in targets:
        pytest.skip("peft has no DoRA step of its own for an embedding that is read twice")
    model = own_model(layer)
    before = model(TOKENS).detach()
    theirs = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=list(targets), use_dora=dora)).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_B" in name or "lora_embedding" in name:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))))
    adapted = theirs(TOKENS)
    assert (adapted - before).abs().max() > 1e-2
    adapted.square().sum().backward()
    trained = [p for p in theirs.parameters() if p.requires_grad]
    assert trained and all(p.grad is not None and p.grad.abs().max() > 0 for p in trained)
    with torch.no_grad():
        states, stepped = model.new_states(1), []
        for token in TOKENS[0]:
            logits_, states = model.step(token[None], states)
            stepped.append(logits_)
        assert torch.allclose(torch.stack(stepped, 1), adapted, atol=2e-5)
        assert torch.allclose(theirs.merge_and_unload()(TOKENS), adapted, atol=2e-5)


def test_what_cannot_take_effect_is_refused() -> None:
    model = own_model("Mamba1")
    for module in [m for m in model.modules() if hasattr(m, "conv1d")]:
        module.conv1d = nn.Sequential(module.conv1d)
    with pytest.raises(InvalidInput, match="conv1d is wrapped in Sequential, which would have no effect"):
        model(TOKENS)


def test_hooks_on_a_projection_are_run() -> None:
    model = own_model("Mamba1")
    before = model(TOKENS)
    removed = model.mixers[0].out_proj.register_forward_hook(lambda module, given, out: 2 * out)
    assert not torch.allclose(model(TOKENS), before)
    removed.remove()
    assert torch.equal(model(TOKENS), before)


# --- one checkpoint, two libraries ---


@pytest.mark.parametrize("config", [LoRA(rank=2), Full(targets=("embedding",)), BitFit()], ids=["lora", "embedding", "bitfit"])
def test_adapters_travel_between_transformers_and_ours(config: Any, tmp_path: Path) -> None:
    base = base_model().float()
    base.save_pretrained(str(tmp_path / "base"))
    ours = load_model(tmp_path / "base")
    for source, target in ((base, ours), (ours, transformers.MambaForCausalLM.from_pretrained(str(tmp_path / "base")).eval())):
        handle = apply(source, config)
        handle.set_values({name: v + 0.1 * torch.randn_like(v) for name, v in handle.values().items()})
        handle.save(tmp_path / "adapter")
        again = load(target, tmp_path / "adapter")
        expected, got = (out if isinstance(out := m(TOKENS), torch.Tensor) else out.logits for m in (source, target))
        assert torch.allclose(got, expected, atol=1e-5)
        again.remove(), handle.remove()
        unadapted = target(TOKENS) if isinstance(target, MambaLM) else target(TOKENS).logits
        assert not torch.allclose(unadapted, expected, atol=1e-3)


def test_peft_takes_no_methods_of_others() -> None:
    """docs/decisions/0008 rests on this: where it fails, peft could host SDT and initial states."""
    with pytest.raises(ValueError, match="Unknown PEFT type SDT"):
        peft.utils.register_peft_method(name="sdt", config_cls=peft.PeftConfig, model_cls=nn.Module, prefix="sdt_")


@pytest.mark.parametrize("name", ["BambaForCausalLM", "JambaForCausalLM", "NemotronHForCausalLM"])
def test_files_for_hybrids(name: str, tmp_path: Path) -> None:
    """peft refuses out_proj on some of them only; what it reads is the same function."""
    model = host_model(name)
    handle = apply(model, LoRA(targets=("in_proj", "out_proj", "q_proj"), rank=2))
    randomise(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        save_peft(handle, tmp_path)
    said = " ".join(str(w.message) for w in caught)
    assert ("refuses out_proj" in said) == (name == "NemotronHForCausalLM")
    assert ("skips out_proj while training with mamba-ssm's fused kernels" in said) == (name == "BambaForCausalLM")
    if name == "NemotronHForCausalLM":
        with pytest.raises(ValueError, match="out_proj"):
            peft.PeftModel.from_pretrained(host_model(name), str(tmp_path))
        return
    theirs = peft.PeftModel.from_pretrained(host_model(name), str(tmp_path)).eval()
    assert torch.allclose(logits(theirs), logits(model), atol=2e-5)
    assert not torch.allclose(logits(host_model(name)), logits(model), atol=1e-2)
