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
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from empirics.errors import InvalidInput

from ...inputs import Outcome, SelectiveInputs, selective_function, selective_inputs
from ...packing import Packing
from .. import oracle
from ..groups import by_group, is_plain
from . import calls
from . import cuda as fused_cuda
from .route import route


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
        self._kept: list[tuple[Tensor | None, ...]] = []

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
    def __init__(self, to: list[tuple[Tensor | None, ...]] | None, source: list[tuple[Tensor | None, ...]] | None):
        self.to, self.source = to, source
        self.following: Iterator[tuple[Tensor | None, ...]] = iter(())

    def __enter__(self) -> None:
        self.before = getattr(_active, "turn", None)
        self.following = iter(self.source or ())
        _active.turn = self

    def __exit__(self, *_: object) -> None:
        _active.turn = self.before


class _Operators(calls.Direct):
    """The two passes by the operators, which choose the route themselves."""

    def forward(self, tensors: Sequence[Tensor | None], keep: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        out, last, kept = scan_forward(*tensors, self.dt_softplus, keep, self.segment)
        return out, last, kept

    def backward(
        self, d_out: Tensor | None, d_last: Tensor | None, tensors: Sequence[Tensor | None], kept: Tensor | None,
        need: tuple[bool, ...],
    ) -> Sequence[Tensor | None]:  # fmt: skip
        if kept is None:
            u = tensors[0]
            assert u is not None
            kept = u.new_empty((0,), dtype=torch.float32)
        found = iter(scan_backward(d_out, d_last, *tensors, kept, self.dt_softplus, need, self.segment))
        return [next(found) if asked else None for asked in need]


def forward_pass(passes: calls.Direct, tensors: Sequence[Tensor | None], keep: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """out, the last state and, with ``keep``, what the backward pass reads beside its inputs; for autograd functions.

    Results that are kept (:class:`Results`) are taken from there, or added.
    """
    turn: _Turn | None = getattr(_active, "turn", None)
    if turn is not None and turn.source is not None:
        # Detached: autograd modifies the tensors that are returned here.
        out, last, kept = (None if v is None else v.detach() for v in next(turn.following))
        assert out is not None and last is not None
        return out, last, kept
    out, last, kept = passes.forward(tensors, keep)
    if turn is not None and turn.to is not None:
        turn.to.append((out.detach(), last.detach(), None if kept is None else kept.detach()))
    return out, last, kept


def backward_pass(
    passes: calls.Direct, d_out: Tensor | None, d_last: Tensor | None, tensors: Sequence[Tensor | None], kept: Tensor | None,
    need: tuple[bool, ...],
) -> Sequence[Tensor | None]:  # fmt: skip
    """The nine gradients in the types of their inputs, ``None`` where none is asked for."""
    # What is packed was called directly, and the operators know no packing.
    if passes.packing is None and not (_directly() and _ordinary(*tensors, d_out, d_last)):
        passes = _Operators(passes.dt_softplus, passes.segment)
    return passes.backward(d_out, d_last, tensors, kept, need)


class _Scan(torch.autograd.Function):
    """The two passes: without the detour through an operator of ``torch.library``, whose Python costs more than a short scan,
    where the kernels take the tensors as they are; and with results that are kept (:class:`Results`)."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        *tensors, passes, keep = arguments
        out, last, kept = forward_pass(passes, tensors, keep)
        ctx.save_for_backward(*tensors, kept)
        ctx.passes = passes
        ctx.set_materialize_grads(False)
        return out, last

    @staticmethod
    def backward(ctx: Any, d_out: Tensor | None, d_last: Tensor | None) -> tuple[Tensor | None, ...]:
        # The decorator's bookkeeping costs as much as a launch, and only gradients of gradients need it.
        return (_gradients_once if torch.is_grad_enabled() else _gradients)(ctx, d_out, d_last)


# Without the search for tensors of functorch's transforms that Function.apply begins with: _directly() says that there is none.
_apply: Callable[..., tuple[Tensor, Tensor]] = super(torch.autograd.Function, _Scan).apply


def _gradients(ctx: Any, d_out: Tensor | None, d_last: Tensor | None) -> tuple[Tensor | None, ...]:
    if d_out is None and d_last is None:
        return (None,) * 11
    *tensors, kept = ctx.saved_tensors
    return (*backward_pass(ctx.passes, d_out, d_last, tensors, kept, ctx.needs_input_grad[:9]), None, None)


_gradients_once = once_differentiable(_gradients)


def _directly() -> bool:
    """May kernels be called here? Not while tracing, nor inside modes and transforms that change what a tensor is."""
    return not (
        torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() or torch._C._are_functorch_transforms_active()
    )


def _ordinary(*tensors: Tensor | None) -> bool:
    """Are these tensors themselves, and do not stand for others?"""
    return all(v is None or type(v) in (Tensor, torch.nn.Parameter) for v in tensors)


def _keeps(dt: Tensor, A: Tensor, C: Tensor, z: Tensor | None, dt_bias: Tensor | None) -> bool:
    """Does a gradient that will be asked for read the states? Without one, the backward pass needs none of them."""
    return torch.is_grad_enabled() and (
        dt.requires_grad
        or A.requires_grad
        or C.requires_grad
        or (z is not None and z.requires_grad)
        or (dt_bias is not None and dt_bias.requires_grad)
    )


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
    u, dt, A, _, C, _, z, dt_bias, _, dt_softplus = inputs
    if 0 in u.shape:  # no kernel has anything to do
        out, last = oracle.scan(inputs)
        return out, last.float()
    keep = _keeps(dt, A, C, z, dt_bias)
    tensors = inputs.tensors
    # Triton's launches cost more than an operator does: only the CUDA C++ kernels are called without one.
    if _directly() and _ordinary(*tensors) and route(inputs) is fused_cuda:
        call = None
        if segment is None and calls.aligned(tensors):
            call = calls.remember(calls.key_of(*inputs), inputs)
        out, last = _apply(*tensors, call or calls.Direct(dt_softplus, segment), keep)
    elif getattr(_active, "turn", None) is not None:
        out, last = _Scan.apply(*tensors, _Operators(dt_softplus, segment), keep)
    else:
        out, last, _ = scan_forward(*inputs, keep, segment)
    return out, last


def packed(inputs: SelectiveInputs, want_last: bool, packing: Packing, segment: int | None = None) -> Outcome | None:
    """A scan of packed sequences in one launch, h0 and the last state (S, D, N); ``None`` where these kernels do not serve it.

    Every sequence is a chain of blocks by itself, from its own h0 to its own last state, so nothing crosses a border, and steps
    between sequences are not read.
    """
    tensors = inputs.tensors
    if 2 in (inputs.B.ndim, inputs.C.ndim) or 0 in inputs.u.shape or not (_directly() and _ordinary(*tensors)):
        return None
    if route(inputs) is not fused_cuda:
        return None
    if not is_plain(inputs):
        return by_group(_packed, inputs, want_last, packing=packing, segment=segment)
    return _packed(inputs, want_last, packing, segment)


def _packed(inputs: SelectiveInputs, want_last: bool, packing: Packing, segment: int | None) -> Outcome:
    keep = _keeps(inputs.dt, inputs.A, inputs.C, inputs.z, inputs.dt_bias)
    cut = segment is not None
    passes = calls.Direct(inputs.dt_softplus, segment, packing) if cut else calls.with_packing(inputs, packing)
    return _apply(*inputs.tensors, passes, keep)


def again(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None, dt_bias: Tensor | None,
    dt_softplus: bool, h0: Tensor | None,
) -> Outcome | None:  # fmt: skip
    """:func:`scan` of arguments that look like those of an earlier call, which were checked then; ``None`` where none did."""
    if not _directly():
        return None
    try:
        call = calls.seen(calls.key_of(u, dt, A, B, C, D, z, dt_bias, h0, dt_softplus))
    except (AttributeError, TypeError):  # one of them is no tensor, which the checks will say
        return None
    tensors = (u, dt, A, B, C, D, z, dt_bias, h0)
    if call is None or not calls.aligned(tensors):
        return None
    return _apply(*tensors, call, _keeps(dt, A, C, z, dt_bias))


def passes_of(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None, dt_bias: Tensor | None,
    h0: Tensor | None, dt_softplus: bool,
) -> calls.Direct:  # fmt: skip
    """The two passes of :func:`scan`, B and C (batch, N, L) and h0 (batch, D, N), for autograd functions around them.

    Raises
    ------
    InvalidInput
        As the oracle.
    """
    tensors = u, dt, A, B, C, D, z, dt_bias, h0
    directly = _directly() and _ordinary(*tensors)
    key = calls.key_of(u, dt, A, B, C, D, z, dt_bias, h0, dt_softplus) if directly and calls.aligned(tensors) else None
    call = None if key is None else calls.seen(key)
    if call is not None:
        return call
    inputs = selective_inputs(*tensors[:8], dt_softplus, h0)
    if not directly or route(inputs) is not fused_cuda:
        return _Operators(dt_softplus)
    return (None if key is None else calls.remember(key, inputs)) or calls.Direct(dt_softplus)


selective_scan = selective_function(scan)
