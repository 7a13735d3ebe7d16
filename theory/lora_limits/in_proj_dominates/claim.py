r"""lora_limits.in_proj_dominates: when in_proj alone does what selectors and out_proj together can do, and why not conversely.

Algorithms (the block, the update, the certificates that none exists): :mod:`.mixer_block`. Instances: :mod:`.mixer_examples`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import sympy
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.scalars import Array
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
from theory.verification.planted import changed, giving, swap
from theory.verification.refutation import existing, require

from ..costs import MODELS
from .block import MixerBlock, in_proj_update, multiple, out_of_reach, parallel, probes, read_rows, row_count, separating_input
from .instances import Converse, Task, converses, one_delay, one_output, one_skip, tasks, tied_rows, two_decays

__all__ = ["CLAIM", "MixerBlock", "in_proj_update", "out_of_reach", "row_count"]

# -- properties -----------------------------------------------------------------------------------------------------------


def reproduced(task: Task) -> bool:
    """Whether in_proj alone reproduces the target function; False only with a proof that no in_proj does."""
    found = in_proj_update(task.frozen, task.target)
    if found.update is None:
        return not out_of_reach(task.frozen, task.target)
    return _equal_outputs(task, found.update)


def _equal_outputs(task: Task, update: Array) -> bool:
    return bool(np.all(task.frozen.run(task.tokens, task.frozen.W_in + update) == task.target.run(task.tokens)))


def check_construction(task: Task) -> None:
    """The update exists, the whole block then gives the target's outputs exactly, and its rank is least."""
    found = in_proj_update(task.frozen, task.target)
    update = existing(found.update, task)
    require(_equal_outputs(task, update), f"{task}: outputs differ")
    gap = linalg.matmul(read_rows(task.target), task.target.W_in) - linalg.matmul(read_rows(task.frozen), task.frozen.W_in)
    require(linalg.rank(update) == found.rank == linalg.rank(gap), task)


def check_extra_rows(task: Task) -> None:
    """With unequal dynamics, a general skip or unequal taps: where an update is found it works, else a dependence is shown."""
    found = in_proj_update(task.frozen, task.target)
    if found.update is None:
        y = np.asarray(found.certificate)
        wanted = linalg.matmul(read_rows(task.target), task.target.W_in)
        require(not np.any(y @ read_rows(task.frozen)) and np.any(y @ wanted), task)
        return
    require(_equal_outputs(task, found.update), f"{task}: outputs differ")


def check_converse(c: Converse) -> None:
    """Whatever the selectors, the first output is a multiple of W_out W_in u; where a token separates, the target's is not.

    Where none does, either the target's scale dt C·B + δ vanishes at every token or the two directions agree at every token.
    """
    frozen, m = c.frozen, np.shape(c.wanted)[1]
    u = separating_input(frozen, c.wanted)
    tokens = probes(m)
    for token in tokens if u is None else [u]:
        require(multiple(c.changed.run([token])[0], frozen.W_out @ (frozen.W_in @ token)), c)
    if u is not None:
        require(not multiple(c.target.run([u])[0], frozen.W_out @ (frozen.W_in @ u)), c)
        return
    agree = all(parallel(frozen.W_out @ (c.wanted @ x), frozen.W_out @ (frozen.W_in @ x)) for x in tokens)
    b, k = (np.ravel(row @ c.wanted) for row in (frozen.W_B, frozen.W_C))
    silent = frozen.D_skip[0] == 0 and (not np.any(b) or not np.any(k))
    require(agree or silent, c)  # dt C·B + δ is δ at u = 0, so it vanishes everywhere only if δ = 0 and B or C is zero


def missed(c: Converse) -> bool:
    """Whether the changed selectors fail to reproduce the target, on single tokens and on a pair."""
    m = np.shape(c.wanted)[1]
    grid = [u * k for u in probes(m) for k in (1, 2)]
    runs = [*([u] for u in grid), [grid[0], grid[-1]], [grid[-1], grid[0], grid[1]]]
    return any(np.any(c.changed.run(r) != c.target.run(r)) for r in runs)


# -- routes ---------------------------------------------------------------------------------------------------------------

_FAMILIES = ((tied_rows, (1, 2, 3)), (two_decays, (2, 3, 4)), (one_skip, (4, 5, 6)), (one_delay, (4, 5, 6)))


def breaking_systems(_: Profile) -> Outcome:
    """Every system above at three sizes: no in_proj reproduces the target, with the rational clock and, smallest, softplus."""
    data, count = {}, 0
    for build, sizes in _FAMILIES:
        for i, d in enumerate(sizes):
            task = build(d)
            require(not in_proj_update(task.frozen, task.target).possible, (build.__name__, d))
            for clock in ("rational", "softplus") if i == 0 else ("rational",):
                require(out_of_reach(task.frozen, task.target, clock=clock), (build.__name__, d, clock))
                count += 1
        data[build.__name__] = list(sizes)
    how = "Taylor coefficients of the outputs generate the unit ideal: no in_proj, real or complex, reproduces the target"
    return Outcome(Verdict.EXACT, how, "three D each, d_model = 1, two tokens", count, data={"D": data})


# -- symbolic, float, counts ----------------------------------------------------------------------------------------------


def first_output(dt: Any, c: Any, b: Any, delta: Any, out: Any) -> Any:
    """(dt C·B + δ) W_out z."""
    return (dt * (c.T * b)[0] + delta) * out


def prove_symbolically(_: Profile) -> Outcome:
    """out_t as a function of S z alone, with symbols: D = 3, N = 1 and 2, two tokens."""
    d, identities = 3, 0
    for n in (1, 2):
        z = [sympy.Matrix(d, 1, sympy.symbols(f"z{t}_0:{d}")) for t in range(2)]
        b, c = (sympy.Matrix(n, d, sympy.symbols(f"{s}0:{n * d}")) for s in "bc")
        o = sympy.Matrix(1, d, sympy.symbols(f"o0:{d}"))
        dt, e = sympy.symbols("dt0:2"), [sympy.symbols(f"e{t}_0:{n}") for t in range(2)]
        delta = sympy.Symbol("delta")
        h = sympy.zeros(d, n)
        outputs = []
        for t in range(2):
            h = h * sympy.diag(*e[t]) + dt[t] * z[t] * (b * z[t]).T
            outputs.append((o * (h * (c * z[t]) + delta * z[t]))[0])
        B, C, O = ([m * v for v in z] for m in (b, c, o))  # noqa: E741  (what S reads at each token)
        first = first_output(dt[0], C[0], B[0], delta, O[0][0])
        second = (
            (C[1].T * sympy.diag(*e[1]) * B[0])[0] * dt[0] * O[0][0]
            + dt[1] * (C[1].T * B[1])[0] * O[1][0]
            + delta * O[1][0]
        )  # fmt: skip
        require(sympy.expand(outputs[0] - first) == 0)
        require(sympy.expand(outputs[1] - second) == 0)
        identities += 2
    return Outcome(
        Verdict.EXACT,
        "out_t is a polynomial in B_s, C_t, W_out z_s and the clock alone, so S W_in = S* W_in* suffices; the first output is "
        "(dt C·B + δ) W_out W_in u (every size and length: README)",
        "D = 3, N ≤ 2, two tokens with symbols",
        instances=identities,
    )


def float_route(profile: Profile) -> Outcome:
    """S6 with its softplus clock in float64: the whole block before and after."""
    rng = np.random.default_rng(profile.seed)
    worst, kappa, count = 0.0, 1.0, profile.scaled(0.1)
    m, n, r, length = 4, 3, 2, 12
    d = row_count(m, n) + 3
    rates = np.tile(np.arange(1.0, n + 1), (d, 1))
    for _ in range(count):
        v, skip = rng.standard_normal(r), np.full(d, rng.standard_normal())
        sizes = ((d, m), (n, d), (n, d), (r, d), (m, d))
        weights = [[rng.standard_normal(size) / np.sqrt(size[1]) for size in sizes] for _ in range(2)]
        frozen, target = (MixerBlock(w[0], w[1], w[2], w[3], v, w[4], rates, skip) for w in weights)
        s, t = (np.concatenate([b.selectors(), b.W_out]) for b in (frozen, target))
        update = np.linalg.lstsq(s, t @ target.W_in - s @ frozen.W_in, rcond=None)[0]
        kappa = max(kappa, float(np.linalg.cond(s)))
        u = rng.standard_normal((length, m))
        right = target.run(u)
        worst = max(worst, float(np.abs(frozen.run(u, frozen.W_in + update) - right).max() / np.abs(right).max()))
    allowed = budget(length * d, kappa)
    require(worst <= allowed, f"outputs differ by {worst:.1e}, budget {allowed:.1e}")
    how = "outputs after the update, largest difference within its error budget"
    return Outcome(Verdict.NUMERIC, how, f"D = {d}, N = {n}, L = {length}", count, tolerance=allowed, condition=kappa)


def model_counts(_: Profile) -> Outcome:
    """Rows against d_inner for the released Mamba models."""
    rows = []
    for name, m in MODELS.items():
        plain, general = (row_count(m["d_model"], m["d_state"], general_skip=g) for g in (False, True))
        rows.append({"model": name, "d_inner": m["d_inner"], "rows": plain, "rows_general_skip": general})
        require(plain <= m["d_inner"] < general)
    first = rows[0]
    how = f"{first['model']}: {first['rows']} ≤ {first['d_inner']} rows, with a general skip {first['rows_general_skip']} > that"
    return Outcome(Verdict.EXACT, how, "130m to 2.8b, N = 16", len(rows), data={"table": rows})


# -- assumptions ----------------------------------------------------------------------------------------------------------


def _independent(task: Task) -> bool:
    rows = np.concatenate([task.frozen.selectors(), task.frozen.W_out])
    return linalg.rank(rows) == len(rows)


def _assumption(name: str, statement: str, predicate: Any, kind: str, example: Counterexample) -> Assumption:
    return Assumption(
        name=name,
        statement=statement,
        predicate=predicate,
        having=tasks,
        lacking=lambda: tasks(kind),
        conclusion=reproduced,
        counterexample=example,
    )


ASSUMPTIONS = (
    _assumption(
        "independent rows of S",
        "[W_B; W_C; vᵀW_dn; W_out] has full row rank, possible where 2N + 1 + d_model ≤ d_inner",
        _independent,
        "deficient",
        Counterexample(
            "all rows read one channel",
            tied_rows,
            "D = d_model = N = 1, all weights 1, W_B* = 2: with W_in = p the output's u³ asks p³ = 2 and the clock asks p = 1",
        ),
    ),
    _assumption(
        "equal dynamics",
        "all channels have one row of A",
        lambda t: len({tuple(row) for row in t.frozen.rates}) == 1,
        "dynamics",
        Counterexample(
            "two decays",
            two_decays,
            "D = 2, rows −1 and −2, W_B = W_C = W_dn = e_1, W_out = (1, 1), W_out* = (2, 1): the clock asks W_in,1 = 1, the slow "
            "decay asks W_in,1 = 2; with equal rows W_in,2 = 2 would do",
        ),
    ),
    _assumption(
        "D_skip = δ1",
        "the skip is the same in every channel",
        lambda t: len(set(t.frozen.D_skip)) == 1,
        "skip",
        Counterexample(
            "a skip in one channel",
            one_skip,
            "d_model = 1, D = 4, D_skip = e_1, W_out = e_4, W_out* = e_1 + e_4: the target has the linear term u, the frozen "
            "block only terms of degree three and more",
        ),
    ),
    _assumption(
        "no convolution with different taps",
        "between in_proj and the SSM",
        lambda t: t.frozen.taps is None,
        "taps",
        Counterexample(
            "one delayed channel",
            one_delay,
            "D = 4, channel 2 delayed by one token, W_out = e_4, W_out* = e_2 + e_4: the target's second output has u_1² u_2, "
            "the frozen block's has not",
        ),
    ),
    Assumption(
        name="d_model ≥ 2, for the converse",
        statement="outputs have a direction, and W_out W_in* u differs from W_out W_in u in it",
        predicate=lambda c: np.shape(c.wanted)[1] >= 2,
        having=lambda: converses(separated=True),
        lacking=lambda: converses((1,)),
        conclusion=missed,
        counterexample=Counterexample(
            "one output",
            one_output,
            "d_model = 1, D = 3, W_in = 1, W_out = (1, 1, 1), W_in* = (2, 1, 1): W_B = (8/3) e_1 reproduces the target",
        ),
    ),
)

CLAIM = Claim(
    id="lora_limits.in_proj_dominates",
    title="with one decay row, one clock, no convolution and no gate, in_proj alone does what selectors and out_proj do",
    statement=(
        "Equal rows of A, one clock (W_up = 1vᵀ, β = β₀1), no convolution, no input-dependent gate, D_skip = δ1, all of them "
        "shared with the target. If S = [W_B; W_C; vᵀW_dn; W_out] has full row rank (2N + 1 + d_model ≤ d_inner), some Δ on W_in "
        "makes the frozen block compute any target (W_in*, W_B*, W_C*, W_dn*, W_out*): S(W_in + Δ) = S* W_in*, whose solutions "
        "have least rank rank(S* W_in* − S W_in). With a general D_skip the rows W_out diag(D_skip) join S. Converse, "
        "d_model ≥ 2, W_out frozen: selectors cannot change the direction of the first output, W_out W_in u."
    ),
    level="block without gate",
    horizon="all; the converse from the first token on",
    parts=(
        Part("construction", argument="derivation"),
        Part("converse", argument="derivation"),
    ),
    checks=(
        Check(
            "symbolic identity",
            prove_symbolically,
            part="construction",
            planted=(
                Planted(
                    "a first output without its skip",
                    swap("first_output", lambda right: lambda dt, c, b, delta, out: right(dt, c, b, 0, out)),
                ),
            ),
        ),
        Check(
            "construction",
            exact_check(
                check_construction,
                tasks,
                "whole block run before and after, rational clock; least rank",
                "d_model, N ≤ 2, D ≤ 7",
            ),
            part="construction",
            planted=(
                Planted(
                    "twice the update",
                    swap(
                        "in_proj_update",
                        changed(lambda found: replace(found, update=None if found.update is None else 2 * found.update)),
                    ),
                ),
                Planted(
                    "one more than the least rank",
                    swap("in_proj_update", changed(lambda found: replace(found, rank=(found.rank or 0) + 1))),
                ),
            ),
        ),
        Check(
            "extra rows",
            exact_check(
                check_extra_rows,
                lambda: st.one_of(
                    *(tasks(kind, wide=wide) for kind in ("dynamics", "skip", "taps") for wide in (False, True)),
                    tasks("deficient"),
                ),
                "groups of equal dynamics, skip rows and taps stacked: solved and run, or a broken dependence",
                "d_model, N ≤ 2, D ≤ 7",
            ),
            part="construction",
            planted=(
                Planted(
                    "twice the update",
                    swap(
                        "in_proj_update",
                        changed(lambda found: replace(found, update=None if found.update is None else 2 * found.update)),
                    ),
                ),
                Planted(
                    "a certificate that is no dependence",
                    swap(
                        "in_proj_update",
                        changed(
                            lambda found: replace(
                                found, certificate=None if found.certificate is None else 0 * np.asarray(found.certificate) + 1
                            )
                        ),
                    ),
                ),
            ),
        ),
        Check(
            "first token",
            exact_check(
                check_converse,
                converses,
                "first output of any selectors parallel to W_out W_in u, the target's not; else why no token separates",
                "d_model 2, 3 and 4",
            ),
            part="converse",
            planted=(
                Planted("all outputs called multiples", swap("multiple", giving(True))),
                Planted("no output called a multiple of itself", swap("multiple", giving(False))),
                Planted("no token called separating", swap("separating_input", giving(None))),
            ),
        ),
        Check(
            "systems that break the assumptions",
            breaking_systems,
            part=None,
            planted=(Planted("all targets called within reach", swap("out_of_reach", giving(False))),),
        ),
        Check(
            "softplus clock in float64",
            float_route,
            part=None,
            planted=(
                Planted(
                    "an update off by one part in a million",
                    swap("np.linalg.lstsq", changed(lambda found: (found[0] * (1 + 2.0**-20), *found[1:]))),
                ),
            ),
        ),
        Check(
            "released models",
            model_counts,
            part=None,
            planted=(Planted("rows of one model too few", swap("row_count", changed(lambda rows: 2 * rows))),),
        ),
    ),
    assumptions=ASSUMPTIONS,
    readme="theory/lora_limits/in_proj_dominates/README.md",
    not_claimed=(
        "Far from a real Mamba block: equal rows of A and D_skip = 1 hold there at the start of pretraining only, the clock "
        "differs between channels, the convolution has taps of its own per channel, and a SiLU and an input-dependent gate "
        "stand between. The statement explains a tendency; it does not rank methods on Mamba. The rank is that of updates which "
        "match all rows; as a function, other scales of B, C and the outputs are free and can need less."
    ),
)
