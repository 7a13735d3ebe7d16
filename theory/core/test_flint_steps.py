"""Flint's rationals give what Fractions give, number for number; other numbers are left to Fractions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import flint
import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from theory.core import flint_steps
from theory.core.errors import InvalidInput
from theory.core.scalars import gaussian
from theory.core.selective import SelectiveSSM
from theory.core.ssd import Mamba2Head
from theory.core.strategies import mamba2_head, matrices, selective

HUGE = st.sampled_from([Fraction(10**400), Fraction(-1, 10**400), Fraction(0), Fraction(1, 3)])
System = SelectiveSSM | Mamba2Head


def width(system: System) -> int:
    return system.d_input if isinstance(system, Mamba2Head) else system.n_channels


@given(st.data())
def test_the_same_numbers(data: st.DataObject) -> None:
    system: System = data.draw(st.one_of(selective(), mamba2_head(independent=False)))
    d = width(system)
    shape = system.zero_state().shape
    tokens = data.draw(st.one_of(matrices(3, d), st.lists(st.lists(HUGE, min_size=d, max_size=d), max_size=3)))
    start = data.draw(st.one_of(st.none(), st.lists(HUGE, min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))))
    h0 = None if start is None else np.array(start, dtype=object).reshape(shape)
    ys, last = system.run(tokens, h0)
    plain, plain_last = system._steps(system.inputs(tokens), system.zero_state() if h0 is None else system.state(h0))
    assert ys.shape == plain.shape and np.array_equal(ys, plain) and np.array_equal(last, plain_last)
    assert all(type(v) is Fraction for v in (*ys.ravel(), *last.ravel()))


def test_a_clock_is_given_fractions_and_every_token() -> None:
    seen: list[Any] = []

    def clock(token: Any) -> tuple[Any, Any]:
        seen.append(list(token))
        return 1, Fraction(1, 2 + token[0] ** 2)

    head = Mamba2Head([[1]], [[1]], [[1]], clock=clock)
    ys, last = head.run([[1], [2]])
    assert seen == [[1], [2]] and all(type(v) is Fraction for token in seen for v in token)
    assert list(ys.ravel()) == [1, Fraction(1, 6) * 2 + 8] and last[0, 0] == Fraction(1, 6) + 4


def test_a_recurrence_is_moved_and_what_is_no_fraction_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: a state that is complex is left to the slower way."""
    met: list[type] = []
    step = SelectiveSSM.step

    def watched(self: SelectiveSSM, h: Any, z: Any) -> Any:
        met.append(type(z[0]))
        return step(self, h, z)

    monkeypatch.setattr(SelectiveSSM, "step", watched)
    system = SelectiveSSM([[1]], [[1]], dt=1, decay=[["1/2"]])
    assert system.run([[3]])[0][0, 0] == 27 and met == [flint.fmpq]
    met.clear()
    assert system.run([[3]], [[gaussian(0, 1)]])[0][0, 0] == gaussian(27, "3/2") and met == [Fraction]
    with pytest.raises(flint_steps._OtherNumber):
        flint_steps.in_flint(np.array([0.5]))
    with pytest.raises(flint_steps._OtherNumber):
        flint_steps.in_flint(True)


def counting(ticks):
    """A clock that remembers how often it was asked."""
    left = iter(ticks)
    return lambda token: next(left)


@pytest.mark.parametrize("last", [np.array([3]), np.array([sympy.sqrt(2)], dtype=object)], ids=["integers", "symbols"])
def test_a_clock_is_asked_once_for_each_token(last):
    """Where its answer is no Fraction, the recurrence starts anew with the answers that were given."""
    halves = [np.array([[Fraction(1, q)]], dtype=object) for q in (2, 3, 5)]
    ticks = list(zip((np.array([1]), np.array([2]), last), halves, strict=True))
    got = SelectiveSSM([[1]], [[1]], clock=counting(ticks), kind="exact").run([[1]] * 3)
    state, expected = 0, []
    for dt, decay in ticks:
        state = decay[0, 0] * state + dt[0]
        expected.append(state)
    assert [sympy.expand(sympy.sympify(y) - sympy.sympify(e)) for y, e in zip(got[0][:, 0], expected, strict=True)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (1, "expected a pair"),
        (None, "expected a pair"),
        (([1, 1, 1], [[1]]), r"dt has shape \(3,\), expected \(1,\)"),
        (([1], [1]), r"decay has shape \(1,\), expected \(1, 1\)"),
        ((np.array([1.0]), np.array([[0.5]])), "was given to an exact system"),
        (([1], [["x"]]), "is not a rational number"),
    ],
)
def test_what_a_clock_may_not_answer(answer, error):
    with pytest.raises(InvalidInput, match=error):
        SelectiveSSM([[1]], [[1]], clock=lambda token: answer, kind="exact").run([[1], [2]])


@pytest.mark.parametrize("answer", [1, (1, [0.5]), (1, 0.5), ([1], Fraction(1, 2)), (1,)])
def test_what_a_clock_of_one_head_may_not_answer(answer):
    with pytest.raises(InvalidInput, match="clock"):
        Mamba2Head([[1]], [[1]], [[1]], clock=lambda token: answer).run([[1]])
    assert Mamba2Head([[1]], [[1]], [[1]], clock=lambda token: (1, "1/2")).run([[1]])[0][0, 0] == 1
