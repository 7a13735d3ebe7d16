"""What the fused scan's kernels share: one channel-by-time tile of the inputs, and columns taken out of it.

A program owns BD channels and all N states of them and goes through time in tiles of T steps. Scalar work (bias, softplus, the
gate) happens on (BD, T) tiles, once for all states; the recurrence then takes the tile's columns one by one.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
# Below is Triton's language, which Python's types do not describe.
from __future__ import annotations

import torch
import triton
import triton.language as tl

from ...interpreter import interpreting

LOG2E: float = 1.4426950408889634
LN2: float = 0.6931471805599453
EXP2_SHIFT = tl.constexpr(0.0 if interpreting() or torch.version.cuda is None else 2.55e-8)
"""What an NVIDIA GPU's exponential lacks in the mean on [-1, 0], as an addend of its argument (``cuda.cu`` has the same).
The compiler fuses it with the product before it; rounded by itself, it would be lost where the argument is above 1/2 in size."""


@triton.jit
def column(tile, steps, i: tl.constexpr):
    """tile[:, i] of a float32 (BD, T) tile. ``steps`` is arange(T).

    Done on the bits: a sum of integers with one nonzero term is that term, so where a thread holds whole rows the compiler
    reduces this to picking a register. A float sum would have to keep its additions of zero (and would lose -0).
    """
    bits = tile.to(tl.int32, bitcast=True)
    return tl.sum(tl.where(steps[None, :] == i, bits, 0), axis=1).to(tl.float32, bitcast=True)


@triton.jit
def power_of_two(x, PRECISE: tl.constexpr):
    """2^x. PRECISE: by the nearest integer and a series, to half a unit more than the last place.

    The hardware's is off by up to two units, always to the same side near the same number: a state that is multiplied by it at
    every step shows that. Elsewhere only its mean error is taken out (:data:`EXP2_SHIFT`).
    """
    if not PRECISE:
        return tl.exp2(x + EXP2_SHIFT)
    n = tl.minimum(tl.maximum(tl.floor(x + 0.5), -127.0), 128.0)
    f = tl.minimum(tl.maximum(x, -140.0), 140.0) - n
    p = 1.54035304e-4 + f * 1.52527338e-5
    p = 1.33335581e-3 + f * p
    p = 9.61812911e-3 + f * p
    p = 5.55041087e-2 + f * p
    p = 2.40226507e-1 + f * p
    p = 6.93147181e-1 + f * p
    p = 1.0 + f * p
    scale = ((n.to(tl.int32) + 127) << 23).to(tl.float32, bitcast=True)
    return tl.where(x != x, x, p * scale)


@triton.jit
def softplus(x):
    """log(1 + exp(x)) to float32 accuracy, relative, for every x, and its derivative 1 / (1 + exp(-x)).

    With e = exp(-|x|): max(x, 0) + log1p(e), and log1p(e) = 2 artanh(s) at s = e / (2 + e) <= 1/3, whose series stops at s^17
    with a remainder below 3^-19 / 19 relative to the first term. The hardware logarithm is not accurate enough near 1.
    """
    e = tl.exp2(-tl.abs(x) * 1.4426950408889634)
    s = e / (2.0 + e)
    q = s * s
    p = 1.0 / 17.0 + q * (1.0 / 19.0)
    p = 1.0 / 15.0 + q * p
    p = 1.0 / 13.0 + q * p
    p = 1.0 / 11.0 + q * p
    p = 1.0 / 9.0 + q * p
    p = 1.0 / 7.0 + q * p
    p = 1.0 / 5.0 + q * p
    p = 1.0 / 3.0 + q * p
    value = tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL) + 2.0 * s * (1.0 + q * p)
    slope = tl.where(x >= 0, 1.0, e) / (1.0 + e)
    return value, slope


@triton.jit
def load_tile(rows, t0, steps, length, in_width, EVEN: tl.constexpr):
    """float32 (BD, T) tile of the steps t0.. at the row pointers ``rows``; zero outside the array."""
    pointers = rows[:, None] + (t0 + steps)[None, :]
    if EVEN:
        return tl.load(pointers).to(tl.float32)
    return tl.load(pointers, mask=in_width[:, None] & (t0 + steps < length)[None, :], other=0.0).to(tl.float32)


@triton.jit
def store_tile(rows, tile, t0, steps, length, in_width, EVEN: tl.constexpr):
    pointers = rows[:, None] + (t0 + steps)[None, :]
    value = tile.to(rows.dtype.element_ty)
    if EVEN:
        tl.store(pointers, value)
    else:
        tl.store(pointers, value, mask=in_width[:, None] & (t0 + steps < length)[None, :])


@triton.jit
def step_sizes(raw, bias, in_time, SOFTPLUS: tl.constexpr, HAS_BIAS: tl.constexpr, EVEN: tl.constexpr):
    """dt after bias and softplus, and the derivative of that. Steps beyond the end get size 0: they change no state."""
    x = raw
    if HAS_BIAS:
        x += bias[:, None]
    slope = tl.full(x.shape, 1.0, tl.float32)
    if SOFTPLUS:
        x, slope = softplus(x)
    if not EVEN:
        x = tl.where(in_time[None, :], x, 0.0)
    return x, slope
