"""lora_limits.unreachable: planted targets, floors that decide, two channels in full, phases, and mistakes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.conftest import GLANCE
from theory.core import linalg
from theory.core.errors import InvalidInput
from theory.core.strategies import matrices
from theory.lora_limits.unreachable import claim as unreachable
from theory.lora_limits.unreachable.completion import SpectrumTask, completes_to_rank_one, dt_witness, reaches
from theory.lora_limits.unreachable.phases import (
    bounded_shifts_reach,
    circle_distance,
    dense_phase_update,
    parity_obstruction,
    phase_error,
)
from theory.lora_limits.unreachable.relabelling import reaching_update
from theory.verification.claim import Assumption, Check, Profile, Verdict

CLAIM = unreachable.CLAIM
F = Fraction
MAMBA = ((F(-1), F(-2)), (F(-1), F(-2)))
TARGET = ((F(-4), F(-3)), (F(-2), F(-4)))
ONES = ((F(1), F(1)), (F(1), F(1)))


@given(unreachable.planted())
def test_planted_targets_are_found(instance):
    unreachable.check_planted(instance)


@given(unreachable.planted())
def test_a_spoiled_plant_is_noticed(instance):
    """Negative twin: a target moved by 1/7 in one mode has another function, and rank 0 finds it no more."""
    moved = instance.target.copy()
    moved[0, 0] += F(1, 7)
    assert reaching_update(instance.tuned, instance.target, 0) is not None
    assert reaching_update(instance.tuned, moved, 0) is None


@given(unreachable.pairs())
def test_floor_decides(instance):
    unreachable.check_floor_decides(instance)


@given(st.tuples(st.integers(1, 3).flatmap(lambda d: matrices(d, 2)), st.integers(2, 20)))
def test_phases(instance):
    unreachable.check_phases(instance)


@pytest.mark.parametrize("assumption", CLAIM.assumptions, ids=lambda a: a.name)
def test_assumptions(assumption: Assumption):
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED


@pytest.mark.parametrize("check", CLAIM.checks, ids=lambda k: k.name)
def test_checks(check: Check):
    assert check.run(Profile("few", 5)).verdict is not Verdict.REFUTED


# -- two channels of two states -------------------------------------------------------------------------------------------


def test_the_generic_target_needs_rank_two():
    task = SpectrumTask(MAMBA, TARGET, ONES)
    assert not reaches(task)
    assert not reaches(replace(task, rank=0))
    assert reaches(replace(task, rank=2))
    assert reaching_update(MAMBA, TARGET, 1) is None


@given(unreachable.spectrum_tasks())
def test_the_two_routes_agree_where_nothing_is_dropped(task):
    """Completion and relabelling are separate programs; with every assumption they answer alike."""
    assert reaches(task) == (reaching_update(task.frozen, task.target, task.rank) is not None)


def test_a_zero_residue_frees_one_entry():
    """The free entry is completed by d12 d21 / d22, as the statement says."""
    free = SpectrumTask(MAMBA, TARGET, ((F(0), F(1)), (F(1), F(1))))
    assert reaches(free)
    d12, d21, d22 = -3 + 2, -2 + 1, -4 + 2
    assert linalg.rank([[F(d12 * d21, d22), F(d12)], [F(d21), F(d22)]]) == 1
    assert linalg.rank([[F(d12 * d21, d22) + 1, F(d12)], [F(d21), F(d22)]]) == 2  # negative twin
    assert not reaches(replace(free, rank=0))


def test_equal_modes_add_their_residues():
    """Channel 1's two states at −3 cancel: the target sees none of it, and rank 0 suffices; with residues 1, 1 it does not."""
    cancelled = SpectrumTask(MAMBA, ((F(-3), F(-3)), MAMBA[1]), ((F(1), F(-1)), (F(1), F(1))), rank=0)
    assert reaches(cancelled)
    assert not reaches(replace(cancelled, residues=ONES))


def test_completions_by_hand():
    assert completes_to_rank_one([[1, 2], [2, 4]])
    assert not completes_to_rank_one([[1, 2], [2, 5]])
    assert completes_to_rank_one([[None, 2], [2, 4]])
    assert not completes_to_rank_one([[None, 2], [2, 0]])  # x · 0 = 4 has no solution
    assert completes_to_rank_one([[None, 0], [2, 0]])
    assert completes_to_rank_one([[None, 2], [3, None]])


def test_a_tuned_step_size_scales_a_row():
    task = SpectrumTask(MAMBA, TARGET, ONES, dt_free=True)
    assert reaches(task)
    x, y = dt_witness(task)
    found = False
    for first in (TARGET[0], TARGET[0][::-1]):
        for second in (TARGET[1], TARGET[1][::-1]):
            rows = [
                [x * t - a for t, a in zip(first, MAMBA[0], strict=True)],
                [y * t - a for t, a in zip(second, MAMBA[1], strict=True)],
            ]
            found |= linalg.rank(rows) <= 1
    assert found
    assert x > 0
    assert y > 0


# -- phases ---------------------------------------------------------------------------------------------------------------


def test_circle_distance():
    assert [circle_distance(x) for x in (F(0), F(1, 4), F(3, 4), F(-1, 4), F(7, 2), F(5))] == [
        0,
        F(1, 4),
        F(1, 4),
        F(1, 4),
        F(1, 2),
        0,
    ]


@pytest.mark.parametrize("m", [2, 3, 4, 10, 1000])
def test_parity_of_phases(m):
    wanted = np.array([[F(1, 2), F(0)], [F(0), F(1, 2)]], dtype=object)
    left, right = dense_phase_update(wanted, m)
    assert 0 < phase_error(left, right, wanted) < F(1, m)
    assert phase_error(left * 0, right, wanted) == F(1, 2)  # negative twin: no update


def test_parity_obstruction_by_hand():
    half = F(1, 2)
    assert parity_obstruction([[half, 0], [0, half]])
    assert not parity_obstruction([[half, half], [half, half]])  # rank one already
    assert bounded_shifts_reach([[half, half], [half, half]], 0)
    assert not bounded_shifts_reach([[half, 0], [0, half]], 3)
    assert bounded_shifts_reach([[F(1), F(2)], [F(2), F(5)]], 1)  # shift 5 to 4
    assert not bounded_shifts_reach([[F(1), F(2)], [F(2), F(5)]], 0)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: reaches(SpectrumTask(MAMBA, TARGET, ONES, rank=3)), InvalidInput, "rank = 3"),
        (lambda: reaches(SpectrumTask(MAMBA, TARGET, ONES, horizon=3)), InvalidInput, "horizon 3"),
        (
            lambda: reaches(
                SpectrumTask(MAMBA, ((F(-7), F(-5)), (F(-2), F(-9))), ((F(1), F(0)), (F(1), F(1))), rank=0, dt_free=True)
            ),
            InvalidInput,
            "tuned dt",
        ),
        (lambda: parity_obstruction([[1]]), InvalidInput, "2 × 2"),
        (lambda: dense_phase_update([[F(1, 2)]], 1), InvalidInput, "resolution"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()
