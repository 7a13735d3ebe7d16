"""Several processes on one sweep: shares, the environment of torchrun, and the same results as one process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from empirics.errors import InvalidInput
from empirics.study.claims import Busy, claim
from empirics.study.runner import OutOfTime
from empirics.study.workers import Workers

ROOT = Path(__file__).resolve().parents[2]


def test_a_claim_is_held_by_one_and_given_back(tmp_path):
    path = tmp_path / "work" / "run.lock"
    with claim(path, wait=False):
        with pytest.raises(Busy), claim(path, wait=False):
            pytest.fail("claimed twice")
        with pytest.raises(OutOfTime), claim(path, wait=True, deadline=0.0):
            pytest.fail("claimed twice")
    assert not path.exists()
    with claim(path, wait=False):
        pass


def test_a_dead_process_gives_its_claim_back(tmp_path):
    path = tmp_path / "run.lock"
    text = "import sys, time; from pathlib import Path; from empirics.study.claims import claim\n"
    text += "with claim(Path(sys.argv[1]), wait=False): print('held', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", text, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(Busy), claim(path, wait=False):
            pytest.fail("claimed twice")
        other.kill()
        other.wait()
        with claim(path, wait=False):
            assert path.exists()


def test_environment():
    assert Workers.from_environment({}) is None
    alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    assert Workers.from_environment(alone) is None
    third = Workers.from_environment({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"})
    assert third == Workers(5, 8, 1)
    assert (
        third.device("cuda", 4) == "cuda:1"
        and third.device("cuda", 1) == "cuda:0"
        and Workers(5, 8, 5).device("cuda", 2) == "cuda:1"
    )
    assert third.device("cpu") == "cpu" and third.device("cuda:0") == "cuda:0"
    for wrong in ({"WORLD_SIZE": "2"}, alone | {"RANK": "1"}, alone | {"WORLD_SIZE": "many"}, alone | {"LOCAL_RANK": "-1"}):
        with pytest.raises(InvalidInput, match=r"WORLD_SIZE"):
            Workers.from_environment(wrong)


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path):
    text = (ROOT / "empirics/experiments/s4_regression/experiment.toml").read_text(encoding="utf-8")
    small = tmp_path / "s4_regression.toml"
    small.write_text(text.replace("steps = 60", "steps = 2").replace("batch = 64", "batch = 8"))
    methods = ["--only", "method=frozen,initial_state,sdt"]
    found = {}
    for name, start in (("one", []), ("two", ["-m", "torch.distributed.run", "--nproc-per-node", "2"])):
        out = tmp_path / name
        command = [sys.executable, *start, "-m", "empirics", "sweep", str(small), "--quick", "--out", str(out), *methods]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert run.returncode in (0, 1), run.stderr  # two steps decide nothing
        summary = json.loads((out / "s4_regression_quick.json").read_text())
        assert summary["complete"] and summary["failed"] == []
        runs = {p.name: json.loads(p.read_text())["held_out"]["mse"] for p in (out / "runs" / "s4_regression").glob("*.json")}
        found[name] = (summary["tuned"], runs)
    assert found["one"] == found["two"] and len(found["one"][1]) > 6


@pytest.mark.slow
def test_two_ordinary_processes_share_a_sweep(tmp_path):
    """Started by hand on one folder: every run is done once, by one of them, and both end with the whole summary."""
    text = (ROOT / "empirics/experiments/s4_regression/experiment.toml").read_text(encoding="utf-8")
    small = tmp_path / "s4_regression.toml"
    small.write_text(text.replace("steps = 60", "steps = 2").replace("batch = 64", "batch = 8"))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "empirics", "sweep", str(small), "--quick", "--out", str(out)]
    command += ["--only", "method=initial_state,sdt"]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    done = [line for _, lines in said for line in lines.splitlines() if line.endswith(" s")]
    runs = list((out / "runs" / "s4_regression").glob("*.json"))
    assert len(done) == len(set(done)) == len(runs) == 2 * (2 + 2)
    assert all("not complete" not in printed for printed, _ in said)
    assert not [path for path in (out / "work").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_time_that_is_up_at_once_is_no_error_and_scans_stay_apart(tmp_path):
    """Runs of another scan in the same folder are other runs: they neither tune for these nor are summed up with them."""
    text = (ROOT / "empirics/experiments/vision/experiment.toml").read_text(encoding="utf-8")
    small = tmp_path / "vision.toml"
    small.write_text(text.replace("pretrain_steps = 20", "pretrain_steps = 2").replace("steps = 10", "steps = 1"))
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "empirics", "sweep", str(small), "--quick",
        "--out", str(out), "--only", "method=frozen,full",
    ]  # fmt: skip
    for more, complete in ((["--budget", "0.01"], False), (["--scan", "chunked"], True), (["--scan", "naive"], True)):
        run = subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert run.returncode == 0, run.stderr
        summary = json.loads((out / "vision_quick.json").read_text())
        assert summary["complete"] is complete and ("call again to go on" in run.stdout) is not complete
    assert len(list((out / "runs" / "vision").glob("*.json"))) == 2 * 2  # two methods at one rate, twice
