"""The loss of rows under a model of any library, and how it differs from another's, row by row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..experiments.lm_benchmark.examples import Item, by_length, padded
from ..hosts.reading import logits_of
from ..methods.base import evaluating
from ..models.norm import widen

NORMAL = 1.96


def row_losses(model: nn.Module, batch: Sequence[Item]) -> tuple[Tensor, Tensor]:
    """(Σ over the predicted tokens of -log p(token | before), their number), (B,) each. Rows are padded behind their end."""
    device = str(next(model.parameters()).device)
    logits = logits_of(model, padded([item.tokens[:-1] for item in batch], device))
    counts = torch.tensor([len(item.tokens) - item.prompt for item in batch])
    rows = torch.repeat_interleave(torch.arange(len(batch)), counts)
    places = torch.cat([torch.arange(item.prompt - 1, len(item.tokens) - 1) for item in batch])
    wanted = torch.tensor([token for item in batch for token in item.tokens[item.prompt :]])
    each = F.cross_entropy(widen(logits[rows.to(device), places.to(device)]), wanted.to(device), reduction="none")
    return each.new_zeros(len(batch)).index_add(0, rows.to(device), each), counts.to(device)


def batch_loss(model: nn.Module, batch: Sequence[Item]) -> Tensor:
    """Mean over all predicted tokens of the batch, in nats."""
    sums, counts = row_losses(model, batch)
    return sums.sum() / counts.sum()


@dataclass(frozen=True, slots=True)
class Measured:
    """Bits of held-out rows.

    Attributes
    ----------
    bits, tokens:
        Of each row, (rows,) in float64.
    """

    bits: Tensor
    tokens: Tensor

    @property
    def per_token(self) -> float:
        """Bits per predicted token."""
        return float(self.bits.sum() / self.tokens.sum())


@torch.no_grad()
def measure(model: nn.Module, items: Sequence[Item], size: int) -> Measured:
    """Bits of the rows, in evaluation mode."""
    bits, tokens = (torch.zeros(len(items), dtype=torch.float64) for _ in range(2))
    with evaluating(model):
        for rows in by_length([len(item.tokens) for item in items], size):
            sums, counts = row_losses(model, [items[i] for i in rows])
            bits[rows], tokens[rows] = sums.double().cpu() / math.log(2), counts.double().cpu()
    return Measured(bits, tokens)


def saved(before: Measured, after: Measured) -> tuple[float, float]:
    """Bits per token that ``after`` saves, and the half-width of its 95 % interval over rows; infinite for a single row."""
    mean = before.per_token - after.per_token
    if len(before.bits) < 2:
        return mean, math.inf
    spread = float((before.bits - after.bits - mean * before.tokens).std())
    return mean, NORMAL * spread * math.sqrt(len(before.bits)) / float(before.tokens.sum())
