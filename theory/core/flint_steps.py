"""Exact recurrences in flint's rationals: the same steps on the same numbers, which multiply faster than Fractions do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any, Protocol, TypeVar

import flint
import numpy as np

from .linalg import _fmpq
from .scalars import Array, Kind, _fraction

T = TypeVar("T", bound="Stepping")


class Stepping(Protocol):
    """A system with a recurrence, and a clock that may be a function."""

    kind: Kind
    _clock: Callable[[Any], tuple[Any, Any]] | None

    def clock(self, token: Array) -> tuple[Any, Any]:
        """(dt, decay) for one token."""

    def _steps(self, u: Array, h: Array) -> tuple[Array, Array]:
        """Outputs and the last state."""


class _OtherNumber(Exception):
    """A number that is no Fraction: dual, complex, symbolic."""


def in_flint(x: Any) -> Any:
    """A Fraction or an int, or an array of them, as ``fmpq``; raises :class:`_OtherNumber` for anything else."""
    if isinstance(x, np.ndarray):
        out = np.empty(x.size, dtype=object)
        for i, v in enumerate(x.ravel()):
            out[i] = in_flint(v)
        return out.reshape(x.shape)
    if type(x) is Fraction or type(x) is int:
        return _fmpq(x)
    raise _OtherNumber


def as_fractions(x: Array) -> Array:
    """The array with Fractions in place of ``fmpq``."""
    out = np.empty(x.size, dtype=object)
    for i, v in enumerate(x.ravel()):
        out[i] = _fraction(v) if isinstance(v, flint.fmpq) else v
    return out.reshape(x.shape)


def steps(system: T, numbers: Iterable[str], u: Array, h: Array) -> tuple[Array, Array]:
    """``system._steps(u, h)``; of an exact system whose numbers are all rational, on flint's rationals and back.

    Parameters
    ----------
    numbers:
        Attributes of the system that hold numbers or ``None``. A clock that is a function is given Fractions.
    """
    if system.kind != "exact":
        return system._steps(u, h)
    ticks: list[tuple[Any, Any]] = []
    try:
        moved = copy.copy(system)
        for name in numbers:
            value = getattr(system, name)
            object.__setattr__(moved, name, None if value is None else in_flint(value))
        if system._clock is not None:

            def noted(token: Array) -> tuple[Any, Any]:
                ticks.append(system.clock(as_fractions(token)))
                dt, decay = ticks[-1]
                return in_flint(dt), in_flint(decay)

            object.__setattr__(moved, "clock", noted)
        ys, last = moved._steps(in_flint(u), in_flint(h))
    except _OtherNumber:
        return _again(system, ticks)._steps(u, h)
    return as_fractions(ys), as_fractions(last)


def _again(system: T, ticks: list[tuple[Any, Any]]) -> T:
    """The system whose clock first repeats what it said: a clock may remember, so each token asks it once."""
    if not ticks:
        return system
    said, again = iter(ticks), copy.copy(system)

    def repeated(token: Array) -> tuple[Any, Any]:
        tick = next(said, None)
        return system.clock(token) if tick is None else tick

    object.__setattr__(again, "clock", repeated)
    return again
