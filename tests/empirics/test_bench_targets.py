"""The targets' measurement, at small sizes on the CPU, where what it measures is known otherwise."""

from __future__ import annotations

import pytest
import torch

from empirics.bench import targets, timing
from empirics.bench.peers import ORDER, make_arguments
from empirics.bench.scan import main_bench_scan
from empirics.errors import InvalidInput
from empirics.kernels.dispatch import selective_scan

SMALL = targets.Scale({"tiny": 8}, ((8, 16, 24), (7, 17)), (1, 2), 2, 40, 4)


def test_a_scan_against_itself_and_the_whole_report(capsys):
    found = targets.measure_targets("chunked", "naive", SMALL, torch.float32, "cpu")
    assert [row["target"] for row in found["table"]] == [1, 2, 3, 6, 7, 8, 9, 10]
    assert len(found["speed"]) == 1 * 2 * 5 and all(r["ratio"] > 0 for r in found["speed"])
    assert found["same_bits"] and found["table"][5]["met"]
    assert not found["table"][2]["met"]  # memory is not measured on a CPU
    assert [(row["L"], row["dtype"]) for row in found["accuracy"]] == [(n, "float32") for n in (8, 7, 17, 40)]
    both = targets.measure_targets("chunked", "naive", SMALL, torch.bfloat16, "cpu")
    assert [row["dtype"] for row in both["accuracy"]] == ["bfloat16"] * 4 + ["float32"] * 4
    assert both["table"][6]["what"] == "largest error / stock's: bfloat16, float32" and len(both["table"][6]["measured"]) == 2
    targets.print_targets(found["table"])
    printed = capsys.readouterr().out
    assert "not measured" in printed and printed.count("\n") == 8


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


@pytest.mark.parametrize("scan", ["naive", "chunked"])
def test_what_comes_from_above_is_rounded_for_the_oracle_too(scan, monkeypatch):
    """In bfloat16, gradients in float32 show their own error, the rest that of rounding an exact result."""
    values = make_arguments((1, 8, 40, 4), torch.bfloat16, "cpu")
    wide = ("A", "D", "dt_bias")
    wanted = targets.oracle_results(values)
    found, least = targets.errors(scan, values, wanted), targets.floors(values, wanted)
    assert all(found[name] < 2e-6 for name in wide) and all(1e-3 < found[k] < 3e-3 for k in found if k not in wide)
    assert all(found[name] >= (1 - 1e-6) * least[name] for name in found)
    assert all(targets.ratio_of_errors(found[k], found[k] / (1 + 1e-9), least[k]) <= 1 for k in found if k not in wide)
    right = targets._weight
    monkeypatch.setattr(targets, "_weight", lambda out, dtype: right(out, torch.float64 if out.dtype == torch.float64 else dtype))
    loose = targets.errors(scan, values)
    assert all(loose[name] > 1e-4 for name in wide), "as it was: the oracle reads another gradient"


def test_an_error_that_no_scan_can_be_below_is_no_ones():
    assert targets.ratio_of_errors(1e-3 * (1 + 1e-8), 1e-3, 1e-3) == 1.0
    assert targets.ratio_of_errors(1.1e-3, 1e-3, 1e-3) == pytest.approx(1.1)
    assert targets.ratio_of_errors(1e-7, 2e-7, 3e-8) == pytest.approx(0.5)
    assert targets.ratio_of_errors(1e-3, 2e-3, 1e-3) == pytest.approx(0.5)
    assert targets.ratio_of_errors(2e-7, 1e-7, 3e-8) == pytest.approx(2.0)
    assert targets.ratio_of_errors(1e-7, 0.0, 3e-8) > 1e20


def test_kept_bytes_grow_with_what_is_kept():
    values = make_arguments((1, 4, 64, 4), torch.float32, "cpu")
    assert 0 < targets.kept("chunked", values) < targets.kept("naive", values)


def test_ratio_is_paired():
    assert timing.ratio({"a": [2.0, 30.0, 4.0], "b": [1.0, 10.0, 1.0]}, "a", "b") == 3.0


def test_rows_are_judged():
    assert targets._row(1, "", [2.0, 1.5, 0.1])["met"]  # the last is shown and not asked for
    assert not targets._row(1, "", [2.0, 1.4, 9.0])["met"]
    assert targets._row(2, "", [4.0, 0.0, 0.0, 1.1])["met"] and not targets._row(2, "", [4.0, 0.0, 0.0, 1.2])["met"]
    assert not targets._row(6, "", [float("nan")])["met"]
    assert targets._row(9, "", [1.0, 0.5])["met"] and not targets._row(9, "", [0.5, 1.01])["met"]
    assert not targets._row(3, "", [1.0, 30.0, None])["met"]


def test_the_targets_are_one_table():
    """Numbers 1 to 12, each with its benchmark and as many bounds as its row has numbers."""
    assert list(targets.TARGETS) == list(range(1, 13))
    found = targets.measure_targets("chunked", "naive", SMALL, torch.float32, "cpu")
    for row in found["table"]:
        assert targets.TARGETS[row["target"]].measured_by == "scan --targets"
        assert len(row["asked"]) == len(row["measured"])
    others = {n: t.measured_by for n, t in targets.TARGETS.items() if t.measured_by != "scan --targets"}
    assert others == {4: "block", 5: "model", 11: "scan --peers", 12: "scan --variants"}
