"""SDT: train chosen states of chosen channels only, as compact vectors of the chosen entries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from ..errors import InvalidInput, UnknownName
from .attachment import Attachment
from .base import MethodConfig, adapter_dtype, register
from .geometry import Geometry, find_mixers, geometry
from .selection import Pair, Selection

Projection = Literal["columns", "entries", "none"]


class SparseUpdate(nn.Module):
    """W ↦ W + scatter(delta): ``delta`` (K,) is added at K chosen entries; zero at the start.

    Parameters
    ----------
    base:
        The tensor W.
    entries:
        Positions in the flattened tensor, int64 (K,), without repetition.
    """

    index: Tensor

    def __init__(self, base: Tensor, entries: Tensor):
        super().__init__()
        self.register_buffer("index", entries, persistent=False)
        self.delta = nn.Parameter(torch.zeros(entries.numel(), dtype=adapter_dtype(base)))

    def may_draw(self) -> bool:
        """Never."""
        return False

    def forward(self, weight: Tensor) -> Tensor:
        return weight.reshape(-1).index_add(0, self.index, self.delta.to(weight.dtype)).view_as(weight)


@register
@dataclass(frozen=True)
class SDT(MethodConfig):
    """Sparse dimension tuning with a given selection of (channel d, state n) pairs.

    Mamba-1: ``A_log[d, n]`` for every pair, and in ``x_proj``, for both B and C, with ``projection``

        columns   column d, all N rows, of every chosen channel d (as released)
        entries   row n of column d, for every pair
        none      nothing

    Mamba-2: channels are heads, which share one decay and, in a group, B and C. ``A_log[h]`` for every chosen head, and the
    rows of ``in_proj`` that make B_n and C_n of the head's group for every pair (h, n), unless ``projection`` is none.

    S4: ``log_A_real``, ``A_imag`` and ``C`` at every pair (B is 1), and with ``columns`` the columns of ``out_proj`` that read
    the chosen channels.

    Raises
    ------
    InvalidInput
        The selection is empty or lies outside of a mixer.
    UnknownName
        On apply: the model has no such mixer.

    Source: Galim et al. 2024, arXiv 2410.09016, section 5.
    """

    name: ClassVar[str] = "sdt"
    selection: Selection
    projection: Projection = "columns"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.selection, Selection) or not len(self.selection):
            raise InvalidInput(f"selection is {self.selection!r}: no dimension is selected; make one with selection.select")
        if self.projection not in ("columns", "entries", "none"):
            raise UnknownName("projection", self.projection, ("columns", "entries", "none"))

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "selection": self.selection.to_json(), "projection": self.projection}

    @classmethod
    def from_json(cls, options: Mapping[str, Any]) -> Self:
        chosen = options.get("selection")
        if isinstance(chosen, dict):
            options = {**options, "selection": Selection.of(chosen)}
        elif not isinstance(chosen, Selection):
            raise InvalidInput("sdt needs a selection: {mixer name: [[channel, state], ...]}")
        return super().from_json(options)

    def attach(self, to: Attachment) -> None:
        mixers = dict(find_mixers(to.model))
        own = {t.name: t for t in to.tensors()}
        for name, pairs in self.selection.layers:
            if name not in mixers:
                raise UnknownName("mixer", name, mixers)
            for tensor, entries in chosen_entries(geometry(mixers[name]), pairs, self.projection, name).items():
                if f"{name}.{tensor}" not in own:
                    raise InvalidInput(f"{name}.{tensor} is wrapped by another library's adapter; merge that adapter first")
                base = own[f"{name}.{tensor}"]
                to.parametrize(base, SparseUpdate(base.parameter, entries))


def chosen_entries(sizes: Geometry, pairs: tuple[Pair, ...], projection: Projection, where: str) -> dict[str, Tensor]:
    """Flat positions, sorted, that a selection trains in each tensor of a mixer.

    Raises
    ------
    InvalidInput
        A pair lies outside of the mixer.
    """
    for pair in pairs:
        if pair[0] >= sizes.channels or pair[1] >= sizes.d_state:
            raise InvalidInput(
                f"selection of {where} holds {pair}, but it has {sizes.channels} channels and {sizes.d_state} states"
            )
    d, n = torch.tensor(pairs, dtype=torch.int64).unbind(1)
    if sizes.kind == "mamba2":
        chosen = {"A_log": d.unique()}
        if projection != "none":
            group = d // (sizes.heads // sizes.groups)
            rows_B = 2 * sizes.d_inner + (group * sizes.d_state + n).unique()
            rows = torch.cat([rows_B, rows_B + sizes.groups * sizes.d_state])
            chosen["in_proj.weight"] = (rows[:, None] * sizes.d_model + torch.arange(sizes.d_model)).reshape(-1)
        return chosen
    if sizes.kind == "s4":
        chosen = dict.fromkeys(("log_A_real", "A_imag", "C"), d * sizes.d_state + n)
        if projection == "columns":
            rows, columns = torch.meshgrid(torch.arange(sizes.d_model), d.unique(), indexing="ij")
            chosen["out_proj.weight"] = (rows * sizes.d_inner + columns).reshape(-1)
        elif projection == "entries":
            raise InvalidInput("S4 has no projection entry for one state; use projection='columns' or 'none'")
        return chosen
    chosen = {"A_log": d * sizes.d_state + n}
    if projection != "none":
        if projection == "columns":
            rows_B, columns = (v.reshape(-1) for v in torch.meshgrid(torch.arange(sizes.d_state), d.unique(), indexing="ij"))
        else:
            rows_B, columns = n, d
        rows_B = rows_B + sizes.dt_rank
        rows, columns = torch.cat([rows_B, rows_B + sizes.d_state]), columns.repeat(2)
        chosen["x_proj.weight"] = (rows * sizes.d_inner + columns).sort().values
    return chosen
