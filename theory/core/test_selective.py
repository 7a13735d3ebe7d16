"""S6 against nested loops over Fractions and math.exp, for each of its clocks, and everything it refuses."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st

from theory.core.errors import InvalidInput, InvalidSystem, KindMismatch
from theory.core.scalars import gaussian
from theory.core.selective import SelectiveSSM
from theory.core.strategies import matrices, selective, vectors
from theory.core.tolerance import close

F = Fraction


def oracle(W_B: Any, W_C: Any, skip: Any, clock: Any, z: Any, h0: Any) -> tuple[list[list[Any]], list[list[Any]]]:
    """Outputs and last state by the definition, one scalar at a time; ``clock`` maps a token to (dt (D,), decay (D, N))."""
    n, d = len(W_B), len(W_B[0])
    h, outputs = [list(row) for row in h0], []
    for token in z:
        dt, decay = clock(token)
        B = [sum(W_B[j][i] * token[i] for i in range(d)) for j in range(n)]
        C = [sum(W_C[j][i] * token[i] for i in range(d)) for j in range(n)]
        h = [[decay[i][j] * h[i][j] + dt[i] * token[i] * B[j] for j in range(n)] for i in range(d)]
        outputs.append([sum(C[j] * h[i][j] for j in range(n)) + skip[i] * token[i] for i in range(d)])
    return outputs, h


def nested(array: Any) -> list[list[Any]]:
    return [list(row) for row in array]


@given(selective(), st.data())
def test_constant_clock_by_the_definition(system: SelectiveSSM, data: Any) -> None:
    """Outputs and state exactly; one more in a decay, in W_B or in W_C is seen."""
    d, n = system.n_channels, system.n_states
    skip = data.draw(vectors(d))
    full = SelectiveSSM(system.W_B, system.W_C, dt=system.dt, decay=system.decay, D_skip=skip)
    z, h0 = data.draw(matrices(3, d, 2)), data.draw(matrices(d, n, 2))
    y, last = full.run(z, h0)
    clock = (full.dt, full.decay)
    expected, expected_last = oracle(full.W_B, full.W_C, skip, lambda _: clock, z, h0)
    assert nested(y) == expected and nested(last) == expected_last
    assert system.constant_clock and full.kind == "exact"
    assume(z[0][0] != 0)
    h, y1 = full.step(full.state(h0), full.inputs(z)[0])
    moved = np.array(full.W_B)
    moved[0, 0] += 1  # B_1[0] grows by z_1[0] ≠ 0, hence h_1[0, 0] by dt z²
    other_h, _ = SelectiveSSM(moved, full.W_C, dt=full.dt, decay=full.decay).step(full.state(h0), full.inputs(z)[0])
    assert full.dt is not None
    assert other_h[0, 0] - h[0, 0] == full.dt[0] * z[0][0] ** 2
    _, more = SelectiveSSM(full.W_B, full.W_C, dt=full.dt, decay=full.decay, D_skip=[skip[0] + 1, *skip[1:]]).step(
        full.state(h0), full.inputs(z)[0]
    )
    assert more[0] - y1[0] == z[0][0]


@given(selective(), st.data())
def test_powers_of_the_decays(system: SelectiveSSM, data: Any) -> None:
    """Zero tokens leave decay^t h_0: not decay^(t±1) and not another entry's decay."""
    t = data.draw(st.integers(1, 4))
    h0 = np.array([[F(1)] * system.n_states for _ in range(system.n_channels)], dtype=object)
    _, last = system.run([[0] * system.n_channels] * t, h0)
    assert system.decay is not None
    assert nested(last) == nested(system.decay**t)
    assert not np.any(last == system.decay ** (t + 1)) and (t == 1 or not np.any(last == system.decay ** (t - 1)))


@given(selective(), st.data())
def test_outputs_are_cubic_in_the_tokens(system: SelectiveSSM, data: Any) -> None:
    """B, C and x each carry the token once, so y(s z) = s³ y(z) from the zero state; a skip is linear and breaks it."""
    z = data.draw(matrices(3, system.n_channels, 2))
    y, last = system.run(z)
    scaled, scaled_last = system.run([[2 * v for v in row] for row in z])
    assert nested(scaled) == nested(8 * y) and nested(scaled_last) == nested(4 * last)
    assert (nested(scaled) == nested(4 * y)) == (not np.any(y))
    skipping = SelectiveSSM(system.W_B, system.W_C, dt=system.dt, decay=system.decay, D_skip=[1] * system.n_channels)
    assert (nested(skipping.run([[2 * v for v in row] for row in z])[0]) == nested(8 * skipping.run(z)[0])) == (not np.any(z))


def test_worked_example() -> None:
    """D = N = 1: h_1 = dt z B z = 1·2·3·2, h_2 = h_1/2 + 1·1·3·1, y = C z h + D z with C = 5, D = 7."""
    system = SelectiveSSM([[3]], [[5]], dt=1, decay=[[F(1, 2)]], D_skip=[7])
    y, h = system.run([[2], [1]])
    assert nested(y) == [[5 * 2 * 12 + 14], [5 * 9 + 7]] and nested(h) == [[9]]
    assert nested(SelectiveSSM([[5]], [[3]], dt=1, decay=[[F(1, 2)]], D_skip=[7]).run([[2], [1]])[1]) == [[15]]


# -- clocks ---------------------------------------------------------------------------------------------------------------

W_B, W_C = [[1.0, -0.5], [0.25, 2.0]], [[0.5, 1.0], [-1.0, 0.75]]
A = [[-1.0, -2.0], [-0.5, -3.0]]
W_DN, W_UP, BIAS = [[0.3, -0.7]], [[1.0], [-2.0]], [0.1, -1.0]
Z = [[0.5, -1.0], [1.5, 0.25], [-0.75, 2.0]]
H0 = [[0.1, 0.2], [0.3, -0.4]]
N_OPERATIONS = 60  # three tokens with a dozen products and a handful of exponentials each


def softplus_clock(token: Any) -> tuple[list[float], list[list[float]]]:
    low = W_DN[0][0] * token[0] + W_DN[0][1] * token[1]
    dt = [math.log1p(math.exp(W_UP[i][0] * low + BIAS[i])) for i in range(2)]
    return dt, [[math.exp(dt[i] * A[i][j]) for j in range(2)] for i in range(2)]


def test_softplus_clock() -> None:
    system = SelectiveSSM(W_B, W_C, A=A, W_dn=W_DN, W_up=W_UP, dt_bias=BIAS, D_skip=[0.5, -0.5])
    assert not system.constant_clock and system.kind == "float64" and "clock=softplus" in repr(system)
    expected, last = oracle(W_B, W_C, [0.5, -0.5], softplus_clock, Z, H0)
    y, h = system.run(Z, H0)
    assert close(y, np.array(expected), N_OPERATIONS, cond=8) and close(h, np.array(last), N_OPERATIONS, cond=8)
    twins: tuple[dict[str, Any], ...] = (
        {"W_dn": [[0.3, -0.7 + 1e-6]]},
        {"W_up": [[1.0 + 1e-6], [-2.0]]},
        {"dt_bias": [0.1, -1.0 + 1e-6]},
        {"A": [[-1.0, -2.0], [-0.5, -3.0 + 1e-6]]},
    )
    keywords: dict[str, Any] = {"A": A, "W_dn": W_DN, "W_up": W_UP, "dt_bias": BIAS, "D_skip": [0.5, -0.5]}
    for change in twins:
        twin = SelectiveSSM(W_B, W_C, **(keywords | change))
        assert not close(twin.run(Z, H0)[0], np.array(expected), N_OPERATIONS, cond=8), change


def test_softplus_of_large_arguments_does_not_overflow() -> None:
    system = SelectiveSSM([[1.0]], A=[[-1.0]], W_dn=[[1.0]], W_up=[[1.0]], dt_bias=[0.0])
    dt, decay = system.clock(np.array([1000.0]))
    assert dt[0] == 1000.0 and decay[0, 0] == 0.0
    dt, decay = system.clock(np.array([-50.0]))
    assert dt[0] == pytest.approx(math.exp(-50), rel=1e-15, abs=0) and decay[0, 0] == 1.0


def test_a_bias_alone_is_a_constant_clock() -> None:
    system = SelectiveSSM(W_B, W_C, A=A, dt_bias=BIAS)
    dt = [math.log1p(math.exp(b)) for b in BIAS]
    assert system.constant_clock and "clock=constant" in repr(system)
    given_dt, given_decay = system.require_constant_clock("this")
    assert close(given_dt, np.array(dt), 4)
    assert close(given_decay, np.array([[math.exp(dt[i] * A[i][j]) for j in range(2)] for i in range(2)]), 8)
    by_dt = SelectiveSSM(W_B, W_C, A=A, dt=dt)
    assert close(by_dt.run(Z)[0], system.run(Z)[0], N_OPERATIONS, cond=8)
    assert not close(SelectiveSSM(W_B, W_C, A=A, dt=BIAS[0] + 1).run(Z)[0], system.run(Z)[0], N_OPERATIONS, cond=8)
    one_dt = SelectiveSSM(W_B, W_C, A=A, dt=0.5)
    assert one_dt.dt is not None and list(one_dt.dt) == [0.5, 0.5]


@given(selective(), st.data())
def test_function_clock(system: SelectiveSSM, data: Any) -> None:
    """Any function of the token, exactly; the same numbers as a constant clock give the same run."""
    d = system.n_channels
    z = data.draw(matrices(3, d, 2))
    constant = SelectiveSSM(system.W_B, system.W_C, clock=lambda _: system.require_constant_clock("a run"))
    assert nested(constant.run(z)[0]) == nested(system.run(z)[0])
    assert not constant.constant_clock and "clock=function" in repr(constant)

    def clock(token: Any) -> Any:
        dt = 1 + token[0] ** 2
        return np.array([dt] * d, dtype=object), np.array([[1 / (1 + dt)] * system.n_states] * d, dtype=object)

    selective_clock = SelectiveSSM(system.W_B, system.W_C, clock=clock)
    y, h = selective_clock.run(z)
    expected, last = oracle(system.W_B, system.W_C, [F(0)] * d, clock, z, selective_clock.zero_state())
    assert nested(y) == expected and nested(h) == last


def test_a_stale_clock_is_seen() -> None:
    system = SelectiveSSM([[1]], [[1]], clock=lambda z: (1 + z**2, np.array([[1 / (2 + z[0] ** 2)]], dtype=object)))
    y, h = system.run([[F(1)], [F(2)]])
    assert nested(h) == [[F(2) / 6 + 5 * 4]] and nested(y) == [[2], [2 * (F(1, 3) + 20)]]
    assert nested(h) != [[F(2) / 3 + 2 * 4]]  # dt and decay of the first token kept


def test_symbolic_softplus_agrees_with_floats() -> None:
    exact = SelectiveSSM(
        [[1, sympy.Rational(-1, 2)]],
        [[1, 2]],
        A=[[-1], [-2]],
        W_dn=[[1, 0]],
        W_up=[[1], [-1]],
        dt_bias=[0, sympy.log(2)],
        kind="symbolic",
    )
    y, h = exact.run([[1, -1], [sympy.Rational(1, 2), 1]])
    floats = exact.to("float64")
    assert floats.kind == "float64" and not floats.constant_clock
    z = [[1.0, -1.0], [0.5, 1.0]]
    got, last = floats.run(z)
    assert close(got, np.array(y.tolist(), dtype=float), N_OPERATIONS, cond=8)
    assert close(last, np.array(h.tolist(), dtype=float), N_OPERATIONS, cond=8)
    assert not close(floats.run([[1.0, -1.0], [0.5, 1.0 + 1e-9]])[0], np.array(y.tolist(), dtype=float), N_OPERATIONS, cond=8)
    assert sympy.simplify(exact.clock(np.array([sympy.Integer(0)] * 2, dtype=object))[0][1] - sympy.log(3)) == 0


def test_symbolic_constant_clock() -> None:
    t, a, z = sympy.symbols("t a z", positive=True)
    system = SelectiveSSM([[1]], [[1]], A=[[-a]], dt=t)
    assert system.decay is not None and system.decay[0, 0] == sympy.exp(-a * t)
    y, _ = system.run([[z], [1]])
    assert sympy.simplify(y[1, 0] - (sympy.exp(-a * t) * t * z**2 + t)) == 0
    assert sympy.simplify(y[1, 0] - (sympy.exp(-2 * a * t) * t * z**2 + t)) != 0


# -- conversion -----------------------------------------------------------------------------------------------------------


@given(selective(), st.data())
def test_floats_follow_the_rationals(system: SelectiveSSM, data: Any) -> None:
    z = [[v + 3 for v in row] for row in data.draw(matrices(3, system.n_channels, 2))]
    y, h = system.run(z)
    floats = system.to("float64")
    got, last = floats.run(np.array(z, dtype=float))
    assert last.dtype == got.dtype == np.float64
    size = system.n_channels * system.n_states * 3 * 3 * 5.0**3 * 9 * 1.5  # more than any term of y
    scale = float(np.max(np.abs(y.astype(float)))) or 1.0
    assert close(got, y.astype(float), 60, cond=size / scale) or not np.any(y)
    assert close(last, h.astype(float), 60, cond=size / (float(np.max(np.abs(h.astype(float)))) or 1.0)) or not np.any(h)
    symbolic = system.to("symbolic").run(z)[0]
    assert [[F(int(v.p), int(v.q)) for v in row] for row in symbolic] == nested(y)


def test_conversion_keeps_the_clock() -> None:
    system = SelectiveSSM(W_B, W_C, A=A, dt_bias=BIAS, D_skip=[1.0, 2.0])
    same = system.to("complex128")
    assert same.constant_clock and np.array_equal(same.run(Z)[0], system.run(Z)[0])
    function = SelectiveSSM([[1]], [[2]], clock=lambda z: (z**2, np.array([[0.5]])), D_skip=[3]).to("float64")
    assert function.kind == "float64" and nested(function.run([[2.0]])[0]) == [[2 * 2 * (4 * 2 * 2) + 6]]
    assert SelectiveSSM([[1]], dt=1, decay=[["1/2"]]).to("float64").W_C is None


# -- shapes and errors ----------------------------------------------------------------------------------------------------


def test_sizes() -> None:
    system = SelectiveSSM([[1, 2], [3, 4], [5, 6]], dt=[1, 2], decay=[["1/2", "1/3", "1/4"]] * 2)
    assert (system.n_channels, system.n_states) == (2, 3)
    assert system.zero_state().shape == (2, 3) and repr(system) == "SelectiveSSM(D=2, N=3, clock=constant, kind=exact)"


@pytest.mark.parametrize(
    ("keywords", "error", "says"),
    [
        ({}, InvalidSystem, "no clock: give dt"),
        ({"dt": 1}, InvalidSystem, "constant clock needs decay or A"),
        ({"dt": 1, "A": [[-1]]}, InvalidSystem, "not rational: pass decay=E"),
        ({"A": [[-1]], "dt_bias": [0]}, InvalidSystem, "not rational: pass dt and decay"),
        ({"A": [[-1]], "dt_bias": [0], "W_dn": [[1]], "W_up": [[1]]}, InvalidSystem, "not rational: pass dt and decay"),
        ({"dt": 1, "decay": [["1/2"]], "A": [[-1]]}, InvalidSystem, "not both"),
        ({"decay": [["1/2"]]}, InvalidSystem, "no clock"),
        ({"dt": 0, "decay": [["1/2"]]}, InvalidSystem, r"dt\[0\] = 0 must be a positive"),
        ({"dt": [-1], "decay": [["1/2"]]}, InvalidSystem, r"dt\[0\] = -1"),
        ({"dt": gaussian(0, 1), "decay": [["1/2"]]}, InvalidSystem, r"dt\[0\] = I must be a positive"),
        ({"dt": [1, 2], "decay": [["1/2"]]}, InvalidSystem, r"dt has shape \(2,\), expected \(1,\)"),
        ({"dt": 1, "decay": [[1]]}, InvalidSystem, r"decay\[0, 0\] = 1 must lie in \(0, 1\)"),
        ({"dt": 1, "decay": [[0]]}, InvalidSystem, r"decay\[0, 0\] = 0"),
        ({"dt": 1, "decay": [["1/2", "1/3"]]}, InvalidSystem, r"decay has shape \(1, 2\), expected \(1, 1\)"),
        ({"dt": 1, "decay": [[0.5]]}, None, ""),
        ({"dt": F(1, 2), "decay": [[0.5]]}, KindMismatch, "mixed"),
        ({"dt": 1.0, "decay": [[float("nan")]]}, InvalidInput, "nan"),
        ({"dt": 1.0, "decay": [[0.5j]]}, InvalidSystem, r"0.5j\)? must lie in \(0, 1\)"),
        ({"dt": 1j, "decay": [[0.5]]}, InvalidSystem, r"1j\)? must be a positive step"),
        ({"dt": 1.0, "A": [[0.0]]}, InvalidSystem, r"A\[0, 0\] = 0.0 must be negative.*A_log"),
        ({"dt": 1.0, "A": [[-1.0 + 2j]]}, InvalidSystem, "must be negative"),
        ({"dt": 1.0, "A": [[2.0]]}, InvalidSystem, "must be negative"),
        ({"A": [[-1.0]], "W_dn": [[1.0]], "W_up": [[1.0]]}, InvalidSystem, "needs A and dt_bias"),
        ({"dt_bias": [0.0]}, InvalidSystem, "needs A and dt_bias"),
        ({"A": [[-1.0]], "dt_bias": [0.0], "dt": 1.0}, InvalidSystem, "not dt or decay"),
        ({"A": [[-1.0]], "dt_bias": [0.0], "W_dn": [[1.0]]}, InvalidSystem, "come together"),
        ({"A": [[-1.0]], "dt_bias": [0.0, 0.0]}, InvalidSystem, r"dt_bias has shape \(2,\)"),
        ({"A": [[-1.0]], "dt_bias": [0.0], "W_dn": [[1.0], [1.0]], "W_up": [[1.0]]}, InvalidSystem, r"\(R, D\) and \(D, R\)"),
        ({"A": [[-1.0]], "dt_bias": [0.0], "W_dn": [[1.0, 1.0]], "W_up": [[1.0]]}, InvalidSystem, "with D = 1"),
        ({"clock": print, "dt": 1}, InvalidSystem, "clock excludes"),
        ({"clock": 3}, InvalidSystem, "clock = 3 must be a function"),
        ({"dt": 1, "decay": [["1/2"]], "W_C": [[1, 2]]}, InvalidSystem, r"W_C has shape \(1, 2\), expected \(1, 1\)"),
        ({"dt": 1, "decay": [["1/2"]], "D_skip": [1, 2]}, InvalidSystem, "D_skip has shape"),
    ],
)
def test_unusable_systems(keywords: dict[str, Any], error: type[Exception] | None, says: str) -> None:
    if error is None:
        assert SelectiveSSM([[1]], **keywords).kind == "float64"
        return
    with pytest.raises(error, match=says):
        SelectiveSSM([[1]], **keywords)


@pytest.mark.parametrize("W_B", [[[]], np.zeros((0, 2)), np.zeros((2, 0))])
def test_empty_selectors(W_B: Any) -> None:
    with pytest.raises(InvalidSystem, match="N ≥ 1 rows and D ≥ 1 columns"):
        SelectiveSSM(W_B, dt=1, decay=[["1/2"]], kind="exact")


def test_unusable_inputs_and_states() -> None:
    system = SelectiveSSM([[1, 2]], [[1, 2]], dt=1, decay=[["1/2"], ["1/3"]])
    z: Any
    for z in ([[1]], [1, 2], [[[1, 2]]], [[1, 2, 3]]):
        with pytest.raises(InvalidInput, match=r"expected shape \(L, D\) with D = 2"):
            system.run(z)
    with pytest.raises(InvalidInput, match="rows of different lengths"):
        system.run([[1, 2], [3]])
    with pytest.raises(KindMismatch, match=r"inputs\[0, 1\]"):
        system.run([[1, 0.5]])
    with pytest.raises(InvalidInput, match=r"h0 has shape \(1, 2\), expected \(D, N\) = \(2, 1\)"):
        system.run([[1, 2]], [[1, 2]])
    with pytest.raises(InvalidInput, match=r"prefix: expected shape \(L, D\)"):
        system.inputs([], "prefix", allow_empty=False)
    y, h = system.run([], [[3], [4]])
    assert y.shape == (0, 2) and nested(h) == [[3], [4]]


def test_a_state_without_readout() -> None:
    """Without W_C states can be reached, outputs cannot be asked for."""
    system = SelectiveSSM([[2]], dt=1, decay=[["1/2"]])
    h, y = system.step(system.zero_state(), system.inputs([[3]])[0])
    assert nested(h) == [[18]] and list(y) == [0]
    with pytest.raises(InvalidInput, match="without W_C"):
        system.run([[3]])


def test_requiring_a_constant_clock() -> None:
    dt, decay = SelectiveSSM([[2]], dt=1, decay=[["1/2"]]).require_constant_clock("reachability")
    assert list(dt) == [1] and nested(decay) == [[F(1, 2)]]
    for system in (SelectiveSSM([[1]], clock=lambda z: (z, z)), SelectiveSSM(W_B, A=A, W_dn=W_DN, W_up=W_UP, dt_bias=BIAS)):
        with pytest.raises(InvalidInput, match="reachability is decided for a constant clock"):
            system.require_constant_clock("reachability")
