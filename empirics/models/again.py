"""Results that the backward pass computes again instead of keeping them: the same operation on the same tensors, the same bits.

mamba-ssm's block keeps the product of in_proj and computes the convolution's output and the step sizes again. Here a result is
announced as such (:func:`derived`) when it is made; operations that would keep it for their backward pass run inside
:func:`saving`, where autograd keeps the recipe instead. A result that several operations need is computed once in a backward
pass, and let go after the last of them.

A recipe stands for a result only while that, and all that it was computed from, is as it was announced: a result that a hook or a
wrapper has changed in place since is kept itself. What recipes read must not change before the backward pass, which refuses it.

Nothing is done where somebody else decides what is kept: while compiling, in functorch's transforms, where hooks on saved tensors
are not allowed, and inside somebody's, such as those of activation checkpointing, also of a part of a block.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

_active = threading.local()


def _version(value: Tensor) -> int | None:
    """How often its memory was changed in place; nobody counts for tensors made in inference mode."""
    return None if value.is_inference() else value._version


_ORDINARY = (Tensor, torch.nn.Parameter)
"""What almost all tensors are; asking for more takes as long as a small operation."""


def _place(value: Tensor) -> int | None:
    """The memory that a tensor lies in; ``None`` where it stands for other tensors, or has no single piece of memory."""
    if value.layout is not torch.strided or (type(value) not in _ORDINARY and is_traceable_wrapper_subclass(value)):
        return None
    return value.untyped_storage()._cdata


def _nbytes(value: Tensor) -> int:
    return 0 if _place(value) is None else value.untyped_storage().nbytes()


def _layout(value: Tensor) -> tuple[object, ...]:
    """How a result lies in memory: dtype, shape, strides, offset and bytes."""
    return value.dtype, value.shape, value.stride(), value.storage_offset(), value.untyped_storage().nbytes()


def _autocast(device: str) -> torch.dtype | None:
    """The dtype of autocast, ``None`` without."""
    usual = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if usual else None


def _freed(value: Tensor) -> RuntimeError:
    return RuntimeError(
        f"the memory of a tensor {tuple(value.shape)} that the backward pass needs was freed after the forward pass, as that of "
        "sharded weights is; recompute = False keeps the results instead"
    )


def require_memory(*tensors: Tensor | None) -> None:
    """For autograd functions that compute again from tensors that they keep.

    Raises
    ------
    RuntimeError
        The memory of one of them was freed.
    """
    for value in tensors:
        if value is not None and value.numel() and _place(value) is not None and not value.untyped_storage().nbytes():
            raise _freed(value)


class _Kept:
    """A tensor that stays, cut from the graph, and the number of changes that it had seen by then."""

    __slots__ = ("nbytes", "value", "version")

    def __init__(self, value: Tensor):
        self.value, self.version, self.nbytes = value, _version(value), _nbytes(value)

    def get(self) -> Tensor:
        """The tensor.

        Raises
        ------
        RuntimeError
            It was changed in place, or its memory was freed, as that of sharded weights is.
        """
        if _nbytes(self.value) < self.nbytes:
            raise _freed(self.value)
        if _version(self.value) != self.version:
            raise RuntimeError(
                f"a tensor {tuple(self.value.shape)} that the backward pass needs was changed in place after the forward pass; "
                "change it after backward()"
            )
        return self.value


class _Announced:
    """How a result was computed, and how it and what it was computed from were by then."""

    __slots__ = ("arguments", "autocast", "device", "function", "layout", "memory", "recipe", "versions")

    def __init__(self, value: Tensor, function: Callable[..., Tensor], arguments: tuple[Any, ...]):
        # The weak reference holds the place in memory, so no later tensor can take it.
        self.memory = StorageWeakRef(value.untyped_storage())
        self.function, self.arguments = function, arguments
        self.layout, self.device = _layout(value), value.device.type
        self.autocast = _autocast(self.device)
        self.versions = self._versions(value)
        self.recipe: _Recipe | None = None

    def _versions(self, value: Tensor) -> list[int | None]:
        return [_version(v) for v in (value, *self.arguments) if isinstance(v, Tensor)]

    def tells(self, value: Tensor) -> bool:
        """Does the result, computed again, hold the values of this view of it?"""
        same = value.dtype == self.layout[0] and self._versions(value) == self.versions
        return same and not (value.is_conj() or value.is_neg())


class _Recipe:
    """How to compute a result again, and the result while a backward pass still needs it."""

    def __init__(self, announced: _Announced, arguments: tuple[Any, ...]):
        self.function, self.arguments, self.device = announced.function, arguments, announced.device
        self.layout, self.autocast = announced.layout, announced.autocast
        self.uses = self.left = 0
        self.result: Tensor | None = None

    def view(self, shape: torch.Size, stride: tuple[int, ...], offset: int | torch.SymInt) -> Tensor:
        """The result, seen as a view of its memory."""
        if torch.is_grad_enabled():
            with torch.no_grad():
                return self.view(shape, stride, offset)
        result = self.result  # read once: another thread may let go of it
        if result is None:
            result = self._compute()
        self.left -= 1
        self.result = result if self.left > 0 else None
        if self.left <= 0:  # a further backward pass begins anew
            self.left = self.uses
        if result.shape == shape and result.stride() == stride and result.storage_offset() == offset:
            return result.detach()
        return result.as_strided(shape, stride, offset)

    def _compute(self) -> Tensor:
        arguments = [a.get() if isinstance(a, (_Kept, _View)) else a for a in self.arguments]
        if self.autocast is None and _autocast(self.device) is None:
            result = self.function(*arguments)
        else:
            with torch.autocast(self.device, dtype=self.autocast, enabled=self.autocast is not None, cache_enabled=False):
                result = self.function(*arguments)
        if _layout(result) != self.layout:
            raise RuntimeError(
                f"a result computed again lies in memory in another way than before: {_layout(result)}, expected {self.layout} "
                "(dtype, shape, strides, offset, bytes); recompute = False keeps it instead"
            )
        return result


class _View:
    """A use of a recipe's result."""

    __slots__ = ("offset", "recipe", "shape", "stride")

    def __init__(self, recipe: _Recipe, value: Tensor):
        self.recipe, self.shape, self.stride, self.offset = recipe, value.shape, value.stride(), value.storage_offset()
        recipe.uses += 1
        recipe.left += 1

    def get(self) -> Tensor:
        return self.recipe.view(self.shape, self.stride, self.offset)


class _Results:
    """The results announced so far, by their memory."""

    def __init__(self) -> None:
        self.announced: dict[int, _Announced] = {}

    def pack(self, value: Tensor) -> _Kept | _View:
        """What is kept in place of a tensor."""
        found = self.find(value)
        if found is None:
            # Autograd hands a result that a function saves over with the function in it: a circle that nothing would free.
            return _Kept(value.detach() if value.requires_grad else value)
        if found.recipe is None:
            found.recipe = _Recipe(found, tuple(self.pack(a.detach()) if isinstance(a, Tensor) else a for a in found.arguments))
        return _View(found.recipe, value)

    def find(self, value: Tensor) -> _Announced | None:
        """How to compute the value, or what it is a view of, if that is known."""
        place = _place(value)
        found = None if place is None else self.announced.get(place)
        return found if found is not None and found.tells(value) else None


class Formula:
    """An announced result as a function of tensors that are kept themselves, for an autograd function that computes it again
    and keeps these tensors: no hook is called for them.

    Attributes
    ----------
    tensors:
        To be kept.
    """

    __slots__ = ("_arguments", "_function", "_nbytes", "tensors")

    def __init__(self, function: Callable[..., Tensor], arguments: tuple[Any, ...]):
        self._function = function
        self._arguments = tuple(None if isinstance(a, Tensor) else a for a in arguments)
        self.tensors: tuple[Tensor, ...] | None = tuple(a for a in arguments if isinstance(a, Tensor))
        self._nbytes = [_nbytes(v) for v in self.tensors]

    def take(self) -> tuple[Tensor, ...]:
        """The tensors, which are let go here."""
        tensors, self.tensors = self.tensors, None
        assert tensors is not None
        return tensors

    def compute(self, tensors: Sequence[Tensor]) -> Tensor:
        """The result.

        Raises
        ------
        RuntimeError
            The memory of a tensor was freed.
        """
        for value, nbytes in zip(tensors, self._nbytes, strict=True):
            if _nbytes(value) < nbytes:
                raise _freed(value)
        given = iter(tensors)
        return self._function(*(next(given) if a is None else a for a in self._arguments))


def _unpack(kept: _Kept | _View) -> Tensor:
    return kept.get()


def _hooked() -> bool:
    """Does somebody else decide what autograd keeps?"""
    if torch._C._autograd._saved_tensors_hooks_get_disabled_error_message() is not None:
        return True
    return torch._C._are_functorch_transforms_active() or torch._C._autograd._top_saved_tensors_default_hooks(True) is not None


def computing_again(wanted: bool) -> AbstractContextManager[None]:
    """Results announced inside are computed again by the backward pass, if ``wanted`` and possible; inside another such context,
    as there."""
    if not wanted or torch.compiler.is_compiling() or not torch.is_grad_enabled() or torch.is_inference_mode_enabled():
        return _NOTHING
    return _NOTHING if _current() is not None or _hooked() else _Collecting()


class _Collecting(AbstractContextManager[None]):
    def __enter__(self) -> None:
        _active.results = self.results = _Results()

    def __exit__(self, *_: object) -> None:
        _active.results = None
        # Autograd's nodes hold the hook, and what was announced leads back to the nodes: a circle that nothing would free.
        self.results.announced.clear()


_NOTHING: AbstractContextManager[None] = nullcontext()


def _current() -> _Results | None:
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return None
    results: _Results | None = getattr(_active, "results", None)
    return results


def derived(value: Tensor, function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """``value``, announced as ``function(*arguments)``: the same bits in the same layout whenever it is called.

    Parameters
    ----------
    value:
        In memory of its own.
    function:
        Reads nothing that may change but its arguments, and draws no random numbers.
    """
    results = _current()
    place = None if results is None else _place(value)
    if results is not None and place is not None:
        results.announced[place] = _Announced(value, function, arguments)
    return value


def is_derived(value: Tensor) -> bool:
    """Was the value, or what it is a view of, announced?"""
    results = _current()
    return results is not None and results.find(value) is not None


def formula_of(value: Tensor) -> Formula | None:
    """The formula of an announced result; ``None`` where ``value`` is none, or a part of one, or where what it was computed from
    is computed again as well or went through autocast."""
    results = _current()
    found = None if results is None or not wanted() else results.find(value)
    if results is None or found is None or found.autocast is not None or _layout(value) != found.layout:
        return None
    if any(a is None or (isinstance(a, Tensor) and results.find(a) is not None) for a in found.arguments):
        return None
    return Formula(found.function, found.arguments)


def wanted() -> bool:
    """Are results computed again here? For autograd functions that do so by themselves."""
    return _current() is not None and not _hooked()


def saving() -> AbstractContextManager[object]:
    """Operations inside keep recipes instead of announced results."""
    results = _current()
    if results is None or not results.announced or _hooked():
        return _NOTHING
    return saved_tensors_hooks(results.pack, _unpack)
