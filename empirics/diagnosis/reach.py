"""What a prefix reaches exactly: distinct modes, the criterion for S6, and the rank that M tokens leave in Mamba-2.

Numbers are those of one layer with dt frozen at zero input. The claims are prefix_state.minimal_length, prefix_state.selective
and prefix_state.mamba2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from theory.checkpoints.diagnose import sample_channels
from theory.checkpoints.dynamics import Dynamics
from theory.core.scalars import Array
from theory.core.tolerance import budget

from ..methods.geometry import Geometry


def distinct_modes(A: Array) -> Array:
    """Number of different entries in each row of A (D, N), shape (D,): n_obs of the frozen channels if no c_n vanishes."""
    ordered = np.sort(A, axis=1)
    return 1 + np.count_nonzero(np.diff(ordered, axis=1), axis=1)


def independent(gram: Array, scale: float, terms: int) -> bool:
    """Whether rows with this float64 Gram matrix are certainly independent.

    Its rounding error is at most c · terms · eps · scale in the 2-norm (``scale``: the sum of the rows' squared norms), and by
    Weyl no eigenvalue moves further than that. False means: not shown.
    """
    return bool(np.linalg.eigvalsh(gram)[0] > budget(terms) * scale)


def selective_reach(dynamics: Dynamics, W_B: Array) -> dict[str, Any]:
    """Criterion (iii) of prefix_state.selective for one Mamba-1 layer, its decay values those of dt_d A[d, n] in float64.

    Parameters
    ----------
    dynamics:
        A (D, N) and dt at zero input.
    W_B:
        Shape (N, D).

    Returns
    -------
    ``decay_values`` and ``shared_values`` (how many there are, and how many stand at two or more states), ``obstructed``
    (states that no prefix moves freely), ``undecided`` (shared values for which neither is shown), and ``every_state``: True
    if some finite prefix reaches every state, False if none does, None where that is not decided.

    An ℓ at one state (d, n) obstructs iff row n of W_B is 0 away from d; for a value at one state there is no other ℓ. For a
    value shared by states in channels S and state columns T, let ℓ be supported there with X = diag(dt) ℓ W_B, sym(X) ⪰ 0. Rows
    of X outside S are 0, so sym(X) has zeros on the diagonal there, hence zero rows: ℓ_d W_B[T, Sᶜ] = 0 for d in S. If the rows
    of W_B[T, Sᶜ] are independent, then ℓ = 0 and the value obstructs nothing.

    An RMS norm on B (FalconMamba, Jamba), its weights counted to the rows of W_B, changes nothing of this. A token u then writes
    g(u) u (W_B u)ᵀ instead of u (W_B u)ᵀ, with g(u) = (m(u) + ε)^{-1/2} and m quadratic in u. The token s u writes
    φ(s) u (W_B u)ᵀ with φ(s) = s² (s² m(u) + ε)^{-1/2}, which is continuous and runs from 0 to ∞, so that some s has φ(s) = 1;
    and what u writes with the norm is what √g(u) u writes without it. While dt is held, both reach the same states.
    """
    n_states = W_B.shape[0]
    _, where, counts = np.unique(dynamics.dt()[:, None] * dynamics.A, return_inverse=True, return_counts=True)
    where = where.reshape(dynamics.A.shape)
    elsewhere = np.count_nonzero(W_B, axis=1)[None, :] - (W_B.T != 0)  # nonzero entries of row n away from d
    obstructed = int(np.count_nonzero(elsewhere == 0))
    gram, norms = W_B @ W_B.T, np.einsum("nd,nd->n", W_B, W_B)
    shared = np.flatnonzero(counts > 1)
    flat = np.argsort(where.ravel(), kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)])
    undecided = 0
    for value in shared:
        channels, states = np.divmod(flat[starts[value] : starts[value + 1]], n_states)
        rows, columns = np.unique(states), np.unique(channels)
        inside = W_B[np.ix_(rows, columns)]
        undecided += not independent(gram[np.ix_(rows, rows)] - inside @ inside.T, float(norms[rows].sum()), W_B.shape[1])
    return {
        "decay_values": int(counts.size),
        "shared_values": int(shared.size),
        "obstructed": obstructed,
        "undecided": undecided,
        "every_state": False if obstructed else None if undecided else True,
    }


def head_reach(sizes: Geometry, rows: Array, heads: int) -> dict[str, Any]:
    """For up to ``heads`` Mamba-2 heads, evenly spread: how many certainly have independent rows [W_x of the head; W_B].

    ``rows`` is [W_x; W_B], shape (D + G N, d_model).
    """
    width = sizes.d_inner // sizes.heads
    chosen = sample_channels(sizes.heads, heads)
    shown = 0
    for head in chosen.tolist():
        group = head // (sizes.heads // sizes.groups)
        start = sizes.d_inner + group * sizes.d_state
        own = np.concatenate([rows[head * width : (head + 1) * width], rows[start : start + sizes.d_state]])
        if len(own) <= sizes.d_model:
            shown += independent(own @ own.T, float(np.sum(own * own)), sizes.d_model)
    return {"sampled_heads": len(chosen), "independent_heads": shown}


def group_counts(sizes: Geometry) -> dict[str, int]:
    """Tokens that Mamba-2's sizes ask for, by prefix_state.mamba2.

    Returns
    -------
    ``head_tokens``: min(P, N), for every state of one head. ``group_tokens``: min(P·H, N), what the rank of a group's H heads
    asks for. ``all_tokens``: ⌈P N / d_model⌉ over all heads, what M · d_model free numbers for d_inner · N of a state ask for.
    ``state``: d_inner · N.
    """
    width, state = sizes.d_inner // sizes.heads, sizes.d_inner * sizes.d_state
    return {
        "head_tokens": min(width, sizes.d_state),
        "group_tokens": min(sizes.d_inner // sizes.groups, sizes.d_state),
        "all_tokens": math.ceil(state / sizes.d_model),
        "state": state,
    }


def states_after(sizes: Geometry, tokens: Array) -> tuple[Array, Array]:
    """Two bounds of the dimension of the states that M tokens leave in all heads of a Mamba-2 layer, shape as M each.

    G · m(P·H + N − m) with m = min(M, P·H, N), the dimension of the stacks of rank ≤ M of G groups, and M · d_model, the free
    numbers in M tokens.
    """
    rows, n = sizes.d_inner // sizes.groups, sizes.d_state
    m = np.minimum(tokens, min(rows, n))
    return sizes.groups * m * (rows + n - m), np.asarray(tokens) * sizes.d_model
