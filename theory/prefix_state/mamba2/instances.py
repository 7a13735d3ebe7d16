r"""Instances, exact properties and tables behind prefix_state.mamba2."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.certificate import dimension_certificate
from theory.core.scalars import Array
from theory.core.ssd import Mamba2Group, Mamba2Head
from theory.core.strategies import decay, mamba2_head, matrices, rationals
from theory.core.tolerance import budget
from theory.verification.claim import Outcome, Profile, Verdict
from theory.verification.refutation import existing, require

from ..reach.mamba2 import heads_of, minimal_prefix_length_mamba2, projections, reachable_mamba2, unreachable_state
from ..reach.window import state_after
from .clock import softplus_witness

MODELS = {  # d_model of the released mamba2 checkpoints; d_inner = 2 d_model, P = 64, N = 128, one group
    "mamba2-130m": 768,
    "mamba2-370m": 1024,
    "mamba2-780m": 1536,
    "mamba2-1.3b": 2048,
    "mamba2-2.7b": 2560,
}
HEAD_DIM, STATES = 64, 128
DTS = [Fraction(1, 2), Fraction(1), Fraction(3, 2)]


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
    require(linalg.rank(stack(state_after(system, prefix))) <= len(prefix), instance)


def check_witness(target: Target) -> None:
    """Independent rows: rank(h_0) tokens reach h_0, stepped exactly, and fewer cannot."""
    rank = linalg.rank(stack(target.h0))
    found = reachable_mamba2(target.system, target.h0)
    require(found.verdict == "witness" and found.length == rank <= minimal_prefix_length_mamba2(target.system), target)
    if rank:
        require(np.all(state_after(target.system, existing(found.prefix, target)) == target.h0), target)
    if rank > 1:
        require(reachable_mamba2(target.system, target.h0, max_length=rank - 1).verdict == "obstruction", target)


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
    tokens = []
    for u in existing(found.prefix, target):  # the same (x, B), with the dt coordinate at 0
        tokens.append(list(existing(linalg.solve(rows, [*(projections(held) @ np.array(u, dtype=object)), Fraction(0)]), target)))
    moving_heads = list(moving)
    system = moving_heads[0] if len(moving_heads) == 1 else Mamba2Group(moving_heads)
    require(np.all(state_after(system, tokens) == target.h0), target)


def check_dependent(target: Target) -> None:
    """One decay, any rows: rank(h_0) tokens, or ℓ ≥ 0 on all tokens with ⟨ℓ, h_0⟩ < 0, or = 0 and a face without h_0."""
    heads, h = heads_of(target.system), stack(target.h0)
    found = reachable_mamba2(target.system, target.h0)
    require(found.verdict != "open", target)
    if found.verdict == "witness":
        require(found.length == linalg.rank(h), target)
        require(np.all(stack(tokens_state(heads, existing(found.tokens, target))) == h), target)
        return
    ell = stack(existing(found.ell, target))
    x = np.concatenate([head.dt * head.W_x for head in heads])
    form = x.T @ ell @ heads[0].W_B  # ⟨ℓ, X u (W_B u)ᵀ⟩ = uᵀ form u
    form = form + form.T
    require(linalg.is_psd(form), target)
    require(np.sum(ell * h) == found.value, target)
    if found.verdict == "obstruction":
        require(found.value < 0, target)
        return
    require(found.value == 0, target)  # then every token has uᵀ form u = 0: h_0 is not even in the span of those
    kernel = linalg.nullspace(form)
    columns = [(np.outer(x @ u, heads[0].W_B @ v) + np.outer(x @ v, heads[0].W_B @ u)).ravel() for u in kernel for v in kernel]
    require(not columns or linalg.solve(np.array(columns, dtype=object).T, h.ravel()) is None, target)


def tokens_state(heads: tuple[Mamba2Head, ...], tokens: Any) -> Array:
    """Σ squared·γ_h^slot dt_h (W_x^h u)(W_B u)ᵀ, shape (H, P, N): a state from exact tokens, head by head."""
    out = []
    for head in heads:
        total = head.zero_state()
        for slot, u, squared in tokens:
            total = total + squared * head.decay**slot * head.dt * np.outer(head.W_x @ u, head.W_B @ u)
        out.append(total)
    return np.stack(out)


def check_every_state(target: Target) -> None:
    """One decay value: all states are reached iff the rows are independent; otherwise an explicit state is refused."""
    state = unreachable_state(target.system)
    least = minimal_prefix_length_mamba2(target.system)
    if state is None:
        require(least == min(stack(target.h0).shape), target)
        return
    require(least == math.inf, target)
    require(reachable_mamba2(target.system, state).verdict in ("obstruction", "boundary"), target)


@dataclass(frozen=True)
class Reading:
    """A target and a readout W_C."""

    target: Target
    W_C: Array


def shortened(r: Reading) -> Array:
    """A state of the least rank with the same function as h_0: h' W_C = h_0 W_C and rank(h') = rank(h_0 W_C)."""
    h = stack(r.target.h0)
    rows = [linalg.solve(r.W_C.T, row) for row in h @ r.W_C]
    return np.array(rows, dtype=object).reshape(r.target.h0.shape)


def check_function(r: Reading) -> None:
    """The outputs that follow are those of h_0 exactly for states with h W_C = h_0 W_C; W_C of full row rank leaves only h_0."""
    heads = heads_of(r.target.system)
    n = heads[0].n_states
    inputs = np.array([[Fraction(int(i == j)) for j in range(heads[0].d_input)] for i in range(heads[0].d_input)], dtype=object)
    same = shortened(r).reshape(len(heads), -1, n)
    for head, h, other in zip(heads, r.target.h0.reshape(len(heads), -1, n), same, strict=True):
        reading = Mamba2Head(head.W_x, head.W_B, r.W_C, dt=head.dt, decay=head.decay)
        require(np.all(reading.run(inputs, h)[0] == reading.run(inputs, other)[0]), r)
        seen = [reading.run([u], h)[0][0] - reading.run([u])[0][0] for u in inputs]  # γ h W_C u for every unit input u
        require(np.all(np.array(seen, dtype=object).T == reading.decay * (h @ r.W_C)), r)
    if linalg.rank(r.W_C) == n:
        require(np.all(same.ravel() == r.target.h0.ravel()), r)


@st.composite
def readings(draw: st.DrawFn, full: bool | None = None) -> Reading:
    """A target with a readout: of full row rank, not, or any."""
    target = draw(targets(groups(2)))
    head = heads_of(target.system)[0]
    n, width = head.n_states, head.d_input
    w = np.array(draw(matrices(n, width, 1)), dtype=object)
    if full:
        w[:, :n] = np.tril(w[:, :n], -1) + np.diag([Fraction(1)] * n)  # unit lower triangular
    elif full is False:
        w[-1] = sum((draw(st.integers(-1, 1)) * row for row in w[:-1]), 0 * w[0])
    return Reading(target, w + Fraction(0))


@st.composite
def clock_rows(draw: st.DrawFn) -> tuple[Mamba2Head, list[Fraction], Fraction, Fraction, Array]:
    """A head with independent rows, any dt row with bias, A, and a nonzero state."""
    target = draw(targets(groups(1)).filter(lambda t: linalg.rank(stack(t.h0)) > 0))
    weight = draw(matrices(1, target.system.d_input, 2))[0]
    return target.system, weight, draw(rationals(2)), Fraction(-1, draw(st.integers(1, 3))), target.h0


def check_softplus(instance: tuple[Mamba2Head, list[Fraction], Fraction, Fraction, Array]) -> float:
    """rank(h_0) tokens leave h_0 under the softplus clock, to the digits of the root search; returns the condition number."""
    head, weight, bias, rate, h0 = instance
    for digits in (30, 60, 120, 240):  # as many as the condition number takes, which large steps raise without bound
        found = softplus_witness(head, weight, bias, rate, h0, digits=digits)
        require(len(found.tokens) == linalg.rank(h0), instance)
        allowed = budget(4 * len(found.tokens) * head.d_input, found.condition, eps=10.0**-digits)
        if allowed < 1:
            break
    require(allowed < 1 and found.error <= allowed, (instance, found.error, allowed))
    return found.condition


@st.composite
def dependent_targets(draw: st.DrawFn) -> Target:
    """Heads of one decay value with arbitrary, mostly dependent rows (narrow inputs), and reachable or arbitrary states."""
    h, p, n, d = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 4))
    w_b = draw(matrices(n, d, 1))
    pool = [*w_b, *draw(matrices(2, d, 1))]  # W_x repeats rows of W_B often
    heads = []
    gamma = draw(decay(negative=False))
    for _ in range(h):
        w_x = [draw(st.sampled_from(pool)) for _ in range(p)]
        heads.append(Mamba2Head(w_x, w_b, dt=draw(st.sampled_from(DTS)), decay=gamma))
    system: Any = heads[0] if h == 1 else Mamba2Group(heads)
    state = state_after(system, draw(matrices(draw(st.integers(1, 2)), d, 1)))
    if draw(st.booleans()):
        return Target(system, state)
    if draw(st.booleans()):
        u, v = (np.array(draw(matrices(1, d, 1))[0], dtype=object) for _ in range(2))  # in the span, of either sign
        parts = [head.dt * (np.outer(head.W_x @ u, head.W_B @ v) + np.outer(head.W_x @ v, head.W_B @ u)) for head in heads]
        return Target(system, state + np.array(parts, dtype=object).reshape(state.shape))
    return Target(system, np.array(draw(matrices(h * p, n, 1)), dtype=object).reshape(state.shape))


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
            require(found.rank == expected, (heads, p, n, m, found))
            require((found.rank == heads * p * n) == (m >= min(heads * p, n)))
            rows.append({"H": heads, "P": p, "N": n, "M": m, "dimension": found.rank, "states": heads * p * n})
    how = "exact Jacobian ranks: M tokens reach dimension M(PH + N − M)"
    return Outcome(Verdict.EXACT, how, "H ≤ 3, P, N ≤ 3", len(rows), data={"table": rows})


def wide_limit(d_model: int, n: int) -> int:
    """The most dimensions that one decay value reaches from R^d_model, whatever M: D·n − n(n − 1)/2 with n = min(N, D).

    h = X S W_Bᵀ with S symmetric; where W_x and W_B have full rank this is the dimension of {S W_Bᵀ}.
    """
    least = min(d_model, n)
    return d_model * least - least * (least - 1) // 2


def certify_wide_blocks(_: Profile) -> Outcome:
    """d_inner = 2·d_model, one decay value: exact dimensions after M tokens stop at wide_limit, short of all P·H·N states."""
    rows = []
    for d, n in ((1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 2)):
        p = 2 * d
        w_x = np.array([[Fraction((3 * i + 5 * j * j + i * j) % 7 - 3) for j in range(d)] for i in range(p)], dtype=object)
        w_b = np.array([[Fraction((2 * i + 3 * j + i * j * j) % 5 - 1) for j in range(d)] for i in range(n)], dtype=object)
        require(linalg.rank(w_x) == d and linalg.rank(w_b) == min(n, d))
        head = Mamba2Head(w_x, w_b, dt=1, decay="1/2")

        def family(v: Array, head: Mamba2Head = head, d: int = d) -> Array:
            h = head.zero_state()
            for u in v.reshape(-1, d):
                h, _ = head.step(h, u)
            return np.asarray(h.ravel())

        ranks = []
        for m in range(1, 2 * n + 2):
            found = dimension_certificate(family, [Fraction((k * k + 5 * k) % 13 - 4, 1 + k % 4) for k in range(m * d)])
            require(found.rank <= min(m * d, wide_limit(d, n)), (d, n, m, found))
            ranks.append(found.rank)
        require(ranks[-1] == wide_limit(d, n) < p * n, (d, n, ranks))
        rows.append({"d_model": d, "d_inner": p, "N": n, "dimension_after_M": ranks, "states": p * n})
    how = "one decay value, d_inner = 2·d_model: dimensions stop below P·H·N however many tokens"
    return Outcome(Verdict.EXACT, how, "d_model, N ≤ 3, M ≤ 2N + 1", len(rows), data={"table": rows})


def released_shapes(_: Profile) -> Outcome:
    """What the released models allow: all rows cannot be independent, those of one head with its dt row can."""
    rows = []
    for name, d_model in MODELS.items():
        d_inner = 2 * d_model
        by_rank = min(d_inner, STATES)
        by_count = -(-d_inner * STATES // d_model)  # M·d_model numbers must fill P·H·N dimensions
        require(d_inner + STATES > d_model and by_count == 2 * STATES > by_rank)
        require(HEAD_DIM + STATES + 1 <= d_model)  # one head alone: W_x, W_B and dt rows fit
        require(wide_limit(d_model, STATES) < d_inner * STATES)
        rows.append(
            {
                "model": name, "d_model": d_model, "rows": d_inner + STATES, "rows_of_one_head": HEAD_DIM + STATES + 1,
                "one_head_by_rank": min(HEAD_DIM, STATES), "all_heads_by_rank": by_rank, "all_heads_by_count": by_count,
                "states": d_inner * STATES, "one_decay_limit": wide_limit(d_model, STATES),
            }
        )  # fmt: skip
    how = (
        f"all heads: d_inner + N > d_model, {rows[0]['all_heads_by_rank']} tokens by rank, "
        f"{rows[0]['all_heads_by_count']} by count; one head: {HEAD_DIM} tokens where its {HEAD_DIM + STATES + 1} rows are "
        "independent"
    )
    return Outcome(Verdict.EXACT, how, ", ".join(MODELS), len(rows), data={"table": rows})
