"""What may be given where a number, a vector or a matrix is wanted. :mod:`theory.core.scalars` converts it, once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    return np.ndim(value) == 0 if isinstance(value, np.ndarray) else not isinstance(value, list | tuple)


def entries_of(value: Any) -> tuple[Any, ...] | None:
    """The members of a sequence, None where something else is given (text is no sequence)."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return None
    return tuple(value)
