"""Breaking the mathematics must break a test: each mutant changes one line of theory/ in a copy and runs its tests there.

A mutant that survives means a test that cannot fail. The text to replace must occur exactly once, so a mutant cannot
silently stop applying when the code moves; a test that was renamed makes pytest exit with another code than a failure's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mutants import Mutant
from mutants.core import CORE
from mutants.families import FAMILIES

ROOT = Path(__file__).resolve().parent.parent
MUTANTS = (*CORE, *FAMILIES)
NODES = sorted({node for mutant in MUTANTS for node in mutant.tests.split()})

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="mutants run in forks; this system has none")]


class Copy:
    """A copy of theory/ with a server that runs its tests (see mutants/runner.py)."""

    def __init__(self, folder: Path):
        self.folder = folder
        shutil.copytree(ROOT / "theory", folder / "theory", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow: slow\n    gpu: gpu\n", encoding="utf-8")
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": "", "PYTHONPYCACHEPREFIX": ""}
        runner = Path(__file__).parent / "mutants" / "runner.py"
        self.server = subprocess.Popen(
            [sys.executable, str(runner)], cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, tests: list[str], seconds: float) -> tuple[int | None, str]:
        """pytest's exit code (None: out of time) and the end of its report."""
        assert self.server.stdin is not None and self.server.stdout is not None
        self.server.stdin.write(json.dumps({"folder": str(self.folder), "tests": tests, "seconds": seconds}) + "\n")
        self.server.stdin.flush()
        line = self.server.stdout.readline()
        assert line, f"the server ended with exit code {self.server.wait()}; its error is above"
        answer: dict[str, Any] = json.loads(line)
        return answer["code"], answer["output"]

    def mutated(self, mutant: Mutant, seconds: float) -> tuple[int | None, str]:
        """The mutant's tests on the mutated copy, which is put right afterwards."""
        target = self.folder / "theory" / mutant.file
        source = target.read_text(encoding="utf-8")
        assert source.count(mutant.old) == 1, f"{mutant.name}: the line to change occurs {source.count(mutant.old)} times"
        try:
            self._write(target, source.replace(mutant.old, mutant.new))
            return self.run(mutant.tests.split(), seconds)
        finally:
            self._write(target, source)

    @staticmethod
    def _write(target: Path, source: str) -> None:
        """Without bytecode of what stood there before, which Python trusts if size and second of writing agree."""
        target.write_text(source, encoding="utf-8")
        for stale in (target.parent / "__pycache__").glob(f"{target.stem}.*"):
            stale.unlink()


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    copied = Copy(tmp_path_factory.mktemp("mutants"))
    yield copied
    assert copied.server.stdin is not None
    copied.server.stdin.close()
    copied.server.wait(timeout=300)


def test_the_unchanged_copy_passes(copy: Copy) -> None:
    """The negative twin of every mutant: without a change the same tests pass in a copy."""
    code, output = copy.run(NODES, 3600)
    assert code == 0, output


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_mutant_is_killed(mutant: Mutant, copy: Copy) -> None:
    code, output = copy.mutated(mutant, 600)
    assert code == 1, f"{mutant.name} survived (exit {code}):\n{output}"
    assert "failed" in output, f"{mutant.name}: no test failed, something else broke:\n{output}"


def test_names_are_unique() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names), sorted(n for n in names if names.count(n) > 1)
