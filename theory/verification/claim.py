"""Claims, the assumptions they rest on, and the verdicts that checks give.

A :class:`Claim` is a relation between function classes under named assumptions. Its :class:`Check` objects decide it; its
:class:`Assumption` objects each carry hypothesis strategies for instances with and without the assumption, and the
smallest explicit instance that breaks the conclusion when the assumption is dropped.

Verdicts: PROVED (symbolic identity or complete argument, written out in the family's README), EXACT (n rational
instances, zero failures), TO (float64 within a stated budget, condition number shown), REFUTED (with its witness), OPEN,
ERROR (the code broke: neither proved nor refuted). A sampled check is never PROVED.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from ..core.shown import Shown
from .refutation import require

Strategy = SearchStrategy[Any]


class Verdict(StrEnum):
    """How a claim was decided, strongest first; OPEN, REFUTED and ERROR stand apart."""

    PROVED = "PROVED"
    EXACT = "EXACT"
    TO = "TO"
    OPEN = "OPEN"
    REFUTED = "REFUTED"
    ERROR = "ERROR"


_STRENGTH = [Verdict.ERROR, Verdict.REFUTED, Verdict.OPEN, Verdict.TO, Verdict.EXACT, Verdict.PROVED]


@dataclass(frozen=True)
class Profile:
    """How much work a verification does: instances per sampled check, and the seed that makes it repeatable."""

    name: str
    instances: int
    seed: int = 0

    def scaled(self, factor: float) -> int:
        """A share of the instances for an expensive check, at least 5."""
        return max(5, int(self.instances * factor))


PROFILES: Mapping[str, Profile] = {
    "quick": Profile("quick", 25),
    "ci": Profile("ci", 200),
    "long": Profile("long", 10_000),
}


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
        The refuting instance, for REFUTED.
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


@dataclass(frozen=True)
class Check:
    """One route to a verdict.

    Attributes
    ----------
    name:
        Short and unique within the claim, e.g. ``"exact equivalence"``.
    run:
        Profile → Outcome. It raises Refuted where the statement fails; any other exception is an ERROR of the claim.
    part:
        Which part of the statement it decides. A part's verdict is its best check's, the claim's is its weakest part's.
        ``None``: a supporting measurement that decides nothing.
    """

    name: str
    run: Callable[[Profile], Outcome]
    part: str | None = "statement"


@dataclass(frozen=True)
class Counterexample:
    """A named smallest instance on which a conclusion fails.

    ``build`` returns the instance; ``statement`` says in words and exact numbers what goes wrong.
    """

    name: str
    build: Callable[[], Any]
    statement: str


@dataclass(frozen=True)
class Assumption:
    """A hypothesis of a claim, as data that can be tested.

    Attributes
    ----------
    name, statement:
        Short name and the assumption in words.
    predicate:
        instance → bool: whether the assumption holds.
    having:
        Strategy of instances on which every assumption of the claim holds (so that the conclusion must).
    lacking:
        Strategy of instances on which this assumption fails.
    conclusion:
        instance → bool: whether the claim's conclusion holds, computed without looking at the assumptions.
    counterexample:
        Violates the predicate and the conclusion. ``None`` means OPEN: maybe the assumption is not needed.
    open_note:
        What was tried, where there is no counterexample.
    """

    name: str
    statement: str
    predicate: Callable[[Any], bool]
    having: Callable[[], Strategy]
    lacking: Callable[[], Strategy]
    conclusion: Callable[[Any], bool]
    counterexample: Counterexample | None
    open_note: str = ""

    def __post_init__(self) -> None:
        if self.counterexample is None and not self.open_note:
            raise ValueError(f"assumption {self.name!r} has no counterexample: say in open_note what was tried")

    def examine(self, profile: Profile) -> Outcome:
        """Test the assumption as data: strategies against predicate and conclusion, then the counterexample.

        REFUTED here is the good outcome: the conclusion without this assumption is refuted by the counterexample.
        """
        n = profile.scaled(0.05)

        def holds(x: Any) -> None:
            require(self.predicate(x), f"strategy 'having' drew an instance without {self.name}: {x!r}")
            require(self.conclusion(x), f"the conclusion fails although every assumption holds: {x!r}")

        def fails(x: Any) -> None:
            require(not self.predicate(x), f"strategy 'lacking' drew an instance that has {self.name}: {x!r}")

        drawn = run_instances(holds, self.having(), n, profile.seed) + run_instances(fails, self.lacking(), n, profile.seed)
        if self.counterexample is None:
            return Outcome(Verdict.OPEN, f"no counterexample known: {self.open_note}", instances=drawn)
        instance = self.counterexample.build()
        require(not self.predicate(instance), f"counterexample {self.counterexample.name!r} satisfies {self.name}")
        require(not self.conclusion(instance), f"counterexample {self.counterexample.name!r} does not break the conclusion")
        return Outcome(
            Verdict.REFUTED,
            f"without it: {self.counterexample.statement}",
            instances=drawn + 1,
            witness=self.counterexample.name,
        )


@dataclass(frozen=True)
class Claim(Shown):
    """A statement with its assumptions and the checks that decide it.

    Attributes
    ----------
    id:
        ``family.statement``, used verbatim in code, experiments, results and figures.
    title, statement:
        One line, and the precise formulation in plain text with the symbols of the README.
    level, horizon:
        Where it lives (module, block, whole model) and on which sequence lengths.
    source:
        Where it comes from; "our formulation, after Galim et al. 2024" unless quoted.
    assumptions, checks:
        See the classes.
    readme:
        Anchor of the derivation in the family's README.
    not_claimed:
        What the statement does not say, for readers who might think so.
    """

    id: str
    title: str
    statement: str
    level: str
    horizon: str
    checks: tuple[Check, ...]
    assumptions: tuple[Assumption, ...] = ()
    source: str = "our formulation, after Galim et al. 2024 (arXiv 2410.09016)"
    readme: str = ""
    not_claimed: str = ""

    def __repr__(self) -> str:
        return f"Claim({self.id!r}: {self.title}; {len(self.checks)} checks, {len(self.assumptions)} assumptions)"

    def __post_init__(self) -> None:
        family, _, statement = self.id.partition(".")
        if not family or not statement:
            raise ValueError(f"claim id {self.id!r} is not of the form family.statement")
        if not any(check.part for check in self.checks):
            raise ValueError(f"claim {self.id} has no check that decides it")
        names = [check.name for check in self.checks]
        if len(set(names)) != len(names):
            raise ValueError(f"claim {self.id} has two checks of one name: {names}")
        assumed = [assumption.name for assumption in self.assumptions]
        if len(set(assumed)) != len(assumed):
            raise ValueError(f"claim {self.id} has two assumptions of one name: {assumed}")

    @property
    def family(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]


def combine(outcomes: list[tuple[str | None, Outcome]]) -> Verdict:
    """A claim's verdict: REFUTED if any check is, ERROR if one broke, else its weakest part; a part has its best check's verdict.

    Raises ValueError where no outcome belongs to a part.
    """
    for verdict in (Verdict.REFUTED, Verdict.ERROR):
        if any(o.verdict is verdict for _, o in outcomes):
            return verdict
    parts: dict[str, Verdict] = {}
    for part, o in outcomes:
        if part is not None and (part not in parts or _STRENGTH.index(o.verdict) > _STRENGTH.index(parts[part])):
            parts[part] = o.verdict
    if not parts:
        raise ValueError("no check that decides: every outcome has part None")
    return min(parts.values(), key=_STRENGTH.index)


def run_instances(test: Callable[[Any], None], strategy: Strategy, n: int, seed_value: int = 0) -> int:
    """Run ``test`` on n instances drawn from ``strategy`` with a fixed seed and return how many ran.

    A failing instance is shrunk; what the test raised on it is raised, with the instance in a note.
    """
    count = 0

    @settings(
        max_examples=n,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
    )
    @seed(seed_value)
    @given(strategy)
    def sampled(instance: Any) -> None:
        nonlocal count
        count += 1
        test(instance)

    sampled()
    return count


def exact_check(
    test: Callable[[Any], None],
    strategy: Callable[[], Strategy],
    how: str,
    sizes: str,
    factor: float = 1.0,
) -> Callable[[Profile], Outcome]:
    """A check that runs an exact test on rational instances: EXACT with their number, or REFUTED."""

    def run(profile: Profile) -> Outcome:
        n = run_instances(test, strategy(), profile.scaled(factor), profile.seed)
        return Outcome(Verdict.EXACT, how, sizes, n)

    return run
