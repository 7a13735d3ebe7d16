"""The state-space models people start training from: continuous-time modes, step sizes, and the channels they give.

=========== ================================================= ========= =======================================
name        modes A                                           default   source
                                                              rule
=========== ================================================= ========= =======================================
mamba       A_n = −n, n = 1..N ("S4D-Real")                   mamba     Gu and Dao 2023, arXiv 2312.00752
s4d_lin     A_n = −1/2 + iπn, n = 0..N/2−1                    zoh       Gu et al. 2022, arXiv 2206.11893
s4d_inv     A_n = −1/2 + i(N/π)(N/(2n+1) − 1)                 zoh       Gu et al. 2022, arXiv 2206.11893
s4d_legs    eigenvalues of the normal part of HiPPO-LegS      zoh       Gu et al. 2022, arXiv 2111.00396, 2206.11893
=========== ================================================= ========= =======================================

N counts real states: the complex ones store N/2 modes, one of each conjugate pair (``half=True``). The mode n = 0 of
s4d_lin is real, so that channel has N − 1 distinct modes, not N.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .brief import outline
from .errors import InvalidInput, InvalidSystem, UnknownName
from .given import Vector
from .lti import LTI, require_length
from .names import suggestion
from .scalars import Array

DT_PROJ_SPREAD = 3.0**-0.5
"""Norm of a freshly initialised row of dt_proj: R entries uniform on ±R^(−1/2) have ‖row‖ ≈ 3^(−1/2)."""

DT_GRID = (1e-3, 1e-2, 1e-1)
"""Step sizes at which the verdicts' tables are evaluated: both ends and the middle of Mamba's initial range."""

DT_MIN, DT_MAX, DT_FLOOR = 1e-3, 1e-1, 1e-4
"""Mamba draws dt log-uniformly from [DT_MIN, DT_MAX] and clips at DT_FLOOR."""


def hippo_legs_normal(n: int) -> Array:
    r"""The normal part S = A + P Pᵀ of HiPPO-LegS, shape (n, n), float64.

    A_nk = −√(2n+1)√(2k+1) for n > k, −(n+1) for n = k, 0 above;  P_n = √(n + 1/2).  Then S = −I/2 + K with the skew
    K_nk = −½√((2n+1)(2k+1)) for n > k, so its eigenvalues are −1/2 + iw with real w in pairs ±w.
    """
    n = require_length(n, "n")
    root = np.sqrt(2.0 * np.arange(n) + 1.0)
    lower = np.tril(-0.5 * np.outer(root, root), -1)
    return lower - lower.T - 0.5 * np.eye(n)


def _mamba(n: int) -> Array:
    return -np.arange(1.0, n + 1.0)


def _s4d_lin(n: int) -> Array:
    return -0.5 + 1j * np.pi * np.arange(n // 2)


def _s4d_inv(n: int) -> Array:
    return -0.5 + 1j * (n / np.pi) * (n / (2 * np.arange(n // 2) + 1) - 1)


def _s4d_legs(n: int) -> Array:
    skew = hippo_legs_normal(n) + 0.5 * np.eye(n)
    frequencies = np.linalg.eigvalsh(-1j * skew)  # Hermitian: real eigenvalues ±w, ascending
    return -0.5 + 1j * frequencies[n // 2 :]


_MODES: Mapping[str, Callable[[int], Array]] = {
    "mamba": _mamba,
    "s4d_lin": _s4d_lin,
    "s4d_inv": _s4d_inv,
    "s4d_legs": _s4d_legs,
}

INITIALISATIONS: tuple[str, ...] = tuple(_MODES)
"""Names that :func:`initialisation` knows."""


def _known(name: Any) -> str:
    key = (name if isinstance(name, str) else outline(name)).lower().replace("-", "_").replace(" ", "_")
    if key not in _MODES:
        raise UnknownName(f"no initialisation named {outline(name)}; {suggestion(key, INITIALISATIONS)}")
    return key


def stored_by_halves(name: str) -> bool:
    """Whether the initialisation stores one mode of each conjugate pair."""
    return _known(name) != "mamba"


def continuous_modes(name: str, n: int) -> Array:
    """The modes A that are stored: shape (N,) float64 for mamba, (N/2,) complex128 for the S4D variants.

    Raises UnknownName for an unknown name and InvalidInput for N < 1, or odd N where modes come in pairs.
    """
    key = _known(name)
    n = require_length(n, "n")
    if stored_by_halves(key) and n % 2:
        raise InvalidInput(f"n = {n}: {key} stores conjugate pairs, so the number of real states N must be even")
    return _MODES[key](n)


def _coefficients(values: Any, size: int, name: str, complex_modes: bool, rng: np.random.Generator) -> Array:
    if isinstance(values, str):
        if values == "ones":
            return np.ones(size)
        if values == "random":  # standard normal; complex ones with E|c|² = 1, as S4D draws C
            if complex_modes:
                return (rng.standard_normal(size) + 1j * rng.standard_normal(size)) / np.sqrt(2.0)
            return rng.standard_normal(size)
        raise InvalidInput(f"{name} = {outline(values)}: choose 'ones', 'random' or an array of {size} numbers")
    try:
        out = np.asarray(values)
    except ValueError as error:
        raise InvalidInput(f"{name}: rows of different lengths, expected ({size},), one number per stored mode") from error
    if out.shape != (size,):
        raise InvalidInput(f"{name} has shape {out.shape}, expected ({size},), one number per stored mode")
    return out


def initialisation(
    name: str,
    n: int,
    dt: float,
    *,
    rule: str | None = None,
    b: str | Vector = "ones",
    c: str | Vector = "random",
    seed: int = 0,
) -> LTI:
    """One channel as it is initialised, in floats: h_t = exp(dt A) h_{t−1} + b x_t, y_t = c·h_t.

    Parameters
    ----------
    name:
        One of :data:`INITIALISATIONS`; ``S4D-Lin`` and ``s4d_lin`` are the same.
    n:
        Real states N (even for the S4D variants, which store N/2 modes).
    dt:
        Step size, positive. Training starts between 1e-3 and 1e-1.
    rule:
        ``mamba`` (b = dt B), ``zoh`` or ``bilinear``; by default the one the model uses.
    b:
        Continuous-time input coefficients B: ``ones`` (the S4D default), ``random``, or an array of stored length.
    c:
        Output coefficients: ``random`` (standard normal), ``ones``, or an array of stored length.
    seed:
        Seed of the random coefficients.

    Raises
    ------
    UnknownName
        No such initialisation; the nearest names are listed.
    InvalidInput
        Odd or empty N, unknown rule, coefficients of the wrong shape, a seed that is no int ≥ 0.
    InvalidSystem
        dt that is not a positive number.
    """
    key = _known(name)
    A = continuous_modes(key, n)
    if isinstance(dt, bool) or not isinstance(dt, int | float | np.integer | np.floating) or not 0 < dt <= sys.float_info.max:
        raise InvalidSystem(f"dt = {outline(dt)} must be a positive step size, e.g. 1e-2")
    if rule is not None and not isinstance(rule, str):
        raise InvalidInput(f"rule = {outline(rule)} must be a name: zoh, mamba or bilinear")
    rng = np.random.default_rng(require_length(seed, "seed", least=0))
    half = stored_by_halves(key)
    b_array = _coefficients(b, A.size, "b", half, rng)
    c_array = _coefficients(c, A.size, "c", half, rng)
    return LTI.from_continuous(A, b_array, c_array, float(dt), discretization=rule or ("zoh" if half else "mamba"), half=half)


def softplus(x: Any) -> Array:
    """log(1 + eˣ), without overflow: the step size that a dt bias means."""
    return np.logaddexp(0.0, np.asarray(x, dtype=np.float64))


def inverse_softplus(dt: Any) -> Array:
    """The bias β with softplus(β) = dt, for dt > 0: β = dt + log(1 − e^(−dt)), as mamba-ssm initialises dt_proj.bias."""
    dt = np.asarray(dt, dtype=np.float64)
    if not np.all(dt > 0):
        raise InvalidInput("dt must be positive: softplus reaches no other value")
    return dt + np.log(-np.expm1(-dt))


def mamba_dt(n_channels: int, rng: np.random.Generator) -> Array:
    """Initial step sizes of a Mamba layer, shape (n_channels,): log-uniform on [DT_MIN, DT_MAX], at least DT_FLOOR."""
    span = np.log(DT_MAX) - np.log(DT_MIN)
    return np.maximum(np.exp(np.log(DT_MIN) + span * rng.random(require_length(n_channels, "n_channels"))), DT_FLOOR)
