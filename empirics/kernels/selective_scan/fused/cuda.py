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
from typing import Any, NamedTuple, Protocol, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ... import nvrtc
from ...inputs import SelectiveInputs
from ...packing import Packing

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

FORWARD_BLOCKS = 5
"""Blocks that a multiprocessor holds in the forward pass, as the compiler chooses registers for P = 4."""

BLOCKS_WHERE_CUT = 6
"""Blocks that a multiprocessor is to hold in a forward pass whose time is cut, with channels innermost and narrow inputs: the one
case where a bound on registers was measured to gain (../LOG.md, version 10)."""

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
_SIZES = ("width", "length", "segment", "segments", "blocks")


class Args(ctypes.Structure):
    """``struct Args`` of the source."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _POINTERS),
        *((name, ctypes.c_longlong) for name in _STRIDES),
        ("dB", ctypes.c_void_p),
        ("dC", ctypes.c_void_p),
        *((name, ctypes.c_longlong) for name in (*_SHARE_STRIDES, "chains", "slots")),
        *((name, ctypes.c_int) for name in _SIZES),
        ("items", ctypes.c_void_p),  # these are read where sequences are packed or blocks hand states over
        ("flags", ctypes.c_void_p),
        ("chains_of", ctypes.c_int),
    )


class Variant(NamedTuple):
    """How the kernels do what they do; results are the same but for rounding.

    Attributes
    ----------
    forward_blocks:
        Blocks that a multiprocessor is to hold in the forward pass, which bounds registers; 0 where the compiler decides.
    forward_groups, recomputed_groups:
        Groups of four steps that are unrolled in the forward pass (2 where left 0), and where the backward pass computes states
        again (the compiler's choice).
    relay:
        Whether time is cut where there are more blocks than the device holds, too: each hands its state over to the one that goes
        on from it.
    overlap:
        Whether a kernel may begin before the one ahead of it in its pass has ended (devices of capability 9.0 and later).
    prefetch:
        Whether the backward pass asks for the rows of the next chunk in the L2 cache.
    """

    forward_blocks: int = 0
    forward_groups: int = 0
    recomputed_groups: int = 0
    relay: bool = False
    overlap: bool = False
    prefetch: bool = False

    @property
    def options(self) -> dict[str, int]:
        """As macros of the source."""
        options = {
            "FORWARD_BLOCKS": self.forward_blocks, "FORWARD_GROUPS": self.forward_groups,
            "RECOMPUTED_GROUPS": self.recomputed_groups, "PREFETCH": int(self.prefetch),
        }  # fmt: skip
        return {name: value for name, value in options.items() if value}


variant = Variant()
"""Of all kernels; changed by benchmarks and tests (:func:`.calls.trying`)."""


class Launcher(Protocol):
    """What runs kernels: a CUDA device, or the tests' emulator."""

    @property
    def processors(self) -> int:
        """Blocks that it runs side by side are a small multiple of this."""

    @property
    def overlaps(self) -> bool:
        """May a kernel begin before the one ahead of it has ended?"""

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


def single(value: Tensor) -> Tensor:
    """``value`` in float32, contiguous, and at an address that 16 bytes may be read from at once."""
    value = value.to(torch.float32).contiguous()
    return value if value.data_ptr() % 16 == 0 else value.clone()


def _single_or_none(value: Tensor | None) -> Tensor | None:
    return None if value is None else single(value)


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


def relay_segment(length: int, blocks: int, resident: int) -> int:
    """Steps of a segment where blocks hand states over; at least L where nothing is gained: all blocks fit on the device, or what
    their last wave leaves idle is less than 3 % of the time.

    ``resident``: blocks that the device holds.
    """
    waves = {parts: -(-blocks * parts // resident) / parts for parts in (1, 2, 4, 8, 16) if parts == 1 or length >= 128 * parts}
    best = min(waves, key=lambda parts: waves[parts] + 0.01 * parts)
    if blocks <= resident or waves[best] > 0.97 * waves[1]:
        best = 1
    return -(-length // best // KEEP_EVERY) * KEEP_EVERY


def packed_segment(packing: Packing, blocks: int, processors: int, backward: bool) -> int:
    """Steps of a segment of packed sequences: those of as many sequences of the greatest length as have all their steps."""
    lengths = [stop - start for _, start, stop in packing.spans]
    return segment_length(max(lengths), blocks * (sum(lengths) // max(lengths)), processors, backward)


def items_of(packing: Packing, segment: int) -> list[tuple[int, ...]]:
    """``struct Item`` of the source for each segment of each sequence, those of one sequence side by side.

    Longer sequences come first: blocks begin in this order, and what ends last is then short.
    """
    items: list[tuple[int, ...]] = []
    chunk = 0
    for number in sorted(range(packing.count), key=lambda n: packing.spans[n][1] - packing.spans[n][2]):
        row, start, stop = packing.spans[number]
        begins = range(start, stop, segment)
        for part, begin in enumerate(begins):
            end = min(begin + segment, stop)
            items.append((row, number, part, len(begins), begin, end, chunk, 0))
            chunk += -(-(end - begin) // KEEP_EVERY)
    return items


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
    """A request worked out once: its kernels, ready to run, and their arguments, to which only addresses are missing."""

    def __init__(self, request: Request, launcher: Launcher, channels: bool, packing: Packing | None = None):
        u = request.rows[0]
        self.batch, self.width, self.length = u.shape
        self.states, self.channels, self.request, self.launcher = request.states, channels, request, launcher
        self.p = lanes(self.states)
        self.blocks = -(-self.width // CHANNELS)
        segment = request.segment
        if segment is None:
            segment = (
                segment_length(self.length, self.batch * self.blocks, launcher.processors, request.backward)
                if packing is None
                else packed_segment(packing, self.blocks, launcher.processors, request.backward)
            )
        self.relay = False
        if variant.relay and packing is None and request.segment is None and segment >= self.length:
            resident = launcher.processors * (BLOCKS[self.p] if request.backward else variant.forward_blocks or FORWARD_BLOCKS)
            segment = relay_segment(self.length, self.batch * self.blocks, resident)
            self.relay = segment < self.length
        segment = -(-min(segment, self.length) // KEEP_EVERY) * KEEP_EVERY
        self.packing_starts: tuple[int, ...] | None = None
        self.padded = False
        self.items: Tensor | None = None
        self.sequences, self.chunks = self.batch, -(-self.length // KEEP_EVERY)
        self.segments = -(-self.length // segment)
        self.slots = self.batch * self.segments
        if packing is not None:
            items = items_of(packing, segment)
            self.items = torch.tensor(items, dtype=torch.int32)
            self.segments, self.slots = max(item[3] for item in items), len(items)
            self.sequences, self.chunks = packing.count, items[-1][6] + -(-(items[-1][5] - items[-1][4]) // KEEP_EVERY)
            self.packing_starts = tuple(start for _, start, _ in packing.spans)
            self.padded = sum(stop - start for _, start, stop in packing.spans) < self.batch * self.length
        self.size = nvrtc.Size(self.slots * self.blocks, 32 * self.p)
        self.row_stride = _row_strides(u.shape, channels)
        self.options = self._options()
        self.template = Args()
        self._set_strides()
        for name, number in zip(_SIZES, (self.width, self.length, segment, self.segments, self.blocks), strict=True):
            setattr(self.template, name, number)
        self.template.chains_of = self.batch * self.blocks
        self.scratch = 0  # floats, handed out by _reserve
        self.local = self.total = 0
        if self.segments > 1:
            self.local, self.total = self._reserve(self.slots * self.width * self.states), self._reserve(self.slots * self.width)

    def on(self, device: torch.device) -> None:
        """Bring what the kernels read besides their arguments to their device."""
        if self.items is not None:
            self.items = self.items.to(device)
            self.template.items = self.items.data_ptr()

    def flags(self, like: Tensor) -> Tensor:
        """Zeros: one for each block of the device that hands a state over."""
        return torch.zeros((self.slots * self.blocks,), dtype=torch.int32, device=like.device)

    def _reserve(self, floats: int) -> int:
        """The place, in bytes and a multiple of 16, of so many floats in the buffer that a pass needs while it runs."""
        place = 4 * self.scratch
        self.scratch += -(-floats // 4) * 4
        return place

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
            "HAS_D_OUT": int(request.has_d_out), "PRECISE": int(not narrow), "CUT": int(self.segments > 1 and not self.relay),
            "HAS_START": int(request.has_state and not request.backward), "HAS_END": int(request.has_state and request.backward),
            "WRITE": 1, "KEEP_STATES": int(request.keep), "BLOCKS_PER_SM": BLOCKS[self.p],
        }  # fmt: skip
        for name, value in self._rows().items():
            options[f"{name}_TYPE"] = _TYPES[value.dtype]
            options[f"VECTOR_{name}"] = _vector(value.shape, value.stride, value.dtype.itemsize, value.offset, self.channels)
        for name, value in zip("BC", request.selectors, strict=True):
            options[f"{name}_TYPE"], options[f"{name}_ALONG_TIME"] = _TYPES[value.dtype], int(value.stride[2] == 1)
        for name, kind in (("OUT", "U"), ("DDT", "DT"), ("DZ", "Z")):  # fresh, so aligned
            size = self._rows()[kind].dtype.itemsize
            options[f"VECTOR_{name}"] = _vector(request.rows[0].shape, self.row_stride, size, 0, self.channels)
        for name, asked in zip(("U", "DT", "A", "B", "C", "D", "Z", "BIAS", "H0"), request.need, strict=True):
            options[f"NEED_{name}"] = int(asked)
        cut = options["CUT"] and not request.backward and self.packing_starts is None
        if cut and self.channels and narrow and self.p == 4:
            options["FORWARD_BLOCKS"] = BLOCKS_WHERE_CUT
        options |= variant.options
        if self.relay:
            options["RELAY"] = 1
        if self.packing_starts is not None:
            options["PACKED"] = 1
            for name, size in self._sizes().items() if not self.channels else ():  # is the first step of every sequence aligned?
                options[f"VECTOR_{name}"] &= all(start * size % 16 == 0 for start in self.packing_starts)
        return options

    def _sizes(self) -> dict[str, int]:
        """Bytes of a number in each array of rows."""
        sizes = {name: value.dtype.itemsize for name, value in self._rows().items()}
        return {**sizes, "OUT": sizes["U"], "DDT": sizes["DT"], "DZ": sizes["Z"]}

    def _set_strides(self) -> None:
        for name, value in self._rows().items():
            for axis, stride in zip(("batch", "channel", "time"), value.stride, strict=True):
                setattr(self.template, f"{name.lower()}_{axis}", stride)
        for name, value in zip("BC", self.request.selectors, strict=True):
            for axis, stride, other in zip(("batch", "state", "time"), value.stride, self._selector_stride(value), strict=True):
                setattr(self.template, f"{name}_{axis}", stride)
                setattr(self.template, f"d{name}_{axis}", other)
        for axis, stride in zip(("batch", "channel", "time"), self.row_stride, strict=True):
            setattr(self.template, f"out_{axis}", stride)

    @staticmethod
    def _selector_stride(value: Signature) -> tuple[int, int, int]:
        """Strides of the gradient of B or C."""
        return _row_strides(value.shape, value.stride[2] != 1)

    def kernel(
        self, name: str, size: nvrtc.Size, after: bool = False, before: bool = False, **flags: int
    ) -> Callable[[ctypes.Structure], None]:
        """``scan_<name>``, ready to run, with some options changed.

        ``after`` and ``before``: whether another kernel of this pass runs directly ahead of it and behind it.
        """
        if variant.overlap and self.launcher.overlaps:
            flags |= {option: 1 for option, set_ in (("DEPENDENT", after), ("TRIGGER", before)) if set_}
            size = size._replace(dependent=after) if after else size
        options = tuple(sorted({**self.options, **flags, name.upper(): 1}.items()))
        return self.launcher.prepare(nvrtc.Kernel(_source(), f"scan_{name}", options), size)


def _fill(value: Tensor, wanted: bool) -> Tensor:
    """``value``, as zeros where wanted: what no sequence writes."""
    return value.zero_() if wanted else value


def _empty(like: Tensor, shape: Sequence[int], stride: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty_strided(shape, stride, dtype=dtype, device=like.device)


class Forward(Plan):
    """A forward pass: one kernel, and before it another where time is cut."""

    def __init__(self, request: Request, launcher: Launcher, channels: bool, packing: Packing | None = None):
        super().__init__(request, launcher, channels, packing)
        cut = self.segments > 1 and not self.relay
        self.first = self.kernel("forward", self.size, before=True, WRITE=0, CUT=0, HAS_START=0, KEEP_STATES=0) if cut else None
        self.main = self.kernel("forward", self.size, after=cut)
        u, state = request.rows[0], (self.width * self.states, self.states, 1)
        self.out = (u.shape, self.row_stride, u.dtype)
        self.last = ((self.sequences, self.width, self.states), state, torch.float32)
        rows, chunks = (self.batch, self.chunks) if packing is None else (1, self.chunks)
        self.kept = ((rows, chunks, self.width, self.states), (chunks * state[0], *state), torch.float32)

    def __call__(
        self, u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None, bias: Tensor | None,
        h0: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:  # fmt: skip
        """out, the last state and, where they are kept, the states; of tensors that the kernels can read as they are."""
        out, last = _fill(_empty(u, *self.out), self.padded), _empty(u, *self.last)
        a = Args.from_buffer_copy(self.template)
        a.u, a.dt, a.A, a.B, a.C = u.data_ptr(), dt.data_ptr(), A.data_ptr(), B.data_ptr(), C.data_ptr()
        a.out, a.last = out.data_ptr(), last.data_ptr()
        if D is not None:
            a.D = D.data_ptr()
        if z is not None:
            a.z = z.data_ptr()
        if bias is not None:
            a.bias = bias.data_ptr()
        if h0 is not None:
            a.start = h0.data_ptr()
        kept = None
        if self.request.keep:
            kept = _empty(u, *self.kept)
            a.kept = kept.data_ptr()
        if self.first is not None:
            scratch = _empty(u, (self.scratch,), (1,), torch.float32)
            at = scratch.data_ptr()
            a.local, a.total = at + self.local, at + self.total
            self.first(a)
        elif self.relay:
            scratch, flags = _empty(u, (self.scratch,), (1,), torch.float32), self.flags(u)
            a.local, a.flags = scratch.data_ptr() + self.local, flags.data_ptr()
        self.main(a)
        return out, last, kept


class Backward(Plan):
    """A backward pass: its kernel; before it another where time is cut, and behind it one that adds up shares."""

    def __init__(self, request: Request, launcher: Launcher, channels: bool, packing: Packing | None = None):
        super().__init__(request, launcher, channels, packing)
        need_u, need_dt, need_A, need_B, need_C, need_D, need_z, need_bias, need_h0 = request.need
        cut = self.segments > 1 and not self.relay
        self.first = self.kernel("adjoint", self.size, before=True, CUT=0, HAS_END=0) if cut else None
        rows, plane = self._rows(), self.width * self.states
        self.shares: int | None = None
        selected = 0
        if need_B or need_C:
            self.shares = self._reserve(self.batch * self.blocks * self.length * 8 * self.p)
            selected = self.batch * self.length * 2 * self.p
        self.parts: tuple[int, ...] = ()
        sizes = (plane if need_A else 0, self.width if need_D else 0, self.width if need_bias else 0)
        if self.slots > 1 and any(sizes):
            self.parts = tuple(self._reserve(self.slots * size) for size in sizes)
        self.template.chains, self.template.slots = selected, self.slots if self.parts else 0
        flat = selected + (plane + 2 * self.width if self.parts else 0)
        size = nvrtc.Size(self.size.blocks, self.size.threads, shared_bytes(self.p))
        self.main = self.kernel("backward", size, after=cut, before=flat > 0)
        self.last = self.kernel("finish", nvrtc.Size(-(-flat // 128), 128), after=True) if flat else None
        flat_stride = (self.states, 1)
        shape = request.rows[0].shape
        selectors = [(v.shape, self._selector_stride(v), v.dtype) for v in request.selectors]
        made: tuple[tuple[str, bool, tuple[Any, Any, torch.dtype]], ...] = (
            ("du", need_u, (shape, self.row_stride, rows["U"].dtype)),
            ("ddt", need_dt, (shape, self.row_stride, rows["DT"].dtype)),
            ("dA", need_A, ((self.width, self.states), flat_stride, torch.float32)),
            ("dB", need_B, selectors[0]),
            ("dC", need_C, selectors[1]),
            ("dD", need_D, ((self.width,), (1,), torch.float32)),
            ("dz", need_z and request.has_z, (shape, self.row_stride, rows["Z"].dtype)),
            ("dbias", need_bias, ((self.width,), (1,), torch.float32)),
            ("dh0", need_h0, ((self.sequences, self.width, self.states), (plane, *flat_stride), torch.float32)),
        )
        self.made = tuple((place, name, *how) for place, (name, asked, how) in enumerate(made) if asked)

    def __call__(
        self, d_out: Tensor | None, d_last: Tensor | None, kept: Tensor | None, u: Tensor, dt: Tensor, A: Tensor, B: Tensor,
        C: Tensor, D: Tensor | None, z: Tensor | None, bias: Tensor | None, _: Tensor | None,
    ) -> list[Tensor | None]:  # fmt: skip
        """The nine gradients, ``None`` where none is asked for; those of A, D, dt_bias and h0 in float32. They read no h0."""
        a = Args.from_buffer_copy(self.template)
        a.u, a.dt, a.A, a.B, a.C = u.data_ptr(), dt.data_ptr(), A.data_ptr(), B.data_ptr(), C.data_ptr()
        if kept is not None:
            a.kept_in = kept.data_ptr()
        if D is not None:
            a.D = D.data_ptr()
        if z is not None:
            a.z = z.data_ptr()
        if bias is not None:
            a.bias = bias.data_ptr()
        if d_out is not None:
            a.d_out = d_out.data_ptr()
        if d_last is not None:
            a.end = d_last.data_ptr()
        if self.scratch:
            scratch = _fill(_empty(u, (self.scratch,), (1,), torch.float32), self.padded)
            at = scratch.data_ptr()
        if self.first is not None:
            a.local, a.total = at + self.local, at + self.total
            self.first(a)
        elif self.relay:
            flags = self.flags(u)
            a.local, a.flags = at + self.local, flags.data_ptr()
        gradients: list[Tensor | None] = [None] * 9
        device = u.device
        for place, name, shape, stride, dtype in self.made:
            gradient = gradients[place] = torch.empty_strided(shape, stride, dtype=dtype, device=device)
            if self.padded:
                gradient.zero_()
            setattr(a, name, gradient.data_ptr())
        if self.shares is not None:
            a.shares = at + self.shares
        if self.parts:
            totals = a.dA, a.dD, a.dbias
            a.dA, a.dD, a.dbias = (at + part for part in self.parts)
        self.main(a)
        if self.last is not None:
            if self.parts:
                a.kept, a.out, a.last = a.dA, a.dD, a.dbias
                a.dA, a.dD, a.dbias = totals
            self.last(a)
        return gradients


_PLANS: dict[Any, Any] = {}
_MOST_PLANS = 4096
_PACKED_PLANS: WeakKeyDictionary[Packing, dict[Any, Any]] = WeakKeyDictionary()  # batches are packed in ever new ways


P = TypeVar("P", bound=Plan)


def forget_plans() -> None:
    """Work everything out anew from here on."""
    _PLANS.clear()
    _PACKED_PLANS.clear()


def _plan(kind: type[P], request: Request, u: Tensor, channels: bool, packing: Packing | None, launcher: Launcher | None) -> P:
    launcher = launcher or _launcher(u)
    key = (launcher, request)
    plans = _PLANS if packing is None else _PACKED_PLANS.setdefault(packing, {})
    plan: P | None = plans.get(key)
    if plan is None:
        if len(plans) >= _MOST_PLANS:
            plans.clear()
        plan = plans[key] = kind(request, launcher, channels, packing)
        plan.on(u.device)
    return plan


_NOTHING = (False,) * 9


def forward_plan(
    inputs: SelectiveInputs, keep: bool, segment: int | None, packing: Packing | None = None, launcher: Launcher | None = None
) -> Forward:
    """The plan of a forward pass over inputs that the kernels can read as they are; ``launcher``: other than their device."""
    u, dt, A, B, C, D, z, dt_bias, h0, dt_softplus = inputs
    request = Request(
        False, tuple(Signature.of(v) for v in (u, dt, z) if v is not None), (Signature.of(B), Signature.of(C)), A.shape[1],
        z is not None, False, D is not None, dt_bias is not None, h0 is not None, dt_softplus, keep, _NOTHING, segment,
    )  # fmt: skip
    return _plan(Forward, request, u, by_channel(u), packing, launcher)


def backward_plan(
    inputs: SelectiveInputs, d_out: Tensor | None, d_last: Tensor | None, need: tuple[bool, ...], segment: int | None,
    packing: Packing | None = None, launcher: Launcher | None = None,
) -> Backward:  # fmt: skip
    """The plan of a backward pass over inputs that the kernels can read as they are; as :func:`forward_plan`."""
    u, dt, A, B, C, D, z, dt_bias, _, dt_softplus = inputs
    request = Request(
        True, tuple(Signature.of(v) for v in (u, dt, z, d_out) if v is not None), (Signature.of(B), Signature.of(C)), A.shape[1],
        z is not None, d_out is not None, D is not None, dt_bias is not None, d_last is not None, dt_softplus, False, need,
        segment,
    )  # fmt: skip
    return _plan(Backward, request, u, by_channel(u), packing, launcher)


def rows_readable(inputs: SelectiveInputs) -> bool:
    """Whether the kernels can read u, dt and z as they lie."""
    channels = by_channel(inputs.u)
    return all(v is None or _fitted(v, channels) is v for v in (inputs.u, inputs.dt, inputs.z))


def gradients_readable(d_out: Tensor | None, d_last: Tensor | None, channels: bool) -> bool:
    """Whether the kernels can read the gradients of the output and of the last state as they lie."""
    return (d_out is None or _fitted(d_out, channels) is d_out) and (d_last is None or single(d_last) is d_last)


def readable(inputs: SelectiveInputs) -> SelectiveInputs:
    """The inputs as the kernels can read them: rows along u's neighbours, A, D, dt_bias and h0 in float32 and contiguous."""
    u, dt, A, B, C, D, z, dt_bias, h0, dt_softplus = inputs
    channels = by_channel(u)
    u, dt = _fitted(u, channels), _fitted(dt, channels)
    z = None if z is None else _fitted(z, channels)
    D, dt_bias, h0 = _single_or_none(D), _single_or_none(dt_bias), _single_or_none(h0)
    return SelectiveInputs(u, dt, single(A), B, C, D, z, dt_bias, h0, dt_softplus)


def forward(
    inputs: SelectiveInputs, keep: bool, segment: int | None, packing: Packing | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """out, the last state (batch, D, N) and, with ``keep``, the states before every 64th step, else nothing.

    With ``packing``, h0 and the last state are (S, D, N), and states are kept before every 64th step of each sequence.
    """
    inputs = readable(inputs)
    out, last, kept = forward_plan(inputs, keep, segment, packing)(*inputs.tensors)  # type: ignore[arg-type]
    return out, last, inputs.u.new_empty((0,), dtype=torch.float32) if kept is None else kept


def like_forward(inputs: SelectiveInputs, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Tensors of the shapes, types and strides of what :func:`forward` returns."""
    u, states = inputs.u, inputs.A.shape[1]
    batch, width, length = u.shape
    kept = (batch, -(-length // KEEP_EVERY), width, states) if keep else (0,)
    last = u.new_empty((batch, width, states), dtype=torch.float32)
    return empty_like_rows(u, by_channel(u), u.dtype), last, u.new_empty(kept, dtype=torch.float32)


def backward(
    d_out: Tensor | None, d_last: Tensor | None, inputs: SelectiveInputs, kept: Tensor | None, need: Sequence[bool],
    segment: int | None, packing: Packing | None = None,
) -> list[Tensor]:  # fmt: skip
    """Gradients of those of the nine tensors that ``need`` names, in this order and in their dtypes."""
    read = readable(inputs._replace(h0=None))
    d_out, d_last = None if d_out is None else _fitted(d_out, by_channel(inputs.u)), _single_or_none(d_last)
    plan = backward_plan(read, d_out, d_last, tuple(need), segment, packing)
    gradients = plan(d_out, d_last, kept, *read.tensors)  # type: ignore[arg-type]
    return [
        gradient if gradient.dtype == value.dtype else gradient.to(value.dtype)
        for gradient, value in zip(gradients, inputs.tensors, strict=True)
        if gradient is not None and value is not None
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
