"""What a LoRA and a sparse update (SDT) cost for the same exact change of a D × N parameter such as A.

A sparse update stores its nonzero entries. A LoRA must have rank ≥ rank Δ and stores rank Δ (D + N) numbers. Which is
cheaper depends on the shape of the change alone:

    change Δ                                     rank            LoRA stores       sparse stores
    dense, of rank ρ                             ρ               ρ(D + N)          D N
    k channels, the same s states in each        min(k, s)       min(k, s)(D + N)  k s
    k channels, s states of their own in each    term rank       term rank (D + N) k s

Ranks are those of generic values; the term rank is the size of a maximum matching between channels and states (König).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import networkx as nx
import numpy as np

from theory.core.errors import InvalidInput, UnknownName
from theory.core.lti import require_length
from theory.core.scalars import Array

from .low_rank import lora_dimension, lora_stored, require_rank

Support = Collection[tuple[int, int]]  # positions (channel, state)

# Published configurations: layers, d_model, d_inner, N = d_state, R = dt_rank, K = d_conv.
MODELS: dict[str, dict[str, int]] = {
    "mamba-130m": {"layers": 24, "d_model": 768, "d_inner": 1536, "d_state": 16, "dt_rank": 48, "d_conv": 4},
    "mamba-1.4b": {"layers": 48, "d_model": 2048, "d_inner": 4096, "d_state": 16, "dt_rank": 128, "d_conv": 4},
    "mamba-2.8b": {"layers": 64, "d_model": 2560, "d_inner": 5120, "d_state": 16, "dt_rank": 160, "d_conv": 4},
}


def model_shape(name: str) -> dict[str, int]:
    """Layers and widths of a published Mamba model; UnknownName lists the known ones."""
    if name not in MODELS:
        raise UnknownName(f"no model named {name!r}; known: {', '.join(MODELS)}")
    return dict(MODELS[name])


def _graph(support: Support) -> tuple[nx.Graph, list[tuple[str, int]]]:
    graph: nx.Graph[tuple[str, int]] = nx.Graph()
    rows = sorted({("channel", d) for d, _ in support})
    graph.add_nodes_from(rows, bipartite=0)
    graph.add_edges_from((("channel", d), ("state", n)) for d, n in support)
    return graph, rows


def _check_support(support: Iterable[tuple[int, int]], rows: int, columns: int) -> set[tuple[int, int]]:
    entries = set(support)
    for d, n in entries:
        if not (0 <= d < rows and 0 <= n < columns):
            raise InvalidInput(f"support entry ({d}, {n}) lies outside the {rows} × {columns} parameter")
    return entries


def term_rank(support: Support) -> int:
    """Size of a maximum matching between the channels and states of a support: the generic rank of values on it."""
    graph, rows = _graph(support)
    return len(nx.bipartite.maximum_matching(graph, top_nodes=rows)) // 2 if support else 0


def line_cover(support: Support) -> tuple[set[int], set[int]]:
    """Channels and states, term-rank many together, that cover the support (König 1931): the certificate of its size."""
    if not support:
        return set(), set()
    graph, rows = _graph(support)
    matching = nx.bipartite.maximum_matching(graph, top_nodes=rows)
    cover = nx.bipartite.to_vertex_cover(graph, matching, top_nodes=rows)
    return {i for side, i in cover if side == "channel"}, {i for side, i in cover if side == "state"}


def generic_values(support: Support, rows: int, columns: int) -> Array:
    """Integer values on a support whose every minor with a perfect matching is nonzero: entry number i is 2^(2^i).

    Leibniz terms of a minor are ±2^e with pairwise different e (distinct sums of distinct powers of two), so the smallest e
    does not cancel. Supports of at most 16 entries.
    """
    entries = sorted(_check_support(support, rows, columns))
    if len(entries) > 16:
        raise InvalidInput(f"{len(entries)} entries: the exponents double with each; at most 16 are supported")
    out = np.full((rows, columns), Fraction(0), dtype=object)
    for i, (d, n) in enumerate(entries):
        out[d, n] = Fraction(2 ** (2**i))
    return out


def same_states(channels: int, states: int) -> set[tuple[int, int]]:
    """Support of k channels × the same s states (SDT with one state mask per layer)."""
    return {(d, n) for d in range(channels) for n in range(states)}


def staggered(channels: int, states: int, columns: int) -> set[tuple[int, int]]:
    """Support of k channels with s states of their own: channel d takes states d s, …, d s + s − 1 modulo N."""
    if states > columns:
        raise InvalidInput(f"{states} states per channel exceed N = {columns}")
    return {(d, (d * states + i) % columns) for d in range(channels) for i in range(states)}


@dataclass(frozen=True)
class StructureCost:
    """One change and what each structure pays for it, per layer and for the whole model.

    Attributes
    ----------
    update:
        The change in words.
    rank:
        Least LoRA rank that realises it exactly.
    lora_stored, lora_degrees:
        r(D + N) and r(D + N − r), per layer.
    sparse_stored, sparse_degrees:
        Nonzero entries, per layer; a sparse update has no gauge, so the two agree.
    sparse_indices:
        Integers a sparse update needs beside the values (a list of channels and of states, or the states per channel;
        none for a dense change).
    layers:
        Multiplier for the ``total_`` properties.
    """

    update: str
    rank: int
    lora_stored: int
    lora_degrees: int
    sparse_stored: int
    sparse_indices: int
    layers: int = 1

    @property
    def sparse_degrees(self) -> int:
        """Degrees of freedom of the sparse update: its stored values."""
        return self.sparse_stored

    @property
    def cheaper(self) -> Literal["lora", "sparse", "equal"]:
        """Which stores fewer numbers (values only)."""
        if self.lora_stored == self.sparse_stored:
            return "equal"
        return "lora" if self.lora_stored < self.sparse_stored else "sparse"

    @property
    def fewer_degrees(self) -> Literal["lora", "sparse", "equal"]:
        """Which has fewer degrees of freedom: the intrinsic size, whatever the storage."""
        if self.lora_degrees == self.sparse_degrees:
            return "equal"
        return "lora" if self.lora_degrees < self.sparse_degrees else "sparse"

    @property
    def total_lora(self) -> int:
        """Numbers stored by LoRA in all layers."""
        return self.layers * self.lora_stored

    @property
    def total_sparse(self) -> int:
        """Numbers stored by the sparse update in all layers."""
        return self.layers * self.sparse_stored

    def to_json(self) -> dict[str, Any]:
        """The row as JSON types."""
        return {
            "update": self.update,
            "rank": self.rank,
            "lora stored": self.lora_stored,
            "lora degrees": self.lora_degrees,
            "sparse stored": self.sparse_stored,
            "sparse indices": self.sparse_indices,
            "lora total": self.total_lora,
            "sparse total": self.total_sparse,
            "cheaper": self.cheaper,
        }


def _row(update: str, rows: int, columns: int, rank: int, entries: int, indices: int, layers: int) -> StructureCost:
    stored, degrees = lora_stored(rows, columns, rank), lora_dimension(rows, columns, rank)
    return StructureCost(update, rank, stored, degrees, entries, indices, layers)


def support_cost(support: Support, rows: int, columns: int, layers: int = 1) -> StructureCost:
    """The cost of generic values on an explicit support."""
    entries = _check_support(support, rows, columns)
    name = f"{len(entries)} scattered entries"
    return _row(name, rows, columns, term_rank(entries), len(entries), 2 * len(entries), layers)


def structure_costs(
    d_inner: int, d_state: int, *, rank: int, channels: int, states: int, layers: int = 1
) -> tuple[StructureCost, StructureCost, StructureCost]:
    """The map of costs for three changes of a D × N parameter: dense of rank ρ, k × s on the same states, k × s scattered.

    Parameters
    ----------
    d_inner, d_state:
        D and N.
    rank:
        ρ ≤ min(D, N) of the dense change.
    channels, states:
        k ≤ D and s ≤ N of the two sparse changes. Scattered: channel d takes states d s, …, d s + s − 1 modulo N, which has
        the largest term rank possible for these k and s, min(k, N).
    layers:
        Number of layers, for the totals.

    Raises
    ------
    InvalidInput
        A size that is not a positive integer or exceeds the parameter's.
    """
    d, n = require_length(d_inner, "d_inner"), require_length(d_state, "d_state")
    k, s = require_length(channels, "channels"), require_length(states, "states")
    layers, rho = require_length(layers, "layers"), require_rank(require_length(rank, "rank"), d, n)
    if k > d or s > n:
        raise InvalidInput(f"{k} channels × {s} states do not fit in a {d} × {n} parameter")
    scattered = staggered(k, s, n)
    return (
        _row(f"dense, rank {rho}", d, n, rho, d * n, 0, layers),
        _row(f"{k} channels, the same {s} states", d, n, min(k, s), k * s, k + s, layers),
        _row(f"{k} channels, {s} states each, scattered", d, n, term_rank(scattered), k * s, k + k * s, layers),
    )


def model_costs(name: str, *, rank: int, channels: int, states: int) -> tuple[StructureCost, ...]:
    """:func:`structure_costs` for the A matrices of a published Mamba model, with all its layers."""
    m = model_shape(name)
    return structure_costs(m["d_inner"], m["d_state"], rank=rank, channels=channels, states=states, layers=m["layers"])
