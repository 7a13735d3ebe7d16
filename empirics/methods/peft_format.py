"""LoRA and DoRA in Hugging Face peft's adapter files: ``adapter_config.json`` and ``adapter_model.safetensors``.

Tensors are called ``base_model.model.<module>.lora_A.weight``, ``...lora_B.weight`` and, for DoRA, ``...lora_magnitude_vector``.
Mixers of mamba-ssm and of transformers have the same module names, so files fit both.

What peft then does with a file is its own matter, and worth knowing on Mamba: it wraps modules, so a forward pass that reads
``module.weight`` skips the update. transformers' Mamba reads ``dt_proj.weight`` (always) and ``x_proj.weight``,
``out_proj.weight`` (while training with the fused kernel) in this way, and peft refuses ``out_proj`` and ``conv1d`` on Mamba.
:func:`load_peft` here reaches every one of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save as dump_tensors
from torch import Tensor, nn

from theory.core.files import write_bytes, write_json

from ..errors import CheckpointError, InvalidInput, UnknownName
from .adapter_file import read_json, read_tensors
from .dora import DoRA
from .handle import Handle, apply
from .lora import LoRA, LowRankConfig

CONFIG, VALUES, PREFIX = "adapter_config.json", "adapter_model.safetensors", "base_model.model."
_TENSORS = {"lora_A": "lora_A.weight", "lora_B": "lora_B.weight", "lora_magnitude_vector": "lora_magnitude_vector"}
_NEUTRAL = frozenset({
    "auto_mapping", "base_model_name_or_path", "bias", "eva_config", "exclude_modules", "inference_mode", "init_lora_weights",
    "layers_pattern", "layers_to_transform", "lora_alpha", "lora_dropout", "megatron_core", "peft_type", "peft_version",
    "qalora_group_size", "r", "revision", "runtime_config", "target_modules", "task_type", "use_dora", "use_rslora",
})  # fmt: skip
"""Options of peft that say nothing, or that are read or checked here; any other that is set changes what the file means."""
_SAME_BASE = (True, False, "gaussian", "eva", None)
"""Ways to start an adapter that leave the base model's weights as they are; the others (pissa, olora, loftq, ...) change them."""
_PEFT_REFUSES, _PEFT_SKIPS = ("out_proj", "conv1d"), ("dt_proj",)
"""Modules that peft refuses on Mamba, and that transformers' Mamba reads past peft's wrapper."""
_REFUSING = frozenset({"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"})
_FUSING = frozenset({"bamba", "granitemoehybrid", "zamba2"})
"""Kinds of models on which peft (0.21) refuses these modules, and others whose training reads out_proj's weight where mamba-ssm
is installed."""


def save_peft(handle: Handle, folder: str | Path, base_model: str | None = None) -> None:
    """Write a LoRA or DoRA handle as a peft adapter, each file atomically.

    Parameters
    ----------
    base_model:
        Name or path of the base model, noted in the file for ``AutoPeftModel``.

    Raises
    ------
    InvalidInput
        The handle is neither LoRA nor DoRA, or adapts a tensor that is not the weight of a module (``A_log``).

    Warns
    -----
    UserWarning
        peft will refuse a part of the file on a Mamba model, or load it without effect.
    """
    config = handle.config
    if not isinstance(config, LoRA | DoRA):
        raise InvalidInput(f"{config.name} has no peft adapter format here; it exists for lora and dora, use handle.save")
    tensors: dict[str, Tensor] = {}
    modules: list[str] = []
    for name, value in handle.values().items():
        tensor, kind = name.rsplit(".", 1)
        if not tensor.endswith(".weight"):
            raise InvalidInput(
                f"{tensor} is not the weight of a module, which peft's files need; use handle.save, or other targets"
            )
        module = tensor.removesuffix(".weight")
        modules += [module] if module not in modules else []
        tensors[f"{PREFIX}{module}.{_TENSORS[kind]}"] = value.cpu().contiguous()
    _warn(handle.model, modules)
    where = Path(folder)
    description = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "use_rslora": config.use_rslora,
        "use_dora": isinstance(config, DoRA),
        "target_modules": modules,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }
    write_bytes(where / VALUES, dump_tensors(tensors, metadata={"format": "pt"}))
    write_json(where / CONFIG, description, indent=2)


def _warn(model: nn.Module, modules: Sequence[str]) -> None:
    kinds = dict.fromkeys(module.rsplit(".", 1)[-1] for module in modules)
    own = getattr(getattr(model, "config", None), "model_type", "mamba")  # files of this project's models are for Mamba
    refused = [k for k in kinds if k in _PEFT_REFUSES and own in _REFUSING]
    skipped = [k for k in kinds if k in _PEFT_SKIPS]
    fused = [k for k in kinds if k == "out_proj" and own in _FUSING]
    said = [f"refuses {' and '.join(refused)} on Mamba models"] if refused else []
    said += [f"loads {' and '.join(skipped)} without effect"] if skipped else []
    said += ["skips out_proj while training with mamba-ssm's fused kernels"] if fused else []
    if said:
        instead = "in_proj and x_proj" if skipped or own in ("mamba", "falcon_mamba") else "in_proj"
        message = f"peft {' and '.join(said)}: read this adapter with load_peft, or adapt {instead} only"
        warnings.warn(message, stacklevel=3)


def load_peft(model: nn.Module, folder: str | Path) -> Handle:
    """Put a peft LoRA or DoRA adapter on a model.

    The adapted modules are those whose tensors the file holds; ``target_modules``, which may be a pattern, is not read.

    Raises
    ------
    CheckpointError
        Files are missing or corrupt, hold another kind of adapter or one that uses options beyond LoRA and DoRA, or do not fit
        the model.
    """
    where = Path(folder)
    description = read_json(where / CONFIG)
    kind, targets, values = _config_class(description, where), [], {}
    for key, value in read_tensors(where / VALUES).items():
        for ours, theirs in _TENSORS.items():
            name = key.removeprefix(PREFIX)
            module = name.removesuffix(".weight").removesuffix(f".{theirs.removesuffix('.weight')}")
            if module != name.removesuffix(".weight"):
                values[f"{module}.weight.{ours}"] = value
                targets += [f"{module}.weight"] if f"{module}.weight" not in targets else []
                break
        else:
            raise CheckpointError(f"{where / VALUES} holds {key}, which belongs to no LoRA or DoRA adapter")
    if not targets:
        raise CheckpointError(f"{where / VALUES} holds no tensor")
    try:
        config = kind(
            targets=tuple(targets),
            rank=description.get("r", 8),
            alpha=float(description.get("lora_alpha", 8)),
            dropout=float(description.get("lora_dropout", 0.0)),
            use_rslora=bool(description.get("use_rslora", False)),
        )
        handle = apply(model, config)
    except UnknownName as error:
        raise CheckpointError(f"{where} was trained for another model: {error}") from error
    except (InvalidInput, TypeError, ValueError) as error:
        raise CheckpointError(f"{where} does not fit: {error}") from error
    try:
        handle.set_values(values)
    except CheckpointError:
        handle.remove()
        raise
    return handle


def _config_class(description: dict[str, Any], where: Path) -> type[LowRankConfig]:
    if description.get("peft_type") != "LORA":
        raise CheckpointError(f"{where / CONFIG} has peft_type {description.get('peft_type')!r}, expected 'LORA'")
    if description.get("bias", "none") != "none":
        raise CheckpointError(f"{where / CONFIG} has bias {description['bias']!r}; only 'none' is supported")
    for option, value in description.items():
        if value and option not in _NEUTRAL:
            raise CheckpointError(f"{where / CONFIG} uses {option}={value!r}, which is not supported")
    start = description.get("init_lora_weights", True)
    if start not in _SAME_BASE:
        raise CheckpointError(
            f"{where / CONFIG} has init_lora_weights={start!r}, which changes the base model's weights, and the file holds the "
            "adapter only; let peft write it as a plain LoRA: save_pretrained(path_initial_model_for_weight_conversion=...)"
        )
    return DoRA if description.get("use_dora") else LoRA
