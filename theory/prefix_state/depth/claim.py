r"""prefix_state.depth: prompt ⊆ per-layer prefix ⊆ per-layer initial state, and where the inclusions are strict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sympy
from hypothesis import strategies as st

from theory.core.scalars import Array
from theory.core.selective import SelectiveSSM
from theory.core.strategies import matrices
from theory.verification.claim import (
    Assumption,
    Check,
    Claim,
    Counterexample,
    Outcome,
    Part,
    Planted,
    Profile,
    Verdict,
    exact_check,
)
from theory.verification.planted import changed, swap
from theory.verification.refutation import require

from .blocks import Activation, Block, prefixes_to_states, prompt_to_prefixes, with_prefixes, with_prompt, with_states
from .certificates import SHAPES, Shape, certify, certify_lengths, certify_strictness, few_tokens, stack
from .instances import (
    Lengths,
    Setting,
    acts_alike,
    as_row,
    check_containment,
    check_longer,
    check_prefix_to_state,
    fits,
    settings,
)


def prove_symbolically(_: Profile) -> Outcome:
    """Two blocks with symbols for prompt and inputs: prompt, prefixes and states give the same polynomials."""
    model = stack(Shape(2, 1, 1, 1, 2, 2, 2))
    p, x = sympy.symbols("p0:2"), sympy.symbols("x0:2")
    point = {symbol: sympy.Rational(k + 1, 3) for k, symbol in enumerate((*p, *x))}

    def rational(block: Block) -> Block:
        def s(values: Array) -> Array:
            return np.vectorize(lambda v: sympy.Rational(v.numerator, v.denominator), otypes=[object])(values)

        s6 = block.ssm
        if not isinstance(s6, SelectiveSSM):
            raise TypeError(f"this identity is about S6 blocks, not {type(s6).__name__}")
        ssm = SelectiveSSM(s(s6.W_B), s(np.asarray(s6.W_C)), dt=1, decay=s(np.asarray(s6.decay)), kind="symbolic")
        out = Block(block.W_in, block.taps, block.ssm, block.W_out)
        for name, value in (("W_in", s(block.W_in)), ("taps", s(block.taps)), ("W_out", s(block.W_out)), ("ssm", ssm)):
            object.__setattr__(out, name, value)  # Block itself takes rationals only
        return out

    symbolic = [rational(b) for b in model]
    prompt, inputs = ([np.array([v], dtype=object) for v in values] for values in (p, x))
    expected = with_prompt(symbolic, prompt, inputs)
    prefixes = prompt_to_prefixes(symbolic, prompt)
    for got in (with_prefixes(symbolic, prefixes, inputs), with_states(symbolic, prefixes_to_states(symbolic, prefixes), inputs)):
        for u, v in zip(got, expected, strict=True):
            gap = u[0] - v[0]
            require(gap.subs(point) == 0, f"outputs differ at {point}")  # cheap, before an expansion that need not end soon
            require(sympy.expand(gap) == 0)
    return Outcome(
        Verdict.EXACT,
        "causality: a block's outputs after M tokens depend on them through (window, h); layer by layer (induction over depth)",
        "any depth, M, L (derivation); two blocks, M = L = 2 with symbols",
        instances=2,
    )


# -- assumptions ----------------------------------------------------------------------------------------------------------


def _one_block(taps: list[Any], activation: Activation = "linear") -> Block:
    """d_model = d_inner = N = 1 with a readout of the state: z ↦ h = h/2 + z², y = z h."""
    return Block([[1]], [taps], SelectiveSSM([[1]], [[1]], dt=1, decay=[["1/2"]]), [[1]], activation)


_EXAMPLE = Setting((_one_block([1, 1]),), (as_row([1]),), (as_row([1]),))


@dataclass(frozen=True)
class Strictness:
    """A shape to certify, and which inclusion."""

    shape: Shape
    inclusion: str = "prompt"


def _certified(s: Strictness) -> bool:
    ranks = certify(s.shape)
    return ranks.prompt_strict if s.inclusion == "prompt" else ranks.prefix_strict


ASSUMPTIONS = (
    Assumption(
        name="prefixes as long as the prompt",
        statement="the prefixes have M' ≥ M tokens, M those of the prompt (zero tokens in front fill up)",
        predicate=lambda x: x.tokens >= len(x.setting.prompt),
        having=lambda: st.builds(lambda s, k: Lengths(s, len(s.prompt) + k), settings(), st.integers(0, 2)),
        lacking=lambda: settings().filter(lambda s: len(s.prompt) > 1).map(lambda s: Lengths(s, len(s.prompt) - 1)),
        conclusion=fits,
        counterexample=Counterexample(
            "two prompt tokens, one prefix token",
            lambda: Lengths(replace(_EXAMPLE, prompt=(as_row([1]), as_row([1]))), 1),
            "one block, K = 2, taps (1, 1), prompt (1, 1): window 1 and h = 9/2. A token q leaves window q and h = q²; the "
            "outputs x + (x + w)(h/2 + (x + w)²) have the coefficient 3w of x², so q = 1 and then h = 1",
        ),
    ),
    Assumption(
        name="prefix at the block's input",
        statement="tokens enter before the convolution, so they fill its window as a prompt does",
        predicate=lambda s: s.insertion == "block",
        having=settings,
        lacking=lambda: settings(wide=True).map(lambda s: replace(s, insertion="module")),
        conclusion=acts_alike,
        counterexample=Counterexample(
            "tokens after the convolution",
            lambda: replace(_EXAMPLE, insertion="module"),
            "one block, K = 2, taps (1, 1), prompt 1: the inputs 1 and −1 give 10 and −1. With an empty window they give "
            "x + x·(h/2 + x²), so the two add to 0 for every h: no tokens after the convolution do it (h = 1 gives 5/2 and −5/2)",
        ),
    ),
    Assumption(
        name="initial state includes the conv window",
        statement="a block's state is (last K − 1 conv inputs, h)",
        predicate=lambda s: s.window,
        having=settings,
        lacking=lambda: settings(wide=True).map(lambda s: replace(s, window=False)),
        conclusion=acts_alike,
        counterexample=Counterexample(
            "h alone",
            lambda: replace(_EXAMPLE, window=False),
            "the same block: without the window the inputs 1 and −1 give opposite outputs for every h, not 10 and −1",
        ),
    ),
    Assumption(
        name="two layers or more, for prompt ⊊ prefix",
        statement="with one layer a prompt is a prefix",
        predicate=lambda s: s.shape.layers > 1,
        having=lambda: st.sampled_from([Strictness(s) for s in SHAPES]),
        lacking=lambda: st.sampled_from([Strictness(replace(s, layers=1)) for s in SHAPES]),
        conclusion=_certified,
        counterexample=Counterexample(
            "one layer",
            lambda: Strictness(replace(SHAPES[0], layers=1)),
            "one block: prompts and prefixes are the same tokens at the same place, so the classes are equal",
        ),
    ),
    Assumption(
        name="few tokens, for prefix ⊊ initial state",
        statement="M·d_model < d_inner·(K − 1 + N): the states have more dimensions than the prefixes have numbers",
        predicate=lambda s: few_tokens(s.shape),
        having=lambda: st.sampled_from([Strictness(s, "state") for s in SHAPES if few_tokens(s)]),
        lacking=lambda: st.sampled_from([Strictness(replace(s, tokens=8, layers=1), "state") for s in SHAPES]),
        conclusion=_certified,
        counterexample=Counterexample(
            "as many tokens as dimensions",
            lambda: Strictness(Shape(1, 1, 1, 1, 2, 2, 4), "state"),
            "one block, d_model = d_inner = N = 1, K = 2, M = 2: both classes have two dimensions, so counting excludes nothing",
        ),
    ),
)

CLAIM = Claim(
    id="prefix_state.depth",
    title="prompt ⊆ per-layer prefix ⊆ per-layer initial state (with conv window); strict where dimensions say so",
    statement=(
        "A stack of blocks (projection, causal convolution without bias, activation, S6 or S4, gate, projection, residual), M "
        "tokens of width "
        "d_model. Every prompt acts as the per-layer prefixes it turns into, and every family of per-layer prefixes as the "
        "per-layer initial states (window, h) it leaves. With one layer prompt = prefix. Where the Jacobian of the prefix class "
        "has rank > M·d_model the first inclusion is strict; where that of the state class exceeds layers·M·d_model the second "
        "is. Prefixes of M' ≥ M tokens contain the prompts of M; one block's prefixes of M' < M do not where its prompts have "
        "rank > M'·d_model."
    ),
    level="whole model",
    horizon="all for the inclusions; strict on the finite inputs of the certificate, hence on all longer ones",
    parts=(
        Part("inclusions", argument="derivation"),
        Part("strictness", argument="derivation"),
        Part("length", argument="derivation"),
    ),
    checks=(
        Check(
            "symbolic identity",
            prove_symbolically,
            part="inclusions",
            planted=(
                Planted(
                    "the prompt given to every block",
                    swap("prompt_to_prefixes", lambda _: lambda blocks, prompt: [list(prompt) for _ in blocks]),
                ),
            ),
        ),
        Check(
            "prompt → prefixes → states",
            exact_check(
                check_containment,
                settings,
                "outputs of whole stacks, prompts shorter than the window included",
                "layers ≤ 3, d_model, d_inner, N ≤ 2, K ≤ 3",
                0.3,
            ),
            part="inclusions",
            planted=(
                Planted(
                    "the prompt given to every block",
                    swap("prompt_to_prefixes", lambda _: lambda blocks, prompt: [list(prompt) for _ in blocks]),
                ),
                Planted(
                    "states without their windows",
                    swap(
                        "prefixes_to_states", changed(lambda states: [replace(s, window=0 * s.window, h=0 * s.h) for s in states])
                    ),
                ),
            ),
        ),
        Check(
            "free prefixes → states",
            exact_check(
                check_prefix_to_state,
                lambda: st.tuples(settings((1, 2)), matrices(2, 2, 1)),
                "prefixes that come from no prompt",
                "layers ≤ 2",
                0.25,
            ),
            part="inclusions",
            planted=(
                Planted(
                    "empty states",
                    swap(
                        "prefixes_to_states", changed(lambda states: [replace(s, window=0 * s.window, h=0 * s.h) for s in states])
                    ),
                ),
            ),
        ),
        Check(
            "longer prefixes",
            exact_check(check_longer, settings, "zero tokens in front change no output", "layers ≤ 3, M' ≤ M + 3", 0.15),
            part="inclusions",
            planted=(
                Planted("the oldest token lost", swap("resized", lambda right: lambda prefix, n: right(prefix[1:] or prefix, n))),
            ),
        ),
        Check(
            "strictness",
            certify_strictness,
            part="strictness",
            planted=(
                Planted(
                    "prefixes of the prompts' rank", swap("certify", changed(lambda ranks: replace(ranks, prefix=ranks.prompt)))
                ),
            ),
        ),
        Check(
            "shorter prefixes",
            certify_lengths,
            part="length",
            planted=(
                Planted(
                    "a rank of one", swap("certify", changed(lambda ranks: replace(ranks, prompt=replace(ranks.prompt, rank=1))))
                ),
            ),
        ),
    ),
    assumptions=ASSUMPTIONS,
    readme="theory/prefix_state/depth/README.md",
    not_claimed=(
        "Strictness for special weights: W_out = 0 has nothing to be strict about. A certificate at one rational stack carries "
        "over to almost all weights of its shape where the activation is polynomial, and to an open set of weights for ReLU. "
        "Mamba's conv1d has a bias: the inclusions and the counts stay, but zero tokens then write φ(bias) and are no padding. "
        "Nothing about which class trains better."
    ),
)
