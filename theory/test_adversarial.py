"""Every public function against the worst input there is: it answers rightly, or raises one of the project's errors.

Answers are compared with slow code that shares nothing with the one that gave them: recurrences stepped, Hankel matrices ranked,
functionals tried on tokens, Farkas systems multiplied out.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import theory
from theory.conftest import share
from theory.core import adversarial as worst
from theory.core import linalg
from theory.core.linear_program import nonnegative_combination
from theory.core.lti import LTI
from theory.core.scalars import exact_array, imag, is_zero, real
from theory.lora_limits.in_proj_dominates.block import MixerBlock

UNTIL = settings(suppress_health_check=list(HealthCheck))


def asked(question: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """The answer, or None where the question was refused with one of the project's errors."""
    try:
        return question(*arguments, **named)
    except theory.TheoryError:
        return None


def finite(value: Any) -> bool:
    """No NaN anywhere in an answer."""
    return not np.any(np.isnan(np.asarray(value, dtype=np.complex128)))


# -- one channel ----------------------------------------------------------------------------------------------------------


def same_outputs(system: LTI, prefix: Any, h0: Any, length: int) -> bool:
    """Whether outputs after the prefix are those from h0, by running both in exact numbers."""
    x = [Fraction((3 * t) % 5 - 2) for t in range(length)]
    after = system.run([*prefix, *x])[0][len(prefix) :]
    return all(is_zero(p - q) for p, q in zip(after, system.run(x, h0)[0], strict=True))


@UNTIL
@given(st.data())
def test_reachable_channel(data: Any) -> None:
    system = data.draw(worst.channels())
    h0 = data.draw(worst.states_of(system))
    level, limit = data.draw(st.sampled_from(["state", "function"])), data.draw(st.sampled_from([None, 1, 2]))
    found = asked(theory.reachable, system, h0, level=level, max_length=limit)
    tokens = asked(theory.prefix_for, system, h0, level=level)
    if found is None or system.kind == "symbolic":
        return
    exact, h = system.exactly(), list(exact_array(system.state(h0)))
    if found.verdict == "witness":
        assert limit is None or found.length <= limit
        if system.kind == "exact":
            assert tokens is not None and same_outputs(exact, found.prefix, h, 4)
        elif all(isinstance(x, float) for x in found.prefix):
            assert all(math.isfinite(x) for x in found.prefix) and any(found.prefix) == any(tokens or found.prefix)
        return
    assert found.verdict == "obstruction" and found.value < 0 and (limit is not None or tokens is None)
    full = exact.closed()
    column = list(full.b)
    for _ in range(limit or 8):  # Re ℓ·(a^m b) = 0 for every token that counts
        assert is_zero(real(sum((x * y for x, y in zip(found.ell, column, strict=True)), Fraction(0))))
        column = [x * y for x, y in zip(full.a, column, strict=True)]


@UNTIL
@given(worst.channels(), worst.parameters())
def test_lengths_and_dimensions(system: LTI, eps: Any) -> None:
    """eps = 0 counts the rank of a rational Hankel matrix, and M = n_obs is where the ranks stop."""
    dimension, length = asked(theory.effective_prefix_dimension, system, 0), asked(theory.minimal_prefix_length, system)
    asked(theory.effective_prefix_dimension, system, eps)
    if system.kind == "symbolic":
        return
    exact = system.exactly()
    size = exact.closed().n_states + 1
    kernel = exact.kernel(2 * size + 1)
    hankel = [[kernel[1 + i + j] for j in range(size)] for i in range(size)]
    if all(is_zero(imag(x)) for row in hankel for x in row):
        rank = linalg.rank([[Fraction(real(x)) for x in row] for row in hankel])
        assert dimension in (None, rank)
        assert length is None or length in (rank, math.inf)
    values = asked(theory.hankel_singular_values, system)
    assert values is None or (finite(values) and (dimension is None or int(np.sum(values > 0)) == dimension))


@UNTIL
@given(worst.channels(), st.integers(1, 3), st.data())
def test_costs_and_bounds(system: LTI, length: int, data: Any) -> None:
    h0 = data.draw(worst.states_of(system))
    cost = asked(theory.prefix_cost, system, h0, length)
    bound = asked(theory.decay_bound, system, h0, 4)
    lives, grams = asked(theory.half_life, system.a), asked(theory.gramians, system)
    if system.kind == "symbolic":
        return
    exact, h = system.exactly(), exact_array(system.state(h0))
    if bound is not None:
        response = exact.free_response(list(h), 4)
        for o, b in zip(response, bound, strict=True):
            assert b == math.inf or real(o) ** 2 + imag(o) ** 2 <= Fraction(b) ** 2
    if cost is not None and cost != math.inf:
        assert (cost == 0) == (not any(not is_zero(x) for x in h))
    assert lives is None or finite(lives)
    if grams is not None and system.kind == "exact":  # Stein: Wc = a Wc ā + b b*
        full, wc = exact.closed(), grams.Wc
        for i in range(full.n_states):
            for j in range(full.n_states):
                a = full.a[i] * _bar(full.a[j])
                assert is_zero(wc[i, j] - a * wc[i, j] - full.b[i] * _bar(full.b[j]))


def _bar(x: Any) -> Any:
    return theory.gaussian(real(x), -imag(x))


@UNTIL
@given(worst.channels(), worst.channels(), st.sampled_from([None, 1, 3]))
def test_same_function(first: LTI, second: LTI, length: int | None) -> None:
    """Against impulse responses as long as both systems together need."""
    assert asked(theory.same_function, first, first, length) in (True, None)
    found = asked(theory.same_function, first, second, length)
    if found is None or "symbolic" in (first.kind, second.kind):
        return
    count = length or first.closed().n_states + second.closed().n_states + 1
    responses = [s.exactly().run([1, *[0] * (count - 1)])[0] for s in (first, second)]
    assert found == all(is_zero(x - y) for x, y in zip(*responses, strict=True))


@UNTIL
@given(worst.channels(("exact", "float64")), worst.channels(("exact", "float64")), st.integers(1, 5))
def test_risk_against_rationals(student: LTI, teacher: LTI, length: int) -> None:
    """A float answer is the rational one, rounded: floor, optimum and untuned risk."""
    mean, var = (Fraction(1, 2), Fraction(1)) if student.kind == "exact" else (0.5, 1.0)
    found = asked(theory.state_tuning_risk_floor, student, teacher, mean, var, length)
    if found is None or student.kind == "exact":
        return
    exact = theory.state_tuning_risk_floor(student.exactly(), teacher.exactly(), Fraction(1, 2), Fraction(1), length)
    for name in ("floor", "untuned"):
        known = getattr(exact, name)
        assert abs(Fraction(getattr(found, name)) - known) <= known * Fraction(1, 10**12)
    assert abs(Fraction(found.optimum) - exact.optimum) <= exact.optimum * Fraction(1, 10**9)


@UNTIL
@given(worst.channels(max_states=2), worst.channels(max_states=2))
@example(LTI([0.0], [0.0], [0.0]), LTI([0.5 + 0j, 0.5 + 0j], [1 + 0j, 1 + 0j], [1 + 0j, 1e200j]))
@example(LTI([0, sympy.sqrt(2) / 2], [0, 0], [0, 0]), LTI([theory.gaussian(0, "1/2")], [1], [1]))
@example(LTI([theory.gaussian(0, "1/2")], [1], [1]), LTI([sympy.sqrt(2) / 2], [1], [1]))
@example(
    LTI(["1/2"], [0], [theory.gaussian("1e-400", "1e400")]),
    LTI([0], [1], [sympy.cos(sympy.pi / 7) - sympy.cos(2 * sympy.pi / 7) + sympy.cos(3 * sympy.pi / 7)]),
)
def test_adjustments(frozen: LTI, target: LTI) -> None:
    """The adjusted channel is the target, exactly, and adjusting it again costs nothing."""
    for adjust in (theory.minimal_adjustment, theory.exact_minimal_adjustment):
        found = asked(adjust, frozen, target)
        if found is not None:
            assert theory.same_function(found.system, target)
            assert adjust(found.system, target).cost == 0
    asked(theory.true_dimensions, frozen, target)


# -- selective modules ----------------------------------------------------------------------------------------------------


def contributions(x: Any, w_b: Any, decay: Any, z: Any, slot: int) -> Any:
    return decay**slot * np.outer(x @ z, w_b @ z)


def checked(found: theory.Reach, x: Any, w_b: Any, decay: Any, h: Any, limit: int | None) -> None:
    """A witness builds h; a functional is ≥ 0 on many tokens and < 0 (boundary: 0) on h."""
    if found.verdict == "witness":
        assert limit is None or found.length <= limit
        parts = [w * contributions(x, w_b, decay, z, slot) for slot, z, w in found.tokens]
        assert np.all(sum(parts, 0 * h) == h) and all(w > 0 for _, _, w in found.tokens)
        assert len({slot for slot, _, _ in found.tokens}) == len(found.tokens)
        if found.prefix is not None:
            assert len(found.prefix) == found.length
            assert all(isinstance(v, Fraction) or math.isfinite(v) for token in found.prefix for v in token)
        return
    if found.ell is None:
        return
    assert found.value == np.sum(found.ell * h) and (found.value < 0) == (found.verdict == "obstruction")
    d = x.shape[1]
    rng = np.random.default_rng(0)
    tokens = [[Fraction(int(v)) for v in row] for row in [*np.eye(d, dtype=int), *rng.integers(-5, 6, (20, d))]]
    for slot in range(limit if limit is not None and "token(s)" in found.reason else 12):
        for z in tokens:
            assert np.sum(found.ell * contributions(x, w_b, decay, np.array(z, dtype=object), slot)) >= 0


@settings(share(0.375), suppress_health_check=list(HealthCheck))
@given(worst.modules(), st.data())
def test_reachable_module(system: Any, data: Any) -> None:
    """States drawn at will, and states that tokens left: those are never said to be out of reach."""
    d, n = system.n_channels, system.n_states
    kind = system.kind
    built = data.draw(st.booleans())
    limit = data.draw(st.sampled_from([None, 1, 3]))
    if built:
        tokens = [data.draw(worst.lists(kind, d)) for _ in range(data.draw(st.integers(1, 3)))]
        h0 = asked(theory.state_after, system, tokens)
        if h0 is None:
            return
    else:
        h0 = [data.draw(worst.lists(kind, n)) for _ in range(d)]
    found = asked(theory.reachable, system, h0, max_length=limit)
    assert asked(theory.reachable, system, [[theory.gaussian(0, 1)] * n] * d) is None  # complex: refused
    assert asked(theory.reachable, system, h0, max_length=0) is None
    if found is None:
        return
    x, w_b, decay = np.diag(exact_array(system.dt)), exact_array(system.W_B), exact_array(system.decay)
    h = exact_array(system.state(h0))
    checked(found, x, w_b, decay, h, limit)
    if built and kind == "exact" and (limit is None or len(tokens) <= limit):
        assert found.verdict in ("witness", "exists", "open") or "not decided" in found.reason


@settings(share(0.375), suppress_health_check=list(HealthCheck))
@given(worst.groups(), st.data())
def test_reachable_group(system: Any, data: Any) -> None:
    """The same for heads of Mamba-2: one (Mamba2Head) or two that share W_B (Mamba2Group)."""
    heads = getattr(system, "heads", (system,))
    shape = system.zero_state().shape
    built, limit = data.draw(st.booleans()), data.draw(st.sampled_from([None, 1, 3]))
    if built:
        tokens = [data.draw(worst.lists(heads[0].kind, heads[0].d_input)) for _ in range(2)]
        h0 = asked(theory.state_after, system, tokens)
        if h0 is None:
            return
    else:
        flat = data.draw(worst.lists(heads[0].kind, int(np.prod(shape))))
        h0 = np.array(flat, dtype=object).reshape(shape)
    found = asked(theory.reachable, system, h0, max_length=limit)
    asked(theory.minimal_prefix_length_mamba2, system)
    if found is None:
        return
    rows = [(exact_array(h.W_x), Fraction(h.dt), Fraction(h.decay)) for h in heads]
    x = np.concatenate([dt * w for w, dt, _ in rows])
    w_b = exact_array(heads[0].W_B)
    decay = np.array([[g] * len(w_b) for w, _, g in rows for _ in w], dtype=object)
    h = exact_array(system.state(h0)).reshape(len(x), -1)
    if found.ell is not None:
        found = theory.Reach(**(vars(found) | {"ell": np.reshape(found.ell, h.shape)}))
    checked(found, x, w_b, decay, h, limit)
    if built and heads[0].kind == "exact" and (limit is None or len(tokens) <= limit):
        assert found.verdict in ("witness", "exists", "open") or "not decided" in found.reason


@pytest.mark.parametrize("nodes", [("1/2", "1/3", "1/5"), ("9/10", "1/2", "1/3", "1/7"), ("1/2", "1/3")])
@pytest.mark.parametrize("slots", [(0, 1), (0, 5), (2,), (3, 4, 9), (0, 17)])
def test_one_channel_is_never_wrong(nodes: tuple[str, ...], slots: tuple[int, ...]) -> None:
    """States left by far and large tokens are witnesses, their limits boundaries, and what lies beyond is obstructed."""
    e = [Fraction(x) for x in nodes]
    system = theory.SelectiveSSM([[1]] * len(e), dt=1, decay=[e])
    v = [sum(Fraction(10) ** (8 * m) * x**m for m in slots) for x in e]
    assert theory.reachable(system, [v]).verdict == "witness"
    few = len(slots) + sum(1 for m in slots if m and m - 1 not in slots and m + 1 not in slots) + 1 <= len(e) - 1
    limit = theory.reachable(system, [[v[0] + Fraction(1, 10**30), *v[1:]]])
    assert limit.verdict == "boundary" if few else limit.verdict in ("boundary", "witness", "exists")
    assert theory.reachable(system, [[v[0], v[1] * (1 + v[0] / v[1]), *v[2:]]]).verdict == "obstruction"  # v_1 ≥ v_2 fails


@UNTIL
@given(st.integers(1, 4), st.integers(1, 5), st.data())
def test_linear_programs(m: int, n: int, data: Any) -> None:
    """Exactly one side of Farkas' alternative, multiplied out."""
    entry = st.sampled_from([*worst.NUMBERS["exact"]])
    a = np.array([[data.draw(entry) for _ in range(n)] for _ in range(m)], dtype=object)
    b = np.array([data.draw(entry) for _ in range(m)], dtype=object)
    found = nonnegative_combination(a, b)
    if found.weights is not None:
        assert np.all(a @ found.weights == b) and all(w >= 0 for w in found.weights)
    else:
        assert all(x >= 0 for x in found.ell @ a) and found.ell @ b < 0


# -- matrices -------------------------------------------------------------------------------------------------------------


@UNTIL
@given(worst.matrices(), st.integers(0, 3))
def test_floors_enclose(matrix: list[list[Any]], rank: int) -> None:
    """Bounds in order; a float matrix's enclosure holds the floor of the rationals that its floats are."""
    found = asked(theory.lora_floor, matrix, rank)
    asked(theory.absorb_selectors, matrix, matrix, matrix, matrix)
    if found is None:
        return
    assert 0 <= found.lower <= found.upper
    if any(isinstance(x, float) for row in matrix for x in row):
        exact = theory.lora_floor([[Fraction(x) for x in row] for row in matrix], rank)
        assert found.lower <= exact.upper and exact.lower <= found.upper


@UNTIL
@given(worst.matrices(2), worst.parameters(), st.sampled_from(["mamba", "s4d_lin", "no such name"]))
def test_what_else_is_public(matrix: list[list[Any]], parameter: Any, name: str) -> None:
    """Nothing but the project's errors comes out of any of these, whatever they are given."""
    asked(theory.half_lives, matrix, [row[0] for row in matrix])
    asked(theory.initialisation, name, parameter, parameter)
    asked(theory.dimension_certificate, lambda p: [p[0] * p[-1], p[0] if p[0] == 1 else p[0] * 2], matrix[0])
    certificate = theory.dimension_certificate(lambda p: [p[0]], [1])
    asked(theory.exclusion, certificate, parameter)
    asked(theory.gaussian, parameter)
    asked(theory.claims, name)
    asked(theory.get_claim, name)
    asked(theory.lattice, name)
    asked(theory.Conv, matrix[0], LTI(["1/2"], [1], [1]))
    layer = asked(theory.S4Layer, [LTI(["1/2"], [1], [1])] * len(matrix), matrix)
    if layer is not None:
        network = asked(theory.DeepS4, [layer])
        asked(theory.sdt_lora_witness, network, network)
    block = asked(MixerBlock, matrix, matrix, matrix, matrix, matrix[0], matrix, matrix, matrix[0])
    if block is not None:
        asked(theory.in_proj_update, block, block)


CHANNEL, S6 = LTI(["1/2"], [1], [1]), theory.SelectiveSSM([[1]], [[1]], dt=1, decay=[["1/2"]])
HEAD = theory.Mamba2Head([[1]], [[1]], [[1]], dt=1, decay="1/2")
LAYER = theory.S4Layer([CHANNEL], [[1]])
BLOCK = MixerBlock([[1]], [[1]], [[1]], [[1]], [1], [[1]], [[1]], [0])
CALLS: dict[str, tuple[Any, ...]] = {
    "LTI": ([0], [1], [1], 0),
    "SelectiveSSM": ([[1]], [[1]]),
    "Mamba2Head": ([[1]], [[1]], [[1]]),
    "Mamba2Group": ([HEAD],),
    "Conv": ([1], CHANNEL, 0),
    "S4Layer": ([CHANNEL], [[1]], [0], [0], "linear"),
    "DeepS4": ([LAYER],),
    "gaussian": (1, 1),
    "absorb_selectors": ([[1]], [[1]], [[1]], [[1]]),
    "claims": ("beyond",),
    "decay_bound": (CHANNEL, [1], 2),
    "dimension_certificate": (lambda p: [p[0]], [1], [0]),
    "effective_prefix_dimension": (CHANNEL, 0),
    "exact_minimal_adjustment": (CHANNEL, CHANNEL),
    "exclusion": (theory.dimension_certificate(lambda p: [p[0]], [1]), 1),
    "get_claim": ("beyond.mamba3",),
    "gramians": (CHANNEL,),
    "half_life": ("1/2",),
    "half_lives": ([[-1]], [1]),
    "hankel_singular_values": (CHANNEL, 20),
    "in_proj_update": (BLOCK, BLOCK),
    "initialisation": ("mamba", 1, 0.1),
    "lattice": ("LTI",),
    "lora_floor": ([[1]], 0),
    "minimal_adjustment": (CHANNEL, CHANNEL),
    "minimal_prefix_length": (CHANNEL,),
    "minimal_prefix_length_mamba2": (HEAD,),
    "prefix_cost": (CHANNEL, [1], 1),
    "prefix_for": (CHANNEL, [1], 1),
    "reachable": (CHANNEL, [1]),
    "same_function": (CHANNEL, CHANNEL, 1),
    "sdt_lora_witness": (theory.DeepS4([LAYER]), theory.DeepS4([LAYER]), [[1]]),
    "state_after": (CHANNEL, [1]),
    "state_tuning_risk_floor": (CHANNEL, CHANNEL, 1, 1, 1),
    "true_dimensions": (CHANNEL, CHANNEL),
}
NAMED: dict[str, dict[str, Any]] = {
    "LTI": {"kind": "exact"},
    "SelectiveSSM": {"dt": 1, "decay": [["1/2"]], "D_skip": [1]},
    "Mamba2Head": {"dt": 1, "decay": "1/2", "D_skip": 1},
    "effective_prefix_dimension": {"prefix_length": 1},
    "gramians": {"first_output": 1},
    "hankel_singular_values": {"prefix_length": 1},
    "initialisation": {"rule": "zoh", "b": [1], "c": [1], "seed": 0},
    "prefix_for": {"level": "state"},
    "reachable": {"level": "state", "max_length": 1},
    "state_tuning_risk_floor": {"prefix_length": 1},
}
JUNK: tuple[Any, ...] = (
    None, "no number", b"1", 1.5, 7, -1, True, Fraction(1, 3), 1j, float("nan"), [], [[]], {}, {"a": 1}, object(), len, LTI,
    CHANNEL, S6, HEAD, LAYER, BLOCK, np.array(0.5), np.zeros((0, 2)), sympy.Symbol("x"), sympy.nan, [[1], [1, 2]], 10**5000,
)  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_other_things_are_refused(name: str) -> None:
    """Every argument replaced by what it is not: an answer or one of the project's errors, and then one line long."""
    call, arguments, named = getattr(theory, name), CALLS[name], NAMED.get(name, {})
    call(*arguments, **named)
    for junk in JUNK:
        for i in range(len(arguments)):
            _refused(call, [*arguments[:i], junk, *arguments[i + 1 :]], named)
        for key in named:
            _refused(call, arguments, named | {key: junk})


def _refused(call: Callable[..., Any], arguments: Any, named: Any) -> None:
    said = ""
    try:
        assert repr(call(*arguments, **named))
    except theory.TheoryError as error:
        said = str(error)
    assert "\n" not in said and len(said) < 1000


def test_no_public_function_is_left_out() -> None:
    """Every callable of theory.__all__ that is no class of errors, data or bookkeeping is called in this file."""
    source = inspect.getsource(inspect.getmodule(test_no_public_function_is_left_out))  # type: ignore[arg-type]
    bookkeeping = {"verify", "Claim", "Assumption", "Verdict", "Report", "Lattice", "StateTuningRisk", "ConvState"}
    for name in theory.__all__:
        value = getattr(theory, name)
        error = isinstance(value, type) and issubclass(value, Exception)
        if callable(value) and not error and name not in bookkeeping:
            assert name in source, name


HIDDEN_ZERO = sympy.cos(sympy.pi / 7) - sympy.cos(2 * sympy.pi / 7) + sympy.cos(3 * sympy.pi / 7) - sympy.Rational(1, 2)


@pytest.mark.parametrize(
    ("expression", "zero"),
    [
        (sympy.cos(sympy.pi / 7) - sympy.cos(2 * sympy.pi / 7) + sympy.cos(3 * sympy.pi / 7) - sympy.Rational(1, 2), True),
        (sympy.sqrt(2) + sympy.sqrt(3) - sympy.sqrt(5 + 2 * sympy.sqrt(6)), True),
        (sympy.sqrt(2) + sympy.sqrt(3) - sympy.sqrt(5 + 2 * sympy.sqrt(6)) + sympy.Rational(1, 10**300), False),
        (sympy.sin(sympy.pi / 9) * sympy.sin(2 * sympy.pi / 9) * sympy.sin(4 * sympy.pi / 9) - sympy.sqrt(3) / 8, True),
        (sympy.exp(sympy.pi * sympy.sqrt(163)) - 262537412640768744, False),
        (HIDDEN_ZERO * sympy.log(2) * sympy.exp(-1), True),
        (sympy.Rational(1, 10**400) * sympy.log(2), False),
        (sympy.Rational(1, 10**400) * (sympy.log(4) - 2 * sympy.log(2)), True),
        ((sympy.pi + sympy.log(3)) ** 2 - (sympy.pi**2 + 2 * sympy.pi * sympy.log(3) + sympy.log(3) ** 2), True),
        (sympy.Rational(10**400) * (sympy.pi / sympy.log(2) - sympy.pi**2 / (sympy.pi * sympy.log(2))), True),
        (sympy.sin(1) ** 2 + sympy.cos(1) ** 2 - 1 + sympy.Rational(1, 10**600), False),
    ],
)
def test_symbolic_constants(expression: Any, zero: bool) -> None:
    assert is_zero(expression) is zero
    first, second = (LTI([sympy.Rational(1, 2)], [1], [c]) for c in (sympy.Integer(1), 1 + expression))
    assert theory.same_function(first, second) is zero


def test_what_no_proof_covers_is_undecided() -> None:
    """Equal to 1e−1000 if at all, and no bound is known for it: neither True nor False."""
    close = sympy.Float(1)  # not even a number here: refused
    assert asked(LTI, [sympy.Rational(1, 2)], [1], [close]) is None
    gamma = sympy.gamma(sympy.Rational(1, 3)) * sympy.gamma(sympy.Rational(1, 7))
    with pytest.raises(theory.Undecided):
        is_zero(gamma - sympy.pi)
    long = sympy.log(6 * 10**400 + 6) - sympy.log(10**400 + 1) - sympy.log(6)
    with pytest.raises(theory.Undecided, match="too long to simplify"):  # sympy would factor 10^400 + 1
        is_zero(long)


@pytest.mark.parametrize("beside", [0, 1])
def test_long_rationals_that_cancel(beside: int) -> None:
    """c |z|²/(|z|² + beside) − c for a number z of 10^±400 and a sum c of cosines, whose separation bound has 90,000 bits."""
    long, turn = sympy.Integer(10) ** 400, sympy.pi / 7
    c = sympy.cos(turn) - sympy.cos(2 * turn) + sympy.cos(3 * turn)
    product = (1 / long - long * sympy.I) * (1 / long + long * sympy.I)
    assert is_zero(sympy.Mul(product, c, 1 / (long**-2 + long**2 + beside), evaluate=False) - c) is (beside == 0)


def test_norms_of_symbolic_tokens_are_numbers() -> None:
    """Tokens whose squares cancel to 10^−800 before their root is taken."""
    system = LTI([sympy.Rational(1, 2), sympy.exp(-1)], [sympy.Rational(1, 10**400), 1], [sympy.log(2), 1], half=True)
    found = theory.reachable(system, [HIDDEN_ZERO, HIDDEN_ZERO + sympy.Rational(1, 2)], max_length=3)
    assert found.verdict == "witness" and found.length == 2 and found.norm is not None and 0 < found.norm < math.inf
