"""Comparisons of two methods in committed results, by name: estimate, interval, and whether a learning rate stands at an edge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from theory.core.errors import InvalidInput

from ..sources import read_json, summary_path
from .comparisons import read


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
    for found in read(summary):
        if found.name == name and found.kind == "difference":
            numbers = found.numbers
            return Comparison(numbers.estimate, numbers.low, numbers.high, _edges(summary, path, name))
    return None


def _edges(summary: dict[str, Any], path: Path, name: str) -> tuple[str, ...]:
    """The methods of ``"a - b"`` whose chosen rate is an end of its grid on some task; an untrained method has none."""
    try:
        at_edge = {row["method"] for row in summary["edges"]}
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"{path} does not say which rates stand at an edge ({error!r}); collect its results again") from error
    return tuple(side for side in name.split(" - ") if side in at_edge and side != "frozen")
