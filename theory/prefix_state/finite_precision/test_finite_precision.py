"""prefix_state.finite_precision: the ellipsoids, the cost of a state, and the slips that must be caught."""

from __future__ import annotations

import math
from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.conftest import GLANCE
from theory.core.gramians import hankel_matrix, observability_gramian, reachability_condition, reachability_gramian
from theory.core.initialisations import initialisation
from theory.core.lti import LTI
from theory.core.scalars import gaussian, is_zero
from theory.core.strategies import real_lti
from theory.verification.claim import Assumption, Profile, Verdict

from . import claim as fp
from . import instances as props
from .geometry import cheapest_prefix, effective_prefix_dimension, prefix_cost_squared

PAIR = LTI([gaussian("1/2", "1/2")], [gaussian(1, 1)], [1], half=True)


@given(props.recipes())
def test_prefixes_and_states_fill_the_ellipsoids(recipe: props.Recipe) -> None:
    props.check_hankel_factorisation(recipe)
    props.check_prefix_axes(recipe)
    props.check_state_axes(recipe)


@given(props.recipes())
def test_closed_forms(recipe: props.Recipe) -> None:
    props.check_limits(recipe)


@given(props.targets())
def test_cheapest_prefix(target: props.Target) -> None:
    props.check_cheapest_prefix(target)


@given(props.targets(props.controllable()))
def test_cost_over_all_lengths(target: props.Target) -> None:
    props.check_cost_of_any_length(target)


@pytest.mark.parametrize("assumption", fp.ASSUMPTIONS, ids=lambda a: a.name)
def test_assumptions(assumption: Assumption) -> None:
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED


# -- negative twins --------------------------------------------------------------------------------------------------------


@given(props.recipes(real_lti(max_states=3)))
def test_twin_one_token_more_is_another_ellipsoid(recipe: props.Recipe) -> None:
    """Wc(M + 1) is not Wc(M): the axes of M tokens are caught when a power is shifted."""
    longer = reachability_gramian(recipe.system, recipe.tokens + 1) @ observability_gramian(recipe.system, recipe.length)
    h = props.measured_hankel(recipe.system, recipe.length, recipe.tokens)
    # the trace grows by the energy of the extra column a^M b seen through Wo, which nothing cancels
    column = props.measured_hankel(recipe.system, recipe.length, recipe.tokens + 1)[:, -1]
    traces = sum(longer.diagonal()) - sum((h @ h.T).diagonal())
    assert traces == sum(v * v for v in column)
    assert props._same_spectrum(h @ h.T, longer) == all(is_zero(v) for v in column)


@given(props.recipes(real_lti(max_states=3)))
def test_twin_swapping_b_and_c_moves_the_states_ellipsoid(recipe: props.Recipe) -> None:
    """The Hankel operator cannot tell b from c (σ agree), but the states' ellipsoid and the costs can."""
    system = recipe.system
    swapped = system.replace(b=system.c, c=system.b)
    assert props._equal(hankel_matrix(system, 3, 3), hankel_matrix(swapped, 3, 3))
    measured = props.measured_states(system, recipe.length)
    differs = sum((x * x - y * y) * a * a for x, y, a in zip(system.b, system.c, system.a, strict=True)) != 0
    if recipe.length == 1:
        assert props._same_spectrum(measured, observability_gramian(swapped, 1)) != differs


@given(props.recipes(first_output=0))
def test_twin_textbook_timing_is_caught(recipe: props.Recipe) -> None:
    """Wo from c·h_0 on: tr grows by Σ|c_n|², so the axes agree only for c = 0."""
    full = recipe.system.closed()
    wo = observability_gramian(recipe.system, recipe.length, first_output=0)
    same = props._same_spectrum(props.measured_states(recipe.system, recipe.length), wo)
    assert same == all(is_zero(v) for v in full.c)


@given(props.targets(props.controllable(), enough=True), st.integers(0, 5))
def test_twin_a_perturbed_prefix_leaves_another_state_or_costs_more(target: props.Target, where: int) -> None:
    x = cheapest_prefix(target.system, list(target.h0), target.tokens)
    assert x is not None
    cost = prefix_cost_squared(target.system, list(target.h0), target.tokens)
    other = x.copy()
    other[where % other.size] += 1
    same = all(is_zero(p - q) for p, q in zip(target.system.run(other)[1], target.h0, strict=True))
    assert not same  # b ≠ 0 and no mode is 0: a single token always moves the state
    assert cost == sum(v * v for v in x)
    shifted = [F(0), *x[:-1]] if x.size > 1 else [x[0] + 1]
    left = target.system.run(shifted)[1]
    assert list(shifted) == list(x) or not all(is_zero(p - q) for p, q in zip(left, target.h0, strict=True))


def test_twin_costs_are_not_the_norm_squared() -> None:
    """h* Wc⁻¹ h is the squared norm: 16/9, not 4/3, of the least norm 4/3."""
    system = LTI(["1/2"], ["3/4"], [1])
    assert prefix_cost_squared(system, [1], 1) == F(16, 9)
    assert fp.prefix_cost(system, [1], 1) == pytest.approx(4 / 3, rel=1e-15)


# -- worked examples -------------------------------------------------------------------------------------------------------


def test_two_modes_by_hand() -> None:
    """a = (1/2, 1/3), b = c = 1, M = L = 2: every number of the README's example."""
    system = LTI(["1/2", "1/3"], [1, 1], [1, 1])
    h = hankel_matrix(system, 2, 2)
    assert h.tolist() == [[F(5, 6), F(13, 36)], [F(13, 36), F(35, 216)]]
    wc, wo = reachability_gramian(system, 2), observability_gramian(system, 2)
    assert wc.tolist() == [[F(5, 4), F(7, 6)], [F(7, 6), F(10, 9)]]
    assert wo.tolist() == [[F(5, 16), F(7, 36)], [F(7, 36), F(10, 81)]]
    assert sum((wc @ wo).diagonal()) == sum((h @ h.T).diagonal())
    # h_0 = (1, 0) needs x_0 + x_{−1}/2 = 1 and x_0 + x_{−1}/3 = 0: x = (6, −2), cost² = 40
    prefix = cheapest_prefix(system, [1, 0], 2)
    assert prefix is not None and prefix.tolist() == [F(6), F(-2)]
    assert prefix_cost_squared(system, [1, 0], 2) == 40
    # Wc = [[4/3, 6/5], [6/5, 9/8]]: (Wc⁻¹)_11 = (9/8)/(3/2 − 36/25) = 75/4
    assert prefix_cost_squared(system, [1, 0]) == F(75, 4)


def test_a_conjugate_pair_by_hand() -> None:
    """a = (1 ± i)/2, b = 1 ± i, c = 1: o_1 = 2 Re(a b x) = 2 Re(i) x = 0, so H = 0 for M = L = 1."""
    h = hankel_matrix(PAIR, 1, 1)
    assert h.tolist() == [[F(0)]]
    product = reachability_gramian(PAIR, 1) @ observability_gramian(PAIR, 1)
    assert is_zero(sum(product.diagonal()))
    wrong = reachability_gramian(PAIR, 1) @ props.wo_by_recipe(props.Recipe(PAIR, 1, 1, conjugate_first=False))
    assert not is_zero(sum(wrong.diagonal()))


def test_conjugate_pair_needs_two_real_tokens() -> None:
    assert prefix_cost_squared(PAIR, [gaussian(1, 0)], 1) == math.inf
    assert prefix_cost_squared(PAIR, [gaussian(1, 1)], 1) == 1  # b itself
    assert prefix_cost_squared(PAIR, [gaussian(1, 0)], 2) < math.inf


def test_infinite_length_needs_decay() -> None:
    """a = 1 has no limit; with a = 1, M tokens of 1/M leave h = 1, so the cost tends to 0 and no prefix attains it."""
    integrator = LTI([1], [1], [1], check_stable=False)
    costs = [prefix_cost_squared(integrator, [1], m) for m in (1, 2, 10)]
    assert costs == [1, F(1, 2), F(1, 10)]


def test_mamba_condition_and_ranks() -> None:
    """Documented figures at dt = 1e-3, 16 tokens: condition 1.9e42; rank 16 exact, 7 in float64, 3 in float32."""
    row = fp.finite_precision_row("mamba", 16, 1e-3)
    assert row["rank"] == {"exact": 16, "float64": 7, "float32": 3}
    assert row["condition"] == pytest.approx(1.9e42, rel=0.03)
    assert fp.finite_precision_row("mamba", 16, 1e-2)["condition"] == pytest.approx(2.4e27, rel=0.03)
    euler, zoh = (
        LTI.from_continuous(-np.arange(1.0, 17.0), np.ones(16), np.ones(16), 0.1, discretization=rule)
        for rule in ("mamba", "zoh")
    )
    assert reachability_condition(euler, 16) == pytest.approx(4.2e15, rel=0.03)
    assert reachability_condition(zoh, 16) == pytest.approx(5.4e15, rel=0.03)


def test_number_of_directions() -> None:
    counts = {s: effective_prefix_dimension(initialisation("mamba", 16, 1e-2, seed=s), 1e-3) for s in (0, 16, 167)}
    assert counts == {0: counts[0], 16: 5, 167: 2} and 3 <= counts[0] <= 5
    with_zero = effective_prefix_dimension(initialisation("mamba", 16, 1e-2, seed=0), 0.0)
    assert with_zero == 16  # every direction exists exactly
    assert effective_prefix_dimension(initialisation("mamba", 16, 1e-2, seed=0), 1e-3, prefix_length=2) == 2


def test_claim_at_a_glance() -> None:
    outcomes = [c.run(Profile("tiny", 6)) for c in fp.CLAIM.checks]
    parts = {c.part for c in fp.CLAIM.checks if c.part}
    assert parts == {"ellipsoids and cost", "Hankel operator", "closed forms", "least dimension"}
    assert {o.verdict for o in outcomes} == {Verdict.EXACT, Verdict.NUMERIC}
