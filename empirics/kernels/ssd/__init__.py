"""The state-space dual (SSD) scan of Mamba-2; README.md has the derivation."""
