"""The deep S4 network against plain loops over Fractions: mixing, bias, skip, ReLU, and what it refuses."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from theory.core.deep_s4 import DeepS4, S4Layer
from theory.core.errors import InvalidInput, InvalidSystem, KindMismatch
from theory.core.lti import LTI
from theory.core.scalars import gaussian
from theory.core.strategies import any_lti, matrices, real_lti, vectors
from theory.core.tolerance import close

F = Fraction


def oracle(layer: S4Layer, x: list[list[Fraction]], h0: Any = None) -> list[list[Fraction]]:
    """y_t[i] = φ(Σ_j W_ij S4_j(x)_t + β_i + u_i x_t[i]), channel by channel and entry by entry."""
    d = layer.n_channels
    inner = [layer.channels[j].run([row[j] for row in x], None if h0 is None else h0[j])[0] for j in range(d)]
    out = []
    for t, row in enumerate(x):
        y = [sum((layer.W[i, j] * inner[j][t] for j in range(d)), layer.bias[i] + layer.u[i] * row[i]) for i in range(d)]
        out.append([max(v, F(0)) if layer.activation == "relu" else v for v in y])
    return out


@st.composite
def layers(draw: st.DrawFn, d: int, activation: Any = None) -> S4Layer:
    channels = draw(st.lists(any_lti(2), min_size=d, max_size=d))
    chosen: Any = activation or draw(st.sampled_from(["relu", "linear"]))
    return S4Layer(channels, draw(matrices(d, d, 2)), draw(vectors(d, 2)), draw(vectors(d, 2)), chosen)


@given(st.integers(1, 3), st.data())
def test_a_layer_by_the_definition(d: int, data: Any) -> None:
    layer = data.draw(layers(d))
    x = data.draw(matrices(3, d, 2))
    y, states = layer.run(x)
    assert y.tolist() == oracle(layer, x) and layer.kind == "exact"
    for j, state in enumerate(states):
        assert list(state) == list(layer.channels[j].run([row[j] for row in x])[1])
    linear = S4Layer(layer.channels, layer.W, layer.bias, layer.u, "linear")
    raw = linear.run(x)[0]
    moved = S4Layer(layer.channels, layer.W, layer.bias + 1, layer.u, "linear")
    assert moved.run(x)[0].tolist() == (raw + 1).tolist() != raw.tolist()
    skipping = S4Layer(layer.channels, layer.W, layer.bias, layer.u + 1, "linear")
    assert skipping.run(x)[0].tolist() == (raw + np.array(x, dtype=object)).tolist()
    turned = S4Layer(layer.channels, layer.W.T, layer.bias, layer.u, "linear").run(x)[0]  # mixing acts as W, not as Wᵀ
    inner = S4Layer(layer.channels, np.eye(d, dtype=int) * F(1), activation="linear").run(x)[0]
    assert (turned.tolist() == raw.tolist()) == ((inner @ layer.W).tolist() == (inner @ layer.W.T).tolist())


@given(layers(2, "relu"), st.data())
def test_relu_keeps_the_positive_part(layer: S4Layer, data: Any) -> None:
    """relu(y) − relu(−y) = y, exactly and entry by entry; the linear layer differs wherever an entry is negative."""
    x = data.draw(matrices(3, 2, 2))
    linear = S4Layer(layer.channels, layer.W, layer.bias, layer.u, "linear").run(x)[0]
    negated = S4Layer(layer.channels, -layer.W, -layer.bias, -layer.u, "relu").run(x)[0]
    y = layer.run(x)[0]
    assert (y - negated).tolist() == linear.tolist()
    assert (y.tolist() == linear.tolist()) == all(v >= 0 for v in linear.ravel())
    assert all(v >= 0 for v in y.ravel())


@given(layers(2), st.data())
def test_initial_states_and_continuation(layer: S4Layer, data: Any) -> None:
    """One state per channel, in the order of the channels; a run may be cut."""
    x = data.draw(matrices(4, 2, 2))
    whole, last = layer.run(x)
    first, middle = layer.run(x[:1])
    second, end = layer.run(x[1:], middle)
    assert first.tolist() + second.tolist() == whole.tolist()
    assert second.tolist() == oracle(layer, x[1:], middle)
    for got, expected in zip(end, last, strict=True):
        assert len(got) == len(expected) and all(not (p - q) for p, q in zip(got, expected, strict=True))


def test_states_are_not_swapped_between_channels() -> None:
    layer = S4Layer([LTI(["1/2"], [1], [1]), LTI(["1/3"], [1], [1])], [[1, 0], [0, 1]])
    assert layer.run([[0, 0]], [[2], [3]])[0].tolist() == [[1, 1]]
    assert layer.run([[0, 0]], [[3], [2]])[0].tolist() == [[F(3, 2), F(2, 3)]]
    assert layer.run([[0, 0]], [[2], None])[0].tolist() == [[1, 0]]


def test_worked_example() -> None:
    """D = 2, a = 1/2 and 0: inner (1, 2), (5/2, 1); W = [[1, −2], [0, 1]], β = (1, 0), u = (1, −1)."""
    channels = [LTI([F(1, 2)], [1], [1]), LTI([0], [1], [1])]
    x = [[1, 2], [2, 1]]
    layer = S4Layer(channels, [[1, -2], [0, 1]], [1, 0], [1, -1])
    assert layer.run(x)[0].tolist() == [[0, 0], [F(7, 2), 0]]
    assert S4Layer(channels, [[1, -2], [0, 1]], [1, 0], [1, -1], "linear").run(x)[0].tolist() == [[-1, 0], [F(7, 2), 0]]
    assert S4Layer(channels, [[1, 0], [-2, 1]], [1, 0], [1, -1]).run(x)[0].tolist() == [[3, 0], [F(11, 2), 0]]


@given(layers(2), layers(2), st.data())
def test_a_stack_is_a_composition(first: S4Layer, second: S4Layer, data: Any) -> None:
    x = data.draw(matrices(3, 2, 2))
    network = DeepS4([first, second])
    assert network.depth == 2
    through = second.run(first.run(x)[0])[0]
    assert network.run(x).tolist() == through.tolist()
    assert DeepS4([first]).run(x).tolist() == first.run(x)[0].tolist()
    other = first.run(second.run(x)[0])[0]
    assert (DeepS4([second, first]).run(x).tolist() == through.tolist()) == (other.tolist() == through.tolist())


def test_the_order_of_layers_is_seen() -> None:
    identity = [LTI([0], [1], [1])]
    double, shifted = S4Layer(identity, [[2]]), S4Layer(identity, [[1]], [1])
    assert DeepS4([double, shifted]).run([[3]]).tolist() == [[7]]
    assert DeepS4([shifted, double]).run([[3]]).tolist() == [[8]]


@given(real_lti(max_states=3), st.data())
def test_linear_layers_multiply_kernels(system: LTI, data: Any) -> None:
    """Depth two without activation is one convolution with the product of the kernels; a delayed factor is not."""
    other = data.draw(real_lti(max_states=2))
    network = DeepS4([S4Layer([s], [[1]], activation="linear") for s in (system, other)])
    response = network.run([[1], [0], [0], [0]])[:, 0]
    k, q = system.kernel(4), other.kernel(4)
    assert list(response) == [sum((k[i] * q[t - i] for i in range(t + 1)), F(0)) for t in range(4)]
    late = [F(0), *q[:3]]
    delayed = [sum((k[i] * late[t - i] for i in range(t + 1)), F(0)) for t in range(4)]
    assert delayed[1:] == list(response[:3]) and (delayed == list(response)) == (not any(response))


# -- kinds of numbers -----------------------------------------------------------------------------------------------------


def test_floats() -> None:
    system = LTI([0.9, -0.5], [1.0, 0.5], [0.25, 2.0])
    layer = S4Layer([system, system], [[0.5, -1.0], [1.0, 2.0]], [0.125, -0.5], [1.0, 0.0])
    exact = S4Layer([system.exactly()] * 2, [["1/2", -1], [1, 2]], [F(1, 8), F(-1, 2)], [1, 0])
    x = [[1.0, -2.0], [0.5, 3.0], [-1.5, 0.25]]
    y = layer.run(x)[0]
    expected = exact.run([[F(v) for v in row] for row in x])[0].astype(float)
    assert y.dtype == np.float64 and close(y, expected, 40, cond=10)
    assert np.any(y == 0) and np.any(y > 0)
    twin = S4Layer([system, system], layer.W, layer.bias + 1e-9, layer.u)
    assert not close(twin.run(x)[0], expected, 40, cond=10)


def test_half_stored_complex_channels_make_a_real_layer() -> None:
    """S4D's usual storage, with ReLU and beside real channels: the outputs of the closed real block."""
    pair = LTI([0.5 + 0.25j], [1.0 - 1j], [0.5 + 0.5j], half=True)
    real = LTI([0.5], [1.0], [1.0])
    layer = S4Layer([pair, real], [[1.0, 0.5], [-1.0, 2.0]], [0.1, 0.2])
    assert layer.kind == "float64"
    exact = S4Layer([pair.exactly(), real.exactly()], [[1, "1/2"], [-1, 2]], [F(0.1), F(0.2)])
    x = [[1.0, 2.0], [-3.0, 1.0], [0.5, -0.25]]
    expected = exact.run([[F(v) for v in row] for row in x])[0].astype(float)
    y = layer.run(x)[0]
    assert y.dtype == np.float64 and close(y, expected, 40, cond=10)
    unpaired = S4Layer([LTI(pair.a, pair.b, pair.c), real], layer.W, layer.bias, activation="linear")  # without the conjugate
    assert unpaired.kind == "complex128"
    assert not close(np.maximum(unpaired.run(x)[0].real, 0), expected, 40, cond=10)
    with pytest.raises(InvalidSystem, match="half=True"):
        S4Layer([LTI(pair.a, pair.b, pair.c), real], layer.W)
    with pytest.raises(InvalidSystem, match="half=True"):
        S4Layer([real], [[1j]])


def test_relu_of_a_number_without_a_sign() -> None:
    with pytest.raises(InvalidSystem, match=r"ReLU of I.*activation='linear'"):
        S4Layer([LTI([gaussian(0, "1/2")], [gaussian(0, 1)], [1])], [[1]]).run([[1]])
    w = sympy.Symbol("w")
    layer = S4Layer([LTI([F(1, 2)], [1], [1])], [[w]])
    with pytest.raises(InvalidSystem, match="ReLU of w"):
        layer.run([[1]])
    positive = sympy.Symbol("p", positive=True)
    assert S4Layer([LTI([F(1, 2)], [1], [1])], [[positive]]).run([[1], [-1]])[0].tolist() == [[positive], [0]]


def test_exact_channels_join_symbolic_weights() -> None:
    w, v = sympy.symbols("w v")
    layer = S4Layer([LTI([F(1, 2)], [1], [1])], [[w]], activation="linear")
    assert layer.kind == "symbolic"
    y = layer.run([[v], [1]])[0]
    assert sympy.expand(y[1, 0] - w * (v / 2 + 1)) == 0 and sympy.expand(y[1, 0] - w * (v + 1)) != 0


# -- bad input ------------------------------------------------------------------------------------------------------------

ONE = LTI(["1/2"], [1], [1])


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (([], [[1]]), InvalidInput, "non-empty sequence"),
        ((["S4"], [[1]]), InvalidInput, "'S4'"),
        (([ONE, ONE], [[1]]), InvalidSystem, r"W has shape \(1, 1\), expected \(D, D\) = \(2, 2\)"),
        (([ONE], [1]), InvalidInput, "W: expected 2 dimension"),
        (([ONE], [[1]], [1, 2]), InvalidSystem, r"bias \(2,\) and u \(1,\) must have shape \(D,\) = \(1,\)"),
        (([ONE], [[1]], None, [1, 2]), InvalidSystem, r"u \(2,\)"),
        (([ONE], [[1]], None, None, "gelu"), InvalidSystem, "unknown activation 'gelu'; choose 'relu' or 'linear'"),
        (([ONE], [[0.5]]), KindMismatch, "mixed"),
        (([ONE, LTI([0.5], [1.0], [1.0])], [[1, 0], [0, 1]]), KindMismatch, "mixed"),
        (([LTI([0.5], [1.0], [1.0])], [[float("nan")]]), InvalidInput, r"W\[0, 0\].*nan"),
    ],
)
def test_unusable_layers(arguments: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        S4Layer(*arguments)


def test_unusable_inputs() -> None:
    layer = S4Layer([ONE, ONE], [[1, 0], [0, 1]])
    x: Any
    for x in ([[1]], [1, 2], [[1, 2, 3]]):
        with pytest.raises(InvalidInput, match=r"expected shape \(L, D\) with D = 2"):
            layer.run(x)
    h0: Any
    for h0 in ([], [[1]], [[1]] * 3):
        with pytest.raises(InvalidInput, match=f"h0 holds {len(h0)} states, expected one for each of the D = 2"):
            layer.run([[1, 2]], h0)
    with pytest.raises(InvalidInput, match="h0 has shape"):
        layer.run([[1, 2]], [[1], [1, 2]])
    y, states = layer.run([], [[1], [2]])
    assert y.shape == (0, 2) and [list(s) for s in states] == [[1], [2]]
    assert DeepS4([layer, layer]).run([]).shape == (0, 2)


def test_unusable_stacks() -> None:
    layer = S4Layer([ONE], [[1]])
    wide, floats = S4Layer([ONE, ONE], [[1, 0], [0, 1]]), S4Layer([ONE.to("float64")], [[1.0]])
    with pytest.raises(InvalidSystem, match="at least one layer"):
        DeepS4([])
    for other in (wide, floats):
        with pytest.raises(InvalidSystem, match="same number of channels and kind"):
            DeepS4([layer, other])
    broken: Any = [layer, "layer"]
    with pytest.raises(InvalidSystem, match="layer 1 is 'layer'"):
        DeepS4(broken)


def test_relu_of_constants_is_decided() -> None:
    """cos(π/7) − cos(2π/7) + cos(3π/7) − 1/2 is 0, which sympy's > does not see; next to it there is a sign."""
    angles = [sympy.cos(k * sympy.pi / 7) for k in (1, 2, 3)]
    zero = angles[0] - angles[1] + angles[2] - sympy.Rational(1, 2)
    channel = LTI([sympy.Rational(1, 2)], [1], [1])
    assert S4Layer([channel], [[zero]]).run([[1]])[0][0, 0] == 0
    above = S4Layer([channel], [[zero + sympy.Rational(1, 10**100)]]).run([[1]])[0][0, 0]
    assert above == zero + sympy.Rational(1, 10**100)
    with pytest.raises(InvalidSystem, match="has no sign"):
        S4Layer([channel], [[sympy.I]]).run([[1]])


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_a_sum_beyond_floats_is_no_zero() -> None:
    """9e399 > 0 goes through ReLU; in floats it is infinity less infinity, and no answer."""
    channels = [LTI([0.5], [1e200], [c]) for c in (1e200, -1e199)]
    with pytest.raises(InvalidInput, match="beyond the range of float64"):
        S4Layer(channels, [[1.0, 1.0], [0.0, 1.0]]).run([[1.0, 1.0]])
    exact = [LTI(["1/2"], [10**200], [c]) for c in (10**200, -(10**199))]
    assert S4Layer(exact, [[1, 1], [0, 1]]).run([[1, 1]])[0][0, 0] == 9 * 10**399


@pytest.mark.parametrize("h0", [3, "1", 1.5])
def test_states_that_are_no_sequence(h0: Any) -> None:
    with pytest.raises(InvalidInput, match="must be a sequence of one state"):
        S4Layer([ONE, ONE], [[1, 0], [0, 1]]).run([[1, 2]], h0)
    again: Any = (h for h in ([0], [0]))
    assert S4Layer([ONE, ONE], [[1, 0], [0, 1]]).run([[1, 2]], again)[0].shape == (1, 2)
