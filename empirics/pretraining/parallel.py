"""Data parallel training: every process takes its share of the windows, gradients are averaged in one message.

With the same global batch, W processes take the steps of one: the mean of the shares' mean gradients is the gradient of the
whole batch, up to the order of its sums.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import InvalidInput
from ..study.workers import Workers

PATIENCE = datetime.timedelta(days=7)
"""How long a process waits for the slowest one."""


class Team:
    """The processes of one training; alone by default.

    Attributes
    ----------
    rank, world:
        Number of this process, and how many there are.
    device:
        Of this process.
    """

    def __init__(self, device: str = "cpu", rank: int = 0, world: int = 1):
        self.device, self.rank, self.world = device, rank, world

    @property
    def leads(self) -> bool:
        """Does this process write the files and the messages?"""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """Rows of the global batch that are this process's.

        Raises
        ------
        InvalidInput
            They cannot be shared out equally.
        """
        if batch % self.world:
            raise InvalidInput(f"batch = {batch} cannot be shared out among {self.world} processes; choose a multiple")
        size = batch // self.world
        return slice(self.rank * size, (self.rank + 1) * size)

    def average(self, values: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the processes."""
        if self.world == 1:
            return
        flat = torch.cat([v.reshape(-1) for v in values])
        dist.all_reduce(flat)
        flat /= self.world
        for value, mean in zip(values, flat.split([v.numel() for v in values]), strict=True):
            value.copy_(mean.view_as(value))

    def means(self, values: Sequence[float]) -> list[float]:
        """The mean of each value over the processes; all get the same."""
        own = torch.tensor(values, dtype=torch.float64, device=self.device)
        self.average([own])
        found: list[float] = own.tolist()
        return found

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            dist.barrier()

    def any(self, flag: bool) -> bool:
        """Is it true in one of the processes? All get the same answer."""
        if self.world == 1:
            return flag
        votes = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(votes)
        return votes.item() > 0


@contextmanager
def team(device: str) -> Iterator[Team]:
    """The processes that torchrun started, each on its own GPU; a team of one elsewhere.

    Raises
    ------
    InvalidInput
        More processes on this machine than GPUs: gradients are not averaged between two on one.
    """
    workers = Workers.from_environment()
    if workers is None:
        yield Team(device)
        return
    gpus = torch.cuda.device_count()
    if device == "cuda" and workers.local_rank >= gpus:
        raise InvalidInput(
            f"process {workers.local_rank + 1} of this machine has no GPU of its own: there are {gpus}; start fewer"
        )
    own = workers.device(device)
    if own.startswith("cuda"):
        torch.cuda.set_device(own)
    backend = "nccl" if own.startswith("cuda") else "gloo"
    dist.init_process_group(backend, rank=workers.rank, world_size=workers.world, timeout=PATIENCE)
    try:
        yield Team(own, workers.rank, workers.world)
    finally:
        dist.destroy_process_group()
