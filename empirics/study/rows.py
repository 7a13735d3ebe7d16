"""Scores of test rows from sufficient statistics, and what sampling these rows adds to the variance of a difference.

All runs of a task are measured on the same rows. A row that favours one method does so in every run, so more seeds do not average
it away. The rows are drawn again with replacement, all runs on the same draw, and every score is computed anew: the covariance
of two runs' differences is the variance that they share through the rows.

Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap; BLEU as in sacrebleu (Post 2018, arXiv 1804.08771).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput

Numbers = NDArray[np.float64]
Counts = NDArray[np.int64]


class Rows(Protocol):
    """The test rows of several runs of one method on one task."""

    @property
    def count(self) -> int:
        """Number of rows, n."""

    def scores(self, weights: Numbers) -> Numbers:
        """Score of each of S runs in points (0..100) where row i counts ``weights[r, i]`` times: (R, n) -> (R, S)."""


def draws(rows: int, repeats: int, seed: int) -> Numbers:
    """How often each row is drawn, (repeats, rows): multinomial with equal chances, the same for the same seed.

    Raises
    ------
    InvalidInput
        No row, or fewer than two draws.
    """
    if rows < 1 or repeats < 2:
        raise InvalidInput(f"{rows} rows and {repeats} draws given, expected a row and two draws at least")
    return _draws(rows, repeats, seed)


@cache
def _draws(rows: int, repeats: int, seed: int) -> Numbers:
    found = np.random.default_rng(seed).multinomial(rows, np.full(rows, 1 / rows), repeats).astype(np.float64)
    found.flags.writeable = False
    return found


def each_once(rows: int) -> Numbers:
    """Weights of the rows as they are, (1, rows)."""
    return np.ones((1, rows))


def shared_variance(differences: Numbers) -> float:
    """Variance of a mean over runs that is due to the rows, which the runs share: it stays however many runs there are.

    With d*_rs the difference of run s on draw r, it is the mean covariance of two runs,

        Σ_{s ≠ s'} Cov_r(d*_rs, d*_rs') / (S (S - 1)),

    and 0 where that is negative. What a row does to a single run is in the spread between runs already.

    Parameters
    ----------
    differences:
        (draws, S).

    Raises
    ------
    InvalidInput
        Fewer than two runs.
    """
    runs = differences.shape[1]
    if runs < 2:
        raise InvalidInput("what runs share needs two runs at least")
    of_sum = float(np.var(differences.sum(axis=1), ddof=1))
    alone = float(np.var(differences, axis=0, ddof=1).sum())
    return max(0.0, (of_sum - alone) / (runs * (runs - 1)))


@dataclass(frozen=True)
class Accuracy:
    """Share of right predictions, times 100.

    Attributes
    ----------
    right:
        (n, S), 1 where run s is right on row i.
    """

    right: Numbers

    @classmethod
    def of(cls, truth: Sequence[int], predicted: Sequence[Sequence[int]]) -> Accuracy:
        """From the classes of n rows and the predictions of S runs; InvalidInput where their numbers differ."""
        wanted, found = _aligned(truth, predicted)
        return cls((found == wanted[:, None]).astype(np.float64))

    @property
    def count(self) -> int:
        """Number of rows."""
        return self.right.shape[0]

    def scores(self, weights: Numbers) -> Numbers:
        """See :class:`Rows`."""
        return 100 * (weights @ self.right) / weights.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Matthews:
    """Matthews' correlation times 100, in its form for several classes: with s rows, c right ones, p_k predictions and t_k truths

        100 (c s - Σ_k p_k t_k) / √((s² - Σ_k p_k²)(s² - Σ_k t_k²)),

    and 0 where either side has one class only. Source: Gorodkin 2004, Computational Biology and Chemistry 28, 367-374.

    Attributes
    ----------
    truth:
        (n,).
    predicted:
        (n, S).
    """

    truth: Counts
    predicted: Counts

    @classmethod
    def of(cls, truth: Sequence[int], predicted: Sequence[Sequence[int]]) -> Matthews:
        """From the classes of n rows and the predictions of S runs; InvalidInput where their numbers differ."""
        return cls(*_aligned(truth, predicted))

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.truth)

    def scores(self, weights: Numbers) -> Numbers:
        """See :class:`Rows`."""
        total = weights.sum(axis=1, keepdims=True)
        right = weights @ (self.predicted == self.truth[:, None])
        both, of_predicted, of_truth = np.zeros_like(right), np.zeros_like(right), np.zeros_like(total)
        for k in np.unique(np.concatenate([self.truth, self.predicted.ravel()])):
            p, t = weights @ (self.predicted == k), weights @ (self.truth == k)[:, None]
            both, of_predicted, of_truth = both + p * t, of_predicted + p**2, of_truth + t**2
        spread = (total**2 - of_predicted) * (total**2 - of_truth)
        return 100 * np.divide(right * total - both, np.sqrt(spread), out=np.zeros_like(right), where=spread > 0)


@dataclass(frozen=True)
class Bleu:
    """Corpus BLEU (0..100) as sacrebleu computes it by default: four orders, exponential smoothing of orders without a match.

    Attributes
    ----------
    statistics:
        (n, S, 10): length of the output and of the closest reference, then matches and n-grams of orders 1 to 4, in sacrebleu's
        order of a segment's statistics.
    """

    statistics: Numbers

    @classmethod
    def of(cls, runs: Sequence[Sequence[Sequence[int]]]) -> Bleu:
        """From S runs of n rows of 10 counts; InvalidInput where they have other shapes."""
        shapes = {np.shape(run) for run in runs}
        if len(shapes) != 1 or len(next(iter(shapes))) != 2 or next(iter(shapes))[1] != 10:
            raise InvalidInput(f"BLEU needs 10 counts a row and as many rows in every run, got {sorted(map(str, shapes))}")
        return cls(np.stack([np.asarray(run, dtype=np.float64) for run in runs], axis=1))

    @property
    def count(self) -> int:
        """Number of rows."""
        return self.statistics.shape[0]

    def scores(self, weights: Numbers) -> Numbers:
        """See :class:`Rows`."""
        rows, runs, _ = self.statistics.shape
        sums = (weights @ self.statistics.reshape(rows, -1)).reshape(len(weights), runs, 10)
        made, wanted, matches, grams = sums[..., 0], sums[..., 1], sums[..., 2:6], sums[..., 6:10]
        halvings = np.cumsum((matches == 0) & (grams > 0), axis=-1)  # each order without a match halves once more
        smoothed = np.where(matches > 0, matches, 0.5**halvings)
        valid = (matches.sum(axis=-1) > 0) & (grams > 0).all(axis=-1)
        logs = np.log(np.divide(smoothed, grams, out=np.ones_like(grams), where=grams > 0)).mean(axis=-1)
        lengths = np.divide(wanted, made, out=np.where(wanted > 0, np.inf, 1.0), where=made > 0)
        return np.where(valid, 100 * np.exp(logs + np.minimum(0.0, 1 - lengths)), 0.0)


def _aligned(truth: Sequence[int], predicted: Sequence[Sequence[int]]) -> tuple[Counts, Counts]:
    """(n,) and (n, S)."""
    lengths = {len(truth), *(len(run) for run in predicted)}
    if len(lengths) != 1 or not len(predicted) or not len(truth):
        raise InvalidInput(f"classes and predictions of {sorted(lengths)} rows given, expected as many of all and at least one")
    return np.asarray(truth, dtype=np.int64), np.array(predicted, dtype=np.int64).T
