"""sparse_dims.essential: equality of channels against outputs, the sharp horizon, and the slips that must be caught."""

from __future__ import annotations

from fractions import Fraction as F

import pytest
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st

from theory.conftest import GLANCE
from theory.core.errors import InvalidInput, InvalidSystem
from theory.core.lti import LTI
from theory.core.scalars import gaussian
from theory.verification.claim import Assumption, Verdict
from theory.verification.decide import decide

from ..draws import distinct_modes, nonzero, nonzeros
from . import claim as es


@given(es.pairs())
def test_equal_outputs_iff_equal_essential_sets(pair: es.Pair) -> None:
    es.check_same_iff(pair)


@given(es.channels())
def test_order_is_the_hankel_rank(system: LTI) -> None:
    es.check_order_is_hankel_rank(system)


@given(es.mode_lists())
def test_horizon_is_sharp(modes: list[F]) -> None:
    es.check_sharp(modes)


@given(es.input_changes())
def test_b_moves_into_c(instance: tuple[LTI, list[F], list[F]]) -> None:
    es.check_input_redundant(instance)


@pytest.mark.parametrize("assumption", es.CLAIM.assumptions, ids=lambda a: a.name)
def test_assumptions(assumption: Assumption) -> None:
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED


def test_claim_is_proved() -> None:
    assert decide(es.CLAIM, GLANCE).verdict in (Verdict.PROVED, Verdict.FORMAL)


# -- worked examples -------------------------------------------------------------------------------------------------------


def test_equal_modes_add_up_and_cancel() -> None:
    split = LTI(["1/2", "1/2", "1/3"], [1, 1, 2], [1, 2, "5/2"])
    e = es.essential_modes(split)
    assert e.residues == {F(1, 2): F(3), F(1, 3): F(5)}
    assert e.order == 2 and e.direct == 0
    assert es.essential_modes(split.replace(c=[1, -1, 0])).order == 0


def test_mode_zero_is_the_skip() -> None:
    dead = LTI([0, "1/2"], [1, 1], [3, 1], -1)
    e = es.essential_modes(dead)
    assert e.residues == {F(1, 2): F(1)} and e.direct == F(2)
    assert e.with_zero() == {F(1, 2): F(1), F(0): F(2)}
    assert es.same_essential(dead, LTI(["1/2"], [1], [1], 2))
    assert es.impulse_response(dead, 3) == [F(3), F(1, 2), F(1, 4)]


def test_half_storage_is_closed_before_grouping() -> None:
    """Stored λ and stored λ̄ are one mode: r = c_1 b_1 + conj(c_2 b_2)."""
    pair = LTI([gaussian("1/2", "1/2"), gaussian("1/2", "-1/2")], [1, 1], [gaussian(1, 1), gaussian(2, 3)], half=True)
    e = es.essential_modes(pair)
    assert e.order == 2
    assert e.residues[gaussian("1/2", "1/2")] == gaussian(3, -2)
    gone = pair.replace(c=[gaussian(1, 1), gaussian(-1, 1)])  # (1 + i) + conj(−1 + i) = 0
    assert es.essential_modes(gone).order == 0


def test_symbolic_modes_are_simplified() -> None:
    a, r = sympy.symbols("a r", nonzero=True)
    first = LTI([(a + 1) ** 2, a], [1, 1], [r, 1])
    second = LTI([a, a**2 + 2 * a + 1], [1, 1], [1, r])
    assert es.same_essential(first, second)
    assert not es.same_essential(first, second.replace(c=[1, 2 * r]))


def test_divided_difference_pair_of_two_modes() -> None:
    first, second = es.indistinguishable_pair([F(1, 2), F(1, 3)])
    assert list(first.c) == [F(6)] and list(second.c) == [F(6)]
    assert es.impulse_response(first, 1) == es.impulse_response(second, 1)
    assert es.impulse_response(first, 2) != es.impulse_response(second, 2)
    assert es.deciding_horizon(first, second) == 2


def test_minimal_form_of_nothing() -> None:
    e = es.essential_modes(es.minimal_form(LTI(["1/2"], [0], [1], 3)))
    assert e.order == 0 and e.direct == 3


# -- negative twins --------------------------------------------------------------------------------------------------------


@given(es.channels(), st.data())
def test_twin_changed_residue_is_noticed(system: LTI, data: st.DataObject) -> None:
    """One c_n off by a nonzero amount on a state with b_n ≠ 0 is another function, and the outputs show it."""
    live = [n for n in range(system.n_states) if system.b[n] != 0]
    assume(live and not system.half)
    c = system.c.copy()
    c[data.draw(st.sampled_from(live))] += data.draw(nonzero)
    other = system.replace(c=c)
    assert not es.same_essential(system, other)
    length = es.deciding_horizon(system, other)
    assert es.impulse_response(system, length) != es.impulse_response(other, length)


@given(distinct_modes(3), nonzeros(3))
def test_twin_shifted_power_is_another_function(modes: list[F], r: list[F]) -> None:
    """Residues r_n a_n (the kernel read one step late) are only the same where nothing moves."""
    system = LTI(modes, [1] * 3, r)
    late = system.replace(c=system.c * system.a)
    assert not es.same_essential(system, late)
    assert list(late.kernel(3)) == list(system.kernel(4))[1:]


@given(distinct_modes(2), nonzeros(2))
def test_twin_without_grouping_equal_modes_would_differ(modes: list[F], r: list[F]) -> None:
    """Listing one state as two halves changes the listed pairs but not the function: grouping is what decides."""
    system = LTI(modes, [1, 1], r)
    halves = LTI([modes[0], modes[0], modes[1]], [1, 1, 1], [r[0] / 2, r[0] / 2, r[1]])
    assert es.same_essential(system, halves)
    assert not es.same_essential(system, halves.replace(c=[r[0] / 2, r[0], r[1]]))


@given(es.mode_lists())
def test_twin_one_output_less_cannot_decide(modes: list[F]) -> None:
    first, second = es.indistinguishable_pair(modes)
    assert not es.equality_is_essential((first, second, len(modes) - 1))
    assert es.equality_is_essential((first, second, len(modes)))


@given(distinct_modes(3), nonzeros(3), nonzeros(3))
def test_twin_moving_b_the_wrong_way_is_caught(modes: list[F], b: list[F], new: list[F]) -> None:
    """c' = c b'/b instead of c b/b' only agrees where b'² = b²."""
    system = LTI(modes, b, [1, 1, 1])
    wrong = system.replace(b=new, c=[n / o for n, o in zip(new, b, strict=True)])
    same = all(n * n == o * o for n, o in zip(new, b, strict=True))
    assert es.same_essential(system, wrong) == same
    assert es.same_essential(system, es.absorb_input(system, new))


# -- errors ----------------------------------------------------------------------------------------------------------------


def test_errors_name_the_value() -> None:
    with pytest.raises(InvalidInput, match="at least two and pairwise distinct"):
        es.indistinguishable_pair(["1/2", "1/2"])
    with pytest.raises(InvalidInput, match="at least two"):
        es.indistinguishable_pair(["1/2"])
    system = LTI(["1/2", "1/3"], [1, 1], [1, 1])
    with pytest.raises(InvalidSystem, match=r"b\[1\] = 0"):
        es.absorb_input(system, [1, 0])
    with pytest.raises(InvalidInput, match="N = 2 states"):
        es.absorb_input(system, [1])
    with pytest.raises(InvalidInput, match="expected an LTI channel"):
        es.essential_modes([1, 2])  # type: ignore[arg-type]
