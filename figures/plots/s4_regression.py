"""Synthetic deep S4 regression: error against trained parameters, published points beside this project's runs.

Errors are shares of the frozen model's, which makes targets comparable: every seed has its own. The two differ in what they
measure: published are least training errors of one seed and one learning rate, read off a plot; this project's are held-out
errors, geometric means over seeds with 95 % intervals, every method at its own best learning rate.
"""

from __future__ import annotations

import math
import statistics
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import LogLocator
from scipy import stats

from theory.core.errors import InvalidInput

from .. import dots, style
from ..registry import Picture
from ..sources import MissingData, command, committed, experiment, summary_path

NAME = "s4_regression"
PUBLISHED = f"empirics/data/{NAME}_published.json"
CURVES = {
    "lora_projections": ("LoRA, projections", style.BLUE, "o"),
    "lora_s4_and_projections": ("LoRA, S4 and projections", style.GREEN, "s"),
    "sdt_and_lora": ("SDT with LoRA", style.ORANGE, "^"),
    "sdt_s4_and_columns": ("SDT", style.VERMILION, "D"),
    "full": ("all parameters", style.PURPLE, "v"),
}
CURVE_OF = {
    "full": "full",
    **dict.fromkeys(("sdt", "sdt_random", "sdt_magnitude"), "sdt_s4_and_columns"),
    **dict.fromkeys(("sdt_lora_r8", "sdt_lora_r8_random"), "sdt_and_lora"),
    **dict.fromkeys(("lora_proj_r4", "lora_proj_r8", "lora_proj_r16"), "lora_projections"),
    **dict.fromkeys(("lora_s4_proj_r4", "lora_s4_proj_r8"), "lora_s4_and_projections"),
}
"""The published curve that a method of the experiment belongs to, where there is one."""
CONTROLS = ("_random", "_magnitude")
"""Endings of methods whose dimensions are chosen otherwise: beside no published point."""


def data() -> dict[str, Any]:
    """Published points (trained numbers in thousands) and, where there are any, this project's full-size ones."""
    published = committed(PUBLISHED, f"git checkout {PUBLISHED}")
    try:
        size = int(published["trainable_unit"].split()[2])
        ((_, frozen),) = ((point["percent"], point["mse"]) for point in published["methods"]["frozen"])
        points = {
            m: [[p["percent"] * size / 1e5, p["mse"] / frozen] for p in curve]
            for m, curve in published["methods"].items()
            if m != "frozen"
        }
        out = {"published": points, "uncertainty": published["uncertainty"] / frozen}
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InvalidInput(f"{PUBLISHED} is no table of published points: {error!r}") from error
    try:
        found = experiment(NAME, "sweep", accept_quick=False)
    except MissingData as missing:
        return {**out, "ours": None, "command": missing.command}
    seeds = len(found.summary["seeds"])
    try:
        rows = {row["method"]: row for row in found.summary["table"] if "method" in row}
        base = rows["frozen"]["per_seed_held_out"]
        confidence = found.summary["threshold"]["confidence"]
        ours = [
            {"method": method, "trainable": row["trainable"], **share(row["per_seed_held_out"], base, confidence)}
            for method, row in rows.items()
            if method != "frozen" and len(row["per_seed_held_out"]) == len(base)  # a missing seed leaves no pairs
        ]
    except KeyError as error:
        raise InvalidInput(f"the results of {NAME} lack {error}; run {command(NAME, 'sweep')}") from error
    ours.sort(key=lambda row: (row["mean"], row["method"]))
    return {**out, "ours": ours, "seeds": seeds}


def share(errors: list[float], frozen: list[float], confidence: float) -> dict[str, float | None]:
    """Geometric mean of errors / frozen, paired by seed, and its Student-t interval; none for a single seed."""
    logs = [math.log(error / other) for error, other in zip(errors, frozen, strict=True)]
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return {"mean": math.exp(mean), "low": None, "high": None}
    half = float(stats.t.ppf(0.5 + confidence / 2, len(logs) - 1)) * statistics.stdev(logs) / len(logs) ** 0.5
    return {"mean": math.exp(mean), "low": math.exp(mean - half), "high": math.exp(mean + half)}


def height(data: dict[str, Any]) -> float:
    """A panel for the published points, and rows for this project's."""
    return 3.5 + (0.5 + dots.ROW * len(data["ours"]) if data["ours"] else 0.0)


def says(data: dict[str, Any]) -> str:
    """The best of the methods that train a part, and whether chosen dimensions are told apart from random ones."""
    if not data["ours"]:
        return "Deep S4 regression: published points, this project’s runs are missing"
    rows = {row["method"]: row for row in data["ours"]}
    best = next((row for row in data["ours"] if row["method"] != "full"), data["ours"][0])
    label = dots.label(best["method"])
    said = f"Deep S4: {label} ends at {best['mean']:.2f} of the frozen error, the best of those that train a part"
    chosen, random = rows.get("sdt"), rows.get("sdt_random")
    if chosen is None or random is None or None in (chosen["low"], random["low"]):
        return said
    apart = chosen["high"] < random["low"] or random["high"] < chosen["low"]
    return f"{said}; chosen and random dimensions {'differ' if apart else 'are not told apart'}"


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """Above: error against trained numbers, open markers published, filled ones ours. Below: all of ours, the best on top."""
    if not data["ours"]:
        _published(above := figure.subplots(), data)
        program, _, options = data["command"].partition(" --")
        note = ["hollow: published (one seed, training error)", "filled, this project: no data yet; run", program, f"--{options}"]
    else:
        heights = (2.3, 0.5 + dots.ROW * len(data["ours"]))
        above, below = (part.subplots() for part in figure.subfigures(2, 1, height_ratios=heights, squeeze=False)[:, 0])
        _published(above, data)
        _ours(above, below, data["ours"])
        note = [
            "hollow: published, one seed, training error; filled: this project,",
            f"held-out error, {data['seeds']} seeds, 95 % intervals",
        ]
    figure.legend(*above.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    style.note(figure, *note)


def _published(axes: Axes, data: dict[str, Any]) -> None:
    """0 is on the axis because a published point lies there."""
    for method, (label, colour, marker) in CURVES.items():
        x, y = zip(*data["published"][method], strict=True)
        axes.errorbar(
            x, y, yerr=data["uncertainty"], fmt=marker, linestyle=":", color=colour, mfc="white", mew=0.9, linewidth=0.8,
            label=label,
        )  # fmt: skip
    axes.set_xlabel("trained parameters (thousands)")
    axes.set_ylabel("error / frozen model's")
    axes.set_xscale("log")
    axes.set_xticks([3, 10, 30])
    axes.set_xticklabels(["3", "10", "30"])
    axes.minorticks_off()
    axes.axhline(1, color=style.BLACK, linewidth=0.8, linestyle="--")
    axes.text(0.99, 1, "frozen", transform=axes.get_yaxis_transform(), ha="right", va="bottom")
    axes.set_ylim(-0.03, 1.1)


def _look(method: str) -> tuple[str, str]:
    curve = CURVE_OF.get(method)
    return (style.GREY, "*") if curve is None else CURVES[curve][1:]


def _control(method: str) -> bool:
    return method.endswith(CONTROLS)


def _ours(above: Axes, below: Axes, ours: list[dict[str, Any]]) -> None:
    for row in ours:
        if row["method"] in CURVE_OF and not _control(row["method"]):
            colour, marker = _look(row["method"])
            above.plot(row["trainable"] / 1e3, row["mean"], marker, color=colour)
    order = [row["method"] for row in ours]
    dots.rows(
        below, order, {row["method"]: row for row in ours}, style_of=_look,
    )  # fmt: skip
    dots.at_right(below, [dots.short(row["trainable"]) for row in ours], "trained")
    below.axvline(1, color=style.BLACK, linewidth=0.8, linestyle="--")
    below.set_xscale("log")
    low, high = below.get_xlim()
    below.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 20 * low else (1.0, 3.0)))
    below.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    below.xaxis.set_minor_formatter(lambda value, _: "")
    below.set_xlabel("error / frozen model's, paired by seed")


FIGURE = Picture(
    title="deep S4 regression: error against trained parameters, published and measured",
    claims=("lora_limits.cheaper_sparse",),
    sources=(PUBLISHED, str(summary_path(NAME))),
    height=height,
    data=data,
    draw=draw,
    says=says,
    needs=command(NAME, "sweep"),
)
