r"""Inverse map of an LTI channel: the prefix for a state, its least length, or the mode that blocks.

A prefix for h_0 is a real polynomial through values fixed by h_0 (see :mod:`.interpolation`). For all states the least
length is the number of observable modes, for one state the degree of its polynomial plus one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import sympy

from theory.core.brief import brief
from theory.core.constants import enclosure
from theory.core.errors import Unreachable
from theory.core.given import Vector
from theory.core.lti import LTI, channels_of, require_channel, require_length
from theory.core.multiprecision import adaptively
from theory.core.scalars import Array, exact_array, is_zero, real

from .interpolation import (
    Level,
    closed_state,
    interpolation,
    least_length,
    length_obstruction,
    newton_coefficients,
    polynomial_through,
    prefix_of,
)
from .result import Reach
from .tokens import float_root


def minimal_prefix_length(system: LTI | Iterable[LTI]) -> int | float:
    r"""The least M for which prefixes of length M do everything initial states do, L ≥ n_obs outputs.

        M = max over channels of n_obs(channel);      ∞ where an observable mode has residue r_λ = Σ c_n b_n = 0

    Parameters
    ----------
    system:
        One LTI channel, or the channels of a layer (each with its own free input, so one length serves all).

    Returns
    -------
    int, or float
        A number of tokens, or ``math.inf``. 0 where nothing is observable: no prefix is needed then.

    Raises
    ------
    InvalidInput
        Not a channel nor a sequence of channels.
    InvalidSystem
        Outputs are not real (a mode without its conjugate).
    """
    longest: int | float = 0
    for channel in channels_of(system):
        channel = channel.exactly()
        channel.require_real()
        observable = [mode for mode in channel.modes() if mode.observable]
        blocked = any(is_zero(mode.residue) for mode in observable)
        longest = max(longest, math.inf if blocked else len(observable))
    return longest


def minimal_length_for(system: LTI, h0: Any, *, level: Level = "function") -> int | float:
    """The least length of a prefix that acts as ``h0`` (``level="state"``: that leaves h0 itself); ∞ where none does.

    0 only for a state that no output shows (function level) or for h0 = 0. Raises as :func:`prefix_for`.
    """
    system, h0 = exact_pair(system, h0)
    return least_length(interpolation(system, h0, level))


def exact_pair(system: LTI, h0: Any) -> tuple[LTI, list[Any]]:
    """System and state in exact numbers; floats are taken at their binary values."""
    h = require_channel(system).state(h0)
    if system.kind in ("exact", "symbolic"):
        return system, list(h)
    return system.exactly(), list(exact_array(h))


def prefix_for(system: LTI, h0: Vector, length: int | None = None, *, level: Level = "function") -> list[Any]:
    r"""A prefix that acts as the initial state ``h0``: the outputs after it are those that start from ``h0``.

        Σ_m x_{M−m} λ^m = κ_λ / r_λ    for every observable λ,    κ_λ = Σ_{a_n=λ} c_n h_{0,n}

    Parameters
    ----------
    system:
        An LTI channel. A float system is solved exactly at its binary values and the tokens are rounded once at the end.
    h0:
        Shape (N,); the stored half for ``half=True``.
    length:
        Number of tokens M; the least possible by default (one zero token where h0 is not seen at all). A longer prefix
        starts with zeros.
    level:
        ``"state"`` asks for h0 itself, unobservable parts included.

    Returns
    -------
    list
        M real tokens, first processed first.

    Raises
    ------
    Unreachable
        Names the mode that blocks and the smallest length that would do (``math.inf`` where none would).
    InvalidInput
        A wrong shape, a length below 1, a state that is not conjugate-symmetric.
    """
    exact, h = exact_pair(system, h0)
    found = interpolation(exact, h, level)
    if found.block is not None:
        raise Unreachable(
            f"no prefix of any length acts as h0: {found.block.reason}", mode=found.block.mode, smallest_length=math.inf
        )
    polynomial = polynomial_through(found.nodes, found.values)
    need = max(1, len(polynomial))
    if length is not None and require_length(length) < need:
        differences = newton_coefficients(found.nodes, found.values)  # the first nonzero one names the node that misses
        spare = found.nodes[next(k for k in range(length, len(differences)) if not is_zero(differences[k]))]
        raise Unreachable(
            f"{length} token(s) cannot act as h0: fitted to the modes before it they miss the value at mode λ = {brief(spare)}; "
            f"the smallest length that does is {need}",
            mode=spare,
            smallest_length=need,
        )
    tokens = prefix_of(polynomial, need if length is None else length)
    if system.kind in ("exact", "symbolic"):
        return [Fraction(0) if isinstance(x, int) and x == 0 else x for x in tokens]
    return [_rounded(x) for x in tokens]


def _rounded(x: Any) -> float:
    value = _float(x)
    if value is None:
        raise Unreachable(
            "the tokens exceed the range of float64; pass system.exactly() to get them as rationals", smallest_length=None
        )
    return value


def _float(x: Any) -> float | None:
    """A rational as a float, None where that would be infinite, or 0 although the number is not."""
    try:
        value = float(x)
    except OverflowError:
        return None
    return None if value == 0 and x != 0 else value


def reachable_lti(system: LTI, h0: Any, *, level: Level = "function", max_length: int | None = None) -> Reach:
    """Whether a prefix acts as ``h0``, with the prefix or with ℓ; decided in exact arithmetic, never left open.

    ``ell`` is over the closed system: Re Σ ℓ_n h_n is 0 on everything a prefix (of at most ``max_length`` tokens, where
    given) leaves, and ``value`` < 0 on h0. Called by :func:`theory.reachable`.
    """
    exact, h = exact_pair(system, h0)
    found = interpolation(exact, h, level)
    if found.block is not None:
        ell, reason = found.block.ell, found.block.reason
    else:
        polynomial = polynomial_through(found.nodes, found.values)
        need = max(1, len(polynomial))
        if max_length is None or require_length(max_length, "max_length") >= need:
            tokens = prefix_of(polynomial, need)
            floats = [_float(x) for x in tokens] if system.kind not in ("exact", "symbolic") else [None]
            shown = tokens if None in floats else floats  # exact tokens where floats cannot hold them
            reason = f"interpolation at {len(found.nodes)} mode(s)"
            return Reach("witness", level, prefix=shown, reason=reason, length=need, norm=_norm(tokens))
        ell, reason = length_obstruction(exact, found, max_length), f"{need} tokens are needed, {max_length} allowed"
    return Reach("obstruction", level, ell=ell, value=pairing(exact, ell, h), reason=reason)


def pairing(system: LTI, ell: Array, h: Any) -> Any:
    """Re Σ ℓ_n h_n over the closed system."""
    return real(sum((x * y for x, y in zip(ell, closed_state(system, h), strict=True)), 0 * ell[0]))


def float_of_root(square: sympy.Expr) -> float:
    """√ of a positive constant, to float64's precision."""
    (value,) = adaptively(lambda: [enclosure(square).real.sqrt()], 128, "a norm")
    return float(value.mid())


def _norm(tokens: list[Any]) -> float | None:
    """‖tokens‖ as a float (inf beyond its range); None where they hold free symbols."""
    squared = sum((x * x for x in tokens), 0 * tokens[0] if tokens else Fraction(0))
    if isinstance(squared, sympy.Expr):
        if squared.free_symbols:
            return None
        return 0.0 if is_zero(squared) else float_of_root(squared)
    return float_root(Fraction(squared))
