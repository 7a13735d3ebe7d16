"""Bad input, full disks and unwritable places: one line, exit code 2, and nothing that was computed is lost."""

from __future__ import annotations

import json
import os

import pytest
import torch
from safetensors import SafetensorError
from test_runner import GOOD, Toy, file_of
from torch import nn

import theory.__main__
from empirics.__main__ import main
from empirics.errors import CheckpointError, EmpiricsError, InvalidInput
from empirics.study import config as config_module
from empirics.study.config import Strict, load_experiment
from empirics.study.judging import judge
from empirics.study.results import Metrics
from empirics.study.runner import HOPELESS, Runner
from empirics.study.store import Run
from empirics.tensors import write_tensors
from empirics.training.loop import Optimiser
from theory.core import files


@pytest.fixture
def toy(monkeypatch):
    made = Toy()
    monkeypatch.setattr(config_module, "experiment_module", lambda file: made)
    return made


def said(capsys) -> str:
    """What stands on stderr: one line, which begins with error:."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--model", "/nonexistent"], "CheckpointError: /nonexistent does not exist"),
        (["--set", "learning_rate=Infinity", "--set", "model=untrained"], "learning_rate is inf"),
        (["--set", "rank=1000000", "--set", "model=untrained"], "rank 1000000 exceeds"),
        (["--set", "task=cola", "--set", "model=untrained"], "no data for cola is shipped"),
    ],
)
def test_an_experiment_of_which_every_run_failed_is_an_error(tmp_path, capsys, options, reason):
    assert main(["run", "lm_benchmark", "--quick", "--out", str(tmp_path), *options]) == 2
    error = said(capsys)
    assert error.startswith("error: every run of lm_benchmark failed: ") and reason in error


def test_a_suite_of_which_an_experiment_failed_altogether_is_an_error(tmp_path, monkeypatch, capsys):
    from empirics.experiments.selection import run as selection

    def broken(config, ctx):
        raise InvalidInput("no such thing")

    monkeypatch.setattr(selection, "run", broken)
    arguments = ["gpu-suite", "--quick", "--device", "cpu", "--only", "selection", "--out", str(tmp_path), "--budget", "60"]
    assert main(arguments) == 2
    assert said(capsys) == "error: every run failed of selection (InvalidInput: no such thing)"


def test_one_failed_run_among_others_is_no_error(tmp_path, toy, capsys):
    toy.fails_at = 1
    path = tmp_path / "toy.toml"
    path.write_text(GOOD)
    assert main(["run", str(path), "--out", str(tmp_path / "out")]) == 0
    assert "failed, seed 1: InvalidInput: the loss is nan" in capsys.readouterr().out
    toy.fails_at = 0
    path.write_text(GOOD.replace("[0, 1]", "[0]"))
    assert main(["run", str(path), "--out", str(tmp_path / "other")]) == 2


def test_failures_that_are_all_alike_end_a_study_early(tmp_path, toy):
    seeds = list(range(HOPELESS + 5))
    file = file_of(tmp_path, GOOD.replace("[0, 1]", str(seeds)).replace("size = 3", 'size = 3\nfail = "boom"'))
    with pytest.raises(EmpiricsError, match=rf"the first {HOPELESS} runs failed alike, .*: ZeroDivisionError: boom"):
        Runner(tmp_path / "out", say=lambda line: None).run(file)
    assert toy.calls == seeds[:HOPELESS]
    toy.calls.clear()
    toy.run = lambda config, ctx: (toy.calls.append(ctx.seed), Metrics() if ctx.seed == 0 else 1 / 0)[1]
    Runner(tmp_path / "other", say=lambda line: None).seeds(file)
    assert toy.calls == seeds, "one that has finished says that the mistake is not in what all share"


@pytest.mark.parametrize("place", ["file", "proc"])
def test_the_folder_is_tried_before_anything_runs(tmp_path, toy, capsys, place):
    (tmp_path / "file").write_text("")
    (tmp_path / "toy.toml").write_text(GOOD)
    out = tmp_path / "file" / "out" if place == "file" else "/proc/out"
    assert main(["run", str(tmp_path / "toy.toml"), "--out", str(out)]) == 2
    assert "cannot be written to" in said(capsys) and toy.calls == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["gpu-suite", "--budget", "1", "--device", "cpu", "--quick", "--out", "/proc/x"],
        ["checks", "--json", "/proc/x/rows.json"],
        *(["bench", name, "--out", "/proc/x/y.json"] for name in ("scan", "model", "block", "selection")),
        ["coverage", "--out", "/proc/x/y.json"],
        ["rejudge", "--out", "/proc/x/y.json"],
        ["pretrain-baselines", "--corpus", __file__, "--json", "/proc/x/y.json"],
        ["diagnose", "--json", "/proc/x/y.json"],
        ["diagnose", "--out", "/proc/x"],
        ["targets", "--out", "/proc/x/y.md"],
        ["unpack", "vision", "--out", "/proc/x"],
        ["collect", "vision", "--out", "o", "--into", "/proc/x"],
        ["replicate", "vision", "--out", "o", "--into", "/proc/x"],
    ],
)
def test_every_command_tries_its_place_first(capsys, arguments):
    assert main(arguments) == 2 and "cannot be written to" in said(capsys)


@pytest.mark.parametrize(
    "arguments",
    [*(["bench", name, "--out", "."] for name in ("scan", "model", "block", "selection")), ["coverage", "--out", "."],
     ["rejudge", "--out", "."], ["checks", "--json", "."], ["diagnose", "--json", "."], ["targets", "--out", "."]],
)  # fmt: skip
def test_every_command_knows_a_folder_where_a_file_is_to_be(capsys, arguments):
    assert main(arguments) == 2 and f"{arguments[-2]} . is a folder; name a file in it" in said(capsys)


def test_theory_tries_its_place_before_it_decides(capsys):
    assert theory.__main__.main(["--claim", "prefix_state.equivalent", "--out", "/proc/x.json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ") and captured.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["run", "--nope"], ["run"], ["collect", "vision"], ["bench", "scan", "--widths"]])
def test_a_mistake_on_the_command_line_is_one_line(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1 and "--help" in error


def test_a_full_disk_is_the_systems_error_when_tensors_are_written(tmp_path, monkeypatch):
    """The library has an error of its own for it, which nobody would catch."""
    write_tensors(tmp_path / "a.safetensors", {"w": torch.ones(2)}, {"k": "v"})
    old = (tmp_path / "a.safetensors").read_bytes()

    def full(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("empirics.tensors.save_file", full)
    with pytest.raises(OSError, match=r"cannot write .*a\.safetensors: .*No space left"):
        write_tensors(tmp_path / "a.safetensors", {"w": torch.zeros(2)})
    assert (tmp_path / "a.safetensors").read_bytes() == old and len(list(tmp_path.iterdir())) == 1


class Training:
    """An experiment of one training, which counts its steps."""

    class Config(Strict):
        steps: int = 12

    def __init__(self):
        self.steps = 0

    def run(self, config, ctx):
        weight = nn.Parameter(torch.ones(2))

        def loss(step):
            self.steps += 1
            return weight.square().sum()

        ctx.train("one", {"w": weight}, loss, Optimiser(1e-2, config.steps))
        return Metrics(held_out={"loss": weight.square().sum().item()})

    def judge(self, results, threshold):
        raise AssertionError


def test_a_full_disk_loses_no_computed_work(tmp_path, monkeypatch, capsys):
    """The result cannot be written: one line, exit code 2; the next call finds the trained weights and takes no step again."""
    made = Training()
    monkeypatch.setattr(config_module, "experiment_module", lambda file: made)
    (tmp_path / "toy.toml").write_text(
        GOOD.replace("size = 3", "steps = 12").replace("size = 2", "steps = 12").replace("[0, 1]", "[0]")
    )
    replace, out = os.replace, tmp_path / "out"

    def full(source, target):
        if "runs" in str(target):
            raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", full)
        assert main(["run", str(tmp_path / "toy.toml"), "--out", str(out)]) == 2
    assert "No space left on device; what is finished is kept: call again" in said(capsys) and made.steps == 12
    result = Runner(out, say=lambda line: None).one(load_experiment(tmp_path / "toy.toml"), 0)
    assert result.status == "finished" and made.steps == 12


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "state_floor", "--threads", "99999999999"], "--threads 99999999999 must lie in 1..4096"),
        (["run", "./x.toml"], "./x.toml does not exist"),
        (["run", "x.toml"], "x.toml does not exist"),
        (["run", "../state_floor"], "unknown experiment"),
        (["run", "a" * 5000], "File name too long"),
        (["collect", "vision", "--out", "/nonexistent"], "holds no finished run"),
        (["unpack", "vision", "--out", "/proc/x"], "--out /proc/x cannot be written to"),
        (["unpack", "vision", "--out", "o", "--source", "/nonexistent"], "cannot read /nonexistent/vision/runs.jsonl"),
    ],
)
def test_bad_arguments(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2 and words in said(capsys)


def test_a_missing_threshold_is_known_before_the_runs(tmp_path, toy):
    toy.THRESHOLDS = ("limit", "other")
    with pytest.raises(InvalidInput, match=r"\[threshold\] lacks 'other'"):
        Runner(tmp_path / "out", say=lambda line: None).run(file_of(tmp_path))
    assert toy.calls == []


def test_every_experiment_declares_the_thresholds_that_its_file_gives():
    for name in config_module.experiment_names():
        file = load_experiment(name)
        assert set(config_module.experiment_module(file).THRESHOLDS) == set(file.threshold), name


@pytest.mark.parametrize("error", [OverflowError("huge"), TypeError("text"), AttributeError("null"), ZeroDivisionError("none")])
def test_results_that_no_arithmetic_holds_are_named(tmp_path, toy, error):
    def broken(results, threshold):
        raise error

    toy.judge = broken
    with pytest.raises(CheckpointError, match=rf"do not fit its judgement \({type(error).__name__}: .*test_robust\.py"):
        judge(file_of(tmp_path), [])


def test_long_values_make_no_long_file_name():
    run = Run("e", {"method": "m" * 300}, 3, "cpu", None, ("method",))
    assert run.stem == f"seed=3_{run.hash}" and Run("e", {"method": "m"}, 3, "cpu", None, ("method",)).stem.startswith(
        "method=m_seed=3_"
    )
    assert Run("e", {"method": "n" * 300}, 3, "cpu", None, ("method",)).stem != run.stem


def test_torchrun_needs_no_address(tmp_path, monkeypatch, capsys):
    """Processes meet in the folder: WORLD_SIZE without MASTER_ADDR is enough."""
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    assert main(["sweep", "vision", "--quick", "--budget", "1e-9", "--out", str(tmp_path)]) == 0
    assert "not complete" in capsys.readouterr().out


DEEP = "[" * 100_000


def test_deeply_nested_files_are_named(tmp_path, toy, capsys):
    runner = Runner(tmp_path / "out", say=lambda line: None)
    file = file_of(tmp_path)
    runner.run(file)
    runner.path(file, 0).write_text(DEEP)
    with pytest.raises(CheckpointError, match="nested too deeply"):
        runner.run(file)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"d_model": 8, "n_layer": 2, "vocab_size": 19, "ssm_cfg": {"layer": "Mamba1", "expand": 1e308}}, "expand = 1e+308"),
        ({"model_type": "mamba2", "time_step_limit": [{"x": 1}, 3]}, "time_step_limit holds {'x': 1}"),
        ({"model_type": "mamba2", "time_step_limit": ["abc", 3]}, "time_step_limit holds 'abc'"),
        (DEEP, "nested too deeply"),
    ],
)
def test_configurations_of_models(tmp_path, capsys, config, words):
    sizes = {
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "vocab_size": 19,
        "num_heads": 2,
        "head_dim": 8,
        "state_size": 4,
        "expand": 2,
    }
    text = config if isinstance(config, str) else json.dumps({**(sizes if "model_type" in config else {}), **config})
    (tmp_path / "config.json").write_text(text)
    assert main(["diagnose", str(tmp_path)]) == 2 and words in said(capsys)


def test_deeply_nested_rows(tmp_path, capsys):
    (tmp_path / "train.jsonl").write_text(DEEP + "\n")
    arguments = [
        "run",
        "lm_benchmark",
        "--quick",
        "--set",
        "model=untrained",
        "--data",
        str(tmp_path),
        "--out",
        str(tmp_path / "o"),
    ]
    assert main(arguments) == 2 and "train.jsonl, line 1 is no readable JSON: nested too deeply" in said(capsys)
