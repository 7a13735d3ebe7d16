"""Tensors that FSDP (``fully_shard``) has spread over processes, whole; others as they are.

Every process has to ask at the same time.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def is_sharded(tensor: Tensor) -> bool:
    """Whether each process holds a part of the tensor."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """All of the tensor, detached."""
    any_tensor: Any = tensor.detach()
    gathered: Tensor = any_tensor.full_tensor() if is_sharded(tensor) else any_tensor
    return gathered


def overwrite(parameter: nn.Parameter, value: Tensor) -> None:
    """Put a whole value, the same on every process, into a parameter; without gradients."""
    if not is_sharded(parameter):
        parameter.copy_(value)
        return
    from torch.distributed.tensor import distribute_tensor

    held: Any = parameter
    parameter.copy_(distribute_tensor(value.to(held.device, held.dtype), held.device_mesh, held.placements))
