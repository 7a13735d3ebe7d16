r"""Depth sharing by pole-zero cancellation: frozen channels stay nonzero, LoRA rank D − 1 on every W, any D ≥ 2.

One target layer T* = W* diag(f*_d) + diag(u*), f*_d = ρ*_d z/(z − λ_d), from G frozen linear layers with one state per
channel. Every channel d is placed in one layer p(d), at most ⌈D/G⌉ per layer:

* a layer g < G that places d becomes the diagonal factor  t_d(z) = τ_d (z − μ_d)/(z − λ_d)  in channel d: its pole is
  the target's, its zero is the pole μ_d of the frozen channel d of the last layer;
* the last layer reads its frozen channels through these factors,  ρ_d z/(z − μ_d) · t_d = τ_d ρ_d z/(z − λ_d), and
  places the channels that are left by tuning them.

Every column of every new W has a free scale, which makes det(W' − W) = 0: rank D − 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from theory.core import linalg
from theory.core.deep_s4 import DeepS4, S4Layer
from theory.core.errors import InvalidInput, InvalidSystem
from theory.core.invariants import invariant
from theory.core.scalars import Array

from .transfer import layers_of, one_state, single


@dataclass(frozen=True)
class SharedDepth:
    """A tuned stack that computes one target layer.

    Attributes
    ----------
    network:
        The tuned layers.
    ranks:
        rank(W'_g − W_g) per layer.
    tuned:
        Channels with a changed state, per layer.
    scalars:
        Changed numbers a_n and r_n over all layers.
    """

    network: DeepS4
    ranks: tuple[int, ...]
    tuned: tuple[tuple[int, ...], ...]
    scalars: int


def summarise(frozen: Sequence[S4Layer], layers: Sequence[S4Layer]) -> SharedDepth:
    """What changed between frozen and tuned layers of one state per channel, counted from the parameters."""
    ranks, tuned, scalars = [], [], 0
    for old, new in zip(frozen, layers, strict=True):
        ranks.append(linalg.rank(new.W - old.W))
        changed = []
        for d, (f, g) in enumerate(zip(old.channels, new.channels, strict=True)):
            if f.n_states != g.n_states:
                raise InvalidInput(f"channel {d}: {f.n_states} frozen states against {g.n_states} tuned ones")
            differing = int((f.a != g.a).sum()) + int((f.b * f.c != g.b * g.c).sum())
            scalars += differing
            changed += [d] if differing else []
        tuned.append(tuple(changed))
    return SharedDepth(DeepS4(layers), tuple(ranks), tuple(tuned), scalars)


def require_target(target: S4Layer) -> tuple[list[Fraction], list[Fraction]]:
    """Modes λ_d and residues ρ*_d of a linear target layer with one state per channel, none of them 0.

    Raises InvalidSystem with the offending channel.
    """
    layers_of(target)
    modes, weights = [], []
    for d, channel in enumerate(target.channels):
        a, r = one_state(channel, f"target channel {d}")
        if a == 0 or r == 0:
            raise InvalidSystem(f"target channel {d} has mode {a} and residue {r}; both must be nonzero")
        modes.append(a)
        weights.append(r)
    return modes, weights


def even_placement(width: int, depth: int) -> list[int]:
    """p(d): channels in order, ⌈D/G⌉ per layer, so that each is tuned in one layer."""
    per_layer = -(-width // depth)
    return [d // per_layer for d in range(width)]


def singular_scaling(columns: Array, W: Array, free: Sequence[int]) -> list[Fraction]:
    r"""Nonzero scales x_d, d ∈ free, with det(columns · diag(x) − W) = 0; other columns count as 0 · column.

    The determinant is affine in each scale. All but one take small values, the last is solved for.

    Raises InvalidSystem where none of the tried combinations leaves a nonzero solution (special weights).
    """
    width = W.shape[0]
    x = [Fraction(0)] * width
    if not free:
        if linalg.determinant(W) != 0:
            raise InvalidSystem("no free column: the update −W has full rank, tune at least one channel per layer")
        return x
    values = [Fraction(1), Fraction(-1), Fraction(2), Fraction(1, 2), Fraction(3)]
    for last in reversed(free):
        others = [d for d in free if d != last]
        for choice in product(values, repeat=len(others)):
            for d, v in zip(others, choice, strict=True):
                x[d] = v
            x[last] = Fraction(0)
            at_zero = linalg.determinant(columns * x - W)
            x[last] = Fraction(1)
            slope = linalg.determinant(columns * x - W) - at_zero
            if slope != 0 and at_zero != 0:
                x[last] = -at_zero / slope
                return x
            if slope == 0 and at_zero == 0:
                return x
    raise InvalidSystem("no nonzero column scales make W' − W singular for these special weights; perturb W or W*")


def cancelling_witness(frozen: DeepS4 | Sequence[S4Layer], target: S4Layer) -> SharedDepth:
    """Tune ⌈D/G⌉ channels per layer, rank D − 1 on every W and u, so that the frozen stack computes the target layer.

    Parameters
    ----------
    frozen:
        G ≥ 2 linear layers, one state per channel; channels of the last layer that are not placed there need a nonzero
        mode and residue.
    target:
        One linear layer with one state per channel, nonzero modes and residues.

    Raises
    ------
    InvalidSystem
        G < 2, mode or residue 0 where the construction divides by it, or special weights for which the scales do not
        exist.
    """
    old = layers_of(frozen)
    width, depth = old[0].n_channels, len(old)
    if depth < 2 or width < 2 or target.n_channels != width:
        raise InvalidSystem(f"need G ≥ 2 layers and D ≥ 2 channels of one width, got G = {depth}, D = {width}")
    modes, _ = require_target(target)
    place = even_placement(width, depth)
    scale, new_layers = [Fraction(1)] * width, []
    last = _last_layer(old[-1], target, place, depth - 1)
    for d, x in enumerate(last.scales):
        if place[d] != depth - 1:
            scale[d] = 1 / x  # τ_d
    for g, layer in enumerate(old[:-1]):
        placed = [d for d in range(width) if place[d] == g]
        new_layers.append(_early_layer(layer, placed, [modes[d] for d in placed], last.zeros, scale))
    new_layers.append(last.layer)
    result = summarise(old, new_layers)
    invariant(max(result.ranks) < width, "every determinant det(W' − W) was made to vanish")
    return result


@dataclass(frozen=True)
class _LastLayer:
    layer: S4Layer
    scales: list[Fraction]
    zeros: list[Fraction]


def _last_layer(old: S4Layer, target: S4Layer, place: Sequence[int], index: int) -> _LastLayer:
    """Columns W*_d ρ*_d/ρ_d (row d corrected by the skip) over τ_d for frozen channels, W*_d ρ*_d for placed ones."""
    modes, weights = require_target(target)
    width = old.n_channels
    columns = target.W.copy()
    zeros = [Fraction(0)] * width
    for d, channel in enumerate(old.channels):
        columns[:, d] = target.W[:, d] * weights[d]
        if place[d] == index:
            continue
        mu, rho = one_state(channel, f"last layer, frozen channel {d}")
        if mu == 0 or rho == 0:
            raise InvalidSystem(f"last layer, frozen channel {d}: mode {mu} and residue {rho} must not be 0")
        zeros[d] = mu
        columns[d, d] += target.u[d] - target.u[d] * modes[d] / mu
        columns[:, d] = columns[:, d] / rho
    x = singular_scaling(columns, old.W, range(width))
    channels, u = list(old.channels), target.u.copy()
    for d in range(width):
        if place[d] == index:
            channels[d] = single(modes[d], 1 / x[d])
        else:
            u[d] = target.u[d] * modes[d] * x[d] / zeros[d]
    layer = S4Layer(channels, columns * x, target.bias, u, "linear")
    return _LastLayer(layer, x, zeros)


def _early_layer(
    old: S4Layer, placed: Sequence[int], modes: Sequence[Fraction], zeros: Sequence[Fraction], scale: Sequence[Fraction]
) -> S4Layer:
    """diag(t_d for placed d, 1 elsewhere): W' = Σ s_d e_d e_dᵀ, and one spare channel where nothing is placed."""
    width = old.n_channels
    eye = np.array([[Fraction(int(i == j)) for j in range(width)] for i in range(width)], dtype=object)
    channels, u = list(old.channels), np.array([Fraction(1)] * width, dtype=object)
    if not placed:  # silence channel 0, whose column of W may then stay: W' − W misses that column
        channels[0] = single(old.channels[0].a[0], 0)
        keep: Any = np.array([Fraction(int(j == 0)) for j in range(width)], dtype=object)
        return S4Layer(channels, old.W * keep, None, u, "linear")
    s = singular_scaling(eye, old.W, placed)
    for d, mode in zip(placed, modes, strict=True):
        u[d] = scale[d] * zeros[d] / mode
        channels[d] = single(mode, scale[d] * (1 - zeros[d] / mode) / s[d])
    return S4Layer(channels, eye * s, None, u, "linear")
