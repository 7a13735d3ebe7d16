"""Wrappers that other libraries put around a mixer's layers, and which of them the mixer never calls."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .table import recognise
from .takeover import taken_over


def skipped_wrappers(model: nn.Module) -> dict[str, list[str]]:
    """Wrapped layers (peft's ``base_layer``) inside other libraries' mixers that the mixer does not call, by name of its class.

    Each kind of mixer runs on two random tokens, in evaluation and in training mode.
    """
    found: dict[str, list[str]] = {}
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for mixer in [m for m in model.modules() if recognise(m) is not None and not taken_over(m)]:
        wrappers = {name: m for name, m in mixer.named_children() if hasattr(m, "base_layer")}
        kind = type(mixer).__name__
        if not wrappers or (kind, tuple(wrappers)) in seen:
            continue
        seen.add((kind, tuple(wrappers)))
        found[kind] = [name for name in wrappers if name in found.get(kind, []) or not _called(mixer, wrappers[name])]
    return {kind: names for kind, names in found.items() if names}


def _called(mixer: Any, wrapper: nn.Module) -> bool:
    """Whether the wrapper runs when its mixer does, in both modes."""
    calls: list[int] = []
    removed = wrapper.register_forward_hook(lambda *_: calls.append(1))
    like = mixer.A_log
    width = mixer.in_proj.in_features
    x = torch.randn(1, 2, width, generator=torch.Generator().manual_seed(0)).to(like.device, mixer.out_proj.weight.dtype)
    training, both = mixer.training, True
    try:
        for mode in (False, True):
            calls.clear()
            mixer.train(mode)
            with torch.random.fork_rng(), torch.no_grad():
                mixer(x)
            both = both and bool(calls)
    finally:
        mixer.train(training)
        removed.remove()
    return both
