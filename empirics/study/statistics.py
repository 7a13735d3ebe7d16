"""Statistics of experiments: intervals of means, paired differences and ratios, equivalence, and several comparisons at once.

For n independent values with mean m and standard deviation s, Student's interval at confidence q is m ± t s/√n, where t is the
(1 + q)/2 quantile with n − 1 degrees of freedom. Ratios are treated as differences of logarithms. Every experiment uses these and
no others; their coverage is simulated by ``python -m empirics coverage``.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ..errors import InvalidInput

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval.

    Attributes
    ----------
    mean, low, high:
        In the values' unit; ``low`` and ``high`` are ``None`` without a spread: for one value, or equal ones.
    half:
        Half of the interval's width.
    standardised:
        Mean over standard deviation (Cohen's d of paired values), ``None`` without a spread.
    count:
        Number of values.
    """

    mean: float
    half: float | None
    standardised: float | None
    count: int

    @property
    def low(self) -> float | None:
        """Lower end."""
        return None if self.half is None else self.mean - self.half

    @property
    def high(self) -> float | None:
        """Upper end."""
        return None if self.half is None else self.mean + self.half


def quantile(confidence: float, count: int) -> float:
    """Student's t for a two-sided interval of the mean of ``count`` values.

    Raises
    ------
    InvalidInput
        A confidence outside (0, 1), or fewer than two values.
    """
    if not 0 < confidence < 1:
        raise InvalidInput(f"confidence is {confidence!r}, expected a number between 0 and 1")
    if count < 2:
        raise InvalidInput(f"an interval needs two values at least, {count} given")
    return float(stats.t.ppf(0.5 + confidence / 2, count - 1))


def interval(values: Sequence[float], confidence: float, *, equal: bool = False) -> Interval:
    """Student's t interval of the mean of independent values.

    Parameters
    ----------
    equal:
        Whether equal values have an interval, of no width. Scores that are counts have none: two equal ones say nothing about
        their spread.

    Raises
    ------
    InvalidInput
        No values.
    """
    if not values:
        raise InvalidInput("no values: a mean needs one at least")
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, None, None, 1)
    spread = statistics.stdev(values)
    if spread == 0:
        return Interval(mean, 0.0 if equal else None, None, len(values))
    return Interval(mean, quantile(confidence, len(values)) * spread / len(values) ** 0.5, mean / spread, len(values))


def tasks_random(groups: Mapping[Key, Sequence[float]], confidence: float) -> Interval:
    """Mean over tasks that stand for others: Student's interval of the T task means, with T − 1 degrees of freedom.

    For as many seeds in every task this is the exact interval of the mixed model y_ts = μ + a_t + e_ts with random tasks and
    seeds nested in them.

    Parameters
    ----------
    groups:
        Values of each task.
    """
    return interval([interval(values, confidence).mean for values in groups.values()], confidence, equal=True)


def tasks_fixed(groups: Mapping[Key, Sequence[float]], confidence: float) -> Interval:
    """Mean of the means of these tasks and no others: only the spread between seeds counts, task by task.

    With task means m_t of n_t values of variance s_t²: m = Σ m_t/T, its variance v = Σ s_t²/(n_t T²), and Welch's degrees of
    freedom v² / Σ (s_t²/(n_t T²))²/(n_t − 1).

    Raises
    ------
    InvalidInput
        No task, or one of a single value.
    """
    if not groups or any(len(values) < 2 for values in groups.values()):
        raise InvalidInput("every task needs two values at least")
    mean = statistics.fmean(statistics.fmean(values) for values in groups.values())
    parts = [(statistics.variance(v) / len(v) / len(groups) ** 2, len(v) - 1) for v in groups.values()]
    count = sum(map(len, groups.values()))
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return Interval(mean, None, None, count)
    freedom = variance**2 / sum(part**2 / below for part, below in parts)
    half = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * variance**0.5
    return Interval(mean, half, mean / (variance * count) ** 0.5, count)


def paired(better: Mapping[Key, float], worse: Mapping[Key, float]) -> dict[Key, float]:
    """Better minus worse for every key that both have, in the order of the keys of ``better``."""
    return {key: value - worse[key] for key, value in better.items() if key in worse}


@dataclass(frozen=True)
class Ratio:
    """A geometric mean of ratios with its interval; ``log`` is the interval of the logarithms."""

    log: Interval

    @property
    def mean(self) -> float:
        """Geometric mean."""
        return math.exp(self.log.mean)

    @property
    def low(self) -> float | None:
        """Lower end."""
        return None if self.log.half is None else math.exp(self.log.mean - self.log.half)

    @property
    def high(self) -> float | None:
        """Upper end."""
        return None if self.log.half is None else math.exp(self.log.mean + self.log.half)


def ratio(better: Mapping[Key, float], worse: Mapping[Key, float], confidence: float) -> Ratio | None:
    """Geometric mean of better / worse over the keys that both have, zeros left out; ``None`` below two pairs.

    Raises
    ------
    InvalidInput
        A negative value.
    """
    pairs = [(better[key], worse[key]) for key in better if key in worse]
    if any(value < 0 for pair in pairs for value in pair):
        raise InvalidInput("a ratio of negative values has no logarithm")
    logs = [math.log(first / second) for first, second in pairs if first and second]
    return Ratio(interval(logs, confidence, equal=True)) if len(logs) > 1 else None


def geometric_mean(values: Sequence[float]) -> float:
    """Of positive values; of one value that value itself, and the plain mean where one is not positive."""
    if len(values) == 1 or min(values) <= 0:
        return sum(values) / len(values)
    return math.exp(sum(map(math.log, values)) / len(values))


def p_value(values: Sequence[float], null: float = 0.0) -> float | None:
    """Two-sided p of Student's t test of ``mean = null``; ``None`` without a spread."""
    found = interval(values, 0.95)
    if found.standardised is None:
        return None
    spread = statistics.stdev(values)
    return float(2 * stats.t.sf(abs(found.mean - null) / (spread / len(values) ** 0.5), len(values) - 1))


def level(values: Sequence[float], margin: float, alpha: float = 0.05) -> bool:
    """Whether the mean lies within ± margin: two one-sided tests at ``alpha`` (TOST).

    It does where the interval at confidence 1 − 2 alpha lies inside (−margin, margin). Equal values have no spread and decide
    nothing.

    Raises
    ------
    InvalidInput
        A margin that is not positive, or an alpha outside (0, 1/2).
    """
    if not margin > 0:
        raise InvalidInput(f"margin is {margin!r}, expected a positive number")
    if not 0 < alpha < 0.5:
        raise InvalidInput(f"alpha is {alpha!r}, expected a number between 0 and 1/2")
    found = interval(values, 1 - 2 * alpha)
    return found.low is not None and found.high is not None and -margin < found.low and found.high < margin


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """p values adjusted for their number (Holm 1979): the family's error is at most alpha where those below alpha are rejected.

    Sorted p_(1) ≤ … ≤ p_(m) become max over j ≤ i of min(1, (m − j + 1) p_(j)).

    Raises
    ------
    InvalidInput
        A p value outside 0..1.
    """
    for key, p in p_values.items():
        if not 0 <= p <= 1:
            raise InvalidInput(f"the p value of {key} is {p!r}, expected a number in 0..1")
    adjusted: dict[Key, float] = {}
    largest = 0.0
    for place, key in enumerate(sorted(p_values, key=lambda k: p_values[k])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[key]))
        adjusted[key] = largest
    return {key: adjusted[key] for key in p_values}


def pairs_needed(effect: float, spread: float, confidence: float = 0.95, power: float = 0.8) -> int | None:
    """Pairs with which an effect of this size shows with that power; ``None`` for no effect, and above a million.

    Parameters
    ----------
    effect, spread:
        Mean and standard deviation of the paired differences.
    """
    if effect == 0 or not math.isfinite(effect):
        return None
    if spread == 0:
        return 2

    def shows(count: int) -> bool:
        shift = abs(effect) / spread * count**0.5
        return bool(stats.nct.sf(quantile(confidence, count), count - 1, shift) >= power)

    low, high = 2, 2
    while not shows(high):
        low, high = high, 2 * high
        if high > 1_000_000:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high if not shows(low) else low


SHAPES: Mapping[str, Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]] = {
    "normal": lambda rng, size: rng.standard_normal(size),
    "skewed": lambda rng, size: rng.exponential(size=size) - 1,
    "collapses": lambda rng, size: (rng.standard_normal(size) - 5.0 * (rng.random(size) < 0.1) + 0.5) / 1.803,
}
"""Distributions of mean 0 and standard deviation 1: ``collapses`` loses five standard deviations in one run of ten."""


def coverage(
    analysis: str,
    count: int,
    confidence: float,
    repeats: int,
    seed: int,
    *,
    tasks: int = 1,
    between: float = 0.0,
    shape: str = "normal",
) -> float:
    """Share of simulated experiments whose interval holds the true mean.

    Parameters
    ----------
    analysis:
        ``pooled``: all values as if independent (:func:`interval`), ``random`` (:func:`tasks_random`) or ``fixed``
        (:func:`tasks_fixed`, whose true mean is that of the tasks drawn).
    count:
        Values of each task.
    tasks, between:
        Number of tasks, each with an effect of its own, normal with this standard deviation (that of one value is 1).
    shape:
        One of :data:`SHAPES`: values around their task's effect.

    Raises
    ------
    InvalidInput
        No such analysis or shape.
    """
    if shape not in SHAPES:
        raise InvalidInput(f"shape {shape!r} is unknown; choose {', '.join(SHAPES)}")
    rng = np.random.default_rng(seed)
    noise = SHAPES[shape](rng, (repeats, tasks, count))
    effects = between * rng.standard_normal((repeats, tasks, 1))
    values = noise + effects
    truth, centre = np.zeros(repeats), values.mean(axis=(1, 2))
    if analysis == "pooled":
        flat = values.reshape(repeats, -1)
        half = quantile(confidence, flat.shape[1]) * flat.std(axis=1, ddof=1) / flat.shape[1] ** 0.5
    elif analysis == "random":
        half = quantile(confidence, tasks) * values.mean(axis=2).std(axis=1, ddof=1) / tasks**0.5
    elif analysis == "fixed":
        truth = effects.mean(axis=(1, 2))
        parts = values.var(axis=2, ddof=1) / count / tasks**2
        variance = parts.sum(axis=1)
        freedom = variance**2 / (parts**2).sum(axis=1) * (count - 1)
        half = stats.t.ppf(0.5 + confidence / 2, freedom) * variance**0.5
    else:
        raise InvalidInput(f"analysis {analysis!r} is unknown; choose pooled, random or fixed")
    return float(np.mean(np.abs(centre - truth) <= half))
