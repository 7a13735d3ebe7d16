"""The base benchmark's committed results, judged a second time by a program that shares nothing with the first but the files.

Rates, scores, drawn rows, intervals, Holm's adjustment, two one-sided tests and verdicts are computed here from ``runs.jsonl``
with NumPy and SciPy alone, after the words of docs/decisions/0007.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "empirics/experiments/base_benchmark"
PAGE = ROOT / "docs/decisions/0007-protocol-of-the-base-benchmark.md"
TASKS = ("cola", "polarity", "subjectivity", "trec", "dart")
PRIMARY = [
    *(("lora_linear", other) for other in (
        "prompt", "prefix", "lora_ssm", "lora_both", "bitfit", "additional_scan", "initial_state", "state_offset", "sdt",
    )),
    *(("lora_ssm", other) for other in ("initial_state", "state_offset", "sdt")),
    ("sdt_lora", "lora_linear"), ("sdt_lora", "lora_released"), ("sdt_released", "lora_released"),
]  # fmt: skip
SEEDS, TUNING = range(10), (100, 101, 102)
TAKES = {f"sdt_lora_{rule}": "sdt_lora" for rule in ("random", "shuffled", "data_free")}
LEAST, GREATEST = 1e-5, 1024.0

Run = dict[str, Any]


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    header, *lines = map(json.loads, (FOLDER / "runs.jsonl").read_text(encoding="utf-8").splitlines())
    return [{**line, "config": header["config"] | line["config"]} for line in lines if line["scan"] is None]


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def errors(runs: list[Run]) -> dict[tuple[str, str], dict[float, list[float]]]:
    """(method, task) -> rate -> 1 - validation score, or the loss, of the three tuning seeds; none for a rate that diverged."""
    found: dict[tuple[str, str], dict[float, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        if run["seed"] in TUNING:
            measured = run["held_out"] if run["status"] == "finished" else {"loss": math.inf}
            value = 1 - measured["score"] if "score" in measured else measured["loss"]
            found[run["config"]["method"], run["config"]["task"]][run["config"]["learning_rate"]][run["seed"]] = value
    return {key: {rate: list(v.values()) for rate, v in rates.items() if len(v) == len(TUNING)} for key, rates in found.items()}


def geometric(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values)) if min(values) > 0 else sum(values) / len(values)


def choice(rates: dict[float, list[float]]) -> tuple[float, bool] | None:
    """(chosen rate, whether it is an end), ``None`` where a rate that is to be tried was not."""
    tried = [1e-3, 4e-3]
    while all(rate in rates for rate in tried):
        mean = {rate: geometric(rates[rate]) for rate in tried if all(map(math.isfinite, rates[rate]))}
        best = next(rate for rate in tried if mean.get(rate) == min(mean.values()))
        ends = sorted(tried)
        steps = {ends[0]: ends[0] ** 2 / ends[1], ends[-1]: ends[-1] ** 2 / ends[-2]}
        more = [
            min(max(float(f"{steps[end]:.5e}"), LEAST), GREATEST)
            for end in steps
            if math.isclose(mean.get(end, math.inf), mean[best], rel_tol=1e-12)
        ]
        more = [rate for rate in more if rate not in tried]
        if not more:
            return best, best in steps
        tried += more
    return None


def points(runs: list[Run], weights: np.ndarray) -> np.ndarray:
    """The scores of runs of one cell on draws of its test rows, (runs, draws)."""
    kept = [run["metrics"] for run in runs]
    if "bleu_rows" in kept[0]:
        rows = np.array([run["bleu_rows"] for run in kept], float)
        made, wanted, *counts = np.moveaxis(np.tensordot(rows, weights, (1, 1)), 1, 0)
        logs, halved = np.zeros_like(made), np.ones_like(made)
        for right, whole in zip(counts[:4], counts[4:], strict=True):
            halved = np.where(right == 0, halved / 2, halved)
            logs += np.log(np.where(right == 0, halved, right) / whole) / 4
        return np.asarray(100 * np.exp(logs + np.minimum(0, 1 - wanted / made)))
    true, said = (np.array([[-1 if c == "-" else int(c) for c in run[key]] for run in kept]) for key in ("true", "predicted"))
    assert (true == true[0]).all()
    right, n = (true == said) @ weights.T, weights.sum(1)
    if runs[0]["config"]["task"] != "cola":
        return np.asarray(100 * right / n)
    shares = [((true == k) @ weights.T, (said == k) @ weights.T) for k in np.union1d(true, said)]
    both = sum(t * s for t, s in shares)
    spread = (n**2 - sum(t**2 for t, _ in shares)) * (n**2 - sum(s**2 for _, s in shares))
    return np.where(spread > 0, 100 * (right * n - both) / np.sqrt(np.maximum(spread, 1)), 0.0)


def drawn(rows: int) -> np.ndarray:
    """How often each row is drawn, (draws, rows)."""
    return np.random.default_rng(0).multinomial(rows, np.full(rows, 1 / rows), 2000).astype(float)


@pytest.fixture(scope="module")
def cells(runs: list[Run], results: dict[str, Any]) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray, int]]:
    """Complete cells at their chosen rates: points of the seeds (10,), on the draws (10, draws), and the number of rows."""
    rates = {(row["method"], row["task"]): row["learning_rate"] for row in results["tuned"]}
    chosen: dict[tuple[str, str], dict[int, Run]] = defaultdict(dict)
    for run in runs:
        key = run["config"]["method"], run["config"]["task"]
        counts = run["status"] == "finished" and run["seed"] in SEEDS and not run["metrics"].get("tuning")
        if counts and key[1] in TASKS and rates.get(key) == run["config"]["learning_rate"]:
            chosen[key][run["seed"]] = run
    found = {}
    draws: dict[int, np.ndarray] = {}
    for key, of_seed in chosen.items():
        if len(of_seed) == len(SEEDS):
            ordered = [of_seed[seed] for seed in SEEDS]
            kept = ordered[0]["metrics"]
            rows = len(kept.get("bleu_rows", kept.get("true")))
            draws[rows] = draws[rows] if rows in draws else drawn(rows)
            whole = points(ordered, np.ones((1, rows)))[:, 0]
            recorded = [100 * run["held_out"]["test_score"] for run in ordered]
            np.testing.assert_allclose(whole, recorded, atol=1e-9, err_msg=str(key))
            found[key] = whole, points(ordered, draws[rows]), rows
    return found


def of_mean(mean: float, error: float, freedom: float) -> dict[str, float]:
    half = stats.t.ppf(0.975, freedom) * error
    level = max(stats.t.sf((mean + 1) / error, freedom), stats.t.sf((1 - mean) / error, freedom))
    return {
        "low": mean - half, "high": mean + half, "freedom": freedom, "p": 2 * stats.t.sf(abs(mean) / error, freedom),
        "level_p": level,
    }  # fmt: skip


def statements(better: str, worse: str, cells: dict[tuple[str, str], tuple[np.ndarray, np.ndarray, int]]) -> tuple[float, list]:
    means, parts = [], []
    for task in TASKS:
        (one, first, rows), (other, second, _) = cells[better, task], cells[worse, task]
        difference, covariance = one - other, np.cov(first - second)
        shared = max(0.0, (covariance.sum() - np.trace(covariance)) / (10 * 9))
        means.append(difference.mean())
        parts += [(difference.var(ddof=1) / 10 / 25, 9), (shared / 25, rows - 1)]
    variance = sum(part for part, _ in parts)
    here = of_mean(float(np.mean(means)), math.sqrt(variance), variance**2 / sum(part**2 / below for part, below in parts))
    return float(np.mean(means)), [here, of_mean(float(np.mean(means)), float(np.std(means, ddof=1)) / 5**0.5, 4)]


def holm(p: list[float]) -> list[float]:
    """The adjusted p of each: by definition, the least level at which Holm's steps reject it."""
    order = np.argsort(p)
    steps = [min(1.0, (len(p) - place) * p[i]) for place, i in enumerate(order)]
    adjusted = dict(zip(order.tolist(), np.maximum.accumulate(steps).tolist(), strict=True))
    return [adjusted[i] for i in range(len(p))]


def test_the_rates_are_those_of_the_rule(errors, results):
    found = {}
    for method, task in {(m, t) for m, t in errors} | {(m, t) for m in TAKES for t in TASKS}:
        taken = choice(errors.get((TAKES.get(method, method), task), {}))
        if taken is not None:
            found[method, task] = taken
    committed = {(r["method"], r["task"]): r["learning_rate"] for r in results["tuned"] if r["method"] != "frozen"}
    assert committed == {key: rate for key, (rate, _) in found.items()}
    assert {(r["method"], r["task"]) for r in results["edges"]} == {key for key, (_, end) in found.items() if end}


def test_every_comparison_is_judged_as_declared(cells, results):
    done = {pair for pair in PRIMARY if all((side, task) in cells for side in pair for task in TASKS)}
    judged = {(c["better"], c["worse"]): c for c in results["comparisons"] if c["worse"] != "constant answer"}
    assert {pair for pair in judged if pair in PRIMARY} == done and len(done) >= 12
    found = {pair: statements(*pair, cells) for pair in judged}
    adjusted = [holm([found[pair][1][part]["p"] if pair in done else 1.0 for pair in PRIMARY]) for part in (0, 1)]
    ends = {row["method"] for row in results["edges"] if row["task"] in TASKS}
    for pair, committed in judged.items():
        mean, both = found[pair]
        assert committed["estimate"] == pytest.approx(mean, abs=1e-9)
        for part, (said, mine) in enumerate(zip(committed["statements"], both, strict=True)):
            p = adjusted[part][PRIMARY.index(pair)] if pair in done else mine["p"]
            assert {key: said[key] for key in mine} == pytest.approx(mine, rel=1e-6, abs=1e-9), pair
            assert said["adjusted"] == (pytest.approx(p, rel=1e-6, abs=1e-12) if pair in done else None)
            verdict = ("stands" if mean > 0 else "refuted") if p < 0.05 else "level" if mine["level_p"] < 0.05 else "undecided"
            assert said["verdict"] == ("undecided" if ends & set(pair) else verdict), pair


def test_a_wrong_rule_would_be_seen(cells, results):
    """Pairs that are shuffled, rows that are left out and tasks that are pooled give other intervals than the committed ones."""
    pair = ("lora_linear", "lora_ssm")
    (said, _) = next(c for c in results["comparisons"] if (c["better"], c["worse"]) == pair)["statements"]
    moved = {key: (p[::-1], d[::-1], n) if key[0] == pair[0] else (p, d, n) for key, (p, d, n) in cells.items()}
    still = {key: (p, np.zeros_like(d), n) for key, (p, d, n) in cells.items()}
    for other in (moved, still):
        assert statements(*pair, other)[1][0]["low"] != pytest.approx(said["low"], abs=1e-3)
    pooled = np.concatenate([cells[pair[0], task][0] - cells[pair[1], task][0] for task in TASKS])
    low = pooled.mean() - stats.t.ppf(0.975, 49) * pooled.std(ddof=1) / 50**0.5
    assert low != pytest.approx(said["low"], abs=1e-3)


def test_the_corrections_tell_what_the_tuning_runs_say(errors):
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    low, middle, high = (geometric(errors["prefix", "cola"][rate]) for rate in (0.00025, 0.001, 0.004))
    assert f"three mean errors are {middle:.3f} at the chosen rate and {high:.3f} and {low:.3f} at the ends" in page
    assert "score of `prompt` is 0 at all three rates" in page
    assert all(errors["prompt", "cola"][rate] == [1.0, 1.0, 1.0] for rate in (0.00025, 0.001, 0.004))
    scores = {
        (task, rate): sorted(scale * (1 - e) for e in errors["full", task][rate])
        for task, scale in (("cola", 1), ("polarity", 100))
        for rate in (0.004, 0.001)
    }
    numbers = r"([\d.]+), ([\d.]+) and ([\d.]+)"
    told = re.search(
        f"the validation scores are {numbers} \\(Matthews\\) and {numbers} %. At 0.001 they are {numbers}, and 82 %", page
    )
    assert told is not None
    for place, key, digits in ((0, ("cola", 0.004), 2), (3, ("polarity", 0.004), 0), (6, ("cola", 0.001), 2)):
        assert sorted(map(float, told.groups()[place : place + 3])) == [round(score, digits) for score in scores[key]]
    assert [round(score) for score in scores["polarity", 0.001]] == [82, 82, 82]
