"""Comparisons of two methods in committed results, by name: estimate, interval, and whether a learning rate stands at an edge."""

from __future__ import annotations

import re
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
        What a declared protocol decides, of these tasks first, and what holds it back besides edges; empty for an experiment
        without one.
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
        held = [f"{' and '.join(self.edges)} at the grid's edge"] if self.edges else []
        held += [self.note] if self.note else []
        # what holds a comparison back leaves both of its statements undecided
        told = held or [f"over tasks {s.verdict}" for s in self.statements[1:]]
        return ", ".join([f"{self.points:+.1f} {interval}", *told])


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
                return Comparison(n.estimate, n.low, n.high, *_in_brief(found.statements, found.note))
            return Comparison(n.estimate, n.low, n.high, _edges(summary, name, path))
    return None


AT_EDGE = re.compile("the rate of (.+) stands at the end of its grid")
"""What an experiment notes of a side at an edge."""


def _in_brief(statements: tuple[Statement, ...], note: str) -> tuple[tuple[str, ...], tuple[Statement, ...], str]:
    """The sides at an edge, the statements, and in a few words what else holds them back."""
    notes = [(part, AT_EDGE.fullmatch(part)) for part in note.split("; ") if part]
    sides = tuple(match[1] for _, match in notes if match)
    return sides, statements, "; ".join(part.partition(":")[0] for part, match in notes if not match)


def _edges(summary: dict[str, Any], name: str, path: Path) -> tuple[str, ...]:
    """The methods of ``"a - b"`` that the summary lists at an end of their grid; an untrained method has none.

    Raises InvalidInput for a list that is none.
    """
    try:
        listed = {row["method"] for row in summary.get("edges", ()) if row["at_edge"]}
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"{path} is not what its experiment writes (edges: {error!r})") from error
    return tuple(side for side in name.split(" - ") if side in listed and side != "frozen")
