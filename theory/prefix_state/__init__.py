"""Prefix-tuning against initial-state tuning: what each can do on an SSM module, decided exactly. See README.md."""

from theory.core.claim import Claim

from . import (
    contained,
    decay,
    depth,
    equivalent,
    finite_precision,
    input_independent,
    mamba2,
    minimal_length,
    selective,
    state_offset,
)

CLAIMS: tuple[Claim, ...] = (
    contained.CLAIM,
    equivalent.CLAIM,
    minimal_length.CLAIM,
    finite_precision.CLAIM,
    input_independent.CLAIM,
    decay.CLAIM,
    selective.CLAIM,
    mamba2.CLAIM,
    depth.CLAIM,
    state_offset.CLAIM,
)
