"""Numbers in messages: exact where they are short, else a decimal with ≈ in front.

Exact numbers here may have thousands of digits, which no reader wants and which Python refuses to print beyond 4300.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import flint
from sympy.polys.domains.gaussiandomains import GaussianRational

LONGEST = 60
"""Characters of a number that a message prints as it is."""
_DIGITS = 6


def decimal(x: Fraction) -> str:
    """Six digits of a rational of any size.

    >>> decimal(Fraction(1, 3)), decimal(Fraction(-(10**5000), 3))
    ('0.333333', '-3.33333e+4999')
    """
    with flint.ctx.workprec(64):
        return str(flint.arb(flint.fmpq(x.numerator, x.denominator)).str(_DIGITS, radius=False))


def outline(value: Any) -> str:
    """What a caller gave where something else is wanted, in one line of about ``LONGEST`` characters.

    >>> outline([1, "a"]), outline(10**5000), outline([10**5000])
    ("[1, 'a']", '≈ 1.00000e+5000', 'a list')
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return brief(value)
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # an integer inside that Python refuses to print
        return f"a {type(value).__name__}"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def brief(value: Any, longest: int = LONGEST) -> str:
    """``str`` of a number of at most ``longest`` characters, else its size.

    >>> brief(Fraction(1, 3)), brief(10**5000), brief(Fraction(1, 10**80))
    ('1/3', '≈ 1.00000e+5000', '≈ 1.00000e-80')
    """
    if isinstance(value, GaussianRational):
        re, im = (Fraction(int(part.numerator), int(part.denominator)) for part in (value.x, value.y))
        return str(value) if _bits(re) + _bits(im) < 4 * longest and len(str(value)) <= longest else _complex(re, im)
    if not isinstance(value, int | Fraction) or isinstance(value, bool):
        return str(value)
    exact = Fraction(value)
    return str(value) if _bits(exact) < 4 * longest and len(str(value)) <= longest else f"≈ {decimal(exact)}"


def _bits(x: Fraction) -> int:
    return x.numerator.bit_length() + x.denominator.bit_length()


def _complex(re: Fraction, im: Fraction) -> str:
    return f"≈ {decimal(re)} {'-' if im < 0 else '+'} {decimal(abs(im))}i"
