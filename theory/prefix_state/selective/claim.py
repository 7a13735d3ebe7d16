"""prefix_state.selective: which initial states a prefix of a selective SSM (S6, constant clock, free tokens) reaches."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.scalars import Array
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
    run_instances,
)
from theory.verification.planted import changed, swap
from theory.verification.refutation import existing, require

from ..reach.cone import TokenCone
from ..reach.decide import inner
from ..reach.result import Reach, Token
from ..reach.selective import reachable_selective
from .forms import nonnegative_on_tokens

# A float prefix is compared only where the budget leaves some digits; above it the row says that none are promised.
FLOAT_PROMISE = 1e-4

POOL = tuple(sorted({Fraction(p, q) for q in (2, 3, 5, 7, 11) for p in range(1, q)}))


@dataclass(frozen=True, eq=False)
class Instance:
    """A constant-clock module and a state to reach; ``nonnegative`` restricts tokens to z ≥ 0 (a ReLU in front)."""

    system: SelectiveSSM
    h0: Array
    nonnegative: bool = False

    def __repr__(self) -> str:
        s = self.system
        shown = {"W_B": s.W_B.tolist(), "dt": list(s.dt), "decay": s.decay.tolist(), "h0": self.h0.tolist()}  # type: ignore[arg-type, union-attr]
        return f"Instance({shown}, nonnegative={self.nonnegative})"


# -- strategies ----------------------------------------------------------------------------------------------------------


def _matrix(rows: int, columns: int, bound: int = 3) -> st.SearchStrategy[list[list[int]]]:
    row = st.lists(st.integers(-bound, bound), min_size=columns, max_size=columns)
    return st.lists(row, min_size=rows, max_size=rows)


@st.composite
def instances(
    draw: st.DrawFn,
    shapes: tuple[tuple[int, int], ...] = ((2, 1), (2, 2), (3, 1), (3, 2), (2, 3)),
    *,
    distinct: bool = True,
    full_rows: bool | None = True,
    values: int | None = None,
) -> Instance:
    """Modules with a state: distinct decays or few values; rows of W_B with ≥ 2 nonzero entries, or one that has less."""
    d, n = draw(st.sampled_from(shapes))
    pool = st.sampled_from(POOL if values is None else POOL[:: max(1, len(POOL) // values)][:values])
    flat = draw(st.lists(pool, min_size=d * n, max_size=d * n, unique=distinct))
    w_b = draw(_matrix(n, d))
    if full_rows:
        for row in w_b:
            for i in range(2):
                if d > 1 and sum(v != 0 for v in row) < 2:
                    row[(i + row[0]) % d] = row[(i + row[0]) % d] or 1 + i
            if d > 1 and sum(v != 0 for v in row) < 2:
                row[:] = [1] * d
    elif full_rows is False:
        spoiled, keep = draw(st.integers(0, n - 1)), draw(st.integers(0, d - 1))
        w_b[spoiled] = [v if i == keep else 0 for i, v in enumerate(w_b[spoiled])]
    dt = draw(st.lists(st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(2)]), min_size=d, max_size=d))
    decay = [flat[i * n : (i + 1) * n] for i in range(d)]
    system = SelectiveSSM([[Fraction(v) for v in r] for r in w_b], dt=dt, decay=decay)
    h0 = np.array([[Fraction(v) for v in r] for r in draw(_matrix(d, n))], dtype=object)
    return Instance(system, h0)


@st.composite
def _shared_column(draw: st.DrawFn) -> Instance:
    """At least two entries share a decay."""
    inst = draw(instances(((2, 1), (2, 2), (3, 1))))
    decay = inst.system.decay.copy()  # type: ignore[union-attr]
    decay[:, 0] = decay[0, 0]
    return Instance(SelectiveSSM(inst.system.W_B, dt=inst.system.dt, decay=decay), inst.h0)


@st.composite
def single_decay(draw: st.DrawFn) -> tuple[Instance, bool]:
    """One decay value; half of the states are built from tokens (True), half are drawn freely."""
    d, n = draw(st.sampled_from(((1, 1), (2, 1), (2, 2), (3, 2), (2, 3), (3, 3))))
    value = draw(st.sampled_from(POOL))
    dt = draw(st.lists(st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(3)]), min_size=d, max_size=d))
    w_b = [[Fraction(v) for v in r] for r in draw(_matrix(n, d))]
    system = SelectiveSSM(w_b, dt=dt, decay=[[value] * n] * d)
    built = draw(st.booleans())
    if built:
        z = np.array([[Fraction(v) for v in r] for r in draw(_matrix(draw(st.integers(1, d)), d))], dtype=object)
        h0 = TokenCone(system).state_of([Token(m, row, Fraction(1)) for m, row in enumerate(z)])
    else:
        h0 = np.array([[Fraction(v) for v in r] for r in draw(_matrix(d, n))], dtype=object)
    return Instance(system, h0), built


# -- exact checks --------------------------------------------------------------------------------------------------------


def state_by_recurrence(system: SelectiveSSM, answer: Reach) -> Array:
    """The state the witness builds, by running h ← E ⊙ h + w·(dt ⊙ z)(W_B z)ᵀ token after token, in rationals.

    Independent of the closed form E^slot: the recurrence itself is stepped, empty slots included.
    """
    by_slot = {slot: (z, w) for slot, z, w in existing(answer.tokens, answer)}
    dt, decay = system.require_constant_clock("a witness")
    h = system.zero_state()
    for slot in range((answer.length or 0) - 1, -1, -1):
        h = decay * h
        if slot in by_slot:
            z, w = by_slot[slot]
            h = h + w * np.outer(dt * z, system.W_B @ z)
    return h


def check_witness(instance: Instance) -> None:
    """Criterion (iii) holds, so the state is reached, and stepping the recurrence over the witness gives it exactly."""
    cone = TokenCone(instance.system)
    require(cone.reaches_everything is True, f"criterion (iii) should hold: {instance!r}")
    answer = reachable_selective(instance.system, instance.h0)
    require(answer.verdict == "witness", f"{answer.verdict} ({answer.reason}): {instance!r}")
    require(np.all(state_by_recurrence(instance.system, answer) == instance.h0), f"the witness misses: {instance!r}")


def check_criterion(instance: Instance) -> None:
    """Distinct decays: everything is reachable iff every row of W_B has two nonzero entries; else ℓ is returned."""
    cone = TokenCone(instance.system)
    expected = all(sum(v != 0 for v in row) >= 2 for row in instance.system.W_B)
    require(cone.reaches_everything is expected, f"criterion says {cone.reaches_everything}, rows say {expected}: {instance!r}")
    check_obstructions(instance)


def check_obstructions(instance: Instance) -> None:
    """Every block is decided; an obstructing ℓ is ≥ 0 on all tokens, and −ℓ is reported unreachable because of it."""
    cone = TokenCone(instance.system)
    for block in cone.criterion:
        require(block.status != "undecided", f"block {block.block} undecided: {instance!r}")
        if block.ell is None:
            total = sum((w * block.block.restrict(cone.token(z)) for z, w in zip(block.directions, block.weights, strict=True)))
            require(all(x == 0 for x in total), f"weights do not balance: {instance!r}")
            require(all(w > 0 for w in block.weights))
            continue
        require(any(x != 0 for x in block.ell.ravel()))
        require(nonnegative_on_tokens(instance.system, block.ell), instance)
        answer = reachable_selective(instance.system, -block.ell)
        require(answer.verdict == "obstruction", f"−ℓ is {answer.verdict}: {instance!r}")
        ell = existing(answer.ell, instance)
        require(inner(ell, -block.ell) < 0 and nonnegative_on_tokens(instance.system, ell), instance)


def check_scalar_decay(drawn: tuple[Instance, bool]) -> None:
    """One decay value: witness iff W_B g is symmetric PSD with rank(W_B g) = rank g (g = h_0/dt), and then M = rank h_0."""
    instance, built = drawn
    system, h0 = instance.system, instance.h0
    g = h0 / system.dt[:, None]  # type: ignore[index]
    p = system.W_B @ g
    symmetric = bool(np.all(p == p.T))
    positive = symmetric and linalg.is_psd(p)
    condition = positive and linalg.rank(p) == linalg.rank(g)
    answer = reachable_selective(system, h0)
    require((answer.verdict == "witness") == condition, f"{answer.verdict}, condition {condition}: {instance!r}")
    require(not built or condition, f"a state built from tokens violates the condition: {instance!r}")
    if condition:
        require(answer.length == linalg.rank(h0), f"length {answer.length}, rank {linalg.rank(h0)}: {instance!r}")
        require(np.all(state_by_recurrence(system, answer) == h0))
    else:
        require(answer.verdict in ("obstruction", "boundary"), f"{answer.verdict}: {instance!r}")
        ell = existing(answer.ell, instance)
        require(nonnegative_on_tokens(system, ell), instance)
        sign = inner(ell, h0)
        require(sign < 0 if answer.verdict == "obstruction" else sign == 0)


@st.composite
def single_channel(draw: st.DrawFn) -> Instance:
    """D = 1, N = 2, distinct decays, nonzero W_B."""
    e = draw(st.lists(st.sampled_from(POOL), min_size=2, max_size=2, unique=True))
    w = draw(st.lists(st.integers(-3, 3).filter(bool), min_size=2, max_size=2))
    v = draw(st.lists(st.integers(-3, 6), min_size=2, max_size=2))
    h0 = np.array([[Fraction(x) * y for x, y in zip(w, v, strict=True)]], dtype=object)
    return Instance(SelectiveSSM([[Fraction(x)] for x in w], dt=1, decay=[e]), h0)


def check_single_channel(instance: Instance) -> None:
    """D = 1, N = 2, e_1 > e_2: with v_n = h_0n/(dt W_B,n), reachable iff v = 0 or v_1 ≥ v_2 > 0 (order by decay)."""
    system, h0 = instance.system, instance.h0
    order = sorted(range(2), key=lambda n: -system.decay[0, n])  # type: ignore[index]
    v1, v2 = (h0[0, n] / system.W_B[n, 0] for n in order)
    expected = (v1 == 0 and v2 == 0) or v1 >= v2 > 0
    answer = reachable_selective(system, h0)
    require((answer.verdict == "witness") == expected, f"{answer.verdict} ({answer.reason}), v = {v1}, {v2}: {instance!r}")
    require(answer.verdict != "open")
    if answer.verdict == "obstruction":
        ell = existing(answer.ell, instance)
        require(inner(ell, h0) < 0 and nonnegative_on_tokens(system, ell), instance)
    if answer.verdict == "boundary":
        require(v1 > 0 and v2 == 0, f"boundary at v = {v1}, {v2}")


# -- routes --------------------------------------------------------------------------------------------------------------


def quadratic_form(dt: Any, ell: Any, w: Any) -> Any:
    """sym(diag(dt) ℓ W_B)."""
    q = sympy.diag(*dt) * ell * w
    return (q + q.T) / 2


def _form_identity(profile: Profile) -> Outcome:
    """⟨ℓ, E^m ⊙ G(z)⟩ = zᵀ sym(diag(dt)(ℓ ⊙ E^m) W_B) z as a polynomial identity, with E^m a symbol per entry."""
    shapes = [(1, 1), (2, 1), (1, 2), (2, 2), (3, 2), (2, 3), (3, 3)]
    for d, n in shapes:
        z, dt = sympy.symbols(f"z:{d}"), sympy.symbols(f"dt:{d}", positive=True)
        w = sympy.Matrix(n, d, sympy.symbols(f"w:{n * d}"))
        ell = sympy.Matrix(d, n, sympy.symbols(f"l:{d * n}"))
        power = sympy.Matrix(d, n, sympy.symbols(f"e:{d * n}", positive=True))  # E^m, one symbol per entry
        zv = sympy.Matrix(z)
        token = sympy.diag(*dt) * zv * (w * zv).T
        left = sum(ell[i, j] * power[i, j] * token[i, j] for i in range(d) for j in range(n))
        right = (zv.T * quadratic_form(dt, ell.multiply_elementwise(power), w) * zv)[0, 0]
        require(sympy.expand(left - right) == 0, f"form identity fails at D = {d}, N = {n}")
    sizes = ", ".join(f"{d}×{n}" for d, n in shapes)
    return Outcome(
        Verdict.EXACT, "every functional is a quadratic form in the token, so (i) ⇒ (ii) ⇒ (iii)", f"D×N: {sizes}", len(shapes)
    )


def _float_route(profile: Profile) -> Outcome:
    """The prefix of floats √w z run through the float64 module, against h_0, with Σ|contributions|/|h_0| as condition."""
    worst_cond, worst_budget, promised, n = 0.0, 0.0, 0, 0

    def one(instance: Instance) -> None:
        nonlocal worst_cond, worst_budget, promised, n
        answer = reachable_selective(instance.system, instance.h0)
        h0 = instance.h0.astype(float)
        if answer.verdict != "witness" or not np.any(h0):
            return
        cone = TokenCone(instance.system)
        prefix = existing(answer.prefix, instance)
        mass = sum(abs(w * cone.column(s, z)) for s, z, w in existing(answer.tokens, instance))
        cond = float(np.max(np.asarray(mass, dtype=float))) / float(np.max(np.abs(h0)))
        if not all(math.isfinite(x) for row in prefix for x in row):
            return
        floats = instance.system.to("float64")
        h = floats.zero_state()
        for z in prefix:
            h, _ = floats.step(h, np.asarray(z))
        error = float(np.max(np.abs(h - h0)) / np.max(np.abs(h0)))
        allowed = budget(answer.length or 1, cond)
        n += 1
        if allowed <= FLOAT_PROMISE:
            promised += 1
            require(error <= allowed, f"float64 error {error:.1e} above {allowed:.1e} (cond {cond:.1e}): {instance!r}")
            worst_budget = max(worst_budget, allowed)
            worst_cond = max(worst_cond, cond)

    run_instances(one, instances(((2, 1), (3, 1), (2, 2))), profile.scaled(0.1), profile.seed)
    require(promised > 0)
    return Outcome(
        Verdict.NUMERIC,
        f"float64 prefixes land on h_0 within the budget ({promised} of {n} prefixes; the rest promise no digit)",
        "D×N ≤ 2×2, 3×1",
        promised,
        tolerance=worst_budget,
        condition=worst_cond,
    )


def _witness_sizes(profile: Profile) -> Outcome:
    """How long and how large witnesses are: lengths and log10 norms over sizes, seeded."""
    rng = np.random.default_rng(0)
    rows = []
    for d, n in ((2, 1), (2, 2), (3, 2), (2, 3)):
        lengths, norms = [], []
        for _ in range(5):
            e = [POOL[i] for i in rng.choice(len(POOL), d * n, replace=False)]
            w_b = [[Fraction(int(v) or 1) for v in row] for row in rng.integers(-3, 4, (n, d))]
            system = SelectiveSSM(w_b, dt=1, decay=[e[i * n : (i + 1) * n] for i in range(d)])
            h0 = np.array([[Fraction(int(v)) for v in row] for row in rng.integers(-3, 4, (d, n))], dtype=object)
            answer = reachable_selective(system, h0)
            require(answer.verdict == "witness")
            lengths.append(int(answer.length or 0))
            norms.append(float(answer.norm or 0.0))
        finite = [math.log10(x) if x > 0 else 0.0 for x in norms if math.isfinite(x)]
        rows.append(
            {
                "D": d,
                "N": n,
                "length_min": min(lengths),
                "length_max": max(lengths),
                "log10_norm_max": round(max(finite, default=0.0), 1),
                "norms_beyond_float64": len(norms) - len(finite),
            }
        )
    return Outcome(Verdict.EXACT, "length and norm of the witnesses found", instances=20, data={"witness_sizes": rows})


def _mamba_initialisation(profile: Profile) -> Outcome:
    """Criterion (iii) for Mamba's A = −1..−N, at the exact value of float64 decays: dt per channel, and one dt for all."""
    rng = np.random.default_rng(0)
    rows = []
    for d, n in ((2, 4), (4, 8), (4, 16)):
        dt = np.exp(rng.uniform(np.log(1e-3), np.log(1e-1), d))
        w_b = rng.standard_normal((n, d))
        a = -np.arange(1.0, n + 1)[None, :].repeat(d, axis=0)
        per_channel = TokenCone(SelectiveSSM(w_b, dt=dt, A=a)).reaches_everything
        shared = TokenCone(SelectiveSSM(w_b, dt=np.full(d, dt[0]), A=a)).reaches_everything
        require(per_channel is True, f"D = {d}, N = {n}: distinct steps should reach everything, got {per_channel}")
        require(shared is False, f"D = {d}, N = {n}: one step for all channels should obstruct, got {shared}")
        rows.append({"D": d, "N": n, "dt_per_channel": "everything reachable", "one_dt": "obstructed"})
    return Outcome(
        Verdict.EXACT,
        "Mamba's initialisation: everything is reachable with a step per channel, obstructed with one step for all",
        "D×N = 2×4, 4×8, 4×16",
        len(rows) * 2,
        data={"mamba": rows},
    )


# -- assumptions -----------------------------------------------------------------------------------------------------------


def _reached(instance: Instance) -> bool:
    """Whether h_0 is reached; with z ≥ 0 and W_B ≥ 0 every entry stays ≥ 0, which settles the restricted case."""
    if instance.nonnegative and all(v >= 0 for v in instance.system.W_B.ravel()) and any(v < 0 for v in instance.h0.ravel()):
        return False
    return reachable_selective(instance.system, instance.h0).verdict == "witness"


def _distinct(instance: Instance) -> bool:
    flat = list(instance.system.decay.ravel())  # type: ignore[union-attr]
    return len(set(flat)) == len(flat)


def _two_entries(instance: Instance) -> bool:
    return all(sum(v != 0 for v in row) >= 2 for row in instance.system.W_B)


def _one(values: list[list[Any]]) -> Array:
    return np.array([[Fraction(v) for v in row] for row in values], dtype=object)


def _system(w_b: list[list[int]], decay: list[list[Fraction]]) -> SelectiveSSM:
    return SelectiveSSM(w_b, dt=1, decay=decay)


@dataclass(frozen=True, eq=False)
class ClockInstance:
    """A module run under its own clock over ``tokens``, judged by the theorem for its constant clock ``reference``."""

    reference: SelectiveSSM
    actual: SelectiveSSM
    tokens: Array

    def __repr__(self) -> str:
        return f"ClockInstance(decay={self.reference.decay.tolist()}, tokens={self.tokens.tolist()})"  # type: ignore[union-attr]


def _clock_conclusion(instance: ClockInstance) -> bool:
    """The state the actual module reaches is not one the theorem calls unreachable."""
    h = instance.actual.zero_state()
    for z in instance.tokens:
        h, _ = instance.actual.step(h, z)
    return reachable_selective(instance.reference, h).verdict != "obstruction"


def _half_steps() -> ClockInstance:
    """D = 1, N = 3: a token of size < 1 takes half a step, so h = (1/2, 1/3, 1/4) lies between two slots."""
    full = _one([["1/4", "1/9", "1/16"]])
    half = _one([["1/2", "1/3", "1/4"]])
    w_b = [[1], [1], [1]]
    actual = SelectiveSSM(
        w_b, clock=lambda z: (np.array([Fraction(1)], dtype=object), full if abs(z[0]) >= 1 else half), kind="exact"
    )
    return ClockInstance(_system(w_b, full.tolist()), actual, _one([[1], [0]]))


@st.composite
def _clock_instances(draw: st.DrawFn, constant: bool) -> ClockInstance:
    inst = draw(instances(((1, 2), (1, 3), (2, 1))))
    tokens = _one(draw(_matrix(draw(st.integers(1, 3)), inst.system.n_channels, 2)))
    if constant:
        return ClockInstance(inst.system, inst.system, tokens)
    dt, decay = inst.system.require_constant_clock("an instance")
    actual = SelectiveSSM(inst.system.W_B, clock=lambda z: (dt, decay * Fraction(2 if z[0] > 0 else 1, 2)), kind="exact")
    return ClockInstance(inst.system, actual, tokens)


ASSUMPTIONS = (
    Assumption(
        name="distinct decays",
        statement="the D·N decays E[d, n] = exp(dt_d A[d, n]) are pairwise distinct (or, weaker, criterion (iii) holds)",
        predicate=_distinct,
        having=lambda: instances(((2, 1), (2, 2), (3, 1))),
        lacking=_shared_column,
        conclusion=_reached,
        counterexample=Counterexample(
            "one decay for two channels",
            lambda: Instance(_system([[1, 1]], _one([["1/2"], ["1/2"]]).tolist()), _one([[-1], [-1]])),
            "D = 2, N = 1, E = (1/2, 1/2), W_B = (1, 1): ℓ = (1, 1) sees each token as (z_1 + z_2)² ≥ 0, so h_0 = (−1, −1) "
            "is out of reach",
        ),
    ),
    Assumption(
        name="two entries per row",
        statement="every row of W_B has at least two nonzero entries (so D ≥ 2)",
        predicate=_two_entries,
        having=lambda: instances(((2, 1), (2, 2), (3, 1))),
        lacking=lambda: instances(((2, 1), (2, 2), (3, 1)), full_rows=False),
        conclusion=_reached,
        counterexample=Counterexample(
            "a row with one entry",
            lambda: Instance(_system([[1, 0]], _one([["1/2"], ["1/3"]]).tolist()), _one([[-1], [0]])),
            "D = 2, N = 1, E = (1/2, 1/3), W_B = (1, 0): entry (0, 0) receives z_1² ≥ 0 only, so h_0 = (−1, 0) is out of reach",
        ),
    ),
    Assumption(
        name="free tokens",
        statement="z ranges over all of R^D (the prefix enters before the SSM module, not before an activation)",
        predicate=lambda i: not i.nonnegative,
        having=lambda: instances(((2, 1), (2, 2))),
        lacking=lambda: instances(((2, 1), (2, 2))).map(lambda i: Instance(i.system, i.h0, nonnegative=True)),
        conclusion=_reached,
        counterexample=Counterexample(
            "tokens after a ReLU",
            lambda: Instance(_system([[1, 1]], _one([["1/2"], ["1/3"]]).tolist()), _one([[-1], [0]]), nonnegative=True),
            "D = 2, N = 1, E = (1/2, 1/3), W_B = (1, 1), z ≥ 0: every token adds nonnegative entries, so h_0 = (−1, 0), "
            "reachable with free z, is out of reach",
        ),
    ),
    Assumption(
        name="constant clock",
        statement="dt, and with it the decay, does not depend on the token",
        predicate=lambda i: i.actual.constant_clock,
        having=lambda: _clock_instances(True),
        lacking=lambda: _clock_instances(False),
        conclusion=_clock_conclusion,
        counterexample=Counterexample(
            "half steps",
            _half_steps,
            "D = 1, N = 3, E = (1/4, 1/9, 1/16), W_B = (1, 1, 1)ᵀ, and tokens of size < 1 take half a step: the tokens 1, 0 "
            "give h = (1/2, 1/3, 1/4), which the theorem for the constant clock calls unreachable",
        ),
    ),
)

CLAIM = Claim(
    id="prefix_state.selective",
    title="a prefix of S6 with free tokens reaches every initial state iff no decay value carries a semidefinite ℓ",
    statement=(
        "S6, z ∈ R^D free, dt constant per channel, E[d,n] = exp(dt_d A[d,n]). Equivalent: (i) some finite M reaches every h_0 "
        "exactly; (ii) no ℓ ≠ 0 has sym(diag(dt)(ℓ ⊙ E^m)W_B) ⪰ 0 for all m ≥ 0; (iii) for no value λ is there an ℓ ≠ 0 "
        "supported on {(d,n): E[d,n] = λ} with sym(diag(dt) ℓ W_B) ⪰ 0. All D·N decays distinct: iff every row of W_B has at "
        "least two nonzero entries. One decay value: h_0 is reachable iff W_B diag(1/dt) h_0 is symmetric PSD of rank "
        "rank(h_0), and then the least M is rank(h_0). D = 1: never everything; the reachable set is a moment cone."
    ),
    level="module (S6, tokens enter after conv and activation); states, hence functions where W_C has full row rank",
    horizon="any; M as long as needed",
    parts=(
        Part("(i) ⇒ (ii) ⇒ (iii)", argument="proof"),
        Part("(iii) ⇒ (i)", argument="proof"),
        Part("distinct decays", argument="special-cases"),
        Part("shared decays", argument="proof"),
        Part("one decay value", argument="special-cases"),
        Part("one channel", argument="special-cases"),
    ),
    checks=(
        Check(
            "form identity",
            _form_identity,
            "(i) ⇒ (ii) ⇒ (iii)",
            planted=(
                Planted(
                    "the step sizes left out",
                    swap("quadratic_form", lambda right: lambda dt, ell, w: right([1 for _ in dt], ell, w)),
                ),
            ),
        ),
        Check(
            "witnesses from criterion (iii)",
            exact_check(
                check_witness, instances, "the proof's clusters build h_0; recurrence stepped exactly", "D×N ≤ 3×2, 2×3", 0.25
            ),
            "(iii) ⇒ (i)",
            planted=(
                Planted(
                    "squared lengths doubled",
                    swap(
                        "reachable_selective", changed(lambda r: replace(r, tokens=[(s, z, 2 * w) for s, z, w in r.tokens or []]))
                    ),
                ),
            ),
        ),
        Check(
            "distinct decays: rows of W_B",
            exact_check(
                check_criterion,
                lambda: instances(((1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2), (2, 3)), full_rows=None),
                "criterion (iii) against the count of nonzero entries; every ℓ verified for all m",
                "D×N ≤ 3×2, 2×3",
                0.5,
            ),
            "distinct decays",
            planted=(
                Planted(
                    "everything called reachable", swap("TokenCone.reaches_everything", lambda _: property(lambda self: True))
                ),
            ),
        ),
        Check(
            "shared decays: every block decided",
            exact_check(
                check_obstructions,
                lambda: instances(((2, 2), (3, 2), (2, 3)), distinct=False, full_rows=None, values=3),
                "each block spans (weights balance) or has an ℓ that holds for all m",
                "D×N ≤ 3×2, 2×3; ≤ 3 decay values",
                0.5,
            ),
            "shared decays",
            planted=(
                Planted(
                    "functionals of the wrong sign",
                    swap(
                        "TokenCone.criterion",
                        lambda right: property(
                            lambda self: [replace(b, ell=None if b.ell is None else -b.ell) for b in right.func(self)]
                        ),
                    ),
                ),
                Planted(
                    "weights that do not balance",
                    swap(
                        "TokenCone.criterion",
                        lambda right: property(
                            lambda self: [
                                replace(b, weights=[2 * w + k for k, w in enumerate(b.weights or [])]) for b in right.func(self)
                            ]
                        ),
                    ),
                ),
            ),
        ),
        Check(
            "one decay value: rank condition",
            exact_check(check_scalar_decay, single_decay, "PSD and rank condition, least length = rank", "D×N ≤ 3×3"),
            "one decay value",
            planted=(
                Planted(
                    "every state called reachable",
                    swap("reachable_selective", changed(lambda r: replace(r, verdict="witness", tokens=r.tokens or []))),
                ),
                Planted(
                    "functionals of the wrong sign",
                    swap("reachable_selective", changed(lambda r: replace(r, ell=None if r.ell is None else -r.ell))),
                ),
            ),
        ),
        Check(
            "one channel: moment cone",
            exact_check(check_single_channel, single_channel, "v_1 ≥ v_2 > 0 or v = 0, boundary at v_2 = 0", "D = 1, N = 2", 0.5),
            "one channel",
            planted=(
                Planted(
                    "every state called reachable",
                    swap("reachable_selective", changed(lambda r: replace(r, verdict="witness", tokens=r.tokens or []))),
                ),
            ),
        ),
        Check(
            "Mamba's initialisation",
            _mamba_initialisation,
            None,
            planted=(
                Planted(
                    "everything called reachable", swap("TokenCone.reaches_everything", lambda _: property(lambda self: True))
                ),
            ),
        ),
        Check(
            "float route",
            _float_route,
            None,
            planted=(
                Planted(
                    "a state that grows by a hundredth at every step",
                    swap("SelectiveSSM.step", changed(lambda found: (found[0] * Fraction(101, 100), *found[1:]))),
                ),
            ),
        ),
        Check(
            "length and norm of witnesses",
            _witness_sizes,
            None,
            planted=(Planted("nothing found", swap("reachable_selective", changed(lambda r: replace(r, verdict="open")))),),
        ),
    ),
    assumptions=ASSUMPTIONS,
    source="our theorem; proof in theory/prefix_state/selective/README.md",
    readme="theory/prefix_state/selective/README.md",
    not_claimed=(
        "Nothing about prefixes one can train or store: witnesses can need thousands of tokens of astronomically different size. "
        "Clocks that depend on the token are outside the theorem. M ≥ N is necessary, a sharp bound on M is not known."
    ),
)
