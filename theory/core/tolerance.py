"""Every error budget of the theory package, each with its reason. No other module states a tolerance.

Exact routes compare with ``==`` and need none. Float routes use :func:`budget`: a backward-stable computation with n
operations on data of condition number κ has a relative error of at most about c·n·eps·κ (Higham, Accuracy and Stability
of Numerical Algorithms, 2nd ed., ch. 3); c = 8 covers the constants of the dot products and solves used here.
"""

from __future__ import annotations

import numpy as np

EPS64 = float(np.finfo(np.float64).eps)
EPS32 = float(np.finfo(np.float32).eps)
EPS_BF16 = 2.0**-7  # spacing of bfloat16 at 1: 8 significant bits, one of them implicit (torch.finfo says the same)
SAFETY = 8.0

# A least-squares optimum found by an iterative optimiser (training to a floor) is compared at this relative gap; it is
# the optimiser's stopping rule, not a rounding error.
OPTIMISER_GAP = 1e-6

# Monte Carlo checks accept |measured − predicted| up to this many standard errors: 5σ fails once in 1.7 million runs,
# and the runs are seeded.
MONTE_CARLO_SIGMAS = 5.0


# A numerical search for tuned parameters reports a match below this residual (quantities of size 1, hundreds of rounded
# operations per entry, condition numbers up to 1e5 seen at known witnesses). It only names leads and decides nothing.
SEARCH_MATCH = 1e-9

# A selection score counts as better than a random pick below this exact tail probability, divided by the number of
# comparisons made (Bonferroni): one false "better" in a hundred whole tables.
SIGNIFICANCE = 0.01

# Hankel singular values below this share of the largest are given as 0. They are products of two column sizes; columns below
# its 0.7th power are left out, so that the smallest product kept, 1e-280, is a normal float64 (2e-308) and loses no digits.
SMALLEST_RATIO = 1e-200


def budget(n: int, cond: float = 1.0, eps: float = EPS64) -> float:
    """Relative error budget c·n·eps·cond of a float computation with n operations per output.

    Returns at most 1: with cond·eps ≥ 1 no digit is promised, and the caller must say so instead of comparing.
    """
    return min(1.0, SAFETY * max(1, n) * eps * max(1.0, cond))


def close(actual: np.ndarray, expected: np.ndarray, n: int, cond: float = 1.0, eps: float = EPS64) -> bool:
    """‖actual − expected‖∞ ≤ budget · max(‖expected‖∞, tiny); a budget of 1 (nothing promised) is refused as a pass."""
    allowed = budget(n, cond, eps)
    if allowed >= 1.0:
        return False
    scale = float(np.max(np.abs(expected), initial=0.0)) or float(np.finfo(np.float64).tiny)
    return bool(np.max(np.abs(np.asarray(actual) - np.asarray(expected)), initial=0.0) <= allowed * scale)
