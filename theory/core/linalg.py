"""Exact linear algebra over the rationals, on python-flint's ``fmpq_mat``.

Every function takes nested sequences or arrays of ints and Fractions and returns Fractions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import flint
import numpy as np

from .brief import outline
from .errors import InvalidInput
from .scalars import Array

Matrix = Any  # nested sequences or an object array of ints and Fractions


def _fmpq(x: Any) -> flint.fmpq:
    if isinstance(x, flint.fmpq):
        return x
    if isinstance(x, int | np.integer):
        return flint.fmpq(int(x))
    if isinstance(x, Fraction):
        return flint.fmpq(x.numerator, x.denominator)
    raise InvalidInput(f"exact linear algebra needs ints and Fractions, got {outline(x)} of type {type(x).__name__}")


def to_flint(matrix: Matrix) -> flint.fmpq_mat:
    """An ``fmpq_mat`` from a rectangular array-like."""
    if isinstance(matrix, flint.fmpq_mat):
        return matrix
    try:
        rows = [list(row) for row in matrix]
    except TypeError as error:
        raise InvalidInput(f"expected a matrix (a sequence of rows), got {outline(matrix)}") from error
    width = len(rows[0]) if rows else (matrix.shape[1] if isinstance(matrix, np.ndarray) and matrix.ndim == 2 else 0)
    if any(len(row) != width for row in rows):
        raise InvalidInput("matrix rows have different lengths")
    return flint.fmpq_mat(len(rows), width, [_fmpq(x) for row in rows for x in row])


def _vector(v: Sequence[Any] | Array) -> flint.fmpq_mat:
    return flint.fmpq_mat(len(v), 1, [_fmpq(x) for x in v])


def _back(x: flint.fmpq) -> Fraction:
    return Fraction(int(x.p), int(x.q))


def from_flint(matrix: flint.fmpq_mat) -> Array:
    """Object array of Fractions, shape (rows, columns)."""
    out = np.empty((matrix.nrows(), matrix.ncols()), dtype=object)
    for i in range(matrix.nrows()):
        for j in range(matrix.ncols()):
            out[i, j] = _back(matrix[i, j])
    return out


def rational_root(square: Fraction) -> Fraction | None:
    """√ of a nonnegative rational, where it is rational."""
    if square < 0:
        return None
    root = Fraction(math.isqrt(square.numerator), math.isqrt(square.denominator))
    return root if root * root == square else None


def rank(matrix: Matrix) -> int:
    """Rank over Q."""
    m = to_flint(matrix)
    return int(m.rank()) if m.nrows() and m.ncols() else 0


def _square(matrix: Matrix, what: str) -> flint.fmpq_mat:
    m = to_flint(matrix)
    if m.nrows() != m.ncols():
        raise InvalidInput(f"{what} needs a square matrix, got shape {(m.nrows(), m.ncols())}")
    return m


def determinant(matrix: Matrix) -> Fraction:
    """Determinant of a square rational matrix (1 for the empty one)."""
    return _back(_square(matrix, "a determinant").det())


def inverse(matrix: Matrix) -> Array:
    """Inverse of a square rational matrix; InvalidInput if singular."""
    m = _square(matrix, "an inverse")
    try:
        return from_flint(m.inv())
    except ZeroDivisionError as error:
        raise InvalidInput("the matrix is singular and has no inverse") from error


def rref(matrix: Matrix) -> tuple[Array, tuple[int, ...]]:
    """Reduced row echelon form and the pivot columns."""
    reduced, r = to_flint(matrix).rref()
    pivots = []
    for i in range(r):
        pivots.append(next(j for j in range(reduced.ncols()) if reduced[i, j] != 0))
    return from_flint(reduced), tuple(pivots)


def rank_factors(matrix: Matrix) -> tuple[Array, Array]:
    """U (m, ρ) and V (ρ, n) with U V = M exactly, ρ = rank M: pivot columns times the rows of the reduced echelon form."""
    m = from_flint(to_flint(matrix))
    reduced, pivots = rref(m)
    return m[:, list(pivots)].reshape(m.shape[0], len(pivots)), reduced[: len(pivots)].reshape(len(pivots), m.shape[1])


def nullspace(matrix: Matrix) -> list[Array]:
    """A basis of {x : M x = 0}, one object array per vector."""
    reduced, pivots = rref(matrix)
    columns = reduced.shape[1]
    basis = []
    for free in (j for j in range(columns) if j not in pivots):
        v = np.array([Fraction(0)] * columns, dtype=object)
        v[free] = Fraction(1)
        for i, p in enumerate(pivots):
            v[p] = -reduced[i, free]
        basis.append(v)
    return basis


def solve(matrix: Matrix, rhs: Sequence[Any] | Array) -> Array | None:
    """Some x with M x = rhs (free variables 0), or None where there is none."""
    m, r = to_flint(matrix), _vector(rhs)
    if m.nrows() != r.nrows():
        raise InvalidInput(f"matrix with {m.nrows()} rows against a right-hand side of length {r.nrows()}")
    if m.nrows() == m.ncols() and m.nrows():
        try:
            return from_flint(m.solve(r))[:, 0]
        except ZeroDivisionError:
            pass  # singular: fall through to elimination, which finds a solution if one exists
    augmented = flint.fmpq_mat(
        m.nrows(), m.ncols() + 1, [e for i in range(m.nrows()) for e in [*(m[i, j] for j in range(m.ncols())), r[i, 0]]]
    )
    reduced, pivots = rref(augmented)
    if m.ncols() in pivots:
        return None
    x = np.array([Fraction(0)] * m.ncols(), dtype=object)
    for i, p in enumerate(pivots):
        x[p] = reduced[i, m.ncols()]
    return x


def matmul(left: Matrix, right: Matrix) -> Array:
    """Matrix product over Q; InvalidInput if the inner sizes differ."""
    m, n = to_flint(left), to_flint(right)
    if m.ncols() != n.nrows():
        raise InvalidInput(f"matrices of shapes {(m.nrows(), m.ncols())} and {(n.nrows(), n.ncols())} have no product")
    return from_flint(m * n)


def left_kernel_certificate(matrix: Matrix, rhs: Sequence[Any] | Array) -> Array | None:
    """ℓ with ℓᵀM = 0 and ℓ·rhs < 0, which proves that M x = rhs has no solution; None where it has one."""
    m = to_flint(matrix)
    if m.nrows() != len(rhs):
        raise InvalidInput(f"matrix with {m.nrows()} rows against a right-hand side of length {len(rhs)}")
    for v in nullspace(m.transpose()):
        value = sum((x * _back(_fmpq(y)) for x, y in zip(v, rhs, strict=True)), Fraction(0))
        if value != 0:
            return -v if value > 0 else v
    return None


def ldl_psd(matrix: Matrix) -> list[tuple[Fraction, Array]] | None:
    """M = Σ w_i v_i v_iᵀ with rational w_i > 0 (rank many terms) for a positive semidefinite M; None if M is not.

    Symmetric Gaussian elimination: exact, and each step subtracts one rank-one positive term. A matrix that is not symmetric
    is not positive semidefinite here, one that is not square is an InvalidInput.
    """
    m = from_flint(_square(matrix, "positive semidefiniteness"))
    n = m.shape[0]
    if not _symmetric(m):
        return None
    terms: list[tuple[Fraction, Array]] = []
    for k in range(n):
        pivot = m[k, k]
        if pivot < 0 or (pivot == 0 and any(m[k, j] != 0 for j in range(n))):
            return None
        if pivot == 0:
            continue
        v = m[:, k] / pivot
        terms.append((pivot, v))
        m = m - pivot * np.outer(v, v)
    return terms


def _symmetric(m: Array) -> bool:
    return all(m[i, j] == m[j, i] for i in range(len(m)) for j in range(i))


def is_psd(matrix: Matrix) -> bool:
    """Whether a symmetric rational matrix is positive semidefinite, exactly."""
    return ldl_psd(matrix) is not None


def negative_direction(matrix: Matrix) -> Array | None:
    """A rational x with xᵀMx < 0 for a symmetric M, or None where M is positive semidefinite.

    Follows the elimination of :func:`ldl_psd`; where it breaks, the offending 1×1 or 2×2 pivot gives the direction,
    pulled back through the steps already taken. Raises InvalidInput for a matrix that is not square and symmetric.
    """
    m = from_flint(_square(matrix, "a negative direction"))
    n = len(m)
    if not _symmetric(m):
        raise InvalidInput("a negative direction needs a symmetric matrix: xᵀMx sees only the symmetric part (M + Mᵀ)/2")
    steps: list[tuple[int, Array]] = []

    def pull_back(x: Array) -> Array:
        for k, v in reversed(steps):  # make x orthogonal to every term already removed: v·x = 0
            x = x.copy()
            x[k] = x[k] - sum((v[i] * x[i] for i in range(n)), Fraction(0))
        return x

    for k in range(n):
        unit = np.array([Fraction(int(i == k)) for i in range(n)], dtype=object)
        if m[k, k] < 0:
            return pull_back(unit)
        if m[k, k] == 0:
            for j in range(n):
                if m[k, j] != 0:
                    x = unit.copy()  # x = e_j·s + e_k·t with 2 s t m_kj + s² m_jj < 0
                    x[k] = -(m[j, j] + 1) / (2 * m[k, j])
                    x[j] = Fraction(1)
                    return pull_back(x)
            continue
        v = m[:, k] / m[k, k]
        steps.append((k, v))
        m = m - m[k, k] * np.outer(v, v)
    return None


def jacobian(function: Callable[[Array], Sequence[Any] | Array], point: Sequence[Any] | Array) -> Array:
    """Exact Jacobian (outputs × parameters) of a function built from +, −, ·, /, at a rational point.

    The function is run once on dual numbers (see :mod:`theory.core.dual`).

    Raises
    ------
    KindMismatch
        The point is not rational, or floats enter the function.
    InvalidInput
        The function returns something else than a one-dimensional sequence of numbers.
    """
    from .dual import Dual, seed

    try:
        outputs = function(seed(point))
    except ZeroDivisionError as error:
        raise InvalidInput("the function divides by zero at the point: it has no derivative there; move the point") from error
    except (TypeError, AttributeError, LookupError, StopIteration) as error:
        raise InvalidInput(f"the function does what dual numbers cannot: {error}; build it from +, −, ·, /") from error
    if isinstance(outputs, Dual) or np.ndim(np.asarray(outputs, dtype=object)) != 1:
        raise InvalidInput("the function must return a one-dimensional sequence of numbers (ravel() its outputs)")
    p = len(point)
    out = np.empty((len(outputs), p), dtype=object)
    for i, y in enumerate(outputs):
        if isinstance(y, Dual):
            out[i, :] = y.gradient()
        else:
            _fmpq(y)  # a constant output: refuses what is not rational
            out[i, :] = [Fraction(0)] * p
    return out


def jacobian_rank(function: Callable[[Array], Sequence[Any] | Array], point: Sequence[Any] | Array) -> int:
    """Rank of :func:`jacobian`: the local dimension of the function's image near a generic point."""
    return rank(jacobian(function, point))
