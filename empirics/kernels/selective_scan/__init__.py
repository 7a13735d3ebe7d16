"""The selective scan of Mamba-1; README.md has the derivation."""
