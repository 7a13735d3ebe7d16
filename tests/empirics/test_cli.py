"""Command line: every mistake gives one line and exit code 2, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from empirics.__main__ import main
from empirics.errors import InvalidInput
from empirics.study import checks
from empirics.study.config import experiment_names, load_experiment, override

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frobnicate"], "unknown command 'frobnicate'"),
        (["runn"], "did you mean 'run'"),
        (["run", "state_flor"], "did you mean 'state_floor'"),
        (["run", "some/where.toml"], "does not exist"),
        (["run", "state_floor", "--quick", "--device", "gpu"], "device 'gpu' is unknown"),
        (["run", "state_floor", "--scan", "fusd"], "did you mean 'fused'"),
        (["run", "state_floor", "--budget", "0"], "--budget 0"),
        (["run", "state_floor", "--threads", "0"], "--threads 0"),
        (["sweep", "state_floor", "--quick"], "no [sweep]"),
        (["sweep", "s4_regression", "--launcher", "slrum"], "did you mean 'slurm'"),
        (["sweep", "s4_regression", "--only", "method=ful"], "did you mean 'full'"),
        (["bench", "scn"], "did you mean 'scan'"),
        (["bench"], "unknown benchmark"),
        (["gpu-suite", "--out", "x", "--budget", "-1", "--device", "cpu"], "--budget -1"),
        (["gpu-suite", "--out", "x", "--budget", "1", "--device", "cpu", "--only", "visoin"], "did you mean 'vision'"),
    ],
)
def test_mistakes_give_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    try:
        assert main(arguments) == 2
    finally:
        torch.set_num_threads(threads)
    err = capsys.readouterr().err
    assert message in err and err.startswith("error: ") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_out_must_be_a_folder(tmp_path, capsys):
    path = tmp_path / "file"
    path.write_text("")
    assert main(["run", "state_floor", "--out", str(path)]) == 2
    assert "is a file" in capsys.readouterr().err


def test_as_a_program():
    run = subprocess.run([sys.executable, "-m", "empirics", "run", "nothing"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 2 and "Traceback" not in run.stderr and run.stderr.startswith("error: unknown experiment")


def test_list_names_every_experiment(capsys):
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in experiment_names()) and "sdt_lora" in printed


def test_run_writes_results_and_skips_them_the_second_time(tmp_path, capsys):
    text = (ROOT / "empirics/experiments/prefix_compiles/experiment.toml").read_text(encoding="utf-8")
    small = tmp_path / "small.toml"
    small.write_text(text.replace("tokens = [1, 2, 16]", "tokens = [16]").replace("lengths = [1, 2, 17]", "lengths = [17]"))
    command = ["run", str(small), "--quick", "--scan", "chunked", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    first = capsys.readouterr()
    assert "prefix_compiles: reproduced" in first.out and "seed=0" in first.err
    summary = json.loads((tmp_path / "out" / "prefix_compiles_quick.json").read_text())
    assert summary["quick"] and summary["complete"] and summary["failed"] == []
    (run,) = (tmp_path / "out" / "runs" / "prefix_compiles").glob("*.json")
    record = json.loads(run.read_text())
    assert {row["scan"] for row in record["held_out"]["settings"]} == {"chunked"}
    assert main(command) == 0
    assert "seed=0" not in capsys.readouterr().err
    run.write_text("{")
    assert main(command) == 2
    assert run.name in capsys.readouterr().err


def test_gpu_suite_within_a_budget_is_resumable(tmp_path, capsys, monkeypatch):
    def smaller(name, quick):
        return override(load_experiment(name, quick), tokens=[2], width=1, steps=0)

    monkeypatch.setattr(checks, "load_experiment", smaller)
    command = ["gpu-suite", "--out", str(tmp_path), "--device", "cpu", "--quick", "--only", "state_to_prefix"]
    assert main([*command, "--budget", "1e-9"]) == 0
    assert "not complete: state_to_prefix" in capsys.readouterr().out
    assert main([*command, "--budget", "600"]) == 0
    assert "\ncomplete" in capsys.readouterr().out


def test_checks_stand_beside_theorys_verdicts(tmp_path, capsys):
    rows = [
        {
            "id": "one",
            "claim": "family.claim",
            "measured": "0.1 %",
            "verdict": "reproduced",
            "complete": False,
            "seconds": 1.2,
            "failed": ["why"],
        }
    ]
    report = tmp_path / "verdicts.json"
    report.write_text(json.dumps({"claims": [{"id": "family.claim", "verdict": "OPEN"}]}))
    found = checks.beside_theory(rows, report)
    assert found == [{**rows[0], "theory": "OPEN"}] and "theory" not in rows[0]
    checks.print_rows(found, "Title")
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("Title", "OPEN", "reproduced", "not complete", "failed: why", "0.1 %", "1 s"))
    checks.print_rows(rows)
    assert "theory" not in capsys.readouterr().out
    with pytest.raises(InvalidInput, match=r"does not hold family\.other; make it anew"):
        checks.beside_theory([{**rows[0], "claim": "family.other"}], report)
    report.write_text("{}")
    with pytest.raises(InvalidInput, match="is no report of theory"):
        checks.beside_theory(rows, report)


def test_checks_look_at_the_verdicts_before_they_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(checks, "quick_checks", lambda device: pytest.fail("ran"))
    assert main(["checks", "--verdicts", str(tmp_path / "none.json")]) == 2
    assert "python -m theory --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["targets", ""],
        ["diagnose", ""],
        ["generate", "--model", "", "--prompt", "x"],
        ["convert", "", "--to", "mamba_ssm", "--out", "o"],
        ["tune", "--model", "", "--data", "rows.jsonl", "--out", "o", "--no-plot"],
    ],
)
def test_an_empty_name_is_not_the_bundled_model(arguments, tmp_path, monkeypatch, capsys):
    """As a shell gives it for a variable that is not set."""
    if arguments[0] == "targets":
        pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "the model's name is empty; give a folder" in error and error.count("\n") == 1
