"""sparse_dims.essential: which numbers of an LTI channel its function depends on.

    y_t = Σ_{j<t} k_j x_{t-j} + d x_t,      k_j = Σ_n r_n a_n^j,  r_n = c_n b_n

A channel's function is its set of essential pairs (λ, r_λ), λ ≠ 0 and r_λ = Σ_{a_n=λ} r_n ≠ 0, and its direct term
δ = d + r_0, since a state with mode 0 is a skip connection (0⁰ = 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import sympy
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.errors import InvalidInput, InvalidSystem
from theory.core.function_equality import essential_modes, group_by_value, impulse_response, same_essential
from theory.core.lti import LTI
from theory.core.scalars import as_array, is_zero, zeros
from theory.core.strategies import paired_lti
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
from theory.verification.planted import changed, giving, swap
from theory.verification.refutation import require

from ..draws import any_modes, distinct_modes, mode, nonzero, nonzeros, number, numbers


def deciding_horizon(s1: LTI, s2: LTI) -> int:
    """|U|, the number of modes in either essential set (0 among them where a direct term is not zero).

    Outputs on any horizon L ≥ |U| decide whether the functions are equal.
    """
    union = list(essential_modes(s1).with_zero()) + list(essential_modes(s2).with_zero())
    return max(1, len(group_by_value(union)))


def minimal_form(system: LTI) -> LTI:
    r"""The same function with one state per essential mode:  b_λ = 1,  c_λ = r_λ,  skip δ.

    A channel without essential modes keeps one state with residue 0, since an LTI needs N ≥ 1.
    """
    e = essential_modes(system)
    zero = 0 * system.a[0]
    modes = list(e.residues) or [zero]
    residues = list(e.residues.values()) or [zero]
    return LTI(modes, [1 + 0 * v for v in modes], residues, e.direct, check_stable=False)


def indistinguishable_pair(modes: Sequence[Any]) -> tuple[LTI, LTI]:
    r"""Two channels with disjoint essential sets that agree on horizon K − 1 and not on K, K = len(modes) ≥ 2.

    r_λ = 1/Π_{μ≠λ}(λ − μ) are the weights of the divided difference: Σ r_λ λ^j is 0 for j < K − 1 and 1 for j = K − 1.
    The first channel takes the first half of the modes, the second the others with residues −r_λ.

    Raises InvalidInput for fewer than two modes or repeated ones.
    """
    values = list(as_array(modes, "exact", "modes", ndim=1))
    if len(values) < 2 or len(group_by_value(values)) != len(values):
        raise InvalidInput(f"modes {list(map(str, values))} must be at least two and pairwise distinct")
    weights = []
    for v in values:
        product = Fraction(1)
        for w in values:
            product = product * (v - w) if w != v else product
        weights.append(1 / product)
    half, ones = (len(values) + 1) // 2, [Fraction(1)] * len(values)
    first = LTI(values[:half], ones[:half], weights[:half], check_stable=False)
    second = LTI(values[half:], ones[half:], [-w for w in weights[half:]], check_stable=False)
    return first, second


def absorb_input(system: LTI, b: Any) -> LTI:
    r"""The same function with the input coefficients replaced by ``b``:  c'_n = c_n b_n / b'_n  (zero initial state).

    Raises InvalidSystem where b'_n = 0 meets a nonzero residue: no c can make up for it.
    """
    new = as_array(b, system.kind, "b", ndim=1)
    if new.shape != system.b.shape:
        raise InvalidInput(f"b has shape {new.shape}, the system has N = {system.n_states} states")
    c = zeros(system.n_states, system.kind)
    for n in range(system.n_states):
        residue = system.c[n] * system.b[n]
        if is_zero(new[n]) and not is_zero(residue):
            raise InvalidSystem(f"b[{n}] = 0, so no c[{n}] restores the residue {residue}: choose b[{n}] ≠ 0")
        c[n] = system.c[n] if is_zero(new[n]) else residue / new[n]
    return system.replace(b=new, c=c)


# -- property tests ---------------------------------------------------------------------------------------------------

Pair = tuple[LTI, LTI, int]  # two channels and a horizon


def check_same_iff(pair: Pair) -> None:
    """On a deciding horizon: equal outputs exactly where the essential sets agree."""
    s1, s2, length = pair
    require(equality_is_essential(pair), f"{s1!r} and {s2!r} on L = {length}")


def equality_is_essential(pair: Pair) -> bool:
    """The conclusion: outputs agree on L iff the essential sets do. Computed from the outputs alone."""
    s1, s2, length = pair
    return (impulse_response(s1, length) == impulse_response(s2, length)) == same_essential(s1, s2)


def check_order_is_hankel_rank(system: LTI) -> None:
    """The number of essential modes is the rank of the Hankel matrix [k_{i+j+1}], which sees no parameters."""
    n = system.closed().n_states
    k = system.kernel(2 * n)
    hankel = [[k[i + j + 1] for j in range(n)] for i in range(n)]
    require(linalg.rank(hankel) == essential_modes(system).order, repr(system))
    require(same_essential(system, minimal_form(system)), repr(system))


def check_sharp(modes: list[Fraction]) -> None:
    """The bound on L cannot be lowered: two different functions agree on L = K − 1 and differ at L = K."""
    s1, s2 = indistinguishable_pair(modes)
    length = len(modes)
    require(deciding_horizon(s1, s2) == length)
    require(not same_essential(s1, s2))
    require(impulse_response(s1, length - 1) == impulse_response(s2, length - 1), repr((s1, s2)))
    require(impulse_response(s1, length)[-1] != impulse_response(s2, length)[-1], repr((s1, s2)))


def check_input_redundant(instance: tuple[LTI, list[Fraction], list[Fraction]]) -> None:
    """Any nonzero b' computes the same outputs after c' = c b / b', on a random input."""
    system, b, x = instance
    moved = absorb_input(system, b)
    require(same_essential(system, moved))
    require(list(system.run(x)[0]) == list(moved.run(x)[0]), repr(instance))


# -- strategies -------------------------------------------------------------------------------------------------------


@st.composite
def disguised(draw: st.DrawFn, system: LTI) -> LTI:
    """The same function in other parameters: states permuted, b and c rescaled, one state split, dead states added."""
    full = system.closed()
    a, r, d = list(full.a), list(full.c * full.b), full.d
    if draw(st.booleans()):
        n, part = draw(st.integers(0, len(a) - 1)), draw(number)
        a, r = [*a, a[n]], [*r[:n], r[n] - part, *r[n + 1 :], part]
    if draw(st.booleans()):
        a, r = [*a, draw(mode)], [*r, Fraction(0)]
    if draw(st.booleans()):
        q = draw(number)
        a, r, d = [*a, Fraction(0)], [*r, q], d - q
    order = draw(st.permutations(range(len(a))))
    b = draw(nonzeros(len(a)))
    return LTI([a[i] for i in order], b, [r[i] / b[k] for k, i in enumerate(order)], d, check_stable=False)


@st.composite
def channels(draw: st.DrawFn, max_states: int = 4) -> LTI:
    """Any exact channel: equal modes, mode 0, vanishing residues, a skip; one in three stored by conjugate halves."""
    if draw(st.integers(0, 2)) == 2:
        return draw(paired_lti(max_pairs=max_states // 2, nonzero_residues=False)).replace(d=draw(number))
    n = draw(st.integers(1, max_states))
    return LTI(draw(any_modes(n)), draw(numbers(n)), draw(numbers(n)), draw(number))


@st.composite
def pairs(draw: st.DrawFn, *, short: bool = False) -> Pair:
    """Channels that compute one function, nearly one, or unrelated ones; ``short``: L below the deciding horizon."""
    first = draw(channels())
    second = draw(disguised(first)) if draw(st.integers(0, 2)) else draw(channels())
    if draw(st.booleans()):  # one number off
        c = second.c.copy()
        c[draw(st.integers(0, second.n_states - 1))] += draw(nonzero)
        second = second.replace(c=c)
    length = deciding_horizon(first, second)
    if not short:
        return first, second, length + draw(st.integers(0, 3))
    if length < 2:
        a = draw(distinct_modes(3))
        first, second = LTI(a[:2], [1, 1], [1, 1]), LTI(a[2:], [1], [1])
        length = deciding_horizon(first, second)
    return first, second, draw(st.integers(1, length - 1))


def mode_lists() -> st.SearchStrategy[list[Fraction]]:
    """Two to six distinct modes."""
    return st.integers(2, 6).flatmap(distinct_modes)


@st.composite
def input_changes(draw: st.DrawFn) -> tuple[LTI, list[Fraction], list[Fraction]]:
    """A channel, new nonzero input coefficients and a test input."""
    n = draw(st.integers(1, 4))
    system = LTI(draw(any_modes(n)), draw(numbers(n)), draw(numbers(n)), draw(number))
    return system, draw(nonzeros(n)), draw(numbers(draw(st.integers(1, 6))))


Frozen = tuple[list[Fraction], list[Fraction], list[Fraction]]  # modes, frozen b, residues wanted


@st.composite
def frozen_inputs(draw: st.DrawFn, *, hole: bool) -> Frozen:
    """Distinct modes, frozen b with or without a zero, and wanted residues."""
    n = draw(st.integers(1, 4))
    b = draw(nonzeros(n))
    if hole:
        b[draw(st.integers(0, n - 1))] = Fraction(0)
    return draw(distinct_modes(n)), b, draw(numbers(n))


def output_map_reaches(instance: Frozen) -> bool:
    """Whether some c with b frozen gives the wanted function: an exact linear solve for c from impulse responses."""
    a, b, r = instance
    length = len(a)
    columns = [[bn * an**j for an, bn in zip(a, b, strict=True)] for j in range(length)]
    wanted = [sum((rn * an**j for an, rn in zip(a, r, strict=True)), Fraction(0)) for j in range(length)]
    return linalg.solve(columns, wanted) is not None


Started = tuple[LTI, list[Fraction], list[Fraction]]  # system, new b, initial state


@st.composite
def started(draw: st.DrawFn, *, rest: bool) -> Started:
    """A channel, new input coefficients and an initial state, zero or not."""
    n = draw(st.integers(1, 4))
    system = LTI(draw(distinct_modes(n)), draw(nonzeros(n)), draw(nonzeros(n)))
    h0 = [Fraction(0)] * n if rest else draw(numbers(n).filter(any))
    return system, draw(nonzeros(n)), h0


def unchanged_from(instance: Started) -> bool:
    """Whether moving b into c leaves the outputs as they are when both start at the given state."""
    system, b, h0 = instance
    moved, x = absorb_input(system, b), [Fraction(1)] * (2 * system.n_states)
    return list(system.run(x, h0)[0]) == list(moved.run(x, h0)[0])


# -- the claim --------------------------------------------------------------------------------------------------------


def difference_product(v: Sequence[Any]) -> Any:
    """Π_{i<k} (λ_k − λ_i)."""
    return sympy.prod([v[k] - v[i] for k in range(len(v)) for i in range(k)])


def differences(v: Sequence[Any], i: int) -> list[Any]:
    """λ_i − λ_k for the other k."""
    return [v[i] - w for w in v if w != v[i]]


def after_step(a: Any, b: Any, h: Any, x: Any) -> Any:
    """a h + b x."""
    return a * h + b * x


def vandermonde_determinant(profile: Profile) -> Outcome:
    """det[λ_i^j]_{i,j<K} = Π_{i<k}(λ_k − λ_i), and with λ_0 = 0 its first row is (1, 0, …, 0): the direct term."""
    for size in range(1, 5):
        v = sympy.symbols(f"lambda0:{size}")
        product = difference_product(v)
        matrix = sympy.Matrix(size, size, lambda i, j, v=v: v[i] ** j)
        require(sympy.expand(matrix.det(method="berkowitz") - product) == 0, f"Vandermonde determinant, K = {size}")
        require(list(matrix.subs(v[0], 0).row(0)) == [1] + [0] * (size - 1), f"mode 0 enters beyond j = 0, K = {size}")
    how = "the Vandermonde determinant, symbolic, with the argument in the README"
    return Outcome(Verdict.EXACT, how, "K ≤ 4 modes symbolically, any K by the argument", 4)


def divided_differences(profile: Profile) -> Outcome:
    """Σ_i λ_i^j/Π_{k≠i}(λ_i − λ_k) = [j = K−1] for j < K, symbolically: the two channels of every sharp pair."""
    count = 0
    for size in range(2, 5):
        v = sympy.symbols(f"lambda0:{size}")
        common = difference_product(v)
        weights = [sympy.cancel(common / sympy.prod(differences(v, i))) for i in range(size)]
        for j in range(size):
            total = sum((w * x**j for w, x in zip(weights, v, strict=True)), sympy.Integer(0))
            require(sympy.expand(total - (common if j == size - 1 else 0)) == 0, f"K = {size}, j = {j}")
            count += 1
    how = "divided differences of z^j, symbolic, with the argument in the README"
    return Outcome(Verdict.EXACT, how, "2 ≤ K ≤ 4 symbolically, any K by the argument", count)


def input_scaling(profile: Profile) -> Outcome:
    """h' = (b'/b) h turns (a, b, c) into (a, b', c b/b') step by step: one symbolic step is the induction."""
    a, b, new, c, h, x = sympy.symbols("a b b_new c h x", nonzero=True)
    old_h, new_h = after_step(a, b, h, x), after_step(a, new, new / b * h, x)
    require(sympy.simplify(new_h - new / b * old_h) == 0)
    require(sympy.simplify((c * b / new) * new_h - c * old_h) == 0)
    return Outcome(Verdict.EXACT, "one step of the rescaled state, symbolic; induction over t", "any N", 2)


CLAIM = Claim(
    id="sparse_dims.essential",
    title="A channel's function is its set of essential (mode, residue) pairs",
    statement=(
        "LTI channels, zero initial state. Let E(s) = {(λ, r_λ): λ ≠ 0, r_λ = Σ_{a_n=λ} c_n b_n ≠ 0}, δ(s) = d + r_0 "
        "and U the union of the modes in E(s1) and E(s2), with 0 in U if a δ is not zero. For L ≥ |U|: s1 and s2 give "
        "equal outputs for all inputs of length L iff E(s1) = E(s2) and δ(s1) = δ(s2). The bound is sharp for every "
        "set of |U| ≥ 2 modes. Where b_n ≠ 0, B is redundant given C: (a, b, c) and (a, b', c b/b') are one function."
    ),
    level="one SSM channel",
    horizon="L ≥ |U|",
    parts=(
        Part("same function iff same essential set", argument="derivation"),
        Part("sharp horizon", argument="derivation"),
        Part("B redundant given C", argument="derivation"),
    ),
    checks=(
        Check(
            "Vandermonde",
            vandermonde_determinant,
            "same function iff same essential set",
            planted=(Planted("differences of the wrong sign", swap("difference_product", changed(lambda product: -product))),),
        ),
        Check(
            "divided differences",
            divided_differences,
            "sharp horizon",
            planted=(Planted("differences of the wrong sign", swap("differences", changed(lambda found: [-x for x in found]))),),
        ),
        Check(
            "rescaled state",
            input_scaling,
            "B redundant given C",
            planted=(
                Planted("a state that is squared", swap("after_step", lambda right: lambda a, b, h, x: right(a, b, h**2, x))),
            ),
        ),
        Check(
            "equality against outputs",
            exact_check(check_same_iff, pairs, "essential sets against impulse responses", "N ≤ 7, L ≤ 14"),
            "same function iff same essential set",
            planted=(
                Planted("all channels called the same", swap("same_essential", giving(True))),
                Planted("no two channels called the same", swap("same_essential", giving(False))),
            ),
        ),
        Check(
            "order is the Hankel rank",
            exact_check(check_order_is_hankel_rank, channels, "essential modes = Hankel rank", "N ≤ 4"),
            "same function iff same essential set",
            planted=(
                Planted("a mode left out", swap("linalg.rank", changed(lambda rank: rank + 1))),
                Planted("another direct term", swap("minimal_form", changed(lambda system: system.replace(d=system.d + 1)))),
            ),
        ),
        Check(
            "horizon is sharp",
            exact_check(check_sharp, mode_lists, "divided-difference pairs", "2 ≤ |U| ≤ 6"),
            "sharp horizon",
            planted=(
                Planted("one output more", swap("deciding_horizon", changed(lambda length: length + 1))),
                Planted("a pair of one function", swap("indistinguishable_pair", changed(lambda pair: (pair[0], pair[0])))),
            ),
        ),
        Check(
            "B moves into C",
            exact_check(check_input_redundant, input_changes, "outputs before and after c' = c b/b'", "N ≤ 5, L ≤ 6"),
            "B redundant given C",
            planted=(
                Planted("twice the output map", swap("absorb_input", changed(lambda system: system.replace(c=2 * system.c)))),
            ),
        ),
    ),
    assumptions=(
        Assumption(
            name="horizon",
            statement="L ≥ |U|, the number of modes in either essential set (0 counted where a direct term is nonzero)",
            predicate=lambda p: p[2] >= deciding_horizon(p[0], p[1]),
            having=pairs,
            lacking=lambda: pairs(short=True),
            conclusion=equality_is_essential,
            counterexample=Counterexample(
                "one output of two modes",
                lambda: (LTI(["1/2"], [1], [1]), LTI(["1/3"], [1], [1]), 1),
                "L = 1: modes 1/2 and 1/3 with residue 1 both give y_1 = x_1, though the essential sets differ",
            ),
        ),
        Assumption(
            name="nonzero b",
            statement="b_n ≠ 0 on every state, for C alone to reach every residue",
            predicate=lambda p: all(v != 0 for v in p[1]),
            having=lambda: frozen_inputs(hole=False),
            lacking=lambda: frozen_inputs(hole=True),
            conclusion=output_map_reaches,
            counterexample=Counterexample(
                "b = 0",
                lambda: ([Fraction(1, 2)], [Fraction(0)], [Fraction(1)]),
                "a = 1/2, b = 0: the residue is c·0 = 0 for every c, and residue 1 is out of reach without B",
            ),
        ),
        Assumption(
            name="zero initial state",
            statement="the channel starts at h_0 = 0 (or h_0 is rescaled by b'/b with it)",
            predicate=lambda p: not any(p[2]),
            having=lambda: started(rest=True),
            lacking=lambda: started(rest=False),
            conclusion=unchanged_from,
            counterexample=Counterexample(
                "frozen initial state",
                lambda: (LTI(["1/2"], [1], [1]), [Fraction(2)], [Fraction(1)]),
                "a = 1/2, b = c = 1 against b' = 2, c' = 1/2, both from h_0 = 1 with x_1 = 1: y_1 = 3/2 against 5/4",
            ),
        ),
    ),
    readme="theory/sparse_dims/essential/README.md",
    not_claimed=(
        "Nothing about selective (S6) channels, whose B depends on the input, nor that training should leave B alone: "
        "redundancy is a statement about functions, not about optimisation."
    ),
)
