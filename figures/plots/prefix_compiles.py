"""A prefix against the state it compiles into: largest difference of the logits per scan and number format, and time saved.

Claim prefix_state.contained. Markers are errors of the compiled state as the experiment judges them: with all later tokens at
once or token by token, the larger of the two; in coarse formats less what stepping alone rounds differently. Crosses are the
least that a wrong state gives (no window, or nothing at all), dotted lines the bounds set before the run.
"""

from __future__ import annotations

import statistics
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D

from theory.core.errors import InvalidInput

from .. import style
from ..registry import Picture
from ..sources import MissingData, command, experiment, summary_path

NAME = "prefix_compiles"
COMMAND = command(NAME)
ARITHMETIC = {
    "float64": (style.BLUE, "o"), "float32": (style.VERMILION, "s"), "tf32": (style.PURPLE, "D"),
    "bfloat16": (style.GREEN, "^"),
}  # fmt: skip
"""Colour and marker of each arithmetic."""

KINDS = {"Mamba1": "Mamba-1", "Mamba2": "Mamba-2"}
TWINS = ("state_alone", "no_prefix")
"""Wrong states that stand out behind any number of tokens; a missing state shows behind many only, and is judged there."""
COARSE = ("tf32", "bfloat16")
"""Arithmetics in which stepping rounds differently from a scan even without a prefix."""
LEAST = 1e-17
"""Where an error of exactly 0 is drawn."""


def data() -> dict[str, Any]:
    """Per kind of block, scan and arithmetic: the largest errors over seeds, methods and lengths; times at the longest prefix."""
    found = experiment(NAME)
    settings = [row for run in found.runs for row in run["held_out"]["settings"]]
    if not settings:  # the table alone does not tell scans apart
        raise MissingData(COMMAND)
    try:
        most = max(row["tokens"] for row in settings)
        rows = []
        for layer, scan in dict.fromkeys((row["layer"], row["scan"]) for row in settings):
            mine = [row for row in settings if (row["layer"], row["scan"]) == (layer, scan)]
            ratios = [row["seconds"] / row["compiled_seconds"] for row in mine if row["tokens"] == most]
            rows.append(
                {
                    "layer": layer, "scan": scan,
                    "errors": {a: _errors(mine, a) for a in ARITHMETIC if _has(mine, a)},
                    "ratio": {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)},
                }
            )  # fmt: skip
        bounds = {name: found.summary["threshold"][name] for name in ARITHMETIC if _has(settings, name)}
        lengths = found.summary["config"]["lengths"]
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"the results of {NAME} lack {error}; run {COMMAND}") from error
    return {
        "rows": rows, "bounds": bounds, "tokens": most, "length": max(lengths), "size": found.size,
        "device": found.summary["device"],
    }  # fmt: skip


def _has(settings: list[dict[str, Any]], arithmetic: str) -> bool:
    return any(row["arithmetic"] == arithmetic for row in settings)


def _errors(settings: list[dict[str, Any]], arithmetic: str) -> dict[str, float]:
    group = [row for row in settings if row["arithmetic"] == arithmetic]
    noise = "step_noise" if arithmetic in COARSE else None
    return {
        "error": max(max(row["error"], row["step_error"] - (row[noise] if noise else 0.0)) for row in group),
        "wrong": min(row[twin] for row in group for twin in TWINS),
    }


def height(data: dict[str, Any]) -> float:
    """By the number of scans."""
    return 1.25 + 0.24 * len(data["rows"])


def says(data: dict[str, Any]) -> str:
    """Whether every error lies within its bound, and every wrong state beyond it."""
    cells = [(data["bounds"][a], found) for row in data["rows"] for a, found in row["errors"].items()]
    inside = sum(found["error"] <= bound for bound, found in cells)
    caught = sum(found["wrong"] > bound for bound, found in cells)
    return (
        f"A compiled state gives the prefix’s logits in {inside} of {len(cells)} scans and formats; "
        f"a wrong state shows in {caught}"
    )


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """Left: errors on a logarithmic axis. Right: how many times longer the prefill takes with the tokens than with the state."""
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2.1, 1))
    shown = list(data["bounds"])
    for arithmetic in shown:
        left.axvline(data["bounds"][arithmetic], color=ARITHMETIC[arithmetic][0], linewidth=0.9, linestyle=":")
    for place, row in enumerate(data["rows"]):
        for i, (arithmetic, found) in enumerate(row["errors"].items()):
            colour, marker = ARITHMETIC[arithmetic]
            at = place + 0.2 * (i - (len(row["errors"]) - 1) / 2)
            left.plot(max(found["error"], LEAST), at, marker, color=colour, markersize=3)
            left.plot(found["wrong"], at, "x", color=colour, markersize=3, mew=0.8)
        ratio = row["ratio"]
        right.plot([ratio["least"], ratio["most"]], [place, place], color=style.BLACK, linewidth=0.8)
        right.plot(ratio["median"], place, "o", color=style.BLACK, markersize=3)
    left.set_xscale("log")
    left.set_xlim(LEAST / 3, 3)
    left.set_xticks([LEAST, 1e-12, 1e-8, 1e-4, 1])
    left.set_xticklabels(["0", "10$^{-12}$", "10$^{-8}$", "10$^{-4}$", "1"])
    left.minorticks_off()
    left.set_xlabel("largest error of the logits\n(better: left)")
    right.axvline(1, color=style.GREY, linewidth=0.8)
    right.set_xlabel("prefill speed-up\n(better: right)")
    left.set_yticks(range(len(data["rows"])))
    left.set_yticklabels([f"{KINDS.get(row['layer'], row['layer'])}, {row['scan']}" for row in data["rows"]])
    left.set_ylim(len(data["rows"]) - 0.5, -0.5)
    for axes in (left, right):
        _rows(axes, len(data["rows"]))
    handles = [Line2D([], [], color=c, marker=m, linestyle=":") for c, m in (ARITHMETIC[a] for a in shown)]
    figure.legend(handles, [a.replace("tf32", "TF32") for a in shown], loc="outside upper left", ncols=4)
    size = f", {data['size']}" if data["size"] else ""
    style.note(
        figure,
        "dotted: bounds set before the run; ×: least error of a wrong state",
        f"prefill: compiled beside {data['tokens']} prefix tokens, {data['length']} tokens follow",
        f"{data['device']}{size}",
    )


def _rows(axes: Axes, count: int) -> None:
    axes.tick_params(axis="y", length=0)
    for edge in range(1, count):
        axes.axhline(edge - 0.5, color=style.LIGHT, linewidth=0.4)


FIGURE = Picture(
    title="a prefix against its compiled state: errors per scan and number format, and prefill time",
    claims=("prefix_state.contained",),
    sources=(str(summary_path(NAME)), str(summary_path(NAME, quick=True))),
    height=height,
    data=data,
    draw=draw,
    says=says,
    needs=COMMAND,
)
