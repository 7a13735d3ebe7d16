"""prefix_state.decay: what an initial state adds dies out geometrically, at the rate of its slowest visible mode."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from hypothesis import strategies as st

from theory.core.initialisations import (
    DT_GRID,
    DT_MAX,
    DT_MIN,
    DT_PROJ_SPREAD,
    INITIALISATIONS,
    continuous_modes,
    initialisation,
    inverse_softplus,
    softplus,
)
from theory.core.lti import LTI
from theory.core.selective import SelectiveSSM
from theory.core.strategies import paired_lti
from theory.core.tolerance import EPS32, EPS_BF16, budget
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
from theory.verification.refutation import require

from .fading import (
    HalfLifeRange,
    decay_bound,
    half_life,
    half_life_range,
    half_lives,
    selective_decay_bound,
    selective_decay_bound_squared,
    visible_states,
)
from .instances import (
    Fade,
    Selected,
    bounded,
    change_bounded,
    check_bound,
    check_rate,
    check_selective_bound,
    dominated,
    fades,
    fading,
    rate_attained,
    selected,
)

__all__ = [
    "CLAIM",
    "HalfLifeRange",
    "decay_bound",
    "half_life",
    "half_life_range",
    "half_lives",
    "selective_decay_bound",
    "selective_decay_bound_squared",
    "visible_states",
]


def prove_lti(_: Profile) -> Outcome:
    """|2 Re w| ≤ 2|w| and |u + v| ≤ |u| + |v| as squares, for complex symbols; Re(c h a^t) for t ≤ 3 from the recurrence."""
    x, y, u, v = sympy.symbols("x y u v", real=True)
    require(sympy.expand(4 * (x**2 + y**2) - (2 * x) ** 2 - (2 * y) ** 2) == 0, "half storage")
    # (|w||z|)² − (Re w z̄)² = (Im w z̄)², so |w + z|² ≤ (|w| + |z|)²
    require(sympy.expand((x**2 + y**2) * (u**2 + v**2) - (x * u + y * v) ** 2 - (y * u - x * v) ** 2) == 0, "triangle")
    a, c, h = (sympy.symbols(f"{s}1:3") for s in "ach")
    system = LTI(list(a), [0, 0], list(c))
    for t, o in enumerate(system.free_response(list(h), 3), start=1):
        require(sympy.expand(o - sum(p * q**t * r for p, q, r in zip(c, a, h, strict=True))) == 0, f"t = {t}")
    return Outcome(
        Verdict.EXACT,
        "o_t = Σ c_n h_n a_n^t, then the triangle inequality (factor 2: 2 Re w); symbols checked",
        "any N, t (derivation); N = 2, t ≤ 3 with symbols",
        instances=5,
    )


def prove_selective(_: Profile) -> Outcome:
    """δy_t = C_t·(Π E_s ⊙ h_0) by running with symbols; Lagrange's identity (Cauchy and Schwarz); Π exp(dt_s A) = exp(A Σ dt)."""
    z = sympy.symbols("z1:4", real=True)
    decays = {t: sympy.symbols(f"E{k}_1:3", positive=True) for k, t in enumerate(z)}
    steps = {t: sympy.Symbol(f"dt{k}", positive=True) for k, t in enumerate(z)}
    wb, wc, h = (sympy.symbols(f"{s}1:3", real=True) for s in ("B", "C", "h"))

    def clock(token: Any) -> tuple[Any, Any]:
        return np.array([steps[token[0]]], dtype=object), np.array([decays[token[0]]], dtype=object)

    module = SelectiveSSM([[w] for w in wb], [[w] for w in wc], clock=clock, kind="symbolic")
    tokens = [[t] for t in z]
    change = module.run(tokens, [list(h)])[0] - module.run(tokens)[0]
    for t in range(3):
        kept = [sympy.prod([decays[s][n] for s in z[: t + 1]]) for n in range(2)]
        require(sympy.expand(change[t, 0] - sum(wc[n] * z[t] * kept[n] * h[n] for n in range(2))) == 0, f"t = {t + 1}")
    for n in (2, 3, 4):
        c, g = sympy.symbols(f"c1:{n + 1}", real=True), sympy.symbols(f"g1:{n + 1}", real=True)
        lagrange = sum((c[i] * g[j] - c[j] * g[i]) ** 2 for i in range(n) for j in range(i))
        dot = sum(p * q for p, q in zip(c, g, strict=True))
        require(sympy.expand(sum(p * p for p in c) * sum(q * q for q in g) - dot**2 - lagrange) == 0, n)
    rate, dts = sympy.Symbol("A", negative=True), sympy.symbols("d1:4", positive=True)
    require(sympy.simplify(sympy.prod([sympy.exp(d * rate) for d in dts]) / sympy.exp(rate * sum(dts))) == 1, "exponents add")
    return Outcome(
        Verdict.EXACT,
        "inputs fix B_t, C_t, dt_t, so only Π E_s ⊙ h_0 differs; Cauchy and Schwarz; symbols checked",
        "any D, N, L (derivation); N = 2, L = 3 with symbols, Lagrange's identity N ≤ 4",
        instances=7,
    )


def float_bounds(profile: Profile) -> Outcome:
    """Softplus clocks and real initialisations in float64: the closed form exp(−min|A| Σdt) and ρ^t bound what is measured."""
    rng = np.random.default_rng(profile.seed)
    length, count = 32, profile.scaled(0.1)
    worst = 0.0
    for _ in range(count):
        d, n, r = 3, 4, 2
        A = -np.exp(rng.uniform(-1, 2, (d, n)))
        maps: dict[str, Any] = {"W_dn": rng.standard_normal((r, d)), "W_up": rng.standard_normal((d, r))}
        w_b, w_c = rng.standard_normal((2, n, d))
        module = SelectiveSSM(w_b, w_c, A=A, dt_bias=rng.uniform(-4, 0, d), **maps)
        z, start = rng.standard_normal((length, d)), rng.standard_normal((d, n))
        y, base = module.run(z, start)[0], module.run(z)[0]
        clock = np.cumsum([module.clock(token)[0] for token in z], axis=0)
        readout = np.linalg.norm(z @ w_c.T, axis=1)
        closed = readout[:, None] * np.linalg.norm(start, axis=1) * np.exp(-np.abs(A).min(axis=1) * clock)
        require(np.allclose(selective_decay_bound(module, z, start), closed, rtol=budget(length, 10.0), atol=0.0), module)
        rounding = budget(length * n) * max(np.abs(y).max(), np.abs(base).max())  # y − y loses digits once δy is small
        require(np.all(np.abs(y - base) <= closed * (1 + budget(length * n)) + rounding), module)
        worst = max(worst, float((np.abs(y - base) / (closed + rounding)).max()))
    for name in INITIALISATIONS:
        for dt in DT_GRID:
            system = initialisation(name, 16, dt)
            h0 = rng.standard_normal(system.n_states) + (1j * rng.standard_normal(system.n_states) if system.half else 0)
            o, bound = np.abs(system.free_response(h0, length)), decay_bound(system, h0, length)
            require(np.all(o <= bound * (1 + budget(length * 16))), (name, dt))
            worst = max(worst, float((o / bound).max()))
    return Outcome(
        Verdict.NUMERIC,
        f"softplus clocks (D = 3, N = 4) and initialisations (N = 16): measured at most {worst:.3f} of the bound",
        "L = 32",
        count + len(INITIALISATIONS) * len(DT_GRID),
        tolerance=budget(length * 16),
        condition=1.0,
    )


def tabulate(_: Profile) -> Outcome:
    """Half-lives of the initialisations, tokens until the bound leaves a number format, and Mamba's range over inputs."""
    rows: list[dict[str, Any]] = []
    for name in INITIALISATIONS:
        for dt in DT_GRID:
            system = initialisation(name, 16, dt)
            lives = half_life(system.a)
            modes = continuous_modes(name, 16)[None, :]
            require(np.allclose(lives, half_lives(modes, [dt])[0], rtol=budget(16, 1 / dt), atol=0.0), (name, dt))
            slowest = float(lives.max())
            rows.append(
                {
                    "initialisation": name,
                    "dt": dt,
                    "half_life_slowest": float(f"{slowest:.4g}"),
                    "half_life_fastest": float(f"{lives.min():.4g}"),
                    "tokens_to_bfloat16": math.ceil(-math.log2(EPS_BF16) * slowest),
                    "tokens_to_float32": math.ceil(-math.log2(EPS32) * slowest),
                }
            )
    over_inputs = []
    for dt in (DT_MIN, DT_MAX):
        steps = softplus(inverse_softplus(dt) + np.array([[-1.0], [0.0], [1.0]]) * DT_PROJ_SPREAD)
        found = half_life_range(continuous_modes("mamba", 16)[None, :], steps)
        slowest_range = [float(f"{v[0, 0]:.4g}") for v in (found.shortest, found.median, found.longest)]
        require(slowest_range[0] < slowest_range[1] < slowest_range[2], slowest_range)
        over_inputs.append({"dt_at_zero_input": dt, "slowest_mode_shortest_median_longest": slowest_range})
    mamba = [row for row in rows if row["initialisation"] == "mamba"]
    return Outcome(
        Verdict.NUMERIC,
        f"Mamba's slowest mode halves in {mamba[0]['half_life_slowest']:g} tokens at dt = 1e-3 and in "
        f"{mamba[-1]['half_life_slowest']:g} at dt = 1e-1",
        "N = 16, dt = 1e-3, 1e-2, 1e-1",
        len(rows) + len(over_inputs),
        tolerance=budget(16, 1 / DT_MIN),
        condition=1 / DT_MIN,
        data={"table": rows, "mamba_over_inputs_of_norm_1": over_inputs},
    )


# -- assumptions ----------------------------------------------------------------------------------------------------------


@st.composite
def _hidden_slow_mode(draw: st.DrawFn) -> Fade:
    """A visible response beside a slower mode that h_0 does not excite, c does not read or that cancels; ρ over all modes."""
    f = draw(dominated())
    slow = draw(st.sampled_from([Fraction(13, 14), Fraction(-99, 100)]))
    c, h = draw(st.sampled_from([((1,), (0,)), ((0,), (1,)), ((1, 1), (1, -1)), ((2, -3), (3, 2))]))  # the last two cancel
    s = f.system
    system = LTI([*s.a, *[slow] * len(c)], [*s.b, *[1] * len(c)], [*s.c, *c])
    return replace(f, system=system, h0=(*f.h0, *map(Fraction, h)), all_modes=True)


@st.composite
def _unstable(draw: st.DrawFn) -> Fade:
    f = draw(dominated())
    a = [draw(st.sampled_from([Fraction(1), Fraction(-1), Fraction(3, 2)])), *f.system.a[1:]]
    return replace(f, system=f.system.replace(a=a))


def _stable(f: Fade) -> bool:
    return all(abs(f.system.a[n]) < 1 for n in visible_states(f.system, list(f.h0)))


def _visible_rate(f: Fade) -> bool:
    return f.rate() == replace(f, all_modes=False).rate()


@st.composite
def _first_readout(draw: st.DrawFn) -> Selected:
    s = draw(selected())
    last = [2 * x + 1 for x in s.z[-1]]
    z = np.array([*s.z.tolist(), last, [3 * x + 1 for x in last]], dtype=object)
    return replace(s, z=z, first_readout=True)


@st.composite
def _foreign_channel(draw: st.DrawFn) -> Selected:
    s = draw(selected().filter(lambda s: s.modules[0].n_channels == 2))
    return replace(s, channel=draw(st.integers(0, 1)))


def _one(decay: Any, w_b: Any = 1, w_c: Any = 1) -> SelectiveSSM:
    return SelectiveSSM([[w_b]], [[w_c]], dt=1, decay=[[Fraction(decay)]])


def _column(*values: Any) -> Any:
    return np.array([[Fraction(v)] for v in values], dtype=object)


_SLOW_AND_FAST = SelectiveSSM([[1, 1]], [[1, 1]], dt=[1, 1], decay=[["1/2"], ["1/4"]])

ASSUMPTIONS = (
    Assumption(
        name="ρ over visible modes",
        statement="the maximum runs over the modes with κ_λ = Σ c_n h_0n ≠ 0. Over all modes it is a bound too, but not at the "
        "response's rate",
        predicate=_visible_rate,
        having=dominated,
        lacking=_hidden_slow_mode,
        conclusion=lambda f: bounded(f) and rate_attained(f),
        counterexample=Counterexample(
            "a slow mode that nobody sees",
            lambda: Fade(LTI(["1/2", "9/10"], [1, 1], [1, 1]), (Fraction(1), Fraction(0)), all_modes=True),
            "a = (1/2, 9/10), h_0 = (1, 0): o_t = 2^−t, while ρ over all modes promises no better than (9/10)^t",
        ),
    ),
    Assumption(
        name="factor 2 with half storage",
        statement="with one stored mode of each pair, y_t = 2 Re(c·h_t)",
        predicate=lambda f: f.factor or not f.system.half,
        having=fades,
        lacking=lambda: fades(paired_lti(max_pairs=2), factor=False),
        conclusion=bounded,
        counterexample=Counterexample(
            "one pair, counted once",
            lambda: Fade(LTI([Fraction(1, 2)], [1], [1], half=True), (Fraction(1),), factor=False),
            "stored a = 1/2, c = h_0 = 1: o_1 = 2 Re(1/2) = 1, without the factor the bound says 1/2",
        ),
    ),
    Assumption(
        name="|a| < 1",
        statement="every visible mode decays; the inequality holds without it, the fading does not",
        predicate=_stable,
        having=dominated,
        lacking=_unstable,
        conclusion=lambda f: bounded(f) and fading(f),
        counterexample=Counterexample(
            "an integrator",
            lambda: Fade(LTI([1], [1], [1], check_stable=False), (Fraction(1),)),
            "a = 1: o_t = 1 for all t",
        ),
    ),
    Assumption(
        name="one module",
        statement="the bound is about outputs of the state's own module; a later module keeps what it is given in its own state",
        predicate=lambda s: len(s.modules) == 1,
        having=selected,
        lacking=lambda: selected(2),
        conclusion=change_bounded,
        counterexample=Counterexample(
            "two modules in a row",
            lambda: Selected((_one("1/2"), _one("9/10")), _column(1, 1, 1), _column(1)),
            "D = N = 1, decays 1/2 and 9/10, z = 1, 1, 1, h_0 = 1 in the first: its own δy_t is 2^−t, the second's output moves "
            "by 2.4, 4.2, 4.9 and grows",
        ),
    ),
    Assumption(
        name="‖C_t‖ of the token read",
        statement="C_t = W_C z_t is not bounded: a quiet first token says nothing about a loud later one",
        predicate=lambda s: not s.first_readout,
        having=selected,
        lacking=_first_readout,
        conclusion=change_bounded,
        counterexample=Counterexample(
            "a loud second token",
            lambda: Selected((_one("1/2"),), _column(1, 10), _column(1), first_readout=True),
            "decay 1/2, z = (1, 10): δy_2 = 10/4, with ‖C_1‖ the bound says 1/4",
        ),
    ),
    Assumption(
        name="the channel's own decays and steps",
        statement="min_n |A[d,n]| and Σ dt_s[d] belong to the channel d that is read",
        predicate=lambda s: s.channel is None,
        having=selected,
        lacking=_foreign_channel,
        conclusion=change_bounded,
        counterexample=Counterexample(
            "another channel's clock",
            lambda: Selected((_SLOW_AND_FAST,), np.array([[Fraction(1), Fraction(0)]], dtype=object), _column(1, 1), channel=1),
            "E = (1/2, 1/4), z = (1, 0), h_0 = 1: δy_1[0] = 1/2, channel 1's decay says 1/4",
        ),
    ),
)

CLAIM = Claim(
    id="prefix_state.decay",
    title="an initial state fades geometrically: ρ^t for LTI, exp(−min|A| Σ dt) per channel of one S6 module",
    statement=(
        "LTI: |o_t| ≤ κ Σ_n |c_n h_0n| ρ^t for t ≥ 1, with n over the states on visible modes, those λ ≠ 0 with κ_λ = Σ_{a_n=λ} "
        "c_n h_0n ≠ 0 (closed system: states on one mode can cancel), ρ = max |a_n| over them, and κ = 2 where one mode of each "
        "conjugate pair is stored, else 1. Where one real visible mode alone has the largest modulus, no smaller rate will "
        "do. S6, one module, unchanged inputs, any clock with E_t = exp(dt_t A): |δy_t[d]| ≤ ‖C_t‖ ‖h_0[d,:]‖ "
        "exp(−min_n |A[d,n]| Σ_{s≤t} dt_s[d]), with n over the states where h_0[d,n] ≠ 0; for N = 1 an equality. Half-life of "
        "a mode: ln 2/(|Re A| dt) tokens, in S6 for as long as dt stays at that value."
    ),
    level="one module (LTI channel, or S6 with all channels)",
    horizon="every t ≥ 1",
    parts=(
        Part("LTI bound", argument="derivation"),
        Part("LTI rate", argument="derivation"),
        Part("S6 bound", argument="derivation"),
    ),
    checks=(
        Check(
            "symbolic identities, LTI",
            prove_lti,
            part="LTI bound",
            planted=(
                Planted(
                    "outputs counted from t = 2",
                    swap("LTI.free_response", lambda right: lambda self, h0, length: right(self, h0, length + 1)[1:]),
                ),
            ),
        ),
        Check(
            "LTI bound",
            exact_check(check_bound, fades, "responses run, bounds as rationals", "N ≤ 4 (2 pairs), t ≤ 6"),
            part="LTI bound",
            planted=(
                Planted(
                    "half storage without its factor 2",
                    on(lambda: Fade(LTI(["1/2"], [1], [1], half=True), (Fraction(1),), factor=False)),
                ),
                Planted("half the bound", swap("Fade.bound", changed(lambda bounds: [x / 2 for x in bounds]))),
            ),
        ),
        Check(
            "rate attained",
            exact_check(check_rate, dominated, "|o_2T/o_T| is ρ^T to within 5/3", "N ≤ 3, real", 0.5),
            part="LTI rate",
            planted=(Planted("half the rate", swap("Fade.rate", changed(lambda rate: rate / 2))),),
        ),
        Check(
            "symbolic identities, S6",
            prove_selective,
            part="S6 bound",
            planted=(
                Planted("outputs counted twice", swap("SelectiveSSM.run", changed(lambda found: (2 * found[0], *found[1:])))),
            ),
        ),
        Check(
            "S6 bound",
            exact_check(check_selective_bound, selected, "squares of differences of runs", "D ≤ 2, N ≤ 3, L ≤ 3", 0.5),
            part="S6 bound",
            planted=(Planted("half the bound", swap("Selected.bound_squared", changed(lambda bounds: bounds / Fraction(4)))),),
        ),
        Check(
            "float clocks",
            float_bounds,
            part=None,
            planted=(
                Planted("a bound off by a thousandth", swap("selective_decay_bound", changed(lambda bound: bound * 1.001))),
            ),
        ),
        Check(
            "initialisations",
            tabulate,
            part=None,
            planted=(Planted("twice the half-life", swap("half_life", changed(lambda lives: 2 * lives))),),
        ),
    ),
    assumptions=ASSUMPTIONS,
    readme="theory/prefix_state/decay/README.md",
    not_claimed=(
        "Nothing about whole models: a state's effect on a later layer is kept there by that layer's own states and can grow. "
        "C_t is not bounded, so |δy_t| itself need not fall from token to token. The S6 bound can be loose: C_t may miss the "
        "slow state."
    ),
)
