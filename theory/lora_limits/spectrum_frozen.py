r"""lora_limits.spectrum_frozen: what adapters on the projections around an SSM can never change.

S4: the poles. S6: each channel's vector of log-decays, up to the one factor a constant clock can give it, and not even that
once the clock depends on the input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import flint
import numpy as np
import sympy
from hypothesis import strategies as st

from theory.core.claim import Assumption, Check, Claim, Counterexample, Outcome, Profile, Verdict, exact_check
from theory.core.deep_s4 import DeepS4, S4Layer
from theory.core.errors import InvalidInput
from theory.core.lti import LTI
from theory.core.scalars import Array
from theory.core.selective import SelectiveSSM
from theory.core.strategies import decays, matrices, rationals, vectors
from theory.core.tolerance import budget

from .poles import (
    Recurrence,
    annihilates,
    divides,
    fit_with_frozen_modes,
    kernel_recurrence,
    minimal_recurrence,
    polynomial_from_modes,
    shortest_refuting_horizon,
)

# -- S4: poles -----------------------------------------------------------------------------------------------------------


def matrix_kernel(model: S4Layer | DeepS4, length: int) -> Array:
    """K_0..K_{L−1}, shape (L, D, D), of a linear S4 layer or stack: outputs for a unit impulse in each input channel.

    Raises InvalidInput for a layer with an activation or a bias, whose outputs no kernel describes.
    """
    layers = model.layers if isinstance(model, DeepS4) else (model,)
    for layer in layers:
        if layer.activation != "linear" or any(b != 0 for b in layer.bias):
            raise InvalidInput("a kernel describes linear layers without bias; this one has an activation or a bias")
    d = layers[0].n_channels
    columns = []
    for i in range(d):
        x = np.full((length, d), Fraction(0), dtype=object)
        x[0, i] = Fraction(1)
        columns.append(DeepS4(layers).run(x))
    return np.stack(columns, axis=2)


def frozen_polynomial(model: S4Layer | DeepS4) -> flint.fmpq_poly:
    """Π (x − λ) over the distinct nonzero modes of each layer, layers multiplied: all poles the frozen bank can show."""
    out = flint.fmpq_poly([1])
    for layer in model.layers if isinstance(model, DeepS4) else (model,):
        out *= polynomial_from_modes(sorted({a for channel in layer.channels for a in channel.a if a != 0}))
    return out


def kernel_poles(model: S4Layer | DeepS4) -> Recurrence:
    """The poles of a linear layer or stack, read off its outputs: the invariant to compare before and after training."""
    order = int(frozen_polynomial(model).degree())
    return kernel_recurrence(matrix_kernel(model, 2 * order + 3))


@dataclass(frozen=True)
class Tuned:
    """A frozen stack of linear S4 layers and the projections an adapter has given it."""

    frozen: DeepS4
    tuned: DeepS4


def _layer(channels: Sequence[LTI], W: Any, u: Any) -> S4Layer:
    return S4Layer(channels, W, u=u, activation="linear")


@st.composite
def tuned_stacks(draw: st.DrawFn) -> Tuned:
    """One or two layers, D ≤ 2, N ≤ 2 (1 in two layers); every W, u and residue is changed, no mode is."""
    d, depth = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    old, new = [], []
    for _ in range(depth):
        banks: tuple[list[LTI], list[LTI]] = ([], [])
        for _ in range(d):
            a = draw(decays(draw(st.integers(1, 3 - depth))))
            for bank in banks:
                bank.append(LTI(a, [1] * len(a), draw(vectors(len(a)))))
        old.append(_layer(banks[0], draw(matrices(d, d)), draw(vectors(d))))
        new.append(_layer(banks[1], draw(matrices(d, d)), draw(vectors(d))))
    return Tuned(DeepS4(old), DeepS4(new))


def check_poles_stay(t: Tuned) -> None:
    """After any change of projections, skips and residues, the poles divide the frozen polynomial."""
    allowed = frozen_polynomial(t.frozen)
    order = int(allowed.degree())
    kernel = matrix_kernel(t.tuned, 2 * order + 3)
    found = kernel_recurrence(kernel)
    assert divides(found.polynomial, allowed), f"{t}: poles {found.poles()} outside {allowed}"
    for entry in kernel[: order + 3].reshape(order + 3, -1).T:
        assert annihilates(allowed, entry[1:]), t


@dataclass(frozen=True)
class Horizon:
    """Distinct frozen modes, one target pole outside them with a residue, whether the skip is tuned, and a horizon L."""

    modes: tuple[Fraction, ...]
    pole: Fraction
    residue: Fraction
    skip: bool
    length: int

    @property
    def needed(self) -> int:
        """n_frozen + 1, one more with a tunable skip."""
        return shortest_refuting_horizon(len(self.modes), 1, skip=self.skip)

    def target(self) -> list[Fraction]:
        """Kernel of the target: every frozen mode with residue 1 and the pole outside."""
        return [sum((m**j for m in self.modes), self.residue * self.pole**j) for j in range(self.length)]

    @property
    def unmatched(self) -> bool:
        """No residues and skip reproduce the target on L lags."""
        return not fit_with_frozen_modes(self.modes, self.target(), skip=self.skip).possible


@st.composite
def horizons(draw: st.DrawFn, *, enough: bool = True, zero: bool = False) -> Horizon:
    """A pole outside the frozen set (0 itself with ``zero``); L from ``needed`` on, or below it."""
    modes = draw(decays(draw(st.integers(2, 5))))
    pole = Fraction(0) if zero else modes[-1]
    h = Horizon(tuple(modes[:-1]), pole, draw(rationals(nonzero=True)), True if zero else draw(st.booleans()), 1)
    return replace(h, length=h.needed + draw(st.integers(0, 2)) if enough else draw(st.integers(1, h.needed - 1)))


def check_horizon(h: Horizon) -> None:
    """Unmatched from L = needed on, with a certificate; matched at L = needed − 1, so the horizon is sharp."""
    fit = fit_with_frozen_modes(h.modes, h.target(), skip=h.skip)
    assert not fit.possible and fit.certificate is not None, h
    value = sum((x * y for x, y in zip(fit.certificate, h.target(), strict=True)), Fraction(0))
    columns = [[m**j for j in range(h.length)] for m in h.modes] + ([[int(j == 0) for j in range(h.length)]] if h.skip else [])
    assert value != 0 and all(sum(x * y for x, y in zip(fit.certificate, c, strict=True)) == 0 for c in columns), h
    short = replace(h, length=h.needed - 1)
    assert not short.unmatched, f"{short} should be matched"


# -- S6: log-decays ------------------------------------------------------------------------------------------------------


def rates_explain(poles: Sequence[Any], rates: Sequence[int]) -> bool:
    """Whether one base q gives all poles, λ_n = q^{k_n}, decided exactly: λ_i^{k_j} = λ_j^{k_i} for all pairs.

    ``rates`` are k_n = |A_n| in whole units; a constant clock only chooses q = exp(−dt).
    """
    return all(x ** rates[j] == y ** rates[i] for i, x in enumerate(poles) for j, y in enumerate(poles))


@dataclass(frozen=True)
class Clocked:
    """One S6 channel with integer rates |A_n|, trained projections W_B, W_C and a constant clock q = exp(−dt)."""

    rates: tuple[int, ...]
    W_B: tuple[Fraction, ...]
    W_C: tuple[Fraction, ...]
    q: Fraction

    def system(self) -> SelectiveSSM:
        """The module, D = 1."""
        return SelectiveSSM([[b] for b in self.W_B], [[c] for c in self.W_C], dt=1, decay=[[self.q**k for k in self.rates]])


def measured_poles(system: SelectiveSSM) -> dict[Fraction, int]:
    """Poles of one channel, read off what an initial state of ones adds to the outputs under constant later tokens."""
    n = system.n_states
    z = [[Fraction(1)]] * (2 * n + 2)
    delta = system.run(z, [[1] * n])[0] - system.run(z)[0]
    return minimal_recurrence(delta[:, 0]).poles()


@st.composite
def clocked(draw: st.DrawFn) -> Clocked:
    """N ≤ 3 distinct rates up to 5, any projections, any clock."""
    rates = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3, unique=True))
    n = len(rates)
    q = draw(st.sampled_from([Fraction(1, 2), Fraction(2, 3), Fraction(1, 3), Fraction(3, 4)]))
    return Clocked(tuple(rates), tuple(draw(vectors(n))), tuple(draw(vectors(n))), q)


def check_log_decays_stay(c: Clocked) -> None:
    """Poles measured before and after training are q^{k_n} for the frozen rates; a changed rate would be noticed."""
    found = measured_poles(c.system())
    seen = [k for k, w in zip(c.rates, c.W_C, strict=True) if w != 0]
    assert sorted(found) == sorted(c.q**k for k in seen), c
    assert rates_explain([c.q**k for k in seen], seen), c
    if len(seen) >= 2:
        wrong = [seen[0] + 1, *seen[1:]]
        assert not rates_explain([c.q**k for k in seen], wrong), f"{c}: rates {wrong} are another vector"


@dataclass(frozen=True)
class SoftplusClock:
    """A decay exp(A softplus(w z + β)) with A < 0; w = 0 is a constant clock."""

    w: Fraction
    beta: Fraction
    A: Fraction

    def log_decay(self, z: Fraction) -> flint.arb:
        """A softplus(w z + β), as a ball."""
        x = flint.arb(flint.fmpq((self.w * z + self.beta).numerator, (self.w * z + self.beta).denominator))
        a = flint.arb(flint.fmpq(self.A.numerator, self.A.denominator))
        return a * (1 + x.exp()).log()


def separating_token(first: SoftplusClock, second: SoftplusClock) -> Fraction | None:
    """A token z at which two clocks certainly differ (disjoint balls), or None where none of the tried ones shows it."""
    for k in (0, 1, 2, 4, 8, 16, 32, 64):
        for z in (Fraction(k), Fraction(-k)):
            if not first.log_decay(z).overlaps(second.log_decay(z)):
                return z
    return None


def rescaled(clock: SoftplusClock, A: Fraction) -> flint.arb:
    """β̃ with A softplus(β̃) = clock.A softplus(clock.beta): ln(exp(s) − 1), s the wanted step. For constant clocks."""
    step = clock.log_decay(Fraction(0)) / flint.arb(flint.fmpq(A.numerator, A.denominator))
    return step.expm1().log()


@st.composite
def clock_pairs(draw: st.DrawFn, *, constant: bool = False) -> tuple[SoftplusClock, SoftplusClock]:
    """Two clocks with different A; w ≠ 0 in both, or constant clocks whose second one is rescaled to the first."""
    rates = draw(
        st.lists(
            st.sampled_from([Fraction(-1), Fraction(-2), Fraction(-1, 2), Fraction(-3)]), min_size=2, max_size=2, unique=True
        )
    )
    w = [Fraction(0)] * 2 if constant else [draw(rationals(2, nonzero=True)) for _ in range(2)]
    beta = draw(vectors(2, 2))
    first, second = (SoftplusClock(w[i], beta[i], rates[i]) for i in range(2))
    return first, second


def check_rigid(pair: tuple[SoftplusClock, SoftplusClock]) -> None:
    """With w ≠ 0 two clocks with different A differ at some token."""
    assert separating_token(*pair) is not None, pair


def check_constant_rescales(pair: tuple[SoftplusClock, SoftplusClock]) -> None:
    """A constant clock with another A is the same decay once β̃ is chosen (balls of the two log-decays overlap tightly)."""
    first, second = pair
    beta = rescaled(first, second.A)
    a = flint.arb(flint.fmpq(second.A.numerator, second.A.denominator))
    gap = a * (1 + beta.exp()).log() - first.log_decay(Fraction(0))
    scale = max(1.0, abs(float(first.log_decay(Fraction(0)).mid())))
    assert gap.contains(0) and float(gap.rad()) <= budget(64) * scale, pair


@dataclass(frozen=True)
class Imitation:
    """A target channel with rates (1, 3) and clock q, and a student whose rows are (1, 2), with one channel or two."""

    channels: int
    b: tuple[Fraction, Fraction]
    c: tuple[Fraction, Fraction]
    q: Fraction
    inputs: tuple[Fraction, ...]

    @property
    def parallel(self) -> bool:
        """Both states of the target read and write the same signals, up to scale."""
        return all(self.b) and all(self.c)


def target_outputs(i: Imitation) -> Array:
    """The target module's outputs: one channel, rates (1, 3)."""
    system = SelectiveSSM([[v] for v in i.b], [[v] for v in i.c], dt=1, decay=[[i.q, i.q**3]])
    return system.run([[z] for z in i.inputs])[0][:, 0]


def student_outputs(i: Imitation) -> Array:
    """Two channels with rows (1, 2) and clocks 1 and 3 (decays q and q³ in the first state), W_out = (g_1, g_3/3).

    Both channels see the same token. The second state is silenced by a zero row of W_C; the first has B = C = 1.
    """
    system = SelectiveSSM([["1/2", "1/2"], [0, 0]], [["1/2", "1/2"], [0, 0]], dt=[1, 3], decay=[[i.q, i.q**2], [i.q**3, i.q**6]])
    y = system.run([[z, z] for z in i.inputs])[0]
    return y[:, 0] * (i.b[0] * i.c[0]) + y[:, 1] * (i.b[1] * i.c[1]) / 3


def out_of_reach(i: Imitation) -> bool:
    """Whether the target is out of the student's reach: one channel never has the ratio 3, two channels imitate it."""
    if i.channels == 1:
        reachable_rates = [(1, 2), (2, 1)]
        poles = [i.q, i.q**3]
        return not any(rates_explain(poles, list(r)) for r in reachable_rates)
    return not all(x == y for x, y in zip(student_outputs(i), target_outputs(i), strict=True))


@st.composite
def imitations(draw: st.DrawFn, channels: int) -> Imitation:
    """Targets with rates (1, 3) and nonzero rows."""
    b, c = draw(vectors(2, nonzero=True)), draw(vectors(2, nonzero=True))
    return Imitation(channels, (b[0], b[1]), (c[0], c[1]), draw(st.sampled_from([Fraction(1, 2), Fraction(2, 3)])),
                     tuple(draw(vectors(4))))  # fmt: skip


# -- symbolic and float routes --------------------------------------------------------------------------------------------


def prove_symbolically(_: Profile) -> Outcome:
    """Vandermonde with one more node, and the asymptotics that make a token-dependent clock rigid."""
    count = 0
    for n in range(1, 4):
        lam = sympy.symbols(f"lambda0:{n + 1}")
        m = sympy.Matrix(n + 1, n + 1, lambda j, i, lam=lam: lam[i] ** j)
        expected = sympy.prod(lam[j] - lam[i] for i in range(n + 1) for j in range(i + 1, n + 1))
        assert sympy.expand(m.det(method="berkowitz") - expected) == 0, n
        shifted = sympy.Matrix(n + 2, n + 2, lambda j, i, lam=lam, n=n: lam[i] ** j if i <= n else int(j == 0))
        sign = (-1) ** (n + 1)
        assert sympy.expand(shifted.det(method="berkowitz") - sign * expected * sympy.prod(lam)) == 0, n
        count += 2
    z, w, beta = sympy.Symbol("z", real=True), sympy.Symbol("w", positive=True), sympy.Symbol("beta", real=True)
    g = sympy.log(1 + sympy.exp(w * z + beta))
    t = sympy.Symbol("t", positive=True)  # t = exp(w z + β)
    assert sympy.limit(sympy.log(1 + t) / t, t, 0) == 1  # z → −∞: softplus ~ exp(w z + β), so w and A e^β are determined
    assert sympy.limit(sympy.log(1 + t) - sympy.log(t), t, sympy.oo) == 0  # z → ∞: softplus ~ w z + β, so A w and A β are
    assert sympy.simplify(sympy.diff(g, z) - w / (1 + sympy.exp(-(w * z + beta)))) == 0
    return Outcome(
        Verdict.PROVED,
        "kernels lie in span{λ_n^j} (Vandermonde with one more node); softplus determines (w, β, A) by its two asymptotes",
        "any n, D, depth (derivation); n ≤ 3 with symbols",
        instances=count + 3,
    )


def float_route(profile: Profile) -> Outcome:
    """S6 with a softplus clock in float64: log-decays of a channel keep their ratios to rounding, whatever the projections."""
    rng = np.random.default_rng(profile.seed)
    worst, count = 0.0, profile.scaled(0.1)
    for _ in range(count):
        A = -np.exp(rng.standard_normal((2, 4)))
        trained = SelectiveSSM(
            rng.standard_normal((4, 2)), rng.standard_normal((4, 2)), A=A, W_dn=rng.standard_normal((1, 2)),
            W_up=rng.standard_normal((2, 1)), dt_bias=rng.standard_normal(2),
        )  # fmt: skip
        _, decay = trained.clock(rng.standard_normal(2))
        ratios = np.log(decay) / np.log(decay[:, :1])
        worst = max(worst, float(np.abs(ratios / (A / A[:, :1]) - 1).max()))
    spread = 1e4  # log of a decay near 1 cancels: its digits are those of dt·|A| ≥ 1e-4 here
    assert worst <= budget(4, spread), worst
    return Outcome(
        Verdict.TO, f"log-decay ratios after training, largest deviation {worst:.1e}", "D = 2, N = 4", count,
        tolerance=budget(4, spread), condition=spread,
    )  # fmt: skip


def _half_lives(_: Profile) -> Outcome:
    """What the frozen spectrum means for Mamba's A = −1..−16: half-lives can be scaled together, never apart."""
    rows = [{"dt": dt, "longest": math.log(2) / dt, "shortest": math.log(2) / (16 * dt)} for dt in (1e-3, 1e-2, 1e-1)]
    assert all(abs(r["longest"] / r["shortest"] - 16) <= budget(4) * 16 for r in rows)
    how = "Mamba's channels keep 16 : 1 between longest and shortest half-life, whatever the projections"
    return Outcome(Verdict.EXACT, how, "N = 16", len(rows), data={"table": rows})


# -- assumptions ----------------------------------------------------------------------------------------------------------

ASSUMPTIONS = (
    Assumption(
        "target pole nonzero",
        "λ* ≠ 0; a mode 0 is a direct term, which a tunable skip absorbs",
        lambda h: h.pole != 0,
        horizons,
        lambda: horizons(zero=True),
        lambda h: h.unmatched,
        Counterexample(
            "a target pole at 0",
            lambda: Horizon((Fraction(1, 2),), Fraction(0), Fraction(1), True, 6),
            "frozen {1/2}, target poles {1/2, 0}: k* = 2, 1/2, 1/4, … is residue 1 at 1/2 and skip 1",
        ),
    ),
    Assumption(
        "long horizon",
        "L ≥ n_frozen + 1, one more where the skip is tuned",
        lambda h: h.length >= h.needed,
        horizons,
        lambda: horizons(enough=False),
        lambda h: h.unmatched,
        Counterexample(
            "three lags",
            lambda: Horizon((Fraction(1, 2), Fraction(3, 10)), Fraction(7, 10), Fraction(1), True, 3),
            "frozen {1/2, 3/10}, target pole 7/10, L = 3, skip tuned: residues and skip fit the three lags",
        ),
    ),
    Assumption(
        "one channel (module level)",
        "the imitating module has the channel itself, not other channels beside it",
        lambda i: i.channels == 1,
        lambda: imitations(1),
        lambda: imitations(2),
        out_of_reach,
        Counterexample(
            "two channels with clocks 1 and 3",
            lambda: Imitation(
                2, (Fraction(1), Fraction(1)), (Fraction(1), Fraction(1)), Fraction(1, 2), (Fraction(1), Fraction(2))
            ),
            "target row (−1, −3), B and C rows parallel; frozen rows (−1, −2) twice: clocks τ and 3τ, second state silenced, "
            "W_out = (1, 1/3) reproduce it exactly",
        ),
    ),
    Assumption(
        "clock depends on the token",
        "w ≠ 0 in softplus(w z + β)",
        lambda pair: pair[0].w != 0 and pair[1].w != 0,
        clock_pairs,
        lambda: clock_pairs(constant=True),
        lambda pair: separating_token(*pair) is not None if pair[0].w != 0 else False,
        Counterexample(
            "constant clocks",
            lambda: (
                SoftplusClock(Fraction(0), Fraction(0), Fraction(-2)),
                SoftplusClock(Fraction(0), Fraction(0), Fraction(-1)),
            ),
            "w = 0: A = −1 with softplus(β̃) = 2 softplus(0), β̃ = ln 3, is the decay of A = −2 with β = 0, at every token",
        ),
    ),
)

CLAIM = Claim(
    id="lora_limits.spectrum_frozen",
    title="adapters on the projections never move the spectrum: poles in S4, log-decay vectors in S6",
    statement=(
        "Projections only. S4, one layer or linear activations: every pole λ ≠ 0 of the tuned model is a frozen pole (in depth "
        "with at most the frozen multiplicities: poles can be cancelled, not added). A target kernel with one pole outside "
        "n_frozen frozen ones is out of reach iff L ≥ n_frozen + 1, + 2 where the skip is tuned. S6, module level: channel d's "
        "decays are exp(dt_t[d] A[d,:]), so the vector of log-decays keeps its direction A[d,:]; with softplus(w z + β), w ≠ 0, "
        "even N = 1 is rigid: equal log-decays for all z force A = Ã, w = w̃, β = β̃. Only constant clocks can be rescaled."
    ),
    level="module; for S4 also stacks with linear activations",
    horizon="L ≥ n_frozen + 1 (+ 1 with a tunable skip), sharp",
    checks=(
        Check("symbolic identities", prove_symbolically, part="statement"),
        Check(
            "poles after training",
            exact_check(
                check_poles_stay, tuned_stacks, "minimal recurrence of the outputs divides the frozen one", "D, N ≤ 2, ≤ 2 layers"
            ),
            part="S4 poles",
        ),
        Check(
            "horizon",
            exact_check(check_horizon, horizons, "certificate row; matched one lag earlier", "n_frozen ≤ 4"),
            part="S4 horizon",
        ),
        Check(
            "log-decays after training",
            exact_check(check_log_decays_stay, clocked, "poles of the state's response against frozen rates", "N ≤ 3"),
            part="S6",
        ),
        Check(
            "token-dependent clocks are rigid",
            exact_check(check_rigid, clock_pairs, "a token with disjoint enclosures", "N = 1"),
            part="clock",
        ),
        Check(
            "constant clocks rescale",
            exact_check(
                check_constant_rescales, lambda: clock_pairs(constant=True), "β̃ in closed form, ball arithmetic", "N = 1", 0.5
            ),
            part="clock",
        ),
        Check("ratios in float64", float_route, part=None),
        Check("Mamba's half-lives", _half_lives, part=None),
    ),
    assumptions=ASSUMPTIONS,
    readme="lora_limitsspectrum_frozen",
    not_claimed=(
        "At block level several channels can imitate other ratios (see the counterexample), so a statement about whole Mamba "
        "blocks needs targets whose C_n(t)B_n(s) are independent over n. Nothing about ReLU stacks, which have no kernel."
    ),
)
