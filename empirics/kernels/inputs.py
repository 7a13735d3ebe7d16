"""What a scan reads: its arguments, checked once and brought into one form, as one value that every implementation takes.

Values are not inspected (that would synchronise a GPU at every call): a NaN in gives a NaN out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from ..errors import InvalidInput

_SEQUENCE = "an empty sequence has no output; give at least one token"

Outcome = tuple[Tensor, Tensor | None]
"""The output, and the last state where it was asked for."""


class SelectiveInputs(NamedTuple):
    """Arguments of one selective scan, as :func:`empirics.selective_scan` describes them.

    Attributes
    ----------
    u, dt, A, B, C, D, z, dt_bias, h0:
        Tensors in the order of the operators' schema; B and C each (batch, N, L), (batch, G, N, L) with G at least 2, or
        (D, N); h0 (batch, D, N) or ``None``.
    dt_softplus:
        Whether dt goes through softplus.
    """

    u: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    dt_bias: Tensor | None
    h0: Tensor | None
    dt_softplus: bool

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """The nine tensors, absent ones included."""
        return self[:9]

    def mapped(self, change: Callable[[Tensor], Tensor]) -> SelectiveInputs:
        """The same with every tensor changed."""
        return SelectiveInputs._make([*(None if v is None else change(v) for v in self[:9]), self.dt_softplus])


class SSDInputs(NamedTuple):
    """Arguments of one SSD scan, as :func:`empirics.ssd_scan` describes them; h0 (batch, H, P, N) or ``None``."""

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    dt_bias: Tensor | None
    h0: Tensor | None
    dt_softplus: bool

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """The nine tensors, absent ones included."""
        return self[:9]

    def mapped(self, change: Callable[[Tensor], Tensor]) -> SSDInputs:
        """The same with every tensor changed."""
        return SSDInputs._make([*(None if v is None else change(v) for v in self[:9]), self.dt_softplus])


def require_shape(name: str, value: Tensor, expected: tuple[int, ...], letters: str) -> None:
    """Raise :class:`InvalidInput` unless ``value`` has shape ``expected``, spelt ``letters`` in the message."""
    if tuple(value.shape) != expected:
        raise InvalidInput(f"{name} has shape {tuple(value.shape)}, expected ({letters}) = {expected}")


def require_real(device_of: tuple[str, Tensor], **tensors: Tensor | None) -> None:
    """Raise :class:`InvalidInput` unless every tensor is real floating point and on the device of the first one."""
    first, reference = device_of
    for name, value in ((first, reference), *tensors.items()):
        if value is None:
            continue
        if not isinstance(value, Tensor):
            raise InvalidInput(f"{name} is {type(value).__name__}, expected a torch.Tensor")
        if value.is_complex():
            raise InvalidInput(
                f"{name} is complex ({value.dtype}); these scans are real: give {name}.real where its imaginary part is 0, or "
                "use empirics.oracle.s4d for complex modes that do not depend on the input"
            )
        if not value.is_floating_point():
            raise InvalidInput(f"{name} has dtype {value.dtype}, expected a floating-point dtype: {name}.float()")
        if value.device != reference.device:
            raise InvalidInput(f"{name} is on {value.device} but {first} is on {reference.device}; move one of them")


def selective_inputs(
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
) -> SelectiveInputs:
    """The arguments of :func:`empirics.selective_scan`, checked.

    Raises
    ------
    InvalidInput
        A shape, dtype or device does not fit, or the sequence is empty.
    """
    require_real(("u", u), dt=dt, A=A, B=B, C=C, D=D, z=z, dt_bias=dt_bias, h0=h0)
    if u.ndim != 3:
        raise InvalidInput(f"u has shape {tuple(u.shape)}, expected (batch, D, L)")
    batch, d, length = u.shape
    if length == 0:
        raise InvalidInput(f"u has shape {tuple(u.shape)} with L = 0: {_SEQUENCE}")
    require_shape("dt", dt, (batch, d, length), "batch, D, L")
    if A.ndim != 2 or A.shape[0] != d or A.shape[1] == 0:
        raise InvalidInput(f"A has shape {tuple(A.shape)}, expected (D, N) with D = {d} and N at least 1")
    n = A.shape[1]
    projected = []
    for name, value in (("B", B), ("C", C)):
        if value.ndim == 2:
            require_shape(name, value, (d, n), "D, N")
        elif value.ndim == 4:
            groups = value.shape[1]
            if groups == 0 or d % groups:
                raise InvalidInput(f"{name} has {groups} groups, which do not divide the D = {d} channels; choose a divisor")
            require_shape(name, value, (batch, groups, n, length), "batch, G, N, L")
            value = value.squeeze(1) if groups == 1 else value
        else:
            require_shape(name, value, (batch, n, length), "batch, N, L")
        projected.append(value)
    for name, vector in (("D", D), ("dt_bias", dt_bias)):
        if vector is not None:
            require_shape(name, vector, (d,), "D,")
    if z is not None:
        require_shape("z", z, (batch, d, length), "batch, D, L")
    if h0 is not None:
        if h0.ndim == 2:
            require_shape("h0", h0, (d, n), "D, N")
            h0 = h0.expand(batch, d, n)
        require_shape("h0", h0, (batch, d, n), "batch, D, N")
    return SelectiveInputs(u, dt, A, projected[0], projected[1], D, z, dt_bias, h0, dt_softplus)


def ssd_inputs(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    h0: Tensor | None = None,
) -> SSDInputs:
    """The arguments of :func:`empirics.ssd_scan`, checked.

    Raises
    ------
    InvalidInput
        A shape, dtype or device does not fit, or the sequence is empty.
    """
    require_real(("x", x), dt=dt, A=A, B=B, C=C, D=D, z=z, dt_bias=dt_bias, h0=h0)
    if x.ndim != 4:
        raise InvalidInput(f"x has shape {tuple(x.shape)}, expected (batch, L, H, P)")
    batch, length, heads, headdim = x.shape
    if length == 0:
        raise InvalidInput(f"x has shape {tuple(x.shape)} with L = 0: {_SEQUENCE}")
    require_shape("dt", dt, (batch, length, heads), "batch, L, H")
    require_shape("A", A, (heads,), "H,")
    if B.ndim != 4 or B.shape[2] == 0 or B.shape[3] == 0 or heads % B.shape[2]:
        raise InvalidInput(f"B has shape {tuple(B.shape)}, expected (batch, L, G, N) with G dividing H = {heads}")
    groups, n = B.shape[2:]
    require_shape("B", B, (batch, length, groups, n), "batch, L, G, N")
    require_shape("C", C, (batch, length, groups, n), "batch, L, G, N")
    for name, vector in (("D", D), ("dt_bias", dt_bias)):
        if vector is not None:
            require_shape(name, vector, (heads,), "H,")
    if z is not None:
        require_shape("z", z, (batch, length, heads, headdim), "batch, L, H, P")
    if h0 is not None:
        if h0.ndim == 3:
            require_shape("h0", h0, (heads, headdim, n), "H, P, N")
            h0 = h0.expand(batch, heads, headdim, n)
        require_shape("h0", h0, (batch, heads, headdim, n), "batch, H, P, N")
    return SSDInputs(x, dt, A, B, C, D, z, dt_bias, h0, dt_softplus)


class SelectiveFunction(Protocol):
    """A selective scan as a function of separate arguments; ``options`` are the implementation's own."""

    def __call__(
        self,
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
        **options: int | None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The output and, with ``return_last_state``, the last state."""


class SSDFunction(Protocol):
    """An SSD scan as a function of separate arguments; ``options`` are the implementation's own."""

    def __call__(
        self,
        x: Tensor,
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
        **options: int | None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The output and, with ``return_last_state``, the last state."""


def selective_function(scan: Callable[..., Outcome]) -> SelectiveFunction:
    """An implementation (of :class:`SelectiveInputs`) as a function of separate arguments, which it checks."""
    return _function(selective_inputs, scan)


def ssd_function(scan: Callable[..., Outcome]) -> SSDFunction:
    """An implementation (of :class:`SSDInputs`) as a function of separate arguments, which it checks."""
    return _function(ssd_inputs, scan)


_OPTIONS = ("chunk", "segment")


def _function(check: Callable[..., Any], scan: Callable[..., Outcome]) -> Callable[..., Tensor | tuple[Tensor, Tensor]]:
    def function(*arguments: Any, return_last_state: bool = False, **named: Any) -> Tensor | tuple[Tensor, Tensor]:
        wanted = arguments[10] if len(arguments) > 10 else return_last_state
        options = {name: named.pop(name) for name in _OPTIONS if name in named}
        out, last = scan(check(*arguments[:10], **named), wanted, **options)
        return (out, last) if wanted and last is not None else out

    function.__doc__ = scan.__doc__
    return function
