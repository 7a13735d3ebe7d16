"""The state-space dual scan of Mamba-2, one step of time after the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..inputs import SSDInputs, ssd_inputs
from ..selective_scan.oracle import SOFTPLUS_LINEAR_ABOVE


def ssd(
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
) -> Tensor | tuple[Tensor, Tensor]:
    """SSD scan, computed in the dtype of the inputs. Head h of group g = h // (H / G) has one decay for its whole state:

        dt'  = softplus(dt + dt_bias)                       (each part only where asked for)
        h_t  = exp(dt'_t A) h_{t-1} + dt'_t x_t ⊗ B_t        h: (batch, H, P, N)
        y_t  = h_t C_t + D x_t,      out_t = y_t silu(z_t)

    Parameters
    ----------
    x, z:
        (batch, L, H, P).
    dt:
        (batch, L, H).
    A, D, dt_bias:
        (H,).
    B, C:
        (batch, L, G, N), G dividing H.
    h0:
        State before the first step, (batch, H, P, N) or (H, P, N); zero where left out.

    Returns
    -------
    out of x's shape and dtype and, with ``return_last_state``, h_L (batch, H, P, N).

    Raises
    ------
    InvalidInput
        Shapes, dtypes or devices do not fit, or L = 0.

    Source: Dao and Gu 2024, arXiv 2405.21060; the interface is that of mamba-ssm's ``mamba_chunk_scan_combined``.
    """
    out, last = scan(ssd_inputs(x, dt, A, B, C, D, z, dt_bias, dt_softplus, h0))
    return (out, last) if return_last_state else out


def scan(inputs: SSDInputs, want_last: bool = True) -> tuple[Tensor, Tensor]:
    """:func:`ssd` of checked inputs; the last state comes in any case."""
    x, dt, A, B, C, D, z, dt_bias, h0, dt_softplus = inputs
    batch, _, heads, headdim = x.shape
    per_group = heads // B.shape[2]
    if dt_bias is not None:
        dt = dt + dt_bias
    if dt_softplus:
        dt = F.softplus(dt, threshold=SOFTPLUS_LINEAR_ABOVE)

    h = h0 if h0 is not None else B.new_zeros(batch, heads, headdim, B.shape[3])
    outputs = []
    for x_t, dt_t, B_t, C_t in zip(x.unbind(1), dt.unbind(1), B.unbind(1), C.unbind(1), strict=True):
        B_t = B_t.repeat_interleave(per_group, dim=1)  # (batch, H, N)
        C_t = C_t.repeat_interleave(per_group, dim=1)
        decay = torch.exp(dt_t * A)  # (batch, H)
        h = decay[:, :, None, None] * h + (dt_t[:, :, None] * x_t)[..., None] * B_t[:, :, None, :]
        outputs.append((h * C_t[:, :, None, :]).sum(-1))
    y = torch.stack(outputs, dim=1)

    if D is not None:
        y = y + D[:, None] * x
    if z is not None:
        y = y * F.silu(z)
    return y.to(x.dtype), h
