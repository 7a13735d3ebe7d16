"""The fused selective scan against stock mamba-ssm: how many times faster, both passes with all gradients, against length.

Stock pads to a few lengths; others, which prefixes and prompts make, go a slow way in it. Targets were set before the kernel was
written: on those lengths a median of 2 and nowhere below 1.5, off them at least 4. They are about kernels, which are replayed as
CUDA graphs; what is left of it where Python launches every kernel stands below.
"""

from __future__ import annotations

import statistics
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
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


def draw(figure: Figure, data: dict[str, Any]) -> None:
    """A panel for each batch; filled markers on stock's lengths, hollow ones off them."""
    batches = sorted({row["B"] for row in data["rows"]})
    widths = sorted({row["D"] for row in data["rows"]})
    panels = figure.subplots(len(batches), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, batch in zip(panels, batches, strict=True):
        mine = [row for row in data["rows"] if row["B"] == batch]
        for (colour, marker), width in zip(WIDTHS, widths, strict=False):
            rows = sorted((row for row in mine if row["D"] == width), key=lambda row: row["L"])
            for grid, face, line in ((True, colour, "-"), (False, "white", ":")):
                of_kind = [row for row in rows if row["on_grid"] == grid]
                axes.plot(
                    [row["L"] for row in of_kind], [row["ratio"] for row in of_kind], marker=marker, linestyle=line,
                    color=colour, mfc=face, mew=0.8, linewidth=0.8,
                )  # fmt: skip
        _targets(axes, data["bounds"])
        axes.set_title(f"Batch {batch}")
    lengths = sorted({row["L"] for row in data["rows"] if row["on_grid"]})
    axes = panels[-1]
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths)
    axes.set_xticklabels([str(length) for length in lengths])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("tokens L")
    figure.supylabel("times faster than mamba-ssm", fontsize=style.SMALL)
    names = {row["D"]: row["size"] for row in data["rows"]}
    handles = [Line2D([], [], color=c, marker=m, linewidth=0.8) for c, m in WIDTHS[: len(widths)]]
    labels = [f"{width} channels ({names[width]})" for width in widths]
    figure.legend(handles, labels, loc="outside upper left", ncols=2)
    off = ", ".join(str(length) for length in sorted({row["L"] for row in data["rows"] if not row["on_grid"]}))
    launched = "; ".join(f"{kind} {v['median']:.2f}, {v['least']:.2f}" for kind, v in data["launched"].items())
    note = (
        f"filled: lengths on stock's grid; hollow: off it ({off});\n"
        f"grey: targets. Kernels replayed as CUDA graphs; launched\nfrom Python (median, least): {launched}\n"
        f"{data['gpu'] or 'cpu'}, {data['dtype']}, all gradients"
    )
    figure.supxlabel(note, fontsize=style.SMALL, color=style.GREY, x=0.02, ha="left")


def _targets(axes: Axes, bounds: dict[str, float]) -> None:
    for name, line, text in (
        ("off", ":", "least, off grid"), ("median", "--", "median, on grid"), ("least", "-", "least, on grid"),
    ):  # fmt: skip
        axes.axhline(bounds[name], color=style.GREY, linewidth=0.7, linestyle=line, zorder=1)
        axes.text(1.01, bounds[name], text, transform=axes.get_yaxis_transform(), color=style.GREY, va="center")
    axes.axhline(1, color=style.BLACK, linewidth=0.8, zorder=1)


FIGURE = Picture(
    title="the fused scan against mamba-ssm's: times faster, by length, width and batch, beside the targets",
    claims=(),
    sources=(PATH,),
    height=4.1,
    data=data,
    draw=draw,
    needs=COMMAND,
)
