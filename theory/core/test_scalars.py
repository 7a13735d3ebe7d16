"""Numbers of four kinds: conversion keeps values or refuses, kinds join or refuse, parts and zero tests are exact."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import flint
import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from sympy.polys.domains.gaussiandomains import GaussianRational

from theory.core import scalars
from theory.core.dual import seed
from theory.core.errors import InvalidInput, KindMismatch
from theory.core.scalars import abs2, as_array, conj, convert, gaussian, imag, is_real, is_zero, join_kinds, kind_of, real, tidy
from theory.core.strategies import gaussians, rationals

F = Fraction
KINDS: tuple[Any, ...] = ("exact", "symbolic", "float64", "complex128")
dyadics = st.builds(lambda p, k: F(p, 2**k), st.integers(-(2**20), 2**20), st.integers(0, 20))  # exact in float64


# -- parts ----------------------------------------------------------------------------------------------------------------


@given(rationals(), rationals())
def test_gaussian_parts(p: Fraction, q: Fraction) -> None:
    z = gaussian(p, q)
    assert (real(z), imag(z)) == (p, q) and (real(conj(z)), imag(conj(z))) == (p, -q)
    assert type(real(z)) is Fraction and abs2(z) == p * p + q * q == real(z * conj(z))
    assert (conj(z) == z) == is_real(z) == (q == 0) and is_zero(z) == (p == 0 and q == 0)
    assert is_zero(z - gaussian(p, q)) and not is_zero(z - gaussian(p, q + 1)) and not is_zero(z - gaussian(p + 1, q))
    assert gaussian(str(p), str(q)) == z
    tidied = tidy(z)
    assert (type(tidied) is Fraction and tidied == p) if q == 0 else tidied is z


@given(gaussians(), gaussians())
def test_parts_are_the_same_in_every_kind(u: Any, v: Any) -> None:
    """Products of Gaussian rationals against complex symbols of sympy and against pairs."""
    w = u * v
    assert real(w) == real(u) * real(v) - imag(u) * imag(v) and imag(w) == real(u) * imag(v) + imag(u) * real(v)
    s = convert(u, "symbolic") * convert(v, "symbolic")
    assert convert(sympy.expand(s), "exact") == tidy(w)
    assert convert(sympy.expand(s) + 1, "exact") != tidy(w)
    assert real(convert(u, "symbolic")) == convert(real(u), "symbolic") and imag(convert(u, "symbolic")) == convert(
        imag(u), "symbolic"
    )
    assert abs2(convert(u, "symbolic")) == convert(abs2(u), "symbolic")
    assert conj(convert(u, "symbolic")) == convert(conj(u), "symbolic")


def test_parts_of_arrays_and_floats() -> None:
    mixed = np.array([[gaussian(1, 2), F(1, 3)], [5, sympy.I + 2]], dtype=object)
    assert real(mixed).tolist() == [[1, F(1, 3)], [5, 2]] and imag(mixed).tolist() == [[2, 0], [0, 1]]
    assert imag(conj(mixed)).tolist() == [[-2, 0], [0, -1]]
    z = np.array([1 + 2j, 3.0])
    assert real(z).tolist() == [1, 3] and imag(z).tolist() == [2, 0] and conj(z).tolist() == [1 - 2j, 3]
    assert (real(1 + 2j), imag(1 + 2j), conj(1 + 2j), abs2(3 + 4j)) == (1, 2, 1 - 2j, 25)
    assert (real(0.5), imag(0.5), conj(0.5), abs2(-3), imag(F(1, 2))) == (0.5, 0, 0.5, 9, 0)
    assert (real(np.complex128(1 + 2j)), imag(np.complex128(1 + 2j)), conj(np.complex128(1 + 2j))) == (1, 2, 1 - 2j)


def test_zero_is_decided() -> None:
    x = sympy.Symbol("x")
    assert is_zero((x + 1) ** 2 - x**2 - 2 * x - 1) and not is_zero((x + 1) ** 2 - x**2 - 2 * x)
    assert is_zero(sympy.sqrt(2) * sympy.sqrt(3) - sympy.sqrt(6)) and not is_zero(sympy.sqrt(2) - F(14142135, 10000000))
    assert is_zero(gaussian(0)) and not is_zero(gaussian(0, "1/1000"))  # a Gaussian zero equals no int
    assert is_zero(0) and is_zero(0.0) and is_zero(-0.0) and not is_zero(5e-324) and is_zero(F(0))
    assert is_zero(seed([0])[0]) and not is_zero(seed([1])[0])


# -- conversion -----------------------------------------------------------------------------------------------------------


@given(dyadics, dyadics)
def test_conversions_keep_the_value(p: Fraction, q: Fraction) -> None:
    """Dyadic numbers survive every way there and back; one unit more does not come back as the same."""
    for kind in KINDS:
        value = convert(p, kind)
        back = F(value.real) if kind in ("float64", "complex128") else convert(value, "exact")
        assert back == p and type(back) is Fraction
        assert convert(p + F(1, 2**20), kind) != value
    z = gaussian(p, q)
    assert convert(convert(z, "symbolic"), "exact") == tidy(z)
    c = convert(z, "complex128")
    assert (F(c.real), F(c.imag)) == (p, q)


@given(st.fractions(max_denominator=10**12))
def test_floats_are_the_nearest(x: Fraction) -> None:
    value = convert(x, "float64")
    assert type(value) is float and value == x.numerator / x.denominator  # int / int is correctly rounded
    error = abs(F(value) - x)
    assert error <= abs(F(np.nextafter(value, math.inf)) - x) and error <= abs(F(np.nextafter(value, -math.inf)) - x)


@pytest.mark.parametrize(
    ("x", "exact"),
    [
        (3, F(3)),
        (np.int64(-3), F(-3)),
        (F(2, 3), F(2, 3)),
        ("2/3", F(2, 3)),
        ("-0.125", F(-1, 8)),
        (flint.fmpq(2, 3), F(2, 3)),
        (flint.fmpz(5), F(5)),
        (sympy.Rational(2, 3), F(2, 3)),
        (sympy.QQ(2, 3), F(2, 3)),
        (gaussian("2/3"), F(2, 3)),
    ],
)
def test_rationals_of_every_library(x: Any, exact: Fraction) -> None:
    assert convert(x, "exact") == exact and type(convert(x, "exact")) is Fraction
    assert convert(x, "symbolic") == sympy.Rational(exact.numerator, exact.denominator)
    assert convert(x, "float64") == float(exact) and convert(x, "complex128") == complex(float(exact))
    assert convert(x, "exact") != exact + F(1, 10**30)


@pytest.mark.parametrize(
    ("x", "kind", "error", "says"),
    [
        (0.5, "exact", KindMismatch, r"x: the float 0\.5.*Fraction\(0\.5\)"),
        (np.float64(0.5), "exact", KindMismatch, "the float"),
        (1j, "exact", KindMismatch, "the float 1j"),
        (sympy.Symbol("s"), "exact", KindMismatch, "s is symbolic"),
        (sympy.pi, "exact", KindMismatch, "pi is symbolic"),
        ("two", "exact", InvalidInput, "'two' is not a rational number such as '2/3'"),
        ("1/0", "exact", InvalidInput, "'1/0'"),
        ("two", "symbolic", InvalidInput, "'two'"),
        ("two", "float64", InvalidInput, "'two'"),
        ("two", "complex128", InvalidInput, "'two'"),
        ("nan", "float64", InvalidInput, "'nan'"),
        (0.5, "symbolic", KindMismatch, r"use sympy\.Rational"),
        (sympy.Float(0.5), "symbolic", KindMismatch, "rounded number"),
        (sympy.Symbol("s") * 1.5, "symbolic", KindMismatch, "rounded number"),
        (sympy.nan, "symbolic", InvalidInput, "not finite"),
        (sympy.oo, "symbolic", InvalidInput, "not finite"),
        (-sympy.oo, "symbolic", InvalidInput, "not finite"),
        (sympy.zoo, "symbolic", InvalidInput, "not finite"),
        (1j, "float64", KindMismatch, "complex but the system is real"),
        (gaussian(1, 1), "float64", KindMismatch, "complex"),
        (sympy.I, "float64", KindMismatch, "I is complex"),
        (sympy.Symbol("s"), "float64", KindMismatch, r"s is symbolic; substitute numbers for \['s'\]"),
        (sympy.Symbol("s"), "complex128", KindMismatch, "s is symbolic"),
        (10**400, "float64", InvalidInput, "beyond the range of float64"),
        (F(10**400, 3), "complex128", InvalidInput, "beyond the range"),
        (gaussian(0, 10**400), "complex128", InvalidInput, "beyond the range"),
        (sympy.Integer(10) ** 400, "float64", InvalidInput, "not finite|beyond"),
    ],
)
def test_lossy_conversions_are_refused(x: Any, kind: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        convert(x, kind, "x")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("x", [None, [1], (1, 2), {}, object(), True, np.bool_(False)])
def test_what_is_no_number_is_refused(x: Any, kind: Any) -> None:
    with pytest.raises(InvalidInput, match=r"x: .* is (not a number|a truth value)"):
        convert(x, kind, "x")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("x", [math.nan, math.inf, -math.inf, np.float64("nan"), complex(0, math.inf)])
def test_values_that_are_not_finite(x: Any, kind: Any) -> None:
    with pytest.raises(InvalidInput, match=r"x: .* is not finite"):
        convert(x, kind, "x")


def test_unknown_kind() -> None:
    kind: Any = "rational"
    with pytest.raises(InvalidInput, match="'rational'; choose exact, symbolic, float64 or complex128"):
        convert(1, kind)


def test_complex_numbers_that_are_real_become_floats() -> None:
    assert convert(2 + 0j, "float64") == 2.0 and convert(gaussian(2), "float64") == 2.0
    assert convert(sympy.sqrt(2), "float64") == math.sqrt(2)
    assert convert((1 + sympy.I) * (1 - sympy.I), "float64") == 2.0
    assert convert(sympy.exp(sympy.I), "complex128") == complex(math.cos(1), math.sin(1))
    assert convert(sympy.sqrt(2), "symbolic") is sympy.sqrt(2)


def test_strings_are_numbers_and_not_programs() -> None:
    with pytest.raises(InvalidInput, match="not a rational number"):
        convert("__import__('os').getcwd()", "symbolic")


# -- kinds ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2], "integer"),
        ([], "integer"),
        ([np.int32(1), flint.fmpz(2)], "integer"),
        ([1, F(1, 2)], "exact"),
        (["1/2"], "exact"),
        ([gaussian(1, 1)], "exact"),
        ([sympy.Rational(1, 2), sympy.I], "exact"),
        ([1, sympy.Symbol("s")], "symbolic"),
        ([F(1, 2), sympy.sqrt(2)], "symbolic"),
        ([1, 0.5], "float64"),
        (np.array([1.0]), "float64"),
        ([1, 0.5, 1j], "complex128"),
        ([[0.5, 1], [2, 3]], "float64"),
        (0.5, "float64"),
        (seed([1]), "exact"),
    ],
)
def test_kind_of(values: Any, kind: str) -> None:
    assert kind_of(values) == kind


@pytest.mark.parametrize(
    ("values", "error", "says"),
    [
        ([F(1, 2), 0.5], KindMismatch, r"v: exact rationals and floats are mixed; convert the floats with Fraction\(x\)"),
        ([sympy.Symbol("s"), 1j], KindMismatch, "mixed"),
        ([True], InvalidInput, "True is a truth value"),
        ([np.bool_(True)], InvalidInput, "truth value"),
        ([None], InvalidInput, "None of type NoneType"),
        ([[1], [2, 3]], InvalidInput, "rows of different lengths"),
        ([[1, [2]], [1, 2]], InvalidInput, "rows of different lengths"),
    ],
)
def test_kind_of_refuses(values: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        kind_of(values, "v")


@given(st.lists(st.sampled_from([*KINDS, "integer"]), max_size=5))
def test_kinds_join_to_the_largest(kinds: list[str]) -> None:
    """Independent of order and repetition; exact and float kinds never join; the least kind that holds all otherwise."""
    exact, floats = {"exact", "symbolic"} & set(kinds), {"float64", "complex128"} & set(kinds)
    if exact and floats:
        with pytest.raises(KindMismatch):
            join_kinds(kinds)
        return
    order = ["integer", "exact", "symbolic", "float64", "complex128"]
    assert join_kinds(kinds) == join_kinds(kinds[::-1] * 2) == max([*kinds, "integer"], key=order.index)


def test_unknown_kinds_do_not_join() -> None:
    with pytest.raises(InvalidInput, match="unknown number kinds"):
        join_kinds(["float16"], "v")


# -- arrays ---------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 3), st.integers(0, 3), st.data())
def test_arrays_keep_shape_and_values(rows: int, columns: int, data: Any) -> None:
    values = data.draw(st.lists(st.lists(dyadics, min_size=columns, max_size=columns), min_size=rows, max_size=rows))
    for kind in KINDS:
        out = as_array(values, kind)
        assert out.shape == np.array(values, dtype=object).shape
        assert out.dtype == {"float64": np.float64, "complex128": np.complex128}.get(kind, np.dtype(object))
        assert all(out[i, j] == convert(values[i][j], kind) for i in range(rows) for j in range(columns))
        if rows and columns:
            assert as_array([[v + 1 for v in row] for row in values], kind).tolist() != out.tolist()


def test_arrays_are_copies() -> None:
    source = np.array([1.0, 2.0])
    out = as_array(source, "float64")
    out[0] = 5
    assert source[0] == 1.0


@pytest.mark.parametrize(
    ("values", "kind", "ndim", "error", "says"),
    [
        ([[1, 2], [3]], "exact", None, InvalidInput, "v: rows of different lengths"),
        ([[1, 2], 3], "exact", None, InvalidInput, "v: rows of different lengths"),
        ([[[1], [2, 3]], [[1], [2]]], "exact", None, InvalidInput, "v: rows of different lengths"),
        ([1, 2], "exact", 2, InvalidInput, r"v: expected 2 dimension\(s\), got shape \(2,\)"),
        (1, "exact", 1, InvalidInput, r"got shape \(\)"),
        ([[1, 2], [3, 0.5]], "exact", None, KindMismatch, r"v\[1, 1\]: the float 0\.5"),
        ([1.0, math.nan], "float64", None, InvalidInput, r"v\[1\]: nan is not finite"),
        (math.nan, "float64", None, InvalidInput, "v: nan"),
        ([True], "float64", None, InvalidInput, r"v\[0\]: True is a truth value"),
    ],
)
def test_unusable_arrays(values: Any, kind: Any, ndim: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        as_array(values, kind, "v", ndim)


@pytest.mark.parametrize("kind", KINDS)
def test_zeros(kind: Any) -> None:
    out = scalars.zeros((2, 3), kind)
    assert out.shape == (2, 3) and all(is_zero(v) for v in out.ravel())
    assert kind_of(out) in (kind, "exact", "integer") and as_array(out, kind).tolist() == out.tolist()
    assert scalars.zeros(0, kind).shape == (0,)
    expected: Any = {"exact": Fraction, "symbolic": sympy.Integer, "float64": np.float64, "complex128": np.complex128}[kind]
    assert isinstance(out[0, 0], expected)


def test_gaussians_are_sympy_numbers() -> None:
    z = gaussian("1/2", -1)
    assert isinstance(z, GaussianRational) and z * 2 == gaussian(1, -2) and z + F(1, 2) == gaussian(1, -1)
    for bad in ("half", "1/0", None, True, 1j, float("nan")):
        with pytest.raises(InvalidInput):
            gaussian(bad)


def test_long_doubles_are_not_rounded_in_silence() -> None:
    third = np.longdouble(1) / 3
    if third == float(third):
        pytest.skip("long doubles are doubles here")
    assert gaussian(third) == gaussian(F(*third.as_integer_ratio())) and gaussian(third) != gaussian(float(third))
    with pytest.raises(KindMismatch, match="more digits than float64"):
        convert(third, "float64")
    assert convert(np.longdouble(0.5), "float64") == 0.5


@pytest.mark.parametrize("x", [2**53 + 1, np.int64(2**53 + 1), -(2**60) - 1])
def test_an_integer_that_a_float_cannot_hold_is_refused(x):
    for kind in ("float64", "complex128"):
        with pytest.raises(KindMismatch, match="more digits than float64"):
            as_array([x], kind)
        assert as_array([2**53, 2**70], kind).tolist() == [2.0**53, 2.0**70]
    assert as_array([x], "exact")[0] == int(x)


@pytest.mark.parametrize("kind", ["exact", "symbolic", "float64", "complex128"])
def test_masked_numbers_are_refused(kind):
    for values in (np.ma.array([1.0, np.nan], mask=[0, 1]), [np.ma.array([1, 2], mask=[0, 1])], np.ma.array([1, 2], mask=[0, 1])):
        for read in (lambda values=values: as_array(values, kind), lambda values=values: kind_of(values)):
            with pytest.raises(InvalidInput, match=r"masked; say what its hidden entries are with \.filled"):
                read()


@pytest.mark.parametrize("x", [Decimal("0.1"), b"1.5", mpmath.mpf(1), flint.arb(1), sympy.Float("0.1", 50), sympy.nan, sympy.oo])
@pytest.mark.parametrize("kind", ["exact", "symbolic", "float64", "complex128"])
def test_what_no_kind_computes_with_is_refused_by_every_kind(x, kind):
    with pytest.raises(InvalidInput):
        as_array([x], kind)
