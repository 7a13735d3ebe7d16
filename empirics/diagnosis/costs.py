"""Trained numbers for this model's sizes: LoRA on every matrix of a layer, a sparse change, and SDT.

Claims lora_limits.cheaper_sparse and lora_limits.rank_floor. A LoRA of rank r on an m × n matrix stores r(m + n) numbers, its
updates have dimension r(m + n − r), a sparse update stores its entries.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from theory.lora_limits.costs import structure_costs
from theory.lora_limits.low_rank import lora_dimension, lora_stored

from ..errors import InvalidInput
from ..methods.geometry import Geometry
from ..methods.sdt import chosen_entries
from ..methods.selection import how_many


@dataclass(frozen=True)
class MatrixCost:
    """One matrix of a layer.

    Attributes
    ----------
    name, rows, columns, entries:
        The matrix and its m, n and m n.
    rank:
        The rank asked for, or min(m, n) where that is less.
    stored, degrees:
        r(m + n) and r(m + n − r).
    largest_rank:
        Up to this rank a dense change is cheaper as LoRA: the largest ρ with ρ(m + n) < m n, 0 where there is none.
    equal_share:
        (m + n) r/(m n): share of the entries that a sparse change of as many numbers as the LoRA may train; above 1 the LoRA
        stores more than the matrix has.
    """

    name: str
    rows: int
    columns: int
    rank: int

    @property
    def entries(self) -> int:
        return self.rows * self.columns

    @property
    def stored(self) -> int:
        return lora_stored(self.rows, self.columns, self.rank)

    @property
    def degrees(self) -> int:
        return lora_dimension(self.rows, self.columns, self.rank)

    @property
    def largest_rank(self) -> int:
        return (self.entries - 1) // (self.rows + self.columns)

    @property
    def equal_share(self) -> float:
        return self.stored / self.entries

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON types."""
        names = ("entries", "stored", "degrees", "largest_rank", "equal_share")
        return {**asdict(self), **{name: getattr(self, name) for name in names}}


def matrices(sizes: Geometry) -> dict[str, tuple[int, int]]:
    """Shapes of what adapters act on in one layer; A is (D, N), in Mamba-2 one column (H, 1)."""
    d, n = sizes.d_inner, sizes.d_state
    if sizes.kind == "mamba2":
        rows = 2 * d + 2 * sizes.groups * n + sizes.heads
        return {"A": (sizes.heads, 1), "in_proj": (rows, sizes.d_model), "out_proj": (sizes.d_model, d)}
    return {
        "A": (d, n),
        "x_proj": (sizes.dt_rank + 2 * n, d),
        "dt_proj": (d, sizes.dt_rank),
        "in_proj": (2 * d, sizes.d_model),
        "out_proj": (sizes.d_model, d),
    }


def costs(sizes: Geometry, n_layers: int, rank: int, channels: float | int, states: float | int) -> dict[str, Any]:
    """What LoRA of one rank and SDT of one size train in a layer.

    Parameters
    ----------
    rank:
        Of every LoRA; a matrix with a smaller side takes that.
    channels, states:
        SDT's choice, counts or shares in (0, 1]: the same states in each of the chosen channels (Mamba-2: heads).

    Returns
    -------
    ``matrices`` (rows of :class:`MatrixCost`), ``sdt`` with ``channels``, ``states``, ``on_A`` (numbers on A), ``share_of_A``,
    ``released`` (with the columns of the projections, as SDT is released), ``lora_rank`` and ``lora_stored`` of the LoRA on A
    that holds such a change exactly if its values are generic.

    Raises
    ------
    InvalidInput
        A rank below 1, or a choice that is empty or larger than the layer.
    """
    if rank < 1:
        raise InvalidInput(f"rank = {rank} must be at least 1")
    rows = [MatrixCost(name, m, n, min(rank, m, n)) for name, (m, n) in matrices(sizes).items()]
    k = how_many(channels, sizes.channels, "channels")
    s = how_many(states, sizes.d_state, "states")
    pairs = tuple(product(range(k), range(s)))
    trained = {
        p: {name: v.numel() for name, v in chosen_entries(sizes, pairs, p, "a layer").items()} for p in ("none", "columns")
    }
    a = rows[0]
    on_block = structure_costs(a.rows, a.columns, rank=1, channels=k, states=min(s, a.columns), layers=n_layers)[1]
    on_a = trained["none"]["A_log"]
    return {
        "rank": rank,
        "matrices": [row.to_json() for row in rows],
        "sdt": {
            "channels": k,
            "states": s,
            "on_A": on_a,
            "share_of_A": on_a / a.entries,
            "released": sum(trained["columns"].values()),
            "lora_rank": on_block.rank,
            "lora_stored": on_block.lora_stored,
        },
    }
