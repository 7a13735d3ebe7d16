"""How SDT's dimensions are chosen: which warm-up each rule has, and what it trains on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ...methods import LoRA, Scores
from ...methods.scores import score, warm_up
from ...models import MambaLM
from .batches import batches, widths
from .feed import Batch, Feed, casting_loss, feed_of
from .kept import SCORES, Base, Prepared, shuffled

RELEASED = LoRA(targets=("out_proj",), rank=8, alpha=8.0)
"""LoRA that the authors' release trains beside A_log in its warm-up."""


@dataclass(frozen=True)
class WarmUp:
    """A warm-up's length and learning rate."""

    steps: int
    learning_rate: float


@dataclass(frozen=True)
class Batching:
    """How rows are put into batches.

    Attributes
    ----------
    size:
        Rows of a batch.
    multiple, recording:
        See :func:`.batches.widths`.
    autocast:
        ``none`` or ``bfloat16``.
    """

    size: int
    multiple: int
    recording: int
    autocast: str

    def draw(self, feed: Feed, steps: int, seed: int) -> tuple[torch.Tensor, list[int]]:
        """Row numbers (steps, size) on the feed's device, and the width of each batch."""
        drawn = batches(feed.lengths, steps, self.size, torch.Generator().manual_seed(seed))
        return torch.tensor(drawn).to(feed.tokens.device), widths(feed.lengths, drawn, self.multiple, self.recording)


def scores_of(
    rule: str, base: Base, prepared: Prepared, batching: Batching, short: WarmUp, released: WarmUp, seed: int
) -> dict[str, Scores]:
    """Scores of all channels and states; they do not depend on a learning rate of the method, so that they are kept.

    change      A_log alone, ``short``; |exp(dt A_1) - exp(dt A_0)|
    shuffled    the same, trained on rows with the answers of other rows
    released    A_log and LoRA on out_proj, ``released``; (a_1 - a_0)²
    random, data_free    no warm-up
    """
    warm = released if rule == "released" else short
    key = (rule, prepared.key, batching, warm, seed)
    return SCORES.get(key, lambda: _scores(rule, base, prepared, batching, warm, seed))


def _scores(rule: str, base: Base, prepared: Prepared, batching: Batching, warm: WarmUp, seed: int) -> dict[str, Scores]:
    if rule in ("random", "data_free"):
        return score(rule, base.model, seed=seed)
    split = prepared.splits["train"]
    feed = split.feed
    if rule == "shuffled":
        feed = feed_of(shuffled(split.encoded, 4000 + seed), str(feed.tokens.device))
    drawn, wide = batching.draw(feed, warm.steps, 3000 + seed)

    def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
        assert isinstance(model, MambaLM)
        return casting_loss(model, batch, batching.autocast)

    fed = (feed.batch(rows, width) for rows, width in zip(drawn, wide, strict=True))
    beside = RELEASED if rule == "released" else None
    moved = warm_up(base.copy().train(), loss, fed, warm.learning_rate, beside=beside, graphed=True)
    return score("released" if rule == "released" else "change", base.model, moved=moved)
