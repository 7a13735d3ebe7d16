"""One of two processes that train through accelerate: ``python accelerate_process.py OUT ddp|fsdp DEVICE``."""

from __future__ import annotations

import sys
from pathlib import Path

import accelerate
import torch
from safetensors.torch import save_file

from empirics.hosts.tiny import host_model
from empirics.methods import Combined, Handle, InitialState, LoRA, apply

torch.set_num_threads(1)
IDS = torch.randint(3, 24, (4, 10), generator=torch.Generator().manual_seed(0))


def adapted(device: str) -> Handle:
    model = host_model("MambaForCausalLM").to(device)
    return apply(model, Combined(parts=(LoRA(("in_proj", "out_proj", "A_log"), rank=2), InitialState(conv=True))))


def train(handle: Handle, ids: torch.Tensor, machine: accelerate.Accelerator | None = None) -> dict[str, torch.Tensor]:
    """Two steps of SGD; the trained values, on the CPU."""
    model, optimiser = handle.model, torch.optim.SGD(handle.trainable().values(), lr=0.5)
    if machine is not None:
        model, optimiser = machine.prepare(model, optimiser)
    ids = ids.to(next(model.parameters()).device)
    with torch.backends.cudnn.flags(allow_tf32=False):  # whose kernels differ between batches of two and of four
        for _ in range(2):
            optimiser.zero_grad()
            loss = model(input_ids=ids, labels=ids).loss
            loss.backward() if machine is None else machine.backward(loss)
            optimiser.step()
    return {name: value.detach().cpu() for name, value in handle.values().items()}


def main(out: Path, how: str, device: str) -> None:
    plugin = None
    if how == "fsdp":
        plugin = accelerate.FullyShardedDataParallelPlugin(
            fsdp_version=2, auto_wrap_policy="transformer_based_wrap", transformer_cls_names_to_wrap=["MambaBlock"]
        )
    machine = accelerate.Accelerator(cpu=device == "cpu", fsdp_plugin=plugin)
    rank = machine.process_index
    assert machine.num_processes == 2 and machine.device.type == device
    assert machine.distributed_type.value == {"ddp": f"MULTI_{'CPU' if device == 'cpu' else 'GPU'}", "fsdp": "FSDP"}[how]
    values = train(adapted(str(machine.device)), IDS[2 * rank : 2 * rank + 2], machine)
    save_file({name: value.contiguous() for name, value in values.items()}, str(out / f"{rank}.safetensors"))
    machine.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
