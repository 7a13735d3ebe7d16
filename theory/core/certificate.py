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
from .brief import outline
from .dual import watch_ties
from .errors import InvalidInput
from .given import entries_of
from .invariants import invariant
from .scalars import Array

Family = Callable[[Array], Sequence[Any] | Array]


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
        A non-singular minor: which of the family's outputs and which parameters.
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

    @property
    def explanation(self) -> str:
        """What was found, in words."""
        if not self.rank:
            return f"the Jacobian ({self.n_outputs} outputs × {self.n_parameters} parameters) vanishes at the point: no dimension"
        return (
            f"the Jacobian ({self.n_outputs} outputs × {self.n_parameters} parameters) has rank {self.rank} at the point: "
            f"outputs {list(self.rows)} against parameters {list(self.columns)} have the determinant {self.minor} ≠ 0"
        )

    def __str__(self) -> str:
        return self.explanation

    def exceeds(self, dimension: int) -> bool:
        """Whether no locally Lipschitz image of R^dimension contains the family (on these outputs)."""
        return self.rank > dimension

    def holds_for(self, family: Family) -> bool:
        """Whether ``family`` has the stated minor at the stated point: one determinant, computed afresh."""
        with watch_ties() as ties:
            jacobian = linalg.jacobian(family, np.array(self.point, dtype=object))
        if ties or any(i >= len(jacobian) for i in self.rows):
            return False
        found = linalg.determinant(jacobian[np.ix_(self.rows, self.columns)]) if self.rows else Fraction(1)
        return found == self.minor != 0 and len(self.rows) == len(self.columns) == self.rank


def dimension_certificate(
    family: Family, point: Sequence[Any] | Array, outputs: Sequence[int] | None = None
) -> DimensionCertificate:
    """The exact Jacobian rank of ``family`` at a rational point, with a minor that proves it.

    Parameters
    ----------
    family:
        Parameters (p,) → outputs, built from +, −, ·, /, |·| and comparisons (it is run once on dual numbers).
    point:
        Ints or Fractions, p ≥ 1 of them.
    outputs:
        Indices of the outputs to look at; all of them where left out.

    Raises
    ------
    InvalidInput
        An empty point, entries that are not rational, an output that does not exist or is listed twice, a division by
        zero, or a point on a kink (a comparison such as ReLU's ends in a tie there), where a derivative proves nothing.
    """
    if not callable(family):
        raise InvalidInput(f"family = {outline(family)} must be a function of the parameters")
    entries = entries_of(point)
    if entries is None:
        raise InvalidInput(f"point = {outline(point)} must be a sequence of ints or Fractions")
    values = tuple(_rational(x, i) for i, x in enumerate(entries))
    if not values:
        raise InvalidInput("point is empty: a family needs at least one parameter")
    with watch_ties() as ties:
        jacobian = linalg.jacobian(family, np.array(values, dtype=object))
    if ties:
        raise InvalidInput(
            f"the point lies on a kink: {len(ties)} comparison(s) of the family are ties there (first at the value {ties[0]}), "
            "so it need not be differentiable; move the point"
        )
    chosen = _chosen(outputs, len(jacobian))
    part = jacobian[chosen, :]
    columns = linalg.rref(part)[1] if part.size else ()
    if not columns:
        return DimensionCertificate(0, len(values), len(part), values, (), (), Fraction(1))
    pivots = linalg.rref(part[:, list(columns)].T)[1]
    minor = linalg.determinant(part[np.ix_(pivots, columns)])
    invariant(minor != 0, "the minor on pivot rows and columns")
    rows = tuple(chosen[i] for i in pivots)
    return DimensionCertificate(len(columns), len(values), len(part), values, rows, tuple(columns), minor)


def exclusion(
    larger: DimensionCertificate, dimension: int, larger_name: str = "the family", smaller_name: str = "the class"
) -> str | None:
    """The obstruction in words where the rank exceeds ``dimension``, the number of parameters of the smaller class; else None.

    Raises InvalidInput for a negative or fractional dimension.
    """
    if not isinstance(larger, DimensionCertificate):
        raise InvalidInput(f"larger = {outline(larger)} must be a DimensionCertificate; dimension_certificate makes one")
    if isinstance(dimension, bool) or not isinstance(dimension, int | np.integer) or dimension < 0:
        raise InvalidInput(f"dimension = {outline(dimension)} must be a number of parameters: an int ≥ 0")
    if not larger.exceeds(dimension):
        return None
    return (
        f"{larger_name} is not contained in {smaller_name}: a locally Lipschitz image of R^{dimension} (or a countable union of "
        f"such) has no {larger.rank}-dimensional piece, but {larger.explanation}"
    )


def _chosen(outputs: Sequence[int] | None, available: int) -> list[int]:
    if outputs is None:
        return list(range(available))
    several = entries_of(outputs)
    chosen: list[Any] = [outputs] if several is None else list(several)
    for i in chosen:
        if isinstance(i, bool) or not isinstance(i, int | np.integer) or not 0 <= i < available:
            raise InvalidInput(f"outputs names {outline(i)}, but the family has outputs 0 to {available - 1}")
    if len(set(chosen)) != len(chosen):
        raise InvalidInput(f"outputs = {chosen} names an output twice")
    return [int(i) for i in chosen]


def _rational(x: Any, i: int) -> Fraction:
    if isinstance(x, bool) or not isinstance(x, int | np.integer | Fraction):
        raise InvalidInput(f"point[{i}] = {outline(x)} is not an int or a Fraction; a certificate needs a rational point")
    return Fraction(int(x)) if not isinstance(x, Fraction) else x
