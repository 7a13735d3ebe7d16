"""Dimension certificates against families whose dimension is known."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.core.certificate import dimension_certificate
from theory.core.errors import InvalidInput
from theory.core.strategies import matrices


def outer(p, rows, columns, rank):
    left, right = p[: rows * rank].reshape(rows, rank), p[rows * rank :].reshape(rank, columns)
    return (left @ right).ravel()


@pytest.mark.parametrize(("rows", "columns", "rank"), [(2, 2, 1), (3, 2, 1), (3, 3, 2), (2, 3, 2)])
def test_matrices_of_bounded_rank(rows, columns, rank):
    """r(m + n − r) dimensions, not r(m + n)."""
    point = [Fraction(k * k % 7 + 1, k % 3 + 1) for k in range(rank * (rows + columns))]
    found = dimension_certificate(lambda p: outer(p, rows, columns, rank), point)
    expected = rank * (rows + columns - rank)
    assert found.rank == expected
    assert len(found.rows) == len(found.columns) == expected
    assert found.minor != 0
    assert found.exceeds(expected - 1)
    assert not found.exceeds(expected)


@given(matrices(3, 4))
def test_linear_maps(matrix):
    """The Jacobian of a linear map is its matrix, everywhere; a repeated row adds nothing (negative twin)."""
    from theory.core import linalg

    m = np.array(matrix, dtype=object)
    point = [Fraction(1, k + 1) for k in range(4)]
    assert dimension_certificate(lambda p: m @ p, point).rank == linalg.rank(matrix)
    assert dimension_certificate(lambda p: np.concatenate([m @ p, m @ p]), point).rank == linalg.rank(matrix)


@given(st.integers(1, 5))
def test_a_constant_family_has_no_dimension(n):
    found = dimension_certificate(lambda p: [3, 4], [1] * n)
    assert found.rank == 0
    assert not found.exceeds(0)


def test_a_special_point_shows_less():
    """At 0 the square has derivative 0: a certificate is a lower bound at its point."""
    assert dimension_certificate(lambda p: [p[0] * p[0]], [0]).rank == 0
    assert dimension_certificate(lambda p: [p[0] * p[0]], [1]).rank == 1


@pytest.mark.parametrize("point", [[], [0.5], [True], ["1"]])
def test_bad_points(point):
    with pytest.raises(InvalidInput, match="point"):
        dimension_certificate(lambda p: p, point)
