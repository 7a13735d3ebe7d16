"""Decide claims: run their checks and examine their assumptions, in parallel, and collect the verdicts."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..core import files, provenance
from ..core.errors import InvalidInput, UnknownName
from ..core.shown import Shown
from .claim import PROFILES, Claim, Outcome, Profile, Verdict, combine
from .refutation import Refuted
from .registry import family_claims, get_claim

VERSIONED = ("ssmproof", "numpy", "scipy", "sympy", "mpmath", "python-flint", "hypothesis")

HELD_DIGITS = 10
"""Significant digits of floats in a report. The rest is roundoff, which differs from one BLAS kernel to the next."""


@dataclass(frozen=True)
class AssumptionResult:
    """One assumption after examination: REFUTED means that the conclusion fails without it (so it is needed)."""

    name: str
    statement: str
    outcome: Outcome


@dataclass(frozen=True)
class ClaimResult:
    """One row of the verdict table.

    Attributes
    ----------
    verdict:
        The claim's verdict (see :func:`theory.verification.claim.combine`).
    checks:
        (check name, part, outcome, seconds) in order.
    seconds:
        Wall time of the whole claim in its process.
    """

    id: str
    title: str
    statement: str
    level: str
    horizon: str
    verdict: Verdict
    checks: tuple[tuple[str, str | None, Outcome, float], ...]
    assumptions: tuple[AssumptionResult, ...]
    seconds: float

    @property
    def how(self) -> str:
        """How the claim was decided, in one line: its deciding checks."""
        return "; ".join(f"{o.verdict}: {o.how}" for _, part, o, _ in self.checks if part is not None)

    @property
    def ok(self) -> bool:
        """Nothing refuted, no internal error, and every assumption's counterexample does what it says."""
        return self.verdict not in (Verdict.REFUTED, Verdict.ERROR)


@dataclass(frozen=True)
class Report(Shown):
    """Everything a verification found, ready for JSON."""

    results: tuple[ClaimResult, ...]
    profile: Profile
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)

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
        """The report as JSON types; :func:`write_report` writes it atomically."""
        return {
            "schema": 1,
            "profile": asdict(self.profile),
            "seconds": round(self.seconds, 2),
            "versions": self.versions,
            "claims": [_claim_json(r) for r in self.results],
        }


def decide(claim: Claim, profile: Profile) -> ClaimResult:
    """Run one claim's checks and examine its assumptions.

    Where a check raises Refuted, the verdict is REFUTED, with the message (which carries the falsifying instance) as witness.
    Any other exception is a bug of the code and says nothing about the statement: the claim's verdict is ERROR.
    """
    start = time.perf_counter()
    checks: list[tuple[str, str | None, Outcome, float]] = []
    for check in claim.checks:
        t = time.perf_counter()
        try:
            outcome = check.run(profile)
        except Refuted as error:
            outcome = Outcome(Verdict.REFUTED, f"{check.name} failed", witness=_message(error))
        except Exception as error:
            outcome = _internal(check.name, error)
        checks.append((check.name, check.part, outcome, time.perf_counter() - t))
    assumptions: list[AssumptionResult] = []
    broken: list[tuple[str | None, Outcome]] = []
    for assumption in claim.assumptions:
        try:
            outcome = assumption.examine(profile)
        except Refuted as error:
            outcome = Outcome(Verdict.OPEN, f"{assumption.name}: not as stated", witness=_message(error))
            broken.append((None, Outcome(Verdict.REFUTED, outcome.how, witness=outcome.witness)))
        except Exception as error:
            outcome = _internal(assumption.name, error)
            broken.append((None, outcome))
        assumptions.append(AssumptionResult(assumption.name, assumption.statement, outcome))
    verdict = combine([(part, o) for _, part, o, _ in checks] + broken)
    return _result(claim, verdict, checks, assumptions, time.perf_counter() - start)


def _result(
    claim: Claim,
    verdict: Verdict,
    checks: Sequence[tuple[str, str | None, Outcome, float]],
    assumptions: Sequence[AssumptionResult],
    seconds: float,
) -> ClaimResult:
    return ClaimResult(
        claim.id, claim.title, claim.statement, claim.level, claim.horizon, verdict, tuple(checks), tuple(assumptions), seconds
    )


def verify(
    families: Iterable[str] | str | None = None,
    profile: str | Profile = "ci",
    *,
    claims: Iterable[str] | str | None = None,
    jobs: int | None = None,
    progress: Callable[[ClaimResult], None] | None = None,
) -> Report:
    """Decide the claims of some families (all by default) and return a :class:`Report`.

    Parameters
    ----------
    families:
        Family names, one or several; ``None`` for all.
    profile:
        ``"quick"``, ``"ci"`` or ``"long"`` (25, 200 and 10,000 instances per sampled check), or a Profile.
    claims:
        Claim ids instead of families, one or several.
    jobs:
        Worker processes (default: the number of cores). 1 runs in this process.
    progress:
        Called with each result as it comes.

    Raises
    ------
    UnknownName
        A family, claim or profile that does not exist; the nearest names are listed.
    InvalidInput
        Families and claims together, nothing selected, or fewer than one worker.
    """
    if families is not None and claims is not None:
        raise InvalidInput("give families or claims, not both")
    if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1):
        raise InvalidInput(f"jobs = {jobs!r} must be an integer of at least 1")
    if isinstance(profile, str):
        if profile not in PROFILES:
            raise UnknownName(f"no profile named {profile!r}; choose {', '.join(PROFILES)}")
        profile = PROFILES[profile]
    claims = [claims] if isinstance(claims, str) else claims
    chosen = [get_claim(c) for c in dict.fromkeys(claims)] if claims is not None else list(family_claims(families))
    if not chosen:
        raise InvalidInput("no claims selected: the list of claims or families is empty")
    jobs = min(len(chosen), jobs or os.cpu_count() or 1)
    start = time.perf_counter()
    results: dict[str, ClaimResult] = {}
    if jobs == 1:
        for claim in chosen:
            results[claim.id] = decide(claim, profile)
            if progress:
                progress(results[claim.id])
    else:
        for result in _in_workers(chosen, profile, jobs):
            results[result.id] = result
            if progress:
                progress(result)
    ordered = tuple(results[c.id] for c in chosen)
    return Report(ordered, profile, time.perf_counter() - start, versions())


def _decide_by_id(claim_id: str, profile: Profile) -> ClaimResult:
    return decide(get_claim(claim_id), profile)


def _in_workers(claims: Sequence[Claim], profile: Profile, jobs: int) -> Iterator[ClaimResult]:
    """Results as they come. A worker that dies ends its pool: what that leaves undecided is decided one claim a pool."""
    decided = set()
    for result in _pool(claims, profile, jobs):
        decided.add(result.id)
        yield result
    for claim in claims:
        if claim.id not in decided:
            alone = list(_pool([claim], profile, 1))
            yield alone[0] if alone else _lost(claim, Outcome(Verdict.ERROR, "its worker process died (out of memory?)"))


def _pool(claims: Sequence[Claim], profile: Profile, jobs: int) -> Iterator[ClaimResult]:
    """The results of those claims whose workers lived."""
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        futures = {pool.submit(_decide_by_id, claim.id, profile): claim for claim in claims}
        for future in as_completed(futures):
            try:
                yield future.result()
            except BrokenProcessPool:
                continue
            except Exception as error:  # what was found cannot be sent between processes
                yield _lost(futures[future], _internal("worker", error))


def _lost(claim: Claim, outcome: Outcome) -> ClaimResult:
    """The result of a claim that no worker brought back."""
    return _result(claim, Verdict.ERROR, [("worker", "worker", outcome, 0.0)], [], 0.0)


def _message(error: Exception) -> str:
    notes = " | ".join(getattr(error, "__notes__", []))
    text = f"{error} {notes}".strip()
    return text if len(text) <= 2000 else text[:2000] + " …"


def _internal(name: str, error: Exception) -> Outcome:
    """A bug of the code: which exception, where it was raised, and on which instance if the sampler noted one."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return Outcome(
        Verdict.ERROR, f"{name}: internal error", witness=f"{type(error).__name__}{where}: {_message(error)}".rstrip(": ")
    )


def versions() -> dict[str, str]:
    """Versions of Python and of the packages a verdict depends on, and the commit where git knows it."""
    found = provenance.versions(VERSIONED)
    return {
        "python": found["python"],
        "platform": f"{platform.system()} {platform.machine()}",
        **{package: found.get(package, "not installed") for package in VERSIONED},
        "commit": provenance.git_commit(ROOT, PARTS) or "unknown",
    }


ROOT = Path(__file__).resolve().parents[2]
PARTS = ("theory", ":!theory/verdicts.json")
"""Files that a verdict depends on, as git's path patterns."""


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


def _claim_json(r: ClaimResult) -> dict[str, Any]:
    return {
        "id": r.id,
        "title": r.title,
        "statement": r.statement,
        "level": r.level,
        "horizon": r.horizon,
        "verdict": str(r.verdict),
        "seconds": round(r.seconds, 2),
        "checks": [{"name": n, "part": p, "seconds": round(s, 2)} | _outcome_json(o) for n, p, o, s in r.checks],
        "assumptions": [{"name": a.name, "statement": a.statement} | _outcome_json(a.outcome) for a in r.assumptions],
    }


def write_report(report: Report, path: Path) -> None:
    """Write a report as JSON, atomically: a reader sees the old file or the new one, never half of it.

    Raises InvalidInput for a path that is a folder or lies in none, and for outcomes whose data is not JSON.
    """
    payload = report.to_json()
    for claim in payload["claims"]:
        try:
            json.dumps(claim, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"the outcome of {claim['id']} cannot be written as JSON: {error}") from error
    write_text(files.json_text(payload), path)


def write_text(text: str, path: Path) -> None:
    """Replace a file's text in one step; InvalidInput for a path that is a folder or lies in none."""
    path = Path(path)
    if not path.parent.is_dir():
        raise InvalidInput(f"cannot write {path}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise InvalidInput(f"cannot write {path}: it is a folder; name a file in it")
    files.write_text(path, text)


def main() -> int:  # pragma: no cover - convenience for `python -m theory.verification.decide`
    """Run everything at the default profile."""
    return 0 if verify().ok else 1


if __name__ == "__main__":  # pragma: no cover
    sys.exit(main())
