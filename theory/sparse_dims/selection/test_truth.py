"""True dimensions: forced assignments against all assignments, storage, depth, and twins that must fail."""

from __future__ import annotations

from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given

from theory.core.deep_s4 import DeepS4, S4Layer
from theory.core.errors import InvalidInput, InvalidSystem
from theory.core.initialisations import initialisation
from theory.core.lti import LTI
from theory.core.scalars import gaussian

from ..draws import distinct_modes, nonzeros
from ..minimal_adjustment.claim import any_pairs
from . import claim as se
from .truth import true_dimensions


@given(any_pairs())
def test_forced_assignments_see_all_of_them(pair: se.Pair) -> None:
    se.check_truth(pair)


@given(se.full_order())
def test_full_order_leaves_only_assignments(pair: se.Pair) -> None:
    se.check_full_order(pair)


def test_worked_examples() -> None:
    frozen = LTI(["1/2", "1/3", "1/5"], [1, 1, 1], [1, 2, 3])
    found = true_dimensions(frozen, LTI(["1/2", "1/7", "1/5"], [1, 1, 1], [1, 2, 4]))
    assert found.touched == {(1,), (2,)} and found.defined and found.cost == 2 and found.total == 3
    assert true_dimensions(frozen, frozen).touched == frozenset()
    silent = true_dimensions(LTI(["1/2", "1/3"], [1, 1], [0, 0]), LTI(["1/5"], [1], [1]))
    assert silent.undecided == {(0,), (1,)} and not silent.touched and not silent.defined
    with pytest.raises(InvalidInput, match="disagree on 2 states"):
        silent.states()


@given(distinct_modes(4), nonzeros(2), nonzeros(2))
def test_order_of_the_states_does_not_matter(modes: list[F], r: list[F], wanted: list[F]) -> None:
    frozen, target = LTI(modes[:2], [1, 1], r), LTI(modes[1:3], [1, 1], wanted)
    first = true_dimensions(frozen, target)
    second = true_dimensions(LTI(modes[1::-1], [1, 1], r[::-1]), LTI(modes[2:0:-1], [1, 1], wanted[::-1]))
    assert {(1 - n,) for (n,) in first.touched} == second.touched
    assert first.cost == second.cost


def test_layers_and_networks_prefix_the_index() -> None:
    channels = [LTI(["1/2", "1/3"], [1, 1], [1, 2]), LTI(["1/5", "1/7"], [1, 1], [1, 2])]
    changed = [channels[0], LTI(["1/5", "1/9"], [1, 1], [1, 2])]
    old, new = S4Layer(channels, [[1, 0], [0, 1]]), S4Layer(changed, [[1, 0], [0, 1]])
    assert true_dimensions(channels, changed).touched == {(1, 1)}
    assert true_dimensions(old, new).touched == {(1, 1)}
    deep = true_dimensions(DeepS4([old, old]), DeepS4([old, new]))
    assert deep.touched == {(1, 1, 1)} and deep.channels == {(1, 1)} and deep.total == 8


@pytest.mark.parametrize("name", ["s4d_lin", "s4d_inv", "s4d_legs"])
def test_channels_stored_by_halves(name: str) -> None:
    """One changed mode and one changed residue of an S4D channel in floats: two stored pairs."""
    frozen = initialisation(name, 8, 1e-2)
    a, c = frozen.a.copy(), frozen.c.copy()
    a[1] *= 0.9
    c[3] += 1.0
    found = true_dimensions(frozen, frozen.replace(a=a, c=c))
    assert found.touched == {(1,), (3,)} and found.defined and found.cost == 2 and found.total == 4


def test_half_storage_does_not_care_which_of_a_pair_is_stored() -> None:
    up, down = gaussian("1/2", "1/3"), gaussian("1/2", "-1/3")
    first = LTI([up, "1/4"], [1, 1], [gaussian(1, 2), gaussian(3, 5)], half=True)
    second = LTI([down, "1/4"], [1, 1], [gaussian(1, -2), gaussian(3, 7)], half=True)  # Im r of a real mode is not heard
    assert true_dimensions(first, second).touched == frozenset()
    assert true_dimensions(second, first).touched == frozenset()
    other = second.replace(c=[gaussian(1, 2), gaussian(3, 7)])
    assert true_dimensions(first, other).touched == {(0,)}


# -- negative twins --------------------------------------------------------------------------------------------------------


def test_twin_one_optimal_assignment_is_not_the_truth() -> None:
    """linear_sum_assignment picks one of two optima: its touched set alone would hide that the truth is undefined."""
    from ..adjustment import minimal_adjustment

    frozen, target = LTI(["1/2", "1/3"], [1, 1], [0, 0]), LTI(["1/5"], [1], [1])
    assert len(minimal_adjustment(frozen, target).states) == 1
    assert true_dimensions(frozen, target).touched == frozenset()


@given(se.silent_twins())
def test_twin_undefined_truth_is_caught(pair: se.Pair) -> None:
    assert not true_dimensions(*pair).defined
    assert len(se.optimal_touched_sets(*pair)) == 2


def test_twin_low_order_needs_the_assumption() -> None:
    """Residues (1, 5) to 7: edits that merge touch {0} or {1} at the price of the assignment, which touches both."""
    frozen, target = LTI(["1/2", "1/3"], [1, 1], [1, 5]), LTI(["1/2"], [1], [7])
    assert se.optimal_touched_sets(frozen, target) == {frozenset({0, 1})}
    assert se.minimal_touched_sets(frozen, target) == {frozenset({0, 1}), frozenset({1})}


@given(any_pairs(3))
def test_twin_counting_undecided_states_as_touched_fails(pair: se.Pair) -> None:
    found = true_dimensions(*pair)
    assert not found.touched & found.undecided
    smallest = min(len(s) for s in se.optimal_touched_sets(*pair))
    assert len(found.touched) <= smallest <= len(found.touched | found.undecided)


def test_errors_name_the_value() -> None:
    channel = LTI(["1/2"], [1], [1])
    with pytest.raises(InvalidSystem, match="2 frozen channels against 1"):
        true_dimensions([channel, channel], [channel])
    layer = S4Layer([channel], [[1]])
    with pytest.raises(InvalidSystem, match="frozen depth 2 against target depth 1"):
        true_dimensions(DeepS4([layer, layer]), DeepS4([layer]))
    with pytest.raises(InvalidInput, match="got LTI and S4Layer"):
        true_dimensions(channel, layer)
    with pytest.raises(InvalidSystem, match="halves"):
        true_dimensions(LTI([gaussian(0, "1/2")], [1], [1], half=True), channel)
    with pytest.raises(InvalidSystem, match="needs 2 modes"):
        true_dimensions(channel, LTI(["1/2", "1/3"], [1, 1], [1, 1]))
    assert np.isfinite(true_dimensions(channel, channel).cost)
