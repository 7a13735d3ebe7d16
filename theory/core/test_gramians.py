"""Gramians: exact equations on rational systems, and agreement with scipy, python-control and long Hankel matrices."""

from __future__ import annotations

import math
from fractions import Fraction as F

import numpy as np
import pytest
import sympy
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.linalg import solve_discrete_lyapunov

from theory.core import gramians as g
from theory.core import linalg
from theory.core.errors import InvalidInput, InvalidSystem
from theory.core.initialisations import DT_GRID, INITIALISATIONS, initialisation
from theory.core.lti import LTI
from theory.core.scalars import Array, conj, gaussian, is_real, is_zero
from theory.core.strategies import any_lti, paired_lti, real_lti, vectors
from theory.core.tolerance import EPS64, budget, close

PAIRS = LTI([gaussian("3/5", "1/2"), gaussian("3/10", "7/10")], [1, gaussian(1, 1)], [gaussian(1, -1), 2], half=True)


def _equal(left: Array, right: Array) -> bool:
    return left.shape == right.shape and all(is_zero(x - y) for x, y in zip(left.ravel(), right.ravel(), strict=True))


def _adjoint(m: Array) -> Array:
    return conj(m).T


@given(any_lti(4))
def test_closed_forms_solve_their_stein_equations(system: LTI) -> None:
    full = system.closed()
    wc, wo = g.gramians(system)
    a = np.diag(full.a)
    assert _equal(wc, a @ wc @ _adjoint(a) + np.outer(full.b, conj(full.b)))
    row = full.c * full.a
    assert _equal(wo, _adjoint(a) @ wo @ a + np.outer(conj(row), row))
    assert _equal(wc, _adjoint(wc)) and _equal(wo, _adjoint(wo))


@given(any_lti(4), st.integers(1, 5))
def test_finite_gramians_are_products_and_tend_to_the_limit(system: LTI, length: int) -> None:
    r, o = g.reachability_matrix(system, length), g.observability_matrix(system, length)
    wc, wo = g.reachability_gramian(system, length), g.observability_gramian(system, length)
    assert _equal(wc, r @ _adjoint(r))
    assert _equal(wo, _adjoint(o) @ o)
    power = np.diag(system.closed().a ** length)
    limit_c, limit_o = g.gramians(system)
    assert _equal(limit_c - wc, power @ limit_c @ _adjoint(power))
    assert _equal(limit_o - wo, _adjoint(power) @ limit_o @ power)
    # negative twin: one token more is seen, unless it adds nothing
    last = g.reachability_matrix(system, length + 1)[:, length]
    assert _equal(g.reachability_gramian(system, length + 1), wc) == all(is_zero(v) for v in last)


@given(any_lti(4), st.integers(1, 4), st.integers(1, 4), st.data())
def test_hankel_matrix_is_the_prefix_to_output_map(system: LTI, length: int, tokens: int, data: st.DataObject) -> None:
    prefix = data.draw(vectors(tokens))
    h = g.hankel_matrix(system, length, tokens)
    outputs = system.run([*prefix, *[F(0)] * length])[0][tokens:]
    assert _equal(h @ np.array(prefix[::-1], dtype=object), outputs)
    assert _equal(h, g.observability_matrix(system, length) @ g.reachability_matrix(system, tokens))


@given(paired_lti(max_pairs=2), st.sampled_from(["timing", "conjugate"]))
@example(LTI([gaussian(0, "1/3")], [1], [1], half=True), "conjugate")
@example(LTI([gaussian("1/3", "1/3")], [1], [gaussian(1, 1)], half=True), "conjugate")
def test_negative_twins_of_wo_are_caught(system: LTI, slip: str) -> None:
    wo = g.observability_gramian(system)
    if slip == "timing":
        assert _equal(wo, g.observability_gramian(system, first_output=0)) == all(is_zero(c) for c in system.c)
        return
    full = system.closed()
    v = full.c * full.a
    wrong = np.outer(v, conj(v)) / (1 - np.outer(full.a, conj(full.a)))  # Wc's pattern copied: the conjugate of Wo
    assert _equal(wo, wrong) == all(is_real(x) for x in wo.ravel())


@given(st.builds(F, st.integers(-7, 7), st.integers(1, 5)), st.integers(1, 40))
def test_geometric_sum(z: F, terms: int) -> None:
    assert g.geometric_sum(z, terms) == sum((z**m for m in range(terms)), F(0))
    assert g.geometric_sum(F(1), terms) == terms


def test_geometric_sum_keeps_its_digits_near_one() -> None:
    z = 1 - 1e-13
    exact = sum((F(z) ** m for m in range(50)), F(0))
    assert abs(F(float(g.geometric_sum(np.array([z]), 50)[0])) - exact) <= F(budget(50)) * exact


def _real_form(system: LTI) -> tuple[Array, Array, Array]:
    """The channel as a real state-space model (2×2 blocks for pairs), in the norm of the closed system."""
    if not system.half:
        a = np.asarray(system.a, dtype=float)
        return np.diag(a), np.asarray(system.b, dtype=float), np.asarray(system.c, dtype=float)
    blocks, b, c = [], [], []
    for x, y, z in zip(system.a, system.b, system.c, strict=True):
        x, y, z = complex(x), complex(y), complex(z)
        blocks.append(np.array([[x.real, -x.imag], [x.imag, x.real]]))
        b += [math.sqrt(2) * y.real, math.sqrt(2) * y.imag]
        c += [math.sqrt(2) * z.real, -math.sqrt(2) * z.imag]
    big = np.zeros((len(b), len(b)))
    for k, block in enumerate(blocks):
        big[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = block
    return big, np.array(b), np.array(c)


def _stein_condition(a: Array) -> float:
    return float(1 / (1 - np.abs(np.linalg.eigvals(a)).max() ** 2))


@pytest.mark.parametrize("name", INITIALISATIONS)
@pytest.mark.parametrize("dt", DT_GRID)
def test_against_scipy_and_python_control(name: str, dt: float) -> None:
    control = pytest.importorskip("control")
    system = initialisation(name, 8, dt, seed=1)
    a, b, c = _real_form(system)
    row = c @ a
    wc, wo = g.gramians(system)
    cond = _stein_condition(a)
    for solve in (solve_discrete_lyapunov, lambda x, q: control.dlyap(x, q, method="scipy")):
        other_c, other_o = solve(a, np.outer(b, b)), solve(a.T, np.outer(row, row))
        for mine, theirs in ((wc, other_c), (wo, other_o)):
            # a unitary change of coordinates lies between the closed and the real form: compare what it keeps
            assert close(np.linalg.eigvalsh(mine)[::-1], np.linalg.eigvalsh(theirs)[::-1], 8 * 8, cond)
    largest = np.sqrt(np.abs(np.linalg.eigvals(solve_discrete_lyapunov(a, np.outer(b, b)) @ other_o))).max()
    assert g.hankel_singular_values(system)[0] == pytest.approx(largest, rel=budget(64, cond))
    without_a = solve_discrete_lyapunov(a.T, np.outer(c, c))
    assert not close(np.linalg.eigvalsh(wo)[::-1], np.linalg.eigvalsh(without_a)[::-1], 64, cond)  # negative twin


def test_impulse_response_of_python_control_gives_the_same_hankel_operator() -> None:
    control = pytest.importorskip("control")
    system = LTI([0.9, -0.5, 0.3], [1.0, 2.0, -1.0], [0.5, 1.0, 1.5])
    a, b, c = _real_form(system)
    # control's model is x_{t+1} = A x + B u, y = C x + D u: our y_t = c·h_t needs C = c A, D = c·b
    model = control.ss(a, b[:, None], (c @ a)[None, :], [[c @ b]], True)
    kernel = np.squeeze(control.impulse_response(model, T=np.arange(800)).outputs)
    hankel = kernel[1 + np.arange(399)[:, None] + np.arange(400)[None, :]]
    assert close(g.hankel_singular_values(system), np.linalg.svd(hankel, compute_uv=False)[:3], 800, 1e3)


@pytest.mark.parametrize("half", [False, True])
def test_hankel_singular_values_of_a_long_hankel_matrix(half: bool) -> None:
    if half:
        system = LTI([0.6 + 0.5j, 0.3 - 0.7j], [1.0 + 1j, 0.5], [2.0 - 1j, 1.0 + 1j], half=True)
    else:
        system = LTI([0.8, -0.7, 0.5, 0.2], [1.0, 2.0, -1.0, 0.5], [1.0, -1.0, 3.0, 2.0])
    values = g.hankel_singular_values(system)
    svd = np.linalg.svd(g.hankel_matrix(system, 250, 250), compute_uv=False)[:4]
    assert np.abs(values - svd).max() <= budget(250) * values[0]
    assert np.abs(values / svd - 1).max() < 1e-9  # the small ones too
    short = np.linalg.svd(g.hankel_matrix(system, 250, 3), compute_uv=False)
    finite = g.hankel_singular_values(system, prefix_length=3)
    assert np.abs(finite[:3] - short).max() <= budget(250) * values[0]
    assert finite[3] == 0
    assert np.abs(finite[:3] - values[:3]).max() > 1e-3 * values[0]  # negative twin
    textbook = np.linalg.eigvals(g.reachability_gramian(system) @ g.observability_gramian(system, first_output=0))
    assert np.abs(np.sqrt(np.sort(np.abs(textbook))[::-1]) - values).max() > 1e-2


def test_documents_example_of_the_wrong_conjugate() -> None:
    system = PAIRS.closed().to("complex128")
    values = g.hankel_singular_values(PAIRS)
    a, v = system.a, system.c * system.a
    wrong = np.outer(v, v.conj()) / (1 - np.outer(a, a.conj()))
    axes = np.sqrt(np.sort(np.abs(np.linalg.eigvals(g.reachability_gramian(system) @ wrong)))[::-1])
    assert np.abs(axes - values).max() > 0.05 * values[0]


def test_tiny_values_keep_relative_accuracy() -> None:
    system = initialisation("mamba", 16, 1e-3, seed=0)
    values = g.hankel_singular_values(system)
    other = g.hankel_singular_values(system, dps=400)
    assert np.abs(values / other - 1).max() <= 2 * EPS64
    assert 0 < values[-1] < 1e-20 * values[0]
    # product of all values² = det Wc det Wo, in closed form by Cauchy's determinant, in exact rationals
    a, b, c = ([F(float(x)) for x in v] for v in (system.a, system.b, system.c))
    cauchy = F(1)
    for i in range(16):
        cauchy /= 1 - a[i] * a[i]
        for j in range(i):
            cauchy *= (a[i] - a[j]) ** 2 / (1 - a[i] * a[j]) ** 2
    exact = cauchy**2 * math.prod(((b[i] * c[i] * a[i]) ** 2 for i in range(16)), start=F(1))
    product = math.prod((F(v) ** 2 for v in values), start=F(1))
    assert abs(product / exact - 1) < F(budget(64))


def test_exact_one_mode() -> None:
    # k_j = 2·3·2^−j: H = 6 (2^−(t+m)), σ = 6·(1/2)·1/(1 − 1/4) = 4
    assert g.hankel_singular_values(LTI(["1/2"], [2], [3]))[0] == 4.0
    assert g.gramians(LTI(["1/2"], [2], [3])).Wo[0, 0] == F(9, 4) / F(3, 4)
    assert g.gramians(LTI(["1/2"], [2], [3]), first_output=0).Wo[0, 0] == F(9) / F(3, 4)


def test_equal_hankel_values_and_degenerate_systems() -> None:
    # modes ±1/2 with equal residues: odd and even times decouple into two blocks of the same norm
    values = g.hankel_singular_values(LTI(["1/2", "-1/2"], [1, 1], [1, 1]))
    assert values.tolist() == pytest.approx([8 / 15, 8 / 15], rel=2 * EPS64)
    assert g.hankel_singular_values(LTI(["1/2", "1/3"], [1, 0], [1, 1]))[1] == 0  # singular Wc
    assert g.hankel_singular_values(LTI(["1/2", "1/2"], [1, 1], [1, -1])).tolist() == [0, 0]
    assert g.hankel_singular_values(LTI([0, "1/2"], [1, 1], [1, 1]))[1] == 0  # mode 0 leaves no output at t ≥ 1
    assert g.hankel_singular_values(initialisation("s4d_lin", 16, 1e-2))[15] == 0


def test_equal_complex_modes_are_merged_exactly() -> None:
    z = gaussian("1/2", "1/3")
    assert g.hankel_singular_values(LTI([z, z], [1, 1], [1, -1], half=True)).tolist() == [0, 0, 0, 0]
    once = g.hankel_singular_values(LTI([z], [1], [1], half=True))
    twice = g.hankel_singular_values(LTI([z, conj(z)], [1, gaussian(0, 1)], [1, 1], half=True))  # residue 1 − i
    assert once[1] > 0 and twice[1] > 0 and twice[2:].tolist() == [0, 0]


def test_symbolic_systems() -> None:
    x = sympy.exp(sympy.Rational(-1, 10))
    values = g.hankel_singular_values(LTI([x], [1], [1]))
    assert values[0] == pytest.approx(math.exp(-0.1) / (1 - math.exp(-0.2)), rel=4 * EPS64)
    s = sympy.Symbol("s", real=True)
    symbolic = LTI([s], [1], [1])
    assert sympy.simplify(g.gramians(symbolic).Wc[0, 0] - 1 / (1 - s**2)) == 0
    with pytest.raises(InvalidInput, match="free symbols"):
        g.hankel_singular_values(symbolic)


@given(real_lti(max_states=3), st.integers(1, 4))
def test_condition_number_against_the_exact_gramian(system: LTI, length: int) -> None:
    values = g.reachability_singular_values(system, length)
    wc = g.reachability_matrix(system, length)
    assert values.size == linalg.rank(wc) == min(length, system.n_states)
    gram = wc @ wc.T
    trace = sum((gram[i, i] for i in range(system.n_states)), F(0))
    assert float(np.sum(values**2)) == pytest.approx(float(trace), rel=budget(8))
    if length >= system.n_states:
        assert float(np.prod(values**2)) == pytest.approx(float(linalg.determinant(gram)), rel=budget(16))
        assert math.isfinite(g.reachability_condition(system, length))


def test_condition_number_is_infinite_for_equal_modes() -> None:
    twice = LTI(["1/2", "1/2", "1/3"], [1, 2, 1], [1, 1, 1])
    assert math.isinf(g.reachability_condition(twice, 3))
    merged = np.linalg.svd(np.array([[5**0.5 * 0.5**m for m in range(3)], [3.0**-m for m in range(3)]]), compute_uv=False)
    assert g.reachability_condition(twice, 3, on_range=True) == pytest.approx(merged[0] / merged[-1], rel=budget(64))
    with pytest.raises(InvalidInput, match="every b_n is zero"):
        g.reachability_condition(LTI(["1/2"], [0], [1]), 1)


def test_unstable_modes_and_bad_lengths() -> None:
    unstable = LTI([1, "1/2"], [1, 1], [1, 1], check_stable=False)
    for call in (g.gramians, g.hankel_singular_values, g.reachability_gramian, g.observability_gramian):
        with pytest.raises(InvalidSystem, match=r"a\[0\] = 1 has"):
            call(unstable)
    assert g.reachability_gramian(unstable, 5)[0, 0] == 5  # finite lengths need no stability
    stable = LTI(["1/2"], [1], [1])
    with pytest.raises(InvalidInput, match="length = 0"):
        g.reachability_gramian(stable, 0)
    with pytest.raises(InvalidInput, match="dps = 0"):
        g.hankel_singular_values(stable, 0)
    with pytest.raises(InvalidInput, match="first_output = -1"):
        g.observability_gramian(stable, first_output=-1)
