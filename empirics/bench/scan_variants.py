"""Variants of the fused scan's kernels beside the usual ones, and packed sequences:  python -m empirics bench scan --variants.

Everything is recorded as CUDA graphs and replayed in turns. All kernels are compiled first, side by side. Each variant's results
are compared with those of the usual kernels before it is timed.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidInput, UnsupportedScan
from ..kernels import nvrtc
from ..kernels.dispatch import selective_scan
from ..kernels.packing import Packing
from ..kernels.selective_scan.fused import calls, cuda
from .peers import ORDER, Arguments, make_arguments
from .scan_peers import channels_innermost
from .targets import TARGETS
from .timing import Pass, recorded, seconds

USUAL = "usual"
VARIANTS: Mapping[str, cuda.Variant] = {
    USUAL: cuda.Variant(),
    "6 blocks": cuda.Variant(forward_blocks=6),
    "1 group": cuda.Variant(forward_groups=1),
    "4 groups": cuda.Variant(forward_groups=4),
    "2 groups again": cuda.Variant(recomputed_groups=2),
    "prefetch": cuda.Variant(prefetch=True),
    "overlap": cuda.Variant(overlap=True),
    "relay": cuda.Variant(relay=True),
}

Shape = tuple[int, int, int, int]
SHAPES: tuple[tuple[Shape, bool], ...] = (
    ((8, 1536, 2048, 16), True), ((8, 1536, 2048, 16), False), ((8, 2048, 2048, 16), True), ((8, 4096, 2048, 16), True),
    ((4, 4096, 2048, 16), True), ((8, 1536, 512, 16), True), ((8, 1536, 300, 16), False), ((8, 1536, 2064, 16), False),
    ((1, 1536, 2048, 16), True), ((1, 1536, 2064, 16), False), ((1, 1536, 512, 16), True), ((1, 4096, 2048, 16), True),
    ((1, 5120, 8192, 16), True),
)  # fmt: skip
"""(B, D, L, N), and whether channels are innermost."""

PACKED: tuple[tuple[int, tuple[int, ...]], ...] = (
    (1536, (512,) * 16),
    (4096, (512,) * 16),
    (1536, (2048,) * 8),
    (1536, (64,) * 128),
    (1536, (4000, 1500, 900, 700, 500, 300, 200, 92)),
)
"""(D, lengths of the sequences)."""

PADDED_TO = 2048
AGREEMENT = 1e-2
REPEATS = 20


def _scan(values: Arguments, **how: Any) -> Tensor:
    out = selective_scan(**values, dt_softplus=True, scan="fused", **how)  # type: ignore[arg-type]
    assert isinstance(out, Tensor)
    return out


def results_of(values: Arguments, **how: Any) -> dict[str, Tensor]:
    """The output and all gradients of a fixed functional."""
    out = _scan(values, **how)
    given = torch.empty_like(out).copy_(torch.linspace(-1, 1, out.shape[2], device=out.device))
    gradients = torch.autograd.grad(out, [values[k] for k in ORDER], given)
    return {"out": out.detach(), **{f"d_{k}": v for k, v in zip(ORDER, gradients, strict=True)}}


def difference(got: Mapping[str, Tensor], usual: Mapping[str, Tensor]) -> float:
    """The largest difference of two results, relative to the largest entry of each."""
    return max(float((got[k].float() - v.float()).abs().max() / v.float().abs().max().clamp_min(1e-30)) for k, v in usual.items())


def _leaves(values: Arguments) -> Arguments:
    return {k: v.detach().requires_grad_() for k, v in values.items()}


def _both(values: Arguments, **how: Any) -> Pass:
    given = torch.randn_like(values["u"])

    def run() -> object:
        out = _scan(values, **how)
        return out, torch.autograd.grad(out, [values[k] for k in ORDER], given)

    return run


def _forward(values: Arguments) -> Pass:
    """The forward pass as training runs it, which keeps states."""
    return lambda: _scan(values)


@dataclass(eq=False)
class Collector:
    """Stands in for a device: notes which kernels are asked for.

    Attributes
    ----------
    processors, overlaps:
        Of the device.
    kernels:
        What was asked for.
    """

    processors: int
    overlaps: bool
    kernels: set[nvrtc.Kernel] = field(default_factory=set)

    def prepare(self, kernel: nvrtc.Kernel, size: nvrtc.Size) -> Callable[[Any], None]:
        """Note the kernel; nothing can be run."""
        self.kernels.add(kernel)

        def run(arguments: Any) -> None:
            raise AssertionError("a collector runs no kernels")

        return run


def needed(values: Arguments, device: cuda.Launcher, packing: Packing | None = None) -> set[nvrtc.Kernel]:
    """The kernels of both passes with all gradients."""
    collector = Collector(device.processors, device.overlaps)
    inputs = cuda.SelectiveInputs(**values, h0=None, dt_softplus=True)
    cuda.forward_plan(inputs, True, None, packing, collector)
    cuda.backward_plan(inputs, torch.empty_like(inputs.u), None, (True,) * 8 + (False,), None, packing, collector)
    return collector.kernels


def compile_all(kernels: Sequence[nvrtc.Kernel], index: int) -> float:
    """Compile kernels side by side into the cache; seconds that it took."""
    began = time.perf_counter()
    major, minor = torch.cuda.get_device_capability(index)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(lambda kernel: nvrtc.compile_kernel(kernel, f"sm_{major}{minor}"), kernels))
    return time.perf_counter() - began


def _arguments(shape: Shape, by_channel: bool, dtype: torch.dtype, device: str) -> Arguments:
    values = make_arguments(shape, dtype, device)
    return _leaves(channels_innermost(values) if by_channel else values)


def measure_variant_rows(
    shapes: Sequence[tuple[Shape, bool]],
    variants: Mapping[str, cuda.Variant],
    dtype: torch.dtype,
    device: str,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Seconds of the forward pass and of both, for each shape and variant, and their ratios to the usual kernels'.

    Raises
    ------
    UnsupportedScan
        A variant computes something else.
    """
    rows = []
    for shape, by_channel in shapes:
        values = _arguments(shape, by_channel, dtype, device)
        usual: dict[str, Tensor] | None = None
        passes: dict[str, Pass] = {}
        differences = {}
        for name, variant in variants.items():
            with calls.trying(variant):
                found = results_of(values)
                usual = usual or found
                differences[name] = difference(found, usual)
                if not differences[name] <= AGREEMENT:
                    raise UnsupportedScan(
                        f"variant {name!r} differs by {differences[name]:.1e} at {shape}; its time would mean nothing"
                    )
                passes |= recorded({name: _both(values), f"{name}, forward": _forward(values)}, device)
        times = seconds(passes, REPEATS, device)
        row: dict[str, Any] = {
            "shape": list(shape),
            "channels_innermost": by_channel,
            "differences": differences,
            "seconds": {name: statistics.median(found) for name, found in times.items()},
        }
        row["to_usual"] = {
            name: statistics.median(a / b for a, b in zip(times[name], times[USUAL + name.removeprefix(first)], strict=True))
            for first in variants
            if first != USUAL
            for name in (first, f"{first}, forward")
        }
        rows.append(row)
        ratios = ", ".join(f"{name} {value:.3f}" for name, value in row["to_usual"].items())
        both, forward = (row["seconds"][name] * 1e3 for name in (USUAL, f"{USUAL}, forward"))
        layout = "channels" if by_channel else "steps"
        say(f"{shape} {layout}: {both:.3f} ms, forward {forward:.3f}; times relative to these: {ratios}")
        del passes, values, usual, found
        gc.collect()
    return rows


def packing_of(lengths: Sequence[int]) -> Packing:
    """Sequences without padding between them, in one row."""
    edges = (0, *accumulate(lengths))
    return Packing((1, edges[-1]), tuple((0, *span) for span in pairwise(edges)))


def measure_packed_rows(
    cases: Sequence[tuple[int, tuple[int, ...]]],
    dtype: torch.dtype,
    device: str,
    say: Callable[[str], None],
    padded_to: int = PADDED_TO,
) -> list[dict[str, Any]]:
    """Seconds of both passes for packed sequences; for one sequence of all their steps; for a batch, each padded to ``padded_to``
    steps; and, where all are equally long, cut apart into a batch and put together again."""
    rows = []
    for width, lengths in cases:
        total, packing = sum(lengths), packing_of(lengths)
        values = _arguments((1, width, total, 16), True, dtype, device)
        passes = {"packed": _both(values, seq_idx=packing), "one sequence": _both(values)}
        if max(lengths) < padded_to:
            passes["padded"] = _both(_arguments((len(lengths), width, padded_to, 16), True, dtype, device))
        if len(packing.by_length) == 1:
            passes["cut apart"] = _cut_apart(values, packing)
        times = seconds(recorded(passes, device), REPEATS, device)
        row: dict[str, Any] = {
            "width": width,
            "lengths": list(lengths),
            "seconds": {name: statistics.median(found) for name, found in times.items()},
            "to_packed": {
                name: statistics.median(a / b for a, b in zip(found, times["packed"], strict=True))
                for name, found in times.items()
                if name != "packed"
            },
        }
        rows.append(row)
        ratios = ", ".join(f"{name} {value:.2f}" for name, value in row["to_packed"].items())
        mine = row["seconds"]["packed"] * 1e3
        say(f"D = {width}, {len(lengths)} sequences, {total} steps: packed {mine:.3f} ms; times relative to it: {ratios}")
        del passes, values
        gc.collect()
    return rows


def judge(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Target 12: the most that a step costs beside one of a single sequence, and the least gain over padding 16 of 512 steps."""
    costs = [1 / row["to_packed"]["one sequence"] for row in rows]
    gains = [row["to_packed"]["padded"] for row in rows if row["lengths"] == [512] * 16]
    measured = [max(costs, default=None), min(gains, default=None)]
    return {"target": 12, "measured": measured, "met": TARGETS[12].met(measured)}


def _cut_apart(values: Arguments, packing: Packing) -> Pass:
    """Sequences of one length as a batch, by kernels that know no packing."""
    given = torch.randn_like(values["u"])
    (length,) = packing.by_length

    def run() -> object:
        apart: Arguments = {k: packing.cut(v, 2)[length] if v.ndim == 3 else v for k, v in values.items()}
        together = packing.put({length: _scan(apart)}, 2)
        return together, torch.autograd.grad(together, [values[k] for k in ORDER], given)

    return run


def measure_variants(
    dtype: torch.dtype = torch.bfloat16,
    shapes: Sequence[tuple[Shape, bool]] = SHAPES,
    packed: Sequence[tuple[int, tuple[int, ...]]] = PACKED,
    variants: Mapping[str, cuda.Variant] = VARIANTS,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Both tables, on the current CUDA device.

    Raises
    ------
    InvalidInput, UnsupportedScan
        No CUDA device, or a variant computes something else.
    """
    if not torch.cuda.is_available():
        raise InvalidInput("variants are measured on a CUDA device and there is none here")
    index = torch.cuda.current_device()
    device = nvrtc.device(index)
    kernels: set[nvrtc.Kernel] = set()
    for variant in variants.values():
        with calls.trying(variant):
            for shape, by_channel in shapes:
                kernels |= needed(_arguments(shape, by_channel, dtype, "cuda"), device)
    for width, lengths in packed:
        values = _arguments((1, width, sum(lengths), 16), True, dtype, "cuda")
        kernels |= needed(values, device) | needed(values, device, packing_of(lengths))
    cuda.forget_plans()
    compiled = compile_all(sorted(kernels, key=lambda kernel: (kernel.name, kernel.options)), index)
    say(f"{len(kernels)} kernels, compiled in {compiled:.1f} s")
    found = {
        "compile_s": compiled,
        "variants": {name: variant._asdict() for name, variant in variants.items()},
        "rows": measure_variant_rows(shapes, variants, dtype, "cuda", say),
    }
    rows = measure_packed_rows(packed, dtype, "cuda", say)
    target = judge(rows)
    say(f"target 12 {'met' if target['met'] else 'missed'}: {target['measured']}")
    return {**found, "packed": rows, "target": target}
