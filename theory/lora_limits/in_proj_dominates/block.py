r"""A selective block without gate, what its in_proj can reach, and exact certificates of what it cannot.

Channels that share their decays and their clock compute y_t[d] = Σ_s k(t, s) z_s[d] + δ z_t[d] with one scalar kernel k made of
C_t, B_s and the clock. So out_t = W_out y_t reads z = W_in u only through

    S = [W_B; W_C; vᵀ W_dn; W_out]           (2N + 1 + d_model rows)

and S W_in = S* W_in* reproduces the target. A skip D_skip that is no multiple of 1 adds the rows W_out diag(D_skip).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any, Literal

import numpy as np
import sympy

from theory.core import linalg
from theory.core.brief import outline
from theory.core.errors import InvalidInput, InvalidSystem, UnknownName
from theory.core.lti import require_length
from theory.core.scalars import Array, Kind, as_array, join_kinds, kind_of
from theory.core.selective import SelectiveSSM

from ..rational_clock import RationalClock, whole_rates
from ..row_matching import RowMatch, match_rows

Clock = Literal["rational", "softplus"]


@dataclass(frozen=True)
class MixerBlock:
    """A selective block without gate: z = conv(W_in u), the module S6 on z, out = W_out y.

    One clock for all channels, dt = φ(vᵀ W_dn z). Floats run :class:`~theory.core.selective.SelectiveSSM` with its softplus
    clock (W_up = 1vᵀ, dt_bias = 0, A = −rates). Exact numbers need rational outputs: φ(s) = 1/(1 + s²), decay (1 + dt)^{−rate}.

    Attributes
    ----------
    W_in, W_out:
        (D, d_model), (d_model, D).
    W_B, W_C, W_dn:
        (N, D), (N, D), (R, D); v: (R,).
    rates:
        (D, N), −A: one row per channel, positive whole numbers where exact; equal rows are the claim's assumption.
    D_skip:
        (D,).
    taps:
        (D, K), w_0 on the current token; ``None`` for no convolution.
    """

    W_in: Any
    W_B: Any
    W_C: Any
    W_dn: Any
    v: Any
    W_out: Any
    rates: Any
    D_skip: Any
    taps: Any = None

    def __post_init__(self) -> None:
        """Arrays of one kind and of shapes that fit. Raises InvalidSystem for shapes, KindMismatch for rationals with floats."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        missing = [f.name for f in fields(self) if f.name not in given and f.name != "taps"]
        if missing:
            raise InvalidSystem(f"{missing[0]} is None: a block needs all its matrices (only taps may be left out)")
        joined = join_kinds([kind_of(v, name) for name, v in given.items()], "MixerBlock")
        kind: Kind = "exact" if joined == "integer" else joined
        if kind not in ("exact", "float64"):
            raise InvalidSystem(f"a block of {kind} numbers is not run here; use rationals or floats")
        arrays = {name: as_array(v, kind, name) for name, v in given.items()}
        if any(arrays[name].ndim != 2 for name in arrays if name not in ("v", "D_skip")) or arrays["v"].ndim != 1:
            raise InvalidSystem("W_in, W_out, W_B, W_C, W_dn, rates and taps are matrices, v and D_skip vectors")
        d, n, r = arrays["W_in"].shape[0], arrays["W_B"].shape[0], arrays["W_dn"].shape[0]
        expected = {"W_B": (n, d), "W_C": (n, d), "W_dn": (r, d), "v": (r,), "rates": (d, n), "D_skip": (d,)}
        expected |= {"W_out": (arrays["W_out"].shape[0], d)} | (
            {"taps": (d, arrays["taps"].shape[1])} if "taps" in arrays else {}
        )
        for name, array in arrays.items():
            if name in expected and array.shape != expected[name]:
                raise InvalidSystem(
                    f"{name} has shape {array.shape}, expected {expected[name]} beside W_in {arrays['W_in'].shape}"
                )
            object.__setattr__(self, name, array)

    def selectors(self) -> Array:
        """[W_B; W_C; vᵀ W_dn], (2N + 1, D)."""
        return np.concatenate([self.W_B, self.W_C, (self.v @ self.W_dn)[None, :]])

    def module(self) -> SelectiveSSM:
        """The S6 module inside."""
        if np.asarray(self.W_B).dtype != object:
            d = len(self.D_skip)
            W_up, bias = np.outer(np.ones(d), self.v), np.zeros(d)
            return SelectiveSSM(
                self.W_B, self.W_C, A=-self.rates, W_dn=self.W_dn, W_up=W_up, dt_bias=bias, D_skip=self.D_skip
            )  # fmt: skip
        clock = RationalClock(self.v[None, :], self.W_dn, np.array([Fraction(0)], dtype=object), self.rates)
        return SelectiveSSM(self.W_B, self.W_C, clock=clock, D_skip=self.D_skip, kind="exact")

    def run(self, tokens: Any, W_in: Any = None) -> Array:
        """Outputs (L, d_model) for tokens (L, d_model), optionally with another in_proj."""
        w = self.W_in if W_in is None else W_in
        z = np.array([w @ np.asarray(u) for u in tokens])
        if self.taps is not None:
            delayed = [np.concatenate([z[:j] * 0, z[: len(z) - j]]) for j in range(min(self.taps.shape[1], len(z)))]
            z = sum((self.taps[:, j] * x for j, x in enumerate(delayed)), z * 0)
        y, _ = self.module().run(z)
        return np.array([self.W_out @ row for row in y])


def read_rows(block: MixerBlock) -> Array:
    """The rows through which a block reads z: S, with W_out split by channels of equal dynamics, the skip's rows, all taps.

    Equal dynamics and D_skip = δ1 leave S = [W_B; W_C; vᵀW_dn; W_out].
    """
    W_out = as_array(block.W_out, "exact", "W_out", ndim=2)
    groups: dict[tuple[Any, ...], list[int]] = {}
    for d, row in enumerate(block.rates):
        groups.setdefault(tuple(row), []).append(d)
    rows = [block.selectors()]
    for members in groups.values():
        rows.append(W_out * np.array([int(d in members) for d in range(W_out.shape[1])], dtype=object))
    if len(set(block.D_skip)) > 1:
        rows.append(W_out * block.D_skip)
    s = np.concatenate(rows)
    if block.taps is None:
        return s
    return np.concatenate([s * block.taps[:, j] for j in range(block.taps.shape[1])])


def _require_same(frozen: MixerBlock, target: MixerBlock) -> None:
    for name, block in (("frozen", frozen), ("target", target)):
        if not isinstance(block, MixerBlock):
            raise InvalidInput(f"{name}: expected a MixerBlock, got {outline(block)} of type {type(block).__name__}")
    for name in ("rates", "v", "D_skip", "taps"):
        a, b = getattr(frozen, name), getattr(target, name)
        if (a is None) != (b is None) or (a is not None and not np.array_equal(a, b)):
            raise InvalidInput(f"the target's {name} differs from the frozen one; in_proj cannot change it")


def in_proj_update(frozen: MixerBlock, target: MixerBlock) -> RowMatch:
    r"""The update of in_proj that makes the frozen block compute the target's outputs, and its least rank.

        S (W_in + Δ) = S* W_in*,      S = :func:`read_rows` of the frozen block, S* of the target

    The target may differ in W_in, W_B, W_C, W_dn and W_out; rates, v, D_skip and taps are the frozen ones. The condition is
    sufficient for equal outputs, and with independent rows of S it always has a solution. Where it has none, the target
    function may still be reached by another in_proj (another scale of B, C and the outputs): :func:`out_of_reach` decides that.

    Parameters
    ----------
    frozen, target:
        Exact blocks of one shape.

    Returns
    -------
    RowMatch
        ``update`` (D, d_model), its LoRA factors and ``rank``, the least rank of an update that satisfies the condition; or
        the broken dependence y (y S = 0, y S* W_in* ≠ 0).

    Raises
    ------
    InvalidInput
        The target differs in something the adapter cannot reach (rates, v, D_skip, taps), or shapes do not fit.
        KindMismatch for floats.
    """
    _require_same(frozen, target)
    return match_rows(read_rows(frozen), frozen.W_in, linalg.matmul(read_rows(target), target.W_in))


def row_count(d_model: int, n_states: int, *, general_skip: bool = False) -> int:
    """2N + 1 + d_model, and d_model more where D_skip is no multiple of 1: rows that have to be independent in R^{d_inner}."""
    d_model, n = require_length(d_model, "d_model"), require_length(n_states, "n_states")
    return 2 * n + 1 + d_model * (2 if general_skip else 1)


# -- certificates that no in_proj does it ---------------------------------------------------------------------------------


class _Series:
    """Polynomials in the unknown entries of W_in and the tokens' entries, cut off beyond a degree in the tokens."""

    def __init__(self, unknowns: int, inputs: int, order: int, clock: Clock):
        self.log2 = sympy.Symbol("log2")  # ln 2 is transcendental, so an indeterminate stands for it exactly
        names = [f"w{i}" for i in range(unknowns)] + [f"x{i}" for i in range(inputs)]
        self.ring, *gens = sympy.ring(names, sympy.QQ if clock == "rational" else sympy.QQ.frac_field(self.log2))
        self.w, self.x, self.order = gens[:unknowns], gens[unknowns:], order
        self.domain = self.ring.domain

    def number(self, x: Any) -> Any:
        x = Fraction(x)
        return self.ring(self.domain.from_sympy(sympy.Rational(x.numerator, x.denominator)))

    def cut(self, p: Any) -> Any:
        skip = len(self.w)
        return self.ring.from_dict({m: c for m, c in p.items() if sum(m[skip:]) <= self.order})

    def mul(self, *factors: Any) -> Any:
        out = self.number(1)
        for f in factors:
            out = self.cut(out * f)
        return out

    def dot(self, row: Any, vector: list[Any]) -> Any:
        return sum((self.number(a) * v for a, v in zip(row, vector, strict=True) if a != 0), self.ring.zero)

    def compose(self, coefficients: list[Any], s: Any) -> Any:
        """Σ_k c_k s^k; s has no constant term, so finitely many terms count."""
        out, power = self.ring.zero, self.number(1)
        for c in coefficients:
            out, power = out + power * self.ring(self.domain.from_sympy(c)), self.mul(power, s)
        return self.cut(out)


@cache
def _clock_series(clock: Clock, order: int, log2: sympy.Symbol) -> tuple[list[Any], list[Any]]:
    """Taylor coefficients at 0 of dt(s) and of the decay at rate 1."""
    s = sympy.Symbol("s")
    if clock == "rational":
        dt = 1 / (1 + s**2)
        decay = sympy.together(1 / (1 + dt))
    elif clock == "softplus":  # exp(−softplus(s)) = 1/(1 + e^s), whose coefficients are rational
        dt, decay = sympy.log(1 + sympy.exp(s)), 1 / (1 + sympy.exp(s))
    else:
        raise UnknownName(f"no clock named {outline(clock)}; known: rational, softplus")

    def coefficients(f: sympy.Expr) -> list[Any]:
        terms = [sympy.diff(f, s, k).subs(s, 0) / sympy.factorial(k) for k in range(order + 1)]
        return [sympy.simplify(c).subs(sympy.log(2), log2) for c in terms]

    return coefficients(dt), coefficients(decay)


def _outputs(block: MixerBlock, w: list[list[Any]], tokens: list[list[Any]], ring: _Series, clock: Clock) -> list[list[Any]]:
    dt_series, decay_series = _clock_series(clock, ring.order, ring.log2)
    d, n = len(w), len(block.W_B)
    rates = whole_rates(block.rates)
    h = [[ring.ring.zero] * n for _ in range(d)]
    raw, out = [], []
    for u in tokens:
        raw.append([ring.cut(sum((a * b for a, b in zip(row, u, strict=True)), ring.ring.zero)) for row in w])
        z = raw[-1]
        if block.taps is not None:
            z = [sum((ring.number(block.taps[i, j]) * raw[-1 - j][i] for j in range(min(block.taps.shape[1], len(raw)))),
                     ring.ring.zero) for i in range(d)]  # fmt: skip
        s = ring.dot(block.v @ block.W_dn, z)
        dt, decay = ring.compose(dt_series, s), ring.compose(decay_series, s)
        b, c = ([ring.dot(row, z) for row in rows] for rows in (block.W_B, block.W_C))
        h = [[ring.mul(h[i][k], *[decay] * rates[i][k]) + ring.mul(dt, z[i], b[k]) for k in range(n)] for i in range(d)]
        y = [sum((ring.mul(h[i][k], c[k]) for k in range(n)), ring.number(block.D_skip[i]) * z[i]) for i in range(d)]
        out.append([ring.cut(ring.dot(row, y)) for row in block.W_out])
    return out


def matching_equations(
    frozen: MixerBlock, target: MixerBlock, *, clock: Clock = "rational", order: int = 5, length: int = 2
) -> list[Any]:
    """Polynomials in the entries of an unknown in_proj that vanish wherever it reproduces the target.

    Outputs are analytic in the tokens at 0, so equal functions have equal Taylor coefficients there. Each coefficient up to
    ``order`` of the outputs on ``length`` tokens gives one polynomial (student − target).

    Parameters
    ----------
    frozen, target:
        Exact blocks with whole rates and D d_model at most 8 (the unknowns).
    clock:
        ``rational``, as exact blocks run; or ``softplus`` with dt_bias = 0, the clock of S6.
    """
    _require_same(frozen, target)
    (d, m), order, length = np.shape(frozen.W_in), require_length(order, "order"), require_length(length, "length")
    if d * m > 8:
        raise InvalidInput(f"D d_model = {d * m} unknowns; at most 8 are decided here, use a smaller block")
    ring = _Series(d * m, length * m, order, clock)
    tokens = [ring.x[t * m : (t + 1) * m] for t in range(length)]
    unknown = [ring.w[i * m : (i + 1) * m] for i in range(d)]
    known = [[ring.number(x) for x in row] for row in target.W_in]
    sides = [_outputs(b, w, tokens, ring, clock) for b, w in ((frozen, unknown), (target, known))]
    equations = []
    for left, right in zip(*sides, strict=True):
        for a, b in zip(left, right, strict=True):
            by_input: dict[tuple[int, ...], dict[tuple[int, ...], Any]] = {}
            for monomial, c in (a - b).items():
                by_input.setdefault(monomial[d * m :], {})[(*monomial[: d * m], *[0] * (length * m))] = c
            equations += [ring.ring.from_dict(p) for p in by_input.values()]
    return equations


def out_of_reach(frozen: MixerBlock, target: MixerBlock, *, clock: Clock = "rational", order: int = 5, length: int = 2) -> bool:
    """Whether the coefficients up to ``order`` prove that no in_proj, real or complex, reproduces the target *function*.

    True is a proof: the equations of :func:`matching_equations` generate the unit ideal (Gröbner basis {1}, Hilbert's
    Nullstellensatz). False says only that these coefficients do not exclude it.
    """
    equations = matching_equations(frozen, target, clock=clock, order=order, length=length)
    if not equations:
        return False
    basis = sympy.polys.groebnertools.groebner(equations, equations[0].ring)
    return any(p.is_ground for p in basis)


# -- the converse ---------------------------------------------------------------------------------------------------------


def separating_input(frozen: MixerBlock, W_in: Any) -> Array | None:
    """A token after which the target with another in_proj is no multiple of W_out W_in u, where selectors leave the output.

    The target is the frozen block with ``W_in`` in place of its own; all channels share dynamics, clock and skip. The minors of
    both directions times the target's scale (dt C·B + δ) are polynomials in u of degree ≤ 4 per entry once multiplied by 1 +
    s²; a
    nonzero one does not vanish on all of {−2, …, 2}^d_model. Where all minors vanish, only tokens with W_out W_in u = 0 can
    separate, and the same grid over that subspace decides. So None means that no token separates.
    """
    w = as_array(W_in, "exact", "W_in", ndim=2)
    if w.shape != np.shape(frozen.W_in):
        raise InvalidInput(f"W_in has shape {w.shape}, expected that of the frozen one, {np.shape(frozen.W_in)}")
    if len({tuple(row) for row in frozen.rates}) > 1 or len(set(frozen.D_skip)) > 1 or frozen.taps is not None:
        raise InvalidInput(
            "channels differ in rates or D_skip, or a convolution is present: the first output has no one direction"
        )
    target, m = replace(frozen, W_in=w), w.shape[1]
    ours, theirs = linalg.matmul(frozen.W_out, frozen.W_in), linalg.matmul(frozen.W_out, w)
    everywhere = [np.array([Fraction(int(i == j)) for j in range(m)], dtype=object) for i in range(m)]
    # where ours·u = 0 the frozen output is 0 whatever the selectors: there any output separates, and grids may miss that subspace
    for basis in (everywhere, linalg.nullspace(ours)):
        for entries in product((1, 0, -1, 2, -2), repeat=len(basis)):
            u = sum((Fraction(x) * v for x, v in zip(entries, basis, strict=True)), everywhere[0] * 0)
            if not multiple(theirs @ u, ours @ u) and not multiple(target.run([u])[0], ours @ u):
                return u
    return None


def probes(size: int) -> list[Array]:
    """e_i and e_i + e_j: a quadratic form that vanishes at all of them is zero."""
    eye = np.array([[Fraction(int(i == j)) for j in range(size)] for i in range(size)], dtype=object)
    return [*eye, *(eye[i] + eye[j] for i in range(size) for j in range(i))]


def multiple(a: Any, b: Any) -> bool:
    """Whether a is a multiple of b: parallel, and 0 where b is."""
    return parallel(a, b) and (bool(np.any(b)) or not np.any(a))


def parallel(a: Any, b: Any) -> bool:
    """Whether one of two exact vectors is a multiple of the other or zero: all 2 × 2 minors vanish."""
    return all(a[i] * b[j] == a[j] * b[i] for i in range(len(a)) for j in range(i))
