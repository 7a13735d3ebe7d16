r"""prefix_state.input_independent: what no prefix and no initial state can repair, in closed form."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from hypothesis import strategies as st

from theory.core.claim import Assumption, Check, Claim, Counterexample, Outcome, Profile, Verdict, exact_check
from theory.core.initialisations import DT_GRID, INITIALISATIONS, initialisation
from theory.core.lti import LTI
from theory.core.scalars import real
from theory.core.strategies import paired_lti, rationals, real_lti, vectors
from theory.core.tolerance import MONTE_CARLO_SIGMAS

from .risk import state_tuning_risk_floor
from .spans import state_basis

Law = Sequence[tuple[Fraction, tuple[Fraction, ...]]]
"""A finite distribution of input sequences: (probability, x_1..x_L)."""


@dataclass(frozen=True)
class Setting:
    """Student, teacher, and a finite law of inputs; ``teacher_h0`` a state the teacher starts from."""

    system: LTI
    teacher: LTI
    law: tuple[tuple[Fraction, tuple[Fraction, ...]], ...]
    teacher_h0: tuple[Any, ...] | None = None

    @property
    def length(self) -> int:
        """L."""
        return len(self.law[0][1])

    def moments(self, t: int) -> tuple[Fraction, Fraction]:
        """Mean and variance of x_t."""
        mean = sum((p * x[t] for p, x in self.law), Fraction(0))
        return mean, sum((p * x[t] * x[t] for p, x in self.law), Fraction(0)) - mean * mean

    def covariance(self, s: int, t: int) -> Fraction:
        """Cov(x_s, x_t)."""
        return sum((p * x[s] * x[t] for p, x in self.law), Fraction(0)) - self.moments(s)[0] * self.moments(t)[0]


def independent_law(values: Sequence[Fraction], weights: Sequence[Fraction], length: int) -> Law:
    """Independent inputs with P(x = values[i]) = weights[i]."""
    out = []
    for choice in itertools.product(range(len(values)), repeat=length):
        p = Fraction(1)
        for i in choice:
            p *= weights[i]
        out.append((p, tuple(values[i] for i in choice)))
    return tuple(out)


def _channels() -> st.SearchStrategy[LTI]:
    return st.one_of(real_lti(max_states=2, distinct=False, nonzero_residues=False, zero_mode=True), paired_lti(max_pairs=1))


@st.composite
def settings(draw: st.DrawFn) -> Setting:
    """Two or three point laws, independent over time, L ≤ 4; skips differ too."""
    system = draw(_channels()).replace(d=draw(rationals(1)))
    teacher = draw(_channels()).replace(d=draw(rationals(1)))
    values = draw(st.lists(rationals(3), min_size=2, max_size=2))
    p = draw(st.sampled_from([Fraction(1, 2), Fraction(1, 3), Fraction(1, 5)]))
    length = draw(st.integers(1, 4))
    return Setting(system, teacher, tuple(independent_law(values, [p, 1 - p], length)))


def enumerated_risk(s: Setting, h0: Any = None, prefix: Sequence[Any] = ()) -> Fraction:
    """E Σ_t (y_t − y*_t)² by running every sequence of the law."""
    total = Fraction(0)
    for p, x in s.law:
        y = s.system.run([*prefix, *x], h0)[0][len(prefix) :]
        target = s.teacher.run(x, None if s.teacher_h0 is None else list(s.teacher_h0))[0]
        total += p * sum((Fraction(real(u - v)) ** 2 for u, v in zip(y, target, strict=True)), Fraction(0))
    return total


def formula_agrees(s: Setting) -> bool:
    """Whether floor and optimum from the first input's moments are what enumerating the law gives."""
    mean, var = s.moments(0)
    found = state_tuning_risk_floor(s.system, s.teacher, mean, var, s.length)
    return enumerated_risk(s, found.h0) == found.optimum and enumerated_risk(s) == found.untuned


def check_formula(s: Setting) -> None:
    """Risk without tuning, at the optimal state, and at the optimal prefix, against enumeration."""
    assert formula_agrees(s), s
    mean, var = s.moments(0)
    for m in (1, 2):
        found = state_tuning_risk_floor(s.system, s.teacher, mean, var, s.length, prefix_length=m)
        assert found.prefix is not None and len(found.prefix) == m
        assert enumerated_risk(s, None, found.prefix) == found.optimum, (s, m)


def check_optimal(instance: tuple[Setting, list[Fraction]]) -> None:
    """No other state or prefix does better; states do at least as well as prefixes; nothing is below the floor."""
    s, steps = instance
    mean, var = s.moments(0)
    best = state_tuning_risk_floor(s.system, s.teacher, mean, var, s.length)
    assert best.h0 is not None
    for h, step in zip(state_basis(s.system), itertools.cycle(steps), strict=False):
        moved = best.h0 + step * s.system.state(h)
        assert enumerated_risk(s, list(moved)) >= best.optimum >= best.floor, instance
    by_prefix = state_tuning_risk_floor(s.system, s.teacher, mean, var, s.length, prefix_length=2)
    assert by_prefix.prefix is not None
    assert best.optimum <= by_prefix.optimum <= best.untuned, instance
    for i in range(2):
        tokens = list(by_prefix.prefix)
        tokens[i] += steps[i % len(steps)]
        assert enumerated_risk(s, None, tokens) >= by_prefix.optimum, instance


def check_zero_mean(s: Setting) -> None:
    """μ = 0: the optimum is the risk without tuning, so nothing at all is gained."""
    var = s.moments(0)[1]
    found = state_tuning_risk_floor(s.system, s.teacher, 0, var, s.length)
    assert found.untuned == found.optimum == found.floor, s


def prove_symbolically(_: Profile) -> Outcome:
    """The formula with symbols for k, k*, o, μ and σ², L ≤ 4: expand E(Σ Δ_j x_{t−j} + o_t)² by its moments."""
    count = 0
    mu, s2 = sympy.symbols("mu sigma2", real=True)
    for t in range(1, 5):
        delta, x = sympy.symbols(f"D0:{t}"), sympy.symbols(f"x1:{t + 1}")
        o = sympy.Symbol("o")
        error = sympy.expand((sum(delta[j] * x[t - 1 - j] for j in range(t)) + o) ** 2)
        expected = 0
        for term in sympy.Add.make_args(error):
            powers = {v: sympy.degree(term, v) for v in x}
            coefficient = term.subs(dict.fromkeys(x, 1))
            squares = [v for v in x if powers[v] == 2]
            singles = [v for v in x if powers[v] == 1]
            expected += coefficient * (s2 + mu**2) ** len(squares) * mu ** len(singles)
        formula = s2 * sum(d**2 for d in delta) + (mu * sum(delta) + o) ** 2
        assert sympy.expand(expected - formula) == 0, t
        count += 1
    return Outcome(
        Verdict.PROVED,
        "E of a square is variance plus squared mean; uncorrelated inputs add variances; o_t moves only the mean; symbols "
        "checked",
        "any L (derivation); L ≤ 4 with symbols",
        instances=count,
    )


def worked_example(_: Profile) -> Outcome:
    """L = 2, a = 1/2, r = 1, r* = 2, μ = 1: the best state is 14/5 and leaves 4/5."""
    found = state_tuning_risk_floor(LTI(["1/2"], [1], [1]), LTI(["1/2"], [1], [2]), 1, 1, 2)
    assert found.h0 is not None
    assert found.h0[0] == Fraction(14, 5) and found.residual == Fraction(4, 5), found
    return Outcome(Verdict.EXACT, f"h_0 = 14/5, residual {found.residual}, floor {found.floor}", "L = 2, N = 1", 1)


def monte_carlo(profile: Profile) -> Outcome:
    """Gaussian inputs, real initialisation: the mean over many sequences within five standard errors of the prediction."""
    rng = np.random.default_rng(profile.seed)
    system = initialisation("mamba", 8, 0.1, seed=1)
    teacher = initialisation("mamba", 8, 0.1, seed=2)
    length, mean, var = 12, 0.5, 2.0
    found = state_tuning_risk_floor(system, teacher, mean, var, length)
    assert found.h0 is not None
    h0 = np.array([float(v) for v in found.h0])
    count = max(2000, 50 * profile.instances)
    x = mean + np.sqrt(var) * rng.standard_normal((count, length))
    delta = np.array(system.kernel(length)) - np.array(teacher.kernel(length))
    free = np.array(system.free_response(h0, length))
    toeplitz = np.array([[delta[t - s] if s <= t else 0.0 for s in range(length)] for t in range(length)])
    losses = ((x @ toeplitz.T + free) ** 2).sum(1)
    error = float(losses.std(ddof=1) / np.sqrt(count))
    gap = abs(float(losses.mean()) - float(found.optimum))
    assert gap <= MONTE_CARLO_SIGMAS * error, f"measured {losses.mean():.6g}, predicted {float(found.optimum):.6g} ± {error:.1e}"
    how = f"{count} Gaussian sequences: measured − predicted is {gap / error:.1f} standard errors"
    return Outcome(
        Verdict.TO, how, "N = 8, L = 12", count, tolerance=MONTE_CARLO_SIGMAS * error / float(found.optimum), condition=1.0
    )


def initialisations_table(_: Profile) -> Outcome:
    """How much of the untuned risk is floor, for student and teacher of the same modes and other c."""
    rows = []
    for name in INITIALISATIONS:
        for dt in DT_GRID:
            student, teacher = (initialisation(name, 8, dt, seed=s) for s in (1, 2))
            for mean in (0, 1):
                found = state_tuning_risk_floor(student, teacher, mean, 1, 16)
                assert found.floor <= found.optimum <= found.untuned
                assert mean or found.optimum == found.untuned
                rows.append(
                    {
                        "initialisation": name, "dt": dt, "mean": mean,
                        "floor_share": float(found.floor / found.untuned),
                        "gain": float(1 - found.optimum / found.untuned),
                    }
                )  # fmt: skip
    gains = [float(str(r["gain"])) for r in rows if r["mean"]]
    how = f"unit variance: tuning gains nothing at mean 0 and {min(gains):.0%} to {max(gains):.0%} of the risk at mean 1"
    return Outcome(Verdict.EXACT, how, "N = 8, L = 16, dt = 1e-3, 1e-2, 1e-1", len(rows), data={"table": rows})


# -- assumptions ----------------------------------------------------------------------------------------------------------


@st.composite
def _started(draw: st.DrawFn) -> Setting:
    s = draw(settings())
    h = draw(vectors(s.teacher.n_states, nonzero=True))
    return Setting(s.system, s.teacher, s.law, tuple(h))


@st.composite
def _correlated(draw: st.DrawFn) -> Setting:
    """x_2 = x_1 with certainty."""
    s = draw(settings().filter(lambda s: s.length >= 2 and s.moments(0)[1] > 0))
    values = {x[0]: Fraction(0) for _, x in s.law}
    for p, x in s.law:
        values[x[0]] += p
    return Setting(s.system, s.teacher, tuple((p, (v,) * s.length) for v, p in values.items()))


@st.composite
def _drifting(draw: st.DrawFn) -> Setting:
    """The second input has another mean."""
    s = draw(settings().filter(lambda s: s.length >= 2))
    shift = draw(rationals(2, nonzero=True))
    return Setting(s.system, s.teacher, tuple((p, (x[0], x[1] + shift, *x[2:])) for p, x in s.law))


def _uncorrelated(s: Setting) -> bool:
    return all(s.covariance(i, j) == 0 for i in range(s.length) for j in range(i))


def _common(s: Setting) -> bool:
    return all(s.moments(t) == s.moments(0) for t in range(s.length))


_COIN = tuple(independent_law([Fraction(1), Fraction(-1)], [Fraction(1, 2), Fraction(1, 2)], 2))
_STUDENT, _TEACHER = LTI(["1/2"], [1], [1]), LTI(["1/2"], [1], [2])


@dataclass(frozen=True)
class Sample:
    """Training sequences drawn from a law; ``whole`` where they are the law itself."""

    setting: Setting
    sequences: tuple[tuple[Fraction, ...], ...]

    @property
    def whole(self) -> bool:
        """Whether the empirical law is the population's."""
        empirical: dict[Any, Fraction] = {}
        for x in self.sequences:
            empirical[x] = empirical.get(x, Fraction(0)) + Fraction(1, len(self.sequences))
        population: dict[Any, Fraction] = {}
        for p, x in self.setting.law:
            population[x] = population.get(x, Fraction(0)) + p
        return empirical == {x: p for x, p in population.items() if p}


def _not_below_floor(s: Sample) -> bool:
    """Whether every initial state keeps the training risk at or above the population's floor."""
    from .risk import least_squares
    from .spans import state_responses

    system, teacher = s.setting.system, s.setting.teacher
    mean, var = s.setting.moments(0)
    floor = state_tuning_risk_floor(system, teacher, mean, var, s.setting.length).floor
    reach = state_responses(system, s.setting.length)
    stacked, target = [], []
    for x in s.sequences:
        gap = system.run(x)[0] - teacher.run(x)[0]
        stacked += [list(row) for row in reach]
        target += [-Fraction(real(v)) for v in gap]
    weights = least_squares(np.array(stacked, dtype=object), target)
    residual = sum(
        (
            (sum((c * w for c, w in zip(row, weights, strict=True)), Fraction(0)) - v) ** 2
            for row, v in zip(stacked, target, strict=True)
        ),
        Fraction(0),
    )
    return residual / len(s.sequences) >= floor


@st.composite
def _samples(draw: st.DrawFn, whole: bool) -> Sample:
    system, teacher = draw(real_lti(max_states=2)), draw(real_lti(max_states=2))
    law = tuple(independent_law([Fraction(1), Fraction(draw(st.integers(-2, 0)))], [Fraction(1, 2)] * 2, 2))
    sequences = tuple(x for _, x in law)
    return Sample(Setting(system, teacher, law), sequences if whole else sequences[: draw(st.integers(1, 3))])


ASSUMPTIONS = (
    Assumption(
        "teacher starts at zero",
        "otherwise o_t − o*_t takes the place of o_t",
        lambda s: s.teacher_h0 is None or not any(s.teacher_h0),
        settings,
        _started,
        formula_agrees,
        Counterexample(
            "a teacher that starts at 1",
            lambda: Setting(_STUDENT, _TEACHER, _COIN, (Fraction(1),)),
            "a = 1/2, r = 1, r* = 2, coin inputs ±1, h*_0 = 1: the risk without tuning is 7/2, the formula says 9/4",
        ),
    ),
    Assumption(
        "uncorrelated inputs",
        "Cov(x_s, x_t) = 0 for s ≠ t",
        _uncorrelated,
        settings,
        _correlated,
        formula_agrees,
        Counterexample(
            "x_2 = x_1",
            lambda: Setting(_STUDENT, _TEACHER, ((Fraction(1, 2), (Fraction(1),) * 2), (Fraction(1, 2), (Fraction(-1),) * 2))),
            "a = 1/2, r = 1, r* = 2, x_1 = x_2 = ±1: the risk without tuning is 13/4, the formula says 9/4",
        ),
    ),
    Assumption(
        "common mean and variance",
        "E x_t and Var x_t do not depend on t",
        _common,
        settings,
        _drifting,
        formula_agrees,
        Counterexample(
            "a second input of mean 1",
            lambda: Setting(_STUDENT, _TEACHER, tuple((p, (x[0], x[1] + 1)) for p, x in _COIN)),
            "a = 1/2, r = 1, r* = 2, x_1 = ±1, x_2 = 1 ± 1: the risk without tuning is 13/4, the formula says 9/4",
        ),
    ),
    Assumption(
        "population risk",
        "the risk is the expectation over the inputs, not a mean over some training sequences",
        lambda s: s.whole,
        lambda: _samples(True),
        lambda: _samples(False),
        _not_below_floor,
        Counterexample(
            "one training sequence",
            lambda: Sample(
                Setting(LTI(["1/2", "1/3"], [1, 1], [1, 1]), LTI(["1/2"], [1], [2]), _COIN), ((Fraction(1), Fraction(1)),)
            ),
            "a = (1/2, 1/3) against r* = 2 at 1/2, the single sequence (1, 1): an initial state fits it exactly, risk 0 below "
            "the floor",
        ),
    ),
)

CLAIM = Claim(
    id="prefix_state.input_independent",
    title="a floor that no prefix and no initial state lowers: they move the mean of the error, never its variance",
    statement=(
        "LTI student and teacher (started at zero), inputs uncorrelated with mean μ and variance σ², Δ_j = k_j − k*_j with the "
        "skips in j = 0. Risk at t: σ² Σ_{j<t} Δ_j² + (μ Σ_{j<t} Δ_j + o_t)². The first term is a floor. The optimum is the "
        "floor plus the least-squares residual of (μ Σ_{j<t} Δ_j)_t against the responses (Σ c_n a_n^t h_n)_t of initial states, "
        "or against the range of the L×M Hankel matrix for prefixes. At μ = 0 nothing is gained."
    ),
    level="one LTI channel",
    horizon="t = 1..L, any L",
    checks=(
        Check("symbolic identity", prove_symbolically, part="formula"),
        Check(
            "formula",
            exact_check(
                check_formula, settings, "against enumeration of all input sequences of a finite law", "N ≤ 2, L ≤ 4", 0.5
            ),
            part="formula",
        ),
        Check(
            "optimum",
            exact_check(
                check_optimal,
                lambda: st.tuples(settings(), st.lists(rationals(2, nonzero=True), min_size=2, max_size=2)),
                "moved states and tokens are no better; floor ≤ state optimum ≤ prefix optimum",
                "N ≤ 2, L ≤ 4",
                0.25,
            ),
            part="optimum",
        ),
        Check(
            "zero mean",
            exact_check(check_zero_mean, settings, "optimum = risk without tuning", "N ≤ 2, L ≤ 4", 0.25),
            part="optimum",
        ),
        Check("worked example", worked_example, part="optimum"),
        Check("Monte Carlo", monte_carlo, part=None),
        Check("initialisations", initialisations_table, part=None),
    ),
    assumptions=ASSUMPTIONS,
    readme="prefix_stateinput_independent",
    not_claimed=(
        "Population risk only: on finitely many training sequences the risk may fall below the floor. Nothing about selective "
        "modules, where a state meets input-dependent C_t and decays."
    ),
)
