"""Deciding claims, in this process and in workers; reports on disk; names that do not exist."""

from __future__ import annotations

import importlib
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from theory.core import files
from theory.core.errors import InvalidInput, UnknownName
from theory.verification import registry
from theory.verification.claim import (
    Assumption,
    Check,
    Claim,
    Counterexample,
    Outcome,
    Part,
    Planted,
    Profile,
    Verdict,
    exact_check,
)
from theory.verification.decide import cores, decide, verify, versions
from theory.verification.refutation import Refuted, require
from theory.verification.results import CheckResult, ClaimResult, PartResult, Report
from theory.verification.sampling import PROFILES
from theory.verification.store import ROUNDOFF, SAME, same_findings, write_report, write_text

module: Any = importlib.import_module("theory.verification.decide")  # theory.verification.decide itself is the function
QUICK = PROFILES["quick"]


def passing(profile: Profile) -> Outcome:
    return Outcome(Verdict.EXACT, "looked", "N ≤ 3", profile.instances, data={"pid": os.getpid(), "seed": profile.seed})


def late(profile: Profile) -> Outcome:
    time.sleep(0.5)
    return passing(profile)


def failing(profile: Profile) -> Outcome:
    raise Refuted("3 is not even")


def broken(profile: Profile) -> Outcome:
    raise ZeroDivisionError("a bug in the check")


AT_LEAST_2 = Assumption(
    name="at least 2",
    statement="x ≥ 2",
    predicate=lambda x: x >= 2,
    having=lambda: st.integers(2, 100),
    lacking=lambda: st.integers(-100, 1),
    conclusion=lambda x: x * x >= 2 * x,
    counterexample=Counterexample("one", lambda: 1, "1 < 2"),
)


def claim(name: str = "right", *checks: Check, assumptions: tuple[Assumption, ...] = ()) -> Claim:
    sound = tuple(check if check.planted else replace(check, planted=(CAUGHT,)) for check in checks or (Check("look", passing),))
    return Claim(f"prefix_state.{name}", f"title of {name}", "∀x", "module", "any", sound, assumptions)


def refuted(_: Any) -> None:
    raise Refuted("caught")


CAUGHT = Planted("anything", refuted)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def use(*claims: Claim) -> None:
        monkeypatch.setattr(registry, "all_claims", lambda: claims)

    return use


# -- one claim ------------------------------------------------------------------------------------------------------------


def test_decide() -> None:
    stated = claim("right", Check("look", passing), Check("measure", passing, part=None), assumptions=(AT_LEAST_2,))
    result = decide(stated, QUICK)
    assert result.verdict is Verdict.EXACT and result.ok and result.id == "prefix_state.right"
    assert [(c.name, c.part, c.outcome.instances) for c in result.checks] == [("look", "statement", 25), ("measure", None, 25)]
    assert all(c.seconds >= 0 for c in result.checks) and result.seconds >= sum(c.seconds for c in result.checks)
    assert result.parts == (PartResult("statement", Verdict.EXACT),) and (result.caught, result.planted) == (2, 2)
    assert result.how == "EXACT: looked"  # the supporting measurement is not part of it
    (assumption,) = result.assumptions
    assert assumption.name == "at least 2" and assumption.outcome.verdict is Verdict.REFUTED  # needed, which is good


def test_a_written_argument_makes_a_part_proved() -> None:
    """Not the claim: that is as weak as its weakest part, and floats stay floats however good the argument is."""
    measured = Check("measure", lambda _: Outcome(Verdict.NUMERIC, "float64"), "second")
    stated = replace(
        claim("right", Check("look", passing), measured), parts=(Part("statement", "derivation"), Part("second", "x"))
    )
    result = decide(stated, QUICK)
    assert [part.verdict for part in result.parts] == [Verdict.PROVED, Verdict.NUMERIC] and result.verdict is Verdict.NUMERIC
    assert decide(replace(stated, checks=stated.checks[:1], parts=stated.parts[:1]), QUICK).verdict is Verdict.PROVED


def test_a_part_that_rocq_has_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {("prefix_state.right", "statement"): ("a.b.c",)}
    monkeypatch.setattr(module, "theorems", lambda claim_id, part: known.get((claim_id, part), ()))
    result = decide(claim("right"), QUICK)
    assert result.verdict is Verdict.FORMAL and result.parts[0].theorems == ("a.b.c",)
    assert decide(claim("right", Check("again", failing)), QUICK).verdict is Verdict.REFUTED  # theorems hide no refutation
    assert decide(claim("other"), QUICK).verdict is Verdict.EXACT


def test_theorems_come_from_a_fresh_manifest_only(monkeypatch: pytest.MonkeyPatch) -> None:
    formal: Any = importlib.import_module("theory.verification.formal")

    class Manifest:
        fresh = True

        @classmethod
        def covered(cls, claim_id: str, part: str) -> bool:
            if claim_id == "unreadable":
                raise InvalidInput("manifest.json does not exist; run `make proofs`")
            return cls.fresh and part == "statement"

        @staticmethod
        def load() -> Any:
            entry = type("Entry", (), {"claim": "one", "part": "statement", "theorem": "a.b.c"})
            return type("Loaded", (), {"entries": (entry,)})

    monkeypatch.setattr(formal.importlib, "import_module", lambda name: Manifest)
    assert formal.theorems("one", "statement") == ("a.b.c",)
    assert formal.theorems("one", "converse") == formal.theorems("unreadable", "statement") == ()
    Manifest.fresh = False
    assert formal.theorems("one", "statement") == ()

    def absent(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(formal.importlib, "import_module", absent)
    assert formal.theorems("one", "statement") == ()


@pytest.mark.parametrize("verdict", [Verdict.PROVED, Verdict.FORMAL, Verdict.REFUTED, Verdict.ERROR])
def test_a_check_does_not_say_so_itself(verdict: Verdict) -> None:
    result = decide(claim("bold", Check("says", lambda _: Outcome(verdict, "said"))), QUICK)
    assert result.verdict is Verdict.ERROR and "a check finds EXACT, NUMERIC, OPEN" in (result.checks[0].outcome.witness or "")


@pytest.mark.parametrize("part", ["statement", "converse", None])
def test_a_failing_check_refutes_the_claim(part: str | None) -> None:
    result = decide(claim("wrong", Check("look", passing), Check("again", failing, part=part)), QUICK)
    assert result.verdict is Verdict.REFUTED and not result.ok
    outcome = result.checks[1].outcome
    assert (outcome.verdict, outcome.how, outcome.witness) == (Verdict.REFUTED, "again failed", "3 is not even")
    assert result.checks[0].outcome.verdict is Verdict.EXACT


def test_the_falsifying_instance_is_the_witness() -> None:
    def even(x: int) -> None:
        require(x < 10, f"{x} is too large")

    check = Check("numbers", exact_check(even, lambda: st.integers(0, 10**6), "integers", "all"))
    outcome = decide(claim("wrong", check), PROFILES["ci"]).checks[0].outcome
    assert outcome.verdict is Verdict.REFUTED and outcome.witness is not None
    assert "10 is too large" in outcome.witness and "x=10" in outcome.witness.replace("instance", "x")


def test_long_and_empty_messages() -> None:
    def long(profile: Profile) -> Outcome:
        raise Refuted("x" * 5000)

    def silent(profile: Profile) -> Outcome:
        require(profile is None)
        return passing(profile)

    checks = decide(claim("wrong", Check("long", long), Check("silent", silent)), QUICK).checks
    assert checks[0].outcome.witness == "x" * 2000 + " …" and checks[1].outcome.witness == "the condition fails"


@pytest.mark.parametrize("kind", [ZeroDivisionError, AssertionError, InvalidInput, RecursionError])
def test_a_bug_is_an_error_and_no_refutation(kind: type[Exception]) -> None:
    """An AssertionError too: it comes from inside the code, and `python -O` would delete it."""

    def breaks(_: Profile) -> Outcome:
        raise kind("a bug")

    result = decide(claim("bug", Check("look", passing), Check("broken", breaks)), QUICK)
    assert result.verdict is Verdict.ERROR and not result.ok and result.checks[0].outcome.verdict is Verdict.EXACT
    outcome = result.checks[1].outcome
    assert (outcome.verdict, outcome.how) == (Verdict.ERROR, "broken: internal error")
    assert re.fullmatch(rf"{kind.__name__} at test_decide\.py:\d+: a bug", outcome.witness or "")


def test_the_instance_of_a_bug_is_named() -> None:
    check = Check("numbers", exact_check(lambda x: 1 // (x - 3), lambda: st.integers(0, 5), "integers", "all"))
    outcome = decide(claim("bug", check), PROFILES["ci"]).checks[0].outcome
    assert outcome.verdict is Verdict.ERROR and "ZeroDivisionError" in (outcome.witness or "") and "=3" in (outcome.witness or "")


def test_a_bug_in_an_assumption_is_an_error() -> None:
    result = decide(claim("right", assumptions=(replace(AT_LEAST_2, conclusion=lambda x: 1 // 0),)), QUICK)
    assert result.verdict is Verdict.ERROR and result.assumptions[0].outcome.verdict is Verdict.ERROR


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"conclusion": lambda x: False}, "conclusion fails although"),
        ({"counterexample": Counterexample("zero", lambda: 0, "")}, "does not break the conclusion"),
    ],
)
def test_an_assumption_that_is_not_as_stated_refutes(changes: dict[str, Any], says: str) -> None:
    """However good the checks: the claim says something about its assumptions that is not so."""
    result = decide(claim("right", assumptions=(replace(AT_LEAST_2, **changes),)), QUICK)
    assert result.verdict is Verdict.REFUTED and result.checks[0].outcome.verdict is Verdict.EXACT
    outcome = result.assumptions[0].outcome
    assert outcome.verdict is Verdict.OPEN and outcome.witness is not None and says in outcome.witness


def test_an_open_assumption_does_not_refute() -> None:
    maybe = replace(AT_LEAST_2, counterexample=None, open_note="tried 0")
    result = decide(claim("right", assumptions=(maybe,)), QUICK)
    assert result.verdict is Verdict.EXACT and result.assumptions[0].outcome.verdict is Verdict.OPEN


# -- several claims -------------------------------------------------------------------------------------------------------


def test_verify_in_workers_and_in_this_process(known: Callable[..., None]) -> None:
    """The same verdicts in the same order; only worker processes run elsewhere."""
    known(claim("one", Check("late", late)), claim("two", Check("again", failing)), claim("three"))
    seen: list[str] = []
    alone = verify(profile="quick", jobs=1, progress=lambda r: seen.append(r.id))
    together = verify(profile="quick", jobs=2, progress=lambda r: seen.append(r.id))
    assert (
        [r.id for r in alone.results]
        == [r.id for r in together.results]
        == [f"prefix_state.{n}" for n in ("one", "two", "three")]
    )
    assert [r.verdict for r in alone.results] == [r.verdict for r in together.results]
    assert seen[:3] == [r.id for r in alone.results] and sorted(seen[3:]) == sorted(seen[:3])
    assert not alone.ok and not together.ok and alone.profile == together.profile == QUICK
    assert alone.results[0].checks[0].outcome.data["pid"] == os.getpid() != together.results[0].checks[0].outcome.data["pid"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_bug_is_not_the_end_of_the_run(known: Callable[..., None], jobs: int) -> None:
    known(claim("one"), claim("bug", Check("broken", broken)), claim("two"))
    report = verify(profile="quick", jobs=jobs)
    assert [r.verdict for r in report.results] == [Verdict.EXACT, Verdict.ERROR, Verdict.EXACT] and not report.ok


def test_a_worker_that_dies_takes_one_claim_with_it(known: Callable[..., None]) -> None:
    """Killed for memory, say: that claim is an error, and the others are decided nevertheless."""
    known(claim("one", Check("late", late)), claim("dies", Check("dies", lambda _: os._exit(9))), claim("two"))
    report = verify(profile="quick", jobs=2)
    assert [r.verdict for r in report.results] == [Verdict.EXACT, Verdict.ERROR, Verdict.EXACT] and not report.ok
    assert "worker" in report.results[1].how


def test_selection(known: Callable[..., None]) -> None:
    known(claim("one"), claim("two"))
    by = lambda **how: [r.id for r in verify(profile="quick", jobs=1, **how).results]  # noqa: E731
    assert by(claims=["prefix_state.two"]) == by(claims="prefix_state.two") == ["prefix_state.two"]
    assert by(claims=["prefix_state.two", "prefix_state.one", "prefix_state.two"]) == ["prefix_state.two", "prefix_state.one"]
    assert by(families="prefix_state") == by(families=["prefix_state"]) == by() == ["prefix_state.one", "prefix_state.two"]


def test_seeds_repeat_the_instances(known: Callable[..., None]) -> None:
    """One seed draws one sequence, another seed another one, through the whole of verify."""
    drawn: list[int] = []
    check = Check("numbers", exact_check(drawn.append, lambda: st.integers(0, 10**9), "integers", "all"))
    known(claim("numbers", check))

    def run(seed: int) -> list[int]:
        drawn.clear()
        report = verify(profile=Profile("mine", 20, seed=seed), jobs=1)
        assert report.results[0].checks[0].outcome.instances == len(drawn) == 20
        return list(drawn)

    assert run(3) == run(3) != run(4)
    assert verify(profile=Profile("mine", 20, seed=9), jobs=1).to_json()["profile"] == {
        "name": "mine",
        "instances": 20,
        "seed": 9,
    }


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"families": "prefix_sate"}, UnknownName, "no family named 'prefix_sate'; did you mean prefix_state"),
        (
            {"families": ["prefix_state", "zzz"]},
            UnknownName,
            "no family named 'zzz'; known: prefix_state, lora_limits, sparse_dims, beyond",
        ),
        (
            {"claims": ["prefix_state.one", "prefix_state.tow"]},
            UnknownName,
            r"'prefix_state\.tow'; did you mean .*prefix_state\.two",
        ),
        ({"claims": [3]}, UnknownName, "no claim named 3"),
        ({"profile": "fast"}, UnknownName, "no profile named 'fast'; choose quick, ci, long"),
        ({"claims": []}, InvalidInput, "no claims selected"),
        ({"families": []}, InvalidInput, "no claims selected"),
        ({"families": "prefix_state", "claims": ["prefix_state.one"]}, InvalidInput, "not both"),
        ({"jobs": 0}, InvalidInput, "jobs = 0 must be an integer of at least 1"),
        ({"jobs": -2}, InvalidInput, "jobs = -2"),
        ({"jobs": 1.5}, InvalidInput, r"jobs = 1\.5"),
        ({"jobs": True}, InvalidInput, "jobs = True"),
    ],
)
def test_bad_selection(known: Callable[..., None], arguments: dict[str, Any], error: type[Exception], says: str) -> None:
    known(claim("one"), claim("two"))
    base: dict[str, Any] = {"jobs": 1, "profile": "quick"}
    with pytest.raises(error, match=says):
        verify(**(base | arguments))


# -- the registry ---------------------------------------------------------------------------------------------------------


def test_every_claim_is_found_by_its_id() -> None:
    claims = registry.all_claims()
    assert len({c.id for c in claims}) == len(claims) >= 21
    assert [registry.get_claim(c.id) for c in claims] == list(claims)
    assert [c for f in registry.FAMILIES for c in registry.family_claims(f)] == list(claims) == list(registry.family_claims())
    assert registry.family_claims(["sparse_dims", "prefix_state"]) == tuple(
        c for c in claims if c.family in ("prefix_state", "sparse_dims")
    )


def test_repeated_ids_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Module:
        STATEMENTS = ("one",)
        CLAIM = claim("one")

    monkeypatch.setattr(registry.importlib, "import_module", lambda name: Module)
    with pytest.raises(ValueError, match=r"ids must be unique; repeated: \['prefix_state\.one'\]"):
        registry.all_claims.__wrapped__()
    monkeypatch.setattr(registry, "FAMILIES", ("prefix_state",))
    assert registry.all_claims.__wrapped__() == (Module.CLAIM,)


def test_unknown_names_print_their_message() -> None:
    with pytest.raises(UnknownName) as caught:
        registry.get_claim("prefix_state.equivalents")
    assert str(caught.value).startswith("no claim named 'prefix_state.equivalents'; did you mean prefix_state.equivalent")
    assert isinstance(caught.value, KeyError) and isinstance(caught.value, ValueError)


# -- reports --------------------------------------------------------------------------------------------------------------


def report_of(*outcomes: Outcome, parts: tuple[str | None, ...] = ("statement", None, "q")) -> Report:
    found = enumerate(zip(outcomes, parts, strict=False))
    checks = [CheckResult(f"check {i}", part, o, 0.123456, ("a", "b"), ("b: passes",)) for i, (o, part) in found]
    stated = replace(claim("one"), statement="∀x ∈ ℚ", readme="theory/a/README.md", not_claimed="much")
    decided = (PartResult("statement", Verdict.FORMAL, "derivation", ("a.b.c",)), PartResult("q", Verdict.EXACT))
    result = ClaimResult.of(stated, Verdict.NUMERIC, decided, checks, (), 1.23456)
    return Report((result,), QUICK, 2.34567, {"python": "3"}, {"LTI": [("prefix", "sdt")]})


def test_report_round_trip(tmp_path: Path) -> None:
    outcomes = (
        Outcome(Verdict.NUMERIC, "float64", "N ≤ 4", 7, 1e-12, 1e5, None, {"ranks": [1, 2], "name": None, "deep": {"x": 0.1}}),
        Outcome(Verdict.EXACT, "rationals", instances=3, tolerance=0.0),
        Outcome(Verdict.REFUTED, "again", witness="x = 1/3"),
    )
    path = tmp_path / "verdicts.json"
    report = report_of(*outcomes)
    write_report(report, path)
    text = path.read_text(encoding="utf-8")
    payload = json.loads(text)
    assert payload == report.to_json() and text.endswith("}\n") and "∀x ∈ ℚ" in text and "N ≤ 4" in text
    assert (payload["schema"], payload["versions"], payload["open_pairs"]) == (2, {"python": "3"}, {"LTI": [["prefix", "sdt"]]})
    assert "seconds" not in text
    (stored,) = payload["claims"]
    assert (stored["readme"], stored["not_claimed"]) == ("theory/a/README.md", "much") and "Galim" in stored["source"]
    assert stored["parts"] == [
        {
            "name": "statement", "verdict": "FORMAL", "argument": "theory/a/README.md#derivation", "theorems": ["a.b.c"],
            "checks": ["check 0"],
        },
        {"name": "q", "verdict": "EXACT", "argument": "", "theorems": [], "checks": ["check 2"]},
    ]  # fmt: skip
    checks = stored["checks"]
    assert all(c["planted"] == {"errors": ["a", "b"], "caught": 1} for c in checks)
    for outcome, part, found in zip(outcomes, ("statement", None, "q"), checks, strict=True):
        back = {k: found[k] for k in found.keys() - {"name", "part", "planted"}}
        assert Outcome(**(back | {"verdict": Verdict(back["verdict"])})) == outcome and found["part"] == part
    assert "witness" not in checks[0] and "data" not in checks[1] and checks[1]["tolerance"] == 0.0
    assert os.stat(path).st_mode & 0o777 == 0o644
    assert write_report(report_of(outcomes[1]), path)
    assert json.loads(path.read_text()) != payload and os.listdir(tmp_path) == ["verdicts.json"]


MEASURED = Outcome(Verdict.NUMERIC, "error 2.5e-15 of 1,000 runs at condition 3.1e+04", tolerance=1e-12, data={"x": [0.5, 3e-17]})


def test_a_file_that_says_the_same_is_left_alone(tmp_path: Path) -> None:
    """Other versions, another commit, roundoff in what was measured: nothing that a reader would want to see changed."""
    path = tmp_path / "v.json"
    assert write_report(report_of(MEASURED), path)
    before = path.read_bytes(), os.stat(path).st_mtime_ns
    again = replace(MEASURED, how="error 2.9e-15 of 1,000 runs at condition 3.1e+04", data={"x": [0.5 + 1e-9, -4e-17]})
    other = replace(report_of(again), versions={"python": "4", "commit": "abc"}, seconds=99.0)
    assert not write_report(other, path) and (path.read_bytes(), os.stat(path).st_mtime_ns) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": Verdict.EXACT},
        {"how": "error 2.5e-15 of 1,001 runs at condition 3.1e+04"},
        {"how": "error 2.5e-09 of 1,000 runs at condition 3.1e+04"},
        {"how": "deviation 2.5e-15 of 1,000 runs at condition 3.1e+04"},
        {"instances": 3},
        {"data": {"x": [0.51, 3e-17]}},
        {"data": {"x": [0.5]}},
        {"data": {"y": [0.5, 3e-17]}},
        {"witness": "w"},
    ],
)
def test_what_changed_is_written(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "v.json"
    assert write_report(report_of(MEASURED), path)
    assert write_report(report_of(replace(MEASURED, **changes)), path)


def test_exact_numbers_are_compared_exactly(tmp_path: Path) -> None:
    """The same tiny change that is roundoff in a measurement is news in an exact outcome; beside the parts all is measured."""
    exact = Outcome(Verdict.EXACT, "1e-15", data={"x": 0.5})
    nudged = replace(exact, data={"x": 0.5 + 1e-8})
    path = tmp_path / "v.json"
    assert write_report(report_of(exact), path) and write_report(report_of(nudged), path)
    beside = ("statement", None)
    assert write_report(report_of(MEASURED, exact, parts=beside), path)
    assert not write_report(report_of(MEASURED, nudged, parts=beside), path)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"claims": []}', "null"])
def test_a_file_that_is_no_report_is_replaced(tmp_path: Path, text: str) -> None:
    path = tmp_path / "v.json"
    path.write_text(text)
    assert write_report(report_of(MEASURED), path) and json.loads(path.read_text())["schema"] == 2


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        (1.0, 1.0 + SAME / 2, True),
        (1.0, 1.0 + 3 * SAME, False),
        (ROUNDOFF / 2, -ROUNDOFF / 3, True),
        (True, 1, False),
        (1, 1.0, False),
    ],
)
def test_same_findings(old: Any, new: Any, same: bool) -> None:
    assert same_findings([old], [new], measured=True) is same
    assert same_findings(old, old) and not same_findings([old], [old, new])


def test_a_real_run_round_trips(tmp_path: Path, known: Callable[..., None]) -> None:
    known(claim("one", assumptions=(AT_LEAST_2,)), claim("two", Check("again", failing)))
    report = verify(profile="quick", jobs=1)
    write_report(report, tmp_path / "v.json")
    payload = json.loads((tmp_path / "v.json").read_text())
    assert payload == json.loads(json.dumps(report.to_json()))
    one, two = payload["claims"]
    assert (
        one["verdict"] == "EXACT" and one["assumptions"][0]["verdict"] == "REFUTED" and one["assumptions"][0]["witness"] == "one"
    )
    assert two["verdict"] == "REFUTED" and two["checks"][0]["witness"] == "3 is not even"


def test_roundoff_does_not_reach_the_report() -> None:
    """Two processors, two last bits, one report; a difference of 1e-9 is no roundoff and stays."""
    found = [
        report_of(Outcome(Verdict.NUMERIC, "h", condition=x, data={"rows": [{"norm": x, "n": 3}], "pair": (x, "x")})).to_json()
        for x in (4.647503175034028e38, 4.647503175034019e38, 4.647503179e38)
    ]
    assert found[0] == found[1] != found[2]
    (check,) = found[0]["claims"][0]["checks"]
    assert check["data"] == {"rows": [{"norm": 4.647503175e38, "n": 3}], "pair": [4.647503175e38, "x"]}


@pytest.mark.parametrize("data", [{"x": float("nan")}, {"x": [float("inf")]}, {"x": {1, 2}}, {"x": object()}])
def test_outcomes_that_are_not_json(tmp_path: Path, data: dict[str, Any]) -> None:
    path = tmp_path / "v.json"
    path.write_text("old")
    with pytest.raises(InvalidInput, match=r"outcome of prefix_state\.one cannot be written as JSON"):
        write_report(report_of(Outcome(Verdict.EXACT, "h", data=data)), path)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["v.json"]


@pytest.mark.parametrize("step", ["replace", "chmod"])
def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "v.json"
    path.write_text("old")

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files.os, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_text("new", path)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["v.json"]
    write_text("new", path)
    assert path.read_text() == "new"


def test_a_reader_never_sees_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the one rename the old text stands; what is renamed is complete and lies in the same folder."""
    path = tmp_path / "v.json"
    path.write_text("old")
    move = os.replace
    seen: list[tuple[Path, str, str]] = []

    def watched(source: str, target: Path) -> None:
        seen.append((Path(source).parent, path.read_text(), Path(source).read_text()))
        move(source, target)

    monkeypatch.setattr(files.os, "replace", watched)
    write_text("new and longer", path)
    assert seen == [(tmp_path, "old", "new and longer")] and path.read_text() == "new and longer"


def test_places_one_cannot_write_to(tmp_path: Path) -> None:
    report = report_of(Outcome(Verdict.EXACT, "h"))
    with pytest.raises(InvalidInput, match=r"the folder .*absent does not exist"):
        write_report(report, tmp_path / "absent" / "v.json")
    with pytest.raises(InvalidInput, match="it is a folder"):
        write_report(report, tmp_path)
    assert os.listdir(tmp_path) == []


# -- versions -------------------------------------------------------------------------------------------------------------


def test_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy
    import sympy

    monkeypatch.setattr(module.provenance, "git_commit", lambda *_: "abc-dirty")
    found = versions()
    assert found["numpy"] == numpy.__version__ and found["sympy"] == sympy.__version__ and found["commit"] == "abc-dirty"
    monkeypatch.setattr(module.provenance, "git_commit", lambda *_: None)
    assert versions()["commit"] == "unknown"
    assert set(module.VERSIONED) < set(found) and all(isinstance(v, str) and v for v in found.values())
    monkeypatch.setattr(module, "VERSIONED", ("no-such-package",))
    assert versions()["no-such-package"] == "not installed"


@pytest.mark.parametrize("junk", [5, 1.5, b"x", object(), [5], [None], {"x": 1}])
def test_other_things_than_names_are_refused(junk: Any) -> None:
    with pytest.raises(InvalidInput):
        verify(claims=junk)
    with pytest.raises(InvalidInput):
        verify(junk)
    with pytest.raises(InvalidInput):
        verify(claims="beyond.mamba3", profile=junk)


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """``taskset`` or a container may have left fewer than the machine has."""
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {2, 3}, raising=False)
    assert cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores() == 16
