"""Both adjustment solvers: functions, edits, costs, work, and the slips that must be caught."""

from __future__ import annotations

import sys
from collections.abc import Callable
from fractions import Fraction as F

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from theory.core.errors import InvalidInput, InvalidSystem, KindMismatch
from theory.core.lti import LTI
from theory.core.scalars import gaussian, is_zero

from .adjustment import (
    LARGEST_EXHAUSTIVE,
    adjusted,
    adjustment_gap,
    cost_matrix,
    exact_minimal_adjustment,
    is_generic,
    minimal_adjustment,
    nonzero_subset_sums,
    residues,
    target_pairs,
)
from .draws import distinct_modes, nonzeros
from .essential.claim import same_essential
from .minimal_adjustment import claim as ma


@given(ma.any_pairs())
def test_both_solvers_reach_the_target(pair: ma.Pair) -> None:
    ma.check_upper_bound(pair)


@given(distinct_modes(6), nonzeros(3), nonzeros(3))
def test_nothing_in_common_costs_two_per_state(modes: list[F], r: list[F], wanted: list[F]) -> None:
    """Disjoint modes, residues made to differ: every state changes both numbers."""
    wanted = [w if w != x else w + 11 for w, x in zip(wanted, r, strict=True)]
    wanted = [w + 20 for w in wanted]
    frozen, target = LTI(modes[:3], [1] * 3, r), LTI(modes[3:], [1] * 3, wanted)
    assert minimal_adjustment(frozen, target).cost == 6


def test_merge_example() -> None:
    """a = (1/2, 3/10), r = (1, 1) to mode 1/2 with residue 2: 2 by assignment, 1 in truth."""
    frozen, target = LTI(["1/2", "3/10"], [1, 1], [1, 1]), LTI(["1/2"], [1], [2])
    assert minimal_adjustment(frozen, target).cost == 2
    exact = exact_minimal_adjustment(frozen, target)
    assert exact.cost == 1
    (edit,) = exact.edits
    assert (edit.state, edit.parameter, edit.old, edit.new) == (1, "a", F(3, 10), F(1, 2))
    assert exact.states == {1}
    assert same_essential(exact.system, target)


def test_equal_modes_example() -> None:
    frozen, target = LTI(["1/2", "1/2"], [1, 1], [1, 1]), LTI(["1/2"], [1], [2])
    assert minimal_adjustment(frozen, target).cost == 2
    assert exact_minimal_adjustment(frozen, target).cost == 0


def test_cancelling_example() -> None:
    """Modes 2, 3, 5 (over 10), r = (1, −1, 1), to the third mode with residue 1: 2 against 1."""
    frozen, target = LTI(["1/5", "3/10", "1/2"], [1] * 3, [1, -1, 1]), LTI(["1/2"], [1], [1])
    assert minimal_adjustment(frozen, target).cost == 2
    assert exact_minimal_adjustment(frozen, target).cost == 1


def test_gaussian_rationals_cancel_too() -> None:
    """Sums of complex residues that vanish must be seen as zero: move one mode of the pair onto the other."""
    up, down = gaussian("1/2", "1/2"), gaussian("1/2", "-1/2")
    frozen = LTI([up, down, "1/3"], [1, 1, 1], [gaussian(1, 1), gaussian(-1, -1), 2])
    target = LTI(["1/3"], [1], [2])
    assert minimal_adjustment(frozen, target).cost == 2
    assert exact_minimal_adjustment(frozen, target).cost == 1
    assert not is_generic(frozen, target)
    assert exact_minimal_adjustment(frozen.replace(a=[up, up, F(1, 3)]), target).cost == 0


def test_residues_change_through_whatever_factor_is_not_zero() -> None:
    frozen = LTI(["1/2", "1/3", "1/5"], [2, 0, 0], [1, 3, 0])
    target = LTI(["1/2", "1/3", "1/5"], [1, 1, 1], [4, 6, 8])
    found = minimal_adjustment(frozen, target)
    assert found.cost == 3 and same_essential(found.system, target)
    assert list(found.system.b) == [2, 2, 1] and list(found.system.c) == [2, 3, 8]


def test_frozen_skip_stays_and_its_difference_is_a_mode() -> None:
    frozen, target = LTI(["1/2", "1/3"], [1, 1], [1, 5], 1), LTI(["1/2"], [1], [1], 3)
    found = minimal_adjustment(frozen, target)
    assert found.cost == 2 and found.system.d == 1  # mode 1/3 becomes 0, its residue 2
    assert target_pairs(frozen, target) == ([F(1, 2), F(0)], [F(1), F(2)])
    assert same_essential(found.system, target)


def test_float_route_agrees_with_rationals() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        a, r = rng.choice([0.5, 0.25, 0.125, -0.5], 4), rng.choice([1.0, 2.0, -1.0, 0.0], 4)
        a2, r2 = rng.choice([0.5, 0.25, 0.75], 2, replace=False), rng.choice([1.0, 2.0, 3.0], 2)
        pair = LTI(a, np.ones(4), r), LTI(a2, np.ones(2), r2)
        assert minimal_adjustment(*pair).cost == minimal_adjustment(*(s.exactly() for s in pair)).cost


def _moved(n: int, exact: bool) -> tuple[LTI, LTI, int]:
    """Frozen and target of n states, and the cost: 300 of 1024 modes and as many residues are found nowhere else."""
    rng = np.random.default_rng(0)
    moved = 300 * n // 1024
    a, r = rng.permutation(2 * n)[:n] / (4.0 * n) + 0.1, rng.permutation(4 * n)[:n] + 1.0
    new_a, new_r, order = a.copy(), r.copy(), rng.permutation(n)
    new_a[order[:moved]] -= 0.9
    new_r[order[2 * moved // 3 :][:moved]] += 10.0 * n
    frozen, target = LTI(a, np.ones(n), r), LTI(new_a, np.ones(n), new_r)
    return (frozen.exactly(), target.exactly(), 2 * moved) if exact else (frozen, target, 2 * moved)


@pytest.mark.parametrize("exact", [False, True], ids=["float64", "exact"])
def test_assignment_of_1024_states(exact: bool) -> None:
    frozen, target, cost = _moved(1024, exact)
    found = minimal_adjustment(frozen, target)
    assert found.cost == cost  # at least one edit per value that the frozen channel does not have
    assert same_essential(found.system, target)


def _calls(work: Callable[[], object]) -> int:
    """How many functions ``work`` calls, those in C included."""
    count, before = 0, sys.getprofile()

    def seen(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("exact", [False, True], ids=["float64", "exact"])
def test_work_grows_with_the_states_not_with_their_pairs(exact: bool) -> None:
    """Twice as many states take twice as many calls. Negative twin: exact comparisons of all pairs take four times as many."""
    pairs = [_moved(n, exact)[:2] for n in (128, 256)]
    few, many = (_calls(lambda pair=pair: minimal_adjustment(*pair)) for pair in pairs)
    assert few > 128 and many < 2.5 * few

    def compared(frozen: LTI, target: LTI) -> list[list[bool]]:
        return [[is_zero(a - b) for b in target.a] for a in frozen.a]

    few, many = (_calls(lambda pair=pair: compared(*pair)) for pair in pairs)
    assert many > 3.5 * few


# -- negative twins --------------------------------------------------------------------------------------------------------


@given(ma.any_pairs(), st.data())
def test_twin_dropping_an_edit_misses_the_target(pair: ma.Pair, data: st.DataObject) -> None:
    """Every edit of an optimal adjustment is needed: undo one and the function is wrong."""
    frozen, target = pair
    for found in (exact_minimal_adjustment(frozen, target),):
        if not found.edits:
            continue
        undone = data.draw(st.sampled_from(found.edits))
        a, r = list(found.system.a), list(residues(found.system))
        (a if undone.parameter == "a" else r)[undone.state] = undone.old
        less = adjusted(frozen, a, r)
        assert less.cost == found.cost - 1
        assert not same_essential(less.system, target)


@given(ma.any_pairs())
def test_twin_forgotten_unmatched_residue_is_caught(pair: ma.Pair) -> None:
    """Without the cost of unmatched states the bound drops exactly where some state has to be silenced."""
    frozen, target = pair
    modes, wanted = target_pairs(frozen, target)
    cost = cost_matrix(frozen, modes, wanted)
    free = cost[:, len(modes) :]
    assert free.shape[1] == frozen.n_states - len(modes)
    assert all((free[n] == int(r != 0)).all() for n, r in enumerate(residues(frozen)))
    silenced = adjusted(frozen, list(frozen.a), [0] * frozen.n_states)
    assert silenced.cost == sum(r != 0 for r in residues(frozen))


def test_twin_assignment_is_not_greedy() -> None:
    """Matching the first mode to its cheapest state first costs more than the optimum."""
    frozen = LTI(["1/2", "1/3"], [1, 1], [2, 1])
    target = LTI(["1/5", "1/2"], [1, 1], [2, 2])
    assert minimal_adjustment(frozen, target).cost == 2  # 1/3 takes mode 1/5 and residue 2; 1/2 stays
    assert int(cost_matrix(frozen, *target_pairs(frozen, target))[0].min()) == 0


# -- subset sums, genericity, errors -----------------------------------------------------------------------------------------


def test_subset_sums_need_two_nonzero_terms() -> None:
    assert nonzero_subset_sums([F(1), F(2), F(0)]) == {F(3)}
    assert nonzero_subset_sums([F(1), F(-1), F(2)]) == {F(0), F(3), F(1), F(2)}
    assert nonzero_subset_sums([F(5)]) == set()


def test_genericity() -> None:
    target = LTI(["1/7"], [1], [3])
    assert not is_generic(LTI(["1/2", "1/3"], [1, 1], [1, 2]), target)
    assert is_generic(LTI(["1/2", "1/3"], [1, 1], [1, 3]), target)
    assert not is_generic(LTI(["1/2", "1/2"], [1, 1], [1, 3]), target)
    assert adjustment_gap(LTI(["1/2", "1/3"], [1, 1], [1, 3]), target) == 0


def test_errors_name_the_value() -> None:
    frozen = LTI(["1/2"], [1], [1])
    with pytest.raises(InvalidSystem, match="needs 2 modes"):
        minimal_adjustment(frozen, LTI(["1/2", "1/3"], [1, 1], [1, 1]))
    with pytest.raises(InvalidSystem, match=r"frozen\.closed"):
        minimal_adjustment(LTI([gaussian(0, "1/2")], [1], [1], half=True), frozen)
    with pytest.raises(KindMismatch):
        minimal_adjustment(frozen, LTI([0.5], [1.0], [1.0]))
    with pytest.raises(KindMismatch, match="Fraction"):
        exact_minimal_adjustment(LTI([0.5], [1.0], [1.0]), LTI([0.5], [1.0], [1.0]))
    n = LARGEST_EXHAUSTIVE + 1
    big = LTI([F(1, k + 2) for k in range(n)], [1] * n, [1] * n)
    with pytest.raises(InvalidInput, match="3\\^N"):
        exact_minimal_adjustment(big, big)
    with pytest.raises(InvalidInput, match="frozen: expected an LTI"):
        minimal_adjustment("channel", frozen)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_a_residue_whose_square_is_no_float_is_named(size: float) -> None:
    frozen, target = LTI([0.5], [0.0], [0.0]), LTI([0.5, 0.5], [1.0, 1.0], [size, size])
    with pytest.raises(InvalidInput, match=r"is no product of the channel's") as caught:
        minimal_adjustment(frozen, target)
    assert float(str(caught.value).split()[3]) == 2 * size
    assert minimal_adjustment(frozen, LTI([0.5], [1.0], [size])).cost == 1  # its own pair of floats


def test_equal_sums_that_are_written_otherwise_are_not_generic():
    """cos(π/7) − cos(2π/7) + cos(3π/7) = 1/2; 1/4 + 1/4 = 1/2 in another kind of number; (x² − y²)/(x − y) = x + y."""
    half, pi, (x, y) = sympy.Rational(1, 2), sympy.pi, sympy.symbols("x y", positive=True)
    cosines = [sympy.cos(pi / 7), -sympy.cos(2 * pi / 7), sympy.cos(3 * pi / 7)]
    pairs = [
        (LTI([half, half / 2, half / 3], [1, 1, 1], cosines), LTI([half], [1], [half])),
        (LTI(["1/2", "1/3"], [1, 1], ["1/4", "1/4"]), LTI([half, sympy.Rational(1, 7)], [1, 1], [half, sympy.sqrt(2)])),
        (LTI([half, half / 2], [1, 1], [x, y]), LTI([half], [1], [(x**2 - y**2) / (x - y)])),
    ]
    assert [is_generic(frozen, target) for frozen, target in pairs] == [False] * 3
    other = LTI([half], [1], [half + 1])
    assert [is_generic(frozen, other) for frozen, _ in pairs[:2]] == [True] * 2
