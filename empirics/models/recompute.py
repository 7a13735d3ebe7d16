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
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from ..kernels.selective_scan.fused import scan as fused  # registers the operator; needs no Triton

T = TypeVar("T")


_STEADY = (
    nn.Linear,
    nn.Conv1d,
    nn.LayerNorm,
    nn.Identity,
    nn.ModuleList,
    nn.ModuleDict,
    nn.Sequential,
    parametrize.ParametrizationList,
)
"""Modules of PyTorch that draw nothing."""


def draws(module: nn.Module) -> bool:
    """Whether a forward pass of the module may draw random numbers: one of its parts drops out, or is not known here."""
    return any(_may_draw(part) for part in module.modules())


def _may_draw(part: nn.Module) -> bool:
    """What the part itself says, if it does (``may_draw()``); of PyTorch's modules, some are known to draw nothing."""
    says = getattr(part, "may_draw", None)
    return bool(says()) if callable(says) else not isinstance(part, _STEADY)


def recomputed(function: Callable[[Tensor], T], value: Tensor, random: bool) -> T:
    """``function(value)``, of whose intermediate results the backward pass keeps the fused scan's only.

    ``function`` must do the same each time: it may read parameters, and must not change anything. Where it raises, nothing is
    kept on.

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
    try:
        result = again(context_fn=lambda: (results.keeping(), results.giving_back()))
    except BaseException:
        results.stop()  # checkpoint() may leave its contexts open until the traceback is freed
        raise
    return result
