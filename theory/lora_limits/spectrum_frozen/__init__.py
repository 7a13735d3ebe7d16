"""lora_limits.spectrum_frozen: see README.md."""
