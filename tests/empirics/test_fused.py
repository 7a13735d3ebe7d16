"""The fused selective scan against the float64 oracle: in Triton's interpreter without a GPU, at larger sizes on one."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from functools import partial

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

import empirics  # noqa: E402
from empirics import oracle  # noqa: E402
from empirics.errors import InvalidInput, MissingPackage, UnsupportedScan  # noqa: E402
from empirics.kernels import compat  # noqa: E402
from empirics.kernels.interpreter import interpreting, require_triton, round_to_bfloat16  # noqa: E402
from empirics.kernels.selective_scan import naive  # noqa: E402
from empirics.kernels.selective_scan.fused import scan as fused  # noqa: E402
from empirics.kernels.selective_scan.fused import triton_route  # noqa: E402
from empirics.kernels.table import capability, runs_on  # noqa: E402

torch.set_num_threads(1)
CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
NAMES = ("u", "dt", "A", "B", "C", "D", "z", "dt_bias", "h0")
# Without either, there is nothing to run the kernels on.
pytestmark = pytest.mark.skipif(not (CUDA or interpreting()), reason="needs a CUDA device or TRITON_INTERPRET=1")


def make(length, states, batch=2, width=3, seed=0, dtype=torch.float32, without=(), device=DEVICE):
    """Arguments by name, float64 drawn and rounded to ``dtype``; decays from nearly one to nearly nothing."""
    g = torch.Generator().manual_seed(seed)
    randn = partial(torch.randn, generator=g, dtype=torch.float64)
    values = {
        "u": randn(batch, width, length),
        "dt": randn(batch, width, length),
        "A": -torch.exp(2 * randn(width, states)),
        "B": randn(batch, states, length),
        "C": randn(batch, states, length),
        "D": randn(width),
        "z": randn(batch, width, length),
        "dt_bias": randn(width),
        "h0": randn(batch, width, states),
    }
    return {k: v.to(device, dtype).requires_grad_() for k, v in values.items() if k not in without}


def run(scan, values, softplus=True, wanted=("out", "last"), above=None, **options):
    """Output, last state and the gradients of a fixed random functional of those that are wanted.

    ``above``: types of the gradients that come from above, which are rounded to them; left out, those of the results.
    """
    results = dict(zip(("out", "last"), scan(**values, dt_softplus=softplus, return_last_state=True, **options), strict=True))
    g = torch.Generator().manual_seed(99)
    above = above or {k: v.dtype for k, v in results.items()}
    weights = {k: torch.randn(v.shape, generator=g, dtype=torch.float64).to(above[k]).to(v) for k, v in results.items()}
    leaves = {k: v for k, v in values.items() if v.requires_grad}
    scalar = sum((results[k] * weights[k]).sum() for k in wanted)
    gradients = torch.autograd.grad(scalar, list(leaves.values()), allow_unused=True)
    return results | {
        f"d_{k}": torch.zeros_like(v) if d is None else d for (k, v), d in zip(leaves.items(), gradients, strict=True)
    }


def judged(values, **options):
    """The oracle's results in float64 for the same numbers, the gradients from above included."""
    last = torch.float64 if any(v.dtype == torch.float64 for v in values.values()) else torch.float32
    exact = {k: v.detach().double().requires_grad_(v.requires_grad) for k, v in values.items()}
    return run(oracle.selective_scan, exact, above={"out": values["u"].dtype, "last": last}, **options)


WIDE = ("A", "D", "dt_bias", "h0")


def as_trained(values):
    """Parameters and states in float32, as a Mamba keeps them beside narrow activations."""
    return {k: v.detach().float().requires_grad_(v.requires_grad) if k in WIDE else v for k, v in values.items()}


def errors(got, exact):
    """Relative to each result's largest entry."""
    assert got.keys() == exact.keys()
    return {
        k: float((got[k].detach().double() - v.detach()).abs().max() / v.detach().abs().max().clamp_min(1e-30))
        for k, v in exact.items()
    }


def assert_close(got, exact, tolerance=3e-6):
    """3e-6: rounding of float32, 6e-8, through sums of some dozens of terms that partly cancel; a wrong term shows at 1e-3."""
    for name, error in errors(got, exact).items():
        assert error <= tolerance, f"{name}: relative error {error:.1e}"


def same_bits(a, b):
    return all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture
def small(monkeypatch):
    """Small programs and frequent states, so that short sequences meet every border. Fused scan by ``segment``."""

    def shrink(channels=2, steps=2, every=4, warps=1):
        monkeypatch.setattr(triton_route, "choose_blocks", lambda states, backward: triton_route.Blocks(channels, steps, warps))
        monkeypatch.setattr(triton_route, "KEEP_EVERY", every)

    shrink()
    return shrink


# --- values and gradients ---


@pytest.mark.parametrize("length", [1, 2, 4, 5, 9])
@pytest.mark.parametrize("segment", [None, 4])
def test_every_length(small, length, segment):
    values = make(length, 3)
    assert_close(run(fused.selective_scan, values, segment=segment), judged(values))


@pytest.mark.parametrize("states", [1, 2, 7, 16, 33, 64])
def test_every_number_of_states(states):
    """With the blocks that are used on a GPU."""
    values = make(5, states, batch=1)
    assert_close(run(fused.selective_scan, values), judged(values))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("width", [1, 4, 5])
def test_every_width(small, batch, width):
    """Channels that fill their blocks, and that do not. (At seed 0, dD of the one channel is 1/70 of its terms.)"""
    values = make(6, 2, batch, width, seed=1)
    assert_close(run(fused.selective_scan, values, segment=4), judged(values))


OPTIONAL = ("D", "z", "dt_bias", "h0")


@pytest.mark.parametrize(("left_out", "softplus"), [*(((name,), True) for name in OPTIONAL), (OPTIONAL, True), (OPTIONAL, False)])
def test_without_optional_arguments(small, left_out, softplus):
    values = make(6, 3, without=left_out)
    if not softplus:
        values["dt"] = values["dt"].detach().abs().requires_grad_()
    exact = judged(values, softplus=softplus)
    assert_close(run(fused.selective_scan, values, softplus, segment=4), exact)
    everything = judged(make(6, 3) | {"dt": values["dt"]}, softplus=softplus)
    assert max(errors({"out": exact["out"].float()}, {"out": everything["out"]}).values()) > 1e-2  # and it does matter


@pytest.mark.parametrize("wanted", ["out", "last"])
@pytest.mark.parametrize("segment", [None, 4])
def test_gradient_of_one_result_only(small, wanted, segment):
    values = make(9, 3)
    assert_close(run(fused.selective_scan, values, wanted=(wanted,), segment=segment), judged(values, wanted=(wanted,)))
    both, one = judged(values), judged(values, wanted=(wanted,))
    assert max(errors({"d_u": both["d_u"]}, {"d_u": one["d_u"]}).values()) > 1e-2


def test_layouts_other_than_contiguous(small):
    """Time not innermost, every second channel, expanded rows: the values decide, not where they lie."""
    values = make(5, 3, batch=2, width=2)
    contiguous = run(fused.selective_scan, values)
    for name in ("u", "dt", "z", "B", "C", "A", "h0"):
        leaf = values[name].detach()
        twisted = leaf.transpose(0, -1).contiguous().transpose(0, -1).requires_grad_()
        spaced = torch.stack([leaf, torch.full_like(leaf, float("nan"))], dim=1).flatten(0, 1)[::2].requires_grad_()
        for other in (twisted, spaced):
            assert not other.is_contiguous() and torch.equal(other, leaf)
            assert same_bits(run(fused.selective_scan, {**values, name: other}), contiguous), name
    one_row = values["u"].detach()[:, :1].expand(-1, 2, -1)
    assert same_bits(
        run(fused.selective_scan, {**values, "u": one_row}), run(fused.selective_scan, {**values, "u": one_row.clone()})
    )


def test_shared_h0_and_one_group(small):
    values = make(5, 3)
    one = values["h0"].detach()[0].requires_grad_()
    got = run(fused.selective_scan, {**values, "h0": one})
    assert got["d_h0"].shape == one.shape
    assert_close(got, judged({**values, "h0": one}))
    four = {k: values[k].detach()[:, None].requires_grad_() for k in ("B", "C")}
    as_three = run(fused.selective_scan, values)
    as_four = run(fused.selective_scan, values | four)
    assert torch.equal(as_four["out"], as_three["out"]) and torch.equal(as_four["d_B"][:, 0], as_three["d_B"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_no_more_rounding_than_the_plain_loop(dtype):
    """At most twice the naive scan's error, per result, root mean square over all entries; both read the same rounded inputs."""
    got, _ = through_the_gate(make(21, 5, batch=1, width=32, dtype=dtype))
    assert got["out"].dtype == dtype and got["last"].dtype == torch.float32
    assert all(got[f"d_{k}"].dtype == dtype for k in NAMES)


def through_the_gate(*draws):
    """The correctness gate: at most twice the error of the naive scan in the same types, per result, root mean square.

    Over all of the draws: of few numbers, as the 160 of dA here, one draw's ratio is luck by a factor of 1.5, and that luck
    differs between processors. The fused scan's results on the last draw and the oracle's, for more to be asked of them.
    """
    ours, allowed = {}, {}
    for values in draws:
        exact = judged(values)
        got, plain = run(fused.selective_scan, values), run(naive.selective_scan, values)
        for name, value in exact.items():
            for total, results in ((ours, got), (allowed, plain)):
                error = (results[name].detach().double() - value.detach()).norm() / value.detach().norm()
                total[name] = total.get(name, 0.0) + float(error) ** 2
    for name in ours:
        found, plain_loop = (math.sqrt(total[name] / len(draws)) for total in (ours, allowed))
        assert found <= 2 * plain_loop, f"{name}: {found:.1e}, the plain loop {plain_loop:.1e}"
    return got, exact


def assert_wide_gradients(got, exact):
    """Those of parameters in float32 are in float32, with nothing of a narrow type's size in their errors."""
    assert all(got[f"d_{k}"].dtype == torch.float32 and errors(got, exact)[f"d_{k}"] < 1e-5 for k in WIDE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_parameters_beside_narrow_activations(dtype):
    draws = [as_trained(make(21, 5, batch=1, width=32, seed=seed, dtype=dtype)) for seed in range(4)]
    assert_wide_gradients(*through_the_gate(*draws))


def test_the_gate_sees_what_narrow_results_hide(monkeypatch):
    """Decay rates off by 1e-5: bfloat16 rounds that away, gradients in float32 show it."""
    values = as_trained(make(21, 5, batch=1, width=32, dtype=torch.bfloat16))
    monkeypatch.setattr(fused, "selective_scan", lambda A, **rest: naive.selective_scan(A=A * (1 + 1e-5), **rest))
    with pytest.raises(AssertionError, match="the plain loop"):
        through_the_gate(values)
    monkeypatch.setattr(fused, "selective_scan", naive.selective_scan)
    through_the_gate(values)


def test_each_gradient_in_its_own_dtype(small):
    values = make(5, 3)
    for name, dtype in zip(NAMES, itertools.cycle((torch.float32, torch.bfloat16, torch.float16)), strict=False):
        values[name] = values[name].detach().to(dtype).requires_grad_()
    got = run(fused.selective_scan, values)
    assert {k: got[f"d_{k}"].dtype for k in NAMES} == {k: values[k].dtype for k in NAMES}
    assert_close(got, judged(values), 5e-3)  # half an ulp of bfloat16 is 2e-3 ... 4e-3


@pytest.mark.parametrize("decay", [0.0, -1e-8, -1e3, 0.5])
def test_extreme_decays(small, decay):
    """No decay, underflow to zero and growth: nothing is divided by a decay, across segments either."""
    values = make(9, 3)
    values["A"] = torch.full_like(values["A"], decay).requires_grad_()
    assert_close(run(fused.selective_scan, values, segment=4), judged(values))


def test_softplus_far_out():
    """dt from e^-60 to 80: relative accuracy where softplus is an exponential, and its linear part."""
    values = make(16, 2, batch=1, width=1, without=("dt_bias", "h0", "D", "z"))
    values["dt"] = torch.linspace(-60, 80, 16, device=DEVICE)[None, None].requires_grad_()
    values["A"] = torch.zeros_like(values["A"]).requires_grad_()
    for steps in (slice(0, 6), slice(6, 16)):  # by themselves: relative to the small ones
        part = {k: v.detach()[..., steps].requires_grad_() if v.ndim == 3 else v for k, v in values.items()}
        assert_close(run(fused.selective_scan, part), judged(part))


def test_nan_stays_in_its_sequence(small):
    values = make(6, 3)
    with torch.no_grad():
        values["B"][0] = float("nan")
    out = fused.selective_scan(**values, dt_softplus=True)
    assert out[0].isnan().all() and not out[1].isnan().any()


# --- cutting time ---


def test_cut_anywhere(small):
    """Two calls joined by the state: values and every gradient of the whole."""
    values = make(9, 3)
    exact = judged(values)

    def in_two(cut, u, dt, B, C, z, h0, **others):
        pieces, h = [], h0
        for part in (slice(None, cut), slice(cut, None)):
            timed = {"u": u, "dt": dt, "B": B, "C": C, "z": z}
            del others["return_last_state"]
            y, h = fused.selective_scan(**{k: v[..., part] for k, v in timed.items()}, **others, h0=h, return_last_state=True)
            others["return_last_state"] = True
            pieces.append(y)
        return torch.cat(pieces, -1), h

    for cut in (1, 4, 7):
        assert_close(run(partial(in_two, cut), values), exact)
    forgetful = run(lambda h0, **v: in_two(4, **v, h0=0 * h0), values)
    assert max(errors(forgetful, exact).values()) > 1e-2


def test_segments_only_change_rounding(small):
    values = make(10, 3)
    exact = judged(values)
    for segment in (1, 5, 100):  # three, two and one of them
        assert_close(run(fused.selective_scan, values, segment=segment), exact)


@pytest.mark.parametrize(("channels", "steps", "every"), [(1, 1, 1), (4, 4, 4), (1, 2, 8), (8, 8, 8)])
def test_blocks_only_change_rounding(small, channels, steps, every):
    values = make(11, 3)
    small(channels, steps, every)
    assert_close(run(fused.selective_scan, values, segment=every), judged(values))


def test_segment_length():
    length = triton_route.segment_length
    for total, programs, warps in itertools.product((1, 31, 300, 2064, 65536), (1, 48, 700, 100000), (1, 4)):
        steps = length(total, programs, warps, 132)
        segments = -(-total // steps)
        assert steps % triton_route.KEEP_EVERY == 0 and segments != 2
        assert segments == 1 or programs * warps * segments <= 8 * 132
        assert segments == 1 or steps >= 256
    assert length(65536, 1, 1, 132) == 256  # one channel block: cut as far as allowed
    assert length(2048, 8 * 96, 1, 132) == 2048  # full without cutting
    assert length(8192, 96, 1, 132) == 768 and -(-8192 // 768) == 11


@pytest.mark.parametrize("states", [1, 2, 3, 16, 17, 64, 256, 1000])
@pytest.mark.parametrize("backward", [False, True])
def test_blocks_are_powers_of_two(states, backward):
    blocks = triton_route.choose_blocks(states, backward)
    assert all(v == triton_route.next_power_of_two(v) for v in (blocks.channels, blocks.steps, blocks.warps))
    assert triton_route.KEEP_EVERY % blocks.steps == 0 and blocks.warps <= 8


# --- what is written, kept and computed ---


def test_every_output_is_written(small, monkeypatch):
    """Buffers full of NaN before the kernels run give the same bits."""
    clean = run(fused.selective_scan, make(9, 3), segment=4)
    real, poisoned = torch.empty, []

    def poison(*shape, **options):
        poisoned.append(real(*shape, **options).fill_(float("nan")))
        return poisoned[-1]

    monkeypatch.setattr(torch, "empty", poison)
    monkeypatch.setattr(torch, "empty_like", lambda v, **o: real(v.shape, dtype=v.dtype, device=v.device).fill_(float("nan")))
    again = run(fused.selective_scan, make(9, 3), segment=4)
    assert len(poisoned) >= 8 and same_bits(again, clean)
    assert all(torch.isfinite(v).all() for v in again.values())


def test_the_same_bits_again(small):
    values = make(6, 5, batch=1)
    first = run(fused.selective_scan, values, segment=4)
    assert same_bits(run(fused.selective_scan, values, segment=4), first)
    assert not same_bits(run(fused.selective_scan, make(6, 5, batch=1, seed=1), segment=4), first)


def test_inputs_are_left_alone(small):
    values = {k: v.detach() for k, v in make(6, 3).items()}
    before = {k: v.clone() for k, v in values.items()}
    y, last = fused.selective_scan(**values, dt_softplus=True, return_last_state=True)
    y.add_(1), last.add_(1)
    assert same_bits(values, before)


class Launches:
    """Stands in for a kernel and notes the constants it is launched with."""

    def __init__(self, kernel, seen):
        self.kernel, self.seen = kernel, seen

    def __getitem__(self, grid):
        def launch(*arguments, **constants):
            self.seen.append((arguments, constants))
            return self.kernel[grid](*arguments, **constants)

        return launch


@pytest.fixture
def launches(monkeypatch):
    require_triton()
    from empirics.kernels.selective_scan.fused import triton_backward as fused_backward
    from empirics.kernels.selective_scan.fused import triton_forward as fused_forward

    seen = {"forward": [], "backward": []}
    monkeypatch.setattr(fused_forward, "forward_kernel", Launches(fused_forward.forward_kernel, seen["forward"]))
    monkeypatch.setattr(fused_backward, "backward_kernel", Launches(fused_backward.backward_kernel, seen["backward"]))
    return seen


@pytest.mark.parametrize("name", NAMES)
def test_what_is_frozen_costs_nothing(small, launches, name):
    """One gradient alone: its flag only, no buffer for the others, and the right value. Then all but one."""
    whole = run(fused.selective_scan, make(3, 3, batch=1))
    for trained in ({name}, set(NAMES) - {name}):
        values = {k: v.detach().requires_grad_(k in trained) for k, v in make(3, 3, batch=1).items()}
        launches["forward"].clear(), launches["backward"].clear()
        got = run(fused.selective_scan, values)
        ((arguments, constants),) = launches["backward"]
        assert {k for k in NAMES if constants[f"NEED_{k.upper()}"]} == trained
        assert [written is not None for written in arguments[12:21]] == [k in trained for k in NAMES]
        assert launches["forward"][0][1]["KEEP"] is bool(trained & {"dt", "A", "C", "z", "dt_bias"})
        assert all(torch.allclose(got[f"d_{k}"], whole[f"d_{k}"], rtol=1e-6, atol=1e-6) for k in trained)
        fused.selective_scan(**values, dt_softplus=True).sum().backward()
        assert {k for k, v in values.items() if v.grad is not None} == trained


def test_without_gradients_no_state_is_kept(small, launches):
    with torch.no_grad():
        fused.selective_scan(**make(5, 3), dt_softplus=True)
    assert launches["forward"][0][1]["KEEP"] is False and not launches["backward"]


def test_saved_are_the_inputs_and_every_64th_state():
    length, states, width = 70, 4, 3
    values = make(length, states, batch=1, width=width)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        fused.selective_scan(**values, dt_softplus=True)
    inputs = {v.data_ptr() for v in values.values()}
    others = [t for t in saved if t.data_ptr() not in inputs]
    assert [tuple(t.shape) for t in others] == [(1, 2, width, states)] and len(saved) == 10


# --- as an operator ---


@pytest.mark.parametrize("trained", [NAMES, ("u", "dt", "B", "C", "h0")])
def test_opcheck(small, trained):
    values = {k: v.detach().requires_grad_(k in trained) for k, v in make(5, 2).items()}
    tests = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_static")
    arguments = (*values.values(), True, True, None)
    torch.library.opcheck(fused.scan_forward, arguments, test_utils=tests)
    detached = [v.detach() for v in values.values()]
    out, last, kept = fused.scan_forward(*detached, True, True, None)
    need = [k in trained for k in NAMES]
    backward = (torch.ones_like(out), torch.ones_like(last), *detached, kept, True, need, None)
    torch.library.opcheck(fused.scan_backward, backward, test_utils=("test_schema", "test_faketensor"))


def test_compile_keeps_one_graph(small):
    values = make(6, 3)

    def scaled(**v):
        y, last = empirics.selective_scan(**v, scan="fused")
        return 2 * y, last + 1

    compiled = torch.compile(scaled, backend="aot_eager", fullgraph=True)
    eager = run(scaled, values)
    assert same_bits(run(compiled, values), eager)
    assert not same_bits({"out": eager["out"]}, {"out": run(partial(empirics.selective_scan, scan="fused"), values)["out"]})


def test_the_second_derivative_is_refused(small):
    values = make(4, 2)
    (first,) = torch.autograd.grad(fused.selective_scan(**values).square().sum(), values["B"], create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        first.sum().backward()


# --- by name, and what is refused ---


def test_by_name(small):
    values = make(5, 3)
    assert same_bits(run(partial(empirics.selective_scan, scan="fused"), values), run(fused.selective_scan, values))


def test_in_a_model(small, tiny):
    model = tiny("Mamba1", torch.float32)
    tokens = torch.tensor([[1, 5, 2, 7, 3]])
    expected = model(tokens)
    model.set_scan("fused")
    if CUDA:
        model, tokens = model.cuda(), tokens.cuda()
    got = model(tokens)
    assert torch.allclose(got.cpu(), expected, rtol=1e-4, atol=1e-5)
    got.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_refusals(monkeypatch):
    values = {k: v.detach() for k, v in make(4, 2).items()}
    scan = partial(empirics.selective_scan, scan="fused")
    with pytest.raises(UnsupportedScan, match=r"'fused' accepts .*float16, the input has torch.float64; use scan='chunked'"):
        scan(**{k: v.double() for k, v in values.items()})
    with pytest.raises(InvalidInput, match="L = 0: an empty sequence"):
        scan(**{k: v[..., :0] if k in ("u", "dt", "B", "C", "z") else v for k, v in values.items()})
    with pytest.raises(InvalidInput, match="C has 2 groups, which do not divide"):
        scan(**{**values, "C": values["C"][:, None].expand(-1, 2, -1, -1)})
    with pytest.raises(InvalidInput, match="h0 has shape"):
        scan(**{**values, "h0": values["h0"][:1]})
    for segment in (0, -32):
        with pytest.raises(InvalidInput, match=f"segment = {segment}: a segment has at least one step"):
            fused.selective_scan(**values, segment=segment)
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(MissingPackage, match=r"triton is not importable.*pip install 'ssmproof\[cuda\]'"):
        fused.selective_scan(**values)


def test_on_the_cpu_only_where_triton_interprets(monkeypatch):
    row = capability("selective_scan", "fused")
    for value, runs in (("1", True), ("0", False)):
        monkeypatch.setenv("TRITON_INTERPRET", value)
        assert runs_on(row, "cpu") is runs and runs_on(row, "cuda")
    values = {k: v.detach().cpu() for k, v in make(4, 2).items()}
    with pytest.raises(UnsupportedScan, match="'fused' runs on cuda, the input is on cpu; use scan='chunked'"):
        empirics.selective_scan(**values, scan="fused")


def test_importing_asks_for_no_triton():
    """The module and its operators load without Triton; only a call needs it."""
    program = (
        "import sys; sys.modules['triton'] = None; import empirics.kernels.selective_scan.fused.scan, empirics.kernels.compat"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_interpreter_rounds_as_torch_does():
    bits = torch.randint(-(2**31), 2**31, (20000,), dtype=torch.int64, generator=torch.Generator().manual_seed(0)).to(torch.int32)
    ties = torch.tensor([0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF, 0x7F800000, 0x7FC00000, 0x7F800001, 0, 1])
    values = torch.cat([bits, ties.to(torch.int32)]).view(torch.float32)
    got = torch.from_numpy(round_to_bfloat16(values.numpy().view("uint32")).view("int16").copy()).view(torch.bfloat16)
    expected = values.to(torch.bfloat16)
    assert torch.equal(got.isnan(), expected.isnan()) and torch.equal(got.nan_to_num(7.0), expected.nan_to_num(7.0))
    cut_off = (values.view(torch.int32) >> 16).to(torch.int16).view(torch.bfloat16)
    assert not torch.equal(cut_off.nan_to_num(7.0), expected.nan_to_num(7.0))


# --- mamba-ssm's names ---


def test_compat_is_the_oracle():
    values = make(5, 3, without=("h0",), dtype=torch.float64, device="cpu")
    renamed = {{"dt": "delta", "dt_bias": "delta_bias"}.get(k, k): v for k, v in values.items()}
    expected = oracle.selective_scan(**values, dt_softplus=True, return_last_state=True)
    for function in (compat.selective_scan_fn, compat.selective_scan_ref):
        out, last = function(**renamed, delta_softplus=True, return_last_state=True)
        assert torch.allclose(out, expected[0]) and torch.allclose(last, expected[1])
        positional = function(*(values[k] for k in ("u", "dt", "A", "B", "C", "D", "z", "dt_bias")), True)
        assert torch.equal(positional, out)
        assert not torch.allclose(function(**renamed), out)  # softplus is off by default
        with pytest.raises(InvalidInput, match=r"B has shape .*expected \(batch, N, L\)"):
            function(**{**renamed, "B": values["B"][:, :2]})


def test_compat_prefers_fused_where_it_runs(monkeypatch):
    class Input:
        def __init__(self, device, dtype):
            self.device, self.dtype = torch.device(device), dtype

    assert compat.preferred_scan(Input("cuda", torch.bfloat16)) == "fused"
    assert compat.preferred_scan(Input("cuda", torch.float64)) == "chunked"
    assert compat.preferred_scan(Input("cpu", torch.float32)) == "chunked"
    monkeypatch.setattr(compat.importlib.util, "find_spec", lambda name: None)
    assert compat.preferred_scan(Input("cuda", torch.bfloat16)) == "chunked"


# --- on a GPU: Triton's kernels; test_fused_cuda.py has the others ---


@pytest.fixture
def triton_only(monkeypatch):
    monkeypatch.setenv("SSMPROOF_FUSED", "triton")


@pytest.mark.gpu
@pytest.mark.usefixtures("triton_only")
@pytest.mark.parametrize("length", [1, 300, 528, 2064])
@pytest.mark.parametrize("states", [1, 16, 24, 64])
def test_gpu(length, states):
    values = make(length, states, batch=2, width=40)
    assert_close(run(fused.selective_scan, values), judged(values), 1e-5)


@pytest.mark.gpu
@pytest.mark.usefixtures("triton_only")
@pytest.mark.parametrize("length", [257, 2048])
@pytest.mark.parametrize("states", [16, 24])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gpu_rounding(dtype, states, length):
    """All in one type, and parameters in float32."""
    values = make(length, states, batch=2, width=64, dtype=dtype)
    through_the_gate(values)
    through_the_gate(as_trained(values))


@pytest.mark.gpu
@pytest.mark.usefixtures("triton_only")
def test_gpu_segments_and_bits():
    values = make(8000, 16, batch=1, width=24)
    whole, cut = (run(fused.selective_scan, values, segment=s) for s in (8000, 512))
    assert_close(cut, {k: v.double() for k, v in whole.items()}, 1e-5)
    assert all(same_bits(run(fused.selective_scan, values, segment=512), cut) for _ in range(3))


@pytest.mark.gpu
@pytest.mark.parametrize("kernels", ["triton", ""])
def test_gpu_offsets_beyond_32_bits(kernels, monkeypatch):
    """The last sequence of 2^31 elements and more equals itself alone."""
    monkeypatch.setenv("SSMPROOF_FUSED", kernels)
    batch, width, length = 3, 1024, 720000
    u = torch.randn(1, width, length, device="cuda", dtype=torch.bfloat16).expand(batch, -1, -1)
    B = torch.randn(1, 1, length, device="cuda", dtype=torch.bfloat16).expand(batch, -1, -1)
    A = -torch.rand(width, 1, device="cuda")
    assert batch * width * length > 2**31
    with torch.no_grad():
        out = fused.selective_scan(u, u, A, B, B, dt_softplus=True, segment=4096)
        alone = fused.selective_scan(u[-1:], u[-1:], A, B[-1:], B[-1:], dt_softplus=True, segment=4096)
    assert torch.equal(out[-1:], alone)
