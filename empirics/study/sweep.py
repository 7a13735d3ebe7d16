"""Sweeps: every cell of a grid, its learning rate chosen on a seed of its own, then the seeds that count.

Runs are result files like those of a single experiment, so a sweep can be cut off anywhere and called again; runs that are
finished are skipped. With ``launcher="slurm"`` the missing runs go to a Slurm cluster through submitit, one job each.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, InvalidInput, MissingPackage, UnknownName
from . import config
from .claims import POLL, Busy
from .config import ExperimentFile, Sweep, override
from .judging import require_thresholds
from .results import Result, config_hash
from .runner import Missing, OutOfTime, Runner, Runs
from .statistics import geometric_mean

LAUNCHERS = ("local", "slurm")


def combinations(options: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """All combinations of the options' values, the last option running fastest; one empty one for no options.

    Raises
    ------
    InvalidInput
        An option with no value.
    """
    for name, values in options.items():
        if not values:
            raise InvalidInput(f"[sweep] gives no value for {name!r}")
    return [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]


def cells_of(sweep: Sweep) -> list[dict[str, Any]]:
    """All combinations of the grid but those that :attr:`.config.Sweep.only` leaves out, in the order of the grid."""

    def runs(cell: Mapping[str, Any]) -> bool:
        values = (str(value) for option, value in cell.items() if option != "method")
        return all(cell["method"] in sweep.only[value] for value in values if value in sweep.only)

    return [cell for cell in combinations(sweep.grid) if runs(cell)]


def restrict(sweep: Sweep, chosen: Iterable[str]) -> Sweep:
    """The sweep with some grid options cut down to ``name=value,value`` (as given on the command line).

    Raises
    ------
    UnknownName
        No such grid option, or no such value of it.
    """
    grid = dict(sweep.grid)
    for part in chosen:
        name, _, listed = part.partition("=")
        if name not in grid:
            raise UnknownName("grid option", name, grid)
        by_text = {str(value): value for value in grid[name]}
        for text in listed.split(","):
            if text not in by_text:
                raise UnknownName(f"value of {name}", text, by_text)
        grid[name] = [by_text[text] for text in listed.split(",")]
    return sweep.model_copy(update={"grid": grid})


SharedRun = tuple[Mapping[str, Any], int, bool]
"""A run that any process may do: options, seed, and whether it only tunes."""


class CannotChoose(Exception):
    """A tuning run failed for another reason than divergence: what it would have given is not known, so nothing is chosen.

    Attributes
    ----------
    failures:
        The failed runs.
    """

    def __init__(self, failures: Sequence[Result]):
        self.failures = tuple(failures)
        super().__init__(f"{len(failures)} tuning runs failed, the first one: {failures[0].reason}")


@dataclass(frozen=True)
class Choice:
    """What was chosen for a cell.

    Attributes
    ----------
    options:
        The best candidate.
    at_edge:
        Tuned options whose best value is an end of all that were tried.
    """

    options: dict[str, Any]
    at_edge: tuple[str, ...] = ()


@dataclass
class SweepRunner:
    """One sweep of one experiment.

    Attributes
    ----------
    runner:
        Runs and stores, or only looks up.
    file:
        The experiment, with a ``[sweep]``.
    start:
        Where this process begins among the runs that it shares, in [0, 1): others begin elsewhere, so that each meets the same
        model and data again.
    """

    runner: Runs
    file: ExperimentFile
    start: float = 0.0
    _seen: dict[str, Result] = field(default_factory=dict, repr=False)

    @property
    def sweep(self) -> Sweep:
        """The file's sweep; InvalidInput where it has none."""
        if self.file.sweep is None:
            raise InvalidInput(f"{self.file.id} has no [sweep]; use `run`")
        return self.file.sweep

    def tuning(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """(cell, its candidates): a grid of one candidate needs no tuning.

        Nor does a cell that trains nothing where grids widen; the first edition tuned those as well.
        """
        for cell in cells_of(self.sweep):
            yield cell, self._candidates(cell)

    def _candidates(self, cell: Mapping[str, Any]) -> list[dict[str, Any]]:
        candidates = combinations(self.sweep.tune)
        trains = getattr(config.experiment_module(self.file), "trains", lambda options: True)
        untrained = bool(self.sweep.widen) and not trains({**self.file.config, **cell})
        return candidates[:1] if untrained else candidates

    def tuned_as(self, cell: Mapping[str, Any]) -> dict[str, Any] | None:
        """The cell whose choice this one takes (:attr:`.config.Sweep.same`), ``None`` for one that is tuned itself."""
        other = self.sweep.same.get(str(cell.get("method")))
        return None if other is None else {**cell, "method": other}

    def _one(self, options: Mapping[str, Any], seed: int, tuning: bool = False, wait: bool = True) -> Result:
        """A run, at most once in this call of the sweep: one that failed is not tried a second time."""
        key = _key(options, seed, tuning)
        if key not in self._seen:
            self._seen[key] = self.runner.one(override(self.file, **options), seed, tuning, wait)
        return self._seen[key]

    def tune(self, cell: Mapping[str, Any], candidates: list[dict[str, Any]]) -> Choice | None:
        """The candidate with the least held-out metric, a geometric mean over tuning seeds; ``None`` where every one diverged.

        A candidate that diverges on one of the seeds is out: a rate that one seed survives by luck is no choice. The grid of an
        option that the sweep widens grows until no end of it is as good as the best value, or the bound is reached. Of equal
        values the one that was tried first is chosen.

        Raises
        ------
        Missing
            A candidate's run is not there, or ran out of memory: nothing is chosen from the others.
        CannotChoose
            A candidate's run failed otherwise.
        """
        if (other := self.tuned_as(cell)) is not None:
            return self.tune(other, self._candidates(other))
        if len(candidates) == 1:
            return Choice(candidates[0])
        means: list[tuple[dict[str, Any], float | None]] = []
        best, next_ones = None, candidates
        while next_ones:
            means += [(candidate, self._mean({**cell, **candidate})) for candidate in next_ones]
            best = _least(means)
            next_ones = self._wider(best, means) if best is not None else []
        if best is None:
            return None
        at_edge = tuple(name for name in self.sweep.tune if _end(best, means, name) is not None)
        return Choice(best, at_edge)

    def _wider(self, best: Mapping[str, Any], means: Sequence[tuple[dict[str, Any], float | None]]) -> list[dict[str, Any]]:
        """The next candidates beyond the ends of the grid at which the best one stands, or one as good, up to the bounds.

        An end that is as good as the best candidate leaves open whether a value beyond it is better.
        """
        found: list[dict[str, Any]] = []
        least_mean = next(mean for candidate, mean in means if candidate == best)
        assert least_mean is not None
        as_good = [candidate for candidate, mean in means if mean is not None and math.isclose(mean, least_mean, rel_tol=1e-12)]
        for name, (least, greatest) in self.sweep.widen.items():
            for candidate in as_good:
                ratio = _end(candidate, means, name)
                if ratio is None:
                    continue
                value = min(max(_rounded(candidate[name] * ratio), least), greatest)  # the last step may be a shorter one
                wider = {**candidate, name: value}
                if value != candidate[name] and wider not in found:
                    found.append(wider)
        return found

    def _mean(self, options: Mapping[str, Any]) -> float | None:
        """Geometric mean over tuning seeds of the metric that is minimised, ``None`` where training diverged on one."""
        results = [self._one(options, seed, tuning=True) for seed in self.sweep.tuning_seeds]
        for result in results:
            if result.out_of_memory:
                raise Missing(f"{self.file.id}: {dict(options)} needs another call: {result.reason}")
        if failures := [result for result in results if result.status == "failed" and not result.diverged]:
            raise CannotChoose(failures)
        values = [self._value(result) for result in results if result.status == "finished"]
        known = [value for value in values if value is not None]
        return geometric_mean(known) if len(known) == len(results) else None

    def _value(self, result: Result) -> float | None:
        """The metric that is minimised, ``None`` where it is not finite: training diverged.

        Raises
        ------
        UnknownName
            The run has no such metric.
        CheckpointError
            It is no number.
        """
        derived = getattr(config.experiment_module(self.file), "MINIMISED", {})
        if self.sweep.minimise in derived:
            value = derived[self.sweep.minimise](result.held_out)
        elif self.sweep.minimise in result.held_out:
            value = result.held_out[self.sweep.minimise]
        else:
            raise UnknownName("held-out metric", self.sweep.minimise, [*result.held_out, *derived])
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise CheckpointError(
                f"{self.sweep.minimise} of {self.file.id} with {result.config}, seed {result.seed}, is {value!r} and no number; "
                "delete that run's file to repeat it"
            )
        return float(value) if math.isfinite(value) else None

    def require_other_seeds(self) -> None:
        """Raise InvalidInput where a seed that tunes also counts."""
        for seed in self.sweep.tuning_seeds:
            if seed in self.file.seeds:
                raise InvalidInput(f"tuning_seed {seed} is one of the seeds that count; choose another")

    def _share(self, runs: Iterable[SharedRun], most: float = math.inf, start: float | None = None) -> int:
        """Do those runs that no other process is on, ``most`` at most; how many have become known by it."""
        shared, known = list(runs), len(self._seen)
        first = int((self.start if start is None else start) * len(shared))
        for options, seed, tuning in (*shared[first:], *shared[:first]):
            if len(self._seen) - known >= most:
                break
            with contextlib.suppress(Busy, Missing):
                self._one(options, seed, tuning, wait=False)
        return len(self._seen) - known

    def _open(self, cell: Mapping[str, Any], candidates: list[dict[str, Any]]) -> list[SharedRun]:
        """The cell's runs that can be done now and of which this process knows no result.

        Tuning runs as long as one is open, those of a wider grid too; the seeds that count once the rate is chosen from them.
        """
        other = self.tuned_as(cell)
        tuned, tried = (cell, list(candidates)) if other is None else (other, self._candidates(other))
        best: dict[str, Any] | None = None
        with contextlib.suppress(Missing, CannotChoose):
            while len(tried) > 1:
                runs: list[SharedRun] = [
                    ({**tuned, **candidate}, seed, True) for candidate in tried for seed in self.sweep.tuning_seeds
                ]
                if absent := [run for run in runs if _key(*run) not in self._seen]:
                    return absent
                means = [(candidate, self._mean({**tuned, **candidate})) for candidate in tried]
                best = _least(means)
                wider = self._wider(best, means) if best is not None else []
                if not wider:
                    break
                tried += wider
            best = tried[0] if len(tried) == 1 else best
        counting: list[SharedRun] = [] if best is None else [({**cell, **best}, seed, False) for seed in self.file.seeds]
        return [run for run in counting if _key(*run) not in self._seen]

    def _work_off(self, cells: Sequence[tuple[dict[str, Any], list[dict[str, Any]]]], stay: bool, start: float) -> bool:
        """Do the cells' runs as they come to be known, those that tune first; whether none is left.

        A run that another process is on holds up nothing but what is chosen from it. Where all that are left are such,
        ``stay`` waits until their results are there.
        """
        left = list(cells)
        while True:
            open_runs = [self._open(*cell) for cell in left]
            left = [cell for cell, runs in zip(left, open_runs, strict=True) if runs]
            if not left:
                return True
            tuning = [run for runs in open_runs for run in runs if run[2]]
            if self._share(tuning, start=start):
                continue
            # seeds outermost: a sweep that is cut off has every cell at fewer seeds
            counting = sorted(
                (run for runs in open_runs for run in runs if not run[2]), key=lambda r: self.file.seeds.index(r[1])
            )
            if self._share(counting, most=1 if tuning else math.inf, start=start):
                continue
            if not stay:
                return False
            time.sleep(POLL)

    def _by_cells(self, cells: Sequence[tuple[dict[str, Any], list[dict[str, Any]]]], runner: Runner) -> None:
        """Tune each cell that no other process is on and run its seeds, until others are on all that are left."""
        left = list(cells)
        before = len(left) + 1
        while len(left) < before:
            before = len(left)
            left = [cell for cell in left if not self._whole(cell, runner)]

    def _whole(self, cell: tuple[dict[str, Any], list[dict[str, Any]]], runner: Runner) -> bool:
        """Do a cell; false where another process is on it or on one of its runs, or has not yet chosen what the cell takes."""
        with contextlib.suppress(Busy), runner.claim(self.file.id, f"cell_{config_hash(cell[0])}"):
            other = self.tuned_as(cell[0])
            if other is not None and other in cells_of(self.sweep):
                try:
                    SweepRunner(runner.recorded, self.file).tune(other, self._candidates(other))
                except Missing:
                    return False  # it comes first
                except CannotChoose:
                    return True
            return self._work_off([cell], stay=False, start=0.0)
        return False

    def run(self, quick: bool = False) -> dict[str, Any]:
        """Tune every cell, run the seeds at what was chosen, judge, and write the summary.

        Any number of processes may do so at a time on one folder: they share the runs, and end with the same summary.
        """
        self.require_other_seeds()
        require_thresholds(self.file)
        self._seen.clear()
        chosen: list[tuple[dict[str, Any], Choice]] = []
        results: list[Result] = []
        untuned: list[dict[str, Any]] = []
        unknown: list[dict[str, Any]] = []
        cells = list(self.tuning())
        missing = 0
        try:
            if isinstance(self.runner, Runner):
                if self.sweep.order == "cells":
                    self._by_cells(cells, self.runner)
                self._work_off(cells, stay=True, start=self.start)
            for cell, candidates in cells:
                try:
                    best = self.tune(cell, candidates)
                except Missing:
                    missing += 1
                except CannotChoose as error:
                    unknown += [{"seed": r.seed, "config": r.config, "reason": r.reason} for r in error.failures]
                else:
                    if best is None:
                        untuned.append({**cell, "reason": "every tuning run diverged"})
                    else:
                        chosen.append((cell, best))
            counting = [({**cell, **best.options}, seed) for seed in self.file.seeds for cell, best in chosen]
            for options, seed in counting:
                try:
                    results.append(self._one(options, seed))
                except Missing:
                    missing += 1
        except OutOfTime:
            self.runner.say(f"{self.file.id}: time is up; call again to go on")
            if isinstance(self.runner, Runner):  # what other processes have finished counts as well
                return SweepRunner(self.runner.recorded, self.file).run(quick)
        if missing:
            self.runner.say(f"{self.file.id}: {missing} runs or tunings are not there, or found no memory")
        self._require_same_origin()
        expected = (len(cells) - len(untuned)) * len(self.file.seeds)
        edges = [{**cell, **best.options, "at_edge": list(best.at_edge)} for cell, best in chosen if best.at_edge]
        return self.runner.summarise(
            self.file, results, expected, quick, at_edge=self._sides(edges),
            tuned=[{**cell, **best.options} for cell, best in chosen], untuned=untuned, tuning_seed=self.sweep.tuning_seed,
            edges=edges, failed_tuning=unknown,
        )  # fmt: skip

    def _sides(self, edges: Iterable[Mapping[str, Any]]) -> set[str]:
        """The sides that a verdict is held back for: methods at an end of a grid that the experiment wants to be interior.

        An experiment may define ``holds_back(options)``, which is false for cells that no comparison is decided by, and
        ``side(options)``, what its comparisons call the method of a run.
        """
        module = config.experiment_module(self.file)
        counts, side = (
            getattr(module, "holds_back", lambda options: True),
            getattr(module, "side", lambda options: options["method"]),
        )
        ends = (row for row in edges if set(row["at_edge"]) & self.sweep.widen.keys() and "method" in row)
        return {str(side({**self.file.config, **row})) for row in ends if counts({**self.file.config, **row})}

    def _require_same_origin(self) -> None:
        """Let the experiment refuse runs, of tuning too, that do not belong together."""
        check = getattr(config.experiment_module(self.file), "require_same_origin", None)
        if check is not None:
            check([result for result in self._seen.values() if result.status == "finished"])


def _key(options: Mapping[str, Any], seed: int, tuning: bool) -> str:
    """A run's name within one call of a sweep."""
    return json.dumps([dict(options), seed, tuning], sort_keys=True, default=str)


def _least(means: Sequence[tuple[dict[str, Any], float | None]]) -> dict[str, Any] | None:
    """The candidate with the least mean, the first of equal ones; ``None`` where none has a mean."""
    known = [(candidate, mean) for candidate, mean in means if mean is not None]
    return min(known, key=lambda pair: pair[1])[0] if known else None


def _end(best: Mapping[str, Any], means: Sequence[tuple[dict[str, Any], float | None]], name: str) -> float | None:
    """Where the best candidate's value is the least or the greatest of all numbers tried: its ratio to the next one."""
    values = sorted({candidate[name] for candidate, _ in means if isinstance(candidate[name], int | float)})
    if len(values) < 2 or best[name] not in (values[0], values[-1]) or values[0] <= 0:
        return None
    neighbour = values[1] if best[name] == values[0] else values[-2]
    return float(best[name] / neighbour)


def _rounded(value: float) -> float:
    """To six significant digits: a rate that is told and typed again is the same."""
    return float(f"{value:.5e}")


def submit(runner: Runner, file: ExperimentFile, folder: Path, parameters: Mapping[str, Any]) -> list[str]:
    """Hand a sweep's cells to Slurm, one job for each: it tunes its cell and runs its seeds. Returns the job ids.

    Call the sweep again without a launcher when the jobs are done: it only collects the finished runs.

    Raises
    ------
    MissingPackage
        submitit is not installed.
    InvalidInput
        There is no Slurm here (``sbatch`` is not found).
    """
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise MissingPackage("submitit", "empirics", "the slurm launcher needs it") from error
    runner = dataclasses.replace(runner, deadline=math.inf)  # another machine has another clock; Slurm has its own limits
    sweep = SweepRunner(runner, file)
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster="slurm")
        executor.update_parameters(**parameters)
        with executor.batch():
            jobs = [executor.submit(run_cell, runner, file, cell) for cell, _ in sweep.tuning()]
    except (RuntimeError, NotImplementedError, FileNotFoundError) as error:
        raise InvalidInput(f"Slurm cannot be used here ({error}); use --launcher local") from error
    return [str(job.job_id) for job in jobs]


def run_cell(runner: Runner, file: ExperimentFile, cell: dict[str, Any]) -> None:
    """One cell of a sweep: what a Slurm job does."""
    sweep = SweepRunner(runner, file)
    (candidates,) = (found for at, found in sweep.tuning() if at == cell)
    best = sweep.tune(cell, candidates)
    if best is not None:
        runner.seeds(override(file, **cell, **best.options))


def slurm_parameters(given: Iterable[str]) -> dict[str, Any]:
    """``key=value`` strings as submitit's parameters; whole numbers become integers.

    Raises
    ------
    InvalidInput
        A string without ``=``.
    """
    parameters: dict[str, Any] = {}
    for part in given:
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise InvalidInput(f"--slurm {part!r}: expected KEY=VALUE, for instance timeout_min=60")
        parameters[key] = int(value) if value.isdigit() else value
    return parameters
