"""Running an experiment: seed by seed, finished runs skipped, failed ones with their reason, then one verdict."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, EmpiricsError, InvalidInput
from ..training import checkpoint
from ..training.loop import Course, Loss, Optimiser, OutOfTime, train
from ..training.progress import Tick, bar
from .config import ExperimentFile, experiment_module, validate
from .results import (
    OUT_OF_MEMORY,
    Judgement,
    Metrics,
    Result,
    config_hash,
    device_name,
    git_commit,
    plain,
    read_json,
    read_result,
    versions,
    write_json,
    write_result,
)

Say = Callable[[str], None]


class Missing(OutOfTime):
    """A run that is only looked for is not there."""


TUNING = "tuning"
"""Metric of a run that only served to choose options."""


@dataclass(frozen=True)
class Context:
    """What a run may use besides its options.

    Attributes
    ----------
    seed:
        Of the run.
    device, scan:
        Where it runs, and the scan it was asked to use (``None``: the experiment's choice).
    work:
        Folder for checkpoints and shared intermediate files; ``None`` keeps nothing.
    every:
        Steps between checkpoints.
    deadline:
        Value of ``time.monotonic()`` at which a training stops, to be resumed by a later call.
    tick:
        Receives (what, done, of how many) for display.
    tuning:
        Whether the run only serves to choose options: nothing has to be measured on test data then.
    """

    seed: int
    device: str = "cpu"
    scan: str | None = None
    work: Path | None = None
    every: int = 100
    deadline: float = float("inf")
    tick: Tick | None = None
    tuning: bool = False
    _trained: set[str] = field(default_factory=set, repr=False)

    def train(
        self,
        name: str,
        parameters: Mapping[str, nn.Parameter],
        loss: Loss,
        optimiser: Optimiser,
        generators: Sequence[torch.Generator] = (),
    ) -> Course:
        """:func:`.training.train` with a checkpoint folder of that name, which stays until the run is finished.

        A run of several trainings that was killed in a later one therefore gets the earlier ones back at once.

        Raises
        ------
        InvalidInput
            A name that this run has trained under before.
        OutOfTime
            The deadline has passed.
        """
        if name in self._trained:
            raise InvalidInput(f"this run has trained under the name {name!r} before; each training needs its own")
        self._trained.add(name)
        folder = None if self.work is None else self.work / checkpoint.checked_name(name)
        tick = self.tick
        progress = None if tick is None else lambda step: tick(name, step, optimiser.steps)
        return train(
            parameters, loss, optimiser, generators=generators, checkpoint=folder, every=self.every, keep=True,
            deadline=self.deadline, progress=progress,
        )  # fmt: skip

    def checkpoint(self, name: str, tensors: Mapping[str, Tensor] | None = None, values: Any = None) -> None:
        """Keep tensors and JSON values until the run is finished, for :meth:`resume` after a kill. Nothing without ``work``."""
        if self.work is not None:
            checkpoint.save(self.work / f"{checkpoint.checked_name(name)}.safetensors", tensors or {}, values)

    def resume(self, name: str) -> tuple[dict[str, Tensor], Any] | None:
        """(tensors on the CPU, values) kept under that name by this run, or ``None``; CheckpointError for a corrupt file."""
        if self.work is None:
            return None
        path = self.work / f"{checkpoint.checked_name(name)}.safetensors"
        return checkpoint.load(path) if path.exists() else None


@dataclass
class Runner:
    """Runs of experiments below one folder: ``OUT/runs/<id>/*.json`` and the summary ``OUT/<id>.json``.

    Attributes
    ----------
    out:
        The folder.
    deadline:
        Value of ``time.monotonic()`` after which no further run starts, and at which trainings stop with a checkpoint.
    say:
        Receives one line per run.
    bars:
        Show progress bars on stderr.
    """

    out: Path
    device: str = "cpu"
    scan: str | None = None
    deadline: float = float("inf")
    say: Say = field(default=lambda line: print(line, file=sys.stderr, flush=True))
    bars: bool = False

    def __post_init__(self) -> None:
        if self.out.exists() and not self.out.is_dir():
            raise InvalidInput(f"--out {self.out} is a file, expected a folder")

    def path(self, file: ExperimentFile, config: Mapping[str, Any], seed: int) -> Path:
        """The result file of one run; its name shows the swept options and the hash of all of them."""
        shown = [] if file.sweep is None else [*file.sweep.grid, *file.sweep.tune]
        parts = [f"{key}={config[key]}" for key in shown if key in config]
        name = "_".join([*(p.replace(os.sep, "-").replace(" ", "") for p in parts), f"seed={seed}", self._hash(config)])
        return self.out / "runs" / file.id / f"{name}.json"

    def _hash(self, config: Mapping[str, Any]) -> str:
        return config_hash({**config, "device": self.device.partition(":")[0], "scan": self.scan})

    def one(self, file: ExperimentFile, seed: int, tuning: bool = False) -> Result:
        """The result of one run, from its file or by running it now. A failure is a result that says why.

        A failed run is written to ``<name>.failed.json``, beside where its result would be, and is tried again by the next
        call. A run that was stopped or killed goes on from its checkpoints.

        Parameters
        ----------
        tuning:
            Whether the run only serves to choose options (:attr:`Context.tuning`). One that was measured so is measured again
            when it comes to count.

        Raises
        ------
        OutOfTime
            The run is not finished and the deadline has passed.
        EmpiricsError
            The options are unusable.
        CheckpointError
            The result's file is corrupt.
        """
        check_device(self.device)
        module = experiment_module(file)
        config = validate(module.Config, file.config, f"{file.id} [config]")
        options = plain(config.model_dump())
        path = self.path(file, options, seed)
        if path.exists():
            known = read_result(path)
            if known.status != "finished":
                raise CheckpointError(f"{path} holds a {known.status} run; delete it to repeat that run")
            if tuning or not known.metrics.get(TUNING):
                return known
        why = path.with_name(f"{path.stem}.failed.json")
        if time.monotonic() > self.deadline:
            raise OutOfTime
        if hasattr(module, "check"):
            module.check(config)
        began = time.perf_counter()
        common: dict[str, Any] = {
            "experiment": file.id,
            "claim": file.claim,
            "config": options,
            "seed": seed,
            "git": git_commit(),
            "versions": versions(),
            "device": device_name(self.device),
        }
        label = f"{file.id}: {path.stem.rpartition('_')[0]}"
        work = self.out / "work" / file.id / path.stem
        before = _seconds_before(work)
        try:
            with bar(label, self.bars) as tick:
                ctx = Context(seed, self.device, self.scan, work, deadline=self.deadline, tick=tick, tuning=tuning)
                measured = module.run(config, ctx)
            assert isinstance(measured, Metrics)
            if tuning:
                measured.metrics[TUNING] = True
            seconds = before + time.perf_counter() - began
            result = Result(status="finished", seconds=seconds, **common, **plain(measured.model_dump()))
        except (KeyboardInterrupt, OutOfTime):  # the checkpoint stays, the run goes on from it
            if work.is_dir():
                write_json(work / SPENT, before + time.perf_counter() - began)
            raise
        except Exception as error:
            result = Result(status="failed", reason=_reason(error), seconds=time.perf_counter() - began, **common)
        write_result(why if result.status == "failed" else path, result)
        if result.status == "finished":
            why.unlink(missing_ok=True)
            shutil.rmtree(work, ignore_errors=True)
        if self.device.startswith("cuda"):  # the allocator keeps what the largest step needed; other processes may want it
            gc.collect()
            with contextlib.suppress(RuntimeError):  # a GPU that is out of order says so at every call
                torch.cuda.empty_cache()
        tail = f"failed: {result.reason}" if result.status == "failed" else f"{result.seconds:.1f} s"
        self.say(f"{label} {tail}")
        return result

    def seeds(self, file: ExperimentFile) -> list[Result]:
        """One result for every seed of the file, as far as the time goes."""
        results = []
        for seed in file.seeds:
            try:
                results.append(self.one(file, seed))
            except Missing:
                self.say(f"{file.id}: seed {seed} is not there")
            except OutOfTime:
                self.say(f"{file.id}: time is up before the end of seed {seed}; call again to go on")
                break
        return results

    def run(self, file: ExperimentFile, quick: bool = False) -> dict[str, Any]:
        """Run every seed, judge, and write the summary."""
        return self.summarise(file, self.seeds(file), len(file.seeds), quick)

    def summarise(
        self, file: ExperimentFile, results: Sequence[Result], expected: int, quick: bool, **more: Any
    ) -> dict[str, Any]:
        """The summary of some results, written to ``OUT/<id>.json`` (``<id>_quick.json`` for small runs).

        ``complete`` says whether all ``expected`` runs are there; an incomplete or failed experiment is undecided.
        """
        finished = [r for r in results if r.status == "finished"]
        failed = [r for r in results if r.status == "failed"]
        judgement = judge(file, finished) if finished else Judgement(verdict="undecided", measured="no run is finished")
        complete = len(results) >= expected
        verdict = judgement.verdict if complete and not failed else "undecided"
        summary = {
            "experiment": file.id, "claim": file.claim, "question": file.question, "prediction": file.prediction,
            "threshold": file.threshold, "quick": quick, "complete": complete, "verdict": verdict,
            "measured": judgement.measured, "table": judgement.table, "seeds": file.seeds,
            "config": file.config, **more,
            "failed": [{"seed": r.seed, "config": r.config, "reason": r.reason} for r in failed],
            "git": sorted({str(r.git) for r in results}), **self._place(results),
            "seconds": sum(r.seconds for r in results),
        }  # fmt: skip
        write_json(self.out / f"{file.id}{'_quick' if quick else ''}.json", summary)
        return summary

    def known(self, file: ExperimentFile, seed: int) -> Result:
        """The result of one run from its file, finished or, where it is not, failed; nothing is run.

        Raises
        ------
        Missing
            There is none.
        CheckpointError
            The file is corrupt.
        """
        options = validate(experiment_module(file).Config, file.config, f"{file.id} [config]")
        path = self.path(file, plain(options.model_dump()), seed)
        for place in (path, path.with_name(f"{path.stem}.failed.json")):
            if place.exists():
                return read_result(place)
        raise Missing

    def _place(self, results: Sequence[Result]) -> dict[str, Any]:
        """Where the results come from: ``versions`` and ``device``."""
        return {"versions": versions(), "device": device_name(self.device)}


def judge(file: ExperimentFile, results: Sequence[Result]) -> Judgement:
    """The experiment's own judgement on finished runs, against the file's thresholds.

    Raises
    ------
    CheckpointError
        The results lack what the judgement needs, or hold ``null`` (a number that was not finite) in its place.
    """
    try:
        judgement = experiment_module(file).judge(results, file.threshold)
    except (KeyError, IndexError, TypeError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error}, {Path(last.filename).name}:{last.lineno}"
        raise CheckpointError(
            f"the results of {file.id} do not fit its judgement ({reason}); they may be of another version, or hold numbers "
            f"that are not finite: look at the files in runs/{file.id} and delete what is to be repeated"
        ) from error
    assert isinstance(judgement, Judgement)
    return judgement


def _reason(error: Exception) -> str:
    """Why a run failed, in a line, with the place in the code where that is of use."""
    said = str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(part in said for part in NO_MEMORY):
        first = ": " + " ".join(said.partition(". GPU")[0].split()) if said else ""
        return f"{OUT_OF_MEMORY}{first}; run fewer processes at a time, smaller batches, or call again when memory is free"
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = "" if isinstance(error, EmpiricsError) else f" ({Path(last.filename).name}:{last.lineno})"
    return f"{type(error).__name__}: {said}{where}"


NO_MEMORY = ("out of memory", "can't allocate memory", "_ALLOC_FAILED")
"""What CUDA, PyTorch on a CPU, and the CUDA libraries say for want of memory, in exceptions of other kinds."""


SPENT = "seconds.json"
"""File of a stopped run with the seconds that it has taken."""


def _seconds_before(work: Path) -> float:
    if not (work / SPENT).is_file():
        return 0.0
    spent = read_json(work / SPENT)
    return float(spent) if isinstance(spent, int | float) else 0.0


def limit(threshold: Mapping[str, float], name: str) -> float:
    """A threshold by name; InvalidInput where the file gives none."""
    if name not in threshold:
        raise InvalidInput(f"[threshold] lacks {name!r}; it has {', '.join(threshold) or 'nothing'}")
    return threshold[name]


def check_device(device: str) -> None:
    """Raise InvalidInput for a device that does not exist here."""
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise InvalidInput(f"device {device!r} is unknown; use cpu or cuda") from error
    if kind not in ("cpu", "cuda"):
        raise InvalidInput(f"device {device!r} is not supported; use cpu or cuda")
    if kind == "cuda" and not torch.cuda.is_available():
        raise InvalidInput("no CUDA device here; use --device cpu")


__all__ = ["CheckpointError", "Context", "Missing", "OutOfTime", "Runner", "check_device", "judge", "limit"]
