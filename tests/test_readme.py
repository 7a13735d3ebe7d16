"""Generated pages: every line comes from a file, changed files make them stale, comparisons are told by their intervals."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from comparing import compared

from figures.__main__ import main
from figures.plots import bench_model, bench_scan_cpu, bench_scan_gpu, bench_selection
from figures.report.benchmarks import (
    BLOCK,
    BLOCK_MAMBA2,
    FUSED,
    HOST_130M,
    MODEL_130M,
    SCAN_PEERS,
    benchmarks,
    digits,
    duration,
    times,
)
from figures.report.comparisons import NOT, REPRODUCED, UNDECIDED, Line, comparisons, side
from figures.report.readme import GENERATED, README, RESULTS_PAGE, block, readme_status, write_readme
from figures.report.scoreboard import scoreboard
from figures.report.trust import COVERAGE, FIRST
from figures.sources import summary_path
from theory.core.errors import InvalidInput
from theory.verification.verdict import MEANING, Verdict

ROOT = Path(__file__).resolve().parent.parent
RECORD = "empirics/data/bundled/record.json"


WITHOUT = shutil.ignore_patterns("*.py", "results*.json", "replication.json", "first_editions.json", "*.jsonl")
"""What an experiment's folder holds beside its question."""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What the results are made of, without any experiment's results."""
    for name in (*(part.page for part in GENERATED), "theory/verdicts.json", RECORD, bench_scan_cpu.PATH):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "empirics/experiments", tmp_path / "empirics/experiments", ignore=WITHOUT)
    return tmp_path


def change(path: Path, **values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    old = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**old, **values}))


def summary(table: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    given = {"verdict": "undecided", "measured": "seven of nine", "device": "a GPU", "seeds": [0, 1], "complete": True}
    return {"table": table, "config": {}, **given, **more}


# -- comparisons ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "below", "verdict"),
    [
        (0.2, 0.9, True, REPRODUCED),
        (1.1, 1.9, True, NOT),
        (0.9, 1.1, True, UNDECIDED),
        (1.1, 1.9, False, REPRODUCED),
        (0.2, 0.9, False, NOT),
        (1.0, 1.9, False, UNDECIDED),
        (None, None, False, UNDECIDED),
    ],
)
def test_an_interval_lies_on_one_side_or_holds_the_value(low: float, high: float, below: bool, verdict: str):
    assert side(low, high, 1.0, below) == verdict


def test_ratios_say_what_their_interval_says():
    records = [
        compared("ratio", "sdt / full", 0.5, 0.4, 0.6),
        compared("ratio", "full / sdt", 2.0, 1.5, 2.5),
        compared("ratio", "sdt / sdt_random", 1.0, 0.5, 2.0),
    ]
    found = comparisons({"comparisons": records})
    assert [line.verdict for line in found] == [REPRODUCED, NOT, UNDECIDED]
    assert found[0].text == "error of sdt / full: 0.50 [0.40, 0.60], all of it below 1"
    assert found[1].text.endswith("all of it above 1") and found[2].text.endswith("the interval holds 1")
    assert comparisons({}) == []


def test_differences_and_claims_say_what_their_interval_says():
    (line,) = comparisons({"comparisons": [compared("difference", "a - b", 5.0, 3.0, 7.0)]})
    assert line == Line(REPRODUCED, "a - b: +5.0 points [+3.0, +7.0], all of it above 0")
    (line,) = comparisons({"comparisons": [compared("difference", "a - b", -5.0, -7.0, -3.0)]})
    assert line.verdict == NOT and line.text.endswith("[-7.0, -3.0], all of it below 0")
    claim = {"claim": "(i)", "statement": "a is above b", "claim_verdict": UNDECIDED}
    learned = {"tasks": ["dart"], "estimate": 3.0, "low": 1.0, "high": 5.0, "pairs": 2}
    one = compared("difference", "a - b", 2.0, None, None, pairs=1, note="budgets differ", **claim)
    other = compared("difference", "a - c", 2.0, 1.0, 3.0, control=True, learned=learned, **claim)
    (line,) = comparisons({"comparisons": [one, other]})
    assert line.verdict == UNDECIDED
    assert line.text == (
        "(i) a is above b: a - b +2.0 points no interval over 1 pairs, budgets differ; control a - c +2.0 points [+1.0, +3.0] "
        "over 5 pairs (on the tasks that full fine-tuning learns, dart: +3.0 points [+1.0, +5.0] over 2 pairs)"
    )


def test_a_side_at_the_edge_says_so():
    note = "the rate of a stands at the end of its grid"
    (line,) = comparisons({"comparisons": [compared("difference", "a - b", 5.0, 3.0, 7.0, verdict=UNDECIDED, note=note)]})
    assert line == Line(UNDECIDED, f"a - b: +5.0 points [+3.0, +7.0], {note}")


def stated(over: str, verdict: str, **more: Any) -> dict[str, Any]:
    given = {"low": 1.0, "high": 3.0, "freedom": 4.0, "p": 0.002, "adjusted": 0.03, "level_p": 0.9, "needed": None, "shows": ""}
    return {"over": over, "verdict": verdict, **given, **more}


def test_what_a_protocol_decides_is_told_with_what_would_decide():
    statements = [
        stated("these tasks", "stands", adjusted=0.0001),
        stated("tasks", "undecided", low=-1.0, needed=1200, shows="difference"),
    ]
    (line,) = comparisons({"comparisons": [compared("difference", "a - b", 2.0, 1.0, 3.0, statements=statements)]})
    assert line == Line(
        "stands",
        "a - b: +2.0 points; on these tasks [+1.0, +3.0], Holm p < 0.001, stands; over tasks [-1.0, +3.0], Holm p 0.03, "
        "undecided (1,200 tasks would show a difference)",
    )
    alone = [stated("these tasks", "level", adjusted=None, low=None, high=None)]
    record = compared("difference", "a - b", 0.1, None, None, statements=alone, control=True, note="budgets differ")
    (line,) = comparisons({"comparisons": [record]})
    assert line == Line("level", "beside: a - b: +0.1 points; on these tasks no interval, p 0.002, level; budgets differ")
    for verdict, told in (("stands", "above"), ("refuted", "below"), ("level", "level")):  # nothing was said that could stand
        record = compared("difference", "a - b", 2.0, 1.0, 3.0, statements=[stated("these tasks", verdict)], predicted=None)
        (line,) = comparisons({"comparisons": [record]})
        assert line.verdict == told and line.text.endswith(f", {told}")
    for wrong in ({"over": "all"}, {"verdict": "reproduced"}, {"p": "small"}, {"needed": "many"}, {"shows": "both"}):
        record = compared("difference", "a - b", 2.0, 1.0, 3.0, statements=[statements[0] | wrong])
        with pytest.raises(InvalidInput, match="comparison 1 of"):
            comparisons({"comparisons": [record]})


def test_a_comparison_that_waits_is_not_yet_run():
    waiting = {"name": "a - b", "better": "a", "worse": "b", "control": False, "runs": {"a": 50, "b": 12}, "needs": 50}
    (line,) = comparisons({"comparisons": [], "pending": [waiting]})
    assert line == Line("not yet run", "a - b: a 50 of 50 runs, b 12 of 50 runs")
    for wrong in ({"runs": [1]}, {"needs": None}):
        with pytest.raises(InvalidInput, match="comparisons that wait"):
            comparisons({"pending": [waiting | wrong]})


def test_scores_stand_beside_chance():
    def row(score: str, gain: float, half: float | None = 0.1) -> dict[str, Any]:
        low, high = (None, None) if half is None else (gain - half, gain + half)
        return compared("gain", f"s4 {score}", gain, low, high, predicted=None)

    records = [row("good", 0.3), row("bad", -0.2), row("vague", 0.05), row("once", 0.5, None)]
    told = {line.verdict: line.text for line in comparisons({"comparisons": records})}
    assert told == {
        "precision above chance": "s4 good +0.30 ± 0.10",
        "below chance": "s4 bad -0.20 ± 0.10",
        "not told from chance": "s4 vague +0.05 ± 0.10, s4 once +0.50",
    }


@pytest.mark.parametrize(
    "wrong",
    [{"estimate": "high"}, {"low": [1]}, {"pairs": None}, {"kind": "sum"}, {"verdict": "yes"}, {"null": True}, {"learned": 3}],
)
def test_a_record_that_is_none_is_named(wrong: dict[str, Any]):
    records = [compared("difference", "a - b", 5.0, 3.0, 7.0), compared("difference", "a - b", 5.0, 3.0, 7.0) | wrong]
    with pytest.raises(InvalidInput, match=r"^comparison 2 of vision is none: .*; collect its results again$"):
        comparisons({"experiment": "vision", "comparisons": records})
    for other in (records[0].keys() - {"name"}, ["name"]):
        cut = {key: records[0].get(key) for key in other}
        with pytest.raises(InvalidInput, match="comparison 1 of vision lacks"):
            comparisons({"experiment": "vision", "comparisons": [cut]})
    with pytest.raises(InvalidInput, match="are no list"):
        comparisons({"experiment": "vision", "comparisons": "many"})


# -- the block --------------------------------------------------------------------------------------------------------------


def test_the_readme_is_current():
    assert readme_status() == "current", "run python -m figures readme"


def test_every_experiment_has_its_line_and_what_is_not_run_says_so(copy: Path):
    text = block(copy)
    paths = sorted((copy / "empirics/experiments").glob("*/experiment.toml"))
    for path in paths:
        assert f"### {path.parent.name}\n\n**not yet run**; `python -m empirics " in text
    sentences = sum(bool(sentence.waiting) for sentence in scoreboard(copy))
    assert sentences and text.count("not yet run: ") == sentences
    others = "experiments, coverage, first editions, and the nine benchmarks that need a GPU"
    assert text.count("not yet run") == len(paths) + 11 + sentences, others


def test_results_appear_with_device_and_size(copy: Path):
    change(copy / summary_path("state_floor"), **summary([{"x": 1}]))
    assert "### state_floor\n\n**undecided** (full size, a GPU, 2 seeds). seven of nine.\n" in block(copy)
    change(copy / summary_path("state_floor"), complete=False, seeds=[0])
    assert "(full size, a GPU, 1 seed, not complete). seven" in block(copy)
    made = {"experiment": "s4_regression", "comparisons": [compared("ratio", "a / b", 0.5, 0.4, 0.6)]}
    change(copy / summary_path("s4_regression"), **summary([{"task": "rte", "method": "full"}], **made))
    text = block(copy)
    assert "### s4_regression\n\n**undecided** (full size, on rte, a GPU, 2 seeds).\n" in text
    assert "\n| reproduced | error of a / b: 0.50" in text
    change(copy / summary_path("s4_regression"), comparisons=[{"kind": "ratio", "name": "a / b", "estimate": 0.5}])
    with pytest.raises(InvalidInput, match="comparison 1 of s4_regression lacks 'low'"):
        block(copy)


def test_the_coverage_is_what_its_file_says(copy: Path):
    rows = [{"setting": "5 seeds", "analysis": "fixed", "experiments": 2000, "coverage": 0.9512}]
    change(copy / COVERAGE, confidence=0.95, table=rows)
    assert "\n| 5 seeds | fixed | 2,000 | 95.1 % |\n" in block(copy)
    change(copy / COVERAGE, table=[{}])
    with pytest.raises(InvalidInput, match="is not what python -m empirics coverage"):
        block(copy)


def test_first_editions_are_told_under_the_later_rules(copy: Path):
    row = {
        "experiment": "vision", "comparison": "a - b", "estimate": 5.0, "low": 3.0, "high": 7.0, "adjusted": 0.0001,
        "verdict": "undecided", "by_numbers": "stands", "at_edge": ["b"],
    }  # fmt: skip
    other = row | {"comparison": "a / b", "estimate": 0.98, "low": None, "adjusted": None, "verdict": "level", "at_edge": []}
    change(copy / FIRST, table=[row, other])
    text = block(copy)
    assert "\n| `vision` | a - b | +5.0 [+3.0, +7.0] | < 0.001 | undecided | stands | b |\n" in text
    assert "\n| `vision` | a / b | 0.98 | none | level | stands | none |\n" in text
    change(copy / FIRST, table=[{}])
    with pytest.raises(InvalidInput, match="is not what python -m empirics rejudge"):
        block(copy)


def test_repeated_runs_are_told_where_they_are_filed(copy: Path):
    change(copy / summary_path("state_floor"), **summary([{"x": 1}]))
    assert "Run again" not in block(copy)
    path = copy / "empirics/experiments/state_floor/replication.json"
    numbers = {"mean": 0.05, "low": -0.1, "high": 0.2, "largest": 1.25, "within": 0.9, "bound": 1.0}
    change(path, again={"devices": ["a GPU"]}, repeated=43, drawn=44, of=440, **numbers)
    said = "Run again on a GPU: 43 of 44 runs that were drawn from 440; 90 % within 1 point, mean difference +0.05 [-0.10, +0.20]"
    assert f"{said}, largest 1.25." in block(copy)
    change(path, mean=None)
    assert "43 of 44 runs that were drawn from 440.\n" in block(copy)
    change(path, again=None)
    with pytest.raises(InvalidInput, match=r"replication\.json of state_floor is not"):
        block(copy)


def test_a_finding_is_told_with_full_size_results_only(copy: Path):
    path = copy / "empirics/experiments/state_floor/experiment.toml"
    path.write_text('finding = "The floor is\\nwhere it should be"\n' + path.read_text())
    assert "The floor" not in block(copy)
    change(copy / summary_path("state_floor", quick=True), **summary([{"x": 1}]))
    assert "(quick size, a GPU, 2 seeds)" in block(copy) and "The floor" not in block(copy)
    change(copy / summary_path("state_floor"), **summary([{"x": 1}]))
    assert "\nThe floor is\nwhere it should be.\n" in block(copy)


@pytest.mark.parametrize("path", sorted((ROOT / "empirics/experiments").glob("*/experiment.toml")), ids=lambda p: p.parent.name)
def test_a_finding_types_no_number(path: Path):
    """Numbers are generated; and there is nothing to find before the full size has been run."""
    finding = tomllib.loads(path.read_text(encoding="utf-8")).get("finding", "")
    assert not re.search(r"\d[.,]\d|\d ?%|\d{2}", finding)
    assert not finding or (ROOT / summary_path(path.parent.name)).is_file()


def test_benchmarks_say_what_their_files_say(copy: Path):
    record = json.loads((copy / RECORD).read_text())
    text = block(copy)
    assert f"{record['held_out']['bits_per_byte']:.3f} bits per byte on {record['held_out']['bytes']:,}" in text
    assert all(f"{row['name']} {row['bits_per_byte']:.2f}" in text for row in record["baselines"])
    ratios = json.loads((copy / bench_scan_cpu.PATH).read_text())["ratios"]
    assert all(f" takes {times(ratio)} times as long" in text for ratio in ratios.values())
    change(copy / RECORD, held_out={**record["held_out"], "bits_per_byte": 1.2345})
    assert "1.234 bits per byte" in block(copy) and "1.234 bits per byte" not in text


def test_the_targets_of_the_gpu_scan_are_a_table(copy: Path):
    rows = [
        {"target": 1, "what": "times faster", "measured": [2.345, None], "asked": [">= 2", ">= 1.5"], "met": False},
        {"target": 8, "what": "same bits", "measured": [1.0], "asked": [">= 1"], "met": True},
    ]
    change(copy / bench_scan_gpu.PATH, table=rows, dtype="bfloat16", machine={"gpu": "a GPU"})
    text = block(copy)
    assert "1 of 2 targets met against mamba-ssm, bfloat16, on a GPU." in text
    assert "\n| 1 | times faster | 2.35 (>= 2); not measured (>= 1.5) | missed |\n| 8 | same bits | 1 (>= 1) | met |" in text
    change(copy / bench_scan_gpu.PATH, table=[{"target": 1}])
    with pytest.raises(InvalidInput, match=r"scan_targets\.json is not what its benchmark writes"):
        block(copy)


@pytest.mark.parametrize(
    ("value", "asked", "told"),
    [
        (2.3456, ">= 2", "2.35"),
        (1.0001489, "<= 1", "1.0001"),
        (1.0, "<= 1", "1"),
        (1.99999, ">= 2", "1.99999"),
        (1.0001489, "shown", "1"),
        (0.485, "<= 0.66", "0.485"),
    ],
)
def test_a_number_shows_on_which_side_of_its_bound_it_lies(value: float, asked: str, told: str):
    assert digits(value, asked) == told


def test_the_model_benchmark_in_short(copy: Path):
    def row(step: float, peak: int) -> dict[str, Any]:
        return {"step_s": step, "peak_bytes": peak}

    sizes = {
        "130m": {
            "stock": row(0.2, 100),
            "stock_slow_lora": row(0.6, 400),
            "lora/fused": row(0.1, 50),
            "sdt/fused": row(0.16, 50),
        },
        "1.4b": {"stock": {"missing": "out of memory"}, "lora/fused": row(1.0, 500)},
    }
    change(
        copy / "empirics/bench/results/model_gpu.json",
        sizes=sizes,
        batch={"130m": 8, "1.4b": 4},
        length=2048,
        machine={"gpu": "a GPU"},
    )
    text = block(copy)
    assert "- mamba-130m, fused scan, times as fast as mamba-ssm: lora 2.00, sdt 1.25.\n" in text
    assert "- mamba-130m, fused scan, times as fast as mamba-ssm's slow path under peft: lora 6.00.\n" in text
    assert "- mamba-1.4b: mamba-ssm did not run.\n- mamba-1.4b: mamba-ssm's slow path under peft did not run.\n" in text
    # 0.1 s a step; 22 methods at 4 rates and 5 seeds, of one task
    assert "not measured: about 4 minutes for a run of 2,700 steps on mamba-130m, 15 hours for all 198 of the sweep" in text
    assert "--set steps=2700" in (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    (found,) = (b for b in benchmarks(copy) if b.figure == "bench_model")
    assert "--sizes 130m 1.4b --batch 8 4 --length 2048 " in found.command
    assert "8 × 2048 tokens at 130m, 4 × 2048 tokens at 1.4b, on a GPU." in text
    assert ("130m", "lora/fused", "100.0", "", "2.00", "6.00", "0.50", "0.12") in found.rows
    assert ("1.4b", "stock", "out of memory", "", "", "", "", "") in found.rows
    assert " --contenders stock stock_slow_lora lora/fused sdt/fused --out " in found.command and "--kernels" not in found.command
    sizes["130m"]["stock"]["kernels"] = [{"name": "scan", "calls": 1, "seconds": 0.1}] * 3
    busy = {"gpu": "a GPU", "load_average": 0.25, "cores": 16}
    change(copy / "empirics/bench/results/model_gpu.json", sizes=sizes, machine=busy)
    (found,) = (b for b in benchmarks(copy) if b.figure == "bench_model")
    assert " --kernels 3 --contenders stock " in found.command and "on a GPU (load average 0.2 on 16 cores)." in block(copy)
    assert "replayed as CUDA graphs, times" not in block(copy)
    sizes["130m"] |= {"lora/fused/graph": row(0.05, 60), "stock/graph": row(0.15, 110)}
    change(copy / "empirics/bench/results/model_gpu.json", sizes=sizes)
    replayed = "- mamba-130m, replayed as CUDA graphs, times as fast as mamba-ssm"
    assert f"{replayed} launched from Python: lora 4.00.\n{replayed} replayed too: lora 3.00.\n" in block(copy)
    del sizes["130m"]["lora/fused/graph"], sizes["130m"]["stock/graph"]
    for name, kernels in (("stock", 0.15), ("lora/fused", 0.05)):
        sizes["130m"][name]["kernels_s"] = kernels
    change(copy / "empirics/bench/results/model_gpu.json", sizes=sizes)
    assert "times as fast (kernels alone) as mamba-ssm: lora 2.00 (3.00), sdt 1.25.\n" in block(copy)
    assert "| lora/fused | 100.0 | 50.0 | 2.00 (3.00) | 6.00 | 0.50 | 0.12 |" in block(copy)
    sizes["130m"]["sdt/fused"] |= {"least_s": 0.15, "most_s": 0.2}
    change(copy / "empirics/bench/results/model_gpu.json", sizes=sizes)
    assert "| sdt/fused | 160.0 [150.0, 200.0] |" in block(copy)


def test_steps_in_turns_are_told_by_their_rounds(copy: Path):
    rows: dict[str, Any] = {"stock": {"step_s": 0.2, "peak_bytes": 9}, "lora/fused": {"step_s": 0.1, "peak_bytes": 9}}
    rows["lora/fused/graph"] = dict(rows["lora/fused"])
    path = copy / bench_model.PATH
    change(path, sizes={"130m": rows}, batch={"130m": 8}, length=64, machine={"gpu": "a GPU"})
    text = block(copy)
    assert "as mamba-ssm: lora 2.00.\n" in text and "launched from Python: lora 2.00.\n" in text
    assert "measured one after the other" in text and "took turns" not in text
    for name, ratio in (("lora/fused", 1.25), ("lora/fused/graph", 1.75)):
        rows[name]["beside"] = {"name": "stock", "step_s": 0.15, "times_as_fast": ratio, "least": 1.0, "most": 2.0}
    change(path, sizes={"130m": rows})
    text = block(copy)
    assert "as mamba-ssm: lora 1.25.\n" in text and "launched from Python: lora 1.75.\n" in text
    assert "measured one after the other" not in text and "took turns with mamba-ssm's step; ratios are medians" in text
    assert bench_model.in_turns(rows["lora/fused"], "stock") == [1.25, 1.0, 2.0]
    assert bench_model.in_turns(rows["lora/fused"], "stock_slow_lora") is None is bench_model.in_turns(rows["stock"], "stock")


def test_the_peers_of_the_gpu_scan_are_a_table(copy: Path):
    from empirics.bench.targets import TARGETS

    least, median = (low for low, _ in TARGETS[11].bounds)
    row = {
        "shape": [8, 32, 64, 16], "seconds": {"mamba_ssm": 2e-3, "fused": 1e-3, "jla": None},
        "times_as_fast_as": {"mamba_ssm": 2.0, "jla": None},
    }  # fmt: skip
    found = {
        "rows": [row], "absent": {"jla": "No module named 'jax'"}, "versions": {"mamba_ssm": "2.3", "jla": None},
        "target": {"target": 11, "measured": [None, None], "met": False}, "dtype": "bfloat16", "machine": {"gpu": "a GPU"},
    }  # fmt: skip
    change(copy / SCAN_PEERS, **found)
    text = block(copy)
    asked = f"nowhere slower than jax-linear-attention, {median} times as fast in the median"
    assert (
        least == 1 and f"- Target 11 ({asked}) missed: least and median not measured, not measured, bfloat16, on a GPU." in text
    )
    assert "- jla was not there: No module named 'jax'.\n" in text and "beside mamba_ssm 2.3; shape" in text
    assert "\n| 8 × 32 × 64 × 16 | 2.000 | 1.000 | absent | 2.00 |  |\n" in text
    row["seconds"]["jla"], row["times_as_fast_as"]["jla"] = 3e-3, 3.0
    change(copy / SCAN_PEERS, rows=[row], absent={}, target={"target": 11, "measured": [3.0, 3.0], "met": True})
    text = block(copy)
    assert "met: least and median 3.00, 3.00," in text and "| 3.000 | 2.00 | 3.00 |" in text and "was not there" not in text
    change(copy / SCAN_PEERS, rows=[])
    with pytest.raises(InvalidInput, match=r"scan_peers\.json is not what its benchmark writes"):
        block(copy)


@pytest.mark.parametrize("path", [MODEL_130M, HOST_130M])
def test_a_step_of_one_size_has_columns_of_the_peers_that_it_has(copy: Path, path: str):
    row = {"step_s": 0.1, "peak_bytes": 100}
    table = {"stock": row, "lora/fused": {**row, "step_s": 0.05}}
    machine = {"gpu": "a GPU", "git": "0123456789-dirty", "versions": {"torch": "2.0", "numpy": "1.0"}}
    change(copy / path, sizes={"130m": table}, batch={"130m": 8}, length=64, machine=machine, repeats=7)
    (found,) = (b for b in benchmarks(copy) if path in b.command)
    assert found.columns[-2:] == ("times as fast as stock (kernels)", "peak memory / stock") and len(found.columns) == 6
    assert ("130m", "lora/fused", "50.0", "", "2.00", "1.00") in found.rows
    assert found.sentences[-1] == f"File {path}: commit 0123456, with changes, torch 2.0."
    assert not any("slow path" in sentence for sentence in found.sentences)
    assert sum("kept everything by default" in sentence for sentence in found.sentences) == 1
    assert f"--batch 8 --length 64 --repeats 7 --contenders stock lora/fused --out {path}" in found.command
    table["lora/fused/keep_all"] = {"missing": "out of memory"}
    change(copy / path, sizes={"130m": table}, machine={"gpu": "a GPU"})
    (found,) = (b for b in benchmarks(copy) if path in b.command)
    assert not any(word in sentence for sentence in found.sentences for word in ("kept everything by default", "File "))
    assert ("130m", "lora/fused/keep_all", "out of memory", "", "", "") in found.rows
    many = {f"lora{n}/fused": row for n in range(20)}
    change(copy / path, sizes={"130m": table | many})
    assert "All numbers: the report.\n" in block(copy), "there is no figure of it"


def test_the_block_and_the_selection_in_short(copy: Path):
    rows = {
        "ours": {"seconds": 2e-3, "kept_bytes": 2**20, "times_as_fast": 1.75, "share_of_kept": 0.25},
        "slow_lora": {"missing": "peft is not importable"},
    }
    change(copy / BLOCK, sizes={"130m": rows}, batch=8, length=2048, machine={"gpu": "a GPU"})
    row = {
        "batch": 1, "length": 256, "warm_up_s": 1.0, "select_s": 0.5, "gradient_s": 0.25, "evaluation_s": 0.01,
        "ablation_evaluations": 1000, "step_s": 0.125,
    }  # fmt: skip
    lengths = [row, {"length": 512, "missing": "out of memory"}]
    change(copy / bench_selection.PATH, sizes={"130m": lengths}, machine={"gpu": "a GPU"})
    text = block(copy)
    assert "| 130m | ours | 2.00 | 1 | 1.75 | 0.25 |" in text and "| 130m | slow_lora | peft is not importable |" in text
    assert "| 130m | 256 | 1.5 s = 12 steps | 0.75 s = 6 steps | 11 s = 88 steps | 125.0 |" in text
    short = "mamba-130m, least to most over lengths of 256 tokens: change 1.5 s, 12 steps; gradient 0.75 s, 6 steps"
    assert f"{short}; ablation (a median evaluation times their number) 11 s, 88 steps." in text
    assert "| 130m | 512 | out of memory |" in text
    change(copy / bench_selection.PATH, sizes={"130m": [{"length": 256}]})
    with pytest.raises(InvalidInput, match=r"selection_gpu\.json is not what its benchmark writes"):
        block(copy)


def test_durations_have_two_digits():
    said = [duration(seconds) for seconds in (0.7512, 11.49, 119.0, 121.0, 4642.0, 7199.0, 7201.0, 48139.0)]
    assert said == ["0.75 s", "11 s", "120 s", "2 min", "77 min", "120 min", "2 h", "13 h"]


def test_experiments_again_with_the_fused_scan(copy: Path):
    def table(shift: float) -> list[dict[str, Any]]:
        rows = [{"method": m, "test_accuracy": v + shift, "half_width": 0.03} for m, v in (("full", 0.5), ("frozen", 0.1))]
        return [*rows, {"comparison": "a - b", "difference": 0.0, "half_width": 0.1, "verdict": "undecided"}]

    change(copy / summary_path("vision"), **summary(table(0.0)))
    assert "### Experiments again with the fused scan\n\n**not yet run**; `python -m empirics gpu-suite --scan fused" in block(
        copy
    )
    change(copy / summary_path("vision", FUSED), **summary(table(0.02)))
    expected = "vision: undecided, as before; of 2 rows 0 differ by more than the two 95 % half-widths together, most of all"
    assert f"{expected} full (+2.0 points, 0.47 of them)." in block(copy)
    change(copy / summary_path("vision", FUSED), **summary(table(0.1), verdict="reproduced"))
    assert "vision: reproduced, was undecided; of 2 rows 2 differ" in block(copy)
    cut_off = [{"method": "full", "test_accuracy": 0.5, "half_width": None}]
    change(copy / summary_path("vision", FUSED), **summary(cut_off, complete=False))
    assert "vision: undecided, as before (not complete); no rows to compare." in block(copy)
    for kind, scan in (("now", FUSED), ("then", None)):
        change(copy / summary_path("prefix_compiles", scan), **summary([], verdict="reproduced", measured=f"1e-6 {kind}"))
    assert "prefix_compiles: reproduced, as before; 1e-6 now." in block(copy)
    change(copy / summary_path("vision", FUSED), table=[{"method": "full", "test_accuracy": 0.5}])
    with pytest.raises(InvalidInput, match=r"vision/results_fused\.json is not what its experiment writes"):
        block(copy)


def numbers_of_targets() -> list[str]:
    """What the kernels' log says of missed targets, from the benchmarks' files."""
    folder = ROOT / "empirics/bench/results"
    targets, blocks, model = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("scan_targets", "block_gpu", "model_gpu")
    )

    def span(shapes: Any) -> str:
        ratios = [row["ratio"] for row in targets["speed"] if shapes(row)]
        return f"{min(ratios):.2f} to {max(ratios):.2f}"

    def block_of(name: str, size: str, key: str) -> str:
        return f"{blocks['sizes'][size][name][key]:.2f}"

    def step(name: str, size: str, key: str) -> str:
        table = model["sizes"][size]
        return f"{table['stock'][key] / table[f'{name}/fused'][key]:.2f}"

    batch = [span(lambda r, b=b: r["on_grid"] and r["B"] == b) for b in (8, 1)]
    single = span(lambda r: not r["on_grid"] and r["B"] == 1)
    odd = [span(lambda r, at=at: r["B"] == 8 and r["L"] in at) for at in ((300, 528), (1040, 2064))]
    sizes = ("130m", "370m", "1.4b")
    bare = [block_of("ours", size, "times_as_fast") for size in sizes]
    all_again = [block_of("ours/recompute_all", size, "times_as_fast") for size in sizes]
    kept = [block_of("ours/recompute_all", size, "share_of_kept") for size in sizes]
    words = {
        "initial state": "initial_state", "SDT": "sdt", "LoRA": "lora", "state offset": "state_offset", "prompt": "prompt",
        "BitFit": "bitfit", "SDT + LoRA": "sdt_lora", "prefix": "prefix", "DoRA": "dora", "additional scan": "additional_scan",
    }  # fmt: skip

    def steps(key: str, some: list[str]) -> str:
        return "; ".join(f"{word} {step(words[word], '130m', key)}, {step(words[word], '1.4b', key)}" for word in some)

    small = model["sizes"]["130m"]

    def milliseconds(name: str) -> str:
        scan = sum(kernel["seconds"] for kernel in small[name]["kernels"] if "scan" in kernel["name"])
        return f"{1e3 * small[name]['kernels_s']:.1f} | {1e3 * scan:.1f} |"

    four = [small[f"{words[word]}/fused"] for word in ("initial state", "SDT", "LoRA", "state offset")]
    least, most = (
        [f"{1e3 * extreme(row[key] for row in four):.0f}" for key in ("step_s", "kernels_s")] for extreme in (min, max)
    )
    stock = [f"{1e3 * small['stock'][key]:.0f}" for key in ("step_s", "kernels_s")]

    def replayed(peer: str) -> str:
        some = {word: words[word] for word in ("initial state", "SDT", "LoRA", "state offset", "SDT + LoRA")}
        faster = {
            word: [
                f"{model['sizes'][size][peer]['step_s'] / model['sizes'][size][f'{name}/fused/graph']['step_s']:.2f}"
                for size in ("130m", "1.4b")
            ]
            for word, name in some.items()
        }
        return "; ".join(f"{word} {small}, {large}" for word, (small, large) in faster.items())

    return [
        f"beside stock's as it is launched: {replayed('stock')}.",
        f"Beside stock's step replayed as well: {replayed('stock/graph')}.",
        f"measured {batch[0]} at batch 8, {batch[1]} at batch 1",
        f"{single} at batch 1; at batch 8 {odd[0]} at 300 and 528 tokens, {odd[1]} beyond",
        f"`recompute_all` ({all_again[0]} times, {kept[0]})",
        f"nearly at 370m ({all_again[1]}, {kept[1]}); at 1.4b it is {all_again[2]}",
        f"the block is {bare[0]}, {bare[1]} and {bare[2]} times as fast",
        f"by kernels alone: {steps('kernels_s', list(words))}.",
        f"on a machine that ran nothing else: {steps('step_s', ['initial state', 'SDT', 'LoRA', 'state offset'])}.",
        f"Python needs {least[0]} to {most[0]} ms to launch the {least[1]} to {most[1]} ms of kernels",
        f"stock, whose block is one function, {stock[0]} ms for {stock[1]}.",
        f"| stock, all weights | {milliseconds('stock')}",
        f"| initial state | {milliseconds('initial_state/fused')}",
        f"| LoRA | {milliseconds('lora/fused')}",
    ]


def missing_target_5(size: str, asked: float) -> set[str]:
    """Contenders with frozen weights whose kernels are not so many times as fast as stock's."""
    table = json.loads((ROOT / bench_model.PATH).read_text())["sizes"][size]
    fused = {name.removesuffix("/fused"): row for name, row in table.items() if "/fused" in name and "full/" not in name}
    fused = {name: row for name, row in fused.items() if not name.endswith("/graph")}
    return {name for name, row in fused.items() if table["stock"]["kernels_s"] < asked * row["kernels_s"]}


def test_the_kernels_log_has_the_numbers_of_the_files():
    text = " ".join((ROOT / "empirics/kernels/selective_scan/LOG.md").read_text(encoding="utf-8").split())
    assert [said for said in numbers_of_targets() if said not in text] == []
    missed = [row["target"] for row in json.loads((ROOT / bench_scan_gpu.PATH).read_text())["table"] if not row["met"]]
    assert "met at 1.4b by all but state offset, DoRA, additional scan and LoRA with `recompute_all`." in text
    assert missing_target_5("1.4b", 1.3) == {"state_offset", "dora", "additional_scan", "lora/fused/recompute_all"}
    assert "Missed at 130m by all" in text and len(missing_target_5("130m", 1.5)) == len(missing_target_5("130m", 9.0)) == 12
    beside_peers = json.loads((ROOT / SCAN_PEERS).read_text())["target"]
    assert missed == [1, 2, 7, 10] and beside_peers["target"] == 11 and not beside_peers["met"]
    assert all(f"- **Target {n}**" in text for n in (*missed, 11))
    assert "the target is met at 1.4b by all five, at 130m by initial state and SDT" in text
    sizes = json.loads((ROOT / bench_model.PATH).read_text())["sizes"]
    replayed = ("initial_state", "sdt", "lora", "state_offset", "sdt_lora")
    steps = {s: {n: rows["stock"]["step_s"] / rows[f"{n}/fused/graph"]["step_s"] for n in replayed} for s, rows in sizes.items()}
    assert min(steps["1.4b"].values()) >= 1.3
    assert {name for name, faster in steps["130m"].items() if faster >= 1.5} == {"initial_state", "sdt"}
    assert all(said in text for said in numbers_of_errors())


def log_of(table: str, page: str = "LOG.md") -> dict[str, list[str]]:
    """Cells by the first one of each row of the table with that heading, in the kernels' log or another page beside it."""
    text = (ROOT / "empirics/kernels/selective_scan" / page).read_text(encoding="utf-8")
    _, found, behind = text.partition(f"\n{table}\n")
    assert found, table
    rows = [line.strip("| ").split(" | ") for line in behind.split("\n\n")[0].splitlines()[1:]]
    return {first: cells for first, *cells in rows}


def test_the_kernels_log_has_every_row_of_the_peers():
    rows = log_of(
        "| (B, D, L) | blocks | mamba-ssm, ms | fused, ms | fused, channels innermost, ms | jax-linear-attention, ms | "
        "times as fast as mamba-ssm | times as fast as jax-linear-attention |"
    )
    measured = json.loads((ROOT / SCAN_PEERS).read_text())["rows"]
    assert len(rows) == len(measured) and [float(row[-1]) for row in rows.values()] == sorted(
        (round(row["times_as_fast_as"]["jla"], 2) for row in measured), reverse=True
    )
    for row in measured:
        batch, width, length, _ = row["shape"]
        cells = [f"{1e3 * value:.3f}" for value in row["seconds"].values()]
        cells += [f"{value:.2f}" for value in row["times_as_fast_as"].values()]
        assert rows[f"{batch}, {width}, {length}"] == [str(batch * width // 32), *cells]


def test_the_kernels_log_has_the_steps_of_the_blocks_as_launched():
    rows = log_of(
        "| step | empty kernels: CPU's time | 1 × 64 tokens: step's time | 8 × 2048, as launched: times as fast, "
        "9441b28 → 8c35cc1 | 8 × 2048, both replayed: times as fast | no slower as launched |"
    )
    step, short = (json.loads((ROOT / path).read_text())["sizes"]["130m"] for path in (MODEL_130M, HOST_130M))
    names = {
        "all weights": "full", "LoRA": "lora", "SDT": "sdt", "initial state": "initial_state", "state offset": "state_offset",
        "prompt": "prompt", "prefix": "prefix",
    }  # fmt: skip

    def told(table: dict[str, Any], above: str, below: str) -> float:
        return table[above]["step_s"] / table[below]["step_s"]

    def in_turns(name: str) -> float:
        return step[name]["beside"]["times_as_fast"]

    assert len(rows) == sum(name.startswith(tuple(names.values())) and not name.endswith("/graph") for name in step)
    for row, (_, cpu, launched, replayed, no_slower) in rows.items():
        word, _, amount = row.partition(", ")
        name = f"{names[word]}/fused{amount and '/' + amount.strip('`')}"
        assert cpu == (f"{told(short, name, 'stock'):.2f}" if name in short else "–")
        assert launched.split(" → ")[1].strip("*") == f"{in_turns(name):.2f}"
        graph = f"{name}/graph"
        assert replayed.split(" → ")[-1] == (f"{told(step, 'stock/graph', graph):.2f}" if graph in step else "–")
        assert (no_slower == "yes") == (in_turns(name) >= 1) and no_slower in ("yes", "**no**")
    text = " ".join((ROOT / "empirics/kernels/selective_scan/LOG.md").read_text(encoding="utf-8").split())
    for table, name in ((step, "stock"), (step, "lora/fused")):
        assert f"{1e3 * table[name]['least_s']:.1f} to {1e3 * table[name]['most_s']:.1f}" in text
        assert f"{1e3 * table[name]['step_s']:.1f}" in text
    four = [in_turns(f"{name}/fused") for name in ("initial_state", "sdt", "lora", "state_offset")]
    assert f"least as launched from Python): {min(four):.2f}, missed" in text and min(four) < 1.5


def test_the_kernels_log_has_the_block_of_mamba2():
    table = json.loads((ROOT / BLOCK_MAMBA2).read_text())["sizes"]["mamba2-130m"]
    ours, slow, stock = (table[name] for name in ("ours", "slow_lora", "stock"))
    text = " ".join((ROOT / "empirics/kernels/selective_scan/LOG.md").read_text(encoding="utf-8").split())
    mib = [f"{row['kept_bytes'] / 2**20:.0f}" for row in (ours, slow, stock)]
    assert f"{1e3 * ours['seconds']:.2f} ms, mamba-ssm's block with peft's LoRA {1e3 * slow['seconds']:.2f}" in text
    assert f"({ours['times_as_fast']:.2f} times), {mib[0]} MiB kept for its {mib[1]}" in text
    launched = [f"{1e3 * row['launched_s']:.2f}" for row in (ours, slow, stock)]
    assert (
        f"{launched[0]} ms, with peft's LoRA {launched[1]}, mamba-ssm's fused block with all weights {launched[2]} ({mib[2]}"
        in text
    )
    behind = [round(100 * (ours["launched_s"] / row["launched_s"] - 1)) for row in (slow, stock)]
    assert f"behind by {behind[0]} and {behind[1]} %" in text


def test_the_kernels_log_has_the_targets_of_both_versions():
    """The later column is of the committed file."""
    rows = log_of("| target | version 8, one H100, quiet host | version 10, one H200 | asked |")
    table = {row["target"]: row for row in json.loads((ROOT / bench_scan_gpu.PATH).read_text())["table"]}

    def cells(target: int, *places: int, digits: int = 2) -> str:
        return ", ".join(f"{table[target]['measured'][place]:.{digits}f}" for place in places)

    told = [row[1] for row in rows.values()]
    sparse = [table[7]["measured"][place] for place in (0, 1)]
    assert told == [
        cells(1, 0, 1), cells(1, 2), cells(2, 0, 1), cells(2, 2), f"{sparse[0]:.4f}, {sparse[1]:.3f}",
        f"{cells(10, 0, 1)}; {cells(10, 2)}",
    ]  # fmt: skip
    assert [row[2].endswith("missed") for row in rows.values()] == [True, False, True, False, True, True]
    launched = {
        (row["B"], row["D"], row["L"]): row["launched_ratio"]
        for row in json.loads((ROOT / bench_scan_gpu.PATH).read_text())["speed"]
    }
    behind = {shape: f"{ratio:.2f}" for shape, ratio in launched.items() if ratio < 1}
    assert len(launched) == 64 and behind == {(1, 2048, 512): "0.99", (1, 2048, 1024): "0.96"}
    text = " ".join((ROOT / "empirics/kernels/selective_scan/LOG.md").read_text(encoding="utf-8").split())
    assert "ahead of mamba-ssm's at 62 of 64 shapes" in text and "(1, 2048, 512) and (1, 2048, 1024), 0.99 and 0.96" in text


def test_the_kernels_page_says_how_fast_they_are():
    rows = log_of("| what | file | measured | asked | |", "README.md")
    scan = {row["target"]: row["measured"] for row in json.loads((ROOT / bench_scan_gpu.PATH).read_text())["table"]}
    peers = json.loads((ROOT / SCAN_PEERS).read_text())["target"]["measured"]
    step = json.loads((ROOT / MODEL_130M).read_text())["sizes"]["130m"]
    launched = sorted(row["beside"]["times_as_fast"] for name, row in step.items() if name.endswith("/fused"))
    replayed = sorted(
        step["stock/graph"]["step_s"] / row["step_s"] for name, row in step.items() if name.endswith("/fused/graph")
    )
    assert len(launched) == 7 and len(replayed) == 6 and step["lora/fused"]["beside"]["times_as_fast"] == launched[0]
    page = (ROOT / "empirics/kernels/selective_scan/README.md").read_text(encoding="utf-8")
    alone = sorted(step["stock"]["step_s"] / row["step_s"] for name, row in step.items() if name.endswith("/fused"))
    in_turns = [row["beside"]["step_s"] for name, row in step.items() if "beside" in row and not name.endswith("/graph")]
    longer = [round(100 * (extreme(in_turns) / step["stock"]["step_s"] - 1)) for extreme in (min, max)]
    assert f"It takes {longer[0]} to {longer[1]} % longer there than by itself" in page
    assert f"{alone[0]:.2f} (LoRA) to {alone[-1]:.2f} times as fast." in page
    numbers = [scan[1][:2], scan[2][1::-1], scan[10][1::-1], peers[::-1]]
    numbers += [[values[0], values[-1]] for values in (replayed, launched)]
    assert [row[1] for row in rows.values()] == [", ".join(f"{value:.2f}" for value in pair) for pair in numbers]


def numbers_of_errors() -> list[str]:
    """The kernels' log on target 9: errors through stock's, of results in float32 beside bfloat16, and in float32 alone."""
    rows = json.loads((ROOT / bench_scan_gpu.PATH).read_text())["accuracy"]
    assert min(row["L"] for row in rows) == 300 and max(row["L"] for row in rows) == 65536
    assert max(row["worst_ratio"] for row in rows) <= 1

    def span(dtype: str, names: Any) -> str:
        ratios = [row["fused"][k] / row["stock"][k] for row in rows if row["dtype"] == dtype for k in names or row["fused"]]
        return f"{min(ratios):.2f} to {max(ratios):.2f} times"

    wide = ("A", "D", "dt_bias")
    return [
        f"those in float32 are {span('bfloat16', wide)} as far off as stock's",
        f"In float32 everything is {span('float32', None)} as far off", f"{span('bfloat16', ('D',))} stock's, medians",
    ]  # fmt: skip


# -- commands ---------------------------------------------------------------------------------------------------------------


def unknown_targets(text: str) -> set[str]:
    """Targets of make that a text names and the Makefile lacks."""
    rules = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M)
    return set(re.findall(r"(?:^|`)make ([\w-]+)", text, flags=re.M)) - set(rules)


def test_the_glossary_defines_verdicts_as_the_code_does():
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    assert [verdict for verdict, meaning in MEANING.items() if f"| {verdict} | {meaning} |\n" not in glossary] == []
    assert f"| EXACT | {MEANING[Verdict.PROVED]} |" not in glossary


def test_the_readme_can_be_read_in_two_minutes():
    lines = (ROOT / README).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 170
    assert [line for line in lines if len(line) > 200] == []


def test_two_commands_lead_from_a_clone_to_the_report():
    text = (ROOT / README).read_text(encoding="utf-8")
    first = text.partition("```sh\n")[2].partition("```")[0].splitlines()
    assert [line.partition("#")[0].strip() for line in first] == ["git clone ADDRESS ssmproof && cd ssmproof", "make report"]
    assert not unknown_targets(text) and unknown_targets(f"{text}\nmake reports") == {"reports"}
    if shutil.which("make"):
        run = subprocess.run(
            ["make", "--no-print-directory", "-n", "-B", "report"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        commands = run.stdout.splitlines()
        assert commands[-1].endswith("/python -m figures report") and not any("empirics" in command for command in commands)


# -- staleness --------------------------------------------------------------------------------------------------------------


def test_a_changed_file_makes_its_page_stale(copy: Path):
    write_readme(copy)
    assert readme_status(copy) == "current"
    record = json.loads((copy / RECORD).read_text())
    change(copy / RECORD, held_out={**record["held_out"], "bits_per_byte": 7.0})
    assert readme_status(copy).startswith(f"stale: {RESULTS_PAGE}")
    write_readme(copy)
    assert readme_status(copy) == "current" and "7.000 bits per byte" in (copy / RESULTS_PAGE).read_text(encoding="utf-8")
    verdicts = json.loads((copy / "theory/verdicts.json").read_text())
    (claim,) = (c for c in verdicts["claims"] if c["id"] == "prefix_state.equivalent")
    claim["verdict"] = "FORMAL" if claim["verdict"] == "OPEN" else "OPEN"
    change(copy / "theory/verdicts.json", **verdicts)
    assert readme_status(copy).startswith(f"stale: {README}")


@pytest.mark.parametrize(("page", "word"), [(README, "undecided"), (RESULTS_PAGE, " bits per byte on")])
def test_a_typed_word_makes_its_page_stale(copy: Path, page: str, word: str):
    write_readme(copy)
    text = (copy / page).read_text(encoding="utf-8")
    begin = text.index(":begin")
    assert word in text[begin:]
    (copy / page).write_text(text[:begin] + text[begin:].replace(word, f"1{word}", 1), encoding="utf-8")
    assert readme_status(copy).startswith(f"stale: {page}")
    (copy / page).write_text(text + "\nelsewhere\n", encoding="utf-8")
    assert readme_status(copy) == "current", "what stands outside the marks: see below"


def typed(text: str) -> list[str]:
    """Numbers that look measured, outside of what is generated and of code to run: decimals, shares, times, sizes, counts."""
    generated = [part.marks for part in GENERATED]
    for begin, end in (*generated, ("<!-- verdicts:begin", "<!-- verdicts:end -->"), ("```", "```")):
        while begin in text:
            head, _, rest = text.partition(begin)
            text = head + rest.partition(end)[2]
    text = text.replace("two quiet cores", "").replace("Python ≥ 3.11", "").replace("2410.09016", "").replace("Apache-2.0", "")
    unit = r"%|×|times|s|ms|h|min|seconds|minutes|hours|[KMG]i?B|bytes|tokens|parameters|claims|tests|figures|experiments"
    return re.findall(rf"\d[\d,]*\.\d+|\d+ ?(?:{unit})(?!\w)|\d,\d{{3}}", text)


def test_the_readme_types_no_measured_number():
    assert not typed((ROOT / README).read_text(encoding="utf-8"))


def test_its_python_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # the second example saves its adapter
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / README).read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    exec(compile(blocks[0], "README", "exec"), {})
    assert capsys.readouterr().out.startswith("2\n")
    pytest.importorskip("torch")
    exec(compile(blocks[1], "README", "exec"), {})
    losses = [float(line) for line in capsys.readouterr().out.split()]
    assert len(losses) == 5 and losses[-1] < losses[0]
    assert (tmp_path / "adapter").is_dir()


@pytest.mark.parametrize(
    "number", ["It is 2.3 times faster.", "takes 40 s", "in 7 minutes", "21 claims", "has 12,000 lines", "5 % of it", "3× stock"]
)
def test_a_number_typed_in_the_readme_is_noticed(number: str):
    text = (ROOT / README).read_text(encoding="utf-8")
    for part in ("# ssmproof", "## Install", "## Ten lines of theory", "## Where to go"):
        assert part in text and typed(text.replace(part, f"{number}\n\n{part}")), part
    end = GENERATED[0].marks[1]
    assert not typed(text.replace(end, f"{number}\n{end}")), "a generated block has a test of its own"


@pytest.mark.parametrize("part", GENERATED, ids=lambda part: part.page)
def test_a_page_without_marks_is_refused(copy: Path, part: Any):
    begin, end = part.marks
    text = (copy / part.page).read_text(encoding="utf-8")
    for broken in (text.replace(begin, ""), text.replace(end, ""), text.replace(begin, "").replace(end, end + begin)):
        (copy / part.page).write_text(broken, encoding="utf-8")
        with pytest.raises(InvalidInput, match="lacks the marks"):
            part.updated(copy)
    (copy / part.page).unlink()
    with pytest.raises(InvalidInput, match="cannot read"):
        part.updated(copy)


def test_command_line(copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert main(["readme", "--check"]) == 0
    assert capsys.readouterr().out == "README.md and docs/results.md: current\n"
    monkeypatch.setattr("figures.commands.readme_status", lambda: readme_status(copy))
    monkeypatch.setattr("figures.commands.write_readme", lambda: write_readme(copy))
    assert main(["readme", "--check"]) == 1, "the copy has no results of experiments"
    assert "run python -m figures readme" in capsys.readouterr().out
    assert main(["readme"]) == 0 and main(["readme", "--check"]) == 0
    (copy / README).unlink()
    assert main(["readme"]) == 2
    assert "cannot read" in capsys.readouterr().err


def test_the_check_of_figures_holds_the_readme(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("figures.commands.status", lambda *_: "current")
    assert main(["--check"]) == 0
    monkeypatch.setattr("figures.commands.readme_status", lambda: "stale: run python -m figures readme")
    assert main(["--check"]) == 1 and "readme" in capsys.readouterr().out
    assert main(["bench_scan_cpu", "--check"]) == 0, "a single figure is asked for"
