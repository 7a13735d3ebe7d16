"""Published numbers, digitised from plots, with their uncertainty and source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError
from ..study.results import read_json

HERE = Path(__file__).parent


@dataclass(frozen=True)
class PublishedPoint:
    """One point of a published curve.

    Attributes
    ----------
    method:
        The curve.
    percent:
        Trained parameters, in percent of the model.
    mse:
        The published error.
    """

    method: str
    percent: float
    mse: float


@dataclass(frozen=True)
class Published:
    """The published points of one experiment.

    Attributes
    ----------
    source, figure_of_merit:
        Where they were read, and what they measure.
    uncertainty:
        Largest error of the digitisation, in both directions.
    points:
        All points.
    """

    source: str
    figure_of_merit: str
    uncertainty: float
    points: tuple[PublishedPoint, ...]

    def curve(self, method: str) -> tuple[PublishedPoint, ...]:
        """The points of one method."""
        return tuple(p for p in self.points if p.method == method)


def published(experiment: str) -> Published:
    """The published points of an experiment.

    Raises
    ------
    CheckpointError
        There are none, or the file is corrupt.
    """
    values = read_json(HERE / f"{experiment}_published.json")
    try:
        points = [
            PublishedPoint(method, float(p["percent"]), float(p["mse"]))
            for method, curve in values["methods"].items()
            for p in curve
        ]
        return Published(values["source"], values["figure_of_merit"], float(values["uncertainty"]), tuple(points))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{experiment}_published.json is no table of published points: {error!r}") from error
