"""The fused scan beside every peer on one GPU, in one run:  python -m empirics bench scan --device cuda --peers.

Forward and backward with all gradients. mamba-ssm's scan and ours, in both layouts, are recorded as CUDA graphs and replayed in
turns; jax-linear-attention (:mod:`.jla`) is timed from queued calls. A peer that is not installed is shown as absent.
"""

from __future__ import annotations

import gc
import importlib.metadata
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ..errors import InvalidInput, UnsupportedScan
from . import jla
from .peers import Arguments, contender, make_arguments, missing, version
from .targets import TARGETS, step
from .timing import Pass, recorded, seconds

SHAPES = (
    (8, 1536, 2048, 16), (8, 1536, 512, 16), (8, 4096, 2048, 16), (1, 1536, 2048, 16), (1, 5120, 8192, 16), (8, 1536, 2064, 16),
    (8, 2048, 2048, 16), (4, 4096, 2048, 16), (8, 1536, 8192, 16),
)  # fmt: skip
"""(B, D, L, N)."""

OURS, STOCK, PEER = ("fused", "fused, channels innermost"), "mamba_ssm", "jla"
AGREEMENT = 5e-2
REPEATS = 10

Shape = tuple[int, int, int, int]


def on_gpu(device: str) -> bool:
    """Whether peers that run on GPUs only can be measured."""
    return device == "cuda"


def channels_innermost(values: Arguments) -> Arguments:
    """The same numbers, laid out as linear layers do."""
    return {k: v.transpose(1, 2).contiguous().transpose(1, 2) if v.ndim == 3 else v for k, v in values.items()}


def measure_peers(
    shapes: Sequence[Shape] = SHAPES,
    dtype: torch.dtype = torch.bfloat16,
    device: str = "cuda",
    stock: str = STOCK,
    ours: str = "fused",
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """A row for each shape: seconds of every contender, ``None`` for one that is absent, and the ratios of target 11.

    Raises
    ------
    InvalidInput, UnsupportedScan
        No CUDA device where one is asked for, a peer's process failed, or a peer computes something else.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InvalidInput("peers are measured on a CUDA device and there is none here")
    absent = {} if (why := missing(contender(stock))) is None else {STOCK: why}
    if (why := jla.absent() or (None if on_gpu(device) else "it runs on GPUs only")) is not None:
        absent[PEER] = why
    others = {} if PEER in absent else {shape: jla.Measurement(shape, str(dtype).removeprefix("torch.")) for shape in shapes}
    try:
        errors = {shape: other.error() for shape, other in others.items()}  # waits until all of them are ready
        for shape, error in errors.items():
            if not error <= AGREEMENT:
                raise UnsupportedScan(f"jla differs from the fused scan by {error:.1e} at {shape}; its time would mean nothing")
        rows = []
        for shape in shapes:
            times = _own(shape, dtype, device, stock, ours, STOCK not in absent)
            times[PEER] = others[shape].seconds() if shape in others else None
            rows.append(_row(shape, times, errors.get(shape)))
            say(line(rows[-1]))
    finally:
        for other in others.values():
            other.stop()
    versions = {
        STOCK: None if STOCK in absent else version(contender(stock)),
        PEER: None if PEER in absent else importlib.metadata.version("jax-linear-attention"),
    }
    return {"rows": rows, "absent": absent, "versions": versions, "target": _target(rows)}


def _own(shape: Shape, dtype: torch.dtype, device: str, stock: str, ours: str, with_stock: bool) -> dict[str, list[float] | None]:
    values = make_arguments(shape, dtype, device)
    passes: dict[str, Pass] = {STOCK: step(stock, values)} if with_stock else {}
    passes |= {OURS[0]: step(ours, values), OURS[1]: step(ours, channels_innermost(values))}
    times = seconds(recorded(passes, device), REPEATS, device)
    del passes, values
    gc.collect()
    return {STOCK: None, **times}


def _row(shape: Shape, times: Mapping[str, Sequence[float] | None], error: float | None) -> dict[str, Any]:
    found = {name: None if values is None else statistics.median(values) for name, values in times.items()}
    best = min(found[name] for name in OURS)  # type: ignore[type-var]
    assert best is not None
    ratios = {name: None if (own := found[name]) is None else own / best for name in (STOCK, PEER)}
    return {"shape": list(shape), "seconds": found, "times_as_fast_as": ratios, "difference_of_jla": error}


def _target(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    ratios = [row["times_as_fast_as"][PEER] for row in rows]
    known = [value for value in ratios if value is not None]
    measured = [min(known), statistics.median(known)] if known else [None, None]
    return {"target": 11, "what": "times as fast as jla: least, median", "measured": measured, "met": TARGETS[11].met(measured)}


def line(row: Mapping[str, Any]) -> str:
    """One line of the report."""
    times = ", ".join(f"{name} {'absent' if s is None else f'{s * 1e3:.3f} ms'}" for name, s in row["seconds"].items())
    ratios = ", ".join(f"{v:.2f} x as fast as {k}" for k, v in row["times_as_fast_as"].items() if v is not None)
    return f"{tuple(row['shape'])}: {times}{'; ' if ratios else ''}{ratios}"
