"""The scans by name: one signature per operation, the implementation chosen by ``scan``."""

from __future__ import annotations

from torch import Tensor

from .inputs import selective_inputs, ssd_inputs
from .packed import packed_selective, packed_ssd
from .packing import Packing
from .table import packing_scan, require, shortcut


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
    scan: str = "chunked",
    seq_idx: Tensor | Packing | None = None,
    cu_seqlens: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """The selective scan of Mamba-1.

        dt'  = softplus(dt + dt_bias)                       (each part only where asked for)
        h_t  = exp(dt'_t A) h_{t-1} + dt'_t u_t B_t          h: (batch, D, N)
        y_t  = C_t·h_t + D u_t,      out_t = y_t silu(z_t)

    Parameters
    ----------
    u, dt, z:
        (batch, D, L).
    A:
        (D, N), real.
    B, C:
        (batch, N, L); (batch, G, N, L) in G groups, where channel d reads group d // (D / G); or fixed, (D, N).
    D, dt_bias:
        (D,).
    h0:
        State before the first step, (batch, D, N) or (D, N); zero where left out.
    scan:
        ``oracle``, ``naive``, ``chunked``, ``mamba_ssm`` or ``fused`` (see :data:`empirics.kernels.table.TABLE`).
    seq_idx, cu_seqlens:
        Several sequences one after the other in time, each from its own h0: int32 (batch, L), neighbours with one number
        are of one sequence and negative numbers are padding, whose output is 0; or int32 (S + 1,), for batch 1, where each
        sequence begins, and L. h0 then is (S, D, N) or (D, N), and the last state (S, D, N), row by row and in time. Both
        are read off the device at every call; a :class:`.packing.Packing` in place of seq_idx is not.

    Returns
    -------
    out of u's shape and dtype and, with ``return_last_state``, h_L (batch, D, N).

    Raises
    ------
    InvalidInput
        Shapes, dtypes or devices do not fit, or L = 0.
    UnknownName, UnsupportedScan, MissingPackage
        The scan does not exist, cannot do this, or needs a package that is not installed.

    Source: Gu and Dao 2023, arXiv 2312.00752.
    """
    if seq_idx is None and cu_seqlens is None:
        again = shortcut("selective_scan", scan)
        found = None if again is None else again(u, dt, A, B, C, D, z, dt_bias, dt_softplus, h0)
        if found is None:
            inputs = selective_inputs(u, dt, A, B, C, D, z, dt_bias, dt_softplus, h0)
            found = require("selective_scan", scan, u, A.shape[1])(inputs, return_last_state)
        out, last = found
    else:
        inputs = selective_inputs(u, dt, A, B, C, D, z, dt_bias, dt_softplus)
        packing = Packing.of(seq_idx, cu_seqlens, (u.shape[0], u.shape[2]))
        assert packing is not None
        run = require("selective_scan", scan, u, A.shape[1])
        at_once = packing_scan("selective_scan", scan)
        out, last = packed_selective(run, inputs, h0, return_last_state, packing, at_once)
    return (out, last) if return_last_state and last is not None else out


def ssd_scan(
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
    scan: str = "chunked",
    seq_idx: Tensor | Packing | None = None,
    cu_seqlens: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """The state-space dual scan of Mamba-2; head h belongs to group h // (H / G).

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
    scan:
        ``oracle``, ``naive``, ``chunked`` or ``mamba_ssm`` (see :data:`empirics.kernels.table.TABLE`).
    seq_idx, cu_seqlens:
        Several sequences one after the other in time, each from its own h0: int32 (batch, L), neighbours with one number
        are of one sequence and negative numbers are padding, whose output is 0; or int32 (S + 1,), for batch 1, where each
        sequence begins, and L. h0 then is (S, H, P, N) or (H, P, N), and the last state (S, H, P, N), row by row and in time.
        Both are read off the device at every call; a :class:`.packing.Packing` in place of seq_idx is not.

    Returns
    -------
    out of x's shape and dtype and, with ``return_last_state``, h_L (batch, H, P, N).

    Raises
    ------
    InvalidInput
        Shapes, dtypes or devices do not fit, or L = 0.
    UnknownName, UnsupportedScan, MissingPackage
        The scan does not exist, cannot do this, or needs a package that is not installed.

    Source: Dao and Gu 2024, arXiv 2405.21060.
    """
    if seq_idx is None and cu_seqlens is None:
        inputs = ssd_inputs(x, dt, A, B, C, D, z, dt_bias, dt_softplus, h0)
        out, last = require("ssd", scan, x, B.shape[-1])(inputs, return_last_state)
    else:
        inputs = ssd_inputs(x, dt, A, B, C, D, z, dt_bias, dt_softplus)
        packing = Packing.of(seq_idx, cu_seqlens, (x.shape[0], x.shape[1]))
        assert packing is not None
        out, last = packed_ssd(require("ssd", scan, x, B.shape[-1]), inputs, h0, return_last_state, packing)
    return (out, last) if return_last_state and last is not None else out
