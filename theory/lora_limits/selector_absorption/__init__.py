"""lora_limits.selector_absorption: see README.md."""
