"""Which tensors of a model a method acts on: names such as ``in_proj``, ``A_log`` or ``dt_proj.bias``, resolved or refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from ..errors import InvalidInput, UnknownName

_PARAMETRIZED = ".parametrizations."


@dataclass(frozen=True, slots=True)
class NamedTensor:
    """One parameter of the unadapted model.

    Attributes
    ----------
    name:
        Its name in the model's state dict, for instance ``backbone.layers.0.mixer.in_proj.weight``.
    module, attribute:
        Where it lives: ``getattr(module, attribute)`` is what the forward pass reads.
    parameter:
        The tensor itself.
    tied_to:
        Other names of the same parameter.
    """

    name: str
    module: nn.Module
    attribute: str
    parameter: nn.Parameter
    tied_to: tuple[str, ...] = ()


def named_tensors(model: nn.Module) -> Iterator[NamedTensor]:
    """The parameters of the model, once each, under the names that they have without parametrisations.

    Parameters added by a parametrisation or a hook are not the model's own and are listed under their full names; a caller
    that attached them leaves them out by identity.
    """
    names: dict[int, list[str]] = {}
    homes: dict[int, tuple[nn.Module, str, nn.Parameter]] = {}
    for path, module in model.named_modules():
        for attribute, parameter in module.named_parameters(recurse=False):
            home, tensor, full = module, attribute, f"{path}.{attribute}" if path else attribute
            if attribute == "original" and _PARAMETRIZED in f".{full}":
                owner, tensor = f".{full}".removesuffix(".original").rsplit(_PARAMETRIZED, 1)
                owner = owner.lstrip(".")
                home, full = model.get_submodule(owner), f"{owner}.{tensor}" if owner else tensor
            names.setdefault(id(parameter), []).append(full)
            homes.setdefault(id(parameter), (home, tensor, parameter))
    for key, (home, tensor, parameter) in homes.items():
        yield NamedTensor(names[key][0], home, tensor, parameter, tuple(names[key][1:]))


def short_name(name: str) -> str:
    """The shortest target that selects tensors of this kind: ``in_proj`` for its weight, ``A_log``, ``conv1d.bias``."""
    *path, last = name.split(".")
    if last == "weight" and path:
        return path[-1]
    return f"{path[-1]}.bias" if last == "bias" and path else last


def canonical(name: str) -> str:
    """A tensor's name as mamba-ssm writes it: transformers calls the embedding ``backbone.embeddings``."""
    return re.sub(r"(^|\.)embeddings(?=\.|$)", r"\1embedding", name)


def matches(target: str, tensor: NamedTensor) -> bool:
    """Whether a target selects a tensor: it is a name of it, the end of one, or either of these without the final ``.weight``.

    mamba-ssm's names and transformers' are both taken.
    """
    target = canonical(target)
    whole = [canonical(name) for name in (tensor.name, *tensor.tied_to)]
    names = [n for name in whole for n in (name, name.removesuffix(".weight"))]
    return any(name == target or name.endswith(f".{target}") for name in names)


def select_tensors(tensors: Sequence[NamedTensor], targets: Iterable[str]) -> list[NamedTensor]:
    """Those of the tensors that the targets select, in their order.

    Raises
    ------
    InvalidInput
        No target at all.
    UnknownName
        A target selects nothing; the message lists the valid short names.
    """
    wanted = tuple(targets)
    if not wanted:
        raise InvalidInput("no target given; name at least one tensor, for instance 'in_proj'")
    for target in wanted:
        if not isinstance(target, str) or not any(matches(target, t) for t in tensors):
            raise UnknownName("target", target, {short_name(t.name) for t in tensors})
    return [t for t in tensors if any(matches(target, t) for target in wanted)]


def require_untied(tensor: NamedTensor) -> None:
    """Raise :class:`InvalidInput` for a tensor with two names: adapting it at one of them would split it."""
    if tensor.tied_to:
        raise InvalidInput(
            f"{tensor.name} is tied to {', '.join(tensor.tied_to)}: an adapter on one of them would untie it; "
            "choose another target or untie the model first"
        )


def require_matrix(tensor: NamedTensor, rank: int) -> tuple[int, int]:
    """Shape (rows, columns) of a tensor that a rank-``rank`` update fits.

    Raises
    ------
    InvalidInput
        The tensor is no matrix, or the rank exceeds its smaller side.
    """
    shape = tuple(tensor.parameter.shape)
    if len(shape) != 2:
        raise InvalidInput(f"{tensor.name} has shape {shape}; a low-rank update needs a matrix: use bitfit, sdt or full for it")
    if rank > min(shape):
        raise InvalidInput(
            f"rank {rank} exceeds the size of {tensor.name} {shape}: use a rank of at most {min(shape)}, or leave out this target"
        )
    return shape[0], shape[1]
