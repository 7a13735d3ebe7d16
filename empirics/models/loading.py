"""Pretrained models from the hub or from disk, and back to disk. Tensors only: no pickled code is ever run."""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn.utils import parametrize

from theory.core import files

from ..errors import CheckpointError, InvalidInput, MissingPackage
from ..tensors import write_tensors
from .config import MambaConfig
from .hub_files import hub_file
from .layouts import fit, read_config
from .lm import MambaLM

CONFIG, WEIGHTS, PICKLED = "config.json", "model.safetensors", "pytorch_model.bin"
_CANDIDATES = (WEIGHTS, f"{WEIGHTS}.index.json", PICKLED, f"{PICKLED}.index.json")
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def load_model(
    name_or_path: str | Path,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    scan: str = "chunked",
    revision: str | None = None,
) -> MambaLM:
    """A pretrained Mamba language model, in evaluation mode.

    Parameters
    ----------
    name_or_path:
        A folder in the hub's format (config.json with model.safetensors or pytorch_model.bin, also in several parts), a
        safetensors file (its configuration inside, or in the config.json beside it), or a name on the hub such as
        ``state-spaces/mamba-130m``. Key layouts and configurations of mamba-ssm and of transformers are both read.
    device, dtype:
        The CPU and the checkpoint's own dtype where left out.
    scan:
        Name of the scan.
    revision:
        Branch, tag or commit on the hub.

    Raises
    ------
    CheckpointError
        Nothing there, a file is corrupt or truncated, or weights and configuration do not fit.
    UnknownName, UnsupportedScan
        No such scan, or none for this kind of block.
    MissingPackage
        A hub name without huggingface-hub.
    """
    if dtype is not None and not dtype.is_floating_point:
        raise InvalidInput(f"dtype is {dtype}, expected a real floating-point dtype such as torch.bfloat16")
    model, fitted = _fitted(name_or_path, scan, revision)
    # Copies: a file's own pages are unaligned, so that products would round differently, and may change under our feet.
    model.load_state_dict({n: v.to(device=device, dtype=dtype, copy=True) for n, v in fitted.items()}, assign=True)
    if model.config.tie_embeddings:
        model.lm_head.weight = model.backbone.embedding.weight
    return model.eval()


def read_model(name_or_path: str | Path, *, revision: str | None = None) -> tuple[MambaConfig, dict[str, Tensor]]:
    """Configuration and tensors of a model as they are stored, under mamba-ssm's names, checked against each other.

    Nothing is copied: the tensors of a safetensors file are views of it, valid as long as it is not rewritten.

    Parameters and errors as for :func:`load_model`.
    """
    model, fitted = _fitted(name_or_path, "chunked", revision)
    return model.config, fitted


def _fitted(name_or_path: str | Path, scan: str, revision: str | None) -> tuple[MambaLM, dict[str, Tensor]]:
    """A model of shapes without values, and the stored tensors that fit it."""
    if name_or_path == "":  # as a path it would be the folder that the command runs in
        raise CheckpointError("the model's name is empty; give a folder, a safetensors file, or a hub name")
    path = Path(name_or_path)
    if path.is_file():
        config, tensors = _read_file(path)
    elif path.is_dir():
        config, tensors = _read_folder(path)
    elif isinstance(name_or_path, str) and _HUB_NAME.fullmatch(name_or_path):
        config, tensors = _read_folder(_download(name_or_path, revision))
    else:
        raise CheckpointError(
            f"{name_or_path} does not exist; give a folder, a safetensors file, or a hub name such as 'state-spaces/mamba-130m'"
        )
    _require_depth(tensors, config.n_layer, name_or_path)
    with torch.device("meta"):  # shapes only: the values come from the file
        model = MambaLM(config, scan=scan)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    return model, fit(tensors, shapes, config.tie_embeddings, name_or_path)


def _require_depth(tensors: Mapping[str, Tensor], layers: int, where: object) -> None:
    """Raise :class:`CheckpointError` where there are more blocks than tensors: before so many are built."""
    if layers > max(64, len(tensors)):  # up to 64 are built at once, and the missing tensor is named
        raise CheckpointError(
            f"{where} does not fit its configuration: {len(tensors)} tensors cannot be those of {layers} blocks; take weights "
            "and config.json from the same model"
        )


def save_model(model: MambaLM, folder: str | Path) -> Path:
    """Write ``model.safetensors`` and ``config.json`` (mamba-ssm's layout), each atomically, and return the folder.

    Raises
    ------
    InvalidInput
        The model carries an adapter, a hook or a prompt: merge or remove it, or save it by its handle.
    """
    unadapted(model)
    tensors = {n: v.detach().to("cpu").contiguous() for n, v in model.state_dict().items()}
    if model.config.tie_embeddings:
        del tensors["lm_head.weight"]
    description = json.dumps(model.config.to_dict(), indent=1)
    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "pt", "config": json.dumps(model.config.to_dict(), sort_keys=True)}
    write_tensors(where / WEIGHTS, tensors, metadata)
    files.write_text(where / CONFIG, description + "\n")
    return where


def unadapted(model: MambaLM) -> None:
    """Raises InvalidInput where the model carries an adapter, a hook or a prompt, which a file of weights would lose."""
    carried = [name for name, module in model.named_modules() if parametrize.is_parametrized(module)]
    carried += [name for name, module in model.named_modules() if getattr(module, "hook", None) is not None]
    carried += ["prompt_tokens"] if model.prompt_tokens is not None else []
    if carried:
        raise InvalidInput(f"the model carries a method at {carried[0]}; merge or remove it first, or use handle.save")


def _read_file(path: Path) -> tuple[MambaConfig, dict[str, Tensor]]:
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path} is no safetensors file; give the folder that holds it, or convert it")
    tensors, inside = _read_safetensors(path)
    if inside is not None:
        return read_config(_parse(inside, f"the configuration inside {path}"), path), tensors
    beside = path.parent / CONFIG
    if not beside.is_file():
        raise CheckpointError(f"{path} holds no configuration and {beside} does not exist; put the model's config.json there")
    return read_config(_read_json(beside), beside), tensors


def _read_folder(folder: Path) -> tuple[MambaConfig, dict[str, Tensor]]:
    raw = _read_json(folder / CONFIG)
    config = read_config(raw, folder / CONFIG)
    for name in _CANDIDATES:
        path = folder / name
        if not path.is_file():
            continue
        if name == WEIGHTS:
            tensors, inside = _read_safetensors(path)
            if inside is not None and read_config(_parse(inside, path), path) != config:
                raise CheckpointError(f"{path} and {CONFIG} come from two different saves; save the model again")
            return config, tensors
        if name == PICKLED:
            return config, _read_pickled(path)
        return config, _read_parts(path)
    raise CheckpointError(f"{folder} has no weights; expected one of {', '.join(_CANDIDATES)}")


def _read_parts(index: Path) -> dict[str, Tensor]:
    """Weights in several files, as the index lists them."""
    parts = _read_json(index).get("weight_map")
    if not isinstance(parts, dict) or not parts or not all(isinstance(part, str) for part in parts.values()):
        raise CheckpointError(f"{index} is corrupt: no weight_map of file names; download it again")
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(parts.values())):
        part = index.parent / name
        if part.name != name:
            raise CheckpointError(f"{index} points outside its folder, to {name}")
        tensors |= _read_safetensors(part)[0] if part.suffix == ".safetensors" else _read_pickled(part)
    for name in parts:
        if name not in tensors:
            raise CheckpointError(f"{index} lists {name}, which {parts[name]} does not hold; download both again")
    return tensors


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """Tensors and the configuration that :func:`save_model` puts into the header."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, (file.metadata() or {}).get("config")  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}; download or save it again") from error


def _read_pickled(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual files: what is wrong with them is said below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is corrupt or holds more than tensors, which is never unpickled here; convert it to safetensors"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"cannot read {path}: {error}; download it again") from error
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(f"{path} is no state dict of tensors; save model.state_dict()")
    return content


def _read_json(path: Path) -> dict[str, Any]:
    return files.read_object(path, CheckpointError, AGAIN, finite=False)


def _parse(text: str, where: object) -> dict[str, Any]:
    return files.as_object(files.parse_json(text, where, CheckpointError, AGAIN, finite=False), where, CheckpointError, AGAIN)


AGAIN = "download or save it again"
"""What mends a checkpoint. Its JSON may hold infinities: transformers writes them as limits of the step size."""


def _download(name: str, revision: str | None) -> Path:
    """The folder of a hub model in the local cache, fetched file by file where it is not there yet."""
    try:
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingPackage("huggingface_hub", "empirics", str(error)) from error

    def fetch(file: str) -> Path:
        return hub_file(name, file, revision)

    try:
        folder = fetch(CONFIG).parent
        for file in _CANDIDATES:
            try:
                weights = fetch(file)
            except LocalEntryNotFoundError:  # offline and not cached, which says nothing about the other files
                if file == _CANDIDATES[-1]:
                    raise
                continue
            except EntryNotFoundError:
                continue
            if file.endswith(".index.json"):
                for part in sorted({str(v) for v in _read_json(weights).get("weight_map", {}).values()}):
                    fetch(part)
            return folder
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot get {name} from the hub ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}); "
            "check the name and the network, or give a local folder in the hub's format"
        ) from error
    raise CheckpointError(f"{name} on the hub has no weights; expected one of {', '.join(_CANDIDATES)}")
