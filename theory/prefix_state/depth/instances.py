r"""Instances and exact properties of prompt ⊆ per-layer prefix ⊆ per-layer initial state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

from theory.core.lti import LTI
from theory.core.scalars import Array
from theory.core.selective import SelectiveSSM
from theory.core.strategies import matrices, rationals, vectors
from theory.verification.refutation import require

from .blocks import (
    Activation,
    Block,
    S4Channels,
    module_prefix_state,
    prefixes_to_states,
    prompt_to_prefixes,
    with_prefixes,
    with_prompt,
    with_states,
)


@dataclass(frozen=True)
class Setting:
    """A stack, a prompt, later inputs, and where the converted prefix enters (``block`` input or ``module`` input)."""

    blocks: tuple[Block, ...]
    prompt: tuple[Array, ...]
    inputs: tuple[Array, ...]
    insertion: str = "block"
    window: bool = True


def as_row(values: Any) -> Array:
    """One token of Fractions."""
    return np.array([Fraction(x) for x in values], dtype=object)


@st.composite
def blocks(draw: st.DrawFn, d_model: int, *, wide: bool = False) -> Block:
    """d_inner 1 or 2, N 1 or 2, K 1 to 3 (at least 2 with ``wide``)."""
    d, n, k = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(2 if wide else 1, 3))
    decay = [[draw(st.sampled_from([Fraction(1, 2), Fraction(1, 3), Fraction(2, 3)])) for _ in range(n)] for _ in range(d)]
    module = draw(st.sampled_from(["constant clock", "token clock", "channels"]))
    if module == "channels":
        ssm: Any = S4Channels([LTI(row, draw(vectors(n, 1)), draw(vectors(n, 1)), draw(rationals(1))) for row in decay])
    elif module == "token clock":
        ssm = SelectiveSSM(draw(matrices(n, d, 1)), draw(matrices(n, d, 1)), clock=_token_clock(n))
    else:
        ssm = SelectiveSSM(draw(matrices(n, d, 1)), draw(matrices(n, d, 1)), dt=1, decay=decay)
    activation: Activation = draw(st.sampled_from(["linear", "relu", "quadratic"]))
    taps = [[draw(rationals(1, nonzero=True)) for _ in range(k)] for _ in range(d)]
    gate = draw(matrices(d, d_model, 1)) if draw(st.booleans()) else None
    return Block(draw(matrices(d, d_model, 1)), taps, ssm, draw(matrices(d_model, d, 1)), activation, gate)


def _token_clock(n: int) -> Any:
    """A rational clock that depends on the token: dt = 1/(1 + z²), decays 1/(2 + z²), 1/(3 + z²), …"""

    def clock(z: Array) -> tuple[Array, Array]:
        return 1 / (1 + z * z), np.array([[1 / (2 + k + x * x) for k in range(n)] for x in z], dtype=object)

    return clock


@st.composite
def settings(draw: st.DrawFn, depths: tuple[int, ...] = (1, 2, 3), *, wide: bool = False) -> Setting:
    """A stack of one to three blocks, prompts shorter and longer than the conv window."""
    d_model = draw(st.integers(1, 2))
    stack = tuple(draw(blocks(d_model, wide=wide)) for _ in range(draw(st.sampled_from(depths))))
    prompt = draw(matrices(draw(st.integers(1, 3)), d_model, 1))
    inputs = draw(matrices(draw(st.integers(1, 2)), d_model, 1))
    return Setting(stack, tuple(map(as_row, prompt)), tuple(map(as_row, inputs)))


def same_outputs(left: list[Array], right: list[Array]) -> bool:
    """Equality, token by token."""
    return all(bool(np.all(x == y)) for x, y in zip(left, right, strict=True))


def check_containment(s: Setting) -> None:
    """prompt → prefixes → states, all with the outputs of the prompt."""
    expected = with_prompt(s.blocks, s.prompt, s.inputs)
    prefixes = prompt_to_prefixes(s.blocks, s.prompt)
    require(all(len(p) == len(s.prompt) for p in prefixes), s)
    require(same_outputs(with_prefixes(s.blocks, prefixes, s.inputs), expected), s)
    require(same_outputs(with_states(s.blocks, prefixes_to_states(s.blocks, prefixes), s.inputs), expected), s)


def check_prefix_to_state(instance: tuple[Setting, list[list[Fraction]]]) -> None:
    """Any prefixes, not only those of a prompt, act as the states they leave; with one block a prompt is a prefix."""
    s, tokens = instance
    width = s.blocks[0].d_model
    flat = [x for row in tokens for x in row]
    prefixes = []
    for k, _ in enumerate(s.blocks):
        shifted = flat[k:] + flat[:k]
        prefixes.append([as_row(shifted[i : i + width]) for i in range(0, len(flat) - width + 1, width)])
    states = prefixes_to_states(s.blocks, prefixes)
    require(same_outputs(with_states(s.blocks, states, s.inputs), with_prefixes(s.blocks, prefixes, s.inputs)), instance)
    first = s.blocks[:1]
    require(same_outputs(with_prompt(first, prefixes[0], s.inputs), with_prefixes(first, prefixes[:1], s.inputs)), instance)


def acts_alike(s: Setting) -> bool:
    """Whether the converted prompt (prefix at ``insertion``, state with or without window) gives the prompt's outputs."""
    expected = with_prompt(s.blocks, s.prompt, s.inputs)
    prefixes = prompt_to_prefixes(s.blocks, s.prompt)
    if s.insertion == "module":
        states = [module_prefix_state(b, p) for b, p in zip(s.blocks, prefixes, strict=True)]
        return same_outputs(with_states(s.blocks, states, s.inputs), expected)
    states = prefixes_to_states(s.blocks, prefixes)
    if not s.window:
        states = [replace(state, window=b.zero_state().window) for state, b in zip(states, s.blocks, strict=True)]
    return same_outputs(with_prefixes(s.blocks, prefixes, s.inputs), expected) and same_outputs(
        with_states(s.blocks, states, s.inputs), expected
    )


def resized(prefix: list[Array], tokens: int) -> list[Array]:
    """A prefix of another length: zero tokens in front, or its last tokens only."""
    missing = tokens - len(prefix)
    return [*[0 * prefix[0] for _ in range(missing)], *prefix] if missing >= 0 else prefix[-missing:]


@dataclass(frozen=True)
class Lengths:
    """A stack with a prompt, and the number of tokens its prefixes may have."""

    setting: Setting
    tokens: int


def fits(x: Lengths) -> bool:
    """Whether the converted prefixes, brought to the given length, act as the prompt."""
    s = x.setting
    prefixes = [resized(p, x.tokens) for p in prompt_to_prefixes(s.blocks, s.prompt)]
    return same_outputs(with_prefixes(s.blocks, prefixes, s.inputs), with_prompt(s.blocks, s.prompt, s.inputs))


def check_longer(s: Setting) -> None:
    """Zero tokens in front change nothing: prefixes of M' ≥ M tokens contain those of M."""
    for extra in (0, 1, 3):
        require(fits(Lengths(s, len(s.prompt) + extra)), (s, extra))
