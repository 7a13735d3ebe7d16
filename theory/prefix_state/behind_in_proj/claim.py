r"""prefix_state.behind_in_proj: LTI channels that read tokens through in_proj; joint states, PBH test, controllability index."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.lti import LTI
from theory.core.scalars import Array
from theory.core.strategies import ENTRIES, decay, rationals
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

from .layer import Layer, Level, blocked, krylov, least_length_for_all, length_bounds, prefix

HALF, THIRD = Fraction(1, 2), Fraction(1, 3)


@dataclass(frozen=True, eq=False)
class Setting:
    """A layer, a joint state and a number of tokens."""

    layer: Layer
    states: tuple[tuple[Fraction, ...], ...]
    length: int = 0
    level: Level = "state"


def reached_by_running(layer: Layer, length: int) -> Array:
    """The states that unit tokens leave, found by running every channel: shape (states, M m)."""
    width = layer.W_in.shape[1]
    columns = []
    for slot in range(length):
        for i in range(width):
            tokens = [[Fraction(int((t, k) == (slot, i))) for k in range(width)] for t in range(length)]
            columns.append(np.concatenate(layer.states_after(tokens)))
    states = sum(c.n_states for c in layer.channels)
    return np.array(columns, dtype=object).T.reshape(states, len(columns))


def outputs_after(layer: Layer, states: Any, horizon: int) -> Array:
    """Free responses of all channels from a joint state, one after the other."""
    return np.concatenate([c.free_response(h, horizon) for c, h in zip(layer.channels, states, strict=True)])


@st.composite
def layers(draw: st.DrawFn, *, pool: bool = True) -> Layer:
    """D ≤ 3 channels of at most two states, modes drawn from few values so that they meet, m ≤ 3; some b and c are 0."""
    D, m = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    value = st.sampled_from((HALF, THIRD, Fraction(-1, 2), Fraction(0))) if pool else decay()
    channels = []
    for _ in range(D):
        n = draw(st.integers(1, 2))
        vectors = [[draw(ENTRIES) for _ in range(n)] for _ in range(2)]
        channels.append(LTI([draw(value) for _ in range(n)], *vectors))
    return Layer.of(channels, [[draw(ENTRIES) for _ in range(m)] for _ in range(D)])


@st.composite
def settings(draw: st.DrawFn, *, reached: bool | None = None, short: bool = False) -> Setting:
    """A layer with a drawn state; ``reached``: whether PBH holds; ``short``: one token less than the index."""
    layer = draw(layers())
    if reached is not None and (blocked(layer) is None) != reached:
        layer = even() if reached else shared()
    states = tuple(tuple(draw(rationals(2)) for _ in range(c.n_states)) for c in layer.channels)
    index = least_length_for_all(layer)
    length = int(index) if index != math.inf else 2
    return Setting(layer, states, max(0, length - int(short)), draw(st.sampled_from(("state", "function"))))


def even(channels: int = 2, width: int = 1, states: int = 1) -> Layer:
    """Different modes everywhere, channel d reads coordinate d mod m."""
    modes = iter(Fraction(1, k) for k in range(2, 2 + channels * states))
    rows = [[int(d % width == i) for i in range(width)] for d in range(channels)]
    return Layer.of([LTI([next(modes) for _ in range(states)], [1] * states, [1] * states) for _ in range(channels)], rows)


def shared() -> Layer:
    """Two channels of one mode 1/2 that read one coordinate."""
    return Layer.of([LTI([HALF], [1], [1])] * 2, [[1], [1]])


def ordered() -> Setting:
    """Two modes through one coordinate: the state (1, 0) takes two different tokens."""
    return Setting(even(), ((Fraction(1),), (Fraction(0),)))


def hidden() -> Setting:
    """Two channels of one mode and coordinate, the second without readout: no joint state is free, but every output is."""
    layer = Layer.of([LTI([HALF], [1], [1]), LTI([HALF], [1], [0])], [[1], [1]])
    return Setting(layer, ((Fraction(1),), (Fraction(0),)), level="function")


def all_reached(s: Setting) -> bool:
    """The conclusion: M tokens reach every joint state, by running the channels."""
    matrix = reached_by_running(s.layer, s.length)
    return linalg.rank(matrix) == len(matrix)


def check_pbh(s: Setting) -> None:
    """Enough tokens reach every joint state iff no mode is blocked; a blocked mode's functional is 0 on all that is reached."""
    longest = len(set(s.layer.coordinates()[0])) + 1
    matrix = reached_by_running(s.layer, longest)
    found = blocked(s.layer)
    require((linalg.rank(matrix) == len(matrix)) == (found is None), s)
    if found is not None:
        require(np.any(found.ell) and not np.any(found.ell @ matrix), s)


def check_index(s: Setting) -> None:
    """The index is the least M of full rank, by running, and lies between its bounds."""
    index = least_length_for_all(s.layer)
    if index == math.inf:
        return
    full = len(s.layer.coordinates()[0])
    ranks = [linalg.rank(reached_by_running(s.layer, m)) for m in (int(index) - 1, int(index))]
    require(ranks[0] < full == ranks[1], s)
    low, high = length_bounds(s.layer)
    require(low <= index <= high, s)


def check_prefix(s: Setting) -> None:
    """The prefix leaves the state, or one of the same outputs, and no shorter one does; without one a rank says so."""
    tokens = prefix(s.layer, s.states, s.level)
    target = s.layer.shown(s.states, s.level)
    longest = len(set(s.layer.coordinates(s.level)[0]))
    columns = krylov(s.layer, longest if tokens is None else max(0, len(tokens) - 1), s.level)
    if tokens is None or len(tokens):
        require(linalg.rank(np.concatenate([columns, target[:, None]], axis=1)) > linalg.rank(columns), s)
    if tokens is None:
        return
    left = s.layer.states_after(tokens)
    if s.level == "state":
        require(np.all(np.concatenate(left) == target), s)
    else:
        require(np.all(outputs_after(s.layer, left, 5) == outputs_after(s.layer, s.states, 5)), s)


def check_functions(s: Setting) -> None:
    """Outputs after prefixes and outputs from initial states span the same space iff no observable mode is blocked."""
    horizon = max(1, len(set(s.layer.coordinates("function")[0])))
    units = []
    for d, channel in enumerate(s.layer.channels):
        for n in range(channel.n_states):
            units.append([[Fraction(int((e, k) == (d, n))) for k in range(c.n_states)] for e, c in enumerate(s.layer.channels)])
    from_states = np.array([outputs_after(s.layer, h, horizon) for h in units], dtype=object)
    joint = reached_by_running(s.layer, len(set(s.layer.coordinates()[0])) + 1).T
    sizes = np.cumsum([c.n_states for c in s.layer.channels])[:-1]
    from_tokens = [outputs_after(s.layer, np.split(row, sizes), horizon) for row in joint]
    require((linalg.rank(from_tokens) == linalg.rank(from_states)) == (blocked(s.layer, "function") is None), s)


def both_bounds(_: Profile) -> Outcome:
    """⌈n/m⌉ is attained by channels spread evenly over the coordinates, the number of modes by one coordinate."""
    count = 0
    for width in (1, 2, 3):
        for states in (1, 2):
            for per in (1, 2):
                layer = even(width * per, width, states)
                require(least_length_for_all(layer) == per * states == length_bounds(layer)[0], (width, states, per))
                count += 1
    for channels in (1, 2, 3):
        layer = even(channels, 1, 2)
        require(least_length_for_all(layer) == 2 * channels == length_bounds(layer)[1], channels)
        free = even(channels, channels, 2)
        require(least_length_for_all(free) == 2, channels)
        alike = Layer.of([LTI([HALF, THIRD], [1, 1], [1, 1])] * channels, np.eye(channels, dtype=int).tolist())
        require(least_length_for_all(alike) == 2 == length_bounds(alike)[1], channels)
        count += 3
    how = "channels spread evenly over m coordinates take DN/m tokens; through one coordinate DN; with inputs of their own N"
    return Outcome(Verdict.EXACT, how, "D ≤ 6, N ≤ 2, m ≤ 3", count)


def initialised_alike(_: Profile) -> Outcome:
    """D = 2m channels of equal modes: half of every mode's states is out of reach for every M."""
    count = 0
    for m in (1, 2, 3):
        for states in (1, 2):
            modes = [HALF, THIRD][:states]
            channel = LTI(modes, [1] * states, [1] * states)
            rows = [[Fraction(1, i + j + 1) for j in range(m)] for i in range(2 * m)]
            layer = Layer.of([channel] * (2 * m), rows)
            require(linalg.rank(krylov(layer, 2 * m * states)) == m * states and blocked(layer) is not None, (m, states))
            count += 1
    how = "equal modes in all channels: m N of D N dimensions, at any length"
    return Outcome(Verdict.EXACT, how, "D = 2m, m ≤ 3, N ≤ 2", count)


ASSUMPTIONS = (
    Assumption(
        name="independent rows at every mode",
        statement="for every mode value, the rows b_dn W_in[d, :] of the states that have it are independent",
        predicate=lambda s: blocked(s.layer) is None,
        having=lambda: settings(reached=True),
        lacking=lambda: settings(reached=False),
        conclusion=all_reached,
        counterexample=Counterexample(
            "one mode, one coordinate",
            lambda: Setting(shared(), ((Fraction(1),), (Fraction(0),)), 3),
            "two channels of mode 1/2 read the same coordinate: h_1 = h_2 after every prefix",
        ),
    ),
    Assumption(
        name="as many tokens as the index",
        statement="M is at least the controllability index",
        predicate=lambda s: s.length >= least_length_for_all(s.layer),
        having=lambda: settings(reached=True),
        lacking=lambda: settings(reached=True, short=True),
        conclusion=all_reached,
        counterexample=Counterexample(
            "one token for two modes",
            lambda: Setting(even(), ((Fraction(1),), (Fraction(0),)), 1),
            "two channels of modes 1/2 and 1/3 read one coordinate: one token leaves h_1 = h_2, two leave anything",
        ),
    ),
)

CLAIM = Claim(
    id="prefix_state.behind_in_proj",
    title="LTI channels behind in_proj: every joint state is reached iff the rows of W_in are independent at every mode",
    statement=(
        "D LTI channels of real modes read x = W_in u, u ∈ R^m. With rows B_(d,n) = b_dn W_in[d, :], M tokens reach exactly the "
        "Krylov space K_M of (diag(a), B). States: every joint state is reached iff for each mode value the rows of the states "
        "that have it are independent (PBH). Length: the least M for all states is the controllability index, between "
        "⌈n/rank B⌉ and the number of different modes, n the number of states; both bounds are attained. Functions: the same for "
        "what outputs show, with observable modes and rows r_dλ W_in[d, :]. Equal modes in all of D > m channels: at most m of D "
        "dimensions a mode are reached, at any length."
    ),
    level="layer: channels behind in_proj, no convolution or activation between",
    horizon="all L; L ≥ the number of observable modes for functions",
    parts=tuple(Part(name, argument="derivation") for name in ("states", "length", "functions")),
    checks=(
        Check(
            "PBH",
            exact_check(check_pbh, settings, "ranks of states found by running", "D, m ≤ 3, N ≤ 2", 0.5),
            "states",
            planted=(
                Planted("no mode is ever blocked", swap("blocked", giving(None))),
                Planted("modes looked at together", swap("Layer.coordinates", changed(lambda mb: ([HALF] * len(mb[0]), mb[1])))),
            ),
        ),
        Check(
            "channels alike",
            initialised_alike,
            "states",
            planted=(Planted("no mode is ever blocked", swap("blocked", giving(None))),),
        ),
        Check(
            "index",
            exact_check(check_index, settings, "least M of full rank, by running", "D, m ≤ 3, N ≤ 2", 0.5),
            "length",
            planted=(Planted("one token more", swap("least_length_for_all", changed(lambda m: m + 1))),),
        ),
        Check(
            "shortest prefix",
            exact_check(check_prefix, settings, "prefix run, one token less refuted by a rank", "D, m ≤ 3, N ≤ 2", 0.5),
            "length",
            planted=(
                Planted(
                    "tokens in the wrong order", swap("prefix", changed(lambda t: None if t is None else t[::-1]), at=ordered)
                ),
                Planted("no prefix found", swap("prefix", giving(None))),
            ),
        ),
        Check(
            "both bounds",
            both_bounds,
            "length",
            planted=(Planted("one token more", swap("least_length_for_all", changed(lambda m: m + 1))),),
        ),
        Check(
            "functions",
            exact_check(
                check_functions, settings, "spans of outputs after unit tokens and from unit states", "D, m ≤ 3, N ≤ 2", 0.4
            ),
            "functions",
            planted=(
                Planted("no mode is ever blocked", swap("blocked", giving(None))),
                Planted(
                    "states instead of what outputs show", swap("blocked", lambda right: lambda layer, _: right(layer), at=hidden)
                ),
            ),
        ),
    ),
    assumptions=ASSUMPTIONS,
    readme="theory/prefix_state/behind_in_proj/README.md",
    source="our formulation; the test is Popov, Belevitch and Hautus's",
    not_claimed=(
        "Complex modes (the same test over C, without code); tokens before a convolution, a normalisation or an activation; "
        "selective modules; the size of the tokens; that generic rows attain ⌈n/m⌉ where channels do not spread evenly."
    ),
)
