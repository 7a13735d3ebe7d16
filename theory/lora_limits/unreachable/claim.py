"""lora_limits.unreachable: a LoRA of rank r < min(D, N) on A cannot match a generic target function.

Not even up to relabelling the states inside each channel, and with every residue (B, C) free. Algorithms:
:mod:`.relabelling` (all sizes), :mod:`.completion` (D = N = 2 without the assumptions), :mod:`.phases` (complex A).
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import sympy
from hypothesis import strategies as st

from theory.core.linalg import matmul
from theory.core.linalg import rank as exact_rank
from theory.core.lti import LTI
from theory.core.scalars import Array
from theory.core.strategies import matrices, vectors
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

from ..low_rank import lora_dimension, lora_floor
from .completion import SpectrumTask, reaches
from .phases import bounded_shifts_reach, dense_phase_update, parity_obstruction, phase_error
from .relabelling import (
    Relabelling,
    count_relabellings,
    far_target,
    reach_certificate,
    reaching_update,
    relabel,
    relabelled_floor,
    relabellings,
)

# -- instances ---------------------------------------------------------------------------------------------------------

_SMALL = ((1, 2), (2, 2), (2, 3), (3, 2), (2, 1))


class HiddenTarget(NamedTuple):
    """A frozen A of integers, a LoRA (U, V) and a hidden relabelling: the target is A + U V with its states exchanged."""

    frozen: Array
    left: Array
    right: Array
    relabelling: Relabelling
    residues: Array

    @property
    def tuned(self) -> Array:
        """A + U V, the student that reaches the target."""
        return self.frozen + matmul(self.left, self.right) if self.left.size else self.frozen

    @property
    def target(self) -> Array:
        """A*, with the states of each channel in another order."""
        return relabel(self.tuned, self.relabelling)


@st.composite
def planted(draw: st.DrawFn) -> HiddenTarget:
    """Any rank 0 ≤ r ≤ min(D, N), D and N ≤ 3; decays are shifted to be negative, repeated decays may occur."""
    d, n = draw(st.sampled_from(_SMALL))
    r = draw(st.integers(0, min(d, n)))
    whole = st.integers(-3, 3).map(Fraction)
    u = np.array([[draw(whole) for _ in range(r)] for _ in range(d)], dtype=object).reshape(d, r)
    v = np.array([[draw(whole) for _ in range(n)] for _ in range(r)], dtype=object).reshape(r, n)
    tuned = np.array([[-1 - draw(st.integers(0, 9)) for _ in range(n)] for _ in range(d)], dtype=object) + Fraction(0)
    order = draw(st.tuples(*[st.permutations(range(n)).map(tuple) for _ in range(d)]))
    residues = np.array(draw(matrices(d, n)), dtype=object)
    return HiddenTarget(tuned - (matmul(u, v) if r else 0), u, v, order, residues)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Array, Array, int]:
    """A frozen A, any target A*, and a rank r < min(D, N) or equal to it."""
    d, n = draw(st.sampled_from(_SMALL))
    a, t = (np.array(draw(matrices(d, n)), dtype=object) for _ in range(2))
    return a, t, draw(st.integers(0, min(d, n)))


def _negative() -> st.SearchStrategy[Fraction]:
    return st.builds(lambda p, q: -Fraction(p, q), st.integers(1, 12), st.sampled_from((1, 2, 3)))


@st.composite
def spectrum_tasks(draw: st.DrawFn) -> SpectrumTask:
    """D = N = 2 with every assumption of the claim."""
    row: st.SearchStrategy[Any] = st.lists(_negative(), min_size=2, max_size=2, unique=True).map(tuple)
    task = SpectrumTask(
        frozen=(draw(row), draw(row)),
        target=draw(st.tuples(row, row)),
        residues=tuple(tuple(draw(vectors(2, nonzero=True))) for _ in range(2)),  # type: ignore[arg-type]
        rank=draw(st.integers(0, 1)),
        horizon=draw(st.integers(4, 6)),
    )
    return task if is_generic(task) else replace(task, target=((Fraction(-9), Fraction(-31)), (Fraction(-77), Fraction(-15))))


def is_generic(task: SpectrumTask) -> bool:
    """Whether none of the four relabelled differences has determinant 0."""
    (a, b), (c, e) = task.frozen
    return all((p[0] - a) * (q[1] - e) != (p[1] - b) * (q[0] - c) for p, q in product(*[(row, row[::-1]) for row in task.target]))


class PhaseTask(NamedTuple):
    """Wanted changes of the phases dt Im A / 2π (turns, 2 × 2), and a bound on |Im A| in turns (None: unbounded)."""

    wanted: tuple[tuple[Fraction, Fraction], tuple[Fraction, Fraction]]
    bound: int | None


# -- properties --------------------------------------------------------------------------------------------------------


def check_planted(instance: HiddenTarget) -> None:
    """A hidden rank-r target is found, its LoRA has at most that rank, and the *functions* agree (modes 2^A, dt = ln 2)."""
    rank = instance.left.shape[1]
    found = existing(reaching_update(instance.frozen, instance.target, rank), f"{instance}: a relabelling was lost")
    require(found.left.shape[1] <= rank)
    update = matmul(found.left, found.right) if found.left.size else 0
    tuned = instance.frozen + update
    require(np.array_equal(tuned, relabel(instance.target, found.relabelling)))
    d, n = tuned.shape
    residues = relabel(instance.residues, found.relabelling)  # the readout is exchanged with the states
    for channel in range(d):
        ones = [1] * n
        student = LTI([Fraction(2) ** int(x) for x in tuned[channel]], ones, residues[channel])
        target = LTI([Fraction(2) ** int(x) for x in instance.target[channel]], ones, instance.residues[channel])
        require(np.array_equal(student.kernel(2 * n + 2), target.kernel(2 * n + 2)))
    require(relabelled_floor(instance.frozen, instance.target, rank).floor.upper == 0)


def check_floor_decides(instance: tuple[Array, Array, int]) -> None:
    """Reachable iff the least floor over relabellings is 0; that floor never exceeds the floor without relabelling."""
    a, t, rank = instance
    best = relabelled_floor(a, t, rank)
    require(best.relabellings == count_relabellings(*a.shape))
    found = reaching_update(a, t, rank)
    if found is None:
        require(best.floor.lower > 0, best)
        require(exact_rank(relabel(t, best.relabelling) - a) > rank)
    else:
        require(best.floor.upper == 0, best)
    require(best.floor.lower <= best.identity.upper)
    attained = lora_floor(relabel(t, best.relabelling) - a, rank)
    require((attained.lower, attained.upper) == (best.floor.lower, best.floor.upper))


def check_phases(instance: tuple[Any, int]) -> None:
    """Rank one reaches every phase within 1/m."""
    wanted, m = instance
    u, v = dense_phase_update(wanted, m)
    require(phase_error(u, v, wanted) < Fraction(1, m))


# -- routes ------------------------------------------------------------------------------------------------------------


def prove_dimension(profile: Profile) -> Outcome:
    """Exact Jacobian ranks of student and target kernels, every D, N ≤ 8 and every r < min(D, N)."""
    largest, count, table = 8, 0, {}
    for d in range(1, largest + 1):
        for n in range(1, largest + 1):
            for r in range(min(d, n)):
                c = reach_certificate(d, n, r)
                require(c.target == 2 * d * n and c.student == c.bound == lora_dimension(d, n, r) + d * n, c)
                require(c.decides and c.target - c.bound == (d - r) * (n - r), c)
                count += 1
                if d == n:
                    table[f"{d}x{n} rank {r}"] = [c.bound, c.target]
    return Outcome(
        Verdict.EXACT,
        "the student's kernels form finitely many (one per relabelling) smooth images of dimension r(D + N − r) + D N, the "
        "target's have dimension 2 D N: exact Jacobian ranks at one rational point; upper bound at every point in the README",
        f"every D, N ≤ {largest}, r < min(D, N)",
        count,
        data={"student and target dimension": table},
    )


_FAR_SIZES = ((2, 2), (2, 3), (3, 2), (3, 3), (2, 4), (4, 2), (4, 3))


def far_targets(profile: Profile) -> Outcome:
    """The explicit target is missed by every relabelling at every r < min(D, N), for Mamba's A and other integer A."""
    count = 0
    rng = np.random.default_rng(profile.seed)
    for d, n in _FAR_SIZES:
        target = far_target(d, n)
        frozen = [[[Fraction(-(j + 1)) for j in range(n)]] * d]
        frozen.append([[Fraction(-int(x)) for x in row] for row in rng.integers(1, 50, (d, n))])
        for a in frozen[: 1 if d * n > 9 else 2]:
            base = np.array(a, dtype=object)
            for order in relabellings(d, n):
                require(exact_rank(relabel(target, order) - base) == min(d, n), (d, n, order))
                count += 1
    return Outcome(
        Verdict.EXACT,
        "every relabelled difference of the explicit 2-adic target has full rank (brute force over all relabellings)",
        ", ".join(f"{d}×{n}" for d, n in _FAR_SIZES),
        count,
    )


def fraction_of_turn(digits: Any, m: Any) -> Any:
    """Σ_k q_k m^{−k−1}: the number whose digits in base m are q_0, q_1, …"""
    return sum(q / m ** (k + 1) for k, q in enumerate(digits))


def prove_density(profile: Profile) -> Outcome:
    """u_d v_n = (integer) + Σ_{k≥d} digit_k m^{d−k−1}, as an identity in the digits and m; the tail is below 1/m."""
    m = sympy.Symbol("m", positive=True)
    largest = 6
    for channels in range(1, largest + 1):
        digits = sympy.symbols(f"q0:{channels}")
        v = fraction_of_turn(digits, m)
        for d in range(channels):
            turns = sum(q * m ** (d - k - 1) for k, q in enumerate(digits) if k < d)  # whole turns: integer polynomial
            tail = sum(q * m ** (d - k - 1) for k, q in enumerate(digits) if k >= d)
            require(sympy.expand(m**d * v - turns - tail) == 0)
            require(sympy.Poly(turns, m, *digits).is_ground or all(c.is_integer for c in sympy.Poly(turns, m, *digits).coeffs()))
            worst = tail.subs(dict.fromkeys(digits[d + 1 :], m - 1)) - digits[d] / m  # largest later digits
            require(sympy.simplify(worst - (1 / m - m ** (-(channels - d)))) == 0)  # hence below 1/m
    return Outcome(
        Verdict.EXACT,
        "digits of base m: u_d v_n is a whole number of turns plus the wanted phase, up to less than 1/m (symbolic in m and "
        "the digits)",
        f"D ≤ {largest}, any N",
        largest * (largest + 1) // 2,
    )


def exact_phases_missed(profile: Profile) -> Outcome:
    """Phases diag(1/2, 1/2): no integer shift has rank one (parity), although rank one comes within every 1/m."""
    half, zero = Fraction(1, 2), Fraction(0)
    wanted = ((half, zero), (zero, half))
    require(parity_obstruction(wanted))
    require(not bounded_shifts_reach(wanted, 3))
    errors = {}
    for m in (2, 10, 1000, 10**6):
        error = phase_error(*dense_phase_update(wanted, m), wanted)
        require(0 < error < Fraction(1, m))
        errors[str(m)] = float(error)
    return Outcome(
        Verdict.EXACT,
        "the phases diag(1/2, 1/2) are missed by rank one for all integer shifts (odd·odd ≠ even·even) and approached by it",
        "D = N = 2",
        4,
        data={"largest phase error (turns) at resolution m": errors},
    )


def floors_table(profile: Profile) -> Outcome:
    """How much relabelling lowers the parameter floor: mean over random targets of floor / squared distance."""
    rng = np.random.default_rng(profile.seed)
    data: dict[str, Any] = {}
    for d, n in ((2, 2), (3, 2), (2, 3), (3, 3), (2, 4)):
        for r in range(min(d, n)):
            ratios = []
            for _ in range(3):
                a = [[Fraction(-(j + 1)) for j in range(n)]] * d  # Mamba's initialisation
                t = [[-Fraction(int(x), 16) for x in row] for row in rng.integers(1, 16 * n, (d, n))]
                best = relabelled_floor(a, t, r)
                whole = float(lora_floor(np.array(t, dtype=object) - np.array(a, dtype=object), 0))
                require(best.floor.lower <= best.identity.upper <= whole * (1 + budget(d * n)), (d, n, r, best))
                ratios.append((float(best.identity) / whole, float(best.floor) / whole))
            plain, relabelled = (round(float(np.mean([x[i] for x in ratios])), 4) for i in (0, 1))
            data[f"{d}x{n} rank {r}"] = {"floor": plain, "over relabellings": relabelled}
    return Outcome(
        Verdict.NUMERIC,
        "share of ‖A* − A‖² that rank r leaves out, Mamba's A = −1..−N against random decays, mean of 3 (rounded to 4 digits)",
        tolerance=budget(3),
        data=data,
    )


# -- assumptions -------------------------------------------------------------------------------------------------------


def _unreached(task: SpectrumTask) -> bool:
    return not reaches(task)


def _distance_positive(task: PhaseTask) -> bool:
    """Whether rank one keeps a positive distance from the wanted phases."""
    if task.bound is not None:
        return not bounded_shifts_reach(task.wanted, task.bound)
    errors = [phase_error(*dense_phase_update(task.wanted, m), task.wanted) for m in (10, 100, 1000)]
    return any(e >= Fraction(1, m) for e, m in zip(errors, (10, 100, 1000), strict=True))


def _phase_tasks(bounded: bool) -> st.SearchStrategy[PhaseTask]:
    part = st.builds(Fraction, st.integers(0, 5), st.just(6))
    wanted = st.tuples(st.tuples(part, part), st.tuples(part, part)).filter(parity_obstruction)
    return st.builds(PhaseTask, wanted, st.integers(1, 2) if bounded else st.none())


def _rows(*values: int) -> Any:
    a, b, c, e = (Fraction(v) for v in values)
    return ((a, b), (c, e))


_FROZEN = _rows(-1, -2, -1, -2)  # Mamba's A = −1, −2 in both channels
_ONES = _rows(1, 1, 1, 1)
_TARGET = _rows(-4, -3, -2, -4)  # generic: see the counterexamples for what each assumption does to it


def _lacking(**changes: Any) -> st.SearchStrategy[SpectrumTask]:
    return spectrum_tasks().map(lambda t: replace(t, **changes))


def _zero_one_residue(task: SpectrumTask) -> SpectrumTask:
    return replace(task, residues=((Fraction(0), task.residues[0][1]), task.residues[1]))


def _repeat_mode(task: SpectrumTask) -> SpectrumTask:
    return replace(task, target=((task.target[0][0],) * 2, task.target[1]))


def _plant(task: SpectrumTask) -> SpectrumTask:
    """A target at rank one from the frozen A, with its second channel's states exchanged."""
    (a, b), (c, e) = task.frozen
    return replace(task, target=((a - 1, b - 1), (e - 2, c - 2)))


ASSUMPTIONS = (
    Assumption(
        name="nonzero target residues",
        statement="r*_dn ≠ 0: the target uses every state",
        predicate=lambda t: all(r != 0 for row in t.residues for r in row),
        having=spectrum_tasks,
        lacking=lambda: spectrum_tasks().map(_zero_one_residue),
        conclusion=_unreached,
        counterexample=Counterexample(
            "one state unused",
            lambda: SpectrumTask(_FROZEN, _TARGET, _rows(0, 1, 1, 1)),
            "D = N = 2, A = (−1, −2) twice, A* = ((−4, −3), (−2, −4)), r*_11 = 0: the entry (1, 1) is free and −3/2 completes "
            "A* − A to ((−1/2, −1), (−1, −2)), rank one; in general the value is d12 d21/d22",
        ),
    ),
    Assumption(
        name="distinct target modes",
        statement="A*_d1, …, A*_dN pairwise distinct",
        predicate=lambda t: all(len(set(row)) == 2 for row in t.target),
        having=spectrum_tasks,
        lacking=lambda: spectrum_tasks().map(_repeat_mode),
        conclusion=_unreached,
        counterexample=Counterexample(
            "a repeated target mode",
            lambda: SpectrumTask(_FROZEN, _rows(-3, -3, -2, -4), _ONES),
            "A* = ((−3, −3), (−2, −4)): channel 1 needs −3 only once (its residue becomes 2), so its other state is free and "
            "A + ((−1/2, −1), (−1, −2)) does, rank one",
        ),
    ),
    Assumption(
        name="dt frozen",
        statement="the student has the target's step sizes",
        predicate=lambda t: not t.dt_free,
        having=spectrum_tasks,
        lacking=lambda: _lacking(dt_free=True),
        conclusion=_unreached,
        counterexample=Counterexample(
            "dt tuned too",
            lambda: SpectrumTask(_FROZEN, _TARGET, _ONES, dt_free=True),
            "A* = ((−4, −3), (−2, −4)): with step size 2 in channel 2 its frozen row (−1, −2) already acts as (−2, −4), so only "
            "channel 1's row changes: rank one",
        ),
    ),
    Assumption(
        name="rank below min(D, N)",
        statement="r < min(D, N)",
        predicate=lambda t: t.rank < 2,
        having=spectrum_tasks,
        lacking=lambda: _lacking(rank=2),
        conclusion=_unreached,
        counterexample=Counterexample(
            "full rank",
            lambda: SpectrumTask(_FROZEN, _TARGET, _ONES, rank=2),
            "r = 2 = min(D, N): U V is any matrix",
        ),
    ),
    Assumption(
        name="long sequences",
        statement="L ≥ 2N lags (2N + 1 with a tunable skip)",
        predicate=lambda t: t.horizon >= 4,
        having=spectrum_tasks,
        lacking=lambda: _lacking(horizon=2),
        conclusion=_unreached,
        counterexample=Counterexample(
            "two lags",
            lambda: SpectrumTask(_FROZEN, _TARGET, _ONES, rank=0, horizon=2),
            "L = N = 2: two residues fit two lags through the frozen modes; no update of A is needed",
        ),
    ),
    Assumption(
        name="generic target",
        statement="A* outside the finitely many sets {rank(π A* − A) ≤ r}",
        predicate=is_generic,
        having=spectrum_tasks,
        lacking=lambda: spectrum_tasks().map(_plant),
        conclusion=_unreached,
        counterexample=Counterexample(
            "a rank-one target in disguise",
            lambda: SpectrumTask(_FROZEN, _rows(-2, -3, -4, -3), _ONES),
            "A* = ((−2, −3), (−4, −3)): A* − A has determinant 2, but with channel 2's states exchanged the difference is "
            "((−1, −1), (−2, −2))",
        ),
    ),
    Assumption(
        name="bounded Im A (for a positive distance)",
        statement="complex A: |Im A| bounded; the conclusion is that the distance to the target is positive, not only nonzero",
        predicate=lambda t: t.bound is not None,
        having=lambda: _phase_tasks(True),
        lacking=lambda: _phase_tasks(False),
        conclusion=_distance_positive,
        counterexample=Counterexample(
            "phases wrap around",
            lambda: PhaseTask(((Fraction(1, 2), Fraction(0)), (Fraction(0), Fraction(1, 2))), None),
            "D = N = 2, phases diag(1/2, 1/2) turns: no rank-one change of Im A gives them, but u = (1, m), v = (1/2, 0) + "
            "(0, 1/2)/m comes within 1/m for every m",
        ),
    ),
)

CLAIM = Claim(
    id="lora_limits.unreachable",
    title="LoRA of rank r < min(D, N) on A cannot match a generic target function",
    statement=(
        "dt frozen, target modes distinct in each channel, target residues nonzero, L ≥ 2N: for r < min(D, N) the targets that "
        "a rank-r LoRA on A (or on log A) matches as functions, with B, C and the labels of the states free, are finitely many "
        "sets of codimension (D − r)(N − r); a generic target is missed, and by a positive distance. Complex A: countably many "
        "such sets, so a generic target is still missed, but a rank-one LoRA on an unbounded Im A comes arbitrarily close to "
        "all phases."
    ),
    level="module (D independent LTI channels, or the modes of S6 at a fixed token)",
    horizon="L ≥ 2N (2N + 1 with a tunable skip)",
    assumptions=ASSUMPTIONS,
    readme="theory/lora_limits/unreachable/README.md",
    not_claimed=(
        "Nothing about how large the function error is, about r ≥ min(D, N) = N (16 in Mamba), about blocks whose projections "
        "are trained too, or about targets that share structure with the frozen A."
    ),
    parts=(
        Part("generic target", argument="derivation"),
        Part("complex A", argument="derivation"),
    ),
    checks=(
        Check(
            "dimension certificate",
            prove_dimension,
            "generic target",
            planted=(
                Planted("residues not counted", swap("reach_certificate", changed(lambda c: replace(c, bound=c.bound - 1)))),
            ),
        ),
        Check(
            "explicit target against all relabellings",
            far_targets,
            "generic target",
            planted=(
                Planted(
                    "a target of rank one away",
                    swap(
                        "far_target",
                        lambda _: lambda d, n: np.array([[Fraction(-(j + 1)) for j in range(n)]] * d, dtype=object) + 1,
                    ),
                ),
            ),
        ),
        Check(
            "planted targets are found",
            exact_check(check_planted, planted, "hidden targets found; functions equal on 2N + 2 lags", "D, N ≤ 3, r ≤ min"),
            "generic target",
            planted=(
                Planted("no relabelling but one tried", swap("reaching_update", giving(None))),
                Planted(
                    "twice the update", swap("reaching_update", changed(lambda found: replace(found, left=2 * found.left + 1)))
                ),
            ),
        ),
        Check(
            "floor over all relabellings",
            exact_check(check_floor_decides, pairs, "reachable iff the least floor is 0, exactly", "D, N ≤ 3"),
            "generic target",
            planted=(
                Planted(
                    "every target said to be reached",
                    swap(
                        "relabelled_floor",
                        changed(lambda best: replace(best, floor=replace(best.floor, lower=Fraction(0), upper=Fraction(0)))),
                    ),
                ),
                Planted(
                    "factors of full rank called a witness",
                    swap("reaching_update", lambda right: lambda a, t, _: right(a, t, min(a.shape))),
                ),
                Planted("no target said to be reached", swap("reaching_update", giving(None))),
            ),
        ),
        Check(
            "rank one is dense in the phases",
            prove_density,
            "complex A",
            planted=(
                Planted("digits of base 2m", swap("fraction_of_turn", lambda right: lambda digits, m: right(digits, 2 * m))),
            ),
        ),
        Check(
            "phases within 1/m",
            exact_check(
                check_phases,
                lambda: st.tuples(st.integers(1, 4).flatmap(lambda d: matrices(d, 3)), st.integers(2, 50)),
                "rank-one update of Im A with every phase within 1/m",
                "D ≤ 4, N = 3, m ≤ 50",
            ),
            "complex A",
            planted=(
                Planted(
                    "one of the factors halved",
                    swap("dense_phase_update", changed(lambda factors: (factors[0], [x / 2 for x in factors[1]]))),
                ),
            ),
        ),
        Check(
            "exact phases are missed",
            exact_phases_missed,
            "complex A",
            planted=(
                Planted("no error left", swap("phase_error", giving(Fraction(0)))),
                Planted("a parity that obstructs nothing", swap("parity_obstruction", giving(False))),
            ),
        ),
        Check(
            "floors at Mamba's initialisation",
            floors_table,
            None,
            planted=(
                Planted(
                    "relabelling that raises the floor",
                    swap("relabelled_floor", changed(lambda best: replace(best, floor=best.identity, identity=best.floor))),
                ),
            ),
        ),
    ),
)
