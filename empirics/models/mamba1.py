"""The Mamba-1 block, with the parameter names of mamba-ssm's ``Mamba`` and the scan chosen by name."""

from __future__ import annotations

import math
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InvalidInput
from ..kernels.dispatch import selective_scan
from ..kernels.packing import Packing
from ..kernels.selective_scan.oracle import SOFTPLUS_LINEAR_ABOVE
from ..kernels.selective_scan.state_terms import gated_offset
from ..kernels.table import Op
from .again import saving, wanted
from .config import Mamba1Config, MixerConfig
from .conv import causal_conv, causal_conv_step, conv_kernels
from .functions import as_they_are, functions_serve
from .hooks import ExtraStates
from .inner import InnerTensors, inner_part
from .low_rank import factored_update, weight_of
from .mixer import Mixer, check_selectors, linear, plain, plain_conv
from .norm import widen
from .state import MixerState


def inverse_softplus(x: Tensor) -> Tensor:
    """y with log(1 + exp(y)) = x, for x > 0, without overflow."""
    return x + torch.log(-torch.expm1(-x))


def random_steps(count: int, options: MixerConfig, device: torch.device | str | None = None) -> Tensor:
    """Step sizes (count,) whose logarithm is uniform between dt_min and dt_max."""
    low, high = math.log(options.dt_min), math.log(options.dt_max)
    return torch.exp(torch.rand(count, device=device) * (high - low) + low).clamp(min=options.dt_init_floor)


class Mamba1(Mixer):
    """Mamba-1 mixer.

        (x, z) = in_proj(hidden),   u = silu(conv1d(x)),   (δ, B, C) = x_proj(u),   dt = softplus(dt_proj(δ))
        h_t = exp(dt_t A) h_{t-1} + dt_t u_t B_t,   y_t = C_t·h_t + D u_t,   out = out_proj(y · silu(z)),   A = -exp(A_log)

    Parameters
    ----------
    d_model, options:
        Width at the input; see :class:`~.config.Mamba1Config`.
    scan:
        Name of the selective scan.

    Attributes
    ----------
    in_proj, conv1d, x_proj, dt_proj, A_log, D, out_proj:
        As in mamba-ssm: (2D, d_model), (D, 1, K), (R + 2N, D), (D, R), (D, N), (D,), (d_model, D).

    Source: Gu and Dao 2023, arXiv 2312.00752, section 3.4.
    """

    op: ClassVar[Op] = "selective_scan"

    def __init__(
        self,
        d_model: int,
        options: Mamba1Config | None = None,
        scan: str = "chunked",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(d_model, scan)
        options = options or Mamba1Config()
        d, n, rank = options.d_inner(d_model), options.d_state, options.rank(d_model)
        self.d_inner, self.d_state, self.dt_rank, self.d_conv = d, n, rank, options.d_conv
        self.in_proj = nn.Linear(d_model, 2 * d, bias=options.bias, device=device, dtype=dtype)
        self.conv1d = nn.Conv1d(d, d, options.d_conv, groups=d, bias=options.conv_bias, device=device, dtype=dtype)
        self.x_proj = nn.Linear(d, rank + 2 * n, bias=False, device=device, dtype=dtype)
        self.dt_proj = nn.Linear(rank, d, bias=True, device=device, dtype=dtype)
        self.A_log = nn.Parameter(torch.empty(d, n, device=device, dtype=dtype))
        self.D = nn.Parameter(torch.empty(d, device=device, dtype=dtype))
        self.out_proj = nn.Linear(d, d_model, bias=options.bias, device=device, dtype=dtype)
        self._reset_dynamics(options)

    @torch.no_grad()
    def _reset_dynamics(self, options: Mamba1Config) -> None:
        size = options.dt_scale / math.sqrt(self.dt_rank)
        if options.dt_init == "constant":
            nn.init.constant_(self.dt_proj.weight, size)
        else:
            nn.init.uniform_(self.dt_proj.weight, -size, size)
        self.dt_proj.bias.copy_(inverse_softplus(random_steps(self.d_inner, options, self.D.device)))
        self.A_log.copy_(torch.arange(1, self.d_state + 1, device=self.D.device).log().expand(self.d_inner, -1))
        self.D.fill_(1)

    @property
    def normed(self) -> bool:
        """Whether x_proj's parts pass norms (:meth:`_normed`)."""
        return False

    def state_shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (self.d_inner, self.d_conv - 1), (self.d_inner, self.d_state)

    def _extra_shape(self, extra: ExtraStates) -> tuple[int, ...]:
        n = check_selectors(extra, self.d_inner)
        if tuple(extra.A_log.shape) != (self.d_inner, n):
            raise InvalidInput(f"the extra states' A_log has shape {tuple(extra.A_log.shape)}, expected {(self.d_inner, n)}")
        return self.d_inner, n

    def _selectors(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(dt before bias and softplus, B, C) of u (..., D), each (..., width)."""
        low, B, C = self._normed(*linear(u, self.x_proj).split([self.dt_rank, self.d_state, self.d_state], dim=-1))
        # The bias belongs to the scan, where it is added in float32.
        return linear(low, self.dt_proj, with_bias=False, again=True), B, C

    def _normed(self, low: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x_proj's three parts as they go on; models with a norm on each of them say so here."""
        return low, B, C

    def _taps(self) -> tuple[Tensor, Tensor | None]:
        conv = plain_conv(self.conv1d)
        return conv.weight, conv.bias

    def _decay_rates(self) -> Tensor:
        return -torch.exp(widen(self.A_log))

    def _mix(
        self, hidden: Tensor, start: MixerState, drop: int, want_state: bool, packing: Packing | None = None
    ) -> tuple[Tensor, MixerState]:
        inner = partial(self._inner, want_state=want_state)
        y, last = self._between(self._each(inner, start, packing, axis=2), hidden)
        rows = y.transpose(1, 2)
        # Cut when it is turned: what is dropped gets its zero gradient in the layout that the scan reads.
        return linear(rows[:, drop:] if drop else rows, self.out_proj), last

    def _inner(self, xz: Tensor, start: MixerState, want_state: bool) -> tuple[Tensor, MixerState]:
        """Everything between the outer projections: (B, L, 2 D) to (B, D, L), and the state it leaves."""
        # Cut before it is turned: the two gradients are then put together as the product behind them reads them.
        offset, extra, extra_state = self._offset(), self._extra(), None
        if start.conv is None and not want_state and extra is None:
            y = self._at_once(xz, start.ssm, offset)
            if y is not None:
                return y, MixerState()
        x, z = (v.transpose(1, 2) for v in xz.chunk(2, dim=-1))
        u, window = causal_conv(x, *self._taps(), start.conv, self.stock_conv, want_state)
        u_rows = u.transpose(1, 2)
        dt, B, C = (v.transpose(1, 2) for v in self._selectors(u_rows))
        scan = partial(selective_scan, u, dt, z=z, dt_bias=widen(self.dt_proj.bias), dt_softplus=True, scan=self.scan)

        def run(A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, h0: Tensor | None) -> tuple[Tensor, Tensor | None]:
            with saving():
                result = scan(A, B, C, D, h0=h0, return_last_state=want_state)
            return result if isinstance(result, tuple) else (result, None)

        y, ssm = run(self._decay_rates(), B, C, widen(self.D), start.ssm)
        # What hooks add to y enters after the gate as r·silu(z), so that r = 0 leaves every bit as it is.
        if offset is not None:
            y = y + gated_offset(offset, C, z)
        if extra is not None:
            with saving():
                B_x, C_x = (F.linear(u_rows, w.to(u.dtype)).transpose(1, 2) for w in (extra.W_B, extra.W_C))
            added, extra_state = run(-torch.exp(widen(extra.A_log)), B_x, C_x, None, start.extra)
            y = y + added
        return y, MixerState(window, ssm, extra_state)

    def _at_once(self, xz: Tensor, h0: Tensor | None, offset: Tensor | None) -> Tensor | None:
        """The same (B, D, L) by one autograd function (:mod:`.inner`); ``None`` where it does not serve."""
        if self.scan != "fused" or self.normed or not as_they_are(xz) or not xz.is_contiguous():
            return None
        if not all(plain(m) and factored_update(m) is None for m in (self.x_proj, self.dt_proj)):
            return None
        taps, bias = self._taps()
        kernels = conv_kernels(xz.transpose(1, 2), taps.shape[-1])
        if kernels is None:
            return None
        tensors = InnerTensors(
            xz, taps.squeeze(1).to(xz.dtype), None if bias is None else bias.to(xz.dtype), weight_of(self.x_proj).to(xz.dtype),
            weight_of(self.dt_proj).to(xz.dtype), self.A_log, self.D, self.dt_proj.bias, h0,
            None if offset is None else offset.to(torch.float32),
        )  # fmt: skip
        return inner_part(tensors, kernels, wanted()) if functions_serve(*tensors) else None

    def step(self, hidden: Tensor, state: MixerState) -> tuple[Tensor, MixerState]:
        state = self._check_step(hidden, state)
        assert state.conv is not None and state.ssm is not None  # filled by _check_step
        x, z = self._projected(hidden).chunk(2, dim=-1)
        u, window = causal_conv_step(x, *self._taps(), state.conv)
        dt, B, C = (widen(v) for v in self._selectors(u))
        dt = F.softplus(dt + widen(self.dt_proj.bias), threshold=SOFTPLUS_LINEAR_ABOVE)
        drive = (dt * widen(u))[:, :, None]

        def advance(h: Tensor, A: Tensor, B: Tensor) -> Tensor:
            return torch.exp(dt[:, :, None] * A) * h + drive * B[:, None, :]

        h = advance(state.ssm, self._decay_rates(), B)
        y = (h * C[:, None, :]).sum(-1) + widen(self.D) * widen(u)
        offset = self._offset()
        if offset is not None:
            y = y + (C[:, None, :] * offset).sum(-1)
        extra, h_x = self._extra(), None
        if extra is not None:
            assert state.extra is not None
            h_x = advance(state.extra, -torch.exp(widen(extra.A_log)), widen(F.linear(u, extra.W_B.to(u.dtype))))
            y = y + (h_x * widen(F.linear(u, extra.W_C.to(u.dtype)))[:, None, :]).sum(-1)
        out = linear((y * F.silu(widen(z))).to(hidden.dtype), self.out_proj)
        return out, MixerState(window, h, h_x)
