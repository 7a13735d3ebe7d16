"""Bits per byte of a model on held-out text, with states carried from window to window."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..models.lm import MambaLM, States
from ..training.progress import Tick
from .recipe import BYTES

STREAMS = 16
"""Contiguous streams that are read side by side. Each begins with empty states and one known token."""


@torch.inference_mode()
def bits_per_byte(
    model: MambaLM,
    data: NDArray[np.uint8] | NDArray[np.uint16],
    streams: int = STREAMS,
    window: int = 512,
    tick: Tick | None = None,
    widths: NDArray[np.int64] | None = None,
) -> float:
    """(log2 V - Σ_{i≥1} log2 p(x_i | what its stream saw before)) / Σ_i w(x_i)  over all n tokens x_0..x_{n-1}, in bits per byte.

    The tokens are cut into equal contiguous streams. A stream starts with empty states and is fed the token before its first;
    states are then carried through to its end, so the context of token i is everything since its stream's start. The first
    token of all costs log2 V bits, the price of a token that nothing is known about: 8 bits for a byte.

    Parameters
    ----------
    model:
        Its probabilities are those of its first V logits.
    data:
        (n,) tokens, n at least 2.
    streams, window:
        How many streams; tokens per forward pass. The window changes rounding only.
    tick:
        Progress, see :mod:`empirics.training.progress`.
    widths:
        (V,) bytes w that each token stands for; where left out, tokens are the V = 256 bytes.

    Raises
    ------
    InvalidInput
        Fewer than 2 tokens, or no stream or window.
    """
    widths = np.ones(BYTES, np.int64) if widths is None else widths
    what = "bytes" if len(widths) == BYTES else "tokens"
    n = len(data)
    if n < 2:
        raise InvalidInput(f"{n} held-out {what}: at least 2 are needed; give more text or a larger share")
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
        nats, states = _add(model, values, at, states, nats, len(widths))
        if tick is not None:
            tick(f"held-out {what}", streams * min(start + window, length), n)
    rest = torch.arange(streams * length, n - 1, device=device)[None]
    if rest.numel():  # fewer than one per stream: the last stream reads on
        assert states is not None
        last = [s.with_(**{k: None if v is None else v[-1:] for k, v in _entries(s).items()}) for s in states]
        nats, _ = _add(model, values, rest, last, nats, len(widths))
    return (math.log2(len(widths)) + float(nats) / math.log(2)) / int(widths[data].sum())


def _entries(state: object) -> dict[str, torch.Tensor | None]:
    return {name: getattr(state, name) for name in ("conv", "ssm", "extra")}


def _add(
    model: MambaLM, values: torch.Tensor, at: torch.Tensor, states: States | None, nats: torch.Tensor, vocabulary: int
) -> tuple[torch.Tensor, States]:
    """Add -log p of the tokens after positions ``at``."""
    result = model(values[at], states=states, return_states=True)
    logits = result[0][..., :vocabulary].float()
    cost = F.cross_entropy(logits.flatten(0, 1), values[at + 1].flatten(), reduction="none")
    return nats + cost.double().sum(), result[1]
