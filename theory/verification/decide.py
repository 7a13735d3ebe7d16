"""Decide claims: run their checks with their planted errors, examine their assumptions, in parallel, and collect the verdicts."""

from __future__ import annotations

import os
import platform
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from ..core import provenance
from ..core.brief import outline
from ..core.errors import InvalidInput, UnknownName
from ..core.given import entries_of
from .claim import Check, Claim
from .formal import theorems
from .refutation import Refuted
from .registry import family_claims, get_claim
from .results import AssumptionResult, CheckResult, ClaimResult, PartResult, Report
from .sampling import PROFILES, Profile
from .verdict import OF_A_CHECK, Outcome, Verdict, of_claim, of_part

VERSIONED = ("ssmproof", "numpy", "scipy", "sympy", "mpmath", "python-flint", "hypothesis")


def decide(claim: Claim, profile: Profile) -> ClaimResult:
    """Run one claim's checks with their planted errors, and examine its assumptions.

    Where a check raises Refuted, the verdict is REFUTED, with the message (which carries the falsifying instance) as witness.
    Any other exception is a bug of the code and says nothing about the statement: the claim's verdict is ERROR. So it is where
    a check lets one of its planted errors pass, or has none.
    """
    start = time.perf_counter()
    checks = [run_check(check, profile) for check in claim.checks]
    beside = [c.outcome.verdict for c in checks if c.part is None]
    assumptions: list[AssumptionResult] = []
    for assumption in claim.assumptions:
        try:
            outcome = assumption.examine(profile)
        except Refuted as error:
            outcome = Outcome(Verdict.OPEN, f"{assumption.name}: not as stated", witness=_message(error))
            beside.append(Verdict.REFUTED)
        except Exception as error:
            outcome = _internal(assumption.name, error)
            beside.append(Verdict.ERROR)
        assumptions.append(AssumptionResult(assumption.name, assumption.statement, outcome))
    parts = []
    for part in claim.all_parts():
        covering = theorems(claim.id, part.name)
        found = [c.outcome.verdict for c in checks if c.part == part.name]
        verdict = of_part(found, argued=bool(part.argument), formal=bool(covering))
        parts.append(PartResult(part.name, verdict, part.argument, covering))
    verdict = of_claim([part.verdict for part in parts], beside)
    return ClaimResult.of(claim, verdict, tuple(parts), tuple(checks), tuple(assumptions), time.perf_counter() - start)


def run_check(check: Check, profile: Profile) -> CheckResult:
    """Run one check; where it refutes nothing, run its planted errors, each of which it must refute."""
    start = time.perf_counter()
    escaped: list[str] = []
    try:
        outcome = check.run(profile)
        if outcome.verdict not in OF_A_CHECK:
            raise ValueError(f"a check finds {', '.join(OF_A_CHECK)}, not {outcome.verdict}")
    except Refuted as error:
        outcome = Outcome(Verdict.REFUTED, f"{check.name} failed", witness=_message(error))
    except Exception as error:
        outcome = _internal(check.name, error)
    else:
        escaped = [why for planted in check.planted if (why := planted.escapes(check.run)) is not None]
        if escaped or not check.planted:
            witness = "; ".join(escaped) or "it has no planted error that it must refute"
            outcome = Outcome(Verdict.ERROR, f"{check.name}: nothing shows that it can fail", witness=witness)
    names = tuple(planted.name for planted in check.planted)
    return CheckResult(check.name, check.part, outcome, time.perf_counter() - start, names, tuple(escaped))


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
        Worker processes (default: :func:`cores`). 1 runs in this process.
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
    elif not isinstance(profile, Profile):
        raise InvalidInput(f"profile = {outline(profile)}: choose {', '.join(PROFILES)}, or give a Profile")
    if claims is None:
        chosen = list(family_claims(families))
    else:
        several = entries_of(claims)
        chosen = list({c.id: c for c in map(get_claim, (claims,) if several is None else several)}.values())
    if not chosen:
        raise InvalidInput("no claims selected: the list of claims or families is empty")
    jobs = min(len(chosen), jobs or cores())
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
    return Report(ordered, profile, time.perf_counter() - start, versions(), _open_pairs())


def cores() -> int:
    """Cores that this process may use, which a container or ``taskset`` may have made fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _open_pairs() -> dict[str, list[tuple[str, str]]]:
    from ..relations.lattice import Lattice  # its facts quote the claims that this package decides

    found = Lattice()
    return {system: found.open_pairs(system) for system in found.systems}


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
    return ClaimResult.of(claim, Verdict.ERROR, (), (CheckResult("worker", "worker", outcome, 0.0),), (), 0.0)


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
