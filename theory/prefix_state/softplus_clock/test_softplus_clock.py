"""prefix_state.softplus_clock: checks, the smallest example, and a prefix that is run."""

from __future__ import annotations

import math
from fractions import Fraction

import flint
import pytest

from theory.conftest import GLANCE
from theory.core.errors import InvalidInput
from theory.verification.claim import Verdict
from theory.verification.refutation import Refuted

from . import claim as own
from .channel import Channel, bracket

SMALLEST = Channel(Fraction(1), Fraction(0), (Fraction(-1, 2), Fraction(-1)))


def test_six_tokens() -> None:
    found = bracket(SMALLEST, Fraction(1), Fraction(1, 4))
    assert found is not None and found.waits == 4 and found.length == 6
    assert bracket(SMALLEST, Fraction(1), Fraction(2)) is None and bracket(SMALLEST, Fraction(1), Fraction(0)) is None


def test_the_prefix_in_floats() -> None:
    """The first token found by bisection, all six run with math.exp."""
    found = bracket(SMALLEST, Fraction(1), Fraction(1, 4))
    assert found is not None
    low, high = 0.0, 1e3
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if math.log1p(math.exp(middle)) * middle**2 < float(found.first_mass) else (low, middle)
    g = [0.0, 0.0]
    for z in (low, 0, 0, 0, 0, float(found.low)):
        dt = math.log1p(math.exp(z))
        g = [math.exp(a * dt) * x + dt * z * z for a, x in zip((-0.5, -1), g, strict=True)]
    assert g == pytest.approx([1, 0.25])


def test_a_run_by_hand() -> None:
    g1, g2 = SMALLEST.run([flint.arb(0)])
    assert g1 == 0 and g2 == 0
    g1, g2 = SMALLEST.run([flint.arb(1)])
    assert abs(float(g1) - math.log1p(math.e)) < 1e-12 and float(g1) == float(g2)


def test_bad_order() -> None:
    with pytest.raises(InvalidInput, match="slower state first"):
        Channel(Fraction(1), Fraction(0), (Fraction(-1), Fraction(-1, 2)))
    with pytest.raises(Refuted):
        own.check_signs(own.negative())


@pytest.mark.parametrize("check", own.CLAIM.checks, ids=lambda c: c.name)
def test_checks(check: own.Check) -> None:
    assert check.run(GLANCE).verdict in (Verdict.PROVED, Verdict.EXACT)


@pytest.mark.parametrize("assumption", own.ASSUMPTIONS, ids=lambda a: a.name)
def test_assumptions(assumption: own.Assumption) -> None:
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED


RATES = (Fraction(-1, 2), Fraction(-1))


@pytest.mark.parametrize(("halvings", "waits"), [(1, 2), (2, 4), (10, 20)])
def test_waits_at_a_tie(halvings: int, waits: int) -> None:
    """2^(−(k + 1)/2) < 2^−n asks for k + 1 > 2n: the tie k + 1 = 2n, which no ball tells, does not count."""
    assert SMALLEST.waits(Fraction(1, 2**halvings)) == waits
    assert SMALLEST.waits(Fraction(1, 2**halvings) + Fraction(1, 10**300)) == waits - 1


@pytest.mark.parametrize(
    ("beta", "g1", "share"),
    [
        (-50, Fraction(1), Fraction(1, 2)),
        (0, Fraction(10**400), Fraction(1, 10**400)),
        (0, Fraction(1), 1 - Fraction(1, 10**400)),
        (-1000, Fraction(1, 10**400), Fraction(1, 10)),
        (500, Fraction(1), Fraction(1, 2)),
    ],
)
@pytest.mark.parametrize("w", [-1, 0, 1])
def test_brackets_of_any_size(w: int, beta: int, g1: Fraction, share: Fraction) -> None:
    """Slow clocks, huge and tiny states, states next to the edge: the ends are certified on both sides of the state."""
    channel = Channel(Fraction(w), Fraction(beta), RATES)
    found = bracket(channel, g1, g1 * share)
    assert found is not None
    with flint.ctx.workprec(4000):
        low, high = (own.second_state(channel, g1, found.waits, z) for z in (found.low, found.high))
        target = flint.arb(flint.fmpq((g1 * share).numerator, (g1 * share).denominator))
        assert low < target < high and found.first_mass > 0
        rate = flint.arb(1) / 2 * channel.step(flint.arb(0))  # A_1 − A_2 = 1/2
        assert (-rate * (found.waits + 1)).exp() < flint.arb(flint.fmpq(share.numerator, share.denominator))
        assert not (-rate * found.waits).exp() < flint.arb(flint.fmpq(share.numerator, share.denominator))
