"""Packed sequences inside the fused scan's kernels: one launch for all, each what the float64 oracle makes of it alone."""

from __future__ import annotations

import copy
import gc
import itertools

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

import emulator  # noqa: E402
from test_fused import WIDE, assert_close, errors, make, run, same_bits  # noqa: E402
from test_fused_cuda import channels_last  # noqa: E402

from empirics import oracle  # noqa: E402
from empirics.kernels.dispatch import selective_scan  # noqa: E402
from empirics.kernels.inputs import SelectiveInputs  # noqa: E402
from empirics.kernels.packing import Packing  # noqa: E402
from empirics.kernels.selective_scan.fused import calls  # noqa: E402
from empirics.kernels.selective_scan.fused import cuda as fused_cuda  # noqa: E402
from empirics.kernels.selective_scan.fused import scan as fused  # noqa: E402
from empirics.models.recompute import recomputed  # noqa: E402

needs_compiler = pytest.mark.skipif(not emulator.available(), reason="needs g++ to run CUDA C++ on a CPU")
ROWS = ("u", "dt", "B", "C", "z")


def packing_of(length, *rows):
    """Rows of (start, stop)."""
    return Packing((len(rows), length), tuple((number, *span) for number, row in enumerate(rows) for span in row))


def values_of(packing, states=5, width=35, **options):
    """Values with one h0 for each sequence."""
    rows, length = packing.shape
    values = make(length, states, rows, width, **options)
    if "h0" in values:
        values["h0"] = make(1, states, packing.count, width, seed=7, **options)["h0"]
    return values


def at_once(packing, segment=None):
    """The scan inside the kernels, which must not fall back on others."""

    def scan(dt_softplus, return_last_state, **values):
        absent = {k: None for k in ("D", "z", "dt_bias", "h0") if k not in values}
        found = fused.packed(SelectiveInputs(**values, **absent, dt_softplus=dt_softplus), return_last_state, packing, segment)
        assert found is not None
        return found

    return scan


def one_by_one(packing):
    """Every sequence cut out and run by the oracle, its output put back, zero in the padding."""

    def scan(**values):
        length = values["u"].shape[2]
        rows, lasts = [torch.zeros_like(row) for row in values["u"]], []
        for number, (row, start, stop) in enumerate(packing.spans):
            own = {k: v[row : row + 1, ..., start:stop] if k in ROWS else v for k, v in values.items()}
            if "h0" in own:
                own["h0"] = own["h0"][number : number + 1]
            out, last = oracle.selective_scan(**own)
            rows[row] = rows[row] + torch.nn.functional.pad(out[0], (start, length - stop))
            lasts.append(last)
        return torch.stack(rows), torch.cat(lasts)

    return scan


def judged(values, packing):
    """The oracle's results in float64, from gradients above that are rounded as those of the kernels are."""
    exact = {k: v.detach().cpu().double().requires_grad_(v.requires_grad) for k, v in values.items()}
    return run(one_by_one(packing), exact, above={"out": values["u"].dtype, "last": torch.float32})


FULL = packing_of(150, [(0, 1), (1, 72), (72, 80), (80, 150)])  # a sequence of one step, some that begin off any grid
PADDED = packing_of(150, [(3, 70), (70, 71), (90, 140)], [(0, 150)], [(149, 150)])


@needs_compiler
@pytest.mark.parametrize("packing", [FULL, PADDED], ids=["full", "padded"])
@pytest.mark.parametrize("segment", [None, 64])
@pytest.mark.parametrize("by_channel", [False, True])
def test_each_sequence_is_what_it_is_alone(packing, segment, by_channel, emulated):
    """Outputs, last states and all gradients, whether or not sequences are cut into segments; in one launch of each kernel."""
    values = values_of(packing)
    values = channels_last(values) if by_channel else values
    got = run(at_once(packing, segment), values)
    assert_close(got, judged(values, packing))
    names = [k.name for k in emulated.launched]
    assert names.count("scan_backward") == 1 and names.count("scan_forward") == (1 if segment is None else 2)
    assert all(dict(k.options)["PACKED"] == 1 for k in emulated.launched)
    whole = run(fused.selective_scan, {**values, "h0": values["h0"][: packing.shape[0]]})
    assert errors({"out": got["out"]}, {"out": whole["out"].double()})["out"] > 1e-2  # borders matter


@needs_compiler
@pytest.mark.parametrize("starts", [(0, 64, 128), (0, 8, 16), (0, 9, 50)])
def test_pieces_of_16_bytes_only_where_every_sequence_begins_at_one(starts, emulated):
    packing = packing_of(160, list(zip(starts, (*starts[1:], 160), strict=True)))
    values = values_of(packing, 16, 32, dtype=torch.bfloat16)
    got = run(at_once(packing), values)
    (options,) = [dict(k.options) for k in emulated.launched if k.name == "scan_forward"]
    assert options["VECTOR_U"] == options["VECTOR_OUT"] == int(all(s % 8 == 0 for s in starts))
    assert_close(got, judged(values, packing), 1e-2)


@needs_compiler
@pytest.mark.parametrize("without", [("h0",), ("z", "D"), ("dt_bias", "h0", "D", "z")])
def test_without_optional_arguments(without, emulated):
    values = values_of(PADDED, without=without)
    assert_close(run(at_once(PADDED, 64), values), judged(values, PADDED))


@needs_compiler
@pytest.mark.parametrize("trained", [("h0",), ("A",), ("B", "C"), ("u",), ("D", "dt_bias")])
def test_frozen_inputs(trained, emulated):
    everything = run(at_once(PADDED, 64), values_of(PADDED))
    values = {k: v.detach().requires_grad_(k in trained) for k, v in values_of(PADDED).items()}
    some = run(at_once(PADDED, 64), values)
    assert set(some) == {"out", "last", *(f"d_{k}" for k in trained)}
    assert_close(some, {k: everything[k].double() for k in some}, 2e-6)


@needs_compiler
def test_nothing_crosses_a_border(emulated):
    """One sequence and the padding of NaN: the others' results and gradients have the bits they have without."""
    clean = values_of(PADDED)
    poisoned = {k: v.detach().clone() for k, v in clean.items()}
    row, start, stop = PADDED.spans[0]
    for name in ROWS:
        poisoned[name][row, :, :90] = float("nan")  # sequences 0 and 1 of the row, and the padding behind them
        poisoned[name][row, :, 140:] = float("nan")
        poisoned[name][row, :, 70:71] = clean[name].detach()[row, :, 70:71]  # but sequence 1
    poisoned["h0"][0] = float("nan")
    poisoned = {k: v.requires_grad_() for k, v in poisoned.items()}
    kept = torch.ones(PADDED.shape, dtype=torch.bool)
    kept[row, start:stop] = False
    found = []
    for values in (clean, poisoned):
        out, last = at_once(PADDED, 64)(**values, dt_softplus=True, return_last_state=True)
        scalar = out.mT[kept].square().sum() + last[1:].sum()
        d_u, d_B, d_h0 = torch.autograd.grad(scalar, [values["u"], values["B"], values["h0"]])
        found.append((out.mT[kept], last[1:], d_u.mT[kept], d_B.mT[kept], d_h0[1:]))
        assert bool(out.mT[~kept].isnan().all()) == (values is poisoned)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@needs_compiler
def test_padding_is_zero_in_results_and_gradients(emulated):
    got = run(at_once(PADDED), values_of(PADDED))
    inside = torch.zeros(PADDED.shape, dtype=torch.bool)
    for row, start, stop in PADDED.spans:
        inside[row, start:stop] = True
    for name in ("out", "d_u", "d_dt", "d_z", "d_B", "d_C"):
        assert not got[name].mT[~inside].any() and got[name].mT[inside].any(dim=1).all(), name


@needs_compiler
def test_the_same_bits_in_any_order_of_threads(emulated):
    first = run(at_once(FULL, 64), values_of(FULL))
    for order in (1, 2):
        emulated.order = order
        assert same_bits(run(at_once(FULL, 64), values_of(FULL)), first)


@needs_compiler
def test_through_the_front_door(emulated):
    """seq_idx, cu_seqlens and groups of B and C; a fixed B takes the sequences one by one, to the same values."""
    values = values_of(FULL, width=6)
    exact = judged(values, FULL)
    numbers = torch.cat([torch.full((stop - start,), n) for n, (_, start, stop) in enumerate(FULL.spans)])[None].int()
    edges = torch.tensor([0, 1, 72, 80, 150])
    for how in ({"seq_idx": numbers}, {"cu_seqlens": edges}, {"seq_idx": FULL}):
        emulated.launched.clear()
        assert_close(run(lambda how=how, **v: selective_scan(**v, scan="fused", **how), values), exact)
        assert [k.name for k in emulated.launched].count("scan_backward") == 1
    grouped = {**values, "B": torch.stack([values["B"].detach()] * 2, 1).requires_grad_()}
    emulated.launched.clear()
    got = run(lambda **v: selective_scan(**v, scan="fused", seq_idx=FULL), grouped)
    assert [dict(k.options)["PACKED"] for k in emulated.launched if k.name == "scan_backward"] == [1, 1]
    assert_close({**got, "d_B": got["d_B"].sum(1)}, exact)
    fixed = {**values, "B": torch.ones(6, 5).requires_grad_()}
    emulated.launched.clear()
    got = run(lambda **v: selective_scan(**v, scan="fused", seq_idx=FULL), fixed)
    assert emulated.launched and not any(dict(k.options).get("PACKED") for k in emulated.launched)
    exact = {k: v.detach().double().requires_grad_() for k, v in fixed.items()}
    assert_close(got, run(lambda **v: selective_scan(**v, scan="oracle", seq_idx=FULL), exact))


@needs_compiler
def test_one_initial_state_for_all_sequences(emulated):
    values = values_of(FULL, width=6)
    values["h0"] = values["h0"][0].detach().requires_grad_()
    got = run(lambda **v: selective_scan(**v, scan="fused", seq_idx=FULL), values)
    exact = {k: v.detach().double().requires_grad_() for k, v in values.items()}
    assert_close(got, run(lambda **v: selective_scan(**v, scan="oracle", seq_idx=FULL), exact))
    assert got["d_h0"].shape == (6, 5) and {k.name for k in emulated.launched if dict(k.options)["PACKED"]} >= {"scan_backward"}


@needs_compiler
def test_recomputing_repeats_no_scan(emulated):
    values = values_of(FULL, width=6)

    def after(u):
        return selective_scan(**{**values, "u": u}, dt_softplus=True, scan="fused", seq_idx=FULL).sin()

    plain = torch.autograd.grad(after(values["u"]).sum(), [values["u"], values["A"]])
    emulated.launched.clear()
    out = recomputed(after, values["u"], False)
    out.sum().backward()
    assert [k.name for k in emulated.launched].count("scan_forward") == 1
    assert torch.equal(values["u"].grad, plain[0]) and torch.equal(values["A"].grad, plain[1])


@needs_compiler
def test_a_packing_is_worked_out_once(emulated):
    """For all layers that share it; it is forgotten with the packing."""
    asked, right = [], emulated.prepare
    emulated.prepare = lambda kernel, size: asked.append(kernel.name) or right(kernel, size)
    packing = packing_of(70, [(0, 30), (30, 70)])
    values = values_of(packing, width=5)
    first = run(at_once(packing), values)
    assert asked
    asked.clear()
    assert same_bits(run(at_once(packing), values), first) and not asked
    other = packing_of(70, [(0, 31), (31, 70)])
    assert not same_bits(run(at_once(other), values), first) and asked
    known = len(fused_cuda._PACKED_PLANS)
    del packing, other, first  # results lead to the packing by way of their graph
    gc.collect()
    assert len(fused_cuda._PACKED_PLANS) <= known - 2


@needs_compiler
def test_calls_of_a_packing_look_alike(emulated):
    """Worked out once for each kind of call; a copy of the packing begins anew, and other kernels are other calls."""
    packing = packing_of(70, [(0, 30), (30, 70)])
    values = values_of(packing, width=5)
    first = run(at_once(packing), values)
    assert same_bits(run(at_once(packing), values), first) and len(packing.calls) == 1
    turned = channels_last(values)
    assert_close(run(at_once(packing), turned), {k: v.double() for k, v in first.items()})
    assert len(packing.calls) == 2
    other = copy.deepcopy(packing)
    assert other == packing and other.calls == {}
    with calls.trying(fused_cuda.Variant(prefetch=True)):
        emulated.launched.clear()
        run(at_once(packing), values)
    assert len(packing.calls) == 3 and all(dict(k.options)["PREFETCH"] for k in emulated.launched)


def test_items():
    """Longer sequences first, each in segments side by side; the chunks of 64 steps follow one another without a gap."""
    packing = packing_of(300, [(0, 10), (10, 210)], [(5, 300)])
    items = fused_cuda.items_of(packing, 128)
    assert [item[:6] for item in items] == [
        (1, 2, 0, 3, 5, 133),
        (1, 2, 1, 3, 133, 261),
        (1, 2, 2, 3, 261, 300),
        (0, 1, 0, 2, 10, 138),
        (0, 1, 1, 2, 138, 210),
        (0, 0, 0, 1, 0, 10),
    ]
    assert [item[6] for item in items] == [0, 2, 4, 5, 7, 9]


def test_segments_of_packed_sequences():
    """Many sequences fill the device and are not cut; one long sequence among short ones is."""
    many = Packing((1, 8192), tuple((0, 512 * n, 512 * n + 512) for n in range(16)))
    one_long = Packing((1, 8192), ((0, 0, 8000), *((0, n, n + 1) for n in range(8000, 8192))))
    for backward in (False, True):
        assert fused_cuda.packed_segment(many, 48, 132, backward) >= 512
        assert fused_cuda.packed_segment(one_long, 48, 132, backward) == fused_cuda.segment_length(8000, 48, 132, backward) < 8000


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("by_channel", [False, True])
@pytest.mark.parametrize("grid", [1, 8])
def test_gpu(dtype, by_channel, grid):
    """On the device: the values, their bits in a second run, and those of a row whose neighbours are NaN."""
    edges = [v * grid for v in (0, 40, 41, 297, 300, 513)]
    packing = packing_of(edges[-1], list(itertools.pairwise(edges))[1:], [(0, edges[-1])])
    values = values_of(packing, 16, 70, device="cuda", dtype=dtype)
    values = {k: v.detach().float().requires_grad_() if k in WIDE else v for k, v in values.items()}
    values = channels_last(values) if by_channel else values
    got = run(at_once(packing), values)
    assert_close({k: v.cpu() for k, v in got.items()}, judged(values, packing), 2e-5 if dtype == torch.float32 else 1e-2)
    assert same_bits(run(at_once(packing), values), got)
    poisoned = dict(values)
    for name in ROWS:
        other = values[name].detach().clone()
        other[1] = float("nan")
        poisoned[name] = other.requires_grad_()
    out, last = at_once(packing)(**poisoned, dt_softplus=True, return_last_state=True)
    assert torch.equal(out[0], got["out"][0]) and torch.equal(last[:-1], got["last"][:-1])
    assert out[1].isnan().all() and last[-1].isnan().all()
