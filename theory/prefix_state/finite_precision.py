"""prefix_state.finite_precision: prefix-tuning is the Hankel operator, and its useful dimension is a count of σ's."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.claim import Assumption, Check, Claim, Counterexample, Outcome, Profile, Verdict, exact_check
from theory.core.gramians import (
    gramians,
    hankel_matrix,
    hankel_singular_values,
    observability_gramian,
    observability_matrix,
    reachability_gramian,
    reachability_matrix,
)
from theory.core.initialisations import initialisation
from theory.core.lti import LTI
from theory.core.scalars import Array, conj, gaussian, imag, is_real, is_zero, real
from theory.core.strategies import any_lti, decays, gaussians, paired_lti, rationals, real_lti, vectors
from theory.core.tolerance import budget

from .prefix_geometry import (
    PRECISIONS,
    cheapest_prefix,
    effective_prefix_dimension,
    finite_precision_row,
    finite_precision_table,
    prefix_cost,
    prefix_cost_squared,
    reachability_rank,
)

__all__ = [
    "CLAIM",
    "PRECISIONS",
    "cheapest_prefix",
    "effective_prefix_dimension",
    "finite_precision_row",
    "finite_precision_table",
    "prefix_cost",
    "prefix_cost_squared",
    "reachability_rank",
]


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
        h0 = system.run(draw(vectors(tokens)))[1]
    else:
        h0 = draw(st.lists(gaussians() if system.half else rationals(), min_size=system.n_states, max_size=system.n_states))
    return Target(system, tuple(h0), tokens)


def _controllable() -> st.SearchStrategy[LTI]:
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
    assert _equal(h, hankel_matrix(system, length, tokens)), recipe
    assert _equal(h, observability_matrix(system, length) @ reachability_matrix(system, tokens)), recipe


def check_prefix_axes(recipe: Recipe) -> None:
    """H Hᵀ and Wc(M) Wo(L) have the same non-zero eigenvalues: the squared semi-axes of what prefixes reach."""
    h = measured_hankel(recipe.system, recipe.length, recipe.tokens)
    gramian_product = reachability_gramian(recipe.system, recipe.tokens) @ wo_by_recipe(recipe)
    assert _same_spectrum(h @ h.T, gramian_product), recipe


def check_state_axes(recipe: Recipe) -> None:
    """S Sᵀ and Wo(L) have the same non-zero eigenvalues; in the stored norm of half storage they are twice as large."""
    wo = wo_by_recipe(recipe)
    assert _same_spectrum(measured_states(recipe.system, recipe.length), wo), recipe
    if recipe.system.half:
        assert _same_spectrum(measured_states(recipe.system, recipe.length, stored_norm=True), 2 * wo), recipe


def check_limits(recipe: Recipe) -> None:
    """Closed forms: Wc − a Wc ā = b b*, Wc − Wc(M) = a^M Wc ā^M (→ 0 for |a| < 1), and the same for Wo."""
    full = recipe.system.closed()
    wc, wo = gramians(recipe.system)
    row = full.c * full.a
    around = np.outer(full.a, conj(full.a))
    assert _equal(wc - around * wc, np.outer(full.b, conj(full.b))), recipe
    assert _equal(wo - conj(around) * wo, np.outer(conj(row), row)), recipe
    power = np.prod([around] * recipe.tokens, axis=0)
    assert _equal(wc - reachability_gramian(recipe.system, recipe.tokens), power * wc), recipe
    power = np.prod([conj(around)] * recipe.length, axis=0)
    assert _equal(wo - observability_gramian(recipe.system, recipe.length), power * wo), recipe


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
        y = linalg.solve(basis @ basis.T, -(basis @ particular))
        assert y is not None
        particular = particular + y @ basis
    return sum((x * x for x in particular), Fraction(0))


def check_cheapest_prefix(target: Target) -> None:
    """h_0* Wc(M)⁻¹ h_0 is the least squared norm of a prefix that leaves h_0, and the prefix found leaves it."""
    cost = prefix_cost_squared(target.system, list(target.h0), target.tokens)
    x = cheapest_prefix(target.system, list(target.h0), target.tokens)
    assert cost == least_norm_by_elimination(target), target
    assert (x is None) == (cost == math.inf), target
    if x is not None:
        assert sum((v * v for v in x), Fraction(0)) == cost, target
        assert all(is_zero(p - q) for p, q in zip(target.system.run(x)[1], target.h0, strict=True)), target


def prove_symbolically(_: Profile) -> Outcome:
    """The identities with symbols for every number: N = 2 real modes, M = L = 2 and M = 3."""
    a, b, c, h = (sympy.symbols(f"{s}1:3", real=True) for s in "abch")
    system = LTI(list(a), list(b), list(c))
    k = [sum(ci * bi * ai**j for ai, bi, ci in zip(a, b, c, strict=True)) for j in range(5)]
    hankel = sympy.Matrix(2, 2, lambda t, m: k[t + 1 + m])
    product = sympy.Matrix(reachability_gramian(system, 2)) * sympy.Matrix(observability_gramian(system, 2))
    square = hankel * hankel.T
    for left, right in ((square.trace(), product.trace()), (square.det(), product.det())):
        assert sympy.expand(left - right) == 0, "characteristic polynomials differ"
    states = sympy.Matrix(2, 2, lambda t, n: c[n] * a[n] ** (t + 1))
    wo = sympy.Matrix(observability_gramian(system, 2))
    for left, right in (((states * states.T).trace(), wo.trace()), ((states * states.T).det(), wo.det())):
        assert sympy.expand(left - right) == 0, "characteristic polynomials differ"
    wc, limit_o = gramians(system)
    for i in range(2):
        for j in range(2):
            assert sympy.simplify(wc[i, j] - a[i] * wc[i, j] * a[j] - b[i] * b[j]) == 0, "Stein equation of Wc"
            assert sympy.simplify(limit_o[i, j] * (1 - a[i] * a[j]) - c[i] * a[i] * c[j] * a[j]) == 0, "Stein equation of Wo"
    r = sympy.Matrix(2, 3, lambda n, m: b[n] * a[n] ** m)
    gram = r * r.T
    state = sympy.Matrix(h)
    # x = Rᵀ adj(Wc) h / det(Wc), without dividing: R x = h, ‖x‖² = hᵀWc⁻¹h, and x ⊥ ker R
    x = r.T * gram.adjugate() * state
    null = sympy.Matrix([a[0] * a[1], -(a[0] + a[1]), 1])
    assert all(sympy.expand(v) == 0 for v in r * x - gram.det() * state), "R x = h"
    assert sympy.expand((x.T * x)[0] - gram.det() * (state.T * gram.adjugate() * state)[0]) == 0, "norm"
    assert sympy.expand((null.T * x)[0]) == 0, "orthogonality"
    return Outcome(
        Verdict.PROVED,
        "H = O R gives λ(H H*) = λ(Wc Wo) and λ(O O*) = λ(Wo); least norm by orthogonality to ker R; symbols checked",
        "any N, M, L (derivation); N = 2 with symbols",
        instances=4,
    )


def float_hankel(profile: Profile) -> Outcome:
    """Certified Hankel singular values against LAPACK's SVD of a long Hankel matrix of float systems."""
    worst, cond = 0.0, 1.0
    rng = np.random.default_rng(profile.seed)
    count = profile.scaled(0.05)
    for _ in range(count):
        if rng.random() < 0.5:
            system = LTI(rng.uniform(-0.9, 0.9, 4), rng.standard_normal(4), rng.standard_normal(4))
        else:
            radius, angle = rng.uniform(0.2, 0.9, 2), rng.uniform(0.1, 3.0, 2)
            parts = [rng.standard_normal(2) + 1j * rng.standard_normal(2) for _ in range(2)]
            system = LTI(radius * np.exp(1j * angle), *parts, half=True)
        svd = np.linalg.svd(hankel_matrix(system, 200, 200), compute_uv=False)[:4]
        values = hankel_singular_values(system)
        worst = max(worst, float(np.abs(values - svd).max() / values[0]))
        cond = max(cond, float(1 / (1 - np.abs(system.a).max())))
        allowed = budget(200, cond)
        assert worst <= allowed, f"σ of {system!r}: {values.tolist()} certified, {svd.tolist()} by SVD"
    return Outcome(
        Verdict.TO,
        f"SVD of the 200 × 200 Hankel matrix, largest deviation {worst:.1e} of σ_1",
        "N = 4",
        count,
        tolerance=budget(200, cond),
        condition=cond,
    )


def dimension_counts(profile: Profile) -> Outcome:
    """How many of Mamba's 16 Hankel singular values exceed 1e-3 of the largest, over draws of c; decided by enclosures."""
    seeds = range(8 if profile.instances < 100 else 20)
    seen = {}
    for dt in (1e-3, 1e-2, 1e-1):
        seen[dt] = [effective_prefix_dimension(initialisation("mamba", 16, dt, seed=s), 1e-3) for s in seeds]
        assert all(3 <= n <= 5 for n in seen[dt]), f"dt = {dt}: {seen[dt]} of 16 values exceed 1e-3 of the largest"
    data = {f"dt={dt:g}": {str(n): counts.count(n) for n in sorted(set(counts))} for dt, counts in seen.items()}
    low, high = (f(min_or_max for counts in seen.values() for min_or_max in counts) for f in (min, max))
    return Outcome(
        Verdict.EXACT,
        f"A = −1..−16: {low} to {high} of 16 Hankel singular values exceed 1e-3 of the largest (certified enclosures)",
        "N = 16, dt = 1e-3, 1e-2, 1e-1",
        3 * len(seeds),
        data={"count_of_values_above_1e-3": data},
    )


def tabulate(profile: Profile) -> Outcome:
    """Condition, ranks and dimensions over the initialisations; LAPACK's ranks, so a measurement that decides nothing."""
    rows = finite_precision_table(16, seeds=(0,) if profile.instances < 100 else (0, 1, 2))
    for row in rows:
        rank = row["rank"]
        distinct = 15 if row["initialisation"] == "s4d_lin" else 16  # its n = 0 mode is real
        assert rank["exact"] == distinct, row
        assert rank["exact"] >= rank["float64"] >= rank["float32"] >= 1, row
        # a float rank can only count singular values above the format's spacing
        assert (rank["float64"] == distinct) == (row["condition"] * 16 * float(np.finfo(np.float64).eps) < 1), row
    hardest = rows[0]
    return Outcome(
        Verdict.EXACT,
        f"Mamba at dt = 1e-3: condition {hardest['condition']:.1e}; rank {hardest['rank']['exact']} exact, "
        f"{hardest['rank']['float64']} in float64, {hardest['rank']['float32']} in float32",
        "N = M = 16",
        len(rows),
        data={"table": rows},
    )


# -- assumptions ----------------------------------------------------------------------------------------------------------


def _stable(system: LTI) -> bool:
    return all(bool(real(x * conj(x)) < 1) for x in system.a)


def _bounded_by_closed_form(system: LTI) -> bool:
    """Whether tr Wc(M), the squared reach of M tokens, stays below what the closed form says for M = ∞."""
    full = system.closed()
    total: Any = Fraction(0)
    for a, b in zip(full.a, full.b, strict=True):
        gap = 1 - real(a * conj(a))
        if gap == 0:
            return False
        total += real(b * conj(b)) / gap
    finite = [reachability_gramian(system, m) for m in range(1, 6)]
    return all(sum((real(w[i, i]) for i in range(full.n_states)), Fraction(0)) <= total for w in finite)


@st.composite
def _unstable(draw: st.DrawFn) -> LTI:
    a = draw(decays(2))
    a[draw(st.integers(0, 1))] = draw(st.sampled_from([Fraction(1), Fraction(-1), Fraction(3, 2), Fraction(-2)]))
    return LTI(a, draw(vectors(2, nonzero=True)), draw(vectors(2)), check_stable=False)


def _reachable(target: Target) -> bool:
    full = target.system.closed()
    distinct = len(target.system.modes()) == full.n_states
    return distinct and target.tokens >= full.n_states and all(not is_zero(b) for b in full.b)


def _every_state_affordable(target: Target) -> bool:
    n = target.system.n_states
    units = [1, gaussian(0, 1)] if target.system.half else [1]
    states = [[unit if i == k else 0 for i in range(n)] for k in range(n) for unit in units]
    return all(prefix_cost_squared(target.system, h, target.tokens) < math.inf for h in states)


@st.composite
def _unaffordable(draw: st.DrawFn) -> Target:
    target = draw(targets(_controllable(), enough=True))
    slip = draw(st.sampled_from(["residue", "equal", "short"]))
    if slip == "short":
        return replace(target, tokens=target.system.closed().n_states - 1 or 1) if target.system.closed().n_states > 1 else _DEAD
    a, b = list(target.system.a), list(target.system.b)
    if slip == "equal" and len(a) > 1:
        a[1] = a[0]
    else:
        b[0] = Fraction(0)
    return replace(target, system=target.system.replace(a=a, b=b))


_DEAD = Target(LTI(["1/2"], [0], [1]), (Fraction(1),), 1)
_TURNED = LTI([gaussian("1/2", "1/2")], [gaussian(1, 1)], [1], half=True)

ASSUMPTIONS = (
    Assumption(
        "outputs counted from t = 1",
        "a state left by a prefix shows first in o_1 = c·(a h_0), so Wo carries an extra factor ā on the left and a on the right",
        lambda r: r.first_output == 1,
        recipes,
        lambda: recipes(first_output=0),
        ellipsoids_agree,
        Counterexample(
            "one mode without the extra a",
            lambda: Recipe(LTI(["1/2"], [1], [1]), 1, 1, first_output=0),
            "a = 1/2, b = c = 1, M = L = 1: the prefix 1 gives o_1 = 1/2, the textbook's Wo says 1",
        ),
    ),
    Assumption(
        "conjugate on Wo's first index",
        "Wo_ij = (c_i a_i)‾ c_j a_j/(1 − ā_i a_j), the opposite side of Wc",
        lambda r: r.conjugate_first,
        lambda: recipes(paired_lti(max_pairs=2)),
        lambda: recipes(paired_lti(max_pairs=2), conjugate_first=False),
        ellipsoids_agree,
        Counterexample(
            "one pair with the conjugate on the wrong side",
            lambda: Recipe(_TURNED, 1, 1, conjugate_first=False),
            "a = (1 + i)/2, b = 1 + i, c = 1 and conjugates, M = L = 1: o_1 = 2 Re(i) = 0, the wrong side gives axis 2",
        ),
    ),
    Assumption(
        "norm of the full conjugate-symmetric state",
        "with half storage a state's norm counts both modes of each pair; the stored half alone is √2 shorter",
        lambda r: not r.stored_norm or not r.system.half,
        recipes,
        lambda: recipes(paired_lti(max_pairs=2), stored_norm=True),
        ellipsoids_agree,
        Counterexample(
            "one pair measured by its stored half",
            lambda: Recipe(LTI([gaussian(0, "1/2")], [1], [1], half=True), 1, 1, stored_norm=True),
            "a = ±i/2, c = 1, L = 1: states with |h_stored| = 1 reach o_1 = 1, √λ(Wo) = 1/√2",
        ),
    ),
    Assumption(
        "|a| < 1",
        "every mode decays; for finite M and L nothing is assumed",
        _stable,
        lambda: any_lti(3),
        _unstable,
        _bounded_by_closed_form,
        Counterexample(
            "an integrator",
            lambda: LTI([1], [1], [1], check_stable=False),
            "a = b = 1: prefixes of norm 1 reach √M, so there is no largest semi-axis and 1/(1 − aā) is 1/0",
        ),
    ),
    Assumption(
        "Wc(M) non-singular",
        "distinct modes, every b_n ≠ 0 and M ≥ N (closed): then every state has a finite cost",
        _reachable,
        lambda: targets(_controllable(), enough=True),
        _unaffordable,
        _every_state_affordable,
        Counterexample(
            "a mode no token reaches", lambda: _DEAD, "a = 1/2, b = 0: h_0 = 1 costs ∞ whatever M (Wc = 0 has no inverse)"
        ),
    ),
)

CLAIM = Claim(
    id="prefix_state.finite_precision",
    title="prefix-tuning is the Hankel operator: its useful dimension is the number of σ's above the precision",
    statement=(
        "LTI channel, |a| < 1, o_t = Σ c_n a_n^t h_0n for t ≥ 1. A prefix x (M tokens) gives o = H x with H_{t,m} = k_{t+m}, "
        "and H = O R. With Wc_ij = b_i b̄_j/(1 − a_i ā_j) and Wo_ij = c̄_i ā_i c_j a_j/(1 − ā_i a_j): prefixes of norm ≤ 1 "
        "reach outputs in an ellipsoid with semi-axes √λ(Wc Wo), the Hankel singular values; initial states of norm ≤ 1 one "
        "with semi-axes √λ(Wo); the cheapest prefix for h_0 has norm √(h_0* Wc(M)⁻¹ h_0), ∞ outside the range. For finite M "
        "and L the same holds with Wc(M), Wo(L) and any a. The number of σ above eps·σ_1 is the least dimension that holds "
        "every such output to within eps·σ_1; for A = −1..−16, b = dt and random c it is 3 to 5 of 16 at eps = 1e-3."
    ),
    level="one SSM module, one channel, free tokens",
    horizon="all outputs after the prefix (L = ∞), and every finite L",
    checks=(
        Check("symbolic identities", prove_symbolically, part="ellipsoids and cost"),
        Check(
            "Hankel factorisation",
            exact_check(check_hankel_factorisation, recipes, "unit prefixes run through the system", "N ≤ 3 (2 pairs), M, L ≤ 4"),
            part="Hankel operator",
        ),
        Check(
            "axes of prefixes",
            exact_check(check_prefix_axes, recipes, "tr (H Hᵀ)^k = tr (Wc(M) Wo(L))^k", "N ≤ 3 (2 pairs), M, L ≤ 4"),
            part="ellipsoids and cost",
        ),
        Check(
            "axes of states",
            exact_check(check_state_axes, recipes, "tr (S Sᵀ)^k = tr Wo(L)^k, both norms", "N ≤ 3 (2 pairs), L ≤ 4"),
            part="ellipsoids and cost",
        ),
        Check(
            "closed forms",
            exact_check(check_limits, recipes, "Stein equations and remainders a^M Wc ā^M", "N ≤ 3 (2 pairs)"),
            part="closed forms",
        ),
        Check(
            "cheapest prefix",
            exact_check(check_cheapest_prefix, targets, "least norm by elimination, no Gramian", "N ≤ 3 (2 pairs), M ≤ N + 2"),
            part="ellipsoids and cost",
        ),
        Check("σ by SVD", float_hankel, part=None),
        Check("directions above 1e-3", dimension_counts, part="useful dimension"),
        Check("initialisations", tabulate, part=None),
    ),
    assumptions=ASSUMPTIONS,
    readme="prefix_state.finite_precision",
    not_claimed=(
        "Nothing about selective modules, whose B_t and C_t move; nothing about how far training gets. A rank found in "
        "float64 or float32 depends on the library's tolerance rule, which is stated. S4D's complex modes keep all directions "
        "once the prefix is long; only short prefixes lose them."
    ),
)
