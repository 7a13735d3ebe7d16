"""Claims of the family sparse_dims."""

from theory.core.claim import Claim

CLAIMS: tuple[Claim, ...] = ()
