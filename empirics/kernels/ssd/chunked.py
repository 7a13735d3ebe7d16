"""The SSD scan for CPUs: matrix products inside chunks, a recurrence between them, and a hand-written backward pass.

The quadratic form of a chunk (Q, Q) exists for one chunk at a time; the forward pass keeps one state per chunk and the
backward pass recomputes the rest. Decays over a span are exp of a difference of prefix sums held in float64, so a long step
does not blur the short ones after it, and nothing is ever divided by a decay. The derivation is in README.md beside this file.

Inside a chunk the axes are b (batch), g (group), r (head of the group), i, j (steps), p (head dimension), n (state).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ...errors import InvalidInput
from ..inputs import SSDInputs, ssd_function
from ..selective_scan.oracle import SOFTPLUS_LINEAR_ABOVE

CHUNK = 64
"""Steps per chunk: work inside a chunk grows with Q (P + N) per step, work between chunks falls with P N / Q."""


class _Chunk(NamedTuple):
    """What both passes need of one chunk."""

    x: Tensor  # (b, g, r, j, p), the input
    xbar: Tensor  # (b, g, r, j, p) = dt x
    dt: Tensor  # (b, g, r, j)
    B: Tensor  # (b, g, j, n)
    C: Tensor  # (b, g, i, n)
    span: Tensor  # (b, g, r, i, j), decay from step j to step i, zero above the diagonal
    since: Tensor  # (b, g, r, i), decay from before the chunk to step i
    until: Tensor  # (b, g, r, j), decay from step j to the end of the chunk
    total: Tensor  # (b, g, r), decay of the whole chunk
    mixing: Tensor  # (b, g, r, i, j) = span · C_i·B_j


def _chunk(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, start: int, stop: int) -> _Chunk:
    batch, _, heads, headdim = x.shape
    groups = B.shape[2]
    per_group, steps = heads // groups, stop - start
    x_c = x[:, start:stop].reshape(batch, steps, groups, per_group, headdim).permute(0, 2, 3, 1, 4)
    dt_c = dt[:, start:stop].permute(0, 2, 1).reshape(batch, groups, per_group, steps)
    B_c, C_c = (v[:, start:stop].permute(0, 2, 1, 3).contiguous() for v in (B, C))
    log_decay = (dt_c.double() * A.double().view(groups, per_group, 1)).cumsum(-1)
    span = (log_decay[..., :, None] - log_decay[..., None, :]).to(x.dtype)
    above = torch.ones(steps, steps, dtype=torch.bool, device=x.device).triu_(1)
    span.masked_fill_(above, -torch.inf).exp_()
    last = log_decay[..., -1:]
    return _Chunk(
        x=x_c,
        xbar=x_c * dt_c[..., None],
        dt=dt_c,
        B=B_c,
        C=C_c,
        span=span,
        since=log_decay.to(x.dtype).exp(),
        until=(last - log_decay).to(x.dtype).exp(),
        total=last[..., 0].to(x.dtype).exp(),
        mixing=span * (C_c @ B_c.transpose(-1, -2))[:, :, None],
    )


def _fold(value: Tensor) -> Tensor:
    """(b, g, r, j, p) -> (b, g, j, r p), so that one product serves all heads of a group."""
    return value.transpose(2, 3).flatten(3)


def _unfold(value: Tensor, per_group: int) -> Tensor:
    """(b, g, j, r p) -> (b, g, r, j, p)."""
    return value.unflatten(3, (per_group, -1)).transpose(2, 3)


def _steps_first(value: Tensor) -> Tensor:
    """(b, g, r, j, ...) -> (b, j, g r, ...)."""
    return value.movedim(3, 1).flatten(2, 3)


class _SSD(Function):
    """y_t = h_t C_t with h_t = exp(dt_t A) h_{t-1} + dt_t x_t ⊗ B_t; all arguments of one dtype, float32 or float64."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, h0: Tensor | None, chunk: int
    ) -> tuple[Tensor, Tensor]:
        batch, length, heads, headdim = x.shape
        groups, n = B.shape[2:]
        per_group = heads // groups
        starts = range(0, length, chunk)
        # One state per chunk, the one before it, heads of a group folded: (g, r p, n).
        boundary = x.new_zeros(len(starts) + 1, batch, groups, per_group * headdim, n)
        if h0 is not None:
            boundary[0].copy_(h0.reshape(batch, groups, per_group * headdim, n))
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        with torch.autocast(x.device.type, enabled=False):
            for i, start in enumerate(starts):
                stop = min(start + chunk, length)
                c = _chunk(x, dt, A, B, C, start, stop)
                h = boundary[i]
                y_c = c.mixing @ c.xbar
                y_c += _unfold(c.C @ h.transpose(-1, -2), per_group) * c.since[..., None]
                y[:, start:stop] = _steps_first(y_c)
                torch.matmul(_fold(c.xbar * c.until[..., None]).transpose(-1, -2), c.B, out=boundary[i + 1])
                boundary[i + 1] += h * c.total.repeat_interleave(headdim, 2)[..., None]
        ctx.save_for_backward(x, dt, A, B, C, boundary)
        ctx.chunk = chunk
        ctx.set_materialize_grads(False)
        return y, boundary[-1].view(batch, heads, headdim, n).clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, dh_last: Tensor | None) -> tuple[Tensor | None, ...]:
        x, dt, A, B, C, boundary = ctx.saved_tensors
        need_x, need_dt, need_A, need_B, need_C, need_h0 = ctx.needs_input_grad[:6]
        chunk = ctx.chunk
        batch, length, heads, headdim = x.shape
        groups, n = B.shape[2:]
        per_group = heads // groups
        if dy is None:
            dy = torch.zeros_like(x)
        carry = x.new_zeros(batch, groups, per_group * headdim, n)  # gradient of the state after the chunk
        if dh_last is not None:
            carry.copy_(dh_last.reshape(carry.shape))
        dx = torch.empty_like(x, memory_format=torch.contiguous_format)
        ddt = torch.empty_like(dt, memory_format=torch.contiguous_format)
        dB, dC = (torch.empty_like(v, memory_format=torch.contiguous_format) for v in (B, C))
        dA = torch.zeros_like(A)

        with torch.autocast(x.device.type, enabled=False):
            for i in reversed(range(boundary.shape[0] - 1)):
                start = i * chunk
                stop = min(start + chunk, length)
                c = _chunk(x, dt, A, B, C, start, stop)
                h = boundary[i]
                dy_c = dy[:, start:stop].reshape(batch, stop - start, groups, per_group, headdim).permute(0, 2, 3, 1, 4)
                dy_since = _fold(dy_c * c.since[..., None])  # through the state before the chunk
                to_end = _unfold(c.B @ carry.transpose(-1, -2), per_group) * c.until[..., None]  # to the state after it

                dmixing = dy_c @ c.xbar.transpose(-1, -2)
                dscores = (dmixing * c.span).sum(2)  # gradient of C_i·B_j
                if need_C:
                    dC[:, start:stop] = (dscores @ c.B + dy_since @ h).transpose(1, 2)
                if need_B:
                    from_end = _fold(c.xbar * c.until[..., None]) @ carry
                    dB[:, start:stop] = (dscores.transpose(-1, -2) @ c.C + from_end).transpose(1, 2)
                dxbar = c.mixing.transpose(-1, -2) @ dy_c + to_end
                if need_x:
                    dx[:, start:stop] = _steps_first(dxbar * c.dt[..., None])
                if need_dt or need_A:
                    dlog = _log_decay_gradient(c, dmixing, dy_since, to_end, h, carry, per_group)
                    ddt[:, start:stop] = _steps_first(dlog * A.view(groups, per_group, 1) + (dxbar * c.x).sum(-1))
                    dA += (dlog * c.dt).sum((0, 3)).view(heads)
                carry = carry * c.total.repeat_interleave(headdim, 2)[..., None] + dy_since.transpose(-1, -2) @ c.C

        return (
            dx if need_x else None,
            ddt if need_dt else None,
            dA if need_A else None,
            dB if need_B else None,
            dC if need_C else None,
            carry.reshape(batch, heads, headdim, n) if need_h0 else None,
            None,
        )


def _log_decay_gradient(
    c: _Chunk, dmixing: Tensor, dy_since: Tensor, to_end: Tensor, h: Tensor, carry: Tensor, per_group: int
) -> Tensor:
    """dL / d(dt_k A), (b, g, r, k): everything that crosses step k, from a source before it to a reader at k or later.

    Sums of contributions, never differences of sums, so nothing cancels.
    """
    # Sources j < k inside the chunk, readers i ≥ k inside it.
    crossing = (dmixing * c.mixing).cumsum(-1).tril_(-1)  # sources up to j, readers i > j
    inside = F.pad(crossing.sum(-2)[..., :-1], (1, 0))  # ... which is k = j + 1
    # Sources inside, read after the chunk.
    leaving = (c.xbar * to_end).sum(-1).cumsum(-1)
    leaving = F.pad(leaving[..., :-1], (1, 0))
    # The state before the chunk, read inside.
    entering = (_unfold(dy_since, per_group) * _unfold(c.C @ h.transpose(-1, -2), per_group)).sum(-1)
    entering = entering.flip(-1).cumsum(-1).flip(-1)
    # ... and read after it.
    through = (carry * h).sum(-1).unflatten(2, (per_group, -1)).sum(-1) * c.total
    return inside + leaving + entering + through[..., None]


def scan(inputs: SSDInputs, want_last: bool = True, chunk: int | None = None) -> tuple[Tensor, Tensor]:
    """:func:`empirics.oracle.ssd`, fast on CPUs: same equation, arguments, shapes and errors.

    Computed in float32 for bfloat16, float16 and float32 inputs, in float64 as soon as one input is float64; the output has
    x's dtype, the last state the dtype of the computation. Gradients of every input exist, once (not twice).

    Parameters
    ----------
    chunk:
        Steps per chunk, :data:`CHUNK` where left out. Changes rounding at most, never the meaning.

    Raises
    ------
    InvalidInput
        As the oracle, and for ``chunk`` below 1.
    """
    if chunk is None:
        chunk = CHUNK
    elif chunk < 1:
        raise InvalidInput(f"chunk = {chunk}: a chunk has at least one step")
    out_dtype = inputs.x.dtype
    wide = torch.float64 if any(v is not None and v.dtype == torch.float64 for v in inputs.tensors) else torch.float32
    x, dt, A, B, C, D, z, dt_bias, h0, dt_softplus = inputs.mapped(lambda v: v.to(wide))
    if dt_bias is not None:
        dt = dt + dt_bias
    if dt_softplus:
        dt = F.softplus(dt, threshold=SOFTPLUS_LINEAR_ABOVE)
    y, last = _SSD.apply(x, dt, A, B, C, h0, chunk)
    if D is not None:
        y = y + D[:, None] * x
    if z is not None:
        y = y * F.silu(z)
    return y.to(out_dtype), last


ssd_scan = ssd_function(scan)
