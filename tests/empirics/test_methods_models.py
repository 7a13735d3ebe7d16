"""Every method on tiny Mamba-1 and Mamba-2 language models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
import torch
import torch.nn.functional as F

from empirics.errors import CheckpointError, InvalidInput, UnknownName
from empirics.methods import (
    SDT,
    AdditionalScan,
    BitFit,
    Combined,
    DoRA,
    Full,
    Handle,
    InitialState,
    LoRA,
    Prefix,
    Prompt,
    SDTLoRA,
    Selection,
    StateOffset,
    apply,
    compile_prefix,
    count_trainable,
    load,
    method_names,
    select,
)
from empirics.methods.scores import score, warm_up
from empirics.models.config import MambaConfig
from empirics.models.lm import MambaLM

torch.set_num_threads(1)
TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9, 2], [6, 5, 3, 5, 8, 9, 7]])
# d_model 8, d_inner D = 16, N = 4, K = 4; Mamba-1: dt_rank 2; Mamba-2: H = 4 heads of P = 4, G = 2 groups.
LAYERS, D_MODEL, D, N, K, VOCABULARY, RANK, HEADS, GROUPS = 2, 8, 16, 4, 4, 16, 2, 4, 2
CONV_DIM = {"mamba1": D, "mamba2": D + 2 * GROUPS * N}
IN_PROJ = {"mamba1": 2 * D, "mamba2": 2 * D + 2 * GROUPS * N + HEADS}
SSM = {
    "mamba1": {"layer": "Mamba1", "d_state": N, "d_conv": K, "dt_rank": RANK},
    "mamba2": {"layer": "Mamba2", "d_state": N, "d_conv": K, "headdim": D // HEADS, "ngroups": GROUPS},
}


def make(kind: str, dtype: torch.dtype = torch.float64) -> MambaLM:
    """A model in which the state matters."""
    torch.manual_seed(0)
    model = MambaLM(MambaConfig(D_MODEL, LAYERS, VOCABULARY, SSM[kind]), dtype=dtype).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("_proj.weight", "embedding.weight")):
                parameter.mul_(3)
    return model


MIXERS = [f"backbone.layers.{i}.mixer" for i in range(LAYERS)]
SELECTION = Selection.of({MIXERS[0]: [(0, 1), (0, 3), (2, 1)], MIXERS[1]: [(3, 0)]})
PROJECTIONS = ("in_proj", "out_proj")
METHODS = {
    "lora": LoRA(targets=PROJECTIONS, rank=2),
    "dora": DoRA(targets=PROJECTIONS, rank=2),
    "bitfit": BitFit(),
    "full": Full(),
    "sdt": SDT(selection=SELECTION),
    "sdt_lora": SDTLoRA(sdt=SDT(selection=SELECTION, projection="none"), lora=LoRA(targets=PROJECTIONS, rank=2)),
    "prompt": Prompt(tokens=3),
    "prefix": Prefix(tokens=2),
    "initial_state": InitialState(),
    "initial_state with window": InitialState(conv=True),
    "state_offset": StateOffset(),
    "additional_scan": AdditionalScan(states=3),
    "combined": Combined(parts=(LoRA(targets=PROJECTIONS, rank=2), StateOffset(), InitialState(conv=True), BitFit())),
}
MERGEABLE = {"lora", "dora", "bitfit", "full", "sdt", "sdt_lora"}
HAS_TOKENS = {"prompt", "prefix"}  # any token moves the state: these do not start at the base model


def biases(kind: str) -> int:
    """Convolution and step size."""
    return LAYERS * (CONV_DIM[kind] + (D if kind == "mamba1" else HEADS))


def everything(kind: str) -> int:
    mixer = D_MODEL * IN_PROJ[kind] + CONV_DIM[kind] * (K + 1) + D * D_MODEL
    if kind == "mamba1":
        mixer += D * (RANK + 2 * N) + RANK * D + D + D * N + D
    else:
        mixer += 3 * HEADS + D
    return VOCABULARY * D_MODEL + D_MODEL + LAYERS * (D_MODEL + mixer)


def count(name: str, kind: str) -> int:
    """Trained numbers, by hand."""
    lora = LAYERS * 2 * ((D_MODEL + IN_PROJ[kind]) + (D + D_MODEL))
    state, window = LAYERS * D * N, LAYERS * CONV_DIM[kind] * (K - 1)
    # Mamba-1: pairs, and columns 0, 2 and 3 of B and C. Mamba-2: heads 0, 2 and 3, and rows of B and C: heads 0 and 1 are
    # group 0, heads 2 and 3 group 1, so layer 0 has (0, 1), (0, 3), (1, 1) and layer 1 has (1, 0).
    decays = {"mamba1": 4, "mamba2": 3}[kind]
    rows = {"mamba1": 3 * 2 * N, "mamba2": 4 * 2 * D_MODEL}[kind]
    return {
        "lora": lora,
        "dora": lora + LAYERS * (IN_PROJ[kind] + D_MODEL),
        "bitfit": biases(kind),
        "full": everything(kind),
        "sdt": decays + rows,
        "sdt_lora": decays + lora,
        "prompt": 3 * D_MODEL,
        "prefix": LAYERS * 2 * D_MODEL,
        "initial_state": state,
        "initial_state with window": state + window,
        "state_offset": state,
        "additional_scan": LAYERS * (2 * 3 * D + (D * 3 if kind == "mamba1" else HEADS)),
        "combined": lora + state + state + window + biases(kind),
    }[name]


@pytest.fixture(params=["mamba1", "mamba2"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=list(METHODS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def logits(model: MambaLM) -> torch.Tensor:
    """With no tensor that requires a gradient: torch.matmul rounds differently where one does, even under no_grad."""
    required = [p for p in model.parameters() if p.requires_grad]
    for parameter in required:
        parameter.requires_grad_(False)
    with torch.no_grad():
        out = model(TOKENS)
    for parameter in required:
        parameter.requires_grad_(True)
    return out


def step_logits(model: MambaLM) -> torch.Tensor:
    with torch.no_grad():
        states, out = model.new_states(len(TOKENS)), []
        for token in TOKENS.unbind(1):
            at, states = model.step(token, states)
            out.append(at)
        return torch.stack(out, dim=1)


def train(handle: Handle, steps: int = 1) -> None:
    """AdamW steps with weight decay."""
    optimiser = torch.optim.AdamW(handle.trainable().values(), lr=0.02, weight_decay=0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        F.cross_entropy(handle.model(TOKENS[:, :-1]).transpose(1, 2), TOKENS[:, 1:]).backward()
        optimiser.step()


def test_every_method_is_here() -> None:
    assert {config.name for config in METHODS.values()} == set(method_names())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_start(kind: str, name: str, dtype: torch.dtype) -> None:
    model = make(kind, dtype)
    expected = logits(model)
    handle = apply(model, METHODS[name])
    assert torch.equal(logits(model), expected) != (name in HAS_TOKENS)
    assert handle.n_trainable == count(name, kind) == count_trainable(make(kind), METHODS[name])


def test_one_step_moves_what_was_promised(kind: str, name: str) -> None:
    model = make(kind)
    handle = apply(model, METHODS[name])
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    promised = {id(p) for p in handle.trainable().values()}
    assert promised == {id(p) for p in model.parameters() if p.requires_grad}
    train(handle)
    for n, p in model.named_parameters():
        assert torch.equal(p, before[n]) != (id(p) in promised), n


def test_parallel_equals_steps(kind: str, name: str) -> None:
    model = make(kind)
    start = logits(model)
    train(apply(model, METHODS[name]), steps=3)
    assert (logits(model) - start).abs().max() > 1e-3
    assert torch.allclose(logits(model), step_logits(model), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("scan", ["oracle", "naive"])
def test_scans_agree(kind: str, name: str, scan: str) -> None:
    model = make(kind)
    train(apply(model, METHODS[name]), steps=3)
    expected = logits(model)
    model.set_scan(scan)
    assert torch.allclose(logits(model), expected, atol=1e-12, rtol=1e-12)


def test_recomputing_changes_no_bit(kind: str, name: str) -> None:
    """The same trained tensors after some steps where activations are computed again for the backward pass."""
    ends = []
    for recompute in (False, "light", True):
        model = make(kind)
        model.set_recompute(recompute)
        handle = apply(model, METHODS[name])
        train(handle, steps=2)
        ends.append(handle.values())
    for end in ends[1:]:
        assert ends[0].keys() == end.keys()
        assert all(torch.equal(v, end[n]) for n, v in ends[0].items())


def test_save_load_remove(kind: str, name: str, tmp_path: Path) -> None:
    model = make(kind)
    start = logits(model)
    names = [n for n, _ in model.named_parameters()]
    handle = apply(model, METHODS[name])
    train(handle, steps=2)
    adapted = logits(model)
    handle.save(tmp_path)
    handle.remove()
    assert torch.equal(logits(model), start) and sorted(n for n, _ in model.named_parameters()) == sorted(names)
    again = load(model, tmp_path)
    assert again.config == METHODS[name]
    assert torch.equal(logits(model), adapted)
    with pytest.raises(CheckpointError, match="another model"):
        load(make("mamba1" if kind == "mamba2" else "mamba2"), tmp_path)


def test_merge(kind: str, name: str) -> None:
    model = make(kind)
    handle = apply(model, METHODS[name])
    train(handle, steps=2)
    adapted = logits(model)
    assert handle.mergeable == (name in MERGEABLE)
    if name in MERGEABLE:
        handle.merge()
        assert model.mixers[0].hook is None and not any("parametrizations" in n for n, _ in model.named_parameters())
    else:
        with pytest.raises(InvalidInput, match="cannot be merged"):
            handle.merge()
    assert torch.allclose(logits(model), adapted, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("tokens", [1, 2, 3, 7])  # the convolution's window holds 3
@pytest.mark.parametrize("method", [Prefix, Prompt])
@pytest.mark.parametrize("scan", ["oracle", "chunked"])
def test_compiled_prefix_is_exact(kind: str, method: Any, tokens: int, scan: str) -> None:
    model = make(kind)
    model.set_scan(scan)
    base = logits(model)
    handle = apply(model, method(tokens=tokens))
    train(handle, steps=2)
    expected = logits(model)
    assert (expected - base).abs().max() > 1e-3
    compiled = compile_prefix(handle)
    assert isinstance(compiled.config, InitialState) and compiled.config.conv
    assert torch.allclose(logits(model), expected, atol=1e-12, rtol=1e-12)
    assert torch.allclose(step_logits(model), expected, atol=1e-12, rtol=1e-12)
    for mixer in compiled.values():
        if mixer.endswith("conv") and tokens < K - 1:
            assert not compiled.values()[mixer][:, : K - 1 - tokens].any()
    with pytest.raises(InvalidInput, match="no longer"):
        handle.save("nowhere")


def test_state_without_the_window_is_less_than_a_prefix(kind: str) -> None:
    model = make(kind)
    handle = apply(model, Prefix(tokens=3))
    expected = logits(model)
    compiled = compile_prefix(handle)
    with torch.no_grad():
        for n, p in compiled.trainable().items():
            if n.endswith("conv"):
                p.zero_()
    assert (logits(model) - expected).abs().max() > 1e-3


def test_compile_some_layers(kind: str) -> None:
    model = make(kind)
    handle = apply(model, Prefix(tokens=2, layers=(1,)))
    assert handle.n_trainable == 2 * D_MODEL
    expected = logits(model)
    compiled = compile_prefix(handle)
    assert {n.rsplit(".", 2)[0] for n in compiled.trainable()} == {MIXERS[1]}
    assert torch.allclose(logits(model), expected, atol=1e-12)
    with pytest.raises(InvalidInput, match="initial_state holds no tokens"):
        compile_prefix(compiled)
    with pytest.raises(InvalidInput, match="prefix handle is no longer on the model"):
        compile_prefix(handle)


def test_parts_whose_tensors_share_a_name() -> None:
    """The extra states' A_log beside the trained A_log of the mixer itself."""
    model = make("mamba1")
    start = logits(model)
    handle = apply(model, Combined(parts=(Full(targets=("A_log",)), AdditionalScan(states=2), Prefix(tokens=1))))
    assert handle.n_trainable == LAYERS * (D * N + 3 * 2 * D + D_MODEL)
    train(handle, steps=2)
    assert torch.allclose(logits(model), step_logits(model), atol=1e-12)
    handle.remove()
    assert torch.equal(logits(model), start)


def test_compile_refuses_a_diverged_prefix() -> None:
    model = make("mamba1")
    handle = apply(model, Prefix(tokens=1))
    with torch.no_grad():
        handle.trainable()[f"{MIXERS[1]}.hook.prefix"][0, 0] = float("nan")
    with pytest.raises(InvalidInput, match="not finite"):
        compile_prefix(handle)
    assert handle.n_trainable == LAYERS * D_MODEL  # still on the model


def test_lora_on_every_matrix_of_the_state_space_part() -> None:
    model = make("mamba1")
    start = logits(model)
    handle = apply(model, LoRA(targets=("x_proj", "dt_proj", "A_log"), rank=2))
    assert handle.n_trainable == LAYERS * 2 * ((D + RANK + 2 * N) + (RANK + D) + (D + N))
    train(handle)
    assert all(p.grad is not None and (p.grad != 0).any() for n, p in handle.trainable().items() if n.endswith("lora_B"))
    assert not torch.equal(logits(model), start)
    assert torch.allclose(logits(model), step_logits(model), atol=1e-12)


def test_prefix_is_the_sequence_it_says() -> None:
    """A prompt made of embeddings of tokens is those tokens."""
    model = make("mamba1")
    handle = apply(model, Prompt(tokens=2))
    handle.set_values({"prompt_tokens.prompt": model.backbone.embedding.weight[[11, 7]].detach()})
    prompted = logits(model)
    handle.remove()
    longer = torch.cat([torch.tensor([[11, 7]]).expand(2, 2), TOKENS], dim=1)
    with torch.no_grad():
        assert torch.allclose(prompted, model(longer)[:, 2:], atol=1e-13)


def test_sdt_on_mamba2_moves_rows_of_B_and_C() -> None:
    model = make("mamba2")
    before = [(m.get_parameter("in_proj.weight").clone(), m.get_parameter("A_log").clone()) for m in model.mixers]
    handle = apply(model, SDT(selection=SELECTION))
    train(handle)
    handle.merge()
    # Rows of in_proj: z 0-15, x 16-31, B 32-39, C 40-47 (four states of group 0, then of group 1), dt 48-51.
    for mixer, (in_proj, A_log), rows, heads in zip(
        model.mixers, before, ([33, 35, 37, 41, 43, 45], [36, 44]), ([0, 2], [3]), strict=True
    ):
        moved = mixer.get_parameter("in_proj.weight") != in_proj
        assert moved.any(1).nonzero().flatten().tolist() == rows and moved[rows].all()
        assert (mixer.get_parameter("A_log") != A_log).nonzero().flatten().tolist() == heads


def test_selection_on_models(kind: str) -> None:
    model = make(kind)

    def loss(m: Any, tokens: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(m(tokens[:, :-1]).transpose(1, 2), tokens[:, 1:])

    moved = warm_up(model, loss, [TOKENS] * 3, learning_rate=0.05)
    for rule in ("change", "change_log_A", "released", "magnitude", "gradient", "ablation", "random"):
        chosen = select(score(rule, model, moved=moved, loss=loss, batches=[TOKENS], channels=1), channels=1, states=2)
        assert [name for name, _ in chosen.layers] == MIXERS and len(chosen) == 2 * LAYERS
        assert count_trainable(model, SDT(selection=chosen, projection="none")) == (2 if kind == "mamba1" else 1) * LAYERS


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (Prefix(layers=(2,)), UnknownName, "layer 2"),
        (Prefix(layers=()), InvalidInput, "layers is empty"),
        (LoRA(targets=("xproj",)), UnknownName, "did you mean 'x_proj'"),
        (LoRA(targets=("dt_proj",), rank=8), InvalidInput, r"rank 8 exceeds the size of .*dt_proj.weight \(16, 2\)"),
        (LoRA(targets=("lm_head",), rank=1), InvalidInput, "tied"),
        (Combined(parts=(Prefix(), Prefix())), InvalidInput, "both set prefix_tokens"),
        (Combined(parts=(BitFit(), Full(targets=("in_proj",)), LoRA(targets=("in_proj",), rank=1))), InvalidInput, "one method"),
        (Combined(parts=(LoRA(targets=("in_proj",), rank=1), Full(targets=("in_proj",)))), InvalidInput, "one method"),
        (Combined(parts=(Full(targets=("dt_proj.bias",)), BitFit())), InvalidInput, "given to two parts"),
    ],
)
def test_refused_and_undone(config: Any, error: type[Exception], message: str) -> None:
    model = make("mamba1")
    expected = logits(model)
    with pytest.raises(error, match=message):
        apply(model, config)
    assert torch.equal(logits(model), expected)
    assert all(mixer.hook is None for mixer in model.mixers)
    assert apply(model, BitFit()).n_trainable == biases("mamba1")


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (Prefix, {"tokens": 0}),
        (Prompt, {"tokens": -1}),
        (Prefix, {"std": float("nan")}),
        (AdditionalScan, {"states": 0}),
        (Prompt, {"init": "zeros"}),
        (InitialState, {"conv": "no"}),
        (Prefix, {"std": True}),
        (Combined, {"parts": (BitFit(),)}),
    ],
)
def test_refused_options(method: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        method(**options)


@pytest.mark.parametrize("layers", ["0", (1.0,), (True,), ("0",)])
def test_layers_are_numbers(layers: Any) -> None:
    with pytest.raises(InvalidInput, match=r"layers is .*, expected numbers of layers such as \(0, 2\)"):
        apply(make("mamba1"), InitialState(layers=layers))


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"model is NoneType, expected a torch\.nn\.Module"):
        apply(None, BitFit())  # type: ignore[arg-type]


def test_a_hook_that_is_not_ours_is_kept() -> None:
    from empirics.models.hooks import MixerHook

    model = make("mamba1")
    model.mixers[0].hook = MixerHook()
    with pytest.raises(InvalidInput, match="already has a hook"):
        apply(model, StateOffset())
    assert model.mixers[0].hook is not None
