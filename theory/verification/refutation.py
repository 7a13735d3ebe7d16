"""How a check says that its statement fails: it raises :class:`Refuted`, with the instance on which it fails.

Never by an ``assert``: ``python -O`` deletes those, and an AssertionError may as well come from a bug in the code that the
check calls. A bug must not read as a refutation, nor a refutation vanish.
"""

from __future__ import annotations

from typing import TypeVar, cast

T = TypeVar("T")


class Refuted(Exception):
    """A statement fails on an instance.

    Attributes
    ----------
    witness:
        The instance, or ``None`` where the message alone says what fails.
    """

    def __init__(self, message: str, witness: object = None):
        super().__init__(message)
        self.witness = witness


def require(condition: object, witness: object = None) -> None:
    """Raise :class:`Refuted` unless the condition holds.

    ``witness`` is the instance on which it fails, or a text that names it. A sampled check may leave it out: the sampler
    adds the instance it drew.
    """
    if condition:
        return
    if isinstance(witness, str):
        raise Refuted(witness)
    raise Refuted("the condition fails" if witness is None else f"fails at {witness!r}", witness)


def existing(value: T | None, witness: object = None) -> T:
    """The value, which the statement says to exist; raises :class:`Refuted` where it is ``None``."""
    require(value is not None, witness)
    return cast(T, value)
