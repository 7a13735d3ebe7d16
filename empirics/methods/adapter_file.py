"""Adapters on disk: ``adapter.safetensors`` with the trained values and ``adapter.json`` with everything else.

The JSON file names the method and its options, the tensors of the model that it was trained on (shape, dtype, hash of the
values) and the hash of the safetensors file, and is written last: a half-written pair is recognised.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor

from theory.core import files

from ..errors import CheckpointError
from .sharded import whole

VALUES, DESCRIPTION, FORMAT = "adapter.safetensors", "adapter.json", "ssmproof-adapter-1"

Fingerprint = dict[str, list[Any]]


def hash_tensor(value: Tensor) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a tensor's bytes."""
    value = whole(value)
    real = torch.view_as_real(value) if value.is_complex() else value
    data = real.to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(data.data).hexdigest()[:16]


def fingerprint(tensors: Iterable[tuple[str, Tensor]]) -> Fingerprint:
    """``{name: [shape, dtype, hash]}`` of named tensors."""
    return {name: [list(v.shape), str(v.dtype).removeprefix("torch."), hash_tensor(v)] for name, v in tensors}


def compare_fingerprints(trained_on: Mapping[str, Any], model: Mapping[str, Any], where: object, values: bool) -> None:
    """Raise :class:`CheckpointError` unless an adapter's model and this one agree; ``values=False`` compares shapes only."""
    missing = [n for n in trained_on if n not in model]
    extra = [n for n in model if n not in trained_on]
    if missing or extra:
        what = f"this model lacks {missing[0]}" if missing else f"this model has {extra[0]}, which that one lacks"
        raise CheckpointError(
            f"{where} was trained for another model: {what} ({len(missing)} missing, {len(extra)} extra); load its own base model"
        )
    for name, (shape, *_) in trained_on.items():
        if shape != model[name][0]:
            raise CheckpointError(f"{where} was trained for another model: {name} has shape {model[name][0]} here, {shape} there")
    if not values:
        return
    for name, (_, dtype, digest) in trained_on.items():
        if [dtype, digest] != model[name][1:]:
            raise CheckpointError(
                f"{where} was trained on other weights: {name} differs ({model[name][1]} {model[name][2]} here, {dtype} {digest} "
                "there); load the base model that it was trained on, or pass same_weights=False to use it all the same"
            )


def write_adapter(folder: Path, method: Mapping[str, Any], model: Fingerprint, values: Mapping[str, Tensor]) -> None:
    """Write both files, the JSON file last. Complex tensors are stored as (..., 2) real ones and listed under ``complex``."""
    complex_names = [name for name, v in values.items() if v.is_complex()]
    stored = {name: torch.view_as_real(v) if name in complex_names else v for name, v in values.items()}
    content = dump_tensors({name: v.detach().to("cpu").contiguous().clone() for name, v in stored.items()})
    files.write_bytes(folder / VALUES, content)
    files.write_json(
        folder / DESCRIPTION,
        {
            "format": FORMAT,
            "method": dict(method),
            "complex": complex_names,
            "values_sha256": hashlib.sha256(content).hexdigest(),
            "model": model,
        },
    )


def read_bytes(path: Path) -> bytes:
    """The content of a file of an adapter.

    Raises
    ------
    CheckpointError
        It is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; give the folder that handle.save wrote") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises
    ------
    CheckpointError
        The file is missing, or is not a JSON object.
    """
    return files.read_object(path, CheckpointError, "give the folder that handle.save wrote")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises
    ------
    CheckpointError
        The file is missing, truncated or corrupt.
    """
    return _parsed(path, read_bytes(path), load_tensors, "safetensors")


def read_adapter(folder: Path) -> tuple[dict[str, Any], Fingerprint, dict[str, Tensor]]:
    """(method, fingerprint of its model, values) as :func:`write_adapter` wrote them.

    Raises
    ------
    CheckpointError
        A file is missing, truncated or corrupt, or the two do not belong together.
    """
    description = read_json(folder / DESCRIPTION)
    if description.get("format") != FORMAT:
        raise CheckpointError(f"{folder / DESCRIPTION} has format {description.get('format')!r}, expected {FORMAT!r}")
    for key in ("method", "model"):
        if not isinstance(description.get(key), dict):
            raise CheckpointError(f"{folder / DESCRIPTION} is corrupt: no {key!r}; save the adapter again")
    if not all(isinstance(entry, list) and len(entry) == 3 for entry in description["model"].values()):
        raise CheckpointError(f"{folder / DESCRIPTION} is corrupt: 'model' holds more than [shape, dtype, hash]; save it again")
    names = description.get("complex", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"{folder / DESCRIPTION} is corrupt: 'complex' is no list of names; save the adapter again")
    content = read_bytes(folder / VALUES)
    if hashlib.sha256(content).hexdigest() != description.get("values_sha256"):
        raise CheckpointError(
            f"{folder / VALUES} is corrupt, or from another save than {DESCRIPTION}: its SHA-256 does not match"
        )
    values = _parsed(folder / VALUES, content, load_tensors, "safetensors")
    for name in names:
        if name not in values or values[name].ndim == 0 or values[name].shape[-1] != 2:
            raise CheckpointError(f"{folder / VALUES} is corrupt: {name} is no pair of real and imaginary parts")
        values[name] = torch.view_as_complex(values[name].clone())  # where complex numbers may lie
    return description["method"], description["model"], values


def _parsed(path: Path, content: bytes, parse: Callable[[bytes], Any], what: str) -> dict[str, Any]:
    try:
        parsed = parse(content)
    except (ValueError, SafetensorError) as error:
        raise CheckpointError(f"{path} is corrupt: not {what} ({error})") from error
    if not isinstance(parsed, dict):
        raise CheckpointError(f"{path} is corrupt: a {type(parsed).__name__} instead of a {what} object")
    return parsed
