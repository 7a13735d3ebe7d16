"""The selective scan for CPUs: vectorised PyTorch, sequential in time, in chunks, with a hand-written backward pass.

Layout is time-major with channels innermost, so one step works on a contiguous slab (batch, N, D), every broadcast along the
inner axis is by a scalar, and a chunk of steps fits the cache. The forward pass keeps one state per chunk; the backward pass
recomputes the states of a chunk from there. Nothing of size batch·D·L·N is ever stored, and nothing is ever divided by a
decay. The derivation is in README.md beside this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ...errors import InvalidInput
from ..inputs import Outcome, SelectiveInputs, selective_function
from .groups import by_group, is_plain
from .oracle import SOFTPLUS_LINEAR_ABOVE

_CHUNK_ELEMENTS = 1 << 19
"""Elements of one chunk buffer. Two or three such buffers (2 MiB each in float32) stay in the second and third cache level,
while the per-operation cost of PyTorch, a few microseconds, is spread over enough work."""

_CHUNK_STEPS = (8, 128)
"""Bounds of the chunk length: at least 8, so that saved states are at most 1/8 of all; at most 128, for small slabs."""


def chunk_length(slab: int, length: int) -> int:
    """Steps per chunk for a slab of batch·N·D elements and a sequence of ``length``."""
    low, high = _CHUNK_STEPS
    return max(1, min(length, high, max(low, _CHUNK_ELEMENTS // max(slab, 1))))


def _time_major(value: Tensor, start: int, stop: int) -> Tensor:
    """(batch, D, L) -> contiguous (T, batch, D) of the steps start..stop-1. May share memory with ``value``: read only."""
    return value[:, :, start:stop].permute(2, 0, 1).contiguous()


def _decays_into(out: Tensor, dt: Tensor, A_t: Tensor) -> Tensor:
    """out[t, b, n, d] = exp(dt[t, b, d] A[d, n])."""
    return torch.mul(dt[:, :, None, :], A_t, out=out).exp_()


def _outer_into(out: Tensor, over_n: Tensor, over_d: Tensor) -> Tensor:
    """out[t, b, n, d] = over_n[t, b, n] over_d[t, b, d]."""
    return torch.mul(over_n[:, :, :, None], over_d[:, :, None, :], out=out)


def _run(states: Sequence[Tensor], decays: Sequence[Tensor], steps: int) -> None:
    """states[t+1] += decays[t] states[t], in place, t = 0..steps-1."""
    for t in range(steps):
        states[t + 1].addcmul_(decays[t], states[t])


class _SelectiveScan(Function):
    """y_t = C_t·h_t with h_t = exp(dt_t A) h_{t-1} + dt_t u_t B_t; all arguments of one dtype, float32 or float64."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, h0: Tensor | None, chunk: int
    ) -> tuple[Tensor, Tensor]:
        batch, d, length = u.shape
        n = A.shape[1]
        A_t = A.t().contiguous()
        decay = u.new_empty(chunk, batch, n, d)
        h = u.new_empty(chunk + 1, batch, n, d)  # h[0] is the state before the chunk
        h[0].copy_(h0.transpose(1, 2)) if h0 is not None else h[0].zero_()
        decays, states = decay.unbind(0), h.unbind(0)
        starts = range(0, length, chunk)
        boundary = u.new_empty(len(starts), batch, n, d)
        y = u.new_empty(length, batch, d)

        with torch.autocast(u.device.type, enabled=False):
            for i, start in enumerate(starts):
                stop = min(start + chunk, length)
                steps = stop - start
                dt_c = _time_major(dt, start, stop)
                x_c = _time_major(u, start, stop) * dt_c
                C_c = _time_major(C, start, stop)
                boundary[i].copy_(states[0])
                _decays_into(decay[:steps], dt_c, A_t)
                _outer_into(h[1 : steps + 1], _time_major(B, start, stop), x_c)
                _run(states, decays, steps)
                rows = steps * batch
                torch.bmm(C_c.view(rows, 1, n), h[1 : steps + 1].view(rows, n, d), out=y[start:stop].view(rows, 1, d))
                states[0].copy_(states[steps])
        ctx.save_for_backward(u, dt, A, B, C, boundary)
        ctx.chunk = chunk
        ctx.set_materialize_grads(False)
        return y.permute(1, 2, 0), states[0].transpose(1, 2).clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, dh_last: Tensor | None) -> tuple[Tensor | None, ...]:
        u, dt, A, B, C, boundary = ctx.saved_tensors
        need_u, need_dt, need_A, need_B, need_C, need_h0 = ctx.needs_input_grad[:6]
        chunk = ctx.chunk
        batch, d, length = u.shape
        n = A.shape[1]
        A_t = A.t().contiguous()
        decay, g = u.new_empty(chunk, batch, n, d), u.new_empty(chunk, batch, n, d)
        h = u.new_empty(chunk + 1, batch, n, d)
        decays, states, adjoints = decay.unbind(0), h.unbind(0), g.unbind(0)
        carry = u.new_zeros(batch, n, d)  # gradient of the state after the chunk
        if dh_last is not None:
            carry.copy_(dh_last.transpose(1, 2))
        du, ddt = (u.new_empty(length, batch, d) if need else None for need in (need_u, need_dt))
        dB, dC = (u.new_zeros(length, batch, n) if need else None for need in (need_B, need_C))
        dA = u.new_zeros(n, d) if need_A else None

        with torch.autocast(u.device.type, enabled=False):
            for i in reversed(range(boundary.shape[0])):
                start = i * chunk
                stop = min(start + chunk, length)
                steps = stop - start
                rows = steps * batch
                dt_c, u_c = _time_major(dt, start, stop), _time_major(u, start, stop)
                B_c, x_c = _time_major(B, start, stop), u_c * dt_c
                decay_c, g_c, h_c = decay[:steps], g[:steps], h[1 : steps + 1]

                # The chunk's states again, from the one before it.
                _decays_into(decay_c, dt_c, A_t)
                _outer_into(h_c, B_c, x_c)
                states[0].copy_(boundary[i])
                _run(states, decays, steps)

                # g_t, the gradient of h_t: g_t = C_t dy_t + exp(dt_{t+1} A) g_{t+1}.
                if dy is None:
                    g_c.zero_()
                else:
                    dy_c = _time_major(dy, start, stop)
                    _outer_into(g_c, _time_major(C, start, stop), dy_c)
                    if dC is not None:
                        torch.bmm(h_c.view(rows, n, d), dy_c.view(rows, d, 1), out=dC[start:stop].view(rows, n, 1))
                adjoints[steps - 1].add_(carry)
                for t in range(steps - 2, -1, -1):
                    adjoints[t].addcmul_(decays[t + 1], adjoints[t + 1])
                torch.mul(decays[0], adjoints[0], out=carry)

                if dB is not None:
                    torch.bmm(g_c.view(rows, n, d), x_c.view(rows, d, 1), out=dB[start:stop].view(rows, n, 1))
                if not (need_u or need_dt or need_A):
                    continue
                dx = torch.bmm(B_c.view(rows, 1, n), g_c.view(rows, n, d)).view(steps, batch, d)
                if du is not None:
                    torch.mul(dx, dt_c, out=du[start:stop])
                if not (need_dt or need_A):
                    continue
                # q_t = dL / d(dt_t A) = g_t exp(dt_t A) h_{t-1}; the decays are not needed any more.
                q = g_c.mul_(decay_c).mul_(h[:steps])
                if ddt is not None:
                    torch.sum(torch.mul(q, A_t, out=decay_c), 2, out=ddt[start:stop])
                    ddt[start:stop].addcmul_(dx, u_c)
                if dA is not None:
                    dA += torch.mul(q, dt_c[:, :, None, :], out=decay_c).sum((0, 1))

        def batch_major(value: Tensor | None) -> Tensor | None:
            return None if value is None else value.permute(1, 2, 0)

        return (
            batch_major(du),
            batch_major(ddt),
            None if dA is None else dA.t(),
            batch_major(dB),
            batch_major(dC),
            carry.transpose(1, 2) if need_h0 else None,
            None,
        )


def scan(inputs: SelectiveInputs, want_last: bool = True, chunk: int | None = None) -> Outcome:
    """:func:`empirics.oracle.selective_scan`, fast on CPUs: same equation, arguments, shapes and errors.

    Computed in float32 for bfloat16, float16 and float32 inputs, in float64 as soon as one input is float64; the output has
    u's dtype, the last state the dtype of the computation. Gradients of every input exist, once (not twice).

    Parameters
    ----------
    chunk:
        Steps per chunk, chosen by :func:`chunk_length` where left out. Changes rounding at most, never the meaning.

    Raises
    ------
    InvalidInput
        As the oracle, and for ``chunk`` below 1.
    """
    if not is_plain(inputs):
        return by_group(scan, inputs, want_last, chunk=chunk)
    out_dtype, length = inputs.u.dtype, inputs.u.shape[2]
    if chunk is None:
        chunk = chunk_length(inputs.u.shape[0] * inputs.A.numel(), length)
    elif chunk < 1:
        raise InvalidInput(f"chunk = {chunk}: a chunk has at least one step")
    wide = torch.float64 if any(v is not None and v.dtype == torch.float64 for v in inputs.tensors) else torch.float32
    u, dt, A, B, C, D, z, dt_bias, h0, dt_softplus = inputs.mapped(lambda v: v.to(wide))
    if dt_bias is not None:
        dt = dt + dt_bias[:, None]
    if dt_softplus:
        dt = F.softplus(dt, threshold=SOFTPLUS_LINEAR_ABOVE)
    y, last = _SelectiveScan.apply(u, dt, A, B, C, h0, min(chunk, length))
    if D is not None:
        y = y + D[:, None] * u
    if z is not None:
        y = y * F.silu(z)
    return y.to(out_dtype), last


selective_scan = selective_function(scan)
