"""What people put around a model of transformers: compilation, device maps, processes, static caches, number formats."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch
import transformers
from host_checks import IDS, adapted, cached_logits, logits, randomise, relative
from torch import distributed, nn

from empirics.errors import CheckpointError, InvalidInput
from empirics.hosts import prompting
from empirics.hosts.loading import load_host
from empirics.hosts.takeover import mixer_of
from empirics.hosts.tiny import CONFIGS, PURE, host_model
from empirics.methods import (
    AdditionalScan,
    BitFit,
    Combined,
    DoRA,
    Full,
    InitialState,
    LoRA,
    Prefix,
    Prompt,
    StateOffset,
    apply,
    compile_prefix,
    load,
)  # fmt: skip

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*falling back.*"),
]
METHODS: dict[str, Any] = {
    "window": InitialState(conv=True),
    "offset": StateOffset(),
    "scan": AdditionalScan(states=2),
    "prefix": Prefix(tokens=2),
    "prompt": Prompt(tokens=2),
    "lora": LoRA(rank=2),
}
STATES = {name: config for name, config in METHODS.items() if name != "lora"}  # with LoRA the forward pass is the library's own
SOME = ("MambaForCausalLM", "BambaForCausalLM")
OPTIONS = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
every_method = pytest.mark.parametrize("config", METHODS.values(), ids=METHODS)


# --- torch.compile ---


@every_method
@pytest.mark.parametrize("name", SOME)
def test_a_compiled_model_follows_the_method(name: str, config: Any, tmp_path: Path) -> None:
    """Put on after the first call, on the wrapper; taken off again; and its file fits the plain model."""
    torch._dynamo.reset()
    model = host_model(name)
    compiled = torch.compile(model, backend="eager")
    base = logits(compiled)
    handle = apply(compiled, config)
    assert handle.model is model
    randomise(handle)
    expected = logits(model)
    assert relative(logits(compiled), expected) < 1e-5 < 1e-3 < relative(expected, base)
    handle.save(tmp_path)
    other = host_model(name)
    load(torch.compile(other, backend="eager"), tmp_path)
    assert torch.equal(logits(other), expected)
    handle.remove()
    assert relative(logits(compiled), base) < 1e-5


# --- several devices and processes ---


@pytest.fixture
def process(tmp_path: Path) -> Any:
    """A group of one process."""
    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_methods_go_on_before_the_wrapper(process: Any, tmp_path: Path) -> None:
    from torch.distributed.fsdp import fully_shard

    for wrapped in (nn.DataParallel(host_model("MambaForCausalLM")), nn.parallel.DistributedDataParallel(host_model(SOME[1]))):
        with pytest.raises(InvalidInput, match="on the model itself, then wrap it") as refused:
            apply(wrapped, InitialState())
        assert "\n" not in str(refused.value) and type(wrapped).__name__ in str(refused.value)
    sharded = host_model("MambaForCausalLM")
    fully_shard(sharded)
    with pytest.raises(InvalidInput, match="is sharded over processes; apply or load the method first, then shard"):
        apply(sharded, LoRA(rank=2))

    model = host_model("MambaForCausalLM")
    handle = apply(model, Combined(parts=(LoRA(rank=2), InitialState(conv=True))))
    parallel = nn.parallel.DistributedDataParallel(model)
    parallel(IDS, labels=IDS).loss.backward()
    gradients = {n: p.grad.clone() for n, p in handle.trainable().items() if p.grad is not None}
    assert gradients.keys() == handle.trainable().keys()
    randomise(handle)
    handle.save(tmp_path / "adapter")
    other = host_model("MambaForCausalLM")
    load(other, tmp_path / "adapter")
    assert torch.equal(logits(other), logits(model))
    with pytest.raises(InvalidInput, match="then wrap it"):
        load(nn.DataParallel(host_model("MambaForCausalLM")), tmp_path / "adapter")


@every_method
@pytest.mark.parametrize("name", [*SOME, "FalconMambaForCausalLM", "Zamba2ForCausalLM", "FalconH1ForCausalLM"])
def test_hooks_of_a_device_map_stay(name: str, config: Any) -> None:
    """accelerate's hooks sit where a forward pass is replaced: they run before, under and after a method."""
    hooks = pytest.importorskip("accelerate.hooks")
    calls: list[nn.Module] = []

    class Counting(hooks.ModelHook):
        def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            calls.append(module)
            return args, kwargs

    def counted(model: nn.Module) -> int:
        calls.clear()
        logits(model)
        return len(calls)

    reference, other = adapted(name, config)
    model = host_model(name)
    places = [model, *(m for m in model.modules() if mixer_of(m) is not None)]
    plain = logits(model)
    for module in places:
        hooks.add_hook_to_module(module, Counting())
    assert counted(model) == len(places) > 1
    handle = apply(model, config)
    handle.set_values(other.values())
    assert relative(logits(model), logits(reference)) < 1e-6
    assert counted(model) == len(places)
    twin = copy.deepcopy(handle)
    handle.remove()
    assert torch.equal(logits(model), plain) and counted(model) == len(places)
    assert relative(logits(twin.model), logits(reference)) < 1e-6

    handle = apply(model, config)  # hooks that come and go while it is on
    for module in places:
        hooks.remove_hook_from_module(module)
    assert counted(model) == 0
    handle.set_values(other.values())
    assert relative(logits(model), logits(reference)) < 1e-6
    for module in places:
        hooks.add_hook_to_module(module, Counting())
    handle.remove()
    assert torch.equal(logits(model), plain) and counted(model) == len(places)


def test_compiling_a_prompt_keeps_hooks() -> None:
    hooks = pytest.importorskip("accelerate.hooks")
    model = host_model("MambaForCausalLM")
    for mixer in (m for m in model.modules() if mixer_of(m) is not None):
        hooks.add_hook_to_module(mixer, hooks.ModelHook())
    handle = apply(model, Prompt(tokens=3))
    expected = logits(model)
    compiled = compile_prefix(handle)
    assert relative(logits(model), expected) < 1e-5
    compiled.remove()
    assert torch.equal(logits(model), logits(host_model("MambaForCausalLM")))


@pytest.mark.parametrize("config", [*METHODS.values(), DoRA(rank=2), Full(("A_log",))], ids=[*METHODS, "dora", "full"])
@pytest.mark.parametrize("name", SOME)
def test_offloaded_weights_are_refused_in_one_line(name: str, config: Any, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    host_model(name).save_pretrained(str(tmp_path / "model"))  # type: ignore[operator]
    inside = "backbone" if name in PURE else "model"
    parts = [n for n, _ in getattr(host_model(name), inside).named_children() if n != "layers"]
    places = {"lm_head": "cpu", **{f"{inside}.{part}": "cpu" for part in parts}}
    places |= {f"{inside}.layers.0": "disk", f"{inside}.layers.1": "cpu"}
    model = getattr(transformers, name).from_pretrained(
        str(tmp_path / "model"), device_map=places, offload_folder=str(tmp_path / "off")
    )
    before = logits(model)
    with pytest.raises(InvalidInput, match="is offloaded or empty; load the whole model onto one device first") as refused:
        apply(model, config)
    assert "\n" not in str(refused.value) and torch.equal(logits(model), before)


# --- caches of a fixed size, and masks ---


@every_method
@pytest.mark.parametrize("name", SOME)
def test_static_caches_and_pieces(name: str, config: Any) -> None:
    model, _ = adapted(name, config)
    options: dict[str, Any] = OPTIONS | {"attention_mask": torch.ones_like(IDS)}
    expected = model.generate(IDS, **options).tolist()
    fixed = options | {"cache_implementation": "static", "disable_compile": True}
    if isinstance(config, Prompt) and name not in PURE:
        with pytest.raises(InvalidInput, match="a static cache has no room for a prompt's tokens"):
            model.generate(IDS, **fixed)
    else:
        assert model.generate(IDS, **fixed).tolist() == expected
        assert model.generate(IDS, **fixed).tolist() == expected  # the cache is kept and emptied
    if name not in PURE:  # whose classes do not read a prompt in pieces
        assert model.generate(IDS, prefill_chunk_size=4, **options).tolist() == expected


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in PURE])
def test_a_prompt_in_the_cache_of_an_earlier_call_is_not_counted_as_tokens(name: str) -> None:
    """generate left out as many of the new tokens; states and prefixes are no tokens, and go on."""
    model, handle = adapted(name, Prompt(tokens=2))
    before = {"attention_mask": torch.ones_like(IDS[:1, :4]), "return_dict_in_generate": True, **OPTIONS}
    turn = model.generate(IDS[:1, :4], **before)
    whole = torch.cat([turn.sequences, IDS[:1, 4:]], 1)
    after = {"attention_mask": torch.ones_like(whole), **OPTIONS}
    with pytest.raises(InvalidInput, match=r"holds 9 tokens, the prompt's 2 among them, and inputs begin at 9: generate takes"):
        model.generate(whole, past_key_values=turn.past_key_values, **after)
    assert model.generate(whole, **after).tolist() == model.generate(whole, use_cache=False, **after).tolist()
    handle.remove()
    if name == "JambaForCausalLM":  # whose own parallel pass starts from zeros with a cache
        return
    apply(model, Prefix(tokens=2))
    turn = model.generate(IDS[:1, :4], **before)
    whole = torch.cat([turn.sequences, IDS[:1, 4:]], 1)
    expected = model.generate(whole, use_cache=False, **after).tolist()
    assert model.generate(whole, past_key_values=turn.past_key_values, **after).tolist() == expected


def test_a_mask_that_is_no_row_of_ones_and_zeros_is_refused_with_a_prompt() -> None:
    model, _ = adapted("BambaForCausalLM", Prompt(tokens=2))
    with pytest.raises(InvalidInput, match=r"attention_mask has shape \(2, 1, 9, 9\); with a prompt it has to be \(B, L\)"):
        logits(model, attention_mask=torch.zeros(2, 1, 9, 9))


@pytest.mark.parametrize("name", ["BambaForCausalLM", "JambaForCausalLM"])
def test_labels_that_are_shifted_already(name: str) -> None:
    model, _ = adapted(name, Prompt(tokens=2))
    shifted = torch.cat([IDS[:, 1:], torch.full((2, 1), -100)], 1)
    expected = model(IDS, labels=IDS).loss
    assert torch.allclose(model(IDS, labels=IDS, shift_labels=shifted).loss, expected, atol=1e-6)
    shifted[:, 3] = 5
    assert not torch.allclose(model(IDS, labels=IDS, shift_labels=shifted).loss, expected, atol=1e-3)


@pytest.mark.parametrize("config", STATES.values(), ids=STATES)
@pytest.mark.parametrize("name", CONFIGS)
def test_sequences_shorter_than_the_convolution(name: str, config: Any) -> None:
    model, _ = adapted(name, config)
    expected = logits(model)[:1]
    for length in (1, 2, 3):
        assert relative(logits(model, IDS[:1, :length]), expected[:, :length]) < 3e-6
        assert relative(cached_logits(model, IDS[:1], first=length), expected) < 3e-6


@pytest.mark.parametrize("name", CONFIGS)
def test_which_classes_hand_packing_to_their_mixers(name: str) -> None:
    """What docs/models.md says: the others drop seq_idx, so that the packed sequences are one."""
    model, _ = adapted(name, InitialState(conv=True))
    numbers = torch.tensor([[0] * 4 + [1] * 5], dtype=torch.int32)
    states: list[torch.Tensor] = []
    mixer = next(m for m in model.modules() if mixer_of(m) is not None)
    mixer.register_forward_hook(lambda _, given, options, out: states.append(out), with_kwargs=True)
    logits(model, IDS[:1], seq_idx=numbers)
    logits(model, IDS[:1])
    handed_on = relative(states[0], states[1]) > 1e-3
    assert handed_on == (name not in (*PURE, "JambaForCausalLM"))
    if handed_on:  # the second sequence starts anew
        logits(model, IDS[:1, 4:])
        assert relative(states[0][:, 4:], states[2]) < 1e-5


LENGTHS = (1, 2, 4, 2)
PACKED: dict[str, torch.Tensor] = {
    "seq_idx": torch.repeat_interleave(torch.arange(4, dtype=torch.int32), torch.tensor(LENGTHS))[None],
    "position_ids": torch.cat([torch.arange(n) for n in LENGTHS])[None],
}


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in (*PURE, "JambaForCausalLM")])
@pytest.mark.parametrize("config", [c for c in STATES.values() if c.name != "prompt"], ids=lambda config: config.name)
def test_a_packed_row_is_its_sequences(name: str, config: Any) -> None:
    """Through mixers and attention, shorter than the convolution too. The attention of Granite-4-H hears of neither option."""
    model, _ = adapted(name, config)
    apart = torch.cat([logits(model, ids, use_cache=False) for ids in IDS[:1].split(LENGTHS, dim=1)], 1)
    packed = logits(model, IDS[:1], use_cache=False, **PACKED)
    assert (relative(packed, apart) < 1e-5) == (name != "GraniteMoeHybridForCausalLM")
    assert relative(logits(model, IDS[:1], use_cache=False), apart) > 1e-3


@pytest.mark.parametrize("name", SOME)
def test_a_prompt_on_a_packed_row_is_refused(name: str) -> None:
    """Only the first sequence would get it; positions that begin again behind padding are no packing."""
    model, _ = adapted(name, Prompt(tokens=2))
    for option, value in (*PACKED.items(), ("cu_seq_lens_q", torch.tensor([0, 4, 9], dtype=torch.int32))):
        with pytest.raises(InvalidInput, match=f"{option} packs several sequences into a row"):
            logits(model, IDS[:1], **{option: value})
    mask = torch.ones_like(IDS)
    mask[0, :3] = 0
    places = (mask.cumsum(1) - 1).masked_fill(mask == 0, 1)
    assert relative(logits(model, IDS, attention_mask=mask, position_ids=places)[:1, 3:], logits(model, IDS[:1, 3:])) < 1e-5


def test_the_positions_of_one_token_are_not_read() -> None:
    """mamba-ssm's generate records a step, and what reads a value ends the recording; a tensor on ``meta`` has none to read."""
    prompting._refuse_packing({}, None, torch.zeros(2, 1, dtype=torch.long, device="meta"))
    with pytest.raises((RuntimeError, NotImplementedError)):
        prompting._refuse_packing({}, None, torch.zeros(2, 2, dtype=torch.long, device="meta"))


# --- number formats ---


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CONFIGS)
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    """The same values as in float32 up to the format, in one piece and token by token; the trained tensors stay in float32."""
    size, moved = 0.06 if dtype == torch.bfloat16 else 0.01, []
    for config in STATES.values():
        model = host_model(name).to(dtype)
        handle = apply(model, config)
        randomise(handle)
        assert all(p.dtype == torch.float32 for p in handle.trainable().values())
        wide = host_model(name).to(dtype).float()
        base = logits(wide)
        apply(wide, config).set_values(handle.values())
        expected = logits(wide)
        for found in (logits(model), cached_logits(model)):
            assert relative(found.float(), expected) < size
        moved.append(relative(base, expected))
    assert max(moved) > 2 * size  # so that values that are not there would be seen


@pytest.mark.parametrize("name", CONFIGS)
def test_autocast(name: str) -> None:
    for config in STATES.values():
        model = host_model(name)
        handle = apply(model, config)
        randomise(handle)
        expected = logits(model)
        model.train()
        with torch.autocast("cpu", torch.bfloat16):
            out = model(IDS, labels=IDS)
        out.loss.backward()
        assert 1e-4 < relative(out.logits.detach().float(), expected) < 0.06  # autocast was at work
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in handle.trainable().values())


@pytest.mark.parametrize(("name", "reentrant"), [*((name, False) for name in CONFIGS), *((name, True) for name in SOME)])
def test_activation_checkpointing(name: str, reentrant: bool) -> None:
    """The same gradients, also under LoRA's dropout: the masks are drawn again."""
    for config in (*METHODS.values(), LoRA(rank=2, dropout=0.3)):
        model, handle = adapted(name, config)
        model.train()
        found = []
        for again in (False, True):
            if again:
                model.gradient_checkpointing_enable({"use_reentrant": reentrant})
                if reentrant:
                    model.enable_input_require_grads()
            model.zero_grad()
            torch.manual_seed(3)
            model(IDS, labels=IDS, use_cache=False).loss.backward()
            found.append({n: p.grad.clone() for n, p in handle.trainable().items()})
        for tensor, gradient in found[0].items():
            assert torch.allclose(found[1][tensor], gradient, rtol=1e-6, atol=1e-7), tensor


# --- files ---


@pytest.mark.parametrize("name", SOME)
def test_a_folder_that_was_written_under_a_method_is_no_model(name: str, tmp_path: Path) -> None:
    """transformers loads it, and draws the adapted weights at random."""
    model, handle = adapted(name, LoRA(rank=2))
    model.save_pretrained(str(tmp_path / "wrong"))
    with pytest.raises(CheckpointError, match="was saved while a method was on the model; merge or remove it first") as refused:
        load_host(str(tmp_path / "wrong"))
    assert "\n" not in str(refused.value)
    handle.merge()
    model.save_pretrained(str(tmp_path / "right"))
    assert torch.equal(logits(load_host(str(tmp_path / "right"))), logits(model))


@pytest.mark.parametrize("name", ["MambaForCausalLM", "Mamba2ForCausalLM", "Zamba2ForCausalLM"])
def test_tied_weights_stay_tied(name: str, tmp_path: Path) -> None:
    for config in (*METHODS.values(), Full()):
        model: Any = host_model(name, tie_word_embeddings=True)
        model.tie_weights()
        handle = apply(model, config)
        randomise(handle)
        expected = logits(model)
        handle.save(tmp_path / "adapter")
        other: Any = host_model(name, tie_word_embeddings=True)
        other.tie_weights()
        load(other, tmp_path / "adapter")
        assert torch.equal(logits(other), expected)
        assert other.get_input_embeddings().weight is other.get_output_embeddings().weight


@pytest.mark.parametrize("config", [Prompt(tokens=2), InitialState(), BitFit()], ids=["prompt", "initial_state", "bitfit"])
def test_a_model_is_pickled_whole_only_where_that_keeps_its_function(config: Any) -> None:
    """A pickle names the replaced forward pass; with a prompt the loaded model ran the class's own, without a word."""
    model = host_model("MambaForCausalLM")
    base, handle = logits(model), apply(model, config)
    randomise(handle)
    adapted = logits(model)
    if config.name == "bitfit":
        assert torch.equal(logits(pickle.loads(pickle.dumps(model))), adapted)
    else:
        with pytest.raises(InvalidInput, match=r"not pickled whole: save the method with handle.save\(folder\)"):
            pickle.dumps(model)
        assert torch.equal(logits(copy.deepcopy(model)), adapted)
    handle.remove()
    assert torch.equal(logits(pickle.loads(pickle.dumps(model))), base)
