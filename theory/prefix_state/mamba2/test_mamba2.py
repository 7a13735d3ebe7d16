"""prefix_state.mamba2: rank limit, witnesses, dependent projections, groups and errors."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.conftest import GLANCE, share
from theory.core import linalg
from theory.core.errors import InvalidInput
from theory.core.selective import SelectiveSSM
from theory.core.ssd import Mamba2Group, Mamba2Head
from theory.core.tolerance import budget
from theory.prefix_state.mamba2 import claim as mamba2
from theory.prefix_state.mamba2 import instances as properties
from theory.prefix_state.mamba2.clock import run_softplus, scale_for, softplus_witness
from theory.prefix_state.reach.mamba2 import independent_rows, minimal_prefix_length_mamba2, reachable_mamba2, unreachable_state
from theory.prefix_state.reach.reachable import reachable
from theory.prefix_state.reach.window import state_after
from theory.verification.claim import Verdict

PLAIN = Mamba2Head([[1, 0, 0, 0], [0, 1, 0, 0]], [[0, 0, 1, 0], [0, 0, 0, 1]], dt="1/2", decay="1/3")


@given(properties.prefixes())
def test_rank_limit(instance: Any) -> None:
    properties.check_rank_limit(instance)


@given(properties.targets())
def test_witness(target: Any) -> None:
    properties.check_witness(target)


@given(st.tuples(properties.targets(properties.groups(2)), st.lists(st.sampled_from(properties.DTS), min_size=2, max_size=2)))
def test_held_clock(instance: Any) -> None:
    properties.check_held_clock(instance)


@given(properties.dependent_targets())
def test_dependent_rows(target: Any) -> None:
    properties.check_dependent(target)
    properties.check_every_state(target)


@given(properties.readings())
def test_functions(reading: Any) -> None:
    properties.check_function(reading)


@share(0.5)
@given(properties.clock_rows())
def test_softplus_clock(instance: Any) -> None:
    properties.check_softplus(instance)


def test_softplus_tokens_of_a_large_step_take_more_digits() -> None:
    """Condition 3·10^31: thirty digits say nothing about the tokens, sixty do."""
    rows = [[1, 0, 0, 0, 0], [-1, 1, 0, 0, 0], [-1, 0, 1, 0, 0], [2, 2, -1, 1, 0], [-1, 1, -1, 1, 1]]
    head, h0 = Mamba2Head(rows[:2], rows[2:], dt=1, decay="1/2"), [[-6, Fraction(1, 3), 0], [1, 0, 2]]
    few = softplus_witness(head, [0, 0, 0, 0, 4], 0, -1, h0, digits=30)
    more = softplus_witness(head, [0, 0, 0, 0, 4], 0, -1, h0, digits=60)
    assert few.error > 0.1 and 1e31 < few.condition < 1e33 and more.error < 1e-20
    state = np.array([[Fraction(x) for x in row] for row in h0], dtype=object)
    properties.check_softplus((head, [Fraction(x) for x in (0, 0, 0, 0, 4)], Fraction(0), Fraction(-1), state))


@given(properties.targets().filter(lambda t: properties.linalg.rank(properties.stack(t.h0)) > 1))
def test_a_wrong_witness_is_caught(target: Any) -> None:
    """Negative twin: the tokens in another order, or one decay too many, leave another state."""
    found: Any = reachable_mamba2(target.system, target.h0)
    assert not np.all(state_after(target.system, [*found.prefix, [0] * len(found.prefix[0])]) == target.h0)
    assert not np.all(state_after(target.system, found.prefix[1:]) == target.h0)


def test_worked_example() -> None:
    """Rank 2 in two tokens; the order matters (negative twin)."""
    h0 = np.array([[1, 2], [3, 4]], dtype=object) * Fraction(1)
    found: Any = reachable(PLAIN, h0)
    assert found.verdict == "witness"
    assert found.length == 2
    assert np.all(state_after(PLAIN, found.prefix) == h0)
    assert not np.all(state_after(PLAIN, found.prefix[::-1]) == h0)
    short = reachable(PLAIN, h0, max_length=1)
    assert short.verdict == "obstruction"
    assert "minor -2 of size 2" in short.reason


def test_three_tokens_never_help_a_rank_two_state() -> None:
    assert minimal_prefix_length_mamba2(PLAIN) == 2
    assert reachable(PLAIN, [[1, 2], [2, 4]]).length == 1


def test_groups_count_their_heads_together() -> None:
    eye = np.eye(4, dtype=int).tolist()
    heads = [Mamba2Head([eye[k]], eye[2:], dt=1, decay=f"1/{k + 2}") for k in range(2)]
    group = Mamba2Group(heads)
    assert minimal_prefix_length_mamba2(group) == 2
    assert minimal_prefix_length_mamba2(heads[0]) == 1
    h0 = np.array([[[1, 0]], [[0, 1]]], dtype=object) * Fraction(1)
    assert reachable(group, h0, max_length=1).verdict == "obstruction"
    found: Any = reachable(group, h0)
    assert found.length == 2
    assert np.all(state_after(group, found.prefix) == h0)


def test_equal_projections_give_semidefinite_states() -> None:
    head = Mamba2Head([[1, 0], [0, 1]], [[1, 0], [0, 1]], dt=1, decay="1/2")
    assert not independent_rows(head)
    good: Any = reachable(head, [[2, 1], [1, 1]])
    assert good.verdict == "witness"
    state = sum(
        squared * Fraction(1, 2) ** slot * np.outer(u, u)
        for slot, u, squared in good.tokens  # W_x = W_B = I, dt = 1
    )
    assert np.all(state == np.array([[2, 1], [1, 1]], dtype=object))
    bad: Any = reachable(head, [[0, 1], [1, 0]])
    assert bad.verdict == "obstruction"
    assert bad.value < 0
    assert linalg.is_psd((bad.ell + bad.ell.T) / 2)
    assert "span" in reachable(head, [[0, 1], [0, 0]]).reason  # not symmetric


SHARED = Mamba2Head([[1, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, 0, 1]], dt=1, decay="1/2")  # x = (u1, u2), B = (u1, u3)


@pytest.mark.parametrize(
    ("h0", "verdict"),
    [
        ([[1, 0], [0, 1]], "witness"),
        ([[2, 3], [4, 5]], "witness"),
        ([[0, 0], [0, -1]], "witness"),  # the block without common rows takes any sign
        ([[-1, 0], [0, 1]], "obstruction"),
        ([[0, 1], [0, 0]], "boundary"),  # u1² = 0 in every token, so u1 u3 = 0
        ([[0, 0], [1, 0]], "boundary"),
    ],
)
def test_one_common_row(h0: Any, verdict: Any) -> None:
    """h = Σ (u1, u2)(u1, u3)ᵀ: the corner is a sum of squares, and where it is 0 its row and column are."""
    found: Any = reachable(SHARED, h0)
    assert found.verdict == verdict
    h = np.array(h0, dtype=object)
    if verdict == "witness":
        assert found.length == linalg.rank(h)
        assert np.all(properties.tokens_state((SHARED,), found.tokens)[0] == h)
    else:
        assert np.sum(found.ell * h) == found.value
        assert (found.value < 0) == (verdict == "obstruction")


def test_a_boundary_state_is_a_limit() -> None:
    """h_0 + ε·(state of S = I) is reached for every ε > 0, h_0 itself is not."""
    limit = np.array([[0, 1], [0, 0]], dtype=object)
    step = SHARED.W_x @ SHARED.W_B.T
    assert reachable(SHARED, limit).verdict == "boundary"
    for k in (1, 10, 1000):
        assert reachable(SHARED, limit + Fraction(1, k) * step).verdict == "witness"


def test_rows_that_repeat_others() -> None:
    """W_x has a dependent row of its own and none in common with W_B: two free terms, each with its own decay."""
    head = Mamba2Head([[1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0]], [[0, 0, 1, 0], [0, 0, 0, 1]], dt="1/2", decay="1/3")
    h0 = np.array([[1, 2], [3, 4], [4, 6]], dtype=object)
    found: Any = reachable(head, h0)
    assert found.length == 2
    assert np.all(state_after(head, found.prefix) == h0)
    assert "span" in reachable(head, [[1, 2], [3, 4], [4, 7]]).reason


def test_irrational_lengths_stay_exact_in_tokens() -> None:
    head = Mamba2Head([[1]], [[1]], dt=1, decay="1/2")
    found: Any = reachable(head, [[2]])
    assert found.tokens[0][2] == 2
    assert found.prefix == [[pytest.approx(2**0.5)]]
    assert reachable(head, [[4]]).prefix in ([[2]], [[-2]])


def test_heads_of_one_decay_share_a_token() -> None:
    """Each head alone reaches every state; x_2 = x_1 + B_1 makes h_2 − h_1 a sum of B_1 B, so its first entry is ≥ 0."""
    w_b = [[0, 1, 0], [0, 0, 1]]
    heads = [Mamba2Head([[1, 0, 0]], w_b, dt=1, decay="1/2"), Mamba2Head([[1, 1, 0]], w_b, dt=1, decay="1/2")]
    for head in heads:
        assert independent_rows(head)
        assert minimal_prefix_length_mamba2(head) == 1
    group = Mamba2Group(heads)
    assert not independent_rows(group)
    assert minimal_prefix_length_mamba2(group) == np.inf
    bad: Any = reachable(group, [[[1, 0]], [[0, 0]]])
    assert bad.verdict == "obstruction"
    assert bad.ell.shape == (2, 1, 2)
    assert reachable(group, [[[0, 0]], [[1, 0]]]).verdict == "witness"


def test_several_decays_and_dependent_rows() -> None:
    """One decay value that fails obstructs all; else as S6, which finds the prefixes that there are."""
    w_b = [[0, 1, 0], [0, 0, 1]]
    square = [Mamba2Head([[0, 1, 0]], w_b, dt=1, decay="1/2"), Mamba2Head([[1, 0, 0]], w_b, dt=1, decay="1/3")]
    group = Mamba2Group(square)  # x_1 = B_1
    bad: Any = reachable(group, [[[-1, 0]], [[0, 0]]])
    assert bad.verdict == "obstruction"
    assert "decay 1/2" in bad.reason
    assert np.all(bad.ell[1] == 0)
    joint: Any = reachable(group, [[[1, 0]], [[2, 0]]])
    assert joint.verdict == "witness"
    assert np.all(properties.tokens_state(group.heads, joint.tokens).reshape(2, 1, 2) == [[[1, 0]], [[2, 0]]])
    with pytest.raises(InvalidInput, match="depends on the state"):
        minimal_prefix_length_mamba2(group)
    twin_heads = [Mamba2Head([[1, 0, 0]], w_b, dt=1, decay=d) for d in ("1/2", "1/3")]
    twins = Mamba2Group(twin_heads)  # the same x: their two decays tell two tokens apart, so no span obstructs
    assert np.all(state_after(twins, [[-12, 1, 0], [3, 2, 0]]) == np.array([[[0, 0]], [[2, 0]]], dtype=object))
    assert reachable(twins, [[[0, 0]], [[2, 0]]]).verdict != "obstruction"
    same = Mamba2Group([twin_heads[0], twin_heads[0]])
    assert reachable(same, [[[0, 0]], [[2, 0]]]).verdict == "obstruction"
    pair = Mamba2Group([Mamba2Head([row], [[1, 1]], dt=1, decay=d) for row, d in (([1, 0], "1/2"), ([0, 1], "1/3"))])
    found: Any = reachable(pair, [[[1]], [[2]]])  # B = x_1 + x_2
    assert found.verdict == "witness"
    left = properties.tokens_state(pair.heads, found.tokens)
    assert np.all(left == np.array([[[1]], [[2]]], dtype=object))


def test_unreachable_states_by_kind_of_dependence() -> None:
    cases = [
        (Mamba2Head([[1], [2]], [[1]], dt=1, decay="1/2"), "obstruction"),  # d_inner = 2 d_model
        (Mamba2Head([[1, 0]], [[0, 1], [0, 2]], dt=1, decay="1/2"), "obstruction"),
        (Mamba2Head([[1, 0]], [[1, 0], [0, 1]], dt=2, decay="1/2"), "obstruction"),
    ]
    for head, verdict in cases:
        assert reachable(head, unreachable_state(head)).verdict == verdict
    assert unreachable_state(PLAIN) is None


def test_a_wide_block_keeps_few_dimensions() -> None:
    """d_model = 1, d_inner = 2: every prefix leaves a multiple t ≥ 0 of (1, 2), rank 1 or not."""
    head = Mamba2Head([[1], [2]], [[1]], dt=1, decay="1/2")
    assert reachable(head, [[1], [2]]).verdict == "witness"
    assert reachable(head, [[1], [1]]).verdict == "obstruction"
    assert reachable(head, [[-1], [-2]]).verdict == "obstruction"
    table = properties.certify_wide_blocks(GLANCE).data["table"]
    assert [row["dimension_after_M"][-1] for row in table] == [1, 1, 2, 3, 3, 5]
    assert all(row["dimension_after_M"][-1] < row["states"] for row in table)


def test_softplus_signs() -> None:
    """α < 0 needs s = −1; with s = +1 c·softplus is bounded and misses large goals (negative twin)."""
    head = Mamba2Head([[1, 0]], [[0, 1]], dt=1, decay="1/2")
    for slope, sign in ((1, 1), (-1, -1)):
        found = softplus_witness(head, [slope, 0], 0, -1, [[3]])
        assert found.signs == [sign]
        assert found.error < 1e-35
        doubled = [[2 * v for v in token] for token in found.tokens]
        assert abs(run_softplus(head, np.array([Fraction(slope), Fraction(0)], dtype=object), 0, -1, doubled)[0, 0] - 3) > 1
    assert max(c * np.log1p(np.exp(-c)) for c in np.linspace(0, 50, 5001)) < 1  # α = −1 with s = +1 stays below 1
    with pytest.raises(InvalidInput, match="flip the sign"):
        scale_for(Fraction(-1), Fraction(0), 1)


def test_softplus_tokens_decay_among_themselves() -> None:
    """Two tokens: leaving out exp(dt A) of the later one must show (negative twin)."""
    head = Mamba2Head(np.eye(4, dtype=int)[:2], np.eye(4, dtype=int)[2:], dt=1, decay="1/2")
    weight = np.array([Fraction(v) for v in (1, -1, 2, 0)], dtype=object)
    found = softplus_witness(head, weight, Fraction(1, 2), -2, [[1, 2], [3, 4]])
    assert found.error < 1e-35
    off = run_softplus(head, weight, Fraction(1, 2), Fraction(-1), found.tokens)
    assert abs(off[0, 0] - 1) > 0.1
    small = softplus_witness(head, [0, 0, 0, 0], -30, -1, [[1, 2], [3, 4]], digits=60)  # dt about 1e-13
    assert small.error < 1e-50
    assert small.scales[0] > 1e12


def test_token_dependent_clocks_are_bounded_by_rank_only() -> None:
    head = Mamba2Head(PLAIN.W_x, PLAIN.W_B, clock=lambda u: (1, Fraction(1, 2)))
    eye = [[1, 0], [0, 1]]
    assert reachable(head, eye, max_length=1).verdict == "obstruction"
    assert reachable(head, eye).verdict == "open"


def test_floats_are_taken_at_their_binary_values() -> None:
    head = Mamba2Head(np.eye(4)[:2], np.eye(4)[2:], dt=0.1, decay=0.3)
    found: Any = reachable(head, [[0.5, 1.0], [0.25, 2.0]])
    assert found.verdict == "witness"
    exact = Mamba2Head(np.eye(4, dtype=int)[:2], np.eye(4, dtype=int)[2:], dt=Fraction(0.1), decay=Fraction(0.3))
    assert np.all(state_after(exact, found.prefix) == np.array([[0.5, 1.0], [0.25, 2.0]]))


def test_an_off_by_one_rank_is_caught() -> None:
    """Negative twin: with M = min(PH, N) − 1 the dimension is short by exactly one for P = N."""
    rows = properties.certify_dimensions(GLANCE).data["table"]
    for row in rows:
        least = min(row["H"] * row["P"], row["N"])
        assert (row["dimension"] == row["states"]) == (row["M"] >= least)
        assert row["dimension"] == row["M"] * (row["H"] * row["P"] + row["N"] - row["M"])


def test_all_assumptions_and_checks_at_a_glance() -> None:
    for check in mamba2.CLAIM.checks:
        assert check.run(GLANCE).verdict is not Verdict.REFUTED
    for assumption in mamba2.CLAIM.assumptions:
        assert assumption.examine(GLANCE).verdict is Verdict.REFUTED


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: reachable(PLAIN, [[1, 2]]), "expected"),
        (lambda: reachable(PLAIN, [[1, 2], [3, 4]], max_length=0), "max_length = 0"),
        (lambda: reachable(PLAIN, [[1, 2], [3, 4]], level="function"), "function level"),
        (lambda: reachable_mamba2(cast(Any, SelectiveSSM([[1]], dt=1, decay=[["1/2"]])), [[1]]), "SelectiveSSM"),
        (lambda: minimal_prefix_length_mamba2(Mamba2Head([[1]], [[1]], clock=lambda u: (1, 0))), "constant clock"),
        (lambda: unreachable_state(Mamba2Head([[1]], [[1]], clock=lambda u: (1, 0))), "constant clocks"),
        (lambda: softplus_witness(SHARED, [0, 0, 0], 0, -1, [[1, 0], [0, 1]]), "dependent"),
        (lambda: softplus_witness(PLAIN, [0, 0, 0], 0, -1, [[1, 0], [0, 1]]), "expected .D,"),
        (lambda: softplus_witness(PLAIN, [0] * 4, 0, 1, [[1, 0], [0, 1]]), "A = 1"),
        (lambda: softplus_witness(PLAIN, [0] * 4, 0, -1, [[0, 0], [0, 0]]), "h0 = 0"),
        (lambda: softplus_witness(PLAIN, [0] * 4, 0, -1, [[1, 0], [0, 1]], digits=5), "digits = 5"),
        (lambda: scale_for(Fraction(1), Fraction(0), 0), "goal = 0"),
    ],
)
def test_bad_input(call: Any, says: Any) -> None:
    with pytest.raises(InvalidInput, match=says):
        call()


@pytest.mark.parametrize(("w_x", "w_b", "h0"), [([[1, 0]], [[1, 0], [0, 1]], [[0, 1]]), ([[1, 0], [0, 1]], [[1, 0]], [[0], [1]])])
def test_both_halves_of_the_condition_on_the_kernel(w_x: Any, w_b: Any, h0: Any) -> None:
    """S vanishes at the shared row, so it has to vanish beside it too, on W_B's side and on W_x's."""
    head = Mamba2Head(w_x, w_b, dt=1, decay="1/2")
    assert reachable_mamba2(head, h0).verdict == "boundary"
    assert reachable_mamba2(head, [[x + 1 for x in row] for row in h0]).verdict != "boundary"


def test_a_large_token_rounds_the_small_part_in_it() -> None:
    """The last decay makes the first token large, whose rounding reaches the rows that set B; found by the long profile."""
    rows = np.array([[Fraction(int(i == j) + 2 * (i < j)) for j in range(5)] for i in range(5)], dtype=object)
    head = Mamba2Head(rows[:2], rows[2:], dt=1, decay="1/2")
    h0 = np.array([[Fraction(-4), Fraction(3), Fraction(0)], [Fraction(1), Fraction(-2, 3), Fraction(3)]], dtype=object)
    weight = [Fraction(v) for v in (0, 0, 0, 0, 1)]
    found = softplus_witness(head, weight, Fraction(1), Fraction(-1), h0, digits=30)
    operations = 4 * len(found.tokens) * head.d_input
    assert found.error <= budget(operations, found.condition, eps=1e-30) < 1e-15
    assert found.error > budget(operations, eps=1e-30), "rounding grows here"
    properties.check_softplus((head, weight, Fraction(1), Fraction(-1), h0))
