r"""The gauge of Mamba-2's selectors, and the update of least rank that it leaves.

One decay a head commutes with every G ∈ GL(N): (W_B, W_C) and (G W_B, G^{−T} W_C) are one function, which sees K = W_CᵀW_B alone.
:func:`best_gauge` finds the G for which the updates of W_B and W_C have rank(K* − K) in all, the least there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from theory.core import linalg
from theory.core.errors import InvalidInput
from theory.core.invariants import known
from theory.core.scalars import Array, as_array


def form(W_B: Any, W_C: Any) -> Array:
    """K = W_CᵀW_B, the bilinear form C(u)·B(v) = uᵀK v."""
    return linalg.matmul(np.asarray(W_C).T, W_B)


def floor(W_B: Any, W_C: Any, target_B: Any, target_C: Any) -> int:
    """rank(K* − K): no updates of W_B and W_C that reach the target's function have less rank in all."""
    return linalg.rank(form(target_B, target_C) - form(W_B, W_C))


def update_rank(W_B: Any, W_C: Any, target_B: Any, target_C: Any, gauge: Any) -> int:
    """rank(G W_B* − W_B) + rank(G^{−T} W_C* − W_C)."""
    return linalg.rank(linalg.matmul(gauge, target_B) - np.asarray(W_B)) + linalg.rank(
        linalg.matmul(linalg.inverse(gauge).T, target_C) - np.asarray(W_C)
    )


def _adding(start: Sequence[Array], pool: Sequence[Array]) -> list[int]:
    """Indices of the vectors of the pool that extend ``start`` (independent) to a basis of the span of both."""
    basis, chosen = list(start), []
    for i, v in enumerate(pool):
        if linalg.rank([*basis, v]) > len(basis):
            basis.append(v)
            chosen.append(i)
    return chosen


def _null(rows: Sequence[Any], width: int) -> list[Array]:
    return linalg.nullspace(np.array(list(rows), dtype=object).reshape(len(rows), width))


def _combined(weights: Sequence[Array], vectors: Sequence[Array]) -> list[Array]:
    return [np.asarray(sum((x * v for x, v in zip(w, vectors, strict=True)), 0 * vectors[0])) for w in weights]


def best_gauge(W_B: Any, W_C: Any, target_B: Any, target_C: Any) -> Array:
    """G with rank(G W_B* − W_B) + rank(G^{−T} W_C* − W_C) = rank(K* − K), the least of all gauges.

    Parameters
    ----------
    W_B, W_C, target_B, target_C:
        (N, D), exact, of full row rank.

    Raises
    ------
    InvalidInput
        Shapes that differ, or dependent rows: for those the least may be more than rank(K* − K).
    """
    names = ("W_B", "W_C", "target_B", "target_C")
    B, C, Bt, Ct = (as_array(v, "exact", name, ndim=2) for v, name in zip((W_B, W_C, target_B, target_C), names, strict=True))
    for m, name in zip((B, C, Bt, Ct), names, strict=True):
        if m.shape != B.shape or linalg.rank(m) < len(B):
            raise InvalidInput(f"{name} of shape {m.shape} must be (N, D) = {B.shape} with independent rows")
    n = len(B)
    columns = linalg.nullspace(np.concatenate([Ct.T, -C.T], axis=1))  # (p, q): W_C*ᵀ p = W_Cᵀ q, so G p = q spares W_C
    rows = linalg.nullspace(np.concatenate([B.T, -Bt.T], axis=1))  # (s, r): sᵀ W_B = rᵀ W_B*, so sᵀ G = rᵀ spares W_B
    S, R = [s[:n] for s in rows], [s[n:] for s in rows]
    clash = [[s @ c[n:] - r @ c[:n] for c in columns] for s, r in zip(S, R, strict=True)]  # sᵀ(G p) against (sᵀG) p
    kept = _combined(_null(clash, len(columns)), columns)
    # G takes ker R onto ker S: first the kept columns in ker R, then any basis on any basis.
    inner = _combined(_null([[r @ c[:n] for c in kept] for r in R], len(kept)), kept)
    source, image = [c[:n] for c in inner], [c[n:] for c in inner]
    below, above = _null(R, n), _null(S, n)
    fill = [above[i] for i in _adding(image, above)]
    source, image = source + [below[i] for i in _adding(source, below)], image + fill
    for i in _adding(source, [c[:n] for c in kept]):
        source.append(kept[i][:n])
        image.append(kept[i][n:])
    units = list(np.array([[Fraction(int(i == j)) for j in range(n)] for i in range(n)], dtype=object))
    for i in _adding(list(source), units):
        image.append(known(linalg.solve(np.array(S, dtype=object), [r @ units[i] for r in R]), "the rows S are independent"))
        source.append(units[i])
    return linalg.matmul(np.array(image, dtype=object).T, linalg.inverse(np.array(source, dtype=object).T))
