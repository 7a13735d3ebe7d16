"""Claims of the family sparse_dims."""

from theory.core.claim import Claim

from .depth_sharing import CLAIM as DEPTH_SHARING
from .essential import CLAIM as ESSENTIAL
from .exact_match import CLAIM as EXACT_MATCH
from .minimal_adjustment import CLAIM as MINIMAL_ADJUSTMENT
from .selection import CLAIM as SELECTION

CLAIMS: tuple[Claim, ...] = (ESSENTIAL, MINIMAL_ADJUSTMENT, EXACT_MATCH, DEPTH_SHARING, SELECTION)
