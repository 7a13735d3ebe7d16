r"""The one linear problem behind every update of in_proj: keep what the rows S read from W_in at a wanted value.

    S (W_in + Δ) = R        solvable iff  col(R − S W_in) ⊆ col(S)   ⟺   col(R) ⊆ col(S)

where S (rows of the maps that read the projected token) is frozen and R = S* W_in* is what they have to read. The least rank of
a solution is rank(R − S W_in): S Δ has that rank, and Δ = X F attains it for R − S W_in = G F (full-rank factors) and S X = G.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from theory.core import linalg
from theory.core.errors import InvalidInput
from theory.core.scalars import Array, as_array


@dataclass(frozen=True)
class RowMatch:
    """An update of in_proj, or why none exists.

    Attributes
    ----------
    update:
        Δ (D, d_model), or None.
    left, right:
        LoRA factors with Δ = left @ right, (D, rank) and (rank, d_model); None without an update.
    rank:
        Least LoRA rank of an update, None without one.
    reason:
        In words.
    certificate:
        Without an update: a row y with y S = 0 and y R ≠ 0, so that no W_in satisfies S W_in = R.
    """

    update: Array | None
    left: Array | None
    right: Array | None
    rank: int | None
    reason: str
    certificate: Array | None = None

    @property
    def possible(self) -> bool:
        """Whether an update exists."""
        return self.update is not None


def match_rows(S: Any, W_in: Any, wanted: Any) -> RowMatch:
    """Solve S (W_in + Δ) = wanted for Δ of least rank, exactly.

    Parameters
    ----------
    S:
        (rows, D), exact.
    W_in:
        (D, d_model), exact.
    wanted:
        (rows, d_model), exact.

    Raises
    ------
    InvalidInput
        Shapes that do not fit. KindMismatch for floats.
    """
    s, w, r = (as_array(v, "exact", name, ndim=2) for v, name in ((S, "S"), (W_in, "W_in"), (wanted, "wanted")))
    if s.shape[1] != w.shape[0] or r.shape != (s.shape[0], w.shape[1]):
        raise InvalidInput(f"S {s.shape}, W_in {w.shape} and wanted {r.shape} must be (rows, D), (D, d_model), (rows, d_model)")
    gap = r - linalg.matmul(s, w)
    g, f = linalg.rank_factors(gap)
    columns = []
    for column in g.T:
        x = linalg.solve(s, list(column))
        if x is None:
            y = linalg.left_kernel_certificate(s, list(column))
            return RowMatch(
                None, None, None, None, "the wanted rows leave the column space of S: a dependence of S's rows is broken", y
            )
        columns.append(x)
    rank = len(columns)
    left = np.array(columns, dtype=object).T.reshape(w.shape[0], rank)
    update = linalg.matmul(left, f) if rank else w * 0
    return RowMatch(update, left, f, rank, f"solved; rank {rank} is least, because S Δ has rank {rank}")
