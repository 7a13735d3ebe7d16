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

OUTCOMES = REPRODUCED, NOT, LEVEL, UNDECIDED = "reproduced", "not reproduced", "level", "undecided"
"""What a comparison may come out as."""

DECISIONS = STANDS, REFUTED = "stands", "refuted"
"""What a declared protocol says besides level and undecided."""

WITHOUT_PREDICTION = {STANDS: "above", REFUTED: "below"}
"""Words for a comparison of which no side is predicted."""

NOT_RUN = "not yet run"
"""What a comparison is whose runs are not all there."""

TOLD = (*OUTCOMES, *DECISIONS, *WITHOUT_PREDICTION.values(), NOT_RUN)
"""Everything that a line may say."""

KINDS = DIFFERENCE, RATIO, GAIN = "difference", "ratio", "gain"
FORMS = {DIFFERENCE: "+.1f", RATIO: ".2f", GAIN: "+.2f"}
"""How numbers of each kind are told."""


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
class Statement:
    """What a declared protocol says of these tasks, or of tasks at large; p is adjusted where there are several comparisons.

    ``form`` is how its numbers are told: ratios without a sign.
    """

    over: str
    low: float | None
    high: float | None
    p: float | None
    adjusted: bool
    verdict: str
    needed: int | None
    shows: str
    form: str = "+.1f"

    @property
    def text(self) -> str:
        """Interval, p, and what would decide."""
        ends = [end if end is None else f"{end:{self.form}}" for end in (self.low, self.high)]
        interval = "no interval" if None in ends else f"[{ends[0]}, {ends[1]}]"
        p = "" if self.p is None else f", {'Holm ' if self.adjusted else ''}p {chance(self.p)}"
        where = "on these tasks" if self.over == "these tasks" else "over tasks"
        of = "seeds a task" if self.over == "these tasks" else "tasks"
        said = {"difference": "a difference", "level": "that they are level"}.get(self.shows, "")
        needed = "" if self.needed is None else f" ({self.needed:,} {of} would show {said})"
        return f"{where} {interval}{p}, {self.verdict}{needed}"


def chance(p: float) -> str:
    """A p value with two digits, or below 0.001 that it is."""
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


@dataclass(frozen=True)
class Pending:
    """A comparison whose runs are not all there: how many each side has of those it needs."""

    name: str
    control: bool
    runs: tuple[tuple[str, int], ...]
    needs: int

    @property
    def text(self) -> str:
        """Which runs are there."""
        return f"{self.name}: {', '.join(f'{method} {count} of {self.needs} runs' for method, count in self.runs)}"


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
    statements: tuple[Statement, ...] = ()
    parts: tuple[Numbers, ...] = ()


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
    lines += _against_chance(c for c in records if c.kind == GAIN)
    return lines + [Line(NOT_RUN, waiting.text) for waiting in pending(summary)]


def pending(summary: Mapping[str, Any]) -> list[Pending]:
    """The comparisons of a summary that wait for runs; InvalidInput for what is none."""
    try:
        return [
            Pending(str(entry["name"]), bool(entry["control"]), tuple((str(m), int(n)) for m, n in entry["runs"].items()),
                    int(entry["needs"]))
            for entry in summary.get("pending", [])
        ]  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(
            f"what {summary.get('experiment')} says of comparisons that wait is none ({error!r}); collect its results again"
        ) from error


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
            statements=tuple(_statement(statement, entry) for statement in entry.get("statements", ())),
            parts=tuple(_numbers(part) for part in entry.get("parts", ())),
        )
    except KeyError as error:
        raise InvalidInput(f"{where} lacks {error}; collect its results again") from error
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{where} is none: {error}; collect its results again") from error


def _statement(entry: Any, of: Mapping[str, Any]) -> Statement:
    low, high, p, adjusted = (None if entry[key] is None else _number(entry[key]) for key in ("low", "high", "p", "adjusted"))
    verdict = _word(entry["verdict"], (*DECISIONS, LEVEL, UNDECIDED))
    return Statement(
        over=_word(entry["over"], ("these tasks", "tasks")),
        low=low,
        high=high,
        p=p if adjusted is None else adjusted,
        adjusted=adjusted is not None,
        verdict=verdict if of["predicted"] else WITHOUT_PREDICTION.get(verdict, verdict),
        needed=None if entry["needed"] is None else int(_number(entry["needed"])),
        shows=_word(entry["shows"], ("", "difference", "level")),
        form=FORMS[of["kind"]],
    )


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
    form, n = FORMS[c.kind], c.numbers
    of, unit = ("error of ", "") if c.kind == RATIO else ("", " points")
    if c.statements:
        note = f"; {c.note}" if c.note else ""
        beside = "beside: " if c.control else ""
        told = "; ".join(statement.text for statement in c.statements)
        return Line(c.statements[0].verdict, f"{beside}{of}{c.name}: {n.estimate:{form}}{unit}; {told}{note}")
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
