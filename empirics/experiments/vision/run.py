"""Sequential digits: a small Mamba-1 pretrained on half of the classes, adapted to the other half by each method.

The model reads 64 pixel tokens and names the class as its next token, with the same five class tokens for both halves. A
prediction that is no class token counts as wrong. Learning rates are tuned on the validation split, on a seed of its own; the
test split is measured once, at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ...data.digits import LEVELS, Digits, digits
from ...errors import CheckpointError, UnknownName
from ...methods import MethodConfig, apply, select
from ...methods.catalogue import recipes
from ...methods.scores import score, warm_up
from ...models import MambaConfig, MambaLM
from ...study.claims import claim
from ...study.comparing import difference
from ...study.config import Strict
from ...study.results import Comparison, Judgement, Metrics, Result, Verdict, config_hash, together
from ...study.runner import Context, limit
from ...study.statistics import interval, paired
from ...tensors import write_tensors
from ...training.loop import Optimiser
from ..base_benchmark.records import class_record
from ..lm_benchmark.metrics import NO_CLASS, accuracy

OLD, NEW = (0, 1, 2, 3, 4), (5, 6, 7, 8, 9)
PIXELS = 64

METHODS = recipes("vision")
"""The methods compared. ``sdt_lora``: SDT on the chosen states and LoRA on the linear projections."""


class Config(Strict):
    """Options.

    Attributes
    ----------
    method, learning_rate:
        One run's.
    d_model, n_layer, d_state:
        Of the model.
    pretrain_steps, pretrain_learning_rate, steps, batch:
        Of AdamW, with warm-up and linear decay.
    select_channels, select_states, select_steps, select_learning_rate:
        Shares that SDT keeps, and its warm-up.
    """

    method: str = "full"
    learning_rate: float = Field(default=5e-3, gt=0)
    d_model: int = Field(default=32, ge=1)
    n_layer: int = Field(default=2, ge=1)
    d_state: int = Field(default=8, ge=1)
    pretrain_steps: int = Field(default=400, ge=1)
    pretrain_learning_rate: float = Field(default=5e-3, gt=0)
    steps: int = Field(default=200, ge=1)
    batch: int = Field(default=32, ge=1)
    select_channels: float = Field(default=0.25, gt=0, le=1)
    select_states: float = Field(default=0.25, gt=0, le=1)
    select_steps: int = Field(default=20, ge=1)
    select_learning_rate: float = Field(default=1e-2, gt=0)


def class_loss(model: MambaLM, pixels: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, over the whole vocabulary, of the token after the last pixel."""
    logits = model(pixels)
    assert isinstance(logits, Tensor)
    return F.cross_entropy(logits[:, -1], LEVELS + labels)


@torch.no_grad()
def predictions(model: MambaLM, data: Digits, device: str) -> tuple[float, list[int]]:
    """(cross-entropy, the class of each image); a token that is no class is :data:`..lm_benchmark.metrics.NO_CLASS`."""
    model.eval()
    logits = model(data.pixels.to(device))
    assert isinstance(logits, Tensor)
    last = logits[:, -1].float()
    found = [token - LEVELS if token >= LEVELS else NO_CLASS for token in last.argmax(-1).tolist()]
    return F.cross_entropy(last, LEVELS + data.labels.to(device)).item(), found


def evaluate(model: MambaLM, data: Digits, device: str) -> tuple[float, float]:
    """(cross-entropy, accuracy); a token that is no class counts as wrong."""
    loss, found = predictions(model, data, device)
    return loss, accuracy(data.labels.tolist(), found)


def train_on(
    model: MambaLM, data: Digits, parameters: Mapping[str, torch.nn.Parameter], name: str, optimiser: Optimiser, batch: int,
    ctx: Context,
) -> None:  # fmt: skip
    """Train on random batches of the data."""
    pixels, labels = data.pixels.to(ctx.device), data.labels.to(ctx.device)
    generator = torch.Generator().manual_seed(1000 + ctx.seed)

    def loss(_: int) -> Tensor:
        rows = torch.randint(0, len(labels), (batch,), generator=generator).to(ctx.device)
        return class_loss(model, pixels[rows], labels[rows])

    model.train()
    ctx.train(name, parameters, loss, optimiser, [generator])


def pretrained(config: Config, ctx: Context) -> MambaLM:
    """The model pretrained on the old classes, from its file or trained now; one for each seed, shared by all methods.

    Several processes wait for the one that trains it, so that methods which are paired by a seed adapt the same values.
    """
    torch.manual_seed(ctx.seed)
    options = {"layer": "Mamba1", "d_state": config.d_state, "dt_rank": max(2, -(-config.d_model // 16))}
    model = MambaLM(
        MambaConfig(config.d_model, config.n_layer, LEVELS + len(NEW), options, pad_vocab_size_multiple=1),
        scan=ctx.scan or "chunked",
    ).to(ctx.device)
    if ctx.work is None:
        pretrain(model, config, ctx)
        return model
    parts = config.model_dump(include={"d_model", "n_layer", "d_state", "pretrain_steps", "pretrain_learning_rate", "batch"})
    name = f"pretrained-seed{ctx.seed}-{config_hash({**parts, 'device': torch.device(ctx.device).type})}"
    file = ctx.work.parent / f"{name}.safetensors"
    with claim(file.with_suffix(".lock"), wait=True, deadline=ctx.deadline):
        if not file.is_file():
            pretrain(model, config, ctx)
            write_tensors(file, {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()})
            return model
    try:
        model.load_state_dict(load_file(file), strict=False)  # lm_head is tied to the embedding
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{file} is not readable: {reason}; delete it to pretrain again") from error
    return model


def pretrain(model: MambaLM, config: Config, ctx: Context) -> None:
    """Train the whole model on the old classes."""
    optimiser = Optimiser(
        config.pretrain_learning_rate, config.pretrain_steps, weight_decay=0.01, warm_up=config.pretrain_steps // 10,
        linear_decay=True, clip=1.0,
    )  # fmt: skip
    train_on(model, digits(OLD, "train"), dict(model.named_parameters()), f"pretrain-{ctx.seed}", optimiser, config.batch, ctx)


def method_of(config: Config, model: MambaLM, data: Digits, ctx: Context) -> MethodConfig | None:
    """The method's configuration; for SDT this is where its dimensions are chosen.

    Raises
    ------
    UnknownName
        No such method here.
    """
    if config.method not in METHODS:
        raise UnknownName("method of the experiment", config.method, METHODS)
    recipe = METHODS[config.method]
    if recipe.method is None:
        return None
    if not recipe.score:
        return recipe.config()
    pixels, labels = data.pixels.to(ctx.device), data.labels.to(ctx.device)
    generator = torch.Generator().manual_seed(3000 + ctx.seed)
    rows = [torch.randint(0, len(labels), (config.batch,), generator=generator) for _ in range(config.select_steps)]
    moved = None
    if recipe.score != "random":

        def loss(m: nn.Module, rows: Tensor) -> Tensor:
            assert isinstance(m, MambaLM)
            return class_loss(m, pixels[rows.to(ctx.device)], labels[rows.to(ctx.device)])

        moved = warm_up(model, loss, rows, config.select_learning_rate)
    chosen = select(score(recipe.score, model, moved=moved, seed=ctx.seed), config.select_channels, config.select_states)
    return recipe.config(selection=chosen)


def run(config: Config, ctx: Context) -> Metrics:
    """Pretrain (or load), adapt, and measure; a run that only tunes sees no test image."""
    model = pretrained(config, ctx)
    train, validation, test = (digits(NEW, split) for split in ("train", "validation", "test"))
    _, old_accuracy = evaluate(model, digits(OLD, "test"), ctx.device)
    method = method_of(config, model, train, ctx)
    trainable = 0
    if method is not None:
        handle = apply(model, method, seed=ctx.seed)
        trainable = handle.n_trainable
        optimiser = Optimiser(config.learning_rate, config.steps, warm_up=config.steps // 10, linear_decay=True, clip=1.0)
        train_on(model, train, handle.trainable(), "adapt", optimiser, config.batch, ctx)
    train_loss, train_accuracy = evaluate(model, train, ctx.device)
    metrics = {"train_loss": train_loss, "train_accuracy": train_accuracy, "old_classes_before": old_accuracy}
    held_out = dict(zip(("loss", "accuracy"), evaluate(model, validation, ctx.device), strict=True))
    if not ctx.tuning:
        labels = test.labels.tolist()
        test_loss, found = predictions(model, test, ctx.device)
        metrics |= class_record(labels, found)
        held_out |= {"test_loss": test_loss, "test_accuracy": accuracy(labels, found)}
    return Metrics(metrics=metrics, held_out=held_out, trainable=trainable, data_hash=train.sha256)


COMPARISONS = (
    ("lora_linear", "prefix"),
    ("lora_linear", "initial_state"),
    ("lora_linear", "lora_ssm"),
    ("sdt_lora", "lora_linear"),
)
"""(said to be at least as good, said to be worse): the abstract's claims on this data."""


THRESHOLDS = ("confidence",)


def trains(options: Mapping[str, Any]) -> bool:
    """Whether a method trains anything, so that its learning rate matters."""
    return bool(options["method"] != "frozen")


def points(result: Result) -> float:
    """The score of a test run, in points."""
    return 100 * float(result.held_out["test_accuracy"])


def judge(results: Sequence[Result], threshold: Mapping[str, float]) -> Judgement:
    """Paired differences of test accuracy over seeds: each has to lie above 0 with its whole interval."""
    confidence = limit(threshold, "confidence")
    methods = [m for m in METHODS if any(r.config["method"] == m for r in results)]
    table: list[dict[str, Any]] = []
    for method in methods:
        runs = [r for r in results if r.config["method"] == method]
        found = interval([r.held_out["test_accuracy"] for r in runs], confidence, equal=True)
        table.append(
            {
                "method": method, "trainable": runs[0].trainable, "learning_rate": runs[0].config["learning_rate"],
                "seeds": len(runs), "test_accuracy": found.mean, "half_width": found.half,
            }
        )  # fmt: skip
    comparisons: list[Comparison] = []
    for better, worse in COMPARISONS:
        pairs = paired(scores(results, better), scores(results, worse))
        if len(pairs) < 2:
            continue
        found = interval(list(pairs.values()), confidence, equal=True)
        comparisons.append(difference(better, worse, found, scale=100))
        row = {"comparison": comparisons[-1].name, "difference": found.mean, "half_width": found.half}
        table.append({**row, "verdict": comparisons[-1].verdict})
    described = "; ".join(f"{c.name} {c.estimate:+.1f} ± {(c.high or 0) - c.estimate:.1f} points" for c in comparisons)
    verdicts: list[Verdict] = [comparison.verdict for comparison in comparisons]
    missing: list[Verdict] = ["undecided"] * (len(COMPARISONS) - len(verdicts))
    return Judgement(
        verdict=together([*verdicts, *missing]), measured=described or "too few seeds or methods are finished", table=table,
        comparisons=comparisons,
    )  # fmt: skip


def scores(results: Sequence[Result], method: str) -> dict[int, float]:
    """Test accuracy of a method by seed, in the seeds' order."""
    found = {r.seed: r.held_out["test_accuracy"] for r in results if r.config["method"] == method}
    return dict(sorted(found.items()))
