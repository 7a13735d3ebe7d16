"""The selective scan S6 of Mamba-1, one step of time after the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..inputs import SelectiveInputs, selective_inputs

SOFTPLUS_LINEAR_ABOVE = 40.0
"""From here on softplus(x) = x even in float64 (exp(-40) < 2^-57); PyTorch's default of 20 is off by 1e-10."""


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
) -> Tensor | tuple[Tensor, Tensor]:
    """Selective scan, computed in the dtype of the inputs.

        dt'  = softplus(dt + dt_bias)                       (each part only where asked for)
        h_t  = exp(dt'_t A) h_{t-1} + dt'_t u_t B_t          h: (batch, D, N)
        y_t  = C_t·h_t + D u_t,      out_t = y_t silu(z_t)

    Parameters
    ----------
    u, dt, z:
        (batch, D, L).
    A:
        (D, N), real, negative for a stable system.
    B, C:
        (batch, N, L); (batch, G, N, L) in G groups, where channel d reads group d // (D / G); or fixed, (D, N).
    D, dt_bias:
        (D,).
    h0:
        State before the first step, (batch, D, N) or (D, N); zero where left out.

    Returns
    -------
    out of u's shape and dtype and, with ``return_last_state``, h_L (batch, D, N).

    Raises
    ------
    InvalidInput
        Shapes, dtypes or devices do not fit, or L = 0.

    Source: Gu and Dao 2023, arXiv 2312.00752, section 3; the interface is that of mamba-ssm's ``selective_scan_fn``.
    """
    out, last = scan(selective_inputs(u, dt, A, B, C, D, z, dt_bias, dt_softplus, h0))
    return (out, last) if return_last_state else out


def _by_step(value: Tensor, width: int, length: int) -> list[Tensor]:
    """B or C at each step, so that it multiplies (batch, D, N)."""
    if value.ndim == 2:
        return [value] * length
    if value.ndim == 3:
        return [v[:, None] for v in value.unbind(-1)]
    return list(value.repeat_interleave(width // value.shape[1], dim=1).unbind(-1))


def scan(inputs: SelectiveInputs, want_last: bool = True) -> tuple[Tensor, Tensor]:
    """:func:`selective_scan` of checked inputs; the last state comes in any case."""
    u, dt, A, B, C, D, z, dt_bias, h0, dt_softplus = inputs
    if dt_bias is not None:
        dt = dt + dt_bias[:, None]
    if dt_softplus:
        dt = F.softplus(dt, threshold=SOFTPLUS_LINEAR_ABOVE)

    h = h0 if h0 is not None else torch.zeros_like(A).expand(u.shape[0], *A.shape)
    outputs = []
    # Unbinding first keeps the backward pass linear in L; slicing inside the loop would make it quadratic.
    width, length = u.shape[1:]
    Bs, Cs = (_by_step(v, width, length) for v in (B, C))
    for u_t, dt_t, B_t, C_t in zip(u.unbind(-1), dt.unbind(-1), Bs, Cs, strict=True):
        decay = torch.exp(dt_t[:, :, None] * A)
        h = decay * h + (dt_t * u_t)[:, :, None] * B_t
        outputs.append((h * C_t).sum(-1))
    y = torch.stack(outputs, dim=-1)

    if D is not None:
        y = y + D[:, None] * u
    if z is not None:
        y = y * F.silu(z)
    return y.to(u.dtype), h
