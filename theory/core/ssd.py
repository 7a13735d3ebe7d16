"""Mamba-2 heads (state-space duality), over any kind of number.

One head with head dimension P and N states, module input u_t ∈ R^D:

    x_t = W_x u_t ∈ R^P,    B_t = W_B u_t ∈ R^N,    C_t = W_C u_t ∈ R^N,    dt_t > 0,    A < 0 a scalar
    h_t = exp(dt_t A) h_{t−1} + dt_t x_t B_tᵀ ∈ R^{P×N},       y_t = h_t C_t + D_skip x_t

Heads of one group share B and C (``ngroups`` in mamba-ssm); their states are stacked to (H, P, N).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .brief import brief, outline
from .clocks import tick
from .errors import InvalidInput, InvalidSystem
from .flint_steps import steps
from .given import Matrix, Number, entries_of
from .scalars import Array, Kind, as_array, convert, join_kinds, kind_of, refused, sign, zeros
from .shown import ShownSystem

ScalarClock = Callable[[Array], tuple[Any, Any]]


class Mamba2Head(ShownSystem):
    """One Mamba-2 head with explicit projections.

    Parameters
    ----------
    W_x, W_B, W_C:
        Rows of the input projection: shapes (P, D), (N, D), (N, D). ``W_C=None``: no readout.
    dt, decay:
        Constant step size > 0 and exp(dt A) in (0, 1).
    clock:
        Any function u → (dt, decay), instead of the two numbers.
    D_skip:
        Scalar skip.

    Raises InvalidSystem for shapes that do not fit, dt ≤ 0 or a decay outside (0, 1) (symbols carry their own assumptions).
    """

    def __init__(
        self,
        W_x: Matrix,
        W_B: Matrix,
        W_C: Matrix | None = None,
        *,
        dt: Number | None = None,
        decay: Number | None = None,
        clock: ScalarClock | None = None,
        D_skip: Number = 0,
    ):
        kinds = [kind_of(W_x, "W_x"), kind_of(W_B, "W_B"), kind_of([D_skip], "D_skip")]
        kinds += [kind_of([v], s) for v, s in ((dt, "dt"), (decay, "decay")) if v is not None]
        kinds += [] if W_C is None else [kind_of(W_C, "W_C")]
        joined = join_kinds(kinds, "Mamba2Head")
        self.kind: Kind = "exact" if joined == "integer" else joined
        self.W_x = as_array(W_x, self.kind, "W_x", ndim=2)
        self.W_B = as_array(W_B, self.kind, "W_B", ndim=2)
        self.W_C = None if W_C is None else as_array(W_C, self.kind, "W_C", ndim=2)
        if self.W_x.size == 0 or self.W_B.size == 0 or self.W_x.shape[1] != self.W_B.shape[1]:
            raise InvalidSystem(f"W_x {self.W_x.shape} and W_B {self.W_B.shape} must be (P, D) and (N, D) with P, N, D ≥ 1")
        if self.W_C is not None and self.W_C.shape != self.W_B.shape:
            raise InvalidSystem(f"W_C has shape {self.W_C.shape}, expected (N, D) = {self.W_B.shape}")
        self.D_skip = convert(D_skip, self.kind, "D_skip")
        self._clock = clock
        self.dt = self.decay = None
        if clock is None:
            if dt is None or decay is None:
                raise InvalidSystem("a Mamba-2 head needs dt and decay = exp(dt A), or clock")
            self.dt, self.decay = convert(dt, self.kind, "dt"), convert(decay, self.kind, "decay")
            if refused(self.dt, lambda v: sign(v) <= 0):
                raise InvalidSystem(f"dt = {brief(dt)} must be a positive step size")
            if refused(self.decay, lambda v: sign(v) <= 0 or sign(1 - v) <= 0):
                raise InvalidSystem(f"decay = {brief(decay)} must lie in (0, 1): exp(dt A) with A < 0")
        elif dt is not None or decay is not None:
            raise InvalidSystem("clock excludes dt and decay")
        elif not callable(clock):
            raise InvalidSystem(f"clock = {outline(clock)} must be a function u → (dt, decay)")

    @property
    def head_dim(self) -> int:
        """P."""
        return int(self.W_x.shape[0])

    @property
    def n_states(self) -> int:
        """N."""
        return int(self.W_B.shape[0])

    @property
    def d_input(self) -> int:
        """D, the width of the module input."""
        return int(self.W_x.shape[1])

    def __repr__(self) -> str:
        return f"Mamba2Head(P={self.head_dim}, N={self.n_states}, D={self.d_input}, kind={self.kind})"

    def clock(self, u: Array) -> tuple[Any, Any]:
        """(dt, decay) for one token; what a clock that is a function may not answer: see :func:`.clocks.tick`."""
        return (self.dt, self.decay) if self._clock is None else tick(self._clock, u, self.kind, (), ())

    def zero_state(self) -> Array:
        """h = 0, shape (P, N)."""
        return zeros((self.head_dim, self.n_states), self.kind)

    def state(self, h: Any) -> Array:
        """Check and convert a state of shape (P, N)."""
        out = as_array(h, self.kind, "h0")
        if out.shape != (self.head_dim, self.n_states):
            raise InvalidInput(f"h0 has shape {out.shape}, expected (P, N) = {(self.head_dim, self.n_states)}")
        return out

    def inputs(self, u: Any, name: str = "inputs", *, allow_empty: bool = True) -> Array:
        """Check and convert module inputs of shape (L, D)."""
        out = as_array(u, self.kind, name)
        if out.size == 0 and allow_empty:
            return zeros((0, self.d_input), self.kind)
        if out.ndim != 2 or out.shape[1] != self.d_input:
            raise InvalidInput(f"{name}: expected shape (L, D) with D = {self.d_input}, got {out.shape}")
        return out

    def step(self, h: Array, u: Array) -> tuple[Array, Array]:
        """One step: (h_t (P, N), y_t (P,))."""
        dt, decay = self.clock(u)
        x = self.W_x @ u
        h = decay * h + dt * np.outer(x, self.W_B @ u)
        if self.W_C is None:
            return h, zeros(self.head_dim, self.kind)
        return h, h @ (self.W_C @ u) + self.D_skip * x

    def run(self, u: Any, h0: Any = None) -> tuple[Array, Array]:
        """Outputs (L, P) and the last state (P, N) for module inputs (L, D)."""
        if self.W_C is None:
            raise InvalidInput("this head was built without W_C: its outputs are undefined; pass W_C to run it")
        u = self.inputs(u)
        h = self.zero_state() if h0 is None else self.state(h0)
        return steps(self, ("W_x", "W_B", "W_C", "D_skip", "dt", "decay"), u, h)

    def _steps(self, u: Array, h: Array) -> tuple[Array, Array]:
        ys = zeros((len(u), self.head_dim), self.kind)
        for t, ut in enumerate(u):
            h, ys[t] = self.step(h, ut)
        return ys, h


class Mamba2Group(ShownSystem):
    """Heads that share B and C (one group of mamba-ssm): the state is the stack (H, P, N).

    Raises InvalidSystem if the heads' W_B, W_C or input widths differ, or none is given.
    """

    def __init__(self, heads: Sequence[Mamba2Head]):
        self.heads = entries_of(heads) or ()
        if not self.heads:
            raise InvalidSystem(f"a group needs a sequence of at least one head, got {outline(heads)}")
        for i, head in enumerate(self.heads):
            if not isinstance(head, Mamba2Head):
                raise InvalidSystem(f"head {i} is {outline(head)}, not a Mamba2Head")
        first = self.heads[0]
        for i, head in enumerate(self.heads):
            same_c = (head.W_C is None) == (first.W_C is None) and (head.W_C is None or bool(np.all(head.W_C == first.W_C)))
            if head.kind != first.kind or head.W_B.shape != first.W_B.shape or not np.all(head.W_B == first.W_B) or not same_c:
                raise InvalidSystem(f"head {i} does not share W_B and W_C with head 0; heads of one group must")
            if head.head_dim != first.head_dim:
                raise InvalidSystem(f"head {i} has P = {head.head_dim}, head 0 has P = {first.head_dim}")
        self.kind = first.kind

    def __repr__(self) -> str:
        return f"Mamba2Group(H={len(self.heads)}, {self.heads[0]!r})"

    def zero_state(self) -> Array:
        """h = 0, shape (H, P, N)."""
        return zeros((len(self.heads), self.heads[0].head_dim, self.heads[0].n_states), self.kind)

    def state(self, h: Any) -> Array:
        """Check and convert a state of shape (H, P, N)."""
        out = as_array(h, self.kind, "h0")
        if out.shape != self.zero_state().shape:
            raise InvalidInput(f"h0 has shape {out.shape}, expected (H, P, N) = {self.zero_state().shape}")
        return out

    def inputs(self, u: Any, name: str = "inputs", *, allow_empty: bool = True) -> Array:
        """Check and convert module inputs of shape (L, D)."""
        return self.heads[0].inputs(u, name, allow_empty=allow_empty)

    def step(self, h: Array, u: Array) -> tuple[Array, Array]:
        """One step of every head: (h_t (H, P, N), y_t (H, P))."""
        pairs = [head.step(hh, u) for head, hh in zip(self.heads, h, strict=True)]
        return np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])

    def run(self, u: Any, h0: Any = None) -> tuple[Array, Array]:
        """Outputs (L, H, P) and the last state (H, P, N)."""
        u = self.inputs(u)
        h = self.zero_state() if h0 is None else self.state(h0)
        runs = [head.run(u, hh) for head, hh in zip(self.heads, h, strict=True)]
        return np.stack([r[0] for r in runs], axis=1), np.stack([r[1] for r in runs])
