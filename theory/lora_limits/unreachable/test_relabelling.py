"""Relabelled differences, floors over all relabellings, the reach certificate and the explicit target."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given

from theory.core import linalg
from theory.core.errors import InvalidInput, KindMismatch
from theory.core.scalars import gaussian
from theory.lora_limits.low_rank import lora_floor
from theory.lora_limits.unreachable import claim as unreachable
from theory.lora_limits.unreachable.relabelling import (
    MOST_RELABELLINGS,
    count_relabellings,
    far_target,
    kernel_jacobian,
    reach_certificate,
    reaching_update,
    relabel,
    relabelled_floor,
    relabellings,
)

F = Fraction


def test_relabellings_are_all_counted():
    assert [count_relabellings(*size) for size in ((1, 1), (2, 2), (2, 3), (3, 3), (2, 4))] == [1, 4, 36, 216, 576]
    for size in ((1, 3), (2, 2), (2, 3), (3, 2)):
        orders = list(relabellings(*size))
        assert len(orders) == count_relabellings(*size)
        matrix = np.arange(size[0] * size[1]).reshape(size)
        assert len({tuple(relabel(matrix, p).ravel()) for p in orders}) == len(orders)  # all different
        assert all(set(relabel(matrix, p)[0]) == set(matrix[0]) for p in orders)  # within the channel


@pytest.mark.parametrize("d", range(1, 9))
@pytest.mark.parametrize("n", range(1, 9))
def test_every_rank_is_decided_up_to_8_by_8(d, n):
    for r in range(min(d, n)):
        c = reach_certificate(d, n, r)
        assert c.decides
        assert c.student == c.bound == r * (d + n - r) + d * n
        assert c.target == 2 * d * n
        assert c.target - c.student == (d - r) * (n - r)
    full = reach_certificate(d, n, min(d, n))
    assert not full.decides  # negative twin: full rank reaches everything
    assert full.student == full.target


def test_kernel_jacobian_by_hand_and_degenerate():
    """One mode 1/2 with residue 3: k = (3, 3/2), ∂k/∂ log a = (0, 3/2), ∂k/∂r = (1, 1/2)."""
    assert kernel_jacobian([F(1, 2)], [F(3)]).tolist() == [[0, 1], [F(3, 2), F(1, 2)]]
    good = kernel_jacobian([F(1, 2), F(1, 3)], [F(1), F(2)])
    assert linalg.rank(good) == 4
    assert linalg.rank(kernel_jacobian([F(1, 2), F(1, 3)], [F(1), F(0)])) == 3  # a zero residue loses its mode
    assert linalg.rank(kernel_jacobian([F(1, 2), F(1, 2)], [F(1), F(2)])) == 2  # equal modes
    assert linalg.rank(kernel_jacobian([F(1, 2), F(0)], [F(1), F(2)])) == 3  # log-derivative of a mode 0


def test_the_jacobian_is_the_derivative():
    """A central difference in exact arithmetic: the error is the third order term, four times less at half the step."""
    modes, residues = [F(1, 2), F(1, 3)], [F(2), F(-1)]

    def kernel(a):
        return np.array([sum(r * x**j for x, r in zip(a, residues, strict=True)) for j in range(4)], dtype=object)

    column = kernel_jacobian(modes, residues)[:, 0]
    gaps = []
    for h in (F(1, 100), F(1, 200)):
        up, down = ([modes[0] * (1 + s * h), modes[1]] for s in (1, -1))  # d log a = h to first order
        gaps.append(max(abs(x) for x in (kernel(up) - kernel(down)) / (2 * h) - column))
    assert 0 < gaps[1] < gaps[0]
    assert 3 < gaps[0] / gaps[1] < 5


def test_dropping_a_relabelling_changes_the_answer():
    """A* is A with channel 2's states exchanged: rank 0 does, but only with the exchange."""
    frozen, target = [[-1, -2], [-3, -5]], [[-1, -2], [-5, -3]]
    best = relabelled_floor(frozen, target, 0)
    assert best.floor.value == 0
    assert best.identity.value == 8
    assert best.relabelling == ((0, 1), (1, 0))
    assert best.relabellings == 4
    assert lora_floor(np.array(target, dtype=object) - np.array(frozen, dtype=object), 0).value == 8
    assert reaching_update(frozen, target, 0).relabelling == ((0, 1), (1, 0))
    assert reaching_update(frozen, [[-1, -2], [-4, -3]], 0) is None  # negative twin


def test_a_rank_one_target_in_disguise():
    frozen, target = [[-1, -2], [-1, -2]], [[-2, -3], [-4, -3]]
    difference = np.array(target, dtype=object) - np.array(frozen, dtype=object)
    assert linalg.rank([[F(x) for x in row] for row in difference]) == 2
    found = reaching_update(frozen, target, 1)
    update = found.left @ found.right
    assert linalg.rank(update) == 1
    assert np.all(np.array(frozen, dtype=object) + update == relabel(target, found.relabelling))


@given(unreachable.pairs())
def test_the_least_floor_is_the_minimum_over_relabellings(instance):
    a, t, rank = instance
    every = [float(lora_floor(relabel(t, p) - a, rank)) for p in relabellings(*a.shape)]
    assert float(relabelled_floor(a, t, rank).floor) == min(every)


@pytest.mark.parametrize("size", [(2, 2), (2, 3), (3, 2), (3, 3)])
def test_far_targets_resist_every_relabelling(size):
    target = far_target(*size)
    frozen = np.array([[-F(i * size[1] + j + 1) for j in range(size[1])] for i in range(size[0])], dtype=object)
    assert all(linalg.rank(relabel(target, p) - frozen) == min(size) for p in relabellings(*size))
    assert all(reaching_update(frozen, target, r) is None for r in range(min(size)))
    assert reaching_update(frozen, target, min(size)) is not None


def test_far_target_by_hand():
    assert far_target(2, 2).tolist() == [[F(-1, 2), F(-1, 4)], [F(-1, 16), F(-1, 256)]]


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: relabellings(4, 4), InvalidInput, f"more than {MOST_RELABELLINGS}"),
        (lambda: count_relabellings(0, 2), InvalidInput, "D"),
        (lambda: reaching_update([[1]], [[1, 2]], 1), InvalidInput, "shape"),
        (lambda: reaching_update([[1.0]], [[1.0]], 1), KindMismatch, "frozen A"),
        (lambda: reaching_update([[1, 2]], [[1, 2]], 2), InvalidInput, "exceeds"),
        (lambda: relabelled_floor([[1]], [[1, 2]], 0), InvalidInput, "shape"),
        (lambda: reach_certificate(2, 2, 3), InvalidInput, "exceeds"),
        (lambda: far_target(5, 5), InvalidInput, "16"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_floors_of_entries_beyond_floats():
    """The estimates that choose relabellings see numbers below 2, whatever the entries are."""
    big = Fraction(10) ** 400
    a, t = [[big, big / 2], [big / 3, big / 5]], [[-big / 2, 3 * big], [big / 5, big / 3]]
    small = [[[x / big for x in row] for row in m] for m in (a, t)]
    found, expected = relabelled_floor(a, t, 1), relabelled_floor(*small, 1)
    assert found.relabelling == expected.relabelling
    assert found.floor.lower <= expected.floor.upper * big**2 and expected.floor.lower * big**2 <= found.floor.upper
    with pytest.raises(InvalidInput, match="complex entries"):
        relabelled_floor([[gaussian(0, 1), 1], [1, 2]], [[1, 2], [3, 4]], 1)
