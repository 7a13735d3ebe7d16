"""Which figures there are: every module of :mod:`figures.plots`, which defines ``FIGURE``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from matplotlib.figure import Figure, FigureBase

from theory.core.errors import UnknownName
from theory.core.names import suggestion

from . import plots, style


@dataclass(frozen=True)
class Picture:
    """One figure: data, and how they are drawn.

    Attributes
    ----------
    title:
        What it shows, in one line.
    claims:
        Ids of the claims it illustrates.
    sources:
        Files and functions that the data come from, for the record.
    height:
        In inches without the message, or how it follows from the data.
    data:
        Everything that is drawn, as JSON types. Raises :class:`figures.sources.MissingData` where there are none yet.
    draw:
        Draws the data, and nothing else, on an empty figure.
    says:
        The message of the data in one sentence without a full stop, which stands above the picture.
    width:
        In inches: of a column, or of both.
    dpi:
        Dots per inch of the PNG.
    needs:
        The command that makes the measurements; empty where the data come from theory alone.
    """

    title: str
    claims: tuple[str, ...]
    sources: tuple[str, ...]
    height: float | Callable[[dict[str, Any]], float]
    data: Callable[[], dict[str, Any]]
    draw: Callable[[FigureBase, dict[str, Any]], None]
    says: Callable[[dict[str, Any]], str]
    dpi: int = 220
    needs: str = ""
    width: float = style.WIDTH

    def drawn(self, data: dict[str, Any]) -> Figure:
        """The whole figure: the message, and below it the picture."""
        lines = style.headline(self.says(data), self.width)
        above, below = style.headline_height(lines), self.height(data) if callable(self.height) else self.height
        figure = style.page(above + below, self.width)
        top, body = figure.subfigures(2, 1, height_ratios=(above, below), hspace=0.0, squeeze=False)[:, 0]
        left = 0.02 * style.WIDTH / self.width
        top.text(left, 0.9, "\n".join(lines), fontsize=style.HEADLINE, fontweight="bold", ha="left", va="top", linespacing=1.15)
        self.draw(body, data)
        return figure


@cache
def pictures() -> dict[str, Picture]:
    """All figures by name, in alphabetical order."""
    out = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(plots.__path__)):
        out[module] = importlib.import_module(f"{plots.__name__}.{module}").FIGURE
    return out


def chosen(names: Iterable[str]) -> dict[str, Picture]:
    """Figures by name, all of them for no names; UnknownName lists the nearest."""
    known = pictures()
    wanted = list(dict.fromkeys(names)) or list(known)
    for name in wanted:
        if name not in known:
            raise UnknownName(f"no figure named {name!r}; {suggestion(name, known)}")
    return {name: known[name] for name in wanted}
