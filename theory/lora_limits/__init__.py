"""Claims of the family lora_limits."""

from theory.core.claim import Claim

CLAIMS: tuple[Claim, ...] = ()
