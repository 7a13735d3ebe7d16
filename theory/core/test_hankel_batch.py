"""The float route for many channels: its factor, its error bound, and the certified route beside it."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from theory.core.errors import InvalidInput, InvalidSystem
from theory.core.gramians import hankel_singular_values
from theory.core.hankel_batch import HankelSpectra, cauchy_factor, count_above, hankel_spectra
from theory.core.initialisations import DT_GRID, INITIALISATIONS, continuous_modes, initialisation
from theory.core.lti import LTI
from theory.core.scalars import Array
from theory.core.tolerance import EPS32, EPS_BF16, budget


def _closed(name: str, n: int, dt: float, seed: int) -> tuple[LTI, Array, Array]:
    system = initialisation(name, n, dt, seed=seed)
    A, r = continuous_modes(name, n), system.c * system.b
    if system.half:
        A, r = np.concatenate([A, A.conj()]), np.concatenate([r, r.conj()])
    return system, A, r


@pytest.mark.parametrize("name", INITIALISATIONS)
@pytest.mark.parametrize("dt", DT_GRID)
def test_against_the_certified_route(name: str, dt: float) -> None:
    """The certified route sees exp(dt A) rounded to float64, which moves the gaps between modes by about eps/(1 − |a|)."""
    systems = [_closed(name, 16, dt, seed) for seed in range(4)]
    spectra = hankel_spectra(np.stack([A for _, A, _ in systems]), np.full(4, dt), np.stack([r for _, _, r in systems]))
    for k, (system, _, _) in enumerate(systems):
        values = hankel_singular_values(system)
        rounding = budget(16, 1 / float((1 - abs(system.a)).min())) * values[0]
        assert abs(spectra.sigma[k] - values).max() <= spectra.error[k] + rounding
        assert spectra.error[k] < 1e-9 * values[0]
        for eps in (EPS32, EPS_BF16, 1e-3):
            counts, certain = count_above(spectra, eps)
            assert certain[k] and counts[k] == (values > eps * values[0]).sum()


def test_error_bound_on_the_very_system() -> None:
    """exp(−n/100) exactly, not rounded: what is left is the float route's own error, and it is within its bound."""
    n, dt = 8, 1 / 128
    c = [1, -2, 3, -1, 2, -3, 1, 1]
    modes = [sympy.Integer(-k) for k in range(1, n + 1)]
    values = hankel_singular_values(LTI.from_continuous(modes, [1] * n, c, sympy.Rational(1, 128), discretization="mamba"))
    A = -np.arange(1.0, n + 1)[None]
    spectra = hankel_spectra(A, np.array([dt]), dt * np.array([c]))
    assert abs(spectra.sigma[0] - values).max() <= spectra.error[0] <= 1e-11 * values[0]
    # negative twin: outputs from t = 0 (the textbook's Wo) are another operator
    textbook = hankel_spectra(A, np.array([dt]), dt * np.array([c]) * np.exp(-dt * A))
    assert abs(textbook.sigma[0] - values).max() > 1e6 * spectra.error[0]


@given(
    st.lists(st.floats(-50, -0.01), min_size=1, max_size=8),
    st.lists(st.floats(-20, 20), min_size=8, max_size=8),
    st.floats(1e-4, 1.0),
)
def test_factor_reproduces_the_cauchy_matrix(decay: list[float], turn: list[float], dt: float) -> None:
    """L L* = 1/(1 − a_i ā_j), lower triangular; entrywise to the accuracy that 1 − a_i ā_j has."""
    A = np.array(decay) + 1j * np.array(turn[: len(decay)])
    factor = cauchy_factor(A[None], np.array([dt]))[0]
    gap = -np.expm1(dt * (A[:, None] + A[None, :].conj()))
    scale = np.sqrt(np.outer(abs(np.diag(gap)), abs(np.diag(gap))))  # |K_ij|² ≤ K_ii K_jj
    assert abs((factor @ factor.conj().T - 1 / gap) * scale).max() <= budget(20 * len(decay), 1 + dt * abs(A).max())
    assert np.all(np.triu(factor, 1) == 0)


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
    assert abs(sigma[0] - sigma[1]).max() <= 1e-14 and sigma[0, 2] <= 1e-15
    assert np.all(sigma[2] == 0)
    counts, certain = count_above(hankel_spectra(A, dt, r), 1e-3)
    assert counts.tolist()[2] == 0 and not certain[2]


def test_long_gaps_do_not_overflow() -> None:
    A = np.array([[-1.0, -1e6, -1e-3, -5.0]])
    spectra = hankel_spectra(A, np.array([0.1]), np.ones((1, 4)))
    values = hankel_singular_values(LTI(np.exp(0.1 * A[0, [0, 2, 3]]), np.ones(3), np.ones(3)))
    assert np.all(np.isfinite(spectra.sigma)) and np.allclose(spectra.sigma[0, :3], values, rtol=1e-9, atol=0)


def test_doubtful_counts_are_said_to_be_so() -> None:
    spectra = HankelSpectra(np.array([[1.0, 0.5, 1e-3]]), np.array([1e-4]))
    assert count_above(spectra, 1e-2)[1].tolist() == [True]
    assert count_above(spectra, 1.05e-3)[1].tolist() == [False]
    assert count_above(spectra, 0.4999)[1].tolist() == [False]


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
