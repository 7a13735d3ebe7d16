"""Several processes on one sweep, as ``torchrun`` starts them: each takes the next run that nobody has begun, one GPU each.

A sweep's runs do not depend on each other, so nothing goes between the processes but claims (:mod:`.claims`) and results, both
files in the output folder: any processes that share it share the sweep. ``torchrun --nproc-per-node 4 -m empirics sweep NAME
--device cuda`` uses four GPUs, or, where there are fewer, shares them out: small models leave most of a GPU idle, and several
processes at a time, with CUDA's MPS daemon running, finish sooner than one after the other.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import InvalidInput
from .config import ExperimentFile
from .runner import Runner
from .sweep import SweepRunner


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


def run_share(workers: Workers, runner: Runner, file: ExperimentFile, quick: bool = False) -> dict[str, Any] | None:
    """Run what this process claims of a sweep, on its GPU; the first one hands out the summary, ``None`` the others."""
    runner = dataclasses.replace(runner, device=workers.device(runner.device))
    summary = SweepRunner(runner, file, workers.rank / workers.world).run(quick)
    return summary if workers.rank == 0 else None
