"""What the strategies promise holds for every draw, and what they must be able to draw does turn up."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.core import linalg
from theory.core import strategies as own
from theory.core.lti import LTI
from theory.core.scalars import abs2, imag, is_zero, real, tidy
from theory.core.selective import SelectiveSSM
from theory.core.ssd import Mamba2Head
from theory.verification.claim import run_instances

F = Fraction


Wanted = Callable[[Any], bool]


def counts(strategy: st.SearchStrategy[Any], draws: int, *wanted: Wanted) -> list[int]:
    """How many of some repeatable draws are as wanted, for each wish."""
    seen: list[Any] = []
    run_instances(seen.append, strategy, draws)
    return [sum(map(w, seen)) for w in wanted]


@given(st.integers(1, 5), st.booleans(), st.data())
def test_rationals(bound: int, nonzero: bool, data: Any) -> None:
    x = data.draw(own.rationals(bound, nonzero=nonzero))
    assert type(x) is Fraction and abs(x) <= 3 * bound and x.denominator in (1, 2, 3) and not (nonzero and x == 0)


def test_rationals_reach_their_bound() -> None:
    """|p| ≤ 3·bound is attained on both sides; 0 only where it is allowed."""
    values: list[Wanted] = [lambda x, v=v: x == v for v in (-6, 6, 0, F(1, 3), F(-3, 2))]  # type: ignore[misc]
    assert all(counts(own.rationals(2), 250, *values)) and counts(own.rationals(2), 250, lambda x: abs(x) > 6) == [0]
    assert counts(own.rationals(1, nonzero=True), 200, lambda x: x == 0) == [0]


@given(st.integers(0, 4), st.integers(0, 4), st.booleans(), st.data())
def test_vectors_and_matrices(rows: int, columns: int, nonzero: bool, data: Any) -> None:
    v, m = data.draw(own.vectors(columns, 2, nonzero=nonzero)), data.draw(own.matrices(rows, columns))
    assert len(v) == columns and (not nonzero or all(v))
    assert len(m) == rows and all(len(row) == columns for row in m)
    assert len(data.draw(own.inputs(rows))) == rows


@given(st.booleans(), st.booleans(), st.data())
def test_decay(zero: bool, negative: bool, data: Any) -> None:
    a = data.draw(own.decay(zero=zero, negative=negative))
    assert type(a) is Fraction and abs(a) < 1 and (zero or a != 0) and (negative or a >= 0)


def test_decays_of_every_sign_turn_up() -> None:
    signs: tuple[Wanted, ...] = (lambda a: a < 0, lambda a: a > 0, lambda a: a == 0)
    below, above, none = counts(own.decay(), 200, *signs)
    assert below and above and not none and all(counts(own.decay(zero=True), 200, *signs))
    below, above, none = counts(own.decay(zero=True, negative=False), 200, *signs)
    assert not below and above and none


@given(st.integers(1, 5), st.booleans(), st.data())
def test_decays(n: int, negative: bool, data: Any) -> None:
    a = data.draw(own.decays(n, negative=negative))
    assert len(a) == len(set(a)) == n and all(0 < abs(v) < 1 for v in a) and (negative or min(a) > 0)


def test_equal_decays_turn_up_on_request() -> None:
    assert counts(own.decays(3, distinct=False), 100, lambda a: len(set(a)) < 3)[0]
    assert not counts(own.decays(3), 100, lambda a: len(set(a)) < 3)[0]


@given(own.complex_decay())
def test_complex_decay(z: Any) -> None:
    assert abs2(z) < 1 and imag(z) != 0


@given(own.gaussians(), own.gaussians(nonzero=True))
def test_gaussians(z: Any, w: Any) -> None:
    assert not is_zero(w) and abs2(z) <= 2 * 9**2


def test_gaussians_turn_up_everywhere() -> None:
    signs: tuple[Wanted, ...] = (lambda z: imag(z) < 0, lambda z: imag(z) > 0)
    assert all(counts(own.gaussians(), 150, is_zero, lambda z: imag(z) == 0 and not is_zero(z), *signs))
    assert all(counts(own.complex_decay(), 60, *signs))


@given(st.integers(1, 3), st.integers(0, 2), st.data())
def test_real_lti(least: int, more: int, data: Any) -> None:
    system = data.draw(own.real_lti(least, least + more))
    assert least <= system.n_states <= least + more and system.kind == "exact" and not system.half and system.d == 0
    assert len(set(system.a)) == system.n_states and all(0 < abs(a) < 1 for a in system.a)
    assert all(system.b) and all(system.c)


def test_special_channels_turn_up_only_on_request() -> None:
    distinct = own.real_lti(2, 4)
    loose = own.real_lti(2, 4, distinct=False, nonzero_residues=False, zero_mode=True)
    special: tuple[Wanted, ...] = (
        lambda s: len(set(s.a)) < s.n_states,
        lambda s: any(a == 0 for a in s.a),
        lambda s: any(b == 0 for b in s.b),
        lambda s: any(c == 0 for c in s.c),
    )
    assert all(counts(loose, 50, *special)) and not any(counts(distinct, 40, *special))


@given(own.paired_lti(1, 3))
def test_paired_lti(system: LTI) -> None:
    """One of each pair: conjugates of stored modes are not stored, and the closed system's modes are distinct."""
    assert system.half and system.kind == "exact" and 1 <= system.n_states <= 3
    closed = system.closed()
    values = [(real(v), imag(v)) for v in closed.a]
    assert len(set(values)) == 2 * system.n_states and all(y != 0 for _, y in values)
    assert all(not is_zero(v) for v in (*system.b, *system.c)) and system.is_real_system()


def test_conjugates_of_stored_modes_are_not_stored() -> None:
    """Drawn six at a time, conjugate modes would meet often: they do among unrestricted modes."""

    def meet(modes: Any) -> bool:
        return any(real(p) == real(q) and imag(p) == -imag(q) for p, q in combinations(modes, 2))

    loose = st.lists(own.complex_decay(), min_size=6, max_size=6)
    assert counts(loose, 40, meet)[0] and counts(own.paired_lti(6, 6), 40, lambda s: meet(s.a)) == [0]


def test_any_lti_covers_all_storages() -> None:
    storages: tuple[Wanted, ...] = (
        lambda s: s.half,
        lambda s: not s.half and s.n_states >= 4,
        lambda s: len({tidy(v) for v in s.a}) < s.n_states,
        lambda s: any(is_zero(v) for v in s.a),
        lambda s: any(is_zero(b * c) for b, c in zip(s.b, s.c, strict=True)),
    )
    assert all(counts(own.any_lti(), 60, *storages))
    assert counts(own.any_lti(1), 25, lambda s: s.n_states > 1) == [0]


@given(own.selective((1, 2), (2, 3)))
def test_selective(system: SelectiveSSM) -> None:
    assert system.n_channels in (1, 2) and system.n_states in (2, 3) and system.kind == "exact" and system.constant_clock
    assert system.decay is not None and system.W_C is not None
    assert len(set(system.decay.ravel())) == system.decay.size


def test_selective_variants() -> None:
    shared = own.selective((2,), (3,), distinct=False)
    assert counts(shared, 40, lambda s: len(set(s.decay.ravel())) < s.decay.size)[0]
    assert counts(own.selective((1,), (1,), readout=False), 20, lambda s: s.W_C is not None) == [0]


@given(own.mamba2_head(2, 3))
def test_mamba2_head(head: Mamba2Head) -> None:
    assert head.head_dim <= 2 and head.n_states <= 3 and head.d_input == head.head_dim + head.n_states
    assert linalg.rank([*head.W_x.tolist(), *head.W_B.tolist()]) == head.d_input and head.W_C is not None


def test_mamba2_variants() -> None:
    loose = own.mamba2_head(2, 2, independent=False)
    assert counts(loose, 40, lambda h: linalg.rank([*h.W_x.tolist(), *h.W_B.tolist()]) < h.d_input)[0]
    assert counts(own.mamba2_head(readout=False), 20, lambda h: h.W_C is not None) == [0]


@pytest.mark.parametrize("size", [0, 1, 4])
def test_sizes_are_exact(size: int) -> None:
    assert counts(own.vectors(size), 50, lambda v: len(v) != size) == [0]
