"""The stock Triton SSD scan of mamba-ssm, which takes an initial state and returns the last one, both with gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from ...errors import MissingPackage
from ..inputs import Outcome, SSDInputs, ssd_function

CHUNK = 256
"""mamba-ssm's own default, for which its kernels are tuned."""

SMALLEST_CHUNK = 32
"""The shortest chunk taken; some of the kernels have no smaller block."""

ONE_CONFIGURATION = "MAMBA_DETERMINISTIC"
"""Environment variable, read when mamba-ssm is imported: with ``1`` it compiles one configuration of each kernel, else some 130,
to find out which are fastest."""

PASSED_AT_ONCE = 1024
"""Numbers of a state that one program passes on, where there is one configuration of each kernel. mamba-ssm then takes its
smallest block, 64 numbers of a head's thousands, and passing states takes as long as the rest of the scan on short sequences."""


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
    _pass_large_blocks()
    function: Callable[..., Any] = mamba_chunk_scan_combined
    return function


@cache
def _pass_large_blocks() -> None:
    """:data:`PASSED_AT_ONCE` in the kernels that pass states from chunk to chunk, unless they are tuned by trying."""
    try:
        from mamba_ssm.ops.triton import ssd_state_passing as passing
    except ImportError:  # another version of mamba-ssm: its kernels stay as they are
        return
    for name in ("_state_passing_fwd_kernel", "_state_passing_bwd_kernel"):
        match getattr(getattr(passing, name, None), "configs", None):
            case [only] if "BLOCK_SIZE" in only.kwargs:
                only.kwargs["BLOCK_SIZE"] = PASSED_AT_ONCE


def chunk_of(length: int) -> int:
    """The chunk for so many tokens: one power of two that holds them all, between :data:`SMALLEST_CHUNK` and :data:`CHUNK`.

    Some kernels compute on whole chunks, with the square of a chunk's length, whatever part of it is filled. A sequence that fits
    into one chunk has the same sums in any.
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
