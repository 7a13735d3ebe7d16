"""The lattice: every edge has a claim, nothing contradicts, derived facts follow, and open pairs are generated."""

from __future__ import annotations

import json

import networkx as nx
import pytest

from theory.core.errors import UnknownName
from theory.relations import conditions
from theory.relations.conditions import CONDITIONS
from theory.relations.lattice import FACTS, METHODS, SYSTEMS, WITNESSES, Fact, Lattice, contradictions, lattice, main_lattice
from theory.verification.registry import all_claims


def test_every_edge_carries_a_claim_that_exists():
    ids = {c.id for c in all_claims()}
    for fact in lattice().facts:
        assert fact.claims
        assert set(fact.claims) <= ids
        assert {fact.smaller, fact.larger} <= set(SYSTEMS[fact.system][1])
    assert set(WITNESSES) <= ids


@pytest.mark.parametrize("claim", WITNESSES)
def test_witness(claim):
    assert WITNESSES[claim]()


CONDITIONAL = sorted({c for fact in FACTS for c in fact.conditions})


@pytest.mark.parametrize("condition", CONDITIONAL)
def test_a_condition_is_shown_by_two_systems(condition):
    """With it the relation stands on one system, without it it breaks on another."""
    pair = CONDITIONS[condition]
    assert pair.stands()
    assert pair.breaks()


CONTAINED = {
    "M ≥ n_obs": lambda: conditions._equivalent(conditions._TWO, 2),
    "M < n_obs": lambda: conditions._equivalent(conditions._TWO, 1),
    "M ≥ min(P·H, N)": lambda: conditions._rank_needed(2) == "witness",
    "M < min(P·H, N)": lambda: conditions._rank_needed(1) == "witness",
    "rank ≥ term rank of the support": lambda: conditions._term_rank(conditions._COLUMN) <= 1,
    "rank < term rank of the support": lambda: conditions._term_rank(conditions._DIAGONAL) <= 1,
    "every row of W_B has two nonzero entries": lambda: conditions._reaches([1, 1], [-1, 0]) == "witness",
    "a row of W_B has one nonzero entry": lambda: conditions._reaches([1, 0], [-1, 0]) == "witness",
    "one layer": lambda: not conditions._certified_one(),
    "two layers or more": lambda: not conditions._certified(2, "prompt_strict"),
}
"""Thresholds: whether what a fact is about is contained, on a system that has the condition (of LoRA, one of rank 1)."""


def test_a_fact_stands_on_the_right_side_of_its_threshold():
    """Where the condition says enough, the fact says contained, and where it says too little, not contained."""
    seen = set()
    for fact in FACTS:
        for condition in set(fact.conditions) & set(CONTAINED):
            assert CONTAINED[condition]() is fact.holds, (str(fact), condition)
            seen.add(condition)
    assert seen == set(CONTAINED)


def test_a_flipped_condition_is_noticed():
    fact = next(f for f in FACTS if "rank < term rank of the support" in f.conditions)
    assert CONTAINED["rank ≥ term rank of the support"]() is not fact.holds


def test_no_condition_is_left_over():
    assert sorted(CONDITIONS) == CONDITIONAL


def test_the_two_meanings_of_prefix_are_never_joined():
    for fact in lattice().facts:
        assert not {"free module inputs", "prefix at block inputs"} <= set(fact.conditions)


def test_nothing_contradicts():
    assert contradictions(lattice().facts) == []


def test_a_planted_contradiction_is_found():
    wrong = Fact("LTI", "prefix", "initial_state", False, ("prefix_state.contained",))
    assert contradictions(Lattice(("LTI",), [*FACTS, wrong]).facts)


def test_derived_facts():
    found = lattice("LTI")
    prompt = found.between("LTI", "prompt", "initial_state")
    assert any(f.holds and f.derived and f.smaller == "prompt" and f.conditions == () for f in prompt)
    offset = [f for f in found.between("LTI", "state_offset", "prefix") if f.smaller == "state_offset"]
    assert any(not f.holds and f.derived for f in offset)  # offset ⊄ initial state ⊇ prefix
    assert found.relation("LTI", "prefix", "initial_state") == "⊆ (depends)"
    assert found.relation("LTI", "state_offset", "initial_state") == "(∥)"


def test_exclusive_conditions_are_never_joined():
    for fact in lattice().facts:
        assert not {"M ≥ n_obs", "M < n_obs"} <= set(fact.conditions)
        assert not {"one layer", "two layers or more"} <= set(fact.conditions)


def test_rules_on_a_small_example():
    facts = [Fact("LTI", "prompt", "prefix", True, ("x",)), Fact("LTI", "prefix", "full", True, ("y",))]
    facts.append(Fact("LTI", "prompt", "sdt", False, ("z",)))
    out = {(f.smaller, f.larger, f.holds): f for f in Lattice(("LTI",), facts).facts}
    assert out["prompt", "full", True].path == ("prefix",)
    assert out["prefix", "sdt", False].claims == ("x", "z")
    assert ("full", "prompt", True) not in out
    assert ("sdt", "prompt", False) not in out


def test_open_pairs_are_what_is_left():
    found = lattice()
    for system, (_, methods) in SYSTEMS.items():
        pairs = found.open_pairs(system)
        assert pairs or system == "LTI", system
        decided = len(methods) * (len(methods) - 1) // 2 - len(pairs)
        assert decided >= len(methods) - 3
        for a, b in pairs:
            assert found.relation(system, a, b) == "?"


def test_graph_is_networkx_and_full_is_on_top():
    graph = lattice("S6").graph("S6")
    assert isinstance(graph, nx.MultiDiGraph)
    assert set(nx.descendants(graph, "lora_in_proj")) >= {"full"}
    assert graph.number_of_nodes() == len(SYSTEMS["S6"][1])
    assert "lora_A" not in lattice("Mamba-2").graph("Mamba-2")


def test_command(capsys):
    assert main_lattice(["--system", "LTI"]) == 0
    shown = capsys.readouterr().out
    assert "prefix_state.equivalent" in shown
    assert "OPEN" in shown
    assert main_lattice(["--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert set(payload["systems"]) == set(SYSTEMS)
    assert set(payload["methods"]) == set(METHODS)
    with pytest.raises(UnknownName, match="Mamba-2"):
        main_lattice(["--system", "Mamba2"])


def test_the_signs_are_explained_first_and_pairs_are_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    """Every pair is decided always, decided on conditions, or open; the last row adds them up."""
    assert main_lattice([]) == 0
    text = capsys.readouterr().out
    assert " ".join(text.split()).startswith("⊂ strictly contained") and text.index("Pairs of methods") < text.index(
        "row against"
    )
    found = lattice()
    rows = {line.split("│")[1].strip(): line for line in text.splitlines() if line.startswith("│") and line.count("│") == 6}
    total = [0, 0, 0, 0]
    for system in found.systems:
        pairs, always, sometimes, open_ = (int(cell) for cell in rows[system].split("│")[2:6])
        assert pairs == always + sometimes + open_ == len(SYSTEMS[system][1]) * (len(SYSTEMS[system][1]) - 1) // 2
        assert open_ == len(found.open_pairs(system))
        total = [a + b for a, b in zip(total, (pairs, always, sometimes, open_), strict=True)]
    assert [int(cell) for cell in rows["all"].split("│")[2:6]] == total
    assert main_lattice(["--system", "LTI"]) == 0
    assert "│ all " not in capsys.readouterr().out


def test_a_method_that_a_class_lacks_is_no_open_pair() -> None:
    found = lattice()
    for ask in (found.relation, found.between):
        with pytest.raises(UnknownName, match="Mamba-2 has no method named 'lora_A'"):
            ask("Mamba-2", "lora_A", "prefix")
        with pytest.raises(UnknownName, match="no system class"):
            ask("Mamba2", "prefix", "prompt")
    assert found.relation("S6", "prefix", "prefix") == "=" and found.relation("S6", "lora_A", "prefix") == "(⊅)"
