"""What each scan can do, as a table; asking for what one lacks is an error that says so and names one that has it.

``python -m empirics scans`` prints it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import UnknownName, UnsupportedScan
from .inputs import Outcome
from .interpreter import interpreting

Op = Literal["selective_scan", "ssd"]

_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_NARROW = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True, slots=True)
class Capability:
    """One row of the table.

    Attributes
    ----------
    op, scan:
        The operation (``selective_scan`` is Mamba-1's, ``ssd`` Mamba-2's) and the name of the implementation.
    module:
        Module below ``empirics.kernels`` whose ``scan(inputs, want_last)`` it is.
    devices, dtypes:
        Device types (``"any"`` for all) and dtypes of the main input that it accepts. Where Triton interprets, a scan of
        package ``triton`` runs on the CPU as well.
    twice:
        Whether its gradients can be differentiated again.
    off_grid:
        At what cost lengths run that are no multiple of anything; every length is accepted.
    h0:
        How an initial state enters; its gradient exists in any case.
    max_state:
        Largest N, ``None`` for no bound.
    package:
        Package that must be importable.
    stock_conv:
        Whether the convolution in front of it may be causal-conv1d's kernel, which exists where this scan runs.
    tf32:
        Whether float32 inputs are multiplied in TF32 (10 bits of mantissa).
    """

    op: Op
    scan: str
    module: str
    devices: tuple[str, ...] = ("any",)
    dtypes: tuple[torch.dtype, ...] = _FLOATS
    twice: bool = False
    off_grid: str = "at the same cost a step"
    h0: str = "as the state before the first step"
    max_state: int | None = None
    package: str | None = None
    stock_conv: bool = False
    tf32: bool = False


TABLE: tuple[Capability, ...] = (
    Capability("selective_scan", "oracle", "selective_scan.oracle", twice=True),
    Capability("selective_scan", "naive", "selective_scan.naive", twice=True),
    Capability("selective_scan", "chunked", "selective_scan.chunked"),
    Capability(
        "selective_scan", "mamba_ssm", "selective_scan.mamba_ssm", ("cuda",), _NARROW, max_state=256, package="mamba_ssm",
        h0="as the exact term C_t·exp(A cumsum(dt)) h0", off_grid="at up to 2.6 times the cost of a step at 128·2^k",
        stock_conv=True,
    ),
    Capability(
        "selective_scan", "fused", "selective_scan.fused.scan", ("cuda",), _NARROW, package="triton", stock_conv=True,
    ),
    Capability("ssd", "oracle", "ssd.oracle", twice=True),
    Capability("ssd", "naive", "ssd.naive", twice=True),
    Capability("ssd", "chunked", "ssd.chunked"),
    Capability(
        "ssd", "mamba_ssm", "ssd.mamba_ssm", ("cuda",), _NARROW, max_state=256, package="mamba_ssm", stock_conv=True, tf32=True,
    ),
)  # fmt: skip

_ROWS = {(row.op, row.scan): row for row in TABLE}


def known_scan(scan: str | None) -> str | None:
    """The name, or ``None``; UnknownName where no operation has such a scan."""
    if scan is not None and scan not in {row.scan for row in TABLE}:
        raise UnknownName("scan", scan, {row.scan for row in TABLE})
    return scan


def scan_names(op: Op) -> tuple[str, ...]:
    """Names of the scans of one operation, in the table's order."""
    return tuple(row.scan for row in TABLE if row.op == op)


def capability(op: Op, scan: str) -> Capability:
    """The row of one scan.

    Raises
    ------
    UnknownName
        No scan of that name; the nearest one is named.
    UnsupportedScan
        Only the other operation has a scan of that name.
    """
    row = _ROWS.get((op, scan))
    if row is not None:
        return row
    if any(name == scan for _, name in _ROWS):
        kind = {"selective_scan": "Mamba-1", "ssd": "Mamba-2"}
        (other,) = (o for o in kind if o != op)
        raise UnsupportedScan(f"{op} scan {scan!r} exists for {kind[other]} only; for {kind[op]} use {_either(scan_names(op))}")
    raise UnknownName(f"{op} scan", scan, scan_names(op))


def _either(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def require(op: Op, scan: str, main: Tensor, n_states: int) -> Callable[..., Outcome]:
    """The implementation of a scan, once it is clear that it accepts the main input (u or x) and N states.

    Raises
    ------
    UnknownName, UnsupportedScan
        Unknown, or wrong device, dtype or number of states; the message names a scan that would do.
    """
    row = capability(op, scan)
    if not runs_on(row, main.device.type):
        raise _refusal(row, f"runs on {' or '.join(row.devices)}, the input is on {main.device}")
    if main.dtype not in row.dtypes:
        raise _refusal(row, f"accepts {', '.join(str(d) for d in row.dtypes)}, the input has {main.dtype}")
    if row.max_state is not None and n_states > row.max_state:
        raise _refusal(row, f"accepts at most N = {row.max_state} states, got {n_states}")
    return _implementation(row.module)


def _refusal(row: Capability, what: str) -> UnsupportedScan:
    return UnsupportedScan(f"{row.op} scan {row.scan!r} {what}; use scan='chunked'")


def runs_on(row: Capability, device: str) -> bool:
    """Does a scan run on this type of device?"""
    return "any" in row.devices or device in row.devices or (device == "cpu" and row.package == "triton" and interpreting())


_LOADED: dict[str, Callable[..., Any]] = {}
_AGAIN: dict[tuple[str, str], Callable[..., Outcome | None]] = {}
_PACKED: dict[tuple[str, str], Callable[..., Outcome | None]] = {}


def shortcut(op: Op, scan: str) -> Callable[..., Outcome | None] | None:
    """What serves calls of a scan that look like earlier ones, where the scan has it and was called before; it takes the
    arguments unchecked and in their order."""
    return None if torch.compiler.is_compiling() else _AGAIN.get((op, scan))


def packing_scan(op: Op, scan: str) -> Callable[..., Outcome | None] | None:
    """What takes packed sequences as they lie, where the scan has it: of the inputs, whether the last states are wanted, and the
    packing; it returns ``None`` for inputs that it does not serve."""
    return None if torch.compiler.is_compiling() else _PACKED.get((op, scan))


def _implementation(module: str) -> Callable[..., Any]:
    _load(module)
    return _LOADED[module]


@torch.compiler.assume_constant_result  # imports are no part of a graph
def _load(module: str) -> None:
    if module not in _LOADED:
        loaded = importlib.import_module(f"empirics.kernels.{module}")
        _LOADED[module] = loaded.scan
        own = [(row.op, row.scan) for row in TABLE if row.module == module]
        for name, found in (("again", _AGAIN), ("packed", _PACKED)):
            if hasattr(loaded, name):
                found.update(dict.fromkeys(own, getattr(loaded, name)))
