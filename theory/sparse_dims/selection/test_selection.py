"""sparse_dims.selection: exact derivatives of the warm-up, scores, chance, the claim, and twins that must fail."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given

from theory.conftest import GLANCE
from theory.core.errors import InvalidInput, UnknownName
from theory.verification.claim import Assumption, Verdict
from theory.verification.refutation import Refuted

from . import claim as se
from . import scores as sc
from . import warmup as wu
from .runs import SETTINGS, Setting, comparisons, measure, single_run
from .truth import TrueDimensions

SMALL = Setting(2, 3, 4, 1, 2, 5, batch=3, length=16)


@pytest.fixture(scope="module")
def run() -> tuple[wu.WarmUp, wu.Real, wu.Real, TrueDimensions]:
    return single_run(SMALL, 0)


@pytest.mark.parametrize("assumption", se.CLAIM.assumptions, ids=lambda a: a.name)
def test_assumptions(assumption: Assumption) -> None:
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED


def test_scores_are_a_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(se, "SETTINGS", SETTINGS[::2])
    outcome = se.scores_against_random(GLANCE)
    assert outcome.verdict is Verdict.NUMERIC and outcome.tolerance == 0.01
    assert len(outcome.data["table"]) == 2 * len(sc.SCORES) * 3
    good = {(r["setting"], r["score"]) for r in outcome.data["table"] if r["beats_random"]}
    assert {score for _, score in good} >= {"loss_ablation", "change_of_log_A"}
    assert not {score for _, score in good} & {"random", "magnitude"}
    assert all(r["precision"][1] <= r["precision"][0] <= r["precision"][2] for r in outcome.data["table"])


def test_twin_a_failing_ablation_refutes_the_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """With scores replaced by uniform numbers the check raises instead of reporting."""
    monkeypatch.setattr(se, "SETTINGS", (SMALL,))
    monkeypatch.setitem(sc.SCORES, "loss_ablation", sc.random_score)
    with pytest.raises(Refuted, match="loss ablation failed"):
        se.scores_against_random(GLANCE)


def test_parts_of_the_claim() -> None:
    assert {c.part for c in se.CLAIM.checks} == {"truth is decided", "truth over all edits", "scores"}


# -- the student ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_student_is_the_recurrent_network(activation: str) -> None:
    """The convolution form against the recurrence of DeepS4."""
    rng = np.random.default_rng(1)
    student = wu.initial_student(rng, 2, 3, 4, "relu" if activation == "relu" else "linear")
    x = rng.standard_normal((2, 20, 3))
    network = student.as_network()
    for i in range(2):
        recurrent = network.run(x[i])
        assert np.max(np.abs(recurrent - wu.outputs(student, x)[i])) < 1e-12 * np.max(np.abs(recurrent))


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_gradient_is_the_derivative_of_the_loss(activation: str) -> None:
    rng = np.random.default_rng(2)
    student = wu.initial_student(rng, 2, 3, 4, "relu" if activation == "relu" else "linear")
    teacher = wu.perturbed(rng, student, 1, 2)
    x = rng.standard_normal((2, 20, 3))
    y = wu.outputs(teacher, x)
    value, by_log_A, by_c = wu.loss_and_gradient(student, x, y)
    assert value == wu.loss(student, x, y)
    step = 1e-5
    for name, gradient in (("log_A", by_log_A), ("c", by_c)):
        direction = rng.standard_normal(gradient.shape)
        sides = [replace(student, **{name: getattr(student, name) + s * step * direction}) for s in (1, -1)]
        difference = (wu.loss(sides[0], x, y) - wu.loss(sides[1], x, y)) / (2 * step)
        assert difference == pytest.approx(float((gradient * direction).sum()), rel=1e-6)


def test_zero_gradient_at_the_teacher_and_for_silent_states() -> None:
    rng = np.random.default_rng(3)
    student = wu.initial_student(rng, 1, 2, 3)
    x = rng.standard_normal((2, 16, 2))
    _, by_log_A, by_c = wu.loss_and_gradient(student, x, wu.outputs(student, x))
    assert not by_log_A.any() and not by_c.any()
    c = student.c.copy()
    c[0, 1, 2] = 0.0
    silent = replace(student, c=c)
    _, by_log_A, by_c = wu.loss_and_gradient(silent, x, wu.outputs(student, x))
    assert by_log_A[0, 1, 2] == 0.0 and by_c[0, 1, 2] != 0.0


def test_warm_up_lowers_the_loss(run: tuple[wu.WarmUp, wu.Real, wu.Real, TrueDimensions]) -> None:
    found, x, y, _ = run
    assert len(found.losses) == SMALL.steps
    assert wu.loss(found.after, x, y) < found.losses[0]
    assert (found.before.W == found.after.W).all() and (found.before.dt == found.after.dt).all()


def test_first_steps_by_hand(run: tuple[wu.WarmUp, wu.Real, wu.Real, TrueDimensions]) -> None:
    """Gradient descent moves by lr · gradient; Adam's first step by lr, its second by the bias-corrected moments."""
    found, x, y, _ = run
    plain = wu.warm_up(found.before, x, y, 1, 0.5, "sgd")
    assert np.array_equal(plain.after.c, found.before.c - 0.5 * plain.gradient_c)
    once = wu.warm_up(found.before, x, y, 1, 0.01, eps=1e-300)
    assert np.abs(once.after.c - found.before.c) == pytest.approx(0.01, rel=1e-9)
    g1, g2 = once.gradient_c, wu.loss_and_gradient(once.after, x, y)[2]
    first, second = (0.09 * g1 + 0.1 * g2) / 0.19, (0.000999 * g1**2 + 0.001 * g2**2) / 0.001999
    twice = wu.warm_up(found.before, x, y, 2, 0.01, eps=1e-300)
    assert twice.after.c == pytest.approx(once.after.c - 0.01 * first / np.sqrt(second), rel=1e-9)


def test_teacher_changes_exactly_the_chosen_states() -> None:
    for seed in range(5):
        found, _, _, truth = single_run(SMALL, seed)
        assert truth.defined and len(truth.touched) == SMALL.layers * SMALL.changed_channels * SMALL.changed_states
        assert truth.cost == 2 * len(truth.touched)
        assert len(truth.channels) == SMALL.layers * SMALL.changed_channels
        assert truth.total == found.before.log_A.size


# -- scores and chance ---------------------------------------------------------------------------------------------------------


def test_change_of_a_is_a_difference(run: tuple[wu.WarmUp, wu.Real, wu.Real, TrueDimensions]) -> None:
    found, x, y, _ = run
    rng = np.random.default_rng(0)
    assert (sc.score("change_of_a", replace(found, after=found.before), x, y, rng) == 0).all()
    assert (sc.score("change_of_log_A", replace(found, after=found.before), x, y, rng) == 0).all()
    moved = sc.score("change_of_a", found, x, y, rng)
    assert np.allclose(moved, np.abs(found.after.decay - found.before.decay), rtol=0, atol=0)


def test_twin_sum_instead_of_difference_is_another_ranking(run: tuple[wu.WarmUp, wu.Real, wu.Real, TrueDimensions]) -> None:
    """|a' + a| (the wrong sign) ranks slow states first, whatever moved."""
    found, x, y, _ = run
    rng = np.random.default_rng(0)
    right = sc.top(sc.score("change_of_a", found, x, y, rng), 4, rng)
    wrong = sc.top(found.after.decay + found.before.decay, 4, rng)
    assert right != wrong


def test_loss_ablation_by_hand(run: tuple[wu.WarmUp, wu.Real, wu.Real, TrueDimensions]) -> None:
    found, x, y, _ = run
    values = sc.loss_ablation(found, x, y, np.random.default_rng(0))
    log_A, c = found.after.log_A.copy(), found.after.c.copy()
    log_A[1, 2, 0], c[1, 2, 0] = found.before.log_A[1, 2, 0], found.before.c[1, 2, 0]
    back = replace(found.after, log_A=log_A, c=c)
    assert values[1, 2, 0] == wu.loss(back, x, y) - wu.loss(found.after, x, y)
    assert not sc.loss_ablation(replace(found, after=found.before), x, y, np.random.default_rng(0)).any()


def test_top_takes_the_largest_and_breaks_ties_at_random() -> None:
    rng = np.random.default_rng(0)
    values = np.array([[[0.0, 3.0], [2.0, 1.0]]])
    assert sc.top(values, 2, rng) == {(0, 0, 1), (0, 1, 0)}
    picks = {sc.top(np.zeros((1, 1, 4)), 1, rng) for _ in range(60)}
    assert len(picks) == 4
    assert sc.by_channel(values).tolist() == [[3.0, pytest.approx(5**0.5)]]


def test_precision_and_recall() -> None:
    truth = TrueDimensions(frozenset({(0, 1), (1, 1)}), frozenset(), 6, 2)
    hit = sc.compare([(0, 1), (0, 0), (1, 0)], truth)
    assert (hit.precision, hit.recall, hit.chance) == (1 / 3, 1 / 2, 1 / 3)
    channels = sc.compare_channels([(0,)], truth, 3)
    assert (channels.precision, channels.recall) == (1.0, 0.5)


@pytest.mark.parametrize(("total", "wanted", "chosen", "hits"), [(6, 2, 3, 1), (7, 3, 3, 2), (5, 2, 2, 0)])
def test_chance_is_exact(total: int, wanted: int, chosen: int, hits: int) -> None:
    """The tail of one run against all subsets, and of two runs against all pairs."""
    counts = [len(set(pick) & set(range(wanted))) for pick in combinations(range(total), chosen)]
    one = sum(c >= hits for c in counts) / comb(total, chosen)
    assert sc.chance_of_at_least([sc.Hit(hits, chosen, wanted, total)]) == pytest.approx(one)
    two = sum(a + b >= 2 * hits for a in counts for b in counts) / comb(total, chosen) ** 2
    assert sc.chance_of_at_least([sc.Hit(hits, chosen, wanted, total)] * 2) == pytest.approx(two)


def test_random_and_constant_scores_do_not_beat_random() -> None:
    """Twins of a good score: uniform numbers, and a constant whose ties are broken at random."""
    hits: dict[str, list[sc.Hit]] = {"random": [], "constant": [], "oracle": []}
    for seed in range(12):
        found, _, _, truth = single_run(SMALL, seed)
        rng = np.random.default_rng(seed)
        oracle = np.zeros(found.before.log_A.shape)
        for index in truth.touched:
            oracle[index] = 1.0
        for name, values in (("random", rng.random(oracle.shape)), ("constant", np.ones(oracle.shape)), ("oracle", oracle)):
            hits[name].append(sc.compare(sc.top(values, len(truth.touched), rng), truth))
    p = {name: sc.chance_of_at_least(h) for name, h in hits.items()}
    assert p["random"] > 0.01 and p["constant"] > 0.01
    assert p["oracle"] < 1e-12 and all(h.precision == h.recall == 1.0 for h in hits["oracle"])


def test_interval() -> None:
    mean, low, high = sc.interval([0.2, 0.4, 0.6])
    assert mean == pytest.approx(0.4) and low == 0.0 and high == pytest.approx(0.4 + 4.302653 * 0.2 / 3**0.5)
    with pytest.raises(InvalidInput, match="at least two runs"):
        sc.interval([0.5])


def test_measure_is_repeatable() -> None:
    first, second = (measure(SMALL, 2, ("gradient", "random")) for _ in range(2))
    assert first == second
    assert {(r.score, r.level, r.picks) for r in first} >= {("gradient", "states", "2×"), ("random", "channels", "1×")}
    assert comparisons(4) == 60


@given(se.states(heard=True))
def test_heard_states_have_a_gradient(state: se.State) -> None:
    assert se.gradient_of_mode(state) != 0
    assert se.gradient_of_mode((state[0], state[1], state[2] * 0, state[3], state[4])) == 0


# -- errors ---------------------------------------------------------------------------------------------------------------------


def test_errors_name_the_value(run: tuple[wu.WarmUp, wu.Real, wu.Real, TrueDimensions]) -> None:
    found, x, y, truth = run
    rng = np.random.default_rng(0)
    with pytest.raises(UnknownName, match="change_of_a"):
        sc.score("change_of_A", found, x, y, rng)
    with pytest.raises(InvalidInput, match="size = 0"):
        sc.top(np.ones((1, 1, 2)), 0, rng)
    with pytest.raises(InvalidInput, match="diverged"):
        sc.top(np.array([[[np.nan, 1.0]]]), 1, rng)
    with pytest.raises(InvalidInput, match="0 states chosen"):
        sc.compare([], truth)
    with pytest.raises(InvalidInput, match="steps = 0"):
        wu.warm_up(found.before, x, y, 0, 0.1)
    with pytest.raises(InvalidInput, match="unknown optimizer 'lion'"):
        wu.warm_up(found.before, x, y, 1, 0.1, "lion")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="share one shape"):
        wu.loss_and_gradient(found.before, x[:, :, :2], y)
    with pytest.raises(InvalidInput, match="c must be finite"):
        replace(found.before, c=found.before.c * np.nan)
    with pytest.raises(InvalidInput, match="dt must be positive"):
        replace(found.before, dt=-found.before.dt)
    with pytest.raises(InvalidInput, match=r"channels = 9 must be in 1\.\.3"):
        wu.perturbed(rng, found.before, 9, 1)
    with pytest.raises(InvalidInput, match="seeds = 1"):
        measure(SMALL, 1)
