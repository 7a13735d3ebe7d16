"""Models of transformers from folders and names, without anybody's code and without pickles; and from this project's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import CheckpointError, InvalidInput, MissingPackage
from ..models.hub import transformers_config
from ..models.hub_files import hub_file, hub_has_an_address
from ..models.lm import MambaLM
from ..models.loading import load_model
from ..pretraining.bundle import bundled_model
from .tiny import CONFIGS, host_model

BUNDLED = "bundled"


def library() -> Any:
    """The module transformers.

    Raises
    ------
    MissingPackage
        It is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingPackage("transformers", "models", str(error)) from error
    return transformers


def as_transformers(model: MambaLM) -> nn.Module:
    """``MambaForCausalLM`` or ``Mamba2ForCausalLM`` with the same weights, in evaluation mode.

    Raises
    ------
    InvalidInput
        transformers' class cannot express the model.
    """
    dtype = model.lm_head.weight.dtype
    options = transformers_config(model.config, dtype)
    if "time_step_limit" in options:  # infinity is spelt out in files only
        options["time_step_limit"] = tuple(model.config.mixer.dt_limit)  # type: ignore[union-attr]
    config = library().AutoConfig.for_model(**options)
    made: nn.Module = library().AutoModelForCausalLM.from_config(config).to(dtype)
    values = {name.replace("backbone.embedding.", "backbone.embeddings."): v for name, v in model.state_dict().items()}
    made.load_state_dict(values)
    return made.to(model.lm_head.weight.device).eval()


def needs_transformers(name: str) -> bool:
    """Whether the configuration of a folder or of a model on the hub names a class that only transformers builds."""
    file = Path(name) / "config.json"
    if not Path(name).exists() and name.count("/") == 1:
        try:
            file = hub_file(name, file.name)
        except (ImportError, OSError, ValueError):  # whoever loads the model says what is wrong
            return False
    try:
        kind = json.loads(file.read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
    return kind not in (None, "mamba", "mamba2")


def load_host(name: str, *, device: str = "cpu", dtype: torch.dtype | None = None) -> nn.Module:
    """A language model of transformers, in evaluation mode.

    Parameters
    ----------
    name:
        A folder in the hub's format or a name on the hub; ``bundled``; or a class such as ``BambaForCausalLM``, of which a tiny
        random model is made. A checkpoint in mamba-ssm's layout is converted.

    Raises
    ------
    CheckpointError
        There is no such model, it is damaged, or it asks for code of its own.
    """
    if name in CONFIGS:
        return host_model(name).to(device=device, dtype=dtype)
    if name == BUNDLED:
        return as_transformers(bundled_model()).to(device=device, dtype=dtype)
    path = Path(name)
    if not name:  # as a path it would be the folder that the command runs in
        raise CheckpointError(f"the model's name is empty; give a folder, a hub name, or one of {', '.join(CONFIGS)}")
    if path.exists() and not (path / "config.json").is_file():
        raise CheckpointError(f"{name} is no model: it has no config.json; give a folder in the hub's format")
    if not path.exists() and name.count("/") != 1:
        raise CheckpointError(
            f"{name} does not exist; give a folder in the hub's format, a hub name, or one of {', '.join(CONFIGS)}"
        )
    transformers, wanted = library(), "auto" if dtype is None else dtype
    model: nn.Module
    try:
        with _quiet(transformers.utils.logging):
            place = {"trust_remote_code": False, "local_files_only": path.exists() or not hub_has_an_address()}
            config = transformers.AutoConfig.from_pretrained(name, **place)
            model, told = transformers.AutoModelForCausalLM.from_pretrained(
                name, config=config, use_safetensors=True, dtype=wanted, output_loading_info=True, **place
            )
    except Exception as error:  # what a damaged folder raises is not of a few kinds
        try:  # mamba-ssm's layout
            return as_transformers(load_model(name, dtype=dtype)).to(device)
        except (CheckpointError, InvalidInput) as ours:
            if _of_mamba_ssm(path / "config.json"):
                raise ours from error
            raise CheckpointError(
                f"transformers cannot load {name}: {_first_line(error)} (a model's own code is never run, and no pickle is read)"
            ) from error
    missing = sorted(told["missing_keys"])
    if any(".parametrizations." in name for name in told["unexpected_keys"]):
        raise CheckpointError(
            f"{name} was saved while a method was on the model; merge or remove it first (handle.merge()), or use handle.save"
        )
    if missing:  # transformers draws them at random, and goes on
        raise CheckpointError(f"{name} lacks {missing[0]} ({len(missing)} missing tensors); download or save it again")
    for tensor, value in model.named_parameters():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{name}: {tensor} holds NaN or infinity; take a checkpoint of a run that did not diverge")
    return model.to(device).eval()


def _of_mamba_ssm(file: Path) -> bool:
    """Whether a configuration has mamba-ssm's fields, which transformers does not read."""
    try:
        return "d_model" in json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _first_line(error: Exception) -> str:
    """What an error says first; with the second line where the first only announces it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """Inside, transformers draws no bar where nobody sees it, and leaves what is wrong to the caller's own message."""
    bar, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
