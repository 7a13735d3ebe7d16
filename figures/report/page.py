"""The report as one HTML page: no script, no other file, no address that has to be reachable.

Every text is escaped where it enters the page, by :func:`text`; every other function joins pieces that are safe already.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from theory.core.errors import InvalidInput
from theory.core.files import write_bytes

from ..sources import ROOT
from .content import Check, Claim, Experiment, Figure, Report, gather
from .look import CSS

DEFAULT = ROOT / "figures" / "out" / "report.html"
PAPER = "https://arxiv.org/abs/2410.09016"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

FAMILIES = {
    "prefix_state": "Prefix-tuning against initial-state tuning",
    "lora_limits": "The limits of LoRA",
    "sparse_dims": "Sparse dimension tuning",
}
MEANING = {
    "PROVED": "a symbolic identity, or an exact certificate, with a complete written argument",
    "EXACT": "rational instances, none of which failed; not a proof",
    "TO": "float64 within a stated error budget, condition number shown",
    "OPEN": "not decided",
    "REFUTED": "false, with a witness",
}
CLASS = {"PROVED": "sure", "EXACT": "sure", "TO": "near", "OPEN": "open", "REFUTED": "wrong"}
OUTCOME = {"reproduced": "sure", "not reproduced": "wrong", "undecided": "open"}


def text(value: object) -> str:
    """Escaped, for contents and attributes alike."""
    return html.escape(str(value), quote=True)


def _id(name: str) -> str:
    """A long id that may be broken at its dot and underscores."""
    return text(name).replace(".", ".<wbr>").replace("_", "_<wbr>")


def _link(target: str) -> str:
    return f'<a href="#{text(target)}"><code>{_id(target)}</code></a>'


def _verdict(verdict: str) -> str:
    return f'<span class="verdict {CLASS.get(verdict.partition("(")[0], "open")}">{text(verdict)}</span>'


def _outcome(found: Experiment) -> str:
    if found.verdict is None:
        return '<span class="verdict open">not measured yet</span>'
    size = f" <span>({text(found.size)})</span>" if found.size else ""
    return f'<span class="verdict {OUTCOME.get(found.verdict, "open")}">{text(found.verdict)}</span>{size}'


def _place(verdict: str) -> str:
    """A comparison's verdict, or a score's place beside chance."""
    return f'<span class="verdict {OUTCOME.get(verdict, "near")}">{text(verdict)}</span>'


def _table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
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


def _stacked(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
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


def claim_page(claim_id: str) -> str:
    """The page with a claim's derivation, from the repository's root."""
    return f"theory/{claim_id.replace('.', '/', 1)}/README.md"


def prose(written: str) -> str:
    """Paragraphs and lists of a finding: blocks are separated by blank lines, items of a list begin with a hyphen."""
    out = []
    for part in re.split(r"\n\s*\n", written.strip()):
        head, *items = re.split(r"(?:^|\n)- ", part)
        if head.strip():
            out.append(f"<p>{text(_line(head))}</p>")
        if items:
            out.append(f"<ul>{''.join(f'<li>{text(_line(item))}</li>' for item in items)}</ul>")
    return "".join(out)


def _line(written: str) -> str:
    return " ".join(written.split())


def _commands(commands: Iterable[str]) -> str:
    return f"<pre><code>{text(chr(10).join(commands))}</code></pre>"


# -- parts of a claim ------------------------------------------------------------------------------------------------------


def _checks(claim: Claim) -> str:
    def row(check: Check) -> tuple[str, str, str]:
        role = f"decides: {check.part}" if check.part is not None else "supports"
        sizes = f" Sizes: {check.sizes}." if check.sizes else ""
        witness = f" Witness: {check.witness}." if check.witness else ""
        name = f'{text(check.name)}<br><span class="soft">{text(role)}</span>'
        return name, _verdict(check.verdict), text(f"{check.how}.{sizes} Instances: {check.instances:,}.{witness}")

    return _stacked(f"Checks of {claim.id}", ("check", "verdict", "how"), map(row, claim.checks))


def _assumptions(claim: Claim) -> str:
    if not claim.assumptions:
        return "<p>None.</p>"
    items = []
    for a in claim.assumptions:
        state = '<span class="verdict sure">needed</span>' if a.needed else '<span class="verdict open">OPEN</span>'
        label = "Counterexample, " if a.needed else ""
        items.append(f"<dt>{text(a.name)} {state}</dt><dd>{text(a.statement)}.<br>{label}{text(a.how)}</dd>")
    return f"<dl>{''.join(items)}</dl>"


def _experiment(found: Experiment) -> str:
    parts = [
        f'<section id="experiment-{text(found.id)}" aria-labelledby="experiment-{text(found.id)}-title">',
        f'<h4 id="experiment-{text(found.id)}-title">Experiment <code>{_id(found.id)}</code> {_outcome(found)}</h4>',
        f"<p>{text(found.question)}</p>",
        f"<p><strong>Predicted before the run:</strong> {text(found.prediction)}</p>",
    ]
    if found.measured is not None:
        said = "" if found.told_by_lines else f" {text(found.measured)}"
        parts.append(f"<p><strong>Measured</strong> ({text(found.where)}):{said}</p>")
    if found.lines:
        parts.append(f"<ul>{''.join(f'<li>{_place(line.verdict)} {text(line.text)}</li>' for line in found.lines)}</ul>")
    if found.finding:
        parts.append(f"<h4>Beyond the numbers</h4>{prose(found.finding)}")
    if found.table:
        tables = "".join(_results(f"Results of {found.id}, by {head}", rows) for head, rows in _kinds(found.table).items())
        parts.append(f'<details class="results"><summary>All numbers of {text(found.id)}</summary>{tables}</details>')
    return "".join([*parts, "<p>Repeat it:</p>", _commands(found.commands), "</section>"])


def _kinds(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows of one kind together: kinds, such as methods and comparisons, differ in the column that they begin with."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(next(iter(row), ""), []).extend(_spread(row))
    return found


def _spread(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row that holds lists of records, such as a claim's comparisons, as a row for each record; any other row as it is."""
    lists = {key: value for key, value in row.items() if isinstance(value, list) and all(isinstance(v, dict) for v in value)}
    if not any(lists.values()):
        yield {key: value for key, value in row.items() if key not in lists}
        return
    first = dict(list(row.items())[:1])
    for key, records in lists.items():
        for record in records:
            yield {**first, "among": key, **dict(_columns(record))}


def _columns(record: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Entries of a record; a mapping to further records, such as tasks to intervals, has a column for each of its keys."""
    for key, value in record.items():
        if isinstance(value, dict) and value and all(isinstance(v, dict) for v in value.values()):
            yield from value.items()
        else:
            yield key, value


def _results(caption: str, rows: Sequence[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    numbers = [i for i, key in enumerate(columns) if all(isinstance(row.get(key), int | float | None) for row in rows)]
    cells = ([_number(row.get(key)) for key in columns] for row in rows)
    return _table(caption, [key.replace("_", " ") for key in columns], cells, numbers)


def _number(value: Any) -> str:
    if value is None:
        return '<span class="soft">none</span>'
    if isinstance(value, float):
        return text(f"{value:.3g}")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict) and {"points", "low", "high", "pairs"} <= value.keys():
        return _interval(value)
    if isinstance(value, dict):
        return ", ".join(f"{text(key)}: {_number(item)}" for key, item in value.items())
    if isinstance(value, list):
        return "; ".join(map(_number, value))
    return text(value)


def _interval(found: dict[str, Any]) -> str:
    """A difference, its interval, and from how many pairs; the tasks, where it names them."""
    interval = "" if found["low"] is None else f" [{_number(found['low'])}, {_number(found['high'])}]"
    where = f" ({text(', '.join(found['tasks']))})" if "tasks" in found else ""
    return f"{_number(found['points'])}{interval}, {_number(found['pairs'])} pairs{where}"


def _figure(figure: Figure) -> str:
    title = figure.title[0].upper() + figure.title[1:]
    command = f"Drawn from files by <code>{text(figure.command)}</code>."
    if not figure.png:
        wait = f" Its measurements are made by <code>{text(figure.needs)}</code>." if figure.needs else ""
        picture = f"<p>Not built yet.{wait}</p>"
    else:
        width, height = (int.from_bytes(figure.png[at : at + 4], "big") for at in (16, 20))  # the PNG's header
        alt = f"Plot: {figure.title}. Its data: {', '.join(figure.sources)}."
        data = base64.b64encode(figure.png).decode("ascii")
        picture = f'<img src="data:image/png;base64,{data}" alt="{text(alt)}" width="{width}" height="{height}">'
    return f'<figure id="figure-{text(figure.name)}">{picture}<figcaption>{text(title)}. {command}</figcaption></figure>'


def _article(report: Report, claim: Claim) -> str:
    shown = [f for f in report.figures_of(claim) if f.home == claim.id]
    elsewhere = [f for f in report.figures_of(claim) if f.home != claim.id]
    see = [f'<a href="#figure-{text(f.name)}">{text(f.title)}</a>' for f in elsewhere]
    parts = [
        f'<article id="{text(claim.id)}" aria-labelledby="{text(claim.id)}-title">',
        f'<h3 id="{text(claim.id)}-title"><code>{_id(claim.id)}</code> {_verdict(claim.verdict)}</h3>',
        f"<p><strong>{text(claim.title)}</strong></p>",
        f"<p>{text(claim.statement)}</p>",
        f'<p class="soft">Level: {text(claim.level)}. Horizon: {text(claim.horizon)}.</p>',
        "<h4>How it was decided</h4>",
        _checks(claim),
        "<h4>Assumptions, and what breaks without them</h4>",
        _assumptions(claim),
        *map(_experiment, report.experiments_of(claim)),
        *(f"<h4>Figure</h4>{_figure(f)}" for f in shown),
        f"<p>See also: {'; '.join(see)}.</p>" if see else "",
        "<h4>Decide it again</h4>",
        _commands([claim.command]),
        f'<p class="soft">Derivation, and what is not claimed: <code>{text(claim_page(claim.id))}</code></p>',
        "</article>",
    ]
    return "".join(parts)


# -- the page --------------------------------------------------------------------------------------------------------------


def _overview(report: Report) -> str:
    def row(claim: Claim) -> tuple[str, str, str, str]:
        needed = f"{sum(a.needed for a in claim.assumptions)} of {len(claim.assumptions)}"
        return _link(claim.id), _verdict(claim.verdict), text(claim.title), text(needed if claim.assumptions else "none")

    counts = {v: sum(claim.verdict == v for claim in report.claims) for v in MEANING}
    sentence = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n)
    meanings = "".join(f"<dt>{_verdict(verdict)}</dt><dd>{text(meaning)}</dd>" for verdict, meaning in MEANING.items())
    columns = ("claim", "verdict", "in one line", "assumptions needed")
    return (
        '<section aria-labelledby="verdicts"><h2 id="verdicts">Verdicts</h2>'
        f"<p>{len(report.claims)} claims: {text(sentence)}.</p>"
        f"{_stacked('All claims', columns, map(row, report.claims))}<h3>What a verdict means</h3><dl>{meanings}</dl></section>"
    )


def _experiments(report: Report) -> str:
    def row(found: Experiment) -> tuple[str, str, str, str]:
        name = f'<a href="#experiment-{text(found.id)}"><code>{_id(found.id)}</code></a>'
        return name, text(found.question), _link(found.claim), _outcome(found)

    quick = any(e.size for e in report.experiments)
    note = "<p>Quick size: a small run on a CPU, which shows that the experiment works and not what the full size says.</p>"
    columns = ("experiment", "question", "claim", "outcome")
    table = _stacked("All experiments", columns, map(row, report.experiments))
    return (
        '<section aria-labelledby="experiments"><h2 id="experiments">Experiments</h2>'
        f"<p>The prediction is written down before the run.</p>{note if quick else ''}{table}</section>"
    )


def _questions(report: Report) -> str:
    items = [f"<li>{_link(c.id)}: {text(question)}</li>" for c in report.claims for question in c.open_questions()]
    items += [
        f'<li><a href="#experiment-{text(e.id)}"><code>{_id(e.id)}</code></a>: not measured yet</li>'
        for e in report.experiments
        if e.verdict is None
    ]
    items += [
        f'<li><a href="#benchmark-{text(b.figure)}">{text(b.name)}</a>: not measured yet</li>'
        for b in report.benchmarks
        if not b.sentences
    ]
    body = f"<ul>{''.join(items)}</ul>" if items else "<p>Nothing.</p>"
    return f'<section aria-labelledby="open"><h2 id="open">What is open</h2>{body}</section>'


def _benchmarks(report: Report) -> str:
    """What was measured beside the claims: speed, memory, and the bundled model."""
    parts = []
    for found in report.benchmarks:
        name = f"benchmark-{found.figure}"
        parts += [f'<section aria-labelledby="{text(name)}"><h3 id="{text(name)}">{text(found.name)}</h3>']
        if found.sentences:
            parts += [f"<p>{text(sentence)}</p>" for sentence in found.sentences]
        else:
            parts.append('<p><span class="verdict open">not measured yet</span></p>')
        if found.rows:
            cells = ([text(cell) for cell in row] for row in found.rows)
            parts.append(_table(f"{found.name}, all numbers", found.columns, cells))
        parts += [_figure(f) for f in report.figures if f.name == found.figure]
        parts += ["<p>Repeat it:</p>", _commands([found.command]), "</section>"]
    head = '<section aria-labelledby="benchmarks"><h2 id="benchmarks">Benchmarks and the bundled model</h2>'
    return f"{head}{''.join(parts)}</section>"


def _wide_figures(report: Report) -> str:
    wide = report.wide_figures()
    if not wide:
        return ""
    body = "".join(map(_figure, wide))
    return f'<section aria-labelledby="figures"><h2 id="figures">Figures across claims</h2>{body}</section>'


def _contents(report: Report) -> str:
    entries = [("verdicts", "Verdicts"), ("experiments", "Experiments"), ("open", "What is open")]
    entries.append(("benchmarks", "Benchmarks and the bundled model"))
    if report.wide_figures():
        entries.append(("figures", "Figures across claims"))
    entries += [(family, FAMILIES.get(family, family)) for family in report.families()]
    items = "".join(f'<li><a href="#{text(anchor)}">{text(name)}</a></li>' for anchor, name in entries)
    return f'<nav aria-labelledby="contents"><h2 id="contents">Contents</h2><ol>{items}</ol></nav>'


def render(report: Report) -> str:
    """The page. The same contents give the same page: no date, no machine."""
    families = "".join(
        f'<section aria-labelledby="{text(family)}"><h2 id="{text(family)}">{text(FAMILIES.get(family, family))}</h2>'
        f"{''.join(_article(report, claim) for claim in claims)}</section>"
        for family, claims in report.families().items()
    )
    versions = ", ".join(f"{name} {value}" for name, value in report.versions.items())
    profile = f"{report.profile.get('name')} profile, {report.profile.get('instances')} instances for each sampled check"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{text(POLICY)}">
<title>ssmproof: what fine-tuning can and cannot do to a state-space model</title>
<style>{CSS}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the verdicts</a>
<header>
<h1>What fine-tuning can and cannot do to a state-space model</h1>
<p>Every claim of ssmproof with its verdict, how it was decided, what breaks without each of its assumptions, the experiment that
tests it and the command that repeats it. After Galim, Kang, Zeng, Koo and Lee,
<a href="{PAPER}">Parameter-Efficient Fine-Tuning of State Space Models</a>; the formulations are this project’s own.</p>
</header>
{_contents(report)}
<main id="main" tabindex="-1">
{_overview(report)}
{_experiments(report)}
{_questions(report)}
{_benchmarks(report)}
{_wide_figures(report)}
{families}
</main>
<footer>
<p>Made by <code>python -m figures report</code> from <code>theory/verdicts.json</code>, the experiments’ files and results, and
<code>figures/out</code>. Verdicts: {text(profile)}; {text(versions)}.</p>
</footer>
</body>
</html>
"""


def build_report(out: Path = DEFAULT, root: Path = ROOT) -> int:
    """Write the page and return its size in bytes.

    Raises
    ------
    MissingData
        There are no verdicts yet.
    InvalidInput
        ``out`` is a folder, or a file that the report is made of is unusable.
    """
    if out.is_dir():
        raise InvalidInput(f"--out {out} is a folder, expected a file such as {out / 'report.html'}")
    content = render(gather(root)).encode("utf-8")
    write_bytes(out, content)
    return len(content)
