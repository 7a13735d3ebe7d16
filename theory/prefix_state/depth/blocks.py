r"""A small Mamba-like stack on exact numbers, and where prompts, prefixes and initial states enter it.

One block, for inputs u_t ∈ R^{d_model}:

    v_t = W_in u_t,    z_t = φ(Σ_j w_j ⊙ v_{t−j}),    y_t = SSM(z)_t,    out_t = u_t + W_out (y_t ⊙ φ(W_gate u_t))

with a causal convolution of width K, φ the identity, ReLU or z + z² (a polynomial stand-in for SiLU: smooth, not linear), and an
S6 module or independent S4 channels. Without W_gate the gate is 1. The state of a block is (window, h): the last K − 1 values of
v, oldest first, and the module's state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from theory.core.errors import InvalidInput, InvalidSystem
from theory.core.lti import LTI, channels_of
from theory.core.scalars import Array, as_array, zeros
from theory.core.selective import SelectiveSSM

Activation = Literal["linear", "relu", "quadratic"]


class S4Channels:
    """D independent LTI channels with N states each, as the module of a block.

    Raises InvalidSystem for no channels, channels that are not exact and real, or different numbers of states.
    """

    def __init__(self, channels: Sequence[LTI]):
        self.channels = channels_of(channels)
        parts = [x for c in self.channels for x in (*c.a, *c.b, *c.c, c.d)]
        if any(c.half for c in self.channels) or not all(isinstance(x, int | Fraction) for x in parts):
            raise InvalidSystem("a block's channels must be rational and real (no half storage): build them from Fractions")
        if len({c.n_states for c in self.channels}) != 1:
            raise InvalidSystem(f"channels have {[c.n_states for c in self.channels]} states; a block needs one number N")
        self.a, self.b, self.c = (np.stack([getattr(c, name) for c in self.channels]) for name in "abc")
        self.d = np.array([c.d for c in self.channels], dtype=object)

    @property
    def n_channels(self) -> int:
        """D."""
        return len(self.channels)

    def zero_state(self) -> Array:
        """h = 0, shape (D, N)."""
        return zeros(self.a.shape, "exact")

    def step(self, h: Array, z: Array) -> tuple[Array, Array]:
        """One step: (h_t (D, N), y_t (D,))."""
        h = self.a * h + self.b * z[:, None]  # in one array, since z may hold dual numbers
        return h, (self.c * h).sum(axis=1) + self.d * z


@dataclass(frozen=True)
class BlockState:
    """(window (K−1, d_inner), h (d_inner, N))."""

    window: Array
    h: Array


@dataclass(frozen=True, eq=False)
class Block:
    """One block; see the module's text.

    Attributes
    ----------
    W_in, W_out:
        (d_inner, d_model) and (d_model, d_inner).
    taps:
        (d_inner, K), w_0 on the current token.
    ssm:
        S6 with D = d_inner and a readout, or D = d_inner S4 channels.
    activation:
        φ.
    W_gate:
        (d_inner, d_model), or ``None`` for no gate.

    Raises InvalidSystem for shapes that do not fit, an S6 module without W_C, or an unknown activation.
    """

    W_in: Any
    taps: Any
    ssm: SelectiveSSM | S4Channels
    W_out: Any
    activation: Activation = "quadratic"
    W_gate: Any = None

    def __post_init__(self) -> None:
        for name, ndim in (("W_in", 2), ("taps", 2), ("W_out", 2)):
            object.__setattr__(self, name, as_array(getattr(self, name), "exact", name, ndim=ndim))
        d = self.ssm.n_channels
        if isinstance(self.ssm, SelectiveSSM) and self.ssm.W_C is None:
            raise InvalidSystem("the block's S6 module has no readout; build it with W_C")
        if self.W_in.shape[0] != d or self.taps.shape[0] != d or self.W_out.shape != self.W_in.shape[::-1]:
            raise InvalidSystem(
                f"W_in {self.W_in.shape}, taps {self.taps.shape} and W_out {self.W_out.shape} must be (d_inner, d_model), "
                f"(d_inner, K) and (d_model, d_inner) with d_inner = {d}"
            )
        if self.W_gate is not None:
            object.__setattr__(self, "W_gate", as_array(self.W_gate, "exact", "W_gate", ndim=2))
            if self.W_gate.shape != self.W_in.shape:
                raise InvalidSystem(f"W_gate has shape {self.W_gate.shape}, expected (d_inner, d_model) = {self.W_in.shape}")
        if self.activation not in ("linear", "relu", "quadratic"):
            raise InvalidSystem(f"unknown activation {self.activation!r}; choose linear, relu or quadratic")

    @property
    def d_model(self) -> int:
        """Width of the block's input."""
        return int(self.W_in.shape[1])

    @property
    def width(self) -> int:
        """K."""
        return int(self.taps.shape[1])

    def zero_state(self) -> BlockState:
        """An empty past."""
        return BlockState(zeros((self.width - 1, self.ssm.n_channels), "exact"), self.ssm.zero_state())

    def activate(self, v: Array) -> Array:
        """φ, entry by entry."""
        if self.activation == "relu":
            return np.array([x if x > 0 else 0 * x for x in v], dtype=object)
        return v + v * v if self.activation == "quadratic" else v

    def step(self, state: BlockState, u: Array) -> tuple[BlockState, Array, Array]:
        """(state, output, module input z) for one token."""
        recent = [*state.window, self.W_in @ u]
        total = self.taps[:, 0] * recent[-1]
        for j in range(1, self.width):
            total = total + self.taps[:, j] * recent[-1 - j]
        z = self.activate(total)
        h, y = self.ssm.step(state.h, z)
        if self.W_gate is not None:
            y = y * self.activate(self.W_gate @ u)
        window = np.array(recent[1:], dtype=object).reshape(self.width - 1, -1) if self.width > 1 else state.window
        return BlockState(window, h), u + self.W_out @ y, z

    def run(self, u: Sequence[Any] | Array, state: BlockState | None = None) -> tuple[list[Array], BlockState]:
        """Outputs for tokens (L, d_model) and the last state."""
        state = self.zero_state() if state is None else state
        outputs = []
        for token in u:
            state, out, _ = self.step(state, np.asarray(token))
            outputs.append(out)
        return outputs, state


def tokens_of(values: Any, d_model: int, name: str) -> list[Array]:
    """Exact tokens (M, d_model), M ≥ 1. Raises InvalidInput for another shape."""
    out = as_array(values, "exact", name)
    if out.ndim != 2 or out.shape[1] != d_model or not len(out):
        raise InvalidInput(f"{name}: expected shape (M, d_model) with d_model = {d_model} and M ≥ 1, got {out.shape}")
    return list(out)


def with_prompt(blocks: Sequence[Block], prompt: Sequence[Array], inputs: Sequence[Array]) -> list[Array]:
    """Outputs with M prompt tokens before the first block; the prompt's own outputs are dropped at the end."""
    x = [*prompt, *inputs]
    for block in blocks:
        x, _ = block.run(x)
    return x[len(prompt) :]


def with_prefixes(blocks: Sequence[Block], prefixes: Sequence[Sequence[Array]], inputs: Sequence[Array]) -> list[Array]:
    """Outputs with free tokens at every block's input, each block's prefix outputs dropped."""
    x = list(inputs)
    for block, prefix in zip(blocks, prefixes, strict=True):
        out, _ = block.run([*prefix, *x])
        x = out[len(prefix) :]
    return x


def with_states(blocks: Sequence[Block], states: Sequence[BlockState], inputs: Sequence[Array]) -> list[Array]:
    """Outputs with an initial state in every block."""
    x = list(inputs)
    for block, state in zip(blocks, states, strict=True):
        x, _ = block.run(x, state)
    return x


def prompt_to_prefixes(blocks: Sequence[Block], prompt: Sequence[Array]) -> list[list[Array]]:
    """The prefixes a prompt amounts to: what it has become at each block's input."""
    out = []
    x = list(prompt)
    for block in blocks:
        out.append(x)
        x, _ = block.run(x)
    return out


def prefixes_to_states(blocks: Sequence[Block], prefixes: Sequence[Sequence[Array]]) -> list[BlockState]:
    """The (window, h) each block's prefix leaves."""
    return [block.run(prefix)[1] for block, prefix in zip(blocks, prefixes, strict=True)]


def module_prefix_state(block: Block, prefix: Sequence[Array]) -> BlockState:
    """The state left by the same module inputs placed *after* the convolution: h is filled, the window is not."""
    state = block.zero_state()
    for token in prefix:
        state, _, _ = block.step(state, token)
    return BlockState(block.zero_state().window, state.h)
