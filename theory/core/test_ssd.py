"""Mamba-2 heads and groups against scalar loops, against S6 in the case both cover, and everything they refuse."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from theory.core import linalg
from theory.core.errors import InvalidInput, InvalidSystem, KindMismatch
from theory.core.scalars import gaussian
from theory.core.selective import SelectiveSSM
from theory.core.ssd import Mamba2Group, Mamba2Head
from theory.core.strategies import mamba2_head, matrices, rationals
from theory.core.tolerance import close

F = Fraction


def dot(row: Any, u: Any) -> Any:
    return sum(r * v for r, v in zip(row, u, strict=True))


def oracle(head: Mamba2Head, clock: Any, u: Any, h0: Any) -> tuple[list[list[Any]], list[list[Any]]]:
    """Outputs and last state by the definition, one scalar at a time."""
    assert head.W_C is not None
    h, outputs = [list(row) for row in h0], []
    for token in u:
        dt, decay = clock(token)
        x, B, C = ([dot(row, token) for row in W] for W in (head.W_x, head.W_B, head.W_C))
        h = [[decay * h[p][n] + dt * x[p] * B[n] for n in range(len(B))] for p in range(len(x))]
        outputs.append([dot(h[p], C) + head.D_skip * x[p] for p in range(len(x))])
    return outputs, h


def heads() -> st.SearchStrategy[Mamba2Head]:
    return st.one_of(mamba2_head(2, 2, independent=False), mamba2_head(3, 2))


@given(heads(), st.data())
def test_a_head_by_the_definition(head: Mamba2Head, data: Any) -> None:
    """Outputs and state exactly; one more in dt, in the decay or in the skip changes what it must."""
    skip = data.draw(rationals())
    full = Mamba2Head(head.W_x, head.W_B, head.W_C, dt=head.dt, decay=head.decay, D_skip=skip)
    u, h0 = data.draw(matrices(3, head.d_input, 2)), data.draw(matrices(head.head_dim, head.n_states, 2))
    y, h = full.run(u, h0)
    expected, last = oracle(full, lambda _: (full.dt, full.decay), u, h0)
    assert y.tolist() == expected and h.tolist() == last
    one = full.inputs(u)[0]
    x, b = full.W_x @ one, full.W_B @ one
    assert full.dt is not None and full.decay is not None
    longer = Mamba2Head(head.W_x, head.W_B, head.W_C, dt=full.dt + 1, decay=head.decay, D_skip=skip + 1)
    start = full.state(h0)
    (h1, y1), (h2, y2) = full.step(start, one), longer.step(start, one)
    assert np.array_equal(h2 - h1, np.outer(x, b))
    assert full.W_C is not None
    assert np.array_equal(y2 - y1, np.outer(x, b) @ (full.W_C @ one) + x)
    moved = Mamba2Head(head.W_x, head.W_B, head.W_C, dt=full.dt, decay=full.decay / 2, D_skip=skip)
    assert np.array_equal(h1 - moved.step(start, one)[0], full.decay / 2 * start)


@given(heads(), st.data())
def test_one_channel_is_s6(head: Mamba2Head, data: Any) -> None:
    """P = 1 and D = 1, x = u: Mamba-2 and Mamba-1 with one decay for all states are the same recurrence."""
    w_b, w_c = data.draw(matrices(2, 1, 3)), data.draw(matrices(2, 1, 3))
    u = data.draw(matrices(4, 1, 2))
    mamba2 = Mamba2Head([[1]], w_b, w_c, dt=head.dt, decay=head.decay, D_skip=3)
    mamba1 = SelectiveSSM(w_b, w_c, dt=head.dt, decay=[[head.decay] * 2], D_skip=[3])
    assert mamba2.run(u)[0].tolist() == mamba1.run(u)[0].tolist() and mamba2.run(u)[1].tolist() == mamba1.run(u)[1].tolist()
    other = Mamba2Head([[-1]], w_b, w_c, dt=head.dt, decay=head.decay, D_skip=3)  # x = −u turns every output around
    assert other.run(u)[0].tolist() == (-mamba2.run(u)[0]).tolist()
    assert (other.run(u)[0].tolist() == mamba1.run(u)[0].tolist()) == (not np.any(mamba1.run(u)[0]))


@given(mamba2_head(3, 3), st.integers(1, 2), st.data())
def test_each_token_adds_rank_one(head: Mamba2Head, m: int, data: Any) -> None:
    u = data.draw(matrices(m, head.d_input, 2))
    _, h = head.run(u)
    assert linalg.rank(h) <= m
    full = head.zero_state() + np.eye(head.head_dim, head.n_states, dtype=int) * F(1)
    assert linalg.rank(full) == min(h.shape)  # the bound is not vacuous: full-rank states exist where it is tight
    # distinct unit tokens through x = e_p, B = e_n reach rank min(m, P, N)
    size = min(m, *h.shape)
    tokens = [[int(i in (k, head.head_dim + k)) for i in range(head.d_input)] for k in range(size)]
    assert linalg.rank(head.run(tokens)[1]) == size


def test_worked_example() -> None:
    """P = 1, N = 2: x = u_1, B = (u_1, u_2), C = (u_2, u_1), γ = 1/2, dt = 2 on (1, 0), (1, 1)."""
    head = Mamba2Head([[1, 0]], [[1, 0], [0, 1]], [[0, 1], [1, 0]], dt=2, decay="1/2", D_skip=10)
    y, h = head.run([[1, 0], [1, 1]])
    assert h.tolist() == [[3, 2]] and y.tolist() == [[10], [15]]
    swapped = Mamba2Head([[1, 0]], [[0, 1], [1, 0]], [[1, 0], [0, 1]], dt=2, decay="1/2", D_skip=10)
    assert swapped.run([[1, 0], [1, 1]])[1].tolist() == [[2, 3]]


# -- clocks ---------------------------------------------------------------------------------------------------------------


@given(heads(), st.data())
def test_function_clock(head: Mamba2Head, data: Any) -> None:
    def clock(u: Any) -> tuple[Fraction, Fraction]:
        dt = 1 + u[0] ** 2
        return dt, 1 / (1 + dt)

    moving = Mamba2Head(head.W_x, head.W_B, head.W_C, clock=clock)
    u = data.draw(matrices(3, head.d_input, 2))
    expected, last = oracle(moving, clock, u, moving.zero_state())
    y, h = moving.run(u)
    assert y.tolist() == expected and h.tolist() == last
    held = Mamba2Head(head.W_x, head.W_B, head.W_C, clock=lambda _: (head.dt, head.decay))
    assert held.run(u)[0].tolist() == head.run(u)[0].tolist()


def test_a_stale_clock_is_seen() -> None:
    head = Mamba2Head([[1]], [[1]], [[1]], clock=lambda u: (u[0] ** 2, 1 / (1 + u[0] ** 2)))
    assert head.run([[F(1)], [F(2)]])[1].tolist() == [[F(1, 5) + 4 * 4]]
    assert head.run([[F(1)], [F(2)]])[1].tolist() != [[F(1, 2) + 4]]  # dt and decay of the first token kept


def test_floats_and_symbols() -> None:
    w_x, w_b, w_c = [[0.5, -1.0]], [[1.0, 0.25], [0.0, 2.0]], [[1.0, 1.0], [-1.0, 0.5]]
    floats = Mamba2Head(w_x, w_b, w_c, dt=0.1, decay=0.9, D_skip=0.3)
    exact = Mamba2Head(*([[F(v) for v in row] for row in w] for w in (w_x, w_b, w_c)), dt=F(0.1), decay=F(0.9), D_skip=F(0.3))
    u = [[1.0, 2.0], [-0.5, 0.75], [3.0, -1.0]]
    expected = exact.run([[F(v) for v in row] for row in u])[0].astype(float)
    assert floats.kind == "float64" and close(floats.run(u)[0], expected, 60, cond=10)
    assert not close(Mamba2Head(w_x, w_b, w_c, dt=0.1, decay=0.9 + 1e-9, D_skip=0.3).run(u)[0], expected, 60, cond=10)
    g, t, v = sympy.symbols("g t v", positive=True)
    symbolic = Mamba2Head([[1]], [[1]], [[1]], dt=t, decay=g)
    y = symbolic.run([[v], [1]])[0]
    assert sympy.expand(y[1, 0] - (g * t * v**2 + t)) == 0 and sympy.expand(y[1, 0] - (g**2 * t * v**2 + t)) != 0


# -- groups ---------------------------------------------------------------------------------------------------------------


@given(mamba2_head(2, 2, independent=False), st.data())
def test_a_group_runs_its_heads(head: Mamba2Head, data: Any) -> None:
    """States and outputs are the heads' own, stacked in order; B is shared, so joint states have rank ≤ M as one matrix."""
    w_x = data.draw(matrices(head.head_dim, head.d_input, 2))
    second = Mamba2Head(w_x, head.W_B, head.W_C, dt=3, decay="1/7", D_skip=2)
    group = Mamba2Group([head, second])
    u = data.draw(matrices(3, head.d_input, 2))
    h0 = data.draw(st.lists(matrices(head.head_dim, head.n_states, 2), min_size=2, max_size=2))
    y, h = group.run(u, h0)
    for i, one in enumerate((head, second)):
        alone_y, alone_h = one.run(u, h0[i])
        assert np.array_equal(y[:, i], alone_y) and np.array_equal(h[i], alone_h)
    stepped, y1 = group.step(group.state(h0), group.inputs(u)[0])
    assert np.array_equal(y1, y[0]) and stepped.shape == h.shape == (2, head.head_dim, head.n_states)
    turned, _ = Mamba2Group([second, head]).run(u, h0[::-1])
    assert np.array_equal(turned, y[:, ::-1])
    assert np.array_equal(turned, y) == np.array_equal(y[:, 0], y[:, 1])
    _, reached = group.run(u[:1])
    assert linalg.rank(np.concatenate(list(reached))) <= 1


def test_group_repr_and_empty_sequence() -> None:
    head = Mamba2Head([[1]], [[1], [2]], [[1], [1]], dt=1, decay="1/2")
    group = Mamba2Group([head, head])
    assert repr(group) == "Mamba2Group(H=2, Mamba2Head(P=1, N=2, D=1, kind=exact))"
    y, h = group.run([], [[[1, 2]], [[3, 4]]])
    assert y.shape == (0, 2, 1) and h.tolist() == [[[1, 2]], [[3, 4]]]
    y, h = head.run([])
    assert y.shape == (0, 1) and h.tolist() == [[0, 0]]


def test_heads_of_a_group_must_fit() -> None:
    head = Mamba2Head([[1]], [[1]], [[1]], dt=1, decay="1/2")
    strangers: dict[str, tuple[Any, ...]] = {
        "at least one head": (),
        "head 1 is 'head', not a Mamba2Head": (head, "head"),
        "head 1 does not share": (head, Mamba2Head([[1]], [[2]], [[1]], dt=1, decay="1/2")),
        "head 2 does not share": (head, head, Mamba2Head([[1]], [[1]], [[2]], dt=1, decay="1/2")),
        "share W_B and W_C with head 0": (head, Mamba2Head([[1]], [[1]], dt=1, decay="1/2")),
        "does not share": (head, Mamba2Head([[1.0]], [[1.0]], [[1.0]], dt=1.0, decay=0.5)),
        "head 1 has P = 2, head 0 has P = 1": (head, Mamba2Head([[1], [2]], [[1]], [[1]], dt=1, decay="1/2")),
    }
    for says, members in strangers.items():
        with pytest.raises(InvalidSystem, match=says):
            Mamba2Group(members)
    assert len(Mamba2Group([head, Mamba2Head([[5]], [[1]], [[1]], dt=2, decay="1/3")]).heads) == 2  # dt, decay, W_x are free
    with pytest.raises(InvalidInput, match=r"h0 has shape \(1, 1, 1\), expected \(H, P, N\) = \(2, 1, 1\)"):
        Mamba2Group([head, head]).run([[1]], [[[1]]])


# -- bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "error", "says"),
    [
        ({"dt": None}, InvalidSystem, "needs dt and decay"),
        ({"decay": None}, InvalidSystem, "needs dt and decay"),
        ({"dt": 0}, InvalidSystem, "dt = 0 must be a positive step size"),
        ({"dt": -1}, InvalidSystem, "dt = -1"),
        ({"dt": gaussian(0, 1)}, InvalidSystem, "dt = I must be a positive"),
        ({"dt": sympy.Symbol("t"), "decay": sympy.Integer(2)}, InvalidSystem, "decay = 2 must lie"),
        ({"dt": sympy.sqrt(2) - 2}, InvalidSystem, "must be a positive"),
        ({"decay": 1}, InvalidSystem, r"decay = 1 must lie in \(0, 1\)"),
        ({"decay": 0}, InvalidSystem, "decay = 0"),
        ({"decay": gaussian(0, "1/2")}, InvalidSystem, "must lie in"),
        ({"dt": F(1, 2), "decay": 0.5}, KindMismatch, "mixed"),
        ({"clock": print}, InvalidSystem, "clock excludes dt and decay"),
        ({"clock": 3, "dt": None, "decay": None}, InvalidSystem, "clock = 3 must be a function"),
        ({"D_skip": True}, InvalidInput, "truth value"),
        ({"D_skip": [1]}, InvalidInput, r"D_skip: \[1\]"),
        ({"dt": [1]}, InvalidInput, r"dt: \[1\]"),
        ({"W_B": [[1, 2]]}, InvalidSystem, r"\(P, D\) and \(N, D\)"),
        ({"W_C": [[1], [2]]}, InvalidSystem, r"W_C has shape \(2, 1\), expected \(N, D\) = \(1, 1\)"),
        ({"W_x": [[]]}, InvalidSystem, "P, N, D ≥ 1"),
        ({"W_x": [1]}, InvalidInput, "W_x: expected 2 dimension"),
    ],
)
def test_unusable_heads(keywords: dict[str, Any], error: type[Exception], says: str) -> None:
    good: dict[str, Any] = {"W_x": [[1]], "W_B": [[1]], "W_C": [[1]], "dt": 1, "decay": "1/2"}
    assert Mamba2Head(**good).kind == "exact"
    with pytest.raises(error, match=says):
        Mamba2Head(**(good | keywords))


@pytest.mark.parametrize(
    ("dt", "decay", "says"),
    [(1j, 0.5, "positive"), (1.0, 0.5j, "lie in"), (1.0, 1.0, "lie in"), (0.0, 0.5, "positive")],
)
def test_unusable_float_clocks(dt: Any, decay: Any, says: str) -> None:
    with pytest.raises(InvalidSystem, match=says):
        Mamba2Head([[1.0]], [[1.0]], dt=dt, decay=decay)
    with pytest.raises(InvalidInput, match="not finite"):
        Mamba2Head([[1.0]], [[1.0]], dt=float("nan"), decay=0.5)


def test_unusable_inputs_and_states() -> None:
    head = Mamba2Head([[1, 2]], [[1, 0]], [[1, 1]], dt=1, decay="1/2")
    u: Any
    for u in ([[1]], [1, 2], [[1, 2, 3]]):
        with pytest.raises(InvalidInput, match=r"expected shape \(L, D\) with D = 2"):
            head.run(u)
    with pytest.raises(InvalidInput, match=r"h0 has shape \(1, 2\), expected \(P, N\) = \(1, 1\)"):
        head.run([[1, 2]], [[1, 2]])
    with pytest.raises(KindMismatch, match=r"0\.5"):
        head.run([[0.5, 1]])
    with pytest.raises(InvalidInput, match="prefix"):
        head.inputs([], "prefix", allow_empty=False)
    silent = Mamba2Head([[1, 2]], [[1, 0]], dt=1, decay="1/2")
    h, y = silent.step(silent.zero_state(), silent.inputs([[1, 1]])[0])
    assert h.tolist() == [[3]] and list(y) == [0]
    with pytest.raises(InvalidInput, match="without W_C"):
        silent.run([[1, 2]])
