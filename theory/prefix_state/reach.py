"""Which initial states a prefix reaches: the result type and the entry point for every system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from theory.core.errors import InvalidInput
from theory.core.lti import LTI
from theory.core.scalars import Array
from theory.core.selective import SelectiveSSM
from theory.core.ssd import Mamba2Group, Mamba2Head


@dataclass(frozen=True, eq=False)
class Reach:
    """Answer to "does some prefix reach h_0?", with what proves it.

    Attributes
    ----------
    verdict:
        ``witness`` (a prefix that does), ``obstruction`` (a functional ℓ that is ≥ 0 on everything reachable and < 0 on
        h_0), ``boundary`` (ℓ ≥ 0 on everything reachable, ⟨ℓ, h_0⟩ = 0; ``reason`` says whether h_0 itself is excluded) or
        ``open``.
    level:
        ``state`` (h_0 itself) or ``function`` (all outputs that follow are those of h_0).
    prefix:
        Tokens, first processed first: numbers for an LTI channel, rows of length D otherwise. Floats where the exact
        token is irrational; then ``tokens`` is the exact certificate.
    tokens:
        (slot, direction, squared length): the token √(squared length)·direction, followed by ``slot`` tokens.
    ell, value:
        ℓ and ⟨ℓ, h_0⟩.
    reason:
        How it was decided, in words.
    length, norm:
        Prefix length and Euclidean norm of the prefix (a float; may be ``inf``).
    """

    verdict: Literal["witness", "obstruction", "boundary", "open"]
    level: Literal["state", "function"]
    prefix: list[Any] | None = None
    tokens: list[tuple[int, Array, Any]] | None = None
    ell: Array | None = None
    value: Any = None
    reason: str = ""
    length: int | None = None
    norm: float | None = None

    def __bool__(self) -> bool:
        raise TypeError("a Reach has four verdicts; compare .verdict with 'witness' instead of testing its truth")


def reachable(system: Any, h0: Any, *, level: Literal["state", "function"] | None = None, **limits: Any) -> Reach:
    """Decide whether some prefix drives ``system`` from zero to ``h0``.

    LTI channels are decided completely (never ``boundary`` or ``open``), at function level unless ``level="state"``. S6
    modules and Mamba-2 heads or groups are decided at state level; see :mod:`theory.prefix_state.selective_reach` and
    :mod:`theory.prefix_state.mamba2_reach`. Keyword ``limits`` (such as ``max_length``) go to the search.

    Raises InvalidInput for another type of system, a wrong shape, or ``level="function"`` where it is not decided.
    """
    if isinstance(system, LTI):
        from .inverse import reachable_lti

        return reachable_lti(system, h0, level=level or "function", **limits)
    if level == "function":
        raise InvalidInput("function level is decided for LTI systems only; S6 and Mamba-2 are decided at state level")
    if isinstance(system, SelectiveSSM):
        from .selective_reach import reachable_selective

        return reachable_selective(system, np.asarray(h0, dtype=object), **limits)
    if isinstance(system, Mamba2Head | Mamba2Group):
        from .mamba2_reach import reachable_mamba2

        return reachable_mamba2(system, h0, **limits)
    raise InvalidInput(f"reachable expects an LTI, SelectiveSSM, Mamba2Head or Mamba2Group, got {type(system).__name__}")
