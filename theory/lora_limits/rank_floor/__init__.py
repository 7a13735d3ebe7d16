"""lora_limits.rank_floor: see README.md."""
