"""The SSD scan as a straightforward program computes it: the loop of the oracle, accumulated in float32."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..selective_scan.naive import widen
from .oracle import ssd as oracle_scan


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
    """:func:`empirics.oracle.ssd` accumulated in float32 (float64 for float64), output in x's dtype."""
    tensors = {"x": x, "dt": dt, "A": A, "B": B, "C": C, "D": D, "z": z, "dt_bias": dt_bias, "h0": h0}
    wide: dict[str, Any] = {name: widen(v) for name, v in tensors.items()}
    out, last = oracle_scan(**wide, dt_softplus=dt_softplus, return_last_state=True)
    return (out.to(x.dtype), last) if return_last_state else out.to(x.dtype)
