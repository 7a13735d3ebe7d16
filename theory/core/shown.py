"""Objects that a notebook shows as HTML or LaTeX; what they look like is in :mod:`theory.display`, loaded when one is shown."""

from __future__ import annotations


class Shown:
    """Base of classes with a page of their own in a notebook; without one their one-line ``repr`` stands."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        from ..display import html_of

        return html_of(self)


class ShownSystem(Shown):
    """Base of classes that are also a formula."""

    __slots__ = ()

    def _repr_latex_(self) -> str:
        from ..display import latex_of

        return latex_of(self)
