r"""Mamba-2 with one decay value and any projections: reachability is a positive semidefinite completion, decided in rationals.

With X = dt W_x (heads of equal decay stacked) and one γ, a prefix leaves h = X S W_Bᵀ with S = Σ_m γ^m u_m u_mᵀ, and S is any
positive semidefinite matrix. Take independent rows A, C, B with row(X) ∩ row(W_B) = ⟨C⟩, row(X) = ⟨A, C⟩, row(W_B) = ⟨C, B⟩:

    X = P [A; C],   W_B = Q [C; B]   (P, Q of full column rank),      h = P T Qᵀ,   T = [[S_ac, S_ab], [S_cc, S_cb]]

so h fixes T and leaves S_aa and S_bb free. Such an S ⪰ 0 exists iff S_cc is symmetric, S_cc ⪰ 0, and S_ac, S_cbᵀ vanish on its
kernel; the least number of tokens is then the least rank of S, which is rank(S_cc) + rank(S_ab − S_ac S_cc⁺ S_cb) = rank(h).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from theory.core import linalg
from theory.core.invariants import invariant, known
from theory.core.scalars import Array

from .result import Token
from .tokens import state_of


@dataclass(frozen=True, eq=False)
class Frame:
    """Independent rows A, C, B (see the module's text), each of shape (·, D)."""

    A: Array
    C: Array
    B: Array

    @property
    def rows(self) -> Array:
        """[A; C; B]."""
        return np.concatenate([self.A, self.C, self.B])


@dataclass(frozen=True, eq=False)
class Completion:
    """``tokens`` that leave h, or ``ell`` with ⟨ell, h⟩ = ``value`` ≤ 0 and ≥ 0 on every token."""

    tokens: list[Token] | None = None
    ell: Array | None = None
    value: Fraction = Fraction(0)
    reason: str = ""


def frame(X: Array, W_B: Array) -> Frame:
    """Rows A, C, B for two row spaces."""
    left, right = _basis(X), _basis(W_B)
    both = np.concatenate([left, right]).T
    common = [v[len(left) :] @ right for v in linalg.nullspace(both)]
    c = _rows(common, X.shape[1])
    return Frame(_extend(c, left), c, _extend(c, right))


def complete(X: Array, W_B: Array, decay: Fraction, h: Array) -> Completion:
    """Decide whether h = X S W_Bᵀ for some S ⪰ 0, with tokens or a functional.

    Parameters
    ----------
    X:
        dt W_x, shape (P, D).
    W_B:
        Shape (N, D).
    decay:
        γ in (0, 1).
    h:
        Shape (P, N), in the span of {X S W_Bᵀ : S symmetric}; the caller has checked this.
    """
    f = frame(X, W_B)
    a, z = len(f.A), len(f.C)
    T = _between(X, np.concatenate([f.A, f.C]), W_B, np.concatenate([f.C, f.B]), h)
    s_ac, s_ab, s_cc, s_cb = T[:a, :z], T[:a, z:], T[a:, :z], T[a:, z:]
    terms = linalg.ldl_psd(s_cc) if z else []  # an empty block asks for nothing
    if terms is None:
        x = known(linalg.negative_direction(s_cc), "a symmetric matrix that is not semidefinite has a negative direction")
        return _functional(X, W_B, x @ f.C, h, "the block of S on row(W_x) ∩ row(W_B) would not be positive semidefinite")
    for x in linalg.nullspace(s_cc) if z else []:
        if any(v != 0 for v in [*(s_ac @ x), *(x @ s_cb)]):
            return _functional(X, W_B, x @ f.C, h, _LIMIT)
    weights, v = [w for w, _ in terms], _rows([t for _, t in terms], z)
    # S_ac = L diag(w) V and S_cb = Vᵀ diag(w) R: solvable, since both vanish on the kernel of S_cc
    scaled = (v.T * np.array(weights, dtype=object)) if weights else v.T
    left, right = _solve_all(scaled, s_ac), _solve_all(scaled, s_cb.T)
    rest = s_ab - (left * np.array(weights, dtype=object)) @ right.T if weights else s_ab
    reduced, pivots = linalg.rref(rest) if rest.size else (rest, ())
    length = len(terms) + len(pivots)
    tokens: list[Token] = []
    for i, w in enumerate(weights):
        slot = length - 1 - i
        u = _input(f, left[:, i], v[i], right[:, i])
        tokens.append(Token(slot, u, w / decay**slot))
    for k, pivot in enumerate(pivots):
        slot = length - 1 - len(weights) - k
        tokens.append(Token(slot, _input(f, rest[:, pivot] / decay**slot, 0 * f.C[:, 0], reduced[k, :]), Fraction(1)))
    invariant(np.all(state_of(X, W_B, decay, tokens) == h), "a completion reproduces its state")
    return Completion(tokens, reason=f"S has a positive semidefinite completion of rank {length} = rank h_0")


_LIMIT = (
    "S would have to vanish where it must not: unreachable with every length, but h_0 + ε·(a reachable state) is reachable for "
    "every ε > 0"
)


def _functional(X: Array, W_B: Array, row: Array, h: Array, reason: str) -> Completion:
    """ℓ = p qᵀ with pᵀX = qᵀW_B = row: ⟨ℓ, (X u)(W_B u)ᵀ⟩ = (row·u)²."""
    p, q = (known(linalg.solve(m.T, row), "the row is common to both row spaces") for m in (X, W_B))
    ell = np.outer(p, q)
    return Completion(ell=ell, value=Fraction(np.sum(ell * h)), reason=reason)


def _between(X: Array, x_rows: Array, W_B: Array, b_rows: Array, h: Array) -> Array:
    """T with h = P T Qᵀ, where X = P x_rows and W_B = Q b_rows."""
    p, q = _solve_all(x_rows.T, X), _solve_all(b_rows.T, W_B)
    half = _solve_all(p, h.T).T  # P half = h
    return _solve_all(q, half)  # Q Tᵀ = halfᵀ


def _solve_all(matrix: Array, rows: Array) -> Array:
    """Y with Y[i] the solution of matrix · y = rows[i]; the caller knows that there is one."""
    out = np.zeros((len(rows), matrix.shape[1]), dtype=object)
    if not matrix.shape[1]:
        return out
    for i, row in enumerate(rows):
        out[i] = known(linalg.solve(matrix, row), "the caller knows that there is a solution")
    return out


def _basis(matrix: Array) -> Array:
    reduced, pivots = linalg.rref(matrix)
    return reduced[: len(pivots)]


def _extend(rows: Array, candidates: Array) -> Array:
    """Those candidates that extend ``rows`` to a basis of all."""
    pivots = linalg.rref(np.concatenate([rows, candidates]).T)[1] if len(candidates) else ()
    return candidates[[j - len(rows) for j in pivots if j >= len(rows)]]


def _rows(rows: list[Array], width: int) -> Array:
    out = np.empty((len(rows), width), dtype=object)
    for i, row in enumerate(rows):
        out[i] = row
    return out


def _input(f: Frame, a: Array, c: Array, b: Array) -> Array:
    """u with (A u, C u, B u) = (a, c, b)."""
    return known(linalg.solve(f.rows, [*a, *c, *b]), "rows A, C and B are independent")
