"""A deeper frozen network as a shallower target: the spare layers become identities behind a ReLU."""

from __future__ import annotations

from collections.abc import Sequence

from theory.core.deep_s4 import DeepS4, S4Layer
from theory.core.errors import InvalidInput

from ..exact_match.witness import sdt_lora_witness


def identity_layer(frozen: S4Layer) -> S4Layer:
    """The frozen layer with u = 1, β = 0 and every residue 0: φ(x) = x for x ≥ 0, and for every x if linear. W stays."""
    silent = [channel.replace(c=channel.c * 0, d=channel.d * 0) for channel in frozen.channels]
    return S4Layer(silent, frozen.W, frozen.bias * 0, frozen.u * 0 + 1, frozen.activation)


def deeper_witness(frozen: DeepS4, target: DeepS4, used: Sequence[int]) -> DeepS4:
    """The frozen network of depth L > L* tuned to the target: layers ``used`` match it in order, the others are identities.

    Raises InvalidInput where ``used`` does not name L* ascending layers, or leaves out layer 0 of a ReLU network: its input
    has signs, which an identity layer would cut off.
    """
    chosen = list(used)
    if len(chosen) != target.depth or chosen != sorted(set(chosen)) or not set(chosen) <= set(range(frozen.depth)):
        raise InvalidInput(f"used = {chosen} must name L* = {target.depth} ascending layers below L = {frozen.depth}")
    if chosen[0] != 0 and frozen.layers[0].activation == "relu":
        raise InvalidInput(f"used = {chosen} makes layer 0 an identity, but ReLU would cut off its negative inputs; use layer 0")
    matched = sdt_lora_witness(DeepS4([frozen.layers[i] for i in chosen]), target).network.layers
    layers = [identity_layer(layer) for layer in frozen.layers]
    for i, new in zip(chosen, matched, strict=True):
        layers[i] = new
    return DeepS4(layers)
