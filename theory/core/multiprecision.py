"""Certified numbers: eigenvalues and solutions in ball arithmetic, at whatever precision they need.

Gramians of trained state-space models have condition numbers beyond 1e80, so float64 cannot tell their small eigenvalues
from zero. Here a matrix is built from exact numbers in python-flint's balls (Arb), solved with rigorous error bounds, and
the working precision is doubled until every result is known to float64's own relative precision. The bounds are proofs:
no result depends on the precision that was started from.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import flint
import numpy as np
import sympy
from flint import acb, acb_mat, arb, fmpq
from sympy.polys.domains.gaussiandomains import GaussianRational

from .constants import MAX_BITS, enclosure
from .errors import InvalidInput, InvalidSystem, TheoryError
from .scalars import Array, imag, real
from .tolerance import EPS64


def to_arb(x: Any) -> arb:
    """A real number as a ball at the current precision; floats and rationals enter exactly."""
    if isinstance(x, sympy.Expr):
        if x.free_symbols:
            raise InvalidInput(f"{x} contains free symbols; substitute numbers first")
        return enclosure(x).real
    value = x if isinstance(x, Fraction) else Fraction(x)
    return arb(fmpq(value.numerator, value.denominator))


def to_acb(x: Any) -> acb:
    """A real or complex number of any kind as a ball; floats and (Gaussian) rationals enter exactly."""
    if isinstance(x, GaussianRational | complex | np.complexfloating | sympy.Expr):
        return acb(to_arb(real(x)), to_arb(imag(x)))
    return acb(to_arb(x))


def _settled(x: arb) -> bool:
    """Known to float64's relative precision."""
    return bool(x.rad() <= abs(x.mid()) * (EPS64 / 4)) and bool(x.mid() != 0)


def adaptively(compute: Callable[[], list[arb]], bits: int, what: str) -> list[arb]:
    """Run ``compute`` at doubling precision until every ball it returns is known to float64's relative precision.

    The results must not be zero. ``compute`` may raise ValueError or ZeroDivisionError where the precision is too low.

    Raises InvalidSystem if :data:`MAX_BITS` do not suffice: then some result is zero, or as good as zero.
    """
    bits = max(64, bits)
    while bits <= MAX_BITS:
        with flint.ctx.workprec(bits):
            try:
                values = compute()
            except TheoryError:  # bad input, although it may be a ValueError too
                raise
            except (ValueError, ZeroDivisionError):
                values = []
            if values and all(_settled(v) for v in values):
                return values
        bits *= 2
    raise InvalidSystem(f"{what}: not decided with {MAX_BITS} bits; a value is zero, or the system is as good as degenerate")


def positive_spectrum(build: Callable[[], acb_mat], bits: int, what: str) -> list[arb]:
    """Eigenvalues, largest first, of a matrix whose eigenvalues are known to be real and positive, as certified balls.

    ``build`` makes the matrix at the current precision. The matrix may be a product of two Hermitian positive definite
    ones. Equal eigenvalues are allowed.
    """

    def compute() -> list[arb]:
        return [value.real for value in build().eig(multiple=True)]

    return sorted(adaptively(compute, bits, what), key=lambda x: float(x.mid().log()), reverse=True)


def nearest_float(x: arb, what: str) -> float:
    """The float64 next to a ball's centre.

    Raises InvalidInput where that is infinite, or 0 although the number is not: a float would be a wrong answer.
    """
    value = float(x.mid())
    if not np.isfinite(value) or (value == 0 and x != 0):
        size = "exceeds" if value else "is below"
        raise InvalidInput(f"{what} {size} float64's range (about {x.mid().str(3, radius=False)}); rescale the system")
    return value


def sqrt_floats(values: list[arb], what: str = "a singular value", *, to_zero: bool = False) -> Array:
    """√ of certified positive balls as float64, correct to rounding.

    InvalidInput beyond float64's range; with ``to_zero`` values below it become 0, for results that say so.
    """
    with flint.ctx.workprec(128):
        roots = [v.mid().sqrt() for v in values]
        return np.array([0.0 if to_zero and float(r) == 0 else nearest_float(r, what) for r in roots], dtype=np.float64)
