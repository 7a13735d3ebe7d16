"""The float route for many channels: its factor, its error bound, and ball arithmetic beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from theory.core import hankel_batch
from theory.core.errors import InvalidInput, InvalidSystem
from theory.core.gramians import hankel_singular_values
from theory.core.hankel_batch import HankelSpectra, count_above, enclosed_spectrum, hankel_spectra, weighted_factor
from theory.core.initialisations import DT_GRID, INITIALISATIONS, continuous_modes, initialisation
from theory.core.lti import LTI
from theory.core.scalars import Array
from theory.core.tolerance import EPS32, EPS64, EPS_BF16, SMALLEST_RATIO, budget

ROOT = Path(__file__).resolve().parents[2]


def _closed(name: str, n: int, dt: float, seed: int) -> tuple[Array, Array]:
    system = initialisation(name, n, dt, seed=seed)
    A, r = continuous_modes(name, n), system.c * system.b
    if system.half:
        A, r = np.concatenate([A, A.conj()]), np.concatenate([r, r.conj()])
    return A, r


def _agree(sigma: Array, expected: Array, error: float) -> None:
    """Every value to the relative error that is claimed; 0 where the truth is, or where it is below SMALLEST_RATIO."""
    kept = expected > SMALLEST_RATIO * expected[0]
    assert np.all(abs(sigma - expected)[kept] <= error * expected[kept])
    assert np.all(sigma[~kept] == 0)


@pytest.mark.parametrize("name", INITIALISATIONS)
@pytest.mark.parametrize("dt", DT_GRID)
def test_against_ball_arithmetic(name: str, dt: float) -> None:
    """Each σ, down to 1e-25 σ_1, has its digits; the bound says at least seven of them, and counts are certain."""
    systems = [_closed(name, 16, dt, seed) for seed in range(4)]
    spectra = hankel_spectra(np.stack([A for A, _ in systems]), np.full(4, dt), np.stack([r for _, r in systems]))
    assert np.all(spectra.digits() >= 7)
    for k, (A, r) in enumerate(systems):
        values = enclosed_spectrum(A, dt, r)
        _agree(spectra.sigma[k], values, spectra.error[k])
        for eps in (EPS32, EPS_BF16, 1e-3):
            counts, certain = count_above(spectra, eps)
            assert certain[k] and counts[k] == (values > eps * values[0]).sum()


def test_the_very_system() -> None:
    """exp(−n/128) exactly, through the route that knows LTI systems only."""
    n, dt = 8, 1 / 128
    c = [1, -2, 3, -1, 2, -3, 1, 1]
    modes = [sympy.Integer(-k) for k in range(1, n + 1)]
    values = hankel_singular_values(LTI.from_continuous(modes, [1] * n, c, sympy.Rational(1, 128), discretization="mamba"))
    A, r = -np.arange(1.0, n + 1), dt * np.array(c, dtype=float)
    spectra = hankel_spectra(A[None], np.array([dt]), r[None])
    assert values[-1] < 1e-9 * values[0]
    _agree(spectra.sigma[0], values, spectra.error[0])
    assert np.allclose(enclosed_spectrum(A, dt, r), values, rtol=4 * EPS64, atol=0)
    # negative twin: outputs from t = 0 (the textbook's Wo) are another operator
    textbook = hankel_spectra(A[None], np.array([dt]), (r * np.exp(-dt * A))[None])
    assert np.all(abs(textbook.sigma[0] - values) > 1e6 * spectra.error[0] * values)


@given(
    st.lists(st.tuples(st.floats(-3, 1), st.floats(-3, 3)), min_size=1, max_size=5),
    st.lists(st.floats(-3, 3), min_size=5, max_size=5),
    st.floats(-3, 0),
    st.sampled_from(["real", "pairs", "any"]),
)
def test_the_bound_holds(modes: list[tuple[float, float]], sizes: list[float], step: float, kind: str) -> None:
    """Modes over four decades, residues over six with either sign: no σ is further from the truth than its bound."""
    exponents, turns = np.array(modes).T
    A, r, dt = -(10.0**exponents) + 0j, np.sign(turns) * 10.0 ** np.array(sizes[: len(modes)]) + 0j, 10.0**step
    if kind == "real":
        A, r = A.real, r.real
    else:
        A, r = A + 1j * turns, r * np.exp(1j * turns)
    if kind == "pairs":
        A, r = np.concatenate([A, A.conj()]), np.concatenate([r, r.conj()])
    spectra = hankel_spectra(A[None], np.array([dt]), r[None])
    if spectra.error[0] < 1 and spectra.sigma[0, 0] > 0:
        _agree(spectra.sigma[0], enclosed_spectrum(A, dt, r), spectra.error[0])


@pytest.mark.parametrize("spread", [1e-3, 1e-6, 1e-9])
def test_modes_that_nearly_coincide(spread: float) -> None:
    """The last σ falls below 1e-60 σ_1, and still has its digits."""
    A = -(1.0 + spread * np.array([0.0, 1.0, 3.0, 4.0, 6.0, 7.0]))
    r = np.array([1.0, -2.0, 1.0, 3.0, -1.0, 1.0])
    spectra = hankel_spectra(A[None], np.array([0.1]), r[None])
    values = enclosed_spectrum(A, 0.1, r)
    assert values[-1] < spread**9 * values[0]
    assert spectra.error[0] < 1e-8
    _agree(spectra.sigma[0], values, spectra.error[0])


def test_what_the_bound_does_not_cover_it_does_not_claim() -> None:
    """exp(dt A) all but equal although A differs by 2πi/dt: the gaps have no digits in float64, and the bound says so."""
    dt = 0.25
    A = np.array([-1.0, -1.0 + 2j * np.pi / dt, -2.0])
    A = np.concatenate([A, A.conj()])
    spectra = hankel_spectra(A[None], np.array([dt]), np.ones((1, 6)))
    assert spectra.error[0] == np.inf and spectra.digits()[0] == 0 and not count_above(spectra, 1e-3)[1][0]
    # negative twin: a quarter of a turn apart every digit is there
    apart = A.real + 1j * A.imag / 4
    spectra = hankel_spectra(apart[None], np.array([dt]), np.ones((1, 6)))
    assert spectra.error[0] < 1e-9


@pytest.mark.parametrize("wrong", ["sigma", "vectors"])
def test_the_bound_looks_at_the_result(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the SVD returns: for a small value off by a hundredth, or vectors interchanged, the bound is at least that."""
    A, r = _closed("mamba", 12, 1e-2, 0)
    honest = hankel_spectra(A[None], np.array([1e-2]), r[None])
    original = hankel_batch.dgejsv

    def changed(matrix: Array, **options: int) -> tuple:
        sva, u, v, *rest = original(matrix, **options)
        if wrong == "sigma":
            sva[-1] *= 1.01
        else:
            v[:, [-1, -2]] = v[:, [-2, -1]]
        return sva, u, v, *rest

    monkeypatch.setattr(hankel_batch, "dgejsv", changed)
    assert honest.error[0] < 1e-8
    assert hankel_spectra(A[None], np.array([1e-2]), r[None]).error[0] >= 0.0098


@given(
    st.lists(st.floats(-50, -0.01), min_size=1, max_size=8),
    st.lists(st.floats(-20, 20), min_size=8, max_size=8),
    st.floats(1e-4, 1.0),
)
def test_factor_reproduces_the_cauchy_matrix(decay: list[float], turn: list[float], dt: float) -> None:
    """F F* = √|w_i w_j|/(1 − a_i ā_j) with w = a here; columns by decreasing size, none above its pole's entry."""
    A = np.array(decay) + 1j * np.array(turn[: len(decay)])
    F, error, logarithm = (x[0] for x in weighted_factor(A[None], np.array([dt]), np.ones((1, len(A)))))
    gap = -np.expm1(dt * (A[:, None] + A[None, :].conj()))
    root = np.exp(0.5 * (dt * A.real - logarithm))
    scale = np.sqrt(np.outer(abs(np.diag(gap)), abs(np.diag(gap))))  # |K_ij|² ≤ K_ii K_jj
    expected = np.outer(root, root) / gap
    assert abs((F @ F.conj().T - expected) * scale).max() <= 2 * error + budget(20 * len(decay), 1 + dt * abs(A).max())
    size = abs(F).max(axis=0)
    assert np.all(np.diff(size) <= 2 * error * size[:-1]) and logarithm == pytest.approx(dt * max(decay))


CHILD = """
import json, sys
import numpy as np
from scipy.linalg.lapack import dgejsv
from threadpoolctl import threadpool_info
from theory.core.hankel_batch import hankel_spectra
found = [x for x in threadpool_info() if x["internal_api"] == "openblas"]
spectra = hankel_spectra(*(np.array(x) for x in json.load(sys.stdin)))
kernels = [[x["architecture"], x["num_threads"]] for x in found]
json.dump({"kernels": kernels, "sigma": spectra.sigma.tolist()}, sys.stdout)
"""


def test_no_digit_depends_on_the_kernel_or_on_threads() -> None:
    """Four channels by this process, and by one with two threads and OpenBLAS's kernel for processors of 2008."""
    systems = [_closed("mamba", 16, 1e-2, seed) for seed in range(4)]
    channels = [np.stack([A for A, _ in systems]), np.full(4, 1e-2), np.stack([r for _, r in systems])]
    here = hankel_spectra(*channels)
    threads = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    child = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps([x.tolist() for x in channels]),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | threads | {"OPENBLAS_CORETYPE": "Nehalem"},
        check=True,
    )
    answer = json.loads(child.stdout)
    if ["Nehalem", 2] not in answer["kernels"]:
        pytest.skip(f"no OpenBLAS for x86-64 with two threads here: {answer['kernels']}")
    assert np.all(abs(np.array(answer["sigma"]) / here.sigma - 1) <= 2 * here.error[:, None])


def test_hankel_matrix_of_one_channel() -> None:
    """Two modes against numpy's SVD of a long Hankel matrix."""
    A, dt, r = np.array([[-1.0, -3.0]]), np.array([0.5]), np.array([[2.0, -1.0]])
    k = (r[0] * np.exp(dt[0] * A[0]) ** np.arange(200)[:, None]).sum(axis=1)
    h = k[1 + np.arange(80)[:, None] + np.arange(80)[None, :]]
    assert np.allclose(np.linalg.svd(h, compute_uv=False)[:2], hankel_spectra(A, dt, r).sigma[0], rtol=1e-12, atol=0)


def test_equal_modes_merge_and_zero_residues_vanish() -> None:
    dt = np.array([0.1, 0.1, 0.1])
    A = np.array([[-1.0, -2.0, -2.0], [-1.0, -2.0, -3.0], [-1.0, -2.0, -3.0]])
    r = np.array([[1.0, 3.0, -1.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    sigma = hankel_spectra(A, dt, r).sigma
    assert np.allclose(sigma[0], sigma[1], rtol=1e-12, atol=0) and sigma[0, 2] == sigma[1, 2] == 0
    assert np.all(sigma[2] == 0)
    for k in range(3):
        assert np.allclose(enclosed_spectrum(A[k], 0.1, r[k]), sigma[k], rtol=1e-12, atol=0)
    counts, certain = count_above(hankel_spectra(A, dt, r), 1e-3)
    assert counts.tolist()[2] == 0 and not certain[2]


def test_long_gaps_do_not_overflow() -> None:
    A = np.array([[-1.0, -1e6, -1e-3, -5.0]])
    spectra = hankel_spectra(A, np.array([0.1]), np.ones((1, 4)))
    values = enclosed_spectrum(A[0, [0, 2, 3]], 0.1, np.ones(3))
    _agree(spectra.sigma[0], np.append(values, 0.0), spectra.error[0])
    assert spectra.error[0] < 1e-9


def test_a_channel_that_underflows_as_a_whole_and_one_that_almost_does() -> None:
    """|exp(dt A)| = 1e-300: σ_1 is as small, the others are relative to it. At 1e-4000 nothing is left in float64."""
    A, r = np.array([-1.0, -1.0001, -1.0003]), np.array([1.0, -2.0, 3.0])
    dt = np.log(10) * np.array([300.0, 4000.0])
    spectra = hankel_spectra(np.stack([A, A]), dt, np.stack([r, r]))
    _agree(spectra.sigma[0], enclosed_spectrum(A, float(dt[0]), r), spectra.error[0])
    assert spectra.error[0] < 1e-9 and 0 < spectra.sigma[0, 0] < 1e-299
    assert np.all(spectra.sigma[1] == 0) and not count_above(spectra, 1e-3)[1][1]


def test_doubtful_counts_are_said_to_be_so() -> None:
    spectra = HankelSpectra(np.array([[1.0, 0.5, 1e-3]]), np.array([1e-2]))
    assert count_above(spectra, 1e-2)[1].tolist() == [True]
    assert count_above(spectra, 1.01e-3)[1].tolist() == [False]
    assert count_above(spectra, 1.03e-3)[1].tolist() == [True]
    assert count_above(spectra, 0.499)[1].tolist() == [False]
    assert count_above(HankelSpectra(spectra.sigma, np.array([np.inf])), 1e-2)[1].tolist() == [False]


@pytest.mark.parametrize(("error", "digits"), [(0.0, 15), (4e-16, 15), (4e-5, 4), (6e-5, 3), (0.4, 0), (np.inf, 0)])
def test_digits(error: float, digits: int) -> None:
    assert HankelSpectra(np.ones((1, 1)), np.array([error])).digits().tolist() == [digits]


@pytest.mark.parametrize(
    ("A", "dt", "r", "error", "says"),
    [
        ([-1.0], [0.1], [1.0], InvalidInput, "shape"),
        ([[-1.0]], [0.1, 0.2], [[1.0]], InvalidInput, "shape"),
        ([[-1.0]], [0.1], [[1.0, 2.0]], InvalidInput, "one residue per mode"),
        ([[float("nan")]], [0.1], [[1.0]], InvalidInput, "not finite"),
        ([[-1.0]], [0.1], [[float("inf")]], InvalidInput, "not finite"),
        ([[1.0]], [0.1], [[1.0]], InvalidSystem, "negative"),
        ([[-1.0]], [0.0], [[1.0]], InvalidSystem, "positive"),
        ([[-1e-200]], [1e-200], [[1.0]], InvalidSystem, "underflows"),
    ],
)
def test_bad_input(A: list, dt: list, r: list, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        hankel_spectra(np.array(A), np.array(dt), np.array(r))


@pytest.mark.parametrize("eps", [1.0, -1e-3, float("nan")])
def test_bad_eps(eps: float) -> None:
    with pytest.raises(InvalidInput, match="eps"):
        count_above(HankelSpectra(np.ones((1, 1)), np.zeros(1)), eps)
