"""How the verdicts of parts follow from those of checks, and a claim's from those of its parts."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.verification.verdict import MEANING, OF_A_CHECK, RULE, Outcome, Verdict, of_claim, of_part

V = Verdict
WEAKEST_FIRST = [V.OPEN, V.NUMERIC, V.EXACT, V.PROVED, V.FORMAL]


@given(st.lists(st.sampled_from([*OF_A_CHECK, V.REFUTED, V.ERROR]), min_size=1, max_size=6), st.booleans(), st.booleans())
def test_a_part_is_its_weakest_check(checks: list[Verdict], argued: bool, formal: bool) -> None:
    found = of_part(checks, argued=argued, formal=formal)
    assert found is of_part(checks[::-1], argued=argued, formal=formal)
    for worst in (V.REFUTED, V.ERROR):
        if worst in checks:
            assert found is worst
            return
    weakest = min(checks, key=WEAKEST_FIRST.index)
    if weakest is not V.EXACT:
        assert found is weakest
    else:
        assert found is (V.FORMAL if formal else V.PROVED if argued else V.EXACT)


@pytest.mark.parametrize(
    ("checks", "argued", "formal", "verdict"),
    [
        (["EXACT"], False, False, "EXACT"),
        (["EXACT"], True, False, "PROVED"),
        (["EXACT", "EXACT"], True, True, "FORMAL"),
        (["EXACT"], False, True, "FORMAL"),
        (["EXACT", "NUMERIC"], True, True, "NUMERIC"),  # one exact check does not carry a part that rests on floats too
        (["EXACT", "OPEN"], True, False, "OPEN"),
        (["EXACT", "ERROR"], True, True, "ERROR"),
        (["ERROR", "REFUTED"], True, True, "REFUTED"),
    ],
)
def test_parts_worked_examples(checks: list[str], argued: bool, formal: bool, verdict: str) -> None:
    for order in permutations(map(Verdict, checks)):
        assert of_part(order, argued=argued, formal=formal) is Verdict(verdict)


@given(st.lists(st.sampled_from(list(V)), min_size=1, max_size=5), st.lists(st.sampled_from(list(V)), max_size=4))
def test_a_claim_is_its_weakest_part(parts: list[Verdict], beside: list[Verdict]) -> None:
    """What stands beside the parts decides nothing, unless it refutes or breaks."""
    found = of_claim(parts, beside)
    for worst in (V.REFUTED, V.ERROR):
        if worst in parts + beside:
            assert found is worst
            return
    assert found is min(parts, key=WEAKEST_FIRST.index) is of_claim(parts[::-1])


@pytest.mark.parametrize(
    ("parts", "beside", "verdict"),
    [
        (["PROVED", "EXACT"], [], "EXACT"),
        (["FORMAL", "PROVED"], ["NUMERIC", "OPEN"], "PROVED"),
        (["PROVED"], ["REFUTED"], "REFUTED"),
        (["PROVED"], ["ERROR"], "ERROR"),
        (["NUMERIC", "OPEN"], [], "OPEN"),
    ],
)
def test_claims_worked_examples(parts: list[str], beside: list[str], verdict: str) -> None:
    assert of_claim([Verdict(p) for p in parts], [Verdict(b) for b in beside]) is Verdict(verdict)


def test_nothing_decides_nothing() -> None:
    with pytest.raises(ValueError, match="no check that decides"):
        of_part([], argued=True, formal=True)
    with pytest.raises(ValueError, match="at least one part"):
        of_claim([], [V.EXACT])


def test_every_verdict_is_explained() -> None:
    assert list(MEANING) == list(Verdict) and len(set(MEANING.values())) == len(MEANING)
    assert all(str(v) in RULE for v in Verdict) and "planted" in RULE


def test_a_check_is_never_proved() -> None:
    assert set(OF_A_CHECK) == {V.EXACT, V.NUMERIC, V.OPEN}


def test_outcomes_are_json() -> None:
    outcome = Outcome(V.NUMERIC, "float64", "N ≤ 4", 3, 1e-12, 10.0, "w", {"a": [1, 2.5, "x", None, True]})
    back = json.loads(json.dumps(asdict(outcome)))
    assert back["verdict"] == "NUMERIC" and Verdict(back["verdict"]) is V.NUMERIC and back["data"] == outcome.data
    assert Outcome(V.OPEN, "h").data is not Outcome(V.OPEN, "h").data  # no shared default
