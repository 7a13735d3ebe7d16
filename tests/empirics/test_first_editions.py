"""The first editions under the rules that were declared later."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from empirics.__main__ import main
from empirics.experiments.first_editions import COMMITTED, EDITIONS, first_editions, rejudged
from empirics.study.config import EXPERIMENTS

SEEDS = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])


def test_the_committed_table_follows_from_the_committed_runs():
    found = json.loads(COMMITTED.read_text(encoding="utf-8"))["table"]
    made = json.loads(json.dumps(first_editions()))
    assert [row["verdict"] for row in made] == [row["verdict"] for row in found]
    for one, other in zip(made, found, strict=True):
        for key in ("estimate", "low", "high", "adjusted", "level_p"):
            assert one[key] == pytest.approx(other[key], rel=1e-9, abs=1e-12), key


@pytest.mark.parametrize("name", EDITIONS)
def test_estimates_are_those_of_the_committed_verdicts(name):
    """The runs are the same, so that estimate and interval are; only the rule is another."""
    committed = json.loads((EXPERIMENTS / name / "results.json").read_text(encoding="utf-8"))["comparisons"]
    rows = {row["comparison"]: row for row in first_editions() if row["experiment"] == name}
    assert len(rows) == len(committed)
    for record in committed:
        row = rows[record["name"]]
        assert all(row[key] == pytest.approx(record[key], rel=1e-9) for key in ("estimate", "low", "high"))


def test_what_each_rule_does():
    def verdicts(values, at_edge=()):
        return {row["comparison"]: row["verdict"] for row in rejudged("vision", values, at_edge)}

    even = {"a - b": list(0.1 * SEEDS)}
    assert verdicts(even) == {"a - b": "level"}
    assert verdicts({"a - b": list(5 * SEEDS)}) == {"a - b": "undecided"}
    above, weak = list(20 + SEEDS), list(2.0 + 1.8 * SEEDS)
    assert verdicts({"a - b": above}) == {"a - b": "stands"} and verdicts({"a - b": [-v for v in above]}) == {"a - b": "refuted"}
    assert verdicts({"a - b": above}, ["b"]) == {"a - b": "undecided"} and verdicts({"a - b": above}, ["c"]) == {
        "a - b": "stands"
    }
    assert verdicts({"a - b": weak}) == {"a - b": "stands"}
    several = {"a - b": weak, **{f"a - {x}": list(3 * SEEDS) for x in "cdef"}}
    assert verdicts(several)["a - b"] == "undecided", "one of five"


def test_a_ratio_is_told_as_better_over_worse():
    (row,) = rejudged("s4_regression", {"a / b": list(np.log(2) + 0.01 * SEEDS)}, ())
    assert row["estimate"] == pytest.approx(0.5) and row["low"] < 0.5 < row["high"] and row["verdict"] == "stands"


def test_the_command(tmp_path, capsys):
    assert main(["rejudge", "--out", str(tmp_path / "t.json")]) == 0
    assert "s4_regression: sdt / sdt_random" in capsys.readouterr().out
    assert json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))["table"]
