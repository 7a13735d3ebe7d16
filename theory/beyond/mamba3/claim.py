r"""beyond.mamba3: decays, rotations and a second input tap, all from in_proj, in small exact heads."""

from __future__ import annotations

from dataclasses import dataclass, replace
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

from .head import Head, inverse_step, sign_changes

ONE = Fraction(1)


def exact(rows: Any) -> Array:
    """A matrix of Fractions."""
    return np.array([[Fraction(x) for x in row] for row in rows], dtype=object)


def units(width: int) -> list[Array]:
    """e_1, …, e_D."""
    return list(exact([[int(i == j) for j in range(width)] for i in range(width)]))


def _matrix(draw: st.DrawFn, rows: int, columns: int) -> Array:
    return exact([[draw(ENTRIES) for _ in range(columns)] for _ in range(rows)])


@st.composite
def heads(draw: st.DrawFn, width: int = 2, *, turning: bool = True) -> Head:
    """Any head of P ≤ 2 channels; ``turning``: else no rotation."""
    rows = [(_matrix(draw, 1, width)[0], draw(ENTRIES)) for _ in range(4)]
    turn = rows[3] if turning else (0 * rows[3][0], Fraction(0))
    W_x, W_B, W_C = (_matrix(draw, n, width) for n in (draw(st.integers(1, 2)), 2, 2))
    return Head(W_x, W_B, W_C, rows[0], rows[1], rows[2], turn)


# -- spectrum -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Retuned:
    """A head, wanted a(e_i) > 0, and a head of other projections with the same biases."""

    head: Head
    wanted: tuple[Fraction, ...]
    other: Head


@st.composite
def retunings(draw: st.DrawFn) -> Retuned:
    """Wanted rates between 1/7 and 5."""
    head, other = draw(heads()), draw(heads())
    wanted = tuple(draw(st.sampled_from([Fraction(1, 7), Fraction(1, 2), ONE, Fraction(5)])) for _ in range(2))
    step, rate, turn = ((b[0], a[1]) for a, b in ((head.step, other.step), (head.rate, other.rate), (head.turn, other.turn)))
    return Retuned(head, wanted, replace(other, step=step, rate=rate, turn=turn))


def with_rates(head: Head, wanted: tuple[Fraction, ...]) -> Head:
    """The head with the one row w_a changed, so that a(e_i) is as wanted."""
    row = np.array([inverse_step(a) - head.rate[1] for a in wanted], dtype=object)
    return replace(head, rate=(row, head.rate[1]))


def faster(right: Any) -> Any:
    """Step sizes of another row."""
    return lambda head, wanted: replace(right(head, wanted), step=(head.step[0] + 1, head.step[1]))


def check_spectrum(r: Retuned) -> None:
    """One row of in_proj sets the decays of D independent tokens at unchanged step sizes; at rest nothing moves."""
    tuned = with_rates(r.head, r.wanted)
    rest = 0 * r.head.step[0]
    for u, a in zip(units(2), r.wanted, strict=True):
        require(tuned.delta(u) == r.head.delta(u) and tuned.decay(u) == 1 / (1 + r.head.delta(u) * a), r)
    require(tuned.decay(rest) == r.head.decay(rest) == r.other.decay(rest), r)
    require(np.all(r.other.rotation(rest) == r.head.rotation(rest)), r)


def rate_read(head: Head, u: Array) -> Fraction:
    """(1/α(u) − 1)/Δ(u): what a decay says about a, given the step size."""
    return (1 / head.decay(u) - 1) / head.delta(u)


def frozen_rate(head: Head) -> Head:
    """Mamba-2's: a is one number that no row of in_proj enters."""
    return replace(head, rate=(0 * head.rate[0], head.rate[1]))


def check_mamba2_rate(r: Retuned) -> None:
    """Mamba-2: a decay over its step size says the same on every token and for all projections."""
    for u in units(2):
        require(rate_read(frozen_rate(r.head), u) == rate_read(frozen_rate(r.other), u), r)
        require(rate_read(frozen_rate(r.head), u) == r.head.a(0 * u), r)


# -- rotation -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Turning:
    """Decays and weights of H heads of Mamba-2, and the turn of a Mamba-3 head on the token that is repeated."""

    decays: tuple[Fraction, ...]
    weights: tuple[Fraction, ...]
    turn: Fraction


@st.composite
def turnings(draw: st.DrawFn, *, turn: Fraction = ONE) -> Turning:
    """H ≤ 4."""
    n = draw(st.integers(1, 4))
    decays = tuple(Fraction(draw(st.integers(1, 11)), 12) for _ in range(n))
    return Turning(decays, tuple(draw(ENTRIES) for _ in range(n)), turn)


def mamba2_responses(t: Turning, gaps: int) -> list[Fraction]:
    """Σ_h m_h γ_h^j, what H heads of Mamba-2 answer over j copies of one token."""
    return [sum((m * g**j for m, g in zip(t.weights, t.decays, strict=True)), Fraction(0)) for j in range(gaps)]


def turned_responses(t: Turning, gaps: int) -> list[Fraction]:
    """What one head answers to a first token e_1 over j copies of e_2, whose rotation a row of rank one has set, read by e_1."""
    zero, eye = exact([[0, 0]])[0], exact([[1, 0], [0, 1]])
    row = np.array([Fraction(0), t.turn], dtype=object)
    head = Head(
        exact([[1, 0]]), exact([[1, 0], [0, 0]]), exact([[1, 0], [0, 0]]), (zero, ONE), (zero, ONE), None, (row, Fraction(0))
    )
    out = []
    for j in range(gaps):
        tokens = [*[eye[1]] * j, eye[0]]
        out.append((head.run([eye[0], *tokens])[0][-1] - head.run(tokens)[0][-1])[0])
    return out


def check_signs(t: Turning) -> None:
    """H heads of Mamba-2 change sign at most H − 1 times."""
    require(sign_changes(mamba2_responses(t, 12)) <= len(t.decays) - 1, t)


def out_of_reach(t: Turning) -> bool:
    """The conclusion: on 2H + 1 gaps the turned head changes sign more often than H heads of Mamba-2 can."""
    return sign_changes(turned_responses(t, 2 * len(t.decays) + 1)) > len(t.decays) - 1


def check_turned(t: Turning) -> None:
    """A quarter turn a token is out of reach of H heads of Mamba-2."""
    require(out_of_reach(t), t)


# -- window ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Window:
    """A head, a prefix, tokens after it."""

    head: Head
    prefix: Array
    tokens: Array


@st.composite
def windows(draw: st.DrawFn, *, moving: bool = True) -> Window:
    """A head that reads its last prefix token; ``moving``: its held weight depends on the token, and there is no rotation."""
    head = draw(heads(turning=not moving))
    zero = 0 * head.step[0]
    ones = exact([[1, 1], [0, 1]])
    head = replace(head, W_x=head.W_x * 0 + 1, W_B=ones, W_C=exact([[1, 1], [1, 0]]))
    if moving:
        head = replace(head, step=(exact([[1, 1]])[0], head.step[1]), mix=(zero, head.mix[1] if head.mix else ONE))
    else:
        head = replace(head, step=(zero, head.step[1]), mix=(zero, ONE))
    prefix = _matrix(draw, draw(st.integers(1, 2)), 2)
    prefix[-1] = [Fraction(1), Fraction(draw(st.integers(1, 3)))]
    return Window(head, prefix, _matrix(draw, 2, 2))


def folded(w: Window) -> Array:
    """h + (1 − λ)Δ x_0 B_0ᵀ at a token's weight: the initial state that a prefix is where that weight is constant."""
    _, h = w.head.run(w.prefix)
    last = w.prefix[-1]
    return np.asarray(h + w.head.held(0 * last) * np.outer(w.head.W_x @ last, w.head.W_B @ last))


def is_a_state(w: Window) -> bool:
    """Whether some h_0 answers one token z ∈ {s e_1, s e_2, s(e_1 + e_2) : s = 1, 2, 3} as the prefix does: a linear system."""
    _, h = w.head.run(w.prefix)
    eye = units(2)
    rows, wanted = [], []
    for z in [s * e for s in (1, 2, 3) for e in (*eye, eye[0] + eye[1])]:
        plain = w.head.run([z])[0][0]
        wanted += list(w.head.run([z], h, w.prefix[-1])[0][0] - plain)
        columns = []
        for index in np.ndindex(*h.shape):
            start = 0 * h
            start[index] = ONE
            columns.append(w.head.run([z], start)[0][0] - plain)
        rows.append(np.array(columns, dtype=object).T)
    return linalg.solve(np.concatenate(rows), wanted) is not None


def no_state(w: Window) -> bool:
    """The conclusion: no initial state acts as the prefix."""
    return not is_a_state(w)


def check_window(w: Window) -> None:
    """A prefix acts as its state and its last token; where the held weight depends on the token, as no initial state."""
    require(state_and_token(w), w)
    require(no_state(w), w)


def state_and_token(w: Window) -> bool:
    """Whether the state after the prefix and its last token act as the prefix."""
    after, _ = w.head.run([*w.prefix, *w.tokens])
    _, h = w.head.run(w.prefix)
    return bool(np.all(after[len(w.prefix) :] == w.head.run(w.tokens, h, w.prefix[-1])[0]))


def check_folded(w: Window) -> None:
    """A constant held weight: the prefix is the initial state h + (1 − λ)Δ x_0 B_0ᵀ."""
    require(state_and_token(w), w)
    after, _ = w.head.run([*w.prefix, *w.tokens])
    require(np.all(after[len(w.prefix) :] == w.head.run(w.tokens, folded(w))[0]), w)


def _plain(moving: bool) -> Window:
    """P = 1, all rows ones, Δ = a = 1 and λ = 1/2 at rest, a prefix of the token (1, 1)."""
    zero, row, rest = exact([[0, 0]])[0], exact([[1, 1]])[0], Fraction(0)
    W_B, W_C, one = exact([[1, 1], [0, 1]]), exact([[1, 1], [1, 0]]), exact([[1, 1]])
    head = Head(one, W_B, W_C, (row if moving else zero, rest), (zero, rest), (zero, rest), (zero, rest))
    return Window(head, one, exact([[1, 0], [0, 1]]))


ASSUMPTIONS = (
    Assumption(
        name="a rotation",
        statement="the repeated token turns the state by a quarter",
        predicate=lambda t: t.turn == 1,
        having=turnings,
        lacking=lambda: turnings(turn=Fraction(0)),
        conclusion=out_of_reach,
        counterexample=Counterexample(
            "no rotation",
            lambda: Turning((Fraction(1, 2),), (ONE,), Fraction(0)),
            "without a turn the head is one of Mamba-2 and never changes sign",
        ),
    ),
    Assumption(
        name="a held weight that reads the token",
        statement="(1 − λ(z))Δ(z) is not constant on a ray on which the last token's x_0 B_0 is read",
        predicate=lambda w: bool(np.any(w.head.step[0])),
        having=windows,
        lacking=lambda: windows(moving=False),
        conclusion=no_state,
        counterexample=Counterexample(
            "a constant clock", lambda: _plain(False), "Δ and λ constant: the prefix is the state h + (1 − λ)Δ x_0 B_0ᵀ"
        ),
    ),
)

CLAIM = Claim(
    id="beyond.mamba3",
    title="Mamba-3: one row of in_proj moves decays and turns states; a prefix is a state and a window",
    statement=(
        "A Mamba-3 head as we read it: A, Δ, λ and the rotation are rows of in_proj with biases. Spectrum: LoRA of rank one (on "
        "the row of A) gives D independent tokens any decays at unchanged step sizes, where Mamba-2's (decay, step) pair says "
        "the same A on every token, whatever in_proj is; at rest decays and rotation stay, since only biases enter. Rotation: a "
        "quarter turn a token, again one row, changes the sign of responses over repeated tokens more often than H − 1 times, "
        "which H heads of Mamba-2 without convolution cannot. Window: a prefix acts as its state together with its last token; "
        "it is an initial state, h + (1 − λ)Δ x_0B_0ᵀ, where (1 − λ)Δ is constant, and none where that weight varies on a ray "
        "of tokens that read x_0B_0 (no rotation)."
    ),
    level="head with its rows of in_proj",
    horizon="repeated tokens; 2H + 1 gaps; one token after the prefix",
    parts=tuple(Part(name, argument="derivation") for name in ("spectrum", "rotation", "window")),
    checks=(
        Check(
            "one row sets decays",
            exact_check(check_spectrum, retunings, "rows solved, decays read", "D = 2, P ≤ 2", 0.5),
            "spectrum",
            planted=(
                Planted("the row not moved", swap("with_rates", lambda _: lambda head, wanted: head)),
                Planted("step sizes moved too", swap("with_rates", faster)),
            ),
        ),
        Check(
            "Mamba-2's rate stays",
            exact_check(check_mamba2_rate, retunings, "rates read off decays for drawn projections", "D = 2", 0.5),
            "spectrum",
            planted=(Planted("a row for A", swap("frozen_rate", lambda _: lambda head: head)),),
        ),
        Check(
            "signs of Mamba-2",
            exact_check(check_signs, turnings, "sign changes of sums of positive powers", "H ≤ 4, 12 gaps", 0.5),
            "rotation",
            planted=(Planted("a negative decay", on(lambda: Turning((Fraction(-1, 2),), (ONE,), ONE))),),
        ),
        Check(
            "a quarter turn",
            exact_check(check_turned, turnings, "responses run", "H ≤ 4", 0.1),
            "rotation",
            planted=(Planted("no rotation", on(lambda: Turning((Fraction(1, 2),), (ONE,), Fraction(0)))),),
        ),
        Check(
            "state and window",
            exact_check(check_window, windows, "prefixes run; linear systems for h_0", "P ≤ 2, N = D = 2", 0.3),
            "window",
            planted=(Planted("a constant clock", on(lambda: _plain(False))),),
        ),
        Check(
            "folded",
            exact_check(check_folded, lambda: windows(moving=False), "the folded state run", "P ≤ 2, N = D = 2", 0.3),
            "window",
            planted=(
                Planted("a clock that reads the token", on(lambda: _plain(True))),
                Planted("twice the state", swap("folded", changed(lambda h: 2 * h + 1))),
            ),
        ),
    ),
    assumptions=ASSUMPTIONS,
    readme="theory/beyond/mamba3/README.md",
    source="our formulation of Mamba-3's recurrence as we read it",
    not_claimed=(
        "The published wording and parametrisation; several heads, norms, gates and convolutions; whole functions: that Mamba-2 "
        "misses every target with a decay of its own kind; what sparse tuning of A becomes, of which a head has none that is "
        "not a row of in_proj."
    ),
)
