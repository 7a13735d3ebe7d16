"""What a counted run keeps of every test row, so that rows can be drawn again: written by the runs, read by the verdicts.

A result of ``base_benchmark`` that did not only tune has

    held_out["test_score"]     share in [-1, 1]: Matthews' correlation, accuracy, or BLEU / 100
    held_out["test_loss"]      mean over the answers' tokens, in nats

and in ``metrics``, by the kind of its task,

    classes      "true" and "predicted": one character for each test row, the class, or "-" for a prediction that is no class
    free text    "bleu_rows": for each generated row [hypothesis length, reference length, right n-grams of order 1 to 4, all
                 n-grams of order 1 to 4], sacrebleu's counts; a corpus's BLEU is a function of their sums

Rows stand in the order of the test split, the same one in all runs with one ``data_hash``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import CheckpointError, InvalidInput, MissingPackage
from ...study.results import Result

TRUE, PREDICTED, BLEU_ROWS = "true", "predicted", "bleu_rows"
"""Keys of ``metrics``."""

NO_CLASS = "-"
"""Character of a prediction that is no class; -1 as a number."""

ORDERS = 4
"""Longest n-grams that BLEU counts."""

COUNTS = 2 + 2 * ORDERS
"""Numbers of a row in ``bleu_rows``."""

Classes = NDArray[np.int64]


@dataclass(frozen=True)
class Outcomes:
    """The test rows of one run.

    Attributes
    ----------
    true, predicted:
        (n,) classes 0, 1, ..., and -1 for a prediction that is no class; ``None`` for free text.
    bleu:
        (n, 10) counts in the order of ``bleu_rows``; ``None`` for classes.
    """

    true: Classes | None
    predicted: Classes | None
    bleu: Classes | None

    def __len__(self) -> int:
        rows = self.bleu if self.true is None else self.true
        assert rows is not None
        return len(rows)


def text_of(classes: Sequence[int]) -> str:
    """One character for each class 0..9, "-" for -1; InvalidInput for other numbers."""
    for value in classes:
        if not -1 <= value <= 9:
            raise InvalidInput(f"class {value} has no character; records hold classes 0..9 and -1 for none")
    return "".join(NO_CLASS if value < 0 else str(value) for value in classes)


def classes_of(text: str) -> Classes:
    """The classes of :func:`text_of`; InvalidInput for another character."""
    for character in text:
        if character not in "0123456789-" or not character.isascii():
            raise InvalidInput(f"{character!r} is no class; expected the digits 0..9, or {NO_CLASS!r} for none")
    return np.array([-1 if character == NO_CLASS else int(character) for character in text], dtype=np.int64)


def outcomes(result: Result) -> Outcomes:
    """The test rows of a finished run.

    Raises
    ------
    CheckpointError
        It holds none (a run that only tuned), or what it holds is damaged.
    """
    where = f"{result.experiment}, {result.config.get('task')}, {result.config.get('method')}, seed {result.seed}"
    found = result.metrics
    try:
        if BLEU_ROWS in found:
            counts = np.array(found[BLEU_ROWS], dtype=np.int64)
            if counts.ndim != 2 or counts.shape[1] != COUNTS or not len(counts) or (counts < 0).any():
                raise CheckpointError(f"{BLEU_ROWS} of {where} has shape {counts.shape}, expected rows of {COUNTS} counts")
            return Outcomes(None, None, counts)
        true, predicted = classes_of(found[TRUE]), classes_of(found[PREDICTED])
    except (KeyError, TypeError, ValueError, InvalidInput) as error:
        raise CheckpointError(f"{where} holds no test rows ({error}); delete that run's file to repeat it") from error
    if len(true) != len(predicted) or not len(true) or (true < 0).any():
        raise CheckpointError(f"{where} holds {len(predicted)} predictions for {len(true)} labels; delete its file to repeat it")
    return Outcomes(true, predicted, None)


def class_record(true: Sequence[int], predicted: Sequence[int]) -> dict[str, Any]:
    """The entries of ``metrics`` for a task with classes."""
    return {TRUE: text_of(true), PREDICTED: text_of(predicted)}


def bleu_record(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The entries of ``metrics`` for generated texts, each with one reference or more.

    Raises
    ------
    MissingPackage
        sacrebleu is not installed.
    InvalidInput
        An output without a reference.
    """
    try:
        from sacrebleu.metrics import BLEU
    except ModuleNotFoundError as error:
        raise MissingPackage("sacrebleu", "empirics", "it counts the n-grams of BLEU") from error
    bleu, rows = BLEU(), []
    for output, texts in zip(outputs, references, strict=True):
        if not texts:
            raise InvalidInput("an output has no reference; give each at least one")
        found = bleu.corpus_score([output], [[text] for text in texts])
        rows.append([found.sys_len, found.ref_len, *found.counts, *found.totals])
    return {BLEU_ROWS: [[int(n) for n in row] for row in rows]}


def corpus_bleu(counts: NDArray[np.int64]) -> float:
    """BLEU in 0..100 of rows (n, 10), or of their sum (10,), as sacrebleu computes it (exponential smoothing).

    Raises
    ------
    MissingPackage
        sacrebleu is not installed.
    """
    try:
        from sacrebleu.metrics import BLEU
    except ModuleNotFoundError as error:
        raise MissingPackage("sacrebleu", "empirics", "it computes BLEU") from error
    hypothesis, reference, *grams = (int(n) for n in counts.reshape(-1, COUNTS).sum(0))
    return float(BLEU.compute_bleu(grams[:ORDERS], grams[ORDERS:], hypothesis, reference, smooth_method="exp").score)
