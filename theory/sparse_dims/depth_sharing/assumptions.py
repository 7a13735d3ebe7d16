"""Assumptions of depth_sharing: what breaks when each is dropped, with the smallest example."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

from theory.core.deep_s4 import S4Layer
from theory.core.errors import InvalidSystem
from theory.core.lti import LTI
from theory.verification.claim import Assumption, Counterexample

from ..draws import distinct_modes, nonzero, nonzeros, numbers
from ..exact_match.claim import layer as any_layer
from .cancellation import SharedDepth, cancelling_witness, even_placement
from .identity import identity_layer
from .instances import Stack, linear_layer, scales_exist, solvable_stacks, stacks, two_channels
from .rank_one import rank_one_obstruction, special_stack
from .transfer import same_transfer, single, transfer
from .zeroed import two_layer_witness

Candidate = tuple[list[S4Layer], S4Layer, SharedDepth]  # frozen layers, target, a witness to judge


def two_layers_fail(target: S4Layer) -> bool:
    """The conclusion of the zeroed obstruction, by construction: no triangular two-layer stack equals the target."""
    try:
        return not same_transfer(two_layer_witness(target), target)
    except InvalidSystem:
        return True


def cancellation_works(instance: Stack) -> bool:
    """Whether the construction gives the target at rank D − 1 on this stack."""
    try:
        found = cancelling_witness(*instance)
    except InvalidSystem:
        return False
    return same_transfer(found.network, instance[1]) and max(found.ranks) < instance[1].n_channels


@st.composite
def silent_stacks(draw: st.DrawFn) -> Stack:
    """Stacks whose last layer's first channel is zeroed instead of frozen."""
    frozen, target = draw(stacks((2, 3), (2,)))
    last = frozen[-1]
    channels = [last.channels[0].replace(c=[0]), *last.channels[1:]]
    return [*frozen[:-1], S4Layer(channels, last.W, None, last.u, "linear")], target


def nonzero_last(instance: Stack) -> bool:
    """Whether the last layer's channels that are placed elsewhere have a nonzero residue."""
    frozen, target = instance
    place = even_placement(target.n_channels, len(frozen))
    return all(c.b[0] * c.c[0] != 0 for d, c in enumerate(frozen[-1].channels) if place[d] != len(frozen) - 1)


Skips = tuple[list[S4Layer], list[Fraction]]  # tuned layers, target u*


@st.composite
def skips(draw: st.DrawFn, *, equal: bool, zero_mode: bool = False) -> Skips:
    """Two layers of width 2 and a u* that is, or is not, the product of their u."""
    modes = draw(distinct_modes(4))
    if zero_mode:
        modes[0] = Fraction(0)
    layers = [linear_layer(draw, modes[:2]), linear_layer(draw, modes[2:])]
    wanted = [Fraction(p * q) for p, q in zip(layers[0].u, layers[1].u, strict=True)]
    if not equal:
        wanted[0] += draw(nonzero)
    return layers, wanted


def skip_matches(instance: Skips) -> bool:
    """Whether the stack answers like diag(u*) at z = 0, which every target with nonzero modes does."""
    layers, wanted = instance
    return bool((transfer(layers, Fraction(0)) == np.diag(np.array(wanted, dtype=object))).all())


def _modes_nonzero(instance: Skips) -> bool:
    return all(a != 0 for layer in instance[0] for c in layer.channels for a in c.a)


def skip_is_product(instance: Skips) -> bool:
    """Whether Π u_g = u*."""
    layers, wanted = instance
    return [p * q for p, q in zip(layers[0].u, layers[1].u, strict=True)] == wanted


def _zero_mode_stack() -> Skips:
    layers = [S4Layer([single(0, 1)], [[1]], None, [1], "linear"), S4Layer([single("1/2", 1)], [[1]], None, [1], "linear")]
    return layers, [Fraction(1)]


@st.composite
def passed(draw: st.DrawFn, *, positive: bool) -> tuple[S4Layer, list[Fraction]]:
    """A ReLU layer to become an identity, and one input vector: nonnegative or with a negative entry."""
    width = draw(st.integers(1, 3))
    x = [abs(v) for v in draw(numbers(width))]
    if not positive:
        x[draw(st.integers(0, width - 1))] = -abs(draw(nonzero))
    return draw(any_layer(width, 1, "relu")), x


def passes(instance: tuple[S4Layer, list[Fraction]]) -> bool:
    """Whether the identity layer returns its input."""
    layer, x = instance
    return bool((identity_layer(layer).run([x])[0] == np.array([x], dtype=object)).all())


@st.composite
def best_known(draw: st.DrawFn) -> Candidate:
    """Generic D = 3, G = 2 stacks with the best witness known for them (rank 2)."""
    frozen, target = draw(stacks((3,), (2,)).filter(scales_exist).filter(lambda s: generic_three((*s, None))))
    return frozen, target, cancelling_witness(frozen, target)


@st.composite
def specials(draw: st.DrawFn) -> Candidate:
    """Stacks built backwards from a rank-1 witness: their W_1 has no cycle."""
    modes = draw(distinct_modes(6))
    target = linear_layer(draw, modes[:3])
    frozen, found = special_stack(target, modes[3:], draw(nonzeros(12)))
    return frozen, target, found


def generic_three(instance: Any) -> bool:
    """Whether no number of the rank-1 obstruction vanishes for S_1 = {1, 2}, S_2 = {3}."""
    return all(rank_one_obstruction(instance[0], instance[1], ((0, 1), (2,))).values())


def not_rank_one(instance: Candidate) -> bool:
    """Whether the witness at hand fails to be one of rank 1 (wrong function, or a rank above 1)."""
    _, target, found = instance
    return not (same_transfer(found.network, target) and max(found.ranks) <= 1)


def _special_example() -> Candidate:
    channels = [LTI(["1/2"], [1], [1]), LTI(["1/3"], [1], [1]), LTI(["1/5"], [1], [1])]
    target = S4Layer(channels, [[1, 1, 1], [1, 2, 1], [1, 1, 3]], None, [1, 1, 1], "linear")
    poles = [Fraction(1, 7), Fraction(1, 11), Fraction(1, 13)]
    frozen, found = special_stack(target, poles, [Fraction(1)] * 12)
    return frozen, target, found


ASSUMPTIONS = (
    Assumption(
        name="nonnegative input",
        statement="an identity layer sees inputs ≥ 0: it follows a ReLU layer",
        predicate=lambda p: all(v >= 0 for v in p[1]),
        having=lambda: passed(positive=True),
        lacking=lambda: passed(positive=False),
        conclusion=passes,
        counterexample=Counterexample(
            "identity as first layer",
            lambda: (S4Layer([LTI(["1/2"], [1], [1])], [[1]]), [Fraction(-1)]),
            "as the first layer it meets x = −1 and returns ReLU(−1) = 0",
        ),
    ),
    Assumption(
        name="coupled channels",
        statement="W*_12 W*_21 ≠ 0 (D = G = 2, zeroed)",
        predicate=lambda t: bool(t.W[0, 1] * t.W[1, 0] != 0),
        having=lambda: two_channels(kind="full"),
        lacking=lambda: two_channels(kind="triangular"),
        conclusion=two_layers_fail,
        counterexample=Counterexample(
            "triangular W*",
            lambda: S4Layer([single("1/2", 1), single("1/3", 1)], [[1, 1], [0, 1]], None, [1, 1], "linear"),
            "W* = [[1, 1], [0, 1]], modes 1/2, 1/3, u* = 1: layer 1 tunes channel 1, layer 2 channel 2, exact at rank 1",
        ),
    ),
    Assumption(
        name="frozen channels not zero",
        statement="the last layer's channels that are tuned elsewhere keep nonzero residues (rank D − 1)",
        predicate=nonzero_last,
        having=lambda: solvable_stacks(),
        lacking=silent_stacks,
        conclusion=cancellation_works,
        counterexample=Counterexample(
            "zeroed channel",
            lambda: (
                [
                    S4Layer([single("1/5", 1), single("1/7", 1)], [[1, 2], [3, 1]], None, [1, 1], "linear"),
                    S4Layer([single("1/11", 0), single("1/13", 1)], [[2, 1], [1, 3]], None, [1, 1], "linear"),
                ],
                S4Layer([single("1/2", 1), single("1/3", 1)], [[1, 1], [1, 2]], None, [1, 1], "linear"),
            ),
            "D = G = 2, channel 1 of layer 2 zeroed, W* = [[1, 1], [1, 2]]: nothing to cancel, and no rank will do",
        ),
    ),
    Assumption(
        name="skip of the product",
        statement="u is tuned, or Π u_g = u* already",
        predicate=skip_is_product,
        having=lambda: skips(equal=True),
        lacking=lambda: skips(equal=False),
        conclusion=skip_matches,
        counterexample=Counterexample(
            "frozen u",
            lambda: (_zero_mode_stack()[0][1:] * 2, [Fraction(2)]),
            "D = 1, G = 2, u = 1 in both layers: T(0) = 1 whatever W, modes and residues are, the target with u* = 2 has 2",
        ),
    ),
    Assumption(
        name="nonzero modes",
        statement="all modes are nonzero (a = exp(dt A) always is), for Π u_g = u* to be necessary",
        predicate=_modes_nonzero,
        having=lambda: skips(equal=True),
        lacking=lambda: skips(equal=True, zero_mode=True),
        conclusion=skip_matches,
        counterexample=Counterexample(
            "mode 0",
            _zero_mode_stack,
            "D = 1, a state with mode 0 and residue 1 is a skip: T(0) = 2 though Π u_g = 1",
        ),
    ),
    Assumption(
        name="generic frozen weights",
        statement="no number of the obstruction is 0: cycle of W_1, columns of W_2 and W*, residues, modes (D = 3, G = 2)",
        predicate=generic_three,
        having=best_known,
        lacking=specials,
        conclusion=not_rank_one,
        counterexample=Counterexample(
            "no cycle",
            _special_example,
            "W_1 = diag(1, 1, 0) − (1,1,1)ᵀ(1,1,1) has W_12 W_23 W_31 = W_21 W_32 W_13, and rank 1 reaches the target",
        ),
    ),
)
