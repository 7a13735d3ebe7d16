"""prefix_state.input_independent: a state adds the same whatever the inputs are, so a wrong kernel leaves a floor."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product
from typing import Any

import numpy as np
import sympy
from hypothesis import strategies as st

from theory.core.initialisations import DT_GRID, INITIALISATIONS, initialisation
from theory.core.lti import LTI
from theory.core.scalars import Array
from theory.core.strategies import rationals, vectors
from theory.core.tolerance import MONTE_CARLO_SIGMAS, budget
from theory.verification.claim import (
    Assumption,
    Check,
    Claim,
    Counterexample,
    Outcome,
    Part,
    Planted,
    Profile,
    Verdict,
    exact_check,
)
from theory.verification.planted import changed, swap
from theory.verification.refutation import existing, require

from .instances import (
    Law,
    Scenario,
    check_optimum,
    check_prefix_optimum,
    check_risk_formula,
    check_zero_mean,
    expectation,
    formulas_hold,
    scenarios,
)
from .risk_floor import StateTuningRisk, risk_per_step, state_tuning_risk_floor

__all__ = ["CLAIM", "StateTuningRisk", "risk_per_step", "state_tuning_risk_floor"]


def expected_square(delta: Any, mu: Any, var: Any, o: Any) -> Any:
    """σ² Σ Δ_j² + (μ Σ Δ_j + o)²: the risk at one step."""
    return var * sum(d**2 for d in delta) + (mu * sum(delta) + o) ** 2


def prove_symbolically(_: Profile) -> Outcome:
    """E(ΣΔ_j x_{t−j} + o)² from the moments (t ≤ 4), and the completed square of the least-squares problem (L = 2, 3)."""
    mu, var, o = sympy.symbols("mu sigma2 o", real=True)
    for t in range(1, 5):
        delta, x = sympy.symbols(f"Delta0:{t}", real=True), sympy.symbols(f"x1:{t + 1}", real=True)
        error = sum(delta[j] * x[t - 1 - j] for j in range(t)) + o
        mean = sympy.Integer(0)
        for powers, coefficient in sympy.Poly(sympy.expand(error**2), *x).terms():
            squared = 2 in powers  # E x² = μ² + σ², E x_i x_j = μ²
            mean += coefficient * (mu**2 + var if squared else mu ** sum(powers))
        require(sympy.expand(mean - expected_square(delta, mu, var, o)) == 0, f"t = {t}")
    for length, n in ((2, 1), (3, 2)):
        s = sympy.Matrix(length, n, lambda t, i: sympy.Symbol(f"a{i}", real=True) ** (t + 1))
        v = sympy.Matrix(sympy.symbols(f"v1:{length + 1}", real=True))
        w = sympy.Matrix(sympy.symbols(f"w1:{n + 1}", real=True))
        gram = s.T * s
        det, best = gram.det(), -gram.adjugate() * s.T * v  # ŵ = best / det, multiplied out below
        at_w, at_best, apart = det * (v + s * w), det * v + s * best, det * w - best
        gap = at_w.dot(at_w) - at_best.dot(at_best) - (apart.T * gram * apart)[0]
        require(sympy.Poly(gap, *v, *w).is_zero or sympy.expand(gap) == 0, (length, n))
    return Outcome(
        Verdict.EXACT,
        "E of the square from first and second moments; ‖v + Sw‖² = ‖v + Sŵ‖² + (w − ŵ)ᵀSᵀS(w − ŵ); symbols checked",
        "any N, L, M (derivation); t ≤ 4 and (L, N) = (2, 1), (3, 2) with symbols",
        instances=6,
    )


# -- float routes ------------------------------------------------------------------------------------------------------------


def _simulate(system: LTI, x: Array, h0: Any = None) -> Array:
    """Outputs (S, L) of a float system on S input sequences at once."""
    h = np.zeros((x.shape[0], system.n_states), dtype=system.a.dtype) + (0 if h0 is None else np.asarray(h0))
    out = np.empty(x.shape)
    for t in range(x.shape[1]):
        h = system.a * h + system.b * x[:, t : t + 1]
        y = (h @ system.c).real
        out[:, t] = (2 * y if system.half else y) + float(np.real(system.d)) * x[:, t]
    return out


def monte_carlo(profile: Profile) -> Outcome:
    """Measured mean squared errors over drawn sequences (Gaussian and uniform) against the predicted risk and optimum."""
    rng = np.random.default_rng(profile.seed)
    length, draws, mean, var = 12, 4000 if profile.instances < 100 else 20_000, 0.7, 1.3
    worst, relative, count = 0.0, 0.0, 0
    for name in INITIALISATIONS:
        system, teacher = (initialisation(name, 4, 0.3, seed=s) for s in (0, 1))
        found = state_tuning_risk_floor(system, teacher, mean, var, length, prefix_length=2)
        for kind in ("normal", "uniform"):
            noise = rng.standard_normal if kind == "normal" else (lambda size: rng.uniform(-(3**0.5), 3**0.5, size))
            x = mean + var**0.5 * noise((draws, length))
            target = _simulate(teacher, x)
            left = system.run(existing(found.prefix, name))[1]
            cases = ((None, found.untuned), (found.h0, found.optimum), (left, found.prefix_optimum))
            for h0, predicted in cases:
                sums = ((_simulate(system, x, h0) - target) ** 2).sum(axis=1)
                error = float(sums.std(ddof=1)) / draws**0.5
                away = abs(float(sums.mean()) - predicted) / error
                require(
                    away <= MONTE_CARLO_SIGMAS, f"{name}, {kind}: {sums.mean()} measured, {predicted} predicted, {error} s.e."
                )
                worst, relative, count = max(worst, away), max(relative, error / predicted), count + 1
    return Outcome(
        Verdict.NUMERIC,
        f"{draws} Gaussian and uniform sequences each: within {worst:.1f} of {MONTE_CARLO_SIGMAS:g} standard errors",
        "N = 4, L = 12",
        count,
        tolerance=MONTE_CARLO_SIGMAS * relative,
        condition=1.0,
    )


def float_optimum(profile: Profile) -> Outcome:
    """Optima found in balls against LAPACK's least squares on float64 responses, where those are conditioned well."""
    rng = np.random.default_rng(profile.seed)
    worst, cond, count = 0.0, 1.0, profile.scaled(0.1)
    for _ in range(count):
        if rng.random() < 0.5:
            a = np.array([-0.8, -0.3, 0.4, 0.9]) + rng.uniform(-0.05, 0.05, 4)
            system = LTI(a, rng.standard_normal(4), rng.standard_normal(4))
        else:
            a = rng.uniform(0.5, 0.9, 2) * np.exp(1j * (np.array([0.7, 2.0]) + rng.uniform(-0.2, 0.2, 2)))
            parts = [rng.standard_normal(2) + 1j * rng.standard_normal(2) for _ in range(2)]
            system = LTI(a, *parts, half=True)
        teacher = LTI(rng.uniform(-0.9, 0.9, 3), rng.standard_normal(3), rng.standard_normal(3), rng.standard_normal())
        found = state_tuning_risk_floor(system, teacher, 0.8, 1.1, 24, prefix_length=3)
        v = np.array(found.gap)
        units = [x * e for e in np.eye(2) for x in (1, 1j)] if system.half else list(np.eye(4))
        states = np.array([np.real(system.free_response(h, 24)) for h in units]).T
        k = system.kernel(27)
        hankel = np.array([[k[t + m] for m in range(3)] for t in range(1, 25)])
        for matrix, predicted in ((states, found.optimum), (hankel, found.prefix_optimum)):
            w = np.linalg.lstsq(matrix, -v, rcond=None)[0]
            value = found.floor + float(np.sum((v + matrix @ w) ** 2))
            cond = max(cond, float(np.linalg.cond(matrix)))
            worst = max(worst, abs(value - predicted) / found.untuned)
    allowed = budget(24, cond)
    require(worst <= allowed < 1, f"optima differ by {worst} of the untuned risk, allowed {allowed}")
    how = "LAPACK least squares against balls, largest deviation within its error budget"
    return Outcome(Verdict.NUMERIC, how, "N = 4, L = 24, M = 3", 2 * count, tolerance=allowed, condition=cond)


PREFIXES = (1, 4, 16)


def tabulate(profile: Profile) -> Outcome:
    """How much of the excess over the floor states and prefixes remove at real initialisations: another c as teacher."""
    rows, cond = [], 1.0
    allowed = budget(64)
    for name in INITIALISATIONS:
        for dt in DT_GRID[:1] if profile.instances < 100 else DT_GRID:
            system, teacher = (initialisation(name, 16, dt, seed=s) for s in (0, 1))
            found = {m: state_tuning_risk_floor(system, teacher, 1.0, 1.0, 64, prefix_length=m) for m in PREFIXES}
            any_m = found[PREFIXES[0]]
            ladder = [any_m.floor, any_m.optimum, *(found[m].prefix_optimum for m in reversed(PREFIXES)), any_m.untuned]
            require(all(x <= y + allowed * any_m.untuned for x, y in pairwise(ladder)), (name, dt, ladder))
            centred = state_tuning_risk_floor(system, teacher, 0.0, 1.0, 64, prefix_length=4)
            require(centred.floor == centred.optimum == centred.prefix_optimum == centred.untuned, (name, dt))
            cond = max(cond, any_m.condition or 1.0)
            row = {
                "initialisation": name,
                "dt": dt,
                "mean_floor": any_m.mean_floor,
                "mean_untuned": any_m.mean_untuned,
                "mean_optimum": any_m.mean_optimum,
                **{f"mean_prefix_{m}": found[m].mean_prefix_optimum for m in PREFIXES},
                "condition": any_m.condition,
                "condition_prefix_16": found[16].prefix_condition,
            }
            rows.append({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()})
    first = rows[0]
    return Outcome(
        Verdict.NUMERIC,
        f"Mamba at dt = 1e-3, μ = σ² = 1: mean risk {first['mean_untuned']} untuned, {first['mean_optimum']} at the best state, "
        f"floor {first['mean_floor']}; condition {first['condition']:.0e}",
        "N = 16, L = 64, M = 1, 4, 16",
        len(rows),
        tolerance=allowed,
        condition=cond,
        data={"table": rows},
    )


# -- assumptions ----------------------------------------------------------------------------------------------------------


def _common_mean(s: Scenario) -> bool:
    return all(sum(p * (x[t] - s.mean) for p, x in s.law) == 0 for t in range(s.length))


def _variance(s: Scenario, t: int) -> Fraction:
    return expectation(s.law, lambda x: x[t] ** 2) - expectation(s.law, lambda x: x[t]) ** 2


def _uncorrelated(s: Scenario) -> bool:
    def mean(*steps: int) -> Fraction:
        return expectation(s.law, lambda x: math.prod((x[t] for t in steps), start=Fraction(1)))

    return all(mean(i, j) == mean(i) * mean(j) for i in range(s.length) for j in range(i))


@st.composite
def _teacher_with_state(draw: st.DrawFn) -> Scenario:
    s = draw(scenarios())
    return replace(s, teacher_h0=tuple(draw(vectors(s.teacher.n_states, nonzero=True))))


@st.composite
def _repeated(draw: st.DrawFn) -> Scenario:
    s = draw(scenarios(min_length=2))
    return replace(s, law=tuple((p, (x[0],) * s.length) for p, x in s.law))


def _with_law(s: Scenario, change: Callable[[tuple[Fraction, ...]], tuple[Fraction, ...]]) -> Scenario:
    return replace(s, law=tuple((p, change(x)) for p, x in s.law))


@st.composite
def _drifting(draw: st.DrawFn) -> Scenario:
    s, by = draw(scenarios()), draw(rationals(2, nonzero=True))
    return _with_law(s, lambda x: (*x[:-1], x[-1] + by))


@st.composite
def _louder(draw: st.DrawFn) -> Scenario:
    s, by = draw(scenarios()), draw(st.sampled_from([Fraction(2), Fraction(1, 2), Fraction(-3)]))
    return _with_law(s, lambda x: (*x[:-1], s.mean + by * (x[-1] - s.mean)))


@st.composite
def _sampled(draw: st.DrawFn) -> Scenario:
    s = draw(scenarios())
    drawn = draw(st.lists(st.sampled_from([x for _, x in s.law]), min_size=1, max_size=3))
    return replace(s, measured=tuple((Fraction(1, len(drawn)), x) for x in drawn))


def _short() -> st.SearchStrategy[Scenario]:
    return scenarios(max_length=2)


_STUDENT, _SILENT = LTI(["1/2"], [1], [1]), LTI(["1/2"], [1], [0])


def _case(length: int, law: Law, mean: Any = 0, var: Any = 1, teacher: LTI = _SILENT, **more: Any) -> Scenario:
    return Scenario(_STUDENT, teacher, Fraction(mean), Fraction(var), length, law, (Fraction(0),), (Fraction(0),), **more)


def _signs(scales: Sequence[int]) -> Law:
    chosen = list(product((1, -1), repeat=len(scales)))
    return tuple((Fraction(1, len(chosen)), tuple(Fraction(e * s) for e, s in zip(c, scales, strict=True))) for c in chosen)


ASSUMPTIONS = (
    Assumption(
        name="teacher starts at zero",
        statement="the teacher has no initial state (and sees no prefix); otherwise o_t − o*_t takes the place of o_t",
        predicate=lambda s: s.teacher_h0 is None,
        having=_short,
        lacking=_teacher_with_state,
        conclusion=formulas_hold,
        counterexample=Counterexample(
            "a teacher with a memory",
            lambda: _case(1, _signs([1]), teacher=_STUDENT, teacher_h0=(Fraction(1),)),
            "student = teacher, a = 1/2, teacher from h* = 1, L = 1: risk 1/4 at h_0 = 0, the formula says 0",
        ),
    ),
    Assumption(
        name="uncorrelated inputs",
        statement="E x_s x_t = E x_s E x_t for s ≠ t; independence is not needed",
        predicate=_uncorrelated,
        having=_short,
        lacking=_repeated,
        conclusion=formulas_hold,
        counterexample=Counterexample(
            "the same token twice",
            lambda: _case(2, tuple((Fraction(1, 2), (Fraction(e), Fraction(e))) for e in (1, -1))),
            "x_2 = x_1 = ±1, Δ = (1, 1/2): risk at t = 2 is (3/2)² = 9/4, the formula says 1 + 1/4",
        ),
    ),
    Assumption(
        name="common mean",
        statement="E x_t = μ for all t",
        predicate=_common_mean,
        having=_short,
        lacking=_drifting,
        conclusion=formulas_hold,
        counterexample=Counterexample(
            "a later mean",
            lambda: _case(2, ((Fraction(1), (Fraction(0), Fraction(1))),), var=0),
            "x = (0, 1), said to have μ = σ² = 0, Δ_0 = 1: risk 1 at t = 2, the formula says 0",
        ),
    ),
    Assumption(
        name="common variance",
        statement="Var x_t = σ² for all t",
        predicate=lambda s: all(_variance(s, t) == s.var for t in range(s.length)),
        having=_short,
        lacking=_louder,
        conclusion=formulas_hold,
        counterexample=Counterexample(
            "a louder second token",
            lambda: _case(2, _signs([1, 2])),
            "x_1 = ±1, x_2 = ±2, said to have σ² = 1, Δ = (1, 1/2): risk 4 + 1/4 at t = 2, the formula says 1 + 1/4",
        ),
    ),
    Assumption(
        name="population risk",
        statement="the expectation is over the distribution of the inputs, not over a sample of it",
        predicate=lambda s: s.measured is None,
        having=_short,
        lacking=_sampled,
        conclusion=formulas_hold,
        counterexample=Counterexample(
            "a sample of one",
            lambda: _case(1, _signs([1]), measured=((Fraction(1), (Fraction(1),)),)),
            "x_1 = ±1, Δ_0 = 1, floor 1; on the one sequence x_1 = 1 the state h_0 = −2 has risk 0",
        ),
    ),
)

_SIZES = "N ≤ 3 (1 pair), teacher N ≤ 2, L ≤ 3, M ≤ 3; all sequences of a finite distribution"


def with_twice_the_variance(right: Callable[..., Any]) -> Callable[..., Any]:
    """A risk that takes the inputs' variance for twice what it is."""
    return lambda system, teacher, mean, var, *rest, **how: right(system, teacher, mean, 2 * var, *rest, **how)


CLAIM = Claim(
    id="prefix_state.input_independent",
    title="a wrong kernel leaves a floor σ² Σ Δ_j² that no prefix or initial state lowers; the rest is least squares",
    statement=(
        "LTI student (k, d) and teacher (k*, d*) starting at zero; inputs uncorrelated with mean μ and variance σ²; Δ_j = k_j − "
        "k*_j, d − d* added to Δ_0. The risk at t is E(y_t − y*_t)² = σ² Σ_{j<t} Δ_j² + (μ Σ_{j<t} Δ_j + o_t)². The first term "
        "is a floor. Summed over t = 1..L, the optimum over initial states is the floor plus the squared distance of v_t = "
        "μ Σ_{j<t} Δ_j to span{(λ^t)_t : λ observable}; over prefixes of M tokens, to the range of the L × M Hankel matrix "
        "k_{t+m}. For μ = 0 both optima are the floor, reached untuned: nothing is gained."
    ),
    level="one LTI channel, free tokens, population risk",
    horizon="every finite L",
    parts=(
        Part("risk and optimum", argument="derivation"),
        Part("optimum over states", argument="derivation"),
        Part("optimum over prefixes", argument="derivation"),
        Part("zero mean", argument="derivation"),
    ),
    checks=(
        Check(
            "symbolic identities",
            prove_symbolically,
            part="risk and optimum",
            planted=(
                Planted(
                    "the effect of the state not squared with the mean",
                    swap("expected_square", lambda right: lambda delta, mu, var, o: right(delta, mu, var, 0) + o**2),
                ),
            ),
        ),
        Check(
            "risk by enumeration",
            exact_check(check_risk_formula, scenarios, "closed form = E over every input sequence", _SIZES, 0.25),
            part="risk and optimum",
            planted=(
                Planted("twice the variance", swap("risk_per_step", with_twice_the_variance)),
                Planted("twice the variance in the floor", swap("state_tuning_risk_floor", with_twice_the_variance)),
            ),
        ),
        Check(
            "optimum over states",
            exact_check(check_optimum, scenarios, "normal equations = minimum of the enumerated risk", _SIZES, 0.125),
            part="optimum over states",
            planted=(Planted("twice the variance", swap("state_tuning_risk_floor", with_twice_the_variance)),),
        ),
        Check(
            "optimum over prefixes",
            exact_check(check_prefix_optimum, scenarios, "normal equations = minimum of the enumerated risk", _SIZES, 0.125),
            part="optimum over prefixes",
            planted=(Planted("twice the variance", swap("state_tuning_risk_floor", with_twice_the_variance)),),
        ),
        Check(
            "zero mean",
            exact_check(check_zero_mean, lambda: scenarios(centred=True), "floor = optimum = untuned risk", _SIZES, 0.125),
            part="zero mean",
            planted=(Planted("twice the variance", swap("state_tuning_risk_floor", with_twice_the_variance)),),
        ),
        Check(
            "Monte Carlo",
            monte_carlo,
            part=None,
            planted=(Planted("twice the variance", swap("state_tuning_risk_floor", with_twice_the_variance)),),
        ),
        Check(
            "balls against LAPACK",
            float_optimum,
            part=None,
            planted=(
                Planted(
                    "optima off by a thousandth of the untuned risk",
                    swap(
                        "state_tuning_risk_floor",
                        changed(lambda found: replace(found, optimum=found.optimum + found.untuned / 1000)),
                    ),
                ),
            ),
        ),
        Check(
            "initialisations",
            tabulate,
            part=None,
            planted=(
                Planted(
                    "no risk without tuning",
                    swap(
                        "state_tuning_risk_floor",
                        changed(lambda found: replace(found, untuned=0 * found.untuned)),
                    ),
                ),
            ),
        ),
    ),
    assumptions=ASSUMPTIONS,
    readme="theory/prefix_state/input_independent/README.md",
    not_claimed=(
        "Nothing about an empirical risk, which may lie below the floor, nor about how fast training reaches the optimum (the "
        "least-squares condition is 4e31 for Mamba at dt = 1e-3, L = 64). Nothing about selective modules, where a state's "
        "effect depends on the inputs."
    ),
)
