"""The four kinds of number the systems run on, and conversion between them.

========== ================================================= ==========================
kind        elements                                          array dtype
========== ================================================= ==========================
exact       ``fractions.Fraction`` or Gaussian rationals      ``object``
symbolic    ``sympy.Expr``                                    ``object``
float64     IEEE double                                       ``float64``
complex128  pairs of IEEE doubles                             ``complex128``
========== ================================================= ==========================

Gaussian rationals (p + iq with p, q rational) are the elements of sympy's ``QQ_I`` domain; they mix with int and
Fraction. Mixing exact numbers with floats is refused: an exact verdict must not rest on a rounded value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any, Literal

import flint
import numpy as np
import sympy
from sympy import QQ_I
from sympy.polys.domains.gaussiandomains import GaussianRational

from .brief import brief, outline
from .constants import constant_sign, is_zero_expression
from .errors import InvalidInput, KindMismatch

Kind = Literal["exact", "symbolic", "float64", "complex128"]
Array = np.ndarray[Any, Any]


def gaussian(re: Any, im: Any = 0) -> GaussianRational:
    """The Gaussian rational re + i·im from two ints, Fractions or strings such as ``"1/3"``; a float is the number it is.

    Raises InvalidInput for anything else, NaN and infinity.
    """
    re, im = _part(re, "re"), _part(im, "im")
    return QQ_I(
        sympy.QQ(re.numerator, re.denominator),
        sympy.QQ(im.numerator, im.denominator),
    )


def _part(x: Any, name: str) -> Fraction:
    if isinstance(x, bool) or not isinstance(
        x, int | str | float | Fraction | np.integer | np.floating | flint.fmpq | flint.fmpz
    ):
        raise InvalidInput(f"{name} = {outline(x)} is not an int, a Fraction or a string such as '1/3'")
    if isinstance(x, str):
        return _parsed(x, name)
    if isinstance(x, float | np.floating):
        if not np.isfinite(x):
            raise InvalidInput(f"{name} = {outline(x)} is not finite")
        return Fraction(*x.as_integer_ratio())
    return _fraction(x) if isinstance(x, Fraction | flint.fmpq) else Fraction(int(x))


def _fraction(x: Any) -> Fraction:
    """A Fraction from a rational of any library (sympy's ground types, flint, int)."""
    if isinstance(x, Fraction):
        return x
    if isinstance(x, flint.fmpq):
        return Fraction(int(x.p), int(x.q))
    return Fraction(int(x.numerator), int(x.denominator))


def real(x: Any) -> Any:
    """Real part, in the number's own kind."""
    if isinstance(x, GaussianRational):
        return _fraction(x.x)
    if isinstance(x, sympy.Expr):
        return sympy.re(x)
    if isinstance(x, np.ndarray) and x.dtype == object:
        return np.array([real(v) for v in x.ravel()], dtype=object).reshape(x.shape)
    return x.real if isinstance(x, complex | np.complexfloating | np.ndarray) else x


def imag(x: Any) -> Any:
    """Imaginary part, in the number's own kind (0 for real kinds)."""
    if isinstance(x, GaussianRational):
        return _fraction(x.y)
    if isinstance(x, sympy.Expr):
        return sympy.im(x)
    if isinstance(x, np.ndarray) and x.dtype == object:
        return np.array([imag(v) for v in x.ravel()], dtype=object).reshape(x.shape)
    return x.imag if isinstance(x, complex | np.complexfloating | np.ndarray) else 0


def conj(x: Any) -> Any:
    """Complex conjugate, in the number's own kind."""
    if isinstance(x, GaussianRational):
        return QQ_I(x.x, -x.y)
    if isinstance(x, sympy.Expr):
        return sympy.conjugate(x)
    if isinstance(x, np.ndarray):
        if x.dtype == object:
            return np.array([conj(v) for v in x.ravel()], dtype=object).reshape(x.shape)
        return np.conj(x)
    return x.conjugate() if isinstance(x, complex | np.complexfloating) else x


def abs2(x: Any) -> Any:
    """Squared modulus |x|², exact for exact kinds."""
    if isinstance(x, GaussianRational | sympy.Expr | complex | np.complexfloating):
        return real(x) * real(x) + imag(x) * imag(x)
    return x * x


def is_zero(x: Any) -> bool:
    """Whether x is zero, decided exactly; an expression with symbols is zero where it vanishes identically in them.

    Raises Undecided where no proof is found either way (see :mod:`.constants`): never a guess.
    """
    if isinstance(x, sympy.Expr):
        return is_zero_expression(x)
    if isinstance(x, GaussianRational):  # sympy calls no Gaussian number equal to an int, so x == 0 is always False
        return not x
    return bool(x == 0)


def is_real(x: Any) -> bool:
    """Whether the imaginary part of x is exactly zero."""
    return is_zero(imag(x))


def sign(x: Any) -> int:
    """The sign of a real number, −1, 0 or 1: exact for every kind. Raises Undecided for expressions that no proof covers."""
    if isinstance(x, sympy.Expr):
        return constant_sign(x)
    return int(x > 0) - int(x < 0)


def refused(value: Any, bad: Callable[[Any], Any]) -> bool:
    """Whether a number is not real, or ``bad``; an expression with free symbols carries its own assumptions and passes."""
    if isinstance(value, sympy.Expr) and not value.is_number:
        return False
    return not is_real(value) or bool(bad(real(value)))  # numpy orders complex numbers by their real parts


def exact_value(x: Any) -> Any:
    """The very number that a float is in binary, as a Fraction or Gaussian rational; other kinds as they are (tidied)."""
    if isinstance(x, complex | np.complexfloating):
        return tidy(gaussian(Fraction(float(x.real)), Fraction(float(x.imag))))
    return Fraction(float(x)) if isinstance(x, float | np.floating) else tidy(x)


def exact_array(values: Array) -> Array:
    """:func:`exact_value` of every entry."""
    out = np.empty(values.shape, dtype=object)
    for index in np.ndindex(values.shape):
        out[index] = exact_value(values[index])
    return out


def scaled(vector: Array, factor: Any) -> Array:
    """vector · factor entry by entry; a Gaussian number to the left of an array would try to swallow it whole."""
    out = np.empty(vector.shape, dtype=vector.dtype)
    for index in np.ndindex(vector.shape):
        out[index] = tidy(vector[index] * factor)
    return out


def tidy(x: Any) -> Any:
    """A Gaussian rational with zero imaginary part becomes a Fraction; everything else is returned as it is."""
    if isinstance(x, GaussianRational) and x.y == 0:
        return _fraction(x.x)
    return x


def _kind_of_element(x: Any, name: str) -> Kind:
    if isinstance(x, bool | np.bool_):
        raise InvalidInput(f"{name}: {outline(x)} is a truth value, not a number")
    if isinstance(x, int | Fraction | GaussianRational | flint.fmpq | flint.fmpz | np.integer | str):
        return "exact"
    if isinstance(x, sympy.Expr):
        re, im = x.as_real_imag()
        return "exact" if re.is_Rational and im.is_Rational else "symbolic"
    if isinstance(x, float | np.floating):
        return "float64"
    if isinstance(x, complex | np.complexfloating):
        return "complex128"
    if getattr(x, "__exact_scalar__", False):  # dual numbers and other extensions of the rationals
        return "exact"
    raise InvalidInput(f"{name}: {outline(x)} of type {type(x).__name__} is not a number this package computes with")


_INTEGER = (int, np.integer, flint.fmpz)


def kind_of(values: Any, name: str = "value") -> Kind | Literal["integer"]:
    """The common kind of an array-like: ``integer`` where only integers occur (they fit every kind).

    Raises
    ------
    KindMismatch
        Exact rationals and floats in one array.
    """
    refuse_masked(values, name)
    kinds: set[Any] = set()
    try:
        flat = values.ravel() if isinstance(values, np.ndarray) else np.asarray(values, dtype=object).ravel()
    except ValueError as error:
        raise InvalidInput(f"{name}: rows of different lengths") from error
    for x in flat:
        if isinstance(x, list | tuple):
            raise InvalidInput(f"{name}: rows of different lengths")
        kinds.add("integer" if isinstance(x, _INTEGER) and not isinstance(x, bool) else _kind_of_element(x, name))
    return join_kinds(kinds, name)


def refuse_masked(values: Any, name: str) -> None:
    """Raise InvalidInput for an array with a mask, or for rows that have one: nobody can tell whether a hidden number counts."""
    rows = values if isinstance(values, list | tuple) else (values,)
    if any(isinstance(row, np.ma.MaskedArray) for row in rows):
        raise InvalidInput(f"{name}: the array is masked; say what its hidden entries are with .filled(value)")


def join_kinds(kinds: Iterable[Any], name: str = "value") -> Any:
    """The least kind that holds all of ``kinds``; exact (non-integer) and float do not mix."""
    kinds = set(kinds) - {"integer"}
    if not kinds:
        return "integer"
    if kinds & {"exact", "symbolic"} and kinds & {"float64", "complex128"}:
        raise KindMismatch(
            f"{name}: exact rationals and floats are mixed; convert the floats with Fraction(x) "
            "or the rationals with float(x), so that the verdict's exactness is explicit"
        )
    for kind in ("symbolic", "exact", "complex128", "float64"):
        if kind in kinds:
            return kind
    raise InvalidInput(f"{name}: unknown number kinds {sorted(map(str, kinds))}")


def convert(x: Any, kind: Kind, name: str = "value") -> Any:
    """One number in the given kind; refuses what would be lossy (float → exact, complex → float64).

    Raises
    ------
    KindMismatch
        The conversion would round, would claim exactness for a float, or needs a value for a symbol.
    InvalidInput
        NaN, infinity, a number beyond the range of floats, or something that is not a number.
    """
    if isinstance(x, bool | np.bool_):
        raise InvalidInput(f"{name}: {outline(x)} is a truth value, not a number")
    if isinstance(x, str):
        x = _parsed(x, name)
    if isinstance(x, float | np.floating | complex | np.complexfloating) and not np.isfinite(x):
        raise InvalidInput(f"{name}: {outline(x)} is not finite; remove NaN and infinite values")
    if not isinstance(kind, str):
        raise InvalidInput(f"unknown number kind {outline(kind)}; choose exact, symbolic, float64 or complex128")
    if kind == "exact":
        if isinstance(x, float | np.floating | complex | np.complexfloating):
            raise KindMismatch(
                f"{name}: the float {x!r} was given to an exact system; pass Fraction({x!r}) if that very binary "
                "value is meant, or convert the system with .to('float64')"
            )
        if isinstance(x, sympy.Expr):
            re, im = x.as_real_imag()
            if not (re.is_Rational and im.is_Rational):
                raise KindMismatch(f"{name}: {x} is symbolic and cannot enter an exact system")
            return Fraction(int(re.p), int(re.q)) if im == 0 else gaussian(*(Fraction(int(v.p), int(v.q)) for v in (re, im)))
        if isinstance(x, GaussianRational) or getattr(x, "__exact_scalar__", False):
            return tidy(x)
        try:
            return _fraction(x) if not isinstance(x, np.integer | flint.fmpz) else Fraction(int(x))
        except (AttributeError, TypeError) as error:
            raise _not_a_number(x, name) from error
    if kind == "symbolic":
        if isinstance(x, GaussianRational):
            re, im = (sympy.Rational(int(v.numerator), int(v.denominator)) for v in (x.x, x.y))
            return re + sympy.I * im
        if isinstance(x, float | np.floating | complex | np.complexfloating):
            raise KindMismatch(f"{name}: the float {x!r} was given to a symbolic system; use sympy.Rational")
        if isinstance(x, sympy.Expr):
            return _exact_expression(x, name)
        x = convert(x, "exact", name)
        return sympy.Rational(x.numerator, x.denominator) if isinstance(x, Fraction) else sympy.sympify(x)
    if isinstance(x, sympy.Expr):
        _exact_expression(x, name)
    elif not isinstance(x, float | np.floating):
        _kind_of_element(x, name)  # what no exact kind takes is no number here either
    if kind == "float64":
        undecided = isinstance(x, sympy.Expr) and x.is_number and x.is_real is not True
        if undecided or isinstance(x, complex | np.complexfloating | GaussianRational):
            if not is_real(x):
                raise KindMismatch(f"{name}: {brief(x)} is complex but the system is real; use complex128")
            x = real(x)
        return _rounded(x, float, name)
    if kind == "complex128":
        if isinstance(x, GaussianRational):
            return complex(_rounded(real(x), float, name), _rounded(imag(x), float, name))
        return _rounded(x, complex, name)
    raise InvalidInput(f"unknown number kind {outline(kind)}; choose exact, symbolic, float64 or complex128")


def _parsed(text: str, name: str) -> Fraction:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise InvalidInput(f"{name}: {outline(text)} is not a rational number such as '2/3'") from error


def _not_a_number(x: Any, name: str) -> InvalidInput:
    return InvalidInput(f"{name}: {outline(x)} of type {type(x).__name__} is not a number this package computes with")


def _exact_expression(x: sympy.Expr, name: str) -> sympy.Expr:
    """The expression, unless it holds a rounded, infinite or undefined number."""
    if x.has(sympy.nan, sympy.oo, -sympy.oo, sympy.zoo):
        raise InvalidInput(f"{name}: {x} is not finite; remove NaN and infinite values")
    if x.has(sympy.Float):
        raise KindMismatch(f"{name}: {x} holds a rounded number (sympy.Float); use sympy.Rational")
    return x


def _rounded(x: Any, to: type[float] | type[complex], name: str) -> Any:
    """float(x) or complex(x), with the reason where there is none."""
    if isinstance(x, flint.fmpq | flint.fmpz):
        x = _fraction(x) if isinstance(x, flint.fmpq) else int(x)
    try:
        value = to(x)
    except OverflowError as error:
        raise InvalidInput(f"{name}: {brief(x)} is beyond the range of float64; rescale it or stay exact") from error
    except (TypeError, ValueError) as error:
        if isinstance(x, sympy.Expr):
            raise KindMismatch(f"{name}: {x} is symbolic; substitute numbers for {sorted(map(str, x.free_symbols))}") from error
        raise _not_a_number(x, name) from error
    if not np.isfinite(value):
        raise InvalidInput(f"{name}: {outline(value)} is not finite")
    longer = isinstance(x, np.longdouble | np.clongdouble) and value != x
    if longer or (isinstance(x, int | np.integer) and int(value.real) != int(x)):
        raise KindMismatch(f"{name}: {outline(x)} holds more digits than float64; round it with {to.__name__}(x)")
    return value


def as_array(values: Any, kind: Kind, name: str = "value", ndim: int | None = None) -> Array:
    """An array of one kind from nested sequences or arrays.

    Raises
    ------
    InvalidInput
        Ragged nesting, a wrong number of dimensions, NaN or infinity.
    KindMismatch
        See :func:`convert`.
    """
    refuse_masked(values, name)
    if isinstance(values, np.ndarray):
        source = values
    else:
        try:
            source = np.array(values, dtype=object)
        except ValueError as error:
            raise InvalidInput(f"{name}: rows of different lengths") from error
    if ndim is not None and source.ndim != ndim:
        raise InvalidInput(f"{name}: expected {ndim} dimension(s), got shape {source.shape}")
    dtype = _DTYPES.get(kind, object) if isinstance(kind, str) else object
    exact = isinstance(kind, str) and kind == "exact"
    if dtype is not object and source.dtype == dtype and np.isfinite(source).all():
        return np.array(source, order="C", subok=False)
    flat = source.ravel()
    if source.dtype == object and any(isinstance(x, list | tuple) for x in flat):
        raise InvalidInput(f"{name}: rows of different lengths")
    out = np.empty(flat.size, dtype=dtype)
    for i, x in enumerate(flat):
        # Most numbers are Fractions already, and the place of a number is a text that only an error needs.
        out[i] = x if exact and type(x) is Fraction else _placed(x, kind, name, i, source.shape)
    return out.reshape(source.shape)


_DTYPES: dict[str, Any] = {"float64": np.float64, "complex128": np.complex128}


def _placed(x: Any, kind: Kind, name: str, flat_index: int, shape: tuple[int, ...]) -> Any:
    """:func:`convert`, which is told the place in the array where it fails."""
    try:
        return convert(x, kind, name)
    except InvalidInput:
        return convert(x, kind, f"{name}{_where(flat_index, shape)}")


def _where(flat_index: int, shape: tuple[int, ...]) -> str:
    return f"[{', '.join(str(int(i)) for i in np.unravel_index(flat_index, shape))}]" if shape else ""


def zeros(shape: int | tuple[int, ...], kind: Kind) -> Array:
    """An array of zeros in the given kind."""
    if kind in ("exact", "symbolic"):
        out = np.empty(shape, dtype=object)
        out.fill(Fraction(0) if kind == "exact" else sympy.Integer(0))
        return out
    return np.zeros(shape, dtype=np.float64 if kind == "float64" else np.complex128)
