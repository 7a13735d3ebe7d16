r"""G = 2, other channels frozen and nonzero, disjoint tuned sets with |S_1| ≥ |S_2|: which ranks are out of reach, any width.

If T_2 T_1 = T* for generic numbers, layer 1 can only be W'_1 = diag(s on S_1, 0 on S_2), because (README, "disjoint sets"):

* every pole λ_d comes from one tuned state, and every frozen pole cancels;
* rows of W'_1 in S_1 are diagonal (else a column of T* would be silent in S_2), rows in S_2 read S_2 only;
* W*[S_1, S_2] has independent columns, so no column of W'_1 in S_2 is cancelled by layer 2: they are 0.

So the rank of every update is at least min_s rank(W_1 − diag(s, 0)), which is found by linear algebra.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations
from math import prod

import numpy as np

from theory.core import linalg
from theory.core.deep_s4 import S4Layer
from theory.core.errors import InvalidInput, InvalidSystem
from theory.core.scalars import Array

from .cancellation import require_target
from .transfer import layers_of, one_state


def generic_numbers(frozen: Sequence[S4Layer], target: S4Layer, tuned: Sequence[Sequence[int]]) -> dict[str, Fraction]:
    r"""The numbers that the argument needs nonzero.

    Parameters
    ----------
    frozen:
        Two linear layers of D channels with one state each.
    target:
        One such layer.
    tuned:
        (S_1, S_2), disjoint, neither empty, together all channels, |S_1| ≥ |S_2|.

    Returns
    -------
    dict
        ``modes`` (differences of all poles that meet, and the poles), ``frozen residues``, ``silent columns`` (W*_d is not 0 on
        S_2, d ∈ S_1) and ``crossing block`` (the Gram determinant of W*[S_1, S_2]).

    Raises
    ------
    InvalidInput, InvalidSystem
        Other depths, widths, states or tuned sets.
    """
    old, (s1, s2) = _checked(frozen, target, tuned)
    modes, weights = require_target(target)
    W = target.W * weights
    kept = [(old[0].channels[d], d) for d in s2] + [(old[1].channels[d], d) for d in s1]
    poles = [*modes, *(Fraction(c.a[0]) for c, _ in kept)]
    block = W[np.ix_(s1, s2)]
    return {
        "modes": prod([*(p - q for p, q in combinations(poles, 2)), *poles], start=Fraction(1)),
        "frozen residues": prod([Fraction(c.b[0] * c.c[0]) for c, _ in kept], start=Fraction(1)),
        "silent columns": prod([sum((W[i, d] ** 2 for i in s2), Fraction(0)) for d in s1], start=Fraction(1)),
        "crossing block": linalg.determinant(block.T @ block),
    }


def rank_bound(frozen: Sequence[S4Layer], target: S4Layer, tuned: Sequence[Sequence[int]]) -> int:
    """A rank below which no update of W_1 lets the two layers compute the target; 0 where a number of the argument vanishes.

    Raises as :func:`generic_numbers`.
    """
    if 0 in generic_numbers(frozen, target, tuned).values():
        return 0
    return diagonal_distance(layers_of(frozen)[0].W, tuned[0])


def diagonal_distance(W: Array, free: Sequence[int]) -> int:
    """A lower bound of min_s rank(W − diag(s on ``free``, 0 elsewhere)): ρ, the rank of the other columns, or ρ + 1.

    It is ρ iff every column d of ``free`` lies in their span up to a multiple of e_d, each with its own s_d.
    """
    width = len(W)
    others = W[:, [d for d in range(width) if d not in free]]
    base = linalg.rank(others) if others.shape[1] else 0
    for d in free:
        unit = np.array([[Fraction(int(i == d))] for i in range(width)], dtype=object)
        spanned = np.hstack([others, unit])
        if linalg.rank(np.hstack([spanned, W[:, [d]]])) > linalg.rank(spanned):
            return base + 1
    return base


def _checked(
    frozen: Sequence[S4Layer], target: S4Layer, tuned: Sequence[Sequence[int]]
) -> tuple[tuple[S4Layer, ...], tuple[list[int], list[int]]]:
    old = layers_of(frozen)
    width = target.n_channels
    if len(old) != 2 or old[0].n_channels != width:
        raise InvalidSystem(f"expected two layers of D = {width} channels, got G = {len(old)}, D = {old[0].n_channels}")
    for layer in old:
        for d, channel in enumerate(layer.channels):
            one_state(channel, f"channel {d}")
    sets = [sorted(s) for s in tuned]
    if len(sets) != 2 or sorted([*sets[0], *sets[1]]) != list(range(width)) or not 0 < len(sets[1]) <= len(sets[0]):
        raise InvalidInput(f"tuned = {tuned!r} must be disjoint sets S_1, S_2 of all channels with |S_1| ≥ |S_2| ≥ 1")
    return old, (sets[0], sets[1])
