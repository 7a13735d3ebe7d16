"""beyond.gated_deltanet: checks, and the smallest examples by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from theory.conftest import GLANCE
from theory.verification.claim import Verdict

from . import claim as own
from .claim import Token, exact

ONE = Fraction(1)


def test_one_step_by_hand() -> None:
    """S = (1, 2), key (1, 1), β = 1: S keeps its part across the key, (−1/2, 1/2), and v kᵀ/2 comes on top."""
    k = exact([[1, 1]])[0]
    token = Token(ONE, ONE, k, exact([[3]])[0], exact([[1, 0]])[0])
    outputs, state = own.run([token], exact([[1, 2]]))
    assert state.tolist() == [[1, 2]] and outputs.tolist() == [[1]]
    assert own.run([Token(ONE, ONE, 0 * k, exact([[3]])[0], k)], exact([[1, 2]]))[1].tolist() == [[1, 2]]  # no key, no change


def test_a_state_of_rank_two_takes_two_tokens() -> None:
    state = exact([[1, 2], [3, 4]])
    found = own.prefix_for(state, Fraction(1, 2), Fraction(1, 2))
    assert len(found) == 2 and np.all(own.run(found, 0 * state)[1] == state)
    assert np.any(own.run(found[::-1], 0 * state)[1] != state)  # negative twin: gates count


def test_orthogonal_keys_with_full_strength_erase() -> None:
    assert own.erased(own.one_token(ONE)) and not own.erased(own.one_token(Fraction(1, 2)))


def test_a_turned_key_moves_a_pole_from_one_to_zero() -> None:
    """β = 1: over a period of two tokens the pole is cos² of the angle."""
    e1, e2, none = exact([[1, 0]])[0], exact([[0, 1]])[0], exact([[0]])[0]
    first = Token(ONE, ONE, e1, none, e1)
    for key, pole in ((e1, 1), (e2, 0), (e1 + e2, Fraction(1, 2))):
        traces = own.period_traces(own.Period(first, Token(ONE, ONE, key, none, e1)))
        assert traces == [pole, pole**2]


def test_stretched_keys_show() -> None:
    assert not own.same_outputs(own.stretched()) and not own.is_conformal(own.stretched())


@pytest.mark.parametrize("check", own.CLAIM.checks, ids=lambda c: c.name)
def test_checks(check: own.Check) -> None:
    assert check.run(GLANCE).verdict in (Verdict.PROVED, Verdict.EXACT)


@pytest.mark.parametrize("assumption", own.ASSUMPTIONS, ids=lambda a: a.name)
def test_assumptions(assumption: own.Assumption) -> None:
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED
