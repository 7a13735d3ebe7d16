"""Models as folders in the hub's format: transformers' configuration and tensor names, safetensors in parts of bounded size."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from theory.core import files

from ..errors import InvalidInput
from ..tensors import write_tensors
from .config import Mamba1Config, MambaConfig
from .lm import MambaLM
from .loading import CONFIG, WEIGHTS, unadapted

INDEX = f"{WEIGHTS}.index.json"

PART = 16 * 2**20
"""Bytes of the largest file of weights."""

_HEADER = 2**16  # room for a part's header


def transformers_config(config: MambaConfig, dtype: torch.dtype, end: int = 0) -> dict[str, Any]:
    """The model's config.json for transformers' ``MambaForCausalLM`` or ``Mamba2ForCausalLM``, as JSON values.

    Parameters
    ----------
    dtype:
        Of the stored weights.
    end:
        The token that begins, ends and fills up sequences.

    Raises
    ------
    InvalidInput
        transformers' class cannot express the model.
    """
    mixer = config.mixer
    if not config.rms_norm or int(mixer.expand) != mixer.expand:
        raise InvalidInput(f"rms_norm = {config.rms_norm}, expand = {mixer.expand}: transformers needs true and a whole number")
    common = {
        "vocab_size": config.padded_vocab_size,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layer,
        "state_size": mixer.d_state,
        "conv_kernel": mixer.d_conv,
        "expand": int(mixer.expand),
        "use_bias": mixer.bias,
        "use_conv_bias": mixer.conv_bias,
        "hidden_act": "silu",
        "layer_norm_epsilon": config.norm_epsilon,
        "residual_in_fp32": config.residual_in_fp32,
        "tie_word_embeddings": config.tie_embeddings,
        "time_step_min": mixer.dt_min,
        "time_step_max": mixer.dt_max,
        "time_step_floor": mixer.dt_init_floor,
        "use_cache": True,
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "dtype": str(dtype).removeprefix("torch."),
    }
    if isinstance(mixer, Mamba1Config):
        return common | {
            "architectures": ["MambaForCausalLM"],
            "model_type": "mamba",
            "intermediate_size": mixer.d_inner(config.d_model),
            "time_step_rank": mixer.rank(config.d_model),
            "time_step_init_scheme": mixer.dt_init,
            "time_step_scale": mixer.dt_scale,
        }
    if not mixer.rmsnorm or mixer.norm_before_gate:
        raise InvalidInput(
            f"rmsnorm = {mixer.rmsnorm}, norm_before_gate = {mixer.norm_before_gate}: "
            "transformers' Mamba-2 normalises, and after the gate"
        )
    return common | {
        "architectures": ["Mamba2ForCausalLM"],
        "model_type": "mamba2",
        "num_heads": mixer.heads(config.d_model),
        "head_dim": mixer.headdim,
        "n_groups": mixer.ngroups,
        "chunk_size": 256,
        "time_step_limit": [v if math.isfinite(v) else {"__float__": "Infinity"} for v in mixer.dt_limit],
    }


def parts(tensors: dict[str, Tensor], largest: int = PART) -> list[dict[str, Tensor]]:
    """The tensors, in order, in as few groups as keep each group's file at ``largest`` bytes.

    Raises
    ------
    InvalidInput
        A tensor alone is larger.
    """
    groups: list[dict[str, Tensor]] = [{}]
    room = largest - _HEADER
    for name, value in tensors.items():
        size = value.numel() * value.element_size()
        if size > largest - _HEADER:
            raise InvalidInput(f"{name} has {size} bytes, more than a file of {largest} holds; allow larger files")
        if size > room:
            groups.append({})
            room = largest - _HEADER
        groups[-1][name] = value
        room -= size
    return groups


def save_hub(model: MambaLM, folder: str | Path, largest: int = PART, end: int = 0) -> list[Path]:
    """Write the model for transformers: config.json, and safetensors files of at most ``largest`` bytes with their index.

    ``load_model`` reads the folder, too. Each file is written atomically, config.json last.

    Returns
    -------
    The files of weights.

    Raises
    ------
    InvalidInput
        The model carries an adapter, or transformers or the size of a file cannot hold it.
    """
    unadapted(model)
    where = Path(folder)
    own = {name: value.detach().to("cpu").contiguous() for name, value in model.state_dict().items()}
    if model.config.tie_embeddings:
        del own["lm_head.weight"]
    config = transformers_config(model.config, model.lm_head.weight.dtype, end)
    tensors = {name.replace("backbone.embedding.", "backbone.embeddings."): value for name, value in own.items()}
    groups = parts(tensors, largest)
    where.mkdir(parents=True, exist_ok=True)
    stem = WEIGHTS.removesuffix(".safetensors")
    names = [f"{stem}-{i + 1:05}-of-{len(groups):05}.safetensors" for i in range(len(groups))] if len(groups) > 1 else [WEIGHTS]
    for stale in where.glob(f"{stem}*.safetensors*"):
        stale.unlink()
    for name, group in zip(names, groups, strict=True):
        write_tensors(where / name, group, {"format": "pt"})
    if len(groups) > 1:
        size = sum(value.numel() * value.element_size() for value in tensors.values())
        index = {
            "metadata": {"total_size": size},
            "weight_map": {tensor: name for name, group in zip(names, groups, strict=True) for tensor in group},
        }
        _write_json(where / INDEX, index)
    _write_json(where / CONFIG, config)
    return [where / name for name in names]


def _write_json(path: Path, value: Any) -> None:
    files.write_text(path, json.dumps(value, indent=2) + "\n")
