"""Hypothesis strategies for exact systems, shared by every family: with and without the common assumptions.

All numbers are small rationals, so that counterexamples shrink to something one can read.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any, ParamSpec, TypeVar, cast

from hypothesis import strategies as st

from .lti import LTI
from .scalars import gaussian
from .selective import SelectiveSSM
from .ssd import Mamba2Head

P = ParamSpec("P")
T = TypeVar("T")


def shared(build: Callable[P, st.SearchStrategy[T]]) -> Callable[P, st.SearchStrategy[T]]:
    """One strategy for equal arguments: Hypothesis validates a strategy once, and building it anew costs more than drawing."""
    return cast(Callable[P, st.SearchStrategy[T]], functools.cache(build))


_DENOMINATORS = (2, 3, 5, 7, 12)


def _simplest_first(values: Iterable[Fraction]) -> tuple[Fraction, ...]:
    """Each value once, in the order in which an instance shrinks: small denominators and numerators, positive before negative."""
    return tuple(sorted(set(values), key=lambda v: (v.denominator, abs(v.numerator), v < 0)))


# One draw for each number, here and below: drawing numerators and denominators costs more than the checks that use them.
ENTRIES = st.sampled_from([Fraction(p, q) for p, q in ((0, 1), (1, 1), (-1, 1), (2, 1), (1, 2), (-3, 2), (2, 3), (-1, 3))])


def _rationals(bound: int) -> tuple[Fraction, ...]:
    return _simplest_first(Fraction(p, q) for p in range(-bound * 3, bound * 3 + 1) for q in (1, 2, 3))


@shared
def rationals(bound: int = 4, *, nonzero: bool = False) -> st.SearchStrategy[Fraction]:
    """Rationals p/q with |p| ≤ 3·bound and q ≤ 3, so |p/q| ≤ 3·bound."""
    values = _rationals(bound)
    return st.sampled_from([v for v in values if v] if nonzero else values)


@shared
def _several(one: st.SearchStrategy[T], size: int) -> st.SearchStrategy[list[T]]:
    """Lists of a fixed length, at a lower cost than st.lists, which may end anywhere."""
    return st.tuples(*[one] * size).map(list)


@shared
def vectors(size: int, bound: int = 4, *, nonzero: bool = False) -> st.SearchStrategy[list[Fraction]]:
    """Lists of ``size`` rationals (``nonzero``: every entry)."""
    return _several(rationals(bound, nonzero=nonzero), size)


@shared
def matrices(rows: int, columns: int, bound: int = 4) -> st.SearchStrategy[list[list[Fraction]]]:
    """Nested lists of rationals."""
    return vectors(rows * columns, bound).map(lambda flat: [flat[i * columns : (i + 1) * columns] for i in range(rows)])


@shared
def decay(*, zero: bool = False, negative: bool = True) -> st.SearchStrategy[Fraction]:
    """A real mode with |a| < 1; never 0 unless ``zero``."""
    values = _simplest_first(Fraction(p, q) for q in _DENOMINATORS for p in range(1 - q, q))
    return st.sampled_from([v for v in values if (v or zero) and (v >= 0 or negative)])


@shared
def decays(n: int, *, distinct: bool = True, negative: bool = True) -> st.SearchStrategy[list[Fraction]]:
    """n nonzero real modes in (−1, 1), pairwise distinct by default."""
    return st.lists(decay(negative=negative), min_size=n, max_size=n, unique=distinct)


@shared
def complex_decay() -> st.SearchStrategy[Any]:
    """A Gaussian rational λ with |λ| < 1 and Im λ ≠ 0."""
    parts = [(p, k, q) for q in (3, 5, 7) for p in range(1 - q, q) for k in range(1 - q, q) if k and p * p + k * k < q * q]
    parts = [(0, 1, 2), *sorted(parts, key=lambda v: (v[2], abs(v[0]) + abs(v[1]), v[0] < 0, v[1] < 0))]
    return st.sampled_from([gaussian(Fraction(p, q), Fraction(k, q)) for p, k, q in parts])


@shared
def _complex_decays(n: int) -> st.SearchStrategy[list[Any]]:
    """n of them, no two equal or conjugate."""
    return st.lists(complex_decay(), min_size=n, max_size=n, unique_by=lambda z: (z.x, abs(z.y)))


@shared
def gaussians(*, nonzero: bool = False) -> st.SearchStrategy[Any]:
    """Gaussian rationals with small parts."""
    pairs = [(re, im) for re in _rationals(3) for im in _rationals(3) if re or im or not nonzero]
    pairs.sort(key=lambda v: v[0].denominator * v[1].denominator * (1 + abs(v[0].numerator) + abs(v[1].numerator)))
    return st.sampled_from([gaussian(re, im) for re, im in pairs])


@shared
@st.composite
def real_lti(
    draw: st.DrawFn,
    min_states: int = 1,
    max_states: int = 5,
    *,
    distinct: bool = True,
    nonzero_residues: bool = True,
    zero_mode: bool = False,
) -> LTI:
    """A real exact channel; by default distinct nonzero modes and b_n, c_n ≠ 0."""
    n = draw(st.integers(min_states, max_states))
    if zero_mode:
        a = draw(st.lists(decay(zero=True), min_size=n, max_size=n, unique=distinct))
    else:
        a = draw(decays(n, distinct=distinct))
    b = draw(vectors(n, nonzero=nonzero_residues))
    c = draw(vectors(n, nonzero=nonzero_residues))
    return LTI(a, b, c)


@shared
@st.composite
def paired_lti(draw: st.DrawFn, min_pairs: int = 1, max_pairs: int = 3, *, nonzero_residues: bool = True) -> LTI:
    """A real system stored by halves: distinct conjugate pairs (one of each stored), b_n, c_n ≠ 0 by default."""
    n = draw(st.integers(min_pairs, max_pairs))
    a = draw(_complex_decays(n))
    b, c = (draw(_several(gaussians(nonzero=nonzero_residues), n)) for _ in range(2))
    return LTI(a, b, c, half=True)


@shared
def any_lti(max_states: int = 5) -> st.SearchStrategy[LTI]:
    """Any exact real channel: equal modes, zero modes, vanishing residues, conjugate pairs."""
    return st.one_of(
        real_lti(max_states=max_states, distinct=False, nonzero_residues=False, zero_mode=True),
        real_lti(max_states=max_states),
        paired_lti(max_pairs=max(1, max_states // 2), nonzero_residues=False),
    )


def inputs(length: int) -> st.SearchStrategy[list[Fraction]]:
    """A rational input sequence for one channel."""
    return vectors(length)


_DECAYS = st.sampled_from([Fraction(p, q) for q in (2, 3, 5, 7, 11) for p in range(1, q)])
_STEPS = st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(3, 2)])


@shared
@st.composite
def selective(
    draw: st.DrawFn,
    channels: tuple[int, ...] = (1, 2, 3),
    states: tuple[int, ...] = (1, 2, 3),
    *,
    distinct: bool = True,
    readout: bool = True,
) -> SelectiveSSM:
    """An exact S6 module with a constant clock; all D·N decays pairwise distinct by default."""
    d, n = draw(st.sampled_from(channels)), draw(st.sampled_from(states))
    flat = draw(st.lists(_DECAYS, min_size=d * n, max_size=d * n, unique=distinct))
    e = [flat[i * n : (i + 1) * n] for i in range(d)]
    dt = draw(_several(_STEPS, d))
    w_b = draw(matrices(n, d, 3))
    w_c = draw(matrices(n, d, 3)) if readout else None
    return SelectiveSSM(w_b, w_c, dt=dt, decay=e)


@shared
@st.composite
def mamba2_head(
    draw: st.DrawFn, max_head_dim: int = 3, max_states: int = 3, *, independent: bool = True, readout: bool = True
) -> Mamba2Head:
    """An exact Mamba-2 head; with ``independent`` the rows of W_x and W_B are unit vectors, hence independent."""
    p, n = draw(st.integers(1, max_head_dim)), draw(st.integers(1, max_states))
    width = p + n
    eye = [[Fraction(int(i == j)) for j in range(width)] for i in range(width)]
    if independent:
        w_x, w_b = eye[:p], eye[p:]
    else:
        w_x, w_b = draw(matrices(p, width, 2)), draw(matrices(n, width, 2))
    w_c = draw(matrices(n, width, 2)) if readout else None
    a = draw(decay(negative=False))
    dt = draw(st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(2)]))
    return Mamba2Head(w_x, w_b, w_c, dt=dt, decay=a)
