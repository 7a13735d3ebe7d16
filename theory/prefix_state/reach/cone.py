r"""The cone of states that tokens can add to a selective SSM, and the functionals that bound it.

A token z ∈ R^D that is followed by m further tokens adds E^m ⊙ G(z) to the state, where

    G(z)[d, n] = dt_d z_d (W_B z)_n,       E[d, n] = exp(dt_d A[d, n])     (powers and ⊙ entrywise).

A functional ℓ ∈ R^{D×N} sees it as a quadratic form,

    ⟨ℓ, E^m ⊙ G(z)⟩ = zᵀ Q_m(ℓ) z,         Q_m(ℓ) = sym(diag(dt) (ℓ ⊙ E^m) W_B),

so ℓ is ≥ 0 on everything a prefix can reach iff Q_m(ℓ) ⪰ 0 for every m ≥ 0. In general a token adds E^m ⊙ (X z)(W_B z)ᵀ: X is
diag(dt) for S6 and dt W_x for heads of Mamba-2, whose rows have one decay each. This module decides that exactly, and decides
criterion (iii) of the theorem in selective/README.md: whether, for some decay value λ, an ℓ ≠ 0 supported on the entries
with E[d, n] = λ has sym(diag(dt) ℓ W_B) ⪰ 0. Float linear programs only propose; every answer is checked in rationals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal, cast

import numpy as np
from scipy.optimize import linprog

from theory.core import linalg
from theory.core.errors import InvalidInput
from theory.core.scalars import Array, exact_array, is_real
from theory.core.selective import SelectiveSSM

from .result import Token
from .tokens import log2_size, state_of

Entry = tuple[int, int]

# Proposals that the float search may make per block before it gives up; each is checked exactly.
MAX_ROUNDS = 60


def _zero(shape: tuple[int, ...]) -> Array:
    out = np.empty(shape, dtype=object)
    out.fill(Fraction(0))
    return out


def rational_system(system: SelectiveSSM) -> SelectiveSSM:
    """The same constant-clock system in Fractions; floats are taken at their exact binary value.

    Raises InvalidInput for a symbolic system or a clock that depends on the token.
    """
    dt, decay = system.require_constant_clock("reachability")
    if system.kind not in ("exact", "float64"):
        raise InvalidInput(f"reachability is decided in rationals; this system is {system.kind}: substitute real numbers first")
    parts = [exact_array(v) for v in (system.W_B, dt, decay, system.D_skip)]
    w_c = None if system.W_C is None else exact_array(system.W_C)
    if any(not is_real(x) for v in parts for x in v.ravel()):
        raise InvalidInput("reachability is decided for real systems; this one has complex entries")
    return SelectiveSSM(parts[0], w_c, dt=parts[1], decay=parts[2], D_skip=parts[3])


@dataclass(frozen=True)
class Block:
    """The entries that share one decay value.

    Attributes
    ----------
    decay:
        λ.
    entries:
        The (d, n) with E[d, n] = λ, in row-major order.
    """

    decay: Fraction
    entries: tuple[Entry, ...]

    def restrict(self, h: Array) -> Array:
        """The block's entries of a D × N array, as a vector."""
        return np.array([h[e] for e in self.entries], dtype=object)

    def embed(self, values: Sequence[Fraction] | Array, shape: tuple[int, int]) -> Array:
        """A D × N array that is ``values`` on the block and 0 elsewhere."""
        out = _zero(shape)
        for e, v in zip(self.entries, values, strict=True):
            out[e] = v
        return out


@dataclass(frozen=True)
class BlockVerdict:
    """Criterion (iii) on one block.

    Attributes
    ----------
    status:
        ``spanning`` (tokens whose parts positively span the block: no obstruction exists), ``obstructed`` (an ℓ) or
        ``undecided``.
    directions, weights:
        For ``spanning``: directions z_j and weights u_j > 0 with Σ u_j G(z_j) = 0 on the block and full rank, which is
        equivalent to positive spanning.
    ell:
        For ``obstructed``: ℓ ≠ 0 (D × N, supported on the block) with sym(diag(dt) ℓ W_B) ⪰ 0.
    """

    block: Block
    status: Literal["spanning", "obstructed", "undecided"]
    directions: tuple[Array, ...] = ()
    weights: tuple[Fraction, ...] = ()
    ell: Array | None = None


class TokenCone:
    """G, Q_m and the blocks of one constant-clock system, in rationals.

    Attributes
    ----------
    X, W_B, decay:
        (P, D), (N, D) and (P, N): a token z in slot m adds decay^m ⊙ (X z)(W_B z)ᵀ. P = D and X = diag(dt) for S6.
    dt:
        Step sizes of S6, (D,), where X = diag(dt); None otherwise.
    shape, d_input:
        (P, N) and D.
    """

    def __init__(self, system: SelectiveSSM):
        exact = rational_system(system)
        dt, decay = exact.require_constant_clock("reachability")
        self._set(np.diag(dt), exact.W_B, decay, dt)

    @classmethod
    def of(cls, X: Array, W_B: Array, decay: Array) -> TokenCone:
        """The cone of any rational X (P, D), W_B (N, D) and decays (P, N) in (0, 1)."""
        out = cls.__new__(cls)
        out._set(X, W_B, decay)
        return out

    def _set(self, X: Array, W_B: Array, decay: Array, dt: Array | None = None) -> None:
        self.X, self.W_B, self.decay, self.dt = X, W_B, decay, dt
        self.shape = (int(X.shape[0]), int(W_B.shape[0]))
        self.d_input = int(X.shape[1])

    def zero_state(self) -> Array:
        """h = 0."""
        return _zero(self.shape)

    def state_of(self, tokens: Sequence[Token]) -> Array:
        """What tokens leave, exactly."""
        return state_of(self.X, self.W_B, self.decay, tokens)

    def within(self, basis: Array) -> TokenCone:
        """The cone of the tokens z = V y for the columns V of a subspace."""
        return TokenCone.of(self.X @ basis, self.W_B @ basis, self.decay)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Entries grouped by decay value, slowest decay first."""
        groups: dict[Fraction, list[Entry]] = {}
        for index in np.ndindex(self.shape):
            value = cast(Fraction, self.decay[index])
            groups.setdefault(value, []).append((index[0], index[1]))
        return tuple(Block(value, tuple(groups[value])) for value in sorted(groups, reverse=True))

    def token(self, z: Array) -> Array:
        """G(z) = (X z)(W_B z)ᵀ, shape (P, N)."""
        return np.outer(self.X @ z if self.dt is None else self.dt * z, self.W_B @ z)

    def on(self, block: Block, z: Array) -> list[Fraction]:
        """G(z) on the entries of one block."""
        left, right = self.X @ z if self.dt is None else self.dt * z, self.W_B @ z
        return [left[p] * right[n] for p, n in block.entries]

    def column(self, slot: int, z: Array) -> Array:
        """E^slot ⊙ G(z): what z adds to the state when ``slot`` tokens follow it."""
        return self.decay**slot * self.token(z)

    def form(self, ell: Array, slot: int = 0) -> Array:
        """Q_slot(ℓ), a symmetric D × D rational matrix."""
        seen = ell * self.decay**slot
        raw = (self.X.T @ seen if self.dt is None else self.dt[:, None] * seen) @ self.W_B
        return (raw + raw.T) / Fraction(2)

    def never_negative(self, ell: Array, max_slot: int = 512) -> bool | None:
        """Whether Q_m(ℓ) ⪰ 0 for every m ≥ 0: True or False exactly, None where ``max_slot`` does not settle it.

        With blocks λ_1 > … > λ_K and Q^k the form of ℓ on block k, Q_m = Σ_k λ_k^m Q^k. If all partial sums
        P_k = Σ_{j≤k} λ_j^{m₀} Q^j are ⪰ 0, summation by parts writes Q_m for m ≥ m₀ as a positive combination of them, so
        Q_m ⪰ 0 from m₀ on; slots below m₀ are checked one by one.
        """
        parts = [(b.decay, self.form(b.embed(b.restrict(ell), self.shape))) for b in self.blocks]
        checked, start = 0, 0
        while start <= max_slot:
            total = _zero((self.d_input, self.d_input))
            tail = True
            for value, part in parts:
                total = total + value**start * part
                if not linalg.is_psd(total):
                    tail = False
                    break
            for m in range(checked, start + 1):
                if not linalg.is_psd(self.form(ell, m)):
                    return False
            checked = start + 1
            if tail:
                return True
            leading = next((p for _, p in parts if any(x != 0 for x in p.ravel())), None)
            if leading is not None and not linalg.is_psd(leading):
                # the slowest block dominates in the end, so some later slot is negative: find it or give up
                bad = self._first_negative(ell, checked, max_slot)
                return False if bad is not None else None
            start = max(1, 2 * start)
        return None

    def _first_negative(self, ell: Array, start: int, stop: int) -> int | None:
        m = start
        while m <= stop:
            if not linalg.is_psd(self.form(ell, m)):
                return m
            m = m + 1 if m < 64 else 2 * m
        return None

    # -- criterion (iii) --------------------------------------------------------------------------------------------

    @cached_property
    def criterion(self) -> tuple[BlockVerdict, ...]:
        """Criterion (iii), block by block."""
        return tuple(self.decide_block(b) for b in self.blocks)

    @property
    def reaches_everything(self) -> bool | None:
        """Whether some finite prefix length reaches every h_0: True, False, or None where a block is undecided."""
        statuses = {v.status for v in self.criterion}
        if "obstructed" in statuses:
            return False
        return None if "undecided" in statuses else True

    @cached_property
    def silent_tokens(self) -> list[Array]:
        """Bases of ker W_B and ker X: tokens that add nothing. Every form Q_m(ℓ) vanishes on them."""
        return [*linalg.nullspace(self.W_B), *linalg.nullspace(self.X)]

    @cached_property
    def _loud_basis(self) -> Array:
        """Unit vectors (D × rank) that span R^D together with the silent tokens."""
        silent = self.silent_tokens
        rows = linalg.nullspace(silent) if silent else [_unit(i, self.d_input) for i in range(self.d_input)]
        pivots = linalg.rref(rows)[1] if rows else ()
        return np.array([_unit(p, self.d_input) for p in pivots], dtype=object).T.reshape(self.d_input, len(pivots))

    def functionals(self, block: Block) -> list[Array]:
        """A basis of the ℓ on one block whose form annihilates the silent tokens.

        A semidefinite form that vanishes at z has z in its kernel, so every ℓ with Q(ℓ) ⪰ 0 satisfies Q(ℓ) z = 0 for silent z.
        Without this reduction the semidefinite ℓ have empty interior as soon as D > N, and no numerical search lands on them.
        """
        units = [block.embed(_unit(i, len(block.entries)), self.shape) for i in range(len(block.entries))]
        rows = [np.array([self.form(u) @ z for u in units], dtype=object).T for z in self.silent_tokens]
        if not rows:
            return units
        return [
            sum((c * u for c, u in zip(v, units, strict=True)), _zero(self.shape)) for v in linalg.nullspace(np.concatenate(rows))
        ]

    def vanishing(self, block: Block) -> list[Array]:
        """A basis of the ℓ on one block whose form is zero: they vanish on every state that a prefix leaves."""
        units = (block.embed(_unit(i, len(block.entries)), self.shape) for i in range(len(block.entries)))
        forms = np.array([self.form(u).ravel() for u in units])
        return [block.embed(v, self.shape) for v in linalg.nullspace(forms.T)]

    def decide_block(self, block: Block) -> BlockVerdict:
        """Decide one block: obstructions that can be read off first, then cutting planes, checked in rationals.

        The cutting planes maximise the least eigenvalue t of the form over ℓ with trace 1. Where t > 0 is reached ℓ is
        rounded and checked; the cuts are tokens, and where t < 0 they positively span the block.
        """
        ell = self._structural_obstruction(block)
        if ell is not None:
            return BlockVerdict(block, "obstructed", ell=ell)
        if len(block.entries) == 1:
            return self._single_entry(block)
        rng = np.random.default_rng(0)
        pool = self.starting_directions(rng)
        basis = self.functionals(block)
        loud = self._loud_basis
        forms = [(loud.T @ self.form(b) @ loud).astype(float) for b in basis]
        cuts = [_unit(i, loud.shape[1]).astype(float) for i in range(loud.shape[1])]
        seen: list[list[Fraction]] = []
        for _ in range(MAX_ROUNDS):
            seen += [self.on(block, z) for z in pool[len(seen) :]]
            spanning = _positively_spanning(pool, np.array(seen, dtype=object).T, rng)
            if spanning is not None:
                return BlockVerdict(block, "spanning", spanning[0], spanning[1])
            proposal = _kelley_step(forms, cuts) if forms else None
            if proposal is not None:
                for rounded in roundings(proposal):
                    ell = sum((c * b for c, b in zip(rounded, basis, strict=True)), _zero(self.shape))
                    if any(x != 0 for x in ell.ravel()) and linalg.is_psd(self.form(ell)):
                        return BlockVerdict(block, "obstructed", ell=ell)
                vector = np.linalg.eigh(sum(c * f for c, f in zip(proposal, forms, strict=True)))[1][:, 0]
                cuts.append(vector)
                pool += self._lifted(vector, rng)
            else:  # no semidefinite form is left: only the right tokens are missing
                pool += self._lifted(rng.standard_normal(loud.shape[1]), rng)
        return BlockVerdict(block, "undecided")

    def _single_entry(self, block: Block) -> BlockVerdict:
        """One entry (p, n) whose rows x_p of X and w_n of W_B are independent: tokens with x_p·z = 1 and w_n·z = ±1."""
        ((p, n),) = block.entries
        pair = np.array([self.X[p], self.W_B[n]], dtype=object)
        directions = [linalg.solve(pair, [Fraction(1), sign]) for sign in (Fraction(1), Fraction(-1))]
        return BlockVerdict(block, "spanning", tuple(z for z in directions if z is not None), (Fraction(1), Fraction(1)))

    def _lifted(self, vector: Array, rng: np.random.Generator) -> list[Array]:
        """Rational tokens with the given loud part, plain and with random silent parts of growing size."""
        loud = self._loud_basis @ _rational_direction(vector)
        out = [loud]
        for size in (1, 4, 16) if self.silent_tokens else ():
            for sign in (1, -1):
                silent = sum((Fraction(int(rng.integers(1, 4)) * sign * size) * z for z in self.silent_tokens), loud * 0)
                out.append(loud + silent)
        return out

    def _structural_obstruction(self, block: Block) -> Array | None:
        """Obstructions that can be read off: dependent forms, and rows w_n spanned by rows of X whose entries lie in the block.

        The latter: Σ_p ℓ[p, n] x_p = w_n gives sym(Xᵀ ℓ W_B) = w_n w_nᵀ ⪰ 0. For S6 it contains D = 1, decays shared by all
        channels, and rows of W_B with one nonzero entry (up to sign).
        """
        zero = self.vanishing(block)
        if zero:
            return zero[0]
        for n in range(self.shape[1]):
            members = [p for p, m in block.entries if m == n]
            if not members or not np.any(self.W_B[n]):
                continue
            weights = linalg.solve(self.X[members].T, self.W_B[n])
            if weights is not None:
                ell = _zero(self.shape)
                for p, w in zip(members, weights, strict=True):
                    ell[p, n] = w
                return ell
        return None

    def starting_directions(self, rng: np.random.Generator) -> list[Array]:
        """Unit vectors, their pairwise sums and differences, and small random integer directions."""
        d = self.d_input
        out = [_unit(i, d) for i in range(d)]
        for i in range(d):
            for j in range(i):
                out += [_unit(i, d) + _unit(j, d), _unit(i, d) - _unit(j, d)]
        seen = {tuple(z) for z in out}
        for _ in range(6 * d * self.shape[1]):
            z = np.array([Fraction(int(v)) for v in rng.integers(-4, 5, size=d)], dtype=object)
            if any(v != 0 for v in z) and tuple(z) not in seen:
                seen.add(tuple(z))
                out.append(z)
        return out


def _positively_spanning(
    pool: Sequence[Array], columns: Array, rng: np.random.Generator
) -> tuple[tuple[Array, ...], tuple[Fraction, ...]] | None:
    """Directions and exact weights u > 0 with Σ u_j G(z_j) = 0 on a block and full rank, or None; column j is G(z_j) there.

    n + 1 random targets that sum to zero are written as nonnegative combinations of the pool; their sum is such a u.
    """
    size = len(columns)
    targets = [np.array([Fraction(int(v)) for v in rng.integers(-9, 10, size=size)], dtype=object) for _ in range(size)]
    if linalg.rank(np.array(targets)) < size:
        return None
    targets.append(-np.sum(np.array(targets), axis=0))
    total = np.array([Fraction(0)] * len(pool), dtype=object)
    scaled = _scaled(columns)
    for target in targets:
        solution = _nonnegative(columns, scaled, target)
        if solution is None:
            return None
        total = total + solution
    support = [j for j, w in enumerate(total) if w > 0]
    if linalg.rank(columns[:, support]) < size:
        return None
    return tuple(pool[j] for j in support), tuple(total[j] for j in support)


def _kelley_step(forms: Sequence[Array], cuts: Sequence[Array]) -> Array | None:
    """Coefficients that maximise t subject to vᵀQv ≥ t‖v‖² on the cuts and trace Q = 1; None where t < 0 is certain."""
    rows = np.array([[v @ f @ v / (v @ v) for f in forms] for v in cuts])
    size = len(forms)
    a_ub = np.hstack([-rows, np.ones((len(rows), 1))])
    traces = np.array([[*(np.trace(f) for f in forms), 0.0]])
    result = linprog(
        np.r_[np.zeros(size), -1.0],
        A_ub=a_ub,
        b_ub=np.zeros(len(rows)),
        A_eq=traces,
        b_eq=[1.0],
        bounds=[(-1e6, 1e6)] * size + [(None, 1.0)],
    )
    x = np.asarray(result.x)
    return x[:-1] if result.status == 0 and x[-1] > -1e-9 else None


def roundings(candidate: Array | None) -> Iterator[Array]:
    """Rational roundings of a float vector, scaled to ‖·‖∞ = 1, with growing denominators."""
    if candidate is None:
        return
    top = float(np.max(np.abs(candidate), initial=0.0))
    if top == 0.0:
        return
    for denominator in (1, 2, 3, 4, 6, 12, 60, 1000, 10**6, 10**12):
        rounded = np.array([Fraction(float(x) / top).limit_denominator(denominator) for x in candidate], dtype=object)
        if any(x != 0 for x in rounded):
            yield rounded


def nonnegative_solution(columns: Array, target: Array) -> Array | None:
    """Exact w ≥ 0 with Σ_j w_j columns[:, j] = target, found by a float linear program and solved again in rationals.

    Rows and columns are scaled before the float solve. None where the program finds nothing or the exact solve on its
    support fails (a degenerate vertex): that is no proof that no solution exists.
    """
    return _nonnegative(columns, _scaled(columns), target)


def _nonnegative(columns: Array, floats: tuple[Array, list[int]], target: Array) -> Array | None:
    """:func:`nonnegative_solution` for columns whose scaled floats and row exponents are at hand (:func:`_scaled`)."""
    scaled, row_exp = floats
    if not np.any(target):
        return np.array([Fraction(0)] * columns.shape[1], dtype=object)
    top = max(log2_size(t) + e for t, e in zip(target, row_exp, strict=True) if t != 0)  # the largest entry becomes about 1
    right = np.array([_ldexp(t, e - top) for t, e in zip(target, row_exp, strict=True)])
    result = linprog(np.ones(columns.shape[1]), A_eq=scaled, b_eq=right, bounds=(0, None), method="highs-ds")
    if result.status != 0:
        return None
    x = np.asarray(result.x)
    order = [int(j) for j in np.argsort(-x) if x[j] > 1e-11]
    for count in dict.fromkeys((len(order), min(len(order), columns.shape[0]))):
        support = sorted(order[:count])
        exact = linalg.solve(columns[:, support], target)
        if exact is not None and all(w >= 0 for w in exact):
            out = np.array([Fraction(0)] * columns.shape[1], dtype=object)
            out[support] = exact
            return out
    return None


def _ldexp(x: Fraction, exponent: int) -> float:
    scaled = x * Fraction(2) ** exponent
    return float(scaled) if abs(log2_size(scaled)) < 1000 or scaled == 0 else (0.0 if log2_size(scaled) < 0 else float("inf"))


def _scaled(columns: Array) -> tuple[Array, list[int]]:
    """Float matrix with rows and columns scaled by powers of two towards entries of size 1 (a few alternating sweeps).

    The powers are taken outside floats: entries may be far beyond the range of doubles.
    """
    rows, cols = columns.shape
    logs = [[log2_size(abs(x)) if x != 0 else None for x in row] for row in columns]
    r, c = [0] * rows, [0] * cols
    for _ in range(4):
        for i in range(rows):
            values = [v + c[j] for j, v in enumerate(logs[i]) if v is not None]
            r[i] = -max(values) if values else 0
        for j in range(cols):
            values = [logs[i][j] + r[i] for i in range(rows) if logs[i][j] is not None]  # type: ignore[operator]
            c[j] = -max(values) if values else 0
    out = np.array([[_ldexp(columns[i, j], r[i] + c[j]) for j in range(cols)] for i in range(rows)])
    return out, r


def _unit(i: int, n: int) -> Array:
    return np.array([Fraction(int(i == j)) for j in range(n)], dtype=object)


def _lowest_eigenpair(matrix: Array) -> tuple[float, Array]:
    values, vectors = np.linalg.eigh(matrix)
    return float(values[0]), vectors[:, 0]


def _rational_direction(vector: Array) -> Array:
    scale = float(np.max(np.abs(vector)))
    return np.array([Fraction(float(v) / scale).limit_denominator(64) for v in vector], dtype=object)
