"""Runs that were killed or stopped: what is finished is not repeated, and the result is the same, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from empirics.errors import CheckpointError, InvalidInput
from empirics.study import config as config_module
from empirics.study import runner as runner_module
from empirics.study.config import Strict, load_experiment, override
from empirics.study.results import Judgement, Metrics
from empirics.study.runner import Context, Runner
from empirics.study.store import read_result
from empirics.training import checkpoint
from empirics.training import loop as training
from empirics.training.loop import Optimiser, OutOfTime
from empirics.training.progress import bar

ROOT = Path(__file__).resolve().parents[2]
TEXT = """
id = "state_floor"
claim = "prefix_state.input_independent"
question = "?"
prediction = "!"
seeds = [3]
threshold = {}
"""


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


class TwoStages:
    """Two trainings with dropout and generators, one after the other; the second one uses what the first one left."""

    class Config(Strict):
        steps: int = 12

    def __init__(self):
        self.steps: list[tuple[str, int]] = []
        self.die_at: tuple[str, int] | None = None
        self.fail = ""
        self.stop: Runner | None = None
        self.null = False

    def run(self, config, ctx: Context) -> Metrics:
        torch.manual_seed(ctx.seed)
        weight = nn.Parameter(torch.randn(4, 4, dtype=torch.complex64))
        generator = torch.Generator().manual_seed(ctx.seed)
        losses: list[float] = []
        for name in ("first", "second"):

            def loss(step: int, name: str = name) -> torch.Tensor:
                self.steps.append((name, step))
                if (name, step) == self.die_at:
                    raise Killed
                x = nn.functional.dropout(torch.randn(8, 4, generator=generator), 0.5) + 0j
                return (x @ weight - x).abs().square().mean()

            losses += ctx.train(name, {"w": weight}, loss, Optimiser(1e-2, config.steps, clip=1.0), [generator]).losses
        if self.fail:
            raise InvalidInput(self.fail)
        return Metrics(held_out={"losses": losses, "w": torch.view_as_real(weight).detach().flatten().tolist()})

    def judge(self, results, threshold) -> Judgement:
        return Judgement(verdict="reproduced", measured=f"{results[0].held_out['absent' if self.null else 'losses'][0]:.3f}")


@pytest.fixture
def stages(monkeypatch):
    made = TwoStages()
    monkeypatch.setattr(config_module, "experiment_module", lambda file: made)
    monkeypatch.setattr(runner_module, "Context", partial(Context, every=5))
    return made


def experiment(tmp_path: Path):
    path = tmp_path / "toy.toml"
    path.write_text(TEXT, encoding="utf-8")
    return load_experiment(path)


def runner(folder: Path, **options) -> Runner:
    return Runner(folder, say=lambda line: None, **options)


@pytest.mark.parametrize("die_at", [("first", 0), ("first", 7), ("second", 0), ("second", 3), ("second", 11)])
def test_a_run_of_two_trainings_resumes_bit_identically(tmp_path, stages, die_at):
    file = experiment(tmp_path)
    whole = runner(tmp_path / "whole").one(file, 3)
    stages.die_at = die_at
    with pytest.raises(Killed):
        runner(tmp_path / "cut").one(file, 3)
    stages.die_at, stages.steps = None, []
    torch.manual_seed(99)  # whatever happened in between
    assert runner(tmp_path / "cut").one(file, 3).held_out == whole.held_out
    name, step = die_at
    assert stages.steps[0] == (name, step // 5 * 5)  # a finished training is not repeated
    assert not (tmp_path / "cut/work/state_floor").exists() or not list((tmp_path / "cut/work/state_floor").iterdir())


def test_the_deadline_stops_a_training_and_a_later_call_goes_on(tmp_path, stages, monkeypatch):
    file = experiment(tmp_path)
    whole = runner(tmp_path / "whole").one(file, 3)
    clock = iter(range(10**6))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    calls = []
    for _ in range(10):  # nine readings of the clock, then time is up
        stages.steps = []
        late = runner(tmp_path / "cut", deadline=next(clock) + 9)
        try:
            result = late.one(file, 3)
        except OutOfTime:
            calls.append(list(stages.steps))
            continue
        break
    else:
        pytest.fail("never finished")
    assert calls and all(calls) and result.held_out == whole.held_out
    taken = [step for call in [*calls, stages.steps] for step in call]
    assert taken == [(name, step) for name in ("first", "second") for step in range(12)]  # no step is taken twice


def test_seconds_add_up_over_calls(tmp_path, stages):
    file = experiment(tmp_path)
    work = tmp_path / "out/work/state_floor" / runner(tmp_path / "out").path(file, 3).stem
    work.mkdir(parents=True)
    (work / "seconds.json").write_text("1000.0", encoding="utf-8")
    assert runner(tmp_path / "out").one(file, 3).seconds > 1000


def test_a_failed_run_leaves_its_reason_beside_and_success_removes_it(tmp_path, stages):
    file = experiment(tmp_path)
    stages.fail = "the target has 3 channels"
    assert runner(tmp_path / "out").one(file, 3).status == "failed"
    folder = tmp_path / "out/runs/state_floor"
    (path,) = folder.iterdir()
    assert path.name.endswith(".failed.json") and json.loads(path.read_text())["reason"].endswith("3 channels")
    stages.fail, stages.steps = "", []
    result = runner(tmp_path / "out").one(file, 3)
    (path,) = folder.iterdir()
    assert stages.steps == [] and read_result(path) == result and not path.name.endswith(".failed.json")


def test_a_failed_run_in_the_place_of_a_result_is_refused(tmp_path, stages):
    file = experiment(tmp_path)
    one = runner(tmp_path / "out")
    one.one(file, 3)
    path = one.path(file, 3)
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "status": "failed", "reason": "x"}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="holds a failed run"):
        one.one(file, 3)


def test_results_that_do_not_fit_the_judgement_are_named(tmp_path, stages):
    stages.null = True
    with pytest.raises(CheckpointError, match=r"state_floor do not fit its judgement \(KeyError: 'absent', test_resume.py:"):
        runner(tmp_path / "out").run(experiment(tmp_path))


def test_two_trainings_of_one_name_are_refused(tmp_path):
    ctx = Context(0, work=tmp_path)
    weight = nn.Parameter(torch.ones(2))
    ctx.train("a", {"w": weight}, lambda step: weight.square().sum(), Optimiser(1e-2, 2))
    with pytest.raises(InvalidInput, match="trained under the name 'a' before"):
        ctx.train("a", {"w": weight}, lambda step: weight.square().sum(), Optimiser(1e-2, 2))


def test_a_checkpoint_of_more_steps_than_asked_for_is_refused(tmp_path):
    weight = nn.Parameter(torch.ones(2))
    Context(0, work=tmp_path).train("a", {"w": weight}, lambda step: weight.square().sum(), Optimiser(1e-2, 3))
    tensors, record = checkpoint.load(tmp_path / "a" / training.STATE)
    checkpoint.save(tmp_path / "a" / training.STATE, tensors, {**record, "losses": [1.0] * 4})
    with pytest.raises(CheckpointError, match="step 4 of 3"):
        Context(0, work=tmp_path).train("a", {"w": weight}, lambda step: weight.square().sum(), Optimiser(1e-2, 3))


# -- named checkpoints --------------------------------------------------------------------------------------------------


def test_complex_tensors_lie_where_the_processor_reads_them(tmp_path):
    """A file's header ends at a multiple of 8 bytes: read in place, complex128 tensors may lie off a multiple of 16."""
    z = torch.complex(torch.randn(7, 3, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64))
    for length in range(0, 64, 4):
        checkpoint.save(tmp_path / "a.safetensors", {"z": z}, "x" * length)
        found = checkpoint.load(tmp_path / "a.safetensors")[0]["z"]
        assert found.data_ptr() % 16 == 0 and torch.equal(torch.zeros_like(z).copy_(found), z)


def test_checkpoint_and_resume_round_trip(tmp_path):
    ctx = Context(0, work=tmp_path / "work")
    assert ctx.resume("rows") is None
    z = torch.complex(torch.randn(3, 2, dtype=torch.float64), torch.full((3, 2), float("nan"), dtype=torch.float64))
    half, empty = torch.randn(5).to(torch.bfloat16), torch.zeros(0, 3)
    tensors = {"z": z, "half": half, "again": half, "view": z.real[1:, 0], "empty": empty, "n": torch.tensor(7)}
    values = {"rows": [{"x": 0.1 + 0.2, "name": "é"}], "none": None}
    ctx.checkpoint("rows", tensors, values)
    found = ctx.resume("rows")
    assert found is not None and found[1] == values and found[0].keys() == tensors.keys()
    for name, value in tensors.items():
        assert found[0][name].dtype == value.dtype and torch.equal(found[0][name].nan_to_num(), value.nan_to_num())
    assert torch.equal(found[0]["z"].imag.isnan(), z.imag.isnan())
    ctx.checkpoint("rows", values=[1])
    assert ctx.resume("rows") == ({}, [1])
    assert [p.name for p in (tmp_path / "work").iterdir()] == ["rows.safetensors"]
    nowhere = Context(0)
    nowhere.checkpoint("rows", tensors)
    assert nowhere.resume("rows") is None


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b"])
def test_checkpoint_names_stay_in_their_folder(tmp_path, name):
    with pytest.raises(InvalidInput, match="checkpoint name"):
        Context(0, work=tmp_path).checkpoint(name)
    with pytest.raises(InvalidInput, match="checkpoint name"):
        Context(0, work=tmp_path).resume(name)


@pytest.mark.parametrize("values", [float("nan"), {"x": object()}, {"x": [float("inf")]}])
def test_values_that_are_no_json_are_refused(tmp_path, values):
    with pytest.raises(InvalidInput, match="no JSON"):
        checkpoint.save(tmp_path / "a.safetensors", {}, values)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["empty", "half", "flipped header", "foreign", "folder"])
def test_corrupt_checkpoints_are_named(tmp_path, how):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, {"x": torch.randn(50)}, {"y": 1})
    content = path.read_bytes()
    path.unlink()
    if how == "foreign":
        save_file({"x": torch.ones(2)}, path)
    elif how == "folder":
        path.mkdir()
    else:
        path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "flipped header": b"\xff" + content[1:]}[how])
    with pytest.raises(CheckpointError, match=r"a\.safetensors"):
        Context(0, work=tmp_path).resume("a")


# -- a real kill --------------------------------------------------------------------------------------------------------

SMALL = {"width": 3, "prefix_tokens": [1], "steps": 300, "batch": 8, "held_out": 500}
PROGRAM = """
    import json, sys
    from pathlib import Path
    import torch
    torch.set_num_threads(1)
    from empirics.training import loop as training
    from empirics.study.config import load_experiment, override
    from empirics.study.runner import Runner

    original = training._save
    def announce(*args):
        original(*args)
        print("saved", flush=True)
    training._save = announce
    Runner(Path(sys.argv[1])).one(override(load_experiment("state_floor", quick=True), **json.loads(sys.argv[2])), 0)
"""


def test_sigkill_and_again_gives_the_same_result(tmp_path, monkeypatch):
    file = override(load_experiment("state_floor", quick=True), **SMALL)
    whole = runner(tmp_path / "whole").one(file, 0)
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path / "cut"), json.dumps(SMALL)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for _ in range(4):  # two trainings of 300 steps, a checkpoint every 100: this is inside the second one
            assert process.stdout.readline() == "saved\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "cut/runs").exists()
    started = []
    monkeypatch.setattr(training, "_restore", lambda *args, of=training._restore: started.append(losses := of(*args)) or losses)
    assert runner(tmp_path / "cut").one(file, 0).held_out == whole.held_out
    assert len(started[0]) == 300 and len(started[1]) >= 100


# -- bars ---------------------------------------------------------------------------------------------------------------


def test_bars_go_to_stderr_and_follow_what_is_trained(capsys):
    with bar("x", False) as tick:
        assert tick is None
    with bar("x", True) as tick:
        assert tick is not None
        tick("first", 1, 2)
        tick("second", 1, 3)
    assert capsys.readouterr().out == ""
    seen = []
    weight = nn.Parameter(torch.ones(2))
    ctx = Context(0, tick=lambda *what: seen.append(what))
    ctx.train("a", {"w": weight}, lambda step: weight.square().sum(), Optimiser(1e-2, 2))
    assert seen == [("a", 1, 2), ("a", 2, 2)]
