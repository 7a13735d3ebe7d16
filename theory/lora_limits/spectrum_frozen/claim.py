r"""lora_limits.spectrum_frozen: what adapters on the projections around an SSM can never change.

S4: the poles. S6: each channel's vector of log-decays, up to the one factor a constant clock can give it, and not even that
once the clock depends on the input. Algorithms: :mod:`.poles`, :mod:`.spectrum`. Instances: :mod:`.spectrum_examples`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import sympy

from theory.core.selective import SelectiveSSM
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
)
from theory.verification.planted import changed, giving, swap
from theory.verification.refutation import existing, require

from .imitation import Imitation, imitated_by_channels
from .instances import (
    Blocks,
    Clocked,
    Horizon,
    Tuned,
    blocks,
    clock_pairs,
    clocked,
    constant_pairs,
    horizons,
    imitations,
    tuned_stacks,
)
from .invariants import (
    SoftplusClock,
    clocks_differ,
    frozen_polynomial,
    frozen_spectrum,
    kernel_poles,
    log_decays,
    matrix_kernel,
    measured_poles,
    rates_explain,
    rescaled,
    same_constant_decay,
    separating_token,
)
from .poles import annihilates, divides, fit_with_frozen_modes, kernel_recurrence, minimal_recurrence

__all__ = ["CLAIM", "frozen_spectrum", "kernel_poles", "log_decays"]

# -- properties -----------------------------------------------------------------------------------------------------------


def check_poles_stay(t: Tuned) -> None:
    """After any change of projections, skips and residues, the poles divide the frozen polynomial."""
    allowed = frozen_polynomial(t.frozen)
    order = int(allowed.degree())
    kernel = matrix_kernel(t.tuned, 2 * order + 3)
    found = kernel_recurrence(kernel)
    require(divides(found.polynomial, allowed), f"{t}: poles {found.poles()} outside {allowed}")
    for entry in kernel[: order + 3].reshape(order + 3, -1).T:
        require(annihilates(allowed, entry[1:]), t)


def check_horizon(h: Horizon) -> None:
    """Unmatched from L = needed on, with a certificate; matched at L = needed − 1, so the horizon is sharp."""
    fit = fit_with_frozen_modes(h.modes, h.target(), skip=h.skip)
    require(not fit.possible, h)
    certificate = existing(fit.certificate, h)
    value = sum((x * y for x, y in zip(certificate, h.target(), strict=True)), Fraction(0))
    columns = [[m**j for j in range(h.length)] for m in h.modes] + ([[int(j == 0) for j in range(h.length)]] if h.skip else [])
    require(value != 0 and all(sum(x * y for x, y in zip(certificate, c, strict=True)) == 0 for c in columns), h)
    short = replace(h, length=h.needed - 1)
    require(not short.unmatched, f"{short} should be matched")


def check_log_decays_stay(c: Clocked) -> None:
    """Poles measured before and after training are q^{k_n} for the frozen rates; a changed rate would be noticed."""
    found = measured_poles(c.system())
    seen = [k for k, w in zip(c.rates, c.W_C, strict=True) if w != 0]
    require(sorted(found) == sorted(c.q**k for k in seen), c)
    require(rates_explain([c.q**k for k in seen], seen), c)
    if len(seen) >= 2:
        wrong = [seen[0] + 1, *seen[1:]]
        require(not rates_explain([c.q**k for k in seen], wrong), f"{c}: rates {wrong} are another vector")


def check_rigid(pair: tuple[SoftplusClock, SoftplusClock]) -> None:
    """Two clocks that are not the same triple (w, β, A), one of them with w ≠ 0, differ at some token."""
    first, second = pair
    require(first == second or separating_token(first, second) is not None, pair)


def check_constant_rescales(pair: tuple[SoftplusClock, SoftplusClock]) -> None:
    """A constant clock with another A is the same decay once β̃ is chosen, exactly; another β̃ is not."""
    first, second = pair
    found = rescaled(first, second.A)
    require(same_constant_decay(first, found) and not clocks_differ(first, found), pair)
    require(not same_constant_decay(first, replace(found, weight=found.weight + 1)), pair)


def check_blocks(b: Blocks) -> None:
    """Channels with rows (1, 2): whatever their number, the second state's poles are the squares of the first's, exactly.

    So a target with independent C_n B_n and poles (q, q³) is not among them: q² and q⁶ are neither q nor q³.
    """
    first, second = (minimal_recurrence(f) for f in b.state_kernels())
    require(first.determined and second.determined and first.splits and second.splits, b)
    require(set(second.poles()) == {p * p for p in first.poles()}, f"{b}: {first.poles()} and {second.poles()}")
    for p in first.poles():
        require(rates_explain([p, p * p], [1, 2]) and not rates_explain([p, p * p], [1, 3]), b)


def out_of_reach(i: Imitation) -> bool:
    """Whether the student's channels, with any constant clocks, residues and W_out, miss the target's outputs."""
    return not imitated_by_channels(i)


# -- symbolic and float routes --------------------------------------------------------------------------------------------


def vandermonde(lam: Any) -> Any:
    """Π_{i<j} (λ_j − λ_i)."""
    return sympy.prod(lam[j] - lam[i] for i in range(len(lam)) for j in range(i + 1, len(lam)))


def prove_symbolically(_: Profile) -> Outcome:
    """Vandermonde with one more node, and the asymptotics that make a token-dependent clock rigid."""
    count = 0
    for n in range(1, 4):
        lam = sympy.symbols(f"lambda0:{n + 1}")
        m = sympy.Matrix(n + 1, n + 1, lambda j, i, lam=lam: lam[i] ** j)
        expected = vandermonde(lam)
        require(sympy.expand(m.det(method="berkowitz") - expected) == 0, n)
        shifted = sympy.Matrix(n + 2, n + 2, lambda j, i, lam=lam, n=n: lam[i] ** j if i <= n else int(j == 0))
        sign = (-1) ** (n + 1)
        require(sympy.expand(shifted.det(method="berkowitz") - sign * expected * sympy.prod(lam)) == 0, n)
        count += 2
    z, w, beta = sympy.Symbol("z", real=True), sympy.Symbol("w", positive=True), sympy.Symbol("beta", real=True)
    g = sympy.log(1 + sympy.exp(w * z + beta))
    t = sympy.Symbol("t", positive=True)  # t = exp(w z + β)
    require(sympy.limit(sympy.log(1 + t) / t, t, 0) == 1)  # z → −∞: softplus ~ exp(w z + β), so w and A e^β are determined
    require(sympy.limit(sympy.log(1 + t) - sympy.log(t), t, sympy.oo) == 0)  # z → ∞: softplus ~ w z + β, so A w and A β are
    require(sympy.simplify(sympy.diff(g, z) - w / (1 + sympy.exp(-(w * z + beta)))) == 0)
    return Outcome(
        Verdict.EXACT,
        "kernels lie in span{λ_n^j} (Vandermonde with one more node); softplus determines (w, β, A) by its two asymptotes",
        "any n, D, depth (derivation); n ≤ 3 with symbols",
        instances=count + 3,
    )


def float_route(profile: Profile) -> Outcome:
    """S6 with a softplus clock in float64: log-decay directions before and after any change of the projections."""
    rng = np.random.default_rng(profile.seed)
    worst, condition, count = 0.0, 1.0, profile.scaled(0.1)
    for _ in range(count):
        A, token = -np.exp(rng.standard_normal((2, 4))), rng.standard_normal(2)

        def trained(A: np.ndarray) -> SelectiveSSM:
            w_b, w_c, w_dn, w_up = (rng.standard_normal(size) for size in ((4, 2), (4, 2), (1, 2), (2, 1)))
            return SelectiveSSM(w_b, w_c, A=A, W_dn=w_dn, W_up=w_up, dt_bias=rng.standard_normal(2))

        before, after = (log_decays(trained(A), token) for _ in range(2))
        require(after.unchanged(before), (before, after))
        require(not log_decays(trained(A * [1, 1, 1, 1.01]), token).unchanged(before), "a moved A must show")
        worst = max(worst, float(np.abs(after.directions / (A / A.min(axis=1, keepdims=True)) - 1).max()))
        condition = max(condition, before.condition, after.condition)
    allowed = budget(4, condition)
    require(worst <= allowed, f"log-decay directions differ from A by {worst:.1e}, budget {allowed:.1e}")
    how = "log-decay directions after training, largest deviation from A within its error budget"
    return Outcome(Verdict.NUMERIC, how, "D = 2, N = 4", count, tolerance=allowed, condition=condition)


def _half_life(rate: float, dt: float) -> float:
    """ln 2/(|A| dt), in tokens."""
    return math.log(2) / (rate * dt)


def _half_lives(_: Profile) -> Outcome:
    """What the frozen spectrum means for Mamba's A = −1..−16: half-lives can be scaled together, never apart."""
    rows = [{"dt": dt, "longest": _half_life(1, dt), "shortest": _half_life(16, dt)} for dt in (1e-3, 1e-2, 1e-1)]
    require(all(abs(r["longest"] / r["shortest"] - 16) <= budget(4) * 16 for r in rows))
    how = "Mamba's channels keep 16 : 1 between longest and shortest half-life, whatever the projections"
    return Outcome(Verdict.EXACT, how, "N = 16", len(rows), data={"table": rows})


# -- assumptions ----------------------------------------------------------------------------------------------------------

ASSUMPTIONS = (
    Assumption(
        name="target pole nonzero",
        statement="λ* ≠ 0; a mode 0 is a direct term, which a tunable skip absorbs",
        predicate=lambda h: h.pole != 0,
        having=horizons,
        lacking=lambda: horizons(zero=True),
        conclusion=lambda h: h.unmatched,
        counterexample=Counterexample(
            "a target pole at 0",
            lambda: Horizon((Fraction(1, 2),), Fraction(0), Fraction(1), True, 6),
            "frozen {1/2}, target poles {1/2, 0}: k* = 2, 1/2, 1/4, … is residue 1 at 1/2 and skip 1",
        ),
    ),
    Assumption(
        name="long horizon",
        statement="L ≥ n_frozen + 1 (nonzero frozen modes), one more where the skip is tuned or a frozen mode is 0",
        predicate=lambda h: h.length >= h.needed,
        having=horizons,
        lacking=lambda: horizons(enough=False),
        conclusion=lambda h: h.unmatched,
        counterexample=Counterexample(
            "three lags",
            lambda: Horizon((Fraction(1, 2), Fraction(3, 10)), Fraction(7, 10), Fraction(1), True, 3),
            "frozen {1/2, 3/10}, target pole 7/10, L = 3, skip tuned: residues and skip fit the three lags",
        ),
    ),
    Assumption(
        name="one channel (module level)",
        statement="the imitating module has the channel itself, not other channels beside it",
        predicate=lambda i: i.channels == 1,
        having=lambda: imitations(1),
        lacking=lambda: imitations(2),
        conclusion=out_of_reach,
        counterexample=Counterexample(
            "two channels with clocks 1 and 3",
            lambda: Imitation(
                2, (Fraction(1), Fraction(1)), (Fraction(1), Fraction(1)), Fraction(1, 4), (Fraction(1), Fraction(2))
            ),
            "target row (−1, −3), B and C rows parallel; frozen rows (−1, −2) twice: clocks τ and 3τ, second state silenced, "
            "W_out = (1, 1/3) reproduce it exactly",
        ),
    ),
    Assumption(
        name="clock depends on the token",
        statement="w ≠ 0 in softplus(w z + β), for the target's clock; the conclusion is that no other A gives its decays",
        predicate=lambda pair: pair[0].w != 0,
        having=clock_pairs,
        lacking=constant_pairs,
        conclusion=lambda pair: clocks_differ(*pair),
        counterexample=Counterexample(
            "constant clocks",
            lambda: (
                SoftplusClock(Fraction(0), Fraction(1), Fraction(-2)),
                SoftplusClock(Fraction(0), Fraction(3), Fraction(-1)),
            ),
            "w = 0: A = −1 with β̃ = ln 3 is the decay of A = −2 with β = 0, namely 1/4, at every token",
        ),
    ),
)

CLAIM = Claim(
    id="lora_limits.spectrum_frozen",
    title="adapters on the projections never move the spectrum: poles in S4, log-decay vectors in S6",
    statement=(
        "Projections only. S4, one layer or linear activations: every pole λ ≠ 0 of the tuned model is a frozen pole (in depth "
        "with at most the frozen multiplicities: poles can be cancelled, not added). A target kernel with one pole outside "
        "n_frozen nonzero frozen ones is out of reach iff L ≥ n_frozen + 1, + 2 where a direct term is free (the skip is "
        "tuned, or a "
        "frozen mode is 0, or both: they are one). S6, module level: channel d's "
        "decays are exp(dt_t[d] A[d,:]), so the vector of log-decays keeps its direction A[d,:]; with softplus(w z + β), w ≠ 0, "
        "even N = 1 is rigid: equal log-decays for all z force A = Ã, w = w̃, β = β̃. Only constant clocks can be rescaled."
    ),
    level="module; for S4 also stacks with linear activations",
    horizon="L ≥ n_frozen + 1 (+ 1 with a free direct term), sharp",
    parts=(
        Part("S4 poles", argument="derivation"),
        Part("S4 horizon", argument="derivation"),
        Part("S6", argument="derivation"),
        Part("clock", argument="derivation"),
    ),
    checks=(
        Check(
            "symbolic identities",
            prove_symbolically,
            part="S4 horizon",
            planted=(Planted("a determinant of the wrong sign", swap("vandermonde", changed(lambda product: -product))),),
        ),
        Check(
            "poles after training",
            exact_check(
                check_poles_stay, tuned_stacks, "minimal recurrence of the outputs divides the frozen one", "D, N ≤ 2, ≤ 2 layers"
            ),
            part="S4 poles",
            planted=(
                Planted(
                    "a frozen pole left out",
                    swap("frozen_polynomial", lambda right: lambda model: right(getattr(model, "layers", [model])[0])),
                ),
            ),
        ),
        Check(
            "horizon",
            exact_check(check_horizon, horizons, "certificate row; matched one lag earlier", "n_frozen ≤ 4"),
            part="S4 horizon",
            planted=(
                Planted(
                    "a fit claimed",
                    swap(
                        "fit_with_frozen_modes",
                        changed(lambda fit: replace(fit, residues=np.array([Fraction(0)]), certificate=None)),
                    ),
                ),
                Planted(
                    "a certificate that is none",
                    swap(
                        "fit_with_frozen_modes",
                        changed(lambda fit: replace(fit, certificate=None if fit.certificate is None else fit.certificate + 1)),
                    ),
                ),
            ),
        ),
        Check(
            "log-decays after training",
            exact_check(check_log_decays_stay, clocked, "poles of the state's response against frozen rates", "N ≤ 3"),
            part="S6",
            planted=(
                Planted(
                    "a rate moved",
                    swap(
                        "Clocked.system",
                        lambda right: lambda self: right(replace(self, rates=(self.rates[0] + 6, *self.rates[1:]))),
                    ),
                ),
                Planted("every rate said to explain the poles", swap("rates_explain", giving(True))),
            ),
        ),
        Check(
            "token-dependent clocks are rigid",
            exact_check(
                check_rigid, clock_pairs, "a token with disjoint enclosures, also for clocks that agree at 0 or at ±∞", "N = 1"
            ),
            part="clock",
            planted=(Planted("no token called separating", swap("separating_token", giving(None))),),
        ),
        Check(
            "constant clocks rescale",
            exact_check(check_constant_rescales, constant_pairs, "e^β̃ in closed form, decays compared as powers", "N = 1"),
            part="clock",
            planted=(Planted("another bias", swap("rescaled", changed(lambda clock: replace(clock, weight=2 * clock.weight)))),),
        ),
        Check(
            "several channels, independent states",
            exact_check(check_blocks, blocks, "the second state's poles are the squares of the first's", "D ≤ 4, N = 2"),
            part="S6",
            planted=(
                Planted(
                    "a second state with the cubes of the poles",
                    swap(
                        "Blocks.state_kernels",
                        lambda _: (
                            lambda self: tuple(
                                [
                                    sum((g * p ** (k * j) for g, p in zip(self.weights, self.bases, strict=True)), Fraction(0))
                                    for j in range(2 * len(self.bases) + 2)
                                ]
                                for k in (1, 3)
                            )
                        ),
                    ),
                ),
                Planted("every rate said to explain the poles", swap("rates_explain", giving(True))),
            ),
        ),
        Check(
            "ratios in float64",
            float_route,
            part=None,
            planted=(
                Planted(
                    "every change called none",
                    swap("theory.lora_limits.spectrum_frozen.invariants:LogDecays.unchanged", giving(True)),
                ),
                Planted(
                    "none called a change",
                    swap("theory.lora_limits.spectrum_frozen.invariants:LogDecays.unchanged", giving(False)),
                ),
            ),
        ),
        Check(
            "Mamba's half-lives",
            _half_lives,
            part=None,
            planted=(
                Planted("rates added to the step", swap("_half_life", lambda _: lambda rate, dt: math.log(2) / (rate + dt))),
            ),
        ),
    ),
    assumptions=ASSUMPTIONS,
    readme="theory/lora_limits/spectrum_frozen/README.md",
    not_claimed=(
        "At block level several channels can imitate other ratios (see the counterexample), so a statement about whole Mamba "
        "blocks needs targets whose C_n(t)B_n(s) are independent over n. Nothing about ReLU stacks, which have no kernel."
    ),
)
