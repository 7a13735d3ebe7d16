"""Which initial states a prefix reaches: the entry point for every system."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from theory.core.errors import InvalidInput
from theory.core.given import Matrix, Vector
from theory.core.lti import LTI
from theory.core.selective import SelectiveSSM
from theory.core.ssd import Mamba2Group, Mamba2Head

from .lti import reachable_lti
from .mamba2 import reachable_mamba2
from .result import Reach
from .selective import reachable_selective


def reachable(
    system: LTI | SelectiveSSM | Mamba2Head | Mamba2Group,
    h0: Vector | Matrix | Sequence[Matrix],
    *,
    level: Literal["state", "function"] | None = None,
    max_length: int | None = None,
    **limits: int,
) -> Reach:
    """Decide whether some prefix drives ``system`` from zero to ``h0``.

    LTI channels are decided completely (never ``boundary`` or ``open``), at function level unless ``level="state"``. S6
    modules and Mamba-2 heads or groups are decided at state level; see :mod:`theory.prefix_state.reach.selective` and
    :mod:`theory.prefix_state.reach.mamba2`. ``max_length`` bounds the prefix; other ``limits`` (such as ``seed``) go to the
    search.

    Raises InvalidInput for another type of system, a wrong shape, or ``level="function"`` where it is not decided.
    """
    if isinstance(system, LTI):
        return reachable_lti(system, h0, level="function" if level is None else level, max_length=max_length, **limits)
    if level == "function":
        raise InvalidInput("function level is decided for LTI systems only; S6 and Mamba-2 are decided at state level")
    if isinstance(system, SelectiveSSM):
        return reachable_selective(system, h0, max_length=max_length, **limits)
    if isinstance(system, Mamba2Head | Mamba2Group):
        return reachable_mamba2(system, h0, max_length=max_length, **limits)
    raise InvalidInput(f"reachable expects an LTI, SelectiveSSM, Mamba2Head or Mamba2Group, got {type(system).__name__}")
