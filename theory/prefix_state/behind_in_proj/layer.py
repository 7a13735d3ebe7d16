r"""A layer of LTI channels behind one in_proj: which joint states tokens of R^{d_model} reach, and how many it takes.

    x_t = W_in u_t ∈ R^D,    h_t[d, n] = a_dn h_{t−1}[d, n] + b_dn x_t[d],    u_t ∈ R^m

As one system with the states (d, n) in a row, A = diag(a) and rows B_(d,n) = b_dn W_in[d, :], M tokens reach the Krylov
space K_M = Σ_{j<M} A^j col(B). ``level="function"``: the pairs (channel, observable mode) instead, with rows
r_dλ W_in[d, :] and the coordinates κ_dλ = Σ_{a_dn=λ} c_dn h_dn, which are what the outputs after the prefix show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from theory.core import linalg
from theory.core.brief import outline
from theory.core.errors import InvalidInput, InvalidSystem
from theory.core.given import Matrix
from theory.core.lti import LTI
from theory.core.scalars import Array, as_array

Level = Literal["state", "function"]


@dataclass(frozen=True, eq=False)
class Layer:
    """LTI channels of rational modes, and the rows W_in (D, m) through which they read a token.

    Raises InvalidSystem for modes or coefficients that are not rational, and for another number of rows than channels.
    """

    channels: tuple[LTI, ...]
    W_in: Array

    def __post_init__(self) -> None:
        if any(
            c.kind != "exact" or c.half or not all(isinstance(x, Fraction) for x in (*c.a, *c.b, *c.c)) for c in self.channels
        ):
            raise InvalidSystem(
                "a layer behind in_proj takes channels of rational a, b and c; use channel.exactly() for real floats"
            )
        if self.W_in.ndim != 2 or len(self.W_in) != len(self.channels) or not self.W_in.size:
            raise InvalidSystem(f"W_in has shape {self.W_in.shape}, expected one row for each of {len(self.channels)} channels")

    @classmethod
    def of(cls, channels: Sequence[LTI], W_in: Matrix) -> Layer:
        """A layer, W_in given as nested sequences of exact numbers."""
        return cls(tuple(channels), as_array(W_in, "exact", "W_in", ndim=2))

    def coordinates(self, level: Level = "state") -> tuple[list[Fraction], Array]:
        """Modes and rows B, one for each joint state, or for each observable mode of each channel."""
        if not isinstance(level, str) or level not in ("state", "function"):
            raise InvalidInput(f"level = {outline(level)}: choose 'state' or 'function'")
        modes: list[Fraction] = []
        rows: list[Array] = []
        for channel, row in zip(self.channels, self.W_in, strict=True):
            if level == "state":
                pairs = list(zip(channel.a, channel.b, strict=True))
            else:
                pairs = [(mode.value, mode.residue) for mode in channel.modes() if mode.observable]
            modes += [a for a, _ in pairs]
            rows += [b * row for _, b in pairs]
        return modes, np.array(rows, dtype=object).reshape(len(modes), self.W_in.shape[1])

    def shown(self, states: Sequence[Sequence[Any]], level: Level = "state") -> Array:
        """Joint states, one row a channel, in the coordinates of that level."""
        out: list[Any] = []
        for channel, h in zip(self.channels, states, strict=True):
            if level == "state":
                out += list(channel.state(h))
            else:
                observable = [mode for mode in channel.modes() if mode.observable]
                out += [sum((channel.c[n] * Fraction(h[n]) for n in mode.indices), Fraction(0)) for mode in observable]
        return np.array(out, dtype=object)

    def states_after(self, tokens: Sequence[Any] | Array) -> list[Array]:
        """The state that each channel is in after the tokens (M, m), by running it."""
        inputs = [[sum((w * x for w, x in zip(row, u, strict=True)), Fraction(0)) for u in tokens] for row in self.W_in]
        return [channel.run(x)[1] for channel, x in zip(self.channels, inputs, strict=True)]


def krylov(layer: Layer, length: int, level: Level = "state") -> Array:
    """[B, AB, …, A^{M−1}B], shape (states, M m): its columns span what M tokens reach."""
    modes, B = layer.coordinates(level)
    diagonal = np.array(modes, dtype=object)[:, None]
    return np.concatenate([B * diagonal**j for j in range(length)], axis=1) if length else B[:, :0]


@dataclass(frozen=True)
class Blocked:
    """A mode whose rows are dependent: weights · (coordinates of that mode) is 0 in every state that tokens reach."""

    mode: Fraction
    ell: Array


def blocked(layer: Layer, level: Level = "state") -> Blocked | None:
    """The PBH test: the first mode at which the rows of B are dependent, with its functional; None where there is none."""
    modes, B = layer.coordinates(level)
    for value in dict.fromkeys(modes):
        members = [i for i, a in enumerate(modes) if a == value]
        kernel = linalg.nullspace(B[members].T)
        if kernel:
            ell = np.array([Fraction(0)] * len(modes), dtype=object)
            ell[members] = kernel[0]
            return Blocked(value, ell)
    return None


def least_length_for_all(layer: Layer, level: Level = "state") -> int | float:
    """The controllability index: the least M for which M tokens reach every joint state; ∞ where none does."""
    modes, _ = layer.coordinates(level)
    if blocked(layer, level) is not None:
        return math.inf
    return next(m for m in range(len(modes) + 1) if linalg.rank(krylov(layer, m, level)) == len(modes))


def prefix(layer: Layer, states: Sequence[Sequence[Any]], level: Level = "state") -> Array | None:
    """A shortest sequence of tokens (M, m) that leaves the joint state (``function``: a state of the same outputs), or None."""
    target = layer.shown(states, level)
    width = layer.W_in.shape[1]
    for length in range(len(set(layer.coordinates(level)[0])) + 1):
        found = linalg.solve(krylov(layer, length, level), list(target)) if length else (None if np.any(target) else target[:0])
        if found is not None:
            return np.asarray(found).reshape(length, width)[::-1]  # column block j belongs to the token that j others follow
    return None


def length_bounds(layer: Layer, level: Level = "state") -> tuple[int, int]:
    """⌈states / rank B⌉ and the number of different modes: what the index lies between where it is finite."""
    modes, B = layer.coordinates(level)
    rank = linalg.rank(B)
    return (-(-len(modes) // rank) if rank else 0), len(set(modes))
