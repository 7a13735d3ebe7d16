r"""A prefix as a polynomial: the inverse map from states to prefixes of an LTI channel.

A prefix x_1..x_M leaves h_n = b_n p(a_n) with the real polynomial p(z) = Σ_m x_{M−m} z^m of degree < M: the token followed
by m further tokens is the coefficient of z^m. So a prefix for h_0 is a real polynomial through given values,

    state level:     p(a_n) = h_n / b_n           for every n of the closed system (b_n = 0 needs h_n = 0)
    function level:  p(λ) = κ_λ / r_λ             for every observable λ, κ_λ = Σ_{a_n=λ} c_n h_n   (r_λ = 0 needs κ_λ = 0)

and the least length is the degree of the interpolating polynomial plus one. Values at λ and λ̄ are conjugate, so p is real.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from theory.core import linalg
from theory.core.brief import brief, outline
from theory.core.errors import InvalidInput
from theory.core.lti import LTI
from theory.core.scalars import Array, conj, gaussian, imag, is_zero, real, scaled, tidy, zeros

Level = Literal["state", "function"]


@dataclass(frozen=True)
class Block:
    """Why no prefix of any length does it.

    Attributes
    ----------
    mode:
        The mode that blocks.
    ell:
        ℓ over the closed system with Re Σ ℓ_n h_n = 0 on everything a prefix leaves and < 0 on h_0.
    reason:
        In words.
    """

    mode: Any
    ell: Array
    reason: str


@dataclass(frozen=True)
class Interpolation:
    """Nodes and values of the polynomial a prefix has to be, or the mode that blocks.

    Attributes
    ----------
    nodes, values:
        p(node) = value; nodes are distinct and closed under conjugation.
    weights:
        One row per node over the closed system: Σ_n weights_n h_n is what the node constrains.
    factors:
        What a token contributes to that sum: factor·node^m (b_n, or r_λ).
    block:
        Set where no prefix exists.
    """

    nodes: list[Any]
    values: list[Any]
    weights: list[Array]
    factors: list[Any]
    block: Block | None = None


def closed_state(system: LTI, h0: Any) -> Array:
    """h_0 over the closed system: with half storage, the stored half followed by its conjugate."""
    h = system.state(h0)
    if not system.half:
        return h
    out = zeros(2 * h.size, system.kind if system.kind != "float64" else "complex128")
    out[: h.size], out[h.size :] = h, conj(h)
    return out


def interpolation(system: LTI, h0: Any, level: Level = "function") -> Interpolation:
    """The interpolation problem of a state, for exact and symbolic systems (use ``system.exactly()`` for floats).

    Raises InvalidInput for an unknown level and for a full-storage state that is not conjugate-symmetric, and
    InvalidSystem where outputs are not real.
    """
    if not isinstance(level, str) or level not in ("state", "function"):
        raise InvalidInput(f"level {outline(level)} is unknown; choose 'state' or 'function'")
    full, h = system.require_real(), closed_state(system, h0)
    n_closed = full.n_states
    found = Interpolation([], [], [], [])
    for mode in system.modes():
        if level == "function":
            if not mode.observable:
                continue
            weights = zeros(n_closed, system.kind)
            for n in mode.indices:
                weights[n] = full.c[n]
            kappa = tidy(sum((full.c[n] * h[n] for n in mode.indices), 0 * h[0]))
            if is_zero(mode.residue):
                if not is_zero(kappa):
                    reason = f"mode λ = {brief(mode.value)} shows in the outputs, but its residue is 0: no token moves it"
                    return Interpolation([], [], [], [], Block(mode.value, scaled(weights, -conj(kappa)), reason))
                continue
            _add(found, mode.value, kappa / mode.residue, weights, mode.residue)
            continue
        driven = None
        for n in mode.indices:
            weights = zeros(n_closed, system.kind)
            if is_zero(full.b[n]):
                if not is_zero(h[n]):
                    weights[n] = -conj(h[n])
                    return Interpolation([], [], [], [], Block(mode.value, weights, f"state {n} has b = 0: no token moves it"))
                continue
            if driven is None:
                driven = n
                weights[n] = 1 + 0 * full.b[n]
                _add(found, mode.value, h[n] / full.b[n], weights, full.b[n])
                continue
            miss = full.b[n] * h[driven] - full.b[driven] * h[n]
            if not is_zero(miss):
                weights[driven], weights[n] = -conj(miss) * full.b[n], conj(miss) * full.b[driven]
                shared = f"states {driven} and {n} share the mode λ = {brief(mode.value)}"
                reason = f"{shared}, so every prefix keeps them proportional to b"
                return Interpolation([], [], [], [], Block(mode.value, weights, reason))
    _require_symmetric(found)
    return found


def _add(found: Interpolation, node: Any, value: Any, weights: Array, factor: Any) -> None:
    found.nodes.append(tidy(node))
    found.values.append(tidy(value))
    found.weights.append(weights)
    found.factors.append(factor)


def _require_symmetric(found: Interpolation) -> None:
    for node, value in zip(found.nodes, found.values, strict=True):
        partner = [v for x, v in zip(found.nodes, found.values, strict=True) if is_zero(x - conj(node))]
        if not partner or not is_zero(partner[0] - conj(value)):
            raise InvalidInput(
                f"h0 is not conjugate-symmetric at the mode {brief(node)}: a real system's states have conjugate values at "
                "conjugate modes; with half=True store one of each pair"
            )


def newton_coefficients(nodes: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """Divided differences f[x_0], f[x_0, x_1], …; exact for exact numbers."""
    table = list(values)
    for k in range(1, len(table)):
        for i in range(len(table) - 1, k - 1, -1):
            table[i] = (table[i] - table[i - 1]) / (nodes[i] - nodes[i - k])
    return table


def polynomial_through(nodes: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """Coefficients (ascending, no trailing zeros) of the polynomial of degree < len(nodes) through the points.

    For nodes and values closed under conjugation the coefficients are real.
    """
    coefficients: list[Any] = []
    for x, difference in reversed(list(zip(nodes, newton_coefficients(nodes, values), strict=True))):
        shifted = [0 * difference, *coefficients]  # multiply by (z − x) and add the divided difference
        for i, value in enumerate(coefficients):
            shifted[i] = shifted[i] - x * value
        shifted[0] = shifted[0] + difference
        coefficients = shifted
    out = [tidy(v) for v in coefficients]
    while out and is_zero(out[-1]):
        out.pop()
    return out


def least_length(found: Interpolation) -> int | float:
    """Tokens needed for the state: degree of p plus one, 0 for the state zero, ∞ where a mode blocks."""
    if found.block is not None:
        return math.inf
    return len(polynomial_through(found.nodes, found.values))


def prefix_of(polynomial: Sequence[Any], length: int) -> list[Any]:
    """Tokens in the order they are processed: the coefficient of the highest power first, zeros in front to fill up."""
    zero = 0 * polynomial[0] if polynomial else 0
    return [zero] * (length - len(polynomial)) + [real(v) for v in reversed(polynomial)]


def length_obstruction(system: LTI, found: Interpolation, length: int) -> Array:
    """ℓ over the closed system that vanishes on every state a prefix of ``length`` tokens leaves and is < 0 on this one.

    Only for exact systems and where :func:`least_length` exceeds ``length``.
    """
    rows, rhs = [], []
    for node, value, factor in zip(found.nodes, found.values, found.factors, strict=True):
        powers = [factor]
        for _ in range(length - 1):
            powers.append(powers[-1] * node)
        for part in (real, imag):
            rows.append([part(x) for x in powers])
            rhs.append(part(value * factor))
    certificate = linalg.left_kernel_certificate(rows, rhs)
    if certificate is None:
        raise InvalidInput(f"a prefix of {length} tokens does reach the state; no obstruction exists")
    ell = zeros(system.closed().n_states, system.kind)
    for k, weights in enumerate(found.weights):
        u, v = certificate[2 * k], certificate[2 * k + 1]  # u Re s + v Im s = Re((u − iv) s)
        ell = ell + np.array([_times(u, v, w) for w in weights], dtype=object)
    return ell


def _times(u: Any, v: Any, w: Any) -> Any:
    return tidy(gaussian(u, -v) * w) if v != 0 else tidy(u * w)
