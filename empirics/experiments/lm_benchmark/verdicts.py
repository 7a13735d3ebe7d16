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

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from ...study.results import Result, Verdict

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


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval.

    Attributes
    ----------
    mean, low, high:
        In the values' unit; ``low`` and ``high`` are ``None`` without a spread: for one value, or equal ones.
    standardised:
        Mean over standard deviation (Cohen's d of paired values), ``None`` without a spread.
    count:
        Number of values.
    """

    mean: float
    low: float | None
    high: float | None
    standardised: float | None
    count: int


def interval(values: Sequence[float], confidence: float) -> Interval:
    """Student's t interval of the mean of independent values."""
    mean = statistics.fmean(values)
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    if spread == 0:  # scores are counts of right answers: two equal ones say nothing about their spread
        return Interval(mean, None, None, None, len(values))
    half = float(stats.t.ppf(0.5 + confidence / 2, len(values) - 1)) * spread / len(values) ** 0.5
    return Interval(mean, mean - half, mean + half, mean / spread, len(values))


def scores(results: Iterable[Result], method: str) -> dict[Key, float]:
    """Main test score, in points, of a method's runs."""
    return {(r.config["task"], r.seed): 100 * r.held_out["test_score"] for r in results if r.config["method"] == method}


def differences(results: Sequence[Result], comparison: Comparison) -> dict[Key, float]:
    """Better minus worse, in points, for every (task, seed) that both have."""
    better, worse = scores(results, comparison.better), scores(results, comparison.worse)
    return {key: better[key] - worse[key] for key in sorted(better.keys() & worse.keys())}


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


def decide(found: Interval, least: float) -> Verdict:
    """The verdict of an interval against a least difference."""
    if found.low is None or found.high is None:
        return "undecided"
    return "reproduced" if found.low > least else "not reproduced" if found.high < least else "undecided"


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
        "verdict": decide(found, least) if fair or not comparison.equal_budget else "undecided",
    }  # fmt: skip


def _on(pairs: Mapping[Key, float], tasks: Iterable[str], confidence: float) -> dict[str, Any]:
    return _bounds(interval([value for (task, _), value in pairs.items() if task in tasks], confidence))


def _bounds(found: Interval) -> dict[str, Any]:
    return {"points": found.mean, "low": found.low, "high": found.high, "pairs": found.count}


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """All have to be reproduced; one that is not decides."""
    if "not reproduced" in verdicts:
        return "not reproduced"
    return "reproduced" if verdicts and all(v == "reproduced" for v in verdicts) else "undecided"


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


def in_words(row: Mapping[str, Any]) -> str:
    """A row of :func:`compare` in one phrase."""
    note = "" if row["equal_budget"] else ", budgets differ"
    only = row["learned"]
    learned = "" if only is None else f", learned tasks ({', '.join(only['tasks'])}) alone {_numbers(only)}"
    return f"{row['better']} - {row['worse']} {_numbers(row, note)}{learned}"


def _numbers(row: Mapping[str, Any], note: str = "") -> str:
    count = f"{row['pairs']} pair{'s' if row['pairs'] > 1 else ''}"
    bounds = count if row["low"] is None else f"[{row['low']:+.1f}, {row['high']:+.1f}], {count}"
    return f"{row['points']:+.1f} ({bounds}{note})"
