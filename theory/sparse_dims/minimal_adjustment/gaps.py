"""How much one-to-one matching can overpay: the gap between assignment and true minimum, searched and bounded.

For N ≥ 2 the gap is at most N, reached by N equal frozen modes; with distinct frozen modes it is at most ⌊N/2⌋, reached
by pairs of states that the target merges. The README has the argument; this module searches for the largest gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

from theory.core.lti import LTI

from ..adjustment import adjustment_gap


def gap_bound(frozen: LTI) -> int:
    """The proved bound of the gap: N for N ≥ 2 (0 for N = 1), and ⌊N/2⌋ where the frozen modes are distinct."""
    n = frozen.n_states
    if len(set(frozen.a)) == n:
        return n // 2
    return n


def merge_family(n: int, *, distinct: bool) -> tuple[LTI, LTI]:
    """(frozen, target) with the largest possible gap: n equal modes and their sum, or ⌊n/2⌋ merged pairs.

    ``distinct``: state 2k + 1 moves onto the mode of state 2k and their residues 1 + 1 add up to the target's 2.
    """
    if not distinct:
        return LTI(["1/2"] * n, [1] * n, [1] * n), LTI(["1/2"], [1], [n])
    modes = [Fraction(1, k + 2) for k in range(n)]
    kept = modes[: n - n % 2 : 2] + modes[n - n % 2 :]
    wanted = [2] * (n // 2) + [1] * (n % 2)
    return LTI(modes, [1] * n, [1] * n), LTI(kept, [1] * len(kept), wanted)


def patterns(n: int) -> Iterator[list[int]]:
    """Every way n modes can coincide, as labels in order of first appearance (restricted growth strings)."""

    def extend(prefix: list[int]) -> Iterator[list[int]]:
        if len(prefix) == n:
            yield prefix
            return
        for label in range(max(prefix, default=-1) + 2):
            yield from extend([*prefix, label])

    yield from extend([])


def merge_instances(n: int, residues: Sequence[int] = (1, -1)) -> Iterator[tuple[LTI, LTI]]:
    """All frozen channels with these residues against all targets that some placement of their states adds up to.

    Modes run over every pattern of coincidence, destinations over the frozen modes and one mode outside. These are the
    targets that cost nothing in residues, where one-to-one matching loses most.
    """
    values = [Fraction(1, k + 2) for k in range(n)] + [Fraction(-1, 2)]
    for labels in patterns(n):
        classes = max(labels) + 1
        for r in product(residues, repeat=n):
            if tuple(r) > tuple(-x for x in r):  # the sign of all residues does not matter
                continue
            seen: set[tuple[int, ...]] = set()
            for destination in product([*range(classes), n], repeat=n):
                sums = [0] * (n + 1)
                for k, v in enumerate(destination):
                    sums[v] += r[k]
                if tuple(sums) in seen:
                    continue
                seen.add(tuple(sums))
                frozen = LTI([values[k] for k in labels], [1] * n, list(r))
                used = [v for v in range(n + 1) if sums[v]] or [0]
                yield frozen, LTI([values[v] for v in used], [1] * len(used), [sums[v] for v in used])


@dataclass(frozen=True)
class LargestGap:
    """The largest gaps seen, over all frozen channels and those with distinct modes, each with its first witness."""

    states: int
    instances: int
    any_modes: int
    any_witness: str
    distinct_modes: int
    distinct_witness: str


def largest_gap(n: int, stride: int = 1) -> LargestGap:
    """Search every ``stride``-th of :func:`merge_instances` and the two extremal families for the largest gap."""
    best = {True: (-1, ""), False: (-1, "")}
    count = 0

    def visit(frozen: LTI, target: LTI) -> None:
        nonlocal count
        count += 1
        gap = adjustment_gap(frozen, target)
        distinct = len(set(frozen.a)) == n
        for key in {False, distinct}:
            if gap > best[key][0]:
                best[key] = (gap, f"{frozen!r} to {target!r}")

    for distinct in (False, True):
        visit(*merge_family(n, distinct=distinct))
    for k, (frozen, target) in enumerate(merge_instances(n)):
        if k % stride == 0:
            visit(frozen, target)
    return LargestGap(n, count, *best[False], *best[True])
