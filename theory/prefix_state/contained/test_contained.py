"""prefix_state.contained: containment, the conv window, re-fitting, and what each mistake would look like."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given

from theory.conftest import GLANCE
from theory.core.conv import Conv, ConvState
from theory.core.errors import InvalidInput, KindMismatch, Unreachable
from theory.core.lti import LTI
from theory.core.selective import SelectiveSSM
from theory.core.ssd import Mamba2Head
from theory.prefix_state.contained import claim as contained
from theory.prefix_state.contained.claim import Run, check_contained, check_refit, check_selective_window, check_window
from theory.prefix_state.reach.window import emptied, missing_inputs, refit_state, state_after
from theory.verification.claim import Verdict


@given(contained.lti_runs())
def test_lti(run):
    check_contained(run)


@given(contained.selective_runs())
def test_selective(run):
    check_contained(run)


@given(contained.mamba2_runs())
def test_mamba2(run):
    check_contained(run)


@given(contained.conv_runs())
def test_conv(run):
    check_window(run)


@given(contained.conv_runs(selective_inside=False))
def test_refit(run):
    check_refit(run)


@given(contained.squared())
def test_selective_cannot_refit(s):
    check_selective_window(s)


def test_a_wrong_state_is_caught():
    """Negative twin: one token fewer, or the state of the reversed prefix, changes the outputs."""
    system = LTI(["1/2", "-1/3"], [1, 2], [3, 1])
    prefix, inputs = (Fraction(1), Fraction(-2), Fraction(5)), (Fraction(1), Fraction(4))
    right = contained.after_prefix(Run(system, prefix, inputs))
    for wrong in (prefix[:-1], prefix[::-1]):
        assert not contained.same_outputs(right, system.run(inputs, state_after(system, wrong))[0])
    off = state_after(system, prefix) + np.array([Fraction(0), Fraction(1, 1000)], dtype=object)
    assert not contained.same_outputs(right, system.run(inputs, off)[0])


def test_the_closed_form_notices_a_shifted_power():
    """Negative twin of the closed form: a^{m+1} for a^m is another state."""
    system = LTI(["1/2"], [1], [1])
    assert state_after(system, [3, 5])[0] == Fraction(13, 2)
    assert contained.closed_form(system, [3, 5])[0] == Fraction(13, 2)
    assert contained.closed_form(system, [3, 5, 0])[0] == Fraction(13, 4)


def test_worked_example_of_the_window():
    outcome = contained.worked_example(GLANCE)
    assert outcome.verdict is Verdict.EXACT
    assert outcome.data["prefix"] == ["22", "10", "7", "59/2"] == outcome.data["state refitted"]
    assert outcome.data["state alone"] == ["7", "5/2", "13/4", "221/8"]


def test_missing_inputs_and_the_window_by_hand():
    conv = Conv([2, 3, 5], LTI(["1/2"], [1], [1]))
    state = state_after(conv, [7, 11])  # x_{−1} = 7, x_0 = 11
    assert list(state.window) == [7, 11]
    assert missing_inputs(conv, state.window) == [3 * 11 + 5 * 7, 5 * 11]
    short = state_after(conv, [11])
    assert list(short.window) == [0, 11]


def test_refit_with_a_skip_loses_exactly_the_skip_at_the_last_step():
    conv = Conv([2, 3], LTI(["1/2"], [1], [1], 10))
    state, inputs = state_after(conv, [5]), [1, -2, 4]
    right = conv.run([5, *inputs])[0][1:]
    got = conv.run(inputs, emptied(conv, refit_state(conv, state)))[0]
    assert list(right - got) == [10 * 3 * 5, 0, 0]


def test_all_assumptions_and_checks_at_a_glance():
    for check in contained.CLAIM.checks:
        assert check.run(GLANCE).verdict is not Verdict.REFUTED
    for assumption in contained.CLAIM.assumptions:
        assert assumption.examine(GLANCE).verdict is Verdict.REFUTED  # shown to be needed


def test_dropping_the_window_is_noticed():
    run = Run(Conv([2, 3], LTI(["1/2"], [1], [1])), (Fraction(5),), (Fraction(1),))
    assert contained.acts_as_state(run)
    assert not contained.acts_as_state(replace(run, window=False))


@pytest.mark.parametrize(
    ("system", "prefix", "error", "says"),
    [
        (LTI(["1/2"], [1], [1]), [], InvalidInput, "empty"),
        (LTI(["1/2"], [1], [1]), [0.5], KindMismatch, "0.5"),
        (LTI([0.5], [1.0], [1.0]), [float("nan")], InvalidInput, "nan"),
        (LTI([0.5], [1.0], [1.0]), [[1.0]], InvalidInput, "shape"),
        (SelectiveSSM([[1, 1]], dt=1, decay=[["1/2"], ["1/3"]]), [[1, 2, 3]], InvalidInput, "D = 2"),
        (Mamba2Head([[1, 0]], [[0, 1]], dt=1, decay="1/2"), [], InvalidInput, "empty"),
        ("system", [1], InvalidInput, "str"),
    ],
)
def test_bad_prefixes(system, prefix, error, says):
    with pytest.raises(error, match=says):
        state_after(system, prefix)


def test_refit_refuses_what_it_cannot_do():
    dead = Conv([2, 3], LTI([0], [1], [1]))
    with pytest.raises(Unreachable, match=r"a\[0\] = 0"):
        refit_state(dead, state_after(dead, [5]))
    inner = Conv([[2, 3]], SelectiveSSM([[1]], [[1]], dt=1, decay=[["1/2"]]))
    with pytest.raises(InvalidInput, match="S6"):
        refit_state(inner, state_after(inner, [[5]]))
    with pytest.raises(InvalidInput, match="window"):
        dead.run([1], ConvState(np.array([], dtype=object), dead.system.zero_state()))
