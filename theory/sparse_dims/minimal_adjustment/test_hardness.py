"""Subset-sum and 3-partition as minimal adjustment: costs against independent solvers of the source problems."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.core.errors import InvalidInput

from ..adjustment import exact_minimal_adjustment, minimal_adjustment
from . import claim as ma
from .hardness import most_triples, subset_sum_instance, subset_sum_solvable, three_partition_instance


@given(ma.subset_sums)
def test_cost_decides_subset_sum(instance: tuple[list[int], int]) -> None:
    ma.check_subset_sum(instance)


@given(ma.subset_sums)
def test_table_against_all_subsets(instance: tuple[list[int], int]) -> None:
    weights, total = instance
    sums = {sum(c) for k in range(1, len(weights) + 1) for c in combinations(weights, k)}
    assert subset_sum_solvable(weights, total) == (total in sums)


@given(ma.three_partitions())
def test_cost_decides_three_partition(weights: list[int]) -> None:
    ma.check_three_partition(weights)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6, unique=True), st.integers(1, 9))
def test_both_solvers_agree_where_no_sum_matters(weights: list[int], total: int) -> None:
    """The assignment sees one weight only: it is right exactly where a single weight, or no subset, has the total."""
    pair = subset_sum_instance(weights, total)
    by_assignment, exact = minimal_adjustment(*pair).cost, exact_minimal_adjustment(*pair).cost
    assert by_assignment == len(weights) + (total not in weights)
    assert (by_assignment == exact) == (total in weights or not subset_sum_solvable(weights, total))


def test_worked_instances() -> None:
    assert exact_minimal_adjustment(*subset_sum_instance([3, 5, 7], 12)).cost == 3
    assert exact_minimal_adjustment(*subset_sum_instance([3, 5, 7], 11)).cost == 4
    solvable = [6, 6, 8, 6, 7, 7]
    assert most_triples(solvable) == 2
    assert exact_minimal_adjustment(*three_partition_instance(solvable)).cost == 6


def test_unsolvable_three_partition() -> None:
    weights = [6, 6, 6, 6, 7, 9]  # T = 20, the triples sum to 18, 19, 21 or 22
    assert most_triples(weights) == 0
    assert exact_minimal_adjustment(*three_partition_instance(weights)).cost == 6 + 2


# -- negative twins --------------------------------------------------------------------------------------------------------


def test_twin_total_zero_is_not_a_nonempty_subset() -> None:
    assert not subset_sum_solvable([1, 2], 0)


@given(ma.subset_sums)
def test_twin_total_beyond_the_sum_is_never_reached(instance: tuple[list[int], int]) -> None:
    weights, _ = instance
    total = sum(weights) + 1
    assert exact_minimal_adjustment(*subset_sum_instance(weights, total)).cost == len(weights) + 1


@given(ma.subset_sums)
def test_twin_target_inside_the_frozen_set_breaks_the_reduction(instance: tuple[list[int], int]) -> None:
    """With the target mode among the frozen ones the cost drops below N: the mode must lie outside."""
    weights, total = instance
    frozen, target = subset_sum_instance(weights, total)
    inside = target.replace(a=[frozen.a[0]])
    assert exact_minimal_adjustment(frozen, inside).cost <= len(weights)


def test_errors_name_the_value() -> None:
    with pytest.raises(InvalidInput, match="empty"):
        subset_sum_instance([], 3)
    with pytest.raises(InvalidInput, match=r"weights\[1\] = -2"):
        subset_sum_instance([1, -2], 3)
    with pytest.raises(InvalidInput, match=r"total\[0\] = 1\.5"):
        subset_sum_instance([1], 1.5)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"weights\[0\] = True"):
        subset_sum_solvable([True], 1)
    with pytest.raises(InvalidInput, match="3m weights, got 4"):
        three_partition_instance([1, 1, 1, 1])
    with pytest.raises(InvalidInput, match="T/4 < w < T/2"):
        three_partition_instance([1, 1, 10])


@pytest.mark.parametrize("weights", [[3, 4, 5, 4, 4, 4], [1, 5, 6, 4, 4, 4], [6, 3, 3, 4, 4, 4]])
def test_weights_outside_a_quarter_and_a_half_are_refused(weights: list[int]) -> None:
    """T = 12: weights of 3 or less, or of 6 or more, would let groups of two or four have the sum."""
    with pytest.raises(InvalidInput, match="T/4 < w < T/2"):
        three_partition_instance(weights)
    assert three_partition_instance([4, 4, 4]) is not None
