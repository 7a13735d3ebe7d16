"""The declared protocol of the base benchmark: which comparisons, and what decides them (docs/decisions/0007).

A comparison is judged once both methods have all seeds on all tasks; until then it is pending, and none of its numbers is shown.
The difference d_ts of two methods' scores, in points, is taken for every task t and seed s. Two statements are made of the mean:

    these tasks   tasks are fixed; seeds and test rows are drawn (:func:`...study.statistics.tasks_fixed`)
    tasks         the tasks are drawn too (:func:`...study.statistics.tasks_random`: the balanced mixed model, T - 1 degrees of
                  freedom)

Of each, with alpha = 1 - confidence:

    stands        the difference is above 0, its two-sided p below alpha after Holm's adjustment over all primary comparisons
    refuted       the same below 0
    level         else: two one-sided tests at alpha place it within the margin
    undecided     else, with the number of seeds or tasks that would decide; and where a side's learning rate stands at the end of
                  its grid (:func:`...study.judging.held_back`), or trains another number of values though it must not
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ...errors import CheckpointError
from ...study.comparing import decide
from ...study.judging import limit
from ...study.results import Comparison, Decision, Judgement, Part, Pending, Result, Statement, Verdict, together
from ...study.rows import Accuracy, Bleu, Matthews, Numbers, Rows, draws, each_once, shared_variance
from ...study.statistics import (
    Interval,
    Sampling,
    holm,
    interval,
    level_p,
    needed,
    p_of,
    seeds_error,
    tasks_error,
    tasks_fixed,
    tasks_random,
)
from ..lm_benchmark.run import require_same_origin
from .records import Outcomes, outcomes

__all__ = ["THRESHOLDS", "alike", "holds_back", "judge", "points", "require_same_origin"]

TASKS = ("cola", "polarity", "subjectivity", "trec", "dart")
"""Tasks of every pooled comparison, as many points each."""
CONTROL_TASK = "rte"
"""On which nothing is learned: a declared control, in no pooled comparison."""
MATTHEWS = ("cola",)
"""Tasks whose score is Matthews' correlation and not accuracy."""

Role = Literal["primary", "control", "anchor", "chance"]


@dataclass(frozen=True)
class Pair:
    """One method predicted to be above another.

    Attributes
    ----------
    role:
        ``primary``: decides, with Holm's adjustment; the others stand beside, and of ``chance`` no side is predicted.
    equal_budget:
        Whether it only counts where both train as many numbers, up to a tenth.
    tasks:
        Those that it is about.
    """

    better: str
    worse: str
    role: Role = "primary"
    equal_budget: bool = False
    tasks: tuple[str, ...] = TASKS

    @property
    def name(self) -> str:
        """How it is called."""
        where = "" if self.tasks == TASKS else f" ({', '.join(self.tasks)})"
        return f"{self.better} - {self.worse}{where}"


PRIMARY = (
    Pair("lora_linear", "prompt"),
    Pair("lora_linear", "prefix"),
    Pair("lora_linear", "lora_ssm"),
    Pair("lora_linear", "lora_both", equal_budget=True),
    Pair("lora_linear", "bitfit"),
    Pair("lora_linear", "additional_scan"),
    Pair("lora_linear", "initial_state"),
    Pair("lora_linear", "state_offset"),
    Pair("lora_linear", "sdt"),
    Pair("lora_ssm", "initial_state"),
    Pair("lora_ssm", "state_offset"),
    Pair("lora_ssm", "sdt"),
    Pair("sdt_lora", "lora_linear", equal_budget=True),
    Pair("sdt_lora", "lora_released", equal_budget=True),
    Pair("sdt_released", "lora_released", equal_budget=True),
)
"""The comparisons that decide; Holm's adjustment is over all of them, whether they have been run or not."""

CONSTANT = "constant answer"
"""The class that most of the test rows have, given to all of them: no other constant answer is right more often."""

BESIDE = (
    Pair("sdt_lora", "sdt_lora_random", "control", equal_budget=True),
    Pair("sdt_lora", "sdt_lora_shuffled", "control", equal_budget=True),
    Pair("sdt_lora", "sdt_lora_data_free", "control", equal_budget=True),
    Pair("full", "lora_linear", "anchor"),
    Pair("lora_linear", "frozen", "anchor"),
    Pair("lora_linear", CONSTANT, "chance", tasks=(CONTROL_TASK,)),
    Pair("full", CONSTANT, "chance", tasks=(CONTROL_TASK,)),
)
"""Controls, predicted to be above if the selection matters; anchors of the scale; and the task on which nothing is learned."""

BUDGET = 0.10
"""Relative difference of two numbers of trained values up to which budgets are equal."""

THRESHOLDS = ("confidence", "margin", "seeds", "tasks", "draws")


@dataclass(frozen=True)
class Protocol:
    """The numbers of ``[threshold]``.

    Attributes
    ----------
    confidence, margin:
        Of the intervals; points within which two methods are level.
    seeds, tasks:
        Seeds of every cell, and tasks, that a comparison needs before it is judged.
    draws:
        How often the test rows are drawn again.
    """

    confidence: float
    margin: float
    seeds: int
    tasks: int
    draws: int

    @classmethod
    def of(cls, threshold: Mapping[str, float]) -> Protocol:
        """From the file's numbers; InvalidInput where one is missing."""
        confidence, margin, seeds, tasks, repeats = (limit(threshold, name) for name in THRESHOLDS)
        return cls(confidence, margin, int(seeds), int(tasks), int(repeats))

    @property
    def alpha(self) -> float:
        """Level of the tests."""
        return 1 - self.confidence


DRAW_SEED = 0
"""Seed of the drawn rows: one draw for all methods of a task."""


@dataclass(frozen=True)
class Cell:
    """The runs of one method on one task, by seed.

    Attributes
    ----------
    points:
        Seed -> score in points.
    drawn:
        Seed -> score on each draw of the test rows, (draws,).
    rows:
        Test rows.
    trainable:
        Trained numbers.
    """

    points: Mapping[int, float]
    drawn: Mapping[int, Numbers]
    rows: int
    trainable: int


Cells = Mapping[tuple[str, str], Cell]
"""By task and method."""


def rows_of(task: str, kept: Sequence[Outcomes]) -> Rows:
    """The test rows of several runs on one task.

    Raises
    ------
    CheckpointError
        Their rows differ in number, in kind, or in what is true of them.
    """
    try:
        if kept[0].bleu is not None:
            return Bleu.of([run.bleu.tolist() for run in kept if run.bleu is not None])
        truth = kept[0].true
        if truth is None or any(run.true is None or not np.array_equal(run.true, truth) for run in kept):
            raise CheckpointError(f"the runs of {task} were tested on different rows; repeat them in a new --out folder")
        predicted = [run.predicted.tolist() for run in kept if run.predicted is not None]
        return (Matthews if task in MATTHEWS else Accuracy).of(truth.tolist(), predicted)
    except ValueError as error:
        raise CheckpointError(f"the rows of {task} are no rectangle: {error}; repeat these runs") from error


def cell_of(task: str, runs: Sequence[Result], repeats: int) -> Cell:
    """A cell from its runs, scored from their rows.

    Raises
    ------
    CheckpointError
        A run's rows are damaged, or do not give the score that it recorded.
    """
    ordered = sorted(runs, key=lambda run: run.seed)
    rows = rows_of(task, [outcomes(run) for run in ordered])
    scores = rows.scores(each_once(rows.count))[0]
    for run, found in zip(ordered, scores, strict=True):
        recorded = points(run)
        if abs(recorded - found) > 1e-6:
            raise CheckpointError(
                f"{task}, {run.config['method']}, seed {run.seed}: its rows give {found:.4f} points and it recorded "
                f"{recorded:.4f}; delete that run's file to repeat it"
            )
    drawn = rows.scores(draws(rows.count, repeats, DRAW_SEED))
    seeds = [run.seed for run in ordered]
    trained = ordered[0].trainable
    return Cell(dict(zip(seeds, scores.tolist(), strict=True)), dict(zip(seeds, drawn.T, strict=True)), rows.count, trained or 0)


def constant(runs: Sequence[Result], repeats: int) -> Cell:
    """:data:`CONSTANT` on the control task, the same for every seed of the runs."""
    truth = outcomes(runs[0]).true
    if truth is None:
        raise CheckpointError(f"the runs of {CONTROL_TASK} hold no classes; delete their files to repeat them")
    rows = Accuracy.of(truth.tolist(), [[int(np.bincount(truth).argmax())] * len(truth)])
    score, drawn = float(rows.scores(each_once(rows.count))[0, 0]), rows.scores(draws(rows.count, repeats, DRAW_SEED))[:, 0]
    seeds = sorted({run.seed for run in runs})
    return Cell(dict.fromkeys(seeds, score), dict.fromkeys(seeds, drawn), rows.count, 0)


def cells_of(results: Iterable[Result], repeats: int) -> dict[tuple[str, str], Cell]:
    """All cells, and :data:`CONSTANT` beside those of the control task."""
    grouped: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        grouped.setdefault((result.config["task"], result.config["method"]), []).append(result)
    found = {key: cell_of(key[0], runs, repeats) for key, runs in sorted(grouped.items())}
    at_chance = [run for (task, _), runs in sorted(grouped.items()) if task == CONTROL_TASK for run in runs]
    return found | ({(CONTROL_TASK, CONSTANT): constant(at_chance, repeats)} if at_chance else {})


@dataclass(frozen=True)
class Differences:
    """The paired differences of two methods, by task.

    Attributes
    ----------
    groups:
        Task -> better minus worse, a value for each seed that both have.
    sampling:
        Task -> what the sampling of its rows adds.
    """

    groups: dict[str, list[float]]
    sampling: dict[str, Sampling]


def differences(better: Mapping[str, Cell], worse: Mapping[str, Cell]) -> Differences:
    """Better minus worse on every task and seed that both have; a task of fewer than two such seeds is left out."""
    groups, sampling = {}, {}
    for task, one in better.items():
        other = worse.get(task)
        seeds = [seed for seed in one.points if other is not None and seed in other.points]
        if other is None or len(seeds) < 2:
            continue
        if one.rows != other.rows:
            raise CheckpointError(f"the runs of {task} were tested on {one.rows} and {other.rows} rows; repeat them")
        groups[task] = [one.points[seed] - other.points[seed] for seed in seeds]
        drawn = np.stack([one.drawn[seed] - other.drawn[seed] for seed in seeds], axis=1)
        sampling[task] = Sampling(shared_variance(drawn), one.rows)
    return Differences(groups, sampling)


def of_method(cells: Cells, method: str, tasks: Sequence[str]) -> dict[str, Cell]:
    """A method's cells by task, in the order of the tasks."""
    return {task: cells[task, method] for task in tasks if (task, method) in cells}


def seeds_there(cells: Cells, pair: Pair) -> dict[str, int]:
    """How many counted runs each side of a pair has."""
    return {
        method: sum(len(cell.points) for cell in of_method(cells, method, pair.tasks).values())
        for method in (pair.better, pair.worse)
    }


def tasks_needed(pair: Pair, protocol: Protocol) -> int:
    """Tasks that a comparison needs before it is judged."""
    return protocol.tasks if pair.tasks == TASKS else len(pair.tasks)


def complete(pair: Pair, found: Differences, protocol: Protocol) -> bool:
    """Whether a comparison has all that it needs to be judged: every task with every seed, on both sides."""
    return sum(len(values) >= protocol.seeds for values in found.groups.values()) >= tasks_needed(pair, protocol)


@dataclass(frozen=True)
class Measured:
    """A complete comparison before it is judged: its differences, and an interval for each statement."""

    found: Differences
    here: Interval
    beyond: Interval | None


def measure(found: Differences, protocol: Protocol) -> Measured:
    """The intervals of a complete comparison; ``beyond`` these tasks for two of them at least."""
    here = tasks_fixed(found.groups, protocol.confidence, found.sampling)
    beyond = tasks_random(found.groups, protocol.confidence) if len(found.groups) > 1 else None
    return Measured(found, here, beyond)


def statement(
    over: Literal["these tasks", "tasks"],
    found: Interval,
    adjusted: float | None,
    error: Callable[[], Callable[[int], tuple[float, float]]],
    protocol: Protocol,
) -> Statement:
    """One statement with its decision, and with what would decide where it is undecided.

    ``adjusted`` is Holm's p of a primary comparison. What would decide is counted for the least p that Holm may ask for.
    """
    p, beyond = p_of(found), level_p(found, protocol.margin)
    verdict = decide(found.mean, p if adjusted is None else adjusted, beyond, protocol.alpha)
    more = None
    if verdict == "undecided" and found.error:
        alpha = protocol.alpha if adjusted is None else protocol.alpha / len(PRIMARY)
        more = needed(found.mean, error(), protocol.margin, alpha, protocol.alpha)
    return Statement(
        over=over, low=found.low, high=found.high, freedom=found.freedom, p=p, adjusted=adjusted, level_p=beyond, verdict=verdict,
        needed=None if more is None else more.count, shows="" if more is None else more.shows,
    )  # fmt: skip


VERDICT: dict[Decision, Verdict] = {
    "stands": "reproduced", "refuted": "not reproduced", "level": "level", "undecided": "undecided",
}  # fmt: skip
"""The word of a summary for what is decided of these tasks."""


def compared(pair: Pair, measured: Measured, adjusted: Sequence[float | None], cells: Cells, protocol: Protocol) -> Comparison:
    """A complete comparison as a record, with Holm's p of either statement, ``None`` outside the family."""
    groups, sampling = measured.found.groups, measured.found.sampling
    statements = [statement("these tasks", measured.here, adjusted[0], lambda: seeds_error(groups, sampling), protocol)]
    if measured.beyond is not None:
        statements.append(statement("tasks", measured.beyond, adjusted[1], lambda: tasks_error(groups), protocol))
    note = budgets(pair, cells) if pair.equal_budget else ""
    if note:
        statements = [s.model_copy(update={"verdict": "undecided", "needed": None, "shows": ""}) for s in statements]
    here = measured.here
    return Comparison(
        kind="difference", name=pair.name, better=pair.better, worse=pair.worse, estimate=here.mean, low=here.low, high=here.high,
        pairs=here.count, null=0.0, predicted=None if pair.role == "chance" else "above", unit="points",
        verdict=VERDICT[statements[0].verdict], control=pair.role != "primary", note=note, statements=statements,
        parts=[on_task(task, groups[task], sampling[task], protocol) for task in groups],
    )  # fmt: skip


def on_task(task: str, values: Sequence[float], sampling: Sampling, protocol: Protocol) -> Part:
    """A comparison on one task."""
    found = tasks_fixed({task: values}, protocol.confidence, {task: sampling})
    return Part(tasks=[task], estimate=found.mean, low=found.low, high=found.high, pairs=found.count)


def budgets(pair: Pair, cells: Cells) -> str:
    """Where two methods train different numbers of values, up to a tenth: how many; else nothing."""
    for task, one in of_method(cells, pair.better, pair.tasks).items():
        other = cells.get((task, pair.worse))
        if other is not None and abs(one.trainable - other.trainable) > BUDGET * min(one.trainable, other.trainable):
            return f"budgets differ: {one.trainable:,} and {other.trainable:,} trained numbers"
    return ""


def points(result: Result) -> float:
    """The score of a test run, in points."""
    return 100 * float(result.held_out["test_score"])


def alike(first: Result, second: Result) -> float:
    """Share of the test rows on which two runs of one task predict the same class, or make texts of the same n-gram counts."""
    one, other = outcomes(first), outcomes(second)
    if one.predicted is not None and other.predicted is not None:
        return float(np.mean(one.predicted == other.predicted))
    if one.bleu is not None and other.bleu is not None:
        return float(np.mean((one.bleu == other.bleu).all(axis=1)))
    raise CheckpointError(f"runs of {first.config['task']} and of {second.config['task']} cannot be compared row by row")


def holds_back(options: Mapping[str, Any]) -> bool:
    """Whether a cell whose learning rate stands at the end of its grid holds comparisons back: not on the control task."""
    return bool(options["task"] != CONTROL_TASK)


def judge(results: Sequence[Result], threshold: Mapping[str, float]) -> Judgement:
    """Every complete comparison, judged; the others pending. All primary ones have to stand.

    Raises
    ------
    CheckpointError
        Runs of one task come from different rows or models, or do not hold what their scores are made of.
    InvalidInput
        ``[threshold]`` lacks a number.
    """
    require_same_origin(results)
    protocol = Protocol.of(threshold)
    cells = cells_of(results, protocol.draws)
    found = {
        pair: differences(of_method(cells, pair.better, pair.tasks), of_method(cells, pair.worse, pair.tasks))
        for pair in (*PRIMARY, *BESIDE)
    }
    done = {pair: measure(each, protocol) for pair, each in found.items() if complete(pair, each, protocol)}
    here = holm({pair: p_of(done[pair].here) if pair in done else None for pair in PRIMARY})
    beyond = holm({pair: p_of(m.beyond) if (m := done.get(pair)) and m.beyond else None for pair in PRIMARY})
    comparisons = [compared(pair, m, (here.get(pair), beyond.get(pair)), cells, protocol) for pair, m in done.items()]
    pending = [
        Pending(
            name=pair.name, better=pair.better, worse=pair.worse, control=pair.role != "primary", runs=seeds_there(cells, pair),
            needs=protocol.seeds * tasks_needed(pair, protocol),
        )
        for pair in found
        if pair not in done
    ]  # fmt: skip
    deciding: list[Verdict] = [c.verdict for c in comparisons if not c.control]
    missing: list[Verdict] = ["undecided"] * (len(PRIMARY) - len(deciding))
    return Judgement(
        verdict=together([*deciding, *missing]), measured=in_short(comparisons, pending), table=table(results, cells, protocol),
        comparisons=comparisons, pending=pending,
    )  # fmt: skip


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


def table(results: Sequence[Result], cells: Cells, protocol: Protocol) -> list[dict[str, Any]]:
    """One row for each method on each task with all of its seeds: their mean with its interval, and what it trained."""
    order = [*TASKS, CONTROL_TASK]
    rows = []
    for task in sorted({task for task, _ in cells}, key=lambda t: (order.index(t) if t in order else len(order), t)):
        for method in dict.fromkeys(r.config["method"] for r in results if r.config["task"] == task):
            runs = [r for r in results if (r.config["task"], r.config["method"]) == (task, method)]
            cell = cells[task, method]
            found = interval(list(cell.points.values()), protocol.confidence)
            if len(cell.points) < protocol.seeds:
                continue
            row = {
                "task": task, "method": method, "trainable": cell.trainable, "learning_rate": runs[0].config["learning_rate"],
                "seeds": len(cell.points), "rows": cell.rows, "points": found.mean, "low": found.low, "high": found.high,
                "test_loss": statistics.fmean(r.held_out["test_loss"] for r in runs),
            }  # fmt: skip
            for name, scale in (("majority", 100.0), ("chrf", 1.0), ("no_class", 100.0)):
                values = [scale * r.held_out[f"test_{name}"] for r in runs if f"test_{name}" in r.held_out]
                if values:
                    row[name] = statistics.fmean(values)
            rows.append(row)
    return rows
