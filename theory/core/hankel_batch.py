r"""Hankel singular values of many channels at once, in float64 with an error bound.

For modes a_i = exp(dt A_i) the Cauchy matrix K_ij = 1/(1 − a_i ā_j) has an explicit Cholesky factor: the values of the
Takenaka–Malmquist functions at the modes,

    L_nk = √(1 − |a_k|²)/(1 − a_n ā_k) · Π_{j<k} (a_n − a_j)/(1 − a_n ā_j),      K = L L*.

With Wc = diag(b) K diag(b)* and Wo = diag(c a)* K̄ diag(c a), √λ(Wc Wo) are the singular values of Lᵀ diag(c b a) L. Every
entry of L is a product of quotients of expm1's, so it keeps its relative accuracy where a Cholesky routine would break
down (K's condition goes beyond 1e80). What is lost is only what cancels in the sum over modes, and that is bounded.
So σ's are good to about 1e-13 σ_1 here; smaller ones, and proofs, need :func:`theory.core.gramians.hankel_singular_values`.

Source: Heuberger, Van den Hof and Wahlberg, Modelling and Identification with Rational Orthogonal Basis Functions (2005).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .errors import InvalidInput, InvalidSystem
from .scalars import Array
from .tolerance import budget

# Rounding errors per entry of L: each of the N quotients takes two exponentials, a product and a division, complex ones.
_ERRORS_PER_FACTOR = 10


class HankelSpectra(NamedTuple):
    """``sigma``: shape (K, N), each row decreasing. ``error``: shape (K,), a bound on |σ computed − σ| within the row."""

    sigma: Array
    error: Array


def _checked(A: Array, dt: Array) -> tuple[Array, Array]:
    A, dt = np.asarray(A), np.asarray(dt, dtype=np.float64)
    A = A.astype(np.complex128 if np.iscomplexobj(A) else np.float64)
    if A.ndim != 2 or A.size == 0 or dt.shape != A.shape[:1]:
        raise InvalidInput(f"A needs shape (K, N) and dt shape (K,), both not empty; got {A.shape} and {dt.shape}")
    if not np.all(np.isfinite(A)) or not np.all(np.isfinite(dt)):
        raise InvalidInput("A or dt is not finite; remove NaN and infinite values")
    if not np.all(dt > 0) or not np.all(A.real < 0):
        raise InvalidSystem("dt must be positive and Re A negative: the Hankel operator exists only for |exp(dt A)| < 1")
    return A, dt


def cauchy_factor(A: Array, dt: Array) -> Array:
    """L with L L* = 1/(1 − a_i ā_j), a = exp(dt A); lower triangular, shape (K, N, N). A: (K, N) with Re A < 0; dt: (K,).

    Equal modes are allowed (L then has a zero on its diagonal). Raises InvalidInput for wrong shapes or values that are
    not finite, InvalidSystem for dt ≤ 0, Re A ≥ 0, or a step so small that 1 − |a|² is 0 in float64.
    """
    A, dt = _checked(A, dt)
    step = dt[:, None, None]
    rows, columns = A[:, :, None], A[:, None, :]
    denominator = -np.expm1(step * (rows + columns.conj()))  # 1 − a_n ā_j
    # a_n − a_j = a_j expm1(dt (A_n − A_j)), taken from the slower of the two so that nothing overflows
    faster = rows.real > columns.real
    gap = step * (rows - columns)
    numerator = np.exp(step * np.where(faster, rows, columns)) * np.expm1(np.where(faster, -gap, gap))
    numerator = np.where(faster, -numerator, numerator)
    diagonal = np.einsum("kii->ki", denominator).real
    if not np.all(diagonal > np.finfo(np.float64).tiny):
        raise InvalidSystem("dt · |Re A| underflows: the mode does not decay in float64; check the dt bias and A_log")
    blaschke = np.cumprod(numerator / denominator, axis=2)
    before = np.concatenate([np.ones_like(blaschke[:, :, :1]), blaschke[:, :, :-1]], axis=2)
    return np.sqrt(diagonal)[:, None, :] / denominator * before


def hankel_spectra(A: Array, dt: Array, residues: Array) -> HankelSpectra:
    """Hankel singular values of K channels with modes exp(dt A) and residues c b, float64 with an error bound per channel.

    Parameters
    ----------
    A:
        Shape (K, N), Re A < 0; all modes of the closed system (for half storage, both of each pair).
    dt:
        Shape (K,), positive.
    residues:
        Shape (K, N): r_n = c_n b_n of the discrete system.

    Raises
    ------
    InvalidInput, InvalidSystem
        As :func:`cauchy_factor`.
    """
    A, dt = _checked(A, dt)
    residues = np.asarray(residues)
    if residues.shape != A.shape:
        raise InvalidInput(f"residues have shape {residues.shape}, A has {A.shape}: one residue per mode")
    if not np.all(np.isfinite(residues)):
        raise InvalidInput("residues are not finite; remove NaN and infinite values")
    factor = cauchy_factor(A, dt)
    weights = residues * np.exp(dt[:, None] * A)
    product = np.einsum("kni,kn,knj->kij", factor, weights, factor, optimize=True)
    bound = np.einsum("kni,kn,knj->kij", abs(factor), abs(weights), abs(factor), optimize=True)
    # exp(x) turns a relative error of x into an absolute one: the largest exponent is the condition number
    condition = 1.0 + dt * (2.0 * abs(A).max(axis=1))
    per_entry = np.array([budget(_ERRORS_PER_FACTOR * A.shape[1], float(c)) for c in condition])
    return HankelSpectra(np.linalg.svd(product, compute_uv=False), per_entry * np.linalg.norm(bound, axis=(1, 2)))


def count_above(spectra: HankelSpectra, eps: float) -> tuple[Array, Array]:
    """Per channel: the number of σ > eps σ_1, and whether the error bound leaves no doubt about it; shapes (K,).

    A channel whose largest σ is within the bound of 0 is never certain. Raises InvalidInput for eps outside [0, 1).
    """
    if not 0 <= eps < 1:
        raise InvalidInput(f"eps = {eps!r} must lie in [0, 1), e.g. 1e-3 or the spacing of a float format")
    sigma, error = spectra
    distance = abs(sigma - eps * sigma[:, :1])
    certain = (distance > (1 + eps) * error[:, None]).all(axis=1) & (sigma[:, 0] > error)
    return (sigma > eps * sigma[:, :1]).sum(axis=1), certain
