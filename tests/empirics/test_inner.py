"""The inner part of a Mamba-1 block as one autograd function: the bits of the operations that it stands for."""

from __future__ import annotations

import dataclasses
import sys
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

import emulator  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch.autograd.graph import saved_tensors_hooks  # noqa: E402

from empirics.methods import InitialState, LoRA, Selection, apply  # noqa: E402
from empirics.methods.catalogue import recipes  # noqa: E402
from empirics.models import Mamba1, MambaConfig, MambaLM, MixerState, again, conv, functions, inner, mamba1, size_config  # noqa: E402
from empirics.models.again import computing_again, derived, formula_of  # noqa: E402
from empirics.models.mixer import linear  # noqa: E402

needs_emulator = pytest.mark.skipif(not emulator.available(), reason="needs g++ to run CUDA C++ on a CPU")
METHODS = recipes("bench_model")
WIDTH, LENGTH = 8, 70


def run(x, taps, bias, seq_idx, initial_states, out, final_states_out, silu_activation):
    """causal-conv1d's forward kernel, as its extension takes its arguments."""
    assert seq_idx is initial_states is final_states_out is None and silu_activation
    out.copy_(F.silu(F.conv1d(F.pad(x, (taps.shape[1] - 1, 0)), taps[:, None], bias, groups=x.shape[1])))


def run_backward(
    x, taps, bias, dout, seq_idx, initial_states, dfinal_states, dx, dweight, dbias, dinitial_states, silu_activation
):
    assert seq_idx is initial_states is dfinal_states is dinitial_states is None and silu_activation
    assert dweight.dtype == torch.float32 and not dweight.any()
    assert dx.stride(2 if x.stride(2) == 1 else 1) == 1, "as the extension demands"
    leaves = [v.detach().requires_grad_() for v in (x, taps, bias) if v is not None]
    with torch.enable_grad():
        padded, others = F.pad(leaves[0], (taps.shape[1] - 1, 0)), leaves[2] if bias is not None else None
        out = F.silu(F.conv1d(padded, leaves[1][:, None], others, groups=x.shape[1]))
    for to, gradient in zip(
        (v for v in (dx, dweight, dbias) if v is not None), torch.autograd.grad(out, leaves, dout), strict=True
    ):
        to.copy_(gradient)


KERNELS = conv.ConvKernels(run, run_backward)


class Operator(torch.autograd.Function):
    """causal-conv1d's own function of the same kernels."""

    @staticmethod
    def forward(ctx, x, taps, bias):
        ctx.save_for_backward(x, taps, bias)
        out = torch.empty_like(x)
        run(x, taps, bias, None, None, out, None, True)
        return out

    @staticmethod
    def backward(ctx, dy):
        x, taps, bias = ctx.saved_tensors
        dx, *sums = torch.empty_like(x), *(None if v is None else torch.zeros_like(v, dtype=torch.float32) for v in (taps, bias))
        run_backward(x, taps, bias, dy, None, None, None, dx, *sums, None, True)
        return dx, *(None if v is None else v.to(taps.dtype) for v in sums)


@pytest.fixture
def at_once(emulated, monkeypatch):
    """The fused scan and stand-ins for causal-conv1d's kernels on a CPU; counts the uses of the function."""
    monkeypatch.setattr(conv, "_stock_serves", lambda x, width: True)
    monkeypatch.setattr(conv, "_stock_kernels", lambda: KERNELS)
    monkeypatch.setattr(conv, "_stock_kernel", lambda: lambda x, taps, bias, activation: Operator.apply(x, taps, bias))
    used = []
    real = mamba1.inner_part
    monkeypatch.setattr(mamba1, "inner_part", lambda *given: used.append(given) or real(*given))
    return used


def model_of(dtype=torch.float32, layers=2):
    torch.manual_seed(0)
    config = MambaConfig(WIDTH, layers, 19, {"layer": "Mamba1", "d_state": 4, "dt_rank": 2}, pad_vocab_size_multiple=1)
    model = MambaLM(config, scan="fused", dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.to(dtype)


def tokens(length=LENGTH):
    return torch.randint(0, 19, (2, length), generator=torch.Generator().manual_seed(3))


def gradients(model, tensors, ids, weight=None):
    out = model(ids)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(4)).to(out) if weight is None else weight
    return [out.detach(), *torch.autograd.grad(out, list(tensors), weight)]


def both(model, tensors, monkeypatch, ids):
    """Output and gradients by the function and by operations."""
    tensors = list(tensors)
    found = gradients(model, tensors, ids)
    with monkeypatch.context() as patch:
        patch.setattr(mamba1, "conv_kernels", lambda x, width: None)
        patch.setattr(functions, "_ORDINARY", ())
        return found, gradients(model, tensors, ids)


def equal(found, expected):
    assert any(v.abs().max() > 0 for v in expected[1:])
    return all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(found, expected, strict=True))


@needs_emulator
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("amount", [False, "light", True])
def test_the_bits_of_the_operations(amount, dtype, at_once, monkeypatch):
    model = model_of(dtype)
    model.set_recompute(amount)
    parameters = dict(model.named_parameters())
    found, expected = both(model, parameters.values(), monkeypatch, tokens())
    assert at_once and equal(found, expected)
    changed = model_of(dtype)
    with torch.no_grad():
        changed.mixers[0].dt_proj.bias.add_(0.5)
    assert not equal(gradients(changed, changed.parameters(), tokens()), expected), "another model has other bits"
    assert len(at_once) > 2


@needs_emulator
@pytest.mark.parametrize("method", ["lora", "sdt", "initial_state", "state_offset", "prefix", "prompt", "bitfit", "dora"])
def test_methods(method, at_once, monkeypatch):
    model = model_of(torch.bfloat16)
    recipe = METHODS[method]
    chosen = Selection.of({f"backbone.layers.{i}.mixer": [(0, 0), (1, 1)] for i in range(2)})
    options = {"rank": 2} if method in ("lora", "dora") else {}
    handle = apply(model, recipe.config(selection=chosen) if recipe.score else recipe.config(**options), seed=1)
    handle.set_values({n: v + 0.1 * torch.randn(v.shape).to(v) for n, v in handle.values().items()})
    monkeypatch.setattr("empirics.models.low_rank.LEAST", 2 * WIDTH * 2 * WIDTH)  # in_proj and out_proj, as in mamba-130m
    found, expected = both(model, handle.trainable().values(), monkeypatch, tokens())
    assert len(at_once) == 2 and equal(found, expected)


@needs_emulator
@pytest.mark.parametrize(
    "names",
    [
        ("conv1d.bias",),
        ("x_proj.weight",),
        ("dt_proj.weight",),
        ("dt_proj.bias",),
        ("A_log",),
        ("D",),
        ("A_log", "in_proj.weight"),
    ],
    ids=lambda names: " ".join(names),
)
def test_what_is_frozen_costs_nothing_and_changes_nothing(names, at_once, monkeypatch, emulated):
    """Where a block's own input needs no gradient either."""
    model = model_of(torch.bfloat16, 1).requires_grad_(False)
    tensors = [model.mixers[0].get_parameter(name).requires_grad_() for name in names]
    backward = []
    real = run_backward
    monkeypatch.setattr(
        conv, "_stock_kernels", lambda: conv.ConvKernels(run, lambda *given: backward.append(given) or real(*given))
    )
    found = gradients(model, tensors, tokens())
    assert bool(backward) == bool({"conv1d.bias", "in_proj.weight"} & set(names))
    monkeypatch.setattr(mamba1, "conv_kernels", lambda x, width: None)
    assert len(at_once) == 1 and equal(found, gradients(model, tensors, tokens()))


@needs_emulator
def test_a_layout_that_the_kernel_does_not_read(at_once, monkeypatch):
    """It is copied, with time innermost, and so is the gradient of x."""
    copied = []
    monkeypatch.setattr(conv, "_aligned", lambda x: copied.append(x) or x.clone(memory_format=torch.contiguous_format))
    model = model_of(torch.float32, 1)
    found, expected = both(model, model.parameters(), monkeypatch, tokens())
    assert at_once and copied and equal(found, expected)


class Normed(Mamba1):
    @property
    def normed(self):
        return True


REFUSED = {
    "a hook": lambda mixer: mixer.x_proj.register_forward_pre_hook(lambda module, given: None),
    "another scan": lambda mixer: mixer.set_scan("naive"),
    "norms": lambda mixer: setattr(mixer, "__class__", Normed),
    "a layer of its own": lambda mixer: setattr(mixer.dt_proj, "forward", mixer.dt_proj.forward),
}


@needs_emulator
@pytest.mark.parametrize("name", REFUSED)
def test_what_else_acts_on_a_block_goes_the_general_way(name, at_once):
    model = model_of(layers=1)
    gradients(model, model.parameters(), tokens(9))
    assert len(at_once) == 1
    REFUSED[name](model.mixers[0])
    gradients(model, model.parameters(), tokens(9))
    assert len(at_once) == 1


@needs_emulator
def test_states_inference_autocast_and_transforms_go_the_general_way(at_once):
    model = model_of(layers=1)
    mixer, hidden = model.mixers[0], torch.randn(2, 9, WIDTH)
    window, state = (torch.zeros(2, *shape) for shape in mixer.state_shapes())
    with torch.no_grad():
        mixer(hidden)
    mixer(hidden, return_state=True)
    mixer(hidden, MixerState(window, state))
    with torch.autocast("cpu", torch.bfloat16):
        model(tokens(9))
    assert not at_once
    mixer(hidden, MixerState(None, state))
    assert len(at_once) == 1


@needs_emulator
def test_the_backward_pass_may_run_under_autocast(at_once):
    model = model_of(layers=1)
    model.mixers[0](torch.ones(1, 9, WIDTH))
    tensors, *how = at_once[0]
    trained, found = [tensors.x_weight, tensors.taps], []
    for enabled in (False, True):
        y = inner.inner_part(tensors, *how)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found.append(torch.autograd.grad(y, trained, torch.ones_like(y), retain_graph=True))
    assert equal(*found)


@needs_emulator
def test_two_backward_passes(at_once):
    model = model_of(torch.bfloat16)
    out = model(tokens(9)).float().square().mean()
    first = torch.autograd.grad(out, list(model.parameters()), retain_graph=True)
    assert equal(first, torch.autograd.grad(out, list(model.parameters())))


@needs_emulator
def test_gradients_of_gradients_are_refused(at_once):
    model = model_of(layers=1)
    (first,) = torch.autograd.grad(model(tokens(5)).square().sum(), model.mixers[0].x_proj.weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.square().sum().backward()


@needs_emulator
def test_no_hook_is_called_for_what_is_computed_again(at_once, monkeypatch):
    """Which is what the function is for."""
    packed = []
    real = again._Results.pack
    monkeypatch.setattr(again._Results, "pack", lambda self, value: packed.append(value.shape) or real(self, value))
    model = model_of(torch.bfloat16)
    gradients(model, model.parameters(), tokens(9))
    assert at_once and not packed
    handle = apply(model, LoRA(targets=("in_proj", "out_proj"), rank=2))
    monkeypatch.setattr("empirics.models.low_rank.LEAST", 1)
    gradients(model, handle.trainable().values(), tokens(9))
    assert not packed
    model.set_scan("naive")
    gradients(model, handle.trainable().values(), tokens(9))
    assert packed, "operations need them"


@needs_emulator
def test_an_initial_state_has_its_gradient(at_once):
    model = model_of(layers=1)
    handle = apply(model, InitialState())
    (name,) = handle.trainable()
    found = gradients(model, handle.trainable().values(), tokens(9))
    assert at_once and name.endswith("hook.ssm") and found[1].abs().max() > 0


@needs_emulator
def test_what_a_prefix_drops_gets_its_zero_gradient_as_the_scan_reads_it(at_once, monkeypatch):
    """With channels innermost, as all other tensors: nothing is copied."""
    model, strides = model_of(torch.bfloat16, 1), []
    handle = apply(model, METHODS["prefix"].config())
    real = inner.fused.backward_pass
    monkeypatch.setattr(inner.fused, "backward_pass", lambda p, dy, *given: strides.append(dy.stride()) or real(p, dy, *given))
    gradients(model, handle.trainable().values(), tokens(9))
    width = 2 * WIDTH
    assert len(at_once) == 1 and strides == [((16 + 9) * width, 1, width)]


@needs_emulator
@pytest.mark.parametrize("name", ["dt_proj", "conv1d", "in_proj"])
def test_weights_that_were_freed_are_not_read(name, at_once, monkeypatch):
    """As those of sharded models may be; read again, they would be whatever lies there."""
    monkeypatch.setattr("empirics.models.low_rank.LEAST", 1)
    model = model_of(layers=1)
    apply(model, LoRA(targets=("in_proj",), rank=2))
    module = model.mixers[0].get_submodule(name)
    weight = module.parametrizations["weight"].original if name == "in_proj" else module.weight
    # Of an embedding that needs a gradient, so that in_proj's input does.
    hidden = torch.randn(1, 5, WIDTH, requires_grad=True)
    loss = model.backbone(hidden)[0].square().sum()
    assert len(at_once) == 1
    size = weight.untyped_storage().nbytes()
    weight.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="was freed after the forward pass, as"):
        loss.backward(retain_graph=True)
    weight.untyped_storage().resize_(size)
    weight.data.fill_(1)
    loss.backward()
    assert hidden.grad is not None


# --- a product whose input is computed again ---


def test_the_bits_of_the_layer():
    found = []
    for wanted in (False, True):
        torch.manual_seed(0)
        layer, x = torch.nn.Linear(6, 5, bias=False), torch.randn(2, 3, 6, requires_grad=True)
        with computing_again(wanted):
            value = derived(2 * x, torch.mul, 2, x) if wanted else 2 * x
            out = linear(value, layer)
        assert ("LinearOf" in type(out.grad_fn).__name__) == wanted
        found.append([out, *torch.autograd.grad(out.square().sum(), (x, layer.weight))])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_what_has_no_formula():
    x = torch.randn(3, 4, requires_grad=True)
    value = derived(2 * x, torch.mul, 2, x)
    assert formula_of(value) is None, "nothing is computed again here"
    with computing_again(True):
        value = derived(2 * x, torch.mul, 2, x)
        assert formula_of(value) is not None
        assert formula_of(value[1:]) is None, "a part"
        assert formula_of(x) is None, "not announced"
        assert formula_of(derived(value.sin(), torch.sin, value)) is None, "of something that is computed again"
        with saved_tensors_hooks(lambda v: v, lambda v: v):
            assert formula_of(value) is None, "somebody else decides"
        value.detach().mul_(3)
        assert formula_of(value) is None, "changed"
        with torch.autocast("cpu", torch.bfloat16):
            assert formula_of(derived(x @ x.T, torch.matmul, x, x.T)) is None


def test_memory_that_was_freed_is_not_read():
    layer, x = torch.nn.Linear(4, 3, bias=False), torch.randn(2, 4, requires_grad=True)
    factor = torch.ones(2, 4)
    with computing_again(True):
        out = linear(derived(x * factor, torch.mul, x, factor), layer)
    factor.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="was freed after the forward pass, as"):
        out.sum().backward()


# --- on a GPU ---


@pytest.mark.gpu
@pytest.mark.parametrize("method", ["full", "lora", "sdt", "initial_state", "state_offset", "prefix"])
def test_the_bits_of_the_operations_on_a_gpu(method, monkeypatch):
    """But the convolution's own gradients, which causal-conv1d sums in no fixed order."""
    model = MambaLM(dataclasses.replace(size_config("130m"), n_layer=2, vocab_size=64), "fused", "cuda", torch.bfloat16)
    recipe = METHODS[method]
    chosen = Selection.of({f"backbone.layers.{i}.mixer": [(0, 0), (1, 1)] for i in range(2)})
    handle = apply(model, recipe.config(selection=chosen) if recipe.score else recipe.config(), seed=1)
    trained = {name: value for name, value in handle.trainable().items() if "conv1d" not in name}
    ids, used = torch.randint(0, 64, (2, 300), device="cuda"), []
    real = mamba1.inner_part
    monkeypatch.setattr(mamba1, "inner_part", lambda *given: used.append(given) or real(*given))
    found, expected = both(model, trained.values(), monkeypatch, ids)
    assert len(used) == 2 and equal(found, expected)


# --- causal-conv1d's extension ---


@pytest.mark.parametrize("other", [None, "_causal_conv1d_fwd_cpp", "_causal_conv1d_bwd_cpp"])
def test_only_operators_that_are_known_are_replaced(other, monkeypatch):
    """A version whose operators take other arguments goes the general way."""

    def operator(name):
        taken = conv._CALLED[name] + (" more" if name == other else "")
        arguments = [SimpleNamespace(name=n) for n in taken.split()]
        return SimpleNamespace(default=SimpleNamespace(_schema=SimpleNamespace(arguments=arguments)))

    extension = SimpleNamespace(causal_conv1d_fwd=run, causal_conv1d_bwd=run_backward)
    monkeypatch.setattr(conv, "_stock_kernel", lambda: object())
    monkeypatch.setitem(sys.modules, "causal_conv1d_cuda", extension)
    monkeypatch.setattr(torch.ops, "DaoAILab", SimpleNamespace(**{name: operator(name) for name in conv._CALLED}), raising=False)
    found = conv._stock_kernels.__wrapped__()
    assert found == (KERNELS if other is None else None)


def test_without_the_package_there_are_no_kernels(monkeypatch):
    monkeypatch.setattr(conv, "_stock_kernel", lambda: None)
    assert conv._stock_kernels.__wrapped__() is None


@pytest.mark.parametrize("bias", [True, False])
def test_the_kernels_without_the_operators(bias, monkeypatch):
    """In blocks that are made of operations, such as Mamba-2's."""
    monkeypatch.setattr(conv, "_stock_serves", lambda x, width: True)
    monkeypatch.setattr(conv, "_stock_kernel", lambda: lambda x, taps, bias, activation: Operator.apply(x, taps, bias))
    x = torch.randn(2, 9, 24, generator=torch.Generator().manual_seed(0)).transpose(1, 2)[:, :16].requires_grad_()
    weight, shift = torch.randn(16, 1, 4, requires_grad=True), torch.randn(16, requires_grad=True) if bias else None
    leaves, found = [v for v in (x, weight, shift) if v is not None], []
    for kernels in (KERNELS, None):
        monkeypatch.setattr(conv, "_stock_kernels", lambda kernels=kernels: kernels)
        out, last = conv.causal_conv(x, weight, shift, stock=True)
        found.append([out, last, *torch.autograd.grad(out.square().sum(), leaves, retain_graph=True)])
        assert type(out.grad_fn).__name__ == ("_ConvBackward" if kernels else "OperatorBackward")
        with torch.no_grad():
            assert torch.equal(conv.causal_conv(x, weight, shift, stock=True)[0], out)
    assert equal(*found)
    # A transform sees operations and no kernel.
    monkeypatch.setattr(conv, "_stock_kernels", lambda: KERNELS)
    plain = lambda x, taps, bias, activation: F.silu(F.conv1d(F.pad(x, (3, 0)), taps[:, None], bias, groups=16))  # noqa: E731
    monkeypatch.setattr(conv, "_stock_kernel", lambda: plain)
    found = torch.func.grad(lambda v: conv.causal_conv(v, weight, shift, stock=True)[0].square().sum())(x)
    assert torch.allclose(found, torch.autograd.grad(out.square().sum(), x)[0], atol=1e-5)
