"""sparse_dims.depth_sharing: identity layers, cancellation at rank D − 1, rank 1 for three channels, counts and the table."""

from __future__ import annotations

from fractions import Fraction as F
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from theory.conftest import GLANCE
from theory.core import linalg
from theory.core.deep_s4 import DeepS4, S4Layer
from theory.core.errors import InvalidInput, InvalidSystem, KindMismatch
from theory.core.lti import LTI
from theory.core.scalars import conj, gaussian
from theory.verification.claim import Assumption, Verdict
from theory.verification.refutation import Refuted

from ..draws import nonzero
from . import assumptions as assumptions
from . import counts as counts
from . import instances as props
from . import proofs as proofs
from .cancellation import cancelling_witness, even_placement, singular_scaling, summarise
from .claim import CLAIM, _random_layer
from .disjoint import diagonal_distance, generic_numbers, rank_bound
from .identity import deeper_witness, identity_layer
from .rank_one import rank_one_obstruction, special_stack
from .table import DECIDED, OPEN_BUDGETS, budget_table, searched
from .transfer import response, same_transfer, single, transfer

PROOFS = (
    proofs.zeroed_one_state,
    proofs.zeroed_any_states,
    proofs.three_layers,
    proofs.transmission_zeros,
    proofs.cancelling_pair,
    proofs.frozen_skip,
    proofs.rank_one_three_channels,
)


@given(props.deeper())
def test_identity_layers(instance: props.Deeper) -> None:
    props.check_identity_layers(instance)


@given(props.solvable_stacks())
def test_cancelling_witness(instance: props.Stack) -> None:
    props.check_cancelling(instance)


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("width", [2, 3, 4])
def test_cancelling_witness_at_every_size(width: int, depth: int) -> None:
    """One stack of prime-like weights per (D, G): exact function, rank exactly D − 1 somewhere."""
    modes = [F(1, k) for k in range(2, 2 + width * (depth + 1))]

    def layer(g: int) -> S4Layer:
        channels = [single(a, 1 + g + d) for d, a in enumerate(modes[g * width : (g + 1) * width])]
        W = [[F((3 * i * i + 5 * j + 7 * i * j * j + 2 * g + 1) % 11 - 4 or 5) for j in range(width)] for i in range(width)]
        return S4Layer(channels, W, None, [1 + d for d in range(width)], "linear")

    frozen, target = [layer(g) for g in range(1, depth + 1)], layer(0)
    found = cancelling_witness(frozen, target)
    assert same_transfer(found.network, target)
    assert max(found.ranks) == width - 1
    assert found.scalars <= 2 * width + 2 * depth


@pytest.mark.parametrize("proof", PROOFS, ids=lambda p: p.__name__)
def test_symbolic_identities(proof: object) -> None:
    assert callable(proof) and proof() > 0


@pytest.mark.parametrize("assumption", CLAIM.assumptions, ids=lambda a: a.name)
def test_assumptions(assumption: Assumption) -> None:
    assert assumption.examine(GLANCE).verdict is Verdict.REFUTED


def test_open_ranks_are_reported_and_decide_nothing() -> None:
    checks = {check.name: check for check in CLAIM.checks}
    assert checks["open ranks"].part is None
    outcome = checks["open ranks"].run(GLANCE)
    assert outcome.verdict is Verdict.OPEN
    assert len(outcome.data["open"]) == len(OPEN_BUDGETS) and outcome.data["calibration"]


@pytest.mark.parametrize("name", ["frozen, D = 3, rank 1", "counting", "budget table"])
def test_checks_with_their_own_routes(name: str) -> None:
    check = next(check for check in CLAIM.checks if check.name == name)
    assert check.run(GLANCE).verdict is Verdict.EXACT


# -- cancellation: twins -----------------------------------------------------------------------------------------------------


@given(props.solvable_stacks(), st.data(), nonzero)
def test_twin_perturbed_stack_is_caught(instance: props.Stack, data: st.DataObject, shift: F) -> None:
    """One entry of u off: T(0) = Π diag(u_g) changes, since no u of the witness is 0 in that row."""
    frozen, target = instance
    layers = list(cancelling_witness(frozen, target).network.layers)
    d = data.draw(st.integers(0, target.n_channels - 1))
    assume(all(layer.u[d] != 0 for layer in layers[1:]))
    u = layers[0].u.copy()
    u[d] += shift
    layers[0] = S4Layer(layers[0].channels, layers[0].W, layers[0].bias, u, "linear")
    assert not same_transfer(layers, target)


@given(props.stacks((2,), (2,)).filter(props.scales_exist))
def test_twin_zero_elsewhere_does_not_cancel(instance: props.Stack) -> None:
    """The zero must sit on the frozen pole: another frozen mode in the last layer, same tuning, another function."""
    frozen, target = instance
    layers = list(cancelling_witness(frozen, target).network.layers)
    last = layers[1]
    moved = [last.channels[0].replace(a=[last.channels[0].a[0] + F(1, 1001)]), last.channels[1]]
    layers[1] = S4Layer(moved, last.W, last.bias, last.u, "linear")
    assert not same_transfer(layers, target)


def test_singular_scaling_solves_the_determinant() -> None:
    columns, W = linalg.from_flint(linalg.to_flint([[1, 2], [3, 4]])), linalg.from_flint(linalg.to_flint([[2, 1], [1, 3]]))
    x = singular_scaling(columns, W, [0, 1])
    assert all(x) and linalg.determinant(columns * x - W) == 0
    with pytest.raises(InvalidSystem, match="no free column"):
        singular_scaling(columns, W, [])


# -- rank 1 for three channels -------------------------------------------------------------------------------------------------


@given(assumptions.specials())
def test_special_stacks_do_reach_rank_one(instance: assumptions.Candidate) -> None:
    frozen, target, found = instance
    assert same_transfer(found.network, target)
    assert found.ranks == (1, 1) and found.tuned == ((0, 1), (2,))
    assert rank_one_obstruction(frozen, target, ((0, 1), (2,)))["cycle"] == 0


def test_generic_stacks_are_excluded() -> None:
    modes = [F(1, k) for k in (2, 3, 5, 7, 11, 13, 17, 19, 23)]
    weights = [[[1, 2, 3], [4, 5, 7], [2, 9, 1]], [[3, 1, 2], [5, 4, 1], [1, 7, 6]], [[2, 3, 1], [1, 1, 4], [5, 2, 2]]]
    layers = [S4Layer([single(a, 1) for a in modes[3 * g : 3 * g + 3]], weights[g], None, [1, 2, 3], "linear") for g in range(3)]
    props.check_rank_one((layers[1:], layers[0]))
    cycle = rank_one_obstruction(layers[1:], layers[0], ((0, 1), (2,)))["cycle"]
    assert cycle == 1 * 1 * 1 - 5 * 7 * 2


def test_twin_a_zero_column_of_the_target() -> None:
    """Generic frozen numbers, W*_3 = 0: the target has two poles, tuned channel 3 is silent, and rank 1 suffices."""

    def layer(modes: list[F], residues: list[F], weights: list[list[F]], u: list[F]) -> S4Layer:
        return S4Layer([single(a, r) for a, r in zip(modes, residues, strict=True)], weights, None, u, "linear")

    def numbers(*values: object) -> list[F]:
        return [F(str(v)) for v in values]

    ones = numbers(1, 1, 1)
    W1, W2 = [numbers(4, 5, 7), numbers(8, 1, 2), numbers(7, 8, 2)], [numbers(3, 7, 4), numbers(3, 7, 3), numbers(4, 6, 5)]
    first, second = numbers("1/19", "1/23", "1/7"), numbers("1/11", "1/13", "1/29")
    frozen = [layer(first, ones, W1, ones), layer(second, ones, W2, ones)]
    columns = [numbers(1, 1, 0), numbers(7, 7, 0), numbers(7, 3, 0)]
    target = layer(numbers("1/2", "1/3", "1/5"), ones, columns, numbers(2, 3, 5))
    tuned = [
        layer(
            numbers("1/2", "1/3", "1/7"), numbers("-9/88", "106/117", 1),
            [numbers(-24, 0, 0), numbers(0, "-3/7", 0), numbers(-1, "46/7", 0)], numbers("6/11", "-53/455", "2694085/422994"),
        ),
        layer(
            second, numbers(1, 1, 0),
            [
                numbers("-8/3", "-105/53", 4), numbers("7/3", "315/53", 3), numbers("14913833/6465804", "94698125/28557301", 5),
            ],
            numbers("11/3", "-1365/53", "422994/538817"),
        ),
    ]  # fmt: skip
    assert same_transfer(tuned, target) and summarise(frozen, tuned).ranks == (1, 1)
    found = rank_one_obstruction(frozen, target, ((0, 1), (2,)))
    assert [name for name, value in found.items() if value == 0] == ["target columns"]
    columns[0][2] = F(1)  # no longer zero: excluded
    assert all(rank_one_obstruction(frozen, layer(numbers("1/2", "1/3", "1/5"), ones, columns, ones), ((0, 1), (2,))).values())


def test_twin_crossed_poles_vanish_where_one_s_meets_both_ratios() -> None:
    """W_1 solved so that s = 1 meets both ratios: the determinant sees it."""
    modes = [F(1, k) for k in (2, 3, 5, 7, 11, 13, 17, 19, 23)]
    target = S4Layer([single(a, 1) for a in modes[:3]], [[1, 2, 3], [4, 5, 7], [2, 9, 1]], None, [1, 2, 3], "linear")
    ratio_j, ratio_k = proofs.swap_ratios((modes[1], modes[2]), (modes[4], modes[5]), F(2, 3))
    W1 = [[F(3), F(1), F(2)], [F(5), F(0), F(1)], [F(1), F(0), F(6)]]
    for row, ratio in ((1, ratio_j), (2, ratio_k)):  # W'_r1 = ratio W'_r2 with W'_rk = W_rk + W_r0 W_0k / s, s = 1
        W1[row][1] = ratio * (W1[row][2] + W1[row][0] * W1[0][2]) - W1[row][0] * W1[0][1]
    frozen = [
        S4Layer([single(a, 1) for a in modes[3:6]], W1, None, [1, 1, 1], "linear"),
        S4Layer([single(a, 1) for a in modes[6:]], [[2, 3, 1], [1, 1, 4], [5, 2, 2]], None, [1, 1, 1], "linear"),
    ]
    assert rank_one_obstruction(frozen, target, ((0,), (1, 2)))["crossed poles"] == 0
    W1[1][1] += 1
    frozen[0] = S4Layer(frozen[0].channels, W1, None, [1, 1, 1], "linear")
    assert rank_one_obstruction(frozen, target, ((0,), (1, 2)))["crossed poles"] != 0


def test_rank_one_errors() -> None:
    modes = [F(1, k) for k in (2, 3, 5)]
    layer = S4Layer([single(a, 1) for a in modes], [[1, 2, 3], [4, 5, 7], [2, 9, 1]], None, [1, 2, 3], "linear")
    with pytest.raises(InvalidInput, match="disjoint"):
        rank_one_obstruction([layer, layer], layer, ((0, 1), (1, 2)))
    with pytest.raises(InvalidSystem, match="G = 3"):
        rank_one_obstruction([layer] * 3, layer, ((0, 1), (2,)))
    with pytest.raises(InvalidInput, match="twelve nonzero"):
        special_stack(layer, modes, [F(1)] * 11)


# -- counts and table ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "states"), [(1, 1), (2, 1), (3, 1), (2, 2), (2, 3)])
def test_target_dimension_is_the_jacobian_rank(width: int, states: int) -> None:
    certificate = counts.target_certificate(width, states)
    assert certificate.rank == counts.target_dimension(width, states) == width * (width + 2 * states)
    assert certificate.n_parameters == certificate.rank + width  # one column scale per channel is no dimension


@pytest.mark.parametrize(("depth", "rank"), [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1)])
def test_tuned_dimension_bounds_the_jacobian_rank(depth: int, rank: int) -> None:
    measured = counts.stack_dimension(depth, 2, rank)
    assert measured <= counts.tuned_dimension(depth, 2, rank, depth)
    if depth == 1:  # one layer: nothing but the scale of the tuned column is redundant
        assert measured == counts.tuned_dimension(1, 2, rank, 1) - (rank == 2)


def test_counts_in_numbers() -> None:
    assert counts.tuned_dimension(2, 10, 2, 10) == 2 * 2 * 18 + 20 + 20 == 112
    assert counts.target_dimension(10, 1) == 120
    assert counts.first_width_refuting(2, 2) == 10 and counts.count_allows(2, 9, 2, 1)
    assert counts.first_width_refuting(3, 3) == 20
    assert counts.least_rank(2, 10, 1) == 3
    assert counts.least_rank(1, 4, 1, u_tuned=False) == 4
    assert counts.least_rank(1, 4, 3, 1) is None
    assert counts.tuned_dimension(2, 3, 7, 3) == counts.tuned_dimension(2, 3, 3, 3)
    with pytest.raises(InvalidInput, match="rank = 0"):
        counts.tuned_dimension(2, 3, 0, 3)


def test_table_shows_what_is_open() -> None:
    rows = budget_table(seeds=1, starts=1)
    assert sum(r["status"] == "OPEN" for r in rows) == len(OPEN_BUDGETS)
    assert all("residuals" in r for r in rows if r["status"] == "OPEN")
    assert {r["status"] for r in rows} == {"witness", "obstruction", "OPEN"}
    assert len(rows) == len(DECIDED) + 2 + len(OPEN_BUDGETS)
    with pytest.raises(Refuted, match="already excluded by the count"):
        searched(10, [tuple(range(5)), tuple(range(5, 10))], 2, seeds=1, starts=1)


# -- identity layers and transfer matrices ------------------------------------------------------------------------------


def test_identity_layer_cuts_negative_inputs() -> None:
    layer = S4Layer([LTI(["1/2"], [1], [1])], [[3]], [2], [5])
    same = identity_layer(layer)
    assert same.run([[2], [0]])[0].tolist() == [[2], [0]]
    assert same.run([[-1]])[0].tolist() == [[0]]


def test_twin_bias_left_in_place_is_no_identity() -> None:
    layer = S4Layer([LTI(["1/2"], [1], [1])], [[3]], [2], [5])
    same = identity_layer(layer)
    twin = S4Layer(same.channels, same.W, layer.bias, same.u)
    assert twin.run([[2]])[0].tolist() == [[4]]


def test_deeper_witness_errors() -> None:
    layer = S4Layer([LTI(["1/2"], [1], [1])], [[3]], [2], [5])
    with pytest.raises(InvalidInput, match="use layer 0"):
        deeper_witness(DeepS4([layer, layer]), DeepS4([layer]), [1])
    with pytest.raises(InvalidInput, match="must name L\\* = 1"):
        deeper_witness(DeepS4([layer, layer]), DeepS4([layer]), [0, 1])


@given(props.stacks((2,), (2,)), st.integers(1, 4))
def test_transfer_is_the_z_transform_of_the_outputs(instance: props.Stack, channel: int) -> None:
    """Σ_j K_j z^{−j} from the simulated impulse response, closed with the geometric tail, equals T(z): here via differences.

    T of the stack times x(z) for x = δ_d must have the simulated outputs as its first Laurent coefficients: at z = 10^60 what
    is left after each is some coefficients over z, far below 10^−30.
    """
    frozen, _ = instance
    d = channel % 2
    outputs = DeepS4([S4Layer(g.channels, g.W, None, g.u, "linear") for g in frozen]).run(
        [[F(int(t == 0 and i == d)) for i in range(2)] for t in range(3)]
    )
    big = F(10**60)
    for i, rest in enumerate(transfer(frozen, big)[:, d]):
        for output in outputs[:, i]:
            rest = rest - output
            assert abs(rest) < F(1, 10**30)
            rest = rest * big


def test_response_of_mode_zero_is_a_skip() -> None:
    assert response(LTI([0, "1/2"], [1, 1], [3, 1]), F(0)) == 3
    with pytest.raises(InvalidInput, match="is a mode"):
        response(single("1/2", 1), F(1, 2))


def test_transfer_errors() -> None:
    with pytest.raises(InvalidSystem, match="only linear layers"):
        transfer(S4Layer([LTI(["1/2"], [1], [1])], [[3]]), F(2))
    with pytest.raises(KindMismatch, match="Fractions"):
        transfer(S4Layer([LTI([0.5], [1.0], [1.0])], [[3.0]], activation="linear"), F(2))
    with pytest.raises(InvalidInput, match="cannot be compared"):
        same_transfer(
            S4Layer([single("1/2", 1)], [[1]], activation="linear"),
            S4Layer([single("1/2", 1)] * 2, [[1, 0], [0, 1]], activation="linear"),
        )


def test_equality_needs_as_many_points_as_the_degree() -> None:
    """Two layers of one state each that agree at z = 2 and 3 (and nowhere else): two points would not tell them apart."""
    z = (F(2), F(3))
    first = [w / (w - F(1, 2)) for w in z]
    rows = [[w / (w - F(1, 3)), 1] for w in z]
    solution = linalg.solve(rows, first)
    assert solution is not None
    one = S4Layer([single("1/2", 1)], [[1]], None, [0], "linear")
    other = S4Layer([single("1/3", solution[0])], [[1]], None, [solution[1]], "linear")
    assert all((transfer(one, w) == transfer(other, w)).all() for w in z)
    assert not same_transfer(one, other)


def test_placement() -> None:
    assert even_placement(3, 2) == [0, 0, 1]
    assert even_placement(4, 3) == [0, 0, 1, 1]
    assert even_placement(2, 4) == [0, 1]


def test_silent_last_channel_has_nothing_to_cancel() -> None:
    frozen, target = CLAIM.assumptions[2].counterexample.build()  # type: ignore[union-attr]
    with pytest.raises(InvalidSystem, match="frozen channel 0"):
        cancelling_witness(frozen, target)
    assert not assumptions.nonzero_last((frozen, target))


# -- disjoint sets --------------------------------------------------------------------------------------------------------


def test_disjoint_sets_meet_the_construction() -> None:
    """D = 4, G = 2: layer 1 of the witness is diag(s on S_1, 0), its rank 3 is the bound, and special weights lower the bound."""
    rng = np.random.default_rng(5)
    layers = [_random_layer(rng, [F(k + 4 * g + 1, 17) for k in range(4)]) for g in range(3)]
    target, frozen = layers[0], layers[1:]
    tuned = ((0, 1), (2, 3))
    assert rank_bound(frozen, target, tuned) == 3
    found = cancelling_witness(frozen, target)
    assert found.ranks[0] == 3 and found.tuned == tuned
    W = found.network.layers[0].W
    assert not np.any(W - np.diag(np.diag(W))) and not np.any(np.diag(W)[2:])
    assert all(generic_numbers(frozen, target, tuned).values())
    lame = S4Layer(target.channels, target.W * np.array([[1] * 4, [1] * 4, [0, 0, 1, 1], [0, 0, 1, 1]]), None, target.u, "linear")
    assert generic_numbers(frozen, lame, tuned)["silent columns"] == 0 == rank_bound(frozen, lame, tuned)


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_diagonal_distance_is_a_lower_bound(rank: int) -> None:
    """diag(s, 0) plus a matrix of rank k is at distance k at most; a generic one at ρ + 1."""
    rng = np.random.default_rng(rank)
    moved = np.array([[F(int(x)) for x in row] for row in rng.integers(-5, 6, (4, rank)) @ rng.integers(-5, 6, (rank, 4))])
    W = np.diag([F(3), F(-2), F(0), F(0)]) + moved
    assert diagonal_distance(W, (0, 1)) <= rank


@pytest.mark.parametrize("tuned", [((0, 1), (1, 2, 3)), ((0,), (1, 2, 3)), ((0, 1, 2, 3), ()), ((0, 1),)])
def test_sets_that_the_argument_does_not_cover(tuned: Any) -> None:
    rng = np.random.default_rng(5)
    layers = [_random_layer(rng, [F(k + 4 * g + 1, 17) for k in range(4)]) for g in range(3)]
    with pytest.raises(InvalidInput, match="disjoint"):
        rank_bound(layers[1:], layers[0], tuned)


def test_a_diagonal_column_obstructs_in_the_second_set_too() -> None:
    """A target column with its diagonal entry alone still makes a pole for d in S_2; in S_1 it would be a multiple of e_d."""

    def layer(first: int, rows: list[list[int]]) -> S4Layer:
        return S4Layer([single(F(1, first + d), 1) for d in range(3)], rows, None, [1, 1, 1], "linear")

    frozen = [layer(5, [[1, 2, 3], [4, 1, 5], [2, 7, 1]]), layer(8, [[1, 4, 2], [3, 1, 5], [6, 2, 1]])]
    target = layer(2, [[1, 2, 0], [3, 1, 0], [1, 1, 1]])
    assert rank_one_obstruction(frozen, target, ((0, 1), (2,)))["target columns"] != 0
    assert rank_one_obstruction(frozen, target, ((2,), (0, 1)))["target columns"] == 0


def test_transfer_of_complex_modes() -> None:
    """Half storage is both modes of its pairs: the real mode 1/2 with c = 1 answers as c = 2 in full; a lone mode is refused."""

    def layer(*arguments: object, **named: object) -> S4Layer:
        return S4Layer([LTI(*arguments, **named)], [[1]], activation="linear")  # type: ignore[arg-type]

    z, c = gaussian("1/3", "1/2"), gaussian(1, 1)
    half, full = layer([z], [1], [c], half=True), layer([z, conj(z)], [1, 1], [c, conj(c)])
    assert same_transfer(half, full) and not same_transfer(half, layer([z], [1], [1], half=True))
    doubled = layer(["1/2"], [1], [1], half=True)
    assert same_transfer(doubled, layer(["1/2"], [1], [2])) and not same_transfer(doubled, layer(["1/2"], [1], [1]))
    outputs = DeepS4([half]).run([[1], [0], [0]])[:, 0]
    assert transfer(half, F(10**60))[0, 0] - outputs[0] - outputs[1] / 10**60 - outputs[2] / 10**120 < F(1, 10**150)
    with pytest.raises(InvalidInput, match="both modes of each pair"):
        transfer(layer([z], [1], [c]), F(2))


@pytest.mark.parametrize(
    "channel",
    [
        LTI(["1/2"], [1], [1], half=True),
        LTI([gaussian(0, "1/2")], [1], [1], half=True),
        LTI(["1/2"], [1], [1], 1),
        LTI(["1/2", "1/3"], [1, 1], [1, 1]),
    ],
)
def test_witnesses_take_one_real_state_a_channel(channel: LTI) -> None:
    target = S4Layer([single("1/3", 1), single("1/4", 1)], [[1, 2], [3, 5]], None, [1, 1], "linear")
    odd = S4Layer([channel, single("1/5", 1)], [[1, 1], [1, 2]], None, [1, 1], "linear")
    plain = S4Layer([single("1/6", 1), single("1/7", 1)], [[1, 1], [1, 2]], None, [1, 1], "linear")
    for frozen, wanted in (([plain, odd], target), ([plain, plain], odd)):
        with pytest.raises(InvalidSystem, match="one real state"):
            rank_bound(frozen, wanted, ((0,), (1,)))
        with pytest.raises(InvalidSystem, match="one real state"):
            cancelling_witness(frozen, wanted)
