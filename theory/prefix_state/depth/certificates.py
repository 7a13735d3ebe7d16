r"""Exact dimensions of prompts, per-layer prefixes and per-layer initial states on fixed rational stacks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from theory.core.certificate import DimensionCertificate, dimension_certificate, exclusion
from theory.core.errors import InvalidInput
from theory.core.lti import LTI
from theory.core.scalars import Array
from theory.core.selective import SelectiveSSM
from theory.verification.claim import Outcome, Profile, Verdict
from theory.verification.refutation import require

from .blocks import Activation, Block, BlockState, S4Channels, with_prefixes, with_prompt, with_states


def _row(values: Any) -> Array:
    return np.array([Fraction(x) for x in values], dtype=object)


@dataclass(frozen=True)
class Shape:
    """Sizes and kind of a certified stack."""

    layers: int
    d_model: int
    d_inner: int
    states: int
    taps: int
    tokens: int
    length: int
    activation: Activation = "quadratic"
    module: str = "s6"
    gate: bool = False


SHAPES = (
    Shape(2, 1, 1, 1, 2, 1, 6),
    Shape(2, 1, 2, 1, 2, 1, 8),
    Shape(2, 2, 2, 1, 2, 1, 8),
    Shape(3, 1, 1, 1, 2, 1, 8),
    Shape(2, 1, 1, 2, 3, 2, 10),
    Shape(2, 2, 2, 2, 2, 2, 12),
    Shape(2, 1, 2, 1, 2, 1, 8, gate=True),
    Shape(2, 1, 2, 1, 2, 1, 8, "relu"),
    Shape(2, 2, 2, 1, 2, 1, 10, "relu"),
    Shape(3, 1, 2, 1, 2, 1, 10, "relu"),
    Shape(2, 1, 2, 2, 2, 1, 10, "relu", "s4"),
    Shape(2, 2, 2, 2, 3, 2, 12, "linear", "s4"),
)


def stack(shape: Shape, seed: int = 1) -> tuple[Block, ...]:
    """A fixed rational stack of a given shape."""
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> Array:
        return np.array([[Fraction(int(rng.integers(-3, 4)) or 1, 2) for _ in range(columns)] for _ in range(rows)], dtype=object)

    out = []
    for layer in range(shape.layers):
        decay = [[Fraction(1 + n + d + layer, 7 + 2 * d + layer) for n in range(shape.states)] for d in range(shape.d_inner)]
        w_b, w_c = matrix(shape.states, shape.d_inner), matrix(shape.states, shape.d_inner)
        if shape.module == "s4":
            ssm: Any = S4Channels([LTI(row, b, c) for row, b, c in zip(decay, w_b.T, w_c.T, strict=True)])
        else:
            ssm = SelectiveSSM(w_b, w_c, dt=1, decay=decay)
        w_in, taps = matrix(shape.d_inner, shape.d_model), matrix(shape.d_inner, shape.taps)
        w_out = matrix(shape.d_model, shape.d_inner)
        gate = matrix(shape.d_inner, shape.d_model) if shape.gate else None
        out.append(Block(w_in, taps, ssm, w_out, shape.activation, gate))
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


def _certificate(family: Any, n: int, rng: np.random.Generator) -> DimensionCertificate:
    """At the first drawn point that is on no kink."""
    for _ in range(20):
        point = [Fraction(int(v) or 1, 5) for v in rng.integers(-4, 5, n)]
        try:
            return dimension_certificate(family, point)
        except InvalidInput as error:
            if "kink" not in str(error):
                raise
    raise InvalidInput(f"20 points of {n} numbers all lie on a kink: the stack has an activation whose input stays 0")


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

    return Ranks(
        shape,
        _certificate(prompt, m * d, rng),
        _certificate(prefix, shape.layers * m * d, rng),
        _certificate(state, shape.layers * size, rng),
    )


def few_tokens(shape: Shape) -> bool:
    """The states have more dimensions than the prefixes have numbers: d_inner·(K − 1 + N) > M·d_model."""
    return shape.d_inner * (shape.taps - 1 + shape.states) > shape.tokens * shape.d_model


def certify_strictness(_: Profile) -> Outcome:
    """At every shape prefixes exceed prompts and states exceed prefixes; also against longer prompts and prefixes."""
    rows = []
    for shape in SHAPES:
        ranks = certify(shape)
        require(ranks.prompt_strict and ranks.prefix_strict and few_tokens(shape), ranks)
        kind = f"{shape.module}, {shape.activation}{', gate' if shape.gate else ''}"
        rows.append(
            {
                "layers": shape.layers, "d_model": shape.d_model, "d_inner": shape.d_inner, "N": shape.states, "K": shape.taps,
                "kind": kind, "M": shape.tokens, "prompt_parameters": ranks.prompt.n_parameters, "prefix_rank": ranks.prefix.rank,
                "prefix_parameters": ranks.prefix.n_parameters, "state_rank": ranks.state.rank,
                "prefixes_exceed_prompts_up_to": (ranks.prefix.rank - 1) // shape.d_model,
                "states_exceed_prefixes_up_to": (ranks.state.rank - 1) // (shape.layers * shape.d_model),
            }
        )  # fmt: skip
    how = f"exact Jacobian ranks, no point on a kink: state > prefix > prompt at {len(rows)} shapes"
    return Outcome(Verdict.EXACT, how, "layers ≤ 3, d_model ≤ 2", len(rows), data={"table": rows})


def certify_lengths(_: Profile) -> Outcome:
    """One block: prompts of M tokens exceed prefixes of M − 1 tokens; always for M = 2, and until the states run out."""
    rows = []
    for shape in SHAPES:
        if shape.activation == "relu":
            continue  # a polynomial stack has its full rank at almost every point, a ReLU stack only where its units are open
        states = shape.d_inner * (shape.taps - 1 + shape.states)
        for m in range(2, states // shape.d_model + 1):
            found = certify(replace(shape, layers=1, tokens=m, length=6 * shape.states * shape.d_inner + shape.taps)).prompt
            shorter = (m - 1) * shape.d_model
            exceeds = exclusion(found, shorter, "prompts", "shorter prefixes") is not None
            require(exceeds or m > 2, (shape, m, found))
            require(found.rank <= min(states, m * shape.d_model), (shape, m, found))
            rows.append({"d_model": shape.d_model, "M": m, "rank": found.rank, "shorter_parameters": shorter, "strict": exceeds})
    strict = sum(bool(r["strict"]) for r in rows)
    how = f"exact Jacobian ranks: prompts of M tokens exceed prefixes of M − 1 in {strict} of {len(rows)} cases, for M = 2 always"
    return Outcome(Verdict.EXACT, how, "one layer, d_model ≤ 2, 2 ≤ M ≤ 6", len(rows), data={"table": rows})
