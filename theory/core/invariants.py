"""What the code has derived about its own values: where that turns out false there is a bug, and no answer is given.

Not ``assert``, which ``python -O`` deletes: an answer that rests on a broken invariant would be returned there.
"""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


class BrokenInvariant(RuntimeError):
    """Something that the code has proved about its own values is false: a bug here, not bad input of the caller."""


def invariant(condition: object, why: str) -> None:
    """Raise :class:`BrokenInvariant` unless the condition holds; ``why`` says what was to make it true."""
    if not condition:
        raise BrokenInvariant(why)


def known(value: T | None, why: str) -> T:
    """The value, which ``why`` says cannot be ``None``; raises :class:`BrokenInvariant` if it is."""
    if value is None:
        raise BrokenInvariant(why)
    return value
