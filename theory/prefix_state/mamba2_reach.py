r"""Which states a prefix of Mamba-2 reaches: rank, and what dependent projections forbid.

One head with a constant clock (γ = exp(dt A)): after M tokens

    h = Σ_m γ^m dt (W_x u_m)(W_B u_m)ᵀ,        m tokens after u_m,

a sum of M matrices of rank one. Where the rows of [W_x; W_B] are independent, (W_x u, W_B u) is any pair (x, B), so every matrix
of rank ≤ M is reached. Heads that share W_B receive x_1 Bᵀ, …, x_H Bᵀ from one token: the stacked (PH)×N
matrix obeys the same rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from theory.core import linalg
from theory.core.errors import InvalidInput
from theory.core.lti import require_length
from theory.core.scalars import Array, as_array
from theory.core.selective import SelectiveSSM
from theory.core.ssd import Mamba2Group, Mamba2Head

from .reach import Reach
from .selective_reach import reachable_selective

LEVEL: Any = "state"


def heads_of(system: Mamba2Head | Mamba2Group) -> tuple[Mamba2Head, ...]:
    """The heads in exact numbers, floats at their binary values. InvalidInput for symbolic heads or another system."""
    if not isinstance(system, Mamba2Head | Mamba2Group):
        raise InvalidInput(f"expected a Mamba2Head or a Mamba2Group, got {type(system).__name__}")
    heads = system.heads if isinstance(system, Mamba2Group) else (system,)
    return tuple(_exact_head(head) for head in heads)


def _exact_head(head: Mamba2Head) -> Mamba2Head:
    if head.kind == "exact":
        return head
    if head.kind != "float64" or head.dt is None:
        raise InvalidInput(f"reachability is decided in rationals; this head is {head.kind}: substitute numbers first")
    w_x, w_b, w_c = (None if w is None else _binary(w) for w in (head.W_x, head.W_B, head.W_C))
    assert head.decay is not None
    return Mamba2Head(w_x, w_b, w_c, dt=Fraction(float(head.dt)), decay=Fraction(float(head.decay)))


def _binary(values: Array) -> Array:
    out = np.empty(values.shape, dtype=object)
    for index in np.ndindex(values.shape):
        out[index] = Fraction(float(values[index]))
    return out


def projections(heads: Sequence[Mamba2Head]) -> Array:
    """[W_x of every head; W_B], shape (P·H + N, D)."""
    return np.concatenate([*[head.W_x for head in heads], heads[0].W_B])


def independent_rows(system: Mamba2Head | Mamba2Group) -> bool:
    """Whether the rows of [W_x; W_B] (all heads of the group) are linearly independent."""
    rows = projections(heads_of(system))
    return linalg.rank(rows) == len(rows)


def minimal_prefix_length_mamba2(system: Mamba2Head | Mamba2Group) -> float:
    r"""The least M for which prefixes reach every state: min(P·H, N) with independent rows of [W_x; W_B].

    With dependent rows some states may be out of reach; then this raises InvalidInput and :func:`reachable_mamba2` decides
    state by state.
    """
    heads = heads_of(system)
    if not independent_rows(system):
        raise InvalidInput("the rows of [W_x; W_B] are dependent: the length depends on the state; use reachable(system, h0)")
    return float(min(sum(head.head_dim for head in heads), heads[0].n_states))


def reachable_mamba2(system: Mamba2Head | Mamba2Group, h0: Any, *, max_length: int | None = None) -> Reach:
    """Decide whether a prefix drives a head, or the heads of a group jointly, from zero to ``h0``.

    Decided completely where the rows of [W_x; W_B] are independent (least length = rank of h0), and for one head whose W_B is a
    function of W_x or the other way round (a semidefinite condition). Otherwise a linear obstruction, or ``open``. ``max_length``
    bounds the number of tokens: a state of larger rank is then an obstruction without ℓ, since matrices of bounded rank are no
    cone (``reason`` names the nonzero minor).

    Parameters
    ----------
    system:
        Constant clock; exact, or float64 (taken at its binary values).
    h0:
        (P, N) for a head, (H, P, N) for a group.

    Raises InvalidInput for another system, a clock that depends on the token, or a wrong shape.
    """
    heads = heads_of(system)
    if any(head.dt is None for head in heads):
        raise InvalidInput("reachability is decided for a constant clock (dt independent of the token); this head's is not")
    h = system.state(h0)
    h = _binary(h) if system.kind == "float64" else h
    stacked = h.reshape(-1, heads[0].n_states)
    limit = None if max_length is None else require_length(max_length, "max_length")
    need = linalg.rank(stacked)
    if need == 0:
        return Reach("witness", LEVEL, prefix=[], tokens=[], reason="the zero state needs no token", length=0, norm=0.0)
    if limit is not None and need > limit:
        return Reach("obstruction", LEVEL, reason=f"{limit} token(s) leave rank ≤ {limit}; {_minor(stacked, limit + 1)}")
    if independent_rows(system):
        return _factorise(heads, stacked)
    span = _linear_obstruction(heads, stacked)
    if span is not None:
        ell, value = span
        return Reach("obstruction", LEVEL, ell=ell.reshape(h.shape), value=value, reason="outside the span of all W_x S W_Bᵀ")
    if len(heads) == 1:
        return _one_head(heads[0], h, limit)
    return Reach("open", LEVEL, reason="dependent projection rows in several heads: only span and rank are decided")


def _minor(matrix: Array, size: int) -> str:
    columns = linalg.rref(matrix)[1][:size]
    rows = linalg.rref(matrix[:, list(columns)].T)[1]
    value = linalg.determinant(matrix[np.ix_(rows, columns)])
    return f"h0 has the minor {value} of size {size}, rows {list(rows)}, columns {list(columns)}"


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
        assert u is not None
        tokens.append(u)
    norm = math.sqrt(sum(float(v) ** 2 for u in tokens for v in u))
    return Reach(
        "witness",
        LEVEL,
        prefix=[list(u) for u in tokens],
        tokens=[(length - 1 - k, u, Fraction(1)) for k, u in enumerate(tokens)],
        reason=f"independent projection rows: one token for each of the {length} rank-one terms",
        length=length,
        norm=norm,
    )


def symmetric_basis(size: int) -> list[Array]:
    """A basis of the symmetric matrices of one size."""
    out = []
    for i in range(size):
        for j in range(i, size):
            s = as_array([[0] * size for _ in range(size)], "exact")
            s[i, j] = s[j, i] = Fraction(1)
            out.append(s)
    return out


def _linear_obstruction(heads: Sequence[Mamba2Head], stacked: Array) -> tuple[Array, Fraction] | None:
    """ℓ that vanishes on every γ^m dt W_x S W_Bᵀ, S symmetric, and is negative on h; several heads have several γ."""
    w_b = heads[0].W_B
    slots = range(len({head.decay for head in heads}))
    columns = []
    for s in symmetric_basis(w_b.shape[1]):
        for m in slots:
            blocks = [head.dt * head.decay**m * (head.W_x @ s @ w_b.T) for head in heads]  # type: ignore[operator]
            columns.append(np.concatenate(blocks).ravel())
    ell = linalg.left_kernel_certificate(np.array(columns, dtype=object).T, stacked.ravel())
    return None if ell is None else (ell, sum((x * y for x, y in zip(ell, stacked.ravel(), strict=True)), Fraction(0)))


def _one_head(head: Mamba2Head, h: Array, limit: int | None) -> Reach:
    """One head with W_B = T W_x (or W_x = T W_B): x = W_x u is a free token of an S6 module with one decay value."""
    for transposed in (False, True):
        base, other = (head.W_B, head.W_x) if transposed else (head.W_x, head.W_B)
        state = h.T if transposed else h
        if linalg.rank(base) < len(base):
            continue
        t = _left_factor(other, base)
        if t is None:
            continue
        p, n = len(base), len(other)
        assert head.decay is not None
        assert head.dt is not None
        equivalent = SelectiveSSM(t, dt=[head.dt] * p, decay=[[head.decay] * n for _ in range(p)])
        found = reachable_selective(equivalent, state)
        return _lifted(head, base, found, transposed, limit)
    return Reach("open", LEVEL, reason="W_x and W_B overlap in part: only span and rank are decided")


def _left_factor(other: Array, base: Array) -> Array | None:
    """T with T base = other, or None."""
    rows = [linalg.solve(base.T, row) for row in other]
    return None if any(r is None for r in rows) else np.array(rows, dtype=object)


def _lifted(head: Mamba2Head, base: Array, found: Reach, transposed: bool, limit: int | None) -> Reach:
    """The answer about x = W u, in terms of u."""
    ell = None if found.ell is None else (found.ell.T if transposed else found.ell)
    name = "W_x" if transposed else "W_B"
    reason = f"{name} is a function of the other projection, so this is S6 with one decay value: {found.reason}"
    if found.verdict != "witness":
        return Reach(found.verdict, LEVEL, ell=ell, value=found.value, reason=reason)
    assert found.tokens is not None
    assert found.length is not None
    if limit is not None and found.length > limit:
        return Reach("open", LEVEL, reason=f"a prefix of {found.length} tokens exists, none of ≤ {limit} was found")
    lifted = []
    for slot, direction, squared in found.tokens:
        u = linalg.solve(base, list(direction))
        assert u is not None
        lifted.append((slot, u, squared))
    prefix: list[list[float]] = [[0.0] * head.d_input for _ in range(found.length)]
    for slot, u, squared in lifted:
        prefix[found.length - 1 - slot] = [math.sqrt(squared) * float(v) for v in u]
    norm = math.sqrt(sum(v * v for token in prefix for v in token))
    return Reach("witness", LEVEL, prefix=prefix, tokens=lifted, reason=reason, length=found.length, norm=norm)
