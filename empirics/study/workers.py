"""Several processes on one sweep, as ``torchrun`` starts them: each takes the next run that nobody has begun, one GPU each.

A sweep's runs do not depend on each other, so nothing but a counter and "I am done" goes between the processes; the results meet
in the output folder. ``torchrun --nproc-per-node 4 -m empirics sweep NAME --device cuda`` uses four GPUs, or, where there are
fewer, shares them out: small models leave most of a GPU idle, and several processes at a time, with CUDA's MPS daemon running,
finish sooner than one after the other.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from ..errors import InvalidInput
from .config import ExperimentFile, override
from .results import Result
from .runner import TUNING, Missing, OutOfTime, Runner
from .sweep import SweepRunner

PATIENCE = datetime.timedelta(days=7)
"""How long a process waits for the slowest one."""


@dataclass(frozen=True)
class Workers:
    """Place of this process among those that ``torchrun`` started.

    Attributes
    ----------
    rank, world:
        Number of this process, and how many there are.
    local_rank:
        Its number on this machine, which is the number of its GPU.
    """

    rank: int
    world: int
    local_rank: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Workers | None:
        """From ``RANK``, ``WORLD_SIZE`` and ``LOCAL_RANK``; ``None`` outside torchrun or alone.

        Raises
        ------
        InvalidInput
            The variables contradict each other.
        """
        if "WORLD_SIZE" not in environment:
            return None
        try:
            workers = cls(*(int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
        except (KeyError, ValueError) as error:
            raise InvalidInput(f"WORLD_SIZE is set but not all of torchrun's variables make sense ({error})") from error
        if not 0 <= workers.rank < workers.world or workers.local_rank < 0:
            raise InvalidInput(f"RANK={workers.rank} does not fit WORLD_SIZE={workers.world}")
        return workers if workers.world > 1 else None

    def device(self, device: str, gpus: int | None = None) -> str:
        """``cuda`` becomes this process's GPU, of ``gpus`` (all there are); processes beyond their number share them."""
        if device != "cuda":
            return device
        gpus = torch.cuda.device_count() if gpus is None else gpus
        return f"cuda:{self.local_rank % max(1, gpus)}"


def claimed(store: dist.Store, name: str, items: Sequence[Any]) -> Iterator[Any]:
    """The items that this process gets: each goes to the first process that is free, by a counter that all share."""
    while (place := store.add(name, 1) - 1) < len(items):
        yield items[place]


def run_share(workers: Workers, runner: Runner, file: ExperimentFile, quick: bool = False) -> dict[str, Any] | None:
    """Run what this process claims of a sweep; when all are done, rank 0 makes the summary of what is finished.

    First the tuning runs of all cells, then the seeds at what was chosen. A run is claimed at a time, so that processes end
    together, however different the runs are.
    """
    runner = dataclasses.replace(runner, device=workers.device(runner.device))
    sweep = SweepRunner(runner, file)
    sweep.require_other_seeds()
    store, rank, world = next(dist.rendezvous("env://", timeout=PATIENCE))
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=PATIENCE)
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        cells = list(sweep.tuning())
        tuning = [
            ({**cell, **candidate}, seed)
            for cell, candidates in cells
            for candidate in (candidates if len(candidates) > 1 else ())
            for seed in sweep.sweep.tuning_seeds
        ]
        for name, runs in (("tuning", lambda: tuning), ("seeds", lambda: _chosen(runner, file, cells))):
            try:
                for options, seed in claimed(store, f"ssmproof/{start}/{name}", runs()):
                    runner.one(override(file, **options), seed, tuning=name == "tuning")
            except OutOfTime:
                runner.say(f"{file.id}: time is up for process {workers.rank} of {workers.world}")
            dist.barrier()
        return _summary(runner, file, quick) if workers.rank == 0 else None
    finally:
        dist.destroy_process_group()


def _chosen(
    runner: Runner, file: ExperimentFile, cells: Sequence[tuple[dict[str, Any], list[dict[str, Any]]]]
) -> list[tuple[dict[str, Any], int]]:
    """(options, seed) of the runs that count, seeds outermost: a sweep that is cut off has every cell at fewer seeds.

    Cells whose tuning is not finished, or failed altogether, are left out.
    """
    finished = SweepRunner(_Finished(**vars(runner)), file)
    best = []
    for cell, candidates in cells:
        with contextlib.suppress(Missing):
            if (chosen := finished.tune(cell, candidates)) is not None:
                best.append({**cell, **chosen})
    return [(options, seed) for seed in file.seeds for options in best]


def _summary(runner: Runner, file: ExperimentFile, quick: bool) -> dict[str, Any]:
    """Of the finished and the failed runs; none is tried again."""
    return SweepRunner(_Finished(**vars(runner)), file).run(quick)


class _Finished(Runner):
    """This runner's runs, as far as there are results: it runs nothing."""

    def one(self, file: ExperimentFile, seed: int, tuning: bool = False) -> Result:
        result = self.known(file, seed)
        if result.metrics.get(TUNING) and not tuning:
            raise Missing
        return result
