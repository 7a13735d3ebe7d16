"""lora_limits.spectrum_frozen: invariants before and after training, horizons, clocks, imitation, and mistakes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import flint
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.conftest import GLANCE
from theory.core.deep_s4 import DeepS4, S4Layer
from theory.core.errors import InvalidInput, InvalidSystem, KindMismatch
from theory.core.lti import LTI
from theory.core.scalars import gaussian
from theory.core.selective import SelectiveSSM
from theory.core.strategies import decays, rationals
from theory.lora_limits.spectrum_frozen import claim as spectrum_frozen
from theory.lora_limits.spectrum_frozen import instances as spectrum_examples
from theory.lora_limits.spectrum_frozen.invariants import (
    LogDecays,
    SoftplusClock,
    clocks_differ,
    frozen_polynomial,
    frozen_spectrum,
    kernel_poles,
    log_decays,
    matrix_kernel,
    measured_poles,
    poles_stayed,
    rates_explain,
    rescaled,
    same_constant_decay,
    separating_token,
)
from theory.lora_limits.spectrum_frozen.poles import (
    annihilates,
    divides,
    fit_with_frozen_modes,
    hankel_rank,
    kernel_recurrence,
    minimal_recurrence,
    polynomial_from_modes,
    shortest_refuting_horizon,
)
from theory.verification.claim import Assumption, Check, Profile, Verdict

from . import imitation

CLAIM = spectrum_frozen.CLAIM
F = Fraction


@given(spectrum_examples.tuned_stacks())
def test_poles_stay(t):
    spectrum_frozen.check_poles_stay(t)
    assert poles_stayed(t.frozen, t.tuned)


@given(spectrum_examples.horizons())
def test_horizon_is_sharp(h):
    spectrum_frozen.check_horizon(h)


@given(spectrum_examples.clocked())
def test_log_decays_stay(c):
    spectrum_frozen.check_log_decays_stay(c)


@given(spectrum_examples.clock_pairs())
def test_clocks_are_rigid(pair):
    spectrum_frozen.check_rigid(pair)


@given(spectrum_examples.constant_pairs())
def test_constant_clocks_rescale(pair):
    spectrum_frozen.check_constant_rescales(pair)


@given(spectrum_examples.blocks())
def test_channels_share_the_ratio(b):
    spectrum_frozen.check_blocks(b)


@given(st.sampled_from([1, 2]).flatmap(spectrum_examples.imitations))
def test_imitation_takes_two_channels(i):
    assert spectrum_frozen.out_of_reach(i) == (i.channels == 1)


@pytest.mark.parametrize("assumption", CLAIM.assumptions, ids=lambda a: a.name)
def test_assumptions(assumption: Assumption):
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED


@pytest.mark.parametrize("check", CLAIM.checks, ids=lambda k: k.name)
def test_checks(check: Check):
    assert check.run(Profile("few", 5)).verdict is not Verdict.REFUTED


# -- S4 -------------------------------------------------------------------------------------------------------------------


def layer(modes, c=1, w=1, u=0):
    return S4Layer([LTI(modes, [1] * len(modes), [c] * len(modes))], [[w]], u=[u], activation="linear")


@given(decays(2), decays(1), rationals(nonzero=True))
def test_a_moved_pole_is_noticed(modes, other, c):
    """Negative twin of the invariant: training that moves a mode shows in the recurrence."""
    frozen = layer(modes)
    assert poles_stayed(frozen, layer(modes, c=c, u=2))
    if other[0] not in modes:
        assert not poles_stayed(frozen, layer([modes[0], other[0]], c=c))


def test_poles_before_and_after():
    before = frozen_spectrum(layer(["1/2", "1/3"]))
    after = frozen_spectrum(layer(["1/2", "1/3"], c=7, w=3, u=2))
    assert before.polynomial == after.polynomial
    assert before.poles() == {F(1, 2): 1, F(1, 3): 1}
    assert before.polynomial != frozen_spectrum(layer(["1/2", "1/4"])).polynomial


def test_depth_cancels_and_never_adds():
    """Layer 1 = u + residue/(1 − w/2) places a zero on layer 2's pole: one pole disappears."""
    u = F(2)  # the zero is at w = 2(u + 1)/u = 3, where 1/(1 − w/3) has its pole
    cancel = S4Layer([LTI(["1/2"], [1], [1])], [[1]], u=[u], activation="linear")
    assert 2 * (u + 1) / u == 3
    assert kernel_poles(DeepS4([cancel, layer(["1/3"])])).poles() == {F(1, 2): 1}
    assert set(kernel_poles(DeepS4([layer(["1/2"], u=5), layer(["1/3"])])).poles()) == {F(1, 2), F(1, 3)}


def test_depth_multiplies_the_same_pole():
    """Two layers with one mode have a double pole: multiplicity two is frozen too, one layer never shows it."""
    stack = DeepS4([layer(["1/2"]), layer(["1/2"])])
    assert kernel_poles(stack).poles() == {F(1, 2): 2}
    assert divides(kernel_poles(stack).polynomial, frozen_polynomial(stack))
    assert not divides(kernel_poles(stack).polynomial, frozen_polynomial(layer(["1/2"])))


def test_three_lags_are_matched():
    modes, target = [F(1, 2), F(3, 10)], [F(1), F(7, 10), F(49, 100)]
    fit = fit_with_frozen_modes(modes, target, skip=True)
    assert list(fit.residues) == [F(14, 5), F(-7, 3)]
    assert fit.skip == 1 - F(14, 5) + F(7, 3)
    assert not fit_with_frozen_modes(modes, [*target, F(343, 1000)], skip=True).possible
    assert not fit_with_frozen_modes(modes, target, skip=False).possible
    assert shortest_refuting_horizon(2, 1, skip=True) == 4
    assert shortest_refuting_horizon(2, 1, skip=False) == 3


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("skip", [False, True])
def test_the_horizon_at_every_size(n, skip):
    modes, pole = [F(1, k + 2) for k in range(n)], F(9, 10)
    target = [pole**j for j in range(n + 2)]
    needed = n + 1 + int(skip)
    assert needed == shortest_refuting_horizon(n, 1, skip=skip)
    assert not fit_with_frozen_modes(modes, target[:needed], skip=skip).possible
    assert fit_with_frozen_modes(modes, target[: needed - 1], skip=skip).possible


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
    short = minimal_recurrence([1, 2, 4, 9])  # order 3 from four lags: another continuation would give another recurrence
    assert short.order == 3
    assert not short.determined


@given(decays(3), st.lists(rationals(nonzero=True), min_size=3, max_size=3))
def test_recurrence_order_is_the_hankel_rank(modes, residues):
    kernel = [sum(r * a**j for a, r in zip(modes, residues, strict=True)) for j in range(8)]
    found = minimal_recurrence(kernel)
    assert found.order == hankel_rank(kernel) == 3
    assert sorted(found.poles()) == sorted(modes)
    dropped = [k - residues[0] * modes[0] ** j for j, k in enumerate(kernel)]
    assert minimal_recurrence(dropped).order == 2  # negative twin: one residue less, one pole less


# -- S6 -------------------------------------------------------------------------------------------------------------------


def s6(A, rng):
    d, n = np.shape(A)
    w_b, w_c, w_dn, w_up = (rng.standard_normal(size) for size in ((n, d), (n, d), (1, d), (d, 1)))
    return SelectiveSSM(w_b, w_c, A=A, W_dn=w_dn, W_up=w_up, dt_bias=rng.standard_normal(d))


@pytest.mark.parametrize("size", [(1, 2), (2, 4), (3, 8)])
def test_log_decay_directions_before_and_after(size):
    rng = np.random.default_rng(1)
    A = -np.exp(rng.standard_normal(size))
    token = rng.standard_normal(size[0])
    before, after = (frozen_spectrum(s6(A, rng), token) for _ in range(2))
    assert isinstance(after, LogDecays)
    assert after.unchanged(before)
    np.testing.assert_allclose(before.directions.max(axis=1), 1)
    moved = A.copy()
    moved[0, -1] *= 1.001
    assert not frozen_spectrum(s6(moved, rng), token).unchanged(before)  # negative twin
    assert frozen_spectrum(s6(3 * A, rng), token).unchanged(before)  # a factor per channel is the clock's


def test_exact_modules_have_directions_too():
    m = SelectiveSSM([[1], [1]], [[1], [1]], dt=1, decay=[["1/2", "1/8"]])
    assert frozen_spectrum(m).unchanged(LogDecays(np.array([[1 / 3, 1.0]]), 1.0))
    assert measured_poles(m) == {F(1, 2): 1, F(1, 8): 1}


def test_rates_and_bases():
    assert rates_explain([F(1, 2), F(1, 4)], [1, 2])
    assert rates_explain([F(1, 8), F(1, 64)], [1, 2])  # another clock, the same ratio
    assert not rates_explain([F(1, 2), F(1, 8)], [1, 2])
    assert not rates_explain([F(1, 4), F(1, 2)], [1, 2])


def test_clocks_by_hand():
    """(1 + 1)^2 = 1 + 3: A = −2, β = 0 is A = −1, β = ln 3; with w ≠ 0 the pair agrees at z = 0 only."""
    first, second = SoftplusClock(F(0), F(1), F(-2)), SoftplusClock(F(0), F(3), F(-1))
    assert same_constant_decay(first, second)
    assert rescaled(first, F(-1)) == second
    assert not clocks_differ(first, second)
    assert clocks_differ(first, replace(second, weight=F(2)))
    moving = [replace(c, w=F(1)) for c in (first, second)]
    assert same_constant_decay(*moving)
    assert separating_token(*moving) not in (None, 0)
    assert clocks_differ(*moving)
    assert not clocks_differ(moving[0], moving[0])
    assert clocks_differ(first, moving[1])  # a constant and a moving clock that agree at z = 0
    assert clocks_differ(moving[0], second)


def test_the_imitation_and_its_limits():
    i = imitation.Imitation(2, (F(2), F(3)), (F(5), F(7)), F(1, 4), (F(1), F(-2), F(3)))
    student, target = imitation.student_outputs(i), imitation.target_outputs(i)
    assert list(student) == list(target)
    assert list(imitation.student_outputs(i, (1, 2))) != list(target)  # negative twin: clocks τ and 2τ
    assert spectrum_frozen.out_of_reach(replace(i, channels=1))
    assert not spectrum_frozen.out_of_reach(i)


def test_independent_rows_are_not_imitated():
    """Two states of one pole each, bases 1/2 and 1/8: the second kernel would have to be the square of the first."""
    two = spectrum_examples.Blocks((F(1, 2), F(1, 8)), (F(1), F(1, 3)))
    first, second = two.state_kernels()
    assert set(minimal_recurrence(first).poles()) == {F(1, 2), F(1, 8)}
    assert set(minimal_recurrence(second).poles()) == {F(1, 4), F(1, 64)}
    target = [F(1, 8) ** j for j in range(len(second))]
    assert second != target


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: minimal_recurrence([]), InvalidInput, "empty"),
        (lambda: minimal_recurrence([0.5]), KindMismatch, "0.5"),
        (lambda: kernel_recurrence([1]), InvalidInput, "shape"),
        (lambda: kernel_recurrence([0, 1, 2, 4, 9]), InvalidInput, "longer kernel"),
        (lambda: annihilates(polynomial_from_modes([1, 2]), [1, 2]), InvalidInput, "2 lags"),
        (lambda: fit_with_frozen_modes([F(1, 2), F(1, 2)], [1, 2], skip=False), InvalidInput, "distinct"),
        (lambda: shortest_refuting_horizon(2, 0, skip=False), InvalidInput, "outside"),
        (lambda: matrix_kernel(S4Layer([LTI(["1/2"], [1], [1])], [[1]]), 3), InvalidInput, "activation"),
        (lambda: rates_explain([F(1, 2)], [1, 2]), InvalidInput, "1 poles and 2 rates"),
        (lambda: SoftplusClock(F(0), F(0), F(-1)), InvalidInput, "weight"),
        (lambda: rescaled(SoftplusClock(F(0), F(1), F(-1)), F(-2)), InvalidInput, "whole number"),
        (lambda: frozen_spectrum([[1, 2]]), InvalidInput, "list"),
        (lambda: frozen_spectrum(layer(["1/2"]), token=[1]), InvalidInput, "token"),
        (lambda: log_decays(SelectiveSSM([[1]], A=[[-1]], dt=1.0), [1.0, 2.0]), InvalidInput, "shape"),
        (lambda: log_decays(SelectiveSSM([[1.0]], A=[[-1000.0]], dt=1.0), [1.0]), (InvalidInput, InvalidSystem), "0"),
        (lambda: LogDecays(np.ones((1, 2)), 1.0).unchanged(LogDecays(np.ones((2, 2)), 1.0)), InvalidInput, "shapes"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_a_pole_of_two_channels_is_one_frozen_pole() -> None:
    """Channels of one layer add up, so a shared mode is a simple pole; a second layer multiplies, and makes it double."""
    layer = S4Layer([LTI(["1/2"], [1], [1]), LTI(["1/2"], [1], [3])], [[1, 2], [3, 5]], None, [1, 1], "linear")
    assert frozen_polynomial(layer).degree() == 1
    assert frozen_polynomial(DeepS4([layer, layer])).degree() == 2


PAIR = (gaussian("1/3", "1/2"), gaussian("1/3", "-1/2"))


@pytest.mark.parametrize("half", [True, False])
def test_complex_modes(half: bool) -> None:
    """S4D's storage: one mode of each pair, or both. Poles are the pair's quadratic x² − 2x/3 + 13/36, at a real mode too."""
    modes, ones = ([PAIR[0], Fraction(1, 4)], [1, 1]) if half else ([*PAIR, Fraction(1, 4)], [1, 1, 1])
    single = S4Layer([LTI(modes, ones, ones, half=half)], [[1]], activation="linear")
    expected = flint.fmpq_poly([flint.fmpq(13, 36), flint.fmpq(-2, 3), 1]) * flint.fmpq_poly([flint.fmpq(-1, 4), 1])
    found = frozen_spectrum(single)
    assert found.polynomial == expected == frozen_polynomial(single) and found.poles() == {Fraction(1, 4): 1} and not found.splits
    assert poles_stayed(single, S4Layer(single.channels, [[3]], activation="linear"))
    moved = S4Layer([LTI([gaussian("1/3", "1/5"), Fraction(1, 4)], [1, 1], [1, 1], half=True)], [[1]], activation="linear")
    assert not poles_stayed(single, moved)
    both = S4Layer([*single.channels, LTI([PAIR[1]], [1], [gaussian(0, 1)], half=True)], [[1, 1], [0, 1]], activation="linear")
    assert frozen_polynomial(both) == expected  # the second channel stores the other mode of the same pair


def test_modes_without_their_conjugate() -> None:
    alone = S4Layer([LTI(PAIR[:1], [1], [1])], [[1]], activation="linear")
    with pytest.raises(InvalidInput, match="lacks its conjugate"):
        frozen_spectrum(alone)
    for ask in (lambda: minimal_recurrence([gaussian(0, 1), 1]), lambda: fit_with_frozen_modes(PAIR, [1, 2], skip=True)):
        with pytest.raises(InvalidInput, match="is not real"):
            ask()


def test_rates_of_floats_are_compared_as_numbers() -> None:
    """0.1³ and 0.001 round to neighbours: the float 0.1 cubed is not the float 0.001, 0.5³ is 0.125."""
    assert rates_explain([0.5, 0.125], [1, 3]) and not rates_explain([0.1, 0.1**3], [1, 3])
