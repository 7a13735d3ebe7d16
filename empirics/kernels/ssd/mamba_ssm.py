"""The stock Triton SSD scan of mamba-ssm, which takes an initial state and returns the last one, both with gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ...errors import MissingPackage
from ..arguments import check_ssd

CHUNK = 256
"""mamba-ssm's own default, for which its kernels are tuned."""


def stock_scan() -> Callable[..., Any]:
    """``mamba_ssm.ops.triton.ssd_combined.mamba_chunk_scan_combined``.

    Raises
    ------
    MissingPackage
        mamba-ssm is not importable.
    """
    try:
        from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined
    except ImportError as error:
        raise MissingPackage("mamba_ssm", "cuda", str(error)) from error
    function: Callable[..., Any] = mamba_chunk_scan_combined
    return function


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
) -> Tensor | tuple[Tensor, Tensor]:
    """:func:`empirics.oracle.ssd` by mamba-ssm's Triton kernels. Its float32 products are TF32 products: about 1e-3.

    Raises
    ------
    InvalidInput
        As the oracle.
    MissingPackage
        mamba-ssm is not installed.
    """
    h0 = check_ssd(x, dt, A, B, C, D, z, dt_bias, h0)
    stock = stock_scan()
    B, C = B.to(x.dtype), C.to(x.dtype)
    z = None if z is None else z.to(x.dtype)
    D, dt_bias = (None if v is None else v.float() for v in (D, dt_bias))
    result: Tensor | tuple[Tensor, Tensor] = stock(
        x,
        dt,
        A.float(),
        B,
        C,
        CHUNK,
        D=D,
        z=z,
        dt_bias=dt_bias,
        initial_states=None if h0 is None else h0.float().contiguous(),
        dt_softplus=dt_softplus,
        return_final_states=return_last_state,
    )
    return result
