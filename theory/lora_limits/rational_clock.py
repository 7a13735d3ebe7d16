r"""Token-dependent clocks with rational values, for exact runs of selective modules.

    dt = φ(s),    decay = (1 + dt)^{−rate},    s = W_up W_dn z + β

φ is :func:`even_step`, 1/(1 + s²), or :func:`rising_step`, 1 + s for s ≥ 0 and 1/(1 − s) below.

They stand in for softplus wherever a statement holds for every clock. The even one is analytic, which Taylor coefficients need.
The rising one is one-to-one, as softplus is: only such a clock lets the outputs determine W_dn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from theory.core.errors import InvalidInput
from theory.core.scalars import Array


def whole_rates(rates: Any) -> list[list[int]]:
    """Rates as ints, rows (D, N). Raises InvalidInput for a rate that is not whole and positive: powers would not be rational."""
    out = []
    for d, row in enumerate(rates):
        for n, k in enumerate(row):
            if k != int(k) or k < 1:
                raise InvalidInput(
                    f"rates[{d}, {n}] = {k} must be a positive whole number in exact arithmetic; use floats for others"
                )
        out.append([int(k) for k in row])
    return out


def even_step(s: Fraction) -> Fraction:
    """1/(1 + s²): analytic, and the same for s and −s."""
    return Fraction(1) / (1 + s * s)


def rising_step(s: Fraction) -> Fraction:
    """1 + s for s ≥ 0, 1/(1 − s) for s < 0: positive, continuous and strictly increasing."""
    return 1 + s if s >= 0 else Fraction(1) / (1 - s)


@dataclass(frozen=True, eq=False)
class RationalClock:
    """z → (dt (D,), decay (D, N)).

    Attributes
    ----------
    W_up, W_dn, bias:
        (D, R) or (1, R) for one clock of all channels, (R, width of z), (D,) or (1,).
    rates:
        (D, N), positive and whole.
    step:
        φ.
    """

    W_up: Any
    W_dn: Any
    bias: Any
    rates: Any
    step: Callable[[Fraction], Fraction] = even_step

    def __call__(self, z: Array) -> tuple[Array, Array]:
        rates = whole_rates(self.rates)
        s = self.W_up @ (self.W_dn @ z) + self.bias
        steps = [self.step(Fraction(x)) for x in s]
        if len(steps) == 1:
            steps = steps * len(rates)
        decay = [[(1 / (1 + dt)) ** k for k in row] for dt, row in zip(steps, rates, strict=True)]
        return np.array(steps, dtype=object), np.array(decay, dtype=object)
