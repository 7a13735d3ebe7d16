r"""prefix_state.state_offset: adding C h' to every output against starting from h_0; for LTI neither contains the other.

offset:         o_t = c·h'               constant in t
initial state:  o_t = Σ_n c_n a_n^t h_n   a combination of λ^t over the observable modes, t = 1..L
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.errors import InvalidInput
from theory.core.initialisations import DT_GRID, INITIALISATIONS, initialisation
from theory.core.lti import LTI, require_length
from theory.core.scalars import Array, is_zero, real
from theory.core.strategies import any_lti, decays, paired_lti, real_lti, vectors
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
from theory.verification.planted import changed, on, swap
from theory.verification.refutation import existing, require

from ..reach.spans import state_basis, state_responses


def offset_responses(system: LTI, length: int) -> Array:
    """Outputs 1..L that each basis state h' adds as an offset, c·h' at every step: shape (L, n)."""
    columns = [[Fraction(real(system.readout(system.state(h))))] * require_length(length) for h in state_basis(system)]
    return np.array(columns, dtype=object).T


@dataclass(frozen=True)
class Comparison:
    """Which of the two methods reaches everything the other does on y_1..y_L."""

    offset_in_state: bool
    state_in_offset: bool

    @property
    def relation(self) -> str:
        """``equal``, ``offset ⊂ state``, ``state ⊂ offset`` or ``incomparable``."""
        return {
            (True, True): "equal",
            (True, False): "offset ⊂ state",
            (False, True): "state ⊂ offset",
            (False, False): "incomparable",
        }[self.offset_in_state, self.state_in_offset]


def compare_offset(system: LTI, length: int) -> Comparison:
    """State-offset against initial state on the first ``length`` outputs of an LTI channel, decided by exact ranks.

    Raises InvalidInput for a length below 1 or another kind of system.
    """
    if not isinstance(system, LTI):
        raise InvalidInput(f"compare_offset decides LTI channels, got {type(system).__name__}")
    if system.kind == "symbolic":
        raise InvalidInput("compare_offset takes ranks of rational matrices: substitute numbers for the symbols")
    system = system.exactly()
    system.require_real()
    offset, state = offset_responses(system, length), state_responses(system, length)
    joint = linalg.rank([[*p, *q] for p, q in zip(offset, state, strict=True)])
    return Comparison(joint == linalg.rank(state), joint == linalg.rank(offset))


def state_as_offset(system: LTI, offset: Any, length: int) -> Array | None:
    """An initial state (real combination of :func:`.spans.state_basis`) that adds ``offset`` to y_1..y_L, or None."""
    system = system.exactly()
    weights = linalg.solve(state_responses(system, length), [offset] * require_length(length))
    if weights is None:
        return None
    return np.asarray(
        sum((w * system.state(h) for w, h in zip(weights, state_basis(system), strict=True)), 0 * system.zero_state())
    )


def observable_values(system: LTI) -> list[Any]:
    """The observable modes."""
    return [mode.value for mode in system.modes() if mode.observable]


@dataclass(frozen=True)
class Setting:
    """A channel and a horizon."""

    system: LTI
    horizon: int


def incomparable(s: Setting) -> bool:
    """The conclusion: neither contains the other."""
    return compare_offset(s.system, s.horizon).relation == "incomparable"


@st.composite
def settings(draw: st.DrawFn) -> Setting:
    """Any stable channel with an observable mode, and L > n_obs."""
    system = draw(any_lti(4).filter(lambda s: s.n_observable() > 0))
    return Setting(system, system.n_observable() + draw(st.integers(1, 2)))


def check_incomparable(s: Setting) -> None:
    """Every assumption holds, so neither contains the other; both directions with an explicit response."""
    require(incomparable(s), s)
    require(state_as_offset(s.system, Fraction(1), s.horizon) is None, s)
    for h in state_basis(s.system):
        response = s.system.free_response(h, s.horizon)
        if any(not is_zero(x) for x in response):
            require(any(not is_zero(x - response[0]) for x in response), f"{s}: the state {h} acts as a constant offset")


def check_short_horizons(s: Setting) -> None:
    """L ≤ n_obs: every offset is an initial state, found and run."""
    system = s.system
    n = system.n_observable()
    for length in range(1, n + 1):
        h = existing(state_as_offset(system, Fraction(3, 2), length), (s, length))
        require(all(is_zero(x - Fraction(3, 2)) for x in system.free_response(h, length)), (s, length))


def constant_determinant(lam: Any, one: int = 1) -> sympy.Expr:
    """Π λ_i Π (1 − λ_i) Π_{i<j} (λ_j − λ_i)."""
    n = len(lam)
    differences = sympy.prod(lam[j] - lam[i] for i in range(n) for j in range(i + 1, n))
    return sympy.prod(lam) * sympy.prod(one - x for x in lam) * differences


def prove_symbolically(_: Profile) -> Outcome:
    """det [λ_i^t | 1]_{t=1..n+1} = ± Π λ_i Π (1 − λ_i) Π_{i<j} (λ_j − λ_i) for n ≤ 4."""
    for n in range(1, 5):
        lam = sympy.symbols(f"lambda1:{n + 1}")
        matrix = sympy.Matrix(n + 1, n + 1, lambda t, i, lam=lam, n=n: lam[i] ** (t + 1) if i < n else 1)
        require(sympy.expand(matrix.det(method="berkowitz") - constant_determinant(lam)) == 0, f"n = {n}")
    return Outcome(
        Verdict.EXACT,
        "Vandermonde at the nodes λ_1, …, λ_n, 1: the constant is independent of λ^t for L > n_obs; symbols checked",
        "any N, L (derivation); n_obs ≤ 4 with symbols",
        instances=4,
    )


def decide_initialisations(_: Profile) -> Outcome:
    """Every real initialisation at its exact binary values, at L = n_obs + 1, and equal reach of offsets at L = n_obs."""
    rows = []
    for name in INITIALISATIONS:
        for dt in DT_GRID:
            system = initialisation(name, 16, dt)
            n = system.exactly().n_observable()
            relations = [compare_offset(system, length).relation for length in (n, n + 1)]
            require(relations == ["offset ⊂ state", "incomparable"], (name, dt, relations))
            rows.append({"initialisation": name, "dt": dt, "n_obs": n, "at_n_obs": relations[0], "beyond": relations[1]})
    how = "16 real states: offsets are states on L = n_obs outputs and no longer; exact ranks"
    return Outcome(Verdict.EXACT, how, "N = 16, dt = 1e-3, 1e-2, 1e-1", len(rows), data={"table": rows})


# -- assumptions ----------------------------------------------------------------------------------------------------------


@st.composite
def _short(draw: st.DrawFn) -> Setting:
    system = draw(st.one_of(real_lti(max_states=3), paired_lti(max_pairs=2)))
    return Setting(system, draw(st.integers(1, system.n_observable())))


@st.composite
def _integrating(draw: st.DrawFn) -> Setting:
    a = [Fraction(1), *draw(decays(draw(st.integers(0, 2))))]
    n = len(a)
    system = LTI(a, draw(vectors(n, nonzero=True)), draw(vectors(n, nonzero=True)), check_stable=False)
    return Setting(system, n + draw(st.integers(1, 2)))


@st.composite
def _memoryless(draw: st.DrawFn) -> Setting:
    return Setting(LTI([0], draw(vectors(1)), draw(vectors(1, nonzero=True))), draw(st.integers(1, 3)))


ASSUMPTIONS = (
    Assumption(
        name="L > n_obs",
        statement="the horizon is longer than the number of observable modes",
        predicate=lambda s: s.horizon > s.system.n_observable(),
        having=settings,
        lacking=_short,
        conclusion=incomparable,
        counterexample=Counterexample(
            "two modes, two outputs",
            lambda: Setting(LTI(["1/2", "3/10"], [1, 1], [1, 1]), 2),
            "a = (1/2, 3/10), L = 2: the offset (1, 1) is the initial state (7, −25/3)",
        ),
    ),
    Assumption(
        name="no observable mode at 1",
        statement="no mode integrates",
        predicate=lambda s: not any(is_zero(v - 1) for v in observable_values(s.system)),
        having=settings,
        lacking=_integrating,
        conclusion=incomparable,
        counterexample=Counterexample(
            "an integrator",
            lambda: Setting(LTI([1], [1], [1], check_stable=False), 3),
            "a = 1: the initial state h gives the constant c h, exactly the offsets",
        ),
    ),
    Assumption(
        name="a mode outside {0, 1}",
        statement="some observable mode is neither 0 nor 1",
        predicate=lambda s: any(not is_zero(v - 1) for v in observable_values(s.system)),
        having=settings,
        lacking=_memoryless,
        conclusion=incomparable,
        counterexample=Counterexample(
            "no memory at all",
            lambda: Setting(LTI([0], [1], [1]), 2),
            "a = 0: initial states show nowhere, so they are contained in the offsets",
        ),
    ),
)

CLAIM = Claim(
    id="prefix_state.state_offset",
    title="for LTI a state offset and an initial state are incomparable once L > n_obs",
    statement=(
        "LTI channel, y_t += c·h' (state offset) against h_0 (initial state). If L > n_obs, no observable mode is 1 and some "
        "observable mode is outside {0, 1}, neither reaches everything the other does on y_1..y_L. For L ≤ n_obs every offset is "
        "an initial state."
    ),
    level="one LTI channel",
    horizon="L > n_obs; shorter horizons decided too",
    parts=(
        Part("statement", argument="derivation"),
        Part("short horizons", argument="derivation"),
    ),
    checks=(
        Check(
            "symbolic identity",
            prove_symbolically,
            planted=(Planted("the constant at node 2", swap("constant_determinant", lambda right: lambda lam: right(lam, 2))),),
        ),
        Check(
            "incomparable",
            exact_check(check_incomparable, settings, "ranks of simulated outputs", "N ≤ 4 (2 pairs)"),
            planted=(
                Planted("a horizon of n_obs", on(lambda: Setting(LTI(["1/2"], [1], [1]), 1))),
                Planted("an observable mode at 1", on(lambda: Setting(LTI([1], [1], [1], check_stable=False), 3))),
            ),
        ),
        Check(
            "short horizons",
            exact_check(check_short_horizons, settings, "the initial state of an offset, found and run", "N ≤ 4 (2 pairs)", 0.5),
            part="short horizons",
            planted=(Planted("twice the state", swap("state_as_offset", changed(lambda h: h * 2))),),
        ),
        Check(
            "initialisations",
            decide_initialisations,
            part=None,
            planted=(
                Planted(
                    "one output more", swap("compare_offset", lambda right: lambda system, length: right(system, length + 1))
                ),
            ),
        ),
    ),
    assumptions=ASSUMPTIONS,
    readme="theory/prefix_state/state_offset/README.md",
    not_claimed=(
        "Nothing about S6, where C_t h' moves with the token and offset and initial state differ in other ways; nothing about "
        "which of the two trains better."
    ),
)
