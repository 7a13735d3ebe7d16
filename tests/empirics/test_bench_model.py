"""The whole-model benchmark at a tiny size on the CPU: every contender runs, trains what it says, and mistakes are named."""

from __future__ import annotations

import dataclasses
import gc
import importlib.util
import json
import weakref

import pytest
import torch

from empirics.__main__ import main
from empirics.bench import block, scan, selection
from empirics.bench import model as bench
from empirics.bench.parts import complete, finished, parts_of, saver
from empirics.bench.targets import TARGETS
from empirics.errors import CheckpointError, InvalidInput, UnknownName, UnrecordableLoss, UnsupportedScan
from empirics.models import MambaConfig

TINY = bench.Setting(
    MambaConfig(16, 2, 31, {"layer": "Mamba1", "d_state": 4, "dt_rank": 8}, pad_vocab_size_multiple=1),
    2,
    9,
    "cpu",
    torch.float32,
    1,
)


def measured(name, setting):
    return bench.timed(bench.prepare(name, setting), setting)


@pytest.mark.parametrize("method", bench.METHODS)
def test_every_method_has_a_row(method):
    row = measured(f"{method}/chunked", TINY)
    assert 0 < row["least_s"] <= row["step_s"] <= row["most_s"] and row["trained"] > 0
    assert row["peak_bytes"] is None and row["kernels_s"] is None
    assert (row["selection_s"] is not None) == method.startswith("sdt")


MAMBA2 = dataclasses.replace(
    TINY, model=MambaConfig(16, 2, 31, {"layer": "Mamba2", "d_state": 4, "headdim": 4}, pad_vocab_size_multiple=1)
)


@pytest.mark.parametrize("method", bench.METHODS)
def test_every_method_has_a_row_on_mamba2(method):
    row = measured(f"{method}/chunked", MAMBA2)
    assert row["step_s"] > 0 and row["trained"] > 0


def test_lora_on_mamba2_is_on_the_two_projections_that_it_has():
    model, trained, _ = bench.ours(bench.Contender.named("lora/chunked", "ssd"), MAMBA2, MAMBA2.tokens())
    assert len(trained) == 2 * 2 * len(model.mixers)
    assert bench.projections(TINY.model) == ("in_proj", "x_proj", "dt_proj", "out_proj")


@pytest.mark.parametrize("setting", [TINY, MAMBA2])
def test_transformers_model_has_the_same_numbers_of_everything(setting):
    pytest.importorskip("transformers")
    row = measured("transformers", setting)
    assert row["step_s"] > 0 and row["trained"] == measured("full/chunked", setting)["trained"]


def test_contenders_where_none_are_named(monkeypatch):
    for op, names in bench.DEFAULT.items():
        assert all(bench.Contender.named(name, op) for name in names)
    assert bench.DEFAULT["ssd"] != bench.DEFAULT["selective_scan"]


def test_a_replayed_step_is_a_step_where_nothing_can_be_recorded(monkeypatch):
    row = measured("lora/chunked/recompute/graph", TINY)
    assert row["step_s"] > 0 and row["trained"] == measured("lora/chunked", TINY)["trained"]

    def unrecordable(*arguments):
        raise UnrecordableLoss("it reads a value")

    monkeypatch.setattr(bench.GraphedLoss, "__call__", unrecordable)
    rows = bench.measure_model(["lora/chunked", "lora/chunked/graph"], TINY, str)
    assert rows["lora/chunked"]["step_s"] > 0 and rows["lora/chunked/graph"] == {"missing": "it reads a value"}


def test_sdt_trains_one_percent_of_A():
    """And rows of x_proj at the chosen channels: 3 of 32 channels, 1 of 4 states (a tenth, at least one)."""
    model, trained, _ = bench.ours(bench.Contender.named("sdt/chunked"), TINY, TINY.tokens())
    assert sum(p.numel() for p in trained) < 0.3 * sum(p.numel() for p in model.parameters())
    everything = measured("full/chunked", TINY)["trained"]
    assert everything == sum(
        p.numel() for p in bench.ours(bench.Contender.named("full/chunked"), TINY, TINY.tokens())[0].parameters()
    )


def test_steps_train(monkeypatch):
    losses = []
    right = bench.loss_of

    def noted(model, tokens):
        loss = right(model, tokens)
        losses.append(float(loss.detach()))
        return loss

    monkeypatch.setattr(bench, "loss_of", noted)
    monkeypatch.setattr(torch.optim, "AdamW", lambda trained, lr: torch.optim.SGD(trained, lr=1.0))
    measured("full/chunked", TINY)
    assert losses[-1] < losses[0] - 1e-3


def drifting(monkeypatch):
    """Makes steps that take so many seconds, on a CPU that takes half as long again after every two of them."""
    now, calls = [0.0], [0]
    monkeypatch.setattr(bench, "clock", lambda device: now[0])

    def training(name, seconds):
        def step():
            now[0] += seconds * 1.5 ** (calls[0] // 2)
            calls[0] += 1

        return bench.Training(name, step, {"trained": 1})

    return training


def test_a_cpu_that_slows_down_falls_on_both_that_take_turns(monkeypatch):
    training, setting = drifting(monkeypatch), dataclasses.replace(TINY, repeats=6)
    row = bench.timed(training("ours", 1.0), setting, training("theirs", 2.0))
    beside = row.pop("beside")
    assert [beside[key] for key in ("times_as_fast", "least", "most")] == pytest.approx([2.0, 2.0, 2.0])
    assert beside["name"] == "theirs" and beside["step_s"] == pytest.approx(2 * row["step_s"])
    assert row["trained"] == 1 and row["most_s"] > 5 * row["least_s"]
    one, other = (bench.timed(training(name, seconds), setting) for name, seconds in (("ours", 1.0), ("theirs", 2.0)))
    assert "beside" not in one and other["step_s"] > 3 * 2 * one["step_s"], "one after the other, the drift is a ratio"


def test_the_reference_is_measured_first_and_takes_turns_with_the_others():
    said = []
    names = ["lora/chunked", "full/chunked", "bitfit/chunked"]
    rows = bench.measure_model(names, TINY, said.append, beside="full/chunked")
    assert list(rows) == names and [line.split()[0] for line in said] == ["full/chunked", "lora/chunked", "bitfit/chunked"]
    assert "beside" not in rows["full/chunked"]
    for name in ("lora/chunked", "bitfit/chunked"):
        beside = rows[name]["beside"]
        assert beside["name"] == "full/chunked" and 0 < beside["least"] <= beside["times_as_fast"] <= beside["most"]
    for beside in (None, "stock"):
        assert not any("beside" in row for row in bench.measure_model(names[:2], TINY, said.append, beside=beside).values())


def test_a_contender_that_fails_says_why_and_is_let_go(monkeypatch):
    """Before the next one is made, which may need its memory."""
    right, kept = bench.prepare, []

    def prepared(name, setting):
        gc.collect()
        assert [ref() for ref in kept[1:]] == [None] * len(kept[1:]) and all(ref() is not None for ref in kept[:1])
        training = right(name, setting)
        kept.append(weakref.ref(training))
        return training

    def timed(own, setting, reference=None):
        if reference is not None:
            raise torch.OutOfMemoryError if own.name.startswith("lora") else UnrecordableLoss("a sync")
        return {"step_s": 1.0, "peak_bytes": None, "selection_s": None}

    monkeypatch.setattr(bench, "prepare", prepared)
    monkeypatch.setattr(bench, "timed", timed)
    rows = bench.measure_model(["full/chunked", "lora/chunked", "bitfit/chunked"], TINY, lambda line: None, "full/chunked")
    assert rows["lora/chunked"] == {"missing": "out of memory beside full/chunked; try --alone"} and len(kept) == 3
    assert "a sync" in rows["bitfit/chunked"]["missing"] and rows["full/chunked"]["step_s"] == 1.0
    kept.clear()
    monkeypatch.setattr(bench, "timed", lambda own, setting, reference: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    assert bench.measure_model(["lora/chunked"], TINY, lambda line: None) == {"lora/chunked": {"missing": "out of memory"}}


def test_alone_is_passed_on(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(bench, "_settings", lambda options: [("tiny", TINY)])
    monkeypatch.setattr(bench, "measure_model", lambda names, setting, beside: asked.append(beside) or {})
    for more in ([], ["--alone"]):
        out = tmp_path / f"{len(more)}.json"
        assert main(["bench", "model", "--device", "cpu", "--contenders", "lora/chunked", "--out", str(out), *more]) == 0
        assert json.loads(out.read_text())["alone"] == bool(more)
    assert asked == [bench.REFERENCE, None]


@pytest.mark.skipif(importlib.util.find_spec("mamba_ssm") is not None, reason="mamba-ssm is here")
def test_a_missing_peer_is_named_and_the_others_run():
    said = []
    rows = bench.measure_model(["stock", "lora/chunked"], TINY, said.append)
    assert "mamba_ssm" in rows["stock"]["missing"] and rows["lora/chunked"]["step_s"] > 0 and len(said) == 2


def test_mistakes():
    for wrong in ("lora", "lora/chunked/twice", "lora/chunked/recompute/recompute"):
        with pytest.raises(InvalidInput, match="expected METHOD/SCAN"):
            bench.Contender.named(wrong)
    with pytest.raises(UnknownName, match="did you mean 'lora'"):
        bench.Contender.named("lara/chunked")
    with pytest.raises(UnknownName, match="did you mean 'chunked'"):
        bench.Contender.named("lora/chunkd/graph")
    with pytest.raises(UnsupportedScan, match="exists for Mamba-1 only"):
        bench.Contender.named("lora/fused", "ssd")
    assert bench.Contender.named("lora/fused/recompute/graph") == bench.Contender(None, "lora", "fused", True, True)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["model", "--contenders", "lora/chunked", "lora/chunkd"], "did you mean 'chunked'"),
        (["model", "--sizes", "130m", "mamba2-130m", "--contenders", "lora/fused"], "exists for Mamba-1 only"),
        (["model", "--sizes", "130m", "370n"], "unknown model size '370n'"),
        (["block", "--contenders", "ours", "our"], "unknown contender 'our'"),
        (["block", "--scan", "chunkd"], "did you mean 'chunked'"),
        (["block", "--sizes", "130m", "mamba2-130m", "--scan", "fused"], "exists for Mamba-1 only"),
        (["selection", "--sizes", "130m", "131m"], "unknown model size '131m'"),
        (["selection", "--scan", "chunkd"], "did you mean 'chunked'"),
        (["scan", "--contenders", "chunked", "chunkd"], "unknown contender 'chunkd'"),
    ],
)
def test_names_are_checked_before_anything_is_measured(command, message, monkeypatch, capsys):
    def measured(*arguments, **options):
        raise AssertionError("measured before all names were checked")

    for module, name in ((bench, "measure_model"), (block, "measure_block"), (selection, "measure_selection"), (scan, "measure")):
        monkeypatch.setattr(module, name, measured)
    assert main(["bench", command[0], "--device", "cpu", *command[1:]]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("benchmark", ["model", "block", "selection", "scan"])
def test_where_results_go_is_tried_first(benchmark, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["bench", benchmark, "--device", "cpu", "--out", str(tmp_path / "file" / "out.json")]) == 2
    error = capsys.readouterr().err
    assert "cannot be written to" in error and error.count("\n") == 1


def test_target_5_is_that_of_the_slowest_method():
    rows = {"stock": {"step_s": 3.0}, **{f"{method}/fused": {"step_s": 1.0} for method in bench.TARGETED}}
    rows["sdt/fused"] = {"step_s": 2.0}
    assert bench.slowest({"130m": rows, "370m": {}, "1.4b": rows}) == [1.5, 1.5]
    assert bench.slowest({"130m": rows, "1.4b": {**rows, "sdt/fused": {"missing": "out of memory"}}}) == [1.5, None]
    turns = {"step_s": 1.0, "beside": {"name": "stock", "step_s": 2.0, "times_as_fast": 1.25}}
    assert bench.slowest({"130m": {**rows, "lora/fused": turns}, "1.4b": rows}) == [1.25, 1.5]
    assert bench.slowest({"130m": {**rows, "stock": {"missing": "not here"}}, "1.4b": rows}) == [None, 1.5]
    assert TARGETS[5].met([1.5, 1.5]) and not TARGETS[5].met([1.4, 1.5]) and not TARGETS[5].met([1.5, None])


def test_lines_compare_with_stock():
    row = {"step_s": 0.5, "peak_bytes": 2**30, "kept_bytes": 2**29, "selection_s": 1.0}
    text = bench.line("lora/fused", row, {"stock": {"step_s": 1.0}, "stock_slow_lora": {"missing": "no"}})
    assert "2.00 x as fast as stock" in text and "slow" not in text and "peak   1.00 GiB" in text and "turns" not in text
    row["beside"] = {"name": "stock", "step_s": 0.75, "times_as_fast": 1.5}
    text = bench.line("lora/fused", row, {"stock": {"step_s": 1.0}, "transformers": {"step_s": 2.0}})
    assert "1.50 x as fast as stock (750.0 ms in turns), 4.00 x as fast as transformers" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "cpu", "--batch", "0"], "--batch 0"),
        (["--device", "cpu", "--length", "1"], "--length 1"),
        (["--device", "cpu", "--sizes", "131m"], "unknown model size '131m'"),
    ],
)
def test_command_line(arguments, message, capsys):
    assert main(["bench", "model", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_results_are_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "_settings", lambda options: [("tiny", TINY)])
    out = tmp_path / "model.json"
    assert main(["bench", "model", "--device", "cpu", "--contenders", "lora/chunked/recompute", "--out", str(out)]) == 0
    assert json.loads(out.read_text())["sizes"]["tiny"]["lora/chunked/recompute"]["step_s"] > 0
    assert "tiny" in capsys.readouterr().out


def test_finished_sizes_outlive_an_interruption(tmp_path, monkeypatch, capsys):
    out, measured = tmp_path / "model.json", []
    command = ["bench", "model", "--device", "cpu", "--contenders", "lora/chunked", "--out", str(out)]
    monkeypatch.setattr(bench, "_settings", lambda options: [("small", TINY), ("tiny", TINY)])

    def measure(names, setting, beside):
        assert beside == bench.REFERENCE
        measured.append(names)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return {"lora/chunked": {"step_s": float(len(measured)), "missing": ""}}

    monkeypatch.setattr(bench, "measure_model", measure)
    assert main(command) == 130
    (kept,) = tmp_path.glob("model.parts-*.json")
    assert not out.exists() and json.loads(kept.read_text())["parts"].keys() == {"small"}
    assert main(command) == 0 and not kept.exists()
    found = json.loads(out.read_text())
    assert {size: rows["lora/chunked"]["step_s"] for size, rows in found["sizes"].items()} == {"small": 1.0, "tiny": 3.0}
    assert found["machines"].keys() == {"small", "tiny"} and "small" in capsys.readouterr().out


def test_parts_of_another_measurement_are_neither_taken_nor_lost(tmp_path):
    out, about = tmp_path / "model.json", {"length": 9, "machine": {"gpu": None, "git": "abc", "load_average": 1.0}}
    saver(out, about)({"small": 1})
    assert finished(out, {**about, "machine": {**about["machine"], "load_average": 2.0}}) == {"small": 1}
    for other in ({"length": 8}, {"machine": {"gpu": "one", "git": "abc"}}, {"machine": {"gpu": None, "git": "xyz"}}):
        assert finished(out, {**about, **other}) == {}
        saver(out, {**about, **other})({"small": 2})
    assert finished(out, about) == {"small": 1} and finished(tmp_path / "other.json", about) == finished(None, about) == {}
    complete(out, about, {"sizes": 1})
    assert not parts_of(out, about).exists() and json.loads(out.read_text()) == {**about, "sizes": 1}


@pytest.mark.parametrize("broken", ["{", "[]", "{}"])
def test_parts_that_cannot_be_read_are_named(broken, tmp_path):
    out, about = tmp_path / "model.json", {"machine": {"gpu": None, "git": None}}
    parts_of(out, about).write_text(broken)
    with pytest.raises(CheckpointError, match=r"model\.parts-.*delete it"):
        finished(out, about)


@pytest.mark.gpu
def test_peers_on_a_gpu():
    pytest.importorskip("mamba_ssm")
    setting = bench.Setting(TINY.model, 2, 32, "cuda", torch.float32, 2)
    graphs = [f"{name}/graph" for name in ("stock", "lora/fused", "lora/fused/recompute", "full/fused")]
    rows = bench.measure_model([*bench.PEERS, "lora/fused/recompute", "lora/mamba_ssm", *graphs], setting)
    assert all(row["peak_bytes"] > 0 and 0 < row["kernels_s"] for row in rows.values()), rows
