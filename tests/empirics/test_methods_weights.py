"""Methods that change weights, on small modules whose every number can be checked by hand."""

from __future__ import annotations

import copy
import gc
import json
import math
import weakref
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
import torch
from torch import nn

from empirics.errors import CheckpointError, InvalidInput, UnknownName
from empirics.methods import BitFit, Combined, DoRA, Full, Handle, LoRA, apply, count_trainable, load, method_config, method_names
from empirics.methods.adapter_file import DESCRIPTION, VALUES

torch.set_num_threads(1)


class Toy(nn.Module):
    """Two linear layers, a matrix that is no module, and a layer tied to another."""

    def __init__(self, dtype: torch.dtype = torch.float32, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.in_proj = nn.Linear(6, 10, dtype=dtype)
        self.out_proj = nn.Linear(10, 4, bias=False, dtype=dtype)
        self.A_log = nn.Parameter(torch.randn(4, 5, dtype=dtype))
        self.embedding = nn.Embedding(7, 4, dtype=dtype)
        self.lm_head = nn.Linear(4, 7, bias=False, dtype=dtype)
        self.lm_head.weight = self.embedding.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.tanh(torch.tanh(x @ self.in_proj.weight.T + self.in_proj.bias) @ self.out_proj.weight.T)
        return self.lm_head(y @ torch.exp(self.A_log).square().tanh() @ self.A_log.T)


CONFIGS = {
    "lora": LoRA(targets=("in_proj", "out_proj", "A_log"), rank=2, alpha=4),
    "dora": DoRA(targets=("in_proj", "out_proj", "A_log"), rank=2, alpha=4),
    "bitfit": BitFit(),
    "full": Full(),
    "full A_log": Full(targets=("A_log",)),
}
# Counts by hand: rank · (rows + columns) summed over (10, 6), (4, 10), (4, 5), for DoRA with the rows once more.
COUNTS = {
    "lora": 2 * (16 + 14 + 9),
    "dora": 2 * (16 + 14 + 9) + 18,
    "bitfit": 10,
    "full": 60 + 10 + 40 + 20 + 28,
    "full A_log": 20,
}


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(3, 6, generator=torch.Generator().manual_seed(1))


def step(handle: Handle) -> None:
    """One AdamW step with weight decay on a loss that reaches every tensor."""
    optimiser = torch.optim.AdamW(handle.trainable().values(), lr=0.1, weight_decay=0.1)
    handle.model(torch.ones(2, 6, dtype=next(handle.model.parameters()).dtype)).square().sum().backward()
    optimiser.step()


@pytest.mark.parametrize("name", CONFIGS)
def test_start_equals_base(name: str, x: torch.Tensor) -> None:
    model = Toy()
    expected = model(x)
    handle = apply(model, CONFIGS[name])
    assert torch.equal(model(x), expected)
    assert handle.n_trainable == COUNTS[name] == sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", CONFIGS)
def test_only_promised_tensors_move(name: str, x: torch.Tensor) -> None:
    model = Toy()
    handle = apply(model, CONFIGS[name])
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    promised = {id(p) for p in handle.trainable().values()}
    output = model(x)
    step(handle)
    for n, p in model.named_parameters():
        assert torch.equal(p, before[n]) != (id(p) in promised), n
    assert not torch.allclose(model(x), output)


@pytest.mark.parametrize("name", CONFIGS)
def test_save_load_merge_remove(name: str, x: torch.Tensor, tmp_path: Path) -> None:
    model = Toy()
    base = {n: p.detach().clone() for n, p in model.named_parameters()}
    output = model(x).detach()
    handle = apply(model, CONFIGS[name], seed=3)
    step(handle)
    adapted = model(x).detach()
    handle.save(tmp_path / "adapter")

    other = Toy()
    again = load(other, tmp_path / "adapter")
    assert again.config == CONFIGS[name]
    assert torch.equal(other(x), adapted)
    again.merge()
    assert torch.equal(other(x), adapted)
    assert {n for n, _ in other.named_parameters()} == base.keys()
    assert all(p.requires_grad for p in other.parameters())

    handle.remove()
    assert torch.equal(model(x), output)
    assert all(torch.equal(p, base[n]) for n, p in model.named_parameters())
    with pytest.raises(InvalidInput, match="no longer on the model"):
        handle.save(tmp_path / "late")


def test_lora_is_the_formula() -> None:
    model = Toy(dtype=torch.float64)
    base = model.in_proj.weight.detach().clone()
    handle = apply(model, LoRA(targets=("in_proj",), rank=3, alpha=6))
    down, up = handle.trainable()["in_proj.weight.lora_A"], handle.trainable()["in_proj.weight.lora_B"]
    assert down.shape == (3, 6) and up.shape == (10, 3) and down.dtype == torch.float64
    nn.init.normal_(up)
    assert torch.allclose(model.in_proj.weight, base + 2 * up @ down, atol=1e-15)
    assert math.isclose(LoRA(rank=16, alpha=8, use_rslora=True).scale, 2)


def test_dora_keeps_trained_row_lengths() -> None:
    model = Toy(dtype=torch.float64)
    handle = apply(model, DoRA(targets=("in_proj",), rank=3))
    nn.init.normal_(handle.trainable()["in_proj.weight.lora_B"])
    lengths = handle.trainable()["in_proj.weight.lora_magnitude_vector"]
    nn.init.uniform_(lengths, 1, 2)
    assert torch.allclose(model.in_proj.weight.norm(dim=1), lengths, atol=1e-14)


def test_dora_zero_row_stays_zero() -> None:
    model = Toy()
    nn.init.zeros_(model.in_proj.weight[2].detach())
    expected = model.in_proj.weight.detach().clone()
    apply(model, DoRA(targets=("in_proj",), rank=1))
    assert torch.equal(model.in_proj.weight, expected)


@pytest.mark.parametrize("kind", [LoRA, DoRA])
def test_low_precision_base(kind: Any) -> None:
    model = Toy(dtype=torch.bfloat16)
    before = model.in_proj.weight.detach().clone()
    handle = apply(model, kind(targets=("in_proj",), rank=2))
    assert all(p.dtype == torch.float32 for p in handle.trainable().values())
    assert model.in_proj.weight.dtype == torch.bfloat16 and torch.equal(model.in_proj.weight, before)


def test_dropout_only_while_training() -> None:
    model = Toy()
    handle = apply(model, LoRA(targets=("in_proj",), rank=2, dropout=0.5))
    nn.init.normal_(handle.trainable()["in_proj.weight.lora_B"])
    readings = [model.in_proj.weight.detach().clone() for _ in range(8)]
    assert any(not torch.equal(readings[0], r) for r in readings[1:])
    model.eval()
    expected = model.in_proj.weight.detach().clone()
    assert torch.equal(expected, model.in_proj.weight)
    model.train()
    handle.merge()
    assert model.training and torch.equal(model.in_proj.weight, expected)


def test_starting_values_follow_the_seed() -> None:
    def first(seed: int) -> torch.Tensor:
        return apply(Toy(), LoRA(rank=2), seed=seed).values()["in_proj.weight.lora_A"]

    assert torch.equal(first(5), first(5)) and not torch.equal(first(5), first(6))


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (LoRA(targets=("inproj",)), UnknownName, "did you mean 'in_proj'"),
        (LoRA(targets=("in_proj", "conv")), UnknownName, "valid names are A_log"),
        (LoRA(targets=(), rank=1), InvalidInput, "no target"),
        (LoRA(targets=("A_log",), rank=5), InvalidInput, r"rank 5 exceeds the size of A_log \(4, 5\)"),
        (DoRA(targets=("in_proj.bias",), rank=1), InvalidInput, "needs a matrix"),
        (LoRA(targets=("lm_head",), rank=1), InvalidInput, "embedding.weight is tied"),
        (LoRA(targets=("embedding",), rank=1), InvalidInput, "tied to lm_head.weight"),
        (Full(targets=("nothing",)), UnknownName, "nothing"),
    ],
)
def test_refused_on_apply(config: Any, error: type[Exception], message: str, x: torch.Tensor) -> None:
    model = Toy()
    expected = model(x)
    with pytest.raises(error, match=message):
        apply(model, config)
    assert torch.equal(model(x), expected) and not hasattr(model.in_proj, "parametrizations")
    apply(model, BitFit())  # the failed attempt left nothing behind


@pytest.mark.parametrize(
    "options",
    [{"rank": 0}, {"rank": 1.5}, {"rank": True}, {"alpha": math.nan}, {"alpha": 0}, {"alpha": "8"}, {"dropout": 1},
     {"dropout": None}, {"use_rslora": "no"}, {"targets": "in_proj"}],
)  # fmt: skip
def test_refused_options(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(options))):
        LoRA(**options)


def test_names() -> None:
    assert {"lora", "dora", "bitfit", "full"} <= set(method_names())
    assert method_config("lora", rank=2, targets=["A_log"]) == LoRA(rank=2, targets=("A_log",))
    with pytest.raises(UnknownName, match="did you mean 'lora'"):
        method_config("lorra")
    with pytest.raises(UnknownName, match="did you mean 'rank'"):
        method_config("lora", rnk=2)


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda: LoRA(r=8), "peft's r is called rank here"),
        (lambda: LoRA(target_modules=["in_proj"]), "peft's target_modules is called targets here"),
        (lambda: DoRA(lora_alpha=8), "peft's lora_alpha is called alpha here"),
        (lambda: method_config("lora", lora_dropout=0.1), "peft's lora_dropout is called dropout here"),
        (lambda: method_config("prompt", num_virtual_tokens=3), "peft's num_virtual_tokens is called tokens here"),
        (lambda: LoRA(rnk=8), "did you mean 'rank'"),
        (lambda: BitFit(r=8), "unknown option of method bitfit 'r': valid names are none"),
    ],
)
def test_peft_s_names_get_a_hint(call: Any, hint: str) -> None:
    with pytest.raises(UnknownName, match=hint):
        call()


def test_lists_are_taken_for_tuples() -> None:
    assert LoRA(targets=["in_proj"]) == LoRA(targets=("in_proj",)) and hash(LoRA(targets=["in_proj"]))
    assert Full(targets=["A_log"]).targets == ("A_log",)
    assert Combined(parts=[BitFit(), LoRA()]).parts == (BitFit(), LoRA())
    assert method_config("prefix", layers=[0, 1]).layers == (0, 1) == method_config("initial_state", layers=[0, 1]).layers
    with pytest.raises(InvalidInput, match="expected a list or tuple of names"):
        LoRA(targets="in_proj")  # type: ignore[arg-type]
    assert copy.deepcopy(LoRA(rank=3)) == LoRA(rank=3)


def test_a_handle_says_what_it_trains(capsys: pytest.CaptureFixture[str]) -> None:
    model = Toy()
    handle = apply(model, LoRA(rank=2))
    text = "60 of 218 numbers are trained (27.52%), in 4 tensors"
    assert handle.summary() == text and sum(p.numel() for p in model.parameters()) == 218
    handle.print_trainable_parameters()
    assert capsys.readouterr().out == f"{text}\n"
    assert repr(handle) == f"<lora on Toy: {text}>"
    handle.remove()
    assert repr(handle) == "<lora, no longer on Toy>" and " at 0x" not in repr(handle)
    with pytest.raises(InvalidInput, match="no longer on the model"):
        handle.summary()


@pytest.mark.parametrize("name", CONFIGS)
def test_copies_live_apart(name: str) -> None:
    """A copied handle is the copy's; the original and the copy can be trained and removed without each other."""
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    model = Toy()
    plain = model(x)
    handle = apply(model, CONFIGS[name])
    other = copy.deepcopy(handle)
    assert other.model is not model
    for first, second in ((other, handle), (handle, other)):
        first.set_values({n: v + 0.1 for n, v in first.values().items()})
        assert not torch.equal(first.model(x), second.model(x))
        second.set_values(first.values())
        assert torch.equal(first.model(x), second.model(x))
    other.remove()
    assert torch.equal(other.model(x), plain) and not torch.equal(model(x), plain)
    handle.remove()
    assert torch.equal(model(x), plain)


def test_a_copied_model_carries_its_method() -> None:
    model = Toy()
    handle = apply(model, LoRA(rank=2))
    twin = copy.deepcopy(model)
    with pytest.raises(InvalidInput, match=r"already carries lora.*copy the handle, copy.deepcopy\(handle\)"):
        apply(twin, LoRA(rank=2))
    handle.remove()
    x = torch.randn(3, 6)
    assert torch.equal(twin(x), model(x))  # the copy is still whole
    with pytest.raises(InvalidInput, match="already carries lora"):
        apply(twin, BitFit())
    apply(copy.deepcopy(model), BitFit()).remove()


def test_one_method_at_a_time() -> None:
    model = Toy()
    handle = apply(model, BitFit())
    with pytest.raises(InvalidInput, match="already carries bitfit"):
        apply(model, LoRA(rank=2))
    handle.remove()
    assert count_trainable(model, LoRA(rank=2)) == 2 * (16 + 14)
    assert all(p.requires_grad for p in model.parameters())
    with pytest.raises(InvalidInput, match="no bias"):
        apply(nn.Linear(2, 2, bias=False), BitFit())
    with pytest.raises(InvalidInput, match="configuration"):
        apply(model, "lora")  # type: ignore[arg-type]


class TestFiles:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        handle = apply(Toy(), LoRA(rank=2))
        handle.save(tmp_path)
        handle.remove()
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted([VALUES, DESCRIPTION])
        return tmp_path

    def test_other_weights(self, folder: Path) -> None:
        model = Toy(seed=1)
        with pytest.raises(CheckpointError, match="trained on other weights: A_log differs"):
            load(model, folder)
        assert load(model, folder, same_weights=False).n_trainable == 60

    def test_other_model(self, folder: Path) -> None:
        with pytest.raises(CheckpointError, match="another model: this model lacks A_log"):
            load(nn.Sequential(nn.Linear(6, 10)), folder)
        model = Toy()
        model.A_log = nn.Parameter(torch.zeros(4, 6))
        with pytest.raises(CheckpointError, match=r"A_log has shape \[4, 6\] here, \[4, 5\] there"):
            load(model, folder, same_weights=False)

    @pytest.mark.parametrize("name", [VALUES, DESCRIPTION])
    def test_truncated_or_missing(self, folder: Path, name: str) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-40])
        with pytest.raises(CheckpointError, match=r"corrupt|no readable JSON"):
            load(Toy(), folder)
        (folder / name).unlink()
        with pytest.raises(CheckpointError, match="No such file"):
            load(Toy(), folder)

    def test_altered_description(self, folder: Path) -> None:
        description = json.loads((folder / DESCRIPTION).read_text())
        for change, message in (
            ({"format": "other"}, "format 'other'"),
            ({"model": None}, "no 'model'"),
            ({"method": {"name": "lorra"}}, "did you mean 'lora'"),
            ({"method": {"name": ["lora"]}}, "does not know"),
            ({"method": {"name": "lora", "alpha": "x"}}, "does not know"),
            ({"method": {"name": "lora", "dropout": [1]}}, "does not know"),
            ({"method": {"name": "sdt", "selection": {"m": [[1]]}}}, "does not know"),
            ({"method": {"name": "combined", "parts": 3}}, "does not know"),
            ({"model": {"A_log": 3}}, "'model' holds more than"),
            ({"complex": 3}, "'complex' is no list of names"),
            ({"method": {"name": "lora", "rank": 3}}, "has shape"),
            ({"method": {"name": "bitfit"}}, "does not belong|is missing"),
        ):
            (folder / DESCRIPTION).write_text(json.dumps({**description, **change}))
            model = Toy()
            with pytest.raises(CheckpointError, match=message):
                load(model, folder)
            assert count_trainable(model, BitFit()) == 10  # nothing was left on the model

    def test_values_that_diverged(self, folder: Path) -> None:
        handle = apply(Toy(), LoRA(rank=2))
        values = handle.values()
        values["in_proj.weight.lora_A"][0, 0] = math.nan
        with pytest.raises(CheckpointError, match="NaN"):
            handle.set_values(values)


@pytest.mark.parametrize("kind", [LoRA, DoRA])
def test_complex_matrix(kind: Any, tmp_path: Path) -> None:
    model = nn.Module()
    torch.manual_seed(2)
    model.C = nn.Parameter(torch.randn(5, 4, dtype=torch.complex128))
    before = model.C.detach().clone()
    handle = apply(model, kind(targets=("C",), rank=2))
    assert torch.equal(model.C, before)
    assert handle.n_trainable == 2 * 2 * (5 + 4) + (5 if kind is DoRA else 0)
    optimiser = torch.optim.AdamW(handle.trainable().values(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        (model.C - before * 1j).abs().square().sum().backward()
        optimiser.step()
    assert (model.C - before).imag.abs().max() > 0.01
    handle.save(tmp_path)
    trained = model.C.detach().clone()
    handle.remove()
    assert torch.equal(model.C, before)
    again = load(model, tmp_path)
    assert torch.equal(model.C, trained)
    again.remove()
    description = json.loads((tmp_path / DESCRIPTION).read_text())
    (tmp_path / DESCRIPTION).write_text(json.dumps({**description, "complex": ["C.lora_D"]}))
    with pytest.raises(CheckpointError, match="no pair of real and imaginary parts"):
        load(model, tmp_path)


def test_a_parametrisation_of_someone_else_is_kept() -> None:
    model = Toy()
    nn.utils.parametrizations.orthogonal(model.out_proj)
    with pytest.raises(InvalidInput, match=r"out_proj.weight is parametrised already"):
        apply(model, LoRA(rank=2))
    assert not nn.utils.parametrize.is_parametrized(model.in_proj) and nn.utils.parametrize.is_parametrized(model.out_proj)


def test_a_method_does_not_keep_the_model_alive() -> None:
    model = Toy()
    alive = weakref.ref(model)
    handle = apply(model, LoRA(rank=2))
    del model, handle
    gc.collect()
    assert alive() is None
