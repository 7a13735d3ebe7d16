"""The command ``demo``: two ideas of the project on the bundled model and the shipped sentences, in two minutes on one CPU core.

First a prefix is trained and compiled into the initial state that does the same without tokens. Then the model is adapted to
sentence polarity by LoRA on the linear projections and by SDT with LoRA, both with as many trained numbers.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from theory.core.arguments import Parser

from ...data.tasks import load_task, subset
from ...errors import InvalidInput
from ...methods import Handle, apply, compile_prefix, method_config
from ...methods.base import evaluating
from ...models import MambaLM
from ...study.runner import Context
from ...training.loop import Optimiser, train
from ...training.progress import bar
from .examples import Encoded, batch_loss, encode, padded, predictions
from .methods import configure, plan
from .metrics import NO_CLASS, accuracy, majority
from .model import BUNDLED, base_model
from .run import Config, selection_scores
from .tokens import tokens_for


def adapt(model: MambaLM, handle: Handle, data: Encoded, config: Config, label: str) -> tuple[float, float]:
    """Train what a handle trains; returns (mean loss of the last tenth of the steps in nats, seconds)."""
    generator = torch.Generator().manual_seed(0)

    def loss(_: int) -> Tensor:
        rows = torch.randint(0, len(data.sequences), (config.batch,), generator=generator).tolist()
        return batch_loss(model, [data.sequences[i] for i in rows], "cpu")

    optimiser = Optimiser(config.learning_rate, config.steps, warm_up=config.steps // 10, linear_decay=True, clip=1.0)
    began = time.perf_counter()
    with bar(label, sys.stderr.isatty()) as tick:
        progress = None if tick is None else lambda step: tick("training", step, config.steps)
        course = train(handle.trainable(), loss, optimiser, generators=[generator], progress=progress)
    last = course.losses[-max(1, config.steps // 10) :]
    return sum(last) / len(last), time.perf_counter() - began


def compile_trained_prefix(model: MambaLM, train_data: Encoded, test: Encoded, tokens: int, config: Config) -> dict[str, Any]:
    """Train a prefix, compile it, and compare; the model is left without a method.

    Returns
    -------
    ``loss``, ``seconds`` (of the training), ``difference`` and ``largest`` (of the logits), ``removed`` (largest change of the
    logits when the prefix is taken away instead), ``before`` and ``after`` (seconds of a pass with the prefix and compiled).
    """
    prefix = apply(model, method_config("prefix", tokens=tokens))
    loss, seconds = adapt(model, prefix, train_data, config, "prefix")
    ids = padded(test.prompts[:8], "cpu")
    with_prefix, before = _timed(model, ids)
    compiled = compile_prefix(prefix)
    with_state, after = _timed(model, ids)
    compiled.remove()
    bare, _ = _timed(model, ids)
    return {
        "loss": loss, "seconds": seconds, "difference": float((with_prefix - with_state).abs().max()),
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
    parser = Parser(
        prog="python -m empirics demo",
        description="Compile a trained prefix, then adapt to sentence polarity with LoRA and with SDT + LoRA.",
    )
    parser.add_argument("--model", default=BUNDLED, metavar="PATH", help="a byte-level model (default: the bundled one)")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="optimiser steps of each training (default 20)")
    parser.add_argument("--rows", type=int, default=100, metavar="N", help="test sentences (default 100, at most 200)")
    parser.add_argument("--tokens", type=int, default=16, metavar="M", help="length of the prefix (default 16)")
    args = parser.parse_args(argv)
    for name in ("steps", "rows", "tokens"):
        if getattr(args, name) < 1:
            raise InvalidInput(f"--{name} {getattr(args, name)} must be at least 1")
    torch.set_num_threads(1)
    config = Config(steps=args.steps, batch=8, learning_rate=5e-3, rank=4, select_steps=4, model=args.model)
    began = time.perf_counter()
    model = base_model(args.model, None, "cpu")
    tokens = tokens_for(args.model, model.config.vocab_size)
    data = load_task("polarity")
    train_data = encode(data.task, data.train, tokens, config.longest)
    test = encode(data.task, subset(data.test, args.rows), tokens, config.longest)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"Model: {args.model}, {millions:.2f} million parameters, byte-level; {len(test.prompts)} test sentences.\n")

    found = compile_trained_prefix(model, train_data, test, args.tokens, config)
    # The state is what the same scan computes in float32: a difference of rounding, against logits of that size.
    bound = 1e-3 * found["largest"]
    same = found["difference"] <= bound
    print(
        f"1. A prefix of {args.tokens} tokens at every layer, {args.steps} steps of training ({found['seconds']:.0f} s), "
        f"compiled into a state and a convolution window:\n"
        f"   largest change of a logit {found['difference']:.1e} (logits up to {found['largest']:.1f}); without the prefix "
        f"{found['removed']:.1e}.\n"
        f"   One pass over 8 sentences: {1e3 * found['before']:.0f} ms with the tokens, {1e3 * found['after']:.0f} ms compiled.\n"
    )

    table = Table(title="2. Sentence polarity, as many trained numbers for both", title_justify="left")
    for column in ("method", "trained", "test accuracy", "no class", "test loss", "training"):
        table.add_column(column, justify="left" if column == "method" else "right")
    guess = majority(train_data.labels, len(test.labels))
    table.add_row("majority class", "0", _percent(accuracy(test.labels, guess), len(test.labels)), "", "", "")
    for method in ("frozen", "lora_linear", "sdt_lora"):
        handle, seconds = None, 0.0
        planned = plan(method, model, config.sizing)
        chosen = configure(
            planned, model, config.sizing, lambda rule: selection_scores(rule, model, train_data, config, Context(0))
        )
        if chosen is not None:
            handle = apply(model, chosen)
            _, seconds = adapt(model, handle, train_data, config, method)
        predicted, loss = predictions(model, test, config.eval_batch, "cpu")
        share = sum(p == NO_CLASS for p in predicted) / len(predicted)
        trained = f"{handle.n_trainable:,}" if handle is not None else "0"
        right = _percent(accuracy(test.labels, predicted), len(predicted))
        table.add_row(method, trained, right, f"{100 * share:.0f} %", f"{loss:.3f}", f"{seconds:.0f} s")
        if handle is not None:
            handle.remove()
    Console(width=None if Console().is_terminal else 110).print(table)
    print(
        f"± is one standard error of the {len(test.labels)} sentences. {args.steps} steps at one rate show the machinery,\n"
        f"not which method is better; for that there is python -m empirics sweep lm_benchmark. "
        f"{time.perf_counter() - began:.0f} s in all."
    )
    if not same:
        print(f"The compiled prefix differs by more than {bound:.1e}: the state is not what the prefix leaves.")
    return 0 if same else 1


def _percent(share: float, count: int) -> str:
    return f"{100 * share:.0f} ± {100 * math.sqrt(share * (1 - share) / count):.0f} %"
