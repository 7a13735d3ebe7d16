"""Groups of B and C, and fixed ones, for scans that know neither: a scan of one group, used on each.

With G groups, channel d reads B and C of group d // (D / G). Each group is a scan of its own over D / G channels, so its values
and gradients are those of that scan, and nothing is repeated in memory.

A fixed B or C, (D, N), is a number for each channel and state. The states of a channel then are channels of their own with one
state, B = C = 1, and the drive u B:

    h_t[d,n] = exp(dt_t A[d,n]) h_{t-1}[d,n] + dt_t (u_t B[d,n]),      y_t[d] = Σ_n C[d,n] h_t[d,n]

which takes N times the memory of u, in float32 at least.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..inputs import Outcome, SelectiveInputs
from .naive import widen

Scan = Callable[..., Outcome]


def is_plain(inputs: SelectiveInputs) -> bool:
    """Whether B and C depend on the input and all channels share them."""
    return inputs.B.ndim == 3 and inputs.C.ndim == 3


def by_group(scan: Scan, inputs: SelectiveInputs, want_last: bool, **options: Any) -> Outcome:
    """``scan``, which takes plain inputs, on any inputs.

    Parameters
    ----------
    options:
        Of the scan.
    """
    counts = [v.shape[1] for v in (inputs.B, inputs.C) if v.ndim == 4]
    groups = math.lcm(*counts) if counts else 1
    results = [_run(scan, _group(inputs, g, groups), want_last, options) for g in range(groups)]
    if groups == 1:
        return results[0]
    last = torch.cat([part for _, part in results if part is not None], dim=1) if want_last else None
    return torch.cat([out for out, _ in results], dim=1), last


def _group(inputs: SelectiveInputs, group: int, groups: int) -> SelectiveInputs:
    """The inputs of one group's channels."""
    width = inputs.u.shape[1] // groups
    own = slice(group * width, (group + 1) * width)

    def selector(value: Tensor) -> Tensor:
        if value.ndim == 4:
            return value[:, group * value.shape[1] // groups]
        return value[own] if value.ndim == 2 else value

    u, dt, A, B, C, D, z, dt_bias, h0, dt_softplus = inputs
    rows = (None if v is None else v[:, own] for v in (u, dt, z, h0))
    u_g, dt_g, z_g, h0_g = rows
    D_g, bias_g = (None if v is None else v[own] for v in (D, dt_bias))
    assert u_g is not None and dt_g is not None
    return SelectiveInputs(u_g, dt_g, A[own], selector(B), selector(C), D_g, z_g, bias_g, h0_g, dt_softplus)


def _run(scan: Scan, inputs: SelectiveInputs, want_last: bool, options: dict[str, Any]) -> Outcome:
    return scan(inputs, want_last, **options) if is_plain(inputs) else _states_as_channels(scan, inputs, want_last, options)


def _states_as_channels(scan: Scan, inputs: SelectiveInputs, want_last: bool, options: dict[str, Any]) -> Outcome:
    u, dt, A, B, C, D, z, dt_bias, h0, dt_softplus = inputs
    batch, width, length = u.shape
    states = A.shape[1]

    def by_state(value: Tensor) -> Tensor:
        """(D, N) or (batch, N, L), so that it multiplies (batch, D, N, L)."""
        value = widen(value)
        return value[:, :, None] if value.ndim == 2 else value[:, None]

    drive = widen(u)[:, :, None] * by_state(B)
    one = drive.new_ones(batch, 1, length)
    spread = SelectiveInputs(
        drive.flatten(1, 2),
        dt.repeat_interleave(states, dim=1),
        A.reshape(-1, 1),
        one,
        one,
        None,
        None,
        None if dt_bias is None else dt_bias.repeat_interleave(states),
        None if h0 is None else h0.reshape(batch, width * states, 1),
        dt_softplus,
    )
    trajectory, last = scan(spread, want_last, **options)
    y = (trajectory.unflatten(1, (width, states)) * by_state(C)).sum(2)
    if D is not None:
        y = y + widen(D)[:, None] * widen(u)
    if z is not None:
        y = y * F.silu(widen(z))
    return y.to(u.dtype), None if last is None else last.reshape(batch, width, states)
