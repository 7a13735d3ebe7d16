"""How systems, claims, reports, lattices and answers look in a notebook: HTML tables, and LaTeX for systems.

Exact numbers stay exact where they are short. A fraction with more than ``LONGEST`` characters is shown as a decimal with ≈ in
front; the object itself keeps it. Everything is escaped here, and nothing here computes.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import singledispatch
from typing import Any

import numpy as np
import sympy

from .core.brief import brief
from .core.lti import LTI
from .core.selective import SelectiveSSM
from .core.ssd import Mamba2Group, Mamba2Head
from .prefix_state.reach.result import Reach
from .relations.lattice import LEGEND, SYSTEMS, Lattice
from .verification.claim import Claim
from .verification.results import Report

LONGEST = 17
"""Characters of a number that is shown as it is."""
MOST = 12
"""Rows and columns of a matrix that are shown."""


def number(value: Any) -> str:
    """A number in plain text: exact where that is short, else ≈ and six digits.

    >>> number(Fraction(1, 3)), number(Fraction(10**20 + 1, 3 * 10**20)), number(np.float64(0.5))
    ('1/3', '≈ 0.333333', '0.5')
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float | complex):
        return f"{value:.6g}"
    return brief(value, LONGEST)


def formula(value: Any) -> str:
    """A number in LaTeX."""
    if isinstance(value, sympy.Expr):
        return str(sympy.latex(value))
    if isinstance(value, Fraction) and value.denominator != 1 and not number(value).startswith("≈"):
        sign = "-" if value < 0 else ""
        return rf"{sign}\tfrac{{{abs(value.numerator)}}}{{{value.denominator}}}"
    return number(value).replace("≈ ", r"\approx ")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    """An HTML table of text that is escaped here; the first cell of a row heads it."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(
        f"<tr><th>{html.escape(str(first))}</th>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in rest)}</tr>"
        for first, *rest in rows
    )
    title = f'<caption style="text-align: left; white-space: nowrap">{html.escape(caption)}</caption>' if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def sequence(values: Iterable[Any], name: str = "") -> Table:
    """A sequence of numbers as a table of one row, for a notebook.

    >>> sequence([Fraction(1, 2), Fraction(3)], "x")._repr_html_().count("<td>")
    2
    """
    row = [number(v) for v in values]
    return Table([name, *map(str, range(1, len(row) + 1))], [["", *row]])


class Table:
    """A table of numbers and words that a notebook shows as one, and a terminal as aligned text.

    Parameters
    ----------
    columns:
        Names; the first column heads the rows.
    rows:
        Cells, numbers or text.
    caption:
        A line above it.
    """

    def __init__(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = ""):
        self.columns, self.caption = list(columns), caption
        self.rows = [[cell if isinstance(cell, str) else number(cell) for cell in row] for row in rows]

    def __repr__(self) -> str:
        widths = [max(len(row[i]) for row in [self.columns, *self.rows]) for i in range(len(self.columns))]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [self.columns, *self.rows]
        ]
        return "\n".join([*([self.caption] if self.caption else []), *(line.rstrip() for line in lines)])

    def _repr_html_(self) -> str:
        return table(self.columns, self.rows, self.caption)


@singledispatch
def html_of(shown: object) -> str:
    """HTML of an object; its ``repr`` where it has no page of its own."""
    return f"<code>{html.escape(repr(shown))}</code>"


@singledispatch
def latex_of(shown: object) -> str:
    """LaTeX of a system between dollar signs."""
    raise TypeError(f"{type(shown).__name__} is no system that theory.display knows")


@html_of.register
def _(shown: LTI) -> str:
    rows = [(n + 1, number(a), number(b), number(c)) for n, (a, b, c) in enumerate(zip(shown.a, shown.b, shown.c, strict=True))]
    readout = "2 Re(c·h)" if shown.half else "c·h"
    skip = "" if not shown.d else f" + {number(shown.d)} x"
    caption = f"LTI channel, {shown.kind} numbers: h' = a ⊙ h + b x, y = {readout}{skip}"
    return table(("state", "a", "b", "c"), rows[:MOST], caption) + _more(len(rows))


@latex_of.register
def _(shown: LTI) -> str:
    a, b, c = (
        [*map(formula, values[:MOST]), *([r"\dots"] if len(values) > MOST else [])] for values in (shown.a, shown.b, shown.c)
    )
    skip = "" if not shown.d else f" + {formula(shown.d)}\\,x_t"
    read = r"2\,\mathrm{Re}\," if shown.half else ""
    return (
        rf"$h_t = \mathrm{{diag}}({', '.join(a)})\,h_{{t-1}} + ({', '.join(b)})^\top x_t,\quad "
        rf"y_t = {read}({', '.join(c)})\,h_t{skip}$"
    )


def _more(rows: int) -> str:
    return f"<p>… {rows - MOST} more</p>" if rows > MOST else ""


def _matrix(name: str, values: Any) -> str:
    values = np.atleast_2d(values)
    shown = [[number(v) for v in row[:MOST]] for row in values[:MOST]]
    columns = [f"{name} {values.shape[0]} × {values.shape[1]}", *map(str, range(1, min(values.shape[1], MOST) + 1))]
    return table(columns, [[i + 1, *row] for i, row in enumerate(shown)]) + _more(len(values))


@html_of.register
def _(shown: SelectiveSSM) -> str:
    matrices = [("W_B", shown.W_B), ("W_C", shown.W_C), ("decay", shown.decay)]
    return f"<code>{html.escape(repr(shown))}</code>" + "".join(_matrix(n, v) for n, v in matrices if v is not None)


@latex_of.register
def _(shown: SelectiveSSM) -> str:
    return (
        r"$h_t[d,n] = e^{\mathrm{dt}_t[d]\,A[d,n]}\,h_{t-1}[d,n] + \mathrm{dt}_t[d]\,(W_B z_t)_n\,z_t[d],\quad "
        rf"y_t[d] = (W_C z_t)\cdot h_t[d,:],\quad D = {shown.n_channels},\ N = {shown.n_states}$"
    )


@html_of.register
def _(shown: Mamba2Head) -> str:
    matrices = [("W_x", shown.W_x), ("W_B", shown.W_B), ("W_C", shown.W_C)]
    return f"<code>{html.escape(repr(shown))}</code>" + "".join(_matrix(n, v) for n, v in matrices if v is not None)


@latex_of.register
def _(shown: Mamba2Head) -> str:
    return (
        r"$h_t = e^{\mathrm{dt}_t a}\,h_{t-1} + \mathrm{dt}_t\,(W_x u_t)(W_B u_t)^\top,\quad y_t = h_t\,(W_C u_t),\quad "
        rf"P = {shown.head_dim},\ N = {shown.n_states},\ D = {shown.d_input}$"
    )


@html_of.register
def _(shown: Mamba2Group) -> str:
    return f"<code>{html.escape(repr(shown))}</code>" + html_of(shown.heads[0])


@latex_of.register
def _(shown: Mamba2Group) -> str:
    return latex_of(shown.heads[0])[:-1] + rf",\ H = {len(shown.heads)}$"


@html_of.register
def _(shown: Reach) -> str:
    rows = [("verdict", shown.verdict), ("level", shown.level), ("how", shown.reason)]
    if shown.prefix is not None:
        tokens = [number(t) if np.ndim(t) == 0 else f"({', '.join(map(number, t))})" for t in shown.prefix[:MOST]]
        rows += [("length", str(shown.length)), ("prefix", ", ".join(tokens) + (", …" if len(shown.prefix) > MOST else ""))]
    if shown.norm is not None:
        rows.append(("norm", number(shown.norm)))
    if shown.ell is not None:
        rows.append(("ℓ", ", ".join(number(v) for v in np.ravel(shown.ell)[:MOST])))
    return table(("does a prefix reach h_0?", ""), rows)


@html_of.register
def _(shown: Claim) -> str:
    parts = [part.name + (f" (argument: {shown.readme}#{part.argument})" if part.argument else "") for part in shown.all_parts()]
    rows = [
        ("statement", shown.statement), ("level", shown.level), ("horizon", shown.horizon),
        ("parts", "; ".join(parts)),
        ("assumes", "; ".join(f"{a.name}: {a.statement}" for a in shown.assumptions) or "nothing"),
        ("not claimed", shown.not_claimed or "–"), ("page", shown.readme), ("source", shown.source),
    ]  # fmt: skip
    return table((shown.id, shown.title), rows)


@html_of.register
def _(shown: Report) -> str:
    rows = [(r.id, str(r.verdict), f"{r.seconds:.1f} s", r.title) for r in shown.results]
    return table(("claim", "verdict", "time", "in one line"), rows, repr(shown))


@html_of.register
def _(shown: Lattice) -> str:
    parts = []
    for system in shown.systems:
        methods = SYSTEMS[system][1]
        rows = [[a, *("·" if a == b else shown.relation(system, a, b) for b in methods)] for a in methods]
        parts.append(table(("row against column", *methods), rows, f"{system}: {SYSTEMS[system][0]}"))
    return f"<p>{html.escape(LEGEND)}</p>{''.join(parts)}"
