r"""One S6 channel with two states and the softplus clock: which states its prefixes reach, and in how many tokens.

    dt = softplus(w z + β),    h_n ← exp(A_n dt) h_n + dt z² b_n,    A_2 < A_1 < 0,    g_n = h_n / b_n

A token adds the mass dt z² to both g_n; what comes after it shrinks it by exp(A_n τ), τ the sum of the later step sizes.
Numbers are enclosed in balls (``flint.arb``), so that every comparison that is decided is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import flint

from theory.core.constants import MAX_BITS
from theory.core.errors import InvalidInput, Undecided
from theory.core.multiprecision import to_arb

WIDTH = Fraction(1, 2**60)
"""Of a bracket."""

PRECISION = 160  # bits at first: a hundred to spare for comparisons at the ends of a bracket; doubled where they are too few


@dataclass(frozen=True)
class Channel:
    """w, β and two decay rates A_2 < A_1 < 0. Raises InvalidInput for rates in another order."""

    w: Fraction
    beta: Fraction
    A: tuple[Fraction, Fraction]

    def __post_init__(self) -> None:
        if not self.A[1] < self.A[0] < 0:
            raise InvalidInput(f"A = {self.A}: list the slower state first, A_2 < A_1 < 0")

    def step(self, z: Any) -> Any:
        """softplus(w z + β) > 0, as x + log(1 + e^−x) for large x = w z + β, where e^x is beyond every exponent."""
        x = to_arb(self.w) * z + to_arb(self.beta)
        return x + (-x).exp().log1p() if x > 0 else x.exp().log1p()

    def mass(self, z: Any) -> Any:
        """dt z²."""
        return self.step(z) * z * z

    def run(self, tokens: Sequence[Any]) -> tuple[Any, Any]:
        """g_1 and g_2 after the tokens."""
        g = [flint.arb(0), flint.arb(0)]
        for z in tokens:
            dt, added = self.step(z), self.mass(z)
            g = [(to_arb(a) * dt).exp() * x + added for a, x in zip(self.A, g, strict=True)]
        return g[0], g[1]

    def waits(self, ratio: Fraction) -> int:
        """The least k with exp((A_2 − A_1)(k + 1)τ_0) < ratio, τ_0 = softplus(β) the step of the token 0; 0 < ratio < 1.

        That is the floor of q = ln ratio/((A_2 − A_1)τ_0). A ball tells it unless q is whole, and then (1 + e^β) to a rational
        power is rational, which needs β = 0 (Lindemann): a power of two, compared in rationals.
        """
        gap, bits = self.A[1] - self.A[0], PRECISION
        while True:
            with flint.ctx.workprec(bits):
                quotient = to_arb(ratio).log() / (to_arb(gap) * self.step(flint.arb(0)))
                whole = quotient.floor().unique_fmpz()
                near = (quotient.mid() + flint.arb(1) / 2).floor().unique_fmpz()
            if whole is not None:
                return int(whole)
            if self.beta == 0 and near is not None and ratio**gap.denominator == Fraction(2) ** (gap.numerator * int(near)):
                return int(near)
            bits = _more(bits)


def _more(bits: int) -> int:
    """Twice the precision; Undecided where no ball tells the numbers apart, which would be a wrong bracket."""
    if bits > MAX_BITS:
        raise Undecided(f"a state of one channel is not told from the end of its bracket with {bits} bits")
    return 2 * bits


@dataclass(frozen=True)
class Bracket:
    """Last tokens between which one leaves the state, after a first token and ``waits`` tokens 0.

    Attributes
    ----------
    low, high:
        Last tokens whose second state, with the first state kept at g_1, is below and above g_2.
    first_mass:
        Enclosure of the first token's mass, positive.
    """

    waits: int
    low: Fraction
    high: Fraction
    first_mass: Any

    @property
    def length(self) -> int:
        """Tokens in all."""
        return self.waits + 2


def second_state(channel: Channel, g1: Fraction, waits: int, z: Fraction) -> Any:
    """b + (g_1 − b) exp((A_2 − A_1)(kτ_0 + dt)): g_2 with last token z (mass b, step dt) where the first token sets g_1."""
    b, gap = channel.mass(to_arb(z)), to_arb(channel.A[1] - channel.A[0])
    later = waits * channel.step(flint.arb(0)) + channel.step(to_arb(z))
    return b + (to_arb(g1) - b) * (gap * later).exp()


def bracket(channel: Channel, g1: Fraction, g2: Fraction) -> Bracket | None:
    """Tokens that leave 0 < g_2 < g_1, certified by a change of sign; None for every other state.

    (g_1 = g_2 takes one token, g = 0 none; nothing else is reached.)
    """
    if not 0 < g2 < g1:
        return None
    waits, bits = channel.waits(g2 / g1), PRECISION
    while (found := _certified(channel, g1, g2, waits, bits)) is None:
        bits = _more(bits)
    return found


def _certified(channel: Channel, g1: Fraction, g2: Fraction, waits: int, bits: int) -> Bracket | None:
    """The bracket at a precision, None where that does not tell its ends from the state."""
    with flint.ctx.workprec(bits):
        side = 1 if channel.w >= 0 else -1
        high = Fraction(side)
        while not channel.mass(to_arb(high)) > to_arb(g1):
            high *= 2
        low = Fraction(0)
        while abs(high - low) > WIDTH:
            middle = (low + high) / 2
            # where the last token alone exceeds g_1 the second state does too, since it is between its mass and g_1
            over = channel.mass(to_arb(middle)) > to_arb(g1) or second_state(channel, g1, waits, middle) > to_arb(g2)
            low, high = (low, middle) if over else (middle, high)
        later = waits * channel.step(flint.arb(0)) + channel.step(to_arb(low))
        first = (to_arb(g1) - channel.mass(to_arb(low))) / (to_arb(channel.A[0]) * later).exp()
        below, above = (second_state(channel, g1, waits, z) for z in (low, high))
        certain = below < to_arb(g2) < above and first > 0
        return Bracket(waits, low, high, first) if certain else None
