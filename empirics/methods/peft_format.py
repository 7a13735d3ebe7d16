"""LoRA and DoRA in Hugging Face peft's adapter files: ``adapter_config.json`` and ``adapter_model.safetensors``.

Tensors are called ``base_model.model.<module>.lora_A.weight``, ``...lora_B.weight`` and, for DoRA, ``...lora_magnitude_vector``.
Mixers of mamba-ssm and of transformers have the same module names, so files fit both. Of an embedding's W (tokens, width) peft
keeps the transposed factors: ``...lora_embedding_A`` (r, tokens) and ``...lora_embedding_B`` (width, r).

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
from .targets import named_tensors

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
_EMBEDDED = {"lora_embedding_A": "lora_B", "lora_embedding_B": "lora_A"}
"""peft's factors of an embedding, and the factors here that they are the transposes of."""
_WRAPPED = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers that peft's LoRA wraps."""
_PEFT_REFUSES, _PEFT_SKIPS = ("out_proj", "conv1d"), ("dt_proj",)
"""Modules that peft refuses on Mamba, and that transformers' Mamba reads past peft's wrapper."""
_REFUSING = frozenset({"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"})
"""Kinds of models on which peft (0.21) refuses these modules."""
_FUSING = {"mamba": "x_proj", "falcon_mamba": "x_proj", "bamba": "out_proj", "granitemoehybrid": "out_proj", "zamba2": "out_proj"}
"""Kinds of models, and the module whose weight training reads past peft's wrapper where mamba-ssm is installed."""


def save_peft(handle: Handle, folder: str | Path, base_model: str | None = None) -> None:
    """Write a LoRA or DoRA handle as a peft adapter, each file atomically.

    Parameters
    ----------
    base_model:
        Name or path of the base model, noted in the file for ``AutoPeftModel``.

    Raises
    ------
    InvalidInput
        The handle is neither LoRA nor DoRA, or adapts a tensor that is not the weight of a module (``A_log``), or is DoRA on an
        embedding, whose magnitudes peft takes along the other axis.

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
        if isinstance(handle.model.get_submodule(module), nn.Embedding):
            if kind not in _EMBEDDED.values() or isinstance(config, DoRA):
                raise InvalidInput(f"peft has no DoRA of {module} as it is here, an embedding: use LoRA for it, or handle.save")
            theirs = next(name for name, ours in _EMBEDDED.items() if ours == kind)
            tensors[f"{PREFIX}{module}.{theirs}"] = value.cpu().T.contiguous()
        else:
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
    others = [m for m in modules if not isinstance(model.get_submodule(m), _WRAPPED)]
    skipped = [k for k in kinds if k in _PEFT_SKIPS]
    fused = [k for k in kinds if k == _FUSING.get(own)]
    said = [f"refuses {' and '.join(refused)} on Mamba models"] if refused else []
    said += [f"refuses {others[0]}, which is no linear layer"] if others else []
    said += [f"loads {' and '.join(skipped)} without effect"] if skipped else []
    said += [f"skips {fused[0]} while training with mamba-ssm's fused kernels"] if fused else []
    if said:
        rest = [k for k in kinds if k not in (*refused, *skipped, *fused) and not any(m.endswith(k) for m in others)]
        message = f"peft {' and '.join(said)}: read this adapter with load_peft, or adapt {' and '.join(rest) or 'in_proj'} only"
        warnings.warn(message, stacklevel=3)


def load_peft(model: nn.Module, folder: str | Path) -> Handle:
    """Put a peft LoRA or DoRA adapter on a model.

    The adapted modules are those whose tensors the file holds; ``target_modules``, which may be a pattern, is not read.

    Raises
    ------
    CheckpointError
        Files are missing or corrupt, hold another kind of adapter or one that uses options beyond LoRA and DoRA, or do not fit
        the model. peft writes an embedding's own weights as well; those of another model are refused.
    """
    where = Path(folder)
    description = read_json(where / CONFIG)
    kind, targets, values = _config_class(description, where), [], {}
    base = {tensor.name: tensor.parameter for tensor in named_tensors(model)}
    for key, value in read_tensors(where / VALUES).items():
        name = key.removeprefix(PREFIX)
        weight = name.replace(".base_layer.", ".")
        if weight in base:
            if value.shape != base[weight].shape or not value.to(base[weight]).equal(base[weight]):
                raise CheckpointError(f"{where} was trained for another model: the file's {weight} differs from this one")
            continue
        module, ours, value = _ours(name, value)
        if not ours:
            raise CheckpointError(f"{where / VALUES} holds {key}, which belongs to no LoRA or DoRA adapter")
        values[f"{module}.weight.{ours}"] = value
        targets += [f"{module}.weight"] if f"{module}.weight" not in targets else []
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


def _ours(name: str, value: Tensor) -> tuple[str, str, Tensor]:
    """(module, this project's name of the factor, its value) of a tensor of peft's; an empty name for any other."""
    module, _, last = name.removesuffix(".weight").rpartition(".")
    if last in _EMBEDDED:
        return module, _EMBEDDED[last], value.T
    return module, last if last in _TENSORS else "", value


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
