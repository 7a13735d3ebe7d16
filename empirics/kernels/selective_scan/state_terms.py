"""What an initial state adds to the output, and what the inputs leave in the last state, without running the recurrence.

A stock scan that starts from zero and ignores the gradient of its last state becomes complete with these two terms. Both
need only prefix sums of dt, because the decay over a span is exp(A Σ dt):

    response     r_t = Σ_n C_t[n] exp(A[:, n] S_t) h0[:, n],            S_t = dt_1 + ... + dt_t
    final state  h_L[:, n] = Σ_t exp(A[:, n] T_t) w_t B_t[n],           T_t = dt_{t+1} + ... + dt_L,  w_t = dt_t u_t

Each goes over the N states one after the other and recomputes in the backward pass, so memory is a few (batch, D, L)
tensors, not N of them. A constant offset h' of the readout adds

    offset       (h' C_t) · silu(z_t)

which keeps its inputs only and computes the rest again, too.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .naive import widen


class _Response(Function):
    @staticmethod
    def forward(ctx: Any, S: Tensor, A: Tensor, C: Tensor, h0: Tensor) -> Tensor:
        response = torch.zeros_like(S)
        for n in range(A.shape[1]):
            response += torch.exp(S * A[:, n, None]) * h0[:, :, n, None] * C[:, n, None, :]
        ctx.save_for_backward(S, A, C, h0)
        return response

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dr: Tensor) -> tuple[Tensor, ...]:
        S, A, C, h0 = ctx.saved_tensors
        dS, dA, dC, dh0 = (torch.zeros_like(v) for v in (S, A, C, h0))
        for n in range(A.shape[1]):
            e = torch.exp(S * A[:, n, None]) * dr
            dC[:, n] = (e * h0[:, :, n, None]).sum(1)
            e *= C[:, n, None, :]
            dh0[:, :, n] = e.sum(-1)
            e *= h0[:, :, n, None]
            dS += e * A[:, n, None]
            dA[:, n] = (e * S).sum((0, 2))
        return dS, dA, dC, dh0


class _FinalState(Function):
    @staticmethod
    def forward(ctx: Any, T: Tensor, A: Tensor, w: Tensor, B: Tensor) -> Tensor:
        ctx.save_for_backward(T, A, w, B)
        states = [(torch.exp(T * A[:, n, None]) * w * B[:, n, None, :]).sum(-1) for n in range(A.shape[1])]
        return torch.stack(states, dim=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dh: Tensor) -> tuple[Tensor, ...]:
        T, A, w, B = ctx.saved_tensors
        dT, dA, dw, dB = (torch.zeros_like(v) for v in (T, A, w, B))
        for n in range(A.shape[1]):
            e = torch.exp(T * A[:, n, None]) * dh[:, :, n, None]
            dB[:, n] = (e * w).sum(1)
            e *= B[:, n, None, :]
            dw += e
            e *= w
            dT += e * A[:, n, None]
            dA[:, n] = (e * T).sum((0, 2))
        return dT, dA, dw, dB


class _GatedOffset(Function):
    @staticmethod
    def forward(ctx: Any, offset: Tensor, C: Tensor, z: Tensor) -> Tensor:
        ctx.save_for_backward(offset, C, z)
        return offset_term(offset, C, z)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        offset, C, z = ctx.saved_tensors
        return offset_gradients(offset, C, z, dy, ctx.needs_input_grad)


def offset_term(offset: Tensor, C: Tensor, z: Tensor) -> Tensor:
    """:func:`gated_offset` of C and z of one dtype, without gradients."""
    return _offset_rows(offset, C).transpose(1, 2).mul_(F.silu(z))


def offset_gradients(
    offset: Tensor, C: Tensor, z: Tensor, dy: Tensor, need: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of those of (offset, C, z) that ``need`` names, of :func:`offset_term`."""
    d_offset = dC = dz = None
    if need[2]:
        dz = torch.ops.aten.silu_backward(_offset_rows(offset, C).transpose(1, 2).mul_(dy), z)
    rows = (dy * F.silu(z)).transpose(1, 2).flatten(0, 1)
    if need[0]:
        d_offset = (rows.T @ C.transpose(1, 2).flatten(0, 1)).to(offset.dtype)
    if need[1]:
        parts = torch.stack([rows @ part for part in _parts(offset, C.dtype)])
        dC = parts.sum(0).unflatten(0, (C.shape[0], -1)).transpose(1, 2)
    return d_offset, dC, dz


def _parts(offset: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """The offset in this dtype, in two parts where it has fewer bits: what it rounds to and the rest."""
    first = offset.to(dtype)
    return [first] if dtype == offset.dtype else [first, (offset - first.to(offset.dtype)).to(dtype)]


def _offset_rows(offset: Tensor, C: Tensor) -> Tensor:
    """h' C_t, (batch, L, D) in C's dtype: one product, over the parts of h' side by side."""
    parts = _parts(offset, C.dtype)
    return F.linear(torch.cat([C.transpose(1, 2)] * len(parts), dim=-1), torch.cat(parts, dim=-1))


def gated_offset(offset: Tensor, C: Tensor, z: Tensor) -> Tensor:
    """(h' C_t) · silu(z_t), what a readout offset adds to the gated output, (batch, D, L) in z's dtype.

    Parameters
    ----------
    offset, C, z:
        h' (D, N), at least float32; (batch, N, L); (batch, D, L). In half precision the product and each factor are rounded to
        it, sums are in float32, and h' counts with twice the bits.
    """
    if C.dtype != z.dtype:
        return gated_offset(offset, widen(C), widen(z)).to(z.dtype)
    return _GatedOffset.apply(offset.to(widen(C).dtype), C, z)


def initial_state_response(dt: Tensor, A: Tensor, C: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
    """What h0 adds to y before the gate, (batch, D, L), and to the last state, (batch, D, N).

    Parameters
    ----------
    dt:
        Step sizes after softplus, (batch, D, L).
    A, C, h0:
        (D, N), (batch, N, L), (batch, D, N); one floating dtype with dt.
    """
    S = dt.cumsum(-1)
    return _Response.apply(S, A, C, h0), torch.exp(S[:, :, -1, None] * A) * h0


def final_state(dt: Tensor, u: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """h_L (batch, D, N) of a scan from zero, with its gradients; shapes as above, u (batch, D, L)."""
    after = dt.flip(-1).cumsum(-1).flip(-1)  # dt_t + ... + dt_L
    T = torch.cat([after[:, :, 1:], torch.zeros_like(after[:, :, :1])], dim=-1)  # shifted: no difference of sums
    return _FinalState.apply(T, A, dt * u, B)
