"""Shapes, dtypes and devices of the scans' arguments: one place that says what is wrong with them and what would mend it.

Values are not inspected (that would synchronise a GPU at every call): a NaN in gives a NaN out.
"""

from __future__ import annotations

from torch import Tensor

from ..errors import InvalidInput

_SEQUENCE = "an empty sequence has no output; give at least one token"


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
            raise InvalidInput(f"{name} is complex ({value.dtype}); these scans are real, use empirics.kernels.s4d")
        if not value.is_floating_point():
            raise InvalidInput(f"{name} has dtype {value.dtype}, expected a floating-point dtype: {name}.float()")
        if value.device != reference.device:
            raise InvalidInput(f"{name} is on {value.device} but {first} is on {reference.device}; move one of them")


def check_selective(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    h0: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Check the arguments of a selective scan; return B and C as (batch, N, L) and h0 as (batch, D, N) or ``None``.

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
        if value.ndim == 4:
            if value.shape[1] != 1:
                raise InvalidInput(f"{name} has {value.shape[1]} groups; one group is supported: (batch, 1, N, L)")
            value = value.squeeze(1)
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
    return projected[0], projected[1], h0


def check_ssd(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    h0: Tensor | None,
) -> Tensor | None:
    """Check the arguments of an SSD scan; return h0 as (batch, H, P, N) or ``None``.

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
    return h0
