"""lora_limits.mamba2: see README.md."""
