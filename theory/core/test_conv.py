"""A convolution in front of a system against polynomial products and plain loops; its window is part of the state."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from theory.core.conv import Conv, ConvState
from theory.core.errors import InvalidInput, InvalidSystem, KindMismatch
from theory.core.lti import LTI
from theory.core.scalars import gaussian
from theory.core.selective import SelectiveSSM
from theory.core.strategies import any_lti, inputs, matrices, rationals, real_lti, selective, vectors
from theory.core.tolerance import close

F = Fraction


def filtered(taps: list[Fraction], bias: Fraction, window: list[Fraction], x: list[Fraction]) -> list[Fraction]:
    """z_t = Σ_j w_j x_{t−j} + bias, tap 0 on the current token, the window being what came before (oldest first)."""
    line = [*window, *x]
    start = len(window)
    return [bias + sum((w * line[start + t - j] for j, w in enumerate(taps)), F(0)) for t in range(len(x))]


@given(any_lti(3), st.integers(1, 4), st.data())
def test_in_front_of_a_channel(system: LTI, width: int, data: Any) -> None:
    """Filter, then run, from any window and state; reversed taps are another system."""
    taps, bias = data.draw(vectors(width)), data.draw(rationals())
    x, window, h = data.draw(inputs(4)), data.draw(vectors(width - 1)), data.draw(vectors(system.n_states))
    conv = Conv(taps, system, bias)
    assert conv.width == width and conv.kind == "exact"
    y, last = conv.run(x, ConvState(np.array(window, dtype=object), np.array(h, dtype=object)))
    z = filtered(taps, bias, window, x)
    expected, expected_h = system.run(z, h)
    assert list(y) == list(expected) and list(last.h) == list(expected_h)
    assert list(last.window) == [*window, *x][len(x) :]
    gain = LTI([0], [1], [1])  # the identity: shows the conv outputs themselves
    assert list(Conv(taps, gain, bias).run([1, 0, 0, 0])[0][:width]) == [v + bias for v in taps]
    backwards = list(Conv(taps[::-1], gain, bias).run([1] + [0] * (width - 1))[0])
    assert (backwards == [v + bias for v in taps]) == (taps == taps[::-1])


@given(real_lti(max_states=3), st.data())
def test_the_kernel_is_the_product_of_taps_and_kernel(system: LTI, data: Any) -> None:
    """Impulse responses multiply as polynomials (numpy.convolve on objects); delaying the taps by one does not."""
    taps = data.draw(vectors(3, nonzero=True))
    impulse = [F(1)] + [F(0)] * 4
    y, _ = Conv(taps, system).run(impulse)
    product = np.convolve(np.array(taps, dtype=object), system.kernel(5))[:5]
    assert list(y) == list(product)
    late = Conv([0, *taps], system).run(impulse)[0]
    assert list(late[1:]) == list(product[:4]) and (list(late) == list(product)) == (not any(product))


@given(real_lti(max_states=3), st.data())
def test_the_last_state_continues_the_run(system: LTI, data: Any) -> None:
    """Cut anywhere; forgetting the window while keeping h changes the next output by w_1 c·b x (or not at all if that is 0)."""
    taps, x, cut = data.draw(vectors(3, nonzero=True)), data.draw(inputs(6)), data.draw(st.integers(0, 6))
    conv = Conv(taps, system, bias=F(1, 2))
    whole, last = conv.run(x)
    first, middle = conv.run(x[:cut])
    second, end = conv.run(x[cut:], middle)
    assert list(first) + list(second) == list(whole)
    assert list(end.window) == list(last.window) and list(end.h) == list(last.h)
    if 0 < cut < 6:
        forgetful = conv.run(x[cut:], ConvState(conv.zero_state().window, middle.h))[0]
        lost = taps[1] * middle.window[1] + taps[2] * middle.window[0]
        assert second[0] - forgetful[0] == lost * system.kernel(1)[0]


@given(selective(), st.integers(1, 3), st.data())
def test_in_front_of_s6(system: SelectiveSSM, width: int, data: Any) -> None:
    """Each channel has taps of its own: (D, K), bias (D,) or one number for all."""
    d = system.n_channels
    taps, bias = data.draw(matrices(d, width, 2)), data.draw(vectors(d, 2))
    x, window = data.draw(matrices(3, d, 2)), data.draw(matrices(width - 1, d, 2))
    h = data.draw(matrices(d, system.n_states, 2))
    conv = Conv(taps, system, bias)
    start = np.array(window, dtype=object).reshape(width - 1, d)
    y, last = conv.run(x, ConvState(start, np.array(h, dtype=object)))
    columns = [filtered(taps[i], bias[i], [row[i] for row in window], [row[i] for row in x]) for i in range(d)]
    z = [[columns[i][t] for i in range(d)] for t in range(3)]
    expected, expected_h = system.run(z, h)
    assert np.array_equal(y, expected) and np.array_equal(last.h, expected_h)
    assert last.window.tolist() == [*window, *x][3:]
    same = Conv(taps, system, F(1, 3)).run(x)[0]
    assert np.array_equal(same, Conv(taps, system, [F(1, 3)] * d).run(x)[0])
    one_tap = [[row[0]] for row in taps]  # K = 1 is a gain: no window at all
    gain, state = Conv(one_tap, system).run(x)
    assert state.window.shape == (0, d)
    assert np.array_equal(gain, system.run([[v * w[0] for v, w in zip(row, taps, strict=True)] for row in x])[0])


def test_worked_example() -> None:
    """w = (2, −1), a = 1/2, b = c = 1 on x = (1, 1): z = (2, 1), y = (2, 2); reversed taps give z = (−1, 1)."""
    system = LTI([F(1, 2)], [1], [1])
    y, state = Conv([2, -1], system).run([1, 1])
    assert list(y) == [2, 2] and list(state.window) == [1] and list(state.h) == [2]
    assert list(Conv([-1, 2], system).run([1, 1])[0]) == [-1, F(1, 2)]
    assert repr(Conv([2, -1], system)).startswith("Conv(K=2, LTI(")


def test_floats_and_symbols() -> None:
    taps, x = [0.5, -0.25, 2.0], np.array([1.0, 3.0, -2.0, 0.5])
    floats = Conv(taps, LTI([0.9, -0.3], [1.0, 2.0], [0.5, 1.0]), 0.125)
    exact = Conv([F(v) for v in taps], LTI([F(0.9), F(-0.3)], [1, 2], ["1/2", 1]), F(1, 8))
    expected = np.array([float(v) for v in exact.run([F(v) for v in x])[0]])
    got = floats.run(x)[0]
    assert got.dtype == np.float64 and close(got, expected, 40, cond=10)
    assert not close(Conv(taps, floats.system, 0.125 + 1e-9).run(x)[0], expected, 40, cond=10)
    w, v = sympy.symbols("w v")
    symbolic = Conv([w, 1], LTI([F(1, 2)], [1], [1]))
    assert symbolic.kind == symbolic.system.kind == "symbolic"  # an exact system joins its symbolic taps
    y = symbolic.run([v, 1])[0]
    assert sympy.expand(y[1] - (w * v / 2 + v + w)) == 0 and sympy.expand(y[1] - (w * v + v + w)) != 0
    complex_taps = Conv([1j, 1.0], LTI([0.5], [1.0], [1.0]))
    assert complex_taps.kind == "complex128" and list(complex_taps.run([1.0, 0.0])[0]) == [1j, 0.5j + 1]


def test_empty_sequences_keep_the_state() -> None:
    conv = Conv([1, 2], LTI(["1/2"], [1], [1]))
    y, state = conv.run([], ConvState(np.array([5]), np.array([7])))
    assert y.shape == (0,) and list(state.window) == [5] and list(state.h) == [7]


S6 = SelectiveSSM([[1, 2]], [[1, 1]], dt=1, decay=[["1/2"], ["1/3"]])
CHANNEL = LTI(["1/2"], [1], [1])


@pytest.mark.parametrize(
    ("taps", "system", "bias", "error", "says"),
    [
        ([], CHANNEL, 0, InvalidSystem, "K = 0"),
        ([[], []], S6, 0, InvalidSystem, "K = 0"),
        ([[1, 2]], CHANNEL, 0, InvalidInput, "taps: expected 1 dimension"),
        ([1, 2], S6, 0, InvalidInput, "taps: expected 2 dimension"),
        ([[1, 2]], S6, 0, InvalidSystem, r"taps have shape \(1, 2\), expected \(D, K\) with D = 2"),
        ([[1, 2], [3]], S6, 0, InvalidInput, "different lengths"),
        ([[1, 2]] * 2, S6, [1, 2, 3], InvalidSystem, r"bias has shape \(3,\), expected a number or \(D,\) = \(2,\)"),
        ([[1, 2]] * 2, S6, [1], InvalidSystem, r"bias has shape \(1,\)"),
        ([0.5], CHANNEL, 0, KindMismatch, "mixed"),
        ([1], CHANNEL, 0.5, KindMismatch, "mixed"),
        ([1], LTI([0.5], [1.0], [1.0]), float("nan"), InvalidInput, "bias.*nan"),
        ([1], "LTI", 0, InvalidSystem, "'LTI'"),
        ([gaussian(0, 1)], LTI([gaussian(0, "1/2")], [1], [1], half=True), 0, InvalidSystem, "must be real, got I"),
        ([1.0], LTI([0.5j], [1.0], [1.0], half=True), 1j, InvalidSystem, "must be real"),
    ],
)
def test_unusable_convolutions(taps: Any, system: Any, bias: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Conv(taps, system, bias)


@pytest.mark.parametrize(
    ("window", "h", "error", "says"),
    [
        ([1, 2], [1], InvalidInput, r"window has shape \(2,\), expected \(1,\)"),
        ([], [1], InvalidInput, r"window has shape \(0,\)"),
        ([1], [1, 2], InvalidInput, r"h0 has shape \(2,\)"),
        ([0.5], [1], KindMismatch, r"the conv window\[0\].*0.5"),
        ([1], [0.5], KindMismatch, "h0"),
    ],
)
def test_unusable_states(window: Any, h: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Conv([1, 2], CHANNEL).run([1], ConvState(np.array(window), np.array(h)))


def test_unusable_inputs() -> None:
    with pytest.raises(InvalidInput, match=r"shape \(L,\)"):
        Conv([1, 2], CHANNEL).run([[1]])
    with pytest.raises(InvalidInput, match="D = 2"):
        Conv([[1, 2]] * 2, S6).run([[1]])


def test_outputs_of_a_module_without_readout_are_refused():
    silent, read = (SelectiveSSM([[1]], w_c, dt=1, decay=[["1/2"]]) for w_c in (None, [[1]]))
    with pytest.raises(InvalidInput, match="built without W_C"):
        Conv([[1, 1]], silent).run([[1], [2]])
    assert Conv([[1, 1]], read).run([])[0].shape == read.run([])[0].shape == (0, 1)
    assert Conv([1, 1], LTI(["1/2"], [1], [1])).run([])[0].shape == (0,)
