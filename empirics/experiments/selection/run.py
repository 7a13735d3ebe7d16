"""Scores of channels and states against a planted support: precision, recall and cost, on deep S4 and on Mamba-1.

The target is the frozen model with the decays of known (channel, state) pairs moved and nothing else. A score sees the frozen
model and data of the target, and picks as many pairs as were moved; random picks hit the share that chance gives.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ...errors import UnknownName
from ...methods import Selection, precision_recall, select
from ...methods.geometry import find_mixers, geometry
from ...methods.scores import SCORES, score, warm_up
from ...models import MambaConfig, MambaLM
from ...models.s4 import DeepS4, DeepS4Config
from ...study.comparing import gain
from ...study.config import Strict
from ...study.results import Comparison, Judgement, Metrics, Result
from ...study.runner import Context, limit
from ...study.statistics import interval

KINDS = ("s4", "mamba1")
NEEDS_A_LOG = ("gradient", "ablation")
WARM_UP_ON = {"s4": ("log_A_real", "A_imag", "C"), "mamba1": ("A_log",)}


class Config(Strict):
    """Options.

    Attributes
    ----------
    kinds:
        Models: deep S4, Mamba-1.
    width, layers, states:
        d_model (Mamba-1's channels are twice as many), blocks, states.
    channels, states_each:
        Moved channels of every block, and moved states in each of them.
    shift:
        How far log decays move (and frequencies, in units of π).
    length, batch, steps, learning_rate:
        Of the warm-up.
    scores:
        Rules to compare.
    """

    kinds: list[str] = Field(default=list(KINDS), min_length=1)
    width: int = Field(default=16, ge=2)
    layers: int = Field(default=2, ge=1)
    states: int = Field(default=8, ge=1)
    channels: int = Field(default=4, ge=1)
    states_each: int = Field(default=2, ge=1)
    shift: float = Field(default=1.0, gt=0)
    length: int = Field(default=64, ge=1)
    batch: int = Field(default=32, ge=1)
    steps: int = Field(default=20, ge=1)
    learning_rate: float = Field(default=1e-2, gt=0)
    scores: list[str] = Field(default=[name for name in SCORES if name != "data_free"], min_length=1)


def frozen_model(kind: str, config: Config, seed: int) -> nn.Module:
    """The frozen model of one kind."""
    torch.manual_seed(seed)
    if kind == "s4":
        return DeepS4(DeepS4Config(config.width, config.layers, config.states))
    options = {"layer": "Mamba1", "d_state": config.states}
    return MambaLM(MambaConfig(config.width, config.layers, 32, options, pad_vocab_size_multiple=1))


def plant(model: nn.Module, config: Config, seed: int) -> tuple[nn.Module, Selection]:
    """A copy whose decays are moved at random pairs, and these pairs."""
    generator = torch.Generator().manual_seed(seed)
    target = copy.deepcopy(model)
    pairs: dict[str, list[tuple[int, int]]] = {}
    with torch.no_grad():
        for name, mixer in find_mixers(target):
            sizes = geometry(mixer)
            for d in torch.randperm(sizes.channels, generator=generator)[: config.channels].tolist():
                for n in torch.randperm(sizes.d_state, generator=generator)[: config.states_each].tolist():
                    pairs.setdefault(name, []).append((d, n))
                    sign = 1.0 if torch.rand((), generator=generator) < 0.5 else -1.0
                    if sizes.kind == "s4":
                        mixer.get_parameter("log_A_real")[d, n] += sign * config.shift
                        mixer.get_parameter("A_imag")[d, n] += sign * config.shift * torch.pi
                    else:
                        mixer.get_parameter("A_log")[d, n] += sign * config.shift
    return target.requires_grad_(False), Selection.of(pairs)


def draw_batches(kind: str, config: Config, seed: int, device: str) -> Callable[[], Tensor]:
    """Inputs: Gaussian sequences, or random tokens."""
    generator = torch.Generator(device).manual_seed(seed)

    def draw() -> Tensor:
        if kind == "s4":
            return torch.randn(config.batch, config.length, config.width, generator=generator, device=device)
        return torch.randint(0, 32, (config.batch, config.length), generator=generator, device=device)

    return draw


def run(config: Config, ctx: Context) -> Metrics:
    """Every score on every kind of model."""
    rows: list[dict[str, Any]] = []
    for kind in config.kinds:
        if kind not in KINDS:
            raise UnknownName("kind of model", kind, KINDS)
        model = frozen_model(kind, config, ctx.seed)
        target, support = plant(model, config, 1000 + ctx.seed)
        model, target = model.to(ctx.device), target.to(ctx.device)
        if ctx.scan is not None and isinstance(model, MambaLM):
            model.set_scan(ctx.scan)
        for rule in config.scores:
            if rule not in SCORES:
                raise UnknownName("selection score", rule, SCORES)
            if kind == "s4" and rule in NEEDS_A_LOG:
                continue
            rows.append({"kind": kind, "score": rule, **_measure(rule, kind, model, target, support, config, ctx)})
    return Metrics(held_out={"scores": rows})


def _measure(
    rule: str, kind: str, model: nn.Module, target: nn.Module, support: Selection, config: Config, ctx: Context
) -> dict[str, Any]:
    draw = draw_batches(kind, config, 2000 + ctx.seed, ctx.device)

    def loss(m: nn.Module, x: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = target(x)
        error: Tensor = m(x) - wanted
        return error.square().mean()

    began = time.perf_counter()
    moved = None
    if rule not in ("gradient", "random", "oracle"):
        moved = warm_up(
            model, loss, (draw() for _ in range(config.steps)), learning_rate=config.learning_rate, targets=WARM_UP_ON[kind]
        )
    # the gradient sees as many batches as a warm-up takes steps; an ablation evaluates each candidate on one
    batches = [draw() for _ in range(config.steps if rule == "gradient" else 1)]
    scores = score(rule, model, moved=moved, loss=loss, batches=batches, seed=ctx.seed, support=support, channels=config.channels)
    chosen = select(scores, config.channels, config.states_each)
    precision, recall = precision_recall(chosen, support)
    channels = {(name, d) for name, d, _ in support.as_set()}
    picked = {(name, d) for name, d, _ in chosen.as_set()}
    total = sum(s.states.numel() for s in scores.values())
    return {
        "precision": precision, "recall": recall, "channel_precision": len(picked & channels) / len(picked),
        "chance": len(support) / total, "seconds": time.perf_counter() - began,
    }  # fmt: skip


GOOD: dict[str, tuple[str, ...]] = {"s4": (), "mamba1": ("gradient", "ablation")}
"""Scores that are predicted to beat chance; ``magnitude`` is predicted not to."""


THRESHOLDS = ("confidence",)


def judge(results: Sequence[Result], threshold: Mapping[str, float]) -> Judgement:
    """95 % intervals over seeds of precision minus chance: above 0 for the good scores, not above 0 for magnitude, and the
    oracle at exactly 1."""
    confidence = limit(threshold, "confidence")
    rows = [row for r in results for row in r.held_out["scores"]]
    table: list[dict[str, Any]] = []
    right: list[str] = []
    wrong: list[str] = []
    open_: list[str] = []
    comparisons: list[Comparison] = []
    for kind, rule in dict.fromkeys((row["kind"], row["score"]) for row in rows):
        of_rule = [row for row in rows if (row["kind"], row["score"]) == (kind, rule)]
        gains = [row["precision"] - row["chance"] for row in of_rule]
        found = interval(gains, confidence, equal=True)
        low, high = found.low, found.high
        table.append(
            {
                "kind": kind, "score": rule, "seeds": len(gains), "chance": of_rule[0]["chance"],
                **{key: statistics.fmean(row[key] for row in of_rule) for key in ("precision", "recall", "channel_precision")},
                "gain": found.mean, "half_width": found.half, "seconds": statistics.median(row["seconds"] for row in of_rule),
            }
        )  # fmt: skip
        name = f"{kind} {rule}"
        if rule == "oracle" and min(row["precision"] for row in of_rule) < 1:
            wrong.append(name)
        predicted: Literal["above", "below"] | None = "above" if rule in GOOD[kind] else "below" if rule == "magnitude" else None
        if rule not in ("oracle", "random"):
            comparisons.append(gain(name, rule, found, predicted))
        if low is None or high is None:
            open_.append(name)
        elif predicted == "above":
            (right if low > 0 else wrong if high < 0 else open_).append(name)
        elif predicted == "below":
            (wrong if low > 0 else right).append(name)
    shown = "; ".join(f"{r['kind']} {r['score']} {r['precision']:.2f}" for r in table if r["score"] not in ("oracle", "random"))
    chance = ", ".join(
        f"{kind} {next(r['chance'] for r in table if r['kind'] == kind):.2f}" for kind in GOOD if _has(table, kind)
    )
    against = f"; against the prediction: {', '.join(wrong)}" if wrong else ""
    verdict = "not reproduced" if wrong else "undecided" if open_ or not right else "reproduced"
    measured = f"precision {shown}; chance {chance}{against}"
    return Judgement.model_validate({"verdict": verdict, "measured": measured, "table": table, "comparisons": comparisons})


def _has(table: Sequence[Mapping[str, Any]], kind: str) -> bool:
    return any(row["kind"] == kind for row in table)
