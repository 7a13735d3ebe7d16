"""The targets' measurement, at small sizes on the CPU, where what it measures is known otherwise."""

from __future__ import annotations

import pytest
import torch

from empirics.bench import targets
from empirics.bench.peers import ORDER, make_arguments
from empirics.bench.scan import main_bench_scan
from empirics.errors import InvalidInput
from empirics.kernels.dispatch import selective_scan

SMALL = targets.Scale({"tiny": 8}, ((8, 16, 24), (7, 17)), (1, 2), 2, 40, 4)


def test_a_scan_against_itself_and_the_whole_report(capsys):
    found = targets.measure_targets("chunked", "naive", SMALL, torch.float32, "cpu")
    assert [row["target"] for row in found["table"]] == [1, 2, 3, 6, 7, 8, 9]
    assert len(found["speed"]) == 1 * 2 * 5 and all(r["ratio"] > 0 for r in found["speed"])
    assert found["same_bits"] and found["table"][5]["met"]
    assert not found["table"][2]["met"]  # memory is not measured on a CPU
    targets.print_targets(found["table"])
    printed = capsys.readouterr().out
    assert "not measured" in printed and printed.count("\n") == 7


def test_parts_that_are_known_are_not_measured_again(monkeypatch):
    saved = []
    whole = targets.measure_targets("chunked", "naive", SMALL, torch.float32, "cpu", save=lambda parts: saved.append(dict(parts)))
    assert len(saved) == 4 + 1 + 4 and [len(parts) for parts in saved] == list(range(1, 10))
    monkeypatch.setattr(targets, "speed", None)  # calling it would fail
    again = targets.measure_targets("chunked", "naive", SMALL, torch.float32, "cpu", known=saved[-1])
    assert again == whole
    with pytest.raises(TypeError):
        targets.measure_targets("chunked", "naive", SMALL, torch.float32, "cpu", known=saved[3])


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what is missing without a GPU")
def test_needs_a_gpu():
    with pytest.raises(InvalidInput, match="CUDA device"):
        targets.measure_targets()


def test_command_line_asks_for_a_gpu(capsys):
    assert main_bench_scan(["--targets"]) == 2
    assert "add --device cuda" in capsys.readouterr().err


def test_one_scan_per_state_is_the_initial_states_gradient():
    values = make_arguments((2, 3, 9, 4), torch.float32, "cpu")
    h0 = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    out = selective_scan(**values, dt_softplus=True, h0=h0, scan="oracle")
    (expected,) = torch.autograd.grad(out.sum(), [h0])
    (found,) = targets.scan_per_state(values, h0, "oracle")()
    assert torch.allclose(found, expected, atol=1e-6)
    (own,) = targets.step("chunked", values, (), h0)()
    assert torch.allclose(own, expected, atol=1e-6) and expected.abs().max() > 1e-3


def test_errors_see_rounding_and_nothing_else(monkeypatch):
    values = make_arguments((1, 3, 9, 4), torch.float32, "cpu")
    fine = targets.errors("naive", values)
    assert set(fine) == {"out", *ORDER} and all(0 <= e < 1e-5 for e in fine.values())
    right = targets.selective_scan
    monkeypatch.setattr(targets, "selective_scan", lambda **v: right(**{**v, "D": 1.001 * v["D"]}))
    assert targets.errors("naive", values)["out"] > 1e-5


def test_kept_bytes_grow_with_what_is_kept():
    values = make_arguments((1, 4, 64, 4), torch.float32, "cpu")
    assert 0 < targets.kept("chunked", values) < targets.kept("naive", values)


def test_ratio_is_paired():
    assert targets.ratio({"a": [2.0, 30.0, 4.0], "b": [1.0, 10.0, 1.0]}, "a", "b") == 3.0


def test_rows_are_judged():
    assert targets._row(1, "", [2.0, 1.5], [(2.0, None), (1.5, None)])["met"]
    assert not targets._row(1, "", [2.0, 1.4], [(2.0, None), (1.5, None)])["met"]
    assert not targets._row(1, "", [1.2], [(None, 1.1)])["met"]
    assert not targets._row(1, "", [float("nan")], [(None, 1.1)])["met"]
