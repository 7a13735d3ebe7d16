r"""prefix_state.mamba2: a prefix of M tokens leaves Mamba-2 a state of rank ≤ M, jointly for heads that share B."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
import sympy
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.ssd import Mamba2Group, Mamba2Head
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
    run_instances,
)
from theory.verification.planted import changed, giving, swap
from theory.verification.refutation import require

from ..reach.mamba2 import heads_of, independent_rows, reachable_mamba2
from .instances import (
    DTS,
    Reading,
    Target,
    certify_dimensions,
    certify_wide_blocks,
    check_dependent,
    check_every_state,
    check_function,
    check_held_clock,
    check_rank_limit,
    check_softplus,
    check_witness,
    clock_rows,
    dependent_targets,
    groups,
    prefixes,
    readings,
    released_shapes,
    shortened,
    stack,
    targets,
)


def stepped(h: Any, decay: Any, dt: Any, x: Any, b: Any) -> Any:
    """γ h + dt x bᵀ: the state after one more token."""
    return decay * h + dt * x * b.T


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
            h = stepped(h, g, dt, w_x * u, w_b * u)
        for minor in _minors(h, m + 1):
            require(sympy.expand(minor) == 0, (p, n, m))
            count += 1
    h0 = sympy.Matrix(2, 2, sympy.symbols("h0:4"))
    g, dt = sympy.symbols("gamma dt", positive=True)
    # tokens (x, B) = (first column/(γ dt), e_1) and then (second column/dt, e_2)
    left = g * dt * (h0[:, 0] / (g * dt)) * sympy.Matrix([[1, 0]]) + dt * (h0[:, 1] / dt) * sympy.Matrix([[0, 1]])
    require(sympy.expand(left - h0) == sympy.zeros(2, 2))
    count += _prove_completion()
    return Outcome(
        Verdict.EXACT,
        "a token adds a matrix of rank one to the stack; independent rows make every rank-one term available; minors checked",
        "any P, N, H, M (derivation); P, N ≤ 3, M ≤ 2 with symbols",
        instances=count + 1,
    )


def _minors(matrix: sympy.Matrix, size: int) -> list[sympy.Expr]:
    rows, columns = matrix.shape
    return [
        matrix.extract(list(r), list(c)).det(method="berkowitz")
        for r in combinations(range(rows), size)
        for c in combinations(range(columns), size)
    ]


def _prove_completion() -> int:
    """The completion with symbols: S_aa = L w Lᵀ + g gᵀ, S_bb alike, gives S = Σ of two squares with the blocks that h fixes."""
    left, r, w, g, e, c = sympy.symbols("l r w g e c")
    tokens = ((w, sympy.Matrix([left, c, r])), (1, sympy.Matrix([g, 0, e])))
    s = sum((weight * u * u.T for weight, u in tokens), sympy.zeros(3, 3))
    fixed = sympy.Matrix([[w * left * c, w * left * r + g * e], [w * c * c, w * c * r]])  # [[S_ac, S_ab], [S_cc, S_cb]]
    require(sympy.expand(s.extract([0, 1], [1, 2]) - fixed) == sympy.zeros(2, 2))
    schur = fixed[0, 1] - fixed[0, 0] * fixed[1, 1] / fixed[1, 0]
    require(sympy.simplify(schur - g * e) == 0)  # rank S = rank S_cc + rank of the Schur complement
    require(sympy.simplify(fixed.det() + g * e * w * c * c) == 0)  # = rank h: both vanish together
    return 3


def token_size(c: Any, slope: Any, offset: Any) -> Any:
    """c·softplus(slope·c + offset): what a token scaled by c adds to the state."""
    return c * sympy.log(1 + sympy.exp(slope * c + offset))


def prove_clock(_: Profile) -> Outcome:
    """One head, dt = softplus(w·u + β): c·softplus(αc + b) is 0 at 0, increasing and unbounded for α ≥ 0, bounded for α < 0."""
    c, b = sympy.symbols("c b", real=True)
    alpha = sympy.symbols("alpha", positive=True)

    for slope in (alpha, sympy.Integer(0)):
        f = token_size(c, slope, b)
        require(f.subs(c, 0) == 0)
        require(sympy.limit(f, c, sympy.oo) == sympy.oo)
        rate = sympy.log(1 + sympy.exp(slope * c + b)) + c * slope * sympy.exp(slope * c + b) / (1 + sympy.exp(slope * c + b))
        require(sympy.simplify(sympy.diff(f, c) - rate) == 0)  # positive for c > 0: a sum of a positive and a non-negative term
    require(
        sympy.limit(token_size(c, -alpha, b), c, sympy.oo) == 0
    )  # continuous on [0, ∞) with limit 0: bounded, so the sign is needed
    how = "scale and sign: c·softplus(|α|c + b) meets every positive value once (intermediate value), tokens chosen backwards"
    return Outcome(Verdict.EXACT, how, "one head, any P, N, w, β, A (derivation); limits with symbols", instances=3)


def measure_softplus(profile: Profile) -> Outcome:
    """The construction itself, 30 digits, on sampled heads."""
    worst = [1.0]

    def test(instance: Any) -> None:
        worst[0] = max(worst[0], check_softplus(instance))

    n = run_instances(test, clock_rows(), profile.scaled(0.25), profile.seed)
    how = "softplus clock: rank(h_0) tokens built with 30 digits, state stepped with 60"
    return Outcome(Verdict.NUMERIC, how, "P ≤ 2, N ≤ 3", n, tolerance=budget(40, worst[0], eps=10.0**-30), condition=worst[0])


# -- assumptions ----------------------------------------------------------------------------------------------------------


def _reached(target: Target) -> bool:
    limit = {} if target.tokens is None else {"max_length": target.tokens}
    return reachable_mamba2(target.system, target.h0, **limit).verdict == "witness"


def _none_shorter(r: Reading) -> bool:
    """Whether no state of smaller rank has the function of h_0 (so that no shorter prefix does)."""
    return linalg.rank(stack(shortened(r))) == linalg.rank(stack(r.target.h0))


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
        name="independent projection rows",
        statement="the rows of W_x (all heads of the group) and W_B are linearly independent",
        predicate=lambda t: independent_rows(t.system),
        having=targets,
        lacking=lambda: dependent_targets().filter(lambda t: not independent_rows(t.system)),
        conclusion=_reached,
        counterexample=Counterexample(
            "W_B = W_x",
            lambda: Target(Mamba2Head([[1]], [[1]], dt=1, decay="1/2"), np.array([[Fraction(-1)]], dtype=object)),
            "P = N = 1, W_x = W_B = (1): every token adds dt u² ≥ 0, so h_0 = −1 is out of reach",
        ),
    ),
    Assumption(
        name="M ≥ min(P·H, N), heads counted jointly",
        statement="as many tokens as the smaller side of the stacked state, all heads that share B counted together",
        predicate=_enough,
        having=lambda: _with_length(True),
        lacking=lambda: _with_length(False),
        conclusion=_reached,
        counterexample=Counterexample(
            "two heads, one token",
            lambda: Target(Mamba2Group(_TWO_HEADS), np.array([[[1, 0]], [[0, 1]]], dtype=object) * Fraction(1), 1),
            "H = 2, P = 1, N = 2, M = 1 = min(P, N): both heads get multiples of one B, so ((1, 0), (0, 1)) needs two tokens",
        ),
    ),
    Assumption(
        name="W_C has full row rank, for functions",
        statement="the rows of W_C are independent: later outputs determine h_0, so a function needs as many tokens as its state",
        predicate=lambda r: linalg.rank(r.W_C) == len(r.W_C),
        having=lambda: readings(True),
        lacking=lambda: readings(False),
        conclusion=_none_shorter,
        counterexample=Counterexample(
            "a readout of one direction",
            lambda: Reading(
                Target(
                    Mamba2Head([[1, 0, 0, 0], [0, 1, 0, 0]], [[0, 0, 1, 0], [0, 0, 0, 1]], dt=1, decay="1/2"),
                    np.array([[1, 0], [0, 1]], dtype=object) * Fraction(1),
                ),
                np.array([[1, 0, 0, 0], [0, 0, 0, 0]], dtype=object) * Fraction(1),
            ),
            "P = N = 2, W_C = (e_1; 0), h_0 = I: only the first column of h_0 is read, so one token has the same outputs",
        ),
    ),
)

LONGER_TOKENS = Planted(
    "tokens twice as long",
    swap(
        "reachable_mamba2",
        changed(
            lambda r: replace(
                r,
                prefix=[[2 * x for x in u] for u in r.prefix or []],
                tokens=[(s, u, 4 * w) for s, u, w in r.tokens or []],
            )
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
        "reach every initial state iff M ≥ min(P·H, N). One head with dt = softplus(w·u + β): the same, whatever w. Heads of one "
        "decay value with any rows: h_0 of rank k is reached, then by k tokens, iff it is X S W_Bᵀ for some S ⪰ 0 (decided "
        "by the block of S on row(W_x) ∩ row(W_B)); every state is reached iff the rows are independent."
    ),
    level="module (tokens enter the projections, no convolution or activation between); functions where W_C has full row rank",
    horizon="any",
    parts=(
        Part("rank limit and witness", argument="derivation"),
        Part("clock", argument="derivation"),
        Part("softplus clock", argument="derivation"),
        Part("dependent rows", argument="derivation"),
        Part("functions", argument="derivation"),
    ),
    checks=(
        Check(
            "symbolic minors",
            prove_symbolically,
            part="rank limit and witness",
            planted=(
                Planted(
                    "a state that does not start at zero",
                    swap("stepped", changed(lambda h: h + sympy.eye(*h.shape))),
                ),
            ),
        ),
        Check(
            "rank limit",
            exact_check(
                check_rank_limit, prefixes, "rank of the stacked state, any clock and projections", "P, N ≤ 3, H ≤ 2, M ≤ 3", 0.25
            ),
            part="rank limit and witness",
            planted=(
                Planted(
                    "one token more than counted",
                    swap(
                        "state_after",
                        lambda right: (
                            lambda system, prefix: right(system, [*prefix, [Fraction(k * k + 1) for k in range(len(prefix[0]))]])
                        ),
                    ),
                ),
            ),
        ),
        Check(
            "witness",
            exact_check(
                check_witness,
                targets,
                "rank(h_0) tokens, stepped exactly; one fewer refused by a minor",
                "P ≤ 2, N ≤ 3, H ≤ 3",
                0.5,
            ),
            part="rank limit and witness",
            planted=(
                LONGER_TOKENS,
                Planted(
                    "one token too many called least",
                    swap("reachable_mamba2", changed(lambda r: replace(r, length=None if r.length is None else r.length + 1))),
                ),
            ),
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
            planted=(LONGER_TOKENS,),
        ),
        Check(
            "scale and sign of a token",
            prove_clock,
            part="softplus clock",
            planted=(Planted("size without the token itself", swap("token_size", changed(lambda size: size + 1))),),
        ),
        Check(
            "softplus tokens",
            measure_softplus,
            part=None,
            planted=(
                Planted(
                    "one token left out",
                    swap(
                        "theory.prefix_state.mamba2.instances:softplus_witness",
                        changed(lambda found: replace(found, tokens=found.tokens[1:])),
                    ),
                ),
            ),
        ),
        Check(
            "dependent rows",
            exact_check(
                check_dependent,
                dependent_targets,
                "one decay value, any rows: exact tokens of least number, or a functional and its face",
                "D ≤ 4, P, N, H ≤ 2",
                0.5,
            ),
            part="dependent rows",
            planted=(
                LONGER_TOKENS,
                Planted(
                    "functionals of the wrong sign",
                    swap(
                        "reachable_mamba2",
                        changed(
                            lambda r: replace(
                                r, ell=None if r.ell is None else -r.ell, value=None if r.value is None else -r.value
                            )
                        ),
                    ),
                ),
            ),
        ),
        Check(
            "every state",
            exact_check(
                check_every_state,
                lambda: st.one_of(dependent_targets(), targets(groups(1))),
                "dependent rows leave out an explicit state, independent rows none",
                "D ≤ 5, P, N ≤ 3",
                0.5,
            ),
            part="dependent rows",
            planted=(Planted("no state called unreachable", swap("unreachable_state", giving(None))),),
        ),
        Check(
            "functions",
            exact_check(check_function, readings, "outputs depend on h_0 W_C only and determine it", "P ≤ 2, N ≤ 3, H ≤ 2", 0.25),
            part="functions",
            planted=(Planted("twice the state", swap("shortened", changed(lambda h: 2 * h))),),
        ),
        Check(
            "dimensions",
            certify_dimensions,
            part=None,
            planted=(
                Planted(
                    "one dimension fewer",
                    swap("dimension_certificate", changed(lambda found: replace(found, rank=found.rank - 1))),
                ),
            ),
        ),
        Check(
            "d_inner = 2·d_model",
            certify_wide_blocks,
            part=None,
            planted=(Planted("one dimension more than the limit", swap("wide_limit", changed(lambda limit: limit - 1))),),
        ),
        Check(
            "released shapes",
            released_shapes,
            part=None,
            planted=(Planted("a limit above all states", swap("wide_limit", lambda _: lambda d_model, n: 2 * d_model * n)),),
        ),
    ),
    assumptions=ASSUMPTIONS,
    readme="theory/prefix_state/mamba2/README.md",
    not_claimed=(
        "Several decay values with dependent rows: span, rank, each decay value, and S6 where W_B = T W_x; otherwise open. "
        "Several heads whose softplus clocks share rows with W_x and W_B. Tokens before the convolution or the activation. "
        "Released blocks have d_inner = 2·d_model: one head alone can have independent rows, all heads together cannot."
    ),
)
