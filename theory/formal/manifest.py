"""The manifest: which theorem covers which part of which claim, and what Rocq said about it. Reading it needs no Rocq.

``cover.toml`` is written by hand and says what each theorem covers; ``manifest.json`` is written by ``make proofs`` and
holds, per theorem, the statement as it stands in the source, its full type and its assumptions as Rocq prints them, and the
SHA-256 of its file. An entry is stale when its file, or a file that it requires, has other bytes than Rocq checked.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from theory.core.errors import InvalidInput

FOLDER = Path(__file__).resolve().parent
ROOT_NAME = "Ssmproof"


@dataclass(frozen=True)
class Covered:
    """One row of ``cover.toml``: a theorem and the sentence of the claim that it covers."""

    claim: str
    part: str
    theorem: str
    covers: str


@dataclass(frozen=True)
class Part:
    """A part of a claim, with what its theorems together leave open (empty where they cover the whole part)."""

    claim: str
    part: str
    not_covered: str
    theorems: tuple[Covered, ...]


@dataclass(frozen=True)
class Entry:
    """One theorem as Rocq checked it.

    Attributes
    ----------
    claim, part, covers:
        What it is about; one theorem may have several entries.
    theorem:
        Logical name below ``Ssmproof``, e.g. ``prefix_state.equivalent.equivalent``.
    file, sha256:
        Path below ``theory/formal`` and the hash of its bytes when it was checked.
    statement, type:
        The statement in the source, and the closed type (every section variable and hypothesis as a premise).
    assumptions:
        Axioms it rests on, as ``Print Assumptions`` lists them; empty for a closed proof.
    """

    claim: str
    part: str
    covers: str
    theorem: str
    file: str
    sha256: str
    statement: str
    type: str
    assumptions: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """What ``make proofs`` recorded: entries, the hash of every source, Rocq's version, the size of the bridge."""

    rocq: str
    files: dict[str, str]
    bridge: dict[str, int]
    entries: tuple[Entry, ...]


def load(folder: Path = FOLDER) -> Manifest:
    """The committed manifest. Raises InvalidInput where it is missing or unreadable."""
    path = folder / "manifest.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        entries = tuple(Entry(**{**row, "assumptions": tuple(row["assumptions"])}) for row in data["theorems"])
        return Manifest(data["rocq"], data["files"], data["bridge"], entries)
    except FileNotFoundError as error:
        raise InvalidInput(f"{path.name} does not exist; run `make proofs`") from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InvalidInput(f"{path.name} is not a manifest ({error}); run `make proofs`") from error


def to_json(manifest: Manifest) -> str:
    """The text of ``manifest.json``."""
    data = {"rocq": manifest.rocq, "bridge": manifest.bridge, "files": manifest.files}
    rows = [asdict(entry) for entry in manifest.entries]
    return json.dumps(data | {"theorems": rows}, indent=1, ensure_ascii=False) + "\n"


def cover(folder: Path = FOLDER) -> tuple[Part, ...]:
    """The rows of ``cover.toml``. Raises InvalidInput for a part listed twice or a row without its fields."""
    data: dict[str, Any] = tomllib.loads((folder / "cover.toml").read_text(encoding="utf-8"))
    parts: dict[tuple[str, str], Part] = {}
    for row in data["part"]:
        key = (row["claim"], row["part"])
        if key in parts:
            raise InvalidInput(f"cover.toml lists the part {key[1]!r} of {key[0]} twice; merge the two")
        theorems = tuple(Covered(*key, t["name"], t["covers"]) for t in row["theorems"])
        parts[key] = Part(*key, row["not_covered"], theorems)
    return tuple(parts.values())


def covered(claim: str, part: str, folder: Path = FOLDER) -> bool:
    """Whether fresh theorems without assumptions cover the whole part of the claim."""
    found = [p for p in cover(folder) if (p.claim, p.part) == (claim, part)]
    if not found or found[0].not_covered:
        return False
    manifest = load(folder)
    entries = {e.theorem: e for e in manifest.entries if (e.claim, e.part) == (claim, part)}
    names = [t.theorem for t in found[0].theorems]
    return bool(names) and all(n in entries and not entries[n].assumptions and not stale(entries[n], folder) for n in names)


# -- sources -----------------------------------------------------------------------------------------------------------


def sources(folder: Path = FOLDER) -> tuple[str, ...]:
    """The files that ``_CoqProject`` lists, in its order."""
    lines = (folder / "_CoqProject").read_text(encoding="utf-8").split()
    return tuple(word for word in lines if word.endswith(".v"))


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; empty where there is no file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


_MARK = re.compile(r"\(\*|\*\)")


@cache
def uncommented(text: str) -> str:
    """A Rocq source without its comments (which nest)."""
    out, depth, start, here = [], 0, 0, 0
    while mark := _MARK.search(text, here):
        here = mark.end()
        if mark.group() == "(*":
            if not depth:
                out.append(text[start : mark.start()])
            depth += 1
        elif depth:
            depth, start = depth - 1, here
    return "".join(out) if depth else "".join([*out, text[start:]])


@cache
def required(text: str) -> tuple[str, ...]:
    """The sources that a text of Rocq requires itself."""
    found = []
    for group, names in re.findall(rf"From {ROOT_NAME}\.(\w+) Require Import ([\w\s]+)\.", uncommented(text)):
        found += [f"{group}/{name}.v" for name in names.split()]
    return tuple(found)


def requirements(file: str, folder: Path = FOLDER) -> set[str]:
    """A source and every source that it requires, directly or not."""
    seen: set[str] = set()
    todo = [file]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        path = folder / name
        todo += required(path.read_text(encoding="utf-8")) if path.is_file() else ()
    return seen


def file_of(theorem: str) -> str:
    """The source of a theorem: ``prefix_state.equivalent.equivalent`` → ``prefix_state/equivalent.v``."""
    return "/".join(theorem.split(".")[:-1]) + ".v"


def statement(theorem: str, folder: Path = FOLDER) -> str:
    """The statement as it stands in the source, whitespace folded. Raises InvalidInput where the source has none."""
    path = folder / file_of(theorem)
    text = uncommented(path.read_text(encoding="utf-8")) if path.is_file() else ""
    name = re.escape(theorem.rsplit(".", 1)[-1])
    found = re.search(rf"^(?:Theorem|Lemma|Corollary) {name}\b(?!').*?\.(?=\s*Proof\.)", text, flags=re.MULTILINE | re.DOTALL)
    if not found:
        raise InvalidInput(f"no theorem {theorem} in {file_of(theorem)}; mend cover.toml or the source")
    return " ".join(found.group().split())


def stale(entry: Entry, folder: Path = FOLDER) -> bool:
    """Whether the entry's file, or one that it requires, differs from the bytes that Rocq checked."""
    try:
        recorded = load(folder).files
    except InvalidInput:
        return True
    return any(sha256(folder / name) != recorded.get(name) for name in requirements(entry.file, folder))


def fresh(folder: Path = FOLDER) -> tuple[Entry, ...]:
    """The entries that hold as recorded: no assumption, and every source that they rest on has the bytes that Rocq checked."""
    manifest = load(folder)
    changed = {name for name, recorded in manifest.files.items() if sha256(folder / name) != recorded}
    known = manifest.files.keys()
    files = {e.file: requirements(e.file, folder) for e in manifest.entries}
    return tuple(e for e in manifest.entries if not e.assumptions and files[e.file] <= known and not files[e.file] & changed)


def problems(folder: Path = FOLDER) -> list[str]:
    """Everything in which sources, ``cover.toml`` and ``manifest.json`` disagree, one line each; empty when fresh."""
    manifest = load(folder)
    found = [f"{name}: the file differs from the one that Rocq checked" for name in sources(folder)
             if sha256(folder / name) != manifest.files.get(name)]  # fmt: skip
    found += [f"{name}: recorded, but not in _CoqProject" for name in manifest.files if name not in sources(folder)]
    recorded = {(e.claim, e.part, e.theorem): e for e in manifest.entries}
    listed = {(p.claim, p.part, t.theorem): t for p in cover(folder) for t in p.theorems}
    found += [f"{key[2]}: in cover.toml, not in the manifest" for key in listed if key not in recorded]
    for key, entry in recorded.items():
        if key not in listed:
            found.append(f"{entry.theorem}: in the manifest, not in cover.toml")
            continue
        if entry.covers != listed[key].covers:
            found.append(f"{entry.theorem}: what it covers differs between cover.toml and the manifest")
        if entry.assumptions:
            found.append(f"{entry.theorem}: rests on {', '.join(entry.assumptions)}")
        try:
            text = statement(entry.theorem, folder)
        except InvalidInput as error:
            found.append(str(error))
            continue
        if text != entry.statement:
            found.append(f"{entry.theorem}: the statement differs from the recorded one")
    return found
