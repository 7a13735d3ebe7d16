"""Scenarios, risks by enumeration, and exact properties that decide prefix_state.input_independent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import Any

from hypothesis import strategies as st

from theory.core import linalg
from theory.core.lti import LTI
from theory.core.scalars import is_zero
from theory.core.strategies import any_lti, gaussians, rationals, vectors
from theory.verification.refutation import existing, require

from ..reach.spans import state_basis
from .risk_floor import risk_per_step, state_tuning_risk_floor

Law = tuple[tuple[Fraction, tuple[Fraction, ...]], ...]
"""A finite distribution of input sequences: (probability, x_1..x_L)."""


@dataclass(frozen=True)
class Scenario:
    """A student, a teacher, a distribution of inputs with the moments said to be its own, and a state and a prefix to try.

    ``measured``: the distribution that the risk is really taken over, where it is not ``law`` (an empirical sample).
    """

    system: LTI
    teacher: LTI
    mean: Fraction
    var: Fraction
    length: int
    law: Law
    h0: tuple[Any, ...]
    prefix: tuple[Fraction, ...]
    teacher_h0: tuple[Any, ...] | None = None
    measured: Law | None = None

    @property
    def inputs(self) -> Law:
        """The distribution of inputs that errors are measured over."""
        return self.law if self.measured is None else self.measured


# -- measuring: running both systems on every input sequence -----------------------------------------------------------------


def measured_risk(s: Scenario, h0: Any = None, prefix: Sequence[Any] = ()) -> list[Fraction]:
    """E (y_t − y*_t)² for t = 1..L by enumeration: the student runs from h_0 through the prefix, the teacher sees x alone."""
    student, teacher = s.system.zero_state() if h0 is None else s.system.state(h0), s.teacher.zero_state()
    if s.teacher_h0 is not None:
        teacher = s.teacher.state(list(s.teacher_h0))
    for token in prefix:
        student, _ = s.system.step(student, token)
    # sequences that begin alike share their first steps
    reached: dict[tuple[Fraction, ...], Any] = {(): (student, teacher, None)}
    out = [Fraction(0)] * s.length
    for probability, x in s.inputs:
        for t in range(s.length):
            if x[: t + 1] not in reached:
                student, teacher, _ = reached[x[:t]]
                student, y = s.system.step(student, x[t])
                teacher, target = s.teacher.step(teacher, x[t])
                reached[x[: t + 1]] = student, teacher, Fraction(y - target) ** 2
            out[t] += probability * reached[x[: t + 1]][2]
    return out


def minimum_of_quadratic(function: Callable[[list[Fraction]], Fraction], size: int) -> Fraction:
    """The least value of a quadratic bounded from below, known only by its values: f(0), f(e_i), f(2e_i), f(e_i + e_j)."""

    def point(*indices: int) -> list[Fraction]:
        return [Fraction(indices.count(k)) for k in range(size)]

    f0 = function(point())
    single = [function(point(i)) - f0 for i in range(size)]
    curve = [[Fraction(0)] * size for _ in range(size)]
    for i in range(size):
        curve[i][i] = function(point(i, i)) - f0 - 2 * single[i]  # 2 a_ii: f(2e) − 2f(e) + f(0)
        for j in range(i):
            curve[i][j] = curve[j][i] = function(point(i, j)) - f0 - single[i] - single[j]
    slope = [single[i] - curve[i][i] / 2 for i in range(size)]
    if not size:
        return f0
    w = existing(linalg.solve(curve, [-g for g in slope]), "a quadratic that is bounded from below has a critical point")
    return f0 + sum((g * x for g, x in zip(slope, w, strict=True)), Fraction(0)) / 2


def measured_optimum(s: Scenario) -> Fraction:
    """Least enumerated risk over initial states, summed over t."""
    basis = state_basis(s.system)

    def total(weights: list[Fraction]) -> Fraction:
        h = sum((w * s.system.state(b) for w, b in zip(weights, basis, strict=True)), s.system.zero_state())
        return sum(measured_risk(s, h), Fraction(0))

    return minimum_of_quadratic(total, len(basis))


def measured_prefix_optimum(s: Scenario, tokens: int) -> Fraction:
    """Least enumerated risk over prefixes of M tokens, summed over t."""
    return minimum_of_quadratic(lambda w: sum(measured_risk(s, prefix=w), Fraction(0)), tokens)


def formulas_hold(s: Scenario) -> bool:
    """Whether the closed forms give the measured risk at h_0, at every t, and the measured optimum over states."""
    predicted = risk_per_step(s.system, s.teacher, s.mean, s.var, s.length, list(s.h0))
    if list(predicted) != measured_risk(s, list(s.h0)):
        return False
    return state_tuning_risk_floor(s.system, s.teacher, s.mean, s.var, s.length).optimum == measured_optimum(s)


# -- distributions and scenarios ---------------------------------------------------------------------------------------------


def two_point(values: Sequence[Any], p: Any, length: int) -> Law:
    """Independent inputs that are values[0] with probability p and values[1] otherwise."""
    low, high = map(Fraction, values)
    p = Fraction(p)
    sequences = product(((p, low), (1 - p, high)), repeat=length)
    return tuple((_product(q for q, _ in chosen), tuple(x for _, x in chosen)) for chosen in sequences)


def common_amplitude(mean: Any, amplitudes: Sequence[Any], length: int) -> Law:
    """x_t = μ + A ε_t with independent signs and one random A for the whole sequence: uncorrelated, but dependent."""
    amplitudes = [Fraction(a) for a in amplitudes]
    weight = Fraction(1, len(amplitudes) * 2**length)
    signs = list(product((1, -1), repeat=length))
    return tuple((weight, tuple(Fraction(mean) + a * e for e in chosen)) for a in amplitudes for chosen in signs)


def _product(values: Any) -> Fraction:
    out = Fraction(1)
    for v in values:
        out *= v
    return out


def expectation(law: Law, function: Callable[[tuple[Fraction, ...]], Any]) -> Fraction:
    """E f(x)."""
    return sum((p * function(x) for p, x in law), Fraction(0))


@st.composite
def laws(draw: st.DrawFn, length: int, *, centred: bool = False) -> Law:
    """Uncorrelated inputs with common mean and variance: independent two-point ones, or dependent ones of common amplitude."""
    if draw(st.booleans()):
        mean = Fraction(0) if centred else draw(rationals(2))
        return common_amplitude(mean, draw(st.lists(rationals(2, nonzero=True), min_size=2, max_size=2)), length)
    p = draw(st.sampled_from([Fraction(1, 2), Fraction(1, 4), Fraction(2, 3)]))
    low, spread = draw(rationals(2)), draw(rationals(2, nonzero=True))
    if centred:
        low = -(1 - p) * spread
    return two_point((low, low + spread), p, length)


@st.composite
def scenarios(draw: st.DrawFn, *, centred: bool = False, min_length: int = 1, max_length: int = 3) -> Scenario:
    """Every assumption holds: any exact student and teacher (equal and zero modes, pairs, skips), L ≤ 3 by default."""
    system, teacher = draw(any_lti(3)), draw(any_lti(2))
    system = system.replace(d=draw(rationals(2)))
    teacher = teacher.replace(d=draw(rationals(2)))
    length = draw(st.integers(min_length, max_length))
    law = draw(laws(length, centred=centred))
    mean = expectation(law, lambda x: x[0])
    var = expectation(law, lambda x: (x[0] - mean) ** 2)
    entries = gaussians() if system.half else rationals(2)
    h0 = draw(st.lists(entries, min_size=system.n_states, max_size=system.n_states))
    prefix = draw(vectors(draw(st.integers(1, 3)), 2))
    return Scenario(system, teacher, mean, var, length, law, tuple(h0), tuple(prefix))


# -- properties -----------------------------------------------------------------------------------------------------------


def check_risk_formula(s: Scenario) -> None:
    """The closed form is the enumerated risk at every t, for any h_0, and never below the floor; a prefix acts as its state."""
    h0 = list(s.h0)
    risk = measured_risk(s, h0)
    found = state_tuning_risk_floor(s.system, s.teacher, s.mean, s.var, s.length)
    require(list(risk_per_step(s.system, s.teacher, s.mean, s.var, s.length, h0)) == risk, s)
    require(found.untuned == sum(measured_risk(s), Fraction(0)), s)
    require(all(x >= f for x, f in zip(risk, found.floor_per_step, strict=True)), s)
    # the floor is what is left without the mean: centred inputs, no state
    centred = tuple((p, tuple(x - s.mean for x in sequence)) for p, sequence in s.law)
    require(list(found.floor_per_step) == measured_risk(replace(s, measured=centred)), s)
    left = s.system.run(list(s.prefix))[1]
    require(measured_risk(s, prefix=s.prefix) == measured_risk(s, left), s)


def check_optimum(s: Scenario) -> None:
    """The optimum over states is the enumerated minimum, the state found attains it, and its neighbours do not beat it."""
    found = state_tuning_risk_floor(s.system, s.teacher, s.mean, s.var, s.length)
    require(list(found.optimum_per_step) == measured_risk(s, found.h0), s)
    require(found.optimum == sum(found.optimum_per_step) == measured_optimum(s), s)
    require(found.floor <= found.optimum <= sum(measured_risk(s, list(s.h0)), Fraction(0)), s)
    for direction in state_basis(s.system):
        for step in (Fraction(1, 3), Fraction(-2)):
            h = s.system.state(found.h0) + step * s.system.state(direction)
            risk = sum(measured_risk(s, h), Fraction(0))
            shown = any(not is_zero(o) for o in s.system.free_response(direction, s.length))
            require(risk > found.optimum if shown else risk == found.optimum, (s, direction, step))


def check_prefix_optimum(s: Scenario) -> None:
    """The optimum over prefixes is the enumerated minimum, the prefix found attains it, and states do at least as well."""
    m = len(s.prefix)
    found = state_tuning_risk_floor(s.system, s.teacher, s.mean, s.var, s.length, prefix_length=m)
    prefix = existing(found.prefix, s)
    require(len(prefix) == m, s)
    require(found.prefix_optimum_per_step == tuple(measured_risk(s, prefix=list(prefix))), s)
    require(found.prefix_optimum == measured_prefix_optimum(s, m), s)
    require(found.optimum <= found.prefix_optimum <= found.untuned, s)
    require(found.prefix_optimum <= sum(measured_risk(s, prefix=s.prefix), Fraction(0)), s)
    longer = state_tuning_risk_floor(s.system, s.teacher, s.mean, s.var, s.length, prefix_length=m + 1)
    require(longer.prefix_optimum <= found.prefix_optimum, s)


def check_zero_mean(s: Scenario) -> None:
    """μ = 0: floor, optimum and untuned risk are one number, and every state that the outputs show loses."""
    found = state_tuning_risk_floor(s.system, s.teacher, s.mean, s.var, s.length, prefix_length=len(s.prefix))
    require(s.mean == 0, s)
    require(found.floor == found.optimum == found.prefix_optimum == found.untuned, s)
    risk = sum(measured_risk(s, list(s.h0)), Fraction(0))
    energy = sum((Fraction(o) ** 2 for o in s.system.free_response(list(s.h0), s.length)), Fraction(0))
    require(risk == found.floor + energy, s)
