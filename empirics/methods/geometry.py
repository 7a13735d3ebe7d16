"""Sizes of a mixer, read off its tensors, and the mixers of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from ..errors import InvalidInput, UnknownName
from ..hosts.table import known_models
from ..hosts.takeover import mixer_of
from ..models.mixer import Mixer
from ..models.s4 import S4Mixer
from .base import adapter_dtype


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes of one mixer.

    Attributes
    ----------
    kind:
        ``mamba1`` and ``s4`` (a decay for every channel and state) or ``mamba2`` (one for every head).
    d_model, d_inner, d_state:
        Width at the mixer's input, width of the scan, states N of every channel.
    heads, groups:
        Mamba-2's heads and groups of B and C; for the others d_inner and 1.
    dt_rank:
        Rows of Mamba-1's x_proj before those of B.
    """

    kind: Literal["mamba1", "mamba2", "s4"]
    d_model: int
    d_inner: int
    d_state: int
    heads: int
    groups: int
    dt_rank: int

    @property
    def channels(self) -> int:
        """Channels with decays of their own: d_inner, or the heads of Mamba-2."""
        return self.heads if self.kind == "mamba2" else self.d_inner


def geometry(mixer: nn.Module) -> Geometry:
    """The sizes of a mixer.

    Raises
    ------
    InvalidInput
        It is no Mamba-1, Mamba-2 or S4 mixer.
    """
    if isinstance(mixer, S4Mixer):
        return Geometry("s4", mixer.d_model, mixer.d_model, mixer.d_state, mixer.d_model, 1, 0)
    A_log, conv = getattr(mixer, "A_log", None), getattr(mixer, "conv1d", None)
    if not isinstance(A_log, Tensor) or not isinstance(conv, nn.Module):
        raise InvalidInput(f"{type(mixer).__name__} is no mixer that this method knows; expected a Mamba-1, Mamba-2 or S4 mixer")
    conv_dim = _shape(conv)[0]
    d_model, d_inner = _shape(mixer.get_submodule("out_proj"))
    if A_log.ndim == 2:
        d_state = A_log.shape[1]
        dt_rank = _shape(mixer.get_submodule("x_proj"))[0] - 2 * d_state
        return Geometry("mamba1", d_model, d_inner, d_state, d_inner, 1, dt_rank)
    d_state = int(getattr(mixer, "d_state"))  # noqa: B009 (typed as Tensor or Module)
    groups = (conv_dim - d_inner) // (2 * d_state)
    return Geometry("mamba2", d_model, d_inner, d_state, A_log.shape[0], groups, 0)


def find_mixers(model: nn.Module, layers: tuple[int, ...] | None = None) -> list[tuple[str, Mixer]]:
    """(name, mixer) of the mixers, all or those whose position is in ``layers``.

    A mixer of another library (:mod:`empirics.hosts`) is given as this project's, on the same tensors.

    Raises
    ------
    InvalidInput
        The model has no mixer, or ``layers`` is empty.
    UnknownName
        A layer number that the model does not have.
    """
    found: list[tuple[str, Mixer]] = []
    for name, module in model.named_modules():
        borrowed = mixer_of(module)
        if borrowed is not None:
            found.append((name, borrowed))
        elif hasattr(module, "hook"):
            found.append((name, cast(Mixer, module)))
    if not found:
        raise InvalidInput(
            f"{type(model).__name__} has no mixer that is known here; use a model of empirics.models, or {known_models()}"
        )
    if layers is None:
        return found
    if not layers:
        raise InvalidInput("layers is empty: nothing would be trained; name at least one layer, or leave it out for all")
    if isinstance(layers, str) or not all(isinstance(layer, int) and not isinstance(layer, bool) for layer in layers):
        raise InvalidInput(f"layers is {layers!r}, expected numbers of layers such as (0, 2), or None for all")
    for layer in layers:
        if layer not in range(len(found)):
            raise UnknownName("layer", layer, (str(i) for i in range(len(found))))
    return [found[i] for i in sorted(set(layers))]


def real_dtype(mixer: nn.Module) -> torch.dtype:
    """Dtype of trained tokens and offsets: float32, or float64 for a float64 model."""
    return adapter_dtype(next(mixer.parameters()))


def _shape(module: nn.Module) -> tuple[int, ...]:
    weight = module.weight
    if not isinstance(weight, Tensor):
        raise InvalidInput(f"{type(module).__name__} has no weight tensor")
    return tuple(weight.shape)
