"""A diagnosis as a picture of one column: what a prefix keeps, how far a state carries, and what adapters store.

Drawn from the JSON that ``python -m empirics diagnose --json`` writes, and from nothing else.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from theory.core.errors import InvalidInput
from theory.core.files import write_bytes

from . import style

HEIGHT, DPI, NAME = 6.2, 300, "diagnose"


def render(diagnosis: Mapping[str, Any]) -> dict[str, bytes]:
    """``diagnose.png`` and ``diagnose.pdf``; the same diagnosis gives the same bytes.

    Raises InvalidInput for JSON that is no diagnosis, or one of an earlier version that lacks numbers.
    """
    title = f"Diagnosis of {diagnosis.get('source')}"
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Title": title, "Software": None},
        "pdf": {"Title": title, "Creator": None, "Producer": None, "CreationDate": None},
    }
    out = {}
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever a user's matplotlibrc says
        mpl.rcParams.update(style.RC)
        figure = style.page(HEIGHT)
        try:
            draw(figure, diagnosis)
        except (KeyError, TypeError) as error:
            raise InvalidInput(
                f"the diagnosis lacks {error}; make it again: python -m empirics diagnose MODEL --json FILE"
            ) from error
        for kind, entries in metadata.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=entries, dpi=DPI)
            out[f"{NAME}.{kind}"] = buffer.getvalue()
    return out


def write(diagnosis: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write the picture in both formats, each atomically; returns the files."""
    files = render(diagnosis)
    for name, content in files.items():
        write_bytes(folder / name, content)
    return [folder / name for name in files]


def draw(figure: Figure, diagnosis: Mapping[str, Any]) -> None:
    """Three panels from top to bottom: prefix (Mamba-2: states that M tokens leave), initial state, adapters."""
    kind, layers = diagnosis["model"]["kind"].replace("mamba", "Mamba-"), diagnosis["model"]["layers"]
    name = str(diagnosis["source"])
    name = name if len(name) <= 36 else "…" + name[-35:]
    figure.suptitle(f"{name}: {kind}, {layers} layers", x=0.02, ha="left", fontsize=style.SMALL, color=style.GREY)
    top, middle, bottom = figure.subplots(3, 1, height_ratios=(1.0, 1.0, 1.15))
    if diagnosis["model"]["kind"] == "mamba2":
        _tokens(top, diagnosis)
    else:
        _directions(top, diagnosis)
    _carry(middle, diagnosis)
    _costs(bottom, diagnosis)


def _ranges(axes: Axes, places: Any, rows: list[Mapping[str, float]], **look: Any) -> None:
    """Medians with bars from the least to the largest."""
    middle = np.array([row["median"] for row in rows])
    reach = np.array([[row["median"] - row["min"], row["max"] - row["median"]] for row in rows]).T
    crowded = len(rows) > 24
    axes.errorbar(
        places,
        middle,
        reach,
        linestyle="",
        markersize=2.2 if crowded else 3.5,
        elinewidth=0.8,
        capsize=0 if crowded else 1.5,
        **look,
    )


def _layers(axes: Axes, n: int) -> None:
    axes.set_xlim(-0.7, n - 0.3)
    axes.set_xlabel("layer")
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))


def _directions(axes: Axes, d: Mapping[str, Any]) -> None:
    rows, n = d["layers"], d["model"]["d_state"]
    places = np.arange(len(rows))
    looks = [("o", style.BLUE), ("s", style.VERMILION)]
    for step, (name, (marker, colour)) in enumerate(zip(d["settings"]["eps"], looks, strict=True)):
        found = [row["usable_directions"][name] for row in rows]
        _ranges(axes, places + 0.2 * (step - 1), found, fmt=marker, color=colour, label=name)
    _ranges(axes, places + 0.2, [row["distinct_modes"] for row in rows], fmt="^", color=style.BLACK, label="exact numbers")
    axes.set_ylim(0, 1.35 * n)
    axes.set_yticks(sorted({0, n // 4, n // 2, 3 * n // 4, n}))
    axes.set_ylabel(f"directions of {n}")
    axes.set_title("What a prefix keeps, per channel")
    axes.legend(loc="upper left", ncols=3)
    _layers(axes, len(rows))


def _tokens(axes: Axes, d: Mapping[str, Any]) -> None:
    state, bounds = d["tokens"]["state"], d["tokens"]["states_after"]
    m, by_rank, by_numbers = (np.array(bounds[key]) for key in ("tokens", "by_rank", "by_numbers"))
    axes.plot(m, by_rank / state, "-", color=style.BLUE, label="rank ≤ M")
    axes.plot(m, np.minimum(by_numbers / state, 1), "-.", color=style.VERMILION, label="M · d$_{model}$ numbers")
    axes.axhline(1, color=style.BLACK, linestyle="--", linewidth=0.8, zorder=1)
    axes.text(m[-1], 1.03, "every state", ha="right", va="bottom")
    axes.set_xlim(0, m[-1])
    axes.set_ylim(0, 1.4)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.set_xlabel("tokens M before the module")
    axes.set_ylabel("share of dimensions")
    axes.set_title("What a prefix leaves in all heads, at most")
    axes.legend(loc="upper left", ncols=2)


def _carry(axes: Axes, d: Mapping[str, Any]) -> None:
    rows = [row["carry"] for row in d["layers"]]
    places = np.arange(len(rows))
    edges = np.r_[places - 0.5, places[-1] + 0.5]
    low, high = ([row["over_inputs"][side] for row in rows] for side in ("min", "max"))
    axes.fill_between(
        edges, [*low, low[-1]], [*high, high[-1]], step="post", color=style.SKY, alpha=0.35, linewidth=0,
        label=f"inputs, ‖u‖ ≤ {d['settings']['radius']:g}",
    )  # fmt: skip
    _ranges(axes, places, [row["zero_input"] for row in rows], fmt="o", color=style.BLUE, label="zero input")
    axes.set_yscale("log")
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top * (top / bottom) ** 0.4)
    axes.set_ylabel("half-life in tokens")
    axes.set_title("How far an initial state carries")
    axes.legend(loc="upper left", ncols=2)
    spacings = d["half_lives_to_eps"]["bfloat16"]
    style.tag(axes, f"bfloat16's spacing after {spacings:g} half-lives", x=0.03, y=0.84, ha="left")
    _layers(axes, len(rows))


def _costs(axes: Axes, d: Mapping[str, Any]) -> None:
    found, names = d["costs"], []
    for place, row in enumerate(found["matrices"]):
        names.append(f"{row['name']}\n{row['rows']} × {row['columns']}")
        axes.plot([1, row["entries"]], [place, place], color=style.LIGHT, zorder=1)
        axes.plot(row["entries"], place, "|", color=style.BLACK, markersize=7, mew=1.2, label=_once("all entries", place))
        axes.plot(row["stored"], place, "D", color=style.VERMILION, label=_once(f"LoRA, rank {found['rank']}", place))
        if row["rank"] < found["rank"]:
            axes.annotate(
                f"rank {row['rank']}",
                (row["stored"], place),
                (0, 6),
                textcoords="offset points",
                ha="center",
                color=style.VERMILION,
            )
    sdt = found["sdt"]
    axes.plot(sdt["on_A"], 0, "o", color=style.BLUE, label="SDT on A")
    axes.plot(sdt["lora_stored"], 0, "D", mfc="none", color=style.BLUE, label="LoRA that holds the same")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.7)
    axes.set_xscale("log")
    axes.set_xlim(left=min(10, 0.6 * sdt["on_A"]))
    axes.set_xlabel("numbers stored for one layer")
    axes.set_title("What adapters store")
    axes.grid(axis="x")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.3), ncols=2)


def _once(label: str, place: int) -> str | None:
    return label if place == 0 else None
