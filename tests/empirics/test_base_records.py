"""The test rows that runs of the base benchmark keep: written, read, and damaged."""

from __future__ import annotations

import numpy as np
import pytest
import sacrebleu

pytest.importorskip("torch")

from empirics.errors import CheckpointError, InvalidInput
from empirics.experiments.base_benchmark import records
from empirics.experiments.base_benchmark.records import bleu_record, class_record, classes_of, corpus_bleu, text_of
from empirics.study.results import Result

OUTPUTS = ["the cat sat on the mat today", "a dog", "no word of it", "it rains in the north of Spain"]
REFERENCES = [["the cat sat on a mat", "a cat sat on the mat"], ["a dog barks"], ["quite another text"], ["it rains in Spain"]]


def result(**metrics):
    return Result(
        experiment="base_benchmark", claim="c", config={"task": "cola", "method": "full"}, seed=3, status="finished",
        metrics=metrics, held_out={}, seconds=1.0, git=None, versions={}, device="cpu", device_kind="cpu", scan=None,
    )  # fmt: skip


def test_classes_are_written_and_read_back():
    assert text_of([0, 5, -1, 9]) == "05-9"
    assert classes_of("05-9").tolist() == [0, 5, -1, 9]
    rows = records.outcomes(result(**class_record([0, 1, 1], [0, -1, 1])))
    assert rows.true is not None and rows.predicted is not None and len(rows) == 3
    assert rows.true.tolist() == [0, 1, 1] and rows.predicted.tolist() == [0, -1, 1]


@pytest.mark.parametrize("classes", [[10], [0, -2]])
def test_a_class_without_a_character_is_refused(classes):
    with pytest.raises(InvalidInput, match="has no character"):
        text_of(classes)


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {"true": "01"},
        {"true": "01", "predicted": "0"},
        {"true": "0x", "predicted": "00"},
        {"true": "0-", "predicted": "00"},
        {"true": "", "predicted": ""},
        {"true": "0²", "predicted": "00"},
        {"bleu_rows": [[1, 2, 3]]},
        {"bleu_rows": []},
        {"bleu_rows": [[-1] * 10]},
        {"bleu_rows": [["a"] * 10]},
    ],
)
def test_damaged_rows_are_named(metrics):
    with pytest.raises(CheckpointError, match="cola"):
        records.outcomes(result(**metrics))


def test_rows_sum_to_the_bleu_of_the_corpus():
    rows = records.outcomes(result(**bleu_record(OUTPUTS, REFERENCES)))
    assert rows.bleu is not None and rows.bleu.shape == (len(OUTPUTS), 10)
    streams = [[texts[min(i, len(texts) - 1)] for texts in REFERENCES] for i in range(2)]
    assert corpus_bleu(rows.bleu) == pytest.approx(sacrebleu.corpus_bleu(OUTPUTS, streams).score, rel=1e-12)
    assert corpus_bleu(rows.bleu.sum(0)) == corpus_bleu(rows.bleu)
    assert corpus_bleu(rows.bleu) != pytest.approx(np.mean([corpus_bleu(row) for row in rows.bleu]), rel=1e-3)
    assert corpus_bleu(rows.bleu[[0, 0, 3]]) > corpus_bleu(rows.bleu[[1, 2, 2]])


def test_an_output_needs_a_reference():
    with pytest.raises(InvalidInput, match="no reference"):
        bleu_record(["a"], [[]])
