"""Kernels of the fused scan's forward pass, and the carry between segments of time that both passes use."""

# mypy: allow-untyped-defs, no-check-untyped-defs
# Below is Triton's language, which Python's types do not describe.
from __future__ import annotations

import triton
import triton.language as tl

from .triton_tiles import column, load_tile, power_of_two, step_sizes, store_tile


@triton.jit
def forward_kernel(
    u_ptr, dt_ptr, A_ptr, B_ptr, C_ptr, D_ptr, z_ptr, bias_ptr,
    start_ptr, out_ptr, last_ptr, kept_ptr,
    width, plane, length, segment, segments,
    u_batch, u_row, dt_batch, dt_row, z_batch, z_row,
    HAS_D: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_START: tl.constexpr,
    SOFTPLUS: tl.constexpr, KEEP: tl.constexpr, EVEN: tl.constexpr,
    N: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr, T: tl.constexpr, K: tl.constexpr, ALIGN: tl.constexpr,
    PRECISE: tl.constexpr,
):  # fmt: skip
    """out, the last state, and the states before every K-th step, of one (batch, segment of time, BD channels).

    start (batch, segments, D, N) holds the state before each segment; kept is (batch, ceil(L / K), D, N); B and C come as
    float32 (batch, L, BN), plane is D N. ``segment`` is a multiple of K, K one of T.
    """
    blocks = tl.cdiv(width, BD)
    pid = tl.program_id(0)
    block = pid % blocks
    part = (pid // blocks) % segments
    b = (pid // blocks // segments).to(tl.int64)
    d = block * BD + tl.arange(0, BD)
    in_width = d < width
    d64 = d.to(tl.int64)
    n = tl.arange(0, BN)
    steps = tl.arange(0, T)
    state = (d64 * N)[:, None] + n[None, :]
    in_state = in_width[:, None] & (n < N)[None, :]

    A2 = tl.load(A_ptr + state, mask=in_state, other=0.0).to(tl.float32) * 1.4426950408889634
    skip = tl.zeros((BD,), tl.float32)
    if HAS_D:
        skip = tl.load(D_ptr + d, mask=in_width, other=0.0).to(tl.float32)
    bias = tl.zeros((BD,), tl.float32)
    if HAS_BIAS:
        bias = tl.load(bias_ptr + d, mask=in_width, other=0.0).to(tl.float32)
    h = tl.zeros((BD, BN), tl.float32)
    if HAS_START:
        h = tl.load(start_ptr + (b * segments + part) * plane + state, mask=in_state, other=0.0).to(tl.float32)

    u_rows = u_ptr + tl.multiple_of(b * u_batch + d64 * u_row, ALIGN)
    dt_rows = dt_ptr + tl.multiple_of(b * dt_batch + d64 * dt_row, ALIGN)
    z_rows = z_ptr + tl.multiple_of(b * z_batch + d64 * z_row, ALIGN)
    out_rows = out_ptr + tl.multiple_of((b * width + d64) * length, ALIGN)
    B_rows = B_ptr + b * length * BN + n
    C_rows = C_ptr + b * length * BN + n
    kept_rows = kept_ptr + b * tl.cdiv(length, K) * plane

    first = part * segment
    tiles = tl.cdiv(tl.minimum(segment, length - first), T)
    for j in range(tiles):
        t0 = tl.multiple_of(first + j * T, T)
        if KEEP:  # noqa: SIM102 (one branch while compiling, one in the kernel)
            if t0 % K == 0:
                tl.store(kept_rows + (t0 // K).to(tl.int64) * plane + state, h, mask=in_state)
        u = load_tile(u_rows, t0, steps, length, in_width, EVEN)
        raw = load_tile(dt_rows, t0, steps, length, in_width, EVEN)
        dt, _ = step_sizes(raw, bias, t0 + steps < length, SOFTPLUS, HAS_BIAS, EVEN)
        x = dt * u
        y = tl.zeros((BD, T), tl.float32)
        for i in tl.static_range(T):
            at = tl.minimum(t0 + i, length - 1).to(tl.int64) * BN
            B_i = tl.load(B_rows + at)
            C_i = tl.load(C_rows + at)
            a = power_of_two(column(dt, steps, i)[:, None] * A2, PRECISE)
            h = a * h + column(x, steps, i)[:, None] * B_i[None, :]
            y = tl.where(steps[None, :] == i, tl.sum(h * C_i[None, :], axis=1)[:, None], y)
        if HAS_D:
            y += skip[:, None] * u
        if HAS_Z:
            z = load_tile(z_rows, t0, steps, length, in_width, EVEN)
            y *= z / (1.0 + tl.exp2(-z * 1.4426950408889634))
        store_tile(out_rows, y, t0, steps, length, in_width, EVEN)
    if part == segments - 1:
        tl.store(last_ptr + b * plane + state, h, mask=in_state)


@triton.jit
def local_state_kernel(
    u_ptr, dt_ptr, A_ptr, B_ptr, bias_ptr, local_ptr, total_ptr,
    width, plane, length, segment, segments,
    u_batch, u_row, dt_batch, dt_row,
    HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, EVEN: tl.constexpr,
    N: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr, T: tl.constexpr, ALIGN: tl.constexpr, PRECISE: tl.constexpr,
):  # fmt: skip
    """What a segment of time leaves in the state by itself, local (batch, segments, D, N), and total = Σ dt over it."""
    blocks = tl.cdiv(width, BD)
    pid = tl.program_id(0)
    block = pid % blocks
    part = (pid // blocks) % segments
    b = (pid // blocks // segments).to(tl.int64)
    d = block * BD + tl.arange(0, BD)
    in_width = d < width
    d64 = d.to(tl.int64)
    n = tl.arange(0, BN)
    steps = tl.arange(0, T)
    state = (d64 * N)[:, None] + n[None, :]
    in_state = in_width[:, None] & (n < N)[None, :]
    slot = b * segments + part

    A2 = tl.load(A_ptr + state, mask=in_state, other=0.0).to(tl.float32) * 1.4426950408889634
    bias = tl.zeros((BD,), tl.float32)
    if HAS_BIAS:
        bias = tl.load(bias_ptr + d, mask=in_width, other=0.0).to(tl.float32)
    u_rows = u_ptr + tl.multiple_of(b * u_batch + d64 * u_row, ALIGN)
    dt_rows = dt_ptr + tl.multiple_of(b * dt_batch + d64 * dt_row, ALIGN)
    B_rows = B_ptr + b * length * BN + n

    h = tl.zeros((BD, BN), tl.float32)
    total = tl.zeros((BD,), tl.float32)
    first = part * segment
    tiles = tl.cdiv(tl.minimum(segment, length - first), T)
    for j in range(tiles):
        t0 = tl.multiple_of(first + j * T, T)
        u = load_tile(u_rows, t0, steps, length, in_width, EVEN)
        raw = load_tile(dt_rows, t0, steps, length, in_width, EVEN)
        dt, _ = step_sizes(raw, bias, t0 + steps < length, SOFTPLUS, HAS_BIAS, EVEN)
        total += tl.sum(dt, axis=1)
        x = dt * u
        for i in tl.static_range(T):
            B_i = tl.load(B_rows + tl.minimum(t0 + i, length - 1).to(tl.int64) * BN)
            a = power_of_two(column(dt, steps, i)[:, None] * A2, PRECISE)
            h = a * h + column(x, steps, i)[:, None] * B_i[None, :]
    tl.store(local_ptr + slot * plane + state, h, mask=in_state)
    tl.store(total_ptr + slot * width + d, total, mask=in_width)


@triton.jit
def carry_kernel(
    A_ptr, local_ptr, total_ptr, start_ptr,
    width, plane, segments,
    HAS_START: tl.constexpr, REVERSE: tl.constexpr,
    N: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr, PRECISE: tl.constexpr,
):  # fmt: skip
    """Replace each segment's local contribution by what enters the segment: e <- exp(A total) e + local, in order of time
    for states, against it (``REVERSE``) for their gradients. start (batch, D, N) enters the first one."""
    blocks = tl.cdiv(width, BD)
    pid = tl.program_id(0)
    b = (pid // blocks).to(tl.int64)
    d = (pid % blocks) * BD + tl.arange(0, BD)
    n = tl.arange(0, BN)
    state = (d.to(tl.int64) * N)[:, None] + n[None, :]
    in_width = d < width
    in_state = in_width[:, None] & (n < N)[None, :]
    A2 = tl.load(A_ptr + state, mask=in_state, other=0.0).to(tl.float32) * 1.4426950408889634
    entering = tl.zeros((BD, BN), tl.float32)
    if HAS_START:
        entering = tl.load(start_ptr + b * plane + state, mask=in_state, other=0.0).to(tl.float32)
    for i in range(segments):
        slot = b * segments + i
        if REVERSE:
            slot = b * segments + segments - 1 - i
        here = local_ptr + slot * plane + state
        local = tl.load(here, mask=in_state, other=0.0)
        total = tl.load(total_ptr + slot * width + d, mask=in_width, other=0.0)
        tl.store(here, entering, mask=in_state)
        entering = power_of_two(total[:, None] * A2, PRECISE) * entering + local
