"""prefix_state.depth: inclusions on whole stacks, strictness certificates, and mistakes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.conftest import GLANCE, share
from theory.core.certificate import exclusion
from theory.core.errors import InvalidInput, InvalidSystem
from theory.core.lti import LTI
from theory.core.selective import SelectiveSSM
from theory.core.strategies import matrices, rationals
from theory.prefix_state.depth import certificates as certificates
from theory.prefix_state.depth import claim as depth
from theory.prefix_state.depth import instances as properties
from theory.prefix_state.depth.blocks import (
    Block,
    BlockState,
    S4Channels,
    prefixes_to_states,
    prompt_to_prefixes,
    tokens_of,
    with_prefixes,
    with_prompt,
    with_states,
)
from theory.verification.claim import Verdict


@given(properties.settings())
def test_containment(s: Any) -> None:
    properties.check_containment(s)


@given(st.tuples(properties.settings((1, 2)), matrices(2, 2, 1)))
def test_free_prefixes(instance: Any) -> None:
    properties.check_prefix_to_state(instance)


@share(0.5)
@given(properties.settings())
def test_longer_prefixes(s: Any) -> None:
    properties.check_longer(s)


def block(activation: Any = "linear", taps: Any = (1, 1)) -> Any:
    return Block([[1]], [list(taps)], SelectiveSSM([[1]], [[1]], dt=1, decay=[["1/2"]]), [[1]], activation)


def row(*values: Any) -> Any:
    return np.array([Fraction(v) for v in values], dtype=object)


def test_one_block_by_hand() -> None:
    """v = u, z_t = v_t + v_{t−1}, h = h/2 + z², out = u + z h: prompt 1 and input 1 give z = 2, h = 9/2, out = 10."""
    assert with_prompt([block()], [row(1)], [row(1)])[0][0] == 10
    states = prefixes_to_states([block()], [[row(1)]])
    assert states[0].window[0, 0] == 1
    assert states[0].h[0, 0] == 1
    assert with_states([block()], states, [row(1)])[0][0] == 10


@pytest.mark.parametrize(("activation", "z"), [("linear", -2), ("relu", 0), ("quadratic", 2)])
def test_activations(activation: Any, z: Any) -> None:
    assert block(activation).activate(row(-2))[0] == z


def test_a_deep_prompt_is_not_the_same_tokens_everywhere() -> None:
    """Negative twin: repeating the prompt's tokens at every layer is another function."""
    stack, prompt, inputs = [block(), block()], [row(1)], [row(1), row(2)]
    right = with_prompt(stack, prompt, inputs)
    assert all(
        np.all(x == y) for x, y in zip(with_prefixes(stack, prompt_to_prefixes(stack, prompt), inputs), right, strict=True)
    )
    assert not all(np.all(x == y) for x, y in zip(with_prefixes(stack, [prompt, prompt], inputs), right, strict=True))


def outputs_at(window: Any, h: Any, x: Any) -> Any:
    return with_states([block()], [BlockState(row(window).reshape(1, 1), row(h).reshape(1, 1))], [row(x)])[0][0]


@given(rationals(5))
def test_no_state_replaces_the_window(h: Fraction) -> None:
    """With an empty window the outputs at 1 and −1 are opposite for every h; the prompt gives 10 and −1."""
    assert outputs_at(0, h, 1) + outputs_at(0, h, -1) == 0
    prompted = [with_prompt([block()], [row(1)], [row(x)])[0][0] for x in (1, -1)]
    assert prompted == [10, -1]


@given(rationals(5))
def test_one_token_does_not_replace_two(q: Fraction) -> None:
    """Prompt (1, 1) leaves window 1 and h = 9/2, a token q leaves window q and h = q²: the outputs at −1, 0, 1 always differ."""
    long = [with_prompt([block()], [row(1), row(1)], [row(x)])[0][0] for x in (-1, 0, 1)]
    assert long == [outputs_at(1, Fraction(9, 2), x) for x in (-1, 0, 1)]
    short = [with_prefixes([block()], [[row(q)]], [row(x)])[0][0] for x in (-1, 0, 1)]
    assert short == [outputs_at(q, q * q, x) for x in (-1, 0, 1)]
    assert short != long


def test_certificates_at_every_shape() -> None:
    for shape in certificates.SHAPES:
        ranks = certificates.certify(shape)
        assert ranks.prompt.rank <= shape.tokens * shape.d_model < ranks.prefix.rank
        assert ranks.prefix.rank <= ranks.prefix.n_parameters < ranks.state.rank
        assert ranks.state.rank <= ranks.state.n_parameters == shape.layers * shape.d_inner * (shape.taps - 1 + shape.states)


def test_the_kinds_of_stacks_differ() -> None:
    """ReLU, gate and module change the function, so that each row of the table is about another stack."""
    shape = certificates.SHAPES[1]
    inputs = [row(1), row(-1), row(2)]
    outputs = set()
    for other in (shape, replace(shape, activation="relu"), replace(shape, gate=True), replace(shape, module="s4")):
        outputs.add(tuple(x[0] for x in with_prompt(certificates.stack(other), [row(1)], inputs)))
    assert len(outputs) == 4


def test_certificates_hold_when_recomputed() -> None:
    """A prompt's certificate is one of its own stack, not of another (negative twin)."""
    shape = certificates.SHAPES[0]
    found = certificates.certify(shape).prompt
    rng = np.random.default_rng(2)
    inputs = [row(*[Fraction(int(v), 4) for v in rng.integers(-4, 5, 1)]) for _ in range(shape.length)]

    def family(seed: int) -> Any:
        return lambda p: np.concatenate(with_prompt(certificates.stack(shape, seed), list(p.reshape(1, 1)), inputs))

    assert found.holds_for(family(1))
    assert not found.holds_for(family(2))


def test_one_layer_has_no_certificate() -> None:
    """Negative twin: prompt and prefix coincide, so a certificate here would be a bug."""
    for shape in certificates.SHAPES:
        ranks = certificates.certify(replace(shape, layers=1))
        assert ranks.prefix.n_parameters == ranks.prompt.n_parameters
        assert not ranks.prompt_strict


def test_shorter_prefixes_are_excluded() -> None:
    shape = replace(certificates.SHAPES[0], layers=1, tokens=2)
    found = certificates.certify(shape).prompt
    assert exclusion(found, 1) is not None
    assert exclusion(found, 2) is None
    rows = certificates.certify_lengths(GLANCE).data["table"]
    assert all(r["strict"] == (r["rank"] > r["shorter_parameters"]) for r in rows)


def test_s4_channels_are_the_lti_channels() -> None:
    channels = [LTI(["1/2", "1/3"], [1, 2], [3, -1], d=2), LTI(["1/5", 0], [0, 1], [1, 1])]
    module, h = S4Channels(channels), S4Channels(channels).zero_state()
    z = [[1, 2], [0, -1], [3, 5]]
    expected = [c.run([x[d] for x in z])[0] for d, c in enumerate(channels)]
    for t, x in enumerate(z):
        h, y = module.step(h, row(*x))
        assert list(y) == [expected[0][t], expected[1][t]]


def test_a_gate_multiplies() -> None:
    gated = Block([[1]], [[1]], S4Channels([LTI([0], [1], [1])]), [[1]], "relu", [[2]])
    assert gated.run([row(3), row(-3)])[0][0][0] == 3 + 3 * 6
    assert gated.run([row(-3)])[0][0][0] == -3


def test_resized_prefixes() -> None:
    prefix = [row(1), row(2)]
    assert [x[0] for x in properties.resized(prefix, 3)] == [0, 1, 2]
    assert [x[0] for x in properties.resized(prefix, 1)] == [2]
    assert [x[0] for x in properties.resized(prefix, 2)] == [1, 2]


def test_points_that_all_lie_on_kinks_are_reported() -> None:
    with pytest.raises(InvalidInput, match="20 points"):
        certificates._certificate(lambda p: [abs_at(p[0], v) for v in range(-4, 5)], 1, np.random.default_rng(0))


def abs_at(x: Any, v: int) -> Any:
    """|x − v/5|: a kink at each of the points that are drawn."""
    y = x - Fraction(v, 5)
    return y if y > 0 else -y


def test_all_assumptions_and_checks_at_a_glance() -> None:
    for check in depth.CLAIM.checks:
        assert check.run(GLANCE).verdict is not Verdict.REFUTED
    for assumption in depth.CLAIM.assumptions:
        assert assumption.examine(GLANCE).verdict is Verdict.REFUTED


def test_bad_input() -> None:
    with pytest.raises(InvalidInput, match="d_model = 1"):
        tokens_of([[1, 2]], 1, "prompt")
    with pytest.raises(InvalidInput, match="M ≥ 1"):
        tokens_of([], 1, "prompt")
    with pytest.raises(InvalidSystem, match="silu"):
        block("silu")
    with pytest.raises(InvalidSystem, match="d_inner"):
        Block([[1]], [[1], [1]], SelectiveSSM([[1]], [[1]], dt=1, decay=[["1/2"]]), [[1]])
    with pytest.raises(InvalidSystem, match="readout"):
        Block([[1]], [[1]], SelectiveSSM([[1]], dt=1, decay=[["1/2"]]), [[1]])
    with pytest.raises(InvalidSystem, match="W_gate"):
        Block([[1]], [[1]], SelectiveSSM([[1]], [[1]], dt=1, decay=[["1/2"]]), [[1]], "relu", [[1, 2]])
    with pytest.raises(InvalidSystem, match="one number N"):
        S4Channels([LTI([0], [1], [1]), LTI([0, 0], [1, 1], [1, 1])])
    with pytest.raises(InvalidSystem, match="rational"):
        S4Channels([LTI([0.5], [1.0], [1.0])])
