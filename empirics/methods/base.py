"""A fine-tuning method is a frozen configuration and ``apply(model, config) -> Handle``.

Parameter methods are parametrisations of named tensors (``torch.nn.utils.parametrize``) or train a tensor in place, so that
every scan that reads ``module.weight`` sees the adapted tensor. State methods are hooks at the mixers. All other parameters
are frozen (``requires_grad = False``), so that no optimiser step or weight decay can reach them.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor, nn

from ..errors import InvalidInput, UnknownName

if TYPE_CHECKING:
    from .attachment import Attachment

_KINDS: dict[object, tuple[type | tuple[type, ...], str]] = {
    "bool": (bool, "True or False"),
    "int": (int, "an integer of at least 1"),
    "float": ((int, float), "a number"),
}
"""Annotation of an option → what its value is, and that in words; in Python a truth value is an integer as well."""
_METHODS: dict[str, type[MethodConfig]] = {}


@dataclasses.dataclass(frozen=True)
class MethodConfig(ABC):
    """Options of one method. Subclasses are frozen dataclasses whose fields are JSON values or tuples of them."""

    name: ClassVar[str]

    def __new__(cls, *_: object, **options: object) -> Self:
        for option in options:
            require_option(cls, option)
        return object.__new__(cls)

    def __post_init__(self) -> None:
        """Lists become tuples, and kinds of numbers are checked; subclasses check their options after this."""
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if isinstance(value, list):
                object.__setattr__(self, f.name, tuple(value))
            if f.type in _KINDS:
                fits, words = _KINDS[f.type]
                if not isinstance(value, fits) or isinstance(value, bool) != (fits is bool):
                    raise InvalidInput(f"{f.name} is {value!r}, expected {words}")

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
