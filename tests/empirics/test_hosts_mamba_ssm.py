"""mamba-ssm's models in place: its protocol on a stand-in with its layout (any machine), and the library itself (GPU)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")
import torch
from torch import Tensor, nn

from empirics.errors import InvalidInput
from empirics.methods import (
    AdditionalScan,
    Combined,
    InitialState,
    LoRA,
    MethodConfig,
    Prefix,
    Prompt,
    StateOffset,
    apply,
    compile_prefix,
)  # fmt: skip
from empirics.models import MambaLM

STATES: dict[str, MethodConfig] = {
    "window": InitialState(conv=True),
    "offset": StateOffset(),
    "scan": AdditionalScan(states=2),
    "prefix": Prefix(tokens=2),
    "all": Combined(parts=(InitialState(), StateOffset(), AdditionalScan(states=3), LoRA(("in_proj",), rank=2))),
}


def relative(got: Tensor, expected: Tensor) -> float:
    return float((got.double() - expected.double()).abs().max() / expected.double().abs().max())


def randomise(handle: Any, size: float = 0.5) -> None:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in handle.trainable().values():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator).to(parameter.device))


class _StandIn(nn.Module):
    """The attributes of mamba-ssm's mixers; its own forward pass is the GPU's."""

    def __init__(self, ours: nn.Module, number: int):
        super().__init__()
        for name, module in ours.named_children():
            self.add_module(name, module)
        for name, parameter in ours.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        self.layer_idx, self.activation, self.rmsnorm, self.D_has_hdim = number, "silu", True, False
        for name in ("d_state", "ngroups", "dt_limit", "dt_rank"):
            if hasattr(ours, name):
                setattr(self, name, getattr(ours, name))

    def forward(self, *_: Any, **__: Any) -> Tensor:
        raise AssertionError("the stand-in has no forward pass of its own")


Mamba = type("Mamba", (_StandIn,), {"__module__": "mamba_ssm.modules.mamba_simple"})
Mamba2 = type("Mamba2", (_StandIn,), {"__module__": "mamba_ssm.modules.mamba2"})


def stand_in(model: MambaLM, layer: str) -> nn.Module:
    """A model of two stand-ins with the weights of ours, called like mamba-ssm's."""
    kind = Mamba if layer == "Mamba1" else Mamba2
    return nn.ModuleList([kind(mixer, i) for i, mixer in enumerate(model.mixers)])


@pytest.mark.parametrize("config", STATES.values(), ids=STATES)
@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
def test_the_protocol_of_inference_params(tiny, layer: str, config: MethodConfig) -> None:
    host = stand_in(tiny(layer), layer)
    handle = apply(host, config)
    randomise(handle)
    x = torch.randn(2, 7, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for mixer in host:
        expected = mixer(x)
        expected.square().sum().backward()
        with torch.no_grad():
            params = SimpleNamespace(key_value_memory_dict={}, seqlen_offset=0)
            found = [mixer(x[:, :4], inference_params=params)]
            held = params.key_value_memory_dict[mixer.layer_idx]
            for t in range(4, 7):
                params.seqlen_offset = t
                found.append(mixer(x[:, t : t + 1], inference_params=params))
            assert params.key_value_memory_dict[mixer.layer_idx] is held  # states change in place, as CUDA graphs need
            assert relative(torch.cat(found, 1), expected) < 1e-12
            held[1].mul_(1.1)
            params.seqlen_offset = 4
            assert relative(mixer(x[:, 4:5], inference_params=params), expected[:, 4:5]) > 1e-6
        packed = mixer(x[:1], seq_idx=torch.tensor([[0, 0, 0, 1, 1, 1, 1]]))
        assert relative(packed, torch.cat([mixer(x[:1, :3]), mixer(x[:1, 3:])], 1)) < 1e-12
    for name, parameter in handle.trainable().items():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    host._decoding_cache = "a graph of the adapted model"
    handle.remove()
    assert not hasattr(host, "_decoding_cache")
    with pytest.raises(AssertionError, match="no forward pass of its own"):
        host[0](x)


def test_what_the_layout_cannot_do(tiny) -> None:
    host = stand_in(tiny("Mamba2"), "Mamba2")
    host[0].D_has_hdim = True
    with pytest.raises(InvalidInput, match="D_has_hdim = True; methods on states need one D for a head"):
        apply(host, InitialState())
    host[0].D_has_hdim, host[0].in_proj = False, nn.Linear(8, 99, bias=False, dtype=torch.float64)
    with pytest.raises(InvalidInput, match="in_proj of 99 rows"):
        apply(host, InitialState())


# --- the library itself ---


def library_model(tiny: Any, layer: str) -> nn.Module:
    stock = pytest.importorskip("mamba_ssm.models.mixer_seq_simple")
    settings = pytest.importorskip("mamba_ssm.models.config_mamba")
    # 8 heads make in_proj's rows a multiple of 8: causal-conv1d reads its output in place and takes no other stride
    sizes = {"d_state": 16, **({"headdim": 4, "ngroups": 1, "expand": 4} if layer == "Mamba2" else {})}
    ours = tiny(layer, **sizes)
    config = settings.MambaConfig(
        d_model=8, n_layer=2, vocab_size=19, ssm_cfg={"layer": layer, **({"dt_rank": 2} if layer == "Mamba1" else {}), **sizes},
        pad_vocab_size_multiple=1,
    )  # fmt: skip
    model = stock.MambaLMHeadModel(config, device="cuda", dtype=torch.float32)
    model.load_state_dict(ours.to(torch.float32).state_dict())
    return model


IDS = torch.randint(0, 19, (3, 12), generator=torch.Generator().manual_seed(0))


def logits(model: nn.Module, ids: Tensor = IDS) -> Tensor:
    with torch.no_grad():
        return model(ids.cuda()).logits


@pytest.mark.gpu
@pytest.mark.parametrize("config", [*STATES.values(), Prompt(tokens=2)], ids=[*STATES, "prompt"])
@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
def test_methods_on_mamba_ssms_own_model(tiny, layer: str, config: MethodConfig) -> None:
    """Mamba-2's own kernels multiply in TF32, this project's in float32."""
    model = library_model(tiny, layer)
    base, bound = logits(model), 1e-5 if layer == "Mamba1" else 5e-3
    handle = apply(model, config)
    if not isinstance(config, Prefix | Prompt):
        assert relative(logits(model), base) < bound
    randomise(handle)
    adapted = logits(model)
    assert adapted.shape == base.shape and relative(adapted, base) > 5e-2
    model(IDS.cuda()).logits.square().sum().backward()
    for name, parameter in handle.trainable().items():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    for graph in (False, True):
        out = model.generate(IDS.cuda(), max_length=16, cg=graph, top_k=1, return_dict_in_generate=True, output_scores=True)
        assert torch.equal(out.sequences[:, :12], IDS.cuda())
        parallel = logits(model, out.sequences[:, :-1])[:, 11:]
        assert relative(torch.stack(out.scores, 1), parallel) < bound
    if isinstance(config, Prefix | Prompt):
        handle = compile_prefix(handle)
        assert relative(logits(model), adapted) < bound
    handle.remove()
    assert torch.equal(logits(model), base)


ONE_GROUP = {"Mamba2ForCausalLM": {"n_groups": 1}, "BambaForCausalLM": {"mamba_n_groups": 1}}


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["MambaForCausalLM", "Mamba2ForCausalLM", "BambaForCausalLM"])
def test_transformers_fast_paths(name: str) -> None:
    """With mamba-ssm installed, transformers' training mode runs the fused kernels on raw weights.

    One group: before transformers 5.23, evaluation norms all groups together where the kernel norms each alone.
    """
    pytest.importorskip("mamba_ssm")
    pytest.importorskip("transformers")
    from host_checks import IDS as ids

    from empirics.hosts.tiny import host_model

    # mamba-ssm's Mamba-2 kernels multiply in TF32, this project's in float32
    bound = 5e-3 if "2" in name or name == "BambaForCausalLM" else 1e-4
    for config in (LoRA(("in_proj", "out_proj"), rank=2), InitialState(conv=True), AdditionalScan(states=2)):
        model, ours = (host_model(name, **ONE_GROUP.get(name, {})).cuda() for _ in range(2))
        first, second = apply(model, config), apply(ours, config)
        for handle in (first, second):
            randomise(handle)
        model.train()
        out = model(ids.cuda(), labels=ids.cuda(), use_cache=False)
        out.loss.backward()
        for tensor, parameter in first.trainable().items():
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, tensor
        with torch.no_grad():
            assert relative(ours(ids.cuda()).logits, out.logits) < bound  # evaluation mode
            first.remove()
            assert relative(model.eval()(ids.cuda()).logits, out.logits) > 2 * bound


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["MambaForCausalLM", "FalconMambaForCausalLM", "Mamba2ForCausalLM", "FalconH1ForCausalLM"])
def test_the_kernels_are_what_is_computed_in_their_place(name: str) -> None:
    """empirics.hosts.fused against mamba-ssm, whose Mamba-2 multiplies in TF32."""
    pytest.importorskip("mamba_ssm")
    pytest.importorskip("transformers")
    from host_checks import IDS as ids

    from empirics.hosts.fused import fused_kernels
    from empirics.hosts.tiny import host_model

    model = host_model(name).cuda().train()
    with torch.no_grad():
        kernels = model(ids.cuda(), use_cache=False).logits
        with fused_kernels(model):
            ours = model(ids.cuda(), use_cache=False).logits
    # as above: only the Mamba-1 kernels keep float32
    assert relative(ours, kernels) < (1e-4 if name in ("MambaForCausalLM", "FalconMambaForCausalLM") else 5e-3)
