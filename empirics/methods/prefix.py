"""Prefix tuning: trained tokens at the input of every mixer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..errors import InvalidInput
from ..models.hooks import MixerHook
from .attachment import Attachment
from .base import MethodConfig, register
from .geometry import find_mixers, real_dtype
from .prompt import require_count


class PrefixHook(MixerHook):
    """Tokens ``prefix`` (M, d_model) before the mixer's input."""

    def __init__(self, prefix: Tensor):
        super().__init__()
        self.prefix = nn.Parameter(prefix)

    def may_draw(self) -> bool:
        return False

    def prefix_tokens(self) -> Tensor:
        return self.prefix


@register
@dataclass(frozen=True)
class Prefix(MethodConfig):
    """M trained tokens at the input of each mixer (after the block's norm), through its convolution; their outputs are dropped.

    A prefix acts through the state and the convolution's window that it leaves behind, and nothing else, so
    :func:`.compile.compile_prefix` turns it into an initial state. The tokens start normal with deviation ``std`` (a normed
    input has 1). Any token, also a zero one, moves the state, so the start is not the base model's output.

    Attributes
    ----------
    tokens, std:
        M and the deviation of the starting values.
    layers:
        Positions of the mixers that get a prefix; all of them where left out.

    Raises
    ------
    InvalidInput
        M is no positive integer; on apply: the model has no mixers.

    Source: Li and Liang 2021, arXiv 2101.00190; on state-space models: Galim et al. 2024, arXiv 2410.09016, section 4.
    """

    name: ClassVar[str] = "prefix"
    tokens: int = 1
    std: float = 1.0
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("tokens", self.tokens)
        require_std(self.std)

    def attach(self, to: Attachment) -> None:
        for name, mixer in find_mixers(to.model, self.layers):
            start = torch.randn(self.tokens, mixer.d_model, generator=to.generator, dtype=torch.float64) * self.std
            to.hook(name, PrefixHook(start.to(real_dtype(mixer))))


def require_std(value: float) -> None:
    """Raise :class:`InvalidInput` unless the value is a finite number of at least 0."""
    if not (isinstance(value, (int, float)) and 0 <= value < float("inf")):
        raise InvalidInput(f"std is {value!r}, expected a finite number of at least 0")
