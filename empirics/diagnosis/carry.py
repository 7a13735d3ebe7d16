"""How far an initial state carries: half-lives of the slowest state of every channel, at zero input and over a ball of inputs.

Claim prefix_state.decay: what h_0 adds to channel d of one module is at most
‖C_t‖ ‖h_0[d, :]‖ exp(−min_n |A[d, n]| Σ dt_s), which halves every ln 2/(min_n |A[d, n]| dt) tokens while dt stays at that value.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from theory.checkpoints.dynamics import Dynamics
from theory.core.scalars import Array
from theory.prefix_state.decay.fading import half_lives


def slowest_half_lives(dynamics: Dynamics, shift: float = 0.0) -> Array:
    """ln 2/(min_n |A[d, n]| dt_d) in tokens, shape (D,), with dt = softplus(bias + shift ‖row‖).

    Raises theory's InvalidInput or InvalidSystem for steps that under- or overflow.
    """
    slow = dynamics.A.max(axis=1, keepdims=True)  # A < 0: the largest decays least
    return half_lives(slow, dynamics.dt(shift))[:, 0]


def carry(dynamics: Dynamics, radius: float) -> dict[str, Any]:
    """Tokens, over the channels of a layer.

    Returns
    -------
    ``zero_input``: least, median and largest of :func:`slowest_half_lives`. ``over_inputs``: the least and the largest over
    inputs of the dt projection with ‖u‖ ≤ radius.
    """
    at_zero = slowest_half_lives(dynamics)
    return {
        "zero_input": {"min": float(at_zero.min()), "median": float(np.median(at_zero)), "max": float(at_zero.max())},
        "over_inputs": {
            "min": float(slowest_half_lives(dynamics, radius).min()),
            "max": float(slowest_half_lives(dynamics, -radius).max()),
        },
    }


def until(half_life: float, eps: float) -> float:
    """Tokens until a state with this half-life has fallen to eps of its size: half_life · log₂(1/eps)."""
    return half_life * math.log2(1 / eps)
