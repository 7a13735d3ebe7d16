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
from theory.core.scalars import Array, conj, gaussian, imag, is_real, is_zero, real, zeros


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
    """A real basis of the initial states whose outputs are real.

    Half storage: the real and the imaginary unit of every stored mode. A real system stored in full: real units at real
    modes and u e_i + ū e_j at its pairs, where c reads them so; else (c = i at a real mode) units turned until it does. Any other
    complex system: all complex states.
    """
    n = system.n_states
    i = gaussian(0, 1)

    def vector(entries: dict[int, Any]) -> list[Any]:
        return [entries.get(k, Fraction(0)) for k in range(n)]

    if system.half or not system.is_real_system():
        return [vector({k: u}) for k in range(n) for u in (Fraction(1), i)]
    partners = _partners(system)
    if partners is None:
        return [vector(entries) for entries in _turned_basis(system)]
    out: list[list[Any]] = []
    for k, partner in enumerate(partners):
        if partner == k:
            out.append(vector({k: Fraction(1)}))
        elif partner > k:
            out += [vector({k: Fraction(1), partner: Fraction(1)}), vector({k: i, partner: -i})]
    return out


def _partners(system: LTI) -> list[int] | None:
    """For every state one of its own with conjugate mode and readout (itself at a real mode), None where there is none."""
    out: list[int] = [-1] * system.n_states
    for k in range(system.n_states):
        if out[k] >= 0:
            continue
        free = [k] if imag(system.a[k]) == 0 else [j for j in range(k + 1, system.n_states) if out[j] < 0]
        mirror = [j for j in free if _mirrored(system.a[k], system.a[j]) and _mirrored(system.c[k], system.c[j])]
        if not mirror:
            return None
        out[k], out[mirror[0]] = mirror[0], k
    return out


def _mirrored(x: Any, y: Any) -> bool:
    return bool(real(x) == real(y) and imag(x) == -imag(y))


def _turned_basis(system: LTI) -> list[dict[int, Any]]:
    """Per mode: 1/c at a state that shows (with its mirror at a pair), then all states that add nothing, complex ones too."""
    i = gaussian(0, 1)
    modes = system.modes()
    out: list[dict[int, Any]] = []
    for mode in modes:
        shown = [n for n in mode.indices if not is_zero(system.c[n])]
        for n in mode.indices:
            if n not in shown:
                out += [{n: Fraction(1)}, {n: i}]
            elif n != shown[0]:  # seen against the first one: outputs cancel
                out += [{n: u, shown[0]: -u * system.c[n] / system.c[shown[0]]} for u in (Fraction(1), i)]
        if not mode.observable:
            out += [{n: u} for n in shown for u in (Fraction(1), i)]  # mode 0 shows nowhere
        elif is_real(mode.value):
            out.append({shown[0]: 1 / system.c[shown[0]]})
        elif imag(mode.value) > 0:
            (mirror,) = (m for m in modes if is_zero(m.value - conj(mode.value)))
            other = next(n for n in mirror.indices if not is_zero(system.c[n]))
            out += [{shown[0]: u / system.c[shown[0]], other: conj(u) / system.c[other]} for u in (Fraction(1), i)]
    return out


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
