"""Initialisations against the papers' formulas, against identities of HiPPO-LegS, and with bad arguments."""

from __future__ import annotations

import numpy as np
import pytest

from theory.core.errors import InvalidInput, InvalidSystem, UnknownName
from theory.core.initialisations import (
    DT_FLOOR,
    DT_GRID,
    DT_MAX,
    DT_MIN,
    INITIALISATIONS,
    continuous_modes,
    hippo_legs_normal,
    initialisation,
    inverse_softplus,
    mamba_dt,
    softplus,
    stored_by_halves,
)
from theory.core.tolerance import budget


def test_mamba_modes_are_the_negative_integers() -> None:
    assert continuous_modes("mamba", 4).tolist() == [-1, -2, -3, -4]


def test_s4d_lin_and_inv_at_n_4() -> None:
    assert np.allclose(continuous_modes("s4d_lin", 4), [-0.5, -0.5 + 1j * np.pi], rtol=budget(4), atol=0)
    # (N/π)(N/(2n+1) − 1) at N = 4: n = 0 gives 12/π, n = 1 gives (4/π)(1/3)
    assert np.allclose(continuous_modes("s4d_inv", 4), [-0.5 + 12j / np.pi, -0.5 + 4j / (3 * np.pi)], rtol=budget(4), atol=0)


@pytest.mark.parametrize("n", [2, 4, 16, 64])
def test_legs_normal_part_is_hippo_plus_its_rank_one_correction(n: int) -> None:
    k = np.arange(n)
    hippo = -np.tril(np.sqrt(np.outer(2 * k + 1, 2 * k + 1)), -1) - np.diag(k + 1.0)
    p = np.sqrt(k + 0.5)
    s = hippo_legs_normal(n)
    assert np.abs(hippo + np.outer(p, p) - s).max() <= budget(2) * np.abs(s).max()
    assert np.abs(s @ s.T - s.T @ s).max() <= budget(n) * np.abs(s @ s.T).max()  # normal
    assert np.abs(hippo @ hippo.T - hippo.T @ hippo).max() > 0.1  # HiPPO itself is not


@pytest.mark.parametrize("n", [2, 4, 16, 64])
def test_legs_modes_have_the_traces_of_the_normal_part(n: int) -> None:
    modes = continuous_modes("s4d_legs", n)
    assert modes.shape == (n // 2,)
    assert np.all(modes.real == -0.5)
    assert np.all(np.diff(modes.imag) > 0) and modes.imag[0] > 0
    # Σ w² over all N eigenvalues = ‖K‖_F² = Σ_{j<k} (2j+1)(2k+1)/2, an integer identity: (N⁴ − Σ(2k+1)²)/4
    odd = [2 * k + 1 for k in range(n)]
    exact = (n**4 - sum(v * v for v in odd)) / 4
    assert 2 * float(np.sum(modes.imag**2)) == pytest.approx(exact, rel=budget(n * n))
    lam = modes[-1]
    smallest = np.linalg.svd(hippo_legs_normal(n) - lam * np.eye(n), compute_uv=False)[-1]
    assert smallest <= budget(n) * np.abs(lam)
    assert np.linalg.svd(hippo_legs_normal(n) - (lam + 0.25) * np.eye(n), compute_uv=False)[-1] > 0.1  # negative twin


@pytest.mark.parametrize("name", INITIALISATIONS)
@pytest.mark.parametrize("dt", DT_GRID)
def test_initialisation_discretises_its_modes(name: str, dt: float) -> None:
    system = initialisation(name, 8, dt, seed=3)
    modes = continuous_modes(name, 8)
    assert system.half is stored_by_halves(name)
    assert system.closed().n_states == 8
    assert np.allclose(system.a, np.exp(dt * modes), rtol=budget(1), atol=0)
    expected = np.full(modes.shape, dt) if name == "mamba" else np.expm1(dt * modes) / modes
    assert np.allclose(system.b, expected, rtol=budget(2), atol=0)
    assert initialisation(name, 8, dt, seed=3) == system
    assert initialisation(name, 8, dt, seed=4) != system
    other = initialisation(name, 8, dt, seed=3, rule="bilinear")
    assert not np.allclose(other.a, system.a, rtol=budget(1), atol=0)


def test_s4d_lin_has_one_real_mode_stored_like_a_pair() -> None:
    assert initialisation("s4d_lin", 16, 1e-2).n_observable() == 15
    assert initialisation("s4d_inv", 16, 1e-2).n_observable() == 16


def test_names_are_forgiving_about_case_and_hyphens_only() -> None:
    assert initialisation("S4D-Lin", 4, 1e-2) == initialisation("s4d_lin", 4, 1e-2)
    with pytest.raises(UnknownName, match="s4d_legs"):
        initialisation("s4d_legz", 4, 1e-2)
    with pytest.raises(UnknownName, match="known: mamba"):
        initialisation("qqqq", 4, 1e-2)


@pytest.mark.parametrize("n", [0, -2, 2.0, True])
def test_bad_state_counts(n: object) -> None:
    with pytest.raises(InvalidInput, match="n = "):
        initialisation("mamba", n, 1e-2)  # type: ignore[arg-type]


def test_odd_state_count_of_a_paired_model() -> None:
    with pytest.raises(InvalidInput, match="must be even"):
        initialisation("s4d_inv", 5, 1e-2)
    assert initialisation("mamba", 5, 1e-2).n_states == 5


@pytest.mark.parametrize("dt", [0.0, -1e-3, float("nan"), float("inf"), "0.1", True])
def test_bad_step_sizes(dt: object) -> None:
    with pytest.raises(InvalidSystem, match="positive step size"):
        initialisation("mamba", 4, dt)  # type: ignore[arg-type]


def test_bad_coefficients() -> None:
    with pytest.raises(InvalidInput, match=r"c has shape \(3,\), expected \(4,\)"):
        initialisation("mamba", 4, 1e-2, c=[1.0, 2.0, 3.0])
    with pytest.raises(InvalidInput, match="choose 'ones'"):
        initialisation("mamba", 4, 1e-2, b="two")
    with pytest.raises(InvalidInput, match="not finite"):
        initialisation("mamba", 4, 1e-2, c=[1.0, 2.0, 3.0, float("nan")])
    with pytest.raises(InvalidInput, match="unknown discretization"):
        initialisation("mamba", 4, 1e-2, rule="euler")


def test_clock_round_trip_and_range() -> None:
    dt = mamba_dt(4000, np.random.default_rng(0))
    assert dt.min() >= max(DT_MIN, DT_FLOOR) and dt.max() <= DT_MAX
    assert abs(np.log10(dt).mean() + 2) < 5 * (2 / np.sqrt(12)) / np.sqrt(4000)  # log-uniform on two decades
    # softplus' condition number at β is at most |β| + 1
    assert np.allclose(softplus(inverse_softplus(dt)), dt, rtol=budget(4, cond=10), atol=0)
    with pytest.raises(InvalidInput, match="positive"):
        inverse_softplus([0.1, 0.0])
