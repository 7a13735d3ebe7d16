"""A training loop that survives being killed: checkpoints in one file, bit-identical on the CPU.

Everything the next step depends on is in the checkpoint: trained tensors, AdamW's moments, the generators of the data and
PyTorch's own (dropout). A run that was killed and resumed therefore takes the same steps as one that was not.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ..errors import CheckpointError, Diverged, InvalidInput
from .checkpoint import load as load_checkpoint
from .checkpoint import save as save_checkpoint


class OutOfTime(Exception):
    """The time budget is spent; what is finished stays, and a later call goes on from there."""


Loss = Callable[[int], Tensor]
"""loss(step) -> scalar on that step's batch; draws its data from the generators given to :func:`train`.

One that puts the gradients into the parameters by itself, as :class:`.graphed.GraphedLoss` does, returns a value without a graph.
"""


@dataclass(frozen=True)
class Optimiser:
    """AdamW and the learning rate's course.

    Attributes
    ----------
    learning_rate, weight_decay, betas:
        Of AdamW.
    steps:
        Number of steps.
    warm_up:
        Steps over which the learning rate rises linearly.
    linear_decay:
        Whether it then falls linearly to zero at the last step.
    clip:
        Largest norm of the gradient; ``None`` for no bound.
    """

    learning_rate: float
    steps: int
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    warm_up: int = 0
    linear_decay: bool = False
    clip: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise InvalidInput(f"learning_rate is {self.learning_rate!r}, expected a positive number")
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise InvalidInput(f"steps is {self.steps!r}, expected an integer of at least 1")
        if not 0 <= self.weight_decay < math.inf:
            raise InvalidInput(f"weight_decay is {self.weight_decay!r}, expected a number of at least 0")
        if not 0 <= self.warm_up <= self.steps:
            raise InvalidInput(f"warm_up is {self.warm_up!r}, expected a number of steps in 0..{self.steps}")
        if self.clip is not None and not self.clip > 0:
            raise InvalidInput(f"clip is {self.clip!r}, expected a positive norm, or none")

    def rate(self, step: int) -> float:
        """Learning rate of step 0, 1, ..."""
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        if not self.linear_decay:
            return self.learning_rate
        return self.learning_rate * (self.steps - step) / (self.steps - self.warm_up)


@dataclass(frozen=True)
class Course:
    """What training went through.

    Attributes
    ----------
    losses:
        One for each step, measured before it.
    resumed_at:
        Step that this call began with.
    """

    losses: tuple[float, ...]
    resumed_at: int


def train(
    parameters: Mapping[str, nn.Parameter],
    loss: Loss,
    optimiser: Optimiser,
    *,
    generators: Sequence[Generator] = (),
    checkpoint: Path | None = None,
    every: int = 100,
    keep: bool = False,
    brief: bool = False,
    fused: bool = False,
    deadline: float = math.inf,
    progress: Callable[[int], None] | None = None,
) -> Course:
    """Train named tensors in place.

    Parameters
    ----------
    parameters:
        What is trained, for instance ``handle.trainable()``.
    generators:
        Random sources that ``loss`` draws from; their states are saved and restored.
    checkpoint:
        Folder to resume from and to write to, every ``every`` steps; removed when training is complete.
    keep:
        Leave the last checkpoint there instead: a later call with the same arguments returns at once, with the tensors and
        generators as they were at the end.
    brief:
        Write a checkpoint at the deadline only, and leave none at the end: for a training of seconds.
    fused:
        AdamW in a few kernels for all tensors, on a GPU; a CPU computes as ever.
    deadline:
        Value of ``time.monotonic()`` after which training stops with a checkpoint.
    progress:
        Called with the number of steps taken.

    Raises
    ------
    OutOfTime
        The deadline has passed; the same call goes on from there.
    Diverged
        The loss is not finite.
    InvalidInput
        There is nothing to train, or a loss gives no gradient.
    CheckpointError
        The checkpoint is corrupt, or belongs to another run.
    """
    if not parameters:
        raise InvalidInput("nothing to train: no parameter given")
    fused = fused and next(iter(parameters.values())).is_cuda
    adamw = torch.optim.AdamW(
        parameters.values(), lr=optimiser.learning_rate, weight_decay=optimiser.weight_decay, betas=optimiser.betas,
        fused=fused or None,
    )  # fmt: skip
    losses: list[float] = []
    if checkpoint is not None and (checkpoint / STATE).is_file():
        losses = _restore(checkpoint, parameters, adamw, optimiser, generators)
    start = len(losses)
    if start > optimiser.steps:
        raise CheckpointError(f"{checkpoint} is at step {start} of {optimiser.steps}; delete it to start that run again")
    pending: list[Tensor] = []

    def settle(step: int) -> None:  # a loss is read off the device now and then only: every reading waits for the GPU
        values = [float(v) for v in torch.stack(pending).tolist()] if pending else []
        pending.clear()
        for i, value in enumerate(values):
            if not math.isfinite(value):
                at = step - len(values) + i
                raise Diverged(f"the loss is {value} at step {at}: training diverged; lower learning_rate")
        losses.extend(values)

    for step in range(start, optimiser.steps):
        if time.monotonic() > deadline:
            settle(step)
            if checkpoint is not None and losses:
                _save(checkpoint, parameters, adamw, optimiser, generators, losses)
            raise OutOfTime
        for group in adamw.param_groups:
            group["lr"] = optimiser.rate(step)
        adamw.zero_grad(set_to_none=True)
        value = loss(step)
        if value.requires_grad:
            value.backward()
        elif all(parameter.grad is None for parameter in parameters.values()):
            raise InvalidInput("the loss depends on no trained tensor, or was cut off from them: there is no gradient")
        if optimiser.clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters.values(), optimiser.clip)
        adamw.step()
        pending.append(value.detach())
        if progress is not None:
            progress(step + 1)
        if (step + 1) % every == 0:
            settle(step + 1)
            if checkpoint is not None and not brief and step + 1 < optimiser.steps:
                _save(checkpoint, parameters, adamw, optimiser, generators, losses)
    settle(optimiser.steps)
    if checkpoint is not None and keep and not brief:
        if start < optimiser.steps:
            _save(checkpoint, parameters, adamw, optimiser, generators, losses)
    elif checkpoint is not None:
        shutil.rmtree(checkpoint, ignore_errors=True)
    return Course(tuple(losses), start)


def _save(
    folder: Path,
    parameters: Mapping[str, nn.Parameter],
    adamw: torch.optim.AdamW,
    optimiser: Optimiser,
    generators: Sequence[Generator],
    losses: Sequence[float],
) -> None:
    tensors: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        tensors[f"value.{name}"] = parameter.detach()
        for key, value in adamw.state[parameter].items():
            tensors[f"{key}.{name}"] = torch.as_tensor(value)
    for i, generator in enumerate(generators):
        tensors[f"generator.{i}"] = generator.get_state()
    tensors["generator.torch"] = torch.get_rng_state()
    device = next(iter(parameters.values())).device
    if device.type == "cuda":
        tensors["generator.cuda"] = torch.cuda.get_rng_state(device)
    save_checkpoint(folder / STATE, tensors, {"losses": list(losses), "optimiser": asdict(optimiser)})


STATE = "training.safetensors"
"""File of a checkpoint's folder: tensors, and as JSON in its metadata losses and options."""


def _restore(
    folder: Path,
    parameters: Mapping[str, nn.Parameter],
    adamw: torch.optim.AdamW,
    optimiser: Optimiser,
    generators: Sequence[Generator],
) -> list[float]:
    tensors, record = load_checkpoint(folder / STATE)
    try:
        losses = [float(v) for v in record["losses"]]
        options = record["optimiser"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder} holds no checkpoint of training ({error!r}); delete it to start that run again"
        ) from error
    if options != json.loads(json.dumps(asdict(optimiser))):
        raise CheckpointError(f"{folder} belongs to a run with other options {options}; delete it to start again")
    by_name: dict[str, dict[str, Tensor]] = {name: {} for name in parameters}
    for full, tensor in tensors.items():
        key, _, name = full.partition(".")
        if key == "generator":
            continue
        if name not in by_name:
            raise CheckpointError(f"{folder} holds {name}, which this run does not train; delete it to start again")
        by_name[name][key] = tensor
    with torch.no_grad():
        for name, parameter in parameters.items():
            found = by_name[name]
            value = found.pop("value", None)
            if value is None or value.shape != parameter.shape or value.is_complex() != parameter.is_complex():
                raise CheckpointError(f"{folder} does not fit tensor {name}; delete it to start that run again")
            parameter.copy_(value)
            adamw.state[parameter] = {key: _like(v, parameter, key, adamw) for key, v in found.items()}
    for i, generator in enumerate(generators):
        _set_state(generator.set_state, tensors, f"generator.{i}", folder)
    _set_state(torch.set_rng_state, tensors, "generator.torch", folder)
    device = next(iter(parameters.values())).device
    if device.type == "cuda":
        _set_state(lambda state: torch.cuda.set_rng_state(state, device), tensors, "generator.cuda", folder)
    return losses


def _like(value: Tensor, parameter: nn.Parameter, key: str, adamw: torch.optim.AdamW) -> Tensor:
    if key == "step" and not adamw.defaults["fused"]:
        return value  # AdamW keeps it on the CPU
    return value.to(parameter.device)


def _set_state(setter: Callable[[Tensor], Any], tensors: Mapping[str, Tensor], name: str, folder: Path) -> None:
    if name not in tensors:
        raise CheckpointError(f"{folder} lacks {name}; delete it to start that run again")
    setter(tensors[name])
