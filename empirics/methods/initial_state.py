"""Initial-state tuning: a trained state before the first token, with or without the convolution's window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn, zeros

from ..errors import InvalidInput
from ..models.hooks import MixerHook
from ..models.mixer import Mixer
from ..models.state import MixerState
from .attachment import Attachment
from .base import MethodConfig, register
from .geometry import find_mixers, real_dtype


class InitialStateHook(MixerHook):
    """h_0 in ``ssm`` (D, N) or (H, P, N) and, where given, the window in ``conv`` (conv_dim, K-1), oldest input first."""

    def __init__(self, ssm: Tensor, conv: Tensor | None):
        super().__init__()
        self.ssm = nn.Parameter(ssm)
        self.conv = None if conv is None else nn.Parameter(conv)

    def may_draw(self) -> bool:
        return False

    def initial_state(self, batch: int) -> MixerState:
        return MixerState(None if self.conv is None else self.conv[None], self.ssm[None]).expand(batch)


@register
@dataclass(frozen=True)
class InitialState(MethodConfig):
    """h_0 of every mixer, zero at the start, and with ``conv`` the K-1 inputs that its convolution sees before the first token.

    h_0 alone is less than a prefix can set; with the window it is at least as much.

    Attributes
    ----------
    conv:
        Whether the window is trained.
    layers:
        Positions of the mixers; all of them where left out.

    Raises
    ------
    InvalidInput
        On apply: the model has no mixers, or ``conv`` is asked of one without a convolution window.

    Source: Galim et al. 2024, arXiv 2410.09016, section 4.
    """

    name: ClassVar[str] = "initial_state"
    conv: bool = False
    layers: tuple[int, ...] | None = None

    def attach(self, to: Attachment) -> None:
        for name, mixer in find_mixers(to.model, self.layers):
            window, _ = mixer.state_shapes()
            if self.conv and (window is None or 0 in window):
                raise InvalidInput(f"{name} has no convolution window; use conv=False")
            conv = zeros(window, dtype=real_dtype(mixer)) if self.conv and window is not None else None
            to.hook(name, InitialStateHook(zero_state(mixer), conv))


def zero_state(mixer: Mixer) -> Tensor:
    """A zero state of one sequence, in the dtype of the scan's state (complex for S4)."""
    state = mixer.new_state(1).ssm
    if state is None:
        raise InvalidInput(f"{type(mixer).__name__} has no recurrent state")
    return zeros(state.shape[1:], dtype=state.dtype)
