"""DoRA: a low-rank update of the direction of each row, and a trained length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from ..models.low_rank import adapted
from .base import register
from .lora import LowRankConfig, LowRankUpdate
from .targets import NamedTensor


class MagnitudeAndDirection(LowRankUpdate):
    """W ↦ m ⊙ V / ‖V‖ with V = W + s·lora_B lora_A, norms over rows, m (rows,) = ‖W‖ at the start.

    The norm is a constant for the gradient, as in the source and in Hugging Face peft.
    """

    factored: ClassVar[bool] = False

    def __init__(self, base: Tensor, rank: int, scale: float, dropout: float, generator: Generator):
        super().__init__(base, rank, scale, dropout, generator)
        self.lora_magnitude_vector = nn.Parameter(row_norms(base.detach().to(self.lora_A.dtype)))

    def forward(self, weight: Tensor) -> Tensor:
        moved = adapted(weight.to(self.lora_A.dtype), *self.factors(), self.scale)
        # A zero row has no direction: the smallest positive norm keeps it zero instead of NaN.
        norms = row_norms(moved.detach()).clamp_min(torch.finfo(moved.dtype).tiny)
        return (moved * (self.lora_magnitude_vector / norms)[:, None]).to(weight.dtype)


def row_norms(matrix: Tensor) -> Tensor:
    """Euclidean norms of the rows."""
    return torch.linalg.vector_norm(matrix.contiguous(), dim=1)


@register
@dataclass(frozen=True)
class DoRA(LowRankConfig):
    """m ⊙ (W + s·B A) / ‖W + s·B A‖ on every target; options and errors as LoRA.

    Source: Liu et al. 2024, arXiv 2402.09353, section 4.
    """

    name: ClassVar[str] = "dora"

    def make(self, tensor: NamedTensor, generator: Generator) -> nn.Module:
        return MagnitudeAndDirection(tensor.parameter, self.rank, self.scale, self.dropout, generator)
