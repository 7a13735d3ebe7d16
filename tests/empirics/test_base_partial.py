"""A folder of runs that ended half way becomes a summary, packed runs, lines and fates: what is complete is judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from base_runs import run

from empirics.experiments.base_benchmark.run import Config
from empirics.experiments.base_benchmark.verdicts import TASKS
from empirics.study.collect import collect
from empirics.study.config import ExperimentFile, load_experiment, validate
from empirics.study.pack import RUNS, read_pack
from empirics.study.results import Result, plain
from empirics.study.runner import TUNING
from empirics.study.store import Run, RunFolder, shown_options
from figures.report.comparisons import comparisons
from figures.report.evidence import find_comparison
from figures.report.scoreboard import Experiment, scoreboard, told

RATES = (1e-3, 4e-3, 0.016, 0.064, 0.256, 1.024, 4.096, 16.384, 65.536, 262.144, 1024.0)
"""The grid as far as it may grow."""
SKILLS = {"lora_linear": 0.8, "prompt": 0.6, "frozen": 0.5}


def put(folder: RunFolder, file: ExperimentFile, made: Result, rate: float, **more) -> None:
    options = plain(validate(Config, {**file.config, **made.config, "learning_rate": rate}, "test").model_dump())
    record = made.model_copy(update={"claim": file.claim, "config": options, "device_kind": "cuda", "device": "a GPU", **more})
    folder.write(Run.of(record, shown_options(file)), record)


def half(out: Path, top: dict[str, int]) -> None:
    """Three methods on all tasks, the loss of each least at a place of the grid; lora_linear lacks nothing, prompt neither."""
    file, folder = load_experiment("base_benchmark"), RunFolder(out)
    assert file.sweep is not None
    for task in TASKS:
        for method, skill in SKILLS.items():
            best = top.get(method, 0)
            for place, rate in enumerate(RATES[: best + 2] if method in top else ()):
                for seed in file.sweep.tuning_seeds:
                    tuned = run(task, method, seed, skill)
                    loss = {"loss": 1.0 + abs(place - best)}
                    put(folder, file, tuned, rate, metrics={TUNING: True, "weights": "w"}, held_out=loss)
            for seed in file.seeds:
                counted = run(task, method, seed, skill)
                put(folder, file, counted, RATES[best], held_out={**counted.held_out, "loss": 1.0})


@pytest.mark.parametrize(("edge", "verdict"), [(False, "stands"), (True, "undecided")])
def test_what_is_complete_is_judged(edge: bool, verdict: str, tmp_path: Path):
    half(tmp_path / "out", {"lora_linear": 1, "prompt": len(RATES) - 1 if edge else 2})
    into = tmp_path / "empirics/experiments"
    (into / "base_benchmark").mkdir(parents=True)
    summary = collect("base_benchmark", tmp_path / "out", into=into)
    assert not summary["complete"] and summary["verdict"] == "undecided" and summary["failed_tuning"] == []
    decided = {c["name"]: c["statements"][0]["verdict"] for c in summary["comparisons"]}
    assert decided == {"lora_linear - prompt": verdict, "lora_linear - frozen": "stands"}
    assert {row["method"] for row in summary["edges"]} == ({"prompt"} if edge else set())
    assert len(summary["pending"]) == 20 and {row["method"] for row in summary["table"]} == set(SKILLS)
    assert len(read_pack(into / "base_benchmark" / RUNS)) == len(RunFolder(tmp_path / "out").everything("base_benchmark"))

    committed = json.loads((into / "base_benchmark/results.json").read_text(encoding="utf-8"))
    lines = [line.verdict for line in comparisons(committed)]
    assert lines == [verdict, "stands", *["not yet run"] * 20]
    found = find_comparison("base_benchmark", "lora_linear - prompt", tmp_path)
    part = Experiment("base_benchmark", "lora_linear - prompt", found)
    assert part.fate == verdict and ("prompt at the grid's edge" in told(part)) == edge


def test_a_sentence_moves_once_all_of_its_comparisons_are_judged(tmp_path: Path):
    """One comparison decides one sentence; another sentence waits for the second of its two."""
    (tmp_path / "theory").mkdir()
    root = Path(__file__).resolve().parents[2]
    (tmp_path / "theory/verdicts.json").write_text((root / "theory/verdicts.json").read_text(encoding="utf-8"), encoding="utf-8")
    before = {s.id: s for s in scoreboard(tmp_path)}
    assert before["lora"].fate == "undecided" and not before["lora"].by_protocol
    half(tmp_path / "out", {"lora_linear": 1, "prompt": 2})
    (tmp_path / "empirics/experiments/base_benchmark").mkdir(parents=True)
    collect("base_benchmark", tmp_path / "out", into=tmp_path / "empirics/experiments")
    after = {s.id: s for s in scoreboard(tmp_path)}
    assert after["lora"].fate == "stands" and after["lora"].by_protocol
    assert not after["prompts"].by_protocol and [part.comparison for part in after["prompts"].waiting] == ["lora_linear - prefix"]
    assert [part.comparison for part in after["prompts"].beside] == ["lora_linear - prompt"]
