"""A training step whose two passes are replayed as a CUDA graph, beside mamba-ssm's step replayed in the same way.

What launching kernels from Python costs has gone from both, so that the methods are compared and not the launches.
"""

from __future__ import annotations

from typing import Any

from matplotlib.figure import FigureBase

from .. import dots, style
from ..registry import Picture
from . import bench_model


def data() -> dict[str, Any]:
    """The replayed contenders among the data of :mod:`.bench_model`; InvalidInput for a file without the benchmark's numbers."""
    found = bench_model.data()
    rows = [row for row in found["rows"] if row["name"].endswith(bench_model.REPLAYED)]
    return {**found, "rows": bench_model.by_speed(rows, "step_replayed")}


def says(data: dict[str, Any]) -> str:
    """How many of the methods are faster at every size."""
    peers = {name + bench_model.REPLAYED for name in bench_model.PEERS}
    others = [row for row in data["rows"] if row["name"] not in peers]
    count = bench_model.faster(others, lambda size: size["step_replayed"][0])
    return f"Replayed as CUDA graphs, steps of {count} of {len(others)} methods are faster than mamba-ssm’s at every size"


def height(data: dict[str, Any]) -> float:
    """By the number of contenders."""
    return 0.95 + 1.15 * dots.ROW * len(data["rows"])


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """A panel for each size, right is better in all of them."""
    bench_model.panel_for_each_size(figure, data, data["rows"], "step_replayed")
    style.note(figure, *bench_model.machine(data), "both replayed; fused scan; memory of replayed steps not drawn")


FIGURE = Picture(
    title="a replayed training step of a whole model: how many times as fast as mamba-ssm's, replayed too",
    claims=(),
    sources=(bench_model.PATH,),
    height=height,
    data=data,
    draw=draw,
    says=says,
    needs=bench_model.COMMAND,
)
