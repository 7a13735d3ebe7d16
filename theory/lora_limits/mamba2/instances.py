"""Blocks, targets and tokens for the claim, drawn in small rationals, and its named smallest instances."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.scalars import Array
from theory.core.strategies import ENTRIES

from .block import Mamba2Block


def exact(rows: Any) -> Array:
    """A matrix of Fractions."""
    return np.array([[Fraction(x) for x in row] for row in rows], dtype=object)


@dataclass(frozen=True, eq=False)
class Task:
    """A frozen block, a target, and how many gaps are looked at."""

    frozen: Mamba2Block
    target: Mamba2Block
    gaps: int = 0

    @property
    def tokens(self) -> list[Array]:
        """e_i and e_i + e_j: a quadratic form that vanishes on them is zero."""
        unit = list(np.array([[Fraction(int(i == j)) for j in range(self.width)] for i in range(self.width)], dtype=object))
        return unit + [a + b for a, b in combinations(unit, 2)]

    @property
    def width(self) -> int:
        """D, the width of a token."""
        return int(self.frozen.W_dt[0].shape[0])


def _matrix(draw: st.DrawFn, rows: int, columns: int) -> Array:
    size = rows * columns
    return np.array(draw(st.lists(ENTRIES, min_size=size, max_size=size)), dtype=object).reshape(rows, columns)


def full_rank(draw: st.DrawFn, rows: int, columns: int) -> Array:
    """A matrix of full row rank: units in some columns, anything small elsewhere."""
    out = _matrix(draw, rows, columns)
    pivots = draw(st.permutations(range(columns)))[:rows]
    for i, j in enumerate(pivots):
        out[:, j] = [Fraction(int(k == i)) for k in range(rows)]
    return out


@dataclass(frozen=True)
class Shape:
    """Heads, channels a head, states, width of a token and of an output, groups."""

    heads: int
    channels: int
    states: int
    width: int
    outputs: int
    groups: int


@st.composite
def shapes(draw: st.DrawFn, *, states: tuple[int, ...] = (1, 2), outputs: tuple[int, ...] = (1, 2, 3)) -> Shape:
    """H ≤ 3, P ≤ 2, N ≤ 2, D ≤ 3, d ≤ 3, one or two groups."""
    heads, n = draw(st.integers(1, 3)), draw(st.sampled_from(states))
    groups = 2 if heads == 2 and draw(st.booleans()) else 1
    return Shape(heads, draw(st.integers(1, 2)), n, draw(st.integers(n, 3)), draw(st.sampled_from(outputs)), groups)


_RATES = ((1, 2, 3), (2, 1, 4), (3, 4, 1))


def projections(draw: st.DrawFn, s: Shape, *, constant: bool = False) -> dict[str, Any]:
    """Every matrix of a block, drawn anew; ``constant``: no clock reads the token."""
    zero = np.array([Fraction(0)] * s.width, dtype=object)
    return {
        "W_x": tuple(_matrix(draw, s.channels, s.width) for _ in range(s.heads)),
        "W_out": tuple(_matrix(draw, s.outputs, s.channels) for _ in range(s.heads)),
        "W_B": tuple(full_rank(draw, s.states, s.width) for _ in range(s.groups)),
        "W_C": tuple(full_rank(draw, s.states, s.width) for _ in range(s.groups)),
        "W_dt": tuple(zero if constant else _matrix(draw, 1, s.width)[0] for _ in range(s.heads)),
    }


def block(draw: st.DrawFn, s: Shape, *, constant: bool = False) -> Mamba2Block:
    """A block whose heads have different decays at rest: one bias, different rates."""
    rates = draw(st.sampled_from(_RATES))[: s.heads]
    bias = draw(st.sampled_from((Fraction(0), Fraction(1), Fraction(-1))))
    skip = tuple(draw(ENTRIES) for _ in range(s.heads))
    return Mamba2Block(**projections(draw, s, constant=constant), bias=(bias,) * s.heads, rates=rates, D_skip=skip)


@st.composite
def retuned(draw: st.DrawFn) -> Task:
    """A block and the same block with every projection drawn anew; one gap more than heads."""
    s = draw(shapes())
    frozen = block(draw, s)
    return Task(frozen, replace(frozen, **projections(draw, s)), s.heads + 1)


def shows(task: Task) -> tuple[Array, Array] | None:
    """Two tokens between which the target's first head answers, or None."""
    t = task.target
    for u in task.tokens:
        for v in task.tokens:
            if (t.W_C[0] @ v) @ (t.W_B[0] @ u) != 0 and np.any(t.W_out[0] @ (t.W_x[0] @ u)):
                return u, v
    return None


@st.composite
def outside(draw: st.DrawFn, *, gaps: int = 1, inside: bool = False) -> Task:
    """A target whose first k heads have decays that no frozen head has (``inside``: k = 0); H + k − 1 + ``gaps`` gaps."""
    s = draw(shapes())
    frozen = block(draw, s)
    new = draw(st.integers(1, s.heads))
    target = replace(frozen, **projections(draw, s))
    target = replace(target, W_x=(target.W_x[0] + _ones(target.W_x[0]), *target.W_x[1:]))
    if inside:
        task = Task(frozen, target, s.heads + gaps)
    else:
        target = replace(target, rates=((7, 6, 5)[:new] + target.rates[new:]))
        task = Task(frozen, target, s.heads + new - 1 + gaps)
    return task if shows(task) else _visible(task)


def _ones(m: Array) -> Array:
    return m * 0 + Fraction(1)


def _visible(task: Task) -> Task:
    t = task.target
    return replace(task, target=replace(t, W_x=tuple(map(_ones, t.W_x)), W_out=tuple(map(_ones, t.W_out))))


@st.composite
def reselected(draw: st.DrawFn, *, frozen_zero: bool = False, exchanged: bool = False) -> Task:
    """A target of other W_B and W_C, some of them shared in part.

    ``frozen_zero``: the frozen ones are 0; ``exchanged``: two heads in two groups differ in W_B and W_C alone, which the
    target exchanges.
    """
    s = draw(shapes(states=(1, 2, 3)))
    if exchanged:
        frozen = block(draw, replace(s, heads=2, groups=2))
        alike = {name: (getattr(frozen, name)[0],) * 2 for name in ("W_x", "W_out", "W_dt", "bias", "rates", "D_skip")}
        frozen = replace(frozen, **alike)
        return Task(frozen, replace(frozen, W_B=frozen.W_B[::-1], W_C=frozen.W_C[::-1]))
    frozen = block(draw, s)
    frozen = replace(frozen, W_x=tuple(w if np.any(w) else _ones(w) for w in frozen.W_x))
    frozen = replace(frozen, W_out=tuple(map(_eye_like, frozen.W_out)))

    def other(w: Array) -> Array:
        mix = draw(st.sampled_from(("new", "gauge", "row")))
        if mix == "gauge":
            return linalg.matmul(full_rank(draw, len(w), len(w)), w)
        new = full_rank(draw, *w.shape)
        if mix == "row" and linalg.rank(rows := np.concatenate([w[:1], new[1:]])) == len(w):
            return rows
        return new

    target = replace(frozen, W_B=tuple(map(other, frozen.W_B)), W_C=tuple(map(other, frozen.W_C)))
    if frozen_zero:
        frozen = replace(frozen, W_B=tuple(0 * w for w in frozen.W_B), W_C=tuple(0 * w for w in frozen.W_C))
    return Task(frozen, target)


def _eye_like(w: Array) -> Array:
    return exact([[int(i % w.shape[1] == j) for j in range(w.shape[1])] for i in range(max(w.shape))])


@st.composite
def other_out_proj(draw: st.DrawFn, *, equal: bool = False) -> Task:
    """A target of another W_out; ``equal``: the heads have one clock and one decay."""
    s = draw(shapes())
    s = replace(s, heads=2, groups=1) if equal else s
    frozen = block(draw, s)
    if equal:
        frozen = replace(frozen, rates=(1,) * s.heads, W_dt=(frozen.W_dt[0],) * s.heads)
    return Task(frozen, replace(frozen, W_out=projections(draw, s)["W_out"]))


def swapped_heads() -> Task:
    """Two equal heads of one channel, W_out = (e_1, e_2), target W_out* = (e_2, e_1)."""
    e1, e2 = exact([[1], [0]]), exact([[0], [1]])
    rows, zero = (exact([[1, 0]]), exact([[0, 1]])), exact([[0, 0]])[0]
    frozen = Mamba2Block(
        W_x=rows,
        W_out=(e1, e2),
        W_B=(exact([[1, 1]]),),
        W_C=(exact([[1, 1]]),),
        W_dt=(zero, zero),
        bias=(Fraction(0),) * 2,
        rates=(1, 1),
        D_skip=(Fraction(0),) * 2,
    )
    return Task(frozen, replace(frozen, W_out=(e2, e1)))


def swapped_groups() -> Task:
    """Two heads in two groups that differ in W_C alone, 1 and 2; the target has 2 and 1."""
    one, zero = exact([[1]]), exact([[0]])[0]
    two = 2 * one
    frozen = Mamba2Block(
        (one,) * 2, (one,) * 2, (one,) * 2, (one, two), (zero,) * 2, (Fraction(0),) * 2, (1, 1), (Fraction(0),) * 2
    )
    return Task(frozen, replace(frozen, W_C=(two, one)))


def one_head(**changes: Any) -> Mamba2Block:
    """H = P = N = D = d = 1 with every weight 1, bias 0, rate 1 and a constant clock."""
    one, zero = exact([[1]]), exact([[0]])[0]
    block = Mamba2Block((one,), (one,), (one,), (one,), (zero,), (Fraction(0),), (1,), (Fraction(0),))
    return replace(block, **changes)
