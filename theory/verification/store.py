"""Reports on disk: written atomically, and only where what they say has changed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..core import files
from ..core.errors import InvalidInput
from .results import Report
from .verdict import Verdict

ROUNDOFF = 1e-9
"""Two measured numbers below this are both roundoff, which differs between processors."""

SAME = 1e-3
"""Relative difference up to which two measured numbers say the same."""

_MEASURED = re.compile(r"\d+\.\d+(?:e[+-]?\d+)?|\d+e[+-]?\d+")
"""A number with decimals or an exponent, as measurements are written; counts have neither."""


def write_report(report: Report, path: Path) -> bool:
    """Write a report as JSON, atomically, unless the file says the same already; whether it was written.

    The same: every verdict, text, count and exact number, and measured numbers up to roundoff. Versions and commit of a run
    that found nothing new are not worth a change, so a tree in which nothing changed stays clean.

    Raises InvalidInput for a path that is a folder or lies in none, and for outcomes whose data is not JSON.
    """
    payload = report.to_json()
    for claim in payload["claims"]:
        try:
            json.dumps(claim, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"the outcome of {claim['id']} cannot be written as JSON: {error}") from error
    if _says_the_same(path, payload):
        return False
    write_text(files.json_text(payload), path)
    return True


def _says_the_same(path: Path, payload: dict[str, Any]) -> bool:
    try:
        stored = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    new = json.loads(json.dumps(payload))  # tuples as lists
    return isinstance(stored, dict) and same_findings({**stored, "versions": None}, {**new, "versions": None})


def same_findings(old: Any, new: Any, *, measured: bool = False) -> bool:
    """Whether two pieces of reports say the same: measurements up to roundoff, everything else exactly."""
    if isinstance(old, dict) and isinstance(new, dict):
        rough = measured or ("how" in new and new["verdict"] == Verdict.NUMERIC) or ("part" in new and new["part"] is None)
        return old.keys() == new.keys() and all(same_findings(old[k], new[k], measured=rough) for k in new)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(same_findings(o, n, measured=measured) for o, n in zip(old, new, strict=True))
    if measured and isinstance(old, str) and isinstance(new, str):
        numbers = [[float(x) for x in _MEASURED.findall(text)] for text in (old, new)]
        words = [_MEASURED.sub("#", text) for text in (old, new)]
        return words[0] == words[1] and all(_same_number(o, n) for o, n in zip(*numbers, strict=True))
    if measured and isinstance(old, float) and isinstance(new, float):
        return _same_number(old, new)
    return type(old) is type(new) and bool(old == new)


def _same_number(old: float, new: float) -> bool:
    size = max(abs(old), abs(new))
    return size < ROUNDOFF or abs(old - new) <= SAME * size


def write_text(text: str, path: Path) -> None:
    """Replace a file's text in one step; InvalidInput for a path that is a folder or lies in none."""
    path = Path(path)
    if not path.parent.is_dir():
        raise InvalidInput(f"cannot write {path}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise InvalidInput(f"cannot write {path}: it is a folder; name a file in it")
    files.write_text(path, text)
