"""Hankel spectra of the usual initialisations beside the spacings of number formats (claim prefix_state.finite_precision).

A prefix of norm at most 1 moves the outputs within an ellipsoid with semi-axes σ_1 ≥ σ_2 ≥ …, the Hankel singular values. A
direction whose σ_n/σ_1 lies below the spacing of a number format is lost in that format. The values are certified by ball
arithmetic; c is drawn at random, so each curve is a median with the range of the draws.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from theory.core.gramians import hankel_singular_values
from theory.core.initialisations import DT_GRID, initialisation
from theory.core.tolerance import EPS32, EPS64, EPS_BF16

from . import style
from .registry import Picture
from .sources import RESULTS, MissingData, committed

STATES, DRAWS = 16, 20
CHECKPOINT = RESULTS / "diagnose.json"
COMMAND = f"python -m theory diagnose CHECKPOINT.safetensors --json > {CHECKPOINT}"
FORMATS = {"bfloat16": EPS_BF16, "float32": EPS32, "float64": EPS64}
MARKERS = ("v", "o", "^")
MIDDLE = DT_GRID[1]


def _spectra(name: str, dt: float) -> dict[str, Any]:
    """Least, median and largest σ_n/σ_1 over draws of c; σ's that are exactly 0 (equal modes) are left out."""
    rows = [hankel_singular_values(initialisation(name, STATES, dt, seed=seed)) for seed in range(DRAWS)]
    relative = np.array([row / row[0] for row in rows])
    relative = relative[:, (relative > 0).all(axis=0)]
    return {
        "least": relative.min(axis=0).tolist(),
        "median": np.median(relative, axis=0).tolist(),
        "most": relative.max(axis=0).tolist(),
    }


def data() -> dict[str, Any]:
    """Spectra of Mamba's initialisation at three step sizes, of the S4D ones at the middle step, and of a checkpoint's layers."""
    mamba = {f"{dt:g}": _spectra("mamba", dt) for dt in DT_GRID}
    others = {name: _spectra(name, MIDDLE) for name in style.INITIALISATIONS if name != "mamba"}
    try:
        layers = committed(str(CHECKPOINT), COMMAND)["layers"]
        checkpoint = [row["hankel_relative_median"] for row in layers if row["hankel_relative_median"]]
    except MissingData:
        checkpoint = None
    return {"mamba": mamba, "others": others, "formats": FORMATS, "checkpoint": checkpoint, "draws": DRAWS}


def draw(figure: Figure, data: dict[str, Any]) -> None:
    """σ_n/σ_1 against n, on a logarithmic scale."""
    axes = figure.subplots()
    for name, eps in data["formats"].items():
        axes.axhline(eps, color=style.GREY, linewidth=0.7)
        axes.text(16.6, eps, name, color=style.GREY, va="center")
    for name, (label, colour, line) in style.INITIALISATIONS.items():
        spectrum = data["mamba"][f"{MIDDLE:g}"] if name == "mamba" else data["others"][name]
        n = np.arange(1, len(spectrum["median"]) + 1)
        axes.fill_between(n, spectrum["least"], spectrum["most"], color=colour, alpha=0.18, linewidth=0)
        axes.plot(n, spectrum["median"], line, color=colour, label=label)
    for marker, (dt, spectrum) in zip(MARKERS, data["mamba"].items(), strict=True):
        if float(dt) != MIDDLE:
            n = np.arange(1, len(spectrum["median"]) + 1)
            axes.plot(n, spectrum["median"], marker, color=style.VERMILION, mfc="none", mew=0.7, label=f"Mamba at Δ = {dt}")
    if data["checkpoint"] is None:
        axes.plot([], [], color=style.BLACK, linewidth=2, alpha=0.35, label="trained checkpoint: no data yet")
    else:
        layers = np.array(data["checkpoint"])
        n = np.arange(1, layers.shape[1] + 1)
        axes.fill_between(n, layers.min(axis=0), layers.max(axis=0), color=style.BLACK, alpha=0.15, linewidth=0)
        axes.plot(n, np.median(layers, axis=0), color=style.BLACK, label=f"trained checkpoint, {len(layers)} layers")
    axes.set_yscale("log")
    axes.set_ylim(1e-28, 8)
    axes.set_xlim(0.6, 16.4)
    axes.set_xticks([1, 4, 8, 12, 16])
    axes.set_yticks([10.0**-k for k in range(0, 28, 6)])
    axes.set_xlabel("direction n of 16")
    axes.set_ylabel("Hankel singular value σ$_n$/σ$_1$")
    axes.set_title("Directions that a prefix can use")
    style.tag(axes, f"Δ = {MIDDLE:g} unless\nstated; bands:\n{data['draws']} draws of c", y=0.70)
    axes.legend(loc="lower left")


FIGURE = Picture(
    title="Hankel spectra of initialisations against the precision of number formats",
    claims=("prefix_state.finite_precision",),
    sources=("theory.hankel_singular_values", "theory.initialisation", str(CHECKPOINT)),
    height=3.1,
    data=data,
    draw=draw,
)
