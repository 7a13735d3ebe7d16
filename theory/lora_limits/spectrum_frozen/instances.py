"""Instances of :mod:`.spectrum_frozen`: tuned stacks, horizons, clocks, and channels that imitate another row of A."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from theory.core.deep_s4 import DeepS4, S4Layer
from theory.core.lti import LTI
from theory.core.selective import SelectiveSSM
from theory.core.strategies import ENTRIES, decays, rationals, vectors

from .imitation import Imitation
from .invariants import SoftplusClock, rescaled
from .poles import fit_with_frozen_modes, shortest_refuting_horizon

# -- S4 -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tuned:
    """A frozen stack of linear S4 layers and the projections an adapter has given it."""

    frozen: DeepS4
    tuned: DeepS4


def _layer(channels: Sequence[LTI], W: Any, u: Any) -> S4Layer:
    return S4Layer(channels, W, u=u, activation="linear")


def _numbers(draw: st.DrawFn, size: int) -> list[Fraction]:
    return draw(st.lists(ENTRIES, min_size=size, max_size=size))


@st.composite
def tuned_stacks(draw: st.DrawFn) -> Tuned:
    """One or two layers, D ≤ 2, N ≤ 2 (1 in two layers); every W, u and residue is changed, no mode is."""
    d, depth = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    old, new = [], []
    for _ in range(depth):
        banks: tuple[list[LTI], list[LTI]] = ([], [])
        for _ in range(d):
            a = draw(decays(draw(st.integers(1, 3 - depth))))
            for bank in banks:
                bank.append(LTI(a, [1] * len(a), _numbers(draw, len(a))))
        old.append(_layer(banks[0], [_numbers(draw, d) for _ in range(d)], _numbers(draw, d)))
        new.append(_layer(banks[1], [_numbers(draw, d) for _ in range(d)], _numbers(draw, d)))
    return Tuned(DeepS4(old), DeepS4(new))


@dataclass(frozen=True)
class Horizon:
    """Distinct frozen modes, one target pole outside them with a residue, whether the skip is tuned, and a horizon L."""

    modes: tuple[Fraction, ...]
    pole: Fraction
    residue: Fraction
    skip: bool
    length: int

    @property
    def needed(self) -> int:
        """n + 1 for n nonzero frozen modes, one more where a direct term is free: a tunable skip, or a frozen mode 0."""
        nonzero = sum(m != 0 for m in self.modes)
        return shortest_refuting_horizon(nonzero, 1, skip=self.skip or nonzero < len(self.modes))

    def target(self) -> list[Fraction]:
        """Kernel of the target: every frozen mode with residue 1 and the pole outside."""
        return [sum((m**j for m in self.modes), self.residue * self.pole**j) for j in range(self.length)]

    @property
    def unmatched(self) -> bool:
        """No residues and skip reproduce the target on L lags."""
        return not fit_with_frozen_modes(self.modes, self.target(), skip=self.skip).possible


@st.composite
def horizons(draw: st.DrawFn, *, enough: bool = True, zero: bool = False) -> Horizon:
    """A pole outside the frozen set (0 itself with ``zero``); L from ``needed`` on, or below it."""
    modes = draw(decays(draw(st.integers(2, 5))))
    if not zero and draw(st.booleans()):
        modes = [Fraction(0), *modes]  # a frozen state with mode 0 is a direct term of its own
    pole = Fraction(0) if zero else modes[-1]
    h = Horizon(tuple(modes[:-1]), pole, draw(rationals(nonzero=True)), True if zero else draw(st.booleans()), 1)
    return replace(h, length=h.needed + draw(st.integers(0, 2)) if enough else draw(st.integers(1, h.needed - 1)))


# -- S6: clocks -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clocked:
    """One S6 channel with integer rates |A_n|, trained projections W_B, W_C and a constant clock q = exp(−dt)."""

    rates: tuple[int, ...]
    W_B: tuple[Fraction, ...]
    W_C: tuple[Fraction, ...]
    q: Fraction

    def system(self) -> SelectiveSSM:
        """The module, D = 1."""
        return SelectiveSSM([[b] for b in self.W_B], [[c] for c in self.W_C], dt=1, decay=[[self.q**k for k in self.rates]])


@st.composite
def clocked(draw: st.DrawFn) -> Clocked:
    """N ≤ 3 distinct rates up to 5, any projections, any clock."""
    rates = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3, unique=True))
    n = len(rates)
    q = draw(st.sampled_from([Fraction(1, 2), Fraction(2, 3), Fraction(1, 3), Fraction(3, 4)]))
    return Clocked(tuple(rates), tuple(draw(vectors(n))), tuple(draw(vectors(n))), q)


_WEIGHTS = st.sampled_from([Fraction(1), Fraction(3), Fraction(1, 2), Fraction(1, 5), Fraction(2)])
_RATES = st.sampled_from([Fraction(-1), Fraction(-1, 2), Fraction(-1, 3), Fraction(-3, 2)])


@st.composite
def clock_pairs(draw: st.DrawFn) -> tuple[SoftplusClock, SoftplusClock]:
    """A token-dependent clock and another one that is as close to it as another A, w or β allows.

    It agrees with the first at z = 0, or in the limit z → −w∞, or in the limit z → w∞, or is drawn without looking.
    """
    w, p, a, k = draw(rationals(2, nonzero=True)), draw(_WEIGHTS), draw(_RATES), draw(st.integers(2, 3))
    first = SoftplusClock(w, p, a * k)
    at_zero = replace(rescaled(first, a), w=w)
    low, high = SoftplusClock(w, p * k, a), SoftplusClock(w * k, p, a)  # equal A e^β, equal A w
    other = SoftplusClock(draw(rationals(2)), draw(_WEIGHTS), draw(_RATES))
    moved = replace(first, weight=p + 1)
    return first, draw(st.sampled_from([c for c in (at_zero, low, high, other, moved) if c != first]))


@st.composite
def constant_pairs(draw: st.DrawFn) -> tuple[SoftplusClock, SoftplusClock]:
    """Two constant clocks with different A, the second rescaled to the first's decay."""
    a, k = -draw(rationals(3, nonzero=True).map(abs)), draw(st.integers(2, 5))
    first = SoftplusClock(Fraction(0), draw(rationals(3, nonzero=True).map(abs)), a * k)
    return first, rescaled(first, a)


# -- S6: several channels -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Blocks:
    """D channels with the row (1, 2) of −A, constant clocks with bases p_d = exp(−dt_d), weights g_d of W_out."""

    bases: tuple[Fraction, ...]
    weights: tuple[Fraction, ...]

    def state_kernels(self) -> tuple[list[Fraction], list[Fraction]]:
        """Σ_d g_d p_d^j and Σ_d g_d p_d^{2j}: what multiplies C_1 B_1 and C_2 B_2, on 2D + 2 lags."""
        lags = range(2 * len(self.bases) + 2)
        one, two = ([sum((g * p ** (k * j) for g, p in zip(self.weights, self.bases, strict=True)), Fraction(0)) for j in lags]
                    for k in (1, 2))  # fmt: skip
        return one, two


@st.composite
def blocks(draw: st.DrawFn) -> Blocks:
    """Up to four channels; bases may repeat and weights may vanish, so that single poles occur often."""
    d = draw(st.integers(1, 4))
    base = st.sampled_from([Fraction(1, 2), Fraction(2, 3), Fraction(1, 8)])
    weight = st.sampled_from([Fraction(0), Fraction(1), Fraction(-1), Fraction(1, 3)])
    return Blocks(tuple(draw(st.lists(base, min_size=d, max_size=d))), tuple(draw(st.lists(weight, min_size=d, max_size=d))))


@st.composite
def imitations(draw: st.DrawFn, channels: int) -> Imitation:
    """Targets with rates (1, 3) and nonzero rows."""
    b, c = draw(vectors(2, nonzero=True)), draw(vectors(2, nonzero=True))
    q = draw(st.sampled_from([Fraction(1, 4), Fraction(4, 9)]))
    return Imitation(channels, (b[0], b[1]), (c[0], c[1]), q, tuple(draw(vectors(4))))
