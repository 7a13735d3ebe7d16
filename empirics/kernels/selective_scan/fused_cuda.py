"""The fused scan's two passes in CUDA C++ (``fused_cuda.cu``), compiled at run time: layouts, options and launches.

For up to 16 states on NVIDIA GPUs; elsewhere the Triton kernels of ``fused_forward.py`` and ``fused_backward.py`` do the same.
Tensors may have their neighbours in memory along time, as mamba-ssm lays them out, or along channels, as linear layers do: the
kernels read and write both, nothing is transposed.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from .. import nvrtc

SOURCE = Path(__file__).with_name("fused_cuda.cu")
KEEP_EVERY = 64
"""Steps between kept states (KEEP in the source)."""

CHANNELS = 32
"""Channels of a block (CHANNELS in the source)."""

MOST_STATES = 16

_TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
_POINTERS = (
    "u", "dt", "A", "B", "C", "D", "z", "bias", "start", "kept_in", "d_out", "end",
    "out", "last", "kept", "local", "total",
    "du", "ddt", "dz", "dA", "dD", "dbias", "dh0", "shares",
)  # fmt: skip
_STRIDES = (
    *(f"{t}_{axis}" for t in ("u", "dt", "z", "g") for axis in ("batch", "channel", "time")),
    *(f"{t}_{axis}" for t in ("B", "C") for axis in ("batch", "state", "time")),
    *(f"out_{axis}" for axis in ("batch", "channel", "time")),
)
_SHARE_STRIDES = tuple(f"{t}_{axis}" for t in ("dB", "dC") for axis in ("batch", "state", "time"))
_SIZES = ("width", "length", "segment", "segments", "blocks", "reverse")


class Args(ctypes.Structure):
    """``struct Args`` of the source."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _POINTERS),
        *((name, ctypes.c_longlong) for name in _STRIDES),
        ("dB", ctypes.c_void_p),
        ("dC", ctypes.c_void_p),
        *((name, ctypes.c_longlong) for name in (*_SHARE_STRIDES, "chains")),
        *((name, ctypes.c_int) for name in _SIZES),
    )


class Launcher(Protocol):
    """What runs kernels: a CUDA device, or the tests' emulator."""

    processors: Any

    def launch(
        self, source: str, kernel: str, options: Any, blocks: int, threads: int, shared: int, arguments: ctypes.Structure
    ) -> None:
        """Run one kernel."""


emulator: Launcher | None = None
"""Set by tests: runs the kernels on CPU tensors."""


@cache
def _source() -> str:
    return SOURCE.read_text(encoding="utf-8")


def usable(u: Tensor, states: int) -> bool:
    """Do these kernels serve such an input here? ``SSMPROOF_FUSED=triton`` says no."""
    if states > MOST_STATES or u.dtype not in _TYPES or os.environ.get("SSMPROOF_FUSED") == "triton":
        return False
    if not u.is_cuda:
        return emulator is not None
    return _can_compile(u.device.index or 0)


@cache
def _can_compile(index: int) -> bool:
    return nvrtc.available() and torch.cuda.get_device_capability(index) >= (8, 0)


def _launcher(u: Tensor) -> Launcher:
    if u.is_cuda:
        return nvrtc.device(u.device.index or 0)
    assert emulator is not None
    return emulator


# --- layouts ---


def by_channel(u: Tensor) -> bool:
    """Are u's neighbours in memory channels (rather than steps of time)?"""
    return u.stride(2) != 1 and u.stride(1) == 1 and u.shape[1] > 1


def empty_like_rows(u: Tensor, channels: bool, dtype: torch.dtype) -> Tensor:
    """An empty (batch, D, L) whose neighbours in memory are channels or steps."""
    batch, width, length = u.shape
    if channels:
        return u.new_empty((batch, length, width), dtype=dtype).transpose(1, 2)
    return u.new_empty((batch, width, length), dtype=dtype)


def _fitted(value: Tensor, channels: bool) -> Tensor:
    """``value`` itself where its neighbours are as wanted, else a copy."""
    if channels:
        return value if value.stride(1) == 1 else value.transpose(1, 2).contiguous().transpose(1, 2)
    return value if value.stride(2) == 1 or value.shape[2] == 1 else value.contiguous()


def _vector(value: Tensor, channels: bool) -> int:
    """May 8 neighbours at a multiple of 8 be read at once, as 16-byte pieces?"""
    size = value.element_size()
    axes = (0, 2) if channels else (0, 1)
    aligned = all(value.shape[i] == 1 or value.stride(i) * size % 16 == 0 for i in axes)
    return int(aligned and value.data_ptr() % 16 == 0 and value.stride(1 if channels else 2) == 1)


def _single(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.to(torch.float32).contiguous()


@dataclass
class _Call:
    """One pass over one set of inputs: pointers, strides and options of every kernel that it launches."""

    launcher: Launcher
    arguments: Args
    options: dict[str, int]
    blocks: int
    threads: int
    held: list[Tensor]

    def set(self, **pointers: Tensor | None) -> None:
        for name, value in pointers.items():
            if value is not None:
                self.held.append(value)  # memory stays until the launch is queued
                setattr(self.arguments, name, value.data_ptr())

    def run(self, kernel: str, macro: str, blocks: int | None = None, threads: int | None = None, shared: int = 0, **extra: int) -> None:
        self.launcher.launch(
            _source(), kernel, {**self.options, **extra, macro: 1}, self.blocks if blocks is None else blocks, threads or self.threads,
            shared, self.arguments,
        )  # fmt: skip


def lanes(states: int) -> int:
    """P, the lanes that share a channel: each holds four states."""
    return 1 if states <= 4 else 2 if states <= 8 else 4


def segment_length(length: int, blocks: int, processors: int, backward: bool) -> int:
    """Steps of a segment of time, a multiple of :data:`KEEP_EVERY`; at least L where the blocks fill the device without cutting.

    The forward pass pays for cutting with most of a second pass and needs three segments to gain; the backward pass with a fifth.
    """
    wanted = (3 if backward else 4) * processors // max(1, blocks)
    segments = min(wanted, length // 128)
    steps = length if segments < (2 if backward else 3) else -(-length // segments)
    return -(-steps // KEEP_EVERY) * KEEP_EVERY


def _prepare(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None, dt_bias: Tensor | None,
    d_out: Tensor | None, dt_softplus: bool, segment: int | None, backward: bool,
) -> tuple[_Call, bool]:  # fmt: skip
    batch, width, length = u.shape
    states = A.shape[1]
    channels = by_channel(u)
    u, dt = _fitted(u, channels), _fitted(dt, channels)
    gate = u if z is None else _fitted(z, channels)
    given = u if d_out is None else _fitted(d_out, channels)
    launcher, arguments = _launcher(u), Args()
    blocks, p = -(-width // CHANNELS), lanes(states)
    if segment is None:
        segment = segment_length(length, batch * blocks, launcher.processors, backward)
    segment = -(-segment // KEEP_EVERY) * KEEP_EVERY
    segments = -(-length // segment)
    options = {
        "N": states, "P": p, "ROWS": int(channels), "SOFTPLUS": int(dt_softplus), "HAS_BIAS": int(dt_bias is not None),
        "HAS_D": int(D is not None), "HAS_Z": int(z is not None), "PRECISE": int(u.dtype == torch.float32),
        "HAS_START": 0, "HAS_END": 0, "HAS_D_OUT": int(d_out is not None), "WRITE": 1, "KEEP_STATES": 0,
    }  # fmt: skip
    for name, value in (("U", u), ("DT", dt), ("Z", gate), ("G", given)):
        options[f"{name}_TYPE"], options[f"VECTOR_{name}"] = _TYPES[value.dtype], _vector(value, channels)
    for name, value in (("B", B), ("C", C)):
        options[f"{name}_TYPE"], options[f"{name}_ALONG_TIME"] = _TYPES[value.dtype], int(value.stride(2) == 1)
    call = _Call(launcher, arguments, options, batch * blocks * segments, 32 * p, [])
    call.set(u=u, dt=dt, A=_single(A), B=B, C=C, D=_single(D), z=gate, bias=_single(dt_bias), d_out=given)
    for name, value in (("u", u), ("dt", dt), ("z", gate), ("g", given)):
        for axis, stride in zip(("batch", "channel", "time"), value.stride(), strict=True):
            setattr(arguments, f"{name}_{axis}", stride)
    for name, value in (("B", B), ("C", C)):
        for axis, stride in zip(("batch", "state", "time"), value.stride(), strict=True):
            setattr(arguments, f"{name}_{axis}", stride)
    for name, number in zip(_SIZES, (width, length, segment, segments, blocks, 0), strict=True):
        setattr(arguments, name, number)
    return call, channels


def _carry(call: _Call, batch: int, states: int, kernel: str, macro: str, start: Tensor | None, reverse: bool) -> Tensor:
    """(batch, segments, D, N): the state before each segment, or with ``reverse`` the gradient of the state after it."""
    width, segments = call.arguments.width, call.arguments.segments
    device = call.held[0].device
    local = torch.empty(batch, segments, width, states, dtype=torch.float32, device=device)
    total = torch.empty(batch, segments, width, dtype=torch.float32, device=device)
    call.set(local=local, total=total, start=start)
    call.arguments.reverse = int(reverse)
    call.arguments.chains = batch * width * states
    call.run(kernel, macro, WRITE=0)
    call.run("scan_carry", "CARRY", -(-call.arguments.chains // 128), 128, HAS_START=int(start is not None))
    return local


def forward(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None, dt_bias: Tensor | None,
    h0: Tensor | None, dt_softplus: bool, keep: bool, segment: int | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """out, the last state (batch, D, N) and, with ``keep``, the states before every 64th step, else nothing."""
    (batch, width, length), states = u.shape, A.shape[1]
    call, channels = _prepare(u, dt, A, B, C, D, z, dt_bias, None, dt_softplus, segment, backward=False)
    out = empty_like_rows(u, channels, u.dtype)
    last = u.new_empty((batch, width, states), dtype=torch.float32)
    kept = u.new_empty((batch, -(-length // KEEP_EVERY), width, states) if keep else (0,), dtype=torch.float32)
    start = _single(h0)
    if call.arguments.segments > 1:
        start = _carry(call, batch, states, "scan_forward", "FORWARD", start, reverse=False)
    call.set(out=out, last=last, kept=kept, start=start)
    _set_out(call, out, channels)
    call.run("scan_forward", "FORWARD", KEEP_STATES=int(keep), HAS_START=int(start is not None))
    return out, last, kept


def _set_out(call: _Call, out: Tensor, channels: bool, name: str = "OUT") -> None:
    for axis, stride in zip(("batch", "channel", "time"), out.stride(), strict=True):
        setattr(call.arguments, f"out_{axis}", stride)
    call.options[f"VECTOR_{name}"] = _vector(out, channels)


def backward(
    d_out: Tensor | None, d_last: Tensor | None, u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
    z: Tensor | None, dt_bias: Tensor | None, h0: Tensor | None, kept: Tensor, dt_softplus: bool, need: Sequence[bool],
    segment: int | None,
) -> list[Tensor]:  # fmt: skip
    """Gradients of those of (u, dt, A, B, C, D, z, dt_bias, h0) that ``need`` names, in this order and in their dtypes."""
    (batch, width, length), states = u.shape, A.shape[1]
    wanted = dict(zip(("u", "dt", "A", "B", "C", "D", "z", "dt_bias", "h0"), need, strict=True))
    call, channels = _prepare(u, dt, A, B, C, D, z, dt_bias, d_out, dt_softplus, segment, backward=True)
    p, segments, blocks = lanes(states), call.arguments.segments, call.arguments.blocks
    end = _single(d_last)
    if segments > 1:
        end = _carry(call, batch, states, "scan_adjoint", "ADJOINT", end, reverse=True)

    def single(*shape: int) -> Tensor:
        return u.new_empty(shape, dtype=torch.float32)

    results: dict[str, Tensor] = {}
    for name, value, pointer, vector in (("u", u, "du", "OUT"), ("dt", dt, "ddt", "DDT"), ("z", z, "dz", "DZ")):
        call.options[f"VECTOR_{vector}"] = 0
        if wanted[name] and value is not None:
            results[name] = empty_like_rows(u, channels, value.dtype)
            call.set(**{pointer: results[name]})
            _set_out(call, results[name], channels, vector)
    if wanted["h0"]:
        results["h0"] = single(batch, width, states)
    totals = {name: single(*shape) for name, shape in (("A", (width, states)), ("D", (width,)), ("dt_bias", (width,))) if wanted[name]}
    many = batch * segments > 1
    parts = {name: single(batch * segments, *value.shape) if many else value for name, value in totals.items()}
    shares = single(batch, blocks, length, 8 * p) if wanted["B"] or wanted["C"] else None
    call.set(dA=parts.get("A"), dD=parts.get("D"), dbias=parts.get("dt_bias"), dh0=results.get("h0"), shares=shares, end=end)
    call.set(kept_in=kept if kept.numel() else None)
    for name, flag in (("U", "u"), ("DT", "dt"), ("A", "A"), ("B", "B"), ("C", "C"), ("D", "D"), ("Z", "z"), ("BIAS", "dt_bias"), ("H0", "h0")):
        call.options[f"NEED_{name}"] = int(wanted[flag])
    shared = 4 * (4 * CHANNELS * (KEEP_EVERY + 4) + 2 * KEEP_EVERY * 4 * p + p * KEEP_EVERY // 4 * 128 + 2 * CHANNELS)
    call.run(
        "scan_backward", "BACKWARD", shared=shared, HAS_END=int(end is not None), BLOCKS_PER_SM={1: 5, 2: 4, 4: 3}[p],
    )  # fmt: skip
    if totals and many:
        call.set(local=parts.get("A"), out=parts.get("D"), last=parts.get("dt_bias"))
        call.set(dA=totals.get("A"), dD=totals.get("D"), dbias=totals.get("dt_bias"))
        call.arguments.chains = batch * segments
        call.run("scan_total", "TOTAL", -(-width * (states + 2) // 128), 128)
    results |= totals
    if shares is not None:
        for name, value in (("B", B), ("C", C)):
            if wanted[name]:
                results[name] = empty_like_rows(value, not value.stride(2) == 1, value.dtype)
                call.set(**{f"d{name}": results[name]})
                for axis, stride in zip(("batch", "state", "time"), results[name].stride(), strict=True):
                    setattr(call.arguments, f"d{name}_{axis}", stride)
        call.arguments.chains = batch * length * 2 * p
        call.run("scan_sum", "SUM", -(-call.arguments.chains // 128), 128)
    values = {"A": A, "D": D, "dt_bias": dt_bias, "h0": h0}
    return [
        results[name].to(value.dtype) if (value := values.get(name)) is not None else results[name]
        for name, asked in wanted.items()
        if asked
    ]


