"""sparse_dims.minimal_adjustment: exact on generic systems, complete search space, and twins that must fail."""

from __future__ import annotations

from fractions import Fraction as F

import pytest
from hypothesis import given

from theory.conftest import GLANCE
from theory.core.lti import LTI
from theory.verification.claim import Assumption, Verdict
from theory.verification.refutation import Refuted

from ..adjustment import Adjustment, adjustment_gap, exact_minimal_adjustment, minimal_adjustment
from ..draws import nonzero
from . import claim as ma


@given(ma.generic_pairs())
def test_no_gap_on_generic_pairs(pair: ma.Pair) -> None:
    ma.check_generic(pair)


@given(ma.any_pairs(2))
def test_dynamic_programme_against_enumeration(pair: ma.Pair) -> None:
    ma.check_exact_is_exhaustive(pair)


def test_enumeration_on_three_states() -> None:
    """One instance a size up, where merging, moving and silencing compete."""
    frozen, target = LTI(["1/2", "1/3", "1/5"], [1] * 3, [1, 1, -2]), LTI(["1/3"], [1], [-1])
    assert ma.enumerated_minimum(frozen, target) == exact_minimal_adjustment(frozen, target).cost == 2


@pytest.mark.parametrize("assumption", ma.CLAIM.assumptions, ids=lambda a: a.name)
def test_assumptions(assumption: Assumption) -> None:
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED


def test_all_generic_patterns_of_two_states() -> None:
    pairs = list(ma.equality_patterns(2))
    assert len({(p[0].c.tolist().__str__(), p[1].a.tolist().__str__(), p[1].c.tolist().__str__()) for p in pairs}) == len(pairs)
    for pair in pairs:
        ma.check_generic(pair)


def test_parts_of_the_claim() -> None:
    parts = {check.part for check in ma.CLAIM.checks}
    assert parts == {"upper bound", "exact solver", "exact when generic", "gap bounds", "hardness"}


# -- negative twins --------------------------------------------------------------------------------------------------------


@given(ma.repeated_modes() | ma.cancelling() | ma.adding_up())
def test_twin_non_generic_pairs_are_refused(pair: ma.Pair) -> None:
    """The checker of the generic part refuses every pair that lacks one of its assumptions."""
    with pytest.raises(Refuted, match="not generic"):
        ma.check_generic(pair)


@given(ma.any_pairs(), nonzero)
def test_twin_wrong_system_is_caught(pair: ma.Pair, shift: F) -> None:
    """An adjustment whose system is off by one residue, or whose edits hide a change, fails the check."""
    frozen, target = pair
    found = minimal_adjustment(frozen, target)
    c = found.system.c.copy()
    c[0] += shift
    with pytest.raises(Refuted):
        ma.check_adjustment(frozen, target, Adjustment(found.cost, found.edits, found.system.replace(c=c)))
    if found.edits:
        with pytest.raises(Refuted):
            ma.check_adjustment(frozen, target, Adjustment(found.cost - 1, found.edits[1:], found.system))


def test_twin_merging_is_where_the_assignment_overpays() -> None:
    """Gap 1 with residues 1 + 1 = 2; the neighbouring target residue 3 is no sum, and the gap is gone."""
    frozen = LTI(["1/2", "3/10"], [1, 1], [1, 1])
    gaps = {k: adjustment_gap(frozen, LTI(["1/2"], [1], [k])) for k in (2, 3)}
    assert gaps == {2: 1, 3: 0}


def test_twin_listed_states_are_not_minimal_form() -> None:
    listed = LTI(["1/2", "1/2"], [1, 1], [3, -1])
    frozen = LTI(["1/2", "1/3"], [1, 1], [2, 0])
    assert ma.listed_cost(frozen, listed) == 3
    assert minimal_adjustment(frozen, listed).cost == 0 == exact_minimal_adjustment(frozen, listed).cost


def test_zero_target_silences_every_state() -> None:
    frozen = LTI(["1/2", "1/3", "1/5"], [1] * 3, [1, 3, 0])
    assert minimal_adjustment(frozen, LTI([F(1, 7)], [1], [0])).cost == 2
