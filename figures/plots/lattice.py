"""What contains what: the containments among fine-tuning methods per class of systems, and the pairs that are open.

An arrow a → b says that b does everything a does: always (black) or under the conditions that ``python -m theory lattice``
prints (blue). It is labelled by the claims that decide it. Only stated facts are drawn, not what follows from them by
composition. A dashed line is OPEN: nothing is stated about the pair and nothing follows. Pairs without a line are decided: a
containment fails (under conditions) or follows. To keep lines few, methods stand in two boxes; a line from a box counts for
all its members.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Rectangle

from theory.relations.lattice import METHODS, SYSTEMS, lattice

from .. import style
from ..registry import Picture

# Positions in inches; a panel is one column wide.
CENTRES: dict[str, dict[str, tuple[float, float]]] = {
    "LTI": {"lora_A": (2.1, 0.6), "sdt": (3.0, 0.6)},
    "deep S4": {"lora_out_proj": (1.95, 0.32), "sdt_lora": (1.95, 0.92), "sdt": (2.57, 0.32), "lora_A": (3.15, 0.32)},
    "S6": {
        "lora_selectors": (1.97, 0.32), "lora_in_proj": (1.97, 0.92), "lora_out_proj": (2.65, 0.32), "sdt": (3.15, 0.32),
        "lora_A": (3.15, 0.92),
    },
    "Mamba-2": {"lora_selectors": (2.1, 0.32), "lora_in_proj": (2.1, 0.92), "lora_out_proj": (3.0, 0.32), "sdt": (3.0, 0.92)},
}  # fmt: skip
COMMON = {
    "prompt": (0.5, 0.27), "prefix": (0.5, 0.73), "initial_state": (0.5, 1.19), "state_offset": (1.28, 0.98),
    "full": (2.56, 1.47),
}  # fmt: skip
STATES = ("prompt", "prefix", "initial_state")
BOXES = {"states": (0.05, 0.06, 0.95, 1.38), "weights": (1.62, 0.06, 3.37, 1.18)}
SHORT = {
    "prompt": "prompt", "prefix": "prefix", "initial_state": "initial state", "state_offset": "state\noffset",
    "lora_selectors": "LoRA\nselectors", "lora_A": "LoRA\nA", "lora_in_proj": "LoRA\nin_proj", "lora_out_proj": "LoRA\nout_proj",
    "sdt": "SDT", "sdt_lora": "SDT +\nLoRA", "full": "all weights",
}  # fmt: skip
HALF: dict[str, tuple[float, float]] = {
    name: (0.029 * max(map(len, text.split("\n"))) + 0.03, 0.075 + 0.055 * text.count("\n")) for name, text in SHORT.items()
}
PANEL = 1.62


def data() -> dict[str, Any]:
    """Stated containments with claims and conditions, and the open pairs, per class; every claim with its abbreviation."""
    found = lattice()
    systems: dict[str, dict[str, Any]] = {}
    for system in found.systems:
        stated = [f for f in found.facts if f.system == system and f.holds and not f.derived]
        systems[system] = {
            "about": SYSTEMS[system][0],
            "methods": list(SYSTEMS[system][1]),
            "contained": [[f.smaller, f.larger, list(f.claims), bool(f.conditions)] for f in stated],
            "open": [list(pair) for pair in found.open_pairs(system)],
        }
    used = sorted({c for s in systems.values() for edge in s["contained"] for c in edge[2]}, key=_order)
    codes: dict[str, str] = {}
    for claim in used:
        letter = claim[0].upper()
        codes[claim] = f"{letter}{1 + sum(code.startswith(letter) for code in codes.values())}"
    return {"systems": systems, "codes": codes}


def _order(claim: str) -> tuple[int, str]:
    return ("prefix_state", "lora_limits", "sparse_dims").index(claim.partition(".")[0]), claim


def draw(figure: Figure, data: dict[str, Any]) -> None:
    """One panel for each class, then the key."""
    panels = figure.subplots(len(data["systems"]) + 1, 1, height_ratios=[PANEL] * len(data["systems"]) + [1.5])
    for axes, (system, content) in zip(panels, data["systems"].items(), strict=False):
        _panel(axes, system, content, data["codes"])
    _key(panels[-1], data["codes"])


def _panel(axes: Axes, system: str, content: dict[str, Any], codes: dict[str, str]) -> None:
    axes.set_axis_off()
    axes.set_xlim(0, style.WIDTH)
    axes.set_ylim(0, PANEL)
    places = {**COMMON, **CENTRES[system]}
    weights = [m for m in content["methods"] if m in CENTRES[system]]
    for x0, y0, x1, y1 in BOXES.values():
        shape = FancyBboxPatch(
            (x0, y0), x1 - x0, y1 - y0, boxstyle="round,pad=0,rounding_size=0.06", fc="#F3F3F3", ec=style.LIGHT
        )
        axes.add_patch(shape)
    axes.set_title(f"{system}: {content['about'].partition(';')[0]}", fontsize=style.SMALL, pad=2)
    _open_lines(axes, content, weights, places)
    _arrows(axes, content, weights, places, codes)
    for method in content["methods"]:
        x, y = places[method]
        w, h = HALF[method]
        axes.add_patch(Rectangle((x - w, y - h), 2 * w, 2 * h, fc="white", ec=style.BLACK, linewidth=0.6, zorder=4))
        axes.text(x, y, SHORT[method], ha="center", va="center", zorder=5, linespacing=0.95)


def _open_lines(axes: Axes, content: dict[str, Any], weights: list[str], places: dict[str, Any]) -> None:
    pairs = {frozenset(pair) for pair in content["open"]}
    units = {"states": STATES, "weights": tuple(weights), "state_offset": ("state_offset",), "full": ("full",)}
    for a, b in combinations(units, 2):
        between = [frozenset((x, y)) for x in units[a] for y in units[b]]
        if all(pair in pairs for pair in between):
            _dashed(axes, *_between(a, b))
            pairs -= set(between)
    for pair in sorted(map(sorted, pairs)):
        _dashed(axes, places[pair[0]], places[pair[1]])


def _between(a: str, b: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """End points of a dashed line between boxes or single methods, clear of everything else."""
    (_, _, s1, s2), (w0, _, _, w1) = BOXES["states"], BOXES["weights"]
    offset, full = COMMON["state_offset"], COMMON["full"]
    ends = {
        ("states", "weights"): ((s1, 0.4), (w0, 0.4)),
        ("states", "state_offset"): ((s1, offset[1]), offset),
        ("states", "full"): ((s1, s2 - 0.06), full),
        ("weights", "state_offset"): ((w0, offset[1]), offset),
        ("weights", "full"): ((full[0], w1), full),
        ("state_offset", "full"): (offset, (full[0] - 0.3, full[1] - 0.05)),
    }
    return ends[a, b]


def _dashed(axes: Axes, start: Iterable[float], end: Iterable[float]) -> None:
    (x0, y0), (x1, y1) = start, end
    axes.plot([x0, x1], [y0, y1], color=style.VERMILION, linewidth=1.0, linestyle=(0, (3, 2)), zorder=2)


def _arrows(axes: Axes, content: dict[str, Any], weights: list[str], places: dict[str, Any], codes: dict[str, str]) -> None:
    always = {a for a, b, _, conditional in content["contained"] if b == "full" and not conditional}
    if set(weights) <= always:  # one arrow from the box instead of one from each method
        claims = {codes[c] for a, b, found, conditional in content["contained"] if b == "full" and not conditional for c in found}
        _arrow(axes, (2.72, BOXES["weights"][3]), (2.72, places["full"][1] - HALF["full"][1]), _list(claims), False, "right")
    for a, b, claims, conditional in content["contained"]:
        if b == "full" and set(weights) <= always and a in weights:
            continue
        (x0, y0), (x1, y1) = places[a], places[b]
        both = any((b, a) == (c, d) for c, d, _, _ in content["contained"])
        label = _list(codes[c] for c in claims)
        if x0 == x1:
            shift = (0.1 if y0 > y1 else -0.1) if both else 0.0
            up = 1 if y1 > y0 else -1
            start, end = (x0 + shift, y0 + up * HALF[a][1]), (x1 + shift, y1 - up * HALF[b][1])
            side = "left" if shift < 0 else "right"
        elif a == "full":
            start, end, side = (x0 - 0.25, y0 - HALF[a][1]), (x1 + 0.1, y1 + HALF[b][1]), "left"
        else:  # to a method above and to the left
            start, end, side = (x0 - 0.12, y0 + HALF[a][1]), (x1 + HALF[b][0] * 0.75, y1 - HALF[b][1]), "right"
        _arrow(axes, start, end, label, conditional, side)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], label: str, conditional: bool, side: str) -> None:
    colour = style.BLUE if conditional else style.BLACK
    props = {"arrowstyle": "-|>", "color": colour, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 6}
    axes.annotate("", end, start, arrowprops=props, zorder=3)
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    gap = 0.05 if side == "right" else -0.05
    axes.text(x + gap, y, label, color=colour, va="center", ha="left" if side == "right" else "right", zorder=6)


def _list(codes: Iterable[str]) -> str:
    return ", ".join(sorted(codes))


def _key(axes: Axes, codes: dict[str, str]) -> None:
    axes.set_axis_off()
    lines = [
        Line2D([], [], color=style.BLACK, label="contained in, always"),
        Line2D([], [], color=style.BLUE, label="contained in, under conditions"),
        Line2D([], [], color=style.VERMILION, linestyle=(0, (3, 2)), label="OPEN, for all members of a box"),
        Line2D([], [], linestyle="none", label="no line: a containment fails, or follows from others"),
    ]
    axes.legend(handles=lines, loc="upper left", bbox_to_anchor=(0.0, 1.0), handlelength=1.5)
    entries = [f"{code} {claim.partition('.')[2]}" for claim, code in codes.items()]
    rows = -(-len(entries) // 2)
    for i, entry in enumerate(entries):
        axes.text(0.01 + 0.48 * (i // rows), 0.43 - 0.085 * (i % rows), entry, transform=axes.transAxes, va="top")
    families = "P prefix_state, L lora_limits, S sparse_dims"
    axes.text(0.01, 0.55, f"claims: {families}", transform=axes.transAxes, va="top", color=style.GREY)


assert set(SHORT) == set(METHODS), "every method of the theory's lattice needs a short name"

FIGURE = Picture(
    title="containments among fine-tuning methods, per class of systems",
    claims=(
        "prefix_state.contained", "prefix_state.depth", "prefix_state.equivalent", "prefix_state.mamba2",
        "prefix_state.selective",
        "lora_limits.cheaper_sparse", "lora_limits.in_proj_dominates", "lora_limits.rank_floor",
        "lora_limits.selector_absorption", "sparse_dims.exact_match", "sparse_dims.minimal_adjustment",
    ),
    sources=("theory.relations.lattice",),
    height=8.6,
    data=data,
    draw=draw,
    dpi=180,  # a tall page
)  # fmt: skip
