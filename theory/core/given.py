"""What may be given where a number, a vector or a matrix is wanted. :mod:`theory.core.scalars` converts it, once."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
import sympy
from sympy.polys.domains.gaussiandomains import GaussianRational

Number: TypeAlias = int | float | complex | Fraction | str | sympy.Expr | GaussianRational | np.number[Any]
"""A rational (also as text, ``"1/2"``), a Gaussian rational, an expression, or a float."""
Vector: TypeAlias = Sequence[Number] | np.ndarray[Any, Any]
"""(n,)"""
Matrix: TypeAlias = Sequence[Vector] | np.ndarray[Any, Any]
"""(m, n)"""


def is_number(value: Any) -> bool:
    """Whether one number is given, and neither a vector nor a matrix."""
    return np.ndim(value) == 0
