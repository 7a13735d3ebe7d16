"""Matrices of low rank: counts, dimensions, floors and their certificates, by hand and on drawn instances."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.errors import InvalidInput, KindMismatch
from theory.core.strategies import matrices
from theory.core.tolerance import budget
from theory.lora_limits.low_rank import (
    RationalSVD,
    certified_dimension,
    excess,
    lora_dimension,
    lora_floor,
    lora_stored,
    product_jacobian,
    rational_factors,
    require_rank,
    squared_distance,
    truncated,
)
from theory.lora_limits.rank_floor import claim as rank_floor

F = Fraction
SIZES = [(2, 2, 1), (3, 2, 1), (3, 3, 2), (5, 8, 4), (8, 8, 3)]


def exact(rows):
    return np.array([[F(x) for x in row] for row in rows], dtype=object)


# -- counts ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "n", "r"), SIZES)
def test_dimension_is_certified_and_not_off_by_one(d, n, r):
    assert certified_dimension(d, n, r) == lora_dimension(d, n, r) == r * (d + n - r)
    assert lora_stored(d, n, r) == r * (d + n) == lora_dimension(d, n, r) + r * r  # the gauge G counts r²
    assert certified_dimension(d, n, r) not in (lora_dimension(d, n, r - 1), lora_dimension(d, n, r) + 1, lora_stored(d, n, r))


def test_dimensions_by_hand():
    assert [lora_dimension(2, 2, r) for r in range(3)] == [0, 3, 4]
    assert [lora_dimension(3, 2, r) for r in range(3)] == [0, 4, 6]
    assert lora_dimension(1536, 16, 8) == 12_352
    assert lora_stored(1536, 16, 8) == 12_416


@pytest.mark.parametrize(("d", "n", "r"), SIZES[:3])
def test_jacobian_is_the_derivative_of_the_product(d, n, r):
    """U V is bilinear, so its difference along a direction is exact to second order: J·(dU, dV) = dU V + U dV."""
    u, v = rational_factors(d, n, r)
    rng = np.random.default_rng(0)
    du, dv = (
        np.array([[F(int(x)) for x in row] for row in rng.integers(-3, 4, size)], dtype=object) for size in ((d, r), (r, n))
    )
    jacobian = np.array([[F(int(x.p), int(x.q)) for x in row] for row in product_jacobian(u, v).table()], dtype=object)
    moved = jacobian @ np.concatenate([du.ravel(), dv.ravel()])
    assert np.all(moved.reshape(d, n) == du @ v + u @ dv)
    assert np.any(moved.reshape(d, n) != du @ v)  # negative twin: half of it


@given(matrices(3, 2, 2))
def test_rank_factors(matrix):
    left, right = linalg.rank_factors(matrix)
    rank = linalg.rank(matrix)
    assert left.shape == (3, rank)
    assert right.shape == (rank, 2)
    if rank:
        assert squared_distance(linalg.matmul(left, right), matrix) == 0
        assert squared_distance(linalg.matmul(left, right) + F(1), matrix) == 6  # negative twin


# -- floors ---------------------------------------------------------------------------------------------------------------


def test_floors_by_hand():
    assert [lora_floor([[3, 0], [0, 2]], r).value for r in range(4)] == [13, 4, 0, 0]
    assert lora_floor([[1, 1], [1, 1]], 1).value == 0
    assert lora_floor([[0, 0]], 0).value == 0
    golden = lora_floor([[1, 1], [0, 1]], 1)  # σ² = (3 ± √5)/2, irrational: an enclosure
    assert not golden.exact
    assert golden.lower < golden.upper
    assert (3 - 2 * golden.lower) ** 2 > 5 > (3 - 2 * golden.upper) ** 2


def test_conjugate_eigenvalues_add_up_to_a_rational():
    """A Gram matrix with eigenvalues 4, (3 ± √5)/2: the two smallest are irrational, their sum is 3."""
    floor = lora_floor([[2, 0, 0], [0, 1, 1], [0, 0, 1]], 1)
    assert floor.exact
    assert floor.value == 3


def test_repeated_singular_values_are_counted():
    assert [lora_floor(np.eye(4, dtype=int).tolist(), r).value for r in range(5)] == [4, 3, 2, 1, 0]


@given(matrices(2, 3, 2), st.integers(0, 2))
def test_float_and_exact_floors_agree(matrix, r):
    whole = float(squared_distance(matrix, [[0] * 3] * 2))
    found, known = lora_floor(np.array(matrix, dtype=float), r), lora_floor(matrix, r)
    assert abs(float(found) - float(known)) <= budget(6) * max(1.0, whole)


def test_truncation_attains_the_float_floor_and_a_neighbour_does_not():
    delta = np.random.default_rng(0).standard_normal((6, 4))
    u, v = truncated(delta, 2)
    floor = float(lora_floor(delta, 2))
    assert abs(np.sum((delta - u @ v) ** 2) - floor) <= budget(24) * np.sum(delta**2)
    assert np.sum((delta - (u + 1e-3) @ v) ** 2) > floor * (1 + budget(24))  # negative twin


def test_lengths_of_floors_in_float():
    delta = np.random.default_rng(1).standard_normal((3, 5))
    values = [float(lora_floor(delta, r)) for r in range(4)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == 0
    singular = np.linalg.svd(delta, compute_uv=False)
    np.testing.assert_allclose(-np.diff(values), singular**2, rtol=budget(15, 100))


# -- certificates ---------------------------------------------------------------------------------------------------------


@given(rank_floor.rotations(3))
def test_cayley_gives_orthogonal_matrices(q):
    assert np.all(linalg.matmul(q, q.T) == exact(np.eye(3, dtype=int)))


def test_excess_by_hand():
    """Δ = diag(3, 2), X = diag(0, 2): error 9, floor 4, so the excess is 5 = (9 − 4)·1."""
    svd = RationalSVD(exact([[1, 0], [0, 1]]), (F(3), F(2)), exact([[1, 0], [0, 1]]))
    terms = excess(svd, [[0, 0], [0, 2]], 1)
    assert (terms.fit, terms.head, terms.tail, terms.slack) == (0, 5, 0, 0)
    assert excess(svd, [[3, 0], [0, 0]], 1).total == 0
    assert excess(svd, [[0, 0], [0, 0]], 1).slack == 4  # rank 0 where 1 was allowed
    assert excess(svd, [[1, 0], [0, 0]], 1).fit == 4


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: lora_floor([[1, 2], [3]], 1), InvalidInput, "lengths"),
        (lambda: lora_floor([], 1), InvalidInput, "update"),
        (lambda: lora_floor([[1.0, float("nan")]], 0), InvalidInput, "nan"),
        (lambda: lora_floor(np.array([[1.0, np.inf]]), 0), InvalidInput, "finite"),
        (lambda: lora_floor(np.zeros((0, 3)), 0), InvalidInput, "at least one row"),
        (lambda: lora_floor([[F(1, 3), 0.5]], 1), KindMismatch, "mixed"),
        (lambda: lora_floor([[1j, 1.0]], 0), InvalidInput, "complex128"),
        (lambda: lora_floor([[1]], -1), InvalidInput, "rank = -1"),
        (lambda: require_rank(5, 2, 3), InvalidInput, "rank 5 exceeds"),
        (lambda: lora_dimension(2, 2, 3), InvalidInput, "exceeds"),
        (lambda: lora_stored(0, 2, 1), InvalidInput, "D"),
        (lambda: truncated([[1.0, 2.0]], 2), InvalidInput, "exceeds"),
        (lambda: excess(RationalSVD(exact([[1]]), (F(1),), exact([[1]])), [[1]], 0), InvalidInput, "rank 1, more than"),
        (lambda: RationalSVD(exact([[1, 0], [0, 1]]), (F(1), F(2)), exact([[1, 0], [0, 1]])), InvalidInput, "descending"),
        (lambda: RationalSVD(exact([[1]]), (F(1), F(1)), exact([[1]])), InvalidInput, "2 singular values"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()
