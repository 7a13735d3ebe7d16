"""What a recording as a CUDA graph forbids and a CPU does not notice: values that are read, and tensors on the wrong device.

On PyTorch's ``meta`` device (:mod:`like_a_gpu`), whose tensors have no values: training steps, states, steps of generation, and
methods that come, are saved, loaded and go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

torch = pytest.importorskip("torch")

import host_checks  # noqa: E402
import test_hosts_mamba_ssm  # noqa: E402
from like_a_gpu import GPU, Refused, devices, like_a_gpu, tokens  # noqa: E402
from stand_ins import METHODS, WAYS, config_of, fresh, kernels_like_a_gpu  # noqa: E402
from test_hosts_mamba_ssm import stand_in  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from empirics.experiments.base_benchmark import measuring  # noqa: E402
from empirics.experiments.base_benchmark.feed import casting_loss  # noqa: E402
from empirics.experiments.s4_regression import study  # noqa: E402
from empirics.hosts import prompting  # noqa: E402
from empirics.methods import (  # noqa: E402
    Prompt,
    apply,
    compile_prefix,
    load,
)  # fmt: skip
from empirics.models import MambaLM, low_rank  # noqa: E402
from empirics.training.graphed import GraphedLoss  # noqa: E402
from empirics.training.loop import Optimiser, train  # noqa: E402

LENGTH = 3


def next_token(model: nn.Module) -> Any:
    def loss(ids: Tensor) -> Tensor:
        logits = model(ids)
        return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())

    return loss


# --- this project's own models ---


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, gpu: str) -> tuple[str, str]:
    layer, scan, patch = WAYS[request.param]
    kernels_like_a_gpu(monkeypatch)
    patch(monkeypatch)
    monkeypatch.setattr(low_rank, "LEAST", 1)
    return layer, scan


@pytest.mark.parametrize("method", METHODS)
def test_a_training_step_can_be_recorded(method: str, way: tuple[str, str]) -> None:
    layer, scan = way
    model, config = fresh(layer, scan, GPU), config_of(method, layer)
    with like_a_gpu(reading=True):
        handle = apply(model, config)
    assert devices(model) == {GPU}
    step = GraphedLoss(next_token(model), handle.trainable().values())
    for amount in ("light", "all"):
        model.set_recompute(amount)
        with like_a_gpu() as there:
            assert step(tokens(LENGTH)).device.type == GPU
        assert there.operations > 30
        assert all(p.grad is not None and p.grad.device.type == GPU for p in handle.trainable().values())


@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
@pytest.mark.parametrize("method", METHODS)
def test_generation_can_be_recorded(method: str, layer: str, gpu: str) -> None:
    """States before the first token, and a step from there; so can the step behind a sequence."""
    model = fresh(layer, "chunked", gpu)
    with like_a_gpu(reading=True):
        handle = apply(model, config_of(method, layer))
    with like_a_gpu() as there, torch.no_grad():
        states = model.new_states(2)
        for _ in range(2):
            logits, states = model.step(tokens(1)[:, 0], states)
        _, states = model(tokens(LENGTH), states=states, return_states=True)
        logits, states = model.step(tokens(1)[:, 0], states)
    assert there.operations > 30
    held = [v for state in states for v in (state.conv, state.ssm, state.extra) if v is not None]
    assert {v.device.type for v in (logits, *held)} == {gpu}
    handle.remove()


@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
@pytest.mark.parametrize("method", METHODS)
def test_a_method_comes_and_goes_on_one_device(method: str, layer: str, gpu: str, tmp_path: Path) -> None:
    """Saved, loaded, compiled, merged or removed, all that the model holds is where the model is."""
    model = fresh(layer, "chunked", gpu)
    with like_a_gpu(reading=True) as there:
        apply(model, config_of(method, layer)).save(tmp_path)
        handle = load(fresh(layer, "chunked", gpu), tmp_path)
        assert devices(handle.model) == {gpu} and there.operations
        if method in ("prompt", "prefix"):
            handle = compile_prefix(handle)
            assert devices(handle.model) == {gpu}
        model = handle.merge() if handle.mergeable else handle.remove()
        assert devices(model) == {gpu}
        model(tokens(LENGTH))


# --- what studies record ---


@pytest.mark.parametrize("graphed", [False, True])
def test_training_waits_for_the_gpu_where_it_reads_its_losses(graphed: bool, gpu: str) -> None:
    """And nowhere else: five steps, read at the third and at the end."""
    model = fresh("Mamba1", "chunked", gpu)
    with like_a_gpu(reading=True):
        trained = apply(model, config_of("sdt_lora", "Mamba1")).trainable()
    loss = next_token(model)
    passes = GraphedLoss(loss, trained.values()) if graphed else loss
    with like_a_gpu(reading=True) as there:
        train(trained, lambda step: passes(tokens(LENGTH)), Optimiser(1e-3, 5, clip=1.0), every=3)
    assert there.readers == ["empirics/training/loop.py:settle"] * 2 and there.operations > 5 * 100


@pytest.mark.parametrize("method", sorted(set(study.METHODS) - {"frozen"}))
def test_a_step_of_the_s4_study_can_be_recorded(method: str, gpu: str) -> None:
    """Inputs and gradients lie in memory as (D, B, L) throughout, so that no layer copies them."""
    sizes, recipe = study.Sizes(width=16, layers=3, states=16, target_states=2, length=7, batch=5), study.METHODS[method]
    frozen, target = study.frozen_and_target(sizes, 0)
    chosen = study.choose(frozen, target, study.batches(sizes, 0, "cpu"), recipe.score, 0.5, 0.5, 0) if recipe.score else None
    handle = apply(frozen, recipe.config(selection=chosen))
    frozen.to(gpu), target.to(gpu)
    met: list[tuple[int, ...]] = []

    def look(mixer: nn.Module, given: Any, made: Tensor) -> None:
        met.append(given[0].stride())
        if made.requires_grad:
            made.register_hook(lambda gradient: met.append(gradient.stride()))

    for mixer in frozen.mixers():
        mixer.register_forward_hook(look)
    draw = study.batches(sizes, 0, "cpu")
    x = torch.empty_like(draw(), device=gpu)
    with like_a_gpu() as there:
        loss = GraphedLoss(lambda x: study.mse(frozen, target, x), handle.trainable().values())
        assert loss(x).device.type == gpu
    assert there.operations > 30 and len(met) == 6
    assert set(met) == {(sizes.length, 1, sizes.batch * sizes.length)}


@pytest.mark.parametrize("free_text", [False, True])
@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
def test_the_loss_of_the_benchmark_on_text(layer: str, free_text: bool, gpu: str) -> None:
    model = fresh(layer, "chunked", gpu)
    targets = tokens(LENGTH) if free_text else tokens(1)[:, 0]
    with like_a_gpu() as there:
        loss = GraphedLoss(lambda *batch: casting_loss(model, batch, "bfloat16"), model.parameters())
        assert loss(tokens(LENGTH), tokens(1)[:, 0], targets).device.type == gpu
    assert there.operations > 30


@pytest.mark.parametrize("method", ["lora", "initial_state", "additional_scan", "prompt"])
def test_the_texts_of_the_benchmark(method: str, gpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows read on and write in one step, which is recorded; whether all have ended is looked at between steps."""
    model, ran = fresh("Mamba1", "chunked", gpu), []

    def quick(step: Callable[[], None], changed: Iterable[Tensor], device: torch.device) -> Callable[[], None]:
        def replay() -> None:
            with like_a_gpu() as there:
                step()
            ran.append(there.operations)

        assert {v.device for v in changed} == {device}
        return replay

    monkeypatch.setattr(measuring, "_quick", quick)
    with like_a_gpu(reading=True):
        apply(model, config_of(method, "Mamba1"))
        measuring.generate(model, [[1, 2], [3]], 0, 2)
    assert len(ran) == 3 and min(ran) > 30


# --- mamba-ssm's layout ---


class LikeMambaSSM(nn.Module):
    """The layout of mamba-ssm's language model, whose own mixers do next to nothing."""

    def __init__(self, ours: MambaLM, layer: str):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.embedding, self.backbone.layers = ours.backbone.embedding, stand_in(ours, layer)
        self.lm_head = ours.lm_head

    def forward(
        self, input_ids: Tensor, position_ids: Any = None, inference_params: Any = None, num_last_tokens: int = 0, **more: Any
    ) -> Any:
        hidden = self.backbone.embedding(input_ids)
        for mixer in self.backbone.layers:
            hidden = hidden + mixer(hidden, inference_params=inference_params, **more)
        return Logits(self.lm_head(hidden[:, -num_last_tokens:]))


class Logits(NamedTuple):
    logits: Tensor


def _little(self: Any, hidden: Tensor, inference_params: Any = None) -> Tensor:
    return self.out_proj(self.in_proj(hidden)[..., : self.out_proj.in_features])


def graph_step(model: nn.Module, params: Any) -> Tensor:
    """A step as mamba-ssm's ``generate(cg=True)`` records it: positions and all."""
    with like_a_gpu() as there, torch.no_grad():
        logits = model(tokens(1), position_ids=tokens(1), inference_params=params, num_last_tokens=1).logits
    assert there.operations > 5
    return logits


@pytest.mark.parametrize("method", host_checks.METHODS)
@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
def test_a_step_of_mamba_ssms_generate_can_be_recorded(
    layer: str, method: str, gpu: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_hosts_mamba_ssm._StandIn, "forward", _little)
    model = LikeMambaSSM(fresh(layer, "chunked"), layer)
    config = host_checks.METHODS[method](model)
    if config is None:
        pytest.skip(f"{method} is not for {layer}")
    model.to(gpu)
    with like_a_gpu(reading=True), torch.no_grad():
        handle = apply(model, config)
        params = SimpleNamespace(key_value_memory_dict={}, seqlen_offset=0)
        model(tokens(LENGTH), inference_params=params)
    params.seqlen_offset = LENGTH
    held = [v for pair in params.key_value_memory_dict.values() for v in pair]
    assert bool(held) == (method in ("initial state", "initial state, window", "prefix", "state offset", "additional scan"))
    assert {v.device.type for v in (graph_step(model, params), *held)} == {gpu} == devices(model)
    after = [v for pair in params.key_value_memory_dict.values() for v in pair]
    assert all(a is b for a, b in zip(held, after, strict=True)), "a graph writes where it was recorded"
    handle.remove()


# --- that the checks can fail ---

CPU = torch.ones(3)
REFUSED: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda x: x.sum().item(),
    "a branch": lambda x: 1 if x.sum() > 0 else 0,
    "a size": lambda x: torch.zeros(int(x[0, 0])),
    "nonzero": lambda x: x.nonzero(),
    "a mask as an index": lambda x: x[x > 0],
    "a mask to put at": lambda x: x.index_put_((x > 0,), x.new_zeros(2)),
    "equal": lambda x: torch.equal(x, x),
    "unique": lambda x: x.unique(),
    "repeat_interleave": lambda x: x.repeat_interleave(x[:, 0].long(), dim=0),
    "to the CPU": lambda x: x.cpu(),
    "tolist": lambda x: x.tolist(),
    "from the CPU": lambda x: CPU.to(GPU),
    "copied from the CPU": lambda x: x[0].copy_(CPU),
    "a number from Python": lambda x: torch.tensor(2.0, device=GPU),
    "a list as an index": lambda x: x[[0, 1]],
    "a weight on the CPU": lambda x: nn.functional.linear(x, CPU[None]),
    "an addend on the CPU": lambda x: x + CPU,
    "an index on the CPU": lambda x: x[torch.tensor([0, 1])],
    "a generator on the CPU": lambda x: torch.randn(3, device=GPU, generator=torch.Generator()),
}
WHILE_READING = {"a weight on the CPU", "an addend on the CPU", "an index on the CPU", "a generator on the CPU"}
"""What is refused outside of recordings as well."""
ALLOWED: dict[str, Callable[[Tensor], Any]] = {
    "a number": lambda x: 2 * x + torch.tensor(1.0),
    "a fill": lambda x: torch.full((2,), 2.0, device=GPU),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "a masked fill": lambda x: x.masked_fill_(x > 0, 1.0),
    "a place": lambda x: x[:, torch.arange(2, device=GPU)],
    "a backward pass": lambda x: torch.autograd.grad(x.requires_grad_().square().sum(), x),
    "another dtype": lambda x: x.bfloat16(),
}


def test_what_a_gpu_refuses(gpu: str) -> None:
    for name, work in REFUSED.items():
        for reading in (False, True) if name in WHILE_READING else (False,):
            with pytest.raises(Refused), like_a_gpu(reading):
                work(torch.zeros(2, 3, device=gpu))
    for work in ALLOWED.values():
        with like_a_gpu():
            work(torch.zeros(2, 3, device=gpu))


def _reads_positions(*given: Any) -> None:
    """What the check for packed rows did once."""
    *_, places = given
    if places is not None and bool((places[:, 1:] < places[:, :-1]).any()):
        raise AssertionError


def test_a_step_that_reads_is_refused(gpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_hosts_mamba_ssm._StandIn, "forward", _little)
    monkeypatch.setattr(prompting, "_refuse_packing", _reads_positions)
    model = LikeMambaSSM(fresh("Mamba1", "chunked"), "Mamba1").to(gpu)
    with like_a_gpu(reading=True):
        apply(model, Prompt(tokens=2))
    with pytest.raises(Refused, match=r"reads a value, for empirics/test_like_a_gpu\.py:_reads_positions"):
        graph_step(model, SimpleNamespace(key_value_memory_dict={}, seqlen_offset=1))


@pytest.mark.parametrize("name", ["mixer.in_proj.weight", "mixer.conv1d.weight", "norm.weight"])
def test_a_weight_on_the_wrong_device_is_found(name: str, gpu: str) -> None:
    model = fresh("Mamba1", "chunked", gpu)
    block = model.backbone.layers[0]
    holder, _, attribute = name.rpartition(".")
    setattr(block.get_submodule(holder), attribute, nn.Parameter(torch.ones(block.get_parameter(name).shape)))
    for reading in (False, True):
        with pytest.raises(Refused, match="tensors of two devices"), like_a_gpu(reading):
            model(tokens(LENGTH))
