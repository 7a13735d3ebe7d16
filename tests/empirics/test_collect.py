"""Summaries from finished runs alone: no run is started, runs of several devices stand side by side."""

from __future__ import annotations

import json
import shutil

import pytest
from test_sweep import TEXT, Toy, sweep

from empirics.__main__ import main
from empirics.errors import CheckpointError, Diverged, InvalidInput
from empirics.study import config as config_module
from empirics.study.collect import collect
from empirics.study.config import load_experiment, override
from empirics.study.runner import Missing, Recorded
from empirics.study.store import Archive, RunFolder


@pytest.fixture
def toy(monkeypatch):
    made = Toy()
    monkeypatch.setattr(config_module, "experiment_module", lambda file: made)
    return made


def change(folder, pattern, **values):
    (path,) = folder.glob(pattern)
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return path


def test_the_summary_of_the_runs_that_are_there(tmp_path, toy):
    whole = sweep(tmp_path).run()
    runs, calls = tmp_path / "out" / "runs" / "vision_like", len(toy.calls)
    again = collect(tmp_path / "toy.toml", tmp_path / "out")
    assert len(toy.calls) == calls and {k: v for k, v in again.items() if k != "versions"} == {
        k: v for k, v in whole.items() if k != "versions"
    }
    change(runs, "method=b_rate=100_seed=1_*.json").unlink()
    less = collect(tmp_path / "toy.toml", tmp_path / "out")
    assert not less["complete"] and less["verdict"] == "undecided" and less["measured"] == "3"
    change(runs, "method=b_rate=10_seed=9_*.json").unlink()  # a tuning run: that cell is not chosen from what is left
    less = collect(tmp_path / "toy.toml", tmp_path / "out")
    assert not less["complete"] and less["tuned"] == [{"method": "a", "rate": 10}] and less["measured"] == "2"
    assert len(toy.calls) == calls


def test_a_gpus_result_counts_and_every_device_is_named(tmp_path, toy):
    sweep(tmp_path).run()
    runs = tmp_path / "out" / "runs" / "vision_like"
    path = change(runs, "method=a_rate=10_seed=0_*.json", device="cpu")
    gpu = {"device": "GPU", "device_kind": "cuda", "held_out": {"loss": 7.0}, "versions": {"torch": "9"}}
    (runs / "method=a_rate=10_seed=0_other.json").write_text(json.dumps(json.loads(path.read_text()) | gpu))
    archive = Recorded(tmp_path, Archive(RunFolder(tmp_path / "out").everything("vision_like")))
    file = load_experiment(tmp_path / "toy.toml").model_copy(update={"config": {"method": "a", "rate": 10}})
    assert archive.one(file, 0).device == "GPU"
    with pytest.raises(Missing):
        archive.one(file, 5)
    with pytest.raises(Missing):  # another scan's runs are other runs
        archive.one(override(file, scan="fused"), 0)
    assert collect(tmp_path / "toy.toml", tmp_path / "out")["device"] == "cpu (3 runs), GPU (1 runs)"


def test_a_failed_candidate_is_out_as_in_the_sweep(tmp_path, toy):
    toy.broken_rate, right = 1, toy.run

    def run(config, ctx):
        if config.rate == toy.broken_rate:
            raise Diverged("broken")
        return right(config, ctx)

    toy.run = run
    whole = sweep(tmp_path).run()
    again = collect(tmp_path / "toy.toml", tmp_path / "out")
    assert whole["complete"] and whole["tuned"] == again["tuned"] and again["complete"] and again["measured"] == whole["measured"]


def test_two_results_of_one_run_are_not_mixed(tmp_path, toy):
    sweep(tmp_path).run()
    runs = tmp_path / "out" / "runs" / "vision_like"
    path = change(runs, "method=a_rate=10_seed=0_*.json")
    other = json.loads(path.read_text())
    (runs / "again.json").write_text(json.dumps(other))
    assert collect(tmp_path / "toy.toml", tmp_path / "out")["complete"]  # the same numbers
    (runs / "again.json").write_text(json.dumps(other | {"held_out": {"loss": 7.0}}))
    with pytest.raises(InvalidInput, match="different results of one run"):
        collect(tmp_path / "toy.toml", tmp_path / "out")


def test_mistakes(tmp_path, toy, capsys):
    (tmp_path / "toy.toml").write_text(TEXT, encoding="utf-8")
    with pytest.raises(InvalidInput, match="holds no finished run"):
        collect(tmp_path / "toy.toml", tmp_path / "out")
    assert main(["collect", "visio", "--out", str(tmp_path)]) == 2
    assert "did you mean 'vision'" in capsys.readouterr().err
    sweep(tmp_path).run()
    (tmp_path / "out" / "runs" / "vision_like" / "torn.json").write_text('{"experiment": ')
    with pytest.raises(CheckpointError, match=r"torn\.json is no readable JSON"):
        collect(tmp_path / "toy.toml", tmp_path / "out")


def small_runs(tmp_path):
    """A folder with quick runs of a committed experiment."""
    out = tmp_path / "small"
    assert main(["sweep", "base_mamba2", "--quick", "--out", str(out), "--only", "method=frozen"]) == 0
    return out


def test_small_runs_do_not_take_the_place_of_full_ones(tmp_path, capsys):
    out, committed = small_runs(tmp_path), config_module.EXPERIMENTS / "base_mamba2"
    into = tmp_path / "into"
    shutil.copytree(committed, into / "base_mamba2")
    before = {path.name: path.read_bytes() for path in (into / "base_mamba2").iterdir() if path.is_file()}
    summary = (out / "base_mamba2_quick.json").read_bytes()
    for arguments, said in (
        (["--quick", "--into", str(into)], "is the summary of the full form; give another folder as --into"),
        (["--into", str(into)], "has model = 'untrained_mamba2', where base_mamba2 has 'base_mamba2'"),
        ([], "holds no finished run of the full form"),
        (["--quick", "--scan", "oracle"], "holds no finished run of the small form with the scan oracle"),
        (["--quick", "--scan", "fussed"], "unknown scan 'fussed'"),
    ):
        capsys.readouterr()
        assert main(["collect", "base_mamba2", "--out", str(out), *arguments]) == 2
        assert said in capsys.readouterr().err
    assert before == {path.name: path.read_bytes() for path in (into / "base_mamba2").iterdir() if path.is_file()}
    (into / "base_mamba2/results.json").write_text("[]")
    assert main(["collect", "base_mamba2", "--quick", "--out", str(out), "--into", str(into)]) == 2
    assert "instead of a JSON object; give another folder as --into" in capsys.readouterr().err
    assert summary == (out / "base_mamba2_quick.json").read_bytes() and not (out / "base_mamba2.json").exists()
    assert main(["collect", "base_mamba2", "--quick", "--out", str(out), "--into", str(tmp_path / "other")]) == 0


def test_text_in_place_of_a_score_is_named(tmp_path, capsys):
    out = small_runs(tmp_path)
    for path in (out / "runs/base_mamba2").glob("*seed=1_*.json"):
        result = json.loads(path.read_text())
        path.write_text(json.dumps(result | {"held_out": dict.fromkeys(result["held_out"], "x")}))
    capsys.readouterr()
    assert main(["collect", "base_mamba2", "--quick", "--out", str(out)]) == 2
    assert "the results of base_mamba2 do not fit its judgement (ValueError: could not convert" in capsys.readouterr().err
