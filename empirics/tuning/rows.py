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


def read_rows(path: Path, tokens: Tokens, longest: int) -> list[Item]:
    """The rows of a ``.jsonl`` or ``.txt`` file; of a text file, each piece of ``longest`` tokens is a row.

    A pair loses the prompt's first tokens where it is too long, and a completion ends with the tokenizer's end.

    Raises
    ------
    InvalidInput
        The file cannot be read, a line is no row, or there are fewer than two rows.
    """
    if longest < 2:
        raise InvalidInput(f"--length {longest}: a row needs at least 2 tokens, one to read and one to predict")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InvalidInput(f"cannot read {path}: {reason}; give a .jsonl or .txt file") from error
    if path.suffix == ".jsonl":
        lines = [(i + 1, line) for i, line in enumerate(text.splitlines()) if line.strip()]
        items = [_item(_row(line, number, path), number, path, tokens, longest) for number, line in lines]
    else:
        whole = tokens.encode(text)
        items = [Item(tuple(whole[i : i + longest]), 1) for i in range(0, len(whole) - 1, longest)]
        items = [item for item in items if len(item.tokens) > 1]
    if len(items) < 2:
        raise InvalidInput(f"{path} has {len(items)} rows, expected at least 2: one to train on and one to hold out")
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
    for name in names:
        if not isinstance(row.get(name), str):
            raise InvalidInput(f"{path}, line {number} has no string {name!r} among {sorted(map(str, row))}; {EXPECTED}")
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
