"""Mamba language models: same logits as transformers, same logits step by step, and hooks that act where they say."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.utils import parametrize  # noqa: E402

from empirics.errors import InvalidInput, UnknownName, UnsupportedScan  # noqa: E402
from empirics.models import (  # noqa: E402
    ExtraStates,
    Mamba1,
    MambaConfig,
    MambaLM,
    MixerHook,
    MixerState,
    PromptHook,
)
from empirics.models.conv import causal_conv  # noqa: E402
from empirics.models.norm import GatedRMSNorm, LayerNorm, RMSNorm  # noqa: E402

torch.set_num_threads(1)
LAYERS = ("Mamba1", "Mamba2")
LENGTH = 9


def tokens(length: int = LENGTH, batch: int = 3) -> torch.Tensor:
    return torch.randint(19, (batch, length), generator=torch.Generator().manual_seed(5))


def randn(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def stepwise(model: MambaLM, ids: torch.Tensor, states: list[MixerState]) -> tuple[torch.Tensor, list[MixerState]]:
    logits = []
    for token in ids.unbind(1):
        one, states = model.step(token, states)
        logits.append(one)
    return torch.stack(logits, dim=1), states


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-11) -> bool:
    return bool((a - b).detach().abs().max() <= tolerance * max(1.0, b.detach().abs().max().item()))


class Hook(MixerHook):
    """A hook that answers what it is given, through parameters."""

    def __init__(
        self,
        prefix: torch.Tensor | None = None,
        ssm: torch.Tensor | None = None,
        conv: torch.Tensor | None = None,
        offset: torch.Tensor | None = None,
        extra: tuple[torch.Tensor, ...] | None = None,
    ):
        super().__init__()
        for name, value in {"prefix": prefix, "ssm": ssm, "conv": conv, "offset": offset}.items():
            setattr(self, name, None if value is None else nn.Parameter(value))
        self.extra = None if extra is None else nn.ParameterList(extra)

    def prefix_tokens(self):
        return self.prefix

    def initial_state(self, batch):
        if self.ssm is None and self.conv is None:
            return None
        return MixerState(*(None if v is None else v[None].expand(batch, *v.shape) for v in (self.conv, self.ssm)))

    def readout_offset(self):
        return self.offset

    def extra_states(self):
        return None if self.extra is None else ExtraStates(*self.extra)


class Prompt(PromptHook):
    def __init__(self, value: torch.Tensor):
        super().__init__()
        self.value = nn.Parameter(value)

    def tokens(self):
        return self.value


def extra_of(mixer, seed: int = 3, states: int = 3, readout: float = 1.0) -> tuple[torch.Tensor, ...]:
    decays = (mixer.d_inner, states) if isinstance(mixer, Mamba1) else (mixer.nheads,)
    return (
        randn(*decays, seed=seed),
        randn(states, mixer.d_inner, seed=seed + 1),
        readout * randn(states, mixer.d_inner, seed=seed + 2),
    )


def full_hook(mixer, seed: int = 0) -> Hook:
    conv, ssm = mixer.state_shapes()
    return Hook(
        prefix=randn(3, mixer.d_model, seed=seed),
        ssm=randn(*ssm, seed=seed + 1),
        conv=randn(*conv, seed=seed + 2),
        offset=randn(*ssm, seed=seed + 3),
        extra=extra_of(mixer, seed + 4),
    )


# --- against transformers ---


def transformers_pair(layer: str, tied: bool, **options):
    transformers = pytest.importorskip("transformers")
    common = {"vocab_size": 19, "hidden_size": 12, "num_hidden_layers": 3, "tie_word_embeddings": tied}
    torch.manual_seed(0)
    if layer == "Mamba1":
        config = transformers.MambaConfig(**common, state_size=4, time_step_rank=3, use_mambapy=False, **options)
        theirs = transformers.MambaForCausalLM(config)
        ssm_cfg = {"layer": layer, "d_state": 4, "dt_rank": 3}
    else:
        options = {"n_groups": 2, **options}
        config = transformers.Mamba2Config(**common, state_size=5, num_heads=6, head_dim=4, chunk_size=8, **options)
        theirs = transformers.Mamba2ForCausalLM(config)
        ssm_cfg = {"layer": layer, "d_state": 5, "headdim": 4, "ngroups": config.n_groups}
        ssm_cfg["dt_limit"] = tuple(config.time_step_limit)
    ssm_cfg |= {"d_conv": config.conv_kernel, "bias": config.use_bias, "conv_bias": config.use_conv_bias}
    with torch.no_grad():  # the starting values are too small to tell one mistake from another
        for parameter in theirs.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    ours = MambaLM(MambaConfig(12, 3, 19, ssm_cfg, tie_embeddings=tied, pad_vocab_size_multiple=1))
    ours.load_state_dict({k.replace("backbone.embeddings.", "backbone.embedding."): v for k, v in theirs.state_dict().items()})
    return ours.eval(), theirs.eval()


@pytest.mark.parametrize("length", [1, 2, 17])
@pytest.mark.parametrize(
    ("layer", "options"),
    [
        ("Mamba1", {}),
        ("Mamba1", {"use_bias": True, "use_conv_bias": False, "conv_kernel": 3}),
        ("Mamba2", {}),
        ("Mamba2", {"n_groups": 1, "use_bias": True, "conv_kernel": 2}),
        ("Mamba2", {"n_groups": 6, "time_step_limit": (0.3, 0.9)}),
    ],
)
def test_logits_of_transformers(layer, options, length):
    ours, theirs = transformers_pair(layer, tied=length != 2, **options)
    ids = tokens(length)
    with torch.no_grad():
        reference = theirs(ids).logits
        for scan in ("chunked", "oracle", "naive"):
            ours.set_scan(scan)
            assert close(ours(ids), reference, 1e-5), scan


@pytest.mark.parametrize("layer", LAYERS)
def test_gradients_of_transformers(layer):
    ours, theirs = transformers_pair(layer, tied=True)
    ids = tokens(17)
    for model in (ours, theirs):
        result = model(ids)
        logits = result if isinstance(result, torch.Tensor) else result.logits
        F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    reference = {k.replace("embeddings", "embedding"): p.grad for k, p in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        scale = reference[name].abs().max()
        assert scale > 0 and close(parameter.grad / scale, reference[name] / scale, 1e-5), name


# --- parallel and step by step ---


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("options", [{}, {"d_conv": 1}, {"d_conv": 7, "bias": True, "conv_bias": False}])
def test_parallel_is_stepwise(tiny, layer, options):
    model = tiny(layer, **options)
    ids = tokens()
    parallel, last = model(ids, return_states=True)
    one_by_one, states = stepwise(model, ids, model.new_states(3))
    assert close(one_by_one, parallel)
    for a, b in zip(states, last, strict=True):
        assert close(a.ssm, b.ssm) and (not a.conv.numel() or close(a.conv, b.conv)) and a.conv.shape == b.conv.shape


@pytest.mark.parametrize("options", [{"rmsnorm": False}, {"norm_before_gate": True}, {"dt_limit": (0.2, 1.0)}])
def test_parallel_is_stepwise_mamba2_options(tiny, options):
    model = tiny("Mamba2", **options)
    plain = tiny("Mamba2")
    ids = tokens()
    assert close(stepwise(model, ids, model.new_states(3))[0], model(ids))
    with torch.no_grad():
        assert not close(model(ids), plain(ids), 1e-3)


@pytest.mark.parametrize("scan", ["chunked", "oracle"])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("cut", [1, 2, 4, LENGTH - 1])
def test_cut_anywhere(tiny, layer, cut, scan):
    model = tiny(layer, scan=scan)
    ids = tokens()
    whole, last = model(ids, return_states=True)
    first, states = model(ids[:, :cut], return_states=True)
    second, after = model(ids[:, cut:], states=states, return_states=True)
    assert close(torch.cat([first, second], dim=1), whole)
    assert all(close(a.ssm, b.ssm) and close(a.conv, b.conv) for a, b in zip(after, last, strict=True))
    assert close(torch.cat([first, stepwise(model, ids[:, cut:], states)[0]], dim=1), whole)


@pytest.mark.parametrize("layer", LAYERS)
def test_parallel_is_stepwise_in_half_precision(tiny, layer):
    model = tiny(layer, dtype=torch.bfloat16)
    ids = tokens()
    with torch.no_grad():
        exact = tiny(layer)(ids)
        parallel, last = model(ids, return_states=True)
        one_by_one, states = stepwise(model, ids, model.new_states(3))
    assert parallel.dtype == one_by_one.dtype == torch.bfloat16
    assert {s.ssm.dtype for s in (*last, *states)} == {torch.float32}
    for value in (parallel, one_by_one):
        assert close(value.double(), exact, 0.1)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_later_token_changes_nothing_before_it(tiny, layer):
    model = tiny(layer)
    ids = tokens()
    other = ids.clone()
    other[:, 5] = (other[:, 5] + 1) % 19
    with torch.no_grad():
        a, b = model(ids), model(other)
    assert torch.equal(a[:, :5], b[:, :5]) and not torch.equal(a[:, 5:], b[:, 5:])


@pytest.mark.parametrize("layer", LAYERS)
def test_gradient_through_states(tiny, layer):
    """Backpropagation through a carried state is that of the whole sequence."""
    model = tiny(layer)
    ids = tokens()
    model(ids)[:, -1].square().sum().backward()
    whole = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    _, states = model(ids[:, :4], return_states=True)
    model(ids[:, 4:], states=states)[:, -1].square().sum().backward()
    for name, parameter in model.named_parameters():
        assert close(parameter.grad, whole[name], 1e-10), name


# --- hooks ---


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_silent_hook_changes_no_bit(tiny, layer, dtype):
    model = tiny(layer, dtype=dtype)
    ids = tokens()
    with torch.no_grad():
        before = model(ids)
        for mixer in model.mixers:
            mixer.hook = Hook()
        assert torch.equal(model(ids), before)
        for mixer in model.mixers:  # zero states, offsets and readouts are where methods start
            conv, ssm = mixer.state_shapes()
            zero = {"ssm": torch.zeros(ssm), "conv": torch.zeros(conv), "offset": torch.zeros(ssm)}
            mixer.hook = Hook(**zero, extra=extra_of(mixer, readout=0.0))
        assert torch.equal(model(ids), before)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("scan", ["chunked", "oracle"])
def test_every_hook_parallel_is_stepwise(tiny, layer, scan):
    model = tiny(layer, scan=scan)
    ids = tokens()
    plain = model(ids)
    for i, mixer in enumerate(model.mixers):
        mixer.hook = full_hook(mixer, seed=10 * i)
    hooked, last = model(ids, return_states=True)
    assert hooked.shape == plain.shape and not close(hooked, plain, 1e-2)
    one_by_one, states = stepwise(model, ids, model.new_states(3))
    assert close(one_by_one, hooked)
    assert close(model(ids, states=model.new_states(3)), hooked)
    for a, b in zip(states, last, strict=True):
        assert close(a.ssm, b.ssm) and close(a.conv, b.conv) and close(a.extra, b.extra)
    for cut in (1, 5):
        first, carried = model(ids[:, :cut], return_states=True)
        assert close(torch.cat([first, model(ids[:, cut:], states=carried)], 1), hooked)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("part", ["prefix", "ssm", "conv", "offset", "extra"])
def test_each_part_of_a_hook_acts_and_has_gradients(tiny, layer, part):
    model = tiny(layer)
    ids = tokens()
    before = model(ids).detach()
    mixer = model.mixers[0]
    conv, ssm = mixer.state_shapes()
    value = {"prefix": randn(2, 8), "ssm": randn(*ssm), "conv": randn(*conv), "offset": randn(*ssm), "extra": extra_of(mixer)}
    mixer.hook = Hook(**{part: value[part]})
    logits = model(ids)
    assert not close(logits, before, 1e-3)
    logits.square().sum().backward()
    for parameter in mixer.hook.parameters():
        assert parameter.grad.abs().max() > 0


@pytest.mark.parametrize("layer", LAYERS)
def test_prefix_is_tokens_at_the_mixer(tiny, layer):
    mixer = tiny(layer).mixers[0]
    prefix, x = randn(3, 8), randn(2, 5, 8, seed=2)
    plain = mixer(torch.cat([prefix.expand(2, -1, -1), x], dim=1))[:, 3:]
    mixer.hook = Hook(prefix=prefix)
    assert close(mixer(x), plain)
    # its compiled state does the same without the tokens
    compiled = mixer.new_state(2)
    mixer.hook = Hook(ssm=compiled.ssm[0].detach(), conv=compiled.conv[0].detach())
    assert close(mixer(x), plain)


@pytest.mark.parametrize("layer", LAYERS)
def test_prefix_runs_from_the_initial_state(tiny, layer):
    mixer = tiny(layer).mixers[0]
    conv, ssm = (randn(*shape, seed=8) for shape in mixer.state_shapes())
    prefix, x = randn(2, 8), randn(1, 4, 8, seed=2)
    expected = mixer(torch.cat([prefix[None], x], dim=1), MixerState(conv[None], ssm[None]))[:, 2:]
    mixer.hook = Hook(prefix=prefix, ssm=ssm, conv=conv)
    assert close(mixer(x), expected)


@pytest.mark.parametrize("layer", LAYERS)
def test_an_explicit_state_silences_the_start(tiny, layer):
    mixer = tiny(layer).mixers[0]
    x = randn(2, 4, 8)
    plain = mixer(x)
    conv, ssm = (randn(*shape, seed=8) for shape in mixer.state_shapes())
    mixer.hook = Hook(prefix=randn(2, 8), ssm=ssm, conv=conv)
    assert not close(mixer(x), plain, 1e-3)
    assert close(mixer(x, MixerState()), plain)
    mixer.hook = Hook(offset=ssm)
    assert not close(mixer(x, MixerState()), plain, 1e-3)  # the offset acts at every step


@pytest.mark.parametrize("layer", LAYERS)
def test_offset_is_an_undying_state(tiny, layer):
    """y_t += C_t·h': with decays of one, an initial state h' and an offset h' are the same."""
    mixer = tiny(layer).mixers[0]
    with torch.no_grad():
        mixer.A_log.fill_(-80.0)
    h = randn(*mixer.state_shapes()[1])
    x = randn(2, 6, 8)
    mixer.hook = Hook(ssm=h)
    as_state = mixer(x)
    mixer.hook = Hook(offset=h)
    assert close(mixer(x), as_state)


def test_extra_states_are_states_mamba1(tiny):
    """Two halves of a scan's states: moved into a hook's extra states, they give the same output."""
    mixer = tiny("Mamba1").mixers[0]
    x = randn(2, 6, 8)
    whole = mixer(x)
    rank, n, moved = mixer.dt_rank, mixer.d_state, 2
    small = copy.deepcopy(mixer)
    small.d_state = n - moved
    weight = mixer.x_proj.weight.detach()
    B, C = weight[rank : rank + n], weight[rank + n :]
    small.x_proj.weight = nn.Parameter(torch.cat([weight[:rank], B[:-moved], C[:-moved]]))
    small.A_log = nn.Parameter(mixer.A_log.detach()[:, :-moved])
    small.hook = Hook(extra=(mixer.A_log.detach()[:, -moved:], B[-moved:], C[-moved:]))
    assert close(small(x), whole)


def test_extra_states_of_mamba2_by_hand(tiny):
    mixer = tiny("Mamba2").mixers[0]
    x = randn(1, 5, 8)
    A_log, W_B, W_C = extra_of(mixer)
    seen: list[torch.Tensor] = []
    norm_in: list[torch.Tensor] = []
    mixer.norm.register_forward_pre_hook(lambda module, args: norm_in.append(args[0]))
    mixer(x)
    mixer.hook = Hook(extra=(A_log, W_B, W_C))
    mixer(x)
    added = (norm_in[1] - norm_in[0])[0]
    inner, heads, head = mixer.d_inner, mixer.nheads, mixer.headdim
    projected = x[0] @ mixer.in_proj.weight.T
    window = F.pad(projected[:, inner : inner + mixer.conv_dim].T, (mixer.d_conv - 1, 0))
    mixed = F.silu(F.conv1d(window[None], mixer.conv1d.weight, mixer.conv1d.bias, groups=mixer.conv_dim))[0].T
    u = mixed[:, :inner]
    dt = F.softplus(projected[:, -heads:] + mixer.dt_bias)
    h = torch.zeros(heads, head, 3, dtype=torch.float64)
    for t in range(5):
        drive = dt[t][:, None, None] * u[t].view(heads, head, 1) * (W_B @ u[t])
        h = torch.exp(-dt[t] * A_log.exp())[:, None, None] * h + drive
        seen.append((h @ (W_C @ u[t])).flatten())
    assert close(added, torch.stack(seen))


@pytest.mark.parametrize("layer", LAYERS)
def test_prompt_is_tokens_at_the_embedding(tiny, layer):
    model = tiny(layer)
    ids = tokens()
    known = torch.tensor([4, 0, 7])
    expected = model(torch.cat([known.expand(3, -1), ids], dim=1))[:, 3:]
    model.prompt_tokens = Prompt(model.backbone.embedding.weight.detach()[known])
    assert close(model(ids), expected)
    assert close(stepwise(model, ids, model.new_states(3))[0], expected)
    assert close(model(ids, states=model.new_states(3)), expected)
    for i, mixer in enumerate(model.mixers):
        mixer.hook = full_hook(mixer, seed=i)
    assert close(stepwise(model, ids, model.new_states(3))[0], model(ids))
    model.prompt_tokens = None
    for mixer in model.mixers:
        mixer.hook = None
    assert set(model.state_dict()) == set(tiny(layer).state_dict())


# --- adapters ---


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))

    def forward(self, value):
        return value * self.scale


NAMES = {
    "Mamba1": ["in_proj.weight", "conv1d.weight", "conv1d.bias", "x_proj.weight", "dt_proj.weight", "dt_proj.bias", "A_log", "D"],
    "Mamba2": ["in_proj.weight", "conv1d.weight", "conv1d.bias", "dt_bias", "A_log", "D", "norm.weight"],
}


@pytest.mark.parametrize(("layer", "name"), [(k, n) for k, v in NAMES.items() for n in (*v, "out_proj.weight")])
def test_a_parametrisation_always_acts(tiny, layer, name):
    ids = tokens()
    reference, model = tiny(layer), tiny(layer)
    with torch.no_grad():
        reference.mixers[0].get_parameter(name).mul_(1.5)
    path, _, attribute = name.rpartition(".")
    scaled = Scaled()
    plain = model(ids)
    parametrize.register_parametrization(model.mixers[0].get_submodule(path), attribute, scaled)
    for scan in ("chunked", "oracle"):
        model.set_scan(scan)
        reference.set_scan(scan)
        logits = model(ids)
        assert close(logits, reference(ids)) and not close(logits, plain, 1e-5)
        assert close(stepwise(model, ids, model.new_states(3))[0], logits)
    logits.square().sum().backward()
    assert scaled.scale.grad.abs() > 1e-6


# --- names, options, bad input ---


def test_names_and_shapes_of_mamba_ssm():
    model = MambaLM(MambaConfig(16, 1, 50, {"layer": "Mamba1"}))
    shapes = {n: tuple(v.shape) for n, v in model.state_dict().items()}
    mixer = "backbone.layers.0.mixer."
    assert shapes == {
        "backbone.embedding.weight": (56, 16),
        "backbone.layers.0.norm.weight": (16,),
        f"{mixer}A_log": (32, 16),
        f"{mixer}D": (32,),
        f"{mixer}in_proj.weight": (64, 16),
        f"{mixer}conv1d.weight": (32, 1, 4),
        f"{mixer}conv1d.bias": (32,),
        f"{mixer}x_proj.weight": (33, 32),
        f"{mixer}dt_proj.weight": (32, 1),
        f"{mixer}dt_proj.bias": (32,),
        f"{mixer}out_proj.weight": (16, 32),
        "backbone.norm_f.weight": (16,),
        "lm_head.weight": (56, 16),
    }
    assert model.lm_head.weight is model.backbone.embedding.weight
    model = MambaLM(MambaConfig(64, 1, 50, {"layer": "Mamba2", "headdim": 32, "d_state": 16}))
    shapes = {n.removeprefix(mixer): tuple(v.shape) for n, v in model.state_dict().items() if n.startswith(mixer)}
    assert shapes == {
        "dt_bias": (4,),
        "A_log": (4,),
        "D": (4,),
        "in_proj.weight": (2 * 128 + 2 * 16 + 4, 64),
        "conv1d.weight": (160, 1, 4),
        "conv1d.bias": (160,),
        "norm.weight": (128,),
        "out_proj.weight": (64, 128),
    }


@pytest.mark.parametrize("layer", LAYERS)
def test_fresh_models(layer):
    torch.manual_seed(0)
    config = MambaConfig(
        32, 3, 50, {"layer": layer, "dt_min": 0.01, "dt_max": 0.2, **({"headdim": 8} if layer == "Mamba2" else {})}
    )
    model = MambaLM(config)
    mixer = model.mixers[0]
    dt = F.softplus(mixer.dt_proj.bias if layer == "Mamba1" else mixer.dt_bias)
    assert 0.0099 < dt.min() < dt.max() < 0.201
    decay = mixer.A_log.exp()
    if layer == "Mamba1":
        assert torch.allclose(decay[3], torch.arange(1.0, 17))
    else:
        assert 1 <= decay.min() < decay.max() <= 16
    logits = model(tokens() % 50)
    assert torch.isfinite(logits).all() and logits.abs().max() < 5
    torch.manual_seed(0)
    assert torch.equal(MambaLM(config)(tokens()), logits)


def test_layer_norm_and_residual_dtype(tiny):
    config = MambaConfig(8, 2, 19, {"d_state": 4}, rms_norm=False, tie_embeddings=False)
    torch.manual_seed(0)
    model = MambaLM(config, dtype=torch.float64)
    assert "backbone.layers.1.norm.bias" in model.state_dict()
    ids = tokens()
    assert close(stepwise(model, ids, model.new_states(3))[0], model(ids))
    assert model.lm_head.weight is not model.backbone.embedding.weight
    half = tiny("Mamba1", dtype=torch.bfloat16)
    features = []
    half.backbone.layers[1].norm.register_forward_pre_hook(lambda module, args: features.append(args[0].dtype))
    half(ids)
    half.backbone.residual_in_fp32 = False
    half(ids)
    assert features == [torch.float32, torch.bfloat16]


@pytest.mark.parametrize("before", [False, True])
def test_gated_norm_by_hand(before):
    y, z, weight = randn(4, 6), randn(4, 6, seed=2), randn(6, seed=3)
    norm = GatedRMSNorm(6, groups=2, eps=0.1, norm_before_gate=before).double()
    norm.weight.data.copy_(weight)
    gate = z / (1 + torch.exp(-z))
    for row in range(4):
        value = y[row] if before else y[row] * gate[row]
        halves = [h / torch.sqrt((h**2).sum() / 3 + 0.1) for h in (value[:3], value[3:])]
        expected = torch.cat(halves) * weight * (gate[row] if before else 1)
        assert close(norm(y, z)[row], expected, 1e-14)
    for plain, ours in ((nn.RMSNorm(6, 0.1), RMSNorm(6, 0.1)), (nn.LayerNorm(6, 0.1), LayerNorm(6, 0.1))):
        ours.load_state_dict({n: randn(6, seed=4) for n in plain.state_dict()})
        plain.load_state_dict(ours.state_dict())
        assert close(ours.double()(y), plain.double()(y), 1e-14)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"d_model": 0}, InvalidInput, "d_model is 0"),
        ({"n_layer": 1.5}, InvalidInput, "n_layer is 1.5"),
        ({"vocab_size": True}, InvalidInput, "vocab_size is True"),
        ({"norm_epsilon": float("nan")}, InvalidInput, "norm_epsilon is nan"),
        ({"rms_norm": "yes"}, InvalidInput, "rms_norm is 'yes'"),
        ({"ssm_cfg": 3}, InvalidInput, "ssm_cfg is 3"),
        ({"ssm_cfg": {"layer": "Mamba3"}}, UnknownName, "did you mean 'Mamba2'|did you mean 'Mamba1'"),
        ({"ssm_cfg": {"d_stat": 4}}, UnknownName, "did you mean 'd_state'"),
        ({"ssm_cfg": {"d_state": 0}}, InvalidInput, "d_state is 0"),
        ({"ssm_cfg": {"dt_rank": "a"}}, InvalidInput, "dt_rank is 'a'"),
        ({"ssm_cfg": {"dt_min": 1.0}}, InvalidInput, "dt_min = 1.0 exceeds"),
        ({"ssm_cfg": {"dt_init": "zeros"}}, UnknownName, "dt_init 'zeros'"),
        ({"ssm_cfg": {"expand": 0.01}}, InvalidInput, "less than one channel"),
        ({"ssm_cfg": {"layer": "Mamba2", "headdim": 5}}, InvalidInput, "headdim = 5 does not divide"),
        ({"ssm_cfg": {"layer": "Mamba2", "headdim": 4, "ngroups": 3}}, InvalidInput, "ngroups = 3 does not divide"),
        ({"ssm_cfg": {"layer": "Mamba2", "headdim": 4, "d_ssm": 8}}, InvalidInput, "d_ssm = 8; only None"),
        ({"ssm_cfg": {"layer": "Mamba2", "headdim": 4, "dt_limit": (2, 1)}}, InvalidInput, "dt_limit"),
        ({"ssm_cfg": {"layer": "Mamba2", "headdim": 4, "A_init_range": (0, 1)}}, InvalidInput, "A_init_range"),
    ],
)
def test_bad_configurations(change, error, message):
    with pytest.raises(error, match=message):
        MambaConfig(**{"d_model": 8, "n_layer": 1, "vocab_size": 10, **change})


def test_configurations_are_values():
    options = {"d_state": 4, "use_fast_path": False}
    config = MambaConfig(8, 1, 10, options)
    options["d_state"] = 7
    assert config.mixer.d_state == 4 and config.padded_vocab_size == 16
    assert config == MambaConfig(**config.to_dict()) and hash(config) == hash(copy.deepcopy(config))


def test_bad_input(tiny):
    model = tiny("Mamba1")
    ids = tokens()
    states = model.new_states(3)
    for call, message in [
        (lambda: model(ids[:, :0]), r"input_ids is \(3, 0\)"),
        (lambda: model(ids[0]), r"input_ids is \(9,\)"),
        (lambda: model([[1, 2]]), "input_ids is list"),
        (lambda: model(ids.double()), r"dtype torch.float64.*long\(\)"),
        (lambda: model(ids + 15), "expected 0..18"),
        (lambda: model(ids - 19), "expected 0..18"),
        (lambda: model(ids, states=states[:1]), "1 states given, expected one for each of the 2"),
        (lambda: model(ids, states=[None, None]), r"NoneType, expected MixerState"),
        (lambda: model(ids[:2], states=states), r"state's conv has shape \(3, 16, 3\), expected \(2, 16, 3\)"),
        (lambda: model.step(ids, states), r"token is \(3, 9\)"),
        (lambda: model.step(ids[:, 0], None), "new_states"),
        (lambda: model.new_states(0), "batch is 0"),
        (lambda: model.mixers[0](randn(2, 3, 9)), r"hidden has shape \(2, 3, 9\)"),
        (lambda: model.mixers[0](randn(2, 0, 8)), "empty sequence"),
        (lambda: model.mixers[0].step(randn(2, 9), MixerState()), r"\(2, 9\)"),
        (lambda: MambaLM(model.config, dtype=torch.int8), "torch.int8"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            call()


@pytest.mark.parametrize("layer", LAYERS)
def test_bad_hooks(tiny, layer):
    model = tiny(layer)
    mixer = model.mixers[0]
    conv, ssm = mixer.state_shapes()
    A_log, W_B, W_C = extra_of(mixer)
    for hook, message in [
        (Hook(prefix=randn(0, 8)), "prefix has shape"),
        (Hook(prefix=randn(2, 7)), "prefix has shape"),
        (Hook(ssm=randn(*ssm[:-1], ssm[-1] + 1)), "ssm has shape"),
        (Hook(conv=randn(conv[0], conv[1] + 1)), "conv has shape"),
        (Hook(offset=randn(*ssm[:-1], ssm[-1] + 1)), "readout offset has shape"),
        (Hook(extra=(A_log[:-1], W_B, W_C)), "A_log has shape"),
        (Hook(extra=(A_log, W_B[:, :-1], W_C)), "W_B has shape"),
        (Hook(extra=(A_log, W_B, W_C[:-1])), "differ in shape"),
    ]:
        mixer.hook = hook
        with pytest.raises(InvalidInput, match=message):
            model(tokens())
    mixer.hook = None
    model.prompt_tokens = Prompt(randn(2, 7))
    with pytest.raises(InvalidInput, match="prompt has shape"):
        model(tokens())


def test_scans_by_name(tiny):
    model = tiny("Mamba1")
    with pytest.raises(UnknownName, match="did you mean 'chunked'"):
        model.set_scan("chunkd")
    with pytest.raises(UnsupportedScan, match="'fused' exists for Mamba-1 only"):
        MambaLM(tiny("Mamba2").config, scan="fused")
    assert {m.scan for m in model.mixers} == {"chunked"}
    model.set_scan("mamba_ssm")
    with pytest.raises(UnsupportedScan, match="runs on cuda"):
        model(tokens())


@pytest.mark.gpu
@pytest.mark.parametrize("layer", LAYERS)
def test_mamba_ssm_on_a_gpu(tiny, layer):
    """The stock kernels, hooks included, against the float64 oracle; the float32 SSD kernels multiply in TF32."""
    pytest.importorskip("mamba_ssm")
    options = {"d_state": 16, **({"headdim": 16, "ngroups": 1, "expand": 4} if layer == "Mamba2" else {})}
    reference = tiny(layer, scan="oracle", **options)
    ids = tokens(40)
    for hooked in (False, True):
        if hooked:
            for i, mixer in enumerate(reference.mixers):
                mixer.hook = full_hook(mixer, seed=i)
        expected = reference(ids)
        expected.square().mean().backward()
        model = copy.deepcopy(reference).to("cuda", torch.float32)
        model.zero_grad()
        model.set_scan("mamba_ssm")
        got, last = model(ids.cuda(), return_states=True)
        tolerance = 2e-5 if layer == "Mamba1" else 5e-3
        assert close(got.double().cpu(), expected, tolerance)
        one_by_one, states = stepwise(model, ids.cuda(), model.new_states(3))
        assert close(one_by_one, got, tolerance)
        assert all(close(a.ssm, b.ssm, tolerance) and close(a.conv, b.conv, tolerance) for a, b in zip(states, last, strict=True))
        model(ids.cuda()).square().mean().backward()
        wanted = dict(reference.named_parameters())
        for name, parameter in model.named_parameters():
            scale = max(float(wanted[name].grad.abs().max()), 1e-6)
            assert close(parameter.grad.double().cpu() / scale, wanted[name].grad / scale, 20 * tolerance), name
        reference.zero_grad()


@pytest.mark.gpu
@pytest.mark.parametrize("width", [2, 3, 4])
@pytest.mark.parametrize("channels", [8, 12, 64])
@pytest.mark.parametrize("inner", ["time", "channels", "slice"])
def test_stock_convolution(width, channels, inner):
    """causal-conv1d's kernel on every layout that the blocks hand it, against PyTorch's convolution in float64."""
    pytest.importorskip("causal_conv1d")
    x, weight, bias = randn(2, 3 * channels, 21), randn(channels, 1, width, seed=2), randn(channels, seed=3)
    for window in (None, randn(2, channels, width - 1, seed=4)):
        part = x[:, channels : 2 * channels] if inner == "slice" else x[:, :channels].contiguous()
        expected, expected_last = causal_conv(part, weight, bias, window)
        on_gpu = x.float().cuda() if inner == "time" else x.float().cuda().transpose(1, 2).contiguous().transpose(1, 2)
        on_gpu = on_gpu[:, channels : 2 * channels] if inner == "slice" else on_gpu[:, :channels]
        given = (v if v is None else v.float().cuda() for v in (weight, bias, window))
        out, last = causal_conv(on_gpu, *given, stock=True)
        assert close(out.double().cpu(), expected, 1e-5) and close(last.double().cpu(), expected_last, 1e-6)


def like_mamba_ssm(x, weight, bias, z, eps, group_size, norm_before_gate):
    """mamba-ssm's ``rms_norm_ref``, in the dtype of its inputs."""
    assert bias is None
    gated = x if norm_before_gate else x * torch.nn.functional.silu(z)
    grouped = gated.unflatten(-1, (-1, group_size))
    out = (grouped / torch.sqrt(grouped.square().mean(-1, keepdim=True) + eps)).flatten(-2) * weight
    return out * torch.nn.functional.silu(z) if norm_before_gate else out


@pytest.mark.parametrize("before", [False, True])
def test_mamba_ssms_gated_norm_is_given_ours_options(before, monkeypatch):
    """And takes part only where it is asked for."""
    from empirics.models import norm as norms

    called = []
    monkeypatch.setattr(norms, "_stock_serves", lambda y, z: True)
    monkeypatch.setattr(norms, "_stock_kernel", lambda: lambda *a, **k: called.append(k) or like_mamba_ssm(*a, **k))
    norm = GatedRMSNorm(6, groups=2, eps=0.1, norm_before_gate=before).double()
    norm.weight.data.copy_(randn(6, seed=3))
    y, z = randn(4, 6), randn(4, 6, seed=2)
    assert close(norm(y, z, stock=True), norm(y, z), 1e-14) and len(called) == 1
    other = GatedRMSNorm(6, groups=2, eps=0.1, norm_before_gate=not before).double()
    assert not close(other(y, z, stock=True), norm(y, z), 1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_mamba_ssms_gated_norm(groups, before):
    """Its kernel on z as the blocks hand it, a part of wider rows, against float64: output and gradients."""
    pytest.importorskip("mamba_ssm")
    norm = GatedRMSNorm(64, groups=groups, norm_before_gate=before)
    norm.weight.data.copy_(randn(64, seed=3))
    wide, y, dy = randn(2, 9, 100, seed=2), randn(2, 9, 64), randn(2, 9, 64, seed=5)
    found = []
    for device, dtype, stock in (("cpu", torch.float64, False), ("cuda", torch.float32, True)):
        own = copy.deepcopy(norm).to(device, dtype)
        leaves = [v.to(device, dtype).requires_grad_() for v in (y, wide)]
        out = own(leaves[0], leaves[1][..., 20:84], stock)
        gradients = torch.autograd.grad(out, [*leaves, own.weight], dy.to(device, dtype))
        found.append([v.double().cpu() for v in (out, *gradients)])
    assert all(close(a, b, 1e-5) for a, b in zip(*found, strict=True))


def test_layout_of_one_token_of_one_sequence():
    """(1, D, 1) cut from a wider projection counts as contiguous for PyTorch, whatever its strides; the kernel reads them."""
    from empirics.models.conv import _aligned

    part = torch.arange(20.0)[3:15].as_strided((1, 12, 1), (20, 1, 20), storage_offset=3)
    assert part.is_contiguous()
    fitted = _aligned(part)
    assert fitted.stride(2) == 1
    assert torch.equal(fitted, part)
    plain = torch.zeros(2, 12, 5)
    assert _aligned(plain) is plain
