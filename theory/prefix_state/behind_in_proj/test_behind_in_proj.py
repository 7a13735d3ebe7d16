"""prefix_state.behind_in_proj: checks, smallest examples, bad input, and the index of one free input a channel."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given

from theory.conftest import GLANCE, share
from theory.core.errors import InvalidInput, InvalidSystem
from theory.core.lti import LTI
from theory.prefix_state.reach.lti import minimal_prefix_length
from theory.verification.claim import Verdict

from . import claim as own
from .layer import Layer, blocked, krylov, least_length_for_all, length_bounds, prefix

HALF, THIRD = Fraction(1, 2), Fraction(1, 3)


def test_two_channels_of_one_mode() -> None:
    found = blocked(own.shared())
    assert found is not None and found.mode == HALF and found.ell @ np.array([1, 1]) == 0 and np.any(found.ell)
    assert least_length_for_all(own.shared()) == math.inf
    assert prefix(own.shared(), [[1], [0]]) is None and len(prefix(own.shared(), [[2], [2]])) == 1


def test_two_modes_through_one_coordinate() -> None:
    layer = own.even()
    assert blocked(layer) is None and least_length_for_all(layer) == 2 == length_bounds(layer)[1]
    tokens = prefix(layer, [[1], [0]])
    assert [h[0] for h in layer.states_after(tokens)] == [1, 0]
    assert [h[0] for h in layer.states_after(tokens[::-1])] != [1, 0]  # negative twin
    assert len(prefix(layer, [[0], [0]])) == 0


def test_outputs_see_less_than_states() -> None:
    layer = own.hidden().layer
    assert blocked(layer) is not None and blocked(layer, "function") is None
    assert least_length_for_all(layer, "function") == 1
    assert prefix(layer, [[1], [0]]) is None and prefix(layer, [[1], [0]], "function") is not None


@given(own.layers())
@share(0.625)
def test_free_inputs_are_the_channels_one_by_one(layer: Layer) -> None:
    """W_in = I: the index at function level is the greatest number of observable modes, as prefix_state.equivalent counts."""
    D = len(layer.channels)
    free = Layer.of(layer.channels, [[int(i == j) for j in range(D)] for i in range(D)])
    assert least_length_for_all(free, "function") == minimal_prefix_length(layer.channels)


def test_krylov_columns_are_states_of_single_tokens() -> None:
    layer = Layer.of([LTI([HALF, 0], [1, 2], [1, 1]), LTI([THIRD], [3], [1])], [[1, 0], [1, 1]])
    columns = krylov(layer, 2)
    for j, tokens in enumerate([[[1, 0]], [[0, 1]], [[1, 0], [0, 0]], [[0, 1], [0, 0]]]):
        assert np.all(np.concatenate(layer.states_after(tokens)) == columns[:, j])


def test_bad_input() -> None:
    with pytest.raises(InvalidSystem, match="rational"):
        Layer.of([LTI([0.5], [1.0], [1.0])], [[1]])
    with pytest.raises(InvalidSystem, match="one row"):
        Layer.of([LTI([HALF], [1], [1])], [[1], [2]])
    with pytest.raises(InvalidInput, match="level"):
        own.shared().coordinates("output")  # type: ignore[arg-type]


@pytest.mark.parametrize("check", own.CLAIM.checks, ids=lambda c: c.name)
def test_checks(check: own.Check) -> None:
    assert check.run(GLANCE).verdict in (Verdict.PROVED, Verdict.EXACT)


@pytest.mark.parametrize("assumption", own.ASSUMPTIONS, ids=lambda a: a.name)
def test_assumptions(assumption: own.Assumption) -> None:
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED
