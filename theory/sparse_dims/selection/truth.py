r"""Which states have to change: the states that every optimal assignment touches, where that is one set.

``true_dimensions(frozen, target)`` is what a selection score is measured against. A state is touched if its mode or its
residue changes in an optimal assignment (:func:`.adjustment.minimal_adjustment`). Two optimal assignments may touch different
states; then precision and recall have no reference and the truth is undefined. One forced assignment per state decides:

    n is touched in all of them  ⟺  forbidding its edits costs more;   in none  ⟺  forcing one does.

The costs are small integers, so the decision is exact for every kind of number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scipy.optimize import linear_sum_assignment

from theory.core.deep_s4 import DeepS4, S4Layer
from theory.core.errors import InvalidInput, InvalidSystem
from theory.core.function_equality import essential_modes
from theory.core.lti import LTI
from theory.core.scalars import Array, conj, imag, is_zero, real, sign

from ..adjustment import cost_matrix, symbols_together, target_pairs

Index = tuple[int, ...]
System = LTI | S4Layer | DeepS4 | Sequence[LTI]


@dataclass(frozen=True)
class TrueDimensions:
    """The states that have to change, as indices into the system that was asked about.

    Attributes
    ----------
    touched:
        States that every optimal assignment changes: (n,) for a channel, (d, n) for a layer or a list of channels,
        (layer, d, n) for a deep network.
    undecided:
        States that some optimal assignments change and others do not; empty where the truth is defined.
    total:
        Number of states.
    cost:
        Scalars changed by an optimal assignment, over all channels.
    """

    touched: frozenset[Index]
    undecided: frozenset[Index]
    total: int
    cost: int

    @property
    def defined(self) -> bool:
        """Whether all optimal assignments touch the same states."""
        return not self.undecided

    @property
    def channels(self) -> frozenset[Index]:
        """Channels with a touched state: the indices without their last entry."""
        return frozenset(index[:-1] for index in self.touched)

    def states(self) -> frozenset[Index]:
        """The touched states; InvalidInput where the truth is undefined."""
        if self.undecided:
            shown = ", ".join(map(str, sorted(self.undecided)[:4]))
            raise InvalidInput(
                f"the truth is undefined: optimal assignments disagree on {len(self.undecided)} states ({shown}); "
                "choose a target whose changes are told apart, for example distinct new modes"
            )
        return self.touched


def true_dimensions(frozen: System, target: System) -> TrueDimensions:
    """The states every optimal assignment changes, and those on which optimal assignments disagree.

    Parameters
    ----------
    frozen, target:
        Two LTI channels, two sequences of channels, two S4 layers or two deep networks of equal depth and width. Any kind of
        number; floats are compared bit by bit, so unchanged states must be the same floats. Channels stored by conjugate
        halves are compared pair by pair. W, β and u are not looked at.

    Raises
    ------
    InvalidSystem
        Different depth or width, mixed storage, or a target channel with more modes than the frozen one has states.
    """
    touched: set[Index] = set()
    undecided: set[Index] = set()
    total = cost = 0
    for index, mine, wanted in _channels(frozen, target):
        least, always, sometimes = _decide(mine, wanted)
        touched |= {(*index, n) for n in always}
        undecided |= {(*index, n) for n in sometimes}
        total += mine.n_states
        cost += least
    return TrueDimensions(frozenset(touched), frozenset(undecided), total, cost)


def _channels(frozen: System, target: System) -> Iterator[tuple[Index, LTI, LTI]]:
    if isinstance(frozen, LTI) and isinstance(target, LTI):
        yield (), frozen, target
        return
    if isinstance(frozen, DeepS4) and isinstance(target, DeepS4):
        if frozen.depth != target.depth:
            raise InvalidSystem(f"frozen depth {frozen.depth} against target depth {target.depth}: no state has a counterpart")
        for i, (f, t) in enumerate(zip(frozen.layers, target.layers, strict=True)):
            for index, mine, wanted in _channels(f, t):
                yield (i, *index), mine, wanted
        return
    first, second = (list(s.channels) if isinstance(s, S4Layer) else s for s in (frozen, target))
    if not (_all_channels(first) and _all_channels(second)):
        raise InvalidInput(
            "expected two channels, two lists of channels, two S4 layers or two deep networks, got "
            f"{type(frozen).__name__} and {type(target).__name__}"
        )
    if len(first) != len(second):  # type: ignore[arg-type]
        raise InvalidSystem(f"{len(first)} frozen channels against {len(second)} target channels")  # type: ignore[arg-type]
    for d, (mine, wanted) in enumerate(zip(first, second, strict=True)):  # type: ignore[arg-type]
        yield (d,), mine, wanted


def _all_channels(values: object) -> bool:
    return isinstance(values, list | tuple) and bool(values) and all(isinstance(v, LTI) for v in values)


def _decide(frozen: LTI, target: LTI) -> tuple[int, list[int], list[int]]:
    """(least cost, states always touched, states sometimes touched) of one channel."""
    frozen, target = _unpaired(frozen, target)
    frozen, target = symbols_together(frozen, target)
    modes, wanted = target_pairs(frozen, target)
    cost = cost_matrix(frozen, modes, wanted)
    size = frozen.n_states
    barrier = 4 * size + 1  # more than any assignment costs
    rows, columns = linear_sum_assignment(cost)
    chosen = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    least = int(cost[rows, columns].sum())
    always, sometimes = [], []
    for n in range(size):
        is_touched = cost[n, chosen[n]] > 0
        other = cost.copy()
        forbidden = other[n] > 0 if is_touched else other[n] == 0
        other[n, forbidden] = barrier
        if _total(other) == least:
            sometimes.append(n)
        elif is_touched:
            always.append(n)
    return least, always, sometimes


def _total(cost: Array) -> int:
    return int(cost[linear_sum_assignment(cost)].sum())


def _unpaired(frozen: LTI, target: LTI) -> tuple[LTI, LTI]:
    """Half-stored channels as lists of one mode per conjugate pair, Im λ ≥ 0, with the pair's residue."""
    frozen, target = frozen.exactly(), target.exactly()
    if frozen.half != target.half:
        raise InvalidSystem("one channel is stored by conjugate halves and the other is not; use .closed() on the former")
    if not frozen.half:
        return frozen, target
    a, r = [], []
    for value, c, b in zip(frozen.a, frozen.c, frozen.b, strict=True):
        residue = c * b
        if is_zero(imag(value)):
            a.append(value)
            r.append(0 * value + 2 * real(residue))
        elif sign(imag(value)) < 0:
            a.append(conj(value))
            r.append(conj(residue))
        else:
            a.append(value)
            r.append(residue)
    essential = essential_modes(target)
    upper = {v: q for v, q in essential.residues.items() if sign(imag(v)) >= 0}
    zero = 0 * frozen.a[0]
    listed = _listed(list(upper) or [zero], list(upper.values()) or [zero], essential.direct)
    return _listed(a, r, frozen.d), listed


def _listed(a: list[object], r: list[object], d: object) -> LTI:
    return LTI(a, [1] * len(a), r, d, check_stable=False)
