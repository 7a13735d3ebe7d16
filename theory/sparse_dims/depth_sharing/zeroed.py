r"""Depth sharing when every untuned channel is zeroed: two channels, what two layers cannot do and three can.

Target T* = W* diag(f*_1, f*_2) + diag(u*), f*_d = z/(z − λ_d) (residues in W*). A layer that tunes channel i alone, all
other residues 0, is

    T_g = p e_iᵀ g(z) + diag(u_g),

a triangular matrix whatever the other columns of its W are. So one LoRA column reaches all of it: rank 1 = any rank.

* G = 2: T_2 T_1 is lower times upper triangular (or a product within one triangle). With one state per tuned channel this
  computes T* only if W*_12 W*_21 = 0; with any number of states only if W*_12 W*_21 det W* u*_1 u*_2 = 0.
* G = 3: lower · upper · lower has the missing freedom. The middle pole μ is a root of a quadratic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from theory.core import linalg
from theory.core.deep_s4 import S4Layer
from theory.core.errors import InvalidSystem
from theory.core.lti import LTI

from .cancellation import require_target
from .transfer import single

ZERO, ONE = Fraction(0), Fraction(1)


@dataclass(frozen=True)
class TwoChannels:
    """A target layer of two channels, residues moved into W*: T* = W* diag(z/(z − λ_d)) + diag(u*)."""

    W: tuple[tuple[Fraction, Fraction], tuple[Fraction, Fraction]]
    modes: tuple[Fraction, Fraction]
    u: tuple[Fraction, Fraction]

    @staticmethod
    def of(target: S4Layer) -> TwoChannels:
        """From a linear layer with D = 2, one state per channel and distinct nonzero modes; InvalidSystem otherwise."""
        modes, weights = require_target(target)
        if len(modes) != 2 or modes[0] == modes[1]:
            raise InvalidSystem(f"expected two channels with distinct modes, got modes {[str(m) for m in modes]}")
        W = tuple(tuple(Fraction(target.W[i, d]) * weights[d] for d in range(2)) for i in range(2))
        return TwoChannels(W, (modes[0], modes[1]), (Fraction(target.u[0]), Fraction(target.u[1])))  # type: ignore[arg-type]

    def swapped(self) -> TwoChannels:
        """The same target with the channels in the other order."""
        (a, b), (c, d) = self.W
        return TwoChannels(((d, c), (b, a)), (self.modes[1], self.modes[0]), (self.u[1], self.u[0]))


def tuned_layer(channel: int, column: Sequence[Any], states: Sequence[tuple[Any, Any]], u: Sequence[Any]) -> S4Layer:
    """p e_iᵀ g(z) + diag(u) with D = 2: ``states`` are the pairs (mode, residue) of channel i, the other channel is zeroed."""
    other = 1 - channel
    channels: list[LTI] = [single("1/2", 0)] * 2
    channels[channel] = LTI([a for a, _ in states], [1] * len(states), [r for _, r in states], check_stable=False)
    W = [[ZERO, ZERO], [ZERO, ZERO]]
    for row in range(2):
        W[row][channel] = Fraction(column[row])
        W[row][other] = ONE  # multiplies a channel that is 0
    return S4Layer(channels, W, None, u, "linear")


def two_layer_witness(target: S4Layer) -> list[S4Layer]:
    r"""Two layers with one tuned state each, where W*_12 W*_21 = 0.

    With W*_ji = 0: layer 1 is diag(W*_ii f_i + u*_i, 1), layer 2 is W*_j e_jᵀ f_j + diag(1, u*_j).

    Raises InvalidSystem where W*_12 W*_21 ≠ 0: then no two layers exist (see the README).
    """
    t = TwoChannels.of(target)
    for i in (0, 1):
        j = 1 - i
        if t.W[j][i] == 0:
            p, q = [ZERO, ZERO], [t.W[0][j], t.W[1][j]]
            p[i] = t.W[i][i]
            u1, u2 = [ONE, ONE], [ONE, ONE]
            u1[i], u2[j] = t.u[i], t.u[j]
            return [tuned_layer(i, p, [(t.modes[i], 1)], u1), tuned_layer(j, q, [(t.modes[j], 1)], u2)]
    raise InvalidSystem(
        f"W*_12 W*_21 = {t.W[0][1] * t.W[1][0]} ≠ 0: two layers with one tuned state each and zeroed channels cannot compute it"
    )


def two_layer_witness_singular(target: S4Layer) -> list[S4Layer]:
    r"""Two layers, two states in the first tuned channel, where det W* = 0 and W*_12 W*_21 ≠ 0, u*_2 ≠ 0.

    Layer 2 is W*_2 e_2ᵀ f_2 + diag(s, u*_2), layer 1 is (p_1, 1)ᵀ e_1ᵀ g + diag(u*_1/s, 1) with
    g = W*_21 f_1 / (W*_22 f_2 + u*_2), whose poles are λ_1 and μ = u*_2 λ_2/(W*_22 + u*_2).

    Raises InvalidSystem where det W* ≠ 0 or a denominator vanishes.
    """
    t = TwoChannels.of(target)
    (w11, w12), (w21, w22) = t.W
    l1, l2 = t.modes
    total = w22 + t.u[1]
    if w11 * w22 != w12 * w21 or w12 * w21 == 0 or t.u[1] == 0 or total == 0:
        raise InvalidSystem(f"need det W* = 0, W*_12 W*_21 ≠ 0, u*_2 ≠ 0 and W*_22 + u*_2 ≠ 0, got W* = {t.W}, u* = {t.u}")
    mu = t.u[1] * l2 / total
    if mu == l1:
        raise InvalidSystem(f"the zero {mu} of W*_22 f_2 + u*_2 sits on the mode λ_1; perturb u*_2")
    scale = w21 / total  # g = scale · z (z − λ_2)/((z − λ_1)(z − μ))
    states = [(l1, scale * (l1 - l2) / (l1 - mu)), (mu, scale * (mu - l2) / (mu - l1))]
    p1 = t.u[1] * w11 / w21
    first = tuned_layer(0, [p1, 1], states, [t.u[0], ONE])
    return [first, tuned_layer(1, [w12, w22], [(l2, ONE)], [ONE, t.u[1]])]


def three_layer_quadratic(t: TwoChannels) -> tuple[Fraction, Fraction, Fraction]:
    r"""(A, B, C) of A μ² + B μ + C = 0 for the middle pole of channels tuned in the order 1, 2, 1.

    (μ − λ_2)(P μ − Q) = R μ² with P = u_2 λ_2 (W_11 + u_1) − W_22 λ_1 u_1, Q = u_1 u_2 λ_1 λ_2, R = W_12 W_21 λ_2.
    """
    (w11, w12), (w21, w22) = t.W
    (l1, l2), (u1, u2) = t.modes, t.u
    P, Q, R = u2 * l2 * (w11 + u1) - w22 * l1 * u1, u1 * u2 * l1 * l2, w12 * w21 * l2
    return P - R, -(Q + l2 * P), l2 * Q


def discriminant(t: TwoChannels) -> Fraction:
    """(Q − λ_2 P)² + 4 λ_2 Q R: the middle pole is real iff this is not negative."""
    a, b, c = three_layer_quadratic(t)
    return b * b - 4 * a * c


def middle_poles(t: TwoChannels) -> list[Fraction]:
    """Rational roots μ of the quadratic that are usable: not 0, λ_1 or λ_2."""
    a, b, c = three_layer_quadratic(t)
    root = linalg.rational_root(b * b - 4 * a * c)
    roots: list[Fraction] = []
    if a == 0 and b != 0:
        roots = [-c / b]
    elif a != 0 and root is not None:
        roots = [(-b + root) / (2 * a), (-b - root) / (2 * a)]
    return [m for m in roots if m not in (0, *t.modes)]


def three_layer_parameters(W: Any, modes: Any, u: Any, mu: Any) -> list[tuple[int, list[Any], Any, list[Any]]]:
    r"""(channel, column p, mode, u) of the three layers, residue 1 each, for a middle pole μ: any field of numbers.

    T_3 places λ_2 and a zero on μ, T_2 has the pole μ, T_1 places λ_1; μ cancels if it is a root of the quadratic.
    """
    (w11, w12), (_, w22) = W
    (l1, l2), (u1, u2) = modes, u
    p2 = (mu - l2) * (w11 * mu + u1 * (mu - l1)) / (mu * mu * w12)
    p1 = w11 * (l2 / mu + (1 - l2 / mu) * l1 / (l1 - mu)) / w12 - p2 * l1 / (l1 - mu)
    first = (0, [p1, p2], l1, [u1 * l2 / (w12 * mu), 1])
    second = (1, [1, w22 * mu / l2], mu, [1, u2])
    third = (0, [w12 * (1 - mu / l2), w22 * (l2 - mu) / l2], l2, [w12 * mu / l2, 1])
    return [first, second, third]


def three_layer_witness(target: S4Layer) -> list[S4Layer]:
    """Three layers with one tuned state each (channels 1, 2, 1 or 2, 1, 2) that compute the target exactly.

    Raises
    ------
    InvalidSystem
        W*_12 W*_21 = 0 (two layers do), or the middle pole is not rational for either order: irrational for a positive
        discriminant (a real but not a rational witness), not real for a negative one.
    """
    given = TwoChannels.of(target)
    if given.W[0][1] * given.W[1][0] == 0:
        raise InvalidSystem("W*_12 W*_21 = 0: use two_layer_witness")
    for swap, t in ((False, given), (True, given.swapped())):
        for mu in middle_poles(t):
            layers = []
            for channel, column, mode, u in three_layer_parameters(t.W, t.modes, t.u, mu):
                if swap:
                    channel, column, u = 1 - channel, column[::-1], u[::-1]
                layers.append(tuned_layer(channel, column, [(mode, 1)], u))
            return layers
    shown = ", ".join(str(discriminant(t)) for t in (given, given.swapped()))
    raise InvalidSystem(f"the middle pole is not rational: discriminants {shown} are no rational squares")
