"""``pytest theory`` uses all cores, and only that."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from theory.conftest import pytest_cmdline_main, wants_all_cores
from theory.verification.decide import cores

ROOT = Path(__file__).resolve().parents[1]


def config(*args: str, folder: Path = ROOT, **options: Any) -> Any:
    chosen = {"usepdb": False, "collectonly": False, "capture": "fd", "numprocesses": None, **options}
    return SimpleNamespace(option=SimpleNamespace(**chosen), args=list(args), invocation_params=SimpleNamespace(dir=folder))


@pytest.mark.parametrize(
    ("args", "folder"),
    [(("theory",), ROOT), (("theory/",), ROOT), ((str(ROOT / "theory"),), ROOT / "tests"), ((".",), ROOT / "theory")],
)
def test_the_whole_folder_is_spread(args: tuple[str, ...], folder: Path) -> None:
    asked = config(*args, folder=folder)
    pytest_cmdline_main(asked)
    assert asked.option.numprocesses == cores()


@pytest.mark.parametrize(
    "asked",
    [
        config("theory/core"), config("theory", "tests"), config("tests"), config("theory/test_conftest.py::test"), config(),
        config("theory", usepdb=True), config("theory", collectonly=True), config("theory", capture="no"),
        config("theory", numprocesses=0), config("theory", numprocesses=3), config("."),
    ],
)  # fmt: skip
def test_nothing_else_is(asked: Any) -> None:
    before = asked.option.numprocesses
    pytest_cmdline_main(asked)
    assert asked.option.numprocesses == before


def test_without_xdist_and_in_its_workers() -> None:
    bare, worker = config("theory"), config("theory")
    del bare.option.numprocesses
    worker.workerinput = {}
    assert not wants_all_cores(bare) and not wants_all_cores(worker) and wants_all_cores(config("theory"))
