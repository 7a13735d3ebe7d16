r"""beyond.gated_deltanet: the delta rule as a transition that keys change, in exact numbers.

    S_t = α_t S_{t−1} (I − β_t k_t k_tᵀ/|k_t|²) + v_t k_tᵀ/|k_t|²,     y_t = S_t q_t,     S ∈ R^{P×N}

The published rule adds β_t v_t k_tᵀ/|k_t|, so that v_t here is its β_t |k_t| v_t. Values are free, and so everything is
rational.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.scalars import Array
from theory.core.strategies import ENTRIES
from theory.verification.claim import Assumption, Check, Claim, Counterexample, Part, Planted, exact_check
from theory.verification.planted import changed, on, swap
from theory.verification.refutation import require

HALF = Fraction(1, 2)


def exact(rows: Any) -> Array:
    """A matrix of Fractions."""
    return np.array([[Fraction(x) for x in row] for row in rows], dtype=object)


@dataclass(frozen=True, eq=False)
class Token:
    """What one token gives a head: α, β, k (N,), v (P,) and q (N,)."""

    alpha: Fraction
    beta: Fraction
    k: Array
    v: Array
    q: Array


def transition(token: Token) -> Array:
    """α (I − β k kᵀ/|k|²), or α I for k = 0: what multiplies the state from the right."""
    n = len(token.k)
    eye = exact([[int(i == j) for j in range(n)] for i in range(n)])
    size = token.k @ token.k
    return token.alpha * (eye - token.beta * np.outer(token.k, token.k) / size) if size else token.alpha * eye


def run(tokens: Sequence[Token], start: Array) -> tuple[Array, Array]:
    """Outputs (L, P) and the last state (P, N)."""
    state, outputs = start, []
    for token in tokens:
        size = token.k @ token.k
        state = state @ transition(token) + (np.outer(token.v, token.k) / size if size else 0 * start)
        outputs.append(state @ token.q)
    return np.array(outputs, dtype=object), state


def orthogonal(rows: Array) -> list[Array]:
    """An orthogonal basis of the row space (Gram–Schmidt without square roots)."""
    basis: list[Array] = []
    for row in rows:
        rest = row - sum(((row @ e) / (e @ e) * e for e in basis), 0 * row)
        if np.any(rest):
            basis.append(rest)
    return basis


def prefix_for(state: Array, alpha: Fraction, beta: Fraction) -> list[Token]:
    """As many tokens as the state has rank, keys orthogonal, that leave it from 0."""
    keys = orthogonal(state)
    count = len(keys)
    return [Token(alpha, beta, k, state @ k / alpha ** (count - 1 - i), 0 * k) for i, k in enumerate(keys)]


def _matrix(draw: st.DrawFn, rows: int, columns: int) -> Array:
    return exact([[draw(ENTRIES) for _ in range(columns)] for _ in range(rows)])


GATES = st.sampled_from([Fraction(1), HALF, Fraction(3, 4)])
STRENGTHS = st.sampled_from([Fraction(1), HALF, Fraction(3, 2), Fraction(0)])


@st.composite
def tokens(draw: st.DrawFn, P: int, N: int) -> Token:
    """Any token: keys may be 0."""
    return Token(draw(GATES), draw(STRENGTHS), *(_matrix(draw, 1, size)[0] for size in (N, P, N)))


@dataclass(frozen=True, eq=False)
class Prefix:
    """Tokens, a state to be reached, and a gate and strength for the tokens that reach it."""

    tokens: tuple[Token, ...]
    state: Array
    alpha: Fraction
    beta: Fraction


@st.composite
def prefixes(draw: st.DrawFn) -> Prefix:
    """P, N ≤ 3, M ≤ 3."""
    P, N = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    many = tuple(draw(tokens(P, N)) for _ in range(draw(st.integers(0, 3))))
    return Prefix(many, _matrix(draw, P, N), draw(GATES), draw(STRENGTHS))


def check_rank(p: Prefix) -> None:
    """M tokens leave rank ≤ M, and a state of rank r is left by r tokens."""
    _, left = run(p.tokens, 0 * p.state)
    require(linalg.rank(left) <= len(p.tokens), p)
    found = prefix_for(p.state, p.alpha, p.beta)
    require(len(found) == linalg.rank(p.state), p)
    require(np.all(run(found, 0 * p.state)[1] == p.state), p)


# -- erasure --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Erasure:
    """Tokens, and two states from which they start."""

    tokens: tuple[Token, ...]
    first: Array
    second: Array


@st.composite
def erasures(draw: st.DrawFn, *, full: bool = True, strong: bool = True) -> Erasure:
    """Orthogonal keys that span R^N and β = 1; ``full``: else one key fewer; ``strong``: else the first β is 1/2."""
    P, N = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    eye = exact([[int(i == j) for j in range(N)] for i in range(N)])
    keys = orthogonal(np.concatenate([_matrix(draw, N, N), eye]))[: N if full else N - 1]
    strengths = [Fraction(1) if strong or i else HALF for i in range(len(keys))]
    many = tuple(Token(draw(GATES), b, k, _matrix(draw, 1, P)[0], 0 * k) for b, k in zip(strengths, keys, strict=True))
    first = _matrix(draw, P, N)
    return Erasure(many, first, first + 1 + exact([list(range(N))] * P))


def erased(e: Erasure) -> bool:
    """The conclusion: both starts end in one state."""
    return bool(np.all(run(e.tokens, e.first)[1] == run(e.tokens, e.second)[1]))


def spanning(e: Erasure) -> bool:
    """Whether the keys span R^N."""
    keys = np.array([t.k for t in e.tokens], dtype=object).reshape(len(e.tokens), e.first.shape[1])
    return linalg.rank(keys) == e.first.shape[1]


def check_erased(e: Erasure) -> None:
    """Where the tokens started does not show after them."""
    require(erased(e), e)


def one_token(beta: Fraction, keys: int = 1) -> Erasure:
    """P = N = 1, α = 1, states 0 and 1."""
    one = exact([[1]])
    many = (Token(Fraction(1), beta, one[0], 0 * one[0], one[0]),) * keys
    return Erasure(many, 0 * one, one)


# -- spectrum -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Period:
    """Two tokens that alternate, keys not 0."""

    first: Token
    second: Token


@st.composite
def periods(draw: st.DrawFn) -> Period:
    """N = 2 or 3."""
    N = draw(st.integers(2, 3))

    def token() -> Token:
        k = _matrix(draw, 1, N)[0]
        return Token(draw(GATES), draw(STRENGTHS), k if np.any(k) else k + 1, 0 * k[:1], k)

    return Period(token(), token())


def power_sums(matrix: Array, count: int) -> list[Fraction]:
    """Traces of the first powers, which determine the eigenvalues."""
    power, sums = matrix, []
    for _ in range(count):
        sums.append(sum((power[i, i] for i in range(len(matrix))), Fraction(0)))
        power = power @ matrix
    return sums


def repeated_eigenvalues(token: Token) -> list[Fraction]:
    """Of one token repeated: α, N − 1 times, and α(1 − β); the key does not enter."""
    return [token.alpha] * (len(token.k) - 1) + [token.alpha * (1 - token.beta)]


def squared_cosine(p: Period) -> Fraction:
    """cos² of the angle between the keys."""
    a, b = p.first.k, p.second.k
    inner: Any = a @ b
    sizes: Any = (a @ a) * (b @ b)
    return Fraction(inner * inner, 1) / sizes


def period_traces(p: Period) -> list[Fraction]:
    """Traces of the powers over a period: of α_1α_2, N − 2 times, and of the two roots in the keys' span."""
    n, gate = len(p.first.k), p.first.alpha * p.second.alpha
    b1, b2 = p.first.beta, p.second.beta
    trace, product = 2 - b1 - b2 + b1 * b2 * squared_cosine(p), (1 - b1) * (1 - b2)
    sums = [Fraction(2), trace]
    for _ in range(n):
        sums.append(trace * sums[-1] - product * sums[-2])
    return [gate**k * (n - 2 + sums[k]) for k in range(1, n + 1)]


def check_spectrum(p: Period) -> None:
    """Eigenvalues of one token do not know the key; those of a period of two know the angle between the keys."""
    n = len(p.first.k)
    values = repeated_eigenvalues(p.first)
    require(power_sums(transition(p.first), n) == [sum((x**k for x in values), Fraction(0)) for k in range(1, n + 1)], p)
    require(power_sums(transition(p.first) @ transition(p.second), n) == period_traces(p), p)


def check_moved(p: Period) -> None:
    """The second key turned onto the first, a rank-one update of W_k, moves the spectrum of the period iff β_1β_2 ≠ 0, c² ≠ 1."""
    aligned = Period(p.first, Token(p.second.alpha, p.second.beta, p.first.k, p.second.v, p.second.q))
    moved = period_traces(p) != period_traces(aligned)
    require(moved == (p.first.beta * p.second.beta != 0 and squared_cosine(p) != 1), p)


# -- gauge ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Gauge:
    """Tokens with keys and queries, and a matrix G: keys G k, queries G^{−T} q."""

    tokens: tuple[Token, ...]
    G: Array


def rotated(g: Gauge) -> tuple[Token, ...]:
    """The tokens in the gauge G, values scaled so that v kᵀ/|k|² is S's right-hand side times Gᵀ."""
    inverse = linalg.inverse(g.G).T
    out = []
    for t in g.tokens:
        k = g.G @ t.k
        scale = (k @ k) / (t.k @ t.k) if np.any(t.k) else Fraction(1)
        out.append(Token(t.alpha, t.beta, k, scale * t.v, inverse @ t.q))
    return tuple(out)


def same_outputs(g: Gauge) -> bool:
    """The conclusion: the gauge does not show."""
    start = exact([[0] * len(g.G)] * len(g.tokens[0].v))
    return bool(np.all(run(g.tokens, start)[0] == run(rotated(g), start)[0]))


ROTATIONS = (exact([[3, -4], [4, 3]]) / 5, exact([[0, 1], [1, 0]]), exact([[1, 0], [0, -1]]), 2 * exact([[5, 12], [-12, 5]]) / 13)


@st.composite
def gauges(draw: st.DrawFn, *, conformal: bool = True) -> Gauge:
    """N = 2, P = 1, three tokens; G a multiple of an orthogonal matrix, or diag(2, 1)."""
    many = tuple(draw(tokens(1, 2)) for _ in range(3))
    return Gauge(many, draw(st.sampled_from(ROTATIONS)) if conformal else exact([[2, 0], [0, 1]]))


def stretched() -> Gauge:
    """Keys e_1 and e_1 + e_2, β = 1, G = diag(2, 1): the angle between the keys changes."""
    e1, both, one = exact([[1, 0]])[0], exact([[1, 1]])[0], exact([[1]])[0]
    first = Token(Fraction(1), Fraction(1), e1, one, e1)
    return Gauge((first, Token(Fraction(1), Fraction(1), both, 0 * one, e1)), exact([[2, 0], [0, 1]]))


def check_gauge(g: Gauge) -> None:
    """Orthogonal matrices and their multiples are gauges."""
    require(same_outputs(g), g)


def is_conformal(g: Gauge) -> bool:
    """Whether GᵀG is a multiple of I."""
    product = g.G.T @ g.G
    return not np.any(product - product[0, 0] * exact([[int(i == j) for j in range(len(g.G))] for i in range(len(g.G))]))


ASSUMPTIONS = (
    Assumption(
        name="keys that span",
        statement="orthogonal keys span R^N",
        predicate=spanning,
        having=erasures,
        lacking=lambda: erasures(full=False),
        conclusion=erased,
        counterexample=Counterexample("no token", lambda: one_token(Fraction(1), 0), "N = 1, no token: the start stays"),
    ),
    Assumption(
        name="full strength",
        statement="β = 1",
        predicate=lambda e: all(t.beta == 1 for t in e.tokens),
        having=erasures,
        lacking=lambda: erasures(strong=False),
        conclusion=erased,
        counterexample=Counterexample("half strength", lambda: one_token(HALF), "N = 1, β = 1/2: half of the start remains"),
    ),
    Assumption(
        name="a conformal gauge",
        statement="GᵀG is a multiple of I",
        predicate=is_conformal,
        having=gauges,
        lacking=lambda: gauges(conformal=False),
        conclusion=same_outputs,
        counterexample=Counterexample(
            "stretched keys",
            stretched,
            "keys e_1, e_1 + e_2, β = 1, G = diag(2, 1): W_qᵀW_k is the same, the angle between the keys is not",
        ),
    ),
)

CLAIM = Claim(
    id="beyond.gated_deltanet",
    title="gated DeltaNet: rank ≤ M carries over; frozen spectra, GL(N) gauges and lasting initial states do not",
    statement=(
        "One head S_t = α_t S_{t−1}(I − β_t k̂_t k̂_tᵀ) + v_t k_tᵀ/|k_t|². Rank: M tokens leave rank ≤ M, and a state of rank r "
        "is left by r tokens (carries over from Mamba-2). Erasure: N tokens with orthogonal keys, none 0, and β = 1 leave a "
        "state that does not depend on S_0, so that an initial state is exactly forgotten (on Mamba-2 never). Spectrum: a token "
        "repeated has the eigenvalues α and α(1 − β) whatever its key k ≠ 0 is, but over a period of two tokens they depend on "
        "the angle between the keys, so that LoRA of rank one on W_k moves them if β_1β_2 ≠ 0 (on Mamba-2 they are α_1α_2). "
        "Gauge: (W_k, W_q) → (G W_k, G^{−T} W_q) with v → v|G k|²/|k|² keeps the function for conformal G, not for all of "
        "GL(N), N ≥ 2, so that W_qᵀW_k does not determine it."
    ),
    level="head, free keys, values and queries",
    horizon="all L",
    parts=tuple(Part(name, argument="derivation") for name in ("rank", "erasure", "spectrum", "gauge")),
    checks=(
        Check(
            "ranks",
            exact_check(check_rank, prefixes, "tokens run, prefixes with orthogonal keys run", "P, N, M ≤ 3", 0.5),
            "rank",
            planted=(
                Planted("keys that are not orthogonal", swap("orthogonal", lambda _: lambda rows: list(rows))),
                Planted("another state", swap("prefix_for", lambda right: lambda s, a, b: right(2 * s, a, b))),
            ),
        ),
        Check(
            "erased",
            exact_check(check_erased, erasures, "two starts run", "P ≤ 2, N ≤ 3", 0.5),
            "erasure",
            planted=(
                Planted("half strength", on(lambda: one_token(HALF))),
                Planted("no token", on(lambda: one_token(Fraction(1), 0))),
            ),
        ),
        Check(
            "eigenvalues",
            exact_check(check_spectrum, periods, "traces of powers of the transitions", "N = 2, 3", 0.5),
            "spectrum",
            planted=(
                Planted("the angle forgotten", swap("squared_cosine", changed(lambda c: 0 * c))),
                Planted("strength forgotten", swap("repeated_eigenvalues", lambda _: lambda t: [t.alpha] * len(t.k))),
            ),
        ),
        Check(
            "one key turned",
            exact_check(check_moved, periods, "spectra of the period before and after", "N = 2, 3", 0.5),
            "spectrum",
            planted=(Planted("the angle forgotten", swap("squared_cosine", changed(lambda c: 0 * c))),),
        ),
        Check(
            "gauges",
            exact_check(check_gauge, gauges, "three tokens run in both gauges", "N = 2, P = 1", 0.5),
            "gauge",
            planted=(Planted("stretched keys", on(stretched)),),
        ),
    ),
    assumptions=ASSUMPTIONS,
    readme="theory/beyond/gated_deltanet/README.md",
    source="our formulation of the recurrence of Yang, Kautz and Hatamizadeh (arXiv 2412.06464)",
    not_claimed="Several heads together, convolutions, norms and gates of the block; which functions determine W_k and W_q.",
)
