"""Running an experiment: seed by seed, finished runs skipped, failed ones with their reason, then one verdict."""

from __future__ import annotations

import contextlib
import gc
import shutil
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from theory.core.files import require_writable

from ..errors import CheckpointError, EmpiricsError, InvalidInput
from ..training import checkpoint
from ..training.loop import Course, Loss, Optimiser, OutOfTime, train
from ..training.progress import Tick, bar
from . import config as _config
from .claims import claim
from .config import ExperimentFile, validate
from .judging import judge, limit, require_thresholds, summary_of
from .results import (
    OUT_OF_MEMORY,
    Metrics,
    Result,
    device_name,
    git_commit,
    plain,
    read_json,
    versions,
    write_json,
)
from .store import Run, RunFolder, Store, shown_options

Say = Callable[[str], None]


class Missing(Exception):
    """Results are only looked into, and hold no run of these options and this seed; or nothing can be chosen from them yet."""


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
        Where it runs, and the scan of its file (``None``: the experiment's choice).
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
        brief: bool = False,
        fused: bool = False,
    ) -> Course:
        """:func:`.training.train` with a checkpoint folder of that name, which stays until the run is finished.

        A run of several trainings that was killed in a later one therefore gets the earlier ones back at once. A ``brief`` one
        leaves a checkpoint at the deadline only.

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
            brief=brief, fused=fused, deadline=self.deadline, progress=progress,
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


def run_of(file: ExperimentFile, seed: int, device_kind: str) -> Run:
    """The run of an experiment's options, validated, with one seed.

    Raises
    ------
    InvalidInput, UnknownName
        Options that the experiment does not have, or not so.
    """
    options = validate(_config.experiment_module(file).Config, file.config, f"{file.id} [config]")
    return Run(file.id, plain(options.model_dump()), seed, device_kind, file.scan, shown_options(file))


class Runs(ABC):
    """Where the runs of an experiment come from; what is made of them is the same for all.

    Attributes
    ----------
    out:
        Folder of the summaries ``OUT/<id>.json``.
    say:
        Receives a line now and then.
    """

    out: Path
    say: Say

    @abstractmethod
    def one(self, file: ExperimentFile, seed: int, tuning: bool = False, wait: bool = True) -> Result:
        """The result of one run.

        Parameters
        ----------
        tuning:
            Whether the run only serves to choose options (:attr:`Context.tuning`).
        wait:
            Whether to wait for another process that is on that run.

        Raises
        ------
        Missing
            There is none, and nothing is run here.
        Busy
            Another process is on it.
        OutOfTime
            It is not finished and the deadline has passed.
        """

    def seeds(self, file: ExperimentFile) -> list[Result]:
        """One result for every seed of the file, as far as there are results and time."""
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
        """Every seed, judged, with the summary written."""
        require_thresholds(file)
        return self.summarise(file, self.seeds(file), len(file.seeds), quick)

    def summarise(
        self, file: ExperimentFile, results: Sequence[Result], expected: int, quick: bool, **more: Any
    ) -> dict[str, Any]:
        """:func:`.judging.summary_of` the results, written to ``OUT/<id>.json`` (``<id>_quick.json`` for small runs)."""
        summary = summary_of(file, results, expected, quick, **more)
        write_json(self.out / f"{file.id}{'_quick' if quick else ''}.json", summary)
        return summary


def silent(line: str) -> None:
    """Says nothing."""


@dataclass
class Recorded(Runs):
    """Runs that are only looked up; nothing is run.

    Attributes
    ----------
    store:
        Where they are looked up.
    device_kind:
        ``cpu`` or ``cuda``, for a store that tells them apart.
    """

    out: Path
    store: Store
    device_kind: str = "cpu"
    say: Say = silent

    def one(self, file: ExperimentFile, seed: int, tuning: bool = False, wait: bool = True) -> Result:
        """See :meth:`Runs.one`. A run that only tuned counts for nothing else."""
        found = self.store.find(run_of(file, seed, self.device_kind))
        if found is None or (found.metrics.get(TUNING) and not tuning):
            raise Missing
        return found


HOPELESS = 10
"""So many failures alike, before any run has finished, end an experiment: the mistake is in what they share."""


@dataclass
class Runner(Runs):
    """Runs of experiments below one folder: ``OUT/runs/<id>/*.json`` and the summary ``OUT/<id>.json``.

    Several processes may share the folder: each run is claimed by one of them.

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
    deadline: float = float("inf")
    say: Say = field(default=lambda line: print(line, file=sys.stderr, flush=True))
    bars: bool = False
    _began: float = field(default_factory=time.time, repr=False)
    _alive: bool = field(default=False, repr=False)
    _alike: list[str | None] = field(default_factory=list, repr=False)
    _writable: bool = field(default=False, repr=False)
    _tried: set[str] = field(default_factory=set, repr=False)

    def __post_init__(self) -> None:
        if self.out.exists() and not self.out.is_dir():
            raise InvalidInput(f"--out {self.out} is a file, expected a folder")

    @property
    def store(self) -> RunFolder:
        """The results below the folder."""
        return RunFolder(self.out)

    @property
    def device_kind(self) -> str:
        """``cpu`` or ``cuda``, whichever GPU."""
        return self.device.partition(":")[0]

    def path(self, file: ExperimentFile, seed: int) -> Path:
        """The result file of one run."""
        return self.store.path(run_of(file, seed, self.device_kind))

    def one(self, file: ExperimentFile, seed: int, tuning: bool = False, wait: bool = True) -> Result:
        """The result of one run, from its file or by running it now. A failure is a result that says why.

        A failed run is written to ``<name>.failed.json``, beside where its result would be, and is tried again by the next
        call. A run that was stopped or killed goes on from its checkpoints. One that only tuned is measured again when it comes
        to count.

        Raises
        ------
        OutOfTime, Busy
            See :meth:`Runs.one`.
        EmpiricsError
            The options are unusable, or :data:`HOPELESS` runs have failed alike.
        InvalidInput
            The folder cannot be written to; nothing has been computed then.
        CheckpointError
            The result's file is corrupt.
        OSError
            The result cannot be written; its checkpoints stay, and a later call goes on from them.
        """
        check_device(self.device)
        run = run_of(file, seed, self.device_kind)
        if (known := self._finished(run, tuning)) is not None:
            return known
        if time.monotonic() > self.deadline:
            raise OutOfTime
        module = _config.experiment_module(file)
        options = module.Config.model_validate(file.config)
        if hasattr(module, "check"):
            module.check(options)
        if not self._writable:
            require_writable(self.out, InvalidInput)
            self._writable = True
        work = self._work(run)
        with claim(work.with_name(f"{work.name}.lock"), wait=wait, deadline=self.deadline):
            if (known := self._finished(run, tuning) or self._failed_elsewhere(run)) is not None:
                return known  # another process was on it
            return self._execute(file, run, options, work, tuning)

    def _finished(self, run: Run, tuning: bool) -> Result | None:
        found = self.store.find(run)
        if found is None or found.status == "failed" or (found.metrics.get(TUNING) and not tuning):
            return None
        return found

    def _failed_elsewhere(self, run: Run) -> Result | None:
        """The failure of this run that another process has met since this one began: trying again would be the same."""
        path = self.store.failed_path(run)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime > self._began and run.stem not in self._tried:
                return self.store.find(run)
        return None

    def _work(self, run: Run) -> Path:
        return self.out / "work" / run.experiment / run.stem

    def claim(self, experiment: str, name: str) -> AbstractContextManager[None]:
        """Hold something that processes share by name, a part of a sweep for instance; Busy where another one does."""
        return claim(self.out / "work" / experiment / f"{name}.lock", wait=False)

    @property
    def recorded(self) -> Recorded:
        """What is in the folder; nothing is run."""
        return Recorded(self.out, self.store, self.device_kind, self.say)

    def _execute(self, file: ExperimentFile, run: Run, options: Any, work: Path, tuning: bool) -> Result:
        """Run it now and write the result."""
        began = time.perf_counter()
        common: dict[str, Any] = {
            "experiment": file.id, "claim": file.claim, "config": dict(run.options), "seed": run.seed, "git": git_commit(),
            "versions": versions(), "device": device_name(self.device), "device_kind": run.device_kind, "scan": run.scan,
        }  # fmt: skip
        label = f"{file.id}: {run.stem.rpartition('_')[0]}"
        before = _seconds_before(work)
        self._tried.add(run.stem)
        try:
            with bar(label, self.bars) as tick:
                ctx = Context(run.seed, self.device, run.scan, work, deadline=self.deadline, tick=tick, tuning=tuning)
                measured = _config.experiment_module(file).run(options, ctx)
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
        self.store.write(run, result)
        if result.status == "finished":
            shutil.rmtree(work, ignore_errors=True)
        if run.device_kind == "cuda":
            _free_memory(self.device, result.status == "failed")
        tail = f"failed: {result.reason}" if result.status == "failed" else f"{result.seconds:.1f} s"
        self.say(f"{label} {tail}")
        self._give_up_after(result)
        return result

    def _give_up_after(self, result: Result) -> None:
        """Raise EmpiricsError where only failures came, all for one reason."""
        self._alive |= result.status == "finished"
        if self._alive or result.diverged or result.out_of_memory:
            return
        self._alike = [reason for reason in (*self._alike, result.reason) if reason == result.reason]
        if len(self._alike) >= HOPELESS:
            raise EmpiricsError(f"the first {HOPELESS} runs failed alike, so the rest is not tried: {result.reason}")


def _reason(error: Exception) -> str:
    """Why a run failed, in a line, with the place in the code where that is of use."""
    said = str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(part in said for part in NO_MEMORY):
        first = ": " + " ".join(said.partition(". GPU")[0].split()) if said else ""
        return f"{OUT_OF_MEMORY}{first}; run fewer processes at a time, smaller batches, or call again when memory is free"
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = "" if isinstance(error, EmpiricsError) else f" ({Path(last.filename).name}:{last.lineno})"
    return f"{type(error).__name__}: {said}{where}"


SCARCE = 0.25
"""Share of a GPU's memory below which what is free is little: several processes may share it."""


def _free_memory(device: str, at_once: bool) -> None:
    """Give back what the allocator keeps of the largest step, where memory is scarce: always, it would slow short runs down."""
    with contextlib.suppress(RuntimeError):  # a GPU that is out of order says so at every call
        free, whole = torch.cuda.mem_get_info(device)
        if at_once or free < SCARCE * whole:
            gc.collect()
            torch.cuda.empty_cache()


NO_MEMORY = ("out of memory", "can't allocate memory", "_ALLOC_FAILED")
"""What CUDA, PyTorch on a CPU, and the CUDA libraries say for want of memory, in exceptions of other kinds."""


SPENT = "seconds.json"
"""File of a stopped run with the seconds that it has taken."""


def _seconds_before(work: Path) -> float:
    if not (work / SPENT).is_file():
        return 0.0
    spent = read_json(work / SPENT)
    return float(spent) if isinstance(spent, int | float) else 0.0


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


__all__ = ["CheckpointError", "Context", "Missing", "OutOfTime", "Recorded", "Runner", "Runs", "check_device", "judge", "limit"]
