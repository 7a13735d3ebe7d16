"""A benchmark in parts: what is finished is kept beside the result until all of it is, so that a run that was cut off goes on.

Parts are those of one measurement: same options, same GPU, same commit. Each measurement has a file of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..study.results import read_json, write_json

SAME = ("gpu", "git")
"""Of a machine's record: what finished parts must share with those still to come."""


def parts_of(out: Path, about: Mapping[str, Any]) -> Path:
    """The file beside ``out`` that holds finished parts of the measurement ``about``."""
    machine = {key: about["machine"][key] for key in SAME}
    digest = hashlib.sha256(json.dumps({**about, "machine": machine}, sort_keys=True).encode()).hexdigest()
    return out.with_name(f"{out.stem}.parts-{digest[:8]}.json")


def finished(out: Path | None, about: Mapping[str, Any]) -> dict[str, Any]:
    """Finished parts of the same measurement; none where there is no such file.

    Raises
    ------
    CheckpointError
        The file is there and cannot be read, or holds something else.
    """
    if out is None or not parts_of(out, about).exists():
        return {}
    stored = read_json(parts_of(out, about))
    if not isinstance(stored, dict) or not isinstance(stored.get("parts"), dict):
        raise CheckpointError(f"{parts_of(out, about)} holds no parts of a benchmark; delete it to start again")
    return dict(stored["parts"])


def saver(out: Path | None, about: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], None]:
    """What keeps all finished parts; nothing without ``out``."""

    def save(parts: Mapping[str, Any]) -> None:
        if out is not None:
            write_json(parts_of(out, about), {**about, "parts": parts})

    return save


def complete(out: Path | None, about: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Write the result and drop its parts."""
    if out is not None:
        write_json(out, {**about, **found})
        parts_of(out, about).unlink(missing_ok=True)
