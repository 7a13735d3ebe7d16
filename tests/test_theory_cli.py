"""The command line of theory: exit codes, errors without a traceback, JSON that says what the table says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from theory.__main__ import main
from theory.prefix_state import STATEMENTS

ROOT = Path(__file__).resolve().parent.parent


def theory(*args: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m theory`` as a user would."""
    return subprocess.run([sys.executable, "-m", "theory", *args], cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_one_claim_as_json(tmp_path):
    out = tmp_path / "verdicts.json"
    run = theory("--claim", "lora_limits.published_in_proj", "--profile", "quick", "--json", "--out", str(out))
    assert run.returncode == 0, run.stderr
    printed, written = json.loads(run.stdout), json.loads(out.read_text())
    assert printed == written
    (claim,) = printed["claims"]
    assert claim["id"] == "lora_limits.published_in_proj" and claim["verdict"] == "FORMAL"
    assert all(c["instances"] > 0 for c in claim["checks"])
    assert {a["verdict"] for a in claim["assumptions"]} == {"REFUTED"}  # each assumption is shown to be needed
    assert printed["versions"]["numpy"] and printed["profile"]["seed"] == 0
    progress = r"^\[1/1\] lora_limits\.published_in_proj +FORMAL +\d+\.\d s$"
    assert re.search(progress, run.stderr, flags=re.M)  # no terminal is needed
    assert f"{out}: written" in run.stderr.replace("\n", "")
    before = out.read_bytes()
    again = theory("--claim", "lora_limits.published_in_proj", "--profile", "quick", "--jobs", "1", "--out", str(out))
    assert again.returncode == 0 and "no verdict changed, left as it is" in " ".join(again.stderr.split())
    assert out.read_bytes() == before


def test_details_show_the_counterexamples():
    run = theory("--claim", "prefix_state.selective", "--profile", "quick", "--details")
    assert run.returncode == 0, run.stderr
    assert "assumes distinct decays" in run.stdout and "(−1, −1) is out of reach" in " ".join(run.stdout.split())


def test_list():
    run = theory("--list", "--family", "prefix_state")
    assert run.returncode == 0
    assert [line.split()[0] for line in run.stdout.strip().splitlines()] == [f"prefix_state.{name}" for name in STATEMENTS]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--claim", "prefix_state.equivalant"], "did you mean prefix_state.equivalent"),
        (["--family", "prefix"], "prefix_state"),
        (["--profile", "fast"], "choose quick, ci, long"),
        (["verfy"], "unknown command 'verfy'"),
        (["--jobs", "0"], "--jobs 0"),
        (["--claim", "prefix_state.decay", "--family", "prefix_state"], "not both"),
        (["--out", "no/such/folder/x.json"], "does not exist"),
        (["diagnose", "no-such-file.safetensors"], "no-such-file.safetensors"),
        (["diagnose", "--init", "mambo"], "mamb"),
        (["readme", "--verdicts", "absent.json"], "absent.json"),
    ],
)
def test_bad_input_exits_2_without_a_traceback(args: list[str], says: str, capsys: pytest.CaptureFixture[str]):
    try:
        code = main(args)
    except SystemExit as stopped:
        code = stopped.code
    told = capsys.readouterr()
    assert code == 2 and told.out == "", told
    assert says in told.err and told.err.count("\n") == 1


def test_bad_input_exits_2_as_a_program():
    run = theory("--claim", "prefix_state.equivalant")
    assert run.returncode == 2 and run.stdout == ""
    assert "did you mean prefix_state.equivalent" in run.stderr and run.stderr.count("\n") == 1


def test_a_refuted_claim_exits_1(monkeypatch, capsys):
    """A check that fails becomes REFUTED with its witness, and the exit code says so."""
    from theory import __main__ as cli
    from theory.verification import registry
    from theory.verification.claim import Check, Claim, Outcome, Planted, Verdict
    from theory.verification.refutation import Refuted

    def wrong(profile):
        raise Refuted("1 + 1 = 3 fails at 1 + 1")

    def right(profile):
        return Outcome(Verdict.EXACT, "checked", instances=1)

    def broken(profile):
        raise KeyError("a bug")

    def decided(*checks):
        claim = Claim("prefix_state.wrong", "t", "s", "module", "any", checks)
        monkeypatch.setattr(registry, "all_claims", lambda: (claim,))
        code = cli.main(["--claim", "prefix_state.wrong", "--jobs", "1"])
        return code, " ".join(capsys.readouterr().out.split())

    caught = (Planted("anything", wrong),)
    code, shown = decided(Check("a", wrong, planted=caught), Check("b", right, planted=caught))
    assert code == 1 and "REFUTED" in shown and "1 + 1 = 3 fails at 1 + 1" in shown
    code, shown = decided(Check("a", broken, planted=caught))
    assert code == 1 and "1 ERROR" in shown and "KeyError" in shown
    code, shown = decided(Check("b", right, planted=(Planted("harmless", right),)))
    assert code == 1 and "1 ERROR" in shown and "harmless: passes" in shown
    assert decided(Check("b", right, planted=caught))[0] == 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_terminal_without_unicode_shows_every_answer(encoding: str, form: list[str]):
    command = [sys.executable, "-m", "theory", "--claim", "beyond.mamba3", "--profile", "quick", "--jobs", "1", *form]
    run = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONIOENCODING": encoding}, capture_output=True)
    assert (run.returncode, b"Traceback" in run.stderr) == (0, False) and b"beyond.mamba3" in run.stdout
