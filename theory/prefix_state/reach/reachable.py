"""Which initial states a prefix reaches: the entry point for every system."""

from __future__ import annotations

from typing import Any, Literal

from theory.core.errors import InvalidInput
from theory.core.lti import LTI
from theory.core.selective import SelectiveSSM
from theory.core.ssd import Mamba2Group, Mamba2Head

from .lti import reachable_lti
from .mamba2 import reachable_mamba2
from .result import Reach
from .selective import reachable_selective


def reachable(system: Any, h0: Any, *, level: Literal["state", "function"] | None = None, **limits: Any) -> Reach:
    """Decide whether some prefix drives ``system`` from zero to ``h0``.

    LTI channels are decided completely (never ``boundary`` or ``open``), at function level unless ``level="state"``. S6
    modules and Mamba-2 heads or groups are decided at state level; see :mod:`theory.prefix_state.reach.selective` and
    :mod:`theory.prefix_state.reach.mamba2`. Keyword ``limits`` (such as ``max_length``) go to the search.

    Raises InvalidInput for another type of system, a wrong shape, or ``level="function"`` where it is not decided.
    """
    if isinstance(system, LTI):
        return reachable_lti(system, h0, level=level or "function", **limits)
    if level == "function":
        raise InvalidInput("function level is decided for LTI systems only; S6 and Mamba-2 are decided at state level")
    if isinstance(system, SelectiveSSM):
        return reachable_selective(system, h0, **limits)
    if isinstance(system, Mamba2Head | Mamba2Group):
        return reachable_mamba2(system, h0, **limits)
    raise InvalidInput(f"reachable expects an LTI, SelectiveSSM, Mamba2Head or Mamba2Group, got {type(system).__name__}")
