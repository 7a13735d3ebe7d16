"""A method on a model: :func:`apply` puts it there, the :class:`Handle` trains, saves, merges and removes it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from ..errors import CheckpointError, InvalidInput
from ..hosts.wrappers import skipped_wrappers
from .adapter_file import Fingerprint, compare_fingerprints, fingerprint, read_adapter, write_adapter
from .attachment import Attachment
from .base import MethodConfig, evaluating, method_config
from .sharded import is_sharded, overwrite, whole
from .targets import canonical, named_tensors
from .whole_model import whole_model

_PEFT = re.compile(r"\.lora_(A|B|embedding_A|embedding_B|magnitude_vector)\.\w+")
"""Names of peft's tensors: its adapters have names, this project's have none."""
_MARK = "_ssmproof_method"
"""Attribute of a model that carries a method: the method's name. On the model itself, so that a deep copy carries it, too."""


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
        return {name: whole(p).clone() for name, p in self.attachment.trainable.items()}

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
                overwrite(parameter, values[name])

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
        if any(map(is_sharded, self.attachment.trainable.values())):
            raise InvalidInput(
                "the model is sharded over processes: save the adapter (on every process), and load and merge it on a whole model"
            )
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
        The model already carries a method, or the method does not fit it, or it is wrapped for several devices, sharded or
        offloaded; the model is then unchanged.
    UnknownName
        A target that matches no tensor.

    Warns
    -----
    UserWarning
        The model carries peft's adapters: those that its forward pass skips, and those that are frozen by this call.
    """
    if not isinstance(config, MethodConfig):
        raise InvalidInput(f"config is {type(config).__name__}, expected a method configuration: method_config('lora', rank=8)")
    if not isinstance(model, nn.Module):
        raise InvalidInput(f"model is {type(model).__name__}, expected a torch.nn.Module")
    model = whole_model(model)
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
    _warn_of_wrappers(model)
    attachment.freeze_rest()
    handle = Handle(model, config, attachment)
    setattr(model, _MARK, config.name)
    return handle


def _warn_of_wrappers(model: nn.Module) -> None:
    """Warn of peft's adapters that the forward pass skips, and of those that are about to be frozen."""
    for kind, names in skipped_wrappers(model).items():
        targets = ", ".join(repr(name) for name in names)
        warnings.warn(
            f"peft's adapter on {', '.join(names)} has no effect: {kind} reads the weight and never calls the module; take it "
            f"out of target_modules and adapt it here: LoRA(targets=({targets},)) (ssmproof targets lists what takes effect)",
            stacklevel=3,
        )
    theirs = [name for name, p in model.named_parameters() if _PEFT.search(name) and p.requires_grad]
    if theirs:
        warnings.warn(
            f"the model carries peft's adapters ({theirs[0]}, {len(theirs)} tensors), which apply() freezes; merge them first "
            "(merge_and_unload), or set requires_grad_(True) on them again",
            stacklevel=3,
        )


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
    where, model = Path(folder), whole_model(model)
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
