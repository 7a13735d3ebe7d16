"""Pieces of the report's page: verdicts, links, tables, folded parts, figures.

Every text is escaped where it enters the page, by :func:`text` or :func:`said`; every other function joins pieces that are safe
already.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Sequence

from .content import Experiment, Figure
from .mathematics import set_mathematics

CLASS = {
    "FORMAL": "sure", "PROVED": "sure", "EXACT": "sure", "NUMERIC": "near", "OPEN": "open", "REFUTED": "wrong",
    "ERROR": "wrong",
}  # fmt: skip
OUTCOME = {
    "reproduced": "sure", "stands": "sure", "not reproduced": "wrong", "refuted": "wrong", "level": "near", "undecided": "open",
    "above": "near", "below": "near", "not yet run": "open",
}  # fmt: skip
FATE = {"stands": "sure", "stands under conditions": "near", "level": "near", "undecided": "open", "refuted": "wrong"}


def text(value: object) -> str:
    """Escaped, for contents and attributes alike."""
    return html.escape(str(value), quote=True)


def said(value: object) -> str:
    """Escaped, for contents, with indices and exponents set as mathematics."""
    return set_mathematics(str(value))


def name(identifier: str) -> str:
    """A long id that may be broken at its dot and underscores."""
    return text(identifier).replace(".", ".<wbr>").replace("_", "_<wbr>")


def link(target: str, words: str = "") -> str:
    """A link to a part of the page, by its id, which is also what it says where nothing else is given."""
    return f'<a href="#{text(target)}"><code>{name(words or target)}</code></a>'


def chip(words: str, kind: str) -> str:
    """A verdict, an outcome or a fate in a frame of its colour; the words say it, the colour only helps."""
    return f'<span class="verdict {kind}">{text(words)}</span>'


def verdict(words: str) -> str:
    """A claim's or a check's verdict."""
    return chip(words, CLASS.get(words.partition("(")[0], "open"))


def outcome(found: Experiment) -> str:
    """An experiment's outcome, and whether it is of quick size."""
    if found.verdict is None:
        return chip("not measured yet", "open")
    size = f" <span>({text(found.size)})</span>" if found.size else ""
    return f"{chip(found.verdict, OUTCOME.get(found.verdict, 'open'))}{size}"


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table of numbers, whose first column heads its rows; it scrolls by itself and takes the keyboard's focus for that."""
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in columns)
    body = []
    for first, *rest in rows:
        cells = [f'<td class="number">{cell}</td>' if i in numbers else f"<td>{cell}</td>" for i, cell in enumerate(rest, 1)]
        body.append(f'<tr><th scope="row">{first}</th>{"".join(cells)}</tr>')
    return (
        f'<div class="scroll" role="region" aria-label="{text(caption)}" tabindex="0"><table><caption>{text(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def stacked(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of sentences, whose cells stand below each other on a narrow screen, each with its column's name.

    Cells that are laid out as blocks are no cells any more to assistive technology, so every role is spelled out.
    """
    head = "".join(f'<th scope="col" role="columnheader">{text(name)}</th>' for name in columns)
    body = []
    for first, *rest in rows:
        cells = "".join(
            f'<td role="cell" data-column="{text(name)}">{cell}</td>' for name, cell in zip(columns[1:], rest, strict=True)
        )
        body.append(f'<tr role="row"><th scope="row" role="rowheader">{first}</th>{cells}</tr>')
    return (
        f'<div class="scroll"><table class="stacked" role="table"><caption>{text(caption)}</caption>'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead><tbody role="rowgroup">{"".join(body)}</tbody></table></div>'
    )


def commands(lines: Iterable[str]) -> str:
    """Commands, one a line."""
    return f"<pre><code>{text(chr(10).join(lines))}</code></pre>"


def prose(written: str) -> str:
    """Paragraphs and lists of a finding: blocks are separated by blank lines, items of a list begin with a hyphen."""
    out = []
    for part in re.split(r"\n\s*\n", written.strip()):
        head, *items = re.split(r"(?:^|\n)- ", part)
        if head.strip():
            out.append(f"<p>{said(_line(head))}</p>")
        if items:
            out.append(f"<ul>{''.join(f'<li>{said(_line(item))}</li>' for item in items)}</ul>")
    return "".join(out)


def _line(written: str) -> str:
    return " ".join(written.split())


def folded(summary: str, body: str, kind: str = "") -> str:
    """A part that opens when it is asked for, and on paper; ``summary`` is safe already."""
    of_kind = f' class="{kind}"' if kind else ""
    return f"<details{of_kind}><summary>{summary}</summary>{body}</details>"


def figure(found: Figure, number: int, fold: bool = False) -> str:
    """A figure with its number, its message, what it shows and what draws it; where it folds, number and message stay in view.

    The id is inside the folded part, because a browser opens a part that a link leads into and not one that it leads to.
    """
    what = found.title[0].upper() + found.title[1:]
    message = found.says or what
    if not found.png:
        wait = f" Its measurements are made by <code>{text(found.needs)}</code>." if found.needs else ""
        picture = f"<p>Not built yet.{wait}</p>"
    else:
        width, height = (int.from_bytes(found.png[at : at + 4], "big") for at in (16, 20))  # the PNG's header
        alt = f"Plot: {message}. {what}. Its data: {', '.join(found.sources)}."
        data = base64.b64encode(found.png).decode("ascii")
        shape = ' class="wide"' if width > 2 * height else ""  # of both columns
        picture = f'<img src="data:image/png;base64,{data}" alt="{text(alt)}" width="{width}" height="{height}"{shape}>'
    drawn = f"Drawn from files by <code>{text(found.command)}</code>."
    heading, told = f"<strong>Figure {number}. {said(message)}.</strong>", f"{said(what)}. {drawn}"
    caption = told if fold else f"{heading} {told}"
    drawing = f'<figure id="figure-{text(found.name)}"><figcaption>{caption}</figcaption>{picture}</figure>'
    return folded(heading, drawing) if fold else drawing
