r"""One channel: which states Σ_m w_m (λ_1^m, …, λ_K^m), w ≥ 0, finitely many tokens build. Decided in rationals, both ways.

For 1 > λ_1 > … > λ_K > 0 the powers λ_k^m form a Chebyshev system: a combination Σ ℓ_k λ_k^m has at most K − 1 real zeros in m.
So the closed cone over the points x_0, x_1, … and their limit direction e_1 (m = ∞) has the faces of a cyclic polytope. Write
v = Σ_{F} w_m x_m with positive weights on independent points F ⊂ {0, 1, …, ∞}. Call a run of consecutive numbers in F *odd* where
it has odd length and touches neither 0 nor ∞. By Gale's evenness condition

    |F| + (number of odd runs) ≤ K − 1    ⟺    v lies on the boundary, F is its only representation, and v is reached iff ∞ ∉ F;

otherwise v is interior, and finitely many tokens reach it. If v is not in the cone at all, some T shows it: for m ≥ T a
functional with Σ_{j≤k} ℓ_j λ_j^T ≥ 0 for every k is ≥ 0 (summation by parts), and these conditions are linear.

Source: Karlin and Studden, Tchebycheff Systems (1966), for the faces of moment cones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from theory.core import linalg
from theory.core.linear_program import nonnegative_combination
from theory.core.scalars import Array

MAX_SLOTS = 2048
"""Slots up to which witnesses and certificates are sought; every state is decided by some number of them."""
MOST_BITS = 1 << 13
"""Powers of a decay longer than this are not formed."""


@dataclass(frozen=True, eq=False)
class MomentAnswer:
    """What became of v.

    Attributes
    ----------
    verdict:
        ``witness`` (``weights`` over slots), ``obstruction`` (``ell`` ≥ 0 on every point, < 0 on v), ``boundary`` (``ell`` ≥ 0 on
        every point, 0 on v, whose only representation needs m = ∞: no prefix reaches it), ``exists`` (interior, so some prefix
        reaches it) or ``open`` (not decided with MAX_SLOTS slots).
    weights:
        slot → weight.
    ell:
        Over the nodes.
    """

    verdict: Literal["witness", "obstruction", "boundary", "exists", "open"]
    weights: dict[int, Fraction] | None = None
    ell: Array | None = None


def decide(nodes: Sequence[Fraction], v: Sequence[Fraction] | Array) -> MomentAnswer:
    """Whether v ≠ 0 is reached by finitely many tokens; ``nodes`` are distinct, in (0, 1), largest first."""
    k, slots = len(nodes), 8
    interior = False
    most = min(MAX_SLOTS, max(16, MOST_BITS // max(e.denominator.bit_length() for e in nodes)))
    while slots <= most:
        columns = points(nodes, slots)
        if not interior:
            limit = [] if k == 1 else [[Fraction(int(i == 0))] for i in range(k)]  # for one node x_0 is that direction already
            found = nonnegative_combination(np.hstack([columns, np.array(limit, dtype=object)]) if limit else columns, v)
            if found.weights is not None:
                used = [m for m, w in enumerate(found.weights) if w != 0]
                finite = [m for m in used if m < slots]
                if len(finite) == len(used):
                    return MomentAnswer("witness", {m: found.weights[m] for m in used})
                if len(used) + odd_runs(finite) <= k - 1:
                    return MomentAnswer("boundary", ell=facet(nodes, finite))
                interior = True
            else:
                ell = _certificate(nodes, slots, v)
                if ell is not None:
                    return MomentAnswer("obstruction", ell=ell)
        if interior:
            within = nonnegative_combination(columns, v)
            if within.weights is not None:
                return MomentAnswer("witness", {m: w for m, w in enumerate(within.weights) if w != 0})
        slots *= 2
    return MomentAnswer("exists" if interior else "open")


def decide_within(nodes: Sequence[Fraction], v: Sequence[Fraction] | Array, length: int) -> MomentAnswer:
    """The same for prefixes of at most ``length`` tokens: a witness, or ``ell`` ≥ 0 on the first ``length`` points alone."""
    found = nonnegative_combination(points(nodes, length), v)
    if found.weights is None:
        return MomentAnswer("obstruction", ell=found.ell)
    return MomentAnswer("witness", {m: w for m, w in enumerate(found.weights) if w != 0})


def points(nodes: Sequence[Fraction], slots: int) -> Array:
    """Columns x_0, …, x_{slots−1}, shape (K, slots)."""
    return np.array([[e**m for m in range(slots)] for e in nodes], dtype=object)


def _certificate(nodes: Sequence[Fraction], slots: int, v: Sequence[Fraction] | Array) -> Array | None:
    """ℓ with ℓ·v < 0 that is ≥ 0 at m < T one by one and at m ≥ T by summation by parts."""
    tail = np.array([[e**slots if i <= k else Fraction(0) for k in range(len(nodes))] for i, e in enumerate(nodes)], dtype=object)
    return nonnegative_combination(np.hstack([points(nodes, slots), tail]), v).ell


def never_negative(nodes: Sequence[Fraction], ell: Sequence[Fraction] | Array, most: int = 4 * MAX_SLOTS) -> bool | None:
    """Whether Σ_k ℓ_k λ_k^m ≥ 0 for every m ≥ 0: exact, None where ``most`` slots do not settle it."""
    checked, start = 0, 0
    while start <= most:
        powers = [e**start for e in nodes]
        partial = np.cumsum(np.array([x * p for x, p in zip(ell, powers, strict=True)], dtype=object))
        for m in range(checked, start + 1):
            if sum((x * e**m for x, e in zip(ell, nodes, strict=True)), Fraction(0)) < 0:
                return False
        if all(x >= 0 for x in partial):
            return True
        checked, start = start + 1, max(1, 2 * start)
    return None


def runs(finite: Sequence[int]) -> list[tuple[int, int]]:
    """Maximal runs (first, last) of consecutive numbers."""
    out: list[tuple[int, int]] = []
    for m in sorted(finite):
        if out and out[-1][1] == m - 1:
            out[-1] = (out[-1][0], m)
        else:
            out.append((m, m))
    return out


def odd_runs(finite: Sequence[int]) -> int:
    """Runs of odd length that do not start at 0: each costs a functional one more zero to stay on one side."""
    return sum(first > 0 and (last - first) % 2 == 0 for first, last in runs(finite))


def facet(nodes: Sequence[Fraction], finite: Sequence[int]) -> Array:
    """ℓ ≥ 0 on every point, 0 exactly on a facet that holds the slots ``finite`` and the limit; see the module's text.

    Needs |F| + odd runs ≤ K − 1 with F = finite ∪ {∞}. Odd runs are made even, the run at 0 or pairs far out fill the rest.
    """
    k, chosen = len(nodes), set(finite)
    while odd := [last for first, last in runs(sorted(chosen)) if first > 0 and (last - first) % 2 == 0]:
        chosen.add(odd[0] + 1)
    missing = k - 2 - len(chosen)  # the limit is the (K − 1)-th point
    if missing % 2:
        chosen.add(next(m for m in range(k + 1) if m not in chosen))
        missing -= 1
    start = max(chosen, default=-1) + 2
    chosen |= set(range(start, start + missing))  # an even run of its own
    rows = [[e**m for e in nodes] for m in sorted(chosen)] + [[Fraction(int(i == 0)) for i in range(k)]]
    (ell,) = linalg.nullspace(rows)
    probe = max(chosen, default=0) + 2
    value = sum((x * e**probe for x, e in zip(ell, nodes, strict=True)), Fraction(0))
    return ell if value > 0 else -ell
