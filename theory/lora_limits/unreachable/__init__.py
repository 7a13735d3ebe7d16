"""lora_limits.unreachable: see README.md."""
