"""What Python works out once for all calls of the fused scan that look alike: same layouts, types and device.

A call of a short scan costs what the CPU does for it. Checks, the choice of the kernels, their options, sizes and strides depend
on layouts and not on values, so they are worked out for the first call and found again by a key (:func:`key_of`); what is left is
to take memory, to fill in addresses and to launch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ...inputs import SelectiveInputs
from ...packing import Packing
from . import cuda

_SINGLE = (2, 5, 7, 8)
"""Places of A, D, dt_bias and h0, which the kernels read in float32."""

_MOST = 4096


def key_of(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None, dt_bias: Tensor | None,
    h0: Tensor | None, dt_softplus: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """What calls that look alike have in common.

    Raises
    ------
    AttributeError
        One of them is no tensor.
    """
    return (
        dt_softplus, os.environ.get("SSMPROOF_FUSED"), cuda.emulator,
        type(u), u.shape, u.stride(), u.dtype, u.get_device(),
        type(dt), dt.shape, dt.stride(), dt.dtype, dt.get_device(),
        type(A), A.shape, A.stride(), A.dtype, A.get_device(),
        type(B), B.shape, B.stride(), B.dtype, B.get_device(),
        type(C), C.shape, C.stride(), C.dtype, C.get_device(),
        None if D is None else (type(D), D.shape, D.stride(), D.dtype, D.get_device()),
        None if z is None else (type(z), z.shape, z.stride(), z.dtype, z.get_device()),
        None if dt_bias is None else (type(dt_bias), dt_bias.shape, dt_bias.stride(), dt_bias.dtype, dt_bias.get_device()),
        None if h0 is None else (type(h0), h0.shape, h0.stride(), h0.dtype, h0.get_device()),
    )  # fmt: skip


class Direct:
    """The two passes by the CUDA C++ kernels, for calls that are worked out every time: of any layout, in segments of any length.

    Attributes
    ----------
    dt_softplus, segment:
        Of the scan.
    packing:
        Where sequences lie in the rows, if each row is not one.
    """

    def __init__(self, dt_softplus: bool, segment: int | None = None, packing: Packing | None = None):
        self.dt_softplus, self.segment, self.packing = dt_softplus, segment, packing

    def inputs(self, tensors: Sequence[Tensor | None]) -> SelectiveInputs:
        """The nine tensors by name."""
        return SelectiveInputs._make((*tensors, self.dt_softplus))

    def forward(self, tensors: Sequence[Tensor | None], keep: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """out, the last state and, with ``keep``, the states that the backward pass reads."""
        return cuda.forward(self.inputs(tensors), keep, self.segment, self.packing)

    def backward(
        self, d_out: Tensor | None, d_last: Tensor | None, tensors: Sequence[Tensor | None], kept: Tensor | None,
        need: tuple[bool, ...],
    ) -> Sequence[Tensor | None]:  # fmt: skip
        """The nine gradients in the types of their inputs, ``None`` where none is asked for."""
        found = iter(cuda.backward(d_out, d_last, self.inputs(tensors), kept, need, self.segment, self.packing))
        return [next(found) if asked else None for asked in need]


class Call(Direct):
    """The two passes of calls that look alike (:func:`key_of`), at addresses that are multiples of 16."""

    def __init__(self, inputs: SelectiveInputs, packing: Packing | None = None):
        super().__init__(inputs.dt_softplus, None, packing)
        given = [(place, inputs.tensors[place]) for place in _SINGLE]
        self._single = [place for place, v in given if v is not None and (v.dtype != torch.float32 or not v.is_contiguous())]
        self._strides = _strides(inputs.tensors)
        self._channels = cuda.by_channel(inputs.u)
        self._forward: dict[bool, cuda.Forward] = {}
        self._backward: dict[tuple[Any, ...], cuda.Backward] = {}

    def _read(self, tensors: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """The tensors as the kernels read them."""
        if not self._single:
            return tensors
        read = list(tensors)
        for place in self._single:
            value = read[place]
            assert value is not None
            read[place] = cuda.single(value)
        return read

    def forward(self, tensors: Sequence[Tensor | None], keep: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """As :meth:`Direct.forward`."""
        read = self._read(tensors)
        plan = self._forward.get(keep)
        if plan is None:
            plan = self._forward[keep] = cuda.forward_plan(self.inputs(read), keep, None, self.packing)
        return plan(*read)  # type: ignore[arg-type]

    def backward(
        self, d_out: Tensor | None, d_last: Tensor | None, tensors: Sequence[Tensor | None], kept: Tensor | None,
        need: tuple[bool, ...],
    ) -> Sequence[Tensor | None]:  # fmt: skip
        """As :meth:`Direct.backward`, which serves tensors that lie in another way than they did, as hooks may leave them."""
        if not (aligned(tensors) and _strides(tensors) == self._strides):
            return super().backward(d_out, d_last, tensors, kept, need)
        key = (
            need,
            None if d_out is None else (d_out.stride(), d_out.dtype, d_out.data_ptr() & 15),
            None if d_last is None else (d_last.stride(), d_last.dtype, d_last.data_ptr() & 15),
        )
        plan, read = self._backward.get(key), self._read(tensors)
        if plan is None:
            if not cuda.gradients_readable(d_out, d_last, self._channels):
                return super().backward(d_out, d_last, tensors, kept, need)
            plan = self._backward[key] = cuda.backward_plan(self.inputs(read), d_out, d_last, need, None, self.packing)
        gradients = plan(d_out, d_last, kept, *read)  # type: ignore[arg-type]
        for place in self._single:
            gradient, value = gradients[place], tensors[place]
            if gradient is not None and value is not None:
                gradients[place] = gradient.to(value.dtype)
        return gradients


def aligned(tensors: Sequence[Tensor | None]) -> bool:
    """Whether 16 bytes may be read at once from where u, dt, A, D, z, dt_bias and h0 begin."""
    u, dt, A, _, _, D, z, dt_bias, h0 = tensors
    assert u is not None and dt is not None and A is not None
    low = u.data_ptr() | dt.data_ptr() | A.data_ptr()
    for value in (D, z, dt_bias, h0):
        if value is not None:
            low |= value.data_ptr()
    return not low & 15


def _strides(tensors: Sequence[Tensor | None]) -> list[tuple[int, ...] | None]:
    return [None if v is None else v.stride() for v in tensors]


_CALLS: dict[tuple[Any, ...], Call] = {}


def seen(key: tuple[Any, ...]) -> Call | None:
    """The call that looks like this one, where there was one."""
    return _CALLS.get(key)


def remember(key: tuple[Any, ...], inputs: SelectiveInputs) -> Call | None:
    """A call of inputs that the CUDA C++ kernels serve; ``None`` where they have to be copied first."""
    if not cuda.rows_readable(inputs):
        return None
    if len(_CALLS) >= _MOST:
        _CALLS.clear()
    return _CALLS.setdefault(key, Call(inputs))


def with_packing(inputs: SelectiveInputs, packing: Packing) -> Direct:
    """A call of packed sequences, worked out once for each packing where inputs can be read as they lie."""
    if not aligned(inputs.tensors):
        return Direct(inputs.dt_softplus, None, packing)
    key = (cuda.variant, *key_of(*inputs))
    call: Direct | None = packing.calls.get(key)
    if call is None:
        call = Call(inputs, packing) if cuda.rows_readable(inputs) else Direct(inputs.dt_softplus, None, packing)
        packing.calls[key] = call
    return call


@contextmanager
def trying(variant: cuda.Variant) -> Iterator[None]:
    """Kernels of another variant inside; what was worked out before is forgotten, and again at the end."""
    usual = cuda.variant
    try:
        cuda.variant = variant
        _CALLS.clear()
        cuda.forget_plans()
        yield
    finally:
        cuda.variant = usual
        _CALLS.clear()
        cuda.forget_plans()
