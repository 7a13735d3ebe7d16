r"""Hankel singular values of many channels at once, in float64: every value, however small, keeps its leading digits.

For modes a_i = exp(dt A_i) the Cauchy matrix 1/(1 − a_i ā_j) has an explicit factor: values of the Takenaka–Malmquist
functions at the modes. With the weights √|w| of the channel, w = c b a, it reads, for poles p_0, p_1, … (the modes in any
order),

    F_nk = √|w_n| · √(1 − |p_k|²)/(1 − a_n p̄_k) · Π_{j<k} (a_n − p_j)/(1 − a_n p̄_j),      (F F*)_ij = √|w_i w_j|/(1 − a_i ā_j),

and the σ's are the singular values of Fᵀ diag(w/|w|) F. Three things keep the digits of the small ones:

- Each entry of F is a product of quotients of expm1's, so it is accurate relative to itself, at any condition (the
  Cauchy matrix' own goes beyond 1e80).
- Each pole is the mode where what is left of F F* is largest (complete pivoting). So F = X Δ with Δ diagonal, and X is
  well conditioned. Entry (i, j) of Δ (Xᵀ diag(w/|w|) X) Δ is accurate relative to Δ_i Δ_j.
- The SVD of that matrix is LAPACK's gejsv: QR with row and column pivoting, then one-sided Jacobi rotations. A standard
  SVD is accurate relative to the largest σ only; its small values would be those of the BLAS kernel at hand.

The error bound asks for none of this; it looks at the result. With σ, U and V as computed, let

    T = (F Ū Σ^{−1/2})ᵀ diag(w/|w|) (F V Σ^{−1/2}).

Where ‖T − I‖ ≤ ν < 1, each σ has a relative error of at most ν, and what U and V lack of being unitary. (The Hermitian
matrix [[0, B], [B*, 0]], B = Σ^{1/2} T Σ^{1/2}, lies between H − ν|H| and H + ν|H| for the same matrix H with Σ in place of
B, so its eigenvalues do.) T is computed with a bound of its own rounding and of F's.

Sources: Demmel, Accurate SVDs of structured matrices, SIAM J. Matrix Anal. Appl. 21 (1999); Haut and Beylkin, Fast and
accurate con-eigenvalue algorithm, ibid. 33 (2012); Drmač and Veselić, New fast and accurate Jacobi SVD algorithm, ibid. 29
(2008); Veselić and Slapničar, Floating-point perturbations of Hermitian matrices, Linear Algebra Appl. 195 (1993); Heuberger,
Van den Hof and Wahlberg, Modelling and Identification with Rational Orthogonal Basis Functions (2005).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from flint import acb, acb_mat
from scipy.linalg.lapack import dgejsv
from threadpoolctl import threadpool_limits

from .brief import outline
from .errors import InvalidInput, InvalidSystem
from .gramians import BITS_COMPLEX, BITS_REAL, ball_gramians
from .multiprecision import positive_spectrum, sqrt_floats, to_acb
from .scalars import Array
from .tolerance import EPS64, SMALLEST_RATIO, budget

_GRADED = 2
"""gejsv's JOBA = 'F': full pivoting, for D C D' with well conditioned C and any diagonal D, D'."""

_ERRORS_PER_FACTOR = 4
"""Rounding errors of one quotient of F beside those that its exponentials amplify: two expm1's, a product, a division."""

_BOUNDED_TERMS = 3
"""T has the rounding of three sums (F Ū, F V and their product), and F's own error twice: less than three times both."""


class HankelSpectra(NamedTuple):
    """``sigma``: shape (K, N), each row decreasing. ``error``: shape (K,), a bound on |computed − σ|/σ in the row.

    Zeros are exact (equal modes, residues 0), or σ lies below :data:`~theory.core.tolerance.SMALLEST_RATIO` σ_1.
    """

    sigma: Array
    error: Array

    def digits(self) -> Array:
        """How many significant digits of every σ/σ_1 hold, shape (K,): the relative error is at most 10^−digits."""
        with np.errstate(divide="ignore"):
            held = np.floor(-np.log10(2 * self.error))
        return np.clip(np.nan_to_num(held, neginf=0), 0, math.floor(-math.log10(EPS64))).astype(int)


class Factor(NamedTuple):
    """``F``: shape (K, N, N), columns in the order of the poles. ``error``: shape (K,), relative, of every entry.

    ``logarithm``: shape (K,). F is scaled so that the largest |w| of each channel counts as 1; it is exp(logarithm).
    """

    F: Array
    error: Array
    logarithm: Array


def _checked(A: Array, dt: Array, residues: Array) -> tuple[Array, Array, Array]:
    A, dt, residues = np.asarray(A), np.asarray(dt, dtype=np.float64), np.asarray(residues)
    kind = np.complex128 if np.iscomplexobj(A) or np.iscomplexobj(residues) else np.float64
    A, residues = A.astype(kind), residues.astype(kind)
    if A.ndim != 2 or A.size == 0 or dt.shape != A.shape[:1]:
        raise InvalidInput(f"A needs shape (K, N) and dt shape (K,), both not empty; got {A.shape} and {dt.shape}")
    if residues.shape != A.shape:
        raise InvalidInput(f"residues have shape {residues.shape}, A has {A.shape}: one residue per mode")
    if not np.all(np.isfinite(A)) or not np.all(np.isfinite(dt)):
        raise InvalidInput("A or dt is not finite; remove NaN and infinite values")
    if not np.all(np.isfinite(residues)):
        raise InvalidInput("residues are not finite; remove NaN and infinite values")
    if not np.all(dt > 0) or not np.all(A.real < 0):
        raise InvalidSystem("dt must be positive and Re A negative: the Hankel operator exists only for |exp(dt A)| < 1")
    if not np.all(-np.expm1(2.0 * dt[:, None] * A.real) > np.finfo(np.float64).tiny):
        raise InvalidSystem("dt · |Re A| underflows: the mode does not decay in float64; check the dt bias and A_log")
    return A, dt, residues


def _amplified(z: Array, value: Array) -> Array:
    """By how much expm1(z) = ``value`` amplifies a relative error of z: |z e^z/(e^z − 1)|, large where z is near 2πik, k ≠ 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(value == 0, 0.0, abs(z) * abs(1.0 + value) / abs(value))


def weighted_factor(A: Array, dt: Array, residues: Array) -> Factor:
    """F with (F F*)_ij = √|w_i w_j|/(1 − a_i ā_j) up to the scale of w = c b a, its columns by decreasing size.

    Parameters and errors as for :func:`hankel_spectra`. Equal modes and zero residues give zero columns, at the end.
    """
    A, dt, residues = _checked(A, dt, residues)
    step, rows = dt[:, None], np.arange(len(A))
    with np.errstate(divide="ignore"):
        size = np.log(abs(residues))
    exponent = size + step * A.real  # of |w|, whose own value may underflow
    logarithm = exponent.max(axis=1)
    live = np.isfinite(exponent)
    root = np.exp(0.5 * np.where(live, exponent - np.where(np.isfinite(logarithm), logarithm, 0.0)[:, None], -np.inf))
    known = 2 * _ERRORS_PER_FACTOR + np.where(live, abs(size), 0.0) + abs(step * A)  # errors in units of float64's spacing
    decay = -np.expm1(2.0 * step * A.real)  # 1 − |a|²
    product, errors = np.ones_like(A), np.zeros(A.shape)
    F, worst = np.empty((*A.shape, A.shape[1]), dtype=A.dtype), np.zeros(len(A))
    for k in range(A.shape[1]):
        pole = (root * abs(product) / np.sqrt(decay)).argmax(axis=1)
        at = A[rows, pole][:, None]
        z = step * (A + at.conj())
        below = np.expm1(z)  # a p̄ − 1
        errors = errors + _amplified(z, below) + _ERRORS_PER_FACTOR
        F[:, :, k] = root * np.sqrt(decay[rows, pole])[:, None] / -below * product
        worst = np.maximum(worst, np.where(F[:, :, k] == 0, 0.0, errors + known).max(axis=1))
        # a − p = p expm1(dt (A − A_p)), taken from the slower of the two so that nothing overflows
        faster = A.real > at.real
        gap, slow = step * np.where(faster, at - A, A - at), step * np.where(faster, A, at)
        above = np.expm1(gap)
        errors = errors + _amplified(gap, above) + abs(slow)
        product = product * np.where(faster, -above, above) * np.exp(slow) / -below
    return Factor(F, np.array([budget(math.ceil(min(x, 1 / EPS64))) for x in worst]), logarithm)


def _embedded(matrix: Array) -> Array:
    """A complex matrix as a real one of twice the size, with each singular value twice; a real one as it is."""
    if not np.iscomplexobj(matrix):
        return matrix
    return np.block([[matrix.real, -matrix.imag], [matrix.imag, matrix.real]])


def _spectrum(F: Array, phase: Array, error: float) -> tuple[Array, float]:
    """Singular values of Fᵀ diag(phase) F, decreasing, and the bound of their relative error; see the module's text.

    F: shape (N, R), entries known to the relative ``error``; R may be 0.
    """
    if F.shape[1] == 0:
        return np.zeros(0), 0.0
    size = abs(F).max(axis=0)
    left, right = _embedded((F / size).conj()), _embedded(phase[:, None] * (F / size))
    grade = np.tile(size, left.shape[1] // size.size)
    sva, u, v, work, _, failed = dgejsv(
        grade[:, None] * (left.T @ right) * grade, joba=_GRADED, jobu=0, jobv=0, jobr=0, jobt=0, jobp=0
    )
    sigma = sva * (work[0] / work[1])
    if failed or not np.all(sigma > 0):
        return np.maximum(sigma[:: grade.size // size.size], 0.0), math.inf
    p, q = (grade[:, None] * x / np.sqrt(sigma) for x in (u, v))
    unit = np.eye(sigma.size)
    rounding = _BOUNDED_TERMS * (error + budget(sigma.size))
    bound = np.linalg.norm((left @ p).T @ (right @ q) - unit)
    bound += rounding * np.linalg.norm((abs(left) @ abs(p)).T @ (abs(right) @ abs(q)))
    bound += max(np.linalg.norm(x.T @ x - unit) for x in (u, v)) + budget(sigma.size)
    return sigma[:: grade.size // size.size], float(bound) if bound < 1 else math.inf


def hankel_spectra(A: Array, dt: Array, residues: Array) -> HankelSpectra:
    """Hankel singular values of K channels with modes exp(dt A) and residues c b, with a relative error bound per channel.

    Float64; typical bounds are 1e-9 (N = 16 real modes) and 1e-7 (N = 64 complex ones). The bound is ∞ where nothing is
    known: modes exp(dt A) that all but coincide although A's differ by a multiple of 2πi/dt. Then
    :func:`enclosed_spectrum` helps.

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
    InvalidInput
        Wrong shapes, or values that are not finite.
    InvalidSystem
        dt ≤ 0, Re A ≥ 0, or a step so small that 1 − |a|² is 0 in float64.
    """
    A, dt, residues = _checked(A, dt, residues)
    factor = weighted_factor(A, dt, residues)
    with np.errstate(invalid="ignore", divide="ignore"):
        phase = np.where(residues == 0, 1.0, residues / abs(residues)) * np.exp(1j * dt[:, None] * A.imag)
    if not np.iscomplexobj(A):
        phase = phase.real
    sigma, error = np.zeros(A.shape), np.zeros(len(A))
    with threadpool_limits(limits=1, user_api="blas"):  # many small matrices: threads wait for each other, up to 30 times as long
        for k, F in enumerate(factor.F):
            size = abs(F).max(axis=0)
            # By the bound in the module's text, the columns left out change a σ above SMALLEST_RATIO σ_1 by 1e-40 of itself.
            values, error[k] = _spectrum(F[:, size > size[0] * SMALLEST_RATIO**0.7], phase[k], float(factor.error[k]))
            sigma[k, : values.size] = np.where(values > values[:1] * SMALLEST_RATIO, values, 0.0)
    return HankelSpectra(sigma * np.exp(factor.logarithm)[:, None], error)


def enclosed_spectrum(A: Array, dt: float, residues: Array) -> Array:
    """The same for one channel in ball arithmetic, shape (N,): every value correct to float64's relative precision.

    Parameters and errors as for :func:`hankel_spectra`, with A and residues of shape (N,); InvalidSystem too where σ is not
    told from 0. Takes milliseconds to seconds, the more the smaller the least σ.
    """
    modes, steps, weights = _checked(np.asarray(A)[None], np.array([dt]), np.asarray(residues)[None])
    merged: dict[complex, list[complex]] = {}
    for a, r in zip(modes[0].tolist(), weights[0].tolist(), strict=True):
        merged.setdefault(a, []).append(r)
    # An exact sum of floats is 0 if its rounded one is (fsum rounds once).
    seen = {a: r for a, r in merged.items() if math.fsum(np.real(r)) != 0 or math.fsum(np.imag(r)) != 0}
    out = np.zeros(modes.shape[1])
    if not seen:
        return out

    def product() -> acb_mat:
        a = [(to_acb(x) * to_acb(float(steps[0]))).exp() for x in seen]
        wc, wo = ball_gramians(a, [sum((to_acb(x) for x in r), acb(0)) for r in seen.values()])
        return wc * wo

    bits = len(seen) * (BITS_COMPLEX if np.iscomplexobj(modes) else BITS_REAL)
    out[: len(seen)] = sqrt_floats(positive_spectrum(product, bits, "Hankel singular values"), to_zero=True)
    return out


def count_above(spectra: HankelSpectra, eps: float) -> tuple[Array, Array]:
    """Per channel: the number of σ > eps σ_1, and whether the error bound leaves no doubt about it; shapes (K,).

    A channel without output (all σ are 0) is never certain. Raises InvalidInput for eps outside [0, 1).
    """
    if not 0 <= eps < 1:
        raise InvalidInput(f"eps = {outline(eps)} must lie in [0, 1), e.g. 1e-3 or the spacing of a float format")
    sigma, error = spectra
    threshold = eps * sigma[:, :1]
    with np.errstate(invalid="ignore"):
        certain = (abs(sigma - threshold) > error[:, None] * (sigma + threshold)).all(axis=1) & (error < 1)
    return (sigma > threshold).sum(axis=1), certain & (sigma[:, 0] > 0)
