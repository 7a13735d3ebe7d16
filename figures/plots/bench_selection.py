"""What choosing SDT's dimensions costs: seconds, and training steps of SDT with LoRA at the same shape, against sequence length.

The change scores need a short warm-up, the gradient score as many backward passes. The ablation score needs one evaluation of the
loss for every channel of every block and for the states inside those it keeps: its number is known, its time is that number times
the median of measured evaluations, and drawn as an estimate.
"""

from __future__ import annotations

from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D

from theory.core.errors import InvalidInput

from .. import style
from ..registry import Picture
from ..sources import committed

PATH = "empirics/bench/results/selection_gpu.json"
COMMAND = f"python -m empirics bench selection --out {PATH}"
SIZES = ((style.BLUE, "o"), (style.VERMILION, "s"), (style.GREEN, "^"), (style.PURPLE, "D"))
"""Colour and marker of each model size, in the order of the file."""
SCORES: dict[str, Literal["-", "--", ":"]] = {"change": "-", "gradient": "--", "ablation": ":"}
"""Line of each score."""


def data() -> dict[str, Any]:
    """Seconds and steps of each score by size, in the order of the lengths that were measured."""
    found = committed(PATH, COMMAND)
    try:
        curves = [
            {"size": size, "score": score, "points": [_point(row, score) for row in rows if "missing" not in row]}
            for size, rows in found["sizes"].items()
            for score in SCORES
        ]
        first = next(row for rows in found["sizes"].values() for row in rows if "missing" not in row)
        about = {"gpu": found["machine"]["gpu"], "batch": first["batch"], "steps": first["steps"]}
    except (KeyError, TypeError, AttributeError, StopIteration, ZeroDivisionError) as error:
        raise InvalidInput(f"{PATH} is no result of the selection benchmark ({error!r}); run {COMMAND}") from error
    return {"curves": curves, "sizes": list(found["sizes"]), **about}


def cost(row: dict[str, Any], score: str) -> float:
    """Seconds of a score, of the ablation an estimate."""
    if score == "ablation":
        return float(row["warm_up_s"] + row["evaluation_s"] * row["ablation_evaluations"])
    return float(row["select_s"] + (row["warm_up_s"] if score == "change" else row["gradient_s"]))


def _point(row: dict[str, Any], score: str) -> dict[str, float]:
    seconds = cost(row, score)
    return {"length": row["length"], "seconds": seconds, "steps": seconds / row["step_s"]}


def says(data: dict[str, Any]) -> str:
    """Steps of the cheapest and of the dearest score."""
    steps = {score: [p["steps"] for c in data["curves"] if c["score"] == score for p in c["points"]] for score in SCORES}
    change, ablation = max(steps["change"]), min(steps["ablation"])
    digits = int(f"{ablation:.0e}".partition("e")[2])
    dear = round(ablation, -digits)
    return f"Choosing SDT’s dimensions costs at most {change:.0f} training steps by change, {dear:,.0f} or more by ablation"


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """Left: seconds; right: training steps."""
    panels = figure.subplots(1, 2)
    for axes, key in zip(panels, ("seconds", "steps"), strict=True):
        _panel(axes, data, key)
    panels[0].set_title("Seconds")
    panels[1].set_title("Training steps")
    handles = [Line2D([], [], color=c, marker=m, linewidth=0.8) for c, m in SIZES[: len(data["sizes"])]]
    handles += [Line2D([], [], color=style.BLACK, linestyle=line, linewidth=0.8) for line in SCORES.values()]
    names = {"change": "change", "gradient": "gradient", "ablation": "ablation (estimate)"}
    labels = [f"mamba-{size}" for size in data["sizes"]] + [names[score] for score in SCORES]
    figure.legend(handles, labels, loc="outside upper left", ncols=3)
    style.note(
        figure,
        f"{data['gpu'] or 'cpu'}, batch {data['batch']}, fused scan",
        f"{data['steps']} batches of warm-up or gradient; ablation: a median evaluation",
        "for each channel, and for each state of 10 % of them",
    )


def _panel(axes: Axes, data: dict[str, Any], key: str) -> None:
    for curve in data["curves"]:
        colour, marker = SIZES[data["sizes"].index(curve["size"]) % len(SIZES)]
        lengths = [point["length"] for point in curve["points"]]
        axes.plot(
            lengths, [point[key] for point in curve["points"]], SCORES[curve["score"]], color=colour, marker=marker,
            markersize=2.4, linewidth=0.8,
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = sorted({point["length"] for curve in data["curves"] for point in curve["points"]})
    axes.set_xticks(ticks)
    axes.set_xticklabels([str(t) if t < 1024 else f"{t // 1024}k" for t in ticks])
    axes.minorticks_off()
    axes.set_xlabel("tokens")


FIGURE = Picture(
    title="what choosing SDT's dimensions costs, by score, model size and sequence length",
    claims=(),
    sources=(PATH,),
    height=2.9,
    data=data,
    draw=draw,
    says=says,
    needs=COMMAND,
)
