"""The scan benchmark at sizes that take no time: what it measures, refuses and writes."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest

torch = pytest.importorskip("torch")

from empirics.bench import peers, scan  # noqa: E402
from empirics.bench.scan import main_bench_scan  # noqa: E402
from empirics.errors import InvalidInput, UnknownName, UnsupportedScan  # noqa: E402

torch.set_num_threads(1)
SMALL = ["--shape", "2,4,80,3", "--repeats", "2", "--threads", "1"]


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["chunked", "naive", "mambapy", "transformers"])
def test_contenders_compute_the_same(name):
    one = peers.contender(name)
    if name in peers.PEERS:
        pytest.importorskip(name)
    values = peers.make_arguments((2, 4, 80, 3), torch.float32, "cpu")
    assert scan.agreement(one, values) < 1e-5


def test_result_file(tmp_path, capsys):
    pytest.importorskip("mambapy")
    out = tmp_path / "deep" / "scan.json"
    assert main_bench_scan([*SMALL, "--contenders", "chunked", "mambapy", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert result["shape"] == [2, 4, 80, 3] and result["dtype"] == "float32" and result["missing"] == {}
    for row in result["times"].values():
        assert row["runs"] == 2 and 0 < row["forward_s"]["least"] <= row["forward_s"]["median"] <= row["forward_s"]["most"]
        assert row["total_s"]["median"] > row["backward_s"]["least"] and row["error_against_oracle"] < 1e-5
    ours, theirs = (result["times"][n]["total_s"] for n in ("chunked", "mambapy"))
    assert theirs["least"] / ours["most"] <= result["ratios"]["mambapy"] <= theirs["most"] / ours["least"]
    assert result["machine"]["threads"] == 1 and result["times"]["mambapy"]["version"]
    printed = capsys.readouterr().out
    assert "x chunked" in printed and str(out) in printed and list(out.parent.iterdir()) == [out]


def test_a_slow_contender_runs_once():
    result = scan.measure(["chunked", "naive"], (1, 4, 80, 3), torch.float32, "cpu", repeats=3, budget=0.0)
    assert {row["runs"] for row in result["times"].values()} == {1} and result["ratios"]["naive"] > 0


def test_a_missing_peer_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "mambapy", None)
    assert main_bench_scan([*SMALL, "--contenders", "chunked", "mambapy"]) == 0
    printed = capsys.readouterr().out
    assert "mambapy  missing" in printed and "pip install 'mambapy'" in printed and "--install-peers" in printed


def test_install_asks_pip_for_what_is_missing_only(monkeypatch):
    asked = []
    monkeypatch.setitem(sys.modules, "mambapy", None)
    monkeypatch.setattr(scan.subprocess, "run", lambda command, check: asked.append(command[1:]))
    assert main_bench_scan([*SMALL, "--contenders", "chunked", "mambapy", "--install-peers"]) == 0
    assert asked == [["-m", "pip", "install", "mambapy"]]


def test_a_wrong_scan_is_not_timed(monkeypatch):
    ours = peers.contender("chunked")
    scaled = dataclasses.replace(ours, call=lambda v: ours.call(v) * 1.001)
    monkeypatch.setitem(peers.PEERS, "mambapy", dataclasses.replace(scaled, name="mambapy"))
    with pytest.raises(UnsupportedScan, match=r"mambapy differs from the oracle by 1\.0e-03"):
        scan.measure(["chunked", "mambapy"], (1, 4, 80, 3), torch.float32, "cpu", 1, 1.0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_peak_memory_counts_what_is_kept(capsys):
    """The plain loop keeps several (B, D, L, N) tensors; the chunked scan keeps none."""
    pytest.importorskip("mambapy")
    shape = (1, 64, 2048, 16)
    whole = 64 * 2048 * 16 * 4 / 2**20
    assert scan.peak_memory("mambapy", shape, "float32", 1) > 2 * whole
    assert main_bench_scan(["--peak-memory-of", "chunked", "--shape", "1,64,2048,16", "--threads", "1"]) == 0
    assert float(capsys.readouterr().out) < 4 * whole


def test_refusals(capsys):
    assert main_bench_scan([*SMALL, "--contenders", "chunkd"]) == 2
    assert "did you mean 'chunked'" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert main_bench_scan(["--device", "cuda"]) == 2
        assert "no CUDA device" in capsys.readouterr().err
    for bad in (["--shape", "1,2,3"], ["--shape", "1,2,x,4"], ["--repeats", "0"], ["--dtype", "float8"]):
        with pytest.raises(SystemExit) as stop:
            main_bench_scan(bad)
        assert stop.value.code == 2
    with pytest.raises(InvalidInput, match="four positive sizes"):
        peers.make_arguments((1, 2, 0, 4), torch.float32, "cpu")
    with pytest.raises(InvalidInput, match="repeats is 0"):
        scan.measure(["chunked"], (1, 4, 80, 3), torch.float32, "cpu", 0, 1.0)
    with pytest.raises(UnknownName):
        peers.contender("fusd")


@pytest.mark.gpu
def test_on_a_gpu(tmp_path):
    pytest.importorskip("mamba_ssm")
    out = tmp_path / "scan.json"
    assert main_bench_scan(["--device", "cuda", "--shape", "2,64,256,16", "--repeats", "2", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert set(result["times"]) == {"mamba_ssm", "chunked"} and result["machine"]["gpu"]
