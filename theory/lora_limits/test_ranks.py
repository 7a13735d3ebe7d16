"""lora_limits.rank_floor, unreachable and cheaper_sparse: properties, worked numbers, negative twins and errors."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.claim import PROFILES, Assumption, Check, Profile, Verdict
from theory.core.errors import InvalidInput, KindMismatch
from theory.core.strategies import matrices
from theory.lora_limits import cheaper_sparse, rank_floor, unreachable
from theory.lora_limits.costs import (
    generic_values,
    line_cover,
    model_costs,
    same_states,
    staggered,
    structure_costs,
    support_cost,
    term_rank,
)
from theory.lora_limits.low_rank import (
    certified_dimension,
    lora_dimension,
    lora_floor,
    lora_stored,
    rank_factors,
    require_rank,
    squared_distance,
    truncated,
)
from theory.lora_limits.relabelling import (
    count_relabellings,
    far_target,
    reach_certificate,
    reaching_update,
    relabel,
    relabelled_floor,
    relabellings,
)

CLAIMS = (rank_floor.CLAIM, unreachable.CLAIM, cheaper_sparse.CLAIM)


@given(rank_floor.approximations(2))
def test_floor_is_reached(instance):
    rank_floor.check_floor_reached(instance)


@given(rank_floor.approximations(2))
def test_nothing_is_better(instance):
    rank_floor.check_nothing_better(instance)


@given(unreachable.planted())
def test_planted_targets_are_found(instance):
    unreachable.check_planted(instance)


@given(unreachable.pairs())
def test_floor_decides(instance):
    unreachable.check_floor_decides(instance)


@given(cheaper_sparse.sparse_changes())
def test_term_rank(change):
    cheaper_sparse.check_term_rank(change)


@given(cheaper_sparse.sparse_changes())
def test_sparse_stores_less(change):
    cheaper_sparse.check_cheaper(change)


@given(cheaper_sparse.blocks())
def test_rank_of_a_block(change):
    cheaper_sparse.check_block(change)


@pytest.mark.parametrize("assumption", [a for c in CLAIMS for a in c.assumptions], ids=lambda a: a.name)
def test_assumptions(assumption: Assumption):
    assert assumption.examine(PROFILES["quick"]).verdict is Verdict.REFUTED


def test_floors_by_hand():
    assert lora_floor([[3, 0], [0, 2]], 0).value == 13
    assert lora_floor([[3, 0], [0, 2]], 1).value == 4
    assert lora_floor([[3, 0], [0, 2]], 2).value == 0
    assert lora_floor([[1, 1], [1, 1]], 1).value == 0
    golden = lora_floor([[1, 1], [0, 1]], 1)  # σ² = (3 ± √5)/2, irrational: an enclosure
    assert not golden.exact
    assert abs(float(golden) - (3 - 5**0.5) / 2) < 1e-12


@given(matrices(2, 3, 2))
def test_float_and_exact_floors_agree(matrix):
    exact = lora_floor(matrix, 1)
    found = lora_floor(np.array([[float(x) for x in row] for row in matrix]), 1)
    assert found.lower <= exact.upper + Fraction(1, 10**9)
    assert exact.lower - Fraction(1, 10**9) <= found.upper


def test_truncation_attains_the_float_floor_and_a_neighbour_does_not():
    rng = np.random.default_rng(0)
    delta = rng.standard_normal((6, 4))
    u, v = truncated(delta, 2)
    floor = float(lora_floor(delta, 2))
    assert abs(np.sum((delta - u @ v) ** 2) - floor) < 1e-10
    assert np.sum((delta - (u + 1e-3) @ v) ** 2) > floor  # negative twin


@given(matrices(3, 2, 2))
def test_rank_factors(matrix):
    left, right = rank_factors(matrix)
    m = np.array(matrix, dtype=object)
    rank = linalg.rank(matrix)
    assert left.shape == (3, rank)
    if rank:
        assert np.all(linalg.matmul(left, right) == m)
        assert squared_distance(linalg.matmul(left, right), m) == 0


@pytest.mark.parametrize(("d", "n", "r", "dimension"), [(2, 2, 1, 3), (3, 2, 1, 4), (8, 8, 3, 39), (1536, 16, 8, 12352)])
def test_dimensions(d, n, r, dimension):
    assert lora_dimension(d, n, r) == dimension == r * (d + n - r)
    assert lora_stored(d, n, r) == r * (d + n)
    if d <= 8:
        assert certified_dimension(d, n, r) == dimension
        assert certified_dimension(d, n, r) != lora_stored(d, n, r)  # negative twin: the gauge counts


@pytest.mark.parametrize("size", [(2, 2), (3, 2), (4, 4), (5, 8), (8, 8)])
def test_every_rank_is_decided_up_to_8_by_8(size):
    d, n = size
    for r in range(min(d, n)):
        assert reach_certificate(d, n, r).decides
    full = reach_certificate(d, n, min(d, n))
    assert not full.decides  # negative twin: full rank reaches everything
    assert full.student == full.target


def test_relabellings_are_all_counted():
    assert count_relabellings(2, 3) == 36 == len(list(relabellings(2, 3)))
    assert len({tuple(map(tuple, relabel([[1, 2], [3, 4]], p))) for p in relabellings(2, 2)}) == 4


def test_dropping_a_relabelling_changes_the_answer():
    """A* is A with channel 2's states exchanged, plus nothing: rank 0 does, but only with the exchange."""
    frozen, target = [[-1, -2], [-3, -5]], [[-1, -2], [-5, -3]]
    assert relabelled_floor(frozen, target, 0).floor.value == 0
    assert lora_floor(np.array(target, dtype=object) - np.array(frozen, dtype=object), 0).value == 8
    assert reaching_update(frozen, target, 0) is not None
    assert reaching_update(frozen, [[-1, -2], [-4, -3]], 0) is None


def test_far_targets_resist_every_relabelling():
    for size in ((2, 2), (2, 3), (3, 3)):
        target = far_target(*size)
        frozen = np.array([[-(i * size[1] + j + 1) for j in range(size[1])] for i in range(size[0])], dtype=object)
        for p in relabellings(*size):
            difference = relabel(target, p) - frozen
            assert linalg.rank([[Fraction(x) for x in row] for row in difference]) == min(size)


def test_term_rank_and_cover():
    diagonal = {(0, 0), (1, 1), (2, 2)}
    assert term_rank(diagonal) == 3
    rows, columns = line_cover(diagonal)
    assert len(rows) + len(columns) == 3
    assert term_rank({(0, j) for j in range(5)}) == 1
    assert term_rank(same_states(3, 2)) == 2
    assert term_rank(staggered(3, 1, 4)) == 3
    assert linalg.rank(generic_values(staggered(3, 2, 4), 3, 4)) == 3


def test_cost_map_of_mamba():
    dense, block, scattered = structure_costs(1536, 16, rank=8, channels=15, states=4)
    assert (dense.lora_stored, dense.sparse_stored, dense.cheaper) == (8 * 1552, 1536 * 16, "lora")
    assert (block.rank, block.sparse_stored, block.cheaper) == (4, 60, "sparse")
    assert scattered.rank == 15
    assert model_costs("mamba-130m", rank=8, channels=15, states=4)[0].layers == 24
    full = structure_costs(4, 3, rank=3, channels=4, states=3)[1]
    assert full.lora_degrees == full.sparse_degrees == 12
    assert full.sparse_stored < full.lora_stored


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: lora_floor([[1, 2], [3]], 1), InvalidInput, "lengths"),
        (lambda: lora_floor([[1.0, float("nan")]], 0), InvalidInput, "nan"),
        (lambda: lora_floor([[Fraction(1, 3), 0.5]], 1), KindMismatch, "mixed"),
        (lambda: lora_floor([[1]], -1), InvalidInput, "rank = -1"),
        (lambda: require_rank(5, 2, 3), InvalidInput, "5"),
        (lambda: structure_costs(4, 4, rank=1, channels=5, states=1), InvalidInput, "5 channels"),
        (lambda: model_costs("mamba-131m", rank=1, channels=1, states=1), InvalidInput, "mamba-13"),
        (lambda: far_target(5, 5), InvalidInput, "16"),
        (lambda: support_cost({(-1, 0)}, 2, 2), InvalidInput, "-1"),
        (lambda: reaching_update([[1]], [[1, 2]], 1), InvalidInput, "shape"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()


@pytest.mark.parametrize("check", [k for c in CLAIMS for k in c.checks], ids=lambda k: k.name)
def test_checks(check: Check):
    assert check.run(Profile("few", 5)).verdict is not Verdict.REFUTED


@given(st.integers(2, 4))
def test_parity_of_phases(m):
    from theory.lora_limits.phases import dense_phase_update, parity_obstruction, phase_error

    wanted = np.array([[Fraction(1, 2), Fraction(0)], [Fraction(0), Fraction(1, 2)]], dtype=object)
    assert parity_obstruction(wanted)
    left, right = dense_phase_update(wanted, m)
    assert 0 < phase_error(left, right, wanted) < Fraction(1, m)
