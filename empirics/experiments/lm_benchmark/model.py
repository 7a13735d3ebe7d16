"""The pretrained model that the language benchmark adapts, by name."""

from __future__ import annotations

import hashlib
import os

import torch

from ...errors import UnknownName
from ...kernels.ssd.mamba_ssm import ONE_CONFIGURATION
from ...models import MambaConfig, MambaLM, load_model
from ...pretraining.bundle import BASE, base_folder, bundled_model
from ...pretraining.scans import choose_scan

BUNDLED = "bundled"

UNTRAINED = {
    "untrained": {"layer": "Mamba1", "d_state": 8},
    "untrained_mamba2": {"layer": "Mamba2", "d_state": 8, "headdim": 16},
}
"""Tiny byte-level models with random values, to try things out: their mixers' options."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def base_model(name: str, scan: str | None, device: str, dtype: str = "float32") -> MambaLM:
    """The model to adapt, in evaluation mode.

    Parameters
    ----------
    name:
        ``bundled`` (the byte-level model that comes with the package), ``base`` or ``base_mamba2`` (larger ones, in a checkout),
        ``untrained`` or ``untrained_mamba2`` (tiny byte-level models with random values, to try things out), a folder in the
        hub's format, a safetensors file, or a hub name.
    scan:
        Its scan; where left out ``chunked``, and on a GPU the fastest that works there. mamba-ssm's for Mamba-2 has one
        configuration of each kernel, unless the environment says otherwise: to try all takes minutes, a run seconds.
    dtype:
        Of the frozen weights; trained numbers are float32 in any case, unless they are the weights themselves.

    Raises
    ------
    CheckpointError
        There is no such model, or its files are corrupt.
    UnknownName, UnsupportedScan
        No such scan or dtype, or a scan that does not run this model.
    """
    if dtype not in DTYPES:
        raise UnknownName("dtype", dtype, DTYPES)
    first = scan or "chunked"
    if name in UNTRAINED:
        torch.manual_seed(0)
        config = MambaConfig(32, 2, 256, UNTRAINED[name], pad_vocab_size_multiple=1)
        model = MambaLM(config, scan=first)
    elif name == BUNDLED:
        model = bundled_model(scan=first)
    else:
        model = load_model(base_folder(name) if name in BASE else name, scan=first)
    model.to(device=device, dtype=DTYPES[dtype]).eval()
    if scan is None and torch.device(device).type == "cuda":
        layer = type(model.mixers[0]).__name__
        if layer == "Mamba2":
            os.environ.setdefault(ONE_CONFIGURATION, "1")
        model.set_scan(choose_scan(device, layer=layer))
    return model


def weights_hash(model: MambaLM) -> str:
    """First ten hexadecimal digits of the SHA-256 of all values, in the order of their names."""
    digest = hashlib.sha256()
    for _, value in sorted(model.named_parameters()):
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:10]
