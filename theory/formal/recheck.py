"""One theorem checked again: its file compiled anew, its type and its assumptions compared with the record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from theory.core.errors import UnknownName
from theory.core.names import suggestion

from .manifest import FOLDER, Entry, load, requirements, sha256
from .rocq import BUILD, MissingRocq, ProofError, audit, build_some, compile_one, require_rocq

CLOSED = "Closed under the global context"
"""Rocq's answer to ``Print Assumptions`` for a proof without axioms."""


@dataclass(frozen=True)
class Answer:
    """What stands behind a theorem here: a check of this minute, or the committed record.

    Attributes
    ----------
    theorem:
        Logical name below ``Ssmproof``.
    checked:
        Whether Rocq has compiled its file just now; else the record is quoted.
    rocq:
        The version that checked it.
    assumptions:
        Axioms it rests on; empty for a closed proof.
    """

    theorem: str
    checked: bool
    rocq: str
    assumptions: tuple[str, ...]

    def __str__(self) -> str:
        how = "checked here" if self.checked else "recorded"
        return f"{self.theorem}: {how}, Rocq {self.rocq}: {', '.join(self.assumptions) or CLOSED}"


def command(theorem: str) -> str:
    """The command that checks one theorem again."""
    return f"python -m theory.formal --theorem {theorem}"


def entry_of(theorem: str, folder: Path = FOLDER) -> Entry:
    """The record of a theorem, of its first part where it covers several; UnknownName names the nearest ones."""
    entries = {entry.theorem: entry for entry in reversed(load(folder).entries)}
    if theorem not in entries:
        raise UnknownName(f"no theorem {theorem!r} in manifest.json; {suggestion(theorem, entries)}")
    return entries[theorem]


def recheck(theorem: str, folder: Path = FOLDER, build: Path = BUILD) -> Answer:
    """Compile what the theorem's file requires where that is not compiled yet, then the file itself, and ask Rocq about it.

    Raises
    ------
    UnknownName
        The manifest has no such theorem.
    MissingRocq
        Rocq is not installed; the message installs it.
    ProofError
        Rocq refuses the file, or finds another type or other assumptions than the record has.
    """
    entry = entry_of(theorem, folder)
    version = require_rocq()
    build_some(sorted(requirements(entry.file, folder) - {entry.file}), build, folder)
    compile_one(build / entry.file, build)
    found = audit([theorem], build)[theorem]
    wrong = [
        what
        for what, now, then in (
            ("file", sha256(build / entry.file), entry.sha256),
            ("type", found.type, entry.type),
            ("assumptions", found.assumptions, entry.assumptions),
        )
        if now != then
    ]
    if wrong:
        raise ProofError(f"{theorem}: {' and '.join(wrong)} differ from the record; run `make proofs`")
    return Answer(theorem, True, version, found.assumptions)


def answer(theorem: str, folder: Path = FOLDER, build: Path = BUILD) -> Answer:
    """:func:`recheck` where Rocq is installed, else what the manifest has recorded."""
    try:
        return recheck(theorem, folder, build)
    except MissingRocq:
        return Answer(theorem, False, load(folder).rocq, entry_of(theorem, folder).assumptions)
