"""Additional-scan: extra states beside the frozen ones, with their own decays and selectors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from ..errors import InvalidInput
from ..models.hooks import ExtraStates, MixerHook
from .attachment import Attachment
from .base import MethodConfig, register
from .geometry import find_mixers, geometry, real_dtype
from .prompt import require_count


class AdditionalScanHook(MixerHook):
    """Decays ``A_log`` (D, Nx) or (H,), selectors ``W_B`` and ``W_C`` (Nx, D)."""

    def __init__(self, A_log: Tensor, W_B: Tensor, W_C: Tensor):
        super().__init__()
        self.A_log, self.W_B, self.W_C = nn.Parameter(A_log), nn.Parameter(W_B), nn.Parameter(W_C)

    def may_draw(self) -> bool:
        return False

    def extra_states(self) -> ExtraStates:
        return ExtraStates(self.A_log, self.W_B, self.W_C)


@register
@dataclass(frozen=True)
class AdditionalScan(MethodConfig):
    """Nx extra states for every channel of every mixer, which share dt and u with the frozen ones:

        h^x_t = exp(dt_t A^x) h^x_{t-1} + dt_t u_t (W_B u_t),   y_t += (W_C u_t)·h^x_t

    W_C = 0 at the start, so the base model's output is unchanged; A^x starts S4D-real, -1, -2, ..., -Nx (Mamba-2: with
    the head's own decay) and W_B uniform in ±1/√D, as a linear layer.

    Attributes
    ----------
    states:
        Nx.
    layers:
        Positions of the mixers; all of them where left out.

    Raises
    ------
    InvalidInput
        Nx is no positive integer; on apply: the model has no mixers.

    Source: Yoshimura et al. 2024 (MambaPEFT), arXiv 2411.03855.
    """

    name: ClassVar[str] = "additional_scan"
    states: int = 4
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("states", self.states)

    def attach(self, to: Attachment) -> None:
        for name, mixer in find_mixers(to.model, self.layers):
            sizes, dtype = geometry(mixer), real_dtype(mixer)
            width = sizes.d_inner
            if sizes.kind == "s4":
                raise InvalidInput(f"{name} is an S4 layer, which takes no additional states; use a model with a larger d_state")
            if sizes.kind == "mamba2":
                A_log = cast(Tensor, mixer.A_log).detach().to("cpu", dtype, copy=True)
            else:
                A_log = torch.arange(1, self.states + 1, dtype=dtype).log().repeat(width, 1)
            W_B = (2 * torch.rand(self.states, width, generator=to.generator, dtype=torch.float64) - 1) / math.sqrt(width)
            to.hook(name, AdditionalScanHook(A_log, W_B.to(dtype), torch.zeros(self.states, width, dtype=dtype)))
