"""The committed manifest is fresh, and every planted weakening is noticed. No Rocq is needed here."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from theory.core.errors import InvalidInput
from theory.verification.registry import all_claims

from . import manifest as m
from .__main__ import changed_statements
from .page import THEOREMS, page, pages, stale_pages

FORBIDDEN = r"\b(?:Admitted|admit|Axiom|Axioms|Parameter|Parameters|Conjecture|Abort|Unset Guard Checking|bypass_check)\b"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The proofs, cover.toml and manifest.json in a folder of their own."""
    for name in ("_CoqProject", "cover.toml", "manifest.json", *m.sources()):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(m.FOLDER / name, tmp_path / name)
    return tmp_path


def edit(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text(encoding="utf-8")
    assert text.count(old) == 1, (name, old)
    (folder / name).write_text(text.replace(old, new), encoding="utf-8")


def test_the_committed_manifest_is_fresh():
    assert m.problems() == [], "run `make proofs` and commit theory/formal/manifest.json"


def test_no_theorem_rests_on_an_axiom():
    entries = m.load().entries
    assert len(entries) > 20
    assert [e.theorem for e in entries if e.assumptions] == []


def test_sources_assume_nothing():
    for name in m.sources():
        text = m.uncommented((m.FOLDER / name).read_text(encoding="utf-8"))
        assert not re.search(FORBIDDEN, text), name
        depth = 0
        for sentence in re.split(r"\.\s", text):
            word = sentence.split()[:1]
            depth += (word == ["Section"]) - (word == ["End"])
            assert depth or word not in (["Variable"], ["Variables"], ["Hypothesis"], ["Hypotheses"], ["Context"]), (
                name,
                sentence,
            )


def test_a_hidden_axiom_would_be_seen():
    assert re.search(FORBIDDEN, "Lemma x : False.\nAdmitted.")
    assert not re.search(FORBIDDEN, m.uncommented("(* Admitted (* nested *) *) Lemma admitted_later : True."))


def test_every_source_is_listed():
    found = {str(p.relative_to(m.FOLDER)) for p in m.FOLDER.rglob("*.v")}
    assert found == set(m.sources())


def test_parts_are_parts_of_claims():
    parts = {(c.id, check.part) for c in all_claims() for check in c.checks}
    assert [(p.claim, p.part) for p in m.cover() if (p.claim, p.part) not in parts] == []


def test_a_deleted_premise_is_noticed(copy: Path):
    edit(copy, "prefix_state/equivalent.v", "Theorem equivalent L M : (n <= L)%N ->", "Theorem equivalent L M :")
    found = m.problems(copy)
    assert "prefix_state/equivalent.v: the file differs from the one that Rocq checked" in found
    assert "prefix_state.equivalent.equivalent: the statement differs from the recorded one" in found


def test_a_weakened_definition_is_noticed(copy: Path):
    """The statement's text stays, but a file that it requires changes."""
    assert m.covered("sparse_dims.essential", "B redundant given C", copy)
    edit(copy, "core/lti.v", "\\row_n (a n * h 0 n + b n * x)", "\\row_n (a n * h 0 n)")
    assert not m.covered("sparse_dims.essential", "B redundant given C", copy)
    entry = next(e for e in m.load(copy).entries if e.theorem == "sparse_dims.essential.B_redundant")
    assert m.stale(entry, copy)
    maps = next(e for e in m.load(copy).entries if e.theorem == "lora_limits.selector_absorption.absorbable")
    assert not m.stale(maps, copy)


def test_another_statement_is_not_recorded_silently():
    """What `make proofs` compares before it writes: the closed types."""
    old = m.load()
    name = old.entries[0].theorem
    weak = tuple(replace(e, type="forall x : nat, x = x") if e.theorem == name else e for e in old.entries)
    lines = changed_statements(old, replace(old, entries=weak))
    assert len(lines) == 1 and "now forall x : nat, x = x" in lines[0]
    gone = [e for e in old.entries if e.theorem != old.entries[0].theorem]
    assert changed_statements(old, replace(old, entries=tuple(gone))) == [f"{old.entries[0].theorem}: gone from cover.toml"]
    assert changed_statements(old, old) == []


def test_an_unproved_row_is_noticed(copy: Path):
    edit(copy, "cover.toml", "prefix_state.mamba2.rank_limit", "prefix_state.mamba2.no_such_theorem")
    found = m.problems(copy)
    assert "prefix_state.mamba2.no_such_theorem: in cover.toml, not in the manifest" in found
    assert "prefix_state.mamba2.rank_limit: in the manifest, not in cover.toml" in found


def test_an_assumption_uncovers(copy: Path):
    edit_all = (copy / "manifest.json").read_text(encoding="utf-8").replace('"assumptions": []', '"assumptions": ["Classic"]')
    (copy / "manifest.json").write_text(edit_all, encoding="utf-8")
    assert not m.covered("sparse_dims.essential", "B redundant given C", copy)
    assert any("rests on Classic" in line for line in m.problems(copy))


def test_covered_is_per_part(copy: Path):
    assert m.covered("prefix_state.contained", "containment", copy)
    assert not m.covered("prefix_state.contained", "re-fit to nothing", copy)
    part = 'part = "containment"\nnot_covered = '
    edit(copy, "cover.toml", f'{part}""', f'{part}"a sentence that no theorem covers"')
    open_parts = [p for p in m.cover(copy) if p.not_covered]
    assert ("prefix_state.contained", "containment") in [(p.claim, p.part) for p in open_parts]
    assert not any(m.covered(p.claim, p.part, copy) for p in open_parts)


def test_a_missing_manifest_names_the_remedy(tmp_path: Path):
    with pytest.raises(InvalidInput, match="make proofs"):
        m.load(tmp_path)
    (tmp_path / "manifest.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InvalidInput, match="make proofs"):
        m.load(tmp_path)


def test_the_page_shows_the_table_of_cover_toml(copy: Path):
    shutil.copy(m.FOLDER / "README.md", copy / "README.md")
    text = (m.FOLDER / "README.md").read_text(encoding="utf-8")
    assert page() == text, "run `python -m theory.formal --page`"
    edit(copy, "cover.toml", "rank at most M, whatever clocks", "rank at most M + 1, whatever clocks")
    assert page(copy) != text


def test_fresh_entries_are_those_whose_sources_rocq_checked(copy: Path):
    entries = m.load(copy).entries
    assert m.fresh(copy) == entries
    edit(copy, "core/lti.v", "\\row_n (a n * h 0 n + b n * x)", "\\row_n (a n * h 0 n)")
    left = {e.theorem for e in m.fresh(copy)}
    assert left == {e.theorem for e in entries if not m.stale(e, copy)} and 0 < len(left) < len({e.theorem for e in entries})
    text = (copy / "manifest.json").read_text(encoding="utf-8").replace('"assumptions": []', '"assumptions": ["Classic"]')
    (copy / "manifest.json").write_text(text, encoding="utf-8")
    assert m.fresh(copy) == ()


def test_every_theorem_stands_on_its_claims_page():
    """Statement, closed type, what it covers and the command, in the part that the marks enclose."""
    assert stale_pages() == [], "run `python -m theory.formal --page`"
    for entry in m.load().entries:
        path = m.FOLDER.parent / entry.claim.replace(".", "/") / "README.md"
        told = path.read_text(encoding="utf-8").partition(THEOREMS[0])[2].partition(THEOREMS[1])[0]
        folded = " ".join(told.split())
        assert entry.statement in folded and entry.type in folded, entry.theorem
        assert f"python -m theory.formal --theorem {entry.theorem}`" in told, entry.theorem


def test_a_page_that_says_something_else_is_noticed(copy: Path, tmp_path: Path):
    """Another statement, a claim without theorems, and one that gets its first: each page follows."""
    formal = tmp_path / "theory" / "formal"
    shutil.copytree(copy, formal, ignore=shutil.ignore_patterns("theory"))
    shutil.copy(m.FOLDER / "README.md", formal / "README.md")
    for name in ("sparse_dims/essential", "prefix_state/affix"):
        (formal.parent / name).mkdir(parents=True)
        shutil.copy(m.FOLDER.parent / name / "README.md", formal.parent / name / "README.md")
    assert stale_pages(formal, formal.parent) == []
    essential = formal.parent / "sparse_dims/essential/README.md"
    text = essential.read_text(encoding="utf-8")
    essential.write_text(text.replace("Theorem same_function_iff", "Theorem same_function"), encoding="utf-8")
    assert stale_pages(formal, formal.parent) == ["sparse_dims/essential/README.md"]
    hand_written = text.partition(THEOREMS[0])[0].rstrip() + "\n"
    essential.write_text(hand_written, encoding="utf-8")
    assert pages(formal, formal.parent)[essential] == text
    cover = (formal / "cover.toml").read_text(encoding="utf-8").replace("sparse_dims.essential", "prefix_state.affix")
    (formal / "cover.toml").write_text(cover.replace("prefix_state.affix.", "sparse_dims.essential."), encoding="utf-8")
    essential.write_text(text, encoding="utf-8")
    assert pages(formal, formal.parent)[essential] == hand_written
    assert THEOREMS[0] in pages(formal, formal.parent)[formal.parent / "prefix_state/affix/README.md"]


def test_requirements_are_followed():
    found = m.requirements("prefix_state/equivalent.v")
    assert {"core/lti.v", "core/modes.v", "core/vandermonde.v", "core/recurrence.v"} < found
    assert "core/s6.v" not in found
