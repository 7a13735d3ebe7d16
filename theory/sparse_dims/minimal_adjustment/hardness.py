r"""Why the exact minimum is hard: subset-sum and 3-partition inside minimal adjustment.

Both reductions use distinct frozen modes, positive frozen residues w_1..w_N and target modes outside the frozen set.
Positive residues never cancel, so a state that is not sent to a target costs at least 1, and exactly 1 when its residue
is set to 0; a state sent to a target costs 1 for its mode. Hence the minimum is N plus the least possible number of
targets whose residue is not the sum of the residues sent to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

from theory.core.errors import InvalidInput
from theory.core.lti import LTI


def _positive_integers(values: Sequence[int], name: str) -> list[int]:
    out = list(values)
    if not out:
        raise InvalidInput(f"{name} is empty; give at least one positive integer")
    for i, v in enumerate(out):
        if isinstance(v, bool) or not isinstance(v, int) or v < 1:
            raise InvalidInput(f"{name}[{i}] = {v!r} must be a positive integer")
    return out


def _channels(weights: list[int], targets: list[int]) -> tuple[LTI, LTI]:
    frozen = LTI([Fraction(1, n + 2) for n in range(len(weights))], [1] * len(weights), weights)
    target = LTI([Fraction(-1, n + 2) for n in range(len(targets))], [1] * len(targets), targets)
    return frozen, target


def subset_sum_instance(weights: Sequence[int], total: int) -> tuple[LTI, LTI]:
    r"""(frozen, target) that costs N to adjust if a nonempty subset of the weights has the total, and else N + 1.

    Frozen: modes 1/2, 1/3, …, residues w_n. Target: the one mode −1/2 with residue ``total``. Raises InvalidInput for
    weights or a total that are not positive integers.
    """
    return _channels(_positive_integers(weights, "weights"), _positive_integers([total], "total"))


def subset_sum_solvable(weights: Sequence[int], total: int) -> bool:
    """Whether some nonempty subset sums to ``total``, by the textbook table of reachable sums."""
    reachable = {0}
    for w in _positive_integers(weights, "weights"):
        reachable |= {s + w for s in reachable}
    return total > 0 and total in reachable


def three_partition_instance(weights: Sequence[int]) -> tuple[LTI, LTI]:
    r"""(frozen, target) that costs N = 3m to adjust if the weights split into m triples of one sum, and else more.

    Frozen: 3m modes with residues w_n. Target: m modes outside the frozen set, each with residue T = Σ w / m.

    Raises
    ------
    InvalidInput
        Not 3m positive integers with T integral and T/4 < w < T/2 (the form in which 3-partition is strongly
        NP-complete).
    """
    w = _positive_integers(weights, "weights")
    m, rest = divmod(len(w), 3)
    if rest:
        raise InvalidInput(f"3-partition needs 3m weights, got {len(w)}")
    total, remainder = divmod(sum(w), m)
    if remainder or not all(total < 4 * v < 2 * total for v in w):
        mean = Fraction(sum(w), m)
        raise InvalidInput(f"3-partition needs T/4 < w < T/2 with T = Σ w / m = {mean} an integer, got {w}")
    return _channels(w, [total] * m)


def most_triples(weights: Sequence[int]) -> int:
    """The largest number of disjoint triples with sum T = 3 Σ w / N, by exhaustive search."""
    w = list(weights)
    total = Fraction(3 * sum(w), len(w))

    def search(left: frozenset[int]) -> int:
        if len(left) < 3:
            return 0
        first = min(left)
        others = sorted(left - {first})
        best = search(left - {first})
        for i, j in combinations(others, 2):
            if w[first] + w[i] + w[j] == total:
                best = max(best, 1 + search(left - {first, i, j}))
        return best

    return search(frozenset(range(len(w))))
