"""From results to a verdict and a summary; nothing is run here."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, EmpiricsError, InvalidInput
from . import config
from .config import ExperimentFile
from .results import Comparison, Judgement, Pending, Result

NOTHING = "no run is finished"
"""What is measured where there is nothing to judge."""

AT_EDGE = "the rate of {} stands at the end of its grid"
"""Note of a comparison whose side might do better at a rate that was not tried."""


def limit(threshold: Mapping[str, float], name: str) -> float:
    """A threshold by name; InvalidInput where the file gives none."""
    if name not in threshold:
        raise InvalidInput(f"[threshold] lacks {name!r}; it has {', '.join(threshold) or 'nothing'}")
    return threshold[name]


def require_thresholds(file: ExperimentFile) -> None:
    """Raise InvalidInput where the file lacks a threshold that its judgement needs: known before the runs, not after them."""
    for name in getattr(config.experiment_module(file), "THRESHOLDS", ()):
        limit(file.threshold, name)


def judge(file: ExperimentFile, results: Sequence[Result]) -> Judgement:
    """The experiment's own judgement on finished runs, against the file's thresholds.

    Raises
    ------
    CheckpointError
        The results lack what the judgement needs, or hold something else in its place: ``null`` (a number that was not finite),
        text, or numbers that no arithmetic holds.
    """
    try:
        judgement = config.experiment_module(file).judge(results, file.threshold)
    except EmpiricsError:
        raise
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error}, {Path(last.filename).name}:{last.lineno}"
        raise CheckpointError(
            f"the results of {file.id} do not fit its judgement ({reason}); they may be of another version, or hold numbers "
            f"that are not finite: look at the files in runs/{file.id} and delete what is to be repeated; or judge() is wrong"
        ) from error
    assert isinstance(judgement, Judgement)
    return judgement


def held_back(judgement: Judgement, at_edge: Collection[str]) -> Judgement:
    """The judgement with every comparison undecided that has a side at the end of its grid: tried further, it might do better.

    What rests on such a comparison, its claim and the whole, is undecided with it, unless another comparison refutes the whole.
    """
    held = [_held(comparison, at_edge) for comparison in judgement.comparisons]
    touched = [new for new, old in zip(held, judgement.comparisons, strict=True) if new != old and not new.control]
    claims = {comparison.claim for comparison in touched if comparison.claim}
    held = [c.model_copy(update={"claim_verdict": "undecided"}) if c.claim in claims else c for c in held]
    verdict = judgement.verdict
    if touched:
        refuted = any(c.verdict == "not reproduced" for c in held if not c.control)
        verdict = "not reproduced" if refuted else "undecided"
    declared = any(c.statements for c in held)
    measured = in_short(held, judgement.pending) if declared else judgement.measured
    return judgement.model_copy(update={"comparisons": held, "verdict": verdict, "measured": measured})


def _held(comparison: Comparison, at_edge: Collection[str]) -> Comparison:
    sides = [side for side in (comparison.better, comparison.worse) if side in at_edge]
    if not sides:
        return comparison
    note = "; ".join([*([comparison.note] if comparison.note else []), *map(AT_EDGE.format, sides)])
    statements = [s.model_copy(update={"verdict": "undecided", "needed": None, "shows": ""}) for s in comparison.statements]
    return comparison.model_copy(update={"verdict": "undecided", "note": note, "statements": statements})


def in_short(comparisons: Sequence[Comparison], pending: Sequence[Pending]) -> str:
    """How many primary comparisons came out as what, and which."""
    primary = [c for c in comparisons if not c.control]
    told = []
    for verdict in ("stands", "refuted", "level", "undecided"):
        names = [c.name for c in primary if c.statements[0].verdict == verdict]
        if names:
            told.append(f"{verdict} on these tasks: {', '.join(names)}")
    if waiting := [p.name for p in pending if not p.control]:
        told.append(f"not yet run: {', '.join(waiting)}")
    return "; ".join(told)


def summary_of(
    file: ExperimentFile,
    results: Sequence[Result],
    expected: int,
    quick: bool,
    at_edge: Collection[str] = (),
    **more: Any,
) -> dict[str, Any]:
    """The summary of some results.

    ``complete`` says whether all ``expected`` runs are there; an incomplete or failed experiment is undecided.

    Parameters
    ----------
    at_edge:
        Methods whose chosen values stand at an end of their grid (:func:`held_back`).
    more:
        Further entries.
    """
    finished = [r for r in results if r.status == "finished"]
    failed = [r for r in results if r.status == "failed"]
    judgement = judge(file, finished) if finished else Judgement(verdict="undecided", measured=NOTHING)
    judgement = held_back(judgement, at_edge)
    complete = len(results) >= expected
    verdict = judgement.verdict if complete and not failed else "undecided"
    return {
        "experiment": file.id, "claim": file.claim, "question": file.question, "prediction": file.prediction,
        "threshold": file.threshold, "quick": quick, "complete": complete, "verdict": verdict,
        "measured": judgement.measured, "table": judgement.table,
        "comparisons": [comparison.model_dump() for comparison in judgement.comparisons],
        **({"pending": [pending.model_dump() for pending in judgement.pending]} if judgement.pending else {}),
        "seeds": file.seeds, "config": file.config, "scan": file.scan, **more,
        "failed": [{"seed": r.seed, "config": r.config, "reason": r.reason} for r in failed],
        "git": sorted({str(r.git) for r in results}), **origin(results),
        "seconds": sum(r.seconds for r in results),
    }  # fmt: skip


def all_failed(summary: Mapping[str, Any]) -> str | None:
    """Why every run of a summary, or of its tuning, failed; ``None`` where one has finished, or none was tried."""
    failures = [*summary["failed"], *summary.get("failed_tuning", [])]
    return str(failures[0]["reason"]) if failures and summary["measured"] == NOTHING else None


def origin(results: Sequence[Result]) -> dict[str, Any]:
    """All devices, with how many runs of each where there are several, and the versions of the device that ran most."""
    devices = Counter(r.device for r in results)
    if not devices:
        return {"versions": {}, "device": "none"}
    most, _ = devices.most_common(1)[0]
    versions = next(r.versions for r in results if r.device == most)
    one = len(devices) == 1
    return {
        "versions": dict(versions),
        "device": most if one else ", ".join(f"{name} ({count} runs)" for name, count in devices.most_common()),
    }
