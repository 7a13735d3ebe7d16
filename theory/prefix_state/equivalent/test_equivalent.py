"""prefix_state.equivalent: the criterion against simulated spans, worked examples and mistakes."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given

from theory.conftest import GLANCE
from theory.core.errors import InvalidInput, InvalidSystem
from theory.core.initialisations import initialisation
from theory.core.lti import LTI
from theory.core.scalars import gaussian
from theory.prefix_state.equivalent import claim as equivalent
from theory.prefix_state.equivalent.claim import (
    Setting,
    by_modes,
    check_conversion,
    check_criterion,
    check_rank_criterion,
    criterion,
)
from theory.prefix_state.reach.spans import prefix_responses, state_basis, state_responses
from theory.verification.claim import Verdict


@given(equivalent.settings())
@example(Setting(LTI(["1/2", "1/3"], [0, 1], [1, 1]), 2, 2))  # no token moves the first mode, whose state is seen
def test_criterion_by_modes(s):
    check_criterion(s)


@given(equivalent.settings(long=False))
def test_criterion_by_rank(s):
    check_rank_criterion(s)


@given(equivalent.settings(equivalent.distinct_systems()))
def test_conversion(s):
    check_conversion(s)


@given(equivalent.enough())
def test_one_token_fewer_is_not_enough(s):
    """Negative twin: n_obs − 1 tokens miss a direction."""
    n = s.system.n_observable()
    assert equivalent.spans_agree(s.system, n, n)
    if n > 1:
        assert not equivalent.spans_agree(s.system, n - 1, n)
        assert not criterion(s.system, n - 1)


def test_half_storage_groups_after_closing():
    """A stored mode and its stored conjugate are one group: r = c_1 b_1 + (c_2 b_2)‾ vanishes here."""
    i, minus_i = gaussian(0, "1/2"), gaussian(0, "-1/2")
    system = LTI([i, minus_i], [1, 1], [1, -1], half=True)
    assert system.n_observable() == 2
    assert not criterion(system, 2)
    assert not equivalent.spans_agree(system, 4, 4)
    assert criterion(LTI([i, minus_i], [1, 1], [1, 2], half=True), 2)


def test_a_stored_real_mode_counts_once():
    """c = 1, b = i, a = 1/2 stored by halves: observable, residue 2 Re(i) = 0."""
    system = LTI(["1/2"], [gaussian(0, 1)], [1], half=True)
    assert system.n_observable() == 1
    assert not criterion(system, 5)
    assert not equivalent.spans_agree(system, 5, 5)


@pytest.mark.parametrize(
    ("system", "m", "horizon", "equal"),
    [
        (LTI(["1/2", "1/3"], [1, 1], [1, 1]), 1, 1, True),
        (LTI(["1/2", "1/3"], [1, 0], [1, 1]), 1, 1, True),
        (LTI(["1/2", "1/3"], [1, 1], [1, 1]), 1, 2, False),
        (LTI(["1/2", "1/3"], [1, 1], [1, 1]), 2, 2, True),
        (LTI(["1/2", "1/3"], [1, 0], [1, 1]), 9, 2, False),
        (LTI(["1/2", "1/3"], [1, 0], [1, 0]), 1, 3, True),
        (LTI(["1/2", "1/2"], [1, -1], [1, 1]), 3, 3, False),
        (LTI([0], [1], [1]), 1, 3, True),
        (LTI([gaussian("1/2", "1/2")], [1], [1], half=True), 1, 2, False),
        (LTI([gaussian("1/2", "1/2")], [1], [1], half=True), 2, 2, True),
    ],
)
def test_examples(system, m, horizon, equal):
    assert criterion(system, m, horizon) is equal
    assert equivalent.spans_agree(system, m, horizon) is equal


def test_swapping_b_and_c_matters():
    """Negative twin: observability is about c, reach about b."""
    s = LTI(["1/2", "1/3"], [1, 1], [1, 0])
    swapped = LTI(s.a, s.c, s.b)
    assert criterion(s, 1)
    assert not criterion(swapped, 1)
    assert not criterion(swapped, 5)


def test_layers_share_one_length():
    channels = [LTI(["1/2"], [1], [1]), LTI(["1/2", "1/3"], [1, 1], [1, 1])]
    assert criterion(channels, 2)
    assert not criterion(channels, 1)


@pytest.mark.parametrize("name", ["mamba", "s4d_lin", "s4d_inv", "s4d_legs"])
def test_float_systems_are_decided_at_their_binary_values(name):
    system = initialisation(name, 16, 1e-3)
    n = system.n_observable()
    assert criterion(system, n)
    assert not criterion(system, n - 1)


def test_spans_use_no_formula():
    s = LTI(["1/2", "1/3"], [1, 2], [3, 4])
    assert [list(r) for r in prefix_responses(s, 1, 2)] == [[Fraction(3, 2) + Fraction(8, 3), Fraction(3, 4) + Fraction(8, 9)]]
    assert [list(r) for r in state_responses(s, 2)] == [[Fraction(3, 2), Fraction(4, 3)], [Fraction(3, 4), Fraction(4, 9)]]
    pair = LTI([gaussian(0, "1/2"), gaussian(0, "-1/2")], [1, 1], [1, 1])
    assert len(state_basis(pair)) == 2
    assert by_modes(pair, 2)
    assert equivalent.spans_agree(pair, 2, 2)


def test_all_assumptions_and_checks_at_a_glance():
    for check in equivalent.CLAIM.checks:
        assert check.run(GLANCE).verdict is not Verdict.REFUTED
    for assumption in equivalent.CLAIM.assumptions:
        assert assumption.examine(GLANCE).verdict is Verdict.REFUTED


def test_a_wrong_criterion_is_refuted():
    """Negative twin: counting a pair once makes a check fail."""
    s = Setting(LTI([gaussian("1/2", "1/2")], [1], [1], half=True), 1, 2)
    assert s.system.n_states == 1
    assert not equivalent.spans_agree(s.system, s.system.n_states, s.horizon)


def test_bad_input():
    s = LTI(["1/2"], [1], [1])
    with pytest.raises(InvalidInput, match="prefix_length = 0"):
        criterion(s, 0)
    with pytest.raises(InvalidInput, match="horizon"):
        criterion(s, 1, 0)
    with pytest.raises(InvalidSystem, match="conjugate"):
        criterion(LTI([gaussian(0, "1/2")], [1], [1]), 1)
    with pytest.raises(InvalidInput, match="non-empty"):
        criterion([], 1)
