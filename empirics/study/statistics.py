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
from typing import Literal, TypeVar

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
    error, freedom:
        Standard error of the mean and Student's degrees of freedom, ``None`` without a spread.
    """

    mean: float
    half: float | None
    standardised: float | None
    count: int
    error: float | None = None
    freedom: float | None = None

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
    half = quantile(confidence, len(values)) * spread / len(values) ** 0.5
    return Interval(mean, half, mean / spread, len(values), spread / len(values) ** 0.5, len(values) - 1)


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


@dataclass(frozen=True)
class Sampling:
    """What the sampling of a task's test rows adds to the variance of its mean (:func:`.rows.shared_variance`).

    Attributes
    ----------
    variance:
        In the values' unit, squared.
    rows:
        Number of rows that it was estimated from.
    """

    variance: float
    rows: int


def tasks_fixed(
    groups: Mapping[Key, Sequence[float]], confidence: float, sampling: Mapping[Key, Sampling] | None = None
) -> Interval:
    """Mean of the means of these tasks and no others: the spread between seeds counts, task by task, and that between rows.

    With task means m_t of n_t values of variance s_t², and r_t the variance that the sampling of m_t's q_t test rows adds:
    m = Σ m_t/T, its variance v = Σ (s_t²/n_t + r_t)/T², and Welch's and Satterthwaite's degrees of freedom

        v² / Σ ((s_t²/(n_t T²))²/(n_t − 1) + (r_t/T²)²/(q_t − 1)).

    Parameters
    ----------
    groups:
        Values of each task, one a seed.
    sampling:
        r_t and q_t of each task; left out, the rows are taken as all that there are.

    Raises
    ------
    InvalidInput
        No task, or one of a single value; sampling that lacks a task, or is of fewer than two rows.
    """
    if not groups or any(len(values) < 2 for values in groups.values()):
        raise InvalidInput("every task needs two values at least")
    mean = statistics.fmean(statistics.fmean(values) for values in groups.values())
    parts = [(statistics.variance(v) / len(v) / len(groups) ** 2, len(v) - 1) for v in groups.values()]
    if sampling is not None:
        if missing := [key for key in groups if key not in sampling or sampling[key].rows < 2]:
            raise InvalidInput(f"the sampling of test rows is not known of {missing[0]}, or of fewer than two rows")
        parts += [(sampling[key].variance / len(groups) ** 2, sampling[key].rows - 1) for key in groups]
    count = sum(map(len, groups.values()))
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return Interval(mean, None, None, count)
    freedom = variance**2 / sum(part**2 / below for part, below in parts)
    half = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * variance**0.5
    return Interval(mean, half, mean / (variance * count) ** 0.5, count, variance**0.5, freedom)


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


def p_of(found: Interval, null: float = 0.0) -> float | None:
    """Two-sided p of ``mean = null`` that belongs to an interval: 2 P(T > |m − null| / error); ``None`` without a spread."""
    if found.error is None or found.freedom is None:
        return None
    return float(2 * stats.t.sf(abs(found.mean - null) / found.error, found.freedom))


def level_p(found: Interval, margin: float) -> float | None:
    """p of two one-sided tests that the mean lies outside ± margin: max of P(T > (m + margin)/e) and P(T > (margin − m)/e).

    Below alpha, the interval at confidence 1 − 2 alpha lies inside (−margin, margin): the two are level. ``None`` without a
    spread.

    Raises
    ------
    InvalidInput
        A margin that is not positive.

    Source: Schuirmann 1987, J. Pharmacokinetics and Biopharmaceutics 15, 657-680.
    """
    if not margin > 0:
        raise InvalidInput(f"margin is {margin!r}, expected a positive number")
    if found.error is None or found.freedom is None:
        return None
    ends = ((found.mean + margin) / found.error, (margin - found.mean) / found.error)
    return float(max(stats.t.sf(end, found.freedom) for end in ends))


def holm(p_values: Mapping[Key, float | None]) -> dict[Key, float]:
    """p values adjusted for their number (Holm 1979): the family's error is at most alpha where those below alpha are rejected.

    Sorted p_(1) ≤ … ≤ p_(m) become max over j ≤ i of min(1, (m − j + 1) p_(j)). One that is not known yet, ``None``, counts as 1:
    once it is known it can only lower the adjusted values of the others, so that nothing that was rejected is taken back.

    Raises
    ------
    InvalidInput
        A p value outside 0..1.
    """
    known = {key: 1.0 if p is None else p for key, p in p_values.items()}
    for key, p in known.items():
        if not 0 <= p <= 1:
            raise InvalidInput(f"the p value of {key} is {p!r}, expected a number in 0..1")
    adjusted: dict[Key, float] = {}
    largest = 0.0
    for place, key in enumerate(sorted(known, key=lambda k: known[k])):
        largest = max(largest, min(1.0, (len(known) - place) * known[key]))
        adjusted[key] = largest
    return {key: adjusted[key] for key in known}


@dataclass(frozen=True)
class Needed:
    """How many seeds or tasks would decide: that there is a difference, or that the two are level."""

    count: int
    shows: Literal["difference", "level"]


def needed(
    effect: float,
    error: Callable[[int], tuple[float, float]],
    margin: float,
    alpha: float = 0.05,
    level_alpha: float = 0.05,
    power: float = 0.8,
    most: int = 10_000,
) -> Needed | None:
    """The least count with which a true effect of this size would show as a difference, or as level, with that power.

    The difference shows where T' > t, with T' of Student's noncentral distribution of shift |effect|/e and t of a two-sided test
    at ``alpha``. Level shows where the estimate lies within ± (margin − t' e), with t' of one-sided tests at ``level_alpha``,
    where e is taken as known.

    Parameters
    ----------
    effect:
        As it was estimated.
    error:
        Count -> (standard error e, degrees of freedom) that as many seeds or tasks would give; e falls with the count.

    Returns
    -------
    ``None`` where not even ``most`` would: the effect is near the margin, or other variance does not fall with the count.
    """

    def differs(count: int) -> bool:
        e, freedom = error(count)
        critical = stats.t.ppf(1 - alpha / 2, freedom)
        return bool(stats.nct.sf(critical, freedom, abs(effect) / e) >= power) if effect else False

    def levels(count: int) -> bool:
        e, freedom = error(count)
        room = margin - stats.t.ppf(1 - level_alpha, freedom) * e
        return bool(room > 0 and stats.norm.cdf((room - effect) / e) - stats.norm.cdf((-room - effect) / e) >= power)

    as_difference, as_level = _least(differs, most), _least(levels, most)
    found = [] if as_difference is None else [Needed(as_difference, "difference")]
    found += [] if as_level is None else [Needed(as_level, "level")]
    return min(found, key=lambda n: n.count, default=None)


def _least(shows: Callable[[int], bool], most: int) -> int | None:
    """The least count of 2..most for which ``shows`` holds, which stays true once it is."""
    if not shows(most):
        return None
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high


def seeds_error(
    groups: Mapping[Key, Sequence[float]], sampling: Mapping[Key, Sampling] | None = None
) -> Callable[[int], tuple[float, float]]:
    """Error and degrees of freedom of :func:`tasks_fixed` with another number of seeds a task, for :func:`needed`."""
    spread = np.array([statistics.variance(values) for values in groups.values()])
    rows = [] if sampling is None else [sampling[key] for key in groups]

    def error(count: int) -> tuple[float, float]:
        seeds, shared = spread / count / len(groups) ** 2, [r.variance / len(groups) ** 2 for r in rows]
        variance = float(seeds.sum()) + sum(shared)
        below = float((seeds**2).sum()) / (count - 1) + sum(v**2 / (r.rows - 1) for v, r in zip(shared, rows, strict=True))
        return variance**0.5, variance**2 / below

    return error


def tasks_error(groups: Mapping[Key, Sequence[float]]) -> Callable[[int], tuple[float, float]]:
    """Error and degrees of freedom of :func:`tasks_random` with another number of tasks, for :func:`needed`."""
    spread = statistics.stdev(statistics.fmean(values) for values in groups.values())
    return lambda count: (spread / count**0.5, float(count - 1))


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
    "collapses far": lambda rng, size: (rng.standard_normal(size) - 20.0 * (rng.random(size) < 0.1) + 2.0) / 37**0.5,
}
"""Distributions of mean 0 and standard deviation 1: ``collapses`` loses five of the other runs' standard deviations in one run of
ten, ``collapses far`` twenty of them."""


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
