"""The pretrained model that the language benchmark adapts, by name."""

from __future__ import annotations

from collections.abc import Callable

import torch

import empirics

from ..errors import CheckpointError, UnknownName
from ..models import MambaConfig, MambaLM, load_model

BUNDLED, UNTRAINED = "bundled", "untrained"

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def base_model(name: str, scan: str, device: str, dtype: str = "float32") -> MambaLM:
    """The model to adapt, in evaluation mode.

    Parameters
    ----------
    name:
        ``bundled`` (the byte-level model that comes with the package), ``untrained`` (a tiny byte-level model with random
        values, to try things out), a folder in the hub's format, a safetensors file, or a hub name.
    dtype:
        Of the frozen weights; trained numbers are float32 in any case, unless they are the weights themselves.

    Raises
    ------
    CheckpointError
        There is no such model, or its files are corrupt.
    UnknownName
        No such scan or dtype.
    """
    if dtype not in DTYPES:
        raise UnknownName("dtype", dtype, DTYPES)
    if name == UNTRAINED:
        torch.manual_seed(0)
        config = MambaConfig(32, 2, 256, {"layer": "Mamba1", "d_state": 8}, pad_vocab_size_multiple=1)
        model = MambaLM(config, scan=scan)
    elif name == BUNDLED:
        load: Callable[[], MambaLM] | None = getattr(empirics, "bundled_model", None)
        if load is None:
            raise CheckpointError(
                f"no model is bundled here; give --model FOLDER, a hub name, or {UNTRAINED!r} to try things out"
            )
        model = load()
        model.set_scan(scan)
    else:
        model = load_model(name, scan=scan)
    return model.to(device=device, dtype=DTYPES[dtype]).eval()
