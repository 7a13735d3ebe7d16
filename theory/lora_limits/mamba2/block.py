r"""A small Mamba-2 block in exact numbers: every selector is a row of in_proj, and A is one number a head.

    out_t = Σ_h W_out^h y_t^h,    y_t^h = h_t^h C_t^g(h) + D_h x_t^h,    x^h = W_x^h u,  B^g = W_B^g u,  C^g = W_C^g u
    dt_t^h = φ(w_h·u_t + β_h),    decay_t^h = (1 + dt_t^h)^{−rate_h}

φ is :func:`..rational_clock.rising_step`; it stands in for softplus, and (1 + dt)^{−rate} for exp(A dt). Without convolution,
gate and norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from theory.core import linalg
from theory.core.scalars import Array
from theory.core.ssd import Mamba2Head, ScalarClock

from ..rational_clock import rising_step


@dataclass(frozen=True, eq=False)
class Mamba2Block:
    """A block in exact numbers.

    Attributes
    ----------
    W_x, W_out:
        One (P, D) and one (d, P) matrix a head.
    W_B, W_C:
        One (N, D) matrix a group; heads are split evenly over the groups, in order.
    W_dt, bias, rates, D_skip:
        One row (D,) and one number each a head; rates are whole and positive.
    """

    W_x: tuple[Array, ...]
    W_out: tuple[Array, ...]
    W_B: tuple[Array, ...]
    W_C: tuple[Array, ...]
    W_dt: tuple[Array, ...]
    bias: tuple[Fraction, ...]
    rates: tuple[int, ...]
    D_skip: tuple[Fraction, ...]

    @property
    def heads(self) -> int:
        """H."""
        return len(self.W_x)

    def group(self, head: int) -> int:
        """Which group's B and C a head reads."""
        return head * len(self.W_B) // self.heads

    def clock(self, head: int) -> ScalarClock:
        """u → (dt, decay) of one head."""

        def read(u: Array) -> tuple[Fraction, Fraction]:
            dt = rising_step(Fraction(self.W_dt[head] @ u + self.bias[head]))
            return dt, (1 / (1 + dt)) ** self.rates[head]

        return read

    def decays_at_rest(self) -> tuple[Fraction, ...]:
        """γ_h: each head's decay on the token 0, which no row of in_proj enters."""
        return tuple(self.clock(h)(0 * self.W_dt[h])[1] for h in range(self.heads))

    def run(self, tokens: Sequence[Any]) -> Array:
        """Outputs (L, d) for tokens (L, D)."""
        total: Any = 0
        for h in range(self.heads):
            g = self.group(h)
            head = Mamba2Head(self.W_x[h], self.W_B[g], self.W_C[g], clock=self.clock(h), D_skip=self.D_skip[h])
            total = total + head.run(np.array(tokens, dtype=object))[0] @ self.W_out[h].T
        return np.asarray(total)


def gap_responses(block: Mamba2Block, first: Array, last: Array, gaps: int) -> Array:
    """What token ``first`` adds to the output at ``last``, with j = 0 … gaps − 1 tokens 0 between: shape (gaps, d)."""
    rows = []
    for j in range(gaps):
        rest = [0 * first] * j + [last]
        rows.append(block.run([first, *rest])[-1] - block.run([0 * first, *rest])[-1])
    return np.array(rows)


def annihilated(responses: Array, poles: Sequence[Fraction]) -> bool:
    """Whether the recurrence with these roots, Π (shift − γ), kills the responses; needs more gaps than roots."""
    coefficients = [Fraction(1)]
    for pole in poles:
        shifted, scaled = [*coefficients, Fraction(0)], [Fraction(0), *(pole * c for c in coefficients)]
        coefficients = [a - b for a, b in zip(shifted, scaled, strict=True)]
    order = len(poles)
    for start in range(len(responses) - order):
        window = responses[start : start + order + 1][::-1]
        if np.any(sum((c * row for c, row in zip(coefficients, window, strict=True)), 0 * window[0])):
            return False
    return True


def reads_of_out_proj(block: Mamba2Block, target: Mamba2Block) -> tuple[Array, ...] | None:
    """Rows W_x with W_out^h W_x^h = W_out*^h W_x*^h, head by head; None where some head's output leaves its columns."""
    rows = []
    for h in range(block.heads):
        wanted = target.W_out[h] @ target.W_x[h]
        columns = [linalg.solve(block.W_out[h], list(column)) for column in wanted.T]
        if any(column is None for column in columns):
            return None
        rows.append(np.array(columns, dtype=object).T)
    return tuple(rows)
