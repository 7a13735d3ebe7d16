"""The bridge: the systems that the code runs are the systems that the theorems are about.

Small random rational instances are computed by this package's exact arithmetic, and each value is stated as a goal about
Rocq's definition of the same system. Rocq closes the goals by computation in the field of ``bridge/rationals.v``. A goal
with a wrong value has no proof, so a definition that differs from the code stops ``make proofs``.
"""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from theory.core.conv import Conv, ConvState
from theory.core.gramians import hankel_matrix
from theory.core.linalg import rank_factors
from theory.core.lti import LTI
from theory.core.scalars import gaussian, imag, real
from theory.core.selective import SelectiveSSM
from theory.core.ssd import Mamba2Group, Mamba2Head
from theory.lora_limits.selector_absorption.absorption import absorb_selectors

from .rocq import BUILD, compile_one

SEED = 20260
DRAWS = 2

HEADER = """From Coq Require Import ZArith QArith Qcanon.
From mathcomp Require Import all_ssreflect all_algebra.
From Ssmproof.core Require Import recurrence lti modes s6 ssd half conv.
From Ssmproof.prefix_state Require Import equivalent.
From Ssmproof.bridge Require Import rationals.
Local Open Scope ring_scope.
Ltac unfold_systems := rewrite /hankel /lti_step /half_step /conv_step /s6_step /ssd_step /sel_step /lti_readout /lti_state
  /half_readout /half_state /sel_readout /sel_state /sel_token /ssd_readout /ssd_state /ssd_token /kernel /free_response
  /residue /kappa /conv_out /one_channel /channels; cbn [fst snd].
"""


@dataclass(frozen=True)
class Goal:
    """One equation about Rocq's definitions: its left side, the value that Python computed, and how it is closed."""

    system: str
    left: str
    value: str
    close: str = "compute_scalar"

    def text(self) -> str:
        """The goal and its proof as Rocq source."""
        return f"Goal {self.left} = {self.value}.\nProof. unfold_systems; {self.close}. Qed.\n"


SCALAR, MATRIX = "compute_scalar", "compute_matrix"


def run_goals(system: str, step: str, states: Sequence[str], inputs: Sequence[str], ys: Sequence[str], close: str) -> list[Goal]:
    """Every step (h, x) ↦ (h', y) of a run: the states h_0, …, h_L and the outputs y_1, …, y_L as Rocq source.

    ``close`` is the tactic for a pair of state and output.
    """
    return [
        Goal(system, f"{step} {before} {x}", f"({after}, {y})", close)
        for before, x, after, y in zip(states[:-1], inputs, states[1:], ys, strict=True)
    ]


# -- rationals, vectors and matrices as Rocq source --------------------------------------------------------------------


def number(x: Any) -> str:
    """A rational as ``frac n d``."""
    q = Fraction(x)
    return f"(frac ({q.numerator}) {q.denominator})"


def _list(items: Iterable[str]) -> str:
    return "[:: " + "; ".join(items) + "]"


def vector(values: Any, kind: str = "vec") -> str:
    """``vec``, ``row_of`` or ``col_of`` of the values."""
    return f"({kind} {len(values)} {_list(number(v) for v in values)})"


def matrix(values: Any) -> str:
    """``mat_of`` of the values, shape (rows, columns)."""
    rows = [list(row) for row in values]
    return f"(mat_of {len(rows)} {len(rows[0])} {_list(_list(number(v) for v in row) for row in rows)})"


class Draw:
    """Seeded small rationals."""

    def __init__(self, seed: int):
        self._random = random.Random(seed)

    def one(self, top: int = 5) -> Fraction:
        """A rational with numerator in −top..top and denominator in 1..5."""
        return Fraction(self._random.randint(-top, top), self._random.randint(1, 5))

    def positive(self) -> Fraction:
        """A rational in (0, 1)."""
        d = self._random.randint(2, 7)
        return Fraction(self._random.randint(1, d - 1), d)

    def many(self, *shape: int) -> Any:
        """An object array of rationals."""
        out = np.empty(shape, dtype=object)
        for index in np.ndindex(*shape):
            out[index] = self.one()
        return out


def stepped(system: Any, state: Any, inputs: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """The states h_0, …, h_L and the outputs y_1, …, y_L that the code's own ``step`` gives."""
    states, ys = [state], []
    for x in inputs:
        state, y = system.step(states[-1], x)
        states.append(state)
        ys.append(y)
    return states, ys


# -- the systems -------------------------------------------------------------------------------------------------------


def lti_goals(draw: Draw) -> list[Goal]:
    """Steps, kernel, free response, Hankel entries, residues of one LTI channel (an equal pair of modes included)."""
    n = 3
    a, b, c, h = draw.many(n), draw.many(n), draw.many(n), draw.many(n)
    a[2] = a[0]
    d, xs = draw.one(), draw.many(3)
    system = LTI(a, b, c, d, check_stable=False)
    states, ys = stepped(system, h, xs)
    abc = f"{vector(a)} {vector(b)} {vector(c)}"
    start = vector(h, "row_of")
    goals = run_goals(
        "LTI", f"lti_step {abc} {number(d)}", [vector(s, "row_of") for s in states], [number(x) for x in xs],
        [number(y) for y in ys], f"refine (f_equal2 pair _ _); [{MATRIX} | {SCALAR}]",
    )  # fmt: skip
    goals += [Goal("kernel", f"kernel {abc} {j}", number(k)) for j, k in enumerate(system.kernel(4))]
    free = f"free_response {vector(a)} {vector(c)} {start}"
    goals += [Goal("free response", f"{free} {t + 1}", number(o)) for t, o in enumerate(system.free_response(h, 3))]
    goals.append(Goal("Hankel", f"hankel {abc} 3 2", matrix(hankel_matrix(system, 3, 2)), MATRIX))
    for mode in system.modes():
        goals.append(
            Goal("residue", f"residue {abc} {number(mode.value)}", number(mode.residue), f"rewrite big_mkcond; {SCALAR}")
        )
    return goals


def half_goals(draw: Draw) -> list[Goal]:
    """Steps of a channel that stores one mode of each conjugate pair."""
    n = 2
    parts = [draw.many(n) for _ in range(8)]
    a, b, c, h = ([gaussian(x, y) for x, y in zip(*parts[k : k + 2], strict=True)] for k in (0, 2, 4, 6))
    d, xs = draw.one(), draw.many(3)
    states, ys = stepped(LTI(a, b, c, d, half=True, check_stable=False), np.array(h, dtype=object), xs)
    step = f"half_step {' '.join(vector(p) for p in parts[:6])} {number(d)}"
    pairs = [tuple(vector([part(v) for v in state], "row_of") for part in (real, imag)) for state in states]
    return run_goals(
        "half storage", step, [f"({re}, {im})" for re, im in pairs], [number(x) for x in xs], [number(y) for y in ys],
        f"refine (f_equal2 pair (f_equal2 pair _ _) _); [{MATRIX} | {MATRIX} | {SCALAR}]",
    )  # fmt: skip


def conv_goals(draw: Draw) -> list[Goal]:
    """An LTI channel and an S6 module of two channels behind a causal convolution with a bias."""
    a, b, c, taps, h = draw.many(2), draw.many(2), draw.many(2), draw.many(3), draw.many(2)
    d, xs, window, bias = draw.one(), draw.many(3), draw.many(2), draw.one()
    states, ys = stepped(Conv(taps, LTI(a, b, c, d, check_stable=False), bias), ConvState(window, h), xs)
    inner = f"(lti_step {vector(a)} {vector(b)} {vector(c)} {number(d)})"
    pairs = [f"({_list(number(w) for w in s.window)}, {vector(s.h, 'row_of')})" for s in states]
    goals = run_goals(
        "convolution", f"conv_step (one_channel {vector(taps)}) {number(bias)} {inner}", pairs, [number(x) for x in xs],
        [number(y) for y in ys], f"refine (f_equal2 pair (f_equal2 pair _ _) _); [by [] | {MATRIX} | {SCALAR}]",
    )  # fmt: skip
    # A module that only skips (W_B = W_C = 0, D = 1) puts out what the convolution gives it.
    channels, width = 2, 3
    none, ones = [[0] * channels], [1] * channels
    taps, biases, zs = draw.many(channels, width), draw.many(channels), draw.many(2, channels)
    module = Conv(taps, SelectiveSSM(none, none, dt=1, decay=[["1/2"]] * channels, D_skip=ones), biases)
    states, ys = stepped(module, ConvState(draw.many(width - 1, channels), draw.many(channels, 1)), zs)
    return goals + [
        Goal(
            "convolution, channels",
            f"conv_out (channels {matrix(taps)}) {vector(biases, 'col_of')} {_list(vector(w, 'col_of') for w in state.window)} "
            f"{vector(z, 'col_of')}", vector(y, "col_of"), MATRIX,
        )
        for state, z, y in zip(states[:-1], zs, ys, strict=True)
    ]  # fmt: skip


def s6_goals(draw: Draw) -> list[Goal]:
    """Steps of S6, with a constant clock and with one that reads the token."""
    d_, n = 2, 2
    w_b, w_c, h, zs, skip = draw.many(n, d_), draw.many(n, d_), draw.many(d_, n), draw.many(2, d_), draw.many(d_)
    dt = np.array([draw.positive() for _ in range(d_)], dtype=object)
    decay = np.array([[draw.positive() for _ in range(n)] for _ in range(d_)], dtype=object)
    constant = SelectiveSSM(w_b, w_c, dt=dt, decay=decay, D_skip=skip)
    moving = SelectiveSSM(w_b, w_c, clock=lambda z: (dt + z[0], decay * (1 + z[1] * z[1])), D_skip=skip)
    tail = f"{matrix(w_b)} {matrix(w_c)} {vector(skip)}"
    clocks = {
        "S6 constant clock": (constant, f"(fun _ => {vector(dt)}) (fun _ => {matrix(decay)})"),
        "S6 token clock": (
            moving,
            f"(fun z d => {vector(dt)} d + z 0 0) (fun z => \\matrix_(d, n) ({matrix(decay)} d n * (1 + z 1 0 * z 1 0)))",
        ),
    }
    goals = []
    for name, (system, clock) in clocks.items():
        states, ys = stepped(system, h, zs)
        goals += run_goals(
            name, f"s6_step {clock} {tail}", [matrix(s) for s in states], [vector(z, "col_of") for z in zs],
            [vector(y, "col_of") for y in ys], f"refine (f_equal2 pair _ _); {MATRIX}",
        )  # fmt: skip
    return goals


def mamba2_goals(draw: Draw) -> list[Goal]:
    """Steps of a group of two Mamba-2 heads, stacked."""
    heads, p, n, d_ = 2, 1, 2, 2
    w_x = [draw.many(p, d_) for _ in range(heads)]
    w_b, w_c, us = draw.many(n, d_), draw.many(n, d_), draw.many(2, d_)
    dts, decays = [draw.positive() for _ in range(heads)], [draw.positive() for _ in range(heads)]
    skips, h = [draw.one() for _ in range(heads)], draw.many(heads, p, n)
    group = Mamba2Group([
        Mamba2Head(w, w_b, w_c, dt=dt, decay=g, D_skip=s) for w, dt, g, s in zip(w_x, dts, decays, skips, strict=True)
    ])  # fmt: skip
    states, ys = stepped(group, h, us)
    row_dt, row_decay, row_skip = ([v for v in values for _ in range(p)] for values in (dts, decays, skips))
    clock = f"(fun _ => {vector(row_dt)}) (fun _ => {vector(row_decay)})"
    step = f"ssd_step {clock} {matrix(np.concatenate(w_x))} {matrix(w_b)} {matrix(w_c)} {vector(row_skip)}"
    return run_goals(
        "Mamba-2", step, [matrix(s.reshape(heads * p, n)) for s in states], [vector(u, "col_of") for u in us],
        [vector(y.reshape(heads * p), "col_of") for y in ys], f"refine (f_equal2 pair _ _); {MATRIX}",
    )  # fmt: skip


def lora_goals(draw: Draw) -> list[Goal]:
    """Products of LoRA factors, and an update of in_proj that absorbs changed selectors."""
    left, right = draw.many(3, 2), draw.many(2, 3)
    product = left @ right
    u, v = rank_factors(product)
    base = draw.many(3, 3)
    goals = [
        Goal("LoRA product", f"{matrix(left)} *m {matrix(right)}", matrix(product), MATRIX),
        Goal("LoRA factors", f"{matrix(base)} + {matrix(u)} *m {matrix(v)}", matrix(base + product), MATRIX),
    ]
    s, s_new, w, w_new = draw.many(2, 3), draw.many(2, 3), draw.many(3, 2), draw.many(3, 2)
    match = absorb_selectors(w, s, w_new, s_new)
    if match.update is not None:
        moved, wanted = f"{matrix(s)} *m ({matrix(w)} + {matrix(match.update)})", s_new @ w_new
        goals.append(Goal("absorbed selectors", moved, matrix(wanted), MATRIX))
    return goals


SYSTEMS: tuple[Callable[[Draw], list[Goal]], ...] = (lti_goals, half_goals, conv_goals, s6_goals, mamba2_goals, lora_goals)


def goals(seed: int = SEED, draws: int = DRAWS) -> list[Goal]:
    """All goals, the same for the same seed."""
    draw = Draw(seed)
    return [goal for _ in range(draws) for system in SYSTEMS for goal in system(draw)]


def _fingerprint(texts: Sequence[str], build: Path) -> str:
    """SHA-256 of the goals and of the sources that they are about: what has passed once is not computed again."""
    digest = hashlib.sha256("".join(texts).encode("utf-8"))
    for path in sorted([*build.glob("core/*.v"), *build.glob("bridge/*.v"), *build.glob("prefix_state/equivalent.v")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def check_bridge(build: Path = BUILD, *, chosen: Sequence[Goal] | None = None, jobs: int = 2) -> dict[str, int]:
    """Close every goal in Rocq; how many there are of each system. Raises ProofError for a goal that does not hold.

    Goals that passed in this build folder are not computed again while they and the sources stay as they are.
    """
    todo = goals() if chosen is None else list(chosen)
    folder = build / "goals"
    texts = [HEADER + "".join(goal.text() for goal in todo[part::jobs]) for part in range(min(jobs, len(todo)))]
    key = _fingerprint(texts, build)
    passed = folder / "passed"
    if not (passed.is_file() and passed.read_text(encoding="utf-8") == key):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        paths = []
        for part, text in enumerate(texts):
            paths.append(folder / f"goals_{part}.v")
            paths[-1].write_text(text, encoding="utf-8")
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(lambda path: compile_one(path, build), paths))
        passed.write_text(key, encoding="utf-8")
    counts: dict[str, int] = {}
    for goal in todo:
        counts[goal.system] = counts.get(goal.system, 0) + 1
    return counts
