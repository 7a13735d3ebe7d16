"""Dropout for a training: some of the numbers that the mixers add to the residual stream are left out, others are scaled up.

The masks of a step are drawn from (seed, step, process), so that a resumed training draws those of one that ran through.

Source: Srivastava et al. 2014, JMLR 15, 1929-1958.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.lm import MambaLM


@contextmanager
def dropping(model: MambaLM, share: float) -> Iterator[None]:
    """Within it, outputs of the mixers lose this share of their numbers while the model is in training mode. PyTorch's
    generators are left as they were."""

    def drop(module: nn.Module, arguments: object, out: Tensor) -> Tensor:
        return F.dropout(out, share) if module.training else out

    if not share:
        yield
        return
    handles = [mixer.register_forward_hook(drop) for mixer in model.mixers]
    device = model.lm_head.weight.device
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        for handle in handles:
            handle.remove()


def draw_from(seed: int, step: int, rank: int) -> None:
    """Seed PyTorch's generators for one step of one process; a graph's replay reads them anew."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1))
