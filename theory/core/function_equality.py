"""When two LTI channels compute the same function.

    y_t = Σ_{j<t} k_j x_{t-j} + d x_t,      k_j = Σ_n r_n a_n^j,  r_n = c_n b_n

A channel's function is its set of essential pairs (λ, r_λ), λ ≠ 0 and r_λ = Σ_{a_n=λ} r_n ≠ 0, and its direct term
δ = d + r_0, since a state with mode 0 is a skip connection (0⁰ = 1). Derivation: theory/sparse_dims/essential/README.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from .errors import InvalidInput
from .lti import LTI, group_by_value, require_channel, require_length
from .scalars import is_zero, tidy


@dataclass(frozen=True)
class Essential:
    """What a channel computes, without the freedom of its parameters.

    Attributes
    ----------
    residues:
        λ → r_λ over the essential modes (λ ≠ 0, r_λ ≠ 0) of the closed system.
    direct:
        δ = d + r_0: the skip and every state with mode 0.
    """

    residues: dict[Any, Any]
    direct: Any

    @property
    def order(self) -> int:
        """The McMillan degree: how many nonzero modes any realisation needs."""
        return len(self.residues)

    def with_zero(self) -> dict[Any, Any]:
        """All pairs, the direct term as the residue of mode 0 where it is not zero."""
        return self.residues | ({Fraction(0): self.direct} if not is_zero(self.direct) else {})


def essential_modes(system: LTI) -> Essential:
    r"""The essential pairs  {(λ, r_λ) : λ ≠ 0, r_λ ≠ 0}  and the direct term  δ = d + r_0  of a channel.

    Exact: a float channel is taken as the rationals its floats are, so its residues are Fractions or Gaussian rationals, not
    rounded products. Half-stored systems are closed under conjugation first.

    Raises InvalidInput for something else than a channel, and Undecided for symbolic modes or residues that no proof covers.
    """
    full = require_channel(system).exactly().closed()
    residues: dict[Any, Any] = {}
    direct = full.d
    for value, members in group_by_value(full.a):
        total = tidy(sum((full.c[n] * full.b[n] for n in members), 0 * full.a[members[0]]))
        if is_zero(value):
            direct = tidy(direct + total)
        elif not is_zero(total):
            residues[value] = total
    return Essential(residues, direct)


def same_essential(s1: LTI, s2: LTI) -> bool:
    """Whether two channels have one essential set and one direct term: the same function on every horizon."""
    symbolic = "symbolic" in (s1.kind, s2.kind)
    if symbolic:
        s1, s2 = s1.to("symbolic"), s2.to("symbolic")
    e1, e2 = essential_modes(s1), essential_modes(s2)
    if not symbolic:
        return bool(e1.residues == e2.residues and e1.direct == e2.direct)
    if len(e1.residues) != len(e2.residues) or not is_zero(e1.direct - e2.direct):
        return False
    return all(any(is_zero(v - w) and is_zero(r - q) for w, q in e2.residues.items()) for v, r in e1.residues.items())


def impulse_response(system: LTI, length: int) -> list[Any]:
    """y_1..y_L for the input 1, 0, 0, …: k_0 + d, k_1, …, k_{L−1}. Equal impulse responses are equal functions on L."""
    kernel = list(system.kernel(length))
    kernel[0] = tidy(kernel[0] + system.d)
    return kernel


def same_function(s1: LTI, s2: LTI, length: int | None = None) -> bool:
    r"""Whether two channels started at zero compute the same function, on every horizon or on the first ``length`` outputs.

        {(λ, r_λ) : λ ≠ 0, r_λ ≠ 0} and δ agree      ⟺      y = y' for every input

    Always an exact answer: rationals by value, symbolic constants by proof, and floats as the binary numbers they are (so two
    channels that agree only up to rounding differ). Free symbols are indeterminates: the answer is about the functions as
    expressions in them. With ``length`` the impulse responses y_1..y_L are compared; no more of them than both channels have
    states, and one, since the difference obeys a recurrence of that order from y_2 on.

    Raises
    ------
    InvalidInput
        Not two LTI channels, a length below 1, or a symbolic channel against a float one.
    Undecided
        Symbolic numbers that no proof tells apart (see :mod:`theory.core.constants`).
    """
    for s in (s1, s2):
        require_channel(s)
    if (s1.kind == "symbolic") != (s2.kind == "symbolic") and "exact" not in (s1.kind, s2.kind):
        raise InvalidInput("one channel is symbolic and the other float; convert the float one with .exactly()")
    s1, s2 = s1.exactly(), s2.exactly()
    if length is None:
        return same_essential(s1, s2)
    n = min(require_length(length, "length"), s1.closed().n_states + s2.closed().n_states + 1)  # equal so far, equal for ever
    if "symbolic" in (s1.kind, s2.kind):
        s1, s2 = s1.to("symbolic"), s2.to("symbolic")
    return all(is_zero(x - y) for x, y in zip(impulse_response(s1, n), impulse_response(s2, n), strict=True))
