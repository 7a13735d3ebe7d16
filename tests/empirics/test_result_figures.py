"""Figures of results: each reads what experiments and benchmarks write, draws it readably, and notices changes.

Runs are made up here, and judged, summarised and written by the project's own code, so that a figure which no longer fits what is
written fails.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import torch
from base_runs import curve, images, regression, study
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text

from empirics.bench import model as bench_model
from empirics.bench import selection as bench_selection
from empirics.bench import targets
from empirics.bench.machine import machine
from empirics.experiments.lm_benchmark import run as lm_experiment
from empirics.experiments.lm_benchmark.methods import METHODS
from empirics.experiments.lm_benchmark.verdicts import together
from empirics.experiments.s4_regression import run as s4_experiment
from empirics.experiments.vision import run as vision_experiment
from empirics.models import MambaConfig
from empirics.study.checks import SUITE
from empirics.study.config import find_experiment, load_experiment, validate
from empirics.study.judging import summary_of
from empirics.study.pack import RUNS, write_pack
from empirics.study.results import Result, plain, write_json
from empirics.study.store import shown_options
from figures import declared, dots, plots, sources, style
from figures.build import canonical, render
from figures.plots import (
    base_benchmark,
    base_budget,
    base_mamba2,
    base_scores,
    bench_model_graph,
    bench_model_memory,
    lm_benchmark,
    lm_scores,
    lm_scores_unlearned,
    s4_regression,
    s4_retuned,
    vision,
    vision_retuned,
)
from figures.registry import Picture, pictures
from figures.report.benchmarks import AGAIN, NO_MAMBA
from figures.report.comparisons import comparisons
from figures.sources import MissingData
from theory.core.errors import InvalidInput

ROOT = Path(__file__).resolve().parents[2]
Draw = Callable[[Picture], Figure]


@pytest.fixture
def draw() -> Draw:
    def drawn(picture: Picture) -> Figure:
        """The figure, after a check that all of its text is large enough and on the page."""
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(style.RC)
            data = canonical(picture.data())
            figure = picture.drawn(data)
            figure.draw_without_rendering()
            ticks = {t for axes in figure.findobj(Axis) for tick in axes.get_major_ticks() for t in (tick.label1, tick.label2)}
            for text in (t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible() and t not in ticks):
                box = text.get_window_extent()
                assert text.get_fontsize() >= style.SMALL, text.get_text()
                assert -1 <= box.x0 and box.x1 <= figure.bbox.width + 1, text.get_text()
                assert -1 <= box.y0 and box.y1 <= figure.bbox.height + 1, text.get_text()
            assert 1 < figure.get_figheight() < 9
            return figure

    return drawn


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout that the figures read."""
    for module in (vision, lm_benchmark, s4_regression, declared, base_scores, base_budget):
        monkeypatch.setattr(module, "experiment", partial(sources.experiment, root=tmp_path))
    for module in (plots.bench_model, plots.bench_scan_gpu, plots.bench_selection):
        monkeypatch.setattr(module, "committed", partial(sources.committed, root=tmp_path))
    return tmp_path


def words(figure: Figure) -> set[str]:
    return {t.get_text() for t in figure.findobj(Text) if t.get_text().strip()}


def put(root: Path, name: str, module: Any, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Judge and write made-up runs as the runner does; returns the summary."""
    file = load_experiment(name)
    results = []
    for run in runs:
        options = plain(validate(module.Config, {**file.config, **run.pop("options")}, name).model_dump())
        common = {"experiment": name, "claim": file.claim, "config": options, "status": "finished", "seconds": 1.0}
        place = {"git": "0", "versions": {}, "device": "a GPU", "device_kind": "cuda", "scan": None}
        results.append(Result.model_validate({**common, **place, **run}))
    write_pack(root / sources.EXPERIMENTS / name / RUNS, results, shown_options(file))
    summary = summary_of(file, results, len(results), quick=False)
    write_json(root / sources.summary_path(name), summary)
    return summary


# -- sequential digits ------------------------------------------------------------------------------------------------------


def digits(root: Path, **accuracy: float) -> None:
    given = {"frozen": 0.2, "prefix": 0.3, "initial_state": 0.35, "lora_linear": 0.6, "lora_ssm": 0.5, "sdt_lora": 0.65}
    put(
        root, "vision", vision_experiment,
        [
            {
                "options": {"method": method}, "seed": seed, "trainable": 0 if method == "frozen" else 5120,
                "held_out": {"test_accuracy": value + 0.01 * ((seed * 7 + len(method)) % 3)},
            }
            for method, value in {**given, **accuracy}.items()
            for seed in range(3)
        ],
    )  # fmt: skip


def test_vision_ranks_methods_and_shows_what_they_train(root: Path, draw: Draw):
    with pytest.raises(MissingData, match="sweep vision --device cuda"):
        vision.FIGURE.data()
    digits(root)
    data = vision.data()
    assert [row["method"] for row in data["methods"]][:2] == ["sdt_lora", "lora_linear"]
    top = data["methods"][0]
    assert top["low"] < top["mean"] < top["high"] and top["mean"] == pytest.approx(66, abs=1)
    assert [row["pair"] for row in data["pairs"]] == [list(pair) for pair in vision_experiment.COMPARISONS]
    assert {"SDT + LoRA", "frozen", "5.1 k", "trained", "SDT + LoRA − LoRA linear"} <= words(draw(vision.FIGURE))
    digits(root, sdt_lora=0.1)
    assert vision.data()["methods"][0]["method"] == "lora_linear"


def test_one_seed_has_no_interval(root: Path, draw: Draw):
    runs = [
        {"options": {"method": m}, "seed": 0, "trainable": 9, "held_out": {"test_accuracy": a}}
        for m, a in (("prefix", 0.3), ("full", 0.7))
    ]
    put(root, "vision", vision_experiment, runs)
    assert all(row["low"] is None for row in vision.data()["methods"]) and vision.data()["pairs"] == []
    assert "prefix" in words(draw(vision.FIGURE))


# -- language tasks ---------------------------------------------------------------------------------------------------------


def language(root: Path, tasks: tuple[str, ...], **score: float) -> None:
    put(
        root, "lm_benchmark", lm_experiment,
        [
            {
                "options": {"method": method, "task": task, "data": "local"}, "seed": seed,
                "trainable": 0 if method == "frozen" else 1000, "data_hash": task,
                "metrics": {"matched": method not in ("frozen", "full", "bitfit"), "weights": "same"},
                "held_out": {
                    "test_score": score.get(method, 0.5) + 0.01 * (seed * (i + len(task)) % 5), "test_loss": 1.0,
                    **({} if task == "dart" else {"test_majority": 0.55, "test_no_class": 0.0}),
                },
            }
            for task in tasks
            for i, method in enumerate(METHODS)
            for seed in range(3)
        ],
    )  # fmt: skip


@pytest.mark.parametrize("tasks", [("polarity",), ("cola", "rte", "polarity", "dart")])
def test_lm_benchmark_has_a_panel_for_each_task(tasks: tuple[str, ...], root: Path, draw: Draw):
    with pytest.raises(MissingData, match="sweep lm_benchmark"):
        lm_benchmark.FIGURE.data()
    language(root, tasks, lora_linear=0.8, prefix=0.2)
    data = lm_benchmark.data()
    assert list(data["scores"]) == list(tasks) and set(data["order"]) == set(METHODS) - {"frozen"}
    assert data["lines"]["polarity"] == {"frozen": pytest.approx(51.5, abs=2), "majority": pytest.approx(55.0)}
    assert "majority" not in data["lines"].get("dart", {})
    assert [row["pair"] for row in data["pairs"]][:2] == [["lora_linear", "prefix"], ["lora_linear", "prompt"]]
    assert data["pairs"][0]["low"] > 50
    assert not data["scores"]["polarity"]["full"]["matched"] and data["scores"]["polarity"]["lora_ssm"]["matched"]
    assert "(i) LoRA linear − prefix" in words(draw(lm_benchmark.FIGURE))
    figure = draw(lm_scores.FIGURE)
    shown = lm_scores.data()["scores"]
    assert len(figure.axes) == len(shown) and {lm_benchmark.TASKS[task][0] for task in shown} <= words(figure)


def test_seeds_in_words():
    assert [lm_benchmark.seeds_in_words(c) for c in ([3, 3], [3, 1, 2], [1])] == ["3 seeds", "1 to 3 seeds", "1 seed"]


def test_differences_on_learned_tasks_and_a_frozen_model_far_below(root: Path, draw: Draw):
    language(root, ("rte", "polarity"), full=0.75, frozen=0.0)
    assert lm_benchmark.data()["pairs"][0]["learned"]["tasks"] == ["polarity", "rte"]
    assert any("grey: on RTE and Polarity alone" in text for text in words(draw(lm_benchmark.FIGURE)))
    figure = draw(lm_scores.FIGURE)
    assert any(text.startswith("← frozen ") for text in words(figure)) and figure.axes[0].get_xlim()[0] > 30
    with pytest.raises(MissingData):
        lm_scores_unlearned.data()
    language(root, ("rte", "polarity"), full=0.5)
    assert lm_benchmark.data()["pairs"][0]["learned"] is None
    assert not any("grey" in text for text in words(draw(lm_benchmark.FIGURE)))


def test_tasks_that_are_not_learned_have_a_figure_of_their_own(root: Path, draw: Draw):
    language(root, ("rte", "polarity"), full=0.75)
    found = lm_benchmark.data()
    for row in found["pairs"]:
        row["learned"]["tasks"] = ["polarity"]
    assert lm_benchmark.learned(found) == ["polarity"]
    rest = lm_scores.of_tasks(found, ["rte"])
    assert list(rest["scores"]) == ["rte"] and "RTE are not learned" in lm_scores_unlearned.says(rest)


def test_the_message_of_lm_benchmark_is_its_verdicts():
    data = {"verdicts": {"(i)": "reproduced", "(ii)": "reproduced", "(iii)": "undecided"}}
    assert lm_benchmark.says(data) == "Of the paper’s claims (i) and (ii) are reproduced; (iii) is undecided"


def test_the_lines_of_a_task_are_where_the_baselines_are(root: Path, draw: Draw):
    language(root, ("polarity",))
    axes = draw(lm_scores.FIGURE).axes[0]
    upright = {round(line.get_xdata()[0], 3) for line in axes.lines if list(line.get_ydata()) == [0, 1]}
    lines = canonical(lm_benchmark.data())["lines"]["polarity"]
    assert upright == {round(lines["frozen"], 3), round(lines["majority"], 3)}


def test_every_method_of_the_experiments_has_a_label():
    used = set(METHODS) | set(vision_experiment.METHODS) | set(s4_experiment.METHODS)
    assert used - {"frozen"} <= set(dots.METHODS)
    labels = [label for label, _ in dots.METHODS.values()]
    assert len(set(labels)) == len(labels) and {family for _, family in dots.METHODS.values()} <= set(dots.FAMILIES)


# -- the base benchmark -----------------------------------------------------------------------------------------------------


def base(root: Path, skills: dict[str, float], expected: int, at_edge: tuple[str, ...] = (), **changes: Any) -> None:
    """Made-up runs of so many that are expected, judged and written."""
    results = study(skills, noise=0.1)
    file = load_experiment("base_benchmark")
    file = file.model_copy(update={"threshold": {**file.threshold, "draws": 100, **changes}})
    write_pack(root / sources.EXPERIMENTS / "base_benchmark" / RUNS, results, shown_options(file))
    summary = summary_of(file, results, expected, quick=False, at_edge=at_edge)
    write_json(root / sources.summary_path("base_benchmark"), summary)


def test_the_base_benchmark_is_not_drawn_before_a_cell_is_complete(root: Path):
    for module in (base_benchmark, base_scores):
        with pytest.raises(MissingData, match="sweep base_benchmark"):
            module.FIGURE.data()
    base(root, {"lora_linear": 0.8}, 1080, seeds=11)
    with pytest.raises(MissingData, match="sweep base_benchmark"):
        base_benchmark.FIGURE.data()


def test_the_base_benchmark_with_partial_results(root: Path, draw: Draw):
    base(root, {"lora_linear": 0.8, "prompt": 0.6, "frozen": 0.5}, 1080)
    data = base_benchmark.FIGURE.data()
    assert declared.says(data) == "Of 15 declared comparisons on these tasks: 1 stands, 14 not yet run"
    assert [row["pair"] for row in data["rows"]] == [
        ["lora_linear", "prompt"], ["lora_linear", "frozen"], ["lora_linear", "constant answer"],
    ]  # fmt: skip
    seen = words(draw(base_benchmark.FIGURE))
    assert {"stands", "LoRA linear − prompt", "(c) LoRA linear − constant answer, RTE"} <= seen
    assert not any("hollow" in text for text in seen)
    figure = draw(base_scores.FIGURE)
    assert {"CoLA", "DART", "RTE", "prompt"} <= words(figure)
    base(root, {"lora_linear": 0.8, "prompt": 0.6}, 1080, at_edge=("prompt",))
    seen = words(draw(base_benchmark.FIGURE))
    assert "undecided" in seen and any("hollow: held back" in text for text in seen)
    assert declared.says(base_benchmark.FIGURE.data()).startswith("Of 15 declared comparisons on these tasks: 1 undecided, 14")


def test_the_base_benchmark_is_readable_with_all_methods(root: Path, draw: Draw):
    skills = {m: 0.55 + 0.015 * i for i, m in enumerate(load_experiment("base_benchmark").sweep.grid["method"])}
    base(root, skills, 1080)
    data = base_benchmark.FIGURE.data()
    assert len(data["rows"]) == 22 and data["waiting"] == [] and len(data["rows"][0]["statements"]) == 2
    draw(base_benchmark.FIGURE)
    assert len(draw(base_scores.FIGURE).axes) == 6
    assert "not yet run" not in declared.says(data)
    said = base_scores.says(base_scores.data())
    assert said.endswith(": SDT on CoLA, Polarity, TREC, Subjectivity, DART and RTE"), said  # three controls are above it


def test_base_results_that_are_none_are_named(root: Path):
    base(root, {"lora_linear": 0.8}, 1080)
    path = root / sources.summary_path("base_benchmark")
    good = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**good, "threshold": {}})
    with pytest.raises(InvalidInput, match="have no margin"):
        base_benchmark.FIGURE.data()
    write_json(path, {**good, "table": [{"method": "frozen"}]})
    with pytest.raises(InvalidInput, match="results of base_benchmark lack"):
        base_scores.data()


# -- the experiments declared later ----------------------------------------------------------------------------------------------


def declare(root: Path, name: str, results: list[Result], **changes: Any) -> None:
    """Made-up runs, judged and written."""
    file = load_experiment(name)
    file = file.model_copy(update={"threshold": {**file.threshold, "draws": 100, **changes}, "seeds": list(range(4))})
    write_pack(root / sources.EXPERIMENTS / name / RUNS, results, shown_options(file))
    write_json(root / sources.summary_path(name), summary_of(file, results, len(results), quick=False))


@pytest.mark.parametrize("module", [base_budget, base_mamba2, s4_retuned, vision_retuned])
def test_a_declared_experiment_is_not_drawn_before_it_is_run(root: Path, module: Any):
    with pytest.raises(MissingData, match=f"sweep {module.NAME} --device cuda"):
        module.FIGURE.data()


def test_a_budget_curve_has_a_line_for_each_method(root: Path, draw: Draw):
    skills = {("lora_linear", 1): 0.6, ("lora_linear", 25): 0.8, ("sdt_lora", 1): 0.7, ("sdt_lora", 25): 0.8}
    declare(root, "base_budget", curve(skills), seeds=4)
    data = base_budget.data()
    assert [[p["trainable"] for p in points] for points in data["curves"]["cola"].values()] == [[1000, 25000]] * 2
    assert data["curves"]["cola"]["sdt_lora"][0]["points"] > data["curves"]["cola"]["lora_linear"][0]["points"]
    assert base_budget.FIGURE.says(data).startswith("Of 7 declared comparisons on these tasks: ")
    assert {"CoLA", "Polarity", "LoRA linear", "SDT + LoRA", "25 k"} <= words(draw(base_budget.FIGURE))
    write_json(root / sources.summary_path("base_budget"), {"table": [{"trainable": 1}], "seeds": [0]})
    with pytest.raises(InvalidInput, match="results of base_budget lack 'points'"):
        base_budget.data()


def test_comparisons_of_one_task_are_one_panel(root: Path, draw: Draw):
    declare(root, "vision_retuned", images({"lora_linear": 0.7, "prefix": 0.3, "frozen": 0.2}), seeds=6)
    figure = draw(vision_retuned.FIGURE)
    assert len(figure.axes) == 1 and {"LoRA linear − prefix", "stands", "difference in points"} <= words(figure)
    assert "Of 4 declared comparisons: 1 stands, 3 not yet run" in words(figure)


def test_ratios_are_drawn_and_told_as_ratios(root: Path, draw: Draw):
    declare(root, "s4_retuned", regression({"sdt": 1.0, "sdt_random": 2.0, "lora_proj_r16": 1.01}))
    figure = draw(s4_retuned.FIGURE)
    assert {"SDT / SDT, random", "stands", "level", "ratio of errors", "0.5", "2"} <= words(figure)
    assert any(text.endswith("predicted: left of 1; band: a ratio of 1.1") for text in words(figure))
    told = {line.text for line in comparisons(json.loads((root / sources.summary_path("s4_retuned")).read_text()))}
    assert any(text.startswith("error of sdt / sdt_random: 0.50; on these tasks [0.4") for text in told)


def test_the_twin_is_drawn_on_its_tasks(root: Path, draw: Draw):
    declare(root, "base_mamba2", study({"lora_linear": 0.8, "prompt": 0.6}, tasks=("cola", "polarity", "trec")))
    figure = draw(base_mamba2.FIGURE)
    assert len(figure.axes) == 2 and "LoRA linear − prompt" in words(figure)


# -- deep S4 ----------------------------------------------------------------------------------------------------------------


def test_s4_regression_is_readable_with_all_methods(root: Path, draw: Draw):
    assert s4_regression.data()["ours"] is None
    put(
        root, "s4_regression", s4_experiment,
        [
            {
                "options": {"method": method}, "seed": seed, "trainable": 300 * i,
                "held_out": {"mse": 3.0 - 0.15 * i + 0.02 * seed}, "metrics": {"least_train": 1.0},
            }
            for i, method in enumerate(s4_experiment.METHODS)
            for seed in range(5)
        ],
    )  # fmt: skip
    data = s4_regression.data()
    assert {row["method"] for row in data["ours"]} == set(s4_experiment.METHODS) - {"frozen"}
    assert data["ours"][0]["method"] == "full" and data["ours"][0]["low"] < data["ours"][0]["mean"] < data["ours"][0]["high"]
    assert all(p["mean"] <= q["mean"] for p, q in itertools.pairwise(data["ours"]))
    assert not any("no data yet" in text for text in words(draw(s4_regression.FIGURE)))


@pytest.mark.parametrize(("power", "verdict"), [(1.0, "reproduced"), (0.0, "undecided"), (-1.0, "not reproduced")])
def test_lines_in_words_come_to_the_judgements_verdict(power: float, verdict: str, root: Path):
    """Errors as predicted, all alike, and turned round."""
    best = {"sdt": 0.5, "sdt_lora_r8": 0.5, "lora_proj_r8": 0.8}
    summary = put(
        root, "s4_regression", s4_experiment,
        [
            {
                "options": {"method": method}, "seed": seed, "trainable": 1, "metrics": {"least_train": 1.0},
                "held_out": {"mse": best.get(method, 1.0) ** power * (1 + 0.1 * ((seed + 1) * (i + 2) % 7))},
            }
            for i, method in enumerate(s4_experiment.METHODS)
            for seed in range(5)
        ],
    )  # fmt: skip
    verdicts = [line.verdict for line in comparisons(summary)]
    assert len(verdicts) == len(s4_experiment.COMPARISONS)
    assert together(verdicts) == summary["verdict"] == verdict


def test_an_experiment_file_may_hold_a_finding(tmp_path: Path):
    file = tmp_path / "state_floor.toml"
    file.write_text('finding = "as expected"\n' + find_experiment("state_floor").read_text())
    assert load_experiment(file).finding == "as expected" and load_experiment("state_floor").finding != "as expected"


def test_shares_of_the_frozen_error_are_paired():
    """Seeds whose errors differ tenfold, all halved: no spread is left. Shuffled, there is."""
    frozen = [1.0, 10.0, 3.0]
    halved = s4_regression.share([0.5, 5.0, 1.5], frozen, 0.95)
    assert halved == {key: pytest.approx(0.5) for key in ("mean", "low", "high")}
    shuffled = s4_regression.share([5.0, 0.5, 1.5], frozen, 0.95)
    assert shuffled["mean"] == pytest.approx(0.5) and shuffled["high"] > 10 * shuffled["low"]
    assert s4_regression.share([0.5], [1.0], 0.95) == {"mean": 0.5, "low": None, "high": None}


# -- benchmarks -------------------------------------------------------------------------------------------------------------


def test_bench_scan_gpu_reads_what_the_targets_write(root: Path, draw: Draw):
    with pytest.raises(MissingData, match="--targets"):
        plots.bench_scan_gpu.FIGURE.data()
    scale = targets.Scale({"130m": 8, "370m": 12}, ((8, 16, 24), (7, 17)), (1, 2), 2, 40, 4)
    found = targets.measure_targets("chunked", "naive", scale, torch.float32, "cpu")
    written = {"benchmark": "scan_targets", "dtype": "float32", "machine": machine("cpu"), **found}
    write_json(root / plots.bench_scan_gpu.PATH, written)
    data = plots.bench_scan_gpu.data()
    assert data["bounds"] == {"median": 2.0, "least": 1.5, "off": 4.0} and len(data["rows"]) == 2 * 2 * 5
    figure = draw(plots.bench_scan_gpu.FIGURE)
    assert len(figure.axes) == 4 and {"Batch 1, its lengths", "Batch 2, others", "8 channels (130m)"} <= words(figure)
    on, off = ([line for line in axes.lines if line.get_marker() != "None"] for axes in figure.axes[:2])
    assert len(off) == 2 and all(list(line.get_xdata()) == [7, 17] for line in off)
    assert len(on) == 2 and all(list(line.get_xdata()) == [8, 16, 24] for line in on)
    del found["table"][0]
    write_json(root / plots.bench_scan_gpu.PATH, {**written, "table": found["table"]})
    with pytest.raises(InvalidInput, match="no result of the scan targets"):
        plots.bench_scan_gpu.data()


def test_bench_model_reads_what_the_model_benchmark_writes(root: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(MissingData, match="bench model"):
        plots.bench_model.FIGURE.data()
    model = MambaConfig(16, 1, 31, {"layer": "Mamba1", "d_state": 4, "dt_rank": 8}, pad_vocab_size_multiple=1)
    setting = bench_model.Setting(model, 1, 5, "cpu", torch.float32, 1)
    monkeypatch.setattr(bench_model, "_settings", lambda options: [("tiny", setting), ("small", setting)])
    names = ["lora/chunked", "sdt/chunked", "full/chunked"]
    path = root / plots.bench_model.PATH
    assert bench_model.main_bench_model(["--device", "cpu", "--contenders", *names, "--out", str(path)]) == 0
    written = json.loads(path.read_text())
    for rows in written["sizes"].values():  # what only a GPU has: the peers, and memory
        for name in ("stock", "stock_slow_lora"):
            rows[name] = {**rows["lora/chunked"], "step_s": 2 * rows["lora/chunked"]["step_s"]}
        for row in rows.values():
            row["peak_bytes"] = 1000
    written["sizes"]["small"]["stock_slow_lora"] = {"missing": "out of memory"}
    write_json(path, written)
    data = plots.bench_model.data()
    turns = {"name": "stock", "step_s": 1.0, "times_as_fast": 3.0, "least": 2.5, "most": 3.5}
    full = written["sizes"]["tiny"]["full/chunked"]
    write_json(path, {**written, "sizes": {"tiny": {**written["sizes"]["tiny"], "full/chunked": {**full, "beside": turns}}}})
    (in_turns,) = (row["sizes"]["tiny"]["step"] for row in plots.bench_model.data()["rows"] if row["name"] == "full/chunked")
    (apart,) = (row["sizes"]["tiny"]["step"] for row in data["rows"] if row["name"] == "full/chunked")
    assert in_turns == [3.0, 2.5, 3.5] != apart
    write_json(path, written)
    lora = next(row for row in data["rows"] if row["name"] == "lora/chunked")["sizes"]
    stock = written["sizes"]["tiny"]["stock"]["step_s"]
    steps = [stock / written["sizes"]["tiny"]["lora/chunked"][key] for key in ("step_s", "most_s", "least_s")]
    assert lora["tiny"]["step"] == steps and steps[0] == 2.0 and lora["tiny"]["memory"] == lora["small"]["memory"] == 1.0
    slow = next(row for row in data["rows"] if row["name"] == "stock_slow_lora")["sizes"]
    assert slow["tiny"]["ran"] and not slow["small"]["ran"] and slow["small"]["step"] == [None, None, None]
    assert data["selection_s"]["tiny"] > 0
    figure = draw(plots.bench_model.FIGURE)
    assert {"LoRA, chunked", "all parameters, chunked", "tiny", "small", "mamba-ssm, all weights"} <= words(figure)
    lost = [sum(line.get_marker() == "x" for line in axes.lines) for axes in figure.axes]
    assert lost == [0, 1], "one contender of one size did not run"
    ranges = [list(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == "None"]
    assert steps[1:] in ranges
    assert "LoRA, chunked" in words(draw(bench_model_memory.FIGURE))


def test_replayed_steps_are_set_beside_the_replayed_reference(root: Path, draw: Draw):
    """Half as long as mamba-ssm's replayed step: twice as fast, whatever the steps that Python launches take."""
    rows = {
        "stock": {"step_s": 9.0, "peak_bytes": 1}, "lora/fused": {"step_s": 3.0, "peak_bytes": 1},
        "stock/graph": {"step_s": 2.0, "peak_bytes": 1}, "lora/fused/graph": {"step_s": 1.0, "peak_bytes": 1},
    }  # fmt: skip
    written = {"sizes": {"130m": rows}, "batch": {"130m": 1}, "length": 8, "machine": {"gpu": "a GPU"}}
    write_json(root / plots.bench_model.PATH, written)
    data = bench_model_graph.data()
    assert [row["name"] for row in data["rows"]] == ["stock/graph", "lora/fused/graph"]
    assert data["rows"][1]["sizes"]["130m"]["step_replayed"][0] == 2.0
    assert "steps of 1 of 1 methods" in bench_model_graph.says(data)
    assert words(draw(bench_model_graph.FIGURE)) >= {"LoRA", "130m"}
    rows["lora/fused/graph"]["step_s"] = 4.0
    write_json(root / plots.bench_model.PATH, written)
    assert "steps of 0 of 1 methods" in bench_model_graph.says(bench_model_graph.data())


def test_bench_scan_gpu_says_what_is_left_when_python_launches(root: Path, draw: Draw):
    write_json(root / plots.bench_scan_gpu.PATH, json.loads((ROOT / plots.bench_scan_gpu.PATH).read_text()))
    rows = plots.bench_scan_gpu.data()["launched"]
    speed = json.loads((ROOT / plots.bench_scan_gpu.PATH).read_text())["speed"]
    off = [row["launched_ratio"] for row in speed if not row["on_grid"]]
    assert rows["off grid"] == {"median": statistics.median(off), "least": min(off)} and rows["on grid"] != rows["off grid"]
    assert any(
        f"others {statistics.median(off):.2f}, {min(off):.2f}" in text for text in words(draw(plots.bench_scan_gpu.FIGURE))
    )


def test_bench_selection_reads_what_its_benchmark_writes(root: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(MissingData, match="bench selection"):
        plots.bench_selection.FIGURE.data()
    model = MambaConfig(16, 1, 31, {"layer": "Mamba1", "d_state": 4, "dt_rank": 8}, pad_vocab_size_multiple=1)
    monkeypatch.setattr(bench_selection, "size_config", lambda name: model)
    path = root / plots.bench_selection.PATH
    arguments = ["--device", "cpu", "--sizes", "tiny", "small", "--lengths", "4", "8", "--repeats", "1", "--out", str(path)]
    assert bench_selection.main_bench_selection(arguments) == 0
    written = json.loads(path.read_text())
    written["sizes"]["small"][1] = {"length": 8, "batch": 1, "missing": "out of memory"}
    write_json(path, written)
    data = plots.bench_selection.data()
    curves = {(c["size"], c["score"]): c["points"] for c in data["curves"]}
    row = written["sizes"]["tiny"][0]
    assert curves["tiny", "change"][0]["seconds"] == row["warm_up_s"] + row["select_s"]
    assert curves["tiny", "ablation"][0]["seconds"] == row["warm_up_s"] + row["evaluation_s"] * (1 + 32 + 3 * 4)
    assert curves["tiny", "gradient"][0]["steps"] == (row["gradient_s"] + row["select_s"]) / row["step_s"]
    assert [p["length"] for p in curves["small", "change"]] == [4]
    figure = draw(plots.bench_selection.FIGURE)
    assert {"mamba-tiny", "ablation (estimate)", "Training steps"} <= words(figure)
    assert sum(len(axes.lines) for axes in figure.axes) == 2 * len(curves)
    write_json(path, {**written, "sizes": {"tiny": [{"length": 4}]}})
    with pytest.raises(InvalidInput, match="no result of the selection benchmark"):
        plots.bench_selection.data()


# -- all of them ------------------------------------------------------------------------------------------------------------


def test_a_result_of_another_shape_is_named(root: Path):
    write_json(root / sources.summary_path("vision"), {"table": [{"method": "full"}], "seeds": [0]})
    with pytest.raises(InvalidInput, match="lack 'test_accuracy'"):
        vision.data()
    write_json(root / sources.summary_path("lm_benchmark"), {"table": [{"task": "rte", "method": "full"}], "seeds": [0]})
    with pytest.raises(InvalidInput, match="lack 'points'"):
        lm_benchmark.data()
    write_json(root / plots.bench_model.PATH, {"sizes": []})
    with pytest.raises(InvalidInput, match="no result of the model benchmark"):
        plots.bench_model.data()


def test_other_results_give_another_picture(root: Path):
    digits(root)
    picture = pictures()["vision"]
    first = render("vision", picture, canonical(picture.data()))
    assert render("vision", picture, canonical(picture.data())) == first
    digits(root, lora_linear=0.61)
    again = render("vision", picture, canonical(picture.data()))
    assert all(again[file] != first[file] for file in first)


def test_the_readme_counts_every_experiment_with_or_without_a_mamba():
    assert {*AGAIN, *NO_MAMBA} == set(SUITE)
