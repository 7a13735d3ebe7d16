"""Models of transformers from folders and names, without anybody's code and without pickles; and from this project's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import CheckpointError, InvalidInput, MissingPackage
from ..models.hub import transformers_config
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
    if path.exists() and not (path / "config.json").is_file():
        raise CheckpointError(f"{name} is no model: it has no config.json; give a folder in the hub's format")
    if not path.exists() and name.count("/") != 1:
        raise CheckpointError(
            f"{name} does not exist; give a folder in the hub's format, a hub name, or one of {', '.join(CONFIGS)}"
        )
    try:
        config = library().AutoConfig.from_pretrained(name, trust_remote_code=False)
        auto = library().AutoModelForCausalLM
        model: nn.Module = auto.from_pretrained(
            name, config=config, trust_remote_code=False, use_safetensors=True, dtype=dtype if dtype is not None else "auto"
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        try:  # mamba-ssm's layout
            return as_transformers(load_model(name, dtype=dtype)).to(device)
        except (CheckpointError, InvalidInput):
            first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise CheckpointError(
                f"transformers cannot load {name}: {first.strip()} (a model's own code is never run, and no pickle is read)"
            ) from error
    return model.to(device).eval()
