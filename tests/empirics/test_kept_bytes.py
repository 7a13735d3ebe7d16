"""What a block keeps for the backward pass: counted on fake tensors of full size, against what mamba-ssm's block keeps."""

from __future__ import annotations

import copy
import dataclasses
import gc
import weakref

import pytest
import torch
from stand_ins import NO_CONV, LikeCausalConv, LikeChunkScan, LikeFusedNorm, LikeGatedNorm
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.autograd.graph import disable_saved_tensors_hooks, saved_tensors_hooks
from torch.func import functional_call
from torch.nn.modules.module import register_module_forward_hook
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils.checkpoint import checkpoint

from empirics.bench.model import projections
from empirics.bench.timing import kept_bytes_of
from empirics.methods import Selection, apply
from empirics.methods.catalogue import recipes
from empirics.methods.lora import LowRankUpdate
from empirics.models import MambaLM, again, conv, functions, low_rank, mamba1, mamba2, norm, size_config
from empirics.models.again import computing_again, derived, saving

METHODS = recipes("bench_model")
NAMED = ("full", "lora", "sdt", "initial_state", "state_offset", "prompt", "prefix", "bitfit", "sdt_lora")
BATCH, LENGTH = 8, 2048


@pytest.fixture
def like_a_gpu(monkeypatch):
    """The fused scan's operator, causal-conv1d's layout and PyTorch's one kernel for the norm, on fake tensors."""
    pytest.importorskip("triton")
    monkeypatch.setenv("SSMPROOF_FUSED", "triton")
    monkeypatch.setattr(norm.F, "rms_norm", LikeFusedNorm.apply)
    monkeypatch.setattr(conv, "_stock_serves", lambda x, width: True)
    monkeypatch.setattr(conv, "_stock_kernel", lambda: lambda x, taps, bias, activation: LikeCausalConv.apply(x, taps, bias))


def kept(
    method: str, amount, size: str = "130m", batch: int = BATCH, length: int = LENGTH, layers: int = 2, scan: str = "fused"
) -> int:
    """Bytes that a block adds to what a model keeps: norm and mixer, the residual stream behind it included."""

    def of(count: int) -> int:
        config = dataclasses.replace(size_config(size), n_layer=count, vocab_size=64)
        model = MambaLM(config, scan=scan, dtype=torch.bfloat16)
        model.set_recompute(amount)
        recipe = METHODS[method]
        chosen = Selection.of({f"backbone.layers.{i}.mixer": [(0, 0), (1, 1)] for i in range(count)})
        wide = {"targets": projections(config)} if method == "lora" else {}
        apply(model, recipe.config(selection=chosen) if recipe.score else recipe.config(**wide))
        with FakeTensorMode():
            for module in model.modules():
                for name, value in module._parameters.items():
                    if value is not None:
                        fake = torch.empty(value.shape, dtype=value.dtype)
                        module._parameters[name] = torch.nn.Parameter(fake, requires_grad=value.requires_grad)
                for name, buffer in module._buffers.items():
                    if buffer is not None:
                        module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
            tokens = torch.empty(batch, length, config.d_model, dtype=torch.bfloat16, requires_grad=True)
            return kept_bytes_of(lambda: model.backbone(tokens)[0], [tokens, *model.parameters()])

    return of(layers) - of(layers - 1)


@pytest.fixture
def like_mamba2_on_a_gpu(like_a_gpu, monkeypatch):
    def scan(x, dt, A, B, C, D, dt_bias, dt_softplus, scan, h0, return_last_state):
        assert not return_last_state and dt_softplus
        return LikeChunkScan.apply(x, dt, A, B, C, D, dt_bias, h0)

    monkeypatch.setattr(mamba2, "ssd_scan", scan)
    monkeypatch.setattr(norm, "_stock_serves", lambda y, z: True)
    monkeypatch.setattr(norm, "_stock_kernel", lambda: lambda y, weight, bias, z, **_: LikeGatedNorm.apply(y, weight, z))


def of_mamba_ssm(size: str = "130m", batch: int = BATCH, length: int = LENGTH) -> int:
    """What mamba-ssm 2.3.2's block keeps in bfloat16, every weight trained: norm and ``MambaInnerFn`` with ``checkpoint_lvl=1``.

    The norm: the float32 residual and one float32 a token. in_proj: its input. The rest: xz, x_dbl, B and C (made contiguous),
    the scan's intermediates (2 N float32 for every 2048 steps) and its output before the gate, A and exp(A_log).
    """
    config = size_config(size)
    mixer = config.mixer
    width, states, rank = mixer.d_inner(config.d_model), mixer.d_state, mixer.rank(config.d_model)
    tokens = batch * length
    norm = 4 * tokens * (config.d_model + 1)
    chunks = -(-length // 2048)
    inner = 2 * tokens * (2 * width + rank + 2 * states + 2 * states + width) + 4 * batch * width * chunks * 2 * states
    return norm + 2 * tokens * config.d_model + inner + 2 * 4 * width * states


def of_mamba_ssm_2(size: str = "mamba2-130m", batch: int = BATCH, length: int = LENGTH) -> int:
    """What mamba-ssm 2.3.2's Mamba-2 block keeps in bfloat16, every weight trained: norm, in_proj's input and output, the scan's
    output, a float32 for each token and group of the gated norm (``MambaSplitConv1dScanCombinedFn``)."""
    config = size_config(size)
    mixer, tokens = config.mixer, batch * length
    width, heads = mixer.d_inner(config.d_model), mixer.heads(config.d_model)
    projected = 2 * width + 2 * mixer.ngroups * mixer.d_state + heads
    norm_ = 4 * tokens * (config.d_model + 1)
    return norm_ + 2 * tokens * (config.d_model + projected + width) + 4 * tokens * mixer.ngroups


@pytest.mark.parametrize("method", ["full", "lora", "sdt_lora", "initial_state", "prompt"])
def test_mamba2_keeps_no_more_than_mamba_ssm_keeps(method, like_mamba2_on_a_gpu):
    assert kept(method, "light", "mamba2-130m", scan="mamba_ssm") <= of_mamba_ssm_2()
    assert kept(method, False, "mamba2-130m", scan="mamba_ssm") > of_mamba_ssm_2()


def test_the_formula_is_what_was_measured():
    """149.4 MiB stayed allocated between the passes of mamba-ssm's block of 130m on an H200, norm and input left out
    (``bench block``)."""
    without = of_mamba_ssm() - 4 * BATCH * LENGTH * (768 + 1) - 2 * BATCH * LENGTH * 768
    assert without == pytest.approx(149.4 * 2**20, rel=0.005)


@pytest.fixture(params=["operations", "functions"])
def either_way(request, like_a_gpu, monkeypatch):
    """Blocks made of operations, and of autograd functions that stand for several (:mod:`empirics.models.inner`)."""
    if request.param == "functions":
        monkeypatch.setattr(functions, "_ORDINARY", (torch.Tensor, torch.nn.Parameter, FakeTensor))
        monkeypatch.setattr(conv, "_stock_kernels", lambda: NO_CONV)
    return request.param


@pytest.mark.parametrize("method", NAMED)
def test_by_default_no_more_is_kept_than_mamba_ssm_keeps(method, either_way):
    assert kept(method, "light") <= of_mamba_ssm()
    assert kept(method, False) > of_mamba_ssm(), "which keeping everything does not meet"


def test_the_functions_keep_what_the_operations_keep(like_a_gpu, monkeypatch):
    """Within 1 byte in 1,000: some of what is as large as a weight is kept once less, or once more."""
    by_operations = {method: kept(method, "light") for method in ("full", "lora", "initial_state")}
    used, real = [], mamba1.inner_part
    monkeypatch.setattr(mamba1, "inner_part", lambda *given: used.append(given) or real(*given))
    monkeypatch.setattr(functions, "_ORDINARY", (torch.Tensor, torch.nn.Parameter, FakeTensor))
    monkeypatch.setattr(conv, "_stock_kernels", lambda: NO_CONV)
    for method, expected in by_operations.items():
        assert kept(method, "light") == pytest.approx(expected, rel=1e-3)
    assert len(used) == 3 * (2 + 1)


@pytest.mark.parametrize("size", ["370m", "1.4b"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_at_other_sizes(method, size, either_way):
    assert kept(method, "light", size, 4) <= of_mamba_ssm(size, 4)


def test_the_default():
    model = MambaLM(dataclasses.replace(size_config("130m"), n_layer=2, d_model=8))
    assert [mixer.recompute for mixer in model.mixers] == ["light", "light"]


# --- results that are computed again ---


@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
def test_a_graph_without_a_backward_pass_is_let_go(tiny, layer):
    model, ids = tiny(layer), torch.randint(0, 19, (2, 9))
    alive = [weakref.ref(p) for p in model.parameters()]
    loss = model(ids).square().mean()
    assert loss.requires_grad
    del loss, model
    gc.collect()
    assert not any(p() is not None for p in alive)


class KeepsItsResult(torch.autograd.Function):
    """exp, whose backward pass reads the result, as that of mamba-ssm's chunk scan does."""

    @staticmethod
    def forward(ctx, x):
        out = x.exp()
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx, dy):
        return dy * ctx.saved_tensors[0]


def test_a_function_that_keeps_its_own_result_is_let_go(monkeypatch):
    def alive_after(read):
        leaf = torch.randn(4, requires_grad=True)
        alive = weakref.ref(leaf)
        with computing_again(True):
            made = derived(leaf * 2, torch.mul, leaf, 2)
            with saving():
                out = KeepsItsResult.apply(made)
        if read:
            assert torch.equal(torch.autograd.grad(out.sum(), leaf)[0], 2 * (2 * leaf).detach().exp())
        assert alive() is not None
        del leaf, made, out
        gc.collect()
        return alive() is not None

    assert not alive_after(False) and not alive_after(True)
    monkeypatch.setattr(again._Results, "pack", lambda results, value: again._Kept(value))
    assert alive_after(False), "the result as autograd hands it over holds the function that holds it"


def results(make, *leaves):
    """Gradients of ``make`` where its results are kept, and where they are computed again."""
    found = []
    for wanted in (False, True):
        with computing_again(wanted):
            out = make(*leaves)
        found.append(torch.autograd.grad(out.square().sum(), leaves))
    return found


def chain(calls):
    def double(x):
        calls.append("double")
        return 2 * x

    def curve(x):
        calls.append("curve")
        return x.sin()

    def make(x, w):
        first = derived(double(x), double, x)
        with saving():
            second = derived(curve(first), curve, first)
        with saving():
            return second * w + second.exp() * w.t()

    return make


def test_the_same_bits_computed_once():
    calls: list[str] = []
    x, w = (torch.randn(3, 3, generator=torch.Generator().manual_seed(i), dtype=torch.float64).requires_grad_() for i in (0, 1))
    kept, again_ = results(chain(calls), x, w)
    assert all(torch.equal(a, b) for a, b in zip(kept, again_, strict=True)) and kept[0].abs().max() > 0
    assert calls == ["double", "curve"] * 2 + ["double", "curve"], "once forward each time, and once backward"


def test_a_second_backward_pass_computes_again():
    calls: list[str] = []
    x, w = torch.ones(2, 2, requires_grad=True), torch.ones(2, 2, requires_grad=True)
    with computing_again(True):
        out = chain(calls)(x, w).sum()
    first = torch.autograd.grad(out, (x, w), retain_graph=True)
    assert calls.count("double") == 2
    second = torch.autograd.grad(out, (x, w))
    assert calls.count("double") == 3 and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_what_changed_in_place_is_found():
    x, w = torch.ones(2, 2, requires_grad=True), torch.ones(2, 2, requires_grad=True)
    with computing_again(True):
        out = chain([])(x, w).sum()
    with torch.no_grad():
        w.add_(1)
    with pytest.raises(RuntimeError, match="changed in place"):
        out.backward()


def test_another_layout_is_no_result():
    x = torch.ones(4, 4, requires_grad=True)
    with computing_again(True):
        value = derived(x * 2, lambda v: (v * 2)[:2].clone(), x)
        with saving():
            out = value.sin().sum()
    with pytest.raises(RuntimeError, match="in another way"):
        out.backward()
    with computing_again(True):  # as many bytes, but turned
        value = derived(x * 2, lambda v: (v * 2).T, x)
        with saving():
            out = value.sin().sum()
    with pytest.raises(RuntimeError, match="in another way"):
        out.backward()


def test_autocast_of_the_forward_pass_is_that_of_the_second():
    x, w = torch.randn(3, 4, requires_grad=True), torch.randn(5, 4)
    with torch.autocast("cpu", torch.bfloat16), computing_again(True):
        value = derived(torch.nn.functional.linear(x, w), torch.nn.functional.linear, x, w)
        assert value.dtype == torch.bfloat16
        with saving():
            out = value.float().sin().sum() + value.sin().sum()
    out.backward()
    assert x.grad is not None and x.grad.abs().max() > 0


def test_somebody_elses_hooks_decide(tiny):
    """As those of activation checkpointing, which would keep what it cannot see."""
    seen = []
    with saved_tensors_hooks(lambda v: seen.append(v.shape) or v, lambda v: v), computing_again(True):
        assert getattr(again._active, "results", None) is None
    model = tiny("Mamba1")
    ids = torch.randint(0, 19, (2, 9))
    expected = torch.autograd.grad(model(ids).square().sum(), list(model.parameters()))
    out = checkpoint(lambda: model(ids), use_reentrant=False)
    found = torch.autograd.grad(out.square().sum(), list(model.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    for mixer in model.mixers:  # the hooks then come after the norm's output was announced
        right = mixer.forward
        mixer.forward = lambda *a, right=right, **k: checkpoint(lambda: right(*a, **k), use_reentrant=False)
    found = torch.autograd.grad(model(ids).square().sum(), list(model.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_gradients_of_gradients(tiny):
    model = tiny("Mamba1")
    model.set_scan("oracle")
    ids, weight = torch.randint(0, 19, (1, 5), generator=torch.Generator().manual_seed(0)), model.mixers[0].x_proj.weight
    found = []
    for amount in (False, "light"):
        model.set_recompute(amount)
        (first,) = torch.autograd.grad(model(ids).square().sum(), weight, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), weight)[0])
    assert torch.allclose(*found, rtol=1e-12) and found[0].abs().max() > 0


@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
def test_nothing_is_held_after_the_backward_pass(tiny, layer):
    model, ids = tiny(layer), torch.randint(0, 19, (2, 9))
    loss = model(ids).square().mean()
    alive = []
    right = again._Recipe.view

    def watched(recipe, *geometry):
        alive.append(weakref.ref(recipe))
        return right(recipe, *geometry)

    again._Recipe.view = watched
    try:
        loss.backward()
    finally:
        again._Recipe.view = right
    gc.collect()
    assert alive and not any(recipe() is not None for recipe in alive)
    assert getattr(again._active, "results", None) is None


def test_a_result_changed_in_place_is_kept_itself():
    """What is saved after the change has the new values, what was saved before it the old ones."""
    for change in (lambda v: v.mul_(3), lambda v: v[1:].add_(1), lambda v: v.detach().zero_()):
        found = []
        for wanted in (False, True):
            x, w = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_(), torch.ones(4, 4)
            with computing_again(wanted):
                value = derived(2 * x, lambda v: 2 * v, x)
                with saving():  # a copy where nothing is computed again: PyTorch would refuse the change
                    before = (value if wanted else value.clone()).sin()
                with torch.no_grad():
                    change(value)
                with saving():
                    out = before.sum() + (value * w.requires_grad_()).exp().sum()
            found.append(torch.autograd.grad(out, (x, w)))
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_other_readings_of_the_same_memory_are_kept():
    """Of another type, or lazily conjugated: a view of the result computed again would hold other values."""
    g = torch.Generator().manual_seed(0)
    for read in (torch.conj, torch.view_as_real, lambda v: v.conj().imag, lambda v: v):
        found = []
        for wanted in (False, True):
            x = torch.randn(3, dtype=torch.complex128, generator=g.manual_seed(0)).requires_grad_()
            weight = torch.ones_like(read(x).detach()).requires_grad_()
            with computing_again(wanted):
                value = derived(2j * x, lambda v: 2j * v, x)
                with saving():
                    out = (read(value) * weight).abs().square().sum()
            found.append(torch.autograd.grad(out, weight)[0])
        assert torch.equal(*found) and found[0].abs().max() > 0


def test_what_the_result_was_computed_from_counts_from_then_on():
    """Changed, or under another autocast, between the result and its use: the result keeps the values that it had."""
    for change in (lambda x: x.add_(1), lambda x: None):
        found = []
        for wanted in (False, True):
            x, w = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)), torch.ones(4, 4, requires_grad=True)
            with computing_again(wanted):
                with torch.autocast("cpu", torch.bfloat16):
                    value = derived(torch.mm(x, x), torch.mm, x, x)
                change(x)
                with saving():
                    out = (value.float() * w).sum() + (value * w).exp().sum()
            found.append(torch.autograd.grad(out, w)[0])
        assert torch.equal(*found) and value.dtype == torch.bfloat16


# --- what others do to models ---


def gradients_of(model, do):
    """What ``do(model)`` returns where nothing is computed again, and where the default is."""
    found = []
    for amount in (False, "light"):
        copied = copy.deepcopy(model)
        copied.set_recompute(amount)
        found.append(do(copied))
    return found


def trained(model, loss, tensors=None):
    return torch.autograd.grad(loss, list(model.parameters()) if tensors is None else tensors)


TOKENS = torch.randint(0, 19, (2, 9), generator=torch.Generator().manual_seed(0))


def other_tensors(model):
    """functional_call: the modules hold other tensors by the time of the backward pass."""
    values = {name: (1.5 * p.detach()).requires_grad_() for name, p in model.named_parameters()}
    return trained(model, functional_call(model, values, (TOKENS,)).square().mean(), list(values.values()))


def other_modules(model):
    """A norm's weight and epsilon, and all hooks, are set between the passes."""
    loss, tensors = model(TOKENS).square().mean(), list(model.parameters())
    for block in model.backbone.layers:
        block.norm.weight = torch.nn.Parameter(7 * block.norm.weight.detach())
        block.norm.eps = 1.0
    for module in model.modules():
        module.register_forward_hook(lambda module, given, out: 2 * out if isinstance(out, torch.Tensor) else out)
    return trained(model, loss, tensors)


def changing_hooks(model):
    """Hooks change in place what a norm or the convolution returned."""
    for mixer in model.mixers:
        for name, factor in ((), 2), (("in_proj",), 3), (("x_proj",), 5):
            if not name or hasattr(mixer, name[0]):
                part = mixer.get_submodule(".".join(name))
                part.register_forward_pre_hook(lambda module, given, factor=factor: (given[0].mul_(factor), *given[1:]))
    return trained(model, model(TOKENS).square().mean())


def patched_norm(model):
    for block in model.backbone.layers:
        forward = block.norm.forward
        block.norm.forward = lambda x, forward=forward: 2 * forward(x)
    loss = model(TOKENS).square().mean()
    for block in model.backbone.layers:
        del block.norm.forward
    return trained(model, loss)


def changing_hook_of_all(model):
    with register_module_forward_hook(lambda module, given, out: 2 * out if isinstance(module, norm.RMSNorm) else None):
        loss = model(TOKENS).square().mean()
    return trained(model, loss)


def freed_norm(model):
    """As where a norm is sharded by itself: its class is another, and its weight has no memory until its own turn comes."""
    block = model.backbone.layers[-1]
    block.norm.__class__ = type("Sharded", (norm.RMSNorm,), {})
    loss = model(TOKENS).square().mean()
    block.norm.weight.untyped_storage().resize_(0)
    return trained(model, loss, [block.mixer.in_proj.weight])


def checkpointed_mixers(model):
    """Activation checkpointing of a part of each block counts what it sees saved."""
    for mixer in model.mixers:
        forward = mixer.forward
        mixer.forward = lambda *given, forward=forward, **options: checkpoint(forward, *given, use_reentrant=False, **options)
    return trained(model, model(TOKENS).square().mean())


def checkpointed_norms_and_projections(model):
    for block in model.backbone.layers:
        for part in (block.norm, block.mixer.in_proj, block.mixer.out_proj):
            part.forward = lambda x, forward=part.forward: checkpoint(forward, x, use_reentrant=False)
    return trained(model, model(TOKENS).square().mean())


def hooks_inside(model):
    """Somebody else's hooks inside a block see all that is saved there."""
    seen = []
    for mixer in model.mixers:
        forward = mixer.forward

        def hooked(*given, forward=forward, **options):
            with saved_tensors_hooks(lambda v: seen.append(v.shape) or v.clone(), lambda v: v):
                return forward(*given, **options)

        mixer.forward = hooked
    found = trained(model, model(TOKENS).square().mean())
    return [*found, torch.tensor(len(seen))]


def no_hooks_allowed(model):
    with disable_saved_tensors_hooks("none here"):
        loss = model(TOKENS).square().mean()
    return trained(model, loss)


def enabled_in_inference_mode(model):
    with torch.inference_mode(), torch.enable_grad():
        return [model(TOKENS).clone()]


def frozen_on_what_inference_mode_made(model):
    with torch.inference_mode():
        hidden = torch.ones(2, 3, 8, dtype=torch.float64)
    return [model.requires_grad_(False).backbone(hidden)[0]]


def on_tensors_that_stand_for_others(model):
    given = TwoTensor(torch.ones(1, 4, 8).double(), torch.full((1, 4, 8), 2.0).double()).requires_grad_()
    (found,) = trained(model, model.backbone(given)[0].square().mean(), [given])
    return [found.a, found.b]


OTHERS = (
    other_tensors, other_modules, changing_hooks, changing_hook_of_all, patched_norm, freed_norm, checkpointed_mixers,
    checkpointed_norms_and_projections, hooks_inside, no_hooks_allowed, enabled_in_inference_mode,
    frozen_on_what_inference_mode_made, on_tensors_that_stand_for_others,
)  # fmt: skip


@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
@pytest.mark.parametrize("do", OTHERS, ids=lambda do: do.__name__)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_default_gives_the_gradients_of_keeping_everything(do, layer, tiny):
    """Bit for bit, whatever is done to the model."""
    kept_, again_ = gradients_of(tiny(layer), do)
    assert all(torch.equal(a, b) for a, b in zip(kept_, again_, strict=True))
    if do in (other_tensors, changing_hooks, changing_hook_of_all, patched_norm):  # and it does something
        model = tiny(layer)
        assert not all(map(torch.equal, kept_, trained(model, model(TOKENS).square().mean())))


@pytest.mark.parametrize("do", [changing_hooks, hooks_inside, checkpointed_mixers, no_hooks_allowed], ids=lambda do: do.__name__)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_each_guard_is_needed(do, tiny, monkeypatch):
    """Without the guards the default gives other gradients, or fails."""
    monkeypatch.setattr(again._Announced, "tells", lambda announced, value: True)
    monkeypatch.setattr(again, "_hooked", lambda: False)
    model = tiny("Mamba1")
    if do in (changing_hooks, hooks_inside):
        assert not all(map(torch.equal, *gradients_of(model, do)))
    else:
        with pytest.raises(RuntimeError, match="none here" if do is no_hooks_allowed else "checkpoint"):
            do(model)


@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
def test_a_step_between_the_passes_is_refused(tiny, layer):
    """Of any tensor that a computation reads again: no gradient of new values, also in a second backward pass."""
    names = ["norm.weight", "mixer.conv1d.weight", "mixer.conv1d.bias", "mixer.D", "mixer.in_proj.weight"]
    for name in names + (["mixer.x_proj.weight", "mixer.dt_proj.weight"] if layer == "Mamba1" else []):
        for passes in (1, 2):
            model = tiny(layer)
            loss = model(TOKENS).square().mean()
            for _ in range(passes - 1):
                torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
            with torch.no_grad():
                model.backbone.layers[0].get_parameter(name).add_(0.5)
            with pytest.raises(RuntimeError, match=r"changed in place|modified by an inplace operation"):
                loss.backward()


def test_freed_memory_is_refused():
    """Instead of being read."""
    x, w = torch.ones(4, requires_grad=True), torch.ones(4)
    with computing_again(True):
        value = derived(x * w, torch.mul, x, w)
        with saving():
            out = value.sin().sum()
    w.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="was freed after the forward pass, as"):
        out.backward()
    w.untyped_storage().resize_(16)
    w.data.fill_(1)
    out.backward()
    assert torch.equal(x.grad, torch.ones(4).cos())


def test_the_scale_of_the_forward_pass_is_that_of_the_second(monkeypatch):
    """An adapted matrix that is computed again has the scale that the adapter had."""
    monkeypatch.setattr(low_rank, "LEAST", 1)
    found = []
    for wanted in (False, True):
        torch.manual_seed(0)
        layer, x = torch.nn.Linear(4, 3).requires_grad_(False), torch.randn(5, 4, requires_grad=True)
        handle = apply_low_rank(layer)
        with computing_again(wanted):
            out = low_rank.low_rank_linear(x, layer, handle, None)
        handle.scale = 50.0
        found.append(torch.autograd.grad(out.square().sum(), (x, handle.lora_A, handle.lora_B)))
        handle.scale = 2.0
        now = torch.autograd.grad(low_rank.low_rank_linear(x, layer, handle, None).square().sum(), x)[0]
        handle.scale = 50.0
        other = torch.autograd.grad(low_rank.low_rank_linear(x, layer, handle, None).square().sum(), x)[0]
        assert torch.equal(found[-1][0], now) and not torch.equal(now, other)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def apply_low_rank(layer):
    """A low-rank update of the layer's weight with lively factors and scale 2."""
    update = LowRankUpdate(layer.weight, 2, 2.0, 0.0, torch.Generator().manual_seed(1))
    with torch.no_grad():
        update.lora_B.add_(0.3)
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", update)
    return update


@pytest.mark.gpu
@pytest.mark.parametrize("method", ["full", "lora", "sdt_lora", "initial_state", "state_offset", "prefix"])
def test_the_same_bits_on_a_gpu(method):
    """But the convolution's own gradients, which causal-conv1d sums in no fixed order; and fewer bytes between the passes."""
    config = dataclasses.replace(size_config("130m"), n_layer=2, vocab_size=64)
    ids = torch.randint(0, 64, (2, 300), generator=torch.Generator().manual_seed(0)).cuda()
    recipe, found, kept_ = METHODS[method], {}, {}
    for amount in (False, "light"):
        torch.manual_seed(0)
        model = MambaLM(config, scan="fused", dtype=torch.bfloat16).cuda()
        model.set_recompute(amount)
        chosen = Selection.of({f"backbone.layers.{i}.mixer": [(0, 0), (1, 1)] for i in range(2)})
        trained = apply(model, recipe.config(selection=chosen) if recipe.score else recipe.config()).trainable()
        for _ in range(2):
            before = torch.cuda.memory_allocated()
            loss = model(ids).float().square().mean()
            kept_[amount] = torch.cuda.memory_allocated() - before
            found[amount] = dict(zip(trained, torch.autograd.grad(loss, list(trained.values())), strict=True))
    assert all(torch.equal(v, found[False][n]) for n, v in found["light"].items() if "conv1d" not in n)
    assert any(v.abs().max() > 0 for v in found["light"].values())
    assert kept_["light"] < kept_[False]
