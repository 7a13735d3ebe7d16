"""Language tasks: the differences behind the paper's claims, paired over tasks and seeds; right of 0 is what the paper says.

Blue or red: over all tasks. Grey: only the tasks that full fine-tuning learns. Hollow: the two train different numbers of values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import FigureBase

from theory.core.errors import InvalidInput

from .. import dots, style
from ..registry import Picture
from ..sources import command, experiment, summary_path

NAME = "lm_benchmark"
COMMAND = command(NAME, "sweep")
TASKS = {
    "cola": ("CoLA", "Matthews × 100"), "rte": ("RTE", "accuracy (%)"), "polarity": ("Polarity", "accuracy (%)"),
    "dart": ("DART", "BLEU"),
}  # fmt: skip
"""Title and score of each task."""


def data() -> dict[str, Any]:
    """Scores by task and method, and the comparisons of every claim; the full size only, for few steps say nothing here."""
    found = experiment(NAME, "sweep", accept_quick=False)
    try:
        scores: dict[str, dict[str, Any]] = {}
        lines: dict[str, dict[str, float]] = {}
        for row in (row for row in found.summary["table"] if "task" in row):
            if row["method"] == "frozen":
                lines.setdefault(row["task"], {})["frozen"] = row["points"]
            else:
                point = {"mean": row["points"], **{key: row[key] for key in ("low", "high", "matched", "trainable")}}
                scores.setdefault(row["task"], {})[row["method"]] = point
            if "majority" in row:
                lines.setdefault(row["task"], {})["majority"] = row["majority"]
        pairs = [
            {
                "name": f"{row['claim']} ", "pair": [c["better"], c["worse"]], "fair": c["equal_budget"], "mean": c["points"],
                "low": c["low"], "high": c["high"], "learned": c["learned"],
            }
            for row in found.summary["table"]
            if "claim" in row
            for c in (*row["comparisons"], *row["controls"])
        ]  # fmt: skip
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"the results of {NAME} lack {error}; run {COMMAND}") from error
    verdicts = {row["claim"]: row["verdict"] for row in found.summary["table"] if "claim" in row}
    order = [m for m in dots.METHODS if any(m in points for points in scores.values())]
    order += sorted({m for points in scores.values() for m in points} - set(order))
    counts = [row["seeds"] for row in found.summary["table"] if "task" in row]
    return {
        "scores": {task: scores[task] for task in sorted(scores, key=[*TASKS, *scores].index)}, "lines": lines, "order": order,
        "pairs": pairs, "verdicts": verdicts, "seeds": seeds_in_words(counts), "model": found.summary["config"]["model"],
    }  # fmt: skip


def seeds_in_words(counts: Sequence[int]) -> str:
    """3 seeds; 1 to 3 seeds where runs are missing."""
    least, most = min(counts), max(counts)
    return f"{most if least == most else f'{least} to {most}'} seed{'s' if most > 1 else ''}"


def learned(data: dict[str, Any]) -> list[str]:
    """Tasks that full fine-tuning learns, by the comparisons on them; all tasks where no comparison names any."""
    named = {task for row in data["pairs"] if row["learned"] is not None for task in row["learned"]["tasks"]}
    return [task for task in data["scores"] if task in named or not named]


def says(data: dict[str, Any]) -> str:
    """The paper's claims by their verdicts."""
    by_verdict: dict[str, list[str]] = {}
    for claim, verdict in data["verdicts"].items():
        by_verdict.setdefault(verdict, []).append(claim)
    parts = [f"{' and '.join(claims)} {'is' if len(claims) == 1 else 'are'} {verdict}" for verdict, claims in by_verdict.items()]
    return f"Of the paper’s claims {'; '.join(parts)}" if parts else "Differences between methods on language tasks"


def height(data: dict[str, Any]) -> float:
    """By the number of comparisons."""
    return 1.1 + dots.heights(data["pairs"])


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """A block for each pair of methods."""
    axes = figure.subplots()
    dots.differences(axes, data["pairs"])
    axes.set_xlabel("difference in points (the paper: right of 0)")
    remarks = [f"95 % intervals, paired over tasks and {data['seeds']}; {len(data['scores'])} tasks"]
    if any(row["learned"] is not None for row in data["pairs"]):
        remarks.append(f"grey: on {in_words(learned(data))} alone, which full fine-tuning learns")
    if not all(row["fair"] for row in data["pairs"]):
        remarks.append("hollow: the two train different numbers of values")
    style.note(figure, *remarks)


def in_words(tasks: Sequence[str]) -> str:
    """CoLA and RTE."""
    return " and ".join(TASKS.get(task, (task,))[0] for task in tasks)


FIGURE = Picture(
    title="language tasks: the differences behind the paper's claims",
    claims=("lora_limits.in_proj_dominates",),
    sources=(str(summary_path(NAME)),),
    height=height,
    data=data,
    draw=draw,
    says=says,
    needs=COMMAND,
)
