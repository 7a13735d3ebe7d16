"""Which channels and states of which mixer a sparse method trains, and how a score decides it.

A selection lists pairs (channel, state) for each mixer. Scores come first (:mod:`.scores`), then :func:`select` keeps the
best channels and, inside each of them, the best states.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from ..errors import InvalidInput

Pair = tuple[int, int]


@dataclass(frozen=True)
class Scores:
    """Scores of one mixer, larger is better.

    Attributes
    ----------
    states:
        (D, N): how much each state of each channel is worth training.
    channels:
        (D,): the same for whole channels.
    """

    states: Tensor
    channels: Tensor

    @classmethod
    def of_states(cls, states: Tensor) -> Self:
        """Scores whose channels are the sums of their states."""
        return cls(states, states.sum(1))


@dataclass(frozen=True)
class Selection:
    """Chosen (channel, state) pairs, sorted, for each mixer by name."""

    layers: tuple[tuple[str, tuple[Pair, ...]], ...]

    @classmethod
    def of(cls, pairs: Mapping[str, Iterable[Pair]]) -> Self:
        """A selection from a mapping; duplicates are dropped.

        Raises
        ------
        InvalidInput
            No pair at all, or a pair is no pair of non-negative integers.
        """
        layers = tuple((name, tuple(sorted({(int(d), int(n)) for d, n in chosen}))) for name, chosen in pairs.items())
        if not any(chosen for _, chosen in layers):
            raise InvalidInput("the selection is empty: no channel and state is trained; raise the share of channels or states")
        for name, chosen in layers:
            for d, n in chosen:
                if d < 0 or n < 0:
                    raise InvalidInput(f"selection of {name} holds {(d, n)}; channel and state are counted from 0")
        return cls(tuple((name, chosen) for name, chosen in layers if chosen))

    @property
    def pairs(self) -> dict[str, tuple[Pair, ...]]:
        """The pairs by mixer."""
        return dict(self.layers)

    def __len__(self) -> int:
        return sum(len(chosen) for _, chosen in self.layers)

    def as_set(self) -> set[tuple[str, int, int]]:
        """All (mixer, channel, state)."""
        return {(name, d, n) for name, chosen in self.layers for d, n in chosen}

    def to_json(self) -> dict[str, Any]:
        """Mixer names to lists of [channel, state]."""
        return {name: [list(pair) for pair in chosen] for name, chosen in self.layers}


def how_many(share: float | int, total: int, what: str) -> int:
    """A number of channels or states: an integer as it is, a share in (0, 1] of the total rounded, at least 1.

    Raises
    ------
    InvalidInput
        Zero, negative, or more than there are.
    """
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not share > 0:
        raise InvalidInput(f"{what} is {share!r}: nothing would be trained; give a count of at least 1 or a share in (0, 1]")
    if isinstance(share, int):
        if share > total:
            raise InvalidInput(f"{what} is {share}, but there are only {total}; give at most {total}, or a share such as 0.1")
        return share
    if share > 1:
        raise InvalidInput(f"{what} is {share}: a share lies in (0, 1]; give an integer for a count")
    return max(1, round(share * total))


def select(scores: Mapping[str, Scores], channels: float | int, states: float | int) -> Selection:
    """The best channels of every mixer and the best states inside each of them; ties go to the lower index.

    Parameters
    ----------
    channels, states:
        Counts (int) or shares in (0, 1] (float; rounded, at least one).

    Raises
    ------
    InvalidInput
        Nothing would be chosen, more than there is, or a score is not finite.
    """
    if not scores:
        raise InvalidInput("no scores given: the model has no mixer to select in")
    chosen: dict[str, list[Pair]] = {}
    for name, score in scores.items():
        if not (torch.isfinite(score.states).all() and torch.isfinite(score.channels).all()):
            raise InvalidInput(f"scores of {name} hold NaN or infinity: the warm-up diverged; lower its learning rate")
        n_channels, n_states = score.states.shape
        top = _best(score.channels, how_many(channels, n_channels, "channels"))
        inside = how_many(states, n_states, "states")
        chosen[name] = [(d, n) for d in top for n in _best(score.states[d], inside)]
    return Selection.of(chosen)


def _best(values: Tensor, count: int) -> list[int]:
    order = torch.argsort(values.detach().to("cpu", torch.float64), descending=True, stable=True)
    return [int(i) for i in order[:count]]


def precision_recall(selection: Selection, support: Selection) -> tuple[float, float]:
    """Share of the chosen pairs that lie in the known support, and share of the support that is chosen."""
    hits = len(selection.as_set() & support.as_set())
    return hits / len(selection), hits / len(support)
