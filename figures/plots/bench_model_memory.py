"""Peak memory of a training step of a whole model: in how many times less than mamba-ssm's each method's step fits."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D

from .. import dots, style
from ..registry import Picture
from . import bench_model

SIZES = ((style.BLUE, "o"), (style.VERMILION, "s"), (style.GREEN, "^"), (style.PURPLE, "D"))
"""Colour and marker of each model size, the smallest first."""


def data() -> dict[str, Any]:
    """The contenders with a measured peak among the data of :mod:`.bench_model`, those that need least first."""
    found = bench_model.data()
    rows = [
        {"name": row["name"], "label": row["label"], "sizes": {size: own["memory"] for size, own in row["sizes"].items()}}
        for row in bench_model.launched(found)
        if any(own["memory"] is not None for own in row["sizes"].values())
    ]
    largest = found["sizes"][-1] if found["sizes"] else ""
    rows.sort(key=lambda row: -(row["sizes"][largest] or 0.0))
    return {"rows": rows, **{key: found[key] for key in ("sizes", "tokens", "gpu")}}


def says(data: dict[str, Any]) -> str:
    """What the least and the most memory are at the largest size."""
    size = data["sizes"][-1]
    measured = [row for row in data["rows"] if row["sizes"][size] is not None]
    if not measured:
        return "Peak memory of a training step"
    best, worst = measured[0], measured[-1]
    return (
        f"At {size} the least memory is {1 / best['sizes'][size]:.2f} of mamba-ssm’s ({best['label']}), "
        f"the most {1 / worst['sizes'][size]:.2f} ({worst['label']})"
    )


def height(data: dict[str, Any]) -> float:
    """By the number of contenders."""
    return 1.1 + 1.15 * dots.ROW * len(data["rows"])


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """One panel, right is better."""
    axes = figure.subplots()
    axes.axvline(1, color=style.BLACK, linewidth=0.8)
    for place, row in enumerate(data["rows"]):
        for (colour, marker), size in zip(SIZES, data["sizes"], strict=False):
            if row["sizes"][size] is not None:
                axes.plot(row["sizes"][size], place, marker, color=colour, markersize=3)
    bench_model.frame(axes, data["rows"])
    axes.set_xlabel("times less than mamba-ssm (better: right)")
    handles = [Line2D([], [], color=c, marker=m, linestyle="none") for c, m in SIZES[: len(data["sizes"])]]
    figure.legend(handles, [f"mamba-{size}" for size in data["sizes"]], loc="outside upper left", ncols=4)
    style.note(figure, *bench_model.machine(data), "fused scan unless another is named; slow: its slow path")


FIGURE = Picture(
    title="peak memory of a training step of a whole model, beside mamba-ssm's",
    claims=(),
    sources=(bench_model.PATH,),
    height=height,
    data=data,
    draw=draw,
    says=says,
    needs=bench_model.COMMAND,
)
