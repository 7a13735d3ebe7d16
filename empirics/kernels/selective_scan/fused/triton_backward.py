"""Kernels of the fused scan's backward pass."""

# mypy: allow-untyped-defs, no-check-untyped-defs
# Below is Triton's language, which Python's types do not describe.
from __future__ import annotations

import triton
import triton.language as tl

from .triton_tiles import column, load_tile, power_of_two, step_sizes, store_tile


@triton.jit
def gated(d_out, z, HAS_Z: tl.constexpr):
    """Gradient of y from that of out = y silu(z), and silu'(z) without its factor y: dz = d_out y slope."""
    if HAS_Z:
        sigmoid = 1.0 / (1.0 + tl.exp2(-z * 1.4426950408889634))
        return d_out * z * sigmoid, sigmoid * (1.0 + z * (1.0 - sigmoid))
    return d_out, d_out


@triton.jit
def backward_kernel(
    u_ptr, dt_ptr, A_ptr, B_ptr, C_ptr, D_ptr, z_ptr, bias_ptr, kept_ptr, d_out_ptr, end_ptr, scratch_ptr,
    du_ptr, ddt_ptr, dA_ptr, dB_ptr, dC_ptr, dD_ptr, dz_ptr, dbias_ptr, dh0_ptr,
    width, plane, length, segment, segments,
    u_batch, u_row, dt_batch, dt_row, z_batch, z_row, d_out_batch, d_out_row,
    HAS_D: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_D_OUT: tl.constexpr, HAS_END: tl.constexpr,
    NEED_U: tl.constexpr, NEED_DT: tl.constexpr, NEED_A: tl.constexpr, NEED_B: tl.constexpr, NEED_C: tl.constexpr,
    NEED_D: tl.constexpr, NEED_Z: tl.constexpr, NEED_DT_BIAS: tl.constexpr, NEED_H0: tl.constexpr,
    SOFTPLUS: tl.constexpr, EVEN: tl.constexpr,
    N: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr, T: tl.constexpr, K: tl.constexpr, ALIGN: tl.constexpr,
    PRECISE: tl.constexpr,
):  # fmt: skip
    """Gradients of one (batch, segment of time, BD channels).

    kept: the forward pass's states before every K-th step; end (batch, segments, D, N): gradient of the state after each
    segment. Partial sums to be added up outside, in a fixed order: dA (batch, segments, D, N), dD and dbias (batch, segments,
    D), dB and dC (batch, channel blocks, L, BN). scratch: K / T states for each program.
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
    slot = b * segments + part
    # Only these gradients read the states; du, dB, dD and dh0 do not.
    READS_STATES: tl.constexpr = NEED_DT or NEED_A or NEED_C or NEED_Z or NEED_DT_BIAS

    A2 = tl.load(A_ptr + state, mask=in_state, other=0.0).to(tl.float32) * 1.4426950408889634
    skip = tl.zeros((BD,), tl.float32)
    if HAS_D:
        skip = tl.load(D_ptr + d, mask=in_width, other=0.0).to(tl.float32)
    bias = tl.zeros((BD,), tl.float32)
    if HAS_BIAS:
        bias = tl.load(bias_ptr + d, mask=in_width, other=0.0).to(tl.float32)
    g = tl.zeros((BD, BN), tl.float32)
    if HAS_END:
        g = tl.load(end_ptr + slot * plane + state, mask=in_state, other=0.0).to(tl.float32)

    u_rows = u_ptr + tl.multiple_of(b * u_batch + d64 * u_row, ALIGN)
    dt_rows = dt_ptr + tl.multiple_of(b * dt_batch + d64 * dt_row, ALIGN)
    z_rows = z_ptr + tl.multiple_of(b * z_batch + d64 * z_row, ALIGN)
    d_out_rows = d_out_ptr + tl.multiple_of(b * d_out_batch + d64 * d_out_row, ALIGN)
    own = tl.multiple_of((b * width + d64) * length, ALIGN)
    B_rows = B_ptr + b * length * BN + n
    C_rows = C_ptr + b * length * BN + n
    if NEED_B:
        dB_rows = dB_ptr + (b * blocks + block) * length * BN + n
    if NEED_C:
        dC_rows = dC_ptr + (b * blocks + block) * length * BN + n
    kept_rows = kept_ptr + b * tl.cdiv(length, K) * plane + state
    scratch = scratch_ptr + pid.to(tl.int64) * (K // T * BD * BN) + (tl.arange(0, BD) * BN)[:, None] + n[None, :]

    dA = tl.zeros((BD, BN), tl.float32)
    dD = tl.zeros((BD,), tl.float32)
    dbias = tl.zeros((BD,), tl.float32)
    first = part * segment
    stop = tl.minimum(first + segment, length)
    chunks = tl.cdiv(stop - first, K)
    for back in range(chunks):
        start = first + (chunks - 1 - back) * K
        tiles = tl.cdiv(tl.minimum(K, stop - start), T)
        h = tl.zeros((BD, BN), tl.float32)
        chunk_D = tl.zeros((BD,), tl.float32)  # by chunk first: a long sum would round at every tile
        chunk_bias = tl.zeros((BD,), tl.float32)
        if READS_STATES:
            h = tl.load(kept_rows + (start // K).to(tl.int64) * plane, mask=in_state, other=0.0)
            # The chunk's states before each of its tiles, again from the one before the chunk.
            for j in range(tiles - 1):
                tl.store(scratch + j * (BD * BN), h)
                t0 = tl.multiple_of(start + j * T, T)
                u = load_tile(u_rows, t0, steps, length, in_width, EVEN)
                raw = load_tile(dt_rows, t0, steps, length, in_width, EVEN)
                dt, _ = step_sizes(raw, bias, t0 + steps < length, SOFTPLUS, HAS_BIAS, EVEN)
                x = dt * u
                for i in tl.static_range(T):
                    B_i = tl.load(B_rows + (t0 + i).to(tl.int64) * BN)
                    h = (
                        power_of_two(column(dt, steps, i)[:, None] * A2, PRECISE) * h
                        + column(x, steps, i)[:, None] * B_i[None, :]
                    )
            if K > T:
                tl.debug_barrier()
        for j in range(tiles):
            tile = tiles - 1 - j
            if READS_STATES and K > T:  # noqa: SIM102 (one branch while compiling, one in the kernel)
                if j > 0:
                    h = tl.load(scratch + tile * (BD * BN))
            t0 = tl.multiple_of(start + tile * T, T)
            u = load_tile(u_rows, t0, steps, length, in_width, EVEN)
            raw = load_tile(dt_rows, t0, steps, length, in_width, EVEN)
            dt, slope = step_sizes(raw, bias, t0 + steps < length, SOFTPLUS, HAS_BIAS, EVEN)
            d_out = tl.zeros((BD, T), tl.float32)
            if HAS_D_OUT:
                d_out = load_tile(d_out_rows, t0, steps, length, in_width, EVEN)
            z = d_out
            if HAS_Z:
                z = load_tile(z_rows, t0, steps, length, in_width, EVEN)
            dy, gate_slope = gated(d_out, z, HAS_Z)
            x = dt * u
            y = tl.zeros((BD, T), tl.float32)
            dx = tl.zeros((BD, T), tl.float32)
            ddt = tl.zeros((BD, T), tl.float32)

            before = (h,)
            if READS_STATES:
                for i in tl.static_range(T):
                    at = tl.minimum(t0 + i, length - 1).to(tl.int64) * BN
                    B_i = tl.load(B_rows + at)
                    h = (
                        power_of_two(column(dt, steps, i)[:, None] * A2, PRECISE) * h
                        + column(x, steps, i)[:, None] * B_i[None, :]
                    )
                    before += (h,)  # type: ignore[assignment]
            for i in tl.static_range(T - 1, -1, -1):
                here = t0 + i < length
                at = tl.minimum(t0 + i, length - 1).to(tl.int64) * BN
                dy_i = column(dy, steps, i)
                C_i = tl.load(C_rows + at)
                if NEED_Z:
                    y = tl.where(steps[None, :] == i, tl.sum(before[i + 1] * C_i[None, :], axis=1)[:, None], y)
                if NEED_C:
                    tl.store(dC_rows + at, tl.sum(before[i + 1] * dy_i[:, None], axis=0), mask=here)
                g += dy_i[:, None] * C_i[None, :]
                if NEED_B:
                    tl.store(dB_rows + at, tl.sum(g * column(x, steps, i)[:, None], axis=0), mask=here)
                if NEED_U or NEED_DT or NEED_DT_BIAS:
                    B_i = tl.load(B_rows + at)
                    dx = tl.where(steps[None, :] == i, tl.sum(g * B_i[None, :], axis=1)[:, None], dx)
                dt_i = column(dt, steps, i)[:, None]
                g *= power_of_two(dt_i * A2, PRECISE)
                if NEED_A or NEED_DT or NEED_DT_BIAS:
                    q = g * before[i]  # gradient of dt_t A
                    if NEED_A:
                        dA += q * dt_i
                    if NEED_DT or NEED_DT_BIAS:
                        ddt = tl.where(steps[None, :] == i, tl.sum(q * A2, axis=1)[:, None], ddt)

            if NEED_Z:
                if HAS_D:
                    y += skip[:, None] * u
                store_tile(dz_ptr + own, d_out * gate_slope * y, t0, steps, length, in_width, EVEN)
            if NEED_U:
                du = dt * dx
                if HAS_D:
                    du += skip[:, None] * dy
                store_tile(du_ptr + own, du, t0, steps, length, in_width, EVEN)
            if NEED_D:
                chunk_D += tl.sum(dy * u, axis=1)
            if NEED_DT or NEED_DT_BIAS:
                ddt = (ddt * 0.6931471805599453 + u * dx) * slope
                if NEED_DT:
                    store_tile(ddt_ptr + own, ddt, t0, steps, length, in_width, EVEN)
                if NEED_DT_BIAS:
                    if not EVEN:
                        ddt = tl.where((t0 + steps < length)[None, :], ddt, 0.0)
                    chunk_bias += tl.sum(ddt, axis=1)
        dD += chunk_D
        dbias += chunk_bias
        if READS_STATES and K > T:
            tl.debug_barrier()

    if NEED_A:
        tl.store(dA_ptr + slot * plane + state, dA, mask=in_state)
    if NEED_D:
        tl.store(dD_ptr + slot * width + d, dD, mask=in_width)
    if NEED_DT_BIAS:
        tl.store(dbias_ptr + slot * width + d, dbias, mask=in_width)
    if NEED_H0:  # noqa: SIM102
        if part == 0:
            tl.store(dh0_ptr + b * plane + state, g.to(dh0_ptr.dtype.element_ty), mask=in_state)


@triton.jit
def local_adjoint_kernel(
    dt_ptr, A_ptr, C_ptr, z_ptr, bias_ptr, d_out_ptr, local_ptr, total_ptr,
    width, plane, length, segment, segments,
    dt_batch, dt_row, z_batch, z_row, d_out_batch, d_out_row,
    HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_D_OUT: tl.constexpr, SOFTPLUS: tl.constexpr, EVEN: tl.constexpr,
    N: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr, T: tl.constexpr, ALIGN: tl.constexpr, PRECISE: tl.constexpr,
):  # fmt: skip
    """What a segment's outputs contribute to the gradient of the state before it, local (batch, segments, D, N), and Σ dt."""
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
    dt_rows = dt_ptr + tl.multiple_of(b * dt_batch + d64 * dt_row, ALIGN)
    z_rows = z_ptr + tl.multiple_of(b * z_batch + d64 * z_row, ALIGN)
    d_out_rows = d_out_ptr + tl.multiple_of(b * d_out_batch + d64 * d_out_row, ALIGN)
    C_rows = C_ptr + b * length * BN + n

    g = tl.zeros((BD, BN), tl.float32)
    total = tl.zeros((BD,), tl.float32)
    first = part * segment
    tiles = tl.cdiv(tl.minimum(segment, length - first), T)
    for j in range(tiles):
        t0 = tl.multiple_of(first + (tiles - 1 - j) * T, T)
        raw = load_tile(dt_rows, t0, steps, length, in_width, EVEN)
        dt, _ = step_sizes(raw, bias, t0 + steps < length, SOFTPLUS, HAS_BIAS, EVEN)
        total += tl.sum(dt, axis=1)
        d_out = tl.zeros((BD, T), tl.float32)
        if HAS_D_OUT:
            d_out = load_tile(d_out_rows, t0, steps, length, in_width, EVEN)
        z = d_out
        if HAS_Z:
            z = load_tile(z_rows, t0, steps, length, in_width, EVEN)
        dy, _ = gated(d_out, z, HAS_Z)
        for i in tl.static_range(T - 1, -1, -1):
            C_i = tl.load(C_rows + tl.minimum(t0 + i, length - 1).to(tl.int64) * BN)
            g += column(dy, steps, i)[:, None] * C_i[None, :]
            g *= power_of_two(column(dt, steps, i)[:, None] * A2, PRECISE)
    tl.store(local_ptr + slot * plane + state, g, mask=in_state)
    tl.store(total_ptr + slot * width + d, total, mask=in_width)
