"""prefix_state.minimal_length: how long a prefix must be, and the prefix itself (claim; algorithms in inverse.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.errors import Unreachable
from theory.core.initialisations import DT_GRID, INITIALISATIONS, initialisation
from theory.core.lti import LTI
from theory.core.scalars import is_zero
from theory.core.strategies import any_lti, gaussians, paired_lti, rationals, real_lti, vectors
from theory.core.tolerance import budget
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
from theory.verification.planted import changed, swap
from theory.verification.refutation import existing, require

from ..reach.lti import minimal_length_for, minimal_prefix_length, pairing, prefix_for, reachable_lti
from ..reach.spans import prefix_responses, state_basis, unit_prefix_states


@dataclass(frozen=True)
class Target:
    """A channel, a state to act as, and inputs that follow."""

    system: LTI
    h0: tuple[Any, ...]
    inputs: tuple[Fraction, ...]


@st.composite
def targets(draw: st.DrawFn, systems: st.SearchStrategy[LTI] | None = None) -> Target:
    """Any exact real channel (equal and zero modes, vanishing residues, pairs) with a state of its own kind."""
    system = draw(systems if systems is not None else any_lti(4))
    entries = gaussians() if system.half else rationals()
    h = draw(st.lists(entries, min_size=system.n_states, max_size=system.n_states))
    return Target(system, tuple(h), tuple(draw(vectors(draw(st.integers(1, 3))))))


def controllable(max_states: int = 4) -> st.SearchStrategy[LTI]:
    """Channels with distinct nonzero modes and b_n, c_n ≠ 0."""
    return st.one_of(real_lti(max_states=max_states), paired_lti(max_pairs=max(1, max_states // 2)))


def _run(system: LTI, prefix: list[Any], inputs: tuple[Any, ...]) -> list[Any]:
    return list(system.run([*prefix, *inputs])[0])[len(prefix) :]


def _equal(left: Any, right: Any) -> bool:
    return all(is_zero(x - y) for x, y in zip(left, right, strict=True))


def check_inverse(target: Target) -> None:
    """The prefix found gives every later output, one token fewer cannot, and where none exists ℓ proves it."""
    system, h0 = target.system, list(target.h0)
    horizon = system.n_observable() + 1
    inputs = (*target.inputs, *[Fraction(0)] * horizon)
    free = [Fraction(y) for y in system.free_response(h0, horizon)]
    need = minimal_length_for(system, h0)
    if math.isinf(need):
        found = reachable_lti(system, h0)
        require(found.verdict == "obstruction", target)
        check_obstruction(target)
        require(linalg.solve(prefix_responses(system, horizon, horizon + 2), free) is None, target)
        return
    length = max(1, int(need))
    prefix = prefix_for(system, h0)
    require(len(prefix) == length, target)
    require(_equal(_run(system, prefix, inputs), system.run(inputs, h0)[0]), f"{target}: {prefix} does not act as h0")
    longer = prefix_for(system, h0, length + 2)
    require(_equal(_run(system, longer, inputs), system.run(inputs, h0)[0]), f"{target}: {longer} does not act as h0")
    if need > 1:
        require(linalg.solve(prefix_responses(system, horizon, length - 1), free) is None, f"{target}: fewer tokens do")
        refused = existing(_refusal(system, h0, length - 1), f"{target}: a prefix of {length - 1} tokens was returned")
        require(refused.smallest_length == length and refused.mode is not None, target)
    elif need == 0:
        require(not any(free), target)


def _refusal(system: LTI, h0: list[Any], length: int) -> Unreachable | None:
    try:
        prefix_for(system, h0, length)
    except Unreachable as error:
        return error
    return None


def check_state_level(target: Target) -> None:
    """At state level the prefix leaves h_0 itself, or ℓ separates h_0 from all states prefixes leave."""
    system, h0 = target.system, list(target.h0)
    found = reachable_lti(system, h0, level="state")
    if found.verdict == "witness":
        require(_equal(system.run(existing(found.prefix, target))[1], h0), target)
        return
    check_obstruction(target, "state")


def check_obstruction(target: Target, level: Any = "function", length: int | None = None) -> None:
    """⟨ℓ, ·⟩ vanishes on the states of unit prefixes, stepped one by one, and is negative on h_0."""
    system = target.system
    found = reachable_lti(system, list(target.h0), level=level, max_length=length)
    require(found.verdict == "obstruction", target)
    ell = existing(found.ell, target)
    steps = unit_prefix_states(system, length if length is not None else 2 * system.n_states + 2)
    require(all(pairing(system, ell, list(h)) == 0 for h in steps), target)
    require(found.value < 0 and pairing(system, ell, list(target.h0)) == found.value, target)


def check_short_obstruction(target: Target) -> None:
    """With one token too few, ℓ proves it."""
    need = minimal_length_for(target.system, list(target.h0), level="state")
    if 1 < need < math.inf:
        check_obstruction(target, "state", int(need) - 1)


def check_all_states(system: LTI) -> None:
    """The longest of the least lengths over a basis of states is n_obs, so fewer tokens miss one of them."""
    each = [minimal_length_for(system, h) for h in state_basis(system)]
    require(max(each) == minimal_prefix_length(system) == system.n_observable(), (system, each))


def check_layer(channels: list[LTI]) -> None:
    """A layer with free inputs needs the longest of its channels, and that length serves them all."""
    need = minimal_prefix_length(channels)
    require(need == max(c.n_observable() for c in channels))
    for channel in channels:
        for h in state_basis(channel):
            require(len(prefix_for(channel, h, max(1, int(need)))) == max(1, need))


def prove_symbolically(_: Profile) -> Outcome:
    """h_n = b_n p(a_n) for M ≤ 4 tokens, and the interpolating prefix for N ≤ 3 with symbols for every number."""
    count = 0
    for tokens in (1, 2, 3, 4):
        x = sympy.symbols(f"x1:{tokens + 1}", real=True)
        a, b = sympy.symbols("a b", real=True)
        h = LTI([a], [b], [1], kind="symbolic").run(x)[1][0]
        polynomial = sum(x[tokens - 1 - m] * a**m for m in range(tokens))
        require(sympy.expand(h - b * polynomial) == 0, f"h ≠ b p(a) for M = {tokens}")
        count += 1
    for n in (1, 2, 3):
        a, b, c, k = (sympy.symbols(f"{s}1:{n + 1}", real=True, nonzero=True) for s in ("a", "b", "c", "h"))
        system = LTI(list(a), list(b), list(c), kind="symbolic")
        prefix = prefix_for(system, list(k))
        require(len(prefix) == n, f"{n} symbolic modes need {n} tokens, got {len(prefix)}")
        left = system.run(prefix)[1]
        require(all(sympy.cancel(u - v) == 0 for u, v in zip(left, k, strict=True)), f"N = {n}")
        count += 1
    return Outcome(
        Verdict.EXACT,
        "h_n = b_n p(a_n): a prefix is a real polynomial, and interpolation at distinct nodes is unique; symbols checked",
        "any N, M (derivation); M ≤ 4, N ≤ 3 with symbols",
        instances=count,
    )


def float_route(profile: Profile) -> Outcome:
    """LAPACK's solve of the reachability system against the exact prefix, within n·eps·cond."""
    cond = allowed = 0.0

    def check(target: Target) -> None:
        nonlocal cond, allowed
        system = target.system.to("float64")
        n = system.n_states
        exact = np.array([float(x) for x in prefix_for(target.system, list(target.h0), n, level="state")])
        matrix = np.array([[b * a ** (n - 1 - m) for m in range(n)] for a, b in zip(system.a, system.b, strict=True)])
        kappa = float(np.linalg.cond(matrix))
        found = np.linalg.solve(matrix, [float(x) for x in target.h0])
        scale = float(np.abs(exact).max()) or 1.0
        error = float(np.abs(found - exact).max()) / scale
        require(error <= budget(n, kappa), f"{target}: error {error:.1e} at condition {kappa:.1e}")
        cond, allowed = max(cond, kappa), max(allowed, budget(n, kappa))

    count = run_instances(check, targets(real_lti(max_states=4)), profile.scaled(0.5), profile.seed)
    how = "LAPACK solve against the exact prefix, every error within its budget; the largest budget and condition"
    return Outcome(Verdict.NUMERIC, how, "N = M ≤ 4", count, tolerance=allowed, condition=cond)


def initialisations_table(profile: Profile) -> Outcome:
    """Real initialisations, decided exactly at their binary values: length for all states, and the prefix of one state."""
    rows = []
    for name in INITIALISATIONS:
        for dt in DT_GRID:
            system = initialisation(name, 16, dt, seed=profile.seed)
            rng = np.random.default_rng(profile.seed)
            h0 = rng.standard_normal(system.n_states)
            h0 = h0 + 1j * rng.standard_normal(system.n_states) if system.half else h0
            exact = system.exactly()
            state = list(LTI(np.zeros(system.n_states), h0, h0, check_stable=False).exactly().b)
            need = minimal_prefix_length(system)
            found = reachable_lti(exact, state)
            require(found.verdict == "witness" and found.length == need == system.n_observable(), (name, dt))
            prefix = existing(found.prefix, (name, dt))
            horizon = system.n_observable() + 1
            require(_equal(_run(exact, prefix, (0,) * horizon), exact.free_response(state, horizon)), (name, dt))
            rows.append({"initialisation": name, "dt": dt, "length": int(need), "prefix_norm": found.norm})
    hardest = max(rows, key=lambda r: float(str(r["prefix_norm"])))
    return Outcome(
        Verdict.EXACT,
        f"16 real states from {len(INITIALISATIONS)} initialisations; a random state costs a prefix of norm up to "
        f"{hardest['prefix_norm']:.0e} ({hardest['initialisation']}, dt = {hardest['dt']:g})",
        "N = 16, dt = 1e-3, 1e-2, 1e-1",
        len(rows),
        data={"table": rows},
    )


# -- assumptions ----------------------------------------------------------------------------------------------------------


def _residues(system: LTI) -> bool:
    return not any(mode.observable and is_zero(mode.residue) for mode in system.modes())


def _all_within_n_obs(system: LTI) -> bool:
    return all(minimal_length_for(system, h) <= system.n_observable() for h in state_basis(system))


@st.composite
def _dead(draw: st.DrawFn) -> LTI:
    system = draw(controllable(3))
    b = list(system.b)
    b[0] = 0 * b[0]
    return system.replace(b=b)


@dataclass(frozen=True)
class Bounded:
    """One real mode 0 < a < 1 with b > 0, a state, and a lower bound on tokens (None: free)."""

    a: Fraction
    b: Fraction
    h0: Fraction
    least: Fraction | None = None


SILU_FLOOR = Fraction(-279, 1000)
"""Below SiLU's minimum, −0.27846…: a bound that all tokens behind a SiLU respect."""


def _some_prefix(i: Bounded) -> bool:
    """Whether a prefix with tokens ≥ least leaves h_0: the infimum of h is least·b/(1 − a), never attained."""
    return i.least is None or i.h0 > i.least * i.b / (1 - i.a)


@st.composite
def _bounded(draw: st.DrawFn, free: bool) -> Bounded:
    a = draw(st.sampled_from([Fraction(1, 2), Fraction(2, 3), Fraction(1, 5)]))
    b = draw(st.sampled_from([Fraction(1), Fraction(2), Fraction(1, 3)]))
    return Bounded(a, b, draw(rationals()), None if free else SILU_FLOOR)


@dataclass(frozen=True)
class Coupled:
    """A layer whose D inputs are W u for tokens u of width d (None: every channel has an input of its own)."""

    channels: tuple[LTI, ...]
    W: tuple[tuple[Fraction, ...], ...] | None = None


def _joint_states_reached(i: Coupled) -> bool:
    """Whether M = max n_obs tokens reach every joint state, by the rank of the stacked reachability matrix."""
    need = int(minimal_prefix_length(i.channels))
    blocks = []
    for d, channel in enumerate(i.channels):
        steps = unit_prefix_states(channel, need)
        width = len(i.channels) if i.W is None else len(i.W[0])
        weights = [Fraction(int(j == d)) for j in range(width)] if i.W is None else i.W[d]
        for n in range(channel.n_states):
            blocks.append([w * h[n] for h in steps for w in weights])
    return linalg.rank(blocks) == sum(c.n_states for c in i.channels)


@st.composite
def _layers(draw: st.DrawFn, coupled: bool) -> Coupled:
    d = draw(st.integers(2, 3))
    channels = tuple(draw(real_lti(max_states=2)) for _ in range(d))
    if not coupled:
        return Coupled(channels)
    w = draw(st.integers(1, d - 1))
    return Coupled(channels, tuple(tuple(draw(vectors(w))) for _ in range(d)))


ASSUMPTIONS = (
    Assumption(
        name="observable residues nonzero",
        statement="every observable mode has residue r_λ = Σ c_n b_n ≠ 0",
        predicate=_residues,
        having=lambda: controllable(3),
        lacking=_dead,
        conclusion=_all_within_n_obs,
        counterexample=Counterexample(
            "a mode no token moves",
            lambda: LTI(["1/2", "1/3"], [1, 0], [1, 1]),
            "a = (1/2, 1/3), b = (1, 0), c = (1, 1): h_0 = (0, 1) shows as (1/3)^t and no prefix of any length gives it",
        ),
    ),
    Assumption(
        name="free tokens",
        statement="tokens enter before the SSM module and range over all reals",
        predicate=lambda i: i.least is None,
        having=lambda: _bounded(True),
        lacking=lambda: _bounded(False),
        conclusion=_some_prefix,
        counterexample=Counterexample(
            "tokens behind a SiLU",
            lambda: Bounded(Fraction(1, 2), Fraction(1), Fraction(-1), SILU_FLOOR),
            "a = 1/2, b = 1, tokens ≥ −0.279: h > −0.558 for every M, so h_0 = −1 is out of reach",
        ),
    ),
    Assumption(
        name="an input for every channel",
        statement="the D channels see D free numbers per token; behind W_in with d_model < D they do not",
        predicate=lambda i: i.W is None,
        having=lambda: _layers(False),
        lacking=lambda: _layers(True),
        conclusion=_joint_states_reached,
        counterexample=Counterexample(
            "two channels, one number per token",
            lambda: Coupled((LTI(["1/2"], [1], [1]), LTI(["1/3"], [1], [1])), ((Fraction(1),), (Fraction(1),))),
            "d_model = 1, D = 2, N = 1, modes 1/2 and 1/3: M = 1 leaves a line in R², M = 2 is needed although n_obs = 1",
        ),
    ),
)

CLAIM = Claim(
    id="prefix_state.minimal_length",
    title="a prefix is a polynomial: n_obs tokens for all states, degree + 1 for one, and the prefix itself",
    statement=(
        "LTI channel with real outputs. The prefix x_1..x_M acts as h_0 iff p(z) = Σ_m x_{M−m} z^m has r_λ p(λ) = κ_λ at every "
        "observable λ, κ_λ = Σ_{a_n=λ} c_n h_{0,n}. If every observable r_λ ≠ 0, the least length for h_0 is the degree of the "
        "polynomial that interpolates κ_λ/r_λ plus one, and the least length for all h_0 is n_obs (a conjugate pair counts 2); "
        "for a layer, the largest n_obs of its channels. If some observable r_λ = 0, a state with κ_λ ≠ 0 is out of reach at any "
        "length."
    ),
    level="one SSM module, tokens free for every channel",
    horizon="L ≥ n_obs (hence all L)",
    parts=(
        Part("statement", argument="derivation"),
        Part("state level", argument="derivation"),
        Part("layers", argument="derivation"),
    ),
    checks=(
        Check(
            "symbolic identities",
            prove_symbolically,
            planted=(Planted("tokens in reverse order", swap("prefix_for", changed(lambda prefix: list(prefix)[::-1]))),),
        ),
        Check(
            "inverse map",
            exact_check(
                check_inverse,
                targets,
                "outputs after the prefix against outputs from h_0; fewer tokens have no solution",
                "N ≤ 4 (2 pairs)",
            ),
            planted=(
                Planted("tokens in reverse order", swap("prefix_for", changed(lambda prefix: list(prefix)[::-1]))),
                Planted("one token too many called least", swap("minimal_length_for", changed(lambda length: length + 1))),
            ),
        ),
        Check(
            "states themselves",
            exact_check(check_state_level, targets, "the prefix leaves h_0, or ℓ vanishes on unit prefixes", "N ≤ 4 (2 pairs)"),
            part="state level",
            planted=(
                Planted(
                    "tokens in reverse order",
                    swap("reachable_lti", changed(lambda r: replace(r, prefix=r.prefix and list(r.prefix)[::-1]))),
                ),
                Planted(
                    "the functional of the wrong sign",
                    swap("reachable_lti", changed(lambda r: replace(r, ell=None if r.ell is None else -r.ell))),
                ),
            ),
        ),
        Check(
            "one token too few",
            exact_check(check_short_obstruction, targets, "ℓ vanishes on all shorter prefixes", "N ≤ 4 (2 pairs)", 0.5),
            part="state level",
            planted=(Planted("the least length overstated", swap("minimal_length_for", changed(lambda length: length + 1))),),
        ),
        Check(
            "all states",
            exact_check(
                check_all_states, lambda: controllable(4), "longest least length over a basis is n_obs", "N ≤ 4 (2 pairs)", 0.5
            ),
            planted=(Planted("one token more than needed", swap("minimal_prefix_length", changed(lambda length: length + 1))),),
        ),
        Check(
            "layers",
            exact_check(
                check_layer,
                lambda: st.lists(controllable(3), min_size=1, max_size=3),
                "one length serves all channels",
                "D ≤ 3, N ≤ 3",
                0.25,
            ),
            part="layers",
            planted=(
                Planted(
                    "the shortest of the channels",
                    swap("minimal_prefix_length", lambda right: lambda channels: min(map(right, channels))),
                ),
            ),
        ),
        Check(
            "float solve",
            float_route,
            part=None,
            planted=(
                Planted(
                    "tokens off by one part in a million",
                    swap("prefix_for", changed(lambda prefix: [x * Fraction(10**6 + 1, 10**6) for x in prefix])),
                ),
            ),
        ),
        Check(
            "initialisations",
            initialisations_table,
            part=None,
            planted=(Planted("one token more than needed", swap("minimal_prefix_length", changed(lambda length: length + 1))),),
        ),
    ),
    assumptions=ASSUMPTIONS,
    readme="theory/prefix_state/minimal_length/README.md",
    not_claimed=(
        "Nothing about size: the prefix exists and may be astronomically large (prefix_state.finite_precision). Nothing about "
        "tokens placed before an activation or a projection, which are bounded and coupled."
    ),
)
