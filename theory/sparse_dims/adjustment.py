r"""Fewest scalar changes of (a, r) that turn a frozen LTI channel into a target: by assignment, and exactly.

A channel with N states is N pairs (a_n, r_n), r_n = c_n b_n, and a frozen skip d. By ``sparse_dims.essential``, pairs
(a'_n, r'_n) compute the target's function iff  Σ_{a'_n = v} r'_n = t_v  for every value v, where t_v is the target's
residue at v (0 where it has none; t_0 = δ* − d). The cost is the number of n with a'_n ≠ a_n plus that with r'_n ≠ r_n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from theory.core.errors import InvalidInput, InvalidSystem, KindMismatch
from theory.core.function_equality import essential_modes
from theory.core.invariants import invariant
from theory.core.lti import LTI, group_by_value, require_channel
from theory.core.scalars import Array, Kind, abs2, as_array, exact_value, is_zero, join_kinds, tidy

LARGEST_EXHAUSTIVE = 12  # the exact solver visits 3^N subsets per mode value: half a million at N = 12


@dataclass(frozen=True)
class Edit:
    """One changed number: ``parameter`` "a" or "r" of one state, its frozen value and the new one."""

    state: int
    parameter: Literal["a", "r"]
    old: Any
    new: Any


@dataclass(frozen=True)
class Adjustment:
    """A way to turn a frozen channel into the target.

    Attributes
    ----------
    cost:
        Number of changed scalars a_n, r_n.
    edits:
        The changes, ordered by state.
    system:
        The adjusted channel. Residues are changed through c_n; where b_n = 0 through b_n, and where c_n = 0 as well
        through both (then one changed residue is two stored numbers).
    """

    cost: int
    edits: tuple[Edit, ...]
    system: LTI

    @property
    def states(self) -> frozenset[int]:
        """The touched states."""
        return frozenset(e.state for e in self.edits)


def residues(system: LTI) -> Array:
    """r_n = c_n b_n, one per state: exact numbers, a float system's floats taken as the rationals they are."""
    full = system.exactly()
    return np.array([tidy(r) for r in full.c * full.b], dtype=object)


def target_pairs(frozen: LTI, target: LTI) -> tuple[list[Any], list[Any]]:
    """The target in minimal form as seen from the frozen skip: distinct modes and their nonzero residues.

    A direct term that differs from the frozen skip is the residue δ* − d of mode 0.

    Raises
    ------
    InvalidSystem
        A half-stored system, or more target modes than frozen states.
    KindMismatch
        Exact against float systems.
    """
    for name, system in (("frozen", frozen), ("target", target)):
        require_channel(system, name)
    if frozen.half:
        raise InvalidSystem("the frozen channel is stored by conjugate halves; list both modes with frozen.closed()")
    join_kinds([frozen.kind, target.kind], "frozen and target")
    essential = essential_modes(target)
    pairs = dict(essential.residues)
    direct = tidy(essential.direct - exact_value(frozen.d))
    if not is_zero(direct):
        pairs[0 * exact_value(frozen.a[0])] = direct
    if len(pairs) > frozen.n_states:
        raise InvalidSystem(
            f"the target needs {len(pairs)} modes but the frozen channel has N = {frozen.n_states} states; "
            "add states, or set equal skips: a direct term other than the frozen one counts as a mode"
        )
    return list(pairs), list(pairs.values())


def symbols_together(frozen: LTI, target: LTI) -> tuple[LTI, LTI]:
    """Both channels symbolic where one is and the other is exact: Gaussian rationals and sympy's expressions do not mix."""
    if all(isinstance(s, LTI) for s in (frozen, target)) and {frozen.kind, target.kind} == {"exact", "symbolic"}:
        return frozen.to("symbolic"), target.to("symbolic")
    return frozen, target


def _codes(first: Sequence[Any] | Array, second: Sequence[Any] | Array) -> tuple[Array, Array]:
    """Small integers that are equal exactly where the values are: N hashes instead of N² exact comparisons."""
    out = np.empty(len(first) + len(second), dtype=np.int64)
    for code, (_, members) in enumerate(group_by_value([*first, *second])):
        out[members] = code
    return out[: len(first)], out[len(first) :]


def cost_matrix(frozen: LTI, modes: Sequence[Any], wanted: Sequence[Any]) -> Array:
    """Costs (N, N): column m < N* is [a_n ≠ λ*_m] + [r_n ≠ r*_m], the other columns are [r_n ≠ 0] (unmatched)."""
    r = residues(frozen)
    a_code, mode_code = _codes(frozen.exactly().a, modes)
    r_code, wanted_code = _codes(r, wanted)
    cost = np.empty((frozen.n_states, frozen.n_states), dtype=np.int64)
    cost[:, : len(modes)] = (a_code[:, None] != mode_code) + (r_code[:, None] != wanted_code).astype(np.int64)
    cost[:, len(modes) :] = np.array([not is_zero(x) for x in r], dtype=np.int64)[:, None]
    return cost


def minimal_adjustment(frozen: LTI, target: LTI) -> Adjustment:
    r"""The cheapest adjustment that matches states to target modes one to one:

        min over injections π of {1..N*} into the states of
        Σ_m ([a_π(m) ≠ λ*_m] + [r_π(m) ≠ r*_m]) + #{n unmatched: r_n ≠ 0}

    solved by :func:`scipy.optimize.linear_sum_assignment`. Always an upper bound of the true minimum, equal to it on
    generic systems (see :func:`is_generic`). Any kind of number; floats are taken as the rationals they are, and the adjusted
    float channel computes the target's function exactly, not to rounding.

    Raises InvalidSystem for half storage or N* > N, KindMismatch for exact against float, InvalidInput where a new residue is no
    product of two floats, Undecided for symbolic numbers that no proof tells apart.
    """
    frozen, target = symbols_together(frozen, target)
    modes, wanted = target_pairs(frozen, target)
    rows, columns = linear_sum_assignment(cost_matrix(frozen, modes, wanted))
    new_a, new_r = list(frozen.exactly().a), [0 * r for r in residues(frozen)]
    for n, m in zip(rows, columns, strict=True):
        if m < len(modes):
            new_a[n], new_r[n] = modes[m], wanted[m]
    return adjusted(frozen, new_a, new_r, target)


def adjusted(frozen: LTI, new_a: Sequence[Any], new_r: Sequence[Any], target: LTI | None = None) -> Adjustment:
    """The adjustment that writes the given exact modes and residues, counting only numbers that differ.

    A float channel gets floats whose exact product is the residue: c_n = r/b_n where that divides, else b_n and c_n of the
    target's state. Raises InvalidInput where neither does, as for a residue that the target adds up from several states.
    """
    floats = frozen.kind in ("float64", "complex128")
    exact = frozen.exactly()
    a, b, c, edits = exact.a.copy(), exact.b.copy(), exact.c.copy(), []
    for n, old in enumerate(residues(frozen)):
        if not is_zero(new_a[n] - a[n]):
            edits.append(Edit(n, "a", frozen.a[n], _as_kind(new_a[n], frozen)))
            a[n] = new_a[n]
        if is_zero(new_r[n] - old):
            continue
        edits.append(Edit(n, "r", _shown(old, frozen), _shown(new_r[n], frozen)))
        if floats:
            b[n], c[n] = _float_pair(frozen.kind, b[n], c[n], new_r[n], target)
        elif not is_zero(b[n]):
            c[n] = new_r[n] / b[n]
        elif not is_zero(c[n]):
            b[n] = new_r[n] / c[n]
        else:
            b[n], c[n] = 1 + 0 * b[n], new_r[n]
    if floats:
        a, b, c = (as_array(v, frozen.kind, name) for v, name in ((a, "a"), (b, "b"), (c, "c")))
    return Adjustment(len(edits), tuple(edits), LTI(a, b, c, frozen.d, check_stable=False))


def _as_kind(x: Any, frozen: LTI) -> Any:
    return as_array([x], frozen.kind, "a mode")[0]


def _shown(residue: Any, frozen: LTI) -> Any:
    """A residue as the edit lists it: rounded for a float channel, whose stored numbers are b and c."""
    if frozen.kind in ("exact", "symbolic"):
        return residue
    try:
        return as_array([residue], frozen.kind, "a residue")[0]
    except InvalidInput:  # beyond the range of floats, though b and c are not
        return residue


def _float_pair(kind: Kind, b: Any, c: Any, residue: Any, target: LTI | None) -> tuple[Any, Any]:
    """Exact values of floats (b, c) with b c = residue exactly, the frozen b kept where that works."""
    zero = 0 * residue
    if is_zero(residue):
        return (b, zero) if not is_zero(b) or is_zero(c) else (zero, c)
    kept = [(x, y) for x, y in ((b, 1), (c, 0)) if not is_zero(x)]
    for x, is_b in kept:
        try:
            other = exact_value(as_array([residue / x], kind, "a residue")[0])
        except InvalidInput:
            continue
        if is_zero(x * other - residue):
            return (x, other) if is_b else (other, x)
    for x, y in zip(*(target.exactly().closed().b, target.exactly().closed().c), strict=True) if target is not None else ():
        if is_zero(x * y - residue):
            return x, y
    squared = Fraction(abs2(residue))
    size = (Decimal(squared.numerator) / Decimal(squared.denominator)).sqrt()  # a float's square may be no float
    raise InvalidInput(
        f"the new residue {size:.17g} is no product of the channel's or the target's floats; give both channels as .exactly()"
    )


def exact_minimal_adjustment(frozen: LTI, target: LTI) -> Adjustment:
    r"""The true minimum over all edits, by dynamic programming over the subsets of states.

    Every state gets a destination v among the frozen and the target modes (no other destination is ever needed, see the
    README). If S_v is the set of states sent to v, the cheapest edits cost

        Σ_v #{n in S_v: a_n ≠ v} + [Σ_{n in S_v} r_n ≠ t_v],      S_v ≠ ∅ wherever t_v ≠ 0,

    since one residue of S_v can absorb the whole difference. Time |V| 3^N.

    Raises
    ------
    InvalidInput
        N above ``LARGEST_EXHAUSTIVE``.
    KindMismatch
        Not an exact system: sums of residues are compared with ``==``.
    """
    for name, system in (("frozen", frozen), ("target", target)):
        require_channel(system, name)
    if frozen.kind != "exact" or target.kind != "exact":
        raise KindMismatch(
            f"the exact solver compares sums and needs exact systems, got {frozen.kind} and {target.kind}; "
            "convert floats with Fraction(x), or use minimal_adjustment"
        )
    modes, wanted = target_pairs(frozen, target)
    n = frozen.n_states
    if n > LARGEST_EXHAUSTIVE:
        raise InvalidInput(f"N = {n}: the search takes 3^N steps; use N ≤ {LARGEST_EXHAUSTIVE} or minimal_adjustment")
    r = list(residues(frozen))
    needed = {tidy(v): Fraction(0) for v in frozen.a} | {tidy(v): tidy(t) for v, t in zip(modes, wanted, strict=True)}
    values = list(needed)
    cost, chosen = _best_partition([tidy(v) for v in frozen.a], r, needed)
    new_a, new_r = list(frozen.a), list(r)
    for v, members in zip(values, chosen, strict=True):
        for i in members:
            new_a[i] = v
        difference = tidy(needed[v] - sum((r[i] for i in members), Fraction(0)))
        if members and difference != 0:
            new_r[members[0]] = r[members[0]] + difference
    result = adjusted(frozen, new_a, new_r)
    invariant(result.cost == cost, "the edits written are those that were counted")
    return result


def _best_partition(a: list[Any], r: list[Any], needed: dict[Any, Any]) -> tuple[int, list[list[int]]]:
    """The cheapest partition of the states over the mode values ``needed`` (value → residue sum), and its cost."""
    n = len(a)
    full = (1 << n) - 1
    sums: list[Any] = [Fraction(0)] * (full + 1)
    for mask in range(1, full + 1):
        low = (mask & -mask).bit_length() - 1
        sums[mask] = tidy(sums[mask & (mask - 1)] + r[low])  # a Gaussian zero equals no int until it is tidied
    infinite = 2 * n + 1
    best = [0] + [infinite] * full  # cheapest way to place the states of a mask on the values seen so far
    choices: list[list[int]] = []
    for v, total in needed.items():
        own = sum(1 << i for i in range(n) if a[i] == v)
        group = [(mask & ~own).bit_count() + (sums[mask] != total) for mask in range(full + 1)]
        group[0] = 0 if total == 0 else infinite
        new, choice = [infinite] * (full + 1), [0] * (full + 1)
        for mask in range(full + 1):
            sub = mask
            while True:
                cost = best[mask ^ sub] + group[sub]
                if cost < new[mask]:
                    new[mask], choice[mask] = cost, sub
                if sub == 0:
                    break
                sub = (sub - 1) & mask
        best = new
        choices.append(choice)
    mask, parts = full, []
    for choice in reversed(choices):
        parts.append([i for i in range(n) if choice[mask] >> i & 1])
        mask ^= choice[mask]
    return best[full], parts[::-1]


def adjustment_gap(frozen: LTI, target: LTI) -> int:
    """Assignment cost minus true minimum: what one-to-one matching overpays by ignoring merged states."""
    return minimal_adjustment(frozen, target).cost - exact_minimal_adjustment(frozen, target).cost


def nonzero_subset_sums(values: Sequence[Any] | Array) -> set[Any]:
    """Sums of two or more nonzero entries, over all such subsets."""
    single: set[Any] = set()
    several: set[Any] = set()
    for v in (tidy(v) for v in values if not is_zero(v)):
        several |= {tidy(s + v) for s in single | several}
        single.add(v)
    return several


def is_generic(frozen: LTI, target: LTI) -> bool:
    """Frozen modes pairwise distinct, and no sum of ≥ 2 nonzero frozen residues is 0 or a target residue.

    Raises Undecided where symbolic numbers are neither proved equal nor apart.
    """
    frozen, target = symbols_together(frozen, target)
    _, wanted = target_pairs(frozen, target)
    if len(group_by_value(frozen.a)) < frozen.n_states:
        return False
    sums = nonzero_subset_sums(residues(frozen))
    if "symbolic" not in (frozen.kind, target.kind):
        return not sums & {0, *wanted}
    return not any(is_zero(total - value) for total in sums for value in (0, *wanted))  # equal numbers may be written otherwise
