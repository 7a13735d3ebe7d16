"""Budget curves on the base model: test score against the number of trained values, a panel for each task.

LoRA on the linear projections, SDT with LoRA, and LoRA on both, each at its own learning rate at every budget.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import FixedLocator, NullLocator

from theory.core.errors import InvalidInput

from .. import declared, dots, style
from ..registry import Picture
from ..sources import MissingData, command, experiment, summary_path
from . import base_scores

NAME = "base_budget"
COMMAND = command(NAME, "sweep")


def data() -> dict[str, Any]:
    """Points by task and method in the order of trained values, and the declared comparisons; full size, complete cells."""
    found = experiment(NAME, "sweep", accept_quick=False)
    curves: dict[str, dict[str, list[dict[str, Any]]]] = {}
    try:
        for row in sorted(found.summary["table"], key=lambda row: row["trainable"]):
            point = {key: row[key] for key in ("trainable", "points", "low", "high")}
            curves.setdefault(row["task"], {}).setdefault(row["method"], []).append(point)
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"the results of {NAME} lack {error}; run {COMMAND}") from error
    if not curves:
        raise MissingData(COMMAND)
    return {"curves": dict(sorted(curves.items())), **declared.comparisons(found.summary, NAME)}


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """A panel for each task: a line for each method, with intervals."""
    panels = figure.subplots(1, len(data["curves"]), squeeze=False)[0]
    for axes, (task, methods) in zip(panels, data["curves"].items(), strict=True):
        for method, points in methods.items():
            _curve(axes, method, points)
        title, score = base_scores.TASKS.get(task, (task, "points"))
        axes.set_title(title)
        axes.set_ylabel(score)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(_apart(p["trainable"] for points in methods.values() for p in points)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda value, _: dots.short(round(value)))
        axes.set_xlabel("trained values")
        axes.grid()
    panels[0].legend(loc="best")
    style.note(figure, f"95 % intervals over {data['seeds']} seeds; each point at its own learning rate")


APART = 1.5
"""Least ratio of two numbers of trained values that both stand at the axis."""


def _apart(counts: Iterable[int]) -> list[int]:
    """Some of the counts, from the least on: methods at one budget train nearly as many."""
    kept: list[int] = []
    for count in sorted(counts):
        if not kept or count > APART * kept[-1]:
            kept.append(count)
    return kept


def _curve(axes: Axes, method: str, points: list[dict[str, Any]]) -> None:
    colour, marker = dots.look(method)
    axes.plot(
        [p["trainable"] for p in points], [p["points"] for p in points], marker=marker, color=colour, linewidth=0.9,
        markersize=3.2, label=dots.label(method),
    )  # fmt: skip
    for p in points:
        if p["low"] is not None:
            axes.plot([p["trainable"]] * 2, [p["low"], p["high"]], color=colour, linewidth=0.6, alpha=0.7)


FIGURE = Picture(
    title="accuracy against budget on the base model: LoRA, SDT with LoRA, LoRA on both",
    claims=("lora_limits.cheaper_sparse",),
    sources=(str(summary_path(NAME)),),
    height=2.4,
    data=data,
    draw=draw,
    says=declared.says,
    needs=COMMAND,
    width=style.WIDE,
)
