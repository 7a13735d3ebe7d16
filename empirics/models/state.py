"""The recurrent state of one mixer: what a sequence leaves behind for its continuation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ..kernels.packing import rows


@dataclass(frozen=True, slots=True)
class MixerState:
    """State of one mixer after some tokens. ``None`` stands for zeros (an empty past).

    Attributes
    ----------
    conv:
        The last K-1 inputs of the causal convolution, oldest first: (B, conv_dim, K-1). S4 has none.
    ssm:
        Mamba-1: (B, D, N) real. Mamba-2: (B, H, P, N) real. S4: (B, D, N) complex.
    extra:
        State of the additional states of a hook (:class:`~empirics.models.hooks.ExtraStates`): Mamba-1 (B, D, Nx),
        Mamba-2 (B, H, P, Nx). ``None`` without such a hook.
    """

    conv: Tensor | None = None
    ssm: Tensor | None = None
    extra: Tensor | None = None

    def expand(self, batch: int) -> MixerState:
        """The same state for ``batch`` sequences; entries of batch size 1 are repeated (as views, no copy)."""

        def grow(value: Tensor | None) -> Tensor | None:
            return value if value is None or value.shape[0] == batch else value.expand(batch, *value.shape[1:])

        return MixerState(grow(self.conv), grow(self.ssm), grow(self.extra))

    def rows(self, which: Sequence[int]) -> MixerState:
        """The states of some of the sequences, by number."""
        return MixerState(*(None if v is None else rows(v, which) for v in (self.conv, self.ssm, self.extra)))

    def detach(self) -> MixerState:
        """The same values, cut from the autograd graph."""
        return MixerState(*(None if v is None else v.detach() for v in (self.conv, self.ssm, self.extra)))

    def with_(self, **changes: Tensor | None) -> MixerState:
        """A copy with some entries replaced."""
        return replace(self, **changes)
