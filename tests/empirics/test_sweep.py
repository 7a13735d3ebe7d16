"""Sweeps: tuning on a seed of its own, resumption, restriction, launchers."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

from empirics.errors import CheckpointError, Diverged, EmpiricsError, InvalidInput, MissingPackage, UnknownName
from empirics.study import config as config_module
from empirics.study.claims import Busy, claim
from empirics.study.config import Strict, load_experiment, override
from empirics.study.results import Comparison, Judgement, Metrics
from empirics.study.runner import Missing, OutOfTime, Recorded, Runner, run_of
from empirics.study.store import read_result
from empirics.study.sweep import SweepRunner, combinations, restrict, slurm_parameters, submit

TEXT = """
id = "vision_like"
claim = "prefix_state.contained"
question = "?"
prediction = "!"
seeds = [0, 1]
threshold = {}
[sweep]
tuning_seed = 9
minimise = "loss"
[sweep.grid]
method = ["a", "b"]
[sweep.tune]
rate = [1, 10, 100]
"""


class ToyConfig(Strict):
    method: str = "a"
    rate: int = 1


class Toy:
    Config = ToyConfig
    BEST = {"a": 10, "b": 100}  # noqa: RUF012

    def __init__(self):
        self.calls: list[tuple[str, int, int]] = []
        self.broken: tuple[str, ...] = ()
        self.diverging = 0
        self.failing: dict[tuple[str, int], Exception] = {}

    def run(self, config, ctx):
        self.calls.append((config.method, config.rate, ctx.seed))
        if config.method in self.broken:
            raise Diverged("the loss is nan at step 3")
        if (config.method, config.rate) in self.failing:
            raise self.failing[config.method, config.rate]
        loss = abs(config.rate - self.BEST[config.method])
        return Metrics(held_out={"loss": float("nan") if config.rate == self.diverging else float(loss)})

    def judge(self, results, threshold):
        return Judgement(verdict="reproduced", measured=str(len(results)))


@pytest.fixture
def toy(monkeypatch):
    made = Toy()
    monkeypatch.setattr(config_module, "experiment_module", lambda file: made)
    return made


def sweep(tmp_path: Path, deadline: float = float("inf"), text: str = TEXT) -> SweepRunner:
    path = tmp_path / "toy.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return SweepRunner(Runner(tmp_path / "out", deadline=deadline, say=lambda line: None), load_experiment(path))


def test_several_tuning_seeds(tmp_path, toy):
    """The least geometric mean; what diverges on one of them is out; and none of them may count."""
    several = TEXT.replace("tuning_seed = 9", "tuning_seed = [8, 9]")
    losses = {(1, 8): 1.0, (1, 9): 4.0, (10, 8): 0.1, (10, 9): 30.0, (100, 8): 0.01, (100, 9): float("nan")}
    toy.run = lambda config, ctx: Metrics(held_out={"loss": losses.get((config.rate, ctx.seed), 0.0)})
    assert sweep(tmp_path, text=several).run()["tuned"] == [{"method": "a", "rate": 10}, {"method": "b", "rate": 10}]
    losses[(10, 9)] = 50.0
    assert sweep(tmp_path / "again", text=several).run()["tuned"][0] == {"method": "a", "rate": 1}
    with pytest.raises(InvalidInput, match="tuning_seed 1 is one of the seeds"):
        sweep(tmp_path, text=TEXT.replace("tuning_seed = 9", "tuning_seed = [9, 1]")).run()
    with pytest.raises(InvalidInput, match="tuning_seed is empty"):
        sweep(tmp_path, text=TEXT.replace("tuning_seed = 9", "tuning_seed = []")).run()


def test_each_cell_gets_its_own_rate_then_the_seeds(tmp_path, toy):
    summary = sweep(tmp_path).run()
    assert summary["tuned"] == [{"method": "a", "rate": 10}, {"method": "b", "rate": 100}]
    assert toy.calls[:6] == [(m, r, 9) for m in "ab" for r in (1, 10, 100)]
    assert toy.calls[6:] == [("a", 10, 0), ("b", 100, 0), ("a", 10, 1), ("b", 100, 1)]
    assert summary["complete"] and summary["measured"] == "4"
    sweep(tmp_path).run()
    assert len(toy.calls) == 10  # everything was there


def test_a_run_that_only_tuned_is_measured_again_when_it_comes_to_count(tmp_path, toy):
    seen, run = [], toy.run
    toy.run = lambda config, ctx: (seen.append((ctx.seed, ctx.tuning)), run(config, ctx))[1]
    made = sweep(tmp_path)
    made.run()
    assert set(seen) == {(9, True), (0, False), (1, False)}
    file = made.file.model_copy(update={"config": {"method": "a", "rate": 10}, "seeds": [9]})
    recorded = Recorded(made.runner.out, made.runner.store)
    assert recorded.one(file, 9, tuning=True).metrics == {"tuning": True}
    with pytest.raises(Missing):
        recorded.one(file, 9)  # what only tuned does not count
    made.runner.one(file, 9, tuning=True)
    assert len(seen) == 10  # it is there
    assert made.runner.one(file, 9).metrics == {} and seen[10:] == [(9, False)]
    made.runner.one(file, 9, tuning=True)
    assert len(seen) == 11  # what counts tunes as well
    file = made.file.model_copy(update={"config": {"method": "a", "rate": 10}, "seeds": [7]})
    with pytest.raises(Missing):
        recorded.one(file, 7)


def test_a_sweep_that_was_cut_off_goes_on(tmp_path, toy):
    cut = sweep(tmp_path)
    original, count = cut.runner.one, 7

    def one(file, seed, tuning, wait):
        if len(toy.calls) >= count:
            cut.runner.deadline = -1.0
        return original(file, seed, tuning, wait)

    cut.runner.one = one  # type: ignore[method-assign]
    first = cut.run()
    assert len(toy.calls) == count and not first["complete"] and first["verdict"] == "undecided"
    assert sweep(tmp_path).run()["complete"] and len(toy.calls) == 10


def test_diverged_rates_are_never_chosen(tmp_path, toy):
    toy.diverging = 10
    assert sweep(tmp_path).run()["tuned"][0] == {"method": "a", "rate": 1}


def test_a_cell_whose_every_run_diverges_is_reported(tmp_path, toy):
    toy.broken = ("a",)
    summary = sweep(tmp_path).run()
    assert summary["untuned"] == [{"method": "a", "reason": "every tuning run diverged"}]
    assert [row["method"] for row in summary["tuned"]] == ["b"] and summary["complete"] and not summary["failed_tuning"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), InvalidInput("no such file"), RuntimeError("boom")])
def test_only_divergence_excludes_a_candidate(tmp_path, toy, error):
    """A candidate whose run failed otherwise might have been the best one: nothing is chosen, and the failure is listed."""
    toy.failing = {("a", 10): error}
    first = sweep(tmp_path).run()
    assert [row["method"] for row in first["tuned"]] == ["b"] and not first["untuned"]
    assert not first["complete"] and first["verdict"] == "undecided"
    (listed,) = first["failed_tuning"]
    assert listed["config"] == {"method": "a", "rate": 10} and str(error) in listed["reason"]
    assert toy.calls.count(("a", 10, 9)) == 1  # not tried a second time in one call
    toy.failing = {}
    again = sweep(tmp_path).run()
    assert again["complete"] and again["tuned"][0] == {"method": "a", "rate": 10} and not again["failed_tuning"]


def test_diverged_training_excludes_as_a_metric_that_is_not_finite(tmp_path, toy):
    toy.failing = {("a", 10): Diverged("the loss is nan at step 3")}
    summary = sweep(tmp_path).run()
    assert summary["complete"] and summary["tuned"][0] == {"method": "a", "rate": 1}


WIDENING = TEXT.replace("rate = [1, 10, 100]", "rate = [1.0, 10.0]\n[sweep.widen]\nrate = [0.01, 1e5]")


class Bowl(Toy):
    """Losses with their least at a rate of one's own, on a logarithmic scale."""

    class Config(Strict):
        method: str = "a"
        rate: float = 1.0

    def __init__(self, **best: float):
        super().__init__()
        self.best = best

    def run(self, config, ctx):
        self.calls.append((config.method, config.rate, ctx.seed))
        return Metrics(held_out={"loss": 1 + abs(math.log(config.rate / self.best[config.method]))})

    def judge(self, results, threshold):
        one = Comparison(
            kind="difference", name="a - b", better="a", worse="b", estimate=1.0, low=0.5, high=1.5, pairs=2, null=0.0,
            predicted="above", unit="points", verdict="reproduced",
        )  # fmt: skip
        return Judgement(verdict="reproduced", measured="a above b", comparisons=[one])


def test_a_grid_widens_until_the_best_rate_is_interior(tmp_path, monkeypatch):
    bowl = Bowl(a=900.0, b=0.2)
    monkeypatch.setattr(config_module, "experiment_module", lambda file: bowl)
    summary = sweep(tmp_path, text=WIDENING).run()
    assert summary["tuned"] == [{"method": "a", "rate": 1000.0}, {"method": "b", "rate": 0.1}] and summary["edges"] == []
    assert summary["verdict"] == "reproduced" and summary["comparisons"][0]["verdict"] == "reproduced"
    assert sorted({rate for method, rate, seed in bowl.calls if method == "a" and seed == 9}) == [1, 10, 100, 1000, 10000]
    calls = len(bowl.calls)
    assert sweep(tmp_path, text=WIDENING).run() == summary and len(bowl.calls) == calls


class Plateau(Bowl):
    """Nothing is learned below a rate of 50, nor above 5000 by ``a``; never by ``b``."""

    def run(self, config, ctx):
        self.calls.append((config.method, config.rate, ctx.seed))
        learned = config.method == "a" and 50 < config.rate < 5000
        return Metrics(held_out={"loss": 0.5 if learned else 1.0})


def test_an_end_that_is_as_good_as_the_best_widens_the_grid(tmp_path, monkeypatch):
    """The best of equal rates may stand between two others and yet not be interior; where all are equal the bounds end it."""
    flat = Plateau(a=0, b=0)
    monkeypatch.setattr(config_module, "experiment_module", lambda file: flat)
    summary = sweep(tmp_path, text=WIDENING.replace("1e5", "1e6")).run()
    assert summary["tuned"] == [{"method": "a", "rate": 100.0}, {"method": "b", "rate": 1.0}] and summary["edges"] == []
    tried = {method: sorted({rate for m, rate, _ in flat.calls if m == method}) for method in "ab"}
    whole = [0.01, 0.1, 1, 10, 100, 1000, 10000, 100000, 1000000]
    assert tried == {"a": whole[1:7], "b": whole}


def test_a_side_at_the_edge_cannot_stand(tmp_path, monkeypatch):
    """The bound is reached before an interior rate is: the comparison with that method is undecided, and says why."""
    bowl = Bowl(a=900.0, b=2.0)
    monkeypatch.setattr(config_module, "experiment_module", lambda file: bowl)
    summary = sweep(tmp_path, text=WIDENING.replace("1e5", "100.0")).run()
    assert summary["edges"] == [{"method": "a", "rate": 100.0, "at_edge": ["rate"]}] and summary["complete"]
    (held,) = summary["comparisons"]
    assert summary["verdict"] == held["verdict"] == "undecided" and held["note"] == "the rate of a stands at the end of its grid"


def test_the_last_step_of_a_grid_goes_to_its_bound(tmp_path, monkeypatch):
    """10 is interior once 30 was tried; without that step it would be an end although the bound was never reached."""
    bowl = Bowl(a=900.0, b=12.0)
    monkeypatch.setattr(config_module, "experiment_module", lambda file: bowl)
    summary = sweep(tmp_path, text=WIDENING.replace("1e5", "30.0")).run()
    assert summary["tuned"] == [{"method": "a", "rate": 30.0}, {"method": "b", "rate": 10.0}]
    assert summary["edges"] == [{"method": "a", "rate": 30.0, "at_edge": ["rate"]}]
    assert {rate for _, rate, _ in bowl.calls} == {1.0, 10.0, 30.0}


def test_an_experiment_that_does_not_opt_in_keeps_its_verdict(tmp_path, monkeypatch):
    bowl = Bowl(a=900.0, b=2.0)
    monkeypatch.setattr(config_module, "experiment_module", lambda file: bowl)
    text = WIDENING.replace("[sweep.widen]\nrate = [0.01, 1e5]", "")
    summary = sweep(tmp_path, text=text).run()
    assert summary["verdict"] == "reproduced" and summary["edges"][0]["rate"] == 10.0  # said, but nothing is held back


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ("[0.01]", "expected its bounds"),
        ("[5.0, 100.0]", "does not hold its values"),
        ("[0.0, 100.0]", "does not hold"),
        ('["a", 1.0]', "valid number"),
    ],
)
def test_bad_bounds(tmp_path, bounds, said):
    with pytest.raises(InvalidInput, match=said):
        sweep(tmp_path, text=WIDENING.replace("[0.01, 1e5]", bounds))
    with pytest.raises(InvalidInput, match="no two positive numbers"):
        sweep(tmp_path, text=WIDENING.replace("rate = [1.0, 10.0]", "rate = [1.0]"))


def test_what_trains_nothing_is_not_tuned_where_grids_widen(tmp_path, monkeypatch):
    bowl = Bowl(a=900.0, b=2.0)
    bowl.trains = lambda options: options["method"] != "a"
    monkeypatch.setattr(config_module, "experiment_module", lambda file: bowl)
    summary = sweep(tmp_path, text=WIDENING.replace("1e5", "100.0")).run()
    assert summary["tuned"][0] == {"method": "a", "rate": 1.0} and ("a", 1.0, 9) not in bowl.calls and not summary["edges"]


def test_a_metric_that_is_no_number_is_named(tmp_path, toy):
    toy.run = lambda config, ctx: Metrics(held_out={"loss": "low"})
    with pytest.raises(CheckpointError, match=r"loss of vision_like .* is 'low' and no number"):
        sweep(tmp_path).run()


def test_tuning_runs_of_another_origin_are_refused(tmp_path, toy):
    seen = []
    toy.require_same_origin = lambda results: seen.append(sorted(r.seed for r in results))
    sweep(tmp_path).run()
    assert seen == [[0, 0, 1, 1, *[9] * 6]]


def test_two_processes_share_a_sweep(tmp_path, toy):
    """While another process is on a run, the next one is taken; what it does is not done here, and the summary has all."""
    mine = sweep(tmp_path)
    run = run_of(override(mine.file, method="a", rate=10), 9, "cpu")
    work = mine.runner.out / "work" / run.experiment / run.stem
    with claim(work.with_name(f"{work.name}.lock"), wait=False):
        with pytest.raises(Busy):
            mine.runner.one(override(mine.file, method="a", rate=10), 9, True, wait=False)
        with pytest.raises(OutOfTime):  # waiting ends with the time
            sweep(tmp_path, deadline=0.0).runner.one(override(mine.file, method="a", rate=10), 9, True)
        mine._share([({"method": "a", "rate": rate}, 9, True) for rate in (1, 10, 100)])
        assert toy.calls == [("a", 1, 9), ("a", 100, 9)]
    assert sweep(tmp_path).run()["complete"] and toy.calls.count(("a", 10, 9)) == 1 and len(toy.calls) == 10


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("Tried to allocate 48.00 MiB. GPU 1 has 80 GiB"), MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), EmpiricsError("out of memory (CUDA error 2)"),
    ],
)  # fmt: skip
def test_a_candidate_that_found_no_memory_is_not_out(tmp_path, toy, error):
    """Nothing is chosen from the others, the cell waits for another call, and that call tries again."""
    run, full = toy.run, [True]

    def crowded(config, ctx):
        if full[0] and (config.method, config.rate) == ("a", 10):
            raise error
        return run(config, ctx)

    toy.run = crowded
    first = sweep(tmp_path).run()
    assert [row["method"] for row in first["tuned"]] == ["b"] and not first["untuned"]
    assert not first["complete"] and first["verdict"] == "undecided"
    (why,) = (tmp_path / "out" / "runs" / "vision_like").glob("*.failed.json")
    assert read_result(why).out_of_memory and "fewer processes at a time" in read_result(why).reason
    full[0] = False
    again = sweep(tmp_path).run()
    assert again["tuned"][0] == {"method": "a", "rate": 10} and again["complete"] and not why.exists()


def test_errors(tmp_path, toy):
    with pytest.raises(InvalidInput, match="tuning_seed 9 is one of the seeds"):
        sweep(tmp_path, text=TEXT.replace("[0, 1]", "[0, 9]")).run()
    with pytest.raises(UnknownName, match="held-out metric 'lost': did you mean 'loss'"):
        sweep(tmp_path, text=TEXT.replace('"loss"', '"lost"')).run()
    with pytest.raises(InvalidInput, match="no value for 'rate'"):
        sweep(tmp_path, text=TEXT.replace("[1, 10, 100]", "[]")).run()
    with pytest.raises(InvalidInput, match=r"no \[sweep\]"):
        SweepRunner(Runner(tmp_path), load_experiment("state_floor")).run()


def test_combinations_and_restriction():
    assert combinations({"a": [1, 2], "b": [3]}) == [{"a": 1, "b": 3}, {"a": 2, "b": 3}]
    assert combinations({}) == [{}]
    full = load_experiment("s4_regression").sweep
    assert full is not None
    assert restrict(full, ["method=sdt,full"]).grid["method"] == ["sdt", "full"]
    with pytest.raises(UnknownName, match="did you mean 'method'"):
        restrict(full, ["methods=sdt"])
    with pytest.raises(UnknownName, match="did you mean 'sdt_random'"):
        restrict(full, ["method=sdt_randm"])


def test_slurm(tmp_path, toy, monkeypatch):
    assert slurm_parameters(["timeout_min=60", "slurm_partition=gpu"]) == {"timeout_min": 60, "slurm_partition": "gpu"}
    with pytest.raises(InvalidInput, match="KEY=VALUE"):
        slurm_parameters(["60"])
    one = sweep(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))  # no sbatch here
    with pytest.raises(InvalidInput, match="Slurm cannot be used here"):
        submit(one.runner, one.file, tmp_path / "slurm", {})
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(MissingPackage, match="submitit"):
        submit(one.runner, one.file, tmp_path / "slurm", {})
