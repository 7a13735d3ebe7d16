"""Float programs that propose tokens and functionals; what they propose counts only once it is solved or checked in rationals."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from scipy.optimize import linprog

from theory.core.scalars import Array

from .cone import Block, TokenCone, _ldexp, _lowest_eigenpair, _rational_direction, nonnegative_solution, roundings
from .result import Token
from .tokens import log2_size


def search_few_tokens(cone: TokenCone, h: Array, max_length: int) -> list[Token] | None:
    """Every small integer direction at each of the last six slots; a vertex that uses no slot twice is a witness."""
    d = cone.d_input
    if d > 4:
        return None
    directions = [
        np.array([Fraction(v) for v in z], dtype=object)
        for z in itertools.product(range(-2, 3), repeat=d)
        if next((v for v in z if v), 0) > 0
    ]
    places = [(m, z) for m in range(min(6, max_length)) for z in directions]
    columns = np.array([cone.column(m, z).ravel() for m, z in places], dtype=object).T
    solution = nonnegative_solution(columns, h.ravel())
    if solution is None:
        return None
    tokens = [Token(m, z, w) for (m, z), w in zip(places, solution, strict=True) if w != 0]
    return tokens if len({t[0] for t in tokens}) == len(tokens) else None


def search_tokens(
    cone: TokenCone, h: Array, length: int, rng: np.random.Generator, directions: Sequence[Array] = ()
) -> list[Token] | None:
    """Tokens from a linear program with one direction per slot, drawn from ``directions`` or from small integers."""
    pool = list(directions) or cone.starting_directions(rng)
    for _ in range(3):
        order = rng.permutation(max(length, len(pool)))
        chosen = [pool[int(order[m]) % len(pool)] for m in range(length)]
        columns = np.array([cone.column(m, z).ravel() for m, z in enumerate(chosen)], dtype=object).T
        solution = nonnegative_solution(columns, h.ravel())
        if solution is not None:
            return [Token(m, z, w) for m, (z, w) in enumerate(zip(chosen, solution, strict=True))]
    return None


def search_obstruction(cone: TokenCone, h: Array, rng: np.random.Generator, rounds: int = 40) -> tuple[Array | None, list[Array]]:
    """A strictly separating ℓ by cutting planes over slots 0..23 and the limit slot, rounded and checked exactly.

    ℓ runs over the functionals whose forms annihilate the silent tokens, in coordinates of a rational basis. Also returns
    the directions of the cuts: where no ℓ exists they are the tokens that h_0 asks for.
    """
    cuts: list[Array] = []
    basis = [f for b in cone.blocks for f in cone.functionals(b)]
    if not basis:
        return None, cuts
    coordinates = np.array([f.ravel() for f in basis], dtype=object)
    target = coordinates @ h.ravel()
    lead = cone.blocks[0]
    pool = cone.starting_directions(rng)
    columns = [coordinates @ cone.column(m, z).ravel() for z in pool for m in (0, 1, 2, 4, 8, 16)]
    columns += [coordinates @ _leading(cone, lead, z).ravel() for z in pool]
    for _ in range(rounds):
        candidate = _strict_functional(np.array(columns, dtype=object).T, target)
        if candidate is None:
            break
        for rounded in roundings(candidate):
            exact = (rounded @ coordinates).reshape(cone.shape)
            if np.sum(exact * h) < 0 and cone.never_negative(exact):
                return exact, cuts
        ell = (_fractions(candidate) @ coordinates).reshape(cone.shape)
        found = False
        for m in (*range(24), None):
            form = cone.form(ell, m) if m is not None else cone.form(lead.embed(lead.restrict(ell), cone.shape))
            value, vector = _lowest_eigenpair(form.astype(float))
            if value < -1e-12:
                z = _rational_direction(vector)
                token = cone.column(m, z) if m is not None else _leading(cone, lead, z)
                columns.append(coordinates @ token.ravel())
                cuts.append(z)
                found = True
        if not found:
            break
    return None, cuts


def _leading(cone: TokenCone, lead: Block, z: Array) -> Array:
    return lead.embed(lead.restrict(cone.token(z)), cone.shape)


def _strict_functional(columns: Array, h: Array) -> Array | None:
    """Float ℓ with ⟨ℓ, column⟩ ≥ t‖column‖ and ⟨ℓ, h⟩ ≤ −t‖h‖ for the largest t, ‖ℓ‖∞ ≤ 1; None if t = 0 is best."""
    rows = []
    for j in range(columns.shape[1]):
        rows.append(_unit_norm(columns[:, j]))
    a = np.vstack([-np.array(rows), _unit_norm(h)[None, :]])
    a = np.hstack([a, np.ones((len(a), 1))])
    size = columns.shape[0]
    objective = np.r_[np.zeros(size), -1.0]
    result = linprog(objective, A_ub=a, b_ub=np.zeros(len(a)), bounds=[(-1, 1)] * size + [(0, 1)])
    x = np.asarray(result.x)
    return x[:-1] if result.status == 0 and x[-1] > 1e-9 else None


def _unit_norm(v: Array) -> Array:
    top = max((abs(x) for x in v), default=Fraction(0))
    if top == 0:
        return np.zeros(len(v))
    out = np.array([_ldexp(x, -log2_size(top)) for x in v])
    return out / np.linalg.norm(out)


def _fractions(values: Array) -> Array:
    return np.array([Fraction(float(x)) for x in values.ravel()], dtype=object).reshape(values.shape)
