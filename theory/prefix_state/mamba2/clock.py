r"""One Mamba-2 head whose step size depends on the token, dt = softplus(w·u + β): rank(h_0) tokens still reach h_0.

Nothing is asked of w. Write h_0 = Σ_k g_k e_kᵀ and choose the tokens from the last to the first. With W_x u_x = g, W_B u_x = 0,
W_x u_B = 0, W_B u_B = e, the tokens u(c) = s (c u_x + u_B), s = ±1, leave c g eᵀ (both factors carry s), and

    dt(u(c)) = softplus(s α c + s w·u_B + β),      α = w·u_x.

Take s with s α ≥ 0. Then c·dt(u(c)) increases from 0 at c = 0 to ∞, so it takes the value that the tokens after it ask for,
1/Π exp(dt_m A), once. With the other sign c·dt(u(c)) stays bounded where α ≠ 0: the sign is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np

from theory.core import linalg
from theory.core.errors import InvalidInput
from theory.core.invariants import known
from theory.core.scalars import Array, as_array
from theory.core.ssd import Mamba2Head

from ..reach.mamba2 import independent_rows, projections


@dataclass(frozen=True, eq=False)
class ClockWitness:
    """Tokens for one state under a softplus clock.

    Attributes
    ----------
    tokens:
        First processed first, (M, D) of mpmath numbers.
    scales, signs:
        c and s of each token.
    error:
        ‖state after the tokens − h_0‖∞ / ‖h_0‖∞, the state stepped with twice the digits.
    condition:
        How much a rounding error grows: the largest relative error of a token's part of the state, in roundings, times
        Σ_k |g_k e_kᵀ| / ‖h_0‖∞. Three things make it grow. A rounded token c u_x + u_b has W_x and W_B of rounding errors of its
        larger part in them. Softplus turns an error of x into σ(x)/dt of a relative one. A token's decay exp(dt A) turns a
        relative error of dt into |A|dt of one, which all tokens before it inherit.
    digits:
        Decimal digits of the root search.
    """

    tokens: list[list[Any]]
    scales: list[Any]
    signs: list[int]
    error: float
    condition: float
    digits: int


def softplus_witness(
    head: Mamba2Head, weight: Sequence[Any] | Array, bias: Any, A: Any, h0: Any, *, digits: int = 40
) -> ClockWitness:
    """rank(h0) tokens that drive the head from zero to ``h0`` under dt = softplus(weight·u + bias), decay = exp(dt A).

    Parameters
    ----------
    head:
        Exact, independent rows of [W_x; W_B]; its own clock is ignored.
    weight, bias, A:
        The dt row (D,), its bias and A < 0, rational.
    h0:
        Nonzero, (P, N).
    digits:
        Decimal digits, 15 to 1000.

    Raises InvalidInput for dependent rows, A ≥ 0, h0 = 0, a wrong shape, or digits out of range.
    """
    if head.kind != "exact":
        raise InvalidInput(f"the head's kind is {head.kind}; tokens are solved for in rationals: build it from Fractions")
    if not independent_rows(head):
        raise InvalidInput("the rows of [W_x; W_B] are dependent: not every pair (x, B) is a token's; use reachable(system, h0)")
    if not 15 <= digits <= 1000:
        raise InvalidInput(f"digits = {digits} must lie between 15 and 1000")
    w, (shift, rate) = as_array(weight, "exact", "weight", ndim=1), as_array([bias, A], "exact", "(bias, A)")
    if w.shape != (head.d_input,):
        raise InvalidInput(f"weight has shape {w.shape}, expected (D,) = ({head.d_input},)")
    if not rate < 0:
        raise InvalidInput(f"A = {A} must be negative (a decay)")
    h = head.state(h0)
    reduced, pivots = linalg.rref(h)
    if not pivots:
        raise InvalidInput("h0 = 0 needs no token; give a nonzero state")
    terms = [(h[:, pivot], reduced[k, :]) for k, pivot in enumerate(pivots)]
    with mpmath.workdps(digits):
        tokens, scales, signs, worst = _backwards(projections([head]), terms, w, shift, rate)
    with mpmath.workdps(2 * digits):
        left = np.max(np.abs(run_softplus(head, w, shift, rate, tokens) - _mp(h)))
        size = max(abs(x) for x in h.ravel())
        error = float(left / _mpf(size))
    spread = float(max(np.sum([np.abs(np.outer(g, e)) for g, e in terms], axis=0).ravel()) / size)
    return ClockWitness(tokens, scales, signs, error, float(worst * spread), digits)


def run_softplus(head: Mamba2Head, weight: Array, bias: Any, A: Any, tokens: Sequence[Any]) -> Array:
    """The state (P, N) after the tokens, at mpmath's current precision."""
    w_x, w_b, w = _mp(head.W_x), _mp(head.W_B), _mp(weight)
    h = _mp(head.zero_state())
    for token in tokens:
        u = np.array(token, dtype=object)
        dt = _softplus(w @ u + _mpf(bias))
        h = mpmath.exp(dt * _mpf(A)) * h + dt * np.outer(w_x @ u, w_b @ u)
    return h


def _backwards(rows: Array, terms: Sequence[tuple[Array, Array]], w: Array, bias: Fraction, A: Fraction) -> Any:
    kept = mpmath.mpf(1)  # the product of exp(dt A) over the tokens that follow
    tokens: list[list[Any]] = []
    scales: list[Any] = []
    signs: list[int] = []
    # Relative errors in roundings: of kept, of a token's scale c, of its dt; the worst of their sums.
    unkept, worst = 0.0, 1.0
    for g, e in reversed(terms):
        u_x, u_b = (known(linalg.solve(rows, v), "the rows are independent") for v in ([*g, *(0 * e)], [*(0 * g), *e]))
        slope, offset = Fraction(np.sum(w * u_x)), Fraction(np.sum(w * u_b))
        sign = -1 if slope < 0 else 1
        c = scale_for(abs(slope), sign * offset + bias, 1 / kept)
        tokens.insert(0, list(sign * (c * _mp(u_x) + _mp(u_b))))
        scales.insert(0, c)
        signs.insert(0, sign)
        moved, fixed = _mpf(abs(slope)) * c, _mpf(sign * offset + bias)
        dt = _softplus(moved + fixed)
        steep = float(1 / (1 + mpmath.exp(-moved - fixed)) / dt)  # d log softplus(x) / dx
        size = float(c) * _sizes(u_x) + _sizes(u_b)  # of the token's entries, which are rounded
        rounded = 1 + steep * float(moved + abs(fixed) + np.sum(_sizes(w) * size))
        wrong_x, wrong_b = (np.max(_sizes(rows) @ size * part) for part in _owners(len(g), len(e)))
        mixed = wrong_x / (float(c) * np.max(_sizes(g))) + wrong_b / np.max(_sizes(e))
        of_scale = unkept + rounded
        of_dt = rounded + steep * float(moved) * of_scale
        worst = max(worst, unkept + of_scale + of_dt + mixed)
        unkept += float(abs(A) * dt) * (1 + of_dt)
        kept *= mpmath.exp(dt * _mpf(A))
    return tokens, scales, signs, worst


def _sizes(v: Any) -> Any:
    return np.abs(np.asarray(v, dtype=float))


def _owners(p: int, n: int) -> tuple[Any, Any]:
    """Which of the p + n rows of [W_x; W_B] are W_x's, and which are W_B's."""
    first = np.arange(p + n) < p
    return first, ~first


def scale_for(slope: Fraction, offset: Fraction, goal: Any) -> Any:
    """The c > 0 with c·softplus(slope·c + offset) = goal, slope ≥ 0, by bisection to the last digit.

    Raises InvalidInput for a negative slope (then the left side is bounded and there may be no c) or goal ≤ 0.
    """
    if slope < 0:
        raise InvalidInput(f"slope = {slope} < 0: c·softplus(slope·c + offset) is bounded; flip the sign of the token")
    if not goal > 0:
        raise InvalidInput(f"goal = {goal} must be positive")
    a, b = _mpf(slope), _mpf(offset)
    high = mpmath.mpf(1)
    while high * _softplus(a * high + b) < goal:
        high *= 2
    low = high / 2
    while low * _softplus(a * low + b) > goal:
        low /= 2
    while True:
        middle = (low + high) / 2
        if not low < middle < high:
            return middle
        if middle * _softplus(a * middle + b) < goal:
            low = middle
        else:
            high = middle


def _softplus(x: Any) -> Any:
    return x + mpmath.log1p(mpmath.exp(-x)) if x > 0 else mpmath.log1p(mpmath.exp(x))


def _mpf(x: Any) -> Any:
    return mpmath.mpf(x.numerator) / x.denominator if isinstance(x, int | Fraction) else mpmath.mpf(x)


def _mp(values: Array) -> Array:
    out = np.empty(values.shape, dtype=object)
    for index in np.ndindex(values.shape):
        out[index] = _mpf(values[index])
    return out
