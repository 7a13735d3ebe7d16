"""A Mamba of transformers, fine-tuned in place by its Trainer. Call it twice: first it trains, then a fresh process generates.

python docs/scripts/transformers_trainer.py MODEL ADAPTER
"""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from empirics.methods import SDT, Combined, InitialState, LoRA, apply, load, select
from empirics.methods.scores import score

name, adapter = sys.argv[1], Path(sys.argv[2])
model = AutoModelForCausalLM.from_pretrained(name)
tokens = torch.randint(0, model.config.vocab_size, (8, 16), generator=torch.Generator().manual_seed(0))  # your data
if not adapter.exists():
    best = score("gradient", model, loss=lambda m, ids: m(ids, labels=ids).loss, batches=[tokens])
    sdt = SDT(select(best, channels=0.05, states=0.25))
    handle = apply(model, Combined(parts=(sdt, LoRA(targets=("out_proj",)), InitialState())))
    options = TrainingArguments("trainer", max_steps=2, learning_rate=5e-3, report_to=[], save_strategy="no")
    Trainer(model, options, train_dataset=[{"input_ids": ids, "labels": ids} for ids in tokens]).train()
    handle.save(adapter)
else:
    load(model, adapter)
model.eval()
print(model.generate(tokens[:1, :8].to(model.device), max_new_tokens=8, do_sample=False).tolist())
