"""mamba-ssm's names for the selective scan, with its argument order and defaults, over this project's scans.

``from empirics.kernels.compat import selective_scan_fn`` replaces the import from mamba-ssm where A is real. Beyond the original:
the last state carries its gradient, and nothing has to be a multiple of anything.
"""

from __future__ import annotations

import importlib.util

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
