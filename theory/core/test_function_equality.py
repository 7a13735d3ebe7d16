"""Equality of channels' functions: the essential pairs against impulse responses on a sufficient horizon, and direct changes."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.errors import InvalidInput
from theory.core.function_equality import (
    Essential,
    essential_modes,
    group_by_value,
    impulse_response,
    same_essential,
    same_function,
)
from theory.core.lti import LTI
from theory.core.scalars import gaussian, tidy
from theory.core.strategies import any_lti, inputs, rationals, real_lti

F = Fraction


def hankel_rank(markov: list[Any]) -> int:
    """Rank of [k_{i+j}], i, j ≥ 1: the number of nonzero modes any realisation needs (Kronecker)."""
    n = (len(markov) - 1) // 2
    return linalg.rank([[markov[1 + i + j] for j in range(n)] for i in range(n)])


def impulse(system: LTI, length: int) -> list[Any]:
    """Outputs for the input 1, 0, 0, … by running the system."""
    return [tidy(v) for v in system.run([F(1)] + [F(0)] * (length - 1))[0]]


@given(any_lti(3), any_lti(3))
def test_equality_is_decided_by_enough_outputs(s1: LTI, s2: LTI) -> None:
    """Two channels with n_1 and n_2 modes agree for ever iff they agree on n_1 + n_2 + 1 outputs."""
    horizon = s1.closed().n_states + s2.closed().n_states + 1
    same = impulse(s1, horizon) == impulse(s2, horizon)
    assert same_function(s1, s2) == same == same_essential(s1, s2) == same_function(s1, s2, horizon)


@given(any_lti(3), st.data())
def test_rewritings_keep_the_function(system: LTI, data: Any) -> None:
    """Scaled states, permuted states, a state split in two, a dead state; one more in d, or in a live product, changes it."""
    full = system.closed()
    n = full.n_states
    scale = data.draw(st.lists(rationals(nonzero=True), min_size=n, max_size=n))
    order = data.draw(st.permutations(range(n)))
    rewritten = [
        full,
        full.replace(b=full.b * np.array(scale, dtype=object), c=full.c / np.array(scale, dtype=object)),
        full.replace(a=full.a[list(order)], b=full.b[list(order)], c=full.c[list(order)]),
        LTI([*full.a, full.a[0]], [*full.b, full.b[0] * 3], [*full.c[:1] / 4, *full.c[1:], full.c[0] / 4], full.d),
        LTI([*full.a, "1/11"], [*full.b, 5], [*full.c, 0], full.d),
        LTI([*full.a, 0], [*full.b, 2], [*full.c, 3], full.d - 6),
    ]
    x = data.draw(inputs(4))
    for other in rewritten:
        assert same_function(system, other) and same_function(other, system)
        assert [tidy(v) for v in other.run(x)[0]] == list(system.run(x)[0])
        assert essential_modes(other).order == hankel_rank(impulse(system, 2 * n + 3))
    assert not same_function(system, full.replace(d=full.d + 1))
    live = LTI([*full.a, "1/11"], [*full.b, 5], [*full.c, 1], full.d)
    assert not same_function(system, live) and not same_function(system, live, length=1)
    late = LTI([*full.a, "1/11"], [*full.b, 5], [*full.c, 1], full.d - 5)
    assert same_function(system, late, length=1) and not same_function(system, late, length=2) and not same_function(system, late)


@given(any_lti(4))
def test_essential_modes_by_definition(system: LTI) -> None:
    """A plain double loop over the closed system."""
    full = system.closed()
    keys = [(tidy(v) if not isinstance(v, Fraction) else v) for v in full.a]
    residues: dict[Any, Any] = {}
    direct: Any = full.d
    for n, key in enumerate(keys):
        product = full.c[n] * full.b[n]
        if key == 0:
            direct = direct + product
        else:
            residues[key] = residues.get(key, 0 * product) + product
    essential = essential_modes(system)
    assert essential.residues == {k: tidy(v) for k, v in residues.items() if tidy(v) != 0}
    assert essential.direct == tidy(direct) and essential.order == len(essential.residues) <= full.n_states
    assert essential.with_zero() == (essential.residues | ({F(0): essential.direct} if essential.direct != 0 else {}))


def test_worked_example() -> None:
    """Modes 1/2 twice, 1/3 cancelling, 0: residues {1/2: 2}, direct 10 + 12."""
    system = LTI(["1/2", 0, "1/2", "1/3", "1/3"], [1, 2, 3, 1, 1], [5, 6, -1, 1, -1], 10)
    assert essential_modes(system) == Essential({F(1, 2): F(2)}, F(22))
    assert essential_modes(system).with_zero() == {F(1, 2): 2, F(0): 22}
    assert same_function(system, LTI(["1/2"], [2], [1], 22)) and not same_function(system, LTI(["1/2"], [2], [1], 10))
    assert not same_function(system, LTI(["1/2", "1/3"], [2, 1], [1, 1], 22))
    assert impulse_response(system, 3) == [24, 1, F(1, 2)] == impulse(system, 3)
    zero = LTI([0], [3], [2], -6)
    assert essential_modes(zero) == Essential({}, F(0)) and essential_modes(zero).with_zero() == {}


@given(real_lti(), st.integers(1, 5))
def test_impulse_response(system: LTI, length: int) -> None:
    """The run on 1, 0, 0, …, the skip once, in the first output."""
    shifted = system.replace(d=system.d + 3)
    assert impulse_response(system, length) == impulse(system, length)
    assert impulse_response(shifted, length) == [impulse(system, length)[0] + 3, *impulse(system, length)[1:]]


# -- grouping -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from([F(1, 2), F(1, 3), F(0), gaussian(0, 1), gaussian("1/2")]), max_size=8))
def test_group_by_value(values: list[Any]) -> None:
    groups = group_by_value(values)
    assert sorted(n for _, members in groups for n in members) == list(range(len(values)))
    tidied = [tidy(v) for v in values]
    for value, members in groups:
        assert members == [n for n, v in enumerate(tidied) if v == value]
    assert [members[0] for _, members in groups] == sorted(members[0] for _, members in groups)
    assert len(groups) == len(set(tidied))


def test_symbols_are_grouped_after_simplification() -> None:
    x = sympy.Symbol("x")
    groups = group_by_value([(x + 1) ** 2, x, x**2 + 2 * x + 1, x + 1])
    assert [members for _, members in groups] == [[0, 2], [1], [3]]


# -- kinds ----------------------------------------------------------------------------------------------------------------


def test_floats_are_the_binary_numbers_they_are() -> None:
    system = LTI([0.5], [0.1], [3.0])
    assert same_function(system, system.exactly()) and same_function(system, LTI([0.5], [0.1 * 3], [1.0])) is False
    assert 0.1 * 3.0 != F(0.1) * 3  # because the product is rounded
    assert same_function(system, LTI(["1/2"], ["1/10"], [3])) is False and same_function(system, LTI(["1/2"], [F(0.1)], [3]))
    nudged = LTI([np.nextafter(0.5, 1)], [0.1], [3.0])
    assert not same_function(system, nudged) and same_function(system, nudged, length=1) and not same_function(system, nudged, 2)
    pair = LTI([0.5 + 0.25j], [1.0], [1j], half=True)
    assert same_function(pair, pair.closed()) and not same_function(pair, LTI(pair.a, pair.b, pair.c))


def test_symbolic_channels() -> None:
    x, y = sympy.symbols("x y", real=True)
    one = LTI([(x + 1) ** 2, y], [1, y], [x, 2], x)
    same = LTI([y, x**2 + 2 * x + 1], [2, x], [y, 1], x)
    assert same_function(one, same) and same_function(one, same, 4) and same_essential(one, same)
    for other in (same.replace(d=x + 1), same.replace(b=[2, y]), same.replace(a=[y, x**2])):
        assert not same_function(one, other) and not same_function(one, other, 4)
    exact = LTI(["1/2"], [1], [1])
    assert same_function(exact, exact.to("symbolic")) and not same_function(exact, LTI([x], [1], [1]))
    cancelling = LTI([x, x], [1, -1], [y, y], 1)
    assert essential_modes(cancelling).residues == {} and same_function(cancelling, LTI([0], [1], [1], 0))


# -- bad input ------------------------------------------------------------------------------------------------------------


def test_bad_input() -> None:
    system, symbolic = LTI(["1/2"], [1], [1]), LTI([sympy.Symbol("x")], [1], [1])
    stranger: Any = "system"
    for pair in ((system, stranger), (stranger, system)):
        with pytest.raises(InvalidInput, match="'system' of type str"):
            same_function(*pair)
    with pytest.raises(InvalidInput, match="'system' of type str"):
        essential_modes(stranger)
    length: Any
    for length in (0, -1, 1.5, True):
        with pytest.raises(InvalidInput, match=f"length = {length!r} must be an integer of at least 1"):
            same_function(system, system, length)
        with pytest.raises(InvalidInput, match=f"length = {length!r}"):
            impulse_response(system, length)
    for pair in ((symbolic, LTI([0.5], [1.0], [1.0])), (LTI([0.5j], [1.0], [1.0]), symbolic)):
        with pytest.raises(InvalidInput, match=r"convert the float one with \.exactly\(\)"):
            same_function(*pair)


def test_long_horizons_cost_no_more_than_short_ones() -> None:
    """Two and three states: six outputs decide, whatever the horizon; five do not (the first five agree)."""
    nodes = [F(1, k) for k in range(2, 7)]
    weights = linalg.nullspace([[x**t for x in nodes] for t in range(4)])[0]  # Σ w x^t = 0 for t < 4
    first, second = LTI(nodes[:2], [1, 1], weights[:2]), LTI(nodes[2:], [1, 1, 1], -weights[2:])
    assert same_function(first, second, 4) and not same_function(first, second, 5)
    assert not same_function(first, second, 10**12) and not same_function(first, second)
    assert same_function(first, LTI([*nodes[:2], 0], [1, 1, 1], [*weights[:2], 0]), 10**12)
