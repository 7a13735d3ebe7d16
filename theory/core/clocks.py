"""What a clock that is a function answers for a token: two arrays, checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .brief import outline
from .errors import InvalidInput, KindMismatch
from .given import entries_of
from .scalars import Array, Kind, as_array, kind_of


def tick(
    clock: Callable[[Array], Any], token: Array, kind: Kind, steps: tuple[int, ...], decays: tuple[int, ...]
) -> tuple[Any, Any]:
    """(dt, decay) for one token, in the system's kind of number; an exact system takes symbolic answers too.

    Parameters
    ----------
    steps, decays:
        The shapes of dt and decay; () for numbers.

    Raises
    ------
    InvalidInput
        The clock answered something else than two arrays of these shapes, or a number that is not finite.
    KindMismatch
        Floats in an exact system.
    """
    said = clock(token)
    pair = entries_of(said)
    if pair is None or len(pair) != 2:
        raise InvalidInput(f"the clock answered {outline(said)}; expected a pair (dt, decay) of shapes {steps} and {decays}")
    dt, decay = pair
    return _answer(dt, "dt", kind, steps), _answer(decay, "decay", kind, decays)


def _answer(values: Any, name: str, kind: Kind, shape: tuple[int, ...]) -> Any:
    text = f"the clock's {name}"
    try:
        out = as_array(values, kind, text)
    except KindMismatch:
        if kind != "exact" or kind_of(values, text) != "symbolic":
            raise
        out = as_array(values, "symbolic", text)
    if out.shape != shape:
        raise InvalidInput(f"{text} has shape {out.shape}, expected {shape}")
    return out[()] if shape == () else out
