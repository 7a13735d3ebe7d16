"""Exact decisions about what fine-tuning can do to a state-space model."""
