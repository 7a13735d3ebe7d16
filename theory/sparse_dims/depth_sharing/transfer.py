r"""Exact transfer matrices of linear deep S4 layers, and equality of stacks as functions.

    T(z) = W diag(f_d(z)) + diag(u),      f_d(z) = Σ_n r_n z/(z − a_n) + skip_d = Σ_{j≥0} k_j z^{−j}

A stack computes T_G(z)…T_1(z). Every nonzero mode gives f_d(0) = 0 but for the skip, which is why T(0) = diag(u).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

import flint
import numpy as np

from theory.core import linalg
from theory.core.brief import brief
from theory.core.deep_s4 import DeepS4, S4Layer
from theory.core.errors import InvalidInput, InvalidSystem, KindMismatch
from theory.core.lti import LTI
from theory.core.scalars import Array, is_real, is_zero, real

Stack = DeepS4 | S4Layer | Sequence[S4Layer]


def layers_of(stack: Stack) -> tuple[S4Layer, ...]:
    """The layers of a network, a sequence of layers or a single layer; they must be linear and exact.

    Raises InvalidSystem for a ReLU layer (it has no transfer matrix) and KindMismatch for floats.
    """
    layers = (stack,) if isinstance(stack, S4Layer) else tuple(stack.layers if isinstance(stack, DeepS4) else stack)
    if not layers or not all(isinstance(layer, S4Layer) for layer in layers):
        raise InvalidInput(f"expected S4 layers, got {stack!r}")
    for i, layer in enumerate(layers):
        if layer.activation != "linear":
            raise InvalidSystem(f"layer {i} has activation {layer.activation!r}; only linear layers have a transfer matrix")
        if layer.kind != "exact":
            raise KindMismatch(f"layer {i} runs on {layer.kind}; transfer matrices are exact, give Fractions")
    return layers


def response(channel: LTI, z: Fraction) -> Fraction:
    """f(z) = Σ_n c_n b_n z/(z − a_n) + d at a rational z that is no mode of the channel; conjugates of half storage count.

    Raises InvalidInput at a mode, and where the channel is not real.
    """
    full = channel.closed()
    total = full.d
    for a, b, c in zip(full.a, full.b, full.c, strict=True):
        if is_zero(a):
            total = total + b * c  # a state with mode 0 is a skip, at z = 0 as well
            continue
        if is_zero(b * c):
            continue
        if is_zero(z - a):
            raise InvalidInput(f"z = {z} is a mode of the channel; evaluate elsewhere")
        total = total + b * c * z / (z - a)
    if not is_real(total):
        raise InvalidInput(f"{channel!r} answers a real z by {brief(total)}; list both modes of each pair, or use half=True")
    return Fraction(real(total))


def transfer(stack: Stack, z: Fraction) -> Array:
    """T_G(z)…T_1(z), an object array (D, D) of Fractions."""
    return linalg.from_flint(_transfer(layers_of(stack), Fraction(z)))


def _transfer(layers: Sequence[S4Layer], z: Fraction) -> flint.fmpq_mat:
    width = layers[0].n_channels
    product = flint.fmpq_mat(width, width, [int(i == j) for i in range(width) for j in range(width)])
    for layer in layers:
        f = np.array([response(channel, z) for channel in layer.channels], dtype=object)
        product = linalg.to_flint(layer.W * f + np.diag(layer.u)) * product
    return product


def order(stack: Stack) -> int:
    """An upper bound of the McMillan degree: all states with a nonzero residue."""
    channels = [channel.closed() for layer in layers_of(stack) for channel in layer.channels]
    return sum(not is_zero(x) for c in channels for x in c.b * c.c)


def evaluation_points(stacks: Sequence[Stack], count: int) -> Iterator[Fraction]:
    """``count`` distinct integers that are no mode of any layer."""
    modes = {a for stack in stacks for layer in layers_of(stack) for c in layer.channels for a in c.a}
    z = 1
    while count:
        z += 1
        if z not in modes:
            count -= 1
            yield Fraction(z)


def same_transfer(first: Stack, second: Stack) -> bool:
    r"""Whether two linear stacks compute the same function of every input (biases aside), for all lengths.

    (T_first − T_second) times the product of all z − a is a matrix of polynomials of degree at most n, the number of
    states of both, so n + 1 points decide.
    """
    pair = (layers_of(first), layers_of(second))
    if pair[0][0].n_channels != pair[1][0].n_channels:
        raise InvalidInput(f"stacks of {pair[0][0].n_channels} and {pair[1][0].n_channels} channels cannot be compared")
    points = evaluation_points(pair, order(first) + order(second) + 1)
    return all(_transfer(pair[0], z) == _transfer(pair[1], z) for z in points)


def one_state(channel: LTI, which: str) -> tuple[Fraction, Fraction]:
    """Mode and residue of a channel with one real state and no skip of its own; InvalidSystem (naming ``which``) otherwise."""
    numbers = (*channel.a, *channel.b, *channel.c)
    if channel.n_states != 1 or channel.half or not is_zero(channel.d) or not all(isinstance(x, Fraction) for x in numbers):
        raise InvalidSystem(f"{which} must have one real state, listed in full, and no skip of its own, got {channel!r}")
    return Fraction(channel.a[0]), Fraction(channel.b[0] * channel.c[0])


def single(mode: object, residue: object) -> LTI:
    """A channel of one state, b = 1 and c = residue; its mode may leave |a| < 1, as poles placed by a witness can."""
    return LTI([mode], [1], [residue], check_stable=False)
