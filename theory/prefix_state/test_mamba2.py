"""prefix_state.mamba2: rank limit, witnesses, dependent projections, groups and errors."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.claim import PROFILES, Verdict
from theory.core.errors import InvalidInput
from theory.core.selective import SelectiveSSM
from theory.core.ssd import Mamba2Group, Mamba2Head
from theory.prefix_state import mamba2
from theory.prefix_state.mamba2_reach import independent_rows, minimal_prefix_length_mamba2, reachable_mamba2
from theory.prefix_state.reach import reachable
from theory.prefix_state.window import state_after

PLAIN = Mamba2Head([[1, 0, 0, 0], [0, 1, 0, 0]], [[0, 0, 1, 0], [0, 0, 0, 1]], dt="1/2", decay="1/3")


@given(mamba2.prefixes())
def test_rank_limit(instance):
    mamba2.check_rank_limit(instance)


@given(mamba2.targets())
def test_witness(target):
    mamba2.check_witness(target)


@given(st.tuples(mamba2.targets(mamba2.groups(2)), st.lists(st.sampled_from(mamba2.DTS), min_size=2, max_size=2)))
def test_held_clock(instance):
    mamba2.check_held_clock(instance)


@given(mamba2.dependent_targets())
def test_dependent_rows(target):
    mamba2.check_dependent(target)


def test_worked_example():
    """Rank 2 in two tokens; the order matters (negative twin)."""
    h0 = np.array([[1, 2], [3, 4]], dtype=object) * Fraction(1)
    found = reachable(PLAIN, h0)
    assert found.verdict == "witness"
    assert found.length == 2
    assert np.all(state_after(PLAIN, found.prefix) == h0)
    assert not np.all(state_after(PLAIN, found.prefix[::-1]) == h0)
    short = reachable(PLAIN, h0, max_length=1)
    assert short.verdict == "obstruction"
    assert "minor -2 of size 2" in short.reason


def test_three_tokens_never_help_a_rank_two_state():
    assert minimal_prefix_length_mamba2(PLAIN) == 2
    assert reachable(PLAIN, [[1, 2], [2, 4]]).length == 1


def test_groups_count_their_heads_together():
    eye = np.eye(4, dtype=int).tolist()
    heads = [Mamba2Head([eye[k]], eye[2:], dt=1, decay=f"1/{k + 2}") for k in range(2)]
    group = Mamba2Group(heads)
    assert minimal_prefix_length_mamba2(group) == 2
    assert minimal_prefix_length_mamba2(heads[0]) == 1
    h0 = np.array([[[1, 0]], [[0, 1]]], dtype=object) * Fraction(1)
    assert reachable(group, h0, max_length=1).verdict == "obstruction"
    found = reachable(group, h0)
    assert found.length == 2
    assert np.all(state_after(group, found.prefix) == h0)


def test_equal_projections_give_semidefinite_states():
    head = Mamba2Head([[1, 0], [0, 1]], [[1, 0], [0, 1]], dt=1, decay="1/2")
    assert not independent_rows(head)
    good = reachable(head, [[2, 1], [1, 1]])
    assert good.verdict == "witness"
    state = sum(
        squared * Fraction(1, 2) ** slot * np.outer(u, u)
        for slot, u, squared in good.tokens  # W_x = W_B = I, dt = 1
    )
    assert np.all(state == np.array([[2, 1], [1, 1]], dtype=object))
    bad = reachable(head, [[0, 1], [1, 0]])
    assert bad.verdict == "obstruction"
    assert bad.value < 0
    assert linalg.is_psd((bad.ell + bad.ell.T) / 2)
    assert "span" in reachable(head, [[0, 1], [0, 0]]).reason  # not symmetric


def test_partly_dependent_rows_stay_open():
    head = Mamba2Head([[1, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, 0, 1]], dt=1, decay="1/2")
    assert reachable_mamba2(head, [[1, 0], [0, 1]]).verdict == "open"


def test_floats_are_taken_at_their_binary_values():
    head = Mamba2Head(np.eye(4)[:2], np.eye(4)[2:], dt=0.1, decay=0.3)
    found = reachable(head, [[0.5, 1.0], [0.25, 2.0]])
    assert found.verdict == "witness"
    exact = Mamba2Head(np.eye(4, dtype=int)[:2], np.eye(4, dtype=int)[2:], dt=Fraction(0.1), decay=Fraction(0.3))
    assert np.all(state_after(exact, found.prefix) == np.array([[0.5, 1.0], [0.25, 2.0]]))


def test_an_off_by_one_rank_is_caught():
    """Negative twin: with M = min(PH, N) − 1 the dimension is short by exactly one for P = N."""
    rows = mamba2.certify_dimensions(PROFILES["quick"]).data["table"]
    for row in rows:
        least = min(row["H"] * row["P"], row["N"])
        assert (row["dimension"] == row["states"]) == (row["M"] >= least)
        assert row["dimension"] == row["M"] * (row["H"] * row["P"] + row["N"] - row["M"])


def test_all_assumptions_and_checks_at_quick():
    for check in mamba2.CLAIM.checks:
        assert check.run(PROFILES["quick"]).verdict is not Verdict.REFUTED
    for assumption in mamba2.CLAIM.assumptions:
        assert assumption.examine(PROFILES["quick"]).verdict is Verdict.REFUTED


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: reachable(PLAIN, [[1, 2]]), "expected"),
        (lambda: reachable(PLAIN, [[1, 2], [3, 4]], max_length=0), "max_length = 0"),
        (lambda: reachable(PLAIN, [[1, 2], [3, 4]], level="function"), "function level"),
        (lambda: reachable_mamba2(SelectiveSSM([[1]], dt=1, decay=[["1/2"]]), [[1]]), "SelectiveSSM"),
        (lambda: reachable(Mamba2Head([[1]], [[1]], clock=lambda u: (1, 0)), [[1]]), "constant clock"),
        (lambda: minimal_prefix_length_mamba2(Mamba2Head([[1]], [[1]], dt=1, decay="1/2")), "dependent"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(InvalidInput, match=says):
        call()
