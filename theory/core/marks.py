"""Generated parts of a hand-written file, between two marks."""

from __future__ import annotations

from .errors import InvalidInput


def with_part(text: str, marks: tuple[str, str], part: str, where: object) -> str:
    """The text with ``part`` between the two marks, in place of what stands there.

    Raises
    ------
    InvalidInput
        A mark is missing, or the closing one stands before the opening one.
    """
    begin, end = marks
    head, found, rest = text.partition(begin)
    if not found or end not in rest:
        raise InvalidInput(f"{where} lacks the marks {begin!r} and {end!r}")
    return f"{head}{begin}\n{part}{end}{rest.partition(end)[2]}"
