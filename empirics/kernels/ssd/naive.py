"""The SSD scan as a straightforward program computes it: the loop of the oracle, accumulated in float32."""

from __future__ import annotations

from torch import Tensor

from ..inputs import SSDInputs, ssd_function
from ..selective_scan.naive import widen
from . import oracle


def scan(inputs: SSDInputs, want_last: bool = True) -> tuple[Tensor, Tensor]:
    """:func:`empirics.oracle.ssd` accumulated in float32 (float64 for float64), output in x's dtype."""
    out, last = oracle.scan(inputs.mapped(widen))
    return out.to(inputs.x.dtype), last


ssd_scan = ssd_function(scan)
