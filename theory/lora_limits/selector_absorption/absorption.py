r"""When a LoRA on in_proj does what changed selectors would do: the update, its least rank, and the least rank up to gauge.

    S = [W_B; W_C; W_dn],     S (W_in + Δ) = S* W_in*      iff      col(S* W_in*) ⊆ col(S)

with nothing between W_in and the selectors, and the value path on rows of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, product
from typing import Any

import flint
import numpy as np
import sympy

from theory.core import linalg
from theory.core.errors import InvalidInput
from theory.core.given import Matrix
from theory.core.lti import require_length
from theory.core.scalars import Array, as_array
from theory.core.selective import SelectiveSSM

from ..rational_clock import RationalClock, rising_step
from ..row_matching import RowMatch, match_rows

_MOST_MINORS = 8  # rows and columns up to which all minors are taken: at most C(8, 4)² = 4900 of one size


def absorb_selectors(W_in: Matrix, selectors: Matrix, target_W_in: Matrix, target_selectors: Matrix) -> RowMatch:
    r"""The update Δ of in_proj that makes frozen selectors read what the target's selectors read, and its least LoRA rank.

        S (W_in + Δ) u = S* W_in* u   for every token u

    Parameters
    ----------
    W_in, target_W_in:
        (D, d_model): the rows of in_proj that feed the selectors.
    selectors, target_selectors:
        S and S* = [W_B; W_C; W_dn], (2N + R, D). Exact numbers.

    Returns
    -------
    RowMatch
        ``update`` and ``rank``, or the reason and the broken dependence.

    Raises
    ------
    InvalidInput
        Shapes that do not fit. KindMismatch for floats.

    Notes
    -----
    Equality of the selector *maps*. As functions, states can be rescaled (B_n → g_n B_n, C_n → C_n/g_n), which can lower the
    rank: :func:`least_gauge_rank` (N = 1), :func:`gauge_rank_bounds` (any N).
    """
    s_star, w_star = (
        as_array(target_selectors, "exact", "target_selectors", ndim=2),
        as_array(target_W_in, "exact", "target_W_in", ndim=2),
    )
    if s_star.shape[1] != w_star.shape[0]:
        raise InvalidInput(f"target_selectors {s_star.shape} and target_W_in {w_star.shape} must be (rows, D) and (D, d_model)")
    return match_rows(selectors, W_in, linalg.matmul(s_star, w_star))


# -- equality as functions: the gauge --------------------------------------------------------------------------------------


def gauge_gap(read: Array, wanted: Array, n_states: int, gauge: Any) -> Array:
    """R_g − S W_in with rows B_n scaled by g_n and rows C_n by 1/g_n; rows are [B; C; dn]."""
    g = [Fraction(x) for x in gauge]
    if len(g) != n_states or any(x == 0 for x in g):
        raise InvalidInput(f"gauge {[str(x) for x in g]} must hold N = {n_states} nonzero factors")
    scale = [*g, *[1 / x for x in g], *[Fraction(1)] * (len(wanted) - 2 * n_states)]
    return np.array([[s * x for x in row] for s, row in zip(scale, wanted, strict=True)], dtype=object) - read


def least_gauge_rank(read: Any, wanted: Any) -> tuple[int, Any]:
    r"""The least rank of [g b*; c*/g; dn*] − [b; c; dn] over g ≠ 0 for one state (N = 1), and a g that attains it.

    A minor of the gap times g² is a polynomial in g. The rank is ≤ k at some real g ≠ 0 iff all (k+1)-minors have a common real
    root there: decided by their greatest common divisor, exactly, irrational roots included.

    Parameters
    ----------
    read, wanted:
        S W_in and S* W_in*, (2 + R, d_model), exact: row 0 is B, row 1 is C. At most 8 rows and columns.

    Raises
    ------
    InvalidInput
        Shapes that differ, fewer than two rows, or a size at which the minors are too many.
    """
    r, w = as_array(read, "exact", "read", ndim=2), as_array(wanted, "exact", "wanted", ndim=2)
    if r.shape != w.shape or len(r) < 2:
        raise InvalidInput(f"read {r.shape} and wanted {w.shape} must have one shape (2 + R, d_model)")
    if max(r.shape) > _MOST_MINORS:
        raise InvalidInput(f"shape {r.shape}: all minors are needed; at most {_MOST_MINORS} rows and columns")
    rows = [
        [_linear(-x, y) for x, y in zip(r[0], w[0], strict=True)],
        [_linear(y, -x) for x, y in zip(r[1], w[1], strict=True)],  # times g, which changes no rank
    ]
    rows += [[_linear(y - x, 0) for x, y in zip(a, b, strict=True)] for a, b in zip(r[2:], w[2:], strict=True)]
    for k in range(min(r.shape)):
        common = flint.fmpq_poly([])
        for minor in _minors(rows, k + 1):
            common = common.gcd(minor)
        if common == 0:
            return k, sympy.Integer(1)
        while common.degree() > 0 and common[0] == 0:
            common = flint.fmpq_poly(list(common)[1:])  # g = 0 is no gauge
        roots = _real_roots(common)
        if roots:
            return k, roots[0]
    return min(r.shape), sympy.Integer(1)


def _linear(constant: Any, slope: Any) -> flint.fmpq_poly:
    return flint.fmpq_poly(linalg.to_flint([[constant, slope]]).entries())


def _minors(rows: list[list[flint.fmpq_poly]], size: int) -> Iterator[flint.fmpq_poly]:
    """All minors of one size: each row set is expanded along its last row, column sets shared."""
    columns = range(len(rows[0]))
    for chosen in combinations(range(len(rows)), size):
        table: dict[tuple[int, ...], flint.fmpq_poly] = {(): flint.fmpq_poly([1])}
        for depth, i in enumerate(chosen):
            wider: dict[tuple[int, ...], flint.fmpq_poly] = {}
            for subset in combinations(columns, depth + 1):
                terms = [rows[i][c] * table[subset[:p] + subset[p + 1 :]] * (-1) ** (depth + p) for p, c in enumerate(subset)]
                wider[subset] = sum(terms, flint.fmpq_poly([]))
            table = wider
        yield from table.values()


def _real_roots(p: flint.fmpq_poly) -> list[Any]:
    if p.degree() < 1:
        return []
    g = sympy.Symbol("g")
    coefficients = [sympy.Rational(int(c.p), int(c.q)) for c in reversed(list(p))]
    return list(sympy.real_roots(sympy.Poly(coefficients, g)))


@dataclass(frozen=True)
class GaugeRank:
    """Bounds of the least rank over the gauge, and a rational gauge that attains the upper one (None: an irrational one)."""

    lower: int
    upper: int
    gauge: tuple[Fraction, ...] | None

    @property
    def exact(self) -> bool:
        """Whether the bounds meet."""
        return self.lower == self.upper


def _state_rows(matrix: Array, n_states: int, n: int) -> Array:
    return matrix[[n, n_states + n, *range(2 * n_states, len(matrix))]]


def gauge_rank_bounds(read: Any, wanted: Any, n_states: int) -> GaugeRank:
    """Bounds of min over g of the rank of the gap, for any number of states; exact for N = 1.

    Lower: each state alone, its two rows beside those of W_dn. Upper: gauges made of every state's own best factor (where it
    is rational), of the ratios of entries of its rows, and of 1. For S of full row rank, where every gap can be absorbed.

    Parameters
    ----------
    read, wanted:
        S W_in and S* W_in*, (2N + R, d_model), exact; rows are [B; C; dn].
    n_states:
        N. The gauges tried number up to (2 d_model + 2)^N.
    """
    r, w = as_array(read, "exact", "read", ndim=2), as_array(wanted, "exact", "wanted", ndim=2)
    n = require_length(n_states, "n_states")
    if r.shape != w.shape or len(r) < 2 * n:
        raise InvalidInput(f"read {r.shape} and wanted {w.shape} must have one shape (2N + R, d_model) with N = {n}")
    lower, choices = 0, []
    for k in range(n):
        least, g = least_gauge_rank(_state_rows(r, n, k), _state_rows(w, n, k))
        lower = max(lower, least)
        if n == 1:
            return GaugeRank(least, least, (Fraction(int(g.p), int(g.q)),) if g.is_Rational else None)
        factors = {Fraction(1)} | ({Fraction(int(g.p), int(g.q))} if g.is_Rational else set())
        factors |= {x / y for x, y in zip(r[k], w[k], strict=True) if x and y}
        factors |= {y / x for x, y in zip(r[n + k], w[n + k], strict=True) if x and y}
        choices.append(sorted(factors))
    best = min(product(*choices), key=lambda g: linalg.rank(gauge_gap(r, w, n, g)))
    return GaugeRank(lower, linalg.rank(gauge_gap(r, w, n, best)), best)


def rescale(selectors: Any, n_states: int, gauge: Sequence[Any]) -> Array:
    """The rows [g_n B_n; C_n / g_n; dn]: other selector maps, the same function."""
    s = as_array(selectors, "exact", "selectors", ndim=2)
    return gauge_gap(s * 0, s, n_states, gauge)


# -- whole modules --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Module:
    """S6 whose selectors read W_in u and whose values x = V u come by a path of their own.

    It is run as a :class:`~theory.core.selective.SelectiveSSM` on the tokens z = (V u, W_in u), whose selectors ignore the first
    rows and whose outputs are those of the first channels. Floats: softplus clock, dt = softplus(W_up W_dn z + β). Exact numbers
    need rational outputs: a clock of :mod:`..rational_clock`, one-to-one like softplus unless ``step`` says otherwise.

    Attributes
    ----------
    W_in, value:
        (D, d_model); V: (D_v, d_model).
    W_B, W_C, W_dn, W_up, bias:
        (N, D), (N, D), (R, D), (D_v, R), (D_v,).
    rates:
        −A, (D_v, N), positive (whole where exact).
    step:
        φ of an exact clock, dt = φ(W_up W_dn z + β).
    """

    W_in: Any
    W_B: Any
    W_C: Any
    W_dn: Any
    W_up: Any
    bias: Any
    value: Any
    rates: Any
    step: Callable[[Fraction], Fraction] = rising_step

    @property
    def selectors(self) -> Array:
        """S = [W_B; W_C; W_dn]."""
        return np.concatenate([self.W_B, self.W_C, self.W_dn])

    def _inner(self) -> SelectiveSSM:
        v, d = len(self.value), len(self.W_in)

        def wide(m: Any) -> Array:  # ignores the value rows
            return np.concatenate([np.zeros((len(m), v), dtype=m.dtype) + m.flat[0] * 0, m], axis=1)

        if np.asarray(self.W_in).dtype == object:
            return SelectiveSSM(wide(self.W_B), wide(self.W_C), clock=self._clock, kind="exact")
        A = -np.concatenate([self.rates, np.ones((d, self.rates.shape[1]))])
        W_up = np.concatenate([self.W_up, np.zeros((d, self.W_up.shape[1]))])
        bias = np.concatenate([self.bias, np.zeros(d)])
        return SelectiveSSM(wide(self.W_B), wide(self.W_C), A=A, W_dn=wide(self.W_dn), W_up=W_up, dt_bias=bias)

    def _clock(self, z: Array) -> tuple[Array, Array]:
        """The clock of the value channels; the others only carry the selectors' input and stand still."""
        v, d = len(self.value), len(self.W_in)
        dt, decay = RationalClock(self.W_up, self.W_dn, self.bias, self.rates, self.step)(z[v:])
        still = np.full((d, decay.shape[1]), Fraction(1), dtype=object)
        return np.concatenate([dt, still[:, 0]]), np.concatenate([decay, still])

    def run(self, tokens: Any, W_in: Any = None) -> Array:
        """Outputs (L, D_v) for tokens (L, d_model), optionally with another in_proj."""
        w = self.W_in if W_in is None else W_in
        z = np.array([np.concatenate([self.value @ np.asarray(u), w @ np.asarray(u)]) for u in tokens])
        return self._inner().run(z)[0][:, : len(self.value)]
