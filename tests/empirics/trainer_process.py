"""One of the processes of a data-parallel training by transformers' Trainer: ``python trainer_process.py OUT DEVICE``."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import transformers

from empirics.hosts.tiny import host_model
from empirics.methods import Combined, InitialState, LoRA, apply

torch.set_num_threads(1)
IDS = torch.randint(3, 24, (8, 10), generator=torch.Generator().manual_seed(0))


def train(folder: Path, batch: int, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Two steps of plain SGD on eight rows in order; the trained values."""
    model = host_model("MambaForCausalLM")
    handle = apply(model, Combined(parts=(LoRA(("in_proj", "out_proj"), rank=2), InitialState(conv=True))))
    options = transformers.TrainingArguments(
        str(folder), max_steps=2, per_device_train_batch_size=batch, learning_rate=0.5, optim="sgd", max_grad_norm=0.0,
        lr_scheduler_type="constant", report_to=[], save_strategy="no", use_cpu=device == "cpu", disable_tqdm=True,
        train_sampling_strategy="sequential",
    )  # fmt: skip
    with torch.backends.cudnn.flags(allow_tf32=False):  # whose kernels differ between batches of two and of four
        transformers.Trainer(model, options, train_dataset=[{"input_ids": r, "labels": r} for r in IDS]).train()
    return handle.values()


if __name__ == "__main__":
    from safetensors.torch import save_file

    out, device = Path(sys.argv[1]), sys.argv[2]
    values = {name: value.cpu() for name, value in train(out, 2, device).items()}
    save_file(values, str(out / f"{torch.distributed.get_rank()}.safetensors"))
