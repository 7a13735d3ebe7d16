"""Whether a functional ℓ is nonnegative on every token, decided by code that builds no obstruction.

After a token z and m more, ℓ takes the value zᵀ Q_m z with

    Q_m = Σ_λ λ^m Q_λ,   Q_λ = sym(diag(dt) (ℓ ⊙ 1[E = λ]) W_B)

so every λ ≥ 0 may be looked at by itself where each Q_λ ⪰ 0; otherwise the forms Q_0 .. Q_last are.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from theory.core.scalars import Array
from theory.core.selective import SelectiveSSM

LAST = 24
"""The largest m that is looked at where the decays have to be taken together."""


def is_nonnegative(form: Array) -> bool:
    """Whether a symmetric rational matrix is positive semidefinite, by the signs of its characteristic polynomial.

    Its roots are real, so they are all ≥ 0 iff the elementary symmetric sums e_k of the eigenvalues are; Newton's identities
    give those from traces of powers. No factorisation, unlike ``linalg.is_psd``.
    """
    n = len(form)
    power, traces = np.asarray(form), []
    for _ in range(n):
        traces.append(np.trace(power))
        power = power @ form
    sums = [Fraction(1)]
    for k in range(1, n + 1):
        sums.append(sum(((-1) ** (i - 1) * sums[k - i] * traces[i - 1] for i in range(1, k + 1)), Fraction(0)) / k)
    return all(e >= 0 for e in sums)


def forms(system: SelectiveSSM, ell: Array) -> dict[Fraction, Array]:
    """Decay value λ → Q_λ, shape (D, D)."""
    dt, decay = system.require_constant_clock("a quadratic form")
    out = {}
    for value in sorted(set(decay.ravel())):
        q = dt[:, None] * (((decay == value) * ell) @ system.W_B)
        out[value] = (q + q.T) / 2
    return out


def nonnegative_on_tokens(system: SelectiveSSM, ell: Array) -> bool:
    """Whether ℓ ≥ 0 on every token followed by m ≤ LAST others; on every token at all where each Q_λ ⪰ 0."""
    by_value = forms(system, ell)
    if all(is_nonnegative(q) for q in by_value.values()):
        return True
    return all(is_nonnegative(sum(value**m * q for value, q in by_value.items())) for m in range(LAST + 1))
