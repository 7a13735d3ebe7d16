r"""One Mamba-3 head in exact numbers, as we read it: everything that moves the state is a row of in_proj.

    h_t = α_t h_{t−1} R_tᵀ + (1 − λ_t) Δ_t α_t x_{t−1} (R_t B_{t−1})ᵀ + λ_t Δ_t x_t B_tᵀ,     y_t = h_t C_t,     h ∈ R^{P×2}
    Δ = φ(w_Δ·u + b_Δ),  a = φ(w_a·u + b_a),  α = 1/(1 + Δ a),  λ = 1/(1 + φ(w_λ·u + b_λ)),  R = rotation by 2 arctan(w_θ·u + b_θ)

φ is a rational step (rising, one-to-one), 1/(1 + Δ a) stands for exp(−Δ a). λ = 1 (``mix=None``) and no rotation is Mamba-2
with N = 2, except that there a is one number, w_a = 0, outside in_proj.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from theory.core.scalars import Array
from theory.lora_limits.rational_clock import rising_step


@dataclass(frozen=True, eq=False)
class Head:
    """A head of P channels and two states over tokens u ∈ R^D.

    Attributes
    ----------
    W_x, W_B, W_C:
        (P, D), (2, D), (2, D).
    step, rate, mix, turn:
        (row, bias) of Δ, a, λ and the rotation; ``mix=None``: λ = 1.
    """

    W_x: Array
    W_B: Array
    W_C: Array
    step: tuple[Array, Fraction]
    rate: tuple[Array, Fraction]
    mix: tuple[Array, Fraction] | None
    turn: tuple[Array, Fraction]

    def delta(self, u: Array) -> Fraction:
        """Δ(u) > 0."""
        return rising_step(Fraction(self.step[0] @ u + self.step[1]))

    def a(self, u: Array) -> Fraction:
        """a(u) > 0, minus the A of this token."""
        return rising_step(Fraction(self.rate[0] @ u + self.rate[1]))

    def decay(self, u: Array) -> Fraction:
        """α(u)."""
        return 1 / (1 + self.delta(u) * self.a(u))

    def held(self, u: Array) -> Fraction:
        """(1 − λ(u)) Δ(u): the weight with which the token before counts again."""
        if self.mix is None:
            return Fraction(0)
        size = rising_step(Fraction(self.mix[0] @ u + self.mix[1]))
        return self.delta(u) * size / (1 + size)

    def rotation(self, u: Array) -> Array:
        """R(u), (2, 2)."""
        s = Fraction(self.turn[0] @ u + self.turn[1])
        return np.array([[1 - s * s, -2 * s], [2 * s, 1 - s * s]], dtype=object) / (1 + s * s)

    def run(self, tokens: Sequence[Any] | Array, h0: Array | None = None, before: Array | None = None) -> tuple[Array, Array]:
        """Outputs (L, P) and the last state (P, 2); ``before``: the token before the first one (none: it adds nothing)."""
        h = np.array([[Fraction(0)] * 2] * len(self.W_x), dtype=object) if h0 is None else h0
        outputs = []
        for u in tokens:
            alpha, turn, held = self.decay(u), self.rotation(u), self.held(u)
            h = alpha * h @ turn.T
            if before is not None:
                h = h + held * alpha * np.outer(self.W_x @ before, turn @ (self.W_B @ before))
            h = h + (self.delta(u) - held) * np.outer(self.W_x @ u, self.W_B @ u)
            outputs.append(h @ (self.W_C @ u))
            before = u
        return np.array(outputs, dtype=object), h


def inverse_step(value: Fraction) -> Fraction:
    """s with φ(s) = value > 0."""
    return value - 1 if value >= 1 else 1 - 1 / value


def sign_changes(values: Sequence[Fraction]) -> int:
    """Changes of sign of a sequence, zeros left out."""
    signs = [v > 0 for v in values if v != 0]
    return sum(a != b for a, b in pairwise(signs))
