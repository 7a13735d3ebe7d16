r"""A bounded numerical search for tuned parameters of a frozen linear stack that compute a target layer.

Residuals are the entries of T_G(z)…T_1(z) − T*(z) at fixed points on two circles outside the unit disc, minimised by
Levenberg–Marquardt with exact derivatives from many seeded starts. A match is only a lead to an exact witness, and no
match is no obstruction: the question then stays OPEN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theory.core.errors import InvalidInput

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]


@dataclass(frozen=True)
class SearchProblem:
    """A frozen stack of G layers with D channels of one state, a target layer and what may be tuned.

    Attributes
    ----------
    W, modes, residues:
        Frozen parameters, shapes (G, D, D), (G, D), (G, D). Zero residues make the untuned channels "zeroed".
    target_W, target_modes, target_u:
        The target layer W* diag(z/(z − λ*_d)) + diag(u*); its residues are 1 (the scale is in W*).
    tuned:
        Tuned channels of every layer: their mode and residue are free.
    rank:
        LoRA rank on every W. u is free in every layer.
    """

    W: Real
    modes: Real
    residues: Real
    target_W: Real
    target_modes: Real
    target_u: Real
    tuned: tuple[tuple[int, ...], ...]
    rank: int

    @property
    def depth(self) -> int:
        """G."""
        return int(self.W.shape[0])

    @property
    def width(self) -> int:
        """D."""
        return int(self.W.shape[1])

    @property
    def size(self) -> int:
        """Free numbers (LoRA factors counted in full)."""
        d = self.width
        return sum(2 * d * self.rank + d + 2 * len(s) for s in self.tuned)


def random_problem(seed: int, width: int, tuned: Sequence[Sequence[int]], rank: int, *, zeroed: bool = False) -> SearchProblem:
    """Gaussian weights and residues, uniform modes in ±(0.1, 0.9), all generic with probability one."""
    if not tuned or any(d not in range(width) for s in tuned for d in s) or not 1 <= rank <= width:
        raise InvalidInput(f"tuned = {tuned!r} must name channels below D = {width}, and 1 ≤ rank ≤ D, got {rank}")
    rng = np.random.default_rng(seed)
    depth = len(tuned)

    def modes(*shape: int) -> Real:
        return np.asarray(rng.uniform(0.1, 0.9, shape) * rng.choice([-1.0, 1.0], shape))

    residues = np.zeros((depth, width)) if zeroed else rng.standard_normal((depth, width))
    return SearchProblem(
        rng.standard_normal((depth, width, width)),
        modes(depth, width),
        residues,
        rng.standard_normal((width, width)),
        modes(width),
        rng.standard_normal(width),
        tuple(tuple(s) for s in tuned),
        rank,
    )


def _points(count: int) -> Complex:
    angles = np.pi * (np.arange(count) + 0.5) / count
    return np.asarray(np.where(np.arange(count) % 2, 1.3, 2.2) * np.exp(1j * angles))


def residual_and_jacobian(problem: SearchProblem, v: Real, z: Complex) -> tuple[Real, Real]:
    """Residuals (2·K·D²,) and their exact derivatives (2·K·D², size) at parameters v and points z (K,)."""
    d, r, depth = problem.width, problem.rank, problem.depth
    eye = np.eye(d)
    layers, factors, position = [], [], 0
    for g in range(depth):
        chosen = list(problem.tuned[g])
        k = len(chosen)
        x = v[position : position + d * r].reshape(d, r)
        y = v[position + d * r : position + 2 * d * r].reshape(r, d)
        position += 2 * d * r
        u, a, rho = np.split(v[position : position + d + 2 * k], [d, d + k])
        position += d + 2 * k
        modes, residues = problem.modes[g].copy(), problem.residues[g].copy()
        modes[chosen], residues[chosen] = a, rho
        shape = z[:, None] / (z[:, None] - modes)
        f = shape * residues
        W = problem.W[g] + x @ y
        layers.append(W * f[:, None, :] + u * eye)
        factors.append((x, y, W, f, shape, shape / (z[:, None] - modes) * residues, chosen))
    after = [np.broadcast_to(eye, (z.size, d, d)).astype(complex)]
    for layer in reversed(layers[1:]):
        after.append(after[-1] @ layer)
    after.reverse()  # after[g] = T_G … T_{g+1}
    before = np.broadcast_to(eye, (z.size, d, d)).astype(complex)
    blocks = []
    for g, (x, y, W, f, shape, slope, chosen) in enumerate(factors):
        inner = f[:, :, None] * before
        dW = np.einsum("kai,kjb->kabij", after[g], inner)
        blocks.append(np.einsum("kabij,lj->kabil", dW, y).reshape(z.size, d, d, -1))
        blocks.append(np.einsum("kabij,il->kablj", dW, x).reshape(z.size, d, d, -1))
        blocks.append(np.einsum("kai,kib->kabi", after[g], before))
        through = np.einsum("kai,kib->kabi", after[g] @ W, before)[..., chosen]
        blocks.append(through * slope[:, None, None, chosen])
        blocks.append(through * shape[:, None, None, chosen])
        before = layers[g] @ before
    target = problem.target_W * (z[:, None] / (z[:, None] - problem.target_modes))[:, None, :] + problem.target_u * eye
    error = (before - target).ravel()
    jacobian = np.concatenate(blocks, axis=3).reshape(error.size, -1)
    return np.concatenate([error.real, error.imag]), np.concatenate([jacobian.real, jacobian.imag])


def minimise(problem: SearchProblem, start: Real, steps: int) -> tuple[float, Real]:
    """Levenberg–Marquardt from one start: the largest remaining residual and the parameters."""
    z = _points(max(10, 2 * problem.width * (problem.depth + 1) // problem.width + 8))
    v, damping = start.copy(), 1e-2
    error, jacobian = residual_and_jacobian(problem, v, z)
    for _ in range(steps):
        gram, slope = jacobian.T @ jacobian, jacobian.T @ error
        step = np.linalg.solve(gram + damping * (np.diag(np.diag(gram)) + 1e-12 * np.eye(v.size)), -slope)
        with np.errstate(over="ignore", invalid="ignore"):
            new_error, new_jacobian = residual_and_jacobian(problem, v + step, z)
        if np.all(np.isfinite(new_error)) and new_error @ new_error < error @ error:
            gain = 1 - (new_error @ new_error) / (error @ error)
            v, error, jacobian, damping = v + step, new_error, new_jacobian, max(damping / 5, 1e-15)
            if np.abs(error).max() < 1e-13 or (gain < 1e-9 and damping < 1e-9):
                break
        else:
            damping *= 4
            if damping > 1e12:
                break
    return float(np.abs(error).max()), v


@dataclass(frozen=True)
class SearchResult:
    """The best residual of a search and its budget."""

    best: float
    parameters: Real
    starts: int
    residuals: tuple[float, ...]


def search(problem: SearchProblem, starts: int, seed: int, steps: int = 300) -> SearchResult:
    """The best of ``starts`` seeded starts, each with at most ``steps`` steps; all residuals are kept, sorted."""
    if starts < 1:
        raise InvalidInput(f"starts = {starts} must be at least 1")
    rng = np.random.default_rng(seed)
    found: list[tuple[float, Real]] = []
    for _ in range(starts):
        parts = []
        for chosen in problem.tuned:
            near = problem.target_modes[list(chosen)] + 0.1 * rng.standard_normal(len(chosen))
            parts += [0.7 * rng.standard_normal(2 * problem.width * problem.rank)]
            parts += [1 + 0.5 * rng.standard_normal(problem.width), near, rng.standard_normal(len(chosen))]
        found.append(minimise(problem, np.concatenate(parts), steps))
    found.sort(key=lambda pair: pair[0])
    return SearchResult(found[0][0], found[0][1], starts, tuple(value for value, _ in found))
