"""A training step's two passes recorded once for each shape, then replayed as a CUDA graph: what the GPU needs, and no more.

Launched from Python, a step of a small Mamba waits for the CPU: hundreds of products and casts of an adapter take longer to start
than to run. A graph starts them all at once. It repeats the same kernels on the same addresses, so that

- arguments are copied into tensors that it owns, and one graph serves one shape,
- trained tensors may change in place (as optimisers do) but not be replaced, and nothing else that the loss reads may change: a
  model that was recorded in training mode stays in it,
- gradients are valid until the next call, which writes into their memory; clone what is to be kept,
- the loss must not read values off the GPU: no ``.item()``, no branch on a tensor. The first call with a shape runs it several
  times (:data:`~empirics.training.recording.WARM_UP`), which random numbers and side effects show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InvalidInput
from .recording import record


@dataclass(frozen=True)
class Recording:
    """One graph, and the tensors that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    arguments: tuple[Tensor, ...]
    loss: Tensor
    gradients: tuple[Tensor | None, ...]


def _as_backward(
    gradients: Iterable[Tensor | None], trained: Iterable[Tensor], others: Iterable[Tensor]
) -> tuple[Tensor | None, ...]:
    """Each gradient as ``backward()`` leaves it: in memory of its own, so that what scales gradients in place meets each once,
    and in its parameter's strides, which fused optimisers ask for."""
    seen = {value.untyped_storage().data_ptr() for value in others}
    found: list[Tensor | None] = []
    for gradient, parameter in zip(gradients, trained, strict=True):
        if gradient is not None:
            if gradient.stride() != parameter.stride() or gradient.untyped_storage().data_ptr() in seen:
                gradient = torch.empty_like(parameter).copy_(gradient)
            seen.add(gradient.untyped_storage().data_ptr())
        found.append(gradient)
    return tuple(found)


class GraphedLoss:
    """Value and gradients of a loss, for an optimiser's step after each call.

    On a GPU the first call with arguments of some shapes and dtypes, and under some autocast, records, later ones replay; on a
    CPU every call computes. Arguments get no gradients.

    Parameters
    ----------
    loss:
        ``loss(*tensors)`` -> scalar; only tensors, all of one device.
    trained:
        The tensors that get gradients, for instance ``handle.trainable().values()``.
    limit:
        Recordings that are kept; the one that was used longest ago makes room.

    Raises
    ------
    InvalidInput
        Nothing to train, or no room for a recording.
    """

    def __init__(self, loss: Callable[..., Tensor], trained: Iterable[nn.Parameter], limit: int = 8):
        self.loss, self.trained, self.limit = loss, tuple(trained), limit
        if not self.trained:
            raise InvalidInput("nothing to train: no parameter given")
        if limit < 1:
            raise InvalidInput(f"limit is {limit}, expected at least 1 recording")
        self.recordings: dict[tuple[object, ...], Recording] = {}
        self._pool: Any = None

    def __call__(self, *arguments: Tensor) -> Tensor:
        """The loss, detached; ``grad`` of every trained tensor is that of this call alone, ``None`` where it has no part in it.

        Raises
        ------
        UnrecordableLoss
            The loss reads a value off the GPU, for instance.
        """
        if not self.trained[0].is_cuda:
            value, gradients = self._passes(arguments)
            return self._given(value, gradients)
        with torch.cuda.device(self.trained[0].device):
            found = self._recording(arguments)
            for own, given in zip(found.arguments, arguments, strict=True):
                own.copy_(given.detach(), non_blocking=True)
            found.graph.replay()
            return self._given(found.loss.clone(), found.gradients)

    def _recording(self, arguments: tuple[Tensor, ...]) -> Recording:
        """The one for these shapes, made where there is none."""
        cast = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else None
        key = (cast, *((a.shape, a.dtype) for a in arguments))
        found = self.recordings.pop(key, None)
        if found is None:
            while len(self.recordings) >= self.limit:
                self.recordings.pop(next(iter(self.recordings)))
            if not self.recordings:
                self._pool = None  # that of graphs that are gone is no more
            found = self._record(arguments)
        self.recordings[key] = found  # the latest stands last
        return found

    def _passes(self, arguments: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        value = self.loss(*arguments)
        gradients = torch.autograd.grad(value, self.trained, allow_unused=True)
        return value.detach(), _as_backward(gradients, self.trained, (*arguments, *self.trained, value))

    def _given(self, value: Tensor, gradients: tuple[Tensor | None, ...]) -> Tensor:
        for parameter, gradient in zip(self.trained, gradients, strict=True):
            parameter.grad = gradient
        return value

    def _record(self, arguments: tuple[Tensor, ...]) -> Recording:
        own = tuple(a.detach().to(self.trained[0].device, copy=True) for a in arguments)
        for parameter in self.trained:
            parameter.grad = None  # those of another graph make room
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph, (value, gradients) = record(lambda: self._passes(own), "loss", self._pool)
        return Recording(graph, own, value, gradients)


def recorded(step: Callable[[], None], changed: Iterable[Tensor]) -> Callable[[], object]:
    """A step without arguments, recorded on the current GPU; what comes back replays it.

    Parameters
    ----------
    step:
        Works in place on tensors that stay where they are.
    changed:
        All tensors that it writes to; they are afterwards as they were, also where the step is refused.

    Raises
    ------
    UnrecordableLoss
        The step reads a value off the GPU, for instance.
    """
    kept = [(tensor, tensor.clone()) for tensor in changed]
    try:
        graph, _ = record(step, "step", torch.cuda.graph_pool_handle())
    finally:
        for tensor, before in kept:
            tensor.copy_(before)
    return graph.replay
