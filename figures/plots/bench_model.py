"""A training step of a whole model: time and peak of memory of each method, as ratios to stock mamba-ssm and to peft's slow path.

Stock trains every weight on mamba-ssm's fused path. The slow path is mamba-ssm without it (so that adapters are seen) and peft's
LoRA. Left of 1 is faster, or smaller. Upright strokes are the GPU's kernels alone, without what launching them from Python costs.
A hollow marker at the edge is a contender that did not fit or could not run.
"""

from __future__ import annotations

import re
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from theory.core.errors import InvalidInput

from .. import dots, style
from ..registry import Picture
from ..sources import committed

PATH = "empirics/bench/results/model_gpu.json"
COMMAND = f"python -m empirics bench model --sizes 130m 370m 1.4b --out {PATH}"
PEERS = {"stock": "stock", "stock_slow_lora": "slow path"}
MEASURES = {"step_s": "Step time", "peak_bytes": "Peak memory"}
MEASURED = {"step_s": ("step_s", "least_s", "most_s"), "peak_bytes": ("peak_bytes",)}
"""What is drawn of each measure: the median, and where it varies its least and its most."""
KERNELS = "kernels_s"
"""Drawn beside the step's time, as a ratio to the peer's kernels."""
SIZES = ((style.BLUE, "o"), (style.VERMILION, "s"), (style.GREEN, "^"), (style.PURPLE, "D"))
"""Colour and marker of each model size, in the order of the file."""

LABELS = {name: label for name, (label, _) in dots.METHODS.items()}


def data() -> dict[str, Any]:
    """Ratios by contender, measure, peer and size, ``None`` where one of the two is missing; the range of a contender's steps."""
    found = committed(PATH, COMMAND)
    try:
        sizes = smallest_first(found["sizes"])
        names = list(dict.fromkeys(name for rows in sizes.values() for name in rows))
        rows = [
            {"name": name, "label": _label(name), "ratios": _ratios(sizes, name), "kernels": _kernels(sizes, name)}
            for name in names
        ]
        ran = {size: [name for name, row in table.items() if "step_s" in row] for size, table in sizes.items()}
        selection = {
            size: next((r["selection_s"] for r in table.values() if r.get("selection_s") is not None), None)
            for size, table in sizes.items()
        }
        about = {"tokens": tokens(found), "gpu": found["machine"]["gpu"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"{PATH} is no result of the model benchmark ({error!r}); run {COMMAND}") from error
    return {"rows": rows, "sizes": list(sizes), "ran": ran, "selection_s": selection, **about}


def smallest_first(sizes: dict[str, Any]) -> dict[str, Any]:
    """Model sizes such as 130m and 1.4b in order, whatever the order they were measured in; other names keep theirs, in front."""

    def parameters(name: str) -> float:
        found = re.search(r"([\d.]+)([mb])$", name)
        return float(found[1]) * {"m": 1e6, "b": 1e9}[found[2]] if found else 0.0

    return {name: sizes[name] for name in sorted(sizes, key=parameters)}


def tokens(found: dict[str, Any]) -> str:
    """Sequences and length of a step, by size where sizes have different numbers of sequences."""
    batches, length = smallest_first(found["batch"]), found["length"]
    each = {n: [size for size in batches if batches[size] == n] for n in batches.values()}
    where = {n: f" at {', '.join(sizes)}" if len(each) > 1 else "" for n, sizes in each.items()}
    return ", ".join(f"{n} × {length} tokens{at}" for n, at in where.items())


def _label(name: str) -> str:
    """``lora/fused/recompute`` in words; ``graph`` behind a name: its passes are replayed as a CUDA graph."""
    peer, _, way = name.partition("/")
    if peer in PEERS:
        own = {"stock": "stock mamba-ssm", "stock_slow_lora": "slow path, peft's LoRA"}[peer]
        return f"{own}, {way}" if way else own
    method, scan, *more = name.split("/")
    words = [LABELS.get(method, method), *([] if scan == "fused" else [scan]), *more]
    return ", ".join(words)


def _ratios(sizes: dict[str, Any], name: str) -> dict[str, Any]:
    """By peer, measure and size."""
    return {
        peer: {
            measure: {size: [_ratio(table, name, key, peer, measure) for key in keys] for size, table in sizes.items()}
            for measure, keys in MEASURED.items()
        }
        for peer in PEERS
    }


def _kernels(sizes: dict[str, Any], name: str) -> dict[str, dict[str, float | None]]:
    """Kernels alone, by peer and size."""
    return {peer: {size: _ratio(table, name, KERNELS, peer, KERNELS) for size, table in sizes.items()} for peer in PEERS}


def peak(name: str, row: dict[str, Any]) -> float | None:
    """Bytes; ``None`` for a replayed step of a file that does not say what the optimiser's state takes, which its peak lacks."""
    return None if name.endswith("/graph") and "state_bytes" not in row else row.get("peak_bytes")


def _ratio(table: dict[str, Any], name: str, key: str, peer: str, measure: str) -> float | None:
    row = table.get(name, {})
    own, other = peak(name, row) if key == "peak_bytes" else row.get(key), table.get(peer, {}).get(measure)
    return None if own is None or not other else own / other


def height(data: dict[str, Any]) -> float:
    """By the number of contenders."""
    return 1.4 + len(PEERS) * (0.3 + dots.ROW * len(data["rows"]))


def draw(figure: Figure, data: dict[str, Any]) -> None:
    """Rows: the peer that 1 stands for. Columns: time and memory."""
    panels = figure.subplots(len(PEERS), len(MEASURES), sharey=True, squeeze=False)
    for i, (peer, words) in enumerate(PEERS.items()):
        for j, (measure, name) in enumerate(MEASURES.items()):
            _panel(panels[i, j], data, peer, measure)
            panels[i, j].set_xlabel(f"ratio to {words}")
            if i == 0:
                panels[i, j].set_title(name)
    handles = [Line2D([], [], color=c, marker=m, linestyle="none") for c, m in SIZES[: len(data["sizes"])]]
    figure.legend(handles, [f"mamba-{size}" for size in data["sizes"]], loc="outside upper left", ncols=4)
    waits = [f"{size} {s:.1f} s" for size, s in data["selection_s"].items() if s is not None]
    replayed = [row for row in data["rows"] if row["name"].endswith("/graph")]
    measured = any(v[0] is not None for row in replayed for peer in PEERS for v in row["ratios"][peer]["peak_bytes"].values())
    graph = f"\ngraph: replayed as a CUDA graph{'' if measured else '; memory not measured'}" if replayed else ""
    selection = f"\nchoosing SDT's dimensions: {', '.join(waits)}" if waits else ""
    note = (
        f"{data['gpu'] or 'cpu'}\n{data['tokens']}\n"
        f"bars: all steps; upright: kernels alone; hollow: did not run\nfused scan unless another is named{graph}{selection}"
    )
    figure.supxlabel(note, fontsize=style.SMALL, color=style.GREY, x=0.02, ha="left")


def _panel(axes: Axes, data: dict[str, Any], peer: str, measure: str) -> None:
    axes.axvline(1, color=style.BLACK, linewidth=0.8)
    lost = []
    for place, row in enumerate(data["rows"]):
        for k, size in enumerate(data["sizes"]):
            colour, marker = SIZES[k]
            ratio, *spread = row["ratios"][peer][measure][size]
            at = place + 0.22 * (k - (len(data["sizes"]) - 1) / 2)
            if ratio is not None:
                axes.plot(ratio, at, marker, color=colour, markersize=2.6)
                if None not in spread:
                    axes.plot(spread, [at] * len(spread), "-", color=colour, linewidth=0.7)
                kernels = row["kernels"][peer][size]
                if measure == "step_s" and kernels is not None:
                    axes.plot(kernels, at, "|", color=colour, markersize=4.5, mew=1.1)
            elif row["name"] not in data["ran"][size]:
                lost.append((at, colour, marker))
    for at, colour, marker in lost:
        axes.plot(
            0.985, at, marker, color=colour, mfc="white", mew=0.7, markersize=2.6, transform=axes.get_yaxis_transform(),
            clip_on=False,
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.9), max(high, 1.1))
    low, high = axes.get_xlim()
    ticks = [t for t in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8) if low <= t <= high]
    fine = len(ticks) < 3
    if fine:  # all within a factor of four
        ticks = [t for t in (0.25, 0.35, 0.5, 0.7, 1, 1.4, 2, 2.8) if low <= t <= high]
    axes.set_xticks(ticks)
    axes.set_xticklabels([f"{t:g}" if fine or t >= 1 else f"1/{round(1 / t)}" for t in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(data["rows"])))
    axes.set_yticklabels([row["label"] for row in data["rows"]])
    axes.set_ylim(len(data["rows"]) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y")


FIGURE = Picture(
    title="a training step of a whole model: time and peak memory of each method beside stock mamba-ssm and peft",
    claims=(),
    sources=(PATH,),
    height=height,
    data=data,
    draw=draw,
    needs=COMMAND,
)
