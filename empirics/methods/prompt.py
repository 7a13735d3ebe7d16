"""Soft prompts: trained tokens before the embedded sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ..errors import InvalidInput, UnknownName
from ..models.hooks import PromptHook
from .attachment import Attachment
from .base import MethodConfig, adapter_dtype, register
from .targets import select_tensors


class SoftPrompt(PromptHook):
    """Tokens ``prompt`` (M, d_model)."""

    def __init__(self, prompt: Tensor):
        super().__init__()
        self.prompt = nn.Parameter(prompt)

    def tokens(self) -> Tensor:
        return self.prompt


@register
@dataclass(frozen=True)
class Prompt(MethodConfig):
    """M trained tokens at the level of the embedding output; the logits at their positions are dropped.

    The tokens start as embeddings of random vocabulary entries (``vocabulary``) or as normal numbers with the embedding's
    standard deviation (``normal``). Any token, also a zero one, moves the state, so the start is not the base model's output.

    Attributes
    ----------
    tokens:
        M.

    Raises
    ------
    InvalidInput
        M is no positive integer; on apply: the model has no embedding.

    Source: Lester et al. 2021, arXiv 2104.08691.
    """

    name: ClassVar[str] = "prompt"
    tokens: int = 16
    init: Literal["vocabulary", "normal"] = "vocabulary"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("tokens", self.tokens)
        if self.init not in ("vocabulary", "normal"):
            raise UnknownName("prompt init", self.init, ("vocabulary", "normal"))

    def attach(self, to: Attachment) -> None:
        to.require_prompt()
        own = getattr(to.model, "get_input_embeddings", None)  # transformers' models know theirs
        tensors = to.tensors() if own is None else [t for t in to.tensors() if t.parameter is own().weight]
        embedding = (tensors if own is not None else select_tensors(tensors, ("embedding.weight",)))[0].parameter.detach()
        if self.init == "vocabulary":
            chosen = torch.randint(embedding.shape[0], (self.tokens,), generator=to.generator)
            start = embedding.to("cpu")[chosen]
        else:
            start = torch.randn(self.tokens, embedding.shape[1], generator=to.generator) * float(embedding.float().std())
        to.prompt(SoftPrompt(start.to(adapter_dtype(embedding))))


def require_count(name: str, value: object) -> None:
    """Raise :class:`InvalidInput` unless the value is an integer of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidInput(f"{name} is {value!r}, expected an integer of at least 1")
