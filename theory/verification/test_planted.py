"""Planted errors: how they run a check, which they escape, and that no check of any claim can be emptied unnoticed."""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from types import FunctionType
from typing import Any

import pytest
from hypothesis import strategies as st

from theory.verification.claim import Check, Claim, Outcome, Planted, Profile, Verdict
from theory.verification.decide import decide, run_check
from theory.verification.planted import changed, giving, negated, on, swap
from theory.verification.refutation import require
from theory.verification.registry import all_claims
from theory.verification.sampling import PROFILES, Sampled, exact_check

QUICK = PROFILES["quick"]


def double(x: Any) -> Any:
    return 2 * x


class Halves:
    def of(self, x: Fraction) -> Fraction:
        return x / 2


def check_double(x: Fraction) -> None:
    require(double(x) == x + x, x)
    require(Halves().of(double(x)) == x, x)


def runs_double(profile: Profile) -> Outcome:
    for x in range(profile.instances):
        check_double(Fraction(x))
    return Outcome(Verdict.EXACT, "doubled")


SAMPLED = exact_check(check_double, st.fractions, "doubled", "all")
HERE = "theory.verification.test_planted"


@pytest.mark.parametrize("run", [SAMPLED, runs_double])
@pytest.mark.parametrize(
    "how",
    [
        swap("double", lambda right: lambda x: right(x) + x),
        swap("double", changed(lambda y: y + 1)),
        swap("double", giving(7)),
        swap("Halves.of", changed(lambda y: y + 1)),
        swap(f"{HERE}:double", changed(lambda y: 3 * y)),
    ],
)
def test_a_wrong_function_is_caught_and_put_right_again(run: Any, how: Any) -> None:
    right, method = double, Halves.of
    assert Planted("wrong", how).escapes(run) is None
    assert double is right and Halves.of is method and run(QUICK).verdict is Verdict.EXACT


def test_what_the_check_does_not_look_at_escapes() -> None:
    assert Planted("harmless", swap("double", lambda right: lambda x: right(x))).escapes(SAMPLED) == "harmless: passes"
    assert Planted("unused", swap("negated", giving(0))).escapes(runs_double) == "unused: passes"


def test_an_error_that_breaks_the_check_is_not_caught() -> None:
    found = Planted("broken", swap("double", lambda _: lambda x: x.no_such_part)).escapes(SAMPLED)
    assert found is not None and found.startswith("broken: not refuted, but AttributeError")
    found = Planted("typo", swap("no_such_name", giving(0))).escapes(SAMPLED)
    assert found is not None and "AttributeError" in found and not hasattr(importlib.import_module(HERE), "no_such_name")


def test_wrong_instances() -> None:
    below = exact_check(lambda x: require(x < 3, x), lambda: st.integers(0, 2), "small", "all")
    assert Planted("three", on(lambda: 3)).escapes(below) is None
    assert Planted("two", on(lambda: 2)).escapes(below) == "two: passes"
    assert "TypeError" in (Planted("three", on(lambda: 3)).escapes(runs_double) or "")


def test_a_swap_on_one_instance() -> None:
    def wrong_at_100(right: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: right(x) + (x == 100)

    assert Planted("rare", swap("double", wrong_at_100)).escapes(SAMPLED) == "rare: passes"
    assert Planted("rare", swap("double", wrong_at_100, lambda: Fraction(100))).escapes(SAMPLED) is None


def test_helpers() -> None:
    assert negated(lambda x: x)(0) is True and giving(3)(None)(1, a=2) == 3 and changed(abs)(lambda x: x)(-4) == 4


# -- the machinery --------------------------------------------------------------------------------------------------------

CAUGHT = Planted("tripled", swap("double", changed(lambda y: y * 3)))


def test_no_verdict_for_a_check_that_lets_an_error_pass() -> None:
    harmless = Planted("harmless", swap("double", lambda right: right))
    good = run_check(Check("doubles", SAMPLED, planted=(CAUGHT,)), QUICK)
    assert (good.outcome.verdict, good.planted, good.escaped, good.caught) == (Verdict.EXACT, ("tripled",), (), 1)
    bad = run_check(Check("doubles", SAMPLED, planted=(CAUGHT, harmless)), QUICK)
    assert (bad.outcome.verdict, bad.escaped, bad.caught) == (Verdict.ERROR, ("harmless: passes",), 1)
    assert bad.outcome.how == "doubles: nothing shows that it can fail" and bad.outcome.witness == "harmless: passes"
    none = run_check(Check("doubles", SAMPLED), QUICK)
    assert none.outcome.verdict is Verdict.ERROR and "no planted error" in (none.outcome.witness or "")


@pytest.mark.parametrize("part", ["statement", None])
def test_the_claim_is_an_error_then(part: str | None) -> None:
    checks = (Check("sound", SAMPLED, planted=(CAUGHT,)), Check("empty", replace(SAMPLED, test=lambda _: None), part, (CAUGHT,)))
    result = decide(Claim("family.one", "t", "s", "module", "any", checks), QUICK)
    assert result.verdict is Verdict.ERROR and not result.ok and (result.caught, result.planted) == (1, 2)


# -- every check of every claim -------------------------------------------------------------------------------------------

CHECKS = [(claim, check) for claim in all_claims() for check in claim.checks]
NAMES = [f"{claim.id}: {check.name}" for claim, check in CHECKS]


@pytest.mark.parametrize(("claim", "check"), CHECKS, ids=NAMES)
def test_every_check_has_a_planted_error_of_its_own_name(claim: Claim, check: Check) -> None:
    names = [planted.name for planted in check.planted]
    assert names and len(set(names)) == len(names)


def emptied(check: Check) -> Check:
    """The check with its deciding function replaced by one that looks at nothing."""
    if isinstance(check.run, Sampled):
        return replace(check, run=replace(check.run, test=lambda _: None))
    return replace(check, run=lambda _: Outcome(Verdict.EXACT, "looked at nothing"))


@pytest.mark.parametrize(("claim", "check"), CHECKS, ids=NAMES)
def test_no_check_can_be_emptied(claim: Claim, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """Generically: whatever the deciding function was, without it the planted errors pass and there is no verdict."""
    monkeypatch.setattr(importlib.import_module("theory.verification.planted"), "FEW", Profile("planted", 1))
    found = run_check(emptied(check), Profile("tiny", 1))
    assert found.outcome.verdict is Verdict.ERROR and len(found.escaped) == len(check.planted)


def without(function: FunctionType, index: int) -> FunctionType:
    """A function without its require statement of that number, in the order of its source."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    seen = -1

    class Drop(ast.NodeTransformer):
        def visit_Expr(self, node: ast.Expr) -> ast.AST:
            nonlocal seen
            call = node.value
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "require":
                seen += 1
                if seen == index:
                    return ast.copy_location(ast.Pass(), node)
            return node

    module = ast.fix_missing_locations(Drop().visit(tree))
    assert seen >= index, f"{function.__name__} has {seen + 1} require statements"
    space: dict[str, Any] = {}
    scope = vars(importlib.import_module(function.__module__))  # its own, so that swaps reach the function
    exec(compile(module, "<without>", "exec"), scope, space)
    made: FunctionType = space[function.__name__]
    return made


# claim, check, the require statements of its test that its planted errors must need, one by one
DECIDING = [
    ("lora_limits.selector_absorption", "three tokens fix the selectors", (0, 1)),
    ("lora_limits.in_proj_dominates", "first token", (0, 1)),
    ("lora_limits.spectrum_frozen", "several channels, independent states", (1,)),
    ("lora_limits.unreachable", "floor over all relabellings", (3,)),
    ("sparse_dims.minimal_adjustment", "both solvers", (0,)),
    ("sparse_dims.depth_sharing", "frozen, rank D − 1", (0,)),
    ("lora_limits.spectrum_frozen", "log-decays after training", (0,)),
]


@pytest.mark.parametrize(("claim_id", "name", "indices"), DECIDING)
def test_the_deciding_assertion_cannot_be_deleted(claim_id: str, name: str, indices: tuple[int, ...]) -> None:
    (check,) = [c for claim, c in CHECKS if claim.id == claim_id and c.name == name]
    assert isinstance(check.run, Sampled) and isinstance(check.run.test, FunctionType)
    for index in indices:
        weaker = replace(check.run, test=without(check.run.test, index))
        assert any(planted.escapes(weaker) for planted in check.planted), (name, index)


def test_without_require_nothing_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative twin: what stands between a check and a vacuous verdict is require, and it is looked at."""
    check = Check("doubles", SAMPLED, planted=(CAUGHT,))
    assert run_check(check, QUICK).outcome.verdict is Verdict.EXACT
    monkeypatch.setattr(importlib.import_module(HERE), "require", lambda *_: None)
    assert run_check(check, QUICK).outcome.verdict is Verdict.ERROR
