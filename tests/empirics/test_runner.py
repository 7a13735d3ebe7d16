"""Experiment files, result files, training that resumes, and the runner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from empirics.errors import CheckpointError, InvalidInput, UnknownName
from empirics.methods import apply, method_config
from empirics.models.s4 import DeepS4, DeepS4Config
from empirics.study import config as config_module
from empirics.study.config import Strict, experiment_names, load_experiment
from empirics.study.results import Judgement, Metrics, write_json
from empirics.study.runner import Context, Runner
from empirics.study.store import read_result
from empirics.training import checkpoint
from empirics.training.loop import Optimiser, train

GOOD = """
id = "state_floor"
claim = "prefix_state.input_independent"
question = "?"
prediction = "!"
seeds = [0, 1]
[threshold]
limit = 1.0
[config]
size = 3
[quick]
seeds = [7]
[quick.config]
size = 2
"""


class ToyConfig(Strict):
    size: int = 1
    fail: str = ""


class Toy:
    """An experiment that counts its runs."""

    Config = ToyConfig

    def __init__(self):
        self.calls: list[int] = []
        self.fails_at: int | None = None

    def run(self, config: ToyConfig, ctx: Context) -> Metrics:
        self.calls.append(ctx.seed)
        if ctx.seed == self.fails_at:
            raise InvalidInput("the loss is nan at step 3")
        if config.fail:
            raise ZeroDivisionError(config.fail)
        return Metrics(held_out={"loss": ctx.seed / config.size, "worst": float("inf")}, trainable=config.size)

    def judge(self, results, threshold) -> Judgement:
        low = all(r.held_out["loss"] <= threshold["limit"] for r in results)
        return Judgement(verdict="reproduced" if low else "not reproduced", measured=f"{len(results)} runs")


@pytest.fixture
def toy(monkeypatch):
    made = Toy()
    monkeypatch.setattr(config_module, "experiment_module", lambda file: made)
    return made


def file_of(tmp_path: Path, text: str = GOOD, quick: bool = False):
    path = tmp_path / "toy.toml"
    path.write_text(text, encoding="utf-8")
    return load_experiment(path, quick)


# -- experiment files ---------------------------------------------------------------------------------------------------


def test_every_committed_file_is_valid_and_tests_a_claim_of_theory():
    from theory import claims

    known = {claim.id for claim in claims()}
    assert len(experiment_names()) >= 5
    for name in experiment_names():
        for quick in (False, True):
            file = load_experiment(name, quick)
            assert file.id == name and file.claim in known and file.prediction.strip() and file.threshold


def test_quick_settings_replace_key_by_key(tmp_path):
    file = file_of(tmp_path, GOOD.replace("size = 3", "size = 3\nother = 4"), quick=True)
    assert file.seeds == [7] and file.config == {"size": 2, "other": 4}
    assert file_of(tmp_path).seeds == [0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seeds = [0, 1]", "seed = [0, 1]"), r"key of toy.toml 'seed': did you mean 'seeds'"),
        (("[quick.config]", "[quick.confg]"), r"\[quick\] 'confg': did you mean 'config'"),
        (("seeds = [0, 1]", "seeds = []"), "seeds is"),
        (("limit = 1.0", 'limit = "low"'), "threshold.limit is 'low'"),
        (('claim = "prefix_state.input_independent"', ""), "lacks the key 'claim'"),
        (("size = 3", "size = = 3"), "no TOML"),
    ],
)
def test_bad_files_name_the_key(tmp_path, change, message):
    with pytest.raises(InvalidInput, match=message):
        file_of(tmp_path, GOOD.replace(*change))


def test_unknown_option_of_an_experiment_names_the_nearest(tmp_path, toy):
    with pytest.raises(UnknownName, match=r"state_floor \[config\] 'siz': did you mean 'size'"):
        Runner(tmp_path / "out").run(file_of(tmp_path, GOOD.replace("size = 3", "siz = 3")))
    assert toy.calls == []


def test_unknown_experiment():
    with pytest.raises(UnknownName, match="did you mean 'state_floor'"):
        load_experiment("state_flor")


# -- the runner ---------------------------------------------------------------------------------------------------------


def test_finished_runs_are_skipped_and_other_options_are_not(tmp_path, toy):
    runner = Runner(tmp_path / "out", say=lambda line: None)
    first = runner.run(file_of(tmp_path))
    assert toy.calls == [0, 1] and first["verdict"] == "reproduced" and first["complete"]
    assert runner.run(file_of(tmp_path)) == first
    assert toy.calls == [0, 1]
    runner.run(file_of(tmp_path, GOOD.replace("size = 3", "size = 4")))
    assert toy.calls == [0, 1, 0, 1]
    result = read_result(runner.path(file_of(tmp_path), 1))
    assert result.held_out == {"loss": 1 / 3, "worst": None} and result.trainable == 3 and result.seed == 1
    assert set(result.versions) >= {"python", "torch"} and result.device == "cpu"


def test_verdict_follows_the_threshold(tmp_path, toy):
    runner = Runner(tmp_path / "out", say=lambda line: None)
    assert runner.run(file_of(tmp_path, GOOD.replace("limit = 1.0", "limit = 0.1")))["verdict"] == "not reproduced"


def test_a_failed_run_leaves_its_reason_and_is_tried_again(tmp_path, toy):
    toy.fails_at = 1
    runner = Runner(tmp_path / "out", say=lambda line: None)
    summary = runner.run(file_of(tmp_path))
    assert summary["verdict"] == "undecided"
    assert summary["failed"] == [{"seed": 1, "config": {"size": 3, "fail": ""}, "reason": summary["failed"][0]["reason"]}]
    assert summary["failed"][0]["reason"] == "InvalidInput: the loss is nan at step 3"
    toy.fails_at = None
    assert runner.run(file_of(tmp_path))["verdict"] == "reproduced"
    assert toy.calls == [0, 1, 1]


def test_an_unexpected_error_says_where(tmp_path, toy):
    file = file_of(tmp_path, GOOD.replace("size = 3", 'size = 3\nfail = "boom"'))
    reason = Runner(tmp_path / "out", say=lambda line: None).run(file)["failed"][0]["reason"]
    assert reason.startswith("ZeroDivisionError: boom (test_runner.py:")


@pytest.mark.parametrize("content", ["", "{", '{"experiment": "x"}', "[1, 2]", b"\xff\xfe\x00"])
def test_a_corrupt_result_is_named(tmp_path, toy, content):
    runner = Runner(tmp_path / "out", say=lambda line: None)
    file = file_of(tmp_path)
    runner.run(file)
    path = runner.path(file, 0)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CheckpointError, match=path.name):
        runner.run(file)


def test_the_deadline_stops_new_runs_only(tmp_path, toy):
    Runner(tmp_path / "out", say=lambda line: None).one(file_of(tmp_path), 0)
    late = Runner(tmp_path / "out", deadline=-1.0, say=lambda line: None).run(file_of(tmp_path))
    assert toy.calls == [0] and not late["complete"] and late["verdict"] == "undecided"


def test_writing_is_atomic(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": [1, float("nan")]})
    with pytest.raises(TypeError):
        write_json(path, {"x": object()})
    assert json.loads(path.read_text()) == {"x": [1, None]}
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


def test_bad_devices():
    for device, message in (("gpu7", "unknown"), ("meta", "not supported")):
        with pytest.raises(InvalidInput, match=message):
            Runner(Path("out"), device).run(load_experiment("state_floor", quick=True))
    if not torch.cuda.is_available():
        with pytest.raises(InvalidInput, match="no CUDA device"):
            Runner(Path("out"), "cuda").run(load_experiment("state_floor", quick=True))


# -- training -----------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def trained(folder: Path | None, die_at: int | None = None, steps: int = 24):
    """A deep S4 with dropout on its input, complex trained tensors and a data generator of its own."""
    torch.manual_seed(0)
    net = DeepS4(DeepS4Config(4, 2, 3))
    handle = apply(net, method_config("initial_state"))
    complex_tensors = handle.trainable()
    generator = torch.Generator().manual_seed(5)
    noise = nn.Dropout(0.3)

    def loss(step: int) -> torch.Tensor:
        if step == die_at:
            raise Killed
        x = torch.randn(3, 6, 4, generator=generator)
        return (net(noise(x)) - x).square().mean()

    optimiser = Optimiser(1e-2, steps, weight_decay=0.1, warm_up=4, linear_decay=True, clip=1.0)
    course = train(complex_tensors, loss, optimiser, generators=[generator], checkpoint=folder, every=5)
    return course, {name: p.detach().clone() for name, p in complex_tensors.items()}


@pytest.mark.parametrize("die_at", [0, 3, 5, 13, 23])
def test_a_killed_run_resumes_bit_identically(tmp_path, die_at):
    whole, expected = trained(None)
    with pytest.raises(Killed):
        trained(tmp_path / "run", die_at)
    torch.manual_seed(99)  # whatever happened in between
    resumed, values = trained(tmp_path / "run")
    assert resumed.resumed_at == die_at // 5 * 5
    assert resumed.losses == whole.losses
    assert all(torch.equal(values[name], expected[name]) for name in expected)
    assert not (tmp_path / "run").exists()


def test_resuming_without_the_generators_state_would_differ(tmp_path):
    """The negative twin: the data's generator matters."""
    whole, _ = trained(None)
    with pytest.raises(Killed):
        trained(tmp_path / "run", 13)
    (file,) = (tmp_path / "run").iterdir()
    tensors, values = checkpoint.load(file)
    tensors["generator.0"] = torch.Generator().manual_seed(6).get_state()
    checkpoint.save(file, tensors, values)
    resumed, _ = trained(tmp_path / "run")
    assert resumed.losses[:10] == whole.losses[:10] and resumed.losses[10:] != whole.losses[10:]


def test_corrupt_and_foreign_checkpoints(tmp_path):
    with pytest.raises(Killed):
        trained(tmp_path / "run", 13)
    with pytest.raises(CheckpointError, match="other options"):
        trained(tmp_path / "run", steps=30)
    (file,) = (tmp_path / "run").glob("*.safetensors")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="no readable checkpoint"):
        trained(tmp_path / "run")
    checkpoint.save(file, {}, {"losses": "many"})
    with pytest.raises(CheckpointError, match="no checkpoint of training"):
        trained(tmp_path / "run")


def test_diverged_training_says_at_which_step():
    weight = nn.Parameter(torch.ones(2))

    def loss(step: int) -> torch.Tensor:
        return weight.sum() * (float("nan") if step == 7 else 1.0)

    with pytest.raises(InvalidInput, match="nan at step 7"):
        train({"w": weight}, loss, Optimiser(1e-3, 20), every=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"steps": 0}, "steps"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"warm_up": 11}, "warm_up"),
        ({"clip": 0.0}, "clip"),
    ],
)
def test_bad_optimisers(options, message):
    with pytest.raises(InvalidInput, match=message):
        Optimiser(**{"learning_rate": 1e-3, "steps": 10, **options})
    with pytest.raises(InvalidInput, match="nothing to train"):
        train({}, lambda step: torch.zeros(()), Optimiser(1e-3, 10))


def test_the_learning_rate_warms_up_and_decays():
    rates = [Optimiser(1.0, 10, warm_up=2, linear_decay=True).rate(step) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0] and rates[-1] == pytest.approx(1 / 8)
