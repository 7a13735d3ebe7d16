"""Comparisons of two methods in committed results, by name: estimate, interval, and whether a learning rate stands at an edge."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from theory.core.errors import InvalidInput

from ..sources import read_json, summary_path


@dataclass(frozen=True)
class Comparison:
    """A difference of two methods in points.

    Attributes
    ----------
    points, low, high:
        Estimate and its interval; ``None`` where there are too few runs.
    edges:
        The sides whose chosen learning rate is the least or the greatest of its grid, on some task: they might do better.
    """

    points: float
    low: float | None
    high: float | None
    edges: tuple[str, ...]

    @property
    def text(self) -> str:
        """The numbers, and a word on edges."""
        interval = "no interval" if self.low is None or self.high is None else f"[{self.low:+.1f}, {self.high:+.1f}]"
        edge = f", {' and '.join(self.edges)} at the grid's edge" if self.edges else ""
        return f"{self.points:+.1f} {interval}{edge}"


def find_comparison(experiment: str, name: str, root: Path) -> Comparison | None:
    """The comparison ``"a - b"`` of an experiment's results at full size, ``None`` where they do not have it.

    Raises InvalidInput for results that are not what the experiment writes.
    """
    path = root / summary_path(experiment)
    if not path.is_file():
        return None
    summary = read_json(path)
    try:
        for found in _differences(summary["table"]):
            if found[0] == name:
                return Comparison(*found[1:], edges=_edges(summary, experiment, name, root))
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"{path} is not what its experiment writes ({error!r})") from error
    return None


def _differences(table: list[dict[str, Any]]) -> Iterator[tuple[str, float, float | None, float | None]]:
    """(name, points, low, high) of every difference among a summary's rows."""
    for row in table:
        for part in (*row.get("comparisons", ()), *row.get("controls", ())):
            yield f"{part['better']} - {part['worse']}", part["points"], part["low"], part["high"]
        if "difference" in row:
            middle, half = 100 * row["difference"], 100 * row["half_width"]
            yield row["comparison"], middle, middle - half, middle + half


def _edges(summary: dict[str, Any], experiment: str, name: str, root: Path) -> tuple[str, ...]:
    """The methods of ``"a - b"`` whose chosen rate is an end of the experiment's grid; an untrained method has none."""
    file = tomllib.loads((root / "empirics/experiments" / experiment / "experiment.toml").read_text(encoding="utf-8"))
    grid = file.get("sweep", {}).get("tune", {}).get("learning_rate", [])
    if len(grid) < 2:
        return ()
    ends = (min(grid), max(grid))
    sides = [side for side in name.split(" - ") if side != "frozen"]
    chosen = {side: {row["learning_rate"] for row in summary.get("tuned", ()) if row["method"] == side} for side in sides}
    return tuple(side for side in sides if chosen[side] & set(ends))
