"""Deep S4: layers of independent diagonal S4 channels, a mixing matrix and an activation.

    y_t = φ(W S4D(x)_t + β),     S4D(x)_t = 2 Re(C·h_t) + D x_t,     h_t = Ā h_{t-1} + B̄ x_t,     B = 1, zero-order hold

the network of the synthetic study of Galim et al. 2024 (arXiv 2410.09016): no residual connection, no norm. Modes are complex,
A = -exp(log_A_real) + i A_imag, one of each conjugate pair stored. S4D: Gu et al. 2022, arXiv 2206.11893.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InvalidInput, UnknownName
from ..kernels.packing import Packing
from ..kernels.s4d import discretise
from .hooks import ExtraStates
from .mixer import Mixer, linear
from .state import MixerState

S4_SCANS = ("chunked", "oracle")
"""``chunked``: the kernel applied as a Toeplitz product, or by FFT for long sequences; ``oracle``: the recurrence."""

TOEPLITZ_UP_TO = 512
"""Longest sequence for which the L × L Toeplitz matrix of every channel is formed."""


@dataclass(frozen=True)
class DeepS4Config:
    """Sizes of a deep S4 network.

    Attributes
    ----------
    d_model:
        Width D.
    n_layer:
        Layers.
    d_state:
        Complex modes N stored for every channel.
    activation:
        After every layer: ``relu`` or ``linear``.
    """

    d_model: int = 64
    n_layer: int = 4
    d_state: int = 16
    activation: Literal["relu", "linear"] = "relu"

    def __post_init__(self) -> None:
        for name in ("d_model", "n_layer", "d_state"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidInput(f"{name} is {value!r}, expected an integer of at least 1")
        if self.activation not in ("relu", "linear"):
            raise UnknownName("activation", self.activation, ("relu", "linear"))

    def to_json(self) -> dict[str, Any]:
        """The sizes as JSON values."""
        return asdict(self)


class S4Mixer(Mixer):
    """One layer without its activation: out_proj(S4D(hidden)).

    Attributes
    ----------
    log_dt:
        (D,), log of the step size, uniform in [log 1e-3, log 1e-1] at the start.
    log_A_real, A_imag:
        (D, N): A = -exp(log_A_real) + i A_imag; log_A_real ~ log U(0, 1), A_imag = π·randint(0, N) at the start.
    C:
        (D, N) complex, complex normal at the start. B is 1.
    D:
        (D,), skip inside S4D, normal at the start.
    out_proj:
        The mixing matrix W and its bias β.
    """

    def __init__(self, d_model: int, d_state: int, scan: str = "chunked"):
        super().__init__(d_model, scan)
        self.d_state = d_state
        real = torch.rand(d_model, d_state).clamp_min(1e-4)
        self.log_dt = nn.Parameter(torch.rand(d_model) * (math.log(1e-1) - math.log(1e-3)) + math.log(1e-3))
        self.log_A_real = nn.Parameter(real.log())
        self.A_imag = nn.Parameter(math.pi * torch.randint(0, d_state, (d_model, d_state)).float())
        self.C = nn.Parameter(torch.view_as_complex(torch.randn(d_model, d_state, 2)) * math.sqrt(0.5))
        self.D = nn.Parameter(torch.randn(d_model))
        self.out_proj = nn.Linear(d_model, d_model)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> S4Mixer:
        """``.double()`` leaves complex tensors alone and ``.to(float64)`` drops their imaginary part; here both parts follow.

        Complex tensors stay at least complex64, since torch has no narrower complex arithmetic.
        """

        def both_parts(value: Tensor) -> Tensor:
            if not value.is_complex():
                return fn(value)
            parts = fn(torch.view_as_real(value))
            narrow = parts.dtype in (torch.float16, torch.bfloat16)
            return torch.view_as_complex(parts.float() if narrow else parts)

        super()._apply(both_parts, recurse)
        return self

    def set_scan(self, scan: str) -> None:
        """Choose how the recurrence is computed (:data:`S4_SCANS`); UnknownName for another name."""
        if scan not in S4_SCANS:
            raise UnknownName("S4 scan", scan, S4_SCANS)
        self.scan = scan

    def modes(self) -> tuple[Tensor, Tensor, Tensor]:
        """(log Ā, Ā, B̄), each (D, N) complex."""
        A = torch.complex(-torch.exp(self.log_A_real), self.A_imag)
        dt = torch.exp(self.log_dt)
        A_bar, B_bar = discretise(dt, A, torch.ones_like(A))
        return dt[:, None] * A, A_bar, B_bar

    def kernel(self, length: int) -> Tensor:
        """k_0..k_{L-1} of every channel, (D, L), with the skip in k_0."""
        log_A, _, B_bar = self.modes()
        steps = torch.arange(length, device=log_A.device, dtype=log_A.real.dtype)
        powers = torch.exp(log_A[:, :, None] * steps)
        k = 2 * torch.einsum("dn,dnl->dl", self.C * B_bar, powers).real
        return torch.cat([k[:, :1] + self.D[:, None], k[:, 1:]], dim=1)

    def state_shapes(self) -> tuple[tuple[int, ...] | None, tuple[int, ...]]:
        """No window; the state is (D, N), complex."""
        return None, (self.d_model, self.d_state)

    def step(self, hidden: Tensor, state: MixerState) -> tuple[Tensor, MixerState]:
        """One token of the recurrence; see :meth:`Mixer.step`."""
        state = self._check_step(hidden, state)
        _, A_bar, B_bar = self.modes()
        assert state.ssm is not None
        h = A_bar * state.ssm + B_bar * hidden[:, :, None]
        y = 2 * (self.C * h).sum(-1).real + self.D * hidden + self._constant()
        return linear(y, self.out_proj), state.with_(ssm=h)

    def _constant(self) -> Tensor | float:
        """What the hook's readout offset adds to every output, (D,)."""
        offset = self._offset()
        return 0.0 if offset is None else 2 * (self.C * offset).sum(-1).real

    def _mix(
        self, hidden: Tensor, start: MixerState, drop: int, want_state: bool, packing: Packing | None = None
    ) -> tuple[Tensor, MixerState]:
        if packing is not None:
            raise InvalidInput("S4 layers take no packed sequences; give one sequence a row")
        if self.scan == "oracle":
            return self._recurrence(hidden, start, drop)
        length = hidden.shape[1]
        x = hidden.permute(2, 0, 1)  # (D, B, L)
        y = _convolve(x, self.kernel(length))
        last = start
        log_A, _, B_bar = self.modes()
        if start.ssm is not None:
            h0 = start.ssm[:1] if start.ssm.stride(0) == 0 else start.ssm  # one state for the whole batch is answered once
            steps = torch.arange(1, length + 1, device=x.device, dtype=x.dtype)
            powers = torch.exp(log_A[:, :, None] * steps)
            y = y + 2 * torch.einsum("bdn,dnl->dbl", self.C * h0, powers).real
        if want_state:
            steps = torch.arange(length - 1, -1, -1, device=x.device, dtype=x.dtype)
            weights = B_bar[:, :, None] * torch.exp(log_A[:, :, None] * steps)
            h = torch.einsum("dnl,dbl->bdn", weights, x.to(weights.dtype))
            if start.ssm is not None:
                h = h + torch.exp(log_A * length) * start.ssm
            last = start.with_(ssm=h)
        constant = self._constant()
        if isinstance(constant, Tensor):
            y = y + constant[:, None, None]
        return self._project(y[:, :, drop:]), last

    def _project(self, y: Tensor) -> Tensor:
        """out_proj of (D, B, L), as a view (B, L, D) whose memory stays (D, B, L): the next layer then copies nothing."""
        weight, bias = self.out_proj.weight.to(y.dtype), self.out_proj.bias.to(y.dtype)
        return torch.addmm(bias[:, None], weight, y.reshape(y.shape[0], -1)).view(y.shape).permute(1, 2, 0)

    def _recurrence(self, hidden: Tensor, start: MixerState, drop: int) -> tuple[Tensor, MixerState]:
        state = self._filled(start, hidden.shape[0])
        outputs = []
        for token in hidden.unbind(1):
            out, state = self.step(token, state)
            outputs.append(out)
        return torch.stack(outputs[drop:], dim=1), state

    def _extra_shape(self, extra: ExtraStates) -> tuple[int, ...]:
        raise InvalidInput("S4 takes no additional states by a hook; train a model with more states instead")

    def _state_dtype(self) -> torch.dtype:
        return self.C.dtype


def _convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """Causal convolution of (D, B, L) with (D, L), channel by channel."""
    d, _, length = x.shape
    if length <= TOEPLITZ_UP_TO:
        padded = torch.cat([kernel.new_zeros(d, length - 1), kernel], dim=1)
        windows = padded.unfold(1, length, 1)  # windows[:, i, t] = k[t - (L - 1 - i)]; indexing would sort in its backward pass
        return torch.bmm(x, windows.flip(1))
    size = 2 * length
    spectrum = torch.fft.rfft(x, n=size) * torch.fft.rfft(kernel, n=size)[:, None, :]
    return torch.fft.irfft(spectrum, n=size)[:, :, :length]


class DeepS4(nn.Module):
    """Layers of :class:`S4Mixer`, each followed by the activation: (B, L, D) to (B, L, D)."""

    def __init__(self, config: DeepS4Config, scan: str = "chunked"):
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(S4Mixer(config.d_model, config.d_state, scan) for _ in range(config.n_layer))

    def set_scan(self, scan: str) -> None:
        """Choose the scan of every layer."""
        for mixer in self.mixers():
            mixer.set_scan(scan)

    def mixers(self) -> list[S4Mixer]:
        """The layers' mixers, first to last."""
        return [m for m in self.layers if isinstance(m, S4Mixer)]

    def forward(
        self, x: Tensor, *, states: list[MixerState] | None = None, return_states: bool = False
    ) -> Tensor | tuple[Tensor, list[MixerState]]:
        """Map a sequence; ``states`` continues one (see :meth:`Mixer.forward`).

        Raises
        ------
        InvalidInput
            Shapes do not fit, or another number of states than layers.
        """
        mixers = self.mixers()
        if states is not None and len(states) != len(mixers):
            raise InvalidInput(f"{len(states)} states given for {len(mixers)} layers")
        left: list[MixerState] = []
        for i, mixer in enumerate(mixers):
            result = mixer(x, None if states is None else states[i], return_states)
            if return_states:
                x, state = result
                left.append(state)
            else:
                x = result
            x = self._activate(x)
        return (x, left) if return_states else x

    def new_states(self, batch: int) -> list[MixerState]:
        """States before the first token, after hooks."""
        return [mixer.new_state(batch) for mixer in self.mixers()]

    def step(self, x: Tensor, states: list[MixerState]) -> tuple[Tensor, list[MixerState]]:
        """One token (B, D)."""
        left = []
        for mixer, state in zip(self.mixers(), states, strict=True):
            x, new = mixer.step(x, state)
            left.append(new)
            x = self._activate(x)
        return x, left

    def _activate(self, x: Tensor) -> Tensor:
        return F.relu(x) if self.config.activation == "relu" else x
