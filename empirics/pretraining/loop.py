"""The training loop: killed and resumed it takes the same steps, bit for bit on a CPU.

The windows of a step are drawn from (seed, step) alone, so parameters, the optimisers' moments and the step's number are all
that the next step depends on, and all are in one file that is replaced atomically.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.corpus import Corpus
from ..errors import CheckpointError, InvalidInput
from ..models.lm import MambaLM
from ..training import checkpoint
from ..training.loop import OutOfTime
from ..training.progress import Tick
from .heldout import bits_per_byte
from .optimiser import Optimisers
from .parallel import Team
from .recipe import Recipe

CHECKPOINT = "training.safetensors"
"""Name of the checkpoint in the output folder."""


@dataclass
class Journal:
    """What training went through.

    Attributes
    ----------
    losses:
        Bits per byte of each step's windows, before the step.
    validation:
        (steps taken, bits per byte of the validation bytes).
    seconds:
        Wall-clock time over all calls.
    calls:
        For each call: first step, device, scan, processes.
    """

    losses: list[float] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    calls: list[dict[str, Any]] = field(default_factory=list)


def windows(data: Tensor, recipe: Recipe, step: int, rows: slice) -> Tensor:
    """(rows, sequence + 1) int64: windows of ``data`` that begin at uniform random places, drawn from (seed, step)."""
    starts = np.random.default_rng([recipe.seed, step]).integers(0, len(data) - recipe.sequence, size=recipe.batch)[rows]
    at = torch.from_numpy(starts).to(data.device)[:, None] + torch.arange(recipe.sequence + 1, device=data.device)
    return data[at].long()


def fresh_model(recipe: Recipe, scan: str = "chunked") -> MambaLM:
    """The untrained model of a recipe, on the CPU; PyTorch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return MambaLM(recipe.architecture(), scan=scan)


def pretrain(
    recipe: Recipe,
    corpus: Corpus,
    folder: Path,
    *,
    scan: str = "chunked",
    deadline: float = math.inf,
    team: Team | None = None,
    tick: Tick | None = None,
    say: Callable[[str], None] = lambda line: None,
    dtype: torch.dtype = torch.float32,
    autocast: bool | None = None,
) -> tuple[MambaLM, Journal]:
    """Train a model, or go on with it, until the recipe's last step.

    Steps of :class:`.optimiser.Optimisers` on the mean cross-entropy of the next byte; the gradient's norm is clipped over all
    parameters.

    Parameters
    ----------
    folder:
        Of the checkpoint, which stays there: a later call with the same recipe and corpus goes on from it, with any number of
        processes that divides the batch.
    scan:
        Name of the scan.
    deadline:
        Value of ``time.monotonic()`` after which training stops with a checkpoint.
    team:
        The processes that train together, on the CPU alone where left out.
    tick:
        Progress, see :mod:`empirics.training.progress`.
    say:
        Receives a line at each validation.
    dtype:
        Of the parameters.
    autocast:
        Whether matrix products are bfloat16; on CUDA where left out.

    Returns
    -------
    The model on its device, in evaluation mode, and the journal.

    Raises
    ------
    OutOfTime
        The deadline has passed; the same call goes on from there.
    InvalidInput
        The corpus is too short, or training diverged (the last checkpoint stays).
    CheckpointError
        The checkpoint is corrupt, or belongs to another recipe or corpus.
    """
    team = team or Team()
    for split, least in (("train", recipe.sequence + 1), ("validation", 2)):
        have = len(getattr(corpus, split))
        if have < least:
            raise InvalidInput(f"the {split} split has {have} bytes, this recipe needs at least {least}; give more text")
    rows = team.share(recipe.batch)
    began = time.monotonic()
    model = fresh_model(recipe, scan).to(device=team.device, dtype=dtype)
    named = dict(model.named_parameters())
    cuda = torch.device(team.device).type == "cuda"
    optimisers = Optimisers(recipe, named, cuda)
    owner = {"recipe": recipe.identity, "corpus": corpus.sha256}
    path = folder / CHECKPOINT
    journal = _restore(path, optimisers, owner) if path.exists() else Journal()
    start, before = len(journal.losses), journal.seconds
    if start > recipe.steps:
        raise CheckpointError(f"{path} is at step {start} of {recipe.steps}; delete it to start that run again")
    if start < recipe.steps:
        journal.calls.append({"from_step": start, "device": team.device, "scan": scan, "processes": team.world})
    # A parallel team has to agree on stopping, which is a message and a wait: now and then will do.
    look = 1 if team.world == 1 else 10
    data = torch.from_numpy(corpus.train.copy()).to(team.device)
    validation = corpus.validation[: recipe.validation_bytes]
    pending: list[Tensor] = []
    saved_at = start

    def settle(step: int) -> None:  # values are read off the device now and then only: every reading waits for the GPU
        values = torch.stack(pending).tolist() if pending else []
        pending.clear()
        for i, (loss, norm) in enumerate(values):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                at = step - len(values) + i
                kept = f"the checkpoint of step {saved_at} stays; " if path.exists() else ""
                raise InvalidInput(
                    f"loss {loss:.4g}, gradient norm {norm:.4g} at step {at}: training diverged; {kept}"
                    "lower learning_rate and start in another folder"
                )
        journal.losses.extend(loss / math.log(2) for loss, _ in values)

    def save(step: int) -> None:
        nonlocal saved_at
        journal.seconds = before + time.monotonic() - began
        if team.leads:
            checkpoint.save(path, optimisers.tensors(), {**owner, "journal": vars(journal)})
        saved_at = step

    for step in range(start, recipe.steps):
        if step % look == 0 and team.any(time.monotonic() > deadline):
            settle(step)
            if step > saved_at:
                save(step)
            raise OutOfTime
        optimisers.zero_grad()
        batch = windows(data, recipe, step, rows)
        with torch.autocast(torch.device(team.device).type, torch.bfloat16, enabled=cuda if autocast is None else autocast):
            logits = model(batch[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1).to(dtype), batch[:, 1:].flatten())
        loss.backward()
        value = loss.detach()
        team.average([*(p.grad for p in named.values() if p.grad is not None), value])
        norm = torch.nn.utils.clip_grad_norm_(named.values(), recipe.clip)
        optimisers.step(recipe.rate(step))
        pending.append(torch.stack([value, norm]))
        if tick is not None:
            tick("steps", step + 1, recipe.steps)
        if (step + 1) % recipe.every == 0 or step + 1 == recipe.steps:
            settle(step + 1)
            if team.leads:
                model.eval()
                bits, taken = bits_per_byte(model, validation), time.monotonic() - began
                journal.validation.append((step + 1, bits))
                say(f"step {step + 1} of {recipe.steps}: {bits:.4f} bits per byte, {taken:.0f} s")
                model.train()
            save(step + 1)
    return model.eval(), journal


def _restore(path: Path, optimisers: Optimisers, owner: Mapping[str, str]) -> Journal:
    tensors, values = checkpoint.load(path)
    try:
        found = {key: values[key] for key in owner}
        stored = dict(values["journal"])
        stored["validation"] = [(int(step), float(bits)) for step, bits in stored["validation"]]
        journal = Journal(**stored)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is no checkpoint of this command ({error}); delete it to start again") from error
    for key, value in owner.items():
        if found[key] != value:
            raise CheckpointError(f"{path} belongs to another {key}; delete it to start again, or give another --out")
    try:
        optimisers.restore(tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{path} cannot be used: {error}; delete it to start again") from error
    return journal
