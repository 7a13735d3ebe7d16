"""lora_limits.selector_absorption: updates of in_proj, least ranks up to the gauge, whole modules, and mistakes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from theory.conftest import GLANCE
from theory.core import linalg
from theory.core.errors import InvalidInput, KindMismatch
from theory.core.scalars import gaussian
from theory.core.strategies import matrices
from theory.core.tolerance import budget
from theory.lora_limits.row_matching import match_rows
from theory.lora_limits.selector_absorption import claim as selector_absorption
from theory.lora_limits.selector_absorption.absorption import (
    Module,
    absorb_selectors,
    gauge_gap,
    gauge_rank_bounds,
    least_gauge_rank,
    rescale,
)
from theory.lora_limits.selector_absorption.claim import CLAIM, tasks
from theory.verification.claim import Assumption, Check, Profile, Verdict

F = Fraction
EYE = [[1, 0], [0, 1]]


@given(st.one_of(tasks(), tasks(independent=False)))
def test_absorption(task):
    selector_absorption.check_absorption(task)


@given(tasks())
def test_every_gauge_is_absorbed(task):
    selector_absorption.check_always_solvable(task)


@given(tasks())
def test_gauge(task):
    selector_absorption.check_gauge(task)


@given(selector_absorption.told_apart())
def test_three_tokens_fix_the_selectors(task):
    selector_absorption.check_identified(task)


@pytest.mark.parametrize("assumption", CLAIM.assumptions, ids=lambda a: a.name)
def test_assumptions(assumption: Assumption):
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED


@pytest.mark.parametrize("check", CLAIM.checks, ids=lambda k: k.name)
def test_checks(check: Check):
    assert check.run(Profile("few", 5)).verdict is not Verdict.REFUTED


# -- updates --------------------------------------------------------------------------------------------------------------


def module(**changes) -> Module:
    """D = 3, N = R = 1, d_model = 2: every selector reads a row of its own."""
    rows = np.eye(3, dtype=int).astype(object) * F(1)
    w = np.array([[F(1), F(0)], [F(0), F(1)], [F(1), F(1)]], dtype=object)
    one = np.array([[F(1)]], dtype=object)
    plain = Module(w, rows[:1], rows[1:2], rows[2:], one, one[0] * 0, np.array([[F(1), F(-1)]], dtype=object), one)
    return replace(plain, **changes)


TOKENS = [np.array([F(a), F(b)], dtype=object) for a, b in ((1, 2), (-1, 1), (3, F(1, 2)))]


def test_the_whole_module_notices_a_wrong_update():
    """Negative twin: each selector row of the update matters, B, C and the clock."""
    frozen = module()
    target = module(W_B=np.array([[F(2), F(1), F(0)]], dtype=object), W_dn=np.array([[F(1), F(0), F(3)]], dtype=object))
    found = absorb_selectors(frozen.W_in, frozen.selectors, target.W_in, target.selectors)
    right = target.run(TOKENS)
    assert np.all(frozen.run(TOKENS, frozen.W_in + found.update) == right)
    for row in range(3):
        spoiled = frozen.W_in + found.update
        spoiled[row, 0] += F(1, 1000)
        assert np.any(frozen.run(TOKENS, spoiled) != right), row


def test_values_are_not_touched():
    """The value path has rows of its own: another W_in changes no value, so with B = 0 the outputs stay 0."""
    silent = module(W_B=np.array([[F(0)] * 3], dtype=object))
    assert not np.any(silent.run(TOKENS))
    assert not np.any(silent.run(TOKENS, silent.W_in * F(5)))
    assert np.any(module().run(TOKENS) != module().run(TOKENS, module().W_in * F(5)))


def test_rank_is_not_off_by_one():
    found = match_rows(np.eye(3, dtype=int).tolist(), [[0, 0]] * 3, [[1, 2], [2, 4], [3, 6]])
    assert found.rank == 1 == linalg.rank(found.update)
    assert found.left.shape == (3, 1)
    assert found.right.shape == (1, 2)
    nothing = match_rows([[1, 0]], [[1], [1]], [[1]])
    assert nothing.rank == 0
    assert not np.any(nothing.update)


@given(matrices(2, 3, 2), matrices(3, 2, 2), matrices(2, 2, 2))
def test_row_matching_is_least(s, w, wanted):
    """No update of smaller rank exists: S Δ is the gap, and a product has no more rank than a factor."""
    found = match_rows(s, w, wanted)
    gap = np.array(wanted, dtype=object) - linalg.matmul(np.array(s, dtype=object), np.array(w, dtype=object))
    if found.possible:
        assert np.all(linalg.matmul(np.array(s, dtype=object), found.update) == gap)
        assert found.rank == linalg.rank(found.update) == linalg.rank(gap)
    else:
        assert linalg.rank(np.concatenate([np.array(s, dtype=object), gap], axis=1)) > linalg.rank(s)


def test_broken_dependence_is_shown():
    found = match_rows([[1, 0], [2, 0]], [[0], [0]], [[1], [3]])
    assert not found.possible
    y = np.asarray(found.certificate)
    assert not np.any(y @ np.array([[1, 0], [2, 0]], dtype=object))
    assert np.any(y @ np.array([[1], [3]], dtype=object))
    assert match_rows([[1, 0], [2, 0]], [[0], [0]], [[1], [2]]).possible  # negative twin: the dependence is kept


# -- gauge ----------------------------------------------------------------------------------------------------------------


def test_gauge_example():
    """S = I, S* = diag(2, 1/2): the formula for maps says 2, the gauge g = 1/2 says 0."""
    found = absorb_selectors(EYE, EYE, EYE, [[2, 0], [0, "1/2"]])
    assert found.rank == 2
    least, g = least_gauge_rank(EYE, [[2, 0], [0, "1/2"]])
    assert least == 0
    assert g == sympy.Rational(1, 2)
    assert gauge_rank_bounds(EYE, [[2, 0], [0, "1/2"]], 1).gauge == (F(1, 2),)
    assert least_gauge_rank(EYE, [[2, 0], [0, "1/3"]])[0] == 1  # negative twin: B asks 1/2, C asks 1/3
    assert least_gauge_rank(EYE, [[2, 0], [0, 2]])[0] == 1


def test_an_irrational_gauge_is_found():
    """Rows (g, 2) and (1, g): rank one at g = √2 only, and no rational gauge gets there."""
    read, wanted = [[0, -2], [0, -1]], [[1, 0], [1, 0]]
    least, g = least_gauge_rank(read, wanted)
    assert least == 1
    assert g**2 == 2
    assert gauge_rank_bounds(read, wanted, 1) == type(gauge_rank_bounds(read, wanted, 1))(1, 1, None)
    for x in (F(1), F(-1), F(3, 2), F(7, 5)):
        assert linalg.rank(gauge_gap(np.array(read, dtype=object), np.array(wanted, dtype=object), 1, [x])) == 2


def test_a_gauge_is_not_zero():
    """Rows (g, 0) and (0, 1): the determinant is g, which vanishes at g = 0 alone, and no state is scaled by 0."""
    assert least_gauge_rank([[0, 0], [0, 0]], [[1, 0], [0, 1]])[0] == 2


def test_complex_gauges_do_not_count():
    """Rows (g, −2) and (1, g): g² = −2 has no real root."""
    assert least_gauge_rank([[0, 2], [0, -1]], [[1, 0], [1, 0]])[0] == 2


@given(matrices(3, 2, 1), matrices(3, 2, 1))
def test_least_gauge_rank_against_a_scan(read, wanted):
    least, g = least_gauge_rank(read, wanted)
    r, w = (np.array(m, dtype=object) for m in (read, wanted))
    scan = [F(p, q) for p, q in product((-3, -2, -1, 1, 2, 3), (1, 2, 3))]
    assert least <= min(linalg.rank(gauge_gap(r, w, 1, [x])) for x in scan)
    if g.is_Rational:
        assert linalg.rank(gauge_gap(r, w, 1, [F(int(g.p), int(g.q))])) == least


def test_two_states_each_with_a_gauge():
    read = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]]
    wanted = rescale(read, 2, [F(1, 2), -3])
    found = gauge_rank_bounds(read, wanted, 2)
    assert (found.lower, found.upper, found.gauge) == (0, 0, (F(2), F(-1, 3)))
    one_gauge_for_both = min(
        linalg.rank(gauge_gap(np.array(read, dtype=object), wanted, 2, [x, x])) for x in (F(2), F(-1, 3), F(1))
    )
    assert one_gauge_for_both > 0  # negative twin: states have factors of their own


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_lower_bound_is_that_of_the_worst_state(order):
    """One state needs rank 2 at every gauge, the other none: the bound is 2 whichever comes first."""
    read = np.array(
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=object
    )  # B_1, B_2, C_1, C_2, dn
    wanted = read.copy()
    wanted[0], wanted[2] = read[1], read[3]  # the first state is to read what the second reads
    rows = [*order, 2 + order[0], 2 + order[1], 4]
    found = gauge_rank_bounds(read[rows], wanted[rows], 2)
    assert (found.lower, found.upper) == (2, 2)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_gauge_leaves_outputs_alone(n):
    """In float64 with the softplus clock: rescaled selectors give the same outputs, B and C scaled alike do not."""
    rng = np.random.default_rng(n)
    d, m, r, length = 8, 3, 2, 10
    weights = [rng.standard_normal(size) for size in ((d, m), (n, d), (n, d), (r, d), (2, r))]
    base = Module(*weights, rng.standard_normal(2), rng.standard_normal((2, m)), np.exp(rng.standard_normal((2, n))))
    g = np.exp(rng.standard_normal((n, 1)))
    u = rng.standard_normal((length, m))
    right = base.run(u)
    scaled = replace(base, W_B=base.W_B * g, W_C=base.W_C / g).run(u)
    allowed = budget(length * d, 100) * np.abs(right).max()
    assert np.abs(scaled - right).max() <= allowed
    assert np.abs(replace(base, W_B=base.W_B * g, W_C=base.W_C * g).run(u) - right).max() > allowed


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: match_rows([[1, 0]], [[1]], [[1]]), InvalidInput, "S"),
        (lambda: absorb_selectors([[1]], [[1]], [[1]], [[1, 2]]), InvalidInput, "target_selectors"),
        (lambda: absorb_selectors([[1.0]], [[1]], [[1]], [[1]]), KindMismatch, "1.0"),
        (lambda: absorb_selectors([[float("nan")]], [[1]], [[1]], [[1]]), InvalidInput, "nan"),
        (lambda: least_gauge_rank([[1]], [[1]]), InvalidInput, "shape"),
        (lambda: least_gauge_rank([[1] * 9] * 2, [[1] * 9] * 2), InvalidInput, "at most 8"),
        (lambda: gauge_rank_bounds([[1], [1]], [[1], [1]], 2), InvalidInput, "N = 2"),
        (lambda: gauge_rank_bounds([[1], [1]], [[1], [1]], 0), InvalidInput, "n_states"),
        (lambda: gauge_gap(np.zeros((2, 1)), np.zeros((2, 1)), 1, [0]), InvalidInput, "nonzero"),
        (lambda: rescale([[1], [1]], 1, [1, 2]), InvalidInput, "N = 1"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_complex_rows_have_no_gauge_here() -> None:
    with pytest.raises(InvalidInput, match="ints and Fractions"):
        least_gauge_rank([[gaussian(0, 1), 2], [3, 4]], [[1, 2], [3, 5]])
