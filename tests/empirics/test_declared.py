"""The experiments declared in docs/decisions/0009: their files, their judges on made-up runs, and their small forms."""

from __future__ import annotations

import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from base_runs import curve, images, regression, study

from empirics.__main__ import main
from empirics.errors import CheckpointError, InvalidInput
from empirics.experiments.base_benchmark.records import outcomes
from empirics.experiments.base_budget import run as base_budget
from empirics.experiments.base_mamba2 import run as base_mamba2
from empirics.experiments.s4_retuned import run as s4_retuned
from empirics.experiments.vision import run as first_edition
from empirics.experiments.vision_retuned import run as vision_retuned
from empirics.study import plan
from empirics.study.collect import unpack
from empirics.study.config import experiment_module, load_experiment, override, validate
from empirics.study.judging import held_back
from empirics.study.pack import RUNS
from empirics.study.protocol import Family
from empirics.study.runner import Context, Runner
from empirics.study.store import RunFolder
from empirics.study.sweep import SweepRunner, cells_of

MODULES = {
    "base_budget": base_budget, "base_mamba2": base_mamba2, "s4_retuned": s4_retuned, "vision_retuned": vision_retuned,
}  # fmt: skip
MOST = {"base_budget": 250, "base_mamba2": 350}
"""Runs that were declared to be enough, where every cell needs three rates, or four on the twin."""


# -- the files --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODULES)
def test_a_file_has_what_its_comparisons_need(name: str):
    file, family = load_experiment(name), MODULES[name].FAMILY
    assert file.sweep is not None and experiment_module(file) is MODULES[name]
    assert file.threshold["seeds"] == len(file.seeds) and file.threshold["tasks"] == len(family.tasks)
    assert file.sweep.widen["learning_rate"] and len(file.sweep.tuning_seeds) >= 2
    assert not set(file.sweep.tuning_seeds) & set(file.seeds)
    assert "0009" in file.prediction
    validate(MODULES[name].Config, file.config, name)
    side = getattr(MODULES[name], "side", lambda options: options["method"])
    there = {(cell.get("task", family.tasks[0]), side(cell)) for cell in cells_of(file.sweep)}
    for pair in family.pairs:
        for task in family.tasks_of(pair):
            assert {(task, pair.better), (task, pair.worse)} <= there, pair.name
    assert len({pair.name for pair in family.pairs}) == len(family.pairs)


def test_the_declared_numbers_of_comparisons():
    counts = {name: len(module.FAMILY.primary) for name, module in MODULES.items()}
    assert counts == {"base_budget": 7, "base_mamba2": 7, "s4_retuned": 5, "vision_retuned": 4}
    assert all(pair.equal_budget for pair in base_budget.FAMILY.primary)


@pytest.mark.parametrize("name", MOST)
def test_runs_stay_within_their_number(name: str):
    file = load_experiment(name)
    assert file.sweep is not None
    cells = cells_of(file.sweep)
    tuned = [cell for cell in cells if cell["method"] != "frozen"]
    rates = 3 if name == "base_budget" else 4
    assert len(cells) * len(file.seeds) + len(tuned) * rates * len(file.sweep.tuning_seeds) <= MOST[name]


# -- the small forms --------------------------------------------------------------------------------------------------------

SMALL = {
    "base_budget": ["--model", "untrained"],
    "base_mamba2": [],
    "s4_retuned": ["--set", "steps=3"],
    "vision_retuned": ["--set", "steps=2", "--set", "pretrain_steps=2"],
}


@pytest.mark.parametrize("name", MODULES)
def test_the_small_form_runs_and_tells_what_is_missing(name: str, tmp_path: Path, capsys):
    assert main(["sweep", name, "--quick", "--out", str(tmp_path), *SMALL[name]]) == 0
    summary = json.loads((tmp_path / f"{name}_quick.json").read_text(encoding="utf-8"))
    family: Family = MODULES[name].FAMILY
    judged, waiting = ([c["name"] for c in summary[key]] if key in summary else [] for key in ("comparisons", "pending"))
    assert summary["complete"] and not summary["failed"] and judged and len(judged) + len(waiting) == len(family.pairs)
    assert ("not yet run: " in capsys.readouterr().out) == bool(waiting)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "runs" / name).iterdir()}
    assert main(["sweep", name, "--quick", "--out", str(tmp_path), *SMALL[name]]) == 0
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "runs" / name).iterdir()} == before, "nothing ran twice"


def test_images_that_tune_are_not_tested(tmp_path: Path):
    small = {"pretrain_steps": 2, "steps": 1, "batch": 4, "d_model": 8, "method": "full"}
    file = override(load_experiment("vision_retuned"), **small)
    runner = Runner(tmp_path, say=lambda line: None)
    tuned, counted = runner.one(file, 100, tuning=True), runner.one(file, 0)
    assert "test_accuracy" not in tuned.held_out and "predicted" not in tuned.metrics
    rows = outcomes(counted)
    assert len(rows) > 100 and counted.held_out["test_accuracy"] == (rows.true == rows.predicted).mean()


@pytest.mark.gpu
@pytest.mark.parametrize("method", load_experiment("base_mamba2").sweep.grid["method"])
def test_every_method_of_the_twin_trains_on_a_gpu(method: str, tmp_path: Path):
    """Its passes are recorded, under autocast; the loss and the score are those of a CPU, up to bfloat16."""
    file = override(load_experiment("base_mamba2", quick=True), method=method, learning_rate=5e-3)
    one, other = (Runner(tmp_path, device, say=lambda line: None).one(file, 0) for device in ("cuda", "cpu"))
    assert one.status == "finished", one.reason
    assert one.trainable == other.trainable and one.held_out["loss"] == pytest.approx(other.held_out["loss"], rel=0.05)


# -- budgets ----------------------------------------------------------------------------------------------------------------

THRESHOLD = {"confidence": 0.95, "margin": 1.0, "draws": 200.0}


def of(judged, name: str):
    (one,) = (c for c in judged.comparisons if c.name == name)
    return one


def test_each_budget_has_its_comparison():
    skills = {("lora_linear", 1): 0.6, ("sdt_lora", 1): 0.8, ("lora_linear", 25): 0.9, ("sdt_lora", 25): 0.7}
    judged = base_budget.judge(curve(skills), {**THRESHOLD, "seeds": 4.0, "tasks": 2.0})
    assert of(judged, "sdt_lora r1 - lora_linear r1").statements[0].verdict == "stands"
    assert of(judged, "sdt_lora r25 - lora_linear r25").statements[0].verdict == "refuted"
    more = of(judged, "lora_linear r25 - lora_linear r1")
    assert more.control and more.statements[0].verdict == "stands" and more.statements[0].adjusted is None
    assert "sdt_lora r8 - lora_linear r8" in [p.name for p in judged.pending]
    assert {(row["method"], row["rank"]) for row in judged.table} == set(skills) and len(judged.table) == 8


def test_a_budget_that_is_not_met_decides_nothing():
    skills = {("lora_linear", 4): 0.6, ("sdt_lora", 4): 0.8, ("lora_both", 4): 0.4}
    judged = base_budget.judge(curve(skills, {("sdt_lora", 4): 4500}), {**THRESHOLD, "seeds": 4.0, "tasks": 2.0})
    held = of(judged, "sdt_lora r4 - lora_linear r4")
    assert held.verdict == "undecided" and held.note == "budgets differ: 4,500 and 4,000 trained numbers"
    assert of(judged, "lora_linear r4 - lora_both r4").statements[0].verdict == "stands"


def test_an_edge_at_one_budget_holds_back_that_budget_alone(tmp_path: Path):
    file = load_experiment("base_budget")
    sweep = SweepRunner(Runner(tmp_path).recorded, file)
    edges = [{"method": "sdt_lora", "task": "cola", "rank": 1, "learning_rate": 4.0, "at_edge": ["learning_rate"]}]
    assert sweep._sides(edges) == {"sdt_lora r1"} and sweep._sides([]) == set()
    skills = {(method, rank): 0.6 + 0.2 * (method == "sdt_lora") for method in ("lora_linear", "sdt_lora") for rank in (1, 25)}
    judged = base_budget.judge(curve(skills), {**THRESHOLD, "seeds": 4.0, "tasks": 2.0})
    held = held_back(judged, sweep._sides(edges))
    assert of(held, "sdt_lora r1 - lora_linear r1").verdict == "undecided"
    assert of(held, "sdt_lora r25 - lora_linear r25").verdict == "reproduced"


def test_the_twin_is_judged_on_three_tasks():
    results = study({"lora_linear": 0.8, "prompt": 0.6}, tasks=base_mamba2.FAMILY.tasks)
    judged = base_mamba2.judge([r for r in results if r.seed < 5], {**THRESHOLD, "seeds": 5.0, "tasks": 3.0})
    found = of(judged, "lora_linear - prompt")
    assert found.statements[0].verdict == "stands" and found.pairs == 15 and len(found.statements) == 2
    assert len(judged.pending) == len(base_mamba2.FAMILY.pairs) - 1


# -- digits -----------------------------------------------------------------------------------------------------------------


def test_digits_are_judged_with_their_rows_drawn():
    limits = {**THRESHOLD, "margin": 5.0, "seeds": 6.0, "tasks": 1.0}
    results = images({"lora_linear": 0.7, "prefix": 0.3, "initial_state": 0.9, "sdt_lora": 0.71})
    judged = vision_retuned.judge(results, limits)
    verdicts = {c.name: [s.verdict for s in c.statements] for c in judged.comparisons}
    assert verdicts["lora_linear - prefix"] == ["stands"] and verdicts["lora_linear - initial_state"] == ["refuted"]
    assert verdicts["sdt_lora - lora_linear"] == ["level"] and judged.verdict == "not reproduced"
    assert "lora_linear - lora_ssm" in [p.name for p in judged.pending]
    tight = vision_retuned.judge(results, {**limits, "margin": 0.2})
    assert of(tight, "sdt_lora - lora_linear").statements[0].verdict == "undecided"
    for damage in ({"metrics": {}}, {"held_out": {"test_accuracy": 0.123, "test_loss": 1.0}}):
        with pytest.raises(CheckpointError, match=r"holds no test rows|its rows give"):
            vision_retuned.judge([results[0].model_copy(update=damage), *results[1:]], limits)


def test_rates_of_digits_are_chosen_by_the_error():
    error = vision_retuned.MINIMISED["error"]
    assert error({"accuracy": 0.75, "loss": 9.0}) == 0.25 and error({"accuracy": None}) is None


# -- deep S4 ----------------------------------------------------------------------------------------------------------------


RATIO = {"confidence": 0.95, "margin": 1.1, "seeds": 10.0, "tasks": 1.0}


def test_errors_are_judged_as_ratios():
    judged = s4_retuned.judge(
        regression({"sdt": 1.0, "lora_proj_r16": 1.01, "sdt_random": 2.0, "lora_s4_proj_r8": 0.5, "lora_proj_r8": 1.0}), RATIO
    )
    found = {c.name: c for c in judged.comparisons}
    assert found["sdt / sdt_random"].verdict == "reproduced" and found["sdt / lora_s4_proj_r8"].verdict == "not reproduced"
    assert found["sdt / lora_proj_r16"].verdict == "level" and judged.verdict == "not reproduced"
    half = found["sdt / sdt_random"]
    assert half.estimate == pytest.approx(0.5, rel=0.05) and half.low is not None and half.high is not None
    assert half.low < half.estimate < half.high < 1 and half.predicted == "below" and half.null == 1.0
    (said,) = half.statements
    assert (said.low, said.high) == (half.low, half.high) and said.adjusted is not None and said.p is not None
    told = sorted(c.statements[0].p for c in found.values() if not c.control)
    assert len(told) == 3, "the two that wait count as p = 1"
    steps = [(5 - k) * p for k, p in enumerate(told) if p <= said.p]  # Holm's, up to this one
    assert said.adjusted == pytest.approx(max(steps)) and said.adjusted < 0.05
    assert [p.name for p in judged.pending] == ["sdt_lora_r8 / lora_s4_proj_r8", "lora_proj_r8 / initial_state"]
    assert "not yet run: sdt_lora_r8 / lora_s4_proj_r8" in judged.measured
    (row,) = (row for row in judged.table if row["method"] == "sdt_random")
    assert row["low"] < row["held_out"] < row["high"] and row["seeds"] == 10


def test_a_run_that_diverged_keeps_its_comparison_waiting():
    results = regression({"sdt": 1.0, "sdt_random": 2.0})
    results[3] = results[3].model_copy(update={"held_out": {"mse": None}})
    judged = s4_retuned.judge(results, RATIO)
    assert judged.comparisons == [] and judged.verdict == "undecided"
    (waiting,) = (p for p in judged.pending if p.name == "sdt / sdt_random")
    assert waiting.runs == {"sdt": 9, "sdt_random": 10} and waiting.needs == 10
    with pytest.raises(InvalidInput, match=r"margin is 1.0, expected a ratio of errors above 1"):
        s4_retuned.judge(results, {**RATIO, "margin": 1.0})


# -- plans ------------------------------------------------------------------------------------------------------------------


def test_a_plan_tells_minutes_before_the_first_run(tmp_path: Path, monkeypatch):
    for name in ("base_benchmark", "vision"):  # as if the others had no committed runs
        (tmp_path / "experiments" / name).mkdir(parents=True)
        shutil.copy(plan.EXPERIMENTS / name / RUNS, tmp_path / "experiments" / name)
    monkeypatch.setattr(plan, "EXPERIMENTS", tmp_path / "experiments")
    gpu = Runner(tmp_path, "cuda")
    found = plan.plan_of(gpu, load_experiment("base_mamba2"))
    assert all(cell.seconds and cell.timed_as == "base_benchmark" for cell in found)
    assert plan.lines(found, 8)[-1].count("; seconds of base_benchmark's committed runs") == 1
    again, first = load_experiment("vision_retuned"), load_experiment("vision")
    seconds = [
        {cell.cell["method"]: cell.seconds for cell in plan.plan_of(gpu, file)}["prefix"]
        for file in (again, override(first, scan="fused"), first)
    ]
    assert seconds[0] and seconds[0] == seconds[1] != seconds[2]
    on_cpu = plan.plan_of(Runner(tmp_path, "cpu"), load_experiment("base_mamba2"))
    assert all(cell.seconds is None for cell in on_cpu) and "unknown time" in plan.lines(on_cpu, 1)[-1]


def test_seconds_of_a_gpu_tell_nothing_about_a_cpu(tmp_path: Path):
    unpack("base_mamba2", tmp_path)
    file = load_experiment("base_mamba2")
    gpu, cpu = (plan.plan_of(Runner(tmp_path, device), file) for device in ("cuda", "cpu"))
    assert all(cell.seconds for cell in gpu) and not any(cell.seconds for cell in cpu)


def test_runs_of_the_folder_tell_more_than_committed_ones(tmp_path: Path):
    assert main(["sweep", "base_mamba2", "--quick", "--out", str(tmp_path), "--only", "method=frozen"]) == 0
    (cell, *_) = plan.plan_of(Runner(tmp_path), load_experiment("base_mamba2", quick=True))
    assert cell.timed_as == "" and cell.seconds and cell.missing == 0
    assert len(RunFolder(tmp_path).everything("base_mamba2")) == 2


# -- one pretrained model a seed -------------------------------------------------------------------------------------------


def test_two_processes_adapt_one_pretrained_model(tmp_path: Path, monkeypatch):
    """Both begin at once; the second one waits, and pretrains nothing."""
    config = validate(first_edition.Config, {"pretrain_steps": 1, "d_model": 8, "batch": 4}, "test")
    began, both = [], threading.Barrier(2)

    def slowly(model, config, ctx):
        began.append(ctx)
        time.sleep(0.3)
        with torch.no_grad():
            model.backbone.embedding.weight.fill_(float(len(began)))

    monkeypatch.setattr(first_edition, "pretrain", slowly)

    def work(method: str):
        both.wait()
        return first_edition.pretrained(config, Context(0, work=tmp_path / method)).backbone.embedding.weight

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(work, ("full", "prefix"))
    assert len(began) == 1 and torch.equal(one, other) and bool((one == 1).all())
    assert not list(tmp_path.glob("*.lock"))
