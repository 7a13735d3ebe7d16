"""The selective scan for GPUs: kernels that keep the state in registers, with their own backward pass.

Threads own channels and states and go through time in order. Nothing of size batch·D·L·N is stored: the forward pass keeps the
state before every 64th step, the backward pass computes the others again. Where batch·D alone does not fill the device, time is
cut into segments that run side by side. No atomics: every sum has a fixed order.

Up to 16 states on NVIDIA GPUs are served by CUDA C++ that is compiled at run time (``cuda.py``), everything else by Triton
(``triton_route.py``); :func:`.route.route` chooses. Derivation, measurements and register counts are in ../README.md.

The two passes are operators of ``torch.library``, so ``torch.compile`` takes them as they are. Triton's kernels are imported at
the first call only: this module can be imported without Triton.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from empirics.errors import InvalidInput

from ...inputs import Outcome, SelectiveInputs, selective_function
from .. import oracle
from ..groups import by_group, is_plain
from . import cuda as fused_cuda
from .route import Passes, route


@torch.library.custom_op(
    "ssmproof::selective_scan",
    mutates_args=(),
    schema="(Tensor u, Tensor dt, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, Tensor? dt_bias, Tensor? h0, "
    "bool dt_softplus, bool keep, int? segment) -> (Tensor, Tensor, Tensor)",
)
def scan_forward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """out (batch, D, L), the last state (batch, D, N) and, with ``keep``, the states before every 64th step, else nothing.

    ``segment``: steps that run in one piece; chosen for the device where it is ``None``.
    """
    *given, keep, segment = arguments
    inputs = SelectiveInputs._make(given)
    return route(inputs).forward(inputs, keep, segment)


@scan_forward.register_fake
def _(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    *given, keep, _ = arguments
    inputs = SelectiveInputs._make(given)
    return route(inputs).like_forward(inputs, keep)


@torch.library.custom_op(
    "ssmproof::selective_scan_backward",
    mutates_args=(),
    schema="(Tensor? d_out, Tensor? d_last, Tensor u, Tensor dt, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, "
    "Tensor? dt_bias, Tensor? h0, Tensor kept, bool dt_softplus, bool[] need, int? segment) -> Tensor[]",
)
def scan_backward(*arguments: Any) -> list[Tensor]:
    """Gradients of those of (u, dt, A, B, C, D, z, dt_bias, h0) that ``need`` names, in this order and in their dtypes."""
    d_out, d_last, *tensors, kept, dt_softplus, need, segment = arguments
    inputs = SelectiveInputs._make((*tensors, dt_softplus))
    return route(inputs).backward(d_out, d_last, inputs, kept, need, segment)


@scan_backward.register_fake
def _(*arguments: Any) -> list[Tensor]:
    _, _, *tensors, _, dt_softplus, need, _ = arguments
    inputs = SelectiveInputs._make((*tensors, dt_softplus))
    return route(inputs).like_backward(inputs, need)


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


class _Operators:
    """The two passes by the operators, which choose the route themselves."""

    def forward(self, inputs: SelectiveInputs, keep: bool, segment: int | None) -> tuple[Tensor, Tensor, Tensor]:
        out, last, kept = scan_forward(*inputs, keep, segment)
        return out, last, kept

    def backward(
        self,
        d_out: Tensor | None,
        d_last: Tensor | None,
        inputs: SelectiveInputs,
        kept: Tensor,
        need: Sequence[bool],
        segment: int | None,
    ) -> list[Tensor]:
        found: list[Tensor] = scan_backward(d_out, d_last, *inputs.tensors, kept, inputs.dt_softplus, need, segment)
        return found


_OPERATORS = _Operators()


class _Scan(torch.autograd.Function):
    """The two passes: without the detour through an operator of ``torch.library``, whose Python costs more than a short scan,
    where the kernels take the tensors as they are; and with results that are kept (:class:`Results`)."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        *tensors, ctx.dt_softplus, keep, ctx.segment, ctx.passes = arguments
        turn: _Turn | None = getattr(_active, "turn", None)
        if turn is not None and turn.source is not None:
            # Detached: autograd modifies the tensors that are returned here.
            out, last, kept = (v.detach() for v in next(turn.following))
        else:
            out, last, kept = ctx.passes.forward(SelectiveInputs._make(arguments[:10]), keep, ctx.segment)
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
            return (None,) * 13
        *tensors, kept = ctx.saved_tensors
        passes = ctx.passes if _directly(*tensors, d_out, d_last) else _OPERATORS
        inputs = SelectiveInputs._make((*tensors, ctx.dt_softplus))
        gradients = iter(passes.backward(d_out, d_last, inputs, kept, need, ctx.segment))
        return (*(next(gradients) if asked else None for asked in need), None, None, None, None)


def _directly(*tensors: Tensor | None) -> bool:
    """May kernels be called on these as they are? Not while tracing, nor on tensors that stand for others."""
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():
        return False
    return all(v is None or type(v) in (Tensor, torch.nn.Parameter) for v in tensors)


def scan(inputs: SelectiveInputs, want_last: bool = True, segment: int | None = None) -> Outcome:
    """:func:`empirics.oracle.selective_scan` on a GPU: same equation, arguments, shapes and errors.

    Inputs in float32, bfloat16 or float16, also mixed; float32 inside. The output has u's dtype, the last state is float32, each
    gradient has its input's dtype. Gradients of every input exist, once (not twice), and are the same bits in every run on the
    same device; what does not require one costs nothing. Each group of B and C is a launch of its own, and a fixed B or C takes N
    times the memory of u (:mod:`..groups`).

    Parameters
    ----------
    segment:
        Steps of time that run in one piece, rounded up to a multiple of 64; chosen for the device where left out. Changes
        rounding at most, never the meaning.

    Raises
    ------
    InvalidInput
        As the oracle, and for ``segment`` below 1.
    MissingPackage
        Triton is not installed.
    """
    if segment is not None and segment < 1:
        raise InvalidInput(f"segment = {segment}: a segment has at least one step")
    if not is_plain(inputs):
        return by_group(scan, inputs, want_last, segment=segment)
    u, dt, A, _, C, _, z, dt_bias, _, _ = inputs
    if 0 in u.shape:  # no kernel has anything to do
        out, last = oracle.scan(inputs)
        return out, last.float()
    # Without a gradient that reads the states, the backward pass needs none of them.
    keep = torch.is_grad_enabled() and any(v is not None and v.requires_grad for v in (dt, A, C, z, dt_bias))
    # Triton's launches cost more than an operator does: only the CUDA C++ kernels are called without one.
    passes: Passes = fused_cuda if _directly(*inputs.tensors) and route(inputs) is fused_cuda else _OPERATORS
    if passes is fused_cuda or getattr(_active, "turn", None) is not None:
        out, last = _Scan.apply(*inputs, keep, segment, passes)
    else:
        out, last, _ = scan_forward(*inputs, keep, segment)
    return out, last


selective_scan = selective_function(scan)
