"""Synthetic deep S4 regression: error against trained parameters, published points beside this project's runs.

The two differ in what they measure: published are least training errors of one seed and one learning rate, read off a plot;
this project's are held-out errors over seeds with 95 % intervals, every method at its own best learning rate.
"""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from theory.core.errors import InvalidInput

from . import style
from .registry import Picture
from .sources import RESULTS, MissingData, command, committed, experiment

NAME = "s4_regression"
PUBLISHED = f"empirics/data/{NAME}_published.json"
CURVES = {
    "frozen": ("frozen", style.BLACK, "X"),
    "lora_projections": ("LoRA, projections", style.BLUE, "o"),
    "lora_s4_and_projections": ("LoRA, S4 and projections", style.GREEN, "s"),
    "sdt_and_lora": ("SDT with LoRA", style.ORANGE, "^"),
    "sdt_s4_and_columns": ("SDT", style.VERMILION, "D"),
    "full": ("all parameters", style.PURPLE, "P"),
}
OURS = (
    ("frozen", "frozen"),
    ("lora_proj", "lora_projections"),
    ("lora_s4_proj", "lora_s4_and_projections"),
    ("sdt_lora", "sdt_and_lora"),
    ("sdt", "sdt_s4_and_columns"),
    ("full", "full"),
)
"""Method names of the experiment, by their beginnings, and the published curve each belongs to."""


def _curve(method: str) -> str | None:
    return next((curve for start, curve in OURS if method.startswith(start)), None)


def data() -> dict[str, Any]:
    """Published points (trained numbers in thousands) and, where there are any, this project's full-size ones."""
    published = committed(PUBLISHED, f"git checkout {PUBLISHED}")
    try:
        size = int(published["trainable_unit"].split()[2])
        points = {m: [[p["percent"] * size / 1e5, p["mse"]] for p in curve] for m, curve in published["methods"].items()}
        out = {"published": points, "uncertainty": published["uncertainty"]}
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InvalidInput(f"{PUBLISHED} is no table of published points: {error!r}") from error
    try:
        found = experiment(NAME, "sweep", accept_quick=False)
    except MissingData as missing:
        return {**out, "ours": None, "command": missing.command}
    rows = [row for row in found.summary["table"] if "method" in row and row["held_out"] is not None]
    ours = [[row["method"], row["trainable"] / 1e3, row["held_out"], row["held_out_half_width"]] for row in rows]
    return {**out, "ours": ours, "seeds": len(found.summary["seeds"])}


def draw(figure: Figure, data: dict[str, Any]) -> None:
    """Open markers published, filled ones ours; 0 is on the axis because a published point lies there."""
    axes = figure.subplots()
    for method, (label, colour, marker) in CURVES.items():
        x, y = zip(*data["published"][method], strict=True)
        axes.errorbar(
            x, y, yerr=data["uncertainty"], fmt=marker, linestyle=":", color=colour, mfc="white", mew=0.9, linewidth=0.8,
            label=label,
        )  # fmt: skip
    if data["ours"] is None:
        program, _, options = data["command"].partition(" --")
        note = f"open: published (one seed, training error)\nfilled, this project: no data yet; run\n{program}\n--{options}"
    else:
        for method, trainable, error, half in data["ours"]:
            if trainable == 0:  # has no place on a logarithmic axis
                axes.axhline(error, color=style.BLACK, linewidth=0.8, label=f"{method}, this project")
                continue
            curve = _curve(method)
            _, colour, marker = CURVES[curve] if curve else (method, style.GREY, "*")
            random = method.endswith(("_random", "_magnitude"))
            axes.errorbar(trainable, error, yerr=half, fmt=marker, color=colour, alpha=0.45 if random else 1.0, linewidth=0.9)
            if curve is None or random:
                axes.annotate(
                    method.replace("_", " "), (trainable, error), (3, 2), textcoords="offset points", fontsize=style.SMALL
                )
        note = f"open: published (one seed, training error)\nfilled: this project, {data['seeds']} seeds, held out, 95 %"
    axes.set_xlabel("trained parameters (thousands)")
    axes.set_ylabel("mean squared error")
    axes.set_xscale("log")
    axes.set_xticks([0.3, 1, 3, 10, 30])
    axes.set_xticklabels(["0.3", "1", "3", "10", "30"])
    axes.minorticks_off()
    axes.set_ylim(bottom=-0.08)
    axes.set_title("Deep S4 regression")
    axes.legend(loc="lower left")
    figure.supxlabel(note, fontsize=style.SMALL, color=style.GREY, x=0.02, ha="left")


FIGURE = Picture(
    title="deep S4 regression: error against trained parameters, published and measured",
    claims=("lora_limits.cheaper_sparse",),
    sources=(PUBLISHED, f"{RESULTS}/{NAME}.json"),
    height=3.3,
    data=data,
    draw=draw,
    needs=command(NAME, "sweep"),
)
