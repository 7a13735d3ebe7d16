"""What a held-out file costs without a neural network: a general compressor and an n-gram model."""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import Any

from ..data.corpus import Bytes, Corpus
from ..errors import InvalidInput
from ..study.results import read_json, write_json
from .ngram import ByteNgram

KEPT = "baselines.json"
"""File in which a training's folder keeps the rows."""


def xz_bits_per_byte(data: Bytes) -> float:
    """Size of the data packed by xz (LZMA2, preset 9 extreme, container and checksum included), in bits per byte.

    Raises
    ------
    InvalidInput
        There is no byte.
    """
    if not len(data):
        raise InvalidInput("no held-out byte to measure on; give more text")
    return 8 * len(lzma.compress(data.tobytes(), preset=9 | lzma.PRESET_EXTREME)) / len(data)


def baselines(corpus: Corpus, order: int = 5) -> list[dict[str, Any]]:
    """Rows {name, bits_per_byte, how} on the corpus's test split."""
    return [
        {
            "name": "xz",
            "bits_per_byte": xz_bits_per_byte(corpus.test),
            "how": "test split packed by itself with xz, preset 9 extreme; sees no training text",
        },
        {
            "name": f"{order}-gram",
            "bits_per_byte": ByteNgram(corpus.train, order).bits_per_byte(corpus.test),
            "how": f"byte {order}-gram, interpolated Witten-Bell smoothing, counted on the training split",
        },
    ]


def kept_baselines(corpus: Corpus, folder: Path) -> list[dict[str, Any]]:
    """:func:`baselines`, counted once for a folder: a large corpus takes minutes."""
    path = folder / KEPT
    kept = read_json(path) if path.is_file() else None
    if isinstance(kept, dict) and kept.get("corpus") == corpus.sha256 and isinstance(kept.get("rows"), list):
        return list(kept["rows"])
    rows = baselines(corpus)
    write_json(path, {"corpus": corpus.sha256, "rows": rows})
    return rows
