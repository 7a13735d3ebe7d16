"""Every fine-tuning method on real text: CoLA, RTE, sentence polarity and DART, at one budget of trained numbers.

A pretrained language model reads a prompt and answers with its next tokens. A class is predicted where its token is the likeliest
of the whole vocabulary; anything else is wrong. Learning rates are chosen on the validation rows, with a seed of their own, which
never sees the test rows; the number of steps is fixed; the test rows are measured once, after the last step.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from ...data.tasks import SMALL, Task, TaskData, load_task, subset
from ...errors import CheckpointError, Diverged
from ...methods import Scores, apply
from ...methods.scores import score, warm_up
from ...models import MambaLM
from ...study.config import Strict
from ...study.results import Judgement, Metrics, Result, together
from ...study.runner import Context, limit
from ...study.statistics import interval
from ...training.loop import Optimiser
from .examples import Encoded, batch_loss, encode, generate, held_out_loss, predictions
from .methods import METHODS, Sizing, configure, plan, selected
from .metrics import NO_CLASS, accuracy, bleu_and_chrf, majority, matthews
from .model import BUNDLED, DTYPES, base_model, weights_hash
from .options import Precision, Source, TaskName, matmul_precision, one_of
from .options import check as check
from .tokens import Tokens, tokens_for
from .verdicts import beside, in_words, typed, verdict_rows


class Config(Strict):
    """Options.

    Attributes
    ----------
    method, task, learning_rate:
        One run's.
    model:
        ``bundled``, ``untrained``, a folder in the hub's format, a safetensors file, or a hub name.
    tokenizer:
        ``bytes``, a folder or a hub name, where the model's own tokenizer is not wanted.
    dtype:
        Of the frozen weights: ``float32`` or ``bfloat16``.
    matmul:
        Precision of float32 matrix products on a GPU: ``highest``, or ``high`` for TF32 (10 bits of mantissa).
    data:
        Where the rows are (:func:`..data.tasks.read_rows`): a name or a folder.
    rank:
        Of the LoRA on both linear projections whose number of trained values is the budget of all methods.
    most_tokens, state_share, lora_share:
        See :class:`.lm_methods.Sizing`.
    steps, batch:
        Of AdamW, with warm-up over a tenth of the steps, then linear decay.
    longest:
        Tokens of a prompt that are kept, its last ones, and of a free-text answer, its first ones.
    train_rows, validation_rows, test_rows, generate_rows:
        Rows that are used, 0 for all; of free text, ``generate_rows`` test rows are generated.
    eval_batch, most_generated:
        Rows measured at once; tokens after which a generated text is cut off.
    select_steps, select_learning_rate:
        Warm-up of SDT's selection.
    """

    method: Annotated[str, one_of("method of the experiment", *METHODS)] = "lora_linear"
    task: TaskName = "polarity"
    learning_rate: float = Field(default=1e-3, gt=0)
    model: str = BUNDLED
    tokenizer: str | None = None
    dtype: Annotated[str, one_of("dtype", *DTYPES)] = "float32"
    matmul: Precision = "highest"
    data: Source = SMALL
    rank: int = Field(default=8, ge=1)
    most_tokens: int = Field(default=64, ge=1)
    state_share: float = Field(default=0.25, gt=0, le=1)
    lora_share: float = Field(default=0.75, gt=0, lt=1)
    steps: int = Field(default=500, ge=1)
    batch: int = Field(default=32, ge=1)
    longest: int = Field(default=512, ge=2)
    train_rows: int = Field(default=0, ge=0)
    validation_rows: int = Field(default=500, ge=0)
    test_rows: int = Field(default=0, ge=0)
    generate_rows: int = Field(default=200, ge=0)
    eval_batch: int = Field(default=64, ge=1)
    most_generated: int = Field(default=200, ge=1)
    select_steps: int = Field(default=20, ge=1)
    select_learning_rate: float = Field(default=1e-2, gt=0)

    @property
    def sizing(self) -> Sizing:
        """How sizes are chosen."""
        return Sizing(self.rank, self.most_tokens, self.state_share, self.lora_share)


def score_of(task: Task, labels: Sequence[int], predicted: Sequence[int]) -> float:
    """Main score of a task with classes: Matthews' correlation or accuracy."""
    return matthews(labels, predicted) if task.score == "matthews" else accuracy(labels, predicted)


def measure_classes(task: Task, model: MambaLM, data: Encoded, size: int, device: str) -> dict[str, float]:
    """``loss``, ``score``, ``accuracy`` and ``no_class``, the share of predictions that are no class."""
    found, loss = predictions(model, data, size, device)
    return {
        "loss": loss,
        "score": score_of(task, data.labels, found),
        "accuracy": accuracy(data.labels, found),
        "no_class": sum(p == NO_CLASS for p in found) / len(found),
    }


def measure_texts(config: Config, model: MambaLM, data: TaskData, tokens: Tokens, device: str) -> dict[str, float]:
    """``score`` (BLEU / 100) and ``chrf`` (0..100) of generated texts, and ``rows``, how many were generated."""
    rows = subset(subset(data.test, config.test_rows), config.generate_rows)
    encoded = encode(data.task, rows, tokens, config.longest)
    made = generate(model, encoded.prompts, tokens.end, config.most_generated, config.eval_batch, device)
    bleu, chrf = bleu_and_chrf([tokens.decode(text).strip() for text in made], [example.references for example in rows])
    return {"score": bleu / 100, "chrf": chrf, "rows": float(len(rows))}


def run(config: Config, ctx: Context) -> Metrics:
    """Load the model, adapt it, and measure validation and test rows."""
    with matmul_precision(config.matmul):
        return _run(config, ctx)


def _run(config: Config, ctx: Context) -> Metrics:
    data = load_task(config.task, config.data)
    model = base_model(config.model, ctx.scan, ctx.device, config.dtype)
    vocabulary = model.config.vocab_size
    tokens = tokens_for(config.model, vocabulary, config.tokenizer)
    parts = {"train": (data.train, config.train_rows), "validation": (data.validation, config.validation_rows)}
    parts["test"] = (data.test, config.test_rows)
    encoded = {
        name: encode(data.task, subset(examples, count), tokens, config.longest) for name, (examples, count) in parts.items()
    }
    train = encoded["train"]

    def scores(rule: str) -> dict[str, Scores]:
        return selection_scores(rule, model, train, config, ctx)

    planned = plan(config.method, model, config.sizing)
    method = configure(planned, model, config.sizing, scores)
    metrics: dict[str, Any] = {
        "budget": planned.budget, "size": planned.size, "size_of": planned.what, "source": data.source,
        "left_out": data.left_out, "scan": model.mixers[0].scan, "weights": weights_hash(model),
        "rows": {name: len(part.prompts) for name, part in encoded.items()},
        "shortened": {name: part.shortened for name, part in encoded.items()},
    }  # fmt: skip
    trainable = 0
    if method is not None:
        handle = apply(model, method, seed=ctx.seed)
        trainable = handle.n_trainable
        optimiser = Optimiser(config.learning_rate, config.steps, warm_up=config.steps // 10, linear_decay=True, clip=1.0)
        generator = torch.Generator().manual_seed(1000 + ctx.seed)

        def loss(_: int) -> Tensor:
            rows = torch.randint(0, len(train.sequences), (config.batch,), generator=generator).tolist()
            return batch_loss(model, [train.sequences[i] for i in rows], ctx.device)

        model.train()
        course = ctx.train("adapt", handle.trainable(), loss, optimiser, [generator])
        last = course.losses[-max(1, config.steps // 10) :]
        metrics |= {"train_loss": statistics.fmean(last), "first_loss": course.losses[0]}
    metrics |= {"matched": planned.matched(trainable)}
    if (chosen := selected(method)) is not None:
        metrics["selected"] = len(chosen)

    def losses(part: Encoded) -> dict[str, float]:
        if data.task.free_text:
            return {"loss": held_out_loss(model, part, config.eval_batch, ctx.device)}
        return measure_classes(data.task, model, part, config.eval_batch, ctx.device)

    measured = losses(encoded["validation"])
    if not ctx.tuning:
        found = losses(encoded["test"])
        if data.task.free_text:
            found |= measure_texts(config, model, data, tokens, ctx.device)
        else:
            guess = majority(train.labels, len(encoded["test"].labels))
            found["majority"] = score_of(data.task, encoded["test"].labels, guess)
        measured |= {f"test_{name}": value for name, value in found.items()}
    for name, value in measured.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} is {value} after training: the run diverged; lower learning_rate")
    return Metrics(metrics=metrics, held_out=measured, trainable=trainable, data_hash=data.sha256)


def selection_scores(rule: str, model: MambaLM, train: Encoded, config: Config, ctx: Context) -> dict[str, Scores]:
    """Scores of all channels and states, after a warm-up on training batches where the rule needs one."""
    if rule == "random":
        return score(rule, model, seed=ctx.seed)
    generator = torch.Generator().manual_seed(3000 + ctx.seed)
    shape = (config.select_steps, config.batch)
    batches = torch.randint(0, len(train.sequences), shape, generator=generator).tolist()

    def loss(m: nn.Module, rows: list[int]) -> Tensor:
        assert isinstance(m, MambaLM)
        return batch_loss(m, [train.sequences[i] for i in rows], ctx.device)

    return score(rule, model, moved=warm_up(model, loss, batches, config.select_learning_rate))


THRESHOLDS = ("confidence", "points")


def trains(options: Mapping[str, Any]) -> bool:
    """Whether a method trains anything, so that its learning rate matters."""
    return bool(options["method"] != "frozen")


def points(result: Result) -> float:
    """The score of a test run, in points."""
    return 100 * float(result.held_out["test_score"])


def judge(results: Sequence[Result], threshold: Mapping[str, float]) -> Judgement:
    """One row for each method on each task, then one for each of the paper's claims; all claims have to be reproduced.

    Raises
    ------
    CheckpointError
        Runs of one task come from different rows or from models with different weights.
    """
    require_same_origin(results)
    confidence, least = limit(threshold, "confidence"), limit(threshold, "points")
    table: list[dict[str, Any]] = []
    for task in sorted({r.config["task"] for r in results}):
        for method in METHODS:
            runs = [r for r in results if r.config["task"] == task and r.config["method"] == method]
            if runs:
                table.append(_row(task, method, runs, confidence))
    rows = verdict_rows(results, confidence, least)
    described = [
        f"{row['claim']} {row['verdict']}: {', '.join(map(in_words, row['comparisons'])) or 'no pair of runs'}" for row in rows
    ]
    described += [f"control of {row['claim']}: {in_words(control)}" for row in rows for control in row["controls"]]
    verdict = together([row["verdict"] for row in rows])
    comparisons = [comparison for row in rows for comparison in typed(row, least)] + beside(results, confidence, least)
    return Judgement(verdict=verdict, measured="; ".join(described), table=[*table, *rows], comparisons=comparisons)


def require_same_origin(results: Sequence[Result]) -> None:
    """Raise CheckpointError where runs to be compared read other rows, or adapted a model with other weights."""
    for task in {r.config["task"] for r in results}:
        runs = [r for r in results if r.config["task"] == task]
        for what, found in (("rows", {r.data_hash for r in runs}), ("model weights", {r.metrics["weights"] for r in runs})):
            if len(found) > 1:
                raise CheckpointError(
                    f"the runs of {task} have different {what} ({', '.join(sorted(str(f)[:10] for f in found))}): "
                    "data or model changed between them; repeat them in a new --out folder"
                )


def _row(task: str, method: str, runs: Sequence[Result], confidence: float) -> dict[str, Any]:
    found = interval([100 * r.held_out["test_score"] for r in runs], confidence)
    row = {
        "task": task, "method": method, "trainable": runs[0].trainable, "matched": runs[0].metrics["matched"],
        "learning_rate": runs[0].config["learning_rate"], "seeds": len(runs),
        "points": found.mean, "low": found.low, "high": found.high,
        "test_loss": statistics.fmean(r.held_out["test_loss"] for r in runs),
    }  # fmt: skip
    for name, scale in (("majority", 100.0), ("chrf", 1.0), ("no_class", 100.0)):
        values = [scale * r.held_out[f"test_{name}"] for r in runs if f"test_{name}" in r.held_out]
        if values:
            row[name] = statistics.fmean(values)
    return row
