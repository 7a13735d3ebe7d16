"""A training step of a whole model: how many times as fast as mamba-ssm each method is, and where the time goes.

1 is mamba-ssm's fused path that trains every weight, launched from Python. A step's time is a median, its bar the least and the
most. Upright strokes are the GPU's kernels alone, beside mamba-ssm's kernels: what launching from Python costs is left out.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D

from theory.core.errors import InvalidInput

from .. import dots, style
from ..registry import Picture
from ..sources import committed

PATH = "empirics/bench/results/model_gpu.json"
COMMAND = f"python -m empirics bench model --sizes 130m 370m 1.4b --out {PATH}"
PEERS = {"stock": "stock", "stock_slow_lora": "slow path"}
REFERENCE = "stock"
REPLAYED = "/graph"
"""End of the name of a contender whose passes are replayed as a CUDA graph."""

LABELS = {name: label for name, (label, _) in dots.METHODS.items()}


def data() -> dict[str, Any]:
    """Every contender beside mamba-ssm, by size: step ``[median, least, most]``, kernels, peak memory; ``None`` where missing.

    A number says how many times as fast, or in how many times less memory, than the reference of its size.
    """
    found = committed(PATH, COMMAND)
    try:
        sizes = smallest_first(found["sizes"])
        rows = []
        for name in dict.fromkeys(name for rows in sizes.values() for name in rows):
            own = {size: _beside(name, table) for size, table in sizes.items()}
            rows.append({"name": name, "label": _label(name), "sizes": own})
        selection = {
            size: next((r["selection_s"] for r in table.values() if r.get("selection_s") is not None), None)
            for size, table in sizes.items()
        }
        about = {"tokens": tokens(found), "gpu": found["machine"]["gpu"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"{PATH} is no result of the model benchmark ({error!r}); run {COMMAND}") from error
    return {"rows": rows, "sizes": list(sizes), "selection_s": selection, **about}


def _beside(name: str, table: dict[str, Any]) -> dict[str, Any]:
    """One contender of one size. A replayed step is also set beside the replayed reference, as ``step_replayed``."""
    row, other = table.get(name, {}), table.get(REFERENCE, {})
    kernels, memory = _quotient(other.get("kernels_s"), row.get("kernels_s")), _quotient(other.get("peak_bytes"), peak(name, row))
    keys = ("step_s", "most_s", "least_s")  # the longest step is the least times as fast
    step: list[float | None] = [_quotient(other.get("step_s"), row.get(key)) for key in keys]
    if (turns := in_turns(row, REFERENCE)) is not None:
        step = [*turns]
    replayed = [_quotient(table.get(REFERENCE + REPLAYED, {}).get("step_s"), row.get(key)) for key in keys]
    return {"ran": "step_s" in row, "step": step, "step_replayed": replayed, "kernels": kernels, "memory": memory}


def in_turns(row: dict[str, Any], peer: str) -> list[float] | None:
    """How many times as fast as a peer, ``[median, least, most]`` over the rounds in which the two took turns, if they did."""
    beside = row.get("beside")
    return None if beside is None or beside["name"] != peer else [beside[key] for key in ("times_as_fast", "least", "most")]


def _quotient(other: float | None, own: float | None) -> float | None:
    return None if not other or not own else other / own


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
    """``lora/fused/recompute`` in words."""
    peer = name.removesuffix(REPLAYED)
    if peer in PEERS:
        return {"stock": "mamba-ssm, all weights", "stock_slow_lora": "mamba-ssm slow + peft"}[peer]
    method, scan, *more = name.removesuffix(REPLAYED).split("/")
    words = [LABELS.get(method, method), *([] if scan == "fused" else [scan]), *more]
    return ", ".join(words)


def peak(name: str, row: dict[str, Any]) -> float | None:
    """Bytes; ``None`` for a replayed step of a file that does not say what the optimiser's state takes, which its peak lacks."""
    return None if name.endswith("/graph") and "state_bytes" not in row else row.get("peak_bytes")


def launched(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The contenders whose kernels Python launches, the reference first, then the fastest first."""
    return by_speed([row for row in data["rows"] if not row["name"].endswith(REPLAYED)], "step")


def by_speed(rows: Sequence[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Rows from the fastest median over sizes to the slowest, the reference on top."""

    def place(row: dict[str, Any]) -> tuple[bool, float]:
        shown = [size[key][0] for size in row["sizes"].values() if size[key][0] is not None]
        return row["name"].partition("/")[0] != REFERENCE, -statistics.median(shown) if shown else 0.0

    return sorted(rows, key=place)


def says(data: dict[str, Any]) -> str:
    """How many contenders are faster than mamba-ssm at every size: kernels alone, and as launched."""
    others = [row for row in data["rows"] if row["name"] not in PEERS and not row["name"].endswith(REPLAYED)]
    kernels = faster(others, lambda size: size["kernels"])
    steps = faster(others, lambda size: size["step"][0])
    return (
        f"Of {len(others)} methods the kernels of {kernels} and the whole steps of {steps} are faster than mamba-ssm’s "
        "at every size"
    )


def faster(rows: Sequence[dict[str, Any]], of: Any) -> int:
    """How many rows are above 1 at every size."""
    return sum(all((value := of(size)) is not None and value > 1 for size in row["sizes"].values()) for row in rows)


def height(data: dict[str, Any]) -> float:
    """By the number of contenders."""
    return 1.25 + 1.15 * dots.ROW * len(launched(data))


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """A panel for each size, right is better in all of them."""
    panel_for_each_size(figure, data, launched(data), "step")
    handles = [
        Line2D([], [], color=style.BLUE, marker="o", linewidth=0.8),
        Line2D([], [], color=style.VERMILION, marker="|", linestyle="none", markersize=6, mew=1.2),
    ]
    figure.legend(handles, ["step, least to most", "GPU kernels alone"], loc="outside upper left", ncols=2)
    waits = [f"{size} {s:.1f} s" for size, s in data["selection_s"].items() if s is not None]
    selection = [f"SDT first chooses its dimensions: {', '.join(waits)}"] if waits else []
    style.note(figure, *machine(data), "fused scan unless another is named; slow: its slow path", *selection)


def machine(data: dict[str, Any]) -> list[str]:
    """The GPU and the tokens of a step, in lines of a column's width."""
    return [data["gpu"] or "cpu", data["tokens"]]


def panel_for_each_size(figure: FigureBase, data: dict[str, Any], rows: Sequence[dict[str, Any]], key: str) -> None:
    """Rows against times as fast as the reference, with the kernels; a contender that did not run is a cross at the edge."""
    panels = figure.subplots(1, len(data["sizes"]), sharey=True, squeeze=False)[0]
    for axes, size in zip(panels, data["sizes"], strict=True):
        axes.axvline(1, color=style.BLACK, linewidth=0.8)
        for place, row in enumerate(rows):
            found = row["sizes"][size]
            ratio, low, high = found[key]
            if not found["ran"]:
                axes.plot(0.03, place, "x", color=style.GREY, transform=axes.get_yaxis_transform())
            if ratio is None:
                continue
            if low is not None and high is not None:
                axes.plot([low, high], [place, place], color=style.BLUE, linewidth=0.8)
            axes.plot(ratio, place, "o", color=style.BLUE, markersize=3)
            if key == "step" and found["kernels"] is not None:
                axes.plot(found["kernels"], place, "|", color=style.VERMILION, markersize=5, mew=1.2)
        axes.set_title(size)
        frame(axes, rows)
    panels[(len(panels) - 1) // 2].set_xlabel("times as fast as mamba-ssm (better: right)")


def frame(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """Rows with their names, and a logarithmic axis with ticks that can be read."""
    axes.set_xscale("log", base=2)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.85), max(high, 1.2))
    low, high = axes.get_xlim()
    wide = high / low > 5
    ticks = [t for t in ((0.25, 0.5, 1, 2, 4, 8) if wide else (0.25, 0.5, 0.7, 1, 1.4, 2, 2.8)) if low <= t <= high]
    axes.set_xticks(ticks)
    axes.set_xticklabels([f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(rows)))
    axes.set_yticklabels([row["label"] for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y")


FIGURE = Picture(
    title="a training step of a whole model: how many times as fast as mamba-ssm's each method's is",
    claims=(),
    sources=(PATH,),
    height=height,
    data=data,
    draw=draw,
    says=says,
    needs=COMMAND,
)
