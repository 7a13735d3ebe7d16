"""A forward pass leaves nothing behind once its results are gone, with a backward pass and without: no tensor, no node of the
graph, no recipe. Without waiting for Python's collector of garbage, which waits while a CUDA graph is recorded.

GPU kernels are stood in for by functions that keep what the kernels' own functions keep, their own results included.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from stand_ins import AMOUNTS, METHODS, WAYS, adapted, kernels_like_a_gpu  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.autograd.graph import get_gradient_edge  # noqa: E402
from torch.multiprocessing.reductions import StorageWeakRef  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from empirics.kernels.packing import Packing  # noqa: E402
from empirics.kernels.selective_scan.fused import scan  # noqa: E402
from empirics.methods import apply  # noqa: E402
from empirics.models import MambaLM, again, inner, low_rank  # noqa: E402
from empirics.training.graphed import GraphedLoss  # noqa: E402

KEEPERS = (again._Recipe, again._Kept, again._View, again._Announced, again._Results, again.Formula)


class Made(TorchDispatchMode):
    """The memory of all tensors that operations make inside."""

    def __init__(self) -> None:
        super().__init__()
        self.memory: dict[int, StorageWeakRef] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        given = {v.untyped_storage()._cdata for v in tree_leaves((args, kwargs)) if isinstance(v, Tensor)}
        for value in tree_leaves(made):
            if isinstance(value, Tensor) and value.untyped_storage()._cdata not in given:
                found = StorageWeakRef(value.untyped_storage())
                self.memory[found.cdata] = found
        return made

    def alive(self) -> int:
        return sum(not found.expired() for found in self.memory.values())


@pytest.fixture(autouse=True, scope="module")
def only_what_is_new() -> Iterator[None]:
    """The collector knows what these tests make, and not everything that was imported."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def no_collecting() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def left_by(work: Callable[[Tensor], Any], trained: Iterable[Tensor]) -> tuple[int, list[int], int]:
    """What is alive once ``work`` has returned, and what it returned is dropped.

    Returns
    -------
    Pieces of memory that were taken meanwhile; places in ``trained`` where the graph still ends, -1 for what ``work`` was given;
    objects of :mod:`empirics.models.again`.
    """
    before = _keepers()
    with Made() as made:
        hidden = torch.randn(2, 3, 8, requires_grad=True)
        result = work(hidden)
        assert len(made.memory) > 10 and result is not None, "little was made, so little could stay"
        nodes = [hidden, *trained]
        for value in nodes:
            get_gradient_edge(value).node.metadata["of this graph"] = True
        del value, result
    ends = [i - 1 for i, v in enumerate(nodes) if "of this graph" in get_gradient_edge(v).node.metadata]
    del hidden, nodes
    return made.alive(), ends, _keepers() - before


def _keepers() -> int:
    return sum(type(found) in KEEPERS for found in gc.get_objects())


NOTHING = (0, [], 0)


def forward(model: MambaLM) -> Callable[[Tensor], Any]:
    """One training step's forward pass, a prompt included."""

    def work(hidden: Tensor) -> Tensor:
        prompt = model._prompt()
        rows = hidden if prompt is None else torch.cat([prompt.expand(2, -1, -1), hidden], dim=1)
        return model.lm_head(model.backbone(rows)[0]).square().mean()

    return work


def both(model: MambaLM, trained: list[Tensor], **options: Any) -> Callable[[Tensor], Any]:
    def work(hidden: Tensor) -> Any:
        return torch.autograd.grad(forward(model)(hidden), [hidden, *trained], allow_unused=True, **options)

    return work


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    layer, scan_, patch = WAYS[request.param]
    kernels_like_a_gpu(monkeypatch)
    patch(monkeypatch)
    monkeypatch.setattr(low_rank, "LEAST", 1)
    return layer, scan_


@pytest.mark.parametrize("method", METHODS)
def test_nothing_stays(method: str, way: tuple[str, str]) -> None:
    model, trained = adapted(*way, method)
    for amount in AMOUNTS:
        model.set_recompute(amount)
        assert left_by(forward(model), trained) == NOTHING, amount
        assert left_by(both(model, trained), trained) == NOTHING, amount


def _raises(*_: Any) -> Any:
    raise ValueError("in the middle")


def broken_off(model: MambaLM, trained: list[Tensor], module: nn.Module) -> Callable[[Tensor], Any]:
    """A forward pass that a module breaks off."""

    def work(hidden: Tensor) -> str:
        removed = module.register_forward_pre_hook(_raises)
        try:
            forward(model)(hidden)
        except ValueError as error:
            return str(error)
        finally:
            removed.remove()
        raise AssertionError("nothing was broken off")

    return work


def broken_off_behind(model: MambaLM, trained: list[Tensor]) -> Callable[[Tensor], Any]:
    """A backward pass that is broken off where it reaches the block's input."""

    def work(hidden: Tensor) -> str:
        rows = hidden * 1
        rows.register_hook(_raises)
        try:
            forward(model)(rows).backward()
        except ValueError as error:
            return str(error)
        finally:
            for value in trained:
                value.grad = None
        raise AssertionError("nothing was broken off")

    return work


def step(model: MambaLM, trained: list[Tensor]) -> Callable[[Tensor], Any]:
    """What GraphedLoss records."""

    def work(hidden: Tensor) -> Any:
        loss = GraphedLoss(forward(model), trained)(hidden)
        for value in trained:
            value.grad = None
        return loss

    return work


def twice(model: MambaLM, trained: list[Tensor]) -> Callable[[Tensor], Any]:
    def work(hidden: Tensor) -> Any:
        loss = forward(model)(hidden)
        torch.autograd.grad(loss, trained, allow_unused=True, retain_graph=True)
        return loss, torch.autograd.grad(loss, trained, allow_unused=True)

    return work


def packed(model: MambaLM, trained: list[Tensor]) -> Callable[[Tensor], Any]:
    """Several sequences in a row."""
    packing = Packing.of(torch.tensor([[0] * 4 + [1] * 5, [0] * 5 + [1] * 4]), None, (2, 9))

    def work(hidden: Tensor) -> Any:
        loss = model.backbone(hidden.repeat(1, 3, 1), packing=packing)[0].square().mean()
        return loss, torch.autograd.grad(loss, trained, allow_unused=True)

    return work


OTHER: dict[str, Callable[[MambaLM, list[Tensor]], Callable[[Tensor], Any]]] = {
    "two backward passes": twice,
    "a graph that is kept": lambda model, trained: both(model, trained, retain_graph=True),
    "broken off at out_proj": lambda model, trained: broken_off(model, trained, model.mixers[0].get_submodule("out_proj")),
    "broken off behind the block": lambda model, trained: broken_off(model, trained, model.backbone.norm_f),
    "a backward pass broken off": broken_off_behind,
    "GraphedLoss": step,
    "packed sequences": packed,
}


@pytest.mark.parametrize("case", OTHER)
def test_nothing_stays_of_other_steps(case: str, way: tuple[str, str]) -> None:
    model, trained = adapted(*way, "lora")
    for amount in AMOUNTS:
        model.set_recompute(amount)
        assert left_by(OTHER[case](model, trained), trained) == NOTHING, amount


@pytest.mark.parametrize("name", ["MambaForCausalLM", "Mamba2ForCausalLM", "BambaForCausalLM"])
def test_nothing_stays_of_models_of_transformers(name: str) -> None:
    pytest.importorskip("transformers")
    import host_checks

    from empirics.hosts.tiny import host_model

    model: Any = host_model(name)
    narrower = model.config.hidden_size - 8

    def ahead(hidden: Tensor) -> Tensor:
        return model(inputs_embeds=nn.functional.pad(hidden, (0, narrower)), use_cache=False).logits.square().mean()

    for method, make in host_checks.METHODS.items():
        config = make(model)
        if config is None:
            continue
        handle = apply(model, config)
        trained = list(handle.trainable().values())
        assert left_by(ahead, trained) == NOTHING, method
        assert left_by(lambda hidden: torch.autograd.grad(ahead(hidden), trained), trained) == NOTHING, method  # noqa: B023
        handle.remove()


# --- that the checks can fail ---


def test_what_stays_is_seen() -> None:
    model, trained = adapted("Mamba1", "chunked", "lora")
    kept: list[Any] = []

    def keeping(choose: Callable[[Tensor], Any]) -> tuple[int, list[int], int]:
        found = left_by(lambda hidden: kept.append(choose(forward(model)(hidden))) or True, trained)
        kept.clear()
        return found

    assert keeping(lambda loss: None) == NOTHING
    assert keeping(lambda loss: loss.detach()) == (1, [], 0), "one number"
    assert keeping(lambda loss: again._Kept(torch.ones(1))) == (1, [], 1)
    memory, ends, _ = keeping(lambda loss: loss)
    assert memory > 10 and ends == list(range(-1, len(trained))), "all of the graph, down to its leaves"
    # One end of the graph: no memory, but the next recording would meet the stream of this pass.
    _, ends, _ = keeping(lambda loss: get_gradient_edge(trained[0]).node)
    assert ends == [0]


def _pack_as_given(patch: pytest.MonkeyPatch) -> None:
    """A result comes with its function in it."""
    patch.setattr(again._Results, "pack", lambda results, value: again._Kept(value))


def _keep_what_was_announced(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(again._Collecting, "__exit__", lambda self, *_: setattr(again._active, "results", None))


def _keep_the_result_on_the_function(patch: pytest.MonkeyPatch) -> None:
    real = inner._Inner.forward

    def forward(ctx: Any, *given: Any) -> Tensor:
        ctx.result = real(ctx, *given)
        return ctx.result

    patch.setattr(inner._Inner, "forward", staticmethod(forward))


def _never_end_a_turn(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(scan._Turn, "__exit__", lambda *_: None)


MISTAKES: dict[str, tuple[str, Any, Callable[[pytest.MonkeyPatch], None]]] = {
    "a result with its function": ("Mamba-2, mamba-ssm's scan", "light", _pack_as_given),
    "what was announced": ("Mamba-1, operations", "light", _keep_what_was_announced),
    "a result on its function": ("Mamba-1, one function", "light", _keep_the_result_on_the_function),
    "results of scans": ("Mamba-1, operations", True, _never_end_a_turn),
}
"""What would be kept → where, at which amount of recomputation, and how."""


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_leaves_something(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    way_, amount, make = MISTAKES[mistake]
    layer, scan_, patch = WAYS[way_]
    kernels_like_a_gpu(monkeypatch)
    patch(monkeypatch)
    model, trained = adapted(layer, scan_, "full")
    model.set_recompute(amount)
    assert left_by(forward(model), trained) == NOTHING
    with monkeypatch.context() as mistaken:
        make(mistaken)
        assert left_by(forward(model), trained) != NOTHING
    again._active.results = scan._active.turn = None
    gc.collect()


def test_each_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the functions that stand for it: the nodes of the graph say so."""
    expected = {
        "Mamba-1, one function": {"_InnerBackward"},
        "Mamba-1, operations": {"_ConvBackward", "_ScanBackward"},
        "Mamba-1, causal-conv1d's operator": {"LikeCausalConvBackward", "_ScanBackward"},
        "Mamba-1, mamba-ssm's scan": {"_ConvBackward", "LikeSelectiveScanBackward"},
        "Mamba-1, chunked": {"ConvolutionBackward0", "_SelectiveScanBackward"},
        "Mamba-2, mamba-ssm's scan": {"_ConvBackward", "LikeChunkScanBackward", "LikeGatedNormBackward"},
        "Mamba-2, chunked": {"ConvolutionBackward0", "_SSDBackward"},
    }
    for name, (layer, scan_, patch) in WAYS.items():
        with monkeypatch.context() as patched:
            kernels_like_a_gpu(patched)
            patch(patched)
            model, _ = adapted(layer, scan_, "full")
            todo, seen = [forward(model)(torch.randn(2, 3, 8)).grad_fn], set()
            while todo:
                node = todo.pop()
                seen.add(node.name())
                todo += [n for n, _ in node.next_functions if n is not None]
        assert expected[name] <= seen, (name, seen)
