"""Sequential digits: test accuracy of each method with its 95 % interval, and the numbers that it trains.

Below, the differences that the experiment was asked about, paired over seeds.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from theory.core.errors import InvalidInput

from .. import dots, style
from ..registry import Picture
from ..sources import command, experiment, summary_path

NAME = "vision"
COMMAND = command(NAME, "sweep")
BOTTOM = 1.2
"""Inches of everything but the methods' rows: labels, and the panel of differences without its rows."""


def data() -> dict[str, Any]:
    """Methods from the best to the worst, and the paired differences; the full size only, for few seeds say nothing here."""
    found = experiment(NAME, "sweep", accept_quick=False)
    try:
        rows = [row for row in found.summary["table"] if "method" in row]
        methods = [
            {"method": row["method"], "trainable": row["trainable"], "mean": 100 * row["test_accuracy"], **_bounds(row)}
            for row in sorted(rows, key=lambda row: (-row["test_accuracy"], row["method"]))
        ]
        pairs = [
            {
                "name": "", "pair": row["comparison"].split(" - "), "fair": True, "mean": 100 * row["difference"],
                **_bounds(row, "difference"),
            }
            for row in found.summary["table"]
            if "comparison" in row
        ]  # fmt: skip
        return {"methods": methods, "pairs": pairs, "seeds": len(found.summary["seeds"])}
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"the results of {NAME} lack {error}; run {COMMAND}") from error


def _bounds(row: dict[str, Any], key: str = "test_accuracy") -> dict[str, float | None]:
    half = row["half_width"]
    if half is None:
        return {"low": None, "high": None}
    return {"low": 100 * (row[key] - half), "high": 100 * (row[key] + half)}


def height(data: dict[str, Any]) -> float:
    """By the number of methods and of differences."""
    return BOTTOM + dots.ROW * len(data["methods"]) + dots.heights(data["pairs"])


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """Above: accuracy, the frozen model as a line. Below: differences in points; right of 0 is what was predicted."""
    ratios = (dots.ROW * len(data["methods"]), dots.heights(data["pairs"]))
    if not data["pairs"]:
        _accuracy(figure.subplots(), data)
        return
    above, below = figure.subplots(2, 1, height_ratios=ratios)
    _accuracy(above, data)
    dots.differences(below, data["pairs"])
    below.set_xlabel("paired difference in points (predicted: right of 0)")


def says(data: dict[str, Any]) -> str:
    """On which side of 0 the differences lie."""
    pairs = [row for row in data["pairs"] if row["low"] is not None]
    above, below = sum(row["low"] > 0 for row in pairs), sum(row["high"] < 0 for row in pairs)
    rest = len(data["pairs"]) - above - below
    return (
        f"Sequential digits: of {len(data['pairs'])} predicted differences {above} are there, {below} reversed, {rest} undecided"
    )


def _accuracy(axes: Axes, data: dict[str, Any]) -> None:
    trained = [row for row in data["methods"] if row["trainable"]]
    dots.rows(axes, [row["method"] for row in trained], {row["method"]: row for row in trained})
    dots.at_right(axes, [dots.short(row["trainable"]) for row in trained], "trained")
    for row in (row for row in data["methods"] if not row["trainable"]):
        axes.axvline(row["mean"], color=style.BLACK, linewidth=0.8, linestyle="--")
        axes.text(row["mean"], -1.0, row["method"], ha="center", va="center")
    axes.set_xlabel(f"test accuracy (%), 95 % intervals over {data['seeds']} seeds")
    axes.set_title("Mamba-1", pad=10)


FIGURE = Picture(
    title="sequential digits: test accuracy of each method, and the differences asked about",
    claims=("sparse_dims.selection",),
    sources=(str(summary_path(NAME)),),
    height=height,
    data=data,
    draw=draw,
    says=says,
    needs=COMMAND,
)
