r"""How fast an initial state fades from the outputs: bounds and half-lives, for LTI channels and S6 modules.

LTI.  o_t = Σ_λ κ_λ λ^t with κ_λ = Σ_{a_n=λ} c_n h_{0,n}, so with n over the states on modes with κ_λ ≠ 0 and ρ = max |λ| over
these

    |o_t| ≤ κ Σ_n |c_n h_{0,n}| ρ^t,     κ = 2 where one mode of each conjugate pair is stored, else 1.

S6.  What h_0 changes in channel d of one module, inputs unchanged, is δy_t[d] = Σ_n C_t[n] Π_{s≤t} E_s[d,n] h_0[d,n] with
E_s[d,n] = exp(dt_s[d] A[d,n]), so

    |δy_t[d]| ≤ ‖C_t‖ ‖h_0[d,:]‖ max_n Π_{s≤t} E_s[d,n] = ‖C_t‖ ‖h_0[d,:]‖ exp(−min_n |A[d,n]| Σ_{s≤t} dt_s[d]),

where n runs over the states with h_0[d,n] ≠ 0 (all states: the same or weaker).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import flint
import numpy as np
from flint import arb

from theory.core import linalg
from theory.core.brief import brief
from theory.core.errors import InvalidInput, InvalidSystem
from theory.core.given import Matrix, Number, Vector
from theory.core.invariants import known
from theory.core.lti import LTI, group_by_value, require_length
from theory.core.multiprecision import nearest_float, to_acb, to_arb
from theory.core.scalars import Array, abs2, as_array, conj, exact_array, exact_value, is_real, is_zero, kind_of, zeros
from theory.core.selective import SelectiveSSM

LOG2 = math.log(2.0)
BOUND_BITS = 128
"""Working precision of upper bounds that are rounded to float64 in the end."""


def _numeric(system: LTI) -> LTI:
    if not isinstance(system, LTI):
        raise InvalidInput(f"expected an LTI channel, got {type(system).__name__}; S6 modules have selective_decay_bound")
    if system.kind == "symbolic":
        raise InvalidInput("the system has symbols: substitute numbers, moduli are compared")
    return system


def visible_states(system: LTI, h0: Any) -> tuple[int, ...]:
    """The stored states that o_t, t ≥ 1, can show: c_n h_{0,n} ≠ 0, a_n ≠ 0, and the states on their mode do not cancel.

    o_t = Σ_λ κ_λ λ^t with κ_λ = Σ_{a_n=λ} c_n h_{0,n} over the closed system: a mode with κ_λ = 0 does not show, whatever its
    states hold. Decided exactly, floats taken as the numbers they are.
    """
    exact, h = _numeric(system).exactly(), exact_array(system.state(h0))
    full = exact.closed()
    whole = np.concatenate([h, conj(h)]) if exact.half else h
    out: list[int] = []
    for value, members in group_by_value(full.a):
        kappa = sum((full.c[n] * whole[n] for n in members), Fraction(0))
        if not is_zero(value) and not is_zero(kappa):
            out += [n for n in members if n < exact.n_states and not is_zero(full.c[n]) and not is_zero(whole[n])]
    return tuple(sorted(out))


def _modulus(x: Any) -> Fraction | None:
    """|x| of an exact number, where it is rational."""
    return linalg.rational_root(Fraction(abs2(x)))


def decay_bound(system: LTI, h0: Vector, length: int) -> Array:
    """κ Σ_n |c_n h_{0,n}| ρ^t for t = 1..L, an upper bound of |o_t|: shape (L,).

    κ = 2 for half storage; n runs over :func:`visible_states` and ρ = max |a_n| over them; 0 where there are none. Fractions
    where the system is exact
    and every modulus is rational, else float64 rounded upwards, so that it is a bound in either case. It holds for
    |a| ≥ 1 too, but decays only for ρ < 1.

    Raises InvalidInput for symbolic systems, a state of the wrong shape, or a length below 1.
    """
    length = require_length(length)
    states = visible_states(system, h0)
    h = system.state(h0)
    factor = 2 if system.half else 1
    if system.kind == "exact":
        sizes = [_modulus(system.c[n] * h[n]) for n in states]
        rates = [_modulus(system.a[n]) for n in states]
        known = [x for x in sizes if x is not None], [x for x in rates if x is not None]
        if len(known[0]) == len(known[1]) == len(states):
            total, rate = factor * sum(known[0], Fraction(0)), max(known[1], default=Fraction(0))
            out = np.empty(length, dtype=object)
            out[:] = [total * rate**t for t in range(1, length + 1)]
            return out
    with flint.ctx.workprec(BOUND_BITS):
        ball_total = sum((abs(to_acb(system.c[n])) * abs(to_acb(h[n])) for n in states), arb(0)) * factor
        ball_rate = arb(0)
        for n in states:
            ball_rate = ball_rate.max(abs(to_acb(system.a[n])))
        return np.array([_upwards(ball_total * ball_rate**t) for t in range(1, length + 1)])


def _upwards(x: arb) -> float:
    """A float64 that is at least x."""
    middle = float(x.mid())
    if math.isfinite(middle) and x == arb(middle):  # known exactly, and a float
        return middle
    return float(np.nextafter(float(x.abs_upper()), np.inf))


def selective_decay_bound_squared(system: SelectiveSSM, z: Any, h0: Any) -> Array:
    """‖C_t‖² ‖h_0[d,:]‖² max_n Π_{s≤t} E_s[d,n]² over n with h_0[d,n] ≠ 0, for t = 1..L and every channel: shape (L, D).

    An upper bound of (δy_t[d])², what h_0 changes in the outputs of this one module on the module inputs z (L, D). Squares
    keep it rational for exact systems. For any clock; a clock exp(dt A) makes the maximum exp(−2 min_n|A| Σ_{s≤t} dt_s).

    Raises InvalidInput for a module without W_C, empty inputs, or wrong shapes.
    """
    _require_bounded(system)
    squared = _selective_squares(system, z, h0)
    return squared if system.kind == "exact" else np.array([[_upwards(to_arb(x)) for x in row] for row in squared])


def _require_bounded(system: SelectiveSSM) -> None:
    if not isinstance(system, SelectiveSSM):
        raise InvalidInput(f"expected an S6 module, got {type(system).__name__}; LTI channels have decay_bound")
    if system.W_C is None:
        raise InvalidInput("this system was built without W_C: its outputs are undefined; pass W_C")
    if system.kind == "symbolic":
        raise InvalidInput("the system has symbols: substitute numbers, decays are compared")


def _selective_squares(system: SelectiveSSM, z: Any, h0: Any) -> Array:
    """The squares in rationals: those of small floats would underflow to 0, which bounds nothing."""
    z, h = system.inputs(z), exact_array(system.state(h0))
    if len(z) == 0:
        raise InvalidInput("z is empty: at least one token is needed")
    if any(not is_real(x) for v in (z, h) for x in v.ravel()):
        raise InvalidInput("z and h0 must be real: the bound is for real modules")
    w_c = exact_array(known(system.W_C, "the caller has checked that there is a readout"))
    left = np.array([[Fraction(int(x != 0)) for x in row] for row in h], dtype=object)  # Π E², 0 for states that start at 0
    size = (h * h).sum(axis=1)
    out = zeros((len(z), system.n_channels), "exact")
    for t, token in enumerate(z):
        _, decay = system.clock(token)
        left = left * exact_array(np.asarray(decay)) ** 2
        readout = w_c @ exact_array(token)
        out[t] = (readout * readout).sum() * size * left.max(axis=1)
    return out


def selective_decay_bound(system: SelectiveSSM, z: Any, h0: Any) -> Array:
    """The bound of |δy_t[d]| itself, float64 rounded upwards, shape (L, D): see :func:`selective_decay_bound_squared`."""
    _require_bounded(system)
    with flint.ctx.workprec(BOUND_BITS):
        return np.array([[_upwards(to_arb(x).sqrt()) for x in row] for row in _selective_squares(system, z, h0)])


# -- half-lives ----------------------------------------------------------------------------------------------------------


def half_life(a: Number | Vector) -> Any:
    """Tokens until a mode's |a|^t is 1/2: −ln 2/ln |a|. A float, or float64 of a's shape.

    0 for a = 0, ∞ for |a| = 1. ln |a| is taken as ½ log1p(|a|² − 1) of the exact number, which keeps its digits near 1.

    Raises InvalidSystem for |a| > 1 (nothing halves) and InvalidInput for NaN, infinities, symbols or a half-life beyond float64.
    """
    kind = kind_of(a, "a")
    if kind == "symbolic":
        raise InvalidInput("a has symbols: substitute numbers")
    values = as_array(a, "exact" if kind == "integer" else kind, "a")
    flat = [_half_life(x) for x in values.ravel()]
    return np.array(flat).reshape(values.shape) if values.ndim else flat[0]


def _half_life(a: Any) -> float:
    square = Fraction(abs2(exact_value(a)))
    if square > 1:
        raise InvalidSystem(f"a = {brief(a)} has |a| > 1: the mode grows and has no half-life")
    if square in (0, 1):
        return math.inf if square else 0.0
    with flint.ctx.workprec(BOUND_BITS):
        return nearest_float(
            -2 * arb(2).log() / (to_arb(square).log() if 4 * square < 1 else to_arb(square - 1).log1p()), "a half-life"
        )


def _numbers(values: Any, name: str, ndim: int | None = None) -> Array:
    if kind_of(values, name) == "symbolic":
        raise InvalidInput(f"{name} has symbols: substitute numbers")
    out = as_array(values, "complex128", name, ndim=ndim)
    return out if np.any(out.imag) else out.real


def half_lives(A: Matrix, dt: Vector | Matrix) -> Array:
    """Half-lives in tokens of S6's states at given step sizes, ln 2/(|Re A[d,n]| dt[…,d]): shape (…, D, N).

    Parameters
    ----------
    A:
        Continuous-time decays, shape (D, N), Re A < 0.
    dt:
        Step sizes, shape (D,), or (…, D) for several tokens: a half-life holds while dt stays at that value.

    Raises InvalidSystem for Re A ≥ 0 or dt ≤ 0, InvalidInput for shapes that do not fit or a half-life beyond float64.
    """
    modes, steps = _numbers(A, "A", 2), _numbers(dt, "dt")
    if modes.shape[0] == 0 or modes.shape[1] == 0:
        raise InvalidInput(f"A has shape {modes.shape}; D ≥ 1 channels and N ≥ 1 states are needed")
    if steps.ndim == 0 or steps.shape[-1] != modes.shape[0] or steps.size == 0:
        raise InvalidInput(f"dt has shape {steps.shape}, expected (…, D) with D = {modes.shape[0]} as in A")
    if not np.all(modes.real < 0):
        raise InvalidSystem(f"A must have negative real parts (decays); the largest is {modes.real.max():g}")
    if np.iscomplexobj(steps) or not np.all(steps > 0):
        raise InvalidSystem(f"dt must be positive step sizes; the smallest is {np.real(steps).min():g}")
    with np.errstate(over="ignore", divide="ignore"):
        out = LOG2 / (-modes.real * steps[..., None])
    if not np.all(np.isfinite(out) & (out > 0)):
        raise InvalidInput("|A| dt underflows or overflows, so a half-life is beyond float64; check A and dt")
    return out


@dataclass(frozen=True)
class HalfLifeRange:
    """Half-lives over many tokens, per state: shape (D, N) each, in tokens."""

    shortest: Array
    median: Array
    longest: Array


def half_life_range(A: Any, dt: Any) -> HalfLifeRange:
    """Range of :func:`half_lives` over all leading axes of dt (tokens, sequences), as dt_t depends on the input.

    Raises as :func:`half_lives`.
    """
    lives = half_lives(A, dt)
    flat = lives.reshape(-1, *lives.shape[-2:])
    return HalfLifeRange(flat.min(axis=0), np.median(flat, axis=0), flat.max(axis=0))
