"""The model that a method goes on: with all of its weights, and not in a wrapper that would miss the method's tensors."""

from __future__ import annotations

from torch import nn

from ..errors import InvalidInput
from .sharded import is_sharded

_WRAPPERS = ("DistributedDataParallel", "DataParallel", "FullyShardedDataParallel")
"""torch's: they look at a model's parameters once, when they are made."""


def whole_model(model: nn.Module) -> nn.Module:
    """The model itself, taken out of ``torch.compile``'s wrapper, which compiles again where a forward pass has changed.

    Raises
    ------
    InvalidInput
        It is wrapped for several devices, sharded, or lacks values.
    """
    while isinstance(getattr(model, "_orig_mod", None), nn.Module):
        model = model.get_submodule("_orig_mod")
    if any(cls.__name__ in _WRAPPERS and cls.__module__.startswith("torch.") for cls in type(model).__mro__):
        raise InvalidInput(
            f"the model is wrapped in {type(model).__name__}, which has looked at its parameters already: apply or load the "
            "method on the model itself, then wrap it"
        )
    for name, parameter in model.named_parameters():
        if is_sharded(parameter):
            raise InvalidInput(f"{name} is sharded over processes; apply or load the method first, then shard the model")
        if parameter.is_meta:
            raise InvalidInput(f"{name} is offloaded or empty; load the whole model onto one device first")
    return model
