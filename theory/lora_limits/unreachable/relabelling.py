"""A LoRA on A against a target function: states may be relabelled inside every channel, and nothing else helps.

One LTI or S6 channel computes a function of its set of (mode, residue) pairs, so exchanging states inside a channel changes the
parameter A but not the function. With distinct target modes of nonzero residue and N states in the student, a student
A + U V computes the target's modes iff A + U V equals the target's A* after one of the (N!)^D relabellings
(π A*)_dn = A*_{d, π_d(n)}. So a rank-r LoRA reaches the target iff some relabelled difference π A* − A has rank ≤ r.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import permutations, product
from typing import Any

import numpy as np

from theory.core.errors import InvalidInput
from theory.core.linalg import rank as exact_rank
from theory.core.linalg import rank_factors
from theory.core.lti import require_length
from theory.core.scalars import Array, as_array, is_real
from theory.core.tolerance import budget

from ..low_rank import Floor, lora_dimension, lora_floor, product_jacobian, rational_factors, require_rank

MOST_RELABELLINGS = 60_000  # beyond it brute force stops being a matter of seconds; certificates take over

Relabelling = tuple[tuple[int, ...], ...]


def count_relabellings(rows: int, columns: int) -> int:
    """(N!)^D: one permutation of the N states in each of the D channels."""
    return math.factorial(require_length(columns, "N")) ** require_length(rows, "D")


def relabellings(rows: int, columns: int) -> Iterator[Relabelling]:
    """All relabellings; InvalidInput where there are more than MOST_RELABELLINGS (use :func:`reach_certificate`)."""
    count = count_relabellings(rows, columns)
    if count > MOST_RELABELLINGS:
        raise InvalidInput(
            f"a {rows} × {columns} parameter has (N!)^D = {count} relabellings, more than {MOST_RELABELLINGS}; "
            "use reach_certificate, which needs no enumeration"
        )
    return product(permutations(range(columns)), repeat=rows)


def relabel(matrix: Any, relabelling: Relabelling) -> Array:
    """(π M)_dn = M_{d, π_d(n)}."""
    m = np.array(matrix, dtype=object)
    return np.array([[m[d, k] for k in order] for d, order in enumerate(relabelling)], dtype=object)


def _pair(frozen: Any, target: Any) -> tuple[Array, Array]:
    a, t = (as_array(v, "exact", s, ndim=2) for v, s in ((frozen, "frozen A"), (target, "target A")))
    if a.shape != t.shape or a.size == 0:
        raise InvalidInput(f"frozen A has shape {a.shape} and target A {t.shape}; they need one shape (D, N), D, N ≥ 1")
    return a, t


@dataclass(frozen=True)
class Reached:
    """A LoRA that reaches the target: A + U V = π A*."""

    left: Array
    right: Array
    relabelling: Relabelling


def reaching_update(frozen: Any, target: Any, rank: int) -> Reached | None:
    """A LoRA of rank ≤ r with A + U V = π A* for some relabelling π, or None where none exists (exhaustive, exact).

    Parameters
    ----------
    frozen, target:
        A and A*, shape (D, N), exact; (N!)^D at most MOST_RELABELLINGS.
    rank:
        r ≤ min(D, N).
    """
    a, t = _pair(frozen, target)
    r = require_rank(rank, *a.shape)
    for relabelling in relabellings(*a.shape):
        difference = relabel(t, relabelling) - a
        if exact_rank(difference) <= r:
            u, v = rank_factors(difference)
            return Reached(u, v, relabelling)
    return None


@dataclass(frozen=True)
class RelabelledFloor:
    """The least floor over all relabellings, one that attains it (to the enclosure), and the floor without relabelling."""

    floor: Floor
    relabelling: Relabelling
    identity: Floor
    relabellings: int


def relabelled_floor(frozen: Any, target: Any, rank: int) -> RelabelledFloor:
    """min over relabellings π of Σ_{i>r} σ_i(π A* − A)²: how close a rank-r LoRA on A comes to the target's parameter.

    Every relabelling's floor is first estimated in float64; those within rounding of the smallest are then enclosed
    exactly, so the minimum is certified. Exact input, small sizes (see :func:`relabellings`).
    """
    a, t = _pair(frozen, target)
    d, n = a.shape
    r = require_rank(rank, d, n)
    if any(not is_real(x) for x in (*a.ravel(), *t.ravel())):
        raise InvalidInput("A and A* have complex entries; floors are enclosed for real rationals")
    every = list(relabellings(d, n))
    estimates = np.empty(len(every))
    largest = max(abs(x) for x in (*a.ravel(), *t.ravel()))
    unit = Fraction(2) ** (largest.numerator.bit_length() - largest.denominator.bit_length())  # estimates see entries below 2
    af, tf = (a / unit).astype(float), (t / unit).astype(float)
    for i, order in enumerate(every):
        moved = np.stack([tf[row, list(o)] for row, o in enumerate(order)]) - af
        estimates[i] = np.sum(np.linalg.svd(moved, compute_uv=False)[r:] ** 2)
    scale = float(np.sum(af**2) + np.sum(tf**2)) + 1.0
    margin = budget(d * n, 8.0) * scale  # above the SVD's backward error, so no minimiser is lost
    near = [every[k] for k in np.flatnonzero(estimates <= estimates.min() + margin)]
    floors = [lora_floor(relabel(t, order) - a, r) for order in near]
    least = Floor(min(f.lower for f in floors), min(f.upper for f in floors))  # of enclosures that overlap, both ends count
    order = near[min(range(len(near)), key=lambda i: floors[i].upper)]
    return RelabelledFloor(least, order, lora_floor(t - a, r), len(every))


# -- certificates that need no enumeration -----------------------------------------------------------------------------


@dataclass(frozen=True)
class ReachCertificate:
    """Exact dimensions of two classes of kernels on L = 2N lags, at one rational point each.

    Attributes
    ----------
    student:
        Jacobian rank of (U, V, residues) ↦ kernels of a frozen A plus a rank-r LoRA, every residue free:
        r(D + N − r) + D N.
    target:
        Jacobian rank of (modes, residues) ↦ kernels: 2 D N, a lower bound of the generic dimension.
    bound:
        Upper bound of the student's rank at *every* point: lora_dimension + D N.
    """

    rows: int
    columns: int
    rank: int
    student: int
    target: int
    bound: int

    @property
    def decides(self) -> bool:
        """Whether the target class is larger, so that a generic target is out of reach for every relabelling."""
        return self.target > self.bound


def kernel_jacobian(modes: Sequence[Fraction], residues: Sequence[Fraction]) -> Array:
    """Jacobian of k_j = Σ r_n a_n^j, j < 2N, in (log a, r): shape (2N, 2N), columns log-modes first.

    ∂k_j/∂ log a_n = j r_n a_n^j (so with dt = 1 this is ∂/∂A_n, a = exp(A)), ∂k_j/∂r_n = a_n^j. Invertible iff the modes
    are distinct and nonzero and no residue vanishes (a confluent Vandermonde matrix).
    """
    lags = range(2 * len(modes))
    moved = [[j * r * a**j for a, r in zip(modes, residues, strict=True)] for j in lags]
    scaled = [[a**j for a in modes] for j in lags]
    return np.array([m + s for m, s in zip(moved, scaled, strict=True)], dtype=object)


@cache
def _target_rank(d: int, n: int) -> int:
    """Sum over channels of the exact rank of B_d at the certificate's point."""
    full = 0
    for channel in range(d):
        modes = [Fraction(channel * n + k + 1, d * n + 2) for k in range(n)]
        residues = [Fraction((-1) ** k * (1 + (channel + k) % 3)) for k in range(n)]
        full += exact_rank(kernel_jacobian(modes, residues))
    return full


def reach_certificate(rows: int, columns: int, rank: int) -> ReachCertificate:
    """Decide "a rank-r LoRA on A with all residues free matches a generic target function" by exact Jacobian ranks.

    The target point has modes a_dn = (d N + n + 1)/(D N + 2) and residues ±1, ±2, …; the LoRA acts on A = log a at the
    point of :func:`~theory.lora_limits.low_rank.rational_factors` and its base is shifted so that A + U V = log a there.
    With B_d the 2N × 2N Jacobian of channel d's kernel, the student's Jacobian is diag(B_d) · [[d(UV), 0], [0, I]], so
    its rank is rank d(UV) + D N once every B_d is invertible; both ranks are computed.
    """
    d, n = require_length(rows, "D"), require_length(columns, "N")
    r = require_rank(rank, d, n)
    full = _target_rank(d, n)
    u, v = rational_factors(d, n, r)
    moved = int(product_jacobian(u, v).rank()) if r else 0
    student = moved + d * n if full == 2 * d * n else -1  # −1: the point is degenerate and certifies nothing
    return ReachCertificate(d, n, r, student, full, lora_dimension(d, n, r) + d * n)


def far_target(rows: int, columns: int) -> Array:
    """Decays A*_dn = −2^(−2^(dN + n)) that no rank-deficient LoRA on any integer A reaches, under any relabelling.

    Leibniz terms of a minor of π A* − A have 2-adic valuation −Σ 2^(dN + n) over the entries they pick: every term picks
    another set of entries, so the valuations differ and the minor is not 0. Sizes D N ≤ 16 (the exponents double).
    """
    d, n = require_length(rows, "D"), require_length(columns, "N")
    if d * n > 16:
        raise InvalidInput(f"D N = {d * n}: the entries' exponents double with each entry; D N ≤ 16 is the limit")
    return np.array([[-Fraction(1, 2 ** (2 ** (i * n + j))) for j in range(n)] for i in range(d)], dtype=object)
