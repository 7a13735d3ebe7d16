"""The one statistics module: intervals, ratios, equivalence, several comparisons, and the coverage that is claimed."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from empirics.__main__ import main
from empirics.errors import InvalidInput, UnknownName
from empirics.experiments.lm_benchmark.verdicts import Comparison as Compared
from empirics.experiments.lm_benchmark.verdicts import differences
from empirics.study.config import EXPERIMENTS, load_experiment
from empirics.study.coverage import COMMITTED, ROWWISE, SETTINGS, Rowwise, rowwise_coverage
from empirics.study.pack import RUNS, read_pack
from empirics.study.statistics import (
    SHAPES,
    Sampling,
    coverage,
    geometric_mean,
    holm,
    interval,
    level,
    level_p,
    needed,
    p_of,
    p_value,
    paired,
    pairs_needed,
    quantile,
    ratio,
    seeds_error,
    tasks_error,
    tasks_fixed,
    tasks_random,
)

values = st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 3)), min_size=2, max_size=12).filter(lambda v: np.std(v) > 1e-2)


@given(values, st.sampled_from([0.8, 0.95, 0.99]))
def test_the_interval_is_students(sample, confidence):
    low, high = stats.t.interval(confidence, len(sample) - 1, np.mean(sample), stats.sem(sample))
    found = interval(sample, confidence)
    assert found.count == len(sample) and found.mean == pytest.approx(np.mean(sample))
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))
    assert found.standardised == pytest.approx(np.mean(sample) / np.std(sample, ddof=1))


def test_equal_values_have_an_interval_only_where_asked():
    assert interval([2.0, 2.0, 2.0], 0.95).low is None and interval([2.0], 0.95).high is None
    asked = interval([2.0, 2.0], 0.95, equal=True)
    assert (asked.low, asked.high) == (2.0, 2.0)
    with pytest.raises(InvalidInput, match="no values"):
        interval([], 0.95)


@pytest.mark.parametrize(("confidence", "count"), [(0.0, 5), (1.0, 5), (95.0, 5), (0.95, 1)])
def test_bad_quantiles(confidence, count):
    with pytest.raises(InvalidInput):
        quantile(confidence, count)


def test_pairs_are_those_of_both():
    assert paired({1: 3.0, 2: 5.0, 3: 1.0}, {2: 1.0, 1: 1.0}) == {1: 2.0, 2: 4.0}


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=2, max_size=8, unique=True))
def test_a_ratio_is_a_difference_of_logarithms(pairs):
    better, worse = ({i: p[side] for i, p in enumerate(pairs)} for side in (0, 1))
    found = ratio(better, worse, 0.95)
    logs = [math.log(a / b) for a, b in pairs]
    assert found is not None and found.mean == pytest.approx(math.exp(np.mean(logs)))
    if found.low is not None and found.high is not None:
        other = ratio(worse, better, 0.95)
        assert other is not None and other.high == pytest.approx(1 / found.low) and other.low == pytest.approx(1 / found.high)
    assert ratio({0: 1.0}, {0: 2.0}, 0.95) is None
    with pytest.raises(InvalidInput, match="negative"):
        ratio({0: -1.0, 1: 1.0}, {0: 1.0, 1: 1.0}, 0.95)


def test_geometric_means():
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2.0) and geometric_mean([3.7]) == 3.7
    assert geometric_mean([-1.0, 3.0]) == 1.0


@given(values)
def test_p_is_that_of_scipy_and_belongs_to_the_interval(sample):
    found = p_value(sample)
    assert found == pytest.approx(stats.ttest_1samp(sample, 0.0).pvalue, rel=1e-6, abs=1e-12)
    held = interval(sample, 0.95)
    assert held.low is not None and held.high is not None
    if found is not None and abs(found - 0.05) > 1e-6:
        assert (held.low > 0 or held.high < 0) == (found < 0.05)


def test_level_is_two_one_sided_tests():
    rng = np.random.default_rng(0)
    for _ in range(50):
        sample = list(rng.normal(0.2, 0.7, 8))
        below = stats.ttest_1samp(sample, 1.0, alternative="less").pvalue
        above = stats.ttest_1samp(sample, -1.0, alternative="greater").pvalue
        assert level(sample, 1.0) == (max(below, above) < 0.05)
    assert level([0.1, -0.1, 0.05, 0.0], 1.0) and not level([0.1, -0.1, 0.05, 0.0], 0.05)
    assert not level([0.0, 0.0, 0.0], 1.0), "equal scores say nothing about their spread"
    assert not level([1.5, 1.4, 1.6, 1.5], 1.0), "a difference that is sure is not level"
    for margin, alpha in ((0.0, 0.05), (-1.0, 0.05), (1.0, 0.5), (1.0, 0.0)):
        with pytest.raises(InvalidInput):
            level([0.1, 0.2], margin, alpha)


@given(st.dictionaries(st.integers(), st.floats(0, 1), max_size=10))
def test_holm_is_never_below_p_and_keeps_the_order(p_values):
    found = holm(p_values)
    assert list(found) == list(p_values) and all(p_values[k] <= found[k] <= 1 for k in found)
    for a in found:
        for b in found:
            assert p_values[a] > p_values[b] or found[a] <= found[b]
    if p_values:
        least = min(p_values.values())
        assert min(found.values()) == pytest.approx(min(1.0, len(found) * least))


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == {
        "a": pytest.approx(0.03),
        "b": pytest.approx(0.06),
        "c": pytest.approx(0.06),
    }
    with pytest.raises(InvalidInput, match=r"p value of a is 1\.5"):
        holm({"a": 1.5})


def test_pairs_needed_have_that_power():
    """By simulation: at the number found the effect shows in four of five experiments, at three quarters of it less often."""
    needed = pairs_needed(0.5, 1.0)
    assert needed == 34  # the textbook's number for half a standard deviation, two-sided 5 %, power 80 %
    rng = np.random.default_rng(1)
    for count, least, most in ((needed, 0.78, 0.83), (needed * 3 // 4, 0.6, 0.75)):
        samples = rng.normal(0.5, 1.0, (20_000, count))
        t = samples.mean(1) / (samples.std(1, ddof=1) / count**0.5)
        assert least < np.mean(t > stats.t.ppf(0.975, count - 1)) < most
    assert pairs_needed(0.0, 1.0) is None and pairs_needed(1e-6, 1.0) is None and pairs_needed(1.0, 0.0) == 2
    assert pairs_needed(100.0, 1.0) == 2


def test_tasks_random_and_fixed_by_hand():
    groups = {"a": [1.0, 3.0], "b": [4.0, 6.0]}
    random, fixed = tasks_random(groups, 0.95), tasks_fixed(groups, 0.95)
    assert random.mean == fixed.mean == 3.5
    assert random.half == pytest.approx(stats.t.ppf(0.975, 1) * np.std([2.0, 5.0], ddof=1) / 2**0.5)
    assert fixed.half == pytest.approx(stats.t.ppf(0.975, 2) * ((1.0 + 1.0) / 4) ** 0.5)
    assert fixed.half < random.half and tasks_fixed({"a": [1.0, 1.0]}, 0.95).half is None
    with pytest.raises(InvalidInput, match="two values"):
        tasks_fixed({"a": [1.0]}, 0.95)
    one = [0.3, -0.1, 0.7, 0.2]
    assert tasks_fixed({"a": one}, 0.95).half == pytest.approx(interval(one, 0.95).half)


def test_what_the_first_edition_says_of_these_tasks_and_of_tasks():
    """Twenty pairs of four tasks: narrower for these tasks, far wider for tasks at large."""
    groups: dict[str, list[float]] = {}
    runs = [r for r in read_pack(EXPERIMENTS / "lm_benchmark" / RUNS).values() if "test_score" in r.held_out]
    runs = [r for r in runs if r.seed in load_experiment("lm_benchmark").seeds]
    for pair, value in differences(runs, Compared("lora_linear", "prefix")).items():
        groups.setdefault(pair[0], []).append(value)
    values = [value for group in groups.values() for value in group]
    bounds = [(f.low, f.high) for f in (interval(values, 0.95), tasks_fixed(groups, 0.95), tasks_random(groups, 0.95))]
    assert [tuple(round(end, 1) for end in ends) for ends in bounds] == [(5.1, 13.3), (7.5, 11.0), (-5.4, 23.8)]


def test_coverage_of_the_intervals():
    """Each analysis holds what it says where its model is right; pooled values of tasks that differ do not."""
    assert coverage("pooled", 5, 0.95, 4000, 0) == pytest.approx(0.95, abs=0.015)
    assert coverage("pooled", 5, 0.95, 4000, 0, tasks=4) == pytest.approx(0.95, abs=0.015)
    assert coverage("pooled", 5, 0.95, 4000, 0, tasks=4, between=1.0) < 0.8
    assert coverage("random", 5, 0.95, 4000, 0, tasks=4, between=1.0) == pytest.approx(0.95, abs=0.015)
    assert coverage("fixed", 5, 0.95, 4000, 0, tasks=4, between=1.0) == pytest.approx(0.95, abs=0.015)
    assert coverage("pooled", 5, 0.95, 4000, 0, shape="skewed") < 0.93
    for wrong in ({"shape": "odd"}, {"analysis": "odd"}):
        with pytest.raises(InvalidInput, match="'odd' is unknown"):
            coverage(**{"analysis": "pooled", "count": 5, "confidence": 0.95, "repeats": 10, "seed": 0, **wrong})
    rng = np.random.default_rng(0)
    for draw in SHAPES.values():
        sample = draw(rng, (200_000,))
        assert abs(sample.mean()) < 0.02 and abs(sample.std() - 1) < 0.02


def test_coverage_of_rows_that_are_drawn():
    """The interval that counts the sampling of rows holds what it says; the one that takes them as given does not."""
    setting = Rowwise("accuracy", tasks=3, seeds=5, rows=100)
    assert rowwise_coverage(setting, "fixed", 0.95, 600, 0) > 0.92
    assert rowwise_coverage(setting, "rows as given", 0.95, 600, 0) < 0.92
    apart = Rowwise("accuracy", tasks=4, seeds=5, rows=100, between=0.5)
    assert rowwise_coverage(apart, "random", 0.95, 400, 0) == pytest.approx(0.95, abs=0.035)
    assert rowwise_coverage(apart, "fixed", 0.95, 100, 0) < 0.8, "tasks that differ are another statement"
    for score in ("matthews", "bleu"):
        assert rowwise_coverage(Rowwise(score, tasks=2, seeds=4, rows=60), "fixed", 0.95, 200, 0) > 0.88
    with pytest.raises(InvalidInput, match="'odd' is unknown"):
        rowwise_coverage(setting, "odd", 0.95, 1, 0)
    with pytest.raises(UnknownName, match="score"):
        rowwise_coverage(Rowwise("odd"), "fixed", 0.95, 1, 0)


def test_the_committed_coverage_is_of_the_settings():
    """Without the sampling of rows the intervals hold too little; those that studies use hold what they say, by two points."""
    found = json.loads(COMMITTED.read_text(encoding="utf-8"))
    assert [(row["setting"], row["analysis"]) for row in found["table"]] == [(w, a) for w, a, _ in (*SETTINGS, *ROWWISE)]
    for row in found["table"]:
        if "rows" in row["setting"] and row["analysis"] != "rows as given":
            assert row["coverage"] > 0.93, row
        if row["analysis"] == "rows as given":
            assert row["coverage"] < 0.93, row


def test_the_command(capsys, tmp_path):
    out = tmp_path / "coverage.json"
    assert main(["coverage", "--repeats", "20", "--out", str(out)]) == 0
    assert "tasks differ" in capsys.readouterr().out
    assert len(json.loads(out.read_text(encoding="utf-8"))["table"]) == len(SETTINGS) + len(ROWWISE)
    assert main(["coverage", "--confidence", "95"]) == 2 and "between 0 and 1" in capsys.readouterr().err
    assert main(["coverage", "--repeats", "0"]) == 2 and "at least 1" in capsys.readouterr().err


@given(values, st.floats(-2, 2))
def test_p_and_level_p_belong_to_the_interval(sample, null):
    found = interval(sample, 0.95)
    assert p_of(found) == p_value(sample)
    assert p_of(found, null) == pytest.approx(stats.ttest_1samp(sample, null).pvalue, rel=1e-6, abs=1e-12)
    for margin in (0.5, 20.0):
        p = level_p(found, margin)
        assert p is not None
        if abs(p - 0.05) > 1e-9:
            assert (p < 0.05) == level(sample, margin)
    with pytest.raises(InvalidInput, match="margin"):
        level_p(found, 0.0)
    flat = interval([1.0, 1.0], 0.95)
    assert p_of(flat) is None and level_p(flat, 1.0) is None


@given(st.dictionaries(st.integers(), st.floats(0, 1), min_size=1, max_size=8), st.data())
def test_a_p_that_is_not_known_yet_takes_nothing_back(p_values, data):
    """Adjusted values with some unknown bound those with all known from above: what was rejected stays rejected."""
    hidden = data.draw(st.sets(st.sampled_from(sorted(p_values))))
    early, late = holm({k: None if k in hidden else p for k, p in p_values.items()}), holm(p_values)
    assert all(late[k] <= early[k] for k in p_values)
    assert all(early[k] == 1.0 for k in hidden)


def test_sampling_of_rows_widens_the_statement_on_these_tasks():
    groups = {"a": [1.0, 3.0, 2.5], "b": [4.0, 6.0, 5.5]}
    sampling = {"a": Sampling(0.3, 100), "b": Sampling(0.1, 50)}
    plain, wider = tasks_fixed(groups, 0.95), tasks_fixed(groups, 0.95, sampling)
    s = [np.var(v, ddof=1) / 3 / 4 for v in groups.values()]
    parts = [(s[0], 2), (s[1], 2), (0.3 / 4, 99), (0.1 / 4, 49)]
    variance = sum(v for v, _ in parts)
    freedom = variance**2 / sum(v**2 / f for v, f in parts)
    assert wider.error == pytest.approx(variance**0.5) and wider.freedom == pytest.approx(freedom)
    assert wider.half == pytest.approx(stats.t.ppf(0.975, freedom) * variance**0.5)
    assert wider.mean == plain.mean and plain.error is not None and wider.error > plain.error
    none = {key: Sampling(0.0, 100) for key in groups}
    assert tasks_fixed(groups, 0.95, none).half == pytest.approx(plain.half)
    equal = tasks_fixed({"a": [1.0, 1.0]}, 0.95, {"a": Sampling(0.25, 100)})
    assert equal.half == pytest.approx(stats.t.ppf(0.975, 99) * 0.5), "equal seeds leave the rows"
    for wrong in ({"a": Sampling(0.1, 10)}, {**sampling, "b": Sampling(0.1, 1)}):
        with pytest.raises(InvalidInput, match="sampling of test rows is not known of b"):
            tasks_fixed(groups, 0.95, wrong)


def test_what_would_decide_has_that_power():
    """By simulation: as many seeds as are said to be needed show it in four of five experiments, and half as many do not."""
    rng = np.random.default_rng(2)
    for effect, shows in ((0.6, "difference"), (0.05, "level")):
        found = needed(effect, lambda n: (1.5 / n**0.5, n - 1.0), 1.0)
        assert found is not None and found.shows == shows
        for count, least, most in ((found.count, 0.77, 0.86), (found.count // 2, 0.0, 0.7)):
            samples = rng.normal(effect, 1.5, (4000, count))
            intervals = [interval(list(sample), 0.95) for sample in samples]
            p = [p_of(i) if shows == "difference" else level_p(i, 1.0) for i in intervals]
            assert least < np.mean([x is not None and x < 0.05 for x in p]) < most
    assert needed(1.0, lambda n: (0.0001 + 5.0, 50.0), 1.0) is None, "variance that does not fall"
    strict = needed(0.6, lambda n: (1.5 / n**0.5, n - 1.0), 0.5, alpha=0.05 / 15)
    loose = needed(0.6, lambda n: (1.5 / n**0.5, n - 1.0), 0.5)
    assert strict is not None and loose is not None and strict.count > loose.count


def test_errors_with_other_counts_are_those_of_the_intervals():
    groups = {"a": [1.0, 3.0, 2.5], "b": [4.0, 6.0, 5.5]}
    sampling = {"a": Sampling(0.3, 100), "b": Sampling(0.1, 50)}
    for error, count, found in (
        (seeds_error(groups), 3, tasks_fixed(groups, 0.95)),
        (seeds_error(groups, sampling), 3, tasks_fixed(groups, 0.95, sampling)),
        (tasks_error(groups), 2, tasks_random(groups, 0.95)),
    ):
        assert error(count) == (pytest.approx(found.error), pytest.approx(found.freedom))
        assert error(4 * count)[0] < error(count)[0]
    assert seeds_error(groups, sampling)(10**6)[0] == pytest.approx((0.4 / 4) ** 0.5, rel=1e-3), "rows do not average away"
