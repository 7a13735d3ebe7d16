r"""Which states a constant clock reaches: one decision for S6, heads of Mamba-2 and subspaces of their tokens.

A token z in slot m adds γ^m ⊙ (X z)(W_B z)ᵀ (:class:`.cone.TokenCone`). Decided completely are one-dimensional tokens (a moment
cone, :mod:`.moment_cone`), one decay value (a semidefinite completion, :mod:`.completion`), row(X) ∩ row(W_B) = 0 (the whole
span), and systems without an obstruction (criterion (iii) of selective/README.md). For the others witnesses and functionals are
sought by float programs that only propose (:mod:`.search`), and a functional ≥ 0 that vanishes on h_0 confines all tokens to a
subspace, where the question is asked again. Every answer but ``open`` is proved in rationals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from theory.core import linalg
from theory.core.brief import brief
from theory.core.invariants import invariant, known
from theory.core.scalars import Array

from . import moment_cone
from .clusters import cluster_tokens
from .completion import complete
from .cone import TokenCone
from .existence import few_tokens, float_solutions, proved_to_exist
from .result import Reach, Token
from .search import search_few_tokens, search_obstruction, search_tokens
from .tokens import log2_size, witness

SEARCH_LENGTH = 16384
"""The longest prefix that is tried where no other limit is given."""


def inner(ell: Array, h: Array) -> Fraction:
    """⟨ℓ, h⟩ = Σ ℓ[d, n] h[d, n]."""
    return sum((Fraction(x) * Fraction(y) for x, y in zip(ell.ravel(), h.ravel(), strict=True)), Fraction(0))


def checked_witness(cone: TokenCone, h: Array, tokens: Sequence[Token], reason: str) -> Reach:
    """The witness, once its tokens are seen to use every slot once and to build ``h``; a failure is a bug, not an answer."""
    used = [Token(*t) for t in tokens if t[2] != 0]
    invariant(len({t.slot for t in used}) == len(used), "a witness uses every slot once")
    invariant(all(t.squared >= 0 for t in used), "a witness has no negative squared length")
    invariant(np.all(cone.state_of(used) == h), "a witness reproduces its state")
    return witness(used, cone.d_input, reason)


def _supports(cone: TokenCone, ell: Array) -> bool:
    return cone.never_negative(ell, max_slot=8 * moment_cone.MAX_SLOTS) is True


def obstruction(cone: TokenCone, h: Array, ell: Array, reason: str) -> Reach:
    """The obstruction, once ℓ is seen to be ≥ 0 on every token and < 0 on ``h``."""
    value = inner(ell, h)
    invariant(value < 0 and _supports(cone, ell), "an obstruction is ≥ 0 on every token and < 0 on h_0")
    return Reach("obstruction", "state", ell=ell, value=value, reason=reason)


def boundary(cone: TokenCone, h: Array, ell: Array, reason: str) -> Reach:
    """ℓ ≥ 0 on every token and ⟨ℓ, h⟩ = 0; ``reason`` says what that excludes."""
    invariant(inner(ell, h) == 0 and _supports(cone, ell), "a boundary functional is ≥ 0 on every token and 0 on h_0")
    return Reach("boundary", "state", ell=ell, value=Fraction(0), reason=reason)


def decide(cone: TokenCone, h: Array, limit: int | None = None, seed: int = 0) -> Reach:
    """Whether some prefix (of at most ``limit`` tokens) leaves ``h``, a nonzero rational (P, N).

    Rows of X and W_B are first brought to size 1 by powers of two, which moves tokens not at all and states entry by entry: the
    float programs then see numbers that floats can hold.
    """
    rows, columns = (np.array([Fraction(2) ** -_size(r) for r in m], dtype=object) for m in (cone.X, cone.W_B))
    if all(x == 1 for x in (*rows, *columns)):
        return _decide(cone, h, limit, seed)
    scale = np.outer(rows, columns)
    even = TokenCone.of(rows[:, None] * cone.X, columns[:, None] * cone.W_B, cone.decay)
    found = _decide(even, scale * h, limit, seed)
    return found if found.ell is None else replace(found, ell=scale * found.ell)


_MODERATE = 64


def _size(row: Array) -> int:
    """log2 of the largest entry of a row, 0 while it is moderate."""
    top = max((abs(x) for x in row), default=Fraction(0))
    size = log2_size(Fraction(top)) if top else 0
    return size if abs(size) > _MODERATE else 0


def _decide(cone: TokenCone, h: Array, limit: int | None, seed: int) -> Reach:
    outside = _outside_span(cone, h)
    if outside is not None:
        return outside
    if cone.d_input == 1:
        return _one_dimension(cone, h, limit)
    if len(cone.blocks) == 1:
        return _one_decay(cone, h, limit)
    if _independent(cone):
        return _whole_span(cone, h, limit)
    most, rng = min(limit or SEARCH_LENGTH, SEARCH_LENGTH), np.random.default_rng(seed)
    if cone.reaches_everything:
        return _everything(cone, h, most, rng)
    return _partly_obstructed(cone, h, most, rng)


# -- decided completely ---------------------------------------------------------------------------------------------------


def _outside_span(cone: TokenCone, h: Array) -> Reach | None:
    """A functional that vanishes on every token and not on h: powers of distinct decays span, so block by block is enough."""
    for block in cone.blocks:
        for ell in cone.vanishing(block):
            value = inner(ell, h)
            if value != 0:
                sign = Fraction(-1 if value > 0 else 1)
                return obstruction(cone, h, sign * ell, _why_outside(cone, block.entries))
    return None


def _why_outside(cone: TokenCone, entries: Sequence[tuple[int, int]]) -> str:
    silent = sorted({n for _, n in entries if not np.any(cone.W_B[n])})
    if silent:
        return f"W_B[{silent[0]}] = 0 keeps state {silent[0]} unwritten, or entries of one decay are dependent and h_0's are not"
    return "entries of one decay depend on each other in every token, h_0's do not: outside the span of all W_x S W_Bᵀ"


def _one_dimension(cone: TokenCone, h: Array, limit: int | None) -> Reach:
    """Tokens z ∈ R: entry (p, n) is X_p W_n Σ_m w_m γ^m, w = z². One value per decay is left, the point of a moment cone."""
    scale = np.outer(cone.X[:, 0], cone.W_B[:, 0])
    carriers = [e for block in cone.blocks for e in [next((e for e in block.entries if scale[e] != 0), None)] if e is not None]
    nodes = [Fraction(cone.decay[e]) for e in carriers]
    v = np.array([h[e] / scale[e] for e in carriers], dtype=object)  # entries of one decay agree, or h is outside the span

    def embed(values: Array) -> Array:
        ell = cone.zero_state()
        for e, x in zip(carriers, values, strict=True):
            ell[e] = x / scale[e]
        return ell

    found = moment_cone.decide(nodes, v)
    if found.weights is not None and limit is not None and max(found.weights) >= limit:
        found = moment_cone.decide_within(nodes, v, limit)
        if found.ell is not None:
            ell = embed(found.ell)
            return Reach(
                "obstruction", "state", ell=ell, value=inner(ell, h), reason=f"one channel: out of reach of {limit} token(s)"
            )
    if found.weights is not None:
        one = np.array([Fraction(1)], dtype=object)
        tokens = [Token(m, one, w) for m, w in found.weights.items()]
        return checked_witness(cone, h, tokens, "one channel: a point of the moment cone")
    if found.verdict == "boundary" and found.ell is not None:
        why = "one channel: on a face of the closed moment cone whose only representation uses the limit m → ∞"
        return boundary(cone, h, embed(found.ell), f"{why}, so no prefix of any length reaches it")
    if found.ell is not None:
        return obstruction(cone, h, embed(found.ell), "one channel: outside the closed moment cone")
    if found.verdict == "exists":
        return Reach("exists", "state", reason="one channel: interior of the moment cone, so finitely many tokens reach it")
    return Reach("open", "state", reason=f"one channel: not decided with {moment_cone.MAX_SLOTS} slots")


def _one_decay(cone: TokenCone, h: Array, limit: int | None) -> Reach:
    need = linalg.rank(h)
    if limit is not None and need > limit:
        return Reach("obstruction", "state", reason=f"one decay value: {limit} token(s) leave rank ≤ {limit}, h_0 has {need}")
    found = complete(cone.X, cone.W_B, cone.blocks[0].decay, h)
    if found.tokens is not None:
        return checked_witness(cone, h, found.tokens, found.reason)
    ell = known(found.ell, "a completion has tokens or a functional")
    return (obstruction if found.value < 0 else boundary)(cone, h, ell, found.reason)


def _independent(cone: TokenCone) -> bool:
    """Whether row(X) ∩ row(W_B) = 0, and each row of X has one decay: then (X z, W_B z) runs over all pairs of the two images."""
    rows = linalg.rank(cone.X) + linalg.rank(cone.W_B) == linalg.rank(np.concatenate([cone.X, cone.W_B]))
    return rows and all(len(set(row)) == 1 for row in cone.decay)


def _whole_span(cone: TokenCone, h: Array, limit: int | None) -> Reach:
    """Everything in the span is reached: column by column of a basis of row(h), each by as many slots as there are decays.

    With Γ the rows' decays, slots s, …, s + μ − 1 (μ distinct values) build Σ_i Γ^{s+i} X a_i eᵀ for any a_i; Γ is invertible.
    """
    gamma, mu = np.array([row[0] for row in cone.decay], dtype=object), len(cone.blocks)
    reduced, pivots = linalg.rref(h)
    together = np.concatenate([cone.X, cone.W_B])
    basis = cone.X[:, list(linalg.rref(cone.X)[1])]
    tokens: list[Token] = []
    for k, pivot in enumerate(pivots):
        slots = range(k * mu, (k + 1) * mu)
        parts = np.concatenate([(gamma**s)[:, None] * basis for s in slots], axis=1)
        weights = linalg.solve(parts, h[:, pivot])
        for s, a in zip(slots, np.split(known(weights, "h lies in the span"), mu), strict=True):
            if np.any(a):
                z = linalg.solve(together, np.concatenate([basis @ a, reduced[k]]))
                tokens.append(Token(s, known(z, "row(X) ∩ row(W_B) = 0"), Fraction(1)))
    reason = "row(W_x) and row(W_B) share nothing: every state in the span is reached, a few slots for each of its columns"
    found = checked_witness(cone, h, tokens, reason)
    if limit is not None and found.length is not None and found.length > limit:
        return Reach("exists", "state", reason=f"a prefix of {found.length} tokens exists, none of ≤ {limit} was found")
    return found


def _everything(cone: TokenCone, h: Array, most: int, rng: np.random.Generator) -> Reach:
    size = cone.shape[0] * cone.shape[1]
    for length in (size, 2 * size, 4 * size):  # a short prefix where a linear program finds one
        short = search_tokens(cone, h, length, rng) if length <= most else None
        if short is not None:
            return checked_witness(cone, h, short, f"criterion (iii) holds; linear program over {length} slots")
    tokens = cluster_tokens(cone, h, most)
    if tokens is not None:
        return checked_witness(cone, h, tokens, "criterion (iii) holds: one cluster of tokens per decay value")
    return Reach("exists", "state", reason=f"reachable by the theorem (criterion (iii)); no witness of length ≤ {most} was built")


# -- partly obstructed ----------------------------------------------------------------------------------------------------


def _partly_obstructed(cone: TokenCone, h: Array, most: int, rng: np.random.Generator) -> Reach:
    by_class = _class_by_class(cone, h)
    if by_class is not None:
        return by_class
    found = [v.ell for v in cone.criterion if v.ell is not None]
    for ell in found:
        for sign in (1, -1):
            if inner(sign * ell, h) < 0 and cone.never_negative(sign * ell):
                return obstruction(cone, h, sign * ell, "an ℓ supported on one decay value")
    confined = _confined(cone, h, found, most)
    if confined is not None:
        return confined
    tokens = search_few_tokens(cone, h, most)
    near = [] if tokens is not None else list(float_solutions(cone, h, most, rng))
    tokens = tokens or few_tokens(cone, h, near)
    if tokens is not None:
        return checked_witness(cone, h, tokens, "few tokens, found in floats and solved for in rationals")
    for length in (8, 32, 128):
        if length <= most:
            tokens = search_tokens(cone, h, length, rng)
            if tokens is not None:
                return checked_witness(cone, h, tokens, f"linear program over {length} slots, one direction per slot")
    separating, cuts = search_obstruction(cone, h, rng)
    if separating is not None:
        return obstruction(cone, h, separating, "separating functional from a cutting-plane search")
    for length in (32, 128):
        if cuts and length <= most:
            tokens = search_tokens(cone, h, length, rng, cuts)
            if tokens is not None:
                return checked_witness(cone, h, tokens, f"linear program over {length} slots, directions from cutting planes")
    proof = proved_to_exist(cone, h, near)
    if proof is not None:
        return Reach("exists", "state", reason=proof)
    for ell in found:
        if inner(ell, h) == 0 and cone.never_negative(ell) and cone.never_negative(-ell) is False:
            return boundary(cone, h, ell, "⟨ℓ, h_0⟩ = 0 for a functional ≥ 0 on the cone; reachability itself is not decided")
    return Reach("open", "state", reason="neither a witness nor an obstruction was found within the search limits")


def _class_by_class(cone: TokenCone, h: Array) -> Reach | None:
    """Rows that share one decay value by themselves: what excludes their part of h excludes h."""
    for block in cone.blocks:
        rows = sorted({p for p, _ in block.entries})
        if len(rows) * cone.shape[1] != len(block.entries):
            continue
        found = complete(cone.X[rows], cone.W_B, block.decay, h[rows])
        if found.ell is not None:
            ell = cone.zero_state()
            ell[rows] = found.ell
            return (obstruction if found.value < 0 else boundary)(
                cone, h, ell, f"rows with decay {brief(block.decay)}: {found.reason}"
            )
    return None


def _confined(cone: TokenCone, h: Array, functionals: Sequence[Array], most: int) -> Reach | None:
    """⟨ℓ, h⟩ = 0 for an ℓ ≥ 0 on one decay value: every token lies in ker Q_0(ℓ), the same for all slots. Ask again there."""
    for ell in functionals:
        form = cone.form(ell)
        if inner(ell, h) != 0 or not np.any(form) or not linalg.is_psd(form):
            continue
        kernel = linalg.nullspace(form)
        unreachable = "⟨ℓ, h_0⟩ = 0 confines all tokens to a subspace, from which no prefix of any length reaches h_0"
        if not kernel:
            return boundary(cone, h, ell, unreachable)
        basis = np.array(kernel, dtype=object).T
        inside = decide(cone.within(basis), h, most)
        if inside.tokens is not None:
            tokens = [Token(t.slot, basis @ t.direction, t.squared) for t in inside.tokens]
            return checked_witness(cone, h, tokens, f"tokens in the subspace that ⟨ℓ, h_0⟩ = 0 leaves; {inside.reason}")
        if inside.verdict in ("obstruction", "boundary") and _excludes(inside):
            return boundary(cone, h, ell, f"{unreachable}: {inside.reason}")
        if inside.verdict == "exists":
            return inside
    return None


def _excludes(found: Reach) -> bool:
    """Whether an answer says that no prefix of any length reaches the state (not only none within a limit, nor undecided)."""
    if found.verdict == "obstruction":
        return found.ell is not None and "token(s)" not in found.reason
    return "not decided" not in found.reason
