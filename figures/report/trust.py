"""What says how far the experiments' numbers can be trusted: the simulated coverage of their intervals, and repeated runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from theory.core.errors import InvalidInput

from ..sources import EXPERIMENTS, read_json

COVERAGE = Path("empirics/study/coverage.json")
REPLICATION = "replication.json"
"""Name of the report on repeated runs, in an experiment's folder."""
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
