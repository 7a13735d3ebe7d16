"""Which initial states of a selective SSM a prefix reaches: witnesses and obstructions, all checked in rationals.

What is special to S6 is here: any clock, and one decay value for all entries. Constant clocks with several decay values go to
:mod:`.decide`. See selective/README.md for the theorem and its proof.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from theory.core import linalg
from theory.core.brief import brief
from theory.core.errors import InvalidInput
from theory.core.invariants import BrokenInvariant, known
from theory.core.lti import require_length
from theory.core.scalars import Array, exact_array, is_real
from theory.core.selective import SelectiveSSM

from .cone import TokenCone
from .decide import boundary, checked_witness, decide, obstruction
from .result import Reach, Token
from .tokens import nothing_needed

LEVEL: Literal["state"] = "state"


def reachable_selective(system: SelectiveSSM, h0: Any, *, max_length: int | None = None, seed: int = 0) -> Reach:
    """Decide whether some prefix drives the module from zero to ``h0`` exactly.

    Decided completely for one channel, and for one decay value; for everything if criterion (iii) of the theorem holds.

    Parameters
    ----------
    system:
        A constant-clock S6 module, exact or float64 (floats are taken at their exact binary value). For a clock that
        depends on the token only the sign obstruction of rows W_B[n] ∝ e_d is known; everything else is ``open``.
    h0:
        State of shape (D, N), real.
    max_length:
        Only prefixes of at most this many tokens count. A state that longer ones reach is then an obstruction where that is
        proved (one channel, one decay value), else ``exists``.
    seed:
        Of the float searches that propose tokens and functionals; what they propose is checked in rationals.

    Returns a :class:`~theory.prefix_state.reach.result.Reach` at state level. Raises InvalidInput for a wrong shape, complex
    numbers, a symbolic system or max_length < 1.
    """
    limit = None if max_length is None else require_length(max_length, "max_length")
    h = exact_state(system, h0)
    if not np.any(h):
        return nothing_needed()
    if not system.constant_clock:
        if any(not is_real(w) for w in system.W_B.ravel()):
            raise InvalidInput("reachability is decided for real systems; W_B has complex entries")
        return _any_clock(system, h)
    cone = TokenCone(system)
    if len(cone.blocks) == 1:
        return _scalar_decay(cone, h, limit)
    return decide(cone, h, limit, seed)


def exact_state(system: Any, h0: Any) -> Array:
    """h_0 as real rationals in the shape that the system has; InvalidInput for symbols or complex numbers."""
    if system.kind == "symbolic":
        raise InvalidInput("reachability is decided in rationals; substitute numbers into the symbolic system first")
    h = exact_array(system.state(h0))
    for index in np.ndindex(h.shape):
        if not is_real(h[index]):
            raise InvalidInput(f"h0{list(index)} = {brief(h[index])} is complex; prefixes of real tokens leave real states")
    return h


# -- any clock: signs -----------------------------------------------------------------------------------------------


def _any_clock(system: SelectiveSSM, h: Array) -> Reach:
    """Whatever the clock: where W_B[n] = c e_d, entry (d, n) only ever receives values of the sign of c."""
    for n in range(system.n_states):
        support = [d for d in range(system.n_channels) if system.W_B[n, d] != 0]
        for d in range(system.n_channels):
            blocked = not support or (support == [d] and h[d, n] * system.W_B[n, d] < 0)
            if blocked and h[d, n] != 0:
                ell = system.zero_state()
                ell[d, n] = Fraction(-1 if h[d, n] > 0 else 1)
                why = "is zero" if not support else f"has its only nonzero entry at channel {d}"
                return Reach(
                    "obstruction",
                    LEVEL,
                    ell=ell,
                    value=-abs(Fraction(h[d, n])),
                    reason=f"row {n} of W_B {why}: entry (d, n) = ({d}, {n}) keeps one sign under every clock",
                )
    return Reach("open", LEVEL, reason="the clock depends on the token; only sign obstructions are decided for such systems")


# -- one decay value: a rank condition --------------------------------------------------------------------------------


def _scalar_decay(cone: TokenCone, h: Array, limit: int | None) -> Reach:
    """All decays equal λ: with g = diag(1/dt) h_0, reachable iff W_B g is symmetric PSD and rank(W_B g) = rank g."""
    dt = known(cone.dt, "S6 has step sizes")
    g = h / dt[:, None]
    p = cone.W_B @ g
    n = p.shape[0]
    for i, j in itertools.combinations(range(n), 2):
        if p[i, j] != p[j, i]:  # ℓ = diag(1/dt) W_Bᵀ K with K antisymmetric has the zero form
            k = np.array([[Fraction(0)] * n for _ in range(n)], dtype=object)
            sign = Fraction(1 if p[i, j] < p[j, i] else -1)
            k[i, j], k[j, i] = sign, -sign
            return obstruction(cone, h, (cone.W_B.T @ k) / dt[:, None], "W_B diag(1/dt) h_0 is not symmetric")
    x = linalg.negative_direction(p)
    if x is not None:
        ell = np.outer(cone.W_B.T @ x, x) / dt[:, None]
        return obstruction(cone, h, ell, "W_B diag(1/dt) h_0 is not positive semidefinite")
    if linalg.rank(p) < linalg.rank(g):
        return _scalar_boundary(cone, h, g, p)
    _, pivots = linalg.rref(p)
    chosen = list(pivots)
    middle = linalg.inverse(p[np.ix_(chosen, chosen)])
    terms = known(linalg.ldl_psd(middle), "the inverse of a positive definite block is positive definite")
    value = cone.blocks[0].decay
    if limit is not None and len(terms) > limit:
        return Reach("obstruction", LEVEL, reason=f"one decay value: {limit} token(s) leave rank ≤ {limit}, h_0 has {len(terms)}")
    tokens = [Token(m, g[:, chosen] @ v, w / value**m) for m, (w, v) in enumerate(terms)]
    return checked_witness(cone, h, tokens, f"one decay value: W_B diag(1/dt) h_0 is PSD of rank {len(terms)} = rank h_0")


def _scalar_boundary(cone: TokenCone, h: Array, g: Array, p: Array) -> Reach:
    """Some x has W_B g x = 0 but g x ≠ 0: an obstruction where some such x has W_Bᵀ x = 0, else only a limit."""
    dt = known(cone.dt, "S6 has step sizes")
    for x in linalg.nullspace(cone.W_B.T):  # a dependence between rows of W_B that every reachable state inherits
        if np.any(gx := g @ x):
            return obstruction(cone, h, -np.outer(gx, x) / dt[:, None], "the rows of W_B are dependent, h_0's are not alike")
    for x in linalg.nullspace(p):
        if np.any(g @ x):
            ell = np.outer(cone.W_B.T @ x, x) / dt[:, None]
            why = "unreachable for every length, a limit of reachable states"
            return boundary(cone, h, ell, f"rank(W_B diag(1/dt) h_0) < rank h_0: {why}")
    raise BrokenInvariant("a rank defect has a vector that shows it")
