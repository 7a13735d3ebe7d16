"""How exact checks grow with the number of states: ``python -m theory bench``.

Two tasks on a channel with N distinct rational modes p/q, q ≤ 2N + 1:

    rank    of the N×N Hankel matrix [k_{t+m}] (is every initial state a prefix?)
    solve   for the prefix that leaves a given state, R x = h_0 with R_nm = b_n a_n^m

by four routes: python-flint (what theory uses), Gaussian elimination on Python Fractions, sympy's DomainMatrix over QQ and
sympy's Matrix. All routes must give the same answer. A cell is the median of a few repeats, run in a process of its own that
is stopped once the budget is spent; such a route is not tried at larger sizes, and the cell says so.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import sympy
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sympy.polys.matrices import DomainMatrix

from .core import linalg
from .core.errors import InvalidInput
from .core.gramians import hankel_matrix, reachability_matrix
from .core.lti import LTI
from .verify import versions

Matrix = list[list[Fraction]]


def benchmark_system(n: int) -> LTI:
    """n distinct rational modes in (0, 1) with small numerators, b = c = 1."""
    pool = sorted({Fraction(p, q) for q in range(2, 2 * n + 2) for p in range(1, q)}, key=lambda f: (f.denominator, f.numerator))
    return LTI(pool[:n], [1] * n, [1] * n)


def eliminate(matrix: Matrix, rhs: Sequence[Fraction] | None = None) -> tuple[int, list[Fraction] | None]:
    """Rank, and the solution of a square non-singular system, by Gaussian elimination on Fractions."""
    rows = [list(r) + ([rhs[i]] if rhs is not None else []) for i, r in enumerate(matrix)]
    width, pivot_row = len(matrix[0]), 0
    for column in range(width):
        found = next((i for i in range(pivot_row, len(rows)) if rows[i][column] != 0), None)
        if found is None:
            continue
        rows[pivot_row], rows[found] = rows[found], rows[pivot_row]
        head = rows[pivot_row]
        for i in range(pivot_row + 1, len(rows)):
            if rows[i][column] != 0:
                factor = rows[i][column] / head[column]
                rows[i] = [x - factor * y for x, y in zip(rows[i], head, strict=True)]
        pivot_row += 1
    if rhs is None:
        return pivot_row, None
    x = [Fraction(0)] * width
    for i in range(width - 1, -1, -1):
        x[i] = (rows[i][-1] - sum((rows[i][j] * x[j] for j in range(i + 1, width)), Fraction(0))) / rows[i][i]
    return pivot_row, x


def _sympy(x: Fraction) -> sympy.Rational:
    return sympy.Rational(x.numerator, x.denominator)


def _domain_matrix(matrix: Matrix) -> DomainMatrix:
    return DomainMatrix(
        [[sympy.QQ(x.numerator, x.denominator) for x in row] for row in matrix], (len(matrix), len(matrix[0])), sympy.QQ
    )


def _fractions(values: Any) -> list[Fraction]:
    return [Fraction(int(v.numerator), int(v.denominator)) for v in values]


ROUTES: dict[str, dict[str, Callable[[Matrix, list[Fraction]], Any]]] = {
    "rank": {
        "python-flint": lambda m, _: linalg.rank(m),
        "Fraction": lambda m, _: eliminate(m)[0],
        "sympy DomainMatrix": lambda m, _: int(_domain_matrix(m).rank()),
        "sympy Matrix": lambda m, _: int(sympy.Matrix([[_sympy(x) for x in row] for row in m]).rank()),
    },
    "solve": {
        "python-flint": lambda m, h: list(linalg.solve(m, h)),  # type: ignore[arg-type]
        "Fraction": lambda m, h: eliminate(m, h)[1],
        "sympy DomainMatrix": lambda m, h: _fractions(
            _domain_matrix(m).lu_solve(_domain_matrix([[x] for x in h])).to_list_flat()
        ),
        "sympy Matrix": lambda m, h: _fractions(
            sympy.Matrix([[_sympy(x) for x in row] for row in m]).LUsolve(sympy.Matrix([_sympy(x) for x in h]))
        ),
    },
}


def _cell(task: str, route: str, matrix: Matrix, h0: list[Fraction], repeats: int, answer_to: Any) -> None:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        answer = ROUTES[task][route](matrix, h0)
        times.append(time.perf_counter() - started)
    answer_to.send((times, answer))


def _limited(
    task: str, route: str, matrix: Matrix, h0: list[Fraction], repeats: int, budget: float
) -> tuple[list[float], Any] | None:
    """(times, answer) of one cell, or None where it needed longer than the budget."""
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in methods else None)
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_cell, args=(task, route, matrix, h0, repeats, there), daemon=True)
    process.start()
    there.close()
    try:
        return here.recv() if here.poll(budget) else None
    except EOFError as error:
        raise RuntimeError(f"{route} broke off on {task}, N = {len(matrix)}") from error
    finally:
        process.kill()
        process.join()


def measure(sizes: Sequence[int], repeats: int, budget: float, step: Callable[[str], None] | None = None) -> dict[str, Any]:
    """All cells as JSON: ``{"rows": [{"task", "N", "route", "seconds" | null, "ratio" | null, "note"}], "growth": …}``.

    ``seconds`` is a median. ``ratio`` is against python-flint in the same run. ``growth`` is the exponent p of seconds ∝ N^p
    fitted to a route's two largest sizes.

    Raises AssertionError if two routes disagree.
    """
    rows: list[dict[str, Any]] = []
    spent: set[tuple[str, str]] = set()
    for n in sizes:
        system = benchmark_system(n)
        tasks = {"rank": hankel_matrix(system, n, n), "solve": reachability_matrix(system, n)}
        h0 = [Fraction((-1) ** k, k + 1) for k in range(n)]
        for task, array in tasks.items():
            matrix: Matrix = [[Fraction(x) for x in row] for row in array]
            expected = None
            base = math.nan
            for route in ROUTES[task]:
                if step is not None:
                    step(f"{task} N = {n}, {route}")
                row: dict[str, Any] = {"task": task, "N": n, "route": route, "seconds": None, "ratio": None, "note": ""}
                rows.append(row)
                if (task, route) in spent:
                    row["note"] = "not tried: stopped at a smaller N"
                    continue
                done = _limited(task, route, matrix, h0, repeats, budget)
                if done is None:
                    spent.add((task, route))
                    row["note"] = f"stopped after {budget:g} s"
                    continue
                times, answer = done
                expected = answer if expected is None else expected
                assert answer == expected, f"{route} disagrees on {task} at N = {n}"
                row["seconds"] = statistics.median(times)
                base = row["seconds"] if route == "python-flint" else base
                row["ratio"] = row["seconds"] / base
    return {"rows": rows, "growth": _growth(rows), "repeats": repeats, "budget_seconds": budget}


def _growth(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    out = {}
    for task, routes in ROUTES.items():
        for route in routes:
            cells = [(r["N"], r["seconds"]) for r in rows if r["task"] == task and r["route"] == route and r["seconds"]]
            if len(cells) >= 2:
                (n0, s0), (n1, s1) = cells[-2:]
                out[f"{task}, {route}"] = math.log(s1 / s0) / math.log(n1 / n0)
    return out


def _table(result: dict[str, Any]) -> Table:
    table = Table(title="Exact checks against N: seconds (times python-flint)", title_justify="left")
    sizes = sorted({r["N"] for r in result["rows"]})
    table.add_column("task")
    table.add_column("route")
    for n in sizes:
        table.add_column(f"N = {n}", justify="right")
    table.add_column("growth N^p", justify="right")
    for task, routes in ROUTES.items():
        for route in routes:
            cells = []
            for n in sizes:
                row = next(r for r in result["rows"] if (r["task"], r["route"], r["N"]) == (task, route, n))
                cells.append("–" if row["seconds"] is None else f"{row['seconds']:.2g} ({row['ratio']:.0f}×)")
            growth = result["growth"].get(f"{task}, {route}")
            table.add_row(task, route, *cells, "–" if growth is None else f"{growth:.1f}")
    return table


def _sizes(text: str) -> list[int]:
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidInput(f"--sizes {text!r} is not a list of integers such as 4,8,16") from error
    if any(n < 1 or n > 256 for n in sizes) or sorted(set(sizes)) != sizes:
        raise InvalidInput(f"--sizes {text!r} must be increasing integers from 1 to 256")
    return sizes


def main_bench(argv: Sequence[str]) -> int:
    """Run ``python -m theory bench``; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m theory bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", default="4,8,16,32,64", help="numbers of states N (default 4,8,16,32,64)")
    parser.add_argument("--repeats", type=int, default=3, help="timings per cell, of which the median counts (default 3)")
    parser.add_argument("--budget", type=float, default=20.0, help="seconds after which a cell is stopped (default 20)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON to FILE")
    args = parser.parse_args(list(argv))
    sizes = _sizes(args.sizes)
    if args.repeats < 1:
        raise InvalidInput(f"--repeats {args.repeats} must be at least 1")
    if not args.budget > 0:
        raise InvalidInput(f"--budget {args.budget} must be positive")
    if args.out is not None and not args.out.resolve().parent.is_dir():
        raise InvalidInput(f"--out {args.out}: the folder {args.out.parent} does not exist")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    total = len(sizes) * sum(len(routes) for routes in ROUTES.values())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("bench", total=total)
        result = measure(sizes, args.repeats, args.budget, lambda text: bar.update(task, advance=1, description=text))
    result["versions"] = versions()
    result["machine"] = {"processor": platform.machine(), "cores": os.cpu_count()}
    if args.out is not None:
        temporary = args.out.with_suffix(args.out.suffix + ".tmp")
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, args.out)
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        Console(width=None if sys.stdout.isatty() else 160).print(_table(result))
    return 0
