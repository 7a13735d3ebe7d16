"""What one process keeps between runs: weights on the device, rows as tensors, scores of dimensions. A run then starts at once.

Nothing kept is ever changed: a run adapts a copy of the model. What came from files is kept under their names, sizes and times.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch

from ...data.tasks import LOCAL, Example, TaskData, find_task, load_task, local_folder, subset
from ...methods import Scores
from ...models import MambaLM
from ...pretraining.bundle import BASE, base_folder
from ..lm_benchmark.examples import Encoded, Item, encode
from ..lm_benchmark.methods import Plan
from ..lm_benchmark.model import base_model, weights_hash
from ..lm_benchmark.tokens import Tokens, tokens_for
from .feed import Feed, feed_of

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """The ``most`` values that were asked for last, each made once."""

    def __init__(self, most: int):
        self.most = most
        self._values: dict[Hashable, Value] = {}

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value under a key, made now where there is none."""
        value = self._values.pop(key) if key in self._values else make()
        self._values[key] = value
        while len(self._values) > self.most:
            self._values.pop(next(iter(self._values)))
        return value

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True)
class Base:
    """The model to adapt, its tokenizer, and the hash of its weights."""

    model: MambaLM
    tokens: Tokens
    weights: str

    def copy(self) -> MambaLM:
        """A model to put a method on."""
        return copy.deepcopy(self.model)


@dataclass(frozen=True)
class Split:
    """The rows of a split: examples, tokens, and tensors on the device."""

    examples: tuple[Example, ...]
    encoded: Encoded
    feed: Feed


@dataclass(frozen=True)
class Prepared:
    """A task's splits for one tokenizer; equal keys, equal rows."""

    key: Hashable
    data: TaskData
    splits: Mapping[str, Split]


BASES: Kept[Base] = Kept(2)
TASKS: Kept[Prepared] = Kept(8)
PLANS: Kept[Plan] = Kept(64)
SCORES: Kept[dict[str, Scores]] = Kept(64)


def base_of(name: str, tokenizer: str | None, scan: str | None, device: str) -> Base:
    """The base model on the device; errors as :func:`..lm_benchmark.model.base_model` and ``tokens_for``."""

    def make() -> Base:
        model = base_model(name, scan, device)
        return Base(model, tokens_for(name, model.config.vocab_size, tokenizer), weights_hash(model))

    folders = [base_folder(name) if name in BASE else Path(name), Path(tokenizer or "")]
    return BASES.get((name, tokenizer, scan, device, *map(_stamp, folders)), make)


def prepared(task: str, data: str, base: Base, longest: int, counts: Mapping[str, int], generated: int, device: str) -> Prepared:
    """The task's rows, encoded and on the device.

    Parameters
    ----------
    counts:
        Rows of each split, 0 for all.
    generated:
        Test rows of a task with free text at most, 0 for all: they are generated.
    """

    def make() -> Prepared:
        found = load_task(task, data)
        splits = {}
        for name, examples in (("train", found.train), ("validation", found.validation), ("test", found.test)):
            examples = subset(examples, counts[name])
            if found.task.free_text and name == "test":
                examples = subset(examples, generated)
            encoded = encode(found.task, examples, base.tokens, longest)
            splits[name] = Split(examples, encoded, feed_of(encoded, device))
        return Prepared(key, found, splits)

    root = local_folder() if data == LOCAL else Path(data)
    stamps = [_stamp(root), *(_stamp(root / inside) for inside in find_task(task).folders)]
    key = (task, data, str(root), base.weights, longest, tuple(sorted(counts.items())), generated, device, *stamps)
    return TASKS.get(key, make)


def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of the files of a folder, or of one file; nothing where there is none."""
    paths = [folder] if folder.is_file() else sorted(folder.iterdir()) if folder.is_dir() and folder != Path() else []
    return tuple((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in paths if p.is_file())


def shuffled(data: Encoded, seed: int) -> Encoded:
    """The same prompts with the answers of other rows: a random permutation of all answers.

    Classes keep their numbers of rows, texts their lengths; what a row's prompt says of its answer is lost.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data.sequences), generator=generator).tolist()
    answers = [item.tokens[item.prompt :] for item in data.sequences]
    sequences = tuple(
        Item((*item.tokens[: item.prompt], *answers[i]), item.prompt) for item, i in zip(data.sequences, order, strict=True)
    )
    labels = data.labels if data.answers is None else tuple(data.answers.first.index(item.tokens[-1]) for item in sequences)
    return Encoded(sequences, data.prompts, data.answers, labels, data.shortened)
