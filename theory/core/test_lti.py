"""One LTI channel: recurrence, kernel and closed form against plain arithmetic written here, in every kind of number."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.signal import cont2discrete

from theory.core.errors import InvalidInput, InvalidSystem, KindMismatch
from theory.core.lti import LTI, channels_of, require_length
from theory.core.scalars import abs2, conj, gaussian, imag, real
from theory.core.strategies import any_lti, gaussians, inputs, paired_lti, rationals, real_lti, vectors
from theory.core.tolerance import close

F = Fraction
Pair = tuple[Fraction, Fraction]


def pair(x: Any) -> Pair:
    return F(real(x)), F(imag(x))


def times(u: Pair, v: Pair) -> Pair:
    return u[0] * v[0] - u[1] * v[1], u[0] * v[1] + u[1] * v[0]


def power(u: Pair, n: int) -> Pair:
    out: Pair = (F(1), F(0))
    for _ in range(n):
        out = times(out, u)
    return out


def oracle(system: LTI, x: list[Fraction], h0: Any) -> list[Pair]:
    """y_t = Σ_n c_n (a_n^t h_0n + b_n Σ_j a_n^j x_{t−j}) + d x_t from pairs of Fractions; 2 Re of the sum for half storage."""
    a, b, c, h = ([pair(v) for v in values] for values in (system.a, system.b, system.c, h0))
    out = []
    for t in range(1, len(x) + 1):
        y: Pair = (F(0), F(0))
        for an, bn, cn, hn in zip(a, b, c, h, strict=True):
            free = times(times(cn, power(an, t)), hn)
            forced = [times(times(cn, bn), power(an, j)) for j in range(t)]
            y = (
                y[0] + free[0] + sum((k[0] * x[t - 1 - j] for j, k in enumerate(forced)), F(0)),
                y[1] + free[1] + sum((k[1] * x[t - 1 - j] for j, k in enumerate(forced)), F(0)),
            )
        y = (2 * y[0], F(0)) if system.half else y
        out.append((y[0] + F(system.d) * x[t - 1], y[1]))
    return out


@given(any_lti(3), st.data())
def test_recurrence_is_the_closed_form(system: LTI, data: Any) -> None:
    """run, kernel convolution + free response, and sums of powers agree exactly; a shifted kernel or another d does not."""
    system = system.replace(d=data.draw(rationals()))
    length = data.draw(st.integers(1, 5))
    x = data.draw(inputs(length))
    h0 = data.draw(st.lists(gaussians(), min_size=system.n_states, max_size=system.n_states))
    y, _ = system.run(x, h0)
    assert [pair(v) for v in y] == oracle(system, x, h0)
    k, free = system.kernel(length), system.free_response(h0, length)
    convolved = [sum((k[j] * x[t - j] for j in range(t + 1)), free[t]) + system.d * x[t] for t in range(length)]
    assert [pair(v) for v in y] == [pair(v) for v in convolved]
    if x[0] != 0:
        assert [pair(v) for v in system.replace(d=system.d + 1).run(x, h0)[0]] != oracle(system, x, h0)


@given(real_lti(), st.integers(1, 6))
def test_kernel_starts_at_power_zero(system: LTI, length: int) -> None:
    k = system.kernel(length + 1)
    r = [b * c for b, c in zip(system.b, system.c, strict=True)]
    assert list(k) == [sum((q * a**j for q, a in zip(r, system.a, strict=True)), F(0)) for j in range(length + 1)]
    shifted = system.replace(b=system.b * system.a).kernel(length + 1)
    assert list(shifted[:length]) == list(k[1:])
    assume(list(k[:-1]) != list(k[1:]))
    assert list(shifted[:length]) != list(k[:length])


@given(real_lti(), st.data())
def test_swapping_b_and_c_shows_in_the_free_response_only(system: LTI, data: Any) -> None:
    """The kernel sees c_n b_n, the free response c_n alone."""
    swapped = system.replace(b=system.c, c=system.b)
    assert list(swapped.kernel(4)) == list(system.kernel(4))
    h0 = [F(0)] * system.n_states
    n = data.draw(st.integers(0, system.n_states - 1))
    h0[n] = F(1)
    same = list(swapped.free_response(h0, 3)) == list(system.free_response(h0, 3))
    assert same == (system.b[n] == system.c[n])
    assert list(system.free_response(h0, 3)) == [system.c[n] * system.a[n] ** t for t in (1, 2, 3)]


@given(real_lti(), st.data())
def test_the_last_state_continues_the_run(system: LTI, data: Any) -> None:
    x, cut = data.draw(inputs(6)), data.draw(st.integers(0, 6))
    whole, last = system.run(x)
    first, middle = system.run(x[:cut])
    second, end = system.run(x[cut:], middle)
    assert list(first) + list(second) == list(whole)
    assert list(end) == list(last)
    if cut < 6:  # forgetting what was reached is seen in the state: a^(6−cut) middle ≠ 0 wherever middle ≠ 0
        assert (list(system.run(x[cut:])[1]) == list(last)) == (not any(middle))


@given(paired_lti(), st.data())
def test_half_storage_is_the_closed_system(system: LTI, data: Any) -> None:
    """y_t = 2 Re(c·h_t) is the system of all pairs, from the state (h, conj h); one more in c b is seen."""
    n = system.n_states
    closed = system.closed()
    assert (closed.half, closed.n_states) == (False, 2 * n)
    x = data.draw(inputs(4))
    h0 = data.draw(st.lists(gaussians(), min_size=n, max_size=n))
    y, last = system.run(x, h0)
    y_closed, last_closed = closed.run(x, [*h0, *conj(np.array(h0, dtype=object))])
    assert list(y) == list(y_closed)
    assert [pair(v) for v in last_closed] == [pair(v) for v in (*last, *conj(last))]
    assert list(system.kernel(4)) == list(closed.kernel(4))
    assert all(isinstance(v, Fraction) for v in (*y, *y_closed, *system.kernel(4)))
    wrong = system.replace(c=[system.c[0] + conj(system.b[0]), *system.c[1:]])  # k_0 grows by 2 |b_0|² > 0
    assert wrong.kernel(1)[0] - closed.kernel(1)[0] == 2 * abs2(system.b[0])
    assert list(wrong.closed().kernel(1)) == list(wrong.kernel(1))


@given(any_lti(3))
def test_modes_group_equal_eigenvalues(system: LTI) -> None:
    """Values, positions, residues and observability by plain search over the closed system's pairs."""
    full = system.closed()
    a, b, c = ([pair(v) for v in values] for values in (full.a, full.b, full.c))
    modes = system.modes()
    assert sorted(n for m in modes for n in m.indices) == list(range(len(a)))
    assert len({pair(m.value) for m in modes}) == len(modes) == len(set(a))
    for m in modes:
        members = [n for n in range(len(a)) if a[n] == pair(m.value)]
        assert list(m.indices) == members
        products = [times(c[n], b[n]) for n in members]
        assert pair(m.residue) == (sum((p[0] for p in products), F(0)), sum((p[1] for p in products), F(0)))
        assert m.observable == (pair(m.value) != (0, 0) and any(c[n] != (0, 0) for n in members))
    assert system.n_observable() == sum(m.observable for m in modes)


def test_modes_worked_example() -> None:
    half = F(1, 2)
    system = LTI([half, 0, half, "1/3"], [1, 2, 3, 4], [5, 6, -1, 0])
    by_value = {m.value: m for m in system.modes()}
    assert by_value[half].indices == (0, 2) and by_value[half].residue == 2 and by_value[half].observable
    assert by_value[F(0)].residue == 12 and not by_value[F(0)].observable
    assert by_value[F(1, 3)].residue == 0 and not by_value[F(1, 3)].observable
    assert system.n_observable() == 1
    moved = system.replace(a=[half, 0, F(1, 5), F(1, 3)])  # the pair of equal modes split: one more to observe
    assert moved.n_observable() == 2
    assert system.replace(c=[5, 6, -1, 1]).n_observable() == 2


def test_a_real_mode_stored_by_halves_counts_once_with_twice_its_residue() -> None:
    system = LTI([F(1, 2), gaussian(0, "1/2")], [1, 2], [3, gaussian(0, 1)], half=True)
    modes = {str(m.value): m for m in system.modes()}
    assert len(modes) == 3
    assert modes["1/2"].residue == 6 and modes["1/2"].indices == (0, 2)
    assert system.n_observable() == 3
    assert list(system.kernel(3)) == [6, 3 - 2, F(3, 2)]  # 2 Re(3/2^j + 2i (i/2)^j)


def test_float_modes_are_compared_bit_by_bit() -> None:
    third = 1 / 3
    assert len(LTI([third, third], [1.0, 1.0], [1.0, 1.0]).modes()) == 1
    assert len(LTI([third, np.nextafter(third, 1)], [1.0, 1.0], [1.0, 1.0]).modes()) == 2


def test_symbolic_kernel_and_run() -> None:
    a, b, c, d, h, x, y = sympy.symbols("a b c d h x y", real=True)
    system = LTI([a, a**2], [b, 1], [c, 1], d)
    assert system.kind == "symbolic"
    assert [sympy.expand(k) for k in system.kernel(3)] == [b * c + 1, a * b * c + a**2, a**2 * b * c + a**4]
    out, _ = system.run([x, y], [h, 0])
    expected = [c * (a * h + b * x) + x + d * x, c * (a**2 * h + a * b * x + b * y) + a**2 * x + y + d * y]
    assert [sympy.expand(u - v) for u, v in zip(out, expected, strict=True)] == [0, 0]
    assert sympy.expand(out[1] - expected[1].subs(a, a + 1)) != 0
    equal = LTI([(a + 1) ** 2, a**2 + 2 * a + 1], [b, 1], [c, 1])
    assert len(equal.modes()) == 1 and sympy.expand(equal.modes()[0].residue - b * c - 1) == 0


@given(real_lti(max_states=4), st.data())
def test_symbolic_numbers_agree_with_rationals(system: LTI, data: Any) -> None:
    x, h0 = data.draw(inputs(3)), data.draw(vectors(system.n_states))
    symbolic = system.to("symbolic")
    assert symbolic.kind == "symbolic"
    as_rational = [F(int(v.p), int(v.q)) for v in symbolic.run(x, h0)[0]]
    assert as_rational == list(system.run(x, h0)[0])


@given(any_lti(3), st.data())
def test_floats_follow_the_rationals(system: LTI, data: Any) -> None:
    """float64 or complex128 within the budget of the sums' condition number; a change of 1e-6 in a skip is beyond it."""
    kind: Any = "complex128" if system.half else "float64"
    x = [v + 9 for v in data.draw(inputs(5))]  # away from 0, so that the perturbation below is seen
    floats = system.to(kind)
    exact = np.array([float(v) for v in system.run(x)[0]])
    got = floats.run(np.array(x, dtype=float))[0]
    assert got.dtype == np.float64
    products = np.abs(floats.closed().c * floats.closed().b)
    size = float(products.sum()) * 9 * max(float(v) for v in x)  # Σ |c b a^j x| over at most 9 terms
    scale = float(np.max(np.abs(exact)))
    assume(scale > 1e-3 * size > 0)
    cond = size / scale
    assert close(np.asarray(got), exact, n=4 * 5 * floats.closed().n_states, cond=cond)
    wrong = floats.replace(d=1e-6 * scale).run(np.array(x, dtype=float))[0]
    assert not close(np.asarray(wrong), exact, n=4 * 5 * floats.closed().n_states, cond=cond)


def test_complex_state_of_a_real_float_system() -> None:
    system = LTI([0.5, 0.25], [1.0, 1.0], [1.0, 2.0])
    h0 = np.array([1j, 1 + 1j])
    expected = [0.5 * 1j + 2 * 0.25 * (1 + 1j), 0.25 * 1j + 2 * 0.0625 * (1 + 1j)]
    assert np.array_equal(system.free_response(h0, 2), expected)


# -- conversions ----------------------------------------------------------------------------------------------------------


def test_exactly_keeps_every_bit() -> None:
    system = LTI([0.1, -0.3], [0.7, 1e-300], [1 / 3, 2.0], 0.2)
    exact = system.exactly()
    assert exact.kind == "exact"
    for name in ("a", "b", "c"):
        assert list(getattr(exact, name)) == [F(float(v)) for v in getattr(system, name)]
    assert exact.d == F(0.2) and exact.d != F(1, 5)
    back = exact.to("float64")
    assert back == system and back.kind == "float64"
    assert exact.exactly() is exact


def test_exactly_of_complex_half_storage() -> None:
    system = LTI([0.1 + 0.2j, 0.5], [1 + 1j, 1j], [0.3, 1 - 1j], half=True)
    exact = system.exactly()
    assert exact.half and exact.a[0] == gaussian(F(0.1), F(0.2)) and exact.a[1] == F(1, 2)
    assert exact.a[0] != gaussian("1/10", "1/5")
    assert np.allclose(np.array([float(v) for v in exact.kernel(6)]), system.kernel(6), rtol=1e-14, atol=0)
    assert exact.to("complex128") == system


def test_to_refuses_what_would_be_lost() -> None:
    with pytest.raises(KindMismatch, match="complex"):
        LTI([gaussian(0, "1/2")], [1], [1], half=True).to("float64")
    with pytest.raises(KindMismatch, match=r"\.to\('float64'\)"):
        LTI([0.5], [1.0], [1.0]).to("exact")
    with pytest.raises(KindMismatch, match="symbolic"):
        LTI([sympy.Symbol("a")], [1], [1]).to("exact")


def test_equality_is_of_parameters_and_agrees_with_hash() -> None:
    system = LTI(["1/2", "1/4"], [1, 2], [3, 4], 5)
    same = LTI([F(1, 2), F(1, 4)], [1, 2], [3, 4], 5)
    floats = LTI([0.5, 0.25], [1.0, 2.0], [3.0, 4.0], 5.0)
    assert system == same and hash(system) == hash(same)
    assert system == floats and hash(system) == hash(floats)
    assert LTI([0.0], [1.0], [1.0]) == LTI([-0.0], [1.0], [1.0])
    assert hash(LTI([0.0], [1.0], [1.0])) == hash(LTI([-0.0], [1.0], [1.0]))
    permuted = LTI(["1/4", "1/2"], [2, 1], [4, 3], 5)
    assert list(permuted.kernel(5)) == list(system.kernel(5)) and permuted != system
    for changes in ({"a": ["1/2", "1/5"]}, {"b": [1, 3]}, {"c": [3, 5]}, {"d": 6}, {"half": True}):
        assert system.replace(**changes) != system
    assert system != LTI(["1/2"], [1], [3], 5)
    assert system != "LTI"


def test_repr_shows_the_numbers() -> None:
    text = repr(LTI([gaussian("1/2", "1/3")], ["1/7"], [2], 3, half=True))
    assert "1/7" in text and "d=3" in text and "half=True" in text
    assert "d=" not in repr(LTI(["1/2"], [1], [1])) and "…" in repr(LTI([0] * 9, [1] * 9, [1] * 9))


# -- discretisation -------------------------------------------------------------------------------------------------------

A_C, B_C, C_C = np.array([-0.3, -1.7, -5.0]), np.array([1.0, -2.0, 0.5]), np.array([2.0, 1.0, -1.0])
# of the matrix exponentials and solves of 3×3 diagonal matrices, entries of size 1
N_OPERATIONS = 30


@pytest.mark.parametrize("dt", [1e-3, 0.1, 1.3])
@pytest.mark.parametrize(("rule", "a_method", "b_method"), [("zoh", "zoh", "zoh"), ("bilinear",) * 3, ("mamba", "zoh", "euler")])
def test_discretisation_against_scipy(rule: str, a_method: str, b_method: str, dt: float) -> None:
    """a and b of the diagonal system; mamba-ssm's b = dt B is Euler's. Another rule's b or a is told apart."""
    continuous = (np.diag(A_C), B_C[:, None], C_C[None, :], np.zeros((1, 1)))
    a = np.diag(cont2discrete(continuous, dt, a_method)[0])
    b = cont2discrete(continuous, dt, b_method)[1][:, 0]
    system = LTI.from_continuous(A_C, B_C, C_C, dt, d=0.5, discretization=rule)
    assert system.kind == "float64" and system.d == 0.5 and np.array_equal(system.c, C_C)
    assert close(system.a, a, N_OPERATIONS) and close(system.b, b, N_OPERATIONS)
    for other in {"zoh", "bilinear", "mamba"} - {rule}:
        twin = LTI.from_continuous(A_C, B_C, C_C, dt, discretization=other)
        assert not (close(twin.a, a, N_OPERATIONS) and close(twin.b, b, N_OPERATIONS))


@pytest.mark.parametrize("rule", ["zoh", "bilinear", "mamba"])
def test_complex_pairs_discretise_as_their_real_block(rule: str) -> None:
    """−1 ± 3i in half storage: outputs equal those of the real 2×2 block; a plain conjugate twin has other outputs."""
    re, im, dt = -1.0, 3.0, 0.2
    system = LTI.from_continuous([re + 1j * im], [1.0 + 0j], [0.5 - 0.25j], dt, discretization=rule, half=True)
    block = np.array([[re, -im], [im, re]])  # acts on (Re h, Im h)
    method = {"zoh": ("zoh", "zoh"), "bilinear": ("bilinear", "bilinear"), "mamba": ("zoh", "euler")}[rule]
    continuous = (block, np.array([[1.0], [0.0]]), np.zeros((1, 2)), np.zeros((1, 1)))
    step, drive = cont2discrete(continuous, dt, method[0])[0], cont2discrete(continuous, dt, method[1])[1][:, 0]
    readout = 2 * np.array([0.5, 0.25])  # 2 Re((0.5 − 0.25i)(u + iv)) = 2 (0.5 u + 0.25 v)
    x, h, expected = np.array([1.0, -2.0, 0.5, 3.0]), np.zeros(2), []
    for xt in x:
        h = step @ h + drive * xt
        expected.append(readout @ h)
    assert close(system.run(x)[0], np.array(expected), 100)
    flipped = system.replace(a=np.conj(system.a))
    assert not close(flipped.run(x)[0], np.array(expected), 100)


def test_symbolic_discretisation() -> None:
    dt, B = sympy.Symbol("dt", positive=True), sympy.Symbol("B", real=True)
    zoh = LTI.from_continuous([-2], [B], [1], dt)
    assert sympy.simplify(zoh.b[0] - B * (1 - sympy.exp(-2 * dt)) / 2) == 0
    assert sympy.simplify(zoh.a[0] - sympy.exp(-2 * dt)) == 0
    mamba = LTI.from_continuous([-2], [B], [1], dt, discretization="mamba")
    assert mamba.b[0] == dt * B and mamba.a[0] == zoh.a[0] and sympy.simplify(mamba.b[0] - zoh.b[0]) != 0
    # exact bilinear from rationals: (1 − 1/4)/(1 + 1/4) and (1/4)/(1 + 1/4)
    bilinear = LTI.from_continuous([-2], [1], [1], F(1, 4), discretization="bilinear")
    assert (bilinear.a[0], bilinear.b[0]) == (F(3, 5), F(1, 5))


def test_zoh_limits() -> None:
    """(exp(dt A) − 1)/A keeps its digits for small dt·A, in floats: −expm1(−x) = x − x²/2 + …"""
    small = LTI.from_continuous([-1.0], [1.0], [1.0], 1e-12)
    assert small.b[0] == pytest.approx(1e-12 - 0.5e-24, rel=1e-15, abs=0)
    assert (np.exp(-1e-12) - 1) / -1.0 != pytest.approx(1e-12, rel=1e-6, abs=0)  # the cancelling form would fail
    with pytest.raises(InvalidSystem, match=r"a\[0\] = 1"):  # A = 0 keeps its inputs for ever
        LTI.from_continuous([0.0], [1.0], [1.0], 0.1)


@pytest.mark.parametrize("dt", [0, -1, 0.0, -0.1, 1j])
def test_step_sizes_must_be_positive(dt: Any) -> None:
    exact = isinstance(dt, int)
    with pytest.raises(InvalidSystem, match="positive step size"):
        LTI.from_continuous([-1 if exact else -1.0], [1], [1], dt)


def test_unknown_discretisation() -> None:
    with pytest.raises(InvalidInput, match=r"'zohh'; choose 'zoh', 'mamba' or 'bilinear'"):
        LTI.from_continuous([-1.0], [1.0], [1.0], 0.1, discretization="zohh")


# -- real systems ---------------------------------------------------------------------------------------------------------


@given(paired_lti())
def test_a_closed_system_is_real(system: LTI) -> None:
    closed = system.closed()
    assert system.is_real_system() and closed.is_real_system()
    assert closed.require_real() is closed
    assert system.require_real() == closed
    n = closed.n_states // 2
    broken = closed.replace(c=[*closed.c[:n], closed.c[n] + gaussian(1) / closed.b[n], *closed.c[n + 1 :]])
    assert not broken.is_real_system()
    with pytest.raises(InvalidSystem, match="no conjugate partner"):
        broken.require_real()


def test_the_missing_conjugate_is_named() -> None:
    i = gaussian(0, "1/2")
    with pytest.raises(InvalidSystem, match=r"mode a\[1\].*half=True"):
        LTI(["1/3", i], [1, 1], [1, 1]).require_real()
    real_mode = LTI(["1/3"], [gaussian(0, 1)], [1])
    assert not real_mode.is_real_system()  # a real mode with residue i
    assert LTI(["1/3"], [gaussian(0, 1)], [gaussian(0, 1)]).is_real_system()


# -- bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (([], [], []), InvalidSystem, "N ≥ 1"),
        ((["1/2"], [1, 2], [1]), InvalidSystem, "one length N"),
        (([[F(1, 2)]], [1], [1]), InvalidInput, r"a: expected 1 dimension.*\(1, 1\)"),
        (([1], [1], [1]), InvalidSystem, r"a\[0\] = 1 has \|a\| ≥ 1"),
        (([0.5, -1.0], [1.0, 1.0], [1.0, 1.0]), InvalidSystem, r"a\[1\] = -1.0"),
        (([gaussian("3/5", "4/5")], [1], [1]), InvalidSystem, "not stable"),
        (([sympy.sqrt(2)], [1], [1]), InvalidSystem, "not stable"),
        (([0.5], [float("nan")], [1.0]), InvalidInput, r"b\[0\].*nan.*not finite"),
        (([0.5], [1.0], [float("inf")]), InvalidInput, r"c\[0\].*inf"),
        (([0.5], [1.0], [1.0], float("nan")), InvalidInput, "d"),
        (([F(1, 2)], [0.1], [1]), KindMismatch, "Fraction"),
        ((["one"], [1], [1]), InvalidInput, "'one' is not a rational number"),
        ((["1/0"], [1], [1]), InvalidInput, "'1/0'"),
        (([True], [1], [1]), InvalidInput, "truth value"),
        (([None], [1], [1]), InvalidInput, "NoneType"),
    ],
)
def test_unusable_parameters(arguments: tuple[Any, ...], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        LTI(*arguments)


def test_unstable_modes_on_request() -> None:
    assert list(LTI([2], [1], [1], check_stable=False).kernel(4)) == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("x", "h0", "error", "says"),
    [
        ([0.5], None, KindMismatch, r"inputs\[0\].*0.5"),
        ([[1]], None, InvalidInput, r"shape \(L,\), got shape \(1, 1\)"),
        ([1], [1, 2, 3], InvalidInput, r"h0 has shape \(3,\), the system has N = 2"),
        ([1], [0.5, 1], KindMismatch, "h0"),
        ([1], [[1, 2]], InvalidInput, "h0"),
    ],
)
def test_unusable_inputs(x: Any, h0: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        LTI(["1/2", "1/3"], [1, 1], [1, 1]).run(x, h0)


def test_complex_inputs_need_full_storage() -> None:
    """2 Re(c·h) is the closed system's output for real inputs only."""
    exact = LTI([gaussian(0, "1/2")], [1], [1], half=True)
    for system, x in ((exact, gaussian(0, 1)), (exact.to("complex128"), 1j), (exact.to("symbolic"), sympy.I)):
        with pytest.raises(InvalidInput, match=r"inputs\[1\].*half=False"):
            system.run([1, x])
        with pytest.raises(InvalidSystem, match="complex, but half storage"):
            LTI(system.a, system.b, system.c, x, half=True)
    full = exact.closed()
    assert [pair(v) for v in full.run([gaussian(0, 1)])[0]] == [(0, 2)]
    assert list(full.to("complex128").run([1j])[0]) == [2j]


def test_real_float_systems_refuse_complex_inputs() -> None:
    with pytest.raises(KindMismatch, match="complex128"):
        LTI([0.5], [1.0], [1.0]).run([1j])
    with pytest.raises(InvalidInput, match="not finite"):
        LTI([0.5], [1.0], [1.0]).run([float("nan")])


@pytest.mark.parametrize("system", [LTI(["1/2"], [1], [1]), LTI([0.5], [1.0], [1.0]), LTI([0.5j], [1.0], [1.0], half=True)])
def test_empty_sequences(system: LTI) -> None:
    y, last = system.run([], system.zero_state() + 3)
    assert y.shape == (0,) and list(last) == [3]
    with pytest.raises(InvalidInput, match="the sequence is empty"):
        system.inputs([], "prefix", allow_empty=False)


@pytest.mark.parametrize("length", [0, -1, 1.0, True, "3", None])
def test_lengths(length: Any) -> None:
    system = LTI(["1/2"], [1], [1])
    for call in (system.kernel, lambda n: system.free_response([1], n), require_length):
        with pytest.raises(InvalidInput, match=f"{length!r} must be an integer of at least 1"):
            call(length)
    assert require_length(np.int64(3)) == 3 and type(require_length(np.int64(3))) is int
    assert require_length(0, least=0) == 0


def test_channels() -> None:
    one, two = LTI(["1/2"], [1], [1]), LTI(["1/3"], [1], [1])
    assert channels_of(one) == (one,) and channels_of(iter([one, two])) == (one, two)
    bad: Any
    for bad in ([], [one, "two"], ()):
        with pytest.raises(InvalidInput, match="non-empty sequence"):
            channels_of(bad)
