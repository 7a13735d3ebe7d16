"""Scores of weighted rows against the scores of rows repeated as often, and what the sampling of rows adds to a variance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from empirics.errors import InvalidInput
from empirics.experiments.base_benchmark.records import corpus_bleu
from empirics.experiments.lm_benchmark.metrics import accuracy, matthews
from empirics.study.rows import Accuracy, Bleu, Matthews, draws, each_once, shared_variance


def classes(seed: int, rows: int, runs: int, kinds: int):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, kinds, rows)
    predicted = np.where(rng.random((runs, rows)) < 0.6, truth, rng.integers(-1, kinds, (runs, rows)))
    return truth.tolist(), predicted.tolist()


@given(st.integers(0, 1000), st.integers(2, 40), st.integers(1, 4), st.integers(2, 6))
def test_weights_count_rows_as_often(seed, rows, runs, kinds):
    truth, predicted = classes(seed, rows, runs, kinds)
    weights = draws(rows, 3, seed)
    for kind, rule in ((Accuracy, accuracy), (Matthews, matthews)):
        found = kind.of(truth, predicted).scores(weights)
        for w, row in zip(weights.astype(int), found, strict=True):
            again = [i for i, count in enumerate(w) for _ in range(count)]
            for run, score in zip(predicted, row, strict=True):
                assert score == pytest.approx(100 * rule([truth[i] for i in again], [run[i] for i in again]), abs=1e-9)


@given(st.integers(0, 1000), st.integers(1, 30), st.integers(1, 3), st.integers(0, 4))
def test_bleu_is_that_of_sacrebleu(seed, rows, runs, emptied):
    pytest.importorskip("sacrebleu")
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, (runs, rows, 10))
    counts[..., 6:] += counts[..., 2:6]
    counts[..., 2 + emptied : 6] = 0  # orders without a match are smoothed, and none at all gives 0
    counts[0, 0, 0] = 0
    weights = draws(rows, 3, seed)
    found = Bleu.of(counts.tolist()).scores(weights)
    for w, row in zip(weights.astype(int), found, strict=True):
        for run, score in zip(counts, row, strict=True):
            assert score == pytest.approx(corpus_bleu(w[:, None] * run), rel=1e-9, abs=1e-12)


def test_other_weights_give_another_score():
    truth, predicted = classes(1, 50, 2, 2)
    for rows in (Accuracy.of(truth, predicted), Matthews.of(truth, predicted)):
        plain, drawn = rows.scores(each_once(50)), rows.scores(draws(50, 20, 0))
        assert np.abs(drawn - plain).max() > 1 and rows.count == 50


def test_draws_are_of_the_seed_and_hold_as_many_rows():
    first = draws(30, 10, 4)
    assert (first.sum(1) == 30).all() and (first == draws(30, 10, 4)).all() and (first != draws(30, 10, 5)).any()
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 1.0
    with pytest.raises(InvalidInput, match="0 rows and 10 draws"):
        draws(0, 10, 0)
    with pytest.raises(InvalidInput, match="1 draws"):
        draws(5, 1, 0)


def test_only_what_runs_share_is_counted():
    """Rows of variance 4 that all runs share, and rows of variance 9 of each run's own: the sample mean's shared part is 4/n."""
    rng = np.random.default_rng(0)
    rows, runs = 400, 10
    shared, alone = 2 * rng.standard_normal((rows, 1)), 3 * rng.standard_normal((rows, runs))
    weights = draws(rows, 4000, 1) / rows
    assert shared_variance(weights @ (shared + alone)) == pytest.approx(4 / rows, rel=0.35)
    assert shared_variance(weights @ alone) < 0.15 * 4 / rows
    assert shared_variance(weights @ np.repeat(shared, runs, 1)) == pytest.approx(shared.var() / rows, rel=0.1)
    opposite = np.array([[1.0, -1.0], [-1.0, 1.0]])
    assert shared_variance(opposite) == 0.0
    with pytest.raises(InvalidInput, match="two runs"):
        shared_variance(np.ones((5, 1)))


@pytest.mark.parametrize(("truth", "predicted"), [([0, 1], [[0]]), ([], [[]]), ([0, 1], []), ([0, 1], [[0, 1], [1]])])
def test_rows_that_do_not_fit(truth, predicted):
    for kind in (Accuracy, Matthews):
        with pytest.raises(InvalidInput, match="rows given"):
            kind.of(truth, predicted)


@pytest.mark.parametrize("counts", [[[[1] * 9]], [[[1] * 10], [[1] * 10, [1] * 10]], [[]]])
def test_counts_that_do_not_fit(counts):
    with pytest.raises(InvalidInput, match="10 counts"):
        Bleu.of(counts)
