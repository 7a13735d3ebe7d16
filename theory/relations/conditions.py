"""Every condition of the lattice's facts on two small systems: with it the relation stands, without it the relation breaks.

Each entry runs the claims' own functions. ``stands`` looks at an instance that has the condition, ``breaks`` at one that lacks it
and has everything else that its fact asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from ..core import linalg
from ..core.lti import LTI
from ..core.scalars import is_zero
from ..core.selective import SelectiveSSM
from ..core.ssd import Mamba2Head


class Pair(NamedTuple):
    """Both sides of a condition; each returns True where the systems show what it says."""

    stands: Callable[[], bool]
    breaks: Callable[[], bool]


_TWO = LTI(["1/2", "1/3"], [1, 1], [1, 1])


def _equivalent(system: LTI, tokens: int, horizon: int | None = None) -> bool:
    from ..prefix_state.equivalent.claim import criterion

    return criterion(system, tokens, horizon)


def _offset(system: LTI, horizon: int) -> Any:
    from ..prefix_state.state_offset.claim import compare_offset

    return compare_offset(system, horizon)


def _gain(mean: int, var: int) -> bool:
    """Whether no initial state makes up for other residues: on inputs that vary it does not, on constant zero inputs it does."""
    from ..prefix_state.input_independent.risk_floor import state_tuning_risk_floor

    return bool(state_tuning_risk_floor(_TWO, _TWO.replace(c=[2, 1]), mean, var, 4).optimum > 0)


def _answers_zero(system: LTI, inputs: list[int]) -> bool:
    """Whether an initial state shows in the outputs of a zero input, which no weights of a system at rest answer."""
    return all(x == 0 for x in inputs) and any(not is_zero(y) for y in system.run(inputs, [1] * system.n_states)[0])


def _moves_kernel(residue: int) -> bool:
    """Whether moving a mode changes the kernel."""
    from ..core.function_equality import same_function

    return not same_function(LTI(["1/2"], [1], [residue]), LTI(["1/3"], [1], [residue]))


def _escapes_support(modes: list[str]) -> bool:
    """Whether doubled residues are out of reach where the first state alone is tuned: a second state keeps its own."""
    from ..core.function_equality import essential_modes

    frozen, target = LTI(modes, [1] * len(modes), [1] * len(modes)), LTI(modes, [1] * len(modes), [2] * len(modes))
    kept, wanted = essential_modes(frozen).residues, essential_modes(target).residues
    return any(residue != kept[mode] for mode, residue in list(wanted.items())[1:])


def _support_does(residues: list[int]) -> bool:
    """Whether SDT on modes and residues of two of three states does what LoRA on A does, by the number of modes.

    LoRA moves all three. The support has to give every new mode that shows, and to cancel the third state where that shows.
    """
    from ..core.function_equality import essential_modes, same_function

    moved, kept = LTI(["1/7", "1/11", "1/13"], [1, 1, 1], residues), LTI(["1/5"], [1], [residues[2]])
    wanted, cancelled = essential_modes(moved).residues, essential_modes(kept).residues
    if len(wanted) + len(cancelled) > 2:
        return False
    tuned = LTI([*cancelled, *wanted, "1/5"], [1, 1, 1], [*(-r for r in cancelled.values()), *wanted.values(), residues[2]])
    return same_function(tuned, moved)


def _one_row_does(residue: int) -> bool:
    """Whether LoRA of rank 1, which moves one channel's decay, does what SDT does to one decay in each of two channels.

    The second channel's tuned state has the residue; where it is 0 the move is not seen, and where it is not both rows move.
    """
    from ..core.function_equality import same_function

    before, after = (LTI(["1/5", mode], [1, 1], [1, residue]) for mode in ("1/7", "1/11"))
    return same_function(before, after)


def _direct_term_fits(spare: bool) -> bool:
    """Whether a frozen channel gives two outputs a direct term that both read: only with a state to spare."""
    from ..sparse_dims.exact_match.claim import direct_term_fits

    return direct_term_fits((LTI(["1/2", 0], [1, 1], [1, 1]), Fraction(1), spare))


def _offsets_share(length: int) -> int:
    """Dimension of what initial states and state offsets add alike to an S6 module of one decay, ν = 1."""
    from ..prefix_state.selective_offset.claim import Setting, one, shared

    return shared(Setting(one(Fraction(1, 2), 1).module, length), "state", "offset (h)")


def _heads_apart(rates: tuple[int, int], read: int = 1) -> bool:
    """Whether no in_proj exchanges what two heads write: with equal decays at rest one does, and where W_C is 0 every one."""
    from ..lora_limits.mamba2.claim import head_by_head, swapped_heads

    task = swapped_heads()
    changed: dict[str, Any] = {"rates": rates, "W_C": tuple(read * w for w in task.frozen.W_C)}
    return head_by_head(replace(task, frozen=replace(task.frozen, **changed), target=replace(task.target, **changed)))


def _leaves_columns(d_model: int) -> bool:
    """Whether one channel that should write e_1 + e_d leaves what W_out = e_1 writes: not for d_model = 1."""
    from ..lora_limits.mamba2.block import reads_of_out_proj
    from ..lora_limits.mamba2.instances import one_head

    first = np.array([[Fraction(int(i == 0))] for i in range(d_model)], dtype=object)
    frozen, target = one_head(W_out=(first,)), one_head(W_out=(first + first[::-1],))
    return reads_of_out_proj(frozen, target) is None


def _shows(weight: str, **silenced: Any) -> bool:
    """Whether a block of one channel and state, all weights 1, answers otherwise once a weight is 2."""
    from ..lora_limits.in_proj_dominates.block import MixerBlock

    names = ("W_in", "W_B", "W_C", "W_dn", "W_out", "rates")
    block = MixerBlock(**({name: [[1]] for name in names} | {"v": [1], "D_skip": [0]} | silenced))
    tokens = [[Fraction(1)], [Fraction(2)]]
    return bool(np.any(replace(block, **{weight: [[2]]}).run(tokens) != block.run(tokens)))


def _term_rank(support: set[tuple[int, int]]) -> int:
    from ..lora_limits.costs import generic_values

    return linalg.rank(generic_values(support, 2, 2))


def _relabelled_rank(frozen: list[list[int]], values: list[list[int]]) -> int:
    """The least rank of a LoRA on A that computes A + values, states relabelled at will."""
    from ..lora_limits.unreachable.relabelling import reaching_update

    target = [[a + v for a, v in zip(row, moved, strict=True)] for row, moved in zip(frozen, values, strict=True)]
    return next(r for r in range(3) if reaching_update(frozen, target, r) is not None)


def _fits(modes: list[Any], lags: int) -> bool:
    from ..lora_limits.spectrum_frozen.poles import fit_with_frozen_modes

    return fit_with_frozen_modes(modes, [Fraction(7, 10) ** j for j in range(lags)], skip=True).possible


def _reaches(w_b: list[int], h0: list[int], decays: tuple[str, str] = ("1/2", "1/3")) -> str:
    from ..prefix_state.reach.selective import reachable_selective

    return reachable_selective(SelectiveSSM([w_b], dt=1, decay=[[decays[0]], [decays[1]]]), [[x] for x in h0]).verdict


def _rank_needed(tokens: int) -> str:
    from ..prefix_state.reach.mamba2 import reachable_mamba2

    head = Mamba2Head([[1, 0, 0, 0], [0, 1, 0, 0]], [[0, 0, 1, 0], [0, 0, 0, 1]], dt=1, decay="1/2")
    return reachable_mamba2(head, [[1, 0], [0, 1]], max_length=tokens).verdict


def _shared_row(h0: int) -> str:
    from ..prefix_state.reach.mamba2 import reachable_mamba2

    return reachable_mamba2(Mamba2Head([[1]], [[1]], dt=1, decay="1/2"), [[h0]]).verdict


def _state_shows(w_c: int, length: int = 2) -> bool:
    """Whether h_0 adds terms linear in small tokens that change from step to step: D_skip's part of any weights does not."""
    scale = Fraction(1, 10**6)
    module = SelectiveSSM([[1]], [[w_c]], dt=1, decay=[["1/2"]])
    added = module.run([[scale]] * length, [[1]])[0] - module.run([[scale]] * length)[0]
    return len(set(added.ravel())) > 1


def _fades(steps: int, halves: bool) -> bool:
    """Whether an initial state's part falls below 1/1000 of its start: after enough steps, where the decays keep falling."""
    module = SelectiveSSM([[0]], [[1]], clock=lambda z: _clock(z, halves), kind="exact")
    tokens = [[Fraction(1) if halves else Fraction(k + 2)] for k in range(steps)]
    y = module.run(tokens, [[1]])[0].ravel()
    return bool(abs(y[-1] / tokens[-1][0]) < Fraction(1, 1000))


def _clock(z: Any, halves: bool) -> tuple[Any, Any]:
    """dt = ln 2 for ever, or steps whose sum stays bounded: decay 1 − 1/z²."""
    decay = Fraction(1, 2) if halves else 1 - 1 / (z[0] * z[0])
    return np.array([Fraction(1)], dtype=object), np.array([[decay]], dtype=object)


def _absorbs(S: list[list[int]], target: list[list[int]], **obstacle: Any) -> bool:
    from ..lora_limits.selector_absorption.claim import Path, absorbed

    rows = [tuple(tuple(Fraction(x) for x in row) for row in m) for m in (S, target)]
    return absorbed(Path(rows[0], rows[1], **obstacle))


def _least_rank(rank: int) -> bool:
    """Whether a LoRA of this rank on W_in is enough for S* = [[1, 1], [1, 2]] over S = I."""
    from ..lora_limits.selector_absorption.absorption import absorb_selectors

    eye = [[1, 0], [0, 1]]
    return (absorb_selectors(eye, eye, eye, [[1, 1], [1, 2]]).rank or 0) <= rank


def _dominates(build: Callable[[int], Any], size: int) -> bool:
    from ..lora_limits.in_proj_dominates.block import in_proj_update, out_of_reach

    task = build(size)
    return in_proj_update(task.frozen, task.target).possible or not out_of_reach(task.frozen, task.target)


def _dominates_everything() -> bool:
    """Independent rows of S, equal dynamics, D_skip = 0: in_proj does what another W_out does."""
    from ..lora_limits.in_proj_dominates.block import MixerBlock, in_proj_update

    eye = np.array([[Fraction(int(i == j)) for j in range(4)] for i in range(4)], dtype=object)
    one = np.array([[Fraction(1)]] * 4, dtype=object)
    parts: dict[str, Any] = {"W_B": eye[:1], "W_C": eye[1:2], "W_dn": eye[2:3], "v": [1], "rates": one, "D_skip": [0] * 4}
    frozen, target = (MixerBlock(W_in=one, W_out=w, **parts) for w in (eye[3:], 2 * eye[3:]))
    return in_proj_update(frozen, target).possible


def _direction(d_model: int) -> bool:
    """Whether selectors leave the direction of the first output alone where W_in* has another: there is one for d_model ≥ 2."""
    from ..lora_limits.in_proj_dominates.block import MixerBlock, separating_input

    eye = np.array([[Fraction(int(i == j)) for j in range(3)] for i in range(3)], dtype=object)
    one = np.array([[Fraction(1)]] * 3, dtype=object)
    frozen = MixerBlock(eye[:, :d_model], eye[:1], eye[:1], eye[:1], [1], eye[:d_model], one, [0] * 3)
    wanted = eye[:, :d_model].copy()
    wanted[0, -1] += 1
    return separating_input(frozen, wanted) is not None


def _factor(w_out: list[list[int]]) -> bool:
    """Whether first outputs (c z)(b* z) W_out z, b* = e_2, are no (c z)(b z) W' z, b = e_1: is b a factor of none?"""
    b, divided = [Fraction(1), Fraction(0)], [[Fraction(x) for x in row] for row in w_out]
    return any(row[0] * b[1] != row[1] * b[0] for row in divided)


def _imitated(channels: int) -> bool:
    from ..lora_limits.spectrum_frozen.imitation import Imitation, imitated_by_channels

    one = Fraction(1)
    return imitated_by_channels(Imitation(channels, (one, one), (one, one), Fraction(1, 4), (one, Fraction(2))))


def _independent_blocks() -> bool:
    """Poles (q, q³) against channels of rates (1, 2): the second state's poles are squares of the first's."""
    from ..lora_limits.spectrum_frozen.invariants import rates_explain

    q = Fraction(1, 2)
    return rates_explain([q, q**2], [1, 2]) and not rates_explain([q, q**3], [1, 2])


def _clocks(w: int) -> bool:
    """Whether A = −2 with β = 0 and A = −1 with e^β = 3 differ: for a constant clock (w = 0) they do not."""
    from ..lora_limits.spectrum_frozen.invariants import SoftplusClock, clocks_differ

    first, second = (SoftplusClock(Fraction(w), Fraction(p), Fraction(a)) for p, a in ((1, -2), (3, -1)))
    return clocks_differ(first, second)


def _certified(layers: int, what: str) -> bool:
    """Whether the certificate at the first shape of so many blocks says that prefixes exceed prompts, or states prefixes."""
    from ..prefix_state.depth.certificates import SHAPES, certify

    return bool(getattr(certify(next(s for s in SHAPES if s.layers == layers)), what))


def _one_block(many_tokens: bool) -> bool:
    """Whether counting tells states from prefixes of one block: not once M·d_model ≥ d_inner (K − 1 + N)."""
    from ..prefix_state.depth.certificates import SHAPES, few_tokens

    shape = replace(SHAPES[0], layers=1)
    return few_tokens(replace(shape, tokens=100) if many_tokens else shape)


def _matches(tuned_u: bool) -> bool:
    """Whether SDT and LoRA reproduce a layer with another u: not where u stays frozen."""
    from ..sparse_dims.exact_match.claim import reaches_direct_term

    return reaches_direct_term((LTI(["1/2"], [1], [1]), Fraction(0), Fraction(0) if tuned_u else Fraction(1)))


def _certified_one() -> bool:
    """Whether one block's prefixes would exceed its prompts: they are the same class, so no certificate can say so."""
    from ..prefix_state.depth.certificates import SHAPES, certify

    return certify(replace(SHAPES[0], layers=1)).prompt_strict


def _relu_has_no_kernel() -> bool:
    """Whether a ReLU layer answers −x otherwise than by −y, so that it has no poles to compare."""
    from ..core.deep_s4 import S4Layer

    layer = S4Layer([LTI(["1/2"], [1], [1])], [[1]])
    return bool(layer.run([[1]])[0][0, 0] != -layer.run([[-1]])[0][0, 0])


def _window_matters(before: bool) -> bool:
    """K = 2, taps (1, 1), prompt 1: tokens at the block's input leave its window, tokens behind the convolution an empty one."""
    from ..core.conv import Conv, ConvState
    from ..prefix_state.reach.window import emptied, state_after

    conv = Conv([1, 1], LTI(["1/2"], [1], [1]))
    left = state_after(conv, [1])
    start: ConvState = left if before else emptied(conv, left.h)
    same = bool(np.all(conv.run([1, 0, 0], start)[0] == conv.run([1, 1, 0, 0])[0][1:]))
    return same is before


def _one_sided() -> bool:
    """Whether tokens z ≥ 0 ever make an entry negative: W_B = (1, 1) adds z_1 (z_1 + z_2) to entry 1."""
    return any(z1 * (z1 + z2) < 0 for z1 in range(4) for z2 in range(4))


def _one_token() -> bool:
    """Whether one token leaves (−1, −2) with W_B = (1, 1): z_1 s = −1, z_2 s = −2 with s = z_1 + z_2 ask for s² = −3."""
    from ..prefix_state.reach.selective import reachable_selective

    module = SelectiveSSM([[1, 1]], dt=1, decay=[["1/2"], ["1/3"]])
    return reachable_selective(module, [[-1], [-2]], max_length=1).verdict == "witness"


def _offset_stays(tokens: Callable[[int], Fraction]) -> bool:
    """Whether C_t h' = W_C z_t h' is still there after thirty tokens."""
    module = SelectiveSSM([[1]], [[1]], dt=1, decay=[["1/2"]])
    readouts = module.inputs([[tokens(t)] for t in range(30)]) @ module.W_C
    return bool(abs(readouts[-1, 0]) > Fraction(1, 1000))


def _two_decays() -> Any:
    from ..lora_limits.in_proj_dominates.instances import two_decays

    return two_decays


def _one_skip() -> Any:
    from ..lora_limits.in_proj_dominates.instances import one_skip

    return one_skip


_EYE, _UPPER = [[1, 0], [0, 1]], [[1, 1], [0, 1]]
_DEAD = LTI(["1/2"], [0], [1])  # shows, but no token moves it
_UNSEEN = LTI(["1/2"], [1], [0])
_DIAGONAL, _COLUMN = {(0, 0), (1, 1)}, {(0, 0), (1, 0)}
_TWIN = [[-1, -2], [-3, -3]]  # the second channel's modes are equal


CONDITIONS: Mapping[str, Pair] = {
    "one layer": Pair(lambda: not _certified_one(), lambda: _certified(2, "prompt_strict")),
    "two layers or more": Pair(lambda: _certified(2, "prompt_strict"), lambda: not _certified_one()),
    "certified shapes": Pair(lambda: _certified(2, "prefix_strict"), lambda: not _one_block(True)),
    "fewer tokens than state dimensions": Pair(lambda: _one_block(False), lambda: not _one_block(True)),
    "one layer or linear activations": Pair(lambda: not _fits(["1/2", "3/10"], 4), lambda: _relu_has_no_kernel()),
    "M ≥ n_obs": Pair(lambda: _equivalent(_TWO, 2), lambda: not _equivalent(_TWO, 1)),
    "M < n_obs": Pair(lambda: not _equivalent(_TWO, 1), lambda: _equivalent(_TWO, 2)),
    "no observable residue vanishes": Pair(lambda: _equivalent(_TWO, 2), lambda: not _equivalent(_DEAD, 3)),
    "L ≥ n_obs": Pair(lambda: not _equivalent(_TWO, 1, 2), lambda: _equivalent(_TWO, 1, 1)),
    "L > n_obs": Pair(lambda: not _offset(_TWO, 3).offset_in_state, lambda: _offset(_TWO, 2).offset_in_state),
    "no observable mode at 1": Pair(
        lambda: not _offset(_TWO, 3).offset_in_state,
        lambda: _offset(LTI([1], [1], [1], check_stable=False), 3).offset_in_state,
    ),
    "an observable mode": Pair(lambda: not _offset(_TWO, 3).offset_in_state, lambda: _offset(_UNSEEN, 3).offset_in_state),
    "an observable mode outside {0, 1}": Pair(
        lambda: not _offset(_TWO, 3).state_in_offset, lambda: _offset(LTI([0], [1], [1]), 3).state_in_offset
    ),
    "inputs vary": Pair(lambda: _gain(0, 1), lambda: not _gain(0, 0)),
    "zero inputs occur": Pair(lambda: _answers_zero(_TWO, [0, 0]), lambda: not _answers_zero(_TWO, [1, 0])),
    "a mode of nonzero residue is tuned": Pair(lambda: _moves_kernel(1), lambda: not _moves_kernel(0)),
    "residues tuned": Pair(
        lambda: LTI(["1/2"], [1], [1]).kernel(1)[0] != LTI(["1/2"], [1], [2]).kernel(1)[0],
        lambda: LTI(["1/2"], [1], [1]).kernel(1)[0] == LTI(["1/3"], [1], [1]).kernel(1)[0],
    ),
    "SDT on A alone": Pair(
        lambda: LTI(["1/3"], [1], [1]).kernel(1)[0] == LTI(["1/2"], [1], [1]).kernel(1)[0],
        lambda: LTI(["1/3"], [1], [2]).kernel(1)[0] != LTI(["1/2"], [1], [1]).kernel(1)[0],
    ),
    "L > ν": Pair(lambda: _offsets_share(2) == 0, lambda: _offsets_share(1) == 1),
    "W_CᵀW_B not zero": Pair(lambda: _heads_apart((1, 2)), lambda: not _heads_apart((1, 2), 0)),
    "a head's columns of W_out leave a direction out": Pair(lambda: _leaves_columns(2), lambda: not _leaves_columns(1)),
    "A shows in the outputs": Pair(lambda: _shows("rates"), lambda: not _shows("rates", W_C=[[0]])),
    "in_proj shows in the outputs": Pair(lambda: _shows("W_in"), lambda: not _shows("W_in", W_out=[[0]])),
    "out_proj shows in the outputs": Pair(lambda: _shows("W_out"), lambda: not _shows("W_out", W_B=[[0]])),
    "the selectors show in the outputs": Pair(lambda: _shows("W_B"), lambda: not _shows("W_B", W_in=[[0]])),
    "different decays at rest, no conv, gate or norm": Pair(lambda: _heads_apart((1, 2)), lambda: not _heads_apart((1, 1))),
    "rank < term rank of the support": Pair(lambda: _term_rank(_DIAGONAL) > 1, lambda: _term_rank(_COLUMN) <= 1),
    "rank ≥ term rank of the support": Pair(lambda: _term_rank(_COLUMN) <= 1, lambda: _term_rank(_DIAGONAL) > 1),
    "frozen modes distinct in each channel": Pair(
        lambda: _relabelled_rank([[-1, -2], [-3, -4]], [[-5, 0], [0, -7]]) == 2,
        lambda: _relabelled_rank(_TWIN, [[-5, 0], [0, -7]]) == 1,
    ),
    "generic values": Pair(
        lambda: _relabelled_rank([[-1, -2], [-3, -4]], [[-5, 0], [0, -7]]) == 2,
        lambda: _relabelled_rank([[-1, -2], [-3, -4]], [[-1, 0], [0, 0]]) == 1,
    ),
    "the support leaves out a mode": Pair(lambda: _escapes_support(["1/2", "1/3"]), lambda: not _escapes_support(["1/2"])),
    "no frozen residue vanishes": Pair(lambda: not _support_does([1, 1, 1]), lambda: _support_does([0, 0, 1])),
    "every tuned state shows in the outputs": Pair(lambda: not _one_row_does(1), lambda: _one_row_does(0)),
    "a state for the direct term": Pair(lambda: _direct_term_fits(True), lambda: not _direct_term_fits(False)),
    "all channels and states chosen, full rank, u and β tuned": Pair(lambda: _matches(True), lambda: not _matches(False)),
    "L ≥ n_frozen + 2": Pair(lambda: not _fits(["1/2", "3/10"], 4), lambda: _fits(["1/2", "3/10"], 3)),
    "prefix at block inputs": Pair(lambda: _window_matters(True), lambda: _window_matters(False)),
    "free module inputs": Pair(lambda: _reaches([1, 1], [-1, 0]) == "witness", lambda: not _one_sided()),
    "constant clock, distinct decays": Pair(
        lambda: _reaches([1, 1], [-1, -1]) == "witness", lambda: _reaches([1, 1], [-1, -1], ("1/2", "1/2")) == "obstruction"
    ),
    "every row of W_B has two nonzero entries": Pair(
        lambda: _reaches([1, 1], [-1, 0]) == "witness", lambda: _reaches([1, 0], [-1, 0]) == "obstruction"
    ),
    "a row of W_B has one nonzero entry": Pair(
        lambda: _reaches([1, 0], [-1, 0]) == "obstruction", lambda: _reaches([1, 1], [-1, 0]) == "witness"
    ),
    "M large enough": Pair(lambda: _reaches([1, 1], [-1, 2]) == "witness", lambda: not _one_token()),
    "W_C of full row rank": Pair(lambda: _state_shows(1), lambda: not _state_shows(0)),
    "W_C not zero": Pair(lambda: _state_shows(1), lambda: not _state_shows(0)),
    "L ≥ 2": Pair(lambda: _state_shows(1, 2), lambda: not _state_shows(1, 1)),
    "one module": Pair(lambda: not _imitated(1), lambda: _imitated(2)),
    "Σ dt grows without bound": Pair(lambda: _fades(30, True), lambda: not _fades(30, False)),
    "C_t h' does not fade": Pair(
        lambda: _offset_stays(lambda t: Fraction(1)), lambda: not _offset_stays(lambda t: Fraction(1, 2**t))
    ),
    "no conv or activation between": Pair(
        lambda: _absorbs(_EYE, _UPPER), lambda: not _absorbs(_EYE, _UPPER, curvature=Fraction(1, 4))
    ),
    "value path separate": Pair(lambda: _absorbs(_EYE, _UPPER), lambda: not _absorbs(_EYE, _UPPER, shared=True)),
    "S of full row rank": Pair(lambda: _absorbs(_EYE, _UPPER), lambda: not _absorbs([[1, 0], [2, 0]], _EYE)),
    "rank as the target asks": Pair(lambda: _least_rank(2), lambda: not _least_rank(1)),
    "equal rows of A, one clock, no conv, no gate": Pair(_dominates_everything, lambda: not _dominates(_two_decays(), 2)),
    "D_skip = δ1": Pair(_dominates_everything, lambda: not _dominates(_one_skip(), 4)),
    "d_model ≥ 2, equal dynamics": Pair(lambda: _direction(2), lambda: not _direction(1)),
    "W_out of rank two or more": Pair(lambda: _factor([[1, 0], [0, 1]]), lambda: not _factor([[1, 0], [2, 0]])),
    "C_n B_n of the target independent over n": Pair(_independent_blocks, lambda: _imitated(2)),
    "constant clocks, no conv, no gate": Pair(_independent_blocks, lambda: _clocks(1) and not _clocks(0)),
    "the clock depends on the token": Pair(lambda: _clocks(1), lambda: not _clocks(0)),
    "M ≥ min(P·H, N)": Pair(lambda: _rank_needed(2) == "witness", lambda: _rank_needed(1) == "obstruction"),
    "M < min(P·H, N)": Pair(lambda: _rank_needed(1) == "obstruction", lambda: _rank_needed(2) == "witness"),
    "independent projection rows": Pair(lambda: _rank_needed(2) == "witness", lambda: _shared_row(-1) == "obstruction"),
}
"""Condition → its two sides."""
