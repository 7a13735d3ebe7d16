"""Properties of depth_sharing as plain functions, and the strategies they run on."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from hypothesis import strategies as st

from theory.core import linalg
from theory.core.deep_s4 import DeepS4, S4Layer
from theory.core.errors import InvalidSystem
from theory.verification.refutation import require

from ..draws import distinct_modes, nonzero, nonzeros, numbers
from ..exact_match.claim import layer as any_layer
from .cancellation import cancelling_witness, even_placement
from .identity import deeper_witness
from .rank_one import rank_one_obstruction
from .transfer import same_transfer, single
from .zeroed import TwoChannels, discriminant, three_layer_witness, two_layer_witness, two_layer_witness_singular

Deeper = tuple[DeepS4, DeepS4, list[int], list[list[Fraction]]]  # frozen, target, used layers, inputs
Stack = tuple[list[S4Layer], S4Layer]  # frozen layers, target layer


def check_identity_layers(instance: Deeper) -> None:
    """The deeper network gives the target's outputs, on inputs of both signs."""
    frozen, target, used, x = instance
    tuned = deeper_witness(frozen, target, used)
    require((tuned.run(x) == target.run(x)).all(), repr(instance))
    require(tuned.depth == frozen.depth)
    for new, old in zip(tuned.layers, frozen.layers, strict=True):
        require([c.n_states for c in new.channels] == [c.n_states for c in old.channels])


def check_cancelling(instance: Stack) -> None:
    """Rank ≤ D − 1 on every W, each channel tuned in its own layer, and the target's function for all lengths."""
    frozen, target = instance
    found = cancelling_witness(frozen, target)
    width, depth = target.n_channels, len(frozen)
    require(same_transfer(found.network, target), repr(instance))
    require(len(found.ranks) == depth and max(found.ranks) <= width - 1, repr(found.ranks))
    require(found.ranks == tuple(linalg.rank(n.W - o.W) for n, o in zip(found.network.layers, frozen, strict=True)))
    place = even_placement(width, depth)
    spare = {g for g in range(depth) if g not in place}  # such a layer may silence one channel
    for g, tuned in enumerate(found.tuned):
        require(set(tuned) <= {d for d in range(width) if place[d] == g} or (g in spare and len(tuned) <= 1), repr(found.tuned))


def check_two_zeroed(target: S4Layer) -> None:
    """W*_12 W*_21 = 0: two layers do it, with at most one changed column of each W."""
    layers = two_layer_witness(target)
    require(len(layers) == 2 and same_transfer(layers, target), repr(TwoChannels.of(target)))
    require(all(c.n_states == 1 for layer in layers for c in layer.channels))
    require(all(sum(c.b[0] * c.c[0] != 0 for c in layer.channels) <= 1 for layer in layers))


def check_singular(target: S4Layer) -> None:
    """det W* = 0: two layers do it with two states in the first tuned channel."""
    layers = two_layer_witness_singular(target)
    require(same_transfer(layers, target), repr(TwoChannels.of(target)))
    require([max(c.n_states for c in layer.channels) for layer in layers] == [2, 1])


def check_three_zeroed(target: S4Layer) -> None:
    """Real transmission zeros: three layers with one tuned state each, the other channel zeroed."""
    layers = three_layer_witness(target)
    require(len(layers) == 3 and same_transfer(layers, target), repr(TwoChannels.of(target)))
    for layer in layers:
        require(sum(c.b[0] * c.c[0] != 0 for c in layer.channels) <= 1)
    t = TwoChannels.of(target)
    require(discriminant(t) >= 0)
    require(discriminant(t) * t.modes[0] ** 2 == discriminant(t.swapped()) * t.modes[1] ** 2, "both orders have one sign")


def check_rank_one(instance: Stack) -> None:
    """Generic D = 3, G = 2 stacks: every number of the obstruction is nonzero, for both splits of the channels."""
    frozen, target = instance
    for tuned in (((0, 1), (2,)), ((0,), (1, 2)), ((1,), (0, 2))):
        numbers_ = rank_one_obstruction(frozen, target, tuned)
        require(all(numbers_.values()), f"{tuned}: {numbers_}")


# -- strategies -------------------------------------------------------------------------------------------------------------


@st.composite
def deeper(draw: st.DrawFn) -> Deeper:
    """A target of depth 1 or 2 and a frozen network one or two layers deeper."""
    width, n = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    activation = draw(st.sampled_from(("relu", "linear")))
    depth = draw(st.integers(1, 2))
    extra = draw(st.integers(1, 2))
    target = DeepS4([draw(any_layer(width, draw(st.integers(1, n)), activation)) for _ in range(depth)])
    frozen = DeepS4([draw(any_layer(width, n, activation)) for _ in range(depth + extra)])
    later = draw(st.permutations(range(1, depth + extra)))
    used = [0, *sorted(later[: depth - 1])]
    return frozen, target, used, [draw(numbers(width)) for _ in range(3)]


def linear_layer(draw: st.DrawFn, modes: Sequence[Fraction]) -> S4Layer:
    """A linear layer with one state per channel and nonzero weights."""
    width = len(modes)
    channels = [single(a, draw(nonzero)) for a in modes]
    W = [draw(nonzeros(width)) for _ in range(width)]
    return S4Layer(channels, W, draw(numbers(width)), draw(nonzeros(width)), "linear")


def scales_exist(instance: Stack) -> bool:
    """Generic enough for the construction: its scales exist."""
    try:
        cancelling_witness(*instance)
    except InvalidSystem:
        return False
    return True


@st.composite
def stacks(draw: st.DrawFn, widths: Sequence[int] = (2, 3, 4), depths: Sequence[int] = (2, 3, 4)) -> Stack:
    """Frozen stacks of nonzero numbers and a target layer, all modes distinct; special weights are drawn again."""
    width, depth = draw(st.sampled_from(list(widths))), draw(st.sampled_from(list(depths)))
    modes = draw(distinct_modes(width * (depth + 1)))
    parts = [modes[g * width : (g + 1) * width] for g in range(depth + 1)]
    frozen = [linear_layer(draw, part) for part in parts[1:]]
    for layer in frozen:
        layer.bias = layer.bias * 0  # β is tuned; the transfer matrix does not see it
    return frozen, linear_layer(draw, parts[0])


def solvable_stacks() -> st.SearchStrategy[Stack]:
    """Stacks on which the construction's scales exist."""
    return stacks().filter(scales_exist)


@st.composite
def two_channels(draw: st.DrawFn, *, kind: str) -> S4Layer:
    """Targets with D = 2: ``triangular``, ``full``, ``singular`` W*, or ``real`` (rational) transmission zeros."""
    if kind == "real":
        return draw(real_zeros())
    l1, l2 = draw(distinct_modes(2))
    W = [draw(nonzeros(2)) for _ in range(2)]
    u = draw(nonzeros(2))
    if kind == "triangular":
        i = draw(st.integers(0, 1))
        W[1 - i][i] = Fraction(0)
    if kind == "singular":
        W[0][0] = W[0][1] * W[1][0] / W[1][1]
        if W[1][1] + u[1] == 0 or u[1] * l2 / (W[1][1] + u[1]) == l1:
            u[1] = u[1] + 17
    return S4Layer([single(l1, 1), single(l2, 1)], W, None, u, "linear")


def targets_with_middle_pole(
    l1: Fraction, l2: Fraction, mu: Fraction, w: Sequence[Fraction], u: Sequence[Fraction]
) -> S4Layer | None:
    """The target with W*_11, W*_12, W*_22 = w whose quadratic has the root μ; None where W*_21 would be 0."""
    w11, w12, w22 = w
    P = u[1] * l2 * (w11 + u[0]) - w22 * l1 * u[0]
    w21 = (mu - l2) * (P * mu - u[0] * u[1] * l1 * l2) / (w12 * l2 * mu * mu)
    if w21 == 0:
        return None
    return S4Layer([single(l1, 1), single(l2, 1)], [[w11, w12], [w21, w22]], None, list(u), "linear")


@st.composite
def real_zeros(draw: st.DrawFn) -> S4Layer:
    """Targets with rational transmission zeros and W*_12 W*_21 ≠ 0, so that a rational witness exists."""
    for _ in range(8):
        l1, l2, mu = draw(distinct_modes(3))
        found = targets_with_middle_pole(l1, l2, mu, draw(nonzeros(3)), draw(nonzeros(2)))
        if found is not None:
            return found
    return S4Layer([single("1/2", 1), single("1/3", 1)], [[1, 1], ["-5/2", 1]], None, [1, 1], "linear")
