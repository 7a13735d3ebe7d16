"""Text tasks for a language model: a prompt, and what has to come after it.

    cola          is a sentence acceptable English?              Matthews correlation
    rte           does a premise entail a hypothesis?            accuracy
    polarity      is a review's sentence positive?               accuracy
    subjectivity  is a sentence on a film an opinion?            accuracy
    trec          what kind of thing does a question ask for?    accuracy
    dart          put (subject, relation, object) into words     BLEU, chrF, loss

Splits are the same everywhere. The labelled test split is tested or, where there is none (GLUE), the validation split; in that
case every training row whose input's SHA-256 is divisible by ten validates. Rows with one input stay together, and training and
validation rows whose input is also tested are left out.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError, InvalidInput, UnknownName
from .text import Row, Rows, Schema, read_folder, read_hub

SHIPPED = Path(__file__).parent / "polarity_small"
"""Six hundred sentences of the sentence polarity data set; see the folder's README.md."""

VARIABLE = "SSMPROOF_DATA"
"""Environment variable with a folder of data sets."""

SMALL, LOCAL, HUB = "shipped", "local", "hub"
"""As a source: what comes with the package; the folder that the variable names; every task from the hub, under its own name.

Names, not paths: results that were made on one machine are found and judged on another.
"""


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes
    ----------
    schema:
        Of its rows.
    prompt:
        Row to the text before the answer.
    answers:
        Answer for each class, with its leading space; empty for free text.
    score:
        Name of its main score: ``matthews``, ``accuracy`` or ``bleu``.
    folders:
        Names of its folder below a folder of data sets.
    hub:
        (data set, configuration) on the hub, and the short names that stand for it.
    """

    schema: Schema
    prompt: Callable[[Row], str]
    answers: tuple[str, ...]
    score: str
    folders: tuple[str, ...]
    hub: tuple[str, str | None]
    short: tuple[str, ...] = ()

    @property
    def free_text(self) -> bool:
        """Whether the answer is a text and no class."""
        return not self.answers


def _triples(row: Row) -> str:
    return " | ".join(" : ".join(triple) for triple in row["tripleset"])


TASKS: dict[str, Task] = {
    "cola": Task(
        Schema((("sentence",),), 2),
        lambda row: f"{row['sentence']}\nIs this sentence acceptable?",
        (" no", " yes"),
        "matthews",
        ("cola", "glue_cola"),
        ("nyu-mll/glue", "cola"),
        ("glue/cola", "nyu-mll/glue/cola"),
    ),
    "rte": Task(
        Schema((("premise", "sentence1"), ("hypothesis", "sentence2")), 2),
        lambda row: f"{row['premise']}\nDoes it follow that {row['hypothesis']}\nAnswer:",
        (" yes", " no"),
        "accuracy",
        ("rte", "rte123", "glue_rte"),
        ("nyu-mll/glue", "rte"),
        ("glue/rte", "nyu-mll/glue/rte"),
    ),
    "polarity": Task(
        Schema((("sentence", "text"),), 2),
        lambda row: f"{row['sentence']}\nThis review is",
        (" bad", " good"),
        "accuracy",
        ("polarity", "sentence_polarity", "rotten_tomatoes"),
        ("cornell-movie-review-data/rotten_tomatoes", None),
        ("rotten_tomatoes",),
    ),
    "subjectivity": Task(
        Schema((("sentence", "text"),), 2),
        lambda row: f"{row['sentence']}\nThis is",
        (" fact", " opinion"),
        "accuracy",
        ("subjectivity", "subj"),
        ("SetFit/subj", None),
        ("subj",),
    ),
    "trec": Task(
        Schema((("sentence", "text"),), 6, numbered=("coarse_label", (2, 1, 0, 3, 4, 5))),
        lambda row: f"{row['sentence']}\nThe answer is a",
        (" description", " entity", " abbreviation", " human", " location", " number"),
        "accuracy",
        ("trec",),
        ("CogComp/trec", None),
        ("CogComp/trec",),
    ),
    "dart": Task(
        Schema(triples=True),
        lambda row: f"{_triples(row)}\nText:",
        (),
        "bleu",
        ("dart",),
        ("GEM/dart", None),
        ("GEM/dart",),
    ),
}
"""The tasks by name."""


@dataclass(frozen=True)
class Example:
    """One prompt.

    Attributes
    ----------
    prompt:
        Text before the answer.
    label:
        Class, or -1 for free text.
    references:
        Good answers of a free-text task.
    """

    prompt: str
    label: int = -1
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskData:
    """A task's examples.

    Attributes
    ----------
    train, validation, test:
        Disjoint in their prompts.
    left_out:
        Training and validation rows that were left out because their prompt is also tested.
    source, sha256:
        Where the rows came from, in words, and the hash of all of them.
    """

    task: Task
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    left_out: int
    source: str
    sha256: str


def find_task(name: str) -> Task:
    """A task by name; UnknownName for none."""
    if name not in TASKS:
        raise UnknownName("task", name, TASKS)
    return TASKS[name]


def task_of_source(data: str) -> str | None:
    """The one task that a source is for, or ``None`` for a folder of several data sets.

    A hub name such as ``glue/cola``, or a folder whose own name is that of a task.
    """
    for name, task in TASKS.items():
        if data in task.short:
            return name
    path = Path(data)
    if (path / "train.jsonl").is_file():
        for name, task in TASKS.items():
            if path.resolve().name in task.folders:
                return name
    return None


def require_source(data: str) -> None:
    """Raise InvalidInput for a source that is neither a name nor a folder nor a data set of the hub that a task knows."""
    short = sorted(name for task in TASKS.values() for name in task.short)
    if data not in (SMALL, LOCAL, HUB, *short) and not Path(data).is_dir():
        raise InvalidInput(
            f"{data} is no folder and no known data set of the hub; known are {', '.join(short)}, "
            f"{SMALL!r}, {LOCAL!r} and {HUB!r}"
        )


def local_folder() -> Path:
    """The folder that the environment variable names; InvalidInput where it names none."""
    named = os.environ.get(VARIABLE)
    if not named:
        raise InvalidInput(
            f"data is {LOCAL!r}, the folder that {VARIABLE} names, but that is not set: set it or give --data FOLDER"
        )
    if not Path(named).is_dir():
        raise InvalidInput(f"{VARIABLE} is {named}, which is no folder")
    return Path(named)


def read_rows(name: str, data: str | None) -> tuple[Rows, str]:
    """(rows, where from in words) of a task.

    Parameters
    ----------
    data:
        A folder with the task's ``.jsonl`` files or with a folder of them for each task, ``"local"`` for the one that the
        environment variable names, a hub name, ``"hub"`` for the task's own name there, or ``"shipped"`` or ``None`` for the
        shipped sentences (polarity only).

    Raises
    ------
    InvalidInput
        There is no such source, nothing is shipped for the task, the source belongs to another task, a row does not fit, or
        it is a hub name and the package ``datasets`` is not installed.
    CheckpointError
        The folder does not hold the task, or a file in it is corrupt.
    """
    task = find_task(name)
    if data is None or data == SMALL:
        if name != "polarity":
            raise InvalidInput(f"no data for {name} is shipped: give --data FOLDER, or set {VARIABLE} and --data {LOCAL}")
        return read_folder(SHIPPED, task.schema), "shipped"
    if data == LOCAL:
        data = str(local_folder())
    if data == HUB or data in task.short:
        return read_hub(*task.hub, task.schema), "/".join(part for part in task.hub if part)
    other = task_of_source(data)
    if other is not None and other != name:
        raise InvalidInput(f"{data} holds the task {other}, but {name} was asked for; give task={other} or other data")
    require_source(data)
    folder = Path(data)
    if (folder / "train.jsonl").is_file():
        return read_folder(folder, task.schema), folder.name
    for inside in task.folders:
        if (folder / inside / "train.jsonl").is_file():
            return read_folder(folder / inside, task.schema), inside
    raise CheckpointError(f"{folder} has no train.jsonl and no folder {' or '.join(task.folders)} that has one")


def load_task(name: str, data: str | None = None) -> TaskData:
    """A task's examples in three disjoint splits; errors as :func:`read_rows`.

    Raises
    ------
    InvalidInput
        A split is empty.
    """
    task = find_task(name)
    rows, source = read_rows(name, data)
    splits = {split: [example(task, row) for row in part] for split, part in rows.splits.items()}
    if "test" not in splits:
        if "validation" not in splits:
            raise InvalidInput(f"{source} has neither validation.jsonl nor test.jsonl with labels; one of them is needed to test")
        splits["test"] = splits.pop("validation")
    if "validation" not in splits:
        everything = splits["train"]
        splits["validation"] = [e for e in everything if _tenth(e)]
        splits["train"] = [e for e in everything if not _tenth(e)]
    tested = {e.prompt for e in splits["test"]}
    validating = {e.prompt for e in splits["validation"]}
    train = tuple(e for e in splits["train"] if e.prompt not in tested and e.prompt not in validating)
    validation = tuple(e for e in splits["validation"] if e.prompt not in tested)
    for split, part in (("train", train), ("validation", validation)):
        if not part:
            raise InvalidInput(f"{source} leaves no row for {split}; give more training rows")
    left_out = len(splits["train"]) + len(splits["validation"]) - len(train) - len(validation)
    return TaskData(task, train, validation, tuple(splits["test"]), left_out, source, rows.sha256)


def example(task: Task, row: Row) -> Example:
    """A checked row as an example."""
    return Example(task.prompt(row), row.get("label", -1), tuple(row.get("references", ())))


def subset(examples: tuple[Example, ...], count: int) -> tuple[Example, ...]:
    """``count`` of the examples, the same everywhere: those whose prompts' hashes are least, in their order; 0 for all."""
    if not count or count >= len(examples):
        return examples
    ranked = sorted(range(len(examples)), key=lambda i: (_hash(examples[i]), i))
    return tuple(examples[i] for i in sorted(ranked[:count]))


def _hash(example: Example) -> int:
    return int.from_bytes(hashlib.sha256(example.prompt.encode()).digest(), "big")


def _tenth(example: Example) -> bool:
    return _hash(example) % 10 == 0
