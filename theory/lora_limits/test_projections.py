"""lora_limits.spectrum_frozen, selector_absorption: whole modules before and after, and mistakes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.claim import PROFILES, Assumption, Check, Profile, Verdict
from theory.core.errors import InvalidInput, KindMismatch
from theory.lora_limits import selector_absorption
from theory.lora_limits.row_matching import match_rows
from theory.lora_limits.selector_absorption import absorb_selectors, least_gauge_rank

CLAIMS = (selector_absorption.CLAIM,)
F = Fraction


@given(st.one_of(selector_absorption.tasks(), selector_absorption.tasks(independent=False)))
def test_absorption(task):
    selector_absorption.check_absorption(task)


@pytest.mark.parametrize("assumption", [a for c in CLAIMS for a in c.assumptions], ids=lambda a: a.name)
def test_assumptions(assumption: Assumption):
    assert assumption.examine(PROFILES["quick"]).verdict is Verdict.REFUTED


@pytest.mark.parametrize("check", [k for c in CLAIMS for k in c.checks], ids=lambda k: k.name)
def test_checks(check: Check):
    assert check.run(Profile("few", 5)).verdict is not Verdict.REFUTED


def test_gauge_example():
    """S = I, S* = diag(2, 1/2): the formula for maps says 2, the gauge g = 1/2 says 0."""
    found = absorb_selectors([[1, 0], [0, 1]], [[1, 0], [0, 1]], [[1, 0], [0, 1]], [[2, 0], [0, "1/2"]])
    assert found.rank == 2
    least, g = least_gauge_rank([[1, 0], [0, 1]], [[2, 0], [0, "1/2"]])
    assert least == 0
    assert g == sympy.Rational(1, 2)
    irrational, g = least_gauge_rank([[1, 0], [2, 0]], [[1, 0], [1, 0]])  # rows parallel: rank 1 → 0 needs g = 1 and g = 1/2
    assert irrational == 1
    assert least_gauge_rank([[1, 0], [0, 1]], [[1, 1], [1, 3]])[0] >= 1


def test_row_matching_certificates():
    found = match_rows([[1, 0], [2, 0]], [[0], [0]], [[1], [3]])
    assert not found.possible
    assert list(np.asarray(found.certificate) @ np.array([[1, 0], [2, 0]], dtype=object)) == [0, 0]
    nothing = match_rows([[1, 0]], [[1], [1]], [[1]])
    assert nothing.rank == 0
    assert not np.any(nothing.update)


def test_rank_is_not_off_by_one():
    found = match_rows(np.eye(3, dtype=int).tolist(), [[0, 0], [0, 0], [0, 0]], [[1, 2], [2, 4], [3, 6]])
    assert found.rank == 1 == linalg.rank(found.update)
    assert found.left.shape == (3, 1)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: match_rows([[1, 0]], [[1]], [[1]]), InvalidInput, "S"),
        (lambda: absorb_selectors([[1]], [[1]], [[1]], [[1, 2]]), InvalidInput, "target_selectors"),
        (lambda: absorb_selectors([[1.0]], [[1]], [[1]], [[1]]), KindMismatch, "1.0"),
        (lambda: least_gauge_rank([[1]], [[1]]), InvalidInput, "shape"),
        (lambda: selector_absorption.gauge_gap(np.zeros((2, 1)), np.zeros((2, 1)), 1, [0]), InvalidInput, "nonzero"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()
