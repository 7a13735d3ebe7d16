"""Linear layers under a low-rank update of a frozen matrix: the adapted tensor is read, its own gradient is never formed.

With W' = W + s·L R for x (T, K), y = x W'ᵀ, only L (M, r) and R (r, K) are trained:

    dL = s·dyᵀ (x Rᵀ),      dR = s·(dy L)ᵀ x,      dx = dy W'

instead of dW' = dyᵀ x, an (M, K) product over all T tokens that is then multiplied by the small factors. Of a large layer that
is a third of the matrix products of a training step; of a small one it is less than starting more of them. The output has the
bits of the plain layer on the adapted tensor and on contiguous rows.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.utils import parametrize

from .again import Formula, formula_of, is_derived, require_memory, saving, wanted

LEAST = 2**20
"""Entries of a matrix from which on its gradient is avoided: mamba-130m's in_proj and out_proj, not its x_proj and dt_proj."""


class FactoredUpdate(Protocol):
    """A parametrisation W ↦ W + s·L R.

    Attributes
    ----------
    scale:
        s.
    """

    scale: float

    def factors(self) -> tuple[Tensor, Tensor]:
        """L (M, r) and R (r, K) of this reading of the tensor."""


def _only_update(module: nn.Module) -> tuple[Tensor, FactoredUpdate] | None:
    """The matrix and its update where ``module.weight`` is read through a low-rank update and nothing else."""
    chains = module._modules.get("parametrizations")
    chain: Any = None if chains is None else chains._modules.get("weight")
    if chain is None or len(chain._modules) != 1:
        return None
    update: Any = chain._modules["0"]
    return (chain.original, update) if getattr(update, "factored", False) else None


def factored_update(module: nn.Module) -> FactoredUpdate | None:
    """The update of ``module.weight`` where that is all that is done to it, and the matrix itself is large, frozen and real."""
    found = _only_update(module)
    if found is None:
        return None
    original, update = found
    return None if original.numel() < LEAST or original.requires_grad or original.is_complex() else update


def weight_of(module: nn.Linear) -> Tensor:
    """``module.weight``. Where a low-rank update is all that is done to it, the update is computed here: going through PyTorch's
    parametrisations costs the CPU twice as much as the update."""
    found = _only_update(module)
    if found is None or parametrize._cache_enabled:
        return module.weight
    original, update = found
    return adapted(original, *update.factors(), update.scale)


def low_rank_linear(x: Tensor, module: nn.Module, update: FactoredUpdate, bias: Tensor | None) -> Tensor:
    """The linear layer on its adapted tensor, in x's dtype."""
    left, right = update.factors()
    original = cast(Any, module).parametrizations["weight"].original
    formula = formula_of(x)
    with saving() if formula is None and is_derived(x) else nullcontext():
        out: Tensor = _LowRankLinear.apply(x, original, left, right, update.scale, bias, formula, wanted())
    return out


def adapted(weight: Tensor, left: Tensor, right: Tensor, scale: float) -> Tensor:
    """W + s·L R in W's dtype."""
    product = left @ right
    return weight + (product if scale == 1 else scale * product).to(weight.dtype)


def _adapted(weight: Tensor, left: Tensor, right: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    return adapted(weight, left, right, scale).to(dtype)


class _LowRankLinear(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, original: Tensor, left: Tensor, right: Tensor, scale: float, bias: Tensor | None,
        formula: Formula | None, compute_again: bool,
    ) -> Tensor:  # fmt: skip
        rows = x.reshape(-1, x.shape[-1])  # one product over all rows, as the plain layer's: in batches its bits may differ
        weight = _adapted(original, left, right, scale, x.dtype)
        ctx.save_for_backward(
            original if compute_again else weight, left, right, *((rows,) if formula is None else formula.take())
        )
        ctx.scale, ctx.shape, ctx.dtype, ctx.formula, ctx.compute_again = scale, x.shape, x.dtype, formula, compute_again
        return F.linear(rows, weight, bias).view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        # The decorator's bookkeeping costs as much as a launch, and only gradients of gradients need it.
        return (_gradients_once if torch.is_grad_enabled() else _gradients)(ctx, dy)


def _gradients(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    weight, left, right, *kept = ctx.saved_tensors
    rows = kept[0] if ctx.formula is None else ctx.formula.compute(kept).reshape(-1, ctx.shape[-1])
    drows = dy.reshape(-1, dy.shape[-1])
    dx = dleft = dright = dbias = None
    if ctx.needs_input_grad[0]:
        if ctx.compute_again:
            require_memory(weight, left, right)
            weight = _adapted(weight, left, right, ctx.scale, ctx.dtype)
        dx = (drows @ weight).view(ctx.shape)
    if ctx.needs_input_grad[2]:
        dleft = _times(ctx.scale, (drows.T @ (rows @ right.T.to(rows.dtype))).to(left.dtype))
    if ctx.needs_input_grad[3]:
        dright = _times(ctx.scale, ((drows @ left.to(rows.dtype)).T @ rows).to(right.dtype))
    if ctx.needs_input_grad[5]:
        dbias = drows.sum(0)
    return dx, None, dleft, dright, None, dbias, None, None


_gradients_once = once_differentiable(_gradients)


def _times(scale: float, value: Tensor) -> Tensor:
    return value if scale == 1 else scale * value
