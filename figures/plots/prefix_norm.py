"""What a unit state costs: the norm of the cheapest prefix against the prefix's length (claim prefix_state.finite_precision).

A prefix of M tokens leaves h_0 = R x. Over states of norm 1 the least norm of x lies between 1/σ_1(R) and 1/σ_N(R), the
singular values of the reachability matrix, certified by ball arithmetic. Fewer tokens than (distinct) modes leave some states
out of reach at any price.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import FigureBase

from theory.core.gramians import reachability_singular_values
from theory.core.initialisations import DT_GRID, initialisation
from theory.core.tolerance import EPS32

from .. import digits, style
from ..registry import Picture

STATES = 16
LENGTHS = tuple(sorted({round(16 * 2 ** (k / 3)) for k in range(28)}))


def data() -> dict[str, Any]:
    """Norms for the costliest and for the cheapest unit state, per initialisation and step size."""
    curves: dict[str, Any] = {}
    for dt in (DT_GRID[0], DT_GRID[-1]):
        panel: dict[str, Any] = {}
        for name in style.INITIALISATIONS:
            values = [reachability_singular_values(initialisation(name, STATES, dt), m) for m in LENGTHS]
            panel[name] = {"costliest": [1 / float(v[-1]) for v in values], "cheapest": [1 / float(v[0]) for v in values]}
        curves[f"{dt:g}"] = panel
    return {"lengths": list(LENGTHS), "curves": curves, "float32": 1 / EPS32}


def says(data: dict[str, Any]) -> str:
    """What Mamba's costliest state asks for at the longest prefix."""
    norms = [curves["mamba"]["costliest"][-1] for curves in data["curves"].values()]
    return (
        f"Some unit states of a Mamba channel need a prefix of norm above 10{digits.raised(int(np.log10(min(norms))))}, "
        "at every length and step size"
    )


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """One panel for each step size; both axes logarithmic."""
    panels = figure.subplots(len(data["curves"]), 1, sharex=True, sharey=True)
    for axes, (dt, curves) in zip(panels, data["curves"].items(), strict=True):
        for name, (label, colour, line) in style.INITIALISATIONS.items():
            axes.plot(data["lengths"], curves[name]["costliest"], line, color=colour, label=label)
            axes.plot(data["lengths"], curves[name]["cheapest"], line, color=colour, linewidth=0.7)
        axes.axhline(data["float32"], color=style.GREY, linewidth=0.7)
        axes.text(1.01, data["float32"], "1/ε of\nfloat32", color=style.GREY, va="center", transform=axes.get_yaxis_transform())
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_ylim(1e-1, 1e48)
        axes.set_yticks([10.0**k for k in range(0, 49, 12)])
        axes.set_ylabel("norm of the prefix")
        axes.set_title(f"Step size dt = {dt}")
    first = next(iter(data["curves"].values()))["mamba"]
    panels[0].annotate("costliest state", (data["lengths"][8], first["costliest"][8]), (12, 4), textcoords="offset points")
    panels[0].text(data["lengths"][5], 3 * first["cheapest"][5], "cheapest state", va="bottom")
    panels[-1].set_xticks([16, 64, 256, 1024, 4096])
    panels[-1].set_xticklabels(["16", "64", "256", "1024", "4096"])
    panels[-1].minorticks_off()
    panels[-1].set_xlabel("tokens M in the prefix")
    panels[-1].legend(loc="upper right")


FIGURE = Picture(
    title="norm of the cheapest prefix that leaves a state of norm 1, against its length",
    claims=("prefix_state.finite_precision", "prefix_state.minimal_length"),
    sources=("theory.core.gramians.reachability_singular_values", "theory.initialisation"),
    height=3.6,
    data=data,
    draw=draw,
    says=says,
)
