"""Sweeps: every cell of a grid, its learning rate chosen on a seed of its own, then the seeds that count.

Runs are result files like those of a single experiment, so a sweep can be cut off anywhere and called again; runs that are
finished are skipped. With ``launcher="slurm"`` the missing runs go to a Slurm cluster through submitit, one job each.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidInput, MissingPackage, UnknownName
from .config import ExperimentFile, Sweep, override
from .results import Result
from .runner import Missing, OutOfTime, Runner

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


def _geometric_mean(values: list[float]) -> float:
    """Of positive losses; of one value that value itself, and the plain mean where one is not positive."""
    if len(values) == 1 or min(values) <= 0:
        return sum(values) / len(values)
    return math.exp(sum(map(math.log, values)) / len(values))


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


@dataclass
class SweepRunner:
    """One sweep of one experiment.

    Attributes
    ----------
    runner:
        Runs and stores.
    file:
        The experiment, with a ``[sweep]``.
    """

    runner: Runner
    file: ExperimentFile

    @property
    def sweep(self) -> Sweep:
        """The file's sweep; InvalidInput where it has none."""
        if self.file.sweep is None:
            raise InvalidInput(f"{self.file.id} has no [sweep]; use `run`")
        return self.file.sweep

    def tuning(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """(cell, its candidates): a grid of one candidate needs no tuning."""
        candidates = combinations(self.sweep.tune)
        for cell in combinations(self.sweep.grid):
            yield cell, candidates

    def _one(self, options: Mapping[str, Any], seed: int, tuning: bool = False) -> Result:
        return self.runner.one(override(self.file, **options), seed, tuning)

    def tune(self, cell: Mapping[str, Any], candidates: list[dict[str, Any]]) -> dict[str, Any] | None:
        """The candidate with the least held-out metric, a geometric mean over tuning seeds; ``None`` where every one failed.

        A candidate that fails or diverges on one of the seeds is out: a rate that one seed survives by luck is no choice.

        Raises
        ------
        Missing
            A candidate's run is not there, or ran out of memory: nothing is chosen from the others.
        """
        if len(candidates) == 1:
            return candidates[0]
        best: tuple[float, dict[str, Any]] | None = None
        for candidate in candidates:
            values = [self._value({**cell, **candidate}, seed) for seed in self.sweep.tuning_seeds]
            if any(value is None for value in values):
                continue
            mean = _geometric_mean([value for value in values if value is not None])
            if best is None or mean < best[0]:
                best = (mean, candidate)
        return None if best is None else best[1]

    def _value(self, options: Mapping[str, Any], seed: int) -> float | None:
        """The metric that is minimised, ``None`` where the run failed or did not end with a finite number.

        Raises
        ------
        Missing
            The machine had not enough memory for the run, so nothing is known about it yet.
        """
        result = self._one(options, seed, tuning=True)
        if result.out_of_memory:
            raise Missing(f"{self.file.id}: {options} with seed {seed} needs another call: {result.reason}")
        if result.status == "failed":
            return None
        if self.sweep.minimise not in result.held_out:
            raise UnknownName("held-out metric", self.sweep.minimise, result.held_out)
        value: float | None = result.held_out[self.sweep.minimise]
        return value if value is not None and math.isfinite(value) else None

    def require_other_seeds(self) -> None:
        """Raise InvalidInput where a seed that tunes also counts."""
        for seed in self.sweep.tuning_seeds:
            if seed in self.file.seeds:
                raise InvalidInput(f"tuning_seed {seed} is one of the seeds that count; choose another")

    def run(self, quick: bool = False) -> dict[str, Any]:
        """Tune every cell, run the seeds at what was chosen, judge, and write the summary."""
        self.require_other_seeds()
        chosen: list[tuple[dict[str, Any], dict[str, Any]]] = []
        results: list[Result] = []
        failed: list[dict[str, Any]] = []
        cells = list(self.tuning())
        missing = 0
        try:
            for cell, candidates in cells:
                try:
                    best = self.tune(cell, candidates)
                except Missing:
                    missing += 1
                    continue
                if best is None:
                    failed.append({**cell, "reason": "every tuning run failed"})
                else:
                    chosen.append((cell, best))
            for seed in self.file.seeds:  # seeds outermost: a sweep that is cut off has every cell at fewer seeds
                for cell, best in chosen:
                    try:
                        results.append(self._one({**cell, **best}, seed))
                    except Missing:
                        missing += 1
        except OutOfTime:
            self.runner.say(f"{self.file.id}: time is up; call again to go on")
        if missing:
            self.runner.say(f"{self.file.id}: {missing} runs or tunings are not there, or found no memory")
        expected = (len(cells) - len(failed)) * len(self.file.seeds)
        return self.runner.summarise(
            self.file, results, expected, quick,
            tuned=[{**cell, **best} for cell, best in chosen], untuned=failed, tuning_seed=self.sweep.tuning_seed,
        )  # fmt: skip


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
    best = sweep.tune(cell, combinations(sweep.sweep.tune))
    if best is not None:
        runner.seeds(override(file, **cell, **best))


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
