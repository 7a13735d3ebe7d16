"""The base benchmark's comparisons on the Mamba-2 twin of the base model, as far as the methods exist there."""
