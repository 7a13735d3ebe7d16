"""lora_limits.published_in_proj: see README.md."""
