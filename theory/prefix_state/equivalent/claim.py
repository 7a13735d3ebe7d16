r"""prefix_state.equivalent: when the prefixes of one length do exactly what initial states do, for an LTI channel.

{outputs after a prefix of length M} = {outputs from an initial state}   on y_1..y_L

L ≥ n_obs:  iff every observable mode has residue r_λ ≠ 0, and M ≥ n_obs
any L:      iff rank [k_{t+m}]_{t=1..L, m=0..M−1} = min(L, n_obs)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import sympy
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.gramians import hankel_matrix, reachability_condition
from theory.core.initialisations import DT_GRID, INITIALISATIONS, initialisation
from theory.core.lti import LTI, channels_of, require_length
from theory.core.scalars import gaussian, is_zero, real
from theory.core.strategies import any_lti, paired_lti, real_lti
from theory.core.tolerance import EPS64, SAFETY
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
    run_instances,
)
from theory.verification.planted import changed, negated, swap
from theory.verification.refutation import require

from ..reach.lti import prefix_for
from ..reach.spans import prefix_responses, state_basis, state_responses


def criterion(system: LTI | Iterable[LTI], prefix_length: int, horizon: int | None = None) -> bool:
    r"""Whether prefixes of length M and initial states give the same set of outputs y_1..y_L.

    For L ≥ n_obs (``horizon=None`` means that) by modes: every observable r_λ ≠ 0 and M ≥ n_obs. For shorter L by the rank
    of the Hankel matrix, rank [k_{t+m}] = min(L, n_obs). Several channels: all of them, with the one length M.

    Raises InvalidInput for lengths below 1, InvalidSystem for a mode without its conjugate.
    """
    m = require_length(prefix_length, "prefix_length")
    length = None if horizon is None else require_length(horizon, "horizon")
    return all(_one_channel(channel.exactly(), m, length) for channel in channels_of(system))


def _one_channel(system: LTI, m: int, length: int | None) -> bool:
    system.require_real()
    if length is None or length >= system.n_observable():
        return by_modes(system, m)
    return linalg.rank(_rational(hankel_matrix(system, length, m))) == min(length, system.n_observable())


def by_modes(system: LTI, prefix_length: int) -> bool:
    """The criterion for L ≥ n_obs, whatever L is: every observable residue is nonzero and M ≥ n_obs."""
    modes = [mode for mode in system.modes() if mode.observable]
    return prefix_length >= len(modes) and not any(is_zero(mode.residue) for mode in modes)


def spans_agree(system: LTI, prefix_length: int, horizon: int) -> bool:
    """The same question by brute force: ranks of outputs simulated from unit prefixes and from a basis of states."""
    prefixes = prefix_responses(system, horizon, prefix_length)
    states = state_responses(system, horizon)
    both = [[*p, *s] for p, s in zip(prefixes, states, strict=True)]
    return linalg.rank(prefixes) == linalg.rank(states) == linalg.rank(both)


def _rational(matrix: Any) -> list[list[Fraction]]:
    return [[Fraction(real(x)) for x in row] for row in matrix]


@dataclass(frozen=True)
class Setting:
    """A channel with a prefix length M and a horizon L."""

    system: LTI
    prefix_length: int
    horizon: int


@st.composite
def settings(draw: st.DrawFn, systems: st.SearchStrategy[LTI] | None = None, *, long: bool = True) -> Setting:
    """A channel with M around n_obs, and L ≥ n_obs (``long``) or any L."""
    system = draw(systems if systems is not None else any_lti(4))
    n = system.n_observable()
    m = draw(st.integers(max(1, n - 1), n + 1))
    return Setting(system, m, draw(st.integers(max(1, n), n + 2) if long else st.integers(1, n + 1)))


def distinct_systems(max_states: int = 4) -> st.SearchStrategy[LTI]:
    """Distinct nonzero modes with nonzero b and c, real or in pairs."""
    return st.one_of(real_lti(max_states=max_states), paired_lti(max_pairs=max(1, max_states // 2)))


def check_criterion(s: Setting) -> None:
    """L ≥ n_obs: the criterion by modes against simulated spans."""
    require(s.horizon >= s.system.n_observable())
    require(by_modes(s.system, s.prefix_length) == spans_agree(s.system, s.prefix_length, s.horizon), s)


def check_rank_criterion(s: Setting) -> None:
    """Any L: rank of the Hankel matrix against simulated spans."""
    hankel = _rational(hankel_matrix(s.system, s.horizon, s.prefix_length))
    by_rank = linalg.rank(hankel) == min(s.horizon, s.system.n_observable())
    require(by_rank == spans_agree(s.system, s.prefix_length, s.horizon) == criterion(s.system, s.prefix_length, s.horizon), s)


def check_conversion(s: Setting) -> None:
    """Where the criterion holds, every basis state has a prefix of length M with the same outputs for other inputs too."""
    if not by_modes(s.system, s.prefix_length):
        return
    inputs = [Fraction((3 * t) % 7 - 3, 2) for t in range(s.horizon)]
    for h in state_basis(s.system):
        prefix = prefix_for(s.system, h, s.prefix_length)
        after = s.system.run([*prefix, *inputs])[0][s.prefix_length :]
        require(all(is_zero(x - y) for x, y in zip(after, s.system.run(inputs, h)[0], strict=True)), (s, h))


def hankel_determinant(lam: Any, r: Any, power: int = 2) -> sympy.Expr:
    """Π r_i Π λ_i Π_{i<j} (λ_i − λ_j)²."""
    out = sympy.Integer(1)
    for i in range(len(lam)):
        out *= r[i] * lam[i] * sympy.prod((lam[i] - lam[j]) ** power for j in range(i))
    return out


def prove_symbolically(_: Profile) -> Outcome:
    """det [k_{t+m}] = Π r_i Π λ_i Π_{i<j} (λ_i − λ_j)² for N ≤ 4, and H = V diag(rλ) Wᵀ for all L, M ≤ 4."""
    count = 0
    for n in (1, 2, 3, 4):
        lam, b, c = (sympy.symbols(f"{s}1:{n + 1}") for s in ("lambda", "b", "c"))
        r = [x * y for x, y in zip(b, c, strict=True)]

        def k(j: int, lam: Any = lam, r: Any = r) -> sympy.Expr:
            return sympy.Add(*[ri * li**j for ri, li in zip(r, lam, strict=True)])

        square = sympy.Matrix(n, n, lambda t, m: k(t + 1 + m))
        expected = hankel_determinant(lam, r)
        # both sides are polynomials; the ring's exact arithmetic decides equality
        ring = sympy.QQ[(*lam, *b, *c)]
        determinant = sympy.polys.matrices.DomainMatrix.from_Matrix(square).convert_to(ring)
        require(ring.from_sympy(sympy.expand(expected)) == determinant.det(), f"determinant identity fails for N = {n}")
        count += 1
        for rows in range(1, 5):
            for columns in range(1, 5):
                v = sympy.Matrix(rows, n, lambda t, i, lam=lam: lam[i] ** t)
                w = sympy.Matrix(n, columns, lambda i, m, lam=lam: lam[i] ** m)
                middle = sympy.diag(*[ri * li for ri, li in zip(r, lam, strict=True)])
                hankel = sympy.Matrix(rows, columns, lambda t, m, k=k: k(t + 1 + m))
                require(sympy.expand(v * middle * w - hankel) == sympy.zeros(rows, columns))
                count += 1
    return Outcome(
        Verdict.EXACT,
        "H = V diag(r_λ λ) Wᵀ with Vandermonde factors gives rank H; det H = Π r Π λ Π(λ_i − λ_j)² with symbols",
        "any N, M, L (derivation); N, M, L ≤ 4 with symbols",
        instances=count,
    )


def decide_initialisations(_: Profile) -> Outcome:
    """Every real initialisation at its exact binary values: M = n_obs is enough, M = n_obs − 1 is not."""
    rows = []
    for name in INITIALISATIONS:
        for dt in DT_GRID:
            system = initialisation(name, 16, dt)
            exact = system.exactly()
            n = exact.n_observable()
            ranks = []
            for m in (n - 1, n):
                ranks.append(linalg.rank(_rational(hankel_matrix(exact, n, m))))
                require(criterion(exact, m) == (ranks[-1] == n), (name, dt, m))
            require(ranks == [n - 1, n], (name, dt, ranks))
            rows.append({"initialisation": name, "dt": dt, "n_obs": n, "rank_one_short": ranks[0], "rank": ranks[1]})
    how = "16 real states: prefixes of n_obs tokens are initial states and n_obs − 1 are not; ranks of rational Hankel matrices"
    return Outcome(Verdict.EXACT, how, "N = 16, dt = 1e-3, 1e-2, 1e-1", len(rows), data={"table": rows})


def float_route(profile: Profile) -> Outcome:
    """float64 cannot decide it: LAPACK's rank of the reachability matrix agrees with the exact one only at small condition."""
    import numpy as np

    agree = disagree = 0
    largest = 1.0

    def check(system: LTI) -> None:
        nonlocal agree, disagree, largest
        n = system.n_observable()
        condition = reachability_condition(system, n)
        rank = int(np.linalg.matrix_rank(np.array(hankel_matrix(system.to("float64"), n, n))))
        exact = linalg.rank(_rational(hankel_matrix(system, n, n)))
        require(exact == n)
        if SAFETY * n * EPS64 * condition**2 * max(1.0, _spread(system)) < 1.0:  # H = O R: its condition is at most the product
            require(rank == n, f"{system!r}: LAPACK says rank {rank} of {n} at condition {condition:.1e}")
            agree, largest = agree + 1, max(largest, condition)
        else:
            disagree += 1

    count = run_instances(check, real_lti(max_states=4), profile.scaled(0.25), profile.seed)
    how = f"LAPACK's rank agrees on all {agree} channels whose condition promises it; {disagree} promise nothing"
    return Outcome(Verdict.NUMERIC, how, "N ≤ 4", count, tolerance=SAFETY * 4 * EPS64 * largest, condition=largest)


def _spread(system: LTI) -> float:
    """How much larger the Hankel matrix's condition can be than the square of the reachability matrix's: c against b."""
    ratios = [abs(float(c * a / b)) for a, b, c in zip(system.a, system.b, system.c, strict=True)]
    return max(ratios) / min(ratios)


# -- assumptions ----------------------------------------------------------------------------------------------------------


def _equal_sets(s: Setting) -> bool:
    return spans_agree(s.system, s.prefix_length, s.horizon)


def _as_decided(s: Setting) -> bool:
    """Whether the criterion by modes says what the simulated spans say."""
    return by_modes(s.system, s.prefix_length) == _equal_sets(s)


def _live(s: Setting) -> bool:
    """Every observable mode has a state with c_n b_n ≠ 0."""
    full = s.system.closed()
    return all(any(not is_zero(full.c[n] * full.b[n]) for n in m.indices) for m in s.system.modes() if m.observable)


def _no_cancelling(s: Setting) -> bool:
    full = s.system.closed()
    for mode in s.system.modes():
        if mode.observable and is_zero(mode.residue) and any(not is_zero(full.c[n] * full.b[n]) for n in mode.indices):
            return False
    return True


@st.composite
def enough(draw: st.DrawFn) -> Setting:
    """Settings on which every assumption holds."""
    system = draw(distinct_systems())
    n = system.n_observable()
    return Setting(system, draw(st.integers(n, n + 1)), draw(st.integers(n, n + 2)))


@st.composite
def _dead(draw: st.DrawFn) -> Setting:
    s = draw(enough())
    b = list(s.system.b)
    k = draw(st.integers(0, len(b) - 1))
    b[k] = 0 * b[k]
    return replace(s, system=s.system.replace(b=b))


@st.composite
def _cancelling(draw: st.DrawFn) -> Setting:
    s = draw(enough())
    system = s.system
    k = draw(st.integers(0, system.n_states - 1))
    a, b, c = ([*v, v[k]] for v in (system.a, system.b, system.c))
    b[-1] = -b[-1]
    return replace(s, system=system.replace(a=a, b=b, c=c))


@st.composite
def _short_prefix(draw: st.DrawFn) -> Setting:
    s = draw(enough().filter(lambda s: s.system.n_observable() > 1))
    return replace(s, prefix_length=draw(st.integers(1, s.system.n_observable() - 1)))


def _stored_count_enough(s: Setting) -> bool:
    return s.prefix_length >= s.system.n_observable()


@st.composite
def _short_horizon(draw: st.DrawFn) -> Setting:
    s = draw(enough().filter(lambda s: s.system.n_observable() > 1))
    return replace(s, horizon=draw(st.integers(1, s.system.n_observable() - 1)))


@st.composite
def _complex_outputs(draw: st.DrawFn) -> Setting:
    pair = draw(paired_lti(max_pairs=2))
    system = LTI(pair.a, pair.b, pair.c)
    return Setting(system, draw(st.integers(1, 3)), draw(st.integers(system.n_observable(), 3)))


ASSUMPTIONS = (
    Assumption(
        name="tokens move every observable mode",
        statement="each observable mode has a state with c_n b_n ≠ 0",
        predicate=_live,
        having=enough,
        lacking=_dead,
        conclusion=_equal_sets,
        counterexample=Counterexample(
            "b = 0 with c ≠ 0",
            lambda: Setting(LTI(["1/2", "1/3"], [1, 0], [1, 1]), 3, 3),
            "a = (1/2, 1/3), b = (1, 0), c = (1, 1), M = L = 3: prefixes give a line of outputs, states a plane",
        ),
    ),
    Assumption(
        name="residues do not cancel",
        statement="states that share a mode do not have Σ c_n b_n = 0",
        predicate=_no_cancelling,
        having=enough,
        lacking=_cancelling,
        conclusion=_equal_sets,
        counterexample=Counterexample(
            "two equal modes with cancelling residues",
            lambda: Setting(LTI(["1/2", "1/2"], [1, -1], [1, 1]), 3, 3),
            "a = (1/2, 1/2), b = (1, −1), c = (1, 1): every prefix gives 0, the state (1, 0) gives (1/2)^t",
        ),
    ),
    Assumption(
        name="M ≥ n_obs",
        statement="as many tokens as observable modes, each mode of a conjugate pair counted",
        predicate=_stored_count_enough,
        having=enough,
        lacking=_short_prefix,
        conclusion=_equal_sets,
        counterexample=Counterexample(
            "one real token on a conjugate pair",
            lambda: Setting(LTI([gaussian("1/2", "1/2")], [1], [1], half=True), 1, 2),
            "a = (1 ± i)/2, one stored mode, M = 1: prefixes give a line of outputs, states a plane (a pair counts 2)",
        ),
    ),
    Assumption(
        name="L ≥ n_obs",
        statement="the horizon shows every observable mode (shorter ones obey the rank criterion instead)",
        predicate=lambda s: s.horizon >= s.system.n_observable(),
        having=enough,
        lacking=_short_horizon,
        conclusion=_as_decided,
        counterexample=Counterexample(
            "one output, two modes",
            lambda: Setting(LTI(["1/2", "1/3"], [1, 1], [1, 1]), 1, 1),
            "modes 1/2, 1/3, M = L = 1: both sets are R, equal with one token fewer than n_obs = 2",
        ),
    ),
    Assumption(
        name="real outputs",
        statement="the channel is closed under conjugation (real inputs give real outputs)",
        predicate=lambda s: s.system.is_real_system(),
        having=enough,
        lacking=_complex_outputs,
        conclusion=_as_decided,
        counterexample=Counterexample(
            "one complex mode alone",
            lambda: Setting(LTI([gaussian(0, "1/2")], [1], [1]), 1, 1),
            "a = i/2 without its conjugate, M = L = 1: real tokens give the line iR, states give C, although n_obs = 1",
        ),
    ),
)

CLAIM = Claim(
    id="prefix_state.equivalent",
    title="prefixes of length M do exactly what initial states do iff M ≥ n_obs and no observable residue vanishes",
    statement=(
        "LTI channel with real outputs, modes grouped after closing under conjugation; λ ≠ 0 is observable if a c_n in its group "
        "is nonzero, n_obs counts observable modes (a pair counts 2), r_λ = Σ c_n b_n. For horizon L ≥ n_obs: {outputs after a "
        "prefix of length M} = {outputs from an initial state} iff every observable r_λ ≠ 0 and M ≥ n_obs. For any L: iff "
        "rank [k_{t+m}]_{t=1..L, m=0..M−1} = min(L, n_obs). One M serves all channels of a layer with free inputs."
    ),
    level="one SSM module, tokens free for every channel",
    horizon="L ≥ n_obs; any L by the rank criterion",
    parts=(Part("criterion", argument="derivation"),),
    checks=(
        Check(
            "symbolic identities",
            prove_symbolically,
            part="criterion",
            planted=(
                Planted(
                    "differences of modes not squared", swap("hankel_determinant", lambda right: lambda lam, r: right(lam, r, 1))
                ),
            ),
        ),
        Check(
            "criterion by modes",
            exact_check(check_criterion, settings, "against ranks of simulated outputs", "N ≤ 4 (2 pairs), M, L ≤ n_obs + 2"),
            part="criterion",
            planted=(
                Planted(
                    "residues not looked at",
                    swap(
                        "by_modes",
                        lambda _: lambda system, m: m >= system.n_observable(),
                        lambda: Setting(LTI(["1/2"], [0], [1]), 1, 1),
                    ),
                ),
                Planted("one token fewer is enough", swap("by_modes", lambda right: lambda system, m: right(system, m + 1))),
            ),
        ),
        Check(
            "criterion by rank",
            exact_check(
                check_rank_criterion, lambda: settings(long=False), "short horizons, against ranks of simulated outputs", "N ≤ 4"
            ),
            part="criterion",
            planted=(
                Planted(
                    "one token fewer is enough",
                    swap("criterion", lambda right: lambda system, m, length: right(system, m + 1, length)),
                ),
            ),
        ),
        Check(
            "conversion",
            exact_check(
                check_conversion,
                lambda: settings(distinct_systems()),
                "a prefix for every basis state, run and compared",
                "N ≤ 4 (2 pairs)",
                0.5,
            ),
            part="criterion",
            planted=(Planted("tokens in reverse order", swap("prefix_for", changed(lambda prefix: list(prefix)[::-1]))),),
        ),
        Check(
            "initialisations", decide_initialisations, part=None, planted=(Planted("the contrary", swap("criterion", negated)),)
        ),
        Check(
            "float ranks",
            float_route,
            part=None,
            planted=(
                Planted(
                    "every row of the Hankel matrix the first one",
                    swap("hankel_matrix", lambda right: lambda system, rows, m: right(system, 1, m).repeat(rows, axis=0)),
                ),
            ),
        ),
    ),
    assumptions=ASSUMPTIONS,
    readme="theory/prefix_state/equivalent/README.md",
    not_claimed=(
        "Nothing about sizes or training: the prefix that acts as a state may be astronomically large. Nothing about selective "
        "modules (prefix_state.selective) or tokens placed before a projection or an activation."
    ),
)
