r"""prefix_state.selective_offset: state offsets on S6, added to the state that is read or to the output, against initial states.

(h)      y_t[d] += C(z_t)·h'_d        the state is read with an offset that does not decay
(y)      y_t[d] += y'_d               the output is offset
state    h_0 instead of 0             adds C(z_t)·(E(z_1) ⋯ E(z_t) ∘ h_0)_d
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.invariants import known
from theory.core.scalars import Array
from theory.core.selective import SelectiveSSM
from theory.core.strategies import ENTRIES, selective
from theory.verification.claim import Assumption, Check, Claim, Counterexample, Part, Planted, exact_check
from theory.verification.planted import on, swap
from theory.verification.refutation import require

from ..contained.claim import rational_clock

Method = Literal["state", "offset (h)", "offset (y)"]
METHODS: tuple[Method, ...] = ("state", "offset (h)", "offset (y)")


def exact(rows: Any) -> Array:
    """A matrix of Fractions."""
    return np.array([[Fraction(x) for x in row] for row in rows], dtype=object)


@dataclass(frozen=True, eq=False)
class Setting:
    """A module and a horizon."""

    module: SelectiveSSM
    horizon: int

    @property
    def sequences(self) -> list[Array]:
        """One token repeated L times, for 0, e_i and e_i + e_j."""
        d = self.module.n_channels
        unit = list(exact([[int(i == j) for j in range(d)] for i in range(d)]))
        return [
            np.array([z] * self.horizon, dtype=object) for z in [0 * unit[0], *unit, *(a + b for a, b in combinations(unit, 2))]
        ]


def read_out(module: SelectiveSSM) -> Array:
    """W_C, which a module of this claim has."""
    return known(module.W_C, "modules are drawn with a readout")


def added(module: SelectiveSSM, method: Method, parameter: Array, tokens: Array) -> Array:
    """What the method adds to the outputs (L, D): parameter h_0 or h' (D, N), or y' (D,)."""
    if method == "state":
        return np.asarray(module.run(tokens, parameter)[0] - module.run(tokens)[0])
    if method == "offset (y)":
        return np.array([parameter] * len(tokens), dtype=object)
    return np.array([parameter @ (module.W_C @ z) for z in tokens], dtype=object)


def responses(s: Setting, method: Method) -> Array:
    """What unit parameters add on the sequences, one column each."""
    d, n = s.module.n_channels, s.module.n_states
    shape: tuple[int, ...] = (d,) if method == "offset (y)" else (d, n)
    columns = []
    for index in np.ndindex(*shape):
        unit = np.array([Fraction(0)] * int(np.prod(shape)), dtype=object).reshape(shape)
        unit[index] = Fraction(1)
        columns.append(np.concatenate([added(s.module, method, unit, z).ravel() for z in s.sequences]))
    return np.array(columns, dtype=object).T


def shared(s: Setting, first: Method, second: Method) -> int:
    """Dimension of what both methods add, as functions on the sequences."""
    a, b = responses(s, first), responses(s, second)
    return linalg.rank(a) + linalg.rank(b) - linalg.rank(np.concatenate([a, b], axis=1))


def decays_on(module: SelectiveSSM, token: Array) -> int:
    """The largest number of different decays of one channel on a token."""
    return max(len(set(row)) for row in module.clock(token)[1])


def needed(s: Setting) -> int:
    """ν + 1, the horizon from which on the methods share nothing."""
    return 1 + max(decays_on(s.module, sequence[0]) for sequence in s.sequences)


def apart(s: Setting) -> bool:
    """The conclusion: no two of the three share anything but 0, and each adds something."""
    return all(shared(s, a, b) == 0 for a, b in combinations(METHODS, 2)) and all(np.any(responses(s, m)) for m in METHODS)


@st.composite
def settings(draw: st.DrawFn, *, short: bool = False, silent: bool = False, moving: bool | None = None) -> Setting:
    """N ≤ 3, D ≤ 2, constant or token-dependent clocks, decays that may meet; ``short``: L = 1; ``silent``: W_C = 0."""
    module = draw(selective((1, 2), (1, 2, 3), distinct=False))
    W_C = read_out(module)
    W_C = 0 * W_C if silent else W_C if np.any(W_C) else W_C + Fraction(1)
    d, n = module.n_channels, module.n_states
    if draw(st.booleans()) if moving is None else moving:
        rates = exact([[draw(st.integers(1, 3)) for _ in range(n)] for _ in range(d)])
        module = SelectiveSSM(module.W_B, W_C, clock=rational_clock(rates))
    else:
        module = SelectiveSSM(module.W_B, W_C, dt=module.dt, decay=module.decay)
    s = Setting(module, 1)
    return Setting(module, 1 if short else needed(s) + draw(st.integers(0, 1)))


@st.composite
def undecaying(draw: st.DrawFn) -> Setting:
    """A clock whose decay is 1."""
    d, n = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    ones, W_C = exact([[1] * n] * d), exact([[draw(ENTRIES.filter(bool)) for _ in range(d)] for _ in range(n)])
    return Setting(SelectiveSSM(W_C, W_C, clock=lambda z: (ones[:, 0], ones)), n + 1)


def one(decay: Any, horizon: int) -> Setting:
    """D = N = 1, W_B = W_C = 1."""
    value = exact([[decay]])
    return Setting(SelectiveSSM([[1]], [[1]], clock=lambda z: (value[:, 0] * 0 + 1, value)), horizon)


def check_apart(s: Setting) -> None:
    """From ν + 1 tokens on the three methods share nothing."""
    require(apart(s), s)


def check_first_output(s: Setting) -> None:
    """Constant clock, L = 1: offsets (h) are initial states, h_0 = h'/E, and initial states offsets."""
    h = exact([[Fraction(i + 2 * j + 1, 3) for j in range(s.module.n_states)] for i in range(s.module.n_channels)])
    decay = s.module.clock(s.sequences[0][0])[1]
    for tokens in s.sequences:
        require(np.all(added(s.module, "offset (h)", h, tokens[:1]) == added(s.module, "state", h / decay, tokens[:1])), s)


def token_map(module: SelectiveSSM, offset: Array) -> Array:
    """V (D, D) with y_t += V z_t for the offset (h): V = H' W_C."""
    return np.asarray(offset @ module.W_C)


def offset_for(module: SelectiveSSM, wanted: Array) -> Array | None:
    """H' with H' W_C = V, or None where some row of V is no combination of W_C's rows."""
    rows = [linalg.solve(read_out(module).T, list(row)) for row in wanted]
    return None if any(r is None for r in rows) else np.array(rows, dtype=object)


@dataclass(frozen=True, eq=False)
class Map:
    """A module and a map V of tokens."""

    module: SelectiveSSM
    V: Array


@st.composite
def maps(draw: st.DrawFn) -> Map:
    """A module of D ≤ 3 and a map, half of them H' W_C."""
    module = draw(selective((1, 2, 3), (1, 2)))
    d, n = module.n_channels, module.n_states
    if draw(st.booleans()):
        return Map(module, exact([[draw(ENTRIES) for _ in range(d)] for _ in range(d)]))
    return Map(module, exact([[draw(ENTRIES) for _ in range(n)] for _ in range(d)]) @ module.W_C)


def check_map(m: Map) -> None:
    """An offset (h) does y_t += V z_t iff row(V) ⊆ row(W_C), and it does nothing else."""
    found = offset_for(m.module, m.V)
    inside = linalg.rank(np.concatenate([m.module.W_C, m.V])) == linalg.rank(m.module.W_C)
    require((found is not None) == inside, m)
    if found is not None:
        for tokens in Setting(m.module, 2).sequences:
            require(np.all(added(m.module, "offset (h)", found, tokens) == tokens @ m.V.T), m)
        require(np.all(token_map(m.module, found) == m.V) and linalg.rank(m.V) <= m.module.n_states, m)


def _decaying(right: Any) -> Any:
    """Offsets (h) that decay: initial states."""
    return lambda module, method, *rest: right(module, "state" if method == "offset (h)" else method, *rest)


def moving() -> Setting:
    """D = N = 1, dt = 1/(1 + z²), decay 1/(1 + dt)."""
    return Setting(SelectiveSSM([[1]], [[1]], clock=rational_clock(exact([[1]]))), 2)


ASSUMPTIONS = (
    Assumption(
        name="more tokens than decays",
        statement="L ≥ ν + 1, ν the largest number of different decays of a channel on a token",
        predicate=lambda s: s.horizon >= needed(s),
        having=settings,
        lacking=lambda: settings(short=True),
        conclusion=apart,
        counterexample=Counterexample(
            "two states read alike",
            lambda: Setting(SelectiveSSM([[1], [1]], [[1], [1]], dt=1, decay=[["1/2", "1/3"]]), 2),
            "D = 1, N = 2, decays 1/2 and 1/3, W_C = (1, 1), L = 2: h_0 = (8, −9) adds C(z) as the offset h' = (1, 0) does",
        ),
    ),
    Assumption(
        name="states decay",
        statement="no decay is 1 (A < 0, dt > 0)",
        predicate=lambda s: all(x != 1 for sequence in s.sequences for x in np.ravel(s.module.clock(sequence[0])[1])),
        having=settings,
        lacking=undecaying,
        conclusion=apart,
        counterexample=Counterexample("a state that stays", lambda: one(1, 2), "D = N = 1, decay 1: h_0 = h'"),
    ),
    Assumption(
        name="something is read",
        statement="W_C ≠ 0",
        predicate=lambda s: bool(np.any(s.module.W_C)),
        having=settings,
        lacking=lambda: settings(silent=True),
        conclusion=apart,
        counterexample=Counterexample(
            "nothing read",
            lambda: Setting(SelectiveSSM([[1]], [[0]], dt=1, decay=[["1/2"]]), 2),
            "W_C = 0: states and offsets (h) add nothing, which offsets (y) contain",
        ),
    ),
)

CLAIM = Claim(
    id="prefix_state.selective_offset",
    title="state offsets on S6: (h), (y) and initial states share nothing but the frozen model",
    statement=(
        "S6 with any clock, W_C ≠ 0, L ≥ ν + 1 tokens, ν ≤ N the largest number of different decays of one channel on one "
        "token: of y_t += C(z_t)·h' (h), y_t += y' (y) and an initial state (hence a prefix) no two add a common function "
        "but 0, so none contains another. For L = 1 and a constant clock (h) and initial states are one class. What (h) adds "
        "is y_t += V z_t with V = H' W_C: exactly the matrices with row(V) ⊆ row(W_C), of rank ≤ min(D, N)."
    ),
    level="module",
    horizon="L ≥ ν + 1; all L for the map",
    parts=tuple(Part(name, argument="derivation") for name in ("apart", "first output", "token map")),
    checks=(
        Check(
            "nothing shared",
            exact_check(check_apart, settings, "ranks of what unit parameters add, modules run", "N ≤ 3, D ≤ 2", 0.3),
            "apart",
            planted=(
                Planted("a decay of 1", on(lambda: one(1, 2))),
                Planted("an offset that decays", swap("added", _decaying)),
            ),
        ),
        Check(
            "one token",
            exact_check(check_first_output, lambda: settings(moving=False), "h_0 = h'/E run", "N ≤ 3, D ≤ 2", 0.3),
            "first output",
            planted=(Planted("a clock that reads the token", on(moving)),),
        ),
        Check(
            "the map",
            exact_check(check_map, maps, "offsets solved from V and run", "N ≤ 2, D ≤ 3", 0.5),
            "token map",
            planted=(
                Planted("every map called an offset's", swap("offset_for", lambda _: lambda module, V: V @ module.W_B.T * 0)),
                Planted("another map", swap("token_map", lambda right: lambda m, h: right(m, h) + 1)),
            ),
        ),
    ),
    assumptions=ASSUMPTIONS,
    readme="theory/prefix_state/selective_offset/README.md",
    source="our formulation, after State-offset Tuning (arXiv 2503.03499)",
    not_claimed=(
        "Whole blocks, where the gate and out_proj follow; which of the methods trains better; that L = ν does not suffice."
    ),
)
