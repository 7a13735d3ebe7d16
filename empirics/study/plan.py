"""What a sweep has still to do, cell by cell, and for how long: counted in its folder, nothing is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from . import config
from .config import EXPERIMENTS, ExperimentFile, override
from .pack import RUNS, read_pack
from .results import Result
from .runner import Missing, Recorded, Runner
from .sweep import CannotChoose, Choice, SweepRunner


@dataclass(frozen=True)
class CellPlan:
    """One cell.

    Attributes
    ----------
    cell:
        Its options.
    tuning, tuning_missing:
        Runs that tune, as far as they are known, and how many of them are not there.
    open_end:
        Whether the grid may grow further.
    counting, counting_missing:
        The same of the runs that count.
    seconds:
        A run's wall seconds: the mean over recorded runs of this cell, else of cells that differ in the method alone, else of
        all; ``None`` where nothing is recorded.
    timed_as:
        The experiment whose committed runs tell the seconds, empty where they are this folder's.
    """

    cell: Mapping[str, Any]
    tuning: int
    tuning_missing: int
    open_end: bool
    counting: int
    counting_missing: int
    seconds: float | None
    timed_as: str = ""

    @property
    def missing(self) -> int:
        """Runs that are not there."""
        return self.tuning_missing + self.counting_missing

    @property
    def minutes(self) -> float | None:
        """Expected time of the missing runs, one after the other."""
        return None if self.seconds is None else self.missing * self.seconds / 60


def plan_of(runner: Runner, file: ExperimentFile) -> list[CellPlan]:
    """The plan of every cell, in the order of the grid.

    Where nothing is recorded on that kind of device yet, the committed runs of the experiment tell how long a run takes, or
    those of another one that its module names: ``TIMED_AS = (experiment, scan)``.

    Raises
    ------
    InvalidInput
        The file has no sweep.
    CheckpointError
        A result's file is corrupt.
    """
    recorded = runner.recorded
    sweep = SweepRunner(recorded, file)
    alike = ("finished", runner.device_kind, file.scan)
    results, timed_as = [r for r in recorded_results(runner, file) if (r.status, r.device_kind, r.scan) == alike], ""
    if not results:
        results, timed_as = _committed(file, runner.device_kind)
    plans = [_cell(sweep, recorded, file, cell, candidates, results) for cell, candidates in sweep.tuning()]
    return [replace(plan, timed_as=timed_as) for plan in plans]


def _committed(file: ExperimentFile, device_kind: str) -> tuple[list[Result], str]:
    """Committed runs on that kind of device that tell a run's seconds, and whose they are."""
    named = getattr(config.experiment_module(file), "TIMED_AS", None)
    for name, scan in ((file.id, file.scan), *(() if named is None else (named,))):
        path = EXPERIMENTS / name / RUNS
        runs = read_pack(path).values() if path.is_file() else ()
        if found := [r for r in runs if (r.status, r.device_kind, r.scan) == ("finished", device_kind, scan)]:
            return found, name
    return [], ""


def recorded_results(runner: Runner, file: ExperimentFile) -> list[Result]:
    """Every result of the experiment in the runner's folder."""
    return list(runner.store.everything(file.id).values())


def _cell(
    sweep: SweepRunner,
    recorded: Recorded,
    file: ExperimentFile,
    cell: Mapping[str, Any],
    candidates: Sequence[dict[str, Any]],
    results: Sequence[Result],
) -> CellPlan:
    seeds = sweep.sweep.tuning_seeds
    tunes = len(candidates) > 1 and sweep.tuned_as(cell) is None
    tuning = [({**cell, **candidate}, seed) for candidate in candidates for seed in seeds] if tunes else []
    absent = sum(not _there(recorded, file, options, seed, True) for options, seed in tuning)
    choice: Choice | None = None
    open_end = False
    try:
        choice = sweep.tune(cell, list(candidates))
    except (Missing, CannotChoose):
        open_end = tunes and bool(sweep.sweep.widen)
    more = len(seeds) if open_end and not absent else 0  # the grid has grown: one more value at least
    if choice is None:
        missing = len(file.seeds)
    else:
        missing = sum(not _there(recorded, file, {**cell, **choice.options}, seed, False) for seed in file.seeds)
    counts = len(tuning) + more, absent + more
    return CellPlan(cell, *counts, open_end, len(file.seeds), missing, _seconds(cell, results))


def _there(recorded: Recorded, file: ExperimentFile, options: Mapping[str, Any], seed: int, tuning: bool) -> bool:
    try:
        return recorded.one(override(file, **options), seed, tuning).status == "finished"
    except Missing:
        return False


def _seconds(cell: Mapping[str, Any], results: Sequence[Result]) -> float | None:
    known = {name: value for name, value in cell.items() if any(r.config.get(name) == value for r in results)}
    for wanted in (known, {name: value for name, value in known.items() if name != "method"}, {}):
        alike = [r.seconds for r in results if all(r.config.get(name) == value for name, value in wanted.items())]
        if alike:
            return fmean(alike)
    return None


def lines(plans: Sequence[CellPlan], processes: int) -> list[str]:
    """The plan as text: a line for each cell, then the sum.

    Parameters
    ----------
    processes:
        How many run at a time.
    """
    found = []
    for plan in plans:
        name = " ".join(f"{value}" for value in plan.cell.values())
        tuning = f"tuning {plan.tuning - plan.tuning_missing}/{plan.tuning}{'+' if plan.open_end else ''}"
        took = (
            "unknown" if plan.seconds is None or plan.minutes is None else f"{plan.seconds:.1f} s a run, {plan.minutes:.1f} min"
        )
        found.append(f"{name:32} {tuning:16} counting {plan.counting - plan.counting_missing}/{plan.counting:<5} {took}")
    missing = sum(plan.missing for plan in plans)
    runs = sum(plan.tuning + plan.counting for plan in plans)
    unknown = any(plan.minutes is None and plan.missing for plan in plans)
    minutes = sum(plan.minutes or 0.0 for plan in plans)
    text = "unknown time: no run is recorded" if unknown else f"{minutes:.0f} min one after the other"
    if not unknown and processes > 1:
        text += f", {minutes / processes:.0f} min by {processes} processes if none slows another"
    if timed_as := next((plan.timed_as for plan in plans if plan.timed_as), ""):
        text += f"; seconds of {timed_as}'s committed runs"
    grow = "; + : the grid grows until its best value is interior" if any(plan.open_end for plan in plans) else ""
    return [*found, f"{missing} of {runs} runs are missing, {text}{grow}"]
