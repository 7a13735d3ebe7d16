"""What lies between the outer projections of a Mamba-1 block, as one autograd function: convolution, selectors, fused scan.

    (x, z) = xz,   u = silu(conv(x)),   (δ, B, C) = W_x u,   y = scan(u, softplus(W_dt δ + bias), -exp(A_log), B, C, D, z)

The products, kernels and sums are those that autograd would use, on the same tensors in the same layouts, so no gradient changes
by a bit. What changes is what the CPU does for them: one node of the graph in place of some twenty, causal-conv1d's kernels
without the operators of ``torch.library`` around them, and results that are computed again without hooks on saved tensors. At
130m a step that Python launches waits for the CPU, so this is its speed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..kernels.selective_scan.fused import scan as fused
from ..kernels.selective_scan.state_terms import offset_gradients, offset_term
from .again import require_memory
from .conv import ConvKernels
from .norm import widen


class InnerTensors(NamedTuple):
    """What the function reads, in one dtype but for A_log, D, dt_bias and h0.

    Attributes
    ----------
    xz:
        (B, L, 2 D), contiguous.
    taps, conv_bias:
        (D, K) and (D,).
    x_weight, dt_weight:
        (R + 2N, D) and (D, R).
    A_log, D, dt_bias:
        (D, N), (D,), (D,).
    h0:
        (B, D, N).
    offset:
        h' (D, N) of :class:`.hooks.MixerHook`, at least float32: y_t += (h' C_t) · silu(z_t).
    """

    xz: Tensor
    taps: Tensor
    conv_bias: Tensor | None
    x_weight: Tensor
    dt_weight: Tensor
    A_log: Tensor
    D: Tensor
    dt_bias: Tensor
    h0: Tensor | None
    offset: Tensor | None


def inner_part(tensors: InnerTensors, kernels: ConvKernels, compute_again: bool) -> Tensor:
    """y (B, D, L), before out_proj.

    Parameters
    ----------
    kernels:
        Of the convolution.
    compute_again:
        Whether the backward pass computes u and dt again in place of keeping them.
    """
    y: Tensor = _Inner.apply(*tensors, kernels, compute_again)
    return y


def _halves(xz: Tensor) -> tuple[Tensor, Tensor]:
    """x and z, (B, D, L) each."""
    x, z = xz.transpose(1, 2).chunk(2, dim=1)
    return x, z


def _selectors(x_dbl: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """δ (B, L, R), B and C (B, N, L) of x_proj's output."""
    states = (x_dbl.shape[-1] - rank) // 2
    low, B, C = x_dbl.split([rank, states, states], dim=-1)
    return low, B.transpose(1, 2), C.transpose(1, 2)


def _rows(value: Tensor) -> Tensor:
    """(B L, width) of (B, width, L), without a copy where channels are innermost."""
    return value.transpose(1, 2).reshape(-1, value.shape[1])


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return one if other is None or one is None else one + other


class _Inner(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        *given, kernels, compute_again = arguments
        xz, taps, conv_bias, x_weight, dt_weight, A_log, D, dt_bias, h0, offset = given
        x, z = _halves(xz)
        u = kernels.forward(x, taps, conv_bias)
        x_dbl = F.linear(u.transpose(1, 2), x_weight)
        low, B, C = _selectors(x_dbl, dt_weight.shape[1])
        dt = F.linear(low, dt_weight).transpose(1, 2)
        A, D_wide, bias_wide = torch.exp(widen(A_log)).neg_(), widen(D), widen(dt_bias)
        need = _Need.of(ctx.needs_input_grad[:10])
        scanned = u, dt, A, B, C, D_wide, z, bias_wide, h0
        passes = fused.passes_of(*scanned, dt_softplus=True)
        y, _, kept = fused.forward_pass(passes, scanned, need.states)
        if offset is not None:
            y = y + offset_term(offset, C, z)
        again = (None, None) if compute_again else (u, dt)
        ctx.save_for_backward(xz, taps, conv_bias, x_weight, dt_weight, x_dbl, A, D_wide, bias_wide, h0, offset, kept, *again)
        ctx.kernels, ctx.passes, ctx.need = kernels, passes, need
        ctx.dtypes = A_log.dtype, D.dtype, dt_bias.dtype
        ctx.set_materialize_grads(False)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> tuple[Tensor | None, ...]:
        # The decorator's bookkeeping costs as much as a launch, and only gradients of gradients need it.
        return (_gradients_once if torch.is_grad_enabled() else _gradients)(ctx, dy)


class _Need(NamedTuple):
    """Of which tensors gradients are asked for, those between included."""

    xz: bool
    conv: bool
    x_weight: bool
    dt_weight: bool
    A: bool
    D: bool
    dt_bias: bool
    h0: bool
    offset: bool

    @classmethod
    def of(cls, given: tuple[bool, ...]) -> _Need:
        xz, taps, conv_bias, *others = given
        return cls(xz, taps or conv_bias, *others)

    @property
    def u(self) -> bool:
        return self.xz or self.conv

    @property
    def selectors(self) -> bool:
        return self.u or self.x_weight

    @property
    def dt(self) -> bool:
        return self.selectors or self.dt_weight

    @property
    def states(self) -> bool:
        """Does a gradient of the scan read the states?"""
        return self.dt or self.A or self.dt_bias

    @property
    def scanned(self) -> tuple[bool, ...]:
        """Of u, dt, A, B, C, D, z, dt_bias, h0."""
        return self.u, self.dt, self.A, self.selectors, self.selectors, self.D, self.xz, self.dt_bias, self.h0


def _gradients(ctx: Any, dy: Tensor | None) -> tuple[Tensor | None, ...]:
    if dy is None:
        return (None,) * 12
    xz, taps, conv_bias, x_weight, dt_weight, x_dbl, A, D, dt_bias, h0, offset, kept, u, dt = ctx.saved_tensors
    if torch.is_autocast_enabled(xz.device.type):
        with torch.autocast(xz.device.type, enabled=False):
            return _gradients(ctx, dy)
    need: _Need = ctx.need
    x, z = _halves(xz)
    low, B, C = _selectors(x_dbl, dt_weight.shape[1])
    if u is None:
        require_memory(xz, taps, conv_bias, x_weight, dt_weight)
        u, dt = ctx.kernels.forward(x, taps, conv_bias), F.linear(low, dt_weight).transpose(1, 2)
    scanned = u, dt, A, B, C, D, z, dt_bias, h0
    du, ddt, dA, dB, dC, dD, dz, d_bias, dh0 = fused.backward_pass(ctx.passes, dy, None, scanned, kept, need.scanned)
    d_xz = d_taps = d_conv_bias = d_x_weight = d_dt_weight = d_offset = None
    if offset is not None:
        d_offset, more_C, more_z = offset_gradients(offset, C, z, dy, (need.offset, need.selectors, need.xz))
        dC, dz = _sum(dC, more_C), _sum(dz, more_z)
    if ddt is not None:
        steps = _rows(ddt)
        if need.dt_weight:
            d_dt_weight = steps.t().mm(low.reshape(-1, low.shape[-1]))
        if need.selectors:
            assert dB is not None and dC is not None
            d_low = steps.mm(dt_weight).view_as(low)
            selected = torch.cat([d_low, dB.transpose(1, 2), dC.transpose(1, 2)], dim=-1).view(-1, x_dbl.shape[-1])
            if need.x_weight:
                d_x_weight = selected.t().mm(_rows(u))
            if du is not None:
                du.transpose(1, 2).add_(selected.mm(x_weight).view(xz.shape[0], -1, u.shape[1]))
    if du is not None:
        d_xz = torch.empty_like(xz) if need.xz else None
        d_x, d_z = (None, None) if d_xz is None else _halves(d_xz)
        d_taps, d_conv_bias = ctx.kernels.backward(x, taps, conv_bias, du, d_x, need.conv)
        if d_z is not None:
            assert dz is not None
            d_z.copy_(dz)
    of_A, of_D, of_bias = ctx.dtypes
    d_A_log = None if dA is None else dA.mul_(A).to(of_A)
    return (
        d_xz, d_taps, d_conv_bias, d_x_weight, d_dt_weight, d_A_log, None if dD is None else dD.to(of_D),
        None if d_bias is None else d_bias.to(of_bias), dh0, d_offset, None, None,
    )  # fmt: skip


_gradients_once = once_differentiable(_gradients)
