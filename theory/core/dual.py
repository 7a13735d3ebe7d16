"""Dual numbers over the rationals: exact first derivatives by running a function once.

A dual number is v + Σ g_i ε_i with ε_i ε_j = 0. The gradient is a row of python-flint's ``fmpq_mat``, so a system with
hundreds of parameters stays cheap. Supports +, −, ·, / and integer powers, |·|, truth and comparisons by value (for ReLU).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from fractions import Fraction
from typing import Any

import flint
import numpy as np

from .brief import outline
from .errors import InvalidInput, KindMismatch
from .scalars import Array

_ties: ContextVar[list[Fraction] | None] = ContextVar("ties", default=None)


@contextmanager
def watch_ties() -> Iterator[list[Fraction]]:
    """Collect the comparisons (==, <, truth, …) of a number that depends on the parameters, and that end in a tie.

    At a tie a branch may change however flat the compared number is (v² ≤ 0 holds at v = 0 alone), so no slope excuses it.
    Only what depends on no parameter, such as 0·v, is compared freely: it takes the same branch everywhere.
    """
    seen: list[Fraction] = []
    token = _ties.set(seen)
    try:
        yield seen
    finally:
        _ties.reset(token)


def _q(x: Any) -> flint.fmpq:
    if isinstance(x, Fraction):
        return flint.fmpq(x.numerator, x.denominator)
    if isinstance(x, int | np.integer | flint.fmpz):
        return flint.fmpq(int(x))
    if isinstance(x, flint.fmpq):
        return x
    try:  # rationals of other libraries; never int(x), which would round
        return flint.fmpq(int(x.numerator), int(x.denominator))
    except (AttributeError, TypeError) as error:
        raise KindMismatch(f"{outline(x)} of type {type(x).__name__} met a dual number; use ints and Fractions") from error


class Dual:
    """A rational value with a rational gradient; ``constant`` where it depends on no parameter, whatever their values."""

    __slots__ = ("constant", "grad", "value")
    __exact_scalar__ = True  # as_array and kind_of pass it through exact systems

    def __init__(self, value: flint.fmpq, grad: flint.fmpq_mat, constant: bool = False):
        self.value = value
        self.grad = grad
        self.constant = constant

    def gradient(self) -> list[Fraction]:
        """∂value/∂parameter as Fractions."""
        return [Fraction(int(self.grad[0, j].p), int(self.grad[0, j].q)) for j in range(self.grad.ncols())]

    @property
    def fraction(self) -> Fraction:
        """The value without its gradient."""
        return Fraction(int(self.value.p), int(self.value.q))

    def __add__(self, other: Any) -> Dual:
        if isinstance(other, np.ndarray):  # numpy then works entry by entry
            return NotImplemented
        if isinstance(other, Dual):
            return Dual(self.value + other.value, self.grad + other.grad, self.constant and other.constant)
        return Dual(self.value + _q(other), self.grad, self.constant)

    __radd__ = __add__

    def __neg__(self) -> Dual:
        return Dual(-self.value, -self.grad, self.constant)

    def __sub__(self, other: Any) -> Dual:
        if isinstance(other, np.ndarray):
            return NotImplemented
        return self + (-other)

    def __rsub__(self, other: Any) -> Dual:
        return (-self) + other

    def __mul__(self, other: Any) -> Dual:
        if isinstance(other, np.ndarray):  # numpy then works entry by entry
            return NotImplemented
        if isinstance(other, Dual):
            constant = (self.constant and other.constant) or self._always_zero() or other._always_zero()
            return Dual(self.value * other.value, self.grad * other.value + other.grad * self.value, constant)
        q = _q(other)
        return Dual(self.value * q, self.grad * q, self.constant or q == 0)

    def _always_zero(self) -> bool:
        return self.constant and self.value == 0

    __rmul__ = __mul__

    def reciprocal(self) -> Dual:
        """1/x; ZeroDivisionError at 0."""
        inv = 1 / self.value
        return Dual(inv, self.grad * (-inv * inv), self.constant)

    def __truediv__(self, other: Any) -> Dual:
        if isinstance(other, np.ndarray):
            return NotImplemented
        return self * (other.reciprocal() if isinstance(other, Dual) else 1 / _q(other))

    def __rtruediv__(self, other: Any) -> Dual:
        return self.reciprocal() * other

    def __pow__(self, exponent: int) -> Dual:
        if not isinstance(exponent, int | np.integer):
            raise InvalidInput(f"{self} ** {outline(exponent)}: dual numbers have integer powers only")
        if exponent < 0:
            return self.reciprocal() ** (-exponent)
        out = Dual(flint.fmpq(1), self.grad * 0, True)
        for _ in range(exponent):
            out = out * self
        return out

    def __eq__(self, other: object) -> bool:
        self._note_tie(other)
        return self._equals(other)

    def _equals(self, other: object) -> bool:
        try:
            return bool(self.value == (other.value if isinstance(other, Dual) else _q(other)))
        except KindMismatch:
            return NotImplemented

    def __hash__(self) -> int:
        return hash(self.value)

    def __bool__(self) -> bool:
        return self != 0

    def __abs__(self) -> Dual:
        return -self if self < 0 else self

    def _note_tie(self, other: Any) -> None:
        seen = _ties.get()
        if seen is None or other is self or (self.constant and not (isinstance(other, Dual) and not other.constant)):
            return
        if self._equals(other) is True:
            seen.append(self.fraction)

    def __lt__(self, other: Any) -> bool:
        self._note_tie(other)
        return bool(self.value < (other.value if isinstance(other, Dual) else _q(other)))

    def __gt__(self, other: Any) -> bool:
        self._note_tie(other)
        return bool(self.value > (other.value if isinstance(other, Dual) else _q(other)))

    def __le__(self, other: Any) -> bool:
        return not self > other

    def __ge__(self, other: Any) -> bool:
        return not self < other

    def __repr__(self) -> str:
        return f"Dual({self.value})"


def seed(point: Sequence[Any] | Array) -> Array:
    """The independent variables: entry i has gradient e_i. KindMismatch for a point that is not rational."""
    p = len(point)
    out = np.empty(p, dtype=object)
    for i, x in enumerate(point):
        out[i] = Dual(_q(x), flint.fmpq_mat(1, p, [int(j == i) for j in range(p)]))
    return out
