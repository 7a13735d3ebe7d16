"""The command ``demo``: two ideas of the project on the bundled model and the shipped sentences, in two minutes on two cores.

First a prefix is trained and compiled into the initial state that does the same without tokens. Then the model, which has read
books, is adapted to the language of film reviews by LoRA on the linear projections and by SDT with LoRA, both with as many
trained numbers. What is measured is bits per byte on reviews that were not trained on, with an interval over them. Sentence
polarity itself is no demonstration: with so few steps and rows, methods end at the most frequent class.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ... import options as parsers
from ...data.tasks import Example, load_task, subset
from ...errors import InvalidInput
from ...methods import Handle, apply, compile_prefix, method_config
from ...methods.base import evaluating
from ...models import MambaLM
from ...study.runner import Context
from ...training.loop import Optimiser, train
from ...training.progress import bar
from .examples import Encoded, Item, answer_losses, batch_loss, by_length, padded
from .methods import configure, plan
from .model import base_model
from .run import Config, selection_scores
from .tokens import Tokens, tokens_for

PREFIX_STEPS, THREADS, NORMAL = 8, 2, 1.96
"""Steps of the prefix, whose loss does not matter; most threads; half-width of a 95 % interval in standard errors."""


def reviews(examples: Sequence[Example], tokens: Tokens, longest: int) -> Encoded:
    """The sentences alone, without the question and its answer: every token after the first is to be predicted."""
    texts = [example.prompt.rpartition("\n")[0] for example in examples]
    rows = [tuple(tokens.encode(text)[:longest]) for text in texts]
    items = tuple(Item(row, 1) for row in rows if len(row) > 1)
    return Encoded(items, tuple(item.tokens for item in items), None, (), 0)


def adapt(model: MambaLM, handle: Handle, data: Encoded, config: Config, label: str, seed: int) -> float:
    """Train what a handle trains; returns seconds."""
    generator = torch.Generator().manual_seed(seed)

    def loss(_: int) -> Tensor:
        rows = torch.randint(0, len(data.sequences), (config.batch,), generator=generator).tolist()
        return batch_loss(model, [data.sequences[i] for i in rows], "cpu")

    optimiser = Optimiser(config.learning_rate, config.steps, warm_up=config.steps // 10, linear_decay=True, clip=1.0)
    began = time.perf_counter()
    with bar(label, sys.stderr.isatty()) as tick:
        progress = None if tick is None else lambda step: tick("training", step, config.steps)
        train(handle.trainable(), loss, optimiser, generators=[generator], progress=progress)
    return time.perf_counter() - began


@torch.no_grad()
def bits(model: MambaLM, data: Encoded, size: int) -> Tensor:
    """Bits that each sentence takes after its first token, shape (number of sentences,)."""
    found = torch.zeros(len(data.sequences), dtype=torch.float64)
    with evaluating(model):
        for rows in by_length([len(item.tokens) for item in data.sequences], size):
            found[rows] = answer_losses(model, [data.sequences[i] for i in rows], "cpu")[0].double() / math.log(2)
    return found


@dataclass(frozen=True)
class Gain:
    """Bits per byte that a method saves, with a 95 % interval over sentences."""

    mean: float
    half_width: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.half_width:.3f}"


def gain(before: Tensor, after: Tensor, bytes_: Tensor) -> Gain:
    """Bits per byte saved: Σ (before − after)/Σ bytes, and 1.96 standard errors of this ratio over sentences."""
    saved, count = before - after, len(before)
    mean = float(saved.sum() / bytes_.sum())
    spread = float((saved - mean * bytes_).std()) if count > 1 else math.inf
    return Gain(mean, NORMAL * spread * math.sqrt(count) / float(bytes_.sum()))


def compile_trained_prefix(model: MambaLM, train_data: Encoded, test: Encoded, tokens: int, config: Config) -> dict[str, Any]:
    """Train a prefix, compile it, and compare; the model is left without a method.

    Returns
    -------
    ``seconds`` (of the training), ``difference`` and ``largest`` (of the logits), ``removed`` (largest change of the logits when
    the prefix is taken away instead), ``before`` and ``after`` (seconds of a pass with the prefix and compiled).
    """
    prefix = apply(model, method_config("prefix", tokens=tokens))
    seconds = adapt(model, prefix, train_data, config, "prefix", 0)
    ids = padded(test.prompts[:8], "cpu")
    with_prefix, before = _timed(model, ids)
    compiled = compile_prefix(prefix)
    with_state, after = _timed(model, ids)
    compiled.remove()
    bare, _ = _timed(model, ids)
    return {
        "seconds": seconds, "difference": float((with_prefix - with_state).abs().max()),
        "largest": float(with_prefix.abs().max()), "removed": float((with_prefix - bare).abs().max()),
        "before": before, "after": after,
    }  # fmt: skip


@torch.no_grad()
def _timed(model: MambaLM, ids: Tensor) -> tuple[Tensor, float]:
    with evaluating(model):
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            logits = model(ids)
            seconds.append(time.perf_counter() - began)
    assert isinstance(logits, Tensor)
    return logits, min(seconds)


def main_demo(argv: Sequence[str]) -> int:
    """The command; exit code 1 where the compiled prefix does not give the prefix's logits."""
    args = parsers.demo().parse_args(argv)
    for name in ("steps", "rows", "tokens"):
        if getattr(args, name) < 1:
            raise InvalidInput(f"--{name} {getattr(args, name)} must be at least 1")
    if args.seed < 0:
        raise InvalidInput(f"--seed {args.seed} must not be negative")
    torch.set_num_threads(min(THREADS, torch.get_num_threads()))  # fewer where OMP_NUM_THREADS or the machine says so
    config = Config(steps=args.steps, batch=8, learning_rate=1e-2, rank=4, select_steps=4, model=args.model)
    began = time.perf_counter()
    model = base_model(args.model, None, "cpu")
    tokens = tokens_for(args.model, model.config.vocab_size)
    data = load_task("polarity")
    train_data = reviews(data.train, tokens, config.longest)
    test = reviews(subset(data.test, args.rows), tokens, config.longest)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"Model: {args.model}, {millions:.2f} million parameters; {len(test.sequences)} test sentences.\n")

    prefix_config = config.model_copy(update={"steps": min(PREFIX_STEPS, args.steps)})
    found = compile_trained_prefix(model, train_data, test, args.tokens, prefix_config)
    # The state is what the same scan computes in float32: a difference of rounding, against logits of that size.
    bound = 1e-3 * found["largest"]
    same = found["difference"] <= bound
    training = f"{prefix_config.steps} steps of training ({found['seconds']:.0f} s)"
    print(
        f"1. A prefix of {args.tokens} tokens at every layer, {training}, compiled into a state and a convolution window:\n"
        f"   largest change of a logit {found['difference']:.1e} (logits up to {found['largest']:.1f}); without the prefix "
        f"{found['removed']:.1e}.\n"
        f"   One pass over 8 sentences: {1e3 * found['before']:.0f} ms with the tokens, {1e3 * found['after']:.0f} ms compiled.\n"
    )
    _adapted(model, train_data, test, tokens, config, args.seed)
    print(
        f"± is a 95 % interval over the {len(test.sequences)} sentences. {args.steps} steps at one rate show that the methods "
        f"adapt a model,\nnot which is better; for that there is python -m empirics sweep lm_benchmark. "
        f"{time.perf_counter() - began:.0f} s in all."
    )
    if not same:
        print(f"The compiled prefix differs by more than {bound:.1e}: the state is not what the prefix leaves.")
    return 0 if same else 1


def _adapted(model: MambaLM, train_data: Encoded, test: Encoded, tokens: Tokens, config: Config, seed: int) -> None:
    """Adapt the model with both methods in turn, and print what each saves."""
    lengths = [len(tokens.decode(item.tokens[1:]).encode()) for item in test.sequences]
    sizes = torch.tensor(lengths, dtype=torch.float64)
    table = Table(title="2. Film reviews, as many trained numbers for both methods", title_justify="left")
    for column in ("method", "trained", "bits per byte", "saved, 95 % interval", "training"):
        table.add_column(column, justify="left" if column == "method" else "right")
    before = bits(model, test, config.eval_batch)
    table.add_row("frozen", "0", f"{float(before.sum() / sizes.sum()):.3f}", "", "")
    for method in ("lora_linear", "sdt_lora"):
        planned = plan(method, model, config.sizing)
        chosen = configure(
            planned, model, config.sizing, lambda rule: selection_scores(rule, model, train_data, config, Context(seed))
        )
        assert chosen is not None
        handle = apply(model, chosen)
        seconds = adapt(model, handle, train_data, config, method, seed)
        after = bits(model, test, config.eval_batch)
        per_byte = f"{float(after.sum() / sizes.sum()):.3f}"
        table.add_row(method, f"{handle.n_trainable:,}", per_byte, str(gain(before, after, sizes)), f"{seconds:.0f} s")
        handle.remove()
    Console(width=None if Console().is_terminal else 110).print(table)
