"""The fused selective scan against stock mamba-ssm: how many times faster, both passes with all gradients, against length.

Stock pads to a few lengths; others, which prefixes and prompts make, go a slow way in it. Targets were set before the kernel was
written: on those lengths a median of 2 and nowhere below 1.5, off them at least 4. They are about kernels, which are replayed as
CUDA graphs; what is left of it where Python launches every kernel stands below.
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
from ..sources import committed

PATH = "empirics/bench/results/scan_targets.json"
COMMAND = f"python -m empirics bench scan --device cuda --targets --out {PATH}"
WIDTHS = ((style.BLUE, "o"), (style.VERMILION, "s"), (style.GREEN, "^"), (style.PURPLE, "D"))
"""Colour and marker of each width, from the narrowest."""
GRID = (("on grid", True), ("off grid", False))


def data() -> dict[str, Any]:
    """Ratios by batch, width and length, and the bounds of targets 1 and 2."""
    found = committed(PATH, COMMAND)
    try:
        rows = [{key: row[key] for key in ("size", "B", "D", "L", "on_grid", "ratio")} for row in found["speed"]]
        launched = {kind: sorted(row["launched_ratio"] for row in found["speed"] if row["on_grid"] == on) for kind, on in GRID}
        asked = {row["target"]: [float(bound[3:]) for bound in row["asked"] if bound[:3] == ">= "] for row in found["table"]}
        bounds = {"median": asked[1][0], "least": asked[1][1], "off": asked[2][0]}
        about = {"gpu": found["machine"]["gpu"], "dtype": found["dtype"]}
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InvalidInput(f"{PATH} is no result of the scan targets ({error!r}); run {COMMAND}") from error
    return {"rows": rows, "bounds": bounds, "launched": {kind: _spread(ratios) for kind, ratios in launched.items()}, **about}


def _spread(ratios: list[float]) -> dict[str, float]:
    """InvalidInput where there are none."""
    if not ratios:
        raise InvalidInput(f"{PATH} has no lengths on stock's grid, or none off it; run {COMMAND}")
    return {"median": statistics.median(ratios), "least": ratios[0]}


def says(data: dict[str, Any]) -> str:
    """Median speed on both kinds of lengths."""
    on, off = ([row["ratio"] for row in data["rows"] if row["on_grid"] == grid] for grid in (True, False))
    return (
        f"The fused scan’s kernels are {statistics.median(on):.1f} times as fast as mamba-ssm’s at its own lengths, "
        f"{statistics.median(off):.1f} times at others (medians)"
    )


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """A row for each batch; left the lengths that mamba-ssm is compiled for, right others."""
    batches = sorted({row["B"] for row in data["rows"]})
    widths = sorted({row["D"] for row in data["rows"]})
    panels = figure.subplots(len(batches), len(GRID), sharex="col", sharey=True, squeeze=False)
    for i, batch in enumerate(batches):
        for j, (kind, grid) in enumerate(GRID):
            axes = panels[i, j]
            mine = [row for row in data["rows"] if row["B"] == batch and row["on_grid"] == grid]
            for (colour, marker), width in zip(WIDTHS, widths, strict=False):
                rows = sorted((row for row in mine if row["D"] == width), key=lambda row: row["L"])
                axes.plot(
                    [row["L"] for row in rows], [row["ratio"] for row in rows], marker=marker, color=colour, linewidth=0.7,
                    markersize=3,
                )  # fmt: skip
            _targets(axes, data["bounds"], kind)
            axes.set_title(f"Batch {batch}, {TITLES[kind]}", fontsize=style.SMALL)
            if j == 0:
                axes.set_ylabel("times as fast")
    for axes, (_, grid) in zip(panels[-1], GRID, strict=True):
        lengths = sorted({row["L"] for row in data["rows"] if row["on_grid"] == grid})
        axes.set_xscale("log", base=2)
        axes.set_xticks(lengths)
        axes.set_xticklabels([str(length) for length in lengths])
        axes.minorticks_off()
        axes.set_xlabel("tokens L")
    panels[0, 0].set_ylim(bottom=0)
    names = {row["D"]: row["size"] for row in data["rows"]}
    handles = [Line2D([], [], color=c, marker=m, linewidth=0.8) for c, m in WIDTHS[: len(widths)]]
    labels = [f"{width} channels ({names[width]})" for width in widths]
    figure.legend(handles, labels, loc="outside upper left", ncols=2)
    launched = "; ".join(f"{TITLES[kind]} {v['median']:.2f}, {v['least']:.2f}" for kind, v in data["launched"].items())
    style.note(
        figure,
        "better: up; grey, targets: median (dashed) and least (solid, dotted)",
        "kernels replayed as CUDA graphs; launched from Python (median,",
        f"least): {launched}",
        f"{data['gpu'] or 'cpu'}, {data['dtype']}, all gradients",
    )


TITLES = {"on grid": "its lengths", "off grid": "others"}
"""mamba-ssm's lengths, and those that it pads."""


def _targets(axes: Axes, bounds: dict[str, float], kind: str) -> None:
    shown = {"on grid": (("median", "--"), ("least", "-")), "off grid": (("off", ":"),)}[kind]
    for name, line in shown:
        axes.axhline(bounds[name], color=style.GREY, linewidth=0.7, linestyle=line, zorder=1)
    axes.axhline(1, color=style.BLACK, linewidth=0.8, zorder=1)


FIGURE = Picture(
    title="the fused scan against mamba-ssm's: times faster, by length, width and batch, beside the targets",
    claims=(),
    sources=(PATH,),
    height=4.1,
    data=data,
    draw=draw,
    says=says,
    needs=COMMAND,
)
