"""Keeping less for the backward pass: the same outputs and gradients, bit for bit, from fewer kept bytes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from empirics.kernels.interpreter import interpreting
from empirics.methods import LoRA, apply

IDS = torch.randint(0, 19, (2, 21), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
def test_dropout_draws_the_same_mask_again(tiny, layer):
    model = tiny(layer).train()
    targets = ("in_proj", "out_proj", *(("x_proj", "dt_proj") if layer == "Mamba1" else ()))
    handle = apply(model, LoRA(targets=targets, rank=2, dropout=0.5), seed=1)
    generator = torch.Generator().manual_seed(2)
    handle.set_values({n: v + 0.1 * torch.randn(v.shape, generator=generator).to(v) for n, v in handle.values().items()})

    def gradients(seed):
        torch.manual_seed(seed)
        model(IDS).square().mean().backward()
        found = [p.grad for p in handle.trainable().values()]
        for parameter in handle.trainable().values():
            parameter.grad = None
        return found

    plain = gradients(3)
    model.set_recompute(True)
    assert all(torch.equal(a, b) for a, b in zip(gradients(3), plain, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(gradients(4), plain, strict=True))


def kept_bytes(model, ids):
    """Bytes that autograd keeps, each storage once, parameters left out."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    found = {}

    def pack(value):
        if value.untyped_storage().data_ptr() not in own:
            found[value.untyped_storage().data_ptr()] = (value.untyped_storage().nbytes(), value)
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        loss = model(ids).square().mean()
    total = sum(size for size, _ in found.values())
    loss.backward()
    return total


@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
def test_less_is_kept(tiny, layer):
    model = tiny(layer)
    plain = kept_bytes(model, IDS)
    model.set_recompute(True)
    assert kept_bytes(model, IDS) < 0.6 * plain
    model.set_recompute(False)
    assert kept_bytes(model, IDS) == plain


class Calls(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.skipif(not (torch.cuda.is_available() or interpreting()), reason="needs a CUDA device or TRITON_INTERPRET=1")
def test_the_fused_scan_runs_once(tiny):
    """Its result is kept while what is around it is computed again."""
    pytest.importorskip("triton")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = tiny("Mamba1", dtype=torch.float32).to(device)
    model.set_scan("fused")
    plain = copy.deepcopy(model)
    model.set_recompute(True)
    ids = IDS[:, :6].to(device)
    counts = {}
    for name, each in (("plain", plain), ("recomputed", model)):
        with Calls() as calls:
            each(ids).square().mean().backward()
        counts[name] = {
            op: sum(op in called for called in calls.names) for op in ("ssmproof.selective_scan.", "aten.convolution.")
        }
    assert counts["plain"]["ssmproof.selective_scan."] == counts["recomputed"]["ssmproof.selective_scan."] == 2
    assert counts["recomputed"]["aten.convolution."] > counts["plain"]["aten.convolution."]
    for a, b in zip(plain.parameters(), model.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


@pytest.mark.parametrize("scan", ["chunked", "fused"])
def test_compiled(tiny, scan):
    if scan == "fused" and not (torch.cuda.is_available() or interpreting()):
        pytest.skip("needs a CUDA device or TRITON_INTERPRET=1")
    device = "cuda" if scan == "fused" and torch.cuda.is_available() else "cpu"
    model = tiny("Mamba1", dtype=torch.float32).to(device)
    model.set_scan(scan)
    model.set_recompute(True)
    trained = list(apply(model, LoRA(targets=("in_proj", "out_proj"), rank=2)).trainable().values())
    ids = IDS[:, :6].to(device)
    found = [torch.autograd.grad(run(ids).square().mean(), trained) for run in (model, torch.compile(model, backend="aot_eager"))]
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-7) for a, b in zip(*found, strict=True))
