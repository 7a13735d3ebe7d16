r"""Prefixes of few tokens: solved in floats, then made exact, or proved to exist near the float solution.

A prefix of M tokens leaves h iff F(z) = Σ_m γ^m ⊙ (X z_m)(W_B z_m)ᵀ − h vanishes: P·N quadratic equations in M·D unknowns. A
float solution z gives directions; their lengths are solved for exactly, which finds tokens that point in rational directions.
Otherwise let J be the Jacobian in P·N of the unknowns, A ≈ J⁻¹ rational, and q a bound of the quadratic part, all exact. If

    ‖A F(z)‖ + ‖I − A J‖ r + ‖A q‖ r² ≤ r        for some r > 0   (∞-norms),

then z ↦ z − A F(z) maps the ball of radius r around z into itself, so F has a zero there (Brouwer; Newton and Kantorovich).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
from scipy.linalg import qr
from scipy.optimize import least_squares

from theory.core import linalg
from theory.core.scalars import Array

from .cone import TokenCone, _ldexp, nonnegative_solution
from .result import Token
from .tokens import log2_size

MOST_ENTRIES = 16
MOST_TOKENS = 12
_STARTS = 4
_NEAR = 1e-10  # relative residual at which a float solution is worth an exact look; it decides nothing


def few_tokens(cone: TokenCone, h: Array, near: Sequence[Array]) -> list[Token] | None:
    """Tokens in few slots that build h exactly, directions rounded from :func:`float_solutions`; None where none was found."""
    for z in near:
        for denominator in (12, 1000):
            directions = [_direction(row, denominator) for row in z]
            places = [(m, d) for m, d in enumerate(directions) if d is not None]
            if not places:
                continue
            columns = np.array([cone.column(m, d).ravel() for m, d in places], dtype=object).T
            weights = _weights(columns, h.ravel())
            if weights is not None:
                return [Token(m, d, w) for (m, d), w in zip(places, weights, strict=True) if w != 0]
    return None


def _weights(columns: Array, h: Array) -> Array | None:
    exact = linalg.solve(columns, list(h))
    return exact if exact is not None and all(w >= 0 for w in exact) else nonnegative_solution(columns, h)


def _direction(row: Array, denominator: int) -> Array | None:
    top = int(np.argmax(np.abs(row)))
    if abs(row[top]) < _NEAR:
        return None
    return np.array([Fraction(float(x / row[top])).limit_denominator(denominator) for x in row], dtype=object)


def _float(values: Array) -> Array | None:
    out = np.array([_ldexp(Fraction(x), 0) for x in values.ravel()]).reshape(values.shape)
    return out if np.all(np.isfinite(out)) else None


def _moderate(h: Array) -> Array:
    """h over a power of four, so that its largest entry is of size 1: tokens then are over a power of two."""
    return np.asarray(h / Fraction(4) ** (log2_size(max(abs(Fraction(x)) for x in h.ravel())) // 2))


def float_solutions(cone: TokenCone, h: Array, most: int, rng: np.random.Generator) -> Iterator[Array]:
    """Float solutions z (M, D) for M = 1, 2, …, several starts each, of h over a power of four (:func:`_moderate`)."""
    if h.size > MOST_ENTRIES:
        return
    target, x, w, decay = (_float(v) for v in (_moderate(h), cone.X, cone.W_B, cone.decay))
    if target is None or x is None or w is None or decay is None:
        return
    for count in range(1, min(most, MOST_TOKENS, h.size + 2) + 1):
        powers = np.array([decay**m for m in range(count)])
        for _ in range(_STARTS):
            start = rng.standard_normal((count, cone.d_input))

            def residual(flat: Array, powers: Array = powers, count: int = count) -> Array:
                z = flat.reshape(count, -1)
                parts = powers * ((z @ x.T)[:, :, None] * (z @ w.T)[:, None, :])
                return np.asarray((parts.sum(axis=0) - target).ravel())

            found = least_squares(residual, start.ravel(), xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=60)
            if np.max(np.abs(found.fun)) < _NEAR:
                yield found.x.reshape(count, -1)


def proved_to_exist(cone: TokenCone, h: Array, near: Sequence[Array]) -> str | None:
    """The proof, in words, that a prefix near a float solution leaves h exactly; None where no float solution proves it."""
    for z in near:
        radius = _radius(cone, _moderate(h), z)
        if radius is not None:
            return (
                f"a prefix of {len(z)} tokens leaves h_0; for h_0 scaled to size 1 it is within {float(radius):.1e} of a float "
                "one (Newton and Kantorovich, in rationals); its tokens were not solved for exactly"
            )
    return None


def _radius(cone: TokenCone, h: Array, z: Array) -> Fraction | None:
    count, width = z.shape
    if count * width < h.size or not np.all(np.isfinite(z)):
        return None
    exact = np.array([[Fraction(float(v)) for v in row] for row in z], dtype=object)
    powers = [cone.decay**m for m in range(count)]
    columns = []  # ∂F/∂z_{m,j} = γ^m ⊙ (x_j (W z)ᵀ + (X z) w_jᵀ)
    for m in range(count):
        left, right = cone.X @ exact[m], cone.W_B @ exact[m]
        for j in range(width):
            columns.append((powers[m] * (np.outer(cone.X[:, j], right) + np.outer(left, cone.W_B[:, j]))).ravel())
    jacobian = np.array(columns, dtype=object).T
    floats = _float(jacobian)
    if floats is None:
        return None
    chosen = sorted(int(i) for i in qr(floats, mode="r", pivoting=True)[1][: h.size])
    square = floats[:, chosen]
    if np.linalg.cond(square) > 1e12:
        return None
    a = np.array([[Fraction(float(v)) for v in row] for row in np.linalg.inv(square)], dtype=object)
    value = sum((cone.column(m, exact[m]) for m in range(count)), cone.zero_state()) - h
    miss = a @ value.ravel()
    drift = a @ jacobian[:, chosen] - np.array(
        [[Fraction(int(i == j)) for j in range(h.size)] for i in range(h.size)], dtype=object
    )
    moved = [[c % width for c in chosen if c // width == m] for m in range(count)]
    quadratic = cone.zero_state()
    for m, free in enumerate(moved):
        quadratic = quadratic + powers[m] * np.outer(np.abs(cone.X[:, free]).sum(axis=1), np.abs(cone.W_B[:, free]).sum(axis=1))
    alpha, kappa, gamma = max(np.abs(miss)), max(np.abs(drift).sum(axis=1)), max(np.abs(a) @ quadratic.ravel())
    radius = 2 * Fraction(alpha)
    if radius == 0:
        return Fraction(0)
    return radius if alpha + kappa * radius + gamma * radius * radius <= radius else None
