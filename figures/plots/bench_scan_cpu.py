"""Selective scan on a CPU: seconds forward and backward of each implementation, and how many times slower than this project's.

Ratios are medians over rounds in which the contenders took turns, so they need not be quotients of the medians shown.
"""

from __future__ import annotations

from typing import Any

from matplotlib.figure import FigureBase

from theory.core.errors import InvalidInput

from .. import style
from ..registry import Picture
from ..sources import committed

PATH = "empirics/bench/results/scan_cpu.json"
COMMAND = f"python -m empirics bench scan --device cpu --memory --out {PATH}"
OURS = "chunked"
PASSES = {"forward_s": ("forward", style.BLUE, "o"), "backward_s": ("backward, all gradients", style.VERMILION, "s")}


def data() -> dict[str, Any]:
    """Times and ratios of the committed benchmark, slowest first."""
    found = committed(PATH, COMMAND)
    try:
        rows = [
            {
                "name": name,
                "version": times["version"],
                "runs": times["runs"],
                "ratio": 1.0 if name == OURS else found["ratios"][name],
                **{key: times[key] for key in (*PASSES, "total_s")},
            }
            for name, times in found["times"].items()
        ]
        machine = {key: found["machine"][key] for key in ("cpu", "threads")}
        out = {"rows": rows, "shape": found["shape"], "dtype": found["dtype"], "machine": machine}
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"{PATH} is no result of the scan benchmark ({error!r}); run {COMMAND}") from error
    rows.sort(key=lambda row: row["total_s"]["median"])
    return out


def says(data: dict[str, Any]) -> str:
    """How much longer the others take."""
    others = [f"{row['name']} takes {row['ratio']:.2g}" for row in data["rows"] if row["name"] != OURS and row["ratio"] < 100]
    others += [f"{row['name']} {row['ratio']:.0f}" for row in data["rows"] if row["ratio"] >= 100]
    return f"On a CPU {' and '.join(others)} times as long as this project’s chunked scan"


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """Two points for each implementation on a logarithmic axis, with the range from the least to the longest time."""
    axes = figure.subplots()
    for place, row in enumerate(data["rows"]):
        for shift, (key, (label, colour, marker)) in zip((-0.17, 0.17), PASSES.items(), strict=True):
            t = row[key]
            spread = [[t["median"] - t["least"]], [t["most"] - t["median"]]]
            axes.errorbar(t["median"], place + shift, xerr=spread, fmt=marker, color=colour, linewidth=0.9)
            if place == 0:
                axes.text(t["most"] * 1.3, place + shift, label, va="center", color=colour)
        text = "this project" if row["name"] == OURS else f"{row['ratio']:.2g}× as long" if row["ratio"] < 100 else ""
        text = text or f"{row['ratio']:.0f}× as long"
        axes.text(
            1.02, place, text + ("\n(1 run)" if row["runs"] == 1 else ""), va="center", transform=axes.get_yaxis_transform()
        )
    axes.set_yticks(range(len(data["rows"])))
    axes.set_yticklabels([f"{r['name']}\n{r['version']}" if r["version"] else r["name"] for r in data["rows"]])
    axes.set_ylim(len(data["rows"]) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.grid(axis="x")
    batch, channels, length, states = data["shape"]
    about = f"{data['dtype']}, batch {batch}, {channels} channels, {length} tokens, {states} states"
    axes.set_xlabel("seconds per call (better: left)")
    style.note(figure, "whiskers: least and most", about)


FIGURE = Picture(
    title="times of selective scans on a CPU",
    claims=(),
    sources=(PATH,),
    height=2.1,
    data=data,
    draw=draw,
    says=says,
    needs=COMMAND,
)
