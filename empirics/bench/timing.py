"""The stopwatch of the benchmarks: passes in turns, recorded as CUDA graphs where kernels alone are measured; and memory."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..training.recording import record

Pass = Callable[[], object]


def clock(device: str) -> float:
    """Seconds on a clock, once the device has finished its work."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds(passes: Mapping[str, Pass], repeats: int, device: str) -> dict[str, list[float]]:
    """Seconds of each pass in each round; the passes take turns, after two rounds of warm-up."""
    times: dict[str, list[float]] = {name: [] for name in passes}
    for round_ in range(-2, repeats):
        for name, run in passes.items():
            taken = _once(run, device)
            if round_ >= 0:
                times[name].append(taken)
    return times


def _once(run: Pass, device: str) -> float:
    if device == "cpu":
        began = time.perf_counter()
        run()
        return time.perf_counter() - began
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000


def host_seconds(passes: Mapping[str, Pass], repeats: int, device: str) -> dict[str, list[float]]:
    """Seconds of the CPU until each pass returns, in each round; the device has nothing to do when one begins, so nothing waits
    for it. The passes take turns, after two rounds of warm-up."""
    times: dict[str, list[float]] = {name: [] for name in passes}
    for round_ in range(-2, repeats):
        for name, run in passes.items():
            began = clock(device)
            kept = run()
            taken = time.perf_counter() - began
            if round_ >= 0:
                times[name].append(taken)
            del kept
    return times


def graphed(run: Pass) -> Pass:
    """A pass recorded once and replayed: its kernels alone, without what launching them costs the CPU."""
    gc.collect()  # what earlier passes left in cycles ties the leaves to those passes' stream, which a recording may not wait for
    graph, _ = record(run, "pass", torch.cuda.graph_pool_handle())

    def replay() -> object:
        graph.replay()
        return run  # which holds the tensors that the graph reads

    return replay


def recorded(passes: Mapping[str, Pass], device: str) -> Mapping[str, Pass]:
    """The passes, on a GPU as graphs."""
    return passes if device == "cpu" else {name: graphed(run) for name, run in passes.items()}


def ratio(times: Mapping[str, Sequence[float]], above: str, below: str) -> float:
    """Median over the rounds of above / below."""
    return statistics.median(a / b for a, b in zip(times[above], times[below], strict=True))


def peak(run: Pass, device: str) -> int | None:
    """Bytes that a pass takes at most beyond what is there before it; ``None`` without a GPU."""
    if device == "cpu":
        return None
    run()
    gc.collect()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


class _Made(TorchDispatchMode):
    """Notes the memory of every tensor that an operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                storage = value.untyped_storage()
                self.storages.setdefault(storage._cdata, (StorageWeakRef(storage), storage.nbytes()))
        return out


def kept_bytes_of(run: Callable[[], Tensor], own: Iterable[Tensor]) -> int:
    """Bytes that stay between the passes of ``run``, a forward pass, beyond its output and the tensors ``own``.

    All memory that operations made and that is still held is counted, once, whoever holds it. Works on fake tensors.
    """
    known = {value.untyped_storage()._cdata for value in own}
    with _Made() as made:
        out = run()
    known.add(out.untyped_storage()._cdata)
    gc.collect()
    return sum(size for place, (held, size) in made.storages.items() if place not in known and not held.expired())


def kept_by_autograd(run: Pass, own: Iterable[Tensor]) -> int:
    """Bytes that autograd keeps between the passes of ``run``, a forward pass, beyond the tensors ``own``; each storage once."""
    known = {value.untyped_storage().data_ptr() for value in own}
    found: dict[int, tuple[int, Tensor]] = {}

    def pack(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in known:
            found[storage.data_ptr()] = (storage.nbytes(), value)
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        out = run()
    total = sum(size for size, _ in found.values())
    del out
    found.clear()  # else the hook, what it found and the graph would hold each other for ever
    return total
