r"""Mamba-2 heads as what sparse dimension tuning can change: one decay and one value matrix of rank ≤ P a head.

    out_t = Σ_h Σ_{s ≤ t} γ_h^{t−s} K(u_t, u_s) M_h u_s,     M_h = dt_h W_out^h W_x^h  (d, D),     K(u, v) = uᵀ W_CᵀW_B v

One group (all heads share W_B and W_C), constant clocks, no skip, convolution, gate or norm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, product
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from theory.core import linalg
from theory.core.errors import InvalidInput
from theory.core.scalars import Array
from theory.core.ssd import Mamba2Head


@dataclass(frozen=True, eq=False)
class Heads:
    """One group of heads.

    Attributes
    ----------
    decays, values:
        γ_h and M_h (d, D), one each a head.
    W_B, W_C:
        (N, D).
    """

    decays: tuple[Fraction, ...]
    values: tuple[Array, ...]
    W_B: Array
    W_C: Array

    def run(self, tokens: Sequence[Any]) -> Array:
        """Outputs (L, d) for tokens (L, D), head by head through the recurrence."""
        total: Any = np.array([[Fraction(0)] * len(self.values[0])] * len(tokens), dtype=object)
        for decay, value in zip(self.decays, self.values, strict=True):
            W_out, W_x = linalg.rank_factors(value)
            if len(W_x):
                head = Mamba2Head(W_x, self.W_B, self.W_C, dt=1, decay=decay)
                total = total + head.run(np.array(tokens, dtype=object))[0] @ W_out.T
        return np.asarray(total)


def essential(heads: Heads) -> dict[Fraction, Array]:
    """{γ: Σ of the M_h with γ_h = γ}, without those that are 0."""
    sums: dict[Fraction, Array] = {}
    for decay, value in zip(heads.decays, heads.values, strict=True):
        sums[decay] = sums.get(decay, 0 * value) + value
    return {decay: value for decay, value in sums.items() if np.any(value)}


def same_essential(first: Heads, second: Heads) -> bool:
    """Whether the two sets of pairs (γ, M_γ) agree."""
    a, b = essential(first), essential(second)
    return a.keys() == b.keys() and all(np.all(a[decay] == b[decay]) for decay in a)


def is_skew(heads: Heads) -> bool:
    """Whether K(u, u) = 0 for every token u."""
    K = linalg.matmul(heads.W_C.T, heads.W_B)
    return not np.any(K + K.T)


def horizon(first: Heads, second: Heads) -> int:
    """Tokens that tell two blocks apart: as many as decays between them, one more where K is skew."""
    return max(1, len(essential(first).keys() | essential(second).keys())) + int(is_skew(first))


def heads_needed(target: dict[Fraction, Array], channels: int) -> int:
    """Σ ⌈rank(M_γ)/P⌉: the fewest heads of P channels that compute the target."""
    return sum(-(-linalg.rank(value) // channels) for value in target.values())


def assignment_cost(frozen: Heads, target: dict[Fraction, Array], channels: int) -> int:
    """Fewest changed decays and value matrices when every target pair is given to one head and the other heads are silenced.

    Raises
    ------
    InvalidInput
        More target pairs than heads, or one of rank above P: no single head computes it.
    """
    n = len(frozen.decays)
    for decay, value in target.items():
        if (rank := linalg.rank(value)) > channels:
            raise InvalidInput(
                f"the target's value matrix at decay {decay} has rank {rank}; a head of {channels} channels has less"
            )
    if len(target) > n:
        raise InvalidInput(f"the target has {len(target)} decays but the block {n} heads")
    cost = np.empty((n, n), dtype=np.int64)
    for h, (decay, value) in enumerate(zip(frozen.decays, frozen.values, strict=True)):
        cost[h] = int(np.any(value))
        cost[h, : len(target)] = [int(decay != d) + int(np.any(value != m)) for d, m in target.items()]
    return int(cost[linear_sum_assignment(cost)].sum())


def fewest_changes(frozen: Heads, target: dict[Fraction, Array], channels: int) -> int | None:
    """The true minimum over all edits, by trying every destination of every head; None where no edit does it.

    A group of heads at decay γ with k changed value matrices reaches M_γ iff M_γ minus the kept ones has rank ≤ k P.
    """
    values = list(dict.fromkeys([*frozen.decays, *target]))
    zero = 0 * frozen.values[0]
    best = None
    for places in product(range(len(values)), repeat=len(frozen.decays)):
        total = sum(int(values[p] != decay) for p, decay in zip(places, frozen.decays, strict=True))
        for v, decay in enumerate(values):
            members = [frozen.values[h] for h, p in enumerate(places) if p == v]
            changed = _changed(members, target.get(decay, zero), channels)
            if changed is None:
                break
            total += changed
        else:
            best = total if best is None else min(best, total)
    return best


def _changed(members: Sequence[Array], wanted: Array, channels: int) -> int | None:
    for k in range(len(members) + 1):
        for kept in combinations(members, len(members) - k):
            rest = wanted - sum(kept, 0 * wanted)
            if linalg.rank(rest) <= k * channels:
                return k
    return None


def generic(frozen: Heads, target: dict[Fraction, Array]) -> bool:
    """Decays pairwise different, and no sum of two or more nonzero value matrices is 0 or a target's."""
    if len(set(frozen.decays)) < len(frozen.decays):
        return False
    shown = [0 * frozen.values[0], *target.values()]
    return not any(np.all(total == wanted) for total in _sums(frozen) for wanted in shown)


def _sums(frozen: Heads) -> Iterator[Array]:
    members = [m for m in frozen.values if np.any(m)]
    for k in range(2, len(members) + 1):
        for some in combinations(members, k):
            yield np.asarray(sum(some[1:], some[0]))


def separable(groups: Sequence[Any], tokens: Sequence[Array], lags: int) -> bool:
    """Whether for each first token the responses, last token against (lag, output), have rank at most one.

    ``groups``: anything with ``run``; their outputs are added. Lag j has j − 1 tokens 0 between, j = 1..lags.
    """
    for u in tokens:
        rows = []
        for v in tokens:
            answers = [
                sum(g.run([u, *[0 * u] * j, v])[-1] - g.run([0 * u, *[0 * u] * j, v])[-1] for g in groups) for j in range(lags)
            ]
            rows.append(np.concatenate(answers))
        if linalg.rank(rows) > 1:
            return False
    return True
