"""The selective state-space model S6 of Mamba-1 with explicit selectors, over any kind of number.

For a module input z_t ∈ R^D (after projection, convolution and activation):

    dt_t = softplus(W_up W_dn z_t + β) ∈ R^D,     B_t = W_B z_t ∈ R^N,     C_t = W_C z_t ∈ R^N
    h_t[d, n] = exp(dt_t[d] A[d, n]) h_{t−1}[d, n] + dt_t[d] z_t[d] B_t[n]
    y_t[d]    = C_t·h_t[d, :] + D_skip[d] z_t[d]

Step size and decay come from a *clock*: a map from the token to (dt, decay). Three clocks exist: the softplus clock above;
a constant clock (W_up W_dn = 0), for which dt (D,) and E = exp(dt A) (D, N) are numbers and may be rational; and any
Python function, for checks that hold whatever the clock is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy

from .brief import brief, outline
from .clocks import tick
from .errors import InvalidInput, InvalidSystem
from .flint_steps import steps
from .given import Matrix, Number, Vector, is_number
from .invariants import known
from .scalars import Array, Kind, as_array, join_kinds, kind_of, refused, sign, zeros
from .shown import ShownSystem

Clock = Callable[[Array], tuple[Array, Array]]


def _exp(x: Array) -> Array:
    return np.exp(x) if x.dtype != object else np.vectorize(sympy.exp, otypes=[object])(x)


def _softplus(x: Array) -> Array:
    if x.dtype == object:
        return np.vectorize(lambda v: sympy.log(1 + sympy.exp(v)), otypes=[object])(x)
    return np.logaddexp(0.0, x)


class SelectiveSSM(ShownSystem):
    """S6 with D channels and N states per channel (Mamba-1's SSM module).

    Parameters
    ----------
    W_B, W_C:
        Selectors, shape (N, D): B_t = W_B z_t, C_t = W_C z_t. ``W_C=None`` means no readout was given: the state can be
        asked about, outputs cannot.
    A:
        Continuous-time decays, shape (D, N), negative. Needs ``dt`` (constant clock) or ``dt_bias`` (softplus clock).
    dt:
        Constant step sizes, shape (D,) or a number, positive (W_up W_dn = 0).
    decay:
        E = exp(dt A), shape (D, N), in (0, 1): the exact way to state a constant clock. Needs ``dt``; excludes ``A``.
    W_dn, W_up, dt_bias:
        The softplus clock: shapes (R, D), (D, R), (D,).
    clock:
        Any function z → (dt (D,), decay (D, N)); excludes the others.
    D_skip:
        Skip connection, shape (D,).

    Raises
    ------
    InvalidSystem
        Shapes that do not fit, dt ≤ 0, A ≥ 0, decays outside (0, 1), or a clock given twice or not at all.
    """

    def __init__(
        self,
        W_B: Matrix,
        W_C: Matrix | None = None,
        *,
        A: Matrix | None = None,
        dt: Number | Vector | None = None,
        decay: Matrix | None = None,
        W_dn: Matrix | None = None,
        W_up: Matrix | None = None,
        dt_bias: Vector | None = None,
        clock: Clock | None = None,
        D_skip: Vector | None = None,
        kind: Kind | None = None,
    ):
        given = {"W_B": W_B, "W_C": W_C, "A": A, "dt": [dt] if is_number(dt) else dt, "decay": decay}
        given |= {"W_dn": W_dn, "W_up": W_up, "dt_bias": dt_bias, "D_skip": D_skip}
        present = {k: v for k, v in given.items() if v is not None and not (k == "dt" and dt is None)}
        if kind is None:
            joined = join_kinds([kind_of(v, k) for k, v in present.items()], "SelectiveSSM")
            kind = "exact" if joined == "integer" else joined
        self.kind: Kind = kind
        self.W_B = as_array(W_B, kind, "W_B", ndim=2)
        n, d = self.W_B.shape
        if n == 0 or d == 0:
            raise InvalidSystem(f"W_B has shape {self.W_B.shape}; N ≥ 1 rows and D ≥ 1 columns are needed")
        self.W_C = None if W_C is None else self._shaped(W_C, "W_C", (n, d))
        self.D_skip = zeros(d, kind) if D_skip is None else self._shaped(D_skip, "D_skip", (d,))
        self.A = self.decay = self.dt = None
        self.W_dn = self.W_up = self.dt_bias = None
        self._clock = clock
        if clock is not None:
            if any(v is not None for v in (A, dt, decay, W_dn, W_up, dt_bias)):
                raise InvalidSystem("clock excludes A, dt, decay, W_dn, W_up and dt_bias")
            if not callable(clock):
                raise InvalidSystem(f"clock = {outline(clock)} must be a function z → (dt (D,), decay (D, N))")
            return
        if A is not None:
            self.A = self._shaped(A, "A", (d, n))
            self._refuse(self.A, "A", lambda v: sign(v) >= 0, "must be negative (a decay); Mamba stores A = −exp(A_log)")
        if dt_bias is not None or W_dn is not None or W_up is not None:
            if self.A is None or dt_bias is None or dt is not None or decay is not None:
                raise InvalidSystem("the softplus clock needs A and dt_bias (with W_dn and W_up, or neither), not dt or decay")
            if kind == "exact":
                raise InvalidSystem("softplus and exp of rationals are not rational: pass dt and decay, or use sympy or floats")
            self.dt_bias = self._shaped(dt_bias, "dt_bias", (d,))
            if (W_dn is None) != (W_up is None):
                raise InvalidSystem("W_dn and W_up come together")
            if W_dn is not None:
                self.W_dn = as_array(W_dn, kind, "W_dn", ndim=2)
                self.W_up = as_array(W_up, kind, "W_up", ndim=2)
                if self.W_dn.shape[1] != d or self.W_up.shape != (d, self.W_dn.shape[0]):
                    raise InvalidSystem(
                        f"W_dn {self.W_dn.shape} and W_up {self.W_up.shape} must be (R, D) and (D, R) with D = {d}"
                    )
                return
            self.dt = _softplus(self.dt_bias)
        elif dt is None:
            raise InvalidSystem("no clock: give dt with decay (or A), or dt_bias with A, or clock")
        else:
            self.dt = self._shaped([dt] * d if is_number(dt) else dt, "dt", (d,))
        self._refuse(self.dt, "dt", lambda v: sign(v) <= 0, "must be a positive step size")
        if decay is not None:
            if A is not None:
                raise InvalidSystem("give A or decay = exp(dt A), not both")
            self.decay = self._shaped(decay, "decay", (d, n))
        elif self.A is None:
            raise InvalidSystem("a constant clock needs decay or A beside dt")
        else:
            if kind == "exact":
                raise InvalidSystem(
                    "exp(dt A) of rationals is not rational: pass decay=E directly, or use sympy or float numbers"
                )
            self.decay = _exp(self.dt[:, None] * self.A)
        self._refuse(self.decay, "decay", lambda v: sign(v) <= 0 or sign(1 - v) <= 0, "must lie in (0, 1): exp(dt A) with A < 0")

    def _shaped(self, values: Any, name: str, shape: tuple[int, ...]) -> Array:
        out = as_array(values, self.kind, name)
        if out.shape != shape:
            raise InvalidSystem(f"{name} has shape {out.shape}, expected {shape}")
        return out

    @staticmethod
    def _refuse(values: Array, name: str, bad: Callable[[Any], Any], why: str) -> None:
        for index in np.ndindex(values.shape):
            if refused(values[index], bad):
                where = ", ".join(map(str, index))
                raise InvalidSystem(f"{name}[{where}] = {brief(values[index])} {why}")

    # -- facts ------------------------------------------------------------------------------------------------------

    @property
    def n_channels(self) -> int:
        """D."""
        return int(self.W_B.shape[1])

    @property
    def n_states(self) -> int:
        """N, states per channel."""
        return int(self.W_B.shape[0])

    @property
    def constant_clock(self) -> bool:
        """Whether dt and decay do not depend on the token."""
        return self.decay is not None

    def __repr__(self) -> str:
        clock = "constant" if self.constant_clock else ("function" if self._clock else "softplus")
        return f"SelectiveSSM(D={self.n_channels}, N={self.n_states}, clock={clock}, kind={self.kind})"

    def to(self, kind: Kind) -> SelectiveSSM:
        """The same system in another kind of number (a function clock is kept as it is)."""
        names = ("W_C", "D_skip", "A", "dt", "decay", "W_dn", "W_up", "dt_bias")
        parts: dict[str, Any] = {k: None if (v := getattr(self, k)) is None else as_array(v, kind, k) for k in names}
        if self._clock is not None:
            return SelectiveSSM(as_array(self.W_B, kind), parts["W_C"], D_skip=parts["D_skip"], clock=self._clock, kind=kind)
        if parts["decay"] is not None:  # a constant clock is stated by its numbers, whatever it was computed from
            parts["A"] = parts["dt_bias"] = None
        return SelectiveSSM(as_array(self.W_B, kind), **parts, kind=kind)

    # -- running ----------------------------------------------------------------------------------------------------

    def clock(self, z: Array) -> tuple[Array, Array]:
        """(dt (D,), decay (D, N)) for one token; what a clock that is a function may not answer: see :func:`.clocks.tick`."""
        if self._clock is not None:
            return tick(self._clock, z, self.kind, (self.n_channels,), (self.n_channels, self.n_states))
        if self.constant_clock:
            return known(self.dt, "a constant clock has dt"), known(self.decay, "a constant clock has decays")
        up, down, rates = (known(v, "a softplus clock has W_up, W_dn and A") for v in (self.W_up, self.W_dn, self.A))
        dt = _softplus(up @ (down @ z) + self.dt_bias)
        return dt, _exp(dt[:, None] * rates)

    def zero_state(self) -> Array:
        """h = 0, shape (D, N)."""
        return zeros((self.n_channels, self.n_states), self.kind)

    def state(self, h: Any) -> Array:
        """Check and convert a state of shape (D, N)."""
        out = as_array(h, self.kind, "h0")
        if out.shape != (self.n_channels, self.n_states):
            raise InvalidInput(f"h0 has shape {out.shape}, expected (D, N) = {(self.n_channels, self.n_states)}")
        return out

    def inputs(self, z: Any, name: str = "inputs", *, allow_empty: bool = True) -> Array:
        """Check and convert module inputs of shape (L, D)."""
        out = as_array(z, self.kind, name)
        if out.size == 0 and allow_empty:
            return zeros((0, self.n_channels), self.kind)
        if out.ndim != 2 or out.shape[1] != self.n_channels:
            raise InvalidInput(f"{name}: expected shape (L, D) with D = {self.n_channels}, got {out.shape}")
        return out

    def step(self, h: Array, z: Array) -> tuple[Array, Array]:
        """One step: (h_t (D, N), y_t (D,))."""
        dt, decay = self.clock(z)
        h = decay * h + np.outer(dt * z, self.W_B @ z)
        if self.W_C is None:
            return h, zeros(self.n_channels, self.kind)
        return h, h @ (self.W_C @ z) + self.D_skip * z

    def run(self, z: Any, h0: Any = None) -> tuple[Array, Array]:
        """Outputs (L, D) and the last state (D, N) for module inputs (L, D)."""
        self.require_outputs()
        z = self.inputs(z)
        h = self.zero_state() if h0 is None else self.state(h0)
        return steps(self, ("W_B", "W_C", "D_skip", "dt", "decay"), z, h)

    def _steps(self, z: Array, h: Array) -> tuple[Array, Array]:
        ys = zeros((len(z), self.n_channels), self.kind)
        for t, zt in enumerate(z):
            h, ys[t] = self.step(h, zt)
        return ys, h

    def require_outputs(self) -> None:
        """Raise InvalidInput where there is no W_C."""
        if self.W_C is None:
            raise InvalidInput("this system was built without W_C: its outputs are undefined; pass W_C to run it")

    def require_constant_clock(self, what: str) -> tuple[Array, Array]:
        """(dt, decay), or an error that says why ``what`` needs a constant clock."""
        if self.dt is None or self.decay is None:
            raise InvalidInput(f"{what} is decided for a constant clock (dt independent of the token); this system's is not")
        return self.dt, self.decay
