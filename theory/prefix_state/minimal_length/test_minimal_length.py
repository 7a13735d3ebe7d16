"""prefix_state.minimal_length: the inverse map, least lengths, obstructions and errors."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from theory.conftest import GLANCE
from theory.core.errors import InvalidInput, KindMismatch, Unreachable
from theory.core.initialisations import initialisation
from theory.core.lti import LTI
from theory.core.scalars import gaussian
from theory.core.strategies import real_lti
from theory.prefix_state.minimal_length import claim as minimal_length
from theory.prefix_state.minimal_length.claim import (
    check_all_states,
    check_inverse,
    check_layer,
    check_short_obstruction,
    check_state_level,
)
from theory.prefix_state.reach.interpolation import polynomial_through, prefix_of
from theory.prefix_state.reach.lti import minimal_length_for, minimal_prefix_length, prefix_for, reachable_lti
from theory.prefix_state.reach.reachable import reachable
from theory.prefix_state.reach.window import state_after
from theory.verification.claim import Verdict

TWO = LTI(["1/2", "1/3"], [1, 1], [1, 1])


@given(minimal_length.targets())
def test_inverse(target):
    check_inverse(target)


@given(minimal_length.targets())
def test_state_level(target):
    check_state_level(target)


@given(minimal_length.targets(minimal_length.controllable(3)))
def test_one_token_too_few(target):
    check_short_obstruction(target)


@given(minimal_length.controllable(3))
def test_all_states(system):
    check_all_states(system)


@given(st.lists(minimal_length.controllable(2), min_size=1, max_size=3))
def test_layers(channels):
    check_layer(channels)


@given(minimal_length.targets(real_lti(max_states=3)))
def test_round_trip(target):
    """state → prefix → state, and a changed token is caught (negative twin)."""
    prefix = prefix_for(target.system, list(target.h0), level="state")
    assert list(state_after(target.system, prefix)) == list(target.h0)
    spoiled = [*prefix[:-1], prefix[-1] + Fraction(1, 97)]
    assert list(state_after(target.system, spoiled)) != list(target.h0)


def test_worked_example():
    """p(1/2) = 1, p(1/3) = 2: p = 4 − 6 z, processed highest power first."""
    assert prefix_for(TWO, [1, 2]) == [-6, 4]
    assert list(state_after(TWO, [-6, 4])) == [1, 2]
    assert prefix_for(TWO, [1, 1]) == [1]  # one token is enough for this state
    assert minimal_length_for(TWO, [1, 1]) == 1
    assert prefix_for(TWO, [1, 2], 4) == [0, 0, -6, 4]
    assert prefix_for(TWO, [0, 0]) == [0]
    assert minimal_length_for(TWO, [0, 0]) == 0


def test_polynomials_by_hand():
    assert polynomial_through([Fraction(1), Fraction(2), Fraction(3)], [Fraction(1), Fraction(4), Fraction(9)]) == [0, 0, 1]
    assert prefix_of([Fraction(5), Fraction(7)], 3) == [0, 7, 5]


def test_symbolic_systems():
    a, b, h = sympy.symbols("a b h", real=True, nonzero=True)
    system = LTI([a], [b], [1], kind="symbolic")
    assert sympy.simplify(prefix_for(system, [h])[0] - h / b) == 0


def test_unreachable_names_mode_and_length():
    with pytest.raises(Unreachable, match="λ = 1/3") as caught:
        prefix_for(LTI(["1/2", "1/3"], [1, 0], [1, 1]), [1, 1])
    assert caught.value.mode == Fraction(1, 3)
    assert caught.value.smallest_length == math.inf
    with pytest.raises(Unreachable, match="smallest length that does is 2") as caught:
        prefix_for(TWO, [1, 2], 1)
    assert caught.value.mode == Fraction(1, 3)
    assert caught.value.smallest_length == 2
    assert prefix_for(TWO, [3, 3], 1) == [3]


def test_function_level_ignores_what_no_output_shows():
    hidden = LTI(["1/2", "1/3"], [1, 0], [1, 0])
    assert prefix_for(hidden, [1, 7]) == [1]
    found = reachable(hidden, [1, 7], level="state")
    assert found.verdict == "obstruction"
    assert found.ell is not None
    assert found.ell[1] * 7 == found.value < 0


def test_equal_modes_block_at_state_level():
    twin = LTI(["1/2", "1/2"], [1, 2], [1, 1])
    assert reachable(twin, [1, 2], level="state").prefix == [1]
    found = reachable(twin, [1, 0], level="state")
    assert found.verdict == "obstruction"
    assert "share the mode" in found.reason
    assert reachable(twin, [1, 0]).verdict == "witness"  # the outputs are those of one mode


def test_conjugate_pairs_need_two_tokens():
    pair = LTI([gaussian("1/2", "1/2")], [1], [1], half=True)
    assert minimal_prefix_length(pair) == 2
    prefix = prefix_for(pair, [gaussian(0, 1)])
    assert len(prefix) == 2
    assert all(isinstance(x, Fraction) for x in prefix)
    found = reachable(pair, [gaussian(0, 1)], max_length=1)
    assert found.verdict == "obstruction"
    assert found.value < 0


def test_minimal_lengths():
    assert minimal_prefix_length(TWO) == 2 and isinstance(minimal_prefix_length(TWO), int)  # it counts tokens
    assert minimal_prefix_length([TWO, LTI(["1/2"], [1], [1])]) == 2
    assert minimal_prefix_length(LTI(["1/2", "1/2"], [1, -1], [1, 1])) == math.inf
    assert minimal_prefix_length(LTI([0], [1], [1])) == 0
    assert minimal_prefix_length(initialisation("mamba", 16, 1e-3)) == 16


def test_float_systems_are_solved_exactly_and_rounded_once():
    system = initialisation("mamba", 8, 1e-1, seed=3)
    h0 = np.linspace(-1.0, 1.0, 8)
    tokens = prefix_for(system, h0)
    exact = system.exactly()
    exact_tokens = prefix_for(exact, [Fraction(x) for x in h0])
    assert tokens == [float(x) for x in exact_tokens]
    assert list(state_after(exact, exact_tokens)) == [Fraction(x) for x in h0]


def test_reach_has_no_truth_value():
    with pytest.raises(TypeError, match="five verdicts"):
        bool(reachable_lti(TWO, [1, 2]))


def test_all_assumptions_and_checks_at_a_glance():
    for check in minimal_length.CLAIM.checks:
        assert check.run(GLANCE).verdict is not Verdict.REFUTED
    for assumption in minimal_length.CLAIM.assumptions:
        assert assumption.examine(GLANCE).verdict is Verdict.REFUTED


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: prefix_for(TWO, [1]), InvalidInput, "N = 2"),
        (lambda: prefix_for(TWO, [1, 2], 0), InvalidInput, "length = 0"),
        (lambda: prefix_for(TWO, [1.0, 2.0]), KindMismatch, "1.0"),
        (lambda: prefix_for(TWO, [1, 2], level="model"), InvalidInput, "'model'"),
        (lambda: prefix_for("x", [1]), InvalidInput, "str"),
        (lambda: prefix_for(LTI([0.5], [1.0], [1.0]), [float("inf")]), InvalidInput, "inf"),
        (
            lambda: prefix_for(LTI([gaussian(0, "1/2"), gaussian(0, "-1/2")], [1, 1], [1, 1]), [1, gaussian(0, 1)]),
            InvalidInput,
            "conjugate-symmetric",
        ),
        (lambda: minimal_prefix_length([]), InvalidInput, "non-empty"),
        (lambda: reachable(object(), [1]), InvalidInput, "object"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()
