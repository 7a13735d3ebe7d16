"""Verdicts on the paper's four claims about language tasks, from runs that are paired over seeds and tasks.

A claim says that one method's test score lies above another's. For every task and seed that both have, the difference of their
main scores is taken, in points (0..100). The effect is the mean difference d; its interval is d ± t·s/√n over the n pairs, with
the standard deviation s of the pairs, which holds both the spread over seeds and that over tasks. It speaks of these tasks, not
of others. Reproduced: the whole interval lies above the threshold. Not reproduced: it lies below. Else, and where all pairs are
equal so that there is no interval, undecided.

A task that nothing can learn within the budget says little about methods and draws differences towards 0. Beside each comparison
therefore stands the same one on the tasks that full fine-tuning learns, a method that no claim is about. It does not decide, and
was added when the first three tasks had been seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...study import results as records
from ...study.results import Result, side, together
from ...study.statistics import Interval, interval, paired

Key = tuple[str, int]
"""(task, seed)."""


@dataclass(frozen=True)
class Comparison:
    """One method said to be better than another.

    Attributes
    ----------
    better, worse:
        The methods.
    equal_budget:
        Whether the comparison only counts where both train as many numbers, up to a tenth.
    """

    better: str
    worse: str
    equal_budget: bool = False


@dataclass(frozen=True)
class PaperClaim:
    """One claim of the abstract: all of its comparisons have to hold.

    Attributes
    ----------
    id, statement:
        (i) .. (iv), and the claim in our words.
    comparisons:
        Those that decide.
    controls:
        Those that are only shown beside it.
    """

    id: str
    statement: str
    comparisons: tuple[Comparison, ...]
    controls: tuple[Comparison, ...] = ()


CLAIMS = (
    PaperClaim(
        "(i)",
        "prefix- and prompt-tuning stay below LoRA",
        (Comparison("lora_linear", "prefix"), Comparison("lora_linear", "prompt")),
    ),
    PaperClaim(
        "(ii)",
        "LoRA on the linear projections is above LoRA on the state-space module",
        (Comparison("lora_linear", "lora_ssm"),),
    ),
    PaperClaim(
        "(iii)",
        "LoRA on the linear projections alone is above LoRA on both",
        (Comparison("lora_linear", "lora_both", equal_budget=True),),
    ),
    PaperClaim(
        "(iv)",
        "SDT with LoRA is above LoRA of equal budget",
        (Comparison("sdt_lora", "lora_linear", equal_budget=True),),
        (Comparison("sdt_lora", "sdt_lora_random", equal_budget=True),),
    ),
)
"""The abstract's claims (Galim et al. 2024, arXiv 2410.09016), and what decides them here."""

BESIDE = tuple(
    Comparison(better, worse)
    for better, others in (
        ("lora_linear", ("frozen", "initial_state", "state_offset", "additional_scan", "bitfit", "sdt")),
        ("lora_ssm", ("initial_state", "state_offset", "sdt")),
        ("sdt_lora", ("lora_both", "dora_linear")),
    )
    for worse in others
)
"""What the published abstract (arXiv v3) says beyond these: shown beside them, added after the results, decides nothing here."""


def scores(results: Iterable[Result], method: str) -> dict[Key, float]:
    """Main test score, in points, of a method's runs."""
    return {(r.config["task"], r.seed): 100 * r.held_out["test_score"] for r in results if r.config["method"] == method}


def differences(results: Sequence[Result], comparison: Comparison) -> dict[Key, float]:
    """Better minus worse, in points, for every (task, seed) that both have."""
    better, worse = scores(results, comparison.better), scores(results, comparison.worse)
    return dict(sorted(paired(better, worse).items()))


def learned_tasks(results: Sequence[Result], confidence: float) -> tuple[str, ...]:
    """Tasks on which full fine-tuning's interval over seeds lies above the most frequent class and above the frozen model.

    Known once both have all of the results' seeds, and at least two; a task of which it is not known yet is not among them.
    """
    full, frozen = scores(results, "full"), scores(results, "frozen")
    seeds = {r.seed for r in results}
    found = []
    for task in sorted({task for task, _ in full}):
        if len(seeds) < 2 or any((task, seed) not in runs for seed in seeds for runs in (full, frozen)):
            continue
        reached = interval([full[task, seed] for seed in seeds], confidence)
        held_out = [r.held_out for r in results if r.config["task"] == task]
        guesses = [100 * part["test_majority"] for part in held_out if "test_majority" in part]
        floor = max([*guesses, *(frozen[task, seed] for seed in seeds)])
        if (reached.mean if reached.low is None else reached.low) > floor:  # equal on all seeds: no interval, and no doubt
            found.append(task)
    return tuple(found)


def same_budget(results: Sequence[Result], comparison: Comparison) -> bool:
    """Whether all runs of both methods are within a tenth of the budget."""
    both = (comparison.better, comparison.worse)
    return all(r.metrics["matched"] for r in results if r.config["method"] in both)


def compare(results: Sequence[Result], comparison: Comparison, confidence: float, least: float) -> dict[str, Any] | None:
    """One comparison as a row, ``None`` where no pair is finished.

    ``by_task`` and ``learned`` are the same of each task, and of the :func:`learned_tasks` together (``None`` where there is
    none, or no pair of them).
    """
    pairs = differences(results, comparison)
    if not pairs:
        return None
    found = interval(list(pairs.values()), confidence)
    fair = same_budget(results, comparison)
    tasks = sorted({task for task, _ in pairs})
    learned = [task for task in learned_tasks(results, confidence) if task in tasks]
    return {
        "better": comparison.better, "worse": comparison.worse, **_bounds(found),
        "effect": found.standardised, "equal_budget": fair,
        "by_task": {task: _on(pairs, (task,), confidence) for task in tasks},
        "learned": {"tasks": learned, **_on(pairs, learned, confidence)} if learned else None,
        "verdict": side(found.low, found.high, least) if fair or not comparison.equal_budget else "undecided",
    }  # fmt: skip


def _on(pairs: Mapping[Key, float], tasks: Iterable[str], confidence: float) -> dict[str, Any]:
    return _bounds(interval([value for (task, _), value in pairs.items() if task in tasks], confidence))


def _bounds(found: Interval) -> dict[str, Any]:
    return {"points": found.mean, "low": found.low, "high": found.high, "pairs": found.count}


def typed(row: Mapping[str, Any], least: float) -> list[records.Comparison]:
    """A row of :func:`verdict_rows` as records: the comparisons that decide its claim, then its controls."""
    decide, beside = (row["comparisons"], row["controls"])
    return [_typed(row, compared, least, control) for control, rows in ((False, decide), (True, beside)) for compared in rows]


def _typed(row: Mapping[str, Any], c: Mapping[str, Any], least: float, control: bool) -> records.Comparison:
    learned = None if c["learned"] is None else _part(c["learned"]["tasks"], c["learned"])
    return records.Comparison(
        kind="difference", name=f"{c['better']} - {c['worse']}", better=c["better"], worse=c["worse"], estimate=c["points"],
        low=c["low"], high=c["high"], pairs=c["pairs"], null=least, predicted="above", unit="points", verdict=c["verdict"],
        claim=row["claim"], statement=row["statement"], claim_verdict=row["verdict"], control=control, learned=learned,
        note="" if c["equal_budget"] else BUDGETS_DIFFER,
        parts=[_part([task], values) for task, values in c["by_task"].items()],
    )  # fmt: skip


BUDGETS_DIFFER = "budgets differ"


def _part(tasks: list[str], values: Mapping[str, Any]) -> records.Part:
    return records.Part(tasks=tasks, estimate=values["points"], low=values["low"], high=values["high"], pairs=values["pairs"])


def verdict_rows(results: Sequence[Result], confidence: float, least: float) -> list[dict[str, Any]]:
    """One row for each of the four claims, with its comparisons and controls inside."""
    rows = []
    for claim in CLAIMS:
        made = [compare(results, c, confidence, least) for c in claim.comparisons]
        verdict = together([row["verdict"] for row in made if row is not None]) if all(made) else "undecided"
        rows.append(
            {
                "claim": claim.id, "statement": claim.statement, "verdict": verdict,
                "comparisons": [row for row in made if row is not None],
                "controls": [row for c in claim.controls if (row := compare(results, c, confidence, least)) is not None],
            }
        )  # fmt: skip
    return rows


def beside(results: Sequence[Result], confidence: float, least: float) -> list[records.Comparison]:
    """The comparisons of :data:`BESIDE` that have a pair of runs."""
    row = {"claim": "", "statement": "", "verdict": ""}
    found = (compare(results, c, confidence, least) for c in BESIDE)
    return [_typed(row, compared, least, control=True) for compared in found if compared is not None]


def in_words(row: Mapping[str, Any]) -> str:
    """A row of :func:`compare` in one phrase."""
    note = "" if row["equal_budget"] else f", {BUDGETS_DIFFER}"
    only = row["learned"]
    learned = "" if only is None else f", learned tasks ({', '.join(only['tasks'])}) alone {_numbers(only)}"
    return f"{row['better']} - {row['worse']} {_numbers(row, note)}{learned}"


def _numbers(row: Mapping[str, Any], note: str = "") -> str:
    count = f"{row['pairs']} pair{'s' if row['pairs'] > 1 else ''}"
    bounds = count if row["low"] is None else f"[{row['low']:+.1f}, {row['high']:+.1f}], {count}"
    return f"{row['points']:+.1f} ({bounds}{note})"
