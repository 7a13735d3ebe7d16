"""Labelled text as rows: JSON Lines files in a folder, or a data set of the hub, with every row checked and all of it hashed.

A folder holds ``train.jsonl``, ``validation.jsonl`` and/or ``test.jsonl`` (UTF-8, one JSON object a line), as the hub's data
viewer exports them. A split whose labels are all -1 (GLUE's test splits) counts as not there.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from theory.core.files import parse_json

from ..errors import CheckpointError, InvalidInput

SPLITS = ("train", "validation", "test")
UNLABELLED = -1

Row = dict[str, Any]


@dataclass(frozen=True)
class Schema:
    """What the rows of a data set hold.

    Attributes
    ----------
    texts:
        Text fields: for each of them the names it goes by, for instance ``(("sentence1", "premise"),)``. Rows come out with
        the first name.
    classes:
        Number of classes of the integer field ``label``; 0 for a data set without one.
    numbered:
        (field, classes): a field that holds other numbers of the same classes, and the class of each of them. It counts where
        there is no ``label``.
    triples:
        Whether rows hold ``tripleset`` (a list of [subject, relation, object]) and ``references`` (a list of texts).
    """

    texts: tuple[tuple[str, ...], ...] = ()
    classes: int = 0
    numbered: tuple[str, tuple[int, ...]] | None = None
    triples: bool = False


@dataclass(frozen=True)
class Rows:
    """A data set.

    Attributes
    ----------
    splits:
        Rows by split; only splits that are there and labelled.
    sha256:
        Of the files' bytes in the order train, validation, test; for the hub of the rows as JSON.
    """

    splits: Mapping[str, tuple[Row, ...]]
    sha256: str


def check_row(row: Any, schema: Schema, where: str) -> Row:
    """The row with the fields of the schema only, under their first names.

    Raises
    ------
    InvalidInput
        A field is missing or of the wrong type; ``where`` is named.
    """
    if not isinstance(row, Mapping):
        raise InvalidInput(f"{where} is {type(row).__name__}, expected a JSON object")
    clean: Row = {}
    for names in schema.texts:
        name = next((n for n in names if n in row), None)
        if name is None:
            raise InvalidInput(f"{where} has no field {' or '.join(names)}; it has {', '.join(map(str, row)) or 'none'}")
        if not isinstance(row[name], str) or not row[name].strip():
            raise InvalidInput(f"{where}: {name} is {row[name]!r}, expected a text that is not empty")
        clean[names[0]] = row[name]
    if schema.classes:
        label = _label(row, schema)
        if isinstance(label, bool) or not isinstance(label, int) or not (label == UNLABELLED or 0 <= label < schema.classes):
            raise InvalidInput(f"{where}: label is {label!r}, expected an integer in 0..{schema.classes - 1}")
        clean["label"] = label
    if schema.triples:
        clean["tripleset"] = _triples(row.get("tripleset"), where)
        clean["references"] = _references(row, where)
    return clean


def _label(row: Mapping[str, Any], schema: Schema) -> Any:
    """The row's class, whatever it is; that of its other number where it has no label."""
    if "label" in row or schema.numbered is None:
        return row.get("label")
    field, classes = schema.numbered
    number = row.get(field)
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(classes):
        return classes[number]
    return number


def _triples(value: Any, where: str) -> list[list[str]]:
    if not isinstance(value, list) or not value:
        raise InvalidInput(f"{where}: tripleset is {value!r}, expected a list of [subject, relation, object]")
    for triple in value:
        if not isinstance(triple, list) or len(triple) != 3 or not all(isinstance(part, str) for part in triple):
            raise InvalidInput(f"{where}: tripleset holds {triple!r}, expected [subject, relation, object]")
    return value


def _references(row: Mapping[str, Any], where: str) -> list[str]:
    value = row.get("references")
    if not value and isinstance(row.get("target"), str):  # the hub's training rows give their one reference as the target
        value = [row["target"]]
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise InvalidInput(f"{where}: references is {value!r}, expected a list of texts")
    kept = [text for text in value if text.strip()]  # as released, one list holds an empty text beside a good one
    if not kept:
        raise InvalidInput(f"{where}: references is {value!r}, expected at least one text that is not empty")
    return kept


def _labelled(rows: Sequence[Row], where: str) -> bool:
    missing = sum(row.get("label") == UNLABELLED for row in rows)
    if missing not in (0, len(rows)):
        raise InvalidInput(f"{where}: {missing} of {len(rows)} rows have the label -1 (none); label all rows or none")
    return not missing


def read_folder(folder: Path, schema: Schema) -> Rows:
    """The data set in a folder.

    Raises
    ------
    CheckpointError
        No ``train.jsonl`` there, or a file is not readable, no JSON Lines, or empty.
    InvalidInput
        A row does not fit the schema; file and line are named.
    """
    digest = hashlib.sha256()
    splits: dict[str, tuple[Row, ...]] = {}
    for split in SPLITS:
        path = folder / f"{split}.jsonl"
        if not path.is_file():
            continue
        try:
            content = path.read_bytes()
            lines = content.decode("utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{path} is not readable as UTF-8 text: {error}") from error
        digest.update(content)
        rows = []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            value = parse_json(line, where, CheckpointError, "each line has to be one JSON object")
            rows.append(check_row(value, schema, where))
        if not rows:
            raise CheckpointError(f"{path} is empty; delete it or fill it")
        if _labelled(rows, str(path)):
            splits[split] = tuple(rows)
    if "train" not in splits:
        raise CheckpointError(f"{folder} has no labelled train.jsonl; give a folder with train.jsonl and validation.jsonl")
    return Rows(splits, digest.hexdigest())


def read_hub(name: str, config: str | None, schema: Schema) -> Rows:
    """A data set of the hub by name, through the package ``datasets``.

    Raises
    ------
    InvalidInput
        ``datasets`` is not installed, or a row does not fit the schema.
    CheckpointError
        The hub cannot be reached, or has no such data set.
    """
    try:
        datasets = importlib.import_module("datasets")
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"{name} lies on the hub and datasets, the package that reads it, is not installed: pip install datasets; "
            "or give a folder of .jsonl files"
        ) from error
    try:
        found = datasets.load_dataset(name, config)
    except Exception as error:  # the package raises errors of many kinds, from its own to those of its transport
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"data set {name} is not to be had from the hub ({reason}); give a folder of .jsonl files"
        ) from error
    digest = hashlib.sha256()
    splits: dict[str, tuple[Row, ...]] = {}
    for split in SPLITS:
        if split not in found:
            continue
        rows = [check_row(row, schema, f"{name}, {split} row {i}") for i, row in enumerate(found[split])]
        digest.update(json.dumps(rows, sort_keys=True).encode())
        if rows and _labelled(rows, f"{name}, {split}"):
            splits[split] = tuple(rows)
    if "train" not in splits:
        raise CheckpointError(f"data set {name} of the hub has no labelled training rows; give a folder of .jsonl files")
    return Rows(splits, digest.hexdigest())
