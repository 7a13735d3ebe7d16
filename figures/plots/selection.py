"""Do selection scores find the states that have to change? Precision and recall against supports that are known.

Above, the small exactly decided runs of the theory (claim sparse_dims.selection); below, the experiment of the same name on
deep S4 and Mamba-1, where the moved (channel, state) pairs are planted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D

from theory.core.errors import InvalidInput

from .. import style
from ..registry import Picture
from ..sources import MissingData, check_data, command, experiment, summary_path

CLAIM, CHECK, NAME = "sparse_dims.selection", "scores against random", "selection"
MARKERS = ("o", "s", "^", "D")
COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE)
KINDS = {"s4": "Larger deep S4", "mamba1": "Mamba-1"}
SCORES = {
    "loss_ablation": "loss ablation", "ablation": "loss ablation", "gradient": "gradient", "change_of_a": "change of a",
    "change": "change of a", "change_of_log_A": "change of log A", "change_log_A": "change of log A",
    "released": "released S4 score",
    "magnitude": "magnitude", "random": "random",
}  # fmt: skip
"""A score's name in the theory and in the experiment, to one name in one order for both."""
ORDER = list(dict.fromkeys(SCORES.values()))


def data() -> dict[str, Any]:
    """Theory's table on the level of states, and the experiment's table where there is one."""
    try:
        rows = [row for row in check_data(CLAIM, CHECK)["table"] if row["level"] == "states"]
        keys = ("setting", "score", "picks", "precision", "recall", "chance")
        theory = [{key: row[key] for key in keys} for row in rows]
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"the table of {CLAIM} in theory/verdicts.json lacks {error}; run make verify") from error
    try:
        found = experiment(NAME)
    except MissingData as missing:
        return {"theory": theory, "experiment": None, "command": missing.command}
    columns = ("kind", "score", "precision", "half_width", "chance")
    table = [{key: row[key] for key in columns} for row in found.summary["table"] if row["score"] != "oracle"]
    return {"theory": theory, "experiment": table, "size": found.size, "seeds": len(found.summary["seeds"])}


def says(data: dict[str, Any]) -> str:
    """Which scores beat chance in the experiment, by kind of model."""
    if data["experiment"] is None:
        return "Scores that choose dimensions against supports that are known"
    parts = []
    for kind, label in KINDS.items():
        rows = [row for row in data["experiment"] if row["kind"] == kind and row["score"] != "random"]
        above = [row for row in rows if row["half_width"] is not None and row["precision"] - row["half_width"] > row["chance"]]
        parts.append(f"{len(above)} of {len(rows)} scores on {label.removeprefix('Larger ')}")
    return f"Precision above chance: {', '.join(parts)}"


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """Dots with 95 % intervals, one row for each score in one order; chance is a dotted line of the same colour."""
    above, below = figure.subfigures(2, 1, height_ratios=(1.35, 1.0), squeeze=False)[:, 0]
    left, right = np.ravel(above.subplots(1, 2, sharey=True))
    rows = data["theory"]
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    order = [name for name in ORDER if name in {SCORES[row["score"]] for row in rows}]
    for axes, picks, measure in ((left, "1×", "precision"), (right, "2×", "recall")):
        for i, setting in enumerate(settings):
            for row in (r for r in rows if r["setting"] == setting and r["picks"] == picks):
                value = row["precision"] if measure == "precision" else [row["recall"]] * 3
                _point(axes, order.index(SCORES[row["score"]]) + 0.17 * (i - 1.5), value, i)
            chance = next(r["chance"] for r in rows if r["setting"] == setting)
            # a random pick of twice as many finds twice the share
            axes.axvline(chance * (1 if picks == "1×" else 2), color=COLOURS[i], linewidth=0.6, linestyle=":")
        _frame(axes, order)
    left.set_title("In theory: small deep S4")
    left.set_xlabel("precision = recall\n(as many picks as moved)")
    right.set_xlabel("recall\n(twice as many picks)")
    handles = [Line2D([], [], color=c, marker=m, linestyle="none") for c, m in zip(COLOURS, MARKERS, strict=True)]
    above.legend(handles, [_setting(s) for s in settings], loc="outside lower left", ncols=2, handlelength=1)

    panels = np.ravel(below.subplots(1, 2, sharey=True))
    if data["experiment"] is None:
        for axes in panels:
            axes.remove()
        below.text(0.02, 0.5, f"experiment: no data yet; run\n{data['command']}", color=style.GREY, va="center")
        return
    table = data["experiment"]
    order = [name for name in ORDER if name in {SCORES[row["score"]] for row in table}]
    for i, (axes, (kind, label)) in enumerate(zip(panels, KINDS.items(), strict=True)):
        for row in (r for r in table if r["kind"] == kind):
            half = row["half_width"] or 0.0
            _point(
                axes, order.index(SCORES[row["score"]]), [row["precision"], row["precision"] - half, row["precision"] + half], i
            )
            axes.axvline(row["chance"], color=COLOURS[i], linewidth=0.6, linestyle=":")
        _frame(axes, order)
        axes.set_xlabel("precision")
        axes.set_title(label)
    style.note(
        below,
        f"95 % intervals over {data['seeds']} seeds{', ' + data['size'] if data['size'] else ''}; dotted: chance; better: right",
        "theory’s models are smaller, their targets others: ranks may differ",
    )


def _setting(name: str) -> str:
    """``2×6×4, relu, 20 adam steps`` in fewer words."""
    sizes, _, steps = (part.strip() for part in name.split(","))
    return f"{sizes}, {steps.split()[0]} steps"


def _point(axes: Axes, place: float, value: list[float], series: int) -> None:
    middle, low, high = value
    spread = [[middle - low], [high - middle]] if high > low else None
    axes.errorbar(
        middle, place, xerr=spread, fmt=MARKERS[series], color=COLOURS[series], linewidth=0.8, markersize=2.8, capsize=0
    )


def _frame(axes: Axes, order: list[str]) -> None:
    axes.set_yticks(range(len(order)))
    axes.set_yticklabels(order)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.set_xlim(-0.03, 1.0)
    axes.set_xticks([0, 0.5, 1])
    axes.grid(axis="y")


FIGURE = Picture(
    title="precision and recall of selection scores against known supports",
    claims=(CLAIM,),
    sources=("theory/verdicts.json", str(summary_path(NAME)), str(summary_path(NAME, quick=True))),
    height=4.9,
    data=data,
    draw=draw,
    says=says,
    needs=command(NAME),
)
