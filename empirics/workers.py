"""Several processes on one sweep, as ``torchrun`` starts them: each takes its share of the cells, one GPU each.

A sweep's cells do not depend on each other, so nothing but "I am done" is ever sent between the processes; the results meet
in the output folder. ``torchrun --nproc-per-node 4 -m empirics sweep NAME --device cuda`` uses four GPUs, or, where there are
fewer, shares them out: small models leave most of a GPU idle, and several processes at a time, with CUDA's MPS daemon running,
finish sooner than one after the other.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from .config import ExperimentFile, override
from .errors import InvalidInput
from .runner import OutOfTime, Runner
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

    def share(self, items: list[Any]) -> list[Any]:
        """Every ``world``-th item from the ``rank``-th on: the shares are disjoint and together everything."""
        return items[self.rank :: self.world]


def run_share(workers: Workers, runner: Runner, file: ExperimentFile, quick: bool = False) -> dict[str, Any] | None:
    """Tune and run this process's cells, wait for the others, and (rank 0 only) collect everything into the summary."""
    runner = dataclasses.replace(runner, device=workers.device(runner.device))
    sweep = SweepRunner(runner, file)
    dist.init_process_group("gloo", rank=workers.rank, world_size=workers.world, timeout=PATIENCE)
    try:
        try:
            for cell, candidates in workers.share(list(sweep.tuning())):
                best = sweep.tune(cell, candidates)
                if best is not None:
                    runner.seeds(override(file, **cell, **best))
        except OutOfTime:
            runner.say(f"{file.id}: time is up for process {workers.rank} of {workers.world}")
        dist.barrier()
        return sweep.run(quick) if workers.rank == 0 else None
    finally:
        dist.destroy_process_group()
