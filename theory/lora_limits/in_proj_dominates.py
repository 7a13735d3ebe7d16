r"""lora_limits.in_proj_dominates: when in_proj alone does what selectors and out_proj together can do, and why not conversely.

Channels that share their decays and their clock compute y_t[d] = Σ_s k(t, s) z_s[d] + δ z_t[d] with one scalar kernel k made of
C_t, B_s and the clock. So out_t = W_out y_t reads z = W_in u only through

    S = [W_B; W_C; vᵀ W_dn; W_out]           (2N + 1 + d_model rows)

and S W_in = S* W_in* reproduces the target. A skip D_skip that is no multiple of 1 adds the rows W_out diag(D_skip).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.claim import Assumption, Check, Claim, Counterexample, Outcome, Profile, Verdict, exact_check
from theory.core.errors import InvalidInput
from theory.core.scalars import Array, as_array
from theory.core.strategies import matrices, rationals
from theory.core.tolerance import budget

from .row_matching import RowMatch, match_rows


@dataclass(frozen=True)
class MixerBlock:
    """A selective block without gate: z = conv(W_in u), S6 with decays exp(−dt rates[d]), out = W_out (y + D_skip z).

    One clock for all channels: dt = φ(vᵀ W_dn z). Rational where the numbers are (φ(s) = 1/(1 + s²), decay (1/(1 + dt))^rate),
    softplus and exp where they are floats.

    Attributes
    ----------
    W_in, W_out:
        (D, d_model), (d_model, D).
    W_B, W_C, W_dn:
        (N, D), (N, D), (R, D); v: (R,).
    rates:
        (D, N): one row per channel; equal rows are the assumption.
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

    def selectors(self) -> Array:
        """[W_B; W_C; vᵀ W_dn], (2N + 1, D)."""
        return np.concatenate([self.W_B, self.W_C, (self.v @ self.W_dn)[None, :]])

    def run(self, tokens: Any, W_in: Any = None) -> Array:
        """Outputs (L, d_model) for tokens (L, d_model)."""
        w = self.W_in if W_in is None else W_in
        exact = w.dtype == object
        zero = Fraction(0) if exact else 0.0
        h: Any = np.full(np.shape(self.rates), zero, dtype=w.dtype)
        past: list[Any] = []
        out = []
        for u in tokens:
            past.append(w @ u)
            z = past[-1]
            if self.taps is not None:
                z = sum((self.taps[:, j] * past[-1 - j] for j in range(min(self.taps.shape[1], len(past)))), z * zero)
            s = self.v @ (self.W_dn @ z)
            if exact:
                dt = 1 / (1 + s * s)
                decay = np.array([[(1 / (1 + dt)) ** int(k) for k in row] for row in self.rates], dtype=object)
            else:
                dt = np.logaddexp(0.0, s)
                decay = np.exp(-dt * self.rates)
            h = decay * h + dt * np.outer(z, self.W_B @ z)
            out.append(self.W_out @ (h @ (self.W_C @ z) + self.D_skip * z))
        return np.array(out)


def read_rows(block: MixerBlock, selectors: Array, W_out: Array) -> Array:
    """The rows through which a block reads z: S, with W_out split by channels of equal dynamics, the skip's rows, all taps.

    Equal dynamics and D_skip = δ1 leave S = [W_B; W_C; vᵀW_dn; W_out].
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for d, row in enumerate(block.rates):
        groups.setdefault(tuple(row), []).append(d)
    rows = [selectors]
    for members in groups.values():
        mask = np.array([int(d in members) for d in range(W_out.shape[1])], dtype=object)
        rows.append(W_out * mask)
    if len(set(block.D_skip)) > 1:
        rows.append(W_out * block.D_skip)
    s = np.concatenate(rows)
    if block.taps is None:
        return s
    return np.concatenate([s * block.taps[:, j] for j in range(block.taps.shape[1])])


def in_proj_update(frozen: MixerBlock, target: MixerBlock) -> RowMatch:
    r"""The update of in_proj that makes the frozen block compute the target's outputs, its least rank, or why there is none.

    The target may differ in W_in, W_B, W_C, W_dn and W_out; rates, v, D_skip and taps are the frozen ones.

        S (W_in + Δ) = S* W_in*,      S = [W_B; W_C; vᵀ W_dn; W_out] and what the module's text adds

    Sufficient for equal outputs; with the rows of S independent it always has a solution.

    Raises
    ------
    InvalidInput
        The target differs in something the adapter cannot reach (rates, v, D_skip, taps), or shapes do not fit.
    """
    for name in ("rates", "v", "D_skip", "taps"):
        a, b = getattr(frozen, name), getattr(target, name)
        if (a is None) != (b is None) or (a is not None and not np.array_equal(a, b)):
            raise InvalidInput(f"the target's {name} differs from the frozen one; in_proj cannot change it")
    rows = read_rows(frozen, frozen.selectors(), as_array(frozen.W_out, "exact", "W_out", ndim=2))
    wanted = read_rows(target, target.selectors(), as_array(target.W_out, "exact", "W_out", ndim=2))
    return match_rows(rows, frozen.W_in, linalg.matmul(wanted, target.W_in))


def row_count(d_model: int, n_states: int, *, general_skip: bool = False) -> int:
    """2N + 1 + d_model, and d_model more where D_skip is no multiple of 1: rows that have to be independent in R^{d_inner}."""
    return 2 * n_states + 1 + d_model * (2 if general_skip else 1)


# -- instances ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A frozen block, a target and tokens."""

    frozen: MixerBlock
    target: MixerBlock
    tokens: tuple[Any, ...]


def _matrix(draw: st.DrawFn, rows: int, columns: int) -> Array:
    return np.array(draw(matrices(rows, columns, 1)), dtype=object).reshape(rows, columns)


def _objects(values: Any) -> Array:
    return np.array(values, dtype=object)


@st.composite
def tasks(draw: st.DrawFn, kind: str = "plain") -> Task:
    """d_model 1 or 2, N = 1, D = 2N + 1 + d_model or one more, and one obstacle (``kind``)."""
    m = draw(st.integers(1, 2))
    n = 1
    need = row_count(m, n)
    d = need + draw(st.integers(0, 1))
    s = _objects([[Fraction(int(i == j)) for j in range(d)] for i in range(need)]) + np.tril(_matrix(draw, need, d), -1)
    if kind == "deficient":
        s[0] = s[1]
    rates = _objects([[1]] * d)
    skip = _objects([draw(rationals(1))] * d)
    taps = None
    if kind == "dynamics":
        rates = _objects([[1 + (k % 2)] for k in range(d)])
    if kind == "skip":
        skip = _objects([Fraction(k % 2) for k in range(d)])
    if kind == "taps":
        taps = _objects([[Fraction(int(k % 2 == 0)), Fraction(int(k % 2 == 1))] for k in range(d)])

    def block(s: Array, w: Array) -> MixerBlock:
        return MixerBlock(
            w, s[:n], s[n : 2 * n], s[2 * n : 2 * n + 1], _objects([Fraction(1)]), s[2 * n + 1 :], rates, skip, taps
        )

    target = block(_matrix(draw, need, d), _matrix(draw, d, m))
    tokens = tuple(_objects(t) for t in draw(matrices(2, m, 1)))
    return Task(block(s, _matrix(draw, d, m)), target, tokens)


def reproduced(task: Task) -> bool:
    """Whether in_proj alone reproduces the target."""
    return in_proj_update(task.frozen, task.target).possible


def check_construction(task: Task) -> None:
    """The update exists, the whole block then gives the target's outputs exactly, and its rank is least."""
    found = in_proj_update(task.frozen, task.target)
    assert found.update is not None, task
    outputs = task.frozen.run(task.tokens, task.frozen.W_in + found.update)
    assert np.all(outputs == task.target.run(task.tokens)), f"{task}: outputs differ"
    rows = read_rows(task.frozen, task.frozen.selectors(), task.frozen.W_out)
    assert linalg.rank(found.update) == found.rank == linalg.rank(linalg.matmul(rows, found.update)), task


def check_extra_rows(task: Task) -> None:
    """With unequal dynamics, a general skip or unequal taps: where an update is found it works, else a dependence is shown."""
    found = in_proj_update(task.frozen, task.target)
    rows = read_rows(task.frozen, task.frozen.selectors(), task.frozen.W_out)
    wanted = linalg.matmul(read_rows(task.target, task.target.selectors(), task.target.W_out), task.target.W_in)
    if found.update is None:
        y = np.asarray(found.certificate)
        assert not np.any(y @ rows) and np.any(y @ wanted), task
        return
    assert np.all(task.frozen.run(task.tokens, task.frozen.W_in + found.update) == task.target.run(task.tokens)), task


@dataclass(frozen=True)
class FirstToken:
    """W_out, W_in and a wanted W_in*, d_model ≥ 2, equal dynamics and skip, with changed selectors and a token."""

    block: MixerBlock
    selectors: Array
    wanted: Array


@st.composite
def first_tokens(draw: st.DrawFn, d_model: int = 2) -> FirstToken:
    """d_model = 2 (or 3, or 1), N = 1, D = 3, selectors changed at will."""
    d = 3
    w_in, w_b, w_c, w_dn, w_out = (_matrix(draw, *size) for size in ((d, d_model), (1, d), (1, d), (1, d), (d_model, d)))
    skip = _objects([draw(rationals(1))] * d)
    block = MixerBlock(w_in, w_b, w_c, w_dn, _objects([Fraction(1)]), w_out, _objects([[1]] * d), skip)
    return FirstToken(block, _matrix(draw, 3, d), _matrix(draw, d, d_model))


def separating_input(f: FirstToken) -> Array | None:
    """A token u with W_out W_in u and W_out W_in* u not parallel: selectors give the first, in_proj the second."""
    p, q = linalg.matmul(f.block.W_out, f.block.W_in), linalg.matmul(f.block.W_out, f.wanted)
    m = p.shape[1]
    for k in range(1 << m):
        u = _objects([Fraction(1 + 2 * ((k >> i) & 1)) if (k >> i) & 1 or k == 0 or i == 0 else Fraction(0) for i in range(m)])
        a, b = p @ u, q @ u
        if any(a[i] * b[j] != a[j] * b[i] for i in range(len(a)) for j in range(i)):
            return u
    return None


def check_converse(f: FirstToken) -> None:
    """Whatever the selectors, the first output is a multiple of W_out W_in u; an explicit u shows a target that is not."""
    n = 1
    s = f.selectors
    changed = replace(f.block, W_B=s[:n], W_C=s[n : 2 * n], W_dn=s[2 * n :])
    u = separating_input(f)
    if u is None:
        return
    direction = f.block.W_out @ (f.block.W_in @ u)
    first = changed.run([u])[0]
    assert all(first[i] * direction[j] == first[j] * direction[i] for i in range(len(first)) for j in range(i)), f
    target = linalg.matmul(f.block.W_out, f.wanted) @ u
    assert any(target[i] * direction[j] != target[j] * direction[i] for i in range(len(target)) for j in range(i)), f


# -- symbolic, float, counts ----------------------------------------------------------------------------------------------


def prove_symbolically(_: Profile) -> Outcome:
    """out_t as a function of S z alone, with symbols: D = 3, N = 1, d_model = 1, two tokens."""
    d = 3
    z = [sympy.Matrix(d, 1, sympy.symbols(f"z{t}_0:{d}")) for t in range(2)]
    b, c, o = (sympy.Matrix(1, d, sympy.symbols(f"{s}0:{d}")) for s in ("b", "c", "o"))
    dt, e = sympy.symbols("dt0:2"), sympy.symbols("e0:2")
    delta = sympy.Symbol("delta")
    h = sympy.zeros(d, 1)
    outputs = []
    for t in range(2):
        h = e[t] * h + dt[t] * z[t] * (b * z[t])[0]
        outputs.append((o * (h * (c * z[t])[0] + delta * z[t]))[0])
    reads = [((b * v)[0], (c * v)[0], (o * v)[0]) for v in z]
    b0, _, o0 = reads[0]
    b1, c1, o1 = reads[1]
    expected = c1 * (e[1] * dt[0] * o0 * b0 + dt[1] * o1 * b1) + delta * o1
    assert sympy.expand(outputs[1] - expected) == 0
    assert sympy.expand(outputs[0] - (reads[0][1] * dt[0] * o0 * b0 + delta * o0)) == 0
    return Outcome(
        Verdict.PROVED,
        "out_t is a polynomial in B_s, C_t, W_out z_s and the clock alone, so S W_in = S* W_in* suffices",
        "any sizes (derivation); D = 3, N = 1, two tokens with symbols",
        instances=2,
    )


def float_route(profile: Profile) -> Outcome:
    """Softplus clock in float64: the whole block before and after."""
    rng = np.random.default_rng(profile.seed)
    worst, kappa, count = 0.0, 1.0, profile.scaled(0.1)
    m, n, r, length = 4, 3, 2, 12
    d = row_count(m, n) + 3
    rates = np.tile(np.arange(1.0, n + 1), (d, 1))
    for _ in range(count):
        v, skip = rng.standard_normal(r), np.full(d, rng.standard_normal())
        sizes = ((d, m), (n, d), (n, d), (r, d), (m, d))
        weights = [[rng.standard_normal(size) / np.sqrt(size[1]) for size in sizes] for _ in range(2)]
        frozen, target = (MixerBlock(w[0], w[1], w[2], w[3], v, w[4], rates, skip) for w in weights)
        s, t = (np.concatenate([b.selectors(), b.W_out]) for b in (frozen, target))
        update = np.linalg.lstsq(s, t @ target.W_in - s @ frozen.W_in, rcond=None)[0]
        kappa = max(kappa, float(np.linalg.cond(s)))
        u = rng.standard_normal((length, m))
        right = target.run(u)
        worst = max(worst, float(np.abs(frozen.run(u, frozen.W_in + update) - right).max() / np.abs(right).max()))
    allowed = budget(length * d, kappa)
    assert worst <= allowed, f"outputs differ by {worst:.1e}, budget {allowed:.1e}"
    how = f"outputs after the update, largest relative difference {worst:.1e}"
    return Outcome(Verdict.TO, how, f"D = {d}, N = {n}, L = {length}", count, tolerance=allowed, condition=kappa)


def model_counts(_: Profile) -> Outcome:
    """Rows against d_inner for the released Mamba models."""
    rows = []
    for name, d_model in (("mamba-130m", 768), ("mamba-370m", 1024), ("mamba-1.4b", 2048), ("mamba-2.8b", 2560)):
        plain, general = row_count(d_model, 16), row_count(d_model, 16, general_skip=True)
        rows.append({"model": name, "d_inner": 2 * d_model, "rows": plain, "rows_general_skip": general})
        assert plain <= 2 * d_model < general
    first = rows[0]
    how = f"mamba-130m: {first['rows']} ≤ {first['d_inner']} rows, with a general skip {first['rows_general_skip']} > that"
    return Outcome(Verdict.EXACT, how, "130m to 2.8b, N = 16", len(rows), data={"table": rows})


# -- assumptions ----------------------------------------------------------------------------------------------------------


def _fixed(rows: list[list[int]], w: list[list[int]], out: list[list[int]], d: int, **changes: Any) -> MixerBlock:
    s = as_array(rows, "exact")
    base = MixerBlock(
        as_array(w, "exact"), s[:1], s[1:2], s[2:3], _objects([Fraction(1)]), as_array(out, "exact"), _objects([[1]] * d),
        _objects([Fraction(0)] * d),
    )  # fmt: skip
    return replace(base, **changes)


def _dynamics() -> Task:
    rates = _objects([[1], [2]])
    pinned = [[1, 0], [1, 0], [1, 0]]
    frozen = _fixed(pinned, [[1], [1]], [[1, 1]], 2, rates=rates)
    return Task(frozen, _fixed(pinned, [[1], [1]], [[2, 1]], 2, rates=rates), (_objects([Fraction(1)]),))


def _skips() -> Task:
    eye = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    skip = _objects([Fraction(1), Fraction(0), Fraction(0), Fraction(0)])
    w = [[1], [1], [1], [1]]
    return Task(
        _fixed(eye, w, [[0, 0, 0, 1]], 4, D_skip=skip), _fixed(eye, w, [[1, 0, 0, 1]], 4, D_skip=skip), (_objects([Fraction(1)]),)
    )


def _deficient() -> Task:
    same = [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    other = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    w, out = [[1], [2], [1], [1]], [[0, 0, 0, 1]]
    return Task(_fixed(same, w, out, 4), _fixed(other, w, out, 4), (_objects([Fraction(1)]),))


def _tapped() -> Task:
    eye = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    taps = as_array([[1, 0], [0, 1], [1, 0], [1, 0]], "exact")
    w = [[1], [1], [1], [1]]
    return Task(
        _fixed(eye, w, [[0, 0, 0, 1]], 4, taps=taps), _fixed(eye, w, [[0, 1, 0, 1]], 4, taps=taps), (_objects([Fraction(1)]),)
    )


def _independent(task: Task) -> bool:
    rows = np.concatenate([task.frozen.selectors(), task.frozen.W_out])
    return linalg.rank(rows) == len(rows)


def _one(values: Any) -> bool:
    return len({tuple(np.ravel(v)) for v in values}) == 1


def _unreached(f: FirstToken) -> bool:
    """Whether an explicit token shows that the selectors alone cannot do it (or both read the same)."""
    p, q = linalg.matmul(f.block.W_out, f.block.W_in), linalg.matmul(f.block.W_out, f.wanted)
    parallel = linalg.rank(np.stack([p.ravel(), q.ravel()])) < 2
    return parallel or linalg.rank(p) < 2 or separating_input(f) is not None


ASSUMPTIONS = (
    Assumption(
        "independent rows of S",
        "[W_B; W_C; vᵀW_dn; W_out] has full row rank, possible where 2N + 1 + d_model ≤ d_inner",
        _independent,
        tasks,
        lambda: tasks("deficient"),
        reproduced,
        Counterexample(
            "W_C = W_B",
            _deficient,
            "D = 4, W_B = W_C = e_1: the frozen block always has B_t = C_t, the target reads C from channel 2 and has B ≠ C",
        ),
    ),
    Assumption(
        "equal dynamics",
        "all channels have one row of A",
        lambda t: _one(t.frozen.rates),
        tasks,
        lambda: tasks("dynamics"),
        reproduced,
        Counterexample(
            "two decays",
            _dynamics,
            "D = 2, rows −1 and −2, W_B = W_C = W_dn = e_1: channel 1 is fixed by its selectors, so W_out* = (2, 1) for (1, 1) "
            "is out of reach; with equal rows W_in,2 = 2 would do",
        ),
    ),
    Assumption(
        "D_skip = δ1",
        "the skip is the same in every channel",
        lambda t: len(set(t.frozen.D_skip)) == 1,
        tasks,
        lambda: tasks("skip"),
        reproduced,
        Counterexample(
            "a skip in one channel",
            _skips,
            "d_model = 1, D = 4, D_skip = e_1, W_out = e_4, W_out* = e_1 + e_4: the target has the linear term u, the frozen "
            "block only terms of degree three",
        ),
    ),
    Assumption(
        "no convolution with different taps",
        "between in_proj and the SSM",
        lambda t: t.frozen.taps is None,
        tasks,
        lambda: tasks("taps"),
        reproduced,
        Counterexample(
            "one delayed channel",
            _tapped,
            "D = 4, channel 2 delayed by one token, W_out = e_4, W_out* = e_2 + e_4: no W_in delays channel 4",
        ),
    ),
    Assumption(
        "d_model ≥ 2, for the converse",
        "outputs have a direction",
        lambda f: f.block.W_in.shape[1] >= 2,
        first_tokens,
        lambda: first_tokens(1),
        lambda f: f.block.W_in.shape[1] >= 2 and _unreached(f),
        Counterexample(
            "one output",
            lambda: FirstToken(
                _fixed([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[1], [1], [1]], [[1, 1, 1]], 3),
                as_array([[1, 0, 0]] * 3, "exact"),
                as_array([[2], [1], [1]], "exact"),
            ),
            "d_model = 1: every first output is parallel to every other, so the first token excludes nothing",
        ),
    ),
)

CLAIM = Claim(
    id="lora_limits.in_proj_dominates",
    title="with one decay row, one clock, no convolution and no gate, in_proj alone does what selectors and out_proj do",
    statement=(
        "Equal rows of A, one clock (W_up = 1vᵀ, β = β₀1), no convolution, no input-dependent gate, D_skip = δ1. If S = [W_B; "
        "W_C; vᵀW_dn; W_out] has full row rank (2N + 1 + d_model ≤ d_inner), some Δ on W_in makes the frozen block compute any "
        "target (W_in*, W_B*, W_C*, W_dn*, W_out*), at least rank rank(S* W_in* − S W_in). With a general D_skip the rows W_out "
        "diag(D_skip) join S. Converse, d_model ≥ 2, W_out frozen: selectors cannot change the direction of the first output, "
        "W_out W_in u."
    ),
    level="block without gate",
    horizon="all; the converse from the first token on",
    checks=(
        Check("symbolic identity", prove_symbolically, part="construction"),
        Check(
            "construction",
            exact_check(
                check_construction,
                tasks,
                "whole block run before and after, rational clock; least rank",
                "d_model ≤ 2, N = 1, D ≤ 6",
            ),
            part="construction",
        ),
        Check(
            "extra rows",
            exact_check(
                check_extra_rows,
                lambda: st.one_of(tasks("dynamics"), tasks("skip"), tasks("taps")),
                "groups of equal dynamics, skip rows and taps stacked: solved and run, or a broken dependence",
                "d_model ≤ 2, D ≤ 6",
            ),
            part="construction",
        ),
        Check(
            "first token",
            exact_check(
                check_converse,
                lambda: st.one_of(first_tokens(2), first_tokens(3)),
                "explicit token, exact cross products",
                "d_model 2 and 3, D = 3",
            ),
            part="converse",
        ),
        Check("softplus clock in float64", float_route, part=None),
        Check("released models", model_counts, part=None),
    ),
    assumptions=ASSUMPTIONS,
    readme="lora_limitsin_proj_dominates",
    not_claimed=(
        "Far from a real Mamba block: equal rows of A and D_skip = 1 hold there at the start of pretraining only, the clock "
        "differs between channels, the convolution has taps of its own per channel, and a SiLU and an input-dependent gate "
        "stand between. The statement explains a tendency; it does not rank methods on Mamba."
    ),
)
