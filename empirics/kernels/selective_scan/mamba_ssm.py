"""The stock CUDA scan of mamba-ssm, completed: an initial state, and a last state that carries gradients.

``selective_scan_fn`` starts from zero and drops the gradient of its last state without a word. Here the initial state enters
as its exact response, added before the gate (out is linear in y: (y + r) silu(z) = out + r silu(z)), and when gradients are
on the last state comes from a differentiable sum. Without either, nothing is added to the stock call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from ...errors import MissingPackage
from ..inputs import Outcome, SelectiveInputs, selective_function
from .groups import by_group, is_plain
from .state_terms import final_state, initial_state_response


def stock_scan() -> Callable[..., Any]:
    """``mamba_ssm.ops.selective_scan_interface.selective_scan_fn``.

    Raises
    ------
    MissingPackage
        mamba-ssm is not importable.
    """
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError as error:
        raise MissingPackage("mamba_ssm", "cuda", str(error)) from error
    function: Callable[..., Any] = selective_scan_fn
    return function


def scan(inputs: SelectiveInputs, want_last: bool = False) -> Outcome:
    """:func:`empirics.oracle.selective_scan` by mamba-ssm's CUDA kernel: u's dtype in and out, float32 inside.

    dt, z, B and C are cast to u's dtype, A, D and dt_bias to float32, as the kernel demands. The last state is float32.

    Raises
    ------
    InvalidInput
        As the oracle.
    MissingPackage
        mamba-ssm is not installed.
    """
    u, dt, A, B, C, D, z, dt_bias, h0, dt_softplus = inputs
    stock = stock_scan()
    with_gradients = torch.is_grad_enabled() and any(v.requires_grad for v in (u, dt, A, B, dt_bias) if v is not None)
    if not is_plain(inputs) and (h0 is not None or (want_last and with_gradients)):
        return by_group(scan, inputs, want_last)  # what is added here knows one group
    dt = dt.to(u.dtype)
    B, C = (v.float() if v.ndim == 2 else v.to(u.dtype) for v in (B, C))
    z = None if z is None else z.to(u.dtype)
    A = A.float()
    D, dt_bias = (None if v is None else v.float() for v in (D, dt_bias))
    from_stock = want_last and not with_gradients
    result = stock(u, dt, A, B, C, D, z, dt_bias, dt_softplus, from_stock)
    out, last = result if from_stock else (result, None)
    if h0 is None and (last is not None or not want_last):
        return out, last

    steps = dt.float() if dt_bias is None else dt.float() + dt_bias[:, None]
    if dt_softplus:
        steps = F.softplus(steps)
    if want_last and last is None:
        last = final_state(steps, u.float(), A, B.float())
    if h0 is not None:
        response, left = initial_state_response(steps, A, C.float(), h0.float())
        if z is not None:
            response = response * F.silu(z.float())
        out = out + response.to(out.dtype)
        last = None if last is None else last + left
    return out, last


selective_scan = selective_function(scan)
