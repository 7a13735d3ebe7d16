"""Complex decays: their imaginary part counts only modulo 2π/dt, so relabellings are countably many.

In turns, θ_dn = dt Im A_dn / 2π, a mode sees θ mod 1. A real LoRA of rank r on Im A reaches phases θ* iff
θ* − θ + K has rank ≤ r for some integer matrix K (labels pinned by distinct real parts). These are countably many sets of
lower dimension, so a generic target is still missed; but their union is dense: already rank 1 comes arbitrarily close.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from theory.core.errors import InvalidInput
from theory.core.linalg import rank as exact_rank
from theory.core.lti import require_length
from theory.core.scalars import Array, as_array


def circle_distance(x: Fraction) -> Fraction:
    """Distance of x from the nearest integer."""
    part = x - (x.numerator // x.denominator)
    return min(part, 1 - part)


def phase_error(left: Array, right: Array, wanted: Any) -> Fraction:
    """max over entries of the distance of u_d v_n from the wanted phases, on the circle R/Z."""
    return max(circle_distance(u * v - w) for u, row in zip(left, wanted, strict=True) for v, w in zip(right, row, strict=True))


def dense_phase_update(wanted: Any, resolution: int) -> tuple[Array, Array]:
    """A rank-one update u vᵀ of Im A (in turns) with every entry within 1/m of ``wanted`` on the circle.

    u_d = m^d and v_n = Σ_d ⌊m w_dn⌋ m^{−(d+1)}: multiplying by m^d shifts the digit of channel d to the front, the earlier
    digits become whole turns and the later ones are worth less than 1/m.

    Parameters
    ----------
    wanted:
        Phase changes in turns, shape (D, N), any rationals.
    resolution:
        m ≥ 2.
    """
    w = as_array(wanted, "exact", "wanted", ndim=2)
    m = require_length(resolution, "resolution", least=2)
    u = np.array([Fraction(m) ** d for d in range(len(w))], dtype=object)
    digits = [[(m * (x - x.numerator // x.denominator)) for x in row] for row in w]
    whole = [[Fraction(x.numerator // x.denominator) for x in row] for row in digits]
    v = [sum((row[n] / Fraction(m) ** (d + 1) for d, row in enumerate(whole)), Fraction(0)) for n in range(w.shape[1])]
    return u, np.array(v, dtype=object)


def parity_obstruction(wanted: Any) -> bool:
    """2 × 2, common denominator q, numerators p: p11 p22 ≢ p12 p21 (mod q) proves that no shift by integers has rank ≤ 1.

    θ + K has numerators ≡ p (mod q), so a vanishing determinant would need p11 p22 ≡ p12 p21 (mod q).
    """
    w = as_array(wanted, "exact", "wanted", ndim=2)
    if w.shape != (2, 2):
        raise InvalidInput(f"wanted has shape {w.shape}; this obstruction is stated for 2 × 2")
    q = int(np.lcm.reduce([x.denominator for x in w.ravel()]))
    p = [[int(x * q) for x in row] for row in w]
    return (p[0][0] * p[1][1] - p[0][1] * p[1][0]) % q != 0


def bounded_shifts_reach(wanted: Any, bound: int) -> bool:
    """Whether θ + K has rank ≤ 1 for some integer K with |K_dn| ≤ bound (2 × 2): all that a bounded Im A can use."""
    w = as_array(wanted, "exact", "wanted", ndim=2)
    steps = range(-bound, bound + 1)
    return any(exact_rank(w + np.array(k, dtype=object).reshape(w.shape)) <= 1 for k in product(steps, repeat=w.size))
