"""prefix_state.selective: the theorem's three directions, the exact cases, and what must be refused."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.conftest import GLANCE
from theory.core import linalg
from theory.core.errors import InvalidInput, KindMismatch
from theory.core.selective import SelectiveSSM

from ..reach.cone import TokenCone, nonnegative_solution
from ..reach.decide import inner
from ..reach.reachable import reachable
from . import claim as sel

F = Fraction


def system(w_b, decay, dt=1) -> SelectiveSSM:
    return SelectiveSSM(w_b, dt=dt, decay=decay)


@given(sel.instances(((2, 1), (2, 2), (3, 1))))
def test_witnesses(instance):
    sel.check_witness(instance)


@given(sel.instances(((1, 2), (2, 1), (2, 2), (3, 1)), full_rows=None))
def test_criterion_and_obstructions(instance):
    sel.check_criterion(instance)


@given(sel.instances(((2, 2), (3, 2)), distinct=False, full_rows=None, values=2))
def test_shared_decays(instance):
    sel.check_obstructions(instance)


@given(sel.single_decay())
def test_one_decay_value(drawn):
    sel.check_scalar_decay(drawn)


@given(sel.single_channel())
def test_one_channel(instance):
    sel.check_single_channel(instance)


@pytest.mark.parametrize("assumption", sel.ASSUMPTIONS, ids=lambda a: a.name)
def test_assumptions(assumption):
    assumption.examine(GLANCE)


@given(sel.instances(((2, 1), (2, 2))), st.integers(0, 3))
def test_negative_twin_of_a_witness(instance, where):
    """A witness for h_0 is no witness for a perturbed h_0, nor for slots shifted by one."""
    answer = reachable(instance.system, instance.h0)
    other = instance.h0.copy()
    other.ravel()[where % other.size] += 1
    assert not np.all(sel.state_by_recurrence(instance.system, answer) == other)
    if answer.tokens:
        shifted = [(slot + 1, z, w) for slot, z, w in answer.tokens]
        assert not np.all(TokenCone(instance.system).state_of(shifted) == instance.h0)


@given(sel.instances(((2, 1), (2, 2), (3, 1)), full_rows=None), st.lists(st.integers(-3, 3), min_size=9, max_size=9))
def test_obstructions_hold_on_random_tokens(instance, numbers):
    """⟨ℓ, h⟩ ≥ 0 for states built from tokens, by stepping the recurrence; −ℓ shows the sign matters."""
    d = instance.system.n_channels
    tokens = [[F(v) for v in numbers[i * d : (i + 1) * d]] for i in range(9 // d)]
    h = instance.system.zero_state()
    for z in tokens:
        h, _ = instance.system.step(h, np.array(z, dtype=object))
    for block in TokenCone(instance.system).criterion:
        if block.ell is not None:
            assert inner(block.ell, h) >= 0


def test_worked_examples():
    """The examples of the README: boundary of the scalar case, the moment cone, an indefinite form."""
    scalar = reachable(system([[1, 0]], [["1/2"], ["1/2"]]), [[0], [1]])
    assert scalar.verdict == "boundary" and scalar.value == 0
    limit = reachable(system([[1], [1]], [["1/2", "1/3"]]), [[1, 0]])
    assert limit.verdict == "boundary"
    outside = reachable(system([[1], [1]], [["1/2", "1/3"]]), [[1, 2]])
    assert outside.verdict == "obstruction" and outside.value < 0
    inside = reachable(system([[1], [1]], [["1/2", "1/3"]]), [[2, 1]])
    assert inside.verdict == "witness"


def test_obstruction_that_is_no_eigenvector():
    """E = diag-like (1/2, 1/3) shared over channels: ℓ = W_Bᵀ[[1,1],[0,1]] obstructs although it mixes two decays."""
    s = system([[1, 0], [0, 1]], [["1/2", "1/3"], ["1/2", "1/3"]])
    ell = np.array([[F(1), F(1)], [F(0), F(1)]], dtype=object)
    assert TokenCone(s).never_negative(ell) is True
    assert TokenCone(s).never_negative(-ell) is False
    answer = reachable(s, -ell)
    assert answer.verdict == "obstruction"


def test_never_negative_sees_a_late_slot():
    """Σ ℓ_n E_n^m turns negative only at m = 5: the check must not stop at the first slots."""
    s = system([[1], [1]], [["3/4", "1/2"]])
    ell = np.array([[F(-1), F(10)]], dtype=object)  # 10·2^−m − (3/4)^m < 0 from m = 6 on
    signs = [10 * F(1, 2) ** m - F(3, 4) ** m for m in range(8)]
    assert signs[5] > 0 > signs[6]
    assert TokenCone(s).never_negative(ell) is False
    assert TokenCone(s).never_negative(np.array([[F(1), F(-1)]], dtype=object)) is True


def test_dependent_rows_obstruct_before_they_only_limit():
    """W_B's rows are equal, h_0's are not: ℓ separates them, though e_1 alone shows no more than a limit."""
    s = system([[0, 1], [0, 1]], [["1/11"] * 2] * 2, dt=F(1, 2))
    found = reachable(s, [[1, -1], [0, 0]])
    assert found.verdict == "obstruction" and found.value < 0 and inner(found.ell, found.ell) > 0
    limit = reachable(s, [[1, 1], [0, 0]])  # negative twin: the dependence is h_0's too
    assert limit.verdict == "boundary" and limit.value == 0


def test_length_of_scalar_witness_is_the_rank():
    s = system([[1, 0], [0, 1]], [["1/2"] * 2] * 2)
    assert reachable(s, [[2, 1], [1, 2]]).length == 2
    assert reachable(s, [[1, 1], [1, 1]]).length == 1
    assert reachable(s, [[0, 0], [0, 0]]).length == 0


def test_prefix_floats_agree_with_tokens():
    s = system([[1, 1]], [["1/2"], ["1/3"]])
    answer = reachable(s, [[-1], [2]])
    assert answer.prefix is not None
    floats = s.to("float64")
    h = floats.zero_state()
    for z in answer.prefix:
        h, _ = floats.step(h, np.asarray(z))
    assert np.allclose(h, [[-1.0], [2.0]], rtol=0, atol=1e-9)


def test_float_system_is_decided_at_its_binary_value():
    s = SelectiveSSM([[0.3, -0.7]], dt=[0.1, 0.2], A=[[-1.0], [-1.0]])
    answer = reachable(s, [[-1.0], [0.5]])
    assert answer.verdict == "witness"


def test_clock_that_depends_on_the_token():
    w_b = [[0.0, 2.0], [1.0, 1.0]]
    s = SelectiveSSM(w_b, A=[[-1.0, -2.0], [-1.0, -2.0]], W_dn=[[1.0, 0.0]], W_up=[[1.0], [1.0]], dt_bias=[0.0, 0.0])
    assert reachable(s, [[0.0, 0.0], [-1.0, 0.0]]).verdict == "obstruction"
    assert reachable(s, [[0.0, 0.0], [1.0, 0.0]]).verdict == "open"
    with pytest.raises(InvalidInput, match="constant clock"):
        TokenCone(s)


@pytest.mark.parametrize(
    ("h0", "error", "match"),
    [
        ([[1]], InvalidInput, "shape"),
        ([[0.5], [1]], KindMismatch, r"float 0\.5"),
        ([[float("nan")], [1]], InvalidInput, "not finite"),
    ],
)
def test_bad_states(h0, error, match):
    with pytest.raises(error, match=match):
        reachable(system([[1, 1]], [["1/2"], ["1/3"]]), h0)


def test_bad_length():
    with pytest.raises(InvalidInput, match="max_length = 0"):
        reachable(system([[1, 1]], [["1/2"], ["1/3"]]), [[1], [1]], max_length=0)


def test_nonnegative_solution_is_exact_or_none():
    columns = np.array([[F(1), F(0), F(-1)], [F(0), F(1), F(-1)]], dtype=object)
    target = np.array([F(-1, 3), F(2, 7)], dtype=object)
    w = nonnegative_solution(columns, target)
    assert w is not None and all(x >= 0 for x in w)
    assert np.all(columns @ w == target)
    assert nonnegative_solution(columns[:, :2], target) is None


@given(st.lists(st.integers(-2, 2), min_size=6, max_size=6), st.booleans())
def test_semidefinite_test_against_all_principal_minors(entries, square_it):
    """Exact PSD test = all principal minors ≥ 0, with the zero-pivot cases that LDLᵀ must not wave through."""
    a, b, c, d, e, f = (F(v) for v in entries)
    m = np.array([[a, b, c], [b, d, e], [c, e, f]], dtype=object)
    if square_it:
        m = m @ m.T
    minors = [linalg.determinant(m[np.ix_(s, s)]) for k in (1, 2, 3) for s in map(list, itertools.combinations(range(3), k))]
    assert linalg.is_psd(m) == all(x >= 0 for x in minors)
    direction = linalg.negative_direction(m)
    assert (direction is None) == all(x >= 0 for x in minors)
    if direction is not None:
        assert direction @ m @ direction < 0
