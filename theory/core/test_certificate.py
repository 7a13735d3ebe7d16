"""Dimension certificates against families whose dimension is known."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.core.certificate import dimension_certificate, exclusion
from theory.core.errors import InvalidInput
from theory.core.strategies import matrices


def outer(p: Any, rows: Any, columns: Any, rank: Any) -> Any:
    left, right = p[: rows * rank].reshape(rows, rank), p[rows * rank :].reshape(rank, columns)
    return (left @ right).ravel()


@pytest.mark.parametrize(("rows", "columns", "rank"), [(2, 2, 1), (3, 2, 1), (3, 3, 2), (2, 3, 2)])
def test_matrices_of_bounded_rank(rows: Any, columns: Any, rank: Any) -> None:
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
def test_linear_maps(matrix: Any) -> None:
    """The Jacobian of a linear map is its matrix, everywhere; a repeated row adds nothing (negative twin)."""
    from theory.core import linalg

    m = np.array(matrix, dtype=object)
    point = [Fraction(1, k + 1) for k in range(4)]
    assert dimension_certificate(lambda p: m @ p, point).rank == linalg.rank(matrix)
    assert dimension_certificate(lambda p: np.concatenate([m @ p, m @ p]), point).rank == linalg.rank(matrix)


@given(st.integers(1, 5))
def test_a_constant_family_has_no_dimension(n: Any) -> None:
    found = dimension_certificate(lambda p: [3, 4], [1] * n)
    assert found.rank == 0
    assert not found.exceeds(0)


def test_a_special_point_shows_less() -> None:
    """At 0 the square has derivative 0: a certificate is a lower bound at its point."""
    assert dimension_certificate(lambda p: [p[0] * p[0]], [0]).rank == 0
    assert dimension_certificate(lambda p: [p[0] * p[0]], [1]).rank == 1


@pytest.mark.parametrize("point", [[], [0.5], [True], ["1"]])
def test_bad_points(point: Any) -> None:
    with pytest.raises(InvalidInput, match="point"):
        dimension_certificate(lambda p: p, point)


def relu(x: Any) -> Any:
    return x if x > 0 else 0 * x


@pytest.mark.parametrize("kink", [lambda p: [relu(p[0])], lambda p: [relu(p[0] - p[1])], lambda p: [max(p[1], p[0])]])
def test_kinks_are_refused(kink: Any) -> None:
    """At a kink the one-sided derivative would be taken for a derivative; away from it the rank is that of the branch."""
    with pytest.raises(InvalidInput, match="kink"):
        dimension_certificate(kink, [0, 0])
    assert dimension_certificate(kink, [2, 1]).rank == 1


@pytest.mark.parametrize(
    "family",
    [
        lambda p: [p[0] if p[0] == 0 else 0 * p[0]],
        lambda p: [0 * p[0] if p[0] != 0 else p[0]],
        lambda p: [p[0] if p[0] * p[0] <= 0 else 0 * p[0]],
        lambda p: [0 * p[0] if p[0] else p[0]],
        lambda p: [p[0] if p[0] * p[0] == p[0] * p[0] * p[0] else 0 * p[0]],
        lambda p: [p[0] if abs(p[0]) <= 0 else 0 * p[0]],
        lambda p: [p[0] if p[0] in (0, 1) else 0 * p[0]],
    ],
)
def test_a_branch_taken_at_one_point_alone_is_a_kink(family: Any) -> None:
    """Each family is 0 everywhere, yet its branch at 0 has slope 1: a comparison with a tie certifies nothing, however flat."""
    with pytest.raises(InvalidInput, match="kink"):
        dimension_certificate(family, [0])
    assert dimension_certificate(family, [Fraction(1, 2)]).rank == 0


def test_comparisons_of_what_depends_on_nothing_are_free() -> None:
    """0·p is 0 at every point, so a ReLU of it takes one branch; a tie of p² does not excuse itself by its slope."""
    assert dimension_certificate(lambda p: [relu(0 * p[0]), p[1]], [0, 0]).rank == 1
    with pytest.raises(InvalidInput, match="kink"):
        dimension_certificate(lambda p: [relu(p[0] * p[0]), p[1]], [0, 0])


@pytest.mark.parametrize("family", [lambda p: [1 / p[0]], lambda p: [np.exp(p[0])], lambda p: [int(p[0])]])
def test_what_dual_numbers_cannot_do_is_refused(family: Any) -> None:
    with pytest.raises(InvalidInput):
        dimension_certificate(family, [0])


def test_chosen_outputs() -> None:
    def family(p: Any) -> Any:
        return [p[0], p[0] + p[0], p[1] * p[0], p[1]]

    full = dimension_certificate(family, [1, 2])
    assert (full.rank, full.rows) == (2, (0, 2))
    part = dimension_certificate(family, [1, 2], outputs=[1, 0])
    assert (part.rank, part.n_outputs, part.rows) == (1, 2, (1,))
    assert part.minor == 2
    for outputs, says in (([4], "outputs 0 to 3"), ([-1], "outputs 0 to 3"), ([0, 0], "twice"), ([True], "names True")):
        with pytest.raises(InvalidInput, match=says):
            dimension_certificate(family, [1, 2], outputs=outputs)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2))
def test_certificates_can_be_rechecked(rows: Any, columns: Any, rank: Any) -> None:
    """The stated minor is recomputed; a changed minor, point, row or family is caught (negative twins)."""
    rank = min(rank, rows, columns)
    point = [Fraction(k * k % 7 + 1, k % 3 + 1) for k in range(rank * (rows + columns))]

    def family(p: Any) -> Any:
        return outer(p, rows, columns, rank)

    found = dimension_certificate(family, point)
    assert found.holds_for(family)
    assert not replace(found, minor=found.minor + 1).holds_for(family)
    assert not replace(found, rank=found.rank + 1).holds_for(family)
    assert not replace(found, rows=(99, *found.rows[1:])).holds_for(family)
    assert not found.holds_for(lambda p: [0 * p[0]] * (rows * columns))
    assert not found.holds_for(lambda p: [2 * y for y in family(p)])


def test_a_certificate_at_a_kink_does_not_hold() -> None:
    found = dimension_certificate(lambda p: [p[0]], [0])
    assert found.holds_for(lambda p: [p[0]])
    assert not found.holds_for(lambda p: [relu(p[0])])
    assert not found.holds_for(lambda p: [max(p[0], 2 * p[0])])  # its branch at the kink has the stated minor


def test_exclusion_states_the_obstruction() -> None:
    plane = dimension_certificate(lambda p: [p[0], p[1]], [1, 1])
    said = exclusion(plane, 1, "the plane", "a curve")
    assert said is not None
    assert "the plane is not contained in a curve" in said
    assert "rank 2" in said
    assert exclusion(plane, 2) is None  # negative twin: as many parameters as dimensions exclude nothing
    bad: Any
    for bad in (-1, 1.5, True):
        with pytest.raises(InvalidInput, match="dimension"):
            exclusion(plane, bad)
    assert "no dimension" in dimension_certificate(lambda p: [1], [1]).explanation
