"""A benchmark in parts: what is finished is kept beside the result until all of it is, so that a run that was cut off goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..results import read_json, write_json

SAME = ("gpu", "git")
"""Of a machine's record: what finished parts must share with those still to come."""


def parts_of(out: Path) -> Path:
    """The file beside ``out`` that holds finished parts."""
    return out.with_name(f"{out.stem}.parts.json")


def finished(out: Path | None, about: Mapping[str, Any]) -> dict[str, Any]:
    """Finished parts of the same measurement: same ``about`` but for its machine, same GPU, same commit; none where there is no
    such file.

    Raises
    ------
    CheckpointError
        The file is there and cannot be read, or holds something else.
    """
    if out is None or not parts_of(out).exists():
        return {}
    stored = read_json(parts_of(out))
    if not isinstance(stored, dict):
        raise CheckpointError(f"{parts_of(out)} holds no parts of a benchmark; delete it to start again")
    same = all(stored.get(key) == value for key, value in about.items() if key != "machine")
    same &= all(stored.get("machine", {}).get(key) == about["machine"][key] for key in SAME)
    return dict(stored.get("parts", {})) if same else {}


def saver(out: Path | None, about: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], None]:
    """What keeps all finished parts; nothing without ``out``."""

    def save(parts: Mapping[str, Any]) -> None:
        if out is not None:
            write_json(parts_of(out), {**about, "parts": parts})

    return save


def complete(out: Path | None, result: Mapping[str, Any]) -> None:
    """Write the result and drop its parts."""
    if out is not None:
        write_json(out, dict(result))
        parts_of(out).unlink(missing_ok=True)
