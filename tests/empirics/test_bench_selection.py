"""The selection benchmark at a tiny size on the CPU."""

from __future__ import annotations

import json

import pytest
import torch

from empirics.__main__ import main
from empirics.bench import selection as bench
from empirics.methods.scores import score, warm_up
from empirics.models import MambaConfig, MambaLM

TINY = MambaConfig(16, 2, 31, {"layer": "Mamba1", "d_state": 4, "dt_rank": 8}, pad_vocab_size_multiple=1)


def test_evaluations_are_those_that_the_ablation_score_takes():
    model, calls = MambaLM(TINY).eval(), 0

    def loss(m, ids):
        nonlocal calls
        calls += 1
        return bench.loss_of(m, ids)

    ids = torch.arange(18).view(2, 9)
    moved = warm_up(model, bench.loss_of, [ids])
    score("ablation", model, moved=moved, loss=loss, batches=[ids], channels=bench.SHARE)
    assert calls == bench.evaluations(model) == 1 + 2 * (32 + 3 * 4)


def test_command_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench, "size_config", lambda name: TINY)
    out = tmp_path / "selection.json"
    arguments = ["bench", "selection", "--device", "cpu", "--sizes", "tiny", "--lengths", "5", "9", "--repeats", "1"]
    assert main([*arguments, "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    rows = found["sizes"]["tiny"]
    assert [row["length"] for row in rows] == [5, 9] and found["machine"]["versions"]["torch"]
    assert all(row[key] > 0 for row in rows for key in ("warm_up_s", "gradient_s", "select_s", "evaluation_s", "step_s"))
    assert "ablation at 89 evaluations" in capsys.readouterr().out
    assert main([*arguments, "--lengths", "1"]) == 2 and "--lengths 1 must be at least 2" in capsys.readouterr().err
    assert main([*arguments, "--batch", "0"]) == 2 and "--batch 0 must be" in capsys.readouterr().err


@pytest.mark.gpu
def test_on_a_gpu():
    row = bench.measure_selection(TINY, 1, 300, "cuda", "fused", 1, steps=2)
    assert row["peak_bytes"] > 0 and row["step_s"] > 0
