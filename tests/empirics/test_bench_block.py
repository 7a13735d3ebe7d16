"""The block benchmark at a tiny size on the CPU."""

from __future__ import annotations

import gc
import importlib.util
import json
import weakref

import pytest
import torch

from empirics.__main__ import main
from empirics.bench import block as bench
from empirics.errors import UnknownName
from empirics.models import MambaConfig, size_config

TINY = MambaConfig(16, 2, 31, {"layer": "Mamba1", "d_state": 4, "dt_rank": 8}, pad_vocab_size_multiple=1)
OURS = ("ours/keep_all", "ours", "ours/recompute", "ours/recompute_all")


def test_recomputing_keeps_less_and_less_and_changes_no_gradient():
    rows = bench.measure_block(OURS, TINY, 2, 21, "cpu", "chunked", 2)
    kept = [rows[name]["kept_bytes"] for name in OURS]
    assert (
        kept == sorted(kept, reverse=True)
        and len(set(kept)) == 4
        and kept[-1] > 0
        and all(row["seconds"] > 0 for row in rows.values())
    )
    assert len({row["trained"] for row in rows.values()}) == 1
    hidden = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = []
    for name in OURS:
        module, trained = bench.ours(name, TINY, "cpu", torch.float32, "chunked")
        found.append(bench.passes(module, trained, hidden, torch.ones_like(hidden))())
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
    assert found[0][0].abs().max() > 0


def test_what_was_kept_is_let_go():
    module, trained = bench.ours("ours", TINY, "cpu", torch.float32, "chunked")
    alive = [weakref.ref(p) for p in module.parameters()]
    assert bench.kept_bytes(module, torch.randn(1, 5, 16, requires_grad=True)) > 0
    del module, trained
    gc.collect()
    assert not any(p() is not None for p in alive)


@pytest.mark.skipif(importlib.util.find_spec("mamba_ssm") is not None, reason="mamba-ssm is here")
def test_a_missing_peer_is_named_and_the_others_run():
    rows = bench.measure_block(("slow_lora", "ours"), TINY, 2, 9, "cpu", "chunked", 1)
    assert "mamba_ssm" in bench.line("slow_lora", rows["slow_lora"]) and "times_as_fast" not in rows["ours"]


def test_command_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench, "size_config", lambda name: TINY)
    out = tmp_path / "block.json"
    arguments = ["bench", "block", "--device", "cpu", "--batch", "1", "--length", "8", "--repeats", "1", "--sizes", "tiny"]
    assert main([*arguments, "--contenders", "ours", "--out", str(out)]) == 0
    assert json.loads(out.read_text())["sizes"]["tiny"]["ours"]["kept_bytes"] > 0
    assert "MiB" in capsys.readouterr().out
    assert main([*arguments, "--contenders", "our"]) == 2 and "did you mean 'ours'" in capsys.readouterr().err
    assert main([*arguments, "--repeats", "0"]) == 2 and "--repeats 0 must be" in capsys.readouterr().err
    assert main(["bench", "blocks"]) == 2 and "did you mean 'block'" in capsys.readouterr().err


def test_mamba2():
    """LoRA on the two projections that it has: the same gradients whatever is kept."""
    config = MambaConfig(16, 2, 31, {"layer": "Mamba2", "d_state": 4, "headdim": 4}, pad_vocab_size_multiple=1)
    hidden = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = []
    for name in OURS:
        module, trained = bench.ours(name, config, "cpu", torch.float32, bench.default_scan(config, "cpu"))
        assert len(trained) == 4
        found.append(bench.passes(module, trained, hidden, torch.ones_like(hidden))())
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
    rows = bench.measure_block(OURS, config, 2, 21, "cpu", "chunked", 1)
    assert rows["ours/keep_all"]["kept_bytes"] > rows["ours"]["kept_bytes"] > 0
    row = {"seconds": 1.0, "launched_s": 1.0, "kept_bytes": 1, "times_as_fast": 2.0, "share_of_kept": 0.1}
    assert "target 4 met" in bench.line("ours", row) and "target" not in bench.line("ours", row, target=False)
    assert bench.default_scan(config, "cuda") == "mamba_ssm" and bench.default_scan(size_config("130m"), "cuda") == "fused"


def test_an_unknown_amount_is_refused(tiny):
    with pytest.raises(UnknownName, match="amount to recompute"):
        tiny("Mamba1").set_recompute("everything")


@pytest.mark.gpu
def test_on_a_gpu():
    pytest.importorskip("mamba_ssm")
    # With few tokens adapted matrices are most of what is kept, and only the default computes all of them again.
    rows = bench.measure_block(bench.CONTENDERS, size_config("130m"), 1, 2048, "cuda", "fused", 2)
    assert all(row["seconds"] > 0 and row["times_as_fast"] > 0 for row in rows.values()), rows
    assert rows["ours/recompute_all"]["kept_bytes"] < rows["ours"]["kept_bytes"] < rows["ours/keep_all"]["kept_bytes"]


@pytest.mark.gpu
def test_mamba2_on_a_gpu():
    pytest.importorskip("mamba_ssm")
    rows = bench.measure_block(("ours", "slow_lora", "stock"), size_config("mamba2-130m"), 1, 512, "cuda", "mamba_ssm", 2)
    assert all(row["seconds"] > 0 and row["times_as_fast"] > 0 for row in rows.values()), rows
