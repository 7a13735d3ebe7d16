"""The selective scan as a straightforward program computes it: the loop of the oracle, accumulated in float32.

This is the yardstick of rounding: a kernel's error against the float64 oracle is compared with this one's in the same dtype.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor

from .oracle import selective_scan as oracle_scan

_HALVES = (torch.bfloat16, torch.float16)


MaybeTensor = TypeVar("MaybeTensor", bound=Tensor | None)


def widen(value: MaybeTensor) -> MaybeTensor:
    """bfloat16 and float16 become float32; float32, float64 and ``None`` stay."""
    return value.float() if value is not None and value.dtype in _HALVES else value  # type: ignore[return-value]


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
    """:func:`empirics.oracle.selective_scan` accumulated in float32 (float64 for float64), output in u's dtype."""
    tensors = {"u": u, "dt": dt, "A": A, "B": B, "C": C, "D": D, "z": z, "dt_bias": dt_bias, "h0": h0}
    wide: dict[str, Any] = {name: widen(v) for name, v in tensors.items()}
    out, last = oracle_scan(**wide, dt_softplus=dt_softplus, return_last_state=True)
    return (out.to(u.dtype), last) if return_last_state else out.to(u.dtype)
