"""sparse_dims.exact_match: the tuned network is the target, its counts are true, and twins that must fail."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.conftest import GLANCE
from theory.core import linalg
from theory.core.deep_s4 import Activation, DeepS4, S4Layer
from theory.core.errors import InvalidInput, InvalidSystem, KindMismatch
from theory.core.lti import LTI
from theory.core.scalars import gaussian
from theory.verification.claim import Assumption, Verdict
from theory.verification.decide import decide

from ..draws import nonzero, numbers
from . import claim as em


@given(em.networks())
def test_tuned_network_is_the_target(instance: em.Instance) -> None:
    em.check_witness(instance)


@given(em.rescalings())
def test_scale_gauge_costs_nothing(instance: tuple[DeepS4, list[list[F]], list[list[F]]]) -> None:
    em.check_gauge(instance)


@given(em.networks(), st.data())
def test_any_gauge_reaches_the_target(instance: em.Instance, data: st.DataObject) -> None:
    frozen, _, _ = instance
    width = frozen.layers[0].n_channels
    gauge = [[data.draw(nonzero) for _ in range(width)] for _ in range(frozen.depth)]
    em.check_witness(instance, gauge)


@pytest.mark.parametrize("assumption", em.CLAIM.assumptions, ids=lambda a: a.name)
def test_assumptions(assumption: Assumption) -> None:
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED


def test_claim_is_exact() -> None:
    assert decide(em.CLAIM, GLANCE).verdict in (Verdict.PROVED, Verdict.FORMAL)


# -- worked example --------------------------------------------------------------------------------------------------------


def _example(activation: Activation = "relu") -> tuple[DeepS4, DeepS4]:
    """D = 2, one layer: one mode and one residue of channel 0 differ, W by a rank-1 matrix, β_1 and u_0 differ."""
    frozen = S4Layer(
        [LTI(["1/2", "1/3"], [1, 1], [1, 2]), LTI(["1/5", "1/7"], [1, 1], [1, 1])],
        [[1, 0], [0, 1]],
        [0, 0],
        [1, 1],
        activation,
    )
    target = S4Layer(
        [LTI(["1/2", "1/4"], [1, 1], [5, 2]), LTI(["1/5", "1/7"], [1, 1], [1, 1])],
        [[2, 1], [2, 3]],
        [0, 7],
        [3, 1],
        activation,
    )
    return DeepS4([frozen]), DeepS4([target])


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_worked_counts(activation: Activation) -> None:
    frozen, target = _example(activation)
    found = em.sdt_lora_witness(frozen, target)
    (layer,) = found.layers
    assert (layer.tuned_channels, layer.tuned_states, layer.tuned_scalars) == ((0,), 2, 2)
    assert (layer.rank, layer.bias, layer.u) == (1 + int(linalg.rank([[1, 1], [2, 2]]) > 1), 1, 1)
    assert layer.stored == found.stored == 2 + 4 + 1 + 1
    x = [[F(1), F(-2)], [F(0), F(3)], [F(-1), F(1, 2)]]
    assert (found.network.run(x) == target.run(x)).all()


@given(st.integers(0, 3), numbers(9), numbers(9))
def test_lora_factors_have_the_rank(r: int, left: list[F], right: list[F]) -> None:
    delta = np.array(left[: 3 * min(r, 3)], dtype=object).reshape(3, -1) if r else np.full((3, 1), F(0), dtype=object)
    other = np.array(right[: delta.shape[1] * 3], dtype=object).reshape(delta.shape[1], 3)
    product = delta @ other
    p, q = linalg.rank_factors(product)
    assert p.shape[1] == q.shape[0] == linalg.rank(product)
    if p.shape[1]:
        assert (p @ q == product).all()
    else:
        assert not product.any()


def test_gauge_saves_edits() -> None:
    """A channel twice as loud is no change of states once the column of W is halved."""
    frozen = DeepS4([S4Layer([LTI(["1/2", "1/3"], [1, 1], [1, 2])], [[4]])])
    target = DeepS4([S4Layer([LTI(["1/2", "1/3"], [1, 1], [2, 4])], [[2]])])
    assert em.sdt_lora_witness(frozen, target).stored == 2 + 2
    assert em.channel_gauges(frozen, target) == [[F(1, 2)]]
    assert em.sdt_lora_witness(frozen, target, [["1/2"]]).stored == 0


# -- negative twins --------------------------------------------------------------------------------------------------------


def _with_layer(found: em.Witness, layer: S4Layer) -> DeepS4:
    return DeepS4([layer, *found.network.layers[1:]])


@st.composite
def single_linear_layers(draw: st.DrawFn) -> tuple[DeepS4, DeepS4]:
    """Frozen and target networks of one linear layer."""
    width, n = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    frozen, target = (DeepS4([draw(em.layer(width, n, "linear"))]) for _ in range(2))
    return frozen, target


@given(single_linear_layers(), nonzero)
def test_twin_perturbed_layer_is_another_function(instance: tuple[DeepS4, DeepS4], shift: F) -> None:
    """Linear layers: β or u off by one number changes the outputs for zero or for the impulse."""
    frozen, target = instance
    found = em.sdt_lora_witness(frozen, target)
    layer = found.network.layers[0]
    width = layer.n_channels
    zero = [[F(0)] * width]
    bias = layer.bias.copy()
    bias[0] += shift
    twin = _with_layer(found, S4Layer(layer.channels, layer.W, bias, layer.u, layer.activation))
    assert (twin.run(zero) != target.run(zero)).any()
    u = layer.u.copy()
    u[-1] += shift
    impulse = [[F(int(d == width - 1)) for d in range(width)]]
    twin = _with_layer(found, S4Layer(layer.channels, layer.W, layer.bias, u, layer.activation))
    assert (twin.run(impulse) != target.run(impulse)).any()


def test_twin_transposed_weights_are_caught() -> None:
    frozen, target = _example("linear")
    found = em.sdt_lora_witness(frozen, target)
    layer = found.network.layers[0]
    twin = DeepS4([S4Layer(layer.channels, layer.W.T, layer.bias, layer.u, "linear")])
    x = [[F(1), F(-2)]]
    assert (twin.run(x) != target.run(x)).any()


def test_twin_rank_one_short_cannot_reach_w() -> None:
    """Drop one column of the LoRA factors: W is missed, and no factors of that rank exist."""
    frozen, _ = _example("linear")
    layer = frozen.layers[0]
    target = DeepS4([S4Layer(layer.channels, [[2, 1], [1, 3]], layer.bias, layer.u, "linear")])
    (tuned,) = em.sdt_lora_witness(frozen, target).layers
    assert tuned.rank == 2
    assert (layer.W + tuned.left[:, :1] @ tuned.right[:1] != target.layers[0].W).any()
    x = [[F(1), F(0)], [F(0), F(1)]]
    short = S4Layer(layer.channels, layer.W + tuned.left[:, :1] @ tuned.right[:1], layer.bias, layer.u, "linear")
    assert (short.run(x)[0] != target.run(x)).any()


@given(em.networks())
def test_twin_counts_that_forget_a_channel_fail(instance: em.Instance) -> None:
    """The counts are compared with the entries that really differ, so a summary that drops one is noticed."""
    frozen, target, _ = instance
    found = em.sdt_lora_witness(frozen, target)
    for old, new, tuned in zip(frozen.layers, found.network.layers, found.layers, strict=True):
        total = em._entries_changed(old, new)
        assert tuned.tuned_scalars == total
        busy = [d for d, c in enumerate(tuned.channels) if c.cost]
        if busy:
            short = replace(tuned, channels=tuple(c for d, c in enumerate(tuned.channels) if d != busy[0]))
            assert short.tuned_scalars < total


# -- errors ----------------------------------------------------------------------------------------------------------------


def test_errors_name_the_value() -> None:
    frozen, target = _example()
    with pytest.raises(InvalidSystem, match="depth 1 and target depth 2"):
        em.sdt_lora_witness(frozen, DeepS4([*target.layers, *target.layers]))
    with pytest.raises(InvalidSystem, match="activation"):
        em.sdt_lora_witness(frozen, _example("linear")[1])
    with pytest.raises(InvalidSystem, match="D = 2 against 1"):
        em.sdt_lora_witness(frozen, DeepS4([S4Layer([LTI(["1/2"], [1], [1])], [[1]])]))
    with pytest.raises(InvalidInput, match="gauge"):
        em.sdt_lora_witness(frozen, target, [[1, 0]])
    with pytest.raises(InvalidInput, match="target: expected a DeepS4"):
        em.sdt_lora_witness(frozen, target.layers[0])  # type: ignore[arg-type]
    floats = DeepS4([S4Layer([LTI([0.5], [1.0], [1.0])], [[1.0]])])
    with pytest.raises(KindMismatch, match="Fractions"):
        em.sdt_lora_witness(floats, floats)
    big = DeepS4([S4Layer([LTI(["1/2", "1/3", "1/4"], [1] * 3, [1] * 3), target.layers[0].channels[1]], [[1, 0], [0, 1]])])
    with pytest.raises(InvalidSystem, match="needs 3 modes"):
        em.sdt_lora_witness(frozen, big)


def test_complex_skips_that_agree_change_no_u() -> None:
    """A frozen and a target skip 1 + i: their difference is a Gaussian zero, which is no direct term for u to take."""

    def network(mode: str, skip: object) -> DeepS4:
        return DeepS4([S4Layer([LTI([mode], [1], [1], skip)], [[1]], activation="linear")])

    same = em.sdt_lora_witness(network("1/2", gaussian(1, 1)), network("1/3", gaussian(1, 1)))
    assert (same.layers[0].u, same.layers[0].tuned_scalars, same.stored) == (0, 1, 1)
    other = em.sdt_lora_witness(network("1/2", gaussian(1, 1)), network("1/3", gaussian(1, 2)))
    assert other.layers[0].u == 1 and other.network.layers[0].u[0] == gaussian(0, 1)
