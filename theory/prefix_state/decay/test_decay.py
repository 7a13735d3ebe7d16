"""prefix_state.decay: the bounds, their rate, half-lives, and the slips that must be caught."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction as F
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.conftest import GLANCE
from theory.core import linalg
from theory.core.errors import InvalidInput, InvalidSystem
from theory.core.lti import LTI
from theory.core.scalars import gaussian
from theory.core.selective import SelectiveSSM
from theory.core.strategies import paired_lti
from theory.verification.claim import Assumption, Profile, Verdict

from . import claim as claim
from . import instances as props
from .fading import (
    decay_bound,
    half_life,
    half_life_range,
    half_lives,
    selective_decay_bound,
    selective_decay_bound_squared,
    visible_states,
)


@given(props.fades())
def test_lti_bound(f: props.Fade) -> None:
    props.check_bound(f)


@given(props.dominated())
def test_rate(f: props.Fade) -> None:
    props.check_rate(f)


@given(props.selected())
def test_selective_bound(s: props.Selected) -> None:
    props.check_selective_bound(s)


@pytest.mark.parametrize("assumption", claim.ASSUMPTIONS, ids=lambda a: a.name)
def test_assumptions(assumption: Assumption) -> None:
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED


# -- negative twins --------------------------------------------------------------------------------------------------------


@given(props.dominated())
def test_twin_one_power_more_is_no_bound(f: props.Fade) -> None:
    """ρ^{t+1} fails for a single visible mode, where the bound is an equality; ρ^{t−1} is not attained."""
    n = max(visible_states(f.system, list(f.h0)), key=lambda i: abs(f.system.a[i]))
    h0 = [x if i == n else 0 for i, x in enumerate(f.h0)]
    one = replace(f, h0=tuple(h0))
    o, bound = one.response(f.length), one.bound()
    assert [abs(x) for x in o] == bound
    assert all(abs(x) > b * one.rate() for x, b in zip(o, bound, strict=True))


@given(props.dominated())
def test_twin_any_faster_rate_is_caught(f: props.Fade) -> None:
    """With the second largest modulus in place of ρ the rate is not the response's, nor the bound a bound in the end."""
    t = props.settled(f)
    faster = f.rate() * F(9, 10)
    o = f.response(2 * t + 40)
    size = sum(abs(c * h) for c, h in zip(f.system.c, f.h0, strict=True))
    lead = max(visible_states(f.system, list(f.h0)), key=lambda i: abs(f.system.a[i]))
    share = abs(f.system.c[lead] * f.h0[lead]) / size
    late = 2 * t + 40
    if share * F(3, 4) > F(9, 10) ** late:
        assert abs(o[late - 1]) > size * faster**late


@given(props.fades(paired_lti(max_pairs=1)))
def test_twin_half_storage_counts_twice(f: props.Fade) -> None:
    """The stored system's bound is that of the closed system: twice the sum over the stored half."""
    full = f.system.closed()
    h = f.system.state(list(f.h0))
    closed = [*h, *(x if isinstance(x, F) else gaussian(*_parts(x, -1)) for x in h)]
    ours, theirs = (decay_bound(s, x, f.length) for s, x in ((f.system, list(f.h0)), (full, closed)))
    assert [float(x) for x in ours] == pytest.approx([float(x) for x in theirs], rel=1e-14)


def _parts(x: Any, sign: int) -> tuple[F, F]:
    return F(int(x.x.numerator), int(x.x.denominator)), sign * F(int(x.y.numerator), int(x.y.denominator))


@given(props.selected(), st.integers(0, 2))
def test_twin_the_product_of_decays_includes_the_current_token(s: props.Selected, t: int) -> None:
    """N = 1 is an equality, so Π over s < t or s ≤ t + 1 is another number unless δy is 0."""
    (module,) = s.modules
    assert module.W_C is not None
    one = SelectiveSSM(module.W_B[:1], module.W_C[:1], D_skip=module.D_skip, clock=_first_state(module))
    single = replace(s, modules=(one,), h0=s.h0[:, :1])
    bound, change = single.bound_squared(), single.change()
    t = min(t, len(s.z) - 1)
    decay = one.clock(s.z[t])[1][:, 0]
    for d in range(one.n_channels):
        assert change[t, d] ** 2 == bound[t, d]
        if change[t, d] != 0:
            assert change[t, d] ** 2 not in (bound[t, d] * decay[d] ** 2, bound[t, d] / decay[d] ** 2)


def _first_state(module: SelectiveSSM) -> Any:
    def clock(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        dt, decay = module.clock(z)
        return dt, decay[:, :1]

    return clock


@given(props.selected())
def test_twin_b_does_not_enter(s: props.Selected) -> None:
    """δy sees W_C, not W_B: any other W_B leaves it, swapping the two does not leave the bound's ‖C_t‖."""
    (module,) = s.modules
    assert module.W_C is not None
    other = SelectiveSSM(2 * module.W_B + 1, module.W_C, D_skip=module.D_skip + 1, clock=module._clock)
    moved = replace(s, modules=(other,))
    assert np.array_equal(s.change(), moved.change())
    assert np.array_equal(s.bound_squared(), moved.bound_squared())
    louder = replace(s, modules=(SelectiveSSM(module.W_B, 2 * module.W_C, D_skip=module.D_skip, clock=module._clock),))
    assert np.array_equal(louder.bound_squared(), 4 * s.bound_squared())


# -- worked examples -------------------------------------------------------------------------------------------------------


def test_lti_by_hand() -> None:
    """a = (1/2, 1/3), c = 1, h_0 = (1, −1): |o_t| = 2^−t − 3^−t ≤ 2·2^−t; with h_0 = (0, 1) the rate is 1/3, not 1/2."""
    system = LTI(["1/2", "1/3"], [1, 1], [1, 1])
    assert decay_bound(system, [1, -1], 3).tolist() == [1, F(1, 2), F(1, 4)]
    assert decay_bound(system, [0, 1], 2).tolist() == [F(1, 3), F(1, 9)]
    assert visible_states(system, [0, 1]) == (1,)
    assert decay_bound(system, [0, 0], 2).tolist() == [0, 0]


def test_a_pair_by_hand() -> None:
    """Stored a = i/2, c = h_0 = 1: o = 0, −1/2, 0, 1/8 and the bound 2·2^−t is met at even t."""
    system = LTI([gaussian(0, "1/2")], [1], [1], half=True)
    assert system.free_response([1], 4).tolist() == [0, F(-1, 2), 0, F(1, 8)]
    assert decay_bound(system, [1], 4).tolist() == [1, F(1, 2), F(1, 4), F(1, 8)]


def test_irrational_moduli_are_rounded_upwards() -> None:
    """a = (1 + i)/2 has |a| = 1/√2: at t = 8, |a|^8 = 1/16 and the float is the least above 2/16 or close to it."""
    system = LTI([gaussian("1/2", "1/2")], [1], [1], half=True)
    bound = decay_bound(system, [1], 8)
    assert bound.dtype == np.float64
    assert F(bound[7]) >= F(2, 16) and bound[7] == pytest.approx(2 / 16, rel=1e-15)
    assert all(F(b) ** 2 >= 4 * F(1, 2) ** t for t, b in enumerate(bound, start=1))


def test_selective_by_hand() -> None:
    """Constant clock E = (1/2, 1/4), W_C = (1, 0): C_t = z_t (1, 0), h_0 = (3, 4): δy_t = 3 z_t 2^−t ≤ |z_t| 5·2^−t."""
    module = SelectiveSSM([[1], [1]], [[1], [0]], dt=1, decay=[["1/2", "1/4"]])
    squared = selective_decay_bound_squared(module, [[2], [-1]], [[3, 4]])
    assert squared.tolist() == [[25], [F(25, 16)]]
    assert (module.run([[2], [-1]], [[3, 4]])[0] - module.run([[2], [-1]])[0]).tolist() == [[3], [F(-3, 4)]]
    assert selective_decay_bound(module, [[2], [-1]], [[3, 4]]).tolist() == [[5.0], [1.25]]
    # a state of 0 has no say: with h_0 = (0, 4) the slow decay 1/2 is not used
    assert selective_decay_bound_squared(module, [[2]], [[0, 4]]).tolist() == [[4 * 16 * F(1, 16)]]


def test_softplus_clock_uses_the_steps_so_far() -> None:
    """exp(−min|A| Σ_{s≤t} dt_s) with dt = softplus: three tokens, by hand."""
    module = SelectiveSSM([[1.0]], [[1.0]], A=[[-2.0]], dt_bias=[-1.0], W_dn=[[1.0]], W_up=[[0.5]])
    z = [[1.0], [3.0], [-2.0]]
    steps = np.cumsum([math.log1p(math.exp(0.5 * x - 1)) for (x,) in z])
    expected = [abs(x) * 4 * math.exp(-2 * total) for (x,), total in zip(z, steps, strict=True)]
    assert selective_decay_bound(module, z, [[4.0]])[:, 0].tolist() == pytest.approx(expected, rel=1e-14)


def test_half_life() -> None:
    assert half_life(F(1, 2)) == 1.0 and half_life(F(1, 4)) == 0.5 and half_life(-0.5) == 1.0
    assert half_life(gaussian("1/2", "1/2")) == pytest.approx(2.0, rel=1e-15)  # |a|² = 1/2
    assert half_life(1) == math.inf and half_life(0) == 0.0
    near = half_life(F(10**30 - 1, 10**30))  # no float is this close to 1
    assert near == pytest.approx(math.log(2) * 1e30, rel=1e-15)
    many = half_life([[0.5, 0.25], [0.5j, 1.0]])
    assert many.tolist() == [[1.0, 0.5], [1.0, math.inf]]


def test_half_lives_of_a_layer() -> None:
    """A = −1, −2 at dt = 0.1 and −1, −4 at dt = 0.2: ln 2/(|A| dt); over tokens, the range."""
    A = [[-1.0, -2.0], [-1.0, -4.0]]
    ln2 = math.log(2)
    np.testing.assert_allclose(half_lives(A, [0.1, 0.2]), [[ln2 / 0.1, ln2 / 0.2], [ln2 / 0.2, ln2 / 0.8]], rtol=1e-15)
    tokens = np.array([[[0.1, 0.2], [0.4, 0.1]], [[0.2, 0.3], [0.1, 0.2]]])
    assert half_lives(A, tokens).shape == (2, 2, 2, 2)
    found = half_life_range(A, tokens)
    np.testing.assert_allclose(found.shortest[:, 0], [ln2 / 0.4, ln2 / 0.3], rtol=1e-15)
    np.testing.assert_allclose(found.longest[:, 0], [ln2 / 0.1, ln2 / 0.1], rtol=1e-15)
    assert np.all(found.shortest <= found.median) and np.all(found.median <= found.longest)
    # a decay exp(dt A) halves in the same number of tokens; Im A does not matter
    assert half_lives([[-1.0 + 5.0j]], [0.25])[0, 0] == pytest.approx(half_life(np.exp(0.25 * (-1 + 5j))), rel=1e-13)


def test_rational_root() -> None:
    assert linalg.rational_root(F(9, 16)) == F(3, 4) and linalg.rational_root(F(0)) == 0
    assert linalg.rational_root(F(2)) is None and linalg.rational_root(F(1, 8)) is None


# -- bad input -------------------------------------------------------------------------------------------------------------

_MODULE = SelectiveSSM([[1]], [[1]], dt=1, decay=[["1/2"]])


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: half_life(1.5), InvalidSystem, "a = 1.5 has"),
        (lambda: half_life(math.nan), InvalidInput, "not finite"),
        (lambda: half_life(LTI([1], [1], [1], check_stable=False).to("symbolic").a * 1), None, ""),
        (lambda: half_lives([[-1.0]], [0.0]), InvalidSystem, "dt must be positive"),
        (lambda: half_lives([[0.5]], [0.1]), InvalidSystem, "the largest is 0.5"),
        (lambda: half_lives([[-1.0]], [0.1, 0.2]), InvalidInput, r"dt has shape \(2,\)"),
        (lambda: half_lives([-1.0], [0.1]), InvalidInput, "A: expected 2"),
        (lambda: half_lives([[-1.0]], 0.1), InvalidInput, "dt has shape"),
        (lambda: half_lives([[-1e-200]], [1e-200]), InvalidInput, "underflows"),
        (lambda: half_lives([[-1.0]], [[math.nan]]), InvalidInput, "not finite"),
        (lambda: half_lives(np.zeros((1, 0)), [0.1]), InvalidInput, "N ≥ 1"),
        (lambda: decay_bound(LTI(["1/2"], [1], [1]), [1, 2], 3), InvalidInput, "h0 has shape"),
        (lambda: decay_bound(LTI(["1/2"], [1], [1]), [1], 0), InvalidInput, "length = 0"),
        (lambda: decay_bound(LTI(["1/2"], [1], [1]).to("symbolic"), [1], 2), InvalidInput, "symbols"),
        (lambda: decay_bound("s6", [1], 2), InvalidInput, "selective_decay_bound"),  # type: ignore[arg-type]
        (lambda: selective_decay_bound(LTI(["1/2"], [1], [1]), [[1]], [[1]]), InvalidInput, "decay_bound"),  # type: ignore[arg-type]
        (lambda: selective_decay_bound(SelectiveSSM([[1]], dt=1, decay=[["1/2"]]), [[1]], [[1]]), InvalidInput, "W_C"),
        (lambda: selective_decay_bound(_MODULE, [], [[1]]), InvalidInput, "empty"),
        (lambda: selective_decay_bound(_MODULE, [[1, 2]], [[1]]), InvalidInput, "expected shape"),
        (lambda: selective_decay_bound(_MODULE, [[1]], [1]), InvalidInput, "h0 has shape"),
    ],
)
def test_bad_input(call: Any, error: type | None, says: str) -> None:
    if error is None:  # rationals in sympy's clothes are exact numbers, not symbols
        assert call()[0] == math.inf
        return
    with pytest.raises(error, match=says):
        call()


def test_claim_at_a_glance() -> None:
    outcomes = [c.run(Profile("tiny", 6)) for c in claim.CLAIM.checks]
    assert {c.part for c in claim.CLAIM.checks if c.part} == {"LTI bound", "LTI rate", "S6 bound"}
    assert {o.verdict for o in outcomes} == {Verdict.EXACT, Verdict.NUMERIC}
    table = outcomes[-1].data["table"]
    mamba = {row["dt"]: row["half_life_slowest"] for row in table if row["initialisation"] == "mamba"}
    assert mamba == {1e-3: 693.1, 1e-2: 69.31, 1e-1: 6.931}
