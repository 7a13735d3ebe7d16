"""Comparisons of two methods in committed results, by name: estimate, interval, and whether a learning rate stands at an edge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from theory.core.errors import InvalidInput

from ..sources import read_json, summary_path
from .comparisons import DIFFERENCE, Statement, read


@dataclass(frozen=True)
class Comparison:
    """A difference of two methods in points.

    Attributes
    ----------
    points, low, high:
        Estimate and its interval; ``None`` where there are too few runs.
    edges:
        The sides whose chosen learning rate is the least or the greatest of its grid, on some task: they might do better.
    statements, note:
        What a declared protocol decides, of these tasks first, and what holds it back; empty for an experiment without one.
    """

    points: float
    low: float | None
    high: float | None
    edges: tuple[str, ...]
    statements: tuple[Statement, ...] = ()
    note: str = ""

    @property
    def text(self) -> str:
        """The numbers, and a word on edges, or on what a protocol says of tasks at large."""
        interval = "no interval" if self.low is None or self.high is None else f"[{self.low:+.1f}, {self.high:+.1f}]"
        edge = f", {' and '.join(self.edges)} at the grid's edge" if self.edges else ""
        over = "".join(f", over tasks {s.verdict}" for s in self.statements[1:])
        note = f", {self.note}" if self.note else ""
        return f"{self.points:+.1f} {interval}{edge}{over}{note}"


def find_comparison(experiment: str, name: str, root: Path) -> Comparison | None:
    """The comparison ``"a - b"`` of an experiment's results at full size, ``None`` where they do not have it.

    Raises InvalidInput for results that are not what the experiment writes.
    """
    path = root / summary_path(experiment)
    if not path.is_file():
        return None
    summary = read_json(path)
    for found in read(summary):
        if (found.kind, found.name) == (DIFFERENCE, name):
            n = found.numbers
            if found.statements:
                return Comparison(n.estimate, n.low, n.high, (), found.statements, found.note)
            return Comparison(n.estimate, n.low, n.high, _edges(summary, name, path))
    return None


def _edges(summary: dict[str, Any], name: str, path: Path) -> tuple[str, ...]:
    """The methods of ``"a - b"`` that the summary lists at an end of their grid; an untrained method has none.

    Raises InvalidInput for a list that is none.
    """
    try:
        listed = {row["method"] for row in summary.get("edges", ()) if row["at_edge"]}
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"{path} is not what its experiment writes (edges: {error!r})") from error
    return tuple(side for side in name.split(" - ") if side in listed and side != "frozen")
