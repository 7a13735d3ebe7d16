"""sparse_dims.published_budget_s6: the count by hand, widths that are not excluded, and the last projection from outputs."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from theory.conftest import GLANCE
from theory.core.selective import SelectiveSSM
from theory.sparse_dims.published_budget import claim as linear
from theory.verification.claim import Verdict

from . import claim as own
from .claim import Budget


def test_counts_by_hand() -> None:
    b = Budget(2, 1, 11, 2)
    assert (b.rank, b.channels, b.tuned, b.refuted) == (2, 6, 2 * (2 * 20 + 2 * 6 + 22), False)
    uneven = Budget(3, 2, 10, 2)  # 3/2 and 20/3, both rounded up
    assert (uneven.rank, uneven.channels, uneven.tuned) == (2, 7, 3 * (2 * 18 + 2 * 7 + 20))
    assert Budget(2, 1, 14, 2).tuned == 2 * (2 * 26 + 2 * 7 + 28) == 188 and Budget(2, 1, 14, 2).refuted


def test_the_sufficient_width_is_not_far_from_the_first() -> None:
    for depth, target, channel in ((2, 1, 2), (3, 1, 7), (4, 2, 34), (6, 5, 4)):
        first, enough = own.first_refuted(depth, target, channel), Budget(depth, target, 1, channel).enough
        assert first <= enough <= 2 * first
        assert not Budget(depth, target, first - 1, channel).refuted and Budget(depth, target, first, channel).refuted


def test_the_linear_claim_is_sharper_where_it_applies() -> None:
    assert linear.first_refuted(2) <= own.first_refuted(2, 1, 2) and linear.first_refuted(3) <= own.first_refuted(3, 1, 2)


def test_a_silent_layer_hides_its_projection() -> None:
    assert own.recovered(own.one(0)) is None and not own.determined(own.one(0))
    assert np.all(own.recovered(own.one()) == 2)


def test_two_tokens_may_be_too_few() -> None:
    """Two skew forms that cancel at lag 1: W_CᵀW_B ≠ 0, two tokens give 0, and one more token determines W."""
    skew = [[0, -1], [1, 0]]
    W_C = np.array([*skew, *([-x for x in row] for row in skew)], dtype=object) * Fraction(1)
    W_C[2:] *= Fraction(3, 2)
    module = SelectiveSSM([[1, 0], [0, 1]] * 2, W_C, dt=1, decay=[["1/2", "1/2", "1/3", "1/3"]] * 2)
    t = own.Target(module, np.array([[Fraction(2), Fraction(1)], [Fraction(0), Fraction(3)]], dtype=object), False)
    assert np.any(np.asarray(module.W_C).T @ np.asarray(module.W_B))
    assert not any(np.any(module.run(x)[0]) for x in t.sequences if len(x) == 2)
    assert own.determined(t)


@pytest.mark.parametrize("check", own.CLAIM.checks, ids=lambda c: c.name)
def test_checks(check: own.Check) -> None:
    assert check.run(GLANCE).verdict in (Verdict.PROVED, Verdict.EXACT)


@pytest.mark.parametrize("assumption", own.ASSUMPTIONS, ids=lambda a: a.name)
def test_assumptions(assumption: own.Assumption) -> None:
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED
