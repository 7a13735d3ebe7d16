"""One fine-tuning: a method sized to a budget, trained with validation, resumable, and what came of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Generator, Tensor, nn

from theory.core.files import read_object, write_json

from ..errors import CheckpointError, Diverged, InvalidInput, UnknownName
from ..experiments.lm_benchmark.examples import Item
from ..experiments.lm_benchmark.methods import RECIPES, Sizing, configure, plan
from ..methods import Handle, MethodConfig, Scores, apply, method_config
from ..methods.scores import score, warm_up
from ..training.loop import Optimiser, train
from ..training.progress import Tick
from .identity import Settings, identity, require_same
from .objective import Measured, batch_loss, measure

CHOSEN = Path(__file__).parents[1] / "experiments" / "lm_benchmark" / "results.json"
ALIASES = {"lora": "lora_linear", "dora": "dora_linear"}
COMPARED = "lora_linear"
LOOKS = 4
"""Validations during training."""

FACTOR, MOST = 3.0, 3
"""Of a sweep: neighbouring rates differ by the factor, and the grid is widened so often while the best is at its edge."""

SELECT_STEPS, SELECT_RATE = 4, 1e-2
"""Of the warm-up that SDT's dimensions are chosen by."""


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes
    ----------
    curve:
        ``{"step", "bits_per_token"}`` on validation rows, the first before training.
    losses:
        Of the training batches, in nats.
    after:
        Validation rows under the trained model.
    trained:
        Number of trained numbers.
    """

    curve: list[dict[str, float]]
    losses: tuple[float, ...]
    after: Measured
    trained: int


def usual_rate(method: str) -> float:
    """The median of the learning rates that the benchmark on text chose for the method."""
    chosen = json.loads(CHOSEN.read_text(encoding="utf-8"))["tuned"]
    return float(median(row["learning_rate"] for row in chosen if row["method"] == method))


def known_method(name: str) -> str:
    """The benchmark's name of a method.

    Raises
    ------
    UnknownName
        There is none of that name.
    InvalidInput
        ``frozen``, which trains nothing.
    """
    method = ALIASES.get(name, name)
    if method == "frozen":
        raise InvalidInput("--method frozen trains nothing; give another one, for instance sdt_lora")
    if method not in RECIPES:
        raise UnknownName("method", name, {*RECIPES, *ALIASES} - {"frozen"})
    return method


def _batches(items: Sequence[Item], generator: Generator, size: int) -> list[Item]:
    return [items[i] for i in torch.randint(0, len(items), (size,), generator=generator).tolist()]


def choose(model: nn.Module, rows: Sequence[Item], settings: Settings) -> MethodConfig:
    """The method's configuration, sized to the budget: LoRA of the rank on both linear projections."""

    def scores(rule: str) -> dict[str, Scores]:
        generator = Generator().manual_seed(settings.seed + 1)
        batches = [_batches(rows, generator, settings.batch) for _ in range(SELECT_STEPS)]
        return score(rule, model, moved=warm_up(model, batch_loss, batches, SELECT_RATE), seed=settings.seed)

    sizing = Sizing(rank=settings.rank)
    config = configure(plan(settings.method, model, sizing), model, sizing, scores)
    assert config is not None
    return config


def fit(
    model: nn.Module,
    rows: Sequence[Item],
    validation: Sequence[Item],
    settings: Settings,
    folder: Path | None,
    tick: Tick | None = None,
) -> tuple[Handle, Outcome]:
    """Put the method on the model and train it; a folder keeps what is needed to go on after a kill.

    Raises
    ------
    Diverged
        The loss is not finite.
    CheckpointError
        The folder is of another fine-tuning: with other settings, other rows or another model.
    """
    config = _kept_config(model, rows, validation, settings, folder)
    handle = apply(model, config, settings.seed)
    try:
        return handle, _trained(handle, rows, validation, settings, folder, tick)
    except BaseException:
        handle.remove()
        raise


def _kept_config(
    model: nn.Module, rows: Sequence[Item], validation: Sequence[Item], settings: Settings, folder: Path | None
) -> MethodConfig:
    """The configuration: chosen once, and read again where this fine-tuning has begun already."""
    if folder is None:
        return choose(model, rows, settings)
    kept, own = folder / "method.json", identity(model, rows, validation, settings)
    if kept.is_file():
        found = read_object(kept, CheckpointError, f"delete {folder} to begin again")
        require_same(found, own, folder)
        try:
            options = dict(found["method"])
            return method_config(options.pop("name"), **options)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{kept} holds no method; delete {folder} to begin again") from error
    config = choose(model, rows, settings)
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_json(kept, {**own, "method": config.to_json()})
    return config


def _trained(
    handle: Handle,
    rows: Sequence[Item],
    validation: Sequence[Item],
    settings: Settings,
    folder: Path | None,
    tick: Tick | None,
) -> Outcome:
    model, generator = handle.model, Generator().manual_seed(settings.seed)
    kept = None if folder is None else folder / "curve.json"
    found = _kept_curve(kept)
    every = max(1, settings.steps // LOOKS)

    def look(step: int) -> Measured:
        measured = measure(model, validation, settings.batch)
        if not math.isfinite(measured.per_token):
            what = f"{settings.method} at rate {settings.rate:.3g}: held-out rows take {measured.per_token} bits at step {step}"
            raise Diverged(f"{what}, training diverged; give a lower --rate")
        found[step] = measured.per_token
        if kept is not None:
            write_json(kept, {"curve": _points(found)})
        return measured

    if 0 not in found:
        look(0)

    def loss(_: int) -> Tensor:
        return batch_loss(model, _batches(rows, generator, settings.batch))

    def progress(step: int) -> None:
        if tick is not None:
            tick(f"{settings.method}, rate {settings.rate:.2g}", step, settings.steps)
        if step % every == 0 and step < settings.steps:
            look(step)

    optimiser = Optimiser(settings.rate, settings.steps, warm_up=settings.steps // 10, linear_decay=True, clip=1.0)
    model.train()
    try:
        course = train(
            handle.trainable(), loss, optimiser, generators=[generator], every=every, keep=True, progress=progress,
            checkpoint=None if folder is None else folder / "checkpoint",
        )  # fmt: skip
    finally:
        model.eval()
    after = look(settings.steps)
    return Outcome(_points(found), course.losses, after, handle.n_trainable)


def _points(found: dict[int, float]) -> list[dict[str, float]]:
    return [{"step": step, "bits_per_token": found[step]} for step in sorted(found)]


def _kept_curve(path: Path | None) -> dict[int, float]:
    """Step → bits per token, as far as a run that was cut off had looked."""
    if path is None or not path.is_file():
        return {}
    remedy = "delete it to measure it again"
    curve = read_object(path, CheckpointError, remedy).get("curve")
    try:
        return {int(point["step"]): float(point["bits_per_token"]) for point in curve or ()}
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is no curve; {remedy}") from error


def best_rate(bits: Callable[[float], float], middle: float) -> tuple[float, dict[float, float]]:
    """The rate with the fewest bits among three around ``middle``, wider while it is at an edge; and what was found for each.

    A rate at which training diverges counts as infinitely bad.

    Raises
    ------
    Diverged
        At every rate.
    """
    found: dict[float, float] = {}

    def at(rate: float) -> None:
        try:
            found[rate] = bits(rate)
        except Diverged:
            found[rate] = float("inf")

    for rate in (middle / FACTOR, middle, middle * FACTOR):
        at(rate)
    for _ in range(MOST):
        best = min(found, key=lambda rate: found[rate])
        if best == max(found):
            at(best * FACTOR)
        elif best == min(found):
            at(best / FACTOR)
        else:
            break
    best = min(found, key=lambda rate: found[rate])
    if found[best] == float("inf"):
        raise Diverged(f"training diverges at every rate from {min(found):.2g} to {max(found):.2g}; are the rows sound?")
    return best, found
