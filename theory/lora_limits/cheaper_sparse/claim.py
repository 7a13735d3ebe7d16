"""lora_limits.cheaper_sparse: for a sparse change with generic values, storing its entries always beats LoRA.

Algorithms and the cost map of real models: :mod:`.costs`.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any, NamedTuple

import sympy
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.linalg import rank as exact_rank
from theory.core.scalars import Array
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
from theory.verification.planted import changed, swap
from theory.verification.refutation import require

from ..costs import MODELS, generic_values, line_cover, model_costs, staggered, support_cost, term_rank
from ..low_rank import lora_dimension, lora_floor, lora_stored

# -- instances ---------------------------------------------------------------------------------------------------------


class SparseChange(NamedTuple):
    """A support (channel, state) inside a D × N parameter."""

    rows: int
    columns: int
    support: frozenset[tuple[int, int]]

    def values(self) -> Array:
        """Generic values on it."""
        return generic_values(self.support, self.rows, self.columns)


@st.composite
def sparse_changes(draw: st.DrawFn) -> SparseChange:
    """Any nonempty support of at most 12 entries, D and N ≤ 5 (full supports included where they fit)."""
    d, n = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    cells = [(i, j) for i in range(d) for j in range(n)]
    if len(cells) <= 12 and draw(st.booleans()):
        return SparseChange(d, n, frozenset(cells))
    return SparseChange(d, n, frozenset(draw(st.sets(st.sampled_from(cells), min_size=1, max_size=12))))


@st.composite
def blocks(draw: st.DrawFn) -> SparseChange:
    """k channels × the same s states at random positions, k s ≤ 12."""
    d, n = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    channels = draw(st.sets(st.integers(0, d - 1), min_size=1, max_size=4))
    states = draw(st.sets(st.integers(0, n - 1), min_size=1, max_size=12 // len(channels)))
    return SparseChange(d, n, frozenset((i, j) for i in channels for j in states))


# -- properties --------------------------------------------------------------------------------------------------------


def check_term_rank(change: SparseChange) -> None:
    """Generic rank = term rank = size of a line cover; the LoRA that holds the change has exactly that rank."""
    value = change.values()
    tau = term_rank(change.support)
    require(exact_rank(value) == tau)
    channels, states = line_cover(change.support)
    require(len(channels) + len(states) == tau)
    require(all(d in channels or n in states for d, n in change.support))
    u, v = linalg.rank_factors(value)
    require(u.size + v.size == lora_stored(change.rows, change.columns, tau))
    require(lora_floor(value, tau).upper == 0)
    require(lora_floor(value, tau - 1).lower > 0, "one rank less must miss the change")


def check_cheaper(change: SparseChange) -> None:
    """Fewer stored numbers always; no more degrees of freedom, and as many only for the full parameter."""
    cost = support_cost(change.support, change.rows, change.columns)
    require(cost.sparse_stored == len(change.support) < cost.lora_stored)
    require(cost.cheaper == "sparse")
    full = len(change.support) == change.rows * change.columns
    require(cost.sparse_degrees <= cost.lora_degrees)
    require((cost.sparse_degrees == cost.lora_degrees) == full)


def check_block(change: SparseChange) -> None:
    """k × the same s states: rank min(k, s)."""
    k, s = len({d for d, _ in change.support}), len({n for _, n in change.support})
    require(term_rank(change.support) == exact_rank(change.values()) == min(k, s))


# -- routes ------------------------------------------------------------------------------------------------------------


def most_entries(columns: Any, rows: Any, channels: Any, states: Any) -> Any:
    """a N + b D − a b: the largest support that a channels and b states cover."""
    return channels * columns + states * rows - channels * states


def prove_inequalities(profile: Profile) -> Outcome:
    """The three identities behind the inequalities, and the inequalities themselves on every size up to 9."""
    d, n, a, b, k, s = sympy.symbols("D N a b k s", nonnegative=True)
    # k channels × s states with s ≤ k, rank s (the other case by exchanging the roles of channels and states)
    require(sympy.expand(s * (d + n - s) - k * s - s * (d + n - k - s)) == 0)
    # a channels and b states cover the support, so it has at most a N + b D − a b entries; rank a + b
    covered = most_entries(n, d, a, b)
    require(sympy.expand((a + b) * (d + n) - covered - (a * d + b * n + a * b)) == 0)
    require(sympy.expand((a + b) * (d + n - a - b) - covered - (a * (d - a - b) + b * (n - b))) == 0)
    count = 0
    for rows in range(1, 10):
        for columns in range(1, 10):
            for i in range(min(rows, columns) + 1):
                for j in range(min(rows, columns) - i + 1):
                    if i + j == 0:
                        continue
                    entries = most_entries(columns, rows, i, j)
                    require(entries < lora_stored(rows, columns, i + j))
                    free = lora_dimension(rows, columns, i + j)
                    require(entries <= free and (entries == free) == (entries == rows * columns), (rows, columns, i, j))
                    count += 1
    return Outcome(
        Verdict.EXACT,
        "stored: (a + b)(D + N) − (aN + bD − ab) = aD + bN + ab > 0; degrees: the difference is a(D − a − b) + b(N − b) ≥ 0, "
        "zero only for the full parameter (identities symbolic, for every size; a + b = term rank by König)",
        "symbolic in D, N, a, b; enumerated for D, N ≤ 9",
        count + 3,
    )


_EXHAUSTED = ((1, 1), (1, 3), (2, 2), (2, 3), (3, 2), (3, 3), (2, 4))


def prove_term_rank(profile: Profile) -> Outcome:
    """Every support of the listed sizes: matching = rank of generic values = number of lines that cover it."""
    count = 0
    for rows, columns in _EXHAUSTED:
        cells = [(d, n) for d in range(rows) for n in range(columns)]
        for mask in range(1, 2 ** len(cells)):
            support = frozenset(cell for i, cell in enumerate(cells) if mask >> i & 1)
            tau = term_rank(support)
            require(exact_rank(generic_values(support, rows, columns)) == tau, support)
            channels, states = line_cover(support)
            require(len(channels) + len(states) == tau and all(d in channels or n in states for d, n in support), support)
            count += 1
    return Outcome(
        Verdict.EXACT,
        "lower bound by a minor whose Leibniz terms have distinct 2-adic valuations, upper bound by a line cover of the same "
        "size (every size: README); all supports enumerated",
        ", ".join(f"{d}×{n}" for d, n in _EXHAUSTED),
        count,
    )


def cost_tables(profile: Profile) -> Outcome:
    """The cost map for the A matrices of three Mamba models: 1% of the channels, 4 states; dense rank 4."""
    data = {}
    for name, m in MODELS.items():
        rows = model_costs(name, rank=4, channels=max(1, m["d_inner"] // 100), states=4)
        data[name] = [row.to_json() for row in rows]
        for sparse in rows[1:]:
            require(sparse.cheaper == "sparse")
        require(rows[0].cheaper == "lora")  # 4 (D + 16) < 16 D
    return Outcome(Verdict.EXACT, "integer counts per layer and per model", "Mamba 130m, 1.4b, 2.8b", 3 * len(data), data=data)


# -- assumptions -------------------------------------------------------------------------------------------------------


class ValuedChange(NamedTuple):
    """A matrix to realise, and the squared error that is allowed."""

    matrix: tuple[tuple[Fraction, ...], ...]
    tolerance: Fraction = Fraction(0)


def _support(x: ValuedChange) -> set[tuple[int, int]]:
    return {(d, n) for d, row in enumerate(x.matrix) for n, v in enumerate(row) if v != 0}


def _sparse_stores_less(x: ValuedChange) -> bool:
    """Nonzero entries < (least rank within the tolerance)(D + N)."""
    d, n = len(x.matrix), len(x.matrix[0])
    least = next(r for r in range(min(d, n) + 1) if lora_floor(x.matrix, r).upper <= x.tolerance)
    return len(_support(x)) < least * (d + n)


def _as_tuple(matrix: Array) -> tuple[tuple[Fraction, ...], ...]:
    return tuple(tuple(row) for row in matrix)


def _valued() -> st.SearchStrategy[ValuedChange]:
    return sparse_changes().map(lambda c: ValuedChange(_as_tuple(c.values())))


def _constant_blocks() -> st.SearchStrategy[ValuedChange]:
    def build(t: tuple[int, int, int]) -> ValuedChange:
        return ValuedChange(tuple((Fraction(t[2]),) * t[1] for _ in range(t[0])))

    return st.tuples(st.integers(2, 4), st.integers(2, 4), st.integers(1, 5)).map(build)


def _with_tolerance() -> st.SearchStrategy[ValuedChange]:
    return st.builds(lambda x, q: x._replace(tolerance=Fraction(1, q)), _valued(), st.integers(1, 9))


_ALMOST = ValuedChange(((Fraction(101, 100), Fraction(1), Fraction(1)), (Fraction(1),) * 3), Fraction(1, 10_000))


def _row_states(change: SparseChange) -> list[set[int]]:
    return [{n for i, n in change.support if i == d} for d in sorted({d for d, _ in change.support})]


def _scattered() -> st.SearchStrategy[SparseChange]:
    return (
        st.tuples(st.integers(2, 4), st.integers(1, 2))
        .map(lambda t: SparseChange(t[0], 8, frozenset(staggered(t[0], t[1], 8))))
        .filter(lambda c: len({frozenset(r) for r in _row_states(c)}) > 1)
    )


def _block_rank(change: SparseChange) -> bool:
    states = _row_states(change)
    return exact_rank(change.values()) == min(len(states), len(states[0]))


ASSUMPTIONS = (
    Assumption(
        name="generic values",
        statement="the values on the support have rank equal to the term rank",
        predicate=lambda x: exact_rank(x.matrix) == term_rank(_support(x)),
        having=_valued,
        lacking=_constant_blocks,
        conclusion=_sparse_stores_less,
        counterexample=Counterexample(
            "a constant block",
            lambda: ValuedChange(((Fraction(1),) * 3, (Fraction(1),) * 3)),
            "D = 2, N = 3, all entries 1: rank 1, so LoRA stores 5 numbers and the sparse update 6",
        ),
    ),
    Assumption(
        name="exact realisation",
        statement="the change is realised exactly, not up to an error",
        predicate=lambda x: x.tolerance == 0,
        having=_valued,
        lacking=_with_tolerance,
        conclusion=_sparse_stores_less,
        counterexample=Counterexample(
            "almost rank one",
            lambda: _ALMOST,
            "D = 2, N = 3, all entries 1 except 1.01: rank 2, but rank 1 comes within squared error 1e-4 and stores 5, not 6",
        ),
    ),
    Assumption(
        name="the same states in every chosen channel",
        statement="for the rank min(k, s): all k channels change the same s states",
        predicate=lambda c: len({frozenset(r) for r in _row_states(c)}) == 1,
        having=blocks,
        lacking=_scattered,
        conclusion=_block_rank,
        counterexample=Counterexample(
            "one state each, but different ones",
            lambda: SparseChange(2, 2, frozenset({(0, 0), (1, 1)})),
            "k = 2 channels, s = 1 state each, on the diagonal: rank 2 = term rank, not min(k, s) = 1 (and k = 3 gives 3)",
        ),
    ),
)

CLAIM = Claim(
    id="lora_limits.cheaper_sparse",
    title="a sparse change with generic values is always cheaper to store than the LoRA that holds it",
    statement=(
        "k channels × the same s states with generic values: exact LoRA needs rank min(k, s) and stores min(k, s)(D + N) > k s "
        "numbers. Any support: rank = term rank τ (König), and the number of entries is less than τ(D + N). Degrees of freedom: "
        "τ(D + N − τ) ≥ entries, with equality only for the full D × N parameter (k = D, s = N). A dense change of rank ρ is "
        "cheaper as LoRA iff ρ(D + N) < D N."
    ),
    level="parameter",
    horizon="none (no sequence is involved)",
    assumptions=ASSUMPTIONS,
    readme="theory/lora_limits/cheaper_sparse/README.md",
    not_claimed=(
        "Indices are not counted among stored numbers (they are listed beside them). Nothing about which change a task needs, "
        "about approximate realisation, or about LoRA applied to other matrices."
    ),
    parts=(
        Part("rank", argument="derivation"),
        Part("counts", argument="derivation"),
    ),
    checks=(
        Check(
            "inequalities",
            prove_inequalities,
            "counts",
            planted=(
                Planted(
                    "crossings of the cover counted twice",
                    swap("most_entries", lambda right: lambda columns, rows, a, b: right(columns, rows, a, b) + a * b),
                ),
            ),
        ),
        Check(
            "term rank, exhaustively",
            prove_term_rank,
            "rank",
            planted=(
                Planted("one less than the term rank", swap("term_rank", changed(lambda rank: rank - 1))),
                Planted("a cover that leaves out a line", swap("line_cover", changed(lambda cover: (cover[0], frozenset())))),
            ),
        ),
        Check(
            "term rank is the LoRA rank",
            exact_check(check_term_rank, sparse_changes, "generic rank = matching = line cover", "D, N ≤ 5, ≤ 12 entries"),
            "rank",
            planted=(
                Planted("one less than the term rank", swap("term_rank", changed(lambda rank: rank - 1))),
                Planted("values of rank one", swap("SparseChange.values", changed(lambda values: values * 0 + 1))),
            ),
        ),
        Check(
            "rank of a block",
            exact_check(check_block, blocks, "rank min(k, s)", "D, N ≤ 6, k s ≤ 12"),
            "rank",
            planted=(
                Planted(
                    "the larger of k and s",
                    swap("term_rank", lambda _: lambda support: max(len({d for d, _ in support}), len({n for _, n in support}))),
                ),
            ),
        ),
        Check(
            "sparse stores less",
            exact_check(check_cheaper, sparse_changes, "entries < τ(D + N); degrees equal only when full", "D, N ≤ 5"),
            "counts",
            planted=(
                Planted(
                    "as many entries as LoRA stores",
                    swap("support_cost", changed(lambda cost: replace(cost, sparse_stored=cost.lora_stored))),
                ),
                Planted(
                    "a full parameter's degrees",
                    swap("support_cost", changed(lambda cost: replace(cost, lora_degrees=cost.sparse_stored))),
                ),
            ),
        ),
        Check(
            "Mamba's cost map",
            cost_tables,
            None,
            planted=(
                Planted(
                    "sparse changes that store more",
                    swap("model_costs", changed(lambda rows: [replace(row, sparse_stored=10**9) for row in rows])),
                ),
            ),
        ),
    ),
)
