"""Tokens that build any state where criterion (iii) holds: the construction of the theorem's proof, in rationals."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from theory.core import linalg
from theory.core.scalars import Array

from .cone import TokenCone
from .result import Token

MOST_BITS = 1 << 17
"""Powers of a decay longer than this are not formed: near-equal decays ask for clusters very far apart."""


def cluster_tokens(cone: TokenCone, h: Array, max_length: int) -> list[Token] | None:
    """Tokens that build ``h`` when criterion (iii) holds: the construction of the theorem's proof, in rationals.

    Block i of K gets a cluster of tokens around slot (K − i)·T. Scaling rows and columns by positive numbers makes the
    matrix of contributions tend to a block-diagonal one whose columns positively span as T grows; T is doubled until they
    do. None where that needs more than ``max_length`` slots.
    """
    stride = max(len(v.directions) for v in cone.criterion)
    bits = max(v.block.decay.denominator.bit_length() for v in cone.criterion)
    while len(cone.blocks) * stride <= min(max_length, MOST_BITS // bits):
        tokens = _clusters_at(cone, h, stride)
        if tokens is not None:
            return tokens
        stride *= 2
    return None


def _clusters_at(cone: TokenCone, h: Array, stride: int) -> list[Token] | None:
    verdicts = cone.criterion
    k = len(verdicts)
    logs = [_log(v.block.decay) for v in verdicts]
    offsets = [0.0]
    for i in range(1, k):  # the lines s_i + τ log λ_i cross between the clusters i−1 and i
        offsets.append(offsets[-1] + (k - 1 - i + 0.5) * (logs[i - 1] - logs[i]))
    row_scale = [Fraction(2) ** round(stride * s / math.log(2)) for s in offsets]

    slots: list[int] = []
    directions: list[Array] = []
    u: list[Fraction] = []
    col_scale: list[Fraction] = []
    basis: list[int] = []
    for i, v in enumerate(verdicts):
        parts = np.array([v.block.restrict(cone.token(z)) for z in v.directions], dtype=object).T
        _, pivots = linalg.rref(parts)
        basis += [len(slots) + p for p in pivots]
        for j, (z, weight) in enumerate(zip(v.directions, v.weights, strict=True)):
            slot = (k - 1 - i) * stride + j
            slots.append(slot)
            directions.append(z)
            u.append(weight)
            col_scale.append(1 / (row_scale[i] * v.block.decay**slot))
    columns = [cone.column(s, z) for s, z in zip(slots, directions, strict=True)]
    rows = [[v.block.restrict(c) for c in columns] for v in verdicts]
    matrix = np.array(
        [
            [row_scale[i] * rows[i][c][r] * col_scale[c] for c in range(len(columns))]
            for i, v in enumerate(verdicts)
            for r in range(len(v.block.entries))
        ],
        dtype=object,
    )
    right = np.array([row_scale[i] * x for i, v in enumerate(verdicts) for x in v.block.restrict(h)], dtype=object)
    weights = np.array(u, dtype=object)
    square = matrix[:, basis]
    drift, wanted = linalg.solve(square, matrix @ weights), linalg.solve(square, right)
    if drift is None or wanted is None:
        return None
    spare = [weights[c] - d for c, d in zip(basis, drift, strict=True)]
    if any(s <= 0 for s in spare):
        return None
    t = max([Fraction(0), *(-x / s for x, s in zip(wanted, spare, strict=True))])
    scaled = t * weights
    for c, s, x in zip(basis, spare, wanted, strict=True):
        scaled[c] = t * s + x
    return [Token(s, z, w * f) for s, z, w, f in zip(slots, directions, scaled, col_scale, strict=True)]


def _log(x: Fraction) -> float:
    return math.log(x.numerator) - math.log(x.denominator)
