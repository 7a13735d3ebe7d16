"""Which adapters take effect: decided by running, and the page, the warning and the command that say so."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("transformers")
import peft
import torch
from host_checks import logits
from torch import nn

from empirics.__main__ import main
from empirics.errors import InvalidInput, UnknownName
from empirics.hosts.fused import fused_kernels
from empirics.hosts.tiny import CONFIGS, MAMBA_SSM, host_model, mamba_ssm_model
from empirics.hosts.wrappers import skipped_wrappers
from empirics.methods import SDT, BitFit, LoRA, StateOffset, apply, select
from empirics.methods.effect import effects
from empirics.methods.scores import score
from empirics.methods.targets_page import ours, versions, wrapped
from empirics.models import MambaConfig, MambaLM, save_model

pytestmark = [pytest.mark.filterwarnings("ignore::FutureWarning"), pytest.mark.filterwarnings("ignore:the model carries peft")]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "targets.md"
TARGETS = ("in_proj", "out_proj", "conv1d", "A_log")


def page_rows(name: str) -> dict[str, tuple[str, str]]:
    section = PAGE.read_text(encoding="utf-8").partition(f"## {name}\n")[2].partition("\n## ")[0]
    return {cells[0]: (cells[1], cells[2]) for cells in re.findall(r"^\| `(.+?)` \| (.+?) \| (.+?) \|$", section, flags=re.M)}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_page_says_what_running_says(name: str) -> None:
    if f"peft {versions()['peft']}," not in PAGE.read_text(encoding="utf-8") or torch.cuda.is_available():
        pytest.skip("the page is of another version of peft, or of the paths without CUDA")
    listed = page_rows(name)
    targets = [t for t in (*TARGETS, "x_proj", "dt_proj") if t in listed]
    found = {row.target: (ours(row), wrapped(row)) for row in effects(host_model(name), targets)}
    assert found == {target: listed[target] for target in targets} and len(found) >= len(TARGETS)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_fused_kernels_in_pytorch_are_the_library_s_function(name: str) -> None:
    """Jamba's mixers are never handed to one; FalconMamba's computes another function than its PyTorch path."""
    model, calls = host_model(name), []
    expected = logits(model)
    model.train()
    with fused_kernels(model, calls):
        fused = logits(model, use_cache=False)
    error = float((fused - expected).abs().max() / expected.abs().max())
    assert bool(calls) == (name != "JambaForCausalLM")
    assert (error < 1e-6) == (name != "FalconMambaForCausalLM")
    before = len(calls)
    logits(model, use_cache=False)
    assert len(calls) == before  # the library's own functions are back


def test_a_mixer_wrapped_whole() -> None:
    """peft adapts a parameter of a mixer by a wrapper around it, which has no step of generation."""
    pytest.importorskip("peft")
    model = MambaLM(MambaConfig(16, 1, 24, {"layer": "Mamba1", "d_state": 4}))
    (row,) = effects(model, ["A_log"])
    assert row.ours.paths == {"evaluation": "yes", "training": "yes", "generation": "yes"}
    assert row.wrapped.paths == {**row.ours.paths, "generation": "fails"}


class Reads(nn.Module):
    """A mixer's layers: ``called`` is called, ``read`` is read, ``unused`` is neither."""

    def __init__(self) -> None:
        super().__init__()
        self.called, self.read, self.unused = (nn.Linear(6, 6) for _ in range(3))
        self.config = type("Config", (), {"vocab_size": 6, "to_dict": lambda self: {}})()

    def prepare_inputs_for_generation(self) -> None:
        """What transformers' models have."""

    def forward(self, ids: torch.Tensor, **_: Any) -> Any:
        x = nn.functional.one_hot(ids, 6).float()
        out = self.called(x) + x @ self.read.weight.T
        return type("Out", (dict,), {"logits": out})(logits=out, past_key_values=None)


def test_verdicts_follow_what_the_forward_pass_does() -> None:
    rows = {row.target: row for row in effects(Reads())}
    assert rows["called"].ours.word == rows["called"].wrapped.word == "yes"
    assert rows["read"].ours.word == "yes" and set(rows["read"].wrapped.paths.values()) == {"skipped"}
    assert set(rows["unused"].ours.paths.values()) == set(rows["unused"].wrapped.paths.values()) == {"skipped"}


def test_a_path_that_fails_leaves_the_others_to_be_judged() -> None:
    class Refuses(Reads):
        def forward(self, ids: torch.Tensor, **options: Any) -> Any:
            if options.get("use_cache"):
                raise RuntimeError("strides must be\nmultiples of 8")
            return super().forward(ids, **options)

    rows = {row.target: row for row in effects(Refuses())}
    assert rows["called"].ours.paths["generation"] == "fails"
    assert {word for path, word in rows["called"].ours.paths.items() if path != "generation"} == {"yes"}
    assert rows["read"].wrapped.paths["evaluation"] == "skipped"


def test_nothing_is_said_of_logits_that_are_not_finite() -> None:
    """NaN differs from nothing by more than a bound, which must not read as "skipped"."""
    model = Reads()
    model.called.weight.data[0, 0] = float("nan")
    for row in effects(model, ["called", "unused"]):
        for found in (row.ours, row.wrapped):
            assert set(found.paths.values()) == {"fails"} and "own logits are not finite" in found.refused


def test_the_model_is_left_as_it_was() -> None:
    model = host_model("JambaForCausalLM").train()
    base, names = logits(model.eval()), set(model.state_dict())
    model.train()
    model.lm_head.weight.requires_grad_(False)
    effects(model, ["A_log", "conv1d", "dt_proj"])  # of which peft breaks the first off
    assert model.training and not model.lm_head.weight.requires_grad and model.model.layers[0].mamba.A_log.requires_grad
    assert set(model.state_dict()) == names and torch.equal(logits(model.eval()), base)
    assert not hasattr(model, "peft_config")
    with pytest.raises(UnknownName, match="unknown target 'x_prj'"):
        effects(model, ["x_prj"])


def wrapped_model(*targets: str, name: str = "MambaForCausalLM") -> nn.Module:
    model = host_model(name)
    peft.get_peft_model(model, peft.LoraConfig(r=1, target_modules=list(targets), init_lora_weights=False))
    return model


class TestWarning:
    def test_of_what_is_skipped(self) -> None:
        model = wrapped_model("dt_proj", "x_proj")
        assert skipped_wrappers(model) == {"MambaMixer": ["dt_proj"]}
        with pytest.warns(UserWarning, match=r"dt_proj has no effect: MambaMixer .* LoRA\(targets=\('dt_proj',\)\)"):
            apply(model, BitFit())

    def test_not_where_our_forward_pass_calls_it(self, recwarn: pytest.WarningsRecorder) -> None:
        model = wrapped_model("dt_proj")
        base = logits(host_model("MambaForCausalLM"))
        assert torch.allclose(logits(model), base, atol=1e-6)
        apply(model, StateOffset())
        assert not [w for w in recwarn if "no effect" in str(w.message)]
        assert not torch.allclose(logits(model), base, atol=1e-3)  # now it is called

    def test_not_without_wrappers(self, recwarn: pytest.WarningsRecorder) -> None:
        apply(host_model("MambaForCausalLM"), LoRA(("dt_proj",), rank=1))
        assert not [w for w in recwarn if issubclass(w.category, UserWarning)]

    def test_of_adapters_that_are_frozen(self) -> None:
        with pytest.warns(
            UserWarning, match=r"carries peft's adapters \(.*x_proj.lora_A.default.weight, 4 tensors\), which apply"
        ):
            apply(wrapped_model("x_proj"), BitFit())

    def test_of_convolutions(self) -> None:
        model = host_model("BambaForCausalLM")
        groups = model.model.layers[0].mamba.conv1d.groups
        with pytest.warns(UserWarning, match="groups"):
            peft.get_peft_model(model, peft.LoraConfig(r=groups, target_modules=["conv1d"]))
        assert skipped_wrappers(model) == {"BambaMixer": ["conv1d"]}
        apply(model, StateOffset())
        with pytest.raises(InvalidInput, match="conv1d is wrapped in"):
            logits(model)


@pytest.mark.gpu
@pytest.mark.parametrize("name", MAMBA_SSM)
def test_mamba_ssms_own_classes(name: str) -> None:
    """Their passes read in_proj's weight; ours reaches it on every path, also where generation begins."""
    pytest.importorskip("mamba_ssm")
    rows = {row.target: row for row in effects(mamba_ssm_model(name, "cuda"), ["in_proj", "out_proj"])}
    assert rows["in_proj"].ours.word == rows["out_proj"].ours.word == "yes"
    assert "fails" not in rows["in_proj"].wrapped.paths.values()


def test_sdt_on_a_wrapped_tensor_is_refused() -> None:
    model = wrapped_model("x_proj")
    with pytest.raises(InvalidInput, match="wrapped by another library's adapter"):
        apply(model, SDT(select(score("random", model), 1, 1)))


class TestCommand:
    def test_page_and_table(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = tmp_path / "page.md"
        assert main(["targets", "MambaForCausalLM", "--targets", "dt_proj", "x_proj", "--out", str(out)]) == 0
        assert "dt_proj" in capsys.readouterr().out
        text = out.read_text(encoding="utf-8")
        assert (
            "| `dt_proj` | yes | skipped on every path of the library |" in text
            and "| `x_proj` | yes | fused training: skipped |" in text
        )
        assert f"peft {versions()['peft']}" in text

    def test_a_class_that_fails_does_not_cost_the_others(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def breaks(model: nn.Module, targets: Any = None) -> Any:
            if type(model).__name__ == "JambaForCausalLM":
                raise RuntimeError("no kernel image\nfor this device")
            return effects(model, ["A_log"])

        monkeypatch.setattr("empirics.methods.command.effects", breaks)
        assert main(["targets", "--all", "--out", str(tmp_path / "page.md")]) == 0
        text = (tmp_path / "page.md").read_text(encoding="utf-8")
        assert "## JambaForCausalLM\n\nfails: RuntimeError: no kernel image for this device\n" in text
        assert text.count("\n## ") == len(CONFIGS) and text.count("| `A_log` | ") == len(CONFIGS) - 1
        assert "no kernel image" in capsys.readouterr().out

    def test_a_page_that_is_cut_off_is_gone_on_with(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Decided classes are kept, what failed is tried again, and neither happens to a page that was made otherwise."""
        out, judged, fails = tmp_path / "page.md", [], "FalconMambaForCausalLM"

        def judge(model: nn.Module, targets: Any = None) -> Any:
            name = type(model).__name__
            judged.append(name)
            if name == broken:
                raise RuntimeError("the device is lost")
            if name == last:
                raise KeyboardInterrupt
            return effects(model, ["in_proj"])

        monkeypatch.setattr("empirics.methods.command.effects", judge)
        command, names = ["targets", "--all", "--out", str(out)], list(CONFIGS)
        broken, last = fails, names[3]
        assert main(command) == 130
        text = out.read_text(encoding="utf-8")
        assert f"{fails}\n\nfails: " in text and text.count("| `in_proj` | ") == 2
        assert text.endswith(f"Not complete: the same command goes on with {', '.join(names[3:])}.\n")

        cut, broken, last = text, "", ""
        judged.clear()
        assert main([*command, "--targets", "in_proj"]) == 0 and len(judged) == len(names)  # another command
        out.write_text(cut, encoding="utf-8")
        judged.clear()
        assert main(command) == 0
        assert judged == [fails, *names[3:]] and f"kept from {out}: {names[0]}, {names[2]}" in capsys.readouterr().out
        whole = out.read_text(encoding="utf-8")
        assert "Not complete" not in whole and re.findall(r"^## (.+)$", whole, flags=re.M) == names
        judged.clear()
        assert main(command) == 0 and judged == names  # a complete page is made anew
        assert out.read_text(encoding="utf-8") == whole

    def test_a_target_that_some_classes_have(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = tmp_path / "page.md"
        assert main(["targets", "--all", "--targets", "dt_proj.bias", "mamba.A_log", "--out", str(out)]) == 0
        text = out.read_text(encoding="utf-8")
        assert (
            text.count("| `dt_proj.bias` | ") == 3
            and "## NemotronHForCausalLM\n\nIt has no dt_proj.bias and no mamba.A_log.\n" in text
        )
        assert "--all --targets dt_proj.bias mamba.A_log --out" in text
        assert main(["targets", "--all", "--targets", "x_prj"]) == 2
        assert "unknown target 'x_prj': did you mean 'x_proj'?" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (["MambaForCausalLM", "--out", "/proc/x/page.md"], "--out /proc/x cannot be written to"),
            (["MambaForCausalLM", "--out", "/dev"], "--out /dev is a folder"),
            (["nowhere"], "nowhere does not exist; give a folder in the hub's format, a hub name, or one of MambaForCausalLM"),
            (["MambaForCausalLM", "--all"], "give one of MODEL and --all"),
            (["MambaForCausalLM", "--targets", "x_prj"], "unknown target 'x_prj': did you mean 'x_proj'?"),
            (["MambaForCausalLM", "--device", "tpu"], "tpu"),
        ],
    )
    def test_mistakes_are_one_line(self, given: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["targets", *given]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1

    @pytest.mark.parametrize("package", ["transformers", "peft"])
    def test_missing_packages(self, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setitem(sys.modules, package, None)
        assert main(["targets", "MambaForCausalLM", "--targets", "in_proj"]) == 2
        error = capsys.readouterr().err
        assert f"{package} is not importable" in error and "pip install 'ssmproof[models]'" in error and error.count("\n") == 1

    @pytest.mark.parametrize("layout", ["transformers", "mamba_ssm"])
    def test_weights_that_are_not_finite(self, layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        if layout == "transformers":
            model = host_model("BambaForCausalLM")
            model.model.layers[0].mamba.D.data[1] = float("inf")
            model.save_pretrained(tmp_path)
        else:
            own = MambaLM(MambaConfig(16, 1, 24, {"layer": "Mamba1", "d_state": 4}))
            own.backbone.layers[0].mixer.D.data[1] = float("nan")
            save_model(own, tmp_path)
        assert main(["targets", str(tmp_path)]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert f"error: {tmp_path}: " in error and ".D holds NaN or infinity; take a checkpoint of a run" in error

    def test_a_folder_that_is_no_model(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["targets", str(tmp_path)]) == 2
        assert "it has no config.json" in capsys.readouterr().err
        (tmp_path / "config.json").write_text('{"model_type": "mamba", "auto_map": {"AutoConfig": "x.Y"}}', encoding="utf-8")
        assert main(["targets", str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert "transformers cannot load" in error and error.count("\n") == 1
        (tmp_path / "config.json").write_text(
            '{"model_type": "of_ones_own", "auto_map": {"AutoConfig": "x.Y"}}', encoding="utf-8"
        )
        (tmp_path / "x.py").write_text("raise SystemExit('ran')\n", encoding="utf-8")
        assert main(["targets", str(tmp_path)]) == 2
        assert "a model's own code is never run" in capsys.readouterr().err
