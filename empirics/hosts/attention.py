"""The attention layers of hybrid models: they remember tokens in a cache of their own, and no method on states acts on them."""

from __future__ import annotations

import re

from torch import Tensor, nn

_ATTENTION = re.compile("[Aa]ttention|^MHA$")


def attention_layers(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Name of each attention layer → the names of its linear projections. One that several blocks share counts once.

    A block around an attention layer has no projections of its own and is left out.
    """
    found = {}
    for name, module in model.named_modules():
        if not _ATTENTION.search(type(module).__name__):
            continue
        projections = tuple(child for child, part in module.named_children() if _is_matrix(getattr(part, "weight", None)))
        if projections:
            found[name] = projections
    return found


def _is_matrix(weight: object) -> bool:
    return isinstance(weight, Tensor) and weight.ndim == 2
