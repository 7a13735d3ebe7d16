r"""prefix_state.contained: every prefix acts exactly as some initial state; with a convolution, as a window and a state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.conv import Conv
from theory.core.lti import LTI
from theory.core.scalars import is_zero
from theory.core.selective import SelectiveSSM
from theory.core.ssd import Mamba2Group, Mamba2Head
from theory.core.strategies import any_lti, mamba2_head, matrices, rationals, real_lti, selective, vectors
from theory.core.tolerance import budget
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
from theory.verification.planted import changed, on, swap
from theory.verification.refutation import require

from ..reach.window import emptied, missing_inputs, refit_state, state_after


@dataclass(frozen=True)
class Run:
    """A system, a prefix and the inputs that follow. ``window``: whether the conv window is handed on with the state."""

    system: Any
    prefix: tuple[Any, ...]
    inputs: tuple[Any, ...]
    window: bool = True


def _tokens(width: int | None, least: int, most: int) -> st.SearchStrategy[tuple[Any, ...]]:
    token: st.SearchStrategy[Any] = rationals(3) if width is None else vectors(width, 3)
    return st.lists(token, min_size=least, max_size=most).map(tuple)


@st.composite
def lti_runs(draw: st.DrawFn) -> Run:
    """Any exact channel, with a skip."""
    system = draw(any_lti(4)).replace(d=draw(rationals(2)))
    return Run(system, draw(_tokens(None, 1, 4)), draw(_tokens(None, 1, 4)))


def rational_clock(A: Any) -> Any:
    """A clock that depends on the token and stays rational: dt_d = 1/(1 + z_d²), decay = 1/(1 + dt_d |A[d, n]|)."""

    def clock(z: Any) -> tuple[Any, Any]:
        dt = np.array([1 / (1 + x * x) for x in z], dtype=object)
        return dt, 1 / (1 + dt[:, None] * A)

    return clock


def rational_scalar_clock(u: Any) -> tuple[Any, Any]:
    """The same for a Mamba-2 head."""
    dt = 1 / (1 + u[0] * u[0])
    return dt, 1 / (1 + dt)


@st.composite
def selective_runs(draw: st.DrawFn) -> Run:
    """S6 with a constant or a token-dependent rational clock, and a skip."""
    system = draw(selective((1, 2), (1, 2, 3), distinct=False))
    d = system.n_channels
    skip = draw(vectors(d, 2))
    if draw(st.booleans()):
        rates = np.array(draw(matrices(d, system.n_states, 2)), dtype=object)
        system = SelectiveSSM(system.W_B, system.W_C, clock=rational_clock(rates * rates), D_skip=skip)
    else:
        system = SelectiveSSM(system.W_B, system.W_C, dt=system.dt, decay=system.decay, D_skip=skip)
    return Run(system, draw(_tokens(d, 1, 3)), draw(_tokens(d, 1, 3)))


@st.composite
def mamba2_runs(draw: st.DrawFn) -> Run:
    """One Mamba-2 head, or two that share B and C."""
    head = draw(mamba2_head(2, 2, independent=False))
    if draw(st.booleans()):
        head = Mamba2Head(head.W_x, head.W_B, head.W_C, clock=rational_scalar_clock, D_skip=draw(rationals(2)))
    system: Any = head
    if draw(st.booleans()):
        other = Mamba2Head(draw(matrices(head.head_dim, head.d_input, 2)), head.W_B, head.W_C, dt=1, decay=Fraction(1, 3))
        system = Mamba2Group([head, other])
    return Run(system, draw(_tokens(head.d_input, 1, 3)), draw(_tokens(head.d_input, 1, 3)))


@st.composite
def conv_runs(draw: st.DrawFn, *, wide: bool = False, skip: bool | None = None, selective_inside: bool | None = None) -> Run:
    """A convolution (K ≥ 2 with ``wide``) in front of a channel or an S6 module; prefixes may be shorter than K − 1."""
    k = draw(st.integers(2 if wide else 1, 4))
    if draw(st.booleans()) if selective_inside is None else selective_inside:
        inner = draw(selective((1, 2), (1, 2), distinct=False))
        d = inner.n_channels
        conv = Conv(draw(matrices(d, k, 2)), inner, draw(vectors(d, 2)))
        return Run(conv, draw(_tokens(d, 1, 4)), draw(_tokens(d, 1, 4)))
    channel = draw(real_lti(max_states=3, distinct=False))
    if draw(st.booleans()) if skip is None else skip:
        channel = channel.replace(d=draw(rationals(2, nonzero=True)))
    return Run(
        Conv(draw(vectors(k, 3)), channel, draw(rationals(2))), draw(_tokens(None, 1, 4)), draw(_tokens(None, k + 1, k + 3))
    )


def after_prefix(run: Run) -> Any:
    """The outputs after the prefix, by running prefix and inputs in one go from rest."""
    return run.system.run([*run.prefix, *run.inputs])[0][len(run.prefix) :]


def from_state(run: Run) -> Any:
    """The outputs from the prefix's state, with or without the conv window."""
    state = state_after(run.system, run.prefix)
    if isinstance(run.system, Conv) and not run.window:
        state = emptied(run.system, state.h)
    return run.system.run(run.inputs, state)[0]


def same_outputs(left: Any, right: Any) -> bool:
    """Exact equality of two output sequences."""
    return all(is_zero(x - y) for x, y in zip(np.ravel(left), np.ravel(right), strict=True))


def acts_as_state(run: Run) -> bool:
    """Whether prefix and state give the same outputs."""
    return same_outputs(after_prefix(run), from_state(run))


def check_contained(run: Run) -> None:
    """The outputs after the prefix are those from its last state, which equals the closed form Σ (product of decays) · input."""
    require(acts_as_state(run), run)
    if not isinstance(run.system, Conv):
        require(same_outputs(state_after(run.system, run.prefix), closed_form(run.system, run.prefix)), run)


def closed_form(system: Any, prefix: Any) -> Any:
    """The state as a sum over tokens, each decayed by all tokens after it: a^m b x, or Π decay(z_s) · dt z (W_B z)ᵀ."""
    if isinstance(system, Mamba2Group):
        return np.stack([closed_form(head, prefix) for head in system.heads])
    tokens = system.inputs(list(prefix))
    total = system.zero_state()
    for i, token in enumerate(tokens):
        if isinstance(system, LTI):
            term = system.b * token * system.a ** (len(tokens) - 1 - i) if len(tokens) - 1 - i else system.b * token
        elif isinstance(system, SelectiveSSM):
            term = np.outer(system.clock(token)[0] * token, system.W_B @ token)
        else:
            term = system.clock(token)[0] * np.outer(system.W_x @ token, system.W_B @ token)
        if not isinstance(system, LTI):
            for later in tokens[i + 1 :]:
                term = system.clock(later)[1] * term
        total = total + term
    return total


def check_window(run: Run) -> None:
    """With a convolution: window and state together do it, and the window is the last K − 1 tokens (zeros before them)."""
    check_contained(run)
    conv = run.system
    state = state_after(conv, run.prefix)
    zero = 0 * conv.taps[..., 0]
    padded = [*[zero] * (conv.width - 1), *run.prefix]
    expected = padded[len(padded) - conv.width + 1 :]
    require(len(state.window) == conv.width - 1)
    require(all(same_outputs(u, v) for u, v in zip(state.window, expected, strict=True)), run)


def check_refit(run: Run) -> None:
    """LTI: with the window emptied, h' gives every output from t = K − 1 on (K with a skip)."""
    conv = run.system
    state = state_after(conv, run.prefix)
    outputs = conv.run(run.inputs, emptied(conv, refit_state(conv, state)))[0]
    right = after_prefix(run)
    first = conv.width - 1 if is_zero(conv.system.d) else conv.width  # first step that is right, t counted from 1
    require(same_outputs(outputs[max(0, first - 1) :], right[max(0, first - 1) :]), run)
    if not is_zero(conv.system.d) and conv.width > 1:  # at t = K − 1 exactly the skip of the missing input is lost
        lost = conv.system.d * missing_inputs(conv, state.window)[-1]
        require(is_zero(right[conv.width - 2] - outputs[conv.width - 2] - lost), run)


@dataclass(frozen=True)
class Squared:
    """D = N = 1, K = 2 in front of S6: taps w_0, w_1, decay e, last prefix token x_0."""

    w0: Fraction
    w1: Fraction
    e: Fraction
    x0: Fraction


def squared() -> st.SearchStrategy[Squared]:
    """All four numbers nonzero."""
    n = rationals(3, nonzero=True)
    return st.builds(Squared, n, n, st.sampled_from([Fraction(1, 2), Fraction(2, 3), Fraction(1, 7)]), n)


def check_selective_window(s: Squared) -> None:
    """S6 cannot make up for its window: the h' that suits x_1 = 1 differs from the one that suits x_1 = −1.

    h_1 = e h + (w_0 x_1 + w_1 x_0)² against e h' + (w_0 x_1)²: the difference has the cross term 2 w_0 w_1 x_0 x_1.
    """
    conv = Conv([[s.w0, s.w1]], SelectiveSSM([[1]], [[1]], dt=1, decay=[[s.e]]))
    state = state_after(conv, [[s.x0]])
    needed = []
    for x1 in (Fraction(1), Fraction(-1)):
        x2 = (1 - s.w1 * x1) / s.w0  # the second conv input is 1, so y_2 = h_2 sees the state
        inputs = [[x1], [x2]]
        right = conv.run(inputs, state)[0][1, 0]
        at = [conv.run(inputs, emptied(conv, np.array([[Fraction(v)]], dtype=object)))[0][1, 0] for v in (0, 1)]
        needed.append((right - at[0]) / (at[1] - at[0]))  # y_2 is affine in h'
    require(needed[0] - needed[1] == 4 * s.w0 * s.w1 * s.x0 / s.e, s)
    require(needed[0] != needed[1], s)


def prove_symbolically(_: Profile) -> Outcome:
    """Prefix and state agree with symbols for every number: LTI, S6 with softplus clock, Mamba-2, and Conv in front of LTI."""
    count = 0

    def sym(name: str, *shape: int) -> Any:
        flat = sympy.symbols(f"{name}0:{int(np.prod(shape))}", real=True)
        return np.array(flat, dtype=object).reshape(shape)

    systems: list[tuple[Any, int | None]] = [
        (LTI(sym("a", 2), sym("b", 2), sym("c", 2), sympy.Symbol("d", real=True)), None),
        (Conv(sym("w", 3), LTI(sym("a", 2), sym("b", 2), sym("c", 2), sympy.Symbol("d", real=True)), sympy.Symbol("e")), None),
        (Mamba2Head(sym("X", 2, 2), sym("B", 1, 2), sym("C", 1, 2), dt=sympy.Symbol("t"), decay=sympy.Symbol("g")), 2),
        (
            SelectiveSSM(
                sym("B", 1, 2),
                sym("C", 1, 2),
                A=-np.array([[sympy.Symbol("r0", positive=True)], [sympy.Symbol("r1", positive=True)]], dtype=object),
                W_dn=sym("p", 1, 2),
                W_up=sym("q", 2, 1),
                dt_bias=sym("s", 2),
            ),
            2,
        ),
    ]
    for system, width in systems:
        prefix = sym("x", 2) if width is None else sym("x", 2, width)
        inputs = sym("u", 2) if width is None else sym("u", 2, width)
        run = Run(system, tuple(prefix), tuple(inputs))
        for left, right in zip(np.ravel(after_prefix(run)), np.ravel(from_state(run)), strict=True):
            require(sympy.expand(left - right) == 0, f"{system!r}")
        inner = system.system if isinstance(system, Conv) else system
        if not isinstance(system, Conv):
            left = np.ravel(state_after(system, tuple(prefix)))
            for u, v in zip(left, np.ravel(closed_form(inner, tuple(prefix))), strict=True):
                require(sympy.expand(u - v) == 0, f"{system!r}")
        count += 1
    return Outcome(
        Verdict.EXACT,
        "a step depends on the past through the state alone (induction over tokens); symbols checked, softplus clock included",
        "any M, L (derivation); M = L = 2 with symbols",
        instances=count,
    )


def worked_example(_: Profile) -> Outcome:
    """K = 2, a = 1/2, taps (2, 3), prefix 5, inputs 1, −2, 4, 7: the three answers in exact numbers."""
    conv = Conv([2, 3], LTI(["1/2"], [1], [1]))
    inputs = (1, -2, 4, 7)
    state = state_after(conv, [5])
    shown = {
        "prefix": conv.run([5, *inputs])[0][1:],
        "window and state": conv.run(inputs, state)[0],
        "state alone": conv.run(inputs, emptied(conv, state.h))[0],
        "state refitted": conv.run(inputs, emptied(conv, refit_state(conv, state)))[0],
    }
    right = [Fraction(22), Fraction(10), Fraction(7), Fraction(59, 2)]
    alone = [Fraction(7), Fraction(5, 2), Fraction(13, 4), Fraction(221, 8)]
    require(list(shown["prefix"]) == right == list(shown["window and state"]) == list(shown["state refitted"]), shown)
    require(list(shown["state alone"]) == alone, shown)
    data = {key: [str(y) for y in values] for key, values in shown.items()}
    return Outcome(Verdict.EXACT, "22, 10, 7, 59/2 against 7, 5/2, 13/4, 221/8 without the window", "K = 2, N = 1", 1, data=data)


def float_route(profile: Profile) -> Outcome:
    """S6 with the softplus clock in float64: prefix and state agree within the budget of the recurrence."""
    worst = 0.0
    rng = np.random.default_rng(profile.seed)
    count = profile.scaled(0.1)
    d, n, r, m, length = 4, 3, 2, 6, 8
    for _ in range(count):
        system = SelectiveSSM(
            rng.standard_normal((n, d)), rng.standard_normal((n, d)), A=-np.exp(rng.standard_normal((d, n))),
            W_dn=rng.standard_normal((r, d)), W_up=rng.standard_normal((d, r)), dt_bias=rng.standard_normal(d),
        )  # fmt: skip
        prefix, inputs = rng.standard_normal((m, d)), rng.standard_normal((length, d))
        right = system.run(np.concatenate([prefix, inputs]))[0][m:]
        got = system.run(inputs, closed_form(system, prefix))[0]
        worst = max(worst, float(np.abs(got - right).max() / np.abs(right).max()))
    allowed = budget(m + length)
    require(worst <= allowed, f"closed form and recurrence differ by {worst:.1e}, budget {allowed:.1e}")
    how = "closed-form state against the recurrence, largest difference within its error budget"
    return Outcome(Verdict.NUMERIC, how, f"D = {d}, N = {n}, M = {m}, L = {length}", count, tolerance=allowed, condition=1.0)


# -- assumptions ----------------------------------------------------------------------------------------------------------


def _live_window(run: Run) -> bool:
    """Whether emptying the window changes what the convolution sees."""
    conv = run.system
    return any(not is_zero(x) for m in missing_inputs(conv, state_after(conv, run.prefix).window) for x in np.ravel(m))


@st.composite
def _windowless(draw: st.DrawFn) -> Run:
    return replace(draw(conv_runs(wide=True).filter(_live_window)), window=False)


def _refit_possible(run: Run) -> bool:
    """Whether some h' behind an empty window gives the outputs from t = K − 1 on, as a rational linear system."""
    conv = run.system
    right = after_prefix(run)
    at_zero = conv.run(run.inputs, emptied(conv, conv.system.zero_state()))[0]
    n = conv.system.n_states
    first = max(0, conv.width - 2)
    units = [[Fraction(int(i == k)) for i in range(n)] for k in range(n)]
    columns = [conv.run(run.inputs, emptied(conv, conv.system.state(u)))[0] - at_zero for u in units]
    rows = [[c[t] for c in columns] for t in range(first, len(right))]
    return linalg.solve(rows, [right[t] - at_zero[t] for t in range(first, len(right))]) is not None


@st.composite
def _forgetting(draw: st.DrawFn) -> Run:
    run = draw(conv_runs(wide=True, skip=False, selective_inside=False))
    system = run.system.system
    a = list(system.a)
    a[draw(st.integers(0, len(a) - 1))] = Fraction(0)
    return replace(run, system=Conv(run.system.taps, system.replace(a=a), run.system.bias))


ASSUMPTIONS = (
    Assumption(
        name="conv window kept",
        statement="with a convolution of width K the state is (last K − 1 conv inputs, h)",
        predicate=lambda run: run.window,
        having=lambda: conv_runs(wide=True),
        lacking=_windowless,
        conclusion=acts_as_state,
        counterexample=Counterexample(
            "h alone",
            lambda: Run(Conv([2, 3], LTI(["1/2"], [1], [1])), (Fraction(5),), (Fraction(1), Fraction(-2), Fraction(4)), False),
            "K = 2, a = 1/2, taps (2, 3), b = c = 1, prefix 5, inputs 1, −2, 4, 7: the prefix gives 22, 10, 7, 59/2; h alone "
            "gives 7, 5/2, 13/4, 221/8",
        ),
    ),
    Assumption(
        name="a invertible, for re-fitting",
        statement="an LTI state can make up for an emptied window only through modes a_n ≠ 0",
        predicate=lambda run: not any(is_zero(a) for a in run.system.system.a),
        having=lambda: conv_runs(wide=True, skip=False, selective_inside=False),
        lacking=_forgetting,
        conclusion=_refit_possible,
        counterexample=Counterexample(
            "a mode that forgets",
            lambda: Run(Conv([2, 3], LTI([0], [1], [1])), (Fraction(5),), (Fraction(1), Fraction(1))),
            "K = 2, a = 0, taps (2, 3), prefix 5, inputs 1, 1: y_1 = 17 needs the window, every h' gives 2",
        ),
    ),
)

CLAIM = Claim(
    id="prefix_state.contained",
    title="every prefix acts exactly as the state it leaves; behind a convolution, as window and state",
    statement=(
        "LTI, S6 (any clock) and Mamba-2: the outputs after a prefix are those from the initial state h_0 it leaves, for all "
        "later inputs. With a causal conv of width K in front, the state is (last K − 1 conv inputs, h). Keeping h and emptying "
        "the window changes outputs in general; for LTI with all a_n ≠ 0 the re-fitted h' = h + Σ_{t<K} a^{−t} b m_t, with m_t "
        "what the conv inputs lack, is exact from t = K − 1 on (K with a skip). For S6 there is none in general: with D = N = "
        "1, K = 2, a constant clock and no weight, tap, decay or prefix token zero, "
        "no h' suits the inputs 1 and −1."
    ),
    level="one SSM module, or one block where the convolution is included",
    horizon="all",
    parts=(
        Part("containment", argument="derivation"),
        Part("window", argument="derivation"),
        Part("re-fit", argument="dropping-the-window"),
        Part("no re-fit for S6", argument="dropping-the-window"),
    ),
    checks=(
        Check(
            "symbolic identities",
            prove_symbolically,
            part="containment",
            planted=(
                Planted(
                    "the last token read twice",
                    swap("state_after", lambda right: lambda system, prefix: right(system, (*prefix, prefix[-1]))),
                ),
            ),
        ),
        Check(
            "LTI",
            exact_check(check_contained, lti_runs, "outputs and closed-form state", "N ≤ 4, M, L ≤ 4"),
            part="containment",
            planted=(
                Planted(
                    "the last token read twice",
                    swap("state_after", lambda right: lambda system, prefix: right(system, (*prefix, prefix[-1]))),
                ),
                Planted("twice the state in closed form", swap("closed_form", changed(lambda h: 2 * h))),
            ),
        ),
        Check(
            "S6",
            exact_check(
                check_contained, selective_runs, "constant and token-dependent rational clocks", "D×N ≤ 2×3, M, L ≤ 3", 0.5
            ),
            part="containment",
            planted=(
                Planted(
                    "the last token read twice",
                    swap("state_after", lambda right: lambda system, prefix: right(system, (*prefix, prefix[-1]))),
                ),
                Planted("twice the state in closed form", swap("closed_form", changed(lambda h: 2 * h))),
            ),
        ),
        Check(
            "Mamba-2",
            exact_check(check_contained, mamba2_runs, "one head, and two that share B and C", "P, N ≤ 2, M, L ≤ 3", 0.5),
            part="containment",
            planted=(
                Planted(
                    "the last token read twice",
                    swap("state_after", lambda right: lambda system, prefix: right(system, (*prefix, prefix[-1]))),
                ),
                Planted("twice the state in closed form", swap("closed_form", changed(lambda h: 2 * h))),
            ),
        ),
        Check(
            "convolution",
            exact_check(check_window, conv_runs, "window = last K − 1 tokens, prefixes shorter than it included", "K ≤ 4", 0.5),
            part="window",
            planted=(
                Planted(
                    "the window emptied",
                    swap("state_after", lambda right: lambda system, prefix: emptied(system, right(system, prefix).h)),
                ),
            ),
        ),
        Check(
            "re-fitted state",
            exact_check(
                check_refit,
                lambda: conv_runs(selective_inside=False),
                "equal from t = K − 1 on, K with a skip",
                "K ≤ 4, N ≤ 3",
                0.5,
            ),
            part="re-fit",
            planted=(Planted("h kept as it is", swap("refit_state", lambda _: lambda conv, state: state.h)),),
        ),
        Check(
            "S6 cannot re-fit",
            exact_check(check_selective_window, squared, "two inputs need different h'", "D = N = 1, K = 2", 0.5),
            part="no re-fit for S6",
            planted=(
                Planted(
                    "a tap that reads no earlier token",
                    on(lambda: Squared(Fraction(1), Fraction(0), Fraction(1, 2), Fraction(1))),
                ),
            ),
        ),
        Check(
            "worked example",
            worked_example,
            part="re-fit",
            planted=(Planted("h kept as it is", swap("refit_state", lambda _: lambda conv, state: state.h)),),
        ),
        Check(
            "float recurrence",
            float_route,
            part=None,
            planted=(
                Planted("a state off by one part in a million", swap("closed_form", changed(lambda h: h * (1 + 2.0**-20)))),
            ),
        ),
    ),
    assumptions=ASSUMPTIONS,
    readme="theory/prefix_state/contained/README.md",
    not_claimed=(
        "Nothing about the converse (prefix_state.equivalent, prefix_state.selective). Prompts before the first layer of a deep "
        "model also change what later layers see: prefix_state.depth."
    ),
)
