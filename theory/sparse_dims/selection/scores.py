"""Selection scores from a warm-up run, and precision and recall against the states that have to change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from theory.core.errors import InvalidInput, UnknownName
from theory.core.names import suggestion

from .truth import Index, TrueDimensions
from .warmup import Real, WarmUp, loss

Score = Callable[[WarmUp, Real, Real, np.random.Generator], Real]


def change_of_a(run: WarmUp, x: Real, y: Real, rng: np.random.Generator) -> Real:
    """|exp(dt A) after − exp(dt A) before|, the modulus of a difference."""
    return np.asarray(np.abs(run.after.decay - run.before.decay))


def change_of_log_A(run: WarmUp, x: Real, y: Real, rng: np.random.Generator) -> Real:
    """|log(−A) after − before|: what moves when A_log is trained."""
    return np.asarray(np.abs(run.after.log_A - run.before.log_A))


def gradient(run: WarmUp, x: Real, y: Real, rng: np.random.Generator) -> Real:
    """√((∂loss/∂log A)² + (∂loss/∂c)²) at the frozen parameters."""
    return np.asarray(np.hypot(run.gradient_log_A, run.gradient_c))


def loss_ablation(run: WarmUp, x: Real, y: Real, rng: np.random.Generator) -> Real:
    """Loss after warm-up with one state put back to its frozen values, minus the loss after warm-up."""
    out = np.empty(run.before.log_A.shape)
    base = loss(run.after, x, y)
    for index in np.ndindex(out.shape):
        log_A, c = run.after.log_A.copy(), run.after.c.copy()
        log_A[index], c[index] = run.before.log_A[index], run.before.c[index]
        out[index] = loss(replace(run.after, log_A=log_A, c=c), x, y) - base
    return out


def magnitude(run: WarmUp, x: Real, y: Real, rng: np.random.Generator) -> Real:
    """|r| = |c dt| of the frozen state; it looks at neither data nor warm-up."""
    return np.asarray(np.abs(run.before.residue))


def random_score(run: WarmUp, x: Real, y: Real, rng: np.random.Generator) -> Real:
    """Independent uniform numbers."""
    return rng.random(run.before.log_A.shape)


SCORES: Mapping[str, Score] = {
    "change_of_a": change_of_a,
    "change_of_log_A": change_of_log_A,
    "gradient": gradient,
    "loss_ablation": loss_ablation,
    "magnitude": magnitude,
    "random": random_score,
}


def score(name: str, run: WarmUp, x: Real, y: Real, rng: np.random.Generator) -> Real:
    """A score by name, shape (layers, D, N); UnknownName lists the nearest names."""
    if name not in SCORES:
        raise UnknownName(f"no score named {name!r}; {suggestion(name, SCORES)}")
    return SCORES[name](run, x, y, rng)


def by_channel(values: Real) -> Real:
    """Channel scores: the Euclidean norm over the states, shape (layers, D)."""
    return np.asarray(np.sqrt(np.sum(values * values, axis=-1)))


def top(values: NDArray[np.float64], size: int, rng: np.random.Generator) -> frozenset[Index]:
    """The ``size`` largest entries; ties are broken at random, so that a constant score is a random pick."""
    if not 1 <= size <= values.size:
        raise InvalidInput(f"size = {size} must be in 1..{values.size}")
    if not np.all(np.isfinite(values)):
        raise InvalidInput("scores must be finite; the warm-up run diverged, lower its learning rate")
    flat = values.ravel()
    order = np.lexsort((rng.random(flat.size), -flat))[:size]
    return frozenset(tuple(int(i) for i in np.unravel_index(k, values.shape)) for k in order)


@dataclass(frozen=True)
class Hit:
    """One selection against the truth: ``hits`` of ``chosen`` picked are among the ``wanted`` of ``total``."""

    hits: int
    chosen: int
    wanted: int
    total: int

    @property
    def precision(self) -> float:
        """hits / chosen."""
        return self.hits / self.chosen

    @property
    def recall(self) -> float:
        """hits / wanted."""
        return self.hits / self.wanted

    @property
    def chance(self) -> float:
        """The precision a random pick expects: wanted / total."""
        return self.wanted / self.total


def compare(chosen: Iterable[Index], truth: TrueDimensions) -> Hit:
    """Precision and recall of chosen states; InvalidInput where the truth is undefined or empty, or nothing is chosen."""
    wanted, picked = truth.states(), frozenset(chosen)
    if not wanted or not picked:
        raise InvalidInput(
            f"{len(picked)} states chosen and {len(wanted)} true ones: precision and recall need at least one each"
        )
    return Hit(len(wanted & picked), len(picked), len(wanted), truth.total)


def compare_channels(chosen: Iterable[Index], truth: TrueDimensions, total: int) -> Hit:
    """The same for channels, of which there are ``total``."""
    truth.states()
    picked = frozenset(chosen)
    return Hit(len(truth.channels & picked), len(picked), len(truth.channels), total)


def chance_of_at_least(hits: Sequence[Hit]) -> float:
    """P(a random pick has as many hits in all, or more): the exact tail of a sum of independent hypergeometric numbers."""
    from scipy import stats  # as long to load as the rest of scipy, for this one number

    law = np.ones(1)
    for h in hits:
        law = np.convolve(law, stats.hypergeom(h.total, h.wanted, h.chosen).pmf(np.arange(h.chosen + 1)))
    observed = sum(h.hits for h in hits)
    return float(min(1.0, law[observed:].sum()))


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean and Student-t interval over independent runs, cut to [0, 1]; a single run has no interval (InvalidInput)."""
    v = np.asarray(values, dtype=float)
    if v.size < 2:
        raise InvalidInput(f"an interval needs at least two runs, got {v.size}")
    half = float(stdtrit(v.size - 1, 0.5 + level / 2) * v.std(ddof=1) / np.sqrt(v.size))
    mean = float(v.mean())
    return mean, max(0.0, mean - half), min(1.0, mean + half)
