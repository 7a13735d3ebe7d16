"""Verdicts: what each says, how a part's follows from its checks, and a claim's from its parts. Stated here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """How a statement was decided, strongest first; OPEN, REFUTED and ERROR stand apart."""

    FORMAL = "FORMAL"
    PROVED = "PROVED"
    EXACT = "EXACT"
    NUMERIC = "NUMERIC"
    OPEN = "OPEN"
    REFUTED = "REFUTED"
    ERROR = "ERROR"


MEANING: Mapping[Verdict, str] = {
    Verdict.FORMAL: "named theorems, checked by Rocq's kernel without axioms, cover the statement for all sizes",
    Verdict.PROVED: "a complete argument for all sizes is written on the claim's page, and no exact instance that could refute "
    "the statement did",
    Verdict.EXACT: "exact arithmetic, rational or with symbols, on the sizes named, without a failure; no argument for all sizes",
    Verdict.NUMERIC: "floating point or measurement within a stated error budget",
    Verdict.OPEN: "not decided",
    Verdict.REFUTED: "false, with a witness",
    Verdict.ERROR: "the code broke or a check cannot fail: nothing is decided",
}
"""What each verdict means, in words for tables and reports."""

RULE = (
    "A check ends as EXACT, NUMERIC or OPEN and must refute each of its planted errors. A part of a claim has the verdict of its "
    "weakest deciding check; if that is EXACT, the part is PROVED where its argument for all sizes is written, and FORMAL where "
    "Rocq has checked it. A claim has the verdict of its weakest part. Tables and measurements stand beside the parts and decide "
    "nothing. One refutation anywhere makes a claim REFUTED; one internal error, or a planted error that passes, makes it ERROR."
)
"""How the verdicts combine, in words for tables and reports."""

OF_A_CHECK = (Verdict.EXACT, Verdict.NUMERIC, Verdict.OPEN)
"""What a check may find: a sampled check is never PROVED, and a refutation is raised."""

_WEAKEST_FIRST = (Verdict.OPEN, Verdict.NUMERIC, Verdict.EXACT, Verdict.PROVED, Verdict.FORMAL)


@dataclass(frozen=True)
class Outcome:
    """What one check found.

    Attributes
    ----------
    verdict, how:
        The verdict and one line that says how it was reached.
    sizes, instances:
        Sizes covered (e.g. ``"N ≤ 6, M ≤ 8"``) and the number of instances or symbolic identities.
    tolerance, condition:
        Error budget and condition number of a float route.
    witness:
        The refuting instance, for REFUTED; what broke, for ERROR.
    data:
        Numbers worth keeping (JSON types only): tables over initialisations, norms, ranks.
    """

    verdict: Verdict
    how: str
    sizes: str = ""
    instances: int = 0
    tolerance: float | None = None
    condition: float | None = None
    witness: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


def of_part(checks: Sequence[Verdict], *, argued: bool, formal: bool) -> Verdict:
    """A part's verdict from its deciding checks, given whether its argument is written and whether Rocq has checked it.

    Raises ValueError where no check decides it.
    """
    if not checks:
        raise ValueError("no check that decides the part")
    alarm = _alarm(checks)
    if alarm is not None:
        return alarm
    weakest = min(checks, key=_WEAKEST_FIRST.index)
    if weakest is not Verdict.EXACT:
        return weakest
    return Verdict.FORMAL if formal else Verdict.PROVED if argued else Verdict.EXACT


def of_claim(parts: Sequence[Verdict], beside: Iterable[Verdict] = ()) -> Verdict:
    """A claim's verdict: its weakest part's, unless anything (``beside``: supporting checks, assumptions) refutes or broke.

    Raises ValueError for no parts.
    """
    if not parts:
        raise ValueError("a claim needs at least one part")
    alarm = _alarm([*parts, *beside])
    return min(parts, key=_WEAKEST_FIRST.index) if alarm is None else alarm


def _alarm(verdicts: Sequence[Verdict]) -> Verdict | None:
    return next((v for v in (Verdict.REFUTED, Verdict.ERROR) if v in verdicts), None)
