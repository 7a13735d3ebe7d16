"""prefix_state.affix: checks, and the smallest jump by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from theory.conftest import GLANCE
from theory.verification.claim import Verdict

from . import claim as own


def test_one_token_halves_what_came_before() -> None:
    s = own.smallest()
    gamma, delta = own.jump(s.module, s.affix)
    assert gamma.tolist() == [[Fraction(1, 2)]] and delta.tolist() == [[0]]
    tokens = own.exact([[1], [1]])
    plain, changed = s.module.run(tokens)[0], own.with_affix(s, tokens)
    assert changed[0] == plain[0] and plain[1] - changed[1] == Fraction(1, 4)  # h_1 = 1: half of it decays once more


def test_where_an_affix_is_a_state() -> None:
    assert not own.is_a_state(own.smallest())
    assert own.is_a_state(own.smallest(position=0)) and own.is_a_state(own.smallest(length=1))
    assert own.is_a_state(own.smallest(W_B=0)) and not own.visible(own.smallest(W_B=0).module)
    assert own.is_a_state(own.smallest(tokens=0))


def test_an_affix_in_two_halves() -> None:
    module = own.smallest().module
    both = own.jump(module, own.exact([[2], [3]]))
    (g, d), (h, e) = own.jump(module, own.exact([[2]])), own.jump(module, own.exact([[3]]))
    assert np.all(both[0] == g * h) and np.all(both[1] == h * d + e) and np.any(both[1] != g * e + d)


@pytest.mark.parametrize("check", own.CLAIM.checks, ids=lambda c: c.name)
def test_checks(check: own.Check) -> None:
    assert check.run(GLANCE).verdict in (Verdict.PROVED, Verdict.EXACT)


@pytest.mark.parametrize("assumption", own.ASSUMPTIONS, ids=lambda a: a.name)
def test_assumptions(assumption: own.Assumption) -> None:
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED
