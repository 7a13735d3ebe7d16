r"""lora_limits.mamba2: what becomes of the limits of LoRA where A is one number a head and the selectors are rows of in_proj."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.scalars import Array
from theory.core.selective import SelectiveSSM
from theory.core.ssd import Mamba2Head
from theory.core.strategies import ENTRIES, mamba2_head, vectors
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
from theory.verification.planted import changed, giving, negated, on, swap
from theory.verification.refutation import existing, require

from ..low_rank import lora_dimension
from .block import Mamba2Block, annihilated, gap_responses, reads_of_out_proj
from .gauge import best_gauge, floor, form, update_rank
from .instances import (
    Task,
    exact,
    full_rank,
    one_head,
    other_out_proj,
    outside,
    reselected,
    retuned,
    shows,
    swapped_groups,
    swapped_heads,
)

# -- A --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Retimed:
    """One head, another decay for it, tokens."""

    head: Mamba2Head
    decay: Fraction
    tokens: tuple[Any, ...]


@st.composite
def retimed(draw: st.DrawFn) -> Retimed:
    """A head with W_x = the first P unit rows, so that S6's channels 1..P read what it reads."""
    head = draw(mamba2_head())
    decay = draw(st.sampled_from([Fraction(1, 2), Fraction(1, 7), Fraction(4, 5)]))
    return Retimed(head, decay, tuple(draw(vectors(head.d_input, 2)) for _ in range(3)))


def as_selective(head: Mamba2Head) -> SelectiveSSM:
    """The S6 module whose first P channels are this head: every entry of A is the head's one number."""
    decay = [[head.decay] * head.n_states] * head.d_input
    return SelectiveSSM(head.W_B, head.W_C, dt=[head.dt] * head.d_input, decay=decay)


def _uneven(right: Any) -> Any:
    """An S6 module of which the last state decays otherwise."""

    def wrong(head: Mamba2Head) -> SelectiveSSM:
        module = right(head)
        decay = module.decay.copy()
        decay[0, -1] = decay[0, -1] / 2
        return SelectiveSSM(module.W_B, module.W_C, dt=list(module.dt), decay=decay)

    return wrong


def check_one_number(r: Retimed) -> None:
    """A head is S6 with equal entries of A, before and after its one number changes, and the change of A has rank one."""
    P, D_skip = r.head.head_dim, r.head.D_skip
    tokens = [list(t) for t in r.tokens]
    logs = []
    for decay in (r.head.decay, r.decay):
        head = Mamba2Head(r.head.W_x, r.head.W_B, r.head.W_C, dt=r.head.dt, decay=decay, D_skip=D_skip)
        module = as_selective(head)
        skip = D_skip * np.array(tokens, dtype=object)[:, :P]
        require(np.all(head.run(tokens)[0] == module.run(tokens)[0][:, :P] + skip), r)
        logs.append(existing(module.decay, r))
    require(linalg.rank(logs[1] - logs[0]) == int(r.decay != r.head.decay), r)  # equal entries, so those of A differ alike


def decide_counts(_: Profile) -> Outcome:
    """A of H heads as a matrix (H, 1): rank 1 expresses all of it and stores one number more than the parameter has."""
    heads = (1, 2, 24, 80, 128)
    for h in heads:
        require(lora_dimension(h, 1, 1) == h and 1 * (h + 1) > h, h)
    how = "r(H + 1 − r) = H at r = 1: no target of A is out of reach; H + 1 numbers stored against H"
    return Outcome(Verdict.EXACT, how, "H = 1, 2, 24, 80, 128", len(heads))


# -- poles ----------------------------------------------------------------------------------------------------------------


def check_poles(task: Task) -> None:
    """Every projection drawn anew: the responses over gaps still obey the recurrence of the frozen decays at rest."""
    frozen = task.frozen.decays_at_rest()
    for u in task.tokens[:2]:
        for v in task.tokens[-2:]:
            require(annihilated(gap_responses(task.target, u, v, task.gaps), frozen), task)


def pole_seen(task: Task) -> bool:
    """The conclusion: the target's responses break the frozen recurrence, so that no projections reach it."""
    u, v = existing(shows(task), task)
    return not annihilated(gap_responses(task.target, u, v, task.gaps), task.frozen.decays_at_rest())


def check_outside(task: Task) -> None:
    """Heads with k decays of their own are seen on H + k gaps."""
    require(pole_seen(task), task)


@dataclass(frozen=True, eq=False)
class Short:
    """Rates of H constant heads, a target's rate, and the target's selectors and values."""

    rates: tuple[int, ...]
    rate: int
    W_B: Array
    W_C: Array
    W_x: Array


@st.composite
def shorts(draw: st.DrawFn) -> Short:
    """H ≤ 3 different rates and another one."""
    rates = draw(st.lists(st.integers(1, 6), min_size=2, max_size=4, unique=True))
    m = [np.array([[draw(ENTRIES.filter(bool)) for _ in range(2)]], dtype=object) for _ in range(3)]
    return Short(tuple(rates[1:]), rates[0], *m)


def imitation(s: Short) -> tuple[Mamba2Block, Mamba2Block]:
    """A target of one head, and H frozen heads whose value rows are multiples of its own: equal on H gaps."""
    zero, one = exact([[0, 0]])[0], exact([[1]])

    def block(rates: tuple[int, ...], scales: Any) -> Mamba2Block:
        h = len(rates)
        values = tuple(x * s.W_x for x in scales)
        return Mamba2Block(values, (one,) * h, (s.W_B,), (s.W_C,), (zero,) * h, (Fraction(0),) * h, rates, (Fraction(0),) * h)

    base = Fraction(1, 2)  # (1 + dt)^{−1} at dt = 1
    powers = [[base ** (k * j) for k in s.rates] for j in range(1, len(s.rates) + 1)]
    scales = existing(linalg.solve(powers, [base ** (s.rate * j) for j in range(1, len(s.rates) + 1)]), s)
    return block(s.rates, scales), block((s.rate,), [Fraction(1)])


def check_short(s: Short) -> None:
    """H gaps are matched with an outside decay, H + 1 are not."""
    student, target = imitation(s)
    u = next(u for u in ([1, 0], [0, 1], [1, 1], [1, 2], [2, 1], [1, 3]) if _answers(s, u))
    token = exact([u])[0]
    ours, theirs = (gap_responses(b, token, token, len(s.rates) + 1) for b in (student, target))
    require(np.all(ours[:-1] == theirs[:-1]), s)
    require(np.any(ours[-1] != theirs[-1]), s)


def _answers(s: Short, u: list[int]) -> bool:
    return bool(np.all([np.any(m @ np.array(u, dtype=object)) for m in (s.W_B, s.W_C, s.W_x)]))


# -- selectors ------------------------------------------------------------------------------------------------------------


def regauged(task: Task) -> Mamba2Block:
    """The frozen block with the target's selectors at the gauge of least rank, group by group."""
    f, t = task.frozen, task.target
    gauges = [best_gauge(*four) for four in zip(f.W_B, f.W_C, t.W_B, t.W_C, strict=True)]
    W_B = tuple(linalg.matmul(g, b) for g, b in zip(gauges, t.W_B, strict=True))
    W_C = tuple(linalg.matmul(linalg.inverse(g).T, c) for g, c in zip(gauges, t.W_C, strict=True))
    return replace(f, W_B=W_B, W_C=W_C)


def total_floor(task: Task) -> int:
    """Σ over groups of rank(K* − K)."""
    f, t = task.frozen, task.target
    return sum(floor(*four) for four in zip(f.W_B, f.W_C, t.W_B, t.W_C, strict=True))


def total_rank(first: Mamba2Block, second: Mamba2Block) -> int:
    """Σ over groups of the ranks of the updates of W_B and W_C."""
    pairs = [*zip(first.W_B, second.W_B, strict=True), *zip(first.W_C, second.W_C, strict=True)]
    return sum(linalg.rank(b - a) for a, b in pairs)


def same_outputs(first: Mamba2Block, second: Mamba2Block, task: Task) -> bool:
    """Whether two blocks agree on a token e_i or e_i + e_j, fewer than H tokens 0 and a token e_k, and on all tokens in a row."""
    t, unit = task.tokens, task.tokens[: task.width]
    sequences = [[u, *[0 * u] * j, v] for u in t for v in unit for j in range(first.heads)] + [t]
    return all(np.all(first.run(s) == second.run(s)) for s in sequences)


def check_selectors(task: Task) -> None:
    """The gauge of least rank costs rank(K* − K) in all and computes the target's function."""
    student = regauged(task)
    require(total_rank(task.frozen, student) == total_floor(task), task)
    require(same_outputs(student, task.target, task), task)


@dataclass(frozen=True, eq=False)
class Gauged:
    """Selectors (W_B, W_C, W_B*, W_C*) and a gauge."""

    four: tuple[Array, Array, Array, Array]
    gauge: Array


@st.composite
def gauged(draw: st.DrawFn) -> Gauged:
    """N ≤ 3, D ≤ N + 2; the frozen selectors may have dependent rows."""
    n = draw(st.integers(1, 3))
    d = n + draw(st.integers(0, 2))
    B, C = (np.array(draw(st.lists(ENTRIES, min_size=n * d, max_size=n * d)), dtype=object).reshape(n, d) for _ in range(2))
    Bt, Ct = (full_rank(draw, n, d) for _ in range(2))
    near = draw(st.booleans())
    four = (B + Bt * int(near), C + Ct * int(near), Bt, Ct)
    return Gauged(four, full_rank(draw, n, n))


def check_floor(g: Gauged) -> None:
    """No gauge goes below rank(K* − K)."""
    require(update_rank(*g.four, g.gauge) >= floor(*g.four), g)


def check_identified(task: Task) -> None:
    """Equal outputs iff equal forms K, where every head has a value that is not zero and W_out is one-to-one."""
    require(identified(task), task)


def identified(task: Task) -> bool:
    """The conclusion: two blocks that differ in W_B and W_C alone agree iff their forms K do."""
    f, t = task.frozen, task.target
    equal = all(
        not np.any(form(*second) - form(*first))
        for first, second in zip(zip(f.W_B, f.W_C, strict=True), zip(t.W_B, t.W_C, strict=True), strict=True)
    )
    return same_outputs(f, t, task) == equal


def attained(task: Task) -> bool:
    """The conclusion: rank(K* − K) is attained. Frozen selectors 0 take rank K* each, since K* = C̃ᵀB̃."""
    f, t = task.frozen, task.target
    if any(np.any(w) for w in (*f.W_B, *f.W_C)):
        return total_rank(f, regauged(task)) == total_floor(task)
    return 2 * sum(linalg.rank(form(b, c)) for b, c in zip(t.W_B, t.W_C, strict=True)) == total_floor(task)


# -- out_proj -------------------------------------------------------------------------------------------------------------


def head_answer(block: Mamba2Block, head: int, first: Array, last: Array, poles: tuple[Fraction, ...]) -> Array:
    """A nonzero multiple of the part with pole γ_head: the responses over gaps with the other poles' recurrence applied."""
    rows = gap_responses(block, first, last, len(poles))
    for k, pole in enumerate(poles):
        if k != head:
            rows = rows[1:] - pole * rows[:-1]
    return np.asarray(rows[0])


def check_out_proj(task: Task) -> None:
    """Rows of in_proj that do what W_out* does give its outputs; where there are none, a head's answer leaves col(W_out^h)."""
    rows = reads_of_out_proj(task.frozen, task.target)
    if rows is not None:
        student = replace(task.frozen, W_x=rows)
        require(same_outputs(student, task.target, task), task)
        return
    require(any(_leaves(task, h) for h in range(task.frozen.heads)), task)


def _leaves(task: Task, head: int) -> bool:
    """Whether some answer of the target's head is no combination of the columns of the frozen W_out^h."""
    poles = task.frozen.decays_at_rest()
    answers = (head_answer(task.target, head, u, v, poles) for u in task.tokens for v in task.tokens)
    return any(linalg.solve(task.frozen.W_out[head], list(a)) is None for a in answers)


def head_by_head(task: Task) -> bool:
    """The conclusion: what no head does alone, the heads do not do together."""
    if reads_of_out_proj(task.frozen, task.target) is not None:
        return True
    f, t = task.frozen, task.target
    joint = np.concatenate(f.W_out, axis=1)
    wanted = sum((t.W_out[h] @ t.W_x[h] for h in range(f.heads)), 0 * (t.W_out[0] @ t.W_x[0]))
    columns = [linalg.solve(joint, list(c)) for c in np.asarray(wanted).T]
    if any(c is None for c in columns):
        return True
    rows = np.array(columns, dtype=object).T.reshape(f.heads, -1, task.width)
    return not same_outputs(replace(f, W_x=tuple(rows)), t, task)


ASSUMPTIONS = (
    Assumption(
        name="A and dt_bias frozen",
        statement="the target's poles at rest differ from the frozen ones, and A and dt_bias are not tuned",
        predicate=lambda t: 7 in t.target.rates,
        having=outside,
        lacking=lambda: outside(inside=True),
        conclusion=pole_seen,
        counterexample=Counterexample(
            "no pole of its own",
            lambda: Task(one_head(), one_head(W_x=(exact([[3]]),)), 2),
            "one head, decay at rest 1/2, W_x* = 3: the target has no other pole, and its own rows reach it",
        ),
    ),
    Assumption(
        name="as many gaps as poles",
        statement="responses over at least H + k gaps are compared, k the number of the target's other poles",
        predicate=lambda t: t.gaps >= len({*t.frozen.decays_at_rest(), *t.target.decays_at_rest()}),
        having=outside,
        lacking=lambda: outside(gaps=0),
        conclusion=pole_seen,
        counterexample=Counterexample(
            "one gap",
            lambda: Task(one_head(), one_head(rates=(7,)), 1),
            "one head, decay at rest 1/2 against 1/128: one response fits any decay",
        ),
    ),
    Assumption(
        name="independent rows of the frozen selectors",
        statement="W_B and W_C (and the target's) have full row rank",
        predicate=lambda t: all(linalg.rank(w) == len(w) for w in (*t.frozen.W_B, *t.frozen.W_C, *t.target.W_B, *t.target.W_C)),
        having=reselected,
        lacking=lambda: reselected(frozen_zero=True),
        conclusion=attained,
        counterexample=Counterexample(
            "silent selectors",
            lambda: Task(one_head(W_B=(exact([[0]]),), W_C=(exact([[0]]),)), one_head()),
            "N = D = 1, W_B = W_C = 0 to 1: rank(K* − K) = 1, but both have to change",
        ),
    ),
    Assumption(
        name="groups of different decays",
        statement="γ_h = exp(A_h φ(β_h)) differ from head to head, where K is to be read off the function",
        predicate=lambda t: len(set(t.frozen.decays_at_rest())) == t.frozen.heads,
        having=reselected,
        lacking=lambda: reselected(exchanged=True),
        conclusion=identified,
        counterexample=Counterexample(
            "groups exchanged",
            swapped_groups,
            "two heads of one decay in two groups, W_B = 1, W_C = 1 and 2 against 2 and 1: one function, other forms",
        ),
    ),
    Assumption(
        name="different decays at rest",
        statement="γ_h = exp(A_h φ(β_h)) differ from head to head",
        predicate=lambda t: len(set(t.frozen.decays_at_rest())) == t.frozen.heads,
        having=other_out_proj,
        lacking=lambda: other_out_proj(equal=True),
        conclusion=head_by_head,
        counterexample=Counterexample(
            "heads exchanged",
            swapped_heads,
            "two equal heads, W_out = (e_1, e_2), target (e_2, e_1): exchanging the rows of in_proj does it",
        ),
    ),
)

CLAIM = Claim(
    id="lora_limits.mamba2",
    title="Mamba-2: A is one number a head, its poles stay under LoRA on projections, selectors cost rank(K* − K)",
    statement=(
        "Mamba-2 block without convolution, gate and norm; x, B, C and dt are rows of in_proj. A: H numbers, of which LoRA of "
        "rank 1 reaches every value and stores H + 1; each change is a rank-one change of S6's A with equal entries. Poles: "
        "with in_proj and out_proj retrained at will, what a token adds j tokens 0 later obeys the recurrence with the roots "
        "γ_h = exp(A_h φ(β_h)); a target with k other poles is missed on H + k gaps and one outside head is, for constant "
        "clocks and different γ_h, matched on H. Selectors: with x, A and the clock kept, different γ_h, W_out^hW_x^h ≠ 0 for "
        "every head and the rows of W_B, W_C independent, the function determines K = W_CᵀW_B and no more, and the least rank "
        "of updates of W_B and W_C together is rank(K* − K), summed over groups. out_proj: for different γ_h and K ≠ 0, in_proj "
        "alone does what W_out* does iff col(W_out*^h W_x^h) ⊆ col(W_out^h) for every head."
    ),
    level="block without convolution, gate and norm",
    horizon="H + 2 to 2H + 1 tokens refute; all L for the positive parts",
    parts=tuple(Part(name, argument="derivation") for name in ("A", "poles", "selectors", "out_proj")),
    checks=(
        Check(
            "one number a head",
            exact_check(check_one_number, retimed, "heads against S6 modules of equal entries", "P, N ≤ 3", 0.5),
            "A",
            planted=(
                Planted("S6 with two different decays", swap("as_selective", lambda right: _uneven(right))),
                Planted("a change of A of rank two", swap("linalg.rank", changed(lambda r: 2 * r + 1))),
            ),
        ),
        Check(
            "counts",
            decide_counts,
            "A",
            planted=(Planted("the gauge forgotten", swap("lora_dimension", changed(lambda n: n + 1))),),
        ),
        Check(
            "poles stay",
            exact_check(check_poles, retuned, "gap responses against the frozen recurrence", "H ≤ 3, P, N ≤ 2, D ≤ 3", 0.3),
            "poles",
            planted=(
                Planted("A tuned as well", on(lambda: Task(one_head(), one_head(rates=(2,)), 2))),
                Planted("dt_bias tuned as well", on(lambda: Task(one_head(), one_head(bias=(Fraction(1),)), 2))),
                Planted("no gap between", swap("annihilated", giving(False))),
            ),
        ),
        Check(
            "an outside pole shows",
            exact_check(check_outside, outside, "k heads of other rates, H + k gaps", "H ≤ 3, P, N ≤ 2, D ≤ 3", 0.3),
            "poles",
            planted=(Planted("one gap too few", on(lambda: Task(one_head(), one_head(rates=(7,)), 1))),),
        ),
        Check(
            "H gaps are matched",
            exact_check(check_short, shorts, "value rows solved from a Vandermonde system", "H ≤ 3", 0.3),
            "poles",
            planted=(Planted("a frozen pole", on(lambda: Short((1, 2), 2, *[exact([[1, 1]])] * 3))),),
        ),
        Check(
            "the least gauge",
            exact_check(
                check_selectors, reselected, "the gauge constructed, both blocks run", "N ≤ 3, D ≤ 3, 1 or 2 groups", 0.15
            ),
            "selectors",
            planted=(
                Planted(
                    "no gauge at all",
                    swap(
                        "best_gauge", lambda _: lambda b, *rest: exact([[i == j for j in range(len(b))] for i in range(len(b))])
                    ),
                ),
                Planted("C scaled as B", swap("linalg.inverse", lambda _: lambda g: g)),
            ),
        ),
        Check(
            "no gauge below",
            exact_check(check_floor, gauged, "rank(K* − K) against drawn gauges", "N ≤ 3, D ≤ 5"),
            "selectors",
            planted=(Planted("twice the rank as floor", swap("floor", changed(lambda r: 2 * r))),),
        ),
        Check(
            "K is what the function shows",
            exact_check(check_identified, reselected, "outputs on pairs and triples of e_i, e_i + e_j", "N ≤ 3, D ≤ 3", 0.3),
            "selectors",
            planted=(
                Planted("equal forms called different", swap("form", changed(lambda k: k[:, ::-1] * 0))),
                Planted("equal outputs called different", swap("same_outputs", negated)),
            ),
        ),
        Check(
            "out_proj, head by head",
            exact_check(
                check_out_proj, other_out_proj, "rows run; else an answer outside the columns", "H ≤ 3, P ≤ 2, d ≤ 3", 0.3
            ),
            "out_proj",
            planted=(
                Planted("every target called within reach", swap("reads_of_out_proj", lambda _: lambda f, t: t.W_x)),
                Planted("none called within reach", swap("reads_of_out_proj", giving(None))),
            ),
        ),
    ),
    assumptions=ASSUMPTIONS,
    readme="theory/lora_limits/mamba2/README.md",
    source="our formulation",
    not_claimed=(
        "Convolution, gate and RMSNorm before out_proj; the least rank of one LoRA over the rows of in_proj that hold B and C, "
        "which lies between half of rank(K* − K) and rank(K* − K), and of one that changes x too, which may be less; heads "
        "whose decays at rest are equal."
    ),
)
