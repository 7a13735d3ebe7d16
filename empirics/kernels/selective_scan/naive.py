"""The selective scan as a straightforward program computes it: the loop of the oracle, accumulated in float32.

This is the yardstick of rounding: a kernel's error against the float64 oracle is compared with this one's in the same dtype.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from ..inputs import SelectiveInputs, selective_function
from . import oracle

_HALVES = (torch.bfloat16, torch.float16)


MaybeTensor = TypeVar("MaybeTensor", bound=Tensor | None)


def widen(value: MaybeTensor) -> MaybeTensor:
    """bfloat16 and float16 become float32; float32, float64 and ``None`` stay."""
    return value.float() if value is not None and value.dtype in _HALVES else value  # type: ignore[return-value]


def scan(inputs: SelectiveInputs, want_last: bool = True) -> tuple[Tensor, Tensor]:
    """:func:`empirics.oracle.selective_scan` accumulated in float32 (float64 for float64), output in u's dtype."""
    out, last = oracle.scan(inputs.mapped(widen))
    return out.to(inputs.u.dtype), last


selective_scan = selective_function(scan)
