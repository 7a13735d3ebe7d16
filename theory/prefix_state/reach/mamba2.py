r"""Which states a prefix of Mamba-2 reaches: rank, and what dependent projections forbid.

One head with a constant clock (γ = exp(dt A)): after M tokens

    h = Σ_m γ^m dt (W_x u_m)(W_B u_m)ᵀ,        m tokens after u_m,

a sum of M matrices of rank one. Where the rows of [W_x; W_B] are independent, (W_x u, W_B u) is any pair (x, B), so every matrix
of rank ≤ M is reached; where they are not, rows common to W_x and W_B carry squares, which keep their sign. Heads that share W_B
receive x_1 Bᵀ, …, x_H Bᵀ from one token: the stacked (PH)×N matrix obeys the same rules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from theory.core import linalg
from theory.core.brief import brief
from theory.core.errors import InvalidInput
from theory.core.invariants import known
from theory.core.lti import require_length
from theory.core.scalars import Array, exact_array, exact_value, is_real
from theory.core.ssd import Mamba2Group, Mamba2Head

from .cone import TokenCone
from .decide import checked_witness, decide
from .result import Reach, Token
from .selective import exact_state
from .tokens import nothing_needed

LEVEL: Any = "state"


def heads_of(system: Mamba2Head | Mamba2Group) -> tuple[Mamba2Head, ...]:
    """The heads in exact numbers, floats at their binary values. InvalidInput for symbolic heads or another system."""
    if not isinstance(system, Mamba2Head | Mamba2Group):
        raise InvalidInput(f"expected a Mamba2Head or a Mamba2Group, got {type(system).__name__}")
    heads = system.heads if isinstance(system, Mamba2Group) else (system,)
    return tuple(_exact_head(head) for head in heads)


def _exact_head(head: Mamba2Head) -> Mamba2Head:
    if any(not is_real(x) for w in (head.W_x, head.W_B) for x in w.ravel()):
        raise InvalidInput("reachability is decided for real systems; this head has complex entries")
    if head.kind == "exact":
        return head
    if head.kind != "float64" or head.dt is None:
        raise InvalidInput(f"reachability is decided in rationals; this head is {head.kind}: substitute numbers first")
    w_c = None if head.W_C is None else exact_array(head.W_C)
    return Mamba2Head(exact_array(head.W_x), exact_array(head.W_B), w_c, dt=exact_value(head.dt), decay=exact_value(head.decay))


def projections(heads: Sequence[Mamba2Head]) -> Array:
    """[W_x of every head; W_B], shape (P·H + N, D)."""
    return np.concatenate([*[head.W_x for head in heads], heads[0].W_B])


def independent_rows(system: Mamba2Head | Mamba2Group) -> bool:
    """Whether the rows of [W_x; W_B] (all heads of the group) are linearly independent."""
    rows = projections(heads_of(system))
    return linalg.rank(rows) == len(rows)


def minimal_prefix_length_mamba2(system: Mamba2Head | Mamba2Group) -> int | float:
    r"""The least M for which prefixes of length M reach every state.

    min(P·H, N) where the rows of [W_x; W_B] are independent; ``math.inf`` where they are dependent and all heads have one
    decay value (some state is then out of reach of every prefix).

    Raises InvalidInput for a clock that depends on the token, and for dependent rows with several decay values, where the
    length depends on the state: :func:`reachable_mamba2` decides state by state.
    """
    heads = heads_of(system)
    if any(head.dt is None for head in heads):
        raise InvalidInput("the least length is known for a constant clock (dt independent of the token); this head's is not")
    if independent_rows(system):
        return min(sum(head.head_dim for head in heads), heads[0].n_states)
    if len({head.decay for head in heads}) == 1:
        return math.inf
    raise InvalidInput("the rows of [W_x; W_B] are dependent: the length depends on the state; use reachable(system, h0)")


def unreachable_state(system: Mamba2Head | Mamba2Group) -> Array | None:
    """A state that no prefix reaches where the rows of [W_x; W_B] are dependent and all heads have one decay value, else None.

    A dependence pᵀX + qᵀW_B = 0 (X = dt W_x, heads stacked) makes pᵀhq = −Σ γ^m (pᵀX u_m)² ≤ 0, so h = p qᵀ is out of reach; with
    q = 0 (p = 0) every column (row) of h is orthogonal to p (q), and h = p e_1ᵀ (e_1 qᵀ) is.

    Raises InvalidInput for a clock that depends on the token or several decay values.
    """
    heads = heads_of(system)
    if any(head.dt is None for head in heads) or len({head.decay for head in heads}) > 1:
        raise InvalidInput("unreachable_state needs constant clocks with one decay value; these heads have others")
    x = np.concatenate([head.dt * head.W_x for head in heads])
    null = linalg.nullspace(np.concatenate([x, heads[0].W_B]).T)
    if not null:
        return None
    p, q = null[0][: len(x)], null[0][len(x) :]
    if all(v == 0 for v in p):
        p = np.array([Fraction(int(i == 0)) for i in range(len(p))], dtype=object)
    if all(v == 0 for v in q):
        q = np.array([Fraction(int(i == 0)) for i in range(len(q))], dtype=object)
    return np.asarray(np.outer(p, q).reshape(system.zero_state().shape))


def reachable_mamba2(system: Mamba2Head | Mamba2Group, h0: Any, *, max_length: int | None = None) -> Reach:
    """Decide whether a prefix drives a head, or the heads of a group jointly, from zero to ``h0``.

    Decided completely where the rows of [W_x; W_B] are independent, where row(W_x) and row(W_B) share nothing (then the whole
    span is reached), and where all heads have one decay value (one head included), whatever the projections: see
    :mod:`theory.prefix_state.reach.completion`. With independent rows or one decay the least length is rank(h0). Several decay
    values with a common row: as S6 with several decays (:mod:`theory.prefix_state.reach.decide`), and ``open`` where that search
    ends. ``max_length`` bounds the number of tokens: a state of larger rank is then an obstruction without ℓ, since matrices of
    bounded rank are no cone (``reason`` names the nonzero minor). For a clock that depends on the token only this is decided.

    Parameters
    ----------
    system:
        Exact, or float64 with a constant clock (taken at its binary values).
    h0:
        (P, N) for a head, (H, P, N) for a group.

    Raises InvalidInput for another system, a wrong shape, or max_length < 1.
    """
    heads = heads_of(system)
    h = exact_state(system, h0)
    stacked = h.reshape(-1, heads[0].n_states)
    limit = None if max_length is None else require_length(max_length, "max_length")
    need = linalg.rank(stacked)
    if need == 0:
        return nothing_needed()
    if limit is not None and need > limit:
        return Reach("obstruction", LEVEL, reason=f"{limit} token(s) leave rank ≤ {limit}; {_minor(stacked, limit + 1)}")
    if any(head.dt is None for head in heads):
        return Reach("open", LEVEL, reason="the clock depends on the token; only the rank is decided for such heads")
    if independent_rows(system):
        return _factorise(heads, stacked)
    found = decide(cone_of(heads), stacked, limit)
    return found if found.ell is None else replace(found, ell=found.ell.reshape(h.shape))


def cone_of(heads: Sequence[Mamba2Head]) -> TokenCone:
    """Heads that share W_B as one cone: X = dt W_x stacked, and one decay for all entries of a head's rows."""
    x = np.concatenate([head.dt * head.W_x for head in heads])
    owner = [head for head in heads for _ in range(head.head_dim)]  # of each stacked row
    return TokenCone.of(x, heads[0].W_B, np.array([[head.decay] * heads[0].n_states for head in owner], dtype=object))


def _minor(matrix: Array, size: int) -> str:
    columns = linalg.rref(matrix)[1][:size]
    rows = linalg.rref(matrix[:, list(columns)].T)[1]
    value = linalg.determinant(matrix[np.ix_(rows, columns)])
    return f"h0 has the minor {brief(value)} of size {size}, rows {list(rows)}, columns {list(columns)}"


def _factorise(heads: Sequence[Mamba2Head], stacked: Array) -> Reach:
    """h = Σ_k g_k e_kᵀ over the pivot columns; one token each, with x scaled head by head against γ^m dt."""
    reduced, pivots = linalg.rref(stacked)
    rows = projections(heads)
    length = len(pivots)
    tokens = []
    for k, pivot in enumerate(pivots):
        after = length - 1 - k  # tokens that follow this one
        x = np.concatenate(
            [
                part / (head.dt * head.decay**after)  # type: ignore[operator]
                for head, part in zip(heads, np.split(stacked[:, pivot], len(heads)), strict=True)
            ]
        )
        u = linalg.solve(rows, np.concatenate([x, reduced[k, :]]))
        tokens.append(known(u, "independent rows"))
    reason = f"independent projection rows: one token for each of the {length} rank-one terms"
    return checked_witness(cone_of(heads), stacked, [Token(length - 1 - k, u, Fraction(1)) for k, u in enumerate(tokens)], reason)
