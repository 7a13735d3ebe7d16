"""lora_limits.in_proj_dominates: see README.md."""
