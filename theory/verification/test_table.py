"""What people and machines read: the verdict table, its details, and the README's table from the JSON of a report."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from theory import __main__ as cli
from theory.core.errors import InvalidInput
from theory.verification import table
from theory.verification.results import AssumptionResult, CheckResult, ClaimResult, PartResult, Report
from theory.verification.sampling import PROFILES
from theory.verification.table import (
    STYLE,
    assumptions_summary,
    coverage,
    how_decided,
    markdown_table,
    planted_summary,
    print_report,
    verdict_text,
)
from theory.verification.verdict import MEANING, RULE, Outcome, Verdict

EXACT = Outcome(Verdict.EXACT, "rational instances", "N ≤ 4", 200)
FLOAT = Outcome(Verdict.NUMERIC, "float64", "N ≤ 64", 30, tolerance=3e-12, condition=1.5e6)
NEEDED = AssumptionResult("distinct", "a_n ≠ a_m", Outcome(Verdict.REFUTED, "without it: 1/2 twice", witness="pair"))
UNSETTLED = AssumptionResult("real", "a_n ∈ ℝ", Outcome(Verdict.OPEN, "no counterexample known: tried N = 2"))


CHECKS = (
    CheckResult("rationals", "statement", EXACT, 1.0, ("negated", "doubled")),
    CheckResult("floats", "second", FLOAT, 2.0, ("off by 1e-6",)),
    CheckResult("measurement", None, Outcome(Verdict.EXACT, "beside", "N = 1000", 5000), 3.0, ("empty",)),
)
PARTS = (PartResult("statement", Verdict.PROVED, "derivation"), PartResult("second", Verdict.NUMERIC))


def result(verdict: Verdict = Verdict.EXACT, **changes: Any) -> ClaimResult:
    words = ("family.one", "first title", "∀x", "module", "any", "our formulation", "theory/a/README.md", "")
    stated = ClaimResult(*words, verdict, PARTS, CHECKS, (NEEDED, UNSETTLED), 6.25)
    return replace(stated, **changes)


def report(*results: ClaimResult) -> Report:
    return Report(results, PROFILES["ci"], 12.4, open_pairs={"LTI": [("prefix", "sdt")]})


def printed(*results: ClaimResult, details: bool = False, width: int = 200) -> str:
    stream = io.StringIO()
    print_report(report(*results), Console(file=stream, width=width), details=details)
    return stream.getvalue()


def payload(*results: ClaimResult) -> Any:
    return json.loads(json.dumps(report(*results).to_json()))


# -- cells ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Outcome(Verdict.PROVED, "h"), "PROVED"),
        (Outcome(Verdict.EXACT, "h", tolerance=1e-3), "EXACT"),
        (FLOAT, "NUMERIC(3e-12, cond 1.5e+06)"),
        (replace(FLOAT, condition=None), "NUMERIC(3e-12)"),
        (replace(FLOAT, tolerance=None), "NUMERIC(?, cond 1.5e+06)"),
        (replace(FLOAT, tolerance=0.0, condition=0.0), "NUMERIC(0, cond 0.0e+00)"),
        (result(Verdict.NUMERIC), "NUMERIC"),
        (result(Verdict.REFUTED), "REFUTED"),
    ],
)
def test_verdict_text(outcome: Outcome | ClaimResult, text: str) -> None:
    assert verdict_text(outcome) == text


@pytest.mark.parametrize(("installed", "text"), [(True, "FORMAL"), (False, "FORMAL (recorded)")])
def test_formal_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch, installed: bool, text: str) -> None:
    monkeypatch.setattr(table, "rocq_is_installed", lambda: installed)
    part = PartResult("statement", Verdict.FORMAL, theorems=("a.b.c",))
    assert verdict_text(part) == text and verdict_text(replace(part, verdict=Verdict.PROVED)) == "PROVED"
    assert "theorems: a.b.c" in printed(result(parts=(part,)), details=True)


def test_planted_summary() -> None:
    assert planted_summary(result()) == "4 of 4"
    missed = replace(CHECKS[0], escaped=("doubled: passes",))
    assert planted_summary(result(checks=(missed, *CHECKS[1:]))) == "3 of 4"


def test_coverage_counts_the_deciding_checks() -> None:
    assert coverage(result()) == "N ≤ 4; N ≤ 64; 230 instances"  # the measurement's 5000 decide nothing
    again = CheckResult("again", "converse", EXACT, 0.0)
    assert coverage(result(checks=(*result().checks, again))) == "N ≤ 4; N ≤ 64; 430 instances"
    derived = CheckResult("derivation", "statement", Outcome(Verdict.EXACT, "h", "all N"), 0.0)
    assert coverage(result(checks=(derived,))) == "all N"


def test_how_decided() -> None:
    assert how_decided(result()) == "PROVED  statement\nNUMERIC  second"
    beside = CheckResult("larger N", None, Outcome(Verdict.OPEN, "not tried"), 0.0)
    assert how_decided(result(checks=(*CHECKS, beside))).endswith("second\nOPEN  larger N (beside the statement)")


def test_assumptions_summary() -> None:
    assert assumptions_summary(result()) == "1 needed; OPEN: real"
    assert assumptions_summary(result(assumptions=(NEEDED, NEEDED))) == "2 needed"
    assert assumptions_summary(result(assumptions=(UNSETTLED,))) == "0 needed; OPEN: real"
    assert assumptions_summary(result(assumptions=())) == "none"


# -- the printed table ----------------------------------------------------------------------------------------------------


def test_every_verdict_has_a_style() -> None:
    assert set(STYLE) == set(Verdict) and len(set(STYLE.values())) == len(STYLE)


def test_printed_table() -> None:
    text = printed(result(), result(Verdict.PROVED, id="family.two"))
    assert "Verdicts (profile ci)" in text
    assert "2 claims: 1 PROVED, 1 EXACT; 8 of 8 planted errors caught; 1 pairs of methods OPEN in the lattice; 12 s" in text
    for cell in ("family.one", "family.two", "EXACT", "PROVED  statement", "NUMERIC  second", "230 instances", "4 of 4", "6.2"):
        assert cell in text, cell
    assert "first title" not in text and "∀x" not in text  # details only on request
    assert text.index("family.one") < text.index("family.two")


def test_the_rule_stands_where_the_labels_stand() -> None:
    text = " ".join(printed(result(), result(Verdict.NUMERIC, id="family.two"), width=10_000).split())
    assert RULE in text and f"EXACT: {MEANING[Verdict.EXACT]}" in text and f"NUMERIC: {MEANING[Verdict.NUMERIC]}" in text
    assert MEANING[Verdict.REFUTED] not in text  # only labels that occur


def test_details() -> None:
    text = printed(result(), details=True)
    for part in (
        "family.one  first title",
        "∀x",
        "level: module; horizon: any",
        "PROVED   statement (argument: theory/a/README.md#derivation)",
        "EXACT    rationals (decides statement, 2 of 2 planted errors caught, 1.0 s): rational instances",
        "NUMERIC(3e-12, cond 1.5e+06) floats (decides second, 1 of 1 planted errors caught, 2.0 s): float64",
        "measurement (beside, 1 of 1 planted errors caught, 3.0 s): beside",
        "assumes distinct: a_n ≠ a_m",
        "without it: 1/2 twice",
        "assumes real: a_n ∈ ℝ",
        "no counterexample known: tried N = 2",
    ):
        assert part in text, part


def test_what_is_refuted_is_shown_unasked() -> None:
    """With its witness, and only that claim; assumptions not as stated show theirs."""
    check = CheckResult("again", "statement", Outcome(Verdict.REFUTED, "again failed", witness="x = 1/3 fails"), 0.5)
    broken = AssumptionResult("small", "x < 1", Outcome(Verdict.OPEN, "small: not as stated", witness="drew 7"))
    wrong = result(Verdict.REFUTED, id="family.wrong", title="a wrong title", checks=(check,), assumptions=(broken,))
    text = printed(result(), wrong)
    assert "witness: x = 1/3 fails" in text and "a wrong title" in text and "first title" not in text
    assert "small: not as stated" in text and "drew 7" in text
    assert "2 claims: 1 EXACT, 1 REFUTED" in text
    assert "x = 1/3" not in printed(result())
    bug = CheckResult("again", "statement", Outcome(Verdict.ERROR, "again: internal error", witness="KeyError at a.py:3: 7"), 0.5)
    assert "KeyError at a.py:3: 7" in printed(result(Verdict.ERROR, checks=(bug,)))


def test_square_brackets_are_mathematics() -> None:
    """Rich would read [h, x] or [/b] as markup, drop the first and stop at the second."""
    names = ("state [h, x]", "unbalanced [/b] and [bold]")
    checks = tuple(CheckResult(n, "statement", replace(EXACT, sizes=f"sizes of {n}"), 0.0) for n in names)
    stated = result(title="dt in [a, b]", statement="h in [/i]", checks=checks, assumptions=(replace(UNSETTLED, name="[red]"),))
    text = printed(stated, details=True, width=400)
    for part in (*names, *(f"sizes of {n}" for n in names), "dt in [a, b]", "h in [/i]", "OPEN: [red]"):
        assert part in text, part


def test_colours_only_on_terminals() -> None:
    stream = io.StringIO()
    print_report(report(result()), Console(file=stream, width=120, force_terminal=True, color_system="standard"))
    assert "\x1b[32m" in stream.getvalue() and "\x1b[" not in printed(result())


# -- markdown -------------------------------------------------------------------------------------------------------------


def rows(text: str) -> list[list[str]]:
    """Cells of a Markdown table as a renderer splits them: at bars that are not escaped."""
    return [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in text.splitlines()]


def test_markdown_table() -> None:
    beside = CheckResult("larger N", None, Outcome(Verdict.OPEN, "not tried"), 0.0)
    text = markdown_table(
        payload(
            result(),
            result(Verdict.PROVED, id="family.two", title="second", assumptions=(NEEDED,)),
            result(id="family.three", title="third", assumptions=(), checks=(*CHECKS, beside)),
        )
    )
    assert rows(text) == [
        ["claim", "verdict", "statement in one line", "assumptions shown needed", "planted errors caught"],
        ["---"] * 5,
        ["`family.one`", "EXACT", "first title", "1 of 2 (1 OPEN)", "4 of 4"],
        ["`family.two`", "PROVED", "second", "1 of 1", "4 of 4"],
        ["`family.three`", "EXACT", "third (OPEN beside it: larger N)", "none", "4 of 4"],
    ]
    assert text.endswith("|\n") and markdown_table(payload()).count("\n") == 2


@given(st.text(st.sampled_from("ab|\\[]`\n λ"), max_size=12))
def test_titles_never_break_the_table(title: str) -> None:
    """Bars such as |λ| < 1 are escaped and line breaks become spaces: every row keeps its five cells."""
    found = rows(markdown_table(payload(result(title="t" + title.replace("\\", "")), result(id="family.two"))))
    assert len(found) == 4 and all(len(cells) == 5 for cells in found)
    assert found[2][2].replace("\\|", "|").split() == ("t" + title.replace("\\", "")).split()


@pytest.mark.parametrize(
    "broken", [{}, [], "text", 3, None, {"claims": [{}]}, {"claims": [3]}, {"claims": 3}, {"claims": [{"id": "x"}]}]
)
def test_json_that_is_no_report(broken: Any) -> None:
    with pytest.raises(InvalidInput, match="not a verdict report"):
        markdown_table(broken)


# -- the README command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    verdicts, readme = tmp_path / "verdicts.json", tmp_path / "README.md"
    verdicts.write_text(json.dumps(payload(result())), encoding="utf-8")
    begin, end = cli.README_MARKS
    readme.write_text(f"before λ\n{begin}\nstale\n{end}\nafter\n", encoding="utf-8")
    return verdicts, readme


def run(verdicts: Path, readme: Path, *more: str) -> int:
    return cli.main(["readme", "--verdicts", str(verdicts), "--readme", str(readme), *more])


def test_the_readme_is_updated_between_its_marks(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    verdicts, readme = files
    assert run(*files, "--check") == 1 and "stale" in " ".join(capsys.readouterr().out.split())
    assert "stale" in readme.read_text(encoding="utf-8")  # --check changes nothing
    assert run(*files) == 0 and run(*files, "--check") == 0 and "up to date" in capsys.readouterr().out
    text = readme.read_text(encoding="utf-8")
    begin, end = cli.README_MARKS
    assert text == f"before λ\n{begin}\n{markdown_table(json.loads(verdicts.read_text()))}{end}\nafter\n"
    verdicts.write_text(json.dumps(payload(result(Verdict.PROVED))), encoding="utf-8")
    assert run(*files, "--check") == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no readable JSON"),
        ("[]", "is not a verdict report"),
        ('{"claims": [3]}', "is not a verdict report"),
        ("\udcff", "is no UTF-8 text"),
        ("", "is no readable JSON"),
    ],
)
def test_the_readme_survives_corrupt_verdicts(
    files: tuple[Path, Path], content: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    verdicts, readme = files
    before = readme.read_bytes()
    verdicts.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert run(*files) == 2 and readme.read_bytes() == before
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_a_readme_without_marks(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    files[1].write_text("nothing here", encoding="utf-8")
    assert run(*files) == 2 and "lacks the marks" in " ".join(capsys.readouterr().err.split())
    assert files[1].read_text() == "nothing here"
