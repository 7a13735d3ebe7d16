"""mamba-ssm's own models on a GPU: the same logits, and the trap that its fused path reads weights, not modules."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from empirics.kernels.table import TABLE
from empirics.methods import LoRA, apply
from empirics.methods.lora import LowRankUpdate

pytestmark = pytest.mark.gpu
PROJECTIONS = ("in_proj", "x_proj", "dt_proj", "out_proj")


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    got, expected = got.detach().double(), expected.detach().double()
    return float((got - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_of_mamba_ssms_own_model(tiny, layer, dtype):
    """The same weights in MambaLMHeadModel, whose block is fused, whose norm is Triton; TF32 in Mamba-2's products."""
    stock = pytest.importorskip("mamba_ssm.models.mixer_seq_simple")
    settings = pytest.importorskip("mamba_ssm.models.config_mamba")
    sizes = {"d_state": 16, **({"headdim": 16, "ngroups": 1, "expand": 4} if layer == "Mamba2" else {})}
    ours = tiny(layer, **sizes).to("cuda", dtype)
    config = settings.MambaConfig(
        d_model=8, n_layer=2, vocab_size=19, ssm_cfg={"layer": layer, **({"dt_rank": 2} if layer == "Mamba1" else {}), **sizes},
        pad_vocab_size_multiple=1,
    )  # fmt: skip
    theirs = stock.MambaLMHeadModel(config, device="cuda", dtype=dtype)
    theirs.load_state_dict(ours.state_dict())
    ids = torch.randint(0, 19, (3, 40), generator=torch.Generator().manual_seed(0)).cuda()
    with torch.no_grad():
        expected = theirs(ids).logits
        bound = 2e-2 if dtype == torch.bfloat16 else 1e-5 if layer == "Mamba1" else 5e-3
        op = "selective_scan" if layer == "Mamba1" else "ssd"
        for scan in [r.scan for r in TABLE if r.op == op and {"any", "cuda"} & set(r.devices)]:
            ours.set_scan(scan)
            assert relative(ours(ids), expected) < bound, scan
        ours.backbone.layers[1].mixer.D.add_(0.5)  # the negative twin
        assert relative(ours(ids), expected) > 2 * bound


def stock_block(fast: bool, seed: int = 0) -> nn.Module:
    simple = pytest.importorskip("mamba_ssm.modules.mamba_simple")
    torch.manual_seed(seed)
    return simple.Mamba(d_model=16, d_state=8, use_fast_path=fast, layer_idx=0, device="cuda", dtype=torch.float32)


def steps_of(block: nn.Module, x: torch.Tensor) -> torch.Tensor:
    conv, ssm = block.allocate_inference_cache(x.shape[0], x.shape[1])
    out = []
    for t in range(x.shape[1]):
        y, conv, ssm = block.step(x[:, t : t + 1], conv, ssm)
        out.append(y)
    return torch.cat(out, 1)


@pytest.mark.parametrize("fast", [True, False])
def test_lora_as_a_parametrisation_trains_in_mamba_ssms_own_block(fast):
    """All four projections get gradients through the fused path, the output follows them, and the step path agrees."""
    block, generator = stock_block(fast), torch.Generator().manual_seed(1)
    x = torch.randn(2, 24, 16, generator=generator).cuda()
    base = block(x).detach()
    updates = {}
    for name in PROJECTIONS:
        module = getattr(block, name)
        updates[name] = LowRankUpdate(module.weight.detach().cpu(), 2, 1.0, 0.0, generator).cuda()
        module.weight.requires_grad_(False)
        parametrize.register_parametrization(module, "weight", updates[name])
    assert torch.equal(block(x), base)
    block(x).square().mean().backward()
    for name, update in updates.items():
        assert update.lora_B.grad.abs().max() > 0, name
    with torch.no_grad():
        for name, update in updates.items():
            before = block(x)
            update.lora_B.add_(torch.randn(update.lora_B.shape, generator=generator).cuda())
            assert relative(block(x), before) > 1e-4, name
        assert relative(steps_of(block, x), block(x)) < 1e-5
        assert relative(steps_of(block, x), base) > 1e-3


@pytest.mark.parametrize(("fast", "seen"), [(True, ()), (False, ("x_proj", "out_proj"))])
def test_pefts_wrapping_is_bypassed_by_mamba_ssms_own_block(fast, seen):
    """peft replaces a Linear by a module that adds the update in its forward and hands out the base's ``weight``.

    What reads ``module.weight`` never sees the update: the fused path for all four projections, the slow path for in_proj and
    dt_proj. There is no error and no gradient. (mamba issue 279, peft issues 1612 and 2274.)
    """
    peft = pytest.importorskip("peft")
    block = stock_block(fast)
    x = torch.randn(2, 24, 16, generator=torch.Generator().manual_seed(1)).cuda()
    base = block(x).detach()
    wrapped = peft.get_peft_model(block, peft.LoraConfig(r=2, target_modules=list(PROJECTIONS), init_lora_weights=False))
    out = wrapped.base_model.model(x)
    if out.requires_grad:
        out.square().mean().backward()
    found = {
        name
        for name in PROJECTIONS
        for key, parameter in wrapped.named_parameters()
        if f"{name}.lora_B" in key and parameter.grad is not None and parameter.grad.abs().max() > 0
    }
    assert found == set(seen)
    assert torch.equal(out, base) == (not seen)


@pytest.mark.parametrize("targets", [(name,) for name in PROJECTIONS])
def test_lora_on_our_model_through_the_stock_kernels(tiny, targets):
    model = tiny("Mamba1", d_state=16).to("cuda", torch.float32)
    model.set_scan("mamba_ssm")
    ids = torch.randint(0, 19, (3, 12), generator=torch.Generator().manual_seed(0)).cuda()
    base = model(ids).detach()
    weights = [getattr(m, targets[0]).weight.detach().clone() for m in model.mixers]
    handle = apply(model, LoRA(targets=targets, rank=2))
    assert all(torch.equal(getattr(m, targets[0]).weight, w) for m, w in zip(model.mixers, weights, strict=True))
    assert relative(model(ids), base) < 1e-6  # not the same bits: products round differently where a weight needs a gradient
    optimiser = torch.optim.AdamW(handle.trainable().values(), lr=0.1)
    for _ in range(2):  # lora_A gets no gradient while lora_B is 0
        optimiser.zero_grad()
        model(ids).square().mean().backward()
        optimiser.step()
    with torch.no_grad():
        adapted, states, stepped = model(ids), model.new_states(3), []
        for token in ids.unbind(1):
            logits, states = model.step(token, states)
            stepped.append(logits)
        assert relative(adapted, base) > 1e-3
        assert relative(torch.stack(stepped, 1), adapted) < 2e-5
