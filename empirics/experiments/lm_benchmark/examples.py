"""Examples as padded batches of tokens, their loss, and what a model answers.

Sequences are padded on the right. A causal model does not see what comes later, and nothing is read off at the padding, so that
neither loss nor predictions depend on what else is in the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...data.tasks import Example, Task
from ...errors import InvalidInput
from ...methods.base import evaluating
from ...models import MambaLM
from ...models.norm import widen
from .metrics import NO_CLASS
from .tokens import Answers, Tokens, answer_tokens

PADDING = 0
"""Token at the padding; no output there is ever read."""


@dataclass(frozen=True)
class Item:
    """One sequence to train on or to measure.

    Attributes
    ----------
    tokens:
        Prompt and answer.
    prompt:
        Number of tokens of the prompt; the answer's tokens are predicted at positions prompt - 1, prompt, ...
    """

    tokens: tuple[int, ...]
    prompt: int


@dataclass(frozen=True)
class Encoded:
    """The examples of a split.

    Attributes
    ----------
    sequences:
        One for each example, or for each reference of a free-text example.
    prompts:
        Tokens before the answer, one tuple for each example.
    answers:
        The classes' tokens, ``None`` for free text.
    labels:
        One for each example.
    shortened:
        Examples whose prompt lost its first tokens.
    """

    sequences: tuple[Item, ...]
    prompts: tuple[tuple[int, ...], ...]
    answers: Answers | None
    labels: tuple[int, ...]
    shortened: int


def encode(task: Task, examples: Sequence[Example], tokens: Tokens, longest: int) -> Encoded:
    """The examples as tokens; prompts lose their first tokens where they are longer than ``longest``.

    Free text is answered by a space, the text and the end token.
    """
    if longest < 2:
        raise InvalidInput(f"longest is {longest}, expected at least 2 tokens")
    answers = None if task.free_text else answer_tokens(task.answers, tokens)
    sequences: list[Item] = []
    prompts: list[tuple[int, ...]] = []
    shortened = 0
    for example in examples:
        whole = (*tokens.encode(example.prompt), *(() if answers is None else answers.shared))
        shortened += len(whole) > longest
        prompt = whole[-longest:]
        prompts.append(prompt)
        if answers is not None:
            sequences.append(Item((*prompt, answers.first[example.label]), len(prompt)))
        for text in example.references if answers is None else ():
            answer = (*tokens.encode(f" {text.strip()}")[: longest - 1], tokens.end)
            sequences.append(Item((*prompt, *answer), len(prompt)))
    return Encoded(tuple(sequences), tuple(prompts), answers, tuple(e.label for e in examples), shortened)


def padded(rows: Sequence[Sequence[int]], device: str) -> Tensor:
    """(B, L), padded on the right with :data:`PADDING`."""
    length = max(map(len, rows))
    return torch.tensor([[*row, *[PADDING] * (length - len(row))] for row in rows], dtype=torch.int64).to(device)


def answer_losses(model: MambaLM, batch: Sequence[Item], device: str) -> tuple[Tensor, Tensor]:
    """(Σ over the answer's tokens of -log p(token | before), number of these tokens), (B,) each, p over the whole vocabulary."""
    ids = padded([s.tokens[:-1] for s in batch], device)
    rows = torch.tensor([i for i, s in enumerate(batch) for _ in s.tokens[s.prompt :]])
    places = torch.tensor([s.prompt - 1 + j for s in batch for j in range(len(s.tokens) - s.prompt)])
    wanted = torch.tensor([t for s in batch for t in s.tokens[s.prompt :]])
    logits = model(ids)
    assert isinstance(logits, Tensor)
    each = F.cross_entropy(widen(logits[rows.to(device), places.to(device)]), wanted.to(device), reduction="none")
    sums = each.new_zeros(len(batch)).index_add(0, rows.to(device), each)
    return sums, torch.tensor([len(s.tokens) - s.prompt for s in batch], device=device)


def batch_loss(model: MambaLM, batch: Sequence[Item], device: str) -> Tensor:
    """Mean over all answer tokens of the batch, in nats."""
    sums, counts = answer_losses(model, batch, device)
    return sums.sum() / counts.sum()


def by_length(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Indices in batches of ``size``, neighbours in length together, so that little is padded."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    for start in range(0, len(order), size):
        yield order[start : start + size]


@torch.no_grad()
def held_out_loss(model: MambaLM, data: Encoded, size: int, device: str) -> float:
    """Mean over all answer tokens, in nats."""
    total, count = 0.0, 0
    with evaluating(model):
        for rows in by_length([len(s.tokens) for s in data.sequences], size):
            sums, counts = answer_losses(model, [data.sequences[i] for i in rows], device)
            total, count = total + float(sums.double().sum()), count + int(counts.sum())
    return total / count


@torch.no_grad()
def predictions(model: MambaLM, data: Encoded, size: int, device: str) -> tuple[list[int], float]:
    """(class of each example, mean loss of the true classes in nats), in one pass.

    The predicted class is that whose token is the likeliest of the whole vocabulary, or ``NO_CLASS``; the loss is
    :func:`held_out_loss`.
    """
    if data.answers is None:
        raise InvalidInput("a free-text task has no classes to predict; generate texts instead")
    by_token = {token: k for k, token in enumerate(data.answers.first)}
    found = [NO_CLASS] * len(data.prompts)
    total = 0.0
    with evaluating(model):
        for rows in by_length([len(p) for p in data.prompts], size):
            prompts = [data.prompts[i] for i in rows]
            logits = model(padded(prompts, device))
            assert isinstance(logits, Tensor)
            last = torch.tensor([len(p) - 1 for p in prompts], device=device)
            after = widen(logits[torch.arange(len(rows), device=device), last])
            wanted = torch.tensor([data.answers.first[data.labels[i]] for i in rows], device=device)
            total += float(F.cross_entropy(after, wanted, reduction="none").double().sum())
            for i, token in zip(rows, after.argmax(-1).tolist(), strict=True):
                found[i] = by_token.get(token, NO_CLASS)
    return found, total / len(found)


@torch.no_grad()
def generate(model: MambaLM, prompts: Sequence[Sequence[int]], end: int, most: int, size: int, device: str) -> list[list[int]]:
    """The likeliest token after each prompt, again and again, to the end token (left out) or ``most`` tokens.

    The tokens that every row of a batch has before its prompt ends go through the parallel scan. From there all rows step
    together: a row that is still in its prompt reads that, the others read what they wrote. No row is ever padded before its end.
    """
    texts: list[list[int]] = [[] for _ in prompts]
    with evaluating(model):
        for rows in by_length([len(p) for p in prompts], size):
            states = model.new_states(len(rows))
            shared = min(len(prompts[i]) for i in rows) - 1
            if shared:
                states = model(padded([prompts[i][:shared] for i in rows], device), states=states, return_states=True)[1]
            reading = torch.tensor([prompts[i][shared] for i in rows], device=device)
            done = [False] * len(rows)
            for position in range(shared + 1, max(len(prompts[i]) for i in rows) + most):
                logits, states = model.step(reading, states)
                best = logits.argmax(-1).tolist()
                following = []
                for place, i in enumerate(rows):
                    if position < len(prompts[i]):
                        following.append(prompts[i][position])
                        continue
                    done[place] = done[place] or best[place] == end or len(texts[i]) >= most
                    if not done[place]:
                        texts[i].append(best[place])
                    following.append(best[place])
                if all(done):
                    break
                reading = torch.tensor(following, device=device)
    return texts
