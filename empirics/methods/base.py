"""A fine-tuning method is a frozen configuration and ``apply(model, config) -> Handle``.

Parameter methods are parametrisations of named tensors (``torch.nn.utils.parametrize``) or train a tensor in place, so that
every scan that reads ``module.weight`` sees the adapted tensor. State methods are hooks at the mixers. All other parameters
are frozen (``requires_grad = False``), so that no optimiser step or weight decay can reach them.
"""

from __future__ import annotations

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils import parametrize

from ..errors import CheckpointError, InvalidInput, UnknownName
from ..models.hooks import MixerHook, PromptHook
from .adapter_file import Fingerprint, compare_fingerprints, fingerprint, read_adapter, write_adapter
from .joint_hook import join_hooks
from .targets import NamedTensor, canonical, named_tensors, require_untied, select_tensors

_METHODS: dict[str, type[MethodConfig]] = {}
_MARK = "_ssmproof_method"
"""Attribute of a model that carries a method: the method's name. On the model itself, so that a deep copy carries it, too."""


@dataclasses.dataclass(frozen=True)
class MethodConfig(ABC):
    """Options of one method. Subclasses are frozen dataclasses whose fields are JSON values or tuples of them."""

    name: ClassVar[str]

    def __new__(cls, *_: object, **options: object) -> Self:
        for option in options:
            require_option(cls, option)
        return object.__new__(cls)

    def __post_init__(self) -> None:
        """Lists become tuples; subclasses check their options after this."""
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if isinstance(value, list):
                object.__setattr__(self, f.name, tuple(value))

    @abstractmethod
    def attach(self, to: Attachment) -> None:
        """Attach the method to ``to.model`` through ``to.parametrize``, ``to.train``, ``to.hook`` or ``to.prompt``."""

    def to_json(self) -> dict[str, Any]:
        """The options and the method's name as JSON values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {"name": self.name, **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}}

    @classmethod
    def from_json(cls, options: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`, without the name."""
        for option in options:
            require_option(cls, option)
        for f in dataclasses.fields(cls):
            if f.name not in options and f.default is dataclasses.MISSING:
                raise InvalidInput(f"method {cls.name} needs the option {f.name}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in options.items()})


FROM_PEFT = {
    "r": "rank", "target_modules": "targets", "lora_alpha": "alpha", "lora_dropout": "dropout", "num_virtual_tokens": "tokens",
    "layers_to_transform": "layers",
}  # fmt: skip
"""peft's names of options, and the names that they have here."""


def require_option(cls: type[MethodConfig], option: str) -> None:
    """Raise :class:`UnknownName` unless a method has an option of that name; peft's names are answered with ours."""
    known = {f.name for f in dataclasses.fields(cls)}
    if option in known:
        return
    ours = FROM_PEFT.get(option)
    if ours in known:
        raise UnknownName(f"option of method {cls.name}", option, known, f"peft's {option} is called {ours} here; ")
    raise UnknownName(f"option of method {cls.name}", option, known)


Config = TypeVar("Config", bound=type[MethodConfig])


def register(config: Config) -> Config:
    """Class decorator: make a configuration known under its ``name``."""
    if config.name in _METHODS:
        raise InvalidInput(f"method {config.name!r} is registered twice")
    _METHODS[config.name] = config
    return config


def method_names() -> tuple[str, ...]:
    """Names of the registered methods."""
    return tuple(sorted(_METHODS))


def method_config(name: str, **options: Any) -> MethodConfig:
    """The configuration of a method by name, for instance ``method_config("lora", rank=4)``.

    Raises
    ------
    UnknownName
        No such method, or no such option of it; the nearest valid name is given.
    InvalidInput
        An option has an unusable value.
    """
    if name not in _METHODS:
        raise UnknownName("method", name, _METHODS)
    return _METHODS[name].from_json(options)


def adapter_dtype(tensor: Tensor) -> torch.dtype:
    """Dtype of an adapter's own tensors: that of the base, but float32 for half precision (small steps would round away)."""
    return torch.float32 if tensor.dtype in (torch.bfloat16, torch.float16) else tensor.dtype


def _copy_parametrized(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """A deep copy with a class of its own: PyTorch's copies share the class that reads the adapted tensors, so that removing the
    method from one of them would take the tensors from the others."""
    shared = type(module)
    attributes = {name: value for name, value in vars(shared).items() if name not in ("__dict__", "__weakref__")}
    own = type(shared.__name__, shared.__bases__, attributes)
    replica: nn.Module = object.__new__(own)
    memo[id(module)] = replica
    replica.__dict__ = copy.deepcopy(vars(module), memo)
    return replica


class Attachment:
    """What a method has put on a model, and how to take it off again.

    Attributes
    ----------
    model:
        The model.
    generator:
        Source of the random starting values (CPU, so that they do not depend on the device).
    """

    def __init__(self, model: nn.Module, generator: Generator):
        self.model, self.generator = model, generator
        self.trainable: dict[str, nn.Parameter] = {}
        self.parametrized: list[NamedTensor] = []
        self.snapshots: dict[str, Tensor] = {}
        self.hooked: list[MixerHook] = []
        self.has_prompt = False
        self._hooks: dict[str, list[MixerHook]] = {}
        self._required = {p: p.requires_grad for p in model.parameters()}

    def tensors(self, targets: Iterable[str] | None = None) -> list[NamedTensor]:
        """The model's own tensors, or those of them that the targets select (errors as :func:`.targets.find_tensors`)."""
        added = {id(p) for name, p in self.trainable.items() if name not in self.snapshots}
        own = [t for t in named_tensors(self.model) if id(t.parameter) not in added]
        return own if targets is None else select_tensors(own, targets)

    def parametrize(self, tensor: NamedTensor, parametrization: nn.Module) -> None:
        """Read ``tensor`` through ``parametrization``, whose parameters are trained."""
        require_untied(tensor)
        if self.trainable.keys() & {tensor.name}:
            raise InvalidInput(f"{tensor.name} is already trained in full; give it to one method only")
        mine = any(t.name == tensor.name for t in self.parametrized)
        if not mine and parametrize.is_parametrized(tensor.module, tensor.attribute):
            raise InvalidInput(f"{tensor.name} is parametrised already, not by this method; remove that parametrisation first")
        device = tensor.parameter.device
        parametrize.register_parametrization(tensor.module, tensor.attribute, parametrization.to(device))
        type(tensor.module).__deepcopy__ = _copy_parametrized  # type: ignore[attr-defined]
        if not mine:
            self.parametrized.append(tensor)
        self._add(tensor.name, parametrization)

    def train(self, tensor: NamedTensor) -> None:
        """Train a tensor of the model in place."""
        if any(t.name == tensor.name for t in self.parametrized):
            raise InvalidInput(f"{tensor.name} already carries an adapter; give it to one method only")
        if tensor.name not in self.snapshots:
            self.snapshots[tensor.name] = tensor.parameter.detach().to("cpu", copy=True)
        self._register(tensor.name, tensor.parameter)

    def hook(self, mixer_name: str, hook: MixerHook) -> None:
        """Attach a hook to a mixer, joined with hooks that other parts of the same method put there."""
        mixer = self.model.get_submodule(mixer_name)
        if mixer_name not in self._hooks and mixer.hook is not None:
            raise InvalidInput(f"{mixer_name} already has a hook ({type(mixer.hook).__name__}); set mixer.hook = None first")
        hook.to(next(mixer.parameters()).device)
        hooks = [*self._hooks.get(mixer_name, []), hook]
        joined = join_hooks(hooks)
        self._add(f"{mixer_name}.hook", hook)
        self._hooks[mixer_name] = hooks
        mixer.hook = joined

    def prompt(self, hook: PromptHook) -> None:
        """Put soft prompt tokens before the embedded sequence."""
        if not hasattr(self.model, "prompt_tokens"):
            raise InvalidInput(f"{type(self.model).__name__} takes no prompt tokens; use a language model (MambaLM)")
        if self.model.prompt_tokens is not None:
            raise InvalidInput("the model already has prompt tokens; set model.prompt_tokens = None first")
        self.model.prompt_tokens = hook.to(next(self.model.parameters()).device)
        self.has_prompt = True
        self._add("prompt_tokens", hook)

    def freeze_rest(self) -> None:
        """Freeze every parameter that the method does not train."""
        trained = {id(p) for p in self.trainable.values()}
        for parameter in self.model.parameters():
            parameter.requires_grad_(id(parameter) in trained)

    def base_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Names and values of the model without the method."""
        for tensor in self.tensors():
            yield tensor.name, self.snapshots.get(tensor.name, tensor.parameter)

    def take_off(self, keep_values: bool) -> None:
        """Undo everything; with ``keep_values`` write the adapted values into the model's tensors first."""
        adapted = [getattr(t.module, t.attribute).detach() for t in self.parametrized] if keep_values else []
        for tensor in self.parametrized:
            parametrize.remove_parametrizations(tensor.module, tensor.attribute, leave_parametrized=False)
        with torch.no_grad():
            for tensor, value in zip(self.parametrized, adapted, strict=False):
                tensor.parameter.copy_(value)
            if not keep_values:
                for name, value in self.snapshots.items():
                    self.trainable[name].copy_(value)
        for name in self._hooks:
            setattr(self.model.get_submodule(name), "hook", None)  # noqa: B010 (a Module attribute, typed as Tensor or Module)
        if self.has_prompt:
            setattr(self.model, "prompt_tokens", None)  # noqa: B010
        for parameter, required in self._required.items():
            parameter.requires_grad_(required)
            parameter.grad = None

    @property
    def acts_on_state(self) -> bool:
        """Whether a part of the method is no change of weights."""
        return self.has_prompt or bool(self._hooks)

    def _add(self, prefix: str, module: nn.Module) -> None:
        for name, parameter in module.named_parameters():
            self._register(f"{prefix}.{name}", parameter)

    def _register(self, name: str, parameter: nn.Parameter) -> None:
        if name in self.trainable:
            raise InvalidInput(f"{name} is given to two parts of one method; give it to one only")
        self.trainable[name] = parameter


def _numbers(tensor: Tensor) -> int:
    return tensor.numel() * (2 if tensor.is_complex() else 1)


class Handle:
    """A method on a model. Made by :func:`apply`; see there.

    Attributes
    ----------
    model, config:
        The adapted model and the method.
    """

    def __init__(self, model: nn.Module, config: MethodConfig, attachment: Attachment):
        self.model, self.config = model, config
        self._attachment: Attachment | None = attachment
        self._fingerprint: Fingerprint | None = None

    def __repr__(self) -> str:
        name, kind = self.config.name, type(self.model).__name__
        return f"<{name}, no longer on {kind}>" if self._attachment is None else f"<{name} on {kind}: {self.summary()}>"

    def summary(self) -> str:
        """Trained and all numbers, and the share: what peft prints as "trainable params"."""
        trained, trainable = self.attachment.trainable, self.n_trainable
        whole = sum(_numbers(p) for p in {id(p): p for p in self.model.parameters()}.values())
        tensors = f"{len(trained)} tensor{'s' if len(trained) != 1 else ''}"
        return f"{trainable:,} of {whole:,} numbers are trained ({trainable / whole:.2%}), in {tensors}"

    def print_trainable_parameters(self) -> None:
        """Print :meth:`summary`, under the name that peft's users know."""
        print(self.summary())

    def _repr_html_(self) -> str:
        from theory.display import Table

        if self._attachment is None:
            return Table(("method", self.config.name), [["state", "taken off"]])._repr_html_()
        shapes = [[name, " × ".join(map(str, p.shape)), f"{p.numel():,}"] for name, p in self._attachment.trainable.items()]
        return Table(("trained tensor", "shape", "numbers"), shapes, repr(self))._repr_html_()

    @property
    def attachment(self) -> Attachment:
        """What is attached.

        Raises
        ------
        InvalidInput
            The method was removed or merged.
        """
        if self._attachment is None:
            raise InvalidInput(f"this {self.config.name} handle is no longer on the model; apply the method again")
        return self._attachment

    def trainable(self) -> dict[str, nn.Parameter]:
        """The trained tensors by name; every other parameter of the model is frozen."""
        return dict(self.attachment.trainable)

    @property
    def n_trainable(self) -> int:
        """Number of trained numbers (a complex one counts twice)."""
        return sum(map(_numbers, self.attachment.trainable.values()))

    @property
    def mergeable(self) -> bool:
        """Whether the method changes weights only, so that :meth:`merge` is exact."""
        return not self.attachment.acts_on_state

    def fingerprint(self) -> Fingerprint:
        """Shape, dtype and hash of every tensor of the model without the method."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self.attachment.base_tensors())
        return self._fingerprint

    def values(self) -> dict[str, Tensor]:
        """Copies of the trained tensors."""
        return {name: p.detach().clone() for name, p in self.attachment.trainable.items()}

    def set_values(self, values: Mapping[str, Tensor]) -> None:
        """Overwrite the trained tensors.

        Raises
        ------
        CheckpointError
            Names, shapes or values (NaN, infinity) do not fit; nothing is changed then.
        """
        own = self.attachment.trainable
        for name in (*own.keys() - values.keys(), *values.keys() - own.keys()):
            where = "is missing" if name in own else "does not belong to this method"
            raise CheckpointError(f"tensor {name} {where}; expected {', '.join(own)}")
        for name, parameter in own.items():
            if values[name].shape != parameter.shape:
                raise CheckpointError(f"{name} has shape {tuple(values[name].shape)}, expected {tuple(parameter.shape)}")
            if not torch.isfinite(values[name]).all():
                raise CheckpointError(f"{name} holds NaN or infinity; take an adapter whose training did not diverge")
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(values[name])

    def save(self, folder: str | Path) -> None:
        """Write ``adapter.safetensors`` and ``adapter.json`` (see :mod:`.adapter_file`), each atomically."""
        write_adapter(Path(folder), self.config.to_json(), self.fingerprint(), self.values())

    def merge(self) -> nn.Module:
        """Write the adapted weights into the model and detach the method; outputs stay the same.

        Raises
        ------
        InvalidInput
            The method acts on states or tokens, which no weight of the model can express.
        """
        if not self.mergeable:
            raise InvalidInput(f"{self.config.name} acts on tokens or states and cannot be merged into weights; keep the handle")
        with evaluating(self.model):
            self._detach(keep_values=True)
        return self.model

    def remove(self) -> nn.Module:
        """Detach the method; the model is bit for bit what it was before :func:`apply`."""
        self._detach(keep_values=False)
        return self.model

    def _detach(self, keep_values: bool) -> None:
        self.attachment.take_off(keep_values)
        self._attachment = None
        delattr(self.model, _MARK)


def apply(model: nn.Module, config: MethodConfig, seed: int = 0) -> Handle:
    """Put a method on a model, in place, and freeze everything that it does not train.

    Parameters
    ----------
    config:
        One of the registered configurations (:func:`method_names`).
    seed:
        Seed of the random starting values.

    Raises
    ------
    InvalidInput
        The model already carries a method, or the method does not fit it; the model is then unchanged.
    UnknownName
        A target that matches no tensor.
    """
    if not isinstance(config, MethodConfig):
        raise InvalidInput(f"config is {type(config).__name__}, expected a method configuration: method_config('lora', rank=8)")
    if hasattr(model, _MARK):
        raise InvalidInput(
            f"the model already carries {getattr(model, _MARK)}; call remove() or merge() on its handle first (a copy of a model "
            "that carries a method has none: copy the handle, copy.deepcopy(handle), and take its model)"
        )
    attachment = Attachment(model, Generator().manual_seed(seed))
    try:
        config.attach(attachment)
        if not attachment.trainable:
            raise InvalidInput(f"{config.name} trains nothing on this model; choose other targets")
    except BaseException:
        attachment.take_off(keep_values=False)
        raise
    attachment.freeze_rest()
    handle = Handle(model, config, attachment)
    setattr(model, _MARK, config.name)
    return handle


def load(model: nn.Module, folder: str | Path, same_weights: bool = True) -> Handle:
    """Put a saved method with its trained values on a model.

    Parameters
    ----------
    same_weights:
        Whether the model's values, and not only its names and shapes, must be those that the adapter was trained on.

    Raises
    ------
    CheckpointError
        The files are missing or corrupt, or belong to another model.
    """
    where = Path(folder)
    method, trained_on, values = read_adapter(where)
    try:
        config = method_config(method.pop("name", ""), **method)
    except (InvalidInput, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{where} describes a method that this version does not know: {error}") from error
    # transformers' names and mamba-ssm's are those of one model.
    base = fingerprint((canonical(t.name), t.parameter) for t in named_tensors(model))
    compare_fingerprints({canonical(n): v for n, v in trained_on.items()}, base, where, values=same_weights)
    handle = apply(model, config)
    try:
        own = {canonical(name): name for name in handle.attachment.trainable}
        handle.set_values({own.get(canonical(name), name): value for name, value in values.items()})
    except CheckpointError:
        handle.remove()
        raise
    return handle


def count_trainable(model: nn.Module, config: MethodConfig) -> int:
    """Number of parameters that a method would train on this model, which is left as it was."""
    handle = apply(model, config)
    try:
        return handle.n_trainable
    finally:
        handle.remove()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode (no dropout); every module gets its own mode back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
