"""One of two processes that train a sharded model: ``python sharded_process.py OUT``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from empirics.errors import InvalidInput
from empirics.hosts.tiny import host_model
from empirics.methods import Combined, Handle, InitialState, LoRA, apply

torch.set_num_threads(1)
IDS = torch.randint(3, 24, (4, 10), generator=torch.Generator().manual_seed(0))


def adapted() -> Handle:
    model = host_model("MambaForCausalLM")
    return apply(model, Combined(parts=(LoRA(("in_proj", "out_proj", "A_log"), rank=2), InitialState(conv=True))))


def train(handle: Handle, ids: torch.Tensor) -> None:
    """Two steps of SGD."""
    optimiser = torch.optim.SGD(handle.trainable().values(), lr=0.5)
    for _ in range(2):
        optimiser.zero_grad()
        handle.model(ids, labels=ids).loss.backward()
        optimiser.step()


def main(out: Path) -> None:
    distributed.init_process_group("gloo")
    handle, rank = adapted(), distributed.get_rank()
    mesh = init_device_mesh("cpu", (2,))
    for block in handle.model.backbone.layers:
        fully_shard(block, mesh=mesh)
    fully_shard(handle.model, mesh=mesh)
    train(handle, IDS[2 * rank : 2 * rank + 2])
    values = handle.values()
    handle.set_values({name: 2 * value for name, value in values.items()})
    assert all(torch.equal(v, 2 * values[name]) for name, v in handle.values().items())
    handle.set_values(values)
    handle.save(out / str(rank))
    with pytest.raises(InvalidInput, match="sharded over processes"):
        handle.remove()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
