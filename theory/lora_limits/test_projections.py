"""lora_limits.spectrum_frozen, selector_absorption: whole modules before and after, and mistakes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.claim import PROFILES, Assumption, Check, Profile, Verdict
from theory.core.deep_s4 import DeepS4, S4Layer
from theory.core.errors import InvalidInput, KindMismatch
from theory.core.lti import LTI
from theory.lora_limits import selector_absorption, spectrum_frozen
from theory.lora_limits.poles import (
    annihilates,
    divides,
    fit_with_frozen_modes,
    hankel_rank,
    minimal_recurrence,
    polynomial_from_modes,
    shortest_refuting_horizon,
)
from theory.lora_limits.row_matching import match_rows
from theory.lora_limits.selector_absorption import absorb_selectors, least_gauge_rank
from theory.lora_limits.spectrum_frozen import frozen_polynomial, kernel_poles, matrix_kernel, rates_explain, separating_token

CLAIMS = (spectrum_frozen.CLAIM, selector_absorption.CLAIM)
F = Fraction


@given(spectrum_frozen.tuned_stacks())
def test_poles_stay(t):
    spectrum_frozen.check_poles_stay(t)


@given(spectrum_frozen.horizons())
def test_horizon_is_sharp(h):
    spectrum_frozen.check_horizon(h)


@given(spectrum_frozen.clocked())
def test_log_decays_stay(c):
    spectrum_frozen.check_log_decays_stay(c)


@given(spectrum_frozen.clock_pairs())
def test_clocks_are_rigid(pair):
    spectrum_frozen.check_rigid(pair)


@given(st.one_of(selector_absorption.tasks(), selector_absorption.tasks(independent=False)))
def test_absorption(task):
    selector_absorption.check_absorption(task)


@pytest.mark.parametrize("assumption", [a for c in CLAIMS for a in c.assumptions], ids=lambda a: a.name)
def test_assumptions(assumption: Assumption):
    assert assumption.examine(PROFILES["quick"]).verdict is Verdict.REFUTED


@pytest.mark.parametrize("check", [k for c in CLAIMS for k in c.checks], ids=lambda k: k.name)
def test_checks(check: Check):
    assert check.run(Profile("few", 5)).verdict is not Verdict.REFUTED


def layer(modes, c=1, w=1, u=0):
    return S4Layer([LTI(modes, [1] * len(modes), [c] * len(modes))], [[w]], u=[u], activation="linear")


def test_a_moved_pole_is_noticed():
    """Negative twin of the invariant: training that moves a mode shows in the recurrence."""
    frozen = layer(["1/2", "1/3"])
    assert divides(kernel_poles(layer(["1/2", "1/3"], c=7, w=3, u=2)).polynomial, frozen_polynomial(frozen))
    assert not divides(kernel_poles(layer(["1/2", "1/4"])).polynomial, frozen_polynomial(frozen))


def test_depth_cancels_and_never_adds():
    """Layer 1 = diag(u + residue) places a zero on layer 2's pole: one pole disappears."""
    # transfer of layer 1 in w = 1/z: u + 1/(1 − w/2) has its zero at w = 2(u + 1)/u; at w = 3 it cancels 1/(1 − w/3)
    u = F(2)
    cancel = S4Layer([LTI(["1/2"], [1], [1])], [[1]], u=[u], activation="linear")
    assert 2 * (u + 1) / u == 3
    assert kernel_poles(DeepS4([cancel, layer(["1/3"])])).poles() == {F(1, 2): 1}
    assert set(kernel_poles(DeepS4([layer(["1/2"], u=5), layer(["1/3"])])).poles()) == {F(1, 2), F(1, 3)}


def test_three_lags_are_matched():
    modes, target = [F(1, 2), F(3, 10)], [F(1), F(7, 10), F(49, 100)]
    fit = fit_with_frozen_modes(modes, target, skip=True)
    assert list(fit.residues) == [F(14, 5), F(-7, 3)]
    assert not fit_with_frozen_modes(modes, [*target, F(343, 1000)], skip=True).possible
    assert not fit_with_frozen_modes(modes, target, skip=False).possible
    assert shortest_refuting_horizon(2, 1, skip=True) == 4


def test_recurrences_by_hand():
    fibonacci = [1, 1, 2, 3, 5, 8, 13, 21]
    found = minimal_recurrence(fibonacci)
    assert found.order == 2
    assert not found.splits
    assert hankel_rank(fibonacci) == 2
    powers = [F(1, 2) ** j + F(1, 3) ** j for j in range(6)]
    assert minimal_recurrence(powers).poles() == {F(1, 2): 1, F(1, 3): 1}
    assert annihilates(polynomial_from_modes([F(1, 2), F(1, 3)]), powers)
    assert not annihilates(polynomial_from_modes([F(1, 2), F(1, 4)]), powers)


def test_rates_and_bases():
    assert rates_explain([F(1, 2), F(1, 4)], [1, 2])
    assert rates_explain([F(1, 8), F(1, 64)], [1, 2])  # another clock, the same ratio
    assert not rates_explain([F(1, 2), F(1, 8)], [1, 2])


def test_the_imitation_and_its_limits():
    i = spectrum_frozen.Imitation(2, (F(2), F(3)), (F(5), F(7)), F(1, 2), (F(1), F(-2), F(3)))
    assert list(spectrum_frozen.student_outputs(i)) == list(spectrum_frozen.target_outputs(i))
    assert spectrum_frozen.out_of_reach(replace(i, channels=1))


def test_equal_clocks_are_not_separated():
    c = spectrum_frozen.SoftplusClock(F(1), F(0), F(-1))
    assert separating_token(c, c) is None  # negative twin
    assert separating_token(c, replace(c, A=F(-2))) is not None


def test_gauge_example():
    """S = I, S* = diag(2, 1/2): the formula for maps says 2, the gauge g = 1/2 says 0."""
    found = absorb_selectors([[1, 0], [0, 1]], [[1, 0], [0, 1]], [[1, 0], [0, 1]], [[2, 0], [0, "1/2"]])
    assert found.rank == 2
    least, g = least_gauge_rank([[1, 0], [0, 1]], [[2, 0], [0, "1/2"]])
    assert least == 0
    assert g == sympy.Rational(1, 2)
    irrational, g = least_gauge_rank([[1, 0], [2, 0]], [[1, 0], [1, 0]])  # rows parallel: rank 1 → 0 needs g = 1 and g = 1/2
    assert irrational == 1
    assert least_gauge_rank([[1, 0], [0, 1]], [[1, 1], [1, 3]])[0] >= 1


def test_row_matching_certificates():
    found = match_rows([[1, 0], [2, 0]], [[0], [0]], [[1], [3]])
    assert not found.possible
    assert list(np.asarray(found.certificate) @ np.array([[1, 0], [2, 0]], dtype=object)) == [0, 0]
    nothing = match_rows([[1, 0]], [[1], [1]], [[1]])
    assert nothing.rank == 0
    assert not np.any(nothing.update)


def test_rank_is_not_off_by_one():
    found = match_rows(np.eye(3, dtype=int).tolist(), [[0, 0], [0, 0], [0, 0]], [[1, 2], [2, 4], [3, 6]])
    assert found.rank == 1 == linalg.rank(found.update)
    assert found.left.shape == (3, 1)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: minimal_recurrence([]), InvalidInput, "empty"),
        (lambda: minimal_recurrence([0.5]), KindMismatch, "0.5"),
        (lambda: fit_with_frozen_modes([F(1, 2), F(1, 2)], [1, 2], skip=False), InvalidInput, "distinct"),
        (lambda: matrix_kernel(S4Layer([LTI(["1/2"], [1], [1])], [[1]]), 3), InvalidInput, "activation"),
        (lambda: match_rows([[1, 0]], [[1]], [[1]]), InvalidInput, "S"),
        (lambda: absorb_selectors([[1]], [[1]], [[1]], [[1, 2]]), InvalidInput, "target_selectors"),
        (lambda: absorb_selectors([[1.0]], [[1]], [[1]], [[1]]), KindMismatch, "1.0"),
        (lambda: least_gauge_rank([[1]], [[1]]), InvalidInput, "shape"),
        (lambda: selector_absorption.gauge_gap(np.zeros((2, 1)), np.zeros((2, 1)), 1, [0]), InvalidInput, "nonzero"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()
