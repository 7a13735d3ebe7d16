"""Autograd functions in place of operations: where one may stand for several, and a product whose input is computed again."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .again import Formula

_ORDINARY: tuple[type, ...] = (Tensor, torch.nn.Parameter)


def functions_serve(*tensors: Tensor | None) -> bool:
    """May one function stand for the operations on these tensors here, the first of which says where? Not where somebody traces,
    casts or transforms them one by one, and there is nothing to gain where no gradient is asked for."""
    if not as_they_are(*tensors) or not torch.is_grad_enabled() or torch.is_inference_mode_enabled():
        return False
    first, asked = tensors[0], any(v is not None and v.requires_grad for v in tensors)
    return asked and first is not None and not torch.is_autocast_enabled(first.device.type)


def as_they_are(*tensors: Tensor | None) -> bool:
    """Are these tensors themselves, and may what is not an operation of PyTorch be done to them?"""
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return False
    return all(v is None or type(v) in _ORDINARY for v in tensors)


def linear_of(x: Tensor, weight: Tensor, formula: Formula) -> Tensor:
    """x Wᵀ, whose backward pass computes x (..., K) again by its formula and keeps what that reads: the products and the bits of
    the plain layer, without hooks on saved tensors."""
    out: Tensor = _LinearOf.apply(x, weight, formula)
    return out


class _LinearOf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, formula: Formula) -> Tensor:
        ctx.save_for_backward(weight, *formula.take())
        ctx.formula, ctx.shape = formula, x.shape
        return F.linear(x, weight)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        # Operations that can be differentiated again: what was saved leads on in the graph.
        weight, *kept = ctx.saved_tensors
        rows = dy.reshape(-1, dy.shape[-1])
        dx = rows.mm(weight).view(ctx.shape) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return dx, None, None
        return dx, rows.t().mm(ctx.formula.compute(kept).reshape(-1, ctx.shape[-1])), None
