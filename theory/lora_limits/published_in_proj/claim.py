r"""lora_limits.published_in_proj: without a rank condition in_proj alone does not do what selectors and out_proj do."""

from __future__ import annotations

import numpy as np
import sympy
from hypothesis import strategies as st

from theory.core import linalg
from theory.verification.claim import Assumption, Check, Claim, Counterexample, Outcome, Part, Planted, Profile, Verdict
from theory.verification.planted import giving, swap
from theory.verification.refutation import require

from ..in_proj_dominates.block import in_proj_update, out_of_reach
from ..in_proj_dominates.claim import reproduced
from ..in_proj_dominates.instances import Task, tasks, tied_rows


def witness(_: Profile) -> Outcome:
    """One to three channels, both clocks: the Taylor coefficients of the outputs leave no in_proj, real or complex."""
    sizes = (1, 2, 3)
    for d in sizes:
        task = tied_rows(d)
        require(not in_proj_update(task.frozen, task.target).possible, f"D = {d}: the rows can be matched")
        for clock in ("rational", "softplus") if d == 1 else ("rational",):
            require(out_of_reach(task.frozen, task.target, clock=clock), f"D = {d}, {clock} clock: an in_proj is left")
    how = "equations for W_in generate the unit ideal (Gröbner basis), softplus over Q(ln 2)"
    return Outcome(Verdict.EXACT, how, "D = 1, 2, 3; d_model = N = 1", len(sizes) + 1)


def cubic(p: sympy.Expr) -> sympy.Expr:
    """p³ − 2: what the coefficient of u³ asks of W_in = p."""
    return p**3 - 2


def by_hand(_: Profile) -> Outcome:
    """D = 1: the two lowest coefficients of the first output contradict each other, for both clocks, with symbols."""
    p, u, s = sympy.symbols("p u s")
    for clock, low in ((sympy.log(1 + sympy.exp(s)), 1), (1 / (1 + s**2), 2)):
        difference = clock.subs(s, p * u) * p**3 - 2 * clock.subs(s, u)  # of the first outputs, over u³
        first, second = (sympy.diff(difference, u, k).subs(u, 0) for k in (0, low))
        ratio = sympy.simplify(second / sympy.diff(clock, s, low).subs(s, 0))
        require(sympy.simplify(first / clock.subs(s, 0) - cubic(p)) == 0, f"{clock}: the coefficient of u³")
        require(sympy.expand(ratio - (p ** (3 + low) - 2)) == 0, f"{clock}: the next coefficient")
        require(sympy.gcd(cubic(p), p ** (3 + low) - 2) == 1, f"{clock}: a common root is left")
    how = "p³ = 2 and p^(3+k) = 2 have no common root, k = 1 for softplus and 2 for 1/(1 + s²)"
    return Outcome(Verdict.EXACT, how, "D = d_model = N = 1", instances=2)


def missed(task: Task) -> bool:
    """The refutation's conclusion: no in_proj reproduces the target."""
    return not reproduced(task)


def dependent(task: Task) -> bool:
    """Whether the rows [W_B; W_C; vᵀW_dn; W_out] of the frozen block are dependent."""
    rows = np.concatenate([task.frozen.selectors(), task.frozen.W_out])
    return linalg.rank(rows) < len(rows)


def _independent() -> Task:
    """Four channels, S = I, W_in = 1 and W_B* = 2 W_B: the witness's change where the rows are independent."""
    from ..in_proj_dominates.block import MixerBlock

    eye, one = [[int(i == j) for j in range(4)] for i in range(4)], [[1]] * 4
    parts = {"W_C": eye[1:2], "W_dn": eye[2:3], "v": [1], "W_out": eye[3:], "rates": one, "D_skip": [0] * 4}
    frozen, target = (MixerBlock(W_in=one, W_B=[[k * x for x in eye[0]]], **parts) for k in (1, 2))
    return Task(frozen, target, tied_rows().tokens)


ASSUMPTIONS = (
    Assumption(
        name="dependent rows of S",
        statement="[W_B; W_C; vᵀW_dn; W_out] has less than full row rank, and the target breaks a dependence",
        predicate=dependent,
        having=lambda: st.integers(1, 3).map(tied_rows),
        lacking=tasks,
        conclusion=missed,
        counterexample=Counterexample(
            "independent rows",
            _independent,
            "D = 4, S = I, W_B* = 2 W_B: W_in = (2, 1, 1, 1) reproduces the target",
        ),
    ),
)

CLAIM = Claim(
    id="lora_limits.published_in_proj",
    title="the published lemma on in_proj, read without a rank condition, is refuted",
    statement=(
        "As we read the published lemma (our wording): tuning in_proj alone reproduces any change of W_B, W_C, W_dn and W_out "
        "of a "
        "selective block. Without a condition on the rows S = [W_B; W_C; vᵀW_dn; W_out] it fails, even for equal dynamics, "
        "one clock, "
        "no convolution and no gate: D = d_model = N = 1, all weights 1, W_B* = 2 is reproduced by no W_in, real or complex, "
        "with the "
        "softplus clock or another. With full row rank it holds (in_proj_dominates)."
    ),
    level="block without gate",
    horizon="the first output",
    parts=(
        Part("one channel", argument="derivation"),
        Part("more channels", argument="derivation"),
    ),
    checks=(
        Check(
            "by hand",
            by_hand,
            "one channel",
            planted=(Planted("the channel scaled once only", swap("cubic", lambda _: lambda p: p - 2)),),
        ),
        Check(
            "witness",
            witness,
            "more channels",
            planted=(
                Planted("every target called within reach", swap("out_of_reach", giving(False))),
                Planted(
                    "the frozen block itself as target",
                    swap("in_proj_update", lambda right: lambda frozen, target: right(frozen, frozen)),
                ),
            ),
        ),
    ),
    assumptions=ASSUMPTIONS,
    readme="theory/lora_limits/published_in_proj/README.md",
    not_claimed="How the published wording limits the lemma; whether trained rows are dependent (generic ones are not).",
)
