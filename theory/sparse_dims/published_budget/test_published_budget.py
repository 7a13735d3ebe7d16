"""sparse_dims.published_budget: the count at every width, the bound by poles, and budgets that are not excluded."""

from __future__ import annotations

import pytest
from hypothesis import given

from theory.conftest import GLANCE, share
from theory.verification.claim import Verdict
from theory.verification.refutation import Refuted

from . import claim as own
from .claim import Budget


def test_first_refuted_widths() -> None:
    assert [own.first_refuted(g) for g in (2, 3)] == [10, 20] and own.first_refuted(2, skips=False) == 11
    assert (Budget(2, 10).tuned, Budget(2, 10).wanted) == (112, 120) and Budget(2, 10).refuted
    assert (Budget(2, 9).tuned, Budget(2, 9).wanted) == (102, 99) and not Budget(2, 9).refuted
    assert not Budget(2, 10, skips=False).refuted and Budget(2, 11, skips=False).refuted


@given(own.weights())
@share(0.375)
def test_poles(w: own.Weights) -> None:
    own.check_poles(w)


@given(own.weights(special=True))
@share(0.375)
def test_special_weights_are_not_excluded(w: own.Weights) -> None:
    assert not own.short_by_poles(w)
    with pytest.raises(Refuted):
        own.check_poles(w)


@pytest.mark.parametrize("check", own.CLAIM.checks, ids=lambda c: c.name)
def test_checks(check: own.Check) -> None:
    assert check.run(GLANCE).verdict in (Verdict.PROVED, Verdict.EXACT)


@pytest.mark.parametrize("assumption", own.ASSUMPTIONS, ids=lambda a: a.name)
def test_assumptions(assumption: own.Assumption) -> None:
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED
