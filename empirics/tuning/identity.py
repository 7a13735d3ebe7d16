"""What a fine-tuning is of: settings, rows and model. A folder of one must not be taken for the beginning of another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import CheckpointError
from ..experiments.lm_benchmark.examples import Item
from ..methods.adapter_file import fingerprint
from ..methods.targets import named_tensors

_PARTS = {"model": "another model", "rows": "other rows to train on", "validation": "other rows held out"}


@dataclass(frozen=True)
class Settings:
    """What a fine-tuning depends on beside model and rows."""

    method: str
    steps: int
    batch: int
    rate: float
    rank: int
    seed: int


def identity(model: nn.Module, rows: Sequence[Item], validation: Sequence[Item], settings: Settings) -> dict[str, Any]:
    """Settings, and hashes of the model's weights and of the rows as tokens; JSON values. The model carries no method yet."""
    weights = fingerprint((tensor.name, tensor.parameter) for tensor in named_tensors(model))
    of = {"model": weights, "rows": _tokens(rows), "validation": _tokens(validation)}
    return {"settings": asdict(settings), **{part: _digest(value) for part, value in of.items()}}


def require_same(found: Mapping[str, Any], own: Mapping[str, Any], folder: Path) -> None:
    """Refuse a folder of another fine-tuning.

    Raises
    ------
    CheckpointError
        Says what differs.
    """
    before = found.get("settings")
    options = own["settings"]
    if not isinstance(before, dict) or before.keys() != options.keys():
        raise CheckpointError(f"{folder} was written by another version; give another --out, or delete it")
    other = [f"{name} {before[name]} (now {value})" for name, value in options.items() if before[name] != value]
    other += [words for part, words in _PARTS.items() if found.get(part) != own[part]]
    if other:
        raise CheckpointError(f"{folder} is of a fine-tuning with {', '.join(other)}; give another --out, or delete it")


def _tokens(rows: Sequence[Item]) -> list[list[Any]]:
    return [[list(item.tokens), item.prompt] for item in rows]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
