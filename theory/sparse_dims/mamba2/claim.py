r"""sparse_dims.mamba2: the unit of sparse dimension tuning on Mamba-2 is the head, and its states have no decay of their own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.errors import InvalidInput
from theory.core.scalars import Array
from theory.core.selective import SelectiveSSM
from theory.core.strategies import ENTRIES
from theory.verification.claim import Assumption, Check, Claim, Counterexample, Part, Planted, exact_check
from theory.verification.planted import changed, giving, on, swap
from theory.verification.refutation import existing, require

from .heads import Heads, assignment_cost, fewest_changes, generic, heads_needed, horizon, same_essential, separable

POOL = tuple(Fraction(p, q) for p, q in ((1, 2), (1, 3), (3, 10), (2, 5)))


def matrix(rows: Any) -> Array:
    """A matrix of Fractions."""
    return np.array([[Fraction(x) for x in row] for row in rows], dtype=object)


def tokens(width: int) -> list[Array]:
    """e_i, e_i + e_j and e_i − e_j: a row times K(u, u) that vanishes at all of them is zero for two inputs, being a cubic form
    with four zeros up to scale."""
    unit = [matrix([[int(i == j) for j in range(width)]])[0] for i in range(width)]
    return unit + [w for a, b in combinations(unit, 2) for w in (a + b, a - b)]


# -- essential pairs ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Pair:
    """Two blocks that share W_B and W_C, and a number of tokens."""

    first: Heads
    second: Heads
    length: int


def _matrix(draw: st.DrawFn, rows: int, columns: int) -> Array:
    size = rows * columns
    return np.array(draw(st.lists(ENTRIES, min_size=size, max_size=size)), dtype=object).reshape(rows, columns)


SKEW = (matrix([[1, 0], [0, 1]]), matrix([[0, 1], [-1, 0]]))


@st.composite
def selectors(draw: st.DrawFn) -> tuple[Array, Array]:
    """W_B and W_C with K ≠ 0, N ≤ 2, D = 2; in one of four draws K is skew."""
    if draw(st.integers(0, 3)) == 0:
        return SKEW
    n = draw(st.integers(1, 2))
    pair = _matrix(draw, n, 2), _matrix(draw, n, 2)
    return pair if np.any(linalg.matmul(pair[1].T, pair[0])) else (matrix([[1, 0]] * n), matrix([[1, 1]] * n))


@st.composite
def pairs(draw: st.DrawFn, *, missing: int = 0, silent: bool = False) -> Pair:
    """Blocks of at most three heads; the second is the first regrouped, or differs. ``missing`` tokens fewer than needed."""
    W_B, W_C = draw(selectors())
    d, n = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    decays = tuple(draw(st.sampled_from(POOL)) for _ in range(n))
    first = Heads(decays, tuple(_matrix(draw, d, 2) for _ in range(n)), W_B, W_C)
    if draw(st.booleans()):
        part = _matrix(draw, d, 2)
        second = Heads((*decays, decays[0]), (first.values[0] - part, *first.values[1:], part), W_B, W_C)
    else:
        second = replace(first, values=(_matrix(draw, d, 2), *first.values[1:]))
    length = max(1, horizon(first, second) - missing)
    if missing and length == horizon(first, second):
        return too_short()
    if silent:
        first, second = (replace(h, W_C=0 * W_C) for h in (first, second))
    return Pair(first, second, length)


def agree(p: Pair) -> bool:
    """Equal outputs on sequences of at most that many tokens: two tokens out of e_i, e_i ± e_j, zeros between."""
    t = tokens(2)
    sequences = [[u] for u in t] + [[u, *[0 * u] * j, v] for u in t for v in t for j in range(p.length - 1)]
    return all(np.all(p.first.run(s) == p.second.run(s)) for s in sequences)


def told_apart(p: Pair) -> bool:
    """The conclusion: equal outputs iff equal pairs (γ, M_γ)."""
    return agree(p) == same_essential(p.first, p.second)


def check_essential(p: Pair) -> None:
    """Equal outputs on L tokens iff the same set of pairs; where the sets agree, on a longer drawn sequence too."""
    require(told_apart(p), p)
    if same_essential(p.first, p.second):
        sequence = tokens(2) * 2
        require(np.all(p.first.run(sequence) == p.second.run(sequence)), p)


def too_short(*, skew: bool = True) -> Pair:
    """M at 1/2 against M at 1/3, scaled to agree: at lag 1, two tokens and a skew K; or at lag 0, one token."""
    one = matrix([[1, 1]])
    W_B, W_C = SKEW if skew else (matrix([[1, 0]]), matrix([[1, 0]]))
    factor = Fraction(3, 2) if skew else Fraction(1)
    first = Heads((Fraction(1, 2),), (one,), W_B, W_C)
    return Pair(first, replace(first, decays=(Fraction(1, 3),), values=(factor * one,)), 2 if skew else 1)


@st.composite
def sharp(draw: st.DrawFn) -> Pair:
    """Two blocks of different pairs that agree on one token less than the horizon: the lags' Vandermonde kernel, split in two."""
    skew = draw(st.booleans())
    decays = draw(st.lists(st.sampled_from(POOL), min_size=2, max_size=4, unique=True))
    powers = [[g**j for g in decays] for j in range(int(skew), len(decays) - 1 + int(skew))]
    weights = linalg.nullspace(powers)[0]
    W_B, W_C = SKEW if skew else (matrix([[1, 0]]), matrix([[1, 0]]))
    one = matrix([[1, 1]])
    half = len(decays) // 2
    first = Heads(tuple(decays[:half]), tuple(w * one for w in weights[:half]), W_B, W_C)
    second = Heads(tuple(decays[half:]), tuple(-w * one for w in weights[half:]), W_B, W_C)
    return Pair(first, second, horizon(first, second) - 1)


def check_sharp(p: Pair) -> None:
    """One token less than the horizon: equal outputs, different pairs; one more tells."""
    require(agree(p) and not same_essential(p.first, p.second), p)
    require(not agree(replace(p, length=p.length + 1)), p)


# -- heads and their changes ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Task:
    """A frozen block, a target's pairs, channels a head."""

    frozen: Heads
    target: dict[Fraction, Array]
    channels: int


def low_rank(draw: st.DrawFn, rank: int) -> Array:
    """A 2 × 2 matrix of that rank at most, often one of few, so that sums meet."""
    if draw(st.booleans()):
        return matrix([[draw(st.integers(0, 2)), 0], [0, 0]])
    return np.asarray(_matrix(draw, 2, rank) @ _matrix(draw, rank, 2))


@st.composite
def tasks(draw: st.DrawFn, *, wanted: bool | None = None, wide: bool = False) -> Task:
    """At most three heads and as many target pairs; ``wanted``: generic or not; ``wide``: a target of rank 2, P = 1."""
    channels, n = 1 if wide else draw(st.integers(1, 2)), draw(st.integers(2, 3))
    decays = tuple(draw(st.lists(st.sampled_from(POOL), min_size=n, max_size=n, unique=wanted is True)))
    frozen = Heads(decays, tuple(low_rank(draw, channels) for _ in range(n)), *SKEW)
    target: dict[Fraction, Array] = {}
    for decay in draw(st.lists(st.sampled_from(POOL), min_size=1, max_size=n, unique=True)):
        value = matrix([[1, 0], [0, 1]]) if wide and not target else low_rank(draw, channels)
        if np.any(value):
            target[decay] = value
    task = Task(frozen, target, channels)
    if wanted is None or generic(frozen, target) == wanted:
        return task
    return distinct() if wanted else merged()


def some_wide() -> st.SearchStrategy[Task]:
    """Tasks of which half have a target of rank above P."""
    return st.booleans().flatmap(lambda wide: tasks(wide=wide))


def distinct() -> Task:
    """Two heads of different decays, values that add up to nothing shown, a target of one pair."""
    one = matrix([[1, 0], [0, 0]])
    return Task(Heads((POOL[0], POOL[2]), (one, 3 * one), *SKEW), {POOL[1]: one}, 1)


def merged() -> Task:
    """Two heads with M = 1 and a target with M* = 2 at the decay of the first."""
    one = matrix([[1, 0], [0, 0]])
    return Task(Heads((POOL[0], POOL[2]), (one, one), *SKEW), {POOL[0]: 2 * one}, 1)


def check_changes(t: Task) -> None:
    """Assignment bounds the true minimum from above, and meets it on generic tasks."""
    cost, least = assignment_cost(t.frozen, t.target, t.channels), existing(fewest_changes(t.frozen, t.target, t.channels), t)
    require(least <= cost, t)
    require(not generic(t.frozen, t.target) or least == cost, t)


def check_needed(t: Task) -> None:
    """Some edit reaches the target iff Σ ⌈rank/P⌉ ≤ H."""
    least = fewest_changes(t.frozen, t.target, t.channels)
    require((least is not None) == (heads_needed(t.target, t.channels) <= len(t.frozen.decays)), t)


def assignment_exact(t: Task) -> bool:
    """The conclusion: the assignment exists and costs the true minimum."""
    try:
        return assignment_cost(t.frozen, t.target, t.channels) == fewest_changes(t.frozen, t.target, t.channels)
    except InvalidInput:
        return False


# -- states ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Split:
    """Groups of heads whose outputs are added."""

    groups: tuple[Heads, ...]


@st.composite
def splits(draw: st.DrawFn, *, groups: int = 1) -> Split:
    """One block of at most three heads with any selectors; or two groups that read different coordinates at different decays."""
    if groups == 2:
        return two_groups(draw(st.sampled_from((1, 2))))
    return Split((draw(pairs()).first,))


def two_groups(scale: int = 1) -> Split:
    """Two heads in two groups: K_1(u, v) = u_1 v_1 at decay 1/2, K_2(u, v) = u_2 v_2 at 1/3."""
    rows, value = (matrix([[1, 0]]), matrix([[0, 1]])), matrix([[scale, scale]])
    return Split(tuple(Heads((g,), (value,), r, r) for g, r in zip(POOL[:2], rows, strict=True)))


def one_form(s: Split) -> bool:
    """The conclusion: for each first token all lags answer through one linear form of the last."""
    return separable(s.groups, tokens(2), 3)


def check_one_form(s: Split) -> None:
    """Whatever the heads of a group are, their responses are separable."""
    require(one_form(s), s)


@dataclass(frozen=True, eq=False)
class OwnDecay:
    """An S6 module whose states share one decay but for the last."""

    module: SelectiveSSM

    def run(self, sequence: Any) -> Array:
        """The outputs of its first channel."""
        return np.asarray(self.module.run(np.array(sequence, dtype=object))[0][:, :1])


@st.composite
def own_decays(draw: st.DrawFn) -> OwnDecay:
    """N = 2 independent states over D = 2 or 3 channels, decays γ and γ*."""
    common, own = draw(st.lists(st.sampled_from(POOL), min_size=2, max_size=2, unique=True))
    a, b = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    W_B, W_C = matrix([[1, Fraction(a, 2)], [0, 1]]), matrix([[1, 0], [Fraction(b, 2), 1]])
    return OwnDecay(SelectiveSSM(W_B, W_C, dt=1, decay=[[common, own]] * 2))


def one_decay() -> OwnDecay:
    """Two states of one decay, which are a head."""
    eye = matrix([[1, 0], [0, 1]])
    return OwnDecay(SelectiveSSM(eye, eye, dt=1, decay=[[POOL[0]] * 2] * 2))


def two_forms(target: OwnDecay) -> bool:
    """The conclusion: the states answer through two forms, which no group of heads does, however many heads it has."""
    return not separable([target], tokens(target.module.n_channels), 3)


def check_own_decay(target: OwnDecay) -> None:
    """Two states of two decays answer through two forms."""
    require(two_forms(target), target)


def independent(target: OwnDecay) -> bool:
    """Whether the rows of W_B and those of W_C are independent."""
    return all(linalg.rank(w) == target.module.n_states for w in (target.module.W_B, target.module.W_C))


def read_alike(scale: Any = 1) -> OwnDecay:
    """D = 1, N = 2: both states read and are read alike, so that two heads of one group are this module."""
    return OwnDecay(SelectiveSSM([[scale], [1]], [[1], [1]], dt=1, decay=[list(POOL[:2])]))


ASSUMPTIONS = (
    Assumption(
        name="enough tokens",
        statement="as many tokens as decays in the two blocks together, one more where K(u, u) = 0 for all u",
        predicate=lambda p: p.length >= horizon(p.first, p.second),
        having=pairs,
        lacking=lambda: pairs(missing=1),
        conclusion=told_apart,
        counterexample=Counterexample(
            "a skew form",
            too_short,
            "K(u, v) = u_1 v_2 − u_2 v_1, M at 1/2 against (3/2) M at 1/3: lag 0 shows nothing and lag 1 agrees",
        ),
    ),
    Assumption(
        name="K is not zero",
        statement="W_CᵀW_B ≠ 0",
        predicate=lambda p: bool(np.any(linalg.matmul(p.first.W_C.T, p.first.W_B))),
        having=pairs,
        lacking=lambda: pairs(silent=True),
        conclusion=told_apart,
        counterexample=Counterexample(
            "nothing read",
            lambda: replace(
                (p := too_short()), first=replace(p.first, W_C=0 * p.first.W_C), second=replace(p.second, W_C=0 * p.second.W_C)
            ),
            "W_C = 0: every block is silent",
        ),
    ),
    Assumption(
        name="target pairs of rank at most P",
        statement="each target value matrix has rank ≤ P",
        predicate=lambda t: all(linalg.rank(m) <= t.channels for m in t.target.values()),
        having=lambda: tasks(wanted=True),
        lacking=lambda: tasks(wide=True),
        conclusion=assignment_exact,
        counterexample=Counterexample(
            "rank two",
            lambda: Task(distinct().frozen, {POOL[0]: matrix([[1, 0], [0, 1]])}, 1),
            "P = 1, M* = I: no head does it alone, two heads at one decay do, for two changes",
        ),
    ),
    Assumption(
        name="generic",
        statement="frozen decays pairwise different, no sum of two or more nonzero frozen M_h is 0 or a target's",
        predicate=lambda t: generic(t.frozen, t.target),
        having=lambda: tasks(wanted=True),
        lacking=lambda: tasks(wanted=False),
        conclusion=assignment_exact,
        counterexample=Counterexample(
            "merged heads",
            merged,
            "decays 1/2 and 3/10 with M = 1, target M* = 2 at 1/2: assignment 2, truth 1 (move 3/10 to 1/2)",
        ),
    ),
    Assumption(
        name="one group",
        statement="all heads share W_B and W_C",
        predicate=lambda s: len(s.groups) == 1,
        having=splits,
        lacking=lambda: splits(groups=2),
        conclusion=one_form,
        counterexample=Counterexample(
            "two groups",
            two_groups,
            "two heads in two groups, K_1 = u_1 v_1 at 1/2 and K_2 = u_2 v_2 at 1/3: two forms",
        ),
    ),
    Assumption(
        name="independent selectors",
        statement="the rows of W_B are independent, and so are those of W_C",
        predicate=independent,
        having=own_decays,
        lacking=lambda: ENTRIES.filter(bool).map(read_alike),
        conclusion=two_forms,
        counterexample=Counterexample(
            "read alike",
            read_alike,
            "D = 1, N = 2, W_B = W_C = (1, 1), decays 1/2 and 1/3: two heads of one group compute it",
        ),
    ),
)

CLAIM = Claim(
    id="sparse_dims.mamba2",
    title="Mamba-2: heads, not states, are what sparse dimension tuning can move",
    statement=(
        "One group of Mamba-2 heads with constant clocks, no skip, convolution, gate or norm; M_h = dt_h W_out^h W_x^h of rank "
        "≤ P, K = W_CᵀW_B ≠ 0 shared by the blocks compared. Essential: on L tokens two blocks agree iff their sets "
        "{(γ, Σ_{γ_h = γ} M_h ≠ 0)} agree, for L ≥ the number of decays in both, one more iff K is skew; sharp. Heads: H heads "
        "compute a target iff Σ_γ ⌈rank(M_γ*)/P⌉ ≤ H. Changes: giving each target pair (rank ≤ P) to one head is an upper bound "
        "of the fewest changed decays and value matrices, and exact for generic blocks. States: with independent rows of W_B "
        "and of W_C, no number of heads in one group computes an S6 module in which two states of a channel have two decays."
    ),
    level="group of heads with out_proj",
    horizon="L as stated",
    parts=tuple(Part(name, argument="derivation") for name in ("essential", "heads", "changes", "states")),
    checks=(
        Check(
            "equal outputs, equal pairs",
            exact_check(check_essential, pairs, "both blocks run on two tokens at every lag", "H ≤ 4, N, d ≤ 2, D = 2", 0.4),
            "essential",
            planted=(
                Planted("decays forgotten", swap("same_essential", giving(True))),
                Planted("one token short of a skew form", on(too_short)),
            ),
        ),
        Check(
            "one token less",
            exact_check(
                check_sharp, sharp, "kernel of the lags' Vandermonde matrix, split into two blocks", "2 to 4 decays", 0.15
            ),
            "essential",
            planted=(Planted("a horizon of one token more", swap("horizon", changed(lambda n: n + 1))),),
        ),
        Check(
            "heads needed",
            exact_check(
                check_needed, lambda: st.booleans().flatmap(lambda w: tasks(wide=w)), "all edits tried", "H ≤ 3, D = d = 2", 0.4
            ),
            "heads",
            planted=(Planted("one head a decay", swap("heads_needed", lambda _: lambda target, channels: len(target))),),
        ),
        Check(
            "fewest changes",
            exact_check(check_changes, tasks, "assignment against all edits", "H ≤ 3, P ≤ 2, D = d = 2", 0.4),
            "changes",
            planted=(
                Planted("an assignment of one change less", swap("assignment_cost", changed(lambda c: c - 1))),
                Planted("merged heads called generic", swap("generic", giving(True), at=merged)),
            ),
        ),
        Check(
            "one form a group",
            exact_check(check_one_form, splits, "ranks of responses, last token against lag and output", "H ≤ 3, N, d ≤ 2", 0.2),
            "states",
            planted=(Planted("two groups", on(two_groups)),),
        ),
        Check(
            "decays of their own",
            exact_check(check_own_decay, own_decays, "S6 modules with two decays in a row", "N = D = 2", 0.2),
            "states",
            planted=(
                Planted(
                    "one decay",
                    on(lambda: OwnDecay(SelectiveSSM([[1, 0], [0, 1]], [[1, 0], [0, 1]], dt=1, decay=[[POOL[0]] * 2] * 2))),
                ),
            ),
        ),
    ),
    assumptions=ASSUMPTIONS,
    readme="theory/sparse_dims/mamba2/README.md",
    source="our formulation",
    not_claimed=(
        "Clocks that read the token; a head's skip D_h, which moves with M_h; W_B and W_C tuned as well; changes counted entry "
        "by entry of W_x and W_out; hardness, which the scalar case P = d = D = 1 already has (minimal_adjustment)."
    ),
)
