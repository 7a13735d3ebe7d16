"""Dimension certificates: an exact Jacobian rank at one rational point, and what it excludes.

A class that is the image of R^p under a locally Lipschitz map (or a countable union of such images) has dimension at most p
when evaluated on finitely many inputs. If another class, evaluated on the same inputs, has a Jacobian of rank r > p at one
point where it is differentiable, its image contains an r-dimensional piece, so it is not contained in the first class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from . import linalg
from .errors import InvalidInput
from .scalars import Array


@dataclass(frozen=True)
class DimensionCertificate:
    """Proof that a family has at least ``rank`` dimensions near ``point``.

    Attributes
    ----------
    rank:
        Rank of the Jacobian at the point, over Q.
    n_parameters, n_outputs:
        Size of the Jacobian (outputs × parameters).
    point:
        The rational point.
    rows, columns:
        A non-singular minor: which outputs and which parameters.
    minor:
        Its determinant, nonzero.
    """

    rank: int
    n_parameters: int
    n_outputs: int
    point: tuple[Fraction, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    minor: Fraction

    def exceeds(self, dimension: int) -> bool:
        """Whether no image of R^dimension contains the family (on these outputs)."""
        return self.rank > dimension

    def __str__(self) -> str:
        return f"rank {self.rank} of a {self.n_outputs}×{self.n_parameters} Jacobian; a minor is {self.minor}"


def dimension_certificate(family: Callable[[Array], Sequence[Any] | Array], point: Sequence[Any] | Array) -> DimensionCertificate:
    """The exact Jacobian rank of ``family`` at a rational point, with a minor that proves it.

    Parameters
    ----------
    family:
        Parameters (p,) → outputs, built from +, −, ·, / (it is run once on dual numbers); differentiable at the point, so
        keep off the kinks of a ReLU.
    point:
        Ints or Fractions.

    Raises
    ------
    InvalidInput
        An empty point, or entries that are not rational.
    """
    values = tuple(_rational(x, i) for i, x in enumerate(point))
    if not values:
        raise InvalidInput("point is empty: a family needs at least one parameter")
    jacobian = linalg.jacobian(family, np.array(values, dtype=object))
    columns = linalg.rref(jacobian)[1] if jacobian.size else ()
    if not columns:
        return DimensionCertificate(0, len(values), len(jacobian), values, (), (), Fraction(1))
    rows = linalg.rref(jacobian[:, list(columns)].T)[1]
    minor = linalg.determinant(jacobian[np.ix_(rows, columns)])
    assert minor != 0
    return DimensionCertificate(len(columns), len(values), len(jacobian), values, tuple(rows), tuple(columns), minor)


def _rational(x: Any, i: int) -> Fraction:
    if isinstance(x, bool) or not isinstance(x, int | np.integer | Fraction):
        raise InvalidInput(f"point[{i}] = {x!r} is not an int or a Fraction; a certificate needs a rational point")
    return Fraction(int(x)) if not isinstance(x, Fraction) else x
