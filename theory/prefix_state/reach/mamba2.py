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
from fractions import Fraction
from typing import Any

import numpy as np

from theory.core import linalg
from theory.core.errors import InvalidInput
from theory.core.invariants import known
from theory.core.lti import require_length
from theory.core.scalars import Array, as_array
from theory.core.selective import SelectiveSSM
from theory.core.ssd import Mamba2Group, Mamba2Head

from .completion import complete
from .result import Reach
from .selective import reachable_selective

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
    decay = known(head.decay, "a head with constant dt has a constant decay")
    return Mamba2Head(w_x, w_b, w_c, dt=Fraction(float(head.dt)), decay=Fraction(float(decay)))


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

    Decided completely where the rows of [W_x; W_B] are independent, and where all heads have one decay value (one head
    included), whatever the projections: see :mod:`theory.prefix_state.reach.completion`. In both cases the least length is
    rank(h0). Several decay values with dependent rows: an obstruction from the span or from one decay value, a witness where
    W_B is a function of independent W_x (then it is S6), otherwise ``open``. ``max_length`` bounds the number of tokens: a
    state of larger rank is then an obstruction without ℓ, since matrices of bounded rank are no cone (``reason`` names the
    nonzero minor). For a clock that depends on the token only this rank obstruction is decided.

    Parameters
    ----------
    system:
        Exact, or float64 with a constant clock (taken at its binary values).
    h0:
        (P, N) for a head, (H, P, N) for a group.

    Raises InvalidInput for another system, a wrong shape, or max_length < 1.
    """
    heads = heads_of(system)
    h = system.state(h0)
    h = _binary(h) if system.kind == "float64" else h
    stacked = h.reshape(-1, heads[0].n_states)
    limit = None if max_length is None else require_length(max_length, "max_length")
    need = linalg.rank(stacked)
    if need == 0:
        return Reach("witness", LEVEL, prefix=[], tokens=[], reason="the zero state needs no token", length=0, norm=0.0)
    if limit is not None and need > limit:
        return Reach("obstruction", LEVEL, reason=f"{limit} token(s) leave rank ≤ {limit}; {_minor(stacked, limit + 1)}")
    if any(head.dt is None for head in heads):
        return Reach("open", LEVEL, reason="the clock depends on the token; only the rank is decided for such heads")
    if independent_rows(system):
        return _factorise(heads, stacked)
    span = _linear_obstruction(heads, stacked)
    if span is not None:
        ell, value = span
        return Reach("obstruction", LEVEL, ell=ell.reshape(h.shape), value=value, reason="outside the span of all W_x S W_Bᵀ")
    return _by_decay(heads, stacked, h.shape, limit)


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
        tokens.append(known(linalg.solve(rows, np.concatenate([x, reduced[k, :]])), "independent rows take every value"))
    reason = f"independent projection rows: one token for each of the {length} rank-one terms"
    return _witness(heads[0].d_input, [(length - 1 - k, u, Fraction(1)) for k, u in enumerate(tokens)], reason)


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


def _by_decay(heads: Sequence[Mamba2Head], stacked: Array, shape: tuple[int, ...], limit: int | None) -> Reach:
    """Heads of one decay value are one head (dt goes into W_x); a class of them that fails obstructs the group."""
    owner = [head for head in heads for _ in range(head.head_dim)]  # of each stacked row
    scaled = np.concatenate([head.dt * head.W_x for head in heads])
    decays = sorted({known(head.decay, "exact heads have a constant decay") for head in heads})
    for value in decays:
        rows = np.array([head.decay == value for head in owner])
        found = complete(scaled[rows], heads[0].W_B, value, stacked[rows])
        if found.ell is not None:
            ell = 0 * stacked
            ell[rows] = found.ell
            where = "" if len(decays) == 1 else f"heads with decay {value}: "
            verdict: Any = "obstruction" if found.value < 0 else "boundary"
            return Reach(verdict, LEVEL, ell=ell.reshape(shape), value=found.value, reason=where + found.reason)
        if len(decays) == 1:
            return _witness(heads[0].d_input, known(found.tokens, "completed without an obstruction"), found.reason)
    return _as_selective(heads, stacked, shape, limit)


def _as_selective(heads: Sequence[Mamba2Head], stacked: Array, shape: tuple[int, ...], limit: int | None) -> Reach:
    """Several decays, W_B = T W_x with independent rows of W_x: x = W_x u is a free token of an S6 module."""
    w_x = np.concatenate([head.W_x for head in heads])
    t = [linalg.solve(w_x.T, row) for row in heads[0].W_B]
    if linalg.rank(w_x) < len(w_x) or any(row is None for row in t):
        return Reach("open", LEVEL, reason="several decays and dependent rows: only span, rank and each decay are decided")
    p, n = heads[0].head_dim, heads[0].n_states
    dt = [head.dt for head in heads for _ in range(p)]
    decay = [[head.decay] * n for head in heads for _ in range(p)]
    selective = SelectiveSSM(np.array(t, dtype=object), dt=dt, decay=decay)
    found = reachable_selective(selective, stacked, **({} if limit is None else {"max_length": limit}))
    reason = f"W_B is a function of W_x, so this is S6: {found.reason}"
    if found.verdict != "witness":
        return Reach(found.verdict, LEVEL, ell=_shaped(found.ell, shape), value=found.value, reason=reason)
    length = known(found.length, "a witness has a length")
    if limit is not None and length > limit:
        return Reach("open", LEVEL, reason=f"a prefix of {length} tokens exists, none of ≤ {limit} was found")
    lifted = []
    for slot, x, squared in known(found.tokens, "a witness has tokens"):
        u = known(linalg.solve(w_x, list(x)), "the rows of W_x are independent")
        lifted.append((slot, u, squared))
    return _witness(heads[0].d_input, lifted, reason)


def _shaped(ell: Array | None, shape: tuple[int, ...]) -> Array | None:
    return None if ell is None else ell.reshape(shape)


def _witness(d_input: int, tokens: Sequence[tuple[int, Array, Fraction]], reason: str) -> Reach:
    """Exact prefix where every length is rational, floats beside the exact ``tokens`` otherwise."""
    length = max(slot for slot, _, _ in tokens) + 1
    exact = all(squared == 1 for _, _, squared in tokens)
    prefix: list[list[Any]] = [[Fraction(0) if exact else 0.0] * d_input for _ in range(length)]
    for slot, u, squared in tokens:
        prefix[length - 1 - slot] = list(u) if exact else [math.sqrt(squared) * float(v) for v in u]
    norm = math.sqrt(sum(float(v) ** 2 for token in prefix for v in token))
    return Reach("witness", LEVEL, prefix=prefix, tokens=list(tokens), reason=reason, length=length, norm=norm)
