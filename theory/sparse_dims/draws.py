"""Fast exact draws for this family: one choice from a fixed pool per number, so that 200 instances cost a second.

The pools are ordered from simple to involved, which is the direction in which hypothesis shrinks.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache

from hypothesis import strategies as st


def _by_simplicity(values: set[Fraction]) -> tuple[Fraction, ...]:
    return tuple(sorted(values, key=lambda q: (abs(q.numerator) + q.denominator, q < 0, q)))


NUMBERS = _by_simplicity({Fraction(s * p, q) for p in range(8) for q in (1, 2, 3) for s in (1, -1)})
NONZERO = NUMBERS[1:]
MODES = _by_simplicity({Fraction(s * p, q) for q in (2, 3, 5, 7, 11) for p in range(1, q) for s in (1, -1)})

number = st.sampled_from(NUMBERS)
nonzero = st.sampled_from(NONZERO)
mode = st.sampled_from(MODES)


@cache
def numbers(size: int) -> st.SearchStrategy[list[Fraction]]:
    """``size`` rationals with numerators up to 7 and denominators up to 3."""
    return st.lists(number, min_size=size, max_size=size)


@cache
def nonzeros(size: int) -> st.SearchStrategy[list[Fraction]]:
    """``size`` nonzero rationals."""
    return st.lists(nonzero, min_size=size, max_size=size)


@cache
def distinct_modes(size: int) -> st.SearchStrategy[list[Fraction]]:
    """``size`` distinct real modes in (−1, 1), none of them 0."""
    return st.lists(mode, min_size=size, max_size=size, unique=True)


@cache
def any_modes(size: int) -> st.SearchStrategy[list[Fraction]]:
    """``size`` real modes in (−1, 1), equal ones and 0 included, from a pool small enough for both to be common."""
    pool = (Fraction(0), *MODES[:6])
    return st.lists(st.sampled_from(pool), min_size=size, max_size=size)
