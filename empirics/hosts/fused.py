"""What transformers' training mode does where mamba-ssm is installed, without its kernels: their arguments, in PyTorch.

The kernels take a mixer's raw weights and return its output. Whether an adapter reaches them is decided by what transformers
hands over, which is the same here; how fast the result comes is all that differs. They are used where no cache is to be filled
(``use_cache=False``). FalconMamba's kernel norms the step sizes behind dt_proj, its PyTorch path in front of it: these are two
functions, of which this is the kernel's.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ..kernels.dispatch import selective_scan, ssd_scan
from ..models.conv import causal_conv
from ..models.norm import GatedRMSNorm, widen
from .table import recognise


def mamba_inner(
    xz: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    x_proj_weight: Tensor,
    delta_proj_weight: Tensor,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    A: Tensor,
    B: None = None,
    C: None = None,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = True,
    b_rms_weight: Tensor | None = None,
    c_rms_weight: Tensor | None = None,
    dt_rms_weight: Tensor | None = None,
    b_c_dt_rms_eps: float = 1e-6,
    **_: Any,
) -> Tensor:
    """A whole Mamba-1 mixer behind in_proj: (B, 2 D, L) to (B, L, d_model)."""
    x, z = xz.chunk(2, dim=1)
    u, _window = causal_conv(x, conv1d_weight, conv1d_bias)
    rank, states = delta_proj_weight.shape[1], A.shape[1]
    low, b, c = F.linear(u.transpose(1, 2), x_proj_weight).split([rank, states, states], dim=-1)
    dt = F.linear(low, delta_proj_weight)

    def normed(value: Tensor, weight: Tensor | None) -> Tensor:
        return value if weight is None else F.rms_norm(value, weight.shape, weight, b_c_dt_rms_eps)

    dt, b, c = (normed(v, w).transpose(1, 2) for v, w in ((dt, dt_rms_weight), (b, b_rms_weight), (c, c_rms_weight)))
    y = selective_scan(u, dt, A, b, c, D, z=z, dt_bias=delta_bias, dt_softplus=delta_softplus, scan="chunked")
    assert isinstance(y, Tensor)
    return F.linear(y.transpose(1, 2), out_proj_weight, out_proj_bias)


def mamba2_split(
    zxbcdt: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    *,
    dt_limit: tuple[float, float] = (0.0, float("inf")),
    rmsnorm_weight: Tensor | None = None,
    rmsnorm_eps: float = 1e-6,
    outproj_weight: Tensor,
    outproj_bias: Tensor | None = None,
    headdim: int,
    ngroups: int = 1,
    norm_before_gate: bool = True,
    **_: Any,
) -> Tensor:
    """A whole Mamba-2 mixer behind in_proj: (B, L, z x B C dt) to (B, L, d_model)."""
    heads, conv_dim = D.shape[0], conv1d_weight.shape[0]
    inner, states = heads * headdim, (conv_dim - heads * headdim) // (2 * ngroups)
    z, xBC, dt = zxbcdt.split([inner, conv_dim, heads], dim=-1)
    mixed, _window = causal_conv(xBC.transpose(1, 2), conv1d_weight[:, None], conv1d_bias)
    x, b, c = mixed.transpose(1, 2).split([inner, ngroups * states, ngroups * states], dim=-1)
    steps = F.softplus(widen(dt) + widen(dt_bias)).clamp(*dt_limit)
    groups = (ngroups, states)
    by_head, b, c = x.unflatten(-1, (heads, headdim)), b.unflatten(-1, groups), c.unflatten(-1, groups)
    y = ssd_scan(by_head, steps, A, b, c, widen(D), scan="chunked")
    assert isinstance(y, Tensor)
    flat = y.flatten(-2)
    if rmsnorm_weight is None:
        gated = flat * F.silu(z)
    else:
        norm = GatedRMSNorm(inner, ngroups, rmsnorm_eps, norm_before_gate)
        gated = functional_call(norm, {"weight": rmsnorm_weight}, (flat, z))
    return F.linear(gated.to(zxbcdt.dtype), outproj_weight, outproj_bias)


KERNELS: dict[str, Callable[..., Tensor]] = {"mamba_inner_fn": mamba_inner, "mamba2_split_conv1d_scan_combined": mamba2_split}
"""transformers' name of a kernel that takes a whole mixer → the same function in PyTorch."""


def has_kernels(model: nn.Module) -> bool:
    """Whether transformers runs mamba-ssm's own kernels on this model: both are installed, and it is on a GPU."""
    installed = all(importlib.util.find_spec(name) is not None for name in ("mamba_ssm", "causal_conv1d"))
    return installed and next(model.parameters()).is_cuda


@contextmanager
def fused_kernels(model: nn.Module, calls: list[str] | None = None) -> Iterator[None]:
    """Inside, transformers' training mode finds kernels for whole mixers, on any device; ``calls`` notes their names."""
    homes = {sys.modules[cls.__module__] for m in model.modules() if recognise(m) is not None for cls in type(m).__mro__}
    replaced = [(home, name, getattr(home, name)) for home in homes for name in KERNELS if hasattr(home, name)]

    def noted(name: str) -> Callable[..., Tensor]:
        def kernel(*args: Any, **options: Any) -> Tensor:
            if calls is not None:
                calls.append(name)
            return KERNELS[name](*args, **options)

        return kernel

    for home, name, _ in replaced:
        setattr(home, name, noted(name))
    try:
        yield
    finally:
        for home, name, stock in replaced:
            setattr(home, name, stock)
