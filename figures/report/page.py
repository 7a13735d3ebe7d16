"""The report as one HTML page: no script, no other file, no address that has to be reachable.

The answers stand first: the scoreboard, then the claims' verdicts, the experiments, what is open; then the claims; the
benchmarks last. In view are a claim's statement, its verdict and one line that says why; the rest is folded. A link into a folded
part opens it, and printing opens every part.
"""

from __future__ import annotations

import os
from pathlib import Path

from theory.core.files import require_replaceable, write_bytes
from theory.verification.verdict import MEANING, RULE

from ..plots import scoreboard
from ..sources import ROOT
from . import scoreboard as board
from .content import Check, Claim, Experiment, Figure, Part, Report, gather
from .elements import (
    FATE,
    OUTCOME,
    chip,
    commands,
    figure,
    folded,
    link,
    name,
    outcome,
    prose,
    said,
    stacked,
    table,
    text,
    verdict,
)
from .look import CSS
from .rows import tables

DEFAULT = ROOT / "figures" / "out" / "report.html"
PAPER = "https://arxiv.org/abs/2410.09016"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

FAMILIES = {
    "prefix_state": "Prefix-tuning against initial-state tuning",
    "lora_limits": "The limits of LoRA",
    "sparse_dims": "Sparse dimension tuning",
    "beyond": "Newer recurrences",
}


def claim_page(claim_id: str) -> str:
    """The page with a claim's derivation, from the repository's root."""
    return f"theory/{claim_id.replace('.', '/', 1)}/README.md"


class Numbers:
    """Figures by their place on the page: the first that is shown is Figure 1."""

    def __init__(self) -> None:
        self.shown: dict[str, int] = {}

    def draw(self, found: Figure, fold: bool = False) -> str:
        """A figure with the next number; where it folds, its message stays in view."""
        self.shown[found.name] = len(self.shown) + 1
        return figure(found, self.shown[found.name], fold)


PICTURES = 2
"""Figures of a claim or a benchmark that are in view, one row on a wide screen; further ones fold."""
EVIDENCE = 3
"""Lines of evidence of an assertion that are in view."""


# -- parts of a claim ------------------------------------------------------------------------------------------------------


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _why(claim: Claim) -> str:
    """What the verdict rests on, in one line."""
    verdicts = [part.verdict for part in claim.parts]
    first, *others = dict.fromkeys(verdicts)
    kinds = [f"{_count(verdicts.count(first), 'part')} {first}", *(f"{verdicts.count(kind)} {kind}" for kind in others)]
    rests = [", ".join(kinds)]
    theorems = sum(len(part.theorems) for part in claim.parts)
    rests += [f"{_count(theorems, 'theorem')} in Rocq"] if theorems else []
    planted = sum(check.planted for check in claim.checks)
    caught = sum(check.caught for check in claim.checks)
    rests += [_count(len(claim.checks), "check"), f"planted errors caught {caught} of {planted}"]
    needed = sum(a.needed for a in claim.assumptions)
    rests.append(f"assumptions needed {needed} of {len(claim.assumptions)}" if claim.assumptions else "no assumptions")
    return f"<strong>Why:</strong> {text('; '.join(rests))}"


def _parts(claim: Claim) -> str:
    """The parts of the statement, each with its verdict and, folded, the theorems that Rocq has checked about it."""

    def rests(part: Part) -> str:
        return f"<li>{said(part.name)} {verdict(part.verdict)}{_theorems(part)}</li>"

    return f"<ul>{''.join(map(rests, claim.parts))}</ul>"


def _theorems(part: Part) -> str:
    """Statements in Rocq's words, each with the sentence it covers and the command that checks it."""
    if not part.theorems:
        return ""
    items = [
        f"<p>{said(t.covers)}.</p><pre><code>{text(t.statement)}</code></pre><p>Check it: <code>{text(t.command)}</code></p>"
        for t in part.theorems
    ]
    if part.not_covered:
        items.append(f"<p><strong>Not covered:</strong> {said(part.not_covered)}</p>")
    whole = "some of its sentences" if part.not_covered else "the whole part"
    return folded(f"{_count(len(part.theorems), 'theorem')} on {whole}", "".join(items), "theorems")


def _checks(claim: Claim) -> str:
    def row(check: Check) -> tuple[str, str, str]:
        role = f"decides: {check.part}" if check.part is not None else "supports"
        sizes = f" Sizes: {check.sizes}." if check.sizes else ""
        witness = f" Witness: {check.witness}." if check.witness else ""
        title = f'{said(check.name)}<br><span class="soft">{said(role)}</span>'
        return title, verdict(check.verdict), said(f"{check.how}.{sizes} Instances: {check.instances:,}.{witness}")

    deciding = sum(check.part is not None for check in claim.checks)
    summary = f"How it was decided: {len(claim.checks)} checks, {deciding} of them decide"
    return folded(summary, stacked(f"Checks of {claim.id}", ("check", "verdict", "how"), map(row, claim.checks)))


def _assumptions(claim: Claim) -> str:
    if not claim.assumptions:
        return "<p>Assumptions: none.</p>"
    items = []
    for a in claim.assumptions:
        state = chip("needed", "sure") if a.needed else chip("OPEN", "open")
        label = "Counterexample, " if a.needed else ""
        items.append(f"<dt>{said(a.name)} {state}</dt><dd>{said(a.statement)}.<br>{label}{said(a.how)}</dd>")
    needed = sum(a.needed for a in claim.assumptions)
    names = said(", ".join(a.name for a in claim.assumptions))
    summary = f"Assumptions, {needed} of {len(claim.assumptions)} shown to be needed: {names}"
    return folded(summary, f"<dl>{''.join(items)}</dl>")


def _experiment(found: Experiment) -> str:
    here = f"experiment-{text(found.id)}"
    parts = [f"<p><strong>Predicted before the run:</strong> {said(found.prediction)}</p>"]
    if found.measured is not None:
        words = "" if found.told_by_lines else f" {said(found.measured)}"
        parts.append(f"<p><strong>Measured</strong> ({text(found.where)}):{words}</p>")
    if found.lines:
        lines = (f"<li>{chip(line.verdict, OUTCOME.get(line.verdict, 'near'))} {said(line.text)}</li>" for line in found.lines)
        parts.append(f"<ul>{''.join(lines)}</ul>")
    if found.replication:
        parts.append(f"<p>{said(found.replication)}</p>")
    if found.finding:
        parts.append(f"<h5>Beyond the numbers</h5>{prose(found.finding)}")
    if found.table:
        parts.append(folded(f"All numbers of {text(found.id)}", tables(found.id, found.table), "results"))
    parts += ["<p>Repeat it:</p>", commands(found.commands)]
    return (
        f'<section id="{here}" aria-labelledby="{here}-title">'
        f'<h4 id="{here}-title">Experiment <code>{name(found.id)}</code> {outcome(found)}</h4>'
        f"{folded(said(found.question), ''.join(parts))}</section>"
    )


def _article(report: Report, claim: Claim, numbers: Numbers, root: str) -> str:
    tried = report.experiments_of(claim)
    names = {found.id for found in tried}
    at_home = (f for f in report.figures_of(claim) if f.home == claim.id)
    shown = sorted(at_home, key=lambda f: (not f.png, f.name not in names))  # an experiment's main figure has its name
    elsewhere = [f for f in report.figures_of(claim) if f.home != claim.id]
    see = [f'<a href="#figure-{text(f.name)}">{text(f.title)}</a>' for f in elsewhere]
    page = claim_page(claim.id)
    grounds = [
        f"<p><strong>Not claimed:</strong> {said(claim.not_claimed)}</p>" if claim.not_claimed else "",
        f'<p class="soft">Level: {said(claim.level)}. Horizon: {said(claim.horizon)}.'
        f"{f' Source: {said(claim.source)}.' if claim.source else ''}</p>",
        _parts(claim),
        _checks(claim),
        _assumptions(claim),
        f"<p>Decide it again: <code>{text(claim.command)}</code></p>",
        f'<p class="soft">See also: {"; ".join(see)}.</p>' if see else "",
    ]
    parts = [
        f'<article id="{text(claim.id)}" aria-labelledby="{text(claim.id)}-title">',
        f'<h3 id="{text(claim.id)}-title"><code>{name(claim.id)}</code> {verdict(claim.verdict)}</h3>',
        f"<p><strong>{said(claim.title)}</strong></p>",
        f'<p>{said(claim.statement)} <a href="{text(root + page)}">Derivation</a></p>',
        folded(_why(claim), "".join(grounds)),
        *map(_experiment, tried),
        _figures(shown, numbers),
        "</article>",
    ]
    return "".join(parts)


def _figures(shown: list[Figure], numbers: Numbers, in_view: int = PICTURES) -> str:
    """Figures in a row; those behind the first ``in_view`` fold."""
    if not shown:
        return ""
    pictures = "".join(numbers.draw(found) for found in shown[:in_view])
    return f'<div class="figures">{pictures}</div>{"".join(numbers.draw(found, fold=True) for found in shown[in_view:])}'


# -- the page --------------------------------------------------------------------------------------------------------------


def _scoreboard(report: Report) -> str:
    def row(sentence: board.Sentence) -> tuple[str, str, str]:
        quote = f'<br><span class="soft">“{text(sentence.quote)}”</span>' if sentence.quote else ""
        evidence = [
            *(f"{link(t.claim)} {verdict(t.verdict)}{f' {said(t.under)}' if t.under else ''}" for t in sentence.theory),
            *(
                f"{link(f'experiment-{e.id}', e.id)} {said(board.told(e))}"
                for e in sentence.parts
                if isinstance(e, board.Experiment)
            ),
            *(f"beside: {link(f'experiment-{e.id}', e.id)} {said(board.told(e))}" for e in sentence.beside),
        ]
        if sentence.waiting:
            where, count = link(f"experiment-{sentence.waiting[0].id}", sentence.waiting[0].id), len(sentence.waiting)
            evidence.append(f"{where}: {count} of {len(sentence.protocol)} comparisons not yet run")
        more = len(evidence) - EVIDENCE
        rest = folded(f"{more} more", "<br>".join(evidence[EVIDENCE:])) if more > 1 else "<br>".join(["", *evidence[EVIDENCE:]])
        return f"{said(sentence.short)}{quote}", chip(sentence.fate, FATE[sentence.fate]), "<br>".join(evidence[:EVIDENCE]) + rest

    counted = scoreboard.says({"rows": [{"fate": sentence.fate} for sentence in report.sentences]})
    columns = ("the paper says", "fate", "evidence")
    return (
        '<section aria-labelledby="scoreboard"><h2 id="scoreboard">Which of the paper’s assertions stand?</h2>'
        f"<p>{text(counted)}. A fate is computed from the claims and results beside it.</p>"
        f"{stacked('Scoreboard', columns, map(row, report.sentences))}</section>"
    )


def _overview(report: Report) -> str:
    def row(claim: Claim) -> tuple[str, str, str]:
        return link(claim.id), verdict(claim.verdict), said(claim.title)

    counts = {v: sum(claim.verdict == v for claim in report.claims) for v in MEANING}
    sentence = ", ".join(f"{n} {kind}" for kind, n in counts.items() if n)
    meanings = "".join(f"<dt>{verdict(kind)}</dt><dd>{text(meaning)}</dd>" for kind, meaning in MEANING.items())
    columns = ("claim", "verdict", "in one line")
    legend = folded("What a verdict means", f"<dl>{meanings}</dl><p>{text(RULE)}</p>")
    return (
        '<section aria-labelledby="verdicts"><h2 id="verdicts">Verdicts</h2>'
        f"<p>{len(report.claims)} claims: {text(sentence)}.</p>"
        f"{stacked('All claims', columns, map(row, report.claims))}{legend}</section>"
    )


def _experiments(report: Report) -> str:
    def row(found: Experiment) -> tuple[str, str, str, str]:
        return link(f"experiment-{found.id}", found.id), said(found.question), link(found.claim), outcome(found)

    quick = any(e.size for e in report.experiments)
    note = "<p>Quick size: a small run on a CPU, which shows that the experiment works and not what the full size says.</p>"
    columns = ("experiment", "question", "claim", "outcome")
    table = stacked("All experiments", columns, map(row, report.experiments))
    return (
        '<section aria-labelledby="experiments"><h2 id="experiments">Experiments</h2>'
        f"<p>The prediction is written down before the run.</p>{note if quick else ''}{table}</section>"
    )


def _questions(report: Report) -> str:
    items = [f"<li>{link(c.id)}: {text(question)}</li>" for c in report.claims for question in c.open_questions()]
    items += [f"<li>{link(f'experiment-{e.id}', e.id)}: not measured yet</li>" for e in report.experiments if e.verdict is None]
    items += [
        f'<li><a href="#benchmark-{text(b.figure)}">{text(b.name)}</a>: not measured yet</li>'
        for b in report.benchmarks
        if not b.sentences
    ]
    counts = {system: len(pairs) for system, pairs in report.open_pairs.items() if pairs}
    if counts:
        by_class = ", ".join(f"{count} ({system})" for system, count in counts.items())
        items.append(
            f'<li>{sum(counts.values())} pairs of methods in the <a href="#figure-lattice">lattice</a>, by class of systems: '
            f"{text(by_class)}</li>"
        )
    body = f"<ul>{''.join(items)}</ul>" if items else "<p>Nothing.</p>"
    return f'<section aria-labelledby="open"><h2 id="open">What is open</h2>{body}</section>'


def _benchmarks(report: Report, numbers: Numbers) -> str:
    """What was measured beside the claims: speed, memory, and the bundled model."""
    parts = []
    for found in report.benchmarks:
        here = f"benchmark-{text(found.figure)}"
        parts += [f'<section aria-labelledby="{here}"><h3 id="{here}">{text(found.name)}</h3>']
        if found.sentences:
            first, *more = (f"<p>{text(sentence)}</p>" for sentence in found.sentences)
            cells = ([text(cell) for cell in row] for row in found.rows)
            numbers_of = table(f"{found.name}, all numbers", found.columns, cells) if found.rows else ""
            again = f"<p>Repeat it:</p>{commands([found.command])}"
            parts.append(first + folded("More, numbers and the command", "".join(more) + numbers_of + again))
        else:
            parts += [f"<p>{chip('not measured yet', 'open')}</p>", commands([found.command])]
        parts += [_figures([f for f in report.figures if f.name in found.figures], numbers, 1), "</section>"]
    head = '<section aria-labelledby="benchmarks"><h2 id="benchmarks">Benchmarks and the bundled model</h2>'
    return f'{head}<div class="figures">{"".join(parts)}</div></section>'


def _wide_figures(report: Report, numbers: Numbers) -> str:
    wide = report.wide_figures()
    if not wide:
        return ""
    pictures = _figures(wide, numbers, len(wide))
    return f'<section aria-labelledby="figures"><h2 id="figures">Figures across claims</h2>{pictures}</section>'


def _contents(report: Report) -> str:
    """Links to every part and to every claim; on a narrow screen they fold into one line that stays in sight."""

    def entry(anchor: str, words: str) -> str:
        return f'<li><a href="#{text(anchor)}">{words}</a>'

    first = [("scoreboard", "Scoreboard"), ("verdicts", "Verdicts"), ("experiments", "Experiments"), ("open", "What is open")]
    if report.wide_figures():
        first.append(("figures", "Figures across claims"))
    items = [f"{entry(anchor, text(words))}</li>" for anchor, words in first]
    for family, claims in report.families().items():
        inner = "".join(f"{entry(c.id, name(c.id.partition('.')[2]))}</li>" for c in claims)
        items.append(f"{entry(family, text(FAMILIES.get(family, family)))}<ol>{inner}</ol></li>")
    items.append(f"{entry('benchmarks', 'Benchmarks and the bundled model')}</li>")
    return f'<nav aria-label="Contents"><details><summary>Contents</summary><ol>{"".join(items)}</ol></details></nav>'


def render(report: Report, root: str = "../../") -> str:
    """The page. The same contents give the same page: no date, no machine.

    ``root`` is the repository's root as seen from the page, for the links to the claims' pages.
    """
    numbers = Numbers()
    scores, overview, tried, questions = _scoreboard(report), _overview(report), _experiments(report), _questions(report)
    wide = _wide_figures(report, numbers)
    families = "".join(
        f'<section aria-labelledby="{text(family)}"><h2 id="{text(family)}">{text(FAMILIES.get(family, family))}</h2>'
        f"{''.join(_article(report, claim, numbers, root) for claim in claims)}</section>"
        for family, claims in report.families().items()
    )
    measured = _benchmarks(report, numbers)
    versions = ", ".join(f"{package} {value}" for package, value in report.versions.items())
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
<a class="skip" href="#main">Skip to the scoreboard</a>
<header>
<h1>What fine-tuning can and cannot do to a state-space model</h1>
<p>Every claim of ssmproof with its verdict, how it was decided, what breaks without each of its assumptions, the experiment that
tests it and the command that repeats it. After Galim, Kang, Zeng, Koo and Lee,
<a href="{PAPER}">Parameter-Efficient Fine-Tuning of State Space Models</a>; the formulations are this project’s own.</p>
</header>
<div class="sides">
{_contents(report)}
<main id="main" tabindex="-1">
{scores}
{overview}
{tried}
{questions}
{wide}
{families}
{measured}
</main>
</div>
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
        ``out`` cannot be written, or a file that the report is made of is unusable.
    """
    require_replaceable(out)
    above = os.path.relpath(root, out.resolve().parent).replace(os.sep, "/")
    content = render(gather(root), f"{above}/").encode("utf-8")
    write_bytes(out, content)
    return len(content)
