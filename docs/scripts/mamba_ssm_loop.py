"""A model of mamba-ssm, fine-tuned in place by a plain loop. Call it twice: first it trains, then a fresh process generates.

python docs/scripts/mamba_ssm_loop.py MODEL ADAPTER
"""

import sys
from pathlib import Path

import torch
from mamba_ssm.models.mixer_seq_simple import MambaLMHeadModel

from empirics.methods import SDT, Combined, InitialState, LoRA, apply, load, select
from empirics.methods.scores import score

name, adapter = sys.argv[1], Path(sys.argv[2])
model = MambaLMHeadModel.from_pretrained(name, device="cuda", dtype=torch.float32)
tokens = torch.randint(0, model.config.vocab_size, (8, 16), generator=torch.Generator().manual_seed(0)).cuda()  # your data


def loss(model, ids):
    return torch.nn.functional.cross_entropy(model(ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


if not adapter.exists():
    sdt = SDT(select(score("gradient", model, loss=loss, batches=[tokens]), channels=0.05, states=0.25))
    handle = apply(model, Combined(parts=(sdt, LoRA(targets=("out_proj",)), InitialState())))
    optimiser = torch.optim.AdamW(handle.trainable().values(), lr=5e-3)
    for _ in range(2):
        optimiser.zero_grad()
        loss(model, tokens).backward()
        optimiser.step()
    handle.save(adapter)
else:
    load(model, adapter)
print(model.eval().generate(tokens[:1, :8], max_length=16, cg=True, top_k=1).tolist())
