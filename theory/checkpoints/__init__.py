"""What theory says about the layers of a Mamba checkpoint. See README.md."""
