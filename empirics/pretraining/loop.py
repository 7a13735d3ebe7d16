"""The training loop: killed and resumed it takes the same steps, bit for bit on a CPU.

The windows and dropout's masks of a step are drawn from (seed, step) alone, so parameters, the optimisers' moments and the step's
number are all that the next step depends on, and all are in one file that is replaced atomically.

On a GPU both passes of a step are one CUDA graph (:mod:`empirics.training.graphed`): launched from Python, the kernels of a small
model take longer to start than to run.
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
from ..training.graphed import GraphedLoss
from ..training.loop import OutOfTime
from ..training.progress import Tick
from .dropout import draw_from, dropping
from .heldout import bits_per_byte
from .optimiser import Optimisers
from .parallel import Team
from .recipe import Recipe
from .tokens import Encoded, encoded

CHECKPOINT, BEST = "training.safetensors", "best.safetensors"
"""Names in the output folder: the checkpoint; the model of the best validation so far, where the recipe keeps it."""


@dataclass
class Journal:
    """What training went through.

    Attributes
    ----------
    losses:
        Bits per byte of each step's windows, before the step; a token counts as many bytes as the training split's mean.
    validation:
        (steps taken, bits per byte of the validation bytes).
    seconds:
        Wall-clock time over all calls.
    calls:
        For each call: first step, device, scan, processes, whether steps were replayed.
    """

    losses: list[float] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    calls: list[dict[str, Any]] = field(default_factory=list)


def windows(data: Tensor, recipe: Recipe, step: int, rows: slice) -> Tensor:
    """(rows, sequence + 1) int64: windows of ``data`` that begin at uniform random places, drawn from (seed, step)."""
    starts = np.random.default_rng([recipe.seed, step]).integers(0, len(data) - recipe.sequence, size=recipe.batch)[rows]
    first = torch.from_numpy(starts)
    if data.is_cuda:  # from other memory the copy would wait for all that the GPU still has to do
        first = first.pin_memory()
    at = first.to(data.device, non_blocking=True)[:, None] + torch.arange(recipe.sequence + 1, device=data.device)
    return data[at].long()


def fresh_model(recipe: Recipe, scan: str = "chunked") -> MambaLM:
    """The untrained model of a recipe, on the CPU; PyTorch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return MambaLM(recipe.architecture(), scan=scan)


def pretrain(
    recipe: Recipe,
    corpus: Corpus | Encoded,
    folder: Path,
    *,
    scan: str = "chunked",
    deadline: float = math.inf,
    team: Team | None = None,
    tick: Tick | None = None,
    say: Callable[[str], None] = lambda line: None,
    dtype: torch.dtype = torch.float32,
    autocast: bool | None = None,
    graph: bool | None = None,
) -> tuple[MambaLM, Journal]:
    """Train a model, or go on with it, until the recipe's last step.

    Steps of :class:`.optimiser.Optimisers` on the mean cross-entropy of the next token; the gradient's norm is clipped over all
    parameters.

    Parameters
    ----------
    corpus:
        Encoded already, or else encoded here in the recipe's tokens.
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
    graph:
        Whether both passes of a step are replayed as one CUDA graph; on CUDA where left out.

    Returns
    -------
    The model on its device, in evaluation mode, and the journal. With ``keep_best`` it is the one of the best validation.

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
    text = corpus if isinstance(corpus, Encoded) else encoded(recipe, corpus, folder, team, tick, say)
    what = "bytes" if text.tokenizer is None else "tokens"
    for split, least in (("train", recipe.sequence + 1), ("validation", 2)):
        have = len(getattr(text, split))
        if have < least:
            raise InvalidInput(f"the {split} split has {have} {what}, this recipe needs at least {least}; give more text")
    rows = team.share(recipe.batch)
    began = time.monotonic()
    model = fresh_model(recipe, scan).to(device=team.device, dtype=dtype)
    named = dict(model.named_parameters())
    cuda = torch.device(team.device).type == "cuda"
    graph = cuda if graph is None else graph
    optimisers = Optimisers(recipe, named, cuda)
    owner = {"recipe": recipe.identity, "corpus": text.sha256}
    path = folder / CHECKPOINT
    journal = _restore(path, optimisers, owner) if path.exists() else Journal()
    start, before = len(journal.losses), journal.seconds
    if start > recipe.steps:
        raise CheckpointError(f"{path} is at step {start} of {recipe.steps}; delete it to start that run again")
    if start < recipe.steps:
        journal.calls.append({"from_step": start, "device": team.device, "scan": scan, "processes": team.world, "graph": graph})
    # A parallel team has to agree on stopping, which is a message and a wait: now and then will do.
    look = 1 if team.world == 1 else 10
    narrow = np.uint8 if text.tokenizer is None else np.int32
    data = torch.from_numpy(text.train.astype(narrow)).to(team.device)
    validation = text.validation[: max(2, int((text.widths[text.validation].cumsum() <= recipe.validation_bytes).sum()))]
    bits = 1 / (math.log(2) * text.bytes_per_token)
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
        journal.losses.extend(bits * loss for loss, _ in values)

    def save(step: int) -> None:
        nonlocal saved_at
        journal.seconds = before + time.monotonic() - began
        if team.leads:
            checkpoint.save(path, optimisers.tensors(), {**owner, "journal": vars(journal)})
        saved_at = step

    def validate(step: int) -> None:
        model.eval()
        found, taken = bits_per_byte(model, validation, widths=text.widths), time.monotonic() - began
        model.train()
        if recipe.keep_best and all(found < earlier for _, earlier in journal.validation):
            checkpoint.save(folder / BEST, named, {**owner, "step": step})
        journal.validation.append((step, found))
        say(f"step {step} of {recipe.steps}: {found:.4f} bits per byte, {taken:.0f} s")

    def mean_loss(batch: Tensor) -> Tensor:
        with torch.autocast(torch.device(team.device).type, torch.bfloat16, enabled=cuda if autocast is None else autocast):
            logits = model(batch[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1).to(dtype), batch[:, 1:].flatten())

    passes = GraphedLoss(mean_loss, named.values()) if graph else _Launched(mean_loss, optimisers)
    with dropping(model, recipe.dropout):
        for step in range(start, recipe.steps):
            if step % look == 0 and team.any(time.monotonic() > deadline):
                settle(step)
                if step > saved_at:
                    save(step)
                raise OutOfTime
            batch = windows(data, recipe, step, rows)
            if recipe.dropout:
                draw_from(recipe.seed, step, team.rank)
            value = passes(batch)
            team.average([*(p.grad for p in named.values() if p.grad is not None), value])
            norm = torch.nn.utils.clip_grad_norm_(named.values(), recipe.clip)
            optimisers.step(recipe.rate(step))
            pending.append(torch.stack([value, norm]))
            if tick is not None:
                tick("steps", step + 1, recipe.steps)
            if (step + 1) % recipe.every == 0 or step + 1 == recipe.steps:
                settle(step + 1)
                if team.leads:
                    validate(step + 1)
                save(step + 1)
    if recipe.keep_best:
        team.wait()
        _take_best(folder / BEST, named, owner)
    return model.eval(), journal


class _Launched:
    """What :class:`~empirics.training.graphed.GraphedLoss` computes, every kernel launched from Python."""

    def __init__(self, loss: Callable[[Tensor], Tensor], optimisers: Optimisers):
        self.loss, self.optimisers = loss, optimisers

    def __call__(self, batch: Tensor) -> Tensor:
        self.optimisers.zero_grad()
        value = self.loss(batch)
        value.backward()
        return value.detach()


@torch.no_grad()
def _take_best(path: Path, named: Mapping[str, Tensor], owner: Mapping[str, str]) -> None:
    tensors, values = checkpoint.load(path)
    if not isinstance(values, dict) or {key: values.get(key) for key in owner} != owner or tensors.keys() != named.keys():
        raise CheckpointError(f"{path} belongs to another training; delete the folder to start again")
    for name, parameter in named.items():
        parameter.copy_(tensors[name])


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
