r"""sparse_dims.additional_scan: further states with a decay and selectors of their own, beside the frozen ones.

    y_t += Σ_{n'} C'_n'(z_t) h'_t[:, n'],     h'_t = E' ∘ h'_{t−1} + dt z_t B'(z_t)ᵀ,     h'_0 = 0

Constant clock, all channels alike (one row of decays), so that a module is its forms K_e = Σ_{n: E_n = e} C_nᵀ B_n, one a decay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.scalars import Array
from theory.core.selective import SelectiveSSM
from theory.core.strategies import ENTRIES
from theory.verification.claim import Assumption, Check, Claim, Counterexample, Part, Planted, exact_check
from theory.verification.planted import changed, on, swap
from theory.verification.refutation import require

POOL = tuple(Fraction(p, q) for p, q in ((1, 2), (1, 3), (2, 5), (3, 4)))


def exact(rows: Any) -> Array:
    """A matrix of Fractions."""
    return np.array([[Fraction(x) for x in row] for row in rows], dtype=object)


@dataclass(frozen=True, eq=False)
class States:
    """A module of D channels alike: decays (N), W_B and W_C (N, D)."""

    decays: tuple[Fraction, ...]
    W_B: Array
    W_C: Array

    def module(self) -> SelectiveSSM:
        """The S6 module, dt = 1."""
        return SelectiveSSM(self.W_B, self.W_C, dt=1, decay=[list(self.decays)] * self.W_B.shape[1])

    def beside(self, other: States) -> States:
        """Both sets of states in one module, their outputs added."""
        return States((*self.decays, *other.decays), np.concatenate([self.W_B, other.W_B]), np.concatenate([self.W_C, other.W_C]))


def forms(states: States) -> dict[Fraction, Array]:
    """{e: K_e = Σ_{E_n = e} C_nᵀ B_n}, without those that are 0."""
    found: dict[Fraction, Array] = {}
    for e, c, b in zip(states.decays, states.W_C, states.W_B, strict=True):
        found[e] = found.get(e, 0 * np.outer(c, b)) + np.outer(c, b)
    return {e: k for e, k in found.items() if np.any(k)}


def differences(frozen: States, target: States) -> dict[Fraction, Array]:
    """K*_e − K_e where it is not 0."""
    return forms(target.beside(replace(frozen, W_C=-frozen.W_C)))


def states_needed(frozen: States, target: States) -> int:
    """Σ_e rank(K*_e − K_e): the fewest additional states that turn the frozen module into the target."""
    return sum(linalg.rank(k) for k in differences(frozen, target).values())


def additional(missing: Mapping[Fraction, Array], width: int) -> States:
    """As many states as that, by rank factors of every difference (one silent state where there is none)."""
    decays, W_B, W_C = [], [], []
    for e, k in missing.items():
        left, right = linalg.rank_factors(k)
        decays += [e] * len(right)
        W_B += list(right)
        W_C += list(left.T)
    if not decays:
        return States((POOL[0],), exact([[0] * width]), exact([[0] * width]))
    return States(tuple(decays), np.array(W_B, dtype=object), np.array(W_C, dtype=object))


@dataclass(frozen=True, eq=False)
class Task:
    """A frozen module, a target, drawn additional states."""

    frozen: States
    target: States
    scan: States


def same_outputs(first: States, second: States) -> bool:
    """Equal outputs on two tokens e_i, e_i + e_j at every lag up to the number of decays, and on all of them in a row."""
    d = first.W_B.shape[1]
    unit = list(exact([[int(i == j) for j in range(d)] for i in range(d)]))
    tokens = unit + [a + b for i, a in enumerate(unit) for b in unit[:i]]
    lags = len({*first.decays, *second.decays})
    one, two = first.module(), second.module()
    sequences = [[u, *[0 * u] * j, v] for u in tokens for v in unit for j in range(lags)] + [tokens]
    return all(np.all(one.run(np.array(s, dtype=object))[0] == two.run(np.array(s, dtype=object))[0]) for s in sequences)


@st.composite
def states(draw: st.DrawFn, width: int, most: int = 3) -> States:
    """One to three states, decays that may meet."""
    n = draw(st.integers(1, most))
    decays = tuple(draw(st.sampled_from(POOL)) for _ in range(n))
    W_B, W_C = (exact([[draw(ENTRIES) for _ in range(width)] for _ in range(n)]) for _ in range(2))
    return States(decays, W_B, W_C)


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    """D ≤ 2; the target is new, or the frozen module with one decay or one row changed."""
    width = draw(st.integers(1, 2))
    frozen = draw(states(width))
    how = draw(st.sampled_from(("new", "decay", "row")))
    if how == "new":
        target = draw(states(width))
    elif how == "decay":
        target = replace(frozen, decays=(draw(st.sampled_from(POOL)), *frozen.decays[1:]))
    else:
        target = replace(frozen, W_B=np.concatenate([exact([[draw(ENTRIES) for _ in range(width)]]), frozen.W_B[1:]]))
    return Task(frozen, target, draw(states(width, 2)))


def check_reached(t: Task) -> None:
    """The constructed states are as many as needed and give the target's outputs."""
    scan = additional(differences(t.frozen, t.target), t.frozen.W_B.shape[1])
    needed = states_needed(t.frozen, t.target)
    require(len(scan.decays) == max(1, needed), t)
    require(same_outputs(t.frozen.beside(scan), t.target), t)


def check_least(t: Task) -> None:
    """What n' drawn states do takes at most n', and states do it iff the forms agree."""
    reached = t.frozen.beside(t.scan)
    require(states_needed(t.frozen, reached) <= len(t.scan.decays), t)
    require(same_outputs(reached, t.target) == (not differences(reached, t.target)), t)


# -- initial states and offsets -------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Effects:
    """A frozen module, additional states, an initial state (D, N) and the kind of what is compared."""

    frozen: States
    scan: States
    h0: Array
    scan_start: int = 0


def scan_effect(e: Effects, tokens: Array) -> Array:
    """What the additional states add; ``scan_start``: every entry of the state from which they start."""
    module = e.scan.module()
    return np.asarray(module.run(tokens, module.zero_state() + e.scan_start)[0])


def degree_three(e: Effects) -> bool:
    """The conclusion: scaled tokens scale the scan's effect by the third power (initial states and (h): the first)."""
    d = e.frozen.W_B.shape[1]
    tokens = exact([[1 + (i + t) % 3 for i in range(d)] for t in range(3)])
    return bool(np.all(scan_effect(e, 2 * tokens) == 8 * scan_effect(e, tokens)))


def check_degrees(e: Effects) -> None:
    """Additional states: degree three. Initial states: degree one. So what both do is nothing."""
    require(degree_three(e), e)
    module, d = e.frozen.module(), e.frozen.W_B.shape[1]
    tokens = exact([[1 + (i * t) % 2 for i in range(d)] for t in range(3)])
    once, twice = (module.run(k * tokens, e.h0)[0] - module.run(k * tokens)[0] for k in (1, 2))
    require(np.all(twice == 2 * once), e)


@st.composite
def effects(draw: st.DrawFn, *, start: int = 0) -> Effects:
    """D ≤ 2, N ≤ 3, N' ≤ 2."""
    width = draw(st.integers(1, 2))
    frozen, scan = draw(states(width)), draw(states(width, 2))
    if start:
        scan = replace(scan, W_C=0 * scan.W_C + 1)
    return Effects(frozen, scan, exact([[draw(ENTRIES) for _ in frozen.decays] for _ in range(width)]), start)


def one(decay: Fraction, W_B: Any = 1) -> States:
    """D = N = 1, W_C = 1."""
    return States((decay,), exact([[W_B]]), exact([[1]]))


def moved() -> Task:
    """One state moves from 1/2 to 1/3."""
    return Task(one(POOL[0]), one(POOL[1]), one(POOL[0]))


ASSUMPTIONS = (
    Assumption(
        name="started at zero",
        statement="the additional states start from 0",
        predicate=lambda e: e.scan_start == 0,
        having=effects,
        lacking=lambda: effects(start=1),
        conclusion=degree_three,
        counterexample=Counterexample(
            "a state of its own",
            lambda: Effects(one(POOL[0]), one(POOL[0]), exact([[1]]), 1),
            "an additional state of the frozen decay and readout that starts at h'_0 = 1 adds the initial state 1",
        ),
    ),
)

CLAIM = Claim(
    id="sparse_dims.additional_scan",
    title="additional states: Σ_e rank(K*_e − K_e) of them turn a frozen module into the target; initial states they never do",
    statement=(
        "S6 with a constant clock and equal channels, frozen; N' states with decays, W_B' and W_C' of their own are added. With "
        "K_e = Σ_{E_n = e} C_nᵀB_n the frozen module becomes the target's function iff N' ≥ Σ_e rank(K*_e − K_e): at most one "
        "state for a new B or C of one state, two for another decay of a state with B, C ≠ 0 (one removes it, one adds it). "
        "What N' states add is of degree three in the tokens, what initial states, prefixes and state offsets add of degree one "
        "or none: they share nothing but 0."
    ),
    level="module",
    horizon="all L; as many lags as decays decide",
    parts=(Part("count", argument="derivation"), Part("degrees", argument="derivation")),
    checks=(
        Check(
            "states constructed",
            exact_check(check_reached, tasks, "rank factors as W_B', W_C', modules run", "N ≤ 3, D ≤ 2", 0.3),
            "count",
            planted=(
                Planted(
                    "one state for a moved decay",
                    swap("states_needed", changed(lambda n: n - 1), at=moved),
                ),
                Planted("frozen forms forgotten", swap("differences", lambda _: lambda frozen, target: forms(target))),
            ),
        ),
        Check(
            "no fewer",
            exact_check(check_least, tasks, "drawn states against the count, outputs against forms", "N ≤ 3, N' ≤ 2, D ≤ 2", 0.3),
            "count",
            planted=(
                Planted("twice the states", swap("states_needed", changed(lambda n: 2 * n))),
                Planted("forms of different decays added up", swap("differences", changed(lambda d: dict(list(d.items())[1:])))),
            ),
        ),
        Check(
            "degrees",
            exact_check(check_degrees, effects, "modules run on tokens and on twice the tokens", "N ≤ 3, N' ≤ 2, D ≤ 2", 0.3),
            "degrees",
            planted=(Planted("states that start elsewhere", on(lambda: Effects(one(POOL[0]), one(POOL[0]), exact([[1]]), 1))),),
        ),
    ),
    assumptions=ASSUMPTIONS,
    readme="theory/sparse_dims/additional_scan/README.md",
    source="our formulation, after MambaPEFT (arXiv 2411.03855)",
    not_claimed=(
        "The published wording of additional scan; channels of different decays, where the largest count of a channel is a "
        "lower bound only; clocks that read the token; training."
    ),
)
