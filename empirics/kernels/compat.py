"""mamba-ssm's names for the selective scan, with its argument order and defaults, over this project's scans.

``from empirics.kernels.compat import selective_scan_fn`` replaces the import from mamba-ssm where A is real. Beyond the original:
the last state carries its gradient, and nothing has to be a multiple of anything. ``mamba_inner_fn`` is the block around it.
"""

from __future__ import annotations

import importlib.util

import torch.nn.functional as F
from torch import Tensor

from .dispatch import selective_scan
from .table import capability


def preferred_scan(u: Tensor) -> str:
    """``fused`` for what it accepts on a CUDA device, where Triton is installed; else ``chunked``."""
    row = capability("selective_scan", "fused")
    fits = u.device.type in row.devices and u.dtype in row.dtypes
    return "fused" if fits and importlib.util.find_spec("triton") is not None else "chunked"


def selective_scan_fn(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """:func:`empirics.selective_scan` under mamba-ssm's name, by :func:`preferred_scan`.

    Parameters
    ----------
    u, delta, z:
        (batch, D, L).
    A:
        (D, N), real.
    B, C:
        (batch, N, L); (batch, G, N, L) in G groups; or fixed, (D, N).
    D, delta_bias:
        (D,).

    Returns
    -------
    out of u's shape and dtype and, with ``return_last_state``, h_L (batch, D, N).

    Raises
    ------
    InvalidInput
        Shapes, dtypes or devices do not fit, L = 0, or A is complex, which mamba-ssm takes and these scans do not.

    Source: the interface of ``selective_scan_fn`` in mamba-ssm, Gu and Dao 2023.
    """
    return _scan(preferred_scan(u), u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state)


def selective_scan_ref(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """As :func:`selective_scan_fn`, by the readable loop ``naive``: float32 inside, on any device, differentiable twice."""
    return _scan("naive", u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state)


def _scan(
    scan: str,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    return_last_state: bool,
) -> Tensor | tuple[Tensor, Tensor]:
    return selective_scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus, None, return_last_state, scan)


def mamba_inner_fn(
    xz: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    x_proj_weight: Tensor,
    delta_proj_weight: Tensor,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    A: Tensor,
    B: Tensor | None = None,
    C: Tensor | None = None,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    B_proj_bias: Tensor | None = None,
    C_proj_bias: Tensor | None = None,
    delta_softplus: bool = True,
) -> Tensor:
    """A Mamba-1 block after its first projection, under mamba-ssm's name, by :func:`preferred_scan`.

        (x, z) = xz,   u = silu(conv1d(x)),   (δ, B, C) = x_proj u,   out = out_proj · scan(u, delta_proj δ, A, B, C, D, z)

    Parameters
    ----------
    xz:
        (batch, 2 D, L).
    conv1d_weight, conv1d_bias:
        (D, 1, K) and (D,).
    x_proj_weight, delta_proj_weight, out_proj_weight, out_proj_bias:
        (R + N for each of B and C that is left out, D), (D, R), (d_model, D) and (d_model,).
    A, D, delta_bias:
        As for :func:`selective_scan_fn`.
    B, C:
        Fixed, (D, N); where left out, they depend on the input.
    B_proj_bias, C_proj_bias:
        (N,), added to B and C that depend on the input.

    Returns
    -------
    (batch, L, d_model).

    Raises
    ------
    InvalidInput
        As :func:`selective_scan_fn`.

    Source: the interface of ``mamba_inner_fn`` in mamba-ssm, Gu and Dao 2023.
    """
    weights = (conv1d_weight, conv1d_bias, x_proj_weight, delta_proj_weight, out_proj_weight, out_proj_bias)
    return _inner(preferred_scan(xz), xz, *weights, A, B, C, D, delta_bias, B_proj_bias, C_proj_bias, delta_softplus)


def mamba_inner_ref(
    xz: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    x_proj_weight: Tensor,
    delta_proj_weight: Tensor,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    A: Tensor,
    B: Tensor | None = None,
    C: Tensor | None = None,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    B_proj_bias: Tensor | None = None,
    C_proj_bias: Tensor | None = None,
    delta_softplus: bool = True,
) -> Tensor:
    """As :func:`mamba_inner_fn`, by the readable loop ``naive``."""
    weights = (conv1d_weight, conv1d_bias, x_proj_weight, delta_proj_weight, out_proj_weight, out_proj_bias)
    return _inner("naive", xz, *weights, A, B, C, D, delta_bias, B_proj_bias, C_proj_bias, delta_softplus)


def _inner(
    scan: str,
    xz: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    x_proj_weight: Tensor,
    delta_proj_weight: Tensor,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    A: Tensor,
    B: Tensor | None,
    C: Tensor | None,
    D: Tensor | None,
    delta_bias: Tensor | None,
    B_proj_bias: Tensor | None,
    C_proj_bias: Tensor | None,
    delta_softplus: bool,
) -> Tensor:
    x, z = xz.chunk(2, dim=1)
    past = conv1d_weight.shape[-1] - 1
    u = F.silu(F.conv1d(F.pad(x, (past, 0)), conv1d_weight, conv1d_bias, groups=x.shape[1]))
    widths = [delta_proj_weight.shape[1], *(A.shape[1] for fixed in (B, C) if fixed is None)]
    low, *selectors = F.linear(u.transpose(1, 2), x_proj_weight).split(widths, dim=-1)
    delta = F.linear(low, delta_proj_weight).transpose(1, 2)
    found = iter(selectors)

    def selector(fixed: Tensor | None, bias: Tensor | None) -> Tensor:
        if fixed is not None:
            return fixed
        value = next(found)
        return (value if bias is None else value + bias.to(value.dtype)).transpose(1, 2)

    B, C = selector(B, B_proj_bias), selector(C, C_proj_bias)
    y = _scan(scan, u, delta, A, B, C, D, z, delta_bias, delta_softplus, False)
    assert isinstance(y, Tensor)
    return F.linear(y.transpose(1, 2), out_proj_weight, out_proj_bias)
