"""The independent test of obstructions: signs of characteristic polynomials against factorisations, and values on tokens."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.selective import SelectiveSSM
from theory.core.strategies import matrices, vectors

from ..reach.cone import TokenCone
from .claim import Instance, instances
from .forms import LAST, forms, is_nonnegative, nonnegative_on_tokens


@given(st.integers(1, 4).flatmap(lambda n: matrices(n, n, 2)))
def test_semidefinite_as_by_factorisation(rows: list[list[Fraction]]) -> None:
    m = np.array(rows, dtype=object)
    for form in (m + m.T, m @ m.T):
        assert is_nonnegative(form) == linalg.is_psd(form)
    assert is_nonnegative(m @ m.T)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [([[0]], True), ([[-1]], False), ([[0, 1], [1, 0]], False), ([[1, 1], [1, 1]], True), ([[-1, 0], [0, -1]], False)],
)
def test_worked_examples(rows: list[list[int]], expected: bool) -> None:
    assert is_nonnegative(np.array([[Fraction(x) for x in row] for row in rows], dtype=object)) is expected


@given(instances(distinct=False), st.data())
def test_forms_are_values_on_tokens(instance: Instance, data: st.DataObject) -> None:
    """⟨ℓ, h⟩ for the state that a token leaves after m more, by stepping the module."""
    s, ell = instance.system, instance.h0
    z = np.array(data.draw(vectors(s.n_channels, 2)), dtype=object)
    h, _ = s.step(s.zero_state(), z)
    for m in range(3):
        value = sum(x**m * (z @ q @ z) for x, q in forms(s, ell).items())
        assert value == np.sum(ell * h)
        h, _ = s.step(h, 0 * z)


def test_late_tokens_are_looked_at() -> None:
    """D = 1: ℓ = (−1, 8) is positive on the newest tokens and negative on old ones, as 8·3^−m < 2^−m from m = 6 on."""
    system = SelectiveSSM([[1], [1]], dt=1, decay=[["1/2", "1/3"]])
    assert not nonnegative_on_tokens(system, np.array([[Fraction(-1), Fraction(8)]], dtype=object)) and LAST > 6
    assert nonnegative_on_tokens(system, np.array([[Fraction(1), Fraction(-1)]], dtype=object))


@given(instances(distinct=False, full_rows=None))
def test_the_cone_calls_no_functional_nonnegative_that_is_not(instance: Instance) -> None:
    """The search's own test against this one, and both against the negative of an obstruction."""
    cone, ell = TokenCone(instance.system), instance.h0
    verdict = cone.never_negative(ell)
    assert verdict is None or not verdict or nonnegative_on_tokens(instance.system, ell)
    for block in cone.criterion:
        if block.ell is not None:
            assert nonnegative_on_tokens(instance.system, block.ell)
            assert cone.never_negative(-block.ell) is nonnegative_on_tokens(instance.system, -block.ell)
