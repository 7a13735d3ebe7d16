"""Rocq itself: planted errors must be refused. Skipped where Rocq is not installed (`make proofs` prints the install line)."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from theory.core.errors import UnknownName

from .bridge import HEADER, Goal, check_bridge, goals
from .manifest import FOLDER, load, required, requirements, sources
from .recheck import CLOSED, answer, entry_of, recheck
from .rocq import BUILD, Audit, MissingRocq, ProofError, audit, build_all, build_some, read_assumptions, require_rocq


def _installed() -> str:
    try:
        require_rocq()
    except MissingRocq as error:
        return f"Rocq is not installed: {str(error).splitlines()[-1]}"
    return ""


MISSING = _installed()
module = importlib.import_module("theory.formal.recheck")
needs_rocq = pytest.mark.skipif(bool(MISSING), reason=MISSING or "Rocq is here")


@pytest.fixture(scope="module")
def built() -> Path:
    """The sources that goals of the bridge require, as `make proofs` left them: compiling them anew takes half a minute."""
    if not all((BUILD / f"{file}o").is_file() for file in required(HEADER)):
        pytest.skip("the proofs are not compiled here: make proofs")
    build_some(required(HEADER))  # those that have changed since
    return BUILD


@needs_rocq
@pytest.mark.slow
def test_a_wrong_value_has_no_proof(built: Path, tmp_path: Path):
    for name in ("core", "prefix_state", "bridge"):
        shutil.copytree(built / name, tmp_path / name)
    kernel = next(goal for goal in goals() if goal.system == "kernel" and goal.left.endswith(" 1"))
    assert check_bridge(tmp_path, chosen=[kernel], jobs=1) == {"kernel": 1}
    wrong = replace(kernel, value=f"({kernel.value} + frac 1 1000)")
    with pytest.raises(ProofError, match="goals_0"):
        check_bridge(tmp_path, chosen=[wrong], jobs=1)


@needs_rocq
@pytest.mark.slow
def test_a_stronger_statement_is_refused(tmp_path: Path):
    """Without its premise the theorem is false, and its proof does not compile."""
    text = (FOLDER / "core" / "vandermonde.v").read_text(encoding="utf-8")
    premise = "injective lam -> (forall j, (j < K)%N"
    assert text.count(premise) == 1
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "vandermonde.v").write_text(text.replace(premise, "(forall j, (j < K)%N"), encoding="utf-8")
    (tmp_path / "_CoqProject").write_text("-R . Ssmproof\n-arg -w -arg none\ncore/vandermonde.v\n", encoding="utf-8")
    with pytest.raises(ProofError, match="vandermonde"):
        build_all(tmp_path / "build", tmp_path, jobs=1)


@needs_rocq
@pytest.mark.slow
def test_an_axiom_is_listed(tmp_path: Path):
    (tmp_path / "core").mkdir()
    source = "Axiom wrong : False.\nTheorem anything : 1 = 2.\nProof. destruct wrong. Qed.\n"
    (tmp_path / "core" / "bad.v").write_text(source, encoding="utf-8")
    (tmp_path / "_CoqProject").write_text("-R . Ssmproof\n-arg -w -arg none\ncore/bad.v\n", encoding="utf-8")
    build_all(tmp_path / "build", tmp_path, jobs=1)
    assert audit(["core.bad.anything"], tmp_path / "build")["core.bad.anything"].assumptions == ("bad.wrong",)


SMALL = "sparse_dims.depth_sharing.identity_passes"
"""A theorem whose file, and the one that this requires, compile in a second each."""


@needs_rocq
@pytest.mark.slow
def test_one_theorem_is_checked_again_and_a_wrong_record_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its file and what that requires are compiled in an empty folder; a record of another type is not believed."""
    formal = Path(shutil.copytree(FOLDER, tmp_path / "formal"))
    found = answer(SMALL, formal, tmp_path / "build")
    assert found.checked and found.assumptions == () and str(found).endswith(CLOSED) and "checked here" in str(found)
    compiled = {path.relative_to(tmp_path / "build").as_posix() for path in (tmp_path / "build").rglob("*.vo")}
    assert compiled == {"sparse_dims/exact_match.vo", "sparse_dims/depth_sharing.vo", "audit/audit.vo"}, "only what it requires"
    entry = entry_of(SMALL)
    said = {SMALL: Audit(entry.type, entry.assumptions)}  # Rocq has just said so: it need not say it again
    monkeypatch.setattr(module, "compile_one", lambda path, build: None)
    monkeypatch.setattr(module, "audit", lambda theorems, build: said)
    assert recheck(SMALL, formal, tmp_path / "build") == found
    path = formal / "manifest.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"type": "', '"type": "forall n : nat, n = n -> '), encoding="utf-8")
    with pytest.raises(ProofError, match="type differ from the record"):
        recheck(SMALL, formal, tmp_path / "build")


def test_without_rocq_the_record_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = answer(SMALL)
    assert not found.checked and str(found) == f"{SMALL}: recorded, Rocq {load().rocq}: {CLOSED}"
    with pytest.raises(MissingRocq, match="apt-get install"):
        recheck(SMALL)
    with pytest.raises(UnknownName, match=f"did you mean {re.escape(SMALL)}"):
        answer(f"{SMALL}ed")


def test_assumptions_are_read():
    assert read_assumptions("Closed under the global context\n") == ()
    assert read_assumptions("Axioms:\nclassic : forall P : Prop, P \\/ ~ P\n") == ("classic",)
    assert read_assumptions("something else") == ("something else",)


def test_the_goals_cover_every_system_and_are_repeatable():
    systems = {goal.system for goal in goals()}
    assert {"LTI", "half storage", "convolution", "S6 constant clock", "S6 token clock", "Mamba-2", "kernel", "Hankel"} <= systems
    assert goals(seed=1) == goals(seed=1) != goals(seed=2)
    assert all(isinstance(goal, Goal) and "frac" in goal.text() for goal in goals())


def test_without_rocq_one_line_says_how_to_install_it(tmp_path: Path):
    python = tmp_path / "bin"
    python.mkdir()
    run = subprocess.run(
        [sys.executable, "-m", "theory.formal"],
        cwd=FOLDER.parent.parent,
        env={"PATH": str(python), "PYTHONPATH": os.pathsep.join(sys.path)},  # packages may be installed in a folder of their own
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2 and "apt-get install" in run.stderr and "Traceback" not in run.stderr


def test_the_sources_are_in_the_order_of_their_requirements():
    seen: set[str] = set()
    for name in sources():
        assert requirements(name) - {name} <= seen, name
        seen.add(name)
