"""What a verification found: checks with their planted errors, parts, assumptions, claims and the whole report, as JSON too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..core.shown import Shown
from .claim import Claim
from .sampling import Profile
from .verdict import Outcome, Verdict

SCHEMA = 2

WORDS = ("id", "title", "statement", "level", "horizon", "source", "readme", "not_claimed")
"""What a claim says, field by field."""


@dataclass(frozen=True)
class CheckResult:
    """One check after its run.

    Attributes
    ----------
    name, part, outcome:
        The check's name, the part it helps to decide (``None``: beside the parts) and what it found.
    seconds:
        Wall time, planted errors included.
    planted, escaped:
        Names of its planted errors, and for each that it did not refute, why. They run only where the check itself passes.
    """

    name: str
    part: str | None
    outcome: Outcome
    seconds: float
    planted: tuple[str, ...] = ()
    escaped: tuple[str, ...] = ()

    @property
    def caught(self) -> int:
        """How many of its planted errors it refuted."""
        return len(self.planted) - len(self.escaped)


@dataclass(frozen=True)
class PartResult:
    """One part of a statement: its verdict, the anchor of its argument, the theorems that cover it."""

    name: str
    verdict: Verdict
    argument: str = ""
    theorems: tuple[str, ...] = ()


@dataclass(frozen=True)
class AssumptionResult:
    """One assumption after examination: REFUTED means that the conclusion fails without it (so it is needed)."""

    name: str
    statement: str
    outcome: Outcome


@dataclass(frozen=True)
class ClaimResult:
    """One row of the verdict table: the claim, its verdict (``theory.verification.verdict``) and what led to it.

    Attributes
    ----------
    seconds:
        Wall time of the whole claim in its process.
    """

    id: str
    title: str
    statement: str
    level: str
    horizon: str
    source: str
    readme: str
    not_claimed: str
    verdict: Verdict
    parts: tuple[PartResult, ...]
    checks: tuple[CheckResult, ...]
    assumptions: tuple[AssumptionResult, ...]
    seconds: float

    @classmethod
    def of(
        cls,
        claim: Claim,
        verdict: Verdict,
        parts: Sequence[PartResult],
        checks: Sequence[CheckResult],
        assumptions: Sequence[AssumptionResult],
        seconds: float,
    ) -> ClaimResult:
        """The result for a claim, whose words it copies: a claim itself holds functions and cannot leave its process."""
        found = (verdict, tuple(parts), tuple(checks), tuple(assumptions), seconds)
        return cls(
            claim.id,
            claim.title,
            claim.statement,
            claim.level,
            claim.horizon,
            claim.source,
            claim.readme,
            claim.not_claimed,
            *found,
        )

    @property
    def how(self) -> str:
        """How the claim was decided, in one line: its deciding checks."""
        return "; ".join(f"{c.outcome.verdict}: {c.outcome.how}" for c in self.checks if c.part is not None)

    @property
    def ok(self) -> bool:
        """Nothing refuted, no internal error, every planted error caught, and every assumption needed as it says."""
        return self.verdict not in (Verdict.REFUTED, Verdict.ERROR)

    @property
    def planted(self) -> int:
        """Planted errors of all its checks."""
        return sum(len(c.planted) for c in self.checks)

    @property
    def caught(self) -> int:
        """Planted errors that were refuted."""
        return sum(c.caught for c in self.checks)


@dataclass(frozen=True)
class Report(Shown):
    """Everything a verification found, ready for JSON.

    Attributes
    ----------
    open_pairs:
        Class of systems → pairs of methods of which the lattice knows neither containment nor exclusion.
    """

    results: tuple[ClaimResult, ...]
    profile: Profile
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)
    open_pairs: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def __repr__(self) -> str:
        verdicts = [str(r.verdict) for r in self.results]
        counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
        noun = "claim" if len(verdicts) == 1 else "claims"
        return f"Report({len(verdicts)} {noun}: {counts}; {self.profile.name} profile, {self.seconds:.0f} s)"

    @property
    def ok(self) -> bool:
        """No claim refuted and none broken."""
        return all(r.ok for r in self.results)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON types; without timings, which say nothing about the claims."""
        return {
            "schema": SCHEMA,
            "profile": asdict(self.profile),
            "versions": self.versions,
            "open_pairs": {system: [list(pair) for pair in pairs] for system, pairs in self.open_pairs.items()},
            "claims": [_claim_json(r) for r in self.results],
        }


HELD_DIGITS = 10
"""Significant digits of floats in a report. The rest is roundoff, which differs from one BLAS kernel to the next."""


def _held(value: Any) -> Any:
    """The same JSON value, floats rounded to :data:`HELD_DIGITS` digits."""
    if isinstance(value, dict):
        return {key: _held(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [_held(x) for x in value]
    return float(f"{value:.{HELD_DIGITS - 1}e}") if isinstance(value, float) else value


def _outcome_json(o: Outcome) -> dict[str, Any]:
    out: dict[str, Any] = {"verdict": str(o.verdict), "how": o.how, "instances": o.instances}
    for key in ("sizes", "tolerance", "condition", "witness", "data"):
        value = getattr(o, key)
        if value not in (None, "", {}):
            out[key] = _held(value)
    return out


def _check_json(c: CheckResult) -> dict[str, Any]:
    planted = {"errors": list(c.planted), "caught": c.caught}
    return {"name": c.name, "part": c.part} | _outcome_json(c.outcome) | {"planted": planted}


def _part_json(p: PartResult, page: str, checks: Sequence[CheckResult]) -> dict[str, Any]:
    return {
        "name": p.name,
        "verdict": str(p.verdict),
        "argument": f"{page}#{p.argument}" if p.argument else "",
        "theorems": list(p.theorems),
        "checks": [c.name for c in checks if c.part == p.name],
    }


def _claim_json(r: ClaimResult) -> dict[str, Any]:
    return {key: getattr(r, key) for key in WORDS} | {
        "verdict": str(r.verdict),
        "parts": [_part_json(p, r.readme, r.checks) for p in r.parts],
        "checks": [_check_json(c) for c in r.checks],
        "assumptions": [{"name": a.name, "statement": a.statement} | _outcome_json(a.outcome) for a in r.assumptions],
    }
