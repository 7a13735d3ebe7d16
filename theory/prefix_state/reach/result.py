"""What a question about reachability is answered with."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NamedTuple

from theory.core.scalars import Array
from theory.core.shown import Shown


class Token(NamedTuple):
    """The token √squared·direction with ``slot`` tokens after it."""

    slot: int
    direction: Array
    squared: Fraction


@dataclass(frozen=True, eq=False)
class Reach(Shown):
    """Answer to "does some prefix reach h_0?", with what proves it.

    Attributes
    ----------
    verdict:
        ``witness`` (a prefix that does), ``obstruction`` (a functional ℓ that is ≥ 0 on everything reachable and < 0 on
        h_0), ``exists`` (a prefix is proved to exist, but none was built within the limits), ``boundary`` (ℓ ≥ 0 on everything
        reachable, ⟨ℓ, h_0⟩ = 0; ``reason`` says whether h_0 itself is excluded) or ``open``. An obstruction to prefixes of at
        most ``max_length`` tokens says so in ``reason``; one that rests on a rank has no ℓ.
    level:
        ``state`` (h_0 itself) or ``function`` (all outputs that follow are those of h_0).
    prefix:
        Tokens, first processed first: numbers for an LTI channel, rows of length D otherwise. Floats where an exact token is
        irrational, None where those exceed float64's range; ``tokens`` is the exact certificate then.
    tokens:
        :class:`Token` each: (slot, direction, squared length).
    ell, value:
        ℓ and ⟨ℓ, h_0⟩.
    reason:
        How it was decided, in words.
    length, norm:
        Prefix length and Euclidean norm of the prefix (a float; may be ``inf``).
    """

    verdict: Literal["witness", "obstruction", "exists", "boundary", "open"]
    level: Literal["state", "function"]
    prefix: list[Any] | None = None
    tokens: list[Token] | None = None
    ell: Array | None = None
    value: Any = None
    reason: str = ""
    length: int | None = None
    norm: float | None = None

    def __repr__(self) -> str:
        tokens = "" if self.length is None else f", {self.length} tokens"
        norm = "" if self.norm is None else f", norm {self.norm:.3g}"
        return f"Reach({self.verdict} at level {self.level}{tokens}{norm}: {self.reason})"

    def __bool__(self) -> bool:
        raise TypeError("a Reach has five verdicts; compare .verdict with 'witness' instead of testing its truth")
