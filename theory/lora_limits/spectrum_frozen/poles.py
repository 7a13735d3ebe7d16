"""Poles of a kernel, identified exactly: the invariant that projections cannot change.

A sequence k_j = Σ_λ r_λ λ^j is annihilated by the shift polynomial p(x) = Π (x − λ) over the λ with r_λ ≠ 0, and by no
polynomial of smaller degree. The minimal polynomial of a kernel is therefore its pole set, readable off the outputs alone.
Berlekamp–Massey over Q finds it from twice as many lags as its degree (Massey 1969).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import flint
import numpy as np

from theory.core.brief import brief
from theory.core.errors import InvalidInput
from theory.core.invariants import BrokenInvariant
from theory.core.linalg import rank as exact_rank
from theory.core.linalg import solve
from theory.core.lti import require_length
from theory.core.scalars import Array, abs2, as_array, conj, convert, is_real, is_zero, real


def _fmpq(x: Any, name: str) -> flint.fmpq:
    x = convert(x, "exact", name)
    if not is_real(x):
        raise InvalidInput(f"{name}: {brief(x)} is not real; list every mode beside its conjugate, or keep half=True")
    return flint.fmpq(x.numerator, x.denominator)


def _fraction(x: flint.fmpq) -> Fraction:
    return Fraction(int(x.p), int(x.q))


def _sequence(values: Any, name: str = "sequence") -> list[flint.fmpq]:
    array = as_array(values, "exact", name, ndim=1)
    if array.size == 0:
        raise InvalidInput(f"{name} is empty; at least one lag is needed")
    return [_fmpq(x, name) for x in array]


@dataclass(frozen=True)
class Recurrence:
    """The shortest linear recurrence of a sequence: its minimal polynomial, monic, in x = shift by one lag.

    Attributes
    ----------
    polynomial:
        flint.fmpq_poly of degree ``order``; Σ_i p_i s_{j+i} = 0 for every j.
    determined:
        Whether the sequence had at least 2·order lags, so that the recurrence is unique and any longer continuation of
        the same recurrence gives the same polynomial.
    """

    polynomial: flint.fmpq_poly
    determined: bool

    @property
    def order(self) -> int:
        """Degree: the number of poles, with multiplicity (= rank of the Hankel matrix)."""
        return max(0, int(self.polynomial.degree()))

    def poles(self) -> dict[Fraction, int]:
        """Rational poles with their multiplicities."""
        out: dict[Fraction, int] = {}
        for factor, multiplicity in self.polynomial.factor()[1]:
            if factor.degree() == 1:
                out[_fraction(-factor[0] / factor[1])] = int(multiplicity)
        return out

    @property
    def splits(self) -> bool:
        """Whether all poles are rational."""
        return sum(self.poles().values()) == self.order


def minimal_recurrence(sequence: Any) -> Recurrence:
    """Shortest recurrence of a rational sequence, by Berlekamp–Massey.

    Parameters
    ----------
    sequence:
        Exact numbers s_0, …, s_{n−1}. For a kernel with a direct term (skip) pass it from lag 1 on.

    Raises
    ------
    InvalidInput
        An empty sequence. KindMismatch for floats.
    """
    s = _sequence(sequence)
    current, previous = flint.fmpq_poly([1]), flint.fmpq_poly([1])  # connection polynomials, constant term 1
    length, gap, last = 0, 1, flint.fmpq(1)
    for i, value in enumerate(s):
        discrepancy = value
        for j in range(1, length + 1):
            discrepancy += current[j] * s[i - j]
        if discrepancy == 0:
            gap += 1
            continue
        shifted = flint.fmpq_poly([0] * gap + list(previous)) * (discrepancy / last)
        if 2 * length <= i:
            length, previous, last, gap, current = i + 1 - length, current, discrepancy, 1, current - shifted
        else:
            current, gap = current - shifted, gap + 1
    # connection polynomial c of length ℓ: p(x) = x^ℓ c(1/x)
    polynomial = flint.fmpq_poly([current[length - i] for i in range(length + 1)])
    return Recurrence(polynomial, len(s) >= 2 * length)


def polynomial_from_modes(modes: Iterable[Any]) -> flint.fmpq_poly:
    """Π (x − λ) over the given modes, repeated ones repeated; complex ones beside their conjugates.

    Raises InvalidInput where a mode lacks its conjugate, and KindMismatch for floats.
    """
    out, left = flint.fmpq_poly([1]), [convert(mode, "exact", "modes") for mode in modes]
    while left:
        mode = left.pop()
        if is_real(mode):
            out *= flint.fmpq_poly([-_fmpq(mode, "modes"), 1])
            continue
        partner = next((i for i, other in enumerate(left) if is_zero(other - conj(mode))), None)
        if partner is None:
            raise InvalidInput(f"modes: {brief(mode)} lacks its conjugate, so no real kernel shows it alone")
        left.pop(partner)
        out *= flint.fmpq_poly([_fmpq(abs2(mode), "modes"), -2 * _fmpq(real(mode), "modes"), 1])
    return out


def annihilates(polynomial: flint.fmpq_poly, sequence: Any) -> bool:
    """Whether Σ_i p_i s_{j+i} = 0 for every j the sequence allows.

    Raises InvalidInput where the sequence has no more lags than the degree: nothing would be tested.
    """
    s, degree = _sequence(sequence), max(0, int(polynomial.degree()))
    if len(s) <= degree:
        raise InvalidInput(f"{len(s)} lags test no recurrence of order {degree}; at least {degree + 1} are needed")
    sums = (sum((polynomial[i] * s[j + i] for i in range(degree + 1)), flint.fmpq(0)) for j in range(len(s) - degree))
    return all(x == 0 for x in sums)


def divides(divisor: flint.fmpq_poly, polynomial: flint.fmpq_poly) -> bool:
    """Whether one polynomial divides another: every pole of the first is a pole of the second, with multiplicity."""
    return bool(polynomial % divisor == 0)


def kernel_recurrence(kernel: Any) -> Recurrence:
    """Minimal recurrence of a kernel K_0, K_1, … of numbers (L,) or matrices (L, p, q), from lag 1 on.

    For matrices the least common multiple over the entries. Lag 0 is left out, because a skip connection changes it freely.

    Raises
    ------
    InvalidInput
        Fewer than two lags, or a kernel too short to determine an entry's recurrence.
    """
    array = np.asarray(kernel, dtype=object)
    if array.ndim not in (1, 3) or len(array) < 2:
        raise InvalidInput(f"kernel has shape {array.shape}; expected (L,) or (L, p, q) with L ≥ 2")
    polynomial, determined = flint.fmpq_poly([1]), True
    for entry in array.reshape(len(array), -1).T:
        r = minimal_recurrence(entry[1:])
        if not r.determined:
            raise InvalidInput(
                f"{len(array)} lags do not determine an entry's recurrence (order {r.order} needs {2 * r.order + 1}); "
                "pass a longer kernel"
            )
        common = polynomial.gcd(r.polynomial)
        polynomial = polynomial * r.polynomial / common
    leading = polynomial[int(polynomial.degree())]
    return Recurrence(polynomial / leading, determined)


def hankel_rank(sequence: Any) -> int:
    """Rank of the Hankel matrix [s_{i+j}] with ⌈n/2⌉ rows: the number of poles, once n ≥ 2·order (Kronecker)."""
    s = [_fraction(x) for x in _sequence(sequence)]
    rows = (len(s) + 1) // 2
    return exact_rank([s[i : i + len(s) - rows + 1] for i in range(rows)])


# -- what frozen modes can still match -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class FrozenFit:
    """Whether residues on frozen modes (and a skip) reproduce a target kernel on L lags.

    Attributes
    ----------
    residues:
        Σ of c b per frozen mode, or None where no choice fits.
    skip:
        The direct term d (0 where it is frozen).
    certificate:
        Where nothing fits: a row vector ℓ that annihilates every column of frozen modes but not the target.
    """

    residues: Array | None
    skip: Fraction
    certificate: Array | None

    @property
    def possible(self) -> bool:
        """Whether the target is matched."""
        return self.residues is not None


def fit_with_frozen_modes(modes: Sequence[Any], target: Any, *, skip: bool) -> FrozenFit:
    """Solve Σ_n r_n λ_n^j + d [j = 0] = k*_j, j < L, for the residues r and, if tunable, the skip d.

    This is all that projections around a frozen S4 channel bank can do to one input-output pair: they change the residues. A
    frozen mode 0 is a direct term, the same column as a tuned skip: they count as one.

    Parameters
    ----------
    modes:
        Distinct frozen modes λ_n, exact.
    target:
        Target kernel k*_0..k*_{L−1}, its own skip included at lag 0, exact.
    skip:
        Whether d may be tuned.
    """
    lam = [_fraction(_fmpq(x, f"modes[{i}]")) for i, x in enumerate(modes)]
    if len(set(lam)) != len(lam):
        raise InvalidInput(f"frozen modes {[str(x) for x in lam]} must be distinct: list each once")
    k = [_fraction(x) for x in _sequence(target, "target kernel")]
    matrix = [[x**j for x in lam] + ([Fraction(int(j == 0))] if skip else []) for j in range(len(k))]
    solution = solve(matrix, k)
    if solution is not None:
        return FrozenFit(solution[: len(lam)], solution[len(lam)] if skip else Fraction(0), None)
    nonzero = [x for x in lam if x != 0]
    p = polynomial_from_modes(nonzero)
    first = 1 if skip or len(nonzero) < len(lam) else 0  # the first lag that no direct term touches, where p decides
    for start in range(first, len(k) - len(nonzero)):
        row = np.full(len(k), Fraction(0), dtype=object)
        for i in range(len(nonzero) + 1):
            row[start + i] = _fraction(p[i])
        if sum((x * y for x, y in zip(row, k, strict=True)), Fraction(0)) != 0:
            return FrozenFit(None, Fraction(0), row)
    raise BrokenInvariant("an unsolvable Vandermonde system has a violated recurrence")  # pragma: no cover


def shortest_refuting_horizon(frozen: int, outside: int, *, skip: bool) -> int:
    """L from which a target with ``outside`` ≥ 1 further poles cannot be matched: frozen + outside + [a direct term is free].

    ``frozen`` counts the nonzero frozen modes; a direct term is free where the skip is tuned or a frozen mode is 0.
    """
    n, q = require_length(frozen, "frozen", least=0), require_length(outside, "outside")
    return n + q + int(bool(skip))
