"""Dual numbers against the rules of differentiation, difference quotients of polynomials, and numbers that must not enter."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import flint
import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from theory.core.dual import Dual, seed, watch_ties
from theory.core.errors import InvalidInput, KindMismatch
from theory.core.lti import LTI
from theory.core.scalars import gaussian
from theory.core.strategies import rationals, real_lti, vectors

F = Fraction


def parts(x: Any) -> tuple[Fraction, list[Fraction]]:
    return x.fraction, x.gradient()


@st.composite
def duals(draw: st.DrawFn, *, nonzero: bool = False) -> Dual:
    """v + g_1 ε_1 + g_2 ε_2 with free v and g."""
    x = seed([draw(rationals(nonzero=nonzero)), 0])
    scale, other = draw(rationals()), draw(rationals())
    return x[0] + (x[0] - x[0].fraction) * (scale - 1) + x[1] * other


@given(duals(), duals(nonzero=True))
def test_the_rules_of_differentiation(u: Dual, v: Dual) -> None:
    (a, da), (b, db) = parts(u), parts(v)
    assert parts(u + v) == (a + b, [p + q for p, q in zip(da, db, strict=True)])
    assert parts(u - v) == (a - b, [p - q for p, q in zip(da, db, strict=True)])
    assert parts(-u) == (-a, [-p for p in da])
    assert parts(u * v) == (a * b, [p * b + a * q for p, q in zip(da, db, strict=True)])
    assert parts(u / v) == (a / b, [(p * b - a * q) / b**2 for p, q in zip(da, db, strict=True)])
    assert parts(v.reciprocal()) == (1 / b, [-q / b**2 for q in db])
    assert parts(u / v * v) == parts(u)
    if any(da):  # the derivative of u² is 2 u u', not u'
        assert ((u * u).gradient() == da) == (2 * a == 1)


@given(duals(nonzero=True), rationals(nonzero=True), st.integers(-4, 4))
def test_mixed_operands_and_powers(u: Dual, q: Fraction, n: int) -> None:
    a, da = parts(u)
    assert parts(q + u) == parts(u + q) == (a + q, da)
    assert parts(u - q) == (a - q, da) and parts(q - u) == (q - a, [-p for p in da])
    assert parts(q * u) == parts(u * q) == (a * q, [p * q for p in da])
    assert parts(u / q) == (a / q, [p / q for p in da]) and parts(q / u) == (q / a, [-q * p / a**2 for p in da])
    assert parts(u**n) == (a**n, [n * a ** (n - 1) * p for p in da])
    assert (parts(u**n) == parts(u ** (n + 1))) == (a == 1 and not any(da))


@given(vectors(3, 2), vectors(4, 2))
def test_a_polynomial_against_its_difference_quotient(point: list[Fraction], c: list[Fraction]) -> None:
    """(f(x + t e_i) − f(x))/t is a polynomial in t; extrapolated to t = 0 from exact values it is the derivative."""

    def f(p: Any) -> Any:
        return c[0] * p[0] ** 3 + c[1] * p[0] * p[1] * p[2] + c[2] * p[1] ** 2 + c[3] * p[2]

    gradient = f(seed(point)).gradient()
    for i in range(3):
        quotients = []
        for t in (1, 2, 3):  # degree 2 in t: three values determine it, 3 q(1) − 3 q(2) + q(3) = q(0)
            moved = list(point)
            moved[i] += t
            quotients.append((f(moved) - f(point)) / t)
        assert gradient[i] == 3 * quotients[0] - 3 * quotients[1] + quotients[2]
        assert (gradient[i] == quotients[0]) == (quotients[0] == 3 * quotients[0] - 3 * quotients[1] + quotients[2])


def test_seed() -> None:
    x = seed([F(1, 2), 3, np.int64(4), flint.fmpq(2, 3)])
    assert [v.fraction for v in x] == [F(1, 2), 3, 4, F(2, 3)]
    assert [v.gradient() for v in x] == [[int(i == j) for j in range(4)] for i in range(4)]
    assert seed([]).shape == (0,) and repr(x[0]) == "Dual(1/2)"


def test_equality_and_hash_are_by_value() -> None:
    x, y = seed([F(1, 2), F(1, 2)])
    assert x == y == F(1, 2) and x != F(1, 3) and hash(x) == hash(F(1, 2)) and hash(seed([3])[0]) == hash(3)
    assert x != None and x != "1/2" and x != 0.25  # noqa: E711  (numbers of no exact kind are unequal, not an error)
    assert x < 1 and x > F(1, 3) and x <= y and x >= y and not x < y and not x > y


@pytest.mark.parametrize("stranger", [0.5, 1.0, 1j, None, "1/2", gaussian(0, 1), sympy.pi, float("nan"), np.float64(2)])
def test_numbers_that_are_not_rational_do_not_enter(stranger: Any) -> None:
    """int(0.5) = 0 would be a wrong number without a sound."""
    x = seed([F(1, 2)])[0]
    operations: list[Any] = [
        lambda: x + stranger,
        lambda: x * stranger,
        lambda: x / stranger,
        lambda: x > stranger,
        lambda: x < stranger,
        lambda: seed([stranger]),
    ]
    if not isinstance(stranger, str | None):
        operations += [lambda: stranger + x, lambda: stranger * x, lambda: stranger / x, lambda: x - stranger]
    for operation in operations:
        with pytest.raises(KindMismatch, match="met a dual number"):
            operation()


@pytest.mark.parametrize("half", [F(1, 2), flint.fmpq(1, 2), sympy.QQ(1, 2), sympy.Rational(1, 2)])
def test_rationals_of_every_library_enter(half: Any) -> None:
    x = seed([F(1, 3)])[0]
    assert parts(x + half) == (F(5, 6), [1]) and parts(x * half) == (F(1, 6), [F(1, 2)]) and parts(x / half) == (F(2, 3), [2])
    assert x < half and not x > half and parts(x - half) == (F(-1, 6), [1])


def test_arrays_work_entry_by_entry() -> None:
    x = seed([F(1, 2), 3])
    a = np.array([F(2), F(3)], dtype=object)
    for product in (x[0] * a, a * x[0], x[0] * np.array([2, 3]), np.array([2, 3]) * x[0]):
        assert [parts(v) for v in product] == [(1, [2, 0]), (F(3, 2), [3, 0])]
    assert [parts(v) for v in x[0] + a] == [(F(5, 2), [1, 0]), (F(7, 2), [1, 0])]
    assert [parts(v) for v in x[0] - a] == [(F(-3, 2), [1, 0]), (F(-5, 2), [1, 0])]
    assert [parts(v) for v in a - x[0]] == [(F(3, 2), [-1, 0]), (F(5, 2), [-1, 0])]
    assert [parts(v) for v in x[0] / a] == [(F(1, 4), [F(1, 2), 0]), (F(1, 6), [F(1, 3), 0])]
    assert [parts(v) for v in a / x[0]] == [(4, [-8, 0]), (6, [-12, 0])]
    assert (x[0] * np.array([2])).shape == (1,)  # not swallowed into a scalar
    assert parts(a @ x) == (10, [2, 3]) and parts(np.int64(2) * x[1]) == (6, [0, 2])


def test_division_by_zero_and_powers_that_are_no_integers() -> None:
    x = seed([0])[0]
    for operation in (lambda: 1 / x, lambda: x / 0, lambda: x / x, lambda: x**-1):
        with pytest.raises(ZeroDivisionError):
            operation()
    assert parts(x**0) == (1, [0]) and parts(x**1) == (0, [1]) and parts(x**2) == (0, [0])
    power: Any
    for power in (F(1, 2), 0.5, 2.0, x):
        with pytest.raises(InvalidInput, match="integer powers only"):
            x**power


# -- ties -----------------------------------------------------------------------------------------------------------------


def relu(v: Any) -> Any:
    return v if v > 0 else 0 * v


def test_ties_of_what_depends_on_the_parameters_are_kinks() -> None:
    with watch_ties() as ties:
        x, y = seed([F(1), F(1)])
        relu(x - 2)  # no tie
        relu(0 * x)  # 0 at every point
        _ = (0 * x) == (0 * y), (0 * x) * y <= 0, x <= x
        assert ties == []
        relu((x - 1) * (x - 1))  # value 0, gradient 0: a branch may still change there alone
        assert ties == [0]
        relu(x - 1)
        _ = x >= y  # one value, two slopes
        _ = x < F(1)
        _ = x == 1, x != y
        assert ties == [0, 0, 1, 1, 1, 1]
        _ = bool(x - y), abs(x - 1)
        assert ties[6:] == [0, 0]
    relu(x - 1)  # outside the context nothing is kept
    assert len(ties) == 8


def test_watches_nest() -> None:
    x = seed([F(0)])[0]
    with watch_ties() as outer:
        with watch_ties() as inner:
            relu(x)
        assert inner == [0] and outer == []
        relu(x)
        assert outer == [0] and inner == [0]


# -- through the systems --------------------------------------------------------------------------------------------------


@given(real_lti(max_states=3), vectors(3))
def test_the_outputs_of_a_channel(system: LTI, x: list[Fraction]) -> None:
    """∂y_t/∂c_n = h_{t,n}, and ∂y_1/∂a_n = 0, ∂y_2/∂a_n = c_n b_n x_1 from the zero state."""
    n = system.n_states
    p = seed([*system.a, *system.c])
    y, _ = LTI(p[:n], system.b, p[n:], kind="exact", check_stable=False).run(x)
    states, h = [], system.zero_state()
    for token in x:
        h = system.step(h, token)[0]
        states.append(h)
    for t in range(3):
        assert y[t].fraction == system.run(x)[0][t]
        assert y[t].gradient()[n:] == list(states[t])
    assert y[0].gradient()[:n] == [0] * n
    expected = [c * b * x[0] for c, b in zip(system.c, system.b, strict=True)]
    assert y[1].gradient()[:n] == expected
    assert (y[2].gradient()[:n] == expected) == all(
        c * b * (2 * a * x[0] + x[1]) == e for a, b, c, e in zip(system.a, system.b, system.c, expected, strict=True)
    )
