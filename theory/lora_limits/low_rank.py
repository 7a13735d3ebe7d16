"""Matrices of rank at most r: how many numbers they store, how many directions they have, how close they come.

A LoRA update of rank r on a D × N matrix is X = U V with U (D, r) and V (r, N). It stores r(D + N) numbers, the set of
all X has dimension r(D + N − r), and the least squared Frobenius distance from a matrix Δ to that set is the sum of the
trailing squared singular values Σ_{i>r} σ_i² (Schmidt 1907; Eckart and Young 1936).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import flint
import numpy as np

from theory.core.errors import InvalidInput
from theory.core.given import Matrix
from theory.core.linalg import from_flint, inverse, matmul, nullspace, to_flint
from theory.core.lti import require_length
from theory.core.scalars import Array, as_array, kind_of
from theory.core.tolerance import budget

_START_BITS = 96  # working precision at which the eigenvalues are first separated; doubled until they are


def require_rank(rank: Any, rows: int, columns: int) -> int:
    """A rank between 0 and min(D, N), or InvalidInput that names both."""
    rank = require_length(rank, "rank", least=0)
    if rank > min(rows, columns):
        raise InvalidInput(
            f"rank {rank} exceeds min(D, N) = {min(rows, columns)} of a {rows} × {columns} matrix; "
            f"at rank {min(rows, columns)} the update is already unrestricted"
        )
    return rank


def lora_stored(rows: int, columns: int, rank: int) -> int:
    """Numbers a LoRA adapter of the given rank stores: r(D + N), with U (D, r) and V (r, N)."""
    rows, columns = require_length(rows, "D"), require_length(columns, "N")
    return require_rank(rank, rows, columns) * (rows + columns)


def lora_dimension(rows: int, columns: int, rank: int) -> int:
    """Dimension of the D × N matrices of rank at most r ≤ min(D, N): r(D + N − r).

    r² less than the numbers stored, because (U G, G⁻¹ V) is the same update for every invertible r × r matrix G.
    Raises InvalidInput for a rank above min(D, N), where the formula does not hold.
    """
    rows, columns = require_length(rows, "D"), require_length(columns, "N")
    r = require_rank(rank, rows, columns)
    return r * (rows + columns - r)


def rational_factors(rows: int, columns: int, rank: int) -> tuple[Array, Array]:
    """A fixed rational point (U, V) with U (D, r) and V (r, N) of full rank r: where the dimension is certified.

    U_ik = (i+1)^k and V_kj = (j+2)^k are Vandermonde with distinct nodes, so any r rows (columns) are independent.
    """
    u = np.array([[Fraction((i + 1) ** k) for k in range(rank)] for i in range(rows)], dtype=object).reshape(rows, rank)
    v = np.array([[Fraction((j + 2) ** k) for j in range(columns)] for k in range(rank)], dtype=object)
    return u, v.reshape(rank, columns)


def product_jacobian(left: Array, right: Array) -> flint.fmpq_mat:
    """Jacobian of (U, V) ↦ U V at a rational point, shape (D·N, r(D + N)), in closed form.

    Columns: ∂/∂U_ik in row-major order, then ∂/∂V_kj; ∂(UV)_ij/∂U_ik = V_kj and ∂(UV)_ij/∂V_kj = U_ik.
    """
    (d, r), n = left.shape, right.shape[1]
    out = flint.fmpq_mat(d * n, r * (d + n))
    if r == 0:
        return out
    u, v = to_flint(left), to_flint(right)
    for i in range(d):
        for j in range(n):
            for k in range(r):
                out[i * n + j, i * r + k] = v[k, j]
                out[i * n + j, d * r + k * n + j] = u[i, k]
    return out


def certified_dimension(rows: int, columns: int, rank: int) -> int:
    """Exact rank of d(UV) at the rational point of :func:`rational_factors`.

    A lower bound of the generic rank (rank can only drop at special points). The upper bound r(D + N − r) holds at every
    point: the r² directions (U G, −G V) are in the kernel, and they are independent where U has full rank.
    """
    u, v = rational_factors(rows, columns, rank)
    return int(product_jacobian(u, v).rank()) if rank else 0


# -- best approximation ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Floor:
    """Σ_{i>r} σ_i², enclosed.

    Attributes
    ----------
    lower, upper:
        Rational bounds; equal where the sum is rational and hence known exactly. Float input is taken as the numbers it is, and
        its singular values are within c·eps·σ_1 of the computed ones, so a small floor is known by its size alone.
    condition:
        1 for exact input. For float input the relative condition number 2 √(m−r) σ_1/√floor of the sum, ``inf`` where
        the computed floor is 0.
    """

    lower: Fraction
    upper: Fraction
    condition: float = 1.0

    @property
    def exact(self) -> bool:
        """Whether the floor is known as a rational number."""
        return self.lower == self.upper

    @property
    def value(self) -> Fraction | float:
        """The rational value where it is known, else the middle of the enclosure as a float."""
        return self.lower if self.exact else float(self)

    def __float__(self) -> float:
        try:
            return float((self.lower + self.upper) / 2)
        except OverflowError as error:
            raise InvalidInput("the floor exceeds float64's range; take its bounds lower and upper") from error


def _as_fraction(x: flint.arb) -> Fraction:
    man, exp = (int(v) for v in x.man_exp())
    return Fraction(man) * Fraction(2) ** exp


def _complex_roots(polynomial: flint.fmpq_poly) -> list[Any]:
    roots: Any = polynomial.numer().complex_roots()  # python-flint's stub says acb; it is a list of (acb, multiplicity)
    return list(roots)


def _trailing_eigenvalues(gram: flint.fmpq_mat, count: int) -> tuple[Fraction, Fraction]:
    """Bounds of the sum of the ``count`` smallest eigenvalues of a symmetric rational matrix.

    The characteristic polynomial is factored over Q and its roots are enclosed by ball arithmetic, with the precision
    doubled until all are separated. The sum is rational, and returned as equal bounds, where each irreducible factor's
    roots are all taken equally often: then Vieta's formula gives it.
    """
    factors = [(f, int(k)) for f, k in gram.charpoly().factor()[1]]
    bits = _START_BITS
    while True:
        with flint.ctx.workprec(bits):
            roots = [(z.real, i) for i, (f, _) in enumerate(factors) for z, _ in _complex_roots(f)]
            roots.sort(key=lambda r: _as_fraction(r[0].mid()))
            if all(bool(p[0] < q[0]) for p, q in pairwise(roots)):
                break
        bits *= 2
    taken: dict[int, list[int]] = {i: [] for i in range(len(factors))}
    total, left = flint.arb(0), count
    with flint.ctx.workprec(bits):
        for root, i in roots:
            take = min(left, factors[i][1])
            taken[i].append(take)
            total, left = total + take * root, left - take
        if all(len(set(takes)) == 1 for takes in taken.values()):
            exact = Fraction(0)
            for i, takes in taken.items():
                f = factors[i][0]
                n = f.degree()
                ratio = -f[n - 1] / f[n]
                exact += takes[0] * Fraction(int(ratio.p), int(ratio.q))
            return exact, exact
        low, high = _as_fraction(total.lower()), _as_fraction(total.upper())
    return max(low, Fraction(0)), high


def _float_floor(delta: Array, r: int) -> Floor:
    """The enclosure from LAPACK's singular values s: |σ_i − s_i| ≤ c·eps·σ_1, an absolute bound (backward stability, Weyl)."""
    top = float(np.max(np.abs(delta)))
    if top == 0:
        return Floor(Fraction(0), Fraction(0))
    exponent = int(np.frexp(top)[1])
    s = np.linalg.svd(np.ldexp(delta, -exponent), compute_uv=False)  # entries of size 1: squares neither over- nor underflow
    unit = Fraction(2) ** exponent
    largest, tail = Fraction(float(s[0])), [Fraction(float(x)) for x in s[r:]]
    slack = Fraction(budget(delta.size)) * largest * 2  # σ_1 is the computed one to a factor far below 2
    low = sum((max(Fraction(0), x - slack) ** 2 for x in tail), Fraction(0))
    high = sum(((x + slack) ** 2 for x in tail), Fraction(0))
    value = float(np.sum(s[r:] ** 2))
    condition = float("inf") if value == 0 else 2 * float(np.sqrt(len(tail)) * s[0] / np.sqrt(value))
    return Floor(low * unit**2, high * unit**2, condition)


def lora_floor(update: Matrix, rank: int) -> Floor:
    """Least squared Frobenius error of a LoRA of rank r that should equal ``update``:  min ‖Δ − X‖² = Σ_{i>r} σ_i(Δ)².

    Parameters
    ----------
    update:
        Δ, shape (D, N). Exact numbers give an enclosure by the characteristic polynomial of the Gram matrix (equal
        bounds where the sum is rational); floats use the SVD, whose error widens the enclosure, and report the condition number.
    rank:
        r ≥ 0. From min(D, N) on the floor is 0.

    Raises
    ------
    InvalidInput
        An empty or ragged matrix, NaN, a negative rank. KindMismatch for rationals mixed with floats.
    """
    r = require_length(rank, "rank", least=0)
    if type(update) is np.ndarray and update.dtype == np.float64:  # large float arrays need no entry-by-entry look
        if update.ndim != 2 or not np.all(np.isfinite(update)):
            raise InvalidInput(f"update: expected a finite matrix (D, N), got shape {update.shape}; remove NaN and infinity")
        kind, delta = "float64", update
    else:
        kind = kind_of(update, "update")
        if kind in ("symbolic", "complex128"):
            raise InvalidInput(f"update: {kind} numbers have no floor here; pass real rationals or floats")
        delta = as_array(update, "float64" if kind == "float64" else "exact", "update", ndim=2)
    if delta.size == 0:
        raise InvalidInput(f"update has shape {delta.shape}; at least one row and one column are needed")
    d, n = delta.shape
    m = min(d, n)
    if r >= m:
        return Floor(Fraction(0), Fraction(0))
    if kind == "float64":
        return _float_floor(delta, r)
    f = to_flint(delta)
    gram = f * f.transpose() if d <= n else f.transpose() * f
    low, high = _trailing_eigenvalues(gram, m - r)
    return Floor(low, high)


def truncated(update: Any, rank: int) -> tuple[Array, Array]:
    """The best rank-r factors of a float matrix, U = (σ_i u_i) (D, r) and V (r, N), by the SVD."""
    delta = as_array(update, "float64", "update", ndim=2)
    r = require_rank(rank, *delta.shape)
    u, s, vt = np.linalg.svd(delta, full_matrices=False)
    return u[:, :r] * s[:r], vt[:r]


@dataclass(frozen=True)
class RationalSVD:
    """Δ = L diag(s) Rᵀ with rational orthogonal L (D, D), R (N, N) and s_1 ≥ … ≥ s_m ≥ 0: everything exact."""

    left: Array
    singular_values: tuple[Fraction, ...]
    right: Array

    def __post_init__(self) -> None:
        s = self.singular_values
        if list(s) != sorted(s, reverse=True) or any(x < 0 for x in s):
            raise InvalidInput(f"singular values {s} must be nonnegative and in descending order")
        if len(s) != min(len(self.left), len(self.right)):
            raise InvalidInput(f"{len(s)} singular values for a {len(self.left)} × {len(self.right)} matrix")

    def matrix(self) -> Array:
        """Δ, shape (D, N)."""
        return self.truncated(len(self.singular_values))

    def factors(self, rank: int) -> tuple[Array, Array]:
        """U = (s_i l_i)_{i ≤ r} (D, r) and V (r, N): the truncated SVD as a LoRA adapter."""
        s = np.array(self.singular_values[:rank], dtype=object)
        return self.left[:, :rank] * s, self.right[:, :rank].T

    def truncated(self, rank: int) -> Array:
        """U V of :meth:`factors`, shape (D, N)."""
        u, v = self.factors(rank)
        return matmul(u, v) if rank else np.full((len(self.left), len(self.right)), Fraction(0), dtype=object)

    def floor(self, rank: int) -> Fraction:
        """Σ_{i>r} s_i²."""
        return sum((s * s for s in self.singular_values[rank:]), Fraction(0))


def cayley(skew: Array) -> Array:
    """The rational orthogonal matrix (I − K)(I + K)⁻¹ of a rational skew-symmetric K (I + K is always invertible)."""
    eye = np.array([[Fraction(int(i == j)) for j in range(len(skew))] for i in range(len(skew))], dtype=object)
    return matmul(eye - skew, inverse(eye + skew))


@dataclass(frozen=True)
class Excess:
    """‖Δ − X‖² − Σ_{i>r} s_i² as four nonnegative terms, which is the proof that no X of rank ≤ r does better.

    With P the projector onto the kernel of X (rank N − ρ, ρ = rank X ≤ r), p_i = (RᵀPR)_ii ∈ [0, 1] and t = s_{r+1}²:

        fit  = ‖(Δ − X)(I − P)‖²        head = Σ_{i≤r} (s_i² − t) p_i
        tail = Σ_{i>r} (t − s_i²)(1 − p_i)        slack = t (r − ρ)
    """

    fit: Fraction
    head: Fraction
    tail: Fraction
    slack: Fraction

    @property
    def total(self) -> Fraction:
        """Their sum: what X misses by, beyond the floor."""
        return self.fit + self.head + self.tail + self.slack


def excess(svd: RationalSVD, candidate: Any, rank: int) -> Excess:
    """The certificate :class:`Excess` of one candidate X (D, N) with rank X ≤ r.

    Raises InvalidInput where rank X > r.
    """
    x = np.array([[Fraction(v) for v in row] for row in candidate], dtype=object)
    n = x.shape[1]
    kernel = nullspace(x)
    rho = n - len(kernel)
    if rho > rank:
        raise InvalidInput(f"the candidate has rank {rho}, more than r = {rank}")
    k = to_flint(kernel).transpose() if kernel else flint.fmpq_mat(n, 0)
    p = from_flint(k * (k.transpose() * k).inv() * k.transpose() if kernel else flint.fmpq_mat(n, n))
    eye = np.array([[Fraction(int(i == j)) for j in range(n)] for i in range(n)], dtype=object)
    miss = matmul(svd.matrix() - x, eye - p)
    weight = np.diag(matmul(matmul(svd.right.T, p), svd.right))
    squares = [s * s for s in svd.singular_values] + [Fraction(0)] * (n - len(svd.singular_values))
    t = squares[rank] if rank < n else Fraction(0)
    return Excess(
        fit=sum((v * v for v in miss.ravel()), Fraction(0)),
        head=sum(((s - t) * w for s, w in zip(squares[:rank], weight[:rank], strict=True)), Fraction(0)),
        tail=sum(((t - s) * (1 - w) for s, w in zip(squares[rank:], weight[rank:], strict=True)), Fraction(0)),
        slack=t * (rank - rho),
    )


def squared_distance(left: Any, right: Any) -> Fraction:
    """‖A − B‖_F² of two exact matrices."""
    return sum((Fraction(a - b) ** 2 for a, b in zip(np.ravel(left), np.ravel(right), strict=True)), Fraction(0))
