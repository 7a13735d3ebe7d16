r"""Counting: how many dimensions a tuned stack has at most, and how many a target layer has.

    tuned stack     G r (2D − r) + G D + 2 q      rank-r updates of G matrices, u of every layer, q tuned states (a and r)
    target layer    D² + 2 D N*                   W* and residues up to a column scale, modes, u*

A generic target needs the first to be at least the second. The second is certified by an exact Jacobian rank.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from theory.core.certificate import DimensionCertificate, dimension_certificate
from theory.core.errors import InvalidInput
from theory.core.scalars import Array


def _positive(**values: int) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidInput(f"{name} = {value!r} must be a positive integer")


def tuned_dimension(depth: int, width: int, rank: int, tuned_states: int, *, u_tuned: bool = True) -> int:
    """G r (2D − r) + G D + 2 q, an upper bound of the dimension of all tuned stacks; r above D counts as D."""
    _positive(depth=depth, width=width, rank=rank, tuned_states=tuned_states)
    r = min(rank, width)
    return depth * r * (2 * width - r) + (depth * width if u_tuned else 0) + 2 * tuned_states


def target_dimension(width: int, states: int) -> int:
    """D² + 2 D N*, the dimension of the functions that one linear target layer computes."""
    _positive(width=width, states=states)
    return width * width + 2 * width * states


def count_allows(
    depth: int, width: int, rank: int, states: int, tuned_states: int | None = None, *, u_tuned: bool = True
) -> bool:
    """Whether the count does not exclude the budget (which proves nothing); q = D N* where it is left out."""
    q = width * states if tuned_states is None else tuned_states
    return tuned_dimension(depth, width, rank, q, u_tuned=u_tuned) >= target_dimension(width, states)


def least_rank(depth: int, width: int, states: int, tuned_states: int | None = None, *, u_tuned: bool = True) -> int | None:
    """The least rank that the count allows, or None where not even full rank has enough parameters."""
    for rank in range(1, width + 1):
        if count_allows(depth, width, rank, states, tuned_states, u_tuned=u_tuned):
            return rank
    return None


def first_width_refuting(depth: int, rank: int) -> int:
    """The least width D at which rank ``rank`` is excluded for depth G against one target layer, with q = D N*."""
    _positive(depth=depth, rank=rank)
    width = rank
    while count_allows(depth, width, rank, 1):
        width += 1
    return width


def target_family(width: int, states: int) -> Callable[[Array], list[Any]]:
    """Parameters (W, modes, residues, u) → the entries of T(z) = W diag(Σ r z/(z − a)) + diag(u) at 2N* + 2 points."""
    points = [Fraction(k) for k in range(2, 2 * states + 4)]

    def outputs(v: Array) -> list[Any]:
        W = v[: width * width].reshape(width, width)
        modes, weights = v[width * width : width * width + 2 * width * states].reshape(2, width, states)
        u = v[width * width + 2 * width * states :]
        out = []
        for z in points:
            for d in range(width):
                f: Any = Fraction(0)
                for a, r in zip(modes[d], weights[d], strict=True):
                    f = f + r * z / (z - a)
                out += [W[i, d] * f + (u[d] if i == d else 0) for i in range(width)]
        return out

    return outputs


def target_certificate(width: int, states: int, seed: int = 0) -> DimensionCertificate:
    """The exact Jacobian rank of the target family at a rational point drawn from the seed."""
    _positive(width=width, states=states)
    rng = np.random.default_rng(seed)
    n = width * states
    W = [Fraction(int(x), 3) for x in rng.integers(1, 9, width * width) * rng.choice([-1, 1], width * width)]
    modes = [Fraction(1, int(k) + 2) for k in rng.permutation(n)]
    rest = [Fraction(int(x), 2) for x in rng.integers(1, 9, n + width)]
    return dimension_certificate(target_family(width, states), [*W, *modes, *rest])


def stack_dimension(depth: int, width: int, rank: int) -> int:
    """The Jacobian rank of a tuned stack (one tuned channel per layer, others frozen) at a rational point: at most the count."""
    points = [Fraction(k) for k in range(2, 3 * depth + 6)]
    rng = np.random.default_rng(depth + 10 * rank)
    frozen = [[[Fraction(int(x)) for x in row] for row in rng.integers(1, 9, (width, width))] for _ in range(depth)]
    per = 2 * width * rank + width + 2

    def outputs(v: Any) -> list[Any]:
        out: list[Any] = []
        for z in points:
            total: Any = np.array([[Fraction(int(i == j)) for j in range(width)] for i in range(width)], dtype=object)
            for g in range(depth):
                x, y, rest = np.split(v[g * per : (g + 1) * per], [width * rank, 2 * width * rank])
                W = np.array(frozen[g], dtype=object) + x.reshape(width, rank) @ y.reshape(rank, width)
                f = np.array([z / (z - Fraction(1, 3 + d + width * g)) for d in range(width)], dtype=object)
                f[g % width] = rest[width + 1] * z / (z - rest[width])
                layer = W * f
                for d in range(width):
                    layer[d, d] = layer[d, d] + rest[d]
                total = layer @ total
            out += list(total.ravel())
        return out

    point: list[Fraction] = []
    for g in range(depth):
        point += [Fraction(int(x), 2) for x in rng.integers(1, 9, 2 * width * rank + width)]
        point += [Fraction(1, 20 + g), Fraction(3 + g)]
    return dimension_certificate(outputs, point).rank
