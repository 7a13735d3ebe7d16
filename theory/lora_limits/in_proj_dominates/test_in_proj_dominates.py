"""lora_limits.in_proj_dominates: whole blocks before and after, certificates of what no in_proj does, and mistakes."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.conftest import GLANCE
from theory.core import linalg
from theory.core.errors import InvalidInput, KindMismatch, UnknownName
from theory.lora_limits.in_proj_dominates import claim as in_proj_dominates
from theory.lora_limits.in_proj_dominates import instances as mixer_examples
from theory.lora_limits.in_proj_dominates.block import (
    MixerBlock,
    _outputs,
    _Series,
    matching_equations,
    parallel,
    probes,
    separating_input,
)
from theory.lora_limits.in_proj_dominates.claim import CLAIM, in_proj_update, out_of_reach, row_count
from theory.lora_limits.in_proj_dominates.instances import (
    converses,
    one_delay,
    one_output,
    one_skip,
    tasks,
    tied_rows,
    two_decays,
)
from theory.verification.claim import Assumption, Check, Profile, Verdict

F = Fraction


def objects(values):
    return np.array(values, dtype=object)


def as_floats(block: MixerBlock) -> MixerBlock:
    names = ("W_in", "W_B", "W_C", "W_dn", "v", "W_out", "rates", "D_skip")
    taps = None if block.taps is None else np.array(block.taps, dtype=float)
    return MixerBlock(*[np.array(getattr(block, name), dtype=float) for name in names], taps)


@given(tasks())
def test_construction(task):
    in_proj_dominates.check_construction(task)


@given(st.one_of(tasks("dynamics"), tasks("skip"), tasks("taps"), tasks("deficient")))
def test_extra_rows(task):
    in_proj_dominates.check_extra_rows(task)


@given(converses())
def test_converse(c):
    in_proj_dominates.check_converse(c)


@given(tasks())
def test_a_spoiled_update_is_noticed(task):
    """Negative twin of the construction: reads that are off by one row no longer satisfy S W_in = S* W_in*."""
    found = in_proj_update(task.frozen, task.target)
    spoiled = np.array(found.update)
    spoiled[0, 0] += F(1, 7)  # W_B reads channel 1 with weight 1, so B moves
    s = np.concatenate([task.frozen.selectors(), task.frozen.W_out])
    t = np.concatenate([task.target.selectors(), task.target.W_out])
    wanted = linalg.matmul(t, task.target.W_in)
    assert np.all(linalg.matmul(s, task.frozen.W_in + found.update) == wanted)
    assert np.any(linalg.matmul(s, task.frozen.W_in + spoiled) != wanted)


def test_outputs_notice_a_spoiled_update():
    task = one_skip()
    plain, target = (replace(b, D_skip=objects([F(1)] * 4)) for b in (task.frozen, task.target))
    found = in_proj_update(plain, target)
    tokens = [objects([F(2)]), objects([F(-1)])]
    right = target.run(tokens)
    assert np.all(plain.run(tokens, plain.W_in + found.update) == right)
    spoiled = found.update.copy()
    spoiled[3, 0] += F(1, 1000)
    assert not np.all(plain.run(tokens, plain.W_in + spoiled) == right)


@pytest.mark.parametrize("build", [tied_rows, two_decays, one_skip, one_delay])
@pytest.mark.parametrize("clock", ["rational", "softplus"])
def test_no_in_proj_reproduces_the_broken_systems(build, clock):
    task = build()
    assert not in_proj_update(task.frozen, task.target).possible
    assert out_of_reach(task.frozen, task.target, clock=clock)
    assert not out_of_reach(task.frozen, task.frozen, clock=clock)  # negative twin: its own function is in reach


def test_unsolvable_rows_do_not_prove_that_the_function_is_out_of_reach():
    """W_C = W_B, d_model = 1: the rows ask for B ≠ C, the output has only B C z_4, and W_in = (1, 0, 1, 2) gives it."""
    rows = np.eye(4, dtype=int).astype(object) * F(1)
    w = objects([[F(1)], [F(2)], [F(1)], [F(1)]])
    frozen = mixer_examples._block(w, rows[0], rows[0], rows[2], [rows[3]])
    target = replace(frozen, W_C=rows[1:2])
    assert not in_proj_update(frozen, target).possible
    other = objects([[F(1)], [F(0)], [F(1)], [F(2)]])
    tokens = [objects([F(x)]) for x in (1, -2, 3, 5)]
    assert np.all(frozen.run(tokens, other) == target.run(tokens))
    assert not out_of_reach(frozen, target)
    assert in_proj_dominates.reproduced(mixer_examples.Task(frozen, target, tuple(tokens)))


@given(tasks().filter(lambda t: t.frozen.W_in.size <= 4))
def test_equations_vanish_at_the_update(task):
    """Soundness of the certificate: a found in_proj satisfies every equation, another one in general does not."""
    found = in_proj_update(task.frozen, task.target)
    new = task.frozen.W_in + found.update
    at = [x for row in new for x in row]
    equations = matching_equations(task.frozen, task.target, order=3, length=2)
    for p in equations:
        assert (
            sum(
                F(int(c.numerator), int(c.denominator)) * math.prod(x**k for x, k in zip(at, powers, strict=False))
                for powers, c in p.items()
            )
            == 0
        )


@pytest.mark.parametrize("clock", ["rational", "softplus"])
@pytest.mark.parametrize("build", [two_decays, one_delay, one_skip])
def test_series_are_the_outputs(build, clock):
    """The polynomials agree with the running block up to the next order in the tokens, and not beyond it."""
    block, order = build().frozen, 5
    d, eps = len(block.W_in), F(1, 50)
    ring = _Series(d, 2, order, clock)
    w = [[ring.number(x) for x in row] for row in block.W_in]
    series = _outputs(block, w, [[ring.x[0]], [ring.x[1]]], ring, clock)
    at = [F(3, 4) * eps, -eps]
    tokens = [objects([x]) for x in at]
    log2 = np.log(2.0)

    def value(p, keep):
        total = 0
        for monomial, c in p.items():
            powers = monomial[d:]
            if sum(powers) <= keep:
                number = (
                    F(int(c.numerator), int(c.denominator)) if clock == "rational" else float(c.as_expr().subs(ring.log2, log2))
                )
                total += number * at[0] ** powers[0] * at[1] ** powers[1]
        return total

    run = block.run(tokens) if clock == "rational" else as_floats(block).run([np.array(u, dtype=float) for u in tokens])
    gaps = {keep: max(abs(float(run[t][0] - value(series[t][0], keep))) for t in range(2)) for keep in (order, 2)}
    assert gaps[order] < 4 * float(eps) ** (order + 1)
    assert gaps[2] > 4 * float(eps) ** (order + 1)  # negative twin: without the third order


@pytest.mark.parametrize("d_model", [2, 3, 4])
def test_selectors_cannot_turn_the_first_output(d_model):
    """W_out W_in = I, W_in* exchanges two outputs: e_1 + 2 e_2 separates whatever the selectors."""
    eye = np.eye(d_model + 1, d_model, dtype=int).astype(object) * F(1)
    spare = objects([[F(0)] * d_model + [F(1)]])
    frozen = MixerBlock(
        eye, spare, spare, spare, objects([F(1)]), eye.T, objects([[1]] * (d_model + 1)), objects([F(1)] * (d_model + 1))
    )  # fmt: skip
    u = separating_input(frozen, eye[[1, 0, *range(2, d_model + 1)]])
    assert u is not None
    assert separating_input(frozen, eye * F(3)) is None  # negative twin: another length, the same direction


def test_a_separating_token_beyond_one():
    """C·B + δ = 1 − u_1² times the minor u_1 u_2 vanishes on {−1, 0, 1}²: only tokens with u_1 = ±2 separate."""
    eye, one = objects([[F(1), F(0)], [F(0), F(1)]]), objects([[1], [1]])
    W_B, W_C, silent = objects([[F(1), F(0)]]), objects([[F(-1), F(0)]]), objects([[F(0), F(0)]])
    frozen = MixerBlock(eye, W_B, W_C, silent, objects([F(1)]), eye, one, objects([F(1), F(1)]))
    u = separating_input(frozen, eye * objects([[F(1)], [F(2)]]))
    assert u is not None and abs(u[0]) == 2 and u[1] != 0


def test_one_output_is_reproduced_by_selectors():
    c = one_output()
    assert not in_proj_dominates.missed(c)
    assert in_proj_dominates.missed(replace(c, selectors=c.selectors * F(2)))
    assert separating_input(c.frozen, c.wanted) is None


def test_an_output_where_the_frozen_one_is_zero_separates():
    """W_in = 0: every vector is parallel to the frozen output, none but 0 is a multiple of it. Drawn by the long profile."""
    zero = np.full((3, 2), F(0), dtype=object)
    row = np.array([[F(0), F(0), F(1)]], dtype=object)
    wanted = zero.copy()
    wanted[2, 1] = F(1)
    rates, skip = np.full((3, 1), F(1), dtype=object), np.full(3, F(0), dtype=object)
    out = np.array([[F(0)] * 3, [F(0), F(0), F(1)]], dtype=object)
    frozen = MixerBlock(zero, row, row, 0 * row, np.array([F(1)], dtype=object), out, rates, skip, None)
    c = mixer_examples.Converse(frozen, wanted, np.full((3, 3), F(0), dtype=object))
    in_proj_dominates.check_converse(c)
    u = separating_input(frozen, wanted)
    assert u is not None and parallel(c.target.run([u])[0], [F(0), F(0)]) and np.any(c.target.run([u])[0])


def test_probes_decide_quadratic_forms():
    """q(x) = x_1 x_2 vanishes at every e_i and not at e_1 + e_2, which is why the sums are there."""
    assert [u[0] * u[1] for u in probes(3)] == [0, 0, 0, 1, 0, 0]
    assert parallel([1, 2], [2, 4])
    assert parallel([1, 2], [0, 0])
    assert not parallel([1, 2], [2, 3])


def test_counts():
    assert row_count(768, 16) == 801 <= 1536
    assert row_count(768, 16, general_skip=True) == 1569 > 1536
    assert row_count(1, 1) == 4


@pytest.mark.parametrize("assumption", CLAIM.assumptions, ids=lambda a: a.name)
def test_assumptions(assumption: Assumption):
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED


@pytest.mark.parametrize("check", CLAIM.checks, ids=lambda k: k.name)
def test_checks(check: Check):
    assert check.run(Profile("few", 5)).verdict is not Verdict.REFUTED


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: in_proj_update(one_skip().frozen, one_delay().target), InvalidInput, "D_skip"),
        (lambda: in_proj_update(*[as_floats(b) for b in (one_skip().frozen, one_skip().target)]), KindMismatch, "W_out"),
        (lambda: out_of_reach(one_skip(9).frozen, one_skip(9).target), InvalidInput, "9 unknowns"),
        (lambda: out_of_reach(one_skip().frozen, one_skip().target, clock="relu"), UnknownName, "softplus"),
        (lambda: out_of_reach(one_skip().frozen, one_skip().target, order=0), InvalidInput, "order"),
        (lambda: separating_input(two_decays().frozen, two_decays().target.W_in), InvalidInput, "rates"),
        (lambda: separating_input(tied_rows().frozen, [[1, 2]]), InvalidInput, "shape"),
        (lambda: row_count(0, 16), InvalidInput, "d_model"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()
