"""The stock Triton SSD scan of mamba-ssm, which takes an initial state and returns the last one, both with gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import MissingPackage
from ..inputs import Outcome, SSDInputs, ssd_function

CHUNK = 256
"""mamba-ssm's own default, for which its kernels are tuned."""

SMALLEST_CHUNK = 32
"""The shortest chunk taken: half of what its smallest blocks hold."""

ONE_CONFIGURATION = "MAMBA_DETERMINISTIC"
"""Environment variable, read when mamba-ssm is imported: with ``1`` it compiles one configuration of each kernel, else some 130,
to find out which are fastest."""


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


def chunk_of(length: int) -> int:
    """The chunk for so many tokens: one power of two that holds them all, between :data:`SMALLEST_CHUNK` and :data:`CHUNK`.

    The kernels compute on whole chunks, with the square of a chunk's length, so that 24 tokens in a chunk of 256 cost as much as
    256. A sequence that fits into one chunk has the same sums in any.
    """
    return min(CHUNK, max(SMALLEST_CHUNK, 1 << (length - 1).bit_length()))


def scan(inputs: SSDInputs, want_last: bool = False) -> Outcome:
    """:func:`empirics.oracle.ssd` by mamba-ssm's Triton kernels. Its float32 products are TF32 products: about 1e-3.

    Raises
    ------
    InvalidInput
        As the oracle.
    MissingPackage
        mamba-ssm is not installed.
    """
    x, dt, A, B, C, D, z, dt_bias, h0, dt_softplus = inputs
    stock = stock_scan()
    result = stock(
        x,
        dt,
        A.float(),
        B.to(x.dtype),
        C.to(x.dtype),
        chunk_of(x.shape[1]),
        D=None if D is None else D.float(),
        z=None if z is None else z.to(x.dtype),
        dt_bias=None if dt_bias is None else dt_bias.float(),
        initial_states=None if h0 is None else h0.float().contiguous(),
        dt_softplus=dt_softplus,
        return_final_states=want_last,
    )
    return result if want_last else (result, None)


ssd_scan = ssd_function(scan)
