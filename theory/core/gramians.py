r"""Gramians and Hankel singular values of diagonal channels, in closed form.

For h_t = a ⊙ h_{t−1} + b x_t and o_t = Σ_n c_n a_n^t h_{0,n} (what an initial state adds to the outputs t = 1, 2, …):

    Wc(M)_ij = Σ_{m<M} b_i a_i^m (b_j a_j^m)‾  = b_i b̄_j G_M(a_i ā_j)          reachability, after M tokens
    Wo(L)_ij = Σ_{t=1..L} (c_i a_i^t)‾ c_j a_j^t = c̄_i ā_i c_j a_j G_L(ā_i a_j)   observability, over L outputs

with G_M(z) = 1 + z + … + z^{M−1} → 1/(1 − z). Both are Hermitian. Mind two things: outputs start at t = 1, one factor a
after the state (``first_output=0`` gives the textbook's Wo, which starts at c·h_0); and the conjugate stands on the
second index of Wc but on the first of Wo.

Everything refers to the closed system (:meth:`theory.LTI.closed`): with half storage, the stored modes followed by their
conjugates. There the norm of a state is that of the full conjugate-symmetric vector, √2 times that of the stored half.

Source: Antoulas, Approximation of Large-Scale Dynamical Systems (2005), ch. 4 and 5; Glover 1984.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import flint
import numpy as np
from flint import acb, acb_mat, arb

from .brief import brief
from .constants import MAX_BITS
from .errors import InvalidInput, InvalidSystem, Undecided
from .linalg import to_flint
from .lti import LTI, _modulus_at_least_one, require_channel, require_length
from .multiprecision import nearest_float, positive_spectrum, sqrt_floats, to_acb, to_arb
from .scalars import Array, Kind, as_array, conj, imag, is_real, is_zero, real, zeros

# Where the search for a sufficient precision starts, in bits per state: real decays crowd at 1 and need more. A guess
# that only saves time; what counts is that the error bounds are small in the end.
BITS_REAL, BITS_COMPLEX = 32, 16


class Gramians(NamedTuple):
    """Reachability and observability Gramians of the closed system, shape (N, N) each, in the system's kind."""

    Wc: Array
    Wo: Array


def require_stable(system: LTI, what: str) -> LTI:
    """The system itself, or InvalidSystem naming the mode with |a| ≥ 1, for which ``what`` diverges."""
    for n, value in enumerate(require_channel(system).a):
        if _modulus_at_least_one(value):
            raise InvalidSystem(f"a[{n}] = {brief(value)} has |a| ≥ 1: {what} exists only for |a| < 1; use a finite length")
    return system


def geometric_sum(z: Any, terms: int) -> Any:
    """G_M(z) = Σ_{m<M} z^m, elementwise, in O(log M) products; exact for exact numbers and defined at z = 1.

    Doubling, G_{2k} = G_k (1 + z^k) and G_{k+1} = 1 + z G_k, never divides by 1 − z and so keeps its digits near z = 1.
    """
    terms = require_length(terms, "terms")
    total, power = 1 + 0 * z, z  # G_1 and z^1
    for bit in bin(terms)[3:]:
        total, power = total * (1 + power), power * power
        if bit == "1":
            total, power = 1 + z * total, power * z
    return total


def _outer(u: Array, v: Array) -> Array:
    return u[:, None] * v[None, :]


def _limit(z: Array) -> Array:
    """1/(1 − z), the sum of the whole series."""
    return 1 / (1 - z)


def _closed(system: LTI) -> tuple[Array, Array, Array]:
    full = system.closed()
    return full.a, full.b, full.c


def reachability_gramian(system: LTI, length: int | None = None) -> Array:
    """Wc(M), shape (N, N) of the closed system; ``length=None`` for M = ∞.

    W = a Wc ā + b b* (the Stein equation, M = ∞);  finite M: Wc(M) = Wc − a^M Wc ā^M.

    Raises
    ------
    InvalidSystem
        |a| ≥ 1 with M = ∞.
    InvalidInput
        A length below 1.
    """
    if length is None:
        require_stable(system, "the infinite-length Gramian Wc")
    a, b, _ = _closed(system)
    z = _outer(a, conj(a))
    return _outer(b, conj(b)) * (_limit(z) if length is None else geometric_sum(z, require_length(length)))


def observability_gramian(system: LTI, length: int | None = None, *, first_output: int = 1) -> Array:
    """Wo(L), shape (N, N) of the closed system, over outputs t = first_output, …; ``length=None`` for L = ∞.

    first_output = 1 counts o_t = c·(a^t h_0) from t = 1 (a state left by a prefix); 0 is the textbook's convention.
    Raises as :func:`reachability_gramian`.
    """
    if length is None:
        require_stable(system, "the infinite-length Gramian Wo")
    a, _, c = _closed(system)
    first = require_length(first_output, "first_output", least=0)
    v = c * _power(a, first)
    z = _outer(conj(a), a)
    return _outer(conj(v), v) * (_limit(z) if length is None else geometric_sum(z, require_length(length)))


def gramians(system: LTI, *, first_output: int = 1) -> Gramians:
    """(Wc, Wo) for M = L = ∞; see the module's text. Floats are taken as the numbers they are and the results rounded once.

    Raises InvalidSystem where |a| ≥ 1, and InvalidInput where an entry of a float system exceeds float64's range.
    """
    exact = require_channel(system).exactly()
    found = Gramians(reachability_gramian(exact), observability_gramian(exact, first_output=first_output))
    if system.kind in ("exact", "symbolic"):
        return found
    kind: Kind = "float64" if all(is_real(x) for w in found for x in w.ravel()) and system.kind == "float64" else "complex128"
    return Gramians(as_array(found.Wc, kind, "Wc"), as_array(found.Wo, kind, "Wo"))


def _power(a: Array, exponent: int) -> Array:
    out = 1 + 0 * a
    for _ in range(exponent):
        out = out * a
    return out


def reachability_matrix(system: LTI, length: int) -> Array:
    """R, shape (N, M) of the closed system: column m is a^m b, so the prefix (x_0 last) leaves h_0 = Σ_m a^m b x_{−m}."""
    a, b, _ = _closed(system)
    out = zeros((a.size, require_length(length)), system.kind)
    column = b
    for m in range(out.shape[1]):
        out[:, m] = column
        column = a * column
    return out


def observability_matrix(system: LTI, length: int) -> Array:
    """O, shape (L, N) of the closed system: row t − 1 is c a^t, so o_t = (O h_0)_{t−1}, t = 1..L."""
    a, _, c = _closed(system)
    out = zeros((require_length(length), a.size), system.kind)
    row = c * a
    for t in range(out.shape[0]):
        out[t, :] = row
        row = row * a
    return out


def hankel_matrix(system: LTI, length: int, prefix_length: int) -> Array:
    """H, shape (L, M): H[t−1, m] = k_{t+m}, the map from the last-first prefix (x_0, x_{−1}, …) to o_1..o_L.

    Built from the kernel alone; H = O R.
    """
    rows, columns = require_length(length), require_length(prefix_length, "prefix_length")
    k = system.kernel(rows + columns)
    out = zeros((rows, columns), system.kind)
    for t in range(1, rows + 1):
        for m in range(columns):
            out[t - 1, m] = k[t + m]
    return out


def hankel_singular_values(system: LTI, dps: int | None = None, *, prefix_length: int | None = None) -> Array:
    """σ_1 ≥ σ_2 ≥ … of the Hankel operator H_{t,m} = k_{t+m} (t ≥ 1, 0 ≤ m < M): √λ(Wc(M) Wo), shape (N closed,).

    The eigenvalues are computed in ball arithmetic, so each value, however small, is correct to float64's relative
    precision. H depends on the kernel alone: equal modes are merged and modes that the outputs never show are dropped
    first (their values are exactly 0), which also covers a singular Wc. Half storage means the real system, with N closed
    = 2 × stored.

    Parameters
    ----------
    system:
        |a| < 1. Exact, float, or symbolic without free symbols.
    dps:
        Decimal digits to start the search for a sufficient precision from; the result does not depend on it.
    prefix_length:
        M, the number of tokens in the prefix; ``None`` for prefixes of any length.

    Raises
    ------
    InvalidSystem
        |a| ≥ 1.
    InvalidInput
        Free symbols, dps or prefix_length below 1, or a value beyond float64's range (see :func:`count_hankel_above`).
    """
    problem = hankel_problem(system, prefix_length)
    out = np.zeros(system.closed().n_states)
    if problem.count:
        balls = positive_spectrum(problem.balls, problem.starting_bits(dps), "Hankel singular values")
        out[: problem.count] = sqrt_floats(balls, "a Hankel singular value")
    return out


@dataclass(frozen=True)
class HankelProblem:
    """The minimal realisation (a, b = 1, c = residues) of a channel in exact numbers, whose σ's are all positive.

    Attributes
    ----------
    modes, residues:
        The modes that the outputs show after a prefix: λ ≠ 0 with r_λ ≠ 0.
    tokens:
        M, or None for prefixes of any length.
    """

    modes: tuple[Any, ...]
    residues: tuple[Any, ...]
    tokens: int | None

    @property
    def count(self) -> int:
        """Number of positive singular values: min(M, number of modes)."""
        return len(self.modes) if self.tokens is None else min(len(self.modes), self.tokens)

    def starting_bits(self, dps: int | None = None) -> int:
        """Where the search for a sufficient precision starts."""
        return _starting_bits(self.modes, self.count, dps)

    def balls(self) -> acb_mat:
        """A matrix with the eigenvalues σ_i², at the current precision."""
        return acb_mat(
            self._product([to_acb(x) for x in self.modes], [to_acb(x) for x in self.residues], lambda x: x.conjugate())
        )

    def polynomial(self) -> flint.fmpq_poly:
        """A rational polynomial whose roots are the σ_i² (repeated for complex modes). InvalidInput for symbolic modes."""
        rows = self._product(list(self.modes), list(self.residues), conj)
        m = np.array(rows, dtype=object)
        re, im = (np.array([part(x) for x in m.ravel()], dtype=object).reshape(m.shape) for part in (real, imag))
        whole = re if not np.any(im) else np.block([[re, -im], [im, re]])
        return to_flint(whole).charpoly()

    def _product(self, a: list[Any], r: list[Any], bar: Callable[[Any], Any]) -> list[list[Any]]:
        wc, wo = gramian_rows(a, r, bar, self.tokens)
        if self.count == len(a):
            return _matmul(wc, wo)
        columns = [[x**m for m in range(self.count)] for x in a]  # fewer tokens than modes: Wc(M) is singular, R* Wo R is not
        left = [[bar(row[m]) for row in columns] for m in range(self.count)]
        return _matmul(_matmul(left, wo), columns)


def _matmul(left: list[list[Any]], right: list[list[Any]]) -> list[list[Any]]:
    columns = list(zip(*right, strict=True))
    return [[sum((x * y for x, y in zip(row, column, strict=True)), 0 * row[0]) for column in columns] for row in left]


def hankel_problem(system: LTI, prefix_length: int | None = None) -> HankelProblem:
    """What the Hankel operator of a channel depends on. Raises as :func:`hankel_singular_values`."""
    require_stable(system, "the Hankel operator")
    tokens = None if prefix_length is None else require_length(prefix_length, "prefix_length")
    seen = [m for m in system.modes() if m.observable and not is_zero(m.residue)]
    return HankelProblem(tuple(m.value for m in seen), tuple(m.residue for m in seen), tokens)


def count_hankel_above(system: LTI, eps: Fraction, prefix_length: int | None = None) -> int:
    """The number of σ_i > eps σ_1, decided on certified balls and, where σ_i = eps σ_1 might hold, on exact polynomials.

    Raises as :func:`hankel_singular_values`, and Undecided where a symbolic system's balls cannot be separated.
    """
    problem = hankel_problem(system, prefix_length)
    if eps == 0 or problem.count == 0:
        return problem.count
    bits = max(64, problem.starting_bits())
    while bits <= MAX_BITS:
        with flint.ctx.workprec(bits):
            try:
                values = [x.real for x in problem.balls().eig(multiple=True)]
            except (ValueError, ZeroDivisionError):
                values = []
            certain = bool(values) and all(v > 0 for v in values)
            if certain:
                top = values[0]
                for v in values[1:]:
                    top = top.max(v)
                limit = top * to_arb(eps) ** 2
                above, unclear = sum(bool(v > limit) for v in values), [v for v in values if v.overlaps(limit)]
                if not unclear or (bits >= _TIE_BITS and system.kind != "symbolic" and _all_tied(problem, unclear, limit, eps)):
                    return above
        bits *= 2
    raise Undecided(f"whether a Hankel singular value exceeds {eps} of the largest is not decided with {MAX_BITS} bits")


_TIE_BITS = 1024
"""Balls of this precision that still overlap are suspected to be equal numbers, which only exact polynomials decide."""


def _all_tied(problem: HankelProblem, unclear: list[arb], limit: arb, eps: Fraction) -> bool:
    """Whether the numbers in the balls ``unclear`` are the number in ``limit``: one and the same root of an exact polynomial."""
    p = problem.polynomial()
    e = flint.fmpq(eps.numerator, eps.denominator) ** 2
    scaled = flint.fmpq_poly([c / e**k for k, c in enumerate(p)])  # p(x/eps²): roots eps² σ²
    both = p * scaled
    distinct = both / both.gcd(both.derivative())
    isolated: Any = distinct.numer().complex_roots()  # python-flint's stub says acb; it is a list of (acb, multiplicity)
    roots = [z for z, _ in isolated]
    owner = [z for z in roots if z.overlaps(acb(limit))]
    return len(owner) == 1 and all([z for z in roots if z.overlaps(acb(v))] == owner for v in unclear)


def gramian_rows(
    a: list[Any], residues: list[Any], bar: Callable[[Any], Any], length: int | None = None
) -> tuple[list[list[Any]], list[list[Any]]]:
    """Rows of Wc(M) and Wo of a channel with these modes, b = 1 and c = residues, in any numbers with the conjugation ``bar``."""
    v = [r * x for r, x in zip(residues, a, strict=True)]  # c a: outputs start at t = 1
    n = len(a)
    z = [[a[i] * bar(a[j]) for j in range(n)] for i in range(n)]
    wc = [[1 / (1 - x) if length is None else geometric_sum(x, length) for x in row] for row in z]
    wo = [[bar(v[i]) * v[j] / (1 - z[j][i]) for j in range(n)] for i in range(n)]
    return wc, wo


def ball_gramians(a: list[acb], residues: list[acb], length: int | None = None) -> tuple[acb_mat, acb_mat]:
    """Wc(M) and Wo of a channel with these modes, b = 1 and c = residues, in balls; M = ∞ for ``length=None``."""
    wc, wo = gramian_rows(a, residues, lambda x: x.conjugate(), length)
    return acb_mat(wc), acb_mat(wo)


def _token_columns(a: list[acb], length: int) -> acb_mat:
    """The matrix a_i^m, m < M."""
    return acb_mat([[x**m for m in range(length)] for x in a])


def _starting_bits(modes: Sequence[Any], n: int, dps: int | None = None) -> int:
    if dps is not None:
        return int(require_length(dps, "dps") * math.log2(10)) + 1
    return n * (BITS_REAL if all(is_real(value) for value in modes) else BITS_COMPLEX)


def reachability_singular_values(system: LTI, length: int) -> Array:
    """Non-zero singular values of the reachability matrix R (N × M), largest first, certified; float64.

    Equal modes have proportional rows: they are merged to one row of weight √Σ|b_n|², which keeps the non-zero singular
    values. What remains has full rank min(M, number of distinct modes with b ≠ 0).
    """
    return sqrt_floats(_reachability_balls(system, require_length(length)))


def _reachability_balls(system: LTI, length: int) -> list[arb]:
    """The squares of these values, certified."""
    full = system.exactly().closed()
    groups = [(m.value, [full.b[n] for n in m.indices]) for m in system.modes()]
    groups = [(value, weights) for value, weights in groups if not all(is_zero(w) for w in weights)]
    if not groups:
        return []

    def weight(weights: list[Any]) -> acb:
        total = arb(0)
        for w in weights:
            ball = to_acb(w)
            total += (ball * ball.conjugate()).real
        return acb(total.sqrt())

    def gram() -> acb_mat:
        a = [to_acb(value) for value, _ in groups]
        b = [weight(weights) for _, weights in groups]
        n = len(a)
        if length >= n:
            return acb_mat([[b[i] * b[j] * geometric_sum(a[i] * a[j].conjugate(), length) for j in range(n)] for i in range(n)])
        rows = acb_mat([[b[i] * x for x in row] for i, row in enumerate(_token_columns(a, length).tolist())])
        return rows.conjugate().transpose() * rows

    bits = _starting_bits([value for value, _ in groups], min(len(groups), length))
    return positive_spectrum(gram, bits, "reachability matrix")


def reachability_condition(system: LTI, length: int, *, on_range: bool = False) -> float:
    """True condition number σ_max/σ_min of the M-token reachability matrix R; ∞ where R has not full rank min(N, M).

    With ``on_range`` the smallest non-zero singular value is used instead, so that equal modes (as s4d_lin's real one,
    stored like a pair) do not hide how badly the distinct ones are conditioned.
    """
    values = _reachability_balls(system, require_length(length))
    if not values:
        raise InvalidInput("every b_n is zero: the reachability matrix is 0 and has no condition number")
    if not on_range and len(values) < min(system.closed().n_states, length):
        return math.inf
    with flint.ctx.workprec(128):
        return nearest_float((values[0].mid() / values[-1].mid()).sqrt(), "the condition number")
