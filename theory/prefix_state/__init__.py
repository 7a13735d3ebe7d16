"""Claims of the family prefix_state: what a prefix can do that an initial state can do, and the reverse."""

from theory.core.claim import Claim

CLAIMS: tuple[Claim, ...] = ()
