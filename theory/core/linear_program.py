r"""Linear programs over the rationals, decided both ways: nonnegative weights, or a functional that proves there are none.

    w ≥ 0 with A w = b        or        ℓ with ℓᵀA ≥ 0 and ℓ·b < 0        (Farkas: exactly one of the two exists)

Phase one of the revised simplex method, in exact arithmetic. The entering column is the one with the largest gain; once the
objective stalls it is the first one (Bland's rule), so that it always ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import flint
import numpy as np

from . import linalg
from .errors import InvalidInput
from .scalars import Array

_STALLS = 8  # pivots without progress before Bland's rule takes over


@dataclass(frozen=True, eq=False)
class Farkas:
    """``weights`` ≥ 0 with A w = b (basic: on independent columns), or ``ell`` with ℓᵀA ≥ 0 and ℓ·b < 0; the other is None."""

    weights: Array | None
    ell: Array | None

    @property
    def feasible(self) -> bool:
        """Whether b is a nonnegative combination of the columns."""
        return self.weights is not None


def nonnegative_combination(columns: Any, target: Sequence[Any] | Array) -> Farkas:
    """Decide whether ``target`` (m,) is a nonnegative combination of ``columns`` (m, n), exactly.

    Raises InvalidInput for shapes that do not fit and entries that are not rational.
    """
    given, b = linalg.to_flint(columns), linalg.to_flint([[x] for x in target])
    m, n = given.nrows(), given.ncols()
    if m != b.nrows():
        raise InvalidInput(f"columns of length {m} against a target of length {b.nrows()}")
    signs = [-1 if b[i, 0] < 0 else 1 for i in range(m)]
    a = flint.fmpq_mat(m, n, [signs[i] * given[i, j] for i in range(m) for j in range(n)])
    b = flint.fmpq_mat(m, 1, [signs[i] * b[i, 0] for i in range(m)])
    basis = list(range(n, n + m))  # artificial columns first: n + i is the i-th unit vector
    inverse = flint.fmpq_mat(m, m, [int(i == j) for i in range(m) for j in range(m)])
    stalled = 0
    while True:
        x = inverse * b
        artificial = [i for i in range(m) if basis[i] >= n]
        objective = sum((x[i, 0] for i in artificial), flint.fmpq(0))
        y = flint.fmpq_mat(1, m, [sum((inverse[i, k] for i in artificial), flint.fmpq(0)) for k in range(m)])
        if objective == 0:
            weights = np.array([Fraction(0)] * n, dtype=object)
            for i, j in enumerate(basis):
                if j < n:
                    weights[j] = Fraction(int(x[i, 0].p), int(x[i, 0].q))
            return Farkas(weights, None)
        gains = y * a
        entering = _entering(gains, n, first=stalled >= _STALLS)
        if entering is None:
            ell = [Fraction(-int(y[0, i].p) * signs[i], int(y[0, i].q)) for i in range(m)]
            return Farkas(None, np.array(ell, dtype=object))
        column = inverse * flint.fmpq_mat(m, 1, [a[i, entering] for i in range(m)])
        leaving = min(
            (i for i in range(m) if column[i, 0] > 0), key=lambda i: (x[i, 0] / column[i, 0], -(basis[i] >= n), basis[i])
        )
        stalled = stalled + 1 if x[leaving, 0] == 0 else 0
        _pivot(inverse, column, leaving)
        basis[leaving] = entering


def _entering(gains: flint.fmpq_mat, n: int, *, first: bool) -> int | None:
    best = None
    for j in range(n):
        if gains[0, j] > 0 and (best is None or gains[0, j] > gains[0, best]):
            best = j
            if first:
                break
    return best


def _pivot(inverse: flint.fmpq_mat, column: flint.fmpq_mat, leaving: int) -> None:
    m = inverse.nrows()
    for k in range(m):
        inverse[leaving, k] = inverse[leaving, k] / column[leaving, 0]
    for i in range(m):
        if i != leaving and column[i, 0] != 0:
            factor = column[i, 0]
            for k in range(m):
                inverse[i, k] = inverse[i, k] - factor * inverse[leaving, k]
