"""The flint routes against plain Fraction elimination written here, and certificates checked by what they certify."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import flint
import numpy as np
import pytest
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.errors import InvalidInput, KindMismatch
from theory.core.strategies import matrices, rationals, vectors

F = Fraction
Rows = list[list[Fraction]]


def eliminate(matrix: Rows, columns: int) -> tuple[Rows, list[int], Fraction]:
    """Reduced row echelon form, pivot columns, and the signed product of the pivots, by schoolbook elimination."""
    m, product = [list(row) for row in matrix], F(1)
    pivots: list[int] = []
    for j in range(columns):
        r = len(pivots)
        found = next((i for i in range(r, len(m)) if m[i][j] != 0), None)
        if found is None:
            continue
        if found != r:
            m[r], m[found], product = m[found], m[r], -product
        product *= m[r][j]
        m[r] = [v / m[r][j] for v in m[r]]
        for i in range(len(m)):
            if i != r:
                m[i] = [v - m[i][j] * w for v, w in zip(m[i], m[r], strict=True)]
        pivots.append(j)
    return m, pivots, product


def times(matrix: Any, x: Any) -> list[Fraction]:
    return [sum((v * w for v, w in zip(row, x, strict=True)), F(0)) for row in matrix]


def form(matrix: Any, x: Any) -> Fraction:
    return sum((a * b for a, b in zip(x, times(matrix, x), strict=True)), F(0))


@st.composite
def low_rank(draw: st.DrawFn, rows: int, columns: int) -> Rows:
    """Products of thin factors: every rank from 0 to min(rows, columns) occurs often."""
    r = draw(st.integers(0, min(rows, columns)))
    left, right = draw(matrices(rows, r, 2)), draw(matrices(r, columns, 2))
    return [[sum((left[i][k] * right[k][j] for k in range(r)), F(0)) for j in range(columns)] for i in range(rows)]


shapes = st.tuples(st.integers(1, 4), st.integers(1, 4))


@given(shapes, st.data())
def test_rank_and_echelon_form(shape: tuple[int, int], data: Any) -> None:
    """Against plain elimination; adding a unit column outside the column space raises the rank by exactly one."""
    m = data.draw(low_rank(*shape))
    expected, pivots, _ = eliminate(m, shape[1])
    reduced, found = linalg.rref(m)
    assert reduced.tolist() == expected and list(found) == pivots and linalg.rank(m) == len(pivots)
    if len(pivots) < shape[0]:
        grown = [r for k in range(shape[0]) if (r := linalg.rank([[*row, int(i == k)] for i, row in enumerate(m)])) > len(pivots)]
        assert grown and set(grown) == {len(pivots) + 1}
    assert linalg.rank([*m, m[0]]) == len(pivots)


@given(st.integers(1, 4), st.data())
def test_determinant_and_inverse(n: int, data: Any) -> None:
    m = data.draw(low_rank(n, n))
    _, pivots, product = eliminate(m, n)
    determinant = product if len(pivots) == n else F(0)
    assert linalg.determinant(m) == determinant
    assert linalg.determinant([[2 * v for v in m[0]], *m[1:]]) == 2 * determinant
    if n > 1:
        assert linalg.determinant([m[1], m[0], *m[2:]]) == -determinant
    if determinant == 0:
        with pytest.raises(InvalidInput, match="singular"):
            linalg.inverse(m)
        return
    inverse = linalg.inverse(m)
    identity = [[F(int(i == j)) for j in range(n)] for i in range(n)]
    assert linalg.matmul(m, inverse).tolist() == identity == linalg.matmul(inverse, m).tolist()
    moved = [[m[0][0] + 1, *m[0][1:]], *m[1:]]
    assert linalg.matmul(moved, inverse).tolist() != identity


@given(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)), st.data())
def test_product(shape: tuple[int, int, int], data: Any) -> None:
    p, q, r = shape
    m, n = data.draw(matrices(p, q)), data.draw(matrices(q, r))
    expected = [[sum((m[i][k] * n[k][j] for k in range(q)), F(0)) for j in range(r)] for i in range(p)]
    assert linalg.matmul(m, n).tolist() == expected
    transposed = linalg.matmul([list(c) for c in zip(*n, strict=True)], [list(c) for c in zip(*m, strict=True)])
    assert transposed.T.tolist() == expected


@given(shapes, st.data())
def test_nullspace(shape: tuple[int, int], data: Any) -> None:
    """columns − rank independent vectors that M sends to 0; one entry changed leaves the kernel if its column is not 0."""
    m = data.draw(low_rank(*shape))
    basis = linalg.nullspace(m)
    rank = len(eliminate(m, shape[1])[1])
    assert len(basis) == shape[1] - rank
    for v in basis:
        assert not any(times(m, v))
        for j in range(shape[1]):
            w = v.copy()
            w[j] += 1
            assert any(times(m, w)) == any(row[j] != 0 for row in m)
    if basis:
        assert len(eliminate([list(v) for v in basis], shape[1])[1]) == len(basis)


@given(shapes, st.data())
def test_solve_or_certificate(shape: tuple[int, int], data: Any) -> None:
    """Exactly one exists: a solution, or ℓ with ℓᵀM = 0 and ℓ·rhs < 0 (Fredholm's alternative)."""
    m, rhs = data.draw(low_rank(*shape)), data.draw(vectors(shape[0], 2))
    solvable = len(eliminate([[*row, y] for row, y in zip(m, rhs, strict=True)], shape[1] + 1)[1]) == linalg.rank(m)
    x, ell = linalg.solve(m, rhs), linalg.left_kernel_certificate(m, rhs)
    assert (x is not None) == solvable == (ell is None)
    if x is not None:
        assert times(m, x) == rhs
        x[0] += 1
        assert (times(m, x) == rhs) == all(row[0] == 0 for row in m)
    else:
        assert ell is not None
        transposed = [list(column) for column in zip(*m, strict=True)]
        assert not any(times(transposed, ell)) and sum((p * q for p, q in zip(ell, rhs, strict=True)), F(0)) < 0
    reachable = times(m, data.draw(vectors(shape[1], 2)))
    assert linalg.left_kernel_certificate(m, reachable) is None and linalg.solve(m, reachable) is not None


def test_solve_leaves_free_variables_zero() -> None:
    x = linalg.solve([[1, 2], [2, 4]], [3, 6])  # square and singular, but solvable
    assert x is not None and list(x) == [3, 0]
    assert linalg.solve([[1, 2], [2, 4]], [3, 7]) is None
    ell = linalg.left_kernel_certificate([[1, 2], [2, 4]], [3, 7])
    assert ell is not None and ell[0] == -2 * ell[1] and 3 * ell[0] + 7 * ell[1] < 0


# -- definiteness ---------------------------------------------------------------------------------------------------------


@given(st.integers(1, 4), st.data())
def test_sums_of_squares_are_semidefinite(n: int, data: Any) -> None:
    """M = LᵀL is given back as Σ w v vᵀ with rank M terms, w > 0; a smaller diagonal entry is caught if it is 0 there."""
    thin = data.draw(low_rank(data.draw(st.integers(1, 3)), n))
    m = [[sum((row[i] * row[j] for row in thin), F(0)) for j in range(n)] for i in range(n)]
    terms = linalg.ldl_psd(m)
    assert terms is not None and len(terms) == len(eliminate(m, n)[1]) and all(w > 0 for w, _ in terms)
    total = [[sum((w * v[i] * v[j] for w, v in terms), F(0)) for j in range(n)] for i in range(n)]
    assert total == m and linalg.is_psd(m) and linalg.negative_direction(m) is None
    if terms:  # a weight lost is seen
        w, v = terms[-1]
        assert [[total[i][j] - w * v[i] * v[j] for j in range(n)] for i in range(n)] != m
    kernel = linalg.nullspace(m)
    if kernel:  # xᵀMx = 0 on the kernel, so anything subtracted there is negative
        k = next(i for i in range(n) if kernel[0][i] != 0)
        m[k][k] -= F(1, 1000)
        assert not linalg.is_psd(m) and linalg.ldl_psd(m) is None
        x = linalg.negative_direction(m)
        assert x is not None and form(m, x) < 0


@given(st.integers(1, 4), st.data())
def test_a_symmetric_matrix_is_semidefinite_or_has_a_negative_direction(n: int, data: Any) -> None:
    """Decided by the signs of the characteristic polynomial's coefficients, an independent route."""
    upper = data.draw(matrices(n, n, 2))
    m = [[upper[min(i, j)][max(i, j)] for j in range(n)] for i in range(n)]
    # M is psd iff every coefficient of det(M + t 1) is nonnegative (elementary symmetric functions of real eigenvalues)
    t = sympy.Symbol("t")
    matrix = sympy.Matrix(n, n, [sympy.Rational(v.numerator, v.denominator) for row in m for v in row])
    coefficients = sympy.Poly((matrix + t * sympy.eye(n)).det(method="berkowitz"), t).all_coeffs()
    expected = all(c >= 0 for c in coefficients)
    x = linalg.negative_direction(m)
    assert linalg.is_psd(m) == expected == (x is None)
    if x is not None:
        assert form(m, x) < 0


@pytest.mark.parametrize(
    "m",
    [
        [[0, 1], [1, 0]],  # a zero pivot with a nonzero row
        [[0, 1], [1, 5]],
        [[1, 2], [2, 1]],
        [[1, 1, 0], [1, 1, 1], [0, 1, 1]],  # the zero pivot appears in the second step
        [[0, 0, 0], [0, 0, 3], [0, 3, 100]],
        [[4, 2, 0], [2, 1, 0], [0, 0, -1]],
        [[1, 2, 1], [2, 5, 5], [1, 5, 9]],  # L diag(1, 1, −1) Lᵀ: the direction comes back through two steps, last one first
    ],
)
def test_indefinite_worked_examples(m: Any) -> None:
    assert not linalg.is_psd(m) and linalg.ldl_psd(m) is None
    x = linalg.negative_direction(m)
    assert x is not None and form(m, x) < 0
    shifted = [[v + (3 + abs(m[i][i]) + sum(map(abs, m[i]))) * (i == j) for j, v in enumerate(row)] for i, row in enumerate(m)]
    assert linalg.is_psd(shifted) and linalg.negative_direction(shifted) is None  # diagonally dominant twin


def test_asymmetric_matrices() -> None:
    assert linalg.ldl_psd([[1, 2], [0, 1]]) is None and not linalg.is_psd([[1, 2], [0, 1]])
    with pytest.raises(InvalidInput, match="symmetric"):
        linalg.negative_direction([[1, 2], [0, 1]])
    assert linalg.ldl_psd([]) == [] and linalg.negative_direction([]) is None


# -- derivatives ----------------------------------------------------------------------------------------------------------

EXPRESSIONS = (
    lambda x, y, z: x * y + z**3 - 2,
    lambda x, y, z: (x + 2 * y) / (1 + z * z),
    lambda x, y, z: 3 - x / 4 + y * 0 + z ** (-2) * x,
    lambda x, y, z: (x - y) * (x - y) / (x * x + 1) ** 2,
    lambda x, y, z: 5,
)


@given(rationals(3), rationals(3), rationals(3, nonzero=True))
def test_jacobian_is_the_symbolic_derivative(x: Fraction, y: Fraction, z: Fraction) -> None:
    found = linalg.jacobian(lambda p: [f(*p) for f in EXPRESSIONS], [x, y, z])
    expected = [[evaluate(top, x, y, z) / evaluate(bottom, x, y, z) for top, bottom in row] for row in DERIVATIVES]
    assert found.shape == (len(EXPRESSIONS), 3) and found.tolist() == expected
    moved = linalg.jacobian(lambda p: [f(*p) for f in EXPRESSIONS], [x, y, z + 1 if z != -1 else F(1)])
    assert moved[0, 2] - found[0, 2] == 3 * ((z + 1 if z != -1 else 1) ** 2 - z**2)


def _derivatives() -> list[list[tuple[Any, Any]]]:
    """∂f/∂s as numerator and denominator polynomials, by sympy."""
    symbols = sympy.symbols("x y z")
    rows = [[sympy.together(sympy.diff(sympy.sympify(f(*symbols)), s)).as_numer_denom() for s in symbols] for f in EXPRESSIONS]
    return [[tuple(sympy.Poly(part, *symbols).terms() for part in entry) for entry in row] for row in rows]


def evaluate(terms: Any, x: Fraction, y: Fraction, z: Fraction) -> Fraction:
    return sum((F(int(q.p), int(q.q)) * x**i * y**j * z**k for (i, j, k), q in terms), F(0))


DERIVATIVES = _derivatives()


@given(st.integers(1, 3), st.data())
def test_jacobian_rank_of_a_product(r: int, data: Any) -> None:
    """u vᵀ with u ∈ Q^2, v ∈ Q^3: rank 4 = 2 + 3 − 1 where both are not 0, and never 5; repeating outputs adds none."""
    u, v = data.draw(vectors(2, 2)), data.draw(vectors(3, 2))

    def outer(p: Any) -> Any:
        return np.outer(p[:2], p[2:]).ravel()

    rank = linalg.jacobian_rank(outer, [*u, *v])
    assert rank == (4 if any(u) and any(v) else (3 if any(u) else 2 if any(v) else 0))
    assert linalg.jacobian_rank(lambda p: np.concatenate([outer(p)] * r), [*u, *v]) == rank
    assert linalg.jacobian_rank(lambda p: np.concatenate([outer(p), p[:1]]), [*u, *v]) <= rank + 1


def test_jacobian_rank_sees_one_output_more() -> None:
    point = [F(1), F(2), F(3)]
    assert linalg.jacobian_rank(lambda p: [p[0] * p[1], p[0] * p[1] + 1], point) == 1
    assert linalg.jacobian_rank(lambda p: [p[0] * p[1], p[0] * p[1] + p[2]], point) == 2


def test_unusable_functions_and_points() -> None:
    bad: Any
    for bad in (lambda p: p[0], lambda p: np.array([[p[0]]]), lambda p: [[p[0]]]):
        with pytest.raises(InvalidInput, match="one-dimensional"):
            linalg.jacobian(bad, [1])
    with pytest.raises(InvalidInput, match=r"2\.5 of type float"):
        linalg.jacobian(lambda p: [p[0], 2.5], [1])
    with pytest.raises(KindMismatch, match=r"0\.5 of type float met a dual number"):
        linalg.jacobian(lambda p: [p[0] + 0.5], [1])
    with pytest.raises(KindMismatch, match=r"0\.25"):
        linalg.jacobian(lambda p: [p[0]], [0.25])
    with pytest.raises(InvalidInput, match="divides by zero"):
        linalg.jacobian(lambda p: [1 / p[0]], [0])
    assert linalg.jacobian(lambda p: [3], []).shape == (1, 0)


# -- bad input and empty matrices -----------------------------------------------------------------------------------------


@given(shapes, st.data())
def test_there_and_back(shape: tuple[int, int], data: Any) -> None:
    m = data.draw(matrices(*shape))
    back = linalg.from_flint(linalg.to_flint(m))
    assert back.tolist() == m and all(type(v) is Fraction for v in back.ravel())
    assume(m[0][0] != 0)
    assert linalg.from_flint(2 * linalg.to_flint(m)).tolist() != m


def test_accepted_numbers() -> None:
    assert linalg.rank([[np.int64(1), F(1, 2)], [flint.fmpq(2), 1]]) == 1
    assert linalg.rank(np.array([[1, 2], [3, 4]])) == 2
    assert linalg.determinant(linalg.to_flint([[1, 2], [3, 4]])) == -2


def test_empty_matrices() -> None:
    assert linalg.rank([]) == 0 and linalg.determinant([]) == 1
    assert [list(v) for v in linalg.nullspace(np.zeros((0, 2), dtype=object))] == [[1, 0], [0, 1]]
    x = linalg.solve(np.zeros((2, 0), dtype=object), [0, 0])
    assert x is not None and x.shape == (0,)
    assert linalg.solve(np.zeros((2, 0), dtype=object), [0, 1]) is None
    ell = linalg.left_kernel_certificate(np.zeros((2, 0), dtype=object), [0, 1])
    assert ell is not None and ell[1] < 0
    assert linalg.matmul([[1], [2]], [[3]]).shape == (2, 1)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: linalg.rank([[0.5]]), r"0\.5 of type float"),
        (lambda: linalg.rank([["1/2"]]), "'1/2' of type str"),
        (lambda: linalg.rank([[1, 2], [3]]), "different lengths"),
        (lambda: linalg.rank([1, 2]), "a sequence of rows"),
        (lambda: linalg.determinant([[1, 2]]), r"determinant needs a square matrix, got shape \(1, 2\)"),
        (lambda: linalg.inverse([[1, 2]]), "inverse needs a square matrix"),
        (lambda: linalg.inverse([[1, 2], [2, 4]]), "singular"),
        (lambda: linalg.matmul([[1, 2]], [[1, 2]]), r"\(1, 2\) and \(1, 2\) have no product"),
        (lambda: linalg.solve([[1], [2]], [1]), "2 rows against a right-hand side of length 1"),
        (lambda: linalg.left_kernel_certificate([[1], [2]], [1]), "2 rows against a right-hand side of length 1"),
        (lambda: linalg.left_kernel_certificate([[1], [2]], [1, 0.5]), r"0\.5"),
        (lambda: linalg.solve([[1]], [0.5]), r"0\.5"),
        (lambda: linalg.ldl_psd([[0.1]]), r"0\.1"),
        (lambda: linalg.ldl_psd([[1, 2]]), "square"),
        (lambda: linalg.is_psd([[1], [2]]), "square"),
        (lambda: linalg.negative_direction([[1, 2]]), "square"),
        (lambda: linalg.negative_direction([[-0.5]]), r"-0\.5"),
    ],
)
def test_bad_input(call: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        call()
