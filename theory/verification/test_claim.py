"""Claims: how instances are drawn, how failures become refutations, and which claims cannot be stated."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.verification.claim import (
    PROFILES,
    Assumption,
    Check,
    Claim,
    Counterexample,
    Outcome,
    Part,
    Profile,
    Verdict,
    exact_check,
    run_instances,
)
from theory.verification.refutation import Refuted, require
from theory.verification.sampling import unshrunk

QUICK = PROFILES["quick"]


# -- profiles -------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 10_000), st.floats(0.001, 4))
def test_scaled(instances: int, factor: float) -> None:
    n = Profile("p", instances).scaled(factor)
    assert n == max(5, int(instances * factor)) and n >= 5


def test_profiles() -> None:
    assert {name: p.instances for name, p in PROFILES.items()} == {"quick": 25, "ci": 200, "long": 10_000}
    assert all(name == p.name for name, p in PROFILES.items())
    assert PROFILES["ci"].scaled(0.1) == 20 and PROFILES["quick"].scaled(0.1) == 5 and PROFILES["ci"].scaled(1) == 200


# -- instances ------------------------------------------------------------------------------------------------------------


def drawn(n: int, seed: int) -> list[Any]:
    seen: list[Any] = []
    count = run_instances(seen.append, st.lists(st.integers(0, 10**6), min_size=3, max_size=3), n, seed)
    assert count == len(seen)
    return seen


def test_instances_are_counted_and_repeatable() -> None:
    first = drawn(30, seed=4)
    assert len(first) == 30 and first == drawn(30, seed=4)
    assert first != drawn(30, seed=5) and len({tuple(v) for v in first}) > 20
    assert drawn(7, seed=4) != drawn(30, seed=4)[:6]  # 7 are 7


def test_a_small_space_is_exhausted() -> None:
    seen: list[int] = []
    assert run_instances(seen.append, st.sampled_from([1, 2, 3]), 100) == len(seen)
    assert set(seen) == {1, 2, 3} and len(seen) <= 100


def test_a_failure_is_shrunk_and_named() -> None:
    """The refuting instance is the smallest: 17, not whatever was drawn first."""

    def below(x: int) -> None:
        require(x < 17, f"{x} is not below 17")

    with pytest.raises(Refuted, match="17 is not below 17") as caught:
        run_instances(below, st.integers(0, 10**9), 200)
    assert any("17" in note for note in getattr(caught.value, "__notes__", []))
    assert run_instances(below, st.integers(0, 16), 200) >= 17


def test_two_failures_of_one_check_are_one_refutation() -> None:
    """Hypothesis would gather them in an ExceptionGroup, which is neither."""

    def twice(x: int) -> None:
        require(x < 17, "too large")
        if x < 0:
            raise Refuted("negative")

    with pytest.raises(Refuted):
        run_instances(twice, st.integers(), 200)


def test_unshrunk_failures_are_raised_as_drawn() -> None:
    """Where only the failure matters, the search for the smallest instance is left out; afterwards it is back."""

    def failing(x: int) -> None:
        require(x < 17, str(x))

    def found() -> int:
        with pytest.raises(Refuted) as caught:
            run_instances(failing, st.integers(0, 10**9), 200)
        return int(str(caught.value))

    with unshrunk():
        assert found() > 17
    assert found() == 17


def test_errors_that_are_no_refutations_are_raised_as_they_are() -> None:
    def broken(x: int) -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        run_instances(broken, st.integers(), 10)


def test_exact_check() -> None:
    seen: list[Fraction] = []
    check = exact_check(seen.append, lambda: st.fractions(), "rationals", "all sizes", factor=0.5)
    outcome = check(Profile("p", 40, seed=1))
    assert outcome == Outcome(Verdict.EXACT, "rationals", "all sizes", 20) and len(seen) == 20
    before = list(seen)
    seen.clear()
    check(Profile("p", 40, seed=1))
    assert seen == before
    seen.clear()
    check(Profile("p", 40, seed=2))
    assert seen != before

    def positive(x: Fraction) -> None:
        require(x > 0, x)

    with pytest.raises(Refuted):
        exact_check(positive, lambda: st.fractions(), "rationals", "")(QUICK)


# -- assumptions ----------------------------------------------------------------------------------------------------------

# The claim "x² ≥ 2x" under the assumption "x ≥ 2", on integers; 1 refutes it without the assumption.
GOOD = Assumption(
    name="at least 2",
    statement="x ≥ 2",
    predicate=lambda x: x >= 2,
    having=lambda: st.integers(2, 100),
    lacking=lambda: st.integers(-100, 1),
    conclusion=lambda x: x * x >= 2 * x,
    counterexample=Counterexample("one", lambda: 1, "1 < 2"),
)


def test_a_needed_assumption_is_refuted_without_it() -> None:
    outcome = GOOD.examine(PROFILES["ci"])
    assert outcome.verdict is Verdict.REFUTED and outcome.witness == "one"
    assert outcome.how == "without it: 1 < 2" and outcome.instances == 2 * PROFILES["ci"].scaled(0.05) + 1 == 21


def test_an_assumption_nobody_needs_stays_open() -> None:
    maybe = replace(GOOD, counterexample=None, open_note="tried 0 to 10", conclusion=lambda x: x * x >= 0)
    outcome = maybe.examine(QUICK)
    assert outcome.verdict is Verdict.OPEN and "tried 0 to 10" in outcome.how and outcome.witness is None
    assert outcome.instances == 10


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"having": lambda: st.integers(0, 100)}, "'having' drew an instance without at least 2"),
        ({"conclusion": lambda x: x > 2}, "conclusion fails although every assumption holds: 2"),
        ({"lacking": lambda: st.sampled_from([1, 2])}, "'lacking' drew an instance that has at least 2: 2"),
        ({"counterexample": Counterexample("two", lambda: 2, "")}, "'two' satisfies at least 2"),
        ({"counterexample": Counterexample("zero", lambda: 0, "")}, "'zero' does not break the conclusion"),
    ],
)
def test_an_assumption_not_as_stated_is_caught(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(Refuted, match=says):
        replace(GOOD, **changes).examine(PROFILES["ci"])


def test_no_counterexample_needs_a_note() -> None:
    with pytest.raises(ValueError, match="'at least 2' has no counterexample: say in open_note what was tried"):
        replace(GOOD, counterexample=None)


# -- claims ---------------------------------------------------------------------------------------------------------------


def passes(profile: Profile) -> Outcome:
    return Outcome(Verdict.EXACT, "ran", instances=profile.instances)


def claim(**changes: Any) -> Claim:
    values: dict[str, Any] = {
        "id": "family.statement",
        "title": "t",
        "statement": "s",
        "level": "module",
        "horizon": "any",
        "checks": (Check("a", passes),),
    }
    return Claim(**(values | changes))


def test_parts_come_in_the_order_of_the_statement() -> None:
    checks = (Check("a", passes, "second"), Check("b", passes, "first"), Check("c", passes, None), Check("d", passes, "third"))
    stated = claim(checks=checks, parts=(Part("first", "derivation"), Part("second")))
    assert stated.all_parts() == (Part("first", "derivation"), Part("second"), Part("third"))
    assert claim().all_parts() == (Part("statement"),)


def test_assumptions_take_keywords_only() -> None:
    """Eight arguments, five of them functions: in order they would be exchanged unnoticed."""
    values = [
        getattr(GOOD, key) for key in ("name", "statement", "predicate", "having", "lacking", "conclusion", "counterexample")
    ]
    with pytest.raises(TypeError, match="positional"):
        Assumption(*values)  # type: ignore[call-arg]


def test_claim() -> None:
    stated = claim(checks=(Check("a", passes), Check("b", passes, part=None), Check("c", passes, part="converse")))
    assert stated.family == "family" and [c.part for c in stated.checks] == ["statement", None, "converse"]
    assert "Galim et al. 2024" in stated.source and stated.assumptions == ()
    assert claim(id="a.b.c").family == "a"
    with pytest.raises(AttributeError):
        stated.id = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id": "statement"}, "'statement' is not of the form family.statement"),
        ({"id": ".statement"}, "not of the form"),
        ({"id": "family."}, "not of the form"),
        ({"id": ""}, "not of the form"),
        ({"checks": ()}, "no check that decides"),
        ({"checks": (Check("a", passes, part=None),)}, "no check that decides"),
        ({"checks": (Check("a", passes), Check("a", passes, part="q"))}, "two checks of one name"),
        ({"assumptions": (GOOD, GOOD)}, "two assumptions of one name"),
        ({"parts": (Part("statement"), Part("statement", "derivation"))}, "two parts of one name"),
        ({"parts": (Part("statement"), Part("converse", "derivation"))}, r"parts that no check decides: \['converse'\]"),
    ],
)
def test_claims_that_cannot_be_stated(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        claim(**changes)
