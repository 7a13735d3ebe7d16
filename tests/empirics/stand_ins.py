"""Stand-ins for GPU kernels on a CPU: the layout of their results and what they keep for the backward pass, without values."""

from __future__ import annotations

import torch

from empirics.models import conv

NO_CONV = conv.ConvKernels(lambda *given: None, lambda *given: None)
"""causal-conv1d's two kernels, which write nothing."""


class LikeCausalConv(torch.autograd.Function):
    """causal-conv1d's function with channels innermost: its output's layout, and what it keeps."""

    @staticmethod
    def forward(ctx, x, taps, bias):
        assert x.stride(1) == 1, "channels are innermost, so nothing is copied"
        ctx.save_for_backward(x, taps, bias)
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx, dy):
        return tuple(torch.empty_like(v) for v in ctx.saved_tensors)


class LikeFusedNorm(torch.autograd.Function):
    """PyTorch's RMS norm on a GPU, one kernel: what it keeps."""

    @staticmethod
    def forward(ctx, x, shape, weight, eps):
        ctx.save_for_backward(x, weight, x.new_empty((*x.shape[:-1], 1)))
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx, dy):
        x, weight, _ = ctx.saved_tensors
        return torch.empty_like(x), None, torch.empty_like(weight), None


class LikeSelectiveScan(torch.autograd.Function):
    """mamba-ssm's selective scan with a gate: what it keeps."""

    @staticmethod
    def forward(ctx, u, dt, A, B, C, D, z, dt_bias):
        ctx.save_for_backward(u, dt, A, B, C, D, z, dt_bias, torch.empty(u.shape), torch.empty_like(u))
        return torch.empty_like(u)

    @staticmethod
    def backward(ctx, dy):
        return tuple(None if v is None else torch.empty_like(v) for v in ctx.saved_tensors[:8])


def selective_scan_fn(u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state):
    """As mamba-ssm's, called for a training step."""
    assert delta_softplus and not return_last_state
    return LikeSelectiveScan.apply(u, delta, A, B, C, D, z, delta_bias)


class LikeChunkScan(torch.autograd.Function):
    """mamba-ssm's chunk scan: what it keeps, its own output included."""

    @staticmethod
    def forward(ctx, x, dt, A, B, C, D, dt_bias, h0):
        out = torch.empty(x.shape, dtype=x.dtype)
        sums = torch.empty(x.shape[0], x.shape[2], x.shape[1])  # float32, of dt A inside chunks
        ctx.save_for_backward(out, x, dt, sums, A, B, C, D, dt_bias, h0)
        return out

    @staticmethod
    def backward(ctx, dy):
        _, x, dt, _, *others = ctx.saved_tensors
        return (torch.empty_like(x), torch.empty_like(dt), *(None if v is None else torch.empty_like(v) for v in others))


class LikeGatedNorm(torch.autograd.Function):
    """mamba-ssm's gated norm: what it keeps."""

    @staticmethod
    def forward(ctx, y, weight, z):
        ctx.save_for_backward(y, weight, z, torch.empty(y[..., 0].numel()))
        return torch.empty(y.shape, dtype=y.dtype)

    @staticmethod
    def backward(ctx, dy):
        y, weight, z, _ = ctx.saved_tensors
        return torch.empty_like(y), torch.empty_like(weight), torch.empty_like(z)


def mamba_chunk_scan_combined(x, dt, A, B, C, chunk_size, D, z, dt_bias, initial_states, dt_softplus, return_final_states):
    """As mamba-ssm's, called for a training step."""
    assert dt_softplus and not return_final_states and z is None
    return LikeChunkScan.apply(x, dt, A, B, C, D, dt_bias, initial_states)
