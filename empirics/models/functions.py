"""Autograd functions in place of operations: where one may stand for several, and a product whose input is computed again."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .again import Formula

_ORDINARY: tuple[type, ...] = (Tensor, torch.nn.Parameter)


def functions_serve(*tensors: Tensor | None) -> bool:
    """May one function stand for the operations on these tensors here? Not where somebody traces, casts or transforms them one by
    one, and there is nothing to gain where no gradient is asked for."""
    return (
        torch.is_grad_enabled()
        and not torch.is_inference_mode_enabled()
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
        and all(v is None or type(v) in _ORDINARY for v in tensors)
        and any(v is not None and v.requires_grad for v in tensors)
        and not any(v is not None and torch.is_autocast_enabled(v.device.type) for v in tensors[:1])
    )


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
