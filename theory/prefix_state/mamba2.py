r"""prefix_state.mamba2: a prefix of M tokens leaves Mamba-2 a state of rank ≤ M, jointly for heads that share B."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.certificate import dimension_certificate
from theory.core.claim import Assumption, Check, Claim, Counterexample, Outcome, Profile, Verdict, exact_check
from theory.core.scalars import Array
from theory.core.ssd import Mamba2Group, Mamba2Head
from theory.core.strategies import decay, mamba2_head, matrices

from .mamba2_reach import heads_of, independent_rows, minimal_prefix_length_mamba2, projections, reachable_mamba2
from .window import state_after

MODELS = {  # d_model of the released mamba2 checkpoints; d_inner = 2 d_model, P = 64, N = 128, one group
    "mamba2-130m": 768,
    "mamba2-370m": 1024,
    "mamba2-780m": 1536,
    "mamba2-1.3b": 2048,
    "mamba2-2.7b": 2560,
}


@dataclass(frozen=True)
class Target:
    """A head or a group, a state to reach, and a number of tokens (``None``: any)."""

    system: Any
    h0: Array
    tokens: int | None = None


def _unit_rows(heads: int, p: int, n: int) -> tuple[list[list[list[Fraction]]], list[list[Fraction]]]:
    width = heads * p + n
    eye = [[Fraction(int(i == j)) for j in range(width)] for i in range(width)]
    return [eye[k * p : (k + 1) * p] for k in range(heads)], eye[heads * p :]


@st.composite
def groups(draw: st.DrawFn, max_heads: int = 3) -> Any:
    """Heads with their own decay and step size and a shared B, all projection rows independent (a random basis change)."""
    h, p, n = draw(st.integers(1, max_heads)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    w_x, w_b = _unit_rows(h, p, n)
    mix = np.array(draw(matrices(h * p + n, h * p + n, 1)), dtype=object)
    mix = np.tril(mix, -1) + np.diag([Fraction(1)] * len(mix))  # unit lower triangular: invertible
    mix = np.array([[Fraction(x) for x in row] for row in mix], dtype=object)
    heads = [
        Mamba2Head(
            np.array(w, dtype=object) @ mix,
            np.array(w_b, dtype=object) @ mix,
            dt=draw(st.sampled_from(DTS)),
            decay=draw(decay(negative=False)),
        )
        for w in w_x
    ]
    return heads[0] if h == 1 else Mamba2Group(heads)


DTS = [Fraction(1, 2), Fraction(1), Fraction(3, 2)]


@st.composite
def targets(draw: st.DrawFn, systems: st.SearchStrategy[Any] | None = None) -> Target:
    """A group with independent rows and a state of any rank."""
    system = draw(systems if systems is not None else groups())
    shape = system.zero_state().shape
    rows, n = int(np.prod(shape[:-1])), shape[-1]
    rank = draw(st.integers(0, min(rows, n)))
    left, right = draw(matrices(rows, max(1, rank), 2)), draw(matrices(max(1, rank), n, 2))
    h = np.array(left, dtype=object) @ np.array(right, dtype=object) if rank else system.zero_state()
    return Target(system, h.reshape(shape))


@st.composite
def prefixes(draw: st.DrawFn) -> tuple[Any, list[list[Fraction]]]:
    """Any head or pair of heads, dependent rows and token-dependent clocks included, with a prefix."""
    head = draw(mamba2_head(3, 3, independent=False, readout=False))
    if draw(st.booleans()):
        head = Mamba2Head(head.W_x, head.W_B, clock=lambda u: (1 / (1 + u[0] * u[0]), 1 / (2 + u[0] * u[0])))
    system: Any = head
    if draw(st.booleans()):
        system = Mamba2Group([head, Mamba2Head(draw(matrices(head.head_dim, head.d_input, 2)), head.W_B, dt=1, decay="1/3")])
    return system, draw(matrices(draw(st.integers(1, 3)), head.d_input, 2))


def stack(h: Array) -> Array:
    """All heads' rows on top of each other: (P·H, N)."""
    return h.reshape(-1, h.shape[-1])


def check_rank_limit(instance: tuple[Any, list[list[Fraction]]]) -> None:
    """M tokens leave a stacked state of rank ≤ M, whatever the clock and the projections."""
    system, prefix = instance
    assert linalg.rank(stack(state_after(system, prefix))) <= len(prefix), instance


def check_witness(target: Target) -> None:
    """Independent rows: rank(h_0) tokens reach h_0, stepped exactly, and fewer cannot."""
    rank = linalg.rank(stack(target.h0))
    found = reachable_mamba2(target.system, target.h0)
    assert found.verdict == "witness" and found.length == rank <= minimal_prefix_length_mamba2(target.system), target
    if rank:
        assert found.prefix is not None
        assert np.all(state_after(target.system, found.prefix) == target.h0), target
    if rank > 1:
        assert reachable_mamba2(target.system, target.h0, max_length=rank - 1).verdict == "obstruction", target


def check_held_clock(instance: tuple[Target, list[Fraction]]) -> None:
    """dt from a row of its own: if that row is independent too, tokens can hold dt still, and the witness is the same."""
    target, weights = instance
    heads = heads_of(target.system)
    width = heads[0].d_input

    def clock(u: Array) -> tuple[Any, Any]:
        dt = 1 / (1 + u[width] * u[width])  # the dt row is the last input coordinate
        return dt, 1 / (1 + dt)

    wider = []
    for head in heads:
        w_x = np.concatenate([head.W_x, np.array([[w] for w in weights[: head.head_dim]], dtype=object)], axis=1)
        w_b = np.concatenate([head.W_B, np.array([[Fraction(1)]] * head.n_states, dtype=object)], axis=1)
        wider.append((Mamba2Head(w_x, w_b, clock=clock), Mamba2Head(w_x, w_b, dt=1, decay=Fraction(1, 2))))
    moving, held = (pair[0] for pair in wider), [pair[1] for pair in wider]
    rows = np.concatenate([projections(held), np.array([[Fraction(0)] * width + [Fraction(1)]], dtype=object)])
    found = reachable_mamba2(held[0] if len(held) == 1 else Mamba2Group(held), target.h0)
    if found.length == 0:
        return
    assert found.prefix is not None
    tokens = []
    for u in found.prefix:  # the same (x, B), with the dt coordinate at 0
        fixed = linalg.solve(rows, [*(projections(held) @ np.array(u, dtype=object)), Fraction(0)])
        assert fixed is not None
        tokens.append(list(fixed))
    moving_heads = list(moving)
    system = moving_heads[0] if len(moving_heads) == 1 else Mamba2Group(moving_heads)
    assert np.all(state_after(system, tokens) == target.h0), target


def check_dependent(target: Target) -> None:
    """One head with dependent rows: a witness leaves h_0, an ℓ is semidefinite on all tokens and negative on h_0."""
    head = heads_of(target.system)[0]
    found = reachable_mamba2(head, target.h0)
    assert found.verdict != "open", target
    assert head.dt is not None
    assert head.decay is not None
    if found.verdict == "witness":
        assert found.tokens is not None
        total = head.zero_state()
        for slot, u, squared in found.tokens:
            total = total + squared * head.decay**slot * head.dt * np.outer(head.W_x @ u, head.W_B @ u)
        assert np.all(total == target.h0), target
        return
    assert found.ell is not None
    form = head.W_x.T @ found.ell @ head.W_B  # ⟨ℓ, (W_x u)(W_B u)ᵀ⟩ = uᵀ form u
    assert linalg.is_psd((form + form.T) / 2), target
    value = sum((x * y for x, y in zip(found.ell.ravel(), target.h0.ravel(), strict=True)), Fraction(0))
    assert value == found.value, target
    assert value < 0 if found.verdict == "obstruction" else value == 0, target


@st.composite
def dependent_targets(draw: st.DrawFn) -> Target:
    """One head with W_B = T W_x (or the other way round), W_x (W_B) with independent rows."""
    p, n = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    base = _unit_rows(1, p, 1)[0][0]
    other = np.array(draw(matrices(n, p, 2)), dtype=object) @ np.array(base, dtype=object)
    w_x, w_b = (base, other) if draw(st.booleans()) else (other, base)
    head = Mamba2Head(w_x, w_b, dt=draw(st.sampled_from(DTS)), decay=Fraction(1, 2))
    if draw(st.booleans()):
        h = state_after(head, draw(matrices(2, head.d_input, 2)))
    else:
        h = np.array(draw(matrices(head.head_dim, head.n_states, 2)), dtype=object)
    return Target(head, h)


def prove_symbolically(_: Profile) -> Outcome:
    """All (M+1)-minors of the state after M tokens vanish, P, N ≤ 3, M ≤ 2; the witness with symbols for P = N = 2."""
    count = 0
    for p, n, m in ((2, 2, 1), (2, 3, 1), (3, 2, 1), (3, 3, 2)):
        width = p + n
        w_x, w_b = (sympy.Matrix(r, width, sympy.symbols(f"{s}0:{r * width}")) for r, s in ((p, "x"), (n, "b")))
        if m == 2:  # generic rows are a basis change of unit rows; unit rows keep the determinant small
            w_x, w_b = sympy.eye(width)[:p, :], sympy.eye(width)[p:, :]
        g, dt = sympy.symbols("gamma dt")
        h = sympy.zeros(p, n)
        for k in range(m):
            u = sympy.Matrix(width, 1, sympy.symbols(f"u{k}_0:{width}"))
            h = g * h + dt * (w_x * u) * (w_b * u).T
        for minor in _minors(h, m + 1):
            assert sympy.expand(minor) == 0, (p, n, m)
            count += 1
    h0 = sympy.Matrix(2, 2, sympy.symbols("h0:4"))
    g, dt = sympy.symbols("gamma dt", positive=True)
    # tokens (x, B) = (first column/(γ dt), e_1) and then (second column/dt, e_2)
    left = g * dt * (h0[:, 0] / (g * dt)) * sympy.Matrix([[1, 0]]) + dt * (h0[:, 1] / dt) * sympy.Matrix([[0, 1]])
    assert sympy.expand(left - h0) == sympy.zeros(2, 2)
    return Outcome(
        Verdict.PROVED,
        "a token adds a matrix of rank one to the stack; independent rows make every rank-one term available; minors checked",
        "any P, N, H, M (derivation); P, N ≤ 3, M ≤ 2 with symbols",
        instances=count + 1,
    )


def _minors(matrix: sympy.Matrix, size: int) -> list[sympy.Expr]:
    from itertools import combinations

    rows, columns = matrix.shape
    return [
        matrix.extract(list(r), list(c)).det(method="berkowitz")
        for r in combinations(range(rows), size)
        for c in combinations(range(columns), size)
    ]


def certify_dimensions(_: Profile) -> Outcome:
    """The states after M tokens have dimension exactly M(PH + N − M): less than P·H·N as long as M < min(PH, N)."""
    rows = []
    for heads, p, n in ((1, 2, 2), (1, 3, 2), (1, 3, 3), (2, 1, 2), (2, 2, 3), (3, 1, 2)):
        w_x, w_b = _unit_rows(heads, p, n)
        parts = [Mamba2Head(w, w_b, dt=1, decay=Fraction(1, k + 2)) for k, w in enumerate(w_x)]
        system: Any = parts[0] if heads == 1 else Mamba2Group(parts)
        width = heads * p + n
        for m in range(1, min(heads * p, n) + 1):

            def family(v: Array, system: Any = system, width: int = width) -> Array:
                h = system.zero_state()
                for u in v.reshape(-1, width):
                    h, _ = system.step(h, u)
                return np.asarray(h.ravel())

            point = [Fraction((k * k + 3 * k) % 11 - 5, 1 + k % 3) for k in range(m * width)]
            found = dimension_certificate(family, point)
            expected = m * (heads * p + n - m)
            assert found.rank == expected, (heads, p, n, m, found)
            assert (found.rank == heads * p * n) == (m >= min(heads * p, n))
            rows.append({"H": heads, "P": p, "N": n, "M": m, "dimension": found.rank, "states": heads * p * n})
    how = "exact Jacobian ranks: M tokens reach dimension M(PH + N − M)"
    return Outcome(Verdict.EXACT, how, "H ≤ 3, P, N ≤ 3", len(rows), data={"table": rows})


def released_shapes(_: Profile) -> Outcome:
    """What the released models allow: tokens live in R^d_model and d_inner = 2 d_model, so rows cannot be independent."""
    rows = []
    for name, d_model in MODELS.items():
        d_inner, n = 2 * d_model, 128
        by_rank = min(d_inner, n)
        by_count = -(-d_inner * n // d_model)  # M·d_model numbers must fill P·H·N dimensions
        assert d_inner + n > d_model and by_count == 2 * n > by_rank
        rows.append({"model": name, "d_model": d_model, "rows": d_inner + n, "by_rank": by_rank, "by_count": by_count})
    how = f"d_inner + N > d_model: the rank bound {rows[0]['by_rank']} is passed by the count 2N = {rows[0]['by_count']} tokens"
    return Outcome(Verdict.EXACT, how, ", ".join(MODELS), len(rows), data={"table": rows})


# -- assumptions ----------------------------------------------------------------------------------------------------------


def _reached(target: Target) -> bool:
    limit = {} if target.tokens is None else {"max_length": target.tokens}
    return reachable_mamba2(target.system, target.h0, **limit).verdict == "witness"


def _enough(target: Target) -> bool:
    heads = heads_of(target.system)
    return target.tokens is None or target.tokens >= min(sum(h.head_dim for h in heads), heads[0].n_states)


@st.composite
def _with_length(draw: st.DrawFn, enough: bool) -> Target:
    target = draw(targets(groups().filter(lambda s: min(stack(s.zero_state()).shape) > 1)))
    least = min(stack(target.system.zero_state()).shape)
    m = draw(st.integers(least, least + 1) if enough else st.integers(1, least - 1))
    return Target(target.system, target.h0, m)


_TWO_HEADS = [Mamba2Head([row], [[0, 0, 1, 0], [0, 0, 0, 1]], dt=1, decay="1/2") for row in ([1, 0, 0, 0], [0, 1, 0, 0])]


ASSUMPTIONS = (
    Assumption(
        "independent projection rows",
        "the rows of W_x (all heads of the group) and W_B are linearly independent",
        lambda t: independent_rows(t.system),
        targets,
        lambda: dependent_targets().filter(lambda t: not independent_rows(t.system)),
        _reached,
        Counterexample(
            "W_B = W_x",
            lambda: Target(Mamba2Head([[1]], [[1]], dt=1, decay="1/2"), np.array([[Fraction(-1)]], dtype=object)),
            "P = N = 1, W_x = W_B = (1): every token adds dt u² ≥ 0, so h_0 = −1 is out of reach",
        ),
    ),
    Assumption(
        "M ≥ min(P·H, N), heads counted jointly",
        "as many tokens as the smaller side of the stacked state, all heads that share B counted together",
        _enough,
        lambda: _with_length(True),
        lambda: _with_length(False),
        _reached,
        Counterexample(
            "two heads, one token",
            lambda: Target(Mamba2Group(_TWO_HEADS), np.array([[[1, 0]], [[0, 1]]], dtype=object) * Fraction(1), 1),
            "H = 2, P = 1, N = 2, M = 1 = min(P, N): both heads get multiples of one B, so ((1, 0), (0, 1)) needs two tokens",
        ),
    ),
)

CLAIM = Claim(
    id="prefix_state.mamba2",
    title="Mamba-2: M tokens leave rank ≤ M; prefix = initial state iff M ≥ min(P·H, N) when projection rows are independent",
    statement=(
        "Mamba-2 module, free tokens u ∈ R^D. After M tokens the states of heads that share W_B, stacked to (P·H)×N, have rank "
        "at most M, for every clock. If the rows of [W_x of all heads; W_B] are independent and dt is constant (or can be held "
        "so by a further independent row), a state of rank k is reached by k tokens and not by fewer, so prefixes of length M "
        "reach every initial state iff M ≥ min(P·H, N)."
    ),
    level="module (tokens enter the projections, no convolution or activation between); functions where W_C has full row rank",
    horizon="any",
    checks=(
        Check("symbolic minors", prove_symbolically, part="rank limit and witness"),
        Check(
            "rank limit",
            exact_check(
                check_rank_limit, prefixes, "rank of the stacked state, any clock and projections", "P, N ≤ 3, H ≤ 2, M ≤ 3", 0.5
            ),
            part="rank limit and witness",
        ),
        Check(
            "witness",
            exact_check(
                check_witness, targets, "rank(h_0) tokens, stepped exactly; one fewer refused by a minor", "P ≤ 2, N ≤ 3, H ≤ 3"
            ),
            part="rank limit and witness",
        ),
        Check(
            "clock held by its own row",
            exact_check(
                check_held_clock,
                lambda: st.tuples(targets(groups(2)), st.lists(st.sampled_from(DTS), min_size=2, max_size=2)),
                "token-dependent dt with an independent row",
                "P ≤ 2, N ≤ 3, H ≤ 2",
                0.25,
            ),
            part="clock",
        ),
        Check(
            "dependent rows",
            exact_check(
                check_dependent, dependent_targets, "W_B = T W_x: semidefinite condition, both sides verified", "P, N ≤ 3", 0.5
            ),
            part="dependent rows",
        ),
        Check("dimensions", certify_dimensions, part="rank limit and witness"),
        Check("released shapes", released_shapes, part=None),
    ),
    assumptions=ASSUMPTIONS,
    readme="prefix_statemamba2",
    not_claimed=(
        "Real blocks have d_inner = 2·d_model > d_model, so their rows are dependent: the rank limit holds, the converse does "
        "not follow, and counting dimensions asks for at least 2N tokens. Partly dependent rows are decided by span and rank "
        "only."
    ),
)
