"""Slow, readable scans that keep the dtype of their inputs: given float64 they are the judge of every kernel.

Each is a plain loop over time made of differentiable operations, so every gradient, of any order, comes from autograd.
"""

from .s4d import s4d
from .selective_scan import selective_scan
from .ssd import ssd

__all__ = ["s4d", "selective_scan", "ssd"]
