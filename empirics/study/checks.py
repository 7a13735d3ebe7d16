"""Tables over all experiments: the small checks of ``make verify`` and the full-size suite of a GPU machine."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import InvalidInput, UnknownName
from .config import experiment_names, load_experiment, override
from .judging import all_failed
from .runner import Runner, silent
from .sweep import SweepRunner
from .verdicts import read_verdicts

QUICK = ("prefix_compiles", "state_to_prefix", "state_floor")
"""Experiments whose small form decides their prediction; the others compare methods over seeds and need their full size."""

SUITE = ("prefix_compiles", "state_to_prefix", "state_floor", "selection", "s4_regression", "vision")
"""The GPU suite, short ones first, so that a short budget finishes something; longer ones are called by name."""


def row(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary in short: ``id`` to ``seconds``, and why runs ``failed``, and if ``all_failed``."""
    return {
        "id": summary["experiment"],
        "claim": summary["claim"],
        "question": summary["question"],
        "predicted": " ".join(summary["prediction"].split()),
        "measured": summary["measured"],
        "verdict": summary["verdict"],
        "complete": summary["complete"],
        "seconds": round(summary["seconds"], 1),
        "failed": [failure["reason"] for failure in summary["failed"]],
        "all_failed": all_failed(summary),
    }


def quick_checks(device: str = "cpu") -> list[dict[str, Any]]:
    """The small experiments, run afresh in a temporary folder; under two minutes on two cores.

    Returns
    -------
    Rows with ``id``, ``claim``, ``question``, ``predicted``, ``measured``, ``verdict`` and ``seconds``.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # at these sizes a second thread only waits
    try:
        with tempfile.TemporaryDirectory() as folder:
            runner = Runner(Path(folder), device, say=silent)
            return [row(runner.run(load_experiment(name, quick=True), quick=True)) for name in QUICK]
    finally:
        torch.set_num_threads(threads)


def gpu_suite(
    out: Path,
    budget: float,
    device: str = "cuda",
    only: Sequence[str] | None = None,
    quick: bool = False,
    scan: str | None = None,
) -> list[dict[str, Any]]:
    """The experiments of :data:`SUITE` at full size: no run starts after ``budget`` seconds, finished runs are never repeated.

    Raises
    ------
    InvalidInput, UnknownName
        A budget that is not positive, a device that does not exist, an unknown experiment.
    """
    if not budget > 0:
        raise InvalidInput(f"--budget {budget} must be a positive number of seconds")
    names = list(only) if only else [name for name in SUITE if name in experiment_names()]
    for name in names:
        if name not in experiment_names():
            raise UnknownName("experiment", name, experiment_names())
    runner = Runner(out, device, deadline=time.monotonic() + budget)
    rows = []
    for name in names:
        file = override(load_experiment(name, quick), scan=scan)
        summary = runner.run(file, quick) if file.sweep is None else SweepRunner(runner, file).run(quick)
        rows.append(row(summary))
    return rows


def beside_theory(rows: Sequence[Mapping[str, Any]], verdicts: Path) -> list[dict[str, Any]]:
    """The rows with ``theory``, the verdict that ``python -m theory --out FILE`` wrote about each row's claim.

    Raises
    ------
    InvalidInput
        The file is missing, is no such report, or does not hold a claim that a row names.
    """
    decided = read_verdicts(verdicts, {row["claim"] for row in rows})
    return [{**row, "theory": decided[row["claim"]]} for row in rows]


def print_rows(rows: Sequence[Mapping[str, Any]], title: str = "Experiments") -> None:
    """Print a table with one row for each experiment; theory's verdict stands beside where the rows hold it."""
    theory = any("theory" in row for row in rows)
    table = Table(title=title, show_lines=True, title_justify="left")
    for name in ("experiment", "claim", *(("theory",) if theory else ()), "measured verdict"):
        table.add_column(name, no_wrap=name != "claim", overflow="fold")
    table.add_column("measured", ratio=1)
    table.add_column("time", justify="right", no_wrap=True)
    for row in rows:
        measured = [row["measured"], *(f"failed: {reason}" for reason in row["failed"])]
        verdict = row["verdict"] + ("" if row["complete"] else "\nnot complete")
        beside = (row.get("theory", ""),) if theory else ()
        cells = (row["id"], row["claim"], *beside, verdict, "\n".join(measured), f"{row['seconds']:.0f} s")
        table.add_row(*(Text(cell) for cell in cells))
    Console(width=None if Console().is_terminal else 130).print(table)
