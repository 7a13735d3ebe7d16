"""The scans against the float64 oracle: values, every gradient, every length; and what the capability table promises."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import sys
from functools import partial
from types import ModuleType, SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402

import empirics  # noqa: E402
from empirics import oracle  # noqa: E402
from empirics.__main__ import main  # noqa: E402
from empirics.errors import EmpiricsError, InvalidInput, MissingPackage, UnknownName, UnsupportedScan  # noqa: E402
from empirics.kernels.command import availability, lines  # noqa: E402
from empirics.kernels.dispatch import selective_scan, ssd_scan  # noqa: E402
from empirics.kernels.inputs import SSDInputs  # noqa: E402
from empirics.kernels.s4d import discretise  # noqa: E402
from empirics.kernels.selective_scan import chunked, state_terms  # noqa: E402
from empirics.kernels.ssd import chunked as ssd_chunked  # noqa: E402
from empirics.kernels.ssd import mamba_ssm as stock_ssd  # noqa: E402
from empirics.kernels.table import TABLE, capability, scan_names  # noqa: E402

torch.set_num_threads(1)
CHUNK = 8


def make_selective(length, states, batch=2, width=3, seed=0, everything=True, dtype=torch.float64):
    """Arguments of a selective scan by name; decays from nearly one to nearly nothing."""
    g = torch.Generator().manual_seed(seed)
    randn = partial(torch.randn, generator=g, dtype=torch.float64)
    values = {
        "u": randn(batch, width, length),
        "dt": randn(batch, width, length),
        "A": -torch.exp(2 * randn(width, states)),
        "B": randn(batch, states, length),
        "C": randn(batch, states, length),
    }
    if everything:
        values |= {
            "D": randn(width),
            "z": randn(batch, width, length),
            "dt_bias": randn(width),
            "h0": randn(batch, width, states),
        }
    return {k: v.to(dtype).requires_grad_() for k, v in values.items()}


def make_ssd(length, states, batch=2, heads=4, groups=2, headdim=3, seed=0, everything=True, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    randn = partial(torch.randn, generator=g, dtype=torch.float64)
    values = {
        "x": randn(batch, length, heads, headdim),
        "dt": randn(batch, length, heads),
        "A": -torch.exp(2 * randn(heads)),
        "B": randn(batch, length, groups, states),
        "C": randn(batch, length, groups, states),
    }
    if everything:
        values |= {
            "D": randn(heads),
            "z": randn(batch, length, heads, headdim),
            "dt_bias": randn(heads),
            "h0": randn(batch, heads, headdim, states),
        }
    return {k: v.to(dtype).requires_grad_() for k, v in values.items()}


CASES = {
    "selective_scan": (make_selective, oracle.selective_scan, chunked.selective_scan),
    "ssd": (make_ssd, oracle.ssd, ssd_chunked.ssd_scan),
}
TRIED = [row for row in TABLE if "any" in row.devices and row.scan != "oracle"]
"""Scans that run here, whichever the table names."""


def by_name(row):
    """The scan as callers get it, who know no chunks."""
    return lambda chunk=None, **values: (selective_scan if row.op == "selective_scan" else ssd_scan)(**values, scan=row.scan)


@pytest.fixture(params=TRIED, ids=lambda row: f"{row.op}-{row.scan}")
def row(request):
    return request.param


@pytest.fixture
def case(row):
    make, judge, in_chunks = CASES[row.op]
    return make, judge, in_chunks if row.scan == "chunked" else by_name(row)


def run(scan, values, softplus=True, **options):
    """Output, last state and the gradients of a fixed random functional of both."""
    out, last = scan(**values, dt_softplus=softplus, return_last_state=True, **options)
    g = torch.Generator().manual_seed(99)
    weight, weight_last = (torch.randn(v.shape, generator=g, dtype=torch.float64).to(v) for v in (out, last))
    gradients = torch.autograd.grad((out * weight).sum() + (last * weight_last).sum(), list(values.values()))
    return {"out": out, "last": last, **{f"d{k}": g for k, g in zip(values, gradients, strict=True)}}


def assert_close(got, expected, tolerance=1e-11):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.isfinite(value).all()
        error = (got[name].double() - value).abs().max() / value.abs().max().clamp_min(1e-30)
        assert error <= tolerance, f"{name}: relative error {error:.1e}"


@pytest.mark.parametrize("length", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5])
@pytest.mark.parametrize("states", [1, 2, 16, 64])
def test_every_scan_is_the_oracle(case, length, states):
    make, judge, scan = case
    values = make(length, states)
    assert_close(run(scan, values, chunk=CHUNK), run(judge, values))


@pytest.mark.parametrize("chunk", [1, 2, 7, 64, 1000, None])
def test_the_chunk_length_changes_nothing(case, chunk):
    make, judge, scan = case
    values = make(150, 3)
    assert_close(run(scan, values, chunk=chunk), run(judge, values))


def test_without_the_optional_arguments(case):
    make, judge, scan = case
    values = make(11, 4, everything=False)
    values["dt"] = F.softplus(values["dt"]).detach().requires_grad_()
    assert_close(run(scan, values, softplus=False, chunk=4), run(judge, values, softplus=False))


@pytest.mark.parametrize("left_out", ["D", "z", "dt_bias", "h0"])
def test_each_optional_argument_by_itself(case, left_out):
    make, judge, scan = case
    values = make(11, 4)
    whole = run(judge, values)["out"]
    del values[left_out]
    part = run(judge, values)
    assert_close(run(scan, values, chunk=4), part)
    assert not torch.allclose(part["out"], whole)  # and it does matter


@pytest.mark.parametrize("wanted", ["out", "last"])
def test_gradient_of_one_result_only(case, wanted):
    make, judge, scan = case
    values = make(11, 4)
    pick = 0 if wanted == "out" else 1
    results = []
    for function in (partial(scan, chunk=4), judge):
        result = function(**values, dt_softplus=True, return_last_state=True)[pick]
        gradients = torch.autograd.grad(result.square().sum(), list(values.values()), allow_unused=True)
        results.append({k: torch.zeros_like(values[k]) if g is None else g for k, g in zip(values, gradients, strict=True)})
    assert all(torch.allclose(results[0][k], results[1][k], rtol=1e-10, atol=1e-10) for k in values)
    only_out = scan(**values, dt_softplus=True, chunk=4)
    assert torch.equal(only_out, scan(**values, dt_softplus=True, return_last_state=True, chunk=4)[0])


def test_gradients_of_some_inputs_only(case):
    make, judge, scan = case
    for name in make(2, 2):
        values = {k: v.detach().requires_grad_(k == name) for k, v in make(11, 4).items()}
        ours, theirs = (
            torch.autograd.grad(f(**values, dt_softplus=True).square().sum(), values[name])
            for f in (partial(scan, chunk=4), judge)
        )
        assert torch.allclose(ours[0], theirs[0], rtol=1e-10, atol=1e-12), name


@pytest.mark.parametrize("decay", [0.0, -1e-8, -1e3, 0.5])
def test_extreme_decays(case, decay):
    """No decay, underflow to zero and growth: nothing is divided by a decay."""
    make, judge, scan = case
    values = make(20, 3)
    values["A"] = torch.full_like(values["A"], decay).requires_grad_()
    assert_close(run(scan, values, chunk=6), run(judge, values))


def test_long_steps_do_not_blur_short_ones(case):
    """One step of 10⁶ (a reset) amid steps of 10⁻³, in float32."""
    make, judge, scan = case
    values = {k: v.detach() for k, v in make(30, 3).items() if k not in ("z", "dt_bias")}
    values["dt"] = torch.full_like(values["dt"], 1e-3)
    where = (slice(None), slice(None), 9) if judge is oracle.selective_scan else (slice(None), 9)
    values["dt"][where] = 1e6
    exact = judge(**values)
    got = scan(**{k: v.float() for k, v in values.items()}, chunk=16).double()
    late = got[..., 12:] - exact[..., 12:] if judge is oracle.selective_scan else got[:, 12:] - exact[:, 12:]
    # The reset itself adds 10⁶ x B, which the decays then forget; what matters is the rounding relative to that.
    assert late.abs().max() <= 4e-7 * exact.abs().max()
    assert (got - exact).abs().max() <= 4e-7 * exact.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_dtypes(case, dtype):
    """No more rounding than the plain loop in the same dtype, up to a factor of two."""
    make, judge, scan = case
    narrow = {k: v.detach() for k, v in make(40, 8, dtype=dtype).items()}
    exact = judge(**{k: v.double() for k, v in narrow.items()}, dt_softplus=True)
    naive = selective_scan if judge is oracle.selective_scan else ssd_scan
    plain = naive(**narrow, dt_softplus=True, scan="naive")
    got, last = scan(**narrow, dt_softplus=True, return_last_state=True, chunk=16)
    assert got.dtype == plain.dtype == dtype and last.dtype == torch.float32
    size = exact.abs().max()
    floor = torch.finfo(dtype).eps * size
    assert (got.double() - exact).abs().max() <= 2 * (plain.double() - exact).abs().max() + floor
    assert (got.double() - exact).abs().max() <= 8 * floor


def test_autocast_does_not_reach_inside(case):
    make, _, scan = case
    values = {k: v.detach() for k, v in make(20, 4, dtype=torch.float32).items()}
    outside = scan(**values, dt_softplus=True, chunk=8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(scan(**values, dt_softplus=True, chunk=8), outside)


def test_h0_for_all_sequences(case):
    make, judge, scan = case
    values = make(9, 4)
    one = values["h0"][0].detach().requires_grad_()
    full = {**values, "h0": one.expand_as(values["h0"])}
    ours, theirs = (f(**{**values, "h0": one}, dt_softplus=True) for f in (scan, judge))
    assert torch.allclose(ours, theirs) and torch.allclose(theirs, judge(**full, dt_softplus=True))
    gradients = [torch.autograd.grad(v.square().sum(), one)[0] for v in (ours, theirs)]
    assert torch.allclose(*gradients) and gradients[0].shape == one.shape


def test_cutting_a_sequence(case):
    make, judge, scan = case
    values = {k: v.detach() for k, v in make(13, 4).items()}
    axis = 2 if judge is oracle.selective_scan else 1
    whole, last = judge(**values, dt_softplus=True, return_last_state=True)
    for cut in range(1, 13):
        pieces, h = [], values["h0"]
        for part in (slice(None, cut), slice(cut, None)):
            where = (slice(None),) * axis + (part,)
            piece = {k: v[where] if k in ("u", "x", "dt", "B", "C", "z") else v for k, v in values.items()}
            if axis == 2:
                piece |= {k: values[k][:, :, part] for k in ("B", "C")}
            y, h = scan(**{**piece, "h0": h}, dt_softplus=True, return_last_state=True, chunk=5)
            pieces.append(y)
        assert torch.allclose(torch.cat(pieces, axis), whole, atol=1e-12) and torch.allclose(h, last, atol=1e-12)


def test_inputs_are_left_alone(case):
    make, _, scan = case
    values = {k: v.detach() for k, v in make(20, 4).items()}
    before = {k: v.clone() for k, v in values.items()}
    y, last = scan(**values, dt_softplus=True, return_last_state=True, chunk=8)
    y.add_(1)
    last.add_(1)
    assert all(torch.equal(values[k], before[k]) for k in values)


@pytest.mark.parametrize("row", [row for row in TRIED if not row.twice], ids=lambda row: f"{row.op}-{row.scan}")
def test_the_second_derivative_is_refused(row):
    values = CASES[row.op][0](5, 2)
    (first,) = torch.autograd.grad(by_name(row)(**values, dt_softplus=True).square().sum(), values["B"], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_one_group_as_four_axes():
    values = make_selective(7, 3)
    four = {**values, "B": values["B"][:, None], "C": values["C"][:, None]}
    for scan in ("oracle", "naive", "chunked"):
        assert torch.equal(selective_scan(**four, scan=scan), selective_scan(**values, scan=scan))


def test_memory_is_a_few_sequences():
    """No (batch, D, L, N) tensor is kept for the backward pass."""
    values = make_selective(512, 32, batch=1, width=16, everything=False, dtype=torch.float32)
    kept = 0

    def pack(tensor):
        nonlocal kept
        kept += tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        chunked.selective_scan(**values, dt_softplus=True, chunk=32)
    assert kept < 0.5 * 512 * 32 * 16


# --- the oracle itself ---


def test_oracle_by_hand():
    """Two states, three steps, numbers one can check: decay exp(-ln 2 · dt)."""
    half = -torch.log(torch.tensor(2.0, dtype=torch.float64))
    u, dt = torch.tensor([[[1.0, 2, 0]]]).double(), torch.tensor([[[1.0, 2, 1]]]).double()
    A = torch.stack([half, 0 * half])[None]
    B, C = torch.tensor([[[1.0, 1, 1], [1, 0, 1]]]).double(), torch.tensor([[[1.0, 1, 1], [1, 10, 100]]]).double()
    y, h = oracle.selective_scan(u, dt, A, B, C, h0=torch.tensor([[8.0, 1]]).double(), return_last_state=True)
    # h: (8/2 + 1, 1 + 1), (5/4 + 4, 2), (5.25/2, 2)
    assert torch.allclose(h, torch.tensor([[[2.625, 2]]]).double())
    assert torch.allclose(y, torch.tensor([[[7.0, 25.25, 202.625]]]).double())


def test_oracle_ssd_is_a_selective_scan():
    """Each head of SSD is a selective scan whose channels share dt and A."""
    v = make_ssd(9, 4)
    out, last = oracle.ssd(**v, dt_softplus=True, return_last_state=True)
    for head in range(4):
        group = head // 2
        shared = {"B": v["B"][:, :, group].transpose(1, 2), "C": v["C"][:, :, group].transpose(1, 2)}
        one, h = oracle.selective_scan(
            v["x"][:, :, head].transpose(1, 2),
            v["dt"][:, :, head][:, None].expand(-1, 3, -1),
            v["A"][head].expand(3, 4),
            **shared,
            D=v["D"][head].expand(3),
            z=v["z"][:, :, head].transpose(1, 2),
            dt_bias=v["dt_bias"][head].expand(3),
            dt_softplus=True,
            h0=v["h0"][:, head],
            return_last_state=True,
        )
        assert torch.allclose(out[:, :, head].transpose(1, 2), one) and torch.allclose(last[:, head], h)


def test_oracle_against_scipy():
    """A time-invariant system, through an independent program."""
    signal = pytest.importorskip("scipy.signal")
    g = torch.Generator().manual_seed(0)
    u = torch.randn(1, 1, 30, generator=g, dtype=torch.float64)
    A = -torch.rand(1, 3, generator=g, dtype=torch.float64)
    B, C = (torch.randn(3, generator=g, dtype=torch.float64) for _ in range(2))
    y = oracle.selective_scan(u, torch.full_like(u, 0.3), A, B[None, :, None].expand(1, 3, 30), C[None, :, None].expand(1, 3, 30))
    expected = sum(
        float(C[n] * B[n]) * 0.3 * signal.lfilter([1], [1, -float(torch.exp(0.3 * A[0, n]))], u[0, 0].numpy()) for n in range(3)
    )
    assert torch.allclose(y[0, 0], torch.from_numpy(expected))


@pytest.mark.parametrize("rule", ["zoh", "mamba", "bilinear"])
@pytest.mark.parametrize("kind", ["real", "complex"])
def test_s4d_against_its_kernel(rule, kind):
    """The recurrence is the convolution with K_t = κ Re(C Ā^t B̄)."""
    g = torch.Generator().manual_seed(0)
    dtype = torch.complex128 if kind == "complex" else torch.float64
    real = partial(torch.rand, 2, 3, generator=g, dtype=torch.float64)
    A = -real() + (3j * real() if kind == "complex" else 0)
    B, C, h0 = (torch.randn(2, 3, generator=g, dtype=dtype) for _ in range(3))
    dt, D = torch.tensor([0.1, 0.4], dtype=torch.float64), torch.tensor([1.0, -2], dtype=torch.float64)
    u = torch.randn(2, 2, 12, generator=g, dtype=torch.float64)
    y, last = oracle.s4d(u, dt, A, B, C, D, h0, return_last_state=True, rule=rule)
    A_bar, B_bar = discretise(dt, A, B, rule)
    if rule == "zoh":  # against the matrix exponential of the augmented system
        augmented = torch.tensor([[A[1, 2], B[1, 2]], [0, 0]], dtype=torch.complex128) * dt[1]
        assert torch.allclose(torch.matrix_exp(augmented)[0], torch.stack([A_bar[1, 2], B_bar[1, 2]]).to(torch.complex128))
    scale = 2 if kind == "complex" else 1
    powers = A_bar[..., None] ** torch.arange(13)
    kernel = scale * (C[..., None] * B_bar[..., None] * powers).sum(1).real
    free = scale * (C[..., None] * h0[..., None] * powers[..., 1:]).sum(1).real
    expected = torch.stack([(kernel[:, : t + 1].flip(-1) * u[:, :, : t + 1]).sum(-1) for t in range(12)], -1)
    assert torch.allclose(y, expected + free[..., :12] + D[:, None] * u)
    for cut in (1, 7):
        first, h = oracle.s4d(u[..., :cut], dt, A, B, C, D, h0, return_last_state=True, rule=rule)
        second, end = oracle.s4d(u[..., cut:], dt, A, B, C, D, h, return_last_state=True, rule=rule)
        assert torch.allclose(torch.cat([first, second], -1), y) and torch.allclose(end, last)


def test_s4d_refuses():
    u, dt, A = torch.randn(1, 2, 4), torch.ones(2), -torch.ones(2, 3)
    for arguments, message in [
        ((u[..., :0], dt, A, A, A), "L at least 1"),
        ((u, dt[:1], A, A, A), "dt has shape"),
        ((u, dt, A, A[:, :2], A), "B has shape"),
        ((u, dt, A, A, A + 0j), "all real or all complex"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            oracle.s4d(*arguments)
    with pytest.raises(InvalidInput, match="'euler'"):
        oracle.s4d(u, dt, A, A, A, rule="euler")
    # A = 0 integrates: B̄ = dt B, with a finite gradient
    A = torch.zeros(2, 3, requires_grad=True)
    y = oracle.s4d(u, dt, A, torch.ones(2, 3), torch.ones(2, 3))
    assert torch.allclose(y, 3 * u.cumsum(-1), atol=1e-5)
    y.sum().backward()
    assert torch.isfinite(A.grad).all()


# --- terms that complete a stock scan ---


@pytest.mark.parametrize("length", [1, 2, 9])
def test_state_terms(length):
    """Response to h0 and last state, with all gradients, against the oracle."""
    values = make_selective(length, 4, everything=False)
    values["dt"] = F.softplus(values["dt"]).detach().requires_grad_()
    values["h0"] = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(7)).requires_grad_()

    def completed(u, dt, A, B, C, h0, dt_softplus, return_last_state):
        from_zero = oracle.selective_scan(u, dt, A, B, C)
        response, left = state_terms.initial_state_response(dt, A, C, h0)
        return from_zero + response, state_terms.final_state(dt, u, A, B) + left

    assert_close(run(completed, values, softplus=False), run(oracle.selective_scan, values, softplus=False))


def test_gated_offset():
    """Value and gradients of the written-out function against autograd's of the formula; half precision is widened once."""
    generator = torch.Generator().manual_seed(8)
    offset, C, z = (
        torch.randn(*shape, dtype=torch.float64, generator=generator, requires_grad=True)
        for shape in ((3, 4), (2, 4, 9), (2, 3, 9))
    )
    assert torch.autograd.gradcheck(state_terms.gated_offset, (offset, C, z))
    assert torch.allclose(state_terms.gated_offset(offset, C, z), (offset @ C) * F.silu(z), rtol=1e-12)
    frozen = state_terms.gated_offset(offset, C.detach(), z.detach())
    assert len(torch.autograd.grad(frozen.sum(), [offset])) == 1
    half = [v.detach().bfloat16().requires_grad_() for v in (C, z)]
    out = state_terms.gated_offset(offset.float(), *half)
    assert out.dtype == torch.bfloat16 and all(g.dtype == torch.bfloat16 for g in torch.autograd.grad(out.sum(), half))
    close = (offset @ half[0].double()) * F.silu(half[1].double())
    assert (out.double() - close).norm() < 2**-7 * close.norm()
    mixed = state_terms.gated_offset(offset.float(), half[0].float(), half[1])
    assert mixed.dtype == torch.bfloat16 and torch.allclose(mixed.double(), close, rtol=2**-8, atol=1e-6)
    fine = torch.full((3, 4), 1 + 2**-12)  # an offset that bfloat16 rounds to 1
    ones = torch.ones(2, 4, 9, dtype=torch.bfloat16)
    assert (state_terms._offset_rows(fine, ones) == 4).all() and len(state_terms._parts(fine, torch.bfloat16)) == 2
    assert torch.equal(sum(p.float() for p in state_terms._parts(fine, torch.bfloat16)), fine)


# --- bad input ---


@pytest.mark.parametrize("scan", ["oracle", *dict.fromkeys(row.scan for row in TRIED)])
def test_bad_selective_input(scan):
    good = {k: v.detach() for k, v in make_selective(5, 4).items()}
    for change, message in [
        ({"u": good["u"][..., :0]}, "L = 0: an empty sequence"),
        ({"u": good["u"][0]}, "u has shape"),
        ({"dt": good["dt"][..., :4]}, "dt has shape"),
        ({"A": good["A"][:2]}, "A has shape"),
        ({"A": good["A"][:, :0]}, "A has shape"),
        ({"A": good["A"] + 0j}, "A is complex.*s4d"),
        ({"B": good["B"][:, :3]}, "B has shape"),
        ({"C": good["C"][:, None].expand(-1, 2, -1, -1)}, "C has 2 groups, which do not divide the D = 3 channels"),
        ({"B": good["B"][:, None].expand(-1, 3, -1, -1)[:, :, :2]}, r"B has shape .*expected \(batch, G, N, L\)"),
        ({"B": good["A"][:, :2]}, r"B has shape .*expected \(D, N\)"),
        ({"D": good["D"][:1]}, "D has shape"),
        ({"z": good["z"][:1]}, "z has shape"),
        ({"dt_bias": good["dt_bias"][:1]}, "dt_bias has shape"),
        ({"h0": good["h0"][:1]}, "h0 has shape"),
        ({"h0": good["h0"][0, :2]}, "h0 has shape"),
        ({"u": good["u"].long()}, r"u has dtype torch.int64.*u.float\(\)"),
        ({"B": good["B"].tolist()}, "B is list"),
        ({"h0": good["h0"].to("meta")}, "h0 is on meta but u is on cpu"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            selective_scan(**{**good, **change}, scan=scan)


@pytest.mark.parametrize("scan", ["oracle", *dict.fromkeys(row.scan for row in TRIED)])
def test_bad_ssd_input(scan):
    good = {k: v.detach() for k, v in make_ssd(5, 4).items()}
    for change, message in [
        ({"x": good["x"][:, :0]}, "L = 0: an empty sequence"),
        ({"x": good["x"][0]}, "x has shape"),
        ({"dt": good["dt"][..., :3]}, "dt has shape"),
        ({"A": good["A"][:2]}, "A has shape"),
        ({"B": good["B"][:, :, [0, 0, 1]]}, "G dividing H = 4"),
        ({"C": good["C"][..., :3]}, "C has shape"),
        ({"D": good["D"][:1]}, "D has shape"),
        ({"z": good["z"][:1]}, "z has shape"),
        ({"h0": good["h0"][:1]}, "h0 has shape"),
        ({"h0": good["h0"][0, :2]}, "h0 has shape"),
        ({"A": good["A"].long()}, "A has dtype torch.int64"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            ssd_scan(**{**good, **change}, scan=scan)


@pytest.mark.parametrize("op", CASES)
def test_a_chunk_has_a_step(op):
    make, _, scan = CASES[op]
    with pytest.raises(InvalidInput, match="chunk = 0"):
        scan(**make(3, 2), chunk=0)


def test_nan_goes_through(case):
    """Values are not inspected; a NaN must not be lost either."""
    make, judge, scan = case
    values = {k: v.detach() for k, v in make(12, 3).items()}
    values["B"][0].fill_(float("nan"))
    for function in (judge, scan):
        y = function(**values, dt_softplus=True)
        assert y[0].isnan().all() and not y[1].isnan().any()


# --- capability table ---


def test_table_rows_are_unique_and_complete():
    keys = [(row.op, row.scan) for row in TABLE]
    assert len(keys) == len(set(keys))
    assert scan_names("selective_scan") == ("oracle", "naive", "chunked", "mamba_ssm", "fused")
    assert scan_names("ssd") == ("oracle", "naive", "chunked", "mamba_ssm")
    for row in TABLE:
        assert capability(row.op, row.scan) is row
        assert callable(importlib.import_module(f"empirics.kernels.{row.module}").scan)


def test_the_table_is_printed(capsys):
    """Every row with its properties, and what it lacks here."""
    assert main(["scans"]) == 0
    text = capsys.readouterr().out
    selective, ssd = text.split("ssd (Mamba-2)")
    for part, op in ((selective, "selective_scan"), (ssd, "ssd")):
        blocks = part.split("\n  ")
        assert [b.split(":")[0] for b in blocks if b.split(":")[0] in scan_names(op)] == list(scan_names(op))
    assert "chunked: runs here" in selective and selective.count("of any order") == 2
    for row in TABLE:
        assert row.h0 in text and row.off_grid in text
        assert any(f"at most {row.max_state}" in line for line in lines(row)) is (row.max_state is not None)
    assert "TF32" in ssd and "TF32" not in selective


def test_what_does_not_run_here_says_why(monkeypatch):
    row = capability("selective_scan", "mamba_ssm")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert availability(row) == "not here: mamba_ssm is not installed"
    assert availability(capability("selective_scan", "chunked")).startswith("runs here, on ")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert availability(row) == "not here: it runs on cuda"


@pytest.mark.parametrize("row", [r for r in TABLE if "any" in r.devices], ids=lambda r: f"{r.op}-{r.scan}")
def test_the_table_tells_the_truth(row):
    """Every row that runs here does accept its dtypes, an initial state and any length, and has all gradients as often as it
    says."""
    make, judge, _ = CASES[row.op]
    scan = partial(selective_scan if row.op == "selective_scan" else ssd_scan, scan=row.scan)
    for dtype, length in itertools.product(row.dtypes, (1, 3)):
        result = run(scan, make(length, 2, dtype=dtype))
        assert result["out"].dtype == dtype
        assert_close(
            result, run(judge, {k: v.double() for k, v in make(length, 2, dtype=dtype).items()}), 40 * torch.finfo(dtype).eps
        )
    values = make(3, 2)
    (first,) = torch.autograd.grad(scan(**values, dt_softplus=True).square().sum(), values["B"], create_graph=True)
    if row.twice:
        (second,) = torch.autograd.grad(first.sum(), values["A"])
        assert torch.isfinite(second).all() and second.any()
    else:
        with pytest.raises(RuntimeError, match="once_differentiable"):
            first.sum().backward()


@pytest.mark.parametrize(("op", "scan"), [("selective_scan", selective_scan), ("ssd", ssd_scan)])
def test_refusals(op, scan):
    values = CASES[op][0](3, 2)
    with pytest.raises(UnknownName, match=r"unknown .* scan 'chunkt': did you mean 'chunked'"):
        scan(**values, scan="chunkt")
    if op == "ssd":
        with pytest.raises(UnsupportedScan, match=r"'fused' exists for Mamba-1 only; for Mamba-2 use oracle, .* or mamba_ssm"):
            scan(**values, scan="fused")
    with pytest.raises(UnsupportedScan, match="runs on cuda, the input is on cpu; use scan='chunked'"):
        scan(**values, scan="mamba_ssm")
    narrowed = capability(op, "mamba_ssm")
    assert torch.float64 not in narrowed.dtypes and narrowed.max_state == 256 and narrowed.package == "mamba_ssm"
    assert issubclass(UnsupportedScan, EmpiricsError)


@pytest.mark.parametrize("op", ["selective_scan", "ssd"])
def test_a_missing_package_is_named(op, monkeypatch):
    from empirics.kernels.selective_scan import mamba_ssm as stock_selective

    monkeypatch.setitem(sys.modules, "mamba_ssm", None)
    function = stock_selective.selective_scan if op == "selective_scan" else stock_ssd.ssd_scan
    with pytest.raises(MissingPackage, match=r"mamba_ssm is not importable.*pip install 'ssmproof\[cuda\]'"):
        function(**CASES[op][0](3, 2))


def test_mamba_ssms_chunk_is_no_longer_than_the_sequence_needs(monkeypatch):
    taken = {}

    def stock(x, dt, A, B, C, chunk, **rest):
        taken[x.shape[1]] = chunk
        return x

    monkeypatch.setattr(stock_ssd, "stock_scan", lambda: stock)
    for length in (1, 32, 33, 64, 100, 128, 129, 256, 257, 600):
        stock_ssd.scan(
            SSDInputs(**dict.fromkeys(("D", "z", "dt_bias", "h0")), **make_ssd(length, 4, everything=False), dt_softplus=False)
        )
    assert taken == {1: 32, 32: 32, 33: 64, 64: 64, 100: 128, 128: 128, 129: 256, 256: 256, 257: 256, 600: 256}


@pytest.mark.parametrize(
    ("blocks", "taken"), [((64,), (stock_ssd.PASSED_AT_ONCE,)), ((64, 128), (64, 128)), ((), ())], ids=["one", "tried", "none"]
)
def test_mamba_ssms_single_configuration_passes_large_blocks(blocks, taken, monkeypatch):
    kernels = {
        f"_state_passing_{name}_kernel": SimpleNamespace(
            configs=[SimpleNamespace(kwargs={"BLOCK_SIZE": block}) for block in blocks]
        )
        for name in ("fwd", "bwd")
    }
    passing = SimpleNamespace(**kernels)
    for name in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.triton"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys.modules["mamba_ssm.ops.triton"], "ssd_state_passing", passing, raising=False)
    monkeypatch.setitem(sys.modules, "mamba_ssm.ops.triton.ssd_combined", SimpleNamespace(mamba_chunk_scan_combined=min))
    monkeypatch.setattr(stock_ssd, "_pass_large_blocks", stock_ssd._pass_large_blocks.__wrapped__)  # once a process
    assert stock_ssd.stock_scan() is min
    for kernel in kernels.values():
        assert tuple(config.kwargs["BLOCK_SIZE"] for config in kernel.configs) == taken


def test_a_later_mamba_ssm_may_name_its_kernels_otherwise(monkeypatch):
    for name in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.triton"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "mamba_ssm.ops.triton.ssd_combined", SimpleNamespace(mamba_chunk_scan_combined=min))
    monkeypatch.setattr(stock_ssd, "_pass_large_blocks", stock_ssd._pass_large_blocks.__wrapped__)  # once a process
    assert stock_ssd.stock_scan() is min  # no module of that name
    monkeypatch.setattr(sys.modules["mamba_ssm.ops.triton"], "ssd_state_passing", SimpleNamespace(), raising=False)
    assert stock_ssd.stock_scan() is min  # no kernels of those names


def test_public_face():
    assert empirics.selective_scan is selective_scan and empirics.ssd_scan is ssd_scan
    assert {"selective_scan", "ssd_scan"} <= set(dir(empirics))
    with pytest.raises(AttributeError, match="no attribute 'selective_scn'"):
        _ = empirics.selective_scn


# --- on a GPU ---


@pytest.mark.gpu
@pytest.mark.parametrize("length", [1, 5, 128, 300])
def test_stock_selective_scan(length):
    pytest.importorskip("mamba_ssm")
    exact = make_selective(length, 16, width=8)
    cuda = {k: v.detach().float().cuda().requires_grad_() for k, v in exact.items()}
    got = {k: v.cpu() for k, v in run(partial(selective_scan, scan="mamba_ssm"), cuda).items()}
    assert_close(got, run(oracle.selective_scan, exact), 2e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("length", [1, 5, 33, 100, 256, 300])
def test_stock_ssd(length):
    pytest.importorskip("mamba_ssm")
    exact = make_ssd(length, 16, headdim=16)
    cuda = {k: v.detach().float().cuda().requires_grad_() for k, v in exact.items()}
    got = {k: v.cpu() for k, v in run(partial(ssd_scan, scan="mamba_ssm"), cuda).items()}
    assert_close(got, run(oracle.ssd, exact), 1e-2)  # its float32 products are TF32


@pytest.mark.gpu
def test_stock_scans_refuse_on_a_gpu():
    values = {k: v.detach().cuda() for k, v in make_selective(3, 2).items()}
    with pytest.raises(UnsupportedScan, match=r"the input has torch.float64"):
        selective_scan(**values, scan="mamba_ssm")
    wide = {k: v.detach().float().cuda() for k, v in make_selective(3, 257).items()}
    with pytest.raises(UnsupportedScan, match="at most N = 256 states, got 257"):
        selective_scan(**wide, scan="mamba_ssm")
