"""Does an adapter take effect? Decided by running the model: perturb, compare, differentiate.

A forward pass that reads ``module.weight`` and never calls the module skips what a wrapper around the module adds, without a
word. Kernels do that for whole mixers, and so does plain code where it needs a weight alone. Each kind of tensor is adapted
twice, by peft's wrapper and by this project's parametrisation, on every path that a model has:

    evaluation     the parallel pass
    training       the parallel pass in training mode
    fused training the same where transformers finds mamba-ssm's kernels, which take whole mixers: these themselves on a GPU
                   that has them, else their arguments in PyTorch (:mod:`empirics.hosts.fused`)
    generation     token by token through the library's cache
    state method   this project's forward pass, which runs while a method on states is on the model
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InvalidInput, MissingPackage
from ..hosts.fused import fused_kernels, has_kernels
from ..hosts.reading import logits_of, token_by_token
from ..hosts.table import recognise
from ..hosts.takeover import give_back, take_over, taken_over
from ..models.lm import MambaLM
from .handle import apply
from .lora import LoRA
from .targets import NamedTensor, named_tensors, select_tensors, short_name

PATHS = ("evaluation", "training", "fused training", "generation", "state method")
LENGTH = 6
"""Tokens of the input."""

_FAILURES = (InvalidInput, TypeError, RuntimeError, AssertionError, AttributeError)
"""What a path raises that cannot be taken; kernels assert, PyTorch raises RuntimeError, and a wrapper lacks what its part has."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What one way of adapting one kind of tensor does.

    Attributes
    ----------
    paths:
        By path: ``yes`` (the logits change, and every adapter tensor gets a gradient where there is one), ``skipped`` (nothing
        changes), ``no gradient``, ``fails``.
    refused:
        Why it cannot be adapted in this way at all, in place of ``paths``.
    """

    paths: Mapping[str, str]
    refused: str = ""

    @property
    def word(self) -> str:
        """All paths in one word, or the ones that are not ``yes``."""
        if self.refused:
            return "refused"
        bad = [f"{path}: {what}" for path, what in self.paths.items() if what != "yes"]
        return ", ".join(bad) or "yes"


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of tensor: its short name, how many there are, the shape of the first, and both effects."""

    target: str
    count: int
    shape: tuple[int, ...]
    ours: Effect
    wrapped: Effect


def effects(model: nn.Module, targets: Iterable[str] | None = None, seed: int = 0) -> list[Row]:
    """A row for every kind of linear, convolution, embedding and state-space tensor; the model is left as it was.

    Parameters
    ----------
    targets:
        Names as methods take them; all kinds where left out.

    Raises
    ------
    UnknownName
        A target matches nothing.
    MissingPackage
        peft is not installed.
    """
    kinds = _kinds(model, targets)
    required = {p: p.requires_grad for p in model.parameters()}
    modes = {m: m.training for m in model.modules()}
    ids = _tokens(model, seed)
    try:
        base = {path: _before(model, ids, path, required) for path in _paths(model, ids)}
        return [
            Row(name, len(tensors), tuple(tensors[0].parameter.shape), _ours(model, tensors, ids, base, seed),
                _wrapped(model, tensors, ids, base, seed))
            for name, tensors in kinds.items()
        ]  # fmt: skip
    finally:
        for parameter, needed in required.items():
            parameter.requires_grad_(needed)
            parameter.grad = None
        for module, training in modes.items():
            module.training = training


def _before(model: nn.Module, ids: Tensor, path: str, required: Iterable[Tensor]) -> Tensor | str:
    """The logits without an adapter, or why there are none."""
    try:
        logits = _run(model, ids, path, required, False)[0]
    except _FAILURES as error:
        return " ".join(str(error).split())
    return (
        logits if bool(torch.isfinite(logits).all()) else "the model's own logits are not finite, so that nothing can be compared"
    )


def _kinds(model: nn.Module, targets: Iterable[str] | None) -> dict[str, list[NamedTensor]]:
    tensors = list(named_tensors(model))
    chosen = tensors if targets is None else select_tensors(tensors, targets)
    kinds: dict[str, list[NamedTensor]] = {}
    for tensor in chosen:
        in_mixer = recognise(tensor.module) is not None or hasattr(tensor.module, "A_log")
        layer = isinstance(tensor.module, nn.Linear | nn.Conv1d | nn.Embedding) and tensor.attribute == "weight"
        if layer or (in_mixer and tensor.parameter.ndim <= 2) or targets is not None:
            kinds.setdefault(short_name(tensor.name), []).append(tensor)
    return kinds


def _tokens(model: nn.Module, seed: int) -> Tensor:
    config: Any = model.config
    size = getattr(config, "vocab_size", None) or config.padded_vocab_size
    ids = torch.randint(0, size, (2, LENGTH), generator=torch.Generator().manual_seed(seed))
    return ids.to(next(model.parameters()).device)


def _paths(model: nn.Module, ids: Tensor) -> Sequence[str]:
    """Those that the model has: this project's own has one forward pass, and some mixers are never handed to a kernel."""
    if isinstance(model, MambaLM):
        return tuple(path for path in PATHS if path not in ("fused training", "state method"))
    if not hasattr(model, "prepare_inputs_for_generation"):  # mamba-ssm's own: its kernels are its only pass
        return tuple(path for path in PATHS if path != "fused training")
    calls: list[str] = []
    model.train()
    with fused_kernels(model, calls), torch.no_grad():
        logits_of(model, ids, use_cache=False)  # with a cache to fill, the kernels are not used
    return PATHS if calls else tuple(path for path in PATHS if path != "fused training")


@contextmanager
def _path(model: nn.Module, path: str) -> Iterator[None]:
    model.train(path in ("training", "fused training"))
    hosts = [m for m in model.modules() if recognise(m) is not None and not taken_over(m)] if path == "state method" else []
    try:
        for mixer in hosts:
            take_over(mixer)
        with fused_kernels(model) if path == "fused training" and not has_kernels(model) else nullcontext():
            yield
    finally:
        for mixer in hosts:
            give_back(mixer)


def _run(model: nn.Module, ids: Tensor, path: str, trained: Iterable[Tensor], differentiate: bool) -> tuple[Tensor, bool]:
    """Logits, and whether every trained tensor got a gradient."""
    torch.manual_seed(0)
    options = {"use_cache": False} if path == "fused training" else {}
    with _path(model, path):
        if path == "generation" or not differentiate:
            with torch.no_grad():
                stepped = path == "generation"
                return (token_by_token(model, ids, LENGTH // 2) if stepped else logits_of(model, ids, **options)), True
        for tensor in trained:
            tensor.grad = None
        out = logits_of(model, ids, **options)
        if out.requires_grad:
            out.float().square().sum().backward()
    return out.detach(), all(t.grad is not None and bool(t.grad.abs().max() > 0) for t in trained)


def _measured(model: nn.Module, ids: Tensor, base: Mapping[str, Tensor | str], trained: Sequence[Tensor]) -> Effect:
    found, reason = {}, ""
    for path, before in base.items():
        if isinstance(before, str):
            found[path], reason = "fails", before
            continue
        try:
            after, differentiated = _run(model, ids, path, trained, True)
        except _FAILURES as error:
            found[path], reason = "fails", " ".join(str(error).split())
            continue
        if not bool(torch.isfinite(after).all()):
            found[path], reason = "fails", "the logits with the adapter are not finite"
            continue
        # Where no gradient is asked for, rounding must not be taken for an effect: where tensors lie in memory may change bits.
        changed = float((after - before).abs().max()) > max(1e-4, 4 * torch.finfo(after.dtype).eps) * float(before.abs().max())
        graded = differentiated and path != "generation"
        found[path] = "yes" if graded or (changed and differentiated) else "no gradient" if changed else "skipped"
    return Effect(found, "" if set(found.values()) - {"fails"} else reason)


def _fill(parameters: Iterable[Tensor], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5)


def _ours(model: nn.Module, tensors: Sequence[NamedTensor], ids: Tensor, base: Mapping[str, Tensor | str], seed: int) -> Effect:
    try:
        handle = apply(model, LoRA(tuple(t.name for t in tensors), rank=1), seed)
    except InvalidInput as error:
        return Effect({}, str(error))
    try:
        trained = list(handle.trainable().values())
        _fill(trained, seed)
        return _measured(model, ids, base, trained)
    finally:
        handle.remove()


def _wrapped(
    model: nn.Module, tensors: Sequence[NamedTensor], ids: Tensor, base: Mapping[str, Tensor | str], seed: int
) -> Effect:
    try:
        import peft
    except ImportError as error:
        raise MissingPackage("peft", "models", str(error)) from error
    if any(t.tied_to for t in tensors):
        return Effect({}, "tied: peft would untie it")
    modules = [t.name.removesuffix(".weight") for t in tensors]
    if tensors[0].attribute != "weight":
        chosen: dict[str, Any] = {"target_modules": [], "target_parameters": [t.name for t in tensors]}
    else:
        chosen = {"target_modules": modules}
    own = tensors[0].module
    rank = own.groups if isinstance(own, nn.Conv1d) else 1  # what peft asks for
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            wrapped = peft.get_peft_model(model, peft.LoraConfig(r=rank, init_lora_weights=False, **chosen))
        except (ValueError, TypeError, RuntimeError, AttributeError) as error:
            _unwrap(model)
            return Effect({}, " ".join(str(error).split()))
        try:
            trained = [p for name, p in wrapped.named_parameters() if "lora_" in name and p.requires_grad]
            _fill(trained, seed)
            return _measured(wrapped.get_base_model(), ids, base, trained)
        finally:
            wrapped.unload()
            _unwrap(model)


def _unwrap(model: nn.Module) -> None:
    """Take off what peft leaves: its mark, and wrappers of an attempt that it broke off."""
    vars(model).pop("peft_config", None)
    for path, module in list(model.named_modules()):
        for name, child in list(module.named_children()):
            if hasattr(child, "base_layer") and type(child).__module__.startswith("peft."):
                setattr(model.get_submodule(path), name, child.get_base_layer())
