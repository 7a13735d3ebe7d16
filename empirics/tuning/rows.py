"""Rows of one's own as tokens: texts, of which every token is predicted, or pairs, of which the completion is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InvalidInput
from ..experiments.lm_benchmark.examples import Item
from ..experiments.lm_benchmark.tokens import Tokens

EXPECTED = 'a line is {"text": ...} or {"prompt": ..., "completion": ...}'
EVERY = 10
"""Where no validation file is given, every so-many-th row is held out."""


def read_rows(path: Path, tokens: Tokens, longest: int, least: int = 2) -> list[Item]:
    """The rows of a ``.jsonl`` or ``.txt`` file; of a text file, each piece of ``longest`` tokens is a row.

    A pair loses the prompt's first tokens where it is too long, and a completion ends with the tokenizer's end.

    Parameters
    ----------
    least:
        How many rows there must be: 1 where other rows are held out.

    Raises
    ------
    InvalidInput
        The file cannot be read, is of another kind, or has too few rows; or a line is no row.
    """
    if longest < 2:
        raise InvalidInput(f"--length {longest}: a row needs at least 2 tokens, one to read and one to predict")
    kind = path.suffix.lower()
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows put a mark in front
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a path with a null byte
        reason = getattr(error, "strerror", None) or ("it is not UTF-8 text" if isinstance(error, UnicodeError) else str(error))
        raise InvalidInput(f"cannot read {path}: {reason}; give a .jsonl or .txt file") from error
    if kind == ".jsonl":
        # By line feeds alone: JSON may hold U+2028 and its like as they are, at which splitlines() would cut a row.
        lines = [(i + 1, line) for i, line in enumerate(text.split("\n")) if line.strip()]
        items = [_item(_row(line, number, path), number, path, tokens, longest) for number, line in lines]
    elif kind == ".txt":
        whole = tokens.encode(text)
        items = [Item(tuple(whole[i : i + longest]), 1) for i in range(0, len(whole) - 1, longest)]
        items = [item for item in items if len(item.tokens) > 1]
    else:
        raise InvalidInput(f"{path} ends in {path.suffix or 'no suffix'!r}; give a .txt file, or a .jsonl file: {EXPECTED}")
    if len(items) < least:
        why = "one to train on and one to hold out" if least > 1 else "give some"
        raise InvalidInput(f"{path} has {len(items)} row{'s' if len(items) != 1 else ''}, expected at least {least}: {why}")
    return items


def held_out(items: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """(rows to train on, rows to validate on): every tenth row, and at least the last, is held out."""
    validation = [item for i, item in enumerate(items) if i % EVERY == EVERY - 1] or [items[-1]]
    training = [item for i, item in enumerate(items) if i % EVERY != EVERY - 1]
    return (training if len(items) >= EVERY else list(items[:-1])), validation


def _row(line: str, number: int, path: Path) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InvalidInput(f"{path}, line {number} is no JSON; {EXPECTED}") from error
    if not isinstance(row, dict):
        raise InvalidInput(f"{path}, line {number} is {type(row).__name__}; {EXPECTED}")
    return row


def _item(row: dict[str, Any], number: int, path: Path, tokens: Tokens, longest: int) -> Item:
    names = ("text",) if "text" in row else ("prompt", "completion")
    if "text" in row and ("prompt" in row or "completion" in row):
        raise InvalidInput(f"{path}, line {number} has a text and a pair, {sorted(map(str, row))}; {EXPECTED}")
    for name in names:
        if not isinstance(row.get(name), str):
            raise InvalidInput(f"{path}, line {number} has no string {name!r} among {sorted(map(str, row))}; {EXPECTED}")
        try:
            row[name].encode()
        except UnicodeEncodeError as error:
            half = f"{ord(row[name][error.start]):#x}"
            raise InvalidInput(f"{path}, line {number}: {name!r} holds half a character ({half}); write it as UTF-8") from error
    if names == ("text",):
        whole = tuple(tokens.encode(row["text"])[:longest])
        if len(whole) < 2:
            raise InvalidInput(f"{path}, line {number} has {len(whole)} tokens; a text needs at least 2")
        return Item(whole, 1)
    answer = [*tokens.encode(row["completion"])[: longest - 2], tokens.end]
    prompt = tokens.encode(row["prompt"])[-(longest - len(answer)) :]
    if not prompt:
        raise InvalidInput(f"{path}, line {number} has an empty prompt; the completion's first token is predicted from it")
    return Item((*prompt, *answer), len(prompt))
