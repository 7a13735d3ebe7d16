"""Scores of predictions. A prediction that is no class is wrong, never left out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...errors import InvalidInput, MissingPackage

NO_CLASS = -1
"""A predicted token that is no class."""


def accuracy(truth: Sequence[int], predicted: Sequence[int]) -> float:
    """Share of predictions that are right."""
    _same_length(truth, predicted)
    return sum(t == p for t, p in zip(truth, predicted, strict=True)) / len(truth)


def matthews(truth: Sequence[int], predicted: Sequence[int]) -> float:
    """Matthews' correlation in its form for several classes, in [-1, 1]:

        (c s - Σ_k p_k t_k) / √((s² - Σ_k p_k²)(s² - Σ_k t_k²))

    with s predictions, c right ones, p_k predictions and t_k truths of class k. :data:`NO_CLASS` is a class of its own among
    the predictions; 0 where either side has one class only.

    Source: Gorodkin 2004, Computational Biology and Chemistry 28, 367-374.
    """
    _same_length(truth, predicted)
    classes = sorted({*truth, *predicted})
    t = np.array([sum(v == k for v in truth) for k in classes])
    p = np.array([sum(v == k for v in predicted) for k in classes])
    total = len(truth)
    right = sum(a == b for a, b in zip(truth, predicted, strict=True))
    spread = int(total**2 - (p**2).sum()) * int(total**2 - (t**2).sum())
    return 0.0 if spread == 0 else float(right * total - (p * t).sum()) / math.sqrt(spread)


def bleu_and_chrf(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, float]:
    """(BLEU, chrF) of a corpus in 0..100, with sacrebleu's defaults (13a tokens, mixed case, exponential smoothing).

    Parameters
    ----------
    references:
        For each output one text or more; the numbers may differ.

    Raises
    ------
    MissingPackage
        sacrebleu is not installed.
    InvalidInput
        Nothing to score, or an output without a reference.

    Source: Papineni et al. 2002 and Popović 2015, as in Post 2018, arXiv 1804.08771.
    """
    _same_length(outputs, references)
    if not all(references):
        raise InvalidInput("an output has no reference; give each at least one")
    try:
        import sacrebleu
    except ModuleNotFoundError as error:
        raise MissingPackage("sacrebleu", "empirics", "it computes BLEU and chrF") from error
    # sacrebleu takes one list for each position; a text repeated in the free ones changes neither score.
    most = max(map(len, references))
    streams = [[texts[min(i, len(texts) - 1)] for texts in references] for i in range(most)]
    return float(sacrebleu.corpus_bleu(outputs, streams).score), float(sacrebleu.corpus_chrf(outputs, streams).score)


def majority(train: Sequence[int], count: int) -> list[int]:
    """``count`` predictions of the most frequent training class, the lower one of equals."""
    if not train:
        raise InvalidInput("no training label to take the majority of; give training rows")
    return [min(set(train), key=lambda k: (-train.count(k), k))] * count


def _same_length(left: Sequence[object], right: Sequence[object]) -> None:
    if len(left) != len(right) or not left:
        raise InvalidInput(f"{len(left)} and {len(right)} values given, expected as many of either and at least one")
