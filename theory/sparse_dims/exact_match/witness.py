"""The witness of exact_match: which entries and low-rank factors turn a frozen deep S4 model into a target of the same depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from theory.core import linalg
from theory.core.brief import outline
from theory.core.deep_s4 import DeepS4, S4Layer
from theory.core.errors import InvalidInput, InvalidSystem, KindMismatch
from theory.core.function_equality import essential_modes
from theory.core.lti import LTI
from theory.core.scalars import Array, as_array, tidy

from ..adjustment import Adjustment, minimal_adjustment, residues


@dataclass(frozen=True)
class LayerTuning:
    """What one layer changes.

    Attributes
    ----------
    channels:
        One :class:`~theory.sparse_dims.adjustment.Adjustment` per channel.
    left, right:
        LoRA factors (D, r) and (r, D) of ΔW, r = rank ΔW.
    bias, u:
        Number of changed entries of β and u.
    """

    channels: tuple[Adjustment, ...]
    left: Array
    right: Array
    bias: int
    u: int

    @property
    def tuned_channels(self) -> tuple[int, ...]:
        """Channels with at least one changed state."""
        return tuple(d for d, channel in enumerate(self.channels) if channel.cost)

    @property
    def tuned_states(self) -> int:
        """Changed states over all channels."""
        return sum(len(channel.states) for channel in self.channels)

    @property
    def tuned_scalars(self) -> int:
        """Changed entries a_n and r_n over all channels."""
        return sum(channel.cost for channel in self.channels)

    @property
    def rank(self) -> int:
        """LoRA rank of ΔW."""
        return int(self.left.shape[1])

    @property
    def stored(self) -> int:
        """Numbers to store: SDT entries, both LoRA factors, β and u (positions of the entries not counted)."""
        return self.tuned_scalars + self.left.size + self.right.size + self.bias + self.u


@dataclass(frozen=True)
class Witness:
    """A tuned network that computes the target, with what each layer changes."""

    network: DeepS4
    layers: tuple[LayerTuning, ...]

    @property
    def stored(self) -> int:
        """Numbers to store over all layers."""
        return sum(layer.stored for layer in self.layers)


def _require_alike(frozen: DeepS4, target: DeepS4) -> None:
    for name, net in (("frozen", frozen), ("target", target)):
        if not isinstance(net, DeepS4):
            raise InvalidInput(f"{name}: expected a DeepS4 network, got {type(net).__name__}")
        if net.layers[0].kind != "exact":
            raise KindMismatch(f"{name} runs on {net.layers[0].kind}; the witness is exact, give Fractions")
    if frozen.depth != target.depth:
        raise InvalidSystem(
            f"frozen depth {frozen.depth} and target depth {target.depth} differ; see theory.sparse_dims.depth_sharing.claim"
        )
    if frozen.layers[0].n_channels != target.layers[0].n_channels:
        raise InvalidSystem(f"D = {frozen.layers[0].n_channels} against {target.layers[0].n_channels} channels")
    for i, (f, t) in enumerate(zip(frozen.layers, target.layers, strict=True)):
        if f.activation != t.activation:
            raise InvalidSystem(f"layer {i}: activation {f.activation!r} against {t.activation!r}")


def scaled(channel: LTI, s: Any) -> LTI:
    """The channel whose output is s times as large."""
    return channel.replace(c=channel.c * s, d=channel.d * s)


def sdt_lora_witness(frozen: DeepS4, target: DeepS4, gauge: Sequence[Sequence[Any]] | None = None) -> Witness:
    r"""Tuned parameters with which the frozen network computes the target, for every input and either activation.

    Layer by layer, channel d is adjusted to s_d times the target channel (:func:`minimal_adjustment`), W becomes
    W* diag(1/s) through LoRA factors of rank(W* diag(1/s) − W), and β, u become β*, u*. A direct term that differs from the
    frozen
    skip needs a state of mode 0; where the channel has none to spare, and feeds output d alone (W* has no other entry in column
    d, as for D = 1), u_d takes it.

    Parameters
    ----------
    gauge:
        Nonzero scales s, shape (L, D); all 1 where left out. :func:`channel_gauges` proposes scales with fewer edits.

    Raises
    ------
    InvalidSystem
        Depths, widths or activations differ, or a target channel needs more states than the frozen one has: its modes, and one
        more for a direct term other than the frozen skip that no u_d can take.
    InvalidInput
        A gauge of the wrong shape or with a zero.
    KindMismatch
        Networks that are not exact.
    """
    _require_alike(frozen, target)
    width = frozen.layers[0].n_channels
    scales = as_array([[1] * width] * frozen.depth if gauge is None else gauge, "exact", "gauge")
    if scales.shape != (frozen.depth, width) or not scales.all():
        raise InvalidInput(f"gauge must be nonzero scales of shape (L, D) = {(frozen.depth, width)}, got {outline(gauge)}")
    layers, tunings = [], []
    for old, new, s in zip(frozen.layers, target.layers, scales, strict=True):
        wanted, u = _direct_terms_in_u(old, new, s)
        channels = tuple(minimal_adjustment(f, t) for f, t in zip(old.channels, wanted, strict=True))
        left, right = linalg.rank_factors(new.W / s - old.W)
        layers.append(S4Layer([c.system for c in channels], old.W + left @ right, new.bias, u, old.activation))
        changed = [int((p != q).sum()) for p, q in ((old.bias, new.bias), (old.u, u))]
        tunings.append(LayerTuning(channels, left, right, *changed))
    return Witness(DeepS4(layers), tuple(tunings))


def _direct_terms_in_u(old: S4Layer, new: S4Layer, scales: Array) -> tuple[list[LTI], Array]:
    """The scaled target channels and u*, direct terms moved into u where no state is left for them and u can hold them."""
    u, wanted = new.u.copy(), []
    for d, (f, t, s) in enumerate(zip(old.channels, new.channels, scales, strict=True)):
        channel = scaled(t, s)
        essential = essential_modes(channel)
        spare = tidy(essential.direct - f.d)
        full = essential.order >= f.n_states
        alone = all(x == 0 for i, x in enumerate(new.W[:, d]) if i != d)
        if spare != 0 and full and alone:
            u[d] = u[d] + new.W[d, d] / s * spare
            channel = channel.replace(d=channel.d - spare)
        wanted.append(channel)
    return wanted, u


def channel_gauges(frozen: DeepS4, target: DeepS4) -> list[list[Any]]:
    """For every channel the scale with the fewest edits, among 1, the ratios r_n/r*_m and those of direct terms; 1 wins ties.

    It minimises SDT entries alone: the rank of ΔW may rise.
    """
    _require_alike(frozen, target)
    out = []
    for old, new in zip(frozen.layers, target.layers, strict=True):
        row: list[Any] = []
        for f, t in zip(old.channels, new.channels, strict=True):
            wanted = list(essential_modes(t).residues.values())
            candidates = [Fraction(1), *(r / w for r in residues(f) if r != 0 for w in wanted)]
            direct = essential_modes(t).direct
            if direct != 0:  # the frozen skip alone, or with one frozen residue at mode 0, is the scaled direct term
                candidates += [(f.d + r) / direct for r in (Fraction(0), *residues(f)) if f.d + r != 0]
            costs = {s: cost for s in candidates if (cost := _cost(f, scaled(t, s))) is not None}
            row.append(min(costs, key=costs.__getitem__) if costs else Fraction(1))
        out.append(row)
    return out


def _cost(frozen: LTI, target: LTI) -> int | None:
    """Edits of a minimal adjustment, None where the target needs more states: a scale can make its direct term agree."""
    try:
        return minimal_adjustment(frozen, target).cost
    except InvalidSystem:
        return None
