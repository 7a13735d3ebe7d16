"""Work recorded as a CUDA graph; what cannot be recorded is refused, and leaves the GPU as it was.

A recording that CUDA breaks off leaves PyTorch (seen with 2.11) in the middle of it: the recording's stream is still the current
one, the allocator still sends memory to the recording's pool, and the generator of random numbers still counts for the graph, so
that every later ``torch.randn`` on the GPU fails ("Offset increment outside graph capture encountered unexpectedly").
:func:`record` meets this three times:

1. The last pass before the recording runs with PyTorch's checks for synchronisation raised to errors: a loss that reads a value
   is refused before anything is recorded.
2. The same checks hold while recording: they raise before CUDA breaks it off, and the recording ends as any other.
3. After a recording that was broken off all the same, stream and allocator are put back, and an empty piece of work is recorded:
   when its recording ends well, the generator leaves the state that it was left in.

Python's collector of garbage waits while recording: what it frees may be an older graph, and CUDA breaks a recording off in which
another graph is destroyed.
"""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, TypeVar

import torch

from ..errors import UnrecordableLoss

WARM_UP = 3
"""Passes before a recording: what is compiled or chosen at the first call is then known."""

T = TypeVar("T")


def record(work: Callable[[], T], what: str, pool: Any) -> tuple[torch.cuda.CUDAGraph, T]:
    """The graph of ``work`` on the current GPU, and what it returned: tensors whose values each replay writes anew.

    Parameters
    ----------
    what:
        What the message of a refusal calls it.
    pool:
        A handle (``torch.cuda.graph_pool_handle()``): where the graph's memory comes from.

    Raises
    ------
    UnrecordableLoss
        The work reads a value off the GPU, or waits for it.
    """
    here, device = torch.cuda.current_stream(), torch.cuda.current_device()
    warm, recording = _streams(device)
    warm.wait_stream(here)
    try:
        with torch.cuda.stream(warm), _casting_anew():
            for _ in range(WARM_UP - 1):
                work()
            with _refusing(what), _no_reading():
                work()
    finally:
        here.wait_stream(warm)
    graph = torch.cuda.CUDAGraph()
    try:
        # When the end of a recording fails, torch.cuda.graph stays on its stream: the context around it comes back.
        capture = torch.cuda.graph(graph, pool=pool, stream=recording)
        with _refusing(what), torch.cuda.stream(here), _no_collecting(), capture, _no_reading(), _casting_anew():
            made = work()
    except BaseException:
        if not _ended(graph):
            _heal(device, pool)
        raise
    return graph, made


def _ended(graph: torch.cuda.CUDAGraph) -> bool:
    """Whether a recording ended well; only then the graph says where its memory comes from."""
    try:
        graph.pool()
    except RuntimeError:
        return False
    return True


def _heal(device: int, pool: Any) -> None:
    """After a recording that was broken off: allocator and generator of random numbers as before it."""
    with suppress(RuntimeError):  # it had not begun
        # PyTorch calls these two where a MemPool's context ends; they have no public names.
        torch._C._cuda_endAllocateToPool(device, pool)
        torch._C._cuda_releasePool(device, pool)
    with torch.cuda.graph(torch.cuda.CUDAGraph(), pool=torch.cuda.graph_pool_handle(), stream=_streams(device)[1]):
        torch.zeros(1, device="cuda")


@cache
def _streams(device: int) -> tuple[torch.cuda.Stream, torch.cuda.Stream]:
    """To warm up, and to record: the same for all recordings on a device, because cuBLAS keeps a workspace for every stream."""
    return torch.cuda.Stream(device), torch.cuda.Stream(device)


@contextmanager
def _casting_anew() -> Iterator[None]:
    """Under autocast, no cast of a weight is taken from its cache: a recording would read it for ever."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


@contextmanager
def _no_collecting() -> Iterator[None]:
    """No object of a reference cycle is freed meanwhile; those without cycles are, as always."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@contextmanager
def _no_reading() -> Iterator[None]:
    """Whatever copies a value to the CPU, and waits for it, raises."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the mode's name as a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """What cannot be recorded is said in a line."""
    outside = sys.exc_info()[1]
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        why = str(_first(error, outside)).partition("\n")[0]
        raise UnrecordableLoss(f"this {what} cannot be recorded as a CUDA graph ({why}); call it without recording") from error


def _first(error: BaseException, outside: BaseException | None) -> BaseException:
    """What went wrong in the work, where the end of the recording only says that something did; not what was being handled
    ``outside`` of it."""
    while error.__context__ not in (None, outside):
        assert error.__context__ is not None
        error = error.__context__
    return error
