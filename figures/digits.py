"""Numbers in a figure's message: powers of ten as a reader writes them."""

from __future__ import annotations


def raised(exponent: int) -> str:
    """An integer as an exponent: ``raised(-12)`` is ``⁻¹²``."""
    return str(exponent).translate(str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"))


def one_digit(value: float) -> str:
    """A positive number to one digit: ``0.5``, ``2·10⁻¹⁵``."""
    digit, exponent = f"{value:.0e}".split("e")
    return f"{value:.1g}" if abs(int(exponent)) <= 2 else f"{digit}·10{raised(int(exponent))}"
