"""Refutations are raised by checks themselves, so that no optimiser deletes them and no bug is taken for one."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from theory.core.invariants import BrokenInvariant, invariant, known
from theory.verification.refutation import Refuted, existing, require

ROOT = Path(__file__).resolve().parents[2]


def test_require() -> None:
    require(True, "never seen")
    require([0])
    with pytest.raises(Refuted, match=r"^x is odd$") as caught:
        require(False, "x is odd")
    assert caught.value.witness is None and not isinstance(caught.value, AssertionError)
    with pytest.raises(Refuted, match=r"^fails at \(1, 'a'\)$") as caught:
        require([], (1, "a"))
    assert caught.value.witness == (1, "a")
    with pytest.raises(Refuted, match="the condition fails"):
        require(0)


def test_existing() -> None:
    assert existing(0) == 0 and existing([], "no list") == []
    with pytest.raises(Refuted, match="no list"):
        existing(None, "no list")


def test_broken_invariants_are_no_refutations() -> None:
    invariant(True, "so it is")
    assert known(0, "a number") == 0
    with pytest.raises(BrokenInvariant, match="so it is"):
        invariant(False, "so it is")
    with pytest.raises(BrokenInvariant, match="a number"):
        known(None, "a number")
    assert not issubclass(BrokenInvariant, Refuted | AssertionError | ValueError)


def asserts(text: str) -> list[int]:
    """Lines on which a module asserts or speaks of AssertionError."""
    nodes = ast.walk(ast.parse(text))
    return [n.lineno for n in nodes if isinstance(n, ast.Assert) or (isinstance(n, ast.Name) and n.id == "AssertionError")]


def test_no_module_of_theory_asserts() -> None:
    modules = [p for p in (ROOT / "theory").rglob("*.py") if not p.name.startswith("test_") and p.name != "conftest.py"]
    assert len(modules) > 80
    found = {str(p.relative_to(ROOT)): lines for p in modules if (lines := asserts(p.read_text(encoding="utf-8")))}
    assert not found, "use require (what a claim says) or invariant (what the code has derived)"


def test_asserts_are_seen() -> None:
    assert asserts("x = 1\nif x:\n    assert x, 'no'\ntry:\n    pass\nexcept AssertionError:\n    pass\n") == [3, 6]
    assert not asserts("def f():\n    'assert nothing'\n    require(True)\n")


PLANTED = """
import sys
import theory.sparse_dims.additional_scan.claim as claim
from theory.__main__ import main

run = ["--claim", "sparse_dims.additional_scan", "--profile", "quick", "--jobs", "1"]
right = main(run)
needed = claim.states_needed
claim.states_needed = lambda frozen, target: 2 * needed(frozen, target) + 1
print("planted")
wrong = main(run)
print(f"optimize {sys.flags.optimize}, exit codes {right} and {wrong}")
"""


def test_an_optimiser_changes_nothing() -> None:
    """A count that is wrong is REFUTED, whatever Python leaves out; without it the same run passes.

    PYTHONOPTIMIZE=2 deletes docstrings and all that -O deletes.
    """
    environment = os.environ | {"PYTHONOPTIMIZE": "2", "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", PLANTED], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0 and run.stdout.endswith("optimize 2, exit codes 0 and 1\n"), run.stdout + run.stderr
    right, wrong = run.stdout.split("planted\n")
    assert "1 claim: 1 " in right and "REFUTED" not in right.split("claim:")[1]
    assert "1 claim: 1 REFUTED" in wrong and "states constructed failed" not in run.stderr
