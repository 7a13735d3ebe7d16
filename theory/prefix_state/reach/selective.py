"""Which initial states of a selective SSM a prefix reaches: witnesses and obstructions, all checked in rationals.

The answer for one h_0 is a witness (tokens given as slot, rational direction z and squared length w ≥ 0, so that the
token is √w z and its contribution w·E^slot ⊙ G(z) is rational), an obstruction ℓ with ⟨ℓ, h_0⟩ < 0, a boundary
functional with ⟨ℓ, h_0⟩ = 0, or open. See selective/README.md for the theorem and its proof.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Literal

import numpy as np
from scipy.optimize import linprog

from theory.core import linalg
from theory.core.errors import InvalidInput
from theory.core.invariants import BrokenInvariant, known
from theory.core.scalars import Array
from theory.core.selective import SelectiveSSM

from .cone import Block, TokenCone, _ldexp, _log2, _lowest_eigenpair, _rational_direction, nonnegative_solution, roundings
from .result import Reach

Token = tuple[int, Array, Fraction]  # (slot, direction, squared length); slot = number of tokens that follow

LEVEL: Literal["state"] = "state"


def reachable_selective(system: SelectiveSSM, h0: Array, *, max_length: int = 16384, seed: int = 0) -> Reach:
    """Decide whether some prefix drives the module from zero to ``h0`` exactly.

    Parameters
    ----------
    system:
        A constant-clock S6 module, exact or float64 (floats are taken at their exact binary value). For a clock that
        depends on the token only the sign obstruction of rows W_B[n] ∝ e_d is known; everything else is ``open``.
    h0:
        State of shape (D, N).
    max_length:
        Longest prefix to try.

    Returns a :class:`~theory.prefix_state.reach.reachable.Reach` at state level. Raises InvalidInput for a wrong shape or a
    symbolic system.
    """
    if max_length < 1:
        raise InvalidInput(f"max_length = {max_length} must be at least 1")
    h = _exact_state(system, h0)
    if all(x == 0 for x in h.ravel()):
        return Reach("witness", LEVEL, prefix=[], tokens=[], reason="the zero state needs no token", length=0, norm=0.0)
    if not system.constant_clock:
        return _any_clock(system, h)
    cone = TokenCone(system)
    if len(cone.blocks) == 1:
        return _scalar_decay(cone, h)
    if cone.shape[0] == 1:
        return _single_channel(cone, h, max_length)
    rng = np.random.default_rng(seed)
    if cone.reaches_everything:
        size = cone.shape[0] * cone.shape[1]
        for length in (size, 2 * size, 4 * size):  # a short prefix where a linear program finds one
            short = _search_tokens(cone, h, length, rng) if length <= max_length else None
            if short is not None:
                return _witness(cone, h, short, f"criterion (iii) holds; linear program over {length} slots")
        tokens = cluster_tokens(cone, h, max_length)
        if tokens is not None:
            return _witness(cone, h, tokens, "criterion (iii) holds: one cluster of tokens per decay value")
        return Reach("open", LEVEL, reason=f"reachable by the theorem, but no witness of length ≤ {max_length} was found")
    return _partly_obstructed(cone, h, max_length, rng)


# -- building blocks ------------------------------------------------------------------------------------------------


def _exact_state(system: SelectiveSSM, h0: Array) -> Array:
    h = system.state(h0)
    if system.kind == "float64":
        h = np.array([Fraction(float(x)) for x in h.ravel()], dtype=object).reshape(h.shape)
    if system.kind == "symbolic":
        raise InvalidInput("reachability is decided in rationals; substitute numbers into the symbolic system first")
    return h


def inner(ell: Array, h: Array) -> Fraction:
    """⟨ℓ, h⟩ = Σ ℓ[d, n] h[d, n]."""
    return sum((Fraction(x) * Fraction(y) for x, y in zip(ell.ravel(), h.ravel(), strict=True)), Fraction(0))


def state_of_tokens(cone: TokenCone, tokens: Sequence[Token]) -> Array:
    """Σ w·E^slot ⊙ G(z): the state that the tokens build, exactly."""
    total = cone.system.zero_state()
    for slot, z, w in tokens:
        total = total + w * cone.column(slot, z)
    return total


def _witness(cone: TokenCone, h: Array, tokens: Sequence[Token], reason: str) -> Reach:
    used = sorted((t for t in tokens if t[2] != 0), key=lambda t: -t[0])
    slots = [t[0] for t in used]
    # Both are guards of the construction, not of the input: a failure is a bug and must not become a verdict.
    if len(set(slots)) != len(slots) or any(t[2] < 0 for t in used):
        raise BrokenInvariant("witness uses a slot twice or a negative squared length")
    if not np.all(state_of_tokens(cone, used) == h):
        raise BrokenInvariant("witness does not reproduce the state")
    length = max(slots) + 1
    squared = sum((w * sum((x * x for x in z), Fraction(0)) for _, z, w in used), Fraction(0))
    return Reach(
        "witness", LEVEL, prefix=_prefix(cone, used, length), tokens=used, reason=reason, length=length, norm=_sqrt(squared)
    )


def _sqrt(x: Fraction) -> float:
    """√x as a float, also where x itself is outside the range of doubles; inf where √x is."""
    if x == 0:
        return 0.0
    shift = (_log2(x) // 2) * 2
    root = math.sqrt(float(x / Fraction(2) ** shift))
    return math.ldexp(root, shift // 2) if abs(shift // 2) < 1000 else (0.0 if shift < 0 else math.inf)


def _prefix(cone: TokenCone, tokens: Sequence[Token], length: int) -> list[list[float]]:
    rows = [[0.0] * cone.shape[0] for _ in range(length)]
    for slot, z, w in tokens:
        root = _sqrt(w)
        rows[length - 1 - slot] = [float(x) * root for x in z]
    return rows


def _obstruction(cone: TokenCone, h: Array, ell: Array, reason: str) -> Reach:
    if cone.never_negative(ell) is not True or not inner(ell, h) < 0:
        raise BrokenInvariant("the functional is not an obstruction")
    return Reach("obstruction", LEVEL, ell=ell, value=inner(ell, h), reason=reason)


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


def _scalar_decay(cone: TokenCone, h: Array) -> Reach:
    """All decays equal λ: with g = diag(1/dt) h_0, reachable iff W_B g is symmetric PSD and rank(W_B g) = rank g."""
    g = h / cone.dt[:, None]
    p = cone.W_B @ g
    n = p.shape[0]
    for i, j in itertools.combinations(range(n), 2):
        if p[i, j] != p[j, i]:  # ℓ = diag(1/dt) W_Bᵀ K with K antisymmetric has the zero form
            k = np.array([[Fraction(0)] * n for _ in range(n)], dtype=object)
            sign = Fraction(1 if p[i, j] < p[j, i] else -1)
            k[i, j], k[j, i] = sign, -sign
            return _obstruction(cone, h, (cone.W_B.T @ k) / cone.dt[:, None], "W_B diag(1/dt) h_0 is not symmetric")
    x = linalg.negative_direction(p)
    if x is not None:
        ell = np.outer(cone.W_B.T @ x, x) / cone.dt[:, None]
        return _obstruction(cone, h, ell, "W_B diag(1/dt) h_0 is not positive semidefinite")
    if linalg.rank(p) < linalg.rank(g):
        return _scalar_boundary(cone, h, g, p)
    _, pivots = linalg.rref(p)
    chosen = list(pivots)
    middle = linalg.inverse(p[np.ix_(chosen, chosen)])
    terms = known(linalg.ldl_psd(middle), "the inverse of a positive definite block is positive definite")
    value = cone.blocks[0].decay
    tokens = [(m, g[:, chosen] @ v, w / value**m) for m, (w, v) in enumerate(terms)]
    return _witness(cone, h, tokens, f"one decay value: W_B diag(1/dt) h_0 is PSD of rank {len(terms)} = rank h_0")


def _scalar_boundary(cone: TokenCone, h: Array, g: Array, p: Array) -> Reach:
    """Some x has W_B g x = 0 but g x ≠ 0."""
    for x in linalg.nullspace(p):
        gx, wx = g @ x, cone.W_B.T @ x
        if all(v == 0 for v in gx):
            continue
        if all(v == 0 for v in wx):  # a dependence between rows of W_B that every reachable state inherits
            return _obstruction(
                cone, h, -np.outer(gx, x) / cone.dt[:, None], "the rows of W_B are dependent, h_0's are not alike"
            )
        ell = np.outer(wx, x) / cone.dt[:, None]
        return Reach(
            "boundary",
            LEVEL,
            ell=ell,
            value=inner(ell, h),
            reason="rank(W_B diag(1/dt) h_0) < rank h_0: unreachable for every length, a limit of reachable states "
            "where the rows of W_B are independent",
        )
    raise BrokenInvariant("rank defect without a vector that shows it")


# -- one channel: the moment cone ---------------------------------------------------------------------------------------


def _single_channel(cone: TokenCone, h: Array, max_length: int) -> Reach:
    """D = 1: h_n = dt W_n Σ_m w_m E_n^m with w_m ≥ 0, the cone over the points (E_1^m, …, E_K^m), m = 0, 1, …"""
    zero_rows = [n for n in range(cone.shape[1]) if cone.W_B[n, 0] == 0]
    for n in zero_rows:
        if h[0, n] != 0:
            ell = cone.system.zero_state()
            ell[0, n] = Fraction(-1 if h[0, n] > 0 else 1)
            return _obstruction(cone, h, ell, f"W_B[{n}] = 0: state {n} is never written")
    values: list[Fraction] = []
    carriers: list[int] = []
    for block in cone.blocks:
        members = [n for _, n in block.entries if n not in zero_rows]
        if not members:
            continue
        ratios = [h[0, n] / (cone.dt[0] * cone.W_B[n, 0]) for n in members]
        for n, ratio in zip(members, ratios, strict=True):
            if ratio != ratios[0]:
                ell = cone.system.zero_state()
                sign = Fraction(1 if ratio < ratios[0] else -1)
                ell[0, n], ell[0, members[0]] = sign / cone.W_B[n, 0], -sign / cone.W_B[members[0], 0]
                return _obstruction(cone, h, ell, f"states {members[0]} and {n} share a decay but not h/(dt W_B)")
        values.append(ratios[0])
        carriers.append(members[0])
    nodes = [cone.decay[0, n] for n in carriers]

    def embed(coefficients: Sequence[Fraction] | Array) -> Array:
        ell = cone.system.zero_state()
        for n, c in zip(carriers, coefficients, strict=True):
            ell[0, n] = c / (cone.dt[0] * cone.W_B[n, 0])
        return ell

    v = np.array(values, dtype=object)
    one = np.array([Fraction(1)], dtype=object)
    slots = 16
    while True:
        slots = min(slots, max_length)
        columns = np.array([[e**m for m in range(slots)] for e in nodes], dtype=object)
        solution = nonnegative_solution(columns, v)
        if solution is not None:
            return _witness(cone, h, [(m, one, w) for m, w in enumerate(solution)], "D = 1: a point of the moment cone")
        limit = np.array([[Fraction(int(k == 0))] for k in range(len(nodes))], dtype=object)
        candidate = _strict_functional(np.concatenate([columns, limit], axis=1), v)
        for ell in roundings(candidate):
            if sum(ell * v, Fraction(0)) < 0 and cone.never_negative(embed(ell)):
                return _obstruction(cone, h, embed(ell), "D = 1: outside the closed moment cone")
        if slots >= min(max_length, 256):
            break
        slots *= 4
    for ell in _moment_facets(nodes, min(24, max_length)):
        if sum(ell * v, Fraction(0)) == 0 and cone.never_negative(embed(ell)):
            return Reach(
                "boundary",
                LEVEL,
                ell=embed(ell),
                value=Fraction(0),
                reason="D = 1: on a face of the closed moment cone whose only representation uses the limit m → ∞, "
                "so no prefix of any length reaches it",
            )
    return Reach("open", LEVEL, reason=f"D = 1: neither a witness of length ≤ {max_length} nor a certificate was found")


def _moment_facets(nodes: list[Fraction], slots: int) -> Iterator[Array]:
    """Functionals that vanish on K − 1 points of {0, pairs (i, i+1), ∞}: the facets, by Gale's evenness condition."""
    k = len(nodes)
    point = {m: [e**m for e in nodes] for m in range(slots)}
    limit = [Fraction(int(i == 0)) for i in range(k)]
    for ends in itertools.product((False, True), repeat=2):
        pairs, odd = divmod(k - 1 - sum(ends), 2)
        if odd or pairs < 0:
            continue
        for starts in itertools.combinations(range(int(ends[0]), slots - 1), pairs):
            if any(b - a < 2 for a, b in itertools.pairwise(starts)):
                continue
            rows = [point[m] for s in starts for m in (s, s + 1)] + ([point[0]] if ends[0] else []) + ([limit] if ends[1] else [])
            kernel = linalg.nullspace(rows) if rows else [np.array([Fraction(1)], dtype=object)]
            if len(kernel) == 1:
                yield kernel[0]
                yield -kernel[0]


# -- everything reachable: clusters of tokens ----------------------------------------------------------------------------


def cluster_tokens(cone: TokenCone, h: Array, max_length: int) -> list[Token] | None:
    """Tokens that build ``h`` when criterion (iii) holds: the construction of the theorem's proof, in rationals.

    Block i of K gets a cluster of tokens around slot (K − i)·T. Scaling rows and columns by positive numbers makes the
    matrix of contributions tend to a block-diagonal one whose columns positively span as T grows; T is doubled until they
    do. None where that needs more than ``max_length`` slots.
    """
    stride = max(len(v.directions) for v in cone.criterion)
    while len(cone.blocks) * stride <= max_length:
        tokens = _clusters_at(cone, h, stride)
        if tokens is not None:
            return tokens
        stride *= 2
    return None


def _clusters_at(cone: TokenCone, h: Array, stride: int) -> list[Token] | None:
    verdicts = cone.criterion
    k = len(verdicts)
    logs = [_log(v.block.decay) for v in verdicts]
    offsets = [0.0]
    for i in range(1, k):  # the lines s_i + τ log λ_i cross between the clusters i−1 and i
        offsets.append(offsets[-1] + (k - 1 - i + 0.5) * (logs[i - 1] - logs[i]))
    row_scale = [Fraction(2) ** round(stride * s / math.log(2)) for s in offsets]

    slots: list[int] = []
    directions: list[Array] = []
    u: list[Fraction] = []
    col_scale: list[Fraction] = []
    basis: list[int] = []
    for i, v in enumerate(verdicts):
        parts = np.array([v.block.restrict(cone.token(z)) for z in v.directions], dtype=object).T
        _, pivots = linalg.rref(parts)
        basis += [len(slots) + p for p in pivots]
        for j, (z, weight) in enumerate(zip(v.directions, v.weights, strict=True)):
            slot = (k - 1 - i) * stride + j
            slots.append(slot)
            directions.append(z)
            u.append(weight)
            col_scale.append(1 / (row_scale[i] * v.block.decay**slot))
    columns = [cone.column(s, z) for s, z in zip(slots, directions, strict=True)]
    rows = [[v.block.restrict(c) for c in columns] for v in verdicts]
    matrix = np.array(
        [
            [row_scale[i] * rows[i][c][r] * col_scale[c] for c in range(len(columns))]
            for i, v in enumerate(verdicts)
            for r in range(len(v.block.entries))
        ],
        dtype=object,
    )
    right = np.array([row_scale[i] * x for i, v in enumerate(verdicts) for x in v.block.restrict(h)], dtype=object)
    weights = np.array(u, dtype=object)
    square = matrix[:, basis]
    drift, wanted = linalg.solve(square, matrix @ weights), linalg.solve(square, right)
    if drift is None or wanted is None:
        return None
    spare = [weights[c] - d for c, d in zip(basis, drift, strict=True)]
    if any(s <= 0 for s in spare):
        return None
    t = max([Fraction(0), *(-x / s for x, s in zip(wanted, spare, strict=True))])
    scaled = t * weights
    for c, s, x in zip(basis, spare, wanted, strict=True):
        scaled[c] = t * s + x
    return [(s, z, w * f) for s, z, w, f in zip(slots, directions, scaled, col_scale, strict=True)]


def _log(x: Fraction) -> float:
    return math.log(x.numerator) - math.log(x.denominator)


# -- partly obstructed systems --------------------------------------------------------------------------------------------


def _partly_obstructed(cone: TokenCone, h: Array, max_length: int, rng: np.random.Generator) -> Reach:
    known = [v.ell for v in cone.criterion if v.ell is not None]
    for ell in known:
        for sign in (1, -1):
            value = inner(sign * ell, h)
            if value < 0 and cone.never_negative(sign * ell):
                return _obstruction(cone, h, sign * ell, "an ℓ supported on one decay value")
    tokens = _search_few_tokens(cone, h, max_length)
    if tokens is not None:
        return _witness(cone, h, tokens, "linear program over small integer directions")
    for length in (8, 32, 128):
        if length <= max_length:
            tokens = _search_tokens(cone, h, length, rng)
            if tokens is not None:
                return _witness(cone, h, tokens, f"linear program over {length} slots, one direction per slot")
    found, cuts = _search_obstruction(cone, h, rng)
    if found is not None:
        return _obstruction(cone, h, found, "separating functional from a cutting-plane search")
    for length in (32, 128):
        if cuts and length <= max_length:
            tokens = _search_tokens(cone, h, length, rng, cuts)
            if tokens is not None:
                return _witness(cone, h, tokens, f"linear program over {length} slots, directions from cutting planes")
    for ell in known:
        if inner(ell, h) == 0 and cone.never_negative(ell) and cone.never_negative(-ell) is False:
            proved = cone.always_positive(ell)
            what = "so every prefix misses it" if proved else "reachability itself is not decided"
            return Reach(
                "boundary", LEVEL, ell=ell, value=Fraction(0), reason=f"⟨ℓ, h_0⟩ = 0 for a functional ≥ 0 on the cone; {what}"
            )
    return Reach("open", LEVEL, reason="neither a witness nor an obstruction was found within the search limits")


def _search_few_tokens(cone: TokenCone, h: Array, max_length: int) -> list[Token] | None:
    """Every small integer direction at each of the last six slots; a vertex that uses no slot twice is a witness."""
    d = cone.shape[0]
    if d > 4:
        return None
    directions = [
        np.array([Fraction(v) for v in z], dtype=object)
        for z in itertools.product(range(-2, 3), repeat=d)
        if next((v for v in z if v), 0) > 0
    ]
    places = [(m, z) for m in range(min(6, max_length)) for z in directions]
    columns = np.array([cone.column(m, z).ravel() for m, z in places], dtype=object).T
    solution = nonnegative_solution(columns, h.ravel())
    if solution is None:
        return None
    tokens = [(m, z, w) for (m, z), w in zip(places, solution, strict=True) if w != 0]
    return tokens if len({t[0] for t in tokens}) == len(tokens) else None


def _search_tokens(
    cone: TokenCone, h: Array, length: int, rng: np.random.Generator, directions: Sequence[Array] = ()
) -> list[Token] | None:
    """Tokens from a linear program with one direction per slot, drawn from ``directions`` or from small integers."""
    pool = list(directions) or cone.starting_directions(rng)
    for _ in range(3):
        order = rng.permutation(max(length, len(pool)))
        chosen = [pool[int(order[m]) % len(pool)] for m in range(length)]
        columns = np.array([cone.column(m, z).ravel() for m, z in enumerate(chosen)], dtype=object).T
        solution = nonnegative_solution(columns, h.ravel())
        if solution is not None:
            return [(m, z, w) for m, (z, w) in enumerate(zip(chosen, solution, strict=True))]
    return None


def _search_obstruction(
    cone: TokenCone, h: Array, rng: np.random.Generator, rounds: int = 40
) -> tuple[Array | None, list[Array]]:
    """A strictly separating ℓ by cutting planes over slots 0..23 and the limit slot, rounded and checked exactly.

    ℓ runs over the functionals whose forms annihilate the silent tokens, in coordinates of a rational basis. Also returns
    the directions of the cuts: where no ℓ exists they are the tokens that h_0 asks for.
    """
    cuts: list[Array] = []
    basis = [f for b in cone.blocks for f in cone.functionals(b)]
    if not basis:
        return None, cuts
    coordinates = np.array([f.ravel() for f in basis], dtype=object)
    target = coordinates @ h.ravel()
    lead = cone.blocks[0]
    pool = cone.starting_directions(rng)
    columns = [coordinates @ cone.column(m, z).ravel() for z in pool for m in (0, 1, 2, 4, 8, 16)]
    columns += [coordinates @ _leading(cone, lead, z).ravel() for z in pool]
    for _ in range(rounds):
        candidate = _strict_functional(np.array(columns, dtype=object).T, target)
        if candidate is None:
            break
        for rounded in roundings(candidate):
            exact = (rounded @ coordinates).reshape(cone.shape)
            if inner(exact, h) < 0 and cone.never_negative(exact):
                return exact, cuts
        ell = (_fractions(candidate) @ coordinates).reshape(cone.shape)
        found = False
        for m in (*range(24), None):
            form = cone.form(ell, m) if m is not None else cone.form(lead.embed(lead.restrict(ell), cone.shape))
            value, vector = _lowest_eigenpair(form.astype(float))
            if value < -1e-12:
                z = _rational_direction(vector)
                token = cone.column(m, z) if m is not None else _leading(cone, lead, z)
                columns.append(coordinates @ token.ravel())
                cuts.append(z)
                found = True
        if not found:
            break
    return None, cuts


def _leading(cone: TokenCone, lead: Block, z: Array) -> Array:
    return lead.embed(lead.restrict(cone.token(z)), cone.shape)


def _strict_functional(columns: Array, h: Array) -> Array | None:
    """Float ℓ with ⟨ℓ, column⟩ ≥ t‖column‖ and ⟨ℓ, h⟩ ≤ −t‖h‖ for the largest t, ‖ℓ‖∞ ≤ 1; None if t = 0 is best."""
    rows = []
    for j in range(columns.shape[1]):
        rows.append(_unit_norm(columns[:, j]))
    a = np.vstack([-np.array(rows), _unit_norm(h)[None, :]])
    a = np.hstack([a, np.ones((len(a), 1))])
    size = columns.shape[0]
    objective = np.r_[np.zeros(size), -1.0]
    result = linprog(objective, A_ub=a, b_ub=np.zeros(len(a)), bounds=[(-1, 1)] * size + [(0, 1)])
    x = np.asarray(result.x)
    return x[:-1] if result.status == 0 and x[-1] > 1e-9 else None


def _unit_norm(v: Array) -> Array:
    top = max((abs(x) for x in v), default=Fraction(0))
    if top == 0:
        return np.zeros(len(v))
    out = np.array([_ldexp(x, -_log2(top)) for x in v])
    return out / np.linalg.norm(out)


def _fractions(values: Array) -> Array:
    return np.array([Fraction(float(x)) for x in values.ravel()], dtype=object).reshape(values.shape)
