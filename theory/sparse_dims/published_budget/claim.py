r"""sparse_dims.published_budget: the published budget of SDT for depth sharing, ⌈D L*/L⌉ channels and rank ⌈L/L*⌉, is too small.

Counts and the bound by poles are those of :mod:`theory.sparse_dims.depth_sharing`; here they meet the budget as it was published.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import sympy
from hypothesis import strategies as st

from theory.core.deep_s4 import S4Layer
from theory.verification.claim import (
    Assumption,
    Check,
    Claim,
    Counterexample,
    Outcome,
    Part,
    Planted,
    Profile,
    Verdict,
    run_instances,
)
from theory.verification.planted import changed, swap
from theory.verification.refutation import require

from ..depth_sharing.counts import target_certificate, target_dimension, tuned_dimension
from ..depth_sharing.disjoint import rank_bound
from ..depth_sharing.transfer import single


@dataclass(frozen=True)
class Budget:
    """G layers of width D stand in for one: what the published theorem tunes."""

    depth: int
    width: int
    skips: bool = True

    @property
    def rank(self) -> int:
        """⌈L/L*⌉ = G."""
        return self.depth

    @property
    def channels(self) -> int:
        """⌈D L*/L⌉ = ⌈D/G⌉ per layer."""
        return -(-self.width // self.depth)

    @property
    def tuned(self) -> int:
        """An upper bound of the dimension of everything the budget reaches."""
        return tuned_dimension(self.depth, self.width, self.rank, self.depth * self.channels)

    @property
    def wanted(self) -> int:
        """Dimension of the targets, with or without skips u*."""
        return target_dimension(self.width, 1) - (0 if self.skips else self.width)

    @property
    def refuted(self) -> bool:
        """Whether the count shows that generic targets are missed."""
        return self.wanted > self.tuned


def first_refuted(depth: int, *, skips: bool = True) -> int:
    """The least width from which on every width up to 2G² + G, where the general argument takes over, is refuted."""
    last = 2 * depth * depth + depth
    allowed = [d for d in range(depth, last + depth + 1) if not Budget(depth, d, skips).refuted]
    return max(allowed) + 1


def count_for_every_width(profile: Profile) -> Outcome:
    """The difference of dimensions as a polynomial, positive from D = 2G² + G on; the same counts, one by one, at small G."""
    D, G, x = sympy.symbols("D G x", integer=True, positive=True)
    difference = D**2 + 2 * D - (G * G * (2 * D - G) + G * D + 2 * (D + G - 1))
    require(sympy.expand(difference - (D**2 - (2 * G**2 + G) * D + G**3 - 2 * G + 2)) == 0, "the difference of dimensions")
    beyond = sympy.expand(difference.subs(D, 2 * G**2 + G + x))  # x ≥ 0 widths further
    require(sympy.expand(beyond - (x**2 + (2 * G**2 + G) * x + G**3 - 2 * G + 2)) == 0, "positive from 2G² + G on")
    require(all(g**3 - 2 * g + 2 > 0 for g in range(2, 100)), "G³ − 2G + 2")
    counted = 0
    for depth in range(2, 8):
        for width in range(depth, 4 * depth * depth):
            budget = Budget(depth, width)
            require(width < 2 * depth * depth + depth or budget.refuted, budget)
            counted += 1
    first = {g: first_refuted(g) for g in (2, 3, 4)}
    require((first[2], first[3], first_refuted(2, skips=False)) == (10, 20, 11), first)
    how = "D² + 2D exceeds the dimension of all tuned stacks; identities with symbols, widths one by one for G ≤ 7"
    return Outcome(
        Verdict.EXACT,
        how,
        "every G ≥ 2 and D ≥ 2G² + G",
        counted + 2,
        data={"refuted from D": {str(g): d for g, d in first.items()}},
    )


def certified_target(_: Profile) -> Outcome:
    """At the first refuted width, D = 10 for G = 2, the targets' dimension is an exact Jacobian rank above the budget's."""
    budget = Budget(2, 10)
    certificate = target_certificate(10, 1)
    require(certificate.exceeds(budget.tuned), f"{certificate.rank} against {budget.tuned}")
    require(not Budget(2, 9).refuted and not certificate.exceeds(budget.wanted), "one width less, and the dimension itself")
    how = f"Jacobian rank {certificate.rank} of the targets, {budget.tuned} dimensions of the budget"
    return Outcome(Verdict.EXACT, how, "G = 2, D = 10", 1)


@dataclass(frozen=True)
class Weights:
    """Two frozen layers and a target, one state per channel, poles distinct, residues 1; S_1 is the first ⌈D/2⌉ channels."""

    W1: tuple[tuple[Fraction, ...], ...]
    target: tuple[tuple[Fraction, ...], ...]

    @property
    def needed(self) -> int:
        """Rank below which no update of W_1 does it; 0 where the argument does not apply."""
        width = len(self.W1)

        def layer(rows: tuple[tuple[Fraction, ...], ...], first: int) -> S4Layer:
            return S4Layer([single(Fraction(1, first + d), 1) for d in range(width)], rows, None, None, "linear")

        half = -(-width // 2)
        frozen = [layer(self.W1, 2 + width), layer(self.target, 2 + 2 * width)]
        return rank_bound(frozen, layer(self.target, 2), (tuple(range(half)), tuple(range(half, width))))


@st.composite
def weights(draw: st.DrawFn, *, special: bool = False) -> Weights:
    """D = 4 to 6 and Vandermonde targets; ``special``: W_1 = diag(1 on S_1, 0) plus a matrix of rank at most 2."""
    width = draw(st.integers(4, 6))
    half = -(-width // 2)
    target = tuple(tuple(Fraction((i + 2) ** k) for k in range(width)) for i in range(width))
    pick = st.lists(st.integers(1, 5), min_size=width, max_size=width)
    if special:
        low = sum((np.outer(draw(pick), draw(pick)) for _ in range(2)), np.zeros((width, width), dtype=int))
        W1 = low + np.diag([1] * half + [0] * (width - half))
    else:
        nodes = draw(st.lists(st.integers(1, 12), min_size=width, max_size=width, unique=True))
        W1 = np.array([[x**k for k in range(1, width + 1)] for x in nodes])
    return Weights(tuple(tuple(Fraction(int(x)) for x in row) for row in W1), target)


def short_by_poles(w: Weights) -> bool:
    """Whether rank 2, the budget's for G = 2, is too small."""
    return w.needed > Budget(2, len(w.W1)).rank


def check_poles(w: Weights) -> None:
    """⌊D/2⌋ + 1 is needed, more than the budget's 2."""
    require(w.needed == len(w.W1) // 2 + 1 and short_by_poles(w), w)


def by_poles(profile: Profile) -> Outcome:
    """The bound by poles on instances: it must be attained by some, or nothing is said."""
    count = run_instances(check_poles, weights(), profile.scaled(0.2), profile.seed)
    how = "T_2 T_1 = T* forces W'_1 = diag(s on S_1, 0), so ⌊D/2⌋ + 1 > 2; argument in depth_sharing's README"
    return Outcome(Verdict.EXACT, how, "G = 2, D ≥ 4 (derivation); D ≤ 6 on instances", count)


ASSUMPTIONS = (
    Assumption(
        name="wide, for the count",
        statement="D ≥ 2G² + G",
        predicate=lambda b: b.width >= 2 * b.depth * b.depth + b.depth,
        having=lambda: st.integers(2, 5).flatmap(lambda g: st.builds(Budget, st.just(g), st.integers(2 * g * g + g, 5 * g * g))),
        lacking=lambda: st.integers(2, 5).flatmap(lambda g: st.builds(Budget, st.just(g), st.integers(g, 2 * g * g + g - 1))),
        conclusion=lambda b: b.refuted,
        counterexample=Counterexample(
            "nine channels", lambda: Budget(2, 9), "G = 2, D = 9: 102 dimensions tuned, 99 wanted; the count excludes nothing"
        ),
    ),
    Assumption(
        name="generic frozen weights, for the poles",
        statement="no s makes rank(W_1 − diag(s on S_1, 0)) as small as 2",
        predicate=lambda w: w.needed == len(w.W1) // 2 + 1,
        having=weights,
        lacking=lambda: weights(special=True),
        conclusion=short_by_poles,
        counterexample=Counterexample(
            "a diagonal and rank two",
            lambda: Weights(
                tuple(tuple(Fraction(x) for x in row) for row in ((2, 1, 1, 1), (1, 3, 3, 4), (1, 3, 5, 7), (1, 4, 7, 10))),
                tuple(tuple(Fraction((i + 2) ** k) for k in range(4)) for i in range(4)),
            ),
            "D = 4: W_1 = diag(1, 1, 0, 0) plus the matrix (1 + i j), which has rank 2: the bound stays at 2",
        ),
    ),
)

CLAIM = Claim(
    id="sparse_dims.published_budget",
    title="the published budget for depth sharing, rank ⌈L/L*⌉ and ⌈D L*/L⌉ channels per layer, is refuted",
    statement=(
        "As we read the published theorem (our wording): a frozen deep S4 of depth L reaches any target of depth L* and width "
        "D with "
        "LoRA rank ⌈L/L*⌉ on the projections and ⌈D L*/L⌉ channels tuned per layer, u and β too. For L* = 1, G = L linear "
        "layers, one "
        "state per channel, it fails for generic targets: by count for every G ≥ 2 and D ≥ 2G² + G (from D = 10 for G = 2, 20 "
        "for "
        "G = 3; with u* = 0 from 11 for G = 2), whatever is tuned; by poles for G = 2 and every D ≥ 4 with disjoint tuned "
        "sets and the "
        "other channels frozen and nonzero, where rank ⌊D/2⌋ + 1 is needed."
    ),
    level="a stack of linear deep S4 layers",
    horizon="all L (equality of functions)",
    parts=(
        Part("count", argument="derivation"),
        Part("poles", argument="derivation"),
    ),
    checks=(
        Check(
            "count, every width",
            count_for_every_width,
            "count",
            planted=(Planted("tuned stacks of five more dimensions", swap("tuned_dimension", changed(lambda n: n + 5))),),
        ),
        Check(
            "certified targets",
            certified_target,
            "count",
            planted=(Planted("tuned stacks of twenty more dimensions", swap("tuned_dimension", changed(lambda n: n + 20))),),
        ),
        Check(
            "poles",
            by_poles,
            "poles",
            planted=(Planted("a bound of one less", swap("rank_bound", changed(lambda bound: bound - 1))),),
        ),
    ),
    assumptions=ASSUMPTIONS,
    readme="theory/sparse_dims/published_budget/README.md",
    not_claimed=(
        "That no reading of the published theorem holds: nothing about ReLU between layers, several states per channel, L* > "
        "1, special "
        "targets, or S6."
    ),
)
