r"""prefix_state.softplus_clock: S6 with the softplus clock; one channel of two states, and signs of every clock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import flint
import numpy as np
from hypothesis import strategies as st

from theory.core.multiprecision import to_arb
from theory.core.scalars import Array
from theory.core.selective import SelectiveSSM
from theory.core.strategies import ENTRIES
from theory.verification.claim import Assumption, Check, Claim, Counterexample, Part, Planted, exact_check
from theory.verification.planted import changed, giving, on, swap
from theory.verification.refutation import existing, require

from ..contained.claim import rational_clock
from .channel import PRECISION, Channel, bracket, second_state

NEAR = Fraction(1, 2**40)
"""How near the end of a bracket of width 2^−60 comes to the state, as a share of g_1."""

# -- one channel, two states ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """A channel, and a state g_n = h_n / b_n."""

    channel: Channel
    g1: Fraction
    g2: Fraction


RATES = st.sampled_from([(Fraction(-1, 2), Fraction(-1)), (Fraction(-1), Fraction(-3)), (Fraction(-1, 10), Fraction(-2))])


@st.composite
def channels(draw: st.DrawFn) -> Channel:
    """w of either sign or 0, −2 ≤ β ≤ 2."""
    return Channel(Fraction(draw(st.integers(-4, 4)), 2), Fraction(draw(st.integers(-4, 4)), 2), draw(RATES))


@st.composite
def targets(draw: st.DrawFn) -> Target:
    """g_1 up to 100, g_2 a share of it, down to a thousandth."""
    g1 = Fraction(draw(st.sampled_from([1, 3, 100])), draw(st.sampled_from([1, 7])))
    return Target(draw(channels()), g1, g1 * Fraction(draw(st.integers(1, 999)), 1000))


def check_reached(t: Target) -> None:
    """A change of sign between two last tokens, and a first token of positive mass: some prefix leaves exactly the state."""
    found, c = existing(bracket(t.channel, t.g1, t.g2), t), t.channel
    with flint.ctx.workprec(PRECISION):
        low, high = (second_state(c, t.g1, found.waits, z) for z in (found.low, found.high))
        require(low < to_arb(t.g2) < high and found.first_mass > 0, t)
        # by running the end of the bracket: softplus(w z + β) z² takes every value, so the first token enters by its mass
        last = to_arb(found.low)
        later = found.waits * c.step(flint.arb(0)) + c.step(last)
        tail = c.run([*[flint.arb(0)] * found.waits, last])
        left = [found.first_mass * (to_arb(a) * later).exp() + x for a, x in zip(c.A, tail, strict=True)]
        near = to_arb(t.g1 * NEAR)
        require(abs(left[0] - to_arb(t.g1)) < near and abs(left[1] - to_arb(t.g2)) < near, t)


def check_length(t: Target) -> None:
    """The number of waits is the least that the statement allows."""
    found, c = existing(bracket(t.channel, t.g1, t.g2), t), t.channel
    with flint.ctx.workprec(PRECISION):
        shrunk = [(to_arb(c.A[1] - c.A[0]) * k * c.step(flint.arb(0))).exp() for k in (found.waits, found.waits + 1)]
        require(shrunk[1] < to_arb(t.g2 / t.g1) and (found.waits == 0 or not shrunk[0] < to_arb(t.g2 / t.g1)), t)
    require(found.length == found.waits + 2, t)


@dataclass(frozen=True)
class Run:
    """A channel and tokens."""

    channel: Channel
    tokens: tuple[Fraction, ...]


@st.composite
def runs(draw: st.DrawFn) -> Run:
    """One to five tokens, not all 0."""
    return Run(draw(channels()), (*draw(st.lists(ENTRIES, max_size=4)), draw(ENTRIES.filter(bool))))


def check_wedge(r: Run) -> None:
    """Every prefix leaves 0 < g_2 ≤ g_1, in at least 1 + ln(g_1/g_2)/((A_1 − A_2) max dt) tokens."""
    with flint.ctx.workprec(PRECISION):
        tokens = [to_arb(z) for z in r.tokens]
        g1, g2 = r.channel.run(tokens)
        require(g2 > 0 and not g2 > g1, r)
        longest = r.channel.step(tokens[0])
        for z in tokens:
            longest = longest.max(r.channel.step(z))
        bound = 1 + (g1 / g2).log() / (to_arb(r.channel.A[0] - r.channel.A[1]) * longest)
        require(not bound > len(tokens), r)


def reached(t: Target) -> bool:
    """The conclusion: some prefix leaves the state."""
    return bracket(t.channel, t.g1, t.g2) is not None or t.g1 == t.g2 >= 0


@st.composite
def outside(draw: st.DrawFn) -> Target:
    """g_2 above g_1, or of another sign, or 0."""
    t = draw(targets())
    return replace(t, g2=draw(st.sampled_from([t.g1 * 2, -t.g1, Fraction(0)])))


# -- signs ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Signs:
    """A module whose row n of W_B reads channel d alone, and tokens."""

    module: SelectiveSSM
    tokens: Array
    entry: tuple[int, int]


@st.composite
def signs(draw: st.DrawFn, *, mixed: bool = False) -> Signs:
    """D ≤ 3, N ≤ 2, a clock that reads the token; ``mixed``: the row reads another channel too."""
    d, n = draw(st.integers(2 if mixed else 1, 3)), draw(st.integers(1, 2))
    W_B = np.array([[draw(ENTRIES) for _ in range(d)] for _ in range(n)], dtype=object)
    channel, state = draw(st.integers(0, d - 1)), draw(st.integers(0, n - 1))
    W_B[state] = [Fraction(int(k == channel or (mixed and k == (channel + 1) % d))) for k in range(d)]
    rates = np.array([[Fraction(1 + i + j) for j in range(n)] for i in range(d)], dtype=object)
    module = SelectiveSSM(W_B, clock=rational_clock(rates), kind="exact")
    tokens = np.array([[draw(ENTRIES) for _ in range(d)] for _ in range(draw(st.integers(1, 4)))], dtype=object)
    return Signs(module, tokens, (channel, state))


def one_sign(s: Signs) -> bool:
    """The conclusion: the entry is not negative, whatever the tokens and the clock."""
    state = s.module.zero_state()
    for z in s.tokens:
        state, _ = s.module.step(state, z)
    return bool(state[s.entry] >= 0)


def check_signs(s: Signs) -> None:
    """A row that reads its own channel keeps its sign."""
    require(one_sign(s), s)


def negative() -> Signs:
    """D = 2, W_B = (1, 1), the token (1, −2): channel 1 receives 1·(1 − 2) < 0."""
    module = SelectiveSSM([[1, 1]], clock=rational_clock(np.array([[Fraction(1)], [Fraction(1)]], dtype=object)), kind="exact")
    return Signs(module, np.array([[Fraction(1), Fraction(-2)]], dtype=object), (0, 0))


ASSUMPTIONS = (
    Assumption(
        name="inside the wedge",
        statement="0 < g_2 ≤ g_1",
        predicate=lambda t: 0 < t.g2 <= t.g1,
        having=targets,
        lacking=outside,
        conclusion=reached,
        counterexample=Counterexample(
            "the fast state alone",
            lambda: Target(Channel(Fraction(1), Fraction(0), (Fraction(-1, 2), Fraction(-1))), Fraction(1), Fraction(2)),
            "g = (1, 2): what a token adds to both states shrinks faster in the second",
        ),
    ),
    Assumption(
        name="a row that reads one channel",
        statement="W_B[n, :] is a multiple of e_d",
        predicate=lambda s: np.count_nonzero(s.module.W_B[s.entry[1]]) == 1,
        having=signs,
        lacking=lambda: signs(mixed=True),
        conclusion=one_sign,
        counterexample=Counterexample("two channels read", negative, "W_B = (1, 1), token (1, −2): h_1 = −dt"),
    ),
)

CLAIM = Claim(
    id="prefix_state.softplus_clock",
    title="S6 with the softplus clock: one channel of two states reaches the wedge 0 < g_2 ≤ g_1, and no clock changes a sign",
    statement=(
        "Softplus clock, one channel, A_2 < A_1 < 0, both rows of W_B not zero, g_n = h_n/W_B[n]. Wedge: prefixes reach "
        "exactly g = 0 and 0 < g_2 ≤ g_1, whatever w and β are. Length: g_1 = g_2 takes one token, other states at most k + "
        "2 with exp((A_2 − A_1)(k + 1) softplus(β)) < g_2/g_1, and tokens of step at most dt_max at least 1 + "
        "ln(g_1/g_2)/((A_1 − A_2) dt_max). Signs: any number of channels and any positive clock: where W_B[n, :] reads "
        "channel d alone, h[d, n] keeps the sign of W_B[n, d]."
    ),
    level="module",
    horizon="all L",
    parts=tuple(Part(name, argument="derivation") for name in ("wedge", "length", "signs")),
    checks=(
        Check(
            "reached",
            exact_check(check_reached, targets, "changes of sign certified in ball arithmetic", "D = 1, N = 2", 0.3),
            "wedge",
            planted=(
                Planted("the fast state larger", swap("bracket", lambda right: lambda c, g1, g2: right(c, g2, g1))),
                Planted("no prefix found", swap("bracket", giving(None))),
            ),
        ),
        Check(
            "nothing outside",
            exact_check(check_wedge, runs, "drawn prefixes run in ball arithmetic", "D = 1, N = 2, M ≤ 5", 0.5),
            "wedge",
            planted=(Planted("states exchanged", swap("Channel.run", changed(lambda g: (g[1], g[0] + 1)))),),
        ),
        Check(
            "waits",
            exact_check(check_length, targets, "the least number of tokens 0, in ball arithmetic", "D = 1, N = 2", 0.3),
            "length",
            planted=(Planted("one token 0 more", swap("Channel.waits", changed(lambda k: k + 1))),),
        ),
        Check(
            "signs",
            exact_check(check_signs, signs, "modules run with a clock that reads the token", "D ≤ 3, N ≤ 2, M ≤ 4", 0.5),
            "signs",
            planted=(Planted("a row that reads two channels", on(negative)),),
        ),
    ),
    assumptions=ASSUMPTIONS,
    readme="theory/prefix_state/softplus_clock/README.md",
    source="our formulation",
    not_claimed=(
        "Three states and more (the moment cone of exp(A_n τ), τ ≥ 0, contains what is reached), several channels that share "
        "W_B, and what long prefixes cost in bounded tokens beyond the bound on their number."
    ),
)
