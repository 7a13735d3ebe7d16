"""Every fine-tuning method on the larger base model: CoLA, polarity, subjectivity, TREC, DART, and RTE as a control.

Tasks, prompts, sizes and scores are those of ``lm_benchmark``. New are the authors' own variants (``lora_released``,
``sdt_released``), two more controls of SDT's selection, batches of like length, and what a run keeps of every test row
(:mod:`.records`). On a GPU the passes are recorded as graphs, under bfloat16 autocast where asked for; what is measured is
computed in float32.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor

from ...data.tasks import SMALL, Task
from ...errors import Diverged
from ...methods import MethodConfig, Scores, apply
from ...methods.catalogue import recipes
from ...models import MambaLM
from ...study.config import Strict
from ...study.results import Metrics
from ...study.runner import Context
from ...training.graphed import GraphedLoss
from ...training.loop import Optimiser
from ..lm_benchmark.methods import Sizing, configure, plan, selected
from ..lm_benchmark.metrics import NO_CLASS, accuracy, bleu_and_chrf, majority
from ..lm_benchmark.model import BUNDLED
from ..lm_benchmark.options import Precision, Source, TaskName, check, matmul_precision, one_of
from ..lm_benchmark.run import score_of
from .choosing import Batching, WarmUp, scores_of
from .feed import casting_loss
from .kept import PLANS, Base, Prepared, Split, base_of, prepared
from .measuring import generate, held_out_loss, predictions
from .records import bleu_record, class_record
from .verdicts import THRESHOLDS, alike, holds_back, judge, points, require_same_origin

__all__ = [
    "THRESHOLDS", "Config", "alike", "check", "holds_back", "judge", "points", "require_same_origin", "run", "trains",
]  # fmt: skip

RECIPES = recipes("base_benchmark")
METHODS = tuple(RECIPES)


class Config(Strict):
    """Options.

    Attributes
    ----------
    method, task, learning_rate:
        One run's.
    model, tokenizer, data:
        As in ``lm_benchmark``.
    autocast:
        ``bfloat16`` for the training passes on a GPU, or ``none``; a CPU trains in float32.
    matmul:
        Precision of float32 matrix products on a GPU: ``highest``, or ``high`` for TF32 (10 bits of mantissa).
    rank, most_tokens, state_share, lora_share, channel_share:
        See :class:`..lm_benchmark.methods.Sizing`.
    steps, batch:
        Of AdamW, with warm-up over a tenth of the steps, then linear decay.
    multiple, recording:
        A batch is padded to a multiple of so many tokens, and further where that saves a recording of the passes
        (:func:`.batches.widths`).
    longest:
        Tokens of a prompt that are kept, its last ones, and of a free-text answer, its first ones.
    train_rows, validation_rows, test_rows, generate_rows:
        Rows that are used, 0 for all; of a task with free text, ``generate_rows`` test rows at most.
    eval_tokens, most_generated:
        Tokens, with padding, that are measured at once; tokens after which a generated text is cut off.
    select_steps, select_learning_rate:
        Warm-up of SDT's selection.
    released_steps, released_learning_rate:
        That of the authors' release.
    """

    method: Annotated[str, one_of("method of the experiment", *METHODS)] = "lora_linear"
    task: TaskName = "polarity"
    learning_rate: float = Field(default=1e-3, gt=0)
    model: str = BUNDLED
    tokenizer: str | None = None
    autocast: Literal["none", "bfloat16"] = "none"
    matmul: Precision = "highest"
    data: Source = SMALL
    rank: int = Field(default=8, ge=1)
    most_tokens: int = Field(default=64, ge=1)
    state_share: float = Field(default=0.25, gt=0, le=1)
    lora_share: float = Field(default=0.75, gt=0, lt=1)
    channel_share: float = Field(default=0.01, gt=0, le=1)
    steps: int = Field(default=500, ge=1)
    batch: int = Field(default=64, ge=1)
    multiple: int = Field(default=8, ge=1)
    recording: int = Field(default=2500, ge=0)
    longest: int = Field(default=512, ge=2)
    train_rows: int = Field(default=0, ge=0)
    validation_rows: int = Field(default=0, ge=0)
    test_rows: int = Field(default=0, ge=0)
    generate_rows: int = Field(default=200, ge=0)
    eval_tokens: int = Field(default=16384, ge=1)
    most_generated: int = Field(default=100, ge=1)
    select_steps: int = Field(default=20, ge=1)
    select_learning_rate: float = Field(default=1e-2, gt=0)
    released_steps: int = Field(default=500, ge=1)
    released_learning_rate: float = Field(default=1e-3, gt=0)

    @property
    def sizing(self) -> Sizing:
        """How sizes are chosen."""
        return Sizing(self.rank, self.most_tokens, self.state_share, self.lora_share, self.channel_share)

    @property
    def batching(self) -> Batching:
        """How rows are put into batches."""
        return Batching(self.batch, self.multiple, self.recording, self.autocast)


def validation_error(held_out: Mapping[str, Any]) -> float | None:
    """1 − score on the validation rows; of free text, whose tuning runs generate nothing, the loss. ``None``: not measured."""
    score, loss = held_out.get("score"), held_out.get("loss")
    if score is not None:
        return 1.0 - float(score)
    return None if loss is None else float(loss)


MINIMISED = {"error": validation_error}
"""What ``[sweep] minimise`` may name besides a metric of the runs.

The loss alone is no criterion here: a model that answers every prompt with the classes' shares has a lower validation loss than
one that is right more often and too sure of itself.
"""


def trains(options: Mapping[str, Any]) -> bool:
    """Whether a method trains anything, so that its learning rate matters."""
    return bool(options["method"] != "frozen")


def run(config: Config, ctx: Context) -> Metrics:
    """Adapt a copy of the base model, and measure validation and test rows."""
    with matmul_precision(config.matmul):
        return _run(config, ctx)


def _run(config: Config, ctx: Context) -> Metrics:
    clock = [time.perf_counter()]
    base = base_of(config.model, config.tokenizer, ctx.scan, ctx.device)
    counts = {"train": config.train_rows, "validation": config.validation_rows, "test": config.test_rows}
    rows = prepared(config.task, config.data, base, config.longest, counts, config.generate_rows, ctx.device)
    planned = PLANS.get(
        (config.method, base.weights, config.sizing), lambda: plan(config.method, base.copy(), config.sizing, RECIPES)
    )
    model = base.copy()
    method = configure(planned, model, config.sizing, lambda rule: _scores(rule, config, base, rows, ctx), RECIPES)
    metrics: dict[str, Any] = {
        "budget": planned.budget, "size": planned.size, "size_of": planned.what, "source": rows.data.source,
        "left_out": rows.data.left_out, "scan": model.mixers[0].scan, "weights": base.weights,
        "rows": {name: len(split.examples) for name, split in rows.splits.items()},
        "shortened": {name: split.encoded.shortened for name, split in rows.splits.items()},
    }  # fmt: skip
    clock.append(time.perf_counter())
    trainable = 0
    if method is not None:
        trainable, course = _adapt(model, method, config, rows.splits["train"], ctx)
        metrics |= course
    metrics["matched"] = planned.matched(trainable)
    if (chosen := selected(method)) is not None:
        metrics["selected"] = len(chosen)
    clock.append(time.perf_counter())
    task = rows.data.task
    measured = _measure(task, model, rows.splits["validation"], config)[0]
    if not ctx.tuning:
        found, record = _measure(task, model, rows.splits["test"], config)
        if task.free_text:
            found, record = _texts(model, rows, base, config, found)
        else:
            labels = rows.splits["test"].encoded.labels
            found["majority"] = score_of(task, labels, majority(rows.splits["train"].encoded.labels, len(labels)))
        measured |= {f"test_{name}": value for name, value in found.items()}
        metrics |= record
    clock.append(time.perf_counter())
    metrics["took"] = {
        name: round(b - a, 3) for name, a, b in zip(("prepare", "train", "measure"), clock, clock[1:], strict=False)
    }
    for name, value in measured.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} is {value} after training: the run diverged; lower learning_rate")
    return Metrics(metrics=metrics, held_out=measured, trainable=trainable, data_hash=rows.data.sha256)


def _adapt(model: MambaLM, method: MethodConfig, config: Config, train: Split, ctx: Context) -> tuple[int, dict[str, Any]]:
    """Train the method; (number of trained values, entries of the run's metrics)."""
    handle = apply(model, method, seed=ctx.seed)
    trained = handle.trainable()
    drawn, wide = config.batching.draw(train.feed, config.steps, 1000 + ctx.seed)
    passes = GraphedLoss(lambda *batch: casting_loss(model, batch, config.autocast), trained.values(), len(set(wide)))

    def loss(step: int) -> Tensor:
        return passes(*train.feed.batch(drawn[step], wide[step]))

    optimiser = Optimiser(config.learning_rate, config.steps, warm_up=config.steps // 10, linear_decay=True, clip=1.0)
    model.train()
    course = ctx.train("adapt", trained, loss, optimiser, brief=True, fused=True)
    model.eval()
    last = course.losses[-max(1, config.steps // 10) :]
    read = sum(train.feed.lengths[i] for step in drawn.tolist() for i in step)
    return handle.n_trainable, {
        "train_loss": statistics.fmean(last), "first_loss": course.losses[0], "widths": sorted(set(wide)),
        "padded": round(1 - read / (config.batch * sum(wide)), 4),
        "epochs": round(config.steps * config.batch / len(train.feed.lengths), 3),
    }  # fmt: skip


def _scores(rule: str, config: Config, base: Base, rows: Prepared, ctx: Context) -> dict[str, Scores]:
    """Scores of channels and states; kept for a later call where this run is stopped: a GPU need not repeat them to the bit."""
    if (found := ctx.resume("scores")) is not None:
        tensors, _ = found
        names = {key.removeprefix("states.") for key in tensors if key.startswith("states.")}
        return {name: Scores(tensors[f"states.{name}"], tensors[f"channels.{name}"]) for name in sorted(names)}
    short = WarmUp(config.select_steps, config.select_learning_rate)
    released = WarmUp(config.released_steps, config.released_learning_rate)
    scores = scores_of(rule, base, rows, config.batching, short, released, ctx.seed)
    if ctx.deadline < math.inf and base.model.lm_head.weight.is_cuda:
        parts = {"states": {n: s.states for n, s in scores.items()}, "channels": {n: s.channels for n, s in scores.items()}}
        ctx.checkpoint("scores", {f"{part}.{n}": v.contiguous() for part, values in parts.items() for n, v in values.items()})
    return scores


def _measure(task: Task, model: MambaLM, split: Split, config: Config) -> tuple[dict[str, float], dict[str, Any]]:
    """(``loss``, and with classes ``score``, ``accuracy`` and ``no_class``; the record of every row)."""
    if split.encoded.answers is None:
        return {"loss": held_out_loss(model, split.feed, config.eval_tokens)}, {}
    found, loss = predictions(model, split.feed, split.encoded.answers.first, config.eval_tokens)
    labels = split.encoded.labels
    return {
        "loss": loss,
        "score": score_of(task, labels, found),
        "accuracy": accuracy(labels, found),
        "no_class": sum(p == NO_CLASS for p in found) / len(found),
    }, class_record(labels, found)


def _texts(
    model: MambaLM, rows: Prepared, base: Base, config: Config, found: dict[str, float]
) -> tuple[dict[str, float], dict[str, Any]]:
    """``score`` (BLEU / 100), ``chrf`` (0..100) and ``rows`` of generated texts beside what was found; BLEU's counts of each."""
    split = rows.splits["test"]
    made = generate(model, split.encoded.prompts, base.tokens.end, config.most_generated)
    texts = [base.tokens.decode(text).strip() for text in made]
    references = [example.references for example in split.examples]
    bleu, chrf = bleu_and_chrf(texts, references)
    return found | {"score": bleu / 100, "chrf": chrf, "rows": float(len(texts))}, bleu_record(texts, references)
