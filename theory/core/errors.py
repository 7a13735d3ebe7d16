"""Errors of the theory package: each names the offending value and what would mend it."""

from __future__ import annotations


class TheoryError(Exception):
    """Base of every error that bad input can raise; the command line prints it and exits with code 2."""


class InvalidSystem(TheoryError, ValueError):
    """A system's parameters are unusable: not finite, unstable, of the wrong shape or of mixed number kinds."""


class InvalidInput(TheoryError, ValueError):
    """An argument beside a system (inputs, states, lengths, names) is unusable."""


class KindMismatch(InvalidInput):
    """Numbers of one kind met a system of another, for example a float in an exact system."""


class Undecided(TheoryError, ArithmeticError):
    """The answer rests on a number that no exact method here tells from another; the message says which and what would help."""


class Unreachable(TheoryError, ValueError):
    """No prefix of the requested length produces the state.

    Attributes
    ----------
    mode:
        The mode (or block) that blocks the state, or ``None`` where only the length is too small.
    smallest_length:
        The least prefix length that would do, ``math.inf`` where none would.
    """

    def __init__(self, message: str, *, mode: object = None, smallest_length: float | None = None):
        super().__init__(message)
        self.mode = mode
        self.smallest_length = smallest_length


class UnknownName(InvalidInput, KeyError):
    """A claim, family or initialisation that does not exist; the message lists the nearest names."""

    def __str__(self) -> str:  # KeyError would print the repr of its message
        return str(self.args[0])
