r"""sparse_dims.exact_match: sparse tuning of the SSM modules plus LoRA on the mixing matrices reproduces a deep S4 target.

    y_t = φ(W S4(x)_t + β + u ⊙ x_t),      φ = ReLU or the identity,      L layers, D channels, N states per channel

At equal depth the witness works layer by layer: minimal adjustment on every channel, ΔW = W* − W in rank(ΔW) LoRA factors,
β and u copied. Column scales of W may be traded against residues, which can lower the counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from theory.core import linalg
from theory.core.deep_s4 import DeepS4, S4Layer
from theory.core.lti import LTI
from theory.core.scalars import as_array
from theory.verification.claim import Assumption, Check, Claim, Counterexample, Part, Planted, exact_check
from theory.verification.planted import changed, swap
from theory.verification.refutation import require

from ..adjustment import residues
from ..draws import any_modes, distinct_modes, mode, nonzero, nonzeros, number, numbers
from ..essential.claim import essential_modes, impulse_response, same_essential
from .witness import channel_gauges, scaled, sdt_lora_witness

# -- property tests ---------------------------------------------------------------------------------------------------

Instance = tuple[DeepS4, DeepS4, list[list[Fraction]]]  # frozen, target, inputs (L, D)


def check_witness(instance: Instance, gauge: Sequence[Sequence[Any]] | None = None) -> None:
    """The tuned network gives the target's outputs, layer functions agree for all inputs, and the counts are true."""
    frozen, target, x = instance
    found = sdt_lora_witness(frozen, target, gauge)
    require((found.network.run(x) == target.run(x)).all(), repr(instance))
    for depth, (layer, tuned) in enumerate(zip(found.network.layers, found.layers, strict=True)):
        old, new = frozen.layers[depth], target.layers[depth]
        scales = [Fraction(1)] * old.n_channels if gauge is None else gauge[depth]
        for mine, his, s in zip(layer.channels, new.channels, scales, strict=True):
            require(same_essential(mine, scaled(his, s)), f"layer {depth}: {mine!r} is not {s} times {his!r}")
        require((layer.W * scales == new.W).all() and (layer.bias == new.bias).all() and (layer.u == new.u).all())
        require((old.W + tuned.left @ tuned.right == layer.W).all())
        require(tuned.rank == linalg.rank(layer.W - old.W))
        require(tuned.tuned_scalars == _entries_changed(old, layer))


def _entries_changed(old: S4Layer, new: S4Layer) -> int:
    total = 0
    for f, g in zip(old.channels, new.channels, strict=True):
        total += int((f.a != g.a).sum()) + int((residues(f) != residues(g)).sum())
    return total


def check_gauge(instance: tuple[DeepS4, list[list[Fraction]], list[list[Fraction]]]) -> None:
    """A target that is the frozen network in another column scale costs nothing once the scale is used."""
    frozen, scales, x = instance
    layers = []
    for layer, s in zip(frozen.layers, scales, strict=True):
        channels = [scaled(c, 1 / k) for c, k in zip(layer.channels, s, strict=True)]
        layers.append(S4Layer(channels, layer.W * s, layer.bias, layer.u, layer.activation))
    target = DeepS4(layers)
    check_witness((frozen, target, x))
    check_witness((frozen, target, x), scales)
    require(sdt_lora_witness(frozen, target, scales).stored == 0)
    plain = sdt_lora_witness(frozen, target)
    require(
        plain.layers[0].tuned_scalars
        == sum(sum(r != 0 for r in residues(c)) for c, s in zip(frozen.layers[0].channels, scales[0], strict=True) if s != 1)
    )
    best = channel_gauges(frozen, target)
    found = sdt_lora_witness(frozen, target, best)
    require(sum(layer.tuned_scalars for layer in found.layers) == 0)


# -- strategies -------------------------------------------------------------------------------------------------------


@st.composite
def layer(draw: st.DrawFn, width: int, states: int, activation: str) -> S4Layer:
    """A layer with random small rationals; one residue in a while is zero and modes may coincide."""
    channels = [LTI(draw(any_modes(states)), draw(nonzeros(states)), draw(numbers(states))) for _ in range(width)]
    W = [draw(numbers(width)) for _ in range(width)]
    return S4Layer(channels, W, draw(numbers(width)), draw(numbers(width)), activation)  # type: ignore[arg-type]


@st.composite
def networks(draw: st.DrawFn) -> Instance:
    """Frozen and target networks of one shape, and inputs: targets differ everywhere, or in a few numbers."""
    depth, width = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    n = draw(st.integers(1, 2))
    activation = draw(st.sampled_from(("relu", "linear")))
    frozen = DeepS4([draw(layer(width, n, activation)) for _ in range(depth)])
    if draw(st.booleans()):
        target = DeepS4([draw(layer(width, draw(st.integers(1, n)), activation)) for _ in range(depth)])
    else:
        target = DeepS4([draw(nearby(old)) for old in frozen.layers])
    return frozen, target, [draw(numbers(width)) for _ in range(draw(st.integers(1, 4)))]


@st.composite
def nearby(draw: st.DrawFn, old: S4Layer) -> S4Layer:
    """The layer with one mode, one residue and one rank-1 direction of W changed."""
    d = draw(st.integers(0, old.n_channels - 1))
    channels = list(old.channels)
    a, c = channels[d].a.copy(), channels[d].c.copy()
    a[0], c[-1] = draw(mode), draw(number)
    channels[d] = channels[d].replace(a=a, c=c)
    W = old.W.copy()
    W[draw(st.integers(0, old.n_channels - 1))] += as_array(draw(numbers(old.n_channels)), "exact")
    return S4Layer(channels, W, old.bias, old.u, old.activation)


@st.composite
def rescalings(draw: st.DrawFn) -> tuple[DeepS4, list[list[Fraction]], list[list[Fraction]]]:
    """A network with some nonzero residue in every channel, column scales and inputs."""
    depth, width = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    layers = []
    for _ in range(depth):
        channels = [LTI(draw(distinct_modes(2)), draw(nonzeros(2)), draw(nonzeros(2))) for _ in range(width)]
        layers.append(S4Layer(channels, [draw(numbers(width)) for _ in range(width)], draw(numbers(width))))
    return DeepS4(layers), [draw(nonzeros(width)) for _ in range(depth)], [draw(numbers(width)) for _ in range(3)]


def order_fits(instance: tuple[int, LTI]) -> bool:
    """Whether N states can realise the channel: the rank of its Hankel matrix, from outputs alone."""
    n, channel = instance
    size = channel.n_states
    k = impulse_response(channel, 2 * size + 1)
    return linalg.rank([[k[i + j + 1] for j in range(size)] for i in range(size)]) <= n


@st.composite
def orders(draw: st.DrawFn, *, fits: bool) -> tuple[int, LTI]:
    """A number of frozen states and a channel in minimal form with at most, or more than, as many modes."""
    n = draw(st.integers(1, 4))
    size = draw(st.integers(1, n)) if fits else n + draw(st.integers(1, 2))
    return n, LTI(draw(distinct_modes(size)), [1] * size, draw(nonzeros(size)))


def answers_zero_alike(instance: tuple[Fraction, Fraction]) -> bool:
    """Whether a linear layer with bias β answers the zero input as one with β* does, whatever else is tuned."""
    outputs = [S4Layer([LTI(["1/2"], [1], [1])], [[1]], [b], None, "linear").run([[0]])[0] for b in instance]
    return bool((outputs[0] == outputs[1]).all())


Column = tuple[LTI, Fraction, bool]  # target channel (one nonzero mode, one of mode 0), W*_21, whether there is a spare state


def direct_term_fits(instance: Column) -> bool:
    """Whether one frozen state (two with a spare one), W and u reproduce what channel 1 of a layer with D = 2 gives both outputs.

    Output 2 sees W_21 (r λ^j + 0) only: the off-diagonal kernel has a direct term iff the channel has a state for it. Decided
    by the rank of its Hankel matrix from lag 0 on: one mode gives rank 1.
    """
    channel, w, spare = instance
    kernel = [w * k for k in impulse_response(channel, 4)]
    return linalg.rank([[kernel[i + j] for j in range(2)] for i in range(2)]) <= 1 + int(spare)


@st.composite
def direct_columns(draw: st.DrawFn, *, fits: bool) -> Column:
    """A channel with a direct term; fitting: a spare state, or W*_21 = 0."""
    channel = LTI([draw(mode), 0], [1, 1], draw(nonzeros(2)))
    spare = fits and draw(st.booleans())
    return channel, draw(number) if spare else (Fraction(0) if fits else draw(nonzero)), spare


Direct = tuple[LTI, Fraction, Fraction]  # target channel (minimal, nonzero modes), frozen u, target u*


def reaches_direct_term(instance: Direct) -> bool:
    """Whether residues on the target's modes and a frozen u give its outputs: an exact solve against the impulse response.

    The modes themselves are forced by the target's poles, since the frozen channel has as many states.
    """
    channel, u, target_u = instance
    length = channel.n_states + 1
    wanted = impulse_response(channel, length)
    wanted[0] += target_u - u
    return linalg.solve([[a**j for a in channel.a] for j in range(length)], wanted) is not None


@st.composite
def direct_terms(draw: st.DrawFn, *, equal: bool) -> Direct:
    """A channel of one layer with D = 1 and N = N*, and skips that agree or not."""
    n, u = draw(st.integers(1, 4)), draw(number)
    return LTI(draw(distinct_modes(n)), [1] * n, draw(nonzeros(n))), u, u if equal else u + draw(nonzero)


CLAIM = Claim(
    id="sparse_dims.exact_match",
    title="SDT + LoRA at equal depth reproduces a deep S4 target exactly",
    statement=(
        "Frozen and target deep S4 networks of equal depth L, width D and activation (ReLU or linear), every target channel "
        "in minimal form with N* ≤ N modes, where a direct term other than the frozen skip counts as one (mode 0), unless "
        "column d of W* has no entry off the diagonal: then u_d takes it. Tuning per layer the entries of a minimal "
        "adjustment on each channel, ΔW of "
        "rank(W* − W) on W, and β, u reproduces the target for every input. The counts are upper bounds: column scales of W "
        "against residues, hidden permutations (u = 0) and ReLU scales can lower them."
    ),
    level="whole model",
    horizon="all L",
    parts=(
        Part("exact match", argument="derivation"),
        Part("counts are upper bounds", argument="derivation"),
    ),
    checks=(
        Check(
            "witness",
            exact_check(
                check_witness, networks, "outputs, layer functions and counts of the tuned network", "L ≤ 2, D ≤ 3, N ≤ 2"
            ),
            "exact match",
            planted=(
                Planted(
                    "the update of W left out of the network",
                    swap(
                        "sdt_lora_witness",
                        lambda right: lambda frozen, target, gauge=None: replace(right(frozen, target, gauge), network=frozen),
                    ),
                ),
                Planted(
                    "one factor of the update doubled",
                    swap(
                        "sdt_lora_witness",
                        changed(
                            lambda found: replace(
                                found, layers=tuple(replace(t, left=2 * t.left + 1, right=t.right + 1) for t in found.layers)
                            )
                        ),
                    ),
                ),
            ),
        ),
        Check(
            "column scales",
            exact_check(check_gauge, rescalings, "rescaled copies cost nothing once the scale is used", "L ≤ 2, D ≤ 2, N = 2"),
            "counts are upper bounds",
            planted=(
                Planted(
                    "scales not used",
                    swap("sdt_lora_witness", lambda right: lambda frozen, target, gauge=None: right(frozen, target)),
                ),
            ),
        ),
    ),
    assumptions=(
        Assumption(
            name="a state for the direct term",
            statement="a direct term other than the frozen skip finds a spare state, or W* feeds it to its own output alone",
            predicate=lambda p: p[2] or p[1] == 0,
            having=lambda: direct_columns(fits=True),
            lacking=lambda: direct_columns(fits=False),
            conclusion=direct_term_fits,
            counterexample=Counterexample(
                "a direct term that two outputs read",
                lambda: (LTI(["1/2", 0], [1, 1], [1, 1]), Fraction(1), False),
                "D = 2, N = 1, channel 1 with mode 1/2 and direct term 1, W* = [[1, 0], [1, 1]]: output 2 at an impulse in "
                "input 1 is "
                "1 + 2^(1−t), and one state gives r λ^(t−1) without a direct term, since u acts on the own input alone",
            ),
        ),
        Assumption(
            name="enough states",
            statement="every target channel has at most N modes in minimal form",
            predicate=lambda p: len(essential_modes(p[1]).residues) <= p[0],
            having=lambda: orders(fits=True),
            lacking=lambda: orders(fits=False),
            conclusion=order_fits,
            counterexample=Counterexample(
                "two modes for one state",
                lambda: (1, LTI(["1/2", "1/3"], [1, 1], [1, 1])),
                "one layer, D = 1, N = 1 against modes 1/2 and 1/3: the Hankel matrix has rank 2, one state gives rank 1",
            ),
        ),
        Assumption(
            name="β tuned",
            statement="β is tuned (or equal already)",
            predicate=lambda p: p[0] == p[1],
            having=lambda: number.map(lambda b: (b, b)),
            lacking=lambda: st.tuples(number, nonzero).map(lambda p: (p[0], p[0] + p[1])),
            conclusion=answers_zero_alike,
            counterexample=Counterexample(
                "answer to zero",
                lambda: (Fraction(0), Fraction(1)),
                "one layer, x = 0: y = φ(β) = 0 whatever W, u and the SSM are, the target with β* = 1 gives 1",
            ),
        ),
        Assumption(
            name="u tuned",
            statement="u is tuned (or equal already)",
            predicate=lambda p: p[1] == p[2],
            having=lambda: direct_terms(equal=True),
            lacking=lambda: direct_terms(equal=False),
            conclusion=reaches_direct_term,
            counterexample=Counterexample(
                "direct term",
                lambda: (LTI(["1/2"], [1], [1]), Fraction(0), Fraction(1)),
                "one layer, D = N = 1, mode 1/2, residue 1, u* = 1: with u = 0 no residue on 1/2 gives 2, 1/2, 1/4, …",
            ),
        ),
    ),
    readme="theory/sparse_dims/exact_match/README.md",
    not_claimed=(
        "Minimality of the counts, different depths (sparse_dims.depth_sharing), gating, normalisation or selective (S6) "
        "modules, and that training finds these parameters."
    ),
)
