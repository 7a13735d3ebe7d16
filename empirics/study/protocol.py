"""Declared protocols: which comparisons there are, and what decides them (docs/decisions/0007 and 0009).

A comparison is judged once both methods have all seeds on all tasks; until then it is pending, and none of its numbers is shown.
The difference d_ts of two methods' scores is taken for every task t and seed s. Two statements are made of the mean:

    these tasks   tasks are fixed; seeds and test rows are drawn (:func:`.statistics.tasks_fixed`)
    tasks         the tasks are drawn too (:func:`.statistics.tasks_random`: the balanced mixed model, T - 1 degrees of freedom);
                  for two tasks at least

Of each, with alpha = 1 - confidence:

    stands        the difference is above 0, its two-sided p below alpha after Holm's adjustment over all primary comparisons
    refuted       the same below 0
    level         else: two one-sided tests at alpha place it within the margin
    undecided     else, with the number of seeds or tasks that would decide; and where a side's learning rate stands at the end of
                  its grid (:func:`.judging.held_back`), or trains another number of values though it must not
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ..errors import CheckpointError
from .comparing import decide
from .judging import in_short, limit
from .results import Comparison, Decision, Judgement, Part, Pending, Statement, Verdict, together
from .rows import Numbers, shared_variance
from .statistics import (
    Interval,
    Sampling,
    holm,
    level_p,
    needed,
    p_of,
    seeds_error,
    tasks_error,
    tasks_fixed,
    tasks_random,
)

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
        Those that it is about, where they are not all of the family's.
    """

    better: str
    worse: str
    role: Role = "primary"
    equal_budget: bool = False
    tasks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How it is called."""
        where = f" ({', '.join(self.tasks)})" if self.tasks else ""
        return f"{self.better} - {self.worse}{where}"


@dataclass(frozen=True)
class Family:
    """The comparisons of one experiment.

    Attributes
    ----------
    tasks:
        Of every pooled comparison; they weigh alike.
    primary:
        The comparisons that decide; Holm's adjustment is over all of them, whether they have been run or not.
    beside:
        Those that decide nothing.
    """

    tasks: tuple[str, ...]
    primary: tuple[Pair, ...]
    beside: tuple[Pair, ...] = ()

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All of them."""
        return (*self.primary, *self.beside)

    def tasks_of(self, pair: Pair) -> tuple[str, ...]:
        """The tasks that a comparison is about."""
        return pair.tasks or self.tasks


BUDGET = 0.10
"""Relative difference of two numbers of trained values up to which budgets are equal."""

THRESHOLDS = ("confidence", "margin", "seeds", "tasks")


@dataclass(frozen=True)
class Protocol:
    """The numbers of ``[threshold]``.

    Attributes
    ----------
    confidence, margin:
        Of the intervals; distance within which two methods are level, in the scores' unit.
    seeds, tasks:
        Seeds of every cell, and tasks, that a comparison needs before it is judged.
    """

    confidence: float
    margin: float
    seeds: int
    tasks: int

    @classmethod
    def of(cls, threshold: Mapping[str, float]) -> Protocol:
        """From the file's numbers; InvalidInput where one is missing."""
        confidence, margin, seeds, tasks = (limit(threshold, name) for name in THRESHOLDS)
        return cls(confidence, margin, int(seeds), int(tasks))

    @property
    def alpha(self) -> float:
        """Level of the tests."""
        return 1 - self.confidence


@dataclass(frozen=True)
class Cell:
    """The runs of one method on one task, by seed.

    Attributes
    ----------
    points:
        Seed -> score; the higher, the better.
    trainable:
        Trained numbers.
    drawn:
        Seed -> score on each draw of the test rows, (draws,); empty where the rows are no sample.
    rows:
        Test rows.
    """

    points: Mapping[int, float]
    trainable: int
    drawn: Mapping[int, Numbers] = field(default_factory=dict)
    rows: int = 0


Cells = Mapping[tuple[str, str], Cell]
"""By task and method."""


@dataclass(frozen=True)
class Differences:
    """The paired differences of two methods, by task.

    Attributes
    ----------
    groups:
        Task -> better minus worse, a value for each seed that both have.
    sampling:
        Task -> what the sampling of its rows adds; ``None`` where the rows are no sample.
    """

    groups: dict[str, list[float]]
    sampling: dict[str, Sampling] | None


def differences(better: Mapping[str, Cell], worse: Mapping[str, Cell]) -> Differences:
    """Better minus worse on every task and seed that both have; a task of fewer than two such seeds is left out.

    Raises
    ------
    CheckpointError
        The two were tested on different numbers of rows.
    """
    groups: dict[str, list[float]] = {}
    sampling: dict[str, Sampling] = {}
    for task, one in better.items():
        other = worse.get(task)
        seeds = [seed for seed in one.points if other is not None and seed in other.points]
        if other is None or len(seeds) < 2:
            continue
        if one.rows != other.rows:
            raise CheckpointError(f"the runs of {task} were tested on {one.rows} and {other.rows} rows; repeat them")
        groups[task] = [one.points[seed] - other.points[seed] for seed in seeds]
        if one.drawn:
            drawn = np.stack([one.drawn[seed] - other.drawn[seed] for seed in seeds], axis=1)
            sampling[task] = Sampling(shared_variance(drawn), one.rows)
    return Differences(groups, sampling if any(cell.drawn for cell in better.values()) else None)


def of_method(cells: Cells, method: str, tasks: Sequence[str]) -> dict[str, Cell]:
    """A method's cells by task, in the order of the tasks."""
    return {task: cells[task, method] for task in tasks if (task, method) in cells}


def complete(tasks: int, found: Differences, protocol: Protocol) -> bool:
    """Whether a comparison has all that it needs to be judged: every task with every seed, on both sides."""
    return sum(len(values) >= protocol.seeds for values in found.groups.values()) >= tasks


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
    primary: int,
) -> Statement:
    """One statement with its decision, and with what would decide where it is undecided.

    ``adjusted`` is Holm's p of a primary comparison, one of ``primary`` many. What would decide is counted for the least p that
    Holm may ask for.
    """
    p, beyond = p_of(found), level_p(found, protocol.margin)
    verdict = decide(found.mean, p if adjusted is None else adjusted, beyond, protocol.alpha)
    more = None
    if verdict == "undecided" and found.error:
        alpha = protocol.alpha if adjusted is None else protocol.alpha / primary
        more = needed(found.mean, error(), protocol.margin, alpha, protocol.alpha)
    return Statement(
        over=over, low=found.low, high=found.high, freedom=found.freedom, p=p, adjusted=adjusted, level_p=beyond, verdict=verdict,
        needed=None if more is None else more.count, shows="" if more is None else more.shows,
    )  # fmt: skip


VERDICT: dict[Decision, Verdict] = {
    "stands": "reproduced", "refuted": "not reproduced", "level": "level", "undecided": "undecided",
}  # fmt: skip
"""The word of a summary for what is decided of these tasks."""


def compared(
    pair: Pair, measured: Measured, adjusted: Sequence[float | None], note: str, protocol: Protocol, primary: int
) -> Comparison:
    """A complete comparison as a record, with Holm's p of either statement, ``None`` outside the family.

    ``note`` says why budgets that must not differ do; nothing is decided then.
    """
    groups, sampling = measured.found.groups, measured.found.sampling
    statements = [statement("these tasks", measured.here, adjusted[0], lambda: seeds_error(groups, sampling), protocol, primary)]
    if measured.beyond is not None:
        statements.append(statement("tasks", measured.beyond, adjusted[1], lambda: tasks_error(groups), protocol, primary))
    if note:
        statements = [s.model_copy(update={"verdict": "undecided", "needed": None, "shows": ""}) for s in statements]
    here = measured.here
    return Comparison(
        kind="difference", name=pair.name, better=pair.better, worse=pair.worse, estimate=here.mean, low=here.low, high=here.high,
        pairs=here.count, null=0.0, predicted=None if pair.role == "chance" else "above", unit="points",
        verdict=VERDICT[statements[0].verdict], control=pair.role != "primary", note=note, statements=statements,
        parts=[on_task(task, values, None if sampling is None else sampling[task], protocol) for task, values in groups.items()],
    )  # fmt: skip


def on_task(task: str, values: Sequence[float], sampling: Sampling | None, protocol: Protocol) -> Part:
    """A comparison on one task."""
    found = tasks_fixed({task: values}, protocol.confidence, None if sampling is None else {task: sampling})
    return Part(tasks=[task], estimate=found.mean, low=found.low, high=found.high, pairs=found.count)


def budgets(better: Mapping[str, Cell], worse: Mapping[str, Cell]) -> str:
    """Where two methods train different numbers of values, up to a tenth: how many; else nothing."""
    for task, one in better.items():
        other = worse.get(task)
        if other is not None and abs(one.trainable - other.trainable) > BUDGET * min(one.trainable, other.trainable):
            return f"budgets differ: {one.trainable:,} and {other.trainable:,} trained numbers"
    return ""


def judge_family(family: Family, cells: Cells, protocol: Protocol, table: Sequence[Mapping[str, Any]]) -> Judgement:
    """Every complete comparison, judged; the others pending. All primary ones have to stand.

    Parameters
    ----------
    table:
        Rows of the judgement.
    """
    sides = {
        pair: tuple(of_method(cells, method, family.tasks_of(pair)) for method in (pair.better, pair.worse))
        for pair in family.pairs
    }
    needs = {pair: len(pair.tasks) or protocol.tasks for pair in family.pairs}
    found = {pair: differences(better, worse) for pair, (better, worse) in sides.items()}
    done = {pair: measure(each, protocol) for pair, each in found.items() if complete(needs[pair], each, protocol)}
    here = holm({pair: p_of(done[pair].here) if pair in done else None for pair in family.primary})
    beyond = holm({pair: p_of(m.beyond) if (m := done.get(pair)) and m.beyond else None for pair in family.primary})
    comparisons = [
        compared(
            pair, m, (here.get(pair), beyond.get(pair)), budgets(*sides[pair]) if pair.equal_budget else "", protocol,
            len(family.primary),
        )
        for pair, m in done.items()
    ]  # fmt: skip
    pending = [
        Pending(
            name=pair.name, better=pair.better, worse=pair.worse, control=pair.role != "primary",
            runs={
                method: sum(len(cell.points) for cell in there.values())
                for method, there in zip((pair.better, pair.worse), sides[pair], strict=True)
            },
            needs=protocol.seeds * needs[pair],
        )
        for pair in family.pairs
        if pair not in done
    ]  # fmt: skip
    deciding: list[Verdict] = [c.verdict for c in comparisons if not c.control]
    missing: list[Verdict] = ["undecided"] * (len(family.primary) - len(deciding))
    return Judgement(
        verdict=together([*deciding, *missing]), measured=in_short(comparisons, pending), table=[dict(row) for row in table],
        comparisons=comparisons, pending=pending,
    )  # fmt: skip
