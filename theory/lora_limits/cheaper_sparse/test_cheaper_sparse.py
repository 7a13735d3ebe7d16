"""lora_limits.cheaper_sparse: term ranks, line covers, counts, the cost map of released models, and mistakes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given

from theory.conftest import GLANCE
from theory.core import linalg
from theory.core.errors import InvalidInput, UnknownName
from theory.lora_limits.cheaper_sparse import claim as cheaper_sparse
from theory.lora_limits.costs import (
    MODELS,
    generic_values,
    line_cover,
    model_costs,
    model_shape,
    same_states,
    staggered,
    structure_costs,
    support_cost,
    term_rank,
)
from theory.verification.claim import Assumption, Check, Profile, Verdict

CLAIM = cheaper_sparse.CLAIM
F = Fraction


@given(cheaper_sparse.sparse_changes())
def test_term_rank(change):
    cheaper_sparse.check_term_rank(change)


@given(cheaper_sparse.sparse_changes())
def test_sparse_stores_less(change):
    cheaper_sparse.check_cheaper(change)


@given(cheaper_sparse.blocks())
def test_rank_of_a_block(change):
    cheaper_sparse.check_block(change)


@given(cheaper_sparse.sparse_changes())
def test_ones_on_the_support_do_not_decide_the_rank(change):
    """Negative twin of the generic values: a rank never exceeds the term rank, and constant values may stay below it."""
    ones = np.full((change.rows, change.columns), F(0), dtype=object)
    for d, n in change.support:
        ones[d, n] = F(1)
    assert linalg.rank(ones) <= term_rank(change.support) == linalg.rank(change.values())


@given(cheaper_sparse.sparse_changes())
def test_no_line_of_the_cover_is_spare(change):
    """Without any one of its lines the cover leaves an entry open."""
    channels, states = line_cover(change.support)
    for drop in [("channel", d) for d in channels] + [("state", n) for n in states]:
        c, s = channels - {drop[1]} if drop[0] == "channel" else channels, states - {drop[1]} if drop[0] == "state" else states
        assert not all(d in c or n in s for d, n in change.support)


@pytest.mark.parametrize("assumption", CLAIM.assumptions, ids=lambda a: a.name)
def test_assumptions(assumption: Assumption):
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED


@pytest.mark.parametrize("check", CLAIM.checks, ids=lambda k: k.name)
def test_checks(check: Check):
    assert check.run(Profile("few", 5)).verdict is not Verdict.REFUTED


def test_term_rank_and_cover_by_hand():
    diagonal = {(0, 0), (1, 1), (2, 2)}
    assert term_rank(diagonal) == 3
    rows, columns = line_cover(diagonal)
    assert len(rows) + len(columns) == 3
    assert term_rank({(0, j) for j in range(5)}) == 1
    assert line_cover({(0, j) for j in range(5)}) == ({0}, set())
    assert term_rank(set()) == 0
    assert line_cover(set()) == (set(), set())


@pytest.mark.parametrize(("k", "s"), [(1, 3), (3, 1), (3, 2), (2, 3), (4, 4)])
def test_the_same_states_give_the_smaller_number(k, s):
    assert term_rank(same_states(k, s)) == min(k, s)
    values = generic_values(same_states(k, s), max(k, 4), max(s, 4)) if k * s <= 16 else None
    assert linalg.rank(values) == min(k, s)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_different_states_give_one_rank_per_channel(k):
    """k channels, one state each: rank k where the states differ, 1 = min(k, s) where they are the same."""
    assert term_rank(staggered(k, 1, 4)) == linalg.rank(generic_values(staggered(k, 1, 4), k, 4)) == k
    assert term_rank(same_states(k, 1)) == 1


def test_staggered_by_hand():
    assert staggered(3, 2, 4) == {(0, 0), (0, 1), (1, 2), (1, 3), (2, 0), (2, 1)}
    assert linalg.rank(generic_values(staggered(3, 2, 4), 3, 4)) == 3


def test_generic_values_by_hand():
    assert generic_values({(0, 1), (1, 0)}, 2, 2).tolist() == [[0, 2], [4, 0]]


# -- costs ----------------------------------------------------------------------------------------------------------------


def test_cost_map_of_mamba():
    dense, block, scattered = structure_costs(1536, 16, rank=8, channels=15, states=4)
    assert (dense.lora_stored, dense.sparse_stored, dense.cheaper) == (8 * 1552, 1536 * 16, "lora")
    assert (block.rank, block.lora_stored, block.sparse_stored, block.cheaper) == (4, 6208, 60, "sparse")
    assert (scattered.rank, scattered.sparse_stored) == (15, 60)
    assert (block.sparse_indices, scattered.sparse_indices) == (15 + 4, 15 + 60)
    row = model_costs("mamba-130m", rank=8, channels=15, states=4)[1]
    assert (row.layers, row.total_sparse, row.total_lora) == (24, 24 * 60, 24 * 6208)
    assert row.to_json()["cheaper"] == "sparse"


def test_degrees_are_equal_only_for_the_full_parameter():
    full = structure_costs(4, 3, rank=3, channels=4, states=3)[1]
    assert full.lora_degrees == full.sparse_degrees == 12
    assert full.fewer_degrees == "equal"
    assert full.sparse_stored < full.lora_stored
    most = structure_costs(4, 3, rank=3, channels=3, states=3)[1]
    assert most.fewer_degrees == "sparse"  # negative twin: one channel less


@pytest.mark.parametrize(("rank", "cheaper"), [(15, "lora"), (16, "sparse")])
def test_where_a_dense_change_turns(rank, cheaper):
    """ρ(D + N) < D N: for 1536 × 16 up to ρ = 15 (23,280 < 24,576), not for 16."""
    assert structure_costs(1536, 16, rank=rank, channels=1, states=1)[0].cheaper == cheaper


def test_a_tie_is_a_tie():
    assert structure_costs(2, 2, rank=1, channels=1, states=1)[0].cheaper == "equal"  # 1·(2 + 2) = 2·2


def test_published_shapes():
    for name, m in MODELS.items():
        assert model_shape(name) == m
        assert m["d_inner"] == 2 * m["d_model"]
        assert m["dt_rank"] == -(-m["d_model"] // 16)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: structure_costs(4, 4, rank=1, channels=5, states=1), InvalidInput, "5 channels"),
        (lambda: structure_costs(4, 4, rank=5, channels=1, states=1), InvalidInput, "rank 5"),
        (lambda: structure_costs(4, 4, rank=1, channels=0, states=1), InvalidInput, "channels"),
        (lambda: model_costs("mamba-131m", rank=1, channels=1, states=1), UnknownName, "mamba-130m"),
        (lambda: support_cost({(-1, 0)}, 2, 2), InvalidInput, r"\(-1, 0\)"),
        (lambda: staggered(2, 5, 4), InvalidInput, "N = 4"),
        (lambda: generic_values({(i, j) for i in range(5) for j in range(5)}, 5, 5), InvalidInput, "at most 16"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()
