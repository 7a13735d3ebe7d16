"""Random states and their best prefixes of M tokens: what is left over, what it costs, and how many directions are seen.

Lines are theory's (claim prefix_state.finite_precision): the least residual that a prefix of that norm allows, and the number of
Hankel singular values above the precision's resolution. Bands reach from that residual to the largest one predicted, which allows
for rounding. Markers are measured on the model in that precision.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from theory.core.errors import InvalidInput

from .. import digits, style
from ..registry import Picture
from ..sources import MissingData, command, experiment, summary_path

NAME = "state_to_prefix"
COMMAND = command(NAME)
SOLVED = "least squares"
LOOKS = {
    ("float64", SOLVED): ("float64", style.BLUE, "o", "-"),
    ("float32", SOLVED): ("float32", style.VERMILION, "s", "--"),
    ("bfloat16 tokens", SOLVED): ("bfloat16 tokens", style.GREEN, "^", ":"),
    ("float64", "AdamW"): ("float64, by AdamW", style.BLACK, "x", ""),
}
"""(precision, how the prefix was found) to label, colour, marker and the prediction's line."""

PANELS = (("residual", "residual / output"), ("norm", "norm of the prefix"), ("rank", "directions above\nrounding"))


def data() -> dict[str, Any]:
    """Medians over channels and seeds, per step size, precision, way and M."""
    found = experiment(NAME)
    rows = [row for run in found.runs for row in run["held_out"]["prefixes"]]
    if not rows:  # the table alone does not tell what rounding allows
        raise MissingData(COMMAND)
    try:
        limits = {name: found.summary["threshold"][name] for name in ("factor", "noise")}
        steps: dict[str, list[dict[str, Any]]] = {}
        for dt in dict.fromkeys(row["dt"] for row in rows):
            for mark in LOOKS:
                mine = [row for row in rows if (row["dt"], row["precision"], row["how"]) == (dt, *mark)]
                points = [_point([r for r in mine if r["tokens"] == m], limits) for m in sorted({r["tokens"] for r in mine})]
                if points:
                    steps.setdefault(f"{dt:g}", []).append({"precision": mark[0], "how": mark[1], "points": points})
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"the results of {NAME} lack {error}; run {COMMAND}") from error
    return {"steps": steps, "size": found.size, "seeds": len(found.summary["seeds"])}


def _point(rows: list[dict[str, Any]], limits: dict[str, float]) -> dict[str, Any]:
    point = {key: median(row[key] for row in rows) for key in ("residual", "least_possible", "norm")}
    point["tokens"] = rows[0]["tokens"]
    point["allowed"] = median(limits["factor"] * (row["least_possible"] + limits["noise"] * row["noise"]) for row in rows)
    ranked = "rank" in rows[0]
    return point | {key: max(row[key] for row in rows) if ranked else None for key in ("rank", "predicted_rank")}


def says(data: dict[str, Any]) -> str:
    """What the longest prefixes leave over, per format, at the two step sizes."""
    left: dict[str, list[str]] = {}
    for curves in data["steps"].values():
        for curve in curves:
            if curve["how"] == SOLVED:
                left.setdefault(curve["precision"], []).append(digits.one_digit(curve["points"][-1]["residual"]))
    exact, coarse = left.get("float64", []), left.get("bfloat16 tokens", [])
    if not exact or not coarse:
        return "Random states and their best prefixes, measured and predicted"
    return (
        f"Best long prefix at dt = {' and '.join(data['steps'])}: in float64 {' and '.join(exact)} of a random state are left, "
        f"with bfloat16 tokens {' and '.join(coarse)}"
    )


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """A column for each step size; residual, norm and directions against M, all but the last logarithmic."""
    columns = figure.subplots(len(PANELS), len(data["steps"]), sharex=True, sharey="row", squeeze=False)
    for column, (dt, curves) in enumerate(data["steps"].items()):
        for row, (key, name) in enumerate(PANELS):
            axes = columns[row, column]
            _panel(axes, key, curves)
            if column == 0:
                axes.set_ylabel(name)
        columns[0, column].set_title(f"Step size dt = {dt}")
        columns[-1, column].set_xlabel("tokens M in the prefix")
    handles, labels = columns[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2)
    seeds = f"{data['seeds']} seed{'' if data['seeds'] == 1 else 's'}{', ' + data['size'] if data['size'] else ''}"
    style.note(
        figure,
        "lines: the Hankel operator’s prediction; bands: with rounding",
        f"markers: measured, median over channels and {seeds}",
    )


def _panel(axes: Axes, key: str, curves: list[dict[str, Any]]) -> None:
    prediction = {"residual": "least_possible", "rank": "predicted_rank"}.get(key)
    for curve in curves:
        label, colour, marker, line = LOOKS[curve["precision"], curve["how"]]
        points = [point for point in curve["points"] if point[key] is not None]
        tokens = [point["tokens"] for point in points]
        if key == "residual" and line:
            least, most = ([point[name] for point in points] for name in ("least_possible", "allowed"))
            axes.fill_between(tokens, least, most, color=colour, alpha=0.12, linewidth=0)
        if prediction is not None and line:
            axes.plot(tokens, [point[prediction] for point in points], line, color=colour, linewidth=0.9)
        joined = line if prediction is None else ""
        axes.plot(
            tokens, [point[key] for point in points], marker=marker, linestyle=joined or "none", color=colour, markersize=2.8,
            mew=0.8, linewidth=0.6, label=label,
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    tokens = sorted({point["tokens"] for curve in curves for point in curve["points"]})
    axes.set_xticks(tokens)
    axes.set_xticklabels([str(count) for count in tokens])
    axes.minorticks_off()
    if key != "rank":
        axes.set_yscale("log")
        axes.minorticks_off()
    if key == "residual":
        axes.set_ylim(top=4)
    axes.grid(axis="y")


FIGURE = Picture(
    title="random states and their best prefixes: residual, norm and directions, measured and predicted",
    claims=("prefix_state.finite_precision",),
    sources=(str(summary_path(NAME)), str(summary_path(NAME, quick=True))),
    height=4.4,
    data=data,
    draw=draw,
    says=says,
    needs=COMMAND,
)
