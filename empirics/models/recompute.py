"""Keeping less for the backward pass: everything between in_proj and out_proj is computed again, except the fused scan.

Convolution, selectors and step sizes are cheap to compute and large to keep; the scan is neither. Activation checkpointing
(``torch.utils.checkpoint``) repeats everything but the fused scan, whose results are kept, reading the same, possibly adapted,
tensors with the same random numbers. Other scans are repeated as well.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from ..kernels.selective_scan import fused  # registers the operator; needs no Triton

T = TypeVar("T")


def draws(module: nn.Module) -> bool:
    """Whether a forward pass of the module draws random numbers: it trains and a part of it drops out."""
    return any(part.training and float(getattr(part, "dropout", 0.0)) > 0 for part in module.modules())


def recomputed(function: Callable[[Tensor], T], value: Tensor, random: bool) -> T:
    """``function(value)``, of whose intermediate results the backward pass keeps the fused scan's only.

    ``function`` must do the same each time: it may read parameters, and must not change anything.

    Parameters
    ----------
    random:
        Whether it draws random numbers, which are then drawn again. Their generator's state has to be read off the GPU for
        that: a CUDA graph cannot be recorded.
    """
    if not torch.is_grad_enabled():
        return function(value)
    again = partial(checkpoint, function, value, use_reentrant=False, preserve_rng_state=random)
    if torch.compiler.is_compiling():  # the compiler knows this way of keeping results only
        kept = [torch.ops.ssmproof.selective_scan.default]
        result: T = again(context_fn=partial(create_selective_checkpoint_contexts, kept))
        return result
    # Selective checkpointing sends every operation through Python: three times the time of a step on a slow CPU.
    results = fused.Results()
    result = again(context_fn=lambda: (results.keeping(), results.giving_back()))
    return result
