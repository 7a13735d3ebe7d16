"""What a fine-tuning leaves: where the adapter lies, and the model that it belongs to."""

from __future__ import annotations

from pathlib import Path

from ..errors import CheckpointError
from ..methods.adapter_file import DESCRIPTION, read_json

ADAPTER, RECORD = "adapter", "tune.json"
BUNDLED_NAME = "bundled"


def tuned(folder: Path) -> tuple[Path, str | None]:
    """(folder of the adapter, name of its model where a record tells it): of what ``tune`` wrote, or of an adapter alone.

    Raises
    ------
    CheckpointError
        There is no adapter.
    """
    adapter = folder if (folder / DESCRIPTION).is_file() else folder / ADAPTER
    if not (adapter / DESCRIPTION).is_file():
        raise CheckpointError(f"{folder} holds no adapter; give the --out folder of ssmproof tune, or one that handle.save wrote")
    record = adapter.parent / RECORD
    model = read_json(record).get("model") if record.is_file() else None
    return adapter, model if isinstance(model, str) else None
