"""beyond.mamba3: see README.md."""
