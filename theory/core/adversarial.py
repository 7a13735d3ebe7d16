"""Hypothesis strategies that look for trouble: one per kind of system, over every kind of number.

Small generic rationals seldom meet an edge. These draw dead, zero and nearly equal modes, conjugate pairs with and without their
partner, zero rows, sizes of 1, magnitudes from 10^−400 to 10^400, floats whose products round, and symbolic constants that no
simplification reduces. Every public function answers them rightly or raises one of the project's errors.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

import numpy as np
import sympy
from hypothesis import strategies as st

from .lti import LTI
from .scalars import gaussian
from .selective import SelectiveSSM
from .ssd import Mamba2Group, Mamba2Head
from .strategies import shared

Kind = Literal["exact", "complex", "float64", "complex128", "symbolic"]

TINY, HUGE, CLOSE = Fraction(1, 10**400), Fraction(10**400), Fraction(1, 10**40)
_HALF = sympy.cos(sympy.pi / 7) - sympy.cos(2 * sympy.pi / 7) + sympy.cos(3 * sympy.pi / 7)  # 1/2, which simplify does not see

_PLAIN = (Fraction(0), Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-3, 2), Fraction(2))
NUMBERS: dict[str, tuple[Any, ...]] = {
    "exact": (*_PLAIN, TINY, -HUGE, HUGE, 1 + CLOSE, Fraction(10**200)),
    "complex": (*_PLAIN, gaussian(0, 1), gaussian(1, -1), gaussian(TINY, HUGE)),
    "float64": (0.0, 1.0, -1.0, 0.1, 0.1 * 3, 3.0, 1e200, -1e-200, 5e-324, -0.0, 1 + 2**-52),
    "complex128": (0j, 1 + 0j, 1j, 0.1 - 0.3j, 1e200j, 1e-200 + 0j),
    "symbolic": (sympy.Integer(0), sympy.Integer(1), sympy.sqrt(2), -sympy.sqrt(2), _HALF, _HALF - sympy.Rational(1, 2)),
}
MODES: dict[str, tuple[Any, ...]] = {
    "exact": (Fraction(0), Fraction(1, 2), Fraction(1, 2) + CLOSE, Fraction(-1, 2), Fraction(1, 3), 1 - TINY, TINY),
    "complex": (Fraction(1, 2), gaussian(0, "1/2"), gaussian(0, "-1/2"), gaussian("1/2", "1/2"), gaussian("1/2", CLOSE)),
    "float64": (0.0, 0.5, 0.5 + 2**-53, -0.5, 0.1, 0.1 * 3, 1 - 2**-53, 5e-324),
    "complex128": (0.5 + 0j, 0.5j, -0.5j, 0.1 + 0.1j, 1e-200j),
    "symbolic": (sympy.Integer(0), sympy.Rational(1, 2), _HALF, sympy.sqrt(2) / 2, 1 / sympy.sqrt(2), sympy.Rational(1, 3)),
}
DECAYS: dict[str, tuple[Any, ...]] = {
    "exact": (Fraction(1, 2), Fraction(1, 3), Fraction(1, 2) + CLOSE, Fraction(3, 5), 1 - Fraction(1, 10**6), Fraction(1, 10**6)),
    "float64": (0.5, 0.5 + 2**-53, 0.1, 0.9, 1e-12),
}
KINDS: tuple[Kind, ...] = ("exact", "complex", "float64", "complex128", "symbolic")


@shared
def numbers(kind: str) -> st.SearchStrategy[Any]:
    """A number of one kind, ordinary or extreme."""
    return st.sampled_from(NUMBERS[kind])


@shared
def lists(kind: str, size: int) -> st.SearchStrategy[list[Any]]:
    """``size`` numbers of one kind."""
    return st.lists(numbers(kind), min_size=size, max_size=size)


@st.composite
def channels(draw: st.DrawFn, kinds: tuple[Kind, ...] = KINDS, max_states: int = 3) -> LTI:
    """An LTI channel of 1 to ``max_states`` states; modes repeat, die (b or c is 0), vanish, crowd, or lack their conjugate."""
    kind, n = draw(st.sampled_from(kinds)), draw(st.integers(1, max_states))
    a = draw(st.lists(st.sampled_from(MODES[kind]), min_size=n, max_size=n))
    half = kind in ("complex", "complex128") and draw(st.booleans())
    b, c = draw(lists(kind, n)), draw(lists(kind, n))
    d = draw(st.sampled_from([x for x in NUMBERS[kind] if kind in ("exact", "float64", "symbolic")] or [0]))
    if kind in ("complex", "complex128") and not half and draw(st.booleans()):  # list both modes of every pair
        a, b, c = ([*v, *(_conjugate(x) for x in v)] for v in (a, b, c))
    return LTI(a, b, c, d, half=half)


def _conjugate(x: Any) -> Any:
    return np.conj(x) if isinstance(x, complex) else (gaussian(x) if isinstance(x, Fraction) else gaussian(*_parts(x)))


def _parts(x: Any) -> tuple[Fraction, Fraction]:
    return Fraction(int(x.x.numerator), int(x.x.denominator)), -Fraction(int(x.y.numerator), int(x.y.denominator))


@st.composite
def states_of(draw: st.DrawFn, system: LTI) -> list[Any]:
    """A state of a channel, in its own kind of number or in reals."""
    kind = {"exact": "exact", "symbolic": "symbolic", "float64": "float64", "complex128": "complex128"}[system.kind]
    if system.kind == "exact" and draw(st.booleans()):
        kind = "complex"
    return draw(lists(kind, system.n_states))


@st.composite
def modules(draw: st.DrawFn, max_size: int = 2, *, extreme: bool = True) -> SelectiveSSM:
    """A constant-clock S6 module, exact or float64, with D, N ≥ 1, zero rows and nearly equal decays."""
    kind = draw(st.sampled_from(("exact", "float64")))
    d, n = draw(st.integers(1, max_size)), draw(st.integers(1, max_size + 1))
    pool = NUMBERS[kind] if extreme else (_PLAIN if kind == "exact" else (0.0, 1.0, -1.0, 0.5, -1.5, 2.0))
    w_b = [[draw(st.sampled_from(pool)) for _ in range(d)] for _ in range(n)]
    decay = [[draw(st.sampled_from(DECAYS[kind])) for _ in range(n)] for _ in range(d)]
    dt = [draw(st.sampled_from((Fraction(1), Fraction(1, 10**9)) if kind == "exact" else (1.0, 0.1))) for _ in range(d)]
    return SelectiveSSM(w_b, w_b, dt=dt, decay=decay)


@st.composite
def groups(draw: st.DrawFn, *, extreme: bool = True) -> Mamba2Head | Mamba2Group:
    """A Mamba-2 head or a group of two, exact or float64, with dependent, repeated and zero rows, P, N, D ≥ 1."""
    kind = draw(st.sampled_from(("exact", "float64")))
    p, n, d = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    pool = NUMBERS[kind] if extreme else (_PLAIN if kind == "exact" else (0.0, 1.0, -1.0, 0.5))

    def rows(count: int) -> list[list[Any]]:
        return [[draw(st.sampled_from(pool)) for _ in range(d)] for _ in range(count)]

    w_b = rows(n)

    def head() -> Mamba2Head:
        return Mamba2Head(rows(p), w_b, dt=1 if kind == "exact" else 1.0, decay=draw(st.sampled_from(DECAYS[kind])))

    return Mamba2Group([head(), head()]) if draw(st.booleans()) else head()


@st.composite
def matrices(draw: st.DrawFn, max_size: int = 3) -> list[list[Any]]:
    """A matrix of one kind of number, rows of zeros included."""
    kind = draw(st.sampled_from(KINDS))
    m, n = draw(st.integers(1, max_size)), draw(st.integers(1, max_size))
    return [draw(st.one_of(lists(kind, n), st.just([NUMBERS[kind][0]] * n))) for _ in range(m)]


def parameters() -> st.SearchStrategy[Any]:
    """What a caller may give by mistake for a length, an eps or a rank."""
    return st.sampled_from([0, 1, 2, 3, -1, True, 1.5, 0.5, 1e-3, float("nan"), "2", None, Fraction(1, 3), np.int64(2)])
