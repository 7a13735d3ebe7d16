"""Tiny random models of every class of transformers whose mixers this project knows.

Zamba2 and Nemotron-H clamp step sizes at ``time_step_min`` in their parallel pass, and not token by token: here it is 0.

in_proj of Mamba-2 mixers has a multiple of 8 rows, as in published models: causal-conv1d's kernel reads its input in place, as a
slice of in_proj's output (channels last), and refuses strides that are no multiple of 8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..errors import MissingPackage, UnknownName

VOCABULARY = 24


def _library() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingPackage("transformers", "models", str(error)) from error
    return transformers


def _mamba(name: str, **options: Any) -> Callable[[], Any]:
    def config() -> Any:
        sizes = {
            "vocab_size": VOCABULARY, "hidden_size": 12, "state_size": 4, "num_hidden_layers": 2, "expand": 2, "pad_token_id": 0,
        }  # fmt: skip
        return getattr(_library(), f"{name}Config")(**(sizes | options))

    return config


_HYBRID = {
    "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 1,
    "mamba_expand": 2, "mamba_d_state": 4, "mamba_d_conv": 4, "num_hidden_layers": 2, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2, "max_position_embeddings": 64,
}  # fmt: skip
_HEADS = {"mamba_n_heads": 8, "mamba_d_head": 4, "mamba_n_groups": 2, "mamba_chunk_size": 8}


def _hybrid(name: str, **options: Any) -> Callable[[], Any]:
    def config() -> Any:
        return getattr(_library(), f"{name}Config")(**(_HYBRID | options))

    return config


CONFIGS: dict[str, Callable[[], Any]] = {
    "MambaForCausalLM": _mamba("Mamba", time_step_rank=3, use_mambapy=False),
    "FalconMambaForCausalLM": _mamba("FalconMamba", time_step_rank=3, use_mambapy=False),
    "Mamba2ForCausalLM": _mamba("Mamba2", hidden_size=16, num_heads=8, head_dim=4, n_groups=2, chunk_size=8),
    "JambaForCausalLM": _hybrid(
        "Jamba", mamba_dt_rank=3, attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=1,
        num_experts=2, num_experts_per_tok=1,
    ),
    "BambaForCausalLM": _hybrid("Bamba", attn_layer_indices=[1], **_HEADS),
    "Zamba2ForCausalLM": _hybrid(
        "Zamba2", n_mamba_heads=8, mamba_headdim=4, mamba_ngroups=2, chunk_size=8, num_mem_blocks=1, adapter_rank=2,
        layers_block_type=["mamba", "hybrid"], num_key_value_heads=2, use_mem_rope=True,
    ),
    "NemotronHForCausalLM": _hybrid(
        "NemotronH", mamba_num_heads=8, mamba_head_dim=4, ssm_state_size=4, n_groups=2, chunk_size=8, expand=2,
        layers_block_type=["mamba", "attention", "mlp"], head_dim=8, num_hidden_layers=3, conv_kernel=4,
    ),
    "GraniteMoeHybridForCausalLM": _hybrid(
        "GraniteMoeHybrid", layer_types=["mamba", "attention"], num_local_experts=2, num_experts_per_tok=1,
        shared_intermediate_size=16, embedding_multiplier=1.5, **_HEADS,
    ),
    "FalconH1ForCausalLM": _hybrid(
        "FalconH1", mamba_d_ssm=32, embedding_multiplier=1.5, ssm_in_multiplier=0.7, ssm_multipliers=[0.5, 1.5, 0.8, 1.2, 0.9],
        head_dim=8, mamba_rms_norm=True, mamba_norm_before_gate=False, **_HEADS,
    ),
}  # fmt: skip
"""Class → its configuration."""

PURE = ("MambaForCausalLM", "FalconMambaForCausalLM", "Mamba2ForCausalLM")


def host_model(name: str, seed: int = 0, **changes: Any) -> nn.Module:
    """A random model of the class, in evaluation mode, with weights lively enough for states to matter.

    Parameters
    ----------
    changes:
        Options of the class's configuration.

    Raises
    ------
    UnknownName
        No class of that name is known here.
    """
    if name not in CONFIGS:
        raise UnknownName("model class", name, CONFIGS)
    torch.manual_seed(seed)
    config = CONFIGS[name]()
    for option, value in changes.items():
        setattr(config, option, value)
    model: nn.Module = getattr(_library(), name)(config).eval()
    if name in ("Zamba2ForCausalLM", "NemotronHForCausalLM"):
        for mixer in (m for m in model.modules() if hasattr(m, "time_step_limit")):
            vars(mixer)["time_step_limit"] = (0.0, float("inf"))
    _enliven(model)
    return model


@torch.no_grad()
def _enliven(model: nn.Module) -> None:
    for tensor, parameter in model.named_parameters():
        generator = torch.Generator().manual_seed(sum(tensor.encode()))
        size = 0.3 if tensor.rsplit(".", 2)[-2] in ("in_proj", "x_proj", "dt_proj") else 0.1
        parameter.add_(size * torch.randn(parameter.shape, generator=generator).to(parameter.device))


MAMBA_SSM = {
    "MambaLMHeadModel with Mamba": {"layer": "Mamba1", "d_state": 16},
    "MambaLMHeadModel with Mamba-2": {"layer": "Mamba2", "d_state": 16, "headdim": 4, "chunk_size": 8},
}
"""mamba-ssm's models in words → their ``ssm_cfg``."""


def mamba_ssm_model(name: str, device: str) -> nn.Module:
    """A random model of mamba-ssm's own class, on a GPU, in evaluation mode.

    Raises
    ------
    MissingPackage
        mamba-ssm is not installed.
    """
    try:
        from mamba_ssm.models.config_mamba import MambaConfig
        from mamba_ssm.models.mixer_seq_simple import MambaLMHeadModel
    except ImportError as error:
        raise MissingPackage("mamba_ssm", "cuda", str(error)) from error
    torch.manual_seed(0)
    config = MambaConfig(d_model=16, n_layer=2, vocab_size=VOCABULARY, ssm_cfg=dict(MAMBA_SSM[name]), pad_vocab_size_multiple=1)
    model: nn.Module = MambaLMHeadModel(config, device=device, dtype=torch.float32).eval()
    _enliven(model)
    return model
