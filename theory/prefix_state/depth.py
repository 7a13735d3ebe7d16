r"""prefix_state.depth: prompt ⊆ per-layer prefix ⊆ per-layer initial state, and where the inclusions are strict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from hypothesis import strategies as st

from theory.core.certificate import DimensionCertificate, dimension_certificate
from theory.core.claim import Assumption, Check, Claim, Counterexample, Outcome, Profile, Verdict, exact_check
from theory.core.scalars import Array
from theory.core.selective import SelectiveSSM
from theory.core.strategies import matrices, rationals

from .blocks import (
    Activation,
    Block,
    BlockState,
    module_prefix_state,
    prefixes_to_states,
    prompt_to_prefixes,
    with_prefixes,
    with_prompt,
    with_states,
)


@dataclass(frozen=True)
class Setting:
    """A stack, a prompt, later inputs, and where the converted prefix enters (``block`` input or ``module`` input)."""

    blocks: tuple[Block, ...]
    prompt: tuple[Array, ...]
    inputs: tuple[Array, ...]
    insertion: str = "block"
    window: bool = True


def _row(values: Any) -> Array:
    return np.array([Fraction(x) for x in values], dtype=object)


@st.composite
def blocks(draw: st.DrawFn, d_model: int, *, wide: bool = False) -> Block:
    """d_inner 1 or 2, N 1 or 2, K 1 to 3 (at least 2 with ``wide``)."""
    d, n, k = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(2 if wide else 1, 3))
    decay = [[draw(st.sampled_from([Fraction(1, 2), Fraction(1, 3), Fraction(2, 3)])) for _ in range(n)] for _ in range(d)]
    ssm = SelectiveSSM(draw(matrices(n, d, 1)), draw(matrices(n, d, 1)), dt=1, decay=decay)
    activation: Activation = draw(st.sampled_from(["linear", "relu", "quadratic"]))
    taps = [[draw(rationals(1, nonzero=True)) for _ in range(k)] for _ in range(d)]
    return Block(draw(matrices(d, d_model, 1)), taps, ssm, draw(matrices(d_model, d, 1)), activation)


@st.composite
def settings(draw: st.DrawFn, depths: tuple[int, ...] = (1, 2, 3), *, wide: bool = False) -> Setting:
    """A stack of one to three blocks, prompts shorter and longer than the conv window."""
    d_model = draw(st.integers(1, 2))
    stack = tuple(draw(blocks(d_model, wide=wide)) for _ in range(draw(st.sampled_from(depths))))
    prompt = draw(matrices(draw(st.integers(1, 3)), d_model, 1))
    inputs = draw(matrices(draw(st.integers(1, 2)), d_model, 1))
    return Setting(stack, tuple(map(_row, prompt)), tuple(map(_row, inputs)))


def _same(left: list[Array], right: list[Array]) -> bool:
    return all(bool(np.all(x == y)) for x, y in zip(left, right, strict=True))


def check_containment(s: Setting) -> None:
    """prompt → prefixes → states, all with the outputs of the prompt."""
    expected = with_prompt(s.blocks, s.prompt, s.inputs)
    prefixes = prompt_to_prefixes(s.blocks, s.prompt)
    assert all(len(p) == len(s.prompt) for p in prefixes), s
    assert _same(with_prefixes(s.blocks, prefixes, s.inputs), expected), s
    assert _same(with_states(s.blocks, prefixes_to_states(s.blocks, prefixes), s.inputs), expected), s


def check_prefix_to_state(instance: tuple[Setting, list[list[Fraction]]]) -> None:
    """Any prefixes, not only those of a prompt, act as the states they leave; with one block a prompt is a prefix."""
    s, tokens = instance
    width = s.blocks[0].d_model
    flat = [x for row in tokens for x in row]
    prefixes = []
    for k, _ in enumerate(s.blocks):
        shifted = flat[k:] + flat[:k]
        prefixes.append([_row(shifted[i : i + width]) for i in range(0, len(flat) - width + 1, width)])
    states = prefixes_to_states(s.blocks, prefixes)
    assert _same(with_states(s.blocks, states, s.inputs), with_prefixes(s.blocks, prefixes, s.inputs)), instance
    first = s.blocks[:1]
    assert _same(with_prompt(first, prefixes[0], s.inputs), with_prefixes(first, prefixes[:1], s.inputs)), instance


# -- strictness -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """Sizes of a certified stack."""

    layers: int
    d_model: int
    d_inner: int
    states: int
    taps: int
    tokens: int
    length: int


SHAPES = (
    Shape(2, 1, 1, 1, 2, 1, 6),
    Shape(2, 1, 2, 1, 2, 1, 8),
    Shape(2, 2, 2, 1, 2, 1, 8),
    Shape(3, 1, 1, 1, 2, 1, 8),
    Shape(2, 1, 1, 2, 3, 2, 10),
    Shape(2, 2, 2, 2, 2, 2, 12),
)


def stack(shape: Shape, seed: int = 1) -> tuple[Block, ...]:
    """A fixed rational stack of a given shape (quadratic activation, so every point is smooth)."""
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> Array:
        return np.array([[Fraction(int(rng.integers(-3, 4)) or 1, 2) for _ in range(columns)] for _ in range(rows)], dtype=object)

    out = []
    for layer in range(shape.layers):
        decay = [[Fraction(1 + n + d + layer, 7 + 2 * d + layer) for n in range(shape.states)] for d in range(shape.d_inner)]
        ssm = SelectiveSSM(matrix(shape.states, shape.d_inner), matrix(shape.states, shape.d_inner), dt=1, decay=decay)
        out.append(Block(matrix(shape.d_inner, shape.d_model), matrix(shape.d_inner, shape.taps), ssm,
                         matrix(shape.d_model, shape.d_inner)))  # fmt: skip
    return tuple(out)


@dataclass(frozen=True)
class Ranks:
    """Certified dimensions of the three classes on one input, and the numbers of parameters they have."""

    shape: Shape
    prompt: DimensionCertificate
    prefix: DimensionCertificate
    state: DimensionCertificate

    @property
    def prompt_strict(self) -> bool:
        """Prefixes are not contained in prompts."""
        return self.prefix.exceeds(self.prompt.n_parameters)

    @property
    def prefix_strict(self) -> bool:
        """Initial states are not contained in prefixes."""
        return self.state.exceeds(self.prefix.n_parameters)


def certify(shape: Shape, seed: int = 1) -> Ranks:
    """Exact Jacobian ranks of outputs with respect to prompt, prefixes and states, at a rational point."""
    model = stack(shape, seed)
    rng = np.random.default_rng(seed + 1)
    inputs = [_row([Fraction(int(v), 4) for v in rng.integers(-4, 5, shape.d_model)]) for _ in range(shape.length)]
    m, d = shape.tokens, shape.d_model

    def flat(outputs: list[Array]) -> Array:
        return np.concatenate(outputs)

    def prompt(p: Array) -> Array:
        return flat(with_prompt(model, list(p.reshape(m, d)), inputs))

    def prefix(p: Array) -> Array:
        return flat(with_prefixes(model, [list(x) for x in p.reshape(shape.layers, m, d)], inputs))

    window, size = (shape.taps - 1) * shape.d_inner, (shape.taps - 1 + shape.states) * shape.d_inner

    def state(p: Array) -> Array:
        states = []
        for part in p.reshape(shape.layers, size):
            states.append(
                BlockState(part[:window].reshape(-1, shape.d_inner), part[window:].reshape(shape.d_inner, shape.states))
            )
        return flat(with_states(model, states, inputs))

    def point(n: int) -> list[Fraction]:
        return [Fraction(int(v) or 1, 5) for v in rng.integers(-4, 5, n)]

    return Ranks(
        shape,
        dimension_certificate(prompt, point(m * d)),
        dimension_certificate(prefix, point(shape.layers * m * d)),
        dimension_certificate(state, point(shape.layers * size)),
    )


def certify_strictness(_: Profile) -> Outcome:
    """At six shapes prefixes exceed prompts, and states exceed prefixes wherever they have more dimensions."""
    rows = []
    for shape in SHAPES:
        ranks = certify(shape)
        assert ranks.prompt_strict, ranks
        rows.append(
            {
                "layers": shape.layers, "d_model": shape.d_model, "d_inner": shape.d_inner, "N": shape.states, "K": shape.taps,
                "M": shape.tokens, "prompt_parameters": ranks.prompt.n_parameters, "prefix_rank": ranks.prefix.rank,
                "prefix_parameters": ranks.prefix.n_parameters, "state_rank": ranks.state.rank,
                "state_strict": ranks.prefix_strict,
            }
        )  # fmt: skip
    strict = [r for r in rows if r["state_strict"]]
    assert len(strict) >= 3, rows
    how = f"exact Jacobian ranks: prefix > prompt at {len(rows)} shapes, state > prefix at {len(strict)} (few tokens)"
    return Outcome(Verdict.EXACT, how, "layers ≤ 3, d_model ≤ 2", len(rows), data={"table": rows})


def prove_symbolically(_: Profile) -> Outcome:
    """Two blocks with symbols for prompt and inputs: prompt, prefixes and states give the same polynomials."""
    model = stack(Shape(2, 1, 1, 1, 2, 2, 2))
    p, x = sympy.symbols("p0:2"), sympy.symbols("x0:2")

    def rational(block: Block) -> Block:
        def s(values: Array) -> Array:
            return np.vectorize(lambda v: sympy.Rational(v.numerator, v.denominator), otypes=[object])(values)

        ssm = SelectiveSSM(s(block.ssm.W_B), s(np.asarray(block.ssm.W_C)), dt=1, decay=s(np.asarray(block.ssm.decay)), kind="symbolic")
        out = Block(block.W_in, block.taps, block.ssm, block.W_out)
        for name, value in (("W_in", s(block.W_in)), ("taps", s(block.taps)), ("W_out", s(block.W_out)), ("ssm", ssm)):
            object.__setattr__(out, name, value)
        return out

    symbolic = [rational(b) for b in model]
    prompt, inputs = ([np.array([v], dtype=object) for v in values] for values in (p, x))
    expected = with_prompt(symbolic, prompt, inputs)
    prefixes = prompt_to_prefixes(symbolic, prompt)
    for got in (with_prefixes(symbolic, prefixes, inputs), with_states(symbolic, prefixes_to_states(symbolic, prefixes), inputs)):
        assert all(sympy.expand(u[0] - v[0]) == 0 for u, v in zip(got, expected, strict=True))
    return Outcome(
        Verdict.PROVED,
        "causality: a block's outputs after M tokens depend on them through (window, h); layer by layer (induction over depth)",
        "any depth, M, L (derivation); two blocks, M = L = 2 with symbols",
        instances=2,
    )


# -- assumptions ----------------------------------------------------------------------------------------------------------


def acts_alike(s: Setting) -> bool:
    """Whether the converted prompt (prefix at ``insertion``, state with or without window) gives the prompt's outputs."""
    expected = with_prompt(s.blocks, s.prompt, s.inputs)
    prefixes = prompt_to_prefixes(s.blocks, s.prompt)
    if s.insertion == "module":
        states = [module_prefix_state(b, p) for b, p in zip(s.blocks, prefixes, strict=True)]
        return _same(with_states(s.blocks, states, s.inputs), expected)
    states = prefixes_to_states(s.blocks, prefixes)
    if not s.window:
        states = [replace(state, window=b.zero_state().window) for state, b in zip(states, s.blocks, strict=True)]
    return _same(with_prefixes(s.blocks, prefixes, s.inputs), expected) and _same(
        with_states(s.blocks, states, s.inputs), expected
    )


def _one_block(taps: list[Any], activation: Activation = "linear") -> Block:
    """d_model = d_inner = N = 1 with a readout of the state: z ↦ h = h/2 + z², y = z h."""
    return Block([[1]], [taps], SelectiveSSM([[1]], [[1]], dt=1, decay=[["1/2"]]), [[1]], activation)


_EXAMPLE = Setting((_one_block([1, 1]),), (_row([1]),), (_row([1]),))


@dataclass(frozen=True)
class Strictness:
    """A shape to certify, and which inclusion."""

    shape: Shape
    inclusion: str = "prompt"


def _certified(s: Strictness) -> bool:
    ranks = certify(s.shape)
    return ranks.prompt_strict if s.inclusion == "prompt" else ranks.prefix_strict


def _few_tokens(s: Strictness) -> bool:
    """The states have more dimensions than the prefixes have numbers."""
    k = s.shape
    return k.d_inner * (k.taps - 1 + k.states) > k.tokens * k.d_model


ASSUMPTIONS = (
    Assumption(
        "prefix at the block's input",
        "tokens enter before the convolution, so they fill its window as a prompt does",
        lambda s: s.insertion == "block",
        settings,
        lambda: settings(wide=True).map(lambda s: replace(s, insertion="module")),
        acts_alike,
        Counterexample(
            "tokens after the convolution",
            lambda: replace(_EXAMPLE, insertion="module"),
            "one block, K = 2, taps (1, 1), prompt 1, input 1: the output is 10 after the prompt, 5/2 with h = 1 and an empty "
            "window",
        ),
    ),
    Assumption(
        "initial state includes the conv window",
        "a block's state is (last K − 1 conv inputs, h)",
        lambda s: s.window,
        settings,
        lambda: settings(wide=True).map(lambda s: replace(s, window=False)),
        acts_alike,
        Counterexample(
            "h alone",
            lambda: replace(_EXAMPLE, window=False),
            "the same block: h = 1 without the window gives 5/2, not 10",
        ),
    ),
    Assumption(
        "two layers or more, for prompt ⊊ prefix",
        "with one layer a prompt is a prefix",
        lambda s: s.shape.layers > 1,
        lambda: st.sampled_from([Strictness(s) for s in SHAPES]),
        lambda: st.sampled_from([Strictness(replace(s, layers=1)) for s in SHAPES]),
        _certified,
        Counterexample(
            "one layer",
            lambda: Strictness(replace(SHAPES[0], layers=1)),
            "one block: prompts and prefixes are the same tokens at the same place, so the classes are equal",
        ),
    ),
    Assumption(
        "few tokens, for prefix ⊊ initial state",
        "M·d_model < d_inner·(K − 1 + N): the states have more dimensions than the prefixes have numbers",
        _few_tokens,
        lambda: st.sampled_from([Strictness(s, "state") for s in SHAPES if _few_tokens(Strictness(s))]),
        lambda: st.sampled_from([Strictness(replace(s, tokens=4, layers=1), "state") for s in SHAPES]),
        _certified,
        Counterexample(
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
        "A stack of blocks (projection, causal convolution, activation, SSM, projection, residual), M tokens of width d_model. "
        "Every prompt acts as the per-layer prefixes it turns into, and every family of per-layer prefixes as the per-layer "
        "initial states (window, h) it leaves. With one layer prompt = prefix. Where the Jacobian of the prefix class has rank "
        "> M·d_model the first inclusion is strict; where that of the state class exceeds layers·M·d_model the second is."
    ),
    level="whole model",
    horizon="all for the inclusions; strict on the finite inputs of the certificate, hence on all longer ones",
    checks=(
        Check("symbolic identity", prove_symbolically, part="inclusions"),
        Check(
            "prompt → prefixes → states",
            exact_check(
                check_containment,
                settings,
                "outputs of whole stacks, prompts shorter than the window included",
                "layers ≤ 3, d_model, d_inner, N ≤ 2, K ≤ 3",
                0.5,
            ),
            part="inclusions",
        ),
        Check(
            "free prefixes → states",
            exact_check(
                check_prefix_to_state,
                lambda: st.tuples(settings((1, 2)), matrices(2, 2, 1)),
                "prefixes that come from no prompt",
                "layers ≤ 2",
                0.5,
            ),
            part="inclusions",
        ),
        Check("strictness", certify_strictness, part="strictness"),
    ),
    assumptions=ASSUMPTIONS,
    readme="prefix_statedepth",
    not_claimed=(
        "Strictness is certified at the shapes listed, for generic weights of those shapes; a stack with W_out = 0 has nothing "
        "to be strict about. Nothing about which class trains better."
    ),
)
