"""Text as bytes: files in, three disjoint splits out, and a record by which anyone can tell which bytes went where.

Files are read as they are (any encoding, or none), ``.xz`` files unpacked. Files given as held out are the test split, whole.
Of every other file the end is cut off in contiguous blocks,

    | train                                             | validation | test |

and the test block is left out where held-out files are given. Nothing is shuffled, so the splits depend on the files alone.
"""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Source:
    """One file of a corpus.

    Attributes
    ----------
    name:
        The file's name, below the folder that was given.
    size, sha256:
        Number and SHA-256 of its bytes, after unpacking.
    blocks:
        For each split that it gives bytes to: first byte and the one after the last.
    """

    name: str
    size: int
    sha256: str
    blocks: dict[str, tuple[int, int]]

    def record(self) -> dict[str, Any]:
        """The attributes as JSON values."""
        return {
            "name": self.name,
            "bytes": self.size,
            "sha256": self.sha256,
            "blocks": {k: list(v) for k, v in self.blocks.items()},
        }


@dataclass(frozen=True)
class Corpus:
    """Bytes of three splits; each is the blocks of its files in order, nothing between them.

    Attributes
    ----------
    train, validation, test:
        (n,) uint8.
    sources:
        Where they come from.
    """

    train: Bytes
    validation: Bytes
    test: Bytes
    sources: tuple[Source, ...]

    @property
    def sha256(self) -> str:
        """Of the files' hashes and blocks: two corpora with the same value have the same splits, whatever the names."""
        text = "\n".join(f"{s.sha256} {sorted(s.blocks.items())}" for s in self.sources)
        return hashlib.sha256(text.encode()).hexdigest()


def read_corpus(
    paths: Sequence[Path], held_out: Sequence[Path] = (), validation_share: float = 0.005, test_share: float = 0.005
) -> Corpus:
    """Read files, and folders with all that is in them, in the order of their names.

    Parameters
    ----------
    paths:
        Files and folders to train on. Files whose names begin with a dot are passed over.
    held_out:
        Files and folders that are the test split.
    validation_share, test_share:
        Parts of each file of ``paths`` at its end, between 0 and 1.

    Raises
    ------
    InvalidInput
        A path does not exist or cannot be read, nothing is in it, or the same content is given twice.
    """
    if not paths:
        raise InvalidInput("no corpus given; --corpus takes text files and folders")
    if held_out:
        test_share = 0.0
    if not (0 <= validation_share and 0 <= test_share and validation_share + test_share < 1):
        raise InvalidInput(f"validation_share {validation_share} and test_share {test_share} must leave something to train on")
    parts: dict[str, list[Bytes]] = {"train": [], "validation": [], "test": []}
    sources: list[Source] = []
    seen: dict[str, str] = {}
    for given, role in [*((p, "corpus") for p in paths), *((p, "held out") for p in held_out)]:
        found = 0
        for name, path in _files(given):
            content = _content(path)
            if not content:
                continue
            digest = hashlib.sha256(content).hexdigest()
            if digest in seen:
                raise InvalidInput(f"{name} and {seen[digest]} have the same content; give each file once")
            seen[digest] = name
            found += len(content)
            blocks = {"test": (0, len(content))} if role == "held out" else _cut(len(content), validation_share, test_share)
            values = np.frombuffer(content, dtype=np.uint8)
            for split, (start, stop) in blocks.items():
                parts[split].append(values[start:stop])
            sources.append(Source(name, len(content), digest, blocks))
        if not found:
            raise InvalidInput(f"{given.name or given} is empty: no byte to read; give text files or a folder of them")
    joined = {split: np.concatenate(blocks) if blocks else np.empty(0, np.uint8) for split, blocks in parts.items()}
    return Corpus(joined["train"], joined["validation"], joined["test"], tuple(sources))


def _cut(size: int, validation_share: float, test_share: float) -> dict[str, tuple[int, int]]:
    validation, test = int(size * validation_share), int(size * test_share)
    borders = [0, size - validation - test, size - test, size]
    blocks = {split: (borders[i], borders[i + 1]) for i, split in enumerate(("train", "validation", "test"))}
    return {split: (start, stop) for split, (start, stop) in blocks.items() if stop > start}


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """(name for the record, path) of a file, or of all files below a folder."""
    if path.is_file():
        yield path.name, path
    elif path.is_dir():
        for inner in sorted(path.rglob("*")):
            relative = inner.relative_to(path)
            if inner.is_file() and not any(part.startswith(".") for part in relative.parts):
                yield (Path(path.resolve().name) / relative).as_posix(), inner
    else:
        raise InvalidInput(f"corpus {path} does not exist; give text files or folders")


def _content(path: Path) -> bytes:
    try:
        stored = path.read_bytes()
        return lzma.decompress(stored) if path.suffix == ".xz" else stored
    except OSError as error:
        raise InvalidInput(f"corpus {path} cannot be read: {error.strerror or error}") from error
    except (lzma.LZMAError, EOFError) as error:
        raise InvalidInput(f"corpus {path} cannot be unpacked ({error}); pack it again with xz") from error
