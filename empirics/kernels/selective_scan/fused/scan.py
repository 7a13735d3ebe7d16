"""The selective scan for GPUs: kernels that keep the state in registers, with their own backward pass.

Threads own channels and states and go through time in order. Nothing of size batch·D·L·N is stored: the forward pass keeps the
state before every 64th step, the backward pass computes the others again. Where batch·D alone does not fill the device, time is
cut into segments that run side by side. No atomics: every sum has a fixed order.

Up to 16 states on NVIDIA GPUs are served by CUDA C++ that is compiled at run time (``cuda.py``), everything else by Triton
(``triton_forward.py``, ``triton_backward.py``). Derivation, measurements and register counts are in ../README.md.

The two passes are operators of ``torch.library``, so ``torch.compile`` takes them as they are. Triton's kernels are imported at
the first call only: this module can be imported without Triton.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from empirics.errors import InvalidInput

from ...arguments import check_selective
from ...interpreter import require_triton
from ..oracle import selective_scan as oracle_scan
from . import cuda as fused_cuda

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


@torch.library.custom_op(
    "ssmproof::selective_scan",
    mutates_args=(),
    schema="(Tensor u, Tensor dt, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, Tensor? dt_bias, Tensor? h0, "
    "bool dt_softplus, bool keep, int? segment) -> (Tensor, Tensor, Tensor)",
)
def scan_forward(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    h0: Tensor | None,
    dt_softplus: bool,
    keep: bool,
    segment: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """out (batch, D, L), the last state (batch, D, N) and, with ``keep``, the states before every 64th step, else nothing.

    ``segment``: steps that run in one piece; chosen for the device where it is ``None``.
    """
    if fused_cuda.usable(A.shape[1], u, dt, B, C, z):
        return fused_cuda.forward(u, dt, A, B, C, D, z, dt_bias, h0, dt_softplus, keep, segment)
    require_triton()
    from .triton_forward import carry_kernel, forward_kernel, local_state_kernel

    batch, width, _ = u.shape
    states = A.shape[1]
    out, last, kept = (torch.empty(s, dtype=t, device=u.device) for s, t in _forward_shapes(u, states, keep))
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


def _forward_shapes(u: Tensor, states: int, keep: bool) -> list[tuple[tuple[int, ...], torch.dtype]]:
    batch, width, length = u.shape
    kept = (batch, -(-length // KEEP_EVERY), width, states) if keep else (0,)
    return [((batch, width, length), u.dtype), ((batch, width, states), torch.float32), (kept, torch.float32)]


@scan_forward.register_fake
def _(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Any, z: Any, dt_bias: Any, h0: Any,
    dt_softplus: bool, keep: bool, segment: int | None,
) -> tuple[Tensor, ...]:  # fmt: skip
    out, last, kept = (u.new_empty(shape, dtype=dtype) for shape, dtype in _forward_shapes(u, A.shape[1], keep))
    if fused_cuda.usable(A.shape[1], u, dt, B, C, z):
        out = fused_cuda.empty_like_rows(u, fused_cuda.by_channel(u), u.dtype)
    return out, last, kept


@torch.library.custom_op(
    "ssmproof::selective_scan_backward",
    mutates_args=(),
    schema="(Tensor? d_out, Tensor? d_last, Tensor u, Tensor dt, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, "
    "Tensor? dt_bias, Tensor? h0, Tensor kept, bool dt_softplus, bool[] need, int? segment) -> Tensor[]",
)
def scan_backward(
    d_out: Tensor | None,
    d_last: Tensor | None,
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    h0: Tensor | None,
    kept: Tensor,
    dt_softplus: bool,
    need: Sequence[bool],
    segment: int | None,
) -> list[Tensor]:
    """Gradients of those of (u, dt, A, B, C, D, z, dt_bias, h0) that ``need`` names, in this order and in their dtypes."""
    if fused_cuda.usable(A.shape[1], u, dt, B, C, z):
        return fused_cuda.backward(d_out, d_last, u, dt, A, B, C, D, z, dt_bias, h0, kept, dt_softplus, need, segment)
    require_triton()
    from .triton_backward import backward_kernel, local_adjoint_kernel
    from .triton_forward import carry_kernel

    batch, width, length = u.shape
    states = A.shape[1]
    inputs = {"u": u, "dt": dt, "A": A, "B": B, "C": C, "D": D, "z": z, "dt_bias": dt_bias, "h0": h0}
    wanted = {name: value for (name, value), asked in zip(inputs.items(), need, strict=True) if asked}
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
    written: dict[str, Tensor | None] = dict.fromkeys(inputs)
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
            **{f"NEED_{name.upper()}": name in wanted for name in inputs}, K=KEEP_EVERY, **flags, **launch.constants,
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


@scan_backward.register_fake
def _(
    d_out: Any, d_last: Any, u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Any, z: Any, dt_bias: Any, h0: Any,
    kept: Tensor, dt_softplus: bool, need: Sequence[bool], segment: int | None,
) -> list[Tensor]:  # fmt: skip
    inputs = {"u": u, "dt": dt, "A": A, "B": B, "C": C, "D": D, "z": z, "dt_bias": dt_bias, "h0": h0}
    native = fused_cuda.usable(A.shape[1], u, dt, B, C, z)

    def like(name: str, value: Tensor) -> Tensor:
        if native and name in ("u", "dt", "z"):
            return fused_cuda.empty_like_rows(u, fused_cuda.by_channel(u), value.dtype)
        if native and name in ("B", "C"):
            return fused_cuda.empty_like_rows(value, value.stride(2) != 1, value.dtype)
        return torch.empty_like(value, memory_format=torch.contiguous_format)

    return [like(name, value) for (name, value), asked in zip(inputs.items(), need, strict=True) if asked]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.dt_softplus, _, ctx.segment = inputs
    ctx.save_for_backward(*tensors, output[2])
    ctx.mark_non_differentiable(output[2])
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, d_out: Tensor | None, d_last: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
    *tensors, kept = ctx.saved_tensors
    need = list(ctx.needs_input_grad[:9])
    if d_out is None and d_last is None:
        return (None,) * 12
    gradients = iter(scan_backward(d_out, d_last, *tensors, kept, ctx.dt_softplus, need, ctx.segment))
    return (*(next(gradients) if asked else None for asked in need), None, None, None)


scan_forward.register_autograd(_differentiate, setup_context=_setup)


class Results:
    """Results of scans that are kept while what is around them is computed again (activation checkpointing).

    ``with results.keeping():`` a scan adds what it returns and what its backward pass needs. ``with results.giving_back():`` the
    scans of the same computation, in the same order, return that instead of running. In each thread by itself.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[Tensor, ...]] = []

    def keeping(self) -> AbstractContextManager[None]:
        """The first run."""
        return _Turn(self._kept, None)

    def giving_back(self) -> AbstractContextManager[None]:
        """Any later run; may be entered several times."""
        return _Turn(None, self._kept)

    def stop(self) -> None:
        """End a turn of these results that was left open in this thread."""
        turn: _Turn | None = getattr(_active, "turn", None)
        if turn is not None and any(kept is self._kept for kept in (turn.to, turn.source)):
            turn.__exit__()


_active = threading.local()


class _Turn(AbstractContextManager[None]):
    def __init__(self, to: list[tuple[Tensor, ...]] | None, source: list[tuple[Tensor, ...]] | None):
        self.to, self.source = to, source
        self.following: Iterator[tuple[Tensor, ...]] = iter(())

    def __enter__(self) -> None:
        self.before = getattr(_active, "turn", None)
        self.following = iter(self.source or ())
        _active.turn = self

    def __exit__(self, *_: object) -> None:
        _active.turn = self.before


class _Scan(torch.autograd.Function):
    """The two passes: without the detour through an operator of ``torch.library``, whose Python costs more than a short scan,
    where the kernels take the tensors as they are; and with results that are kept (:class:`Results`)."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        *tensors, ctx.dt_softplus, _, ctx.segment = inputs
        turn: _Turn | None = getattr(_active, "turn", None)
        if turn is not None and turn.source is not None:
            # Other objects than those kept: autograd writes on what is returned here.
            out, last, kept = (v.detach() for v in next(turn.following))
        else:
            run = fused_cuda.forward if _natively(tensors) else scan_forward
            out, last, kept = run(*inputs)
            if turn is not None and turn.to is not None:
                turn.to.append((out.detach(), last.detach(), kept.detach()))
        ctx.save_for_backward(*tensors, kept)
        ctx.set_materialize_grads(False)
        return out, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor | None, d_last: Tensor | None) -> tuple[Tensor | None, ...]:
        need = ctx.needs_input_grad[:9]
        if d_out is None and d_last is None:
            return (None,) * 12
        saved = ctx.saved_tensors
        run: Any = fused_cuda.backward if _natively([*saved[:-1], d_out, d_last]) else scan_backward
        gradients = iter(run(d_out, d_last, *saved, ctx.dt_softplus, need, ctx.segment))
        return (*(next(gradients) if asked else None for asked in need), None, None, None)


def _natively(tensors: Sequence[Tensor | None]) -> bool:
    """Do the CUDA C++ kernels serve (u, dt, A, B, C, D, z, ...), as they are?"""
    u, dt, A, B, C, _, z, *_ = tensors
    assert u is not None and dt is not None and A is not None and B is not None and C is not None
    return _directly(tensors) and fused_cuda.usable(A.shape[1], u, dt, B, C, z)


def _directly(tensors: Sequence[Tensor | None]) -> bool:
    """May kernels be called on these as they are? Not while tracing, nor on tensors that stand for others."""
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():
        return False
    return all(v is None or type(v) in (Tensor, torch.nn.Parameter) for v in tensors)


def selective_scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    h0: Tensor | None = None,
    return_last_state: bool = False,
    *,
    segment: int | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """:func:`empirics.oracle.selective_scan` on a GPU: same equation, arguments, shapes and errors.

    Inputs in float32, bfloat16 or float16, also mixed; float32 inside. The output has u's dtype, the last state is float32, each
    gradient has its input's dtype. Gradients of every input exist, once (not twice), and are the same bits in every run on the
    same device; what does not require one costs nothing.

    Parameters
    ----------
    segment:
        Steps of time that run in one piece, rounded up to a multiple of 32; chosen by :func:`segment_length` where left out.
        Changes rounding at most, never the meaning.

    Raises
    ------
    InvalidInput
        As the oracle, and for ``segment`` below 1.
    MissingPackage
        Triton is not installed.
    """
    B, C, h0 = check_selective(u, dt, A, B, C, D, z, dt_bias, h0)
    if segment is not None and segment < 1:
        raise InvalidInput(f"segment = {segment}: a segment has at least one step")
    return checked_scan(u, dt, A, B, C, D, z, dt_bias, dt_softplus, h0, return_last_state, segment)


def checked_scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    dt_softplus: bool,
    h0: Tensor | None,
    return_last_state: bool,
    segment: int | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """:func:`selective_scan` of arguments that :func:`check_selective` has seen and brought into shape."""
    # Without a gradient that reads the states, the backward pass needs none of them.
    keep = torch.is_grad_enabled() and any(v is not None and v.requires_grad for v in (dt, A, C, z, dt_bias))
    tensors = (u, dt, A, B, C, D, z, dt_bias, h0)
    inputs = (*tensors, dt_softplus, keep, segment)
    if 0 in u.shape:  # no kernel has anything to do
        result = oracle_scan(u, dt, A, B, C, D, z, dt_bias, dt_softplus, h0, return_last_state=True)
        out, last = result[0], result[1].float()
    elif getattr(_active, "turn", None) is not None or _natively(tensors):
        out, last = _Scan.apply(*inputs)
    else:
        out, last, _ = scan_forward(*inputs)
    return (out, last) if return_last_state else out
