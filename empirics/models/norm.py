"""RMS norms, computed in float32 at least."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from .again import derived


def widen(value: Tensor) -> Tensor:
    """float32 for bfloat16 and float16, unchanged for float32 and float64."""
    return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps) · weight over the last axis, in ``weight``'s dtype."""

    def __init__(self, width: int, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


class LayerNorm(nn.LayerNorm):
    """The layer norm, computed in float32 at least, in ``weight``'s dtype."""

    def forward(self, input: Tensor) -> Tensor:
        return layer_norm(input, self.weight, self.bias, self.eps)


def normed(norm: nn.Module, x: Tensor) -> Tensor:
    """The norm's output, which the backward pass may compute again where nobody changes what the norm does, or shards its weight.

    It is computed again from tensors and not by the module, which may hold others by then.
    """
    out: Tensor = norm(x)
    changed = norm._forward_hooks or norm._forward_pre_hooks or "forward" in vars(norm) or _has_any_global_hook()
    if type(norm) is RMSNorm and not changed:
        return derived(out, rms_norm, x, norm.weight, norm.eps)
    if type(norm) is LayerNorm and not changed:
        return derived(out, layer_norm, x, norm.weight, norm.bias, norm.eps)
    return out


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """As :class:`RMSNorm`, of a weight (width,)."""
    return F.rms_norm(widen(x), weight.shape, widen(weight), eps).to(weight.dtype)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """As :class:`LayerNorm`, of a weight and a bias (width,)."""
    return F.layer_norm(widen(x), weight.shape, widen(weight), widen(bias), eps).to(weight.dtype)


class GatedRMSNorm(nn.Module):
    """Mamba-2's norm: norm(y · silu(z)), or norm(y) · silu(z) with ``norm_before_gate``; each group of channels by itself."""

    def __init__(self, width: int, groups: int = 1, eps: float = 1e-5, norm_before_gate: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.groups, self.eps, self.norm_before_gate = groups, eps, norm_before_gate

    def may_draw(self) -> bool:
        """Never."""
        return False

    def forward(self, y: Tensor, z: Tensor, stock: bool = False) -> Tensor:
        """Both of shape (..., width); the result has y's dtype. ``stock``: by mamba-ssm's kernel where it is there and fits."""
        if stock and _stock_serves(y, z):
            options = (y.shape[-1] // self.groups, self.eps, self.norm_before_gate)
            return derived(_stock(y, z, self.weight, *options), _stock, y, z, self.weight, *options)
        gate, wide = F.silu(widen(z)), widen(y)
        if not self.norm_before_gate:
            wide = wide * gate
        grouped = wide.unflatten(-1, (self.groups, -1))
        normed = (grouped * torch.rsqrt(grouped.square().mean(-1, keepdim=True) + self.eps)).flatten(-2) * widen(self.weight)
        return (normed * gate if self.norm_before_gate else normed).to(y.dtype)


def _stock(y: Tensor, z: Tensor, weight: Tensor, group: int, eps: float, norm_before_gate: bool) -> Tensor:
    """mamba-ssm's kernel: the gate and the norm in one, float32 inside."""
    out: Tensor = _stock_kernel()(y, weight, None, z=z, eps=eps, group_size=group, norm_before_gate=norm_before_gate)
    return out


def _stock_serves(y: Tensor, z: Tensor) -> bool:
    return y.is_cuda and y.dtype == z.dtype != torch.float64 and _stock_kernel() is not None


@cache
def _stock_kernel() -> Any:
    try:
        from mamba_ssm.ops.triton.layernorm_gated import rmsnorm_fn
    except ImportError:
        return None
    return rmsnorm_fn
