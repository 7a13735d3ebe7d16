"""One way to read a model of any library: logits in parallel, and token by token through the library's own cache."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import InvalidInput
from ..models.lm import MambaLM


def logits_of(model: nn.Module, ids: Tensor, **options: Any) -> Tensor:
    """Logits (B, L, V) of tokens (B, L)."""
    out = model(ids, **options)
    return out if isinstance(out, Tensor) else cast(Tensor, out.logits)


@torch.no_grad()
def token_by_token(model: nn.Module, ids: Tensor, first: int) -> Tensor:
    """The logits of a sequence that is read in one piece of ``first`` tokens and then token by token.

    Raises
    ------
    InvalidInput
        The model keeps its states in no way that is known here.
    """
    if isinstance(model, MambaLM):
        out, states = model(ids[:, :first], states=model.new_states(ids.shape[0]), return_states=True)
        found = [out]
        for token in ids[:, first:].unbind(1):
            one, states = model.step(token, states)
            found.append(one[:, None])
        return torch.cat(found, 1)
    if hasattr(model, "prepare_inputs_for_generation"):
        return _transformers(model, ids, first)
    if hasattr(model, "allocate_inference_cache"):
        return _mamba_ssm(model, ids, first)
    raise InvalidInput(f"{type(model).__name__} does not say how it keeps states; use a model of transformers or mamba-ssm")


def _transformers(model: Any, ids: Tensor, first: int) -> Tensor:
    out = model(ids[:, :first], use_cache=True)
    name = "cache_params" if "cache_params" in out else "past_key_values"
    found, cache = [out.logits], out[name]
    for t in range(first, ids.shape[1]):
        # Some classes with attention count positions by themselves, others do not.
        places = {} if name == "cache_params" else {"position_ids": torch.full((ids.shape[0], 1), t, device=ids.device)}
        out = model(ids[:, t : t + 1], use_cache=True, **{name: cache}, **places)
        found.append(out.logits)
    return torch.cat(found, 1)


def _mamba_ssm(model: Any, ids: Tensor, first: int) -> Tensor:
    from mamba_ssm.utils.generation import InferenceParams

    params = InferenceParams(max_seqlen=ids.shape[1], max_batch_size=ids.shape[0])
    found = [model(ids[:, :first], inference_params=params).logits]
    for t in range(first, ids.shape[1]):
        params.seqlen_offset = t
        found.append(model(ids[:, t : t + 1], inference_params=params).logits)
    return torch.cat(found, 1)
