r"""lora_limits.selector_absorption: when a LoRA on in_proj does what changed selectors would do.

Algorithms (the update, the gauge, whole modules): :mod:`.absorption`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import sympy
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.scalars import Array
from theory.core.strategies import ENTRIES, matrices, vectors
from theory.core.tolerance import budget
from theory.verification.claim import (
    Assumption,
    Check,
    Claim,
    Counterexample,
    Outcome,
    Part,
    Planted,
    Profile,
    Verdict,
    exact_check,
)
from theory.verification.planted import changed, giving, swap
from theory.verification.refutation import existing, require

from ..costs import MODELS
from ..in_proj_dominates.block import probes
from ..rational_clock import even_step, rising_step
from ..row_matching import match_rows
from .absorption import Module, absorb_selectors, gauge_gap, gauge_rank_bounds, least_gauge_rank, rescale

__all__ = ["CLAIM", "absorb_selectors", "gauge_rank_bounds", "least_gauge_rank"]

# -- instances ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A frozen module, what its selectors should have read, tokens, and a gauge."""

    module: Module
    target: Module
    tokens: tuple[Any, ...]
    gauge: tuple[Fraction, ...]

    @property
    def n_states(self) -> int:
        """N."""
        return len(self.gauge)


_FACTORS = st.sampled_from([Fraction(1), Fraction(2), Fraction(-1, 3), Fraction(3, 2), Fraction(-1)])


def _matrix(draw: st.DrawFn, rows: int, columns: int) -> Array:
    size = rows * columns
    return np.array(draw(st.lists(ENTRIES, min_size=size, max_size=size)), dtype=object).reshape(rows, columns)


@st.composite
def tasks(draw: st.DrawFn, *, independent: bool = True, states: tuple[int, ...] = (1, 2)) -> Task:
    """N ≤ 2, R = 1, d_model ≤ 3, one or two value channels; with ``independent`` the rows of S are (D ≥ 2N + R)."""
    n, m, values = draw(st.sampled_from(states)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    rows = 2 * n + 1
    d = rows + draw(st.integers(0, 1)) if independent else draw(st.integers(1, rows))
    s = _matrix(draw, rows, d)
    if independent:
        s = np.array([[Fraction(int(i == j)) for j in range(d)] for i in range(rows)], dtype=object) + np.tril(s, -1)
    rates = np.array([[draw(st.integers(1, 3)) for _ in range(n)] for _ in range(values)], dtype=object)
    value, W_up, bias = _matrix(draw, values, m), _matrix(draw, values, 1), _matrix(draw, values, 1)[:, 0]

    def module(s: Array, w: Array) -> Module:
        return Module(w, s[:n], s[n : 2 * n], s[2 * n :], W_up, bias, value, rates)

    frozen, target = module(s, _matrix(draw, d, m)), module(_matrix(draw, rows, d), _matrix(draw, d, m))
    return Task(frozen, target, tuple(_matrix(draw, 3, m)), tuple(draw(_FACTORS) for _ in range(n)))


# -- properties -----------------------------------------------------------------------------------------------------------


def check_absorption(task: Task) -> None:
    """An update exists iff every column is solvable; then the module computes the target's outputs, at the least rank."""
    module, target = task.module, task.target
    found = absorb_selectors(module.W_in, module.selectors, target.W_in, target.selectors)
    wanted = linalg.matmul(target.selectors, target.W_in)
    solvable = linalg.rank(np.concatenate([module.selectors, wanted], axis=1)) == linalg.rank(module.selectors)
    require(found.possible == solvable, task)
    if not found.possible:
        y = np.asarray(existing(found.certificate, task))
        require(not np.any(y @ module.selectors) and np.any(y @ wanted), task)
        return
    update, left, right = (existing(part, task) for part in (found.update, found.left, found.right))
    new = module.W_in + update
    require(np.all(linalg.matmul(module.selectors, new) == wanted), task)
    gap = wanted - linalg.matmul(module.selectors, module.W_in)
    require(linalg.rank(update) == found.rank == linalg.rank(gap), task)
    require(left.shape[1] == len(right) == found.rank, task)
    if found.rank:
        require(np.all(linalg.matmul(left, right) == update), task)
    require(np.all(module.run(task.tokens, new) == target.run(task.tokens)), f"{task}: outputs differ")


def check_always_solvable(task: Task) -> None:
    """Independent rows of S: every target is absorbed, and so is its function at every gauge."""
    module, target = task.module, task.target
    scaled = rescale(target.selectors, task.n_states, task.gauge)
    found = absorb_selectors(module.W_in, module.selectors, target.W_in, scaled)
    require(found.update is not None, task)
    require(np.all(module.run(task.tokens, module.W_in + found.update) == target.run(task.tokens)), f"{task}: the gauge shows")


def check_gauge(task: Task) -> None:
    """The least rank over g is at most that of any g, and a target that is a gauge away costs 0."""
    n = task.n_states
    read = linalg.matmul(task.module.selectors, task.module.W_in)
    wanted = linalg.matmul(task.target.selectors, task.target.W_in)
    found = gauge_rank_bounds(read, wanted, n)
    require(found.lower <= found.upper <= linalg.rank(wanted - read), task)
    require(found.lower <= linalg.rank(gauge_gap(read, wanted, n, task.gauge)), task)
    require(found.exact or n > 1, task)
    if found.gauge is not None:
        require(linalg.rank(gauge_gap(read, wanted, n, found.gauge)) == found.upper, task)
    moved = rescale(read, n, [1 / g for g in task.gauge])
    require(gauge_rank_bounds(read, moved, n).upper == 0, task)
    require(not np.any(gauge_gap(read, moved, n, task.gauge)), task)


def same_function(first: Module, second: Module) -> bool:
    """Whether two modules of one value path agree on all sequences of at most three of the tokens e_i, e_i + e_j.

    Those decide for N = 1, one-to-one clocks, B, C and every value row not zero, W_up of full column rank: see the README.
    """
    tokens = probes(np.shape(first.W_in)[1])
    return all(
        np.all(first.run(sequence) == second.run(sequence))
        for length in (2, 3)  # outputs of the shorter ones come first in the longer ones
        for sequence in product(tokens, repeat=length)
    )


def check_identified(task: Task) -> None:
    """N = 1: two modules compute one function iff their selectors read the same up to one factor g."""
    read, wanted = (linalg.matmul(m.selectors, m.W_in) for m in (task.module, task.target))
    moved = rescale(task.target.selectors, 1, task.gauge)
    twin = replace(task.target, W_B=moved[:1], W_C=moved[1:2])
    require(same_function(task.target, twin), f"{task}: the gauge shows")
    require(same_function(task.module, task.target) == (gauge_rank_bounds(read, wanted, 1).upper == 0), task)


def identified(task: Task) -> bool:
    """The converse's conclusion: modules of one function read the same up to the gauge."""
    read, wanted = (linalg.matmul(m.selectors, m.W_in) for m in (task.module, task.target))
    return not same_function(task.module, task.target) or gauge_rank_bounds(read, wanted, 1).upper == 0


@st.composite
def told_apart(draw: st.DrawFn, kind: str = "plain") -> Task:
    """N = 1, R = 1, d_model ≤ 2: B, C, W_up and every value row not zero; targets elsewhere, or one number away."""
    m, values = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    if kind == "silent":
        values = 2

    def nonzero_rows(rows: int, columns: int) -> Array:
        return np.array([draw(vectors(columns, 1).filter(any)) for _ in range(rows)], dtype=object)

    value, W_up = nonzero_rows(values, m), nonzero_rows(values, 1)
    if kind == "silent":
        value[-1] = value[-1] * 0
        W_up = np.array([[0 * x for x in W_up[0]], W_up[1]], dtype=object)  # only the silent channel's clock reads W_dn
    bias = np.array([Fraction(0)] * values, dtype=object) if kind == "even" else _matrix(draw, values, 1)[:, 0]
    rates = np.array([[draw(st.integers(1, 2))] for _ in range(values)], dtype=object)
    eye = np.array([[Fraction(int(i == j)) for j in range(m)] for i in range(m)], dtype=object)
    b, c, dn = nonzero_rows(1, m), nonzero_rows(1, m), nonzero_rows(1, m)
    step = even_step if kind == "even" else rising_step

    def module(b: Array, c: Array, dn: Array) -> Module:
        return Module(eye, b, c, dn, W_up, bias, value, rates, step)

    changed = dn + nonzero_rows(1, m) if kind == "silent" else -dn if kind == "even" else dn
    if kind == "plain" and draw(st.booleans()):
        b, c, changed = draw(st.sampled_from([(2 * b, c, dn), (b, nonzero_rows(1, m), dn), (2 * b, c / 2, dn), (b, c, -dn)]))
    target = module(b, c, changed)
    frozen = module(nonzero_rows(1, m), c, dn) if kind == "plain" and draw(st.booleans()) else module(target.W_B, target.W_C, dn)
    return Task(frozen, target, (), (draw(_FACTORS),))


# -- routes ---------------------------------------------------------------------------------------------------------------


def readout_after(a: Any, b: Any, c: Any, h: Any, v: Any) -> Any:
    """c (a h + b v): what one state adds to the output after one token."""
    return c * (a * h + b * v)


def prove_symbolically(_: Profile) -> Outcome:
    """S X = G and Δ = X F give S(W + Δ) = R; the gauge leaves C_n h_n alone, with symbols."""
    s = sympy.Matrix(2, 3, sympy.symbols("s0:6"))
    x = sympy.Matrix(3, 1, sympy.symbols("x0:3"))
    f = sympy.Matrix(1, 2, sympy.symbols("f0:2"))
    w = sympy.Matrix(3, 2, sympy.symbols("w0:6"))
    gap = (s * x) * f
    require(sympy.expand(s * (w + x * f) - (s * w + gap)) == sympy.zeros(2, 2))
    a, b, c, g, h, v = sympy.symbols("a b c g h v", nonzero=True)
    scaled = readout_after(a, g * b, c / g, g * h, v)
    require(sympy.expand(scaled - readout_after(a, b, c, h, v)) == 0)
    return Outcome(
        Verdict.EXACT,
        "rank(Δ) ≥ rank(S Δ) = rank(R − S W_in), attained by Δ = X F; solvable iff col(R) ⊆ col(S)",
        "any sizes (derivation); the identities with symbols",
        instances=2,
    )


def float_route(profile: Profile) -> Outcome:
    """S6 with its softplus clock in float64, before and after: outputs agree to rounding."""
    rng = np.random.default_rng(profile.seed)
    worst, kappa, count = 0.0, 1.0, profile.scaled(0.1)
    n, r, d, m, values, length = 4, 2, 16, 6, 3, 16
    for _ in range(count):
        value, W_up, bias = (rng.standard_normal(size) for size in ((values, m), (values, r), values))
        rates = np.exp(rng.standard_normal((values, n)))
        weights = [[rng.standard_normal(size) / np.sqrt(size[1]) for size in ((d, m), (n, d), (n, d), (r, d))] for _ in range(2)]
        frozen, target = (Module(w[0], w[1], w[2], w[3], W_up, bias, value, rates) for w in weights)
        s = frozen.selectors
        update = np.linalg.lstsq(s, target.selectors @ target.W_in - s @ frozen.W_in, rcond=None)[0]
        kappa = max(kappa, float(np.linalg.cond(s)))
        u = rng.standard_normal((length, m))
        right = target.run(u)
        worst = max(worst, float(np.abs(frozen.run(u, frozen.W_in + update) - right).max() / np.abs(right).max()))
    allowed = budget(length * d, kappa)
    require(worst <= allowed, f"outputs differ by {worst:.1e}, budget {allowed:.1e}")
    how = "outputs of the whole module after the update, largest difference within its error budget"
    return Outcome(Verdict.NUMERIC, how, f"D = {d}, N = {n}, L = {length}", count, tolerance=allowed, condition=kappa)


def mamba_counts(_: Profile) -> Outcome:
    """2N + R against d_inner in the released Mamba models: rows enough to spare, so independent rows absorb every target."""
    rows = []
    for name, m in MODELS.items():
        count = 2 * m["d_state"] + m["dt_rank"]
        rows.append({"model": name, "rows": count, "d_inner": m["d_inner"], "solvable_if_independent": count <= m["d_inner"]})
    require(all(x["solvable_if_independent"] for x in rows))
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
        name="columns of S* W_in* in those of S",
        statement="in particular full row rank of S, possible where 2N + R ≤ D",
        predicate=_full_rank,
        having=paths,
        lacking=lambda: paths("deficient"),
        conclusion=absorbed,
        counterexample=Counterexample(
            "dependent selector rows",
            lambda: Path(_tuple([[1, 0], [2, 0]]), _EYE),
            "S = [[1, 0], [2, 0]]: its second row always reads twice the first, S* = I does not",
        ),
    ),
    Assumption(
        name="no activation between",
        statement="W_in feeds the selectors linearly",
        predicate=lambda p: p.curvature == 0,
        having=paths,
        lacking=lambda: paths("activation"),
        conclusion=absorbed,
        counterexample=Counterexample(
            "a SiLU between",
            lambda: Path(_EYE, _UPPER, Fraction(1, 4)),
            "S = I, S* = [[1, 1], [0, 1]]: silu(u_1) + silu(u_2) has second-order part (u_1² + u_2²)/4, silu(w·u) has (w·u)²/4",
        ),
    ),
    Assumption(
        name="equal convolution taps",
        statement="a convolution between has the same taps in every channel",
        predicate=lambda p: p.taps is None or len(set(p.taps)) == 1,
        having=lambda: st.one_of(paths(), paths("equal taps")),
        lacking=lambda: paths("taps"),
        conclusion=absorbed,
        counterexample=Counterexample(
            "taps (1, 0) and (0, 1)",
            lambda: Path(_EYE, _UPPER, taps=_tuple([[1, 0], [0, 1]])),
            "S = I, S* = [[1, 1], [0, 1]]: the target's first selector reads u_1(t) + u_2(t − 1), channel 1 alone knows no delay",
        ),
    ),
    Assumption(
        name="value path separate",
        statement="the values x_t come by rows of W_in of their own",
        predicate=lambda p: not p.shared,
        having=paths,
        lacking=lambda: paths("shared"),
        conclusion=absorbed,
        counterexample=Counterexample(
            "values read the same rows",
            lambda: Path(_EYE, _UPPER, shared=True),
            "S = I, S* = [[1, 1], [0, 1]] and values z = W_in u: changing W_in for the selectors changes the values",
        ),
    ),
    Assumption(
        name="one-to-one clock, for the converse",
        statement="dt = φ(s) tells s, as softplus does",
        predicate=lambda t: t.module.step is rising_step,
        having=told_apart,
        lacking=lambda: told_apart("even"),
        conclusion=identified,
        counterexample=Counterexample(
            "an even clock",
            lambda: _twins(step=even_step, W_dn=-1),
            "dt = 1/(1 + s²), β = 0, D = N = 1, W_dn* = −W_dn: the same function with no update, though W_dn reads otherwise",
        ),
    ),
    Assumption(
        name="no value row is zero, for the converse",
        statement="every channel's values x_d are not identically zero",
        predicate=lambda t: all(any(row) for row in t.module.value),
        having=told_apart,
        lacking=lambda: told_apart("silent"),
        conclusion=identified,
        counterexample=Counterexample(
            "a silent channel",
            lambda: _twins(value=((1,), (0,)), W_up=((0,), (1,)), W_dn=2),
            "two channels, the second without values, W_up = (0, 1)ᵀ: only its clock reads W_dn, so W_dn* = 2 W_dn shows nowhere",
        ),
    ),
)


def _twins(step: Any = rising_step, value: Any = ((1,),), W_up: Any = ((1,),), W_dn: int = 1) -> Task:
    """D = d_model = N = 1 and all weights 1, against the same module with another W_dn."""

    def array(rows: Any) -> Array:
        return np.array([[Fraction(x) for x in row] for row in rows], dtype=object)

    one, bias = array([[1]]), np.array([Fraction(0)] * len(value), dtype=object)
    rates = array([[1]] * len(value))
    frozen = Module(one, one, one, one, array(W_up), bias, array(value), rates, step)
    return Task(frozen, replace(frozen, W_dn=array([[W_dn]])), (), (Fraction(1),))


CLAIM = Claim(
    id="lora_limits.selector_absorption",
    title="in_proj absorbs changed selectors iff their columns fit, and at a rank that is known",
    statement=(
        "Nothing between W_in and the selectors S = [W_B; W_C; W_dn], values on rows of their own. Some Δ has S(W_in + Δ) = S* "
        "W_in* iff col(S* W_in*) ⊆ col(S); always so if S has full row rank (possible where 2N + R ≤ D). The least LoRA rank is "
        "rank(S* W_in* − S W_in). This is equality of the selector maps. As functions, the gauge B_n → g_n B_n, C_n → C_n/g_n is "
        "free, so the least rank is at most the minimum over g; for N = 1, a clock that is one-to-one (softplus), B, C and every "
        "value row not zero and W_up of full column rank it is that minimum."
    ),
    level="module, selectors fed linearly",
    horizon="all; L ≥ 3 for the minimum over g",
    parts=(
        Part("statement", argument="derivation"),
        Part("gauge", argument="derivation"),
    ),
    checks=(
        Check(
            "symbolic identities",
            prove_symbolically,
            part="statement",
            planted=(
                Planted(
                    "outputs of second order in the state",
                    swap("readout_after", lambda right: lambda a, b, c, h, v: right(a, b, c, h, v) * h),
                ),
            ),
        ),
        Check(
            "absorption",
            exact_check(
                check_absorption,
                lambda: st.one_of(tasks(), tasks(independent=False)),
                "solvable iff the columns fit; whole S6 module run before and after; least rank",
                "N ≤ 2, d_model ≤ 3, D ≤ 6",
            ),
            part="statement",
            planted=(
                Planted(
                    "twice the update",
                    swap(
                        "absorb_selectors",
                        changed(lambda found: replace(found, update=None if found.update is None else 2 * found.update + 1)),
                    ),
                ),
                Planted(
                    "a solution always claimed",
                    swap(
                        "absorb_selectors",
                        changed(lambda found: replace(found, update=0 if found.update is None else found.update)),
                    ),
                ),
            ),
        ),
        Check(
            "full row rank, any gauge",
            exact_check(
                check_always_solvable, tasks, "every target absorbed, at any gauge with the same outputs", "N ≤ 2, d_model ≤ 3"
            ),
            part="gauge",
            planted=(
                Planted(
                    "twice the update",
                    swap(
                        "absorb_selectors",
                        changed(lambda found: replace(found, update=None if found.update is None else 2 * found.update + 1)),
                    ),
                ),
            ),
        ),
        Check(
            "least rank over the gauge",
            exact_check(check_gauge, tasks, "N = 1 by common real roots of minors, N = 2 bounds", "N ≤ 2, R = 1, d_model ≤ 3"),
            part="gauge",
            planted=(
                Planted(
                    "an upper bound of one less",
                    swap("gauge_rank_bounds", changed(lambda found: replace(found, upper=found.upper - 1))),
                ),
            ),
        ),
        Check(
            "three tokens fix the selectors",
            exact_check(
                check_identified,
                told_apart,
                "outputs on probing triples against the gauge",
                "N = 1, d_model ≤ 2",
                0.25,
            ),
            part="gauge",
            planted=(
                Planted("all modules called one function", swap("same_function", giving(True))),
                Planted(
                    "a gauge that scales B alone",
                    swap("rescale", lambda right: lambda s, n, g: np.concatenate([right(s, n, g)[:n], s[n:]])),
                ),
                Planted("a gauge called visible", swap("same_function", giving(False))),
            ),
        ),
        Check(
            "softplus clock in float64",
            float_route,
            part=None,
            planted=(
                Planted(
                    "an update off by one part in a million",
                    swap("np.linalg.lstsq", changed(lambda found: (found[0] * (1 + 2.0**-20), *found[1:]))),
                ),
            ),
        ),
        Check(
            "released models",
            mamba_counts,
            part=None,
            planted=(
                Planted(
                    "ten times the rows",
                    swap("MODELS", lambda models: {name: m | {"dt_rank": 10**4} for name, m in models.items()}),
                ),
            ),
        ),
    ),
    assumptions=ASSUMPTIONS,
    readme="theory/lora_limits/selector_absorption/README.md",
    not_claimed=(
        "A Mamba block has a convolution with different taps and a SiLU between in_proj and x_proj, and its values read the "
        "same rows: three of the four assumptions fail there. For N ≥ 2 the gauge gives bounds; states of equal decay mix, too."
    ),
)
