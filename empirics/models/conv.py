"""The causal depthwise convolution in front of the scan, with its window of past inputs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .again import derived, saving
from .functions import as_they_are
from .norm import widen


def causal_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, window: Tensor | None = None, stock: bool = False, want_last: bool = True
) -> tuple[Tensor, Tensor | None]:
    """silu(bias + Σ_k weight[:, k] x_{t-K+1+k}) and the last K-1 inputs.

    Parameters
    ----------
    x:
        (B, D, L).
    weight, bias:
        (D, 1, K), as in ``nn.Conv1d(D, D, K, groups=D)``, and (D,).
    window:
        The K-1 inputs before x_1, oldest first, (B, D, K-1); zeros where left out.
    stock:
        Whether to use causal-conv1d's CUDA kernel where it is installed and fits.

    Returns
    -------
    (B, D, L) and, with ``want_last``, the next window (B, D, K-1), both of x's dtype.
    """
    width = weight.shape[-1]
    taps = weight.squeeze(1).to(x.dtype)
    bias = None if bias is None else bias.to(x.dtype)
    fits = stock and _stock_serves(x, width)
    if fits and window is None and x.shape[-1] >= width - 1:
        return derived(_stock(x, taps, bias), _stock, x, taps, bias), _last(x, width) if want_last else None
    past = x.new_zeros(*x.shape[:2], width - 1) if window is None else window.to(x.dtype)
    extended = _extended(past, x)
    last = _last(extended, width) if want_last else None
    if fits:
        return derived(_stock(extended, taps, bias), _stock, extended, taps, bias)[..., width - 1 :], last
    derived(extended, _extended, past, x)
    with saving():
        before = F.conv1d(extended, taps[:, None], bias, groups=x.shape[1])
    derived(before, F.conv1d, extended, taps[:, None], bias, 1, 0, 1, x.shape[1])
    with saving():
        return derived(F.silu(before), F.silu, before), last


def _stock(x: Tensor, taps: Tensor, bias: Tensor | None) -> Tensor:
    """causal-conv1d's kernel, silu included, without a past."""
    kernels = _stock_kernels() if as_they_are(x, taps, bias) else None
    if kernels is not None:
        out: Tensor = _Conv.apply(x, taps, bias, kernels)
    else:
        out = _stock_kernel()(_aligned(x), taps, bias, activation="silu")
    return out


def _stock_serves(x: Tensor, width: int) -> bool:
    return x.is_cuda and 2 <= width <= 4 and x.dtype != torch.float64 and _stock_kernel() is not None


def _last(x: Tensor, width: int) -> Tensor:
    # A copy: a view would keep the whole sequence alive.
    return x[..., x.shape[-1] - width + 1 :].clone()


def _extended(past: Tensor, x: Tensor) -> Tensor:
    return torch.cat([past, x], dim=-1)


def causal_conv_step(x: Tensor, weight: Tensor, bias: Tensor | None, window: Tensor) -> tuple[Tensor, Tensor]:
    """One step of :func:`causal_conv`: x (B, D), window (B, D, K-1); returns (B, D) and the next window."""
    extended = torch.cat([window.to(x.dtype), x[..., None]], dim=-1)
    out = (widen(extended) * widen(weight.squeeze(1))).sum(-1)
    return F.silu(out if bias is None else out + widen(bias)).to(x.dtype), extended[..., 1:]


def _aligned(x: Tensor) -> Tensor:
    """The stock kernel reads 8 channels at once where channels are innermost; elsewhere it wants time innermost."""
    if x.stride(2) == 1 or not (x.shape[1] % 8 or x.stride(0) % 8 or x.stride(2) % 8 or x.storage_offset() % 8):
        return x
    # clone, not contiguous(): with one sequence of one token PyTorch calls any strides contiguous, the kernel does not
    return x.clone(memory_format=torch.contiguous_format)


@dataclass(frozen=True)
class ConvKernels:
    """causal-conv1d's two kernels, silu included, without a past, for autograd functions.

    They are called as the package's operators call them. Each operator of ``torch.library`` costs the CPU some 30 µs more.

    Attributes
    ----------
    run, run_backward:
        The extension's functions, which write to given tensors.
    """

    run: Callable[..., Any]
    run_backward: Callable[..., Any]

    def forward(self, x: Tensor, taps: Tensor, bias: Tensor | None) -> Tensor:
        """(B, D, L) of x (B, D, L), taps (D, K) and bias (D,)."""
        x = _aligned(x)
        out = torch.empty_like(x)
        self.run(x, taps, bias, None, None, out, None, True)
        return out

    def backward(
        self, x: Tensor, taps: Tensor, bias: Tensor | None, d_out: Tensor, d_x: Tensor | None, need: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """The gradients of taps and bias where they are needed; that of x is written to ``d_x``, of x's strides or ``None``."""
        read = _aligned(x)
        own = d_x if d_x is not None and read is x else torch.empty_like(read)
        sums = taps.new_zeros(taps.numel() + (0 if bias is None else bias.numel()), dtype=torch.float32)
        d_taps = sums[: taps.numel()].view_as(taps)
        d_bias = None if bias is None else sums[taps.numel() :]
        self.run_backward(read, taps, bias, d_out, None, None, None, own, d_taps, d_bias, None, True)
        if d_x is not None and own is not d_x:
            d_x.copy_(own)
        if not need:
            return None, None
        return d_taps.to(taps.dtype), None if d_bias is None or bias is None else d_bias.to(bias.dtype)


class _Conv(torch.autograd.Function):
    """causal-conv1d's function by its kernels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: Tensor, bias: Tensor | None, kernels: ConvKernels) -> Tensor:
        ctx.save_for_backward(x, taps, bias)
        ctx.kernels = kernels
        return kernels.forward(x, taps, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        x, taps, bias = ctx.saved_tensors
        d_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        d_taps, d_bias = ctx.kernels.backward(x, taps, bias, d_out, d_x, any(ctx.needs_input_grad[1:3]))
        return d_x, d_taps, d_bias, None


def conv_kernels(x: Tensor, width: int) -> ConvKernels | None:
    """The kernels that :func:`causal_conv` would use for x (B, D, L) without a window; ``None`` where it would use none."""
    return _stock_kernels() if x.shape[-1] >= width - 1 and _stock_serves(x, width) else None


_CALLED = {
    "_causal_conv1d_fwd_cpp": "x weight bias seq_idx initial_states out final_states_out silu_activation",
    "_causal_conv1d_bwd_cpp": "x weight bias dout seq_idx initial_states dfinal_states dx dweight dbias dinitial_states "
    "silu_activation",
}
"""What causal-conv1d's operators take and hand on, by name."""


@cache
def _stock_kernels() -> ConvKernels | None:
    """``None`` also where causal-conv1d is of a version whose operators take other arguments."""
    if _stock_kernel() is None:
        return None
    try:
        extension = importlib.import_module("causal_conv1d_cuda")
        for name, taken in _CALLED.items():
            arguments = getattr(torch.ops.DaoAILab, name).default._schema.arguments
            if [argument.name for argument in arguments] != taken.split():
                return None
        return ConvKernels(extension.causal_conv1d_fwd, extension.causal_conv1d_bwd)
    except (ImportError, AttributeError):
        return None


@cache
def _stock_kernel() -> Any:
    try:
        from causal_conv1d import causal_conv1d_fn
    except ImportError:
        return None
    return causal_conv1d_fn
