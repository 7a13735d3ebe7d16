"""python -m empirics diagnose on FalconMamba and hybrids: numbers against the modules, attention, advice, and every error."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from empirics.__main__ import main
from empirics.diagnosis import host as diagnosis_host
from empirics.diagnosis.advice import RULES, advice
from empirics.diagnosis.measure import measure
from empirics.diagnosis.recommendation import CLAIMS, recommend
from empirics.diagnosis.subject import subject
from empirics.hosts.attention import attention_layers
from empirics.hosts.tiny import CONFIGS, host_model
from empirics.methods import apply, count_trainable, method_config
from empirics.methods.geometry import find_mixers, geometry
from empirics.study.results import file_hash
from empirics.study.verdicts import SHIPPED, read_verdicts

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*falling back.*"),
]
ROOT = Path(__file__).resolve().parents[2]
OTHERS = [name for name in CONFIGS if name not in ("MambaForCausalLM", "Mamba2ForCausalLM")]
NORMED = ("FalconMambaForCausalLM", "JambaForCausalLM")
MAMBA2 = [name for name in OTHERS if name not in NORMED]


def saved(model: nn.Module, folder: Path) -> Path:
    model.save_pretrained(str(folder))  # type: ignore[operator]
    return folder


def lively(name: str, **changes: Any) -> nn.Module:
    """A tiny model whose norms have weights of their own."""
    model = host_model(name, **changes)
    with torch.no_grad():
        for tensor, parameter in model.named_parameters():
            if "layernorm" in tensor and "mamba." in tensor:
                parameter.mul_(torch.linspace(0.5, 2.0, parameter.numel()))
    return model


def mixers_of(model: nn.Module) -> list[tuple[str, Any]]:
    return list(find_mixers(model))


def double(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


# --- numbers, each by another route ---


@pytest.mark.parametrize("name", NORMED)
def test_steps_behind_a_norm_are_those_of_the_module(name: str, tmp_path: Path) -> None:
    model = lively(name).double()
    layers = list(subject(str(saved(model, tmp_path / "m"))).layers())
    for (place, mixer), layer in zip(mixers_of(model), layers, strict=True):
        own = model.get_submodule(place)
        assert layer.dynamics.name == place and np.array_equal(layer.dynamics.A, -np.exp(double(own.A_log)))

        def steps(low: Tensor, own: Any = own) -> np.ndarray:
            return double(nn.functional.softplus(own.dt_proj(own.dt_layernorm(low))))

        rank = geometry(mixer).dt_rank
        assert layer.dynamics.bound == math.sqrt(rank)
        assert np.allclose(steps(torch.zeros(rank).double()), layer.dynamics.dt(), rtol=1e-6, atol=0)
        weights = own.dt_layernorm.weight if name == "JambaForCausalLM" else torch.ones(rank)
        rows = own.dt_proj.weight * weights  # the direction that moves a channel most
        extreme = np.diagonal(steps(1e4 * rows))
        assert np.allclose(extreme, layer.dynamics.dt(math.inf), rtol=1e-4, atol=0)
        anywhere = steps(100 * torch.randn(500, rank, generator=torch.Generator().manual_seed(0)).double())
        assert (anywhere < layer.dynamics.dt(math.inf) * (1 + 1e-6)).all()
        assert (anywhere > layer.dynamics.dt(-math.inf) * (1 - 1e-6)).all()
        assert not np.allclose(layer.dynamics.dt(1.0), extreme, rtol=1e-2)  # what a radius of 1 would say


@pytest.mark.parametrize("name", NORMED)
def test_a_norm_on_B_leaves_what_tokens_write(name: str, tmp_path: Path) -> None:
    """The proof in reach.py, on numbers: a multiple of u writes with the norm what u writes without it, and back."""
    model = lively(name).double()
    (layer, *_) = subject(str(saved(model, tmp_path / "m"))).layers()
    place, mixer = mixers_of(model)[0]
    own, sizes = model.get_submodule(place), geometry(mixer)
    W = own.x_proj.weight[sizes.dt_rank : sizes.dt_rank + sizes.d_state]
    u = torch.randn(sizes.d_inner, generator=torch.Generator().manual_seed(0)).double()

    def written(token: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.outer(token, own.b_layernorm(W @ token))

    plain = torch.outer(u, torch.from_numpy(layer.writes) @ u)
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if written(middle * u).norm() < plain.norm() else (low, middle)
    assert torch.allclose(written(high * u), plain, rtol=1e-6)
    assert not torch.allclose(written(u), plain, rtol=1e-2)
    other = torch.outer(u, W.detach() @ u)  # without the norm's weights
    assert torch.allclose(other, plain) == (name == "FalconMambaForCausalLM")


@pytest.mark.parametrize("name", MAMBA2)
def test_mamba2_rows_are_those_that_the_mixer_applies(name: str, tmp_path: Path) -> None:
    changes = {"mamba_proj_bias": True} if name in ("BambaForCausalLM", "FalconH1ForCausalLM") else {}
    model = lively(name, **changes).double()
    if changes:
        for mixer in (m for _, m in mixers_of(model)):
            nn.init.normal_(mixer.in_proj.bias)
    layers = list(subject(str(saved(model, tmp_path / "m"))).layers())
    found = mixers_of(transformers.AutoModelForCausalLM.from_pretrained(str(tmp_path / "m")).double())
    assert [place for place, _ in found] == [layer.dynamics.name for layer in layers]
    for (_, mixer), layer in zip(found, layers, strict=True):
        sizes = geometry(mixer)
        hidden = torch.randn(sizes.d_model, generator=torch.Generator().manual_seed(1)).double()
        with torch.no_grad():
            there, zero = mixer._projected(hidden), mixer._projected(torch.zeros_like(hidden))
            at_zero = mixer._steps(zero[-sizes.heads :])
        writing = slice(sizes.d_inner, 2 * sizes.d_inner + sizes.groups * sizes.d_state)
        assert np.allclose(layer.writes @ double(hidden), double((there - zero)[writing]), rtol=1e-5, atol=1e-7)
        assert np.allclose(layer.dynamics.dt(), double(at_zero), rtol=1e-6, atol=0)
        assert layer.dynamics.limits == mixer.dt_limit and layer.dynamics.A.shape == (sizes.heads, 1)
        raw = double(mixer.in_proj.weight[writing])
        assert np.allclose(raw, layer.writes) == (name != "FalconH1ForCausalLM")
        norms = np.linalg.norm(double(mixer.in_proj.weight[-sizes.heads :]), axis=1)
        assert np.allclose(norms, layer.dynamics.row_norms) == (name != "FalconH1ForCausalLM")


@pytest.mark.parametrize("name", ["Zamba2ForCausalLM", "NemotronHForCausalLM"])
def test_steps_that_the_class_clamps(name: str, tmp_path: Path) -> None:
    """Both classes clamp at time_step_min; only the tiny models here have that taken off in memory."""
    (layer, *_) = subject(str(saved(host_model(name, time_step_min=0.9), tmp_path / "m"))).layers()
    assert layer.dynamics.limits == (0.9, math.inf) and layer.dynamics.dt().min() >= 0.9
    assert any("clamped to [0.9, inf]" in note for note in measure(subject(str(tmp_path / "m")))["assumes"])
    (free, *_) = subject(name).layers()
    assert free.dynamics.limits == (0.0, math.inf) and free.dynamics.dt().min() < 0.9


# --- what is particular to the class ---


@pytest.mark.parametrize("name", OTHERS)
def test_every_class_ends_with_a_recommendation(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = saved(host_model(name), tmp_path / "model")
    assert main(["diagnose", str(folder), "--rank", "1", "--json", str(tmp_path / "x.json"), "--channels", "2"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    payload = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    model = transformers.AutoModelForCausalLM.from_pretrained(str(folder))
    attention = sum(1 for part, _ in model.named_modules() if part.endswith(("self_attn", "attn")) or _mixes(model, part))
    assert payload["host"]["model"] == name and payload["host"]["attention"] == attention
    assert (
        payload["model"]["layers"] == len(mixers_of(model)) and payload["model"]["kind"] == geometry(mixers_of(model)[0][1]).kind
    )
    assert payload["model"]["sha256"] == file_hash(folder / "model.safetensors")
    said = payload["recommendation"]
    lora = method_config("lora", targets=said["targets"], rank=said["rank"])
    assert said["method"] == "lora_linear" and said["numbers"] == count_trainable(model, lora)
    assert f"Recommendation {said['method']} on in_proj and out_proj, rank {said['rank']}" in shown
    assert f"not on this model ({name})" in shown and "ssmproof targets MODEL says which" in shown
    assert ("None of it was measured here" in shown) == (attention > 0)
    assert ("Attention keeps every token" in shown) == (attention > 0)
    assert ("pass an RMS norm" in shown) == (name in NORMED)
    assert all(line["claim"] in shown and line["verdict"] for line in payload["advice"])
    if attention:
        assert set(payload["host"]["targets"]) == {"q_proj", "k_proj", "v_proj", "o_proj"}
        assert count_trainable(model, method_config("lora", targets=payload["host"]["targets"], rank=1)) > 0


def _mixes(model: Any, part: str) -> bool:
    """Nemotron-H calls every layer's part ``mixer``."""
    return part.endswith(".mixer") and hasattr(model.get_submodule(part), "q_proj")


def test_shared_attention_counts_once_and_adapters_do_not_hide_it() -> None:
    model = host_model("JambaForCausalLM")
    before = attention_layers(model)
    assert list(before.values()) == [("q_proj", "k_proj", "v_proj", "o_proj")]
    apply(model, method_config("lora", targets=("q_proj",), rank=1))
    assert attention_layers(model) == before
    assert attention_layers(host_model("MambaForCausalLM")) == {}


@pytest.mark.parametrize("name", ["JambaForCausalLM", "BambaForCausalLM"])
def test_claims_that_do_not_speak_of_normed_mixers_are_left_out(name: str) -> None:
    diagnosis = measure(subject(name), channels=1)
    verdicts = read_verdicts(SHIPPED, {*RULES, *CLAIMS})
    lines = {line["claim"]: line for line in advice(diagnosis, verdicts)}
    because = " ".join(recommend(diagnosis, verdicts)["because"])
    normed = name in NORMED
    assert ("lora_limits.in_proj_dominates" in because) != normed
    assert ("clock" in lines["lora_limits.spectrum_frozen"]["says"]) != normed
    assert ("bounded by its norm" in lines["prefix_state.decay"]["assumes"]) == normed
    assert ("prefix_state.selective" in lines) == normed and ("prefix_state.mamba2" in lines) != normed


def test_the_radius_is_what_the_norm_lets_through_unless_another_is_asked_for() -> None:
    found = subject("JambaForCausalLM")
    assert measure(found, channels=1)["settings"]["radius"] == found.radius == math.sqrt(3)
    own = measure(found, channels=1, radius=0.5)
    assert own["settings"]["radius"] == 0.5
    assert own["layers"][0]["dt_over_inputs"] != measure(found, channels=1)["layers"][0]["dt_over_inputs"]
    assert subject("BambaForCausalLM").radius == 1.0


def test_half_precision_is_read_as_stored(tmp_path: Path) -> None:
    folder = saved(host_model("FalconMambaForCausalLM").to(torch.bfloat16), tmp_path / "m")
    assert measure(subject(str(folder)), channels=1)["model"]["stored_dtype"] == "bfloat16"


def test_a_model_in_the_hubs_cache_needs_no_network(tmp_path: Path) -> None:
    place = tmp_path / "hub" / "models--somebody--bamba"
    saved(host_model("BambaForCausalLM"), place / "snapshots" / "abc")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("abc")
    code = "import sys; from empirics.__main__ import main; sys.exit(main(['diagnose', 'somebody/bamba', '--channels', '1']))"
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": "", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    assert "BambaForCausalLM has 1 state-space mixer and 1 attention layer" in " ".join(run.stdout.split())


# --- mistakes ---


def _broken(folder: Path, change: Any) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def _no_safetensors(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _lacking(tensors: dict[str, Tensor]) -> None:
    del tensors[next(name for name in tensors if name.endswith("dt_bias"))]


def _configured(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")


def _own_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("raise SystemExit('ran')")


def _nan(tensors: dict[str, Tensor]) -> None:
    next(v for n, v in tensors.items() if n.endswith("A_log")).fill_(float("nan"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_no_safetensors, "no pickle is read"),
        (_own_code, "a model's own code is never run"),
        (lambda folder: _broken(folder, _nan), "A_log holds NaN or infinity"),
        (lambda folder: _broken(folder, _lacking), "lacks model.layers.0.mamba.dt_bias (1 missing tensors)"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no"), "transformers cannot load"),
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
        (lambda folder: _configured(folder, mamba_d_state=5), "transformers cannot load"),
        (lambda folder: _configured(folder, hidden_size="wide"), "transformers cannot load"),
        (lambda folder: _configured(folder, layer_types=7), "transformers cannot load"),
    ],
)
def test_damaged_folders_are_one_line(change: Any, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = saved(host_model("BambaForCausalLM"), tmp_path / "m")
    capsys.readouterr()
    change(folder)
    assert main(["diagnose", str(folder)]) == 2
    error = capsys.readouterr().err
    assert said in error and error.startswith("error: ") and error.count("\n") == 1


def test_a_model_without_mixers_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = transformers.GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=2, n_positions=8)
    folder = saved(transformers.GPT2LMHeadModel(config), tmp_path / "gpt")
    capsys.readouterr()
    assert main(["diagnose", str(folder)]) == 2
    error = capsys.readouterr().err
    assert "GPT2LMHeadModel has no mixer that is known here" in error and error.count("\n") == 1


def test_mixers_of_two_sizes_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    model = host_model("FalconMambaForCausalLM")
    other = host_model("FalconMambaForCausalLM", time_step_rank=2)
    model.backbone.layers[1].mixer = other.backbone.layers[1].mixer
    monkeypatch.setattr(diagnosis_host, "load_host", lambda name: model)
    assert main(["diagnose", "FalconMambaForCausalLM"]) == 2
    assert "has mixers of 2 sizes" in capsys.readouterr().err


def test_without_transformers_the_extra_is_named(tmp_path: Path) -> None:
    folder = saved(host_model("BambaForCausalLM"), tmp_path / "m")
    code = (
        "import sys; sys.modules['transformers'] = None\n"
        f"from empirics.__main__ import main; sys.exit(main(['diagnose', {str(folder)!r}]))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 2 and "ssmproof[models]" in run.stderr and run.stderr.count("\n") == 1
