"""Theory's verdicts as they were written: claim id to verdict, from a report of ``python -m theory --out FILE``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import theory
from theory.core.files import read_json

from ..errors import InvalidInput

SHIPPED = Path(theory.__file__).parent / "verdicts.json"
"""The report that comes with the package."""


def read_verdicts(report: Path, wanted: Iterable[str]) -> dict[str, str]:
    """The verdicts of the wanted claims.

    Raises
    ------
    InvalidInput
        The file is missing, is no such report, or does not hold a claim that is wanted.
    """
    remedy = f"make one: python -m theory --out {report}"
    try:
        decided = {claim["id"]: claim["verdict"] for claim in read_json(report, InvalidInput, remedy)["claims"]}
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"{report} is no report of theory ({error}); {remedy}") from error
    if missing := sorted(set(wanted) - decided.keys()):
        raise InvalidInput(f"{report} does not hold {', '.join(missing)}; make it anew: python -m theory --out {report}")
    return {claim: decided[claim] for claim in wanted}
