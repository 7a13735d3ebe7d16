"""A step of transformers' ``generate`` with a method: nothing of this project reads a value off the GPU, or leaves it.

On PyTorch's ``meta`` device, as :mod:`test_like_a_gpu`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import host_checks  # noqa: E402
from like_a_gpu import devices, like_a_gpu, tokens  # noqa: E402
from torch import Tensor  # noqa: E402

from empirics.hosts.tiny import CONFIGS, PURE, host_model  # noqa: E402
from empirics.methods import apply, export_cache  # noqa: E402

ON_PURPOSE = {"empirics/hosts/prompting.py:_refuse_gap"}
"""Without a mask only positions say where inputs begin. Classes that take them have attention, and its cache grows with every
token, which no graph replays."""


def steps(name: str, method: str) -> Iterator[dict[str, Tensor]]:
    """What ``generate`` gives a step beside token and cache: a mask where there is padding, and positions if the class asks."""
    pure = name in PURE
    if pure or method == "prompt":
        yield {"attention_mask": tokens(2)}
    if not pure or method == "prompt":
        yield {} if pure else {"position_ids": tokens(1)}


@pytest.mark.filterwarnings("ignore:the parallel pass")
@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_of_generate_reads_nothing(name: str, gpu: str) -> None:
    """Of every method. transformers' own masks of attention may read, and do."""
    model = host_model(name)
    configs = {method: made for method, make in host_checks.METHODS.items() if (made := make(model)) is not None}
    model, read = model.to(torch.bfloat16).to(gpu), set()
    for method, config in configs.items():
        with like_a_gpu(reading=True):
            handle = apply(model, config)
        assert devices(model) == {gpu}, method
        for given in steps(name, method):
            with like_a_gpu(reading=True), torch.no_grad():
                mask = {"attention_mask": tokens(1)} if "attention_mask" in given else {}
                out = model(tokens(1), use_cache=True, **mask)
            kind = "cache_params" if name in PURE else "past_key_values"
            with like_a_gpu(reading=name not in PURE) as there, torch.no_grad():
                found = model(tokens(1), **{kind: out[kind]}, **given, use_cache=True, logits_to_keep=1)
            assert found.logits.device.type == gpu and there.operations > 30
            read |= {reader for reader in there.readers if reader.startswith("empirics/")}
        if method in ("initial state", "initial state, window", "prefix"):
            with like_a_gpu():
                assert {v.device.type for v in _held(export_cache(handle, 2))} == {gpu}
        with like_a_gpu(reading=True):
            handle.remove()
    assert read == (set() if name in PURE else ON_PURPOSE)


def _held(cache: Any) -> list[Tensor]:
    """The tensors of a cache of transformers that holds states."""
    kept = [vars(layer).get(name) or {} for layer in cache.layers for name in ("conv_states", "recurrent_states")]
    held = [v for states in kept for v in states.values() if v is not None]
    assert held
    return held
