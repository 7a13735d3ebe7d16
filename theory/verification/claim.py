"""Claims, the parts of their statements, the assumptions they rest on, and the checks that decide them.

A :class:`Claim` is a relation between function classes under named assumptions. Its :class:`Check` objects decide its
:class:`Part` objects (``theory.verification.verdict`` says how); its :class:`Assumption` objects each carry hypothesis
strategies for instances with and without the assumption, and the smallest explicit instance that breaks the conclusion when
the assumption is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..core.shown import Shown
from .planted import Planted
from .refutation import require
from .sampling import PROFILES, Profile, Strategy, exact_check, run_instances
from .verdict import Outcome, Verdict

__all__ = [
    "PROFILES",
    "Assumption",
    "Check",
    "Claim",
    "Counterexample",
    "Outcome",
    "Part",
    "Planted",
    "Profile",
    "Verdict",
    "exact_check",
    "run_instances",
]


@dataclass(frozen=True)
class Part:
    """One part of a claim's statement, decided by the checks that name it.

    Attributes
    ----------
    name:
        Unique within the claim.
    argument:
        Anchor, in the claim's page, of the complete argument for all sizes (``"derivation"``); empty where there is none.
    """

    name: str
    argument: str = ""


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
        The part that it helps to decide. ``None``: a table or measurement beside the parts.
    planted:
        Errors that it must refute.
    """

    name: str
    run: Callable[[Profile], Outcome]
    part: str | None = "statement"
    planted: tuple[Planted, ...] = ()


@dataclass(frozen=True)
class Counterexample:
    """A named smallest instance on which a conclusion fails.

    ``build`` returns the instance; ``statement`` says in words and exact numbers what goes wrong.
    """

    name: str
    build: Callable[[], Any]
    statement: str


@dataclass(frozen=True, kw_only=True)
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
    checks, assumptions, parts:
        See the classes. Parts that are not listed, but named by checks, have no written argument.
    readme:
        Path of the claim's page, from the repository's root.
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
    parts: tuple[Part, ...] = ()
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
        listed = [part.name for part in self.parts]
        if len(set(listed)) != len(listed):
            raise ValueError(f"claim {self.id} has two parts of one name: {listed}")
        undecided = set(listed) - {check.part for check in self.checks}
        if undecided:
            raise ValueError(f"claim {self.id} has parts that no check decides: {sorted(undecided)}")
        names = [check.name for check in self.checks]
        if len(set(names)) != len(names):
            raise ValueError(f"claim {self.id} has two checks of one name: {names}")
        assumed = [assumption.name for assumption in self.assumptions]
        if len(set(assumed)) != len(assumed):
            raise ValueError(f"claim {self.id} has two assumptions of one name: {assumed}")

    def all_parts(self) -> tuple[Part, ...]:
        """Its parts in the order of the statement: those listed, then those that only checks name."""
        named = dict.fromkeys(check.part for check in self.checks if check.part is not None)
        listed = {part.name for part in self.parts}
        return self.parts + tuple(Part(name) for name in named if name not in listed)

    @property
    def family(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]
