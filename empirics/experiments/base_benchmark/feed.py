"""A split as tensors on the device, so that a step fetches its batch there and nothing waits for the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models import MambaLM
from ..lm_benchmark.examples import PADDING, Encoded

IGNORED = -100
"""Target where nothing is predicted: what PyTorch's cross entropy leaves out."""

Batch = tuple[Tensor, Tensor, Tensor]
"""Tokens (B, L); (B,) place of the last token of each prompt; targets: (B,) with classes, (B, L) with free text."""


@dataclass(frozen=True)
class Feed:
    """Sequences, padded on the right.

    Attributes
    ----------
    tokens:
        (n, longest) what the model reads.
    last:
        (n,) place of each prompt's last token.
    targets:
        (n,) the answer's token; for free text (n, longest), what follows each token of the answer, else :data:`IGNORED`.
    lengths:
        Tokens of each row without padding.
    """

    tokens: Tensor
    last: Tensor
    targets: Tensor
    lengths: tuple[int, ...]

    def batch(self, rows: Tensor, width: int) -> Batch:
        """Some rows, by number, cut to ``width`` tokens, which none of them exceeds."""
        targets = self.targets[rows]
        return self.tokens[rows, :width], self.last[rows], targets if targets.ndim == 1 else targets[:, :width].contiguous()

    @property
    def free_text(self) -> bool:
        """Whether answers are texts."""
        return self.targets.ndim == 2


def feed_of(data: Encoded, device: str) -> Feed:
    """The split's sequences: one for each example, or for each reference of a free text."""
    free = data.answers is None
    read = [item.tokens[:-1] for item in data.sequences]
    lengths = tuple(len(tokens) for tokens in read)
    tokens = _padded(read, max(lengths), PADDING)
    last = torch.tensor([item.prompt - 1 for item in data.sequences])
    if free:
        wanted = [[IGNORED] * (item.prompt - 1) + list(item.tokens[item.prompt :]) for item in data.sequences]
        targets = _padded(wanted, max(lengths), IGNORED)
    else:
        targets = torch.tensor([item.tokens[-1] for item in data.sequences])
    return Feed(tokens.to(device), last.to(device), targets.to(device), lengths)


def _padded(rows: Sequence[Sequence[int]], width: int, value: int) -> Tensor:
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows], dtype=torch.int64)


def loss_of(model: MambaLM, batch: Batch) -> Tensor:
    """Mean over the batch's answer tokens of -log p(token | before), p over the whole vocabulary, in nats."""
    tokens, last, targets = batch
    if targets.ndim == 1:
        return F.cross_entropy(model.logits_at(tokens, last), targets)
    logits = model(tokens)
    assert isinstance(logits, Tensor)
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED)


def casting_loss(model: MambaLM, batch: Batch, autocast: str) -> Tensor:
    """:func:`loss_of` under bfloat16 autocast on a GPU where ``autocast`` is ``bfloat16``; a CPU computes without."""
    device = batch[0].device.type
    with torch.autocast(device, torch.bfloat16, enabled=autocast == "bfloat16" and device == "cuda"):
        return loss_of(model, batch)
