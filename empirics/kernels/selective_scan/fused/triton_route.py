"""The fused scan's two passes in Triton: sizes of programs and segments, and launches.

For any number of states, on any GPU that Triton knows and in its interpreter. The kernels (``triton_forward.py``,
``triton_backward.py``) are imported at the first call only: this module can be imported without Triton.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...inputs import SelectiveInputs
from ...interpreter import require_triton
from . import cuda as fused_cuda

NAMES = SelectiveInputs._fields[:9]

KEEP_EVERY = fused_cuda.KEEP_EVERY
"""Steps between kept states: 4 N / 64 bytes per element of u, half as much as u itself in bfloat16 at N = 16."""

_STATES_PER_WARP = {False: 512, True: 256}
"""State values of a warp, forward and backward: 16 a thread fit beside the inputs; 8 where five states in a row are held."""

_SEGMENT_STEPS = 256
"""Least steps of a segment chosen here; below, the carries cost more than the parallelism gains."""

_WARPS_PER_PROCESSOR = 8
"""Warps that are asked of each multiprocessor before time is cut no further: two for each of its four schedulers."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """How one program is laid out.

    Attributes
    ----------
    channels:
        Channels of a program; a power of two. It owns all N states of each.
    steps:
        Time steps loaded as one tile; a power of two that divides :data:`KEEP_EVERY`.
    warps:
        Warps of 32 threads that share the program.
    """

    channels: int
    steps: int
    warps: int


def choose_blocks(states: int, backward: bool) -> Blocks:
    """The layout for N states, which are padded to a power of two; README.md has the compiler's counts it rests on."""
    padded = next_power_of_two(states)
    values = _STATES_PER_WARP[backward]
    channels = max(1, min(32, values // padded))
    return Blocks(channels, steps=4, warps=min(8, max(1, channels * padded // values)))


def next_power_of_two(value: int) -> int:
    """The least power of two that is at least ``value`` ≥ 1."""
    return 1 << (value - 1).bit_length()


def segment_length(length: int, programs: int, warps: int, processors: int) -> int:
    """Steps per segment of time, a multiple of :data:`KEEP_EVERY`; at least L where the device is full without cutting.

    Cutting costs a second pass over the inputs, so fewer than three segments are not worth it.

    Parameters
    ----------
    length:
        L, in steps.
    programs, warps:
        Programs without cutting, and warps of each.
    processors:
        Multiprocessors of the device.
    """
    wanted = _WARPS_PER_PROCESSOR * processors // max(1, programs * warps)
    segments = min(wanted, length // _SEGMENT_STEPS)
    return _round_up(length if segments < 3 else -(-length // segments), KEEP_EVERY)


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


def _rows(value: Tensor) -> Tensor:
    """``value`` itself where neighbours in time are neighbours in memory, else a copy for which that is so."""
    return value if value.stride(2) == 1 or value.shape[2] == 1 else value.contiguous()


def _time_major(value: Tensor, padded: int) -> Tensor:
    """(batch, N, L) -> contiguous float32 (batch, L, padded), zero in the added states."""
    value = value.transpose(1, 2).to(torch.float32)
    return F.pad(value, (0, padded - value.shape[2])).contiguous()


def _alignment(length: int, *tensors: Tensor | None) -> int:
    """Largest power of two, at most 16, that divides L and every row's offset, in elements: what vector loads may assume."""
    strides = (s for t in tensors if t is not None for s in (t.stride(0), t.stride(1)))
    return math.gcd(16, length, *strides)


class _Launch:
    """Sizes and constants that the kernels of one pass have in common."""

    def __init__(self, u: Tensor, states: int, blocks: Blocks, segment: int | None, *tensors: Tensor | None):
        batch, width, length = u.shape
        self.padded = next_power_of_two(states)
        self.channel_blocks = -(-width // blocks.channels)
        programs = batch * self.channel_blocks
        if segment is None:
            processors = torch.cuda.get_device_properties(u.device).multi_processor_count if u.is_cuda else 1
            segment = segment_length(length, programs, blocks.warps, processors)
        self.segment = _round_up(segment, KEEP_EVERY)
        self.segments = -(-length // self.segment)
        self.carries = (programs,)
        self.grid = (programs * self.segments,)
        self.sizes = (width, width * states, length, self.segment, self.segments)
        self.carry_constants = {
            "N": states, "BN": self.padded, "BD": blocks.channels, "num_warps": blocks.warps, "PRECISE": u.dtype == torch.float32,
        }  # fmt: skip
        self.constants = {
            **self.carry_constants,
            "EVEN": length % blocks.steps == 0 and width % blocks.channels == 0,
            "T": blocks.steps,
            "ALIGN": _alignment(length, u, *tensors),
        }


def _strides(*tensors: Tensor) -> tuple[int, ...]:
    return tuple(s for t in tensors for s in (t.stride(0), t.stride(1)))


def _contiguous(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.contiguous()


def forward(inputs: SelectiveInputs, keep: bool, segment: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """out (batch, D, L), the last state (batch, D, N) and, with ``keep``, the states before every 64th step, else nothing."""
    require_triton()
    from .triton_forward import carry_kernel, forward_kernel, local_state_kernel

    u, dt, A, B, C, D, z, dt_bias, h0, dt_softplus = inputs
    batch, width, _ = u.shape
    states = A.shape[1]
    out, last, kept = (torch.empty(s, dtype=t, device=u.device) for s, t in _shapes(u, states, keep))
    u, dt, z = _rows(u), _rows(dt), None if z is None else _rows(z)
    A, D, dt_bias = A.contiguous(), _contiguous(D), _contiguous(dt_bias)
    launch = _Launch(u, states, choose_blocks(states, backward=False), segment, dt, z)
    B, C = _time_major(B, launch.padded), _time_major(C, launch.padded)
    flags = {"HAS_BIAS": dt_bias is not None, "SOFTPLUS": dt_softplus}
    start = _contiguous(h0)
    with torch.cuda.device_of(u):
        if launch.segments > 1:
            carry = torch.empty(batch, launch.segments, width, states, dtype=torch.float32, device=u.device)
            total = torch.empty(batch, launch.segments, width, dtype=torch.float32, device=u.device)
            local_state_kernel[launch.grid](
                u, dt, A, B, dt_bias, carry, total, *launch.sizes, *_strides(u, dt), **flags, **launch.constants
            )
            carry_kernel[launch.carries](
                A, carry, total, start, width, width * states, launch.segments,
                HAS_START=start is not None, REVERSE=False, **launch.carry_constants,
            )  # fmt: skip
            start = carry
        gate = u if z is None else z
        forward_kernel[launch.grid](
            u, dt, A, B, C, D, gate, dt_bias, start, out, last, kept, *launch.sizes, *_strides(u, dt, gate),
            HAS_D=D is not None, HAS_Z=z is not None, HAS_START=start is not None, KEEP=keep, K=KEEP_EVERY,
            **flags, **launch.constants,
        )  # fmt: skip
    return out, last, kept


def _shapes(u: Tensor, states: int, keep: bool) -> list[tuple[tuple[int, ...], torch.dtype]]:
    batch, width, length = u.shape
    kept = (batch, -(-length // KEEP_EVERY), width, states) if keep else (0,)
    return [((batch, width, length), u.dtype), ((batch, width, states), torch.float32), (kept, torch.float32)]


def like_forward(inputs: SelectiveInputs, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Tensors of the shapes, types and strides of what :func:`forward` returns."""
    out, last, kept = (inputs.u.new_empty(s, dtype=t) for s, t in _shapes(inputs.u, inputs.A.shape[1], keep))
    return out, last, kept


def backward(
    d_out: Tensor | None, d_last: Tensor | None, inputs: SelectiveInputs, kept: Tensor, need: Sequence[bool], segment: int | None
) -> list[Tensor]:
    """Gradients of those of the nine tensors that ``need`` names, in this order and in their dtypes."""
    require_triton()
    from .triton_backward import backward_kernel, local_adjoint_kernel
    from .triton_forward import carry_kernel

    u, dt, A, B, C, D, z, dt_bias, _, dt_softplus = inputs
    batch, width, length = u.shape
    states = A.shape[1]
    wanted = {name: value for name, value, asked in zip(NAMES, inputs.tensors, need, strict=True) if asked}
    u, dt, z = _rows(u), _rows(dt), None if z is None else _rows(z)
    d_out = None if d_out is None else _rows(d_out)
    A, D, dt_bias = A.contiguous(), _contiguous(D), _contiguous(dt_bias)
    blocks = choose_blocks(states, backward=True)
    launch = _Launch(u, states, blocks, segment, dt, z, d_out)
    B, C = _time_major(B, launch.padded), _time_major(C, launch.padded)
    segments, padded = launch.segments, launch.padded

    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=u.device)

    # What each program writes: a gradient itself, or its share of one that is summed over programs below.
    shares = {
        "A": (batch, segments, width, states),
        "D": (batch, segments, width),
        "dt_bias": (batch, segments, width),
        "B": (batch, launch.channel_blocks, length, padded),
        "C": (batch, launch.channel_blocks, length, padded),
    }
    written: dict[str, Tensor | None] = dict.fromkeys(NAMES)
    for name, value in wanted.items():
        whole = torch.empty_like(value, memory_format=torch.contiguous_format) if value is not None else None
        written[name] = empty(*shares[name]) if name in shares else whole

    flags = {"HAS_BIAS": dt_bias is not None, "SOFTPLUS": dt_softplus, "HAS_Z": z is not None, "HAS_D_OUT": d_out is not None}
    gate, given = u if z is None else z, u if d_out is None else d_out
    end, has_end = _contiguous(d_last), d_last is not None
    with torch.cuda.device_of(u):
        if segments > 1:
            carry, total = empty(batch, segments, width, states), empty(batch, segments, width)
            local_adjoint_kernel[launch.grid](
                dt, A, C, gate, dt_bias, given, carry, total, *launch.sizes, *_strides(dt, gate, given),
                **flags, **launch.constants,
            )  # fmt: skip
            carry_kernel[launch.carries](
                A, carry, total, end, width, width * states, segments,
                HAS_START=has_end, REVERSE=True, **launch.carry_constants,
            )  # fmt: skip
            end, has_end = carry, True
        scratch = empty(launch.grid[0] * (KEEP_EVERY // blocks.steps) * blocks.channels * padded)
        backward_kernel[launch.grid](
            u, dt, A, B, C, D, gate, dt_bias, kept, given, end, scratch, *written.values(),
            *launch.sizes, *_strides(u, dt, gate, given), HAS_D=D is not None, HAS_END=has_end,
            **{f"NEED_{name.upper()}": name in wanted for name in NAMES}, K=KEEP_EVERY, **flags, **launch.constants,
        )  # fmt: skip

    gradients = []
    for name, value in wanted.items():
        gradient = written[name]
        assert gradient is not None and value is not None
        if name in ("B", "C"):
            gradient = gradient.sum(1)[..., :states].transpose(1, 2)
        elif name in shares:
            gradient = gradient.sum((0, 1))
        gradients.append(gradient.to(value.dtype).contiguous())
    return gradients


def like_backward(inputs: SelectiveInputs, need: Sequence[bool]) -> list[Tensor]:
    """Tensors of the shapes, types and strides of what :func:`backward` returns."""
    return [
        torch.empty_like(value, memory_format=torch.contiguous_format)
        for value, asked in zip(inputs.tensors, need, strict=True)
        if asked and value is not None
    ]
