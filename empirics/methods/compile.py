"""A trained prefix or prompt compiled into what it leaves behind: each mixer's convolution window and state.

A mixer that has read M tokens remembers them through its state h_M and the last K-1 inputs of its convolution, and through
nothing else. An initial state with these values gives the same outputs on every continuation, with no tokens to process.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..errors import InvalidInput
from ..hosts.prompting import prompt_states
from ..models.lm import MambaLM
from ..models.mixer import Mixer
from ..models.state import MixerState
from .base import evaluating
from .geometry import find_mixers
from .handle import Handle, apply
from .initial_state import InitialState
from .prefix import Prefix
from .prompt import Prompt


def compile_prefix(handle: Handle) -> Handle:
    """Replace the prefix or prompt on a model by the initial state that does the same; returns the new handle.

    With M < K-1 tokens the window keeps zeros before them, as the convolution itself does. The outputs agree up to rounding:
    the window is exact, the state is that which the model's own scan computes.

    Raises
    ------
    InvalidInput
        The handle is neither a prefix nor a prompt, is no longer on the model, or leaves a state that is not finite; or it is a
        prompt on a model with attention layers, which no state of a mixer can replace.
    """
    config, model = handle.config, handle.model
    if not isinstance(config, Prefix | Prompt):
        raise InvalidInput(f"{config.name} holds no tokens to compile; compile_prefix takes a prefix or a prompt handle")
    _ = handle.attachment  # a removed handle says so
    layers = None if isinstance(config, Prompt) else config.layers
    mixers = find_mixers(model, layers)
    with torch.no_grad(), evaluating(model):
        after = _after(model, mixers, isinstance(config, Prompt))
    states = {name: state for (name, _), state in zip(mixers, after, strict=True)}
    has_window = all(state.conv is not None and state.conv.shape[-1] > 0 for state in states.values())
    values = {f"{name}.hook.ssm": state.ssm[0] for name, state in states.items() if state.ssm is not None}
    if has_window:
        values |= {f"{name}.hook.conv": state.conv[0] for name, state in states.items() if state.conv is not None}
    for name, value in values.items():
        if not torch.isfinite(value).all():
            raise InvalidInput(f"{name} is not finite after the {config.name}: its training diverged; compile another one")
    handle.remove()
    compiled = apply(model, InitialState(conv=has_window, layers=layers))
    compiled.set_values(values)
    return compiled


def _after(model: nn.Module, mixers: Sequence[tuple[str, Mixer]], prompted: bool) -> Sequence[MixerState]:
    """What the mixers remember: a prompt runs through the whole model, a prefix through its own mixer only."""
    if not prompted:
        return [mixer.new_state(1) for _, mixer in mixers]
    return model.new_states(1) if isinstance(model, MambaLM) else prompt_states(model, [name for name, _ in mixers])
