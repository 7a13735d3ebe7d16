"""This project's mixers on the tensors of another library's: nothing is copied, and every tensor is read where it lives."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InvalidInput
from ..models.mamba1 import Mamba1
from ..models.mamba2 import Mamba2
from ..models.mixer import Mixer
from ..models.norm import widen

Limits = tuple[float, float]


class _Borrowed(Mixer):
    """What both kinds share: whatever the view does not hold itself is looked up on the host."""

    host: nn.Module

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__"):  # how the host is copied, for instance, is its own matter
                raise
            host = super().__getattr__("host")
            return getattr(host, "hook", None) if name == "hook" else getattr(host, name)

    def may_draw(self) -> bool:
        """Never by itself; the host's parts say it for themselves."""
        return False

    def _begin(self, host: nn.Module) -> None:
        nn.Module.__init__(self)
        self.host = host
        self.recompute = False
        self.d_model = weight_of(host, "out_proj").shape[0]
        self.d_conv = weight_of(host, "conv1d").shape[-1]
        self.set_scan("chunked")


class BorrowedMamba1(_Borrowed, Mamba1):
    """A Mamba-1 mixer on a host's tensors; the host may norm dt's low-rank part, B and C (FalconMamba, Jamba)."""

    def __init__(self, host: nn.Module):
        self._begin(host)
        self.d_inner, self.d_state = cast(Tensor, host.A_log).shape
        self.dt_rank = weight_of(host, "x_proj").shape[0] - 2 * self.d_state

    @property
    def normed(self) -> bool:
        """Whether dt's low-rank part, B and C each pass an RMS norm."""
        return getattr(self.host, "dt_layernorm", None) is not None

    def norm_weights(self) -> tuple[Tensor, Tensor]:
        """The norms' weights for dt's low-rank part (dt_rank,) and for B (N,): 1 where a norm reads none (FalconMamba)."""
        weights = (self.host.get_submodule(name).weight for name in ("dt_layernorm", "b_layernorm"))
        dt, B = (w.detach() if isinstance(w, nn.Parameter) else None for w in weights)
        ones = weight_of(self.host, "x_proj").new_ones
        return ones(self.dt_rank) if dt is None else dt, ones(self.d_state) if B is None else B

    def _normed(self, low: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if not self.normed:
            return low, B, C
        own: Any = self.host
        return own.dt_layernorm(low), own.b_layernorm(B), own.c_layernorm(C)


class BorrowedMamba2(_Borrowed, Mamba2):
    """A Mamba-2 mixer on a host's tensors.

    Parameters
    ----------
    states, groups, limits:
        N, G and the range to which step sizes are clamped: no shape shows them.
    normed:
        Whether the host's gated norm is used.
    """

    def __init__(self, host: nn.Module, states: int, groups: int, limits: Limits, normed: bool):
        self._begin(host)
        self.d_state, self.ngroups, self.dt_limit, self.normed = states, groups, limits, normed
        self.nheads = cast(Tensor, host.A_log).shape[0]
        self.d_inner = weight_of(host, "out_proj").shape[1]
        self.headdim = self.d_inner // self.nheads
        self.conv_dim = self.d_inner + 2 * groups * states
        rows = weight_of(host, "in_proj").shape[0]
        if rows != self.d_inner + self.conv_dim + self.nheads:
            raise InvalidInput(
                f"{type(host).__name__} has an in_proj of {rows} rows, expected {self.d_inner + self.conv_dim + self.nheads}: "
                "a layer with an MLP beside the scan, or split over processes, cannot be adapted by its states; use lora"
            )

    def multipliers(self) -> tuple[float, Tensor] | None:
        """FalconH1 multiplies what in_proj reads by a number, and what it gives by a vector (rows,); the others do not."""
        scale = getattr(self.host, "ssm_in_multiplier", None)
        return None if scale is None else (float(scale), cast(Tensor, self.host.mup_vector).flatten())

    def _projected(self, hidden: Tensor) -> Tensor:
        found = self.multipliers()
        if found is None:
            return super()._projected(hidden)
        projected = super()._projected(hidden * found[0])
        return projected * found[1].to(projected.dtype)

    def _gated(self, y: Tensor, z: Tensor) -> Tensor:
        if not self.normed:
            return (widen(y) * F.silu(widen(z))).to(z.dtype)
        normed: Tensor = self.host.get_submodule("norm")(y, z)
        return normed.to(z.dtype)


def weight_of(host: nn.Module, name: str) -> Tensor:
    """The weight of a mixer's layer."""
    weight = host.get_submodule(name).weight
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        dtype = weight.dtype if isinstance(weight, Tensor) else type(weight).__name__
        raise InvalidInput(f"{name} of {type(host).__name__} holds {dtype}: methods on states need floating-point weights")
    if weight.is_meta:
        raise InvalidInput(f"{name} of {type(host).__name__} is offloaded or empty; load the whole model onto one device first")
    return torch.Tensor.detach(weight)
