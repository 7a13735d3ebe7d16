"""A layer of independent LTI channels, as a model that methods act on and as theory's systems with the same numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from theory import LTI

from ..models.s4 import DeepS4, DeepS4Config, S4Mixer


def channels(
    width: int, states: int, seed: int, dtype: torch.dtype, skip: bool = True, dt: tuple[float, float] | None = None
) -> DeepS4:
    """One linear S4 layer whose out_proj is the identity: ``width`` channels that do not see each other.

    ``skip`` keeps the random skips D x; ``dt`` is a range that step sizes are drawn from, log-uniformly.
    """
    torch.manual_seed(seed)
    model = DeepS4(DeepS4Config(width, 1, states, "linear"))
    mixer = mixer_of(model)
    with torch.no_grad():
        mixer.out_proj.weight.copy_(torch.eye(width))
        mixer.out_proj.bias.zero_()
        if not skip:
            mixer.D.zero_()
        if dt is not None:
            low, high = math.log(dt[0]), math.log(dt[1])
            mixer.log_dt.uniform_(low, high)
    return model.to(dtype).requires_grad_(False)


def mixer_of(model: DeepS4) -> S4Mixer:
    """The only layer."""
    return model.mixers()[0]


@torch.no_grad()
def systems(model: DeepS4) -> list[LTI]:
    """The channels as theory's systems (half storage, float64): the numbers that the model computes with."""
    mixer = mixer_of(model)
    _, a, b = (_numpy(value) for value in mixer.modes())
    c, d = _numpy(mixer.C), _numpy(mixer.D)
    return [LTI(a[i], b[i], c[i], d[i].item(), half=True) for i in range(mixer.d_model)]


def _numpy(value: Tensor):  # type: ignore[no-untyped-def]
    wide = torch.complex128 if value.is_complex() else torch.float64
    return value.detach().cpu().to(wide).numpy()
