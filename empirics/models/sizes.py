"""Shapes of the published checkpoints, without their weights."""

from __future__ import annotations

import torch

from ..errors import UnknownName
from .config import MambaConfig
from .lm import MambaLM

_WIDTH_DEPTH = {"130m": (768, 24), "370m": (1024, 48), "790m": (1536, 48), "1.4b": (2048, 48), "2.8b": (2560, 64)}
_MAMBA2_NAMES = {"130m": "130m", "370m": "370m", "780m": "790m", "1.3b": "1.4b", "2.7b": "2.8b"}
_VOCABULARY = 50277  # of GPT-NeoX's tokenizer

SIZES: dict[str, MambaConfig] = {
    **{
        f"mamba-{size}": MambaConfig(width, depth, _VOCABULARY, {"layer": "Mamba1"})
        for size, (width, depth) in _WIDTH_DEPTH.items()
    },
    **{
        f"mamba2-{name}": MambaConfig(*_WIDTH_DEPTH[size], _VOCABULARY, {"layer": "Mamba2"}, pad_vocab_size_multiple=16)
        for name, size in _MAMBA2_NAMES.items()
    },
}
"""``mamba-130m`` … ``mamba-2.8b`` and ``mamba2-130m`` … ``mamba2-2.7b`` of the hub's ``state-spaces``."""


def size_config(name: str) -> MambaConfig:
    """Configuration of a published size; ``state-spaces/mamba-130m``, ``mamba-130m`` and ``130m`` are the same.

    Raises
    ------
    UnknownName
        No such size.

    Source: the config.json files of the hub's ``state-spaces/mamba-*`` and ``state-spaces/mamba2-*``.
    """
    short = name.removeprefix("state-spaces/")
    for candidate in (short, f"mamba-{short}"):
        if candidate in SIZES:
            return SIZES[candidate]
    raise UnknownName("model size", name, SIZES)


def n_parameters(config: MambaConfig) -> int:
    """Number of parameters of a model, tied ones once; nothing is allocated."""
    with torch.device("meta"):
        return sum(p.numel() for p in MambaLM(config).parameters())
