"""The geometry of prefixes: costs on exact and float systems, ranks, dimensions and errors."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction as F
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.core.errors import InvalidInput, InvalidSystem, UnknownName
from theory.core.gramians import hankel_matrix, hankel_singular_values, reachability_gramian
from theory.core.initialisations import initialisation
from theory.core.lti import LTI
from theory.core.scalars import gaussian, imag, real
from theory.core.tolerance import EPS32, EPS64, EPS_BF16, budget

from . import geometry as geo
from . import instances as props

SIMPLE = LTI(["1/2", "1/3"], [1, 1], [1, 2])


@given(props.targets(props.controllable(), enough=True).filter(lambda t: t.tokens <= 5))
def test_float_route_of_cost_and_prefix(target: props.Target) -> None:
    """The float route, on the float version of the very system: costs agree within the certified route's own accuracy."""
    floats = target.system.to("complex128" if target.system.half else "float64")
    h0 = [complex(real(v), imag(v)) if target.system.half else float(v) for v in target.h0]
    again = floats.exactly()
    state = [gaussian(F(v.real), F(v.imag)) if isinstance(v, complex) else F(v) for v in h0]
    exact = geo.prefix_cost_squared(again, state, target.tokens)
    value = geo.prefix_cost_squared(floats, h0, target.tokens)
    if exact == math.inf:
        assert value == math.inf
        return
    assert abs(F(value) - exact) <= F(4 * EPS64) * exact
    prefix = geo.cheapest_prefix(floats, h0, target.tokens)
    assert prefix is not None and prefix.dtype == np.float64 and prefix.shape == (target.tokens,)
    assert float(np.linalg.norm(prefix)) == pytest.approx(math.sqrt(value), rel=budget(64))


@given(props.targets(props.controllable()))
def test_longer_prefixes_are_never_dearer(target: props.Target) -> None:
    costs = [geo.prefix_cost_squared(target.system, list(target.h0), m) for m in range(1, 7)]
    assert all(x >= y for x, y in itertools.pairwise(costs))
    assert costs[-1] >= geo.prefix_cost_squared(target.system, list(target.h0))


def test_the_limit_is_approached_and_not_attained() -> None:
    """a = 1/2, b = 1: cost² after M tokens is (1 − 4^−1)/(1 − 4^−M), whose limit is 3/4."""
    system = LTI(["1/2"], [1], [1])
    for m in (1, 2, 3, 10):
        assert geo.prefix_cost_squared(system, [1], m) == F(3, 4) / (1 - F(1, 4) ** m)
    assert geo.prefix_cost_squared(system, [1]) == F(3, 4)
    assert geo.prefix_cost(system, [1]) == pytest.approx(math.sqrt(0.75), rel=1e-15)
    assert geo.prefix_cost(system.to("float64"), [1.0]) == pytest.approx(math.sqrt(0.75), rel=1e-15)


def test_a_state_out_of_range_costs_infinity() -> None:
    equal = LTI(["1/2", "1/2"], [1, 2], [1, 1])
    assert geo.prefix_cost(equal, [1, 2], 3) < math.inf  # along b
    assert geo.prefix_cost(equal, [1, 1], 3) == math.inf
    assert geo.cheapest_prefix(equal, [1, 1], 3) is None
    dead = LTI(["1/2"], [0], [1])
    assert geo.prefix_cost(dead, [0], 1) == 0.0
    assert geo.prefix_cost(dead, [1], 1) == math.inf and geo.prefix_cost(dead, [1]) == math.inf
    assert geo.prefix_cost(SIMPLE, [1, 0], 1) == math.inf  # two states, one token
    assert geo.prefix_cost(SIMPLE, [3, 3], 1) == 3.0


def test_huge_costs_stay_finite() -> None:
    """At dt = 1e-3 the costliest state of Mamba's channel has norm about 1e42; the exact route takes logarithms."""
    system = initialisation("mamba", 16, 1e-3, seed=0)
    costs = [geo.prefix_cost(system, np.eye(16)[n], 16) for n in range(3)]
    assert all(np.isfinite(costs)) and max(costs) > 1e30
    exact = geo.prefix_cost(system.exactly(), [F(int(n == 0)) for n in range(16)], 16)
    assert costs[0] == pytest.approx(exact, rel=1e-12)
    assert geo.prefix_cost(system, np.eye(16)[0]) < costs[0]


def test_costs_beyond_float64() -> None:
    """80 modes at dt = 1e-4: the norm is about 1e249, its square no float64."""
    system = initialisation("mamba", 80, 1e-4, seed=0)
    state = np.eye(80)[40]
    assert 1e240 < geo.prefix_cost(system, state, 80) < math.inf
    with pytest.raises(InvalidInput, match="exceeds float64"):
        geo.prefix_cost_squared(system, state, 80)


def test_symmetry_under_swapping_input_and_state_scale() -> None:
    """b → s b divides every cost by s."""
    base = geo.prefix_cost(SIMPLE, [1, 0], 3)
    scaled = LTI(SIMPLE.a, 4 * SIMPLE.b, SIMPLE.c)
    assert geo.prefix_cost(scaled, [1, 0], 3) == pytest.approx(base / 4, rel=1e-15)


def test_cost_is_the_gramians_quadratic_form() -> None:
    """Against numpy's solve on a well-conditioned complex system, including conjugates."""
    system = LTI([0.6 + 0.5j, 0.3 - 0.7j], [1 + 1j, 0.5], [1, 1], half=True)
    h = np.array([1 + 2j, -0.5 + 0.3j])
    full = np.concatenate([h, h.conj()])
    for length in (4, 9, None):
        w = reachability_gramian(system, length)
        expected = math.sqrt((full.conj() @ np.linalg.solve(w, full)).real)
        assert geo.prefix_cost(system, h, length) == pytest.approx(expected, rel=budget(16, float(np.linalg.cond(w))))


def test_symbolic_systems_are_refused() -> None:
    symbolic = SIMPLE.to("symbolic")
    with pytest.raises(InvalidInput, match="substitute"):
        geo.prefix_cost(symbolic, [1, 0], 2)
    with pytest.raises(InvalidInput, match="substitute"):
        geo.reachability_rank(symbolic, 2)


@pytest.mark.parametrize("length", [0, -1, True, 2.0, "3"])
def test_lengths(length: Any) -> None:
    for call in (geo.prefix_cost, geo.prefix_cost_squared, geo.cheapest_prefix):
        with pytest.raises(InvalidInput, match="length"):
            call(SIMPLE, [1, 0], length)
    with pytest.raises(InvalidInput, match="length"):
        geo.reachability_rank(SIMPLE, length)


def test_wrong_states() -> None:
    with pytest.raises(InvalidInput, match="N = 2"):
        geo.prefix_cost(SIMPLE, [1], 2)
    with pytest.raises(InvalidInput, match="not finite"):
        geo.prefix_cost(SIMPLE.to("float64"), [float("nan"), 0.0], 2)


def test_infinite_length_of_an_unstable_system() -> None:
    unstable = LTI([2], [1], [1], check_stable=False)
    assert geo.prefix_cost(unstable, [4], 1) == 4.0
    with pytest.raises(InvalidSystem, match="any length"):
        geo.prefix_cost(unstable, [4])


# -- dimensions ------------------------------------------------------------------------------------------------------------


@given(st.floats(0, 0.99), st.integers(0, 50))
def test_dimension_is_the_count_of_singular_values(eps: float, seed: int) -> None:
    system = initialisation("mamba", 6, 1e-1, seed=seed)
    values = hankel_singular_values(system)
    assert geo.effective_prefix_dimension(system, eps) == int(np.sum(values > eps * values[0]))


def test_dimension_at_the_edges() -> None:
    system = initialisation("mamba", 16, 1e-2, seed=0)
    assert geo.effective_prefix_dimension(system, 0) == 16
    assert geo.effective_prefix_dimension(system, 0.9999) == 1
    spectrum = hankel_singular_values(system)
    ratio = F(float(spectrum[3] / spectrum[0]))  # σ_4 against its own ratio, rounded down and up
    assert geo.effective_prefix_dimension(system, ratio * (1 - F(1, 2**48))) == 4
    assert geo.effective_prefix_dimension(system, ratio * (1 + F(1, 2**48))) == 3
    tied = LTI(["1/2", "-1/2"], [1, 1], [1, F(2, 7)])  # σ = 64/105 and 2/15, whose ratio is 7/32
    assert geo.effective_prefix_dimension(tied, F(7, 32)) == 1  # a number does not exceed itself
    assert geo.effective_prefix_dimension(tied, F(7, 32) - F(1, 10**300)) == 2
    assert geo.effective_prefix_dimension(LTI(["1/2"], [0], [1]), 0.1) == 0  # the Hankel operator is 0


def test_dimension_shrinks_with_the_format() -> None:
    """bf16's spacing is coarser than float32's: fewer directions; N states never exceeded."""
    for name in ("mamba", "s4d_lin", "s4d_inv", "s4d_legs"):
        system = initialisation(name, 16, 1e-2)
        coarse, fine = (geo.effective_prefix_dimension(system, e) for e in (EPS_BF16, EPS32))
        assert 1 <= coarse <= fine <= 16


@pytest.mark.parametrize("eps", [1.0, -0.1, 2.0])
def test_eps_must_be_a_fraction(eps: float) -> None:
    with pytest.raises(InvalidInput, match="eps"):
        geo.effective_prefix_dimension(SIMPLE, eps)


def test_eps_nan_is_refused() -> None:
    with pytest.raises(InvalidInput, match="eps"):
        geo.effective_prefix_dimension(SIMPLE, float("nan"))


def test_dimension_needs_stability() -> None:
    with pytest.raises(InvalidSystem, match="Hankel"):
        geo.effective_prefix_dimension(LTI([1], [1], [1], check_stable=False), 0.1)


def test_the_kolmogorov_width_is_the_next_singular_value() -> None:
    """Best 2-dimensional space of outputs: the farthest output of the unit ellipsoid is σ_3 away, any other space is worse."""
    system = LTI(["1/2", "-1/3", "1/5"], [1, 2, 1], [1, -1, 3])
    h = hankel_matrix(system, 12, 12).astype(float)
    u, s, _ = np.linalg.svd(h)
    best = h - u[:, :2] @ (u[:, :2].T @ h)
    assert np.linalg.norm(best, 2) == pytest.approx(s[2], rel=1e-9)
    rng = np.random.default_rng(0)
    for _ in range(20):
        q, _ = np.linalg.qr(rng.standard_normal((12, 2)))
        assert np.linalg.norm(h - q @ (q.T @ h), 2) >= s[2] * (1 - 1e-12)


# -- ranks and tables ------------------------------------------------------------------------------------------------------


def test_ranks() -> None:
    system = initialisation("mamba", 16, 1e-3)
    assert [geo.reachability_rank(system, 16, p) for p in geo.PRECISIONS] == [16, 7, 3]
    assert geo.reachability_rank(system, 2, "exact") == 2
    lin = initialisation("s4d_lin", 16, 1e-2)
    assert geo.reachability_rank(lin, 16, "exact") == 15  # the n = 0 mode is real and stored as a pair
    with pytest.raises(InvalidInput, match="choose exact, float64, float32"):
        geo.reachability_rank(system, 16, "bf16")


def test_exact_rank_of_complex_rationals() -> None:
    pair = LTI([gaussian("1/2", "1/2"), gaussian("1/2", "1/2")], [1, gaussian(0, 1)], [1, 1], half=True)
    assert geo.reachability_rank(pair, 4) == 2  # equal modes in each half
    assert geo.reachability_rank(pair.replace(a=[gaussian("1/2", "1/2"), gaussian("1/3", "1/2")]), 4) == 4


def test_rows_and_tables() -> None:
    rows = geo.finite_precision_table(8, dts=(1e-2,), names=("mamba", "s4d_lin"), seeds=(0, 1))
    assert [(r["initialisation"], r["dt"]) for r in rows] == [("mamba", 1e-2), ("s4d_lin", 1e-2)]
    for row in rows:
        assert row["states"] == 8 and len(row["sigma"]) == 8
        low, high = row["dimension_1e-3"]
        assert 1 <= low <= high <= 8
        assert row["dimension_bfloat16"][0] <= row["dimension_float32"][0]
    with pytest.raises(InvalidInput, match="seeds is empty"):
        geo.finite_precision_row("mamba", 8, 1e-2, seeds=())
    with pytest.raises(UnknownName, match="mamba"):
        geo.finite_precision_row("mambo", 8, 1e-2)


def test_cost_of_long_prefixes_of_exact_channels() -> None:
    """10^9 tokens: no rational of 10^9 digits is formed, and the cost is that of infinitely many to float64's precision."""
    system = LTI(["1/2", "1/3"], [1, 1], [1, 1])
    assert geo.prefix_cost(system, [1, 2], 10**9) == geo.prefix_cost(system, [1, 2])
    assert geo.prefix_cost(system, [1, 2], 2) > geo.prefix_cost(system, [1, 2], 3) > geo.prefix_cost(system, [1, 2], 10**9)
    for length in (1, 2, 3, 7):
        squared = geo.prefix_cost_squared(system, [1, 2], length)
        assert geo.prefix_cost(system, [1, 2], length) == (
            math.inf if squared == math.inf else pytest.approx(float(squared) ** 0.5)
        )


def test_ranks_beyond_a_format_are_refused() -> None:
    """Infinite entries have no rank: 1e300 in float32, 1e200^2 in float64. The exact rank is 1."""
    large, growing = LTI([0.5], [1e300], [1.0]), LTI([1e200], [1.0], [1.0], check_stable=False)
    for system, precision in ((large, "float32"), (growing, "float64"), (growing, "float32")):
        with pytest.raises(InvalidInput, match=f"beyond {precision}"):
            geo.reachability_rank(system, 3, precision)
        assert geo.reachability_rank(system, 3) == 1
    assert geo.reachability_rank(large, 3, "float64") == 1
