"""Tables over all experiments: the small checks of ``make verify`` and the full-size suite of a GPU machine."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from .config import experiment_names, load_experiment
from .errors import InvalidInput, UnknownName
from .runner import Runner
from .sweep import SweepRunner

QUICK = ("prefix_compiles", "state_to_prefix", "state_floor")
"""Experiments whose small form decides their prediction; the others compare methods over seeds and need their full size."""

SUITE = ("prefix_compiles", "state_to_prefix", "state_floor", "selection", "s4_regression", "vision")
"""Order of the GPU suite: short ones first, so that a short budget finishes something."""


def _silent(line: str) -> None:
    """Says nothing."""


def row(summary: Mapping[str, Any]) -> dict[str, Any]:
    """(id, claim, question, predicted, measured, verdict, complete, seconds) of a summary."""
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
            runner = Runner(Path(folder), device, say=_silent)
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
    """Every committed experiment at full size: no run starts after ``budget`` seconds, finished runs are never repeated.

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
    runner = Runner(out, device, scan, deadline=time.monotonic() + budget)
    rows = []
    for name in names:
        file = load_experiment(name, quick)
        summary = runner.run(file, quick) if file.sweep is None else SweepRunner(runner, file).run(quick)
        rows.append(row(summary))
    return rows


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print one block for each row."""
    for r in rows:
        note = "" if r["complete"] else ", not complete"
        print(f"{r['id']:18} {r['verdict']:15} {r['claim']} ({r['seconds']:.0f} s{note})\n{'':18} {r['measured']}")
        for reason in r["failed"]:
            print(f"{'':18} failed: {reason}")
