"""A causal depthwise convolution in front of a system, as in the Mamba block (without its activation).

    z_t = Σ_{j=0}^{K−1} w_j x_{t−j} + bias,      then the inner system runs on z_t

Taps are in convolution order: w_0 multiplies the current token. mamba-ssm stores conv1d.weight in the reverse order
(its last entry multiplies the current token). The state is the pair (window, h): the last K−1 conv inputs, oldest first,
and the inner state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .brief import brief, outline
from .errors import InvalidInput, InvalidSystem
from .given import Matrix, Number, Vector, is_number
from .lti import LTI, _pack, _sum, surely_complex
from .scalars import Array, Kind, as_array, convert, join_kinds, kind_of, zeros
from .selective import SelectiveSSM


@dataclass(frozen=True)
class ConvState:
    """The whole state of a convolution in front of a system.

    Attributes
    ----------
    window:
        The last K−1 conv inputs, oldest first: shape (K−1,) in front of an LTI channel, (K−1, D) in front of S6.
    h:
        State of the inner system.
    """

    window: Array
    h: Array


class Conv:
    """A causal convolution of width K in front of an LTI channel (taps (K,)) or an S6 module (taps (D, K)).

    Raises InvalidSystem for empty or mis-shaped taps, a bias that does not fit, complex taps in front of half storage, or a
    system of another class; KindMismatch for a mix of rationals and floats.
    """

    def __init__(self, taps: Vector | Matrix, system: LTI | SelectiveSSM, bias: Number | Vector = 0):
        if not isinstance(system, LTI | SelectiveSSM):
            raise InvalidSystem(f"a convolution goes in front of an LTI channel or a SelectiveSSM, got {outline(system)}")
        joined = join_kinds([kind_of(taps, "taps"), kind_of(bias, "bias"), system.kind], "Conv")
        self.kind: Kind = joined
        self.system = system if system.kind == joined else system.to(joined)
        if isinstance(system, LTI):
            self.taps = as_array(taps, joined, "taps", ndim=1)
            self.bias: Any = convert(bias, joined, "bias")
            for value in (*self.taps, self.bias) if system.half else ():
                if surely_complex(value):
                    raise InvalidSystem(f"taps and bias in front of half storage must be real, got {brief(value)}")
            shape: tuple[int, ...] = ()
        else:
            self.taps = as_array(taps, joined, "taps", ndim=2)
            shape = (system.n_channels,)
            if self.taps.shape[0] != system.n_channels:
                raise InvalidSystem(f"taps have shape {self.taps.shape}, expected (D, K) with D = {system.n_channels}")
            self.bias = as_array([bias] * system.n_channels if is_number(bias) else bias, joined, "bias", ndim=1)
            if self.bias.shape != shape:
                raise InvalidSystem(f"bias has shape {self.bias.shape}, expected a number or (D,) = {shape}")
        if self.taps.shape[-1] == 0:
            raise InvalidSystem("a convolution needs at least one tap (K ≥ 1), got K = 0")
        self._token_shape = shape

    @property
    def width(self) -> int:
        """K, the number of taps."""
        return int(self.taps.shape[-1])

    def __repr__(self) -> str:
        return f"Conv(K={self.width}, {self.system!r})"

    def zero_state(self) -> ConvState:
        """An empty window and h = 0."""
        return ConvState(zeros((self.width - 1, *self._token_shape), self.kind), self.system.zero_state())

    def state(self, state: ConvState) -> ConvState:
        """Check and convert a state."""
        if not isinstance(state, ConvState):
            raise InvalidInput(f"the state of a convolution is a ConvState(window, h), got {outline(state)}")
        shape = (self.width - 1, *self._token_shape)
        window = as_array(state.window, self.kind, "the conv window")
        if window.shape != shape:
            raise InvalidInput(f"the conv window has shape {window.shape}, expected {shape}")
        return ConvState(window, self.system.state(state.h))

    def step(self, state: ConvState, x: Any) -> tuple[ConvState, Any]:
        """One step of convolution and system."""
        recent = [*state.window, x]  # oldest first; the current token last
        z = self.bias + _sum([self.taps[..., j] * recent[-1 - j] for j in range(self.width)])
        h, y = self.system.step(state.h, z)
        window = zeros(state.window.shape, self.kind)
        for i, token in enumerate(recent[1:]):
            window[i] = token
        return ConvState(window, h), y

    def run(self, x: Any, state: ConvState | None = None) -> tuple[Array, ConvState]:
        """All outputs and the last state; InvalidInput for a state of another shape, KindMismatch for one of another kind."""
        x = self.system.inputs(x)
        if isinstance(self.system, SelectiveSSM):
            self.system.require_outputs()
        state = self.zero_state() if state is None else self.state(state)
        if not len(x):
            return self.system.run(x)[0], state
        ys = []
        for xt in x:
            state, y = self.step(state, xt)
            ys.append(y)
        if np.ndim(ys[0]) == 0:
            return _pack(ys, self.kind), state
        return np.stack(ys), state
