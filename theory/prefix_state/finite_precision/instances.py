"""Instances and exact properties that decide prefix_state.finite_precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.gramians import (
    gramians,
    hankel_matrix,
    observability_gramian,
    observability_matrix,
    reachability_gramian,
    reachability_matrix,
)
from theory.core.lti import LTI
from theory.core.scalars import Array, conj, gaussian, imag, is_zero, real
from theory.core.strategies import any_lti, gaussians, paired_lti, rationals, real_lti, vectors
from theory.verification.refutation import existing, require

from .geometry import cheapest_prefix, prefix_cost_squared


@dataclass(frozen=True)
class Recipe:
    """A channel, a horizon, and the conventions by which someone computes the two ellipsoids from Gramians.

    ``first_output``: which output counts as the first (1: the first after the prefix). ``conjugate_first``: Wo carries its
    conjugate on the first index. ``stored_norm``: states are measured by the stored half of conjugate pairs.
    """

    system: LTI
    length: int
    tokens: int
    first_output: int = 1
    conjugate_first: bool = True
    stored_norm: bool = False


@dataclass(frozen=True)
class Target:
    """A channel, a state (stored modes) and a number of prefix tokens."""

    system: LTI
    h0: tuple[Any, ...]
    tokens: int


# -- strategies ----------------------------------------------------------------------------------------------------------


@st.composite
def recipes(draw: st.DrawFn, systems: st.SearchStrategy[LTI] | None = None, **slips: Any) -> Recipe:
    """Any exact channel with up to 3 states (2 pairs), horizons up to 4."""
    system = draw(any_lti(3) if systems is None else systems)
    return Recipe(system, draw(st.integers(1, 4)), draw(st.integers(1, 4)), **slips)


@st.composite
def targets(draw: st.DrawFn, systems: st.SearchStrategy[LTI] | None = None, *, enough: bool = False) -> Target:
    """A channel with a state; ``enough`` draws at least as many tokens as the closed system has states."""
    system = draw(any_lti(3) if systems is None else systems)
    n = system.closed().n_states
    tokens = draw(st.integers(n, n + 2) if enough else st.integers(1, n + 2))
    if draw(st.booleans()):  # a state that some prefix leaves, even in degenerate systems
        h0 = list(system.run(draw(vectors(tokens)))[1])
    else:
        h0 = draw(st.lists(gaussians() if system.half else rationals(), min_size=system.n_states, max_size=system.n_states))
    return Target(system, tuple(h0), tokens)


def controllable() -> st.SearchStrategy[LTI]:
    """Distinct modes, every b_n and c_n non-zero."""
    return st.one_of(real_lti(max_states=3), paired_lti(max_pairs=2))


# -- properties -----------------------------------------------------------------------------------------------------------


def _equal(left: Array, right: Array) -> bool:
    return left.shape == right.shape and all(is_zero(x - y) for x, y in zip(left.ravel(), right.ravel(), strict=True))


def power_sums(matrix: Array, count: int) -> list[Any]:
    """tr(P), tr(P²), …, tr(P^count). For count ≥ the sizes involved, equal power sums mean equal non-zero eigenvalues."""
    out, power = [], matrix
    for _ in range(count):
        out.append(sum((power[i, i] for i in range(matrix.shape[0])), Fraction(0)))
        power = power @ matrix
    return out


def _same_spectrum(left: Array, right: Array) -> bool:
    count = max(left.shape[0], right.shape[0])
    pairs = zip(power_sums(left, count), power_sums(right, count), strict=True)
    return all(is_zero(x - y) for x, y in pairs)


def measured_hankel(system: LTI, length: int, tokens: int) -> Array:
    """The prefix-to-output map found by running the system on unit prefixes, columns last token first: shape (L, M)."""
    columns = []
    for m in range(tokens):
        prefix = [Fraction(int(i == tokens - 1 - m)) for i in range(tokens)]
        columns.append(system.run([*prefix, *[Fraction(0)] * length])[0][tokens:])
    return np.stack(columns, axis=1)


def measured_states(system: LTI, length: int, *, stored_norm: bool = False) -> Array:
    """S Sᵀ for the map S from states of unit norm to outputs, found by running unit states: shape (L, L).

    The real coordinates of a stored complex state are orthonormal in the stored norm, and √2 times longer than
    orthonormal in the norm of the full conjugate-symmetric vector.
    """
    total = np.array([[Fraction(0)] * length for _ in range(length)], dtype=object)
    for n in range(system.n_states):
        for unit in (1, gaussian(0, 1)) if system.half else (1,):
            response = system.free_response([unit if i == n else 0 for i in range(system.n_states)], length)
            total = total + np.outer(response, response) / (1 if stored_norm or not system.half else 2)
    return total


def wo_by_recipe(recipe: Recipe) -> Array:
    """Wo(L) as the recipe's conventions have it."""
    wo = observability_gramian(recipe.system, recipe.length, first_output=recipe.first_output)
    return wo if recipe.conjugate_first else conj(wo)


def ellipsoids_agree(recipe: Recipe) -> bool:
    """Whether √λ(Wc Wo) and √λ(Wo) are the semi-axes measured by running the system on unit prefixes and unit states."""
    h = measured_hankel(recipe.system, recipe.length, recipe.tokens)
    wo = wo_by_recipe(recipe)
    prefixes = _same_spectrum(h @ h.T, reachability_gramian(recipe.system, recipe.tokens) @ wo)
    states = _same_spectrum(measured_states(recipe.system, recipe.length, stored_norm=recipe.stored_norm), wo)
    return prefixes and states


def check_hankel_factorisation(recipe: Recipe) -> None:
    """o = H x with H_{t,m} = k_{t+m}, and H = O R."""
    system, length, tokens = recipe.system, recipe.length, recipe.tokens
    h = measured_hankel(system, length, tokens)
    require(_equal(h, hankel_matrix(system, length, tokens)), recipe)
    require(_equal(h, observability_matrix(system, length) @ reachability_matrix(system, tokens)), recipe)


def check_prefix_axes(recipe: Recipe) -> None:
    """H Hᵀ and Wc(M) Wo(L) have the same non-zero eigenvalues: the squared semi-axes of what prefixes reach."""
    h = measured_hankel(recipe.system, recipe.length, recipe.tokens)
    gramian_product = reachability_gramian(recipe.system, recipe.tokens) @ wo_by_recipe(recipe)
    require(_same_spectrum(h @ h.T, gramian_product), recipe)


def check_state_axes(recipe: Recipe) -> None:
    """S Sᵀ and Wo(L) have the same non-zero eigenvalues; in the stored norm of half storage they are twice as large."""
    wo = wo_by_recipe(recipe)
    require(_same_spectrum(measured_states(recipe.system, recipe.length), wo), recipe)
    if recipe.system.half:
        require(_same_spectrum(measured_states(recipe.system, recipe.length, stored_norm=True), 2 * wo), recipe)


def check_limits(recipe: Recipe) -> None:
    """Closed forms: Wc − a Wc ā = b b*, Wc − Wc(M) = a^M Wc ā^M (→ 0 for |a| < 1), and the same for Wo."""
    full = recipe.system.closed()
    wc, wo = gramians(recipe.system)
    row = full.c * full.a
    around = np.outer(full.a, conj(full.a))
    require(_equal(wc - around * wc, np.outer(full.b, conj(full.b))), recipe)
    require(_equal(wo - conj(around) * wo, np.outer(conj(row), row)), recipe)
    power = np.prod([around] * recipe.tokens, axis=0)
    require(_equal(wc - reachability_gramian(recipe.system, recipe.tokens), power * wc), recipe)
    power = np.prod([conj(around)] * recipe.length, axis=0)
    require(_equal(wo - observability_gramian(recipe.system, recipe.length), power * wo), recipe)


def least_norm_by_elimination(target: Target) -> Any:
    """min ‖x‖² over R x = h_0 by parametrising all solutions x_p + N y and minimising over y; ∞ where there is none.

    Uses no Gramian: real and imaginary parts of the state's equations are stacked and solved over the rationals.
    """
    system, tokens = target.system, target.tokens
    r = reachability_matrix(system, tokens)[: system.n_states]
    h = system.state(list(target.h0))
    rows = [list(part(r[i])) for part in (real, imag) for i in range(system.n_states)]
    rows = [[Fraction(x) for x in row] for row in rows]
    rhs = [Fraction(part(v)) for part in (real, imag) for v in h]
    particular = linalg.solve(rows, rhs)
    if particular is None:
        return math.inf
    null = linalg.nullspace(rows)
    if null:
        basis = np.array(null, dtype=object)
        y = existing(linalg.solve(basis @ basis.T, -(basis @ particular)), target)
        particular = particular + y @ basis
    return sum((x * x for x in particular), Fraction(0))


def check_cheapest_prefix(target: Target) -> None:
    """h_0* Wc(M)⁻¹ h_0 is the least squared norm of a prefix that leaves h_0, and the prefix found leaves it."""
    cost = prefix_cost_squared(target.system, list(target.h0), target.tokens)
    x = cheapest_prefix(target.system, list(target.h0), target.tokens)
    require(cost == least_norm_by_elimination(target), target)
    require((x is None) == (cost == math.inf), target)
    if x is not None:
        require(sum((v * v for v in x), Fraction(0)) == cost, target)
        require(all(is_zero(p - q) for p, q in zip(target.system.run(x)[1], target.h0, strict=True)), target)


def check_cost_of_any_length(target: Target) -> None:
    """Distinct modes, b_n ≠ 0: the infimum over M is h_0* Wc⁻¹ h_0 (solved from the Gramian), and no finite M is cheaper."""
    full = target.system.closed()
    wc = gramians(target.system).Wc
    h = target.system.state(list(target.h0))
    h = np.concatenate([h, conj(h)]) if target.system.half else h
    # over the rationals: [Re −Im; Im Re] (y_re, y_im) = (h_re, h_im)
    re, im = real(wc), imag(wc)
    y = existing(linalg.solve(np.block([[re, -im], [im, re]]), np.concatenate([real(h), imag(h)])), target)
    limit = sum((real(conj(v) * gaussian(p, q)) for v, p, q in zip(h, y[: h.size], y[h.size :], strict=True)), Fraction(0))
    cost = prefix_cost_squared(target.system, list(target.h0))
    require(cost == limit, target)
    finite = prefix_cost_squared(target.system, list(target.h0), target.tokens)
    require(cost <= finite, target)
    if any(not is_zero(v) for v in h):
        require(cost > 0, target)
    else:
        require(cost == finite == 0, target)
    longer = prefix_cost_squared(target.system, list(target.h0), max(target.tokens, full.n_states) + 3)
    require(cost <= longer <= finite, target)


# -- least dimension ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ellipsoid:
    """{diag(s) x : ‖x‖ ≤ 1} with s_1 ≥ … ≥ s_n ≥ 0, and vectors that span a subspace of smaller dimension."""

    axes: tuple[Fraction, ...]
    space: tuple[tuple[Fraction, ...], ...]


@st.composite
def ellipsoids(draw: st.DrawFn) -> Ellipsoid:
    """Up to four axes, equal and zero ones included."""
    n = draw(st.integers(1, 4))
    axes = sorted((abs(x) for x in draw(vectors(n))), reverse=True)
    return Ellipsoid(tuple(axes), tuple(map(tuple, draw(st.lists(vectors(n, 2), max_size=n - 1)))))


def width(axes: Sequence[Fraction], dimension: int) -> Fraction:
    """How far from every subspace of one dimension some point of the ellipsoid is: the next axis."""
    return axes[dimension]


def check_width(e: Ellipsoid) -> None:
    """No subspace of dimension k is nearer than s_{k+1} to all points, and that of the first k axes is as near.

    The squared distances from V are the values of S(I − P)S on ‖x‖ ≤ 1, P the projector on V; an exact semidefiniteness test
    compares them with s_{k+1}².
    """
    n = len(e.axes)
    k = linalg.rank([list(v) for v in e.space]) if e.space else 0
    first = [tuple(Fraction(int(i == j)) for j in range(n)) for i in range(k)]
    bound = np.diag([width(e.axes, k) ** 2] * n)
    for space in (e.space, first):
        difference = bound - _squared_distances(e.axes, space)
        require(not linalg.is_psd(difference) or linalg.determinant(difference) == 0, (e, "nearer than the next axis"))
    require(linalg.is_psd(bound - _squared_distances(e.axes, first)), (e, "the first axes are not as near"))


def _squared_distances(axes: Sequence[Fraction], space: Sequence[Sequence[Fraction]]) -> Array:
    """S(I − P)S, with P the orthogonal projector on the span."""
    n = len(axes)
    rest = np.array([[Fraction(int(i == j)) for j in range(n)] for i in range(n)], dtype=object)
    reduced, pivots = linalg.rref([list(v) for v in space]) if space else (rest[:0], ())
    if pivots:
        basis = np.asarray(reduced)[: len(pivots)]
        rest = rest - basis.T @ linalg.inverse(basis @ basis.T) @ basis
    s = np.diag(list(axes))
    return np.asarray(s @ rest @ s)
