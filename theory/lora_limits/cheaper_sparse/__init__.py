"""lora_limits.cheaper_sparse: see README.md."""
