"""What contains what: every ordered pair of fine-tuning methods, per class of systems, with one of three marks.

A square says that the column's method does everything that the row's method does. A cross says that the row's method does
something that the column's cannot. A question mark is open: neither is stated, and neither follows. Black holds always, blue
under the conditions that ``python -m theory lattice`` prints; square and cross in one cell: both occur, under conditions that
exclude each other. Facts that follow by composition are drawn like stated ones.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from theory.relations.lattice import METHODS, SYSTEMS, lattice

from .. import style
from ..registry import Picture

CONTAINED, EXCLUDED, OPEN = "contained", "excluded", "open"
ALWAYS, SOMETIMES = "always", "under conditions"
SHORT = {
    "prompt": "prompt", "prefix": "prefix", "initial_state": "initial state", "state_offset": "state offset",
    "lora_selectors": "LoRA selectors", "lora_A": "LoRA A", "lora_in_proj": "LoRA in_proj", "lora_out_proj": "LoRA out_proj",
    "sdt": "SDT", "sdt_lora": "SDT + LoRA", "full": "all weights",
}  # fmt: skip
TITLES = {"LTI": "One LTI layer", "deep S4": "Deep S4", "S6": "S6 (Mamba-1)", "Mamba-2": "Mamba-2"}
CELL = 0.142
"""Height of a row in inches."""


def data() -> dict[str, Any]:
    """Per class: the methods, for each ordered pair what is known, and how many pairs are open."""
    found = lattice()
    systems: dict[str, dict[str, Any]] = {}
    for system in found.systems:
        methods = list(SYSTEMS[system][1])
        cells = {f"{a} {b}": _known(found.between(system, a, b), a) for a in methods for b in methods if a != b}
        systems[system] = {"methods": methods, "cells": cells, "open": len(found.open_pairs(system))}
    return {"systems": systems}


def _known(facts: list[Any], smaller: str) -> dict[str, str]:
    """Relation to ``always`` or ``under conditions``, of the facts in one direction; empty where it is open."""
    out: dict[str, str] = {}
    for fact in facts:
        if fact.smaller == smaller:
            relation = CONTAINED if fact.holds else EXCLUDED
            out[relation] = ALWAYS if not fact.conditions or out.get(relation) == ALWAYS else SOMETIMES
    return out


def says(data: dict[str, Any]) -> str:
    """How much is decided."""
    cells = [cell for system in data["systems"].values() for cell in system["cells"].values()]
    known = sum(bool(cell) for cell in cells)
    return (
        f"Does the column do all that the row does? {known} of {len(cells)} such questions are answered, always or on conditions"
    )


def height(data: dict[str, Any]) -> float:
    """By the number of methods in each class."""
    return 0.62 + sum(_panel_height(system) for system in data["systems"].values())


def _panel_height(system: dict[str, Any]) -> float:
    return 0.36 + CELL * len(system["methods"])


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """One matrix for each class; columns are numbered as the rows are."""
    systems = data["systems"]
    panels = figure.subplots(len(systems), 1, height_ratios=[_panel_height(s) for s in systems.values()], squeeze=False)[:, 0]
    for axes, (name, system) in zip(panels, systems.items(), strict=True):
        _panel(axes, name, system)
    handles = [
        Line2D([], [], color=style.BLACK, marker="s", linestyle="none", label="contained, always"),
        Line2D([], [], color=style.BLUE, marker="s", linestyle="none", label="contained, on conditions"),
        Line2D([], [], color=style.BLACK, marker="x", mew=1.1, linestyle="none", label="excluded, always"),
        Line2D([], [], color=style.BLUE, marker="x", mew=1.1, linestyle="none", label="excluded, on conditions"),
        Line2D([], [], color=style.VERMILION, marker="$?$", markersize=4.5, linestyle="none", label="open"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=2)


def _panel(axes: Axes, name: str, system: dict[str, Any]) -> None:
    methods = system["methods"]
    n = len(methods)
    for i, a in enumerate(methods):
        axes.add_patch(Rectangle((i + 0.5, i + 0.5), 1, 1, fc=style.LIGHT, ec="none"))
        for j, b in enumerate(methods):
            if a != b:
                _mark(axes, j + 1, i + 1, system["cells"][f"{a} {b}"])
    axes.set_xlim(0.5, n + 0.5)
    axes.set_ylim(n + 0.5, 0.5)
    axes.set_xticks(range(1, n + 1))
    axes.xaxis.tick_top()
    axes.set_yticks(range(1, n + 1))
    axes.set_yticklabels([f"{SHORT[m]}  {i}" for i, m in enumerate(methods, 1)])
    axes.tick_params(length=0, pad=1)
    for side in axes.spines.values():
        side.set_visible(False)
    for edge in range(n + 1):
        axes.axhline(edge + 0.5, color=style.LIGHT, linewidth=0.4)
        axes.axvline(edge + 0.5, color=style.LIGHT, linewidth=0.4)
    axes.set_title(f"{TITLES.get(name, name)}: {system['open']} of {n * (n - 1) // 2} pairs open", pad=12, fontsize=style.SMALL)


def _mark(axes: Axes, x: float, y: float, known: dict[str, str]) -> None:
    """What is known about one ordered pair; two relations stand beside each other."""
    colours = {ALWAYS: style.BLACK, SOMETIMES: style.BLUE}
    if not known:
        axes.plot(x, y, marker="$?$", color=style.VERMILION, markersize=4.5, mew=0.3)
    for shift, (relation, when) in zip((0.0,) if len(known) == 1 else (-0.22, 0.22), sorted(known.items()), strict=bool(known)):
        marker, size, width = ("s", 3.6, 0.0) if relation == CONTAINED else ("x", 3.6, 1.1)
        axes.plot(x + shift, y, marker, color=colours[when], markersize=size, mew=width)


assert set(SHORT) == set(METHODS), "every method of the theory's lattice needs a short name"

FIGURE = Picture(
    title="which fine-tuning method contains which: containments, exclusions and open questions per class of systems",
    claims=(
        "prefix_state.contained", "prefix_state.decay", "prefix_state.depth", "prefix_state.equivalent",
        "prefix_state.input_independent", "prefix_state.mamba2", "prefix_state.selective", "prefix_state.selective_offset",
        "prefix_state.state_offset",
        "lora_limits.cheaper_sparse", "lora_limits.in_proj_dominates", "lora_limits.mamba2", "lora_limits.rank_floor",
        "lora_limits.selector_absorption", "lora_limits.spectrum_frozen",
        "sparse_dims.essential", "sparse_dims.exact_match", "sparse_dims.minimal_adjustment",
    ),
    sources=("theory.relations.lattice",),
    height=height,
    data=data,
    draw=draw,
    says=says,
    dpi=220,  # a tall page
)  # fmt: skip
