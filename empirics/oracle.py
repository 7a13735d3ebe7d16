"""Slow, readable scans that keep the dtype of their inputs: given float64 they are the judge of every kernel.

Each is a plain loop over time made of differentiable operations, so every gradient, of any order, comes from autograd.
"""

from .kernels.s4d import s4d
from .kernels.selective_scan.oracle import selective_scan
from .kernels.ssd.oracle import ssd

__all__ = ["s4d", "selective_scan", "ssd"]
