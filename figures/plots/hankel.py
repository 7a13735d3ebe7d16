"""Hankel spectra of the usual initialisations, and of the bundled model, beside the spacings of number formats.

Claim prefix_state.finite_precision.

A prefix of norm at most 1 moves the outputs within an ellipsoid with semi-axes σ_1 ≥ σ_2 ≥ …, the Hankel singular values. A
direction whose σ_n/σ_1 lies below the spacing of a number format is lost in that format. The values are certified by ball
arithmetic; c is drawn at random, so each curve is a median with the range of the draws. The bundled model's are those of its
committed diagnosis: of each layer the median channel, every channel at its own step for zero input.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import FigureBase

from theory.core.errors import InvalidInput
from theory.core.gramians import hankel_singular_values
from theory.core.initialisations import DT_GRID, initialisation
from theory.core.tolerance import EPS32, EPS64, EPS_BF16

from .. import style
from ..registry import Picture
from ..sources import ROOT, MissingData, committed
from .pretraining import COMMAND as RECORD_COMMAND
from .pretraining import PATH as RECORD

STATES, DRAWS = 16, 20
DIAGNOSIS = "empirics/diagnosis/bundled.json"
COMMAND = f"python -m empirics diagnose bundled --json {DIAGNOSIS}"
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


def bundled(root: Path = ROOT) -> list[list[float]]:
    """The layers' median spectra of the bundled model.

    Raises
    ------
    MissingData
        It has not been diagnosed, or another model has.
    InvalidInput
        The diagnosis or the model's record is not what its command writes.
    """
    diagnosis, record = committed(DIAGNOSIS, COMMAND, root), committed(RECORD, RECORD_COMMAND, root)
    try:
        if diagnosis["model"]["sha256"] != record["model_sha256"]:
            raise MissingData(COMMAND)
        return [list(row["hankel_relative_median"]) for row in diagnosis["layers"]]
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"{DIAGNOSIS} or {RECORD} lacks {error}; run {COMMAND}") from error


def data() -> dict[str, Any]:
    """Spectra of Mamba's initialisation at three step sizes, of the S4D ones at the middle step, and of the bundled model."""
    mamba = {f"{dt:g}": _spectra("mamba", dt) for dt in DT_GRID}
    others = {name: _spectra(name, MIDDLE) for name in style.INITIALISATIONS if name != "mamba"}
    return {"mamba": mamba, "others": others, "formats": FORMATS, "bundled": bundled(), "draws": DRAWS}


def says(data: dict[str, Any]) -> str:
    """How many directions of Mamba's initialisation each format keeps."""
    spectrum = data["mamba"][f"{MIDDLE:g}"]["median"]
    kept = [f"{sum(value > eps for value in spectrum)} in {name}" for name, eps in data["formats"].items()]
    return f"Of {STATES} directions of a Mamba channel a prefix can use {', '.join(kept)}"


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
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
            axes.plot(n, spectrum["median"], marker, color=style.VERMILION, markersize=2.6, label=f"Mamba, dt = {dt}")
    layers = np.array(data["bundled"])
    n, middle = np.arange(1, layers.shape[1] + 1), np.median(layers, axis=0)
    spread = (middle - layers.min(axis=0), layers.max(axis=0) - middle)
    label = f"bundled model, {len(layers)} layers"
    axes.errorbar(n, middle, spread, fmt="D", ms=2.2, color=style.BLACK, elinewidth=0.8, label=label)
    axes.set_yscale("log")
    axes.set_ylim(min(1e-28, layers[layers > 0].min()) / 30, 8)
    axes.set_xlim(0.6, 16.4)
    axes.set_xticks([1, 4, 8, 12, 16])
    axes.set_yticks([10.0**-k for k in range(0, 31, 6)])
    axes.set_xlabel("direction n of 16")
    axes.set_ylabel("Hankel singular value σ$_n$/σ$_1$")
    style.note(
        figure,
        f"dt = {MIDDLE:g} unless stated, in the bundled model each channel’s own",
        f"bands: {data['draws']} draws of c; bars: layers, to 0 where modes are equal",
    )
    handles, labels = axes.get_legend_handles_labels()
    classes = len(style.INITIALISATIONS)
    axes.add_artist(axes.legend(handles[classes:], labels[classes:], loc="lower left"))
    axes.legend(handles[:classes], labels[:classes], loc="lower left", bbox_to_anchor=(0.0, 0.2), title=None)


FIGURE = Picture(
    title="Hankel spectra of initialisations and of the bundled model against the precision of number formats",
    claims=("prefix_state.finite_precision",),
    sources=("theory.hankel_singular_values", "theory.initialisation", DIAGNOSIS),
    height=3.4,
    data=data,
    draw=draw,
    says=says,
    needs=COMMAND,
)
