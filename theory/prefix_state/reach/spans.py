"""What prefixes and initial states of an LTI channel add to the outputs, as rational matrices found by running the system.

No formula of the theory enters here, so that the claims can be checked against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from theory.core.invariants import invariant
from theory.core.lti import LTI
from theory.core.scalars import Array, gaussian, imag, real, zeros


def prefix_responses(system: LTI, length: int, prefix_length: int) -> Array:
    """Outputs 1..L after each unit prefix: column m has the token 1 followed by m zeros. Real and imaginary rows stacked.

    Shape (L, M), or (2L, M) for a system whose outputs are not real.
    """
    columns = []
    for m in range(prefix_length):
        tokens = [0] * prefix_length
        tokens[prefix_length - 1 - m] = 1
        columns.append(_real_column(system, system.run([*tokens, *[0] * length])[0][prefix_length:]))
    return np.array(columns, dtype=object).T


def state_basis(system: LTI) -> list[list[Any]]:
    """A real basis of the space of initial states.

    Half storage: the real and the imaginary unit of every stored mode. A real system stored in full: real units at real
    modes and u e_i + ū e_j at its pairs. Any other complex system: all complex states.
    """
    n = system.n_states
    i = gaussian(0, 1)

    def vector(entries: dict[int, Any]) -> list[Any]:
        return [entries.get(k, Fraction(0)) for k in range(n)]

    if system.half or not system.is_real_system():
        return [vector({k: u}) for k in range(n) for u in (Fraction(1), i)]
    out: list[list[Any]] = []
    paired: set[int] = set()
    for k in range(n):
        if imag(system.a[k]) == 0:
            out.append(vector({k: Fraction(1)}))
        elif k not in paired:
            partner = _partner(system, k, paired)
            paired |= {k, partner}
            out += [vector({k: Fraction(1), partner: Fraction(1)}), vector({k: i, partner: -i})]
    return out


def _partner(system: LTI, k: int, taken: set[int]) -> int:
    for j in range(k + 1, system.n_states):
        mirrored = real(system.a[j]) == real(system.a[k]) and imag(system.a[j]) == -imag(system.a[k])
        if j not in taken and mirrored:
            return j
    raise ValueError(f"mode {system.a[k]} has no partner of its own")


def state_responses(system: LTI, length: int) -> Array:
    """Outputs 1..L from each state of :func:`state_basis`, shape (L, n), or (2L, n) where outputs are not real."""
    return np.array([_real_column(system, system.free_response(h, length)) for h in state_basis(system)], dtype=object).T


def real_coordinates(states: Sequence[Any]) -> list[Fraction]:
    """Real parts followed by imaginary parts."""
    return [Fraction(part(x)) for part in (real, imag) for x in states]


def _real_column(system: LTI, outputs: Any) -> list[Fraction]:
    if system.is_real_system():
        invariant(all(imag(y) == 0 for y in outputs), "a real system has real outputs")
        return [Fraction(real(y)) for y in outputs]
    return real_coordinates(outputs)


def unit_prefix_states(system: LTI, prefix_length: int) -> list[Array]:
    """The state left by each unit prefix (token 1 followed by m zeros), by stepping."""
    out = []
    for m in range(prefix_length):
        h = system.zero_state()
        for x in [1, *[0] * m]:
            h, _ = system.step(h, x)
        out.append(h)
    return out if prefix_length else [zeros(system.n_states, system.kind)]
