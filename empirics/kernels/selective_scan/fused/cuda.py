"""The fused scan's two passes in CUDA C++ (``cuda.cu``), compiled at run time: layouts, options and launches.

For up to 16 states on NVIDIA GPUs; elsewhere Triton's kernels do the same (``triton_route.py``).
Tensors may have their neighbours in memory along time, as mamba-ssm lays them out, or along channels, as linear layers do: the
kernels read and write both, nothing is transposed.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ... import nvrtc
from ...inputs import SelectiveInputs

SOURCE = Path(__file__).with_name("cuda.cu")
CHANNELS = 32
"""Channels of a block (CHANNELS in the source)."""

MOST_STATES = 16

KEEP_EVERY = 64
"""Steps between kept states (KEEP in the source)."""

PAD = 4
"""Floats behind every row in shared memory (PAD in the source)."""

BLOCKS = {1: 5, 2: 4, 4: 3}
"""Blocks that a multiprocessor is to hold in the backward pass, for P = 1, 2 and 4 lanes a channel; it bounds registers."""

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

    @property
    def processors(self) -> int:
        """Blocks that it runs side by side are a small multiple of this."""

    def prepare(self, kernel: nvrtc.Kernel, size: nvrtc.Size) -> Callable[[ctypes.Structure], None]:
        """A function that runs one kernel on arguments."""


emulator: Launcher | None = None
"""Set by tests: runs the kernels on CPU tensors."""


@cache
def _source() -> str:
    return SOURCE.read_text(encoding="utf-8")


def usable(states: int, u: Tensor, *others: Tensor | None) -> bool:
    """Do these kernels serve u and the others (dt, B, C, z) here? ``SSMPROOF_FUSED=triton`` says no."""
    if any(v is not None and v.dtype not in _TYPES for v in (u, *others)):
        return False
    if states > MOST_STATES or os.environ.get("SSMPROOF_FUSED") == "triton":
        return False
    if not u.is_cuda:
        return emulator is not None
    return _can_compile(u.device.index or 0)


@cache
def _can_compile(index: int) -> bool:
    return nvrtc.available() and torch.cuda.get_device_capability(index) >= (8, 0) and nvrtc.supports(index)


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


def _vector(shape: Sequence[int], stride: Sequence[int], size: int, offset: int, channels: bool) -> int:
    """May a group of neighbours be read at once, in pieces of 16 bytes?"""
    axes = (0, 2) if channels else (0, 1)
    aligned = offset % 16 == 0 and all(shape[i] == 1 or stride[i] * size % 16 == 0 for i in axes)
    return int(aligned and stride[1 if channels else 2] == 1)


def _single(value: Tensor) -> Tensor:
    """``value`` in float32, contiguous, and at an address that 16 bytes may be read from at once."""
    value = value.to(torch.float32).contiguous()
    return value if value.data_ptr() % 16 == 0 else value.clone()


def _single_or_none(value: Tensor | None) -> Tensor | None:
    return None if value is None else _single(value)


def _row_strides(shape: Sequence[int], channels: bool) -> tuple[int, int, int]:
    _, width, length = shape
    return (width * length, 1, width) if channels else (width * length, length, 1)


def lanes(states: int) -> int:
    """P, the lanes that share a channel: each holds four states."""
    return 1 if states <= 4 else 2 if states <= 8 else 4


def shared_bytes(p: int) -> int:
    """Bytes of shared memory of a block in the backward pass: dt, x, dy, y by channel and step; B and C by step; 128 floats
    for every four steps of each warp; bias, D and, in two parts, dD."""
    rows, selectors, scratch = 4 * CHANNELS * (KEEP_EVERY + PAD), 2 * KEEP_EVERY * 4 * p, p * KEEP_EVERY // 4 * 128
    return 4 * (rows + selectors + scratch + 4 * CHANNELS)


def segment_length(length: int, blocks: int, processors: int, backward: bool) -> int:
    """Steps of a segment of time, a multiple of :data:`KEEP_EVERY`; at least L where the blocks fill the device without cutting.

    The forward pass pays for cutting with most of a second pass and needs three segments to gain; the backward pass with a fifth.
    """
    wanted = (3 if backward else 4) * processors // max(1, blocks)
    segments = min(wanted, length // 128)
    steps = length if segments < (2 if backward else 3) else -(-length // segments)
    return -(-steps // KEEP_EVERY) * KEEP_EVERY


class Signature(NamedTuple):
    """What a plan depends on of one tensor."""

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    offset: int

    @classmethod
    def of(cls, value: Tensor) -> Signature:
        return cls(value.shape, value.stride(), value.dtype, value.data_ptr() & 15)


class Request(NamedTuple):
    """One kind of pass: what decides its kernels, sizes and strides."""

    backward: bool
    rows: tuple[Signature, ...]  # u, dt and, where they exist, z and d_out
    selectors: tuple[Signature, Signature]  # B, C
    states: int
    has_z: bool
    has_d_out: bool
    has_D: bool
    has_bias: bool
    has_state: bool  # h0, or the gradient of the last state
    softplus: bool
    keep: bool
    need: tuple[bool, ...]
    segment: int | None


class Plan:
    """A request worked out once: options of its kernels, and arguments to which only addresses are missing."""

    def __init__(self, request: Request, launcher: Launcher, channels: bool):
        u = request.rows[0]
        self.batch, self.width, self.length = u.shape
        self.states, self.channels, self.request, self.launcher = request.states, channels, request, launcher
        self.p = lanes(self.states)
        self.blocks = -(-self.width // CHANNELS)
        segment = request.segment
        if segment is None:
            segment = segment_length(self.length, self.batch * self.blocks, launcher.processors, request.backward)
        segment = -(-min(segment, self.length) // KEEP_EVERY) * KEEP_EVERY
        self.segments = -(-self.length // segment)
        self.slots = self.batch * self.segments
        self.size = nvrtc.Size(self.slots * self.blocks, 32 * self.p)
        self.options = self._options()
        self.template = Args()
        self._set_strides()
        for name, number in zip(_SIZES, (self.width, self.length, segment, self.segments, self.blocks, 0), strict=True):
            setattr(self.template, name, number)
        self._prepared: dict[tuple[Any, ...], Callable[[ctypes.Structure], None]] = {}

    def _rows(self) -> dict[str, Signature]:
        request, rest = self.request, list(self.request.rows[2:])
        gate = rest.pop(0) if request.has_z else request.rows[0]
        given = rest.pop(0) if request.has_d_out else request.rows[0]
        return {"U": request.rows[0], "DT": request.rows[1], "Z": gate, "G": given}

    def _options(self) -> dict[str, int]:
        request = self.request
        narrow = request.rows[0].dtype != torch.float32
        options = {
            "N": self.states, "P": self.p, "ROWS": int(self.channels), "SOFTPLUS": int(request.softplus),
            "HAS_BIAS": int(request.has_bias), "HAS_D": int(request.has_D), "HAS_Z": int(request.has_z),
            "HAS_D_OUT": int(request.has_d_out), "PRECISE": int(not narrow),
            "HAS_START": 0, "HAS_END": 0, "WRITE": 1, "KEEP_STATES": 0, "BLOCKS_PER_SM": BLOCKS[self.p],
        }  # fmt: skip
        for name, value in self._rows().items():
            options[f"{name}_TYPE"] = _TYPES[value.dtype]
            options[f"VECTOR_{name}"] = _vector(value.shape, value.stride, value.dtype.itemsize, value.offset, self.channels)
        for name, value in zip("BC", request.selectors, strict=True):
            options[f"{name}_TYPE"], options[f"{name}_ALONG_TIME"] = _TYPES[value.dtype], int(value.stride[2] == 1)
        strides = _row_strides(request.rows[0].shape, self.channels)
        for name, kind in (("OUT", "U"), ("DDT", "DT"), ("DZ", "Z")):  # fresh, so aligned
            size = self._rows()[kind].dtype.itemsize
            options[f"VECTOR_{name}"] = _vector(request.rows[0].shape, strides, size, 0, self.channels)
        for name, asked in zip(("U", "DT", "A", "B", "C", "D", "Z", "BIAS", "H0"), request.need, strict=True):
            options[f"NEED_{name}"] = int(asked)
        return options

    def _set_strides(self) -> None:
        for name, value in self._rows().items():
            for axis, stride in zip(("batch", "channel", "time"), value.stride, strict=True):
                setattr(self.template, f"{name.lower()}_{axis}", stride)
        for name, value in zip("BC", self.request.selectors, strict=True):
            shape, along_time = value.shape, value.stride[2] == 1
            of_gradient = _row_strides(shape, not along_time)
            for axis, stride, other in zip(("batch", "state", "time"), value.stride, of_gradient, strict=True):
                setattr(self.template, f"{name}_{axis}", stride)
                setattr(self.template, f"d{name}_{axis}", other)
        for axis, stride in zip(
            ("batch", "channel", "time"), _row_strides(self.request.rows[0].shape, self.channels), strict=True
        ):
            setattr(self.template, f"out_{axis}", stride)

    def arguments(self) -> Args:
        """A copy of the arguments, without addresses."""
        return Args.from_buffer_copy(self.template)

    def run(self, name: str, arguments: Args, size: nvrtc.Size | None = None, **flags: int) -> None:
        """Launch ``scan_<name>``, with some options changed."""
        key = (name, *flags.items(), size)
        if key not in self._prepared:
            options = tuple(sorted({**self.options, **flags, name.upper(): 1}.items()))
            self._prepared[key] = self.launcher.prepare(nvrtc.Kernel(_source(), f"scan_{name}", options), size or self.size)
        self._prepared[key](arguments)

    def run_flat(self, name: str, arguments: Args, count: int, **flags: int) -> None:
        """The same for ``count`` threads that have nothing to do with each other."""
        self.run(name, arguments, nvrtc.Size(-(-count // 128), 128), **flags)

    def carry(self, arguments: Args, name: str, start: Tensor | None, like: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
        """(batch, segments, D, N): the state before each segment, or with ``reverse`` the gradient of the state after it. And a
        buffer that has to live as long."""
        local = like.new_empty((self.batch, self.segments, self.width, self.states), dtype=torch.float32)
        total = like.new_empty((self.batch, self.segments, self.width), dtype=torch.float32)
        arguments.local, arguments.total = local.data_ptr(), total.data_ptr()
        arguments.start = 0 if start is None else start.data_ptr()
        arguments.reverse, arguments.chains = int(reverse), self.batch * self.width * self.states
        self.run(name, arguments, WRITE=0)
        self.run_flat("carry", arguments, arguments.chains, HAS_START=int(start is not None))
        return local, total


_PLANS: dict[Any, Plan] = {}
_MOST_PLANS = 4096


def _plan(request: Request, u: Tensor, channels: bool) -> Plan:
    launcher = _launcher(u)
    key = (launcher, request)
    plan = _PLANS.get(key)
    if plan is None:
        if len(_PLANS) >= _MOST_PLANS:
            _PLANS.clear()
        plan = _PLANS[key] = Plan(request, launcher, channels)
    return plan


_NOTHING = (False,) * 9


def forward(inputs: SelectiveInputs, keep: bool, segment: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """out, the last state (batch, D, N) and, with ``keep``, the states before every 64th step, else nothing."""
    u, dt, A, B, C, D, z, dt_bias, h0, dt_softplus = inputs
    channels = by_channel(u)
    rows = [_fitted(v, channels) for v in (u, dt, z) if v is not None]
    A, start = _single(A), _single_or_none(h0)
    D, dt_bias = _single_or_none(D), _single_or_none(dt_bias)
    signatures = tuple(map(Signature.of, rows))
    request = Request(
        False, signatures, (Signature.of(B), Signature.of(C)), A.shape[1], z is not None, False, D is not None,
        dt_bias is not None, h0 is not None, dt_softplus, keep, _NOTHING, segment,
    )  # fmt: skip
    plan = _plan(request, u, channels)
    batch, width, length = u.shape
    out = empty_like_rows(u, channels, u.dtype)
    last = u.new_empty((batch, width, plan.states), dtype=torch.float32)
    kept = u.new_empty((batch, -(-length // KEEP_EVERY), width, plan.states) if keep else (0,), dtype=torch.float32)
    a = plan.arguments()
    a.u, a.dt, a.z = rows[0].data_ptr(), rows[1].data_ptr(), rows[-1].data_ptr()
    a.A, a.B, a.C = A.data_ptr(), B.data_ptr(), C.data_ptr()
    if D is not None:
        a.D = D.data_ptr()
    if dt_bias is not None:
        a.bias = dt_bias.data_ptr()
    buffers: tuple[Tensor, ...] = ()
    if plan.segments > 1:
        buffers = plan.carry(a, "forward", start, u, reverse=False)
        start = buffers[0]
    if start is not None:
        a.start = start.data_ptr()
    a.out, a.last, a.kept = out.data_ptr(), last.data_ptr(), kept.data_ptr()
    plan.run("forward", a, KEEP_STATES=int(keep), HAS_START=int(start is not None))
    return out, last, kept


def like_forward(inputs: SelectiveInputs, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Tensors of the shapes, types and strides of what :func:`forward` returns."""
    u, states = inputs.u, inputs.A.shape[1]
    batch, width, length = u.shape
    kept = (batch, -(-length // KEEP_EVERY), width, states) if keep else (0,)
    last = u.new_empty((batch, width, states), dtype=torch.float32)
    return empty_like_rows(u, by_channel(u), u.dtype), last, u.new_empty(kept, dtype=torch.float32)


def backward(
    d_out: Tensor | None, d_last: Tensor | None, inputs: SelectiveInputs, kept: Tensor, need: Sequence[bool], segment: int | None
) -> list[Tensor]:
    """Gradients of those of the nine tensors that ``need`` names, in this order and in their dtypes."""
    u, dt, A, B, C, D, z, dt_bias, _, dt_softplus = inputs
    channels = by_channel(u)
    rows = [_fitted(v, channels) for v in (u, dt, z, d_out) if v is not None]
    single_A, single_D, single_bias, end = _single(A), _single_or_none(D), _single_or_none(dt_bias), _single_or_none(d_last)
    need = tuple(need)
    request = Request(
        True, tuple(map(Signature.of, rows)), (Signature.of(B), Signature.of(C)), A.shape[1], z is not None, d_out is not None,
        D is not None, dt_bias is not None, d_last is not None, dt_softplus, False, need, segment,
    )  # fmt: skip
    plan = _plan(request, u, channels)
    p, width, states, length = plan.p, plan.width, plan.states, plan.length
    need_u, need_dt, need_A, need_B, need_C, need_D, need_z, need_bias, need_h0 = need

    a = plan.arguments()
    a.u, a.dt, a.d_out = rows[0].data_ptr(), rows[1].data_ptr(), rows[-1].data_ptr()
    a.z = rows[2 if z is not None else 0].data_ptr()
    a.A, a.B, a.C, a.kept_in = single_A.data_ptr(), B.data_ptr(), C.data_ptr(), kept.data_ptr()
    if single_D is not None:
        a.D = single_D.data_ptr()
    if single_bias is not None:
        a.bias = single_bias.data_ptr()
    buffers: tuple[Tensor, ...] = ()
    if plan.segments > 1:
        buffers = plan.carry(a, "adjoint", end, u, reverse=True)
        end = buffers[0]
    if end is not None:
        a.end = end.data_ptr()

    du = ddt = dB = dC = dz = dh0 = shares = None
    if need_u:
        du = empty_like_rows(u, channels, u.dtype)
        a.du = du.data_ptr()
    if need_dt:
        ddt = empty_like_rows(u, channels, dt.dtype)
        a.ddt = ddt.data_ptr()
    if need_z and z is not None:
        dz = empty_like_rows(u, channels, z.dtype)
        a.dz = dz.data_ptr()
    if need_h0:
        dh0 = u.new_empty((plan.batch, width, states), dtype=torch.float32)
        a.dh0 = dh0.data_ptr()
    if need_B or need_C:
        shares = u.new_empty((plan.batch, plan.blocks, length, 8 * p), dtype=torch.float32)
        a.shares = shares.data_ptr()
    sizes = (width * states if need_A else 0, width if need_D else 0, width if need_bias else 0)
    dA, dD, dbias = (u.new_empty((size,), dtype=torch.float32) if size else None for size in sizes)
    several = plan.slots > 1 and any(sizes)
    totals = [0 if v is None else v.data_ptr() for v in (dA, dD, dbias)]
    a.dA, a.dD, a.dbias = totals
    if several:
        parts = u.new_empty((plan.slots * sum(sizes),), dtype=torch.float32)
        a.dA = parts.data_ptr()
        a.dD = a.dA + 4 * plan.slots * sizes[0]
        a.dbias = a.dD + 4 * plan.slots * sizes[1]
    size = nvrtc.Size(plan.size.blocks, plan.size.threads, shared_bytes(p))
    plan.run("backward", a, size, HAS_END=int(end is not None))
    if several:
        a.local, a.out, a.last = a.dA, a.dD, a.dbias
        (a.dA, a.dD, a.dbias), a.chains = totals, plan.slots
        plan.run_flat("total", a, width * (states + 2))
    if shares is not None:
        if need_B:
            dB = empty_like_rows(B, B.stride(2) != 1, B.dtype)
            a.dB = dB.data_ptr()
        if need_C:
            dC = empty_like_rows(C, C.stride(2) != 1, C.dtype)
            a.dC = dC.data_ptr()
        a.chains = plan.batch * length * 2 * p
        plan.run_flat("sum", a, a.chains)
    gradients = (du, ddt, None if dA is None else dA.view(width, states), dB, dC, dD, dz, dbias, dh0)
    return [
        gradient if gradient.dtype == value.dtype else gradient.to(value.dtype)
        for gradient, value, asked in zip(gradients, inputs.tensors, need, strict=True)
        if asked and gradient is not None and value is not None
    ]


def like_backward(inputs: SelectiveInputs, need: Sequence[bool]) -> list[Tensor]:
    """Tensors of the shapes, types and strides of what :func:`backward` returns."""
    u, _, _, B, C, *_ = inputs
    channels = by_channel(u)
    along = {0: channels, 1: channels, 6: channels, 3: B.stride(2) != 1, 4: C.stride(2) != 1}  # of u, dt, z, B, C
    return [
        empty_like_rows(value, along[place], value.dtype)
        if place in along
        else torch.empty_like(value, memory_format=torch.contiguous_format)
        for place, (value, asked) in enumerate(zip(inputs.tensors, need, strict=True))
        if asked and value is not None
    ]
