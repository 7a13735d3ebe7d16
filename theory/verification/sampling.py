"""Instances: how many a profile asks for, how they are drawn, and checks that run one exact test on each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from .verdict import Outcome, Verdict

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Strategy: TypeAlias = "SearchStrategy[Any]"


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


_shrinking = True


@contextmanager
def unshrunk() -> Iterator[None]:
    """Within it, failing instances are raised as drawn: where it matters only that a check fails, the smallest is not sought."""
    global _shrinking
    before, _shrinking = _shrinking, False
    try:
        yield
    finally:
        _shrinking = before


def run_instances(test: Callable[[Any], None], strategy: Strategy, n: int, seed_value: int = 0) -> int:
    """Run ``test`` on n instances drawn from ``strategy`` with a fixed seed and return how many ran.

    What the test raises on an instance is raised, with the instance in a note, and shrunk first (unless :func:`unshrunk`).
    """
    from hypothesis import HealthCheck, Phase, given, seed, settings  # needed only where claims are decided

    count = 0

    @settings(
        max_examples=n,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink) if _shrinking else (Phase.generate,),
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


@dataclass(frozen=True)
class Sampled:
    """A check's run: an exact test on rational instances, EXACT with their number where it refutes none.

    Attributes
    ----------
    test:
        instance → None; raises Refuted.
    strategy, factor:
        Where instances come from, and which share of the profile's number.
    how, sizes:
        See :class:`theory.verification.verdict.Outcome`.
    """

    test: Callable[[Any], None]
    strategy: Callable[[], Strategy]
    how: str
    sizes: str
    factor: float = 1.0

    def __call__(self, profile: Profile) -> Outcome:
        """Draw, test, count."""
        n = run_instances(self.test, self.strategy(), profile.scaled(self.factor), profile.seed)
        return Outcome(Verdict.EXACT, self.how, self.sizes, n)


def exact_check(
    test: Callable[[Any], None], strategy: Callable[[], Strategy], how: str, sizes: str, factor: float = 1.0
) -> Sampled:
    """A check that runs an exact test on rational instances: EXACT with their number, or REFUTED."""
    return Sampled(test, strategy, how, sizes, factor)
