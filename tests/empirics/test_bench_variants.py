"""Variants of the fused scan's kernels: the measurement at small sizes in the emulator, and each variant's values."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

import emulator  # noqa: E402
from test_fused import assert_close, judged, make, run, same_bits  # noqa: E402
from test_fused_cuda import channels_last  # noqa: E402

from empirics.bench import scan_variants  # noqa: E402
from empirics.bench.scan import main_bench_scan  # noqa: E402
from empirics.errors import UnsupportedScan  # noqa: E402
from empirics.kernels.selective_scan.fused import calls, cuda  # noqa: E402
from empirics.kernels.selective_scan.fused import scan as fused  # noqa: E402

pytestmark = pytest.mark.skipif(not emulator.available(), reason="needs g++ to run CUDA C++ on a CPU")


@pytest.fixture(autouse=True)
def measured_once(monkeypatch, emulated):
    monkeypatch.setattr(scan_variants, "REPEATS", 1)


@pytest.mark.parametrize("name", [name for name in scan_variants.VARIANTS if name != scan_variants.USUAL])
@pytest.mark.parametrize("segment", [None, 64])
def test_every_variant_is_the_same_scan(name, segment, emulated):
    values = make(150, 16, batch=1, width=33, device="cpu")
    variant = scan_variants.VARIANTS[name]
    with calls.trying(variant):
        got = run(fused.selective_scan, values, segment=segment)
    assert_close(got, judged(values))
    macros = [dict(kernel.options) for kernel in emulated.launched]
    assert macros and all(variant.options.items() <= own.items() for own in macros)
    emulated.launched.clear()
    run(fused.selective_scan, values, segment=segment)
    assert not any(variant.options.keys() & dict(kernel.options).keys() for kernel in emulated.launched)


@pytest.mark.parametrize("by_channel", [False, True])
def test_blocks_that_hand_states_over(by_channel, emulated):
    """More blocks than the device holds: time is cut without a pass before, states and their gradients go from block to block."""
    emulated.processors = 1
    values = make(300, 4, batch=7, width=5, device="cpu")
    values = channels_last(values) if by_channel else values
    with calls.trying(scan_variants.VARIANTS["relay"]):
        got = run(fused.selective_scan, values)
        emulated.order = 3
        assert same_bits(run(fused.selective_scan, values), got)
    assert_close(got, judged(values))
    names = [kernel.name for kernel in emulated.launched]
    assert names == ["scan_forward", "scan_backward", "scan_finish"] * 2
    macros = [dict(kernel.options) for kernel in emulated.launched]
    assert all(own["RELAY"] == 1 and own["CUT"] == 0 for own in macros)


def test_segments_that_blocks_hand_over():
    """Only where the last wave is short: 512 blocks on 396 places, not 384, nor 792; short sequences stay whole."""
    assert [cuda.relay_segment(2048, blocks, 396) for blocks in (384, 396, 512, 792, 1024)] == [2048, 2048, 256, 2048, 256]
    assert cuda.relay_segment(200, 512, 396) >= 200 and cuda.relay_segment(300, 512, 396) == 192


def test_rows(capsys):
    shapes = (((2, 5, 70, 3), True),)
    variants = {name: scan_variants.VARIANTS[name] for name in (scan_variants.USUAL, "prefetch")}
    (row,) = scan_variants.measure_variant_rows(shapes, variants, torch.float32, "cpu", print)
    assert row["seconds"].keys() == {"usual", "usual, forward", "prefetch", "prefetch, forward"}
    assert row["to_usual"].keys() == {"prefetch", "prefetch, forward"} and row["differences"]["prefetch"] <= 1e-5
    assert "prefetch, forward" in capsys.readouterr().out


def test_a_variant_that_computes_something_else_is_not_timed(monkeypatch):
    monkeypatch.setattr(scan_variants, "difference", lambda got, usual: float(got is not usual))
    with pytest.raises(UnsupportedScan, match="variant 'prefetch' differs by 1"):
        scan_variants.measure_variant_rows(
            (((1, 5, 9, 3), False),),
            {"usual": cuda.Variant(), "prefetch": cuda.Variant(prefetch=True)},
            torch.float32,
            "cpu",
            print,
        )


def test_packed_rows(monkeypatch):
    monkeypatch.setattr(scan_variants, "_arguments", lambda shape, *how: _narrow(shape, *how))
    rows = scan_variants.measure_packed_rows(((5, (20, 20)), (5, (9, 30))), torch.float32, "cpu", lambda line: None, 40)
    assert [set(row["to_packed"]) for row in rows] == [{"one sequence", "padded", "cut apart"}, {"one sequence", "padded"}]


def test_target_12():
    def row(lengths, one, padded=None):
        return {"lengths": lengths, "to_packed": {"one sequence": one, **({} if padded is None else {"padded": padded})}}

    assert scan_variants.judge([row([512] * 16, 1.3, 3.8), row([9, 30], 0.99)]) == {
        "target": 12, "measured": [1 / 0.99, 3.8], "met": True,
    }  # fmt: skip
    assert not scan_variants.judge([row([512] * 16, 1.3, 2.9)])["met"]
    assert not scan_variants.judge([row([512] * 16, 1.3, 3.8), row([9, 30], 0.9)])["met"]
    assert not scan_variants.judge([row([9, 30], 1.0)])["met"]  # what was not measured is not met


def _narrow(shape, *how, right=scan_variants._arguments):
    return right((*shape[:3], 3), *how)


def test_kernels_are_known_before_they_run(emulated):
    """What is compiled beforehand is what runs."""
    values = scan_variants._arguments((1, 5, 150, 3), True, torch.float32, "cpu")
    packing = scan_variants.packing_of((100, 50))
    known = scan_variants.needed(values, emulated) | scan_variants.needed(values, emulated, packing)
    cuda.forget_plans()
    scan_variants.results_of(values)
    scan_variants.results_of(values, seq_idx=packing)
    assert set(emulated.launched) == known


@pytest.mark.parametrize(
    ("shape", "by_channel", "dtype", "lengths", "chosen"),
    [
        ((1, 64, 2048, 16), True, torch.bfloat16, None, True),
        ((1, 64, 2048, 16), False, torch.bfloat16, None, False),  # steps innermost
        ((1, 64, 2048, 16), True, torch.float32, None, False),
        ((1, 64, 2048, 8), True, torch.bfloat16, None, False),
        ((1, 64, 128, 16), True, torch.bfloat16, None, False),  # not cut
        ((1, 64, 2048, 16), True, torch.bfloat16, (2000, 48), False),
    ],
)
def test_registers_are_bounded_where_that_was_measured_to_gain(shape, by_channel, dtype, lengths, chosen):
    values = scan_variants._arguments(shape, by_channel, dtype, "cpu")
    packing = None if lengths is None else scan_variants.packing_of(lengths)
    device = scan_variants.Collector(132, True)
    forward = [dict(k.options) for k in scan_variants.needed(values, device, packing) if k.name == "scan_forward"]
    cuda.forget_plans()
    assert {own.get("FORWARD_BLOCKS") for own in forward} == {cuda.BLOCKS_WHERE_CUT if chosen else None}
    assert len(forward) == (1 if shape[2] == 128 else 2)


def test_the_command_needs_a_gpu(capsys):
    assert main_bench_scan(["--variants"]) == 2
    assert "--variants measures a GPU; add --device cuda" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.parametrize("name", list(scan_variants.VARIANTS))
@pytest.mark.parametrize("length", [256, 1040])
def test_every_variant_on_a_gpu(name, length, monkeypatch):
    """One sequence, whose time is cut; and more blocks than the device holds."""
    monkeypatch.setattr(cuda, "emulator", None)
    for batch, width in ((1, 70), (16, 1024)):
        values = make(length, 16, batch, width, device="cuda")
        usual = {k: v.double() for k, v in run(fused.selective_scan, values).items()}
        with calls.trying(scan_variants.VARIANTS[name]):
            for _ in range(3):
                assert_close(run(fused.selective_scan, values), usual, 1e-5)


@pytest.mark.gpu
def test_on_a_gpu(monkeypatch):
    monkeypatch.setattr(cuda, "emulator", None)
    found = scan_variants.measure_variants(shapes=(((2, 64, 300, 16), True),), packed=((64, (64,) * 4),), say=lambda line: None)
    assert len(found["rows"]) == len(found["packed"]) == 1 and found["rows"][0]["to_usual"]["prefetch"] > 0
