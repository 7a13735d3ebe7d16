r"""The geometry of prefixes: which states and outputs the prefixes of norm at most 1 reach, and what a state costs.

A prefix x of M tokens (oldest first) in front of a diagonal channel leaves the state h_0 = R x with columns a^m b, and the
outputs o_t = Σ_n c_n a_n^t h_{0,n}, t ≥ 1, so o = H x with the Hankel matrix H = O R (:mod:`theory.core.gramians`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import flint
import numpy as np
from flint import acb, acb_mat, arb

from theory.core import linalg
from theory.core.brief import outline
from theory.core.errors import InvalidInput
from theory.core.given import Vector
from theory.core.gramians import (
    BITS_REAL,
    count_hankel_above,
    geometric_sum,
    hankel_singular_values,
    reachability_condition,
    reachability_matrix,
    require_stable,
)
from theory.core.initialisations import DT_GRID, INITIALISATIONS, initialisation
from theory.core.invariants import known
from theory.core.lti import LTI, require_channel, require_length
from theory.core.multiprecision import adaptively, nearest_float, to_acb, to_arb
from theory.core.scalars import Array, as_array, conj, exact_value, gaussian, imag, is_real, is_zero, real, tidy
from theory.core.tolerance import EPS32, EPS_BF16

PRECISIONS = ("exact", "float64", "float32")

COARSE = 1e-3
"""The precision at which the tables count directions that still matter: three decimal digits of the largest."""


def effective_prefix_dimension(system: LTI, eps: float | Fraction, *, prefix_length: int | None = None) -> int:
    """Number of Hankel singular values above eps · σ_1.

    The outputs that prefixes of norm ≤ 1 reach fill an ellipsoid with semi-axes σ_1 ≥ σ_2 ≥ … . So this is the least
    dimension of a linear space of outputs from which none of them is further away than eps · σ_1 (the ellipsoid's
    Kolmogorov width; Eckart and Young). A prefix along any further direction changes the outputs by less than eps times
    what the best prefix of the same norm does: with eps the spacing of a number format, by less than its rounding.

    Parameters
    ----------
    system:
        |a| < 1.
    eps:
        In [0, 1); 0 counts all directions that exact arithmetic can use.
    prefix_length:
        Number of tokens; ``None`` for prefixes of any length.

    Decided on certified balls and never on rounded values: eps is taken as the number it is, and eps = 0 is a count.

    Raises InvalidInput for eps outside [0, 1), InvalidSystem for |a| ≥ 1, Undecided for symbolic values too alike.
    """
    if isinstance(eps, bool) or not isinstance(eps, int | float | Fraction | np.integer | np.floating) or not 0 <= eps < 1:
        raise InvalidInput(f"eps = {outline(eps)} must lie in [0, 1), e.g. 1e-3 or the spacing of a float format")
    return count_hankel_above(require_channel(system), Fraction(exact_value(eps)), prefix_length)


# -- the cheapest prefix ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Nodes:
    """The state's equations Σ_m x_{−m} λ^m = v, one for each distinct mode with b ≠ 0; ``None`` states are unreachable."""

    values: list[Any]
    targets: list[Any]


def _nodes(system: LTI, h0: Any) -> _Nodes | None:
    if require_channel(system).kind == "symbolic":
        raise InvalidInput("the cheapest prefix is computed for exact and float systems; substitute numbers for the symbols")
    h = system.state(h0)
    states = [(exact_value(a), exact_value(b), exact_value(v)) for a, b, v in zip(system.a, system.b, h, strict=True)]
    values: list[Any] = []
    targets: list[Any] = []
    # Tokens are real, so the conjugate of every equation holds too.
    for a, b, v in [*states, *((conj(a), conj(b), conj(v)) for a, b, v in states)]:
        if is_zero(b):
            if not is_zero(v):
                return None
            continue
        target = tidy(v / b)
        same = [i for i, known in enumerate(values) if is_zero(known - a)]
        if not same:
            values.append(a)
            targets.append(target)
        elif not is_zero(targets[same[0]] - target):
            return None
    return _Nodes(values, targets)


def _solve(matrix: list[list[Any]], rhs: list[Any]) -> list[Any]:
    """The solution of a non-singular (Gaussian) rational system."""
    n = len(rhs)
    if all(is_real(x) for row in matrix for x in row) and all(is_real(x) for x in rhs):
        solution = linalg.solve([[real(x) for x in row] for row in matrix], [real(x) for x in rhs])
        return list(known(solution, "the system is non-singular"))
    top = [[*(real(x) for x in row), *(-imag(x) for x in row)] for row in matrix]
    bottom = [[*(imag(x) for x in row), *(real(x) for x in row)] for row in matrix]
    stacked = known(
        linalg.solve([*top, *bottom], [*(real(x) for x in rhs), *(imag(x) for x in rhs)]), "the system is non-singular"
    )
    return [tidy(gaussian(stacked[i], stacked[n + i])) for i in range(n)]


def _tokens(values: Sequence[Any], weights: Sequence[Any], length: int) -> list[Any]:
    """x_{−m} = Σ_i conj(λ_i)^m w_i for m = 0..M−1, oldest (m = M − 1) first."""
    powers = [1 + 0 * conj(v) for v in values]
    out = []
    for _ in range(length):
        out.append(tidy(sum((p * w for p, w in zip(powers, weights, strict=True)), Fraction(0))))
        powers = [p * conj(v) for p, v in zip(powers, values, strict=True)]
    return out[::-1]


def _exact_prefix(nodes: _Nodes, length: int) -> list[Any] | None:
    count = min(length, len(nodes.values))
    a, v = nodes.values[:count], nodes.targets[:count]
    x = _tokens(a, _solve(_gram(a, length), v), length)
    for value, target in zip(nodes.values[count:], nodes.targets[count:], strict=True):
        reached = sum((token * value**m for m, token in enumerate(x[::-1])), Fraction(0))
        if not is_zero(reached - target):
            return None
    return x if all(is_real(token) for token in x) else None


def cheapest_prefix(system: LTI, h0: Any, length: int) -> Array | None:
    """The prefix of M real tokens of least Euclidean norm that leaves the state h_0, oldest token first; None if none does.

    x = R* Wc(M)⁻¹ h_0 on the range of R. Shape (M,); exact for exact systems, float64 for float ones (where the numbers
    given are taken as exact, so the solution is right however ill-conditioned R is).

    Raises InvalidInput for a state of the wrong shape, a length below 1, or a symbolic system.
    """
    length = require_length(length)
    nodes = _nodes(system, h0)
    if nodes is None:
        return None
    exact = system.kind == "exact"
    if all(is_zero(v) for v in nodes.targets):
        return np.array([Fraction(0)] * length, dtype=object) if exact else np.zeros(length)
    if exact or length < len(nodes.values):
        x = _exact_prefix(nodes, length)
        if x is None:
            return None
        return np.array(x, dtype=object) if exact else as_array(np.array(x, dtype=object), "float64", "the prefix")
    with flint.ctx.workprec(128):
        return np.array([_token_float(token) for token in _ball_tokens(nodes, length)])


def _token_float(token: arb) -> float:
    value = float(token.mid())
    if math.isinf(value):
        raise InvalidInput("a token of the cheapest prefix exceeds float64's range; system.exactly() gives it as a rational")
    return value


def _gram(a: Sequence[Any], length: int | None) -> list[list[Any]]:
    """Wc(M) for b = 1 and distinct modes, M = ∞ for ``None``."""
    products = [[x * conj(y) if not isinstance(y, acb) else x * y.conjugate() for y in a] for x in a]
    return [[1 / (1 - z) if length is None else geometric_sum(z, length) for z in row] for row in products]


def _ball_solution(nodes: _Nodes, length: int | None) -> tuple[list[acb], list[acb], list[acb]]:
    a = [to_acb(x) for x in nodes.values]
    v = [to_acb(x) for x in nodes.targets]
    gram = acb_mat(_gram(a, length))
    return a, v, gram.solve(acb_mat([[x] for x in v])).entries()


def _ball_tokens(nodes: _Nodes, length: int) -> list[arb]:
    def compute() -> list[arb]:
        a, _, w = _ball_solution(nodes, length)
        powers, out = [acb(1) for _ in a], []
        for _ in range(length):
            out.append(sum((p * x for p, x in zip(powers, w, strict=True)), acb(0)).real)
            powers = [p * x.conjugate() for p, x in zip(powers, a, strict=True)]
        # a token may be exactly 0, which no relative accuracy decides: the norm settles the precision
        norm = sum((x * x for x in out), arb(0)).sqrt()
        latest.append(out[::-1])
        return [norm]

    latest: list[list[arb]] = []
    adaptively(compute, BITS_REAL * len(nodes.values), "cheapest prefix")
    return latest[-1]


def _squared(system: LTI, h0: Any, length: int | None, *, rational: bool) -> Fraction | arb | None:
    """h_0* Wc(M)⁻¹ h_0, ``rational`` or as a certified ball (which knows no overflow); None where no prefix leaves h_0.

    The rational of M tokens has about M digits, which a ball need not know.
    """
    if length is None:
        require_stable(system, "the infimum over prefixes of any length")
    else:
        length = require_length(length)
    nodes = _nodes(system, h0)
    if nodes is None:
        return None
    if all(is_zero(v) for v in nodes.targets):
        return Fraction(0)
    if length is not None and (rational or length < len(nodes.values)):
        x = _exact_prefix(nodes, length)
        return None if x is None else sum((token * token for token in x), Fraction(0))
    if rational:
        weights = _solve(_gram(nodes.values, None), nodes.targets)
        return Fraction(real(tidy(sum((conj(v) * w for v, w in zip(nodes.targets, weights, strict=True)), Fraction(0)))))

    def compute() -> list[arb]:
        _, v, w = _ball_solution(nodes, length)
        return [sum((x.conjugate() * y for x, y in zip(v, w, strict=True)), acb(0)).real]

    return adaptively(compute, BITS_REAL * len(nodes.values), "cheapest prefix")[0].mid()


def prefix_cost_squared(system: LTI, h0: Any, length: int | None = None) -> Any:
    """h_0* Wc(M)⁻¹ h_0, the squared norm of the cheapest prefix: a Fraction for exact systems, float64 for float ones.

    ``math.inf`` where no prefix of M real tokens leaves h_0 (see :func:`prefix_cost`, also for ``length=None``).
    Raises what :func:`prefix_cost` raises, and InvalidInput where a float system's value exceeds float64's range.
    """
    squared = _squared(system, h0, length, rational=require_channel(system).kind == "exact")
    if squared is None:
        return math.inf
    if system.kind == "exact":
        return squared
    with flint.ctx.workprec(128):
        return nearest_float(squared if isinstance(squared, arb) else to_arb(squared), _SQUARED)


def prefix_cost(system: LTI, h0: Vector, length: int | None = None) -> float:
    """√(h_0* Wc(M)⁻¹ h_0): the least Euclidean norm of M real tokens that leave the state h_0; ∞ where none do.

    Parameters
    ----------
    system:
        Exact or float; any a for finite M. Equal modes and b_n = 0 are allowed: states outside the range cost ∞.
    h0:
        Shape (N,), stored states; complex where the modes are (half storage).
    length:
        M ≥ 1, or ``None`` for the infimum over all lengths (M → ∞, |a| < 1), which no finite prefix beats and infinite
        ones attain. It is finite as soon as some M suffices.

    Raises
    ------
    InvalidInput
        A state of the wrong shape, a length below 1, a symbolic system, or a cost beyond float64's range.
    InvalidSystem
        |a| ≥ 1 with ``length=None``.
    """
    squared = _squared(system, h0, length, rational=False)
    if squared is None:
        return math.inf
    with flint.ctx.workprec(128):
        return nearest_float((squared if isinstance(squared, arb) else to_arb(squared)).sqrt(), _COST)


_SQUARED = "the squared cost (system.exactly() gives it as a Fraction)"
_COST = "the cost (prefix_cost_squared of system.exactly() gives its square as a Fraction)"


# -- ranks in number formats --------------------------------------------------------------------------------------------


def reachability_rank(system: LTI, length: int, precision: str = "exact") -> int:
    """Rank of the M-token reachability matrix R (closed system), as a precision sees it.

    ``exact``: over the rationals, floats taken as the numbers they are. ``float64`` and ``float32``: R rounded to that
    format and ``numpy.linalg.matrix_rank`` with its default tolerance σ_max · max(N, M) · eps of the format.

    Raises InvalidInput for an unknown precision, a length below 1, a symbolic system, or a matrix beyond the precision's range.
    """
    length = require_length(length)
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise InvalidInput(f"precision = {outline(precision)}: choose {', '.join(PRECISIONS)}")
    if require_channel(system).kind == "symbolic":
        raise InvalidInput("ranks are computed for exact and float systems; substitute numbers for the symbols")
    if precision == "exact":
        exact = system.exactly().closed()
        r = reachability_matrix(exact, min(length, exact.n_states))  # more tokens than states add no rank (Cayley and Hamilton)
        if all(is_real(x) for x in r.ravel()):
            return linalg.rank(real(r))
        re, im = real(r), imag(r)
        return linalg.rank(np.block([[re, -im], [im, re]])) // 2  # [Re −Im; Im Re] doubles the rank over C
    is_complex = any(not is_real(x) for x in system.a) or any(not is_real(x) for x in system.b)
    with np.errstate(over="ignore", invalid="ignore"):
        r = reachability_matrix(system.to("complex128" if is_complex else "float64"), length)
        if precision == "float32":
            r = r.astype(np.complex64 if is_complex else np.float32)
    if not np.all(np.isfinite(r)):
        raise InvalidInput(f"an entry of R is beyond {precision}, which sees no rank; rescale the system, or ask for 'exact'")
    return int(np.linalg.matrix_rank(r))


# -- the table over initialisations -------------------------------------------------------------------------------------


def finite_precision_row(name: str, n: int, dt: float, *, seeds: Iterable[int] = (0,)) -> dict[str, Any]:
    """One initialisation: condition, ranks and Hankel spectrum, as JSON types.

    Conditions and ranks are of the matrix of N tokens; ``condition`` is that on the range of R (distinct modes). The
    dimensions count Hankel singular values above a precision, least and most over the seeds of the random c; ``tokens``
    means prefixes of N tokens, the others prefixes of any length.
    """
    systems = [initialisation(name, n, dt, seed=s) for s in seeds]
    if not systems:
        raise InvalidInput("seeds is empty: at least one draw of c is needed")
    first = systems[0]

    def spread(eps: float, tokens: int | None = None) -> list[int]:
        counts = [effective_prefix_dimension(s, eps, prefix_length=tokens) for s in systems]
        return [min(counts), max(counts)]

    return {
        "initialisation": name,
        "states": n,
        "dt": dt,
        "condition": reachability_condition(first, n, on_range=True),
        "rank": {p: reachability_rank(first, n, p) for p in PRECISIONS},
        "dimension_1e-3": spread(COARSE),
        "dimension_bfloat16": spread(EPS_BF16),
        "dimension_float32": spread(EPS32),
        "dimension_1e-3_tokens": spread(COARSE, n),
        "sigma": [float(f"{v:.3e}") for v in hankel_singular_values(first)],
    }


def finite_precision_table(
    n: int = 16,
    dts: Sequence[float] = DT_GRID,
    names: Sequence[str] = INITIALISATIONS,
    *,
    seeds: Iterable[int] = (0,),
) -> list[dict[str, Any]]:
    """:func:`finite_precision_row` for every initialisation and step size."""
    seeds = tuple(seeds)
    return [finite_precision_row(name, n, dt, seeds=seeds) for name in names for dt in dts]
