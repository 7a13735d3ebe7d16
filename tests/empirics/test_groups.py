"""Groups of B and C and fixed ones: every scan against the float64 oracle, and the oracle against what they mean.

The cases of :func:`test_as_mamba_ssm_tests_it` are of the kind of mamba-ssm's own test of its selective scan.
"""

from __future__ import annotations

import importlib.util
import itertools
from functools import partial

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402

from empirics import oracle  # noqa: E402
from empirics.errors import InvalidInput  # noqa: E402
from empirics.kernels import compat  # noqa: E402
from empirics.kernels.dispatch import selective_scan  # noqa: E402
from empirics.kernels.interpreter import interpreting  # noqa: E402
from empirics.models import Mamba1, Mamba1Config  # noqa: E402

torch.set_num_threads(1)
KINDS = ("shared", 2, "each", "fixed")
"""Of B or C: one for all channels, two groups, one for each channel, fixed."""


def make(B="shared", C="shared", batch=2, width=6, states=3, length=5, seed=0, without=()):
    g = torch.Generator().manual_seed(seed)
    randn = partial(torch.randn, generator=g, dtype=torch.float64)

    def selector(kind):
        if kind == "fixed":
            return randn(width, states)
        groups = {"shared": (), "each": (width,)}.get(kind, (kind,))
        return randn(batch, *groups, states, length)

    values = {
        "u": randn(batch, width, length), "dt": randn(batch, width, length), "A": -torch.exp(randn(width, states)),
        "B": selector(B), "C": selector(C), "D": randn(width), "z": randn(batch, width, length), "dt_bias": randn(width),
        "h0": randn(batch, width, states),
    }  # fmt: skip
    return {k: v.requires_grad_() for k, v in values.items() if k not in without}


def run(scan, values, **options):
    """Output, last state, and every gradient of a fixed random functional of both."""
    out, last = scan(**values, dt_softplus=True, return_last_state=True, **options)
    g = torch.Generator().manual_seed(99)
    weights = [torch.randn(v.shape, generator=g, dtype=torch.float64).to(v) for v in (out, last)]
    gradients = torch.autograd.grad((out * weights[0]).sum() + (last * weights[1]).sum(), list(values.values()))
    return {"out": out, "last": last, **{f"d_{k}": v for k, v in zip(values, gradients, strict=True)}}


def assert_close(got, expected, tolerance):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name].shape == value.shape
        error = (got[name].detach().double() - value.detach()).norm() / value.detach().norm()
        assert error <= tolerance, f"{name}: {error:.1e}"


def expanded(value, values):
    """B or C as one for each channel, (batch, D, N, L): what each kind means."""
    batch, width, length = values["u"].shape
    if value.ndim == 2:
        return value[None, :, :, None].expand(batch, -1, -1, length)
    if value.ndim == 3:
        return value[:, None].expand(-1, width, -1, -1)
    return value.repeat_interleave(width // value.shape[1], dim=1)


@pytest.mark.parametrize(("B", "C"), list(itertools.product(KINDS, KINDS)))
def test_the_oracle_reads_each_channel_s_own(B, C):
    """Channel by channel, as scans of one channel with its own B and C."""
    values = make(B, C)
    out, last = oracle.selective_scan(**values, dt_softplus=True, return_last_state=True)
    for d in range(6):
        own = {k: v[:, d : d + 1] for k, v in values.items() if k in ("u", "dt", "z", "h0")}
        own |= {k: values[k][d : d + 1] for k in ("A", "D", "dt_bias")}
        own |= {k: expanded(values[k], values)[:, d] for k in ("B", "C")}
        one, h = oracle.selective_scan(**own, dt_softplus=True, return_last_state=True)
        assert torch.allclose(out[:, d : d + 1], one, rtol=1e-12) and torch.allclose(last[:, d : d + 1], h, rtol=1e-12)


def test_the_group_of_a_channel_matters():
    """The twin: groups in another order give another output."""
    values = make(2, 2)
    other = {**values, "B": values["B"].flip(1)}
    assert not torch.allclose(*(oracle.selective_scan(**v, dt_softplus=True) for v in (values, other)))


@pytest.mark.parametrize(
    ("B", "C"), [pair for pair in itertools.product((*KINDS, 3), (*KINDS, 3)) if pair != ("shared", "shared")]
)
@pytest.mark.parametrize("scan", ["naive", "chunked"])
def test_every_kind_on_every_scan(scan, B, C):
    """Two groups of B beside three of C as well."""
    values = make(B, C)
    assert_close(run(partial(selective_scan, scan=scan), values), run(oracle.selective_scan, values), 1e-12)


@pytest.mark.parametrize("left_out", ["D", "z", "dt_bias", "h0"])
def test_without_optional_arguments(left_out):
    for B, C in ((2, 2), ("fixed", "shared")):
        values = make(B, C, without=(left_out,))
        assert_close(run(partial(selective_scan, scan="chunked"), values), run(oracle.selective_scan, values), 1e-12)


needs_interpreter = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or not (interpreting() or torch.cuda.is_available()),
    reason="needs a CUDA device or TRITON_INTERPRET=1",
)


@needs_interpreter
@pytest.mark.parametrize(("B", "C"), [(2, 2), (3, 2), ("fixed", "fixed"), ("shared", "fixed"), (2, "fixed")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused(B, C, dtype):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    exact = {k: v.detach().to(dtype).double().requires_grad_() for k, v in make(B, C).items()}
    values = {k: v.detach().to(device, dtype).requires_grad_() for k, v in exact.items()}
    got = {k: v.cpu() for k, v in run(partial(selective_scan, scan="fused"), values).items()}
    plain = {k: v.cpu() for k, v in run(partial(selective_scan, scan="naive"), values).items()}
    for name, value in run(oracle.selective_scan, exact).items():
        ours, allowed = ((r[name].detach().double() - value).norm() for r in (got, plain))
        assert got[name].dtype == (torch.float32 if name == "last" else dtype)
        assert ours <= 3 * allowed + 1e-6 * value.norm(), name  # three: few numbers, each with its own luck in rounding


@pytest.mark.parametrize("itype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("seqlen", [8, 128, 372])
@pytest.mark.parametrize("has_z", [False, True])
@pytest.mark.parametrize(
    ("groups", "variable_B", "variable_C"),
    [(1, True, True), (2, True, True), (1, False, True), (1, True, False), (1, False, False)],
)
def test_as_mamba_ssm_tests_it(itype, seqlen, has_z, groups, variable_B, variable_C):
    """Batch 2, D = 4, N = 8, A in (-0.5, 0): ``selective_scan_fn`` against ``selective_scan_ref``."""
    rtol, atol = {torch.float32: (6e-4, 2e-3), torch.float16: (3e-3, 5e-3), torch.bfloat16: (3e-2, 5e-2)}[itype]
    g = torch.Generator().manual_seed(0)
    batch, dim, dstate = 2, 4, 8

    def selector(variable):
        if not variable:
            return torch.randn(dim, dstate, generator=g)
        return torch.randn(batch, *((groups,) if groups > 1 else ()), dstate, seqlen, generator=g).to(itype)

    arguments = {
        "u": torch.randn(batch, dim, seqlen, generator=g).to(itype),
        "delta": (0.5 * torch.rand(batch, dim, seqlen, generator=g)).to(itype),
        "A": -0.5 * torch.rand(dim, dstate, generator=g), "B": selector(variable_B), "C": selector(variable_C),
        "D": torch.randn(dim, generator=g), "delta_bias": 0.5 * torch.rand(dim, generator=g),
    }  # fmt: skip
    if has_z:
        arguments["z"] = torch.randn(batch, dim, seqlen, generator=g).to(itype)
    results = []
    for function in (compat.selective_scan_fn, compat.selective_scan_ref):
        leaves = {k: v.clone().requires_grad_() for k, v in arguments.items()}
        out, state = function(**leaves, delta_softplus=True, return_last_state=True)
        weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(itype)
        results.append((out, state, dict(zip(leaves, torch.autograd.grad(out, list(leaves.values()), weight), strict=True))))
    (out, state, gradients), (out_ref, state_ref, gradients_ref) = results
    assert out.dtype == itype and torch.allclose(out, out_ref, rtol=rtol, atol=atol)
    assert torch.allclose(state, state_ref, rtol=rtol, atol=atol)
    for name, gradient in gradients.items():
        reference = gradients_ref[name]
        assert gradient.dtype == arguments[name].dtype
        assert torch.allclose(gradient, reference, rtol=5 * rtol, atol=10 * atol * max(1.0, float(reference.abs().max()))), name


def test_a_complex_A_is_refused_in_a_line():
    values = {k: v.detach() for k, v in make().items()}
    for name in ("A", "B"):
        with pytest.raises(InvalidInput, match=rf"{name} is complex .*these scans are real: give {name}.real") as caught:
            selective_scan(**{**values, name: values[name] + 0j})
        assert "\n" not in str(caught.value)
    renamed = {{"dt": "delta", "dt_bias": "delta_bias"}.get(k, k): v for k, v in values.items() if k != "h0"}
    with pytest.raises(InvalidInput, match="A is complex"):
        compat.selective_scan_fn(**{**renamed, "A": values["A"].to(torch.complex64)})


@pytest.mark.parametrize("variable_C", [False, True])
@pytest.mark.parametrize("variable_B", [False, True])
def test_the_block_as_mamba_ssm_tests_it(variable_B, variable_C):
    """``mamba_inner_fn`` against ``mamba_inner_ref``, and both against the project's own Mamba-1 block."""
    g = torch.Generator().manual_seed(0)
    batch, dim, dstate, rank, length, width = 2, 24, 8, 4, 31, 12
    randn = partial(torch.randn, generator=g)
    rows = rank + (variable_B + variable_C) * dstate
    arguments = {
        "xz": randn(batch, 2 * dim, length), "conv1d_weight": randn(dim, 1, 3), "conv1d_bias": randn(dim),
        "x_proj_weight": 0.2 * randn(rows, dim), "delta_proj_weight": randn(dim, rank), "out_proj_weight": randn(width, dim),
        "A": -0.5 * torch.rand(dim, dstate, generator=g), "D": randn(dim), "delta_bias": 0.5 * torch.rand(dim, generator=g),
    }  # fmt: skip
    arguments |= {} if variable_B else {"B": randn(dim, dstate)}
    arguments |= {} if variable_C else {"C": randn(dim, dstate)}
    results = []
    for function in (compat.mamba_inner_fn, compat.mamba_inner_ref):
        leaves = {k: v.clone().requires_grad_() for k, v in arguments.items()}
        out = function(**leaves, out_proj_bias=None)
        gradients = torch.autograd.grad(out.square().mean(), list(leaves.values()))
        results.append((out, *gradients))
    for got, expected in zip(*results, strict=True):
        assert torch.allclose(got, expected, rtol=6e-4, atol=1e-4 * float(expected.detach().abs().max()))
    if variable_B and variable_C:
        block = Mamba1(width, Mamba1Config(d_state=dstate, d_conv=3, expand=2, dt_rank=rank))
        with torch.no_grad():
            for name in ("conv1d_weight", "conv1d_bias", "x_proj_weight", "out_proj_weight"):
                block.get_parameter(name.replace("_weight", ".weight").replace("_bias", ".bias")).copy_(arguments[name])
            block.dt_proj.weight.copy_(arguments["delta_proj_weight"])
            block.dt_proj.bias.copy_(arguments["delta_bias"])
            block.A_log.copy_((-arguments["A"]).log())
            block.D.copy_(arguments["D"])
        hidden = randn(batch, length, width)
        xz = F.linear(hidden, block.in_proj.weight).transpose(1, 2)
        assert torch.allclose(compat.mamba_inner_fn(**{**arguments, "xz": xz}, out_proj_bias=None), block(hidden), atol=1e-3)
    biased = compat.mamba_inner_fn(
        **arguments, out_proj_bias=None, B_proj_bias=torch.ones(dstate), C_proj_bias=torch.ones(dstate)
    )
    unbiased = results[0][0].detach()  # rounded otherwise where gradients are asked for, on some CPUs
    apart = float((biased - unbiased).abs().max() / unbiased.abs().max())
    assert apart > 1e-2 if variable_B or variable_C else apart < 1e-5
