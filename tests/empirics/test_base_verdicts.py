"""The declared protocol on results that are made up: what is planted is found, and what is missing is not judged."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from base_runs import ROWS, result, run, study

from empirics.errors import CheckpointError, InvalidInput
from empirics.experiments.base_benchmark.records import class_record
from empirics.experiments.base_benchmark.run import RECIPES, Config
from empirics.experiments.base_benchmark.verdicts import BESIDE, PRIMARY, TASKS, Pair, holds_back, judge
from empirics.experiments.lm_benchmark.methods import configure, plan
from empirics.methods import count_trainable
from empirics.methods.scores import score
from empirics.models import MambaConfig, MambaLM
from empirics.study import protocol
from empirics.study.config import load_experiment
from empirics.study.judging import held_back

THRESHOLD = {"confidence": 0.95, "margin": 1.0, "seeds": 10.0, "tasks": 5.0, "draws": 300.0}
METHODS = tuple(dict.fromkeys(name for pair in (*PRIMARY, *BESIDE) for name in (pair.better, pair.worse)))[:-1]


def found(results, name: str, **changes):
    judged = judge(results, {**THRESHOLD, **changes})
    (one,) = (c for c in judged.comparisons if c.name == name)
    return one


def test_the_declared_comparisons():
    assert len(PRIMARY) == 15 and len({pair.name for pair in (*PRIMARY, *BESIDE)}) == len(PRIMARY) + len(BESIDE)
    assert all(pair.role == "primary" and not pair.tasks for pair in PRIMARY)
    assert "rte" not in TASKS and not any(pair.role == "primary" for pair in BESIDE)


def test_every_declared_method_is_run_and_equal_budgets_can_be_met():
    """On an untrained model of the base model's size."""
    file = load_experiment("base_benchmark")
    assert file.sweep is not None and set(METHODS) <= set(file.sweep.grid["method"])
    assert set(file.sweep.grid["task"]) == {*TASKS, "rte"} and file.threshold == {**THRESHOLD, "draws": 2000}
    assert len(file.seeds) == file.threshold["seeds"] and file.sweep.widen["learning_rate"]
    model, sizing = MambaLM(MambaConfig(512, 2, 64, {"layer": "Mamba1"})), Config(rank=8).sizing
    scores = score("random", model)
    equal = [pair for pair in (*PRIMARY, *BESIDE) if pair.equal_budget]
    counts = {}
    for method in {name for pair in equal for name in (pair.better, pair.worse)}:
        config = configure(plan(method, model, sizing, RECIPES), model, sizing, lambda _: scores, RECIPES)
        assert config is not None
        counts[method] = count_trainable(model, config)
    for pair in equal:
        one, other = counts[pair.better], counts[pair.worse]
        assert abs(one - other) <= protocol.BUDGET * min(one, other), (pair.name, one, other)


def test_planted_effects_are_found():
    results = study({"lora_linear": 0.8, "prompt": 0.6, "lora_both": 0.9, "lora_ssm": 0.8})
    above, below = found(results, "lora_linear - prompt"), found(results, "lora_linear - lora_both")
    assert [s.verdict for s in above.statements] == ["stands", "stands"] and above.verdict == "reproduced"
    assert [s.verdict for s in below.statements] == ["refuted", "refuted"] and below.verdict == "not reproduced"
    even = found(results, "lora_linear - lora_ssm")
    assert even.statements[0].verdict in ("level", "undecided") and even.verdict != "reproduced"
    assert judge(results, THRESHOLD).verdict == "not reproduced"
    assert judge(study({"lora_linear": 0.8, "prompt": 0.6}), THRESHOLD).verdict == "undecided", "fourteen are not yet run"
    for c in (above, below, even):
        assert c.pairs == 50 and [p.tasks for p in c.parts] == [[t] for t in TASKS]
        assert c.estimate == pytest.approx(np.mean([p.estimate for p in c.parts]))


def test_tasks_that_disagree_stand_on_these_tasks_only():
    results = [
        r for r in study({"lora_linear": 0.8, "prompt": 0.7}) if (r.config["task"], r.config["method"]) != ("trec", "prompt")
    ]
    results += [run("trec", "prompt", seed, 0.79, 0.05) for seed in range(10)]
    here, beyond = found(results, "lora_linear - prompt").statements
    assert here.verdict == "stands" and beyond.verdict == "undecided"
    assert beyond.needed is not None and beyond.needed > 5 and beyond.shows == "difference"
    assert here.needed is None and here.freedom is not None and here.freedom > beyond.freedom == 4


def test_level_is_found_and_needs_the_margin():
    results = study({"lora_linear": 0.8, "lora_ssm": 0.8}, noise=0.02)
    even = found(results, "lora_linear - lora_ssm")
    assert even.statements[0].verdict == "level" and even.verdict == "level" and abs(even.estimate) < 1
    assert even.statements[0].level_p is not None and even.statements[0].level_p < 0.05
    tight = found(results, "lora_linear - lora_ssm", margin=0.01)
    assert tight.statements[0].verdict == "undecided" and tight.statements[0].needed is not None


def test_an_edge_holds_back_what_stands():
    results = study({"lora_linear": 0.8, "prompt": 0.6, "lora_ssm": 0.6})
    judged = judge(results, THRESHOLD)
    held = held_back(judged, {"prompt"})
    verdicts_of = {c.name: [s.verdict for s in c.statements] for c in held.comparisons}
    assert verdicts_of["lora_linear - prompt"] == ["undecided", "undecided"]
    assert verdicts_of["lora_linear - lora_ssm"] == ["stands", "stands"]
    (note,) = (c.note for c in held.comparisons if c.name == "lora_linear - prompt")
    assert note == "the rate of prompt stands at the end of its grid"
    assert "stands on these tasks: lora_linear - prompt, lora_linear - lora_ssm;" in f"{judged.measured};"
    assert "stands on these tasks: lora_linear - lora_ssm;" in f"{held.measured};"
    assert "undecided on these tasks: lora_linear - prompt" in held.measured
    assert not holds_back({"task": "rte", "method": "prompt"}) and holds_back({"task": "cola", "method": "prompt"})


def test_holm_changes_a_verdict():
    """A difference that one comparison alone would show is not shown by one of fifteen."""
    results = study({"lora_linear": 0.8, "prompt": 0.7955, "full": 0.8045}, noise=0.05)
    one = found(results, "lora_linear - prompt").statements[0]
    assert one.p is not None and one.adjusted is not None and one.p < 0.05 < one.adjusted
    assert one.verdict in ("undecided", "level")
    beside = found(results, "full - lora_linear").statements[0]
    assert beside.adjusted is None and beside.p is not None and (beside.p < 0.05) == (beside.verdict == "stands")
    assert one.adjusted == pytest.approx(min(1.0, 15 * one.p))


def test_missing_runs_are_pending_and_never_undecided():
    whole = study({"lora_linear": 0.8, "prompt": 0.6})
    short = [r for r in whole if (r.config["task"], r.config["method"], r.seed) != ("trec", "prompt", 7)]
    assert "lora_linear - prompt" in [c.name for c in judge(whole, THRESHOLD).comparisons]
    judged = judge(short, THRESHOLD)
    assert "lora_linear - prompt" not in [c.name for c in judged.comparisons]
    (waiting,) = (p for p in judged.pending if p.name == "lora_linear - prompt")
    assert waiting.runs == {"lora_linear": 50, "prompt": 49} and waiting.needs == 50 and not waiting.control
    assert "not yet run: lora_linear - prompt" in judged.measured and "undecided" not in judged.measured
    (never,) = (p for p in judged.pending if p.name == "lora_linear - prefix")
    assert never.runs == {"lora_linear": 50, "prefix": 0}
    assert judged.verdict == "undecided"


def test_a_later_comparison_takes_nothing_back():
    early = study({"lora_linear": 0.8, "prompt": 0.78})
    late = study({"lora_linear": 0.8, "prompt": 0.78, "prefix": 0.5, "bitfit": 0.79, "sdt": 0.8})
    before, after = (found(results, "lora_linear - prompt").statements for results in (early, late))
    for one, other in zip(before, after, strict=True):
        assert one.p == other.p and one.adjusted is not None and other.adjusted is not None and other.adjusted <= one.adjusted


def test_the_control_at_chance_is_in_no_pooled_comparison():
    results = study({"lora_linear": 0.8, "prompt": 0.6})
    other = [r for r in results if r.config["task"] != "rte"]
    other += [run("rte", method, seed, 0.99) for method in ("lora_linear", "prompt") for seed in range(10)]
    for name in ("lora_linear - prompt",):
        assert found(results, name) == found(other, name)
    chance, learned = (found(r, "lora_linear - constant answer (rte)") for r in (results, other))
    assert chance.predicted is None and chance.control and len(chance.statements) == 1
    assert learned.estimate > chance.estimate and learned.statements[0].verdict == "stands"
    guess = [run("rte", "full", seed, 0.5, noise=5.0) for seed in range(10)]
    assert found(guess, "full - constant answer (rte)").statements[0].verdict != "stands"


def test_rows_that_all_runs_share_widen_the_interval():
    """The same runs, once with rows that favour one method in every run, and once with each run's own rows."""
    rng = np.random.default_rng(0)
    truth = [0] * ROWS
    favoured = rng.random(ROWS)
    widths = []
    for shared in (True, False):
        results = []
        for task in TASKS[1:4]:
            for seed in range(10):
                place = favoured if shared else rng.random(ROWS)
                a = (place < 0.3) | (rng.random(ROWS) < 0.6)
                b = (place > 0.7) | (rng.random(ROWS) < 0.6)
                for method, right in (("lora_linear", a), ("prompt", b)):
                    record = class_record(truth, np.where(right, 0, 1).tolist())
                    results.append(result(task, method, seed, record, float(right.mean())))
        one = found(results, "lora_linear - prompt", tasks=3, draws=1000)
        assert one.high is not None
        widths.append(one.high - one.estimate)
    assert widths[0] > 1.5 * widths[1]


def test_budgets_that_differ_decide_nothing():
    results = [r for r in study({"sdt_lora": 0.9, "lora_released": 0.6}) if r.config["task"] != "rte"]
    assert found(results, "sdt_lora - lora_released").statements[0].verdict == "stands"
    unequal = [r.model_copy(update={"trainable": 1200}) if r.config["method"] == "sdt_lora" else r for r in results]
    one = found(unequal, "sdt_lora - lora_released")
    assert [s.verdict for s in one.statements] == ["undecided", "undecided"]
    assert one.note == "budgets differ: 1,200 and 1,000 trained numbers"
    near = [r.model_copy(update={"trainable": 1090}) if r.config["method"] == "sdt_lora" else r for r in results]
    assert found(near, "sdt_lora - lora_released").note == ""


def test_rows_that_do_not_give_the_recorded_score():
    results = study({"lora_linear": 0.8, "prompt": 0.6}, tasks=("polarity",))
    wrong = [results[0].model_copy(update={"held_out": {**results[0].held_out, "test_score": 0.5}}), *results[1:]]
    with pytest.raises(CheckpointError, match=r"polarity, lora_linear, seed 0: its rows give .* recorded 50\.0000"):
        judge(wrong, THRESHOLD)
    flipped = results[0].metrics["true"].translate(str.maketrans("01", "10"))
    other = [results[0].model_copy(update={"metrics": {**results[0].metrics, "true": flipped}}), *results[1:]]
    with pytest.raises(CheckpointError, match="different rows"):
        judge(other, THRESHOLD)
    damaged = [results[0].model_copy(update={"metrics": {"weights": "w"}}), *results[1:]]
    with pytest.raises(CheckpointError, match="holds no test rows"):
        judge(damaged, THRESHOLD)
    foreign = [results[0].model_copy(update={"data_hash": "other"}), *results[1:]]
    with pytest.raises(CheckpointError, match="different rows"):
        judge(foreign, THRESHOLD)


@pytest.mark.parametrize("name", THRESHOLD)
def test_every_threshold_is_needed(name):
    with pytest.raises(InvalidInput, match=name):
        judge([], {key: value for key, value in THRESHOLD.items() if key != name})


def test_the_table_has_a_row_a_cell():
    results = study({"lora_linear": 0.8, "frozen": 0.5})
    table = judge(results, THRESHOLD).table
    assert [(row["task"], row["method"]) for row in table] == [
        (task, method) for task in (*TASKS, "rte") for method in ("lora_linear", "frozen")
    ]
    first = table[0]
    assert first["seeds"] == 10 and first["rows"] == ROWS and first["low"] < first["points"] < first["high"]


def test_no_result_is_judged_to_nothing():
    judged = judge([], THRESHOLD)
    assert judged.verdict == "undecided" and judged.comparisons == [] and len(judged.pending) == len(PRIMARY) + len(BESIDE)
    assert isinstance(PRIMARY[0], Pair)
