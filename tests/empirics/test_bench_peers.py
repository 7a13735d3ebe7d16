"""The table of peers, at small sizes on the CPU, with a stand-in for the process that measures jax-linear-attention."""

from __future__ import annotations

import json

import pytest
import torch

from empirics.bench import jla, scan_peers
from empirics.bench.peers import make_arguments
from empirics.bench.scan import main_bench_scan
from empirics.bench.targets import TARGETS
from empirics.errors import InvalidInput, UnsupportedScan

SHAPES = ((1, 8, 16, 4), (2, 8, 7, 4))


class StandIn:
    """A peer that takes a second."""

    difference = 1e-3
    stopped = 0

    def __init__(self, shape, dtype):
        assert shape in SHAPES and dtype == "float32"

    def error(self):
        return self.difference

    def seconds(self):
        return [1.0, 1.0, 5.0]

    def stop(self):
        StandIn.stopped += 1


def measured(**options):
    return scan_peers.measure_peers(SHAPES, torch.float32, "cpu", "naive", "chunked", **options)


def test_a_peer_that_is_not_here_is_shown_as_absent(capsys):
    found = measured()
    assert found["absent"].keys() == {"jla"} and found["versions"]["jla"] is None
    assert [row["seconds"]["jla"] for row in found["rows"]] == [None, None]
    assert not found["target"]["met"] and found["target"]["measured"] == [None, None]
    printed = capsys.readouterr().out
    assert printed.count("jla absent") == 2 and printed.count("x as fast as mamba_ssm") == 2 and "x as fast as jla" not in printed


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(jla, "absent", lambda: None)
    monkeypatch.setattr(jla, "Measurement", StandIn)
    monkeypatch.setattr(scan_peers, "on_gpu", lambda device: True)
    monkeypatch.setattr(scan_peers.importlib.metadata, "version", lambda name: "0.1.0")


def test_a_peer_is_timed_beside_ours(here, capsys):
    found = measured()
    assert [row["seconds"]["jla"] for row in found["rows"]] == [1.0, 1.0]
    for row in found["rows"]:
        best = min(row["seconds"][name] for name in scan_peers.OURS)
        assert row["times_as_fast_as"]["jla"] == pytest.approx(1.0 / best)
        assert row["times_as_fast_as"]["mamba_ssm"] == pytest.approx(row["seconds"]["mamba_ssm"] / best)
    assert found["target"]["met"] == TARGETS[11].met(found["target"]["measured"]) is True
    assert StandIn.stopped >= len(SHAPES) and "x as fast as jla" in capsys.readouterr().out


@pytest.mark.parametrize("difference", [0.2, float("nan")])
def test_a_peer_that_computes_something_else_is_not_timed(here, monkeypatch, difference):
    monkeypatch.setattr(StandIn, "difference", difference)
    before = StandIn.stopped
    with pytest.raises(UnsupportedScan, match="jla differs"):
        measured()
    assert StandIn.stopped == before + len(SHAPES)


def test_channels_innermost_are_the_same_numbers():
    values = make_arguments((2, 3, 5, 4), torch.float32, "cpu")
    turned = scan_peers.channels_innermost(values)
    assert all(torch.equal(values[k], turned[k]) for k in values)
    assert turned["u"].stride(1) == 1 and values["u"].stride(2) == 1


def test_a_process_that_fails_says_why():
    other = jla.Measurement((1, 8, 16, 4), "no_such_type")
    try:
        with pytest.raises(InvalidInput, match="jla failed: "):
            other.error()
    finally:
        other.stop()


def test_the_command_needs_a_gpu(capsys):
    assert main_bench_scan(["--peers"]) == 2
    assert "add --device cuda" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert main_bench_scan(["--peers", "--device", "cuda"]) == 2


def test_the_row_is_json():
    row = scan_peers._row(SHAPES[0], {"mamba_ssm": None, "fused": [1.0], scan_peers.OURS[1]: [2.0], "jla": None}, None)
    assert json.loads(json.dumps(row)) == row and row["times_as_fast_as"] == {"mamba_ssm": None, "jla": None}
