"""A tuned start as the cache of transformers' plain model: it needs neither the method nor this project any more."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch

from ..errors import InvalidInput
from ..models.hooks import MixerHook
from .borrowed import BorrowedMamba1
from .takeover import mixer_of, wide_window

if TYPE_CHECKING:
    from ..methods.handle import Handle

_AT_THE_START = ("initial_state", "prefix")


def export_cache(handle: Handle, batch: int = 1) -> Any:
    """A ``DynamicCache`` that holds, for ``batch`` sequences, what an initial state or a prefix leaves before the first token.

    Give it to the plain model or its ``generate``, as ``cache_params`` or ``past_key_values``. Mamba-2 mixers read on from it in
    parallel. The parallel pass of transformers' Mamba-1 mixers takes no state (5.23): there it is for reading token by token.

    Raises
    ------
    InvalidInput
        The method acts at every step, or on other mixers than transformers'; or ``batch`` is no positive integer.

    Warns
    -----
    UserWarning
        The model has Mamba-1 mixers, whose parallel pass would start from zeros without a word.
    """
    from .loading import library

    if handle.config.name not in _AT_THE_START:
        raise InvalidInput(
            f"{handle.config.name} is no start of a sequence: only initial_state and prefix make a cache; keep the handle, or "
            "compile a prompt first (compile_prefix)"
        )
    model: Any = handle.model
    if not hasattr(model, "prepare_inputs_for_generation"):
        raise InvalidInput(f"{type(model).__name__} has no cache of transformers; take model.new_states(batch) of this project's")
    cache = library().DynamicCache(config=model.config)
    first = next((m for m in model.modules() if isinstance(mixer_of(m), BorrowedMamba1)), None)
    if first is not None:
        warnings.warn(
            f"the parallel pass of {type(first).__name__} starts its scan from zeros with this cache as well: read on "
            "token by token, or keep the method on the model",
            stacklevel=2,
        )
    with torch.no_grad():
        for module in model.modules():
            view = mixer_of(module)
            if view is None or not isinstance(view.hook, MixerHook):
                continue
            state = view.new_state(batch)
            assert state.conv is not None and state.ssm is not None
            layer, width = module.layer_idx, state.conv.shape[-1] + 1
            cache.update_conv_state(wide_window(state.conv, width), layer, conv_kernel_size=width)
            cache.update_recurrent_state(state.ssm, layer)
    return cache
