r"""lora_limits.selector_absorption: when a LoRA on in_proj does what changed selectors would do.

    S = [W_B; W_C; W_dn],     S (W_in + Δ) = S* W_in*      iff      col(S* W_in*) ⊆ col(S)

with nothing between W_in and the selectors, and the value path on rows of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
import sympy
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.claim import Assumption, Check, Claim, Counterexample, Outcome, Profile, Verdict, exact_check
from theory.core.errors import InvalidInput
from theory.core.scalars import Array, as_array
from theory.core.strategies import matrices, vectors
from theory.core.tolerance import budget

from .row_matching import RowMatch, match_rows


def absorb_selectors(W_in: Any, selectors: Any, target_W_in: Any, target_selectors: Any) -> RowMatch:
    r"""The update Δ of in_proj that makes frozen selectors read what the target's selectors read, and its least LoRA rank.

        S (W_in + Δ) u = S* W_in* u   for every token u

    Parameters
    ----------
    W_in, target_W_in:
        (D, d_model): the rows of in_proj that feed the selectors.
    selectors, target_selectors:
        S and S* = [W_B; W_C; W_dn], (2N + R, D). Exact numbers.

    Returns
    -------
    RowMatch
        ``update`` and ``rank``, or the reason and the broken dependence.

    Raises
    ------
    InvalidInput
        Shapes that do not fit. KindMismatch for floats.

    Notes
    -----
    Equality of the selector *maps*. As functions, states can be rescaled (B_n → g_n B_n, C_n → C_n/g_n), which can lower the
    rank: :func:`least_gauge_rank`.
    """
    s_star, w_star = (
        as_array(target_selectors, "exact", "target_selectors", ndim=2),
        as_array(target_W_in, "exact", "target_W_in", ndim=2),
    )
    if s_star.shape[1] != w_star.shape[0]:
        raise InvalidInput(f"target_selectors {s_star.shape} and target_W_in {w_star.shape} must be (rows, D) and (D, d_model)")
    return match_rows(selectors, W_in, linalg.matmul(s_star, w_star))


def gauge_gap(read: Array, wanted: Array, n_states: int, gauge: Any) -> Array:
    """R_g − S W_in with rows B_n scaled by g_n and rows C_n by 1/g_n; rows are [B; C; dn]."""
    g = [Fraction(x) for x in gauge]
    if len(g) != n_states or any(x == 0 for x in g):
        raise InvalidInput(f"gauge {[str(x) for x in g]} must hold N = {n_states} nonzero factors")
    scale = [*g, *[1 / x for x in g], *[Fraction(1)] * (len(wanted) - 2 * n_states)]
    return np.array([[s * x for x in row] for s, row in zip(scale, wanted, strict=True)], dtype=object) - read


def least_gauge_rank(read: Any, wanted: Any) -> tuple[int, Any]:
    r"""The least rank of [g b*; c*/g; dn*] − [b; c; dn] over g ≠ 0 for one state (N = 1), and a g that attains it.

    A minor of the gap times g² is a polynomial in g. The rank is ≤ k at some real g ≠ 0 iff all (k+1)-minors have a common real
    root there: decided by their greatest common divisor, exactly, irrational roots included.

    Parameters
    ----------
    read, wanted:
        S W_in and S* W_in*, (2 + R, d_model): row 0 is B, row 1 is C.
    """
    r, w = as_array(read, "exact", "read", ndim=2), as_array(wanted, "exact", "wanted", ndim=2)
    if r.shape != w.shape or len(r) < 2:
        raise InvalidInput(f"read {r.shape} and wanted {w.shape} must have one shape (2 + R, d_model)")
    g = sympy.Symbol("g")

    def q(x: Fraction) -> sympy.Rational:
        return sympy.Rational(x.numerator, x.denominator)

    rows = [
        [g * q(y) - q(x) for x, y in zip(r[0], w[0], strict=True)],
        [q(y) - g * q(x) for x, y in zip(r[1], w[1], strict=True)],
    ]
    rows += [[q(y - x) for x, y in zip(a, b, strict=True)] for a, b in zip(r[2:], w[2:], strict=True)]
    gap = sympy.Matrix(rows)  # row 1 times g, which changes no rank
    for k in range(min(gap.shape)):
        common = sympy.Poly(0, g)
        for rs in combinations(range(gap.rows), k + 1):
            for cs in combinations(range(gap.cols), k + 1):
                common = common.gcd(sympy.Poly(gap.extract(list(rs), list(cs)).det(method="berkowitz"), g))
        if common.is_zero:
            return k, sympy.Integer(1)
        while common.degree() > 0 and common.eval(0) == 0:
            common = common.quo(sympy.Poly(g, g))
        roots = sympy.real_roots(common) if common.degree() > 0 else []
        if roots:
            return k, roots[0]
    return min(gap.shape), sympy.Integer(1)


# -- whole modules --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Module:
    """A selective module whose selectors read W_in u and whose values come by a path of their own.

    ``clock`` selects how dt and the decays follow from the dt signal s (R,): ``rational`` (exact) or ``softplus`` (float).
    """

    W_in: Any
    W_B: Any
    W_C: Any
    W_dn: Any
    value: Any
    rates: Any

    @property
    def selectors(self) -> Array:
        """S = [W_B; W_C; W_dn]."""
        return np.concatenate([self.W_B, self.W_C, self.W_dn])

    def run(self, tokens: Any, W_in: Any = None) -> Array:
        """Outputs (L, D) for tokens (L, d_model)."""
        w = self.W_in if W_in is None else W_in
        exact = w.dtype == object
        h: Any = np.zeros(np.shape(self.rates), dtype=w.dtype) * (Fraction(0) if exact else 0.0)
        out = []
        for u in tokens:
            z = w @ u
            x, b, c, s = self.value @ u, self.W_B @ z, self.W_C @ z, (self.W_dn @ z).sum()
            if exact:
                dt = 1 / (1 + s * s)
                decay = np.array([[(1 / (1 + dt)) ** int(k) for k in row] for row in self.rates], dtype=object)
            else:
                dt = np.logaddexp(0.0, s)
                decay = np.exp(-dt * self.rates)
            h = decay * h + dt * np.outer(x, b)
            out.append(h @ c)
        return np.array(out)


@dataclass(frozen=True)
class Task:
    """A frozen module, what its selectors should have read, and tokens."""

    module: Module
    target: Module
    tokens: tuple[Any, ...]


def _matrix(draw: st.DrawFn, rows: int, columns: int) -> Array:
    return np.array(draw(matrices(rows, columns, 2)), dtype=object).reshape(rows, columns)


@st.composite
def tasks(draw: st.DrawFn, *, independent: bool = True) -> Task:
    """N, R ≤ 2, d_model ≤ 2; with ``independent`` the rows of S are independent (D ≥ 2N + R)."""
    n, r, m = draw(st.integers(1, 2)), 1, draw(st.integers(1, 2))
    rows = 2 * n + r
    d = rows + draw(st.integers(0, 1)) if independent else draw(st.integers(1, rows))
    s = _matrix(draw, rows, d)
    if independent:
        s = np.array([[Fraction(int(i == j)) for j in range(d)] for i in range(rows)], dtype=object) + np.tril(s, -1)
    rates = np.array([[draw(st.integers(1, 3)) for _ in range(n)]], dtype=object)
    value = _matrix(draw, 1, m)

    def module(s: Array, w: Array) -> Module:
        return Module(w, s[:n], s[n : 2 * n], s[2 * n :], value, rates)

    tokens = tuple(np.array(t, dtype=object) for t in draw(matrices(2, m, 2)))
    return Task(module(s, _matrix(draw, d, m)), module(_matrix(draw, rows, d), _matrix(draw, d, m)), tokens)


def check_absorption(task: Task) -> None:
    """An update exists iff every column is solvable; then the module computes the target's outputs, at the least rank."""
    module, target = task.module, task.target
    found = absorb_selectors(module.W_in, module.selectors, target.W_in, target.selectors)
    wanted = linalg.matmul(target.selectors, target.W_in)
    solvable = all(linalg.solve(module.selectors, list(column)) is not None for column in wanted.T)
    assert found.possible == solvable, task
    if not found.possible:
        assert found.certificate is not None
        y = np.asarray(found.certificate)
        assert not np.any(y @ module.selectors) and np.any(y @ wanted), task
        return
    assert found.update is not None and found.left is not None and found.right is not None
    new = module.W_in + found.update
    assert np.all(linalg.matmul(module.selectors, new) == wanted), task
    gap = wanted - linalg.matmul(module.selectors, module.W_in)
    assert linalg.rank(found.update) == found.rank == linalg.rank(gap), task
    if found.rank:
        assert np.all(linalg.matmul(found.left, found.right) == found.update), task
    assert np.all(module.run(task.tokens, new) == target.run(task.tokens)), f"{task}: outputs differ"


def check_always_solvable(task: Task) -> None:
    """Independent rows of S: every target is absorbed."""
    found = absorb_selectors(task.module.W_in, task.module.selectors, task.target.W_in, task.target.selectors)
    assert found.possible, task


def check_gauge(rows: tuple[list[list[Fraction]], list[list[Fraction]], Fraction]) -> None:
    """The least rank over g is at most that of any g, and a target that is a gauge away costs 0."""
    read, wanted, g = np.array(rows[0], dtype=object), np.array(rows[1], dtype=object), rows[2]
    least, _ = least_gauge_rank(read, wanted)
    for x in (Fraction(1), g):
        assert least <= linalg.rank(gauge_gap(read, wanted, 1, [x])), rows
    moved = np.array([[x / g for x in read[0]], [x * g for x in read[1]], *read[2:].tolist()], dtype=object)
    assert least_gauge_rank(read, moved)[0] == 0, rows
    assert not np.any(gauge_gap(read, moved, 1, [g])), rows


def prove_symbolically(_: Profile) -> Outcome:
    """S X = G and Δ = X F give S(W + Δ) = R; the gauge leaves C_n h_n alone, with symbols."""
    s = sympy.Matrix(2, 3, sympy.symbols("s0:6"))
    x = sympy.Matrix(3, 1, sympy.symbols("x0:3"))
    f = sympy.Matrix(1, 2, sympy.symbols("f0:2"))
    w = sympy.Matrix(3, 2, sympy.symbols("w0:6"))
    gap = (s * x) * f
    assert sympy.expand(s * (w + x * f) - (s * w + gap)) == sympy.zeros(2, 2)
    a, b, c, g, h, v = sympy.symbols("a b c g h v", nonzero=True)
    scaled = (c / g) * (a * (g * h) + (g * b) * v)
    assert sympy.expand(scaled - c * (a * h + b * v)) == 0
    return Outcome(
        Verdict.PROVED,
        "rank(Δ) ≥ rank(S Δ) = rank(R − S W_in), attained by Δ = X F; solvable iff col(R) ⊆ col(S)",
        "any sizes (derivation); the identities with symbols",
        instances=2,
    )


def float_route(profile: Profile) -> Outcome:
    """The whole module with softplus clock in float64, before and after: outputs agree to rounding."""
    rng = np.random.default_rng(profile.seed)
    worst, kappa, count = 0.0, 1.0, profile.scaled(0.1)
    n, r, d, m, length = 4, 2, 16, 6, 16
    for _ in range(count):
        value, rates = rng.standard_normal((3, m)), np.exp(rng.standard_normal((3, n)))
        weights = [[rng.standard_normal(size) / np.sqrt(size[1]) for size in ((d, m), (n, d), (n, d), (r, d))] for _ in range(2)]
        frozen, target = (Module(w[0], w[1], w[2], w[3], value, rates) for w in weights)
        s = frozen.selectors
        update = np.linalg.lstsq(s, target.selectors @ target.W_in - s @ frozen.W_in, rcond=None)[0]
        kappa = max(kappa, float(np.linalg.cond(s)))
        u = rng.standard_normal((length, m))
        right = target.run(u)
        worst = max(worst, float(np.abs(frozen.run(u, frozen.W_in + update) - right).max() / np.abs(right).max()))
    allowed = budget(length * d, kappa)
    assert worst <= allowed, f"outputs differ by {worst:.1e}, budget {allowed:.1e}"
    how = f"outputs of the whole module after the update, largest relative difference {worst:.1e}"
    return Outcome(Verdict.TO, how, f"D = {d}, N = {n}, L = {length}", count, tolerance=allowed, condition=kappa)


def mamba_counts(_: Profile) -> Outcome:
    """2N + R against d_inner in the released Mamba models: rows enough to spare, so maps are always absorbable in rank."""
    rows = []
    for name, d_model in (("mamba-130m", 768), ("mamba-1.4b", 2048), ("mamba-2.8b", 2560)):
        r = -(-d_model // 16)
        rows.append({"model": name, "rows": 32 + r, "d_inner": 2 * d_model, "solvable_if_independent": 32 + r <= 2 * d_model})
    assert all(x["solvable_if_independent"] for x in rows)
    how = f"2N + R = {rows[0]['rows']} rows in d_inner = {rows[0]['d_inner']} (130m): independent rows absorb every target"
    return Outcome(Verdict.EXACT, how, "130m, 1.4b, 2.8b", len(rows), data={"table": rows})


# -- assumptions ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Path:
    """S (square, invertible) and S*, with what lies between W_in = I and the selectors.

    ``curvature`` q: the activation v/2 + q v² (SiLU to second order has q = 1/4; 0 is linear). ``taps``: one list of
    convolution taps per channel. ``shared``: the value path reads the same rows of W_in.
    """

    S: tuple[tuple[Fraction, ...], ...]
    target: tuple[tuple[Fraction, ...], ...]
    curvature: Fraction = Fraction(0)
    taps: tuple[tuple[Fraction, ...], ...] | None = None
    shared: bool = False


def absorbed(p: Path) -> bool:
    """Whether one W_in makes the frozen selectors read what the target's read (to second order), W_in* = I."""
    s, t = np.array(p.S, dtype=object), np.array(p.target, dtype=object)
    d = s.shape[1]
    eye = np.array([[Fraction(int(i == j)) for j in range(d)] for i in range(d)], dtype=object)
    if p.shared:  # the values must stay as they are, too
        s, t = np.concatenate([s, eye]), np.concatenate([t, eye])
    if p.taps is not None:
        taps = np.array(p.taps, dtype=object)
        s, t = (np.concatenate([m * taps[:, j] for j in range(taps.shape[1])]) for m in (s, t))
    found = match_rows(s, eye * 0, linalg.matmul(t, eye))
    if not found.possible or p.curvature == 0:
        return found.possible
    w = np.asarray(found.update)  # unique: S is invertible, so the linear part fixes W_in
    for i in range(d):
        for j in range(d):
            left = sum((s[:, k] * w[k, i] * w[k, j] for k in range(d)), s[:, 0] * 0)
            right = t[:, i] * int(i == j)
            if np.any(left != right):
                return False
    return True


def _tuple(m: Any) -> tuple[tuple[Fraction, ...], ...]:
    return tuple(tuple(Fraction(x) for x in row) for row in m)


@st.composite
def paths(draw: st.DrawFn, kind: str = "plain") -> Path:
    """Invertible S of size 2 (unit lower triangular), any S*, and one obstacle on the way."""
    low = draw(vectors(1, 2))[0]
    s = ((Fraction(1), Fraction(0)), (low, Fraction(1)))
    t = _tuple(draw(matrices(2, 2, 2)))
    if kind == "activation":
        return Path(s, t, Fraction(1, 4))
    if kind == "taps":
        return Path(s, t, taps=((Fraction(1), Fraction(0)), (Fraction(0), Fraction(1))))
    if kind == "shared":
        return Path(s, t, shared=True)
    if kind == "deficient":
        return Path(((Fraction(1), low), (Fraction(2), 2 * low)), t)
    same = tuple(draw(vectors(2, nonzero=True)))
    return Path(s, t, taps=(same, same)) if kind == "equal taps" else Path(s, t)


def _full_rank(p: Path) -> bool:
    return linalg.rank(p.S) == len(p.S)


_EYE, _UPPER = _tuple([[1, 0], [0, 1]]), _tuple([[1, 1], [0, 1]])

ASSUMPTIONS = (
    Assumption(
        "columns of S* W_in* in those of S",
        "in particular full row rank of S, possible where 2N + R ≤ D",
        _full_rank,
        paths,
        lambda: paths("deficient"),
        absorbed,
        Counterexample(
            "dependent selector rows",
            lambda: Path(_tuple([[1, 0], [2, 0]]), _EYE),
            "S = [[1, 0], [2, 0]]: its second row always reads twice the first, S* = I does not",
        ),
    ),
    Assumption(
        "no activation between",
        "W_in feeds the selectors linearly",
        lambda p: p.curvature == 0,
        paths,
        lambda: paths("activation"),
        absorbed,
        Counterexample(
            "a SiLU between",
            lambda: Path(_EYE, _UPPER, Fraction(1, 4)),
            "S = I, S* = [[1, 1], [0, 1]]: silu(u_1) + silu(u_2) has second-order part (u_1² + u_2²)/4, silu(w·u) has (w·u)²/4",
        ),
    ),
    Assumption(
        "equal convolution taps",
        "a convolution between has the same taps in every channel",
        lambda p: p.taps is None or len(set(p.taps)) == 1,
        lambda: st.one_of(paths(), paths("equal taps")),
        lambda: paths("taps"),
        absorbed,
        Counterexample(
            "taps (1, 0) and (0, 1)",
            lambda: Path(_EYE, _UPPER, taps=_tuple([[1, 0], [0, 1]])),
            "S = I, S* = [[1, 1], [0, 1]]: the target's first selector reads u_1(t) + u_2(t − 1), channel 1 alone knows no delay",
        ),
    ),
    Assumption(
        "value path separate",
        "the values x_t come by rows of W_in of their own",
        lambda p: not p.shared,
        paths,
        lambda: paths("shared"),
        absorbed,
        Counterexample(
            "values read the same rows",
            lambda: Path(_EYE, _UPPER, shared=True),
            "S = I, S* = [[1, 1], [0, 1]] and values z = W_in u: changing W_in for the selectors changes the values",
        ),
    ),
)

CLAIM = Claim(
    id="lora_limits.selector_absorption",
    title="in_proj absorbs changed selectors iff their columns fit, and at a rank that is known",
    statement=(
        "Nothing between W_in and the selectors S = [W_B; W_C; W_dn], values on rows of their own. Some Δ has S(W_in + Δ) = S* "
        "W_in* iff col(S* W_in*) ⊆ col(S); always so if S has full row rank (possible where 2N + R ≤ D). The least LoRA rank is "
        "rank(S* W_in* − S W_in). This is equality of the selector maps; as a function the gauge B_n → g_n B_n, C_n → C_n/g_n "
        "is free, and the least rank is the minimum over g."
    ),
    level="module, selectors fed linearly",
    horizon="all",
    checks=(
        Check("symbolic identities", prove_symbolically, part="statement"),
        Check(
            "absorption",
            exact_check(
                check_absorption,
                lambda: st.one_of(tasks(), tasks(independent=False)),
                "solvable column by column; whole module run before and after; least rank",
                "N, d_model ≤ 2, D ≤ 6",
            ),
            part="statement",
        ),
        Check(
            "full row rank",
            exact_check(check_always_solvable, tasks, "every target absorbed", "N, d_model ≤ 2, D ≤ 6", 0.25),
            part="statement",
        ),
        Check(
            "gauge",
            exact_check(
                check_gauge,
                lambda: st.tuples(
                    matrices(3, 2, 2), matrices(3, 2, 2), st.sampled_from([Fraction(2), Fraction(-1, 3), Fraction(3, 2)])
                ),
                "least rank over g by common real roots of minors",
                "N = 1, R = 1, d_model = 2",
                0.5,
            ),
            part="gauge",
        ),
        Check("softplus clock in float64", float_route, part=None),
        Check("released models", mamba_counts, part=None),
    ),
    assumptions=ASSUMPTIONS,
    readme="lora_limitsselector_absorption",
    not_claimed=(
        "A Mamba block has a convolution with different taps and a SiLU between in_proj and x_proj, and its values read the "
        "same rows: three of the four assumptions fail there."
    ),
)
