"""What an adapted model does on a split: loss, predicted classes, generated texts; in few large batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import UnrecordableLoss
from ...methods.base import evaluating
from ...models import MambaLM
from ...models.lm import States
from ...models.state import MixerState
from ...training.graphed import recorded
from ..lm_benchmark.examples import PADDING, by_length
from ..lm_benchmark.metrics import NO_CLASS
from .feed import IGNORED, Feed

LOOK = 16
"""Steps of a generation between two looks whether every row has ended: a look waits for the GPU."""


@torch.no_grad()
def held_out_loss(model: MambaLM, feed: Feed, tokens: int) -> float:
    """Mean over all answer tokens, in nats, from batches of at most so many tokens."""
    sums, count = [], 0
    with evaluating(model):
        for rows in _batches(feed, tokens):
            ids, last, targets = feed.batch(rows, max(feed.lengths[i] for i in rows.tolist()))
            if not feed.free_text:
                logits, wanted = model.logits_at(ids, last), targets
            else:
                made = model(ids)
                assert isinstance(made, Tensor)
                logits, wanted = made.flatten(0, 1), targets.flatten()
            sums.append(F.cross_entropy(logits.float(), wanted, ignore_index=IGNORED, reduction="sum").double())
            count += int((wanted != IGNORED).sum())
    return float(torch.stack(sums).sum()) / count


@torch.no_grad()
def predictions(model: MambaLM, feed: Feed, classes: Sequence[int], tokens: int) -> tuple[list[int], float]:
    """(class of each row, mean loss of the true ones in nats): the class whose token is the likeliest of the whole vocabulary,
    :data:`..lm_benchmark.metrics.NO_CLASS` where the likeliest token is no class."""
    by_token = {token: k for k, token in enumerate(classes)}
    likeliest = torch.empty(len(feed.lengths), dtype=torch.int64, device=feed.tokens.device)
    sums = []
    with evaluating(model):
        for rows in _batches(feed, tokens):
            ids, last, targets = feed.batch(rows, max(feed.lengths[i] for i in rows.tolist()))
            logits = model.logits_at(ids, last).float()
            likeliest[rows.to(likeliest.device)] = logits.argmax(-1)
            sums.append(F.cross_entropy(logits, targets, reduction="sum").double())
    found = [by_token.get(token, NO_CLASS) for token in likeliest.tolist()]
    return found, float(torch.stack(sums).sum()) / len(found)


def _batches(feed: Feed, tokens: int) -> list[Tensor]:
    """Row numbers in batches of at most so many tokens with their padding, at least one row each."""
    found: list[list[int]] = []
    order = [i for rows in by_length(feed.lengths, 1) for i in rows]
    for i in order:  # lengths grow, so the newest row is the longest of its batch
        if not found or (len(found[-1]) + 1) * feed.lengths[i] > tokens:
            found.append([])
        found[-1].append(i)
    return [torch.tensor(rows) for rows in found]


@torch.no_grad()
def generate(model: MambaLM, prompts: Sequence[Sequence[int]], end: int, most: int) -> list[list[int]]:
    """The likeliest token after each prompt, again and again, to the end token (left out) or ``most`` tokens.

    All rows step together, token by token: one that is still in its prompt reads that, the others read what they wrote. On a GPU
    a step is recorded once and replayed.
    """
    device = model.lm_head.weight.device
    longest, rows = max(map(len, prompts)), len(prompts)
    ends = [len(prompt) for prompt in prompts]
    padded = [[*prompt, *[PADDING] * (longest + most - len(prompt))] for prompt in prompts]
    text = torch.tensor(padded, dtype=torch.int64, device=device)
    starts = torch.tensor(ends, device=device)
    place = torch.zeros((), dtype=torch.int64, device=device)
    with evaluating(model):
        states = [_own(state) for state in model.new_states(rows)]

        def advance() -> None:
            """Read the tokens at ``place``; where the next ones are not given, write the likeliest; ``place`` moves on."""
            logits, after = model.step(text.index_select(1, place[None]).squeeze(1), states)
            _copy(states, after)
            following = place + 1
            given = text.index_select(1, following[None]).squeeze(1)
            chosen = torch.where(following < starts, given, logits.argmax(-1))
            text.index_copy_(1, following[None], chosen[:, None])
            place.copy_(following)

        step = _quick(advance, (text, place, *_tensors(states)), device)
        written = torch.arange(longest + most, device=device)
        for position in range(longest + most - 1):
            step()
            if position >= longest and position % LOOK == 0:
                past = (written >= starts[:, None]) & (written <= place)
                if bool(((text == end) & past).any(1).all()):
                    break
        reached = int(place) + 1
    return [_cut(row[start:reached], end, most) for row, start in zip(text.tolist(), ends, strict=True)]


def _quick(step: Callable[[], None], changed: Sequence[Tensor], device: torch.device) -> Callable[[], object]:
    """The step recorded, on a GPU that can; as it is elsewhere, which gives the same tokens later."""
    if device.type == "cuda":
        with suppress(UnrecordableLoss):
            return recorded(step, changed)
    return step


def _cut(tokens: list[int], end: int, most: int) -> list[int]:
    return tokens[: tokens.index(end) if end in tokens else len(tokens)][:most]


def _own(state: MixerState) -> MixerState:
    """The state in memory of its own: those of a batch are views of one row."""
    return MixerState(*(None if v is None else v.clone() for v in (state.conv, state.ssm, state.extra)))


def _tensors(states: States) -> list[Tensor]:
    return [v for s in states for v in (s.conv, s.ssm, s.extra) if v is not None]


def _copy(to: States, new: States) -> None:
    for own, value in zip(_tensors(to), _tensors(new), strict=True):
        own.copy_(value)
