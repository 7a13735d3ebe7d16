"""lora_limits.mamba2: checks, the least rank against a search over gauges, poles against an eliminated decay."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given

from theory.conftest import GLANCE, share
from theory.core import linalg
from theory.core.errors import InvalidInput
from theory.verification.claim import Verdict
from theory.verification.refutation import Refuted

from . import claim as own
from .block import Mamba2Block, annihilated, gap_responses, reads_of_out_proj
from .gauge import best_gauge, floor, update_rank
from .instances import Task, exact, one_head, swapped_groups, swapped_heads


def test_smallest_examples() -> None:
    e1 = exact([[1, 0]])
    assert floor(e1, e1, exact([[1, 1]]), exact([[1, 1]])) == 2
    assert floor(e1, e1, exact([[1, 1]]), e1) == 1
    assert floor(e1, e1, exact([[2, 0]]), exact([[Fraction(1, 2), 0]])) == 0
    scaled = (e1, e1, exact([[2, 0]]), exact([[Fraction(1, 2), 0]]))
    assert best_gauge(*scaled).tolist() == [[Fraction(1, 2)]] and update_rank(*scaled, best_gauge(*scaled)) == 0
    assert update_rank(*scaled, exact([[1]])) == 2  # no gauge


def test_dependent_rows_are_refused() -> None:
    with pytest.raises(InvalidInput, match="independent rows"):
        best_gauge(exact([[0, 0]]), exact([[1, 0]]), exact([[1, 0]]), exact([[1, 0]]))


@given(own.gauged())
@share(0.375)
def test_no_small_gauge_beats_the_constructed_one(g: own.Gauged) -> None:
    """Every invertible G with entries −1, 0, 1 (N ≤ 2), against the construction where that applies."""
    n = len(g.gauge)
    assume(n <= 2)
    for entries in product((-1, 0, 1), repeat=n * n):
        gauge = exact([entries[i * n : (i + 1) * n] for i in range(n)])
        if linalg.determinant(gauge) != 0:
            assert update_rank(*g.four, gauge) >= floor(*g.four)
    if all(linalg.rank(m) == n for m in g.four):
        assert update_rank(*g.four, best_gauge(*g.four)) == floor(*g.four)


def test_poles_of_one_head() -> None:
    """Decay 1/2 at rest: every response is half of the one before, whatever the projections; with rate 2 a quarter."""
    other = one_head(W_x=(exact([[3]]),), W_dt=(exact([[2]])[0],), W_C=(exact([[-1]]),))
    u = exact([[1]])[0]
    first, second, third = gap_responses(other, u, u, 3)[:, 0]
    assert first != 0 and second == first / 2 and third == first / 4
    slow = gap_responses(replace(other, rates=(2,)), u, u, 2)[:, 0]
    assert slow[1] == slow[0] / 4
    assert annihilated(gap_responses(other, u, u, 3), [Fraction(1, 2)])
    assert not annihilated(gap_responses(other, u, u, 3), [Fraction(1, 4)])
    assert own.pole_seen(Task(one_head(), one_head(rates=(2,)), 2)) and not own.pole_seen(Task(one_head(), other, 2))


def test_two_new_poles_need_one_gap_more_than_one() -> None:
    """Poles 1/2, 1/4 against 1/8, 1/16: the values agree on H + 1 = 3 gaps and differ on the fourth."""

    def two(rates: tuple[int, int], values: tuple[int, int]) -> Mamba2Block:
        one = one_head()
        return replace(
            one,
            W_x=tuple(exact([[v]]) for v in values),
            W_out=one.W_out * 2,
            W_dt=one.W_dt * 2,
            bias=one.bias * 2,
            rates=rates,
            D_skip=one.D_skip * 2,
        )

    u = exact([[1]])[0]
    student, target = two((1, 2), (-1, 14)), two((3, 4), (56, -64))
    ours, theirs = (gap_responses(b, u, u, 4)[:, 0] for b in (student, target))
    assert np.all(ours[:3] == theirs[:3]) and ours[3] != theirs[3]
    assert not own.pole_seen(Task(student, target, 3)) and own.pole_seen(Task(student, target, 4))


def test_exchanged_groups() -> None:
    equal = swapped_groups()
    assert not own.identified(equal) and own.same_outputs(equal.frozen, equal.target, equal)
    assert own.identified(Task(replace(equal.frozen, rates=(1, 2)), replace(equal.target, rates=(1, 2))))  # negative twin


def test_exchanged_heads() -> None:
    equal = swapped_heads()
    assert reads_of_out_proj(equal.frozen, equal.target) is None and not own.head_by_head(equal)
    different = Task(replace(equal.frozen, rates=(1, 2)), replace(equal.target, rates=(1, 2)))
    assert own.head_by_head(different)  # negative twin
    own.check_out_proj(different)


def test_another_function_is_no_gauge() -> None:
    task = Task(one_head(), one_head(W_B=(exact([[2]]),)))
    own.check_selectors(task)
    assert own.total_floor(task) == 1 and not own.same_outputs(task.frozen, task.target, task)
    with pytest.raises(Refuted):
        own.check_poles(Task(one_head(), one_head(rates=(3,)), 2))


@pytest.mark.parametrize("check", own.CLAIM.checks, ids=lambda c: c.name)
def test_checks(check: own.Check) -> None:
    assert check.run(GLANCE).verdict in (Verdict.PROVED, Verdict.EXACT)


@pytest.mark.parametrize("assumption", own.ASSUMPTIONS, ids=lambda a: a.name)
def test_assumptions(assumption: own.Assumption) -> None:
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED
