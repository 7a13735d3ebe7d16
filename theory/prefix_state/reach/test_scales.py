"""Reachability far beyond the range of floats: float programs propose for a scaled state, and that is checked."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from theory import SelectiveSSM, reachable, state_after
from theory.core.errors import InvalidInput
from theory.core.scalars import gaussian
from theory.prefix_state.reach.cone import TokenCone, nonnegative_solution
from theory.prefix_state.reach.existence import float_solutions, proved_to_exist

HUGE, TINY = Fraction(10**400), Fraction(1, 10**400)


def vector(*entries):
    return np.array([Fraction(x) for x in entries], dtype=object)


def test_a_target_below_floats_is_no_zero():
    columns = np.array([[HUGE, 0], [0, HUGE]], dtype=object)
    found = nonnegative_solution(columns, vector(TINY, 2 * TINY))
    assert np.all(columns @ found == vector(TINY, 2 * TINY)) and np.all(found > 0)
    assert nonnegative_solution(columns, vector(TINY, -TINY)) is None
    assert not np.any(nonnegative_solution(columns, vector(0, 0)))


def test_small_states_of_large_steps():
    """Both entries of h_0 are below floats beside what a token adds: they are reached, and the sign still obstructs."""
    system = SelectiveSSM([[3, 3]], dt=[HUGE, HUGE], decay=[["1/2"], [TINY]])
    h = [[TINY], [Fraction(1, 2) + Fraction(1, 10**40)]]
    found = reachable(system, h, max_length=2)
    assert found.verdict == "witness" and found.length <= 2
    rows = SelectiveSSM([[3, 0]], dt=[HUGE, HUGE], decay=[["1/2"], [TINY]])
    assert reachable(rows, [[-TINY], [0]]).verdict == "obstruction"


@pytest.mark.parametrize("size", [Fraction(1), HUGE**2, TINY**2, 2 * HUGE])
def test_existence_does_not_depend_on_the_size(size):
    """(2, 1), (1, 0) behind rows with a sign: found in floats for h_0 scaled to size 1, proved for h_0 itself."""
    system = SelectiveSSM([[1, 0], [1, 1]], dt=1, decay=[["1/2", "1/3"], ["1/3", "1/5"]])
    cone = TokenCone(system)
    h = state_after(system, [[1, 2], [-1, 3], [2, -1]]) * size
    near = list(float_solutions(cone, h, 4, np.random.default_rng(0)))
    assert near and proved_to_exist(cone, h, near) is not None
    assert proved_to_exist(cone, -h, near) is None
    assert reachable(system, h).verdict in ("witness", "exists")


@pytest.mark.parametrize("w", [gaussian(0, 1), 1j])
def test_complex_weights_are_refused_under_every_clock(w):
    with pytest.raises(InvalidInput, match="W_B has complex entries"):
        reachable(SelectiveSSM([[w]], clock=lambda z: (1, 1)), [[1]])
    assert reachable(SelectiveSSM([[1]], clock=lambda z: (1, 1), kind="exact"), [[-1]]).verdict == "obstruction"
