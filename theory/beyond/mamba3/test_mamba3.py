"""beyond.mamba3: checks, one step by hand, and the cases in which it is Mamba-2."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given

from theory.conftest import GLANCE, share
from theory.core.ssd import Mamba2Head
from theory.verification.claim import Verdict
from theory.verification.refutation import Refuted

from . import claim as own
from .head import Head, inverse_step, sign_changes


@given(own.heads(turning=False))
@share(0.375)
def test_without_mix_and_turn_it_is_mamba2(head: Head) -> None:
    plain = replace(head, mix=None)
    other = Mamba2Head(head.W_x, head.W_B, head.W_C, clock=lambda u: (plain.delta(u), plain.decay(u)))
    tokens = own.exact([[1, 0], [1, 2], [-1, 1]])
    assert np.all(plain.run(tokens)[0] == other.run(tokens)[0])


def test_the_token_before_counts_again() -> None:
    """Δ = 1, λ = 1/2, α = 1/2: the second state is h/2 + x_0B_0/4 + x_1B_1/2."""
    w = own._plain(False)
    first, second = own.exact([[1, 1]])[0], own.exact([[1, 0]])[0]
    h = w.head.run([first])[1]
    assert h.tolist() == [[2, 1]]  # x = 2, B = (2, 1), half of each
    after = w.head.run([first, second])[1]
    assert np.all(after == h / 2 + own.exact([[4, 2]]) / 4 + own.exact([[1, 0]]) / 2)
    assert np.any(after != w.head.run([second], h)[1])  # negative twin: the state alone is not enough


def test_the_new_token_has_the_weight_of_the_mix() -> None:
    """Δ = 1, λ = 1/(1 + φ(1)) = 1/3: one token is stored with a third, and 2/3 are held for the next step."""
    plain = own._plain(False).head
    head = replace(plain, mix=(plain.rate[0], own.ONE))
    token = own.exact([[1, 1]])[0]
    assert head.run([token])[1].tolist() == [[Fraction(4, 3), Fraction(2, 3)]] and head.held(token) == Fraction(2, 3)


def test_steps_are_inverted() -> None:
    for value in (Fraction(1, 7), Fraction(1), Fraction(5)):
        head = own._plain(False).head
        assert replace(head, rate=(head.rate[0], inverse_step(value))).a(own.exact([[1, 1]])[0]) == value


def test_signs() -> None:
    assert sign_changes([Fraction(x) for x in (1, 0, -1, 0, 2)]) == 2
    assert sign_changes([Fraction(x) for x in (1, 0, 1)]) == 0
    turned = own.turned_responses(own.Turning((), (), own.ONE), 5)
    assert [x > 0 for x in turned] == [True, False, False, False, True] and turned[1] == turned[3] == 0
    assert all(x > 0 for x in own.turned_responses(own.Turning((), (), Fraction(0)), 5))


def test_a_prefix_is_a_state_only_where_the_weight_is_constant() -> None:
    assert own.is_a_state(own._plain(False)) and not own.is_a_state(own._plain(True))
    with pytest.raises(Refuted):
        own.check_folded(own._plain(True))


@pytest.mark.parametrize("check", own.CLAIM.checks, ids=lambda c: c.name)
def test_checks(check: own.Check) -> None:
    assert check.run(GLANCE).verdict in (Verdict.PROVED, Verdict.EXACT)


@pytest.mark.parametrize("assumption", own.ASSUMPTIONS, ids=lambda a: a.name)
def test_assumptions(assumption: own.Assumption) -> None:
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED
