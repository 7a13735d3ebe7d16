"""The verdict table and the JSON of a verification, for people and for machines."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..core.errors import InvalidInput
from .claim import Outcome, Verdict
from .decide import ClaimResult, Report

STYLE = {
    Verdict.PROVED: "bold green",
    Verdict.EXACT: "green",
    Verdict.TO: "cyan",
    Verdict.OPEN: "yellow",
    Verdict.REFUTED: "bold red",
    Verdict.ERROR: "magenta",
}


def verdict_text(outcome: Outcome | ClaimResult) -> str:
    """``TO(tol, cond)`` with its numbers, every other verdict as its name."""
    if isinstance(outcome, Outcome) and outcome.verdict is Verdict.TO:
        tolerance = "?" if outcome.tolerance is None else f"{outcome.tolerance:.1g}"
        condition = "" if outcome.condition is None else f", cond {outcome.condition:.1e}"
        return f"TO({tolerance}{condition})"
    return str(outcome.verdict)


def coverage(result: ClaimResult) -> str:
    """Sizes and instance counts of the deciding checks, in one cell."""
    total = sum(o.instances for _, part, o, _ in result.checks if part is not None)
    sizes = list(dict.fromkeys(o.sizes for _, part, o, _ in result.checks if part is not None and o.sizes))
    return "; ".join([*sizes, f"{total} instances"] if total else sizes)


def how_decided(result: ClaimResult) -> str:
    """The routes of the deciding checks with their own verdicts, and every question a supporting check leaves OPEN."""
    lines = [f"{verdict_text(o)}  {name}" for name, part, o, _ in result.checks if part is not None]
    lines += [f"OPEN  {name} (beside the statement)" for name, part, o, _ in result.checks if part is None and _open(o)]
    return "\n".join(lines)


def _open(outcome: Outcome) -> bool:
    return outcome.verdict is Verdict.OPEN


def assumptions_summary(result: ClaimResult) -> str:
    """How many assumptions were shown to be needed, and which are OPEN."""
    if not result.assumptions:
        return "none"
    needed = sum(a.outcome.verdict is Verdict.REFUTED for a in result.assumptions)
    open_names = [a.name for a in result.assumptions if a.outcome.verdict is not Verdict.REFUTED]
    return f"{needed} needed" + (f"; OPEN: {', '.join(open_names)}" if open_names else "")


def verdict_table(report: Report) -> Table:
    """One row per claim: id, verdict, how decided, sizes and instances, assumptions, time."""
    table = Table(title=f"Verdicts (profile {report.profile.name})", show_lines=True, title_justify="left")
    table.add_column("claim", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("how decided", ratio=3)
    table.add_column("sizes and instances", ratio=2)
    table.add_column("assumptions", ratio=1)
    table.add_column("s", justify="right", no_wrap=True)
    for r in report.results:
        verdict = Text(str(r.verdict), style=STYLE[r.verdict])
        cells = (Text(cell) for cell in (how_decided(r), coverage(r), assumptions_summary(r), f"{r.seconds:.1f}"))
        table.add_row(Text(r.id), verdict, *cells)  # Text: square brackets are mathematics here, not markup
    return table


def print_report(report: Report, console: Console, *, details: bool = False) -> None:
    """Print the table, then what was refuted or broke; with ``details`` every check and every counterexample."""
    console.print(verdict_table(report))
    for r in report.results:
        show = details or not r.ok
        if not show:
            continue
        console.print(Text(f"\n{r.id}", style="bold") + Text(f"  {r.title}"), highlight=False)
        console.print(r.statement, markup=False, highlight=False)
        console.print(f"level: {r.level}; horizon: {r.horizon}", markup=False, highlight=False)
        for name, part, o, seconds in r.checks:
            role = "decides" if part is not None else "supports"
            line = f"  {verdict_text(o):8} {name} ({role}, {seconds:.1f} s): {o.how}"
            console.print(line, markup=False, highlight=False)
            if o.witness:
                console.print(f"      witness: {o.witness}", markup=False, highlight=False)
        for a in r.assumptions:
            console.print(f"  assumes {a.name}: {a.statement}", markup=False, highlight=False)
            console.print(f"      {a.outcome.how}", markup=False, highlight=False)
            if a.outcome.verdict is Verdict.OPEN and a.outcome.witness:
                console.print(f"      {a.outcome.witness}", markup=False, highlight=False)
    counts = {v: sum(r.verdict is v for r in report.results) for v in Verdict}
    summary = ", ".join(f"{n} {v}" for v, n in counts.items() if n)
    noun = "claim" if len(report.results) == 1 else "claims"
    console.print(f"\n{len(report.results)} {noun}: {summary}; {report.seconds:.0f} s", highlight=False)


def markdown_table(payload: dict) -> str:
    """The README's verdict table from the JSON of a report (theory/verdicts.json).

    Raises InvalidInput for JSON that is no report.
    """
    try:
        return _markdown(payload)
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"not a verdict report ({error}); write one with `python -m theory --out FILE`") from error


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _markdown(payload: dict) -> str:
    lines = ["| claim | verdict | statement in one line | assumptions shown needed |", "| --- | --- | --- | --- |"]
    for c in payload["claims"]:
        needed = sum(a["verdict"] == "REFUTED" for a in c["assumptions"])
        opened = len(c["assumptions"]) - needed
        note = f"{needed} of {len(c['assumptions'])}" + (f" ({opened} OPEN)" if opened else "")
        beside = [k["name"] for k in c["checks"] if k["part"] is None and k["verdict"] == "OPEN"]
        title = c["title"] + (f" (OPEN beside it: {', '.join(beside)})" if beside else "")
        lines.append(f"| `{c['id']}` | {c['verdict']} | {_cell(title)} | {note if c['assumptions'] else 'none'} |")
    return "\n".join(lines) + "\n"
