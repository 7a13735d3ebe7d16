"""The deep S4 network studied by Galim et al. 2024: layers of independent S4 channels, a mixing matrix and an activation.

    y_t = φ(W S4(x)_t + β + u ⊙ x_t),      φ = ReLU or the identity

S4(x) runs one :class:`~theory.core.lti.LTI` per channel (their own skips d are allowed and usually 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import sympy

from .brief import brief, outline
from .errors import InvalidInput, InvalidSystem
from .given import Matrix, Vector, entries_of
from .lti import LTI, channels_of
from .scalars import Array, Kind, as_array, is_real, join_kinds, kind_of, sign, zeros

Activation = Literal["relu", "linear"]


class S4Layer:
    """One layer  y_t = φ(W S4(x)_t + β + u ⊙ x_t)  on D channels.

    Parameters
    ----------
    channels:
        D LTI systems of one kind of number (half-stored complex ones count as real: their outputs are).
    W:
        Mixing matrix (D, D).
    bias, u:
        β and the skip u, shape (D,); zero where left out.
    activation:
        ``"relu"`` (exact on rationals) or ``"linear"``.

    Raises
    ------
    InvalidSystem
        Shapes that do not fit, an unknown activation, or a ReLU of complex numbers.
    KindMismatch
        Rationals mixed with floats.
    """

    def __init__(
        self,
        channels: Sequence[LTI],
        W: Matrix,
        bias: Vector | None = None,
        u: Vector | None = None,
        activation: Activation = "relu",
    ):
        self.channels = channels_of(channels)
        d = len(self.channels)
        parts = [kind_of(W, "W")] + [kind_of(v, s) for v, s in ((bias, "bias"), (u, "u")) if v is not None]
        self.kind: Kind = join_kinds([*parts, *(_output_kind(s) for s in self.channels)], "S4Layer")
        self.channels = tuple(s if _output_kind(s) == self.kind else s.to(self.kind) for s in self.channels)
        self.W = as_array(W, self.kind, "W", ndim=2)
        if self.W.shape != (d, d):
            raise InvalidSystem(f"W has shape {self.W.shape}, expected (D, D) = {(d, d)}")
        self.bias = zeros(d, self.kind) if bias is None else as_array(bias, self.kind, "bias", ndim=1)
        self.u = zeros(d, self.kind) if u is None else as_array(u, self.kind, "u", ndim=1)
        if self.bias.shape != (d,) or self.u.shape != (d,):
            raise InvalidSystem(f"bias {self.bias.shape} and u {self.u.shape} must have shape (D,) = ({d},)")
        if not isinstance(activation, str) or activation not in ("relu", "linear"):
            raise InvalidSystem(f"unknown activation {outline(activation)}; choose 'relu' or 'linear'")
        if activation == "relu" and self.kind == "complex128":
            raise InvalidSystem("ReLU needs real numbers: store conjugate pairs with half=True and make W, bias and u real")
        self.activation: Activation = activation

    @property
    def n_channels(self) -> int:
        """D."""
        return len(self.channels)

    def run(self, x: Any, h0: Sequence[Any] | None = None) -> tuple[Array, list[Array]]:
        """Outputs (L, D) and the channels' last states, for inputs (L, D) and one initial state per channel.

        Raises InvalidInput for shapes that do not fit, and InvalidSystem where ReLU meets a number without a sign.
        """
        x = as_array(x, self.kind, "inputs")
        if x.size == 0:
            x = zeros((0, self.n_channels), self.kind)
        if x.ndim != 2 or x.shape[1] != self.n_channels:
            raise InvalidInput(f"inputs: expected shape (L, D) with D = {self.n_channels}, got {x.shape}")
        given = None if h0 is None else entries_of(h0)
        if h0 is not None and given is None:
            raise InvalidInput(
                f"h0 = {outline(h0)} must be a sequence of one state for each of the D = {self.n_channels} channels"
            )
        if given is not None and len(given) != self.n_channels:
            raise InvalidInput(f"h0 holds {len(given)} states, expected one for each of the D = {self.n_channels} channels")
        inner = zeros(x.shape, self.kind)
        states = []
        for d, channel in enumerate(self.channels):
            inner[:, d], last = channel.run(x[:, d], None if given is None else given[d])
            states.append(last)
        y = inner @ self.W.T + self.bias + self.u * x
        if self.activation == "relu":
            if y.dtype != object and np.isnan(y).any():
                raise InvalidInput("the sums before ReLU are beyond the range of float64; rescale the layer or stay exact")
            y = np.where(np.vectorize(_positive, otypes=[bool])(y), y, zeros(y.shape, self.kind)) if y.size else y
        return y, states


def _output_kind(system: LTI) -> Kind:
    return "float64" if system.half and system.kind == "complex128" else system.kind


def _positive(value: Any) -> bool:
    try:
        constant = isinstance(value, sympy.Expr) and value.is_number
        return sign(value) > 0 if constant and is_real(value) else bool(value > 0)
    except TypeError as error:  # a complex number, or symbols without a sign
        raise InvalidSystem(f"ReLU of {brief(value)}: it has no sign; make the layer real, or use activation='linear'") from error


class DeepS4:
    """A stack of :class:`S4Layer`; all layers have the same width and kind of number.

    Raises InvalidSystem for no layers, something that is no layer, or layers that do not fit.
    """

    def __init__(self, layers: Sequence[S4Layer]):
        self.layers = entries_of(layers) or ()
        if not self.layers:
            raise InvalidSystem(f"a deep S4 network needs a sequence of at least one layer, got {outline(layers)}")
        for i, layer in enumerate(self.layers):
            if not isinstance(layer, S4Layer):
                raise InvalidSystem(f"layer {i} is {outline(layer)}, not an S4Layer")
        if len({(layer.n_channels, layer.kind) for layer in self.layers}) != 1:
            raise InvalidSystem("all layers need the same number of channels and kind of number")

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.layers)

    def run(self, x: Any) -> Array:
        """Outputs (L, D) for inputs (L, D), from zero states."""
        for layer in self.layers:
            x, _ = layer.run(x)
        return np.asarray(x)
