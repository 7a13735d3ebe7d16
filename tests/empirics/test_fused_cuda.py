"""The fused scan's CUDA C++ kernels against the float64 oracle, their very source run on the CPU by an emulator of warps."""

from __future__ import annotations

import ctypes
import gc
import itertools
import os
import re
import weakref
from functools import partial

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

import emulator  # noqa: E402
from test_fused import (  # noqa: E402
    as_trained,
    assert_close,
    assert_wide_gradients,
    errors,
    judged,
    make,
    run,
    same_bits,
    through_the_gate,
)

from empirics.errors import InvalidInput, MissingPackage  # noqa: E402
from empirics.kernels import nvrtc  # noqa: E402
from empirics.kernels.dispatch import selective_scan  # noqa: E402
from empirics.kernels.selective_scan.fused import cuda as fused_cuda  # noqa: E402
from empirics.kernels.selective_scan.fused import scan as fused  # noqa: E402
from empirics.kernels.selective_scan.fused import triton_route  # noqa: E402
from empirics.models.recompute import recomputed  # noqa: E402

pytestmark = [
    pytest.mark.skipif(not emulator.available(), reason="needs g++ to run CUDA C++ on a CPU"),
    pytest.mark.usefixtures("emulated"),
]


def cpu(*args, **options):
    return make(*args, **options, device="cpu")


def channels_last(values, names=("u", "dt", "z", "B", "C")):
    """The same numbers, channels (states) innermost."""

    def turned(v):
        return v.detach().transpose(-1, -2).contiguous().transpose(-1, -2).requires_grad_(v.requires_grad)

    return {k: turned(v) if k in names else v for k, v in values.items()}


@pytest.mark.parametrize(("length", "segment"), [(1, None), (7, None), (70, None), (200, 64)])
@pytest.mark.parametrize("by_channel", [False, True])
def test_lengths_and_layouts(length, segment, by_channel, emulated):
    values = cpu(length, 16, width=40)
    values = channels_last(values) if by_channel else values
    got = run(fused.selective_scan, values, segment=segment)
    assert_close(got, judged(values))
    names = {k.name for k in emulated.launched}
    assert {"scan_forward", "scan_backward", "scan_finish"} == names - {"scan_adjoint"}
    assert ("scan_adjoint" in names) == (segment is not None)
    assert {dict(k.options)["ROWS"] for k in emulated.launched if k.name == "scan_forward"} == {int(by_channel and length > 1)}
    if by_channel and length > 1:
        assert all(fused_cuda.by_channel(v) for v in (got["out"], got["d_u"], got["d_dt"], got["d_z"]))


@pytest.mark.parametrize("states", [1, 3, 4, 7, 8, 13, 16])
def test_every_number_of_states(states, emulated):
    values = cpu(67, states, batch=1, width=33)
    assert_close(run(fused.selective_scan, values, segment=64), judged(values))
    assert emulated.launched
    emulated.launched.clear()
    wide = cpu(3, 17, batch=1)  # beyond them, Triton's kernels serve
    assert not fused_cuda.usable(17, wide["u"])


@pytest.mark.parametrize("width", [1, 8, 31, 32, 65])
def test_every_width(width):
    values = cpu(9, 4, batch=1, width=width, seed=1)
    assert_close(run(fused.selective_scan, values), judged(values))
    values = channels_last(values)
    assert_close(run(fused.selective_scan, values), judged(values))


OPTIONAL = ("D", "z", "dt_bias", "h0")


@pytest.mark.parametrize(("left_out", "softplus"), [*(((name,), True) for name in OPTIONAL), (OPTIONAL, True), (OPTIONAL, False)])
def test_without_optional_arguments(left_out, softplus):
    values = cpu(70, 3, without=left_out)
    if not softplus:
        values["dt"] = values["dt"].detach().abs().requires_grad_()
    assert_close(run(fused.selective_scan, values, softplus, segment=64), judged(values, softplus=softplus))


@pytest.mark.parametrize("wanted", ["out", "last"])
@pytest.mark.parametrize("segment", [None, 64])
def test_gradient_of_one_result_only(wanted, segment):
    values = cpu(70, 3)
    assert_close(run(fused.selective_scan, values, wanted=(wanted,), segment=segment), judged(values, wanted=(wanted,)))
    both, one = judged(values), judged(values, wanted=(wanted,))
    assert max(errors({"d_u": both["d_u"]}, {"d_u": one["d_u"]}).values()) > 1e-2


NAMES = ("u", "dt", "A", "B", "C", "D", "z", "dt_bias", "h0")


@pytest.mark.parametrize(
    "trained", [("A",), ("B",), ("C",), ("D",), ("z",), ("dt_bias",), ("h0",), ("u", "h0"), ("u", "dt", "B", "C", "z")]
)
def test_frozen_inputs_cost_nothing_and_change_nothing(trained, emulated):
    """The same bits as with every gradient, no work for the others, and no kept states where nothing reads them."""
    everything = run(fused.selective_scan, cpu(70, 5))
    emulated.launched.clear()
    values = {k: v.detach().requires_grad_(k in trained) for k, v in cpu(70, 5).items()}
    some = run(fused.selective_scan, values)
    assert set(some) == {"out", "last", *(f"d_{k}" for k in trained)}
    assert_close(some, {k: everything[k].double() for k in some}, 2e-6)  # the compiler contracts other sums
    (options,) = [dict(k.options) for k in emulated.launched if k.name == "scan_backward"]
    flags = {"dt_bias": "NEED_BIAS"}
    assert {k for k in NAMES if options[flags.get(k, f"NEED_{k.upper()}")]} == set(trained)
    (forward,) = [dict(k.options) for k in emulated.launched if k.name == "scan_forward"]
    assert forward["KEEP_STATES"] == int(bool({"dt", "A", "C", "z", "dt_bias"} & set(trained)))


def test_layouts_of_single_arguments():
    """Any argument in another layout than the rest, spaced or expanded: the values decide, not where they lie."""
    values = cpu(21, 6, width=9)
    expected = run(fused.selective_scan, values)
    exact = {k: v.double() for k, v in expected.items()}
    for name in ("u", "dt", "z", "B", "C", "A", "h0"):
        leaf = values[name].detach()
        spaced = torch.stack([leaf, torch.full_like(leaf, float("nan"))], dim=1).flatten(0, 1)[::2].requires_grad_()
        shifted = torch.cat([leaf.flatten(), leaf.new_zeros(3)]).roll(3)[3:].view_as(leaf).requires_grad_()  # unaligned
        for other in (channels_last(values, (name,))[name], spaced, shifted):
            assert_close(run(fused.selective_scan, {**values, name: other}), exact, 2e-6)
    wide = torch.randn(2, 21, 40)
    part = wide[:, :, 4 : 4 + 6].transpose(1, 2)  # as a slice of x_proj's output
    assert_close(
        run(fused.selective_scan, {**values, "B": part.requires_grad_()}),
        {
            k: v.double()
            for k, v in run(fused.selective_scan, {**values, "B": part.detach().contiguous().requires_grad_()}).items()
        },
        2e-6,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("by_channel", [False, True])
def test_no_more_rounding_than_the_plain_loop(dtype, by_channel):
    values = cpu(72, 16, batch=1, width=32, dtype=dtype)
    values = channels_last(values) if by_channel else values
    got, _ = through_the_gate(values)
    assert got["out"].dtype == dtype and all(got[f"d_{k}"].dtype == dtype for k in values)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_parameters_beside_narrow_activations(dtype):
    assert_wide_gradients(*through_the_gate(as_trained(cpu(72, 16, batch=1, width=32, dtype=dtype))))


def test_mixed_dtypes():
    values = cpu(20, 5)
    for name, dtype in zip(NAMES, itertools.cycle((torch.float32, torch.bfloat16, torch.float16)), strict=False):
        values[name] = values[name].detach().to(dtype).requires_grad_()
    got = run(fused.selective_scan, values)
    assert {k: got[f"d_{k}"].dtype for k in NAMES} == {k: values[k].dtype for k in NAMES}
    assert_close(got, judged(values), 5e-3)


@pytest.mark.parametrize(("decay", "tolerance"), [(0.0, 3e-6), (-1e-8, 3e-6), (-30.0, 3e-6), (-1e3, 2e-5), (0.25, 3e-6)])
def test_extreme_decays(decay, tolerance):
    """At -1000, rounding dt to float32 alone changes exp(dt A) by dt |A| 6e-8, where dt |A| is some dozens."""
    values = cpu(70, 3, batch=1)
    values["A"] = torch.full_like(values["A"], decay).requires_grad_()
    assert_close(run(fused.selective_scan, values, segment=64), judged(values), tolerance)


def test_softplus_far_out():
    values = cpu(16, 2, batch=1, width=1, without=("dt_bias", "h0", "D", "z"))
    values["dt"] = torch.linspace(-60, 80, 16)[None, None].requires_grad_()
    values["A"] = torch.zeros_like(values["A"]).requires_grad_()
    for steps in (slice(0, 6), slice(6, 16)):
        part = {k: v.detach()[..., steps].requires_grad_() if v.ndim == 3 else v for k, v in values.items()}
        assert_close(run(fused.selective_scan, part), judged(part))


def test_nan_stays_in_its_sequence():
    values = cpu(6, 3)
    with torch.no_grad():
        values["B"][0] = float("nan")
    out = fused.selective_scan(**values, dt_softplus=True)
    assert out[0].isnan().all() and not out[1].isnan().any()


def test_the_same_bits_in_any_order_of_threads(emulated):
    """What a barrier is missing for would differ."""
    values = cpu(130, 16, batch=1)
    first = run(fused.selective_scan, values, segment=64)
    for order in (1, 2, 3):
        emulated.order = order
        assert same_bits(run(fused.selective_scan, values, segment=64), first)
    assert not same_bits(run(fused.selective_scan, cpu(130, 16, batch=1, seed=1), segment=64), first)


def test_a_missing_barrier_shows(emulated, monkeypatch):
    """The twin of the above: without the barriers of blocks, the emulator gives other numbers."""
    source = fused_cuda._source()
    monkeypatch.setattr(fused_cuda, "_source", lambda: source.replace("__syncthreads();", ";"))
    values = cpu(130, 16, batch=1)
    broken = run(fused.selective_scan, values)
    assert not all(e < 1e-3 for e in errors(broken, judged(values)).values())


def test_custom_operators_agree_with_their_fakes():
    values = cpu(21, 6)
    for given in (values, channels_last(values)):
        arguments = (*(given[k] for k in NAMES), True, True, None)
        torch.library.opcheck(fused.scan_forward, arguments, test_utils=("test_schema", "test_faketensor"))
        kept = fused.scan_forward(*arguments)[2]
        backward = (given["z"].detach(), None, *(given[k] for k in NAMES), kept, True, [True] * 9, None)
        torch.library.opcheck(fused.scan_backward, backward, test_utils=("test_schema", "test_faketensor"))


def test_recomputing_repeats_no_scan(tiny, emulated):
    """Checkpointing keeps what the scan returns: one forward pass of each scan, the same gradients, also of a second pass."""
    model = tiny("Mamba1", torch.float32, d_state=16)
    model.set_scan("fused")
    ids = torch.randint(0, 19, (2, 9), generator=torch.Generator().manual_seed(0))
    found = []
    for recompute in (False, "light", True):
        model.set_recompute(recompute)
        model.zero_grad()
        emulated.launched.clear()
        loss = model(ids).square().mean()
        loss.backward(retain_graph=True)
        found.append([p.grad.clone() for p in model.parameters()])
        model.zero_grad()
        loss.backward()
        found.append([p.grad.clone() for p in model.parameters()])
        assert [k.name for k in emulated.launched].count("scan_forward") == 2  # blocks
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_kept_results_are_let_go(emulated, monkeypatch):
    values = cpu(9, 16, batch=1, width=5)
    kept, right = [], fused_cuda.Forward.__call__

    def noted(self, *arguments):
        results = right(self, *arguments)
        kept.append(weakref.ref(results[2].untyped_storage()))
        return results

    monkeypatch.setattr(fused_cuda.Forward, "__call__", noted)
    out = recomputed(lambda u: fused.selective_scan(**{**values, "u": u}, dt_softplus=True).sin(), values["u"], False)
    out.sum().backward()
    del out
    gc.collect()
    assert len(kept) == 1 and kept[0]() is None


def test_addresses_that_16_bytes_may_not_be_read_from(emulated, monkeypatch):
    """Views into flat buffers: the kernels get copies."""
    values = cpu(9, 16, batch=1, width=5)
    seen, right = [], emulated.prepare

    def noted(kernel, size):
        launch = right(kernel, size)

        def noting(arguments):
            seen.append((arguments.A, arguments.start, arguments.end))
            launch(arguments)

        return noting

    monkeypatch.setattr(emulated, "prepare", noted)
    expected = run(fused.selective_scan, values)
    launches = len(seen)
    shifted = dict(values)
    for name in ("A", "h0"):
        flat = torch.cat([torch.zeros(1), values[name].detach().flatten()])
        shifted[name] = flat[1:].view_as(values[name]).requires_grad_()
        assert shifted[name].data_ptr() % 16 == 4 and shifted[name].is_contiguous()
    assert same_bits(run(fused.selective_scan, shifted), expected)
    assert len(seen) == 2 * launches > 0 and all((address or 0) % 16 == 0 for call in seen for address in call)


def test_calls_that_look_alike_are_worked_out_once(emulated):
    """The second call of a kind through the table's front door asks for no kernel, and gives the same bits; another kind does."""
    asked, right = [], emulated.prepare
    emulated.prepare = lambda kernel, size: asked.append(kernel.name) or right(kernel, size)
    values = cpu(70, 16, batch=1, width=5)

    def scan(**given):
        return selective_scan(**given, dt_softplus=True, return_last_state=True, scan="fused")

    def both(given):
        out, last = scan(**given)
        leaves = {k: v for k, v in given.items() if v is not None}
        return {"out": out, "last": last} | dict(
            zip(leaves, torch.autograd.grad([out.sum() + 0.5 * last.sin().sum()], list(leaves.values())), strict=True)
        )

    first = both(values)
    assert asked
    asked.clear()
    assert same_bits(both(values), first) and not asked
    assert same_bits(both({k: v.detach().clone().requires_grad_() for k, v in values.items()}), first) and not asked
    with torch.no_grad():  # states are not kept then, which is another kernel
        assert torch.equal(scan(**values)[0], first["out"]) and asked == ["scan_forward"]
    for name in ("D", "z", "dt_bias", "h0"):
        asked.clear()
        got = both({**values, name: None})
        assert asked and not torch.equal(got["out"], first["out"]), name
    asked.clear()
    got = both({**values, "A": values["A"].detach().bfloat16().requires_grad_()})
    assert got["A"].dtype == torch.bfloat16 and not torch.equal(got["out"], first["out"])


def test_wrong_arguments_after_a_right_call(emulated):
    values = cpu(9, 16, batch=1, width=5)
    selective_scan(**values, dt_softplus=True, scan="fused")
    for name, wrong, message in (
        ("dt", values["dt"][:, :, :8], "dt has shape"),
        ("D", 1.0, "D is float"),
        ("A", values["A"].detach().to(torch.int32), "A has dtype"),
    ):
        with pytest.raises(InvalidInput, match=message):
            selective_scan(**{**values, name: wrong}, dt_softplus=True, scan="fused")


def test_tensors_that_hooks_have_moved(emulated):
    """Saved tensors that come back in another layout, or at another address, give the same gradients."""
    values = channels_last(cpu(70, 16, batch=2, width=8))

    def gradients():
        out = selective_scan(**values, dt_softplus=True, scan="fused")
        return torch.autograd.grad(out.square().sum(), list(values.values()))

    def shifted(value):
        flat = torch.cat([torch.zeros(1, dtype=value.dtype), value.flatten()])
        return flat[1:].view(value.shape)

    expected = gradients()
    for moved in (torch.Tensor.contiguous, shifted):
        with torch.autograd.graph.saved_tensors_hooks(lambda value: value, moved):
            got = gradients()
        assert all(float((a - b).abs().max()) <= 3e-6 * float(b.abs().max()) for a, b in zip(got, expected, strict=True))


def test_gradients_of_gradients_are_refused(emulated):
    values = cpu(9, 16, batch=1, width=5)
    out = selective_scan(**values, dt_softplus=True, scan="fused")
    (du,) = torch.autograd.grad(out.square().sum(), [values["u"]], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        du.sum().backward()


def test_tensors_that_stand_for_others_take_the_operator():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode() as mode:
        values = {k: mode.from_tensor(v.detach()) for k, v in cpu(9, 16).items()}
        out, last = fused.selective_scan(**values, dt_softplus=True, return_last_state=True)
    assert tuple(out.shape) == (2, 3, 9) and tuple(last.shape) == (2, 3, 16)


def test_double_precision_beside_single_goes_to_tritons_kernels(emulated):
    values = cpu(5, 3)
    values["dt"] = values["dt"].detach().double().requires_grad_()
    got = run(fused.selective_scan, values)
    assert got["d_dt"].dtype == torch.float64 and not emulated.launched
    assert_close(got, judged(values))


@pytest.mark.parametrize("batch", [0, 2])
def test_no_sequence_has_no_gradient(batch):
    values = cpu(5, 3, batch=batch)
    got = run(fused.selective_scan, values)
    assert got["out"].shape == (batch, 3, 5) and all(v.isfinite().all() for v in got.values())
    assert got["d_A"].any() == (batch > 0)


def test_a_segment_longer_than_any_sequence():
    values = cpu(70, 3, batch=1)
    assert same_bits(run(fused.selective_scan, values, segment=2**40), run(fused.selective_scan, values))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_state_that_forgets_at_once(dtype):
    """A = -inf: no NaN from steps of size 0 that fill the last tile."""
    values = cpu(7, 3, batch=1, dtype=dtype)
    values["A"] = torch.full_like(values["A"], -float("inf")).detach()
    out, last = fused.selective_scan(**values, dt_softplus=True, return_last_state=True, segment=64)
    from empirics import oracle

    exact = oracle.selective_scan(**{k: v.detach().double() for k, v in values.items()}, dt_softplus=True)
    assert last.isfinite().all()
    assert float((out.detach().double() - exact).abs().max() / exact.abs().max()) < (1e-5 if dtype == torch.float32 else 1e-2)


def test_segment_length():
    for total, blocks, backward in itertools.product((1, 31, 300, 2064, 65536), (1, 48, 700, 100000), (False, True)):
        steps = fused_cuda.segment_length(total, blocks, 132, backward)
        segments = -(-total // steps)
        assert steps % fused_cuda.KEEP_EVERY == 0
        assert segments == 1 or (steps >= 128 and blocks * segments <= 4 * 132)
        assert backward or segments != 2
    assert fused_cuda.segment_length(2048, 8 * 48, 132, False) == 2048


def test_bytes_of_shared_memory_and_layout_of_the_arguments():
    """What Python computes is what the source says."""
    source = fused_cuda._source()
    defined = {name: int(value) for name, value in re.findall(r"#define (CHANNELS|KEEP|PAD) (\d+)", source)}
    assert defined == {"CHANNELS": fused_cuda.CHANNELS, "KEEP": fused_cuda.KEEP_EVERY, "PAD": fused_cuda.PAD}
    assert triton_route.KEEP_EVERY == fused_cuda.KEEP_EVERY
    formula = re.search(r"#define BACKWARD_SHARED \((.*)\)$", source, re.MULTILINE)[1]
    for p in (1, 2, 4):
        shared = fused_cuda.shared_bytes(p)
        assert shared == eval(formula.replace("/", "//"), {**defined, "P": p, "ROW": fused_cuda.KEEP_EVERY + fused_cuda.PAD})
        fitting = 228 * 1024 // (shared + 1024)  # of an H100's multiprocessor, which takes 1 KiB for each block itself
        assert fused_cuda.BLOCKS[p] <= fitting
    body = re.search(r"struct Args \{(.*?)\};", source, re.DOTALL)[1]
    lines = [re.sub(r"//.*", "", line).strip() for line in body.splitlines() if not line.startswith("#")]
    fields = [
        name.strip(" *")
        for line in " ".join(lines).split(";")
        for name in re.sub(r"^ *(const void|void|i64|int|const struct Item) ", "", line).split(",")
    ]
    assert [f for f in fields if f] == [name for name, _ in fused_cuda.Args._fields_]
    assert ctypes.sizeof(fused_cuda.Args) % 8 == 0


def test_choice_of_kernels(monkeypatch):
    u = torch.zeros(1, 1, 1)
    assert fused_cuda.usable(16, u, None) and not fused_cuda.usable(17, u) and not fused_cuda.usable(16, u, u.double())
    monkeypatch.setenv("SSMPROOF_FUSED", "triton")
    assert not fused_cuda.usable(16, u)
    monkeypatch.delenv("SSMPROOF_FUSED")
    monkeypatch.setattr(fused_cuda, "emulator", None)
    assert not fused_cuda.usable(16, u)


def test_bad_arguments_are_refused():
    values = cpu(5, 3)
    with pytest.raises(InvalidInput, match="segment = 0"):
        fused.selective_scan(**values, segment=0)


@pytest.mark.skipif(torch.version.cuda is not None, reason="this PyTorch has CUDA")
def test_no_nvrtc_here():
    assert not nvrtc.available()
    with pytest.raises(MissingPackage, match="libnvrtc"):
        nvrtc.compile_kernel(nvrtc.Kernel("", "none", ()), "sm_90")


# --- on a GPU ---


@pytest.mark.gpu
class TestOnAGpu:
    @pytest.fixture(autouse=True)
    def compiled(self, emulated, monkeypatch, tmp_path):
        monkeypatch.setattr(fused_cuda, "emulator", None)
        torch.use_deterministic_algorithms(False)
        assert nvrtc.available(), "NVRTC comes with PyTorch's CUDA builds"

    @pytest.mark.parametrize("length", [1, 63, 300, 528, 2064])
    @pytest.mark.parametrize("states", [1, 8, 13, 16])
    @pytest.mark.parametrize("by_channel", [False, True])
    def test_values_and_gradients(self, length, states, by_channel):
        values = make(length, states, batch=2, width=72, device="cuda")
        values = channels_last(values) if by_channel else values
        assert_close(run(fused.selective_scan, values), judged(values), 1e-5)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    def test_rounding(self, dtype):
        through_the_gate(make(257, 16, batch=2, width=64, dtype=dtype, device="cuda"))

    @pytest.mark.parametrize("length", [257, 2048])
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_float32_parameters_beside_narrow_activations(self, dtype, length):
        through_the_gate(as_trained(make(length, 16, batch=2, width=64, dtype=dtype, device="cuda")))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_no_decay_is_exact(self, dtype):
        """What is added to the hardware's exponential leaves exp(0) = 1."""
        values = as_trained(make(2048, 16, batch=1, width=64, dtype=dtype, device="cuda"))
        values["A"] = torch.zeros_like(values["A"]).requires_grad_()
        values["B"] = torch.zeros_like(values["B"]).requires_grad_()
        _, last = fused.selective_scan(**values, dt_softplus=True, return_last_state=True)
        assert torch.equal(last, values["h0"])

    def test_the_same_bits_again_and_cut(self):
        values = make(3000, 16, batch=1, width=96, device="cuda")
        first = run(fused.selective_scan, values)
        assert all(same_bits(run(fused.selective_scan, values), first) for _ in range(3))
        assert_close(run(fused.selective_scan, values, segment=512), {k: v.double() for k, v in first.items()}, 1e-5)

    @pytest.mark.parametrize("length", [300, 3000])
    @pytest.mark.parametrize("by_channel", [False, True])
    def test_calls_that_look_alike(self, length, by_channel):
        """The first call, the second, which finds what the first worked out, and one on a stream of its own."""
        values = as_trained(make(length, 16, batch=1, width=96, dtype=torch.bfloat16, device="cuda"))
        values = channels_last(values) if by_channel else values
        scan = partial(selective_scan, scan="fused")
        first = run(scan, values)
        assert same_bits(run(fused.selective_scan, values), first) and same_bits(run(scan, values), first)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            other = run(scan, values)
        torch.cuda.current_stream().wait_stream(side)
        assert same_bits(other, first)
        turned = {k: v.detach().flip(0).requires_grad_() if k == "A" else v for k, v in values.items()}
        assert not same_bits(run(scan, turned), first)

    def test_as_tritons_kernels(self, monkeypatch):
        values = make(300, 16, batch=2, width=72, device="cuda")
        ours = run(fused.selective_scan, values)
        monkeypatch.setenv("SSMPROOF_FUSED", "triton")
        assert_close(run(fused.selective_scan, values), {k: v.double() for k, v in ours.items()}, 1e-5)

    def test_machine_code_is_kept(self, monkeypatch, tmp_path):
        monkeypatch.setenv("SSMPROOF_CACHE", str(tmp_path / "cache"))
        kernel = nvrtc.Kernel('extern "C" __global__ void k(float* x) { *x = VALUE; }', "k", (("VALUE", 3),))
        major, minor = torch.cuda.get_device_capability()
        code = nvrtc.compile_kernel(kernel, f"sm_{major}{minor}")
        (file,) = os.listdir(tmp_path / "cache")
        assert (tmp_path / "cache" / file).read_bytes() == code == nvrtc.compile_kernel(kernel, f"sm_{major}{minor}")
        with pytest.raises(nvrtc.CompileError, match="VALUE"):
            nvrtc.compile_kernel(nvrtc.Kernel(kernel.source, "k", ()), f"sm_{major}{minor}")
