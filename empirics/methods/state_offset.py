"""State-offset tuning: a trained offset that the readout sees at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ..models.hooks import MixerHook
from .attachment import Attachment
from .base import MethodConfig, register
from .geometry import find_mixers
from .initial_state import zero_state


class StateOffsetHook(MixerHook):
    """h' in ``offset``, (D, N) or (H, P, N)."""

    def __init__(self, offset: Tensor):
        super().__init__()
        self.offset = nn.Parameter(offset)

    def may_draw(self) -> bool:
        return False

    def readout_offset(self) -> Tensor:
        return self.offset


@register
@dataclass(frozen=True)
class StateOffset(MethodConfig):
    """y_t = C_t·(h_t + h') + D u_t at every mixer, before the gate, with h' = 0 at the start.

    Unlike an initial state, h' does not decay: it acts alike at every step.

    Attributes
    ----------
    layers:
        Positions of the mixers; all of them where left out.

    Raises
    ------
    InvalidInput
        On apply: the model has no mixers.

    Source: Kang et al. 2025, arXiv 2503.03499.
    """

    name: ClassVar[str] = "state_offset"
    layers: tuple[int, ...] | None = None

    def attach(self, to: Attachment) -> None:
        for name, mixer in find_mixers(to.model, self.layers):
            to.hook(name, StateOffsetHook(zero_state(mixer)))
