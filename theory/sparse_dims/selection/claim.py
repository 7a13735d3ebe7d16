r"""sparse_dims.selection: whether a score from a warm-up run finds the channels and states that have to change.

Truth: :func:`.truth.true_dimensions`. Students and runs: :mod:`.warmup`, :mod:`.selection_runs`. Scores: :mod:`.scores`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import combinations, permutations, product
from typing import Any

import numpy as np
from hypothesis import strategies as st

from theory.core.dual import seed as dual_seed
from theory.core.lti import LTI
from theory.core.tolerance import SIGNIFICANCE, close
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
    exact_check,
)
from theory.verification.planted import changed, giving, swap
from theory.verification.refutation import require

from ..adjustment import cost_matrix, exact_minimal_adjustment, minimal_adjustment, residues, target_pairs
from ..draws import MODES, distinct_modes, nonzero, nonzeros, numbers
from ..minimal_adjustment.claim import any_pairs, residues_can_match
from .runs import SETTINGS, Setting, comparisons, measure, single_run
from .truth import true_dimensions
from .warmup import warm_up

Pair = tuple[LTI, LTI]


# -- the truth, by enumeration --------------------------------------------------------------------------------------------


def optimal_touched_sets(frozen: LTI, target: LTI) -> set[frozenset[int]]:
    """The touched states of every optimal assignment, over all N! of them."""
    modes, wanted = target_pairs(frozen, target)
    cost = cost_matrix(frozen, modes, wanted)
    n = frozen.n_states
    best = 2 * n + 1
    sets: set[frozenset[int]] = set()
    for columns in permutations(range(n)):
        total = sum(int(cost[i, j]) for i, j in enumerate(columns))
        if total < best:
            best, sets = total, set()
        if total == best:
            sets.add(frozenset(i for i, j in enumerate(columns) if cost[i, j]))
    return sets


def minimal_touched_sets(frozen: LTI, target: LTI) -> set[frozenset[int]]:
    """The touched states of every cheapest set of edits whatever, one-to-one or not: all sets of the least size."""
    modes, wanted = target_pairs(frozen, target)
    n, r = frozen.n_states, list(residues(frozen))
    total = dict(zip(modes, wanted, strict=True))
    values = list(dict.fromkeys([*frozen.a, *modes]))
    size = exact_minimal_adjustment(frozen, target).cost
    out = set()
    for edited in combinations(range(2 * n), size):
        moved = [k for k in edited if k < n]
        free = {k - n for k in edited if k >= n}
        for new in product(values, repeat=len(moved)):
            a = list(frozen.a)
            for k, v in zip(moved, new, strict=True):
                a[k] = v
            if residues_can_match(a, r, free, total):
                out.add(frozenset(k % n for k in edited))
                break
    return out


# -- property tests ---------------------------------------------------------------------------------------------------------


def check_truth(pair: Pair) -> None:
    """Forced assignments against all assignments: always touched = intersection, undecided = union minus intersection."""
    found, sets = true_dimensions(*pair), optimal_touched_sets(*pair)
    common, some = frozenset.intersection(*sets), frozenset.union(*sets)
    require({n for (n,) in found.touched} == set(common), f"{pair}: {found} against {sets}")
    require({n for (n,) in found.undecided} == set(some - common), f"{pair}: {found} against {sets}")
    require(found.defined == (len(sets) == 1), f"{pair}: {found} against {sets}")
    require(found.cost == minimal_adjustment(*pair).cost and found.total == pair[0].n_states)


def check_full_order(pair: Pair) -> None:
    """N* = N: no gap, and the assignments' touched sets are those of all cheapest edits."""
    require(len(target_pairs(*pair)[0]) == pair[0].n_states)
    require(minimal_adjustment(*pair).cost == exact_minimal_adjustment(*pair).cost, repr(pair))
    require(touched_sets_agree(pair), repr(pair))


def touched_sets_agree(pair: Pair) -> bool:
    """Whether edits that are not one-to-one add no cheapest touched set (and none is cheaper)."""
    if minimal_adjustment(*pair).cost != exact_minimal_adjustment(*pair).cost:
        return False
    return minimal_touched_sets(*pair) == optimal_touched_sets(*pair)


# -- strategies -------------------------------------------------------------------------------------------------------------


@st.composite
def full_order(draw: st.DrawFn, max_states: int = 3) -> Pair:
    """Targets with as many modes as the frozen channel has states; frozen modes and residues may coincide or vanish."""
    n = draw(st.integers(1, max_states))
    pool = MODES[: n + 2]
    small = st.sampled_from([Fraction(k) for k in (1, 2, -1, 3)])
    modes = [draw(st.sampled_from(pool)) for _ in range(n)]
    r = [draw(st.one_of(small, st.just(Fraction(0)))) for _ in range(n)]
    a = draw(st.lists(st.sampled_from(pool), min_size=n, max_size=n, unique=True))
    return LTI(modes, [1] * n, r), LTI(a, [1] * n, [draw(small) for _ in range(n)])


@st.composite
def low_order(draw: st.DrawFn) -> Pair:
    """Targets with fewer modes than the frozen channel has states."""
    n = draw(st.integers(2, 3))
    k = draw(st.integers(1, n - 1))
    return LTI(draw(distinct_modes(n)), [1] * n, draw(numbers(n))), LTI(draw(distinct_modes(k)), [1] * k, draw(nonzeros(k)))


def defined_pairs() -> st.SearchStrategy[Pair]:
    """Full-order pairs whose optimal assignments touch one set."""
    return full_order().filter(lambda p: true_dimensions(*p).defined)


@st.composite
def silent_twins(draw: st.DrawFn) -> Pair:
    """Two frozen states without residue and a target mode that either can take: the truth is undefined."""
    a = draw(distinct_modes(3))
    return LTI(a[:2], [1, 1], [0, 0]), LTI(a[2:], [1], [draw(nonzero)])


State = tuple[Fraction, Fraction, Fraction, Fraction, int]  # a, a*, r, r*, horizon


@st.composite
def states(draw: st.DrawFn, *, heard: bool) -> State:
    """One positive mode that has to move, with a residue that is right, or with none."""
    a, wanted = draw(st.lists(st.sampled_from([m for m in MODES if m > 0]), min_size=2, max_size=2, unique=True))
    r = draw(nonzero)
    return a, wanted, r if heard else Fraction(0), r, draw(st.integers(2, 6))


def gradient_of_mode(state: State) -> Fraction:
    """∂/∂a of Σ_{j<L} (r a^j − r* a*^j)², the loss on white inputs, by dual numbers."""
    a, wanted, r, target_r, length = state
    (x,) = dual_seed([a])
    total = sum(((r * x**j - target_r * wanted**j) ** 2 for j in range(length)), 0 * x)
    return Fraction(total.gradient()[0])


Run = tuple[int, int]  # seed, Adam steps


def changes_differ(run: Run) -> bool:
    """Whether the change of log A tells states apart after a warm-up with these steps (Adam's ε out of the way)."""
    seed, steps = run
    setting = Setting(1, 3, 3, 1, 1, steps, batch=2, length=12)
    found, x, y, _ = single_run(setting, seed)
    found = warm_up(found.before, x, y, steps, setting.lr, eps=1e-300)
    moved = np.abs(found.after.log_A - found.before.log_A).ravel()
    scale = float(np.abs(found.before.log_A).max())  # the subtraction loses digits relative to log A
    return not close(scale + moved, scale + np.full(moved.size, moved[0]), 4)


# -- checks -----------------------------------------------------------------------------------------------------------------


def seeds_of(profile: Profile) -> int:
    """Runs per setting: 6 (quick), 10 (ci), 50 (long)."""
    return min(50, max(6, profile.instances // 20))


def scores_against_random(profile: Profile) -> Outcome:
    """All scores in all settings; loss ablation must beat a random pick everywhere, random and magnitude nowhere."""
    seeds = seeds_of(profile)
    rows: list[dict[str, Any]] = []
    good: dict[str, list[bool]] = {}
    tests = comparisons(len(SETTINGS))
    for setting in SETTINGS:
        for result in measure(setting, seeds):
            beats = result.beats_random(tests)
            rows.append(result.to_json() | {"beats_random": beats})
            if result.picks == "1×" and result.level == "states":
                good.setdefault(result.score, []).append(beats)
    never = sorted(name for name, wins in good.items() if not any(wins))
    always = sorted(name for name, wins in good.items() if all(wins))
    mixed = sorted(set(good) - set(never) - set(always))
    require("random" in never, "a random pick was called better than random")
    require("magnitude" in never, "the frozen magnitude beat a random pick")
    require("loss_ablation" in always, f"loss ablation failed in {[s.name for s in SETTINGS]}: {good['loss_ablation']}")
    best = max(r["precision"][0] for r in rows if r["picks"] == "1×" and r["level"] == "states")
    how = (
        f"states, {seeds} runs per setting: better than random in all settings {', '.join(always)}; in some "
        f"{', '.join(mixed) or 'none'}; in none {', '.join(never)}; best mean precision {best:.2f}"
    )
    sizes = "; ".join(s.name for s in SETTINGS)
    return Outcome(Verdict.NUMERIC, how, sizes, seeds * len(SETTINGS), tolerance=SIGNIFICANCE, data={"table": rows})


def _iterate(pairs: Iterator[Any]) -> int:
    count = 0
    for pair in pairs:
        check_full_order(pair)
        count += 1
    return count


def all_small_full_orders(profile: Profile) -> Outcome:
    """Every pattern of coinciding modes and residues for N = N* = 2, with the pigeonhole argument in the README."""
    pool = [Fraction(1, 2), Fraction(1, 3), Fraction(1, 5), Fraction(1, 7)]  # the target's two modes and two others

    def pairs() -> Iterator[Pair]:
        for modes, wanted in product(product(pool, repeat=2), ((1, 1), (1, 2))):
            for r in product(sorted({0, 7, *wanted}), repeat=2):  # 7 equals neither a target residue nor a sum of them
                yield LTI(modes, [1, 1], r), LTI(pool[:2], [1, 1], wanted)

    how = "N* = N leaves only one-to-one edits: pigeonhole argument in the README, every pattern of N = 2"
    return Outcome(Verdict.EXACT, how, "any N by the argument, N = 2 exhaustively", _iterate(pairs()))


def _pair(frozen: tuple[Any, Any], target: tuple[Any, Any]) -> Pair:
    f, t = (LTI(a, [1] * len(a), r) for a, r in (frozen, target))
    return f, t


CLAIM = Claim(
    id="sparse_dims.selection",
    title="Which scores find the states that have to change, measured against an exactly decided truth",
    statement=(
        "Truth: the states that every optimal assignment of sparse_dims.minimal_adjustment touches, defined where all touch the "
        "same ones, which N forced assignments decide exactly. For N* = N target modes every cheapest edit whatsoever is such "
        "an assignment. Measurement: deep S4 students (real modes, dt frozen) whose teacher differs in A and C of a few states, "
        "seeded Adam warm-up on all A and C; a score counts as good only if its hits are too many for a random pick by the exact "
        "tail of the hypergeometric law, Bonferroni-corrected. In these runs loss ablation is good in every setting, the frozen "
        "magnitude and a random pick in none; the other scores are listed setting by setting with precision, recall and "
        "intervals."
    ),
    level="one SSM channel (truth); whole small models (scores)",
    horizon="all L (truth); L = 48 (scores)",
    parts=(
        Part("truth is decided", argument="derivation"),
        Part("truth over all edits", argument="derivation"),
        Part("scores"),
    ),
    checks=(
        Check(
            "forced assignments",
            exact_check(check_truth, any_pairs, "forced assignments against all N! assignments", "N ≤ 4"),
            "truth is decided",
            planted=(
                Planted(
                    "every state called undecided",
                    swap(
                        "true_dimensions",
                        changed(lambda found: replace(found, undecided=found.undecided | found.touched, touched=frozenset())),
                    ),
                ),
            ),
        ),
        Check(
            "full order, all patterns",
            all_small_full_orders,
            "truth over all edits",
            planted=(
                Planted(
                    "a cheaper edit missed",
                    swap("exact_minimal_adjustment", changed(lambda found: replace(found, cost=found.cost + 1))),
                ),
            ),
        ),
        Check(
            "full order",
            exact_check(check_full_order, full_order, "assignments against all cheapest edits", "N ≤ 3", 0.5),
            "truth over all edits",
            planted=(
                Planted(
                    "touched sets of one assignment only",
                    swap("optimal_touched_sets", changed(lambda sets: {frozenset(range(9))})),
                ),
            ),
        ),
        Check(
            "scores against random",
            scores_against_random,
            "scores",
            planted=(
                Planted(
                    "every score called good", swap("theory.sparse_dims.selection.runs:ScoreResult.beats_random", giving(True))
                ),
            ),
        ),
    ),
    assumptions=(
        Assumption(
            name="unique truth",
            statement="all optimal assignments touch the same states",
            predicate=lambda p: true_dimensions(*p).defined,
            having=defined_pairs,
            lacking=silent_twins,
            conclusion=lambda p: len(optimal_touched_sets(*p)) == 1,
            counterexample=Counterexample(
                "two silent states",
                lambda: _pair((["1/2", "1/3"], [0, 0]), (["1/5"], [1])),
                "modes (1/2, 1/3) without residues, target mode 1/5: either state may take it, precision has no reference",
            ),
        ),
        Assumption(
            name="full order",
            statement="the target has as many modes as the frozen channel has states (N* = N)",
            predicate=lambda p: len(target_pairs(*p)[0]) == p[0].n_states,
            having=full_order,
            lacking=low_order,
            conclusion=touched_sets_agree,
            counterexample=Counterexample(
                "merge instead of silence",
                lambda: _pair((["1/2", "1/3"], [1, 5]), (["1/2"], [7])),
                "modes (1/2, 1/3), residues (1, 5) to mode 1/2, residue 7: the assignment touches both states, moving 1/3 to 1/2 "
                "with residue 6 costs 2 as well and touches one",
            ),
        ),
        Assumption(
            name="nonzero residues",
            statement="states that must move have a nonzero frozen residue (for scores from A's gradient or its first step)",
            predicate=lambda s: s[2] != 0,
            having=lambda: states(heard=True),
            lacking=lambda: states(heard=False),
            conclusion=lambda s: gradient_of_mode(s) != 0,
            counterexample=Counterexample(
                "silent state",
                lambda: (Fraction(1, 2), Fraction(1, 3), Fraction(0), Fraction(1), 4),
                "mode 1/2 with residue 0, to mode 1/3 with residue 1: ∂loss/∂a = 0, A neither moves first nor has a gradient",
            ),
        ),
        Assumption(
            name="more than one Adam step",
            statement="the warm-up takes at least two steps (for the change of log A)",
            predicate=lambda r: r[1] >= 2,
            having=lambda: st.tuples(st.integers(0, 50), st.integers(2, 4)),
            lacking=lambda: st.tuples(st.integers(0, 50), st.just(1)),
            conclusion=changes_differ,
            counterexample=Counterexample(
                "one step",
                lambda: (0, 1),
                "Adam's first step moves every parameter with a nonzero gradient by lr, so the change of log A ranks nothing",
            ),
        ),
    ),
    readme="theory/sparse_dims/selection/README.md",
    not_claimed=(
        "Anything about real checkpoints, other warm-up lengths, or that choosing the true states trains best; that the truth is "
        "unique up to gauges (column scales of W can lower the count); complex modes and selective (S6) modules in the runs."
    ),
)
