"""Risk that no state lowers: what theory predicts for prefix and initial-state training, and what training reached.

Claim prefix_state.input_independent: for a teacher with another kernel the population risk of a channel is a floor plus a
least-squares problem in the state. The prediction is its optimum, floor included.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
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


def draw(figure: Figure, data: dict[str, Any]) -> None:
    """Above: total risk, predicted and measured. Below: the relative gap of each channel against its conditioning."""
    top, bottom = figure.subplots(2, 1, height_ratios=(1, 1.1))
    totals = sorted(data["totals"], key=lambda row: -row["predicted"])
    floor, untuned = totals[0]["floor"], totals[0]["untuned"]
    rows = np.arange(len(totals))
    top.barh(rows, [row["predicted"] for row in totals], 0.6, color=style.LIGHT, label="predicted")
    top.plot([row["measured"] for row in totals], rows, "o", color=style.VERMILION, label="measured")
    for value, text in ((floor, "floor"), (untuned, "untuned")):
        top.axvline(value, color=style.BLACK, linewidth=0.8, linestyle="--")
        top.text(value, -0.55, text, ha="center", va="bottom")
    top.set_yticks(rows)
    top.set_yticklabels([_words(row["method"]) for row in totals])
    top.set_ylim(len(totals) - 0.5, -0.5)
    top.set_xlim(0, untuned * 1.08)
    size = f" ({data['size']})" if data["size"] else ""
    top.set_xlabel(f"risk, summed over channels{size}")
    top.legend(loc="lower right", bbox_to_anchor=(1.0, 1.12), ncols=2, handlelength=1)

    for (row, marker), colour in zip(zip(totals, MARKERS, strict=False), COLOURS, strict=False):
        mine = [p for p in data["points"] if p["method"] == row["method"]]
        gap = [100 * (p["measured"] / p["predicted"] - 1) for p in mine]
        error = [100 * p["standard_error"] / p["predicted"] for p in mine]
        bottom.errorbar(
            [p["condition"] or 1.0 for p in mine], gap, yerr=error, fmt=marker, color=colour, linewidth=0.7, capsize=0,
            label=_words(row["method"]), mfc="none", mew=0.8,
        )  # fmt: skip
    bottom.axhline(0, color=style.BLACK, linewidth=0.8)
    bottom.axvline(data["condition"], color=style.GREY, linewidth=0.8, linestyle=":")
    bottom.text(
        data["condition"] / 1.2, 0.97, "judged", transform=bottom.get_xaxis_transform(), ha="right", va="top", color=style.GREY
    )
    bottom.set_xscale("log")
    bottom.set_yscale("symlog", linthresh=1, linscale=0.6)
    gaps = [100 * (p["measured"] / p["predicted"] - 1) for p in data["points"]]
    bottom.set_ylim(min(-1.5, 2 * min(gaps)), max(1.5, 2 * max(gaps)))
    bottom.set_yticks([-1, 0, 1, 10, 100])
    bottom.set_yticklabels(["−1", "0", "1", "10", "100"])
    bottom.yaxis.set_minor_locator(NullLocator())
    bottom.grid(axis="y")
    bottom.set_xlabel("condition number of the channel's least squares")
    bottom.set_ylabel("measured − predicted (%)")
    bottom.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, handlelength=1)
    note = (
        "above: all channels, below: one by one; gradient steps are judged\n"
        "where least squares is conditioned well (left of the dotted line)"
    )
    figure.supxlabel(note, fontsize=style.SMALL, color=style.GREY, x=0.02, ha="left")


FIGURE = Picture(
    title="predicted and measured risk of prefix and initial-state training",
    claims=("prefix_state.input_independent",),
    sources=(str(summary_path(NAME)), str(summary_path(NAME, quick=True))),
    height=4.2,
    data=data,
    draw=draw,
    needs=command(NAME),
)
