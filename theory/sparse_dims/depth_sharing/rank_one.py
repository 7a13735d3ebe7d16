r"""D = 3, G = 2, other channels frozen and nonzero, one state per channel: rank 1 is not enough.

Disjoint tuned sets S_1 ∪ S_2 = {1, 2, 3}, neither empty. For generic frozen and target numbers no rank-1 updates, u, tuned
modes and residues make T_2 T_1 equal T*, so the rank D − 1 = 2 of the cancelling construction is least. The case analysis is
in the README, its identities in :mod:`.proofs`; here are the numbers that must not vanish, for one instance.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np

from theory.core import linalg
from theory.core.deep_s4 import S4Layer
from theory.core.errors import InvalidInput, InvalidSystem
from theory.core.scalars import Array

from .cancellation import SharedDepth, require_target, summarise
from .proofs import swap_ratios
from .transfer import layers_of, one_state, single


def _poles(layer: S4Layer) -> list[tuple[Fraction, Fraction]]:
    return [one_state(channel, f"channel {d}") for d, channel in enumerate(layer.channels)]


def rank_one_obstruction(frozen: Sequence[S4Layer], target: S4Layer, tuned: Sequence[Sequence[int]]) -> dict[str, Fraction]:
    r"""The numbers that exclude rank 1 if none of them is 0.

    Parameters
    ----------
    frozen:
        Two linear layers of three channels with one state each.
    target:
        One such layer.
    tuned:
        (S_1, S_2), disjoint, not empty, together {0, 1, 2}.

    Returns
    -------
    dict
        ``modes`` (product of differences of all poles that meet), ``frozen residues``, ``cycle`` of W_1,
        ``target columns`` and, by |S_1|, ``frozen columns`` or ``crossed poles``.

    Raises
    ------
    InvalidInput, InvalidSystem
        Other depths, widths or tuned sets.
    """
    old = layers_of(frozen)
    s1, s2 = (tuple(s) for s in tuned) if len(tuned) == 2 else ((), ())
    if sorted([*s1, *s2]) != [0, 1, 2] or not s1 or not s2:
        raise InvalidInput(f"tuned = {tuned!r} must be two disjoint non-empty sets that make up channels 0, 1, 2")
    if len(old) != 2 or old[0].n_channels != 3 or target.n_channels != 3:
        raise InvalidSystem(f"expected G = 2 layers of D = 3 channels, got G = {len(old)}, D = {old[0].n_channels}")
    target_modes, target_weights = require_target(target)
    first, second = _poles(old[0]), _poles(old[1])
    W1, W2, W = old[0].W, old[1].W, target.W * target_weights
    kept = [first[d] for d in s2] + [second[d] for d in s1]
    poles = [*target_modes, *(a for a, _ in kept)]
    differences = [p - q for p, q in combinations(poles, 2)] + poles
    out = {
        "modes": _product(differences),
        "frozen residues": _product([r for _, r in kept]),
        "cycle": W1[0, 1] * W1[1, 2] * W1[2, 0] - W1[1, 0] * W1[2, 1] * W1[0, 2],
        # 0 iff a column of W* is zero, so that the target has no pole there, or for d in S_1 a multiple of e_d.
        "target columns": _product([sum((W[i, d] ** 2 for i in range(3) if i != d or d in s2), Fraction(0)) for d in (*s1, *s2)]),
    }
    if len(s1) == 2:
        gram = np.array([[sum(W2[:, i] * W2[:, j], Fraction(0)) for j in s1] for i in s1], dtype=object)
        out["frozen columns"] = linalg.determinant(gram)  # 0 iff the two columns are parallel
    else:
        out["crossed poles"] = _crossed(W1, W, s1[0], s2, target_modes, first)
    return out


def _product(values: Sequence[Any]) -> Fraction:
    out = Fraction(1)
    for v in values:
        out = out * v
    return out


def _crossed(W1: Array, W: Array, i: int, s2: Sequence[int], modes: Sequence[Fraction], first: Sequence[Any]) -> Fraction:
    """Nonzero iff layer 2's two poles cannot sit on each other's channels: no s meets both ratios of W'_1."""
    j, k = s2
    needed = W[i, j] * W[i, k] * W1[i, j] * W1[j, i]
    (nj, rj), (nk, rk) = first[j], first[k]
    if needed == 0 or 0 in (modes[j], modes[j] - nk, modes[k] - nk):
        return Fraction(0)
    ratio_j, ratio_k = swap_ratios((modes[j], modes[k]), (nj, nk), W[i, j] / W[i, k])

    def affine(row: int, ratio: Fraction) -> list[Fraction]:  # (W'_rj ρ_j − ratio W'_rk ρ_k) s as slope and constant
        slope = W1[row, j] * rj - ratio * W1[row, k] * rk
        return [slope, W1[row, i] * (W1[i, j] * rj - ratio * W1[i, k] * rk)]

    return Fraction(needed * linalg.determinant([affine(j, ratio_j), affine(k, ratio_k)]))


def special_stack(target: S4Layer, poles: Sequence[Fraction], x: Sequence[Fraction]) -> tuple[list[S4Layer], SharedDepth]:
    r"""A frozen stack for which rank 1 does work with S_1 = {0, 1}, S_2 = {2}: built backwards from the tuned layers.

    ``poles`` = (μ_0, μ_1, ν_2) are the frozen poles that matter, ``x`` (12 nonzero numbers) the two rank-1 updates.
    W_1 then differs from a diagonal matrix by rank 1, so its cycle vanishes.
    """
    modes, weights = require_target(target)
    if len(modes) != 3 or len(poles) != 3 or len(x) != 12 or 0 in (*poles, *x):
        raise InvalidInput("expected three channels, three nonzero poles and twelve nonzero numbers")
    one, zero = Fraction(1), Fraction(0)
    update1 = np.outer(np.array(x[:3], dtype=object), np.array(x[3:6], dtype=object))
    update2 = np.outer(np.array(x[6:9], dtype=object), np.array(x[9:], dtype=object))
    W1 = np.array([[one if i == j < 2 else zero for j in range(3)] for i in range(3)], dtype=object)
    W2 = target.W * weights
    u1, u2 = np.array([one] * 3, dtype=object), target.u.copy()
    early, late = [], []
    for d in (0, 1):  # layer 1 is (z − μ)/(z − λ) on channel d, layer 2 reads it through z/(z − μ)
        W2[d, d] = W2[d, d] + target.u[d] * (1 - modes[d] / poles[d])
        u1[d], u2[d] = poles[d] / modes[d], target.u[d] * modes[d] / poles[d]
        early.append(single(modes[d], 1 - poles[d] / modes[d]))
        late.append(single(poles[d], 1))
    tuned = [
        S4Layer([*early, single(poles[2], 1)], W1, None, u1, "linear"),
        S4Layer([*late, single(modes[2], 1)], W2, target.bias, u2, "linear"),
    ]
    before = [single(Fraction(1, 17), 1), single(Fraction(1, 19), 1)]
    frozen = [
        S4Layer([*before, single(poles[2], 1)], W1 - update1, None, None, "linear"),
        S4Layer([*late, single(Fraction(1, 23), 1)], W2 - update2, None, None, "linear"),
    ]
    return frozen, summarise(frozen, tuned)
