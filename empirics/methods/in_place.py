"""Methods that train tensors of the model itself: full fine-tuning and BitFit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..errors import InvalidInput
from .attachment import Attachment
from .base import MethodConfig, register


@register
@dataclass(frozen=True)
class Full(MethodConfig):
    """Train every tensor, or every tensor that ``targets`` names.

    A copy of the trained tensors stays on the CPU, so that ``remove`` gives back the model as it was.

    Raises
    ------
    UnknownName
        On apply: a target matches nothing.
    """

    name: ClassVar[str] = "full"
    targets: tuple[str, ...] | None = None

    def attach(self, to: Attachment) -> None:
        for tensor in to.tensors(self.targets):
            to.train(tensor)


@register
@dataclass(frozen=True)
class BitFit(MethodConfig):
    """Train the biases only: every tensor called ``bias`` or ``..._bias`` (on Mamba those of conv1d and of dt).

    Raises
    ------
    InvalidInput
        On apply: the model has no bias.

    Source: Ben Zaken et al. 2021, arXiv 2106.10199.
    """

    name: ClassVar[str] = "bitfit"

    def attach(self, to: Attachment) -> None:
        biases = [t for t in to.tensors() if t.name.rsplit(".", 1)[-1].endswith("bias")]
        if not biases:
            raise InvalidInput("bitfit finds no bias in this model; use another method, or a model with biases")
        for tensor in biases:
            to.train(tensor)
