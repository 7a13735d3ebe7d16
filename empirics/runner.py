"""Running an experiment: seed by seed, finished runs skipped, failed ones with their reason, then one verdict."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .config import ExperimentFile, experiment_module, validate
from .errors import CheckpointError, EmpiricsError, InvalidInput
from .results import (
    Judgement,
    Metrics,
    Result,
    config_hash,
    device_name,
    git_commit,
    plain,
    read_result,
    versions,
    write_json,
    write_result,
)
from .training import Course, Loss, Optimiser, train

Say = Callable[[str], None]


class OutOfTime(Exception):
    """The time budget is spent; what is finished stays, and a later call goes on from there."""


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
    """

    seed: int
    device: str = "cpu"
    scan: str | None = None
    work: Path | None = None
    every: int = 100

    def train(
        self,
        name: str,
        parameters: Mapping[str, nn.Parameter],
        loss: Loss,
        optimiser: Optimiser,
        generators: Sequence[torch.Generator] = (),
    ) -> Course:
        """:func:`.training.train` with a checkpoint folder of that name."""
        folder = None if self.work is None else self.work / name
        return train(parameters, loss, optimiser, generators=generators, checkpoint=folder, every=self.every)


@dataclass
class Runner:
    """Runs of experiments below one folder: ``OUT/runs/<id>/*.json`` and the summary ``OUT/<id>.json``.

    Attributes
    ----------
    out:
        The folder.
    deadline:
        Value of ``time.monotonic()`` after which no further run starts.
    say:
        Receives one line per run.
    """

    out: Path
    device: str = "cpu"
    scan: str | None = None
    deadline: float = float("inf")
    say: Say = field(default=lambda line: print(line, file=sys.stderr, flush=True))

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

    def one(self, file: ExperimentFile, seed: int) -> Result:
        """The result of one run, from its file or by running it now. A failure is a result that says why.

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
        if path.is_file():
            known = read_result(path)
            if known.status == "finished":
                return known
        if time.monotonic() > self.deadline:
            raise OutOfTime
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
        work = self.out / "work" / file.id / path.stem
        try:
            measured = module.run(config, Context(seed, self.device, self.scan, work))
            assert isinstance(measured, Metrics)
            seconds = time.perf_counter() - began
            result = Result(status="finished", seconds=seconds, **common, **plain(measured.model_dump()))
        except KeyboardInterrupt:
            raise  # the checkpoint stays, the run goes on from it
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = "" if isinstance(error, EmpiricsError) else f" ({Path(last.filename).name}:{last.lineno})"
            reason = f"{type(error).__name__}: {error}{where}"
            result = Result(status="failed", reason=reason, seconds=time.perf_counter() - began, **common)
        write_result(path, result)
        tail = f"failed: {result.reason}" if result.status == "failed" else f"{result.seconds:.1f} s"
        self.say(f"{file.id}: {path.stem.rpartition('_')[0]} {tail}")
        return result

    def seeds(self, file: ExperimentFile) -> list[Result]:
        """One result for every seed of the file, as far as the time goes."""
        results = []
        for seed in file.seeds:
            try:
                results.append(self.one(file, seed))
            except OutOfTime:
                self.say(f"{file.id}: time is up before seed {seed}; call again to go on")
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
            "git": sorted({str(r.git) for r in results}), "versions": versions(), "device": device_name(self.device),
            "seconds": sum(r.seconds for r in results),
        }  # fmt: skip
        write_json(self.out / f"{file.id}{'_quick' if quick else ''}.json", summary)
        return summary


def judge(file: ExperimentFile, results: Sequence[Result]) -> Judgement:
    """The experiment's own judgement on finished runs, against the file's thresholds."""
    judgement = experiment_module(file).judge(results, file.threshold)
    assert isinstance(judgement, Judgement)
    return judgement


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


__all__ = ["CheckpointError", "Context", "OutOfTime", "Runner", "check_device", "judge", "limit"]
