"""What was reproduced, what was not, and why: one line for each comparison of an experiment, from those of its summary.

A summary's ``comparisons`` are records of one form (``empirics.study.results.Comparison`` writes them): kind, name, estimate,
interval, the value of no difference, the side that was predicted, and a verdict. The reason is always the interval: it lies on
the side that was predicted, on the other one, or holds the value of no difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from theory.core.errors import InvalidInput

OUTCOMES = REPRODUCED, NOT, UNDECIDED = "reproduced", "not reproduced", "undecided"
"""What a comparison may come out as."""

KINDS = DIFFERENCE, RATIO, GAIN = "difference", "ratio", "gain"


@dataclass(frozen=True)
class Line:
    """One comparison: its verdict, and the numbers that decided it."""

    verdict: str
    text: str


@dataclass(frozen=True)
class Numbers:
    """An estimate with its interval, ``None`` where there is none, over so many pairs, on some tasks."""

    estimate: float
    low: float | None
    high: float | None
    pairs: int
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """A record of a summary's ``comparisons``; ``null`` is the value of no difference, ``below`` the predicted side."""

    kind: str
    name: str
    numbers: Numbers
    null: float
    below: bool
    verdict: str
    claim: str
    statement: str
    claim_verdict: str
    control: bool
    note: str
    learned: Numbers | None


def comparisons(summary: Mapping[str, Any]) -> list[Line]:
    """The comparisons of a summary, in their order; none for an experiment that compares no methods.

    Raises
    ------
    InvalidInput
        One lacks an entry, or holds something else than its form says.
    """
    records = read(summary)
    lines: list[Line] = []
    for claim, run in groupby((c for c in records if c.kind != GAIN), key=lambda c: (c.claim, c.statement, c.claim_verdict)):
        group = list(run)
        lines += [_claim(*claim, group)] if claim[0] else [_single(c) for c in group]
    return [*lines, *_against_chance(c for c in records if c.kind == GAIN)]


def read(summary: Mapping[str, Any]) -> list[Comparison]:
    """The records of a summary, with their types checked; InvalidInput for what is none."""
    found = summary.get("comparisons", [])
    if not isinstance(found, list):
        raise InvalidInput(f"the comparisons of {summary.get('experiment')} are no list; collect its results again")
    return [_record(entry, f"comparison {place} of {summary.get('experiment')}") for place, entry in enumerate(found, 1)]


def _record(entry: Any, where: str) -> Comparison:
    try:
        return Comparison(
            kind=_word(entry["kind"], KINDS),
            name=str(entry["name"]),
            numbers=_numbers(entry),
            null=_number(entry["null"]),
            below=entry["predicted"] == "below",
            verdict=_word(entry["verdict"], OUTCOMES),
            claim=str(entry["claim"]),
            statement=str(entry["statement"]),
            claim_verdict=_word(entry["claim_verdict"], ("", *OUTCOMES)),
            control=bool(entry["control"]),
            note=str(entry["note"]),
            learned=None if entry["learned"] is None else _numbers(entry["learned"]),
        )
    except KeyError as error:
        raise InvalidInput(f"{where} lacks {error}; collect its results again") from error
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{where} is none: {error}; collect its results again") from error


def _numbers(entry: Any) -> Numbers:
    low, high = (None if entry[key] is None else _number(entry[key]) for key in ("low", "high"))
    return Numbers(_number(entry["estimate"]), low, high, int(_number(entry["pairs"])), tuple(map(str, entry.get("tasks", ()))))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} stands where a number should")
    return value


def _word(value: Any, words: Sequence[str]) -> str:
    if value not in words:
        raise ValueError(f"{value!r} is none of {', '.join(word for word in words if word)}")
    return str(value)


def side(low: float | None, high: float | None, none: float, below: bool = False) -> str:
    """The verdict of an interval against the value of no difference; ``below``: the prediction lies there."""
    if low is None or high is None:
        return UNDECIDED
    if high < none:
        return REPRODUCED if below else NOT
    return (NOT if below else REPRODUCED) if low > none else UNDECIDED


def _why(c: Comparison) -> str:
    held = side(c.numbers.low, c.numbers.high, c.null, c.below)
    if c.note and c.verdict != held:
        return c.note
    if held == UNDECIDED:
        return f"the interval holds {c.null:g}" if c.numbers.low is not None else "no interval"
    return f"all of it {'below' if c.below == (held == REPRODUCED) else 'above'} {c.null:g}"


def _single(c: Comparison) -> Line:
    form, of, unit = (".2f", "error of ", "") if c.kind == RATIO else ("+.1f", "", " points")
    n = c.numbers
    bounds = "" if n.low is None or n.high is None else f" [{n.low:{form}}, {n.high:{form}}]"
    return Line(c.verdict, f"{of}{c.name}: {n.estimate:{form}}{unit}{bounds}, {_why(c)}")


def _claim(claim: str, statement: str, verdict: str, group: Sequence[Comparison]) -> Line:
    parts = [f"{'control ' if c.control else ''}{_pair(c)}" for c in group]
    return Line(verdict, f"{claim} {statement}: {'; '.join(parts)}")


def _pair(c: Comparison) -> str:
    note = f", {c.note}" if c.note else ""
    learned = ""
    if c.learned is not None:
        learned = f" (on the tasks that full fine-tuning learns, {', '.join(c.learned.tasks)}: {_points(c.learned)})"
    return f"{c.name} {_points(c.numbers)}{note}{learned}"


def _points(n: Numbers) -> str:
    interval = "no interval" if n.low is None else f"[{n.low:+.1f}, {n.high:+.1f}]"
    return f"{n.estimate:+.1f} points {interval} over {n.pairs} pairs"


CHANCE = {REPRODUCED: "precision above chance", NOT: "below chance", UNDECIDED: "not told from chance"}


def _against_chance(records: Iterable[Comparison]) -> Iterator[Line]:
    """Scores of a selection by their place beside chance."""
    found: dict[str, list[str]] = {place: [] for place in CHANCE.values()}
    for c in records:
        n = c.numbers
        half = "" if n.high is None else f" ± {n.high - n.estimate:.2f}"
        found[CHANCE[side(n.low, n.high, c.null)]].append(f"{c.name} {n.estimate:+.2f}{half}")
    return (Line(place, ", ".join(scores)) for place, scores in found.items() if scores)
