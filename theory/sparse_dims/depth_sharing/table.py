"""The budget table of depth_sharing: (L, L*, D, rank, channels, other channels) with witness, obstruction or OPEN.

Every row names the function that decides it, and :func:`budget_table` runs them all again. OPEN rows carry the outcome of a
bounded, seeded numerical search, which decides nothing: it also misses witnesses that are known to exist, and the
calibration says how often.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from theory.core.tolerance import SEARCH_MATCH
from theory.verification.refutation import Refuted, require

from .counts import count_allows, first_width_refuting, target_certificate, tuned_dimension
from .search import random_problem, search

Status = Literal["witness", "obstruction", "OPEN"]


@dataclass(frozen=True)
class Row:
    """One budget: frozen depth L, target depth L*, width D, LoRA rank on every W, what is tuned and what the rest does."""

    depth: int | str
    target_depth: int | str
    width: int | str
    rank: int | str
    channels: str
    others: str
    status: Status
    scope: str
    decided_by: str


DECIDED = (
    Row(2, 1, 2, "any", "1 per layer, 1 state", "zeroed", "obstruction", "W*_12 W*_21 ≠ 0", "proofs.zeroed_one_state"),
    Row(2, 1, 2, 1, "1 per layer, 1 state", "zeroed", "witness", "W*_12 W*_21 = 0", "zeroed.two_layer_witness"),
    Row(
        2,
        1,
        2,
        "any",
        "1 per layer, any states",
        "zeroed",
        "obstruction",
        "W*_12 W*_21 det W* u*_1 u*_2 ≠ 0",
        "proofs.zeroed_any_states",
    ),
    Row(
        2,
        1,
        2,
        1,
        "1 per layer, 2 states",
        "zeroed",
        "witness",
        "det W* = 0, generic otherwise",
        "zeroed.two_layer_witness_singular",
    ),
    Row(
        3,
        1,
        2,
        1,
        "1 per layer, 1 state",
        "zeroed",
        "witness",
        "real transmission zeros, generic otherwise",
        "zeroed.three_layer_witness",
    ),
    Row(
        "any",
        1,
        2,
        "any",
        "1 per layer, 1 state",
        "zeroed",
        "obstruction",
        "complex transmission zeros",
        "proofs.transmission_zeros",
    ),
    Row(2, 1, 2, 1, "1 per layer, disjoint", "frozen", "witness", "generic", "proofs.cancelling_pair"),
    Row(
        "2..4",
        1,
        "2..4",
        "D − 1",
        "⌈D/G⌉ per layer, disjoint for G ≤ D",
        "frozen",
        "witness",
        "generic",
        "cancellation.cancelling_witness",
    ),
    Row(2, 1, 3, 1, "disjoint", "frozen", "obstruction", "generic", "rank_one.rank_one_obstruction"),
    Row(2, 1, 4, "1, 2", "2 per layer, disjoint", "frozen", "obstruction", "generic", "disjoint.rank_bound"),
    Row("any", 1, "any", "any", "any", "any", "obstruction", "u frozen, Π u_g ≠ u*", "proofs.frozen_skip"),
    Row("L* + k", "any", "any", "rank(W* − W)", "all", "zeroed in k layers", "witness", "ReLU", "identity.deeper_witness"),
)


def counted_rows(depths: Sequence[int] = (2, 3)) -> Iterator[Row]:
    """The first width at which rank ⌈L/L*⌉ = G is excluded by the count, with the target's dimension certified exactly."""
    for depth in depths:
        width = first_width_refuting(depth, depth)
        if depth == 2:  # the certificate at D = 10; larger widths rest on the argument alone
            dimension = tuned_dimension(depth, width, depth, width)
            require(target_certificate(width, 1).exceeds(dimension), f"D = {width}: no certificate")
        require(not count_allows(depth, width, depth, 1) and count_allows(depth, width - 1, depth, 1))
        yield Row(depth, 1, width, depth, "q = D N* states", "any", "obstruction", "generic target", "counts.count_allows")


# (width, tuned channels per layer, rank) of the questions that stay open, all with the other channels frozen and nonzero
OPEN_BUDGETS: tuple[tuple[int, tuple[tuple[int, ...], ...], int], ...] = (
    (3, ((0,), (1,), (2,)), 1),
    (3, ((0,), (1,), (2,), (0,)), 1),
    (3, ((0, 1), (1, 2)), 1),
)

# Questions whose witness is known (rank D − 1, frozen, disjoint): what the same search makes of them.
KNOWN_BUDGETS: tuple[tuple[int, tuple[tuple[int, ...], ...], int], ...] = (
    (2, ((0,), (1,)), 1),
    (3, ((0, 1), (2,)), 2),
    (3, ((0,), (1,), (2,)), 2),
)


@dataclass(frozen=True)
class SearchedRow:
    """A row with the best residual that the search found on each seed, smallest first."""

    row: Row
    residuals: tuple[float, ...]
    starts: int

    @property
    def matched(self) -> int:
        """Seeds with a residual below ``SEARCH_MATCH``."""
        return sum(r < SEARCH_MATCH for r in self.residuals)


def searched(
    width: int, tuned: Sequence[Sequence[int]], rank: int, *, seeds: int, starts: int, known: bool = False, steps: int = 200
) -> SearchedRow:
    """Run the bounded search on ``seeds`` random generic problems, ``starts`` starts each."""
    if not count_allows(len(tuned), width, rank, 1, sum(len(s) for s in tuned)):
        raise Refuted(f"D = {width}, rank {rank}, tuned {tuned}: already excluded by the count")
    best = []
    for seed in range(seeds):
        best.append(search(random_problem(seed, width, tuned, rank), starts, seed, steps).best)
    channels = " | ".join(",".join(str(d + 1) for d in s) for s in tuned)
    how = "search.search (evidence only)"
    row = Row(len(tuned), 1, width, rank, channels, "frozen", "witness" if known else "OPEN", "generic", how)
    return SearchedRow(row, tuple(sorted(best)), starts)


def budget_table(seeds: int = 1, starts: int = 3) -> list[dict[str, Any]]:
    """All rows as JSON types: decided, counted, then OPEN ones with the residuals of their search.

    The decided rows' functions are run by the claim's checks; the counts and the searches run here.
    """
    rows: list[dict[str, Any]] = [asdict(row) for row in (*DECIDED, *counted_rows())]
    for width, tuned, rank in OPEN_BUDGETS:
        found = searched(width, tuned, rank, seeds=seeds, starts=starts)
        rows.append(asdict(found.row) | {"residuals": [float(f"{r:.1e}") for r in found.residuals], "starts": found.starts})
    return rows
