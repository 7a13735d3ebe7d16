"""The benchmark of exact checks: routes agree, cells are honest, bad input is refused."""

from __future__ import annotations

import json
import time
from fractions import Fraction

import pytest

from theory import bench
from theory.core.errors import InvalidInput


def test_routes_agree_and_growth_is_fitted():
    result = bench.measure([3, 5], repeats=1, budget=10.0)
    assert len(result["rows"]) == 2 * 8
    assert all(r["seconds"] > 0 and r["ratio"] > 0 for r in result["rows"])
    assert set(result["growth"]) == {f"{t}, {r}" for t, routes in bench.ROUTES.items() for r in routes}


def test_a_wrong_route_is_caught(monkeypatch):
    monkeypatch.setitem(bench.ROUTES["rank"], "Fraction", lambda m, _: len(m) - 1)
    with pytest.raises(AssertionError, match="disagrees on rank"):
        bench.measure([3], repeats=1, budget=10.0)


def test_slow_routes_are_stopped_and_not_guessed(monkeypatch):
    monkeypatch.setitem(bench.ROUTES["rank"], "Fraction", lambda m, _: time.sleep(60))
    result = bench.measure([2, 3], repeats=1, budget=0.5)
    slow = {r["N"]: r for r in result["rows"] if (r["task"], r["route"]) == ("rank", "Fraction")}
    assert slow[2]["seconds"] is slow[3]["seconds"] is None
    assert slow[2]["note"] == "stopped after 0.5 s"
    assert slow[3]["note"] == "not tried: stopped at a smaller N"
    assert "rank, Fraction" not in result["growth"]


def test_elimination_by_hand():
    m = [[Fraction(0), Fraction(2)], [Fraction(3), Fraction(1)]]
    assert bench.eliminate(m) == (2, None)
    assert bench.eliminate(m, [Fraction(4), Fraction(5)])[1] == [1, 2]
    assert bench.eliminate([[Fraction(1), Fraction(2)], [Fraction(2), Fraction(4)]])[0] == 1


def test_command(tmp_path, capsys):
    out = tmp_path / "bench.json"
    assert bench.main_bench(["--sizes", "2,3", "--repeats", "1", "--json", "--out", str(out)]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(out.read_text())
    assert bench.main_bench(["--sizes", "2", "--repeats", "1"]) == 0
    assert "python-flint" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--sizes", "a"], "--sizes"),
        (["--sizes", "4,2"], "increasing"),
        (["--sizes", "0"], "1 to 256"),
        (["--repeats", "0"], "--repeats 0"),
        (["--budget", "0"], "--budget"),
        (["--out", "no/such/dir/x.json"], "does not exist"),
    ],
)
def test_bad_input(argv, says):
    with pytest.raises(InvalidInput, match=says):
        bench.main_bench(argv)
