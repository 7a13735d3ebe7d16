"""prefix_state.state_offset: incomparable in general, and every case in which it is not."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given

from theory.conftest import GLANCE
from theory.core.errors import InvalidInput
from theory.core.lti import LTI
from theory.core.scalars import gaussian
from theory.prefix_state.state_offset import claim as state_offset
from theory.prefix_state.state_offset.claim import check_incomparable, check_short_horizons, compare_offset, state_as_offset
from theory.verification.claim import Verdict


@given(state_offset.settings())
def test_incomparable(s):
    check_incomparable(s)


@given(state_offset.settings())
def test_short_horizons(s):
    check_short_horizons(s)


def test_worked_example():
    system = LTI(["1/2", "3/10"], [1, 1], [1, 1])
    assert list(state_as_offset(system, Fraction(1), 2)) == [7, Fraction(-25, 3)]
    assert list(system.free_response([7, Fraction(-25, 3)], 2)) == [1, 1]
    assert system.free_response([7, Fraction(-25, 3)], 3)[2] != 1  # negative twin: one output more
    assert state_as_offset(system, Fraction(1), 3) is None


@pytest.mark.parametrize(
    ("system", "length", "relation"),
    [
        (LTI(["1/2", "3/10"], [1, 1], [1, 1]), 2, "offset ⊂ state"),
        (LTI(["1/2", "3/10"], [1, 1], [1, 1]), 3, "incomparable"),
        (LTI([1], [1], [1], check_stable=False), 3, "equal"),
        (LTI([1, "1/2"], [1, 1], [1, 1], check_stable=False), 5, "offset ⊂ state"),
        (LTI([0], [1], [1]), 2, "state ⊂ offset"),
        (LTI(["1/2"], [1], [1]), 1, "equal"),
        (LTI(["1/2"], [1], [0]), 2, "equal"),
        (LTI([gaussian(0, "1/2")], [1], [1], half=True), 3, "incomparable"),
    ],
)
def test_relations(system, length, relation):
    assert compare_offset(system, length).relation == relation


def test_b_plays_no_part():
    """Negative twin of swapping b and c: only c and a matter."""
    assert compare_offset(LTI(["1/2"], [0], [1]), 3).relation == "incomparable"
    assert compare_offset(LTI(["1/2"], [1], [0]), 3).relation == "equal"


def test_all_assumptions_and_checks_at_a_glance():
    for check in state_offset.CLAIM.checks:
        assert check.run(GLANCE).verdict is not Verdict.REFUTED
    for assumption in state_offset.CLAIM.assumptions:
        assert assumption.examine(GLANCE).verdict is Verdict.REFUTED


def test_bad_input():
    with pytest.raises(InvalidInput, match="length = 0"):
        compare_offset(LTI(["1/2"], [1], [1]), 0)
    with pytest.raises(InvalidInput, match="LTI"):
        compare_offset("x", 1)
