"""How far the experiments' numbers can be trusted: simulated coverage, repeated runs, and old runs under the later rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from theory.core.errors import InvalidInput

from ..sources import EXPERIMENTS, read_json
from .comparisons import chance

COVERAGE = Path("empirics/study/coverage.json")
REPLICATION = "replication.json"
"""Name of the report on repeated runs, in an experiment's folder."""
FIRST = Path("empirics/experiments/first_editions.json")
COMMAND = f"python -m empirics coverage --out {COVERAGE}"


def coverage_lines(root: Path) -> Iterator[str]:
    """The coverage of the intervals as Markdown; InvalidInput for a file that is none."""
    path = root / COVERAGE
    if not path.is_file():
        yield f"**not yet run**; `{COMMAND}`."
        return
    found = read_json(path)
    try:
        rows = [(row["setting"], row["analysis"], int(row["experiments"]), float(row["coverage"])) for row in found["table"]]
        confidence = float(found["confidence"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"{COVERAGE} is not what {COMMAND} writes ({error!r})") from error
    said = f"Share of simulated experiments whose {100 * confidence:g} % interval holds the true value"
    yield f"{said}; `python -m empirics coverage`."
    yield ""
    yield "| setting | analysis | experiments | coverage |"
    yield "| --- | --- | --- | --- |"
    yield from (f"| {setting} | {analysis} | {count:,} | {100 * share:.1f} % |" for setting, analysis, count, share in rows)


def first_editions_lines(root: Path) -> Iterator[str]:
    """The first editions under the later rules as Markdown; InvalidInput for a file that is none."""
    again = f"python -m empirics rejudge --out {FIRST}"
    if not (root / FIRST).is_file():
        yield f"**not yet run**; `{again}`."
        return
    try:
        rows = [_rejudged(row) for row in read_json(root / FIRST)["table"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"{FIRST} is not what {again} writes ({error!r})") from error
    yield "The same runs under the rules of [decision 7](decisions/0007-protocol-of-the-base-benchmark.md): Holm's adjustment"
    yield "over an experiment's comparisons, level within a point or a ratio of 1.1, nothing where a side stands at the end of"
    yield "its grid. The second editions, `vision_retuned` and `s4_retuned`, are tuned on three seeds up to interior rates"
    yield "([decision 9](decisions/0009-protocols-of-later-experiments.md))."
    yield ""
    yield "| experiment | comparison | 95 % interval | Holm p | verdict | by its numbers alone | at the grid's edge |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _rejudged(row: dict[str, Any]) -> list[str]:
    form = ".2f" if "/" in row["comparison"] else "+.1f"
    ends = "" if row["low"] is None else f" [{row['low']:{form}}, {row['high']:{form}}]"
    p = "none" if row["adjusted"] is None else chance(row["adjusted"])
    numbers, edges = f"{row['estimate']:{form}}{ends}", ", ".join(row["at_edge"]) or "none"
    return [f"`{row['experiment']}`", row["comparison"], numbers, p, row["verdict"], row["by_numbers"], edges]


def replication(name: str, root: Path) -> str:
    """What an experiment's repeated runs say, in a sentence; empty where none are filed.

    Raises
    ------
    InvalidInput
        The report is none.
    """
    path = root / EXPERIMENTS / name / REPLICATION
    if not path.is_file():
        return ""
    found = read_json(path)
    try:
        again = " and ".join(found["again"]["devices"])
        repeated, drawn, of = (int(found[key]) for key in ("repeated", "drawn", "of"))
        done = f"Run again on {again}: {repeated} of {drawn} runs that were drawn from {of}"
        if found["mean"] is None:
            return f"{done}."
        bounds = "" if found["low"] is None else f" [{found['low']:+.2f}, {found['high']:+.2f}]"
        return (
            f"{done}; {100 * found['within']:.0f} % within {found['bound']:g} point, mean difference {found['mean']:+.2f}"
            f"{bounds}, largest {found['largest']:.2f}."
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"{path.name} of {name} is not what python -m empirics replicate writes ({error!r})") from error
