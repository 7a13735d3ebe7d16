"""prefix_state.input_independent: the risk, its floor, the optima, and the slips that must be caught."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.conftest import GLANCE, share
from theory.core.errors import InvalidInput, InvalidSystem, KindMismatch
from theory.core.initialisations import initialisation
from theory.core.lti import LTI
from theory.core.scalars import gaussian
from theory.core.strategies import rationals, real_lti
from theory.core.tolerance import budget
from theory.verification.claim import Assumption, Profile, Verdict

from . import claim as claim
from . import instances as props
from .risk_floor import risk_per_step, state_tuning_risk_floor

FEW = share(0.5)  # each instance enumerates every input sequence

HALF = LTI(["1/2"], [1], [1])
DOUBLE = LTI(["1/2"], [1], [2])


@given(props.scenarios())
@FEW
def test_risk_formula(s: props.Scenario) -> None:
    props.check_risk_formula(s)


@given(props.scenarios())
@FEW
def test_optimum_over_states(s: props.Scenario) -> None:
    props.check_optimum(s)


@given(props.scenarios())
@FEW
def test_optimum_over_prefixes(s: props.Scenario) -> None:
    props.check_prefix_optimum(s)


@given(props.scenarios(centred=True))
@FEW
def test_zero_mean_gains_nothing(s: props.Scenario) -> None:
    props.check_zero_mean(s)


@pytest.mark.parametrize("assumption", claim.ASSUMPTIONS, ids=lambda a: a.name)
def test_assumptions(assumption: Assumption) -> None:
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED


# -- negative twins --------------------------------------------------------------------------------------------------------


@given(props.scenarios(), rationals(2, nonzero=True))
@FEW
def test_twin_another_skip_is_another_risk(s: props.Scenario, by: F) -> None:
    """d − d* belongs to Δ_0: Δ_0 + δ moves the risk at t = 1 by (σ² + μ²)(2 Δ_0 δ + δ²)."""
    other = replace(s, teacher=s.teacher.replace(d=s.teacher.d - by))
    before, after = props.measured_risk(s), props.measured_risk(other)
    delta = s.system.kernel(1)[0] + s.system.d - s.teacher.kernel(1)[0] - s.teacher.d
    assert after[0] - before[0] == (s.var + s.mean**2) * (2 * delta * by + by * by)
    predicted = risk_per_step(other.system, other.teacher, s.mean, s.var, s.length)
    assert list(predicted) == after


@given(real_lti(max_states=3), real_lti(max_states=2), rationals(2, nonzero=True))
def test_twin_a_shifted_sum_is_caught(system: LTI, teacher: LTI, mean: F) -> None:
    """The sums run over j < t: with j ≤ t every term is one kernel entry too large."""
    found = state_tuning_risk_floor(system, teacher, mean, 1, 3)
    delta = [p - q for p, q in zip(system.kernel(4), teacher.kernel(4), strict=True)]
    shifted = [sum(d * d for d in delta[: t + 1]) for t in (1, 2, 3)]
    right = [sum(d * d for d in delta[:t]) for t in (1, 2, 3)]
    assert list(found.floor_per_step) == right
    assert (list(found.floor_per_step) == shifted) == all(d == 0 for d in delta[1:])
    assert list(found.gap) == [mean * sum(delta[:t]) for t in (1, 2, 3)]


@given(real_lti(max_states=2), st.integers(0, 2))
def test_twin_states_start_at_the_first_power(system: LTI, more: int) -> None:
    """A gap v_t = −Σ w_n λ_n^t has the unique answer h_0 = w/c; counting powers from λ^0 would give λ w/c, w/(c λ) the reverse.

    k* + d* = k + Σ w_n (λ_n − 1) λ_n^j with Σ w_n added to the skip makes μ Σ_{j<t} Δ_j that gap for μ = 1.
    """
    n, length = system.n_states, system.n_states + more
    w = np.array([F(i + 1) for i in range(n)], dtype=object)
    teacher = LTI([*system.a, *system.a], [*system.b, *[1] * n], [*system.c, *(w * (system.a - 1))], sum(w))
    found = state_tuning_risk_floor(system, teacher, 1, 0, length)
    assert list(found.gap) == [-sum(w * system.a**t) for t in range(1, length + 1)]
    assert found.floor == found.optimum == 0
    assert list(found.h0) == list(w / system.c)
    for shifted in (w * system.a / system.c, w / system.a / system.c):
        assert sum(risk_per_step(system, teacher, 1, 0, length, shifted)) > 0


def test_twin_b_and_c_cannot_be_swapped() -> None:
    """The optimum sees c b only, the state that attains it sees c: h_0 = 14/5 for c = 1, 7/5 for c = 2."""
    swapped = state_tuning_risk_floor(LTI(["1/2"], ["1/2"], [2]), DOUBLE, 1, 0, 2)
    assert swapped.optimum == F(4, 5) and swapped.h0.tolist() == [F(7, 5)]


# -- worked examples -------------------------------------------------------------------------------------------------------


def test_residual_by_hand() -> None:
    """a = 1/2, r = 1, r* = 2, μ = 1, L = 2: v = −(1, 3/2), o = h(1/2, 1/4): h = 14/5, residual 4/5; floor 9/4 at σ² = 1."""
    still = state_tuning_risk_floor(HALF, DOUBLE, 1, 0, 2, prefix_length=1)
    assert (still.floor, still.optimum, still.untuned) == (0, F(4, 5), F(13, 4))
    assert still.h0.tolist() == [F(14, 5)] and still.prefix is not None and still.prefix.tolist() == [F(14, 5)]
    assert still.gap == (-1, F(-3, 2))
    moving = state_tuning_risk_floor(HALF, DOUBLE, 1, 1, 2)
    assert moving.floor_per_step == (1, F(5, 4))
    assert moving.floor == F(9, 4) and moving.optimum == F(9, 4) + F(4, 5) and moving.mean_optimum == F(61, 40)
    assert moving.h0.tolist() == [F(14, 5)]
    assert (moving.mean_floor, moving.mean_untuned, moving.mean_prefix_optimum) == (F(9, 8), F(11, 4), None)


def test_zero_mean_by_hand() -> None:
    found = state_tuning_risk_floor(HALF, DOUBLE, 0, 1, 2)
    assert found.floor == found.optimum == found.untuned == F(9, 4) and found.h0.tolist() == [0]


def test_short_horizons_are_matched() -> None:
    """L ≤ n_obs: every gap is a state's response, so the optimum is the floor; a prefix of one token need not manage."""
    system = LTI(["1/2", "-1/2"], [1, 1], [1, 1])  # k_1 = 0: one token adds nothing at t = 1
    found = state_tuning_risk_floor(system, DOUBLE, 1, 1, 2, prefix_length=1)
    assert found.optimum == found.floor
    one = state_tuning_risk_floor(system, HALF, 1, 1, 1, prefix_length=1)
    assert one.prefix_optimum == one.untuned > one.optimum
    as_float = state_tuning_risk_floor(system.to("float64"), HALF.to("float64"), 1.0, 1.0, 1, prefix_length=1)
    assert as_float.prefix_optimum == as_float.untuned and as_float.condition is None


def test_an_unmatched_residue_narrows_the_prefix_only() -> None:
    """b_2 = 0: mode 1/3 is a direction of states but of no prefix, however long."""
    system = LTI(["1/2", "1/3"], [1, 0], [1, 1])
    found = state_tuning_risk_floor(system, LTI(["1/3"], [1], [1]), 1, 0, 4, prefix_length=5)
    alone = state_tuning_risk_floor(HALF, LTI(["1/3"], [1], [1]), 1, 0, 4, prefix_length=5)
    assert found.optimum < found.prefix_optimum == alone.prefix_optimum == alone.optimum


def test_no_direction_at_all() -> None:
    """A system that shows no mode: the optimum is the untuned risk, prefixes are zero."""
    dead = LTI([0], [1], [1])
    for system, one in ((dead, 1), (dead.to("float64"), 1.0)):
        found = state_tuning_risk_floor(system, DOUBLE.to(system.kind), one, one, 3, prefix_length=2)
        assert found.optimum == found.prefix_optimum == found.untuned
        assert found.prefix is not None and found.prefix.tolist() == [0, 0] and found.h0.tolist() == [0]


def test_conjugate_pairs_stored_by_halves_or_in_full() -> None:
    """The same real system in both storages: one optimum, each with a state that attains it."""
    a, b, c = gaussian("1/2", "1/2"), gaussian(1, 2), gaussian(1, -1)
    half = LTI([a, F(1, 3)], [b, 1], [c, gaussian(0, 1)], half=True)
    full = half.closed()
    for system in (half, full):
        found = state_tuning_risk_floor(system, DOUBLE, 1, 1, 6, prefix_length=3)
        assert found.optimum == sum(risk_per_step(system, DOUBLE, 1, 1, 6, found.h0)) < found.untuned
        assert found.optimum == state_tuning_risk_floor(half, DOUBLE, 1, 1, 6).optimum
        assert found.prefix is not None
        left = system.run(found.prefix)[1]
        assert found.prefix_optimum == sum(risk_per_step(system, DOUBLE, 1, 1, 6, left))


# -- floats ----------------------------------------------------------------------------------------------------------------


@given(real_lti(max_states=3), real_lti(max_states=2), rationals(2), st.integers(1, 6))
@FEW
def test_floats_agree_with_rationals(system: LTI, teacher: LTI, skip: F, length: int) -> None:
    """The same binary numbers through balls and through Fractions, skips included."""
    s, t = system.replace(d=skip).to("float64"), teacher.replace(d=F(1, 3)).to("float64")
    rough = state_tuning_risk_floor(s, t, 0.75, 1.25, length, prefix_length=2)
    exact = state_tuning_risk_floor(s.exactly(), t.exactly(), F(3, 4), F(5, 4), length, prefix_length=2)
    size = 2 + abs(s.d) + sum(abs(float(x)) for x in [*s.kernel(length), *t.kernel(length)])
    allowed = budget(length) * size**2 * length
    for name in ("floor", "optimum", "prefix_optimum", "untuned"):
        assert abs(getattr(rough, name) - float(getattr(exact, name))) <= allowed, name
    response = s.exactly().free_response([F(x) for x in rough.h0], length)
    wanted = system_response(s, exact.h0, length)
    grow = max([1.0, *(abs(float(x)) for x in exact.h0)])
    assert max(abs(float(p) - q) for p, q in zip(response, wanted, strict=True)) <= allowed * grow


def system_response(system: LTI, h0: np.ndarray, length: int) -> list[float]:
    """Free response of the exact numbers, as floats."""
    return [float(x) for x in system.exactly().free_response(h0, length)]


def test_ill_conditioned_optima_are_still_right() -> None:
    """Mamba at dt = 1e-3: the condition is beyond float64, the risk is not; Fractions say the same."""
    system, teacher = (initialisation("mamba", 8, 1e-3, seed=s) for s in (0, 1))
    rough = state_tuning_risk_floor(system, teacher, 1.0, 1.0, 20, prefix_length=4)
    exact = state_tuning_risk_floor(system.exactly(), teacher.exactly(), F(1), F(1), 20, prefix_length=4)
    assert rough.condition is not None and rough.condition > 1 / np.finfo(float).eps
    for name in ("floor", "optimum", "prefix_optimum"):
        assert getattr(rough, name) == pytest.approx(float(getattr(exact, name)), rel=budget(20))
    assert exact.floor < exact.optimum < exact.prefix_optimum
    # pinning the excess itself, far below float64's resolution of the sum
    assert 0 < exact.optimum - exact.floor < exact.floor * F(1, 10**16)


def test_float_pairs_and_skips() -> None:
    """Half storage in floats, L beyond the modes: balls against Fractions."""
    system = LTI([0.5 + 0.5j, 0.25], [1.0, 2.0j], [1.0 - 1.0j, 1.0j], 0.75, half=True)
    teacher = LTI([0.5], [1.0], [2.0], -0.5)
    rough = state_tuning_risk_floor(system, teacher, 1.5, 0.5, 7, prefix_length=2)
    exact = state_tuning_risk_floor(system.exactly(), teacher.exactly(), F(3, 2), F(1, 2), 7, prefix_length=2)
    for name in ("floor", "optimum", "prefix_optimum", "untuned"):
        assert getattr(rough, name) == pytest.approx(float(getattr(exact, name)), rel=budget(7))
    assert sum(risk_per_step(system, teacher, 1.5, 0.5, 7, rough.h0)) == pytest.approx(rough.optimum, rel=budget(7, 10.0))


def test_condition_is_that_of_the_responses() -> None:
    """‖S‖_F ‖S⁺‖_F for columns λ^t, by numpy."""
    system = LTI([0.9, -0.5], [1.0, 2.0], [3.0, 4.0])
    found = state_tuning_risk_floor(system, DOUBLE.to("float64"), 1.0, 1.0, 10, prefix_length=7)
    s = np.array([system.a**t for t in range(1, 11)])
    assert found.condition == pytest.approx(np.linalg.norm(s) * np.linalg.norm(np.linalg.pinv(s)), rel=1e-12)
    k = system.kernel(12)
    hankel = np.array([[k[t + m] for m in range(2)] for t in range(1, 11)])
    assert found.prefix_condition == pytest.approx(np.linalg.norm(hankel) * np.linalg.norm(np.linalg.pinv(hankel)), rel=1e-10)
    assert found.prefix is not None and found.prefix.shape == (7,) and not found.prefix[:5].any() and found.prefix[5:].all()


def test_equal_channels_and_silence_give_zero() -> None:
    for var in (0.0, 1.0):
        same = state_tuning_risk_floor(HALF.to("float64"), HALF.to("float64"), 1.0, var, 5, prefix_length=1)
        assert same.floor == same.optimum == same.prefix_optimum == same.untuned == 0
    silent = state_tuning_risk_floor(HALF.to("float64"), DOUBLE.to("float64"), 0.0, 0.0, 5, prefix_length=1)
    assert silent.untuned == 0 and silent.h0.tolist() == [0]


# -- bad input -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"var": -1}, InvalidInput, "var = -1 is negative"),
        ({"mean": 0.5}, KindMismatch, "mean"),
        ({"mean": gaussian(0, 1)}, InvalidInput, "must be real"),
        ({"length": 0}, InvalidInput, "length = 0"),
        ({"prefix_length": 0}, InvalidInput, "prefix_length = 0"),
        ({"system": "mamba"}, InvalidInput, "system: expected an LTI channel"),
        ({"teacher": HALF.to("float64")}, KindMismatch, "mixed"),
        ({"system": HALF.to("symbolic"), "teacher": HALF.to("symbolic")}, InvalidInput, "symbols"),
        ({"system": LTI([gaussian(0, "1/2")], [1], [1])}, InvalidSystem, "no conjugate partner"),
    ],
)
def test_bad_input(change: dict, error: type, says: str) -> None:
    arguments = {"system": HALF, "teacher": DOUBLE, "mean": 1, "var": 1, "length": 2} | change
    with pytest.raises(error, match=says):
        state_tuning_risk_floor(**arguments)


def test_bad_floats_and_states() -> None:
    with pytest.raises(InvalidInput, match="var"):
        state_tuning_risk_floor(HALF.to("float64"), HALF.to("float64"), 1.0, math.nan, 2)
    with pytest.raises(InvalidInput, match="h0 has shape"):
        risk_per_step(HALF, DOUBLE, 1, 1, 2, [1, 2])


def test_minimum_of_quadratic() -> None:
    """(x − 1)² + (x + y)²/2 + 3, and a flat direction."""
    assert props.minimum_of_quadratic(lambda w: (w[0] - 1) ** 2 + (w[0] + w[1]) ** 2 / 2 + 3, 2) == 3
    assert props.minimum_of_quadratic(lambda w: (w[0] + w[1] - 2) ** 2 / 3, 2) == 0
    assert props.minimum_of_quadratic(lambda w: F(7), 0) == 7


def test_laws() -> None:
    dependent = props.common_amplitude(1, (1, 2), 2)
    assert sum(p for p, _ in dependent) == 1
    assert props.expectation(dependent, lambda x: x[0] * x[1]) == 1  # uncorrelated: E x_1 x_2 = μ²
    square = props.expectation(dependent, lambda x: (x[0] - 1) ** 2 * (x[1] - 1) ** 2)
    assert square != props.expectation(dependent, lambda x: (x[0] - 1) ** 2) ** 2  # but not independent
    assert props.expectation(props.two_point((0, 1), F(1, 4), 2), lambda x: x[0]) == F(3, 4)


def test_claim_at_a_glance() -> None:
    outcomes = [c.run(Profile("tiny", 8)) for c in claim.CLAIM.checks]
    parts = {c.part for c in claim.CLAIM.checks if c.part}
    assert parts == {"risk and optimum", "optimum over states", "optimum over prefixes", "zero mean"}
    assert {o.verdict for o in outcomes} == {Verdict.EXACT, Verdict.NUMERIC}


def test_risks_of_floats_are_those_of_their_rationals() -> None:
    """Residues that cancel in floats, risks beyond float64, and states whose outputs are complex."""
    student, teacher = LTI([0.5, 0.5], [0.1, 0.3], [3.0, -1.0]), LTI([0.5], [0.0], [0.0])
    exact = risk_per_step(student.exactly(), teacher.exactly(), 1, 1, 3)
    assert [float(x) for x in exact] == list(risk_per_step(student, teacher, 1.0, 1.0, 3)) and all(x > 0 for x in exact)
    huge = LTI([0.5], [1.0], [1e200])
    for ask in (risk_per_step, state_tuning_risk_floor):
        with pytest.raises(InvalidInput, match="float64's range"):
            ask(huge, teacher, 0.5, 0.0, 3)
    assert state_tuning_risk_floor(huge.exactly(), teacher.exactly(), F(1, 2), 0, 3).untuned > 10**399
    one = LTI(["1/2"], [1], [1])
    with pytest.raises(InvalidInput, match="complex output"):
        risk_per_step(one, one, 1, 1, 3, [gaussian(0, 1)])
