r"""Tokens of a selective prefix, exactly: where they sit, where they point, and how long they are squared.

A token √w·z that m further tokens follow adds w γ^m ⊙ (X z)(W_B z)ᵀ to the state: rational for rational z and w, although √w need
not be. For S6 X = diag(dt) and γ = E (D × N); for Mamba-2 X = dt W_x and γ is one number per head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from theory.core import linalg
from theory.core.scalars import Array

from .result import Reach, Token


def contribution(X: Array, W_B: Array, decay: Any, slot: int, direction: Array) -> Array:
    """γ^slot ⊙ (X z)(W_B z)ᵀ."""
    return np.asarray(decay**slot * np.outer(X @ direction, W_B @ direction))


def state_of(X: Array, W_B: Array, decay: Any, tokens: Sequence[Token]) -> Array:
    """What the tokens leave: Σ squared·γ^slot ⊙ (X z)(W_B z)ᵀ."""
    total = np.outer(0 * X[:, 0], 0 * W_B[:, 0])
    for slot, direction, squared in tokens:
        total = total + squared * contribution(X, W_B, decay, slot, direction)
    return np.asarray(total)


def float_root(x: Fraction) -> float:
    """√x as a float, also where x itself is outside the range of doubles; inf where √x is."""
    if x == 0:
        return 0.0
    shift = (log2_size(x) // 2) * 2
    root = math.sqrt(float(x / Fraction(2) ** shift))
    if abs(shift // 2) < 1000:
        return math.ldexp(root, shift // 2)
    return 0.0 if shift < 0 else math.inf


def log2_size(x: Fraction) -> int:
    """log2 |x| to within 1."""
    return x.numerator.bit_length() - x.denominator.bit_length()


def witness(tokens: Sequence[Token], width: int, reason: str) -> Reach:
    """The answer that names these tokens: exact rows where every length is rational, else floats (None beyond their range)."""
    used = sorted((Token(*t) for t in tokens if t[2] != 0), key=lambda t: -t.slot)
    length = max(t.slot for t in used) + 1
    squared = sum((t.squared * sum((x * x for x in t.direction), Fraction(0)) for t in used), Fraction(0))
    return Reach(
        "witness", "state", prefix=_rows(used, width, length), tokens=used, reason=reason, length=length, norm=float_root(squared)
    )


def _rows(tokens: Sequence[Token], width: int, length: int) -> list[Any] | None:
    roots = [linalg.rational_root(t.squared) for t in tokens]
    exact = all(r is not None for r in roots)
    rows: list[list[Any]] = [[Fraction(0) if exact else 0.0] * width for _ in range(length)]
    for token, root in zip(tokens, roots, strict=True):
        for i, x in enumerate(token.direction):
            if exact:
                rows[length - 1 - token.slot][i] = root * x
                continue
            size = float_root(token.squared * x * x)
            if math.isinf(size) or (size == 0) != (x == 0):
                return None
            rows[length - 1 - token.slot][i] = size if x > 0 else -size
    return rows


ZERO_STATE = "the zero state needs no token"


def nothing_needed() -> Reach:
    """The answer for h_0 = 0."""
    return Reach("witness", "state", prefix=[], tokens=[], reason=ZERO_STATE, length=0, norm=0.0)
