"""prefix_state.depth: inclusions on whole stacks, strictness certificates, and mistakes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.core.claim import PROFILES, Verdict
from theory.core.errors import InvalidInput, InvalidSystem
from theory.core.selective import SelectiveSSM
from theory.core.strategies import matrices
from theory.prefix_state import depth
from theory.prefix_state.blocks import (
    Block,
    prefixes_to_states,
    prompt_to_prefixes,
    tokens_of,
    with_prefixes,
    with_prompt,
    with_states,
)


@given(depth.settings())
def test_containment(s):
    depth.check_containment(s)


@given(st.tuples(depth.settings((1, 2)), matrices(2, 2, 1)))
def test_free_prefixes(instance):
    depth.check_prefix_to_state(instance)


def block(activation="linear", taps=(1, 1)):
    return Block([[1]], [list(taps)], SelectiveSSM([[1]], [[1]], dt=1, decay=[["1/2"]]), [[1]], activation)


def row(*values):
    return np.array([Fraction(v) for v in values], dtype=object)


def test_one_block_by_hand():
    """v = u, z_t = v_t + v_{t−1}, h = h/2 + z², out = u + z h: prompt 1 and input 1 give z = 2, h = 9/2, out = 10."""
    assert with_prompt([block()], [row(1)], [row(1)])[0][0] == 10
    states = prefixes_to_states([block()], [[row(1)]])
    assert states[0].window[0, 0] == 1
    assert states[0].h[0, 0] == 1
    assert with_states([block()], states, [row(1)])[0][0] == 10


@pytest.mark.parametrize(("activation", "z"), [("linear", -2), ("relu", 0), ("quadratic", 2)])
def test_activations(activation, z):
    assert block(activation).activate(row(-2))[0] == z


def test_a_deep_prompt_is_not_the_same_tokens_everywhere():
    """Negative twin: repeating the prompt's tokens at every layer is another function."""
    stack, prompt, inputs = [block(), block()], [row(1)], [row(1), row(2)]
    right = with_prompt(stack, prompt, inputs)
    assert all(
        np.all(x == y) for x, y in zip(with_prefixes(stack, prompt_to_prefixes(stack, prompt), inputs), right, strict=True)
    )
    assert not all(np.all(x == y) for x, y in zip(with_prefixes(stack, [prompt, prompt], inputs), right, strict=True))


def test_certificates_at_every_shape():
    for shape in depth.SHAPES:
        ranks = depth.certify(shape)
        assert ranks.prompt.rank <= shape.tokens * shape.d_model < ranks.prefix.rank
        assert ranks.prefix.rank <= ranks.prefix.n_parameters
        assert ranks.state.rank <= ranks.state.n_parameters


def test_one_layer_has_no_certificate():
    """Negative twin: prompt and prefix coincide, so a certificate here would be a bug."""
    for shape in depth.SHAPES:
        ranks = depth.certify(replace(shape, layers=1))
        assert ranks.prefix.n_parameters == ranks.prompt.n_parameters
        assert not ranks.prompt_strict


def test_all_assumptions_and_checks_at_quick():
    for check in depth.CLAIM.checks:
        assert check.run(PROFILES["quick"]).verdict is not Verdict.REFUTED
    for assumption in depth.CLAIM.assumptions:
        assert assumption.examine(PROFILES["quick"]).verdict is Verdict.REFUTED


def test_bad_input():
    with pytest.raises(InvalidInput, match="d_model = 1"):
        tokens_of([[1, 2]], 1, "prompt")
    with pytest.raises(InvalidInput, match="M ≥ 1"):
        tokens_of([], 1, "prompt")
    with pytest.raises(InvalidSystem, match="silu"):
        block("silu")
    with pytest.raises(InvalidSystem, match="d_inner"):
        Block([[1]], [[1], [1]], SelectiveSSM([[1]], [[1]], dt=1, decay=[["1/2"]]), [[1]])
