"""sparse_dims.additional_scan: checks and the smallest examples."""

from __future__ import annotations

import pytest
from hypothesis import given

from theory.conftest import GLANCE, share
from theory.verification.claim import Verdict
from theory.verification.refutation import Refuted

from . import claim as own


def test_moving_a_decay_takes_two_states_and_a_new_row_one() -> None:
    frozen = own.one(own.POOL[0])
    assert own.states_needed(frozen, own.one(own.POOL[1])) == 2
    assert own.states_needed(frozen, own.one(own.POOL[0], 3)) == 1
    assert own.states_needed(frozen, frozen) == 0
    scan = own.additional(own.differences(frozen, own.one(own.POOL[1])), 1)
    assert own.same_outputs(frozen.beside(scan), own.one(own.POOL[1]))
    for decay in own.POOL:  # no single state does it, over a grid of readouts
        for c in (-2, -1, 1, 2):
            single = own.States((decay,), own.exact([[1]]), own.exact([[c]]))
            assert not own.same_outputs(frozen.beside(single), own.one(own.POOL[1]))


def test_two_states_of_one_decay_are_a_form_of_rank_two() -> None:
    frozen = own.States((own.POOL[0],), own.exact([[0, 0]]), own.exact([[0, 0]]))
    eye = own.exact([[1, 0], [0, 1]])
    assert own.states_needed(frozen, own.States((own.POOL[0],) * 2, eye, eye)) == 2
    assert own.states_needed(frozen, own.States((own.POOL[0],) * 2, eye, own.exact([[1, 1], [1, 1]]))) == 1


def test_a_started_state_is_not_of_degree_three() -> None:
    e = own.ASSUMPTIONS[0].counterexample.build()
    assert not own.degree_three(e)
    with pytest.raises(Refuted):
        own.check_degrees(e)


@given(own.tasks())
@share(0.5)
def test_tasks(t: own.Task) -> None:
    own.check_reached(t)


@pytest.mark.parametrize("check", own.CLAIM.checks, ids=lambda c: c.name)
def test_checks(check: own.Check) -> None:
    assert check.run(GLANCE).verdict in (Verdict.PROVED, Verdict.EXACT)


@pytest.mark.parametrize("assumption", own.ASSUMPTIONS, ids=lambda a: a.name)
def test_assumptions(assumption: own.Assumption) -> None:
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED
