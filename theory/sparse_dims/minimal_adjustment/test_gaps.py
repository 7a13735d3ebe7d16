"""Largest gaps between assignment and truth: bounds, families that reach them, and the search."""

from __future__ import annotations

from fractions import Fraction as F

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.core.lti import LTI

from ..adjustment import adjustment_gap, exact_minimal_adjustment, minimal_adjustment
from .claim import any_pairs
from .gaps import gap_bound, largest_gap, merge_family, merge_instances, patterns


@given(any_pairs())
def test_bound_holds(pair: tuple[LTI, LTI]) -> None:
    assert 0 <= adjustment_gap(*pair) <= gap_bound(pair[0])


@pytest.mark.parametrize("n", range(1, 8))
@pytest.mark.parametrize("distinct", [True, False])
def test_families_reach_the_bounds(n: int, distinct: bool) -> None:
    frozen, target = merge_family(n, distinct=distinct)
    assert (len(set(frozen.a)) == n) == (distinct or n == 1)
    expected = n // 2 if distinct or n == 1 else n
    assert adjustment_gap(frozen, target) == gap_bound(frozen) == expected


def test_families_in_numbers() -> None:
    frozen, target = merge_family(5, distinct=False)
    assert (minimal_adjustment(frozen, target).cost, exact_minimal_adjustment(frozen, target).cost) == (5, 0)
    frozen, target = merge_family(5, distinct=True)
    assert (minimal_adjustment(frozen, target).cost, exact_minimal_adjustment(frozen, target).cost) == (4, 2)


def test_patterns_are_counted_by_bell_numbers() -> None:
    assert [len(list(patterns(n))) for n in range(1, 6)] == [1, 2, 5, 15, 52]
    assert list(patterns(3)) == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1], [0, 1, 2]]


@pytest.mark.parametrize(("n", "any_modes", "distinct"), [(1, 0, 0), (2, 2, 1), (3, 3, 1)])
def test_search_finds_the_largest(n: int, any_modes: int, distinct: int) -> None:
    found = largest_gap(n)
    assert (found.any_modes, found.distinct_modes) == (any_modes, distinct)
    assert found.any_witness and found.distinct_witness
    assert found.states == n and found.instances > 2


def test_search_alone_reaches_the_distinct_bound() -> None:
    """Without the extremal families the enumerated instances still contain a largest gap (N = 2, 3)."""
    for n in (2, 3):
        gaps = [adjustment_gap(*pair) for pair in merge_instances(n) if len(set(pair[0].a)) == n]
        assert max(gaps) == n // 2


# -- negative twins --------------------------------------------------------------------------------------------------------


@given(st.integers(2, 5))
def test_twin_residue_off_by_one_closes_the_gap_of_one_pair(n: int) -> None:
    """A merged pair whose sum misses the target residue by one no longer saves anything."""
    frozen, target = merge_family(n, distinct=True)
    c = target.c.copy()
    c[0] = c[0] + F(1, 2)
    assert adjustment_gap(frozen, target.replace(c=c)) == n // 2 - 1


def test_twin_bound_of_distinct_modes_fails_for_equal_ones() -> None:
    frozen, target = merge_family(4, distinct=False)
    assert adjustment_gap(frozen, target) > frozen.n_states // 2
    assert gap_bound(LTI(["1/2", "1/3"], [1, 1], [1, 1])) == 1
