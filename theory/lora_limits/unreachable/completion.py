"""Two channels of two states, in full: may a rank-r LoRA on A reach the target function when assumptions are dropped?

The smallest size at which lora_limits.unreachable says anything (min(D, N) = 2). Here the answer is computed without the
assumptions: states that the target does not see leave entries of A free, a tunable dt rescales rows, short sequences need
no A at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, permutations, product

from theory.core.errors import InvalidInput
from theory.core.invariants import known

Row = tuple[Fraction, Fraction]
Entry = Fraction | None


@dataclass(frozen=True)
class SpectrumTask:
    """D = N = 2: a frozen A, a target (A*, residues r*), a LoRA rank, and what else may be tuned.

    Attributes
    ----------
    frozen, target, residues:
        A, A* and the target's residues, 2 × 2. The student's residues (C) are always free.
    rank:
        LoRA rank on A, 0 to 2.
    horizon:
        Number of lags L on which the kernels are compared; decided for L ≤ 2 and L ≥ 4.
    dt_free:
        Whether the step size of each channel may be tuned too (positive, the target has dt = 1).
    """

    frozen: tuple[Row, Row]
    target: tuple[Row, Row]
    residues: tuple[Row, Row]
    rank: int = 1
    horizon: int = 4
    dt_free: bool = False


def completes_to_rank_one(matrix: Sequence[Sequence[Entry]]) -> bool:
    """Whether a 2 × 2 matrix with free entries (None) has a completion of rank ≤ 1.

    No free entry: iff the determinant vanishes. One: x · opposite = product of the other two, so iff the opposite entry is
    nonzero or that product vanishes. Two or more: always (a row or column of zeros, or x y = product).
    """
    flat = [v for row in matrix for v in row]
    given = [v for v in flat if v is not None]
    if len(given) == 4:
        a, b, c, e = given
        return a * e == b * c
    if len(given) == 3:
        where = flat.index(None)
        opposite = known(flat[3 - where], "three entries are given")
        p, q = (known(v, "three entries are given") for i, v in enumerate(flat) if i not in (where, 3 - where))
        return opposite != 0 or p * q == 0
    return True


def _required_modes(target: Row, residues: Row) -> tuple[Fraction, ...]:
    """Distinct modes of one target channel with a nonzero total residue: its minimal form."""
    total: dict[Fraction, Fraction] = {}
    for mode, residue in zip(target, residues, strict=True):
        total[mode] = total.get(mode, Fraction(0)) + residue
    return tuple(mode for mode, residue in total.items() if residue != 0)


def _placements(required: tuple[Fraction, ...]) -> list[tuple[Entry, Entry]]:
    """Every way to put the required modes into two states; a state that is left over is free."""
    padded: list[Entry] = [*required, *([None] * (2 - len(required)))]
    return [(p, q) for p, q in sorted(set(permutations(padded)), key=str)]


def _positive_scales(target: Sequence[Row], frozen: Sequence[Row]) -> tuple[Fraction, Fraction] | None:
    """x, y > 0 with det(diag(x, y) T − A) = 0, rational, or None where there are none.

    The determinant is x (y det T − p) − y q + det A with p = t11 a22 − t12 a21 and q = t22 a11 − t21 a12, so
    y (x det T − q) = x p − det A. Both sides are linear in x: the sign of y is constant between their roots.
    """
    (t11, t12), (t21, t22) = target
    (a11, a12), (a21, a22) = frozen
    det_t, det_a = t11 * t22 - t12 * t21, a11 * a22 - a12 * a21
    p, q = t11 * a22 - t12 * a21, t22 * a11 - t21 * a12
    roots = sorted({r for r in ((q / det_t) if det_t else None, (det_a / p) if p else None) if r is not None and r > 0})
    edges = [Fraction(0), *roots, (roots[-1] if roots else Fraction(0)) + 2]
    for x in [(u + v) / 2 for u, v in pairwise(edges)] + roots:
        left, right = x * det_t - q, x * p - det_a
        if left != 0 and right / left > 0:
            return x, right / left
        if left == 0 and right == 0:
            return x, Fraction(1)
    return None


def dt_witness(task: SpectrumTask) -> tuple[Fraction, Fraction] | None:
    """Positive row scales x with rank(diag(x) π A* − A) ≤ 1 for some relabelling: the student's step sizes are 1/x."""
    for orders in product(permutations(range(2)), repeat=2):
        moved = [(row[o[0]], row[o[1]]) for row, o in zip(task.target, orders, strict=True)]
        found = _positive_scales(moved, task.frozen)
        if found is not None:
            return found
    return None


def reaches(task: SpectrumTask) -> bool:
    """Whether some rank-r LoRA on A, with free residues (and dt where tuned), reproduces the target's two kernels.

    Exact and exhaustive; it looks at no assumption. Raises InvalidInput for a horizon of 3 lags (not decided here), a rank
    outside 0..2, or a tuned dt together with states that the target does not see.
    """
    if task.rank not in (0, 1, 2):
        raise InvalidInput(f"rank = {task.rank}: a 2 × 2 parameter has ranks 0, 1 and 2")
    if task.rank == 2:
        return True
    if task.horizon <= 2 and all(len(set(row)) == 2 for row in task.frozen):
        return True  # two residues fit two lags through any two distinct modes, without touching A
    if task.horizon < 4:
        raise InvalidInput(f"horizon {task.horizon}: decided are at most 2 lags with distinct frozen modes, and at least 4 lags")
    required = [_required_modes(t, r) for t, r in zip(task.target, task.residues, strict=True)]
    for placed in product(*(_placements(modes) for modes in required)):
        difference = [
            [None if v is None else v - a for v, a in zip(row, base, strict=True)]
            for row, base in zip(placed, task.frozen, strict=True)
        ]
        if task.rank == 0 and all(v is None or v == 0 for row in difference for v in row):
            return True
        if task.rank == 1 and completes_to_rank_one(difference):
            return True
    if task.dt_free:
        if any(len(modes) < 2 for modes in required):
            raise InvalidInput("a tuned dt is decided only where the target sees both states of both channels")
        return _rescaled(task) if task.rank == 0 else dt_witness(task) is not None
    return False


def _rescaled(task: SpectrumTask) -> bool:
    """Rank 0: whether each channel's frozen row times one positive step size is the target's row, states in either order."""

    def positive_multiple(t: Row, a: Row) -> bool:
        return t[0] * a[1] == t[1] * a[0] and (t[0] * a[0] + t[1] * a[1] > 0 or not any((*t, *a)))

    pairs = zip(task.target, task.frozen, strict=True)
    return all(any(positive_multiple(moved, a) for moved in (t, (t[1], t[0]))) for t, a in pairs)
