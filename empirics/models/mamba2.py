"""The Mamba-2 block, with the parameter names of mamba-ssm's ``Mamba2`` and the scan chosen by name."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InvalidInput
from ..kernels.dispatch import ssd_scan
from ..kernels.packing import Packing
from ..kernels.selective_scan.oracle import SOFTPLUS_LINEAR_ABOVE
from ..kernels.table import Op
from .again import saving
from .config import Mamba2Config
from .conv import causal_conv, causal_conv_step
from .hooks import ExtraStates
from .mamba1 import inverse_softplus, random_steps
from .mixer import Mixer, check_selectors, linear, plain_conv
from .norm import GatedRMSNorm, widen
from .state import MixerState


class Mamba2(Mixer):
    """Mamba-2 mixer.

        (z, xBC, δ) = in_proj(hidden),   (x, B, C) = silu(conv1d(xBC)),   dt = softplus(δ + dt_bias),   A = -exp(A_log)
        h_t = exp(dt_t A) h_{t-1} + dt_t x_t ⊗ B_t,   y_t = h_t C_t + D x_t,   out = out_proj(norm(y, z))

    Parameters
    ----------
    d_model, options:
        Width at the input; see :class:`~.config.Mamba2Config`.
    scan:
        Name of the SSD scan.

    Attributes
    ----------
    in_proj, conv1d, dt_bias, A_log, D, norm, out_proj:
        As in mamba-ssm: (2D + 2GN + H, d_model), (D + 2GN, 1, K), (H,), (H,), (H,), (D,), (d_model, D).

    Source: Dao and Gu 2024, arXiv 2405.21060, section 7.
    """

    op: ClassVar[Op] = "ssd"

    def __init__(
        self,
        d_model: int,
        options: Mamba2Config | None = None,
        scan: str = "chunked",
        norm_epsilon: float = 1e-5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(d_model, scan)
        options = options or Mamba2Config()
        d, heads = options.d_inner(d_model), options.heads(d_model)
        self.d_inner, self.nheads, self.headdim = d, heads, options.headdim
        self.d_state, self.ngroups, self.d_conv = options.d_state, options.ngroups, options.d_conv
        self.dt_limit = options.dt_limit
        self.conv_dim = d + 2 * self.ngroups * self.d_state
        self.in_proj = nn.Linear(d_model, d + self.conv_dim + heads, bias=options.bias, device=device, dtype=dtype)
        self.conv1d = nn.Conv1d(
            self.conv_dim,
            self.conv_dim,
            options.d_conv,
            groups=self.conv_dim,
            bias=options.conv_bias,
            device=device,
            dtype=dtype,
        )
        self.dt_bias = nn.Parameter(torch.empty(heads, device=device, dtype=dtype))
        self.A_log = nn.Parameter(torch.empty(heads, device=device, dtype=dtype))
        self.D = nn.Parameter(torch.empty(heads, device=device, dtype=dtype))
        norm = GatedRMSNorm(d, self.ngroups, norm_epsilon, options.norm_before_gate) if options.rmsnorm else None
        self.norm = None if norm is None else norm.to(device=device, dtype=dtype)
        self.out_proj = nn.Linear(d, d_model, bias=options.bias, device=device, dtype=dtype)
        self._reset_dynamics(options)

    @torch.no_grad()
    def _reset_dynamics(self, options: Mamba2Config) -> None:
        self.dt_bias.copy_(inverse_softplus(random_steps(self.nheads, options, self.D.device)))
        low, high = options.A_init_range
        self.A_log.copy_(torch.empty(self.nheads, device=self.D.device).uniform_(low, high).log())
        self.D.fill_(1)

    def state_shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (self.conv_dim, self.d_conv - 1), (self.nheads, self.headdim, self.d_state)

    def _extra_shape(self, extra: ExtraStates) -> tuple[int, ...]:
        n = check_selectors(extra, self.d_inner)
        if tuple(extra.A_log.shape) != (self.nheads,):
            raise InvalidInput(f"the extra states' A_log has shape {tuple(extra.A_log.shape)}, expected ({self.nheads},)")
        return self.nheads, self.headdim, n

    def _taps(self) -> tuple[Tensor, Tensor | None]:
        conv = plain_conv(self.conv1d)
        return conv.weight, conv.bias

    def _decay_rates(self) -> Tensor:
        return -torch.exp(widen(self.A_log))

    def _steps(self, dt: Tensor) -> Tensor:
        steps = F.softplus(widen(dt) + widen(self.dt_bias), threshold=SOFTPLUS_LINEAR_ABOVE)
        return steps.clamp(*self.dt_limit)

    def _split(self, mixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(x, B, C) of the convolution's output (..., conv_dim): (..., H, P) and twice (..., G, N)."""
        x, B, C = mixed.split([self.d_inner, self.ngroups * self.d_state, self.ngroups * self.d_state], dim=-1)
        groups = (self.ngroups, self.d_state)
        return x.unflatten(-1, (self.nheads, self.headdim)), B.unflatten(-1, groups), C.unflatten(-1, groups)

    def _mix(
        self, hidden: Tensor, start: MixerState, drop: int, want_state: bool, packing: Packing | None = None
    ) -> tuple[Tensor, MixerState]:
        inner = partial(self._inner, drop=drop, want_state=want_state)
        y, last = self._between(self._each(inner, start, packing, axis=1), hidden)
        return linear(y, self.out_proj), last

    def _inner(self, projected: Tensor, start: MixerState, drop: int, want_state: bool) -> tuple[Tensor, MixerState]:
        """Everything between the outer projections: (B, L, z x B C dt) to the gated (B, L - drop, D), and the state it leaves."""
        z, xBC, dt = projected.split([self.d_inner, self.conv_dim, self.nheads], dim=-1)
        mixed, window = causal_conv(xBC.transpose(1, 2), *self._taps(), start.conv, self.stock_conv, want_state)
        x, B, C = self._split(mixed.transpose(1, 2))
        if self.dt_limit == (0.0, float("inf")):
            scan = partial(ssd_scan, x, dt, dt_bias=widen(self.dt_bias), dt_softplus=True, scan=self.scan)
        else:
            scan = partial(ssd_scan, x, self._steps(dt), scan=self.scan)

        def run(A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, h0: Tensor | None) -> tuple[Tensor, Tensor | None]:
            with saving():
                result = scan(A, B, C, D, h0=h0, return_last_state=want_state)
            return result if isinstance(result, tuple) else (result, None)

        y, ssm = run(self._decay_rates(), B, C, widen(self.D), start.ssm)
        offset = self._offset()
        if offset is not None:
            y = y + self._response(offset, widen(C)).to(y.dtype)
        extra, extra_state = self._extra(), None
        if extra is not None:
            u = x.flatten(-2)
            with saving():
                B_x, C_x = (F.linear(u, w.to(u.dtype))[:, :, None, :] for w in (extra.W_B, extra.W_C))
            added, extra_state = run(-torch.exp(widen(extra.A_log)), B_x, C_x, None, start.extra)
            y = y + added
        return self._gated(y[:, drop:].flatten(-2), z[:, drop:]), MixerState(window, ssm, extra_state)

    def _response(self, offset: Tensor, C: Tensor) -> Tensor:
        """h' C_t of every head: (..., H, P) for C (..., G, N)."""
        grouped = offset.to(C.dtype).unflatten(0, (self.ngroups, -1))
        return torch.einsum("grpn,...gn->...grp", grouped, C).flatten(-3, -2)

    def _gated(self, y: Tensor, z: Tensor) -> Tensor:
        # Where causal-conv1d's kernel goes before the scan, mamba-ssm's norm goes behind it.
        return (widen(y) * F.silu(widen(z))).to(z.dtype) if self.norm is None else self.norm(y, z, self.stock_conv).to(z.dtype)

    def step(self, hidden: Tensor, state: MixerState) -> tuple[Tensor, MixerState]:
        state = self._check_step(hidden, state)
        assert state.conv is not None and state.ssm is not None  # filled by _check_step
        z, xBC, dt = self._projected(hidden).split([self.d_inner, self.conv_dim, self.nheads], dim=-1)
        mixed, window = causal_conv_step(xBC, *self._taps(), state.conv)
        x, B, C = self._split(widen(mixed))
        per_group = self.nheads // self.ngroups
        steps = self._steps(dt)
        drive = (steps[..., None] * x)[..., None]  # (B, H, P, 1)

        def advance(h: Tensor, A: Tensor, B: Tensor) -> Tensor:
            return torch.exp(steps * A)[..., None, None] * h + drive * B[:, :, None, :]

        h = advance(state.ssm, self._decay_rates(), B.repeat_interleave(per_group, dim=1))
        y = (h * C.repeat_interleave(per_group, dim=1)[:, :, None, :]).sum(-1) + widen(self.D)[:, None] * x
        offset = self._offset()
        if offset is not None:
            y = y + self._response(offset, C)
        extra, h_x = self._extra(), None
        if extra is not None:
            assert state.extra is not None
            u = mixed[:, : self.d_inner]
            B_x, C_x = (widen(F.linear(u, w.to(u.dtype)))[:, None, :] for w in (extra.W_B, extra.W_C))
            h_x = advance(state.extra, -torch.exp(widen(extra.A_log)), B_x)
            y = y + (h_x * C_x[:, :, None, :]).sum(-1)
        return linear(self._gated(y.flatten(-2).to(hidden.dtype), z), self.out_proj), MixerState(window, h, h_x)
