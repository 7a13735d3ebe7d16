"""What a question about reachability is answered with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from theory.core.scalars import Array


@dataclass(frozen=True, eq=False)
class Reach:
    """Answer to "does some prefix reach h_0?", with what proves it.

    Attributes
    ----------
    verdict:
        ``witness`` (a prefix that does), ``obstruction`` (a functional ℓ that is ≥ 0 on everything reachable and < 0 on
        h_0), ``boundary`` (ℓ ≥ 0 on everything reachable, ⟨ℓ, h_0⟩ = 0; ``reason`` says whether h_0 itself is excluded) or
        ``open``.
    level:
        ``state`` (h_0 itself) or ``function`` (all outputs that follow are those of h_0).
    prefix:
        Tokens, first processed first: numbers for an LTI channel, rows of length D otherwise. Floats where the exact
        token is irrational; then ``tokens`` is the exact certificate.
    tokens:
        (slot, direction, squared length): the token √(squared length)·direction, followed by ``slot`` tokens.
    ell, value:
        ℓ and ⟨ℓ, h_0⟩.
    reason:
        How it was decided, in words.
    length, norm:
        Prefix length and Euclidean norm of the prefix (a float; may be ``inf``).
    """

    verdict: Literal["witness", "obstruction", "boundary", "open"]
    level: Literal["state", "function"]
    prefix: list[Any] | None = None
    tokens: list[tuple[int, Array, Any]] | None = None
    ell: Array | None = None
    value: Any = None
    reason: str = ""
    length: int | None = None
    norm: float | None = None

    def __bool__(self) -> bool:
        raise TypeError("a Reach has four verdicts; compare .verdict with 'witness' instead of testing its truth")
