"""The limits of LoRA on the parameters of an SSM: ranks, spectra, and what in_proj can absorb. See README.md."""

from theory.core.claim import Claim

from . import cheaper_sparse, in_proj_dominates, rank_floor, selector_absorption, spectrum_frozen, unreachable

CLAIMS: tuple[Claim, ...] = (
    rank_floor.CLAIM,
    unreachable.CLAIM,
    cheaper_sparse.CLAIM,
    spectrum_frozen.CLAIM,
    selector_absorption.CLAIM,
    in_proj_dominates.CLAIM,
)
