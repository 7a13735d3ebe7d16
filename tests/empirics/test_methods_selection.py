"""Scores, selections and SDT on a small selective mixer whose entries can be pointed at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
import torch
import torch.nn.functional as F
from torch import nn

from empirics.errors import CheckpointError, InvalidInput, UnknownName
from empirics.methods import SDT, LoRA, Scores, SDTLoRA, Selection, apply, load, method_config, precision_recall, select
from empirics.methods.scores import SCORES, Moved, score, warm_up
from empirics.oracle import selective_scan

torch.set_num_threads(1)
WIDTH, STATES, RANK = 6, 3, 2


class Mixer(nn.Module):
    """The tensors of a Mamba-1 mixer around the oracle's scan, without gate and convolution in the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.in_proj = nn.Linear(4, 2 * WIDTH, bias=False)
        self.conv1d = nn.Conv1d(WIDTH, WIDTH, 4, groups=WIDTH)
        self.x_proj = nn.Linear(WIDTH, RANK + 2 * STATES, bias=False)
        self.dt_proj = nn.Linear(RANK, WIDTH)
        self.out_proj = nn.Linear(WIDTH, 4, bias=False)
        self.A_log = nn.Parameter(torch.arange(1.0, STATES + 1).log().repeat(WIDTH, 1))
        self.hook = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u = self.in_proj(F.rms_norm(x, x.shape[-1:]))[..., :WIDTH].transpose(1, 2)
        dt, B, C = (u.transpose(1, 2) @ self.x_proj.weight.T).transpose(1, 2).split([RANK, STATES, STATES], dim=1)
        dt = F.softplus(self.dt_proj(dt.transpose(1, 2))).transpose(1, 2)
        y: Any = selective_scan(u, dt, -torch.exp(self.A_log), B, C)
        return self.out_proj(y.transpose(1, 2))


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    model: Any = nn.Sequential(Mixer(), Mixer()).double()
    with torch.no_grad():
        for mixer in model:
            mixer.in_proj.weight.mul_(3)
            mixer.x_proj.weight.mul_(3)
            mixer.out_proj.weight.mul_(3)
    return model


X = torch.randn(5, 7, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
SUPPORT = Selection.of({"0": [(1, 2), (4, 0)], "1": [(3, 1)]})


def teacher_loss(model: Any) -> Callable[[Any, torch.Tensor], torch.Tensor]:
    """Distance from a copy of the model whose A_log differs on SUPPORT only."""
    teacher: Any = nn.Sequential(Mixer(), Mixer()).double()
    teacher.load_state_dict(model.state_dict())
    with torch.no_grad():
        for name, d, n in SUPPORT.as_set():
            teacher[int(name)].A_log[d, n] += 1.5
        target = teacher(X)
    return lambda m, x: (m(x) - target).square().mean()


def test_select_keeps_the_best() -> None:
    scores = Scores.of_states(torch.tensor([[1.0, 5, 2], [9, 0, 0], [3, 3, 3]]))
    assert scores.channels.tolist() == [8, 9, 9]
    assert select({"m": scores}, channels=2, states=1).pairs == {"m": ((1, 0), (2, 0))}  # ties: the lower index
    assert select({"m": scores}, channels=1 / 3, states=2 / 3).pairs == {"m": ((1, 0), (1, 1))}
    assert len(select({"m": scores}, channels=1.0, states=1.0)) == 9
    own = Scores(scores.states, torch.tensor([1.0, 0, 0]))
    assert select({"m": own}, channels=1, states=2).pairs == {"m": ((0, 1), (0, 2))}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0, "states": 1}, "channels is 0: nothing would be trained"),
        ({"channels": 1, "states": 0.0}, "states is 0.0: nothing"),
        ({"channels": 1.5, "states": 1}, "share lies in"),
        ({"channels": 1, "states": 4}, "there are only 3"),
    ],
)
def test_select_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        select({"m": Scores.of_states(torch.ones(2, 3))}, **options)


def test_empty_or_unusable_scores() -> None:
    with pytest.raises(InvalidInput, match="no scores"):
        select({}, 1, 1)
    with pytest.raises(InvalidInput, match="NaN"):
        select({"m": Scores.of_states(torch.tensor([[float("nan")]]))}, 1, 1)
    with pytest.raises(InvalidInput, match="selection is empty"):
        Selection.of({"m": []})
    with pytest.raises(InvalidInput, match="counted from 0"):
        Selection.of({"m": [(0, -1)]})


def test_precision_and_recall() -> None:
    chosen = Selection.of({"0": [(1, 2), (0, 0), (5, 5), (4, 0)]})
    assert precision_recall(chosen, SUPPORT) == (2 / 4, 2 / 3)


def test_scores_of_a_known_move() -> None:
    before, after = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    moved = {"m": Moved(before, after, torch.tensor([0.5], dtype=torch.float64), 2)}
    old, new = torch.exp(torch.tensor(-0.5)), torch.exp(-0.5 * torch.tensor([1.0, -2.0]).exp())
    expected = {
        "change": (new - old).abs(),
        "change_log_A": torch.tensor([1.0, 2.0]),
        "released": torch.tensor([1.0, 4.0]),
        "magnitude": new + old,
    }
    for name, values in expected.items():
        assert torch.allclose(score(name, nn.Identity(), moved=moved)["m"].states[0].float(), values), name


def test_warm_up_and_scores_leave_the_model_alone(model: Any) -> None:
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    loss = teacher_loss(model)
    moved = warm_up(model, loss, [X] * 20, learning_rate=0.02)
    assert all(torch.equal(p, before[n]) and p.requires_grad for n, p in model.named_parameters())
    assert all((m.after != m.before).any() for m in moved.values())
    scores = {name: score(name, model, moved=moved, loss=loss, batches=[X], support=SUPPORT, channels=2) for name in SCORES}
    assert all(torch.equal(p, before[n]) and p.requires_grad and p.grad is None for n, p in model.named_parameters())
    for name, by_mixer in scores.items():
        chosen = select(by_mixer, channels=2, states=1)
        assert {mixer: len(pairs) for mixer, pairs in chosen.layers} == {"0": 2, "1": 2}, name
    assert precision_recall(select(scores["oracle"], channels=2, states=1), SUPPORT) == (3 / 4, 1)


@pytest.mark.parametrize("layer", ["Mamba1", "Mamba2"])
def test_a_warm_up_in_half_precision_moves_what_it_would_round_away(tiny: Any, layer: str) -> None:
    model = tiny(layer, torch.bfloat16)
    with torch.no_grad():
        for mixer in model.mixers:
            mixer.A_log.fill_(3.0)  # whose neighbours in bfloat16 are 1/64 away
    ids = torch.randint(0, 19, (2, 11), generator=torch.Generator().manual_seed(0))

    def loss(m: nn.Module, batch: Any) -> torch.Tensor:
        return m(batch).float().square().mean()

    moved = warm_up(model, loss, [ids] * 3, learning_rate=1e-3)
    for mixer, m in zip(model.mixers, moved.values(), strict=True):
        assert 0 < (m.after - m.before).abs().max() < 1 / 128 and m.dt.dtype == torch.float32
        assert mixer.A_log.dtype == torch.bfloat16 and (mixer.A_log == 3).all() and mixer.A_log.grad is None
    assert all((s.states > 0).any() for s in score("change", model, moved=moved).values())
    ablated = score("ablation", model, moved=moved, loss=loss, batches=[ids], channels=1)
    assert all(torch.isfinite(s.states).all() for s in ablated.values())


def test_gradient_is_that_of_the_loss(model: Any) -> None:
    loss = teacher_loss(model)
    scores = score("gradient", model, loss=loss, batches=[X, X])["0"].states
    loss(model, X).backward()
    assert torch.allclose(scores, model[0].A_log.grad.abs())


def test_ablation_is_the_change_of_the_loss(model: Any) -> None:
    loss = teacher_loss(model)
    moved = {
        name: Moved(m.A_log.detach().clone(), m.A_log.detach() + 0.3, torch.ones(WIDTH), STATES)
        for name, m in model.named_children()
    }
    scores = score("ablation", model, moved=moved, loss=loss, batches=[X])["1"]
    with torch.no_grad():
        for name, m in model.named_children():
            m.A_log.copy_(moved[name].after)
        reached = loss(model, X)
        model[1].A_log[3, 1] -= 0.3
        assert float(scores.states[3, 1]) == pytest.approx(float(loss(model, X) - reached), rel=1e-9)
        model[1].A_log[3] = moved["1"].before[3]
        assert float(scores.channels[3]) == pytest.approx(float(loss(model, X) - reached), rel=1e-9)


def test_random_follows_the_seed(model: Any) -> None:
    first, again, other = (score("random", model, seed=s)["0"].states for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_score_refuses(model: Any) -> None:
    with pytest.raises(UnknownName, match="did you mean 'gradient'"):
        score("gradeint", model)
    with pytest.raises(InvalidInput, match="'change' needs moved"):
        score("change", model)
    with pytest.raises(InvalidInput, match="'gradient' needs batches"):
        score("gradient", model, loss=teacher_loss(model))
    with pytest.raises(UnknownName, match="mixer '7'"):
        score("oracle", model, support=Selection.of({"7": [(0, 0)]}))
    with pytest.raises(InvalidInput, match="no batch"):
        warm_up(model, teacher_loss(model), [])
    with pytest.raises(InvalidInput, match="loss is nan"):
        warm_up(model, lambda m, x: m(x).sum() * float("nan"), [X])
    with pytest.raises(InvalidInput, match="learning_rate"):
        warm_up(model, teacher_loss(model), [X], learning_rate=0)
    with pytest.raises(InvalidInput, match="no mixer"):
        score("random", nn.Linear(2, 2))


def run(model: nn.Module) -> torch.Tensor:
    """Output without autograd."""
    with torch.no_grad():
        return model(X)


# Entries by hand: x_proj is (2 + 3 + 3, 6); B is rows 2..4, C rows 5..7.
ENTRIES = {
    "columns": {(r, c) for c in (1, 4) for r in range(2, 8)},
    "entries": {(4, 1), (7, 1), (2, 4), (5, 4)},
    "none": set(),
}


@pytest.mark.parametrize("projection", ENTRIES)
def test_sdt_moves_the_chosen_entries_only(model: Any, projection: Any, tmp_path: Path) -> None:
    model.requires_grad_(False)  # torch.matmul rounds differently when an argument requires a gradient
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    expected = run(model)
    handle = apply(model, SDT(selection=SUPPORT, projection=projection))
    assert torch.equal(run(model), expected)
    extra = {"columns": 2 * STATES * 3, "entries": 2 * 3, "none": 0}[projection]
    assert handle.n_trainable == 3 + extra
    optimiser = torch.optim.AdamW(handle.trainable().values(), lr=0.1, weight_decay=0.1)
    model(X).square().sum().backward()
    optimiser.step()
    handle.save(tmp_path)
    output = run(model)
    handle.merge()
    assert torch.equal(run(model), output)
    moved = {n: {tuple(i) for i in (p != before[n]).nonzero().tolist()} for n, p in model.named_parameters()}
    assert moved["0.A_log"] == {(1, 2), (4, 0)} and moved["1.A_log"] == {(3, 1)}
    assert moved["0.x_proj.weight"] == ENTRIES[projection]
    assert all(not entries for n, entries in moved.items() if not n.endswith(("A_log", "x_proj.weight")))

    with pytest.raises(CheckpointError, match="other weights"):
        load(model, tmp_path)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(before[name])
    again = load(model, tmp_path)
    assert again.config == SDT(selection=SUPPORT, projection=projection)
    assert torch.equal(run(model), output)


def test_sdt_lora(model: Any, tmp_path: Path) -> None:
    model.requires_grad_(False)
    config = SDTLoRA(sdt=SDT(selection=SUPPORT), lora=LoRA(targets=("out_proj", "x_proj"), rank=2))
    expected = run(model)
    handle = apply(model, config)
    assert torch.equal(run(model), expected)
    assert handle.n_trainable == (3 + 2 * STATES * 3) + 2 * 2 * ((WIDTH + 4) + (WIDTH + RANK + 2 * STATES))
    with torch.no_grad():
        for parameter in handle.trainable().values():
            parameter.add_(0.1)
    output = run(model)
    handle.save(tmp_path)
    handle.remove()
    assert torch.equal(run(model), expected)
    again = load(model, tmp_path)
    assert again.config == config and torch.equal(run(model), output)
    again.merge()
    assert torch.equal(run(model), output)


def test_sdt_refuses(model: Any) -> None:
    with pytest.raises(InvalidInput, match=r"holds \(6, 0\), but it has 6 channels and 3 states"):
        apply(model, SDT(selection=Selection.of({"0": [(6, 0)]})))
    with pytest.raises(UnknownName, match="mixer '3'"):
        apply(model, SDT(selection=Selection.of({"3": [(0, 0)]})))
    with pytest.raises(UnknownName, match="did you mean 'columns'"):
        SDT(selection=SUPPORT, projection="column")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="needs a selection"):
        method_config("sdt")
    with pytest.raises(InvalidInput, match="needs the option sdt"):
        method_config("sdt_lora")
    assert method_config("sdt", selection={"0": [[1, 2], [4, 0]], "1": [[3, 1]]}) == SDT(selection=SUPPORT)
