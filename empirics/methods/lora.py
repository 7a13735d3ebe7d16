"""LoRA: a low-rank update of named matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Generator, Tensor, empty, nn

from ..errors import InvalidInput
from ..models.low_rank import adapted
from .attachment import Attachment
from .base import MethodConfig, adapter_dtype, register
from .targets import NamedTensor, require_matrix


class LowRankUpdate(nn.Module):
    """W ↦ W + s·lora_B lora_A with lora_A (r, columns) and lora_B (rows, r); at the start lora_B = 0.

    Names, shapes and starting values (Kaiming uniform with a = √5) are those of Hugging Face peft. Dropout draws one mask of
    input features for each reading of the tensor, shared by all tokens: a weight cannot tell tokens apart. A complex W gets
    complex factors, of which lora_A starts real. ``factored`` says that W only has s·lora_B lora_A added to it
    (:mod:`empirics.models.low_rank`).
    """

    factored: ClassVar[bool] = True

    def __init__(self, base: Tensor, rank: int, scale: float, dropout: float, generator: Generator):
        super().__init__()
        rows, columns = base.shape
        self.scale, self.dropout = scale, dropout
        start = empty(rank, columns, dtype=adapter_dtype(base)).real.contiguous()
        nn.init.kaiming_uniform_(start, a=math.sqrt(5), generator=generator)
        self.lora_A = nn.Parameter(start.to(adapter_dtype(base)))
        self.lora_B = nn.Parameter(self.lora_A.new_zeros(rows, rank))

    def may_draw(self) -> bool:
        """A mask, while training with dropout."""
        return self.training and self.dropout > 0

    def factors(self) -> tuple[Tensor, Tensor]:
        """lora_B, and lora_A without the input features that are dropped in this reading."""
        right: Tensor = self.lora_A
        if self.training and self.dropout > 0:
            right = right * F.dropout(right.real.new_ones(right.shape[1]), self.dropout)
        return self.lora_B, right

    def forward(self, weight: Tensor) -> Tensor:
        return adapted(weight, *self.factors(), self.scale)


@dataclass(frozen=True)
class LowRankConfig(MethodConfig):
    """Options that LoRA and DoRA share.

    Attributes
    ----------
    targets:
        Matrices by name: ``in_proj``, ``x_proj``, ``dt_proj``, ``out_proj``, ``A_log``, ... (see :mod:`.targets`).
    rank, alpha:
        r and the scale s = alpha / r, or alpha / √r with ``use_rslora``.
    dropout:
        Probability of leaving out an input feature of the update while training.
    """

    targets: tuple[str, ...] = ("in_proj", "out_proj")
    rank: int = 8
    alpha: float = 8.0
    dropout: float = 0.0
    use_rslora: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.targets, tuple):
            raise InvalidInput(f"targets is {self.targets!r}, expected a list or tuple of names: ('in_proj', 'out_proj')")
        if not isinstance(self.rank, int) or self.rank < 1:
            raise InvalidInput(f"rank is {self.rank!r}, expected an integer of at least 1")
        if not math.isfinite(self.alpha) or self.alpha <= 0:
            raise InvalidInput(f"alpha is {self.alpha!r}, expected a positive number")
        if not 0 <= self.dropout < 1:
            raise InvalidInput(f"dropout is {self.dropout!r}, expected a probability in [0, 1)")

    @property
    def scale(self) -> float:
        """s, the factor of the update."""
        return self.alpha / (math.sqrt(self.rank) if self.use_rslora else self.rank)

    def make(self, tensor: NamedTensor, generator: Generator) -> nn.Module:
        """The parametrisation of one tensor."""
        raise NotImplementedError

    def attach(self, to: Attachment) -> None:
        tensors = to.tensors(self.targets)
        for tensor in tensors:  # all are checked before the first is touched
            require_matrix(tensor, self.rank)
        for tensor in tensors:
            to.parametrize(tensor, self.make(tensor, to.generator))


@register
@dataclass(frozen=True)
class LoRA(LowRankConfig):
    """W + s·B A on every target.

    Raises
    ------
    InvalidInput
        On apply: a target is no matrix, is tied, or is smaller than the rank.
    UnknownName
        On apply: a target matches nothing.

    Source: Hu et al. 2021, arXiv 2106.09685; scale alpha/√r: Kalajdzievski 2023, arXiv 2312.03732.
    """

    name: ClassVar[str] = "lora"

    def make(self, tensor: NamedTensor, generator: Generator) -> nn.Module:
        return LowRankUpdate(tensor.parameter, self.rank, self.scale, self.dropout, generator)
