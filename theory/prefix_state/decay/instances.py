"""Instances and exact properties that decide prefix_state.decay."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

from theory.core.lti import LTI
from theory.core.scalars import Array, gaussian, is_zero
from theory.core.selective import SelectiveSSM
from theory.core.strategies import any_lti, gaussians, matrices, rationals, vectors
from theory.verification.refutation import require

from .fading import decay_bound, selective_decay_bound_squared, visible_states

LATER = 16
"""Steps after which every mode |a| ≤ 11/12 (the strategies' largest) has lost three quarters: (11/12)^16 < 1/4."""


# -- LTI -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fade:
    """A channel, a state, a horizon, and the conventions by which someone states its bound.

    ``all_modes``: ρ is the largest |a_n| of the system, visible or not. ``factor``: the 2 of half storage is kept.
    """

    system: LTI
    h0: tuple[Any, ...]
    length: int = 6
    all_modes: bool = False
    factor: bool = True

    def bound(self) -> list[Fraction]:
        """The bound as these conventions have it; floats (rounded upwards) as the rationals they are."""
        system = self.system if self.factor else LTI(self.system.a, self.system.b, self.system.c, check_stable=False)
        return [Fraction(x) for x in decay_bound(system, list(self.h0), self.length)]

    def rate(self) -> Fraction:
        """ρ of a real system as these conventions have it."""
        states = range(self.system.n_states) if self.all_modes else visible_states(self.system, list(self.h0))
        return max((abs(self.system.a[n]) for n in states), default=Fraction(0))

    def response(self, length: int) -> list[Fraction]:
        """o_1..o_L, by running."""
        return [Fraction(x) for x in self.system.free_response(list(self.h0), length)]


@st.composite
def turns(draw: st.DrawFn, size: st.SearchStrategy[Fraction]) -> Any:
    """A Gaussian rational of rational modulus: r (p + iq)²/(p² + q²), |r| from ``size``."""
    p, q = draw(st.integers(1, 4)), draw(st.integers(-4, 4).filter(bool))
    return draw(size) * gaussian(Fraction(p * p - q * q, p * p + q * q), Fraction(2 * p * q, p * p + q * q))


_RADII = st.sampled_from([Fraction(1, 2), Fraction(2, 3), Fraction(11, 12), Fraction(1, 5)])


@st.composite
def turning(draw: st.DrawFn) -> LTI:
    """Up to two stored modes whose numbers all have rational moduli, so that the bound is a Fraction."""
    n = draw(st.integers(1, 2))
    a, c = ([draw(turns(s)) for _ in range(n)] for s in (_RADII, rationals(2, nonzero=True)))
    return LTI(a, [1] * n, c, half=True)


@st.composite
def fades(draw: st.DrawFn, systems: st.SearchStrategy[LTI] | None = None, **slips: Any) -> Fade:
    """Any exact channel (equal, zero and hidden modes, pairs of rational or irrational moduli) with a state."""
    system = draw(st.one_of(any_lti(4), turning()) if systems is None else systems)
    if system.half and draw(st.booleans()):
        h0 = [draw(turns(rationals(2))) for _ in range(system.n_states)]
    else:
        entries = gaussians() if system.half else rationals()
        h0 = draw(st.lists(entries, min_size=system.n_states, max_size=system.n_states))
    return Fade(system, tuple(h0), draw(st.integers(1, 6)), **slips)


@st.composite
def dominated(draw: st.DrawFn) -> Fade:
    """A real channel with moduli pairwise distinct and every state visible: one mode dominates in the end."""
    n = draw(st.integers(1, 3))
    pool = [Fraction(s * p, q) for q in (2, 3, 5, 12) for p in range(1, q) for s in (1, -1)]
    a = draw(st.lists(st.sampled_from(pool), min_size=n, max_size=n, unique_by=abs))
    return Fade(LTI(a, [1] * n, draw(vectors(n, nonzero=True))), tuple(draw(vectors(n, nonzero=True))))


def bounded(f: Fade) -> bool:
    """Whether the bound, as stated, holds for t = 1..L."""
    return all(abs(o) <= bound for o, bound in zip(f.response(f.length), f.bound(), strict=True))


def settled(f: Fade) -> int:
    """A time from which the leading visible mode outweighs the others four to one (real systems, distinct moduli)."""
    states = sorted(visible_states(f.system, list(f.h0)), key=lambda n: abs(f.system.a[n]), reverse=True)
    weight = {n: abs(f.system.c[n] * f.h0[n]) for n in states}
    t = 1
    while 4 * sum(weight[n] * abs(f.system.a[n]) ** t for n in states[1:]) > weight[states[0]] * abs(f.system.a[states[0]]) ** t:
        t *= 2
    return t


def rate_attained(f: Fade) -> bool:
    """Whether outputs fall as fast as the stated ρ and no faster: |o_{2T}/o_T| is ρ^T to within 5/3, at a settled T."""
    t = settled(f)
    early, late = f.response(2 * t)[t - 1], f.response(2 * t)[2 * t - 1]
    return Fraction(3, 5) * f.rate() ** t <= abs(late / early) <= Fraction(5, 3) * f.rate() ** t


def fading(f: Fade) -> bool:
    """Whether the response is smaller :data:`LATER` steps after it has settled."""
    t = settled(f)
    o = f.response(t + LATER)
    return abs(o[t + LATER - 1]) < abs(o[t - 1])


def check_bound(f: Fade) -> None:
    """|o_t| ≤ κ Σ|c_n h_0n| ρ^t at every t, exactly; for one stored mode 4|c h|²|λ|^{2t} (|c h|²|λ|^{2t}) in squares too."""
    require(bounded(f), f)
    if f.system.n_states == 1:
        size = _square(f.system.c[0]) * _square(f.h0[0]) * (4 if f.system.half else 1)
        for t, (o, bound) in enumerate(zip(f.response(f.length), f.bound(), strict=True), start=1):
            square = size * _square(f.system.a[0]) ** t
            require(
                o * o <= square and (square <= bound * bound or o == bound == 0), f
            )  # 0: a stored real mode that cancels itself
            require(f.system.half or o * o == square, f)  # one real mode: an equality
    invisible = visible_states(f.system, list(f.h0)) == ()
    require(not invisible or all(o == 0 for o in f.response(f.length)), f)


def _square(x: Any) -> Fraction:
    x = gaussian(x) if isinstance(x, int | Fraction) else x
    re, im = Fraction(int(x.x.numerator), int(x.x.denominator)), Fraction(int(x.y.numerator), int(x.y.denominator))
    return re * re + im * im


def check_rate(f: Fade) -> None:
    """The rate cannot be improved where one visible mode dominates, and |a| < 1 makes the response fade."""
    require(bounded(f) and rate_attained(f) and fading(f), f)


# -- S6 ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RationalClock:
    """A clock that depends on the token and stays rational: with u = w z + β, dt = 1/(1 + u²), E[d,n] = e_d^{k[d,n]}.

    e_d = (1 + u_d²)/(2 + u_d²) plays exp(−dt), and −k the integer A: max_n E is the state of least |A| at every step.
    """

    weights: Array
    bias: Array
    powers: Array

    def __call__(self, z: Array) -> tuple[Array, Array]:
        u = self.weights @ z + self.bias
        e = (1 + u * u) / (2 + u * u)
        return 1 / (1 + u * u), np.array([[x**k for k in row] for x, row in zip(e, self.powers, strict=True)], dtype=object)


@dataclass(frozen=True)
class Selected:
    """S6 modules in a row, module inputs, an initial state of the first one, and how someone states the bound.

    ``first_readout``: ‖C_1‖ in place of ‖C_t‖. ``channel``: the decays of this channel in place of each one's own.
    """

    modules: tuple[SelectiveSSM, ...]
    z: Array
    h0: Array
    first_readout: bool = False
    channel: int | None = None

    def __repr__(self) -> str:
        shown = [
            {k: v.tolist() for k in ("W_B", "W_C", "decay") if (v := getattr(m, k)) is not None} | {"clock": m._clock}
            for m in self.modules
        ]
        return f"Selected({shown}, z={self.z.tolist()}, h0={self.h0.tolist()}, {self.first_readout}, {self.channel})"

    def change(self) -> Array:
        """δy, shape (L, D): outputs of the last module with h_0 minus those without, by running."""
        out = []
        for h0 in (self.h0, None):
            x = self.z
            for i, module in enumerate(self.modules):
                x, _ = module.run(x, h0 if i == 0 else None)
            out.append(x)
        return np.asarray(out[0] - out[1])

    def bound_squared(self) -> Array:
        """The squared bound of the first module, as these conventions have it: shape (L, D)."""
        first = self.modules[0]
        bound = selective_decay_bound_squared(first, self.z, self.h0)
        if self.channel is None and not self.first_readout:
            return bound
        out, left = bound.copy(), np.ones((first.n_channels, first.n_states), dtype=object)
        for t, token in enumerate(self.z):
            left = left * first.clock(token)[1] ** 2
            c = first.W_C @ (self.z[0] if self.first_readout else token)
            for d in range(first.n_channels):
                source = d if self.channel is None else self.channel
                out[t, d] = (c * c).sum() * (self.h0[d] * self.h0[d]).sum() * left[source].max()
        return out


@st.composite
def modules(draw: st.DrawFn, d: int, n: int) -> SelectiveSSM:
    """An exact S6 module whose clock depends on the token."""
    powers = draw(st.lists(st.lists(st.integers(1, 3), min_size=n, max_size=n), min_size=d, max_size=d))
    clock = RationalClock(
        np.array(draw(matrices(d, d, 1)), dtype=object),
        np.array(draw(vectors(d, 1)), dtype=object),
        np.array(powers, dtype=object),
    )
    return SelectiveSSM(draw(matrices(n, d, 2)), draw(matrices(n, d, 2)), D_skip=draw(vectors(d, 1)), clock=clock)


@st.composite
def selected(draw: st.DrawFn, count: int = 1, **slips: Any) -> Selected:
    """``count`` modules with up to 2 channels and 3 states, up to 3 tokens, any state (zeros included)."""
    d, n = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    z = np.array(draw(matrices(draw(st.integers(1, 3)), d, 2)), dtype=object)
    h0 = np.array(draw(matrices(d, n, 2)), dtype=object)
    return Selected(tuple(draw(modules(d, n)) for _ in range(count)), z, h0, **slips)


def change_bounded(s: Selected) -> bool:
    """Whether (δy_t[d])² is at most the squared bound, as stated, at every token and channel."""
    return bool(np.all(s.change() ** 2 <= s.bound_squared()))


def check_selective_bound(s: Selected) -> None:
    """The bound holds in squares, exactly; with one state it is an equality, and it is at most the one over all n."""
    (module,) = s.modules
    bound, change = s.bound_squared(), s.change()
    require(np.all(change**2 <= bound), s)
    if module.n_states == 1:
        require(np.all(change**2 == bound), s)
    left: Any = 1
    for t, token in enumerate(s.z):
        left = left * module.clock(token)[1] ** 2
        c = module.W_C @ token
        for d in range(module.n_channels):
            everything = (c * c).sum() * (s.h0[d] * s.h0[d]).sum() * left[d].max()
            require(bound[t, d] <= everything, s)
            require(bound[t, d] == everything or any(is_zero(x) for x in s.h0[d]), s)
