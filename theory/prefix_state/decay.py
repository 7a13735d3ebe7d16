r"""prefix_state.decay: how fast what a prefix or an initial state adds to the outputs dies away.

LTI   |o_t| ≤ Σ_n |c_n h_n| ρ^t,      ρ = max |a_n| over the modes with c_n h_n ≠ 0
S6    |δy_t[d]| ≤ ‖C_t‖ ‖h_0[d, :]‖ exp(−min_n |A[d, n]| Σ_{s≤t} dt_s[d])
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from hypothesis import strategies as st

from theory.core.claim import Assumption, Check, Claim, Counterexample, Outcome, Profile, Verdict, exact_check
from theory.core.errors import InvalidInput, InvalidSystem
from theory.core.initialisations import DT_GRID, INITIALISATIONS, initialisation, softplus
from theory.core.lti import LTI
from theory.core.scalars import Array, abs2, conj, gaussian, is_zero, real
from theory.core.selective import SelectiveSSM
from theory.core.strategies import any_lti, gaussians, matrices, paired_lti, rationals, real_lti
from theory.core.tolerance import budget


def half_life(a: Any) -> float:
    """Tokens after which a mode's contribution has halved: ln 2 / −ln|a|; 0 for a = 0, ∞ for |a| = 1.

    Raises InvalidSystem for |a| > 1, whose contribution grows.
    """
    modulus = math.sqrt(float(abs2(a)))
    if modulus > 1:
        raise InvalidSystem(f"a = {a} has |a| > 1: its contribution grows instead of halving")
    if modulus in (0.0, 1.0):
        return math.inf if modulus else 0.0
    return math.log(2) / -math.log(modulus)


def half_lives(A: Any, dt: Any) -> Array:
    """Tokens after which each state of an S6 channel has halved at a constant step: ln 2 / (|A[d, n]| dt[d]), shape (D, N).

    Raises InvalidSystem for dt ≤ 0 or A ≥ 0, InvalidInput for shapes that do not fit or values that are not finite.
    """
    rates, steps = np.asarray(A, dtype=np.float64), np.asarray(dt, dtype=np.float64)
    if rates.ndim != 2 or steps.shape != rates.shape[:1]:
        raise InvalidInput(f"A {rates.shape} and dt {steps.shape} must be (D, N) and (D,)")
    if not (np.isfinite(rates).all() and np.isfinite(steps).all()):
        raise InvalidInput("A and dt must be finite; remove NaN and infinite values")
    if (steps <= 0).any():
        raise InvalidSystem(f"dt = {steps.min()} must be a positive step size")
    if (rates >= 0).any():
        raise InvalidSystem(f"A = {rates.max()} must be negative; Mamba stores A = −exp(A_log)")
    return np.asarray(math.log(2) / (-rates * steps[:, None]))


@dataclass(frozen=True)
class Bound:
    """A channel (or a cascade of two) with a state and a claimed bound; the flags are ways to state it wrongly."""

    system: LTI
    h0: tuple[Any, ...]
    second: LTI | None = None
    doubled: bool = True
    steps: int = 5


def terms(system: LTI, h0: Any) -> list[tuple[Any, Any]]:
    """(a_n, c_n h_n) over the closed system, those with c_n h_n = 0 left out."""
    full = system.closed()
    h = system.state(list(h0))
    if system.half:
        h = np.concatenate([h, conj(h)])
    return [(a, c * x) for a, c, x in zip(full.a, full.c, h, strict=True) if not is_zero(c * x)]


def free_outputs(b: Bound) -> list[Fraction]:
    """What the state adds to the outputs, by running the system (through the second one where there is a cascade)."""
    out = b.system.free_response(list(b.h0), b.steps)
    if b.second is not None:
        out = b.second.run([Fraction(real(y)) for y in out])[0]
    return [Fraction(real(y)) for y in out]


def bound_holds(b: Bound) -> bool:
    """Whether |o_t| ≤ Σ_n |c_n h_n| ρ^t for t = 1..steps, decided exactly (moduli are roots of rationals)."""
    pairs = terms(b.system, b.h0)
    if b.system.half and not b.doubled:
        pairs = pairs[: len(pairs) // 2]
    squares = [abs2(w) for _, w in pairs]
    rho2 = max((abs2(a) for a, _ in pairs), default=Fraction(0))
    return all(_at_most_sum_of_roots(o * o, [q * rho2 ** (t + 1) for q in squares]) for t, o in enumerate(free_outputs(b)))


def _at_most_sum_of_roots(value: Fraction, squares: list[Fraction]) -> bool:
    """Whether √value ≤ Σ √q_i, exactly: by rational roots where they exist, by two equal terms, else by integer enclosures.

    Rational roots (real modes, one term) and equal pairs (one conjugate pair) are the cases in which equality occurs; otherwise
    a strict inequality separates after finitely many bits.
    """
    squares = [Fraction(q) for q in squares if q]
    if value == 0:
        return True
    if not squares:
        return False
    roots = [_rational_root(q / value) for q in squares]
    if all(r is not None for r in roots):
        return sum(r for r in roots if r is not None) >= 1
    if len(squares) == 2 and squares[0] == squares[1]:  # a conjugate pair: √v ≤ 2√q
        return value <= 4 * squares[0]
    for bits in (32, 128, 512, 2048):
        scale = 1 << bits
        low = sum(math.isqrt(int(q / value * scale * scale)) for q in squares)
        if low >= scale:
            return True
        if low + 2 * len(squares) < scale:
            return False
    raise AssertionError(f"√{value} and Σ√{squares} agree to 2048 bits")


def _rational_root(q: Fraction) -> Fraction | None:
    n, d = math.isqrt(q.numerator), math.isqrt(q.denominator)
    return Fraction(n, d) if n * n == q.numerator and d * d == q.denominator else None


@st.composite
def bounds(draw: st.DrawFn, systems: st.SearchStrategy[LTI] | None = None, **flags: Any) -> Bound:
    """Any exact channel with a state."""
    system = draw(systems if systems is not None else any_lti(3))
    entries = gaussians() if system.half else rationals()
    h = draw(st.lists(entries, min_size=system.n_states, max_size=system.n_states))
    return Bound(system, tuple(h), **flags)


def check_lti(b: Bound) -> None:
    """The bound holds at t = 1..5, and with one term it is attained for a real mode (so ρ cannot be lowered)."""
    assert bound_holds(b), b
    pairs = terms(b.system, b.h0)
    if len(pairs) == 1:
        (a, w) = pairs[0]
        assert all(o * o == abs2(w) * abs2(a) ** (t + 1) for t, o in enumerate(free_outputs(b))), b


# -- S6 -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SelectiveBound:
    """S6 with integer rates |A[d, n]| and clock q_d(z) = exp(−dt_d) = 1/(1 + z_d²) times 1/2; flags state the bound wrongly."""

    rates: tuple[tuple[int, ...], ...]
    W_B: tuple[tuple[Fraction, ...], ...]
    W_C: tuple[tuple[Fraction, ...], ...]
    h0: tuple[tuple[Fraction, ...], ...]
    inputs: tuple[tuple[Fraction, ...], ...]
    slowest: bool = True
    readout: bool = True

    def system(self) -> SelectiveSSM:
        """The module; dt enters the input term as any positive number, since only decays and C matter for δy."""
        rates = self.rates

        def clock(z: Array) -> tuple[Array, Array]:
            q = [1 / (2 * (1 + x * x)) for x in z]
            decay = np.array([[q[d] ** k for k in row] for d, row in enumerate(rates)], dtype=object)
            return np.array([1 + x * x for x in z], dtype=object), decay

        return SelectiveSSM(self.W_B, self.W_C, clock=clock)


@st.composite
def selective_bounds(draw: st.DrawFn, **flags: Any) -> SelectiveBound:
    """D, N ≤ 2 (3 states at most), up to 3 inputs."""
    d, n = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    rates = tuple(tuple(draw(st.lists(st.integers(1, 4), min_size=n, max_size=n))) for _ in range(d))

    def m(rows: int, columns: int) -> Any:
        return tuple(map(tuple, draw(matrices(rows, columns, 2))))

    return SelectiveBound(rates, m(n, d), m(n, d), m(d, n), m(draw(st.integers(1, 3)), d), **flags)


def selective_bound_holds(b: SelectiveBound) -> bool:
    """|δy_t[d]|² ≤ ‖C_t‖² ‖h_0[d, :]‖² Π_{s≤t} q_s[d]^{2 min_n |A[d, n]|}, in rationals, by running with and without h_0."""
    system = b.system()
    z = [list(t) for t in b.inputs]
    delta = system.run(z, [list(r) for r in b.h0])[0] - system.run(z)[0]
    assert system.W_C is not None
    for d, row in enumerate(b.rates):
        rate = min(row) if b.slowest else max(row)
        power = Fraction(1)
        for t, token in enumerate(b.inputs):
            power *= (1 / (2 * (1 + token[d] * token[d]))) ** rate
            c = system.W_C @ np.array(token, dtype=object)
            c2 = sum((x * x for x in c), Fraction(0)) if b.readout else Fraction(1)
            h2 = sum((x * x for x in b.h0[d]), Fraction(0))
            if delta[t, d] ** 2 > c2 * h2 * power * power:
                return False
    return True


def check_selective(b: SelectiveBound) -> None:
    """The bound of S6, per channel and step."""
    assert selective_bound_holds(b), b


def prove_symbolically(_: Profile) -> Outcome:
    """o_t = Σ c a^t h, and δy_t[d] = Σ_n C_t[n] (Π_s E_s[d, n]) h_0[d, n], with symbols."""
    a, b, c, h, x = (sympy.symbols(f"{s}1:3") for s in "abchx")
    system = LTI(list(a), list(b), list(c), kind="symbolic")
    delta = system.run(x, h)[0] - system.run(x)[0]
    for t in range(2):
        assert sympy.expand(delta[t] - sum(ci * ai ** (t + 1) * hi for ai, ci, hi in zip(a, c, h, strict=True))) == 0
    e = [sympy.symbols(f"E{t}_1:3") for t in range(2)]
    steps = iter([0, 1, 0, 1])

    def clock(_z: Array) -> tuple[Array, Array]:
        t = next(steps)
        return np.array([sympy.Symbol(f"dt{t}")]), np.array([e[t]], dtype=object)

    w_b, w_c = sympy.symbols("p1:3"), sympy.symbols("q1:3")
    module = SelectiveSSM([[v] for v in w_b], [[v] for v in w_c], clock=clock, kind="symbolic")
    z = [[x[0]], [x[1]]]
    with_state = module.run(z, [list(h)])[0]
    delta = with_state - module.run(z)[0]
    for t in range(2):
        expected = sum(w_c[n] * x[t] * sympy.prod(e[s][n] for s in range(t + 1)) * h[n] for n in range(2))
        assert sympy.expand(delta[t, 0] - expected) == 0
    return Outcome(
        Verdict.PROVED,
        "the state's share is linear and independent of B; triangle inequality (LTI), Cauchy–Schwarz and the slowest rate (S6)",
        "any N, D, L (derivation); N = 2, L = 2 with symbols",
        instances=4,
    )


def float_route(profile: Profile) -> Outcome:
    """S6 with the softplus clock in float64: bound and response, with the slack of rounding stated."""
    rng = np.random.default_rng(profile.seed)
    count, tightest = profile.scaled(0.1), 0.0
    d, n, length = 3, 4, 12
    allowed = budget(length * n)
    for _ in range(count):
        A = -np.exp(rng.standard_normal((d, n)))
        system = SelectiveSSM(
            rng.standard_normal((n, d)), rng.standard_normal((n, d)), A=A,
            W_dn=rng.standard_normal((1, d)), W_up=rng.standard_normal((d, 1)), dt_bias=rng.standard_normal(d),
        )  # fmt: skip
        z, h0 = rng.standard_normal((length, d)), rng.standard_normal((d, n))
        delta = np.abs(system.run(z, h0)[0] - system.run(z)[0])
        scale = np.abs(system.run(z, h0)[0]).max()
        dt = np.array([system.clock(t)[0] for t in z])
        c = np.linalg.norm(np.asarray(system.W_C) @ z.T, axis=0)
        bound = c[:, None] * np.linalg.norm(h0, axis=1) * np.exp(-np.abs(A).min(1) * np.cumsum(dt, axis=0))
        assert (delta <= bound * (1 + allowed) + allowed * scale).all(), f"bound exceeded by {(delta - bound).max():.1e}"
        tightest = max(tightest, float((delta / bound).max()))
    how = f"softplus clock: the response reaches {tightest:.0%} of its bound"
    return Outcome(Verdict.TO, how, f"D = {d}, N = {n}, L = {length}", count, tolerance=allowed, condition=1.0)


def initialisations_table(_: Profile) -> Outcome:
    """Half-lives in tokens of the real initialisations, and how a token-dependent dt moves them."""
    rows = []
    for name in INITIALISATIONS:
        for dt in DT_GRID:
            system = initialisation(name, 16, dt)
            lives = sorted(half_life(a) for a in system.a)
            rows.append({"initialisation": name, "dt": dt, "shortest": lives[0], "longest": lives[-1]})
            expected = math.log(2) / (dt * (1.0 if name == "mamba" else 0.5))
            assert abs(lives[-1] - expected) <= budget(64, 1 / dt) * expected, (name, dt, lives[-1])
    bias = math.log(math.expm1(1e-2))
    spread = {str(s): float(math.log(2) / softplus(np.array([bias + s]))[0]) for s in (-2, 0, 2)}
    return Outcome(
        Verdict.EXACT,
        f"the slowest mode halves after {rows[0]['longest']:.0f} tokens at dt = 1e-3, {rows[2]['longest']:.0f} at 1e-1 (Mamba)",
        "N = 16, dt = 1e-3, 1e-2, 1e-1",
        len(rows),
        data={"table": rows, "half_life_of_A=-1_when_the_input_shifts_the_dt_bias_of_1e-2": spread},
    )


# -- assumptions ----------------------------------------------------------------------------------------------------------


@st.composite
def _cascades(draw: st.DrawFn) -> Bound:
    b = draw(bounds(real_lti(max_states=2)))
    return Bound(b.system, b.h0, second=draw(real_lti(max_states=2)))


ASSUMPTIONS = (
    Assumption(
        "one module",
        "the response is that of the module itself, not of one behind it",
        lambda b: b.second is None,
        bounds,
        _cascades,
        bound_holds,
        Counterexample(
            "two channels in series",
            lambda: Bound(LTI(["1/2"], [1], [1]), (Fraction(1),), second=LTI(["1/2"], [1], [1]), steps=3),
            "a = 1/2 twice, h_0 = 1 in the first: the response t·(1/2)^t leaves the bound (1/2)^t at t = 2",
        ),
    ),
    Assumption(
        "both modes of a pair counted",
        "with half storage the sum Σ |c_n h_n| runs over the closed system, twice the stored modes",
        lambda b: b.doubled or not b.system.half,
        bounds,
        lambda: bounds(paired_lti(max_pairs=2), doubled=False),
        bound_holds,
        Counterexample(
            "the stored half alone",
            lambda: Bound(LTI([gaussian("1/2", "1/4")], [1], [1], half=True), (Fraction(1),), doubled=False),
            "a = 1/2 ± i/4, c = h = 1 stored: o_1 = 1, |c h| ρ = √5/4 < 1",
        ),
    ),
    Assumption(
        "slowest state of the channel",
        "the rate is min_n |A[d, n]|",
        lambda b: b.slowest,
        selective_bounds,
        lambda: selective_bounds(slowest=False),
        selective_bound_holds,
        Counterexample(
            "the fastest state's rate",
            lambda: SelectiveBound(
                ((1, 2),),
                ((Fraction(1),),) * 2,
                ((Fraction(1),), (Fraction(0),)),
                ((Fraction(1), Fraction(0)),),
                ((Fraction(1),),),
                slowest=False,
            ),
            "A = (−1, −2), h_0 = (1, 0), exp(−dt) = 1/4: δy = 1/4, and the rate of the second state would allow 1/16",
        ),
    ),
    Assumption(
        "‖C_t‖ in the bound",
        "C_t = W_C z_t is not bounded, so its norm belongs to the bound",
        lambda b: b.readout,
        selective_bounds,
        lambda: selective_bounds(readout=False),
        selective_bound_holds,
        Counterexample(
            "a large token",
            lambda: SelectiveBound(
                ((1,),), ((Fraction(1),),), ((Fraction(100),),), ((Fraction(1),),), ((Fraction(1),),), readout=False
            ),
            "W_C = 100, z = 1, exp(−dt) = 1/4: δy = 25, and ‖h_0‖ exp(−dt) = 1/4",
        ),
    ),
)


CLAIM = Claim(
    id="prefix_state.decay",
    title="what a prefix or a state adds dies away: at the slowest excited mode, and in S6 with the clock",
    statement=(
        "LTI: |o_t| ≤ Σ_n |c_n h_n| ρ^t over the closed system, ρ = max |a_n| over modes with c_n h_n ≠ 0; a single real mode "
        "attains it. S6, one module, any clock, per channel: |δy_t[d]| ≤ ‖C_t‖ ‖h_0[d,:]‖ exp(−min_n |A[d,n]| Σ_{s≤t} dt_s[d])."
    ),
    level="one module",
    horizon="all t",
    checks=(
        Check("symbolic response", prove_symbolically),
        Check("LTI bound", exact_check(check_lti, bounds, "running the system; moduli compared exactly", "N ≤ 3, t ≤ 5", 0.5)),
        Check(
            "S6 bound",
            exact_check(check_selective, selective_bounds, "token-dependent rational clock", "D ≤ 2, N ≤ 3, L ≤ 3", 0.5),
        ),
        Check("softplus clock", float_route, part=None),
        Check("initialisations", initialisations_table, part=None),
    ),
    assumptions=ASSUMPTIONS,
    readme="prefix_statedecay",
    not_claimed=(
        "A bound, not a rate at which training forgets. In S6 the half-life depends on the input through dt, and C_t is "
        "unbounded. Behind further layers the response can last longer than in its own module."
    ),
)
