r"""The population risk of an LTI channel against a teacher, and the part no initial state or prefix can lower.

Student kernel k, teacher kernel k* (each with its skip in k_0), Δ_j = k_j − k*_j, inputs with common mean μ and variance σ²,
uncorrelated over time, teacher started at zero. With o_t what the student's prefix or initial state adds to output t,

    E (y_t − y*_t)² = σ² Σ_{j<t} Δ_j² + (μ Σ_{j<t} Δ_j + o_t)²,      t = 1..L

The first term is a floor. The second is least squares of −μ (Σ_{j<t} Δ_j)_t over what o can be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from theory.core import linalg
from theory.core.errors import InvalidInput
from theory.core.function_equality import impulse_response
from theory.core.lti import LTI, require_length
from theory.core.scalars import Array, is_real, real

from .spans import prefix_responses, state_basis, state_responses


@dataclass(frozen=True)
class RiskFloor:
    """Sums over t = 1..L of the squared error, as exact rationals (divide by L for the mean squared error).

    Attributes
    ----------
    length:
        L.
    floor:
        σ² Σ_t Σ_{j<t} Δ_j²: no prefix and no initial state lowers it.
    bias:
        What is left of Σ_t (μ Σ_{j<t} Δ_j)² without tuning (o = 0).
    residual:
        The least value of Σ_t (μ Σ_{j<t} Δ_j + o_t)² over initial states, or over prefixes of the asked length.
    h0:
        An optimal initial state, shape (N,), or ``None`` where prefixes were asked for.
    prefix:
        An optimal prefix, first processed first, or ``None``.
    per_step:
        The floor's share of each t: σ² Σ_{j<t} Δ_j².
    """

    length: int
    floor: Fraction
    bias: Fraction
    residual: Fraction
    h0: Array | None
    prefix: tuple[Fraction, ...] | None
    per_step: tuple[Fraction, ...]

    @property
    def optimum(self) -> Fraction:
        """Risk after tuning: floor + residual."""
        return self.floor + self.residual

    @property
    def untuned(self) -> Fraction:
        """Risk before tuning: floor + bias."""
        return self.floor + self.bias

    @property
    def mean_optimum(self) -> float:
        """The optimum per output, as a float: what a training loss averaged over time converges to."""
        return float(self.optimum / self.length)

    @property
    def mean_floor(self) -> float:
        """The floor per output, as a float."""
        return float(self.floor / self.length)


def state_tuning_risk_floor(
    system: LTI, teacher: LTI, mean: Any, var: Any, length: int, *, prefix_length: int | None = None
) -> RiskFloor:
    r"""Floor and optimum of initial-state tuning (or prefix tuning) of a channel towards a teacher with another kernel.

    Parameters
    ----------
    system, teacher:
        LTI channels with real outputs. Floats are taken at their binary values, so the answer is exact for them.
    mean, var:
        μ and σ² ≥ 0 of the inputs (int, Fraction, or float at its binary value).
    length:
        L, number of outputs that count.
    prefix_length:
        Optimise over prefixes of this many tokens instead of over initial states.

    Raises
    ------
    InvalidInput
        Not LTI channels, symbolic numbers, a negative or non-finite variance, a length below 1.
    InvalidSystem
        A mode without its conjugate.

    Notes
    -----
    The risk is the population's: an empirical risk on finitely many sequences may be lower.
    """
    for name, s in (("system", system), ("teacher", teacher)):
        if not isinstance(s, LTI):
            raise InvalidInput(f"{name} must be an LTI channel, got {type(s).__name__}")
        if s.kind == "symbolic":
            raise InvalidInput(f"{name} is symbolic; the optimum is a rational least-squares problem: substitute numbers first")
    system, teacher = system.exactly(), teacher.exactly()
    system.require_real()
    teacher.require_real()
    mu, sigma2 = _number(mean, "mean"), _number(var, "var")
    if sigma2 < 0:
        raise InvalidInput(f"var = {var} is negative; a variance is at least 0")
    n = require_length(length)
    delta = [x - y for x, y in zip(_response(system, n), _response(teacher, n), strict=True)]
    drift = [mu * sum(delta[: t + 1], Fraction(0)) for t in range(n)]
    per_step = tuple(sigma2 * sum((d * d for d in delta[: t + 1]), Fraction(0)) for t in range(n))
    h0 = prefix = None
    if prefix_length is None:
        reach = state_responses(system, n)
        weights = least_squares(reach, [-x for x in drift])
        h0 = np.asarray(
            sum((w * system.state(h) for w, h in zip(weights, state_basis(system), strict=True)), system.zero_state())
        )
    else:
        reach = prefix_responses(system, n, require_length(prefix_length, "prefix_length"))
        weights = least_squares(reach, [-x for x in drift])
        prefix = tuple(reversed([Fraction(w) for w in weights]))  # column m is the token followed by m others
    left = [x + sum((c * w for c, w in zip(row, weights, strict=True)), Fraction(0)) for x, row in zip(drift, reach, strict=True)]
    residual = sum((x * x for x in left), Fraction(0))
    bias = sum((x * x for x in drift), Fraction(0))
    return RiskFloor(n, sum(per_step, Fraction(0)), bias, residual, h0, prefix, per_step)


def least_squares(matrix: Array, target: list[Fraction]) -> Array:
    """A minimiser of ‖M w − target‖² over the rationals: the normal equations, which always have a solution."""
    normal = linalg.matmul(matrix.T, matrix)
    rhs = linalg.matmul(matrix.T, [[x] for x in target])[:, 0]
    weights = linalg.solve(normal, rhs)
    assert weights is not None
    return weights


def _response(system: LTI, length: int) -> list[Fraction]:
    values = impulse_response(system, length)
    assert all(is_real(v) for v in values)
    return [Fraction(real(v)) for v in values]


def _number(x: Any, name: str) -> Fraction:
    if isinstance(x, bool) or not isinstance(x, int | float | Fraction | str | np.integer | np.floating):
        raise InvalidInput(f"{name} = {x!r} is not a number")
    if isinstance(x, float | np.floating) and not math.isfinite(x):
        raise InvalidInput(f"{name} = {x!r} is not finite")
    try:
        return Fraction(int(x)) if isinstance(x, np.integer) else Fraction(float(x) if isinstance(x, np.floating) else x)
    except ValueError as error:
        raise InvalidInput(f"{name} = {x!r} is not a rational number such as '1/2'") from error
