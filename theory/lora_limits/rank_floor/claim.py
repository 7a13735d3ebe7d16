"""lora_limits.rank_floor: the best rank-r approximation error of an update, and what a rank-r adapter costs.

min over rank X ≤ r of ‖Δ − X‖_F² is Σ_{i>r} σ_i(Δ)², reached by the truncated SVD. Algorithms: :mod:`.low_rank`.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np
import sympy
from hypothesis import strategies as st

from theory.core.scalars import Array
from theory.core.strategies import matrices, rationals
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
    run_instances,
)
from theory.verification.planted import changed, swap
from theory.verification.refutation import require

from ..costs import MODELS
from ..low_rank import (
    RationalSVD,
    cayley,
    certified_dimension,
    excess,
    lora_dimension,
    lora_floor,
    lora_stored,
    squared_distance,
    truncated,
)

# -- instances ---------------------------------------------------------------------------------------------------------


class Approximation(NamedTuple):
    """An update with a known SVD, a rank r, and a candidate X = U V of rank at most r."""

    svd: RationalSVD
    rank: int
    left: Any  # (D, r)
    right: Any  # (r, N)

    def candidate(self) -> Array:
        """X, shape (D, N)."""
        d, n = len(self.svd.left), len(self.svd.right)
        x = np.full((d, n), Fraction(0), dtype=object)
        for u, v in zip(np.array(self.left, dtype=object).T if self.rank else [], self.right, strict=True):
            x = x + np.outer(u, np.array(v, dtype=object))
        return x


@st.composite
def rotations(draw: st.DrawFn, size: int) -> Array:
    """A rational orthogonal matrix by Cayley's transform of a small skew matrix."""
    k = np.full((size, size), Fraction(0), dtype=object)
    for i, j in combinations(range(size), 2):
        k[i, j] = Fraction(draw(st.integers(-2, 2)), draw(st.sampled_from((1, 2))))
        k[j, i] = -k[i, j]
    return cayley(k)


@st.composite
def approximations(draw: st.DrawFn, largest: int = 3) -> Approximation:
    """D, N ≤ ``largest``, any r < min(D, N), repeated and zero singular values included."""
    d, n = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    s = sorted(draw(st.lists(rationals(3).map(abs), min_size=min(d, n), max_size=min(d, n))), reverse=True)
    r = draw(st.integers(0, min(d, n) - 1))
    svd = RationalSVD(draw(rotations(d)), tuple(s), draw(rotations(n)))
    return Approximation(svd, r, draw(matrices(d, r)), draw(matrices(r, n)))


# -- properties --------------------------------------------------------------------------------------------------------


def check_floor_reached(instance: Approximation) -> None:
    """The truncated SVD has rank ≤ r and misses Δ by exactly the floor, which :func:`lora_floor` finds from Δ alone."""
    svd, r = instance.svd, instance.rank
    floor = lora_floor(svd.matrix(), r)
    require(floor.lower <= svd.floor(r) <= floor.upper, (floor, svd.floor(r)))
    require(floor.exact or floor.upper - floor.lower < Fraction(1, 10**20))
    u, v = svd.factors(r)
    require(u.size + v.size == lora_stored(len(svd.left), len(svd.right), r))
    require(squared_distance(svd.matrix(), svd.truncated(r)) == svd.floor(r))
    if svd.singular_values[r] > 0:  # one rank more must lower the floor, by exactly that singular value
        require(lora_floor(svd.matrix(), r + 1).upper < floor.lower)
        require(svd.floor(r) - svd.floor(r + 1) == svd.singular_values[r] ** 2)


def check_nothing_better(instance: Approximation) -> None:
    """A candidate's excess over the floor is the sum of four terms, each nonnegative."""
    x = instance.candidate()
    terms = excess(instance.svd, x, instance.rank)
    require(min(terms.fit, terms.head, terms.tail, terms.slack) >= 0, terms)
    error = squared_distance(instance.svd.matrix(), x)
    require(error == instance.svd.floor(instance.rank) + terms.total, (error, terms))


# -- symbolic and exhaustive routes ------------------------------------------------------------------------------------


def split_identity(d: int, n: int, r: int) -> bool:
    """‖Δ − U Vᵀ‖² det G = det G (tr ΔPΔᵀ + ‖(Δ − U Vᵀ)Π‖²) as polynomials in all entries, G = VᵀV, Π = V G⁻¹Vᵀ, P = I − Π.

    Multiplied by det G = det(VᵀV) so that both sides are polynomials. D × N update, V of r columns.
    """
    names = [f"d{i}{j}" for i in range(d) for j in range(n)]
    names += [f"u{i}{k}" for i in range(d) for k in range(r)] + [f"v{j}{k}" for j in range(n) for k in range(r)]
    gens = iter(sympy.ring(names, sympy.QQ)[1:])
    delta = np.array([next(gens) for _ in range(d * n)], dtype=object).reshape(d, n)
    u = np.array([next(gens) for _ in range(d * r)], dtype=object).reshape(d, r)
    v = np.array([next(gens) for _ in range(n * r)], dtype=object).reshape(n, r)
    gram = v.T @ v
    if r == 1:
        det, adjugate = gram[0, 0], np.array([[gram[0, 0] ** 0]], dtype=object)
    else:  # r == 2
        det = gram[0, 0] * gram[1, 1] - gram[0, 1] * gram[1, 0]
        adjugate = np.array([[gram[1, 1], -gram[0, 1]], [-gram[1, 0], gram[0, 0]]], dtype=object)
    miss = delta - u @ v.T
    onto = delta @ v  # ‖M Π‖² = tr(M V G⁻¹ Vᵀ Mᵀ)
    missed = miss @ v
    lhs = det * np.sum(miss * miss)
    projected = det * np.sum(delta * delta) - np.sum((onto @ adjugate) * onto)
    rhs = projected + np.sum((missed @ adjugate) * missed)
    return bool(lhs == rhs)


def kernel_dimension(n: int, r: int) -> int:
    """N − r: the least trace of the projector onto the kernel of a matrix of rank at most r."""
    return n - r


def weights_identity(n: int, r: int) -> bool:
    """Σ q_i p_i − Σ_{i>r} q_i = Σ_{i≤r}(q_i − t)p_i + Σ_{i>r}(t − q_i)(1 − p_i) + t(Σ p_i − (N − r)), in all symbols."""
    symbols = sympy.ring([f"q{i}" for i in range(n)] + [f"p{i}" for i in range(n)] + ["t"], sympy.QQ)[1:]
    q, p, t = symbols[:n], symbols[n : 2 * n], symbols[-1]
    lhs = sum(a * b for a, b in zip(q, p, strict=True)) - sum(q[r:])
    rhs = sum((q[i] - t) * p[i] for i in range(r)) + sum((t - q[i]) * (1 - p[i]) for i in range(r, n))
    return bool(lhs - rhs - t * (sum(p) - kernel_dimension(n, r)) == 0)


_SPLIT = ((1, 2, 1), (2, 2, 1), (3, 2, 1), (2, 3, 1), (3, 3, 1), (2, 3, 2), (3, 3, 2))


def prove_floor(profile: Profile) -> Outcome:
    """The two polynomial identities on which the lower bound rests."""
    for d, n, r in _SPLIT:
        require(split_identity(d, n, r), f"D = {d}, N = {n}, r = {r}")
    pairs = [(n, r) for n in range(1, 7) for r in range(n)]
    for n, r in pairs:
        require(weights_identity(n, r), f"N = {n}, r = {r}")
    return Outcome(
        Verdict.EXACT,
        "excess over the floor = four nonnegative terms (two polynomial identities, checked symbolically; argument for "
        "every size in the README)",
        "split: D, N ≤ 3, r ≤ 2; weights: N ≤ 6, r < N",
        len(_SPLIT) + len(pairs),
    )


def prove_dimension(profile: Profile) -> Outcome:
    """Exact Jacobian rank r(D + N − r) at one rational point, for every size up to 8 × 8 and every r ≤ min(D, N)."""
    largest, count = 8, 0
    for d in range(1, largest + 1):
        for n in range(1, largest + 1):
            for r in range(min(d, n) + 1):
                require(certified_dimension(d, n, r) == lora_dimension(d, n, r), f"D = {d}, N = {n}, r = {r}")
                count += 1
    return Outcome(
        Verdict.EXACT,
        "rank of d(UV) at a rational point equals the upper bound that the r² gauge directions give (every size: README)",
        f"every D, N ≤ {largest}, r ≤ min(D, N)",
        count,
    )


def float_route(profile: Profile) -> Outcome:
    """Float SVD floors against exact enclosures, and the error that the float factors really leave."""
    tolerance = 0.0

    def test(case: tuple[list[list[Fraction]], int]) -> None:
        nonlocal tolerance
        rows, r = case
        delta = np.array(rows, dtype=float)
        exact, found = lora_floor(rows, r), lora_floor(delta, r)
        scale = float(np.sum(delta**2))
        allowed = budget(delta.size, 1.0) * max(scale, 1.0)
        require(abs(float(found) - float(exact)) <= allowed, (found, exact))
        u, v = truncated(delta, r)
        left = float(np.sum((delta - u @ v) ** 2)) if r else scale
        require(abs(left - float(exact)) <= allowed, (left, exact))
        tolerance = max(tolerance, budget(delta.size, 1.0))

    cases = st.integers(1, 5).flatmap(
        lambda n: st.tuples(st.integers(1, 4).flatmap(lambda d: matrices(d, n)), st.just(n)).map(
            lambda t: (t[0], min(len(t[0]), t[1]) // 2)
        )
    )
    n = run_instances(test, cases, profile.scaled(0.5), profile.seed)
    return Outcome(
        Verdict.NUMERIC,
        "float64 SVD floor and the error of its factors against the exact enclosure, relative to ‖Δ‖²",
        "D ≤ 4, N ≤ 5, r = min/2",
        n,
        tolerance=tolerance,
        condition=1.0,  # against ‖Δ‖² the floor is perfectly conditioned (Weyl); its own digits may be fewer, see lora_floor
    )


def gaussian_table(profile: Profile) -> Outcome:
    """Share of a Gaussian update of Mamba's shapes that rank r leaves out: Σ_{i>r} σ_i² / Σ σ_i²."""
    rng = np.random.default_rng(profile.seed)
    data, tolerance, condition = {}, 0.0, 1.0
    for name, m in MODELS.items():
        delta = rng.standard_normal((m["d_inner"], m["d_state"]))
        total = float(np.sum(delta**2))
        floors = {r: lora_floor(delta, r) for r in (1, 2, 4, 8, 15)}
        require(all(p.lower > q.upper > 0 for p, q in pairwise(floors.values())), f"{name}: a higher rank leaves no less out")
        data[name] = {str(r): round(float(f) / total, 4) for r, f in floors.items()}
        tolerance = max(tolerance, *(float(f.upper - f.lower) / total for f in floors.values()))
        condition = max(condition, *(f.condition for f in floors.values()))
    how = "relative floor of one Gaussian D × N update (rounded to 4 digits)"
    return Outcome(Verdict.NUMERIC, how, "D × 16", len(data), tolerance=tolerance, condition=condition, data=data)


# -- assumptions -------------------------------------------------------------------------------------------------------


class Shape(NamedTuple):
    """D, N and a rank that may exceed min(D, N)."""

    rows: int
    columns: int
    rank: int


class Weighted(NamedTuple):
    """A diagonal update (values descending), a weight per diagonal entry, and a rank."""

    values: tuple[Fraction, ...]
    weights: tuple[Fraction, ...]
    rank: int


def _svd_is_best(x: Weighted) -> bool:
    """Whether no choice of r diagonal entries has a smaller weighted error than the r largest."""

    def error(kept: tuple[int, ...]) -> Fraction:
        return sum((w * v * v for i, (v, w) in enumerate(zip(x.values, x.weights, strict=True)) if i not in kept), Fraction(0))

    best = min(error(kept) for kept in combinations(range(len(x.values)), x.rank))
    return error(tuple(range(x.rank))) == best


@st.composite
def _weighted(draw: st.DrawFn, equal: bool) -> Weighted:
    n = draw(st.integers(2, 4))
    values = sorted(draw(st.lists(rationals(3, nonzero=True).map(abs), min_size=n, max_size=n)), reverse=True)
    if equal:
        weights = [abs(draw(rationals(3, nonzero=True)))] * n
    else:
        weights = draw(st.lists(rationals(3).map(abs), min_size=n, max_size=n).filter(lambda w: len(set(w)) > 1))
    return Weighted(tuple(values), tuple(weights), draw(st.integers(1, n - 1)))


def _shapes(beyond: bool) -> st.SearchStrategy[Shape]:
    def with_rank(t: tuple[int, int]) -> st.SearchStrategy[Shape]:
        m = min(t)
        ranks = st.integers(m + 1, m + 3) if beyond else st.integers(0, m)
        return ranks.map(lambda r: Shape(*t, r))

    return st.tuples(st.integers(1, 5), st.integers(1, 5)).flatmap(with_rank)


ASSUMPTIONS = (
    Assumption(
        name="rank at most min(D, N)",
        statement="r ≤ min(D, N), for the dimension r(D + N − r)",
        predicate=lambda x: x.rank <= min(x.rows, x.columns),
        having=lambda: _shapes(False),
        lacking=lambda: _shapes(True),
        conclusion=lambda x: certified_dimension(*x) == x.rank * (x.rows + x.columns - x.rank),
        counterexample=Counterexample(
            "a 1 × 1 matrix at rank 2",
            lambda: Shape(1, 1, 2),
            "D = N = 1, r = 2: r(D + N − r) = 0, while U V takes every value (dimension 1)",
        ),
    ),
    Assumption(
        name="parameter error",
        statement="the error is the plain Frobenius norm of the parameter; a function's error weighs its entries differently",
        predicate=lambda x: len(set(x.weights)) == 1,
        having=lambda: _weighted(True),
        lacking=lambda: _weighted(False),
        conclusion=_svd_is_best,
        counterexample=Counterexample(
            "a large change of a state that the function does not see",
            lambda: Weighted((Fraction(2), Fraction(1)), (Fraction(0), Fraction(1)), 1),
            "Δ = diag(2, 1), the first entry belongs to a state with zero residue (weight 0): the truncated SVD keeps it and "
            "leaves weighted error 1, keeping the second entry leaves 0",
        ),
    ),
)

CLAIM = Claim(
    id="lora_limits.rank_floor",
    title="best rank-r error of an update: the trailing squared singular values",
    statement=(
        "For an update Δ of a D × N parameter, the least squared Frobenius error of a LoRA of rank r is Σ_{i>r} σ_i(Δ)², reached "
        "by the truncated SVD. The adapter stores r(D + N) numbers; the updates it can express form a set of dimension "
        "r(D + N − r), r ≤ min(D, N)."
    ),
    level="parameter",
    horizon="none (no sequence is involved)",
    source="Schmidt 1907, Eckart and Young 1936; our use, after Galim et al. 2024",
    assumptions=ASSUMPTIONS,
    readme="theory/lora_limits/rank_floor/README.md",
    not_claimed=(
        "Nothing about the error of the function that the parameter defines: where an entry's residue vanishes the parameter "
        "error overstates it. See lora_limits.unreachable for functions."
    ),
    parts=(
        Part("floor", argument="derivation"),
        Part("dimension", argument="derivation"),
    ),
    checks=(
        Check(
            "lower bound by four nonnegative terms",
            prove_floor,
            "floor",
            planted=(Planted("a kernel of one dimension less", swap("kernel_dimension", changed(lambda n: n - 1))),),
        ),
        Check(
            "certificate of every candidate",
            exact_check(check_nothing_better, approximations, "excess = four nonnegative terms, exactly", "D, N ≤ 3, r < min"),
            "floor",
            planted=(
                Planted(
                    "a term left out", swap("excess", changed(lambda terms: replace(terms, slack=terms.slack + terms.fit + 1)))
                ),
                Planted("a floor of one rank more", swap("RationalSVD.floor", lambda right: lambda self, r: right(self, r + 1))),
            ),
        ),
        Check(
            "truncated SVD reaches the floor",
            exact_check(check_floor_reached, approximations, "error = floor; floor found from Δ alone", "D, N ≤ 3, r < min"),
            "floor",
            planted=(
                Planted("the floor of one rank more", swap("lora_floor", lambda right: lambda delta, r: right(delta, r + 1))),
                Planted(
                    "twice the floor",
                    swap("lora_floor", changed(lambda floor: replace(floor, lower=2 * floor.lower, upper=2 * floor.upper))),
                ),
            ),
        ),
        Check(
            "dimension certificate",
            prove_dimension,
            "dimension",
            planted=(Planted("gauge directions not subtracted", swap("lora_dimension", lambda _: lambda d, n, r: r * (d + n))),),
        ),
        Check(
            "float64 SVD",
            float_route,
            None,
            planted=(
                Planted(
                    "floors off by a thousandth", swap("truncated", changed(lambda factors: (factors[0] * 1.001, factors[1])))
                ),
            ),
        ),
        Check(
            "Gaussian updates of Mamba's shapes",
            gaussian_table,
            None,
            planted=(
                Planted("the floor of one rank fewer", swap("lora_floor", lambda right: lambda delta, r: right(delta, 15 - r))),
            ),
        ),
    ),
)
