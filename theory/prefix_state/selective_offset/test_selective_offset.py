"""prefix_state.selective_offset: checks, the state that acts as an offset on two tokens, and the map of tokens."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from theory.conftest import GLANCE
from theory.core.selective import SelectiveSSM
from theory.verification.claim import Verdict
from theory.verification.refutation import Refuted

from . import claim as own


def test_a_state_that_acts_as_an_offset_on_two_tokens() -> None:
    short = own.ASSUMPTIONS[0].counterexample.build()
    tokens = own.exact([[2], [5], [3]])
    state = own.added(short.module, "state", own.exact([[8, -9]]), tokens)
    offset = own.added(short.module, "offset (h)", own.exact([[1, 0]]), tokens)
    assert np.all(state[:2] == offset[:2]) and state[2] != offset[2]
    assert own.shared(short, "state", "offset (h)") == 1
    assert own.shared(own.Setting(short.module, 3), "state", "offset (h)") == 0  # negative twin
    assert own.needed(short) == 3


def test_offsets_of_the_output_are_no_linear_map() -> None:
    s = own.one(Fraction(1, 2), 1)
    assert own.shared(s, "offset (h)", "offset (y)") == 0 and own.shared(s, "state", "offset (h)") == 1


def test_maps_of_tokens() -> None:
    module = SelectiveSSM([[1, 0]], [[1, 2]], dt=1, decay=[["1/2"], ["1/3"]])
    assert own.offset_for(module, own.exact([[1, 2], [3, 6]])).tolist() == [[1], [3]]
    assert own.offset_for(module, own.exact([[1, 0], [0, 1]])) is None  # the identity, a skip, is none
    with pytest.raises(Refuted):
        own.check_apart(own.one(1, 3))


def test_the_channel_of_most_decays_counts() -> None:
    """Channel 1 has one decay and channel 2 two: three tokens tell the methods apart, two do not."""
    module = SelectiveSSM([[1, 0], [1, 0]], [[1, 0], [1, 0]], dt=1, decay=[["1/2", "1/2"], ["1/2", "1/3"]])
    assert own.needed(own.Setting(module, 3)) == 3
    assert own.apart(own.Setting(module, 3)) and not own.apart(own.Setting(module, 2))


@pytest.mark.parametrize("check", own.CLAIM.checks, ids=lambda c: c.name)
def test_checks(check: own.Check) -> None:
    assert check.run(GLANCE).verdict in (Verdict.PROVED, Verdict.EXACT)


@pytest.mark.parametrize("assumption", own.ASSUMPTIONS, ids=lambda a: a.name)
def test_assumptions(assumption: own.Assumption) -> None:
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED
