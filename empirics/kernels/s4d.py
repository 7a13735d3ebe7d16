"""Diagonal S4 (S4D) as a recurrence: one time-invariant system per channel, real or complex modes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..errors import InvalidInput
from .inputs import require_shape

Rule = Literal["zoh", "mamba", "bilinear"]


def discretise(dt: Tensor, A: Tensor, B: Tensor, rule: Rule = "zoh") -> tuple[Tensor, Tensor]:
    """Discrete (Ā, B̄), each (D, N), of the continuous modes A with input weights B at step sizes dt (D,).

        zoh       Ā = exp(dt A),              B̄ = (exp(dt A) - 1) / A · B     (A = 0: B̄ = dt B)
        mamba     Ā = exp(dt A),              B̄ = dt B
        bilinear  Ā = (1 + dt A/2)/(1 - dt A/2),  B̄ = dt/(1 - dt A/2) · B

    Raises
    ------
    InvalidInput
        Unknown rule.
    """
    step = dt[:, None]
    if rule == "zoh":
        at_zero = A == 0
        safe = torch.where(at_zero, torch.ones_like(A), A)
        # expm1: exp(dt A) - 1 would lose the digits that matter at dt = 1e-3
        return torch.exp(step * A), torch.where(at_zero, step.to(A.dtype), torch.expm1(step * A) / safe) * B
    if rule == "mamba":
        return torch.exp(step * A), step * B
    if rule == "bilinear":
        half = step * A / 2
        return (1 + half) / (1 - half), step / (1 - half) * B
    raise InvalidInput(f"unknown discretisation rule {rule!r}: valid names are zoh, mamba, bilinear")


def s4d(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    h0: Tensor | None = None,
    return_last_state: bool = False,
    rule: Rule = "zoh",
) -> Tensor | tuple[Tensor, Tensor]:
    """S4D, computed in the dtype of the inputs.

        h_t = Ā h_{t-1} + B̄ u_t,       y_t = κ Re(C·h_t) + D u_t

    with (Ā, B̄) from :func:`discretise`. Complex A stores one mode of each conjugate pair, hence κ = 2; real A has κ = 1.

    Parameters
    ----------
    u:
        (batch, D, L), real.
    dt:
        (D,), positive.
    A, B, C:
        (D, N), all real or all complex.
    D:
        (D,), real.
    h0:
        (batch, D, N) or (D, N), of A's kind; zero where left out.

    Returns
    -------
    y of u's shape and dtype and, with ``return_last_state``, h_L (batch, D, N).

    Raises
    ------
    InvalidInput
        Shapes or kinds do not fit, unknown rule, or L = 0.

    Source: Gu, Gupta, Goel and Ré 2022, arXiv 2206.11893.
    """
    if u.ndim != 3 or u.shape[-1] == 0:
        raise InvalidInput(f"u has shape {tuple(u.shape)}, expected (batch, D, L) with L at least 1")
    batch, d, _ = u.shape
    if A.ndim != 2 or A.shape[0] != d:
        raise InvalidInput(f"A has shape {tuple(A.shape)}, expected (D, N) with D = {d}")
    require_shape("dt", dt, (d,), "D,")
    for name, value in (("B", B), ("C", C)):
        require_shape(name, value, tuple(A.shape), "D, N")
    kinds = {name: v.is_complex() for name, v in (("A", A), ("B", B), ("C", C), ("h0", h0)) if v is not None}
    if len(set(kinds.values())) > 1:
        raise InvalidInput(f"A, B, C and h0 must be all real or all complex, complex are: {kinds}")
    if h0 is not None:
        require_shape("h0", h0, (d, A.shape[1]) if h0.ndim == 2 else (batch, *A.shape), "[batch,] D, N")

    A_bar, B_bar = discretise(dt, A, B, rule)
    h = (h0 if h0 is not None else torch.zeros_like(A)).expand(batch, *A.shape)
    outputs = []
    for u_t in u.unbind(-1):
        h = A_bar * h + B_bar * u_t[:, :, None]
        y_t = (C * h).sum(-1)
        outputs.append(2 * y_t.real if A.is_complex() else y_t)
    y = torch.stack(outputs, dim=-1)
    if D is not None:
        y = y + D[:, None] * u
    y = y.to(u.dtype)
    return (y, h) if return_last_state else y
