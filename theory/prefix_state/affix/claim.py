r"""prefix_state.affix: tokens inserted anywhere in a sequence, their outputs dropped, against prefixes and initial states.

An affix after position p of a sequence acts as one affine map of the state there:  h_p ← Γ ∘ h_p + δ,  Γ the product of its
tokens' decays, δ the state that it leaves from 0. A prefix is an affix at p = 0, where h_0 = 0 and Γ does not show.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.scalars import Array
from theory.core.selective import SelectiveSSM
from theory.core.strategies import ENTRIES, selective
from theory.verification.claim import Assumption, Check, Claim, Counterexample, Part, Planted, exact_check
from theory.verification.planted import changed, on, swap
from theory.verification.refutation import require

from ..contained.claim import rational_clock


def exact(rows: Any) -> Array:
    """A matrix of Fractions."""
    return np.array([[Fraction(x) for x in row] for row in rows], dtype=object)


@dataclass(frozen=True, eq=False)
class Setting:
    """A module, tokens (M, D) of an affix, the position after which it stands, and the length of the sequence."""

    module: SelectiveSSM
    affix: Array
    position: int
    length: int


def jump(module: SelectiveSSM, affix: Array) -> tuple[Array, Array]:
    """Γ and δ, both (D, N)."""
    gamma = module.zero_state() + 1
    for z in affix:
        gamma = gamma * module.clock(z)[1]
    return gamma, module.run(affix)[1]


def with_affix(s: Setting, tokens: Array) -> Array:
    """The outputs of the sequence, the affix run as tokens and its outputs dropped."""
    outputs = s.module.run(np.concatenate([tokens[: s.position], s.affix, tokens[s.position :]]))[0]
    return np.concatenate([outputs[: s.position], outputs[s.position + len(s.affix) :]])


def with_jump(s: Setting, tokens: Array) -> Array:
    """The outputs of the sequence with h_p ← Γ ∘ h_p + δ."""
    gamma, delta = jump(s.module, s.affix)
    before, h = s.module.run(tokens[: s.position])
    after, _ = s.module.run(tokens[s.position :], gamma * h + delta)
    return np.concatenate([before, after])


def _matrix(draw: st.DrawFn, rows: int, columns: int) -> Array:
    return exact([[draw(ENTRIES) for _ in range(columns)] for _ in range(rows)]) if rows else np.zeros((0, columns), dtype=object)


@st.composite
def runs(draw: st.DrawFn) -> tuple[Setting, Array, Array]:
    """A module with any clock, an affix of at most three tokens anywhere, the sequence, a second affix."""
    module = draw(selective((1, 2), (1, 2), distinct=False))
    d, n = module.n_channels, module.n_states
    if draw(st.booleans()):
        rates = exact([[draw(st.integers(1, 3)) for _ in range(n)] for _ in range(d)])
        module = SelectiveSSM(module.W_B, module.W_C, clock=rational_clock(rates))
    length = draw(st.integers(1, 4))
    setting = Setting(module, _matrix(draw, draw(st.integers(0, 3)), d), draw(st.integers(0, length)), length)
    return setting, _matrix(draw, length, d), _matrix(draw, 2, d)


def check_jump(run: tuple[Setting, Array, Array]) -> None:
    """An affix is its jump; two affixes at one place compose; outputs up to p stay, so that a suffix does nothing."""
    s, tokens, second = run
    require(np.all(with_affix(s, tokens) == with_jump(s, tokens)), s)
    plain = s.module.run(tokens)[0]
    require(np.all(with_affix(s, tokens)[: s.position] == plain[: s.position]), s)
    both = replace(s, affix=np.concatenate([s.affix, second]))
    gamma, delta = jump(s.module, s.affix)
    then, more = jump(s.module, second)
    composed, left = jump(s.module, both.affix)
    require(np.all(composed == then * gamma) and np.all(left == then * delta + more), s)


# -- constant clocks: what an affix has in common with initial states -----------------------------------------------------


def visible(module: SelectiveSSM) -> bool:
    """Whether the module remembers: Σ_{n: E_dn = e} C_nᵀ B_n ≠ 0 for some channel d and decay e."""
    decay, C, B = module.decay, module.W_C, module.W_B
    for row in np.asarray(decay):
        for e in set(row):
            members = [n for n, x in enumerate(row) if x == e]
            if np.any(sum((np.outer(np.asarray(C)[n], np.asarray(B)[n]) for n in members), 0 * np.outer(B[0], B[0]))):
                return True
    return False


def enough(s: Setting) -> bool:
    """L ≥ p + ν, ν the largest number of different decays of a channel."""
    return s.length >= s.position + max(len(set(row)) for row in np.asarray(s.module.decay))


def units(s: Setting) -> list[Array]:
    """Sequences of length L with at most one token e_i or e_i + e_j before p and one after: enough for constant clocks."""
    d = s.module.n_channels
    basis = list(exact([[int(i == j) for j in range(d)] for i in range(d)]))
    basis += [a + b for i, a in enumerate(basis) for b in basis[:i]]
    zero = 0 * basis[0]
    out = []
    for before, after in product([zero, *basis], basis):
        for t in range(s.position, s.length):
            tokens = [zero] * s.length
            if s.position:
                tokens[s.position - 1] = before
            tokens[t] = after
            out.append(np.array(tokens, dtype=object))
    return out


def is_a_state(s: Setting) -> bool:
    """Whether some initial state acts as the affix on these sequences: a linear system, each row from two runs."""
    d, n = s.module.n_channels, s.module.n_states
    rows, wanted = [], []
    for tokens in units(s):
        plain = s.module.run(tokens)[0]
        wanted += list((with_affix(s, tokens) - plain).ravel())
        columns = []
        for index in np.ndindex(d, n):
            h = s.module.zero_state()
            h[index] = Fraction(1)
            columns.append((s.module.run(tokens, h)[0] - plain).ravel())
        rows.append(np.array(columns, dtype=object).T)
    return linalg.solve(np.concatenate(rows), wanted) is not None if rows else True


def no_state(s: Setting) -> bool:
    """The conclusion: no initial state, hence no prefix, acts as the affix."""
    return not is_a_state(s)


@st.composite
def constant(
    draw: st.DrawFn, *, position: int | None = None, short: bool = False, blind: bool = False, empty: bool = False
) -> Setting:
    """A module with a constant clock that remembers (``blind``: W_B = 0), p ≥ 1, one or two tokens, L ≥ p + ν."""
    module = draw(selective((1, 2), (1, 2), distinct=False))
    d = module.n_channels
    W_B, W_C = (np.asarray(w) for w in (module.W_B, module.W_C))
    if blind:
        W_B = 0 * W_B
    elif not visible(module):
        W_B, W_C = W_B * 0 + 1, W_C * 0 + 1
    module = SelectiveSSM(W_B, W_C, dt=module.dt, decay=module.decay)
    p = draw(st.integers(1, 2)) if position is None else position
    nu = max(len(set(row)) for row in np.asarray(module.decay))
    return Setting(module, _matrix(draw, 0 if empty else draw(st.integers(1, 2)), d), p, p if short else p + nu)


def check_no_state(s: Setting) -> None:
    """An affix with something before and after it is no initial state and changes something."""
    require(no_state(s), s)
    require(any(np.any(with_affix(s, tokens) != s.module.run(tokens)[0]) for tokens in units(s)), s)


def check_prefix(s: Setting) -> None:
    """At p = 0 the affix is the initial state δ."""
    _, delta = jump(s.module, s.affix)
    for tokens in units(s):
        require(np.all(with_affix(s, tokens) == s.module.run(tokens, delta)[0]), s)


def smallest(*, position: int = 1, length: int = 2, tokens: int = 1, W_B: int = 1) -> Setting:
    """D = N = 1, decay 1/2, W_C = 1, an affix of tokens 0."""
    module = SelectiveSSM([[W_B]], [[1]], dt=1, decay=[["1/2"]])
    return Setting(module, exact([[0]] * tokens) if tokens else np.zeros((0, 1), dtype=object), position, length)


def _assumption(name: str, statement: str, predicate: Any, lacking: Any, counterexample: Counterexample) -> Assumption:
    return Assumption(
        name=name,
        statement=statement,
        predicate=predicate,
        having=constant,
        lacking=lacking,
        conclusion=no_state,
        counterexample=counterexample,
    )


ASSUMPTIONS = (
    _assumption(
        "tokens before it",
        "p ≥ 1",
        lambda s: s.position >= 1,
        lambda: constant(position=0),
        Counterexample("a prefix", lambda: smallest(position=0), "p = 0: the affix is the initial state that it leaves"),
    ),
    _assumption(
        "enough tokens after it",
        "L ≥ p + ν, ν the largest number of different decays of a channel",
        enough,
        lambda: constant(short=True),
        Counterexample("a suffix", lambda: smallest(length=1), "L = p = 1: it comes last and changes nothing, as h_0 = 0 does"),
    ),
    _assumption(
        "a module that remembers",
        "Σ_{n: E_dn = e} C_nᵀ B_n ≠ 0 for some channel d and decay e",
        lambda s: visible(s.module),
        lambda: constant(blind=True),
        Counterexample("no input", lambda: smallest(W_B=0), "W_B = 0: nothing is remembered"),
    ),
    _assumption(
        "at least one token",
        "M ≥ 1",
        lambda s: len(s.affix) >= 1,
        lambda: constant(empty=True),
        Counterexample("an empty affix", lambda: smallest(tokens=0), "M = 0: nothing changes, as with h_0 = 0"),
    ),
)

CLAIM = Claim(
    id="prefix_state.affix",
    title="an affix is one affine jump of the state; behind the first token it is no initial state",
    statement=(
        "S6, module level. M tokens inserted after position p, their outputs dropped, act exactly as h_p ← Γ∘h_p + δ, with "
        "any clock: Γ the product of their decays, δ the state that they leave from 0. Affixes at one place compose; a "
        "prefix is p = 0 (the initial state δ), a suffix does nothing. For constant clocks, p ≥ 1, M ≥ 1, L ≥ p + ν and a "
        "module that remembers (Σ_{E_dn = e} C_nᵀB_n ≠ 0 for some d, e) no initial state and no prefix acts as the affix, "
        "whatever its tokens are: what came before is scaled by Γ = E^M ≠ 1."
    ),
    level="module",
    horizon="all L for the jump; L ≥ p + ν",
    parts=(Part("jump", argument="derivation"), Part("no state", argument="derivation")),
    checks=(
        Check(
            "jump",
            exact_check(check_jump, runs, "affixes run as tokens against the affine map", "D, N ≤ 2, M ≤ 5, L ≤ 4", 0.5),
            "jump",
            planted=(
                Planted("the past forgotten", swap("jump", changed(lambda j: (0 * j[0], j[1])))),
                Planted("the past kept", swap("jump", changed(lambda j: (0 * j[0] + 1, j[1])))),
            ),
        ),
        Check(
            "a prefix is a state",
            exact_check(check_prefix, lambda: constant(position=0), "h_0 = δ run", "D, N ≤ 2, M ≤ 2", 0.2),
            "jump",
            planted=(Planted("twice the state", swap("jump", changed(lambda j: (j[0], 2 * j[1] + 1)))),),
        ),
        Check(
            "no state",
            exact_check(check_no_state, constant, "linear systems for h_0, modules run", "D, N ≤ 2, M, p ≤ 2", 0.3),
            "no state",
            planted=(
                Planted("a prefix", on(lambda: smallest(position=0))),
                Planted("a module without input", on(lambda: smallest(W_B=0))),
            ),
        ),
    ),
    assumptions=ASSUMPTIONS,
    readme="theory/prefix_state/affix/README.md",
    source="our formulation, after MambaPEFT (arXiv 2411.03855)",
    not_claimed=(
        "The published wording of affix-tuning; tokens in front of a convolution, where a window goes with the state; which "
        "jumps (Γ, δ) M tokens reach for token-dependent clocks; training."
    ),
)
