"""Instances of :mod:`.in_proj_dominates`: drawn blocks and targets, and the smallest systems that break each assumption."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

from theory.core.scalars import Array, as_array
from theory.core.strategies import ENTRIES

from .block import MixerBlock, row_count

# -- instances ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A frozen block, a target and tokens."""

    frozen: MixerBlock
    target: MixerBlock
    tokens: tuple[Any, ...]


def _objects(values: Any) -> Array:
    return np.array(values, dtype=object)


def _matrix(draw: st.DrawFn, rows: int, columns: int) -> Array:
    size = rows * columns
    return _objects(draw(st.lists(ENTRIES, min_size=size, max_size=size))).reshape(rows, columns)


def _unit(rows: int, columns: int) -> Array:
    return _objects([[Fraction(int(i == j)) for j in range(columns)] for i in range(rows)])


@st.composite
def tasks(draw: st.DrawFn, kind: str = "plain", *, wide: bool = False) -> Task:
    """d_model and N 1 or 2 (not both 2), D = 2N + 1 + d_model or one more, and at most one obstacle (``kind``).

    ``wide``: twice as many channels, each row of S on an even and an odd one, so that the rows stay independent when they are
    split into even and odd channels (by dynamics, skips or taps), and every target is within reach.
    """
    m, n = draw(st.sampled_from([(1, 1)] if wide else [(1, 1), (2, 1), (1, 2)]))
    need = row_count(m, n)
    d = 2 * need if wide else need + draw(st.integers(0, 1))
    pairs = np.repeat(_unit(need, need), 2, axis=1) if wide else _unit(need, d)
    lower = np.tril(_matrix(draw, need, need), -1)
    s = pairs + (np.repeat(lower, 2, axis=1) if wide else np.concatenate([lower, 0 * pairs[:, need:]], axis=1))
    if kind == "deficient":
        s[0] = s[1]
    rates, skip, taps = _objects([list(range(1, n + 1))] * d), _objects([draw(ENTRIES)] * d), None
    if kind == "dynamics":
        rates = _objects([[1 + i + (k % 2) for i in range(n)] for k in range(d)])
    if kind == "skip":
        skip = _objects([Fraction(k % 2) for k in range(d)])
    if kind == "taps":
        taps = _objects([[Fraction(int(k % 2 == 0)), Fraction(int(k % 2 == 1))] for k in range(d)])
    v = _objects([Fraction(1)])

    def block(s: Array, w: Array) -> MixerBlock:
        return MixerBlock(w, s[:n], s[n : 2 * n], s[2 * n : 2 * n + 1], v, s[2 * n + 1 :], rates, skip, taps)

    target = block(_matrix(draw, need, d), _matrix(draw, d, m))
    tokens = tuple(_matrix(draw, 2, m))
    return Task(block(s, _matrix(draw, d, m)), target, tokens)


@dataclass(frozen=True)
class Converse:
    """A frozen block, the target (the same block with another in_proj), and selectors that try to reach it."""

    frozen: MixerBlock
    wanted: Array
    selectors: Array

    @property
    def target(self) -> MixerBlock:
        """The frozen block with the wanted in_proj."""
        return replace(self.frozen, W_in=self.wanted)

    @property
    def changed(self) -> MixerBlock:
        """The frozen block with the changed selectors [W_B; W_C; W_dn]."""
        n, s = len(self.frozen.W_B), self.selectors
        return replace(self.frozen, W_B=s[:n], W_C=s[n : 2 * n], W_dn=s[2 * n :])


@st.composite
def converses(draw: st.DrawFn, sizes: tuple[int, ...] = (2, 3, 4), *, separated: bool = False) -> Converse:
    """N = 1, D = d_model + 1, everything drawn; ``separated``: W_out W_in and W_out W_in* differ in direction somewhere."""
    m = draw(st.sampled_from(sizes))
    d = m + 1
    shapes = ((d, m), (1, d), (1, d), (1, d), (m, d))
    w_in, w_b, w_c, w_dn, w_out = (_matrix(draw, *size) for size in shapes)
    skip, rates = _objects([draw(ENTRIES)] * d), _objects([[1]] * d)
    if separated:  # W_out = [I 0], W_in = I, W_in* exchanges two outputs; the selectors read the spare channel, δ = 1
        w_out, w_in, skip = _unit(m, d), _unit(d, m), _objects([Fraction(1)] * d)
        wanted = w_in[[1, 0, *range(2, d)]]
    else:
        wanted = _matrix(draw, d, m)
    frozen = MixerBlock(w_in, w_b, w_c, w_dn, _objects([Fraction(1)]), w_out, rates, skip)
    return Converse(frozen, wanted, _matrix(draw, 3, d))


# -- what breaks each assumption, at any size -----------------------------------------------------------------------------


def _block(W_in: Any, B: Any, C: Any, dn: Any, W_out: Any, **changes: Any) -> MixerBlock:
    d = len(W_in)
    w, b, c, s, out = (as_array(x, "exact", ndim=2) for x in (W_in, [B], [C], [dn], W_out))
    plain = MixerBlock(w, b, c, s, _objects([Fraction(1)]), out, _objects([[1]] * d), _objects([Fraction(0)] * d))
    return replace(plain, **changes)


def _tokens() -> tuple[Array, ...]:
    return (_objects([Fraction(1)]), _objects([Fraction(2)]))


def tied_rows(d: int = 1) -> Task:
    """Every row of S reads channel 1: W_B = W_C = W_dn = W_out = e_1. Target: W_B* = 2 e_1."""
    e, w = [int(i == 0) for i in range(d)], [[1]] * d
    return Task(_block(w, e, e, e, [e]), _block(w, [2 * x for x in e], e, e, [e]), _tokens())


def two_decays(d: int = 2) -> Task:
    """Rates 1 and 2 (the second in all further channels), selectors on channel 1, W_out = 1. Target: W_out* = (2, 1, …)."""
    e, w, rates = [int(i == 0) for i in range(d)], [[1]] * d, _objects([[1]] + [[2]] * (d - 1))
    frozen = _block(w, e, e, e, [[1] * d], rates=rates)
    return Task(frozen, replace(frozen, W_out=as_array([[2] + [1] * (d - 1)], "exact")), _tokens())


def one_skip(d: int = 4) -> Task:
    """Selectors on channels 1 to 3, D_skip = e_1, W_out = e_4. Target: W_out* = e_1 + e_4."""
    rows = _unit(4, d)
    skip = rows[0]
    frozen = _block([[1]] * d, rows[0], rows[1], rows[2], [rows[3]], D_skip=skip)
    return Task(frozen, replace(frozen, W_out=_objects([rows[0] + rows[3]])), _tokens())


def one_delay(d: int = 4) -> Task:
    """Selectors on channels 1 to 3, channel 2 delayed by one token, W_out = e_4. Target: W_out* = e_2 + e_4."""
    rows = _unit(4, d)
    taps = as_array([[int(i != 1), int(i == 1)] for i in range(d)], "exact")
    frozen = _block([[1]] * d, rows[0], rows[1], rows[2], [rows[3]], taps=taps)
    return Task(frozen, replace(frozen, W_out=_objects([rows[1] + rows[3]])), _tokens())


def one_output() -> Converse:
    """d_model = 1, D = 3, selectors e_1, e_2, e_3, W_out = 1, W_in = 1. Target: W_in* = (2, 1, 1); W_B = (8/3) e_1 reaches it."""
    frozen = _block([[1]] * 3, [1, 0, 0], [0, 1, 0], [0, 0, 1], [[1, 1, 1]])
    return Converse(frozen, as_array([[2], [1], [1]], "exact"), as_array([["8/3", 0, 0], [0, 1, 0], [0, 0, 1]], "exact"))
