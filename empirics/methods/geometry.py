"""Sizes of a mixer, read off its tensors, and the mixers of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import InvalidInput, UnknownName


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes of one mixer.

    Attributes
    ----------
    kind:
        ``mamba1`` (one decay for every channel and state), ``mamba2`` (one for every head) or ``s4`` (complex, no selection).
    d_model, d_inner, d_state:
        Width at the mixer's input, width of the scan, states N of every channel.
    conv_dim, d_conv:
        Channels and length K of the causal convolution; 0 and 1 without one.
    heads, groups:
        Mamba-2's heads and groups of B and C; for the others d_inner and 1.
    dt_rank:
        Rows of Mamba-1's x_proj before those of B.
    """

    kind: Literal["mamba1", "mamba2", "s4"]
    d_model: int
    d_inner: int
    d_state: int
    conv_dim: int
    d_conv: int
    heads: int
    groups: int
    dt_rank: int

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of the recurrent state of one sequence: (D, N), or (H, P, N) for Mamba-2."""
        if self.kind == "mamba2":
            return self.heads, self.d_inner // self.heads, self.d_state
        return self.d_inner, self.d_state

    @property
    def window_shape(self) -> tuple[int, int]:
        """Shape of the convolution's window before the first token, (conv_dim, K-1)."""
        return self.conv_dim, self.d_conv - 1


def geometry(mixer: nn.Module) -> Geometry:
    """The sizes of a mixer.

    Raises
    ------
    InvalidInput
        It is neither a Mamba-1, a Mamba-2 nor an S4 mixer.
    """
    A_log, conv = getattr(mixer, "A_log", None), getattr(mixer, "conv1d", None)
    if not isinstance(A_log, Tensor) or not isinstance(conv, nn.Module):
        raise InvalidInput(f"{type(mixer).__name__} is no mixer that this method knows; expected a Mamba-1 or Mamba-2 mixer")
    conv_dim, _, width = _shape(conv)
    d_model, d_inner = _shape(mixer.get_submodule("out_proj"))
    if A_log.ndim == 2:
        d_state = A_log.shape[1]
        dt_rank = _shape(mixer.get_submodule("x_proj"))[0] - 2 * d_state
        return Geometry("mamba1", d_model, d_inner, d_state, conv_dim, width, d_inner, 1, dt_rank)
    d_state = int(getattr(mixer, "d_state"))  # noqa: B009 (typed as Tensor or Module)
    groups = (conv_dim - d_inner) // (2 * d_state)
    return Geometry("mamba2", d_model, d_inner, d_state, conv_dim, width, A_log.shape[0], groups, 0)


def find_mixers(model: nn.Module, layers: tuple[int, ...] | None = None) -> list[tuple[str, nn.Module, Geometry]]:
    """(name, module, sizes) of the mixers, all or those whose position is in ``layers``.

    Raises
    ------
    InvalidInput
        The model has no mixer.
    UnknownName
        A layer number that the model does not have.
    """
    found = [(name, module) for name, module in model.named_modules() if hasattr(module, "hook") and hasattr(module, "out_proj")]
    if not found:
        raise InvalidInput(f"{type(model).__name__} has no mixer that takes a hook; use a model of empirics.models")
    chosen = range(len(found)) if layers is None else layers
    for layer in chosen:
        if layer not in range(len(found)):
            raise UnknownName("layer", layer, (str(i) for i in range(len(found))))
    return [(*found[i], geometry(found[i][1])) for i in chosen]


def state_dtype(mixer: nn.Module) -> torch.dtype:
    """Dtype of trained states: float32, or float64 for a float64 model."""
    dtype = next(mixer.parameters()).dtype
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def _shape(module: nn.Module) -> tuple[int, ...]:
    weight = module.weight
    if not isinstance(weight, Tensor):
        raise InvalidInput(f"{type(module).__name__} has no weight tensor")
    return tuple(weight.shape)
