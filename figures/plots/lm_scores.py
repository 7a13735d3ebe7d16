"""Language tasks that full fine-tuning learns: test score of each method with its 95 % interval, a panel for each task.

Scores in points: Matthews' correlation and accuracy times 100, BLEU. Hollow markers train more or fewer numbers than the common
budget (by over a tenth). The frozen model and the guess of the most frequent class are lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D

from .. import dots, style
from ..registry import Picture
from . import lm_benchmark


def data() -> dict[str, Any]:
    """The scores among the data of :mod:`.lm_benchmark`, of the tasks that full fine-tuning learns."""
    found = lm_benchmark.data()
    return of_tasks(found, lm_benchmark.learned(found))


def of_tasks(found: dict[str, Any], tasks: Sequence[str]) -> dict[str, Any]:
    """Scores and baselines of some tasks."""
    return {
        "scores": {task: found["scores"][task] for task in tasks},
        "lines": {task: found["lines"].get(task, {}) for task in tasks},
        "order": found["order"],
        "seeds": found["seeds"],
    }


def says(data: dict[str, Any]) -> str:
    """The best method of the common budget on each task."""
    best = []
    for task, points in data["scores"].items():
        fair = {method: point["mean"] for method, point in points.items() if point["matched"]}
        if fair:
            best.append(f"{dots.label(max(fair, key=lambda m: fair[m]))} on {lm_benchmark.in_words([task])}")
    return f"Best mean at one budget of trained numbers: {', '.join(best)}" if best else "Test scores of each method"


def height(data: dict[str, Any]) -> float:
    """By the number of methods."""
    return 1.15 + dots.ROW * len(data["order"])


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """Methods in the order of their families, one panel for each task beside each other."""
    panels = figure.subplots(1, len(data["scores"]), sharey=True, squeeze=False)[0]
    for axes, (task, points) in zip(panels, data["scores"].items(), strict=True):
        dots.rows(axes, data["order"], points, hollow=lambda point: not point["matched"])
        title, score = lm_benchmark.TASKS.get(task, (task, "points"))
        axes.set_title(title)
        axes.set_xlabel(score)
        baselines(axes, data["lines"][task])
    legend(figure)
    style.note(figure, f"95 % intervals over {data['seeds']}; better: right")


def legend(figure: FigureBase) -> None:
    """What the lines and the hollow markers are."""
    handles = [
        Line2D([], [], color=style.BLACK, linewidth=0.8, linestyle="--"),
        Line2D([], [], color=style.GREY, linewidth=0.8, linestyle=":"),
        Line2D([], [], color=style.BLACK, marker="o", mfc="white", linestyle="none"),
    ]
    figure.legend(handles, ["frozen", "most frequent class", "off the budget"], loc="outside upper left", ncols=3)


def baselines(axes: Axes, lines: dict[str, float]) -> None:
    """The frozen model and the most frequent class as upright lines; one far to the left is an arrow with its score."""
    if "majority" in lines:
        axes.axvline(lines["majority"], color=style.GREY, linewidth=0.8, linestyle=":", zorder=1)
    if "frozen" not in lines:
        return
    left, right = axes.dataLim.x0, axes.dataLim.x1
    if lines["frozen"] < left - (right - left):
        axes.text(
            1.0, 1.01, f"← frozen {lines['frozen']:.0f}", transform=axes.transAxes, color=style.GREY, ha="right", va="bottom"
        )
    else:
        axes.axvline(lines["frozen"], color=style.BLACK, linewidth=0.8, linestyle="--", zorder=1)


FIGURE = Picture(
    title="language tasks that full fine-tuning learns: test score of each method",
    claims=lm_benchmark.FIGURE.claims,
    sources=lm_benchmark.FIGURE.sources,
    height=height,
    data=data,
    draw=draw,
    says=says,
    needs=lm_benchmark.COMMAND,
)
