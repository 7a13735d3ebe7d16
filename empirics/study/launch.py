"""Several processes on one sweep, started by one command, as ``torchrun`` would: N for each GPU, or N on a CPU.

Small models leave most of a GPU idle. CUDA's MPS daemon lets the processes' kernels run at the same time. It is started only
where asked for, with its pipes in a folder of its own, and stopped afterwards.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from ..errors import InvalidInput

MOST = 64
"""Processes for each GPU at most."""

MPS = "nvidia-cuda-mps-control"


def world_of(workers: int, device: str) -> int:
    """Number of processes: ``workers`` for each GPU, or on the CPU.

    Raises
    ------
    InvalidInput
        Too few or too many.
    """
    if not 1 <= workers <= MOST:
        raise InvalidInput(f"--workers {workers} must lie in 1..{MOST}")
    if device != "cuda":
        return workers
    import torch

    return workers * max(1, torch.cuda.device_count())


def launch(command: Sequence[str], world: int, mps: bool = False) -> int:
    """Run ``command`` in ``world`` processes that know their number; the largest exit code.

    Where this process is told to end, they are told so, too.

    Raises
    ------
    InvalidInput
        MPS is wanted and not installed, or does not start.
    """
    cores = max(1, (os.cpu_count() or 1) // world)
    common = {"OMP_NUM_THREADS": str(cores), **os.environ, "WORLD_SIZE": str(world)}
    with mps_daemon() if mps else _nothing() as more, _ended_on_request():
        numbers = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(world)]
        processes: list[subprocess.Popen[bytes]] = []
        try:
            processes += [subprocess.Popen(command, env={**common, **more, **own}) for own in numbers]
            codes = [process.wait() for process in processes]
        finally:
            for process in processes:
                if process.poll() is None:
                    process.terminate()
            for process in processes:
                process.wait()
    killed = sum(code < 0 for code in codes)
    if killed:
        print(f"{killed} of {world} processes were killed; call again to go on", file=sys.stderr)
    return max(1 if code < 0 else code for code in codes)


@contextmanager
def _nothing() -> Iterator[Mapping[str, str]]:
    yield {}


@contextmanager
def _ended_on_request() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt inside, as SIGINT does."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def mps_daemon() -> Iterator[Mapping[str, str]]:
    """CUDA's MPS daemon during the block; the environment of its clients.

    Raises
    ------
    InvalidInput
        It is not installed, or does not start.
    """
    if shutil.which(MPS) is None:
        raise InvalidInput(f"--mps needs {MPS}, which is not installed here; leave it out")
    folder = tempfile.mkdtemp(prefix="mps-")
    told = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
    # The daemon sees all GPUs: it would number anew those that it is shown, and its clients' CUDA_VISIBLE_DEVICES would miss.
    environment = {name: value for name, value in {**os.environ, **told}.items() if name != "CUDA_VISIBLE_DEVICES"}
    try:
        started = subprocess.run([MPS, "-d"], env=environment, capture_output=True, text=True, timeout=30, check=False)
        if started.returncode:
            raise InvalidInput(
                f"{MPS} does not start ({' '.join(started.stderr.split()) or started.returncode}); leave --mps out"
            )
        try:
            yield told
        finally:
            subprocess.run([MPS], input="quit\n", env=environment, capture_output=True, text=True, timeout=60, check=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
