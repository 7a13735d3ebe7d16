"""Named tensors and JSON values in one safetensors file, for runs that resume where they were killed.

The values are JSON in the file's metadata, so that one ``os.replace`` puts both in place: no kill can leave halves of two saves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import CheckpointError, InvalidInput
from ..tensors import write_tensors

_COMPLEX = "complex:"


def checked_name(name: str) -> str:
    """The name, once it is clear that it names a file in its folder and nothing elsewhere."""
    if not re.fullmatch(r"[\w=+-][\w.=+-]*", name):
        raise InvalidInput(f"checkpoint name {name!r} is unusable: use letters, digits and any of _ . = + -")
    return name


def save(path: Path, tensors: Mapping[str, Tensor], values: Any = None) -> None:
    """Write tensors (on any device, complex ones too) and JSON values atomically.

    Raises
    ------
    InvalidInput
        The values are no JSON, or hold a number that is not finite.
    """
    try:
        text = json.dumps(values, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"checkpoint {path.name}: the values are no JSON ({error})") from error
    plain = {
        f"{_COMPLEX}{name}" if value.is_complex() else name: (
            torch.view_as_real(value.detach()) if value.is_complex() else value.detach()
        )
        .cpu()
        .clone(memory_format=torch.contiguous_format)  # safetensors refuses tensors that share memory
        for name, value in tensors.items()
    }
    write_tensors(path, plain, {"json": text})


def load(path: Path) -> tuple[dict[str, Tensor], Any]:
    """(tensors on the CPU, values) of a file written by :func:`save`.

    Raises
    ------
    CheckpointError
        The file is missing, truncated or corrupt, or was written by something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            values = json.loads((file.metadata() or {})["json"])
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        return {
            # a file keeps numbers at multiples of 8 bytes, complex128 has to lie at one of 16: a copy in memory of its own does
            name.removeprefix(_COMPLEX): torch.view_as_complex(value.clone()) if name.startswith(_COMPLEX) else value
            for name, value in stored.items()
        }, values
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is no readable checkpoint ({reason}); delete it to start that part again") from error
