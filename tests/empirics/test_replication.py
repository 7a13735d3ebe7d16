"""Runs drawn by a seed, run again elsewhere and compared."""

from __future__ import annotations

import json
import re

import pytest

pytest.importorskip("torch")

from empirics.__main__ import main
from empirics.errors import InvalidInput
from empirics.experiments.base_benchmark.records import class_record
from empirics.experiments.base_benchmark.verdicts import alike, points
from empirics.study.config import EXPERIMENTS, find_experiment, load_experiment
from empirics.study.pack import RUNS, read_pack
from empirics.study.replication import AGAIN, REPORT, agreement, counted, drawn, replicate
from empirics.study.results import Result
from empirics.study.store import Run, RunFolder, shown_options


def result(seed: int, accuracy: float = 0.5, method: str = "frozen", status="finished", **more) -> Result:
    return Result(
        experiment="vision", claim="c", config={"method": method, "learning_rate": 0.01}, seed=seed, status=status,
        held_out={"test_accuracy": accuracy}, seconds=1.0, git="abc", versions={}, device="cpu",
        device_kind="cpu", scan=None, **more,
    )  # fmt: skip


def test_the_draw_is_of_the_seed_and_not_of_the_order():
    runs = [result(seed) for seed in range(40)]
    first = drawn(runs, 0.1, 0)
    assert len(first) == 4 and first == drawn(runs[::-1], 0.1, 0) and first != drawn(runs, 0.1, 1)
    assert drawn(runs, 0.2, 0)[:4] == first, "a larger share holds the smaller one"
    assert len(drawn(runs, 1.0, 0)) == 40 and len(drawn(runs[:3], 0.1, 0)) == 1
    more = drawn([*runs, result(99)], 0.1, 0)
    assert len(set(map(id, more)) & set(map(id, first))) >= 3
    for share, seed in ((0.0, 0), (1.1, 0), (0.1, -1)):
        with pytest.raises(InvalidInput, match="must lie in"):
            drawn(runs, share, seed)
    with pytest.raises(InvalidInput, match="no test run"):
        drawn([], 0.1, 0)


def test_agreement_says_how_far_scores_are():
    file = load_experiment("vision")
    pairs = [(result(0, 0.50), result(0, 0.50)), (result(1, 0.60), result(1, 0.605)), (result(2, 0.7), result(2, 0.73))]
    found = agreement(file, pairs, 1.0, 0.95)
    assert [row["difference"] for row in found["runs"]] == pytest.approx([0.0, 0.5, 3.0])
    assert found["mean"] == pytest.approx(3.5 / 3) and found["largest"] == pytest.approx(3.0)
    assert found["within"] == pytest.approx(2 / 3) and found["low"] < found["mean"] < found["high"]
    failed = result(3, status="failed", reason="Diverged: nan")
    with_failure = agreement(file, [*pairs, (result(3), failed)], 1.0, 0.95)
    assert with_failure["within"] == pytest.approx(0.5) and with_failure["runs"][-1]["reason"] == "Diverged: nan"
    assert agreement(file, [], 1.0, 0.95)["mean"] is None
    with pytest.raises(InvalidInput, match="state_floor does not say what the points"):
        agreement(load_experiment("state_floor"), pairs, 1.0, 0.95)


def test_rows_alike():
    def run(predicted):
        return result(0).model_copy(update={"metrics": class_record([0, 1, 1, 0], predicted)})

    assert alike(run([0, 1, 1, 0]), run([0, 1, 0, -1])) == 0.5 and alike(run([0, 1, 1, 0]), run([0, 1, 1, 0])) == 1.0
    score = result(0).model_copy(update={"held_out": {"test_score": 0.25}})
    assert points(score) == 25.0


def test_the_command_runs_a_share_again_and_files_it(tmp_path, capsys):
    first, second, filed = (tmp_path / name for name in ("first", "second", "filed"))
    assert main(["sweep", "vision", "--quick", "--out", str(first), "--only", "method=frozen,full"]) == 0
    runs = RunFolder(first).everything("vision")
    tests = counted(load_experiment("vision", quick=True), runs, quick=True)
    assert {r.seed for r in tests} == {0} and len(tests) == 2
    capsys.readouterr()
    command = ["replicate", "vision", "--quick", "--of", str(first), "--out", str(second), "--share", "1", "--into", str(filed)]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "2 of 2 drawn runs repeated (of 2 test runs): 100 % within 1 points, mean difference +0.00" in told
    report = json.loads((filed / "vision" / REPORT).read_text(encoding="utf-8"))
    assert report["drawn"] == 2 and all(row["difference"] == 0 for row in report["runs"])
    assert len(read_pack(filed / "vision" / AGAIN)) == 2
    assert len(RunFolder(second).everything("vision")) == 2, "the runs were made again and not looked up"


def test_several_processes_share_what_was_drawn(tmp_path, capfd):
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["sweep", "vision", "--quick", "--out", str(first), "--only", "method=frozen,full"]) == 0
    command = ["replicate", "vision", "--quick", "--of", str(first), "--out", str(second), "--share", "1", "--workers"]
    assert main([*command, "2"]) == 0
    assert "2 of 2 drawn runs repeated (of 2 test runs): 100 % within 1 points" in capfd.readouterr().out
    assert len(RunFolder(second).everything("vision")) == 2
    assert main([*command, "0"]) == 2 and "--workers 0 must lie in" in capfd.readouterr().err


def test_what_a_gpu_repeated_is_compared_without_one(tmp_path, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["sweep", "vision", "--quick", "--out", str(first), "--only", "method=frozen,full"]) == 0
    file = load_experiment("vision", quick=True)
    tests = counted(file, RunFolder(first).everything("vision"), quick=True)
    command = ["replicate", "vision", "--quick", "--of", str(first), "--out", str(second), "--share", "1", "--collect"]
    second.mkdir()
    assert main(command) == 0 and "0 of 2 drawn runs repeated" in capsys.readouterr().out
    there = tests[0].model_copy(update={"device_kind": "cuda", "device": "a GPU"})
    RunFolder(second).write(Run.of(there, shown_options(file)), there)
    assert main([*command, "--device", "cuda"]) == 0 and "1 of 2 drawn runs repeated" in capsys.readouterr().out
    assert len(RunFolder(second).everything("vision")) == 1, "nothing was run"


def test_a_plan_says_how_many_runs_and_runs_none(tmp_path, capsys):
    assert main(["replicate", "base_benchmark", "--out", str(tmp_path / "again"), "--plan"]) == 0
    told = capsys.readouterr().out
    firsts = counted(load_experiment("base_benchmark"), read_pack(EXPERIMENTS / "base_benchmark" / RUNS))
    chosen = drawn(firsts, 0.1, 0, shown_options(load_experiment("base_benchmark")))
    assert told.startswith(f"base_benchmark: {len(chosen)} of {len(chosen)} drawn runs are missing (of {len(firsts)} test runs)")
    assert f"took {sum(r.seconds for r in chosen) / 60:.0f} min" in told and "on NVIDIA H200" in told
    assert not (tmp_path / "again").exists()


def test_an_experiment_without_points_is_refused_before_anything_runs(tmp_path, capsys):
    assert main(["replicate", "state_floor", "--out", str(tmp_path / "again")]) == 2
    assert "state_floor does not say what the points of a run are" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


def test_runs_of_the_base_benchmark_are_repeated(tmp_path, capsys):
    text = find_experiment("base_benchmark").read_text(encoding="utf-8")
    small, first, second = tmp_path / "small.toml", str(tmp_path / "first"), str(tmp_path / "second")
    methods = re.escape('method = ["frozen", "prompt", ') + ".*"
    text = re.sub(methods, 'method = ["frozen", "lora_linear"]', text.replace('model = "bundled"', 'model = "untrained"'))
    small.write_text(text, encoding="utf-8")
    assert main(["sweep", str(small), "--quick", "--out", first]) == 0
    command = ["replicate", str(small), "--quick", "--of", first, "--out", second, "--share", "0.5"]
    assert main([*command, "--plan"]) == 0
    assert "2 of 2 drawn runs are missing (of 4 test runs)" in capsys.readouterr().out
    assert main(command) == 0
    assert "2 of 2 drawn runs repeated (of 4 test runs): 100 % within 1 points" in capsys.readouterr().out
    report = json.loads((tmp_path / "second" / "base_benchmark_replication.json").read_text(encoding="utf-8"))
    assert all(row["rows_alike"] == 1.0 for row in report["runs"])
    assert main([*command, "--plan"]) == 0
    assert "0 of 2 drawn runs are missing" in capsys.readouterr().out


def test_bad_input_is_one_line(tmp_path, capsys):
    assert main(["replicate", "vision", "--out", str(tmp_path), "--of", str(tmp_path)]) == 2
    assert "holds the first runs" in capsys.readouterr().err
    assert main(["replicate", "vision", "--out", str(tmp_path), "--budget", "0"]) == 2
    assert main(["replicate", "nothing", "--out", str(tmp_path)]) == 2
    with pytest.raises(InvalidInput, match="no test run"):
        replicate("vision", tmp_path / "a", 0.1, 0, source=tmp_path / "b")
