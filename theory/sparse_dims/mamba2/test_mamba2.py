"""sparse_dims.mamba2: checks, the smallest examples, and edits against a search that shares nothing with the code."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given

from theory.conftest import GLANCE, share
from theory.core.errors import InvalidInput
from theory.core.lti import LTI
from theory.sparse_dims.adjustment import exact_minimal_adjustment
from theory.verification.claim import Verdict
from theory.verification.refutation import Refuted

from . import claim as own
from .heads import Heads, assignment_cost, essential, fewest_changes, generic, heads_needed, horizon, separable

ONE = own.matrix([[1]])


def scalar(decays: list[Fraction], values: list[int]) -> Heads:
    return Heads(tuple(decays), tuple(own.matrix([[v]]) for v in values), ONE, ONE)


def test_outputs_are_the_sum_over_pairs_of_tokens() -> None:
    block = Heads((own.POOL[0], own.POOL[1]), (own.matrix([[1, 2]]), own.matrix([[0, -1]])), *own.SKEW)
    sequence = own.tokens(2)
    K = own.SKEW[1].T @ own.SKEW[0]
    for t, v in enumerate(sequence):
        want = sum(
            g ** (t - s) * (v @ K @ u) * (m @ u)
            for s, u in enumerate(sequence[: t + 1])
            for g, m in zip(block.decays, block.values, strict=True)
        )
        assert np.all(block.run(sequence)[t] == want)


def test_a_skew_form_needs_one_token_more() -> None:
    short = own.too_short()
    assert horizon(short.first, short.second) == 3 and own.agree(short) and not own.told_apart(short)
    assert own.told_apart(replace(short, length=3))
    plain = own.too_short(skew=False)
    assert horizon(plain.first, plain.second) == 2 and own.agree(plain) and own.told_apart(replace(plain, length=2))


def test_ranks_count_heads() -> None:
    eye = {own.POOL[0]: own.matrix([[1, 0], [0, 1]])}
    assert (heads_needed(eye, 1), heads_needed(eye, 2), heads_needed({}, 1)) == (2, 1, 0)
    assert fewest_changes(own.distinct().frozen, eye, 1) == 2  # M_1 is kept, the second head moves
    with pytest.raises(InvalidInput, match="rank 2"):
        assignment_cost(own.distinct().frozen, eye, 1)
    with pytest.raises(InvalidInput, match="heads"):
        assignment_cost(scalar([own.POOL[0]], [1]), dict.fromkeys(own.POOL[:2], ONE), 1)


@pytest.mark.parametrize("values", list(product((0, 1, 2), repeat=3)))
def test_one_channel_is_the_scalar_problem(values: tuple[int, ...]) -> None:
    """P = d = D = N = 1: the fewest changes are those of an LTI channel, which another solver counts."""
    decays = list(own.POOL[:3])
    frozen, channel = scalar(decays, list(values)), LTI(decays, [1] * 3, list(values))
    for decay, residue in ((own.POOL[0], 2), (own.POOL[3], 1), (own.POOL[1], 3)):
        wanted = exact_minimal_adjustment(channel, LTI([decay], [1], [residue])).cost
        assert fewest_changes(frozen, {decay: residue * ONE}, 1) == wanted


def test_merged_heads() -> None:
    t = own.merged()
    assert assignment_cost(t.frozen, t.target, 1) == 2 and fewest_changes(t.frozen, t.target, 1) == 1
    assert own.assignment_exact(own.distinct()) and not own.assignment_exact(t)


def test_equal_decays_add_up() -> None:
    assert essential(scalar([own.POOL[0]] * 2, [1, -1])) == {}
    assert list(essential(scalar([own.POOL[0]] * 2, [1, 2]))) == [own.POOL[0]]


def test_states_have_no_decay_of_their_own() -> None:
    assert not separable(own.two_groups().groups, own.tokens(2), 3)
    assert separable(own.two_groups().groups[:1], own.tokens(2), 3)
    with pytest.raises(Refuted):
        own.check_own_decay(own.one_decay())


def test_a_rank_that_the_channels_do_not_divide_takes_one_head_more() -> None:
    target = {own.POOL[0]: own.matrix([[1, 0, 0], [0, 1, 0], [0, 0, 1]])}
    zero, row = own.matrix([[0] * 3] * 3), own.matrix([[1, 0, 0]])
    assert heads_needed(target, 2) == 2 and heads_needed({own.POOL[0]: own.matrix([[1]])}, 2) == 1
    assert fewest_changes(Heads(own.POOL[:1], (zero,), row, row), target, 2) is None
    assert fewest_changes(Heads(own.POOL[:2], (zero, zero), row, row), target, 2) == 3


def test_equal_decays_may_be_cheaper_than_the_assignment() -> None:
    """Both heads at 1/2 with M = 1 and 5, target 7 there: one value changes; the assignment also silences a head."""
    frozen, target = scalar([own.POOL[0]] * 2, [1, 5]), {own.POOL[0]: own.matrix([[7]])}
    assert fewest_changes(frozen, target, 1) == 1 and assignment_cost(frozen, target, 1) == 2
    assert not generic(frozen, target) and generic(scalar(list(own.POOL[:2]), [1, 5]), target)  # negative twin


def test_states_read_alike_are_heads() -> None:
    """One channel, decays 1/2 and 1/3, W_B = W_C = (1, 1): outputs of two heads of one group; without one of them not."""
    sequence = [own.matrix([[z]])[0] for z in (1, -2, 0, 3, 1)]
    wanted = own.read_alike().run(sequence)
    assert np.all(scalar(list(own.POOL[:2]), [1, 1]).run(sequence) == wanted)
    assert np.any(scalar([own.POOL[0]], [1]).run(sequence) != wanted)
    assert not own.independent(own.read_alike()) and not own.two_forms(own.read_alike())


@given(own.sharp())
@share(0.25)
def test_one_token_less(p: own.Pair) -> None:
    own.check_sharp(p)


@pytest.mark.parametrize("check", own.CLAIM.checks, ids=lambda c: c.name)
def test_checks(check: own.Check) -> None:
    assert check.run(GLANCE).verdict in (Verdict.PROVED, Verdict.EXACT)


@pytest.mark.parametrize("assumption", own.ASSUMPTIONS, ids=lambda a: a.name)
def test_assumptions(assumption: own.Assumption) -> None:
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED


def test_a_cubic_that_vanishes_at_units_and_their_sum_is_seen() -> None:
    """(u_1 − u_2) u_1 u_2: the long profile drew it when the tokens were e_1, e_2 and e_1 + e_2."""
    W_B, W_C = own.matrix([[0, 1]]), own.matrix([[1, 0]])
    silent = own.Heads((Fraction(1, 2),), (own.matrix([[0, 0]]),), W_B, W_C)
    heard = own.Heads((Fraction(1, 2),), (own.matrix([[1, -1]]),), W_B, W_C)
    assert own.told_apart(own.Pair(silent, heard, 1))
    few = [u for u in own.tokens(2) if min(u) >= 0]
    assert len(few) == 3 and all(np.all(silent.run([u]) == heard.run([u])) for u in few)
