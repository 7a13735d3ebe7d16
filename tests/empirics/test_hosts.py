"""Methods in place on transformers' models: every class, every method, and what states, caches, padding and copies do."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch
import transformers
from host_checks import (
    CLOSE,
    GENERATION,
    IDS,
    METHODS,
    PAGE,
    TABLES,
    adapted,
    cached_logits,
    check,
    first_mixer,
    logits,
    randomise,
    read_table,
    relative,
)  # fmt: skip
from safetensors.torch import load_file
from torch import Tensor, nn

from empirics.errors import CheckpointError, InvalidInput
from empirics.hosts.takeover import mixer_of, taken_over
from empirics.hosts.tiny import CONFIGS, PURE, host_model
from empirics.methods import (
    SDT,
    AdditionalScan,
    Combined,
    InitialState,
    LoRA,
    Prefix,
    Prompt,
    StateOffset,
    apply,
    compile_prefix,
    export_cache,
    load,
    select,
)  # fmt: skip
from empirics.methods.scores import score, warm_up
from empirics.models import load_model

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*falling back.*"),
]
STATES = {
    "window": InitialState(conv=True),
    "offset": StateOffset(),
    "scan": AdditionalScan(states=2),
    "prefix": Prefix(tokens=2),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CONFIGS)
def test_methods_work_in_place_and_the_page_says_so(name: str, method: str) -> None:
    assert check(name, method) == read_table(PAGE.read_text(encoding="utf-8"))[name, method]


@pytest.mark.filterwarnings("ignore:the parallel pass of")
@pytest.mark.parametrize("column", GENERATION)
@pytest.mark.parametrize("name", CONFIGS)
def test_generation_goes_on_from_states_and_the_page_says_where(name: str, column: str) -> None:
    assert GENERATION[column](name) == read_table(PAGE.read_text(encoding="utf-8"), TABLES[1][0])[name, column]


def padded(count: int) -> tuple[Tensor, Tensor]:
    """The tokens behind ``count`` paddings in the first row and one in the second, and their mask."""
    width = IDS.shape[1] + count
    ids, mask = torch.zeros(2, width, dtype=torch.long), torch.zeros(2, width, dtype=torch.long)
    for row, front in ((0, count), (1, 1)):
        ids[row, front : front + IDS.shape[1]] = IDS[row]
        mask[row, front : front + IDS.shape[1]] = 1
    return ids, mask


@pytest.mark.parametrize("config", [*STATES.values(), Prompt(tokens=2)], ids=[*STATES, "prompt"])
@pytest.mark.parametrize("name", CONFIGS)
def test_padding_in_front_and_behind_changes_nothing(name: str, config: Any) -> None:
    model, _ = adapted(name, config)
    expected, (ids, mask) = logits(model), padded(3)
    got = logits(model, ids, attention_mask=mask)
    for row, front in ((0, 3), (1, 1)):
        assert relative(got[row, front : front + IDS.shape[1]], expected[row]) < CLOSE
    wrong = logits(model, ids)  # the negative twin: padding that is not said to be padding
    assert relative(wrong[0, 3:], expected[0]) > 1e-3


def test_a_mask_with_holes_is_refused() -> None:
    model, _ = adapted("MambaForCausalLM", InitialState())
    mask = torch.ones_like(IDS)
    mask[0, 0] = mask[1, 4] = 0
    with pytest.raises(InvalidInput, match="row 1 of attention_mask is no run of ones"):
        logits(model, attention_mask=mask)


def test_the_cache_is_read_as_every_version_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers has the methods that answer for a layer since 5.21; the layers themselves are older."""
    model, handle = adapted("MambaForCausalLM", InitialState(conv=True))
    expected = logits(model)
    for name in ("is_recording_past", "get_conv_state", "get_recurrent_state"):
        monkeypatch.delattr(transformers.cache_utils.Cache, name, raising=False)
    assert relative(cached_logits(model), expected) < CLOSE
    monkeypatch.undo()
    handle.remove()
    assert relative(cached_logits(model), expected) > 1e-3


def test_caching_a_second_piece_goes_on_from_the_first() -> None:
    """Which transformers' own Mamba-1 does not: its parallel pass starts every piece from a zero state."""
    model, handle = adapted("MambaForCausalLM", InitialState(conv=True))

    def in_two() -> Tensor:
        with torch.no_grad():
            first = model(IDS[:, :5], use_cache=True)
            return torch.cat([first.logits, model(IDS[:, 5:], cache_params=first.cache_params, use_cache=True).logits], 1)

    assert relative(in_two(), logits(model)) < CLOSE
    handle.remove()
    assert relative(in_two(), logits(model)) > 1e-3


def test_steps_are_clamped_token_by_token_as_well() -> None:
    model = host_model("Mamba2ForCausalLM", time_step_limit=(0.5, 0.8))
    assert relative(cached_logits(model), logits(model)) > 10 * CLOSE  # transformers' own
    expected = logits(model)
    apply(model, InitialState())
    assert relative(logits(model), expected) < CLOSE
    assert relative(cached_logits(model), expected) < CLOSE


def test_a_mixer_without_a_norm() -> None:
    model = host_model("FalconH1ForCausalLM", mamba_rms_norm=False)
    expected = logits(model)
    handle = apply(model, InitialState())
    assert relative(logits(model), expected) < CLOSE
    randomise(handle)
    assert relative(logits(model), expected) > 1e-3 and relative(cached_logits(model), logits(model)) < CLOSE


@pytest.mark.parametrize("name", ["MambaForCausalLM", "Mamba2ForCausalLM", "JambaForCausalLM"])
@pytest.mark.parametrize("config", [Combined(parts=(LoRA(("in_proj", "out_proj"), rank=2), InitialState(), StateOffset()))])
def test_saved_and_loaded_parts_together(name: str, config: Any, tmp_path: Path) -> None:
    model, handle = adapted(name, config)
    handle.save(tmp_path)
    other = host_model(name)
    load(other, tmp_path)
    assert torch.equal(logits(other), logits(model))
    with pytest.raises(CheckpointError, match="trained on other weights"):
        load(host_model(name, seed=1), tmp_path)


def test_states_and_parametrised_decays_come_off_in_either_order() -> None:
    for parts in ((LoRA(("A_log",), rank=2), InitialState()), (InitialState(), LoRA(("A_log",), rank=2))):
        model = host_model("MambaForCausalLM")
        base = logits(model)
        handle = apply(model, Combined(parts=parts))
        randomise(handle)
        assert relative(logits(model), base) > 1e-3
        handle.remove()
        assert torch.equal(logits(model), base) and not any(taken_over(m) for m in model.modules())


def test_state_adapters_travel_to_this_projects_model_and_back(tmp_path: Path) -> None:
    model, handle = adapted("MambaForCausalLM", InitialState(conv=True))
    handle.save(tmp_path / "adapter")
    expected = logits(model)
    handle.remove()
    model.save_pretrained(str(tmp_path / "base"))
    ours = load_model(tmp_path / "base")
    load(ours, tmp_path / "adapter")
    with torch.no_grad():
        assert relative(ours(IDS), expected) < CLOSE


@pytest.mark.parametrize(
    "config", [Prefix(tokens=3), Prefix(tokens=3, layers=(1,)), Prompt(tokens=5)], ids=["prefix", "one", "prompt"]
)
@pytest.mark.parametrize("name", PURE)
def test_prefixes_and_prompts_compile_into_states(name: str, config: Any) -> None:
    model, handle = adapted(name, config)
    expected = logits(model)
    compiled = compile_prefix(handle)
    assert isinstance(compiled.config, InitialState)
    assert relative(logits(model), expected) < CLOSE
    assert relative(cached_logits(model), expected) < CLOSE
    compiled.set_values({n: v * 1.1 for n, v in compiled.values().items()})
    assert relative(logits(model), expected) > 1e-3


def test_a_prompt_on_a_model_with_attention_is_no_state() -> None:
    model, handle = adapted("BambaForCausalLM", Prompt(tokens=2))
    with pytest.raises(InvalidInput, match="attention layers remember the tokens themselves"):
        compile_prefix(handle)
    handle.remove()
    model, handle = adapted("BambaForCausalLM", Prefix(tokens=2))
    expected = logits(model)
    compile_prefix(handle)
    assert relative(logits(model), expected) < CLOSE


@pytest.mark.parametrize("name", CONFIGS)
def test_an_exported_cache_says_where_it_would_be_ignored(name: str) -> None:
    _, handle = adapted(name, InitialState())
    page = read_table(PAGE.read_text(encoding="utf-8"), TABLES[1][0])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        export_cache(handle)
    told = any("starts its scan from zeros" in str(w.message) for w in said)
    assert told == page[name, "by plain `generate`"].startswith("no")


def test_what_is_no_start_is_not_exported() -> None:
    for config in (StateOffset(), Prompt(tokens=1), LoRA(("in_proj",), rank=1)):
        with pytest.raises(InvalidInput, match="is no start of a sequence"):
            export_cache(adapted("MambaForCausalLM", config)[1])


COPIED = {
    "state": InitialState(),
    "prompt": Prompt(tokens=2),
    "both": Combined(parts=(LoRA(("A_log", "in_proj"), rank=2), InitialState(conv=True))),
}


@pytest.mark.parametrize("config", COPIED.values(), ids=COPIED)
def test_copies_are_independent(config: Any) -> None:
    model, handle = adapted("MambaForCausalLM", config)
    before = logits(model)
    other = copy.deepcopy(handle)
    assert torch.equal(logits(other.model), before)
    randomise(other)
    assert torch.equal(logits(model), before) and relative(logits(other.model), before) > 1e-3
    handle.remove()
    assert relative(logits(other.model), logits(model)) > 1e-3


def test_choosing_dimensions_needs_no_conversion() -> None:
    model = host_model("MambaForCausalLM")
    base = logits(model)
    moved = warm_up(model, lambda m, ids: m(ids, labels=ids).loss, [IDS] * 2, learning_rate=1e-2)
    assert torch.equal(logits(model), base)
    selection = select(score("change", model, moved=moved), 3, 2)
    assert [name for name, _ in selection.layers] == ["backbone.layers.0.mixer", "backbone.layers.1.mixer"]
    assert apply(model, SDT(selection)).n_trainable == 2 * (3 * 2 + 2 * 4 * 3)


@pytest.mark.parametrize("name", ["MambaForCausalLM", "Mamba2ForCausalLM"])
def test_half_precision_and_checkpointing(name: str) -> None:
    model = host_model(name).to(torch.bfloat16)
    handle = apply(model, InitialState(conv=True))
    randomise(handle)
    model.train()
    model(IDS, labels=IDS).loss.backward()
    gradients = {n: p.grad.clone() for n, p in handle.trainable().items()}
    assert all(p.dtype == torch.float32 for p in handle.trainable().values())
    model.zero_grad()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model(IDS, labels=IDS).loss.backward()
    for n, parameter in handle.trainable().items():
        assert torch.equal(parameter.grad, gradients[n]), n


def test_packed_sequences_do_not_reach_each_other() -> None:
    model, _ = adapted("BambaForCausalLM", InitialState(conv=True))
    mixer = first_mixer(model)
    x = torch.randn(1, 7, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        packed = mixer(x, seq_idx=torch.tensor([[0, 0, 0, 1, 1, 1, 1]]))
        apart = torch.cat([mixer(x[:, :3]), mixer(x[:, 3:])], 1)
        assert relative(packed, apart) < CLOSE and relative(mixer(x), apart) > 1e-3


def test_the_documented_layout_is_the_function(tmp_path: Path) -> None:
    """A Mamba in float64, token by token, from the model's weights and the file's tensors as docs/models.md names them."""
    model, handle = adapted("MambaForCausalLM", InitialState(conv=True))
    expected = logits(model)
    handle.save(tmp_path)
    file = {name: value.double() for name, value in load_file(tmp_path / "adapter.safetensors").items()}
    handle.remove()
    own: Any = model.double()
    size = own.config.conv_kernel

    def normed(x: Tensor, norm: Any) -> Tensor:
        return norm.weight * x * (x.square().mean(-1, keepdim=True) + own.config.layer_norm_epsilon).rsqrt()

    def whole(oldest_first: bool) -> Tensor:
        x = own.backbone.embeddings(IDS)
        for i, block in enumerate(own.backbone.layers):
            m, out = block.mixer, []
            window, h = (file[f"backbone.layers.{i}.mixer.hook.{name}"].expand(2, -1, -1) for name in ("conv", "ssm"))
            window = window if oldest_first else window.flip(-1)
            for t in range(IDS.shape[1]):
                u, z = (normed(x[:, t], block.norm) @ m.in_proj.weight.T).chunk(2, -1)
                window = torch.cat([window[..., -(size - 1) :], u[..., None]], -1)
                u = nn.functional.silu((window * m.conv1d.weight[:, 0]).sum(-1) + m.conv1d.bias)
                low, B, C = (u @ m.x_proj.weight.T).split([m.time_step_rank, m.ssm_state_size, m.ssm_state_size], -1)
                dt = nn.functional.softplus(low @ m.dt_proj.weight.T + m.dt_proj.bias)[..., None]
                h = (-dt * m.A_log.exp()).exp() * h + dt * u[..., None] * B[:, None]
                out.append((((h * C[:, None]).sum(-1) + m.D * u) * nn.functional.silu(z)) @ m.out_proj.weight.T)
            x = x + torch.stack(out, 1)
        return (normed(x, own.backbone.norm_f) @ own.lm_head.weight.T).detach()

    assert relative(whole(True).float(), expected) < CLOSE and relative(whole(False).float(), expected) > 1e-3


@pytest.mark.parametrize("name", ["Mamba2ForCausalLM", "BambaForCausalLM", "Zamba2ForCausalLM"])
def test_merged_weights_are_a_plain_checkpoint(name: str, tmp_path: Path) -> None:
    """Which the library loads without this project: the adapted function, bit for bit."""
    sdt = SDT(select(score("random", host_model(name)), 2, 2))
    model, handle = adapted(name, Combined(parts=(LoRA(("out_proj",), rank=2), sdt)))
    expected, base = logits(model), logits(host_model(name))
    handle.merge()
    model.save_pretrained(str(tmp_path))
    plain = getattr(transformers, name).from_pretrained(str(tmp_path)).eval()
    for module in (m for m in plain.modules() if hasattr(m, "time_step_limit")):
        module.time_step_limit = first_mixer(model).time_step_limit
    assert torch.equal(logits(plain), expected) and relative(base, expected) > 1e-3


class TestRefused:
    def test_offloaded_weights(self) -> None:
        with pytest.raises(InvalidInput, match="is offloaded or empty; load the whole model onto one device first"):
            apply(host_model("MambaForCausalLM").to("meta"), InitialState())

    def test_unknown_models(self) -> None:
        config = transformers.GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=2, n_positions=8)
        with pytest.raises(InvalidInput, match="GPT2LMHeadModel has no mixer that is known here"):
            apply(transformers.GPT2LMHeadModel(config), InitialState())
        with pytest.raises(InvalidInput, match="takes no prompt tokens"):
            apply(transformers.GPT2LMHeadModel(config), Prompt(tokens=1))

    def test_other_activations(self) -> None:
        with pytest.raises(InvalidInput, match="activation 'gelu'; methods on states need 'silu'"):
            apply(host_model("MambaForCausalLM", hidden_act="gelu"), InitialState())

    @pytest.mark.parametrize("name", ["MambaForCausalLM", "BambaForCausalLM"])
    def test_a_prompt_on_what_is_no_language_model(self, name: str) -> None:
        body = host_model(name).base_model
        with pytest.raises(InvalidInput, match=r"Model takes no prompt tokens; use a language model"):
            apply(body, Prompt(tokens=2))
        with pytest.raises(InvalidInput, match=r"Sequential takes no prompt tokens; use a language model"):
            apply(nn.Sequential(body), Prompt(tokens=2))
        assert apply(body, InitialState()).n_trainable

    def test_a_second_method(self) -> None:
        model, _ = adapted("MambaForCausalLM", InitialState())
        with pytest.raises(InvalidInput, match="already carries initial_state"):
            apply(model, StateOffset())

    def test_assisted_generation(self) -> None:
        model, _ = adapted("MambaForCausalLM", InitialState())
        cache = transformers.DynamicCache(config=model.config)
        for layer in cache.layers:
            layer.activate_past_recording()
        with pytest.raises(InvalidInput, match="assisted generation rolls states back"):
            model(IDS, cache_params=cache, use_cache=True)

    def test_tuples(self) -> None:
        model, _ = adapted("MambaForCausalLM", Prompt(tokens=1))
        with pytest.raises(InvalidInput, match="leave return_dict out"):
            model(IDS, return_dict=False)

    def test_a_mixer_is_given_back_after_a_mistake(self) -> None:
        model = host_model("MambaForCausalLM")
        with pytest.raises(InvalidInput, match="both set initial_state"):
            apply(model, Combined(parts=(InitialState(), InitialState())))
        assert not any(taken_over(m) for m in model.modules()) and mixer_of(first_mixer(model)).hook is None
