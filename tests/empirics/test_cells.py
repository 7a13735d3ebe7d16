"""Sweeps cell by cell: shared choices, restrictions, the order, several processes, the plan, and starting them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

from empirics.errors import InvalidInput, UnknownName
from empirics.study import config as config_module
from empirics.study import launch as launch_module
from empirics.study.claims import POLL, claim
from empirics.study.config import Strict, load_experiment, override
from empirics.study.launch import launch, mps_daemon, world_of
from empirics.study.plan import lines, plan_of
from empirics.study.results import Judgement, Metrics, config_hash
from empirics.study.runner import Runner, run_of
from empirics.study.sweep import SweepRunner, cells_of, restrict

ROOT = Path(__file__).resolve().parents[2]
TEXT = """
id = "vision_like"
claim = "prefix_state.contained"
question = "?"
prediction = "!"
seeds = [0, 1]
threshold = {}
[sweep]
tuning_seed = [8, 9]
minimise = "loss"
order = "cells"
[sweep.grid]
method = ["frozen", "copy", "a", "b"]
task = ["x", "y"]
[sweep.tune]
rate = [1.0, 2.0]
[sweep.widen]
rate = [0.01, 100.0]
[sweep.same]
copy = "a"
[sweep.only]
y = ["frozen", "a", "copy"]
"""


class ToyConfig(Strict):
    method: str = "a"
    task: str = "x"
    rate: float = 1.0


class Toy:
    Config = ToyConfig
    BEST = {"a": 8.0, "b": 0.5, "copy": 0.01, "frozen": 1.0}  # noqa: RUF012

    def __init__(self):
        self.calls: list[tuple[str, str, float, int]] = []
        self.pause = 0.0
        self.failing = ""

    def trains(self, options):
        return options["method"] != "frozen"

    def run(self, config, ctx):
        self.calls.append((config.method, config.task, config.rate, ctx.seed))
        time.sleep(self.pause)
        if config.method == self.failing and ctx.tuning:
            raise OSError("no space left")
        return Metrics(held_out={"loss": abs(config.rate - self.BEST[config.method]) + 1})

    def judge(self, results, threshold):
        return Judgement(verdict="reproduced", measured=str(len(results)))


@pytest.fixture
def toy(monkeypatch):
    made = Toy()
    monkeypatch.setattr(config_module, "experiment_module", lambda file: made)
    return made


def file_of(tmp_path: Path, text: str = TEXT):
    path = tmp_path / "toy.toml"
    path.write_text(text, encoding="utf-8")
    return load_experiment(path)


def sweep(tmp_path: Path, text: str = TEXT, **options) -> SweepRunner:
    return SweepRunner(Runner(tmp_path / "out", say=lambda line: None, **options), file_of(tmp_path, text))


A = [1.0, 2.0, 4.0, 8.0, 16.0]
"""What is tried for ``a``, whose best rate is 8."""


def test_a_cell_is_complete_before_the_next_begins(tmp_path, toy):
    summary = sweep(tmp_path).run()
    assert summary["complete"] and summary["measured"] == "14" and not summary["edges"]
    order = list(dict.fromkeys((method, task) for method, task, _, _ in toy.calls))
    # copy waits until a is tuned
    assert order == [("frozen", "x"), ("frozen", "y"), ("a", "x"), ("a", "y"), ("b", "x"), ("copy", "x"), ("copy", "y")]
    of_a = [call[2:] for call in toy.calls if call[:2] == ("a", "x")]
    assert of_a == [(rate, seed) for rate in A for seed in (8, 9)] + [(8.0, 0), (8.0, 1)]
    assert [call[2:] for call in toy.calls if call[0] == "copy"] == [(8.0, 0), (8.0, 1)] * 2
    assert {tuple(row.items()) for row in summary["tuned"]} >= {(("method", "copy"), ("task", "x"), ("rate", 8.0))}
    before = len(toy.calls)
    sweep(tmp_path).run()
    assert len(toy.calls) == before


def test_the_other_order_finds_the_same(tmp_path, toy):
    cells = sweep(tmp_path).run()
    made = list(toy.calls)
    toy.calls.clear()
    (tmp_path / "other").mkdir()
    other = sweep(tmp_path / "other", TEXT.replace('order = "cells"', 'order = "tuning first"')).run()
    assert other["tuned"] == cells["tuned"] and sorted(toy.calls) == sorted(made) and toy.calls != made
    assert {call[3] for call in toy.calls[-14:]} == {0, 1}


def test_what_is_shared_alone_tunes_the_other_method(tmp_path, toy):
    made = sweep(tmp_path)
    made.file = made.file.model_copy(update={"sweep": restrict(made.file.sweep, ["method=copy", "task=x"])})
    summary = made.run()
    assert summary["tuned"] == [{"method": "copy", "task": "x", "rate": 8.0}] and summary["measured"] == "2"
    assert {call[0] for call in toy.calls if call[3] in (8, 9)} == {"a"}


def test_a_failed_choice_is_not_taken_over(tmp_path, toy):
    toy.failing = "a"
    summary = sweep(tmp_path).run()
    assert {row["method"] for row in summary["tuned"]} == {"frozen", "b"} and not summary["complete"]
    assert {failed["config"]["method"] for failed in summary["failed_tuning"]} == {"a"}
    toy.failing = ""
    assert sweep(tmp_path).run()["complete"]


def test_only_leaves_cells_out(tmp_path, toy):
    file = file_of(tmp_path)
    assert {"method": "b", "task": "y"} not in cells_of(file.sweep) and {"method": "b", "task": "x"} in cells_of(file.sweep)
    assert len(cells_of(file.sweep)) == 7


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('copy = "a"', 'copy = "c"', "same names 'c', which is no method"),
        ('copy = "a"', 'c = "a"', "same names 'c', which is no method"),
        ('copy = "a"', 'copy = "a"\na = "b"', "same.copy is 'a', which tunes nothing itself"),
        ('y = ["frozen"', 'z = ["frozen"', "only names 'z'"),
        ('y = ["frozen"', 'y = ["frosen"', "only.y names 'frosen'"),
        ('"cells"', '"cell"', "order is 'cell'"),
    ],
)
def test_bad_restrictions_are_named(tmp_path, old, new, message):
    with pytest.raises(InvalidInput, match=message):
        file_of(tmp_path, TEXT.replace(old, new))


def test_a_cell_that_another_process_is_on_is_left_to_it(tmp_path, toy):
    made = sweep(tmp_path, deadline=time.monotonic() + 60)
    held = made.runner.claim("vision_like", f"cell_{config_hash({'method': 'a', 'task': 'x'})}")
    seen = []
    run = toy.run
    toy.run = lambda config, ctx: (seen.append((config.method, config.task)), run(config, ctx))[1]
    with held:
        made._by_cells(list(made.tuning()), made.runner)
    assert ("a", "x") not in seen and ("copy", "x") not in seen and {("copy", "y"), ("b", "x")} <= set(seen)
    assert made.run()["complete"] and ("copy", "x") in seen


def test_several_processes_share_cells_and_no_run_is_made_twice(tmp_path, toy):
    toy.pause = 0.01
    summaries = {}

    file = file_of(tmp_path)

    def work(rank):
        made = SweepRunner(Runner(tmp_path / "out", say=lambda line: None), file, rank / 3)
        summaries[rank] = made.run()

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(toy.calls) == len(set(toy.calls)) and summaries[0]["complete"]
    assert summaries[0]["tuned"] == summaries[1]["tuned"] == summaries[2]["tuned"]


@pytest.mark.parametrize("order", ["cells", "tuning first"])
def test_a_tuning_run_that_is_under_way_holds_up_no_other_cell(tmp_path, toy, order):
    """Another process is on the last tuning run of a cell: all that does not rest on it is done meanwhile, wider grids too."""
    text = TEXT.replace('order = "cells"', f'order = "{order}"')
    (tmp_path / "alone").mkdir()
    sweep(tmp_path / "alone", text).run()
    whole = set(toy.calls)
    toy.calls.clear()
    tuned = {("a", "x", 1.0, 8), ("a", "x", 1.0, 9), ("a", "x", 2.0, 8)}
    free = {call for call in whole if call[:2] not in (("a", "x"), ("copy", "x"))} | tuned
    made = sweep(tmp_path, text)
    work = made.runner._work(run_of(override(made.file, method="a", task="x", rate=2.0), 9, "cpu"))
    found = []
    thread = threading.Thread(target=lambda: found.append(made.run()))
    with claim(work.with_name(f"{work.name}.lock"), wait=False):
        thread.start()
        until = time.monotonic() + 20
        while not free <= set(toy.calls) and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(2 * POLL)
        before = set(toy.calls)
    thread.join(timeout=60)
    assert before == free and before < whole == set(toy.calls)
    assert found[0]["complete"] and len(toy.calls) == len(whole)


def test_time_that_is_up_leaves_a_summary_of_all_there_is(tmp_path, toy):
    sweep(tmp_path).run()
    summary = sweep(tmp_path, deadline=time.monotonic() - 1).run()
    assert summary["complete"] and summary["measured"] == "14"
    for path in sorted((tmp_path / "out" / "runs" / "vision_like").glob("method=b*seed=[01]*")):
        path.unlink()
    summary = sweep(tmp_path, deadline=time.monotonic() - 1).run()
    assert not summary["complete"] and summary["measured"] == "12" and len(summary["tuned"]) == 7


# --- the plan ---


def test_the_plan_counts_what_is_missing(tmp_path, toy):
    made = sweep(tmp_path)
    plans = {(p.cell["method"], p.cell["task"]): p for p in plan_of(made.runner, made.file)}
    assert plans["a", "x"].tuning == plans["a", "x"].tuning_missing == 4 and plans["a", "x"].open_end
    assert plans["copy", "x"].tuning == plans["frozen", "x"].tuning == 0 and plans["frozen", "x"].counting_missing == 2
    assert not toy.calls and all(p.minutes is None for p in plans.values())
    assert "20 of 20" not in (text := lines(list(plans.values()), 1)[-1]) and text.startswith(
        "26 of 26 runs are missing, unknown"
    )
    for seed in (8, 9):
        for rate in (1.0, 2.0):
            made._one({"method": "a", "task": "x", "rate": rate}, seed, tuning=True)
    plans = {(p.cell["method"], p.cell["task"]): p for p in plan_of(made.runner, made.file)}
    grown = plans["a", "x"]
    assert (grown.tuning, grown.tuning_missing, grown.open_end, grown.counting_missing) == (6, 2, True, 2)
    assert grown.seconds is not None and plans["b", "x"].seconds is not None  # of another method on the same task
    made.run()
    plans = plan_of(made.runner, made.file)
    assert sum(p.missing for p in plans) == 0 and not any(p.open_end for p in plans)
    assert lines(plans, 4)[-1].startswith("0 of ") and "by 4 processes" in lines(plans, 4)[-1]


# --- starting processes ---


def test_each_process_knows_its_number_and_the_largest_code_comes_back(tmp_path):
    text = "import os, sys; from pathlib import Path; rank = os.environ['RANK']; "
    text += "Path(sys.argv[1], rank).write_text(os.environ['WORLD_SIZE'] + os.environ['LOCAL_RANK']); sys.exit(int(rank) * 2)"
    assert launch([sys.executable, "-c", text, str(tmp_path)], 3) == 4
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"0": "30", "1": "31", "2": "32"}


def test_a_killed_process_is_told(capfd):
    text = "import os, signal; os.kill(os.getpid(), signal.SIGKILL) if os.environ['RANK'] == '1' else None"
    assert launch([sys.executable, "-c", text], 2) == 1
    assert "1 of 2 processes were killed" in capfd.readouterr().err


def test_processes_end_with_the_one_that_started_them(tmp_path):
    child = "import os, sys, time; from pathlib import Path; Path(sys.argv[1], str(os.getpid())).touch(); time.sleep(600)"
    text = (
        f"import sys; from empirics.study.launch import launch; launch([sys.executable, '-c', {child!r}, {str(tmp_path)!r}], 2)"
    )
    with subprocess.Popen([sys.executable, "-c", text], cwd=ROOT, stderr=subprocess.DEVNULL) as parent:
        while len(list(tmp_path.iterdir())) < 2 and parent.poll() is None:
            time.sleep(0.05)
        parent.send_signal(signal.SIGTERM)
        parent.wait(timeout=30)
    for path in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name), 0)


def fake_mps(tmp_path: Path, monkeypatch, code: int = 0) -> Path:
    log = tmp_path / "log"
    program = tmp_path / "bin" / launch_module.MPS
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nif [ "$1" = -d ]; then echo "start $CUDA_MPS_PIPE_DIRECTORY" >> {log}; echo bad luck >&2; exit {code}; fi\n'
        f"read word; echo $word >> {log}\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return log


def test_the_daemon_is_started_in_a_folder_of_its_own_and_stopped(tmp_path, monkeypatch):
    log = fake_mps(tmp_path, monkeypatch)
    text = "import os, sys; sys.exit(0 if os.path.isdir(os.environ['CUDA_MPS_PIPE_DIRECTORY']) else 9)"
    assert launch([sys.executable, "-c", text], 2, mps=True) == 0
    start, end = log.read_text().splitlines()
    assert start.startswith("start ") and end == "quit" and not Path(start.removeprefix("start ")).exists()
    assert launch([sys.executable, "-c", "import os, sys; sys.exit(7 * ('CUDA_MPS_PIPE_DIRECTORY' in os.environ))"], 1) == 0


def test_the_daemon_sees_all_gpus_and_its_clients_choose(tmp_path, monkeypatch):
    """A daemon that is shown GPU 1 alone calls it 0, and its clients look for a GPU 1 that is not there."""
    program = fake_mps(tmp_path, monkeypatch).parent / "bin" / launch_module.MPS
    program.write_text(program.read_text().replace("start $CUDA_MPS_PIPE_DIRECTORY", "sees ${CUDA_VISIBLE_DEVICES-all}"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    text = "import os, sys; sys.exit(os.environ.get('CUDA_VISIBLE_DEVICES') != '1')"
    assert launch([sys.executable, "-c", text], 1, mps=True) == 0
    assert (tmp_path / "log").read_text().splitlines()[0] == "sees all"


def test_a_daemon_that_is_not_there_or_does_not_start_is_said(tmp_path, monkeypatch):
    fake_mps(tmp_path, monkeypatch, code=3)
    with pytest.raises(InvalidInput, match="does not start \\(bad luck"), mps_daemon():
        pytest.fail("started")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InvalidInput, match="not installed here"), mps_daemon():
        pytest.fail("started")


def test_numbers_of_processes(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert world_of(4, "cuda") == 8 and world_of(4, "cpu") == 4
    for wrong in (0, -1, 65):
        with pytest.raises(InvalidInput, match=rf"--workers {wrong} must lie in 1\.\.64"):
            world_of(wrong, "cpu")


def test_the_command_line_starts_processes_that_share_a_sweep(tmp_path):
    command = [sys.executable, "-m", "empirics", "sweep", "base_benchmark", "--quick", "--model", "untrained"]
    command += ["--only", "method=frozen,prompt,lora_linear", "--out", str(tmp_path)]
    done = subprocess.run([*command, "--workers", "2"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.count("base_benchmark: undecided") == 1, done.stderr
    assert len(list((tmp_path / "runs" / "base_benchmark").glob("*.json"))) == 6
    planned = subprocess.run([*command, "--plan"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert planned.returncode == 0 and "0 of 6 runs are missing" in planned.stdout
    wrong = subprocess.run([*command, "--mps"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert wrong.returncode == 2 and "give --workers N too" in wrong.stderr


def test_locks_of_cells_leave_nothing(tmp_path, toy):
    sweep(tmp_path).run()
    assert not list((tmp_path / "out" / "work").rglob("*.lock"))
    with claim(tmp_path / "out" / "work" / "x.lock", wait=False):
        assert list((tmp_path / "out" / "work").rglob("*.lock"))


def test_a_metric_can_be_computed_from_those_that_were_measured(tmp_path, toy):
    text = TEXT.replace('minimise = "loss"', 'minimise = "farthest"')
    with pytest.raises(UnknownName, match="farthest"):
        sweep(tmp_path, text).run()
    toy.MINIMISED = {"farthest": lambda held_out: 1 / held_out["loss"]}
    tuned = sweep(tmp_path, text).run()["tuned"]
    rates = {row["rate"] for row in tuned if row["method"] == "b"}
    assert rates == {100.0}  # the bound is the farthest from 0.5
