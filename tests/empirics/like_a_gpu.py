"""PyTorch's ``meta`` device in place of a GPU: its tensors have shapes and no values, so what only a GPU refuses is found here.

A GPU refuses three things that a CPU does not:

- a value is read (``.item()``, a branch on a tensor, a mask as an index): the CPU waits for it, and a recording as a CUDA graph
  ends there;
- a tensor goes from one device to another, which waits as well;
- an operation is given tensors of two devices.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GPU = "meta"
aten = torch.ops.aten
_MOVES = (aten._to_copy.default, aten.copy_.default, aten.copy.default, aten._copy_from.default)
_INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
_FROM_PYTHON = (torch.tensor, torch.as_tensor, Tensor.new_tensor)


class Refused(RuntimeError):
    """What a GPU, or a recording on it, would have refused."""


def _tensors(values: Any) -> list[Tensor]:
    return [v for v in tree_leaves(values) if isinstance(v, Tensor)]


def _on_gpu(value: Tensor) -> bool:
    return value.device.type == GPU


class _Operations(TorchDispatchMode):
    """Refuses operations on tensors of two devices, and reading unless it is allowed.

    Attributes
    ----------
    operations:
        How many ran on the GPU.
    readers:
        The functions that asked for a value: file and name.
    """

    def __init__(self, reading: bool):
        super().__init__()
        self.reading = reading
        self.operations = 0
        self.readers: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = _tensors((args, kwargs))
        there = [v for v in given if _on_gpu(v)]
        generator = kwargs.get("generator")
        if generator is not None and generator.device.type != torch.device(kwargs.get("device") or given[0].device).type:
            raise Refused(f"{func} draws with a generator on {generator.device}")
        if func in _MOVES:
            return self._moved(func, args, kwargs)
        if not there:
            return func(*args, **kwargs)
        self.operations += 1
        if any(not _on_gpu(v) and v.ndim for v in given):
            raise Refused(f"{func} is given tensors of two devices: {[(v.device.type, tuple(v.shape)) for v in given]}")
        if _reads(func, args):
            return self._read(func)
        return func(*args, **kwargs)

    def _read(self, func: Any) -> Any:
        self.readers.append(_asker())
        if not self.reading:
            raise Refused(f"{func} reads a value, for {self.readers[-1]}")
        if func not in (aten._local_scalar_dense.default, aten.equal.default):
            raise Refused(f"{func} has a result of no known shape")
        return func is aten.equal.default or 1

    def _moved(self, func: Any, args: Any, kwargs: Any) -> Any:
        if func is aten._to_copy.default:
            here, to = args[0].device, torch.device(kwargs.get("device") or args[0].device)
        else:
            to, here = args[0].device, args[1].device
        self.operations += GPU in (here.type, to.type)
        if here.type == to.type:
            return func(*args, **kwargs)
        self.readers.append(_asker())
        if not self.reading:
            raise Refused(f"{func} takes {tuple(args[0].shape)} from {here} to {to}, for {self.readers[-1]}")
        if to.type == GPU:
            return func(*args, **kwargs)
        if func is aten._to_copy.default:
            return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        return args[0].fill_(1)


def _asker() -> str:
    """Who asked for the current operation: the nearest function outside PyTorch."""
    frame: Any = sys._getframe(2)
    while frame is not None and (frame.f_code.co_filename == __file__ or "torch" in Path(frame.f_code.co_filename).parts):
        frame = frame.f_back
    assert frame is not None
    parts = Path(frame.f_code.co_filename).parts
    packages = [place for place, part in enumerate(parts) if part in ("transformers", "empirics")]
    return f"{'/'.join(parts[packages[-1] if packages else -1 :])}:{frame.f_code.co_name}"


class _FromPython(TorchFunctionMode):
    """Refuses numbers that Python gives to a tensor on the GPU: they are copied there, which waits as well."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in _FROM_PYTHON and _on_gpu(made) and not isinstance(args[-1], Tensor):
            raise Refused(f"{func.__name__} takes {args[-1]} from Python to {GPU}")
        if func is Tensor.__getitem__ and _on_gpu(args[0]) and any(isinstance(v, list) for v in (args[1], *_parts(args[1]))):
            raise Refused(f"the index {args[1]} goes from Python to {GPU}")
        return made


def _parts(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else ()


def _reads(func: Any, args: Any) -> bool:
    """Whether the operation's result, or its shape, depends on values."""
    if func._schema.name.removeprefix("aten::") in _INDEXED:
        masks = [v for v in args[1] if v is not None and v.dtype in (torch.bool, torch.uint8)]
        # One number put where a mask says is filled in; every other mask is turned into places first.
        filled = len(args) > 2 and args[2].numel() == 1 and not (len(args) > 3 and args[3])
        return bool(masks) and not filled
    return torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags


@contextmanager
def like_a_gpu(reading: bool = False) -> Iterator[_Operations]:
    """Tensors on ``meta`` are the GPU's inside.

    Parameters
    ----------
    reading:
        Whether values may be read, as outside of a recording; each is then one.
    """
    with _Operations(reading) as operations, nullcontext() if reading else _FromPython():
        yield operations


def stand_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> str:
    """The device. Nothing takes it for one without memory, and autocast, which does not know it, is off there."""
    enabled, autocast = torch.is_autocast_enabled, torch.autocast

    def autocast_there(device_type: str, *args: Any, **options: Any) -> Any:
        return nullcontext() if device_type == GPU else autocast(device_type, *args, **options)

    monkeypatch.setattr(torch.Tensor, "is_meta", False)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *device: GPU not in device and enabled(*device))
    monkeypatch.setattr(torch, "autocast", autocast_there)
    return GPU


def tokens(length: int) -> Tensor:
    """(2, length), on the GPU."""
    return torch.zeros(2, length, dtype=torch.long, device=GPU)


def devices(model: nn.Module) -> set[str]:
    """Where a model's tensors are."""
    return {v.device.type for v in (*model.parameters(), *model.buffers())}
