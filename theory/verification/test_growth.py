"""python -m theory bench: every route gives the same answer, budgets end cells, and every error."""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction as F
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.__main__ import main
from theory.core.errors import InvalidInput
from theory.core.lti import LTI
from theory.core.strategies import matrices, vectors
from theory.verification import growth as bm


@st.composite
def squares(draw: st.DrawFn) -> tuple[list[list[F]], list[F]]:
    n = draw(st.integers(1, 4))
    rows = draw(matrices(n, n, 2))
    if draw(st.booleans()):  # often singular
        rows[-1] = [sum(x, F(0)) for x in zip(*rows[:-1], strict=True)] if n > 1 else [F(0)]
    return rows, draw(vectors(n))


@given(squares())
def test_routes_agree_on_any_matrix(drawn: tuple[list[list[F]], list[F]]) -> None:
    rows, rhs = drawn
    ranks = {name: route["rank"](rows) for name, route in bm.ROUTES.items()}
    assert len(set(ranks.values())) == 1, ranks
    if ranks["flint"] == len(rows):
        for name, route in bm.ROUTES.items():
            x = route["solve"](rows, rhs)
            assert [sum(a * b for a, b in zip(row, x, strict=True)) for row in rows] == rhs, name
    else:
        with pytest.raises(InvalidInput, match="singular"):
            bm.fraction_solve(rows, rhs)


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_questions(n: int) -> None:
    """The Hankel matrix has rank N − 1; the solution is the prefix that leaves h_0, run through the system."""
    system = bm.bench_system(n)
    assert len(set(system.a)) == n and all(0 < a < 1 for a in system.a) and all(b != 0 for b in system.b)
    rows, _ = bm.question("rank", n)
    k = system.replace(b=[*system.b[:-1], F(0)]).kernel(2 * n)
    assert rows == [[k[1 + i + j] for j in range(n)] for i in range(n)]
    assert bm.fraction_rank(rows) == n - 1
    rows, h0 = bm.question("solve", n)
    x = bm.fraction_solve(rows, h0)
    assert list(system.run(x[::-1])[1]) == h0  # columns are last token first
    if n > 1:
        assert list(system.run(x)[1]) != h0


def test_report(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks: list[None] = []
    payload = bm.bench([4, 2, 3], repeat=1, budget=60.0, progress=lambda: ticks.append(None))
    assert len(ticks) == len(payload["cells"]) == 3 * len(bm.TASKS) * len(bm.ROUTES)
    assert payload["agree"] and payload["settings"]["sizes"] == [2, 3, 4]
    assert {c["status"] for c in payload["cells"]} == {"measured"}
    assert all(c["seconds"] > 0 and c["repeats"] == 1 for c in payload["cells"])
    for c in payload["cells"]:
        base = next(b for b in payload["cells"] if (b["task"], b["size"], b["route"]) == (c["task"], c["size"], "flint"))
        assert c["ratio_to_flint"] == c["seconds"] / base["seconds"]
    assert [q["rank"] for q in payload["questions"] if q["task"] == "rank"] == [1, 2, 3]
    assert all(q["routes_compared"] == 4 for q in payload["questions"])
    assert all(g["fitted_sizes"] == [2, 3, 4] and math.isfinite(g["exponent"]) for g in payload["growth"])
    json.dumps(payload, allow_nan=False)


def test_a_wrong_answer_is_reported() -> None:
    """A rank off by one in one route makes the report disagree and name the route."""
    cells = [
        {"task": "rank", "route": r, "size": 3, "status": "measured", "seconds": 1.0, "repeats": 1, "answer": a}
        for r, a in zip(bm.ROUTES, (2, 2, 3, 2), strict=True)
    ]
    report = bm._report(cells, [3], 1, 1.0)
    assert not report["agree"] and report["disagreements"] == ["rank at N = 3: sympy DomainMatrix against flint"]


def test_cells_over_the_budget_have_no_number() -> None:
    """A budget that nothing meets: the first size is over it, later ones are not run, and nothing is made up."""
    payload = bm.bench([40, 41], repeat=2, budget=1e-9)
    by_route = {(c["task"], c["route"], c["size"]): c for c in payload["cells"]}
    slow = by_route["rank", "fractions", 40], by_route["rank", "fractions", 41]
    assert [c["status"] for c in slow] == ["over budget", "skipped"]
    assert all(c["seconds"] is None and c["ratio_to_flint"] is None and c["repeats"] == 0 for c in slow)
    assert next(g for g in payload["growth"] if g["route"] == "fractions")["exponent"] is None
    assert bm._cell_text(slow[0], 2) == "over budget" and bm._cell_text(slow[1], 2) == "skipped"


def test_an_answer_that_was_seen_too_late_to_be_over_the_budget_is_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine: this process is held up, and finds an answer that took longer than the budget when it looks."""
    clock = itertools.count(0, -60)
    monkeypatch.setattr(bm, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    cells = bm._measure_route("rank", "fractions", [24], 2, 1e-9, lambda: None)
    assert [c["status"] for c in cells] == ["over budget"] and cells[0]["answer"] is None
    (cell,) = bm._measure_route("rank", "fractions", [24], 2, 60.0, lambda: None)
    assert cell["status"] == "measured" and cell["repeats"] == 2


def test_growth_exponent() -> None:
    assert bm.growth_exponent([4, 8, 16], [1.0, 8.0, 64.0]) == pytest.approx(3.0, rel=1e-12)
    assert bm.growth_exponent([4], [1.0]) is None and bm.growth_exponent([], []) is None


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    assert main(["bench", "--sizes", "2", "3", "--repeat", "1", "--json", "--out", str(out)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(out.read_text(encoding="utf-8"))
    assert [p.name for p in tmp_path.iterdir()] == ["bench.json"]


def test_tables_say_what_the_json_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--sizes", "2", "--repeat", "1"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "rank: median of 1" in shown and "solve: median of 1" in shown
    assert "one size" in shown and "All routes that ran agree" in shown


def test_exit_code_1_when_routes_disagree(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    payload: dict[str, Any] = bm.bench([2], repeat=1) | {"agree": False, "disagreements": ["rank at N = 2: a against b"]}
    monkeypatch.setattr(bm, "bench", lambda *_, **__: payload)
    assert main(["bench", "--sizes", "2"]) == 1
    assert "ROUTES DISAGREE: rank at N = 2: a against b" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--sizes", "0"], "size = 0"),
        (["--sizes", "four"], "--sizes 'four' is not an integer"),
        (["--sizes", "4", "4"], "repeat a value"),
        (["--repeat", "0"], "repeat = 0"),
        (["--repeat", "1.5"], "--repeat '1.5'"),
        (["--budget", "0"], "budget = 0.0"),
        (["--budget", "nan"], "budget = nan"),
        (["--budget", "soon"], "--budget 'soon'"),
        (["--out", "no/such/folder/b.json"], "does not exist"),
    ],
)
def test_bad_input_exits_2(args: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *args]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_bad_arguments() -> None:
    with pytest.raises(InvalidInput, match="sizes is empty"):
        bm.bench([])
    with pytest.raises(InvalidInput, match="task = 'det'"):
        bm.question("det", 2)
    assert isinstance(bm.bench_system(3), LTI)
