"""Diagonal linear time-invariant state-space models (S4D), one channel, over any kind of number.

    h_t = a ⊙ h_{t-1} + b x_t,      y_t = c·h_t + d x_t,      t = 1..L

The kernel is k_j = Σ_n c_n b_n a_n^j, so y_t = Σ_{j<t} k_j x_{t-j} + Σ_n c_n a_n^t h_{0,n}.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from sympy.polys.domains.gaussiandomains import GaussianRational

from .brief import brief, outline
from .errors import InvalidInput, InvalidSystem
from .given import Number, Vector, entries_of, is_number
from .scalars import (
    Array,
    Kind,
    abs2,
    as_array,
    conj,
    convert,
    exact_array,
    exact_value,
    is_real,
    is_zero,
    join_kinds,
    kind_of,
    real,
    refused,
    sign,
    tidy,
    zeros,
)
from .shown import ShownSystem


@dataclass(frozen=True)
class Mode:
    """One distinct eigenvalue of a closed system.

    Attributes
    ----------
    value:
        λ.
    indices:
        The states that carry it, as positions in the closed system (see :meth:`LTI.closed`).
    residue:
        r_λ = Σ c_n b_n over those states.
    observable:
        λ ≠ 0 and some c_n ≠ 0: the mode shows in the outputs o_t = Σ c_n λ^t h_{0,n}, t ≥ 1.
    """

    value: Any
    indices: tuple[int, ...]
    residue: Any
    observable: bool


class LTI(ShownSystem):
    r"""One channel of a diagonal SSM:  h_t = a ⊙ h_{t-1} + b x_t,  y_t = c·h_t + d x_t.

    Parameters
    ----------
    a, b, c:
        Arrays of shape (N,), N ≥ 1. Discrete-time decay (no unit), input and output coefficients. All exact (int,
        Fraction, Gaussian rationals from :func:`theory.gaussian`, strings like ``"1/2"``), all sympy, or all floats.
    d:
        Skip connection (scalar), as ``D`` in mamba-ssm and S4.
    half:
        The S4D convention: only one mode of each conjugate pair is stored and y_t = 2 Re(c·h_t) + d x_t. The state then
        is complex and free.
    check_stable:
        Refuse |a_n| ≥ 1 (the default). Pass ``False`` for exact counterexamples on scaled modes.

    Raises
    ------
    InvalidSystem
        Shapes differ, N = 0, an unstable mode, or a complex d with half storage.
    InvalidInput
        NaN or infinite entries.
    KindMismatch
        Rationals mixed with floats.
    """

    def __init__(
        self,
        a: Vector,
        b: Vector,
        c: Vector,
        d: Number = 0,
        *,
        half: bool = False,
        check_stable: bool = True,
        kind: Kind | None = None,
    ):
        if kind is None:
            joined = join_kinds([kind_of(a, "a"), kind_of(b, "b"), kind_of(c, "c"), kind_of([d], "d")], "LTI")
            kind = "exact" if joined == "integer" else joined
        self.kind: Kind = kind
        self.a = as_array(a, kind, "a", ndim=1)
        self.b = as_array(b, kind, "b", ndim=1)
        self.c = as_array(c, kind, "c", ndim=1)
        self.d = convert(d, kind, "d")
        self.half = bool(half)
        shapes = {"a": self.a.shape, "b": self.b.shape, "c": self.c.shape}
        if len(set(shapes.values())) != 1:
            raise InvalidSystem(f"a, b and c need one length N, got {shapes}")
        if self.a.size == 0:
            raise InvalidSystem("a system needs at least one state (N ≥ 1), got N = 0")
        if self.half and surely_complex(self.d):
            raise InvalidSystem(f"d = {brief(self.d)} is complex, but half storage (y = 2 Re(c·h) + d x) describes a real system")
        if check_stable:
            for n, value in enumerate(self.a):
                if _modulus_at_least_one(value):
                    raise InvalidSystem(
                        f"a[{n}] = {brief(value)} has |a| ≥ 1: the mode is not stable. Use |a| < 1 (a = exp(dt·A) with Re A < 0) "
                        "or check_stable=False where only finite horizons matter"
                    )

    @classmethod
    def from_continuous(
        cls, A: Any, B: Any, C: Any, dt: Any, *, d: Any = 0, discretization: str = "zoh", half: bool = False
    ) -> LTI:
        """Discretise  h' = A h + B x,  y = C h  with step ``dt`` > 0.

        ``zoh``: a = exp(dt A), b = (a − 1)/A · B.  ``mamba``: a = exp(dt A), b = dt B, which is what mamba-ssm computes.
        ``bilinear``: a = (1 + dt A/2)/(1 − dt A/2), b = dt/(1 − dt A/2) · B. Floats, or sympy for exact expressions.

        Raises InvalidSystem for dt ≤ 0 and shapes that differ, and InvalidInput for an unknown rule.
        """
        kinds = join_kinds([kind_of(A, "A"), kind_of(B, "B"), kind_of(C, "C"), kind_of([dt], "dt")], "LTI")
        symbolic = kinds in ("symbolic", "exact", "integer")
        kind: Kind = "symbolic" if symbolic else "complex128"
        A, B, C = (as_array(v, kind, s, ndim=1) for v, s in ((A, "A"), (B, "B"), (C, "C")))
        if len({v.shape for v in (A, B, C)}) != 1:
            raise InvalidSystem(f"A, B and C need one length N, got {A.shape}, {B.shape} and {C.shape}")
        if not is_number(dt):
            raise InvalidSystem(f"dt = {outline(dt)} must be one step size for all states of a channel")
        step = as_array([dt], kind, "dt")[0]
        if refused(step, lambda x: sign(x) <= 0) or (symbolic and step.is_positive is False):
            raise InvalidSystem(f"dt = {dt} must be a positive step size")
        exp = np.vectorize(sympy.exp, otypes=[object]) if symbolic else np.exp
        if discretization == "bilinear":
            a, b = (1 + step * A / 2) / (1 - step * A / 2), step / (1 - step * A / 2) * B
        elif discretization in ("zoh", "mamba"):
            a = exp(step * A)
            if discretization == "mamba":
                b = step * B
            elif symbolic:
                b = np.array([step * y if x == 0 else (e - 1) / x * y for e, x, y in zip(a, A, B, strict=True)], dtype=object)
            else:  # expm1 keeps the digits that (a - 1)/A would cancel for small dt·A
                small = A == 0
                safe = np.where(small, 1, A)
                b = np.where(small, step, np.expm1(step * safe) / safe) * B
        else:
            raise InvalidInput(f"unknown discretization {outline(discretization)}; choose 'zoh', 'mamba' or 'bilinear'")
        if not symbolic and not half and all(np.all(v.imag == 0) for v in (a, b, C)):
            a, b, C = a.real, b.real, C.real
        return cls(a, b, C, d, half=half)

    # -- basic facts ------------------------------------------------------------------------------------------------

    @property
    def n_states(self) -> int:
        """Stored states N."""
        return int(self.a.size)

    def __repr__(self) -> str:
        extra = (f", d={brief(self.d)}" if not is_zero(self.d) else "") + (", half=True" if self.half else "")
        return f"LTI(a={_show(self.a)}, b={_show(self.b)}, c={_show(self.c)}{extra})"

    def __eq__(self, other: object) -> bool:
        """Equality of parameters, not of functions (see :func:`theory.same_function`)."""
        if not isinstance(other, LTI):
            return NotImplemented
        same = self.n_states == other.n_states and self.half == other.half and bool(self.d == other.d)
        return same and all(bool(np.all(p == q)) for p, q in ((self.a, other.a), (self.b, other.b), (self.c, other.c)))

    def __hash__(self) -> int:
        return hash((self.n_states, self.half))  # equal numbers of different kinds print and hash differently

    def to(self, kind: Kind) -> LTI:
        """The same system with its numbers in another kind (exact → float64, complex128 or symbolic)."""
        a, b, c = (as_array(v, kind, s) for v, s in ((self.a, "a"), (self.b, "b"), (self.c, "c")))
        return LTI._trusted(a, b, c, as_array([self.d], kind, "d")[0], self.half, kind)

    def exactly(self) -> LTI:
        """The same system in exact numbers: each float becomes the rational it is in binary, so nothing is rounded."""
        if self.kind in ("exact", "symbolic"):
            return self
        a, b, c = (exact_array(v) for v in (self.a, self.b, self.c))
        return LTI._trusted(a, b, c, exact_value(self.d), self.half, "exact")

    @classmethod
    def _trusted(cls, a: Array, b: Array, c: Array, d: Any, half: bool, kind: Kind) -> LTI:
        """A system from arrays of one kind and length that were checked already: nothing is converted or looked at again."""
        out = cls.__new__(cls)
        out.kind, out.a, out.b, out.c, out.d, out.half = kind, a, b, c, d, half
        return out

    def replace(self, **changes: Any) -> LTI:
        """A copy with some of a, b, c, d replaced (used to perturb a system in negative checks)."""
        values: dict[str, Any] = {"a": self.a, "b": self.b, "c": self.c, "d": self.d, "half": self.half} | changes
        return LTI(**values, check_stable=False)

    # -- running ----------------------------------------------------------------------------------------------------

    def zero_state(self) -> Array:
        """h = 0, shape (N,)."""
        return zeros(self.n_states, self.kind)

    def state(self, h: Any) -> Array:
        """Check and convert a state of shape (N,); complex numbers are welcome where the modes are."""
        kind: Kind = self.kind
        if kind == "float64" and kind_of(h, "h0") == "complex128":
            kind = "complex128"
        out = as_array(h, kind, "h0", ndim=1)
        if out.shape != self.a.shape:
            raise InvalidInput(f"h0 has shape {out.shape}, the system has N = {self.n_states} states")
        return out

    def inputs(self, x: Any, name: str = "inputs", *, allow_empty: bool = True) -> Array:
        """Check and convert an input sequence of shape (L,); complex ones are for full storage only."""
        kind: Kind = "float64" if self.kind == "complex128" and kind_of(x, name) != "complex128" else self.kind
        out = as_array(x, kind, name)
        if out.ndim != 1:
            raise InvalidInput(f"{name}: expected a sequence of shape (L,), got shape {out.shape}")
        if not allow_empty and out.size == 0:
            raise InvalidInput(f"{name}: the sequence is empty (length 0); at least one token is needed")
        if self.half:
            for t, value in enumerate(out):
                if surely_complex(value):
                    raise InvalidInput(
                        f"{name}[{t}] = {brief(value)} is complex: half storage (y = 2 Re(c·h)) is for real inputs; use "
                        ".closed(), which has half=False"
                    )
        return out

    def step(self, h: Array, x: Any) -> tuple[Array, Any]:
        """One step: (h_t, y_t) from h_{t-1} and x_t."""
        h = self.a * h + self.b * x
        y = self.readout(h) + self.d * x
        return h, y.real if self.half and self.kind == "complex128" else y

    def readout(self, h: Array) -> Any:
        """c·h, or 2 Re(c·h) for half storage."""
        y = _dot(self.c, h)
        return 2 * real(y) if self.half else tidy(y)

    def run(self, x: Any, h0: Any = None) -> tuple[Array, Array]:
        """All outputs y_1..y_L and the last state, from inputs of shape (L,) and an initial state of shape (N,)."""
        x = self.inputs(x)
        h = self.zero_state() if h0 is None else self.state(h0)
        ys = []
        for xt in x:
            h, y = self.step(h, xt)
            ys.append(y)
        return _pack(ys, self.kind), h

    def kernel(self, length: int) -> Array:
        """k_0..k_{length−1} with k_j = Σ_n c_n b_n a_n^j (2 Re of it for half storage; the skip d is not included)."""
        power, out = self.c * self.b, []
        for _ in range(require_length(length, "length")):
            total = _sum(power)
            out.append(2 * real(total) if self.half else tidy(total))
            power = power * self.a
        return _pack(out, self.kind)

    def free_response(self, h0: Any, length: int) -> Array:
        """o_t = Σ_n c_n a_n^t h_{0,n} for t = 1..length: what an initial state adds to the outputs."""
        h, out = self.state(h0), []
        for _ in range(require_length(length, "length")):
            h = self.a * h
            out.append(self.readout(h))
        return _pack(out, self.kind)

    # -- structure --------------------------------------------------------------------------------------------------

    def closed(self) -> LTI:
        """The system with every mode listed: for half storage, the stored modes followed by their conjugates."""
        if not self.half:
            return self
        a, b, c = (np.concatenate([v, conj(v)]) for v in (self.a, self.b, self.c))
        return LTI._trusted(a, b, c, self.d, False, self.kind)

    def modes(self) -> tuple[Mode, ...]:
        """Distinct eigenvalues of the closed system with their residues, closed under conjugation before grouping.

        Values and residues of a float system are exact numbers: its floats taken as the rationals they are, not added in floats.
        Raises Undecided where two symbolic modes cannot be told apart nor proved equal.
        """
        full = self.exactly().closed()
        groups = group_by_value(full.a)
        out = []
        for value, members in groups:
            residue = tidy(_sum(full.c[members] * full.b[members]))
            seen = not is_zero(value) and any(not is_zero(full.c[n]) for n in members)
            out.append(Mode(tidy(value), tuple(members), residue, seen))
        return tuple(out)

    def is_real_system(self) -> bool:
        """Whether real inputs give real outputs and its states can: half storage, or modes closed under conjugation.

        Closed means that λ̄ is a mode wherever λ is, with the conjugate residue, and shows in the outputs wherever λ does.
        """
        return self.half or not self._unpaired()

    def _unpaired(self) -> list[int]:
        """Stored modes without a conjugate partner of conjugate total c b that shows as they do (full storage)."""
        if self.half:
            return []
        modes = self.modes()
        out = []
        for mode in modes:
            mirror = [mode] if is_real(mode.value) else [m for m in modes if is_zero(m.value - conj(mode.value))]
            alike = mirror and mirror[0].observable == mode.observable and is_zero(mirror[0].residue - conj(mode.residue))
            if not alike:
                out.append(mode.indices[0])
        return out

    def require_real(self) -> LTI:
        """The closed system, or an error naming the mode whose conjugate is missing."""
        missing = self._unpaired()
        if missing:
            n = missing[0]
            raise InvalidSystem(
                f"mode a[{n}] = {brief(self.a[n])} has no conjugate partner with conjugate c·b, so outputs are not real; "
                "list both modes of each pair, or pass half=True to store one of each"
            )
        return self.closed()

    def n_observable(self) -> int:
        """n_obs: the number of distinct observable modes of the closed system (a conjugate pair counts 2)."""
        return sum(mode.observable for mode in self.modes())


def require_length(length: Any, name: str = "length", least: int = 1) -> int:
    """An integer length from ``least`` to what a list can hold, or InvalidInput that names the value."""
    if isinstance(length, bool) or not isinstance(length, int | np.integer) or length < least:
        raise InvalidInput(f"{name} = {outline(length)} must be an integer of at least {least}")
    if length > sys.maxsize:
        raise InvalidInput(f"{name} = {outline(length)} is longer than any list (at most {sys.maxsize})")
    return int(length)


def require_channel(system: Any, name: str = "") -> LTI:
    """The system, or InvalidInput that says what was given (as ``name``) where an LTI channel is wanted."""
    if not isinstance(system, LTI):
        what = f"{name}: " if name else ""
        raise InvalidInput(f"{what}expected an LTI channel, got {outline(system)} of type {type(system).__name__}")
    return system


def channels_of(system: LTI | Iterable[LTI]) -> tuple[LTI, ...]:
    """One channel or several, as a tuple; a layer's channels share no state and see free inputs of their own."""
    listed = None if isinstance(system, LTI) else entries_of(system)
    out = (system,) if listed is None else listed
    if not out or not all(isinstance(s, LTI) for s in out):
        raise InvalidInput(f"expected an LTI system or a non-empty sequence of them, got {outline(system)}")
    return out


def group_by_value(values: Sequence[Any] | Array) -> list[tuple[Any, list[int]]]:
    """Distinct values with their positions, in order of appearance: hashed, except for sympy expressions."""
    groups: dict[Any, list[int]] = {}
    for n, value in enumerate(values):
        value = tidy(value)
        if isinstance(value, sympy.Expr) and value not in groups:
            value = next((known for known in groups if is_zero(known - value)), value)
        groups.setdefault(value, []).append(n)
    return list(groups.items())


def surely_complex(value: Any) -> bool:
    """Whether a number is known not to be real (a symbol without assumptions is not known to be)."""
    return value.is_real is False if isinstance(value, sympy.Expr) else not is_real(value)


def _modulus_at_least_one(value: Any) -> bool:
    """|a| ≥ 1, exactly: |a|² of a float is taken in rationals, since it may round to 1."""
    if getattr(value, "__exact_scalar__", False):
        return False
    squared = abs2(exact_value(value))
    if isinstance(squared, sympy.Expr) and squared.free_symbols:
        return (squared >= 1) == True  # noqa: E712  (sympy: undecided relations are not errors)
    return sign(squared - 1) >= 0


def _sum(values: Sequence[Any] | Array) -> Any:
    total: Any = 0
    for v in values:
        total = total + v
    return total


def _dot(u: Array, v: Array) -> Any:
    return _sum(u * v) if u.dtype == object or v.dtype == object else u @ v


def _pack(values: list[Any], kind: Kind) -> Array:
    if kind in ("exact", "symbolic"):
        out = np.empty(len(values), dtype=object)
        out[:] = values
        return out
    out = np.array(values)
    return out if values else np.zeros(0)


def _show(values: Array) -> str:
    def one(v: Any) -> str:
        if isinstance(v, Fraction | GaussianRational | sympy.Expr):
            return brief(v)
        return repr(v.item() if isinstance(v, np.generic) else v)

    shown = [one(v) for v in values[:8]]
    return "[" + ", ".join(shown) + (", …" if len(values) > 8 else "") + "]"
