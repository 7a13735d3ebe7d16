"""The two ways in which Mamba checkpoints are written: mamba-ssm's (``state-spaces``) and transformers'."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..errors import CheckpointError, InvalidInput
from .config import MambaConfig

_INERT: dict[str, tuple[Any, ...]] = {
    "d_intermediate": (0, None),
    "attn_layer_idx": ([], None),
    "attn_cfg": ({}, None),
    "attn_layers": ([], None),
}
"""Fields of mamba-ssm that are read only when they ask for nothing: MLPs and attention layers are not built here."""
_IGNORED = frozenset({"fused_add_norm", "architectures", "torch_dtype", "dtype", "_name_or_path", "transformers_version"})
_OWN = frozenset(MambaConfig.__dataclass_fields__)


def read_config(raw: Mapping[str, Any], where: object = "config.json") -> MambaConfig:
    """The configuration in either layout.

    Raises
    ------
    CheckpointError
        Neither layout, or one that describes a model that these blocks cannot express.
    """
    try:
        if "d_model" in raw:
            return _from_mamba_ssm(raw)
        if "hidden_size" in raw:
            return _from_transformers(raw)
    except (InvalidInput, TypeError, ValueError, LookupError) as error:
        raise CheckpointError(f"{where} describes no model that can be built here: {error}") from error
    raise CheckpointError(f"{where} has neither d_model (mamba-ssm) nor hidden_size (transformers); is it a Mamba model's?")


def _from_mamba_ssm(raw: Mapping[str, Any]) -> MambaConfig:
    for name, empty in _INERT.items():
        if name in raw and raw[name] not in empty:
            raise InvalidInput(f"{name} = {raw[name]!r}: only models made of Mamba blocks are supported")
    for name in raw:
        if name not in _OWN and name not in _INERT and name not in _IGNORED and name != "model_type":
            raise InvalidInput(f"unknown field {name!r}")
    for name in ("n_layer", "vocab_size"):
        if name not in raw:
            raise InvalidInput(f"the field {name!r} is missing")
    return MambaConfig(**{name: raw[name] for name in raw if name in _OWN})


def _from_transformers(raw: Mapping[str, Any]) -> MambaConfig:
    kind = raw.get("model_type")
    if kind not in ("mamba", "mamba2"):
        raise InvalidInput(f"model_type is {kind!r}, expected 'mamba' or 'mamba2'")
    if raw.get("hidden_act", "silu") != "silu":
        raise InvalidInput(f"hidden_act is {raw['hidden_act']!r}; mamba-ssm's blocks have 'silu'")
    ssm_cfg: dict[str, Any] = {
        "layer": "Mamba1" if kind == "mamba" else "Mamba2",
        "d_state": raw.get("state_size", 16 if kind == "mamba" else 128),
        "d_conv": raw.get("conv_kernel", 4),
        "expand": raw.get("expand", 2),
        "bias": raw.get("use_bias", False),
        "conv_bias": raw.get("use_conv_bias", True),
    }
    if kind == "mamba":
        ssm_cfg["dt_rank"] = raw.get("time_step_rank", "auto")
    else:
        ssm_cfg |= {
            "headdim": raw.get("head_dim", 64),
            "ngroups": raw.get("n_groups", 8),
            "dt_limit": tuple(_number(v) for v in raw.get("time_step_limit", (0.0, math.inf))),
        }
    for name in ("num_hidden_layers", "vocab_size"):
        if name not in raw:
            raise InvalidInput(f"the field {name!r} is missing")
    return MambaConfig(
        d_model=raw["hidden_size"],
        n_layer=raw["num_hidden_layers"],
        vocab_size=raw["vocab_size"],
        ssm_cfg=ssm_cfg,
        residual_in_fp32=raw.get("residual_in_fp32", True),
        tie_embeddings=raw.get("tie_word_embeddings", kind == "mamba"),
        pad_vocab_size_multiple=1,  # transformers counts the rows that exist
        norm_epsilon=raw.get("layer_norm_epsilon", 1e-5),
    )


def _number(value: Any) -> float:
    """transformers writes infinity as ``{"__float__": "Infinity"}``; InvalidInput for what is no number."""
    try:
        return float(value["__float__"] if isinstance(value, Mapping) else value)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"time_step_limit holds {value!r}, expected a number") from error


def read_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under mamba-ssm's names: ``embeddings`` becomes ``embedding``, a bare backbone gets its prefix."""
    renamed = {}
    for name, value in tensors.items():
        if not name.startswith(("backbone.", "lm_head.")):
            name = f"backbone.{name}"
        renamed[name.replace("backbone.embeddings.", "backbone.embedding.")] = value
    return renamed


def fit(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], tied: bool, where: object) -> dict[str, Tensor]:
    """The tensors of a model with these names and shapes, lm_head filled in where it is tied.

    Raises
    ------
    CheckpointError
        A tensor is missing, too many, of another shape, or not of finite floating-point numbers; or lm_head differs from the
        embedding that it should be tied to.
    """
    given = read_names(tensors)
    head, embedding = "lm_head.weight", "backbone.embedding.weight"
    if tied and embedding in given:
        if head in given and not given[head].equal(given[embedding]):
            raise CheckpointError(f"{where}: {head} differs from {embedding}, but the configuration ties them; untie it there")
        given[head] = given[embedding]
    missing = [n for n in shapes if n not in given]
    extra = [n for n in given if n not in shapes]
    if missing or extra:
        what = f"{missing[0]} is missing" if missing else f"{extra[0]} does not belong to it"
        raise CheckpointError(
            f"{where} does not fit its configuration: {what} ({len(missing)} missing, {len(extra)} too many); "
            "take weights and config.json from the same model"
        )
    for name, shape in shapes.items():
        value = given[name]
        if tuple(value.shape) != shape:
            raise CheckpointError(f"{where} does not fit its configuration: {name} is {tuple(value.shape)}, expected {shape}")
        if not value.is_floating_point():
            raise CheckpointError(f"{where}: {name} has dtype {value.dtype}; quantised checkpoints are not supported")
        if not value.isfinite().all():
            raise CheckpointError(f"{where}: {name} holds NaN or infinity; take a checkpoint of a run that did not diverge")
    return given
