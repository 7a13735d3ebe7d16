"""LoRA or a sparse change of a D × N parameter: which one stores fewer numbers (claim lora_limits.cheaper_sparse).

A change with e nonzero entries and rank ρ costs ρ(D + N) numbers as LoRA and e as a sparse update. LoRA is cheaper iff
e > ρ(D + N). Generic values on any support have ρ ≥ e/D, so they never get there: only changes whose values are special do.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from matplotlib.figure import FigureBase

from theory.lora_limits.costs import MODELS, model_shape, structure_costs
from theory.lora_limits.low_rank import lora_stored

from .. import style
from ..registry import Picture
from ..sources import check_data

CLAIM, CHECK = "lora_limits.cheaper_sparse", "Mamba's cost map"
MAPPED = "mamba-130m"
UPDATES = {"dense": "all entries, rank {rank}", "same": "{k} channels × {s} states", "scattered": "the same, scattered"}


def data() -> dict[str, Any]:
    """The boundary for one model, generic changes on it, and the verdict's counts for all three models."""
    shape = model_shape(MAPPED)
    d, n = shape["d_inner"], shape["d_state"]
    boundary = [lora_stored(d, n, rank) for rank in range(1, n + 1)]
    generic = []
    for channels in (1, 4, 16, 64, 256, d):
        for states in (1, 4, n):
            _, same, scattered = structure_costs(d, n, rank=1, channels=channels, states=states)
            generic += [(row.sparse_stored, row.rank) for row in (same, scattered)]
    rows = {model: [_row(row) for row in check_data(CLAIM, CHECK)[model]] for model in MODELS}
    distinct = [list(point) for point in sorted(set(generic))]
    return {"model": MAPPED, "D": d, "N": n, "boundary": boundary, "generic": distinct, "rows": rows}


def _row(row: dict[str, Any]) -> dict[str, Any]:
    numbers = [int(word) for word in re.findall(r"\d+", row["update"])]
    kind = next(kind for kind in UPDATES if kind in row["update"])
    label = UPDATES[kind].format(rank=row["rank"], k=numbers[0], s=numbers[-1])
    return {"update": label, "lora": row["lora total"], "sparse": row["sparse total"]}


def says(data: dict[str, Any]) -> str:
    """What generic changes come to."""
    edges = data["boundary"]
    above = sum(entries > edges[rank - 1] for entries, rank in data["generic"])
    return f"LoRA stores {above or 'none'} of {len(data['generic'])} generic changes of A in fewer numbers than a sparse update"


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """Above: the map of entries and rank. Below: numbers stored in all layers, LoRA beside sparse, model by model."""
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.0, 1.25), squeeze=False)[:, 0]
    _map(top.subplots(), data)
    _rows(bottom.subplots(), data)


def _map(axes: Any, data: dict[str, Any]) -> None:
    d, n = data["D"], data["N"]
    ranks = np.arange(1, n + 1)
    edges = np.array(data["boundary"])
    axes.fill_betweenx(ranks, edges, d * n, where=edges <= d * n, color=style.ORANGE, alpha=0.55, linewidth=0)
    axes.fill_betweenx(ranks, ranks, np.minimum(edges, d * n), color=style.SKY, alpha=0.35, linewidth=0)
    axes.plot(edges[edges <= d * n], ranks[edges <= d * n], color=style.BLACK, linewidth=0.9)
    axes.plot(*np.array(data["generic"]).T, "o", color=style.BLUE, markersize=3, clip_on=False, zorder=3)
    axes.set_xscale("log")
    axes.set_xlim(1, d * n)
    axes.set_ylim(0, n)
    axes.set_yticks([0, 4, 8, 12, 16])
    axes.set_xlabel("nonzero entries of the change of A, one layer")
    axes.set_ylabel("rank of the change")
    axes.set_title(f"{data['model']}: A is {d} × {n}", pad=8)
    axes.text(150, 10, "a sparse update", ha="center", va="center")
    axes.text(150, 6.5, "dots: generic values\non some support", ha="center", va="center", color=style.BLUE)
    axes.text(np.sqrt(edges[2] * d * n), 3, "LoRA", ha="center", va="center")
    axes.text(1.2, 13, "fewer entries\nthan rank", color=style.GREY, va="center")


def _rows(axes: Any, data: dict[str, Any]) -> None:
    place = 0.0
    ticks: list[float] = []
    labels: list[str] = []
    for model, rows in data["rows"].items():
        axes.text(-0.02, place - 0.9, model, transform=axes.get_yaxis_transform(), ha="right", va="center", fontweight="bold")
        for row in rows:
            axes.plot([row["lora"], row["sparse"]], [place, place], color=style.LIGHT, zorder=1)
            axes.plot(row["lora"], place, "D", color=style.VERMILION, label="LoRA" if not ticks else None)
            axes.plot(row["sparse"], place, "o", color=style.BLUE, label="sparse" if not ticks else None)
            ticks.append(place)
            labels.append(row["update"])
            place += 1
        place += 1.2
    axes.set_yticks(ticks)
    axes.set_yticklabels(labels)
    axes.set_ylim(place - 1.6, -1.4)
    axes.set_xscale("log")
    axes.set_xlabel("numbers stored in all layers")
    axes.grid(axis="x")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, handlelength=1)


FIGURE = Picture(
    title="where LoRA and where a sparse update stores fewer numbers",
    claims=(CLAIM,),
    sources=("theory/verdicts.json", "theory.lora_limits.costs"),
    height=4.4,
    data=data,
    draw=draw,
    says=says,
)
