r"""What a prefix leaves in front of a causal convolution, and what is lost when only the inner state is kept.

With taps w_0..w_{K−1} (w_0 on the current token) and prefix tokens x_0 (last), x_{−1}, …, the conv input at step t lacks

    m_t = Σ_{j=t..K−1} w_j x_{t−j},     t = 1..K−1,     where the window is emptied (m_t = 0 for t ≥ K).

For an LTI channel the state can make up for it: h' = h + Σ_{t=1..K−1} a^{−t} b m_t gives the right state from step K − 1 on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from theory.core.conv import Conv, ConvState
from theory.core.errors import InvalidInput, Unreachable
from theory.core.given import Matrix, Vector
from theory.core.lti import LTI
from theory.core.scalars import Array, is_zero, zeros
from theory.core.selective import SelectiveSSM
from theory.core.ssd import Mamba2Group, Mamba2Head

System = LTI | SelectiveSSM | Mamba2Head | Mamba2Group | Conv


def state_after(system: System, prefix: Vector | Matrix) -> Any:
    """The state a prefix leaves when it starts from rest: an initial state that acts exactly as the prefix does.

    Parameters
    ----------
    system:
        LTI, SelectiveSSM, Mamba2Head, Mamba2Group, or a Conv in front of one of the first two.
    prefix:
        Tokens, first processed first: M numbers for a channel, (M, D) otherwise, M ≥ 1.

    Returns
    -------
    The last state: (N,), (D, N), (P, N), (H, P, N), or a :class:`theory.ConvState` with the conv window.

    Raises
    ------
    InvalidInput
        Another kind of system, an empty prefix, a wrong shape, floats into an exact system, NaN or infinity, a float state beyond
        float64's range.
    """
    if not isinstance(system, System):
        raise InvalidInput(f"state_after expects an LTI, S6, Mamba-2 or Conv system, got {type(system).__name__}")
    inner = system.system if isinstance(system, Conv) else system
    tokens = inner.inputs(prefix, "prefix")
    if len(tokens) == 0:
        raise InvalidInput("the prefix is empty (length 0); at least one token is needed")
    state: Any = system.zero_state()
    for token in tokens:
        with np.errstate(over="ignore", invalid="ignore"):
            state, _ = system.step(state, token)
    last = state.h if isinstance(state, ConvState) else state
    if last.dtype != object and not np.all(np.isfinite(last)):
        raise InvalidInput("the state exceeds float64's range; rescale the system, or run it in rationals (.exactly())")
    return state


def missing_inputs(conv: Conv, window: Array) -> list[Any]:
    """m_1..m_{K−1}: what the conv inputs lack when ``window`` (oldest first) is replaced by zeros."""
    k = conv.width
    newest_first = list(window)[::-1]  # x_0, x_{−1}, …
    out = []
    for t in range(1, k):
        total = 0 * conv.taps[..., 0]
        for j in range(t, k):
            total = total + conv.taps[..., j] * newest_first[j - t]
        out.append(total)
    return out


def refit_state(conv: Conv, state: ConvState) -> Array:
    """h' that makes up for an emptied conv window in front of an LTI channel, exact from step K − 1 on.

        h' = h + Σ_{t=1..K−1} a^{−t} b m_t

    Outputs then differ at most at t ≤ K − 2 without a skip and t ≤ K − 1 with one.

    Raises
    ------
    InvalidInput
        The inner system is not LTI: an S6 module cannot make up for its window in general.
    Unreachable
        A mode a_n = 0 forgets every state, so nothing can be made up there.
    """
    system = conv.system
    if not isinstance(system, LTI):
        raise InvalidInput(
            "only an LTI channel can make up for an emptied conv window; an S6 module's missing inputs change B and C"
        )
    h = state.h
    factor = system.b
    for m in missing_inputs(conv, state.window):
        for n, a in enumerate(system.a):
            if is_zero(a):
                raise Unreachable(f"mode a[{n}] = 0 forgets its state, so no h' makes up for the emptied conv window", mode=a)
        factor = factor / system.a
        h = h + factor * m
    return h


def emptied(conv: Conv, h: Any) -> ConvState:
    """The state h behind an empty conv window."""
    window = conv.zero_state().window
    return ConvState(window if window.size else zeros(window.shape, conv.kind), h)
