"""Bits per byte of a model on held-out bytes, with states carried from window to window."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from ..data.corpus import Bytes
from ..errors import InvalidInput
from ..models.lm import MambaLM, States
from ..training.progress import Tick

STREAMS = 16
"""Contiguous streams that are read side by side. Each begins with empty states and one known byte."""


@torch.inference_mode()
def bits_per_byte(model: MambaLM, data: Bytes, streams: int = STREAMS, window: int = 512, tick: Tick | None = None) -> float:
    """(8 - Σ_{i≥1} log2 p(x_i | what its stream saw before)) / n  over all n bytes x_0..x_{n-1}, in bits per byte.

    The bytes are cut into equal contiguous streams. A stream starts with empty states and is fed the byte before its first;
    states are then carried through to its end, so the context of byte i is everything since its stream's start. The first
    byte of all costs 8 bits, the price of a byte that nothing is known about.

    Parameters
    ----------
    model:
        Reads bytes; its probabilities are those of its first 256 logits.
    data:
        (n,) uint8, n at least 2.
    streams, window:
        How many streams; bytes per forward pass. The window changes rounding only.
    tick:
        Progress, see :mod:`empirics.training.progress`.

    Raises
    ------
    InvalidInput
        Fewer than 2 bytes, or no stream or window.
    """
    n = len(data)
    if n < 2:
        raise InvalidInput(f"{n} held-out bytes: at least 2 are needed; give more text or a larger share")
    if streams < 1 or window < 1:
        raise InvalidInput(f"streams = {streams} and window = {window} must be at least 1")
    streams = min(streams, n - 1)
    device = model.lm_head.weight.device
    values = torch.tensor(data.astype(np.int64)).to(device)
    length = (n - 1) // streams
    rows = torch.arange(streams, device=device)[:, None] * length
    nats = torch.zeros((), dtype=torch.float64, device=device)
    states: States | None = None
    for start in range(0, length, window):
        at = rows + torch.arange(start, min(start + window, length), device=device)
        nats, states = _add(model, values, at, states, nats)
        if tick is not None:
            tick("held-out bytes", streams * min(start + window, length), n)
    rest = torch.arange(streams * length, n - 1, device=device)[None]
    if rest.numel():  # fewer than one per stream: the last stream reads on
        assert states is not None
        last = [s.with_(**{k: None if v is None else v[-1:] for k, v in _entries(s).items()}) for s in states]
        nats, _ = _add(model, values, rest, last, nats)
    return (8 + float(nats) / math.log(2)) / n


def _entries(state: object) -> dict[str, torch.Tensor | None]:
    return {name: getattr(state, name) for name in ("conv", "ssm", "extra")}


def _add(
    model: MambaLM, values: torch.Tensor, at: torch.Tensor, states: States | None, nats: torch.Tensor
) -> tuple[torch.Tensor, States]:
    """Add -log p of the bytes after positions ``at``."""
    result = model(values[at], states=states, return_states=True)
    logits = result[0][..., :256].float()
    cost = F.cross_entropy(logits.flatten(0, 1), values[at + 1].flatten(), reduction="none")
    return nats + cost.double().sum(), result[1]
