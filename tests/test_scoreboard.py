"""The scoreboard: fates follow from verdicts and intervals, each fate can be reached, and bad data are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from figures.report.comparisons import Statement
from figures.report.evidence import Comparison, find_comparison
from figures.report.scoreboard import (
    CONDITIONS,
    DATA,
    LEVEL,
    MARGIN,
    REFUTED,
    STANDS,
    UNDECIDED,
    Experiment,
    Sentence,
    Theory,
    scoreboard,
    table,
    told,
)
from figures.sources import ROOT, summary_path
from theory.core.errors import InvalidInput


def compared(low: float | None, high: float | None, *edges: str) -> Experiment:
    points = 0.0 if low is None or high is None else (low + high) / 2
    return Experiment("toy", "a - b", Comparison(points, low, high, edges))


@pytest.mark.parametrize(
    ("part", "fate"),
    [
        (compared(0.1, 2.0), STANDS),
        (compared(-2.0, -0.1), REFUTED),
        (compared(-MARGIN, MARGIN), LEVEL),
        (compared(-MARGIN, MARGIN + 0.1), UNDECIDED),
        (compared(None, None), UNDECIDED),
        (compared(0.1, 2.0, "b"), UNDECIDED),
        (compared(-2.0, -0.1, "b"), UNDECIDED),
        (Experiment("toy", "a - b", None), UNDECIDED),
        (Theory("f.s", "PROVED", "supports", ""), STANDS),
        (Theory("f.s", "FORMAL", "supports", "LTI"), CONDITIONS),
        (Theory("f.s", "PROVED", "contradicts", ""), REFUTED),
        (Theory("f.s", "EXACT", "supports", ""), UNDECIDED),
        (Theory("f.s", "EXACT", "contradicts", ""), UNDECIDED),
        (Theory("f.s", "REFUTED", "supports", ""), UNDECIDED),
    ],
)
def test_what_one_part_says(part: Theory | Experiment, fate: str):
    assert part.fate == fate


def test_a_sentence_stands_only_if_every_part_does():
    good, bad, open_ = compared(0.1, 2.0), compared(-2.0, -0.1), compared(-5.0, 5.0)
    for parts, fate in [
        ((good,), STANDS), ((good, open_), UNDECIDED), ((good, bad, open_), REFUTED), ((good, compared(-0.5, 0.5)), LEVEL),
    ]:  # fmt: skip
        assert Sentence("x", "x", "", "ours", (), parts).fate == fate
    under = Theory("f.s", "PROVED", "supports", "LTI")
    assert Sentence("x", "x", "", "ours", (under,), (good,)).fate == CONDITIONS


def decided(verdict: str, over: str = "undecided") -> Experiment:
    """A comparison that a declared protocol has judged."""
    said = [Statement(o, 1.0, 2.0, 0.01, True, v, None, "") for o, v in (("these tasks", verdict), ("tasks", over))]
    return Experiment("toy", "a - b", Comparison(1.5, 1.0, 2.0, (), tuple(said)))


@pytest.mark.parametrize("verdict", [STANDS, REFUTED, LEVEL, UNDECIDED])
def test_a_protocol_has_the_word_and_not_the_interval(verdict: str):
    part = decided(verdict)
    assert part.fate == verdict and compared(1.0, 2.0).fate == STANDS
    assert told(part) == "a - b +1.5 [+1.0, +2.0], over tasks undecided"


def test_a_protocol_decides_once_all_that_it_has_on_a_sentence_is_judged():
    first, missing = compared(-2.0, -0.1), Experiment("toy", "a - c", None)
    early = Sentence("x", "x", "", "ours", (), (first,), (decided(STANDS), missing))
    assert early.fate == REFUTED and early.waiting == (missing,) and early.parts == (first,)
    assert early.beside == early.protocol[:1]
    late = Sentence("x", "x", "", "ours", (), (first,), (decided(STANDS), decided(LEVEL)))
    assert late.fate == LEVEL and late.waiting == () and late.parts == late.protocol and late.beside == (first,)
    under = Theory("f.s", "PROVED", "supports", "LTI")
    assert Sentence("x", "x", "", "ours", (under,), (first,), (decided(STANDS),)).fate == CONDITIONS


def test_the_protocols_comparisons_are_those_it_declares():
    """Every comparison that a sentence names is one that the protocol judges, in those words."""
    page = (ROOT / "empirics/experiments/base_benchmark/verdicts.py").read_text(encoding="utf-8")
    named = {part.comparison for s in scoreboard() for part in s.protocol}
    assert named
    for name in named:
        better, worse = name.split(" - ")
        assert f'Pair("{better}", "{worse}"' in page


def test_every_sentence_has_a_row_and_quotes_are_told_from_our_words():
    sentences = scoreboard()
    assert len({s.id for s in sentences}) == len(sentences)
    rows = table(sentences).splitlines()
    assert len(rows) == len(sentences) + 2 and max(map(len, rows)) <= 200
    for sentence in sentences:
        assert sentence.source.startswith("Galim et al., arXiv" if sentence.quote else "our words")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('claim = "lora_limits.unreachable"', 'claim = "lora_limits.unreachible"', "has no verdict"),
        ('independent", bearing = "supports"', 'independent", bearing = "helps"', "not supports or contradicts"),
        ('source = "v3"', 'source = "v9"', "none of"),
        ("[[sentence]]", '[[sentence]]\nid = "x"\nsource = "ours"\nshort = "x"\n\n[[sentence]]', "no evidence"),
        ("short = ", "long = ", "cannot be made"),
    ],
)
def test_bad_data_are_refused(tmp_path: Path, old: str, new: str, told: str):
    text = DATA.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "scoreboard.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InvalidInput, match=told):
        scoreboard(data=path)


def test_what_holds_a_declared_comparison_back_is_told_in_brief(tmp_path: Path):
    """A row with both sides at an edge, and the longest sentence, stays within a line."""
    at_edge = pytest.importorskip("empirics.study.judging").AT_EDGE
    summary = json.loads((ROOT / summary_path("base_benchmark")).read_text(encoding="utf-8"))
    (record,) = (c for c in summary["comparisons"] if c["name"] == "lora_ssm - initial_state")
    record["note"] = "; ".join(
        [
            "budgets differ: 1,234 and 5,678 trained numbers",
            *(at_edge.format(side) for side in (record["better"], record["worse"])),
        ]
    )
    path = tmp_path / summary_path("base_benchmark")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(summary), encoding="utf-8")
    found = find_comparison("base_benchmark", "lora_ssm - initial_state", tmp_path)
    assert found is not None and found.edges == ("lora_ssm", "initial_state") and found.note == "budgets differ"
    assert found.text.endswith("], lora_ssm and initial_state at the grid's edge, budgets differ")
    short = max((s.short for s in scoreboard() if s.protocol), key=len)
    part = Experiment("base_benchmark", record["name"], replace(found, note=""))
    row = table([Sentence("x", short, "", "ours", (), (), (part,) * 3)]).splitlines()[-1]
    assert row.endswith("at the grid's edge and 2 more |") and len(row) <= 200


def test_a_comparison_is_found_by_name_with_its_edges():
    found = find_comparison("vision", "lora_linear - prefix", ROOT)
    assert found is not None and found.low is not None and found.high is not None
    assert found.low < found.points < found.high
    assert find_comparison("vision", "prefix - lora_linear", ROOT) is None
    assert find_comparison("no_such_experiment", "a - b", ROOT) is None
