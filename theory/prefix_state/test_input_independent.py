"""prefix_state.input_independent: the closed form against enumeration, the optimum, and mistakes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.core.claim import PROFILES, Verdict
from theory.core.errors import InvalidInput
from theory.core.initialisations import initialisation
from theory.core.lti import LTI
from theory.core.strategies import rationals
from theory.prefix_state import input_independent
from theory.prefix_state.input_independent import ASSUMPTIONS, Setting, enumerated_risk, independent_law
from theory.prefix_state.risk import least_squares, state_tuning_risk_floor

STUDENT, TEACHER = LTI(["1/2"], [1], [1]), LTI(["1/2"], [1], [2])


@given(input_independent.settings())
def test_formula(s):
    input_independent.check_formula(s)


@given(st.tuples(input_independent.settings(), st.lists(rationals(2, nonzero=True), min_size=2, max_size=2)))
def test_optimum(instance):
    input_independent.check_optimal(instance)


@given(input_independent.settings())
def test_zero_mean(s):
    input_independent.check_zero_mean(s)


def test_worked_example():
    found = state_tuning_risk_floor(STUDENT, TEACHER, 1, 1, 2)
    assert found.h0[0] == Fraction(14, 5)
    assert found.residual == Fraction(4, 5)
    assert found.floor == Fraction(1) + Fraction(5, 4)
    assert found.per_step == (1, Fraction(5, 4))
    assert found.untuned == found.floor + 1 + Fraction(9, 4)
    assert found.mean_optimum == float(found.optimum) / 2


def test_a_wrong_state_is_worse_and_a_wrong_formula_is_caught():
    """Negative twin: the textbook's outputs from t = 0 would make h_0 = 7/5 look optimal; enumeration says otherwise."""
    law = tuple(independent_law([Fraction(2), Fraction(0)], [Fraction(1, 2), Fraction(1, 2)], 2))  # mean 1, variance 1
    s = Setting(STUDENT, TEACHER, law)
    best = state_tuning_risk_floor(STUDENT, TEACHER, 1, 1, 2)
    assert enumerated_risk(s, best.h0) == best.optimum
    assert enumerated_risk(s, [Fraction(7, 5)]) > best.optimum
    assert enumerated_risk(s, best.h0) != best.floor


def test_the_skip_is_part_of_the_first_difference():
    skip = state_tuning_risk_floor(LTI(["1/2"], [1], [1], 3), LTI(["1/2"], [1], [1]), 0, 1, 3)
    assert skip.per_step == (9, 9, 9)
    assert state_tuning_risk_floor(STUDENT, STUDENT, 5, 7, 4).optimum == 0


def test_prefixes_reach_less_than_states():
    student = LTI(["1/2", "1/3"], [1, 0], [1, 1])  # the second mode answers to no token
    teacher = LTI(["1/2", "1/3"], [1, 1], [1, 1])
    state = state_tuning_risk_floor(student, teacher, 1, 0, 3)
    prefix = state_tuning_risk_floor(student, teacher, 1, 0, 3, prefix_length=4)
    assert state.optimum < prefix.optimum
    assert prefix.h0 is None
    assert len(prefix.prefix) == 4


def test_the_numbers_of_the_counterexamples():
    """The statements quote exact risks: recompute them."""
    for assumption, true in zip(ASSUMPTIONS[:3], (Fraction(7, 2), Fraction(13, 4), Fraction(13, 4)), strict=True):
        s = assumption.counterexample.build()
        formula = state_tuning_risk_floor(s.system, s.teacher, *s.moments(0), s.length)
        assert enumerated_risk(s) == true
        assert formula.untuned == Fraction(9, 4)
        assert str(true) in assumption.counterexample.statement


def test_least_squares_without_full_rank():
    m = np.array([[Fraction(1), Fraction(1)], [Fraction(1), Fraction(1)]], dtype=object)
    w = least_squares(m, [Fraction(1), Fraction(3)])
    assert w[0] + w[1] == 2


def test_float_systems_give_exact_answers():
    student, teacher = (initialisation("s4d_inv", 8, 1e-2, seed=s) for s in (1, 2))
    found = state_tuning_risk_floor(student, teacher, 0.25, 1.5, 6)
    assert isinstance(found.optimum, Fraction)
    assert 0 < found.mean_floor <= found.mean_optimum


def test_all_assumptions_and_checks_at_quick():
    for check in input_independent.CLAIM.checks:
        assert check.run(PROFILES["quick"]).verdict is not Verdict.REFUTED
    for assumption in input_independent.CLAIM.assumptions:
        assert assumption.examine(PROFILES["quick"]).verdict is Verdict.REFUTED


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"var": -1}, "negative"),
        ({"var": float("nan")}, "not finite"),
        ({"mean": "one"}, "rational number"),
        ({"mean": None}, "not a number"),
        ({"length": 0}, "length = 0"),
        ({"prefix_length": 0}, "prefix_length = 0"),
        ({"teacher": 3}, "teacher must be"),
    ],
)
def test_bad_input(kwargs, says):
    given_ = {"system": STUDENT, "teacher": TEACHER, "mean": 0, "var": 1, "length": 2} | kwargs
    with pytest.raises(InvalidInput, match=says):
        state_tuning_risk_floor(**given_)
