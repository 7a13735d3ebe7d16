r"""What tuning an initial state or a prefix can gain when the kernel is wrong: risk, floor and optimum in closed form.

A frozen LTI student (kernel k, skip d) learns from an LTI teacher (k*, d*) that starts at zero. Inputs x_1..x_L are
uncorrelated with mean μ and variance σ². With Δ_j = k_j − k*_j (Δ_0 gets d − d* too) and o_t = Σ_n c_n a_n^t h_{0,n}:

    y_t − y*_t = Σ_{j<t} Δ_j x_{t−j} + o_t
    E (y_t − y*_t)² = σ² Σ_{j<t} Δ_j²  +  (μ Σ_{j<t} Δ_j + o_t)²

The first term is a floor that no state lowers. The second is a least-squares problem: v_t = μ Σ_{j<t} Δ_j against the
outputs that states (span of λ^t over observable modes) or prefixes (range of the Hankel matrix k_{t+m}) can add.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import flint
import numpy as np
from flint import acb, arb, arb_mat

from theory.core import linalg
from theory.core.brief import brief
from theory.core.errors import InvalidInput
from theory.core.given import Number
from theory.core.invariants import known
from theory.core.lti import LTI, Mode, require_channel, require_length
from theory.core.multiprecision import adaptively, nearest_float, to_acb, to_arb
from theory.core.scalars import (
    Array,
    abs2,
    as_array,
    conj,
    convert,
    exact_array,
    exact_value,
    gaussian,
    imag,
    is_real,
    is_zero,
    join_kinds,
    real,
    tidy,
)

BITS_PER_MODE = 32
"""Where the search for a sufficient precision starts; it only saves time."""


@dataclass(frozen=True)
class StateTuningRisk:
    """Floor and optima of the population risk; every total is the **sum** over t = 1..L, ``mean_*`` is that divided by L.

    Fractions for exact systems, floats for float ones.

    Attributes
    ----------
    length:
        L.
    floor, floor_per_step:
        σ² Σ_{j<t} Δ_j²: what no initial state and no prefix lowers.
    gap:
        v_t = μ Σ_{j<t} Δ_j, the mean error of the untuned student, shape (L,).
    untuned:
        Risk at h_0 = 0: floor + ‖v‖².
    optimum, optimum_per_step, h0:
        Least risk over initial states and a state that attains it, shape (N,). States that the outputs do not show are 0.
    prefix_length, prefix_optimum, prefix_optimum_per_step, prefix:
        The same over prefixes of M tokens, oldest first, shape (M,); ``None`` where no prefix length was asked for. Only as
        many of the last tokens as the system has modes with λ ≠ 0 and residue ≠ 0 are used, the others are 0.
    condition, prefix_condition:
        ‖S‖_F ‖S⁺‖_F of the least-squares matrix (columns Re λ^t, Im λ^t; columns k_{t+m}), at least its 2-norm condition:
        how far h0 and prefix move when the data does. ``None`` for exact answers, and where nothing is solved for.
    """

    length: int
    floor: Any
    floor_per_step: tuple[Any, ...]
    gap: tuple[Any, ...]
    untuned: Any
    optimum: Any
    optimum_per_step: tuple[Any, ...]
    h0: Array
    condition: float | None = None
    prefix_length: int | None = None
    prefix_optimum: Any = None
    prefix_optimum_per_step: tuple[Any, ...] | None = None
    prefix: Array | None = None
    prefix_condition: float | None = None

    @property
    def mean_floor(self) -> Any:
        """floor / L, comparable with a mean squared error over a sequence."""
        return self.floor / self.length

    @property
    def mean_untuned(self) -> Any:
        """untuned / L."""
        return self.untuned / self.length

    @property
    def mean_optimum(self) -> Any:
        """optimum / L."""
        return self.optimum / self.length

    @property
    def mean_prefix_optimum(self) -> Any:
        """prefix_optimum / L, ``None`` where no prefix length was asked for."""
        return None if self.prefix_optimum is None else self.prefix_optimum / self.length


def _moments(system: LTI, teacher: LTI, mean: Any, var: Any) -> tuple[Any, Any]:
    for value, name in ((system, "system"), (teacher, "teacher")):
        if require_channel(value, name).kind == "symbolic":
            raise InvalidInput(f"{name} has symbols: substitute numbers, the optimum is a least-squares solution")
        value.require_real()
    exact = join_kinds([system.kind, teacher.kind], "system and teacher") == "exact"
    mean, var = (convert(x, "exact" if exact else "float64", n) for x, n in ((mean, "mean"), (var, "var")))
    if not is_real(mean) or not is_real(var):
        raise InvalidInput(f"mean = {mean} and var = {var} must be real")
    if var < 0:
        raise InvalidInput(f"var = {var} is negative; pass the variance σ² of the inputs, at least 0")
    return mean, var


def risk_per_step(system: LTI, teacher: LTI, mean: Number, var: Number, length: int, h0: Any = None) -> Array:
    """E (y_t − y*_t)² for t = 1..L, student from h_0 (zero by default), teacher from zero: shape (L,).

    Floats are taken as the numbers they are, and the risks rounded once.

    Raises as :func:`state_tuning_risk_floor`, and InvalidInput for a state of the wrong shape or one that adds complex outputs.
    """
    mean, var = _moments(system, teacher, mean, var)
    mu, sigma2, student = exact_value(mean), exact_value(var), system.exactly()
    delta = _kernel_difference(student, teacher.exactly(), require_length(length))
    offset = 0 * delta if h0 is None else student.free_response(exact_array(system.state(h0)), length)
    total, squares, out = Fraction(0), Fraction(0), []
    for t, (d, o) in enumerate(zip(delta, offset, strict=True), start=1):
        if not is_real(o):
            raise InvalidInput(f"h0 adds the complex output {brief(o)} at t = {t}: a real system's states have conjugate values")
        total, squares = total + d, squares + d * d
        error = mu * total + real(tidy(o))
        out.append(sigma2 * squares + error * error)
    if system.kind == "exact":
        return np.array(out, dtype=object)
    with flint.ctx.workprec(128):
        return np.array(_floats(out, "a risk"))


def _kernel_difference(system: LTI, teacher: LTI, length: int) -> Array:
    """Δ_0..Δ_{L−1}, with the skips in Δ_0."""
    delta = real(system.kernel(length)) - real(teacher.kernel(length))
    delta[0] = delta[0] + real(tidy(system.d)) - real(tidy(teacher.d))
    return np.asarray(delta)


# -- the directions that states and prefixes have ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Direction:
    """One real observable mode, or one conjugate pair, with the positions of a state that shows it in the closed system."""

    value: Any
    index: int
    partner: int | None


def _directions(system: LTI) -> list[_Direction]:
    full = system.closed()
    modes = system.modes()

    def loudest(mode: Mode) -> int:
        return max(mode.indices, key=lambda n: abs2(exact_value(full.c[n])))

    out = []
    for mode in modes:
        if not mode.observable:
            continue
        if is_real(mode.value):
            out.append(_Direction(real(mode.value), loudest(mode), None))
        elif imag(mode.value) > 0:
            mirrored = [m for m in modes if m.observable and is_zero(m.value - conj(mode.value))]
            if mirrored:  # without a visible partner no state of this mode adds real outputs
                out.append(_Direction(mode.value, loudest(mode), loudest(mirrored[0])))
    return out


def _state(system: LTI, directions: Sequence[_Direction], weights: Sequence[Any]) -> Array:
    """The state that adds Σ p λ^t (real modes) and Σ p Re λ^t + q Im λ^t (pairs)."""
    full = system.closed()
    exact = system.kind == "exact"
    h = np.array([Fraction(0)] * full.n_states, dtype=object) if exact else np.zeros(full.n_states, dtype=np.complex128)
    half = Fraction(1, 2) if exact else 0.5
    left = list(weights)
    for d in directions:
        if d.partner is None:
            g = left.pop(0) * (half if system.half else 1)
            h[d.index] = g / full.c[d.index]
            if system.half:
                h[_mirror(d.index, system.n_states)] = conj(h[d.index])
        else:
            p, q = left.pop(0), left.pop(0)
            g = half * (gaussian(p, -q) if exact else complex(p, -q))
            h[d.index] = g / full.c[d.index]
            mirror = _mirror(d.index, system.n_states) if system.half else d.partner
            h[mirror] = conj(g) / full.c[mirror]
    h = h[: system.n_states]
    if exact:
        return np.array([tidy(x) for x in h], dtype=object)
    if not np.all(np.isfinite(h)):
        raise InvalidInput("the optimal initial state exceeds float64's range; system.exactly() gives it as rationals")
    return h if np.any(h.imag != 0) or system.kind == "complex128" else h.real


def _mirror(index: int, stored: int) -> int:
    """Where the closed system lists the conjugate of a mode of a half-stored one."""
    return index + stored if index < stored else index - stored


def _powers(directions: Sequence[_Direction], length: int, lift: Callable[[Any], Any]) -> list[list[Any]]:
    """Columns λ^t, or Re λ^t and Im λ^t, for t = 1..L."""
    out = []
    for d in directions:
        value = lift(d.value)
        column = [value]
        for _ in range(length - 1):
            column.append(column[-1] * value)
        parts = (_real,) if d.partner is None else (_real, _imag)
        out += [[part(x) for x in column] for part in parts]
    return out


def _real(x: Any) -> Any:
    return x.real if isinstance(x, acb) else real(x)


def _imag(x: Any) -> Any:
    return x.imag if isinstance(x, acb) else imag(x)


def _seen(system: LTI) -> int:
    """Modes that the kernel k_1, k_2, … shows: λ ≠ 0 with a non-zero residue."""
    return sum(not is_zero(m.value) and not is_zero(m.residue) for m in system.modes())


# -- least squares -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fit:
    weights: list[Any]
    errors: list[Any]
    condition: float | None = None


def _fit_exactly(columns: list[list[Any]], target: Sequence[Any]) -> _Fit:
    """min ‖v + S w‖ over the rationals, by the normal equations (which always have a solution)."""
    if not columns:
        return _Fit([], list(target))
    s = linalg.to_flint(columns)  # rows are the columns of S
    v = linalg.to_flint([[x] for x in target])
    w = known(linalg.solve(s * s.transpose(), [-x for x in linalg.from_flint(s * v)[:, 0]]), "normal equations are consistent")
    errors = v + s.transpose() * linalg.to_flint([[x] for x in w])
    return _Fit(list(w), list(linalg.from_flint(errors)[:, 0]))


def _fit_balls(columns: list[list[arb]], target: list[arb], size: arb) -> tuple[_Fit, list[arb]]:
    """The same in balls for columns known to be independent, and the balls that must be narrow for it to count.

    ``size`` is what errors are compared with: they have to be known to its relative precision.
    """
    k = len(columns)
    if not k:
        return _Fit([], target), []
    s, v = arb_mat(columns), arb_mat([[x] for x in target])
    gram = s * s.transpose()
    inverse = gram.inv()
    w = inverse * (s * v) * arb(-1)
    errors = (v + s.transpose() * w).entries()
    weights = w.entries()
    spread, pinv = (sum((m[i, i] for i in range(k)), arb(0)) for m in (gram, inverse))
    condition = (spread * pinv).sqrt()
    length = sum((x * x for x in weights), size * size / spread)  # a state of 0 is known to the scale that v and S set
    return _Fit(weights, errors, nearest_float(condition, "the condition number")), [
        length,
        condition,
        *(size + e for e in errors),
    ]


def _float_problem(
    system: LTI, floors: list[Fraction], gaps: list[Fraction], directions: Sequence[_Direction], tokens: int | None
) -> tuple[_Fit, _Fit | None]:
    """Both least-squares problems in balls, the floats taken as the numbers they are.

    Errors are found to the precision of the floor they are added to, not of the terms that cancelled before: a floor far below
    those terms keeps its digits.
    """
    length = len(gaps)
    found: list[tuple[_Fit, _Fit | None]] = []
    kernel = [] if tokens is None else list(real(system.kernel(length + tokens)))

    def compute() -> list[arb]:
        target, size = [to_arb(x) for x in gaps], to_arb(sum(floors, Fraction(0))).sqrt()
        states, watch = _fit_balls(_powers(directions, length, to_acb), target, size)
        prefixes = None
        if tokens is not None:
            columns = [[to_arb(kernel[t + m]) for t in range(1, length + 1)] for m in range(tokens)]
            prefixes, more = _fit_balls(columns, target, size)
            watch += more
        found[:] = [(states, prefixes)]
        return [size, *watch]

    # columns of small norm are known to be independent, but telling so may take many bits
    adaptively(compute, BITS_PER_MODE * max(4, system.closed().n_states), "state-tuning optimum")
    states, prefixes = found[-1]
    with flint.ctx.workprec(128):
        return _rounded(states), None if prefixes is None else _rounded(prefixes)


def _floats(values: Sequence[Any], what: str) -> list[float]:
    return [nearest_float(x if isinstance(x, arb) else to_arb(x), what) for x in values]


def _rounded(fit: _Fit) -> _Fit:
    """Weights and errors as floats; an error is known to the floor's precision, below which it may round to 0."""
    errors = [float(x.mid()) if isinstance(x, arb) else float(x) for x in fit.errors]
    return _Fit(_floats(fit.weights, "a weight of the optimal state or prefix"), errors, fit.condition)


def _exact_problem(
    system: LTI, gaps: list[Fraction], directions: Sequence[_Direction], tokens: int | None
) -> tuple[_Fit, _Fit | None]:
    """Both least-squares problems over the rationals."""
    length = len(gaps)
    states = _fit_exactly(_powers(directions, length, lambda x: x), gaps)
    if tokens is None:
        return states, None
    k = real(system.kernel(length + tokens))
    return states, _fit_exactly([list(k[1 + m : 1 + m + length]) for m in range(tokens)], gaps)


def _total(steps: Sequence[Any], zero: Any) -> Any:
    """Σ over t, refused where it exceeds float64."""
    total = sum(steps, zero)
    if isinstance(total, float) and not math.isfinite(total):
        raise InvalidInput("a risk exceeds float64's range; system.exactly() and teacher.exactly() give it as a rational")
    return total


def state_tuning_risk_floor(
    system: LTI, teacher: LTI, mean: Any, var: Any, length: int, *, prefix_length: int | None = None
) -> StateTuningRisk:
    """Floor and optimum of the risk of tuning h_0 (and M prefix tokens) of a frozen LTI channel; see the module's text.

    Parameters
    ----------
    system, teacher:
        Real channels (half storage or closed under conjugation). The teacher starts at zero and sees no prefix.
    mean, var:
        μ and σ² of the inputs, of the systems' kind: rationals for exact systems, numbers for float ones.
    length:
        L ≥ 1 outputs count.
    prefix_length:
        M ≥ 1, to have the optimum over prefixes too.

    Exact systems are solved over the rationals. Float systems are taken as the numbers they are: the floor is rational and
    rounded once, and the optimum is solved in ball arithmetic to the floor's own precision, however ill-conditioned it is;
    ``condition`` says what that costs a solver that rounds.

    Raises
    ------
    InvalidInput
        Symbolic systems, a negative variance, NaN, lengths below 1, results beyond float64's range.
    KindMismatch
        Exact numbers with floats.
    InvalidSystem
        A system whose outputs are not real.

    Source: our formulation, after Galim et al. 2024; orthogonal projection.
    """
    mean, var = _moments(system, teacher, mean, var)
    length = require_length(length)
    m = None if prefix_length is None else require_length(prefix_length, "prefix_length")
    directions = _directions(system)
    seen = _seen(system)
    tokens = None if m is None else min(m, seen)  # further tokens add no direction (Cayley and Hamilton)
    exact = system.kind == "exact"
    student, reference, mu, sigma2 = system.exactly(), teacher.exactly(), exact_value(mean), exact_value(var)
    floors: list[Any] = []
    gaps: list[Any] = []
    total, squares = Fraction(0), Fraction(0)
    for d in _kernel_difference(student, reference, length):
        total, squares = total + d, squares + d * d
        floors.append(sigma2 * squares)
        gaps.append(mu * total)
    columns = sum(1 if d.partner is None else 2 for d in directions)
    # more columns than outputs may depend on each other, and without a floor an error may be 0: only exact numbers tell
    if exact or length < max(columns, seen if tokens else 0) or floors[-1] == 0:
        states, prefixes = _exact_problem(student, gaps, directions, tokens)
    else:
        states, prefixes = _float_problem(student, floors, gaps, directions, tokens)
    if not exact:
        with flint.ctx.workprec(128):
            floors, gaps = _floats(floors, "the floor"), _floats(gaps, "the mean error")
            states = _rounded(states)
            prefixes = None if prefixes is None else _rounded(prefixes)
    zero = Fraction(0) if exact else 0.0
    per_step = tuple(f + e * e for f, e in zip(floors, states.errors, strict=True))
    out: dict[str, Any] = {}
    if prefixes is not None and m is not None:
        steps = tuple(f + e * e for f, e in zip(floors, prefixes.errors, strict=True))
        tokens_used = [*prefixes.weights, *[zero] * (m - len(prefixes.weights))][::-1]
        out = {
            "prefix_length": m,
            "prefix_optimum": _total(steps, zero),
            "prefix_optimum_per_step": steps,
            "prefix": as_array(tokens_used, "exact" if exact else "float64", "prefix"),
            "prefix_condition": prefixes.condition,
        }
    return StateTuningRisk(
        length=length,
        floor=_total(floors, zero),
        floor_per_step=tuple(floors),
        gap=tuple(gaps),
        untuned=_total([f + g * g for f, g in zip(floors, gaps, strict=True)], zero),
        optimum=_total(per_step, zero),
        optimum_per_step=per_step,
        h0=_state(system, directions, states.weights),
        condition=states.condition,
        **out,
    )
