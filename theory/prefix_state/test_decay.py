"""prefix_state.decay: bounds, half-lives and the ways to state them wrongly."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given

from theory.core.claim import PROFILES, Verdict
from theory.core.errors import InvalidInput, InvalidSystem
from theory.core.lti import LTI
from theory.core.scalars import gaussian
from theory.prefix_state import decay
from theory.prefix_state.decay import Bound, bound_holds, free_outputs, half_life, half_lives, terms


@given(decay.bounds())
def test_lti_bound(b):
    decay.check_lti(b)


@given(decay.selective_bounds())
def test_selective_bound(b):
    decay.check_selective(b)


def test_the_bound_is_attained_and_cannot_be_lowered():
    """Negative twin: with ρ one power too small the bound fails, since a single mode attains it."""
    b = Bound(LTI(["1/2"], [1], [3]), (Fraction(2),))
    assert free_outputs(b) == [Fraction(6, 2**t) for t in range(1, 6)]
    assert bound_holds(b)
    shifted = Bound(LTI(["1/2"], [1], [3]), (Fraction(2),), second=LTI([0], [1], [2]))  # doubles every output
    assert not bound_holds(shifted)


def test_only_excited_modes_count():
    b = Bound(LTI(["9/10", "1/10"], [1, 1], [1, 1]), (Fraction(0), Fraction(1)))
    assert terms(b.system, b.h0) == [(Fraction(1, 10), Fraction(1))]
    assert bound_holds(b)


@pytest.mark.parametrize(
    ("value", "squares", "holds"),
    [
        (Fraction(4), [Fraction(1), Fraction(1)], True),  # 2 ≤ 1 + 1, equality
        (Fraction(4), [Fraction(2), Fraction(2)], True),
        (Fraction(9), [Fraction(2), Fraction(2)], False),  # 3 > 2√2
        (Fraction(9), [Fraction(2), Fraction(3)], True),  # 3 ≤ √2 + √3 = 3.146
        (Fraction(10), [Fraction(2), Fraction(3)], False),  # √10 = 3.162
        (Fraction(0), [], True),
        (Fraction(1), [], False),
    ],
)
def test_sums_of_roots(value, squares, holds):
    assert decay._at_most_sum_of_roots(value, squares) is holds


def test_half_lives():
    assert half_life(Fraction(1, 2)) == pytest.approx(1.0)
    assert half_life(0) == 0
    assert half_life(gaussian(0, 1)) == math.inf
    assert half_life(0.25) == pytest.approx(0.5)
    assert np.allclose(half_lives([[-1.0, -2.0]], [0.1]), [[math.log(2) / 0.1, math.log(2) / 0.2]])


def test_all_assumptions_and_checks_at_quick():
    for check in decay.CLAIM.checks:
        assert check.run(PROFILES["quick"]).verdict is not Verdict.REFUTED
    for assumption in decay.CLAIM.assumptions:
        assert assumption.examine(PROFILES["quick"]).verdict is Verdict.REFUTED


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: half_life(2), InvalidSystem, "grows"),
        (lambda: half_lives([[-1.0]], [0.0]), InvalidSystem, "dt = 0.0"),
        (lambda: half_lives([[1.0]], [1.0]), InvalidSystem, "negative"),
        (lambda: half_lives([[float("nan")]], [1.0]), InvalidInput, "finite"),
        (lambda: half_lives([-1.0], [1.0]), InvalidInput, r"\(D, N\)"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()
