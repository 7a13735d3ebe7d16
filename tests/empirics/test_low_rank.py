"""Linear layers under LoRA: the bits of the adapted tensor, gradients without that of the whole matrix."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.utils._python_dispatch import TorchDispatchMode

from empirics.methods import DoRA, LoRA, apply
from empirics.models import low_rank, mixer
from empirics.models.mixer import linear

TOKENS, WIDTH, OUT = 11, 12, 8


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch):
    monkeypatch.setattr(low_rank, "LEAST", OUT * WIDTH)


class Products(TorchDispatchMode):
    """Shapes of all matrix products."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if function.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm):
            self.shapes.append(tuple(out.shape))
        return out


def layer(config, dtype=torch.float64, bias=False):
    torch.manual_seed(0)
    model = nn.ModuleDict({"in_proj": nn.Linear(WIDTH, OUT, bias=bias, dtype=dtype)})
    handle = apply(model, config, seed=1)
    generator = torch.Generator().manual_seed(2)
    handle.set_values({n: v + 0.1 * torch.randn(v.shape, generator=generator).to(v) for n, v in handle.values().items()})
    return model["in_proj"], list(handle.trainable().values())


def inputs(dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, TOKENS, WIDTH, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    return x, torch.randn(2, TOKENS, OUT, generator=generator, dtype=torch.float64).to(dtype)


def plain(x, module):
    return F.linear(x, module.weight, module.bias)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("alpha", [2.0, 5.0])
def test_bits_and_gradients_are_those_of_the_adapted_tensor(dtype, alpha, bias, turned):
    module, trained = layer(LoRA(targets=("in_proj.weight",), rank=2, alpha=alpha), dtype, bias)
    x, weight = inputs(dtype)
    if turned:  # as out_proj's input lies in memory
        x = x.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    with Products() as seen:
        found = linear(x, module)
        got = torch.autograd.grad(found, [x, *trained], weight)
    assert seen.shapes.count((OUT, WIDTH)) == 1, "the adapted tensor, and no gradient of it"
    with Products() as seen:
        expected = plain(x.contiguous(), module)
        wanted = torch.autograd.grad(expected, [x, *trained], weight)
    assert seen.shapes.count((OUT, WIDTH)) == 2
    assert torch.equal(found, expected) and torch.equal(got[0], wanted[0])
    tolerance = 1e-12 if dtype == torch.float64 else 2e-2
    for a, b in zip(got, wanted, strict=True):
        assert a.dtype == b.dtype and (a - b).norm() <= tolerance * b.norm()


def test_dropout_draws_once_for_values_and_gradients():
    module, trained = layer(LoRA(targets=("in_proj.weight",), rank=2, dropout=0.5))
    module.train()
    x, weight = inputs()
    found = []
    for call in (linear, plain, linear):
        torch.manual_seed(4 if len(found) < 2 else 5)
        out = call(x, module)
        found.append([out, *torch.autograd.grad(out, trained, weight)])
    assert all(torch.allclose(a, b, rtol=1e-12) for a, b in zip(found[0], found[1], strict=True))
    assert not torch.allclose(found[0][0], found[2][0])


def test_what_is_more_than_a_frozen_matrix_and_factors_goes_the_general_way():
    x, weight = inputs()
    module, trained = layer(DoRA(targets=("in_proj.weight",), rank=2))
    assert low_rank.factored_update(module) is None
    assert len(torch.autograd.grad(linear(x, module), trained, weight)) == 3
    module, trained = layer(LoRA(targets=("in_proj.weight",), rank=2))
    assert low_rank.factored_update(module) is not None
    original = module.parametrizations["weight"].original.requires_grad_()
    assert low_rank.factored_update(module) is None
    assert torch.autograd.grad(linear(x, module), [original, *trained], weight)[0].shape == (OUT, WIDTH)
    assert low_rank.factored_update(nn.Linear(3, 2)) is None


def test_what_is_not_ours_is_left_to_pytorch():
    x, _ = inputs()
    for foreign in (parametrizations.weight_norm, parametrizations.spectral_norm):
        torch.manual_seed(0)
        module = foreign(nn.Linear(WIDTH, OUT, dtype=torch.float64)).eval()
        assert torch.equal(linear(x, module), plain(x, module))


def test_the_adapted_matrix_is_read_without_a_detour(monkeypatch):
    """What PyTorch's parametrisations would return, bit for bit; through them where somebody caches, or more is done."""
    for config, short in ((LoRA(targets=("in_proj.weight",), rank=2), True), (DoRA(targets=("in_proj.weight",), rank=2), False)):
        module, trained = layer(config)
        expected = torch.autograd.grad(module.weight.square().sum(), trained)
        calls, right = [], low_rank.adapted
        monkeypatch.setattr(low_rank, "adapted", lambda *given, to=calls, right=right: to.append(given) or right(*given))
        weight = low_rank.weight_of(module)
        found = torch.autograd.grad(weight.square().sum(), trained)
        assert bool(calls) == short and torch.equal(weight, module.weight)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)) and expected[0].abs().max() > 0
        with parametrize.cached():
            assert low_rank.weight_of(module) is module.weight
        monkeypatch.undo()
    assert low_rank.weight_of(plain_layer := nn.Linear(3, 2)) is plain_layer.weight


def test_small_matrices_go_the_general_way(monkeypatch):
    module, _ = layer(LoRA(targets=("in_proj.weight",), rank=2))
    assert low_rank.factored_update(module) is not None
    monkeypatch.setattr(low_rank, "LEAST", OUT * WIDTH + 1)
    assert low_rank.factored_update(module) is None


def test_autocast_and_inference_read_the_tensor(monkeypatch):
    module, _ = layer(LoRA(targets=("in_proj.weight",), rank=2), torch.float32)
    x, _ = inputs(torch.float32)
    monkeypatch.setattr(mixer, "low_rank_linear", lambda *args: pytest.fail("the short way"))
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, module).dtype == torch.bfloat16
    with torch.no_grad():
        assert torch.equal(linear(x, module), plain(x, module))
    with pytest.raises(pytest.fail.Exception):
        linear(x, module)


@pytest.mark.parametrize("recompute", [False, "light", True])
@pytest.mark.parametrize("name", ["Mamba1", "Mamba2"])
def test_whole_models(tiny, monkeypatch, name, recompute):
    model = tiny(name)
    model.set_recompute(recompute)
    handle = apply(model, LoRA(targets=("in_proj", "out_proj"), rank=2), seed=1)
    generator = torch.Generator().manual_seed(2)
    handle.set_values({n: v + 0.1 * torch.randn(v.shape, generator=generator).to(v) for n, v in handle.values().items()})
    ids = torch.randint(0, 19, (2, 7), generator=generator)
    found = []
    for least in (0, 10**9):
        monkeypatch.setattr(low_rank, "LEAST", least)
        found.append(torch.autograd.grad(model(ids).square().mean(), list(handle.trainable().values())))
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-14) for a, b in zip(*found, strict=True))
