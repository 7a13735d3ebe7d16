"""Accuracy against the number of trained values: LoRA, SDT with LoRA, and LoRA on both, at four budgets on two tasks."""
