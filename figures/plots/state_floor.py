"""Risk that no state lowers: what theory predicts for prefix and initial-state training, and what training reached.

Claim prefix_state.input_independent: for a teacher with another kernel the population risk of a channel is a floor plus a
least-squares problem in the state. The prediction is its optimum, floor included.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import NullLocator

from theory.core.errors import InvalidInput

from .. import style
from ..registry import Picture
from ..sources import MissingData, command, experiment, summary_path

NAME = "state_floor"
MARKERS = ("o", "s", "^", "D", "v", "P")
COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE, style.ORANGE, style.SKY)


def data() -> dict[str, Any]:
    """Totals over the channels of every method, and each channel of every run."""
    found = experiment(NAME)
    channels = [row for run in found.runs for row in run["held_out"]["channels"]]
    if not channels:  # the table alone has no single channels
        raise MissingData(command(NAME))
    try:
        keys = ("method", "predicted", "measured", "standard_error", "condition")
        points = [{key: row[key] for key in keys} for row in channels]
        totals = [
            {key: row[key] for key in ("method", "floor", "untuned", "predicted", "measured")} for row in found.summary["table"]
        ]
        threshold = found.summary["threshold"]["condition"]
    except KeyError as error:
        raise InvalidInput(f"the results of {NAME} lack {error}; run {command(NAME)}") from error
    return {"points": points, "totals": totals, "condition": threshold, "size": found.size, "seeds": len(found.summary["seeds"])}


def _words(method: str) -> str:
    if not method.startswith("prefix_"):
        return method.replace("_", " ")
    tokens = method.removeprefix("prefix_")
    return f"prefix, {tokens} token{'' if tokens == '1' else 's'}"


def says(data: dict[str, Any]) -> str:
    """How close training comes where least squares is well conditioned, and how far off it stays elsewhere."""
    well, ill = (max((abs(_gap(p)) for p in part), default=None) for part in _parts(data, data["points"]))
    if well is None:
        return "Predicted and measured risk of prefix and initial-state training"
    said = f"Well-conditioned channels meet the predicted risk within {well:.2g} %"
    return said if ill is None else f"{said}; elsewhere gradient steps stop up to {ill:.0f} % above it"


def _gap(point: dict[str, Any]) -> float:
    return float(100 * (point["measured"] / point["predicted"] - 1))


def _parts(data: dict[str, Any], points: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Channels that the experiment judges, and those that it does not because least squares is ill conditioned."""
    judged = [p for p in points if (p["condition"] or 1.0) <= data["condition"]]
    return judged, [p for p in points if (p["condition"] or 1.0) > data["condition"]]


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """Above: risk, predicted and measured, judged channels beside the others. Below: each channel against its conditioning."""
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.25), squeeze=False)[:, 0]
    methods = [row["method"] for row in sorted(data["totals"], key=lambda row: -row["predicted"])]
    _risks(above, data, methods)
    _gaps(below.subplots(), data, methods)
    size = f", {data['size']}" if data["size"] else ""
    style.note(
        figure,
        f"judged: least squares with a condition number of at most {data['condition']:g},",
        f"left of the dotted line; {data['seeds']} seeds{size}",
    )


def _risks(figure: FigureBase, data: dict[str, Any], methods: list[str]) -> None:
    panels = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(methods))
    for axes, name, part in zip(panels, ("judged channels", "the others"), (0, 1), strict=True):
        shown = [_parts(data, [p for p in data["points"] if p["method"] == method])[part] for method in methods]
        axes.barh(places, [sum(p["predicted"] for p in points) for points in shown], 0.6, color=style.LIGHT, label="predicted")
        measured = [(i, sum(p["measured"] for p in points)) for i, points in enumerate(shown) if points]
        axes.plot([value for _, value in measured], [i for i, _ in measured], "o", color=style.VERMILION, label="measured")
        for i, points in enumerate(shown):
            count = f"{len(points)} channels" if points else "none"
            axes.text(0.02, i - 0.33, count, transform=axes.get_yaxis_transform(), va="bottom", color=style.GREY)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"risk of {name}")
    panels[0].set_yticks(places)
    panels[0].set_yticklabels([_words(method) for method in methods])
    panels[0].set_ylim(len(methods) - 0.5, -0.8)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, handlelength=1)


def _gaps(axes: Axes, data: dict[str, Any], methods: list[str]) -> None:
    for (method, marker), colour in zip(zip(methods, MARKERS, strict=False), COLOURS, strict=False):
        mine = [p for p in data["points"] if p["method"] == method]
        error = [100 * p["standard_error"] / p["predicted"] for p in mine]
        axes.errorbar(
            [p["condition"] or 1.0 for p in mine], [_gap(p) for p in mine], yerr=error, fmt=marker, color=colour, linewidth=0.7,
            capsize=0, label=_words(method), markersize=2.4,
        )  # fmt: skip
    axes.axhline(0, color=style.BLACK, linewidth=0.8)
    axes.axvline(data["condition"], color=style.GREY, linewidth=0.8, linestyle=":")
    axes.text(
        data["condition"] / 1.2, 0.97, "judged", transform=axes.get_xaxis_transform(), ha="right", va="top", color=style.GREY
    )
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=1, linscale=0.6)
    gaps = [_gap(p) for p in data["points"]]
    axes.set_ylim(min(-1.5, 2 * min(gaps)), max(1.5, 2 * max(gaps)))
    axes.set_yticks([-1, 0, 1, 10, 100])
    axes.set_yticklabels(["−1", "0", "1", "10", "100"])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y")
    axes.set_xlabel("condition number of the channel's least squares")
    axes.set_ylabel("measured − predicted (%)")
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, handlelength=1)


FIGURE = Picture(
    title="predicted and measured risk of prefix and initial-state training",
    claims=("prefix_state.input_independent",),
    sources=(str(summary_path(NAME)), str(summary_path(NAME, quick=True))),
    height=4.2,
    data=data,
    draw=draw,
    says=says,
    needs=command(NAME),
)
