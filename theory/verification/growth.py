"""How exact checks grow with the number of states N:  python -m theory bench.

Two questions that the claims ask all the time, at rational modes a_n = (n + 1)/(N + 2):

    rank    of the N × N Hankel matrix k_{t+m} (one residue is 0, so the answer is N − 1)
    solve   R x = h_0 with the N × N reachability matrix R_{nm} = a_n^m b_n: the prefix of N tokens that leaves h_0

by four routes: python-flint through theory.core.linalg (what this package uses), Gaussian elimination on Python's
Fractions, sympy's DomainMatrix over QQ, and sympy's Matrix. Each time includes conversion from and to Fractions. Every route
runs in a process of its own, which is ended when a cell exceeds its budget; such a cell has no number, and neither have
the larger ones of that route. All answers are compared.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import sympy
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sympy.external.gmpy import GROUND_TYPES
from sympy.polys.matrices import DomainMatrix

from ..core import files, linalg
from ..core.arguments import Parser
from ..core.errors import InvalidInput, TheoryError
from ..core.gramians import hankel_matrix, reachability_matrix
from ..core.lti import LTI, require_length

SIZES = (4, 8, 16, 32, 64)
TASKS = ("rank", "solve")
FITTED = 3
"""Growth is fitted to this many of the largest measured sizes; small ones are mostly overhead."""

STARTUP_SECONDS = 600.0
"""How long a route's process may take to import, warm up and build a question; not part of any cell's budget.
Long, since it only ends a process that hangs: on a busy machine imports alone take a minute."""

Rows = list[list[Fraction]]


# -- the two questions -----------------------------------------------------------------------------------------------------


def bench_system(n: int) -> LTI:
    """N distinct rational modes in (0, 1), b_n and c_n small non-zero integers of both signs."""
    n = require_length(n, "N")
    a = [Fraction(i + 1, n + 2) for i in range(n)]
    b = [(-1) ** i * (1 + i % 3) for i in range(n)]
    c = [1 + i % 2 for i in range(n)]
    return LTI(a, b, c)


def question(task: str, n: int) -> tuple[Rows, list[Fraction]]:
    """The matrix (N × N, Fractions) and, for ``solve``, the right-hand side h_0 = (1, −2, 3, …)."""
    system = bench_system(n)
    if task == "rank":
        silent = system.replace(b=[*system.b[:-1], Fraction(0)])
        return hankel_matrix(silent, n, n).tolist(), []
    if task == "solve":
        return reachability_matrix(system, n).tolist(), [Fraction((-1) ** i * (i + 1)) for i in range(n)]
    raise InvalidInput(f"task = {task!r}: choose {' or '.join(TASKS)}")


# -- routes ----------------------------------------------------------------------------------------------------------------


def _eliminate(rows: Rows, width: int) -> tuple[Rows, list[int]]:
    """Row echelon form by Gaussian elimination, pivots in the first ``width`` columns: the textbook's, first non-zero pivot."""
    rows = [list(row) for row in rows]
    pivots: list[int] = []
    for column in range(width):
        top = len(pivots)
        found = next((i for i in range(top, len(rows)) if rows[i][column] != 0), None)
        if found is None:
            continue
        rows[top], rows[found] = rows[found], rows[top]
        for i in range(top + 1, len(rows)):
            if rows[i][column] != 0:
                factor = rows[i][column] / rows[top][column]
                rows[i] = [x - factor * y for x, y in zip(rows[i], rows[top], strict=True)]
        pivots.append(column)
    return rows, pivots


def fraction_rank(rows: Rows) -> int:
    """Rank by elimination on Fractions."""
    return len(_eliminate(rows, len(rows[0]))[1])


def fraction_solve(rows: Rows, rhs: Sequence[Fraction]) -> list[Fraction]:
    """The solution of a non-singular system by elimination on Fractions and back substitution."""
    n = len(rows)
    reduced, pivots = _eliminate([[*row, y] for row, y in zip(rows, rhs, strict=True)], n)
    if len(pivots) < n:
        raise InvalidInput("the matrix is singular")
    x = [Fraction(0)] * n
    for i in reversed(range(n)):
        known = sum((reduced[i][j] * x[j] for j in range(i + 1, n)), Fraction(0))
        x[i] = (reduced[i][n] - known) / reduced[i][i]
    return x


def _fraction(x: Any) -> Fraction:
    return Fraction(int(x.numerator), int(x.denominator))


def _domain(rows: Rows) -> DomainMatrix:
    elements = [[sympy.QQ(x.numerator, x.denominator) for x in row] for row in rows]
    return DomainMatrix(elements, (len(rows), len(rows[0])), sympy.QQ)


def _matrix(rows: Rows) -> sympy.Matrix:
    return sympy.Matrix([[sympy.Rational(x.numerator, x.denominator) for x in row] for row in rows])


def _flint_solve(rows: Rows, rhs: Sequence[Fraction]) -> list[Fraction]:
    x = linalg.solve(rows, rhs)
    if x is None:
        raise InvalidInput("the matrix is singular")
    return list(x)


def _domain_solve(rows: Rows, rhs: Sequence[Fraction]) -> list[Fraction]:
    return [_fraction(x) for x in _domain(rows).lu_solve(_domain([[y] for y in rhs])).to_list_flat()]


def _matrix_solve(rows: Rows, rhs: Sequence[Fraction]) -> list[Fraction]:
    return [Fraction(int(x.p), int(x.q)) for x in _matrix(rows).LUsolve(_matrix([[y] for y in rhs]))]


ROUTES: dict[str, dict[str, Callable[..., Any]]] = {
    "flint": {"rank": linalg.rank, "solve": _flint_solve},
    "fractions": {"rank": fraction_rank, "solve": fraction_solve},
    "sympy DomainMatrix": {"rank": lambda rows: int(_domain(rows).rank()), "solve": _domain_solve},
    "sympy Matrix": {"rank": lambda rows: int(_matrix(rows).rank()), "solve": _matrix_solve},
}
BASE = "flint"


def answer(task: str, route: str, rows: Rows, rhs: Sequence[Fraction]) -> tuple[float, Any]:
    """Seconds and answer (an int, or a list of Fractions) of one route to one question."""
    solve = ROUTES[route][task]
    begin = time.perf_counter()
    result = solve(rows) if task == "rank" else solve(rows, rhs)
    return time.perf_counter() - begin, result


# -- measuring -------------------------------------------------------------------------------------------------------------


def _work(pipe: Connection, task: str, route: str, sizes: Sequence[int], repeat: int) -> None:
    """In the route's own process: warm up, then for every size build the question, say so, and send (seconds, answer)."""
    answer(task, route, *question(task, 2))
    for n in sizes:
        rows, rhs = question(task, n)
        pipe.send(n)
        for _ in range(repeat):
            pipe.send(answer(task, route, rows, rhs))
    pipe.close()


def _context() -> Any:
    """Processes that start clean but need not import everything again, where the platform has them."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["theory.verification.growth"])
    return context


def _measure_route(
    task: str, route: str, sizes: Sequence[int], repeat: int, budget: float, progress: Callable[[], None]
) -> list[dict[str, Any]]:
    """One cell per size, smallest first."""
    context = _context()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, task, route, sizes, repeat), daemon=True)
    process.start()
    theirs.close()
    cells: list[dict[str, Any]] = []
    try:
        for n in sizes:
            times: list[float] = []
            result: Any = None
            if all(c["status"] == "measured" and c["repeats"] == repeat for c in cells):
                if not ours.poll(STARTUP_SECONDS) or ours.recv() != n:
                    raise TheoryError(f"route {route}: N = {n} was not set up within {STARTUP_SECONDS:g} s")
                until = time.monotonic() + budget
                while len(times) < repeat and ours.poll(max(0.0, until - time.monotonic())):
                    seconds, found = ours.recv()
                    if sum(times) + seconds > budget:  # it came in time only because this process was held up
                        break
                    times.append(seconds)
                    result = found
                status = "measured" if times else "over budget"
            else:
                status = "skipped"
            cells.append(
                {
                    "task": task,
                    "route": route,
                    "size": n,
                    "status": status,
                    "seconds": statistics.median(times) if times else None,
                    "repeats": len(times),
                    "answer": result,
                }
            )
            progress()
    except EOFError as error:
        raise TheoryError(f"the process of route {route} ended at N = {sizes[len(cells)]} (out of memory?)") from error
    finally:
        ours.close()
        process.terminate()
        process.join()
    return cells


def growth_exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float | None:
    """p of the least-squares fit seconds ∝ N^p; None for fewer than two sizes."""
    if len(set(sizes)) < 2:
        return None
    return float(np.polyfit(np.log(np.asarray(sizes, dtype=float)), np.log(np.asarray(seconds)), 1)[0])


def _bits(values: Any) -> int:
    flat = [values] if isinstance(values, int) else values
    return max(max(abs(Fraction(x).numerator).bit_length(), Fraction(x).denominator.bit_length()) for x in flat)


def bench(
    sizes: Sequence[int] = SIZES,
    *,
    repeat: int = 3,
    budget: float = 10.0,
    progress: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """All cells as JSON types: medians, ratios to flint, growth exponents, and whether all answers agree.

    Parameters
    ----------
    sizes:
        N ≥ 1, each once; run smallest first.
    repeat:
        Timings per cell, of which the median counts.
    budget:
        Seconds for one cell, all its repeats together. A cell that gets at least one timing within them is measured on
        those it got; one that gets none is "over budget", and larger sizes of that route are "skipped": not run, not guessed.

    Raises InvalidInput for empty, repeated or non-positive sizes, repeat below 1, or a budget that is not a positive number.
    """
    sizes = sorted(require_length(n, "size") for n in sizes)
    if not sizes:
        raise InvalidInput("sizes is empty: give at least one number of states, e.g. 4 8 16")
    if len(set(sizes)) != len(sizes):
        raise InvalidInput(f"sizes {sizes} repeat a value; give each N once")
    repeat = require_length(repeat, "repeat")
    if isinstance(budget, bool) or not isinstance(budget, int | float) or not (math.isfinite(budget) and budget > 0):
        raise InvalidInput(f"budget = {budget!r} must be a positive number of seconds")
    cells: list[dict[str, Any]] = []
    for task in TASKS:
        for route in ROUTES:
            cells += _measure_route(task, route, sizes, repeat, budget, progress or (lambda: None))
    return _report(cells, sizes, repeat, budget)


def _report(cells: list[dict[str, Any]], sizes: Sequence[int], repeat: int, budget: float) -> dict[str, Any]:
    disagreements: list[str] = []
    questions = []
    for task in TASKS:
        for n in sizes:
            group = [c for c in cells if c["task"] == task and c["size"] == n and c["answer"] is not None]
            base = next((c for c in group if c["route"] == BASE), None)
            for c in group:
                c["ratio_to_flint"] = None if base is None else c["seconds"] / base["seconds"]
                if c["answer"] != group[0]["answer"]:
                    disagreements.append(f"{task} at N = {n}: {c['route']} against {group[0]['route']}")
            rows, rhs = question(task, n)
            questions.append(
                {
                    "task": task,
                    "size": n,
                    "bits_in": _bits([x for row in [*rows, rhs] for x in row]),
                    "bits_out": _bits(group[0]["answer"]) if group else None,
                    "rank": group[0]["answer"] if group and task == "rank" else None,
                    "routes_compared": len(group),
                }
            )
    growth = []
    for task in TASKS:
        for route in ROUTES:
            done = [c for c in cells if c["task"] == task and c["route"] == route and c["status"] == "measured"][-FITTED:]
            exponent = growth_exponent([c["size"] for c in done], [c["seconds"] for c in done])
            growth.append({"task": task, "route": route, "exponent": exponent, "fitted_sizes": [c["size"] for c in done]})
    return {
        "schema": 1,
        "settings": {"sizes": list(sizes), "repeat": repeat, "budget_seconds": budget},
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("python-flint", "sympy", "numpy")},
            "sympy_ground_types": GROUND_TYPES,
        },
        "machine": {"architecture": platform.machine(), "cores": os.cpu_count()},
        "agree": not disagreements,
        "disagreements": disagreements,
        "questions": questions,
        "cells": [{"ratio_to_flint": None} | {k: v for k, v in c.items() if k != "answer"} for c in cells],
        "growth": growth,
    }


# -- printing --------------------------------------------------------------------------------------------------------------


def _time(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _cell_text(cell: dict[str, Any], repeat: int) -> str:
    if cell["status"] != "measured":
        return str(cell["status"])
    few = "" if cell["repeats"] == repeat else f" [{cell['repeats']} of {repeat}]"
    ratio = "" if cell["route"] == BASE or cell["ratio_to_flint"] is None else f"  ×{cell['ratio_to_flint']:.3g}"
    return f"{_time(cell['seconds'])}{ratio}{few}"


def bench_table(payload: dict[str, Any], task: str) -> Table:
    """Sizes down, routes across: median and ratio to flint; the last row is the growth exponent."""
    settings = payload["settings"]
    table = Table(title=f"{task}: median of {settings['repeat']}, × = ratio to {BASE}", title_justify="left")
    table.add_column("N", justify="right")
    table.add_column("bits in / out", justify="right")
    for route in ROUTES:
        table.add_column(route, justify="right", no_wrap=True)
    for n in settings["sizes"]:
        about = next(q for q in payload["questions"] if q["task"] == task and q["size"] == n)
        row = [c for c in payload["cells"] if c["task"] == task and c["size"] == n]
        bits = f"{about['bits_in']} / {'unknown' if about['bits_out'] is None else about['bits_out']}"
        by_route = {c["route"]: _cell_text(c, settings["repeat"]) for c in row}
        table.add_row(str(n), bits, *(by_route[route] for route in ROUTES))
    exponents = {g["route"]: g for g in payload["growth"] if g["task"] == task}
    table.add_section()
    shown = (exponents[r]["exponent"] for r in ROUTES)
    table.add_row("growth", "", *("one size" if e is None else f"N^{e:.1f}" for e in shown))
    return table


def print_bench(payload: dict[str, Any], console: Console) -> None:
    """Both tables, then how to read them."""
    for task in TASKS:
        console.print(bench_table(payload, task))
    versions = payload["versions"]
    lines = [
        f"Growth: fit over the {FITTED} largest measured sizes. Times include conversion from and to Fractions.",
        f"A cell over its budget of {payload['settings']['budget_seconds']:g} s has no number; larger sizes were not run.",
        f"python-flint {versions['python-flint']}, sympy {versions['sympy']} with ground types {versions['sympy_ground_types']}.",
        "All routes that ran agree." if payload["agree"] else "ROUTES DISAGREE: " + "; ".join(payload["disagreements"]),
    ]
    for line in lines:
        console.print(f"- {line}", markup=False, highlight=False)


# -- command line ----------------------------------------------------------------------------------------------------------


def _parser() -> Parser:
    parser = Parser(
        prog="python -m theory bench",
        description="Growth of exact rank and solve with the number of states: python-flint, Fractions and sympy.",
    )
    shown = " ".join(map(str, SIZES))
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), metavar="N", help=f"numbers of states (default {shown})")
    parser.add_argument("--repeat", default=3, metavar="K", help="timings per cell, the median counts (default 3)")
    parser.add_argument("--budget", default=10.0, metavar="SECONDS", help="per cell, all repeats together (default 10)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the tables")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON to FILE")
    return parser


def _number(text: Any, kind: Callable[[Any], Any], name: str, wanted: str) -> Any:
    try:
        return kind(text)
    except ValueError as error:
        raise InvalidInput(f"{name} {text!r} is not {wanted}") from error


def main_bench(argv: Sequence[str]) -> int:
    """Run the command: 0, or 1 if two routes disagree. Bad input raises a TheoryError, which the caller prints (exit code 2)."""
    args = _parser().parse_args(list(argv))
    sizes = [_number(n, int, "--sizes", "an integer") for n in args.sizes]
    repeat = _number(args.repeat, int, "--repeat", "an integer")
    budget = _number(args.budget, float, "--budget", "a number of seconds")
    if args.out is not None and not args.out.resolve().parent.is_dir():
        raise InvalidInput(f"--out {args.out}: the folder {args.out.parent} does not exist")
    if args.out is not None:
        files.require_replaceable(args.out)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("timing", total=len(sizes) * len(TASKS) * len(ROUTES))
        payload = bench(sizes, repeat=repeat, budget=budget, progress=lambda: bar.update(task, advance=1))
    text = files.json_text(payload)
    if args.out is not None:
        files.write_text(args.out, text)
    if args.json:
        print(text, end="")
    else:
        print_bench(payload, Console(width=None if sys.stdout.isatty() else 160))
    return 0 if payload["agree"] else 1
