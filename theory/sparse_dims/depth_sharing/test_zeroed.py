"""Zeroed channels: what two layers cannot do, what three can, and twins that must fail."""

from __future__ import annotations

from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from theory.core.deep_s4 import S4Layer
from theory.core.errors import InvalidSystem

from ..draws import nonzero
from . import instances as props
from .search import minimise, random_problem, search
from .transfer import same_transfer, single
from .zeroed import (
    TwoChannels,
    discriminant,
    middle_poles,
    three_layer_parameters,
    three_layer_quadratic,
    three_layer_witness,
    tuned_layer,
    two_layer_witness,
    two_layer_witness_singular,
)


def _target(W: list[list[object]], u: list[object], modes: tuple[object, object] = ("1/2", "1/3")) -> S4Layer:
    return S4Layer([single(modes[0], 1), single(modes[1], 1)], W, None, u, "linear")


@given(props.two_channels(kind="triangular"))
def test_triangular_targets(target: S4Layer) -> None:
    props.check_two_zeroed(target)


@given(props.two_channels(kind="singular"))
def test_singular_targets(target: S4Layer) -> None:
    props.check_singular(target)


@given(props.real_zeros())
def test_three_layers(target: S4Layer) -> None:
    props.check_three_zeroed(target)


def test_three_layers_in_numbers() -> None:
    """Modes 1/2, 1/3, W*_11 = W*_12 = W*_22 = u* = 1; W*_21 chosen so that μ = 1/5 solves the quadratic."""
    target = props.targets_with_middle_pole(F(1, 2), F(1, 3), F(1, 5), [F(1), F(1), F(1)], [F(1), F(1)])
    assert target is not None
    t = TwoChannels.of(target)
    a, b, c = three_layer_quadratic(t)
    assert a * F(1, 25) + b * F(1, 5) + c == 0
    assert F(1, 5) in middle_poles(t)
    assert same_transfer(three_layer_witness(target), target)


def test_middle_pole_on_a_mode_is_not_used() -> None:
    """A root μ = λ_1 would divide by zero; the other root serves."""
    target = props.targets_with_middle_pole(F(1, 2), F(1, 3), F(1, 2), [F(1), F(1), F(3)], [F(1), F(2)])
    assert target is not None
    t = TwoChannels.of(target)
    a, b, c = three_layer_quadratic(t)
    assert a / 4 + b / 2 + c == 0
    assert middle_poles(t) == [2]
    assert same_transfer(three_layer_witness(target), target)


@given(props.two_channels(kind="full"))
def test_discriminant_is_that_of_the_transmission_zeros(target: S4Layer) -> None:
    """det T*(z) (z − λ_1)(z − λ_2) evaluated at three points gives the quadratic; its discriminant times λ_2²."""
    t = TwoChannels.of(target)
    (w11, w12), (w21, w22) = t.W
    (l1, l2), (u1, u2) = t.modes, t.u
    a = (w11 + u1) * (w22 + u2) - w12 * w21
    b = -((w11 + u1) * u2 * l2 + (w22 + u2) * u1 * l1)
    c = u1 * u2 * l1 * l2
    assert discriminant(t) == l2 * l2 * (b * b - 4 * a * c)
    assert (discriminant(t) >= 0) == (discriminant(t.swapped()) >= 0)


def test_complex_zeros_have_no_three_layers() -> None:
    """W* = [[0, 1], [−9, 0]], u* = 1: det T* has the numerator (z − 1/2)(z − 1/3) + 9 z², with complex zeros."""
    target = _target([[0, 1], [-9, 0]], [1, 1])
    t = TwoChannels.of(target)
    assert discriminant(t) < 0 and discriminant(t.swapped()) < 0
    with pytest.raises(InvalidSystem, match="discriminants -"):
        three_layer_witness(target)


# -- negative twins --------------------------------------------------------------------------------------------------------


@given(props.real_zeros(), nonzero)
def test_twin_shifted_middle_pole_is_caught(target: S4Layer, shift: F) -> None:
    """A μ that is no root of the quadratic gives another function."""
    t = TwoChannels.of(target)
    (mu, *_) = middle_poles(t) or [F(0)]
    assume(mu)
    wrong = mu + shift / 97
    a, b, c = three_layer_quadratic(t)
    assume(wrong not in (0, *t.modes) and a * wrong**2 + b * wrong + c != 0)
    layers = [tuned_layer(ch, p, [(m, 1)], u) for ch, p, m, u in three_layer_parameters(t.W, t.modes, t.u, wrong)]
    assert not same_transfer(layers, target)


@given(props.real_zeros(), st.integers(0, 2))
def test_twin_layers_do_not_commute(target: S4Layer, k: int) -> None:
    """Two neighbouring layers exchanged: lower · upper is not upper · lower."""
    layers = three_layer_witness(target)
    i = k % 2
    layers[i], layers[i + 1] = layers[i + 1], layers[i]
    assert not same_transfer(layers, target)


@given(props.two_channels(kind="triangular"), nonzero)
def test_twin_perturbed_coupling_is_caught(target: S4Layer, shift: F) -> None:
    layers = two_layer_witness(target)
    W = target.W.copy()
    i, j = (0, 1) if W[0, 1] == 0 else (1, 0)
    W[i, j] += shift
    assert not same_transfer(layers, S4Layer(target.channels, W, None, target.u, "linear"))


def test_twin_one_state_is_not_enough_for_singular_targets() -> None:
    """The singular witness needs its second state: silence it and the function is another."""
    target = _target([[1, 2], [3, 6]], [1, F(1, 2)])
    layers = two_layer_witness_singular(target)
    channel = layers[0].channels[0]
    assert channel.n_states == 2
    cut = [channel.replace(c=[channel.c[0], 0]), layers[0].channels[1]]
    assert not same_transfer([S4Layer(cut, layers[0].W, None, layers[0].u, "linear"), layers[1]], target)


# -- numerical evidence and errors ----------------------------------------------------------------------------------------------


def test_search_agrees_with_the_obstruction_and_the_witness() -> None:
    """Zeroed, seed 2: two layers stay away from the target, three (real zeros) reach it to rounding."""
    two = search(random_problem(2, 2, [(0,), (1,)], 1, zeroed=True), 4, 2)
    three = search(random_problem(2, 2, [(0,), (1,), (0,)], 1, zeroed=True), 6, 2)
    assert two.best > 1e-4 and three.best < 1e-9


def test_search_jacobian_is_the_derivative() -> None:
    from .search import _points, residual_and_jacobian

    problem = random_problem(1, 2, [(0,), (1,)], 1)
    rng = np.random.default_rng(0)
    v, direction = rng.standard_normal(problem.size) * 0.3, rng.standard_normal(problem.size)
    z = _points(6)
    _, jacobian = residual_and_jacobian(problem, v, z)
    h = 1e-6
    difference = (
        residual_and_jacobian(problem, v + h * direction, z)[0] - residual_and_jacobian(problem, v - h * direction, z)[0]
    ) / (2 * h)
    assert np.max(np.abs(difference - jacobian @ direction)) < 1e-6 * np.max(np.abs(difference))
    assert minimise(problem, v, 1)[0] <= np.abs(residual_and_jacobian(problem, v, _points(30))[0]).max() * 10


def test_errors_name_the_value() -> None:
    with pytest.raises(InvalidSystem, match="W\\*_12 W\\*_21 = 1"):
        two_layer_witness(_target([[1, 1], [1, 1]], [1, 1]))
    with pytest.raises(InvalidSystem, match="use two_layer_witness"):
        three_layer_witness(_target([[1, 0], [1, 1]], [1, 1]))
    with pytest.raises(InvalidSystem, match="det W"):
        two_layer_witness_singular(_target([[1, 1], [1, 2]], [1, 1]))
    with pytest.raises(InvalidSystem, match="distinct modes"):
        TwoChannels.of(_target([[1, 1], [1, 2]], [1, 1], ("1/2", "1/2")))
    with pytest.raises(InvalidSystem, match="both must be nonzero"):
        TwoChannels.of(_target([[1, 1], [1, 2]], [1, 1], (0, "1/2")))
