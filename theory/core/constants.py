r"""Symbolic constants decided, not simplified: enclosures in ball arithmetic, and a zero test that is a proof both ways.

A constant is nonzero once a ball around it excludes 0. That it *is* zero is proved by a separation bound. Write an algebraic
constant E as U/V with algebraic integers U, V whose conjugates are bounded by u and v, and let D bound its degree. Then

    E ≠ 0    ⟹    |E| ≥ 1/(u^{D−1} v)                (the norm of a nonzero algebraic integer is at least 1)

and u, v, D follow from the expression, operation by operation. So a ball inside ±1/(u^{D−1} v) around 0 proves E = 0.
Covered are +, −, ·, /, rational powers, i, and sines, cosines, tangents and exponentials at rational multiples of π (roots of
unity). Where neither side is reached, as for an identity among logarithms that sympy does not know: :class:`Undecided`.

Source: Burnikel, Funke, Mehlhorn, Schirra and Schmitt, A separation bound for real algebraic expressions (2001).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import flint
import sympy
from flint import acb, arb, fmpq

from .errors import Undecided

MAX_BITS = 1 << 16
FIRST_BITS = 64
_SAMPLES = 4
MOST_SIMPLIFIED = 1 << 10
"""Bits of the rationals in an expression that sympy is asked to simplify: it would factor longer ones, for hours."""


class _Uncovered(Exception):
    """An operation that the enclosure or the separation bound does not know."""


# -- enclosures ----------------------------------------------------------------------------------------------------------


def _rational(x: Any) -> acb:
    return acb(fmpq(int(x.p), int(x.q)))


def enclosure(x: sympy.Expr) -> acb:
    """A ball that contains a constant, at the current working precision (``flint.ctx``).

    Raises Undecided for free symbols, rounded numbers and functions that are not evaluated here.
    """
    try:
        return _enclosed(x)
    except _Uncovered as error:
        raise Undecided(f"{x}: {error}; substitute numbers, or rationals close enough") from error


def _enclosed(x: sympy.Expr) -> acb:
    if x.is_Rational:
        return _rational(x)
    if x is sympy.I:
        return acb(0, 1)
    if x is sympy.pi:
        return acb(arb.pi())
    if x is sympy.E:
        return acb(arb(1).exp())
    if isinstance(x, sympy.Add):
        return sum((_enclosed(a) for a in x.args), acb(0))
    if isinstance(x, sympy.Mul):
        out = acb(1)
        for a in x.args:
            out = out * _enclosed(a)
        return out
    if isinstance(x, sympy.Pow):
        base, exponent = x.args
        if exponent.is_Integer:
            return _enclosed(base) ** int(exponent)
        if base is sympy.E:
            return _enclosed(exponent).exp()
        return _power(_enclosed(base), _enclosed(exponent))
    known = _FUNCTIONS.get(type(x))
    if known is None:
        raise _Uncovered(f"{type(x).__name__} is not evaluated in ball arithmetic")
    return known(*(_enclosed(a) for a in x.args))


def _power(base: acb, exponent: acb) -> acb:
    if base.real.contains(0) and base.imag.contains(0):
        if exponent.imag == 0 and exponent.real > 0:  # |b|^e is increasing: the ball of radius |b|_max^e
            size = (arb(base.abs_upper()) ** exponent.real).abs_upper()
            return acb(arb(0, size), arb(0, size))
        raise _Uncovered("a power of a number that may be zero")
    return base**exponent


_FUNCTIONS: dict[Any, Callable[..., acb]] = {
    sympy.exp: lambda z: z.exp(),
    sympy.log: lambda z, base=None: z.log() if base is None else z.log() / base.log(),
    sympy.sin: lambda z: z.sin(),
    sympy.cos: lambda z: z.cos(),
    sympy.tan: lambda z: z.sin() / z.cos(),
    sympy.cot: lambda z: z.cos() / z.sin(),
    sympy.atan: lambda z: z.atan(),
    sympy.sinh: lambda z: (z.exp() - (-z).exp()) / 2,
    sympy.cosh: lambda z: (z.exp() + (-z).exp()) / 2,
    sympy.tanh: lambda z: (z.exp() - (-z).exp()) / (z.exp() + (-z).exp()),
    sympy.re: lambda z: acb(z.real),
    sympy.im: lambda z: acb(z.imag),
    sympy.conjugate: lambda z: acb(z.real, -z.imag),
    sympy.Abs: lambda z: acb(abs(z)),
}


# -- separation bounds ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Algebraic:
    """log2 of u and v, and the degrees of the roots taken, by the subexpression that takes each."""

    u: float
    v: float
    roots: tuple[tuple[Any, int], ...] = ()


def _log2(n: int) -> float:
    """An upper bound of log2 |n|, 0 for 0."""
    return float(abs(n).bit_length())


def _merge(*parts: _Algebraic) -> tuple[tuple[Any, int], ...]:
    out: dict[Any, int] = {}
    for part in parts:
        out.update(dict(part.roots))
    return tuple(out.items())


def _angle_order(angle: sympy.Expr) -> int | None:
    """The order of the root of unity exp(i·angle), None where the angle is no rational multiple of π."""
    turns = angle / (2 * sympy.pi)
    return int(turns.q) if turns.is_Rational else None


def _unity(order: int) -> _Algebraic:
    return _Algebraic(0.0, 0.0, ((("unity", order), int(sympy.totient(order))),))


def _bound(x: sympy.Expr) -> _Algebraic:
    if x.is_Rational:
        return _Algebraic(_log2(int(x.p)), _log2(int(x.q)) if x.q != 1 else 0.0)
    if x is sympy.I:
        return _unity(4)
    if isinstance(x, sympy.Add):
        parts = [_bound(a) for a in x.args]
        total = parts[0]
        for p in parts[1:]:  # U₁/V₁ + U₂/V₂
            total = _Algebraic(max(total.u + p.v, p.u + total.v) + 1, total.v + p.v)
        return _Algebraic(total.u, total.v, _merge(*parts))
    if isinstance(x, sympy.Mul):
        parts = [_bound(a) for a in x.args]
        return _Algebraic(sum(p.u for p in parts), sum(p.v for p in parts), _merge(*parts))
    if isinstance(x, sympy.Pow):
        return _bound_power(*x.args)
    if isinstance(x, sympy.exp):
        return _bound_power(sympy.E, x.args[0])
    if isinstance(x, sympy.cos | sympy.sin):
        order = _angle_order(x.args[0])
        if order is None:
            raise _Uncovered("an angle that is no rational multiple of π")
        whole = order if isinstance(x, sympy.cos) or order % 4 == 0 else 4 * order
        return _Algebraic(1.0, 1.0, _unity(whole).roots)  # (ζ ± ζ⁻¹)/2, over i for the sine
    if isinstance(x, sympy.tan | sympy.cot):
        sine, cosine = (_bound(f(x.args[0], evaluate=False)) for f in (sympy.sin, sympy.cos))
        top, bottom = (sine, cosine) if isinstance(x, sympy.tan) else (cosine, sine)
        return _Algebraic(top.u + bottom.v, top.v + bottom.u, _merge(top, bottom))
    if isinstance(x, sympy.re | sympy.im | sympy.conjugate | sympy.Abs):
        inner = _bound(x.args[0])
        degree = 1
        for _, k in inner.roots:
            degree *= k
        both = (*inner.roots, (("conjugate", x.args[0]), degree), *_unity(4).roots)
        if isinstance(x, sympy.conjugate):
            return _Algebraic(inner.u, inner.v, both)
        if isinstance(x, sympy.Abs):  # √(z z̄)
            return _Algebraic(inner.u + inner.v, 2 * inner.v, (*both, (x, 2)))
        return _Algebraic(inner.u + inner.v + 1, 2 * inner.v + 1, both)
    raise _Uncovered(f"{x} is not known to be algebraic")


def _bound_power(base: sympy.Expr, exponent: sympy.Expr) -> _Algebraic:
    if base is sympy.E:
        order = _angle_order(exponent / sympy.I)
        if order is None:
            raise _Uncovered(f"exp({exponent}) is not known to be algebraic")
        return _unity(order)
    if not exponent.is_Rational:
        raise _Uncovered(f"the exponent {exponent} is not rational")
    inner, p, k = _bound(base), abs(int(exponent.p)), int(exponent.q)
    u, v = inner.u, inner.v
    if k > 1:  # the k-th root of U/V is (U V^{k−1})^{1/k}/V
        u = max(0.0, (u + (k - 1) * v) / k)
    u, v = p * u, p * v
    if exponent < 0:
        u, v = v, u
    return _Algebraic(u, v, inner.roots if k == 1 else (*inner.roots, ((base, k), k)))


def separation_bits(x: sympy.Expr) -> float | None:
    """B with x = 0 or |x| ≥ 2^−B, for algebraic constants; None where the expression is not known to be algebraic."""
    try:
        found = _bound(x)
    except _Uncovered:
        return None
    degree, orders = 1, 1
    for name, k in found.roots:
        if isinstance(name, tuple) and name[0] == "unity":
            orders = int(sympy.ilcm(orders, name[1]))  # all roots of unity lie in one cyclotomic field
        else:
            degree *= k
    degree *= int(sympy.totient(orders))
    return (degree - 1) * max(found.u, 0.0) + max(found.v, 0.0) + 1


# -- decisions -----------------------------------------------------------------------------------------------------------


def _precisions(last: float) -> Iterator[int]:
    bits = FIRST_BITS
    while bits < min(last, MAX_BITS):
        yield bits
        bits *= 2
    yield int(min(last, MAX_BITS))


def constant_is_zero(x: sympy.Expr) -> bool:
    """Whether a constant (no free symbols) is zero, with a proof either way.

    Raises Undecided where neither a ball excludes 0 nor the separation bound or sympy's simplification proves it.
    """
    if x.is_Rational:
        return bool(x == 0)
    bits = separation_bits(x)
    for precision in _precisions(1024 + 4 * _length(x) if bits is None else 2 * bits + FIRST_BITS):
        with flint.ctx.workprec(precision):
            try:
                ball = _enclosed(x)
            except _Uncovered as error:
                return _simplified_to_zero(x, str(error))
            size = ball.abs_lower()
            if size > 0:
                return False
            if bits is not None and bool(ball.abs_upper() < arb(2) ** -int(bits + 1)):
                return True
    return _simplified_to_zero(x, f"it is below 2^−{precision // 2} and no bound tells it from 0")


def _length(x: sympy.Expr) -> int:
    """Bits of all rationals in an expression."""
    return sum(int(q.p).bit_length() + int(q.q).bit_length() for q in x.atoms(sympy.Rational))


def _zero_as_polynomial(x: sympy.Expr) -> bool:
    """Whether x vanishes whatever its transcendental parts and symbols are: a proof that it is zero, False proves nothing.

    Each largest part that is not known to be algebraic becomes an indeterminate. The coefficients of the numerator that
    remains are algebraic numbers, whose zeros the separation bound decides.
    """
    names: dict[sympy.Expr, sympy.Dummy] = {}

    def lifted(e: sympy.Expr) -> sympy.Expr:
        if isinstance(e, sympy.Add | sympy.Mul) or (isinstance(e, sympy.Pow) and e.exp.is_Integer):
            return e.func(*(lifted(a) for a in e.args))
        return e if separation_bits(e) is not None else names.setdefault(e, sympy.Dummy())

    numerator = sympy.fraction(sympy.together(lifted(x)))[0].expand()
    if not names:
        return False
    coefficients: dict[sympy.Expr, sympy.Expr] = {}
    for term in sympy.Add.make_args(numerator):
        known, monomial = term.as_independent(*names.values(), as_Add=False)
        coefficients[monomial] = coefficients.get(monomial, sympy.Integer(0)) + known
    return all(separation_bits(c) is not None and constant_is_zero(c) for c in coefficients.values())


def _simplified_to_zero(x: sympy.Expr, why: str) -> bool:
    if x.expand() == 0 or _zero_as_polynomial(x):  # long rationals may cancel in products
        return True
    shorter = x.as_content_primitive()[1]  # without a common rational factor
    if _length(shorter) > MOST_SIMPLIFIED:
        why += "; its rationals are too long to simplify"
    elif sympy.simplify(shorter) == 0:
        return True
    raise Undecided(f"whether {x} is zero is undecided: {why}; give the numbers as rationals, or in a form that simplifies")


def constant_sign(x: sympy.Expr) -> int:
    """The sign of a real constant: −1, 0 or 1. Raises Undecided as :func:`constant_is_zero` does."""
    if constant_is_zero(x):
        return 0
    for precision in _precisions(MAX_BITS):
        with flint.ctx.workprec(precision):
            value = enclosure(x).real
            if value > 0:
                return 1
            if value < 0:
                return -1
    raise Undecided(f"the sign of {x} is not decided with {MAX_BITS} bits; is it real?")


def is_zero_expression(x: sympy.Expr) -> bool:
    """Whether an expression is zero: a constant as a number, one with symbols identically in them.

    False with symbols is proved by a point at which the value is not zero; it need not be nonzero at every point.
    """
    if not x.free_symbols:
        return constant_is_zero(x)
    if x.expand() == 0:
        return True
    if any(_surely_nonzero(x.subs(point)) for point in _points(x)):
        return False
    return _simplified_to_zero(x, "it vanishes or is undecided at the points tried, and does not simplify to 0")


def _surely_nonzero(x: Any) -> bool:
    for precision in (FIRST_BITS, 8 * FIRST_BITS):
        with flint.ctx.workprec(precision):
            try:
                size = _enclosed(x).abs_lower()
            except (_Uncovered, ZeroDivisionError, AttributeError):  # a pole, or a function that is not evaluated
                return False
            if size.is_finite() and size > 0:
                return True
    return False


def _points(x: sympy.Expr) -> Iterator[dict[Any, Any]]:
    """Rational values for the free symbols that respect what is assumed about them (complex where nothing is)."""
    symbols = sorted(x.free_symbols, key=str)
    for k in range(_SAMPLES):
        yield {s: _value(s, 7 * k + 3 * i + 2) for i, s in enumerate(symbols)}


def _value(symbol: Any, seed: int) -> sympy.Expr:
    if symbol.is_integer:
        size: sympy.Expr = sympy.Integer(2 * seed + (symbol.is_odd is True))
    else:
        size = sympy.Rational(2 * seed + 1, 2 * seed + 7)
    if symbol.is_imaginary:
        return sympy.I * size
    if symbol.is_negative or symbol.is_nonpositive:
        return -size
    if symbol.is_extended_real or symbol.is_integer:
        return size if symbol.is_nonnegative or seed % 2 else -size
    return size + sympy.I * sympy.Rational(seed, seed + 5)
