"""Results that the backward pass computes again instead of keeping them: the same operation on the same tensors, the same bits.

mamba-ssm's block keeps the product of in_proj and computes the convolution's output and the step sizes again. Here a result is
announced as such (:func:`derived`) when it is made; operations that would keep it for their backward pass run inside
:func:`saving`, where autograd keeps the recipe instead. A result that several operations need is computed once in a backward
pass, and let go after the last of them.

Nothing is done where somebody else decides what is kept: while compiling, in functorch's transforms, and inside hooks on saved
tensors such as those of activation checkpointing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

_active = threading.local()


class _Kept:
    """A tensor that stays, cut from the graph, and the number of changes that it had seen by then."""

    __slots__ = ("value", "version")

    def __init__(self, value: Tensor):
        self.value, self.version = value, value._version

    def get(self) -> Tensor:
        """The tensor.

        Raises
        ------
        RuntimeError
            It was changed in place.
        """
        if self.value._version != self.version:
            raise RuntimeError(
                f"a tensor {tuple(self.value.shape)} that the backward pass needs was changed in place after the forward pass; "
                "change it after backward()"
            )
        return self.value


class _Recipe:
    """How to compute a result again, and the result while a backward pass still needs it."""

    def __init__(self, function: Callable[..., Tensor], arguments: tuple[Any, ...], device: str, nbytes: int):
        self.function, self.arguments, self.device, self.nbytes = function, arguments, device, nbytes
        self.autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        self.uses = self.left = 0
        self.result: Tensor | None = None

    def view(self, shape: torch.Size, stride: tuple[int, ...], offset: int | torch.SymInt) -> Tensor:
        """The result, seen as a view of its memory."""
        if torch.is_grad_enabled():
            with torch.no_grad():
                return self.view(shape, stride, offset)
        result = self._compute() if self.result is None else self.result
        self.left -= 1
        self.result = result if self.left > 0 else None
        if self.left <= 0:  # a further backward pass begins anew
            self.left = self.uses
        if result.shape == shape and result.stride() == stride and result.storage_offset() == offset:
            return result.detach()
        return result.as_strided(shape, stride, offset)

    def _compute(self) -> Tensor:
        arguments = [a.get() if isinstance(a, (_Kept, _View)) else a for a in self.arguments]
        if self.autocast is None and not torch.is_autocast_enabled(self.device):
            result = self.function(*arguments)
        else:
            with torch.autocast(self.device, dtype=self.autocast, enabled=self.autocast is not None, cache_enabled=False):
                result = self.function(*arguments)
        assert result.untyped_storage().nbytes() == self.nbytes, "the result lies in memory in another way than before"
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


Announced = tuple[StorageWeakRef, int, str, Callable[..., Tensor], tuple[Any, ...]]
"""Memory, its bytes and device, and how to fill it again."""


class _Results:
    """The results announced so far, by their memory."""

    def __init__(self) -> None:
        # The weak reference holds the place in memory that the key names, so no later tensor can take it.
        self.announced: dict[int, Announced] = {}
        self.recipes: dict[int, _Recipe] = {}

    def pack(self, value: Tensor) -> _Kept | _View:
        """What is kept in place of a tensor that is cut from the graph."""
        place = value.untyped_storage()._cdata
        if place not in self.announced:
            return _Kept(value)
        recipe = self.recipes.get(place)
        if recipe is None:
            _, nbytes, device, function, arguments = self.announced[place]
            kept = tuple(self.pack(a.detach()) if isinstance(a, Tensor) else a for a in arguments)
            recipe = self.recipes[place] = _Recipe(function, kept, device, nbytes)
        return _View(recipe, value)


def _unpack(kept: _Kept | _View) -> Tensor:
    return kept.get()


def _hooked() -> bool:
    """Does somebody else's hook decide what autograd keeps?"""
    return torch._C._autograd._top_saved_tensors_default_hooks(True) is not None


def computing_again(wanted: bool) -> AbstractContextManager[None]:
    """Results announced inside are computed again by the backward pass, if ``wanted`` and possible; inside another such context,
    as there."""
    if not wanted or torch.compiler.is_compiling() or not torch.is_grad_enabled() or _current() is not None:
        return _NOTHING
    return _NOTHING if torch._C._are_functorch_transforms_active() or _hooked() else _Collecting()


class _Collecting(AbstractContextManager[None]):
    def __enter__(self) -> None:
        _active.results = self.results = _Results()

    def __exit__(self, *_: object) -> None:
        _active.results = None
        # Autograd's nodes hold the hook, and what was announced leads back to the nodes: a circle that nothing would free.
        self.results.announced.clear()
        self.results.recipes.clear()


_NOTHING: AbstractContextManager[None] = nullcontext()


def _current() -> _Results | None:
    return None if torch.compiler.is_compiling() else getattr(_active, "results", None)


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
    if results is not None:
        storage = value.untyped_storage()
        results.announced[storage._cdata] = StorageWeakRef(storage), storage.nbytes(), value.device.type, function, arguments
    return value


def is_derived(value: Tensor) -> bool:
    """Was the value, or what it is a view of, announced?"""
    results = _current()
    return results is not None and value.untyped_storage()._cdata in results.announced


def saving() -> AbstractContextManager[object]:
    """Operations inside keep recipes instead of announced results."""
    results = _current()
    if results is None or not results.announced or _hooked():
        return _NOTHING
    return saved_tensors_hooks(results.pack, _unpack)
