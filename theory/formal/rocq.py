"""Rocq (coqc) on the sources: compile all, print the closed type and the assumptions of every theorem."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from theory.core.errors import TheoryError

from .manifest import FOLDER, ROOT_NAME, sources

PACKAGES = (FOLDER / "packages.txt").read_text(encoding="utf-8").split()
INSTALL = f"apt-get update && apt-get install -y --no-install-recommends {' '.join(PACKAGES)}"
BUILD = FOLDER.parent.parent / "build" / "formal"


class MissingRocq(TheoryError):
    """Rocq, or a library that the proofs use, is not installed; the message is the line that installs it."""


class ProofError(TheoryError):
    """Rocq refused a file; the message holds its words."""


@dataclass(frozen=True)
class Audit:
    """What Rocq prints about one theorem."""

    type: str
    assumptions: tuple[str, ...]


def require_rocq() -> str:
    """Rocq's version. Raises MissingRocq with the one line that installs what the proofs need; installs nothing."""
    missing = [tool for tool in ("coqc", "coq_makefile", "make") if shutil.which(tool) is None]
    if not missing:
        where = subprocess.run(["coqc", "-where"], capture_output=True, text=True, check=True).stdout.strip()
        library = Path(where) / "user-contrib" / "mathcomp"
        parts = ("algebra", "field", "real_closed", "algebra_tactics", "zify")
        missing = [f"mathcomp/{part}" for part in parts if not (library / part).is_dir()]
    if missing:
        raise MissingRocq(f"{', '.join(missing)} not found. On Debian 12 this line installs Rocq and its libraries:\n{INSTALL}")
    printed = subprocess.run(["coqc", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version (\S+)", printed)
    return found.group(1) if found else printed.strip()


def copy_sources(build: Path, folder: Path = FOLDER) -> None:
    """Copy ``_CoqProject`` and its sources to the build folder; unchanged files keep their time, so Rocq skips them."""
    for name in ("_CoqProject", *sources(folder)):
        target = build / name
        data = (folder / name).read_bytes()
        if not target.is_file() or target.read_bytes() != data:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


def build_all(build: Path = BUILD, folder: Path = FOLDER, jobs: int = 2) -> None:
    """Compile every source in the order of its requirements. Raises ProofError with the first refusal."""
    _make([], build, folder, jobs)


def build_some(files: Iterable[str], build: Path = BUILD, folder: Path = FOLDER, jobs: int = 2) -> None:
    """Compile some sources and what they require, those that are not compiled yet. Raises ProofError."""
    if targets := [f"{file}o" for file in files]:
        _make(targets, build, folder, jobs)


def _make(targets: list[str], build: Path, folder: Path, jobs: int) -> None:
    copy_sources(build, folder)
    _run(["coq_makefile", "-f", "_CoqProject", "-o", "CoqMakefile"], build)
    _run(["make", "-s", "-f", "CoqMakefile", f"-j{jobs}", *targets], build)


def compile_one(path: Path, build: Path = BUILD) -> None:
    """Compile one file against the built sources. Raises ProofError."""
    _run(["coqc", "-w", "none", "-R", str(build), ROOT_NAME, str(path)], path.parent)


def audit(theorems: Iterable[str], build: Path = BUILD) -> dict[str, Audit]:
    """The closed type and the assumptions of every theorem, from Rocq on the compiled sources.

    ``Print Assumptions`` walks through everything a theorem rests on, most of it shared, so it is run once for all theorems
    together. Where that is not closed, it is run for each.
    """
    names = sorted(set(theorems))
    folder = build / "audit"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    head = [
        "From mathcomp Require Import all_ssreflect all_algebra.",
        "Import GRing.Theory Num.Theory.",
        "Local Open Scope ring_scope.",
        "Set Printing Width 116.",
        *sorted({f"Require {ROOT_NAME}.{name.rsplit('.', 1)[0]}." for name in names}),
    ]
    lines = [f'Redirect "{index}.type" Check @{ROOT_NAME}.{name}.' for index, name in enumerate(names)]
    lines += [f"Definition theorem_{index} := @{ROOT_NAME}.{name}." for index, name in enumerate(names)]
    lines.append(f"Definition theorems := ({', '.join(['tt', *(f'theorem_{index}' for index in range(len(names)))])}).")
    lines.append('Redirect "all.assumptions" Print Assumptions theorems.')
    (folder / "audit.v").write_text("\n".join(head + lines) + "\n", encoding="utf-8")
    compile_one(folder / "audit.v", build)
    assumed = dict.fromkeys(names, read_assumptions((folder / "all.assumptions.out").read_text(encoding="utf-8")))
    if any(assumed.values()):
        lines = [f'Redirect "{index}.assumptions" Print Assumptions {ROOT_NAME}.{name}.' for index, name in enumerate(names)]
        (folder / "each.v").write_text("\n".join(head + lines) + "\n", encoding="utf-8")
        compile_one(folder / "each.v", build)
        for index, name in enumerate(names):
            assumed[name] = read_assumptions((folder / f"{index}.assumptions.out").read_text(encoding="utf-8"))
    types = [(folder / f"{index}.type.out").read_text(encoding="utf-8") for index in range(len(names))]
    return {name: Audit(" ".join(kind.split(":", 1)[1].split()), assumed[name]) for name, kind in zip(names, types, strict=True)}


def read_assumptions(printed: str) -> tuple[str, ...]:
    """The axioms that ``Print Assumptions`` lists; anything but Rocq's closing sentence counts."""
    text = printed.strip()
    if text == "Closed under the global context":
        return ()
    names = re.findall(r"^(\S+)\s*:", text, flags=re.MULTILINE)
    return tuple(n for n in names if n != "Axioms") or (text,)


def _run(command: list[str], folder: Path) -> None:
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if run.returncode:
        raise ProofError(f"{command[0]} refused:\n{(run.stdout + run.stderr).strip()}")
