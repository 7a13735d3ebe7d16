"""One way to read a model of any library: logits in parallel, and token by token through the library's own cache."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Read:
    """What a model of transformers remembers of ``length`` tokens: its cache, and the name under which its class takes one."""

    name: str
    cache: Any
    length: int


def read_on(model: Any, ids: Tensor, before: Read | None = None) -> tuple[Tensor, Read]:
    """Logits (B, L, V) of the tokens that follow those in ``before``, and what the model remembers after them."""
    options = {} if before is None else {before.name: before.cache}
    if before is not None and before.name == "past_key_values":
        # Some classes with attention count positions by themselves, others do not.
        options["position_ids"] = before.length + torch.arange(ids.shape[1], device=ids.device).expand(ids.shape[0], -1)
    out = model(ids, use_cache=True, **options)
    name = "cache_params" if "cache_params" in out else "past_key_values"
    return out.logits, Read(name, out[name], ids.shape[1] + (0 if before is None else before.length))


def _transformers(model: Any, ids: Tensor, first: int) -> Tensor:
    logits, memory = read_on(model, ids[:, :first])
    found = [logits]
    for token in ids[:, first:].split(1, dim=1):
        logits, memory = read_on(model, token, memory)
        found.append(logits)
    return torch.cat(found, 1)


def _mamba_ssm(model: Any, ids: Tensor, first: int) -> Tensor:
    from mamba_ssm.utils.generation import InferenceParams

    params = InferenceParams(max_seqlen=ids.shape[1], max_batch_size=ids.shape[0])
    found = [model(ids[:, :first], inference_params=params).logits]
    for t in range(first, ids.shape[1]):
        params.seqlen_offset = t
        found.append(model(ids[:, t : t + 1], inference_params=params).logits)
    return torch.cat(found, 1)
