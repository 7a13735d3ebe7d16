"""What each scan can do, as a table; asking for what one lacks is an error that says so and names one that has it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import UnknownName, UnsupportedScan
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
    devices, dtypes:
        Device types (``"any"`` for all) and dtypes of the main input that it accepts. Where Triton interprets, a scan of
        package ``triton`` runs on the CPU as well.
    h0, gradients, lengths:
        In words: how an initial state enters, which gradients exist, which lengths are accepted.
    max_state:
        Largest N, ``None`` for no bound.
    package:
        Package that must be importable.
    implementation:
        ``module:function`` below ``empirics``; empty while the scan is not built.
    """

    op: Op
    scan: str
    devices: tuple[str, ...]
    dtypes: tuple[torch.dtype, ...]
    h0: str
    gradients: str
    lengths: str
    implementation: str
    max_state: int | None = None
    package: str | None = None


TABLE: tuple[Capability, ...] = (
    Capability(
        "selective_scan",
        "oracle",
        ("any",),
        _FLOATS,
        "yes",
        "all, any order",
        "any",
        "kernels.selective_scan.oracle:selective_scan",
    ),
    Capability(
        "selective_scan",
        "naive",
        ("any",),
        _FLOATS,
        "yes",
        "all, any order",
        "any",
        "kernels.selective_scan.naive:selective_scan",
    ),
    Capability(
        "selective_scan", "chunked", ("any",), _FLOATS, "yes", "all", "any", "kernels.selective_scan.chunked:selective_scan"
    ),
    Capability(
        "selective_scan",
        "mamba_ssm",
        ("cuda",),
        _NARROW,
        "as the exact term C_t·exp(A cumsum(dt)) h0",
        "all",
        "any; off the grid 128·2^k slower",
        "kernels.selective_scan.mamba_ssm:selective_scan",
        max_state=256,
        package="mamba_ssm",
    ),
    Capability(
        "selective_scan",
        "fused",
        ("cuda",),
        _NARROW,
        "yes",
        "all",
        "any",
        "kernels.selective_scan.fused.scan:checked_scan",
        package="triton",
    ),
    Capability("ssd", "oracle", ("any",), _FLOATS, "yes", "all, any order", "any", "kernels.ssd.oracle:ssd"),
    Capability("ssd", "naive", ("any",), _FLOATS, "yes", "all, any order", "any", "kernels.ssd.naive:ssd_scan"),
    Capability("ssd", "chunked", ("any",), _FLOATS, "yes", "all", "any", "kernels.ssd.chunked:ssd_scan"),
    Capability(
        "ssd", "mamba_ssm", ("cuda",), _NARROW, "yes", "all", "any", "kernels.ssd.mamba_ssm:ssd_scan", 256, package="mamba_ssm"
    ),
)


def scan_names(op: Op) -> tuple[str, ...]:
    """Names of the scans of one operation, in the table's order."""
    return tuple(row.scan for row in TABLE if row.op == op)


def capability(op: Op, scan: str) -> Capability:
    """The row of one scan.

    Raises
    ------
    UnknownName
        No scan of that name; the nearest one is named.
    """
    for row in TABLE:
        if row.op == op and row.scan == scan:
            return row
    raise UnknownName(f"{op} scan", scan, scan_names(op))


def require_built(op: Op, scan: str) -> Capability:
    """The row of a scan that exists in this version.

    Raises
    ------
    UnknownName
        No scan of that name.
    UnsupportedScan
        The name is reserved and not built yet.
    """
    row = capability(op, scan)
    if not row.implementation:
        usable = ", ".join(r.scan for r in TABLE if r.op == op and r.implementation)
        raise UnsupportedScan(f"{op} scan {scan!r} is not built yet in this version; use one of {usable}")
    return row


def require(op: Op, scan: str, main: Tensor, n_states: int) -> Callable[..., Any]:
    """The implementation of a scan, once it is clear that it accepts the main input (u or x) and N states.

    Raises
    ------
    UnknownName, UnsupportedScan
        Unknown, not built, or wrong device, dtype or number of states; the message names a scan that would do.
    """
    row = require_built(op, scan)

    def refuse(what: str) -> UnsupportedScan:
        return UnsupportedScan(f"{op} scan {scan!r} {what}; use scan='chunked'")

    if not runs_on(row, main.device.type):
        raise refuse(f"runs on {' or '.join(row.devices)}, the input is on {main.device}")
    if main.dtype not in row.dtypes:
        raise refuse(f"accepts {', '.join(str(d) for d in row.dtypes)}, the input has {main.dtype}")
    if row.max_state is not None and n_states > row.max_state:
        raise refuse(f"accepts at most N = {row.max_state} states, got {n_states}")
    return _implementation(row.implementation)


def runs_on(row: Capability, device: str) -> bool:
    """Does a scan run on this type of device?"""
    return not {"any", device}.isdisjoint(row.devices) or (device == "cpu" and row.package == "triton" and interpreting())


_LOADED: dict[str, Callable[..., Any]] = {}


def _implementation(path: str) -> Callable[..., Any]:
    _load(path)
    return _LOADED[path]


@torch.compiler.assume_constant_result  # imports are no part of a graph
def _load(path: str) -> None:
    if path not in _LOADED:
        module, function = path.split(":")
        _LOADED[path] = getattr(importlib.import_module(f"empirics.{module}"), function)
