"""The verdict table and the JSON of a verification, for people and for machines."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..core.errors import InvalidInput
from .formal import rocq_is_installed
from .results import ClaimResult, PartResult, Report
from .verdict import MEANING, RULE, Outcome, Verdict

STYLE = {
    Verdict.FORMAL: "bold bright_green",
    Verdict.PROVED: "bold green",
    Verdict.EXACT: "green",
    Verdict.NUMERIC: "cyan",
    Verdict.OPEN: "yellow",
    Verdict.REFUTED: "bold red",
    Verdict.ERROR: "magenta",
}


def verdict_text(outcome: Outcome | PartResult | ClaimResult) -> str:
    """``NUMERIC(tol, cond)`` with its numbers; ``FORMAL (recorded)`` where Rocq is not there to check; else the name."""
    if isinstance(outcome, Outcome) and outcome.verdict is Verdict.NUMERIC:
        tolerance = "?" if outcome.tolerance is None else f"{outcome.tolerance:.1g}"
        condition = "" if outcome.condition is None else f", cond {outcome.condition:.1e}"
        return f"NUMERIC({tolerance}{condition})"
    if outcome.verdict is Verdict.FORMAL and not rocq_is_installed():
        return "FORMAL (recorded)"
    return str(outcome.verdict)


def coverage(result: ClaimResult) -> str:
    """Sizes and instance counts of the deciding checks, in one cell."""
    deciding = [c.outcome for c in result.checks if c.part is not None]
    total = sum(o.instances for o in deciding)
    sizes = list(dict.fromkeys(o.sizes for o in deciding if o.sizes))
    return "; ".join([*sizes, f"{total} instances"] if total else sizes)


def how_decided(result: ClaimResult) -> str:
    """The parts with their verdicts, and every question that a check beside them leaves OPEN."""
    lines = [f"{verdict_text(part)}  {part.name}" for part in result.parts]
    for c in result.checks:
        if c.part is None and c.outcome.verdict is Verdict.OPEN:
            lines.append(f"OPEN  {c.name} (beside the statement)")
    return "\n".join(lines)


def planted_summary(result: ClaimResult) -> str:
    """``12 of 12``: planted errors that the checks refuted."""
    return f"{result.caught} of {result.planted}"


def assumptions_summary(result: ClaimResult) -> str:
    """How many assumptions were shown to be needed, and which are OPEN."""
    if not result.assumptions:
        return "none"
    needed = sum(a.outcome.verdict is Verdict.REFUTED for a in result.assumptions)
    open_names = [a.name for a in result.assumptions if a.outcome.verdict is not Verdict.REFUTED]
    return f"{needed} needed" + (f"; OPEN: {', '.join(open_names)}" if open_names else "")


def verdict_table(report: Report) -> Table:
    """One row per claim: id, verdict, parts, sizes and instances, planted errors caught, assumptions, time."""
    table = Table(title=f"Verdicts (profile {report.profile.name})", show_lines=True, title_justify="left")
    table.add_column("claim", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("parts", ratio=3)
    table.add_column("sizes and instances", ratio=2)
    table.add_column("planted errors caught", max_width=8)
    table.add_column("assumptions", ratio=1)
    table.add_column("s", justify="right", no_wrap=True)
    for r in report.results:
        verdict = Text(str(r.verdict), style=STYLE[r.verdict])
        told = (how_decided(r), coverage(r), planted_summary(r), assumptions_summary(r), f"{r.seconds:.1f}")
        table.add_row(Text(r.id), verdict, *(Text(cell) for cell in told))  # Text: square brackets are no markup here
    return table


def print_report(report: Report, console: Console, *, details: bool = False) -> None:
    """Print the table, then what was refuted or broke; with ``details`` every check and every counterexample."""
    console.print(verdict_table(report))
    for r in report.results:
        if details or not r.ok:
            _print_details(r, console)
    counts = {v: sum(r.verdict is v for r in report.results) for v in Verdict}
    for verdict, n in counts.items():
        if n:
            console.print(f"{verdict}: {MEANING[verdict]}", markup=False, highlight=False)
    console.print(RULE, markup=False, highlight=False)
    summary = ", ".join(f"{n} {v}" for v, n in counts.items() if n)
    caught, planted = (sum(getattr(r, key) for r in report.results) for key in ("caught", "planted"))
    pairs = sum(len(pairs) for pairs in report.open_pairs.values())
    noun = "claim" if len(report.results) == 1 else "claims"
    console.print(
        f"\n{len(report.results)} {noun}: {summary}; {caught} of {planted} planted errors caught; "
        f"{pairs} pairs of methods OPEN in the lattice; {report.seconds:.0f} s",
        highlight=False,
    )


def _print_details(r: ClaimResult, console: Console) -> None:
    def line(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    console.print(Text(f"\n{r.id}", style="bold") + Text(f"  {r.title}"), highlight=False)
    line(r.statement)
    line(f"level: {r.level}; horizon: {r.horizon}")
    for part in r.parts:
        rests = [f"argument: {r.readme}#{part.argument}"] if part.argument else []
        rests += [f"theorems: {', '.join(part.theorems)}"] if part.theorems else []
        line(f"  {verdict_text(part):8} {part.name}" + (f" ({'; '.join(rests)})" if rests else ""))
    for c in r.checks:
        role = f"decides {c.part}" if c.part is not None else "beside"
        caught = f"{c.caught} of {len(c.planted)} planted errors caught"
        line(f"  {verdict_text(c.outcome):8} {c.name} ({role}, {caught}, {c.seconds:.1f} s): {c.outcome.how}")
        if c.outcome.witness:
            line(f"      witness: {c.outcome.witness}")
    for a in r.assumptions:
        line(f"  assumes {a.name}: {a.statement}")
        line(f"      {a.outcome.how}")
        if a.outcome.verdict is not Verdict.REFUTED and a.outcome.witness:
            line(f"      {a.outcome.witness}")


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
    lines = [
        "| claim | verdict | statement in one line | assumptions shown needed | planted errors caught |",
        "| --- | --- | --- | --- | --- |",
    ]
    for c in payload["claims"]:
        needed = sum(a["verdict"] == "REFUTED" for a in c["assumptions"])
        opened = len(c["assumptions"]) - needed
        note = f"{needed} of {len(c['assumptions'])}" + (f" ({opened} OPEN)" if opened else "")
        beside = [k["name"] for k in c["checks"] if k["part"] is None and k["verdict"] == "OPEN"]
        title = c["title"] + (f" (OPEN beside it: {', '.join(beside)})" if beside else "")
        caught, planted = sum(k["planted"]["caught"] for k in c["checks"]), sum(len(k["planted"]["errors"]) for k in c["checks"])
        needed_note = note if c["assumptions"] else "none"
        lines.append(f"| `{c['id']}` | {c['verdict']} | {_cell(title)} | {needed_note} | {caught} of {planted} |")
    return "\n".join(lines) + "\n"
