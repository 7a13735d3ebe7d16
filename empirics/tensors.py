"""Named tensors to a safetensors file, in one step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from theory.core.files import replacing


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write contiguous CPU tensors and metadata; a reader sees the old file or the new one, never a part.

    Raises
    ------
    OSError
        The file cannot be written: a full disk, a folder that is read-only.
    """
    with replacing(path) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata=None if metadata is None else dict(metadata))
        except SafetensorError as error:  # what the library makes of the system's error
            raise OSError(f"cannot write {path}: {error}") from error
